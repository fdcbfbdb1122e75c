// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/nrps"
	"github.com/lti-operator/lti-operator/internal/lti/service"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// granted are the scopes that a token endpoint answers with.
func (x answer) granted() []string {
	x.t.Helper()
	var got struct {
		Type    string `json:"token_type"`
		Expires int    `json:"expires_in"`
		Scope   string
	}
	if err := json.Unmarshal(x.Body.Bytes(), &got); err != nil || x.Code != http.StatusOK || got.Type != "Bearer" || got.Expires != 3600 {
		x.t.Fatalf("%d %s", x.Code, x.Body)
	}
	return strings.Fields(got.Scope)
}

// signedBy is an assertion with its claims right, signed otherwise; header replaces members, and removes those that are nil.
func (c *toolClient) signedBy(method jwt.SigningMethod, key any, header map[string]any) string {
	now := c.clock.now()
	return c.signWith(method, key, party{key: c.key}, jwt.MapClaims{
		"iss": c.name, "sub": c.name, "aud": academyURL + "/tools/" + c.name + "/token", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"jti": fmt.Sprintf("jti-%d", formNonces.Add(1)),
	}, header)
}

func publicPEM(key *rsa.PrivateKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestAssertionsThatAreRefused(t *testing.T) {
	a := newExternalAcademy(t)
	c := a.lab()
	in := func(d time.Duration) int64 { return a.clock.now().Add(d).Unix() }
	tokenURL := academyURL + "/tools/lab/token"
	for name, tt := range map[string]struct {
		assertion string
		code      lti.Code
	}{
		"not a token":               {"x.y", lti.TokenMalformed},
		"unsigned":                  {c.signedBy(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), lti.AlgorithmNotAllowed},
		"HS256 with the public key": {c.signedBy(jwt.SigningMethodHS256, publicPEM(labKey()), nil), lti.AlgorithmNotAllowed},
		"RS512":                     {c.signedBy(jwt.SigningMethodRS512, labKey(), nil), lti.AlgorithmNotAllowed},
		"foreign key under its ID":  {c.signedBy(jwt.SigningMethodRS256, rivalKey(), nil), lti.SignatureInvalid},
		"our key under its ID":      {c.signedBy(jwt.SigningMethodRS256, labPlatformKey(), nil), lti.SignatureInvalid},
		"foreign key":               {(&toolClient{a.academy, "lab", rivalKey()}).assertion(nil), lti.KeyUnknown},
		"our own key for the tool":  {(&toolClient{a.academy, "lab", labPlatformKey()}).assertion(nil), lti.KeyUnknown},
		"no key ID":                 {c.signedBy(jwt.SigningMethodRS256, labKey(), map[string]any{"kid": nil}), lti.KeyIDMissing},
		"foreign key named by its address": {
			c.signedBy(jwt.SigningMethodRS256, rivalKey(), map[string]any{"jku": "https://evil.example/jwks.json", "kid": "evil"}), lti.KeyUnknown,
		},
		"foreign key that is in the header": {
			c.signedBy(jwt.SigningMethodRS256, rivalKey(), map[string]any{"jwk": keys.PublicJWK(&rivalKey().PublicKey)}), lti.SignatureInvalid,
		},
		"foreign key in a certificate at an address": {
			c.signedBy(jwt.SigningMethodRS256, rivalKey(), map[string]any{"x5u": "https://evil.example/certificate.pem", "kid": "evil"}), lti.KeyUnknown,
		},
		"foreign key in a certificate": {
			c.signedBy(jwt.SigningMethodRS256, rivalKey(), map[string]any{"x5c": []string{"Y2VydGlmaWNhdGU="}}), lti.SignatureInvalid,
		},
		"critical extension":             {c.signedBy(jwt.SigningMethodRS256, labKey(), map[string]any{"crit": []string{"x"}}), lti.TokenMalformed},
		"of another issuer":              {c.assertion(with("iss", "rival")), lti.IssuerMismatch},
		"about another client":           {c.assertion(with("sub", "rival")), lti.IssuerMismatch},
		"of nobody":                      {c.assertion(with("iss", nil)), lti.ClaimMissing},
		"about nobody":                   {c.assertion(with("sub", nil)), lti.ClaimMissing},
		"for nobody":                     {c.assertion(with("aud", nil)), lti.ClaimMissing},
		"for no address":                 {c.assertion(with("aud", []string{})), lti.ClaimMissing},
		"for another tool":               {c.assertion(with("aud", academyURL+"/tools/rival/token")), lti.AudienceMismatch},
		"for another endpoint":           {c.assertion(with("aud", academyURL+"/tools/lab/authorize")), lti.AudienceMismatch},
		"for an address with a slash":    {c.assertion(with("aud", tokenURL+"/")), lti.AudienceMismatch},
		"for a stranger, too":            {c.assertion(with("aud", []string{tokenURL, "https://evil.example"})), lti.AudienceMismatch},
		"for an alias that there is not": {c.assertion(with("aud", aliasURL+"/tools/lab/token")), lti.AudienceMismatch},
		"expired":                        {c.assertion(with("exp", in(-2*time.Minute))), lti.TokenExpired},
		"for ever":                       {c.assertion(with("exp", nil)), lti.ClaimMissing},
		"for a day":                      {c.assertion(with("exp", in(24*time.Hour))), lti.ClaimInvalid},
		"issued in the future":           {c.assertion(with("iat", in(2*time.Minute))), lti.TokenIssuedInFuture},
		"valid in the future":            {c.assertion(with("nbf", in(2*time.Minute))), lti.TokenIssuedInFuture},
		"issued long ago":                {c.assertion(with("iat", in(-2*time.Hour))), lti.TokenTooOld},
		"without an ID":                  {c.assertion(with("jti", nil)), lti.ClaimMissing},
		"with an empty ID":               {c.assertion(with("jti", "")), lti.ClaimMissing},
		"with a long ID":                 {c.assertion(with("jti", strings.Repeat("j", 256))), lti.ClaimInvalid},
		"with an ID that is a number":    {c.assertion(with("jti", 7)), lti.ClaimInvalid},
	} {
		x := c.ask(tokenForm(tt.assertion, allScopes()...))
		if got := x.reason(); got != tt.code {
			t.Errorf("%s: %s instead of %s", name, got, tt.code)
			continue
		}
		if got := a.refusedJSON(x, tt.code); got != "invalid_client" || x.Code != http.StatusBadRequest {
			t.Errorf("%s: error %s", name, got)
		}
	}
}

func TestTokenRequestsThatAreRefused(t *testing.T) {
	a := newExternalAcademy(t)
	c := a.lab()
	for name, tt := range map[string]struct {
		change url.Values
		code   lti.Code
		error  string
	}{
		"no assertion":                  {url.Values{"client_assertion": nil}, lti.ParameterMissing, "invalid_request"},
		"no grant type":                 {url.Values{"grant_type": nil}, lti.ParameterMissing, "invalid_request"},
		"no assertion type":             {url.Values{"client_assertion_type": nil}, lti.ParameterMissing, "invalid_request"},
		"another assertion type":        {url.Values{"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}}, lti.ParameterInvalid, "invalid_request"},
		"a password":                    {url.Values{"grant_type": {"password"}}, lti.GrantUnsupported, "unsupported_grant_type"},
		"the grant of an assertion":     {url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}}, lti.GrantUnsupported, "unsupported_grant_type"},
		"no scope":                      {url.Values{"scope": nil}, lti.ScopeNotGranted, "invalid_scope"},
		"unknown scope":                 {url.Values{"scope": {"https://purl.imsglobal.org/spec/lti-ags/scope/other openid"}}, lti.ScopeNotGranted, "invalid_scope"},
		"scope in another case":         {url.Values{"scope": {strings.ToUpper(ags.ScopeScore)}}, lti.ScopeNotGranted, "invalid_scope"},
		"another client":                {url.Values{"client_id": {"rival"}}, lti.ClientIDMismatch, "invalid_client"},
		"two clients":                   {url.Values{"client_id": {"lab", "lab"}}, lti.ParameterRepeated, "invalid_request"},
		"two grant types":               {url.Values{"grant_type": {"client_credentials", "client_credentials"}}, lti.ParameterRepeated, "invalid_request"},
		"two assertions":                {url.Values{"client_assertion": {"a", "b"}}, lti.ParameterRepeated, "invalid_request"},
		"two assertion types":           {url.Values{"client_assertion_type": {"a", "b"}}, lti.ParameterRepeated, "invalid_request"},
		"two lists of scopes":           {url.Values{"scope": {ags.ScopeScore, nrps.Scope}}, lti.ParameterRepeated, "invalid_request"},
		"more scopes than there can be": {url.Values{"scope": {manyScopes()}}, lti.ParameterInvalid, "invalid_request"},
	} {
		// The assertion is right, and not spent by a request that is refused.
		right := tokenForm(c.assertion(nil), allScopes()...)
		wrong := maps.Clone(right)
		maps.Copy(wrong, tt.change)
		x := c.ask(wrong)
		if got := x.reason(); got != tt.code {
			t.Errorf("%s: %s instead of %s", name, got, tt.code)
			continue
		}
		if got := a.refusedJSON(x, tt.code); got != tt.error {
			t.Errorf("%s: error %s instead of %s", name, got, tt.error)
		}
		c.ask(right).granted()
		a.refusedJSON(c.ask(right), lti.Replayed)
	}
	a.refusedJSON(c.browser().send(http.MethodPost, "/tools/lab/token", "application/json", "{}"), lti.RequestMalformed)
	a.refused(c.browser().do(http.MethodGet, "/tools/lab/token", nil), lti.MethodNotAllowed)
}

func manyScopes() string {
	var scopes []string
	for i := range 101 {
		scopes = append(scopes, fmt.Sprintf("scope-%d", i))
	}
	return strings.Join(scopes, " ")
}

func TestAnAssertionWorksOnce(t *testing.T) {
	a := newExternalAcademy(t)
	another := a.startAnother(a.store)
	c := a.lab()
	form := tokenForm(c.assertion(nil), allScopes()...)
	given := 0
	for _, x := range c.browser().together(20, "/tools/lab/token", form, a.public, another) {
		if x.Code == http.StatusOK {
			given++
		} else if x.reason() != lti.Replayed {
			t.Errorf("%d %s", x.Code, x.Body)
		}
	}
	if given != 1 {
		t.Errorf("%d tokens for one assertion", given)
	}
	// The ID is that of one tool, not of all.
	same := with("jti", "the same")
	c.ask(tokenForm(c.assertion(same), allScopes()...)).granted()
	a.rival().ask(tokenForm(a.rival().assertion(same), allScopes()...)).granted()
	a.refusedJSON(c.ask(tokenForm(c.assertion(same), allScopes()...)), lti.Replayed)
}

func TestAssertionsAsToolsSendThem(t *testing.T) {
	a := newExternalAcademy(t)
	a.republish(func(table *routing.Table) { table.Academy.Aliases = []string{aliasURL} })
	c := a.lab()
	now := a.clock.now()
	tokenURL := academyURL + "/tools/lab/token"
	for name, change := range map[string]func(jwt.MapClaims){
		"the token endpoint":       nil,
		"the endpoint of an alias": with("aud", aliasURL+"/tools/lab/token"),
		"the issuer":               with("aud", academyURL),
		"a list":                   with("aud", []string{tokenURL, academyURL, aliasURL + "/tools/lab/token"}),
		"no iat":                   with("iat", nil),
		"Moodle": func(claims jwt.MapClaims) {
			claims["iat"], claims["exp"], claims["aud"] = now.Unix()-5, now.Unix()+60, tokenURL
		},
		"five minutes":         with("exp", now.Add(5*time.Minute).Unix()),
		"a clock that is fast": with("iat", now.Add(30*time.Second).Unix()),
		"a clock that is slow": with("exp", now.Add(-30*time.Second).Unix()),
	} {
		if got := c.ask(tokenForm(c.assertion(change), allScopes()...)).granted(); !slices.Equal(got, allScopes()) {
			t.Errorf("%s: %v", name, got)
		}
	}
	form := tokenForm(c.assertion(nil), nrps.Scope, "openid", nrps.Scope)
	form.Set("client_id", "lab")
	if got := c.ask(form).granted(); !slices.Equal(got, []string{nrps.Scope}) {
		t.Errorf("granted %v", got)
	}
}

func TestScopesOfServicesThatAreSwitchedOff(t *testing.T) {
	grades := []string{ags.ScopeLineItemReadOnly, ags.ScopeResultReadOnly, ags.ScopeScore}
	for name, tt := range map[string]struct {
		change func(*routing.Tool)
		want   []string
	}{
		"everything": {func(*routing.Tool) {}, allScopes()},
		"in words": {func(x *routing.Tool) {
			x.AssignmentAndGrade, x.NamesAndRoles = routing.ServiceGradesAndLineItems, routing.ServiceEnabled
		}, allScopes()},
		"grades":    {func(x *routing.Tool) { x.AssignmentAndGrade = routing.ServiceGrades }, append(slices.Clone(grades), nrps.Scope)},
		"no grades": {func(x *routing.Tool) { x.AssignmentAndGrade = routing.ServiceDisabled }, []string{nrps.Scope}},
		"no people": {func(x *routing.Tool) { x.NamesAndRoles = routing.ServiceDisabled }, append([]string{ags.ScopeLineItem}, grades...)},
		"grades alone": {func(x *routing.Tool) {
			x.AssignmentAndGrade, x.NamesAndRoles = routing.ServiceGrades, routing.ServiceDisabled
		}, grades},
		"none whatever": {func(x *routing.Tool) {
			x.AssignmentAndGrade, x.NamesAndRoles = routing.ServiceDisabled, routing.ServiceDisabled
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := newExternalAcademy(t)
			c := a.lab()
			b := a.learner(zoe())
			sub := b.subject("simulation")
			before := c.token(allScopes()...)
			a.republish(func(table *routing.Table) { tt.change(toolIn(table, "lab")) })
			claims := b.launch("simulation")
			for _, scope := range allScopes() {
				x := c.ask(tokenForm(c.assertion(nil), scope))
				if !slices.Contains(tt.want, scope) {
					if got := a.refusedJSON(x, lti.ScopeNotGranted); got != "invalid_scope" {
						t.Errorf("%s: error %s", scope, got)
					}
				} else if got := x.granted(); !slices.Equal(got, []string{scope}) {
					t.Errorf("%s: granted %v", scope, got)
				}
			}
			if tt.want != nil {
				if got := c.ask(tokenForm(c.assertion(nil), allScopes()...)).granted(); !slices.Equal(got, tt.want) {
					t.Errorf("granted %v instead of %v", got, tt.want)
				}
			}
			// A token of before has no more than one of today.
			context := c.context("simulation")
			for _, call := range []struct {
				method, path, body string
				scopes             []string
			}{
				{http.MethodGet, "/lineitems", "", []string{ags.ScopeLineItem, ags.ScopeLineItemReadOnly}},
				{http.MethodGet, "/lineitems/activity", "", []string{ags.ScopeLineItem, ags.ScopeLineItemReadOnly}},
				{http.MethodPost, "/lineitems", `{"label":"x","scoreMaximum":1}`, []string{ags.ScopeLineItem}},
				{http.MethodPut, "/lineitems/activity", `{"label":"x","scoreMaximum":1}`, []string{ags.ScopeLineItem}},
				{http.MethodDelete, "/lineitems/nothing", "", []string{ags.ScopeLineItem}},
				{http.MethodPost, "/lineitems/activity/scores", scoreOf(sub, a.clock.now(), "80", "100"), []string{ags.ScopeScore}},
				{http.MethodGet, "/lineitems/activity/results", "", []string{ags.ScopeResultReadOnly}},
				{http.MethodGet, "/memberships", "", []string{nrps.Scope}},
			} {
				may := slices.ContainsFunc(call.scopes, func(scope string) bool { return slices.Contains(tt.want, scope) })
				x := c.callWith(before, call.method, context+call.path, "", call.body)
				if !may {
					if got := a.refusedJSON(x, lti.ScopeMissing); got != "insufficient_scope" {
						t.Errorf("%s %s: error %s", call.method, call.path, got)
					}
				} else if code := x.reason(); code != "" && code != lti.LineItemUnknown {
					t.Errorf("%s %s: %s", call.method, call.path, code)
				}
				// And a token for everything else has it not at all.
				others := slices.DeleteFunc(slices.Clone(tt.want), func(scope string) bool { return slices.Contains(call.scopes, scope) })
				if len(others) > 0 {
					a.refusedJSON(c.callWith(c.token(others...), call.method, context+call.path, "", call.body), lti.ScopeMissing)
				}
			}
			// The launch offers what there is.
			if _, offered := claims[endpointClaim]; offered != (len(tt.want) > 1) {
				t.Errorf("endpoints offered: %v", offered)
			}
			if _, offered := claims[membershipsClaim]; offered != slices.Contains(tt.want, nrps.Scope) {
				t.Errorf("memberships offered: %v", offered)
			}
		})
	}
}

const (
	endpointClaim    = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"
	membershipsClaim = "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"
)

func TestAccessTokensThatAreRefused(t *testing.T) {
	a := newExternalAcademy(t)
	a.learner(zoe()).launch("simulation")
	lab, rival := a.lab(), a.rival()
	token := lab.token(allScopes()...)
	old := lab.token(allScopes()...)
	var client struct {
		Token string `json:"access_token"`
	}
	b := a.browser()
	b.header.Set("Authorization", basic(clientSecret))
	x := b.do(http.MethodPost, routing.PathOIDC+"/token", url.Values{"grant_type": {"client_credentials"}, "scope": {identity.ScopeResults}})
	if err := json.Unmarshal(x.Body.Bytes(), &client); err != nil || client.Token == "" {
		t.Fatalf("%d %s", x.Code, x.Body)
	}
	for _, path := range []string{"/lineitems", "/lineitems/activity", "/lineitems/activity/results", "/memberships"} {
		for name, tt := range map[string]struct {
			token string
			code  lti.Code
			error string
		}{
			"garbage":                       {"garbage", lti.AccessTokenInvalid, "invalid_token"},
			"empty":                         {"", lti.AccessTokenInvalid, "invalid_token"},
			"cut off":                       {token[:len(token)-1], lti.AccessTokenInvalid, "invalid_token"},
			"of an application":             {client.Token, lti.AccessTokenInvalid, "invalid_token"},
			"of the rival":                  {rival.token(allScopes()...), lti.AccessTokenForeign, "insufficient_scope"},
			"a hint":                        {a.learner(zoe()).initiated("simulation").Get("lti_message_hint"), lti.AccessTokenInvalid, "invalid_token"},
			"an assertion of the very tool": {lab.assertion(nil), lti.AccessTokenInvalid, "invalid_token"},
		} {
			x := lab.callWith(tt.token, http.MethodGet, lab.context("simulation")+path, "", "")
			if got := a.refusedJSON(x, tt.code); got != tt.error {
				t.Errorf("%s at %s: error %s", name, path, got)
			}
		}
		// The lab's token is none at the rival's address, and the rival's opens nothing of the lab's there either.
		a.refusedJSON(lab.callWith(token, http.MethodGet, rival.context("other")+path, "", ""), lti.AccessTokenForeign)
		a.refusedJSON(rival.get(rival.context("simulation")+path), lti.ContextUnknown)
		a.refusedJSON(lab.get(lab.context("other")+path), lti.ContextUnknown)
		a.refusedJSON(lab.get(lab.context("partner")+path), lti.ContextUnknown)
		a.refusedJSON(lab.get(lab.context("height")+path), lti.ContextUnknown)
		a.refusedJSON(lab.get(lab.context("nothing")+path), lti.ContextUnknown)
		if x := lab.callWith(token, http.MethodGet, lab.context("simulation")+path, "", ""); x.Code != http.StatusOK {
			t.Errorf("%s: %d %s", path, x.Code, x.Body)
		}
	}
	// The credentials of the academy's application are none of a tool, and a token of a tool none of the academy's.
	a.refusedJSON(b.do(http.MethodGet, lab.context("simulation")+"/memberships", nil), lti.AccessTokenInvalid)
	a.refusedJSON(lab.callWith(token, http.MethodGet, routing.PathResults, "", ""), lti.AccessTokenInvalid)
	a.clock.advance(time.Hour + time.Second)
	a.refusedJSON(lab.callWith(old, http.MethodGet, lab.context("simulation")+"/lineitems", "", ""), lti.AccessTokenInvalid)
}

// createLineItem makes a line item of the tool's own.
func (c *toolClient) createLineItem(activity, body string) answer {
	c.t.Helper()
	return c.call(http.MethodPost, c.context(activity)+"/lineitems", ags.MediaLineItem, body)
}

// lineItem is the line item that an answer has.
func (x answer) lineItem(status int, mediaType string) map[string]any {
	x.t.Helper()
	var l map[string]any
	if err := json.Unmarshal(x.Body.Bytes(), &l); err != nil || x.Code != status || x.Header().Get("Content-Type") != mediaType {
		x.t.Fatalf("%d %s %s", x.Code, x.Header().Get("Content-Type"), x.Body)
	}
	return l
}

// list is the members of a list, and the address of the next page.
func (x answer) list(mediaType string) (found []map[string]any, next string) {
	x.t.Helper()
	if err := json.Unmarshal(x.Body.Bytes(), &found); err != nil || x.Code != http.StatusOK || x.Header().Get("Content-Type") != mediaType || found == nil {
		x.t.Fatalf("%d %s %s", x.Code, x.Header().Get("Content-Type"), x.Body)
	}
	return found, service.Link(x.Header(), "next")
}

// walk collects a member of every element of a list, of all pages of one.
func (c *toolClient) walk(target, mediaType, member string) []string {
	c.t.Helper()
	var all []string
	for target != "" {
		var found []map[string]any
		found, target = c.get(target).list(mediaType)
		if len(found) > 1 || len(all) > 20 {
			c.t.Fatalf("%d on a page of one, after %d", len(found), len(all))
		}
		for _, x := range found {
			all = append(all, fmt.Sprint(x[member]))
		}
	}
	return all
}

func TestLineItemsOfATool(t *testing.T) {
	a := newExternalAcademy(t)
	c := a.lab()
	items := academyURL + c.context("simulation") + "/lineitems"
	own := c.get(items+"/activity").lineItem(http.StatusOK, ags.MediaLineItem)
	if own["id"] != items+"/activity" || own["resourceLinkId"] != "simulation" || own["scoreMaximum"] != 100.0 || own["label"] != "Rescue <simulation>" {
		t.Errorf("line item of the activity: %v", own)
	}
	x := c.createLineItem("simulation", `{"label":"Part 1","scoreMaximum":60,"tag":"part","resourceId":"p-1","resourceLinkId":"simulation","startDateTime":"2026-01-01T00:00:00Z"}`)
	first := x.lineItem(http.StatusCreated, ags.MediaLineItem)
	id, _ := first["id"].(string)
	if !strings.HasPrefix(id, items+"/") || x.Header().Get("Location") != id || first["label"] != "Part 1" || first["tag"] != "part" ||
		first["resourceId"] != "p-1" || first["resourceLinkId"] != "simulation" || first["startDateTime"] != "2026-01-01T00:00:00Z" {
		t.Fatalf("%s: %v", x.Header().Get("Location"), first)
	}
	if got := c.get(id).lineItem(http.StatusOK, ags.MediaLineItem); !maps.Equal(got, first) {
		t.Errorf("%v became %v", first, got)
	}
	second, _ := c.createLineItem("simulation", `{"label":"Part 2","scoreMaximum":0.5}`).lineItem(http.StatusCreated, ags.MediaLineItem)["id"].(string)
	all := []string{items + "/activity", id, second}
	if got := c.walk(items+"?limit=1", ags.MediaLineItemContainer, "id"); !slices.Equal(got, all) {
		t.Errorf("pages of one: %v instead of %v", got, all)
	}
	for query, want := range map[string][]string{
		"": all, "tag=part": {id}, "tag=other": {}, "resource_id=p-1": {id}, "resource_link_id=simulation": {items + "/activity", id},
		"resource_link_id=exam-link": {}, "resource_link_id=simulation&tag=part": {id}, "limit=2": all[:2], "limit=100000": all, "unknown=x": all,
	} {
		found, next := c.get(items + "?" + query).list(ags.MediaLineItemContainer)
		var got []string
		for _, l := range found {
			got = append(got, l["id"].(string))
		}
		if !slices.Equal(got, want) || (next != "") != (query == "limit=2") {
			t.Errorf("%q: %v, next %q", query, got, next)
		}
	}
	// A page keeps its selection.
	if got := c.walk(items+"?resource_link_id=simulation&limit=1", ags.MediaLineItemContainer, "id"); !slices.Equal(got, all[:2]) {
		t.Errorf("pages of a selection: %v", got)
	}
	changed := c.call(http.MethodPut, id, ags.MediaLineItem, `{"id":"`+second+`","label":"Part one","scoreMaximum":61}`).lineItem(http.StatusOK, ags.MediaLineItem)
	if changed["id"] != id || changed["label"] != "Part one" || changed["scoreMaximum"] != 61.0 || changed["tag"] != nil {
		t.Errorf("changed to %v", changed)
	}
	changed = c.call(http.MethodPut, items+"/activity", ags.MediaLineItem, `{"label":"Mine","scoreMaximum":10}`).lineItem(http.StatusOK, ags.MediaLineItem)
	if changed["id"] != items+"/activity" || changed["resourceLinkId"] != "simulation" || changed["label"] != "Mine" {
		t.Errorf("changed to %v", changed)
	}
	if got := c.walk(items+"?limit=1", ags.MediaLineItemContainer, "id"); !slices.Equal(got, all) {
		t.Errorf("after changes: %v instead of %v", got, all)
	}

	// Nothing of it is seen, or changed, from elsewhere.
	exam := strings.Replace(id, "/simulation/", "/exam/", 1)
	rivals := strings.Replace(strings.Replace(id, "/simulation/", "/other/", 1), "/lab/", "/rival/", 1)
	for _, call := range []struct{ method, path, body string }{
		{http.MethodGet, "", ""},
		{http.MethodPut, "", `{"label":"x","scoreMaximum":1}`},
		{http.MethodDelete, "", ""},
		{http.MethodPost, "/scores", scoreOf("anybody", a.clock.now(), "1", "1")},
		{http.MethodGet, "/results", ""},
	} {
		a.refusedJSON(c.call(call.method, exam+call.path, "", call.body), lti.LineItemUnknown)
		a.refusedJSON(a.rival().call(call.method, rivals+call.path, "", call.body), lti.LineItemUnknown)
		a.refusedJSON(a.rival().call(call.method, strings.Replace(id, "/lab/", "/rival/", 1)+call.path, "", call.body), lti.ContextUnknown)
	}
	for body, code := range map[string]lti.Code{
		`{"label":"x","scoreMaximum":1,"resourceLinkId":"exam-link"}`: lti.ParameterInvalid,
		`{"label":"x","scoreMaximum":1,"resourceLinkId":"other"}`:     lti.ParameterInvalid,
		`{"label":"x","scoreMaximum":0}`:                              lti.ParameterInvalid,
		`{"label":"x","scoreMaximum":-1}`:                             lti.ParameterInvalid,
		`{"label":"x"}`:                                               lti.ParameterMissing,
		`{"scoreMaximum":1}`:                                          lti.ParameterMissing,
		`{"label":" ","scoreMaximum":1}`:                              lti.ParameterMissing,
		`{"label":"x","label":"y","scoreMaximum":1}`:                  lti.ParameterRepeated,
		`[]`: lti.RequestMalformed,
		``:   lti.RequestMalformed,
		`{"label":"` + strings.Repeat("x", 17<<10) + `"}`: lti.RequestTooLarge,
		strings.Repeat("x", 65<<10):                       lti.RequestTooLarge,
	} {
		a.refusedJSON(c.createLineItem("simulation", body), code)
		a.refusedJSON(c.call(http.MethodPut, id, ags.MediaLineItem, body), code)
	}
	for query, code := range map[string]lti.Code{
		"limit=0": lti.ParameterInvalid, "limit=x": lti.ParameterInvalid, "limit=1&limit=2": lti.ParameterRepeated, "tag=a&tag=b": lti.ParameterRepeated,
		"after=" + url.QueryEscape(items+"/nothing"): lti.LineItemUnknown,
	} {
		a.refusedJSON(c.get(items+"?"+query), code)
	}

	if y := c.call(http.MethodDelete, id, "", ""); y.Code != http.StatusNoContent || y.Body.Len() != 0 {
		t.Errorf("%d %s", y.Code, y.Body)
	}
	a.refusedJSON(c.call(http.MethodDelete, id, "", ""), lti.LineItemUnknown)
	a.refusedJSON(c.call(http.MethodDelete, items+"/activity", "", ""), lti.LineItemProtected)
	if got := c.walk(items+"?limit=1", ags.MediaLineItemContainer, "id"); !slices.Equal(got, []string{items + "/activity", second}) {
		t.Errorf("after deleting: %v", got)
	}
}

// scoreOf is a score that is graded.
func scoreOf(learner string, at time.Time, given, maximum string) string {
	return fmt.Sprintf(`{"userId":%q,"timestamp":%q,"activityProgress":"Completed","gradingProgress":"FullyGraded","scoreGiven":%s,"scoreMaximum":%s}`,
		learner, at.UTC().Format(time.RFC3339Nano), given, maximum)
}

// stands is the score of one learner in a line item, as the tool reads it.
func (c *toolClient) stands(lineItem, learner string) string {
	c.t.Helper()
	var found []struct {
		User    string       `json:"userId"`
		Score   *json.Number `json:"resultScore"`
		Maximum json.Number  `json:"resultMaximum"`
	}
	x := c.get(lineItem + "/results?user_id=" + url.QueryEscape(learner))
	if err := json.Unmarshal(x.Body.Bytes(), &found); err != nil || x.Code != http.StatusOK || len(found) > 1 {
		c.t.Fatalf("%d %s", x.Code, x.Body)
	}
	if len(found) == 0 || found[0].Score == nil {
		return ""
	}
	return found[0].Score.String() + " of " + found[0].Maximum.String()
}

func TestScoresAreTakenInTheirOrder(t *testing.T) {
	a := newExternalAcademy(t)
	c := a.lab()
	b := a.learner(zoe())
	sub := b.subject("simulation")
	item := academyURL + c.context("simulation") + "/lineitems/activity"
	at := a.clock.now()
	post := func(body string) answer { return c.call(http.MethodPost, item+"/scores", ags.MediaScore, body) }
	if got := c.stands(item, sub); got != "" {
		t.Errorf("before any score: %s", got)
	}
	for _, step := range []struct {
		body string
		code lti.Code
		want string
	}{
		{scoreOf(sub, at, "0", "100"), "", "0 of 100"},
		{scoreOf(sub, at, "0", "100"), "", "0 of 100"},
		{scoreOf(sub, at, "1", "100"), lti.ScoreOutdated, "0 of 100"},
		{scoreOf(sub, at.Add(-time.Millisecond), "50", "100"), lti.ScoreOutdated, "0 of 100"},
		{scoreOf(sub, at.Add(time.Millisecond), "120", "100"), "", "120 of 100"},
		{scoreOf(sub, at.Add(2*time.Millisecond), "0.1", "0.3"), "", "0.1 of 0.3"},
		{scoreOf(sub, at.Add(3*time.Millisecond), "1", "0"), lti.ParameterInvalid, "0.1 of 0.3"},
		{scoreOf(sub, at.Add(3*time.Millisecond), "-1", "1"), lti.ParameterInvalid, "0.1 of 0.3"},
		{scoreOf(sub, at.Add(time.Hour), "1", "1"), lti.ParameterInvalid, "0.1 of 0.3"},
		{scoreOf(sub, at.Add(4*time.Millisecond), `"66.00000"`, `"100.00000"`), "", "66 of 100"},
	} {
		x := post(step.body)
		if got := x.reason(); got != step.code {
			t.Errorf("%s: %q, %s", step.body, got, x.Body)
		}
		if got := c.stands(item, sub); got != step.want {
			t.Errorf("%s: %s instead of %s", step.body, got, step.want)
		}
	}
	// What is refused leaves no trace in the history, what is repeated neither.
	if got := len(a.history(a.results(nil)[0].ID)); got != 4 {
		t.Errorf("%d messages", got)
	}
}

// history is what has made a result what it is, as the academy's back end reads it.
func (a *academy) history(id string) []map[string]any {
	a.t.Helper()
	var found result
	x := a.asAcademy(routing.PathResults + "/" + id)
	if err := json.Unmarshal(x.Body.Bytes(), &found); err != nil || x.Code != http.StatusOK || found.ID != id {
		a.t.Fatalf("%d %s", x.Code, x.Body)
	}
	return found.History
}

func TestScoresThatAreRefused(t *testing.T) {
	a := newExternalAcademy(t)
	c := a.lab()
	b := a.learner(zoe())
	sub := b.subject("simulation")
	yan := b.other("yan")
	yan.launch("exam")
	yanSub := yan.initiated("exam").Get("login_hint")
	atRival := b.initiated("other").Get("login_hint")
	at := a.clock.now()
	item := c.context("simulation") + "/lineitems/activity/scores"
	member := func(change func(map[string]any)) string {
		var m map[string]any
		if err := json.Unmarshal([]byte(scoreOf(sub, at, "1", "2")), &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	set := func(name string, value any) string {
		return member(func(m map[string]any) {
			if m[name] = value; value == nil {
				delete(m, name)
			}
		})
	}
	for name, tt := range map[string]struct {
		body string
		code lti.Code
	}{
		"nobody":                           {scoreOf("nobody", at, "1", "2"), lti.LearnerUnknown},
		"a learner of another activity":    {scoreOf(yanSub, at, "1", "2"), lti.LearnerUnknown},
		"the learner's ID at another tool": {scoreOf(atRival, at, "1", "2"), lti.LearnerUnknown},
		"the learner's ID at the academy":  {scoreOf("account-of-zoe", at, "1", "2"), lti.LearnerUnknown},
		"no user":                          {set("userId", nil), lti.ParameterMissing},
		"empty user":                       {set("userId", ""), lti.ParameterMissing},
		"long user":                        {set("userId", strings.Repeat("u", 256)), lti.ParameterInvalid},
		"no timestamp":                     {set("timestamp", nil), lti.ParameterMissing},
		"timestamp without zone":           {set("timestamp", "2026-01-01T00:00:00"), lti.ParameterInvalid},
		"timestamp that is a number":       {set("timestamp", 1700000000), lti.ParameterInvalid},
		"no activityProgress":              {set("activityProgress", nil), lti.ParameterMissing},
		"unknown activityProgress":         {set("activityProgress", "Done"), lti.ParameterInvalid},
		"no gradingProgress":               {set("gradingProgress", nil), lti.ParameterMissing},
		"unknown gradingProgress":          {set("gradingProgress", "fullygraded"), lti.ParameterInvalid},
		"no maximum":                       {set("scoreMaximum", nil), lti.ParameterMissing},
		"maximum of 0":                     {set("scoreMaximum", 0), lti.ParameterInvalid},
		"negative":                         {set("scoreGiven", -1), lti.ParameterInvalid},
		"score that is none":               {set("scoreGiven", "many"), lti.ParameterInvalid},
		"empty":                            {"", lti.RequestMalformed},
		"a list":                           {"[]", lti.RequestMalformed},
		"cut off":                          {scoreOf(sub, at, "1", "2")[:40], lti.RequestMalformed},
		"two":                              {scoreOf(sub, at, "1", "2") + scoreOf(sub, at, "1", "2"), lti.RequestMalformed},
		"a document type":                  {`<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><x>&y;</x>`, lti.RequestMalformed},
		"two users":                        {`{"userId":"a",` + scoreOf(sub, at, "1", "2")[1:], lti.ParameterRepeated},
		"long":                             {set("comment", strings.Repeat("c", 64<<10)), lti.RequestTooLarge},
	} {
		x := c.call(http.MethodPost, item, ags.MediaScore, tt.body)
		if got := x.reason(); got != tt.code {
			t.Errorf("%s: %q, %d %s", name, got, x.Code, x.Body)
			continue
		}
		if got := a.refusedJSON(x, tt.code); got != "invalid_request" {
			t.Errorf("%s: error %s", name, got)
		}
	}
	for _, r := range a.results(nil) {
		if r.Status != "Started" || r.Version != 0 || r.Score != nil {
			t.Errorf("a refused score has changed %+v", r)
		}
	}
}

func TestScoresOfALineItemOfTheToolDecideNothing(t *testing.T) {
	a := newExternalAcademy(t)
	c := a.lab()
	sub := a.learner(zoe()).subject("simulation")
	id, _ := c.createLineItem("simulation", `{"label":"Part 1","scoreMaximum":60}`).lineItem(http.StatusCreated, ags.MediaLineItem)["id"].(string)
	if x := c.call(http.MethodPost, id+"/scores", ags.MediaScore, scoreOf(sub, a.clock.now(), "30", "60")); x.Code != http.StatusOK {
		t.Fatal(x.Code, x.Body)
	}
	a.refusedJSON(c.call(http.MethodPost, id+"/scores", ags.MediaScore, scoreOf("nobody", a.clock.now(), "30", "60")), lti.LearnerUnknown)
	if got := c.stands(id, sub); got != "30 of 60" {
		t.Errorf("stands %s", got)
	}
	if got := c.stands(c.context("simulation")+"/lineitems/activity", sub); got != "" {
		t.Errorf("the activity has %s", got)
	}
	for _, r := range a.results(url.Values{"activity": {"simulation"}}) {
		if r.LineItem == "" && (r.Status != "Started" || r.Score != nil) {
			t.Errorf("result %+v", r)
		}
	}
}

func TestResultsThatAToolReads(t *testing.T) {
	a := newExternalAcademy(t)
	c := a.lab()
	item := academyURL + c.context("simulation") + "/lineitems/activity"
	if found, next := c.get(item + "/results").list(ags.MediaResultContainer); len(found) != 0 || next != "" {
		t.Errorf("results before any: %v, next %q", found, next)
	}
	first := a.learner(zoe())
	var subs []string
	for _, name := range []string{"ann", "bob", "cas", "dan", "eve"} {
		b := first.other(name)
		subs = append(subs, b.subject("simulation"))
		b.launch("exam")
	}
	// The last one has opened the activity, and nothing more.
	for _, sub := range subs[:4] {
		c.score("simulation", sub, a.clock.now(), "Completed", "FullyGraded", "80", "100")
		c.score("exam", sub, a.clock.now(), "Completed", "FullyGraded", "90", "100")
	}
	got := c.walk(item+"/results?limit=1", ags.MediaResultContainer, "userId")
	slices.Sort(got)
	want := slices.Sorted(slices.Values(subs[:4]))
	if !slices.Equal(got, want) {
		t.Errorf("pages of one have %v instead of %v", got, want)
	}
	found, _ := c.get(item + "/results?user_id=" + subs[1]).list(ags.MediaResultContainer)
	if len(found) != 1 || found[0]["userId"] != subs[1] || found[0]["scoreOf"] != item || found[0]["resultScore"] != 80.0 || found[0]["resultMaximum"] != 100.0 ||
		found[0]["id"] != ags.ResultsURL(item, subs[1]) {
		t.Errorf("results of one: %v", found)
	}
	for _, user := range []string{subs[4], "nobody"} {
		if found, next := c.get(item + "/results?user_id=" + user).list(ags.MediaResultContainer); len(found) != 0 || next != "" {
			t.Errorf("results of %s: %v", user, found)
		}
	}
	for query, code := range map[string]lti.Code{"limit=0": lti.ParameterInvalid, "user_id=a&user_id=b": lti.ParameterRepeated, "user_id=%00": lti.ParameterInvalid} {
		a.refusedJSON(c.get(item+"/results?"+query), code)
	}
}

// members is a page of the people of a context, and the address of the next one.
func (x answer) members() (found []map[string]any, next string) {
	x.t.Helper()
	var page struct {
		ID      string
		Context struct{ ID string }
		Members []map[string]any
	}
	if err := json.Unmarshal(x.Body.Bytes(), &page); err != nil || x.Code != http.StatusOK || x.Header().Get("Content-Type") != nrps.MediaType || page.Members == nil ||
		page.Context.ID == "" || page.ID != academyURL+"/tools/lab/contexts/"+page.Context.ID+"/memberships" {
		x.t.Fatalf("%d %s %s", x.Code, x.Header().Get("Content-Type"), x.Body)
	}
	return page.Members, service.Link(x.Header(), "next")
}

func TestPeopleOfAContext(t *testing.T) {
	a := newExternalAcademy(t)
	c := a.lab()
	address := academyURL + c.context("simulation") + "/memberships"
	if found, next := c.get(address).members(); len(found) != 0 || next != "" {
		t.Errorf("people before any: %v", found)
	}
	first := a.learner(zoe())
	want := map[string]string{first.subject("simulation"): "zoe@acme.example"}
	for _, name := range []string{"ann", "bob", "cas"} {
		want[first.other(name).subject("simulation")] = name + "@acme.example"
	}
	// Somebody who has opened the other activity alone, and somebody who came to no tool in the end.
	first.other("dan").launch("exam")
	first.other("eve").initiated("simulation")
	everybody := func(target string) map[string]string {
		got := map[string]string{}
		for pages := 0; target != ""; pages++ {
			var found []map[string]any
			found, target = c.get(target).members()
			if len(found) != 1 && strings.Contains(target, "limit=1") || pages > 10 {
				t.Fatalf("%d on page %d", len(found), pages)
			}
			for _, m := range found {
				id, _ := m["user_id"].(string)
				if _, twice := got[id]; twice {
					t.Errorf("%s is there twice", id)
				}
				got[id], _ = m["email"].(string)
			}
		}
		return got
	}
	const learner = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
	for _, query := range []string{
		"", "?limit=1", "?limit=3", "?role=Learner", "?limit=1&role=" + url.QueryEscape(learner), "?limit=1&rlid=simulation", "?rlid=simulation&role=Learner",
	} {
		if got := everybody(address + query); !maps.Equal(got, want) {
			t.Errorf("%q: %v instead of %v", query, got, want)
		}
	}
	for _, query := range []string{"?role=Instructor", "?role=" + url.QueryEscape("http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor")} {
		if found, next := c.get(address + query).members(); len(found) != 0 || next != "" {
			t.Errorf("%q: %v", query, found)
		}
	}
	for query, code := range map[string]lti.Code{
		"?rlid=exam-link": lti.ContextUnknown, "?rlid=nothing": lti.ContextUnknown, "?role=Lerner": lti.ParameterInvalid, "?limit=0": lti.ParameterInvalid,
		"?role=Learner&role=Learner": lti.ParameterRepeated, "?rlid=simulation&rlid=simulation": lti.ParameterRepeated,
	} {
		a.refusedJSON(c.get(address+query), code)
	}
	// With a resource link come the parameters that a launch would have, of that person.
	found, _ := c.get(address + "?rlid=simulation").members()
	for _, m := range found {
		messages, _ := m["message"].([]any)
		if len(messages) != 1 {
			t.Fatalf("messages %v", messages)
		}
		custom, _ := messages[0].(map[string]any)[claim+"custom"].(map[string]any)
		if custom["who"] != m["user_id"] || custom["mail"] != m["email"] || custom["level"] != "2 & ü" {
			t.Errorf("%v has %v", m, custom)
		}
	}
	// What the tool may not know it does not learn here either.
	a.republish(func(table *routing.Table) {
		toolIn(table, "lab").Privacy = routing.Privacy{WithholdName: true, WithholdEmail: true}
	})
	x := c.get(address + "?rlid=simulation")
	if found, _ := x.members(); len(found) != len(want) || strings.Contains(x.Body.String(), "acme.example\"") || strings.Contains(x.Body.String(), "Smit") {
		t.Errorf("%s", x.Body)
	}
}

// Tools remove people who are missing.
func TestAStoreThatIsDownIsNoEmptyList(t *testing.T) {
	a := newExternalAcademy(t)
	c := a.lab()
	sub := a.learner(zoe()).subject("simulation")
	token := c.token(allScopes()...)
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, call := range []struct{ method, path, body string }{
		{http.MethodGet, "/memberships", ""},
		{http.MethodGet, "/memberships?limit=1", ""},
		{http.MethodGet, "/lineitems", ""},
		{http.MethodGet, "/lineitems/activity", ""},
		{http.MethodGet, "/lineitems/activity/results", ""},
		{http.MethodGet, "/lineitems/x/results", ""},
		{http.MethodPost, "/lineitems", `{"label":"x","scoreMaximum":1}`},
		{http.MethodPut, "/lineitems/activity", `{"label":"x","scoreMaximum":1}`},
		{http.MethodDelete, "/lineitems/x", ""},
		{http.MethodPost, "/lineitems/activity/scores", scoreOf(sub, a.clock.now(), "1", "2")},
	} {
		x := c.callWith(token, call.method, c.context("simulation")+call.path, "", call.body)
		if got := x.reason(); got != lti.StoreUnavailable {
			t.Errorf("%s %s: %q, %d %s", call.method, call.path, got, x.Code, x.Body)
			continue
		}
		if got := a.refusedJSON(x, lti.StoreUnavailable); got != "temporarily_unavailable" {
			t.Errorf("%s %s: error %s", call.method, call.path, got)
		}
	}
	for _, path := range []string{routing.PathResults, routing.PathResults + "/x"} {
		a.refusedJSON(a.asAcademy(path), lti.StoreUnavailable)
	}
}

func TestResultsThatTheAcademyReads(t *testing.T) {
	a := newExternalAcademy(t)
	c := a.lab()
	b := a.learner(zoe())
	sub := b.subject("simulation")
	b.other("yan").launch("exam")
	at := a.clock.now()
	c.score("simulation", sub, at, "InProgress", "NotReady", "", "")
	c.score("simulation", sub, at.Add(time.Second), "Completed", "FullyGraded", "80", "100")
	found := a.results(url.Values{"activity": {"simulation"}})
	if len(found) != 1 || found[0].Subject != "account-of-zoe" || found[0].LTIUserID != sub || found[0].Status != "Completed" || found[0].Score == nil ||
		found[0].Score.Given != "80" || found[0].Score.Maximum != "100" {
		t.Fatalf("results %+v", found)
	}
	history := a.history(found[0].ID)
	if len(history) != 2 || history[0]["status"] != "Completed" || history[1]["status"] != "InProgress" || history[0]["source"] != "AGS" || history[0]["operation"] != "score" {
		t.Errorf("history %v", history)
	}
	for query, want := range map[string]int{
		"": 2, "sub=account-of-zoe": 1, "sub=account-of-yan": 1, "sub=" + sub: 0, "activity=exam": 1, "activity=exam&sub=account-of-zoe": 0, "activity=height": 0,
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.results(values); len(got) != want {
			t.Errorf("%q: %d results", query, len(got))
		}
	}
	var page struct {
		Results []result
		Next    string
	}
	seen := map[string]bool{}
	for after := ""; ; after = page.Next {
		page.Next = ""
		x := a.asAcademy(routing.PathResults + "?" + url.Values{"limit": {"1"}, "after": {after}}.Encode())
		if err := json.Unmarshal(x.Body.Bytes(), &page); err != nil || len(page.Results) != 1 || seen[page.Results[0].ID] {
			t.Fatalf("%d %s", x.Code, x.Body)
		}
		if seen[page.Results[0].ID] = true; page.Next == "" {
			break
		}
	}
	if len(seen) != 2 {
		t.Errorf("pages of one have %d", len(seen))
	}
	a.refusedJSON(a.asAcademy(routing.PathResults+"?limit=0"), lti.ParameterInvalid)
	a.refusedJSON(a.asAcademy(routing.PathResults+"/nothing"), lti.ResultUnknown)

	token := func(scope string) string {
		app := a.browser()
		app.header.Set("Authorization", basic(clientSecret))
		x := app.do(http.MethodPost, routing.PathOIDC+"/token", url.Values{"grant_type": {"client_credentials"}, "scope": {scope}})
		var got struct {
			Token string `json:"access_token"`
		}
		if err := json.Unmarshal(x.Body.Bytes(), &got); err != nil || x.Code != http.StatusOK {
			t.Fatalf("%d %s", x.Code, x.Body)
		}
		return got.Token
	}
	read := func(authorization string) []answer {
		app := a.browser()
		if authorization != "" {
			app.header.Set("Authorization", authorization)
		}
		return []answer{app.do(http.MethodGet, routing.PathResults, nil), app.do(http.MethodGet, routing.PathResults+"/"+found[0].ID, nil)}
	}
	for _, x := range read("Bearer " + token(identity.ScopeResults)) {
		if x.Code != http.StatusOK {
			t.Errorf("%d %s", x.Code, x.Body)
		}
	}
	for authorization, code := range map[string]lti.Code{
		"": lti.ClientUnauthorized, basic("guess"): lti.ClientUnauthorized, "Bearer " + token(identity.ScopeProgress): lti.AccessTokenInvalid,
		"Bearer guessed": lti.AccessTokenInvalid, "Bearer " + c.token(allScopes()...): lti.AccessTokenInvalid,
	} {
		for _, x := range read(authorization) {
			a.refusedJSON(x, code)
		}
	}
}

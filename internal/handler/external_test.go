// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/nrps"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Keys of the platform role.
var (
	labPlatformKey = rsaKey(2048) // ours, for the tool lab
	labKey         = rsaKey(2048) // the lab's own
	rivalKey       = rsaKey(2048) // that of another tool
)

const (
	partnerKey    = "partner-key"
	partnerSecret = "canary-secret-that-the-partner-gave-us"
	// webhookSecret is whsec_ and the base64 of 32 bytes.
	webhookSecret = "whsec_Y2FuYXJ5LXdlYmhvb2stc2VjcmV0LTAxMjM0NTY3ODk="
)

// externalAcademy is an academy whose learners open activities of others: "simulation", an e-learning of the tool lab,
// "exam", which the lab has too, "rival", which another tool has, and "partner", a form launch.
type externalAcademy struct {
	*academy
	idp *identityProvider
}

func newExternalAcademy(t *testing.T) *externalAcademy {
	t.Helper()
	return newAcademy(t).withExternal()
}

// withExternal adds the identity provider and the activities.
func (a *academy) withExternal() *externalAcademy {
	a.t.Helper()
	idp := newIdentityProvider(a.t)
	a.republish(func(table *routing.Table) {
		idp.uses(table)
		a.externalTable(table)
	})
	return &externalAcademy{academy: a, idp: idp}
}

func (a *academy) externalTable(t *routing.Table) {
	lti13 := func(tool, link string, parameters ...routing.Parameter) *routing.External {
		return &routing.External{Presentation: routing.PresentationNewWindow, ReturnURL: "https://academy.acme.example/catalogue", LTI13: &routing.ExternalLTI13{
			Tool: tool, ResourceURL: "https://" + tool + ".example/resources/" + link + "?lang=en", ResourceLinkID: link, Parameters: parameters,
		}}
	}
	t.Tools = append(t.Tools, a.tool("lab", "Simulation Lab", labPlatformKey(), labKey()), a.tool("rival", "Rival", labPlatformKey(), rivalKey()))
	t.Activities = append(t.Activities,
		routing.Activity{Name: "simulation", Title: "Rescue <simulation>", Description: "Rescue somebody.", Type: "ELearning", External: lti13("lab", "simulation",
			routing.Parameter{Name: "level", Value: "2 & ü"}, routing.Parameter{Name: "who", Value: "$User.id"},
			routing.Parameter{Name: "mail", Value: "$Person.email.primary"}, routing.Parameter{Name: "full", Value: "$Person.name.full"})},
		routing.Activity{Name: "exam", Title: "Rescue exam", Type: routing.ActivityTypeExam, MinimumScore: 70, External: lti13("lab", "exam-link")},
		routing.Activity{Name: "other", Title: "Of the rival", Type: "ELearning", External: lti13("rival", "other")},
		routing.Activity{Name: "partner", Title: "Of the partner", Type: "ELearning", External: &routing.External{
			Presentation: routing.PresentationNewWindow, LTI12: &routing.ExternalLTI12{
				LaunchURL: "https://partner.example/launch?course=7&x=a%20b", ResourceLinkID: "link 7",
				Parameters: []routing.Parameter{{Name: "level", Value: "2 & ü"}, {Name: "mail", Value: "$Person.email.primary"}, {Name: "full", Value: "$Person.name.full"}},
			},
		}},
		routing.Activity{Name: "partner-exam", Title: "Exam of the partner", Type: routing.ActivityTypeExam, MinimumScore: 70, External: &routing.External{
			Presentation: routing.PresentationNewWindow, LTI12: &routing.ExternalLTI12{LaunchURL: "https://partner.example/exam", ResourceLinkID: "exam"},
		}},
	)
	for _, name := range []string{"partner", "partner-exam"} {
		t.ExternalCredentials = append(t.ExternalCredentials, routing.ExternalCredential{Activity: name, ConsumerKey: partnerKey, Secrets: []string{partnerSecret}})
	}
}

// tool is a registered tool, whose ID tokens ours signs.
func (a *academy) tool(name, title string, ours, theirs *rsa.PrivateKey) routing.Tool {
	der, err := x509.MarshalPKCS8PrivateKey(ours)
	if err != nil {
		a.t.Fatal(err)
	}
	a.table.SigningKeys = append(a.table.SigningKeys, routing.SigningKey{
		Kind: routing.KindTool, Name: name, KeyID: keys.PublicJWK(&ours.PublicKey).KeyID,
		PrivateKeyPEM: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	return routing.Tool{
		Name: name, Title: title, Active: true, PublicKeys: []routing.JWK{keys.PublicJWK(&ours.PublicKey)},
		LTI13: &routing.ToolLTI13{
			LoginInitiationURL: "https://" + name + ".example/login?tenant=1", JWKS: a.keySet(theirs),
			RedirectURIs: []string{"https://" + name + ".example/launch", "https://" + name + ".example/launch/2"},
		},
	}
}

func toolIn(t *routing.Table, name string) *routing.Tool {
	for i := range t.Tools {
		if t.Tools[i].Name == name {
			return &t.Tools[i]
		}
	}
	panic("no tool " + name)
}

// zoe is a learner of the academy.
func zoe() jwt.MapClaims {
	return jwt.MapClaims{
		"sub": "idp-1", "account": "account-of-zoe", "email": "zoe@acme.example", "email_verified": true,
		"name": "Zoë Smit", "given_name": "Zoë", "family_name": "Smit", "locale": "nl-NL",
	}
}

// learnerNamed is a learner of the academy with a name of their own.
func learnerNamed(name string) jwt.MapClaims {
	who := zoe()
	who["sub"], who["account"], who["name"], who["given_name"], who["email"] = "idp-"+name, "account-of-"+name, name+" Smit", name, name+"@acme.example"
	return who
}

// learnerBrowser is a browser whose learner is signed in at the identity provider.
type learnerBrowser struct {
	*browser
	idp *identityProvider
	who jwt.MapClaims
}

func (a *externalAcademy) learner(who jwt.MapClaims) *learnerBrowser {
	return &learnerBrowser{browser: a.browser(), idp: a.idp, who: who}
}

// begin opens the link that the academy shows, signs in, and returns what comes back.
func (b *learnerBrowser) begin(activity string) answer {
	b.t.Helper()
	b.dest = "document"
	asked := b.do(http.MethodGet, "/activities/"+activity+"/start", nil).location().Query()
	b.idp.claims, b.idp.nonce = b.who, asked.Get("nonce")
	return b.do(http.MethodGet, routing.PathLearnerCallback+"?"+url.Values{"code": {"c"}, "state": {asked.Get("state")}, "iss": {b.idp.URL}}.Encode(), nil)
}

// initiated is what the tool's login initiation URL gets.
func (b *learnerBrowser) initiated(activity string) url.Values {
	b.t.Helper()
	return b.begin(activity).location().Query()
}

// request is the tool's authentication request for a login initiation.
func (b *learnerBrowser) request(login url.Values) url.Values {
	form := url.Values{
		"scope": {"openid"}, "response_type": {"id_token"}, "response_mode": {"form_post"}, "prompt": {"none"},
		"client_id": {login.Get("client_id")}, "redirect_uri": {"https://" + login.Get("client_id") + ".example/launch"},
		"login_hint": {login.Get("login_hint")}, "lti_message_hint": {login.Get("lti_message_hint")},
		"state": {"state of the tool & more"}, "nonce": {fmt.Sprintf("nonce-%d", formNonces.Add(1))},
	}
	return form
}

func (b *learnerBrowser) authorize(form url.Values) answer {
	b.t.Helper()
	return b.do(http.MethodPost, "/tools/"+form.Get("client_id")+"/authorize", form)
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

var formAction = regexp.MustCompile(`<form [^>]*action="([^"]*)"`)

// posted is the form that a page makes the browser post.
func (x answer) posted() (action string, fields url.Values) {
	x.t.Helper()
	body := x.Body.String()
	m := formAction.FindStringSubmatch(body)
	if x.Code != http.StatusOK || m == nil {
		x.t.Fatalf("no form: %d %s", x.Code, text(body))
	}
	fields = url.Values{}
	for _, f := range hiddenField.FindAllStringSubmatch(body, -1) {
		fields.Add(html.UnescapeString(f[1]), html.UnescapeString(f[2]))
	}
	return html.UnescapeString(m[1]), fields
}

// idToken returns the claims of the ID token that is posted to the tool, verified with our published key.
func (x answer) idToken() jwt.MapClaims {
	x.t.Helper()
	_, fields := x.posted()
	claims := jwt.MapClaims{}
	if _, err := jwt.ParseWithClaims(fields.Get("id_token"), claims, func(*jwt.Token) (any, error) { return &labPlatformKey().PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(academyURL), jwt.WithExpirationRequired()); err != nil {
		x.t.Fatalf("%v: %v", err, fields)
	}
	return claims
}

// launch goes through a whole launch at the tool of the activity.
func (b *learnerBrowser) launch(activity string) jwt.MapClaims {
	b.t.Helper()
	return b.authorize(b.request(b.initiated(activity))).idToken()
}

// toolClient is a tool that calls our services.
type toolClient struct {
	*academy
	name string
	key  *rsa.PrivateKey
}

func (a *academy) lab() *toolClient   { return &toolClient{a, "lab", labKey()} }
func (a *academy) rival() *toolClient { return &toolClient{a, "rival", rivalKey()} }

// assertion proves who the tool is; change edits the claims.
func (c *toolClient) assertion(change func(jwt.MapClaims)) string {
	now := c.clock.now()
	claims := jwt.MapClaims{
		"iss": c.name, "sub": c.name, "aud": academyURL + "/tools/" + c.name + "/token", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"jti": fmt.Sprintf("jti-%d", formNonces.Add(1)),
	}
	if change != nil {
		change(claims)
	}
	return c.sign(claims, jwt.SigningMethodRS256, c.key)
}

func (c *toolClient) sign(claims jwt.MapClaims, method jwt.SigningMethod, key any) string {
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = keys.PublicJWK(&c.key.PublicKey).KeyID
	signed, err := token.SignedString(key)
	if err != nil {
		c.t.Fatal(err)
	}
	return signed
}

func tokenForm(assertion string, scopes ...string) url.Values {
	return url.Values{
		"grant_type": {"client_credentials"}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion": {assertion}, "scope": {strings.Join(scopes, " ")},
	}
}

func allScopes() []string {
	return []string{ags.ScopeLineItem, ags.ScopeLineItemReadOnly, ags.ScopeResultReadOnly, ags.ScopeScore, nrps.Scope}
}

// token asks for an access token.
func (c *toolClient) token(scopes ...string) string {
	c.t.Helper()
	x := c.browser().do(http.MethodPost, "/tools/"+c.name+"/token", tokenForm(c.assertion(nil), scopes...))
	var got struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(x.Body.Bytes(), &got); err != nil || x.Code != http.StatusOK || got.AccessToken == "" {
		c.t.Fatalf("%d %s", x.Code, x.Body)
	}
	return got.AccessToken
}

// call sends a request with an access token for all scopes. The target is a path or a URL of ours.
func (c *toolClient) call(method, target, contentType, body string) answer {
	c.t.Helper()
	return c.callWith(c.token(allScopes()...), method, target, contentType, body)
}

func (c *toolClient) callWith(token, method, target, contentType, body string) answer {
	c.t.Helper()
	b := c.browser()
	b.header.Set("Authorization", "Bearer "+token)
	return b.send(method, strings.TrimPrefix(target, academyURL), contentType, body)
}

// score posts a score of a learner in an activity; empty values are left out.
func (c *toolClient) score(activity, learner string, at time.Time, activityProgress, gradingProgress, given, maximum string) answer {
	c.t.Helper()
	body := fmt.Sprintf(`{"userId":%q,"timestamp":%q,"activityProgress":%q,"gradingProgress":%q`,
		learner, at.UTC().Format("2006-01-02T15:04:05.000Z07:00"), activityProgress, gradingProgress)
	if given != "" {
		body += `,"scoreGiven":` + given
	}
	if maximum != "" {
		body += `,"scoreMaximum":` + maximum
	}
	return c.call(http.MethodPost, "/tools/"+c.name+"/contexts/"+activity+"/lineitems/activity/scores", ags.MediaScore, body+"}")
}

// result is how a learner stands, as the academy's back end reads it.
type result struct {
	ID        string `json:"id"`
	Activity  string `json:"activity"`
	Subject   string `json:"subject"`
	LTIUserID string `json:"ltiUserID"`
	Status    string `json:"status"`
	Score     *score `json:"score"`
	Minimum   int    `json:"minimumScore"`
	Version   int64  `json:"version"`
	Comment   string `json:"comment"`
	Delivery  *struct {
		State, Reason string
		Attempts      int
	}
	UpdatedAt  time.Time `json:"updatedAt"`
	History    []map[string]any
	LineItem   string    `json:"lineItem"`
	ReportedAt time.Time `json:"timestamp"`
}

type score struct{ Given, Maximum json.Number }

// results are what the academy's back end reads.
func (a *academy) results(query url.Values) []result {
	a.t.Helper()
	var page struct{ Results []result }
	x := a.asAcademy("/results?" + query.Encode())
	if err := json.Unmarshal(x.Body.Bytes(), &page); err != nil || x.Code != http.StatusOK {
		a.t.Fatalf("%d %s", x.Code, x.Body)
	}
	return page.Results
}

func (a *academy) asAcademy(target string) answer {
	a.t.Helper()
	r := httptest.NewRequest(http.MethodGet, academyURL+target, nil)
	r.SetBasicAuth(clientName, clientSecret)
	w := httptest.NewRecorder()
	a.public.ServeHTTP(w, r)
	a.record(r, w)
	return answer{w, a.t}
}

func (a *academy) statusOf(activity string) string {
	a.t.Helper()
	found := a.results(url.Values{"activity": {activity}})
	if len(found) != 1 {
		a.t.Fatalf("%d results of %s", len(found), activity)
	}
	return found[0].Status
}

func TestALearnerOpensAnActivityOfATool(t *testing.T) {
	a := newExternalAcademy(t)
	b := a.learner(zoe())
	login := b.initiated("simulation")
	for name, want := range map[string]string{
		"iss": academyURL, "client_id": "lab", "lti_deployment_id": "lab", "target_link_uri": "https://lab.example/resources/simulation?lang=en",
		"tenant": "1", "lti_storage_target": "",
	} {
		if got := login.Get(name); got != want {
			t.Errorf("%s is %q instead of %q", name, got, want)
		}
	}
	form := b.request(login)
	x := b.authorize(form)
	action, fields := x.posted()
	if action != "https://lab.example/launch" || fields.Get("state") != form.Get("state") {
		t.Errorf("posted to %s: state %q", action, fields.Get("state"))
	}
	claims := x.idToken()
	const prefix = "https://purl.imsglobal.org/spec/lti/claim/"
	sub, _ := claims["sub"].(string)
	for name, want := range map[string]any{
		"aud": "lab", "nonce": form.Get("nonce"), "sub": login.Get("login_hint"), "name": "Zoë Smit", "given_name": "Zoë", "family_name": "Smit",
		"email": "zoe@acme.example", "locale": "nl-NL", prefix + "deployment_id": "lab", prefix + "version": "1.3.0",
		prefix + "message_type": "LtiResourceLinkRequest", prefix + "target_link_uri": "https://lab.example/resources/simulation?lang=en",
		prefix + "resource_link": map[string]any{"id": "simulation", "title": "Rescue <simulation>", "description": "Rescue somebody."},
		prefix + "custom":        map[string]any{"level": "2 & ü", "who": sub, "mail": "zoe@acme.example", "full": "Zoë Smit"},
		prefix + "roles":         []any{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
	} {
		if got := claims[name]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v instead of %v", name, got, want)
		}
	}
	if strings.Contains(sub, "account") || strings.Contains(sub, "idp-1") || len(sub) < 22 {
		t.Errorf("sub %q", sub)
	}
	if got := a.statusOf("simulation"); got != "Started" {
		t.Errorf("status %s", got)
	}
	if y := a.lab().score("simulation", sub, a.clock.now(), "Completed", "FullyGraded", "80", "100"); y.Code != http.StatusOK {
		t.Fatalf("%d %s", y.Code, y.Body)
	}
	if got := a.statusOf("simulation"); got != "Completed" {
		t.Errorf("status %s", got)
	}
}

func TestLeavingAFrameTakesTheWholePageAway(t *testing.T) {
	a := newExternalAcademy(t)
	a.republish(func(t *routing.Table) {
		activityIn(t, "simulation").External.Presentation = routing.PresentationEmbedded
	})
	b := a.learner(zoe())
	page := b.begin("simulation")
	frame := regexp.MustCompile(`<iframe [^>]*src="([^"]*)"`).FindStringSubmatch(page.Body.String())
	if page.Code != http.StatusOK || frame == nil {
		t.Fatalf("%d %s", page.Code, text(page.Body.String()))
	}
	address, err := url.Parse(html.UnescapeString(frame[1]))
	if err != nil || address.Query().Get("lti_storage_target") != "_parent" {
		t.Fatalf("%v: %v", address, err)
	}
	x := b.authorize(b.request(address.Query()))
	if _, fields := x.posted(); fields.Get("lti_storage_target") != "_parent" {
		t.Error("the tool is not told again where the storage is")
	}
	presentation, _ := x.idToken()["https://purl.imsglobal.org/spec/lti/claim/launch_presentation"].(map[string]any)
	if presentation["document_target"] != "iframe" || presentation["return_url"] != academyURL+"/activities/simulation/return" {
		t.Errorf("%v", presentation)
	}
	back := b.do(http.MethodGet, "/activities/simulation/return?lti_msg=Well+done+%26+more&evil=1", nil)
	if want := `href="https://academy.acme.example/catalogue?lti_msg=Well+done+%26+more" target="_top"`; back.Code != http.StatusOK ||
		!strings.Contains(html.UnescapeString(back.Body.String()), want) {
		t.Errorf("%d %s", back.Code, back.Body)
	}
}

func TestARefusalNamesTheSupplierOfAnActivity(t *testing.T) {
	a := newExternalAcademy(t)
	a.republish(func(t *routing.Table) { toolIn(t, "lab").Active = false })
	x := a.learner(zoe()).do(http.MethodGet, "/activities/simulation/start", nil)
	a.refused(x, lti.ToolDeactivated)
	page := text(x.Body.String())
	if !strings.Contains(page, "Supplier of the activity Simulation Lab") || strings.Contains(page, "Learning system") {
		t.Errorf("the page: %s", page)
	}
}

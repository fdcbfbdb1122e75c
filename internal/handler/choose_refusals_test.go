// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/handler"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// attempt is an author who has gone to the lab, and the request that the lab got.
type attempt struct {
	*learnerBrowser
	request jwt.MapClaims
}

// A response that is refused spends nothing: the right one is taken afterwards.
func TestAResponseIsRefused(t *testing.T) {
	with := func(change func(jwt.MapClaims)) func(attempt) answer {
		return func(x attempt) answer { return x.bring("lab", x.lab().signed(x.request, change)) }
	}
	set := func(name string, value any) func(attempt) answer {
		return with(func(c jwt.MapClaims) {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		})
	}
	signs := func(method jwt.SigningMethod, key any) func(attempt) answer {
		return func(x attempt) answer {
			return x.bring("lab", x.lab().sign(x.lab().respond(x.request, nil), method, key))
		}
	}
	posts := func(form url.Values) func(attempt) answer {
		return func(x attempt) answer { return x.do(http.MethodPost, "/tools/lab/chosen", form) }
	}
	for name, c := range map[string]struct {
		do   func(attempt) answer
		code lti.Code
	}{
		"unsigned":                 {signs(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType), lti.AlgorithmNotAllowed},
		"signed with a secret":     {signs(jwt.SigningMethodHS256, []byte("secret")), lti.AlgorithmNotAllowed},
		"signed by the rival":      {signs(jwt.SigningMethodRS256, rivalKey()), lti.SignatureInvalid},
		"signed by ourselves":      {signs(jwt.SigningMethodRS256, labPlatformKey()), lti.SignatureInvalid},
		"with the rival's key":     {func(x attempt) answer { return x.bring("lab", x.rival().signed(x.request, nil)) }, lti.KeyUnknown},
		"with a letter changed":    {func(x attempt) answer { return x.bring("lab", spoil(x.lab().signed(x.request, nil))) }, lti.SignatureInvalid},
		"of another issuer":        {set("iss", "rival"), lti.IssuerMismatch},
		"for somebody else":        {set("aud", "https://other.example"), lti.AudienceMismatch},
		"for somebody else too":    {set("aud", []string{academyURL, "https://other.example"}), lti.AudienceMismatch},
		"issued to somebody else":  {set("azp", "rival"), lti.AuthorizedPartyMismatch},
		"expired":                  {set("exp", time.Now().Add(-2*time.Minute).Unix()), lti.TokenExpired},
		"from the future":          {set("iat", time.Now().Add(2*time.Minute).Unix()), lti.TokenIssuedInFuture},
		"from long ago":            {set("iat", time.Now().Add(-2*time.Hour).Unix()), lti.TokenTooOld},
		"without a nonce":          {set("nonce", nil), lti.ClaimMissing},
		"of another deployment":    {set(claim+"deployment_id", "rival"), lti.DeploymentMismatch},
		"a launch":                 {set(claim+"message_type", "LtiResourceLinkRequest"), lti.MessageTypeUnsupported},
		"of another version":       {set(claim+"version", "2.0"), lti.VersionUnsupported},
		"without data":             {set(deepLinking+"data", nil), lti.ClaimMissing},
		"with empty data":          {set(deepLinking+"data", ""), lti.ChoiceInvalid},
		"with data of its own":     {set(deepLinking+"data", "guessed"), lti.ChoiceInvalid},
		"with items that are none": {set(deepLinking+"content_items", "x"), lti.ClaimInvalid},
		"with a hint as data": {func(x attempt) answer {
			hint := x.initiated("simulation").Get("lti_message_hint")
			return set(deepLinking+"data", hint)(x)
		}, lti.ChoiceInvalid},
		"with data of the rival": {func(x attempt) answer {
			rivals := settingsOf(x.asked("rival"))["data"]
			return set(deepLinking+"data", rivals)(x)
		}, lti.ChoiceInvalid},
		"brought to the rival": {func(x attempt) answer { return x.bring("rival", x.lab().signed(x.request, nil)) }, lti.KeyUnknown},
		"brought to nobody":    {func(x attempt) answer { return x.bring("nobody", x.lab().signed(x.request, nil)) }, lti.ToolUnknown},
		"no token":             {posts(url.Values{}), lti.ParameterMissing},
		"an empty token":       {posts(url.Values{"JWT": {""}}), lti.ParameterMissing},
		"two tokens":           {posts(url.Values{"JWT": {"a", "b"}}), lti.ParameterRepeated},
		"under another name":   {posts(url.Values{"id_token": {"a.b.c"}}), lti.ParameterMissing},
		"no JWT":               {posts(url.Values{"JWT": {"guessed"}}), lti.TokenMalformed},
		"not a form":           {func(x attempt) answer { return x.send(http.MethodPost, "/tools/lab/chosen", "application/json", "{}") }, lti.RequestMalformed},
		"too long":             {posts(url.Values{"JWT": {strings.Repeat("x", 256<<10)}}), lti.RequestTooLarge},
		"in another browser":   {inAnotherJar, lti.StateNotFromThisBrowser},
		"by another author":    {func(x attempt) answer { return byAnother(x.learnerBrowser, x.request) }, lti.StateNotFromThisBrowser},
		"with a nonce of before": {func(x attempt) answer {
			x.chosen(func(c jwt.MapClaims) { c["nonce"] = "used before" }).yaml()
			return set("nonce", "used before")(x)
		}, lti.ChoiceAlreadyUsed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newChoosingAcademy(t)
			b := a.learner(author(zoe()))
			x := attempt{b, b.asked("lab")}
			refused := c.do(x)
			a.refused(refused, c.code)
			if strings.Contains(refused.Body.String(), "<textarea") {
				t.Error("something is shown all the same")
			}
			if again := `data-testid="choose-again"`; c.code != lti.ToolUnknown && !strings.Contains(refused.Body.String(), again) {
				t.Errorf("no way to choose again: %s", refused.Body)
			}
			if len(b.bring("lab", b.lab().signed(x.request, nil)).activities()) != 1 {
				t.Error("the right response is not taken any more")
			}
		})
	}
}

// inAnotherJar posts a response, that our own page posts again, from a browser that did not begin the choice.
func inAnotherJar(x attempt) answer {
	jar := x.jar
	defer func() { x.jar = jar }()
	x.jar, _ = cookiejar.New(nil)
	action, fields := x.bring("lab", x.lab().signed(x.request, nil)).posted()
	return x.do(http.MethodPost, action, fields)
}

// byAnother posts a response in the browser of an author who has a choice of their own under way.
func byAnother(b *learnerBrowser, request jwt.MapClaims) answer {
	other := b.other("yan")
	author(other.who)
	other.asked("lab")
	action, fields := other.bring("lab", b.lab().signed(request, nil)).posted()
	return other.do(http.MethodPost, action, fields)
}

// spoil changes a letter in the middle of the claims.
func spoil(token string) string {
	parts := strings.Split(token, ".")
	claims := []byte(parts[1])
	if i := len(claims) / 2; claims[i] == 'A' {
		claims[i] = 'B'
	} else {
		claims[i] = 'A'
	}
	return strings.Join([]string{parts[0], string(claims), parts[2]}, ".")
}

func TestTheSupplierIsToldWhatIsWrongWithAResponse(t *testing.T) {
	a := newChoosingAcademy(t)
	b := a.learner(author(zoe()))
	request := b.asked("lab")
	for lang, header := range map[string]string{"en": "en", "nl": "nl"} {
		b.header.Set("Accept-Language", header)
		x := b.bring("lab", b.lab().signed(request, func(c jwt.MapClaims) { c["aud"] = "x" }))
		page, ui := text(x.Body.String()), texts()[lang].UI
		for _, want := range []string{ui["chooseRefusedTitle"], ui["chooseRefused"], ui["forTool"], ui["chooseAdministrator"], texts()[lang].Advice["chooseAgain"], "Simulation Lab"} {
			if !strings.Contains(page, strings.Join(strings.Fields(want), " ")) {
				t.Errorf("%s: the page does not say %q: %s", lang, want, page)
			}
		}
		if strings.Contains(page, ui["forOtherParty"]) {
			t.Errorf("%s: the page speaks of a learning system: %s", lang, page)
		}
	}
}

func TestAResponseWithoutOurCookieIsPostedAgainFromOurPage(t *testing.T) {
	a := newChoosingAcademy(t)
	b := a.learner(author(zoe()))
	response := b.lab().signed(b.asked("lab"), nil)
	jar := b.jar
	b.jar, _ = cookiejar.New(nil)
	action, fields := b.bring("lab", response).posted()
	if want := (url.Values{"JWT": {response}, "lti_operator_reposted": {"1"}}); action != "/tools/lab/chosen" || !maps.EqualFunc(fields, want, equal) {
		t.Fatalf("posted to %s: %v", action, fields)
	}
	if strings.Contains(a.log.String(), `"refused"`) {
		t.Error(a.log)
	}
	b.jar = jar
	if len(b.do(http.MethodPost, action, fields).activities()) != 1 {
		t.Error("nothing is shown")
	}
	// What is not the tool's is not posted again either: there would be nothing to gain.
	b.jar, _ = cookiejar.New(nil)
	a.refused(b.bring("lab", spoil(response)), lti.SignatureInvalid)
}

func equal(a, b []string) bool { return strings.Join(a, "\x00") == strings.Join(b, "\x00") }

func TestAChoiceIsTakenOnce(t *testing.T) {
	a := newChoosingAcademy(t)
	another := a.startAnother(a.store)
	b := a.learner(author(zoe()))
	request := b.asked("lab")
	shown := 0
	form := url.Values{"JWT": {b.lab().signed(request, nil)}}
	for _, x := range b.together(20, "/tools/lab/chosen", form, a.public, another) {
		switch {
		case x.reason() == "" && x.yaml() != "":
			shown++
		case x.reason() != lti.ChoiceAlreadyUsed:
			t.Errorf("%d %s", x.Code, text(x.Body.String()))
		}
	}
	if shown != 1 {
		t.Errorf("shown %d times of 20 at once", shown)
	}
	// Another response to the same request is no other choice, here or there.
	for _, handler := range []http.Handler{a.public, another} {
		b.public = handler
		a.refused(b.bring("lab", b.lab().signed(request, nil)), lti.ChoiceAlreadyUsed)
	}
}

func TestParallelChoices(t *testing.T) {
	a := newChoosingAcademy(t)
	b := a.learner(author(zoe()))
	first, second, rivals := b.asked("lab"), b.asked("lab"), b.asked("rival")
	if len(b.bring("rival", b.rival().signed(rivals, nil)).activities()) != 1 || len(b.bring("lab", b.lab().signed(second, nil)).activities()) != 1 ||
		len(b.bring("lab", b.lab().signed(first, nil)).activities()) != 1 {
		t.Error("tabs disturb each other")
	}
}

// Whatever is switched off while an author is choosing holds at once, on every step, and changes nothing when it is undone.
func TestSwitchesWhileAnAuthorChooses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*routing.Table)
		code   lti.Code
		// posted is what the tool is told when it asks; empty for a page.
		posted string
	}{
		"the tool":         {deactivate("lab"), lti.ToolDeactivated, ""},
		"the academy":      {func(t *routing.Table) { t.Academy.Active = false }, lti.AcademyDeactivated, ""},
		"the registration": {func(t *routing.Table) { toolIn(t, "lab").LTI13 = nil }, lti.NotRegistered, ""},
		"choosing":         {func(t *routing.Table) { toolIn(t, "lab").DeepLinking = routing.ServiceDisabled }, lti.DeepLinkingDisabled, "access_denied"},
		"authors":          {func(t *routing.Table) { t.Academy.Authors = nil }, lti.AuthorsNotConfigured, "access_denied"},
		"the group":        {func(t *routing.Table) { t.Academy.Authors.Values = []string{"editors"} }, lti.AuthorNotAllowed, "access_denied"},
		"the claim":        {func(t *routing.Table) { t.Academy.Authors.Claim = "roles" }, lti.AuthorNotAllowed, "access_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newChoosingAcademy(t)
			b := a.learner(author(zoe()))
			begun := a.learner(author(zoe()))
			begun.dest = "document"
			state := begun.do(http.MethodGet, "/tools/lab/choose", nil).location().Query()
			asking := b.request(b.choose("lab").location().Query())
			response := b.lab().signed(b.asked("lab"), nil)
			undo := a.republish(c.change)
			a.refused(b.bring("lab", response), c.code)
			if c.posted != "" {
				b.refusedToTool(b.authorize(asking), c.code, c.posted)
			} else {
				a.refused(b.authorize(asking), c.code)
			}
			a.idp.claims, a.idp.nonce = author(zoe()), state.Get("nonce")
			// Somebody who signs in now is asked for what counts now.
			a.refused(begun.do(http.MethodGet, callback(url.Values{"code": {"c"}, "state": {state.Get("state")}, "iss": {a.idp.URL}}), nil), c.code)
			undo()
			b.authorize(asking).idToken()
			if len(b.bring("lab", response).activities()) != 1 {
				t.Error("nothing is shown after it was undone")
			}
		})
	}
}

// A hint for choosing is one for nothing else, and spends nothing when it is refused.
func TestAHintForChoosing(t *testing.T) {
	a := newChoosingAcademy(t)
	b := a.learner(author(zoe()))
	form := b.request(b.choose("lab").location().Query())
	wrong := maps.Clone(form)
	wrong.Set("client_id", "rival")
	wrong.Set("redirect_uri", "https://rival.example/launch")
	b.refusedToTool(b.authorizeAt("rival", wrong), lti.HintInvalid, "invalid_request")
	wrong = maps.Clone(form)
	wrong.Set("redirect_uri", "https://evil.example/")
	a.refused(b.authorize(wrong), lti.RedirectURIMismatch)
	wrong = maps.Clone(form)
	wrong.Set("login_hint", "guessed")
	b.refusedToTool(b.authorize(wrong), lti.LearnerMismatch, "login_required")
	undo := a.republish(func(table *routing.Table) {
		toolIn(table, "lab").LTI13.DeepLinkingURL = "https://lab.example/elsewhere"
	})
	b.refusedToTool(b.authorize(form), lti.LaunchExpired, "login_required")
	undo()
	b.authorize(form).idToken()
	b.refusedToTool(b.browser.again(nil), lti.LaunchAlreadyUsed, "login_required")
	// A learner's launch does not become a request for authors, nor the other way round.
	if claims := b.launch("simulation"); claims[claim+"message_type"] != "LtiResourceLinkRequest" || claims[deepLinking+"deep_linking_settings"] != nil {
		t.Errorf("claims %v", claims)
	}
	// A sign-in that was for something else does not lead there.
	state := starts("simulation")(b).location().Query()
	b.idp.claims, b.idp.nonce = b.who, state.Get("nonce")
	x := b.do(http.MethodGet, callback(url.Values{"code": {"c"}, "state": {state.Get("state")}, "iss": {b.idp.URL}}), nil)
	if target := x.location().Query().Get("target_link_uri"); target != "https://lab.example/resources/simulation?lang=en" {
		t.Errorf("went on to %s", target)
	}
}

// flakyStore loses its database for a while.
type flakyStore struct {
	store.Store
	down *bool
}

func (s flakyStore) SpendNonce(ctx context.Context, all ...store.Nonce) error {
	if *s.down {
		return store.ErrUnavailable
	}
	return s.Store.SpendNonce(ctx, all...)
}

func TestAStoreThatIsDownSpendsNoChoice(t *testing.T) {
	a := newChoosingAcademy(t)
	b := a.learner(author(zoe()))
	down := false
	b.public = a.startAnother(a.store, func(o *handler.Options) { o.Store = flakyStore{a.store, &down} })
	form := b.request(b.choose("lab").location().Query())
	down = true
	b.refusedToTool(b.authorize(form), lti.StoreUnavailable, "server_error")
	down = false
	response := b.lab().signed(b.authorize(form).idToken(), nil)
	down = true
	a.refused(b.bring("lab", response), lti.StoreUnavailable)
	down = false
	if len(b.bring("lab", response).activities()) != 1 {
		t.Error("nothing is shown afterwards")
	}
}

// A tool whose keys have changed since they were read is believed with the new ones.
func TestAResponseWithANewKey(t *testing.T) {
	a := newChoosingAcademy(t)
	b := a.learner(author(zoe()))
	request := b.asked("lab")
	a.republish(func(table *routing.Table) { toolIn(table, "lab").LTI13.JWKS = a.keySet(strangerKey()) })
	a.refused(b.bring("lab", b.lab().signed(request, nil)), lti.KeyUnknown)
	renewed := &toolClient{a.academy, "lab", strangerKey()}
	if len(b.bring("lab", renewed.signed(request, nil)).activities()) != 1 {
		t.Error("nothing is shown")
	}
}

// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// together posts one form n times at once, at the handlers in turn, with the cookies that the browser has now.
func (b *browser) together(n int, path string, form url.Values, handlers ...http.Handler) []answer {
	answers := make([]answer, n)
	var all sync.WaitGroup
	for i := range n {
		r := httptest.NewRequest(http.MethodPost, b.base+path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, c := range b.jar.Cookies(r.URL) {
			r.AddCookie(c)
		}
		all.Go(func() { answers[i] = b.serve(handlers[i%len(handlers)], r, form.Encode()) })
	}
	all.Wait()
	return answers
}

func TestALaunchWorksOnce(t *testing.T) {
	a := newExternalAcademy(t)
	another := a.startAnother(a.store)
	b := a.learner(zoe())
	form := b.request(b.initiated("simulation"))
	launched := 0
	for _, x := range b.together(20, "/tools/lab/authorize", form, a.public, another) {
		if _, fields := x.posted(); fields.Get("id_token") != "" {
			launched++
		} else if !strings.HasPrefix(fields.Get("error_description"), string(lti.LaunchAlreadyUsed)) {
			t.Errorf("posted %v", fields)
		}
	}
	if launched != 1 {
		t.Errorf("%d launches of 20 at once", launched)
	}
	// Neither does it work later, at the other handler.
	b.public = another
	form = b.request(b.initiated("simulation"))
	b.authorize(form).idToken()
	b.public = a.public
	b.refusedToTool(b.again(nil), lti.LaunchAlreadyUsed, "login_required")
}

func TestARefusedAuthenticationRequestSpendsNothing(t *testing.T) {
	a := newExternalAcademy(t)
	b := a.learner(zoe())
	form := b.request(b.initiated("simulation"))
	for _, change := range []url.Values{
		{"redirect_uri": {"https://evil.example/"}}, {"scope": {"profile"}}, {"nonce": nil}, {"login_hint": {"guessed"}}, {"lti_message_hint": {"guessed"}},
	} {
		wrong := maps.Clone(form)
		maps.Copy(wrong, change)
		if x := b.authorize(wrong); strings.Contains(x.Body.String(), "id_token") {
			t.Errorf("%v: %s", change, x.Body)
		}
	}
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	b.refusedToTool(b.authorize(form), lti.StoreUnavailable, "server_error")
	b.public = a.startAnother(a.openStore())
	// The tool may take almost a minute.
	a.clock.advance(50 * time.Second)
	b.authorize(form).idToken()
}

// A tool in a frame, or a browser that is strict, posts to us without our cookies.
func TestARequestWithoutOurCookieIsPostedAgainFromOurPage(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		t.Run(method, func(t *testing.T) {
			a := newExternalAcademy(t)
			b := a.learner(zoe())
			form := b.request(b.initiated("simulation"))
			jar := b.jar
			b.jar, _ = cookiejar.New(nil)
			var x answer
			if method == http.MethodGet {
				x = b.do(method, "/tools/lab/authorize?"+form.Encode(), nil)
			} else {
				x = b.authorize(form)
			}
			action, fields := x.posted()
			if action != "/tools/lab/authorize" || fields.Get("lti_operator_reposted") != "1" {
				t.Fatalf("posted to %s: %v", action, fields)
			}
			same := maps.Clone(fields)
			if same.Del("lti_operator_reposted"); !maps.EqualFunc(same, form, slices.Equal) {
				t.Errorf("posted %v instead of %v", fields, form)
			}
			// Nothing is refused yet, and nothing launched.
			if strings.Contains(a.log.String(), `"refused"`) {
				t.Error(a.log)
			}
			b.jar = jar
			if claims := b.do(http.MethodPost, action, fields).idToken(); claims["nonce"] != form.Get("nonce") {
				t.Errorf("claims %v", claims)
			}
		})
	}
}

func TestALaunchInAnotherBrowser(t *testing.T) {
	a := newExternalAcademy(t)
	b := a.learner(zoe())
	form := b.request(b.initiated("simulation"))
	// Somebody else, who has a launch of their own under way.
	other := b.other("yan")
	theirs := other.request(other.initiated("simulation"))
	action, fields := other.authorize(form).posted()
	if action != "/tools/lab/authorize" || fields.Get("id_token") != "" {
		t.Fatalf("posted to %s: %v", action, fields)
	}
	other.refusedToTool(other.do(http.MethodPost, action, fields), lti.StateNotFromThisBrowser, "login_required")
	// Neither launch has suffered.
	if claims := b.authorize(form).idToken(); claims["email"] != "zoe@acme.example" {
		t.Errorf("claims %v", claims)
	}
	if claims := other.authorize(theirs).idToken(); claims["email"] != "yan@acme.example" {
		t.Errorf("claims %v", claims)
	}
}

func TestParallelTabsOfLaunches(t *testing.T) {
	a := newExternalAcademy(t)
	b := a.academy.browser()
	zoe, yan := a.in(b, zoe()), a.in(b, learnerNamed("yan"))
	type tab struct {
		who      *learnerBrowser
		activity string
		form     url.Values
	}
	tabs := []tab{{who: zoe, activity: "simulation"}, {who: yan, activity: "exam"}, {who: zoe, activity: "exam"}}
	for i := range tabs {
		tabs[i].form = tabs[i].who.request(tabs[i].who.initiated(tabs[i].activity))
	}
	subjects := map[any]any{}
	for _, i := range []int{2, 0, 1} {
		x := tabs[i]
		claims := x.who.authorize(x.form).idToken()
		link, _ := claims[claim+"resource_link"].(map[string]any)
		context, _ := claims[claim+"context"].(map[string]any)
		if claims["email"] != x.who.who["email"] || claims["nonce"] != x.form.Get("nonce") || context["id"] != x.activity || link["title"] != activityIn(a.table, x.activity).Title {
			t.Errorf("%s in %s: %v", x.who.who["email"], x.activity, claims)
		}
		if known := subjects[claims["email"]]; known != nil && known != claims["sub"] {
			t.Errorf("%v has two subjects at one tool", claims["email"])
		}
		subjects[claims["email"]] = claims["sub"]
	}
	if len(subjects) != 2 || subjects["zoe@acme.example"] == subjects["yan@acme.example"] {
		t.Errorf("subjects %v", subjects)
	}
	// To another tool they are somebody else.
	other := zoe.initiated("other").Get("login_hint")
	if other == "" || other == subjects["zoe@acme.example"] {
		t.Errorf("two tools call the learner %q", other)
	}
}

var frameSource = regexp.MustCompile(`<iframe [^>]*src="([^"]*)"`)

func TestStateIsReturnedAsItWas(t *testing.T) {
	a := newExternalAcademy(t)
	b := a.learner(zoe())
	for _, state := range []string{`"><script>alert(1)</script>`, "a&amp;b=c+d e%20é", "'`<!--${x}", strings.Repeat("s", 8<<10)} {
		for _, nonce := range []string{"n", "two\nlines"} {
			form := b.request(b.initiated("simulation"))
			form.Set("state", state)
			form.Set("nonce", nonce)
			x := b.authorize(form)
			if _, fields := x.posted(); fields.Get("state") != state || (fields.Get("error") != "") != (nonce != "n") {
				t.Errorf("%q became %q: %v", state, fields.Get("state"), fields)
			}
			if strings.Contains(x.Body.String(), "<script>alert") {
				t.Errorf("%q is not escaped", state)
			}
		}
	}
}

func TestAddressesThatIDTokensGoTo(t *testing.T) {
	const launchURL, simulation, exam = "https://lab.example/start?x=1", "https://lab.example/resources/simulation?lang=en", "https://lab.example/resources/exam-link?lang=en"
	const registered, rivals = "https://lab.example/launch", "https://rival.example/resources/other?lang=en"
	for name, c := range map[string]struct {
		change   func(*routing.ToolLTI13)
		accepted []string
	}{
		"redirect URIs": {func(l *routing.ToolLTI13) { l.LaunchURL = launchURL }, []string{registered, registered + "/2"}},
		"launch URL":    {func(l *routing.ToolLTI13) { l.LaunchURL, l.RedirectURIs = launchURL, nil }, []string{launchURL, simulation, exam}},
		"neither":       {func(l *routing.ToolLTI13) { l.RedirectURIs = nil }, []string{simulation, exam}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newExternalAcademy(t)
			a.republish(func(table *routing.Table) { c.change(toolIn(table, "lab").LTI13) })
			b := a.learner(zoe())
			for _, uri := range []string{launchURL, simulation, exam, registered, registered + "/2", rivals, "https://lab.example/resources/simulation"} {
				form := b.request(b.initiated("simulation"))
				form.Set("redirect_uri", uri)
				x := b.authorize(form)
				if !slices.Contains(c.accepted, uri) {
					a.refused(x, lti.RedirectURIMismatch)
					continue
				}
				x.idToken()
				if action, _ := x.posted(); action != uri {
					t.Errorf("posted to %s instead of %s", action, uri)
				}
			}
		})
	}
}

func TestStartInAFrameGoesOnInAWindow(t *testing.T) {
	a := newExternalAcademy(t)
	b := a.learner(zoe())
	b.dest = "iframe"
	x := b.do(http.MethodGet, "/activities/simulation/start", nil)
	if x.Code != http.StatusOK || x.Header().Get("Location") != "" || len(x.Result().Cookies()) != 0 ||
		!strings.Contains(x.Body.String(), `href="`+academyURL+`/activities/simulation/start" target="_blank"`) ||
		!strings.Contains(x.Header().Get("Content-Security-Policy"), "frame-ancestors https:") {
		t.Errorf("%d %v %s", x.Code, x.Header(), x.Body)
	}
	// A browser that does not say so goes straight on.
	b.dest = ""
	b.do(http.MethodGet, "/activities/simulation/start", nil).location()
}

func TestStartAtAnAliasGoesToTheAcademysAddress(t *testing.T) {
	a := newExternalAcademy(t)
	a.republish(func(table *routing.Table) { table.Academy.Aliases = []string{aliasURL} })
	b := a.in(a.academy.at(aliasURL), zoe())
	if got := b.do(http.MethodGet, "/activities/simulation/start", nil).location().String(); got != academyURL+"/activities/simulation/start" {
		t.Errorf("sent to %s", got)
	}
	// A host that nobody has configured is not believed.
	b.base = "https://evil.example"
	if got := b.do(http.MethodGet, "/activities/simulation/start", nil).location().String(); !strings.HasPrefix(got, a.idp.URL+"/authorize?") || strings.Contains(got, "evil") {
		t.Errorf("sent to %s", got)
	}
}

func TestAnExternalActivityIsNotShared(t *testing.T) {
	a := newExternalAcademy(t)
	b := a.browser()
	a.refused(b.launch13(moodle(), "simulation", nil), lti.NotShared)
	a.refused(b.do(http.MethodGet, "/activities/simulation", nil), lti.ActivityUnknown)
	if x := b.launch12("simulation", "height-key", nil); x.reason() == "" {
		t.Errorf("%d %s", x.Code, x.Body)
	}
}

func TestAFramedToolKnowsTheStorage(t *testing.T) {
	a := newExternalAcademy(t)
	a.republish(func(table *routing.Table) {
		activityIn(table, "simulation").External.Presentation = routing.PresentationEmbedded
	})
	b := a.learner(zoe())
	x := b.begin("simulation")
	found := frameSource.FindStringSubmatch(x.Body.String())
	if x.Code != http.StatusOK || found == nil {
		t.Fatalf("%d %s", x.Code, x.Body)
	}
	login, err := url.Parse(strings.ReplaceAll(found[1], "&amp;", "&"))
	if err != nil || login.Query().Get("lti_storage_target") != "_parent" {
		t.Fatalf("%v: %s", err, login)
	}
	y := b.authorize(b.request(login.Query()))
	if _, fields := y.posted(); fields.Get("lti_storage_target") != "_parent" {
		t.Errorf("posted %v", fields)
	}
	y.idToken()
}

// publicKeys are those that we publish for a tool, by their ID.
func (a *academy) publicKeys(tool string) map[string]routing.JWK {
	a.t.Helper()
	var set struct{ Keys []routing.JWK }
	x := a.browser().do(http.MethodGet, "/tools/"+tool+"/jwks.json", nil)
	if err := json.Unmarshal(x.Body.Bytes(), &set); err != nil || x.Code != http.StatusOK || !strings.Contains(x.Header().Get("Cache-Control"), "max-age=") {
		a.t.Fatalf("%d %v %s", x.Code, x.Header(), x.Body)
	}
	found := map[string]routing.JWK{}
	for _, k := range set.Keys {
		found[k.KeyID] = k
	}
	return found
}

// verified is why no published key verifies the ID token that is posted; nil if one does.
func (x answer) verified(published map[string]routing.JWK) error {
	x.t.Helper()
	_, fields := x.posted()
	_, err := jwt.Parse(fields.Get("id_token"), func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		k, ok := published[kid]
		if !ok {
			return nil, jwt.ErrTokenUnverifiable
		}
		return keyOf(k)
	}, jwt.WithValidMethods([]string{"RS256"}))
	return err
}

func TestKeysOfAToolRotate(t *testing.T) {
	a := newExternalAcademy(t)
	b := a.learner(zoe())
	next := campusKey()
	launch := func() answer { return b.authorize(b.request(b.initiated("simulation"))) }
	old := a.publicKeys("lab")
	before := launch()
	if err := before.verified(old); err != nil || len(old) != 1 {
		t.Fatalf("%v with %d keys", err, len(old))
	}
	// The next key is published first, and signs later.
	a.republish(func(table *routing.Table) {
		toolIn(table, "lab").PublicKeys = append([]routing.JWK{keys.PublicJWK(&next.PublicKey)}, toolIn(table, "lab").PublicKeys...)
	})
	both := a.publicKeys("lab")
	if err := launch().verified(old); err != nil || len(both) != 2 {
		t.Errorf("%v with %d keys", err, len(both))
	}
	a.republish(func(table *routing.Table) {
		i := slices.IndexFunc(table.SigningKeys, func(k routing.SigningKey) bool { return k.Kind == routing.KindTool && k.Name == "lab" })
		table.SigningKeys[i].KeyID, table.SigningKeys[i].PrivateKeyPEM = keys.PublicJWK(&next.PublicKey).KeyID, pemOf(t, next)
	})
	after := launch()
	if err := after.verified(both); err != nil {
		t.Error(err)
	}
	if err := after.verified(old); err == nil {
		t.Error("the old key signs still")
	}
	if err := before.verified(a.publicKeys("lab")); err != nil {
		t.Errorf("a token from before is not verified any more: %v", err)
	}
}

func TestDiscoveryForATool(t *testing.T) {
	a := newExternalAcademy(t)
	for name, c := range map[string]struct {
		change func(*routing.Tool)
		scopes []any
		claims []any
	}{
		"everything": {func(*routing.Tool) {}, anys("openid", allScopes()), anys("iss", []string{"sub", "locale", "name", "given_name", "family_name", "email"})},
		"nothing": {func(x *routing.Tool) {
			x.AssignmentAndGrade, x.NamesAndRoles = routing.ServiceDisabled, routing.ServiceDisabled
			x.Privacy = routing.Privacy{WithholdName: true, WithholdEmail: true}
		}, anys("openid", nil), anys("iss", []string{"sub", "locale"})},
		"deactivated": {func(x *routing.Tool) { x.Active = false }, anys("openid", allScopes()), nil},
	} {
		undo := a.republish(func(table *routing.Table) { c.change(toolIn(table, "lab")) })
		var found map[string]any
		x := a.browser().do(http.MethodGet, "/tools/lab/.well-known/openid-configuration", nil)
		if err := json.Unmarshal(x.Body.Bytes(), &found); err != nil || x.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", name, x.Code, x.Body)
		}
		for member, want := range map[string]any{
			"issuer": academyURL, "authorization_endpoint": academyURL + "/tools/lab/authorize", "token_endpoint": academyURL + "/tools/lab/token",
			"jwks_uri": academyURL + "/tools/lab/jwks.json",
		} {
			if found[member] != want {
				t.Errorf("%s: %s is %v", name, member, found[member])
			}
		}
		for member, want := range map[string][]any{
			"scopes_supported": c.scopes, "claims_supported": c.claims, "response_types_supported": {"id_token"},
			"token_endpoint_auth_methods_supported": {"private_key_jwt"}, "token_endpoint_auth_signing_alg_values_supported": {"RS256"},
			"id_token_signing_alg_values_supported": {"RS256"},
		} {
			if got, _ := found[member].([]any); want != nil && !slices.Equal(got, want) {
				t.Errorf("%s: %s is %v instead of %v", name, member, got, want)
			}
		}
		if published := a.publicKeys("lab"); len(published) != 1 {
			t.Errorf("%s: %d keys", name, len(published))
		}
		undo()
	}
	a.refused(a.browser().do(http.MethodGet, "/tools/nobody/.well-known/openid-configuration", nil), lti.ToolUnknown)
	if x := a.browser().do(http.MethodGet, "/tools/nobody/jwks.json", nil); x.Code != http.StatusNotFound {
		t.Errorf("keys of nobody: %d", x.Code)
	}
}

func anys(first string, more []string) []any {
	all := []any{first}
	for _, x := range more {
		all = append(all, x)
	}
	return all
}

// externalUnderWay starts every path of the platform role, as far as a switch can be thrown before its last step, and returns
// the last step of each.
func (a *externalAcademy) externalUnderWay(t *testing.T, sub string) map[string]func() answer {
	t.Helper()
	lab := a.lab()
	token := lab.token(allScopes()...)
	begun, asked := a.learner(zoe()), a.learner(zoe())
	state := starts("simulation")(begun).location().Query().Get("state")
	form := asked.request(asked.initiated("simulation"))
	assertion := lab.assertion(nil)
	call := func(method, path, contentType, body string) func() answer {
		return func() answer { return lab.callWith(token, method, lab.context("simulation")+path, contentType, body) }
	}
	return map[string]func() answer{
		"start": func() answer { return starts("simulation")(a.learner(zoe())) },
		"callback": func() answer {
			return begun.do(http.MethodGet, callback(url.Values{"code": {"c"}, "state": {state}, "iss": {a.idp.URL}}), nil)
		},
		"authorize":    func() answer { return asked.authorize(form) },
		"token":        func() answer { return lab.ask(tokenForm(assertion, allScopes()...)) },
		"line items":   call(http.MethodGet, "/lineitems", "", ""),
		"a line item":  call(http.MethodGet, "/lineitems/activity", "", ""),
		"create":       call(http.MethodPost, "/lineitems", "", `{"label":"x","scoreMaximum":1}`),
		"score":        call(http.MethodPost, "/lineitems/activity/scores", "", scoreOf(sub, a.clock.now().Add(time.Minute), "90", "100")),
		"results":      call(http.MethodGet, "/lineitems/activity/results", "", ""),
		"memberships":  call(http.MethodGet, "/memberships", "", ""),
		"other person": func() answer { return starts("exam")(a.learner(learnerNamed("yan"))) },
	}
}

func TestSwitchesOfThePlatformRole(t *testing.T) {
	for code, change := range map[lti.Code]func(*routing.Table){
		lti.ToolDeactivated:    deactivate("lab"),
		lti.AcademyDeactivated: func(table *routing.Table) { table.Academy.Active = false },
	} {
		t.Run(string(code), func(t *testing.T) {
			a := newExternalAcademy(t)
			b := a.learner(zoe())
			sub := b.subject("simulation")
			a.lab().score("simulation", sub, a.clock.now(), "Completed", "FullyGraded", "80", "100")
			paths := a.externalUnderWay(t, sub)
			before := a.results(nil)
			undo := a.republish(change)
			for name, do := range paths {
				if x := do(); x.reason() != code {
					t.Errorf("%s: %d %s", name, x.Code, x.Body)
				}
			}
			if code == lti.ToolDeactivated {
				starts("other")(b).location()
				a.rival().token(allScopes()...)
			}
			undo()
			if after := a.results(nil); len(after) != 1 || after[0].Status != "Completed" || after[0].Version != before[0].Version || after[0].UpdatedAt != before[0].UpdatedAt {
				t.Errorf("%+v became %+v", before, after)
			}
			// What was refused works, with the hint, assertion and token of before; the sign-in begins anew.
			delete(paths, "callback")
			for name, do := range paths {
				if x := do(); x.reason() != "" {
					t.Errorf("%s afterwards: %d %s", name, x.Code, x.Body)
				}
			}
			if again := b.subject("simulation"); again != sub {
				t.Errorf("%s became %s", sub, again)
			}
		})
	}
}

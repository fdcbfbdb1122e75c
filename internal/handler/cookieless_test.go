// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/handler/tool"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// framedBrowser shows the academy in a frame of another site.
func (a *academy) framedBrowser() *browser {
	b := a.browser()
	b.dest = "iframe"
	return b
}

// forget makes a browser one that sends no cookies.
func (b *browser) forget() *browser {
	b.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.jar = jar
	return b
}

func storageForm(p party, activity, target string) url.Values {
	form := loginForm(p, activity)
	form.Set("lti_storage_target", target)
	return form
}

var pageSettings = regexp.MustCompile(`(?s)<script type="application/json" id="settings">(.*?)</script>`)

// stored is what a page of ours leaves at the platform, or asks it for.
type stored struct{ Origin, Target, Key, Value, Next, Field string }

func (x answer) storage() (s stored) {
	x.t.Helper()
	found := pageSettings.FindStringSubmatch(x.Body.String())
	if x.Code != http.StatusOK || found == nil {
		x.t.Fatalf("status %d and no storage in the page: %s", x.Code, text(x.Body.String()))
	}
	if err := json.Unmarshal([]byte(found[1]), &s); err != nil {
		x.t.Fatal(err)
	}
	if csp := x.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'sha256-") || !strings.Contains(csp, "frame-ancestors https:") {
		x.t.Errorf("Content-Security-Policy %q", csp)
	}
	return s
}

// prepareStored begins a login that offers storage, and returns the form that the platform posts and what is stored there.
func (b *browser) prepareStored(p party, activity string, change func(jwt.MapClaims)) (url.Values, stored) {
	b.t.Helper()
	s := b.do(http.MethodPost, "/platforms/"+p.platform+"/login", storageForm(p, activity, "_parent")).storage()
	next, err := url.Parse(s.Next)
	if err != nil {
		b.t.Fatal(err)
	}
	claims := b.claims(p, activity, next.Query().Get("nonce"))
	if change != nil {
		change(claims)
	}
	return url.Values{"state": {next.Query().Get("state")}, "id_token": {b.sign(p, claims, nil)}}, s
}

// fromUs posts a launch as our own page does, with what the platform answered.
func (b *browser) fromUs(p party, form url.Values, secret string) answer {
	b.t.Helper()
	return b.fromPage(p, form, secret, http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {b.base}})
}

func (b *browser) fromPage(p party, form url.Values, secret string, header http.Header) answer {
	b.t.Helper()
	form = maps.Clone(form)
	form.Set("stored_secret", secret)
	before := b.header.Clone()
	maps.Copy(b.header, header)
	defer func() { b.header = before }()
	return b.post13(p, form)
}

func TestALoginThatOffersStorageLeavesASecretThere(t *testing.T) {
	a := newAcademy(t)
	b := a.framedBrowser()
	for target, method := range map[string]string{"_parent": http.MethodPost, "post_message_forwarding": http.MethodGet} {
		form, path := storageForm(moodle(), "height", target), "/platforms/moodle/login"
		var x answer
		if method == http.MethodGet {
			x = b.do(method, path+"?"+form.Encode(), nil)
		} else {
			x = b.do(method, path, form)
		}
		s := x.storage()
		if s.Origin != "https://lms.example" || s.Target != target || len(s.Value) < 32 || s.Field != "" || !strings.HasPrefix(s.Key, "lti_state_") {
			t.Errorf("storage %+v", s)
		}
		if !strings.HasPrefix(s.Next, "https://lms.example/auth?x=1&") {
			t.Errorf("goes on to %s", s.Next)
		}
		// Where the storage fails, the same login comes again without it.
		action, fields := x.posted()
		form.Del("lti_storage_target")
		if action != "/platforms/moodle/login?lti_login=again" || fields.Encode() != form.Encode() {
			t.Errorf("otherwise it posts %v to %s", fields, action)
		}
		if u := b.do(http.MethodPost, action, fields).location(); u.Host != "lms.example" {
			t.Errorf("and that leads to %s", u)
		}
		for _, c := range x.Result().Cookies() {
			if c.Value == s.Value || !c.Partitioned || !c.Secure || c.SameSite != http.SameSiteNoneMode {
				t.Errorf("cookie %+v", c)
			}
		}
		if strings.Contains(s.Next, s.Value) {
			t.Error("the secret is in the address")
		}
	}
	// The request does not choose who hears the secret.
	form := storageForm(moodle(), "height", "_parent")
	form.Set("iss", "https://evil.example")
	a.refused(b.do(http.MethodPost, "/platforms/moodle/login", form), lti.IssuerMismatch)
	// In a window of its own there are cookies.
	b.dest = "document"
	b.do(http.MethodPost, "/platforms/moodle/login", storageForm(moodle(), "height", "_parent")).location()
}

func TestALaunchWithoutCookiesIsProvedByTheStorage(t *testing.T) {
	a := newAcademy(t)
	for activity, arrives := range map[string]func(answer){
		"height": func(x answer) { a.enter(a.browser().open(x.ticket())) },
		"ladder": func(x answer) { a.enter(x) },
	} {
		b := a.framedBrowser()
		form, s := b.prepareStored(moodle(), activity, nil)
		b.forget()
		x := b.post13(moodle(), form)
		asks := x.storage()
		if asks != (stored{Origin: s.Origin, Target: s.Target, Key: s.Key, Field: "stored_secret"}) {
			t.Errorf("asks %+v after %+v", asks, s)
		}
		action, fields := x.posted()
		if want := maps.Clone(form); action != "/platforms/moodle/launch" || func() bool { want.Set("stored_secret", ""); return want.Encode() != fields.Encode() }() {
			t.Errorf("it posts %v to %s", fields, action)
		}
		if policy := x.Header().Get("Referrer-Policy"); policy != "same-origin" {
			t.Errorf("Referrer-Policy %q: an old browser would not say where the form is from", policy)
		}
		if strings.Contains(x.Body.String(), s.Value) || strings.Contains(text(x.Body.String()), "Sam") {
			t.Error("the page tells what it must not")
		}
		// Asking spends nothing.
		b.post13(moodle(), form).storage()
		arrives(b.fromUs(moodle(), form, s.Value))
		a.refused(b.fromUs(moodle(), form, s.Value), lti.Replayed)
	}
	if !strings.Contains(a.metrics(), `lti_launches_total{reason="",result="accepted",role="tool",version="1.3"} 2`) {
		t.Error("the launches are not counted once each")
	}
}

func TestABrowserThatDoesNotSayWhereAFormIsFromSaysItsOrigin(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	b.dest = ""
	form, s := b.prepareStored(moodle(), "ladder", nil)
	a.enter(b.forget().fromPage(moodle(), form, s.Value, http.Header{"Origin": {academyURL}}))
}

func TestACookieIsEnoughWhereStorageWasOffered(t *testing.T) {
	a := newAcademy(t)
	b := a.framedBrowser()
	form, _ := b.prepareStored(moodle(), "ladder", nil)
	cookies := b.jar.Cookies(mustParse(t, academyURL))
	a.enter(b.post13(moodle(), form))
	b.jar.SetCookies(mustParse(t, academyURL), cookies)
	a.refused(b.post13(moodle(), form), lti.Replayed)
}

func mustParse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Whoever began a login knows its secret. It signs nobody in unless our own page got it from the platform.
func TestAStoredSecretFromElsewhereIsNothing(t *testing.T) {
	a := newAcademy(t)
	attacker := a.framedBrowser()
	form, s := attacker.prepareStored(moodle(), "ladder", nil)
	victim := a.framedBrowser()
	for name, header := range map[string]http.Header{
		"another site's page":                        {"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}},
		"another site's page that claims our name":   {"Sec-Fetch-Site": {"cross-site"}, "Origin": {academyURL}},
		"another host of our site":                   {"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://acme.example"}},
		"no page":                                    {"Sec-Fetch-Site": {"none"}},
		"an old browser, another site":               {"Origin": {"https://evil.example"}},
		"an old browser, a sandboxed page":           {"Origin": {"null"}},
		"an old browser, a page that hides itself":   {},
		"an old browser, an origin that only begins": {"Origin": {academyURL + ".evil.example"}},
	} {
		x := victim.fromPage(moodle(), form, s.Value, header)
		if x.reason() != lti.StateNotFromThisBrowser {
			t.Errorf("%s: %d %s", name, x.Code, x.reason())
		}
		a.refused(x, lti.StateNotFromThisBrowser)
	}
	other, otherSecret := attacker.prepareStored(moodle(), "ladder", nil)
	for name, secret := range map[string]string{
		"nothing": "", "the secret of another login": otherSecret.Value, "a guess": "guess", "the key": s.Key, "half of it": s.Value[:16],
	} {
		if x := victim.fromUs(moodle(), form, secret); x.reason() != lti.StateNotFromThisBrowser {
			t.Errorf("%s: %d %s", name, x.Code, x.reason())
		}
	}
	a.refused(victim.fromUs(moodle(), url.Values{"state": form["state"], "id_token": other["id_token"]}, s.Value), lti.NonceMismatch)
	// None of that has spent anything.
	a.enter(attacker.fromUs(moodle(), form, s.Value))
}

// A login that offered no storage, or whose cookie is posted as if it were a stored secret, is bound by its cookie alone.
func TestAStateWithoutStorageTakesNoPostedSecret(t *testing.T) {
	a := newAcademy(t)
	u := mustParse(t, academyURL)
	for name, prepare := range map[string]func(b *browser) url.Values{
		"no storage":         func(b *browser) url.Values { return b.prepare13(moodle(), "ladder", nil) },
		"the cookie's value": func(b *browser) url.Values { form, _ := b.prepareStored(moodle(), "ladder", nil); return form },
		"a long name of a frame": func(b *browser) url.Values {
			x := b.do(http.MethodPost, "/platforms/moodle/login", storageForm(moodle(), "ladder", strings.Repeat("x", 256)))
			q := b.do(http.MethodPost, x.Header().Get("Location"), loginForm(moodle(), "ladder")).location().Query()
			return url.Values{"state": {q.Get("state")}, "id_token": {b.sign(moodle(), b.claims(moodle(), "ladder", q.Get("nonce")), nil)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := a.framedBrowser()
			form := prepare(b)
			var values []string
			for _, c := range b.jar.Cookies(u) {
				values = append(values, c.Value)
			}
			b.forget()
			for _, value := range append(values, "", "guess") {
				a.refused(b.fromUs(moodle(), form, value), lti.StateNotFromThisBrowser)
			}
			if name != "the cookie's value" {
				a.refused(b.post13(moodle(), form), lti.StateNotFromThisBrowser)
			}
		})
	}
}

// What a token says is looked at before the platform is asked, and again afterwards.
func TestWhatIsRefusedIsRefusedBeforeTheStorageIsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		change func(jwt.MapClaims)
		table  func(*routing.Table)
		code   lti.Code
	}{
		"another audience":   {change: with("aud", "other"), code: lti.AudienceMismatch},
		"unknown deployment": {change: with(claim+"deployment_id", "8"), code: lti.DeploymentUnknown},
		"no activity":        {change: with(claim+"target_link_uri", academyURL+"/activities/none"), code: lti.ActivityUnknown},
		"not shared": {table: func(t *routing.Table) {
			activityIn(t, "ladder").Share.PlatformLabels = map[string]string{"audience": "x"}
		}, code: lti.NotShared},
		"switched off": {table: func(t *routing.Table) { platformIn(t, "moodle").Active = false }, code: lti.PlatformDeactivated},
		"too late":     {code: lti.StateExpired},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAcademy(t)
			b := a.framedBrowser()
			form, s := b.prepareStored(moodle(), "ladder", c.change)
			b.forget()
			if c.code == lti.StateExpired {
				a.clock.advance(11 * time.Minute)
			}
			if c.table != nil {
				b.post13(moodle(), form).storage()
				defer a.republish(c.table)()
			}
			if first := b.post13(moodle(), form); c.code == lti.DeploymentUnknown {
				first.storage() // it is noted, so its browser must be known
			} else {
				a.refused(first, c.code)
			}
			if noted, err := a.store.UnknownDeployments(t.Context()); err != nil || len(noted) != 0 {
				t.Errorf("noted before the browser is known: %v, %v", noted, err)
			}
			a.refused(b.fromUs(moodle(), form, s.Value), c.code)
			if noted, err := a.store.UnknownDeployments(t.Context()); err != nil || (len(noted) == 1) != (c.code == lti.DeploymentUnknown) {
				t.Errorf("noted %v, %v", noted, err)
			}
		})
	}
}

// Nobody makes a browser show an error that its own login did not get.
func TestAnErrorOfThePlatformIsShownToTheBrowserOfTheLogin(t *testing.T) {
	a := newAcademy(t)
	b := a.framedBrowser()
	form, s := b.prepareStored(moodle(), "ladder", nil)
	b.forget()
	form.Del("id_token")
	form.Set("error", "login_required")
	form.Set("error_description", "canary <b>description</b>")
	x := b.post13(moodle(), form)
	x.storage()
	_, fields := x.posted()
	if fields.Get("error") != "login_required" || fields.Has("error_description") {
		t.Errorf("it posts %v", fields)
	}
	a.refused(b.fromPage(moodle(), form, s.Value, http.Header{"Sec-Fetch-Site": {"cross-site"}}), lti.StateNotFromThisBrowser)
	a.refused(b.fromUs(moodle(), form, s.Value), lti.PlatformReturnedError)
}

func TestAStoredSecretWorksOnceOnAllHandlers(t *testing.T) {
	a := newAcademy(t)
	second := a.startAnother(a.openStore())
	form, s := a.framedBrowser().prepareStored(moodle(), "ladder", nil)
	var wait sync.WaitGroup
	answers := make([]answer, 20)
	for i := range answers {
		b := a.framedBrowser()
		if i%2 == 1 {
			b.public = second
		}
		wait.Go(func() { answers[i] = b.fromUs(moodle(), form, s.Value) })
	}
	wait.Wait()
	accepted := 0
	for _, x := range answers {
		if x.Code == http.StatusSeeOther {
			accepted++
			a.enter(x)
			continue
		}
		if got := x.reason(); got != lti.Replayed {
			t.Errorf("%d %s", x.Code, got)
		}
	}
	if accepted != 1 {
		t.Errorf("accepted %d times", accepted)
	}
}

// The ordinary launch in a frame: a partitioned cookie comes back.
func TestALoginInAFrameIsRepeatedOnceToSeeWhetherCookiesComeBack(t *testing.T) {
	a := newAcademy(t)
	b := a.framedBrowser()
	form := loginForm(moodle(), "ladder")
	for method, path := range map[string]string{http.MethodPost: "/platforms/moodle/login", http.MethodGet: "/platforms/moodle/login?" + form.Encode()} {
		b.forget()
		body := form
		if method == http.MethodGet {
			body = nil
		}
		x := b.do(method, path, body)
		separator := "?"
		if strings.Contains(path, "?") {
			separator = "&"
		}
		// 307: the method and the body stay as they are.
		if got := x.Header().Get("Location"); x.Code != http.StatusTemporaryRedirect || got != academyURL+path+separator+"lti_login=again" {
			t.Fatalf("%s: %d to %s", method, x.Code, got)
		}
		again := b.do(method, x.Header().Get("Location"), body)
		if u := again.location(); u.Host != "lms.example" || u.Query().Has("lti_login") {
			t.Errorf("%s: %s", method, u)
		}
		// From then on this frame is known to keep them.
		if u := b.do(method, path, body).location(); u.Host != "lms.example" {
			t.Errorf("%s, the second launch: %s", method, u)
		}
	}
	a.enter(b.launch13(moodle(), "ladder", nil))
	// A window of its own keeps cookies anyway.
	b.forget().dest = "document"
	b.do(http.MethodPost, "/platforms/moodle/login", form).location()
}

func TestALoginInAFrameWithoutCookiesGoesOnInANewWindow(t *testing.T) {
	a := newAcademy(t)
	b := a.framedBrowser()
	form := loginForm(moodle(), "ladder")
	x := b.do(http.MethodPost, "/platforms/moodle/login", form)
	b.forget()
	x = b.do(http.MethodPost, x.Header().Get("Location"), form)
	body := x.Body.String()
	if x.Code != http.StatusOK || !strings.Contains(body, `target="_blank" rel="noopener"`) || !strings.Contains(body, "<h1>Ladder check</h1>") ||
		strings.Contains(body, "<script") || len(x.Result().Cookies()) != 0 {
		t.Fatalf("%d %v %s", x.Code, x.Result().Cookies(), body)
	}
	action, fields := x.posted()
	if action != "/platforms/moodle/login?lti_login=window" || fields.Encode() != form.Encode() {
		t.Errorf("it posts %v to %s", fields, action)
	}
	window := a.browser()
	for _, dest := range []string{"document", ""} { // some browsers do not say
		window.dest = dest
		q := window.do(http.MethodPost, action, fields).location().Query()
		posted := url.Values{"state": {q.Get("state")}, "id_token": {a.sign(moodle(), a.claims(moodle(), "ladder", q.Get("nonce")), nil)}}
		a.enter(window.post13(moodle(), posted))
	}
	// A name that is not shared is not told.
	form = loginForm(moodle(), "private")
	x = b.do(http.MethodPost, "/platforms/moodle/login?lti_login=again", form)
	if strings.Contains(x.Body.String(), "Not shared") {
		t.Error("the page tells the title of an activity that is not shared")
	}
}

// The platform's storage has a secret of its own, which no log or address has.
func TestTheSecretIsInThePlatformsStorageOnly(t *testing.T) {
	a := newAcademy(t)
	b := a.framedBrowser()
	form, s := b.prepareStored(moodle(), "ladder", nil)
	x := b.forget().fromUs(moodle(), form, s.Value)
	if a.enter(x); strings.Contains(x.Header().Get("Location"), s.Value) || strings.Contains(a.log.String()+a.metrics(), s.Value) {
		t.Error("the stored secret came out")
	}
	if x.location().Query().Get(tool.ParamLaunchCode) == s.Value {
		t.Error("the stored secret is used for something else")
	}
}

// Asking to choose activities is proved like a launch: without cookies nothing is offered before the storage has answered.
func TestAChoiceWithoutCookiesIsProvedByTheStorage(t *testing.T) {
	a := newPickingAcademy(t)
	b := a.framedBrowser()
	form, s := b.prepareStored(moodle(), "height", asksFor(moodle(), nil))
	b.forget()
	x := b.post13(moodle(), form)
	if asks := x.storage(); asks != (stored{Origin: s.Origin, Target: s.Target, Key: s.Key, Field: "stored_secret"}) {
		t.Errorf("asks %+v after %+v", asks, s)
	}
	if body := x.Body.String(); strings.Contains(body, "/pick") || strings.Contains(body, "Course 01") || strings.Contains(body, s.Value) {
		t.Errorf("offered to a browser that is not known: %s", text(body))
	}
	for name, header := range map[string]http.Header{
		"another site": {"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}},
		"old browser":  {"Origin": {"https://evil.example"}},
	} {
		if x := b.fromPage(moodle(), form, s.Value, header); x.reason() != lti.StateNotFromThisBrowser || strings.Contains(x.Body.String(), "/pick") {
			t.Errorf("%s: %q, %s", name, x.reason(), text(x.Body.String()))
		}
	}
	a.refused(b.fromUs(moodle(), form, "guess"), lti.StateNotFromThisBrowser)
	a.refused(b.fromUs(moodle(), form, ""), lti.StateNotFromThisBrowser)

	x = b.fromUs(moodle(), form, s.Value)
	if names := a.chosen(b.press(x, "add", tick("height"))); len(names) != 1 || names[0] != "height" {
		t.Errorf("chosen %v", names)
	}
	a.refused(b.fromUs(moodle(), form, s.Value), lti.Replayed)
}

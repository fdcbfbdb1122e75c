// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
)

func pageLessons() []lesson {
	return []lesson{
		{"CVE-2021-32478", "nothing is sent to an address that is not configured", lessonScriptAddress},
		{"CVE-2022-35653", "what a request says is not on a page, what is on a page is escaped", lessonEscaping},
		{"CVE-2023-34831", "names and titles are hostile input", lessonMarkupInNames},
		{"frame-ancestors", "who may frame a page is configured per platform", lessonFrames},
	}
}

// Moodle's authentication page took redirect_uri from the request, javascript: included. Here the browser goes to the
// registered authentication URL and to the activity's target, and whatever else a message names is not used.
func lessonScriptAddress(t *testing.T, a *academy) {
	const script = "javascript:alert(document.domain)//"
	addresses := []string{"redirect_uri", "return_url", "launch_presentation_return_url", "authentication_url", "iss_url", "lti_storage_target"}
	form := loginForm(moodle(), "height")
	for _, name := range addresses {
		form.Set(name, script)
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		path, body := "/platforms/moodle/login", form
		if method == http.MethodGet {
			path, body = path+"?"+form.Encode(), nil
		}
		u := a.browser().do(method, path, body).location()
		if u.Scheme != "https" || u.Host != "lms.example" || u.Query().Get("redirect_uri") != academyURL+"/platforms/moodle/launch" || strings.Contains(u.String(), "alert") {
			t.Errorf("%s: redirected to %s", method, u)
		}
	}
	a.refused(login13(url.Values{"target_link_uri": {script}})(a.browser()), lti.TargetLinkUnknown)
	a.refused(a.browser().launch13(moodle(), "height", with(claim+"target_link_uri", script)), lti.ClaimInvalid)

	hostile := func(c jwt.MapClaims) {
		c[claim+"launch_presentation"] = map[string]any{"return_url": script}
		c["picture"], c["profile"], c["website"] = script, script, script
		c[claim+"tool_platform"] = map[string]any{"url": script}
		c[claim+"custom"] = map[string]any{"return_url": script, "activity": script}
	}
	b := a.browser()
	b.dest = "iframe"
	answers := []answer{
		b.launch13(moodle(), "height", hostile),
		b.launch13(moodle(), "ladder", hostile),
		b.launch13(moodle(), "height", func(c jwt.MapClaims) { hostile(c); delete(c, "sub") }),
		b.launch12("height", "height-key", func(p map[string]string) {
			for _, name := range addresses {
				p[name] = script
			}
			p["user_image"], p["custom_return_url"], p["tool_consumer_instance_url"] = script, script, script
		}),
	}
	// An error is reported to the person, and not to an address.
	failed := b.prepare13(moodle(), "height", nil)
	failed.Del("id_token")
	failed.Set("error", "access_denied")
	failed.Set("error_uri", script)
	failed.Set("redirect_uri", script)
	answers = append(answers, b.post13(moodle(), failed))
	for i, x := range answers {
		if all := fmt.Sprint(x.Header()) + x.Body.String(); strings.Contains(all, "alert(") {
			t.Errorf("answer %d has the script: %s", i, all)
		}
	}
}

// hostileText ends every context that a value could stand in.
const hostileText = `"'><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}</title></style>` + "`${1}`"

// markup of hostileText that must not be in a page.
var hostileMarkup = []string{"<script>alert", "<img", `"'>`, "</title></", "onerror=alert(1)>"}

// harmless checks that nothing of hostileText is markup on a page, and that the page runs no script but ours.
func (x answer) harmless(name string) {
	x.t.Helper()
	body := x.Body.String()
	for _, markup := range hostileMarkup {
		if strings.Contains(body, markup) {
			x.t.Errorf("%s: %q is on the page: %s", name, markup, body)
		}
	}
	if x.Code >= http.StatusOK && x.Code < 300 || x.Code >= 400 {
		csp := x.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "base-uri 'none'") || x.Header().Get("X-Content-Type-Options") != "nosniff" {
			x.t.Errorf("%s: Content-Security-Policy %q", name, csp)
		}
	}
	for header := range x.Header() {
		if strings.ContainsAny(x.Header().Get(header), "\r\n") {
			x.t.Errorf("%s: header %s is two", name, header)
		}
	}
}

// Moodle's LTI pages repeated parameters of the request without escaping them. Here pages repeat none; titles, which
// come from the configuration, are escaped, and the Content-Security-Policy runs no script but ours.
func lessonEscaping(t *testing.T, a *academy) {
	a.table.Platforms[0].Title = hostileText
	for i := range a.table.Activities {
		a.table.Activities[i].Title, a.table.Activities[i].Description = hostileText, hostileText
	}
	a.publish()
	check := func(name string, x answer) {
		t.Helper()
		x.harmless(name)
	}
	// Every parameter of a login and of a form, its name too.
	for field := range loginForm(moodle(), "height") {
		form := loginForm(moodle(), "height")
		form.Set(field, hostileText)
		check("login with "+field, a.browser().do(http.MethodPost, "/platforms/moodle/login", form))
		form.Add(field, hostileText)
		check("login with "+field+" twice", a.browser().do(http.MethodPost, "/platforms/moodle/login", form))
	}
	for field := range a.form12("height", "height-key", nil) {
		form := a.form12("height", "height-key", nil)
		form.Set(field, hostileText)
		check("form with "+field, a.browser().post12("height", form))
		form.Add(field, hostileText)
		check("form with "+field+" twice", a.browser().post12("height", form))
	}
	form := a.form12("height", "height-key", nil)
	form.Add("oauth_"+hostileText, "a")
	form.Add("oauth_"+hostileText, "b")
	x := a.browser().post12("height", form)
	a.refused(x, lti.ParameterRepeated)
	check("form with a hostile name", x)
	for _, field := range []string{"state", "id_token", "error", "error_description"} {
		form := a.browser().prepare13(moodle(), "height", nil)
		form.Set(field, hostileText+field)
		check("answer with "+field, a.browser().post13(moodle(), form))
	}
	// Every claim that is a text.
	for name, value := range a.claims(moodle(), "height", "n") {
		if _, ok := value.(string); ok && name != "nonce" {
			check("token with "+name, a.browser().launch13(moodle(), "height", with(name, hostileText)))
		}
	}
	check("page with hostile titles", a.browser().do(http.MethodGet, "/activities/height", nil))
	b := a.browser()
	b.dest = "iframe"
	x = b.launch13(moodle(), "height", nil)
	check("button with hostile titles", x)
	if !strings.Contains(text(x.Body.String()), "alert(1)") {
		t.Error("the title is not on the page as text")
	}
	// Another text: paths are in the log, where the harness finds no value of a form.
	name := url.PathEscape(strings.ReplaceAll(hostileText, "1", "2"))
	for _, path := range []string{"/platforms/" + name + "/login", "/activities/" + name, "/activities/" + name + "/launch", "/" + name} {
		check("path "+path, a.browser().do(http.MethodGet, path, nil))
		check("path "+path, a.browser().do(http.MethodPost, path, url.Values{}))
	}
	ticket := a.browser()
	check("ticket", ticket.open(hostileText+"ticket"))
	ticket.header.Set("Accept-Language", hostileText)
	check("language", ticket.do(http.MethodGet, "/", nil))
}

// Turnitin showed titles and IDs of a launch as markup. Here a name is text to everybody: kept as it was sent, given to
// the academy as JSON, on no page of ours.
func lessonMarkupInNames(t *testing.T, a *academy) {
	x := a.browser().launch13(moodle(), "height", func(c jwt.MapClaims) {
		c["given_name"], c["family_name"] = "<b>Sam</b>", hostileText
		c[claim+"context"] = map[string]any{"id": hostileText, "title": hostileText, "label": hostileText}
		c[claim+"resource_link"] = map[string]any{"id": hostileText, "title": hostileText}
	})
	redeemed := a.browser().redeem(x.code())
	if got := redeemed.Header(); got.Get("Content-Type") != "application/json" || got.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", got)
	}
	if strings.ContainsAny(redeemed.Body.String(), "<>") {
		t.Errorf("JSON that a page could take for markup: %s", redeemed.Body)
	}
	claims := a.entered(redeemed)
	if claims.GivenName != "<b>Sam</b>" || claims.FamilyName != hostileText || claims.Context.Title != hostileText || claims.ResourceLink.ID != hostileText {
		t.Errorf("claims %+v", claims)
	}
	b := a.browser()
	b.dest = "iframe"
	for _, x := range []answer{
		b.launch13(moodle(), "height", nil),
		b.launch12("height", "height-key", func(p map[string]string) {
			for _, name := range []string{"lis_person_name_given", "lis_person_name_family", "context_title", "resource_link_title", "resource_link_id"} {
				p[name] = hostileText
			}
		}),
	} {
		x.ticket()
		if strings.Contains(x.Body.String(), "alert") {
			t.Errorf("a name is on the page: %s", x.Body)
		}
	}
	// A name with a line break does not write log lines.
	a.refused(b.launch13(moodle(), "height", func(c jwt.MapClaims) {
		c["sub"], c["email"] = "9", nil
		c["given_name"] = "x\n{\"msg\":\"forged\"}"
	}), lti.MissingUserData)
	if strings.Contains(a.log.String(), "forged") {
		t.Error("a name is in the log")
	}
}

// Canvas asks tools to say per launch who may frame them; X-Frame-Options, which can name one site only, breaks launches.
// Here the platform's list counts, and X-Frame-Options is not sent.
func lessonFrames(t *testing.T, a *academy) {
	platformIn(a.table, "campus").FrameAncestors = []string{"https://campus.example", "https://*.campus.example"}
	a.publish()
	framed := func(name string, x answer, want string) {
		t.Helper()
		csp := x.Header().Get("Content-Security-Policy")
		_, got, _ := strings.Cut(csp, "frame-ancestors ")
		if got != want {
			t.Errorf("%s: frame-ancestors %q instead of %q", name, got, want)
		}
		if x.Header().Get("X-Frame-Options") != "" {
			t.Errorf("%s has X-Frame-Options", name)
		}
	}
	b := a.browser()
	b.dest = "iframe"
	const anyHTTPS, own = "https:", "https://campus.example https://*.campus.example"
	framed("button for Moodle", b.launch13(moodle(), "height", nil), anyHTTPS)
	framed("button for Campus", b.launch13(campus(), "height", nil), own)
	framed("button for Campus over LTI 1.2", b.launch12("height", "campus-key", sent12("", "kim@example.org")), own)
	framed("button for an activity's key", b.launch12("height", "height-key", nil), anyHTTPS)
	framed("refusal for Moodle", b.launch13(moodle(), "height", with("sub", nil)), anyHTTPS)
	framed("refusal for Campus", b.launch13(campus(), "height", with("sub", nil)), own)
	framed("refused login of Campus", b.do(http.MethodPost, "/platforms/campus/login", url.Values{}), own)
	framed("page of an address", b.do(http.MethodGet, "/activities/height", nil), "'none'")
	framed("page of Campus", b.do(http.MethodGet, "/platforms/campus/launch", nil), "'none'")
	if h := b.launch13(moodle(), "ladder", nil).Header(); h.Get("X-Frame-Options") != "" {
		t.Errorf("redirect with X-Frame-Options: %v", h)
	}
	// A list that would end the directive forbids all frames.
	a.republish(func(t *routing.Table) { platformIn(t, "campus").FrameAncestors = []string{"https:; script-src *"} })
	framed("list with another directive", b.launch13(campus(), "height", nil), "'none'")
}

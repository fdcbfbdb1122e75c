// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/handler/tool"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

func TestLTI13LaunchSignsThePersonIn(t *testing.T) {
	a := newAcademy(t)
	x := a.browser().launch13(moodle(), "height", with(claim+"launch_presentation", map[string]any{"locale": "nl"}))
	if u := x.location(); !strings.HasPrefix(u.String(), "https://academy.acme.example/courses/42?lang=en&lti_launch_code=") {
		t.Fatalf("redirected to %s", u)
	}
	got := *a.enter(x)
	want := tool.LaunchClaims{
		Subject: got.Subject, LaunchID: got.LaunchID, Name: "Sam Student", GivenName: "Sam", FamilyName: "Student", Email: "sam@moodle.example",
		Activity: "height", ActivityTitle: "Working safely at height", Platform: "moodle", Role: "Learner", Roles: got.Roles,
		LTIUserID: "4", LTIVersion: "1.3", Locale: "nl",
	}
	if *got.Context != (tool.Place{ID: "c-1", Label: "C1", Title: "Course <one> & more"}) || *got.ResourceLink != (tool.Place{ID: "rl-1", Title: "Quiz"}) {
		t.Errorf("course %+v, link %+v", got.Context, got.ResourceLink)
	}
	got.Context, got.ResourceLink = nil, nil
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || len(got.Subject) < 22 || len(got.Roles) != 1 {
		t.Errorf("claims\n %+v instead of\n %+v", got, want)
	}
	if again := a.browser().redeem(x.code()); again.Code != http.StatusBadRequest || !strings.Contains(again.Body.String(), `"invalid_grant"`) {
		t.Errorf("a code redeemed twice: %d %s", again.Code, again.Body)
	}
	if !strings.Contains(a.metrics(), `lti_launches_total{reason="",result="accepted",role="tool",version="1.3"} 1`) {
		t.Error("the launch is not counted")
	}
}

func TestLTI12LaunchSignsThePersonIn(t *testing.T) {
	a := newAcademy(t)
	claims := a.enter(a.browser().launch12("height", "height-key", nil))
	if claims.Name != "Ömer O'Neil & Söhne" || claims.Activity != "height" || claims.LTIVersion != "1.2" || claims.Platform != "" {
		t.Errorf("claims %+v", claims)
	}
}

func TestTheGeneralAddressOfAPlatformLeadsToTheActivityOfTheLink(t *testing.T) {
	a := newAcademy(t)
	general := func(custom any) func(jwt.MapClaims) {
		return func(c jwt.MapClaims) {
			c[claim+"target_link_uri"], c[claim+"custom"] = academyURL+"/platforms/moodle/launch", custom
		}
	}
	if claims := a.enter(a.browser().launch13(moodle(), "height", general(map[string]any{"activity": "ladder"}))); claims.Activity != "ladder" {
		t.Errorf("claims %+v", claims)
	}
	a.refused(a.browser().launch13(moodle(), "height", general(nil)), lti.ActivityUnknown)
}

func TestNewWindowFromAFrame(t *testing.T) {
	for name, launch := range map[string]func(b *browser) answer{
		"LTI 1.3": func(b *browser) answer { return b.launch13(moodle(), "height", nil) },
		"LTI 1.2": func(b *browser) answer { return b.launch12("height", "height-key", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAcademy(t)
			b := a.browser()
			b.dest = "iframe"
			x := launch(b)
			if csp := x.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors https:") || strings.Contains(csp, "form-action") {
				t.Errorf("Content-Security-Policy %q", csp)
			}
			b.dest = "document"
			ticket := x.ticket()
			a.enter(b.open(ticket))
			a.refused(b.open(ticket), lti.LaunchAlreadyUsed)
			a.refused(b.open("guessed"), lti.LaunchExpired)
		})
	}
}

func TestEmbeddedGoesStraightOnInAFrame(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	b.dest = "iframe"
	if u := b.launch13(moodle(), "ladder", nil).location(); u.Path != "/courses/43" {
		t.Fatal(u)
	}
}

func TestReplayIsRefusedByEveryHandlerOfTheStore(t *testing.T) {
	a := newAcademy(t)
	b, second := a.browser(), a.browser()
	second.public = a.startAnother(a.openStore())

	u, err := url.Parse(academyURL)
	if err != nil {
		t.Fatal(err)
	}
	form := b.prepare13(moodle(), "height", nil)
	cookies := b.jar.Cookies(u)
	b.post13(moodle(), form).location()
	for _, replay := range []*browser{b, second} {
		replay.jar.SetCookies(u, cookies)
		a.refused(replay.post13(moodle(), form), lti.Replayed)
	}
	form = a.form12("height", "height-key", nil)
	b.post12("height", form).location()
	for _, replay := range []*browser{b, second} {
		a.refused(replay.post12("height", form), lti.Replayed)
	}
}

func TestParallelTabsDoNotDisturbEachOther(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	var tabs []url.Values
	for range 3 {
		tabs = append(tabs, b.prepare13(moodle(), "height", nil))
	}
	for i := len(tabs) - 1; i >= 0; i-- {
		b.post13(moodle(), tabs[i]).location()
	}
	u, err := url.Parse(academyURL)
	if err != nil {
		t.Fatal(err)
	}
	if left := b.jar.Cookies(u); len(left) != 0 {
		t.Errorf("cookies left behind: %v", left)
	}
}

func TestUnfinishedLoginsDoNotFillTheBrowser(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	u, err := url.Parse(academyURL)
	if err != nil {
		t.Fatal(err)
	}
	for range 60 {
		b.login(moodle(), "height")
		if n := len(b.jar.Cookies(u)); n > 24 {
			t.Fatalf("%d cookies", n)
		}
	}
	a.enter(b.launch13(moodle(), "height", nil))
}

func TestOnlyKnownClientsRedeem(t *testing.T) {
	a := newAcademy(t)
	x := a.browser().launch13(moodle(), "height", nil)
	code := x.code()
	form := func(id, secret string) answer {
		return a.browser().do(http.MethodPost, routing.PathLaunchCodes, url.Values{"code": {code}, "client_id": {id}, "client_secret": {secret}})
	}
	for name, x := range map[string]answer{
		"wrong secret":                a.browser().redeemWith(code, "wrong"),
		"no secret":                   a.browser().redeemWith(code, ""),
		"longer secret":               a.browser().redeemWith(code, clientSecret+"x"),
		"hash of the secret":          a.browser().redeemWith(code, string(a.table.AcademyKeys.Clients[0].SecretSHA256)),
		"wrong secret in the form":    form(clientName, "wrong"),
		"other client in the form":    form("other", clientSecret),
		"no client in the form":       form("", clientSecret),
		"client without any password": form(clientName, ""),
	} {
		if got := x.reason(); got != lti.ClientUnauthorized {
			t.Errorf("%s: %q", name, got)
		}
		a.refusedJSON(x, lti.ClientUnauthorized)
	}
	// A wrong secret does not spend the code.
	a.entered(form(clientName, clientSecret))
}

// RFC 6749 section 2.3.1 encodes both parts of the header; many clients do not.
func TestAClientMayEncodeItsSecret(t *testing.T) {
	a := newAcademy(t)
	const secret = "canary secret+of/100%25 ümlauts:and&more"
	sum := sha256.Sum256([]byte(secret))
	a.table.AcademyKeys.Clients = append(a.table.AcademyKeys.Clients, routing.Client{ClientID: "app two", SecretSHA256: sum[:]})
	a.secrets["second client secret"] = secret
	a.publish()
	for _, credentials := range [][2]string{{"app two", secret}, {url.QueryEscape("app two"), url.QueryEscape(secret)}} {
		b := a.browser()
		code := b.launch13(moodle(), "height", nil).code()
		r := http.Request{Header: b.header}
		r.SetBasicAuth(credentials[0], credentials[1])
		a.entered(b.do(http.MethodPost, routing.PathLaunchCodes, url.Values{"code": {code}}))
	}
}

func TestAFormMayHaveAQueryInItsAddress(t *testing.T) {
	a := newAcademy(t)
	const query = "?tenant=a%20b&tenant=c"
	path := "/activities/height/launch"
	sign := func(address string, change func(map[string]string)) url.Values {
		return a.sign12(academyURL+address, "height-key", credentialIn(a.table, "height-key").Secrets[0], t.Name()+address, change)
	}
	b := a.browser()
	a.enter(b.do(http.MethodPost, path+query, sign(path+query, nil)))
	a.refused(b.do(http.MethodPost, path, sign(path+query, nil)), lti.SignatureInvalid)
	a.refused(b.do(http.MethodPost, path+"?tenant=d", sign(path+query, nil)), lti.SignatureInvalid)
	// Canvas copies the query into the form, and signs it once.
	a.enter(b.do(http.MethodPost, path+"?tenant=e", sign(path, param("tenant", "e"))))
	// The query is no place for what a launch means.
	a.refused(b.do(http.MethodPost, path+"?user_id=1", sign(path+"?user_id=1", nil)), lti.ParameterRepeated)
}

func TestAPageIsInTheLanguageOfTheLaunch(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	b.header.Set("Accept-Language", "en")
	x := b.launch13(moodle(), "height", func(c jwt.MapClaims) {
		withoutPersonalData(c)
		c[claim+"launch_presentation"] = map[string]any{"locale": "nl-NL"}
	})
	a.refused(x, lti.MissingUserData)
	if lang := x.Header().Get("Content-Language"); lang != "nl" {
		t.Errorf("a Dutch launch is refused in %q", lang)
	}
}

func TestAFormMayBeSignedWithHMACSHA256WhereItsKeySaysSo(t *testing.T) {
	a := newAcademy(t)
	form := func() url.Values {
		form := a.form12("height", "height-key", nil)
		form.Set("oauth_signature_method", oauth1.HMACSHA256)
		var params lti.Params
		for name := range form {
			params = append(params, lti.Param{Name: name, Value: form.Get(name)})
		}
		m := hmac.New(sha256.New, []byte(oauth1.Escape(credentialIn(a.table, "height-key").Secrets[0])+"&"))
		m.Write([]byte(oauth1.BaseString(http.MethodPost, academyURL+"/activities/height/launch", params)))
		form.Set("oauth_signature", base64.StdEncoding.EncodeToString(m.Sum(nil)))
		return form
	}
	a.refused(a.browser().post12("height", form()), lti.SignatureMethodUnsupported)
	a.republish(func(t *routing.Table) {
		credentialIn(t, "height-key").SignatureMethods = []string{oauth1.HMACSHA1, oauth1.HMACSHA256}
	})
	a.browser().post12("height", form()).location()
	a.browser().launch12("height", "height-key", nil).location()
	// Another key is not concerned.
	other := a.form12("ladder", "ladder-key", nil)
	other.Set("oauth_signature_method", oauth1.HMACSHA256)
	a.refused(a.browser().post12("ladder", other), lti.SignatureMethodUnsupported)
}

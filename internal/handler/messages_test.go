// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/handler/tool"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// party is another learning system, registered as an LTIPlatform.
type party struct {
	platform, issuer, clientID, deployment string
	key                                    *rsa.PrivateKey
}

func moodle() party {
	return party{platform: "moodle", issuer: "https://lms.example", clientID: "client-1", deployment: "7", key: moodleKey()}
}

func campus() party {
	return party{platform: "campus", issuer: "https://campus.example", clientID: "client-2", deployment: "7", key: campusKey()}
}

// answer is what a browser or a back end sees.
type answer struct {
	*httptest.ResponseRecorder
	t *testing.T
}

func (x answer) location() *url.URL {
	x.t.Helper()
	if x.Code != http.StatusSeeOther {
		x.t.Fatalf("status %d instead of a redirect: %s", x.Code, text(x.Body.String()))
	}
	u, err := url.Parse(x.Header().Get("Location"))
	if err != nil {
		x.t.Fatal(err)
	}
	return u
}

// ticket is the token in the page with the button.
func (x answer) ticket() string {
	x.t.Helper()
	found := ticketField.FindStringSubmatch(x.Body.String())
	if x.Code != http.StatusOK || found == nil {
		x.t.Fatalf("status %d and no ticket in the page: %s", x.Code, text(x.Body.String()))
	}
	return found[1]
}

var (
	tags         = regexp.MustCompile(`(?s)<style>.*?</style>|<[^>]*>`)
	pageReason   = regexp.MustCompile(`data-reason="(\w+)"`)
	answerReason = regexp.MustCompile(`"reason":"(\w+)"`)
)

// text is what a person reads on a page.
func text(page string) string {
	return strings.Join(strings.Fields(html.UnescapeString(tags.ReplaceAllString(page, " "))), " ")
}

// reason is why a page or a JSON answer refuses; empty when it does not.
func (x answer) reason() lti.Code {
	if x.Code < http.StatusBadRequest {
		return ""
	}
	for _, pattern := range []*regexp.Regexp{pageReason, answerReason} {
		if found := pattern.FindStringSubmatch(x.Body.String()); found != nil {
			return lti.Code(found[1])
		}
	}
	return lti.Code(fmt.Sprintf("none, but status %d", x.Code))
}

// browser keeps cookies as a browser does, for one site.
type browser struct {
	*academy
	jar    http.CookieJar
	public http.Handler
	base   string // the public address it uses
	dest   string // Sec-Fetch-Dest
	header http.Header
	last   *http.Request
	body   string // of last
}

func (a *academy) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return &browser{academy: a, jar: jar, public: a.public, base: academyURL, dest: "document", header: http.Header{}}
}

// do sends a request to a path of the academy, or to a whole URL.
func (b *browser) do(method, target string, form url.Values) answer {
	b.t.Helper()
	if form == nil {
		return b.send(method, target, "", "")
	}
	return b.send(method, target, "application/x-www-form-urlencoded", form.Encode())
}

func (b *browser) send(method, target, contentType, body string) answer {
	b.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.base + target
	}
	r := httptest.NewRequest(method, target, nil)
	maps.Copy(r.Header, b.header)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if b.dest != "" {
		r.Header.Set("Sec-Fetch-Dest", b.dest)
	}
	for _, c := range b.jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	b.last, b.body = r, body
	return b.again(nil)
}

// again sends the last request once more, with the cookies of then.
func (b *browser) again(change func(http.Header)) answer {
	b.t.Helper()
	r := b.last.Clone(context.Background())
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(b.body)), int64(len(b.body))
	if change != nil {
		change(r.Header)
	}
	x := b.serve(b.public, r, b.body)
	b.jar.SetCookies(r.URL, x.Result().Cookies())
	if r.Method == http.MethodPost && x.Code < http.StatusBadRequest && !strings.HasSuffix(x.Header().Get("Content-Type"), "json") {
		for _, header := range []string{"Cache-Control", "Referrer-Policy"} {
			if x.Header().Get(header) == "" {
				b.t.Errorf("%s is missing in the answer to POST %s", header, r.URL.Path)
			}
		}
	}
	return x
}

// serve answers one request and records it.
func (a *academy) serve(h http.Handler, r *http.Request, body string) answer {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	r.PostForm, _ = url.ParseQuery(body)
	a.record(r, w)
	return answer{w, a.t}
}

func loginForm(p party, activity string) url.Values {
	return url.Values{
		"iss": {p.issuer}, "login_hint": {"4"}, "target_link_uri": {academyURL + "/activities/" + activity},
		"lti_message_hint": {`{"cmid":4,"x":"ü & \"q\""}`}, "client_id": {p.clientID}, "lti_deployment_id": {p.deployment},
	}
}

// login starts an LTI 1.3 login and returns state and nonce.
func (b *browser) login(p party, activity string) (state, nonce string) {
	b.t.Helper()
	x := b.do(http.MethodPost, "/platforms/"+p.platform+"/login", loginForm(p, activity))
	if x.Code == http.StatusTemporaryRedirect {
		x = b.do(http.MethodPost, x.Header().Get("Location"), loginForm(p, activity))
	}
	u := x.location()
	q := u.Query()
	if !strings.HasPrefix(u.String(), p.issuer+"/auth?x=1&") || q.Get("lti_message_hint") != `{"cmid":4,"x":"ü & \"q\""}` ||
		q.Get("redirect_uri") != b.base+"/platforms/"+p.platform+"/launch" {
		b.t.Fatalf("authentication request: %s", u)
	}
	return q.Get("state"), q.Get("nonce")
}

const claim = "https://purl.imsglobal.org/spec/lti/claim/"

// claims are a complete ID token for user 4 of the party.
func (a *academy) claims(p party, activity, nonce string) jwt.MapClaims {
	now := a.clock.now()
	return jwt.MapClaims{
		"iss": p.issuer, "aud": p.clientID, "sub": "4", "nonce": nonce, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"given_name": "Sam", "family_name": "Student", "name": "Sam Student", "email": "sam@" + p.platform + ".example",
		claim + "version": "1.3.0", claim + "message_type": "LtiResourceLinkRequest", claim + "deployment_id": p.deployment,
		claim + "target_link_uri": academyURL + "/activities/" + activity,
		claim + "roles":           []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		claim + "resource_link":   map[string]any{"id": "rl-1", "title": "Quiz"},
		claim + "context":         map[string]any{"id": "c-1", "label": "C1", "title": "Course <one> & more"},
	}
}

// with changes one claim, or removes it.
func with(name string, value any) func(jwt.MapClaims) {
	return func(c jwt.MapClaims) {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
}

// person names another user.
func person(sub, email string) func(jwt.MapClaims) {
	return func(c jwt.MapClaims) { c["sub"], c["email"] = sub, email }
}

func withoutPersonalData(c jwt.MapClaims) {
	for _, name := range []string{"email", "given_name", "family_name", "name"} {
		delete(c, name)
	}
}

// sign makes an ID token of the party; header replaces members of the header, and removes those that are nil.
func (a *academy) sign(p party, claims jwt.MapClaims, header map[string]any) string {
	a.t.Helper()
	return a.signWith(jwt.SigningMethodRS256, p.key, p, claims, header)
}

func (a *academy) signWith(method jwt.SigningMethod, key any, p party, claims jwt.Claims, header map[string]any) string {
	a.t.Helper()
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = keys.PublicJWK(&p.key.PublicKey).KeyID
	for name, value := range header {
		if token.Header[name] = value; value == nil {
			delete(token.Header, name)
		}
	}
	signed, err := token.SignedString(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return signed
}

// prepare13 goes through the login and returns the form that the platform then posts; change edits the claims.
func (b *browser) prepare13(p party, activity string, change func(jwt.MapClaims)) url.Values {
	b.t.Helper()
	return b.prepareToken(p, activity, func(claims jwt.MapClaims) string {
		if change != nil {
			change(claims)
		}
		return b.sign(p, claims, nil)
	})
}

// prepareToken is prepare13 with a token of any kind.
func (b *browser) prepareToken(p party, activity string, sign func(jwt.MapClaims) string) url.Values {
	b.t.Helper()
	state, nonce := b.login(p, activity)
	return url.Values{"state": {state}, "id_token": {sign(b.claims(p, activity, nonce))}}
}

func (b *browser) post13(p party, form url.Values) answer {
	b.t.Helper()
	return b.do(http.MethodPost, "/platforms/"+p.platform+"/launch", form)
}

// launch13 goes through a whole LTI 1.3 launch; change edits the claims.
func (b *browser) launch13(p party, activity string, change func(jwt.MapClaims)) answer {
	b.t.Helper()
	return b.post13(p, b.prepare13(p, activity, change))
}

var formNonces atomic.Int64

// form12 is an LTI 1.2 launch of user 4, signed with the secret of the key; change edits the parameters.
func (a *academy) form12(activity, key string, change func(map[string]string)) url.Values {
	a.t.Helper()
	return a.form12At(academyURL, activity, key, change)
}

func (a *academy) form12At(base, activity, key string, change func(map[string]string)) url.Values {
	a.t.Helper()
	secret := "a guess"
	if c := credentialIn(a.table, key); c != nil {
		secret = c.Secrets[0]
	}
	return a.sign12(base+"/activities/"+activity+"/launch", key, secret, fmt.Sprintf("nonce-%d", formNonces.Add(1)), change)
}

func (a *academy) sign12(launchURL, key, secret, nonce string, change func(map[string]string)) url.Values {
	a.t.Helper()
	params := map[string]string{
		"lti_message_type": "basic-lti-launch-request", "lti_version": "LTI-1p0", "resource_link_id": "rl-9", "user_id": "4",
		"roles": "Learner", "lis_person_name_given": "Ömer", "lis_person_name_family": "O'Neil & Söhne",
		"lis_person_contact_email_primary": "omer@example.org", "context_id": "c-2", "context_title": "Course — “two”",
		"tool_consumer_instance_guid": "lms.example",
	}
	if change != nil {
		change(params)
	}
	var unsigned lti.Params
	for name, value := range params {
		unsigned = append(unsigned, lti.Param{Name: name, Value: value})
	}
	credentials := oauth1.Credentials{ConsumerKey: key, SharedSecret: secret}
	signed, err := oauth1.SignForm(launchURL, unsigned, credentials, a.clock.now(), nonce)
	if err != nil {
		a.t.Fatal(err)
	}
	form := url.Values{}
	for _, p := range signed {
		form.Add(p.Name, p.Value)
	}
	return form
}

// param changes one parameter of a form.
func param(name, value string) func(map[string]string) {
	return func(p map[string]string) { p[name] = value }
}

func (b *browser) post12(activity string, form url.Values) answer {
	b.t.Helper()
	return b.do(http.MethodPost, "/activities/"+activity+"/launch", form)
}

func (b *browser) launch12(activity, key string, change func(map[string]string)) answer {
	b.t.Helper()
	return b.post12(activity, b.form12(activity, key, change))
}

// open presses the button of the new-window page.
func (b *browser) open(ticket string) answer {
	b.t.Helper()
	return b.do(http.MethodPost, routing.PathOpen, url.Values{"ticket": {ticket}})
}

// redeem exchanges a one-time code as the academy's back end does.
func (b *browser) redeem(code string) answer { return b.redeemWith(code, clientSecret) }

func (b *browser) redeemWith(code, secret string) answer {
	b.t.Helper()
	b.header.Set("Authorization", basic(secret))
	defer b.header.Del("Authorization")
	return b.do(http.MethodPost, routing.PathLaunchCodes, url.Values{"code": {code}})
}

func basic(secret string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(clientName, secret)
	return r.Header.Get("Authorization")
}

// setAccount suspends an account, or lifts that.
func (b *browser) setAccount(subject string, active bool) answer {
	b.t.Helper()
	return b.putAccount(subject, fmt.Sprintf(`{"active": %t}`, active), clientSecret)
}

func (b *browser) putAccount(subject, body, secret string) answer {
	b.t.Helper()
	b.header.Set("Authorization", basic(secret))
	defer b.header.Del("Authorization")
	return b.send(http.MethodPut, routing.PathAccounts+subject, "application/json", body)
}

// code is the one-time code in the address that a launch leads to.
func (x answer) code() string {
	x.t.Helper()
	code := x.location().Query().Get(tool.ParamLaunchCode)
	if code == "" {
		x.t.Fatalf("redirected to %s without a code", x.location())
	}
	return code
}

// enter redeems the code of a launch that leads into the academy.
func (a *academy) enter(x answer) *tool.LaunchClaims {
	a.t.Helper()
	return a.entered(a.browser().redeem(x.code()))
}

func (a *academy) entered(x answer) *tool.LaunchClaims {
	a.t.Helper()
	if x.Code != http.StatusOK {
		a.t.Fatalf("redeemed: %d %s", x.Code, x.Body)
	}
	var claims tool.LaunchClaims
	if err := json.Unmarshal(x.Body.Bytes(), &claims); err != nil {
		a.t.Fatal(err)
	}
	return &claims
}

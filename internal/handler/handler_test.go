// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lti-operator/lti-operator/internal/handler"
	"github.com/lti-operator/lti-operator/internal/handler/tool"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
	"github.com/lti-operator/lti-operator/internal/store/sqlite"
)

// Values that must not appear in any log line, page or URL.
const (
	sharedSecret = "canary-shared-secret-of-lti-1.2"
	clientSecret = "canary-client-secret-of-the-academy"
)

const (
	academyURL   = "https://lti.acme.example"
	platformName = "moodle"
	issuer       = "https://lms.example"
	clientID     = "client-1"
	deployment   = "7"
)

// academy is a launch handler under test with everything around it: table, store, log and a platform's signing key.
type academy struct {
	t        *testing.T
	dir      string
	database string
	log      *lockedBuffer
	registry *prometheus.Registry
	table    *routing.Table
	platform *rsa.PrivateKey
	keys     *keys.Academy
	store    store.Store
	handler  *handler.Handler
	public   http.Handler
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// The keys are made once: RSA keys take long.
var (
	platformKey = sync.OnceValue(func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return k
	})
	academyKeys = sync.OnceValue(func() *keys.Academy {
		k, err := keys.NewAcademy(rand.Reader, time.Now())
		if err != nil {
			panic(err)
		}
		return k
	})
)

func newAcademy(t *testing.T) *academy {
	t.Helper()
	a := &academy{
		t: t, dir: t.TempDir(), database: filepath.Join(t.TempDir(), "launches.db"),
		log: &lockedBuffer{}, registry: prometheus.NewRegistry(), platform: platformKey(), keys: academyKeys(),
	}
	jwk := keys.PublicJWK(&a.platform.PublicKey)
	inline, err := json.Marshal(map[string]any{"keys": []routing.JWK{jwk}})
	if err != nil {
		t.Fatal(err)
	}
	client := sha256.Sum256([]byte(clientSecret))
	token := sha256.Sum256([]byte(a.keys.ControlToken))
	a.table = &routing.Table{
		Academy: routing.Academy{Name: "default", Title: "Acme Academy", URL: academyURL, Active: true, FrameAncestors: []string{"https:"}},
		Platforms: []routing.Platform{{
			Name: platformName, Title: "Moodle at Example University", Active: true, Labels: map[string]string{"audience": "university"},
			LTI13:       &routing.PlatformLTI13{Issuer: issuer, ClientID: clientID, AuthenticationURL: issuer + "/auth?x=1", JWKS: string(inline)},
			Deployments: []routing.Deployment{{ID: deployment, Active: true}}, PublicKeys: []routing.JWK{jwk},
		}, {
			Name: "newcomer", Title: "Newcomer", Active: true, AnyDeployment: true,
		}},
		Activities: []routing.Activity{
			{Name: "height", Title: "Working safely at height", Type: "ELearning", Share: &routing.Share{
				TargetURL: "https://academy.acme.example/courses/42?lang=en", Presentation: routing.PresentationNewWindow,
			}},
			{Name: "ladder", Title: "Ladder check", Type: "Microlearning", Share: &routing.Share{
				TargetURL: "https://academy.acme.example/courses/43", Presentation: routing.PresentationEmbedded,
				PlatformLabels: map[string]string{"audience": "university"},
			}},
			{Name: "private", Title: "Not shared", Type: "ELearning"},
		},
		Credentials: []routing.Credential{
			{Activity: "height", ConsumerKey: "height-key", Secrets: []string{sharedSecret}},
			{Activity: "ladder", ConsumerKey: "ladder-key", Secrets: []string{sharedSecret}},
		},
		AcademyKeys: routing.AcademyKeys{
			StateKeys: [][]byte{a.keys.StateKey},
			Control: routing.Control{
				CertificatePEM: string(a.keys.ControlCertificatePEM), PrivateKeyPEM: string(a.keys.ControlPrivateKeyPEM), TokenSHA256: token[:],
			},
			Clients: []routing.Client{{ClientID: "academy-app", SecretSHA256: client[:]}},
		},
	}
	a.store = a.openStore()
	a.handler = a.start(a.store)
	a.public = a.handler.Public()
	a.publish()
	t.Cleanup(func() {
		for _, canary := range []string{sharedSecret, clientSecret, string(a.keys.StateKey), a.keys.ControlToken} {
			if strings.Contains(a.log.String(), canary) {
				t.Error("a secret is in the log")
			}
		}
	})
	return a
}

func (a *academy) openStore() store.Store {
	a.t.Helper()
	s, err := sqlite.Open(context.Background(), a.database, time.Now)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = s.Close() })
	return s
}

// start runs a handler on the academy's configuration directory.
func (a *academy) start(s store.Store) *handler.Handler {
	a.t.Helper()
	h, err := handler.New(handler.Options{
		ConfigDir: a.dir, Store: s, Registry: a.registry,
		Log: slog.New(slog.NewJSONHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		a.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = h.Run(ctx) }()
	a.t.Cleanup(func() { cancel(); <-done })
	return h
}

// publish writes the table as kubelet would and waits until it is served.
func (a *academy) publish() {
	a.t.Helper()
	set, err := routing.Split(a.table)
	if err != nil {
		a.t.Fatal(err)
	}
	files, err := set.Files()
	if err != nil {
		a.t.Fatal(err)
	}
	version := filepath.Join(a.dir, "..version-"+set.Manifest.Hash[:8])
	if err := os.MkdirAll(version, 0o700); err != nil {
		a.t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(version, name), content, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	link := filepath.Join(a.dir, "..data_tmp")
	if err := os.Symlink(filepath.Base(version), link); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(link, filepath.Join(a.dir, "..data")); err != nil {
		a.t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for a.reportedHash(a.handler) != set.Manifest.Hash {
		if time.Now().After(deadline) {
			a.t.Fatal("the table is not served: ", a.log.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (a *academy) reportedHash(h *handler.Handler) string {
	r := httptest.NewRequest(http.MethodGet, routing.PathControlTable, nil)
	r.Header.Set("Authorization", "Bearer "+a.keys.ControlToken)
	w := httptest.NewRecorder()
	h.Control().ServeHTTP(w, r)
	var report routing.Report
	_ = json.Unmarshal(w.Body.Bytes(), &report)
	return report.Hash
}

// answer is what a browser sees.
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

var tags = regexp.MustCompile(`(?s)<style>.*?</style>|<[^>]*>`)

func text(html string) string {
	return strings.Join(strings.Fields(tags.ReplaceAllString(html, " ")), " ")
}

// refused checks the page, the status, the log line and the metric of a refusal.
func (a *academy) refused(x answer, code lti.Code) {
	a.t.Helper()
	if want := code.Reason().Status; x.Code != want {
		a.t.Errorf("status %d instead of %d: %s", x.Code, want, text(x.Body.String()))
	}
	body := x.Body.String()
	if !strings.Contains(body, fmt.Sprintf(`data-reason=%q`, code)) {
		a.t.Fatalf("the page does not give the reason %s: %s", code, text(body))
	}
	reference := regexp.MustCompile(`data-testid="reference">([0-9A-Z]{4}-[0-9A-Z]{4})<`).FindStringSubmatch(body)
	if reference == nil {
		a.t.Fatalf("the page has no reference number: %s", text(body))
	}
	found := false
	for line := range strings.Lines(a.log.String()) {
		found = found || strings.Contains(line, reference[1]) && strings.Contains(line, `"reason":"`+string(code)+`"`)
	}
	if !found {
		a.t.Errorf("no log line has reason %s and reference %s", code, reference[1])
	}
	if !strings.Contains(a.metrics(), `reason="`+string(code)+`",result="refused"`) {
		a.t.Errorf("no metric counts %s", code)
	}
	if strings.Contains(body, sharedSecret) {
		a.t.Error("the page shows a secret")
	}
}

func (a *academy) metrics() string {
	w := httptest.NewRecorder()
	a.handler.Ops().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// browser keeps cookies as a browser does, for one site.
type browser struct {
	*academy
	jar    http.CookieJar
	public http.Handler
	dest   string // Sec-Fetch-Dest
}

func (a *academy) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return &browser{academy: a, jar: jar, public: a.public, dest: "document"}
}

func (b *browser) do(method, target string, form url.Values) answer {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequest(method, target, body)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if b.dest != "" {
		r.Header.Set("Sec-Fetch-Dest", b.dest)
	}
	for _, c := range b.jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	b.public.ServeHTTP(w, r)
	b.jar.SetCookies(r.URL, w.Result().Cookies())
	if method == http.MethodPost {
		for _, header := range []string{"Cache-Control", "Referrer-Policy"} {
			if w.Code < 400 && w.Header().Get(header) == "" && !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
				b.t.Errorf("%s is missing in the answer to POST %s", header, r.URL.Path)
			}
		}
	}
	return answer{w, b.t}
}

func loginForm(activity string) url.Values {
	return url.Values{
		"iss": {issuer}, "login_hint": {"4"}, "target_link_uri": {academyURL + "/activities/" + activity},
		"lti_message_hint": {`{"cmid":4,"x":"ü & \"q\""}`}, "client_id": {clientID}, "lti_deployment_id": {deployment},
	}
}

// login starts an LTI 1.3 login and returns state and nonce.
func (b *browser) login(activity string) (state, nonce string) {
	b.t.Helper()
	u := b.do(http.MethodPost, academyURL+"/platforms/moodle/login", loginForm(activity)).location()
	q := u.Query()
	if u.Host != "lms.example" || q.Get("x") != "1" || q.Get("lti_message_hint") != `{"cmid":4,"x":"ü & \"q\""}` || q.Get("redirect_uri") != academyURL+"/platforms/moodle/launch" {
		b.t.Fatalf("authentication request: %s", u)
	}
	return q.Get("state"), q.Get("nonce")
}

const claim = "https://purl.imsglobal.org/spec/lti/claim/"

func idTokenClaims(activity, nonce string) jwt.MapClaims {
	return jwt.MapClaims{
		"iss": issuer, "aud": clientID, "sub": "4", "nonce": nonce,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
		"given_name": "Sam", "family_name": "Student", "name": "Sam Student", "email": "sam@example.org",
		claim + "version": "1.3.0", claim + "message_type": "LtiResourceLinkRequest", claim + "deployment_id": deployment,
		claim + "target_link_uri":     academyURL + "/activities/" + activity,
		claim + "roles":               []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		claim + "resource_link":       map[string]any{"id": "rl-1", "title": "Quiz"},
		claim + "context":             map[string]any{"id": "c-1", "label": "C1", "title": "Course <one> & more"},
		claim + "launch_presentation": map[string]any{"locale": "nl"},
	}
}

func (a *academy) sign(claims jwt.MapClaims) string {
	a.t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = keys.PublicJWK(&a.platform.PublicKey).KeyID
	signed, err := token.SignedString(a.platform)
	if err != nil {
		a.t.Fatal(err)
	}
	return signed
}

// launch13 goes through a whole LTI 1.3 launch; change edits the claims.
func (b *browser) launch13(activity string, change func(jwt.MapClaims)) (x answer, form url.Values) {
	b.t.Helper()
	state, nonce := b.login(activity)
	claims := idTokenClaims(activity, nonce)
	if change != nil {
		change(claims)
	}
	form = url.Values{"state": {state}, "id_token": {b.sign(claims)}}
	return b.do(http.MethodPost, academyURL+"/platforms/moodle/launch", form), form
}

var formNonces = struct {
	sync.Mutex
	n int
}{}

// form12 is a signed LTI 1.2 launch.
func (a *academy) form12(activity, key, secret string, change func(map[string]string)) url.Values {
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
	formNonces.Lock()
	formNonces.n++
	nonce := fmt.Sprintf("nonce-%d", formNonces.n)
	formNonces.Unlock()
	signed, err := oauth1.SignForm(academyURL+"/activities/"+activity+"/launch", unsigned, oauth1.Credentials{ConsumerKey: key, SharedSecret: secret}, time.Now(), nonce)
	if err != nil {
		a.t.Fatal(err)
	}
	form := url.Values{}
	for _, p := range signed {
		form.Add(p.Name, p.Value)
	}
	return form
}

func (b *browser) launch12(activity string, form url.Values) answer {
	b.t.Helper()
	return b.do(http.MethodPost, academyURL+"/activities/"+activity+"/launch", form)
}

// redeem exchanges the code in a redirect for its claims.
func (a *academy) redeem(code, secret string) (*tool.LaunchClaims, int, string) {
	a.t.Helper()
	r := httptest.NewRequest(http.MethodPost, academyURL+routing.PathLaunchCodes, strings.NewReader(url.Values{"code": {code}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("academy-app", secret)
	w := httptest.NewRecorder()
	a.public.ServeHTTP(w, r)
	var claims tool.LaunchClaims
	if err := json.Unmarshal(w.Body.Bytes(), &claims); err != nil {
		a.t.Fatalf("answer %d is not JSON: %s", w.Code, w.Body)
	}
	return &claims, w.Code, w.Body.String()
}

func code(u *url.URL) string { return u.Query().Get(tool.ParamLaunchCode) }

func TestLTI13LaunchSignsThePersonIn(t *testing.T) {
	a := newAcademy(t)
	x, _ := a.browser().launch13("height", nil)
	u := x.location()
	if !strings.HasPrefix(u.String(), "https://academy.acme.example/courses/42?lang=en&lti_launch_code=") {
		t.Fatalf("redirected to %s", u)
	}
	claims, status, body := a.redeem(code(u), clientSecret)
	if status != http.StatusOK {
		t.Fatal(status, body)
	}
	want := tool.LaunchClaims{
		Subject: claims.Subject, LaunchID: claims.LaunchID, Name: "Sam Student", GivenName: "Sam", FamilyName: "Student", Email: "sam@example.org",
		Activity: "height", ActivityTitle: "Working safely at height", Platform: platformName, Role: "Learner", Roles: claims.Roles,
		LTIUserID: "4", LTIVersion: "1.3", Locale: "nl",
	}
	got := *claims
	if *got.Context != (tool.Place{ID: "c-1", Label: "C1", Title: "Course <one> & more"}) || *got.ResourceLink != (tool.Place{ID: "rl-1", Title: "Quiz"}) {
		t.Errorf("course %+v, link %+v", got.Context, got.ResourceLink)
	}
	got.Context, got.ResourceLink = nil, nil
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || len(got.Subject) < 22 || len(got.Roles) != 1 {
		t.Errorf("claims\n %+v instead of\n %+v", got, want)
	}
	if _, status, body := a.redeem(code(u), clientSecret); status != http.StatusBadRequest || !strings.Contains(body, `"invalid_grant"`) {
		t.Errorf("a code redeemed twice: %d %s", status, body)
	}
	if !strings.Contains(a.metrics(), `lti_launches_total{reason="",result="accepted",role="tool",version="1.3"} 1`) {
		t.Error("the launch is not counted")
	}
	if strings.Contains(a.log.String(), code(u)) {
		t.Error("the one-time code is in the log")
	}
}

func TestLTI12LaunchSignsThePersonIn(t *testing.T) {
	a := newAcademy(t)
	u := a.browser().launch12("height", a.form12("height", "height-key", sharedSecret, nil)).location()
	claims, status, body := a.redeem(code(u), clientSecret)
	if status != http.StatusOK || claims.Name != "Ömer O'Neil & Söhne" || claims.Activity != "height" || claims.LTIVersion != "1.2" || claims.Platform != "" {
		t.Fatal(status, body)
	}
}

func TestSamePersonDifferentSystems(t *testing.T) {
	a := newAcademy(t)
	subject := func(x answer) string {
		claims, status, body := a.redeem(code(x.location()), clientSecret)
		if status != http.StatusOK {
			t.Fatal(status, body)
		}
		return claims.Subject
	}
	first, _ := a.browser().launch13("height", nil)
	again, _ := a.browser().launch13("ladder", nil)
	one, two := subject(first), subject(again)
	if one != two {
		t.Error("the same person of the same system got two subjects")
	}
	// User 4 of the 1.2 side, also with a claimed e-mail address and instance of the other, is somebody else.
	legacy := subject(a.browser().launch12("height", a.form12("height", "height-key", sharedSecret, func(p map[string]string) {
		p["lis_person_contact_email_primary"] = "sam@example.org"
	})))
	other := subject(a.browser().launch12("height", a.form12("height", "height-key", sharedSecret, func(p map[string]string) {
		p["tool_consumer_instance_guid"] = "another.example"
	})))
	secondKey := subject(a.browser().launch12("ladder", a.form12("ladder", "ladder-key", sharedSecret, nil)))
	if legacy == one || other == legacy || other == one {
		t.Error("people of different realms are one")
	}
	if secondKey != legacy {
		t.Error("the same person of one system with the keys of two activities is two")
	}
}

func TestNewWindowFromAFrame(t *testing.T) {
	for name, launch := range map[string]func(b *browser) answer{
		"LTI 1.3": func(b *browser) answer { x, _ := b.launch13("height", nil); return x },
		"LTI 1.2": func(b *browser) answer {
			return b.launch12("height", b.form12("height", "height-key", sharedSecret, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAcademy(t)
			b := a.browser()
			b.dest = "iframe"
			x := launch(b)
			if x.Code != http.StatusOK {
				t.Fatal(x.Code, text(x.Body.String()))
			}
			if csp := x.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors https:") || strings.Contains(csp, "form-action") {
				t.Errorf("Content-Security-Policy %q", csp)
			}
			ticket := regexp.MustCompile(`name="ticket" value="([^"]+)"`).FindStringSubmatch(x.Body.String())
			if ticket == nil {
				t.Fatal("no ticket in the page: ", text(x.Body.String()))
			}
			b.dest = "document"
			u := b.do(http.MethodPost, academyURL+routing.PathOpen, url.Values{"ticket": {ticket[1]}}).location()
			if _, status, body := a.redeem(code(u), clientSecret); status != http.StatusOK {
				t.Fatal(status, body)
			}
			a.refused(b.do(http.MethodPost, academyURL+routing.PathOpen, url.Values{"ticket": {ticket[1]}}), lti.LaunchAlreadyUsed)
			a.refused(b.do(http.MethodPost, academyURL+routing.PathOpen, url.Values{"ticket": {"guessed"}}), lti.LaunchExpired)
		})
	}
}

func TestEmbeddedGoesStraightOnInAFrame(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	b.dest = "iframe"
	x, _ := b.launch13("ladder", nil)
	if u := x.location(); u.Path != "/courses/43" {
		t.Fatal(u)
	}
}

func TestReplayIsRefusedByEveryHandlerOfTheStore(t *testing.T) {
	a := newAcademy(t)
	second := a.browser()
	otherProcess, err := handler.New(handler.Options{ConfigDir: a.dir, Store: a.openStore(), Log: slog.New(slog.NewJSONHandler(a.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = otherProcess.Run(ctx) }()
	for a.reportedHash(otherProcess) == "" {
		time.Sleep(5 * time.Millisecond)
	}
	second.public = otherProcess.Public()

	b := a.browser()
	state, nonce := b.login("height")
	form := url.Values{"state": {state}, "id_token": {a.sign(idTokenClaims("height", nonce))}}
	u, err := url.Parse(academyURL)
	if err != nil {
		t.Fatal(err)
	}
	cookies := b.jar.Cookies(u)
	b.do(http.MethodPost, academyURL+"/platforms/moodle/launch", form).location()
	for _, replay := range []*browser{b, second} {
		replay.jar.SetCookies(u, cookies)
		x := replay.do(http.MethodPost, academyURL+"/platforms/moodle/launch", form)
		if x.Code != lti.Replayed.Reason().Status || !strings.Contains(x.Body.String(), `data-reason="Replayed"`) {
			t.Errorf("replayed LTI 1.3 launch: %d %s", x.Code, text(x.Body.String()))
		}
	}
	form = a.form12("height", "height-key", sharedSecret, nil)
	b.launch12("height", form).location()
	for _, replay := range []*browser{b, second} {
		if x := replay.launch12("height", form); x.Code != lti.Replayed.Reason().Status {
			t.Errorf("replayed LTI 1.2 launch: %d %s", x.Code, text(x.Body.String()))
		}
	}
}

func TestParallelTabsDoNotDisturbEachOther(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	type tab struct{ state, nonce string }
	var tabs []tab
	for range 3 {
		state, nonce := b.login("height")
		tabs = append(tabs, tab{state, nonce})
	}
	for i := len(tabs) - 1; i >= 0; i-- {
		form := url.Values{"state": {tabs[i].state}, "id_token": {a.sign(idTokenClaims("height", tabs[i].nonce))}}
		b.do(http.MethodPost, academyURL+"/platforms/moodle/launch", form).location()
	}
	u, err := url.Parse(academyURL)
	if err != nil {
		t.Fatal(err)
	}
	if left := b.jar.Cookies(u); len(left) != 0 {
		t.Errorf("cookies left behind: %v", left)
	}
}

func TestRefusals(t *testing.T) {
	post := func(path string, form url.Values) func(*browser) answer {
		return func(b *browser) answer { return b.do(http.MethodPost, academyURL+path, form) }
	}
	login := func(change url.Values) func(*browser) answer {
		form := loginForm("height")
		maps.Copy(form, change)
		return post("/platforms/moodle/login", form)
	}
	launch13 := func(change func(jwt.MapClaims)) func(*browser) answer {
		return func(b *browser) answer { x, _ := b.launch13("height", change); return x }
	}
	with := func(name string, value any) func(jwt.MapClaims) { return func(c jwt.MapClaims) { c[name] = value } }
	for name, c := range map[string]struct {
		do     func(*browser) answer
		change func(*routing.Table)
		code   lti.Code
	}{
		"unknown platform":               {do: post("/platforms/nobody/login", loginForm("height")), code: lti.PlatformUnknown},
		"platform without registration":  {do: post("/platforms/newcomer/login", loginForm("height")), code: lti.NotRegistered},
		"login without issuer":           {do: login(url.Values{"iss": nil}), code: lti.LoginParameterMissing},
		"login with two issuers":         {do: login(url.Values{"iss": {issuer, issuer}}), code: lti.ParameterRepeated},
		"login of another issuer":        {do: login(url.Values{"iss": {"https://evil.example"}}), code: lti.IssuerMismatch},
		"login of another client":        {do: login(url.Values{"client_id": {"x"}}), code: lti.ClientIDMismatch},
		"login of an unknown deployment": {do: login(url.Values{"lti_deployment_id": {"8"}}), code: lti.DeploymentUnknown},
		"login to a foreign target":      {do: login(url.Values{"target_link_uri": {"https://evil.example/activities/height"}}), code: lti.TargetLinkUnknown},
		"token without state": {do: func(b *browser) answer {
			_, nonce := b.login("height")
			return b.do(http.MethodPost, academyURL+"/platforms/moodle/launch", url.Values{"id_token": {b.sign(idTokenClaims("height", nonce))}})
		}, code: lti.StateMissing},
		"state of another browser": {do: func(b *browser) answer {
			state, nonce := b.browser().login("height")
			return b.do(http.MethodPost, academyURL+"/platforms/moodle/launch", url.Values{"state": {state}, "id_token": {b.sign(idTokenClaims("height", nonce))}})
		}, code: lti.StateNotFromThisBrowser},
		"an error from the platform": {do: func(b *browser) answer {
			state, _ := b.login("height")
			return b.do(http.MethodPost, academyURL+"/platforms/moodle/launch", url.Values{"state": {state}, "error": {"login_required"}})
		}, code: lti.PlatformReturnedError},
		"nonce of another login":     {do: launch13(with("nonce", "other")), code: lti.NonceMismatch},
		"foreign audience":           {do: launch13(with("aud", "other")), code: lti.AudienceMismatch},
		"expired token":              {do: launch13(with("exp", time.Now().Add(-time.Hour).Unix())), code: lti.TokenExpired},
		"unlisted deployment":        {do: launch13(with(claim+"deployment_id", "8")), code: lti.DeploymentUnknown},
		"anonymous":                  {do: launch13(func(c jwt.MapClaims) { delete(c, "sub") }), code: lti.AnonymousLaunch},
		"target of another site":     {do: launch13(with(claim+"target_link_uri", "https://evil.example/x")), code: lti.TargetLinkUnknown},
		"activity that is not there": {do: launch13(with(claim+"target_link_uri", academyURL+"/activities/nothing")), code: lti.ActivityUnknown},
		"activity that is not shared": {
			do:   launch13(with(claim+"target_link_uri", academyURL+"/activities/private")),
			code: lti.NotShared,
		},
		"activity not for this platform": {
			do:     func(b *browser) answer { x, _ := b.launch13("ladder", nil); return x },
			change: func(t *routing.Table) { t.Platforms[0].Labels = nil }, code: lti.NotShared,
		},
		"unknown person without e-mail": {do: launch13(func(c jwt.MapClaims) { delete(c, "email") }), code: lti.MissingUserData},
		"unknown consumer key": {do: func(b *browser) answer {
			return b.launch12("height", b.form12("height", "nobody", sharedSecret, nil))
		}, code: lti.ConsumerKeyUnknown},
		"wrong secret": {do: func(b *browser) answer {
			return b.launch12("height", b.form12("height", "height-key", "guess", nil))
		}, code: lti.SignatureInvalid},
		"key of another activity": {do: func(b *browser) answer {
			return b.launch12("height", b.form12("height", "ladder-key", sharedSecret, nil))
		}, code: lti.KeyNotForActivity},
		"launch URL of an unknown activity": {do: post("/activities/nothing/launch", url.Values{}), code: lti.ActivityUnknown},
		"LTI 1.2 launch of an activity that is not shared": {do: func(b *browser) answer {
			return b.launch12("ladder", b.form12("ladder", "ladder-key", sharedSecret, nil))
		}, change: func(t *routing.Table) { t.Activities[1].Share = nil }, code: lti.NotShared},
		"deactivated academy, login":  {do: login(nil), change: func(t *routing.Table) { t.Academy.Active = false }, code: lti.AcademyDeactivated},
		"deactivated platform, login": {do: login(nil), change: func(t *routing.Table) { t.Platforms[0].Active = false }, code: lti.PlatformDeactivated},
		"deactivated deployment": {
			do: login(nil), change: func(t *routing.Table) { t.Platforms[0].Deployments[0].Active = false },
			code: lti.DeploymentDeactivated,
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAcademy(t)
			if c.change != nil {
				c.change(a.table)
				a.publish()
			}
			a.refused(c.do(a.browser()), c.code)
		})
	}
}

func TestMissingUserDataIsNamedAndCreatesNothing(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	x, form := b.launch13("height", func(c jwt.MapClaims) { delete(c, "email"); delete(c, "family_name") })
	a.refused(x, lti.MissingUserData)
	for _, label := range []string{"E-mail", "Family name"} {
		if !strings.Contains(strings.ToLower(text(x.Body.String())), strings.ToLower(label)) && !strings.Contains(text(x.Body.String()), "e-mailadres") {
			t.Errorf("the page does not name %q: %s", label, text(x.Body.String()))
		}
	}
	_ = form
	// Known once, a person needs no personal data.
	full, _ := b.launch13("height", nil)
	full.location()
	bare, _ := b.launch13("height", func(c jwt.MapClaims) {
		for _, name := range []string{"email", "given_name", "family_name", "name"} {
			delete(c, name)
		}
	})
	claims, _, _ := a.redeem(code(bare.location()), clientSecret)
	if claims.Name != "Sam Student" {
		t.Errorf("a known person without personal data: %+v", claims)
	}
}

func TestDeactivationHoldsBetweenTheStepsOfALaunch(t *testing.T) {
	a := newAcademy(t)
	x, _ := a.browser().launch13("height", nil)
	a.table.Platforms[0].Active = false
	a.publish()
	if _, status, body := a.redeem(code(x.location()), clientSecret); status == http.StatusOK || !strings.Contains(body, string(lti.PlatformDeactivated)) {
		t.Errorf("code redeemed after deactivation: %d %s", status, body)
	}
	a.table.Platforms[0].Active = true
	a.publish()
	again, _ := a.browser().launch13("height", nil)
	again.location()
}

func TestOnlyKnownClientsRedeem(t *testing.T) {
	a := newAcademy(t)
	x, _ := a.browser().launch13("height", nil)
	if _, status, body := a.redeem(code(x.location()), "wrong"); status != http.StatusUnauthorized || !strings.Contains(body, `"invalid_client"`) {
		t.Errorf("wrong secret: %d %s", status, body)
	}
	if _, status, _ := a.redeem(code(x.location()), clientSecret); status != http.StatusOK {
		t.Error("a wrong secret spent the code")
	}
}

func TestStoreDownIsAPageAndNothingHalfDone(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	state, nonce := b.login("height")
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	form := url.Values{"state": {state}, "id_token": {a.sign(idTokenClaims("height", nonce))}}
	x := b.do(http.MethodPost, academyURL+"/platforms/moodle/launch", form)
	a.refused(x, lti.StoreUnavailable)
	if x.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestOpsAndControl(t *testing.T) {
	a := newAcademy(t)
	empty, err := handler.New(handler.Options{ConfigDir: t.TempDir(), Store: a.store, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	get := func(h http.Handler, path, token string) int {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for name, c := range map[string]struct{ got, want int }{
		"ready with a table":           {get(a.handler.Ops(), "/readyz", ""), 200},
		"not ready without":            {get(empty.Ops(), "/readyz", ""), 503},
		"alive without":                {get(empty.Ops(), "/livez", ""), 200},
		"control without token":        {get(a.handler.Control(), routing.PathControlTable, ""), 401},
		"control with a wrong token":   {get(a.handler.Control(), routing.PathControlTable, "x"), 401},
		"control with the token":       {get(a.handler.Control(), routing.PathControlTable, a.keys.ControlToken), 200},
		"control before any table":     {get(empty.Control(), routing.PathControlTable, a.keys.ControlToken), 401},
		"the public side has no table": {get(a.public, routing.PathControlTable, a.keys.ControlToken), 404},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d instead of %d", name, c.got, c.want)
		}
	}
	a.table.Academy.URL = "not served"
	if err := os.WriteFile(filepath.Join(a.dir, "..data", routing.ManifestFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if got := get(a.handler.Ops(), "/readyz", ""); got != 200 {
		t.Errorf("a bad table made the handler unready: %d", got)
	}
}

func TestPublicKeys(t *testing.T) {
	a := newAcademy(t)
	w := httptest.NewRecorder()
	a.public.ServeHTTP(w, httptest.NewRequest(http.MethodGet, academyURL+"/platforms/moodle/jwks.json", nil))
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || len(set.Keys) != 1 || set.Keys[0]["kid"] == "" || set.Keys[0]["d"] != "" {
		t.Fatalf("%v: %s", err, w.Body)
	}
}

package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/egress"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

func start() time.Time { return time.Date(2026, 11, 23, 21, 53, 22, 0, time.UTC) }

// rsaKey is made once: generating takes a while under the race detector.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func testKey(t testing.TB, id string) *Key {
	t.Helper()
	k, err := NewKey(id, rsaKey())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func client(t testing.TB) Client {
	return Client{Registration: "moodle", TokenURL: "https://lms.example/mod/lti/token.php", ClientID: "BjdLNQVVi8DL8iq", Key: testKey(t, "key-1")}
}

// platform answers token requests.
type platform func(*http.Request) (*http.Response, error)

func (p platform) Do(r *http.Request) (*http.Response, error) { return p(r) }

func answer(status int, body string, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func requester(p platform) *Requester {
	return &Requester{Doer: p, Now: start, Random: rand.Reader}
}

const scopeScore, scopeItems = "https://purl.imsglobal.org/spec/lti-ags/scope/score", "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem"

func TestAssertion(t *testing.T) {
	tests := map[string]struct {
		change   func(*Client, *Requester)
		audience string
		life     int64
	}{
		"by default":                          {func(*Client, *Requester) {}, "https://lms.example/mod/lti/token.php", 60},
		"with an audience of the platform":    {func(c *Client, _ *Requester) { c.Audience = "https://api.brightspace.com/auth/token" }, "https://api.brightspace.com/auth/token", 60},
		"a trailing slash of the URL is kept": {func(c *Client, _ *Requester) { c.TokenURL = "https://LMS.example/token/" }, "https://LMS.example/token/", 60},
		"with a longer life":                  {func(_ *Client, r *Requester) { r.Lifetime = 2 * time.Minute }, "https://lms.example/mod/lti/token.php", 120},
		"with a life that is too long":        {func(_ *Client, r *Requester) { r.Lifetime = time.Hour }, "https://lms.example/mod/lti/token.php", 300},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, r := client(t), requester(nil)
			r.Random = bytes.NewReader([]byte("0123456789abcdefghijklmnopqrstuv"))
			tt.change(&c, r)
			signed, err := r.Assertion(c)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := jwt.Parse(signed, func(*jwt.Token) (any, error) { return &rsaKey().PublicKey, nil },
				jwt.WithValidMethods([]string{"RS256"}), jwt.WithTimeFunc(start), jwt.WithIssuedAt(), jwt.WithExpirationRequired())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]any{"alg": "RS256", "typ": "JWT", "kid": "key-1"}, parsed.Header); diff != "" {
				t.Error(diff)
			}
			issued := start().Unix() - 5
			want := map[string]any{
				"iss": c.ClientID, "sub": c.ClientID, "aud": tt.audience,
				"iat": float64(issued), "exp": float64(issued + tt.life), "jti": "MDEyMzQ1Njc4OWFiY2RlZg",
			}
			if diff := cmp.Diff(want, map[string]any(parsed.Claims.(jwt.MapClaims))); diff != "" {
				t.Error(diff)
			}
			again, err := r.Assertion(c)
			if err != nil || again == signed {
				t.Error("the next assertion is the same", err)
			}
			if _, err := r.Assertion(c); err == nil {
				t.Error("an assertion without random numbers")
			}
		})
	}
}

func TestRequest(t *testing.T) {
	var got *http.Request
	var form url.Values
	r := requester(func(req *http.Request) (*http.Response, error) {
		text, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		got = req
		form, err = url.ParseQuery(string(text))
		return answer(200, `{"access_token":"t","token_type":"bearer","expires_in":3600}`), err
	})
	token, err := r.Request(t.Context(), client(t), []string{scopeScore, "", scopeItems, scopeScore})
	if err != nil {
		t.Fatal(err)
	}
	if got.Method != http.MethodPost || got.URL.String() != client(t).TokenURL || got.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || got.Header.Get("Accept") != "application/json" {
		t.Errorf("%s %s %v", got.Method, got.URL, got.Header)
	}
	if n := strings.Count(form.Get("client_assertion"), "."); n != 2 {
		t.Errorf("assertion %q", form.Get("client_assertion"))
	}
	delete(form, "client_assertion")
	if diff := cmp.Diff(url.Values{
		"grant_type":            {"client_credentials"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"scope":                 {scopeItems + " " + scopeScore},
	}, form); diff != "" {
		t.Error(diff)
	}
	want := Token{Value: "t", Scopes: []string{scopeItems, scopeScore}, ReceivedAt: start(), ExpiresAt: start().Add(time.Hour)}
	if token.Value != want.Value || !token.ExpiresAt.Equal(want.ExpiresAt) || cmp.Diff(want.Scopes, token.Scopes) != "" {
		t.Errorf("%#v", token)
	}
}

func TestRequestIsNotSentIncomplete(t *testing.T) {
	for name, change := range map[string]func(*Client, *[]string){
		"no token URL":       func(c *Client, _ *[]string) { c.TokenURL = "" },
		"a relative URL":     func(c *Client, _ *[]string) { c.TokenURL = "/token" },
		"another scheme":     func(c *Client, _ *[]string) { c.TokenURL = "ftp://lms.example/token" },
		"no URL":             func(c *Client, _ *[]string) { c.TokenURL = "https://lms.example/%zz" },
		"no client ID":       func(c *Client, _ *[]string) { c.ClientID = "" },
		"no key":             func(c *Client, _ *[]string) { c.Key = nil },
		"no scopes":          func(_ *Client, s *[]string) { *s = nil },
		"empty scopes alone": func(_ *Client, s *[]string) { *s = []string{"", ""} },
	} {
		c, scopes := client(t), []string{scopeScore}
		change(&c, &scopes)
		r := requester(func(*http.Request) (*http.Response, error) { t.Error(name, "was sent"); return answer(200, "{}"), nil })
		if _, err := r.Request(t.Context(), c, scopes); service.ReasonOf(err) != service.RequestInvalid || service.ClassOf(err) != service.Permanent {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := requester(nil)
	r.Random = strings.NewReader("short")
	if _, err := r.Request(t.Context(), client(t), []string{scopeScore}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("no random numbers: %v", err)
	}
}

func TestParseAnswer(t *testing.T) {
	const head = `"access_token":"abc.def","token_type":"Bearer"`
	tests := map[string]struct {
		status int
		body   string
		life   time.Duration // of a token, 0 for none
		class  service.Class
		reason service.Reason
		remote string
	}{
		"a token":                                 {200, `{` + head + `,"expires_in":3600,"scope":"a b"}`, time.Hour, "", "", ""},
		"a token with 201":                        {201, `{` + head + `,"expires_in":3600}`, time.Hour, "", "", ""},
		"token_type in small letters":             {200, `{"access_token":"abc.def","token_type":"bearer","expires_in":60}`, time.Minute, "", "", ""},
		"without token_type":                      {200, `{"access_token":"abc.def","expires_in":60}`, time.Minute, "", "", ""},
		"token_type null":                         {200, `{"access_token":"abc.def","token_type":null,"expires_in":60}`, time.Minute, "", "", ""},
		"expires_in as a string":                  {200, `{` + head + `,"expires_in":"3600"}`, time.Hour, "", "", ""},
		"expires_in with blanks":                  {200, `{` + head + `,"expires_in":" 3600 "}`, time.Hour, "", "", ""},
		"expires_in with a fraction":              {200, `{` + head + `,"expires_in":1.5}`, 1500 * time.Millisecond, "", "", ""},
		"expires_in with an exponent":             {200, `{` + head + `,"expires_in":3.6e3}`, time.Hour, "", "", ""},
		"expires_in is absent":                    {200, `{` + head + `}`, UnknownLifetime, "", "", ""},
		"expires_in is null":                      {200, `{` + head + `,"expires_in":null}`, UnknownLifetime, "", "", ""},
		"expires_in is 0":                         {200, `{` + head + `,"expires_in":0}`, UnknownLifetime, "", "", ""},
		"expires_in is negative":                  {200, `{` + head + `,"expires_in":-1}`, UnknownLifetime, "", "", ""},
		"expires_in is text":                      {200, `{` + head + `,"expires_in":"soon"}`, UnknownLifetime, "", "", ""},
		"expires_in is a year":                    {200, `{` + head + `,"expires_in":31536000}`, LongestLifetime, "", "", ""},
		"expires_in is huge":                      {200, `{` + head + `,"expires_in":1e30}`, LongestLifetime, "", "", ""},
		"a byte order mark and blanks around":     {200, "\xef\xbb\xbf\n {" + head + `,"expires_in":60}` + "\n", time.Minute, "", "", ""},
		"members nobody knows":                    {200, `{` + head + `,"expires_in":60,"x":{"y":[1]}}`, time.Minute, "", "", ""},
		"a page":                                  {200, `<html>Maintenance`, 0, service.Temporary, service.AnswerInvalid, ""},
		"nothing":                                 {200, ``, 0, service.Temporary, service.AnswerInvalid, ""},
		"no token in it":                          {200, `{"token_type":"Bearer","expires_in":3600}`, 0, service.Temporary, service.AnswerInvalid, ""},
		"an empty token":                          {200, `{"access_token":"","expires_in":3600}`, 0, service.Temporary, service.AnswerInvalid, ""},
		"a token that is a number":                {200, `{"access_token":7}`, 0, service.Temporary, service.AnswerInvalid, ""},
		"a token with a line break":               {200, `{"access_token":"a\r\nX: y"}`, 0, service.Temporary, service.AnswerInvalid, ""},
		"a token with a blank":                    {200, `{"access_token":"a b"}`, 0, service.Temporary, service.AnswerInvalid, ""},
		"a token that is not ASCII":               {200, `{"access_token":"é"}`, 0, service.Temporary, service.AnswerInvalid, ""},
		"a token that is too long":                {200, `{"access_token":"` + strings.Repeat("x", maxToken+1) + `"}`, 0, service.Temporary, service.AnswerInvalid, ""},
		"another type of token":                   {200, `{"access_token":"abc","token_type":"mac"}`, 0, service.Temporary, service.AnswerInvalid, ""},
		"invalid_client":                          {400, `{"error":"invalid_client"}`, 0, service.Permanent, service.ClientRefused, "invalid_client"},
		"invalid_client with 401":                 {401, `{"error":"invalid_client","error_description":"no \u0000\r\n such   client"}`, 0, service.Permanent, service.ClientRefused, "invalid_client no such client"},
		"unauthorized_client":                     {400, `{"error":"unauthorized_client"}`, 0, service.Permanent, service.ClientRefused, "unauthorized_client"},
		"invalid_grant, Open edX":                 {400, `{"error":"invalid_grant"}`, 0, service.Permanent, service.ClientRefused, "invalid_grant"},
		"invalid_request":                         {400, `{"error":"invalid_request","error_description":"the assertion eyJ.a.b is expired"}`, 0, service.Permanent, service.ClientRefused, "invalid_request the assertion [redacted] is expired"},
		"invalid_scope":                           {400, `{"error":"invalid_scope"}`, 0, service.Permanent, service.ScopeRefused, "invalid_scope"},
		"an error nobody knows":                   {400, `{"error":"unidentified_error"}`, 0, service.Permanent, service.RequestRefused, "unidentified_error"},
		"unsupported_grant_type":                  {400, `{"error":"unsupported_grant_type"}`, 0, service.Permanent, service.RequestRefused, "unsupported_grant_type"},
		"401 without JSON":                        {401, `Unauthorized`, 0, service.Permanent, service.ClientRefused, "Unauthorized"},
		"403 without JSON":                        {403, ``, 0, service.Permanent, service.ClientRefused, ""},
		"404":                                     {404, `<h1>Not Found</h1>`, 0, service.Permanent, service.RequestRefused, "<h1>Not Found</h1>"},
		"an error with 200":                       {200, `{"error":"invalid_client","access_token":"abc"}`, 0, service.Permanent, service.ClientRefused, "invalid_client"},
		"an error nobody knows with 200":          {200, `{"error":"x","access_token":"abc"}`, 0, service.Permanent, service.RequestRefused, "x"},
		"server_error":                            {400, `{"error":"server_error"}`, 0, service.Temporary, service.Unavailable, "server_error"},
		"temporarily_unavailable with 200":        {200, `{"error":"temporarily_unavailable"}`, 0, service.Temporary, service.Unavailable, "temporarily_unavailable"},
		"slow_down":                               {400, `{"error":"slow_down"}`, 0, service.Temporary, service.Throttled, "slow_down"},
		"a problem is one whatever it says":       {500, `{"error":"invalid_client"}`, 0, service.Temporary, service.Unavailable, "invalid_client"},
		"maintenance":                             {503, `<html>`, 0, service.Temporary, service.Unavailable, "<html>"},
		"throttled":                               {429, ``, 0, service.Temporary, service.Throttled, ""},
		"a redirect":                              {302, ``, 0, service.Temporary, service.Redirected, ""},
		"an error that is an object is not shown": {400, `{"error":{"a":1}}`, 0, service.Permanent, service.RequestRefused, `{"error":{"a":1}}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := &service.Answer{Status: tt.status, Body: []byte(tt.body), At: start(), Header: http.Header{"Retry-After": {"9"}, "Content-Type": {"text/html"}}}
			token, err := ParseAnswer(a, []string{"asked"}, "eyJ.a.b")
			if service.ReasonOf(err) != tt.reason || service.ClassOf(err) != tt.class {
				t.Fatalf("%v", err)
			}
			if tt.life > 0 {
				if token.Value != "abc.def" || token.ExpiresAt.Sub(start()) != tt.life {
					t.Errorf("%#v %s %s", token, token.Value, token.ExpiresAt.Sub(start()))
				}
				return
			}
			var e *service.Error
			if !errors.As(err, &e) || token.Value != "" || e.Remote != tt.remote {
				t.Fatalf("%#v with token %q", e, token.Value)
			}
			if wait := e.RetryAfter == 9*time.Second; wait != (e.Class == service.Temporary && e.Reason != service.AnswerInvalid) {
				t.Errorf("%s %s", e.Reason, e.RetryAfter)
			}
		})
	}
}

func TestScopesThatWereGranted(t *testing.T) {
	for body, want := range map[string][]string{
		`{"access_token":"a","scope":"c b  c"}`: {"b", "c"},
		`{"access_token":"a","scope":""}`:       {"x", "y"},
		`{"access_token":"a"}`:                  {"x", "y"},
		`{"access_token":"a","scope":["b"]}`:    {"x", "y"},
	} {
		token, err := ParseAnswer(&service.Answer{Status: 200, Body: []byte(body)}, []string{"y", "x"})
		if err != nil || cmp.Diff(want, token.Scopes) != "" {
			t.Errorf("%s: %v, %v", body, token.Scopes, err)
		}
	}
}

func TestNoAnswer(t *testing.T) {
	cause := errors.New("no route to host")
	r := requester(func(*http.Request) (*http.Response, error) { return nil, cause })
	if _, err := r.Request(t.Context(), client(t), []string{"a"}); service.ReasonOf(err) != service.Unreachable || service.ClassOf(err) != service.Temporary || !errors.Is(err, cause) {
		t.Error(err)
	}
	r = requester(func(*http.Request) (*http.Response, error) { return answer(200, strings.Repeat(" ", maxAnswer+1)), nil })
	if _, err := r.Request(t.Context(), client(t), []string{"a"}); service.ReasonOf(err) != service.AnswerInvalid {
		t.Error(err)
	}
	for _, p := range []platform{
		func(*http.Request) (*http.Response, error) { return nil, cause },
		func(*http.Request) (*http.Response, error) { return answer(200, "<html>"), nil },
		func(*http.Request) (*http.Response, error) { return answer(500, ""), nil },
	} {
		_, err := requester(p).Request(t.Context(), client(t), []string{"a"})
		if e, ok := errors.AsType[*service.Error](err); !ok || e.Uncertain {
			t.Errorf("a grade that was not sent may have arrived: %#v", err)
		}
	}
}

// The assertion is for the address that the platform gave, and goes nowhere else:
// the guarded client hands the redirect back.
func TestARedirectIsNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		here := httptest.NewServer(http.RedirectHandler(other.URL, status))
		c := client(t)
		c.TokenURL = here.URL
		r := &Requester{Doer: egress.New(egress.Options{AllowedCIDRs: egress.LoopbackCIDRs()}), Now: start, Random: rand.Reader}
		if _, err := r.Request(t.Context(), c, []string{"a"}); service.ReasonOf(err) != service.Redirected {
			t.Errorf("%d: %v", status, err)
		}
		here.Close()
	}
}

func TestTheTokenAnswerOfARealMoodle(t *testing.T) {
	text, err := os.ReadFile("../testdata/moodle-lti13-services.json")
	if err != nil {
		t.Fatal(err)
	}
	var steps []struct {
		Step    string
		Request struct {
			URL, Body string
			Headers   map[string]string
		}
		Response struct {
			Status  int
			Headers map[string]string
			Body    string
		}
	}
	if err := json.Unmarshal(text, &steps); err != nil || steps[0].Step != "token" {
		t.Fatal(err)
	}
	s := steps[0]
	recorded, err := url.ParseQuery(s.Request.Body)
	if err != nil {
		t.Fatal(err)
	}
	scopes := strings.Fields(recorded.Get("scope"))
	r := requester(func(req *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(req.Body)
		ours, err := url.ParseQuery(string(body))
		// The same scopes in our order, and another assertion.
		ours.Set("client_assertion", recorded.Get("client_assertion"))
		recorded.Set("scope", strings.Join(sorted(scopes), " "))
		if diff := cmp.Diff(recorded, ours); diff != "" {
			t.Error(diff)
		}
		return answer(s.Response.Status, s.Response.Body, "Content-Type", s.Response.Headers["content-type"]), err
	})
	token, err := r.Request(t.Context(), client(t), scopes)
	if err != nil || token.Value != "880fed269e5c8e63c1e824a581e2fdee" || token.ExpiresAt.Sub(start()) != time.Hour || len(token.Scopes) != 5 {
		t.Errorf("%#v %q %v", token, token.Value, err)
	}
}

func TestParseKey(t *testing.T) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(rsaKey())
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := x509.MarshalPKCS8PrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(typ string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}) }
	for name, tt := range map[string]struct {
		id  string
		pem []byte
		ok  bool
	}{
		"PKCS #8":          {"k", encode("PRIVATE KEY", pkcs8), true},
		"PKCS #1":          {"k", encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey())), true},
		"no ID":            {"", encode("PRIVATE KEY", pkcs8), false},
		"an elliptic key":  {"k", encode("PRIVATE KEY", ec), false},
		"1024 bits":        {"k", encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(weak)), false},
		"a public key":     {"k", encode("PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)), false},
		"no PEM":           {"k", pkcs8, false},
		"nothing":          {"k", nil, false},
		"PEM with garbage": {"k", encode("PRIVATE KEY", []byte("garbage")), false},
	} {
		k, err := ParseKey(tt.id, tt.pem)
		if (err == nil) != tt.ok || tt.ok && k.ID() != tt.id {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	if _, err := NewKey("k", nil); err == nil {
		t.Error("no key is a key")
	}
}

// Neither keys nor tokens get into a log, however they are printed.
func TestSecretsAreNotPrinted(t *testing.T) {
	c, token := client(t), Token{Value: "canary-token"}
	d := base64.RawURLEncoding.EncodeToString(rsaKey().D.Bytes())[:20]
	number := rsaKey().D.String()[:20]
	for _, v := range []any{token, &token, c, &c, c.Key, struct{ T Token }{token}, []Token{token}} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		asJSON, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		all := fmt.Sprintf("%v %+v %#v %s %q %s %s", v, v, v, v, v, asJSON, log.String())
		for _, secret := range []string{"canary", d, number} {
			if strings.Contains(all, secret) {
				t.Errorf("%T: %s", v, all)
			}
		}
	}
	if got := fmt.Sprint((*Key)(nil)); got != "no key" {
		t.Error(got)
	}
}

// Whatever a token endpoint answers is a token that fits into a header and
// expires, or an error that says what to do.
func FuzzParseAnswer(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"abc","token_type":"Bearer","expires_in":"3600","scope":"a b"}`), "5")
	f.Add(400, []byte(`{"error":"invalid_scope","error_description":"the-assertion-of-the-request"}`), "")
	f.Add(200, []byte(`{"ACCESS_TOKEN":"a","expires_in":1e400}`), "-1")
	f.Add(503, []byte("<html>"), "Mon, 23 Nov 2026 21:53:52 GMT")
	f.Fuzz(func(t *testing.T, status int, body []byte, retry string) {
		const secret = "the-assertion-of-the-request"
		a := &service.Answer{Status: status, Body: body, At: start(), Header: http.Header{"Retry-After": {retry}}}
		token, err := ParseAnswer(a, []string{"x"}, secret)
		if err != nil {
			var e *service.Error
			if !errors.As(err, &e) || token.Value != "" || e.Reason == "" || e.Class != service.Temporary && e.Class != service.Permanent {
				t.Fatalf("%#v, %q", err, token.Value)
			}
			if e.RetryAfter < 0 || e.RetryAfter > service.MaxRetryAfter || strings.Contains(e.Error()+"\n"+e.Remote, secret) {
				t.Fatalf("%#v", e)
			}
			return
		}
		if token.Value == "" || strings.ContainsFunc(token.Value, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || len(token.Scopes) == 0 {
			t.Fatalf("%#v", token)
		}
		if life := token.ExpiresAt.Sub(start()); life < 0 || life > LongestLifetime || status < 200 || status > 299 {
			t.Fatalf("status %d, for %s", status, life)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package learner

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/lti-operator/lti-operator/internal/egress"
	"github.com/lti-operator/lti-operator/internal/lti"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	clientID = "lti:academy" // with what has to be escaped in client_secret_basic
	callback = "https://lti.acme.example/learner/callback"
	// RFC 7636 appendix B.
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// What must not be in any error.
const (
	secret   = "canary/secret+1"
	goodCode = "canary-code"
	access   = "canary-access-token"
	remote   = "canary-remote-text"
)

var start = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// idp is an identity provider that can be wrong in every way.
type idp struct {
	*httptest.Server
	mu sync.Mutex
	// hits counts requests by path.
	hits map[string]int
	// keys has the set as it is served.
	keys []map[string]any
	// document and answer change what is sent for discovery and for a code.
	document, answer func(map[string]any)
	// userInfo is what the endpoint of this name says; nil to refuse everybody.
	userInfo map[string]any
	// handle goes before all else, if it returns true.
	handle func(http.ResponseWriter, *http.Request) bool

	// The ID token.
	method  jwt.SigningMethod
	key     any
	kid     string
	claims  map[string]any
	idToken func(string) string

	// form and header are of the last token request.
	form   url.Values
	header http.Header
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	s := &idp{hits: map[string]int{}, method: jwt.SigningMethodRS256, key: rsaKey(), kid: "k1"}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	s.keys = []map[string]any{rsaJWK("k1", &rsaKey().PublicKey)}
	s.claims = map[string]any{
		"iss": s.URL, "sub": "l-1", "aud": clientID, "exp": start.Add(time.Minute).Unix(), "iat": start.Unix(), "nonce": "n1",
		"email": "zoe@acme.example", "email_verified": true, "name": "Zoë Smit", "scim_id": "2819c223",
	}
	return s
}

func rsaJWK(kid string, k *rsa.PublicKey) map[string]any {
	return map[string]any{
		"kty": "RSA", "use": "sig", "kid": kid, "n": base64.RawURLEncoding.EncodeToString(k.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes()),
	}
}

func (s *idp) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.hits[r.URL.Path]++
	handle := s.handle
	s.mu.Unlock()
	if handle != nil && handle(w, r) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var v any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		d := map[string]any{
			"issuer": s.URL, "authorization_endpoint": s.URL + "/auth?tenant=1", "token_endpoint": s.URL + "/token", "jwks_uri": s.URL + "/keys",
			"userinfo_endpoint":                     s.URL + "/userinfo",
			"id_token_signing_alg_values_supported": []string{"HS256", "none", s.method.Alg()},
		}
		if s.document != nil {
			s.document(d)
		}
		v = d
	case "/token":
		_ = r.ParseForm()
		s.form, s.header = r.PostForm, r.Header.Clone()
		a := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 60, "id_token": s.signed()}
		if s.answer != nil {
			s.answer(a)
		}
		v = a
	case "/keys":
		v = map[string]any{"keys": s.keys}
	case "/userinfo":
		if r.Header.Get("Authorization") != "Bearer "+access || s.userInfo == nil {
			http.Error(w, remote, http.StatusUnauthorized)
			return
		}
		v = s.userInfo
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (s *idp) signed() string {
	token := jwt.NewWithClaims(s.method, jwt.MapClaims(s.claims))
	if s.kid != "" {
		token.Header["kid"] = s.kid
	}
	text, err := token.SignedString(s.key)
	if err != nil {
		panic(err)
	}
	if s.idToken != nil {
		text = s.idToken(text)
	}
	return text
}

func (s *idp) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits[path]
}

func (s *idp) set(handle func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handle = handle
}

// answers answers one path with a status and a body, of which nothing may be repeated.
func answers(path string, status int, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Location", "https://evil.example/?"+remote)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	}
}

func client(t *testing.T, s *idp, timeout time.Duration) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c := egress.New(egress.Options{AllowedCIDRs: egress.LoopbackCIDRs(), RootCAs: roots, Timeout: timeout})
	t.Cleanup(c.CloseIdleConnections)
	return c.HTTP()
}

type clock struct{ atomic.Int64 }

func (c *clock) now() time.Time           { return start.Add(time.Duration(c.Load())) }
func (c *clock) advance(by time.Duration) { c.Add(int64(by)) }

func provider(t *testing.T, s *idp, change func(*Config)) (*Provider, *clock) {
	t.Helper()
	cfg := Config{IssuerURL: s.URL, ClientID: clientID, ClientSecret: secret}
	if change != nil {
		change(&cfg)
	}
	c := &clock{}
	return New(cfg, client(t, s, 0), c.now), c
}

func request() Request {
	return Request{RedirectURI: callback, State: "s&t=1", Nonce: "n1", Verifier: verifier}
}

func wantError(t *testing.T, err error, kind Kind, code, reason string) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind != kind || e.Code != code || !strings.Contains(e.Reason, reason) || reason == "" {
		t.Errorf("error %#v\nwant %s %q %q", err, kind, code, reason)
		return
	}
	for _, canary := range []string{secret, url.QueryEscape(secret), goodCode, "canary", "eyJ", "evil.example", verifier} {
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%q is in %q", canary, err)
		}
	}
}

func TestWhereABrowserIsSent(t *testing.T) {
	s := newIDP(t)
	for name, c := range map[string]struct {
		config  func(*Config)
		request func(*Request)
		want    url.Values
	}{
		"plainly": {want: url.Values{"scope": {"openid profile email"}}},
		"with scopes": {
			config: func(c *Config) { c.Scopes = []string{"email", "openid", "groups"} },
			want:   url.Values{"scope": {"openid email groups"}},
		},
		"with openid alone": {
			config: func(c *Config) { c.Scopes = []string{} },
			want:   url.Values{"scope": {"openid"}},
		},
		"to sign in again": {
			request: func(r *Request) { r.Prompt, r.MaxAge = "login", 1500*time.Millisecond },
			want:    url.Values{"scope": {"openid profile email"}, "prompt": {"login"}, "max_age": {"2"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := provider(t, s, c.config)
			r := request()
			if c.request != nil {
				c.request(&r)
			}
			got, err := p.AuthURL(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(got)
			if err != nil || !strings.HasPrefix(got, s.URL+"/auth?") {
				t.Fatalf("%s: %v", got, err)
			}
			maps.Copy(c.want, url.Values{
				"tenant": {"1"}, "response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {callback}, "state": {"s&t=1"}, "nonce": {"n1"},
				"code_challenge": {challenge}, "code_challenge_method": {"S256"},
			})
			if diff := cmp.Diff(c.want, u.Query()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestARequestThatNothingProtectsIsNotMade(t *testing.T) {
	s := newIDP(t)
	p, _ := provider(t, s, nil)
	for name, change := range map[string]func(*Request){
		"no redirect URI":  func(r *Request) { r.RedirectURI = "" },
		"no state":         func(r *Request) { r.State = "" },
		"no nonce":         func(r *Request) { r.Nonce = "" },
		"no verifier":      func(r *Request) { r.Verifier = "" },
		"a short verifier": func(r *Request) { r.Verifier = "short" },
	} {
		r := request()
		change(&r)
		_, err := p.AuthURL(t.Context(), r)
		wantError(t, err, Invalid, "", "the request has no")
		_, err = p.Exchange(t.Context(), Response{Code: goodCode}, r)
		wantError(t, err, Invalid, "", "the request has no")
		if t.Failed() {
			t.Fatal(name)
		}
	}
	if n := s.count("/token"); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

func TestHowWeProveWhoWeAre(t *testing.T) {
	exchange := url.Values{"grant_type": {"authorization_code"}, "code": {goodCode}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	for name, c := range map[string]struct {
		methods []string
		secret  string
		header  string
		form    url.Values
	}{
		"by default":                    {nil, secret, basic(clientID, secret), nil},
		"with both methods":             {[]string{"client_secret_post", "client_secret_basic"}, secret, basic(clientID, secret), nil},
		"with methods that we have not": {[]string{"private_key_jwt"}, secret, basic(clientID, secret), nil},
		"by form only": {
			[]string{"private_key_jwt", "client_secret_post"},
			secret, "",
			url.Values{"client_id": {clientID}, "client_secret": {secret}},
		},
		"without a secret": {[]string{"client_secret_basic"}, "", "", url.Values{"client_id": {clientID}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newIDP(t)
			s.document = func(d map[string]any) {
				if c.methods != nil {
					d["token_endpoint_auth_methods_supported"] = c.methods
				}
			}
			p, _ := provider(t, s, func(cfg *Config) { cfg.ClientSecret = c.secret })
			if _, err := p.Exchange(t.Context(), Response{Code: goodCode}, request()); err != nil {
				t.Fatal(err)
			}
			want := maps.Clone(exchange)
			maps.Copy(want, c.form)
			if diff := cmp.Diff(want, s.form); diff != "" || s.header.Get("Authorization") != c.header {
				t.Errorf("%s\nAuthorization: %s", diff, s.header.Get("Authorization"))
			}
		})
	}
}

func TestEveryAlgorithmWithAPublicKey(t *testing.T) {
	ec := func(curve elliptic.Curve) (*ecdsa.PrivateKey, map[string]any) {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := k.PublicKey.Bytes() // 4, X, Y
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		return k, map[string]any{
			"kty": "EC", "kid": "k1", "crv": curve.Params().Name,
			"x": base64.RawURLEncoding.EncodeToString(point[1 : 1+half]), "y": base64.RawURLEncoding.EncodeToString(point[1+half:]),
		}
	}
	p256, p256JWK := ec(elliptic.P256())
	p384, p384JWK := ec(elliptic.P384())
	p521, p521JWK := ec(elliptic.P521())
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edJWK := map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": base64.RawURLEncoding.EncodeToString(edPublic)}
	rsaJWK := rsaJWK("k1", &rsaKey().PublicKey)
	for name, c := range map[string]struct {
		method jwt.SigningMethod
		key    crypto.Signer
		jwk    map[string]any
	}{
		"RS256": {jwt.SigningMethodRS256, rsaKey(), rsaJWK},
		"RS384": {jwt.SigningMethodRS384, rsaKey(), rsaJWK},
		"RS512": {jwt.SigningMethodRS512, rsaKey(), rsaJWK},
		"PS256": {jwt.SigningMethodPS256, rsaKey(), rsaJWK},
		"PS384": {jwt.SigningMethodPS384, rsaKey(), rsaJWK},
		"PS512": {jwt.SigningMethodPS512, rsaKey(), rsaJWK},
		"ES256": {jwt.SigningMethodES256, p256, p256JWK},
		"ES384": {jwt.SigningMethodES384, p384, p384JWK},
		"ES512": {jwt.SigningMethodES512, p521, p521JWK},
		"EdDSA": {jwt.SigningMethodEdDSA, ed, edJWK},
	} {
		t.Run(name, func(t *testing.T) {
			s := newIDP(t)
			s.method, s.key, s.keys = c.method, c.key, []map[string]any{c.jwk}
			p, _ := provider(t, s, nil)
			sum := sha256.Sum256([]byte(access))
			half := sum[:16]
			switch name[2:] {
			case "384":
				sum := sha512.Sum384([]byte(access))
				half = sum[:24]
			case "512", "DSA":
				sum := sha512.Sum512([]byte(access))
				half = sum[:32]
			}
			s.claims["at_hash"] = base64.RawURLEncoding.EncodeToString(half)
			got, err := p.Exchange(t.Context(), Response{Code: goodCode}, request())
			want := Learner{Subject: "l-1", Email: "zoe@acme.example", EmailVerified: true, Name: "Zoë Smit"}
			if err != nil || !cmp.Equal(got, want) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestAnswersThatAreNotTrusted(t *testing.T) {
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(name string, value any) func(*idp) { return func(s *idp) { s.claims[name] = value } }
	without := func(name string) func(*idp) { return func(s *idp) { delete(s.claims, name) } }
	discovered := func(name string, value any) func(*idp) {
		return func(s *idp) { s.document = func(d map[string]any) { d[name] = value } }
	}
	handled := func(path string, status int, body string) func(*idp) {
		return func(s *idp) { s.handle = answers(path, status, body) }
	}
	oauthError := func(code string) string {
		return fmt.Sprintf(`{"error":%q,"error_description":%q,"error_uri":"https://evil.example/"}`, code, remote)
	}
	unix := func(d time.Duration) int64 { return start.Add(d).Unix() }
	maxAge := func(r *Request, _ *Response) { r.MaxAge = time.Minute }
	for name, c := range map[string]struct {
		idp     func(*idp)
		config  func(*Config)
		request func(*Request, *Response)
		kind    Kind
		code    string
		reason  string
	}{
		// The response.
		"an error":                       {request: func(_ *Request, a *Response) { *a = Response{Error: "access_denied"} }, kind: Refused, code: "access_denied", reason: "response"},
		"an error beside a code":         {request: func(_ *Request, a *Response) { a.Error = "login_required" }, kind: Refused, code: "login_required", reason: "response"},
		"an error that is a text":        {request: func(_ *Request, a *Response) { a.Error = remote }, kind: Refused, code: CodeOther, reason: "response"},
		"a provider that is too busy":    {request: func(_ *Request, a *Response) { a.Error = "temporarily_unavailable" }, kind: Unavailable, code: "temporarily_unavailable", reason: "response"},
		"no code":                        {request: func(_ *Request, a *Response) { *a = Response{} }, kind: Invalid, reason: "neither code nor error"},
		"iss of another":                 {request: func(_ *Request, a *Response) { a.Issuer = "https://evil.example" }, kind: Invalid, reason: "iss is another issuer"},
		"iss of another with an error":   {request: func(_ *Request, a *Response) { *a = Response{Error: "access_denied", Issuer: "https://evil.example"} }, kind: Invalid, reason: "iss is another issuer"},
		"iss with a slash":               {request: func(_ *Request, a *Response) { a.Issuer += "/" }, kind: Invalid, reason: "iss is another issuer"},
		"no iss where there must be one": {idp: discovered("authorization_response_iss_parameter_supported", true), kind: Invalid, reason: "there is no iss"},

		// Discovery.
		"a document of another issuer":     {idp: discovered("issuer", "https://evil.example"), kind: Invalid, reason: "discovery: the document is that of another issuer"},
		"a document with a slash":          {config: func(c *Config) { c.IssuerURL += "/" }, kind: Invalid, reason: "discovery: the document is that of another issuer"},
		"a document that is a page":        {idp: handled("/.well-known/openid-configuration", 200, "<html>"+remote), kind: Invalid, reason: "discovery: the document cannot be read"},
		"a document of other types":        {idp: discovered("token_endpoint_auth_methods_supported", "client_secret_post"), kind: Invalid, reason: "discovery: the document cannot be read"},
		"a document that is not there":     {idp: handled("/.well-known/openid-configuration", 404, remote), kind: Unavailable, reason: "discovery: status 404"},
		"a document elsewhere":             {idp: handled("/.well-known/openid-configuration", 302, remote), kind: Unavailable, reason: "discovery: status 302"},
		"a document without end":           {idp: handled("/.well-known/openid-configuration", 200, strings.Repeat(" ", maxAnswer+1)), kind: Invalid, reason: "discovery: the answer is too long"},
		"no authorization endpoint":        {idp: discovered("authorization_endpoint", ""), kind: Invalid, reason: "authorization_endpoint"},
		"a script to send browsers to":     {idp: discovered("authorization_endpoint", "javascript://x/%0aalert(1)"), kind: Invalid, reason: "authorization_endpoint"},
		"an authorization endpoint, http":  {idp: discovered("authorization_endpoint", "http://127.0.0.1/auth"), kind: Invalid, reason: "authorization_endpoint"},
		"a token endpoint, http":           {idp: discovered("token_endpoint", "http://127.0.0.1/token"), kind: Invalid, reason: "token_endpoint"},
		"a token endpoint with a password": {idp: discovered("token_endpoint", "https://a:b@127.0.0.1/token"), kind: Invalid, reason: "token_endpoint"},
		"an endpoint with a fragment":      {idp: discovered("token_endpoint", "https://127.0.0.1/token#x"), kind: Invalid, reason: "token_endpoint"},
		"no keys":                          {idp: discovered("jwks_uri", nil), kind: Invalid, reason: "jwks_uri"},
		"none and HS256 only":              {idp: discovered("id_token_signing_alg_values_supported", []string{"none", "HS256"}), kind: Invalid, reason: "none of the algorithms"},

		// The token endpoint.
		"a code that is used":             {idp: handled("/token", 400, oauthError("invalid_grant")), kind: Refused, code: "invalid_grant", reason: "token endpoint"},
		"a wrong secret":                  {idp: handled("/token", 401, oauthError("invalid_client")), kind: Refused, code: "invalid_client", reason: "token endpoint"},
		"an error with status 200":        {idp: handled("/token", 200, oauthError("invalid_grant")), kind: Refused, code: "invalid_grant", reason: "token endpoint"},
		"an error that nobody knows":      {idp: handled("/token", 400, oauthError(remote)), kind: Refused, code: CodeOther, reason: "token endpoint"},
		"a page instead of an error":      {idp: handled("/token", 400, remote), kind: Invalid, reason: "token endpoint: status 400"},
		"a token endpoint that is down":   {idp: handled("/token", 500, remote), kind: Unavailable, reason: "token endpoint: status 500"},
		"a token endpoint, proxied":       {idp: handled("/token", 503, oauthError("invalid_grant")), kind: Unavailable, reason: "token endpoint: status 503"},
		"a token endpoint, throttled":     {idp: handled("/token", 429, remote), kind: Unavailable, reason: "token endpoint: status 429"},
		"a token endpoint elsewhere":      {idp: handled("/token", 307, remote), kind: Invalid, reason: "token endpoint: it redirects, with status 307"},
		"a token endpoint, moved by GET":  {idp: handled("/token", 302, remote), kind: Invalid, reason: "token endpoint: it redirects, with status 302"},
		"an answer without end":           {idp: handled("/token", 200, strings.Repeat(" ", maxAnswer+1)), kind: Invalid, reason: "token endpoint: the answer is too long"},
		"an error without end":            {idp: handled("/token", 500, strings.Repeat(" ", maxAnswer+1)), kind: Invalid, reason: "token endpoint: the answer is too long"},
		"an answer that is no JSON":       {idp: handled("/token", 200, remote), kind: Invalid, reason: "token endpoint: the answer cannot be read"},
		"an answer without access token":  {idp: func(s *idp) { s.answer = func(a map[string]any) { delete(a, "access_token") } }, kind: Invalid, reason: "token endpoint: the answer cannot be read"},
		"an answer without ID token":      {idp: func(s *idp) { s.answer = func(a map[string]any) { delete(a, "id_token") } }, kind: Invalid, reason: "no ID token"},
		"an ID token that is no text":     {idp: func(s *idp) { s.answer = func(a map[string]any) { a["id_token"] = 7 } }, kind: Invalid, reason: "no ID token"},
		"a connection that is broken off": {idp: func(s *idp) { s.handle = breakOff("/token") }, kind: Unavailable, reason: "token endpoint: the answer broke off"},

		// The signature.
		"no algorithm": {
			idp: func(s *idp) {
				s.idToken = func(string) string {
					text, _ := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims(s.claims)).SignedString(jwt.UnsafeAllowNoneSignatureType)
					return text
				}
			},
			kind: Invalid, reason: "an algorithm that the provider does not announce",
		},
		"our secret as a key": {
			idp: func(s *idp) {
				s.idToken = func(string) string {
					text, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims(s.claims)).SignedString([]byte(secret))
					return text
				}
			},
			kind: Invalid, reason: "an algorithm that the provider does not announce",
		},
		"an algorithm that is not announced": {
			idp:  discovered("id_token_signing_alg_values_supported", []string{"PS256"}),
			kind: Invalid, reason: "an algorithm that the provider does not announce",
		},
		"another algorithm than the default": {
			idp: func(s *idp) {
				s.method = jwt.SigningMethodRS512
				s.document = func(d map[string]any) { delete(d, "id_token_signing_alg_values_supported") }
			},
			kind: Invalid, reason: "an algorithm that the provider does not announce",
		},
		"a foreign key":              {idp: func(s *idp) { s.key = other }, kind: Invalid, reason: "not signed with one of the provider's keys"},
		"a foreign key, unnamed":     {idp: func(s *idp) { s.key, s.kid = other, "" }, kind: Invalid, reason: "not signed with one of the provider's keys"},
		"a key that is not listed":   {idp: func(s *idp) { s.kid = "k2" }, kind: Invalid, reason: "not signed with one of the provider's keys"},
		"claims that were changed":   {idp: func(s *idp) { s.idToken = forge }, kind: Invalid, reason: "not signed with one of the provider's keys"},
		"a text for an ID token":     {idp: func(s *idp) { s.idToken = func(string) string { return remote } }, kind: Invalid, reason: "malformed"},
		"keys that are not there":    {idp: handled("/keys", 500, remote), kind: Unavailable, reason: "keys: status 500"},
		"keys without end":           {idp: handled("/keys", 200, strings.Repeat(" ", maxAnswer+1)), kind: Invalid, reason: "keys: the answer is too long"},
		"keys that are a page":       {idp: handled("/keys", 200, remote), kind: Invalid, reason: "not signed with one of the provider's keys"},
		"keys elsewhere":             {idp: handled("/keys", 302, remote), kind: Unavailable, reason: "keys: status 302"},
		"keys that a stranger holds": {idp: discovered("jwks_uri", "https://192.0.2.1/keys"), kind: Unavailable, reason: "keys: its address must not be reached"},

		// The claims.
		"iss of another token":            {idp: claim("iss", "https://evil.example"), kind: Invalid, reason: "ID token: iss"},
		"iss with a slash in the token":   {idp: func(s *idp) { s.claims["iss"] = s.URL + "/" }, kind: Invalid, reason: "ID token: iss"},
		"no iss":                          {idp: without("iss"), kind: Invalid, reason: "ID token: iss"},
		"aud of another client":           {idp: claim("aud", "other"), kind: Invalid, reason: "ID token: aud"},
		"aud of others":                   {idp: claim("aud", []string{"other", "another"}), kind: Invalid, reason: "ID token: aud"},
		"no aud":                          {idp: without("aud"), kind: Invalid, reason: "ID token: aud"},
		"several audiences":               {idp: claim("aud", []string{clientID, "other"}), kind: Invalid, reason: "several audiences"},
		"azp of another client":           {idp: claim("azp", "other"), kind: Invalid, reason: "ID token: azp"},
		"azp of another among several":    {idp: func(s *idp) { s.claims["aud"], s.claims["azp"] = []string{clientID, "other"}, "other" }, kind: Invalid, reason: "ID token: azp"},
		"azp that is no text":             {idp: claim("azp", []string{clientID}), kind: Invalid, reason: "ID token: azp"},
		"expired":                         {idp: claim("exp", unix(-61*time.Second)), kind: Invalid, reason: "expired"},
		"no exp":                          {idp: without("exp"), kind: Invalid, reason: "expired"},
		"exp that is a text":              {idp: claim("exp", "2099"), kind: Invalid, reason: "expired"},
		"exp before time began":           {idp: claim("exp", -1), kind: Invalid, reason: "expired"},
		"not valid yet":                   {idp: claim("nbf", unix(time.Hour)), kind: Invalid, reason: "not valid yet"},
		"issued in the future":            {idp: claim("iat", unix(61*time.Second)), kind: Invalid, reason: "issued in the future"},
		"issued before time began":        {idp: claim("iat", -1), kind: Invalid, reason: "does not say when"},
		"no iat":                          {idp: without("iat"), kind: Invalid, reason: "does not say when"},
		"another nonce":                   {idp: claim("nonce", "n2"), kind: Invalid, reason: "nonce"},
		"no nonce":                        {idp: without("nonce"), kind: Invalid, reason: "nonce"},
		"a nonce by another name":         {idp: func(s *idp) { delete(s.claims, "nonce"); s.claims["Nonce"] = "n1" }, kind: Invalid, reason: "nonce"},
		"at_hash of another token":        {idp: claim("at_hash", "77QmUPtjPfzWtF2AnpK9RQ"), kind: Invalid, reason: "at_hash"},
		"at_hash that is no text":         {idp: claim("at_hash", 7), kind: Invalid, reason: "a claim is malformed"},
		"signed in too long ago":          {idp: claim("auth_time", unix(-121*time.Second)), request: maxAge, kind: Invalid, reason: "too long ago"},
		"signed in who knows when":        {request: maxAge, kind: Invalid, reason: "no auth_time"},
		"signed in in the future":         {idp: claim("auth_time", unix(61*time.Second)), request: maxAge, kind: Invalid, reason: "signed in in the future"},
		"signed in too long before asked": {idp: claim("auth_time", unix(-300*time.Second)), request: func(r *Request, _ *Response) { r.MaxAge, r.AskedAt = time.Second, start.Add(-time.Minute) }, kind: Invalid, reason: "too long ago"},

		// Who it is.
		"no sub":                        {idp: without("sub"), kind: Invalid, reason: "no sub"},
		"a sub that is a number":        {idp: claim("sub", 7), kind: Invalid, reason: "no sub"},
		"no subject claim":              {idp: without("scim_id"), config: subjectClaim("scim_id"), kind: Unavailable, reason: "UserInfo: status 401"},
		"no subject claim anywhere":     {idp: func(s *idp) { s.userInfo = map[string]any{"sub": "l-1"} }, config: subjectClaim("employee"), kind: Invalid, reason: "the subject claim is not there"},
		"no UserInfo to look at":        {idp: discovered("userinfo_endpoint", "http://127.0.0.1/"), config: subjectClaim("employee"), kind: Invalid, reason: "the subject claim is not there"},
		"a UserInfo that is no JSON":    {idp: handled("/userinfo", 200, remote), config: subjectClaim("employee"), kind: Invalid, reason: "UserInfo: the answer cannot be read"},
		"UserInfo of somebody else":     {idp: func(s *idp) { delete(s.claims, "name"); s.userInfo = map[string]any{"sub": "l-2", "name": "Ed"} }, kind: Invalid, reason: "about somebody else"},
		"no UserInfo for groups":        {request: func(r *Request, _ *Response) { r.Claim = "groups" }, kind: Unavailable, reason: "UserInfo: status 401"},
		"UserInfo of nobody":            {idp: func(s *idp) { s.userInfo = map[string]any{"employee": "7"} }, config: subjectClaim("employee"), kind: Invalid, reason: "about somebody else"},
		"a subject that is a number":    {idp: claim("scim_id", 7), config: subjectClaim("scim_id"), kind: Invalid, reason: "is not a text of 1 to 255 bytes"},
		"an empty subject":              {idp: claim("scim_id", ""), config: subjectClaim("scim_id"), kind: Invalid, reason: "is not a text of 1 to 255 bytes"},
		"a long subject":                {idp: claim("sub", strings.Repeat("x", 256)), kind: Invalid, reason: "is not a text of 1 to 255 bytes"},
		"a subject with a line break":   {idp: claim("sub", "l-1\n"), kind: Invalid, reason: "is not a text of 1 to 255 bytes"},
		"a subject that is half a text": {idp: claim("sub", "l-1\ufffd"), kind: Invalid, reason: "is not a text of 1 to 255 bytes"},
		"an address not verified":       {idp: claim("email_verified", false), config: subjectClaim("email"), kind: Invalid, reason: "not verified"},
		"an address that may be theirs": {idp: without("email_verified"), config: subjectClaim("email"), kind: Invalid, reason: "not verified"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newIDP(t)
			if c.idp != nil {
				c.idp(s)
			}
			p, _ := provider(t, s, c.config)
			r, response := request(), Response{Code: goodCode, Issuer: s.URL}
			if strings.HasPrefix(name, "no iss where") {
				response.Issuer = ""
			}
			if strings.HasPrefix(name, "a document with a slash") {
				response.Issuer += "/"
			}
			if c.request != nil {
				c.request(&r, &response)
			}
			got, err := p.Exchange(t.Context(), response, r)
			wantError(t, err, c.kind, c.code, c.reason)
			if !cmp.Equal(got, Learner{}) {
				t.Errorf("%+v signed in", got)
			}
			if strings.HasPrefix(c.reason, "response") || strings.Contains(c.reason, "iss is another issuer") {
				if n := s.count("/token"); n != 0 {
					t.Errorf("%d requests for a token", n)
				}
			}
		})
	}
}

func subjectClaim(name string) func(*Config) { return func(c *Config) { c.SubjectClaim = name } }

// forge makes another subject of a token and keeps its signature.
func forge(token string) string {
	parts := strings.Split(token, ".")
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), "l-1", "l-2", 1)))
	return strings.Join(parts, ".")
}

func breakOff(path string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, remote)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// with adds the texts of a claim.
func with(l Learner, values ...string) Learner {
	l.Values = values
	return l
}

func TestAnswersThatAreGood(t *testing.T) {
	zoe := Learner{Subject: "l-1", Email: "zoe@acme.example", EmailVerified: true, Name: "Zoë Smit"}
	unix := func(d time.Duration) int64 { return start.Add(d).Unix() }
	for name, c := range map[string]struct {
		idp     func(*idp)
		config  func(*Config)
		request func(*Request)
		noIss   bool
		want    Learner
		// userInfo is how often UserInfo is asked for.
		userInfo int
	}{
		"plain":                    {want: zoe},
		"no iss where none is due": {noIss: true, want: zoe},
		"iss where it is due": {idp: func(s *idp) {
			s.document = func(d map[string]any) { d["authorization_response_iss_parameter_supported"] = true }
		}, want: zoe},
		"just expired":                {idp: func(s *idp) { s.claims["exp"] = unix(-60 * time.Second) }, want: zoe},
		"just not issued":             {idp: func(s *idp) { s.claims["iat"] = unix(60 * time.Second) }, want: zoe},
		"times with fractions":        {idp: func(s *idp) { s.claims["exp"] = float64(unix(time.Minute)) + 0.5 }, want: zoe},
		"a list of one audience":      {idp: func(s *idp) { s.claims["aud"] = []string{clientID} }, want: zoe},
		"several audiences and azp":   {idp: func(s *idp) { s.claims["aud"], s.claims["azp"] = []string{"other", clientID}, clientID }, want: zoe},
		"a key without a name":        {idp: func(s *idp) { s.kid = "" }, want: zoe},
		"signed in just long enough":  {idp: func(s *idp) { s.claims["auth_time"] = unix(-120 * time.Second) }, request: func(r *Request) { r.MaxAge = time.Minute }, want: zoe},
		"signed in after asked":       {idp: func(s *idp) { s.claims["auth_time"] = unix(-5 * time.Minute) }, request: func(r *Request) { r.MaxAge, r.AskedAt = time.Second, start.Add(-6*time.Minute) }, want: zoe},
		"signed in whenever":          {idp: func(s *idp) { s.claims["auth_time"] = unix(-24 * time.Hour) }, want: zoe},
		"another subject claim":       {config: subjectClaim("scim_id"), want: Learner{Subject: "2819c223", Email: zoe.Email, EmailVerified: true, Name: zoe.Name}},
		"an address that is verified": {config: subjectClaim("email"), want: Learner{Subject: zoe.Email, Email: zoe.Email, EmailVerified: true, Name: zoe.Name}},
		"verified, in words":          {idp: func(s *idp) { s.claims["email_verified"] = "true" }, want: zoe},
		"not verified":                {idp: func(s *idp) { s.claims["email_verified"] = false }, want: Learner{Subject: "l-1", Email: zoe.Email, EmailVerified: false, Name: zoe.Name}},
		"the longest subject":         {idp: func(s *idp) { s.claims["sub"] = strings.Repeat("x", 255) }, want: Learner{Subject: strings.Repeat("x", 255), Email: zoe.Email, EmailVerified: true, Name: zoe.Name}},
		"texts not to be shown":       {idp: func(s *idp) { s.claims["name"], s.claims["email"] = "a\x00", strings.Repeat("x", 256) }, want: Learner{Subject: "l-1"}},
		"the rest from UserInfo": {
			idp: func(s *idp) {
				s.claims = map[string]any{"iss": s.URL, "sub": "l-1", "aud": clientID, "exp": unix(time.Minute), "iat": unix(0), "nonce": "n1", "email": nil}
				s.userInfo = map[string]any{"sub": "l-1", "email": "z@acme.example", "email_verified": "true", "name": "Z", "scim_id": "2819c223"}
			},
			config: subjectClaim("scim_id"), want: Learner{Subject: "2819c223", Email: "z@acme.example", EmailVerified: true, Name: "Z"}, userInfo: 1,
		},
		"names and a language": {
			idp: func(s *idp) {
				s.claims["given_name"], s.claims["family_name"], s.claims["locale"] = "Zoë", "Smit", "nl-NL"
			},
			want: Learner{Subject: "l-1", Email: zoe.Email, EmailVerified: true, Name: zoe.Name, GivenName: "Zoë", FamilyName: "Smit", Locale: "nl-NL"},
		},
		"an address verified elsewhere": {
			idp: func(s *idp) {
				delete(s.claims, "name")
				delete(s.claims, "email_verified")
				s.userInfo = map[string]any{"sub": "l-1", "email": "z@acme.example", "email_verified": true, "name": "Z"}
			},
			want: Learner{Subject: "l-1", Email: zoe.Email, EmailVerified: false, Name: "Z"}, userInfo: 1,
		},
		"groups, wanted": {
			idp:     func(s *idp) { s.claims["groups"] = []string{"staff", "authors"} },
			request: func(r *Request) { r.Claim = "groups" }, want: with(zoe, "staff", "authors"),
		},
		"groups that nobody wants":  {idp: func(s *idp) { s.claims["groups"] = []string{"authors"} }, want: zoe},
		"one role as a text":        {idp: func(s *idp) { s.claims["role"] = "author" }, request: func(r *Request) { r.Claim = "role" }, want: with(zoe, "author")},
		"groups that are no texts":  {idp: func(s *idp) { s.claims["groups"] = []any{1, true} }, request: func(r *Request) { r.Claim = "groups" }, want: zoe},
		"a group that is an object": {idp: func(s *idp) { s.claims["groups"] = map[string]any{"authors": "authors"} }, request: func(r *Request) { r.Claim = "groups" }, want: zoe},
		"groups from UserInfo": {
			idp:     func(s *idp) { s.userInfo = map[string]any{"sub": "l-1", "groups": []string{"authors"}} },
			request: func(r *Request) { r.Claim = "groups" }, want: with(zoe, "authors"), userInfo: 1,
		},
		"groups of the ID token first": {
			idp: func(s *idp) {
				delete(s.claims, "name")
				s.claims["groups"], s.userInfo = []string{"staff"}, map[string]any{"sub": "l-1", "name": zoe.Name, "groups": []string{"authors"}}
			},
			request: func(r *Request) { r.Claim = "groups" }, want: with(zoe, "staff"), userInfo: 1,
		},
		"no UserInfo for a name": {
			idp: func(s *idp) { delete(s.claims, "name") }, want: Learner{Subject: "l-1", Email: zoe.Email, EmailVerified: true, Name: ""}, userInfo: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newIDP(t)
			if c.idp != nil {
				c.idp(s)
			}
			p, _ := provider(t, s, c.config)
			r, response := request(), Response{Code: goodCode, Issuer: s.URL}
			if c.request != nil {
				c.request(&r)
			}
			if c.noIss {
				response.Issuer = ""
			}
			got, err := p.Exchange(t.Context(), response, r)
			if err != nil || !cmp.Equal(got, c.want) || s.count("/userinfo") != c.userInfo {
				t.Errorf("%+v, %v, want %+v; UserInfo %d times", got, err, c.want, s.count("/userinfo"))
			}
		})
	}
}

func TestAKeyThatIsNewIsFetched(t *testing.T) {
	s := newIDP(t)
	p, _ := provider(t, s, nil)
	exchange := func() error {
		_, err := p.Exchange(t.Context(), Response{Code: goodCode}, request())
		return err
	}
	for range 3 {
		if err := exchange(); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.count("/keys"); n != 1 {
		t.Errorf("keys were fetched %d times", n)
	}
	next, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.key, s.kid, s.keys = next, "k2", append(s.keys, rsaJWK("k2", &next.PublicKey))
	s.mu.Unlock()
	if err := exchange(); err != nil || s.count("/keys") != 2 {
		t.Errorf("%v; keys were fetched %d times", err, s.count("/keys"))
	}
}

func TestAKeyThatIsGoneIsForgottenWithinTheHour(t *testing.T) {
	s := newIDP(t)
	p, c := provider(t, s, nil)
	if _, err := p.Exchange(t.Context(), Response{Code: goodCode}, request()); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.keys = nil
	s.claims["exp"] = start.Add(2 * time.Hour).Unix()
	s.mu.Unlock()
	c.advance(discoveryLifetime)
	_, err := p.Exchange(t.Context(), Response{Code: goodCode}, request())
	wantError(t, err, Invalid, "", "not signed with one of the provider's keys")
}

const wellKnown = "/.well-known/openid-configuration"

func TestHowOftenTheDiscoveryDocumentIsAskedFor(t *testing.T) {
	s := newIDP(t)
	p, c := provider(t, s, nil)
	if n := s.count(wellKnown); n != 0 {
		t.Errorf("%d times before anybody signed in", n)
	}
	ask := func(asked int, kind Kind) {
		t.Helper()
		_, err := p.AuthURL(t.Context(), request())
		e, _ := errors.AsType[*Error](err)
		if got := s.count(wellKnown); got != asked || kind == "" && err != nil || kind != "" && (e == nil || e.Kind != kind) {
			t.Fatalf("asked %d times, want %d; %v, want %q", got, asked, err, kind)
		}
	}
	down := answers(wellKnown, 503, remote)
	s.set(down)
	ask(1, Unavailable)
	ask(1, Unavailable)
	c.advance(retryInterval - 1)
	ask(1, Unavailable)
	c.advance(1)
	ask(2, Unavailable)
	s.set(nil)
	ask(2, Unavailable)
	c.advance(retryInterval)
	ask(3, "")
	c.advance(discoveryLifetime - 1)
	ask(3, "")
	c.advance(1)
	ask(4, "")
	// What was good goes on for a day.
	s.set(down)
	c.advance(discoveryLifetime)
	ask(5, "")
	ask(5, "")
	c.advance(retryInterval)
	ask(6, "")
	c.advance(staleLifetime - discoveryLifetime - retryInterval - 1)
	ask(7, "")
	c.advance(1)
	ask(7, Unavailable)
	c.advance(retryInterval)
	ask(8, Unavailable)
	s.set(nil)
	c.advance(retryInterval)
	ask(9, "")
}

func TestManyLearnersAtOnceAskOnce(t *testing.T) {
	for name, status := range map[string]int{"good": 0, "down": 503} {
		t.Run(name, func(t *testing.T) {
			s := newIDP(t)
			p, _ := provider(t, s, nil)
			release := make(chan struct{})
			s.set(func(w http.ResponseWriter, r *http.Request) bool {
				<-release
				return status != 0 && answers(wellKnown, status, remote)(w, r)
			})
			var wg sync.WaitGroup
			results := make(chan error, 20)
			// Of the first, the browser goes away.
			ctx, cancel := context.WithCancel(t.Context())
			for i := range cap(results) {
				ctx := ctx
				if i > 0 {
					ctx = t.Context()
				}
				wg.Go(func() {
					_, err := p.AuthURL(ctx, request())
					results <- err
				})
				for i == 0 && s.count(wellKnown) == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			cancel()
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Errorf("the first: %v", err)
			}
			close(release)
			wg.Wait()
			close(results)
			for err := range results {
				if status == 0 && err != nil {
					t.Error(err)
				}
				if status != 0 {
					wantError(t, err, Unavailable, "", "discovery: status 503")
				}
			}
			if n := s.count(wellKnown); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func TestSlowProvidersAreGivenUpOn(t *testing.T) {
	for _, path := range []string{wellKnown, "/token", "/keys", "/userinfo"} {
		for _, when := range []string{"before", "after the beginning"} {
			t.Run(path+" "+when, func(t *testing.T) {
				s := newIDP(t)
				release := make(chan struct{})
				defer close(release)
				s.handle = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != path {
						return false
					}
					if when != "before" {
						_, _ = io.WriteString(w, "{")
						_ = http.NewResponseController(w).Flush()
					}
					<-release
					return true
				}
				p := New(Config{IssuerURL: s.URL, ClientID: clientID, SubjectClaim: "employee"}, client(t, s, 200*time.Millisecond), (&clock{}).now)
				_, err := p.Exchange(t.Context(), Response{Code: goodCode}, request())
				wantError(t, err, Unavailable, "", "no answer in time")
			})
		}
	}
}

func TestProvidersThatCannotBeReached(t *testing.T) {
	s := newIDP(t)
	s.Close()
	public := egress.New(egress.Options{})
	for name, c := range map[string]struct {
		client *http.Client
		issuer string
		reason string
	}{
		"nobody listens":          {client(t, s, 0), s.URL, "no connection"},
		"a name that is not":      {client(t, s, 0), "https://idp.invalid", "its name does not resolve"},
		"an address of our own":   {public.HTTP(), s.URL, "its address must not be reached from here"},
		"plain http":              {public.HTTP(), "http://192.0.2.1", "its address must not be reached from here"},
		"a certificate of no use": {egress.New(egress.Options{AllowedCIDRs: egress.LoopbackCIDRs()}).HTTP(), newIDP(t).URL, "its certificate is not trusted"},
	} {
		t.Run(name, func(t *testing.T) {
			p := New(Config{IssuerURL: c.issuer, ClientID: clientID}, c.client, (&clock{}).now)
			_, err := p.AuthURL(t.Context(), request())
			wantError(t, err, Unavailable, "", "discovery: "+c.reason)
		})
	}
}

func TestAnswersThatAreNoHTTPAreNotQuoted(t *testing.T) {
	s := newIDP(t)
	s.handle = func(w http.ResponseWriter, _ *http.Request) bool {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return true
		}
		_, _ = buffered.WriteString(remote + "\r\n\r\n")
		_ = buffered.Flush()
		_ = conn.Close()
		return true
	}
	p, _ := provider(t, s, nil)
	_, err := p.AuthURL(t.Context(), request())
	wantError(t, err, Unavailable, "", "discovery: no usable answer")
	if cause := errors.Unwrap(err); cause == nil || !strings.Contains(cause.Error(), remote) {
		t.Errorf("the test is void: net/http no longer quotes the answer: %v", cause)
	}
}

// endless counts what is read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) { e.read += len(p); return len(p), nil }
func (e *endless) Close() error               { return nil }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAnswersAreReadToALimitWhateverTheClient(t *testing.T) {
	body := &endless{}
	unbounded := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: body, Header: http.Header{}}, nil
	})}
	p := New(Config{IssuerURL: "https://idp.example", ClientID: clientID}, unbounded, (&clock{}).now)
	_, err := p.AuthURL(t.Context(), request())
	wantError(t, err, Invalid, "", "discovery: the answer is too long")
	if body.read > maxAnswer+1 {
		t.Errorf("%d bytes were read", body.read)
	}
}

func TestPlainHTTPIsForAnIssuerThatHasItToo(t *testing.T) {
	for issuer, want := range map[string]string{
		"http://idp.localhost:8080": "http://idp.localhost:8080/auth", "https://idp.example": "",
	} {
		document := fmt.Sprintf(`{"issuer":%q,"authorization_endpoint":"http://idp.localhost:8080/auth","token_endpoint":%q,"jwks_uri":%q}`,
			issuer, issuer+"/token", issuer+"/keys")
		local := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(document)), Header: http.Header{}}, nil
		})}
		got, err := New(Config{IssuerURL: issuer, ClientID: clientID}, local, (&clock{}).now).AuthURL(t.Context(), request())
		if before, _, _ := strings.Cut(got, "?"); before != want {
			t.Errorf("%s: %q, %v", issuer, got, err)
		}
		if want == "" {
			wantError(t, err, Invalid, "", "authorization_endpoint")
		}
	}
}

func TestNobodyWaitsForALearnerWhoIsGone(t *testing.T) {
	s := newIDP(t)
	p, _ := provider(t, s, nil)
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	defer close(release)
	s.handle = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			cancel()
			<-release
		}
		return false
	}
	_, err := p.Exchange(ctx, Response{Code: goodCode}, request())
	wantError(t, err, Unavailable, "", "nobody waits")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not unwrap", err)
	}
}

func TestRedirectsAreNotFollowedWhateverTheClient(t *testing.T) {
	var followed atomic.Int32
	trap := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer trap.Close()
	s := newIDP(t)
	s.handle = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/token" {
			return false
		}
		http.Redirect(w, r, trap.URL, http.StatusTemporaryRedirect)
		return true
	}
	// One that follows redirects and trusts the trap: all test servers have the same certificate.
	p := New(Config{IssuerURL: s.URL, ClientID: clientID, ClientSecret: secret}, s.Client(), (&clock{}).now)
	_, err := p.Exchange(t.Context(), Response{Code: goodCode}, request())
	wantError(t, err, Invalid, "", "it redirects")
	if n := followed.Load(); n != 0 {
		t.Errorf("%d requests went elsewhere", n)
	}
	if s.Client().CheckRedirect != nil {
		t.Error("the client of the caller was changed")
	}
}

func TestParseResponse(t *testing.T) {
	for name, c := range map[string]struct {
		query string
		want  Response
		state string
		err   lti.Code
	}{
		"a code":     {"code=c&state=s&iss=https%3A%2F%2Fi&session_state=x", Response{Code: "c", Issuer: "https://i"}, "s", ""},
		"an error":   {"error=access_denied&error_description=d&state=s", Response{Error: "access_denied"}, "s", ""},
		"two codes":  {"code=c&code=d&state=s", Response{}, "", lti.ParameterRepeated},
		"two states": {"code=c&state=s&state=s", Response{}, "", lti.ParameterRepeated},
		"two iss":    {"code=c&state=s&iss=a&iss=b", Response{}, "", lti.ParameterRepeated},
		"two errors": {"error=a&error=b&state=s", Response{}, "", lti.ParameterRepeated},
	} {
		t.Run(name, func(t *testing.T) {
			params, err := lti.ParseForm(c.query)
			if err != nil {
				t.Fatal(err)
			}
			got, state, err := ParseResponse(params)
			if got != c.want || state != c.state || lti.CodeOf(err) != c.err && c.err != "" || c.err == "" && err != nil {
				t.Errorf("%+v, %q, %v", got, state, err)
			}
		})
	}
}

func TestConfigs(t *testing.T) {
	base := Config{IssuerURL: "https://i.example", ClientID: "c", ClientSecret: secret}
	same := []Config{
		base,
		{IssuerURL: "https://i.example", ClientID: "c", ClientSecret: "replaced"},
		{IssuerURL: "https://i.example", ClientID: "c", SubjectClaim: "sub", Scopes: []string{"email"}},
	}
	different := []Config{
		{IssuerURL: "https://i.example/", ClientID: "c"},
		{IssuerURL: "https://i.example", ClientID: "d"},
		{IssuerURL: "https://i.examplec", ClientID: ""},
		{IssuerURL: "https://i.example", ClientID: "c", SubjectClaim: "scim_id"},
	}
	var seen []string
	for _, c := range same {
		if c.Fingerprint() != base.Fingerprint() {
			t.Errorf("%s has another fingerprint", c)
		}
	}
	for _, c := range append(different, base) {
		if slices.Contains(seen, c.Fingerprint()) {
			t.Errorf("%s has the fingerprint of another", c)
		}
		seen = append(seen, c.Fingerprint())
	}
	for _, text := range []string{fmt.Sprint(base), fmt.Sprintf("%+v", base), base.LogValue().String(), fmt.Sprint(Learner{Subject: "zoe"}.LogValue())} {
		if strings.Contains(text, secret) || strings.Contains(text, "zoe") {
			t.Errorf("%s", text)
		}
	}
}

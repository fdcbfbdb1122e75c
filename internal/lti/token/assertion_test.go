package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
)

const (
	ourTokenURL = "https://lti.acme.example/tools/quiz/token"
	ourIssuer   = "https://lti.acme.example"
)

// toolKeys is the key set of a tool, before and after fetching it again.
type toolKeys struct {
	before, after []jwks.Key
	err           error
}

func (k toolKeys) Lookup(_ context.Context, kid string) ([]jwks.Key, error) {
	if k.err != nil {
		return nil, k.err
	}
	for _, key := range k.before {
		if key.ID == kid {
			return []jwks.Key{key}, nil
		}
	}
	return nil, lti.Refuse(lti.KeyUnknown, "no such key")
}

func (k toolKeys) Renewed(context.Context, string, []jwks.Key) ([]jwks.Key, error) {
	return k.after, nil
}

func quizKeys() toolKeys {
	return toolKeys{before: []jwks.Key{{ID: "key-1", Public: &rsaKey().PublicKey}}}
}

func quizVerifier() *AssertionVerifier {
	return &AssertionVerifier{
		ClientID: "quiz", Keys: quizKeys(), Now: start,
		Audiences: []string{ourTokenURL, "https://old.acme.example/tools/quiz/token", ourIssuer},
	}
}

// assertion returns an assertion as Moodle makes them, changed.
func assertion(t testing.TB, change func(header, claims map[string]any)) string {
	t.Helper()
	claims := jwt.MapClaims{"iss": "quiz", "sub": "quiz", "aud": ourTokenURL, "iat": start().Unix() - 5, "exp": start().Unix() + 60, "jti": "id-1"}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = "key-1"
	if change != nil {
		change(token.Header, claims)
	}
	signed, err := token.SignedString(rsaKey())
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func claim(name string, value any) func(header, claims map[string]any) {
	return func(_, claims map[string]any) { claims[name] = value }
}

func without(name string) func(header, claims map[string]any) {
	return func(_, claims map[string]any) { delete(claims, name) }
}

func TestVerifyAssertion(t *testing.T) {
	at := func(d time.Duration) int64 { return start().Add(d).Unix() }
	for name, tt := range map[string]struct {
		change func(header, claims map[string]any)
		want   lti.Code
	}{
		"as Moodle makes it":                  {nil, ""},
		"for another address of ours":         {claim("aud", "https://old.acme.example/tools/quiz/token"), ""},
		"for the issuer":                      {claim("aud", ourIssuer), ""},
		"for an array of one":                 {claim("aud", []string{ourTokenURL}), ""},
		"for all of ours":                     {claim("aud", []string{ourIssuer, ourTokenURL}), ""},
		"for another tool of ours":            {claim("aud", "https://lti.acme.example/tools/other/token"), lti.AudienceMismatch},
		"for somebody else besides":           {claim("aud", []string{ourTokenURL, "https://evil.example/token"}), lti.AudienceMismatch},
		"for ours with a slash":               {claim("aud", ourTokenURL+"/"), lti.AudienceMismatch},
		"for nobody":                          {claim("aud", []string{}), lti.ClaimMissing},
		"for the empty audience":              {claim("aud", ""), lti.AudienceMismatch},
		"for a number":                        {claim("aud", 1), lti.ClaimInvalid},
		"without an audience":                 {without("aud"), lti.ClaimMissing},
		"of another issuer":                   {claim("iss", "other"), lti.IssuerMismatch},
		"of a URL as issuer":                  {claim("iss", "https://tool.example"), lti.IssuerMismatch},
		"of another subject":                  {claim("sub", "other"), lti.IssuerMismatch},
		"of a subject that is longer":         {claim("sub", "quiz "), lti.IssuerMismatch},
		"without an issuer":                   {without("iss"), lti.ClaimMissing},
		"without a subject":                   {without("sub"), lti.ClaimMissing},
		"of a subject that is no text":        {claim("sub", []string{"quiz"}), lti.ClaimInvalid},
		"that never expires":                  {without("exp"), lti.ClaimMissing},
		"whose expiry is null":                {claim("exp", nil), lti.ClaimMissing},
		"whose expiry is text":                {claim("exp", "1795470802"), lti.ClaimInvalid},
		"that expires within the skew":        {claim("exp", at(-59*time.Second)), ""},
		"that has expired":                    {claim("exp", at(-60*time.Second)), lti.TokenExpired},
		"that lives an hour, and the skew":    {claim("exp", at(time.Hour+time.Minute)), ""},
		"that lives longer":                   {claim("exp", at(time.Hour+61*time.Second)), lti.ClaimInvalid},
		"without iat":                         {without("iat"), ""},
		"of a clock that is a minute ahead":   {claim("iat", at(time.Minute)), ""},
		"of a clock that is further ahead":    {claim("iat", at(61*time.Second)), lti.TokenIssuedInFuture},
		"that is an hour old":                 {claim("iat", at(-time.Hour-time.Minute)), ""},
		"that is older":                       {claim("iat", at(-time.Hour-61*time.Second)), lti.TokenTooOld},
		"whose iat is no number":              {claim("iat", true), lti.ClaimInvalid},
		"that is valid since now":             {claim("nbf", at(time.Minute)), ""},
		"that is valid later":                 {claim("nbf", at(61*time.Second)), lti.TokenIssuedInFuture},
		"whose nbf is no number":              {claim("nbf", "now"), lti.ClaimInvalid},
		"without an ID":                       {without("jti"), lti.ClaimMissing},
		"with an empty ID":                    {claim("jti", ""), lti.ClaimMissing},
		"with an ID that is a number":         {claim("jti", 1), lti.ClaimInvalid},
		"with the longest ID":                 {claim("jti", strings.Repeat("x", 255)), ""},
		"with an ID that is longer":           {claim("jti", strings.Repeat("x", 256)), lti.ClaimInvalid},
		"with an ID of two lines":             {claim("jti", "a\nb"), lti.ClaimInvalid},
		"with an ID that is not ASCII":        {claim("jti", "ä"), lti.ClaimInvalid},
		"with claims that are not known":      {claim("scope", []any{map[string]any{}}), ""},
		"without a key ID":                    {func(h, _ map[string]any) { delete(h, "kid") }, lti.KeyIDMissing},
		"with a key that is not registered":   {func(h, _ map[string]any) { h["kid"] = "key-2" }, lti.KeyUnknown},
		"with a key of its own":               {func(h, _ map[string]any) { h["jku"], h["jwk"], h["x5u"] = "https://evil.example", "x", "x" }, ""},
		"with an algorithm that is not RS256": {func(h, _ map[string]any) { h["alg"] = "RS512" }, lti.AlgorithmNotAllowed},
		"with critical extensions":            {func(h, _ map[string]any) { h["crit"] = []string{"exp"} }, lti.TokenMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			v := quizVerifier()
			nonce, err := v.Verify(t.Context(), assertion(t, tt.change))
			if lti.CodeOf(err) != tt.want {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			if err == nil && (nonce.Protocol != "assertion" || nonce.Party != "quiz" || nonce.Value == "") || err != nil && nonce != (lti.Nonce{}) {
				t.Errorf("%+v", nonce)
			}
		})
	}
}

// The jti is remembered until nobody accepts the assertion any more.
func TestVerifyAssertionRemembersTheIDLongEnough(t *testing.T) {
	v := quizVerifier()
	text := assertion(t, nil)
	nonce, err := v.Verify(t.Context(), text)
	want := lti.Nonce{Protocol: "assertion", Party: "quiz", Value: "id-1", ExpiresAt: start().Add(3 * time.Minute)}
	if diff := cmp.Diff(want, nonce); diff != "" || err != nil {
		t.Fatal(err, diff)
	}
	// Another replica may be a minute behind.
	v.Now = func() time.Time { return nonce.ExpiresAt.Add(-time.Minute) }
	if _, err := v.Verify(t.Context(), text); lti.CodeOf(err) != lti.TokenExpired {
		t.Error(err)
	}
}

func TestVerifyAssertionBySignature(t *testing.T) {
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := assertion(t, nil)
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	// The public key as a shared secret: a verifier that believes alg accepts it.
	hs := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": "quiz", "sub": "quiz", "aud": ourTokenURL, "exp": start().Unix() + 60, "jti": "1"})
	hs.Header["kid"] = "key-1"
	symmetric, err := hs.SignedString(x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	foreign := []jwks.Key{{ID: "key-1", Public: &other.PublicKey}}
	for name, tt := range map[string]struct {
		text   string
		change func(*AssertionVerifier)
		want   lti.Code
	}{
		"another key":                     {good, func(v *AssertionVerifier) { v.Keys = toolKeys{before: foreign} }, lti.SignatureInvalid},
		"a key that was replaced":         {good, func(v *AssertionVerifier) { v.Keys = toolKeys{before: foreign, after: quizKeys().before} }, ""},
		"a key set that is not reachable": {good, func(v *AssertionVerifier) { v.Keys = toolKeys{err: lti.Refuse(lti.KeysUnreachable, "")} }, lti.KeysUnreachable},
		"a key that is too weak": {good, func(v *AssertionVerifier) {
			v.Keys = toolKeys{before: []jwks.Key{{ID: "key-1", Public: &rsaKey().PublicKey, Weak: true}}}
		}, lti.KeyTooWeak},
		"an algorithm that is configured away": {good, func(v *AssertionVerifier) { v.Algorithms = []string{"ES256"} }, lti.AlgorithmNotAllowed},
		"none":                                 {b64([]byte(`{"alg":"none","kid":"key-1"}`)) + "." + parts[1] + ".", nil, lti.AlgorithmNotAllowed},
		"the public key as a secret":           {symmetric, nil, lti.AlgorithmNotAllowed},
		"other claims under the signature":     {parts[0] + "." + b64([]byte(`{"iss":"quiz"}`)) + "." + parts[2], nil, lti.SignatureInvalid},
		"no token":                             {"", nil, lti.TokenMalformed},
		"no signature":                         {parts[0] + "." + parts[1], nil, lti.TokenMalformed},
		"a token that is too long":             {good + strings.Repeat("A", maxAssertion), nil, lti.TokenMalformed},
	} {
		v := quizVerifier()
		if tt.change != nil {
			tt.change(v)
		}
		if _, err := v.Verify(t.Context(), tt.text); lti.CodeOf(err) != tt.want {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// Nothing is looked up for a token that cannot be accepted anyway.
func TestAlgorithmIsCheckedBeforeTheKey(t *testing.T) {
	v := quizVerifier()
	v.Keys = nil
	for _, header := range []string{`{"alg":"none","kid":"1"}`, `{"alg":"HS256","kid":"1"}`, `{"kid":"1"}`} {
		text := base64.RawURLEncoding.EncodeToString([]byte(header)) + ".e30.AAAA"
		if _, err := v.Verify(t.Context(), text); lti.CodeOf(err) != lti.AlgorithmNotAllowed {
			t.Errorf("%s: %v", header, err)
		}
	}
}

// What we send to platforms is what we accept from tools.
func TestOurOwnAssertionIsAccepted(t *testing.T) {
	c := client(t)
	text, err := requester(nil).Assertion(c)
	if err != nil {
		t.Fatal(err)
	}
	v := quizVerifier()
	v.ClientID, v.Audiences = c.ClientID, []string{c.TokenURL}
	first, err := v.Verify(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = requester(nil).Assertion(c); err != nil {
		t.Fatal(err)
	}
	if second, err := v.Verify(t.Context(), text); err != nil || first.Key() == second.Key() {
		t.Errorf("%v: the same ID twice", err)
	}
}

func tokenForm(change map[string]string) lti.Params {
	form := map[string]string{
		"grant_type": "client_credentials", "client_assertion_type": AssertionType,
		"client_assertion": "a.b.c", "scope": scopeScore + " " + scopeItems,
	}
	maps.Copy(form, change)
	var params lti.Params
	for _, name := range slices.Sorted(maps.Keys(form)) {
		params = append(params, lti.Param{Name: name, Value: form[name]})
	}
	return params
}

func TestParseTokenRequest(t *testing.T) {
	for name, tt := range map[string]struct {
		params lti.Params
		want   TokenRequest
		code   lti.Code
	}{
		"a request":                    {tokenForm(nil), TokenRequest{"a.b.c", []string{scopeScore, scopeItems}, ""}, ""},
		"with a client ID":             {tokenForm(map[string]string{"client_id": "quiz"}), TokenRequest{"a.b.c", []string{scopeScore, scopeItems}, "quiz"}, ""},
		"with what is not known":       {append(tokenForm(nil), lti.Param{Name: "resource", Value: "a"}, lti.Param{Name: "resource", Value: "b"}), TokenRequest{"a.b.c", []string{scopeScore, scopeItems}, ""}, ""},
		"scopes twice, and more space": {tokenForm(map[string]string{"scope": "  b a\n b  "}), TokenRequest{"a.b.c", []string{"b", "a"}, ""}, ""},
		"no form":                      {nil, TokenRequest{}, lti.ParameterMissing},
		"no grant type":                {tokenForm(map[string]string{"grant_type": ""}), TokenRequest{}, lti.ParameterMissing},
		"another grant type":           {tokenForm(map[string]string{"grant_type": "password"}), TokenRequest{}, lti.GrantUnsupported},
		"a grant type in capitals":     {tokenForm(map[string]string{"grant_type": "CLIENT_CREDENTIALS"}), TokenRequest{}, lti.GrantUnsupported},
		"no assertion type":            {tokenForm(map[string]string{"client_assertion_type": ""}), TokenRequest{}, lti.ParameterMissing},
		"another assertion type":       {tokenForm(map[string]string{"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}), TokenRequest{}, lti.ParameterInvalid},
		"no assertion":                 {tokenForm(map[string]string{"client_assertion": ""}), TokenRequest{}, lti.ParameterMissing},
		"no scope":                     {tokenForm(map[string]string{"scope": ""}), TokenRequest{}, lti.ScopeNotGranted},
		"a blank scope":                {tokenForm(map[string]string{"scope": "  "}), TokenRequest{}, lti.ScopeNotGranted},
		"a hundred scopes and one":     {tokenForm(map[string]string{"scope": numbers(101)}), TokenRequest{}, lti.ParameterInvalid},
		"two assertions":               {append(tokenForm(nil), lti.Param{Name: "client_assertion", Value: "a.b.c"}), TokenRequest{}, lti.ParameterRepeated},
		"two scopes":                   {append(tokenForm(nil), lti.Param{Name: "scope", Value: "x"}), TokenRequest{}, lti.ParameterRepeated},
		"two grant types":              {append(tokenForm(nil), lti.Param{Name: "grant_type"}), TokenRequest{}, lti.ParameterRepeated},
		"two clients": {
			append(tokenForm(nil), lti.Param{Name: "client_id", Value: "a"}, lti.Param{Name: "client_id", Value: "b"}), TokenRequest{}, lti.ParameterRepeated,
		},
	} {
		got, err := ParseTokenRequest(tt.params)
		if diff := cmp.Diff(tt.want, got); diff != "" || lti.CodeOf(err) != tt.code {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	if got, err := ParseTokenRequest(tokenForm(map[string]string{"scope": numbers(100)})); err != nil || len(got.Scopes) != 100 {
		t.Errorf("%d scopes, %v", len(got.Scopes), err)
	}
}

func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprint(&b, i, " ")
	}
	return b.String()
}

func TestGrant(t *testing.T) {
	for name, tt := range map[string]struct{ requested, allowed, want []string }{
		"all":                  {[]string{"a", "b"}, []string{"b", "a"}, []string{"a", "b"}},
		"in requested order":   {[]string{"c", "x", "a"}, []string{"a", "b", "c"}, []string{"c", "a"}},
		"each once":            {[]string{"a", "a"}, []string{"a"}, []string{"a"}},
		"none of them":         {[]string{"x"}, []string{"a"}, nil},
		"nothing is allowed":   {[]string{"a"}, nil, nil},
		"a part is not enough": {[]string{"lineitem.readonly"}, []string{"lineitem"}, nil},
	} {
		if got := Grant(tt.requested, tt.allowed); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Every code has an answer that clients know, and what our own client would do
// about it is what is right: only our failures are worth a second attempt.
func TestOAuthError(t *testing.T) {
	for code, want := range map[lti.Code]string{
		lti.GrantUnsupported: "unsupported_grant_type", lti.ScopeNotGranted: "invalid_scope",
		lti.ParameterMissing: "invalid_request", lti.ParameterRepeated: "invalid_request", lti.ParameterInvalid: "invalid_request",
		lti.RequestMalformed: "invalid_request", lti.RequestTooLarge: "invalid_request", lti.MethodNotAllowed: "invalid_request",
		lti.TokenMalformed: "invalid_client", lti.SignatureInvalid: "invalid_client", lti.KeysUnreachable: "invalid_client",
		lti.AudienceMismatch: "invalid_client", lti.TokenExpired: "invalid_client", lti.Replayed: "invalid_client",
		lti.ClientIDMismatch: "invalid_client", lti.ToolDeactivated: "invalid_client", lti.ToolUnknown: "invalid_client", lti.NotRegistered: "invalid_client",
		lti.StoreUnavailable: "temporarily_unavailable", lti.NotReady: "temporarily_unavailable", lti.InternalError: "server_error", "no code": "server_error",
	} {
		if got := OAuthError(code); got != want {
			t.Errorf("%s: %s, want %s", code, got, want)
		}
	}
	known := []string{"invalid_request", "invalid_client", "unsupported_grant_type", "invalid_scope", "temporarily_unavailable", "server_error"}
	for _, code := range lti.Codes() {
		if got := OAuthError(code); !slices.Contains(known, got) {
			t.Errorf("%s: %s", code, got)
		}
	}
}

func TestAnswerEncodes(t *testing.T) {
	a := NewAnswer("canary-token", 3599*time.Second+time.Millisecond, []string{scopeScore, scopeItems})
	got, err := json.Marshal(a)
	want := `{"access_token":"canary-token","token_type":"Bearer","expires_in":3599,"scope":"` + scopeScore + " " + scopeItems + `"}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
	var log strings.Builder
	request := TokenRequest{Assertion: "canary-assertion"}
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "answer", a, "request", request)
	if all := fmt.Sprintf("%v %+v %#v %v %+v %#v", a, a, a, request, request, request) + log.String(); strings.Contains(all, "canary") {
		t.Error(all)
	}
}

// Whatever a tool sends is refused with a code, unless it has what its users rely
// on.
func FuzzParseTokenRequest(f *testing.F) {
	f.Add("grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=a.b.c&scope=a+b&client_id=quiz")
	f.Add("grant_type=authorization_code&grant_type=client_credentials")
	f.Fuzz(func(t *testing.T, form string) {
		params, err := lti.ParseForm(form)
		if err != nil {
			return
		}
		r, err := ParseTokenRequest(params)
		if err != nil {
			if code := lti.CodeOf(err); code == lti.InternalError || OAuthError(code) == "invalid_client" {
				t.Fatal(err)
			}
			return
		}
		if r.Assertion == "" || r.Assertion != params.Get("client_assertion") || r.ClientID != params.Get("client_id") || len(r.Scopes) == 0 || len(r.Scopes) > maxScopes {
			t.Fatalf("%q, %q, %d scopes", r.Assertion, r.ClientID, len(r.Scopes))
		}
		for _, s := range r.Scopes {
			if s == "" || !strings.Contains(params.Get("scope"), s) {
				t.Fatalf("scope %q", s)
			}
		}
		if again := Grant(r.Scopes, r.Scopes); !slices.Equal(again, r.Scopes) {
			t.Fatalf("%q, granted %q", r.Scopes, again)
		}
	})
}

// Whatever the claims are, an assertion that is accepted is one of this client for
// us, and not for long.
func FuzzAssertionClaims(f *testing.F) {
	f.Add([]byte(`{"iss":"quiz","sub":"quiz","aud":"` + ourTokenURL + `","iat":1795470797,"exp":1795470862,"jti":"1"}`))
	f.Add([]byte(`{"iss":"quiz","sub":"quiz","aud":["` + ourIssuer + `"],"exp":1795470862.5,"nbf":1e9,"jti":"1"}`))
	f.Add([]byte(`{"iss":"quiz","iss":"other"}`))
	f.Add([]byte(`[]`))
	// Always the same key, so that what is interesting stays so, and one that
	// signs fast.
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), []byte("the key of a tool in a fuzz test"))
	if err != nil {
		f.Fatal(err)
	}
	v := quizVerifier()
	v.Algorithms, v.Keys = []string{"ES256"}, toolKeys{before: []jwks.Key{{ID: "key-1", Public: &key.PublicKey}}}
	f.Fuzz(func(t *testing.T, text []byte) {
		signedText := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","kid":"key-1"}`)) + "." + base64.RawURLEncoding.EncodeToString(text)
		sig, err := jwt.SigningMethodES256.Sign(signedText, key)
		if err != nil {
			t.Fatal(err)
		}
		nonce, err := v.Verify(t.Context(), signedText+"."+base64.RawURLEncoding.EncodeToString(sig))
		if err != nil {
			if code := lti.CodeOf(err); code == lti.InternalError || code == lti.SignatureInvalid {
				t.Fatal(err)
			}
			return
		}
		var std struct {
			Iss, Sub, JTI string
			Exp           float64
		}
		if json.Unmarshal(text, &std) != nil || std.Iss != "quiz" || std.Sub != "quiz" || std.JTI != nonce.Value {
			t.Skip() // names that differ in case only are one name to encoding/json
		}
		life := nonce.ExpiresAt.Sub(start())
		if life <= DefaultSkew || life > LongestAssertion+3*DefaultSkew {
			t.Fatalf("to be remembered for %s", life)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/handler"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
)

func tokenLessons() []lesson {
	return []lesson{
		{"CVE-2023-25574", "the signature of the ID token decides", lessonSignature},
		{"algorithm confusion", "algorithms come from the registration, none is symmetric", lessonAlgorithms},
		{"jku, jwk and x5u", "keys come from the registration, never from the token", lessonKeySource},
		{"CVE-2021-30130", "a signature is compared whole", lessonPadding},
		{"weak keys", "RSA keys below 2048 bits verify nothing", lessonWeakKeys},
		{"CVE-2022-31158", "a nonce belongs to one login", lessonNonceBound},
		{"CVE-2022-31157", "nonces are random, from the injected source", lessonNonceRandom},
		{"CVE-2022-45152", "key sets are fetched through the guard", lessonSSRF},
		{"duplicate JSON members", "a token means one thing", lessonDuplicates},
		{"(iss, sub) without client_id", "people belong to a registration, not to an issuer", lessonSharedIssuer},
		{"target_link_uri as open redirect", "the browser goes to configured addresses only", lessonOpenRedirect},
	}
}

// signed posts a token that sign makes of complete claims.
func signed(a *academy, sign func(jwt.MapClaims) string) answer {
	b := a.browser()
	return b.post13(moodle(), b.prepareToken(moodle(), "height", sign))
}

// jupyterhub-ltiauthenticator 1.3.0 decoded the ID token without verifying it. Here nothing in a token is acted upon
// before its signature matched a key of the registration.
func lessonSignature(t *testing.T, a *academy) {
	for name, c := range map[string]struct {
		sign func(jwt.MapClaims) string
		code lti.Code
	}{
		"foreign key under the platform's kid": {func(c jwt.MapClaims) string {
			return a.signWith(jwt.SigningMethodRS256, strangerKey(), moodle(), c, nil)
		}, lti.SignatureInvalid},
		"key of another platform of ours": {func(c jwt.MapClaims) string { return a.sign(campus(), c, nil) }, lti.KeyUnknown},
		"unsigned": {func(c jwt.MapClaims) string {
			return a.signWith(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, moodle(), c, nil)
		}, lti.AlgorithmNotAllowed},
		"empty signature": {func(c jwt.MapClaims) string {
			token := a.sign(moodle(), c, nil)
			return token[:strings.LastIndexByte(token, '.')+1]
		}, lti.SignatureInvalid},
		"other claims under a genuine signature": {func(c jwt.MapClaims) string {
			genuine := strings.Split(a.sign(moodle(), c, nil), ".")
			c["sub"] = "1"
			forged := strings.Split(a.sign(moodle(), c, nil), ".")
			return genuine[0] + "." + forged[1] + "." + genuine[2]
		}, lti.SignatureInvalid},
	} {
		x := signed(a, c.sign)
		if got := x.reason(); got != c.code {
			t.Errorf("%s: %q instead of %s", name, got, c.code)
		}
	}
}

// Verifiers that take the algorithm from the token were told HS256, and used the public key, which everybody has, as the
// secret. Here the registration says what is allowed, and symmetric algorithms never are.
func lessonAlgorithms(t *testing.T, a *academy) {
	public := &moodle().key.PublicKey
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	jwk := keys.PublicJWK(public)
	modulus, err := base64.RawURLEncoding.DecodeString(jwk.Modulus)
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "PKIX": der, "PKCS #1": x509.MarshalPKCS1PublicKey(public),
		"modulus": modulus, "modulus in base64": []byte(jwk.Modulus), "key set": []byte(a.keySet(moodle().key)), "nothing": {},
	} {
		for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
			x := signed(a, func(c jwt.MapClaims) string { return a.signWith(method, secret, moodle(), c, nil) })
			if got := x.reason(); got != lti.AlgorithmNotAllowed {
				t.Errorf("%s with %s as the secret: %q", method.Alg(), name, got)
			}
		}
	}
	// Nor may the token choose among the asymmetric ones, also when the key does not say what it is for.
	anyAlgorithm := strings.Replace(a.keySet(moodle().key), `"alg":"RS256",`, "", 1)
	platformIn(a.table, "moodle").LTI13.JWKS = anyAlgorithm
	a.publish()
	for _, method := range []jwt.SigningMethod{jwt.SigningMethodRS384, jwt.SigningMethodRS512, jwt.SigningMethodPS256} {
		x := signed(a, func(c jwt.MapClaims) string { return a.signWith(method, moodle().key, moodle(), c, nil) })
		if got := x.reason(); got != lti.AlgorithmNotAllowed {
			t.Errorf("%s: %q", method.Alg(), got)
		}
	}
	if strings.Contains(anyAlgorithm, `"alg"`) {
		t.Errorf("the key says what it is for: %s", anyAlgorithm)
	}
	a.enter(a.browser().launch13(moodle(), "height", nil))
	// The header says one thing and the signature another.
	for _, alg := range []any{"none", "None", "nOnE", "", nil, "HS256", "rs256", "PS256", "RS256 ", 256, []string{"RS256"}} {
		x := signed(a, func(c jwt.MapClaims) string { return a.sign(moodle(), c, map[string]any{"alg": alg}) })
		if got := x.reason(); got != lti.AlgorithmNotAllowed {
			t.Errorf("alg %v: %q", alg, got)
		}
	}
}

// A header may say where its key is. Libraries that followed it verified what attackers signed, and fetched what
// attackers named. Here only kid is read, and looked up in the key set of the registration.
func lessonKeySource(t *testing.T, a *academy) {
	var hits atomic.Int32
	evil := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = io.WriteString(rw, a.keySet(strangerKey()))
	}))
	defer evil.Close()
	a.table.Academy.AllowPrivateCIDRs = []string{"127.0.0.0/8"} // The server can be reached.
	a.publish()
	stranger := keys.PublicJWK(&strangerKey().PublicKey)
	for name, header := range map[string]map[string]any{
		"jku": {"jku": evil.URL}, "x5u": {"x5u": evil.URL}, "jwk": {"jwk": stranger},
		"x5c": {"x5c": []string{base64.StdEncoding.EncodeToString([]byte("certificate"))}},
	} {
		x := signed(a, func(c jwt.MapClaims) string {
			return a.signWith(jwt.SigningMethodRS256, strangerKey(), moodle(), c, header)
		})
		if got := x.reason(); got != lti.SignatureInvalid {
			t.Errorf("%s under the platform's kid: %q", name, got)
		}
		header["kid"] = stranger.KeyID
		x = signed(a, func(c jwt.MapClaims) string {
			return a.signWith(jwt.SigningMethodRS256, strangerKey(), moodle(), c, header)
		})
		if got := x.reason(); got != lti.KeyUnknown {
			t.Errorf("%s under its own kid: %q", name, got)
		}
		// In a genuine token they mean nothing.
		delete(header, "kid")
		a.enter(signed(a, func(c jwt.MapClaims) string { return a.sign(moodle(), c, header) }))
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("the address in a token was fetched %d times", n)
	}
}

// phpseclib read the padding of an RSA signature and ignored what came after it, so that with the exponent 3 anybody
// could sign (Bleichenbacher 2006). The standard library compares the whole block.
func lessonPadding(t *testing.T, a *academy) {
	// Nobody needs to know the factors of the modulus: the forgery is a cube below it.
	modulus := new(big.Int).SetBit(new(big.Int), 2047, 1)
	random, err := rand.Int(rand.Reader, modulus)
	if err != nil {
		t.Fatal(err)
	}
	modulus.Or(modulus, random).SetBit(modulus, 0, 1)
	jwk := routing.JWK{
		KeyType: "RSA", Use: "sig", Algorithm: "RS256", KeyID: "three",
		Modulus: base64.RawURLEncoding.EncodeToString(modulus.Bytes()), Exponent: base64.RawURLEncoding.EncodeToString([]byte{3}),
	}
	set, err := json.Marshal(map[string]any{"keys": []routing.JWK{jwk}})
	if err != nil {
		t.Fatal(err)
	}
	platformIn(a.table, "moodle").LTI13.JWKS = string(set)
	a.publish()
	x := signed(a, func(c jwt.MapClaims) string {
		token := a.sign(moodle(), c, map[string]any{"kid": "three"})
		text := token[:strings.LastIndexByte(token, '.')]
		return text + "." + base64.RawURLEncoding.EncodeToString(forgeCube(t, text))
	})
	if got := x.reason(); got != lti.SignatureInvalid {
		t.Errorf("forged padding: %q", got)
	}
}

// forgeCube is a number whose cube begins like the padded hash of the text (RFC 8017 section 9.2), with garbage behind.
func forgeCube(t *testing.T, text string) []byte {
	t.Helper()
	prefix := []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}
	sum := sha256.Sum256([]byte(text))
	if crypto.SHA256.Size() != len(sum) {
		t.Fatal("hash of another size")
	}
	block := append([]byte{0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0}, append(prefix, sum[:]...)...)
	begin := len(block)
	block = append(block, bytes.Repeat([]byte{0xff}, 256-begin)...)
	want := new(big.Int).SetBytes(block)
	root := new(big.Int)
	for bit := 700; bit >= 0; bit-- {
		root.SetBit(root, bit, 1)
		if cube := new(big.Int).Exp(root, big.NewInt(3), nil); cube.Cmp(want) > 0 {
			root.SetBit(root, bit, 0)
		}
	}
	cube := new(big.Int).Exp(root, big.NewInt(3), nil).FillBytes(make([]byte, 256))
	if !bytes.Equal(cube[:begin], block[:begin]) {
		t.Fatal("the forgery does not begin like a signature")
	}
	return root.FillBytes(make([]byte, 256))
}

// A test key of Canvas has 512 bits, and libraries took it. RFC 7518 section 3.3 demands 2048, and so do we, also in a
// key set that has a good key besides.
func lessonWeakKeys(t *testing.T, a *academy) {
	weak, good := keys.PublicJWK(&weakKey().PublicKey), keys.PublicJWK(&moodle().key.PublicKey)
	set, err := json.Marshal(map[string]any{"keys": []routing.JWK{good, weak}})
	if err != nil {
		t.Fatal(err)
	}
	platformIn(a.table, "moodle").LTI13.JWKS = string(set)
	a.publish()
	x := signed(a, func(c jwt.MapClaims) string {
		return a.signWith(jwt.SigningMethodRS256, weakKey(), moodle(), c, map[string]any{"kid": weak.KeyID})
	})
	a.refused(x, lti.KeyTooWeak)
	a.enter(a.browser().launch13(moodle(), "height", nil))
}

// packback/lti-1p3-tool before 5.0 remembered nonces, but did not compare the one of a token with the one of its login:
// a captured token opened a session elsewhere. Here the state carries the nonce, signed, and is bound to the browser.
func lessonNonceBound(t *testing.T, a *academy) {
	b := a.browser()
	first, second := b.prepare13(moodle(), "height", nil), b.prepare13(moodle(), "height", nil)
	a.refused(b.post13(moodle(), url.Values{"state": second["state"], "id_token": first["id_token"]}), lti.NonceMismatch)
	a.refused(b.launch13(moodle(), "height", with("nonce", nil)), lti.ClaimMissing)
	a.refused(b.launch13(moodle(), "height", with("nonce", "")), lti.ClaimMissing)
	// A captured token does not work in the browser of somebody else, whatever state that has.
	victim := a.browser()
	own := victim.prepare13(moodle(), "height", nil)
	a.refused(victim.post13(moodle(), url.Values{"state": own["state"], "id_token": first["id_token"]}), lti.NonceMismatch)
	a.refused(victim.post13(moodle(), first), lti.StateNotFromThisBrowser)
	// Nor a second time in its own.
	b.post13(moodle(), first).location()
	a.refused(b.again(nil), lti.Replayed)
	b.post13(moodle(), second).location()
}

// countingReader remembers what it gave.
type countingReader struct {
	from io.Reader
	all  bytes.Buffer
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.all.Write(p[:n])
	return n, err
}

// unique checks that a value, in base64, comes from the source, has at least 128 bits, and was not seen before.
func (r *countingReader) unique(t *testing.T, seen map[string]bool, what, value string) {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(raw) < 16 {
		t.Fatalf("%s %q has %d bytes (%v)", what, value, len(raw), err)
	}
	if !bytes.Contains(r.all.Bytes(), raw) {
		t.Fatalf("%s does not come from the injected source", what)
	}
	if seen[value] {
		t.Fatalf("%s repeats", what)
	}
	seen[value] = true
}

// packback/lti-1p3-tool before 5.0 made nonces with a predictable generator, and others still use Math.random. Here they
// are 192 bits of the source that the handler was given, which is crypto/rand.
func lessonNonceRandom(t *testing.T, a *academy) {
	source := &countingReader{from: rand.Reader}
	b := a.browser()
	b.public = a.startAnother(a.store, func(o *handler.Options) { o.Random = source })
	seen := map[string]bool{}
	unique := func(what, value string) {
		t.Helper()
		source.unique(t, seen, what, value)
	}
	for range 200 {
		x := b.do(http.MethodPost, "/platforms/moodle/login", loginForm(moodle(), "height"))
		unique("nonce", x.location().Query().Get("nonce"))
		for _, c := range x.Result().Cookies() {
			if c.Value != "" {
				unique("cookie", c.Value)
			}
		}
	}
	b = a.browser()
	b.public = a.startAnother(a.store, func(o *handler.Options) { o.Random = source })
	x := b.launch13(moodle(), "height", nil)
	unique("code", x.code())
	claims := a.enter(x)
	unique("subject", claims.Subject)
	unique("launch ID", claims.LaunchID)
	b.dest = "iframe"
	unique("ticket", b.launch13(moodle(), "height", nil).ticket())
	// Without randomness there is no login, rather than a guessable one.
	b.public = a.startAnother(a.store, func(o *handler.Options) { o.Random = strings.NewReader("too short for a nonce") })
	if got := b.do(http.MethodPost, "/platforms/moodle/login", loginForm(moodle(), "height")).reason(); got != lti.InternalError {
		t.Errorf("login without randomness: %q", got)
	}
}

// Moodle's LTI library fetched key sets past the HTTP client that guards against internal addresses. Here there is one
// client, which looks at the address that is dialled, after resolving and after every redirect.
func lessonSSRF(t *testing.T, a *academy) {
	guardsKeySets(t, a, moodle().key, func(where string) {
		platformIn(a.table, "moodle").LTI13.JWKS, platformIn(a.table, "moodle").LTI13.JWKSURL = "", where
	}, func() (reference string) {
		x := a.browser().launch13(moodle(), "height", nil)
		a.refused(x, lti.KeysUnreachable)
		return referenceNumber.FindStringSubmatch(x.Body.String())[1]
	}, func() { a.enter(a.browser().launch13(moodle(), "height", nil)) })
}

// guardsKeySets has the key set of somebody with that key at addresses that nobody may make us ask. use configures an address,
// refused sends what needs the keys and returns the reference of the refusal, and works sends it once the address is allowed.
func guardsKeySets(t *testing.T, a *academy, key *rsa.PrivateKey, use func(where string), refused func() string, works func()) {
	t.Helper()
	var hits atomic.Int32
	served := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = io.WriteString(rw, a.keySet(key))
	})
	inside := httptest.NewUnstartedServer(served)
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	inside.Listener = listener
	inside.Start()
	defer inside.Close()
	insideTLS := httptest.NewTLSServer(served)
	defer insideTLS.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	refusedAt := func(where string) {
		t.Helper()
		use(where)
		a.publish()
		reference := refused()
		for line := range strings.Lines(a.log.String()) {
			// It was refused, and did not merely fail to answer.
			if strings.Contains(line, reference) && !strings.Contains(line, ": Blocked: ") {
				t.Errorf("%s: %s", where, line)
			}
		}
	}
	for _, where := range []string{
		insideTLS.URL + "/jwks.json", inside.URL + "/jwks.json", "https://localhost:" + port, "https://0.0.0.0:" + port,
		"https://10.0.0.1/jwks.json", "https://172.16.0.1", "https://192.168.1.1:8443", "https://100.64.0.1",
		"https://169.254.169.254/latest/meta-data", "https://[::1]:" + port, "https://[::ffff:127.0.0.1]:" + port, "https://[::ffff:169.254.169.254]",
		"https://[fe80::1]", "https://[fd00:ec2::254]", "http://lms.example/jwks.json", "https://user:password@lms.example/jwks.json", "file:///etc/passwd",
	} {
		refusedAt(where)
	}

	// A server that may be reached leads to one that may not.
	var to atomic.Pointer[string]
	outside := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, *to.Load(), http.StatusFound) }))
	defer outside.Close()
	a.table.Academy.AllowPrivateCIDRs = []string{"127.0.0.1/32"}
	for i, target := range []string{inside.URL, "http://169.254.169.254/latest/meta-data", "https://10.0.0.1", "https://[::1]:" + port} {
		to.Store(&target)
		refusedAt(fmt.Sprintf("%s/%d", outside.URL, i))
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("an address inside was reached %d times", n)
	}
	if !strings.Contains(a.metrics(), `lti_jwks_fetch_total{result="failure"}`) {
		t.Error("failed fetches are not counted")
	}
	// The same address works when the organisation says that it is its own.
	a.table.Academy.AllowPrivateCIDRs = []string{"127.0.0.0/8"}
	use(inside.URL + "/own.json")
	a.publish()
	works()
}

// RFC 7519 section 4 lets parsers take the last of two equal names, so that one program checks the first and the next
// one acts on the second. Here such a token is none.
func lessonDuplicates(t *testing.T, a *academy) {
	refusesDuplicates(t, func(spell func(jwt.MapClaims) string) answer {
		return signed(a, spell)
	}, moodle().key, func(x answer) { a.enter(x) })
}

// refusesDuplicates sends tokens of a key that have something twice, and one that does not, which is accepted.
func refusesDuplicates(t *testing.T, send func(spell func(jwt.MapClaims) string) answer, key *rsa.PrivateKey, accepted func(answer)) {
	t.Helper()
	header := fmt.Sprintf(`{"alg":"RS256","kid":%q}`, keys.PublicJWK(&key.PublicKey).KeyID)
	spelled := func(edit func(header, claims string) (string, string)) func(jwt.MapClaims) string {
		return func(c jwt.MapClaims) string {
			claims, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			h, edited := edit(header, string(claims))
			text := base64.RawURLEncoding.EncodeToString([]byte(h)) + "." + base64.RawURLEncoding.EncodeToString([]byte(edited))
			signature, err := jwt.SigningMethodRS256.Sign(text, key)
			if err != nil {
				t.Fatal(err)
			}
			return text + "." + base64.RawURLEncoding.EncodeToString(signature)
		}
	}
	for name, edit := range map[string]func(header, claims string) (string, string){
		"sub":     func(h, c string) (string, string) { return h, strings.Replace(c, "{", `{"sub":"1",`, 1) },
		"escaped": func(h, c string) (string, string) { return h, strings.Replace(c, "{", `{"su\u0062":"1",`, 1) },
		"nested":  func(h, c string) (string, string) { return h, strings.Replace(c, "{", `{"x":{"id":"x","id":"y"},`, 1) },
		"alg":     func(h, c string) (string, string) { return strings.Replace(h, "{", `{"alg":"none",`, 1), c },
	} {
		if got := send(spelled(edit)).reason(); got != lti.TokenMalformed {
			t.Errorf("%s twice: %q", name, got)
		}
	}
	accepted(send(spelled(func(h, c string) (string, string) { return h, c })))
}

// All schools at one host of Canvas have one issuer, and self-hosted ones say the same; software that knew people by
// (iss, sub) mixed them. Here people belong to the realm of a registration, and a token to one client ID.
func lessonSharedIssuer(t *testing.T, a *academy) {
	north, south := moodle(), campus()
	north.issuer, south.issuer = "https://canvas.instructure.example", "https://canvas.instructure.example"
	south.key = north.key
	a.table.Platforms[0], a.table.Platforms[1] = a.platform(north, "North"), a.platform(south, "South")
	a.publish()
	b := a.browser()
	one, two := a.enter(b.launch13(north, "height", nil)), a.enter(b.launch13(south, "height", nil))
	if one.Subject == two.Subject || one.Platform != "moodle" || two.Platform != "campus" {
		t.Errorf("%+v and %+v", one, two)
	}
	// A token for one school does not open the other, although issuer and key are the same.
	state, nonce := b.login(south, "height")
	a.refused(b.post13(south, url.Values{"state": {state}, "id_token": {a.sign(north, a.claims(north, "height", nonce), nil)}}), lti.AudienceMismatch)
	a.refused(b.do(http.MethodPost, "/platforms/campus/login", loginForm(north, "height")), lti.ClientIDMismatch)
}

// The target link at login is not signed, and was redirected to. Here the verified one counts, and it chooses among the
// activities of the academy: the address itself comes from the configuration.
func lessonOpenRedirect(t *testing.T, a *academy) {
	for _, target := range []string{
		"https://evil.example/", "https://evil.example/activities/height", "//evil.example/activities/height", "/activities/height",
		"https://lti.acme.example.evil.example/activities/height", "https://lti.acme.example@evil.example/activities/height",
		"https://evil.example/?x=https://lti.acme.example/activities/height", "https://evil.example/#https://lti.acme.example/activities/height",
		"https://lti.acme.example:8443/activities/height", "http://lti.acme.example/activities/height", "https://lti.acme.example\\@evil.example/activities/height",
		"https://lti.acme.example/activities/height/../../../evil", "https://lti.acme.example/platforms/campus/launch", "https://lti.acme.example/",
	} {
		a.refused(login13(url.Values{"target_link_uri": {target}})(a.browser()), lti.TargetLinkUnknown)
		x := a.browser().launch13(moodle(), "height", with(claim+"target_link_uri", target))
		if got := x.reason(); got != lti.TargetLinkUnknown && got != lti.ClaimInvalid {
			t.Errorf("token for %s: %q", target, got)
		}
		if strings.Contains(x.Body.String()+fmt.Sprint(x.Header()), "evil") {
			t.Errorf("%s is on the page", target)
		}
	}
	// Login names one activity and the token another: the token counts, and leads where the table says.
	b := a.browser()
	u := b.launch13(moodle(), "height", with(claim+"target_link_uri", academyURL+"/activities/ladder?next=https://evil.example")).location()
	if u.Host != "academy.acme.example" || u.Path != "/courses/43" || len(u.Query()) != 1 {
		t.Errorf("redirected to %s", u)
	}
}

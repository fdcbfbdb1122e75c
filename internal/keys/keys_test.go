// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// canary stands for key material that no error may quote.
const canary = "canary-71f0c9d4e2b8a563"

var errNoRandomness = errors.New("no randomness")

// testKey is one RSA key for all tests: making one takes a while.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// RFC 7638, section 3.1.
func TestThumbprintOfTheExampleInRFC7638(t *testing.T) {
	const (
		modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn" +
			"jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ" +
			"vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
		want = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	)
	n, err := base64.RawURLEncoding.DecodeString(modulus)
	if err != nil {
		t.Fatal(err)
	}
	jwk := PublicJWK(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537})
	if jwk.KeyID != want {
		t.Errorf("thumbprint is %s, want %s", jwk.KeyID, want)
	}
	if jwk.Modulus != modulus || jwk.Exponent != "AQAB" {
		t.Errorf("n = %s, e = %s", jwk.Modulus, jwk.Exponent)
	}
	if jwk.KeyType != "RSA" || jwk.Use != "sig" || jwk.Algorithm != "RS256" {
		t.Errorf("kty, use, alg = %s, %s, %s", jwk.KeyType, jwk.Use, jwk.Algorithm)
	}
}

func TestAGeneratedSigningKeySignsWhatItsJWKVerifies(t *testing.T) {
	encoded, err := NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseSigningKey(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if bits := key.N.BitLen(); bits != SigningKeyBits {
		t.Errorf("key has %d bits, want %d", bits, SigningKeyBits)
	}
	if block, _ := pem.Decode(encoded); block.Type != "PRIVATE KEY" {
		t.Errorf("PEM block is %q, want PKCS #8", block.Type)
	}
	digest := sha256.Sum256([]byte("message"))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	jwk := PublicJWK(&key.PublicKey)
	n, err := base64.RawURLEncoding.DecodeString(jwk.Modulus)
	if err != nil {
		t.Fatal(err)
	}
	e, err := base64.RawURLEncoding.DecodeString(jwk.Exponent)
	if err != nil {
		t.Fatal(err)
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature); err != nil {
		t.Errorf("the public JWK does not verify: %v", err)
	}
	other, err := NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(encoded, other) {
		t.Error("two generated keys are equal")
	}
}

func TestParseSigningKey(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&testKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PrivateKey(testKey())
	good := encode("PRIVATE KEY", pkcs8(t, testKey()))

	tests := map[string]struct {
		pem  []byte
		says string // empty: accepted
	}{
		"PKCS #8":                              {good, ""},
		"PKCS #1":                              {encode("RSA PRIVATE KEY", pkcs1), ""},
		"text before the key, as openssl does": {append([]byte("Bag Attributes\n  localKeyID: 01\n"), good...), ""},
		"carriage returns":                     {bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")), ""},
		"a weak RSA key in PKCS #8":            {encode("PRIVATE KEY", pkcs8(t, weak)), "1024 bits, at least 2048"},
		"a weak RSA key in PKCS #1":            {encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(weak)), "1024 bits, at least 2048"},
		"an EC key in PKCS #8":                 {encode("PRIVATE KEY", pkcs8(t, ec)), "not RSA"},
		"an EC key in SEC 1":                   {encode("EC PRIVATE KEY", sec1), "not a private key"},
		"an Ed25519 key":                       {encode("PRIVATE KEY", pkcs8(t, edwards)), "not RSA"},
		"a public key":                         {encode("PUBLIC KEY", public), "not a private key"},
		"a certificate":                        {encode("CERTIFICATE", []byte(canary)), "not a private key"},
		"an encrypted key":                     {encode("ENCRYPTED PRIVATE KEY", []byte(canary)), "not a private key"},
		"PKCS #1 under the name of PKCS #8":    {encode("PRIVATE KEY", pkcs1), "cannot be read"},
		"PKCS #8 under the name of PKCS #1":    {encode("RSA PRIVATE KEY", pkcs8(t, testKey())), "cannot be read"},
		"garbage in a PEM block":               {encode("PRIVATE KEY", []byte(canary)), "cannot be read"},
		"a block of an unknown type":           {encode(strings.ToUpper(canary), []byte(canary)), "not a private key"},
		"a key cut off":                        {good[:len(good)/2], "no PEM block"},
		"the key without its armour":           {pkcs1, "no PEM block"},
		"garbage":                              {[]byte(canary), "no PEM block"},
		"nothing":                              {nil, "no PEM block"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			key, err := ParseSigningKey(test.pem)
			if test.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				if !key.Equal(testKey()) {
					t.Error("another key came back")
				}
				return
			}
			if !errors.Is(err, ErrInvalid) || key != nil {
				t.Fatalf("key %v, error %v; want ErrInvalid", key != nil, err)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %q does not say %q", err, test.says)
			}
			if strings.Contains(strings.ToLower(err.Error()), canary) {
				t.Errorf("error quotes the key: %v", err)
			}
		})
	}
}

func TestLTI12Credentials(t *testing.T) {
	consumerKey, sharedSecret, err := NewLTI12Credentials(rand.Reader, "working-at-height")
	if err != nil {
		t.Fatal(err)
	}
	// 12 bytes are 16 characters, 32 bytes are 43; none of them needs escaping in OAuth 1.0 (RFC 5849, section 3.6).
	if !regexp.MustCompile(`^working-at-height\.[A-Za-z0-9_-]{16}$`).MatchString(consumerKey) {
		t.Errorf("consumer key is %q", consumerKey)
	}
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`).MatchString(sharedSecret) {
		t.Errorf("the shared secret has %d characters, or some that need escaping", len(sharedSecret))
	}
}

func TestLTI12CredentialsAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		consumerKey, sharedSecret, err := NewLTI12Credentials(rand.Reader, "a")
		if err != nil {
			t.Fatal(err)
		}
		if seen[consumerKey] || seen[sharedSecret] {
			t.Fatal("a consumer key or a secret came twice")
		}
		seen[consumerKey], seen[sharedSecret] = true, true
	}
}

// A source of randomness that fails must never lead to a predictable key.
func TestWithoutRandomnessNothingIsMade(t *testing.T) {
	tests := map[string]func(io.Reader) error{
		"token":       func(r io.Reader) error { _, err := Token(r, 32); return err },
		"credentials": func(r io.Reader) error { _, _, err := NewLTI12Credentials(r, "a"); return err },
		"academy":     func(r io.Reader) error { _, err := NewAcademy(r, time.Now()); return err },
	}
	for name, make := range tests {
		for enough, bytes := range map[string]int64{"at all": 0, "for the first value": 8, "for the second value": 40} {
			if name == "token" && bytes >= 32 {
				continue
			}
			t.Run(name+", not enough "+enough, func(t *testing.T) {
				source := io.MultiReader(io.LimitReader(rand.Reader, bytes), iotest.ErrReader(errNoRandomness))
				if err := make(source); !errors.Is(err, errNoRandomness) {
					t.Errorf("error is %v, want that of the source", err)
				}
			})
		}
	}
}

func TestAcademyKeysRoundTrip(t *testing.T) {
	a := newAcademy(t, time.Now())
	got, err := ParseAcademy(a.Data())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, got); diff != "" {
		t.Errorf("keys changed on the way:\n%s", diff)
	}
	if len(a.StateKey) != 32 || len(a.ControlToken) != 43 {
		t.Errorf("state key of %d bytes, control token of %d characters; want 32 and 43", len(a.StateKey), len(a.ControlToken))
	}
	other := newAcademy(t, time.Now())
	for key, value := range other.Data() {
		if bytes.Equal(value, a.Data()[key]) {
			t.Errorf("two academies have the same %s", key)
		}
	}
}

func TestAnIncompleteAcademySecretIsRefused(t *testing.T) {
	tests := map[string]func(data map[string][]byte){
		"no state key":              func(data map[string][]byte) { delete(data, AcademyStateKey) },
		"a short state key":         func(data map[string][]byte) { data[AcademyStateKey] = data[AcademyStateKey][1:] },
		"no control token":          func(data map[string][]byte) { delete(data, AcademyControlToken) },
		"a short control token":     func(data map[string][]byte) { data[AcademyControlToken] = []byte(canary) },
		"no certificate":            func(data map[string][]byte) { delete(data, AcademyControlCertificate) },
		"an empty certificate":      func(data map[string][]byte) { data[AcademyControlCertificate] = nil },
		"no private key":            func(data map[string][]byte) { delete(data, AcademyControlKey) },
		"the names of another kind": func(data map[string][]byte) { clear(data); data["tls.key"] = []byte(canary) },
		"nothing":                   func(data map[string][]byte) { clear(data) },
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAcademy(t, time.Now())
			data := a.Data()
			damage(data)
			got, err := ParseAcademy(data)
			if !errors.Is(err, ErrInvalid) || got != nil {
				t.Fatalf("keys %v, error %v; want ErrInvalid", got != nil, err)
			}
			if !strings.Contains(err.Error(), AcademyStateKey) || !strings.Contains(err.Error(), AcademyControlKey) {
				t.Errorf("error %q does not name what the Secret must have", err)
			}
			for _, secret := range []string{a.ControlToken, canary} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error quotes a secret: %v", err)
				}
			}
		})
	}
}

func TestControlCertificate(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a, other := newAcademy(t, now), newAcademy(t, now)
	tests := map[string]struct {
		pinned *Academy
		name   string
		at     time.Time
		ok     bool
	}{
		"its own authority and name":       {a, ControlServerName, now, true},
		"a clock that is behind a little":  {a, ControlServerName, now.Add(-59 * time.Minute), true},
		"nine years later":                 {a, ControlServerName, now.AddDate(9, 11, 0), true},
		"the authority of another academy": {other, ControlServerName, now, false},
		"another name":                     {a, "lti.acme.example", now, false},
		"the address of a pod":             {a, "10.1.2.3", now, false},
		"after ten years":                  {a, ControlServerName, now.AddDate(10, 0, 1), false},
		"long before it was made":          {a, ControlServerName, now.Add(-2 * time.Hour), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			roots := x509.NewCertPool()
			if !roots.AppendCertsFromPEM(test.pinned.ControlCertificatePEM) {
				t.Fatal("the certificate is not PEM")
			}
			block, _ := pem.Decode(a.ControlCertificatePEM)
			certificate, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			_, err = certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: test.name, CurrentTime: test.at})
			if (err == nil) != test.ok {
				t.Errorf("Verify = %v, want accepted = %v", err, test.ok)
			}
		})
	}
}

// The whole handshake, with the key as it stands in the Secret.
func TestControlPortHandshake(t *testing.T) {
	a := newAcademy(t, time.Now())
	pair, err := tls.X509KeyPair(a.ControlCertificatePEM, a.ControlPrivateKeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	serverEnd, clientEnd := net.Pipe()
	defer serverEnd.Close()
	defer clientEnd.Close()
	served := make(chan error, 1)
	go func() {
		served <- tls.Server(serverEnd, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}).Handshake()
	}()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.ControlCertificatePEM)
	client := tls.Client(clientEnd, &tls.Config{RootCAs: roots, ServerName: ControlServerName, MinVersion: tls.VersionTLS13})
	if err := client.Handshake(); err != nil {
		t.Errorf("operator: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("handler: %v", err)
	}
}

func newAcademy(t *testing.T, now time.Time) *Academy {
	t.Helper()
	a, err := NewAcademy(rand.Reader, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func encode(blockType string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der})
}

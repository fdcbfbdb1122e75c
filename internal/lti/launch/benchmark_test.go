package launch

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	signing "github.com/lti-operator/lti-operator/internal/lti/token"
)

// Where a message is signed or its signature verified, part=floor is that
// primitive alone over the same bytes: no message can cost less.

// recordedLogin is the query of the login initiation that a Moodle sent.
func recordedLogin(t testing.TB) string {
	t.Helper()
	var rec struct {
		RawBody string `json:"raw_body"`
	}
	load(t, "moodle-lti13-login.json", &rec)
	return rec.RawBody
}

// BenchmarkToolLogin is a login initiation, from its encoded form to the address
// that the browser is sent to.
func BenchmarkToolLogin(b *testing.B) {
	form, reg, v := recordedLogin(b), moodleRegistration(), verifier(b)
	reg.AuthenticationURL, reg.RedirectURI = "http://localhost:9100/mod/lti/auth.php", "https://lti.acme.example/platforms/moodle/launch"
	b.ReportAllocs()
	for b.Loop() {
		params, err := lti.ParseForm(form)
		if err != nil {
			b.Fatal(err)
		}
		in, err := ParseLogin(params)
		if err != nil {
			b.Fatal(err)
		}
		if err := in.Check(reg, nil); err != nil {
			b.Fatal(err)
		}
		nonce, err := NewNonce(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		state, err := v.States.Seal(NewState(reg, in, nonce, cookie, start()))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := AuthRequestURL(reg, in, state, nonce); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkToolLaunch13 is the answer of a Moodle, from its decoded form to the
// message.
func BenchmarkToolLaunch13(b *testing.B) {
	token, keys := recordedToken(b), moodleKeys(b)
	b.Run("part=whole", func(b *testing.B) {
		verify := tokenVerifier(b, keys)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := verify(token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("part=floor", func(b *testing.B) {
		found, err := keys.Lookup(b.Context(), takeApart(b).header["kid"].(string))
		if err != nil {
			b.Fatal(err)
		}
		key, dot := found[0].Public.(*rsa.PublicKey), strings.LastIndexByte(token, '.')
		signed := []byte(token[:dot])
		signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			sum := sha256.Sum256(signed)
			if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkToolLaunch12 is the form of a Moodle, from its decoded form to the
// message.
func BenchmarkToolLaunch12(b *testing.B) {
	body := formOf(b, moodleForm(b))
	b.Run("part=whole", func(b *testing.B) {
		v := &Verifier{Now: func() time.Time { return time.Unix(moodleTime, 0) }}
		req, secrets := oauth1.Request{Method: "POST", URL: moodleFormURL, Body: body}, oneKey("moodle-key-11")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify12(b.Context(), req, secrets); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("part=floor", func(b *testing.B) {
		benchmarkHMAC(b, moodleFormURL, body)
	})
}

// benchmarkHMAC signs the base string of a form, which is put together before.
func benchmarkHMAC(b *testing.B, address string, form lti.Params) {
	base, err := oauth1.BaseURI(address)
	if err != nil {
		b.Fatal(err)
	}
	text, key, want := []byte(oauth1.BaseString("POST", base, form)), []byte(oauth1.Escape(formSecret)+"&"), form.Get("oauth_signature")
	b.ReportAllocs()
	for b.Loop() {
		m := hmac.New(sha1.New, key)
		m.Write(text)
		if base64.StdEncoding.EncodeToString(m.Sum(nil)) != want {
			b.Fatal("another signature")
		}
	}
}

// BenchmarkPlatformLogin makes the address that opens an activity at a tool.
func BenchmarkPlatformLogin(b *testing.B) {
	l := LoginInitiation{
		Issuer: "https://acme.example", LoginHint: "learner-4", MessageHint: strings.Repeat("a sealed hint ", 20),
		TargetLinkURI: "https://tool.example/pump?a=1", ClientID: "sim", DeploymentID: "sim-1",
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := LoginInitiationURL("https://tool.example/login?tenant=7", l); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPlatformRequest reads the authentication request of a tool from its
// encoded query.
func BenchmarkPlatformRequest(b *testing.B) {
	var query strings.Builder
	for _, p := range authRequest() {
		separate(&query)
		query.WriteString(p.Name + "=" + oauth1.Escape(p.Value))
	}
	text := query.String()
	b.ReportAllocs()
	for b.Loop() {
		params, err := lti.ParseForm(text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := ParseReply(params, "sim", isRedirectURI); err != nil {
			b.Fatal(err)
		}
		if _, err := ParseAuthRequest(params); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPlatformToken makes and signs the ID token of a launch.
func BenchmarkPlatformToken(b *testing.B) {
	b.Run("part=whole", func(b *testing.B) {
		l := sentLaunch()
		key, err := signing.NewKey(kid, privateKeys()[0])
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := key.Sign(l.Claims(start(), time.Minute)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("part=floor", func(b *testing.B) {
		token := signLaunch(b, sentLaunch(), time.Minute)
		signed := []byte(token[:strings.LastIndexByte(token, '.')])
		b.ReportAllocs()
		for b.Loop() {
			sum := sha256.Sum256(signed)
			if _, err := rsa.SignPKCS1v15(nil, privateKeys()[0], crypto.SHA256, sum[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPlatformForm12 makes and signs the form of a launch.
func BenchmarkPlatformForm12(b *testing.B) {
	const address = "https://tool.example/lti"
	l := sentLaunch12()
	form, err := Form12(address, l, form12Credentials(), start(), "nonce-1")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("part=whole", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			again, err := Form12(address, l, form12Credentials(), start(), "nonce-1")
			if err != nil {
				b.Fatal(err)
			}
			if !slices.Equal(form[len(form)-1:], again[len(again)-1:]) {
				b.Fatal("another signature")
			}
		}
	})
	b.Run("part=floor", func(b *testing.B) { benchmarkHMAC(b, address, form) })
}

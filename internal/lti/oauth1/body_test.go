package oauth1

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// The SHA-1 hashes are those of the extension and of basiclti-util; all were
// recomputed with OpenSSL.
func TestBodyHash(t *testing.T) {
	for _, tt := range []struct{ body, sha1, sha256 string }{
		{"", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
		{"Hello World!", "Lve95gjOVATpfV8EL5X4nxwjKHE=", "f4OxZX/x/FO5LcGBSKHWXfwtSx+j1ncoSt3SABJtkGk="},
	} {
		if got := BodyHash([]byte(tt.body)); got != tt.sha1 {
			t.Errorf("%q: %s", tt.body, got)
		}
		if got := bodyHash(HMACSHA1, []byte(tt.body)); got != tt.sha1 {
			t.Errorf("%q by HMAC-SHA1: %s", tt.body, got)
		}
		if got := bodyHash(HMACSHA256, []byte(tt.body)); got != tt.sha256 {
			t.Errorf("%q by HMAC-SHA256: %s", tt.body, got)
		}
	}
}

// The headers are those of a tool whose requests a real Moodle accepted.
func TestSignBodyAsARealMoodleAccepts(t *testing.T) {
	text, err := os.ReadFile("../testdata/moodle-lti12-outcomes.json")
	if err != nil {
		t.Fatal(err)
	}
	var steps []struct {
		Request struct {
			URL, Body string
			Headers   map[string]string
		}
	}
	if err := json.Unmarshal(text, &steps); err != nil || len(steps) != 2 {
		t.Fatal(len(steps), err)
	}
	for _, s := range steps {
		want := s.Request.Headers["authorization"]
		_, nonce, _ := strings.Cut(want, `oauth_nonce="`)
		nonce, _, _ = strings.Cut(nonce, `"`)
		got, err := SignBody(s.Request.URL, []byte(s.Request.Body), Credentials{"moodle-key-11", "s3cret&with spécial"}, "", time.Unix(1795470798, 0), nonce)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// The signature was computed with OpenSSL: openssl dgst -sha256 -hmac, over the
// base string, with the key "s%26%20%C3%A9&".
func TestSignBodyWithHMACSHA256(t *testing.T) {
	got, err := SignBody("https://lms.example/outcomes?id=1&x=a%20b", []byte("Hello World!"), Credentials{"k", "s& é"}, HMACSHA256, time.Unix(1397708483, 0), "n")
	want := `OAuth realm="",oauth_version="1.0",oauth_nonce="n",oauth_timestamp="1397708483",oauth_consumer_key="k",` +
		`oauth_body_hash="f4OxZX%2Fx%2FFO5LcGBSKHWXfwtSx%2Bj1ncoSt3SABJtkGk%3D",oauth_signature_method="HMAC-SHA256",oauth_signature="vsr4q2iafPI8g9cCrBDGB3lJ1PDAIsRFqbEmXZzQJNc%3D"`
	if err != nil || got != want {
		t.Errorf("%v\n%s\n%s", err, got, want)
	}
}

func TestSignBodyRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ url, method string }{
		"another method":                       {"https://lms.example/o", "PLAINTEXT"},
		"another scheme":                       {"ftp://lms.example/o", ""},
		"no host":                              {"https:///o", ""},
		"no URL":                               {"%zz", ""},
		"a query that cannot be decoded":       {"https://lms.example/o?a=%zz", ""},
		"a nonce in the query":                 {"https://lms.example/o?oauth_nonce=1", ""},
		"a signature in the query":             {"https://lms.example/o?a=1&oauth_signature=x", HMACSHA256},
		"an escaped consumer key in the query": {"https://lms.example/o?%6Fauth_consumer_key=x", ""},
	} {
		if got, err := SignBody(tt.url, nil, Credentials{"k", "s"}, tt.method, now(), "n"); err == nil || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// header reads an Authorization header as a server does.
func header(t testing.TB, s string) lti.Params {
	t.Helper()
	s, ok := strings.CutPrefix(s, `OAuth realm="",`)
	if !ok {
		t.Fatalf("header %q", s)
	}
	var params lti.Params
	for part := range strings.SplitSeq(s, ",") {
		name, value, ok := strings.Cut(part, "=")
		unquoted, err := url.PathUnescape(strings.Trim(value, `"`))
		if !ok || err != nil {
			t.Fatalf("parameter %q", part)
		}
		params = append(params, lti.Param{Name: name, Value: unquoted})
	}
	return params
}

// What is signed in a header is what a verifier of signed forms computes over the
// same parameters, for whatever body and query.
func TestSignBodyVerifies(t *testing.T) {
	rapid.Check(t, func(t2 *rapid.T) {
		text := rapid.StringN(0, 20, 80)
		method := rapid.SampledFrom([]string{HMACSHA1, HMACSHA256}).Draw(t2, "method")
		body := []byte(text.Draw(t2, "body"))
		query := "q=" + url.QueryEscape(text.Draw(t2, "query"))
		cred := Credentials{"key " + url.QueryEscape(text.Draw(t2, "key")), secret}
		sent, err := SignBody(launchURL+"?"+query, body, cred, method, now(), "nonce")
		if err != nil {
			t2.Fatal(err)
		}
		params := header(t, sent)
		r := Request{Method: "POST", URL: launchURL, RawQuery: query, Body: params, Methods: []string{method}}
		known := func(context.Context, string) ([]string, error) { return []string{secret}, nil }
		if len(cred.ConsumerKey) > maxIdentifier {
			t2.Skip()
		}
		if v, err := Verify(t.Context(), r, known, now()); err != nil || v.ConsumerKey != cred.ConsumerKey {
			t2.Fatalf("%+v, %v", v, err)
		}
		if params.Get("oauth_body_hash") != bodyHash(method, body) {
			t2.Fatalf("hash of %q: %q", body, params.Get("oauth_body_hash"))
		}
		set("oauth_body_hash", bodyHash(method, append(body, '!')))(&r)
		if _, err := Verify(t.Context(), r, known, now()); lti.CodeOf(err) != lti.SignatureInvalid {
			t2.Fatalf("another body: %v", err)
		}
	})
}

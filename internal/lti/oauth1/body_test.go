package oauth1

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"slices"
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

// sentBody is a request as a tool sends it.
func sentBody(t testing.TB, query string, body []byte, method string) BodyRequest {
	t.Helper()
	header, err := SignBody(launchURL+"?"+query, body, Credentials{"key", secret}, method, now(), "nonce")
	if err != nil {
		t.Fatal(err)
	}
	return BodyRequest{Method: "POST", URL: launchURL, RawQuery: query, Authorization: header, Body: body, Methods: []string{HMACSHA1, HMACSHA256}}
}

// The headers are those of a tool whose requests a real Moodle accepted.
func TestVerifyBodyAsARealMoodleDoes(t *testing.T) {
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
		r := BodyRequest{Method: "POST", URL: s.Request.URL, Authorization: s.Request.Headers["authorization"], Body: []byte(s.Request.Body)}
		known := func(context.Context, string) ([]string, error) { return []string{"s3cret&with spécial"}, nil }
		v, err := VerifyBody(t.Context(), r, known, time.Unix(1795470798, 0))
		if err != nil || v.ConsumerKey != "moodle-key-11" || v.Nonce.Value == "" || v.Nonce.Timestamp != 1795470798 {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

func TestVerifyBody(t *testing.T) {
	const body = `<?xml version="1.0"?><a/>`
	auth := func(old, new string) func(*BodyRequest) {
		return func(r *BodyRequest) {
			if !strings.Contains(r.Authorization, old) {
				t.Fatalf("no %s in %s", old, r.Authorization)
			}
			r.Authorization = strings.Replace(r.Authorization, old, new, 1)
		}
	}
	// resigned sends other parameters under a good signature.
	resigned := func(method string, change func(lti.Params) lti.Params) func(*BodyRequest) {
		return func(r *BodyRequest) {
			params, err := parseHeader(r.Authorization)
			if err != nil {
				t.Fatal(err)
			}
			params = change(params)
			r.Authorization = "OAuth "
			for _, p := range append(params, lti.Param{Name: "oauth_signature", Value: signatureBy(method, BaseString("POST", launchURL, append(mustForm(t, r.RawQuery), params...)), secret)}) {
				if p.Name != "oauth_signature" || p.Value != params.Get("oauth_signature") {
					r.Authorization += Escape(p.Name) + `="` + Escape(p.Value) + `",`
				}
			}
		}
	}
	hash := func(value string) func(lti.Params) lti.Params {
		return func(params lti.Params) lti.Params {
			for i := range params {
				if params[i].Name == "oauth_body_hash" {
					params[i].Value = value
				}
			}
			return params
		}
	}
	for name, tt := range map[string]struct {
		method string
		change func(*BodyRequest)
		want   lti.Code
	}{
		"as it was sent":                  {HMACSHA1, func(*BodyRequest) {}, ""},
		"by HMAC-SHA256":                  {HMACSHA256, func(*BodyRequest) {}, ""},
		"by HMAC-SHA256, if not accepted": {HMACSHA256, func(r *BodyRequest) { r.Methods = nil }, lti.SignatureMethodUnsupported},
		"with another realm":              {HMACSHA1, auth(`realm=""`, `realm="https://a, \"b\"=c"`), ""},
		"without a realm":                 {HMACSHA1, auth(`realm="",`, ""), ""},
		"with a REALM at the end":         {HMACSHA1, func(r *BodyRequest) { r.Authorization += `, REALM="x"` }, ""},
		"with a scheme in small letters":  {HMACSHA1, auth("OAuth ", "oauth   "), ""},
		"with blanks and empty members":   {HMACSHA1, auth(`",oauth_nonce=`, "\" , ,\t oauth_nonce = "), ""},
		"without quotes":                  {HMACSHA1, auth(`oauth_nonce="nonce"`, `oauth_nonce=nonce `), ""},
		"with small hexadecimal digits":   {HMACSHA1, auth("%3D", "%3d"), ""},
		"with another body":               {HMACSHA1, func(r *BodyRequest) { r.Body = []byte(body + "\n") }, lti.SignatureInvalid},
		"without a body":                  {HMACSHA1, func(r *BodyRequest) { r.Body = nil }, lti.SignatureInvalid},
		"with another query":              {HMACSHA1, func(r *BodyRequest) { r.RawQuery = "id=2" }, lti.SignatureInvalid},
		"without a query":                 {HMACSHA1, func(r *BodyRequest) { r.RawQuery = "" }, lti.SignatureInvalid},
		"at another address":              {HMACSHA1, func(r *BodyRequest) { r.URL += "/x" }, lti.SignatureInvalid},
		"with another nonce":              {HMACSHA1, auth(`"nonce"`, `"nonce2"`), lti.SignatureInvalid},
		"with another time":               {HMACSHA1, auth(`timestamp="18`, `timestamp="17`), lti.SignatureInvalid},
		"with a hash of the wrong kind":   {HMACSHA256, resigned(HMACSHA256, hash(BodyHash([]byte(body)))), lti.SignatureInvalid},
		"with a hash of another body":     {HMACSHA1, resigned(HMACSHA1, hash(BodyHash(nil))), lti.SignatureInvalid},
		"with an unpadded hash":           {HMACSHA1, resigned(HMACSHA1, hash(strings.TrimRight(BodyHash([]byte(body)), "="))), lti.SignatureInvalid},
		"with an empty hash":              {HMACSHA1, resigned(HMACSHA1, hash("")), lti.ParameterMissing},
		"with an unsigned parameter":      {HMACSHA1, func(r *BodyRequest) { r.Authorization += `,x="1"` }, lti.SignatureInvalid},
		"with a signed one": {HMACSHA1, resigned(HMACSHA1, func(p lti.Params) lti.Params {
			return append(p, lti.Param{Name: "xoauth_requestor_id", Value: "a b+c"})
		}), ""},
		"with one of the query, once signed": {HMACSHA1, func(r *BodyRequest) {
			r.Authorization += `,id="1"`
		}, lti.SignatureInvalid},
		"with two hashes":                 {HMACSHA1, func(r *BodyRequest) { r.Authorization += `,oauth_body_hash="x"` }, lti.ParameterRepeated},
		"with two nonces":                 {HMACSHA1, func(r *BodyRequest) { r.Authorization += `,oauth_nonce="nonce"` }, lti.ParameterRepeated},
		"with a nonce in the query too":   {HMACSHA1, func(r *BodyRequest) { r.RawQuery += "&oauth_nonce=nonce" }, lti.ParameterRepeated},
		"without a nonce":                 {HMACSHA1, auth(`oauth_nonce="nonce",`, ""), lti.ParameterMissing},
		"with everything in the query":    {HMACSHA1, func(r *BodyRequest) { r.Authorization = "" }, lti.ParameterMissing},
		"with another scheme":             {HMACSHA1, auth("OAuth ", "Bearer "), lti.ParameterMissing},
		"with nothing but the scheme":     {HMACSHA1, func(r *BodyRequest) { r.Authorization = "OAuth" }, lti.ParameterMissing},
		"with a longer scheme":            {HMACSHA1, auth("OAuth ", "OAuth2 "), lti.ParameterMissing},
		"with a broken escape":            {HMACSHA1, auth("%3D", "%3"), lti.RequestMalformed},
		"with a quote that is not closed": {HMACSHA1, func(r *BodyRequest) { r.Authorization = strings.TrimSuffix(r.Authorization, `"`) }, lti.RequestMalformed},
		"with text after a quote":         {HMACSHA1, auth(`"nonce"`, `"nonce"x`), lti.RequestMalformed},
		"with a name alone":               {HMACSHA1, auth(`oauth_nonce="nonce"`, `oauth_nonce`), lti.RequestMalformed},
		"with a version that is new":      {HMACSHA1, auth(`"1.0"`, `"2.0"`), lti.ParameterInvalid},
		"with another method":             {HMACSHA1, auth("HMAC-SHA1", "PLAINTEXT"), lti.SignatureMethodUnsupported},
		"with a key that is not known":    {HMACSHA1, auth(`consumer_key="key"`, `consumer_key="other"`), lti.ConsumerKeyUnknown},
		"with GET":                        {HMACSHA1, func(r *BodyRequest) { r.Method = "GET" }, lti.MethodNotAllowed},
		"with a header that is too long":  {HMACSHA1, func(r *BodyRequest) { r.Authorization += strings.Repeat(" ", maxHeader) }, lti.RequestTooLarge},
		"with too many parameters":        {HMACSHA1, func(r *BodyRequest) { r.Authorization += strings.Repeat(",a=b", maxHeaderParams) }, lti.RequestTooLarge},
	} {
		r := sentBody(t, "id=1", []byte(body), tt.method)
		tt.change(&r)
		v, err := VerifyBody(t.Context(), r, secrets(secret), now())
		if lti.CodeOf(err) != tt.want || (v == nil) != (err != nil) {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}

// The nonce is to be spent, and is forgotten only when the request is too old.
func TestVerifyBodyReturnsTheNonce(t *testing.T) {
	r := sentBody(t, "", nil, "")
	v, err := VerifyBody(t.Context(), r, secrets("old", secret), now().Add(Window))
	if err != nil || v.Secret != 1 {
		t.Fatalf("%+v, %v", v, err)
	}
	if want := (lti.Nonce{Protocol: "oauth1", Party: "key", Timestamp: now().Unix(), Value: "nonce", ExpiresAt: now().Add(2 * Window).UTC()}); v.Nonce != want {
		t.Errorf("%+v", v.Nonce)
	}
	for _, late := range []time.Duration{Window + time.Second, -Window - time.Second} {
		if _, err := VerifyBody(t.Context(), r, secrets(secret), now().Add(late)); lti.CodeOf(err) != lti.TimestampOutOfRange {
			t.Errorf("%s: %v", late, err)
		}
	}
}

// What is signed verifies, for whatever body and query; and with any byte of body,
// query or header changed it does not, unless the header still says the same.
func TestASignedBodyVerifies(t *testing.T) {
	rapid.Check(t, func(t2 *rapid.T) {
		text := rapid.StringN(0, 20, 80)
		method := rapid.SampledFrom([]string{HMACSHA1, HMACSHA256}).Draw(t2, "method")
		query := "q=" + url.QueryEscape(text.Draw(t2, "query"))
		r := sentBody(t, query, []byte(text.Draw(t2, "body")), method)
		v, err := VerifyBody(t.Context(), r, secrets(secret), now())
		if err != nil || v.ConsumerKey != "key" || v.Nonce.Value != "nonce" {
			t2.Fatalf("%+v, %v", v, err)
		}
		before, err := parseHeader(r.Authorization)
		if err != nil {
			t2.Fatal(err)
		}
		changed := func(s, name string) string {
			b := []byte(s)
			i := rapid.IntRange(0, len(b)-1).Draw(t2, name+" at")
			b[i] ^= rapid.ByteRange(1, 255).Draw(t2, name+" by")
			return string(b)
		}
		switch part := rapid.SampledFrom([]string{"body", "query", "header"}).Draw(t2, "part"); part {
		case "body":
			if len(r.Body) == 0 {
				r.Body = []byte{0}
			} else {
				r.Body = []byte(changed(string(r.Body), part))
			}
		case "query":
			r.RawQuery = changed(query, part)
			was, err := lti.ParseForm(query)
			if err != nil {
				t2.Fatal(err)
			}
			if is, err := lti.ParseForm(r.RawQuery); err == nil && slices.Equal(was, is) {
				t2.Skip()
			}
		case "header":
			r.Authorization = changed(r.Authorization, part)
			if is, err := parseHeader(r.Authorization); err == nil && slices.Equal(before, is) {
				t2.Skip()
			}
		}
		if v, err := VerifyBody(t.Context(), r, secrets(secret), now()); err == nil {
			t2.Fatalf("%+v for %+v", v, r)
		}
	})
}

// Whatever the header is, it is refused with a code, or was signed with the secret.
func FuzzVerifyBody(f *testing.F) {
	good := sentBody(f, "id=1", []byte("<a/>"), HMACSHA1)
	want, err := parseHeader(good.Authorization)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Authorization)
	f.Add(`OAuth realm="a\",b",oauth_nonce=x, =,"`)
	f.Add(`oauth %6Fauth_nonce="%zz"`)
	f.Fuzz(func(t *testing.T, header string) {
		r := good
		r.Authorization = header
		v, err := VerifyBody(t.Context(), r, secrets(secret), now())
		if err != nil {
			if code := lti.CodeOf(err); code == lti.InternalError || v != nil {
				t.Fatalf("%+v, %v", v, err)
			}
			return
		}
		got, err := parseHeader(header)
		byName := func(a, b lti.Param) int { return strings.Compare(a.Name, b.Name) }
		slices.SortStableFunc(got, byName)
		sorted := slices.Clone(want)
		slices.SortStableFunc(sorted, byName)
		if err != nil || !slices.Equal(got, sorted) {
			t.Fatalf("%q was accepted", header)
		}
	})
}

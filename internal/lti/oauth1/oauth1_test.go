package oauth1

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lti-operator/lti-operator/internal/lti"
)

func mustForm(t testing.TB, s string) lti.Params {
	t.Helper()
	p, err := lti.ParseForm(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestBaseURI(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"scheme and host become lower case":         {"HTTPS://LTI.Example/Path", "https://lti.example/Path"},
		"the default port of http goes":             {"http://a.example:80/x", "http://a.example/x"},
		"the default port of https goes":            {"https://a.example:443/x", "https://a.example/x"},
		"another port stays":                        {"https://a.example:80/x", "https://a.example:80/x"},
		"query and fragment go":                     {"https://a.example/x?y=1#z", "https://a.example/x"},
		"an empty path is a slash":                  {"https://a.example", "https://a.example/"},
		"a slash at the end stays":                  {"https://a.example/x/", "https://a.example/x/"},
		"the encoding of the path stays":            {"https://a.example/a%2Fb%20c", "https://a.example/a%2Fb%20c"},
		"a scheme that cannot be signed is refused": {"ftp://a.example/", ""},
		"an address without a host is refused":      {"https:///x", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := BaseURI(tt.in)
			if got != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestEscape(t *testing.T) {
	const in = "AZaz09-._~ !*'()+%&=/é"
	const want = "AZaz09-._~%20%21%2A%27%28%29%2B%25%26%3D%2F%C3%A9"
	if got := Escape(in); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

const (
	launchURL = "https://lti.acme.example/activities/height/launch"
	secret    = "s3cret&with spécial"
)

func now() time.Time { return time.Unix(1_800_000_000, 0) }

func secrets(valid ...string) Secrets {
	return func(_ context.Context, key string) ([]string, error) {
		if key != "key" {
			return nil, nil
		}
		return valid, nil
	}
}

// signed returns a valid request over params and a query.
func signed(t testing.TB, query string, params ...lti.Param) Request {
	t.Helper()
	body, err := SignForm(launchURL+"?"+query, params, Credentials{"key", secret}, now(), "nonce")
	if err != nil {
		t.Fatal(err)
	}
	return Request{Method: "POST", URL: launchURL, RawQuery: query, Body: body}
}

func set(name, value string) func(*Request) {
	return func(r *Request) {
		for i := range r.Body {
			if r.Body[i].Name == name {
				r.Body[i].Value = value
				return
			}
		}
		r.Body = append(r.Body, lti.Param{Name: name, Value: value})
	}
}

// resign sets the signature over whatever the request holds now.
func resign(r *Request) {
	query, _ := lti.ParseForm(r.RawQuery)
	base, _ := BaseURI(r.URL)
	set("oauth_signature", Signature(BaseString("POST", base, append(query, r.Body...)), secret))(r)
}

func TestVerify(t *testing.T) {
	resigned := func(change func(*Request)) func(*Request) {
		return func(r *Request) { change(r); resign(r) }
	}
	add := func(name, value string) func(*Request) {
		return func(r *Request) { r.Body = append(r.Body, lti.Param{Name: name, Value: value}) }
	}
	remove := func(name string) func(*Request) {
		return func(r *Request) {
			r.Body = slices.DeleteFunc(r.Body, func(p lti.Param) bool { return p.Name == name })
		}
	}
	at := func(offset int64) string {
		return strconv.FormatInt(now().Unix()+offset, 10)
	}
	tests := map[string]struct {
		change func(*Request)
		code   lti.Code
	}{
		"a signed form is accepted":                     {func(*Request) {}, ""},
		"the last second of the window is accepted":     {resigned(set("oauth_timestamp", at(-300))), ""},
		"the first second of the window is accepted":    {resigned(set("oauth_timestamp", at(300))), ""},
		"without oauth_version it is accepted":          {resigned(remove("oauth_version")), ""},
		"a GET is refused":                              {func(r *Request) { r.Method = "GET" }, lti.MethodNotAllowed},
		"a changed value is refused":                    {set("custom", "other"), lti.SignatureInvalid},
		"an added parameter is refused":                 {add("roles", "Instructor"), lti.SignatureInvalid},
		"another query is refused":                      {func(r *Request) { r.RawQuery += "&b=2" }, lti.SignatureInvalid},
		"another path is refused":                       {func(r *Request) { r.URL += "/" }, lti.SignatureInvalid},
		"another host is refused":                       {func(r *Request) { r.URL = strings.Replace(r.URL, "acme", "evil", 1) }, lti.SignatureInvalid},
		"a query that is not a form is refused":         {func(r *Request) { r.RawQuery = "%" }, lti.RequestMalformed},
		"an unknown key is refused":                     {resigned(set("oauth_consumer_key", "other")), lti.ConsumerKeyUnknown},
		"PLAINTEXT is refused":                          {resigned(set("oauth_signature_method", "PLAINTEXT")), lti.SignatureMethodUnsupported},
		"HMAC-SHA256 is refused":                        {resigned(set("oauth_signature_method", "HMAC-SHA256")), lti.SignatureMethodUnsupported},
		"a signature that is not base64 is refused":     {set("oauth_signature", "%%%"), lti.SignatureInvalid},
		"a message from 301 s ago is refused":           {resigned(set("oauth_timestamp", at(-301))), lti.TimestampOutOfRange},
		"a message from 301 s ahead is refused":         {resigned(set("oauth_timestamp", at(301))), lti.TimestampOutOfRange},
		"a timestamp that is not a number is refused":   {resigned(set("oauth_timestamp", "yesterday")), lti.TimestampInvalid},
		"a negative timestamp is refused":               {resigned(set("oauth_timestamp", "-1")), lti.TimestampInvalid},
		"a timestamp with a sign is refused":            {resigned(set("oauth_timestamp", "+1800000000")), lti.TimestampInvalid},
		"a timestamp beyond all time is refused":        {resigned(set("oauth_timestamp", "9223372036854775807")), lti.TimestampInvalid},
		"oauth_version 2.0 is refused":                  {resigned(set("oauth_version", "2.0")), lti.ParameterInvalid},
		"a repeated consumer key is refused":            {resigned(add("oauth_consumer_key", "key")), lti.ParameterRepeated},
		"a repeated signature is refused":               {func(r *Request) { add("oauth_signature", r.Body.Get("oauth_signature"))(r) }, lti.ParameterRepeated},
		"a consumer key in the query too is refused":    {resigned(func(r *Request) { r.RawQuery += "&oauth_consumer_key=key" }), lti.ParameterRepeated},
		"an empty nonce is refused":                     {resigned(set("oauth_nonce", "")), lti.ParameterMissing},
		"a missing signature is refused":                {set("oauth_signature", ""), lti.ParameterMissing},
		"a nonce of 256 bytes is refused":               {resigned(set("oauth_nonce", strings.Repeat("n", 256))), lti.ParameterInvalid},
		"a consumer key with a line break is refused":   {resigned(set("oauth_consumer_key", "key\n")), lti.ParameterInvalid},
		"a form without oauth parameters is refused":    {func(r *Request) { r.Body = r.Body[:1] }, lti.ParameterMissing},
		"an old message with a bad signature is a fake": {set("oauth_timestamp", at(-301)), lti.SignatureInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := signed(t, "a=1&a=2", lti.Param{Name: "custom", Value: "é & ü"})
			tt.change(&r)
			v, err := Verify(t.Context(), r, secrets(secret), now())
			if lti.CodeOf(err) != tt.code {
				t.Fatalf("error %v, want code %q", err, tt.code)
			}
			if (v != nil) != (tt.code == "") {
				t.Errorf("result %v with error %v", v, err)
			}
			if tt.code == lti.SignatureInvalid {
				base, _ := BaseURI(r.URL)
				query, _ := lti.ParseForm(r.RawQuery)
				if expected := Signature(BaseString(r.Method, base, append(query, r.Body...)), secret); strings.Contains(fmt.Sprintf("%+v", err), expected) {
					t.Error("the expected signature is in the error")
				}
			}
		})
	}
}

func TestVerifyReturnsTheNonceUnspent(t *testing.T) {
	v, err := Verify(t.Context(), signed(t, ""), secrets(secret), now())
	if err != nil {
		t.Fatal(err)
	}
	want := lti.Nonce{Protocol: "oauth1", Party: "key", Timestamp: now().Unix(), Value: "nonce", ExpiresAt: now().Add(600 * time.Second).UTC()}
	if diff := cmp.Diff(want, v.Nonce); diff != "" {
		t.Error(diff)
	}
	// Until the nonce may be forgotten, the message must have become too old.
	_, err = Verify(t.Context(), signed(t, ""), secrets(secret), v.Nonce.ExpiresAt)
	if lti.CodeOf(err) != lti.TimestampOutOfRange {
		t.Errorf("replayed at the expiry of its nonce: %v", err)
	}
}

func TestVerifyAcceptsOldAndNewSecretDuringAnOverlap(t *testing.T) {
	r := signed(t, "")
	for want, list := range [][]string{{secret, "new"}, {"new", secret}} {
		v, err := Verify(t.Context(), r, secrets(list...), now())
		if err != nil || v.Secret != want {
			t.Errorf("secrets %d: %v, %v", want, v, err)
		}
	}
	if _, err := Verify(t.Context(), r, secrets("new", "newer"), now()); lti.CodeOf(err) != lti.SignatureInvalid {
		t.Errorf("after the overlap: %v", err)
	}
}

func TestVerifyNeverAcceptsAnEmptySecret(t *testing.T) {
	r := signed(t, "")
	base, _ := BaseURI(r.URL)
	set("oauth_signature", Signature(BaseString("POST", base, r.Body), ""))(&r)
	if _, err := Verify(t.Context(), r, secrets(""), now()); lti.CodeOf(err) != lti.SignatureInvalid {
		t.Errorf("error %v", err)
	}
}

func TestVerifyPassesOnWhatTheLookupSays(t *testing.T) {
	down := errors.New("down")
	lookup := func(context.Context, string) ([]string, error) { return nil, down }
	if _, err := Verify(t.Context(), signed(t, ""), lookup, now()); !errors.Is(err, down) {
		t.Errorf("error %v", err)
	}
}

// Canvas posts to …?a=1&b=2, repeats a and b in the form, and signs them once.
func TestVerifyCountsCopiedQueryParametersOnce(t *testing.T) {
	canvas := func(query string, body ...lti.Param) Request {
		r := signed(t, "", body...)
		r.RawQuery = query
		return r
	}
	a, b := lti.Param{Name: "a", Value: "1"}, lti.Param{Name: "b", Value: "2"}
	tests := map[string]struct {
		req    Request
		copied bool
		code   lti.Code
	}{
		"a strict signature over query and body":              {signed(t, "a=1", a), false, ""},
		"all query parameters copied":                         {canvas("a=1&b=2", a, b), true, ""},
		"a parameter copied as often as it is in the query":   {canvas("a=1&a=1", a, a), true, ""},
		"a copy with another value is not a copy":             {canvas("a=2", a), false, lti.SignatureInvalid},
		"a query parameter that is not copied must be signed": {canvas("a=1&c=3", a), false, lti.SignatureInvalid},
		"one copy does not excuse two query parameters":       {canvas("a=1&a=1", a), false, lti.SignatureInvalid},
		"a query that is not copied at all must be signed":    {canvas("c=3", a), false, lti.SignatureInvalid},
		"leaving the query out altogether is not a third way": {canvas("c=3&a=1", a, b), false, lti.SignatureInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v, err := Verify(t.Context(), tt.req, secrets(secret), now())
			if lti.CodeOf(err) != tt.code {
				t.Fatalf("error %v, want code %q", err, tt.code)
			}
			if err == nil && v.QueryInBody != tt.copied {
				t.Errorf("QueryInBody %v", v.QueryInBody)
			}
		})
	}
}

func TestSignFormRefusesToSignTwice(t *testing.T) {
	_, err := SignForm(launchURL, lti.Params{{Name: "oauth_nonce", Value: "mine"}}, Credentials{"key", secret}, now(), "n")
	if err == nil {
		t.Error("an oauth_ parameter of the caller was signed")
	}
	for _, name := range []string{"oauth_nonce", "oauth%5Fconsumer_key", "oauth_signature"} {
		if _, err := SignForm(launchURL+"?a=1&"+name+"=x", nil, Credentials{"key", secret}, now(), "n"); err == nil {
			t.Errorf("%s in the query was signed too", name)
		}
	}
}

type recording struct {
	URL        string `json:"url"`
	RawBody    string `json:"raw_body"`
	BaseString string `json:"signature_base_string"`
}

func moodle(t testing.TB) recording {
	t.Helper()
	text, err := os.ReadFile("../testdata/moodle-lti12-launch.json")
	if err != nil {
		t.Fatal(err)
	}
	var r recording
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBaseStringOfARealMoodleLaunch(t *testing.T) {
	r := moodle(t)
	if got := BaseString("POST", "http://127.0.0.1:9001/lti11", mustForm(t, r.RawBody)); got != r.BaseString {
		t.Errorf("%s", cmp.Diff(r.BaseString, got))
	}
}

// A form signed here verifies here, whatever is in it, and any other value does
// not.
func TestWhatIsSignedVerifies(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringN(0, 20, 80)
		var params lti.Params
		for range rapid.IntRange(1, 8).Draw(rt, "n") {
			params = append(params, lti.Param{Name: "x" + text.Draw(rt, "name"), Value: text.Draw(rt, "value")})
		}
		query := "q=" + url.QueryEscape(text.Draw(rt, "query"))
		r := signed(t, query, params...)
		if _, err := Verify(t.Context(), r, secrets(secret), now()); err != nil {
			rt.Fatal(err)
		}
		i := rapid.IntRange(0, len(params)-1).Draw(rt, "changed")
		r.Body[i].Value += "!"
		if _, err := Verify(t.Context(), r, secrets(secret), now()); lti.CodeOf(err) != lti.SignatureInvalid {
			rt.Fatalf("changed value: %v", err)
		}
	})
}

// The base string holds unreserved characters only, can be taken apart again into
// exactly the parameters that went in, in whatever order, and so is another one
// for other parameters. A form that is signed verifies, and no longer does when
// one of its parameters changes.
func FuzzBaseString(f *testing.F) {
	f.Add("a=1&b=2&a=0", "https://a.example/x")
	f.Add("a=%E2%80%94&oauth_signature=x", "http://A.example:80")
	f.Add("=&a&%00=%ff", "https://a.example:443/%2F?b=1&a=%20#c")
	f.Add("foo=123&foo=bar&q=%26%3D%25", "http://a.example/tool.php?foo=123&foo=bar")
	f.Fuzz(func(t *testing.T, form, rawURL string) {
		params, err := lti.ParseForm(form)
		if err != nil {
			t.Skip()
		}
		base, err := BaseURI(rawURL)
		if err != nil {
			t.Skip()
		}
		text := BaseString("POST", base, params)
		reversed := slices.Clone(params)
		slices.Reverse(reversed)
		if BaseString("POST", base, reversed) != text {
			t.Fatal("order matters")
		}
		checkBaseString(t, text, base, params)
		counted := slices.IndexFunc(params, func(p lti.Param) bool { return p.Name != "oauth_signature" })
		if counted >= 0 {
			p := params[counted]
			for _, other := range []lti.Params{
				slices.Delete(slices.Clone(params), counted, counted+1),
				slices.Insert(slices.Clone(params), counted, p),
				slices.Replace(slices.Clone(params), counted, counted+1, lti.Param{Name: p.Name, Value: p.Value + "&"}),
				slices.Replace(slices.Clone(params), counted, counted+1, lti.Param{Name: "&" + p.Name, Value: p.Value}),
			} {
				if BaseString("POST", base, other) == text {
					t.Fatalf("%q and %q have one base string", params, other)
				}
			}
		}
		checkSigned(t, rawURL, params)
	})
}

// checkBaseString takes a base string apart.
func checkBaseString(t *testing.T, text, base string, params lti.Params) {
	t.Helper()
	parts := strings.Split(text, "&")
	if len(parts) != 3 || parts[0] != "POST" {
		t.Fatalf("%d parts, the first %s", len(parts), parts[0])
	}
	for _, part := range parts[1:] {
		if !encoded(part) {
			t.Fatalf("%q is not encoded", part)
		}
	}
	if uri, err := url.PathUnescape(parts[1]); err != nil || uri != base {
		t.Fatalf("URI %q, %v", uri, err)
	}
	inner, err := url.PathUnescape(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	if len(inner) > lti.MaxFormBytes {
		return
	}
	back, err := lti.ParseForm(inner)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(slices.Clone(params), func(p lti.Param) bool { return p.Name == "oauth_signature" })
	order := func(a, b lti.Param) int {
		return strings.Compare(a.Name+"\x00"+a.Value, b.Name+"\x00"+b.Value)
	}
	slices.SortFunc(want, order)
	slices.SortFunc(back, order)
	if !slices.Equal(want, back) {
		t.Fatalf("%q became %q", want, back)
	}
}

// encoded reports whether s is percent-encoded as RFC 5849 section 3.6 asks.
func encoded(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			if i+2 >= len(s) || strings.Trim(s[i+1:i+3], "0123456789ABCDEF") != "" || unreserved(unhexed(s[i+1:i+3])) {
				return false
			}
			i += 2
		case !unreserved(c):
			return false
		}
	}
	return true
}

func unhexed(s string) byte {
	n, err := strconv.ParseUint(s, 16, 8)
	if err != nil {
		return 'x' // unreserved, so it counts as a mistake
	}
	return byte(n)
}

// checkSigned signs a form and verifies it, as it is and with each of its first
// parameters changed.
func checkSigned(t *testing.T, rawURL string, params lti.Params) {
	t.Helper()
	params = slices.DeleteFunc(slices.Clone(params), func(p lti.Param) bool { return strings.HasPrefix(p.Name, "oauth_") })
	address, _, _ := strings.Cut(rawURL, "#")
	_, query, _ := strings.Cut(address, "?")
	body, err := SignForm(rawURL, params, Credentials{"key", secret}, now(), "nonce")
	if err != nil {
		q, malformed := lti.ParseForm(query)
		if malformed != nil || slices.ContainsFunc(q, func(p lti.Param) bool { return strings.HasPrefix(p.Name, "oauth_") }) {
			t.Skip()
		}
		t.Fatal(err)
	}
	r := Request{Method: "POST", URL: rawURL, RawQuery: query, Body: body}
	v, err := Verify(t.Context(), r, secrets(secret), now())
	if err != nil || v.QueryInBody {
		t.Fatalf("%+v, %v", v, err)
	}
	for i := range min(len(params), 4) {
		r.Body = slices.Clone(body)
		r.Body[i].Value += "!"
		if _, err := Verify(t.Context(), r, secrets(secret), now()); lti.CodeOf(err) != lti.SignatureInvalid {
			t.Fatalf("parameter %d changed: %v", i, err)
		}
	}
}

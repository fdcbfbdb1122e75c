package oauth1

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
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

// contentItems is the value of the third vector of https://lti.tools/oauth/ as
// its users write it.
const contentItems = `{"@context":"http://purl.imsglobal.org/ctx/lti/v1/ContentItem","@graph":[{"mediaType":"application/vnd.ims.lti.v1.ltilink","@type":"LtiLinkItem","url":"http://localhost/lti","title":"Sample LTI launch","lineItem":{"@type":"LineItem","label":"Chapter 13 quiz","reportingMethod":"res:totalScore","assignedActivity":{"@id":"http://toolprovider.example.com/assessment/66400","activityId":"a-9334df-33"},"scoreConstraints":{"@type":"NumericLimits","normalMaximum":100,"extraCreditMaximum":10,"totalMaximum":110}}}]}`

func ltiTools(extra ...lti.Param) lti.Params {
	return append(extra,
		lti.Param{Name: "oauth_consumer_key", Value: "dpf43f3p2l4k3l03"},
		lti.Param{Name: "oauth_nonce", Value: "kllo9940pd9333jh"},
		lti.Param{Name: "oauth_signature_method", Value: "HMAC-SHA1"},
		lti.Param{Name: "oauth_timestamp", Value: "1191242096"},
		lti.Param{Name: "oauth_version", Value: "1.0"},
	)
}

const imsURL = "http://www.imsglobal.org/developers/LTI/test/v1p1/tool.php?foo=123&foo=bar"

// imsLaunch is a launch that IMS published with its signature.
func imsLaunch() lti.Params {
	return lti.Params{
		{Name: "resource_link_id", Value: "rsc1"},
		{Name: "oauth_callback", Value: "about:blank"},
		{Name: "lis_outcome_service_url", Value: "http://www.imsglobal.org/developers/LTI/test/v1p1/common/tool_consumer_outcome.php?b64=MTIzNDU6OjpzZWNyZXQ="},
		{Name: "lis_result_sourcedid", Value: "feb-123-456-2929::28883"},
		{Name: "launch_presentation_return_url", Value: "http://www.imsglobal.org/developers/LTI/test/v1p1/lms_return.php"},
		{Name: "lti_version", Value: "LTI-1p0"},
		{Name: "lti_message_type", Value: "basic-lti-launch-request"},
		{Name: "oauth_version", Value: "1.0"},
		{Name: "oauth_nonce", Value: "7ee33f6dc94117e792ff529898ce3953"},
		{Name: "oauth_timestamp", Value: "1397708483"},
		{Name: "oauth_consumer_key", Value: "12345"},
		{Name: "oauth_signature_method", Value: "HMAC-SHA1"},
	}
}

func TestSignatureKnownAnswers(t *testing.T) {
	photo := []lti.Param{{Name: "file", Value: "vacation.jpg"}, {Name: "size", Value: "original"}}
	const photos, photoSecret = "http://photos.example.net/photos", "kd94hf93k423kf44"
	tests := map[string]struct {
		method, url, secret string
		params              lti.Params
		want                string
	}{
		"IMS launch with a repeated query parameter": {"POST", imsURL, "secret", imsLaunch(), "dHORwwJqwh5hQQAlvaA9csSIOhc="},
		"lti.tools request":                          {"GET", photos, photoSecret, ltiTools(photo...), "Jg5MXVnexhzMDTv7IBUy3goIGqc="},
		"lti.tools request with a query":             {"GET", photos + "?query=param", photoSecret, ltiTools(photo...), "Hw23z2Z8cXYc1utpLucO7isfYyA="},
		"lti.tools content items":                    {"POST", photos, photoSecret, ltiTools(lti.Param{Name: "content_items", Value: contentItems}), "vtKTwm3wPH36s3fz20JH2fNjh8I="},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			base, err := BaseURI(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			query, err := queryOf(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			text := BaseString(tt.method, base, append(query, tt.params...))
			if got := Signature(text, tt.secret); got != tt.want {
				t.Errorf("signature %s, want %s over\n%s", got, tt.want, text)
			}
		})
	}
}

// RFC 5849 section 3.4.1.1; the signature printed in section 3.1 is a known
// erratum, so the one here was computed independently over the same text.
func TestBaseStringOfTheRFC(t *testing.T) {
	params := append(mustForm(t, "b5=%3D%253D&a3=a&c%40=&a2=r%20b"), mustForm(t, "c2&a3=2+q")...)
	params = append(params, mustForm(t, "oauth_consumer_key=9djdj82h48djs9d2&oauth_token=kkk9d7dh3k39sjv7&oauth_signature_method=HMAC-SHA1&oauth_timestamp=137131201&oauth_nonce=7d8f3e4a&oauth_signature=bYT5CMsGcbgUdFHObYMEfcx6bsw%3D")...)
	base, err := BaseURI("http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b")
	if err != nil {
		t.Fatal(err)
	}
	text := BaseString("post", base, params)
	want := "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
	// LTI has no token secret; with the one of the RFC appended to the key the
	// text gives the known signature.
	m := hmac.New(sha1.New, []byte("j49sk3j29djd&dh893hdasih9"))
	m.Write([]byte(text))
	if got := base64.StdEncoding.EncodeToString(m.Sum(nil)); got != "r6/TJjbCOr97/+UU0NsvSne7s5g=" {
		t.Errorf("signature %s", got)
	}
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

func TestBodyHashKnownAnswers(t *testing.T) {
	for body, want := range map[string]string{"": "2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "Hello World!": "Lve95gjOVATpfV8EL5X4nxwjKHE="} {
		if got := BodyHash([]byte(body)); got != want {
			t.Errorf("%q: %s, want %s", body, got, want)
		}
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

// The base string does not depend on the order of the parameters, can be taken
// apart again, and holds unreserved characters only.
func FuzzBaseString(f *testing.F) {
	f.Add("a=1&b=2&a=0", "https://a.example/x")
	f.Add("a=%E2%80%94&oauth_signature=x", "http://A.example:80")
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
		reversed := make(lti.Params, 0, len(params))
		for i := range params {
			reversed = append(reversed, params[len(params)-1-i])
		}
		if BaseString("POST", base, reversed) != text {
			t.Fatal("order matters")
		}
		parts := strings.Split(text, "&")
		if len(parts) != 3 {
			t.Fatalf("%d parts", len(parts))
		}
		inner, err := url.PathUnescape(parts[2])
		if err != nil {
			t.Fatal(err)
		}
		back, err := lti.ParseForm(inner)
		if err != nil && len(inner) <= lti.MaxFormBytes {
			t.Fatal(err)
		}
		if err == nil && len(back) != len(params)-params.Count("oauth_signature") {
			t.Fatalf("%d parameters became %d", len(params), len(back))
		}
	})
}

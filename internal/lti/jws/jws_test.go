package jws

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
)

// testKey returns a key on a curve, the same for the same name of 32 bytes.
func testKey(t testing.TB, name string) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), []byte(name))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

const (
	theirs  = "the key of a party in this test."
	another = "the key of another party in here"
)

func signed(t testing.TB, key *ecdsa.PrivateKey, header, claims string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	sig, err := jwt.SigningMethodES256.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// keySet is a key set before and after fetching it again.
type keySet struct {
	before, after []jwks.Key
	renewals      int
}

func (s *keySet) Lookup(_ context.Context, kid string) ([]jwks.Key, error) {
	found := slices.DeleteFunc(slices.Clone(s.before), func(k jwks.Key) bool { return k.ID != kid })
	if len(found) == 0 {
		return nil, lti.Refuse(lti.KeyUnknown, "no such key")
	}
	return found, nil
}

func (s *keySet) Renewed(context.Context, string, []jwks.Key) ([]jwks.Key, error) {
	s.renewals++
	return s.after, nil
}

func TestVerify(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := jwks.Key{ID: "1", Public: &testKey(t, theirs).PublicKey}
	foreign := jwks.Key{ID: "1", Public: &testKey(t, another).PublicKey}
	weak := jwks.Key{ID: "1", Public: &short.PublicKey, Weak: true}
	for name, tt := range map[string]struct {
		header        string
		algorithms    []string
		before, after []jwks.Key
		want          lti.Code
		renewals      int
	}{
		"the key of the registration":                 {`{"alg":"ES256","kid":"1"}`, []string{"ES256"}, []jwks.Key{good}, nil, "", 0},
		"one of two keys with one ID":                 {`{"alg":"ES256","kid":"1"}`, []string{"ES256"}, []jwks.Key{foreign, good}, nil, "", 0},
		"a key that was replaced under its ID":        {`{"alg":"ES256","kid":"1"}`, []string{"ES256"}, []jwks.Key{foreign}, []jwks.Key{good}, "", 1},
		"places of keys in the header":                {`{"alg":"ES256","kid":"1","jku":"https://a","jwk":{},"x5u":"https://a"}`, []string{"ES256"}, []jwks.Key{good}, nil, "", 0},
		"another key":                                 {`{"alg":"ES256","kid":"1"}`, []string{"ES256"}, []jwks.Key{foreign}, nil, lti.SignatureInvalid, 1},
		"another key, and a weak one":                 {`{"alg":"ES256","kid":"1"}`, []string{"ES256"}, []jwks.Key{foreign, weak}, nil, lti.SignatureInvalid, 1},
		"a key that is replaced by another wrong one": {`{"alg":"ES256","kid":"1"}`, []string{"ES256"}, []jwks.Key{weak}, []jwks.Key{foreign}, lti.SignatureInvalid, 1},
		"a key with another ID":                       {`{"alg":"ES256","kid":"2"}`, []string{"ES256"}, []jwks.Key{good}, nil, lti.KeyUnknown, 0},
		"a key for another algorithm":                 {`{"alg":"RS256","kid":"1"}`, nil, []jwks.Key{good}, nil, lti.AlgorithmNotAllowed, 1},
		"a weak key":                                  {`{"alg":"RS256","kid":"1"}`, nil, []jwks.Key{weak}, nil, lti.KeyTooWeak, 1},
		"an algorithm that is not configured":         {`{"alg":"ES256","kid":"1"}`, nil, []jwks.Key{good}, nil, lti.AlgorithmNotAllowed, 0},
		"none, even if it were configured":            {`{"alg":"none","kid":"1"}`, []string{"none"}, []jwks.Key{good}, nil, lti.AlgorithmNotAllowed, 0},
		"HS256, even if it were configured":           {`{"alg":"HS256","kid":"1"}`, []string{"HS256"}, []jwks.Key{good}, nil, lti.AlgorithmNotAllowed, 0},
		"an algorithm that is no text":                {`{"alg":["ES256"],"kid":"1"}`, []string{"ES256"}, []jwks.Key{good}, nil, lti.AlgorithmNotAllowed, 0},
		"no algorithm, which comes first":             {`{}`, []string{"ES256"}, []jwks.Key{good}, nil, lti.AlgorithmNotAllowed, 0},
		"critical extensions":                         {`{"alg":"ES256","kid":"1","crit":["b64"],"b64":false}`, []string{"ES256"}, []jwks.Key{good}, nil, lti.TokenMalformed, 0},
		"no key ID":                                   {`{"alg":"ES256"}`, []string{"ES256"}, []jwks.Key{good}, nil, lti.KeyIDMissing, 0},
		"a key ID that is no text":                    {`{"alg":"ES256","kid":1}`, []string{"ES256"}, []jwks.Key{good}, nil, lti.KeyIDMissing, 0},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := Parse(signed(t, testKey(t, theirs), tt.header, `{"a":1}`), 1000)
			if err != nil {
				t.Fatal(err)
			}
			keys := &keySet{before: tt.before, after: tt.after}
			alg, kid, err := token.Header(tt.algorithms)
			if err == nil {
				err = token.Verify(t.Context(), keys, alg, kid)
			}
			if lti.CodeOf(err) != tt.want || keys.renewals != tt.renewals {
				t.Errorf("%v after %d renewals, want %q after %d", err, keys.renewals, tt.want, tt.renewals)
			}
		})
	}
}

func TestParse(t *testing.T) {
	good := signed(t, testKey(t, theirs), `{"alg":"ES256"}`, `{"a":1}`)
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	for name, text := range map[string]string{
		"nothing":                          "",
		"two parts":                        parts[0] + "." + parts[1],
		"four parts":                       good + ".",
		"too long":                         good + strings.Repeat("A", 1000),
		"a line break":                     parts[0] + "\n." + parts[1] + "." + parts[2],
		"padding":                          parts[0] + "=." + parts[1] + "." + parts[2],
		"bits that do not count":           b64([]byte(`{"a":1} `))[:10] + "_." + parts[1] + "." + parts[2],
		"a header that is an array":        b64([]byte(`[]`)) + "." + parts[1] + "." + parts[2],
		"a header that is null":            b64([]byte(`null`)) + "." + parts[1] + "." + parts[2],
		"two algorithms":                   b64([]byte(`{"alg":"ES256","\u0061lg":"none"}`)) + "." + parts[1] + "." + parts[2],
		"text after the header":            b64([]byte(`{} {}`)) + "." + parts[1] + "." + parts[2],
		"a header that is no UTF-8":        b64([]byte("{\"a\":\"\xff\"}")) + "." + parts[1] + "." + parts[2],
		"a header that ends in the middle": b64([]byte(`{"alg":`)) + "." + parts[1] + "." + parts[2],
	} {
		if token, err := Parse(text, 1000); lti.CodeOf(err) != lti.TokenMalformed || token != nil {
			t.Errorf("%s: %+v, %v", name, token, err)
		}
	}
	// Claims may be anybody's until the signature is verified.
	token, err := Parse(parts[0]+"."+b64([]byte(`{"a":{"b":1,"b":2}}`))+"."+parts[2], 1000)
	if err != nil || token.Claims != nil || lti.CodeOf(token.ClaimsErr) != lti.TokenMalformed {
		t.Errorf("%+v, %v", token, err)
	}
}

func TestNumericDate(t *testing.T) {
	for name, tt := range map[string]struct {
		claim any
		want  time.Time
		text  string
	}{
		"seconds":            {json.Number("1795470802"), time.Unix(1795470802, 0), "1795470802"},
		"with decimals":      {json.Number("1795470802.5"), time.Unix(1795470802, 500_000_000), "1795470802.5"},
		"with an exponent":   {json.Number("1e3"), time.Unix(1000, 0), "1e3"},
		"text":               {"1795470802", time.Time{}, ""},
		"nothing":            {nil, time.Time{}, ""},
		"before 1970":        {json.Number("-1"), time.Time{}, ""},
		"beyond all years":   {json.Number("253402300800"), time.Time{}, ""},
		"beyond all numbers": {json.Number("1e400"), time.Time{}, ""},
	} {
		got, text, err := NumericDate(tt.claim)
		if !got.Equal(tt.want) || text != tt.text || (err != nil) != (tt.text == "") {
			t.Errorf("%s: %s, %q, %v", name, got, text, err)
		}
	}
}

func TestAudience(t *testing.T) {
	for name, tt := range map[string]struct {
		claim any
		want  []string
		fails bool
	}{
		"text":                {"a", []string{"a"}, false},
		"one in an array":     {[]any{"a"}, []string{"a"}, false},
		"two":                 {[]any{"a", "b"}, []string{"a", "b"}, false},
		"none":                {[]any{}, []string{}, false},
		"a number":            {json.Number("1"), nil, true},
		"a number among them": {[]any{"a", json.Number("1")}, nil, true},
		"an object":           {map[string]any{"a": "a"}, nil, true},
		"nothing":             {nil, nil, true},
	} {
		got, err := Audience(tt.claim)
		if !slices.Equal(got, tt.want) || (err != nil) != tt.fails {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// What is read as an object is what encoding/json reads, and has each name once.
func FuzzParseObject(f *testing.F) {
	for _, text := range []string{
		`{"a":{"b":[{"a":"\"}"}]}}`, `{"a":1,"\u0061":2}`, `{"\ud800":1,"\ud800":2}`, ` {"a":[1,{"b":null}]} x`, `{"a":{"b":1,"c":[{"d":1,"d":2}]}}`,
		`{"a":"\ud83d\ude00\ud83dx\ude00\u00E9\/\b\f\n\r\t\\"}`, `{"a":"\x"}`, `{"a":"\u00g0"}`, `{"a":"\u+123"}`, `{"a":"` + "\t" + `"}`, `{"a":"\`, `{"a":"\u00`,
		`{"a":[-0,0.5,1e9,-1.25E-3,10]}`, `{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":+1}`, `{"a":1e+}`,
		`{"a":true,"b":false,"c":null,"d":{},"e":[]}`, `{"a":tru}`, `{"a":nulL}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{"a":[1,]}`, `{"a":[1 2]}`, `{1:2}`, `{"a":1 "b":2}`,
		"\n\r\t { \"a\" : [ 1 , 2 ] } ", "\v{}", `null`, ` null x`, `[]`, `"a"`, `1`, ``, `{`, `{"a":1}}`, "{\"\xff\":1}", "\ufeff{}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := ParseObject(text)
		want, ok := decoded(text)
		if (err == nil) != ok {
			t.Fatalf("%q: %v, encoding/json: %v", text, err, ok)
		}
		if ok && !reflect.DeepEqual(want, got) {
			t.Fatalf("%q: %#v, encoding/json reads %#v", text, got, want)
		}
	})
}

// decoded returns what encoding/json reads, and whether that is one object without
// a name that occurs twice.
func decoded(text []byte) (map[string]any, bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var obj map[string]any
	if !utf8.Valid(text) || d.Decode(&obj) != nil || obj == nil {
		return nil, false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, false
	}
	d = json.NewDecoder(bytes.NewReader(text))
	return obj, namesDiffer(d)
}

// namesDiffer reads the next value, which is valid.
func namesDiffer(d *json.Decoder) bool {
	differ, names := true, map[json.Token]bool{}
	switch t, _ := d.Token(); t {
	case json.Delim('{'):
		for d.More() {
			name, _ := d.Token()
			differ = differ && !names[name]
			names[name] = true
			differ = namesDiffer(d) && differ
		}
		_, _ = d.Token()
	case json.Delim('['):
		for d.More() {
			differ = namesDiffer(d) && differ
		}
		_, _ = d.Token()
	}
	return differ
}

// As deep as encoding/json goes, and no deeper: nobody's text ends the process.
func TestDeepNesting(t *testing.T) {
	for depth, want := range map[int]bool{maxNesting: true, maxNesting + 1: false, 1 << 20: false} {
		text := []byte(`{"a":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + `}`)
		_, err := ParseObject(text)
		if (err == nil) != want || json.Valid(text) != want {
			t.Errorf("depth %d: %v", depth, err)
		}
	}
}

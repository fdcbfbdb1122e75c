package lti

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestEveryCodeConstantIsInTheTableOnce(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Code" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			if value != spec.Names[0].Name {
				t.Errorf("constant %s has the value %q", spec.Names[0].Name, value)
			}
			declared = append(declared, Code(value))
		}
		return true
	})
	slices.Sort(declared)
	if len(declared) < 40 {
		t.Fatalf("found %d constants only", len(declared))
	}
	if diff := cmp.Diff(declared, Codes()); diff != "" {
		t.Errorf("constants (-) and table (+) differ:\n%s", diff)
	}
}

func TestEveryReasonIsComplete(t *testing.T) {
	for _, r := range reasonTable() {
		if r.Status < 400 || r.Status > 599 {
			t.Errorf("%s: status %d is no refusal", r.Code, r.Status)
		}
		if r.Audience != Learner && r.Audience != OtherParty && r.Audience != Academy {
			t.Errorf("%s: audience %q", r.Code, r.Audience)
		}
		if len(r.Summary) < 10 || !strings.HasSuffix(r.Summary, ".") {
			t.Errorf("%s: summary %q is no sentence", r.Code, r.Summary)
		}
		if r.Code.Reason() != r {
			t.Errorf("%s: Reason returns %v", r.Code, r.Code.Reason())
		}
	}
	if got := Code("Invented").Reason(); got.Code != InternalError || got.Status != 500 {
		t.Errorf("unknown code gives %v", got)
	}
}

func TestRefusal(t *testing.T) {
	cause := errors.New("the secret is hunter2")
	err := fmt.Errorf("launch: %w", Refuse(Replayed, "nonce was seen").Because(cause))
	if got := CodeOf(err); got != Replayed {
		t.Errorf("CodeOf = %q", got)
	}
	if !errors.Is(err, &Refusal{Code: Replayed}) || errors.Is(err, &Refusal{Code: TokenExpired}) {
		t.Error("errors.Is does not compare codes")
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the text of the cause is in the text of the refusal")
	}
	if CodeOf(nil) != "" || CodeOf(cause) != InternalError {
		t.Error("CodeOf of errors that are no refusals")
	}
}

func TestParseForm(t *testing.T) {
	tests := map[string]struct {
		in   string
		want Params
		code Code
	}{
		"order and repetitions are kept":      {in: "b=2&a=1&b=2", want: Params{{"b", "2"}, {"a", "1"}, {"b", "2"}}},
		"plus and percent encoding":           {in: "a+b=%C3%A9+%2B", want: Params{{"a b", "é +"}}},
		"a name without equals sign is empty": {in: "a&b=", want: Params{{"a", ""}, {"b", ""}}},
		"only the first equals sign divides":  {in: "a=b=c", want: Params{{"a", "b=c"}}},
		"empty sequences are skipped":         {in: "&&a=1&", want: Params{{"a", "1"}}},
		"a semicolon is an ordinary byte":     {in: "a=1;b=2", want: Params{{"a", "1;b=2"}}},
		"bytes that are not UTF-8 are kept":   {in: "a=%FF", want: Params{{"a", "\xff"}}},
		"an empty name is kept":               {in: "=x", want: Params{{"", "x"}}},
		"nothing":                             {in: "", want: nil},
		"percent at the end":                  {in: "a=%", code: RequestMalformed},
		"half an escape":                      {in: "a=%4", code: RequestMalformed},
		"an escape that is not hexadecimal":   {in: "a=%4g", code: RequestMalformed},
		"a bad escape in a name":              {in: "%zz=1", code: RequestMalformed},
		"too many parameters":                 {in: strings.Repeat("a=1&", MaxFormParams+1), code: RequestTooLarge},
		"too many bytes":                      {in: "a=" + strings.Repeat("x", MaxFormBytes), code: RequestTooLarge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseForm(tt.in)
			if CodeOf(err) != tt.code {
				t.Fatalf("error %v, want code %q", err, tt.code)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOnly(t *testing.T) {
	p := Params{{"a", "1"}, {"b", "2"}, {"b", "2"}}
	if v, ok, err := p.Only("a"); v != "1" || !ok || err != nil {
		t.Errorf("a: %q %v %v", v, ok, err)
	}
	if _, ok, err := p.Only("c"); ok || err != nil {
		t.Errorf("c: %v %v", ok, err)
	}
	if _, _, err := p.Only("b"); CodeOf(err) != ParameterRepeated {
		t.Errorf("b: %v", err)
	}
}

func TestNonceKeysDifferWhereNoncesDo(t *testing.T) {
	base := Nonce{Protocol: "oauth1", Party: "ab", Timestamp: 7, Value: "c"}
	other := map[string]Nonce{
		"protocol":                     {Protocol: "oidc", Party: "ab", Timestamp: 7, Value: "c"},
		"timestamp":                    {Protocol: "oauth1", Party: "ab", Timestamp: 8, Value: "c"},
		"value":                        {Protocol: "oauth1", Party: "ab", Timestamp: 7, Value: "d"},
		"where party and value divide": {Protocol: "oauth1", Party: "a", Timestamp: 7, Value: "bc"},
	}
	for name, n := range other {
		if n.Key() == base.Key() {
			t.Errorf("%s does not count", name)
		}
	}
	later := base
	later.ExpiresAt = later.ExpiresAt.Add(1)
	if later.Key() != base.Key() {
		t.Error("expiry counts")
	}
}

// What any encoder writes is read back as it was.
func TestParseFormReadsWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pairs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Param {
			return Param{rapid.String().Draw(t, "name"), rapid.String().Draw(t, "value")}
		}), 1, 20).Draw(t, "pairs")
		var parts []string
		for _, p := range pairs {
			parts = append(parts, url.QueryEscape(p.Name)+"="+url.QueryEscape(p.Value))
		}
		got, err := ParseForm(strings.Join(parts, "&"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Params(pairs), got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Where net/url accepts a form, both decoders see the same values; and what was
// read is read again from any way of writing it.
func FuzzParseForm(f *testing.F) {
	for _, s := range []string{"a=1&b=2&a=3", "a+b=%C3%A9", "a=%zz", "&&=&", "x", "%2b=%2B;%00", "a=%ff&b=\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseForm(s)
		std, stdErr := url.ParseQuery(s)
		if err != nil {
			if code := CodeOf(err); code != RequestMalformed && code != RequestTooLarge || got != nil {
				t.Fatalf("%v with %d parameters", err, len(got))
			}
			if stdErr == nil && len(s) <= MaxFormBytes && strings.Count(s, "&") < MaxFormParams {
				t.Fatalf("refused what net/url accepts: %v", err)
			}
			return
		}
		again := func(how string, encode func(string) string) {
			var parts []string
			for _, p := range got {
				parts = append(parts, encode(p.Name)+"="+encode(p.Value))
			}
			text := strings.Join(parts, "&")
			back, err := ParseForm(text)
			if CodeOf(err) == RequestTooLarge && len(text) > MaxFormBytes {
				return // each byte may need three
			}
			if err != nil || !slices.Equal(got, back) {
				t.Fatalf("%s and read again: %q, %v, want %q", how, back, err, got)
			}
		}
		again("encoded", url.QueryEscape)
		again("every byte encoded", func(s string) string {
			var b strings.Builder
			for i := range len(s) {
				fmt.Fprintf(&b, "%%%02x", s[i])
			}
			return b.String()
		})
		if stdErr != nil {
			if !strings.Contains(s, ";") {
				t.Fatalf("accepted what net/url refuses: %v", stdErr)
			}
			return
		}
		seen := url.Values{}
		for _, p := range got {
			seen[p.Name] = append(seen[p.Name], p.Value)
		}
		if diff := cmp.Diff(std, seen); diff != "" {
			t.Fatal(diff)
		}
	})
}

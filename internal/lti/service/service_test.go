package service

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode"
	"unicode/utf8"
)

func start() time.Time { return time.Date(2026, 11, 23, 21, 53, 22, 0, time.UTC) }

type doFunc func(*http.Request) (*http.Response, error)

func (f doFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

func TestCall(t *testing.T) {
	broken := errors.New("connection reset by peer")
	for name, tt := range map[string]struct {
		status int
		body   io.Reader
		err    error
		want   string
		class  Class
		reason Reason
	}{
		"an answer is read to its end":                {200, strings.NewReader("12345678"), nil, "12345678", "", ""},
		"an empty answer is one":                      {204, strings.NewReader(""), nil, "", "", ""},
		"no answer":                                   {0, nil, broken, "", Temporary, Unreachable},
		"half an answer":                              {200, io.MultiReader(strings.NewReader("12"), iotest.ErrReader(broken)), nil, "", Temporary, Unreachable},
		"a longer answer":                             {200, strings.NewReader("123456789"), nil, "", Temporary, AnswerInvalid},
		"a longer answer that is a refusal is cut":    {403, strings.NewReader("123456789"), nil, "12345678", "", ""},
		"half a refusal leaves open what it would be": {403, iotest.ErrReader(broken), nil, "", Temporary, Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			closed := false
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://lms.example/", nil)
			a, err := Call(doFunc(func(*http.Request) (*http.Response, error) {
				if tt.err != nil {
					closed = true
					return nil, tt.err
				}
				return &http.Response{StatusCode: tt.status, Body: closer{tt.body, &closed}}, nil
			}), req, 8, start())
			if !closed {
				t.Error("the body is not closed")
			}
			if ReasonOf(err) != tt.reason || ClassOf(err) != tt.class {
				t.Fatalf("%v", err)
			}
			if err == nil && (string(a.Body) != tt.want || a.Status != tt.status || !a.At.Equal(start())) {
				t.Errorf("%+v", a)
			}
			if e, ok := errors.AsType[*Error](err); ok && !e.Uncertain {
				t.Error("it is certain what became of the request")
			}
			if tt.reason == Unreachable && (!errors.Is(err, broken) || strings.Contains(err.Error(), "peer")) {
				t.Errorf("the cause is lost, or in the text: %v", err)
			}
		})
	}
}

type closer struct {
	io.Reader
	closed *bool
}

func (c closer) Close() error { *c.closed = true; return nil }

func TestRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		class  Class
		reason Reason
		wait   time.Duration
	}{
		"too many requests":                {429, "", Temporary, Throttled, 7 * time.Second},
		"Canvas throttles with 403":        {403, "403 Forbidden (Rate Limit Exceeded)\n", Temporary, Throttled, 7 * time.Second},
		"403 otherwise":                    {403, "no", Permanent, ScoreRefused, 0},
		"request timeout":                  {408, "", Temporary, Unavailable, 7 * time.Second},
		"too early":                        {425, "", Temporary, Unavailable, 7 * time.Second},
		"internal error":                   {500, "", Temporary, Unavailable, 7 * time.Second},
		"maintenance":                      {503, "<html>", Temporary, Unavailable, 7 * time.Second},
		"a status of a proxy":              {599, "", Temporary, Unavailable, 7 * time.Second},
		"to a login page, for now":         {302, "", Temporary, Redirected, 7 * time.Second},
		"temporary redirect":               {307, "", Temporary, Redirected, 7 * time.Second},
		"moved for good":                   {301, "", Permanent, Redirected, 7 * time.Second},
		"moved for good, method preserved": {308, "", Permanent, Redirected, 7 * time.Second},
		"bad request":                      {400, "", Permanent, ScoreRefused, 0},
		"not found":                        {404, "", Permanent, ScoreRefused, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := &Answer{Status: tt.status, Body: []byte(tt.body), Header: http.Header{"Retry-After": {"7"}}, At: start()}
			if e := a.Refused(ScoreRefused); e.Class != tt.class || e.Reason != tt.reason || e.RetryAfter != tt.wait || e.Status != tt.status {
				t.Errorf("%+v", e)
			}
			if a.OK() {
				t.Error("a success")
			}
			if e := a.Refused(ScoreRefused); e.Uncertain != (tt.status == 408 || tt.status >= 500) {
				t.Errorf("uncertain: %v", e.Uncertain)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"": 0, "0": 0, "5": 5 * time.Second, " 90 ": 90 * time.Second, "3600": time.Hour, "3601": time.Hour, "99999999999999999999": time.Hour,
		"-5": 0, "1.5": 0, "soon": 0, "Mon, 23 Nov 2026 21:53:52 GMT": 30 * time.Second, "Mon, 23 Nov 2026 21:53:21 GMT": 0,
		"Tue, 24 Nov 2026 21:53:22 GMT": time.Hour, "Monday, 23-Nov-26 21:53:32 GMT": 10 * time.Second, "2026-11-23T21:53:52Z": 0,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {in}}, start()); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if got := RetryAfter(nil, start()); got != 0 {
		t.Error(got)
	}
}

func TestExcerpt(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"text stays":                           {"User not found in course — sorry", "User not found in course — sorry"},
		"blanks become one":                    {"\r\n a \t\n b \u00a0\u2028 c \n", "a b c"},
		"control characters become a blank":    {"a\x00\x1b[31mb\x7fc", "a [31mb c"},
		"invisible characters go":              {"a\u202eb\u200bc\ufeffd", "abcd"},
		"what is not UTF-8 goes":               {"a\xff\xc3b", "ab"},
		"a replacement character is none":      {"a\ufffdb", "a\ufffdb"},
		"secrets go":                           {"token abc/d+e= and abc/d+e=", "token [redacted] and [redacted]"},
		"secrets go where PHP escaped them":    {`{"t":"abc\/d+e="}`, `{"t":"[redacted]"}`},
		"secrets go from a form":               {"t=abc%2Fd%2Be%3D&x", "t=[redacted]&x"},
		"it is cut":                            {strings.Repeat("é", 300), strings.Repeat("é", MaxExcerpt)},
		"secrets go where they are divided":    {"abc/\xffd+\u200be=!", "[redacted]!"},
		"a secret is not cut before it is one": {strings.Repeat("x", MaxExcerpt-3) + "abc/d+e=", strings.Repeat("x", MaxExcerpt-3) + "[re"},
		"nothing":                              {" \n", ""},
	} {
		if got := Excerpt([]byte(tt.in), "abc/d+e=", ""); got != tt.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func FuzzExcerpt(f *testing.F) {
	f.Add([]byte("User \x00 not found: tok/en"), "tok/en")
	f.Add([]byte("\xff\u202e\n"), "\n")
	f.Fuzz(func(t *testing.T, body []byte, secret string) {
		got := Excerpt(body, secret)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > MaxExcerpt || got != strings.TrimSpace(got) || strings.Contains(got, "  ") {
			t.Fatalf("%q", got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }) {
			t.Fatalf("%q", got)
		}
		// Printable text, as tokens are; a shorter one may be part of "[redacted]".
		if len(secret) > len(redacted) && !strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) && strings.Contains(got, secret) {
			t.Fatalf("%q is in %q", secret, got)
		}
	})
}

func TestError(t *testing.T) {
	cause := errors.New("hunter2")
	err := fmt.Errorf("grade: %w", &Error{Class: Permanent, Reason: UserUnknown, Status: 422, Detail: "detail", Remote: "remote", Err: cause})
	if got := err.Error(); got != "grade: UserUnknown (status 422): detail" {
		t.Error(got)
	}
	if !errors.Is(err, cause) || ReasonOf(err) != UserUnknown || ClassOf(err) != Permanent {
		t.Error("what is inside is lost")
	}
	if ReasonOf(nil) != "" || ClassOf(nil) != "" || ReasonOf(cause) != "" || ClassOf(context.Canceled) != Temporary {
		t.Error("errors of other kinds")
	}
	if got := Refuse("why"); got.Error() != "RequestInvalid: why" || got.Class != Permanent {
		t.Error(got)
	}
}

func TestEveryReasonIsListed(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "error.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	listed := Reasons()
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Reason" {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil || value != spec.Names[0].Name {
			t.Errorf("constant %s has the value %q", spec.Names[0].Name, value)
		}
		if n >= len(listed) || listed[n] != Reason(value) {
			t.Errorf("%s is not listed, or not in its place", value)
		}
		n++
		return true
	})
	if n != len(listed) || n < 15 {
		t.Errorf("%d constants, %d listed", n, len(listed))
	}
}

package service

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/lti-operator/lti-operator/internal/lti"
)

func query(t testing.TB, s string) lti.Params {
	t.Helper()
	p, err := lti.ParseForm(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParsePage(t *testing.T) {
	for q, want := range map[string]struct {
		page Page
		code lti.Code
	}{
		"":                           {Page{100, ""}, ""},
		"limit=":                     {Page{100, ""}, ""},
		"limit=1":                    {Page{1, ""}, ""},
		"limit=007":                  {Page{7, ""}, ""},
		"limit=100&after=a%26b":      {Page{100, "a&b"}, ""},
		"limit=101":                  {Page{100, ""}, ""},
		"limit=99999999999999999999": {Page{100, ""}, ""},
		"limit=0":                    {Page{}, lti.ParameterInvalid},
		"limit=000":                  {Page{}, lti.ParameterInvalid},
		"limit=-1":                   {Page{}, lti.ParameterInvalid},
		"limit=%2B1":                 {Page{}, lti.ParameterInvalid},
		"limit=1.5":                  {Page{}, lti.ParameterInvalid},
		"limit=1e1":                  {Page{}, lti.ParameterInvalid},
		"limit=ten":                  {Page{}, lti.ParameterInvalid},
		"limit=+1":                   {Page{}, lti.ParameterInvalid},
		"limit=1&limit=1":            {Page{}, lti.ParameterRepeated},
		"after=a&after=b":            {Page{}, lti.ParameterRepeated},
		"after=a%0Ab":                {Page{}, lti.ParameterInvalid},
		"after=%FF":                  {Page{}, lti.ParameterInvalid},
		"after=" + strings.Repeat("a", maxParameter+1): {Page{}, lti.ParameterInvalid},
	} {
		got, err := ParsePage(query(t, q), 100)
		if got != want.page || lti.CodeOf(err) != want.code {
			t.Errorf("%q: %+v, %v", q, got, err)
		}
	}
}

// The reader of Link headers reads what we write, and what is read there is the
// page and the selection that was asked for.
func TestNextIsReadAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		list, last string
		pairs      []string
		want       string
	}{
		"without a selection": {"https://a/l", "id-1", nil, `<https://a/l?limit=2&after=id-1>; rel="next"`},
		"with one":            {"https://a/l", "id-1", []string{"rlid", "a b", "role", "", "tag", "x&y"}, `<https://a/l?rlid=a+b&tag=x%26y&limit=2&after=id-1>; rel="next"`},
		"with a query before": {"https://a/l?type=1", "id-1", []string{"tag", "x"}, `<https://a/l?type=1&tag=x&limit=2&after=id-1>; rel="next"`},
		"with what ends URLs": {"https://a/l", `>; rel="prev", <https://evil`, []string{"tag", `"`}, `<https://a/l?tag=%22&limit=2&after=%3E%3B+rel%3D%22prev%22%2C+%3Chttps%3A%2F%2Fevil>; rel="next"`},
		"case is kept":        {"https://a/l", "ÄbC", nil, `<https://a/l?limit=2&after=%C3%84bC>; rel="next"`},
	} {
		got := Page{Limit: 2}.Next(tt.list, tt.last, tt.pairs...)
		if got != tt.want {
			t.Errorf("%s: %s", name, got)
		}
		u, err := url.Parse(Link(http.Header{"Link": {got}}, "next"))
		if err != nil {
			t.Fatal(err)
		}
		back := query(t, u.RawQuery)
		if page, err := ParsePage(back, 100); err != nil || page != (Page{2, tt.last}) {
			t.Errorf("%s: %+v, %v", name, page, err)
		}
		for i := 0; i < len(tt.pairs); i += 2 {
			if back.Get(tt.pairs[i]) != tt.pairs[i+1] {
				t.Errorf("%s: %s is %q", name, tt.pairs[i], back.Get(tt.pairs[i]))
			}
		}
	}
}

func TestFormatLinkEscapesWhatAURLCannotHave(t *testing.T) {
	got := FormatLink("https://a/b c>d\"e\\f\nä%20?x=%zz", "next")
	if want := `<https://a/b%20c%3Ed%22e%5Cf%0A%C3%A4%20?x=%zz>; rel="next"`; got != want {
		t.Error(got)
	}
}

func TestAccepts(t *testing.T) {
	const want = "application/vnd.ims.lis.v1.score+json"
	for contentType, accepted := range map[string]bool{
		want: true, want + "; charset=utf-8": true, strings.ToUpper(want): true,
		"application/json": true, "Application/JSON; charset=UTF-8": true, want + "; charset": true, "": true, " ": true,
		"application/x-www-form-urlencoded": false, "text/plain": false, "application/vnd.ims.lis.v2.lineitem+json": false,
		"application/jsonx": false, ";": false, "/": false,
	} {
		if got := Accepts(contentType, want); got != accepted {
			t.Errorf("%q: %v", contentType, got)
		}
	}
}

// Whatever selects a page, the next one is found by the same selection.
func FuzzNext(f *testing.F) {
	f.Add("https://a/l", "id", "x&amp;y")
	f.Add("https://a/l?type=1#top", "<>", "\"\\")
	f.Fuzz(func(t *testing.T, list, last, tag string) {
		if _, ok := ParseURL(list); !ok || strings.ContainsAny(list, "&;") {
			return
		}
		header := Page{Limit: 3}.Next(list, last, "tag", tag)
		if strings.ContainsAny(header, "\r\n") || strings.Count(header, "<") != 1 || strings.Count(header, ">") != 1 {
			t.Fatalf("%q", header)
		}
		_, q, _ := strings.Cut(Link(http.Header{"Link": {header}}, "next"), "?")
		params, err := lti.ParseForm(q)
		if err != nil {
			return // the list has a query that cannot be read
		}
		if n := len(params); n < 2 || params[n-1] != (lti.Param{Name: "after", Value: last}) || tag != "" && params[n-3] != (lti.Param{Name: "tag", Value: tag}) {
			t.Fatalf("%q: %q", header, params)
		}
	})
}

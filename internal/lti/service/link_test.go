package service

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestLink(t *testing.T) {
	for name, tt := range map[string]struct {
		headers []string
		want    string
	}{
		"the only one":                          {[]string{`<https://lms.example/i?p=2>; rel="next"`}, "https://lms.example/i?p=2"},
		"one of several":                        {[]string{`<https://a/1>; rel="current",<https://a/2>; rel="next",<https://a/3>; rel="last"`}, "https://a/2"},
		"in another header":                     {[]string{`<https://a/1>; rel="prev"`, `<https://a/2>; rel="next"`}, "https://a/2"},
		"without quotes":                        {[]string{`<https://a/2>;rel=next`}, "https://a/2"},
		"single quotes":                         {[]string{`<https://a/2>; rel='next'`}, "https://a/2"},
		"capitals":                              {[]string{`<https://a/Two>; REL="Next"`}, "https://a/Two"},
		"several relations":                     {[]string{`<https://a/2>; rel="last next"`}, "https://a/2"},
		"blanks":                                {[]string{` < https://a/2 > ; title=x ; rel = "next" `}, "https://a/2"},
		"comma and semicolon in the URL":        {[]string{`<https://a/2?x=1,2;3>; rel="next"`}, "https://a/2?x=1,2;3"},
		"comma and semicolon in a quoted value": {[]string{`<https://a/1>; title="a, <b>; rel=next \" ;"; rel="prev", <https://a/2>; rel="next"`}, "https://a/2"},
		"only the first rel counts":             {[]string{`<https://a/1>; rel="prev"; rel="next"`}, ""},
		"relative":                              {[]string{`</i?p=2>; rel="next"`}, "/i?p=2"},
		"Moodle's": {[]string{
			`<http://l/i?type_id=2&amp;limit=1&amp;from=0>; rel=“first”, <http://l/i?type_id=2&amp;limit=1&amp;from=1>; rel=“next”, <http://l/i?type_id=2&amp;limit=1&amp;from=2>; rel=“last”`,
		}, "http://l/i?type_id=2&limit=1&from=1"},
		"another relation":                {[]string{`<https://a/2>; rel="nextish"`}, ""},
		"no relation":                     {[]string{`<https://a/2>`}, ""},
		"a relation with no target":       {[]string{`<>; rel="next"`}, ""},
		"an end that never comes":         {[]string{`<https://a/2; rel="next"`}, ""},
		"a quote that never ends":         {[]string{`<https://a/1>; title="x, <https://a/2>; rel="next"`}, ""},
		"nothing":                         {[]string{""}, ""},
		"no header":                       {nil, ""},
		"more than anybody looks through": {[]string{strings.Repeat(`<https://a/1>; rel="x",`, maxLinks) + `<https://a/2>; rel="next"`}, ""},
	} {
		if got := Link(http.Header{"Link": tt.headers}, "next"); got != tt.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestWithin(t *testing.T) {
	for name, tt := range map[string]struct{ base, ref, want string }{
		"the same place":               {"https://lms.example/a?b", "https://lms.example/c?d=1", "https://lms.example/c?d=1"},
		"a path":                       {"https://lms.example/a/b?x", "/c?d", "https://lms.example/c?d"},
		"a query alone":                {"https://lms.example/a/b?x", "?page=2", "https://lms.example/a/b?page=2"},
		"a fragment goes":              {"https://lms.example/a", "/b#c", "https://lms.example/b"},
		"the default port":             {"https://lms.example/a", "https://lms.example:443/b", "https://lms.example:443/b"},
		"the host in capitals":         {"https://lms.example/a", "https://LMS.example/b", "https://LMS.example/b"},
		"http where https is meant":    {"https://lms.example/a", "http://lms.example/b", "https://lms.example/b"},
		"http with the port of https":  {"https://lms.example:8443/a", "http://lms.example:8443/b", "https://lms.example:8443/b"},
		"plain http of a test":         {"http://localhost:9100/a", "http://localhost:9100/b", "http://localhost:9100/b"},
		"another host":                 {"https://lms.example/a", "https://evil.example/b", ""},
		"another host without scheme":  {"https://lms.example/a", "//evil.example/b", ""},
		"another port":                 {"https://lms.example/a", "https://lms.example:8443/b", ""},
		"http on another port":         {"https://lms.example/a", "http://lms.example:8080/b", ""},
		"http where the port is said":  {"https://lms.example:8443/a", "http://lms.example/b", ""},
		"https where http is":          {"http://lms.example/a", "https://lms.example/b", ""},
		"a user":                       {"https://lms.example/a", "https://user@lms.example/b", ""},
		"a user that looks like it":    {"https://lms.example/a", "https://lms.example@evil.example/b", ""},
		"a name that begins alike":     {"https://lms.example/a", "https://lms.example.evil.example/b", ""},
		"a backslash":                  {"https://lms.example/a", `https://lms.example\@evil.example/b`, ""},
		"another scheme":               {"https://lms.example/a", "javascript:alert(1)", ""},
		"nothing":                      {"https://lms.example/a", "", ""},
		"what cannot be read as a URL": {"https://lms.example/a", "https://lms.example/%zz", ""},
	} {
		base, ok := ParseURL(tt.base)
		if !ok {
			t.Fatal(tt.base)
		}
		got, ok := Within(base, tt.ref)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]bool{
		"https://lms.example/a?b": true, "http://localhost:9100": true, "https://[::1]:8443/": true,
		"": false, "/a": false, "lms.example": false, "ftp://a/b": false, "https://": false, "https://:443/": false,
		"https://u:p@a/": false, "https:a": false, "https://a b/": false, "\x7fhttps://a/": false,
	} {
		if _, ok := ParseURL(raw); ok != want {
			t.Errorf("%q: %v", raw, ok)
		}
	}
}

func TestAddToURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://a/l":               "https://a/l/scores?x=a+%26&y=",
		"https://a/l/":              "https://a/l/scores?x=a+%26&y=",
		"https://a/l?":              "https://a/l/scores?x=a+%26&y=",
		"https://a/l?type_id=2":     "https://a/l/scores?type_id=2&x=a+%26&y=",
		"https://a/l?type_id=2&#f?": "https://a/l/scores?type_id=2&x=a+%26&y=",
		"https://a/l?a=1?b/":        "https://a/l/scores?a=1?b/&x=a+%26&y=",
		"https://a":                 "https://a/scores?x=a+%26&y=",
	} {
		if got := AddQuery(AddPath(in, "scores"), "x", "a &", "y", "", "odd"); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

// Whatever header an answer has, the next page is at the place of the first one.
func FuzzLink(f *testing.F) {
	f.Add(`<https://lms.example/i?p=2>; rel="next"`, "https://lms.example/i")
	f.Add(`<http://l/i?type_id=2&amp;from=1>; rel=“next”`, "http://l/i?type_id=2")
	f.Add(`<//evil.example/>; rel=next`, "https://lms.example:8443/")
	f.Add(`<https://lms.example:443@evil.example/>;rel="last next", <>`, "https://lms.example")
	f.Add(`<\\evil.example/>; title="\"`, "https://lms.example")
	f.Fuzz(func(t *testing.T, header, baseURL string) {
		base, ok := ParseURL(baseURL)
		if !ok {
			t.Skip()
		}
		next := Link(http.Header{"Link": {header}}, "next")
		if next == "" {
			return
		}
		if !strings.Contains(strings.ToLower(header), "next") || !strings.Contains(header, "<") {
			t.Fatalf("%q has %q", header, next)
		}
		got, ok := Within(base, next)
		if !ok {
			return
		}
		// What an HTTP client makes of it.
		req, err := http.NewRequest(http.MethodGet, got, nil)
		if err != nil {
			t.Fatalf("%q cannot be asked: %v", got, err)
		}
		if u := req.URL; u.Scheme != base.Scheme || !strings.EqualFold(u.Hostname(), base.Hostname()) || port(u) != port(base) || u.User != nil {
			t.Fatalf("from %s to %s", base, u)
		}
		if _, err := url.Parse(got); err != nil {
			t.Fatal(err)
		}
	})
}

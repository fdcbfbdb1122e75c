package pages

import (
	"encoding/json"
	"html"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func toolFrame(change func(*ToolFrame)) ToolFrame {
	f := samples()["tool"].(ToolFrame)
	change(&f)
	return f
}

func TestToolFrameKnowsTheOriginsOfTheTool(t *testing.T) {
	for name, tc := range map[string]struct {
		urls, want []string
	}{
		"paths do not matter":            {[]string{"https://a.example/login?x=1", "https://a.example"}, []string{"https://a.example"}},
		"schemes and ports do":           {[]string{"http://a.localhost:1/", "http://a.localhost:2/"}, []string{"http://a.localhost:1", "http://a.localhost:2"}},
		"as browsers write them":         {[]string{"HTTPS://A.Example:443/", "http://localhost:80", "https://a.example:/"}, []string{"https://a.example", "http://localhost"}},
		"not the default of the other":   {[]string{"http://localhost:443/"}, []string{"http://localhost:443"}},
		"an IPv6 address":                {[]string{"http://[::1]:8080/x"}, []string{"http://[::1]:8080"}},
		"a user name is not an origin":   {[]string{"https://a.example@b.example/"}, []string{"https://b.example"}},
		"none":                           {nil, nil},
		"a path":                         {[]string{"/x"}, nil},
		"a host that could end the list": {[]string{"https://a.example;b/"}, nil},
		"a host of several words":        {[]string{"https://a.example'*'/"}, nil},
		"a host in another script":       {[]string{"https://é.example/"}, nil},
		"one of two is wrong":            {[]string{"https://a.example", "ftp://a.example"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			err := toolFrame(func(f *ToolFrame) { f.ToolURLs = tc.urls }).Write(w, View{})
			if tc.want == nil {
				if err == nil || w.Body.Len() != 0 {
					t.Fatalf("accepted:\n%s", w.Body)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var settings toolSettings
			if err := json.Unmarshal([]byte(match(t, w.Body.String(), `id="settings">(.*?)</script>`)), &settings); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, settings.Origins); diff != "" {
				t.Errorf("origins (-want +got):\n%s", diff)
			}
			list := " " + strings.Join(tc.want, " ")
			for _, permission := range strings.Split(html.UnescapeString(match(t, w.Body.String(), ` allow="(.*?)"`)), "; ") {
				if !strings.HasSuffix(permission, list) || strings.Count(permission, " ") != len(tc.want) {
					t.Errorf("%q is not limited to the tool", permission)
				}
			}
		})
	}
}

func match(t *testing.T, body, pattern string) string {
	t.Helper()
	m := regexp.MustCompile("(?s)" + pattern).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no %s in:\n%s", pattern, body)
	}
	return m[1]
}

func TestToolFrameSettingsSurviveTheirJourney(t *testing.T) {
	hostile := `/a?q=</script><!--"'&` + "\u2028"
	f := toolFrame(func(f *ToolFrame) { f.Reload, f.ReturnURL = hostile, hostile })
	var got toolSettings
	if err := json.Unmarshal([]byte(match(t, get(t, f, View{}).Body.String(), `id="settings">(.*?)</script>`)), &got); err != nil {
		t.Fatal(err)
	}
	if got.Reload != hostile || got.Back != hostile {
		t.Errorf("settings = %+v", got)
	}
}

func TestToolFrameSources(t *testing.T) {
	for given, want := range map[string]string{
		"":                             "https:",
		"https: http://*.localhost:*":  "https: http://*.localhost:*",
		"https://a.example; img-src *": "'none'",
		"https:, default-src *":        "'none'",
	} {
		w := get(t, toolFrame(func(f *ToolFrame) { f.FrameSources = given }), View{})
		_, rest, _ := strings.Cut(w.Header().Get("Content-Security-Policy"), "frame-src ")
		if got, _, _ := strings.Cut(rest, ";"); got != want {
			t.Errorf("%q: frame-src %q, want %q", given, got, want)
		}
	}
}

func TestToolFrameIsFilledInOneWay(t *testing.T) {
	for name, f := range map[string]ToolFrame{
		"neither": toolFrame(func(f *ToolFrame) { f.Src = "" }),
		"both":    toolFrame(func(f *ToolFrame) { f.Form = &AutoSubmit{Action: "/x"} }),
	} {
		w := httptest.NewRecorder()
		if err := f.Write(w, View{}); err == nil || w.Body.Len() != 0 {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestToolFrameLinksBackOnlyIfThereIsAPlace(t *testing.T) {
	if body := get(t, toolFrame(func(*ToolFrame) {}), View{}).Body.String(); !strings.Contains(body, ">Back to the academy</a>") {
		t.Errorf("no link back in:\n%s", body)
	}
	if body := get(t, toolFrame(func(f *ToolFrame) { f.ReturnURL = "" }), View{}).Body.String(); strings.Contains(body, "<a ") {
		t.Errorf("a link to nowhere in:\n%s", body)
	}
}

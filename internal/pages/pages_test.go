package pages

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

type page interface {
	Write(http.ResponseWriter, View) error
}

func get(t *testing.T, p page, v View) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := p.Write(w, v); err != nil {
		t.Fatalf("Write: %v", err)
	}
	return w
}

func samples() map[string]page {
	return map[string]page{
		"error-missing": Error{
			Code: "MissingUserData", Status: 403, Reference: "7F3K-2Q", Activity: "Working safely at height",
			Integration: "Moodle at Example University", Missing: []string{"email", "family_name", "custom"},
		},
		"error-replayed":   Error{Code: "Replayed", Status: 409, Reference: "7F3K-2Q"},
		"error-details":    Error{Code: "ParameterMissing", Status: 400, Reference: "7F3K-2Q", Details: []string{"resource_link_id"}},
		"error-overloaded": Error{Code: "Overloaded", Status: 503},
		"error-retry":      Error{Code: "Overloaded", Status: 503, Retry: true},
		"error-tool":       Error{Code: "RedirectURIMismatch", Status: 400, Reference: "7F3K-2Q", Activity: "First aid", Tool: "Simulation Lab"},
		"error-unknown":    Error{Code: "SomethingNew", Status: 404, Reference: "7F3K-2Q"},
		"open": OpenInNewWindow{
			Title: "Working safely at height", Description: "Ladders & scaffolds", DurationMinutes: 45,
			Action: "https://lti.acme.example/open", TokenField: "token", Token: "t0k3n",
		},
		"submit": AutoSubmit{
			Action: "https://moodle.example.edu/mod/lti/auth.php?a=1&b=2",
			Fields: []Field{{"iss", "https://lti.acme.example"}, {"submit", `"quoted" & <tagged>`}},
		},
		"info": Info{Activity: "Working safely at height"},
		"start": StartInWindow{
			Title: "First aid", Description: "Bandages & burns", DurationMinutes: 90, Address: "/activities/first-aid/start",
		},
		"tool": ToolFrame{
			Title: "First aid", ReturnURL: "https://academy.acme.example/courses/7?a=1&b=2", Reload: "/activities/first-aid/start",
			ToolURLs: []string{"https://tool.example/login", "https://tool.example:8443/launch"},
			Src:      "https://tool.example/login?iss=https%3A%2F%2Flti.acme.example&login_hint=1",
		},
		"tool-form": ToolFrame{
			Title: "First aid", Reload: "/activities/first-aid/start", ToolURLs: []string{"https://tool.example/lti"},
			FrameSources: "https: http://*.localhost:*",
			Form: &AutoSubmit{
				Action: "https://tool.example/lti?a=1&b=2",
				Fields: []Field{{"oauth_version", "1.0"}, {"submit", `"quoted" & <tagged>`}},
			},
		},
		"leave": LeaveFrame{Address: "https://academy.acme.example/courses/7?a=1&lti_msg=Well+done"},
		"register": Register{
			Academy: "Acme Academy", Platform: "Moodle at Example University", Host: "moodle.example.edu", Action: "/platforms/moodle/register",
			Fields: []Field{{"token", "t0k3n"}, {"openid_configuration", "https://moodle.example.edu/mod/lti/openid-configuration.php?a=1&b=2"}},
		},
		"registered": Registered{ID: "0123456789abcdef0123", Academy: "Acme Academy", Host: "moodle.example.edu"},
		"error-back": Error{
			Code: "ContentTypeNotAccepted", Status: 400, Reference: "7F3K-2Q", Integration: "Moodle at Example University",
			Back: &AutoSubmit{Action: "/platforms/moodle/pick", Fields: []Field{{"picker", "t0k3n"}, {"do", "decline"}}},
		},
		"error-unlinked-teacher": Error{Code: "ActivityUnknown", Status: 404, Reference: "7F3K-2Q", Unlinked: UnlinkedTeacher},
		"error-unlinked-learner": Error{Code: "ActivityUnknown", Status: 404, Reference: "7F3K-2Q", Unlinked: UnlinkedLearner},
		"picker": Picker{
			Integration: "Moodle at Example University", Action: "/platforms/moodle/pick", Token: "t0k3n", Multiple: true,
			Query: `"ladders" & more`, Type: "Microlearning", Types: []string{"ELearning", "Microlearning", "LearningPlaylist"},
			Found: 42, Page: 2, Pages: 3,
			Items: []PickerItem{
				{Name: "height", Title: "Working safely at height", Description: "Ladders & scaffolds", Type: "Microlearning", DurationMinutes: 45, Chosen: true},
				{Name: "fire", Title: "Fire <extinguishers>", Type: "Microlearning"},
			},
			Chosen: []PickerItem{{Name: "first-aid", Title: "First aid", Type: "ELearning", DurationMinutes: 90, Chosen: true}},
		},
		"picker-one": Picker{
			Integration: "Campus", Action: "/platforms/campus/pick", Token: "t0k3n", Types: []string{"ELearning"}, Found: 1, Page: 1, Pages: 1,
			Items: []PickerItem{{Name: "height", Title: "Working safely at height", Type: "ELearning"}}, Problem: ProblemNothing,
		},
		"picker-gone": Picker{
			Integration: "Campus", Action: "/platforms/campus/pick", Token: "t0k3n", Multiple: true, Types: []string{"ELearning"}, Page: 1, Pages: 1,
			Query: "fire", Problem: ProblemGone, Gone: []string{"fire", "smoke"},
		},
		"picker-empty": Picker{Integration: "Campus", Action: "/platforms/campus/pick", Token: "t0k3n", Types: []string{"ELearning"}, Page: 1, Pages: 1},
		"error-choosing": Error{
			Code: "AudienceMismatch", Status: 403, Reference: "7F3K-2Q", Tool: "Simulation Lab", ChooseAgain: "/tools/lab/choose",
		},
		"choose": ChooseInWindow{Tool: "Simulation Lab", Address: "/tools/lab/choose"},
		"chosen": Chosen{
			Tool: "Simulation Lab", Message: "Two & more", FileName: "lab.yaml", ChooseAgain: "/tools/lab/choose",
			Items: []ChosenItem{
				{Name: "fire", Title: "Fire <1>", Text: "Put it out.", Address: "https://lab.example/fire", Notes: []string{"chosenGraded", "chosenLimited"}},
				{Title: "A page", Address: "https://lab.example/page", Unusable: "chosenWrongType"},
			},
			YAML: "metadata:\n  name: \"fire\"\n",
		},
		"chosen-nothing":  Chosen{Tool: "Simulation Lab", Problem: "The catalogue is closed.", ChooseAgain: "/tools/lab/choose"},
		"chosen-unusable": Chosen{Tool: "Simulation Lab", ChooseAgain: "/tools/lab/choose", Items: []ChosenItem{{Title: "A file", Unusable: "chosenWrongType"}}},
		"store": LeaveAtPlatform{
			PlatformStorage: PlatformStorage{Origin: "https://moodle.example.edu", Target: "_parent", Key: "lti_state_n0nce"},
			Value:           "s3cret", Next: "https://moodle.example.edu/mod/lti/auth.php?a=1&b=2",
			Otherwise: AutoSubmit{Action: "/platforms/moodle/login?lti_login=again", Fields: []Field{{"lti_message_hint", `{"quoted": "& <tagged>"}`}}},
		},
		"ask": AskPlatform{
			PlatformStorage: PlatformStorage{Origin: "https://canvas.example", Target: "post_message_forwarding", Key: "lti_state_n0nce"},
			Field:           "stored_secret", Form: AutoSubmit{Action: "/platforms/canvas/launch", Fields: []Field{{"state", "s1.st4te"}, {"id_token", "t0.k3.n"}}},
		},
		"login": LoginInNewWindow{
			Title: "Working safely at height", Action: "/platforms/moodle/login?lti_login=window",
			Fields: []Field{{"iss", "https://moodle.example.edu"}, {"lti_message_hint", `{"quoted": "& <tagged>"}`}},
		},
		"login-untitled": LoginInNewWindow{Action: "/platforms/moodle/login?lti_login=window"},
	}
}

func TestGolden(t *testing.T) {
	for name, p := range samples() {
		for _, lang := range Languages() {
			t.Run(name+"."+lang, func(t *testing.T) {
				w := get(t, p, View{Lang: lang})
				var b bytes.Buffer
				fmt.Fprintf(&b, "%d\n", w.Code)
				for _, k := range slices.Sorted(maps.Keys(w.Header())) {
					fmt.Fprintf(&b, "%s: %s\n", k, w.Header().Get(k))
				}
				fmt.Fprintf(&b, "\n%s", w.Body)
				file := filepath.Join("testdata", name+"."+lang+".golden")
				if *update {
					if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), b.String()); diff != "" {
					t.Errorf("page (-want +got); run with -update when intended:\n%s", diff)
				}
			})
		}
	}
}

// A prepared page is the page, whoever was answered with it before.
func TestAPreparedPageIsTheSame(t *testing.T) {
	p := Error{Code: "Overloaded", Status: 503, Retry: true}
	want := get(t, p, View{Lang: "nl", FrameAncestors: "https://lms.example"})
	prepared, err := p.Prepare(View{Lang: "nl", FrameAncestors: "https://lms.example"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		w := httptest.NewRecorder()
		w.Header().Set("Retry-After", "3")
		prepared.Answer(w)
		if w.Header().Get("Retry-After") != "3" {
			t.Error("what was in the header before is gone")
		}
		w.Header().Del("Retry-After")
		if w.Code != want.Code || !bytes.Equal(w.Body.Bytes(), want.Body.Bytes()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if diff := cmp.Diff(want.Header(), w.Header()); diff != "" {
			t.Error(diff)
		}
		w.Header().Set("Content-Language", "en")
	}
	if _, err := (Error{ChooseAgain: "javascript:alert(1)"}).Prepare(View{}); err == nil {
		t.Error("a page that cannot be rendered was prepared")
	}
}

func TestPolicyMatchesWhatIsInlined(t *testing.T) {
	for name, p := range samples() {
		w := get(t, p, View{})
		csp, body := w.Header().Get("Content-Security-Policy"), w.Body.String()
		styles := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(body, -1)
		if len(styles) != 1 || !strings.Contains(csp, "style-src "+cspHash(styles[0][1])+"; ") {
			t.Errorf("%s: the policy does not allow the page's style: %s", name, csp)
		}
		scripts := regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(body, -1)
		embeds := strings.HasPrefix(name, "tool")
		switch {
		case !embeds && !slices.Contains([]string{"submit", "leave", "registered", "chosen", "store", "ask"}, name):
			if strings.Contains(body, "<script") || strings.Contains(csp, "script-src") {
				t.Errorf("%s: a page that needs no script has or allows one", name)
			}
		case len(scripts) != 1 || !strings.Contains(csp, "script-src "+cspHash(scripts[0][1])+";"):
			t.Errorf("%s: the policy does not allow the page's script: %s", name, csp)
		}
		if embeds != strings.Contains(csp, "frame-src") || !strings.HasPrefix(csp, "default-src 'none'; ") {
			t.Errorf("%s: the policy allows too much or too little in frames: %s", name, csp)
		}
		if hasForm := strings.Contains(body, "<form"); hasForm == strings.Contains(csp, "form-action") {
			t.Errorf("%s: form-action must be there exactly without a form: %s", name, csp)
		}
		bad := []string{"unsafe", "style=", "onclick", "onload"}
		if !embeds {
			bad = append(bad, "src=")
			if name != "start" && name != "leave" && name != "error-choosing" && name != "error-retry" && !strings.HasPrefix(name, "cho") {
				bad = append(bad, "href=")
			}
		}
		for _, bad := range bad {
			if strings.Contains(body+csp, bad) {
				t.Errorf("%s: contains %q", name, bad)
			}
		}
		referrer := "no-referrer"
		if name == "ask" {
			referrer = "same-origin"
		}
		for header, want := range map[string]string{"Referrer-Policy": referrer, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s: %s = %q, want %q", name, header, got, want)
			}
		}
	}
}

func TestFrameAncestors(t *testing.T) {
	for _, tc := range []struct {
		name, given, want string
		page              page
	}{
		{"an error may appear in any https frame", "", "https:", Error{}},
		{"the info page is never framed", "", "'none'", Info{}},
		{"the page around a tool is never framed", "", "'none'", samples()["tool"]},
		{"the caller may frame the page around a tool", "https://a.example", "https://a.example", samples()["tool"]},
		{"the step into a window is for frames", "", "https:", StartInWindow{Address: "/x"}},
		{"the caller's list counts", "https: http://*.localhost:*", "https: http://*.localhost:*", Error{}},
		{"the caller can forbid", "'none'", "'none'", Error{}},
		{"extra space is no matter", "  https://a.example   https://b.example ", "https://a.example https://b.example", Error{}},
		{"a source cannot end the directive", "https://a.example;script-src * https://c.example", "'none'", Error{}},
		{"a list cannot start another policy", "https://a.example, default-src *", "'none'", Error{}},
		{"a line break does not split the header", "https://a.example\r\nX-Evil: 1", "'none'", Error{}},
		{"only space means nobody", " ", "'none'", Error{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := get(t, tc.page, View{FrameAncestors: tc.given})
			csp := w.Header().Get("Content-Security-Policy")
			if _, got, _ := strings.Cut(csp, "frame-ancestors "); got != tc.want {
				t.Errorf("frame-ancestors = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestHostileText(t *testing.T) {
	const evil = `</title></style></script><script>alert(1)</script><img src=x onerror=alert(1)>"'` + "`{{.}}"
	for name, p := range map[string]page{
		"error": Error{
			Code: evil, Status: 400, Reference: evil, Activity: evil, Integration: evil, Tool: evil,
			Missing: []string{evil}, Details: []string{evil}, Back: &AutoSubmit{Action: "/back", Fields: []Field{{evil, evil}}},
		},
		"picker": Picker{
			Integration: evil, Action: "/pick?" + evil[:8], Token: evil, Query: evil, Type: evil, Types: []string{evil},
			Found: 2, Page: 1, Pages: 1, Items: []PickerItem{{Name: evil, Title: evil, Description: evil, Type: evil}},
			Chosen: []PickerItem{{Name: evil, Title: evil, Description: evil, Type: evil, Chosen: true}}, Problem: ProblemGone, Gone: []string{evil},
		},
		"open":   OpenInNewWindow{Title: evil, Description: evil, Action: "/open?" + evil[:8], TokenField: evil, Token: evil},
		"submit": AutoSubmit{Action: "https://a.example/?q=%22%3E<script>", Fields: []Field{{evil, evil}}},
		"info":   Info{Activity: evil},
		"start":  StartInWindow{Title: evil, Description: evil, Address: "/a?q=%22%3E<script>" + evil},
		"tool": ToolFrame{
			Title: evil, ReturnURL: "https://a.example/?q=" + evil, Reload: "/a?q=" + evil, ToolURLs: []string{"https://a.example/" + evil},
			Src: "https://a.example/?q=" + evil,
		},
		"leave":      LeaveFrame{Address: "https://a.example/?q=%22%3E<script>" + evil},
		"register":   Register{Academy: evil, Platform: evil, Host: evil, Action: "/a?q=%22%3E<script>", Fields: []Field{{evil, evil}}},
		"registered": Registered{ID: evil, Academy: evil, Host: evil},
		"choose":     ChooseInWindow{Tool: evil, Address: "/a?q=" + evil},
		"chosen": Chosen{
			Tool: evil, Message: evil, Problem: evil, YAML: evil + "</textarea>", FileName: evil, ChooseAgain: "/a?q=" + evil,
			Items: []ChosenItem{{Name: evil, Title: evil, Text: evil, Address: evil}, {Title: evil, Address: "javascript:alert(1)", Unusable: "chosenWrongAddress"}},
		},
		"store": LeaveAtPlatform{
			PlatformStorage: PlatformStorage{Origin: "https://a.example", Target: evil, Key: evil}, Value: evil,
			Next: "https://a.example/?q=" + evil, Otherwise: AutoSubmit{Action: "/x", Fields: []Field{{evil, evil}}},
		},
		"ask": AskPlatform{
			PlatformStorage: PlatformStorage{Origin: "https://a.example", Target: evil, Key: evil}, Field: evil,
			Form: AutoSubmit{Action: "/x", Fields: []Field{{evil, evil}}},
		},
		"login": LoginInNewWindow{Title: evil, Action: "/x", Fields: []Field{{evil, evil}}},
		"tool-form": ToolFrame{
			Title: evil, Reload: "/a", ToolURLs: []string{"https://a.example"},
			Form: &AutoSubmit{Action: "https://a.example/?q=%22%3E<script>", Fields: []Field{{evil, evil}}},
		},
	} {
		body := get(t, p, View{Lang: evil}).Body.String()
		want := map[string]int{"submit": 1, "leave": 1, "registered": 1, "chosen": 1, "tool": 2, "tool-form": 2, "store": 2, "ask": 2}[name]
		if got := strings.Count(body, "<script"); got != want {
			t.Errorf("%s: %d script elements, want %d:\n%s", name, got, want, body)
		}
		if strings.Contains(body, "<img") || strings.Count(body, "</title>") != 1 || strings.Count(body, "</style>") != 1 {
			t.Errorf("%s: text became markup:\n%s", name, body)
		}
		if !strings.Contains(body, `<html lang="en">`) {
			t.Errorf("%s: unexpected language", name)
		}
	}
}

func TestHiddenValuesArriveUnchanged(t *testing.T) {
	value := "a \"b\" <c> & 'd' é +%2B\u2028"
	body := get(t, AutoSubmit{Action: "/x", Fields: []Field{{"v", value}}}, View{}).Body.String()
	m := regexp.MustCompile(`name="v" value="([^"]*)"`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no field in:\n%s", body)
	}
	got := strings.NewReplacer("&#34;", `"`, "&lt;", "<", "&gt;", ">", "&#39;", "'", "&#43;", "+", "&amp;", "&").Replace(m[1])
	if got != value {
		t.Errorf("value = %q, want %q", got, value)
	}
}

func TestActionsThatRunSomethingAreRefused(t *testing.T) {
	for _, action := range []string{"", "javascript:alert(1)", "data:text/html,x", "//evil.example/x", `/\evil.example/x`, "relative", "https://", "https:x", "ftp://a.example/", "https://a b/", "/\x00"} {
		storage := PlatformStorage{Origin: "https://a.example", Target: "_parent", Key: "k"}
		pages := map[string]page{
			"submit": AutoSubmit{Action: action},
			"open":   OpenInNewWindow{Action: action, TokenField: "t", Token: "s3cret"},
			"start":  StartInWindow{Address: action},
			"form":   ToolFrame{Reload: "/x", ToolURLs: []string{"https://a.example"}, Form: &AutoSubmit{Action: action}},
			"src":    ToolFrame{Reload: "/x", ToolURLs: []string{"https://a.example"}, Src: action},
			"choose": ChooseInWindow{Address: action},
			"chosen": Chosen{ChooseAgain: action},
			"error":  Error{ChooseAgain: action},
			"reload": ToolFrame{Reload: action, ToolURLs: []string{"https://a.example"}, Src: "/x"},
			"tool":   ToolFrame{Reload: "/x", ToolURLs: []string{action}, Src: "/x"},
			"return": ToolFrame{Reload: "/x", ToolURLs: []string{"https://a.example"}, Src: "/x", ReturnURL: action},
			"picker": Picker{Action: action, Token: "s3cret"},
			"back":   Error{Back: &AutoSubmit{Action: action}},
			"login":  LoginInNewWindow{Action: action},
			"next":   LeaveAtPlatform{PlatformStorage: storage, Value: "s3cret", Next: action, Otherwise: AutoSubmit{Action: "/x"}},
			"store":  LeaveAtPlatform{PlatformStorage: storage, Value: "s3cret", Next: "https://a.example", Otherwise: AutoSubmit{Action: action}},
			"ask":    AskPlatform{PlatformStorage: storage, Field: "f", Form: AutoSubmit{Action: action}},
			"origin": AskPlatform{PlatformStorage: PlatformStorage{Origin: action}, Field: "f", Form: AutoSubmit{Action: "/x"}},
		}
		if action == "" {
			delete(pages, "return") // there need not be one
			delete(pages, "error")
		}
		for name, p := range pages {
			w := httptest.NewRecorder()
			err := p.Write(w, View{})
			if err == nil {
				t.Errorf("%s: action %q accepted", name, action)
			} else if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: error tells the token", name)
			}
			if w.Body.Len() != 0 {
				t.Errorf("%s: action %q: something was written", name, action)
			}
		}
	}
	for _, p := range []page{OpenInNewWindow{Action: "/x"}, Picker{Action: "/x"}} {
		if err := p.Write(httptest.NewRecorder(), View{}); err == nil {
			t.Errorf("a page without a token was accepted: %T", p)
		}
	}
}

func TestEveryPageHasAHeading(t *testing.T) {
	for name, p := range map[string]page{
		"error": Error{}, "submit": AutoSubmit{Action: "/x"}, "info": Info{}, "login": LoginInNewWindow{Action: "/x"},
		"open": OpenInNewWindow{Action: "/x", TokenField: "t", Token: "1"}, "start": StartInWindow{Address: "/x"},
		"tool": ToolFrame{Reload: "/x", ToolURLs: []string{"https://a.example"}, Src: "/x"},
	} {
		body := get(t, p, View{}).Body.String()
		if strings.Count(body, "<h1>") != 1 || strings.Contains(body, "<h1></h1>") || strings.Contains(body, "<title></title>") {
			t.Errorf("%s: no heading or title in:\n%s", name, body)
		}
	}
}

// A login does not tell whether it begins a launch or a choice, so that the page may not either.
func TestALoginIsNotSaidToOpenAnActivity(t *testing.T) {
	for lang, word := range map[string]string{"en": "activit", "nl": "activiteit"} {
		body := get(t, LoginInNewWindow{Action: "/x"}, View{Lang: lang}).Body.String()
		if strings.Contains(strings.ToLower(body), word) {
			t.Errorf("%s: the page speaks of an activity:\n%s", lang, body)
		}
	}
}

func TestStatus(t *testing.T) {
	for given, want := range map[int]int{403: 403, 503: 503, 0: 500, 200: 500, 302: 500, 999: 500} {
		if got := get(t, Error{Code: "Replayed", Status: given}, View{}).Code; got != want {
			t.Errorf("status %d: answered %d, want %d", given, got, want)
		}
	}
}

func TestLanguagesAgree(t *testing.T) {
	en := catalogs["en"]
	for _, lang := range Languages() {
		c := catalogs[lang]
		for name, pair := range map[string][2][]string{
			"ui":       {slices.Sorted(maps.Keys(en.UI)), slices.Sorted(maps.Keys(c.UI))},
			"advice":   {slices.Sorted(maps.Keys(en.Advice)), slices.Sorted(maps.Keys(c.Advice))},
			"fields":   {slices.Sorted(maps.Keys(en.Fields)), slices.Sorted(maps.Keys(c.Fields))},
			"fallback": {slices.Sorted(maps.Keys(en.Fallback)), slices.Sorted(maps.Keys(c.Fallback))},
			"reasons":  {slices.Sorted(maps.Keys(en.Reasons)), slices.Sorted(maps.Keys(c.Reasons))},
		} {
			if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
				t.Errorf("%s %s (-en +%s):\n%s", lang, name, lang, diff)
			}
		}
		for key, text := range c.UI {
			if text == "" {
				t.Errorf("%s: ui %s is empty", lang, key)
			}
		}
		for key, f := range c.Fields {
			if f.Label == "" || f.Setting == "" {
				t.Errorf("%s: field %s is incomplete", lang, key)
			}
		}
		reasons := maps.Clone(c.Reasons)
		maps.Copy(reasons, c.Fallback)
		for code, r := range reasons {
			other, ok := en.Reasons[code]
			if !ok {
				other = en.Fallback[code]
			}
			if r.Happened == "" || c.Advice[r.Learner] == "" {
				t.Errorf("%s: %s does not say what happened or what to do", lang, code)
			}
			if (r.Audience == "") != (r.Administrator == "") || !slices.Contains([]string{"", "otherParty", "tool", "academy"}, r.Audience) {
				t.Errorf("%s: %s: audience %q does not fit its text", lang, code, r.Audience)
			}
			if r.Learner == "tell" && r.Administrator == "" {
				t.Errorf("%s: %s sends the learner to an administrator without a text for them", lang, code)
			}
			if r.Audience != other.Audience || r.Learner != other.Learner || (r.Title == "") != (other.Title == "") {
				t.Errorf("%s: %s differs from English in more than words", lang, code)
			}
			if lang != "en" && r.Happened == other.Happened {
				t.Errorf("%s: %s is not translated", lang, code)
			}
		}
	}
}

func TestCovers(t *testing.T) {
	for _, lang := range Languages() {
		if !Covers(lang, "SignatureInvalid") || Covers(lang, "NoSuchCode") || Covers(lang, "") {
			t.Errorf("%s: Covers is wrong", lang)
		}
	}
	if Covers("de", "SignatureInvalid") {
		t.Error("a language that does not exist covers a code")
	}
}

func TestChooseLanguage(t *testing.T) {
	for name, tc := range map[string]struct {
		accept string
		hints  []string
		want   string
	}{
		"nothing known":                   {"", nil, "en"},
		"the header":                      {"nl", nil, "nl"},
		"a region":                        {"nl-BE, en;q=0.8", nil, "nl"},
		"weights":                         {"nl;q=0.2, en-GB;q=0.9", nil, "en"},
		"spaces around weights":           {"en ; q = 0.1 , NL ; q = 0.2", nil, "nl"},
		"a language we lack is skipped":   {"de, fr;q=0.9, nl;q=0.1", nil, "nl"},
		"only languages we lack":          {"de, fr", nil, "en"},
		"refused by weight zero":          {"nl;q=0", nil, "en"},
		"anything":                        {"*", nil, "en"},
		"anything after a known one":      {"nl, *;q=0.5", nil, "nl"},
		"a longer word is not a language": {"nlx", nil, "en"},
		"a broken weight is skipped":      {"nl;q=x, en", nil, "en"},
		"not a number":                    {"nl;q=NaN, en;q=0.1", nil, "en"},
		"a hint wins":                     {"en", []string{"nl_NL"}, "nl"},
		"a hint we lack does not":         {"nl", []string{"", "de-DE"}, "nl"},
		"the first known hint":            {"en", []string{"de", "nl", "en"}, "nl"},
	} {
		if got := ChooseLanguage(tc.accept, tc.hints...); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestDuration(t *testing.T) {
	for minutes, want := range map[int]string{-1: "", 0: "", 1: "1 minute", 45: "45 minutes", 60: "1 hour", 61: "1 hour 1 minute", 150: "2 hours 30 minutes"} {
		if got := catalogs["en"].duration(minutes); got != want {
			t.Errorf("%d: %q, want %q", minutes, got, want)
		}
	}
	if got := catalogs["nl"].duration(150); got != "2 uur 30 minuten" {
		t.Errorf("nl: %q", got)
	}
}

//go:build browser

package pages

import (
	"fmt"
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestToolFrameInABrowser lets hack/peers/storage-check.mjs judge the page.
func TestToolFrameInABrowser(t *testing.T) {
	judge(t, "storage-check.mjs", func(w http.ResponseWriter, r *http.Request, host, port string) error {
		if host == "lti.localhost" {
			return serveUs(w, r, port)
		}
		serveOther(w, r, host)
		return nil
	})
}

// judge serves pages at *.localhost and lets a script of hack/peers judge them in Chromium, with node and the peers'
// node_modules. "make demo-check" runs these tests; without one of them they fail.
func judge(t *testing.T, script string, serve func(w http.ResponseWriter, r *http.Request, host, port string) error, args ...string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, port, err := net.SplitHostPort(r.Host)
		if err == nil {
			err = r.ParseForm()
		}
		if err == nil {
			err = serve(w, r, host, port)
		}
		if err != nil {
			t.Error(err)
			http.Error(w, "see the test's log", http.StatusInternalServerError)
		}
	}))
	defer server.Close()

	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"../../hack/peers/" + script, port}, args...)
	out, err := exec.CommandContext(t.Context(), "node", args...).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^[1-9]\d* passed, 0 failed$`).Match(out) {
		t.Error("the checks do not run to their end")
	}
}

// serveUs is the launch handler, as far as the pages need one.
func serveUs(w http.ResponseWriter, r *http.Request, port string) error {
	const session, marker = "session", "reposted"
	at := func(host string) string { return "http://" + host + ".localhost:" + port }
	v := View{FrameAncestors: "https: http://*.localhost:*"}
	switch r.URL.Path {
	case "/callback": // where the learner comes from the sign-in
		f := ToolFrame{
			Title: "First aid & more", ReturnURL: at("academy") + "/courses/7", Reload: "/activities/first-aid/start",
			ToolURLs: []string{at("tool") + "/login", at("tool2") + "/launch"}, FrameSources: "https: http://*.localhost:*",
		}
		switch r.URL.Query().Get("variant") {
		case "no-return":
			f.ReturnURL = ""
		case "https-only":
			f.FrameSources = ""
		case "form":
			f.Form = &AutoSubmit{Action: at("tool") + "/lti", Fields: []Field{{"submit", `"quoted" & <tagged>`}}}
		}
		if f.Form == nil {
			f.Src = at("tool") + "/login?login_hint=1"
		}
		return f.Write(w, View{})
	case "/activities/first-aid/start":
		http.SetCookie(w, &http.Cookie{Name: session, Value: "1", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
		return StartInWindow{Title: "First aid", Address: r.URL.Path}.Write(w, v)
	case "/authorize":
		if _, err := r.Cookie(session); err != nil && r.PostForm.Get(marker) == "" {
			fields := []Field{{marker, "1"}}
			for name := range r.PostForm {
				fields = append(fields, Field{name, r.PostForm.Get(name)})
			}
			return AutoSubmit{Action: r.URL.Path, Fields: fields}.Write(w, v)
		}
		serveOther(w, r, "authorize")
	default:
		http.NotFound(w, r)
	}
	return nil
}

// serveOther is a page of a tool, of the academy or of a stranger. It says what was posted and which cookies came.
func serveOther(w http.ResponseWriter, r *http.Request, name string) {
	var body strings.Builder
	fmt.Fprintf(&body, "<!DOCTYPE html><html lang=\"en\"><title>%s</title><h1>%s</h1><pre id=\"posted\">%s</pre><pre id=\"cookies\">%s</pre>",
		html.EscapeString(name), html.EscapeString(name), html.EscapeString(r.PostForm.Encode()), html.EscapeString(r.Header.Get("Cookie")))
	if inner := r.Form.Get("inner"); inner != "" {
		fmt.Fprintf(&body, `<iframe title="inner" name="inner" src="%s"></iframe>`, html.EscapeString(inner))
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(body.String()))
}

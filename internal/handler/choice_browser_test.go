// SPDX-License-Identifier: Apache-2.0

//go:build browser

package handler_test

import (
	"fmt"
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lti-operator/lti-operator/internal/routing"
)

// screenshots is where the pages are to be seen afterwards.
const screenshots = "../../bin/screenshots"

// TestChoosingInABrowser lets hack/peers/picker-check.mjs choose activities in Chromium, in the frame of another system,
// without JavaScript, without cookies and with the keyboard alone. It needs node and the peers' node_modules.
func TestChoosingInABrowser(t *testing.T) {
	a := newPickingAcademy(t)
	server := httptest.NewUnstartedServer(nil)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	at := func(host string) string { return "http://" + host + ".localhost:" + port }
	a.republish(func(t *routing.Table) {
		t.Academy.Aliases = []string{at("lti")}
		t.Academy.FrameAncestors = []string{"https:", "http://*.localhost:*"}
	})
	// A list for each way to choose: the launch itself, which needs a cookie, was made before.
	list := func(settings map[string]any, lang string) answer {
		settings["deep_link_return_url"] = at("lms") + "/return"
		b := a.browser()
		b.header.Set("Accept-Language", lang)
		x := b.choose(settings)
		x.picker()
		return x
	}
	lists := map[string]answer{
		"many": list(map[string]any{}, "en"), "one": list(map[string]any{"accept_multiple": false}, "nl"),
		"cancel": list(map[string]any{}, "nl"), "look": list(map[string]any{}, "en"),
	}
	returned := make(chan string, 10)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := strings.Cut(r.Host, ".")
		name := strings.TrimPrefix(r.URL.Path, "/list/")
		switch {
		case host == "lms" && r.Method == http.MethodPost:
			returned <- r.FormValue("JWT")
			fmt.Fprint(w, `<!DOCTYPE html><html lang="en"><title>Back</title><h1 id="back">Back in the course</h1>`)
		case host == "lms":
			fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><title>Course</title><style>body{margin:0}iframe{border:0;width:100vw;height:100vh}</style>`+
				`<iframe title="Choose" name="tool" src="%s"></iframe>`, html.EscapeString(at("lti")+"/list/"+url.PathEscape(name)))
		case r.Method == http.MethodGet && lists[name].ResponseRecorder != nil:
			for header, values := range lists[name].Header() {
				if header != "Set-Cookie" {
					w.Header()[header] = values
				}
			}
			_, _ = w.Write(lists[name].Body.Bytes())
		default:
			a.public.ServeHTTP(w, r)
		}
	})
	server.Start()
	defer server.Close()

	dir, err := filepath.Abs(screenshots)
	if err != nil {
		t.Fatal(err)
	}
	check := exec.CommandContext(t.Context(), "node", "../../hack/peers/picker-check.mjs", port, dir)
	check.Env = append(os.Environ(), "CHECK_ONE_PROCESS=1")
	out, err := check.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^[1-9]\d* passed, 0 failed$`).Match(out) {
		t.Error("the checks do not run to their end")
	}
	close(returned)
	var chosen []string
	for token := range returned {
		w := httptest.NewRecorder()
		fmt.Fprintf(w, `<form action="%s"><input type="hidden" name="JWT" value="%s"></form>`, at("lms"), token)
		names := a.chosen(answer{w, t})
		slices.Sort(names)
		chosen = append(chosen, strings.Join(names, "+"))
	}
	slices.Sort(chosen)
	if want := []string{"", "cafe+ladder", "course-02"}; !slices.Equal(chosen, want) {
		t.Errorf("chosen %q instead of %q", chosen, want)
	}
}

// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/pages"
)

var referenceNumber = regexp.MustCompile(`data-testid="reference">([0-9A-Z]{4}-[0-9A-Z]{4})<`)

// refused checks the page, the status, the log line and the metric of a refusal. The harness looks for secrets in all of
// them.
func (a *academy) refused(x answer, code lti.Code) {
	a.t.Helper()
	body := x.Body.String()
	if got := x.reason(); got != code {
		a.t.Fatalf("refused with %q instead of %s: %d %s", got, code, x.Code, text(body))
	}
	if want := code.Reason().Status; x.Code != want {
		a.t.Errorf("status %d instead of %d: %s", x.Code, want, text(body))
	}
	csp := x.Header().Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") {
		a.t.Errorf("Content-Security-Policy %q", csp)
	}
	for header, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
	} {
		if got := x.Header().Get(header); got != want {
			a.t.Errorf("%s is %q instead of %q", header, got, want)
		}
	}
	reference := referenceNumber.FindStringSubmatch(body)
	if code == lti.Overloaded {
		if reference != nil {
			a.t.Error("a number that leads to no line of the log")
		}
		a.counted(code)
		return
	}
	if reference == nil {
		a.t.Fatalf("the page has no reference number: %s", text(body))
	}
	a.logged(code, reference[1])
}

// refusedJSON is refused for the addresses that programs use. It returns the OAuth error.
func (a *academy) refusedJSON(x answer, code lti.Code) string {
	a.t.Helper()
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Reason      string `json:"reason"`
		Reference   string `json:"reference"`
	}
	if err := json.Unmarshal(x.Body.Bytes(), &body); err != nil || x.Header().Get("Content-Type") != "application/json" {
		a.t.Fatalf("not JSON: %d %s", x.Code, x.Body)
	}
	status := code.Reason().Status
	if body.Error == "invalid_client" && x.Code == http.StatusBadRequest {
		status = http.StatusBadRequest // a token endpoint (RFC 6749 section 5.2)
	}
	if body.Error == "invalid_token" {
		status = http.StatusUnauthorized // RFC 6750 section 3.1
	}
	if body.Reason != string(code) || x.Code != status || !strings.HasPrefix(body.Description, code.Reason().Summary) {
		a.t.Fatalf("refused with %d %+v instead of %s", x.Code, body, code)
	}
	switch body.Error {
	case "invalid_client", "invalid_grant", "invalid_token", "invalid_request", "temporarily_unavailable",
		"invalid_scope", "unsupported_grant_type", "insufficient_scope", "server_error",
		"invalid_redirect_uri", "invalid_client_metadata", "access_denied":
	default:
		a.t.Errorf("error %q is none of OAuth's", body.Error)
	}
	challenged := x.Code == http.StatusUnauthorized || body.Error == "insufficient_scope"
	if later := x.Header().Get("Retry-After"); (later != "") != (x.Code == http.StatusServiceUnavailable) {
		a.t.Errorf("Retry-After %q with status %d", later, x.Code)
	}
	if challenge := x.Header().Get("WWW-Authenticate"); (challenge != "") != challenged {
		a.t.Errorf("WWW-Authenticate %q with status %d", challenge, x.Code)
	}
	if got := x.Header().Get("Cache-Control"); got != "no-store" {
		a.t.Errorf("Cache-Control is %q", got)
	}
	if code == lti.Overloaded {
		a.counted(code)
		return body.Error
	}
	a.logged(code, body.Reference)
	return body.Error
}

// refusedToTool is refused for the last request of the browser, an authentication request that is answered to the tool: with
// an error, and never with a token.
func (b *browser) refusedToTool(x answer, code lti.Code, oauthError string) {
	b.t.Helper()
	asked, err := url.ParseQuery(b.body)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.last.Method == http.MethodGet {
		asked = b.last.URL.Query()
	}
	if x.reason() != "" || strings.Count(x.Body.String(), "<form ") != 1 {
		b.t.Fatalf("%s is not told to the tool: %d %s", code, x.Code, text(x.Body.String()))
	}
	action, fields := x.posted()
	if action != asked.Get("redirect_uri") {
		b.t.Errorf("posted to %q", action)
	}
	want := url.Values{"error": {oauthError}}
	if states := asked["state"]; len(states) == 1 {
		want["state"] = states
	}
	description := fields.Get("error_description")
	if name, _, _ := strings.Cut(description, ":"); name != string(code) {
		b.t.Errorf("error_description %q instead of one of %s", description, code)
	}
	if fields.Del("error_description"); !maps.EqualFunc(fields, want, slices.Equal) {
		b.t.Errorf("posted %v instead of %v", fields, want)
	}
	reference := ""
	for line := range strings.Lines(b.log.String()) {
		var entry struct{ Msg, Reference string }
		if err := json.Unmarshal([]byte(line), &entry); err == nil && entry.Msg == "refused" {
			reference = entry.Reference
		}
	}
	b.logged(code, reference)
}

// logged checks that the log has one line about a refusal, and that it is counted.
func (a *academy) logged(code lti.Code, reference string) {
	a.t.Helper()
	found := 0
	for line := range strings.Lines(a.log.String()) {
		if !strings.Contains(line, reference) {
			continue
		}
		found++
		var entry struct{ Msg, Level, Reason, Reference, Path string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			a.t.Fatal(err)
		}
		ours := code.Reason().Status >= http.StatusInternalServerError
		if entry.Msg != "refused" || entry.Reason != string(code) || entry.Reference != reference || entry.Path == "" || (entry.Level == "ERROR") != ours {
			a.t.Errorf("log line %s", line)
		}
	}
	if found != 1 {
		a.t.Errorf("%d log lines have reason %s and reference %s", found, code, reference)
	}
	a.counted(code)
}

// counted checks that a metric has a refusal.
func (a *academy) counted(code lti.Code) {
	a.t.Helper()
	if !strings.Contains(a.metrics(), fmt.Sprintf(`reason=%q,result="refused"`, code)) {
		a.t.Errorf("no metric counts %s", code)
	}
}

// texts are what the pages say, by language.
var texts = sync.OnceValue(func() map[string]pageTexts {
	all := map[string]pageTexts{}
	for _, lang := range pages.Languages() {
		encoded, err := os.ReadFile("../pages/texts/" + lang + ".json")
		if err != nil {
			panic(err)
		}
		var t pageTexts
		if err := json.Unmarshal(encoded, &t); err != nil {
			panic(err)
		}
		all[lang] = t
	}
	return all
})

type pageTexts struct {
	UI      map[string]string
	Advice  map[string]string
	Fields  map[string]struct{ Label, Setting string }
	Reasons map[lti.Code]struct{ Title, Happened, Learner, Audience, Administrator string }
}

// advises checks that a page says in its language what happened and what to do, and returns what it says.
func (a *academy) advises(x answer, lang string, code lti.Code) string {
	a.t.Helper()
	page, t := text(x.Body.String()), texts()[lang]
	reason, ok := t.Reasons[code]
	if !ok || x.Header().Get("Content-Language") != lang {
		a.t.Fatalf("no text for %s, or language %q instead of %s", code, x.Header().Get("Content-Language"), lang)
	}
	wanted := []string{reason.Happened, t.UI["whatToDo"], t.Advice[reason.Learner]}
	if reason.Audience != "" {
		wanted = append(wanted, t.UI["for"+strings.ToUpper(reason.Audience[:1])+reason.Audience[1:]], reason.Administrator)
	}
	for _, want := range wanted {
		if want == "" || !strings.Contains(page, strings.Join(strings.Fields(want), " ")) {
			a.t.Errorf("the page in %s does not say %q: %s", lang, want, page)
		}
	}
	return reason.Happened
}

// namedMissing are the user data that an English page says are missing.
func (x answer) namedMissing() []string {
	var named []string
	page := text(x.Body.String())
	for name, field := range texts()["en"].Fields {
		if strings.Contains(page, field.Label+" : "+field.Setting) {
			named = append(named, name)
		}
	}
	slices.Sort(named)
	return named
}

// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.yaml.in/yaml/v3"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// choosingTable lets members of the group "course-authors" choose at the lab and at the rival.
func choosingTable(t *routing.Table) {
	t.Academy.Authors = &routing.Authors{Claim: "groups", Values: []string{"editors", "course-authors"}}
	for _, name := range []string{"lab", "rival"} {
		toolIn(t, name).LTI13.DeepLinkingURL = "https://" + name + ".example/choose?x=1"
	}
}

// author is a learner who is an author too.
func author(who jwt.MapClaims, groups ...string) jwt.MapClaims {
	who["groups"] = append([]string{"staff", "course-authors"}, groups...)
	return who
}

// choosing adds the authors to the academy of a case, whose browser is that of one.
func choosing(do func(b *learnerBrowser) answer) func(*browser) answer {
	return external(func(b *learnerBrowser) answer {
		b.republish(choosingTable)
		b.who = author(b.who)
		b.who["locale"] = "" // the language is that of the browser
		return do(b)
	})
}

func newChoosingAcademy(t *testing.T) *externalAcademy {
	t.Helper()
	a := newExternalAcademy(t)
	a.republish(choosingTable)
	return a
}

// choose opens the address for authors, signs in, and returns what comes back.
func (b *learnerBrowser) choose(tool string) answer {
	b.t.Helper()
	b.dest = "document"
	asked := b.do(http.MethodGet, "/tools/"+tool+"/choose", nil).location().Query()
	b.idp.claims, b.idp.nonce = b.who, asked.Get("nonce")
	return b.do(http.MethodGet, callback(url.Values{"code": {"c"}, "state": {asked.Get("state")}, "iss": {b.idp.URL}}), nil)
}

// asked goes to a tool to choose, and returns the deep linking request.
func (b *learnerBrowser) asked(tool string) jwt.MapClaims {
	b.t.Helper()
	return b.authorize(b.request(b.choose(tool).location().Query())).idToken()
}

func settingsOf(request jwt.MapClaims) map[string]any {
	settings, _ := request[deepLinking+"deep_linking_settings"].(map[string]any)
	return settings
}

// respond is the claims of a response to a request; change edits them.
func (c *toolClient) respond(request jwt.MapClaims, change func(jwt.MapClaims)) jwt.MapClaims {
	now := c.clock.now()
	claims := jwt.MapClaims{
		"iss": c.name, "aud": academyURL, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "nonce": fmt.Sprintf("nonce-%d", formNonces.Add(1)),
		claim + "deployment_id": request[claim+"deployment_id"], claim + "message_type": "LtiDeepLinkingResponse", claim + "version": "1.3.0",
		deepLinking + "data": settingsOf(request)["data"],
		deepLinking + "content_items": []any{map[string]any{
			"type": "ltiResourceLink", "title": "Fire <1>", "text": "Put it out.", "url": "https://" + c.name + ".example/fire",
			"custom": map[string]any{"level": "2"}, "lineItem": map[string]any{"scoreMaximum": 100, "label": "Fire"},
		}},
	}
	if change != nil {
		change(claims)
	}
	return claims
}

// signed is a response to a request.
func (c *toolClient) signed(request jwt.MapClaims, change func(jwt.MapClaims)) string {
	return c.sign(c.respond(request, change), jwt.SigningMethodRS256, c.key)
}

// bring posts a response as the page of the tool does.
func (b *learnerBrowser) bring(tool, response string) answer {
	b.t.Helper()
	return b.do(http.MethodPost, "/tools/"+tool+"/chosen", url.Values{"JWT": {response}})
}

// chosen goes all the way.
func (b *learnerBrowser) chosen(change func(jwt.MapClaims)) answer {
	b.t.Helper()
	return b.bring("lab", b.lab().signed(b.asked("lab"), change))
}

var (
	textArea = regexp.MustCompile(`(?s)<textarea [^>]*>(.*?)</textarea>`)
	dataLink = regexp.MustCompile(`href="data:application/yaml;base64,([^"]*)"`)
)

// yaml is the text on the page that shows what was chosen; empty if there is none.
func (x answer) yaml() string {
	x.t.Helper()
	body := x.Body.String()
	if x.Code != http.StatusOK || !strings.Contains(body, `data-testid="choose-again"`) {
		x.t.Fatalf("not what was chosen: %d %s", x.Code, text(body))
	}
	area := textArea.FindStringSubmatch(body)
	if area == nil {
		return ""
	}
	shown, link := html.UnescapeString(area[1]), dataLink.FindStringSubmatch(body)
	if link == nil {
		x.t.Fatal("no download")
	}
	if saved, err := base64.StdEncoding.DecodeString(html.UnescapeString(link[1])); err != nil || string(saved) != shown {
		x.t.Errorf("the download is %q, %v instead of %q", saved, err, shown)
	}
	return shown
}

// activities are the documents of the YAML.
func (x answer) activities() (out []map[string]any) {
	x.t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(x.yaml()))
	for {
		var document map[string]any
		if decoder.Decode(&document) != nil {
			return out
		}
		out = append(out, document)
	}
}

func TestAnAuthorChoosesAtATool(t *testing.T) {
	a := newChoosingAcademy(t)
	b := a.learner(author(zoe()))
	login := b.choose("lab").location().Query()
	for name, want := range map[string]string{
		"iss": academyURL, "client_id": "lab", "lti_deployment_id": "lab", "target_link_uri": "https://lab.example/choose?x=1", "tenant": "1",
		"lti_storage_target": "",
	} {
		if got := login.Get(name); got != want {
			t.Errorf("%s is %q instead of %q", name, got, want)
		}
	}
	form := b.request(login)
	x := b.authorize(form)
	if action, fields := x.posted(); action != "https://lab.example/launch" || fields.Get("state") != form.Get("state") {
		t.Errorf("posted to %s: state %q", action, fields.Get("state"))
	}
	for _, c := range x.Result().Cookies() {
		if strings.HasPrefix(c.Name, "__Host-lti-choice-") && (!c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteNoneMode || c.MaxAge != 3600 || c.Path != "/") {
			t.Errorf("cookie %+v", c)
		}
	}
	request := x.idToken()
	settings := settingsOf(request)
	data, _ := settings["data"].(string)
	if delete(settings, "data"); data == "" {
		t.Fatalf("no data: %v", request)
	}
	for name, want := range map[string]any{
		"aud": "lab", "nonce": form.Get("nonce"), "sub": login.Get("login_hint"), "name": "Zoë Smit", "email": "zoe@acme.example", "locale": "nl-NL",
		claim + "deployment_id": "lab", claim + "version": "1.3.0", claim + "message_type": "LtiDeepLinkingRequest",
		claim + "target_link_uri": "https://lab.example/choose?x=1", claim + "roles": []any{"http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"},
		claim + "resource_link": nil, claim + "context": nil, claim + "custom": nil,
		"https://purl.imsglobal.org/spec/lti-ags/claim/endpoint": nil, "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice": nil,
		deepLinking + "deep_linking_settings": map[string]any{
			"deep_link_return_url": academyURL + "/tools/lab/chosen", "accept_types": []any{"ltiResourceLink"},
			"accept_presentation_document_targets": []any{"iframe", "window"}, "accept_multiple": true, "accept_lineitem": true, "auto_create": false,
		},
	} {
		if got := request[name]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v instead of %v", name, got, want)
		}
	}
	settings["data"] = data

	x = b.bring("lab", b.lab().signed(request, nil))
	got := x.activities()
	want := []map[string]any{{
		"apiVersion": "lti-operator.io/v1alpha1", "kind": "LTIActivity", "metadata": map[string]any{"name": "fire-1"},
		"spec": map[string]any{"title": "Fire <1>", "description": "Put it out.", "type": "ELearning", "external": map[string]any{"lti13": map[string]any{
			"toolRef": map[string]any{"name": "lab"}, "resourceURL": "https://lab.example/fire", "parameters": []any{map[string]any{"name": "level", "value": "2"}},
		}}},
	}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v instead of %v", got, want)
	}
	page := text(x.Body.String())
	for _, want := range []string{"Fire <1>", "Put it out.", "https://lab.example/fire", "fire-1", texts()["nl"].UI["chosenGraded"], texts()["nl"].UI["chosenNotARedirectURI"]} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q: %s", want, page)
		}
	}
	if csp := x.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "form-action 'none'") {
		t.Errorf("Content-Security-Policy %s", csp)
	}
	// Nothing has come of it here: no result, and no member.
	if found := a.results(nil); len(found) != 0 {
		t.Errorf("results %v", found)
	}
	if x := a.lab().get("/tools/lab/contexts/simulation/memberships"); strings.Contains(x.Body.String(), login.Get("login_hint")) {
		t.Errorf("the author is a member: %s", x.Body)
	}
}

func TestWhatToolsReallySend(t *testing.T) {
	a := newChoosingAcademy(t)
	b := a.learner(author(zoe()))
	items := func(items string) func(jwt.MapClaims) {
		return func(c jwt.MapClaims) {
			var list any
			if err := json.Unmarshal([]byte(items), &list); err != nil {
				t.Fatal(err)
			}
			c[deepLinking+"content_items"] = list
		}
	}
	for name, c := range map[string]struct {
		change func(jwt.MapClaims)
		names  []string
		says   []string
	}{
		"as Moodle does": {func(c jwt.MapClaims) {
			c["aud"] = []string{academyURL}
			items(`[{"type": "ltiResourceLink", "title": "Safety &amp; health &lt;1&gt;", "text": null, "url": "https://lab.example/a",
				"custom": {"id": "1", "n": 7, "x": null}, "icon": null, "lineItem": {"label": null, "scoreMaximum": "10.0000"}}]`)(c)
		}, []string{"safety-health-1"}, []string{"Safety & health <1>"}},
		"with its own azp":           {func(c jwt.MapClaims) { c["azp"] = "lab" }, []string{"fire-1"}, nil},
		"for an hour":                {func(c jwt.MapClaims) { c["exp"] = a.clock.now().Add(24 * time.Hour).Unix() }, []string{"fire-1"}, nil},
		"nothing":                    {items(`[]`), nil, []string{"Er is niets gekozen."}},
		"null":                       {items(`null`), nil, []string{"Er is niets gekozen."}},
		"nothing, and says so":       {func(c jwt.MapClaims) { items(`[]`)(c); c[deepLinking+"errormsg"] = "<b>Closed</b>" }, nil, []string{"<b>Closed</b>"}},
		"something, and says so":     {func(c jwt.MapClaims) { c[deepLinking+"msg"] = "</q><script>alert(1)</script>" }, []string{"fire-1"}, []string{"<script>alert(1)</script>"}},
		"the same twice":             {items(`[{"type": "ltiResourceLink", "title": "A"}, {"type": "ltiResourceLink", "title": "a"}]`), nil, nil},
		"a name that is taken":       {items(`[{"type": "ltiResourceLink", "title": "Simulation", "url": "https://lab.example/a"}]`), []string{"simulation-2"}, nil},
		"a link that is taken":       {items(`[{"type": "ltiResourceLink", "title": "Exam link", "url": "https://lab.example/a"}]`), []string{"exam-link-2"}, nil},
		"a link of the rival's":      {items(`[{"type": "ltiResourceLink", "title": "Rival's", "url": "https://lab.example/a"}]`), []string{"rivals"}, nil},
		"a link and a page":          {items(`[{"type": "link", "title": "Page", "url": "https://lab.example/p"}, {"type": "ltiResourceLink", "title": "B", "url": "https://lab.example/b"}]`), []string{"b"}, []string{"Page", "ltiResourceLink"}},
		"an address that is no good": {items(`[{"type": "ltiResourceLink", "title": "C", "url": "http://lab.example/c"}]`), nil, []string{"https://", "Niets ervan"}},
	} {
		x := b.chosen(c.change)
		if strings.Contains(x.Body.String(), "<script>alert") || strings.Contains(x.Body.String(), "<b>") {
			t.Errorf("%s: text became markup: %s", name, x.Body)
		}
		var names []string
		for _, document := range x.activities() {
			names = append(names, document["metadata"].(map[string]any)["name"].(string))
		}
		if !slices.Equal(names, c.names) {
			t.Errorf("%s: %q", name, names)
		}
		page := text(x.Body.String())
		for _, want := range c.says {
			if !strings.Contains(page, want) {
				t.Errorf("%s: the page does not say %q: %s", name, want, page)
			}
		}
	}
}

func TestPrivacyHoldsForAuthors(t *testing.T) {
	a := newChoosingAcademy(t)
	b := a.learner(author(zoe()))
	// What counts is what is withheld when the tool is told, not what was when the author signed in.
	form := b.request(b.choose("lab").location().Query())
	a.republish(func(table *routing.Table) {
		toolIn(table, "lab").Privacy = routing.Privacy{WithholdName: true, WithholdEmail: true}
	})
	request := b.authorize(form).idToken()
	for _, name := range []string{"name", "given_name", "family_name", "email"} {
		if request[name] != nil {
			t.Errorf("%s is %v", name, request[name])
		}
	}
	// To a tool somebody is the same whether they choose or learn, and to another tool somebody else.
	if sub := b.subject("simulation"); sub != request["sub"] {
		t.Errorf("sub is %v and %v", sub, request["sub"])
	}
	if rivals := b.asked("rival")["sub"]; rivals == request["sub"] {
		t.Errorf("two tools call the author %v", rivals)
	}
	// What the author is at the identity provider is no tool's business.
	if encoded, _ := json.Marshal(request); strings.Contains(string(encoded), "course-authors") {
		t.Errorf("the group is in %s", encoded)
	}
}

func TestWhoMayChoose(t *testing.T) {
	a := newChoosingAcademy(t)
	for name, c := range map[string]struct {
		groups any
		code   lti.Code
	}{
		"one of the groups": {groups: []string{"x", "editors"}},
		"a text":            {groups: "course-authors"},
		"no claim":          {code: lti.AuthorNotAllowed},
		"null":              {groups: nil, code: lti.AuthorNotAllowed},
		"no group":          {groups: []string{}, code: lti.AuthorNotAllowed},
		"another group":     {groups: []string{"authors"}, code: lti.AuthorNotAllowed},
		"in capitals":       {groups: []string{"Course-Authors"}, code: lti.AuthorNotAllowed},
		"a part of one":     {groups: "course-authors,x", code: lti.AuthorNotAllowed},
		"blanks around it":  {groups: " course-authors ", code: lti.AuthorNotAllowed},
		"an object":         {groups: map[string]any{"course-authors": true}, code: lti.AuthorNotAllowed},
		"a number":          {groups: 1, code: lti.AuthorNotAllowed},
		"not only texts":    {groups: []any{"course-authors", 1}, code: lti.AuthorNotAllowed},
	} {
		who := zoe()
		if name != "no claim" {
			who["groups"] = c.groups
		}
		b := a.learner(who)
		x := b.choose("lab")
		if x.reason() != c.code {
			t.Errorf("%s: %d %s", name, x.Code, text(x.Body.String()))
		}
		if c.code != "" && (x.Header().Get("Location") != "" || !strings.Contains(x.Body.String(), `href="/tools/lab/choose"`)) {
			t.Errorf("%s: %s", name, x.Body)
		}
	}
	// With an empty list that an older operator might publish nobody is an author.
	a.republish(func(table *routing.Table) { table.Academy.Authors.Values = nil })
	if x := a.learner(author(zoe())).choose("lab"); x.reason() != lti.AuthorNotAllowed {
		t.Errorf("%d %s", x.Code, text(x.Body.String()))
	}
}

func TestChoosingBeginsAtTheTopAndAtOurAddress(t *testing.T) {
	a := newChoosingAcademy(t)
	a.republish(func(table *routing.Table) { table.Academy.Aliases = []string{"https://brand.example"} })
	b := a.learner(author(zoe()))
	b.base = "https://brand.example"
	if got := b.do(http.MethodGet, "/tools/lab/choose", nil).Header().Get("Location"); got != academyURL+"/tools/lab/choose" {
		t.Errorf("goes on at %q", got)
	}
	b.base, b.dest = academyURL, "iframe"
	x := b.do(http.MethodGet, "/tools/lab/choose", nil)
	if x.Code != http.StatusOK || !strings.Contains(x.Body.String(), `href="`+academyURL+`/tools/lab/choose" target="_blank"`) {
		t.Errorf("in a frame: %d %s", x.Code, x.Body)
	}
}

// choosingRefusals are one of each kind; the others are in TestAResponseIsRefused.
func choosingRefusals() []refusal {
	chooses := func(b *learnerBrowser) answer { return b.do(http.MethodGet, "/tools/lab/choose", nil) }
	withTable := func(change func(*routing.Table), do func(*learnerBrowser) answer) func(*browser) answer {
		return choosing(func(b *learnerBrowser) answer {
			b.republish(change)
			return do(b)
		})
	}
	return []refusal{
		{name: "no authors", code: lti.AuthorsNotConfigured, do: external(chooses)},
		{name: "a learner", code: lti.AuthorNotAllowed, do: choosing(func(b *learnerBrowser) answer {
			delete(b.who, "groups")
			return b.choose("lab")
		})},
		{name: "choosing switched off", code: lti.DeepLinkingDisabled, do: withTable(func(t *routing.Table) { toolIn(t, "lab").DeepLinking = routing.ServiceDisabled }, chooses)},
		{name: "data that was changed", code: lti.ChoiceInvalid, do: choosing(func(b *learnerBrowser) answer {
			return b.chosen(func(c jwt.MapClaims) { c[deepLinking+"data"] = c[deepLinking+"data"].(string) + "A" })
		})},
		{name: "a slow author", code: lti.ChoiceExpired, do: choosing(func(b *learnerBrowser) answer {
			request := b.asked("lab")
			b.clock.advance(time.Hour)
			return b.bring("lab", b.lab().signed(request, nil))
		})},
		{name: "a response used twice", code: lti.ChoiceAlreadyUsed, do: choosing(func(b *learnerBrowser) answer {
			b.chosen(nil).yaml()
			return b.browser.again(func(http.Header) {})
		})},
		{name: "GET where a tool posts", code: lti.MethodNotAllowed, do: choosing(func(b *learnerBrowser) answer {
			return b.do(http.MethodGet, "/tools/lab/chosen", nil)
		})},
	}
}

func TestToolsAreToldThatTheyMayBeAskedToChoose(t *testing.T) {
	a := newChoosingAcademy(t)
	asks := func() bool {
		var got struct {
			Platform struct {
				Messages []struct{ Type string } `json:"messages_supported"`
			} `json:"https://purl.imsglobal.org/spec/lti-platform-configuration"`
		}
		x := a.browser().do(http.MethodGet, "/tools/lab"+routing.PathDiscovery, nil)
		if err := json.Unmarshal(x.Body.Bytes(), &got); err != nil || len(got.Platform.Messages) == 0 || got.Platform.Messages[0].Type != "LtiResourceLinkRequest" {
			t.Fatalf("%v: %s", err, x.Body)
		}
		return len(got.Platform.Messages) == 2 && got.Platform.Messages[1].Type == "LtiDeepLinkingRequest"
	}
	if !asks() {
		t.Error("the request is not announced")
	}
	a.republish(func(table *routing.Table) { toolIn(table, "lab").DeepLinking = routing.ServiceDisabled })
	if asks() {
		t.Error("the request is announced although it is switched off")
	}
}

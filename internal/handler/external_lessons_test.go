// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/handler"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// externalLessons are those that a platform has to learn, too.
func externalLessons() []lesson {
	return []lesson{
		{"CVE-2022-35653, as the platform", "what a tool asks with is not markup on the page that asks again", lessonReposting},
		{"CVE-2023-34831, as the platform", "what a tool says of a learner is text", lessonMarkupFromTools},
		{"CVE-2022-45152, as the platform", "key sets of tools are fetched through the guard", lessonSSRFByTools},
		{"CVE-2022-31157, as the platform", "what names a learner, a launch or a result is random, from the injected source", lessonIDsRandom},
		{"weak keys, as the platform", "RSA keys below 2048 bits verify no assertion", lessonWeakKeysOfTools},
		{"duplicate JSON members, as the platform", "an assertion means one thing", lessonDuplicatesInAssertions},
		{"OAuth replay in outcomes", "a message counts once, as long as its timestamp is taken", lessonOutcomeReplay},
		{"jti replay", "an assertion is remembered until it expires", lessonAssertionReplay},
		{"replay of a hint", "a launch is remembered until its hint expires", lessonHintReplay},
	}
}

// Moodle's authentication page, which has the browser post a request again from its own site, repeated the parameters without
// escaping them. Ours repeats them too: they have to come back as they were.
func lessonReposting(t *testing.T, base *academy) {
	a := base.withExternal()
	a.republish(func(table *routing.Table) {
		toolIn(table, "lab").Title = hostileText
		for _, name := range []string{"simulation", "exam", "partner"} {
			x := activityIn(table, name)
			x.Title, x.Description, x.External.ReturnURL = hostileText, hostileText, "https://academy.acme.example/catalogue"
		}
		activityIn(table, "exam").External.Presentation = routing.PresentationEmbedded
		partner := activityIn(table, "partner").External.LTI12
		partner.Parameters = append(partner.Parameters, routing.Parameter{Name: hostileText, Value: hostileText})
	})
	b := a.learner(zoe())
	asks := func(name string, change func(url.Values)) {
		t.Helper()
		form := b.request(b.initiated("simulation"))
		change(form)
		jar := b.jar
		b.jar, _ = cookiejar.New(nil)
		x := b.authorizeAt("lab", form)
		x.harmless(name + ", without our cookie")
		if action := formAction.FindStringSubmatch(x.Body.String()); action != nil && action[1] == "/tools/lab/authorize" {
			if _, fields := x.posted(); fields.Get("state") != form.Get("state") {
				t.Errorf("%s: the state became %q", name, fields.Get("state"))
			}
		}
		b.jar = jar
		b.authorizeAt("lab", form).harmless(name)
	}
	for field := range b.request(b.initiated("simulation")) {
		asks(field, func(form url.Values) { form.Set(field, hostileText) })
		asks(field+" twice", func(form url.Values) { form.Add(field, hostileText) })
	}
	asks("a parameter of its own", func(form url.Values) { form.Set(hostileText, hostileText) })
	asks("its own parameter twice", func(form url.Values) { form[hostileText] = []string{"a", "b"} })

	// Titles and descriptions of the configuration.
	b.dest = "iframe"
	framed := b.do(http.MethodGet, "/activities/simulation/start", nil)
	b.dest = "document"
	for name, x := range map[string]answer{
		"button": framed, "frame": b.begin("exam"), "form": b.begin("partner"),
		"way back": b.do(http.MethodGet, "/activities/exam/return?"+url.Values{"lti_msg": {hostileText}}.Encode(), nil),
	} {
		x.harmless(name)
		if x.Code != http.StatusOK || !strings.Contains(x.Body.String(), "alert") {
			t.Errorf("%s: the text is not there at all: %d %s", name, x.Code, x.Body)
		}
	}
	undo := a.republish(deactivate("lab"))
	x := starts("simulation")(b)
	a.refused(x, lti.ToolDeactivated)
	x.harmless("refusal")
	undo()
	// Another text: paths are in the log, where the harness finds no value of a form.
	name := url.PathEscape(strings.ReplaceAll(hostileText, "1", "2"))
	for _, path := range []string{"/activities/" + name + "/start", "/activities/" + name + "/return", "/tools/" + name + "/authorize", "/tools/" + name + "/choose"} {
		b.do(http.MethodGet, path, nil).harmless(path)
	}
}

// Turnitin showed what came with a launch as markup. What a tool says of a learner, and calls its line items, is JSON that no
// browser takes for a page.
func lessonMarkupFromTools(t *testing.T, base *academy) {
	a := base.withExternal()
	c := a.lab()
	sub := a.learner(zoe()).subject("simulation")
	text, err := json.Marshal(hostileText)
	if err != nil {
		t.Fatal(err)
	}
	scores := c.context("simulation") + "/lineitems/activity/scores"
	body := strings.Replace(scoreOf(sub, a.clock.now(), "1", "2"), "{", `{"comment":`+string(text)+`,`, 1)
	if x := c.call(http.MethodPost, scores, ags.MediaScore, body); x.Code != http.StatusOK {
		t.Fatal(x.Code, x.Body)
	}
	found := a.results(nil)
	if len(found) != 1 || found[0].Comment != hostileText {
		t.Fatalf("results %+v", found)
	}
	for name, x := range map[string]answer{
		"line item":  c.createLineItem("simulation", `{"label":`+string(text)+`,"scoreMaximum":1}`),
		"line items": c.get(c.context("simulation") + "/lineitems"),
		"results":    c.get(c.context("simulation") + "/lineitems/activity/results"),
		"academy's":  a.asAcademy(routing.PathResults),
		"history":    a.asAcademy(routing.PathResults + "/" + found[0].ID),
		"refusal":    c.call(http.MethodPost, scores, ags.MediaScore, strings.Replace(body, sub, "<script>alert(1)</script>", 1)),
	} {
		if got := x.Header(); !strings.HasSuffix(got.Get("Content-Type"), "json") || got.Get("X-Content-Type-Options") != "nosniff" || strings.ContainsAny(x.Body.String(), "<>") {
			t.Errorf("%s: a browser could take it for a page: %v %s", name, got, x.Body)
		}
	}
}

// The address of a tool's keys comes from whoever registers the tool. Moodle's library fetched such addresses past the guard.
func lessonSSRFByTools(t *testing.T, base *academy) {
	a := base.withExternal()
	a.table.Academy.AllowPrivateCIDRs = nil // The identity provider is on this host, and is not asked here.
	c := a.lab()
	ask := func() answer { return c.ask(tokenForm(c.assertion(nil), allScopes()...)) }
	guardsKeySets(t, a.academy, labKey(), func(where string) {
		toolIn(a.table, "lab").LTI13.JWKS, toolIn(a.table, "lab").LTI13.JWKSURL = "", where
	}, func() string {
		x := ask()
		if got := a.refusedJSON(x, lti.KeysUnreachable); got != "invalid_client" {
			t.Errorf("error %s", got)
		}
		var body struct{ Reference string }
		if err := json.Unmarshal(x.Body.Bytes(), &body); err != nil || body.Reference == "" {
			t.Fatalf("%v: %s", err, x.Body)
		}
		return body.Reference
	}, func() { ask().granted() })
}

// Whoever can guess what names a learner, a launch or a result can speak for somebody else.
func lessonIDsRandom(t *testing.T, base *academy) {
	a := base.withExternal()
	source := &countingReader{from: rand.Reader}
	a.public = a.startAnother(a.store, func(o *handler.Options) { o.Random = source })
	seen := map[string]bool{}
	unique := func(what, value string) {
		t.Helper()
		source.unique(t, seen, what, value)
	}
	for i := range 20 {
		b := a.learner(learnerNamed(fmt.Sprintf("learner-%d", i)))
		unique("nonce of a sign-in", starts("simulation")(b).location().Query().Get("nonce"))
		x := b.begin("simulation")
		unique("subject", x.location().Query().Get("login_hint"))
		cookies := 0
		for _, c := range x.Result().Cookies() {
			if strings.HasPrefix(c.Name, "__Host-lti-start-") {
				unique("cookie", c.Value)
				cookies++
			}
		}
		if cookies != 1 {
			t.Fatalf("%d cookies bind the launch to the browser", cookies)
		}
		_, fields := b.form("partner")
		for _, name := range []string{"user_id", "lis_result_sourcedid", "oauth_nonce"} {
			unique(name, fields.Get(name))
		}
		id, _ := a.lab().createLineItem("simulation", `{"label":"x","scoreMaximum":1}`).lineItem(http.StatusCreated, ags.MediaLineItem)["id"].(string)
		unique("line item", id[strings.LastIndexByte(id, '/')+1:])
	}
	// Without randomness there is no launch, rather than a guessable one.
	a.public = a.startAnother(a.store, func(o *handler.Options) { o.Random = strings.NewReader("too short for a nonce") })
	if got := starts("simulation")(a.learner(zoe())).reason(); got != lti.InternalError {
		t.Errorf("start without randomness: %q", got)
	}
}

// A key set may have a good key besides the weak one.
func lessonWeakKeysOfTools(t *testing.T, base *academy) {
	a := base.withExternal()
	c := a.lab()
	weak, good := keys.PublicJWK(&weakKey().PublicKey), keys.PublicJWK(&labKey().PublicKey)
	set, err := json.Marshal(map[string]any{"keys": []routing.JWK{good, weak}})
	if err != nil {
		t.Fatal(err)
	}
	a.republish(func(table *routing.Table) { toolIn(table, "lab").LTI13.JWKS = string(set) })
	x := c.ask(tokenForm(c.signedBy(jwt.SigningMethodRS256, weakKey(), map[string]any{"kid": weak.KeyID}), allScopes()...))
	if got := a.refusedJSON(x, lti.KeyTooWeak); got != "invalid_client" {
		t.Errorf("error %s", got)
	}
	c.ask(tokenForm(c.assertion(nil), allScopes()...)).granted()
}

// Programs disagree about which of two equal names counts (RFC 7519 section 4).
func lessonDuplicatesInAssertions(t *testing.T, base *academy) {
	a := base.withExternal()
	c := a.lab()
	refusesDuplicates(t, func(spell func(jwt.MapClaims) string) answer {
		now := a.clock.now()
		return c.ask(tokenForm(spell(jwt.MapClaims{
			"iss": "lab", "sub": "lab", "aud": academyURL + "/tools/lab/token", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
			"jti": fmt.Sprintf("jti-%d", formNonces.Add(1)),
		}), allScopes()...))
	}, labKey(), func(x answer) { x.granted() })
}

// passes lets time pass, and everything be forgotten that may be.
func (a *academy) passes(d time.Duration) {
	a.t.Helper()
	a.clock.advance(d)
	if _, err := a.store.Purge(a.t.Context(), a.clock.now(), time.Hour); err != nil {
		a.t.Fatal(err)
	}
}

// xblock looked at neither the timestamp nor the nonce of an outcome, and Moodle not at the nonce: who had seen one message
// could give the old score back. The clock of this tool is fast, so that its message is taken for longer than others.
func lessonOutcomeReplay(t *testing.T, base *academy) {
	a := base.withExternal()
	id := a.learner(zoe()).sourcedID("partner-exam")
	c := a.partner()
	passed := c.request("partner-exam", pox("replaceResult", id, "0.9"))
	passed.at = a.clock.now().Add(4 * time.Minute)
	c.send(passed).succeeded("replaceResult")
	c.send(c.request("partner-exam", pox("replaceResult", id, "0.1"))).succeeded("replaceResult")
	for _, d := range []time.Duration{0, 4 * time.Minute, 4*time.Minute + 30*time.Second} {
		a.passes(d)
		a.refusedOutcome(c.send(passed), http.StatusOK, lti.Replayed)
	}
	a.passes(time.Minute)
	a.refusedOutcome(c.send(passed), lti.TimestampOutOfRange.Reason().Status, lti.TimestampOutOfRange)
	if got := a.statusOf("partner-exam"); got != "Failed" {
		t.Errorf("status %s", got)
	}
}

// Canvas and Moodle gave a token for the same assertion again. Here its jti is remembered as long as it would be taken.
func lessonAssertionReplay(t *testing.T, base *academy) {
	a := base.withExternal()
	c := a.lab()
	form := tokenForm(c.assertion(with("exp", a.clock.now().Add(59*time.Minute).Unix())), allScopes()...)
	c.ask(form).granted()
	for _, d := range []time.Duration{0, 30 * time.Minute, 29*time.Minute + 30*time.Second} {
		a.passes(d)
		a.refusedJSON(c.ask(form), lti.Replayed)
	}
	a.passes(time.Minute)
	a.refusedJSON(c.ask(form), lti.TokenExpired)
}

// Canvas gives up a launch that was opened. So do we, and the hint is remembered until it is too old.
func lessonHintReplay(t *testing.T, base *academy) {
	a := base.withExternal()
	b := a.learner(zoe())
	b.launch("simulation")
	for _, d := range []time.Duration{0, 30 * time.Second, 28 * time.Second} {
		a.passes(d)
		b.refusedToTool(b.again(nil), lti.LaunchAlreadyUsed, "login_required")
	}
	a.passes(3 * time.Second)
	b.refusedToTool(b.again(nil), lti.LaunchExpired, "login_required")
}

// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Claims of Deep Linking 2.0.
const (
	deepLinking   = "https://purl.imsglobal.org/spec/lti-dl/claim/"
	claimSettings = deepLinking + "deep_linking_settings"
	claimItems    = deepLinking + "content_items"
	claimData     = deepLinking + "data"
)

const returnURL = "https://lms.example/mod/lti/contentitem_return.php?course=2&id=2&sesskey=a%26b"

var choiceKey = rsaKey(2048)

// newPickingAcademy is an academy that can answer Moodle and Campus, with a few more activities.
func newPickingAcademy(t *testing.T) *academy {
	t.Helper()
	a := newAcademy(t)
	key := choiceKey()
	for _, name := range []string{"moodle", "campus"} {
		platformIn(a.table, name).PublicKeys = []routing.JWK{keys.PublicJWK(&key.PublicKey)}
		a.table.SigningKeys = append(a.table.SigningKeys, routing.SigningKey{
			Kind: routing.KindPlatform, Name: name, KeyID: keys.PublicJWK(&key.PublicKey).KeyID, PrivateKeyPEM: pemOf(t, key),
		})
	}
	activityIn(a.table, "height").Description = "Ladders & scaffolds"
	for n := 1; n <= 45; n++ {
		kind := []string{"ELearning", "Microlearning", "LearningPlaylist"}[n%3]
		a.table.Activities = append(a.table.Activities, routing.Activity{
			Name: fmt.Sprintf("course-%02d", n), Title: fmt.Sprintf("Course %02d", n), Type: kind,
			Share: &routing.Share{TargetURL: "https://academy.acme.example/", Presentation: routing.PresentationNewWindow},
		})
	}
	a.table.Activities = append(a.table.Activities, routing.Activity{
		Name: "cafe", Title: "Élan in the CAFÉ", Description: "Für alle <b>Gäste</b>", Type: "LearningPlaylist", DurationMinutes: 90,
		Share: &routing.Share{TargetURL: "https://academy.acme.example/", Presentation: routing.PresentationEmbedded},
	}, routing.Activity{
		Name: "secret", Title: "For other systems", Type: "ELearning",
		Share: &routing.Share{TargetURL: "https://academy.acme.example/", PlatformLabels: map[string]string{"audience": "school"}},
	})
	a.publish()
	return a
}

// settings are what a platform asks for; nil removes one.
func settings(changes map[string]any) map[string]any {
	all := map[string]any{
		"deep_link_return_url": returnURL, "accept_types": []string{"ltiResourceLink"},
		"accept_presentation_document_targets": []string{"frame", "iframe", "window"}, "accept_multiple": true,
	}
	for name, value := range changes {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	return all
}

// asksFor makes claims of a launch a deep linking request of a teacher.
func asksFor(p party, changes map[string]any, more ...func(jwt.MapClaims)) func(jwt.MapClaims) {
	return func(c jwt.MapClaims) {
		delete(c, claim+"resource_link")
		c[claim+"message_type"] = "LtiDeepLinkingRequest"
		c[claim+"target_link_uri"] = academyURL + "/platforms/" + p.platform + "/launch"
		c[claim+"roles"] = []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"}
		c[claimSettings] = settings(changes)
		for _, change := range more {
			change(c)
		}
	}
}

// choose sends the teacher of Moodle to the list, in a frame.
func (b *browser) choose(changes map[string]any, more ...func(jwt.MapClaims)) answer {
	b.t.Helper()
	b.dest = "iframe"
	return b.launch13(moodle(), "height", asksFor(moodle(), changes, more...))
}

var (
	choiceInput  = regexp.MustCompile(`<input type="(checkbox|radio)" id="[^"]*" name="activity" value="([^"]*)"[^>]*?( checked)?>`)
	queryInput   = regexp.MustCompile(`<input type="search" id="query" name="q" value="([^"]*)"`)
	typeSelected = regexp.MustCompile(`<option value="([^"]*)" selected>`)
	foundText    = regexp.MustCompile(`data-testid="found">([^<]*)<`)
	submitButton = regexp.MustCompile(`<button[^>]* name="([^"]*)" value="([^"]*)"[^>]*data-testid="([^"]*)"`)
)

// picker is what a browser would post of the list, without a button; listed are the names that are offered.
func (x answer) picker() (form url.Values, listed []string) {
	x.t.Helper()
	action, fields := x.posted()
	if x.reason() != "" || !strings.HasPrefix(action, "/platforms/") || !strings.HasSuffix(action, "/pick") || fields.Get("picker") == "" {
		x.t.Fatalf("not the list: %d %s", x.Code, text(x.Body.String()))
	}
	body := x.Body.String()
	for _, m := range choiceInput.FindAllStringSubmatch(body, -1) {
		name := html.UnescapeString(m[2])
		listed = append(listed, name)
		if m[3] != "" {
			fields.Add("activity", name)
		}
	}
	fields.Set("q", html.UnescapeString(queryInput.FindStringSubmatch(body)[1]))
	fields.Set("type", typeSelected.FindStringSubmatch(body)[1])
	return fields, listed
}

// press posts the list as it is, with changes and one of its buttons.
func (b *browser) press(x answer, button string, change func(url.Values)) answer {
	b.t.Helper()
	form, _ := x.picker()
	if change != nil {
		change(form)
	}
	for _, m := range submitButton.FindAllStringSubmatch(x.Body.String(), -1) {
		if m[3] == button {
			form.Set(m[1], m[2])
			return b.do(http.MethodPost, "/platforms/moodle/pick", form)
		}
	}
	b.t.Fatalf("no button %q in %s", button, text(x.Body.String()))
	return answer{}
}

// tick chooses activities of the list, and unticks those that begin with "-".
func tick(names ...string) func(url.Values) {
	return func(form url.Values) {
		for _, name := range names {
			if off, ok := strings.CutPrefix(name, "-"); ok {
				form["activity"] = slices.DeleteFunc(form["activity"], func(x string) bool { return x == off })
			} else if !slices.Contains(form["activity"], name) {
				form.Add("activity", name)
			}
		}
	}
}

// searching fills in the search.
func searching(query, kind string) func(url.Values) {
	return func(form url.Values) { form.Set("q", query); form.Set("type", kind) }
}

func (x answer) found() string {
	x.t.Helper()
	m := foundText.FindStringSubmatch(x.Body.String())
	if m == nil {
		x.t.Fatalf("not the list: %s", text(x.Body.String()))
	}
	return m[1]
}

// response returns the claims that are posted to the platform, verified as a platform does: with the key set that we
// publish, read by itself.
func (a *academy) response(x answer) (action string, claims jwt.MapClaims) {
	a.t.Helper()
	action, fields := x.posted()
	if len(fields) != 1 {
		a.t.Errorf("posted %v", slices.Sorted(maps.Keys(fields)))
	}
	published := a.browser().do(http.MethodGet, "/platforms/moodle/jwks.json", nil)
	var set struct {
		Keys []struct{ Kid, Kty, N, E string }
	}
	if err := json.Unmarshal(published.Body.Bytes(), &set); err != nil {
		a.t.Fatal(err)
	}
	claims = jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(fields.Get("JWT"), claims, func(token *jwt.Token) (any, error) {
		for _, k := range set.Keys {
			if k.Kid == token.Header["kid"] && k.Kty == "RSA" {
				n, err1 := base64.RawURLEncoding.DecodeString(k.N)
				e, err2 := base64.RawURLEncoding.DecodeString(k.E)
				return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, errors.Join(err1, err2)
			}
		}
		return nil, fmt.Errorf("kid %v is not published", token.Header["kid"])
	}, jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer("client-1"), jwt.WithAudience("https://lms.example"),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithTimeFunc(a.clock.now))
	if err != nil {
		a.t.Fatalf("%v: %s", err, text(x.Body.String()))
	}
	for name, want := range map[string]any{
		"aud": "https://lms.example", claim + "message_type": "LtiDeepLinkingResponse", claim + "version": "1.3.0", claim + "deployment_id": "7",
	} {
		if claims[name] != want {
			a.t.Errorf("%s is %v", name, claims[name])
		}
	}
	if nonce, _ := claims["nonce"].(string); len(nonce) < 22 {
		a.t.Errorf("nonce %q", nonce)
	}
	return action, claims
}

// chosen are the activities of a response, in the order of its items.
func (a *academy) chosen(x answer) []string {
	a.t.Helper()
	_, claims := a.response(x)
	items, ok := claims[claimItems].([]any)
	if !ok {
		a.t.Fatalf("content_items is %v", claims[claimItems])
	}
	names := []string{}
	for _, item := range items {
		names = append(names, item.(map[string]any)["custom"].(map[string]any)["activity"].(string))
	}
	return names
}

func TestATeacherChoosesAnActivity(t *testing.T) {
	a := newPickingAcademy(t)
	b := a.browser()
	list := b.choose(map[string]any{"data": ""})
	if page := text(list.Body.String()); !strings.Contains(page, "Moodle at Example University") {
		t.Errorf("the page does not say where to: %s", page)
	}
	action, claims := a.response(b.press(list, "add", tick("height")))
	if action != returnURL {
		t.Errorf("posted to %s", action)
	}
	if data, there := claims[claimData]; !there || data != "" {
		t.Errorf("data is %v, %v", data, there)
	}
	want := []any{map[string]any{
		"type": "ltiResourceLink", "url": academyURL + "/activities/height", "title": "Working safely at height", "text": "Ladders & scaffolds",
		"custom": map[string]any{"activity": "height"}, "window": map[string]any{"targetName": "_blank"},
		"lineItem": map[string]any{"label": "Working safely at height", "scoreMaximum": 100.0, "resourceId": "height"},
	}}
	if diff := cmp.Diff(want, claims[claimItems]); diff != "" {
		t.Error(diff)
	}
	// What was chosen can be opened, by its address and by its custom parameter.
	item := claims[claimItems].([]any)[0].(map[string]any)
	for _, target := range []any{item["url"], academyURL + "/platforms/moodle/launch"} {
		opened := a.browser().launch13(moodle(), "height", func(c jwt.MapClaims) {
			c[claim+"target_link_uri"], c[claim+"custom"] = target, item["custom"]
		})
		if got := a.enter(opened).Activity; got != "height" {
			t.Errorf("%v opens %q", target, got)
		}
	}
	if !strings.Contains(a.metrics(), `lti_launches_total{reason="",result="accepted",role="tool",version="1.3"} 3`) {
		t.Error("the request is not counted")
	}
}

func TestThePlatformDecidesWhatTheLinksAreLike(t *testing.T) {
	a := newPickingAcademy(t)
	for name, c := range map[string]struct {
		settings         map[string]any
		activity         string
		present, without []string
	}{
		"no line items":                   {map[string]any{"accept_lineitem": false}, "height", []string{"window"}, []string{"lineItem", "iframe"}},
		"line items":                      {map[string]any{"accept_lineitem": true}, "height", []string{"lineItem"}, nil},
		"a window only where it is taken": {map[string]any{"accept_presentation_document_targets": []string{"iframe"}}, "height", nil, []string{"window", "iframe"}},
		"embedded":                        {nil, "cafe", []string{"iframe", "lineItem"}, []string{"window"}},
		"embedded where no frame is":      {map[string]any{"accept_presentation_document_targets": []string{"window"}}, "cafe", nil, []string{"window", "iframe"}},
		"nothing said about targets":      {map[string]any{"accept_presentation_document_targets": nil}, "cafe", []string{"iframe"}, nil},
		"more types":                      {map[string]any{"accept_types": []string{"link", "ltiResourceLink", "html"}}, "height", []string{"url"}, nil},
	} {
		b := a.browser()
		_, claims := a.response(b.press(b.choose(c.settings), "add", tick(c.activity)))
		item := claims[claimItems].([]any)[0].(map[string]any)
		for _, member := range c.present {
			if item[member] == nil {
				t.Errorf("%s: no %s in %v", name, member, item)
			}
		}
		for _, member := range c.without {
			if _, there := item[member]; there {
				t.Errorf("%s: %s in %v", name, member, item)
			}
		}
		if data, there := claims[claimData]; there {
			t.Errorf("%s: data %v that nobody sent", name, data)
		}
	}
}

func TestChosenActivitiesStayAcrossSearchesAndPages(t *testing.T) {
	a := newPickingAcademy(t)
	b := a.browser()
	x := b.choose(nil)
	if got := x.found(); got != "48 activities found, page 1 of 3" {
		t.Errorf("found %q", got)
	}
	if _, listed := x.picker(); len(listed) != 20 || listed[0] != "course-01" {
		t.Errorf("listed %v", listed)
	}
	x = b.press(x, "next", tick("course-03", "course-04"))
	form, listed := x.picker()
	if want := []string{"course-03", "course-04"}; !slices.Equal(form["activity"], want) || !slices.Equal(listed[:2], want) || listed[2] != "course-21" {
		t.Errorf("chosen %v, listed %v", form["activity"], listed)
	}
	x = b.press(x, "search", func(f url.Values) { searching("  cafe  GASTE ", "")(f); tick("-course-04")(f) })
	if form, listed = x.picker(); !slices.Equal(listed, []string{"course-03", "cafe"}) || form.Get("q") != "  cafe  GASTE " {
		t.Errorf("listed %v for %q", listed, form.Get("q"))
	}
	if got := x.found(); got != "1 activity found" {
		t.Errorf("found %q", got)
	}
	x = b.press(x, "search", func(f url.Values) { searching("", "LearningPlaylist")(f); tick("cafe")(f) })
	if got := x.found(); got != "16 activities found" {
		t.Errorf("found %q", got)
	}
	if form, _ = x.picker(); form.Get("type") != "LearningPlaylist" {
		t.Errorf("type %q", form.Get("type"))
	}
	x = b.press(x, "search", searching("nothing like that", "nonsense"))
	if form, listed = x.picker(); !slices.Equal(listed, []string{"cafe", "course-03"}) && !slices.Equal(listed, []string{"course-03", "cafe"}) || form.Get("type") != "" {
		t.Errorf("listed %v, type %q", listed, form.Get("type"))
	}
	if got := x.found(); got != "No activities found" {
		t.Errorf("found %q", got)
	}
	got := a.chosen(b.press(x, "add", nil))
	if slices.Sort(got); !slices.Equal(got, []string{"cafe", "course-03"}) {
		t.Errorf("chosen %v", got)
	}
}

func TestOnlyWhatThePlatformMayOpenIsOffered(t *testing.T) {
	a := newPickingAcademy(t)
	b := a.browser()
	offered := map[string]bool{}
	for x := b.choose(nil); ; x = b.press(x, "next", nil) {
		_, listed := x.picker()
		for _, name := range listed {
			offered[name] = true
		}
		if !strings.Contains(x.Body.String(), `data-testid="next"`) {
			break
		}
	}
	for _, name := range []string{"secret", "private"} {
		if offered[name] {
			t.Errorf("%s is offered", name)
		}
	}
	if len(offered) != 48 {
		t.Errorf("%d activities are offered", len(offered))
	}
	a.republish(func(t *routing.Table) { platformIn(t, "moodle").Labels = map[string]string{"audience": "school"} })
	x := b.choose(nil)
	if x = b.press(x, "search", searching("other systems", "")); x.found() != "1 activity found" {
		t.Error(x.found())
	}
	if x = b.press(x, "search", searching("ladder check", "")); x.found() != "No activities found" {
		t.Error(x.found())
	}
}

func TestNobodyChoosesWhatIsNotOffered(t *testing.T) {
	a := newPickingAcademy(t)
	for _, forged := range []string{"secret", "private", "nothing", "../height", strings.Repeat("x", 5000), "<script>alert(1)</script>"} {
		b := a.browser()
		x := b.press(b.choose(nil), "add", tick("height", forged))
		if form, _ := x.picker(); !slices.Equal(form["activity"], []string{"height"}) {
			t.Errorf("%.20q: still chosen: %v", forged, form["activity"])
		}
		if page := x.Body.String(); !strings.Contains(page, `data-testid="problem"`) || strings.Contains(page, "For other systems") || strings.Contains(page, "<script") {
			t.Errorf("%.20q: %s", forged, text(page))
		}
		if got := a.chosen(b.press(x, "add", nil)); !slices.Equal(got, []string{"height"}) {
			t.Errorf("chosen %v", got)
		}
	}
}

func TestNothingIsLostWhenAnActivityGoes(t *testing.T) {
	a := newPickingAcademy(t)
	b := a.browser()
	x := b.press(b.choose(nil), "next", tick("course-01", "course-02", "course-03"))
	a.republish(func(t *routing.Table) {
		activityIn(t, "course-01").Share = nil
		t.Activities = slices.DeleteFunc(t.Activities, func(x routing.Activity) bool { return x.Name == "course-03" })
	})
	x = b.press(x, "add", nil)
	page := x.Body.String()
	for _, name := range []string{"course-01", "course-03"} {
		if !strings.Contains(page, "<li>"+name+"</li>") {
			t.Errorf("the page does not name %s: %s", name, text(page))
		}
	}
	if !strings.Contains(page, `aria-describedby="problem"`) || !strings.Contains(page, "<title>Not added: ") {
		t.Errorf("the problem is not tied to the choice: %s", page)
	}
	if form, _ := x.picker(); !slices.Equal(form["activity"], []string{"course-02"}) {
		t.Errorf("still chosen: %v", form["activity"])
	}
	if got := a.chosen(b.press(x, "add", nil)); !slices.Equal(got, []string{"course-02"}) {
		t.Errorf("chosen %v", got)
	}
}

func TestOneActivityWhereOneIsAccepted(t *testing.T) {
	a := newPickingAcademy(t)
	for _, accept := range []any{false, nil, "false"} {
		b := a.browser()
		x := b.choose(map[string]any{"accept_multiple": accept})
		if body := x.Body.String(); strings.Contains(body, `type="checkbox"`) || !strings.Contains(body, `type="radio"`) {
			t.Fatalf("%v: %s", accept, body)
		}
		x = b.press(x, "next", tick("course-01"))
		if form, listed := x.picker(); !slices.Equal(form["activity"], []string{"course-01"}) || listed[0] != "course-01" {
			t.Errorf("chosen %v, listed %v", form["activity"], listed)
		}
		form, _ := x.picker()
		form["activity"] = []string{"course-21", "course-22"}
		form.Set("do", "add")
		a.refused(b.do(http.MethodPost, "/platforms/moodle/pick", form), lti.ParameterRepeated)
		if got := a.chosen(b.press(x, "add", func(f url.Values) { f.Set("activity", "course-21") })); !slices.Equal(got, []string{"course-21"}) {
			t.Errorf("chosen %v", got)
		}
	}
}

func TestGoingBackWithoutAnActivity(t *testing.T) {
	a := newPickingAcademy(t)
	b := a.browser()
	x := b.press(b.choose(nil), "add", nil)
	if page := x.Body.String(); !strings.Contains(page, `data-testid="problem"`) {
		t.Errorf("adding nothing: %s", text(page))
	}
	action, claims := a.response(b.press(x, "cancel", tick("height")))
	if items, ok := claims[claimItems].([]any); action != returnURL || !ok || len(items) != 0 {
		t.Errorf("posted %v to %s", claims[claimItems], action)
	}
	for _, name := range []string{"errormsg", "errorlog", "msg", "log"} {
		if claims[deepLinking+name] != nil {
			t.Errorf("%s is %v", name, claims[deepLinking+name])
		}
	}
}

func TestAPlatformThatTakesNoResourceLinksIsTold(t *testing.T) {
	a := newPickingAcademy(t)
	b := a.browser()
	b.header.Set("Accept-Language", "nl")
	request := b.prepare13(moodle(), "height", asksFor(moodle(), map[string]any{"accept_types": []string{"link", "html"}, "data": "session 7"}))
	x := b.post13(moodle(), request)
	a.refused(x, lti.ContentTypeNotAccepted)
	m, fields := formAction.FindStringSubmatch(x.Body.String()), url.Values{}
	for _, f := range hiddenField.FindAllStringSubmatch(x.Body.String(), -1) {
		fields.Add(html.UnescapeString(f[1]), html.UnescapeString(f[2]))
	}
	if m == nil || m[1] != "/platforms/moodle/pick" {
		t.Fatalf("no way back: %s", x.Body)
	}
	action, claims := a.response(b.do(http.MethodPost, m[1], fields))
	if items, ok := claims[claimItems].([]any); action != returnURL || !ok || len(items) != 0 || claims[claimData] != "session 7" {
		t.Errorf("posted %v to %s", claims, action)
	}
	if got := claims[deepLinking+"errormsg"]; got != texts()["nl"].Reasons[lti.ContentTypeNotAccepted].Happened {
		t.Errorf("errormsg %v", got)
	}
	a.refused(b.again(nil), lti.LaunchAlreadyUsed)
	// The request was not used up and shows the page again, but it is answered once all the same.
	x = b.post13(moodle(), request)
	a.refused(x, lti.ContentTypeNotAccepted)
	again := hiddenField.FindStringSubmatch(x.Body.String())
	if again[2] == fields.Get("picker") {
		t.Fatal("the same form")
	}
	a.refused(b.do(http.MethodPost, m[1], url.Values{again[1]: {again[2]}, "do": {"decline"}}), lti.LaunchAlreadyUsed)
}

func TestWhoMayPick(t *testing.T) {
	a := newPickingAcademy(t)
	for role, want := range map[string]lti.Code{
		"http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor":            "",
		"http://purl.imsglobal.org/vocab/lis/v2/membership#ContentDeveloper":      "",
		"http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator": "",
		"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner":               lti.RoleNotAllowed,
		"http://purl.imsglobal.org/vocab/lis/v2/institution/person#Student":       lti.RoleNotAllowed,
		"": "",
	} {
		x := a.browser().choose(nil, with(claim+"roles", []string{role}))
		if want == "" {
			x.picker()
			continue
		}
		a.refused(x, want)
		if strings.Contains(x.Body.String(), "picker") {
			t.Errorf("%s: the page has a form", role)
		}
	}
	a.browser().choose(nil, with(claim+"roles", nil)).picker()
}

func TestAChoiceIsAskedForOnce(t *testing.T) {
	a := newPickingAcademy(t)
	b := a.browser()
	b.choose(nil).picker()
	a.refused(b.again(nil), lti.Replayed)
}

func TestARequestIsForThisPlatform(t *testing.T) {
	a := newPickingAcademy(t)
	for target, want := range map[any]lti.Code{
		academyURL + "/platforms/moodle/launch":   "",
		academyURL + "/activities/height":         "",
		nil:                                       "",
		academyURL + "/platforms/campus/launch":   lti.TargetLinkUnknown,
		"https://evil.example/platforms/x/launch": lti.TargetLinkUnknown,
	} {
		x := a.browser().choose(nil, with(claim+"target_link_uri", target))
		if x.reason() != want {
			t.Errorf("%v: %q", target, x.reason())
		}
	}
}

// The address that the answer goes to is the verified one, whatever the form says.
func TestTheReturnAddressComesFromTheRequest(t *testing.T) {
	a := newPickingAcademy(t)
	b := a.browser()
	x := b.press(b.choose(nil), "add", func(f url.Values) {
		tick("height")(f)
		for _, name := range []string{"deep_link_return_url", "return_url", "ReturnURL", "action", "data", "target"} {
			f.Set(name, "https://evil.example/")
		}
	})
	if action, claims := a.response(x); action != returnURL || strings.Contains(fmt.Sprint(claims), "evil") {
		t.Errorf("posted %v to %s", claims, action)
	}
	for _, bad := range []string{"javascript:alert(1)", "http://lms.example/return", "//evil.example/x", "/return", ""} {
		if x := a.browser().choose(map[string]any{"deep_link_return_url": bad}); x.reason() != lti.ClaimInvalid && x.reason() != lti.ClaimMissing {
			t.Errorf("%q: %q", bad, x.reason())
		}
	}
}

func TestTheFormIsOurs(t *testing.T) {
	a := newPickingAcademy(t)
	b := a.browser()
	form, _ := b.choose(nil).picker()
	form.Set("do", "add")
	form.Set("activity", "height")
	token := form.Get("picker")
	post := func(path string, change func(url.Values)) answer {
		changed := maps.Clone(form)
		change(changed)
		return a.browser().do(http.MethodPost, path, changed)
	}
	a.refused(post("/platforms/campus/pick", func(url.Values) {}), lti.StateInvalid)
	a.refused(post("/platforms/nobody/pick", func(url.Values) {}), lti.PlatformUnknown)
	for i := 0; i < len(token); i += 1 + len(token)/50 {
		changed := token[:i] + string('A'+(token[i]-'A'+1)%26) + token[i+1:]
		a.refused(post("/platforms/moodle/pick", func(f url.Values) { f.Set("picker", changed) }), lti.StateInvalid)
	}
	// Sealed for other things, with the same key.
	state, _ := a.browser().login(moodle(), "height")
	for _, other := range []string{"x", state, token + "A", token[:len(token)-1]} {
		a.refused(post("/platforms/moodle/pick", func(f url.Values) { f.Set("picker", other) }), lti.StateInvalid)
	}
	a.refused(post("/platforms/moodle/pick", func(f url.Values) { f.Del("picker") }), lti.ParameterMissing)
	a.refused(post("/platforms/moodle/pick", func(f url.Values) { f.Add("picker", token) }), lti.ParameterRepeated)
	if sealed := token; strings.Contains(sealed, base64.RawURLEncoding.EncodeToString([]byte("lms.example"))) {
		t.Error("the token can be read")
	}

	for name, c := range map[string]struct {
		change func(*routing.Table)
		want   lti.Code
	}{
		"academy deactivated":    {func(t *routing.Table) { t.Academy.Active = false }, lti.AcademyDeactivated},
		"platform deactivated":   {func(t *routing.Table) { platformIn(t, "moodle").Active = false }, lti.PlatformDeactivated},
		"deployment deactivated": {func(t *routing.Table) { platformIn(t, "moodle").Deployments[0].Active = false }, lti.DeploymentDeactivated},
		"deployment unlisted":    {func(t *routing.Table) { platformIn(t, "moodle").Deployments = platformIn(t, "moodle").Deployments[1:] }, lti.DeploymentUnknown},
		"registration taken":     {func(t *routing.Table) { platformIn(t, "moodle").LTI13 = nil }, lti.NotRegistered},
		"another issuer":         {func(t *routing.Table) { platformIn(t, "moodle").LTI13.Issuer = "https://new.example" }, lti.LaunchExpired},
		"another client ID":      {func(t *routing.Table) { platformIn(t, "moodle").LTI13.ClientID = "client-9" }, lti.LaunchExpired},
		"no signing key":         {func(t *routing.Table) { t.SigningKeys = nil }, lti.NotRegistered},
	} {
		undo := a.republish(c.change)
		for _, do := range []string{"add", "cancel", "", "decline"} {
			if name == "no signing key" && do == "" {
				continue
			}
			if x := post("/platforms/moodle/pick", func(f url.Values) { f.Set("do", do) }); x.reason() != c.want {
				t.Errorf("%s, %q: %q", name, do, x.reason())
			}
		}
		undo()
	}

	a.clock.advance(59 * time.Minute)
	post("/platforms/moodle/pick", func(f url.Values) { f.Del("do") }).picker()
	a.clock.advance(2 * time.Minute)
	a.refused(post("/platforms/moodle/pick", func(url.Values) {}), lti.LaunchExpired)
}

func TestAChoiceIsAnsweredOnce(t *testing.T) {
	a := newPickingAcademy(t)
	b := a.browser()
	list := b.choose(nil)
	a.response(b.press(list, "add", tick("height")))
	a.refused(b.again(nil), lti.LaunchAlreadyUsed)
	a.refused(b.press(list, "cancel", nil), lti.LaunchAlreadyUsed)
	a.refused(b.press(list, "add", tick("ladder")), lti.LaunchAlreadyUsed)
}

// Twenty at once, at two handlers.
func TestAChoiceIsAnsweredOnceByAllHandlers(t *testing.T) {
	a := newPickingAcademy(t)
	replicas := a.replicas()
	b := a.browser()
	b.public = replicas[0]
	form, _ := b.choose(nil).picker()
	form.Set("do", "add")
	form.Set("activity", "height")
	var wg sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[lti.Code]int{}
	for n := range 20 {
		wg.Go(func() {
			c := a.browser()
			c.public = replicas[n%2]
			x := c.do(http.MethodPost, "/platforms/moodle/pick", form)
			mu.Lock()
			defer mu.Unlock()
			outcomes[x.reason()]++
		})
	}
	wg.Wait()
	if outcomes[""] != 1 || outcomes[lti.LaunchAlreadyUsed] != 19 {
		t.Errorf("outcomes %v", outcomes)
	}
}

func TestALinkWithoutAnActivitySaysWhatToDo(t *testing.T) {
	a := newAcademy(t)
	for role, want := range map[string]string{"Instructor": "unlinkedTeacher", "Learner": "unlinkedLearner"} {
		x := a.browser().launch13(moodle(), "height", func(c jwt.MapClaims) {
			c[claim+"target_link_uri"] = academyURL + "/platforms/moodle/launch"
			c[claim+"roles"] = []string{role}
		})
		a.refused(x, lti.ActivityUnknown)
		page := text(x.Body.String())
		for key, said := range map[string]bool{"unlinked": true, "unlinkedTeacher": want == "unlinkedTeacher", "unlinkedLearner": want == "unlinkedLearner"} {
			if strings.Contains(page, texts()["en"].UI[key]) != said {
				t.Errorf("%s: %s: %s", role, key, page)
			}
		}
	}
}

// At an alias the links lead to the alias.
func TestLinksLeadToTheAddressThatWasUsed(t *testing.T) {
	a := newPickingAcademy(t)
	a.republish(func(t *routing.Table) { t.Academy.Aliases = []string{aliasURL} })
	b := a.at(aliasURL)
	_, claims := a.response(b.press(b.choose(nil), "add", tick("height")))
	if got := claims[claimItems].([]any)[0].(map[string]any)["url"]; got != aliasURL+"/activities/height" {
		t.Errorf("url %v", got)
	}
}

func choiceRefusals() []refusal {
	return []refusal{
		{name: "learner", code: lti.RoleNotAllowed, do: func(b *browser) answer {
			return b.choose(nil, with(claim+"roles", []string{"Learner"}))
		}},
		{name: "files only", code: lti.ContentTypeNotAccepted, do: func(b *browser) answer {
			return b.choose(map[string]any{"accept_types": []string{"file"}})
		}},
		{name: "no settings", code: lti.ClaimMissing, do: func(b *browser) answer { return b.choose(nil, with(claimSettings, nil)) }},
		{name: "form of nobody", code: lti.StateInvalid, do: post("/platforms/moodle/pick", url.Values{"picker": {"x"}})},
		{name: "no form", code: lti.ParameterMissing, do: post("/platforms/moodle/pick", url.Values{})},
		{name: "GET of the list", code: lti.MethodNotAllowed, do: func(b *browser) answer { return b.do(http.MethodGet, "/platforms/moodle/pick", nil) }},
	}
}

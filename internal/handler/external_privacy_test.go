// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/nrps"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// withholds makes the tool and the partner's activity tell less.
func withholds(p routing.Privacy) func(*routing.Table) {
	return func(t *routing.Table) {
		toolIn(t, "lab").Privacy = p
		activityIn(t, "partner").External.LTI12.Privacy = p
	}
}

// membersOf is what Names and Role Provisioning Services tell about an activity.
func (a *academy) membersOf(activity, query string) string {
	a.t.Helper()
	x := a.lab().call(http.MethodGet, "/tools/lab/contexts/"+activity+"/memberships"+query, "", "")
	if x.Code != http.StatusOK {
		a.t.Fatalf("%d %s", x.Code, x.Body)
	}
	return x.Body.String()
}

// channels are all that the tool and the partner are told when somebody opens an activity.
func (a *externalAcademy) channels(who jwt.MapClaims) map[string]string {
	a.t.Helper()
	text := func(v any) string {
		encoded, err := json.Marshal(v)
		if err != nil {
			a.t.Fatal(err)
		}
		return string(encoded)
	}
	b := a.learner(who)
	login := b.initiated("simulation")
	_, form := b.form("partner")
	return map[string]string{
		"login initiation": text(login),
		"ID token":         text(b.authorize(b.request(login)).idToken()),
		"form":             text(form),
		"members":          a.membersOf("simulation", ""),
		"members' message": a.membersOf("simulation", "?rlid=simulation"),
	}
}

func TestWhatIsWithheld(t *testing.T) {
	addressAsName := zoe()
	addressAsName["name"], addressAsName["given_name"] = addressAsName["email"], addressAsName["email"]
	delete(addressAsName, "family_name")
	for name, tt := range map[string]struct {
		who            jwt.MapClaims
		privacy        routing.Privacy
		names, address bool
	}{
		"nothing":                  {zoe(), routing.Privacy{}, true, true},
		"names":                    {zoe(), routing.Privacy{WithholdName: true}, false, true},
		"addresses":                {zoe(), routing.Privacy{WithholdEmail: true}, true, false},
		"both":                     {zoe(), routing.Privacy{WithholdName: true, WithholdEmail: true}, false, false},
		"address that is the name": {addressAsName, routing.Privacy{WithholdEmail: true}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newExternalAcademy(t)
			a.republish(func(table *routing.Table) {
				withholds(tt.privacy)(table)
				more := []routing.Parameter{{Name: "given", Value: "$Person.name.given"}, {Name: "family", Value: "$Person.name.family"}}
				lab, partner := activityIn(table, "simulation").External.LTI13, activityIn(table, "partner").External.LTI12
				lab.Parameters = append(lab.Parameters, more...)
				partner.Parameters = append(partner.Parameters, more...)
			})
			for channel, told := range a.channels(tt.who) {
				atAll := channel != "login initiation"
				for personal, want := range map[string]bool{"zoe@acme.example": tt.address, "Smit": tt.names, "Zoë": tt.names} {
					if got := strings.Contains(told, personal); got != (want && atAll) {
						t.Errorf("the %s tells %s: %t: %s", channel, personal, got, told)
					}
				}
				for _, secret := range []string{"idp-1", "account-of-zoe"} {
					if strings.Contains(told, secret) {
						t.Errorf("the %s tells %s: %s", channel, secret, told)
					}
				}
			}
		})
	}
}

func TestTheConfigurationNamesTheClaimsThatAToolGets(t *testing.T) {
	a := newExternalAcademy(t)
	for name, tt := range map[string]struct {
		privacy routing.Privacy
		want    []string
	}{
		"nothing":   {routing.Privacy{}, []string{"iss", "sub", "locale", "name", "given_name", "family_name", "email"}},
		"names":     {routing.Privacy{WithholdName: true}, []string{"iss", "sub", "locale", "email"}},
		"addresses": {routing.Privacy{WithholdEmail: true}, []string{"iss", "sub", "locale", "name", "given_name", "family_name"}},
		"both":      {routing.Privacy{WithholdName: true, WithholdEmail: true}, []string{"iss", "sub", "locale"}},
	} {
		a.republish(withholds(tt.privacy))
		var got struct {
			Claims []string `json:"claims_supported"`
		}
		x := a.browser().do(http.MethodGet, "/tools/lab"+routing.PathDiscovery, nil)
		if err := json.Unmarshal(x.Body.Bytes(), &got); err != nil || !slices.Equal(got.Claims, tt.want) {
			t.Errorf("%s: %v %v", name, err, got.Claims)
		}
	}
}

func TestWithholdingTakesEffectAtOnce(t *testing.T) {
	a := newExternalAcademy(t)
	b := a.learner(zoe())
	b.launch("simulation")
	// Of somebody who is known already, and of a launch that has begun.
	form := b.request(b.initiated("simulation"))
	if got := a.membersOf("simulation", ""); !strings.Contains(got, "Smit") || !strings.Contains(got, "zoe@acme.example") {
		t.Fatalf("members %s", got)
	}
	undo := a.republish(withholds(routing.Privacy{WithholdName: true, WithholdEmail: true}))
	_, fields := b.form("partner")
	for channel, told := range map[string]string{
		"members": a.membersOf("simulation", ""), "members' message": a.membersOf("simulation", "?rlid=simulation"),
		"ID token": fmt.Sprint(b.authorize(form).idToken()), "form": fmt.Sprint(fields),
	} {
		for _, personal := range []string{"Smit", "Zoë", "zoe@acme.example"} {
			if strings.Contains(told, personal) {
				t.Errorf("the %s tells %s: %s", channel, personal, told)
			}
		}
	}
	undo()
	if got := a.membersOf("simulation", ""); !strings.Contains(got, "Smit") {
		t.Errorf("members %s", got)
	}
}

func TestNothingThatIsKeptTellsWhoLearnersAre(t *testing.T) {
	a, r := newToldAcademy(t)
	r.answers(http.StatusInternalServerError)
	b, lab, c := a.learner(zoe()), a.lab(), a.partner()
	form := b.request(b.initiated("exam"))
	other := form.Get("login_hint")
	sub := b.authorize(form).idToken()["sub"].(string)
	b.again(nil) // the launch is used
	mixed := b.request(b.initiated("exam"))
	mixed.Set("login_hint", "zoe@acme.example")
	b.authorize(mixed)
	mixed.Set("redirect_uri", "https://evil.example/?zoe@acme.example")
	b.authorize(mixed)
	id := b.sourcedID("partner")

	scores := "/tools/lab/contexts/exam/lineitems/activity/scores"
	comment := func(learner, second string) string {
		return fmt.Sprintf(`{"userId":%q,"timestamp":"2026-01-01T00:00:%sZ","activityProgress":"Completed","gradingProgress":"FullyGraded",`+
			`"scoreGiven":1,"scoreMaximum":1,"comment":"Well done, Zoë Smit"}`, learner, second)
	}
	lab.call(http.MethodPost, scores, ags.MediaScore, comment(sub, "02"))
	a.until("an attempt", func() bool { return strings.Contains(a.log.String(), "could not deliver a result") })
	for _, body := range []string{comment(sub, "01"), comment("zoe@acme.example", "03"), "Zoë Smit", `{"userId":"zoe@acme.example"}`} {
		if x := lab.call(http.MethodPost, scores, ags.MediaScore, body); x.Code < http.StatusBadRequest {
			t.Errorf("%d %s", x.Code, x.Body)
		}
	}
	lab.call(http.MethodGet, "/tools/lab/contexts/exam/lineitems/activity/results?user_id="+sub, "", "")
	lab.call(http.MethodGet, "/tools/lab/contexts/exam/memberships?rlid=zoe@acme.example", "", "")
	a.rival().call(http.MethodPost, scores, ags.MediaScore, comment(sub, "04"))

	q := c.request("partner", pox("replaceResult", id, "1"))
	c.send(q).succeeded("replaceResult")
	c.send(q) // replayed
	for body, code := range map[string]lti.Code{
		pox("replaceResult", id, "Zoë Smit"): lti.ParameterInvalid, pox("replaceResult", "zoe@acme.example", "1"): lti.OutcomeUnknown,
		pox("SmitResult", id, "1"): lti.OperationUnsupported, "Zoë Smit": lti.RequestMalformed,
	} {
		a.refusedOutcome(c.send(c.request("partner", body)), http.StatusOK, code)
	}

	asked := b.do(http.MethodGet, "/activities/exam/start", nil).location().Query()
	a.refused(b.do(http.MethodGet, routing.PathLearnerCallback+"?"+url.Values{
		"error": {"access_denied"}, "error_description": {"Zoë Smit said no"}, "state": {asked.Get("state")}, "iss": {a.idp.URL},
	}.Encode(), nil), lti.SignInRefused)
	asked = b.do(http.MethodGet, "/activities/exam/start", nil).location().Query()
	a.idp.claims, a.idp.nonce = jwt.MapClaims{"sub": "idp-1", "account": "", "email": "zoe@acme.example", "name": "Zoë Smit"}, asked.Get("nonce")
	a.refused(b.do(http.MethodGet, routing.PathLearnerCallback+"?"+url.Values{
		"code": {"c"}, "state": {asked.Get("state")}, "iss": {a.idp.URL},
	}.Encode(), nil), lti.IdentityProviderInvalid)
	// What is wrong with the answer is said in our own words, whatever was in it.
	for _, cause := range []string{"response: refused: access_denied", "the subject claim is not a text of 1 to"} {
		if !strings.Contains(a.log.String(), `"cause":"identity provider: `+cause) {
			t.Errorf("the log does not say %q", cause)
		}
	}
	a.asAcademy("/results?sub=account-of-zoe")

	form = b.request(b.initiated("exam"))
	token := lab.token(allScopes()...)
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	b.authorize(form)
	lab.callWith(token, http.MethodPost, scores, ags.MediaScore, comment(sub, "05"))
	a.refusedOutcome(c.send(c.request("partner", pox("replaceResult", id, "1"))), http.StatusServiceUnavailable, lti.StoreUnavailable)

	look := func(where, text string) {
		text = html.UnescapeString(text)
		for _, personal := range []string{"Smit", "Zoë", `Zo\u00eb`, "zoe@", "zoe%40", "account-of-zoe", "idp-1", sub, other, id} {
			if strings.Contains(text, personal) {
				t.Errorf("%s tells %s", where, personal)
			}
		}
	}
	for line := range strings.Lines(a.log.String()) {
		look("the log: "+line, line)
	}
	look("the metrics", a.metrics())
	for x := range a.exchanges {
		if x.answer[0] >= '4' {
			look("the refusal of "+x.request, x.answer)
		}
	}
}

// moodleAsTool does what a Moodle does that has published activities (recorded from Moodle 4.5).
type moodleAsTool struct{ *toolClient }

// token asks for scopes as Moodle does.
func (m moodleAsTool) token(scopes ...string) string {
	m.t.Helper()
	assertion := m.assertion(func(claims jwt.MapClaims) {
		now := m.clock.now()
		claims["aud"], claims["iat"], claims["exp"] = academyURL+"/tools/lab/token", now.Unix(), now.Add(65*time.Second).Unix()
	})
	x := m.browser().do(http.MethodPost, "/tools/lab/token", tokenForm(assertion, scopes...))
	var got struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
		Scope       string `json:"scope"`
	}
	if err := json.Unmarshal(x.Body.Bytes(), &got); err != nil || got.TokenType != "Bearer" || got.ExpiresIn != 3600 || got.Scope != strings.Join(scopes, " ") {
		m.t.Fatalf("%v: %d %s", err, x.Code, x.Body)
	}
	return got.AccessToken
}

func (m moodleAsTool) get(scope, target, mediaType string) answer {
	m.t.Helper()
	b := m.browser()
	b.header.Set("Authorization", "Bearer "+m.token(scope))
	b.header.Set("Accept", mediaType)
	x := b.do(http.MethodGet, strings.TrimPrefix(target, academyURL), nil)
	if x.Code != http.StatusOK || x.Header().Get("Content-Type") != mediaType {
		m.t.Fatalf("%d %s %s", x.Code, x.Header().Get("Content-Type"), x.Body)
	}
	return x
}

func TestAMoodleAsTool(t *testing.T) {
	a, r := newToldAcademy(t)
	m := moodleAsTool{a.lab()}
	launched := a.learner(zoe()).launch("exam")
	endpoint := launched["https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"].(map[string]any)
	lineItem := fmt.Sprint(endpoint["lineitem"])
	x := m.get(ags.ScopeLineItemReadOnly, lineItem, ags.MediaLineItem)
	var item struct {
		ID      string  `json:"id"`
		Maximum float64 `json:"scoreMaximum"`
	}
	if err := json.Unmarshal(x.Body.Bytes(), &item); err != nil || item.ID != lineItem || item.Maximum != 100 {
		t.Errorf("%v: line item %s", err, x.Body)
	}
	for i, given := range []string{"66.00000", "70.00000"} {
		at := a.clock.now().Add(time.Duration(i-10) * time.Second).UTC().Format("2006-01-02T15:04:05-0700")
		body := fmt.Sprintf(`{"scoreGiven":%q,"scoreMaximum":100,"userId":%q,"timestamp":%q,"activityProgress":"Completed","gradingProgress":"FullyGraded"}`,
			given, launched["sub"], at)
		if y := m.callWith(m.token(ags.ScopeScore), http.MethodPost, lineItem+"/scores", ags.MediaScore, body); y.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", at, y.Code, y.Body)
		}
		want := []string{"Failed 66/100", "Passed 70/100"}[i]
		r.stands(&decision{activity: "exam", want: want, changes: int64(i + 1), history: i + 1}, "account-of-zoe")
	}
}

// A Moodle takes everybody out who is missing among the members.
func TestAMoodleFindsEverybody(t *testing.T) {
	a := newExternalAcademy(t)
	m := moodleAsTool{a.lab()}
	var address string
	subjects := map[string]bool{}
	for i := range 5 {
		launched := a.learner(learnerNamed(fmt.Sprintf("learner-%d", i))).launch("simulation")
		subjects[fmt.Sprint(launched["sub"])] = true
		address = fmt.Sprint(launched["https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"].(map[string]any)["context_memberships_url"])
		for _, limit := range []string{"", "&limit=2"} {
			found, pages := map[string]bool{}, 0
			for next := address + "?rlid=simulation" + limit; next != ""; pages++ {
				x := m.get(nrps.Scope, next, nrps.MediaType)
				var page struct {
					Members []struct {
						UserID string   `json:"user_id"`
						Status string   `json:"status"`
						Roles  []string `json:"roles"`
					} `json:"members"`
				}
				if err := json.Unmarshal(x.Body.Bytes(), &page); err != nil {
					t.Fatal(err)
				}
				for _, member := range page.Members {
					if found[member.UserID] || member.Status != "Active" || len(member.Roles) != 1 {
						t.Errorf("member %+v", member)
					}
					found[member.UserID] = true
				}
				next = ""
				if link := x.Header().Get("Link"); link != "" {
					target, rel, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
					if !strings.Contains(rel, `rel="next"`) || !strings.Contains(target, "rlid=simulation") {
						t.Fatalf("Link %s", link)
					}
					next = target
				}
			}
			if len(found) != i+1 || limit != "" && pages != i/2+1 {
				t.Errorf("%d members on %d pages after %d launches", len(found), pages, i+1)
			}
			for subject := range subjects {
				if !found[subject] {
					t.Errorf("%s is missing", subject)
				}
			}
		}
	}
	// Nobody is a member of what they have not opened.
	if got := a.membersOf("exam", ""); strings.Contains(got, "user_id") {
		t.Errorf("members %s", got)
	}
}

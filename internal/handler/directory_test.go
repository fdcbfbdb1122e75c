// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/handler"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/provisioning/scimtest"
	"github.com/lti-operator/lti-operator/internal/routing"
)

const scimToken = "canary-token-of-the-directory"

// directory is the academy's SCIM server: elimity-com/scim, which fails with a status if that is set.
type directory struct {
	*scimtest.Directory
	url    string
	status atomic.Int32
	// groupsFail says that nobody can be enrolled.
	groupsFail atomic.Bool
}

func newSCIM(t *testing.T) *directory {
	t.Helper()
	d := &directory{Directory: scimtest.New(scimToken)}
	d.Front = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			status := int(d.status.Load())
			if status == 0 && d.groupsFail.Load() && strings.HasPrefix(r.URL.Path, scimtest.Base+"/Groups") {
				status = http.StatusServiceUnavailable
			}
			if status != 0 {
				rw.WriteHeader(status)
				return
			}
			next.ServeHTTP(rw, r)
		})
	}
	served, err := d.Handler()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(served)
	t.Cleanup(server.Close)
	d.url = server.URL + scimtest.Base
	return d
}

// uses makes the directory the one that a table's accounts are in.
func (d *directory) uses(t *routing.Table) {
	t.Academy.SCIM = &routing.SCIM{URL: d.url, LinkFilter: `userType eq "Learner"`}
	t.Academy.AllowPrivateCIDRs = []string{"127.0.0.0/8", "::1/128"}
	t.AcademyKeys.SCIMToken = scimToken
}

func newAcademyWithDirectory(t *testing.T) (*academy, *directory) {
	a, d := newAcademy(t), newSCIM(t)
	a.republish(d.uses)
	return a, d
}

// exists is an account that somebody else made.
func (d *directory) exists(email, userType string) string {
	return d.Users.Put(map[string]any{
		"userName": "login-" + email, "active": true, "userType": userType, "emails": []any{map[string]any{"value": email}},
	})
}

func (d *directory) externalIDs() []string {
	var ids []string
	for _, u := range d.Users.All() {
		id, _ := u.Attrs["externalId"].(string)
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func TestAccountsAreMadeInTheDirectory(t *testing.T) {
	a, d := newAcademyWithDirectory(t)
	b := a.browser()
	moodle4 := a.enter(b.launch13(moodle(), "height", nil)).Subject
	campus4 := a.enter(b.launch13(campus(), "height", nil)).Subject
	if moodle4 == campus4 {
		t.Error("user 4 of Moodle is user 4 of Campus")
	}
	if got := d.externalIDs(); !slices.Equal(got, []string{"campus:4", "moodle:4"}) {
		t.Fatalf("external IDs %q", got)
	}
	for i, subject := range []string{moodle4, campus4} {
		if u := d.Users.All()[i]; u.ID != subject || u.Attrs["userName"] == "" {
			t.Errorf("sub is %q, and the account %+v", subject, u)
		}
	}
	// A known person needs no more than an identifier, and no launch changes the account.
	before := d.Users.One(moodle4)
	if got := a.enter(b.launch13(moodle(), "ladder", withoutPersonalData)).Subject; got != moodle4 {
		t.Errorf("the same person is %q, not %q", got, moodle4)
	}
	if after := d.Users.One(moodle4); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the account changed: %v", after)
	}

	// One learner, two activity keys of one system: one account. The holder of such a key enters none of a platform.
	one := a.enter(b.launch12("height", "height-key", sent12("one.example", "key@example.org"))).Subject
	if two := a.enter(b.launch12("ladder", "ladder-key", sent12("one.example", "key@example.org"))).Subject; one != two {
		t.Error("two keys of one system make two people of one")
	}
	if one == moodle4 {
		t.Error("the holder of a key is in an account of Moodle")
	}
	a.refused(b.launch12("height", "height-key", sent12("moodle", "sam@moodle.example")), lti.EmailInUse)
	if got := len(d.Users.All()); got != 3 {
		t.Errorf("%d accounts", got)
	}
}

func TestAccountsOfTheDirectoryAreFoundByEmail(t *testing.T) {
	a, d := newAcademyWithDirectory(t)
	learner, staff := d.exists("kim@example.org", "Learner"), d.exists("dean@example.org", "Staff")
	b := a.browser()

	// Never, which is the default, protects an account.
	a.refused(b.launch13(moodle(), "height", person("8", "kim@example.org")), lti.EmailInUse)
	if got := len(d.Users.All()); got != 2 {
		t.Fatalf("%d accounts", got)
	}
	a.republish(func(tab *routing.Table) {
		platformIn(tab, "moodle").Users, platformIn(tab, "campus").Users = routing.Users{AnyEmail: true}, routing.Users{AnyEmail: true}
	})
	for _, p := range []party{moodle(), campus()} {
		claims := a.enter(b.launch13(p, "height", person("8", "Kim@example.org")))
		if claims.Subject != learner || !claims.EmailVerified {
			t.Errorf("%s: %+v, want the account %s", p.platform, claims, learner)
		}
	}
	if got := d.externalIDs(); !slices.Equal(got, []string{"", ""}) {
		t.Errorf("external IDs that were not ours are %q", got)
	}
	// The filter keeps staff out.
	a.refused(b.launch13(moodle(), "height", person("9", "dean@example.org")), lti.EmailInUse)
	if u := d.Users.One(staff); u["externalId"] != nil {
		t.Errorf("the dean's account changed: %v", u)
	}
}

func TestDirectoryRefusals(t *testing.T) {
	a, d := newAcademyWithDirectory(t)
	b := a.browser()
	x := b.launch13(moodle(), "height", with("email", nil))
	a.refused(x, lti.MissingUserData)
	if got := x.namedMissing(); !slices.Equal(got, []string{"email"}) {
		t.Errorf("the page names %q", got)
	}
	if got := len(d.Users.All()); got != 0 {
		t.Errorf("%d accounts", got)
	}

	// Of a launch that is refused for the directory nothing is spent: posted again, it works.
	form := b.prepare13(moodle(), "height", nil)
	for status, code := range map[int]lti.Code{
		http.StatusServiceUnavailable: lti.DirectoryUnavailable, http.StatusTooManyRequests: lti.DirectoryUnavailable,
		http.StatusUnauthorized: lti.DirectoryFailed, http.StatusTeapot: lti.DirectoryFailed,
	} {
		d.status.Store(int32(status))
		a.refused(b.post13(moodle(), form), code)
	}
	d.status.Store(0)
	subject := a.enter(b.post13(moodle(), form)).Subject

	d.Users.Set(subject, map[string]any{"active": false})
	a.refused(b.launch13(moodle(), "height", nil), lti.AccountSuspended)
	d.Users.Set(subject, map[string]any{"active": true})
	d.Users.Remove(subject)
	a.refused(b.launch13(moodle(), "height", nil), lti.AccountGone)
	if got := len(d.Users.All()); got != 0 {
		t.Error("a deleted account came back")
	}
	// A table with a directory that cannot be asked serves everything else.
	a.republish(func(tab *routing.Table) { tab.Academy.SCIM.LinkFilter = "((" })
	a.refused(b.launch13(campus(), "height", nil), lti.DirectoryFailed)
}

// Whoever takes the place of a system does not reach the directory with the people of before.
func TestAChangedIssuerMakesNoAccount(t *testing.T) {
	a := newAcademy(t)
	a.enter(a.browser().launch13(moodle(), "height", nil))
	d := newSCIM(t)
	changed := moodle()
	changed.issuer = "https://new.lms.example"
	a.republish(func(tab *routing.Table) {
		d.uses(tab)
		platformIn(tab, "moodle").LTI13.Issuer, platformIn(tab, "moodle").LTI13.AuthenticationURL = changed.issuer, changed.issuer+"/auth?x=1"
	})
	a.refused(a.browser().launch13(changed, "height", nil), lti.IssuerChanged)
	if log := d.Log(); len(log) != 0 {
		t.Errorf("the directory was asked: %q", log)
	}
}

// An academy that has a directory from now on: known people keep what they have.
func TestPeopleMoveIntoTheDirectory(t *testing.T) {
	a := newAcademy(t)
	before := a.enter(a.browser().launch13(moodle(), "height", nil)).Subject
	if x := a.reports(before, "height", map[string]any{"score": points(8, 10)}); x.Code != http.StatusOK {
		t.Fatal(x.Code, x.Body)
	}
	d := newSCIM(t)
	a.republish(d.uses)
	after := a.enter(a.browser().launch13(moodle(), "height", nil)).Subject
	if u := d.Users.All(); len(u) != 1 || u[0].ID != after {
		t.Fatalf("sub is %q, the directory has %+v", after, u)
	}
	x := a.browser()
	x.header.Set("Authorization", basic(clientSecret))
	answer := x.do(http.MethodGet, routing.PathProgress+"?"+url.Values{"sub": {after}, "activity": {"height"}}.Encode(), nil)
	if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), `"given":8`) {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

func TestManyFirstLaunchesMakeOneAccount(t *testing.T) {
	a, d := newAcademyWithDirectory(t)
	const launches, atOnce = 200, 64
	// So many slots that none of them waits, as who waits for a second is refused.
	a.public = a.startAnother(a.store, func(o *handler.Options) { o.Working = atOnce })
	subjects := make([]string, launches)
	var group sync.WaitGroup
	limit := make(chan struct{}, atOnce)
	for i := range launches {
		group.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			subjects[i] = a.enter(a.browser().launch13(moodle(), "height", nil)).Subject
		})
	}
	group.Wait()
	if users := d.Users.All(); len(users) != 1 || slices.ContainsFunc(subjects, func(s string) bool { return s != users[0].ID }) {
		t.Errorf("%d accounts, people %q", len(users), slices.Compact(subjects))
	}
}

func TestLaunchedPeopleAreEnrolled(t *testing.T) {
	a, d := newAcademyWithDirectory(t)
	a.republish(func(tab *routing.Table) { activityIn(tab, "height").Share.EnrolmentGroup = "Safety 2026" })
	b := a.browser()
	first := a.enter(b.launch13(moodle(), "height", nil)).Subject
	members := func(want ...string) {
		t.Helper()
		slices.Sort(want)
		var got []string
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			got = nil
			for _, g := range d.Groups.All() {
				list, _ := g.Attrs["members"].([]any)
				for _, m := range list {
					got = append(got, fmt.Sprint(g.Attrs["displayName"], ": ", m.(map[string]any)["value"]))
				}
			}
			slices.Sort(got)
			if slices.Equal(got, want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("members %q, want %q: %s", got, want, a.log.String())
			}
		}
	}
	members("Safety 2026: " + first)

	// Enrolment may lag; sign-in does not wait for it.
	known := a.enter(b.launch13(campus(), "ladder", nil)).Subject
	d.groupsFail.Store(true)
	second := a.enter(b.launch13(campus(), "height", nil)).Subject
	if second != known {
		t.Error("the same person is another one")
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(a.metrics(), `lti_enrolments_total{result="failure"}`); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody tried")
		}
	}
	members("Safety 2026: " + first)
	d.groupsFail.Store(false)
	a.clock.advance(time.Minute)
	members("Safety 2026: "+first, "Safety 2026: "+second)
	if metrics := a.metrics(); !strings.Contains(metrics, `lti_enrolments_total{result="success"}`) {
		t.Error("enrolments are not counted")
	}
}

// A back end may act with an access token instead of its secret, for what the token is for, and as long as it is good.
func TestClientCredentials(t *testing.T) {
	a := newAcademy(t)
	subject := a.enter(a.browser().launch13(moodle(), "height", nil)).Subject
	tokenFor := func(scope string) answer {
		return a.browser().exchange("", url.Values{"grant_type": {"client_credentials"}, "code": nil, "redirect_uri": nil, "code_verifier": nil, "scope": {scope}})
	}
	granted := func(scope string) string {
		t.Helper()
		var got struct {
			Token string `json:"access_token"`
			Type  string `json:"token_type"`
			Scope string `json:"scope"`
		}
		x := tokenFor(scope)
		if err := json.Unmarshal(x.Body.Bytes(), &got); err != nil || x.Code != http.StatusOK || got.Type != "Bearer" || got.Scope == "" {
			t.Fatalf("%d %s", x.Code, x.Body)
		}
		return got.Token
	}
	if x := tokenFor("openid"); x.Code != http.StatusBadRequest || !strings.Contains(x.Body.String(), `"invalid_scope"`) {
		t.Errorf("%d %s", x.Code, x.Body)
	}
	if x := a.browser().do(http.MethodPost, routing.PathOIDC+"/token", url.Values{"grant_type": {"client_credentials"}}); x.reasonJSON() != lti.ClientUnauthorized {
		t.Errorf("%d %s", x.Code, x.Body)
	}
	report := func(token string) answer {
		b := a.browser()
		b.header.Set("Authorization", "Bearer "+token)
		return b.send(http.MethodPost, routing.PathProgress, "application/json", fmt.Sprintf(`{"sub":%q,"activity":"height","completed":true}`, subject))
	}
	progress := granted(identity.ScopeProgress)
	for _, token := range []string{progress, granted("")} {
		if x := report(token); x.Code != http.StatusOK {
			t.Errorf("%d %s", x.Code, x.Body)
		}
	}
	for name, token := range map[string]string{"another scope": granted(identity.ScopeAccounts), "guessed": "guessed", "changed": progress[1:]} {
		if x := report(token); x.Code != http.StatusUnauthorized || x.reasonJSON() != lti.AccessTokenInvalid || x.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", name, x.Code, x.Body)
		}
	}
	b := a.browser()
	b.header.Set("Authorization", "Bearer "+granted(identity.ScopeAccounts))
	if x := b.send(http.MethodPut, routing.PathAccounts+url.PathEscape(subject), "application/json", `{"active": false}`); x.Code != http.StatusNoContent {
		t.Errorf("%d %s", x.Code, x.Body)
	}
	if x := a.userInfo(progress); x.Code != http.StatusUnauthorized {
		t.Errorf("a token of a back end opens somebody's claims: %d %s", x.Code, x.Body)
	}
	a.republish(func(tab *routing.Table) { tab.AcademyKeys.Clients[0].ClientID = "another-app" })
	if x := report(progress); x.reasonJSON() != lti.AccessTokenInvalid {
		t.Errorf("the application is gone: %d %s", x.Code, x.Body)
	}
	a.republish(func(tab *routing.Table) { tab.AcademyKeys.Clients[0].ClientID = clientName })
	a.clock.advance(identity.TokenLifetime)
	if x := report(progress); x.reasonJSON() != lti.AccessTokenInvalid {
		t.Errorf("a token of before: %d %s", x.Code, x.Body)
	}
}

// reasonJSON is the reason in an answer for programs.
func (x answer) reasonJSON() lti.Code {
	var body struct{ Reason lti.Code }
	_ = json.Unmarshal(x.Body.Bytes(), &body)
	return body.Reason
}

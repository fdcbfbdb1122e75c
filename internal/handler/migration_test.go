// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// A system moves from LTI 1.2 to 1.3 while its learners are on their way: who has begun goes on, in one account, and both
// gradebooks get what is reached. The activity serves both versions at once.
func TestProgressAndGradesGoOnAfterTheMigration(t *testing.T) {
	a := newAcademy(t)
	before, after := newGradebook(t, quirks{}), newGradebook(t, quirks{})
	before.credentials = oauth1.Credentials{ConsumerKey: "height-key"}
	a.register(after, moodle())
	b := a.browser()
	over12 := func(user string) answer {
		return b.launch12("height", "height-key", func(p map[string]string) {
			p["user_id"], p["lis_person_contact_email_primary"] = user, user+"@person.example"
			p["lis_outcome_service_url"], p["lis_result_sourcedid"] = before.URL+"/outcomes", "result-of-"+user
		})
	}
	over13 := func(claimed func(jwt.MapClaims)) answer {
		return b.launch13(moodle(), "height", func(c jwt.MapClaims) {
			c["sub"], c[claimEndpoint] = "new-4", after.endpoint()
			c[claim+"tool_platform"] = map[string]any{"guid": "lms.example"}
			claimed(c)
		})
	}
	former := map[string]any{"user_id": "old-4"}
	known := a.enter(over12("old-4"))
	if x := a.reports(known.Subject, "height", map[string]any{"percent": 50, "score": points(4, 10)}); x.Code != http.StatusOK {
		t.Fatalf("%d %s", x.Code, x.Body)
	}
	before.holds("result-of-old-4 0.4000")

	// Whoever cannot prove it is somebody new, whose gradebook hears nothing of it.
	forged := a.enter(over13(func(c jwt.MapClaims) {
		c["sub"], c["email"] = "forger", "forger@person.example"
		migration("height-key", "a guess", former)(c)
	}))
	if forged.Subject == known.Subject {
		t.Fatal("a claim with a wrong signature is believed")
	}
	if got := a.gradesOf(forged.Subject); got.Percent != 0 || len(got.Grades) != 1 {
		t.Errorf("somebody new has progress: %+v", got)
	}

	moved := a.enter(over13(func(c jwt.MapClaims) {
		withoutPersonalData(c)
		migration("height-key", credentialIn(a.table, "height-key").Secrets[0], former)(c)
	}))
	if moved.Subject != known.Subject || moved.Email != "old-4@person.example" {
		t.Fatalf("%+v is not %+v", moved, known)
	}
	after.holds("new-4 0.4000") // what was reached over LTI 1.2
	if got := a.gradesOf(known.Subject); got.Percent != 50 || len(got.Grades) != 2 {
		t.Errorf("progress and grades after the migration: %+v", got)
	}

	// The old link still works, for the same person, and both are told from now on.
	if again := a.enter(over12("old-4")); again.Subject != known.Subject {
		t.Error("the same person is another one over LTI 1.2")
	}
	if x := a.reports(known.Subject, "height", map[string]any{"completed": true, "score": points(9, 10)}); x.Code != http.StatusOK {
		t.Fatalf("%d %s", x.Code, x.Body)
	}
	after.holds("new-4 0.9000")
	before.holds("result-of-old-4 0.9000")
}

// progressShown is what the academy reads of somebody's progress.
type progressShown struct {
	Percent float64
	Grades  []struct{ State string }
}

func (a *academy) gradesOf(subject string) (shown progressShown) {
	a.t.Helper()
	r := httptest.NewRequest(http.MethodGet, routing.PathProgress+"?activity=height&sub="+url.QueryEscape(subject), nil)
	r.Header.Set("Authorization", basic(clientSecret))
	x := a.serve(a.public, r, "")
	if err := json.NewDecoder(strings.NewReader(x.Body.String())).Decode(&shown); err != nil || x.Code != http.StatusOK {
		a.t.Fatalf("%d %s", x.Code, x.Body)
	}
	return shown
}

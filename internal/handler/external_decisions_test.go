// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
)

// report is one message about a learner.
type report struct {
	// A score of Assignment and Grade Services; points are "given/maximum", or either, or empty.
	activity, grading, points string
	// at is the timestamp, in seconds after the first; the number of the message if 0.
	at int
	// An operation of Basic Outcomes, and its score.
	operation, score string
	// code is why it is refused; empty if it is not.
	code lti.Code
}

func scored(activity, grading, points string) report {
	return report{activity: activity, grading: grading, points: points}
}

// graded is a score that counts.
func graded(points string) report { return scored("Completed", "FullyGraded", points) }

func replaced(score string) report { return report{operation: "replaceResult", score: score} }

var deleted = report{operation: "deleteResult", score: "-"}

func (r report) timed(at int) report           { r.at = at; return r }
func (r report) refusedWith(c lti.Code) report { r.code = c; return r }

// sends sends the messages about a learner, whose ID is that of LTI 1.3, or that of the result of LTI 1.2.
func (a *academy) sends(activity, id string, reports []report) {
	a.t.Helper()
	began := a.clock.now().Truncate(time.Second).Add(-time.Hour)
	for i, r := range reports {
		if r.operation != "" {
			c := a.partner()
			x := c.send(c.request(activity, pox(r.operation, id, r.score)))
			if r.code == "" {
				x.succeeded(r.operation)
			} else {
				a.refusedOutcome(x, http.StatusOK, r.code)
			}
			continue
		}
		given, maximum, _ := strings.Cut(r.points, "/")
		x := a.lab().score(activity, id, began.Add(time.Duration(cmp.Or(r.at, i+1))*time.Second), r.activity, r.grading, given, maximum)
		switch {
		case r.code != "":
			a.refusedJSON(x, r.code)
		case x.Code != http.StatusOK:
			a.t.Fatalf("message %d: %d %s", i, x.Code, x.Body)
		}
	}
}

// opens opens an activity and returns what messages name the learner or the result by.
func (a *externalAcademy) opens(who jwt.MapClaims, activity string) string {
	a.t.Helper()
	if activityIn(a.table, activity).External.LTI12 != nil {
		return a.learner(who).sourcedID(activity)
	}
	return a.learner(who).launch(activity)["sub"].(string)
}

// decision is what messages make of the result of a learner who has opened the activity.
type decision struct {
	activity string
	reports  []report
	// want is the status, and the score that stands if there is one.
	want string
	// changes are how many versions the academy was to be told of, and history how many messages changed the result.
	changes int64
	history int
}

func decisions() map[string]decision {
	pending, manual, notReady := scored("Submitted", "Pending", ""), scored("Submitted", "PendingManual", ""), scored("Completed", "NotReady", "")
	outdated, invalid := lti.ScoreOutdated, lti.ParameterInvalid
	one := func(activity string, r report, want string) decision {
		return decision{activity, []report{r}, want, 1, 1}
	}
	return map[string]decision{
		"1.3 exam, nothing":                    {"exam", nil, "Started", 0, 0},
		"1.3 exam, 69":                         one("exam", graded("69/100"), "Failed 69/100"),
		"1.3 exam, 69.5":                       one("exam", graded("69.5/100"), "Failed 69.5/100"),
		"1.3 exam, 69.99…":                     one("exam", graded("69.99999999999999999999/100"), "Failed 69.99999999999999999999/100"),
		"1.3 exam, 70":                         one("exam", graded("70/100"), "Passed 70/100"),
		"1.3 exam, 70 as text":                 one("exam", graded(`"70.0"/100`), "Passed 70/100"),
		"1.3 exam, 7 of 10":                    one("exam", graded("7/10"), "Passed 7/10"),
		"1.3 exam, 2.1 of 3":                   one("exam", graded("2.1/3"), "Passed 2.1/3"),
		"1.3 exam, 0.07 of 0.1":                one("exam", graded("0.07/0.1"), "Passed 0.07/0.1"),
		"1.3 exam, above the maximum":          one("exam", graded("120/100"), "Passed 120/100"),
		"1.3 exam, 0":                          one("exam", graded("0/100"), "Failed 0/100"),
		"1.3 exam, graded while in progress":   one("exam", scored("InProgress", "FullyGraded", "80/100"), "Passed 80/100"),
		"1.3 exam, pending":                    one("exam", pending, "AwaitingGrading"),
		"1.3 exam, pending with a score":       one("exam", scored("Submitted", "Pending", "90/100"), "AwaitingGrading"),
		"1.3 exam, pending for somebody":       one("exam", manual, "AwaitingGrading"),
		"1.3 exam, not graded":                 one("exam", notReady, "InProgress"),
		"1.3 exam, grading failed":             one("exam", scored("Completed", "Failed", ""), "InProgress"),
		"1.3 exam, graded without a score":     one("exam", graded(""), "InProgress"),
		"1.3 exam, of nothing":                 {"exam", []report{graded("1/0").refusedWith(invalid)}, "Started", 0, 0},
		"1.3 exam, of less than nothing":       {"exam", []report{graded("1/-1").refusedWith(invalid)}, "Started", 0, 0},
		"1.3 exam, below 0":                    {"exam", []report{graded("-1/100").refusedWith(invalid)}, "Started", 0, 0},
		"1.3 exam, no maximum":                 {"exam", []report{graded("80").refusedWith(lti.ParameterMissing)}, "Started", 0, 0},
		"1.3 exam, unknown progress":           {"exam", []report{scored("Finished", "FullyGraded", "80/100").refusedWith(invalid)}, "Started", 0, 0},
		"1.3 exam, an hour ahead":              {"exam", []report{graded("80/100").timed(7200).refusedWith(invalid), graded("90/100")}, "Passed 90/100", 1, 1},
		"1.3 exam, graded after pending":       {"exam", []report{pending, graded("80/100")}, "Passed 80/100", 2, 2},
		"1.3 exam, pending after a fail":       {"exam", []report{graded("10/100"), manual}, "AwaitingGrading 10/100", 2, 2},
		"1.3 exam, cleared":                    {"exam", []report{graded("80/100"), graded("")}, "Withdrawn", 2, 2},
		"1.3 exam, cleared and passed":         {"exam", []report{graded("80/100"), graded(""), graded("75/100")}, "Passed 75/100", 3, 3},
		"1.3 exam, cleared while pending":      {"exam", []report{pending, graded("")}, "Withdrawn", 2, 2},
		"1.3 exam, repeated":                   {"exam", []report{graded("80/100"), graded("80/100").timed(1)}, "Passed 80/100", 1, 1},
		"1.3 exam, repeated in other words":    {"exam", []report{graded("80/100"), graded("80.00/1e2").timed(1)}, "Passed 80/100", 1, 1},
		"1.3 exam, the same a second later":    {"exam", []report{graded("80/100"), graded("80/100")}, "Passed 80/100", 1, 2},
		"1.3 exam, conflicting":                {"exam", []report{graded("80/100"), graded("10/100").timed(1).refusedWith(outdated)}, "Passed 80/100", 1, 1},
		"1.3 exam, older":                      {"exam", []report{graded("80/100").timed(9), graded("10/100").timed(8).refusedWith(outdated)}, "Passed 80/100", 1, 1},
		"1.3 exam, the one before the newest":  {"exam", []report{graded("80/100"), graded("90/100"), graded("80/100").timed(1).refusedWith(outdated)}, "Passed 90/100", 2, 2},
		"1.3 exam, a fail after a pass":        {"exam", []report{graded("80/100"), graded("20/100")}, "Failed 20/100", 2, 2},
		"1.3 exam, opened again after a pass":  {"exam", []report{graded("80/100"), scored("InProgress", "NotReady", "")}, "Passed 80/100", 2, 2},
		"1.3 exam, started after a fail":       {"exam", []report{graded("20/100"), scored("Started", "NotReady", "0/100")}, "Failed 20/100", 2, 2},
		"1.3 e-learning, nothing":              {"simulation", nil, "Started", 0, 0},
		"1.3 e-learning, completed":            one("simulation", notReady, "Completed"),
		"1.3 e-learning, completed with 0":     one("simulation", graded("0/100"), "Completed 0/100"),
		"1.3 e-learning, graded":               one("simulation", scored("InProgress", "FullyGraded", "1/100"), "Completed 1/100"),
		"1.3 e-learning, handed in":            one("simulation", pending, "InProgress"),
		"1.3 e-learning, handed in and graded": one("simulation", scored("Submitted", "FullyGraded", ""), "Completed"),
		"1.3 e-learning, in progress":          one("simulation", scored("InProgress", "NotReady", ""), "InProgress"),
		"1.3 e-learning, cleared":              {"simulation", []report{graded("50/100"), scored("InProgress", "FullyGraded", "")}, "Withdrawn", 2, 2},
		"1.3 e-learning, opened again":         {"simulation", []report{graded("50/100"), scored("Started", "NotReady", "")}, "Completed 50/100", 2, 2},

		"1.2 exam, nothing":                {"partner-exam", nil, "Started", 0, 0},
		"1.2 exam, 0.69":                   one("partner-exam", replaced("0.69"), "Failed 0.69/1"),
		"1.2 exam, 0.695":                  one("partner-exam", replaced("0.695"), "Failed 0.695/1"),
		"1.2 exam, 0.6999999999999999":     one("partner-exam", replaced("0.6999999999999999"), "Failed 0.6999999999999999/1"),
		"1.2 exam, 0.7":                    one("partner-exam", replaced("0.7"), "Passed 0.7/1"),
		"1.2 exam, 0.70":                   one("partner-exam", replaced("0.70"), "Passed 0.7/1"),
		"1.2 exam, 1":                      one("partner-exam", replaced("1.0"), "Passed 1/1"),
		"1.2 exam, 0":                      one("partner-exam", replaced("0"), "Failed 0/1"),
		"1.2 exam, above the maximum":      {"partner-exam", []report{replaced("1.01").refusedWith(invalid)}, "Started", 0, 0},
		"1.2 exam, repeated":               {"partner-exam", []report{replaced("0.8"), replaced("0.80")}, "Passed 0.8/1", 1, 1},
		"1.2 exam, a fail after a pass":    {"partner-exam", []report{replaced("0.8"), replaced("0.2")}, "Failed 0.2/1", 2, 2},
		"1.2 exam, a pass after a fail":    {"partner-exam", []report{replaced("0.2"), replaced("0.8")}, "Passed 0.8/1", 2, 2},
		"1.2 exam, deleted":                {"partner-exam", []report{replaced("0.8"), deleted}, "Withdrawn", 2, 2},
		"1.2 exam, deleted twice":          {"partner-exam", []report{replaced("0.8"), deleted, deleted}, "Withdrawn", 2, 2},
		"1.2 exam, deleted and passed":     {"partner-exam", []report{replaced("0.8"), deleted, replaced("0.8")}, "Passed 0.8/1", 3, 3},
		"1.2 exam, deleted before":         {"partner-exam", []report{deleted}, "Started", 0, 0},
		"1.2 e-learning, nothing":          {"partner", nil, "Started", 0, 0},
		"1.2 e-learning, 0":                one("partner", replaced("0"), "Completed 0/1"),
		"1.2 e-learning, 0.3":              one("partner", replaced("0.3"), "Completed 0.3/1"),
		"1.2 e-learning, changed":          {"partner", []report{replaced("0.3"), replaced("0.2")}, "Completed 0.2/1", 2, 2},
		"1.2 e-learning, deleted":          {"partner", []report{replaced("0.3"), deleted}, "Withdrawn", 2, 2},
		"1.2 e-learning, deleted and done": {"partner", []report{replaced("0.3"), deleted, replaced("1")}, "Completed 1/1", 3, 3},
	}
}

// stands checks how a learner stands in an activity: in the API, in the history, and what the academy was told.
func (r *receiver) stands(d *decision, subject string) {
	a := r.a
	a.t.Helper()
	got := a.resultOf(d.activity, subject)
	status, score, _ := strings.Cut(d.want, " ")
	if stands := got.Status + strings.TrimSuffix(fmt.Sprint(" ", got.points()), " "); stands != d.want {
		a.t.Errorf("%s instead of %s", stands, d.want)
	}
	if want := map[string]int{"Passed": 70, "Failed": 70}[status]; got.Minimum != want {
		a.t.Errorf("decided by a minimum of %d instead of %d", got.Minimum, want)
	}
	if got.Version != d.changes || len(got.History) != d.history {
		a.t.Errorf("%d changes and %d messages instead of %d and %d", got.Version, len(got.History), d.changes, d.history)
	}
	for _, m := range got.History {
		if (m["source"] == "AGS") != (activityIn(a.table, d.activity).External.LTI13 != nil) || m["at"] == nil || m["operation"] == nil {
			a.t.Errorf("message %v", m)
		}
	}
	if len(got.History) > 0 && got.History[0]["status"] != status {
		a.t.Errorf("the newest message made it %s", got.History[0]["status"])
	}
	if got.Version == 0 {
		if told := r.attempts(got.ID); told != nil || got.Delivery != nil {
			a.t.Errorf("told %+v of nothing, delivery %+v", told, got.Delivery)
		}
		return
	}
	events := r.told(got)
	if told := events[len(events)-1].data; told.Status != status || told.points() != score {
		a.t.Errorf("told %s %s", told.Status, told.points())
	}
}

func (r *result) points() string {
	if r.Score == nil {
		return ""
	}
	return r.Score.Given.String() + "/" + r.Score.Maximum.String()
}

func TestDecisions(t *testing.T) {
	a, r := newToldAcademy(t)
	n := 0
	for name, d := range decisions() {
		n++
		who := learnerNamed(fmt.Sprintf("learner-%d", n))
		t.Run(name, func(t *testing.T) {
			defer func(outer *testing.T) { a.t = outer }(a.t)
			a.t = t
			a.sends(d.activity, a.opens(who, d.activity), d.reports)
			r.stands(&d, fmt.Sprint(who["account"]))
		})
	}
}

func TestEveryProgress(t *testing.T) {
	a, r := newToldAcademy(t)
	grading := []string{"FullyGraded", "Pending", "PendingManual", "Failed", "NotReady"}
	// completed are the combinations that complete an e-learning without a score.
	completed := map[string]bool{"Submitted FullyGraded": true}
	for _, g := range grading {
		completed["Completed "+g] = true
	}
	exam := map[string]string{
		"FullyGraded": "InProgress", "FullyGraded 90/100": "Passed 90/100", "Pending": "AwaitingGrading", "Pending 90/100": "AwaitingGrading",
		"PendingManual": "AwaitingGrading", "PendingManual 90/100": "AwaitingGrading",
	}
	n := 0
	for _, activity := range []string{"Initialized", "Started", "InProgress", "Submitted", "Completed"} {
		for _, g := range grading {
			for _, points := range []string{"", "90/100"} {
				n++
				who := learnerNamed(fmt.Sprintf("learner-%d", n))
				message := scored(activity, g, points)
				elearning := "InProgress"
				if completed[activity+" "+g] || g == "FullyGraded" && points != "" {
					elearning = "Completed"
				}
				if g == "FullyGraded" && points != "" {
					elearning += " " + points
				}
				for where, want := range map[string]string{
					"simulation": elearning, "exam": cmp.Or(exam[strings.TrimSpace(g+" "+points)], "InProgress"),
				} {
					a.sends(where, a.opens(who, where), []report{message})
					r.stands(&decision{activity: where, want: want, changes: 1, history: 1}, fmt.Sprint(who["account"]))
					if t.Failed() {
						t.Fatalf("%s, %s, %q in %s", activity, g, points, where)
					}
				}
			}
		}
	}
}

func TestWhatALearnerHandedInWithoutAScore(t *testing.T) {
	a, r := newToldAcademy(t)
	for activity, want := range map[string]string{"partner": "Completed", "partner-exam": "InProgress"} {
		id := a.learner(zoe()).sourcedID(activity)
		c := a.partner()
		body := strings.Replace(pox("replaceResult", id, "0"), "<resultScore><language>en</language><textString>0</textString></resultScore>",
			"<resultData><text>what she wrote</text></resultData>", 1)
		c.send(c.request(activity, body)).succeeded("replaceResult")
		r.stands(&decision{activity: activity, want: want, changes: 1, history: 1}, "account-of-zoe")
	}
}

func TestAChangedMinimumDecidesNothingAgain(t *testing.T) {
	a, r := newToldAcademy(t)
	id := a.opens(zoe(), "partner-exam")
	a.sends("partner-exam", id, []report{replaced("0.8")})
	for _, name := range []string{"partner-exam", "exam"} {
		activityIn(a.table, name).MinimumScore = 90
	}
	a.publish()
	r.stands(&decision{activity: "partner-exam", want: "Passed 0.8/1", changes: 1, history: 1}, "account-of-zoe")
	a.sends("partner-exam", id, []report{replaced("0.85")})
	if got := a.resultOf("partner-exam", "account-of-zoe"); got.Status != "Failed" || got.Minimum != 90 {
		t.Errorf("%+v", got)
	}
}

func TestTheAcademyHearsNothingOfLineItemsOfTheTool(t *testing.T) {
	a, r := newToldAcademy(t)
	sub := a.opens(zoe(), "exam")
	lab := a.lab()
	x := lab.call(http.MethodPost, "/tools/lab/contexts/exam/lineitems", ags.MediaLineItem, `{"label":"Part 1","scoreMaximum":10}`)
	if x.Code != http.StatusCreated {
		t.Fatalf("%d %s", x.Code, x.Body)
	}
	body := fmt.Sprintf(`{"userId":%q,"timestamp":"2026-01-01T00:00:00Z","activityProgress":"Completed","gradingProgress":"FullyGraded","scoreGiven":10,"scoreMaximum":10}`, sub)
	if y := lab.call(http.MethodPost, x.Header().Get("Location")+"/scores", ags.MediaScore, body); y.Code != http.StatusOK {
		t.Fatalf("%d %s", y.Code, y.Body)
	}
	r.stands(&decision{activity: "exam", want: "Started"}, "account-of-zoe")
}

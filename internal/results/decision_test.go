// SPDX-License-Identifier: Apache-2.0

package results

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/store"
)

func start() time.Time { return time.Date(2026, 11, 23, 21, 53, 22, 511_000_000, time.UTC) }

func dec(t testing.TB, s string) decimal.Decimal {
	t.Helper()
	d, err := decimal.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// points reads "given/maximum"; "" is none.
func points(t testing.TB, s string) *Score {
	t.Helper()
	if s == "" {
		return nil
	}
	for i := range s {
		if s[i] == '/' {
			return &Score{Given: dec(t, s[:i]), Maximum: dec(t, s[i+1:])}
		}
	}
	t.Fatalf("no points: %s", s)
	return nil
}

// scoreAt is a message of AGS, some seconds after the start.
func scoreAt(t testing.TB, second int, activity ags.ActivityProgress, grading ags.GradingProgress, given string) ags.Score {
	t.Helper()
	m := ags.Score{UserID: "u1", Timestamp: start().Add(time.Duration(second) * time.Second), ActivityProgress: activity, GradingProgress: grading}
	if p := points(t, given); p != nil {
		m.Points = &ags.Points{Given: p.Given, Maximum: p.Maximum}
	}
	return m
}

func course() Rule { return Rule{} }

func exam(minimum int32) Rule { return Rule{Exam: true, MinimumScore: minimum} }

func TestScoresDecide(t *testing.T) {
	type row struct {
		rule     Rule
		before   Status
		activity ags.ActivityProgress
		grading  ags.GradingProgress
		points   string
		want     Status
	}
	for name, tt := range map[string]row{
		"course, opened":                                  {course(), Started, ags.Started, ags.NotReady, "", InProgress},
		"course, initialized":                             {course(), Started, ags.Initialized, ags.NotReady, "", InProgress},
		"course, in progress with points":                 {course(), Started, ags.InProgress, ags.Pending, "5/10", InProgress},
		"course, completed without a grade":               {course(), InProgress, ags.Completed, ags.NotReady, "", Completed},
		"course, completed and still to be graded":        {course(), InProgress, ags.Completed, ags.PendingManual, "", Completed},
		"course, completed, grading failed":               {course(), InProgress, ags.Completed, ags.Failed, "", Completed},
		"course, completed, graded without points":        {course(), InProgress, ags.Completed, ags.FullyGraded, "", Completed},
		"course, submitted":                               {course(), InProgress, ags.Submitted, ags.Pending, "", InProgress},
		"course, submitted with provisional points":       {course(), InProgress, ags.Submitted, ags.Pending, "5/10", InProgress},
		"course, submitted and graded without points":     {course(), InProgress, ags.Submitted, ags.FullyGraded, "", Completed},
		"course, submitted and graded":                    {course(), InProgress, ags.Submitted, ags.FullyGraded, "5/10", Completed},
		"course, graded while in progress":                {course(), InProgress, ags.InProgress, ags.FullyGraded, "5/10", Completed},
		"course, graded with 0":                           {course(), InProgress, ags.Started, ags.FullyGraded, "0/10", Completed},
		"course, cleared":                                 {course(), Completed, ags.InProgress, ags.FullyGraded, "", Withdrawn},
		"course, cleared as initialized":                  {course(), Completed, ags.Initialized, ags.FullyGraded, "", Withdrawn},
		"course, cleared before it was completed":         {course(), InProgress, ags.InProgress, ags.FullyGraded, "", InProgress},
		"course, cleared as the first thing":              {course(), Started, ags.Initialized, ags.FullyGraded, "", InProgress},
		"course, cleared twice":                           {course(), Withdrawn, ags.InProgress, ags.FullyGraded, "", Withdrawn},
		"course, opened again after it was completed":     {course(), Completed, ags.Started, ags.NotReady, "", Completed},
		"course, in progress after it was completed":      {course(), Completed, ags.InProgress, ags.Pending, "", Completed},
		"course, submitted again after it was completed":  {course(), Completed, ags.Submitted, ags.PendingManual, "", Completed},
		"course, opened again after it was withdrawn":     {course(), Withdrawn, ags.Started, ags.NotReady, "", InProgress},
		"course, completed again after it was withdrawn":  {course(), Withdrawn, ags.Completed, ags.NotReady, "", Completed},
		"exam, opened":                                    {exam(60), Started, ags.Started, ags.NotReady, "", InProgress},
		"exam, completed without a grade":                 {exam(60), InProgress, ags.Completed, ags.NotReady, "", InProgress},
		"exam, exactly the minimum":                       {exam(60), InProgress, ags.Completed, ags.FullyGraded, "60/100", Passed},
		"exam, the least bit less":                        {exam(60), InProgress, ags.Completed, ags.FullyGraded, "59.99999999999999999999/100", Failed},
		"exam, the minimum of another maximum":            {exam(60), InProgress, ags.Completed, ags.FullyGraded, "4.2/7", Passed},
		"exam, the minimum that binary numbers miss":      {exam(70), InProgress, ags.Completed, ags.FullyGraded, "0.7/1", Passed},
		"exam, two thirds are less than 67 percent":       {exam(67), InProgress, ags.Completed, ags.FullyGraded, "2/3", Failed},
		"exam, two thirds are more than 66 percent":       {exam(66), InProgress, ags.Completed, ags.FullyGraded, "2/3", Passed},
		"exam, more than the maximum":                     {exam(100), InProgress, ags.Completed, ags.FullyGraded, "11/10", Passed},
		"exam, 0 points":                                  {exam(1), InProgress, ags.Completed, ags.FullyGraded, "0/100", Failed},
		"exam, graded although only started":              {exam(60), Started, ags.Started, ags.FullyGraded, "80/100", Passed},
		"exam, a later score is worse":                    {exam(60), Passed, ags.Completed, ags.FullyGraded, "10/100", Failed},
		"exam, a later score is better":                   {exam(60), Failed, ags.Completed, ags.FullyGraded, "90/100", Passed},
		"exam, pending":                                   {exam(60), InProgress, ags.Completed, ags.Pending, "", AwaitingGrading},
		"exam, pending with provisional points":           {exam(60), InProgress, ags.Submitted, ags.Pending, "90/100", AwaitingGrading},
		"exam, to be graded by somebody":                  {exam(60), Started, ags.Submitted, ags.PendingManual, "", AwaitingGrading},
		"exam, pending after it was passed":               {exam(60), Passed, ags.Submitted, ags.Pending, "", AwaitingGrading},
		"exam, pending after it was withdrawn":            {exam(60), Withdrawn, ags.Submitted, ags.Pending, "", AwaitingGrading},
		"exam, cleared after it was passed":               {exam(60), Passed, ags.Completed, ags.FullyGraded, "", Withdrawn},
		"exam, cleared after it was failed":               {exam(60), Failed, ags.Initialized, ags.FullyGraded, "", Withdrawn},
		"exam, cleared while it awaits grading":           {exam(60), AwaitingGrading, ags.Submitted, ags.FullyGraded, "", Withdrawn},
		"exam, cleared before anything was decided":       {exam(60), InProgress, ags.InProgress, ags.FullyGraded, "", InProgress},
		"exam, cleared as the first thing":                {exam(60), Started, ags.Initialized, ags.FullyGraded, "", InProgress},
		"exam, cleared twice":                             {exam(60), Withdrawn, ags.Initialized, ags.FullyGraded, "", Withdrawn},
		"exam, opened again after it was passed":          {exam(60), Passed, ags.Started, ags.NotReady, "", Passed},
		"exam, opened again after it was failed":          {exam(60), Failed, ags.Started, ags.NotReady, "", Failed},
		"exam, grading failed after it was passed":        {exam(60), Passed, ags.Completed, ags.Failed, "", Passed},
		"exam, grading failed with points":                {exam(60), InProgress, ags.Completed, ags.Failed, "80/100", InProgress},
		"exam, grading failed while it awaits that":       {exam(60), AwaitingGrading, ags.Submitted, ags.Failed, "", AwaitingGrading},
		"exam, not ready while it awaits grading":         {exam(60), AwaitingGrading, ags.Started, ags.NotReady, "", AwaitingGrading},
		"exam, not ready with points":                     {exam(60), InProgress, ags.Completed, ags.NotReady, "80/100", InProgress},
		"exam, grading failed before anything":            {exam(60), Started, ags.Completed, ags.Failed, "", InProgress},
		"exam, opened again after it was withdrawn":       {exam(60), Withdrawn, ags.Started, ags.NotReady, "", InProgress},
		"exam, which was a course that was completed":     {exam(60), Completed, ags.Started, ags.NotReady, "", Completed},
		"course, which was an exam that was passed":       {course(), Passed, ags.Started, ags.NotReady, "", Passed},
		"course, which was an exam that was failed, done": {course(), Failed, ags.Completed, ags.FullyGraded, "1/2", Completed},
	} {
		m := scoreAt(t, 0, tt.activity, tt.grading, tt.points)
		if got := tt.rule.scored(tt.before, &m, scoreOf(&m)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestOutcomesDecide(t *testing.T) {
	for name, tt := range map[string]struct {
		rule   Rule
		before Status
		points string
		want   Status
	}{
		"course, any score":                          {course(), Started, "0.2/1", Completed},
		"course, a score of 0":                       {course(), Started, "0/1", Completed},
		"course, no score":                           {course(), Started, "", Completed},
		"course, after it was withdrawn":             {course(), Withdrawn, "0.2/1", Completed},
		"exam, exactly the minimum":                  {exam(55), Started, "0.55/1", Passed},
		"exam, the least bit less":                   {exam(55), Started, "0.5499999999999999/1", Failed},
		"exam, a score of 0":                         {exam(1), Started, "0/1", Failed},
		"exam, no score":                             {exam(55), Started, "", InProgress},
		"exam, no score after it was passed":         {exam(55), Passed, "", Passed},
		"exam, a worse score after it was passed":    {exam(55), Passed, "0.1/1", Failed},
		"exam, a better score after it was failed":   {exam(55), Failed, "1/1", Passed},
		"exam, a score after it was withdrawn":       {exam(55), Withdrawn, "1/1", Passed},
		"exam, nothing new after it was withdrawn":   {exam(55), Withdrawn, "", InProgress},
		"exam, the minimum that binary numbers miss": {exam(29), Started, "0.29/1", Passed},
	} {
		if got := tt.rule.replaced(tt.before, points(t, tt.points)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// step is one message, and what is known then.
type step struct {
	message ags.Score
	code    lti.Code
	// unchanged is set where nothing may have changed at all.
	unchanged bool
	status    Status
	score     string
	version   int64
}

func TestScoresInTurn(t *testing.T) {
	at := func(second int, activity ags.ActivityProgress, grading ags.GradingProgress, given string) ags.Score {
		return scoreAt(t, second, activity, grading, given)
	}
	comment := func(m ags.Score, text string) ags.Score { m.Comment = text; return m }
	for name, tt := range map[string]struct {
		rule  Rule
		steps []step
	}{
		"a worse score that is later counts": {exam(60), []step{
			{at(0, ags.Completed, ags.FullyGraded, "80/100"), "", false, Passed, "80/100", 1},
			{at(1, ags.Completed, ags.FullyGraded, "20/100"), "", false, Failed, "20/100", 2},
		}},
		"a better score that is earlier does not": {exam(60), []step{
			{at(5, ags.Completed, ags.FullyGraded, "20/100"), "", false, Failed, "20/100", 1},
			{at(4, ags.Completed, ags.FullyGraded, "80/100"), lti.ScoreOutdated, true, Failed, "20/100", 1},
		}},
		"another score with the same timestamp does not": {exam(60), []step{
			{at(5, ags.Completed, ags.FullyGraded, "20/100"), "", false, Failed, "20/100", 1},
			{at(5, ags.Completed, ags.FullyGraded, "80/100"), lti.ScoreOutdated, true, Failed, "20/100", 1},
			{comment(at(5, ags.Completed, ags.FullyGraded, "20/100"), "x"), lti.ScoreOutdated, true, Failed, "20/100", 1},
		}},
		"the same score again changes nothing": {exam(60), []step{
			{at(5, ags.Completed, ags.FullyGraded, "20/100"), "", false, Failed, "20/100", 1},
			{at(5, ags.Completed, ags.FullyGraded, "20.00/100"), "", true, Failed, "20/100", 1},
		}},
		"a score that was accepted is outdated once there is another": {exam(60), []step{
			{at(5, ags.Completed, ags.FullyGraded, "20/100"), "", false, Failed, "20/100", 1},
			{at(6, ags.Completed, ags.FullyGraded, "80/100"), "", false, Passed, "80/100", 2},
			{at(5, ags.Completed, ags.FullyGraded, "20/100"), lti.ScoreOutdated, true, Passed, "80/100", 2},
		}},
		"a later score that says the same is no news, but the newest": {exam(60), []step{
			{at(5, ags.Completed, ags.FullyGraded, "20/100"), "", false, Failed, "20/100", 1},
			{at(9, ags.Completed, ags.FullyGraded, "20/100"), "", false, Failed, "20/100", 1},
			{at(7, ags.Completed, ags.FullyGraded, "80/100"), lti.ScoreOutdated, true, Failed, "20/100", 1},
		}},
		"the score that stands outlives what has no grade": {exam(60), []step{
			{at(1, ags.Completed, ags.FullyGraded, "80/100"), "", false, Passed, "80/100", 1},
			{at(2, ags.Started, ags.NotReady, ""), "", false, Passed, "80/100", 2},
			{at(3, ags.Submitted, ags.Pending, "10/100"), "", false, AwaitingGrading, "80/100", 3},
			{at(4, ags.Completed, ags.FullyGraded, ""), "", false, Withdrawn, "", 4},
		}},
		"a score of 0 is one, and no score is another thing": {course(), []step{
			{at(1, ags.Completed, ags.FullyGraded, "0/100"), "", false, Completed, "0/100", 1},
			{at(2, ags.Completed, ags.FullyGraded, ""), "", false, Completed, "", 2},
			{at(3, ags.InProgress, ags.FullyGraded, ""), "", false, Withdrawn, "", 3},
		}},
		"a comment is news": {course(), []step{
			{at(1, ags.Completed, ags.FullyGraded, "1/1"), "", false, Completed, "1/1", 1},
			{comment(at(2, ags.Completed, ags.FullyGraded, "1/1"), "well done"), "", false, Completed, "1/1", 2},
		}},
		"a timestamp far ahead of our clock would hold up all others": {course(), []step{
			{at(601, ags.Completed, ags.FullyGraded, "1/1"), lti.ParameterInvalid, true, Started, "", 0},
			{at(600, ags.Completed, ags.FullyGraded, "1/1"), "", false, Completed, "1/1", 1},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var r store.Result
			for i, want := range tt.steps {
				before := string(r.State)
				s, err := read(&r)
				if err != nil {
					t.Fatal(err)
				}
				changed, err := s.score(&tt.rule, &want.message, start())
				if lti.CodeOf(err) != want.code || changed == want.unchanged {
					t.Errorf("step %d: changed %t, %v", i+1, changed, err)
				}
				if changed {
					if err := write(&r, &s, start()); err != nil {
						t.Fatal(err)
					}
				}
				if s, err = read(&r); err != nil {
					t.Fatal(err)
				}
				if want.unchanged && string(r.State) != before {
					t.Errorf("step %d: %s became %s", i+1, before, r.State)
				}
				score := ""
				if s.Score != nil {
					score = s.Score.Given.String() + "/" + s.Score.Maximum.String()
				}
				if s.Status != want.status || score != want.score || s.Version != want.version {
					t.Errorf("step %d: %s, %s, version %d; want %s, %s, version %d", i+1, s.Status, score, s.Version, want.status, want.score, want.version)
				}
			}
		})
	}
}

func TestWhatWasDecidedKeepsItsMinimum(t *testing.T) {
	s := State{Report: Report{Status: Started}}
	low, high := exam(50), exam(90)
	take := func(rule *Rule, m ags.Score) {
		t.Helper()
		if _, err := s.score(rule, &m, start()); err != nil {
			t.Fatal(err)
		}
	}
	take(&low, scoreAt(t, 1, ags.Completed, ags.FullyGraded, "60/100"))
	take(&high, scoreAt(t, 2, ags.Started, ags.NotReady, ""))
	if s.Status != Passed || s.MinimumScore != 50 {
		t.Errorf("%+v", s)
	}
	take(&high, scoreAt(t, 3, ags.Completed, ags.FullyGraded, "60/100"))
	if s.Status != Failed || s.MinimumScore != 90 {
		t.Errorf("%+v", s)
	}
	take(&high, scoreAt(t, 4, ags.Submitted, ags.Pending, ""))
	if s.Status != AwaitingGrading || s.MinimumScore != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAnotherLineItemDecidesNothing(t *testing.T) {
	r := store.Result{Key: store.ResultKey{LineItem: "quiz"}}
	s, err := read(&r)
	if err != nil {
		t.Fatal(err)
	}
	first, old := scoreAt(t, 5, ags.Completed, ags.FullyGraded, "3/4"), scoreAt(t, 4, ags.Completed, ags.FullyGraded, "1/4")
	if changed, err := s.score(nil, &first, start()); !changed || err != nil {
		t.Error(changed, err)
	}
	if _, err := s.score(nil, &old, start()); lti.CodeOf(err) != lti.ScoreOutdated {
		t.Error(err)
	}
	if err := write(&r, &s, start()); err != nil || !r.DueAt.IsZero() || s.Version != 0 || s.Status != "" || *s.Score != *points(t, "3/4") {
		t.Errorf("%+v, due %v, %v", s, r.DueAt, err)
	}
}

func TestWhatOtherSystemsWriteCanBeStored(t *testing.T) {
	s, rule := State{}, course()
	m := scoreAt(t, 1, ags.Completed, ags.FullyGraded, "1/1")
	m.Comment = "well\x00 done\xff"
	if _, err := s.score(&rule, &m, start()); err != nil || s.Comment != "well done" {
		t.Errorf("%q, %v", s.Comment, err)
	}
	text, err := json.Marshal(s)
	if err != nil || !store.Storable(string(text)) {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := read(&store.Result{State: json.RawMessage(`{`)}); err == nil {
		t.Error("half a state was read")
	}
}

// SPDX-License-Identifier: Apache-2.0

package grades

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lti-operator/lti-operator/internal/lti/decimal"
)

func number(t testing.TB, text string) decimal.Decimal {
	t.Helper()
	d, err := decimal.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func score(t testing.TB, given, maximum string) *Score {
	t.Helper()
	return &Score{Given: number(t, given), Maximum: number(t, maximum)}
}

func after(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }

func apply(p Progress, reports ...Report) Progress {
	for _, r := range reports {
		p = p.With(&r)
	}
	return p
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b decimal.Decimal) bool { return a == b })); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestWhatIsReportedCounts(t *testing.T) {
	eight := score(t, "8", "10")
	half := new(number(t, "50"))
	done := Report{At: after(10), Completed: true, Score: eight}
	for name, c := range map[string]struct {
		reports []Report
		want    Progress
	}{
		"nothing":               {nil, Progress{}},
		"a score":               {[]Report{done}, Progress{At: after(10), Completed: true, Score: eight}},
		"no points":             {[]Report{{At: after(1), Score: score(t, "0", "10")}}, Progress{At: after(1), Score: score(t, "0", "10")}},
		"an older lower score":  {[]Report{done, {At: after(9), Score: score(t, "3", "10")}}, Progress{At: after(10), Completed: true, Score: eight}},
		"another at that time":  {[]Report{done, {At: after(10), Score: score(t, "9", "10")}}, Progress{At: after(10), Completed: true, Score: eight}},
		"a later lower score":   {[]Report{done, {At: after(11), Score: score(t, "3", "10")}}, Progress{At: after(11), Completed: true, Score: score(t, "3", "10")}},
		"opened again":          {[]Report{done, {At: after(12), Percent: half}}, Progress{At: after(12), Percent: half, Completed: true, Score: eight}},
		"withdrawn":             {[]Report{done, {At: after(12), Withdraw: true}}, Progress{At: after(12)}},
		"late after withdrawal": {[]Report{done, {At: after(12), Withdraw: true}, {At: after(11), Score: eight}}, Progress{At: after(12)}},
	} {
		t.Run(name, func(t *testing.T) { same(t, "progress", apply(Progress{}, c.reports...), c.want) })
	}
}

// Whatever order reports arrive in, what counts is the newest of each, unless something was withdrawn in between.
func TestNothingGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, reached := Progress{}, false
		for range rapid.IntRange(1, 20).Draw(t, "reports") {
			before := p
			r := Report{At: after(rapid.IntRange(0, 30).Draw(t, "at")), Completed: rapid.Bool().Draw(t, "completed")}
			if rapid.Bool().Draw(t, "scored") {
				r.Score = &Score{Given: decimal.FromInt(rapid.Int64Range(0, 10).Draw(t, "given")), Maximum: decimal.FromInt(10)}
			}
			p = p.With(&r)
			reached = reached || p.Completed
			switch {
			case p.At.Before(before.At):
				t.Fatal("time went back")
			case before.Completed && !p.Completed:
				t.Fatal("what was completed is not any more")
			case before.Score != nil && p.Score == nil:
				t.Fatal("a score was lost")
			case !r.At.After(before.At) && (p.Score != before.Score || p.Completed != before.Completed):
				t.Fatal("an old report changed something")
			}
		}
	})
}

func TestWhatBecomesTheGrade(t *testing.T) {
	eight, half := score(t, "8", "10"), new(number(t, "50"))
	full := func(n string, completed bool) *Grade { return &Grade{Score: *score(t, n, n), Completed: completed} }
	for name, c := range map[string]struct {
		progress                   Progress
		completion, score, percent *Grade
	}{
		"nothing":             {Progress{}, nil, nil, nil},
		"half done":           {Progress{Percent: half}, nil, nil, &Grade{Score: *score(t, "50", "100")}},
		"nothing done":        {Progress{Percent: new(number(t, "0"))}, nil, nil, &Grade{Score: *score(t, "0", "100")}},
		"completed":           {Progress{Completed: true}, full("1", true), nil, full("100", true)},
		"opened again":        {Progress{Completed: true, Percent: half}, full("1", true), nil, full("100", true)},
		"scored":              {Progress{Score: eight}, &Grade{Score: *eight}, &Grade{Score: *eight}, nil},
		"scored 0":            {Progress{Score: score(t, "0", "10")}, &Grade{Score: *score(t, "0", "10")}, &Grade{Score: *score(t, "0", "10")}, nil},
		"completed with 8/10": {Progress{Score: eight, Completed: true}, &Grade{*eight, true}, &Grade{*eight, true}, full("100", true)},
	} {
		t.Run(name, func(t *testing.T) {
			same(t, "Completion", c.progress.Grade(PolicyCompletion), c.completion)
			same(t, "Score", c.progress.Grade(PolicyScore), c.score)
			same(t, "Progress", c.progress.Grade(PolicyProgress), c.percent)
		})
	}
}

func TestReportsThatAreRefused(t *testing.T) {
	at := after(0)
	for name, r := range map[string]Report{
		"no time":               {Completed: true},
		"nothing said":          {At: at},
		"more than all":         {At: at, Percent: new(number(t, "100.1"))},
		"less than nothing":     {At: at, Percent: new(number(t, "-1"))},
		"negative points":       {At: at, Score: score(t, "-0.1", "10")},
		"no maximum":            {At: at, Score: score(t, "1", "0")},
		"a negative maximum":    {At: at, Score: score(t, "1", "-10")},
		"withdrawn, but scored": {At: at, Withdraw: true, Score: score(t, "1", "10")},
	} {
		if err := r.Validate(); !errors.Is(err, ErrInvalidReport) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, r := range map[string]Report{
		"bonus points": {At: at, Score: score(t, "11", "10")},
		"0 points":     {At: at, Score: score(t, "0", "10")},
		"0 percent":    {At: at, Percent: new(number(t, "0"))},
		"withdrawn":    {At: at, Withdraw: true},
		"completed":    {At: at, Completed: true},
	} {
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

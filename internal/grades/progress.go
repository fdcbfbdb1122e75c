// SPDX-License-Identifier: Apache-2.0

// Package grades brings what the academy knows about its learners into the gradebooks of the systems that launched them.
//
// It is level-triggered: for each learner and link there is one row with what the gradebook shall hold and what it is
// known to hold, and whoever finds the two different sends. What is in between may be lost, repeated or overtaken; in the
// end both are equal. This file has the rules for what is wanted, row.go those for getting there. Both are pure.
package grades

import (
	"errors"
	"fmt"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/decimal"
)

// Policy says what becomes the grade, as in LTIActivity.spec.share.grade.
type Policy string

// The policies.
const (
	// PolicyCompletion is the score where there is one, and otherwise 1 of 1 once the activity is completed.
	PolicyCompletion Policy = "Completion"
	// PolicyScore is the score, and nothing without one.
	PolicyScore Policy = "Score"
	// PolicyProgress is how much of the activity is done, in percent.
	PolicyProgress Policy = "Progress"
)

// Score is points out of a maximum, exactly as they were reported.
type Score struct {
	Given   decimal.Decimal `json:"given"`
	Maximum decimal.Decimal `json:"maximum"`
}

// Report is what the academy says about one learner in one activity at one moment. What it leaves out has not changed.
type Report struct {
	// At is when it was so, by the academy's clock. Of two reports the later one counts, whichever arrives first.
	At time.Time `json:"at"`
	// Percent of the activity that is done, 0 to 100.
	Percent *decimal.Decimal `json:"percent,omitempty"`
	// Completed is set once the activity is.
	Completed bool `json:"completed,omitempty"`
	// Score is set when there is one; 0 points are a score.
	Score *Score `json:"score,omitempty"`
	// Withdraw takes back everything that was reported before. It is the only way to lose a score.
	Withdraw bool `json:"withdraw,omitempty"`
}

// ErrInvalidReport wraps what is wrong with a report.
var ErrInvalidReport = errors.New("invalid report")

var hundred = decimal.FromInt(100)

// Validate tells what is wrong with the report, wrapping ErrInvalidReport.
func (r *Report) Validate() error {
	invalid := func(format string, a ...any) error {
		return fmt.Errorf("%w: %s", ErrInvalidReport, fmt.Sprintf(format, a...))
	}
	switch {
	case r.At.IsZero():
		return invalid("at is missing")
	case r.Percent != nil && (r.Percent.Sign() < 0 || r.Percent.Cmp(hundred) > 0):
		return invalid("percent must be from 0 to 100")
	case r.Score != nil && r.Score.Given.Sign() < 0:
		return invalid("score.given must not be negative")
	case r.Score != nil && r.Score.Maximum.Sign() <= 0:
		return invalid("score.maximum must be more than 0")
	case r.Withdraw && (r.Percent != nil || r.Completed || r.Score != nil):
		return invalid("withdraw goes with nothing else: report again afterwards")
	case !r.Withdraw && r.Percent == nil && !r.Completed && r.Score == nil:
		return invalid("one of percent, completed, score and withdraw must be there")
	}
	return nil
}

// Progress is all that is known about one learner in one activity. The zero value is nothing.
type Progress struct {
	// At is the time of the newest report.
	At        time.Time        `json:"at"`
	Percent   *decimal.Decimal `json:"percent,omitempty"`
	Completed bool             `json:"completed,omitempty"`
	Score     *Score           `json:"score,omitempty"`
}

// With returns the progress after a report. A report that is not later than the newest one changes nothing. A later one
// never takes away what was reached: opening a finished activity again neither un-completes it nor clears its score; a
// later score replaces an earlier one, also by a lower.
func (p Progress) With(r *Report) Progress {
	if !r.At.After(p.At) {
		return p
	}
	if r.Withdraw {
		return Progress{At: r.At}
	}
	p.At = r.At
	if r.Percent != nil {
		p.Percent = r.Percent
	}
	p.Completed = p.Completed || r.Completed
	if r.Score != nil {
		p.Score = r.Score
	}
	return p
}

// withdrawn tells whether everything that was reported has been taken back.
func (p *Progress) withdrawn() bool {
	return !p.At.IsZero() && p.Percent == nil && !p.Completed && p.Score == nil
}

// Grade is what a gradebook shall hold.
type Grade struct {
	Score
	// Completed says that the learner has done everything; a grade may come before.
	Completed bool `json:"completed,omitempty"`
}

// Grade returns what becomes the grade; nil while there is nothing that could. A message without a score is never sent:
// some systems clear a grade at it, one that a teacher gave by hand included.
func (p Progress) Grade(policy Policy) *Grade {
	one := decimal.FromInt(1)
	switch {
	case policy == PolicyProgress && p.Completed:
		return &Grade{Score: Score{Given: hundred, Maximum: hundred}, Completed: true}
	case policy == PolicyProgress && p.Percent != nil:
		return &Grade{Score: Score{Given: *p.Percent, Maximum: hundred}}
	case policy == PolicyProgress:
		return nil
	case p.Score != nil:
		return &Grade{Score: *p.Score, Completed: p.Completed}
	case policy == PolicyCompletion && p.Completed:
		return &Grade{Score: Score{Given: one, Maximum: one}, Completed: true}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

// Package results takes what other systems say about the academy's own learners in external activities, decides what it
// means, and tells the academy.
//
// [Book] stores and decides, [Worker] tells. What is told is level-triggered: the newest version of a result, until the
// academy has it.
package results

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Status is what has become of a learner in an external activity. Statuses are part of the product's interface, and do
// not change their meaning.
type Status string

// The statuses.
const (
	// Started: the learner has opened the activity, and nothing was reported since.
	Started Status = "Started"
	// InProgress: something was reported, and it decides nothing.
	InProgress Status = "InProgress"
	// Completed: an activity that is no exam is done.
	Completed Status = "Completed"
	// Passed and Failed: the score of an exam reaches the minimum, or does not.
	Passed Status = "Passed"
	Failed Status = "Failed"
	// AwaitingGrading: an exam was handed in, and somebody or something has to grade it.
	AwaitingGrading Status = "AwaitingGrading"
	// Withdrawn: what was decided was taken back.
	Withdrawn Status = "Withdrawn"
)

// decided tells whether there is something to take back.
func (s Status) decided() bool {
	return s == Completed || s == Passed || s == Failed || s == AwaitingGrading
}

// cleared returns the status after what was reported was taken back.
func (s Status) cleared() Status {
	if s.decided() || s == Withdrawn {
		return Withdrawn
	}
	return InProgress
}

// standing returns the status after a message that decides nothing: a learner who opens a course again has still
// completed it.
func (s Status) standing() Status {
	if s.decided() {
		return s
	}
	return InProgress
}

// Rule says how the messages about an activity are understood. A change of the rule changes nothing that was decided by
// another one.
type Rule struct {
	// Exam tells an exam, which is decided by its score alone.
	Exam bool
	// MinimumScore is the part of the maximum, in percent, that passes an exam.
	MinimumScore int32
}

// Score is a score that stands: points out of the most there is, exactly. With Basic Outcomes the most is 1.
type Score struct {
	// Given may be more than Maximum (AGS 2.0 section 3.4.4).
	Given   decimal.Decimal `json:"given"`
	Maximum decimal.Decimal `json:"maximum"`
}

// graded decides an exam.
func (r *Rule) graded(score *Score) Status {
	given, needed := score.Given.Mul(decimal.FromInt(100)), score.Maximum.Mul(decimal.FromInt(int64(r.MinimumScore)))
	if given.Cmp(needed) >= 0 {
		return Passed
	}
	return Failed
}

// scored returns the status after a score of Assignment and Grade Services.
func (r *Rule) scored(before Status, m *ags.Score, score *Score) Status {
	graded := m.GradingProgress == ags.FullyGraded
	if r.Exam {
		switch {
		case graded && score != nil:
			return r.graded(score)
		case graded:
			return before.cleared()
		case m.GradingProgress == ags.Pending, m.GradingProgress == ags.PendingManual:
			return AwaitingGrading
		}
		return before.standing()
	}
	switch {
	case m.ActivityProgress == ags.Completed, graded && m.ActivityProgress == ags.Submitted, graded && score != nil:
		return Completed
	case graded:
		return before.cleared()
	}
	return before.standing()
}

// replaced returns the status after a replaceResult of Basic Outcomes, which need not have a score.
func (r *Rule) replaced(before Status, score *Score) Status {
	switch {
	case !r.Exam:
		return Completed
	case score != nil:
		return r.graded(score)
	}
	return before.standing()
}

// Report is what is known about a learner in an activity, as the academy sees it.
type Report struct {
	Status Status `json:"status,omitempty"`
	// Score is the one that stands; nil for none.
	Score *Score `json:"score,omitempty"`
	// MinimumScore is the one by which an exam was passed or failed; 0 if it was not.
	MinimumScore int32 `json:"minimumScore,omitempty"`
	// ActivityProgress and GradingProgress are empty with Basic Outcomes.
	ActivityProgress ags.ActivityProgress `json:"activityProgress,omitempty"`
	GradingProgress  ags.GradingProgress  `json:"gradingProgress,omitempty"`
	// Comment is text of the other system for the learner.
	Comment string `json:"comment,omitempty"`
	// SubmittedAt is when the learner handed it in, as the other system says; zero if it does not.
	SubmittedAt time.Time `json:"submittedAt,omitzero"`
}

// equal tells whether the academy sees the same in both.
func (r *Report) equal(o *Report) bool {
	if (r.Score == nil) != (o.Score == nil) || r.Score != nil && *r.Score != *o.Score || !r.SubmittedAt.Equal(o.SubmittedAt) {
		return false
	}
	a, b := *r, *o
	a.Score, b.Score, a.SubmittedAt, b.SubmittedAt = nil, nil, time.Time{}, time.Time{}
	return a == b
}

// decide sets the status, and the minimum if that was what it was decided by.
func (r *Report) decide(rule *Rule, status Status, byScore bool) {
	switch {
	case rule.Exam && byScore:
		r.MinimumScore = rule.MinimumScore
	case status != r.Status:
		r.MinimumScore = 0
	}
	r.Status = status
}

// State is what the store keeps of a result.
type State struct {
	Report
	// Timestamp is that of the message which made the report what it is; zero with Basic Outcomes, whose messages have
	// none. ChangedAt is when that was accepted, by our clock.
	Timestamp time.Time `json:"timestamp,omitzero"`
	ChangedAt time.Time `json:"changedAt,omitzero"`
	// Newest is the newest message that was accepted; the zero value with Basic Outcomes.
	Newest Accepted `json:"newest,omitzero"`
	// Version counts the changes of the report; 0 for nothing that the academy is to be told.
	Version int64 `json:"version,omitempty"`

	// Delivered is the newest version that the academy is known to have.
	Delivered int64 `json:"delivered,omitempty"`
	// Attempts is how often delivering was tried in vain, and Reason what went wrong last.
	Attempts int    `json:"attempts,omitempty"`
	Reason   string `json:"reason,omitempty"`
	// StoppedAt is since when the academy is not told, until there is a new version or somebody asks for it; zero for not
	// stopped.
	StoppedAt time.Time `json:"stoppedAt,omitzero"`
	// Resends counts how often somebody asked for another delivery.
	Resends int64 `json:"resends,omitempty"`
}

// Accepted identifies a message.
type Accepted struct {
	Timestamp time.Time `json:"timestamp"`
	// Body is the SHA-256 of the message, in hex.
	Body string `json:"body"`
}

// maxAhead is how far ahead of our clock a timestamp may be. One from further ahead would hold up every later message.
const maxAhead = 10 * time.Minute

// score takes a score of Assignment and Grade Services, in the order of timestamps: one that is not newer than the newest
// one is refused, unless it is the same. It returns false where nothing has changed. A nil rule is for line items that
// decide nothing, and that the academy is not told about.
//
// Refusals: ScoreOutdated; ParameterInvalid for a timestamp that is ahead of our clock, or a score that cannot be one.
func (s *State) score(rule *Rule, m *ags.Score, now time.Time) (changed bool, err error) {
	body, err := m.Encode()
	if err != nil {
		return false, lti.Refuse(lti.ParameterInvalid, "the score is not one that could be sent").Because(err)
	}
	hash := sha256.Sum256(body)
	newest := Accepted{Timestamp: m.Timestamp.UTC(), Body: hex.EncodeToString(hash[:])}
	switch {
	case newest.Timestamp.Equal(s.Newest.Timestamp) && newest.Body == s.Newest.Body:
		return false, nil
	case s.Newest != (Accepted{}) && !newest.Timestamp.After(s.Newest.Timestamp):
		return false, lti.Refuse(lti.ScoreOutdated, "there is a score with the same or a later timestamp")
	case newest.Timestamp.After(now.Add(maxAhead)):
		return false, lti.Refuse(lti.ParameterInvalid, "timestamp is more than %v ahead of our clock", maxAhead)
	}
	s.Newest = newest
	r, score := s.Report, scoreOf(m)
	r.ActivityProgress, r.GradingProgress, r.SubmittedAt = m.ActivityProgress, m.GradingProgress, m.SubmittedAt.UTC()
	comment := storable(m.Comment)
	if m.GradingProgress == ags.FullyGraded {
		r.Score, r.Comment = score, comment
	} else if comment != "" {
		// A message without a comment leaves the one of the score that stands.
		r.Comment = comment
	}
	if rule != nil {
		byScore := m.GradingProgress == ags.FullyGraded && score != nil
		r.decide(rule, rule.scored(r.Status, m, score), byScore)
	}
	s.report(rule, &r, newest.Timestamp, now)
	return true, nil
}

// replace takes a replaceResult of Basic Outcomes, in the order of arrival. It returns false where nothing has changed.
func (s *State) replace(rule *Rule, score *Score, now time.Time) (changed bool) {
	r := s.Report
	if score != nil {
		r.Score = score
	}
	r.decide(rule, rule.replaced(r.Status, score), score != nil)
	return s.report(rule, &r, time.Time{}, now)
}

// remove takes a deleteResult of Basic Outcomes. Where nothing was reported there is nothing to take back.
func (s *State) remove(rule *Rule, now time.Time) (changed bool) {
	if s.Status == Started {
		return false
	}
	r := s.Report
	r.Score = nil
	r.decide(rule, Withdrawn, false)
	return s.report(rule, &r, time.Time{}, now)
}

// report makes another report the one that stands, as a new version, unless it says the same.
func (s *State) report(rule *Rule, r *Report, timestamp, now time.Time) (changed bool) {
	if r.equal(&s.Report) {
		return false
	}
	s.Report, s.Timestamp, s.ChangedAt = *r, timestamp, now.UTC().Truncate(time.Microsecond)
	if rule != nil {
		s.Version++
		s.resume()
	}
	return true
}

// resume makes delivering start anew.
func (s *State) resume() { s.Attempts, s.Reason, s.StoppedAt = 0, "", time.Time{} }

// pending tells whether the academy is to be told something.
func (s *State) pending() bool { return s.Version > s.Delivered && s.StoppedAt.IsZero() }

// scoreOf returns the points of a message.
func scoreOf(m *ags.Score) *Score {
	if m.Points == nil {
		return nil
	}
	return &Score{Given: m.Points.Given, Maximum: m.Points.Maximum}
}

// storable leaves out what no store takes.
func storable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "")
}

var errUnreadable = errors.New("what is stored of a result cannot be read")

// read returns the state of a result.
func read(r *store.Result) (s State, err error) {
	if len(r.State) == 0 {
		if r.Key.LineItem == "" {
			s.Status = Started
		}
		return s, nil
	}
	if json.Unmarshal(r.State, &s) != nil {
		return State{}, errUnreadable
	}
	return s, nil
}

// write makes a state that of a result, and the result due at a time if there is anything to tell.
func write(r *store.Result, s *State, due time.Time) (err error) {
	if r.State, err = json.Marshal(s); err != nil {
		return fmt.Errorf("write a result: %w", err)
	}
	r.DueAt = time.Time{}
	if s.pending() {
		r.DueAt = due
	}
	return nil
}

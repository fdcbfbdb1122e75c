package ags

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// ActivityProgress is how far the learner is (AGS section 3.4.5).
type ActivityProgress string

// The values of activityProgress.
const (
	Initialized ActivityProgress = "Initialized"
	Started     ActivityProgress = "Started"
	InProgress  ActivityProgress = "InProgress"
	Submitted   ActivityProgress = "Submitted"
	Completed   ActivityProgress = "Completed"
)

// Known reports whether the specification has the value.
func (p ActivityProgress) Known() bool {
	switch p {
	case Initialized, Started, InProgress, Submitted, Completed:
		return true
	}
	return false
}

// GradingProgress is how far the grading is (AGS section 3.4.6). A platform
// records a score as a grade if it is FullyGraded; Canvas also if it is
// PendingManual.
type GradingProgress string

// The values of gradingProgress.
const (
	FullyGraded   GradingProgress = "FullyGraded"
	Pending       GradingProgress = "Pending"
	PendingManual GradingProgress = "PendingManual"
	Failed        GradingProgress = "Failed"
	NotReady      GradingProgress = "NotReady"
)

// Known reports whether the specification has the value.
func (p GradingProgress) Known() bool {
	switch p {
	case FullyGraded, Pending, PendingManual, Failed, NotReady:
		return true
	}
	return false
}

// Points are a number of points out of the most there is.
type Points struct {
	// Given is scoreGiven, at least 0; it may be more than Maximum (AGS section
	// 3.4.4).
	Given decimal.Decimal
	// Maximum is scoreMaximum, more than 0. It need not be the one of the line
	// item: the platform scales.
	Maximum decimal.Decimal
}

// Score says how a learner did (AGS section 3.4).
type Score struct {
	// UserID is the learner: sub of a launch.
	UserID string
	// Timestamp is when the score came to be. The platform refuses a score that
	// is not newer than the one it has, and some compare whole seconds: of two
	// different scores the later one must be at least a second younger. A score
	// that is sent again keeps its timestamp. It is sent in milliseconds.
	Timestamp time.Time
	// Points are nil for a score without points, which removes those that the
	// platform has. 0 points are points.
	Points *Points
	// Comment is text for the learner; may be empty.
	Comment          string
	ActivityProgress ActivityProgress
	GradingProgress  GradingProgress
	// StartedAt and SubmittedAt of the submission; zero if not known (AGS
	// section 3.4.9).
	StartedAt, SubmittedAt time.Time
	// ScoringUserID is who graded; may be empty.
	ScoringUserID string
	// SameSubmission tells Canvas that the score belongs to the submission that
	// is there. Otherwise Canvas takes each score for a new attempt, and refuses
	// when the learner has none left. Others ignore it.
	SameSubmission bool
}

// timeLayout is RFC 3339 with milliseconds (AGS section 3.4.8: with a zone, and
// with sub-second precision).
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

type wireScore struct {
	UserID           string            `json:"userId"`
	Timestamp        string            `json:"timestamp"`
	ScoreGiven       *decimal.Decimal  `json:"scoreGiven,omitempty"`
	ScoreMaximum     *decimal.Decimal  `json:"scoreMaximum,omitempty"`
	Comment          string            `json:"comment,omitempty"`
	ActivityProgress ActivityProgress  `json:"activityProgress"`
	GradingProgress  GradingProgress   `json:"gradingProgress"`
	Submission       *wireSubmission   `json:"submission,omitempty"`
	ScoringUserID    string            `json:"scoringUserId,omitempty"`
	Canvas           *canvasExtensions `json:"https://canvas.instructure.com/lti/submission,omitempty"`
}

type wireSubmission struct {
	StartedAt   string `json:"startedAt,omitempty"`
	SubmittedAt string `json:"submittedAt,omitempty"`
}

// canvasExtensions are an extension of Canvas
// (https://canvas.instructure.com/doc/api/score.html).
type canvasExtensions struct {
	NewSubmission bool `json:"new_submission"`
}

// Encode returns the score as JSON. Equal scores have equal bytes. The error is
// of reason RequestInvalid.
func (s Score) Encode() ([]byte, error) {
	switch {
	case s.UserID == "" || !utf8.ValidString(s.UserID):
		return nil, service.Refuse("the score has no user ID, or one that is not text")
	case s.Timestamp.IsZero() || !plausible(s.Timestamp):
		return nil, service.Refuse("the score has no timestamp")
	case !s.ActivityProgress.Known():
		return nil, service.Refuse("the score has an unknown activity progress")
	case !s.GradingProgress.Known():
		return nil, service.Refuse("the score has an unknown grading progress")
	}
	w := wireScore{
		UserID: s.UserID, Timestamp: format(s.Timestamp), Comment: s.Comment,
		ActivityProgress: s.ActivityProgress, GradingProgress: s.GradingProgress, ScoringUserID: s.ScoringUserID,
	}
	if p := s.Points; p != nil {
		if p.Given.Sign() < 0 || p.Maximum.Sign() <= 0 {
			return nil, service.Refuse("the points are less than 0, or their maximum is not more than 0")
		}
		w.ScoreGiven, w.ScoreMaximum = &p.Given, &p.Maximum
	}
	if started, submitted := format(s.StartedAt), format(s.SubmittedAt); started+submitted != "" {
		w.Submission = &wireSubmission{started, submitted}
	}
	if s.SameSubmission {
		w.Canvas = &canvasExtensions{NewSubmission: false}
	}
	return json.Marshal(w)
}

// format writes a time; "" for none.
func format(t time.Time) string {
	if t.IsZero() || !plausible(t) {
		return ""
	}
	return t.UTC().Format(timeLayout)
}

// Equal reports whether two scores say the same. SameSubmission does not count:
// it says nothing about the score.
func (s Score) Equal(o Score) bool {
	if (s.Points == nil) != (o.Points == nil) || s.Points != nil && *s.Points != *o.Points {
		return false
	}
	return s.UserID == o.UserID && s.Timestamp.Equal(o.Timestamp) && s.Comment == o.Comment &&
		s.ActivityProgress == o.ActivityProgress && s.GradingProgress == o.GradingProgress &&
		s.StartedAt.Equal(o.StartedAt) && s.SubmittedAt.Equal(o.SubmittedAt) && s.ScoringUserID == o.ScoringUserID
}

// PostScore sends a score to a line item. Without an error the platform has
// accepted it.
//
// An error of class Superseded says that the platform has a score with the same
// or a later timestamp. If this one may have arrived before, that may be it: see
// [Score.Stored], and Error.StoredAt. The reasons of class Permanent are
// UserUnknown, LineItemGone, NotPermitted, TokenRefused, ScoreRefused,
// RequestInvalid and Redirected.
func (c *Client) PostScore(ctx context.Context, lineItemURL string, s Score) error {
	if err := checkURL(lineItemURL); err != nil {
		return err
	}
	body, err := s.Encode()
	if err != nil {
		return err
	}
	a, sent, err := c.send(ctx, http.MethodPost, ScoresURL(lineItemURL), "", MediaScore, body)
	if err != nil {
		return err
	}
	if a.OK() {
		return nil
	}
	return scoreRefused(a, sent)
}

// scoreRefused returns the error for an answer to a score.
//
// The specification leaves the statuses open but for 409 (AGS section 3.4.8 asks
// to refuse an older timestamp, which most platforms do with it); what follows
// is what platforms answer.
func scoreRefused(a *service.Answer, sent []string) *service.Error {
	e := a.Refused(service.ScoreRefused, sent...)
	if e.Reason != service.ScoreRefused {
		return e
	}
	switch {
	case a.Status == http.StatusConflict, outdated(a):
		e.Class, e.Reason, e.StoredAt = service.Superseded, service.TimestampOld, storedAt(a)
	case userUnknown(a):
		e.Reason = service.UserUnknown
	case a.Status == http.StatusNotFound, a.Status == http.StatusGone,
		// Moodle, for one of another course or another tool.
		a.Status == http.StatusForbidden && a.Says("line item does not exist"):
		e.Reason = service.LineItemGone
	case a.Status == http.StatusForbidden:
		e.Reason = service.NotPermitted
	}
	return e
}

// outdated recognises a refusal for the timestamp: Canvas says 400 "Provided
// timestamp of … before last updated timestamp of …", Open edX 400 "Score
// timestamp can only be updated to a later point in time".
func outdated(a *service.Answer) bool {
	switch a.Status {
	case http.StatusBadRequest, http.StatusPreconditionFailed, http.StatusUnprocessableEntity:
	default:
		return false
	}
	return a.Says("timestamp") &&
		(a.Says("before last updated") || a.Says("earlier") || a.Says("later point in time") || a.Says("older") || a.Says("more recent"))
}

// storedAt finds the timestamp that Canvas has.
func storedAt(a *service.Answer) time.Time {
	_, rest, ok := strings.Cut(string(a.Body), "last updated timestamp of ")
	if !ok {
		return time.Time{}
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return !strings.ContainsRune("0123456789-+:.TZ", r) })
	if end >= 0 {
		rest = rest[:end]
	}
	t, _ := timestamp(strings.TrimSuffix(rest, "."), false)
	return t
}

// userUnknown recognises a learner that the platform does not have.
func userUnknown(a *service.Answer) bool {
	switch a.Status {
	case http.StatusBadRequest:
		// Moodle answers "[]" to a score of somebody it does not grade. It
		// answers that to an invalid score, too, but ours is not.
		if string(service.Trim(a.Body)) == "[]" {
			return true
		}
	case http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity:
	default:
		return false
	}
	for _, text := range []string{
		"user not found",                 // Canvas 422: "User not found in course or is not a student"
		"user could not be found",        // Blackboard 400
		"user in requested score is not", // Brightspace 403: "… enrolled in the org unit"
		"user in requested score does",   // Brightspace 404: "… not exist"
		"not a student",
		"not enrolled",
		"user does not exist",
	} {
		if a.Says(text) {
			return true
		}
	}
	return false
}

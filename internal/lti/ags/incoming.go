package ags

import (
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// MaxScoreBytes is the longest score that is read.
const MaxScoreBytes = 64 << 10

// maxUserID bounds a user ID, in bytes (Core section 5.3.6.1: sub has at most
// 255 characters).
const maxUserID = 255

// Reading says how something that a tool sent is read.
type Reading int

// How it is read.
const (
	// Strict is what the specification says.
	Strict Reading = iota
	// Lenient also takes what tools send: numbers as strings ("66.00000",
	// Moodle), user IDs as numbers, timestamps whose zone has no colon (Moodle),
	// and anything in members that are not needed.
	Lenient
)

// ParseScore reads a score that a tool sent (AGS section 3.4).
//
// userId, timestamp with a zone, activityProgress and gradingProgress are
// required; scoreMaximum is, more than 0, where there is a scoreGiven; a
// scoreGiven that is null or absent means a score without points. Decimals are
// exact. Members that the specification does not have are ignored.
//
// Refusals: RequestTooLarge, RequestMalformed, ParameterRepeated,
// ParameterMissing, ParameterInvalid. Who may send a score for whom is for the
// caller to check, and so is the order of timestamps.
func ParseScore(body []byte, how Reading) (Score, error) {
	p, err := read(body, MaxScoreBytes, "score", how)
	if err != nil {
		return Score{}, err
	}
	s := Score{
		UserID:           p.user("userId", true),
		Timestamp:        p.time(p.object, "timestamp", true),
		ActivityProgress: ActivityProgress(p.text("activityProgress", true)),
		GradingProgress:  GradingProgress(p.text("gradingProgress", true)),
		Comment:          p.text("comment", false),
		ScoringUserID:    p.user("scoringUserId", false),
		Points:           p.points(),
	}
	if p.err == nil && !s.ActivityProgress.Known() {
		p.invalid("activityProgress")
	}
	if p.err == nil && !s.GradingProgress.Known() {
		p.invalid("gradingProgress")
	}
	s.StartedAt, s.SubmittedAt = p.submission()
	if p.err != nil {
		return Score{}, p.err
	}
	return s, nil
}

// reader reads members and keeps the first refusal.
type reader struct {
	object
	strict bool
	err    error
}

// read reads an object of at most so many bytes; what is what it is called.
func read(body []byte, most int, what string, how Reading) (*reader, error) {
	if len(body) > most {
		return nil, lti.Refuse(lti.RequestTooLarge, "%s of more than %d bytes", what, most)
	}
	o, err := readObject(service.Trim(body))
	switch {
	case errors.Is(err, errRepeated):
		return nil, lti.Refuse(lti.ParameterRepeated, "a member of the %s occurs more than once", what)
	case err != nil:
		return nil, lti.Refuse(lti.RequestMalformed, "%s is not a JSON object", what)
	}
	return &reader{object: o, strict: how == Strict}, nil
}

func (p *reader) invalid(name string) {
	if p.err == nil {
		p.err = lti.Refuse(lti.ParameterInvalid, "member %s has a value that the specification does not allow", name)
	}
}

func (p *reader) missing(name string) {
	if p.err == nil {
		p.err = lti.Refuse(lti.ParameterMissing, "missing: %s", name)
	}
}

// absent handles a member that is not there.
func (p *reader) absent(o object, name string, required bool) bool {
	if o.has(name) {
		return false
	}
	if required {
		p.missing(name)
	}
	return true
}

func (p *reader) text(name string, required bool) string {
	if p.absent(p.object, name, required) {
		return ""
	}
	s, ok := p.str(name)
	if !ok && (p.strict || required) {
		p.invalid(name)
	}
	return s
}

// user reads a user ID.
func (p *reader) user(name string, required bool) string {
	if p.absent(p.object, name, required) {
		return ""
	}
	s, ok := p.str(name)
	if !ok && !p.strict {
		s = p.object.text(name)
	}
	switch {
	case s == "" && ok && required:
		p.missing(name)
	case s == "" && !ok && (p.strict || required):
		p.invalid(name)
	case len(s) > maxUserID, !utf8.ValidString(s), strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		p.invalid(name)
	}
	return s
}

func (p *reader) time(o object, name string, required bool) time.Time {
	if p.absent(o, name, required) {
		return time.Time{}
	}
	s, ok := o.str(name)
	var t time.Time
	if ok {
		t, ok = timestamp(s, p.strict)
	}
	if !ok {
		if p.strict || required {
			p.invalid(name)
		}
		return time.Time{}
	}
	return t
}

func (p *reader) points() *Points {
	// A score without points may still name their maximum; it says nothing.
	if p.absent(p.object, "scoreGiven", false) || p.absent(p.object, "scoreMaximum", true) {
		return nil
	}
	given, ok := p.number("scoreGiven", !p.strict)
	if !ok || given.Sign() < 0 {
		p.invalid("scoreGiven")
	}
	return &Points{Given: given, Maximum: p.maximum()}
}

// maximum reads scoreMaximum, which must be there.
func (p *reader) maximum() decimal.Decimal {
	if p.absent(p.object, "scoreMaximum", true) {
		return decimal.Decimal{}
	}
	maximum, ok := p.number("scoreMaximum", !p.strict)
	if !ok || maximum.Sign() <= 0 {
		p.invalid("scoreMaximum")
	}
	return maximum
}

// submission reads the times of the submission, if there is one.
func (p *reader) submission() (started, submitted time.Time) {
	if p.absent(p.object, "submission", false) {
		return started, submitted
	}
	o, err := readObject(p.object["submission"])
	if err != nil {
		if p.strict {
			p.invalid("submission")
		}
		return started, submitted
	}
	return p.time(o, "startedAt", false), p.time(o, "submittedAt", false)
}

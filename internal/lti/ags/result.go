package ags

import (
	"context"
	"net/url"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// Result is what a platform has for a learner in a line item (AGS section 3.3).
// It need not be what a tool sent: teachers change results.
type Result struct {
	// ID is its URL.
	ID string
	// ScoreOf is the URL of the line item.
	ScoreOf string
	UserID  string
	// Score is nil if there is none.
	Score *decimal.Decimal
	// Maximum is 1 if the platform does not say another (AGS section 3.3.5).
	Maximum decimal.Decimal
	Comment string
	// Timestamp is that of the score; zero if it is not told, which only Moodle
	// does, in whole seconds.
	Timestamp time.Time
}

func readResult(text []byte) (Result, bool) {
	o, err := readObject(text)
	if err != nil {
		return Result{}, false
	}
	r := Result{ID: o.text("id"), ScoreOf: o.text("scoreOf"), UserID: o.text("userId"), Comment: o.text("comment")}
	if score, ok := o.number("resultScore", true); ok {
		r.Score = &score
	}
	if r.Maximum, _ = o.number("resultMaximum", true); r.Maximum.Sign() <= 0 {
		r.Maximum = decimal.FromInt(1)
	}
	if s, ok := o.str("timestamp"); ok {
		r.Timestamp, _ = timestamp(s, false)
	}
	return r, true
}

// Results returns the results of a line item: of one learner, unless userID is
// empty. It selects again what comes: some platforms ignore the filter.
func (c *Client) Results(ctx context.Context, lineItemURL, userID string) ([]Result, error) {
	if err := checkURL(lineItemURL); err != nil {
		return nil, err
	}
	var found []Result
	err := c.list(ctx, ResultsURL(lineItemURL, userID), MediaResultContainer, func(_ *url.URL, element []byte, status int) error {
		r, ok := readResult(element)
		if !ok {
			return service.Invalid(status, "an element of the list is not a result")
		}
		if userID == "" || r.UserID == userID {
			found = append(found, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Stored is what results tell about a score.
type Stored string

// What is stored.
const (
	// StoredThis: the platform has this score.
	StoredThis Stored = "This"
	// StoredOther: the platform has another one.
	StoredOther Stored = "Other"
	// StoredUnknown: the results do not tell.
	StoredUnknown Stored = "Unknown"
)

// Stored compares a score that was refused as superseded with the results of its
// learner: is it the one that the platform has, sent before and accepted without
// our getting the answer?
//
// Where the platform tells timestamps they decide, in whole seconds. Otherwise
// it is the points, scaled to the maximum of the platform and as exact as grade
// books are, a ten-thousandth of the maximum. Equal points are no proof, but
// then there is nothing left to be done either.
func (s Score) Stored(results []Result) Stored {
	answer := StoredUnknown
	for _, r := range results {
		if r.UserID != s.UserID {
			continue
		}
		answer = StoredOther
		switch {
		case !r.Timestamp.IsZero():
			if r.Timestamp.Unix() == s.Timestamp.Unix() {
				return StoredThis
			}
		case s.Points == nil || r.Score == nil:
			if s.Points == nil && r.Score == nil {
				return StoredThis
			}
		case nearly(*s.Points, *r.Score, r.Maximum):
			return StoredThis
		}
	}
	return answer
}

// nearly reports whether given/p.Maximum and score/maximum differ by at most
// 1/10000.
func nearly(p Points, score, maximum decimal.Decimal) bool {
	difference := p.Given.Mul(maximum).Sub(score.Mul(p.Maximum)).Abs()
	return difference.Mul(decimal.FromInt(10_000)).Cmp(p.Maximum.Mul(maximum)) <= 0
}

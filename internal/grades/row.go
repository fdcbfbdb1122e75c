// SPDX-License-Identifier: Apache-2.0

package grades

import (
	"time"
)

// Protocol is how a gradebook is reached.
type Protocol string

// The protocols.
const (
	// ProtocolAGS is Assignment and Grade Services 2.0. Each message has a timestamp, and a gradebook keeps the newest.
	ProtocolAGS Protocol = "AGS"
	// ProtocolOutcomes is Basic Outcomes 1.1. Messages have no time: a gradebook keeps what arrives last.
	ProtocolOutcomes Protocol = "BasicOutcomes"
)

// Outcome is what came of one message.
type Outcome string

// The outcomes.
const (
	// Accepted: the gradebook holds what was sent.
	Accepted Outcome = "Accepted"
	// Superseded: the gradebook has a message of the same or a later time (AGS answers 409).
	Superseded Outcome = "Superseded"
	// Refused: it will never take this; somebody has to change something.
	Refused Outcome = "Refused"
	// NotSent: nothing was sent, or certainly nothing was taken; it is worth trying again.
	NotSent Outcome = "NotSent"
	// Unknown: it may have been taken, now or later, or not: no answer, or one that says nothing.
	Unknown Outcome = "Unknown"
)

// Row is one grade of one learner for one link, as far as sending it goes. Versions count what was wanted; a grade is
// confirmed when Confirmed equals Wanted.
type Row struct {
	Protocol Protocol `json:"protocol"`
	// Wanted is the version of the grade that the gradebook shall hold; 0 for none.
	Wanted int64 `json:"wanted,omitempty"`
	// Confirmed is the newest version that it is known to have taken.
	Confirmed int64 `json:"confirmed,omitempty"`
	// Sent is the version of the newest message, and SentAt the timestamp in it.
	Sent   int64     `json:"sent,omitempty"`
	SentAt time.Time `json:"sentAt,omitzero"`
	// TriedAt is when the newest message was sent, by our clock.
	TriedAt time.Time `json:"triedAt,omitzero"`
	// Ambiguous is set while a message with the version and timestamp of the newest one may have been taken without an
	// answer.
	Ambiguous bool `json:"ambiguous,omitempty"`
	// LooseUntil is until when a message that nobody has answered may still arrive; zero for none. With Basic Outcomes it
	// replaces a newer grade then.
	LooseUntil time.Time `json:"looseUntil,omitzero"`
	// Loose is the version of such messages; mixed if there are several.
	Loose int64 `json:"loose,omitempty"`
	// Attempts since anything was last accepted, or wanted.
	Attempts int `json:"attempts,omitempty"`
	// DueAt is when to send next, if anything is to be sent.
	DueAt time.Time `json:"dueAt,omitzero"`
	// Parked says why nothing is sent until somebody asks for it, or there is a new grade or a new launch; empty for not
	// parked.
	Parked string `json:"parked,omitempty"`
	// Problem is the reason of the last attempt that failed; empty once one succeeded.
	Problem string `json:"problem,omitempty"`
}

// Pauses.
const (
	firstRetry = time.Second
	lastRetry  = 15 * time.Minute
	// longestWait bounds what another system may ask for with Retry-After.
	longestWait = time.Hour
	// overtaking is how long a message that nobody has answered may be on its way.
	overtaking = 2 * time.Minute
	// clockTolerance is how far ahead of the clock a timestamp may be and be waited for. More means that the clock was set
	// back.
	clockTolerance = 3 * time.Second
	// supersededRetries is how often a later timestamp is tried when a gradebook has a later one than ours, from somebody
	// else.
	supersededRetries = 5
)

// mixed stands for messages of several versions in Row.Loose.
const mixed = -1

// ReasonSuperseded is why a row is parked whose gradebook keeps answering that it has something newer.
const ReasonSuperseded = "Superseded"

// Want makes a new version wanted.
func (r Row) Want(now time.Time) Row {
	r.Wanted++
	return r.Resend(now)
}

// Again has what is wanted sent once more, whatever became of it. What the gradebook has is a new version, and so is what may
// be on its way: the answer to a message from before is none to the one that is asked for.
func (r Row) Again(now time.Time) Row {
	switch {
	case r.Wanted == 0:
		return r
	case r.Wanted == r.Confirmed, r.Wanted == r.Sent && r.Ambiguous:
		return r.Want(now)
	}
	return r.Resend(now)
}

// Resend makes the row due, and forgets why it was parked.
func (r Row) Resend(now time.Time) Row {
	r.Parked, r.Problem, r.Attempts, r.DueAt = "", "", 0, now
	return r
}

// Pending tells whether anything is still to be sent, parked or not.
func (r *Row) Pending() bool { return r.Wanted != r.Confirmed || r.threatened() }

// threatened tells whether an older message may yet replace the grade: it is sent once more when none can.
func (r *Row) threatened() bool {
	return r.Protocol == ProtocolOutcomes && r.Confirmed > 0 && !r.LooseUntil.IsZero() && r.Loose != r.Wanted
}

// Next tells whether a message is to be sent now. If so it returns the row as it must be stored before the message is
// sent: with the version and the timestamp of the message, and its fate unknown. If not, DueAt of the row that is returned
// says when to ask again, unless nothing is pending.
func (r Row) Next(now time.Time) (row Row, send bool) {
	if r.Parked != "" || !r.Pending() || !r.due(now) {
		return r, false
	}
	if r.LooseUntil.Sub(now) > overtaking {
		r.LooseUntil = now.Add(overtaking) // the clock was set back
	}
	if r.Sent != r.Wanted {
		// Gradebooks compare whole seconds. A message that is sent again has the timestamp that it had, so that the one
		// that was sent before and this one are the same to the gradebook.
		at := now
		if earliest := r.SentAt.Truncate(time.Second).Add(time.Second); at.Before(earliest) {
			at = earliest
		}
		if wait := at.Sub(now); r.Protocol == ProtocolAGS && wait > 0 && wait <= clockTolerance {
			r.DueAt = at
			return r, false
		}
		r.Sent, r.SentAt, r.Ambiguous = r.Wanted, at, false
	}
	r.TriedAt = now
	return r, true
}

// due tells whether the pause is over. Nothing waits for longer than longestWait: a row that seems to has been told so
// before the clock was set back.
func (r *Row) due(now time.Time) bool {
	wait := r.DueAt.Sub(now)
	return wait <= 0 || wait > longestWait
}

// Sending returns the row as it must be stored before its message is sent: whoever finds it later knows that the message
// may be on its way.
func (r Row) Sending() Row {
	r.Ambiguous = true
	if r.LooseUntil.IsZero() || r.Loose == r.Sent {
		r.Loose = r.Sent
	} else {
		r.Loose = mixed
	}
	r.LooseUntil = r.TriedAt.Add(overtaking)
	return r
}

// Settled returns the row after a message. before is the row as Next returned it; r is the row now, which may want more
// since. after is what the answer asked to wait at least, and jitter a number from 0 to 1 that spreads retries.
func (r Row) Settled(before *Row, outcome Outcome, reason string, now time.Time, after time.Duration, jitter float64) Row {
	then := *before
	if outcome == Unknown {
		then = before.Sending()
	}
	if outcome == Superseded && before.Ambiguous {
		// The message before this one, with the same timestamp, was taken.
		outcome = Accepted
	}
	r.Sent, r.SentAt, r.TriedAt = then.Sent, then.SentAt, then.TriedAt
	r.Ambiguous, r.LooseUntil, r.Loose = then.Ambiguous, then.LooseUntil, then.Loose
	if outcome == Accepted {
		if !r.TriedAt.Before(r.LooseUntil) {
			r.LooseUntil, r.Loose = time.Time{}, 0
		}
		r.Confirmed, r.Ambiguous = before.Sent, false
		r.Attempts, r.Parked, r.Problem = 0, "", ""
		r.DueAt = now
		if r.Wanted == r.Confirmed && r.threatened() {
			r.DueAt = r.LooseUntil
		}
		return r
	}
	r.Problem = reason
	if outcome == Refused {
		if r.Wanted == before.Sent {
			r.Parked = reason
		}
		return r
	}
	r.Attempts++
	if outcome == Superseded {
		if r.Attempts > supersededRetries {
			r.Parked = ReasonSuperseded
			return r
		}
		r.Sent = 0 // so that it gets a later timestamp
	}
	r.DueAt = now.Add(max(pause(r.Attempts, jitter), min(after, longestWait)))
	return r
}

// pause is how long to wait after so many failures in a row: doubling, and spread by a fifth to both sides so that a
// thousand rows do not come back at once.
func pause(attempts int, jitter float64) time.Duration {
	p := lastRetry
	if attempts < 11 {
		p = min(lastRetry, firstRetry<<max(0, attempts-1))
	}
	return time.Duration(float64(p) * (0.8 + 0.4*jitter))
}

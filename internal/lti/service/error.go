// Package service holds what calls to the services of another LTI system have
// in common: how a request goes out, how much of an answer is read, and what an
// answer means for whoever has to send the same thing again. What our own
// services have in common is here too: pages of lists, and media types of bodies.
//
// Nothing here keeps state, and nothing repeats a request on its own: when to
// try again is decided where the thing to be sent is stored.
package service

import (
	"errors"
	"strconv"
	"time"
)

// Class says what to do after a call that was not accepted.
type Class string

// The classes of an [Error].
const (
	// Temporary: send the same again later, not before Error.RetryAfter.
	Temporary Class = "Temporary"
	// Permanent: sending the same again does not help until somebody has
	// changed something.
	Permanent Class = "Permanent"
	// Superseded: the other system has a value that it takes for as new as this
	// one, or newer. Perhaps it is this very one, sent before and accepted
	// without our getting the answer.
	Superseded Class = "Superseded"
)

// Reason names why a call was not accepted. Reasons are part of the product's
// interface: administrators see them, and they do not change their meaning.
type Reason string

// The reasons of an [Error].
const (
	// Unreachable: there was no answer, or not all of it. The cause is in
	// Error.Err; if it is that our own guard does not allow the address, asking
	// again is of no use although the class is Temporary.
	Unreachable Reason = "Unreachable"
	// Unavailable: the other system says that it has a problem (5xx).
	Unavailable Reason = "Unavailable"
	// Throttled: we ask too often (429, and 403 at Canvas).
	Throttled Reason = "Throttled"
	// Redirected: the answer is a redirect. It is not followed, because the
	// request carries a token or a signature. Class Permanent for 301 and 308;
	// others are what systems answer during maintenance.
	Redirected Reason = "Redirected"
	// AnswerInvalid: the answer cannot be understood.
	AnswerInvalid Reason = "AnswerInvalid"

	// ClientRefused: the token endpoint does not accept our client ID or our
	// key. Although the class is Permanent it may pass by itself, because
	// platforms keep our key set for hours after we publish a new key.
	ClientRefused Reason = "ClientRefused"
	// ScopeRefused: the token endpoint does not grant what we ask for.
	ScopeRefused Reason = "ScopeRefused"
	// TokenRefused: the service refused an access token, and a new one too.
	TokenRefused Reason = "TokenRefused"
	// SignatureRefused: the outcome service accepts neither our consumer key
	// nor our signature.
	SignatureRefused Reason = "SignatureRefused"

	// NotPermitted: we may not do this.
	NotPermitted Reason = "NotPermitted"
	// UserUnknown: the other system has no such learner in the course, or not
	// in a role that is graded.
	UserUnknown Reason = "UserUnknown"
	// LineItemGone: the column in the grade book, the link or the course does
	// not exist any more.
	LineItemGone Reason = "LineItemGone"
	// ScoreRefused: the score was refused for another reason.
	ScoreRefused Reason = "ScoreRefused"
	// RequestRefused: a request other than for a score was refused.
	RequestRefused Reason = "RequestRefused"
	// OperationUnsupported: the outcome service does not know the operation.
	OperationUnsupported Reason = "OperationUnsupported"

	// TimestampOld: class Superseded.
	TimestampOld Reason = "TimestampOld"

	// RequestInvalid: the request cannot be put together from what it is made
	// of, so that nothing was sent.
	RequestInvalid Reason = "RequestInvalid"
)

// Reasons returns every reason, in the order of this file.
func Reasons() []Reason {
	return []Reason{
		Unreachable, Unavailable, Throttled, Redirected, AnswerInvalid,
		ClientRefused, ScopeRefused, TokenRefused, SignatureRefused,
		NotPermitted, UserUnknown, LineItemGone, ScoreRefused, RequestRefused, OperationUnsupported,
		TimestampOld,
		RequestInvalid,
	}
}

// Error is a call to a service that was not accepted.
type Error struct {
	Class  Class
	Reason Reason
	// Status is the HTTP status of the answer; 0 if there was none.
	Status int
	// RetryAfter is how long the other system asks us to wait, at most
	// MaxRetryAfter; 0 if it does not say.
	RetryAfter time.Duration
	// Uncertain says that the other system may have acted upon the request, or
	// may yet: there was no answer, or none that tells. Otherwise it has not.
	Uncertain bool
	// StoredAt is the timestamp of the value that the other system has, if the
	// class is Superseded and the answer tells it (Canvas does).
	StoredAt time.Time
	// Detail says in our words what is wrong; it may be empty. It holds no
	// secrets, and nothing that the other system wrote.
	Detail string
	// Remote is what the other system says is wrong, see [Excerpt]. It is
	// hostile text for an administrator to read, and no part of the text of the
	// error.
	Remote string
	// Err is the cause, if there is one. It is not part of the text either.
	Err error
}

// Refuse returns an error that was found out without asking: class Permanent,
// reason RequestInvalid.
func Refuse(detail string) *Error {
	return &Error{Class: Permanent, Reason: RequestInvalid, Detail: detail}
}

// Invalid returns the error for an answer that cannot be understood. Its class
// is Temporary: a page of a proxy or of a login looks like that as well. What
// became of the request is uncertain.
func Invalid(status int, detail string) *Error {
	return &Error{Class: Temporary, Reason: AnswerInvalid, Status: status, Uncertain: true, Detail: detail}
}

// Error returns reason, status and detail.
func (e *Error) Error() string {
	text := string(e.Reason)
	if e.Status != 0 {
		text += " (status " + strconv.Itoa(e.Status) + ")"
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf returns the reason of the [Error] in err's chain, or "".
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

// ClassOf returns the class of the [Error] in err's chain. An error of another
// kind is Temporary: who does not know what happened sends again.
func ClassOf(err error) Class {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Temporary
}

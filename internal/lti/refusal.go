package lti

import (
	"errors"
	"fmt"
	"time"
)

// Clock tells the time. Everything that compares timestamps takes one, so that
// a recorded message can be verified at the moment it was recorded.
type Clock func() time.Time

// A Refusal says why a message was not acted upon.
//
// It is data, not a page: the HTTP surface looks the code up with
// [Code.Reason] and renders title, advice and status in one place.
type Refusal struct {
	// Code is the stable reason; it appears in metrics, pages and documentation.
	Code Code

	// Detail adds what the reader of a log needs: names of parameters and
	// claims, never their contents, never secrets, signatures or tokens.
	Detail string

	// Value is the identifier an administrator has to know to act on the
	// refusal. It is set for [DeploymentUnknown] and [DeploymentDeactivated]
	// only, and only after the message proved to come from the platform;
	// at most 255 printable ASCII characters.
	Value string

	// Err is the cause, if there is one. It is not part of the message of the
	// refusal, because a cause may quote what the other party sent.
	Err error
}

// Refuse returns a refusal whose detail is formatted like [fmt.Sprintf].
func Refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Because returns a copy of the refusal that unwraps to err.
func (r *Refusal) Because(err error) *Refusal {
	c := *r
	c.Err = err
	return &c
}

// Error returns code and detail.
func (r *Refusal) Error() string {
	if r.Detail == "" {
		return string(r.Code)
	}
	return string(r.Code) + ": " + r.Detail
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// Is reports whether target is a refusal with the same code, so that
// errors.Is(err, &Refusal{Code: Replayed}) works without looking at details.
func (r *Refusal) Is(target error) bool {
	t, ok := target.(*Refusal)
	return ok && t.Code == r.Code && t.Detail == "" && t.Value == "" && t.Err == nil
}

// CodeOf returns the code of the refusal in err's chain, the empty code for a
// nil error and [InternalError] for every other error.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var r *Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return InternalError
}

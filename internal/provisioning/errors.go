// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a person can be told.
var (
	// ErrSuspended reports an account that is not active.
	ErrSuspended = errors.New("account is suspended")
	// ErrGone reports that the remembered account does not exist any more.
	// Nothing was looked up or created in its place.
	ErrGone = errors.New("account does not exist any more")
	// ErrEmailInUse reports that the person's email address belongs to an
	// account that the person may not be linked to: linking by email is not
	// allowed, or there is not exactly one active account that the link filter
	// lets through.
	ErrEmailInUse = errors.New("email address belongs to another account")
	// ErrMissingUserData reports that an account cannot be created without more
	// about the person; see [MissingUserDataError].
	ErrMissingUserData = errors.New("not enough is known about the person")
	// ErrInvalidPerson reports a person without realm or user id, or with one
	// that is not text.
	ErrInvalidPerson = errors.New("person has no usable identifier")
)

// What an administrator has to look at.
var (
	// ErrUnavailable reports that the server did not answer, or asks to come
	// back later. The same call may be repeated, and should be: whether the
	// server acted is not known. See [RetryAfter].
	ErrUnavailable = errors.New("directory is not available")
	// ErrNotAuthorised reports that the server does not accept the token, or
	// does not allow it what is needed. Repeating does not help until somebody
	// has changed something.
	ErrNotAuthorised = errors.New("directory does not accept the token")
	// ErrProtocol reports that the server refused the request for another
	// reason, or gave an answer that cannot be used. Repeating does not help
	// until somebody has changed something.
	ErrProtocol = errors.New("directory gave an unusable answer")
	// ErrAmbiguous reports several accounts with one external id, or several
	// groups with one name.
	ErrAmbiguous = errors.New("directory has more than one of what must be unique")
	// ErrGroupUnknown reports that there is no such group, and that it may not
	// be created.
	ErrGroupUnknown = errors.New("group does not exist")
)

// MissingUserDataError is the [ErrMissingUserData] that says what is missing.
type MissingUserDataError struct {
	// Missing names what is missing: "email", "given_name", "family_name".
	Missing []string
}

// Error lists the names of what is missing.
func (e *MissingUserDataError) Error() string {
	return ErrMissingUserData.Error() + ": " + strings.Join(e.Missing, ", ") + " missing"
}

// Is makes it an ErrMissingUserData.
func (e *MissingUserDataError) Is(target error) bool { return target == ErrMissingUserData }

// CallError is a request that was not answered as hoped. Its text holds nothing
// that the server wrote, no identifiers and no personal data.
type CallError struct {
	// Kind is ErrUnavailable, ErrNotAuthorised or ErrProtocol.
	Kind error
	// Op is the request, such as "GET Users" or "PATCH Groups/{id}".
	Op string
	// Status is the HTTP status of the answer; 0 if there was none.
	Status int
	// ScimType is the error keyword of RFC 7644 section 3.12 that the server
	// gave; empty if it gave none, or one that the RFC does not have.
	ScimType string
	// RetryAfter is how long the server asks to be left alone; 0 if it does
	// not say. Only with ErrUnavailable.
	RetryAfter time.Duration
	// Detail says in our words what is wrong; it may be empty.
	Detail string
	// Err is the cause, if there is one that can be shown: the end of a context
	// or an error of package egress.
	Err error

	tooLarge bool
}

// Error describes the failure for a log.
func (e *CallError) Error() string {
	text := e.Kind.Error() + ": " + e.Op
	if e.Status != 0 {
		text += ": status " + strconv.Itoa(e.Status)
	}
	if e.ScimType != "" {
		text += " " + e.ScimType
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Unwrap returns the kind and the cause.
func (e *CallError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// RetryAfter returns how long the server asked to be left alone, at most
// [MaxRetryAfter]; 0 if err is something else, or if the server did not say.
func RetryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*CallError](err); ok {
		return e.RetryAfter
	}
	return 0
}

// statusOf returns the status of the answer behind an error; 0 if there is none.
func statusOf(err error) int {
	if e, ok := errors.AsType[*CallError](err); ok {
		return e.Status
	}
	return 0
}

// isTooLarge tells whether a good answer was too long to be read.
func isTooLarge(err error) bool {
	e, ok := errors.AsType[*CallError](err)
	return ok && e.tooLarge
}

// knownScimType returns a keyword of RFC 7644 section 3.12, or "": what a server
// writes does not get into our errors.
func knownScimType(s string) string {
	known := []string{
		"invalidFilter", "tooMany", "uniqueness", "mutability", "invalidSyntax", "invalidPath", "noTarget",
		"invalidValue", "invalidVers", "sensitive",
	}
	if slices.Contains(known, s) {
		return s
	}
	return ""
}

package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"code.dny.dev/ssrf"
)

// Kind says what went wrong, as far as it decides what to do next.
type Kind string

// The kinds of an [Error].
const (
	// Blocked means that the guard refused: asking again does not help.
	Blocked Kind = "Blocked"
	// Unreachable means that there was no usable answer.
	Unreachable Kind = "Unreachable"
	// Timeout means that the answer took too long.
	Timeout Kind = "Timeout"
	// Status means that the answer was not 200.
	Status Kind = "Status"
	// TooLarge means that the body was longer than allowed.
	TooLarge Kind = "TooLarge"
)

// Error is what every function of a [Client] fails with. Its text never
// contains the query of a URL, where other parties put credentials.
type Error struct {
	Kind Kind
	// Op is the HTTP method.
	Op string
	// URL without its query and user.
	URL string
	// Status is set for kind Status.
	Status int
	// Err is the cause; its own text may contain what Error leaves out.
	Err error
}

// Error describes the failure for a log.
func (e *Error) Error() string {
	text := e.Op + " " + e.URL + ": "
	switch {
	case e.Kind == Status:
		return text + fmt.Sprintf("status %d", e.Status)
	case e.Kind == TooLarge:
		return text + "response is too large"
	case e.Err == nil:
		return text + string(e.Kind)
	}
	return text + string(e.Kind) + ": " + queries().ReplaceAllString(e.Err.Error(), "")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// queries matches what follows a question mark in a URL: net/http quotes a bad
// Location header in its errors.
func queries() *regexp.Regexp { return regexp.MustCompile(`\?[^\s"']*`) }

// blockedError is a refusal by our own rules.
type blockedError struct{ reason string }

func (e *blockedError) Error() string { return e.reason }

// wrap turns an error of net/http into an [Error].
func wrap(req *http.Request, err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	e := &Error{Op: req.Method, URL: stripQuery(req.URL.String()), Err: err}
	// url.Error repeats method and URL, with the query.
	if ue, ok := errors.AsType[*url.Error](err); ok {
		e.URL, e.Err = stripQuery(ue.URL), ue.Err
	}
	e.Kind = KindOf(err)
	return e
}

// KindOf returns what went wrong when a request failed with err. It is for users
// of [Client.HTTP], whose errors are those of net/http; a [Client] itself says so
// in an [Error]. It returns "" for nil, and Unreachable for what it does not know.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var own *Error
	var blocked *blockedError
	var timeout net.Error
	switch {
	case errors.As(err, &own):
		return own.Kind
	case errors.As(err, &blocked), errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork), errors.Is(err, ssrf.ErrProhibitedPort), errors.Is(err, ssrf.ErrInvalidHostPort):
		return Blocked
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	}
	return Unreachable
}

// stripQuery returns a URL without query, fragment and user.
func stripQuery(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		raw, _, _ = strings.Cut(raw, "?")
		raw, _, _ = strings.Cut(raw, "#")
		if i := strings.LastIndexByte(raw, '@'); i >= 0 {
			raw = raw[i+1:]
		}
		return raw
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	return u.String()
}

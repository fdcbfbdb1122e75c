// SPDX-License-Identifier: Apache-2.0

package learner

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"golang.org/x/oauth2"

	"github.com/lti-operator/lti-operator/internal/egress"
)

// Kind says what to do about an [Error].
type Kind string

// The kinds of an [Error].
const (
	// Unavailable means that the provider did not answer, or says that it cannot now: the learner may try again.
	Unavailable Kind = "Unavailable"
	// Refused means that the provider answered with an error, see Code: the learner did not sign in, or we are not allowed
	// to ask.
	Refused Kind = "Refused"
	// Invalid means that there is an answer that must not be trusted: an administrator has to look at it.
	Invalid Kind = "Invalid"
)

// Error is what every function of a [Provider] fails with. Its text never holds a token, a secret, a code, or anything that
// the provider wrote except for a Code.
type Error struct {
	Kind Kind
	// Code is what the provider said, for kind Refused, and for Unavailable if it said so itself. It is one of the error
	// codes of OAuth 2.0 and OpenID Connect, or CodeOther.
	Code string
	// Reason is where it happened and what, in our words.
	Reason string
	// Err is the cause, for errors.Is. Its own text may contain what Error leaves out.
	Err error
}

// CodeOther stands for error codes that no specification knows: whatever text it is, it is not repeated.
const CodeOther = "other"

// Error describes the failure for a log.
func (e *Error) Error() string {
	text := "identity provider: " + e.Reason
	if e.Code != "" {
		text += ": " + e.Code
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func unavailable(where string, err error) *Error {
	return &Error{Kind: Unavailable, Reason: where + ": " + why(err), Err: err}
}

func invalid(format string, args ...any) *Error {
	return &Error{Kind: Invalid, Reason: fmt.Sprintf(format, args...)}
}

// refused is the error for an error code of the provider, and none but ours for anything else.
func refused(where, code string) *Error {
	e := &Error{Kind: Refused, Reason: where + ": refused", Code: CodeOther}
	switch code {
	case "server_error", "temporarily_unavailable":
		e.Kind, e.Code = Unavailable, code
	case
		// RFC 6749 section 4.1.2.1.
		"invalid_request", "unauthorized_client", "access_denied", "unsupported_response_type", "invalid_scope",
		// RFC 6749 section 5.2.
		"invalid_client", "invalid_grant", "unsupported_grant_type",
		// OpenID Connect Core 1.0 section 3.1.2.6.
		"interaction_required", "login_required", "account_selection_required", "consent_required",
		"invalid_request_uri", "invalid_request_object", "request_not_supported", "request_uri_not_supported",
		"registration_not_supported":
		e.Code = code
	}
	return e
}

// why says in our own words what went wrong with a request: the errors of net/http quote answers and URLs.
func why(err error) string {
	switch egress.KindOf(err) {
	case egress.Blocked:
		return "its address must not be reached from here"
	case egress.Timeout:
		return "no answer in time"
	}
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return "nobody waits for the answer any more"
	case errors.As(err, &name):
		return "its name does not resolve"
	case errors.As(err, &certificate):
		return "its certificate is not trusted"
	case errors.As(err, &op) && op.Op == "dial":
		return "no connection"
	}
	return "no usable answer"
}

// fetchError is the error for what oauth2 and go-oidc make of a failed request. otherwise is for answers that they could not
// read.
func fetchError(where string, err error, otherwise *Error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		// Of the transport, which does not know what the request was for.
		c := *e
		c.Reason = where + ": " + e.Reason
		return &c
	}
	var answer *oauth2.RetrieveError
	var request *url.Error
	switch {
	case errors.As(err, &answer):
		return answerError(where, answer)
	case errors.As(err, &request), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return unavailable(where, err)
	}
	return otherwise
}

// answerError is the error for an answer of the token endpoint that is not one of success (RFC 6749 section 5.2).
func answerError(where string, answer *oauth2.RetrieveError) *Error {
	status := answer.Response.StatusCode
	switch {
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return &Error{Kind: Unavailable, Reason: fmt.Sprintf("%s: status %d", where, status)}
	case status >= 300 && status <= 399:
		// Followed, the secret and the code would go to somebody else.
		return invalid("%s: it redirects, with status %d", where, status)
	case answer.ErrorCode != "":
		return refused(where, answer.ErrorCode)
	}
	return invalid("%s: status %d", where, status)
}

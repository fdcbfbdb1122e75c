package token

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// maxScopes is how many scopes one request may ask for. LTI has about ten.
const maxScopes = 100

// TokenRequest is what a tool sends to our token endpoint. Nothing in it is
// verified.
type TokenRequest struct {
	// Assertion is for [AssertionVerifier.Verify].
	Assertion string
	// Scopes are what is asked for, at least one, each once, in the order of the
	// request.
	Scopes []string
	// ClientID is client_id, which a tool may send besides (RFC 7521 section 4.2:
	// it must be the client of the assertion then); "" if absent.
	ClientID string
}

// String returns no part of the assertion.
func (TokenRequest) String() string { return "[redacted token request]" }

// GoString returns no part of the assertion.
func (r TokenRequest) GoString() string { return r.String() }

// LogValue returns no part of the assertion.
func (r TokenRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }

// ParseTokenRequest reads the form of a token request: client credentials with a
// signed assertion (RFC 6749 section 4.4.2, RFC 7523 section 2.2). Parameters that
// are not known are ignored, and those without a value count as absent (RFC 6749
// section 3.2).
//
// Refusals: ParameterRepeated, ParameterMissing, ParameterInvalid,
// GrantUnsupported, and ScopeNotGranted for a request without scopes: there is no
// default (RFC 6749 section 3.3).
func ParseTokenRequest(params lti.Params) (TokenRequest, error) {
	var r TokenRequest
	var grant, kind, scope string
	for _, f := range []struct {
		name string
		to   *string
	}{
		{"grant_type", &grant},
		{"client_assertion_type", &kind},
		{"client_assertion", &r.Assertion},
		{"scope", &scope},
		{"client_id", &r.ClientID},
	} {
		v, _, err := params.Only(f.name)
		if err != nil {
			return TokenRequest{}, err
		}
		*f.to = v
	}
	switch {
	case grant == "":
		return TokenRequest{}, lti.Refuse(lti.ParameterMissing, "missing: grant_type")
	case grant != "client_credentials":
		return TokenRequest{}, lti.Refuse(lti.GrantUnsupported, "grant_type must be client_credentials")
	case kind == "":
		return TokenRequest{}, lti.Refuse(lti.ParameterMissing, "missing: client_assertion_type")
	case kind != AssertionType:
		return TokenRequest{}, lti.Refuse(lti.ParameterInvalid, "client_assertion_type must be %s", AssertionType)
	case r.Assertion == "":
		return TokenRequest{}, lti.Refuse(lti.ParameterMissing, "missing: client_assertion")
	}
	for s := range strings.FieldsSeq(scope) {
		if !slices.Contains(r.Scopes, s) {
			r.Scopes = append(r.Scopes, s)
		}
		if len(r.Scopes) > maxScopes {
			return TokenRequest{}, lti.Refuse(lti.ParameterInvalid, "scope has more than %d members", maxScopes)
		}
	}
	if len(r.Scopes) == 0 {
		return TokenRequest{}, lti.Refuse(lti.ScopeNotGranted, "missing: scope")
	}
	return r, nil
}

// Grant returns which of the requested scopes are allowed, in the order of the
// request. If there are none the caller refuses with ScopeNotGranted.
func Grant(requested, allowed []string) []string {
	var granted []string
	for _, s := range requested {
		if slices.Contains(allowed, s) && !slices.Contains(granted, s) {
			granted = append(granted, s)
		}
	}
	return granted
}

// OAuthError returns the error code with which a token endpoint answers a refusal
// (RFC 6749 section 5.2). Whatever is wrong with the assertion, or with the tool
// that it names, is invalid_client. For our own failures, which that section does
// not have, it is what section 4.1.2.1 calls them.
func OAuthError(code lti.Code) string {
	switch code {
	case lti.GrantUnsupported:
		return "unsupported_grant_type"
	case lti.ScopeNotGranted:
		return "invalid_scope"
	case lti.RequestMalformed, lti.RequestTooLarge, lti.MethodNotAllowed,
		lti.ParameterMissing, lti.ParameterRepeated, lti.ParameterInvalid:
		return "invalid_request"
	case lti.KeysUnreachable, lti.NotRegistered:
		return "invalid_client"
	}
	switch code.Reason().Status {
	case http.StatusServiceUnavailable:
		return "temporarily_unavailable"
	case http.StatusInternalServerError:
		return "server_error"
	}
	return "invalid_client"
}

// Answer is what a token endpoint gives (RFC 6749 section 5.1). Encoded as JSON it
// holds the token, its text does not.
type Answer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	// ExpiresIn is in seconds.
	ExpiresIn int64  `json:"expires_in"`
	Scope     string `json:"scope"`
}

// NewAnswer returns the answer for a bearer token with scopes that is valid for
// some time; less than a second is not told.
func NewAnswer(accessToken string, lifetime time.Duration, scopes []string) Answer {
	return Answer{AccessToken: accessToken, TokenType: "Bearer", ExpiresIn: int64(lifetime / time.Second), Scope: strings.Join(scopes, " ")}
}

// String returns no part of the token.
func (Answer) String() string { return redacted }

// GoString returns no part of the token.
func (Answer) GoString() string { return redacted }

// LogValue returns no part of the token.
func (Answer) LogValue() slog.Value { return slog.StringValue(redacted) }

package token

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// Limits of an answer.
const (
	maxAnswer = 64 << 10
	// maxToken bounds an access token: it goes into a header of every request.
	maxToken = 16 << 10
	// UnknownLifetime is how long a token is used whose answer does not say it
	// (expires_in is only recommended, RFC 6749 section 5.1).
	UnknownLifetime = 5 * time.Minute
	// LongestLifetime is how long a token is used at most, whatever the answer
	// says.
	LongestLifetime = 24 * time.Hour
)

// Token is an access token. Its text does not contain it.
type Token struct {
	// Value goes after "Bearer " into the Authorization header.
	Value string
	// Scopes are those that were granted, as the answer says or, if it does not
	// (RFC 6749 section 5.1), those that were asked for.
	Scopes []string
	// ReceivedAt and ExpiresAt are by our clock.
	ReceivedAt, ExpiresAt time.Time
}

const redacted = "[redacted access token]"

// String returns no part of the token.
func (Token) String() string { return redacted }

// GoString returns no part of the token.
func (Token) GoString() string { return redacted }

// MarshalText returns no part of the token.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// body of an answer. Everything but the names is read leniently.
type body struct {
	AccessToken      json.RawMessage `json:"access_token"`
	TokenType        json.RawMessage `json:"token_type"`
	ExpiresIn        json.RawMessage `json:"expires_in"`
	Scope            json.RawMessage `json:"scope"`
	Error            json.RawMessage `json:"error"`
	ErrorDescription json.RawMessage `json:"error_description"`
}

// ParseAnswer reads the answer of a token endpoint to a request for scopes.
//
// It is JSON whatever the content type says: Moodle's is text/html. token_type
// is compared without case (RFC 6749 section 5.1) and may be absent; expires_in
// may be a number, a string or absent. An error is one whatever the status is.
// Errors are of type [service.Error]; the secrets of the request, such as the
// assertion, do not get into them.
func ParseAnswer(a *service.Answer, scopes []string, secrets ...string) (Token, error) {
	var b body
	isJSON := json.Unmarshal(service.Trim(a.Body), &b) == nil
	code := text(b.Error)
	if !a.OK() || code != "" {
		return Token{}, refused(a, code, text(b.ErrorDescription), secrets)
	}
	if !isJSON {
		return Token{}, service.Invalid(a.Status, "the answer of the token endpoint is not a JSON object")
	}
	t := Token{Value: text(b.AccessToken), ReceivedAt: a.At, ExpiresAt: a.At.Add(lifetime(b.ExpiresIn))}
	switch typ := text(b.TokenType); {
	case t.Value == "":
		return Token{}, service.Invalid(a.Status, "the answer of the token endpoint has no access_token")
	case len(t.Value) > maxToken || strings.ContainsFunc(t.Value, func(r rune) bool { return r <= ' ' || r > '~' }):
		return Token{}, service.Invalid(a.Status, "the access token cannot be sent in a header")
	case typ != "" && !strings.EqualFold(typ, "bearer"):
		return Token{}, service.Invalid(a.Status, "the token_type is not Bearer")
	}
	if t.Scopes = sorted(strings.Fields(text(b.Scope))); len(t.Scopes) == 0 {
		t.Scopes = sorted(scopes)
	}
	return t, nil
}

// refused returns the error for an answer that is not a token (RFC 6749 section
// 5.2).
func refused(a *service.Answer, code, description string, secrets []string) *service.Error {
	e := a.Refused(service.RequestRefused, secrets...)
	e.Detail = "answer of the token endpoint"
	if a.OK() {
		// An error with a status of success. The body may be anything, a token
		// included: nothing of it is shown but the members of the error.
		e.Class, e.RetryAfter = service.Permanent, 0
		e.Reason, e.Remote = service.RequestRefused, ""
	}
	if code != "" {
		e.Remote = service.Excerpt([]byte(code+" "+description), secrets...)
	}
	if e.Class != service.Permanent {
		return e
	}
	switch code {
	case "invalid_scope":
		e.Reason = service.ScopeRefused
	// Open edX says invalid_grant where it means the assertion; a platform that
	// finds a claim of it missing says invalid_request.
	case "invalid_client", "unauthorized_client", "invalid_grant", "invalid_request", "access_denied":
		e.Reason = service.ClientRefused
	case "server_error", "temporarily_unavailable":
		e.Class, e.Reason = service.Temporary, service.Unavailable
	case "slow_down":
		e.Class, e.Reason = service.Temporary, service.Throttled
	default:
		if a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden {
			e.Reason = service.ClientRefused
		}
	}
	if e.Class == service.Temporary {
		e.RetryAfter = service.RetryAfter(a.Header, a.At)
	}
	return e
}

// text returns a JSON string, or "" for anything else.
func text(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// lifetime reads expires_in: seconds, a number or a string.
func lifetime(raw json.RawMessage) time.Duration {
	s := string(raw)
	if quoted := text(raw); quoted != "" {
		s = strings.TrimSpace(quoted)
	}
	n, err := decimal.Parse(s)
	if err != nil || n.Sign() <= 0 {
		return UnknownLifetime
	}
	longest := decimal.FromInt(int64(LongestLifetime / time.Second))
	if n.Cmp(longest) >= 0 {
		return LongestLifetime
	}
	d, err := time.ParseDuration(n.String() + "s")
	if err != nil {
		return UnknownLifetime
	}
	return d
}

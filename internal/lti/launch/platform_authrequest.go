package launch

import (
	"slices"
	"strings"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// Limits of an authentication request, in bytes. No specification sets any; the
// values go into tokens and pages, and those in the field have less than a
// quarter.
const (
	maxNonce = 1024
	maxState = 8 << 10
)

// Error codes that are posted to a tool (RFC 6749 section 4.2.2.1, OpenID
// Connect Core section 3.1.2.6).
const (
	OAuthInvalidRequest          = "invalid_request"
	OAuthInvalidScope            = "invalid_scope"
	OAuthUnsupportedResponseType = "unsupported_response_type"
	OAuthUnauthorizedClient      = "unauthorized_client"
	OAuthLoginRequired           = "login_required"
	OAuthAccessDenied            = "access_denied"
	OAuthServerError             = "server_error"
)

// AuthError is a refusal that the tool is told about: its redirect URI proved to
// be registered, so that the browser may be sent there with an error.
type AuthError struct {
	// Code is one of the OAuth constants.
	Code string
	// Description is for the developers of the tool.
	Description string
	// Refusal is what we log and count; never nil.
	Refusal *lti.Refusal
}

// NewAuthError returns the error for a refusal. Its description is the text of
// the refusal, which quotes nothing that anybody sent.
func NewAuthError(code string, r *lti.Refusal) *AuthError {
	return &AuthError{Code: code, Description: r.Error(), Refusal: r}
}

// Error returns both codes and the detail.
func (e *AuthError) Error() string { return e.Code + ": " + e.Refusal.Error() }

// Unwrap returns the refusal.
func (e *AuthError) Unwrap() error { return e.Refusal }

// Reply is where the answer to an authentication request goes. There is one only
// if the request names us as it should and a redirect URI that is registered:
// to any other address nothing may be sent, not even an error (RFC 6749 section
// 4.2.2.1).
type Reply struct {
	// RedirectURI is the address to post to, as it is registered.
	RedirectURI string
	// State is returned unaltered; empty if there was none, or none that can be
	// returned.
	State string
	// StorageTarget is lti_storage_target of the login initiation, for the
	// caller to set: a tool looks for it in the launch, too.
	StorageTarget string
}

// ParseReply reads from an authentication request of a tool what decides whether
// it may be answered at all. clientID is ours for the tool at whose address the
// request arrived; registered reports whether a redirect URI is one of that
// tool, and has to compare character by character (Security section 5.1.1.2;
// OpenID Connect Core section 3.1.2.1).
//
// It refuses with ParameterMissing, ParameterRepeated, ClientIDMismatch or
// RedirectURIMismatch, for a page of ours. Everything else is for
// [ParseAuthRequest].
func ParseReply(params lti.Params, clientID string, registered func(redirectURI string) bool) (*Reply, error) {
	var got [2]string
	var missing []string
	for i, name := range []string{"client_id", "redirect_uri"} {
		v, _, err := params.Only(name)
		if err != nil {
			return nil, err
		}
		if v == "" {
			missing = append(missing, name)
		}
		got[i] = v
	}
	if missing != nil {
		return nil, lti.Refuse(lti.ParameterMissing, "missing: %s", strings.Join(missing, ", "))
	}
	if got[0] != clientID {
		return nil, lti.Refuse(lti.ClientIDMismatch, "client_id is not the one of this tool")
	}
	// Whatever is registered: javascript: and the like are no addresses to post
	// to (CVE-2021-32478).
	if !webURL(got[1]) || !registered(got[1]) {
		return nil, lti.Refuse(lti.RedirectURIMismatch, "redirect_uri is not one of the registered ones")
	}
	reply := &Reply{RedirectURI: got[1]}
	if state, _, err := params.Only("state"); err == nil && returnable(state) {
		reply.State = state
	}
	return reply, nil
}

// returnable reports whether a form that a browser posts can hold a state
// unaltered. Browsers change line breaks, NUL and what is not UTF-8; RFC 6749
// appendix A.5 allows printable ASCII only.
func returnable(state string) bool {
	return len(state) <= maxState && oneLine(state)
}

// Token returns the form that answers with an ID token (Security section
// 5.1.1.3).
func (r *Reply) Token(idToken string) lti.Params {
	return r.form(lti.Params{{Name: "id_token", Value: idToken}})
}

// Error returns the form that answers with an error (OpenID Connect Core section
// 3.1.2.6).
func (r *Reply) Error(e *AuthError) lti.Params {
	// RFC 6749 section 4.2.2.1 allows these characters only.
	description := strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return '\''
		}
		return c
	}, e.Description)
	return r.form(lti.Params{{Name: "error", Value: e.Code}, {Name: "error_description", Value: description}})
}

func (r *Reply) form(form lti.Params) lti.Params {
	for _, p := range []lti.Param{{Name: "state", Value: r.State}, {Name: "lti_storage_target", Value: r.StorageTarget}} {
		if p.Value != "" {
			form = append(form, p)
		}
	}
	return form
}

// AuthRequest is a valid authentication request of a tool. Nobody has signed
// it: the hints are for the caller to verify.
type AuthRequest struct {
	// LoginHint and MessageHint are to be those of the login initiation.
	LoginHint, MessageHint string
	// Nonce goes into the ID token.
	Nonce string
}

// authRequestParams are the parameters of an authentication request, the
// required ones first.
func authRequestParams() (names []string, required int) {
	return []string{
		"scope", "response_type", "response_mode", "login_hint", "lti_message_hint", "nonce",
		"client_id", "redirect_uri", "state", "prompt",
	}, 6
}

// ParseAuthRequest reads the authentication request of a tool (Security section
// 5.1.1.2), after [ParseReply] did. No parameter may repeat, whether we know it
// or not, and one without a value counts as absent (RFC 6749 section 3.1).
//
// Its errors are of type *[AuthError], with the refusals ParameterRepeated,
// ParameterMissing, ParameterInvalid and AuthenticationRequestInvalid.
func ParseAuthRequest(params lti.Params) (*AuthRequest, error) {
	invalid := func(code lti.Code, format string, args ...any) error {
		return NewAuthError(OAuthInvalidRequest, lti.Refuse(code, format, args...))
	}
	names, required := authRequestParams()
	values := make(map[string]string, len(params))
	for _, p := range params {
		if _, seen := values[p.Name]; !seen {
			values[p.Name] = p.Value
			continue
		}
		if slices.Contains(names, p.Name) {
			return nil, invalid(lti.ParameterRepeated, "parameter %s occurs more than once", p.Name)
		}
		return nil, invalid(lti.ParameterRepeated, "a parameter that LTI does not know occurs more than once")
	}
	var missing []string
	for _, name := range names[:required] {
		if values[name] == "" {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return nil, invalid(lti.ParameterMissing, "missing: %s", strings.Join(missing, ", "))
	}
	for scope := range strings.SplitSeq(values["scope"], " ") {
		if scope != "openid" {
			return nil, NewAuthError(OAuthInvalidScope, lti.Refuse(lti.AuthenticationRequestInvalid, "scope must be openid and nothing else"))
		}
	}
	if values["response_type"] != "id_token" {
		return nil, NewAuthError(OAuthUnsupportedResponseType, lti.Refuse(lti.AuthenticationRequestInvalid, "response_type must be id_token"))
	}
	if values["response_mode"] != "form_post" {
		return nil, invalid(lti.AuthenticationRequestInvalid, "response_mode must be form_post")
	}
	if prompt := values["prompt"]; prompt != "" && prompt != "none" {
		return nil, invalid(lti.AuthenticationRequestInvalid, "prompt must be none")
	}
	if !printableASCII(values["nonce"], maxNonce) {
		return nil, invalid(lti.ParameterInvalid, "nonce must be at most %d printable ASCII characters", maxNonce)
	}
	if !returnable(values["state"]) {
		return nil, invalid(lti.ParameterInvalid, "state must be at most %d bytes of text without control characters", maxState)
	}
	return &AuthRequest{LoginHint: values["login_hint"], MessageHint: values["lti_message_hint"], Nonce: values["nonce"]}, nil
}

// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// ErrorCode is an error of OAuth 2.0 (RFC 6749 sections 4.1.2.1 and 5.2) or OpenID Connect (Core section 3.1.2.6).
type ErrorCode string

// The error codes.
const (
	InvalidRequest          ErrorCode = "invalid_request"
	InvalidClient           ErrorCode = "invalid_client"
	InvalidGrant            ErrorCode = "invalid_grant"
	InvalidScope            ErrorCode = "invalid_scope"
	InvalidToken            ErrorCode = "invalid_token"
	LoginRequired           ErrorCode = "login_required"
	UnsupportedGrantType    ErrorCode = "unsupported_grant_type"
	UnsupportedResponseType ErrorCode = "unsupported_response_type"
	RequestNotSupported     ErrorCode = "request_not_supported"
	RequestURINotSupported  ErrorCode = "request_uri_not_supported"
)

// Error is what a client is told.
type Error struct {
	Code ErrorCode
	// Description is for the client's developer: names of parameters, never what was in them.
	Description string
}

// Error implements error.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Description }

func fail(code ErrorCode, description string) *Error { return &Error{code, description} }

// Client is an application of the academy.
type Client struct {
	ID string
	// RedirectURIs are compared as they are, character by character (OpenID Connect Core section 3.1.2.1).
	RedirectURIs []string
}

// Lifetimes.
const (
	// CodeLifetime is how long an authorization code may be exchanged.
	CodeLifetime = 60 * time.Second
	// TokenLifetime is how long an access token opens the person's claims.
	TokenLifetime = 10 * time.Minute
	// IDTokenLifetime is how long a client may take to look at an ID token.
	IDTokenLifetime = 5 * time.Minute
)

// Scopes that mean something here. Others are ignored (OpenID Connect Core section 3.1.2.1).
const (
	scopeOpenID  = "openid"
	scopeProfile = "profile"
	scopeEmail   = "email"
)

// Scopes of a client that acts for itself (RFC 6749 section 4.4).
const (
	// ScopeProgress lets a client report and read progress.
	ScopeProgress = "progress"
	// ScopeAccounts lets a client suspend accounts.
	ScopeAccounts = "accounts"
	// ScopeResults lets a client read results of external activities.
	ScopeResults = "results"
)

// ClientScopes are all that a client may ask for.
func ClientScopes() []string { return []string{ScopeProgress, ScopeAccounts, ScopeResults} }

// Authorization is a verified authentication request.
type Authorization struct {
	ClientID    string
	RedirectURI string
	// State and Nonce are the client's own, and go back to it.
	State string
	Nonce string
	// Challenge is the S256 code challenge (RFC 7636); empty without PKCE.
	Challenge string
	Scopes    []string
	// LoginHint is the handle of the launch.
	LoginHint string
	// MaxAge is how long ago the person may have been launched; negative for any time.
	MaxAge time.Duration
}

// maxEcho is the longest state and nonce that are taken.
const maxEcho = 2048

var challengeSyntax = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// ParseAuthorization reads an authentication request (OpenID Connect Core section 3.1.2). find knows the clients.
//
// With an error that is an [Error] and a request that is not nil, the client is told at its redirect URI. Without a request
// nobody may be sent anywhere: neither client nor redirect URI is known to be the academy's.
func ParseAuthorization(params lti.Params, find func(id string) *Client) (*Authorization, error) {
	only := func(name string) (string, *Error) {
		value, _, err := params.Only(name)
		if err != nil {
			return "", fail(InvalidRequest, name+" is there more than once")
		}
		return value, nil
	}
	id, problem := only("client_id")
	if problem != nil {
		return nil, problem
	}
	client := find(id)
	if client == nil {
		return nil, fail(InvalidClient, "client_id is not one of this academy's")
	}
	redirect, problem := only("redirect_uri")
	if problem != nil {
		return nil, problem
	}
	if !slices.Contains(client.RedirectURIs, redirect) {
		return nil, fail(InvalidRequest, "redirect_uri is not one of this client's")
	}
	a := &Authorization{ClientID: client.ID, RedirectURI: redirect, MaxAge: -1}
	// First, so that an error carries it.
	if a.State, problem = only("state"); problem != nil || len(a.State) > maxEcho {
		a.State = ""
		return a, fail(InvalidRequest, "state is too long, or there more than once")
	}
	values := map[string]string{}
	for _, name := range []string{
		"response_type", "response_mode", "scope", "nonce", "code_challenge", "code_challenge_method", "login_hint", "max_age",
		"request", "request_uri",
	} {
		if values[name], problem = only(name); problem != nil {
			return a, problem
		}
	}
	a.Nonce, a.Challenge, a.LoginHint = values["nonce"], values["code_challenge"], values["login_hint"]
	for scope := range strings.FieldsSeq(values["scope"]) {
		if known := scope == scopeOpenID || scope == scopeProfile || scope == scopeEmail; known && !slices.Contains(a.Scopes, scope) {
			a.Scopes = append(a.Scopes, scope)
		}
	}
	switch {
	case values["request"] != "":
		return a, fail(RequestNotSupported, "request is not supported")
	case values["request_uri"] != "":
		return a, fail(RequestURINotSupported, "request_uri is not supported")
	case values["response_type"] != "code":
		return a, fail(UnsupportedResponseType, "response_type must be code")
	case values["response_mode"] != "" && values["response_mode"] != "query":
		return a, fail(InvalidRequest, "response_mode must be query")
	case !slices.Contains(a.Scopes, scopeOpenID):
		return a, fail(InvalidScope, "scope must contain openid")
	case len(a.Nonce) > maxEcho:
		return a, fail(InvalidRequest, "nonce is too long")
	case a.Challenge != "" && values["code_challenge_method"] != "S256":
		return a, fail(InvalidRequest, "code_challenge_method must be S256")
	case a.Challenge != "" && !challengeSyntax.MatchString(a.Challenge):
		return a, fail(InvalidRequest, "code_challenge is not the SHA-256 of anything")
	case a.Challenge == "" && a.Nonce == "":
		// RFC 9700 section 2.1.1: one of them keeps a code from being injected into somebody else's sign-in.
		return a, fail(InvalidRequest, "code_challenge or nonce must be there")
	case a.LoginHint == "":
		return a, fail(LoginRequired, "login_hint is missing: people come here from a launch")
	}
	if text := values["max_age"]; text != "" {
		seconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return a, fail(InvalidRequest, "max_age must be a number of seconds")
		}
		a.MaxAge = time.Duration(seconds) * time.Second
	}
	return a, nil
}

// CodeURL is where the browser goes with a code.
func (a *Authorization) CodeURL(issuer, code string) string {
	return a.answer(issuer, url.Values{"code": {code}})
}

// ErrorURL is where the browser goes with an error.
func (a *Authorization) ErrorURL(issuer string, e *Error) string {
	return a.answer(issuer, url.Values{"error": {string(e.Code)}, "error_description": {e.Description}})
}

// answer adds to the redirect URI, whatever query that has already. iss keeps a client that has several providers from
// mixing them up (RFC 9207).
func (a *Authorization) answer(issuer string, values url.Values) string {
	values.Set("iss", issuer)
	if a.State != "" {
		values.Set("state", a.State)
	}
	separator := "?"
	if strings.Contains(a.RedirectURI, "?") {
		separator = "&"
	}
	return a.RedirectURI + separator + values.Encode()
}

// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// Code is what an authorization code holds. Ticket is the one-time part, which the store knows: it makes the code work
// once.
type Code struct {
	Ticket      string   `json:"t"`
	ClientID    string   `json:"c"`
	RedirectURI string   `json:"r"`
	Nonce       string   `json:"n,omitempty"`
	Challenge   string   `json:"h,omitempty"`
	Scopes      []string `json:"s"`
	// LaunchedAt is when the person was launched, in seconds since 1970: the auth_time of the ID token.
	LaunchedAt int64 `json:"l"`
	ExpiresAt  int64 `json:"e"`
}

// NewCode seals the authorization code for a request and a launch.
func (s *Sealer) NewCode(a *Authorization, ticket string, launchedAt, now time.Time) (string, error) {
	return s.seal(purposeCode, Code{
		Ticket: ticket, ClientID: a.ClientID, RedirectURI: a.RedirectURI, Nonce: a.Nonce, Challenge: a.Challenge, Scopes: a.Scopes,
		LaunchedAt: launchedAt.Unix(), ExpiresAt: now.Add(CodeLifetime).Unix(),
	})
}

var verifierSyntax = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// OpenCode reads the code of a token request (OpenID Connect Core section 3.1.3) by a client that has proved who it is, and
// makes every check but the last: whoever calls it then spends the ticket. A code that a thief presents is not spent, and
// still works for its owner.
func (s *Sealer) OpenCode(params lti.Params, clientID string, now time.Time) (*Code, error) {
	values := map[string]string{}
	for _, name := range []string{"grant_type", "code", "redirect_uri", "code_verifier"} {
		value, _, err := params.Only(name)
		if err != nil {
			return nil, fail(InvalidRequest, name+" is there more than once")
		}
		values[name] = value
	}
	switch values["grant_type"] {
	case "authorization_code":
	case "":
		return nil, fail(InvalidRequest, "grant_type is missing")
	default:
		return nil, fail(UnsupportedGrantType, "grant_type must be authorization_code")
	}
	var c Code
	if values["code"] == "" {
		return nil, fail(InvalidRequest, "code is missing")
	}
	if err := s.open(purposeCode, values["code"], &c); err != nil {
		return nil, fail(InvalidGrant, "code is not one of ours")
	}
	switch verifier := values["code_verifier"]; {
	case c.ClientID != clientID:
		return nil, fail(InvalidGrant, "code is that of another client")
	case c.RedirectURI != values["redirect_uri"]:
		return nil, fail(InvalidGrant, "redirect_uri is not that of the authentication request")
	case c.Challenge != "" && !verifierSyntax.MatchString(verifier):
		return nil, fail(InvalidGrant, "code_verifier is missing or malformed")
	case c.Challenge != "" && subtle.ConstantTimeCompare([]byte(challenge(verifier)), []byte(c.Challenge)) != 1:
		return nil, fail(InvalidGrant, "code_verifier does not match")
	case c.Challenge == "" && verifier != "":
		// RFC 9700 section 2.1.1: otherwise a code challenge could be taken out of the request.
		return nil, fail(InvalidGrant, "code_verifier without code_challenge")
	case now.Unix() >= c.ExpiresAt:
		return nil, fail(InvalidGrant, "code has expired")
	}
	return &c, nil
}

// challenge is the S256 transformation (RFC 7636 section 4.2).
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// AccessToken is what an access token holds. It opens the claims of one launch.
type AccessToken struct {
	LaunchID  string   `json:"l"`
	ClientID  string   `json:"c"`
	Scopes    []string `json:"s"`
	ExpiresAt int64    `json:"e"`
}

// NewAccessToken seals an access token.
func (s *Sealer) NewAccessToken(c *Code, launchID string, now time.Time) (string, error) {
	return s.seal(purposeAccessToken, AccessToken{
		LaunchID: launchID, ClientID: c.ClientID, Scopes: c.Scopes, ExpiresAt: now.Add(TokenLifetime).Unix(),
	})
}

// OpenAccessToken reads an access token. It knows nothing of what has happened since: whether its client and its launch
// still are is for the caller to see.
func (s *Sealer) OpenAccessToken(token string, now time.Time) (*AccessToken, error) {
	var t AccessToken
	if err := s.open(purposeAccessToken, token, &t); err != nil {
		return nil, fail(InvalidToken, "the access token is not one of ours")
	}
	if now.Unix() >= t.ExpiresAt {
		return nil, fail(InvalidToken, "the access token has expired")
	}
	return &t, nil
}

// Claims returns what a client may know of a person: claims by their OpenID Connect names, for the scopes it has. sub and
// what the launch was about are part of every answer.
func Claims(scopes []string, claims map[string]any) map[string]any {
	byScope := map[string]string{
		"name": scopeProfile, "given_name": scopeProfile, "family_name": scopeProfile, "locale": scopeProfile,
		"email": scopeEmail, "email_verified": scopeEmail,
	}
	out := make(map[string]any, len(claims))
	for name, value := range claims {
		if scope, restricted := byScope[name]; !restricted || slices.Contains(scopes, scope) {
			out[name] = value
		}
	}
	return out
}

// IDTokenClaims returns the claims of an ID token (OpenID Connect Core section 3.1.3.6).
func IDTokenClaims(issuer string, c *Code, subject, accessToken string, person map[string]any, now time.Time) map[string]any {
	out := Claims(c.Scopes, person)
	out["iss"], out["sub"], out["aud"] = issuer, subject, c.ClientID
	out["iat"], out["exp"], out["auth_time"] = now.Unix(), now.Add(IDTokenLifetime).Unix(), c.LaunchedAt
	sum := sha256.Sum256([]byte(accessToken)) // RS256
	out["at_hash"] = base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	if c.Nonce != "" {
		out["nonce"] = c.Nonce
	}
	return out
}

// ClientToken is what the access token of a client that acts for itself holds.
type ClientToken struct {
	ClientID  string   `json:"c"`
	Scopes    []string `json:"s"`
	ExpiresAt int64    `json:"e"`
}

// NewClientToken answers a token request by client credentials (RFC 6749 section 4.4) of a client that has proved who it is:
// a token for the scopes that it asks for, or for all if it names none.
func (s *Sealer) NewClientToken(params lti.Params, clientID string, now time.Time) (token string, scopes []string, err error) {
	scope, _, err := params.Only("scope")
	if err != nil {
		return "", nil, fail(InvalidRequest, "scope is there more than once")
	}
	scopes = strings.Fields(scope)
	if len(scopes) == 0 {
		scopes = ClientScopes()
	}
	for _, asked := range scopes {
		if !slices.Contains(ClientScopes(), asked) {
			return "", nil, fail(InvalidScope, "scope may hold "+strings.Join(ClientScopes(), ", "))
		}
	}
	token, err = s.seal(purposeClientToken, ClientToken{ClientID: clientID, Scopes: scopes, ExpiresAt: now.Add(TokenLifetime).Unix()})
	return token, scopes, err
}

// OpenClientToken reads an access token of a client that acts for itself, and checks that it is for a scope. Whether the
// client still is is for the caller to see.
func (s *Sealer) OpenClientToken(token, scope string, now time.Time) (clientID string, err error) {
	var t ClientToken
	switch err := s.open(purposeClientToken, token, &t); {
	case err != nil:
		return "", fail(InvalidToken, "the access token is not one of ours")
	case now.Unix() >= t.ExpiresAt:
		return "", fail(InvalidToken, "the access token has expired")
	case !slices.Contains(t.Scopes, scope):
		return "", fail(InvalidToken, "the access token is not for the scope "+scope)
	}
	return t.ClientID, nil
}

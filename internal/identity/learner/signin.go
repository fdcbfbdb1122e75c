// SPDX-License-Identifier: Apache-2.0

package learner

import (
	"context"
	"crypto/subtle"
	"log/slog"
	"strconv"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// Request is one authentication request (OpenID Connect Core 1.0 section 3.1.2.1). The same one is needed to end the sign-in.
type Request struct {
	// RedirectURI is where the provider sends the browser back to, as it is registered there.
	RedirectURI string
	// State comes back unchanged. It is for the caller to verify.
	State string
	// Nonce has to be in the ID token.
	Nonce string
	// Verifier is the code verifier of PKCE, 43 to 128 characters (RFC 7636 section 4.1).
	Verifier string
	// Prompt is "login" to have the learner sign in again, "none" to ask nothing, "select_account", or empty.
	Prompt string
	// MaxAge, if positive, is how long before AskedAt the learner may have signed in, in seconds, and is verified.
	// Prompt is only a wish: who has to be sure that the learner signs in now asks for "login" and a MaxAge of one second.
	MaxAge time.Duration
	// AskedAt is when the browser was sent away; now if zero.
	AskedAt time.Time
	// Claim, if not empty, is one whose texts the caller wants in Learner.Values.
	Claim string
}

// complete refuses a request without one of the things that keep its answer from being somebody else's.
func (r Request) complete() *Error {
	if r.RedirectURI == "" || r.State == "" || r.Nonce == "" || len(r.Verifier) < 43 {
		return invalid("the request has no redirect URI, state, nonce or verifier")
	}
	return nil
}

// Response is what the browser came back with (RFC 6749 section 4.1.2, RFC 9207 section 2).
type Response struct {
	Code string
	// Issuer is the parameter iss.
	Issuer string
	// Error is the parameter error.
	Error string
}

// ParseResponse reads a response and the state that came with it. It refuses parameters that are there more than once, with
// lti.ParameterRepeated (RFC 6749 section 3.1).
func ParseResponse(params lti.Params) (response Response, state string, err error) {
	for name, to := range map[string]*string{
		"code": &response.Code, "iss": &response.Issuer, "error": &response.Error, "state": &state,
	} {
		if *to, _, err = params.Only(name); err != nil {
			return Response{}, "", err
		}
	}
	return response, state, nil
}

// Learner is somebody who signed in.
type Learner struct {
	// Subject is who they are in the academy: the subject claim, 1 to 255 bytes.
	Subject string
	// Email and Name are empty where the provider does not say. They are for people to read: an address says nothing about
	// who somebody is.
	Email string
	// EmailVerified is what the provider says of Email.
	EmailVerified bool
	Name          string
	// GivenName, FamilyName and Locale (a BCP 47 tag) are empty where the provider does not say.
	GivenName, FamilyName, Locale string
	// Values are the texts of Request.Claim: of a list each, and none of a claim that is neither a text nor a list of texts.
	Values []string
}

// LogValue leaves out who the learner is.
func (l Learner) LogValue() slog.Value { return slog.StringValue("learner") }

// AuthURL returns where to send the browser. The error is an [Error], of kind Unavailable or Invalid.
func (p *Provider) AuthURL(ctx context.Context, r Request) (string, error) {
	if problem := r.complete(); problem != nil {
		return "", problem
	}
	m, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	// A provider that has never heard of PKCE ignores it (RFC 6749 section 3.1).
	options := []oauth2.AuthCodeOption{oidc.Nonce(r.Nonce), oauth2.S256ChallengeOption(r.Verifier)}
	if r.Prompt != "" {
		options = append(options, oauth2.SetAuthURLParam("prompt", r.Prompt))
	}
	if r.MaxAge > 0 {
		options = append(options, oauth2.SetAuthURLParam("max_age", strconv.FormatInt(int64((r.MaxAge+time.Second-1)/time.Second), 10)))
	}
	return p.oauthClient(m, r).AuthCodeURL(r.State, options...), nil
}

// oauthClient is us at the provider.
func (p *Provider) oauthClient(m *metadata, r Request) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: m.endpoint, RedirectURL: r.RedirectURI, Scopes: p.cfg.Scopes,
	}
}

// Exchange ends the sign-in that r began: it exchanges the code for an ID token, verifies that, and returns who signed in.
// The error is an [Error]. That the response belongs to r, and to this browser, is for the caller to verify before.
func (p *Provider) Exchange(ctx context.Context, response Response, r Request) (Learner, error) {
	if problem := r.complete(); problem != nil {
		return Learner{}, problem
	}
	m, err := p.discover(ctx)
	if err != nil {
		return Learner{}, err
	}
	switch {
	case response.Issuer == "" && m.sendsIssuer:
		return Learner{}, invalid("response: there is no iss, which the provider says that it sends")
	case response.Issuer != "" && response.Issuer != p.cfg.IssuerURL:
		// Errors of others are not ours either (RFC 9207 section 2.4).
		return Learner{}, invalid("response: iss is another issuer")
	case response.Error != "":
		return Learner{}, refused("response", response.Error)
	case response.Code == "":
		return Learner{}, invalid("response: there is neither code nor error")
	}
	ctx = oidc.ClientContext(ctx, p.client)
	token, err := p.oauthClient(m, r).Exchange(ctx, response.Code, oauth2.VerifierOption(r.Verifier))
	if err != nil {
		return Learner{}, fetchError("token endpoint", err, invalid("token endpoint: the answer cannot be read"))
	}
	id, problem := p.verify(ctx, m, token, r)
	if problem != nil {
		return Learner{}, problem
	}
	l, problem := p.person(ctx, m, id, token, r.Claim)
	if problem != nil {
		return Learner{}, problem
	}
	return l, nil
}

// witness tells what the verifier does not: whether the signature was one, and what it signs.
type witness struct {
	oidc.KeySet
	signed []byte
	err    error
}

// VerifySignature implements oidc.KeySet.
func (w *witness) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	w.signed, w.err = w.KeySet.VerifySignature(ctx, jwt)
	return w.signed, w.err
}

// verify returns the claims of the ID token (OpenID Connect Core 1.0 section 3.1.3.7).
func (p *Provider) verify(ctx context.Context, m *metadata, token *oauth2.Token, r Request) (claims, *Error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, invalid("token endpoint: the answer has no ID token")
	}
	now := p.now()
	keys := &witness{KeySet: m.keys}
	verified, err := oidc.NewVerifier(p.cfg.IssuerURL, keys, &oidc.Config{
		ClientID: p.cfg.ClientID, SupportedSigningAlgs: m.algorithms, Now: func() time.Time { return now.Add(-leeway) },
	}).Verify(ctx, raw)
	switch {
	case keys.err != nil:
		return nil, fetchError("keys", keys.err, invalid("ID token: it is not signed with one of the provider's keys"))
	case keys.signed == nil:
		return nil, invalid("ID token: it is malformed, or signed with an algorithm that the provider does not announce or that is not accepted")
	}
	id, problem := parseClaims(keys.signed)
	if problem == nil {
		problem = id.check(p.cfg, r, now)
	}
	switch {
	case problem != nil:
		return nil, problem
	case err != nil:
		return nil, invalid("ID token: it is not valid yet, or a claim is malformed")
	case verified.AccessTokenHash != "" && verified.VerifyAccessToken(token.AccessToken) != nil:
		return nil, invalid("ID token: at_hash is that of another access token")
	}
	return id, nil
}

// person reads who signed in from the ID token and, where something is missing there, from the UserInfo endpoint: that is
// where profile and email belong in this flow (OpenID Connect Core 1.0 section 5.4).
func (p *Provider) person(ctx context.Context, m *metadata, id claims, token *oauth2.Token, wanted string) (Learner, *Error) {
	sources := []claims{id}
	complete := id.has(p.cfg.SubjectClaim) && (wanted == "" || id.has(wanted))
	if m.hasUserInfo && !(complete && id.has(claimEmail) && id.has(claimName)) {
		info, problem := p.userInfo(ctx, m, token)
		switch {
		case problem == nil && subtle.ConstantTimeCompare([]byte(info.text(claimSubject)), []byte(id.text(claimSubject))) != 1:
			// A token of somebody else was put in place of theirs (section 5.3.2).
			return Learner{}, invalid("UserInfo: it is about somebody else")
		case problem == nil:
			sources = append(sources, info)
		case !complete:
			return Learner{}, problem
		}
		// Without a name and an address they can still sign in.
	}
	return learnerOf(p.cfg.SubjectClaim, wanted, sources)
}

func (p *Provider) userInfo(ctx context.Context, m *metadata, token *oauth2.Token) (claims, *Error) {
	const where = "UserInfo"
	info, err := m.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, fetchError(where, err, invalid("%s: the answer cannot be read", where))
	}
	var c claims
	if err := info.Claims(&c); err != nil {
		return nil, invalid("%s: the answer cannot be read", where)
	}
	return c, nil
}

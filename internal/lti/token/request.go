package token

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// Lifetime of a client assertion.
const (
	// DefaultLifetime is how long an assertion is valid, from iat to exp.
	DefaultLifetime = 60 * time.Second
	// MaxLifetime is the longest that platforms accept.
	MaxLifetime = 5 * time.Minute
	// backdate is taken off iat: a platform whose clock is a little behind
	// ours would take the assertion for one from the future.
	backdate = 5 * time.Second
)

// AssertionType is the client_assertion_type of a signed assertion (RFC 7523
// section 2.2).
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// A Client is us, as one platform knows us.
type Client struct {
	// Registration tells registrations apart that share everything else; tokens
	// of one are never used for another.
	Registration string
	// TokenURL is the platform's token endpoint.
	TokenURL string
	// ClientID is ours there.
	ClientID string
	// Audience is the aud of the assertion, for platforms that want another one
	// than the address of their token endpoint (Brightspace does). It is the
	// TokenURL, exactly as it is written, if empty.
	Audience string
	// Key signs.
	Key *Key
}

func (c Client) check() error {
	u, err := url.Parse(c.TokenURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return service.Refuse("the token URL is not an absolute http or https URL")
	case c.ClientID == "":
		return service.Refuse("the registration has no client ID")
	case c.Key == nil:
		return service.Refuse("the registration has no key")
	}
	return nil
}

// Requester asks for access tokens.
type Requester struct {
	// Doer sends the requests.
	Doer service.Doer
	// Now tells the time.
	Now lti.Clock
	// Random is where jti comes from.
	Random io.Reader
	// Lifetime of an assertion; DefaultLifetime if zero, at most MaxLifetime.
	Lifetime time.Duration
}

// Assertion returns a client assertion: a JSON Web Token with iss and sub the
// client ID, aud one string, a jti of 128 random bits, and the kid in its
// header, signed with RS256 (RFC 7523 section 3, Security section 4.1.1). The
// platform may accept it once.
func (r *Requester) Assertion(c Client) (string, error) {
	if err := c.check(); err != nil {
		return "", err
	}
	var id [16]byte
	if _, err := io.ReadFull(r.Random, id[:]); err != nil {
		return "", fmt.Errorf("token: random numbers: %w", err)
	}
	audience := c.Audience
	if audience == "" {
		audience = c.TokenURL
	}
	lifetime := r.Lifetime
	if lifetime <= 0 {
		lifetime = DefaultLifetime
	}
	issued := r.Now().Add(-backdate)
	// Not jwt.RegisteredClaims: it writes aud as an array, which Brightspace
	// and others refuse.
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": c.ClientID,
		"sub": c.ClientID,
		"aud": audience,
		"iat": issued.Unix(),
		"exp": issued.Add(min(lifetime, MaxLifetime)).Unix(),
		"jti": base64.RawURLEncoding.EncodeToString(id[:]),
	})
	t.Header["kid"] = c.Key.id
	signed, err := t.SignedString(c.Key.private)
	if err != nil {
		return "", fmt.Errorf("token: signing the assertion: %w", err)
	}
	return signed, nil
}

// Request asks for a token with the given scopes, at least one. Errors are of
// type [service.Error], with the reasons ClientRefused, ScopeRefused,
// RequestRefused, AnswerInvalid, RequestInvalid and those of
// [service.Answer.Refused], unless we cannot sign. They are never Uncertain: what
// the token is for was not sent.
func (r *Requester) Request(ctx context.Context, c Client, scopes []string) (Token, error) {
	scopes = sorted(scopes)
	if len(scopes) == 0 {
		return Token{}, service.Refuse("a token without scopes is of no use")
	}
	assertion, err := r.Assertion(c)
	if err != nil {
		return Token{}, err
	}
	form := url.Values{
		"grant_type":            {"client_credentials"},
		"client_assertion_type": {AssertionType},
		"client_assertion":      {assertion},
		"scope":                 {strings.Join(scopes, " ")},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return Token{}, service.Refuse("the token URL is not an absolute http or https URL")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	answer, err := service.Call(r.Doer, req, maxAnswer, r.Now())
	if err != nil {
		return Token{}, certain(err)
	}
	t, err := ParseAnswer(answer, scopes, assertion)
	return t, certain(err)
}

func certain(err error) error {
	var e *service.Error
	if !errors.As(err, &e) || !e.Uncertain {
		return err
	}
	c := *e
	c.Uncertain = false
	return &c
}

// sorted returns the scopes without repetitions, in one order: the order means
// nothing (RFC 6749 section 3.3).
func sorted(scopes []string) []string {
	scopes = slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return s == "" })
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

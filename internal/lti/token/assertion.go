package token

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jws"
)

// Limits of a client assertion that is verified.
const (
	// maxAssertion is the longest that is read, in bytes. Those in the field have
	// about 800.
	maxAssertion = 16 << 10
	// maxID bounds jti, in characters.
	maxID = 255
	// LongestAssertion is how far exp may be ahead, and iat behind. Security
	// section 4.1.1 leaves it open; a jti has to be remembered as long.
	LongestAssertion = time.Hour
	// DefaultSkew is how far the clocks of tool and academy may differ.
	DefaultSkew = 60 * time.Second
)

// AssertionVerifier verifies the client assertions of one tool. Its fields are set
// once, before the first use.
type AssertionVerifier struct {
	// ClientID of the tool, compared byte for byte.
	ClientID string
	// Audiences are ours: the address of the token endpoint, on each address the
	// academy has, and the issuer.
	Audiences []string
	// Keys of the tool, from its registration.
	Keys jws.Keys
	// Algorithms that may sign; RS256 alone if empty. See [jws.Allows].
	Algorithms []string
	// Now tells the time.
	Now lti.Clock
	// Skew is DefaultSkew if zero.
	Skew time.Duration
}

// Verify verifies a client assertion (RFC 7523 section 3, Security section 4.1.1)
// and returns its jti, which the caller spends after everything else that might
// refuse the request.
//
// The steps, of which the first that fails decides the refusal:
//
//  1. three parts, an allowed alg, no critical extensions, a kid; then the key,
//     from the registration only, and the signature, with a fresh key set if the
//     one at hand does not match. Only then are the claims looked at.
//  2. iss and sub are the client ID
//  3. aud is one of our audiences, or an array of nothing else: an assertion that
//     somebody else accepts too could be used here by whoever received it there
//  4. exp has not passed, and is at most LongestAssertion ahead
//  5. nbf, if present, has passed; iat, if present, is neither in the future nor
//     more than LongestAssertion ago
//  6. jti is there, at most 255 printable ASCII characters
//
// Refusals: TokenMalformed, AlgorithmNotAllowed, KeyIDMissing, KeyUnknown,
// KeysUnreachable, KeyTooWeak, SignatureInvalid, IssuerMismatch,
// AudienceMismatch, TokenExpired, TokenIssuedInFuture, TokenTooOld, ClaimMissing,
// ClaimInvalid.
func (v *AssertionVerifier) Verify(ctx context.Context, assertion string) (lti.Nonce, error) {
	t, err := jws.Parse(assertion, maxAssertion)
	if err != nil {
		return lti.Nonce{}, err
	}
	alg, kid, err := t.Header(v.Algorithms)
	if err != nil {
		return lti.Nonce{}, err
	}
	if err := t.Verify(ctx, v.Keys, alg, kid); err != nil {
		return lti.Nonce{}, err
	}
	if t.ClaimsErr != nil {
		return lti.Nonce{}, t.ClaimsErr
	}
	c := &claims{members: t.Claims}
	v.checkParties(c)
	exp := v.checkTimes(c)
	id := c.text("jti")
	if c.err == nil && (len(id) > maxID || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' })) {
		c.refuse(lti.ClaimInvalid, "claim jti must be at most %d printable ASCII characters", maxID)
	}
	if c.err != nil {
		return lti.Nonce{}, c.err
	}
	return lti.Nonce{
		Protocol: "assertion",
		Party:    v.ClientID,
		Value:    id,
		// One skew is needed; the second one covers replicas and databases whose
		// clocks differ.
		ExpiresAt: exp.Add(2 * v.skew()),
	}, nil
}

func (v *AssertionVerifier) skew() time.Duration {
	if v.Skew > 0 {
		return v.Skew
	}
	return DefaultSkew
}

// checkParties checks who speaks, and to whom.
func (v *AssertionVerifier) checkParties(c *claims) {
	for _, name := range []string{"iss", "sub"} {
		if s := c.text(name); c.err == nil && s != v.ClientID {
			c.refuse(lti.IssuerMismatch, "claim %s is not the registered client ID", name)
		}
	}
	raw, ok := c.value("aud")
	if !ok {
		return
	}
	aud, err := jws.Audience(raw)
	switch {
	case err != nil:
		c.refuse(lti.ClaimInvalid, "claim aud %v", err)
	case len(aud) == 0:
		c.refuse(lti.ClaimMissing, "claim aud is empty")
	}
	for _, a := range aud {
		if !slices.Contains(v.Audiences, a) {
			c.refuse(lti.AudienceMismatch, "claim aud has a member that is neither the token endpoint nor the issuer")
		}
	}
}

// checkTimes returns exp.
func (v *AssertionVerifier) checkTimes(c *claims) time.Time {
	now, skew := v.Now(), v.skew()
	if _, ok := c.value("exp"); !ok {
		return time.Time{}
	}
	exp, ok := c.time("exp")
	switch {
	case !ok:
	case !exp.After(now.Add(-skew)):
		c.refuse(lti.TokenExpired, "claim exp has passed")
	case exp.After(now.Add(LongestAssertion + skew)):
		c.refuse(lti.ClaimInvalid, "claim exp is more than %s ahead", LongestAssertion)
	}
	if nbf, ok := c.time("nbf"); ok && nbf.After(now.Add(skew)) {
		c.refuse(lti.TokenIssuedInFuture, "claim nbf is in the future")
	}
	iat, ok := c.time("iat")
	switch {
	case !ok:
	case iat.After(now.Add(skew)):
		c.refuse(lti.TokenIssuedInFuture, "claim iat is in the future")
	case iat.Before(now.Add(-LongestAssertion - skew)):
		c.refuse(lti.TokenTooOld, "claim iat is more than %s ago", LongestAssertion)
	}
	return exp
}

// claims reads members of a verified assertion and keeps the first refusal.
type claims struct {
	members map[string]any
	err     error
}

func (c *claims) refuse(code lti.Code, format string, args ...any) {
	if c.err == nil {
		c.err = lti.Refuse(code, format, args...)
	}
}

// value returns a claim that must be there; null is absent.
func (c *claims) value(name string) (any, bool) {
	v := c.members[name]
	if v == nil {
		c.refuse(lti.ClaimMissing, "claim %s is missing", name)
	}
	return v, v != nil
}

// text returns a claim that must be there and be text that is not empty.
func (c *claims) text(name string) string {
	v, ok := c.value(name)
	if !ok {
		return ""
	}
	s, ok := v.(string)
	switch {
	case !ok:
		c.refuse(lti.ClaimInvalid, "claim %s must be a string", name)
	case s == "":
		c.refuse(lti.ClaimMissing, "claim %s is missing", name)
	}
	return s
}

// time returns a claim that is a time, if it is there.
func (c *claims) time(name string) (time.Time, bool) {
	v := c.members[name]
	if v == nil {
		return time.Time{}, false
	}
	t, _, err := jws.NumericDate(v)
	if err != nil {
		c.refuse(lti.ClaimInvalid, "claim %s %v", name, err)
	}
	return t, err == nil
}

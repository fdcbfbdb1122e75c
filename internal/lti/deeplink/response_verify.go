package deeplink

import (
	"context"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jws"
)

// Limits of a response that is verified.
const (
	// maxResponse is the longest that is read, in bytes.
	maxResponse = 240 << 10
	// LongestResponse is how long ago a response may have been issued. Tools make it when the
	// choice is done and have a browser post it at once.
	LongestResponse = time.Hour
	// DefaultSkew is how far the clocks of tool and academy may differ.
	DefaultSkew = 60 * time.Second
)

// ResponseVerifier verifies the responses of one tool. Its fields are set once,
// before the first use.
type ResponseVerifier struct {
	// ClientID and DeploymentID of the tool, and Issuer, which is ours; compared byte
	// for byte.
	ClientID, DeploymentID, Issuer string
	// Keys of the tool, from its registration.
	Keys jws.Keys
	// Algorithms that may sign; RS256 alone if empty. See [jws.Allows].
	Algorithms []string
	// Now tells the time.
	Now lti.Clock
	// Skew is DefaultSkew if zero.
	Skew time.Duration
}

// Verify verifies a response (DL section 4.5; Security section 5.2.3) and returns it
// with its nonce, which the caller spends after everything else that might
// refuse it. Response.Data is there; whether it is that of a request of ours,
// of this tool and this browser, is for the caller to see.
//
// The steps, of which the first that fails decides the refusal:
//
//  1. three parts, an allowed alg, no critical extensions, a kid; then the key,
//     from the registration only, and the signature, with a fresh key set if the
//     one at hand does not match. Only then are the claims looked at.
//  2. the claims that are required are there, version and message type are
//     those of a response, and the content items can be read
//  3. iss is the client ID
//  4. aud is our issuer, or an array of nothing else; azp, if present, is our
//     issuer or, as some tools have it, the client ID
//  5. exp has not passed, nbf has if it is present, and iat is neither in the
//     future nor more than LongestResponse ago
//  6. deployment_id is the one of the tool
//  7. data is there, because the request had it
//
// Refusals: TokenMalformed, AlgorithmNotAllowed, KeyIDMissing, KeyUnknown,
// KeysUnreachable, KeyTooWeak, SignatureInvalid, ClaimMissing, ClaimInvalid,
// VersionUnsupported, MessageTypeUnsupported, IssuerMismatch, AudienceMismatch,
// AuthorizedPartyMismatch, TokenExpired, TokenIssuedInFuture, TokenTooOld,
// DeploymentMismatch.
func (v *ResponseVerifier) Verify(ctx context.Context, token string) (*Response, lti.Nonce, error) {
	t, err := jws.Parse(token, maxResponse)
	if err != nil {
		return nil, lti.Nonce{}, err
	}
	alg, kid, err := t.Header(v.Algorithms)
	if err != nil {
		return nil, lti.Nonce{}, err
	}
	if err := t.Verify(ctx, v.Keys, alg, kid); err != nil {
		return nil, lti.Nonce{}, err
	}
	if t.ClaimsErr != nil {
		return nil, lti.Nonce{}, t.ClaimsErr
	}
	r, err := ParseResponse(t.Claims)
	if err != nil {
		return nil, lti.Nonce{}, err
	}
	for _, check := range []func(map[string]any, *Response) error{v.checkParties, v.checkTimes, v.checkRequest} {
		if err := check(t.Claims, r); err != nil {
			return nil, lti.Nonce{}, err
		}
	}
	forgotten := r.IssuedAt.Add(LongestResponse)
	if r.ExpiresAt.Before(forgotten) {
		forgotten = r.ExpiresAt
	}
	return r, lti.Nonce{
		Protocol: "deep linking response",
		Party:    v.ClientID,
		Value:    r.Nonce,
		// One skew is needed; the second one covers replicas and databases whose
		// clocks differ.
		ExpiresAt: forgotten.Add(2 * v.skew()),
	}, nil
}

func (v *ResponseVerifier) skew() time.Duration {
	if v.Skew > 0 {
		return v.Skew
	}
	return DefaultSkew
}

// checkParties checks who speaks, and to whom.
func (v *ResponseVerifier) checkParties(claims map[string]any, r *Response) error {
	if r.Issuer != v.ClientID {
		return lti.Refuse(lti.IssuerMismatch, "claim iss is not the client ID of the tool")
	}
	if len(r.Audience) == 0 {
		return lti.Refuse(lti.ClaimMissing, "claim aud is empty")
	}
	for _, a := range r.Audience {
		if a != v.Issuer {
			return lti.Refuse(lti.AudienceMismatch, "claim aud has a member that is not the platform ID")
		}
	}
	if azp := claims["azp"]; azp != nil && azp != v.Issuer && azp != v.ClientID {
		return lti.Refuse(lti.AuthorizedPartyMismatch, "claim azp is neither the platform ID nor the client ID")
	}
	return nil
}

func (v *ResponseVerifier) checkTimes(claims map[string]any, r *Response) error {
	now, skew := v.Now(), v.skew()
	if nbf := claims["nbf"]; nbf != nil {
		t, _, err := jws.NumericDate(nbf)
		if err != nil {
			return lti.Refuse(lti.ClaimInvalid, "claim nbf %v", err)
		}
		if t.After(now.Add(skew)) {
			return lti.Refuse(lti.TokenIssuedInFuture, "claim nbf is in the future")
		}
	}
	switch {
	case !r.ExpiresAt.After(now.Add(-skew)):
		return lti.Refuse(lti.TokenExpired, "claim exp has passed")
	case r.IssuedAt.After(now.Add(skew)):
		return lti.Refuse(lti.TokenIssuedInFuture, "claim iat is in the future")
	case r.IssuedAt.Before(now.Add(-LongestResponse - skew)):
		return lti.Refuse(lti.TokenTooOld, "claim iat is more than %s ago", LongestResponse)
	}
	return nil
}

// checkRequest checks what the response has from the request.
func (v *ResponseVerifier) checkRequest(_ map[string]any, r *Response) error {
	switch {
	case r.DeploymentID != v.DeploymentID:
		return lti.Refuse(lti.DeploymentMismatch, "claim %s is not the deployment ID of the tool", claimDeployment)
	case r.Data == nil:
		return lti.Refuse(lti.ClaimMissing, "claim %s is missing", claimData)
	}
	return nil
}

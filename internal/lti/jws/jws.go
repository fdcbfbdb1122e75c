// Package jws takes JSON Web Signatures of other parties apart and verifies them
// with keys of a registration (RFC 7515, compact serialisation). What the claims
// must say is for whoever reads them: ID tokens are in package launch, client
// assertions in package token.
package jws

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
)

// Keys are the public keys of another party; [jwks.Remote] and [jwks.Inline] are.
// They come from the registration: what a token says about where its key is
// (jku, jwk, x5u) is not looked at.
type Keys interface {
	// Lookup returns the keys with this kid, at least one, or refuses.
	Lookup(ctx context.Context, kid string) ([]jwks.Key, error)
	// Renewed returns the keys with this kid after fetching them again, if they
	// differ from those tried.
	Renewed(ctx context.Context, kid string, tried []jwks.Key) ([]jwks.Key, error)
}

// Allows reports whether a token may be signed with an algorithm: with RS256 if
// none are configured.
func Allows(configured []string, alg string) bool {
	// Whatever the configuration says: no unsigned tokens, and no symmetric
	// algorithms, whose key would be a public one (Cert section 4.2).
	switch alg {
	case "RS256", "RS384", "RS512", "ES256", "ES384", "ES512":
	default:
		return false
	}
	if len(configured) == 0 {
		return alg == "RS256"
	}
	return slices.Contains(configured, alg)
}

// Token is a decoded token. Nothing in it is verified.
type Token struct {
	// Claims are nil if ClaimsErr is not.
	Claims map[string]any
	// ClaimsErr says why there are no claims. It counts once the signature is
	// verified: before, the text may be anybody's.
	ClaimsErr error

	header map[string]any
	// signed is the text under the signature.
	signed    string
	signature []byte
}

// Parse decodes a token of at most so many bytes. It refuses with
// TokenMalformed.
func Parse(text string, most int) (*Token, error) {
	malformed := func(what string) error { return lti.Refuse(lti.TokenMalformed, "%s", what) }
	if len(text) > most {
		return nil, malformed("token is too long")
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, malformed("token does not have three parts")
	}
	var raw [3][]byte
	for i, p := range parts {
		// The decoder skips line breaks, and without Strict the last character
		// has several spellings.
		b, err := base64.RawURLEncoding.Strict().DecodeString(p)
		if err != nil || strings.IndexByte(p, '\r') >= 0 || strings.IndexByte(p, '\n') >= 0 {
			return nil, malformed("token is not base64url")
		}
		raw[i] = b
	}
	t := &Token{signed: text[:len(parts[0])+1+len(parts[1])], signature: raw[2]}
	var err error
	if t.header, err = ParseObject(raw[0]); err != nil {
		return nil, malformed("header of the token: " + err.Error())
	}
	if t.Claims, err = ParseObject(raw[1]); err != nil {
		t.ClaimsErr = malformed("claims of the token: " + err.Error())
	}
	return t, nil
}

// Header returns algorithm and key ID. Everything else in a header, above all
// jku, jwk and x5u, is ignored (RFC 7515 section 4.1), except crit, which
// forbids that. It refuses with AlgorithmNotAllowed, TokenMalformed or
// KeyIDMissing, in this order.
func (t *Token) Header(algorithms []string) (alg, kid string, err error) {
	alg, _ = t.header["alg"].(string)
	if !Allows(algorithms, alg) {
		return "", "", lti.Refuse(lti.AlgorithmNotAllowed, "alg of the token is not among those the registration allows")
	}
	if _, ok := t.header["crit"]; ok {
		return "", "", lti.Refuse(lti.TokenMalformed, "header of the token has critical extensions")
	}
	// Cert section 6.1.1 "No KID passed in JWT header"; a token without is not
	// tried with every key.
	kid, _ = t.header["kid"].(string)
	if kid == "" {
		return "", "", lti.Refuse(lti.KeyIDMissing, "header of the token has no kid")
	}
	return alg, kid, nil
}

// Verify checks the signature with the keys of this ID, and if none matches once
// more with a fresh key set. Refusals are those of the keys, AlgorithmNotAllowed,
// KeyTooWeak and SignatureInvalid.
func (t *Token) Verify(ctx context.Context, keys Keys, alg, kid string) error {
	found, err := keys.Lookup(ctx, kid)
	if err != nil {
		return err
	}
	refusal := t.try(found, alg)
	if refusal == nil {
		return nil
	}
	renewed, err := keys.Renewed(ctx, kid, found)
	if err != nil {
		return err
	}
	if len(renewed) > 0 {
		refusal = t.try(renewed, alg)
	}
	if refusal != nil {
		return refusal
	}
	return nil
}

// try verifies the signature with those keys that fit the algorithm.
func (t *Token) try(keys []jwks.Key, alg string) *lti.Refusal {
	refusal := lti.Refuse(lti.AlgorithmNotAllowed, "the key that the token names is not for its alg")
	for _, k := range keys {
		switch {
		case !k.Fits(alg):
		case k.Weak:
			if refusal.Code != lti.SignatureInvalid {
				refusal = lti.Refuse(lti.KeyTooWeak, "the key that the token names has fewer than %d bits", jwks.MinRSABits)
			}
		default:
			method := jwt.GetSigningMethod(alg)
			if method != nil && method.Verify(t.signed, t.signature, k.Public) == nil {
				return nil
			}
			refusal = lti.Refuse(lti.SignatureInvalid, "signature of the token does not match the key it names")
		}
	}
	return refusal
}

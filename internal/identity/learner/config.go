// SPDX-License-Identifier: Apache-2.0

package learner

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"slices"

	"github.com/coreos/go-oidc/v3/oidc"
)

// Config is what the academy's administrator says about the academy's identity provider.
type Config struct {
	// IssuerURL is the provider's identifier, character by character as in its discovery document: a slash at the end
	// makes it another one (OpenID Connect Discovery 1.0 section 4.3).
	IssuerURL string
	ClientID  string
	// ClientSecret is empty for a public client, which has PKCE alone.
	ClientSecret string
	// SubjectClaim is the claim that says who a learner is in the academy, "sub" if empty. It has to be one that learners
	// cannot change. "email" is taken only with email_verified.
	SubjectClaim string
	// Scopes to ask for: openid, profile and email if empty. openid is asked for in any case.
	Scopes []string
}

// withDefaults returns a copy without anything left out.
func (c Config) withDefaults() Config {
	if c.SubjectClaim == "" {
		c.SubjectClaim = claimSubject
	}
	if c.Scopes == nil {
		c.Scopes = []string{oidc.ScopeProfile, oidc.ScopeEmail}
	}
	scopes := []string{oidc.ScopeOpenID}
	for _, s := range c.Scopes {
		if !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	c.Scopes = scopes
	return c
}

// Fingerprint identifies who says who a learner is, and by what: a sign-in that began with one fingerprint must not end with
// another. It says nothing about the secret, which may be replaced at any time.
func (c Config) Fingerprint() string {
	c = c.withDefaults()
	// JSON keeps the parts apart.
	text, _ := json.Marshal([]string{c.IssuerURL, c.ClientID, c.SubjectClaim}) // strings can always be encoded
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// String leaves out the secret.
func (c Config) String() string { return c.IssuerURL + " as " + c.ClientID }

// LogValue leaves out the secret.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("issuer", c.IssuerURL), slog.String("clientID", c.ClientID))
}

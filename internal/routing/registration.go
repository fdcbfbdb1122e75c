// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// ParamRegistrationToken carries the token of a RegistrationLink in our registration initiation URL.
const ParamRegistrationToken = "token"

// PathControlRegistrations lists what dynamic registrations produced: Registrations as JSON.
const PathControlRegistrations = "/v1/registrations"

// RegistrationLink lets whoever has its token register another system, once (LTI Dynamic Registration 1.0). As a
// platform's it is part of our registration initiation URL; as a tool's it is the registration_token.
type RegistrationLink struct {
	// TokenSHA256 is the SHA-256 of the token: 256 random bits as unpadded base64url.
	TokenSHA256 []byte    `json:"tokenSHA256"`
	ExpiresAt   time.Time `json:"expiresAt"`
}

// Registrations is the answer of PathControlRegistrations, oldest first.
type Registrations struct {
	Items []Registration `json:"items"`
}

// Registration is what one dynamic registration produced. Nothing of it is used before it is approved.
type Registration struct {
	// ID is what spec approves, see ComputeID.
	ID string `json:"id"`
	// Kind is KindPlatform or KindTool, and Name the object that the link belongs to.
	Kind         string    `json:"kind"`
	Name         string    `json:"name"`
	RegisteredAt time.Time `json:"registeredAt"`
	// One of Platform and Tool is set.
	Platform *RegisteredPlatform `json:"platform,omitempty"`
	Tool     *RegisteredTool     `json:"tool,omitempty"`
}

// RegisteredPlatform are the values of a platform at which we have registered.
type RegisteredPlatform struct {
	PlatformLTI13
	// DeploymentID is that of the first deployment; empty when the platform did not say.
	DeploymentID string `json:"deploymentID,omitempty"`
	// Product and Version are what the platform calls itself.
	Product string `json:"product,omitempty"`
	Version string `json:"version,omitempty"`
	// ClientConfigurationURL and ClientConfigurationToken change the registration later (RFC 7592); the token is a secret.
	ClientConfigurationURL   string `json:"clientConfigurationURL,omitempty"`
	ClientConfigurationToken string `json:"clientConfigurationToken,omitempty"`
}

// RegisteredTool are the values of a tool that has registered with us.
type RegisteredTool struct {
	ToolLTI13
	// Name and Description are what the tool calls itself.
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Scopes are what the tool asked for; spec.services decides what it gets.
	Scopes []string `json:"scopes,omitempty"`
	// Parameters are custom parameters that the tool asks for in every launch.
	Parameters []Parameter `json:"parameters,omitempty"`
}

// registrationIDDigits is how much of the hash an ID is: 80 bits, which nobody meets by trying, since each try takes a link.
const registrationIDDigits = 20

// ComputeID names the registration of an object by all values that a launch relies on: equal values have equal IDs, and
// nobody can change a value under an ID that was approved. It is the beginning of a SHA-256 in hexadecimal digits. IDs that
// were approved are computed again: a value that comes to count later may do so only where it is set.
func (r *Registration) ComputeID() string {
	one := func(value string) []string { return []string{value} }
	var values [][]string
	if p := r.Platform; p != nil {
		values = append(values, one(p.Issuer), one(p.ClientID), one(p.AuthenticationURL), one(p.AccessTokenURL),
			one(p.AccessTokenAudience), one(p.JWKSURL), one(p.JWKS), one(p.DeploymentID))
	}
	if t := r.Tool; t != nil {
		var parameters []string
		for _, p := range t.Parameters {
			parameters = append(parameters, p.Name, p.Value)
		}
		// A list of nothing reads like none when it was stored.
		redirectURIs := append([]string(nil), t.RedirectURIs...)
		values = append(values, one(t.LoginInitiationURL), one(t.JWKSURL), one(t.JWKS), redirectURIs, one(t.LaunchURL), one(t.DeepLinkingURL), parameters)
	}
	// JSON is a canonical encoding of lists of valid UTF-8.
	text, err := json.Marshal([]any{r.Kind, r.Name, values})
	if err != nil {
		panic(err) // strings and lists always have an encoding
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:registrationIDDigits]
}

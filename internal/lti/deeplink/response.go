package deeplink

import (
	"errors"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jws"
)

// Response is what a tool answers: the claims of an LtiDeepLinkingResponse (DL
// section 4.5).
type Response struct {
	// Issuer is the client ID of the tool, and Audience the issuer of the platform:
	// the parties of the request have changed places.
	Issuer   string
	Audience []string
	// IssuedAt and ExpiresAt are in whole seconds.
	IssuedAt, ExpiresAt time.Time
	// Nonce is the tool's own.
	Nonce string
	// DeploymentID is that of the request.
	DeploymentID string
	// Items are what was chosen; none if the teacher went back without.
	Items []Item
	// Data is that of the request, nil if there was none.
	Data *string
	// Message and ErrorMessage are for the teacher to read, Log and ErrorLog for the
	// log of the platform.
	Message, Log, ErrorMessage, ErrorLog string
}

// Claims returns the claims of the response, to be signed with the key that the
// tool publishes for the registration and posted as [ParameterResponse].
//
// The audience is a string, because some platforms compare it as one. The array
// of items is there even if empty, and data whenever the request had it: DL
// section 4.5 requires both.
func (r *Response) Claims() (map[string]any, error) {
	for _, s := range []string{r.Issuer, r.Nonce, r.DeploymentID} {
		if s == "" {
			return nil, errors.New("deep linking: response without issuer, nonce or deployment")
		}
	}
	switch {
	case len(r.Audience) != 1 || r.Audience[0] == "":
		return nil, errors.New("deep linking: response must have one audience")
	case r.IssuedAt.IsZero() || !r.ExpiresAt.After(r.IssuedAt):
		return nil, errors.New("deep linking: response must expire after it is issued")
	case len(r.Items) > MaxItems:
		return nil, errors.New("deep linking: response has too many items")
	}
	items := make([]any, 0, len(r.Items))
	for _, i := range r.Items {
		c, err := i.claim()
		if err != nil {
			return nil, err
		}
		items = append(items, c)
	}
	c := put(map[string]any{},
		"iss", r.Issuer, "aud", r.Audience[0], "nonce", r.Nonce,
		claimMessageType, MessageResponse, claimVersion, Version, claimDeployment, r.DeploymentID,
		claimMessage, r.Message, claimLog, r.Log, claimErrorMessage, r.ErrorMessage, claimErrorLog, r.ErrorLog,
	)
	c["iat"], c["exp"] = r.IssuedAt.Unix(), r.ExpiresAt.Unix()
	c[claimContentItems] = items
	if r.Data != nil {
		c[claimData] = *r.Data
	}
	return c, nil
}

// ParseResponse reads the claims of a token whose signature was verified, as
// [jws.Token] has them. It refuses with ClaimMissing, ClaimInvalid,
// VersionUnsupported or MessageTypeUnsupported. Parties, times, nonce, deployment
// and data are for the caller to compare.
func ParseResponse(claims map[string]any) (*Response, error) {
	m := newMembers(claims, "")
	for _, name := range []string{"iss", "aud", "iat", "exp", "nonce", claimMessageType, claimVersion, claimDeployment} {
		if v := claims[name]; v == nil || v == "" {
			m.refuse(lti.ClaimMissing, name, "is missing")
		}
	}
	r := &Response{
		Issuer: m.exact("iss"), Nonce: m.exact("nonce"), DeploymentID: m.exact(claimDeployment),
		Message: m.text(claimMessage, maxText), Log: m.text(claimLog, maxText),
		ErrorMessage: m.text(claimErrorMessage, maxText), ErrorLog: m.text(claimErrorLog, maxText),
	}
	kind, version := m.exact(claimMessageType), m.exact(claimVersion)
	var err error
	if r.Audience, err = jws.Audience(claims["aud"]); err != nil {
		m.refuse(lti.ClaimInvalid, "aud", err.Error())
	}
	if r.IssuedAt, _, err = jws.NumericDate(claims["iat"]); err != nil {
		m.refuse(lti.ClaimInvalid, "iat", err.Error())
	}
	if r.ExpiresAt, _, err = jws.NumericDate(claims["exp"]); err != nil {
		m.refuse(lti.ClaimInvalid, "exp", err.Error())
	}
	if claims[claimData] != nil {
		data := m.exactUpTo(claimData, MaxData)
		r.Data = &data
	}
	switch {
	case *m.err != nil:
		return nil, *m.err
	case version != Version:
		return nil, lti.Refuse(lti.VersionUnsupported, "claim %s must be %s", claimVersion, Version)
	case kind != MessageResponse:
		return nil, lti.Refuse(lti.MessageTypeUnsupported, "claim %s must be %s", claimMessageType, MessageResponse)
	}
	if r.Items, err = parseItems(claims[claimContentItems]); err != nil {
		return nil, err
	}
	return r, nil
}

// exact returns a string that is compared with something.
func (m members) exact(name string) string { return m.exactUpTo(name, MaxURL) }

func (m members) exactUpTo(name string, longest int) string {
	s, ok := m.values[name].(string)
	switch {
	case !ok && m.values[name] != nil:
		m.refuse(lti.ClaimInvalid, name, "must be a string")
	case len(s) > longest:
		m.refuse(lti.ClaimInvalid, name, "is too long")
	}
	return s
}

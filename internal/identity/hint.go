// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"slices"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// HintLifetime is how long a tool may take from the login initiation to its authentication request.
const HintLifetime = 60 * time.Second

// hintLeeway is how much longer a hint must be remembered than it works, for the clocks of replicas.
const hintLeeway = 5 * time.Minute

// Hint is what we remember of a launch at a tool between the login initiation and the tool's authentication request, handed to
// the tool as lti_message_hint, which it returns unaltered (1EdTech Security Framework 1.0 section 5.1.1.1). It is encrypted
// on its way.
type Hint struct {
	// ID makes the hint work once: 192 random bits.
	ID string `json:"i"`
	// Tool and Activity are names of the resources. Activity is empty where activities are chosen.
	Tool     string `json:"t"`
	Activity string `json:"a"`
	// Author is set where activities are chosen.
	Author *Author `json:"c,omitempty"`
	// Target is the hash of the target_link_uri of the login initiation, see [Hint.AimedAt]. Empty in hints of versions that did
	// not keep it.
	Target string `json:"u,omitempty"`
	// LearnerID is who opens the activity, as the tool knows them. It is also the login_hint.
	LearnerID string `json:"l"`
	// Framed says that the tool is shown in a frame of a page of ours.
	Framed bool `json:"f,omitempty"`
	// Browser is the hash of the secret in the cookie of the learner's browser.
	Browser string `json:"b"`
	// IssuedAt is in seconds since 1970.
	IssuedAt int64 `json:"n"`
}

const prefixHint = "launch hint"

// NewHint completes a hint, and returns its sealed text with the secret for a cookie of this browser, of 128 random bits. The
// cookie has to come back with a request that another site begins.
func (s *Sealer) NewHint(h Hint, now time.Time) (sealed, cookie string, err error) {
	var random texts
	cookie = random.read(s.random, 16)
	h.ID, h.Browser, h.IssuedAt = random.read(s.random, 24), bindingOf(prefixHint, cookie), now.Unix()
	if random.err != nil {
		return "", "", random.err
	}
	sealed, err = s.seal(purposeHint, &h)
	return sealed, cookie, err
}

// OpenHint reads the hint that a tool returned. It refuses with HintInvalid or LaunchExpired. Who the learner is, whose browser
// it comes from and whether it was used before is for the caller to see.
func (s *Sealer) OpenHint(sealed string, now time.Time) (*Hint, error) {
	var h Hint
	if err := s.open(purposeHint, sealed, &h); err != nil {
		return nil, lti.Refuse(lti.HintInvalid, "lti_message_hint is not sealed by us")
	}
	if now.Unix() >= h.IssuedAt+int64(HintLifetime/time.Second) {
		return nil, lti.Refuse(lti.LaunchExpired, "the launch was started more than %s ago", HintLifetime)
	}
	return &h, nil
}

// FromBrowser tells whether one of the cookies is that of the browser that the launch began in. There may be several of one
// name.
func (h *Hint) FromBrowser(cookies ...string) bool {
	return fromBrowser(prefixHint, h.Browser, cookies)
}

const prefixTarget = "target link URI"

// AimAt keeps the target_link_uri that the login initiation names. The address itself may be too long for one of ours.
func (h *Hint) AimAt(targetLinkURI string) { h.Target = bindingOf(prefixTarget, targetLinkURI) }

// AimedAt tells whether the login initiation named this target_link_uri, as the launch that follows it has to (1EdTech LTI Core
// 1.3 section 5.3.4). A hint that does not know is believed: during an update it may come from a replica of an older version.
func (h *Hint) AimedAt(targetLinkURI string) bool {
	return h.Target == "" || h.Target == bindingOf(prefixTarget, targetLinkURI)
}

// ForgottenAt is until when it must be remembered that the hint was used.
func (h *Hint) ForgottenAt() time.Time {
	return time.Unix(h.IssuedAt, 0).Add(HintLifetime + hintLeeway)
}

// ServiceTokenLifetime is how long an access token for our services works.
const ServiceTokenLifetime = time.Hour

// ServiceToken is what the access token of a tool for our services holds.
type ServiceToken struct {
	Tool string `json:"t"`
	// Keys is the hash of the key set that the tool proved itself with: whoever registers under its name later has another.
	Keys      string   `json:"k"`
	Scopes    []string `json:"s"`
	ExpiresAt int64    `json:"e"`
}

// NewServiceToken seals an access token for a tool that has proved who it is, with one of the keys that its registration names.
func (s *Sealer) NewServiceToken(tool, keys string, scopes []string, now time.Time) (string, error) {
	return s.seal(purposeService, ServiceToken{Tool: tool, Keys: bindingOf(prefixServiceKeys, keys), Scopes: scopes, ExpiresAt: now.Add(ServiceTokenLifetime).Unix()})
}

const prefixServiceKeys = "service token keys"

// OpenServiceToken reads an access token for our services, and checks that it is the tool's, as it is registered now, and for one
// of the scopes. Whether the tool still may is for the caller to see. It refuses with AccessTokenInvalid, AccessTokenForeign or ScopeMissing.
func (s *Sealer) OpenServiceToken(token, tool, keys string, now time.Time, scopes ...string) (*ServiceToken, error) {
	var t ServiceToken
	if err := s.open(purposeService, token, &t); err != nil {
		return nil, lti.Refuse(lti.AccessTokenInvalid, "the access token is not one of ours")
	}
	switch {
	case now.Unix() >= t.ExpiresAt:
		return nil, lti.Refuse(lti.AccessTokenInvalid, "the access token has expired")
	case t.Tool != tool:
		return nil, lti.Refuse(lti.AccessTokenForeign, "")
	case t.Keys != bindingOf(prefixServiceKeys, keys):
		return nil, lti.Refuse(lti.AccessTokenInvalid, "the tool is registered with other keys since")
	case !slices.ContainsFunc(scopes, func(scope string) bool { return slices.Contains(t.Scopes, scope) }):
		return nil, lti.Refuse(lti.ScopeMissing, "")
	}
	return &t, nil
}

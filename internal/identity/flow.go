// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// FlowLifetime is how long a learner may take to sign in at the academy's identity provider.
const FlowLifetime = 10 * time.Minute

// FlowPurpose is what a learner signs in for.
type FlowPurpose string

// The purposes.
const (
	// FlowConnect connects a launched person to the account that has their email address already.
	FlowConnect FlowPurpose = "connect"
	// FlowStart opens an activity that was made elsewhere.
	FlowStart FlowPurpose = "start"
	// FlowChoose chooses activities at a tool.
	FlowChoose FlowPurpose = "choose"
)

// Flow is what we remember of a sign-in at the academy's own identity provider, handed to the provider and back as the
// parameter state, so that nothing is stored before somebody has signed in. It is encrypted on its way: the verifier and
// what Return names are nobody else's business.
type Flow struct {
	Purpose FlowPurpose `json:"p"`
	// Return says, to whoever began the flow, what to go on with: a token or the hash of one. It may be empty.
	Return string `json:"r,omitempty"`
	// Provider is the fingerprint of the configuration that the learner was sent away with.
	Provider string `json:"o"`
	// Nonce was sent along and must be in the ID token (OpenID Connect Core 1.0 section 3.1.2.1): 192 random bits.
	Nonce string `json:"n"`
	// Verifier is the code verifier (RFC 7636 section 4.1): 256 random bits.
	Verifier string `json:"v"`
	// Browser is the hash of the secret in the cookie of the browser that was sent away.
	Browser string `json:"b"`
	// IssuedAt is when the flow began, in seconds since 1970.
	IssuedAt int64 `json:"i"`
}

// NewFlow begins a sign-in, and returns with it the secret for a cookie of this browser, of 128 random bits: only with that
// cookie is the state accepted when it comes back, or anybody could have a learner finish the sign-in of somebody else
// (RFC 6749 section 10.12).
//
// The cookie should be named after the first characters of the sealed state, which are random, so that two tabs do not
// take each other's. It has to come back with a navigation from the provider, so that SameSite is Lax at most.
func (s *Sealer) NewFlow(purpose FlowPurpose, provider, back string, now time.Time) (flow *Flow, cookie string, err error) {
	var random texts
	cookie = random.read(s.random, 16)
	flow = &Flow{
		Purpose: purpose, Return: back, Provider: provider,
		Nonce: random.read(s.random, 24), Verifier: random.read(s.random, 32), Browser: bindingOf("learner flow", cookie), IssuedAt: now.Unix(),
	}
	if random.err != nil {
		return nil, "", random.err
	}
	return flow, cookie, nil
}

// texts reads random texts, and remembers the first failure.
type texts struct{ err error }

// read returns n random bytes in base64url.
func (t *texts) read(random io.Reader, n int) string {
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil && t.err == nil {
		t.err = fmt.Errorf("reading random bytes: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// SealFlow returns the state of a flow, a text for URLs of a few hundred characters.
func (s *Sealer) SealFlow(f *Flow) (string, error) { return s.seal(purposeFlow, f) }

// OpenFlow reads the state that came back to a browser that has these cookies; there may be several of one name. provider is
// the fingerprint of the configuration as it is now. It refuses with StateMissing, StateInvalid, StateExpired, which is also
// for a flow that another provider was meant for, and StateNotFromThisBrowser. What the flow was for is for the caller to see.
//
// A state can come back more than once until it expires: the code that comes with it is what works once.
func (s *Sealer) OpenFlow(state, provider string, now time.Time, cookies ...string) (*Flow, error) {
	if state == "" {
		return nil, lti.Refuse(lti.StateMissing, "")
	}
	var f Flow
	if err := s.open(purposeFlow, state, &f); err != nil {
		return nil, lti.Refuse(lti.StateInvalid, "state is not sealed by us")
	}
	switch {
	case now.Unix() >= f.IssuedAt+int64(FlowLifetime/time.Second):
		return nil, lti.Refuse(lti.StateExpired, "the sign-in was started more than %s ago", FlowLifetime)
	case f.Provider != provider:
		return nil, lti.Refuse(lti.StateExpired, "the academy's identity provider was changed since the sign-in was started")
	case !f.fromBrowser(cookies):
		return nil, lti.Refuse(lti.StateNotFromThisBrowser, "")
	}
	return &f, nil
}

// FlowPurposeOf tells what a state is for, and nothing else: it may be one that OpenFlow refuses. It is empty for a state that
// is not sealed by us.
func (s *Sealer) FlowPurposeOf(state string) FlowPurpose {
	var f Flow
	if s.open(purposeFlow, state, &f) != nil {
		return ""
	}
	return f.Purpose
}

func (f *Flow) fromBrowser(cookies []string) bool {
	return fromBrowser("learner flow", f.Browser, cookies)
}

// fromBrowser tells whether one of the cookies holds the secret that bound is made from.
func fromBrowser(prefix, bound string, cookies []string) bool {
	ok := 0
	for _, c := range cookies {
		ok |= subtle.ConstantTimeCompare([]byte(bindingOf(prefix, c)), []byte(bound))
	}
	return ok == 1
}

// bindingOf is what a sealed text keeps of the secret in a browser's cookie. The prefix keeps it from being the hash of the
// same secret anywhere else.
func bindingOf(prefix, cookie string) string {
	sum := sha256.Sum256([]byte(prefix + "\x00" + cookie))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// ChoiceLifetime is how long an author may take to choose activities at a tool.
const ChoiceLifetime = time.Hour

// Author is why somebody may choose activities at tools: one of the values that the identity provider gave for a claim when
// they signed in. Whether that is still enough is for the caller to see.
type Author struct {
	Claim string `json:"c"`
	Value string `json:"v"`
}

// Choice is what we remember of a deep linking request until the tool's response, handed to the tool as data, which it returns
// unaltered (Deep Linking 2.0 section 4.4.1). It is encrypted on its way.
type Choice struct {
	// ID makes the choice work once: 192 random bits.
	ID string `json:"i"`
	// Tool is the name of the resource.
	Tool string `json:"t"`
	// LearnerID is the author, as the tool knows them.
	LearnerID string `json:"l"`
	Author    Author `json:"a"`
	// Browser is the hash of the secret in the cookie of the author's browser.
	Browser string `json:"b"`
	// IssuedAt is in seconds since 1970.
	IssuedAt int64 `json:"n"`
}

const prefixChoice = "deep linking choice"

// NewChoice completes a choice, and returns its sealed text with the secret for a cookie of this browser, of 128 random bits. The
// cookie has to come back with a form that the tool's page posts.
func (s *Sealer) NewChoice(c Choice, now time.Time) (sealed, cookie string, err error) {
	var random texts
	cookie = random.read(s.random, 16)
	c.ID, c.Browser, c.IssuedAt = random.read(s.random, 24), bindingOf(prefixChoice, cookie), now.Unix()
	if random.err != nil {
		return "", "", random.err
	}
	sealed, err = s.seal(purposeChoice, &c)
	return sealed, cookie, err
}

// OpenChoice reads the data that a tool returned. It refuses with ChoiceInvalid or ChoiceExpired. Whose browser it comes from and
// whether it was used before is for the caller to see.
func (s *Sealer) OpenChoice(sealed string, now time.Time) (*Choice, error) {
	var c Choice
	if err := s.open(purposeChoice, sealed, &c); err != nil {
		return nil, lti.Refuse(lti.ChoiceInvalid, "data is not sealed by us")
	}
	if now.Unix() >= c.IssuedAt+int64(ChoiceLifetime/time.Second) {
		return nil, lti.Refuse(lti.ChoiceExpired, "the choice was begun more than %s ago", ChoiceLifetime)
	}
	return &c, nil
}

// FromBrowser tells whether one of the cookies is that of the browser that the choice began in.
func (c *Choice) FromBrowser(cookies ...string) bool {
	return fromBrowser(prefixChoice, c.Browser, cookies)
}

// ForgottenAt is until when it must be remembered that the choice was used.
func (c *Choice) ForgottenAt() time.Time {
	return time.Unix(c.IssuedAt, 0).Add(ChoiceLifetime + hintLeeway)
}

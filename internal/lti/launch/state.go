package launch

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// StateLifetime is how long a login may take, from the login initiation to the
// ID token: the time a learner needs to sign in to the platform.
const StateLifetime = 10 * time.Minute

// NewNonce returns a nonce of 192 random bits, 32 characters of base64url
// (Security section 5.1.1.2; at least 128 bits by RFC 6749 section 10.10).
func NewNonce(random io.Reader) (string, error) {
	b := make([]byte, 24)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("reading random bytes: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// BrowserBinding returns what a state keeps of the secret in a browser's
// cookie. It cannot be turned back into the secret.
func BrowserBinding(cookie string) string { return digest("lti browser", cookie) }

// storageBinding returns what a state keeps of the secret in the platform's
// storage. The platform can read that one: it is no cookie, and a cookie is none.
func storageBinding(secret string) string { return digest("lti platform storage", secret) }

func digest(purpose, s string) string {
	sum := sha256.Sum256([]byte(purpose + "\x00" + s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// State is what we remember of a login, handed to the platform and back as the
// parameter state, so that nothing has to be stored before the launch is
// verified.
type State struct {
	// Platform is the name of the registration the login was for.
	Platform string
	// Nonce was sent along and must be in the ID token.
	Nonce string
	// Browser is the [BrowserBinding] of the browser that was sent away.
	Browser string
	// TargetLink is the digest of the unverified target_link_uri of the login,
	// "" to not compare.
	TargetLink string
	// DeploymentID is lti_deployment_id of the login, "" if there was none.
	DeploymentID string
	// StorageTarget is lti_storage_target of the login where a secret was left in
	// the platform's storage, and Storage what the state keeps of that secret; both
	// "" where none was.
	StorageTarget, Storage string
	// ExpiresAt is when the login is over, in whole seconds.
	ExpiresAt time.Time
}

// NewState returns the state of a login that was just checked.
func NewState(reg *Registration, login *LoginRequest, nonce, browserCookie string, now time.Time) State {
	return State{
		Platform:     reg.Name,
		Nonce:        nonce,
		Browser:      BrowserBinding(browserCookie),
		TargetLink:   digest("lti target link", login.TargetLinkURI),
		DeploymentID: login.DeploymentID,
		ExpiresAt:    now.Add(StateLifetime).Truncate(time.Second),
	}
}

// FromBrowser reports whether one of the cookies belongs to the browser of the
// login. There may be several: a browser that keeps partitioned cookies sends
// more than one of the same name.
func (s State) FromBrowser(cookies ...string) bool {
	ok := 0
	for _, c := range cookies {
		if c != "" {
			ok |= subtle.ConstantTimeCompare([]byte(BrowserBinding(c)), []byte(s.Browser))
		}
	}
	return ok == 1
}

// CheckBrowser refuses with StateNotFromThisBrowser if none of the cookies belongs
// to the browser of the login.
func (s State) CheckBrowser(cookies ...string) error {
	if !s.FromBrowser(cookies...) {
		return lti.Refuse(lti.StateNotFromThisBrowser, "none of %d binding cookies matches the state", len(cookies))
	}
	return nil
}

// LeaveAt makes it known that a secret is left in the platform's storage, which
// the platform says is at target (lti_storage_target of the login).
func (s *State) LeaveAt(target, secret string) {
	s.StorageTarget, s.Storage = target, storageBinding(secret)
}

// StorageKey is the name of that secret in the platform's storage. The nonce is
// public; it only tells logins apart.
func (s State) StorageKey() string { return "lti_state_" + s.Nonce }

// FromStorage reports whether a secret is the one that was left in the platform's
// storage. It tells nothing about who has sent it.
func (s State) FromStorage(secret string) bool {
	return s.Storage != "" && secret != "" && subtle.ConstantTimeCompare([]byte(storageBinding(secret)), []byte(s.Storage)) == 1
}

type statePayload struct {
	Platform   string `json:"p"`
	Nonce      string `json:"n"`
	Browser    string `json:"b"`
	TargetLink string `json:"t,omitempty"`
	Deployment string `json:"d,omitempty"`
	Target     string `json:"g,omitempty"`
	Storage    string `json:"s,omitempty"`
	Expires    int64  `json:"e"`
}

// statePrefix names the format. It is under the signature, so that the same key
// may sign other things under other names.
const statePrefix = "s1."

// minStateKey is the shortest signing key, in bytes (RFC 2104 section 3: no
// shorter than the output of the hash).
const minStateKey = 32

// A StateCodec signs and verifies states with HMAC-SHA256.
type StateCodec struct{ keys [][]byte }

// NewStateCodec returns a codec that signs with the first key and verifies with
// all of them, so that keys can be replaced without failing the logins under
// way. Keys have at least 32 bytes.
func NewStateCodec(keys ...[]byte) (*StateCodec, error) {
	if len(keys) == 0 {
		return nil, errors.New("state: no key")
	}
	c := &StateCodec{}
	for _, k := range keys {
		if len(k) < minStateKey {
			return nil, fmt.Errorf("state: key of %d bytes, at least %d are required", len(k), minStateKey)
		}
		c.keys = append(c.keys, append([]byte(nil), k...))
	}
	return c, nil
}

// Seal returns the signed text of a state.
func (c *StateCodec) Seal(s State) (string, error) {
	payload, err := json.Marshal(statePayload{
		s.Platform, s.Nonce, s.Browser, s.TargetLink, s.DeploymentID, s.StorageTarget, s.Storage, s.ExpiresAt.Unix(),
	})
	if err != nil {
		return "", fmt.Errorf("state: %w", err)
	}
	text := statePrefix + base64.RawURLEncoding.EncodeToString(payload)
	return text + "." + base64.RawURLEncoding.EncodeToString(stateMAC(c.keys[0], text)), nil
}

// Open verifies a text made by Seal and returns the state in it. It refuses with
// StateInvalid or StateExpired; platform and browser are for the caller to
// compare.
func (c *StateCodec) Open(text string, now time.Time) (State, error) {
	invalid := func() (State, error) { return State{}, lti.Refuse(lti.StateInvalid, "state is not signed by us") }
	i := strings.LastIndexByte(text, '.')
	if i < 0 || !strings.HasPrefix(text, statePrefix) {
		return invalid()
	}
	// Strict, or the last character would have several spellings.
	sum, err := base64.RawURLEncoding.Strict().DecodeString(text[i+1:])
	if err != nil {
		return invalid()
	}
	ok := false
	for _, k := range c.keys {
		ok = hmac.Equal(stateMAC(k, text[:i]), sum) || ok
	}
	if !ok {
		return invalid()
	}
	payload, err := base64.RawURLEncoding.DecodeString(text[len(statePrefix):i])
	if err != nil {
		return invalid()
	}
	var p statePayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return invalid()
	}
	s := State{p.Platform, p.Nonce, p.Browser, p.TargetLink, p.Deployment, p.Target, p.Storage, time.Unix(p.Expires, 0).UTC()}
	if !now.Before(s.ExpiresAt) {
		return State{}, lti.Refuse(lti.StateExpired, "login was started more than %s ago", StateLifetime)
	}
	return s, nil
}

func stateMAC(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("lti state\x00"))
	h.Write([]byte(text))
	return h.Sum(nil)
}

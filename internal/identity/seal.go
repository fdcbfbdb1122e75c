// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// purpose keeps what was sealed for one thing from being taken for another.
type purpose int

const (
	purposeCode purpose = iota
	purposeAccessToken
	purposeClientToken
	purposeFlow
	purposePending
	purposeHint
	purposeService
	purposeChoice
	purposePicker
	purposes
)

// String names the purpose. The name goes into the key: with another one nothing can be opened that was sealed before.
func (p purpose) String() string {
	return [purposes]string{
		purposeCode:        "oidc code",
		purposeAccessToken: "oidc access token",
		purposeClientToken: "oidc client token",
		purposeFlow:        "learner flow",
		purposePending:     "pending launch",
		purposeHint:        "launch hint",
		purposeService:     "service token",
		purposeChoice:      "deep linking choice",
		purposePicker:      "activity picker",
	}[p]
}

// minSealKey is the shortest key to derive from, in bytes.
const minSealKey = 32

var errNotSealed = errors.New("not sealed by us")

// Sealer seals values so that only we can read or make them (AES-256-GCM, with keys derived by HKDF, RFC 5869).
type Sealer struct {
	// ciphers are those of every purpose, in the order of the keys: deriving one takes longer than using it.
	ciphers [purposes][]cipher.AEAD
	random  io.Reader
}

// NewSealer returns a sealer that seals with the first key and opens with all of them, so that keys can be replaced without
// failing the sign-ins under way. Keys have at least 32 bytes.
func NewSealer(random io.Reader, keys ...[]byte) (*Sealer, error) {
	if len(keys) == 0 {
		return nil, errors.New("seal: no key")
	}
	s := &Sealer{random: random}
	for _, k := range keys {
		if len(k) < minSealKey {
			return nil, fmt.Errorf("seal: key of %d bytes, at least %d are required", len(k), minSealKey)
		}
		for p := range purposes {
			gcm, err := aead(k, p)
			if err != nil {
				return nil, fmt.Errorf("seal: %w", err)
			}
			s.ciphers[p] = append(s.ciphers[p], gcm)
		}
	}
	return s, nil
}

func aead(key []byte, p purpose) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, key, nil, "lti-operator "+p.String(), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal returns the sealed text of a value.
func (s *Sealer) seal(p purpose, value any) (string, error) {
	plain, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	gcm := s.ciphers[p][0]
	nonce := make([]byte, gcm.NonceSize(), gcm.NonceSize()+len(plain)+gcm.Overhead())
	if _, err := io.ReadFull(s.random, nonce); err != nil {
		return "", fmt.Errorf("reading random bytes: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(gcm.Seal(nonce, nonce, plain, nil)), nil
}

// open reads what seal made for the same purpose.
func (s *Sealer) open(p purpose, text string, value any) error {
	// Strict, or the last character would have several spellings.
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return errNotSealed
	}
	for _, gcm := range s.ciphers[p] {
		if len(sealed) < gcm.NonceSize() {
			return errNotSealed
		}
		if plain, err := gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], nil); err == nil {
			return json.Unmarshal(plain, value)
		}
	}
	return errNotSealed
}

// SealPending returns the sealed text of a launch that waits for its person to sign in.
func (s *Sealer) SealPending(launch any) (string, error) { return s.seal(purposePending, launch) }

// OpenPending reads what SealPending made.
func (s *Sealer) OpenPending(text string, launch any) error {
	return s.open(purposePending, text, launch)
}

// SealPicker returns the sealed text of a choice of activities that a teacher has not made yet.
func (s *Sealer) SealPicker(choice any) (string, error) { return s.seal(purposePicker, choice) }

// OpenPicker reads what SealPicker made.
func (s *Sealer) OpenPicker(text string, choice any) error {
	return s.open(purposePicker, text, choice)
}

// Package token gets access tokens for the services of other LTI systems, and holds
// what a token endpoint of our own has to check before it gives one: OAuth
// 2.0 client credentials, the client authenticating with a signed assertion
// (Security section 4.1; RFC 6749 section 4.4, RFC 7523 sections 2.2 and 3).
package token

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// minKeyBits is the shortest RSA key that signs (RFC 7518 section 3.3).
const minKeyBits = 2048

// Key signs client assertions. Its text is its ID, never the key.
type Key struct {
	id      string
	private *rsa.PrivateKey
}

// ParseKey reads an RSA private key of at least 2048 bits from PEM, PKCS #8 or
// PKCS #1. id is the kid under which the public key is published. The errors do
// not quote the input.
func ParseKey(id string, pemBytes []byte) (*Key, error) {
	if id == "" {
		return nil, errors.New("token: the key has no ID")
	}
	block, _ := pem.Decode(pemBytes)
	if block == nil {
		return nil, errors.New("token: the key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			return nil, errors.New("token: the key is neither PKCS #8 nor PKCS #1")
		}
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("token: the key is not an RSA key")
	}
	return NewKey(id, private)
}

// NewKey returns a key that is parsed already.
func NewKey(id string, private *rsa.PrivateKey) (*Key, error) {
	if id == "" || private == nil {
		return nil, errors.New("token: the key is incomplete")
	}
	if bits := private.N.BitLen(); bits < minKeyBits {
		return nil, fmt.Errorf("token: the key has %d bits, %d are needed", bits, minKeyBits)
	}
	return &Key{id: id, private: private}, nil
}

// Sign returns claims as a JSON Web Token, signed with RS256 and with the kid in
// its header.
func (k *Key) Sign(claims map[string]any) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(claims))
	t.Header["kid"] = k.id
	signed, err := t.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("token: sign: %w", err)
	}
	return signed, nil
}

// ID returns the kid.
func (k *Key) ID() string { return k.id }

// String returns the kid.
func (k *Key) String() string {
	if k == nil {
		return "no key"
	}
	return "key " + k.id
}

// GoString returns the kid.
func (k *Key) GoString() string { return k.String() }

// MarshalText returns the kid, so that neither JSON nor a log holds the key.
func (k *Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

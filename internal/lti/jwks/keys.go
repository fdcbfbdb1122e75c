// Package jwks reads and caches the JSON Web Key Sets of other parties (RFC 7517).
package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Limits of a key set.
const (
	// MaxBytes is the longest key set that is read.
	MaxBytes = 1 << 20
	// MaxKeys is the largest number of keys in one set. Sets in the field have
	// one to four.
	MaxKeys = 64
	// MinRSABits is the shortest RSA modulus that is trusted (RFC 7518
	// section 3.3 demands it of every RSA signature of a JWS).
	MinRSABits = 2048
	// maxRSABits bounds the work one forged signature can cause.
	maxRSABits = 8192
)

// A Key is a public key to verify signatures with.
type Key struct {
	// ID is the kid.
	ID string
	// Algorithm is the alg of the key, or "" where the set names none, as
	// Brightspace's does.
	Algorithm string
	// Public is an *rsa.PublicKey or an *ecdsa.PublicKey.
	Public crypto.PublicKey
	// Weak says that the key must not be trusted for its length. It is kept so
	// that the refusal can say so.
	Weak bool
}

// Equal reports whether both are the same key under the same name.
func (k Key) Equal(o Key) bool {
	p, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.ID == o.ID && k.Algorithm == o.Algorithm && p.Equal(o.Public)
}

// Fits reports whether the key can verify signatures of a JWS algorithm (RFC
// 7518 sections 3.3 and 3.4: RSA for RS*, and for ES* exactly one curve each).
func (k Key) Fits(alg string) bool {
	if k.Algorithm != "" && k.Algorithm != alg {
		return false
	}
	switch p := k.Public.(type) {
	case *rsa.PublicKey:
		return alg == "RS256" || alg == "RS384" || alg == "RS512"
	case *ecdsa.PublicKey:
		switch p.Curve {
		case elliptic.P256():
			return alg == "ES256"
		case elliptic.P384():
			return alg == "ES384"
		case elliptic.P521():
			return alg == "ES512"
		}
	}
	return false
}

type jsonKey struct {
	KeyType string `json:"kty"`
	Use     string `json:"use,omitempty"`
	Alg     string `json:"alg,omitempty"`
	ID      string `json:"kid,omitempty"`
	N       string `json:"n,omitempty"`
	E       string `json:"e,omitempty"`
	Curve   string `json:"crv,omitempty"`
	X       string `json:"x,omitempty"`
	Y       string `json:"y,omitempty"`
}

// Parse reads the keys of a set that can verify an LTI message: those with a
// kid, with use "sig" or none, and of a known type with a signature algorithm
// or none. Others are ignored, as RFC 7517 section 5 asks, and so are keys that
// cannot be decoded; a text that is no key set at all is an error.
//
// Two keys may share a kid (RFC 7517 section 4.5); both are returned.
func Parse(text []byte) ([]Key, error) {
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("jwks: key set of more than %d bytes", MaxBytes)
	}
	var set struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("jwks: not a JSON object")
	}
	if set.Keys == nil {
		return nil, errors.New(`jwks: no member "keys"`)
	}
	if len(*set.Keys) > MaxKeys {
		return nil, fmt.Errorf("jwks: key set of more than %d keys", MaxKeys)
	}
	var keys []Key
	for _, raw := range *set.Keys {
		var j jsonKey
		if json.Unmarshal(raw, &j) != nil {
			continue
		}
		if k, ok := j.key(); ok {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func (j jsonKey) key() (Key, bool) {
	if j.ID == "" || j.Use != "" && j.Use != "sig" {
		return Key{}, false
	}
	k := Key{ID: j.ID, Algorithm: j.Alg}
	switch j.KeyType {
	case "RSA":
		p, ok := j.rsa()
		if !ok {
			return Key{}, false
		}
		k.Public, k.Weak = p, p.N.BitLen() < MinRSABits
		return k, j.Alg == "" || k.Fits(j.Alg)
	case "EC":
		p, ok := j.ec()
		if !ok {
			return Key{}, false
		}
		k.Public = p
		return k, j.Alg == "" || k.Fits(j.Alg)
	}
	return Key{}, false
}

func (j jsonKey) rsa() (*rsa.PublicKey, bool) {
	n, ok1 := decode(j.N)
	e, ok2 := decode(j.E)
	if !ok1 || !ok2 || len(n) > maxRSABits/8+1 || len(e) > 8 {
		return nil, false
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	// crypto/rsa refuses an even modulus, and exponents that are even, below 2
	// or above 31 bits, only when verifying. As a key they are not usable.
	if modulus.Bit(0) == 0 || modulus.BitLen() > maxRSABits || !exponent.IsInt64() ||
		exponent.Int64() < 3 || exponent.Int64() > 1<<31-1 || exponent.Bit(0) == 0 {
		return nil, false
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, true
}

func (j jsonKey) ec() (*ecdsa.PublicKey, bool) {
	var curve elliptic.Curve
	switch j.Curve {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, false
	}
	x, ok1 := decode(j.X)
	y, ok2 := decode(j.Y)
	size := (curve.Params().BitSize + 7) / 8
	if !ok1 || !ok2 || len(x) != size || len(y) != size {
		return nil, false
	}
	// Checks that the point is on the curve.
	p, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	return p, err == nil
}

// decode reads base64url; padding, which RFC 7515 section 2 forbids, is
// tolerated.
func decode(s string) ([]byte, bool) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	return b, err == nil && len(b) > 0
}

// SPDX-License-Identifier: Apache-2.0

// Package keys makes and reads key material: signing keys of registrations, LTI 1.2 credentials and the academy's own
// keys. It is pure: randomness and time come from the caller, and nothing is stored here.
package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/lti-operator/lti-operator/internal/routing"
)

// SigningKeyBits is the size of generated RSA keys; MinSigningKeyBits the least that is accepted (1EdTech Security
// Framework 1.0, section 7: RSA 2048).
const (
	SigningKeyBits    = 2048
	MinSigningKeyBits = 2048
)

// ErrInvalid means that key material cannot be used; the message says why and never quotes it.
var ErrInvalid = errors.New("invalid key material")

// NewSigningKey makes an RSA signing key and returns it as PKCS #8 in PEM.
func NewSigningKey(random io.Reader) ([]byte, error) {
	key, err := rsa.GenerateKey(random, SigningKeyBits)
	if err != nil {
		return nil, fmt.Errorf("generate signing key: %w", err)
	}
	return encodePrivateKey(key)
}

// PKCS8 returns a signing key, which was parsed before, as one block of PKCS #8 in PEM.
func PKCS8(pemBytes []byte) ([]byte, error) {
	if block, _ := pem.Decode(pemBytes); block != nil && block.Type == "PRIVATE KEY" {
		return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}), nil
	}
	key, err := ParseSigningKey(pemBytes)
	if err != nil {
		return nil, err
	}
	return encodePrivateKey(key)
}

func encodePrivateKey(key any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseSigningKey reads a private RSA key in PEM, PKCS #8 or PKCS #1.
func ParseSigningKey(pemBytes []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(pemBytes)
	if block == nil {
		return nil, fmt.Errorf("%w: no PEM block", ErrInvalid)
	}
	var parsed any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("%w: PEM block is not a private key", ErrInvalid)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: private key cannot be read", ErrInvalid)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: private key is not RSA", ErrInvalid)
	}
	if key.N.BitLen() < MinSigningKeyBits {
		return nil, fmt.Errorf("%w: RSA key has %d bits, at least %d are needed", ErrInvalid, key.N.BitLen(), MinSigningKeyBits)
	}
	return key, nil
}

// PublicJWK describes the public half of a signing key. Its kid is the RFC 7638 thumbprint.
func PublicJWK(key *rsa.PublicKey) routing.JWK {
	b64 := base64.RawURLEncoding
	n := b64.EncodeToString(key.N.Bytes())
	e := b64.EncodeToString(big.NewInt(int64(key.E)).Bytes())
	return routing.JWK{KeyType: "RSA", Use: "sig", Algorithm: "RS256", KeyID: thumbprint(n, e), Modulus: n, Exponent: e}
}

// thumbprint is RFC 7638 section 3: SHA-256 over the required members in lexical order, without white space.
func thumbprint(n, e string) string {
	members, _ := json.Marshal(struct { //nolint:errchkjson // three strings
		E   string `json:"e"`
		Kty string `json:"kty"`
		N   string `json:"n"`
	}{e, "RSA", n})
	sum := sha256.Sum256(members)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Token returns n random bytes in URL-safe base64.
func Token(random io.Reader, n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// NewLTI12Credentials makes a consumer key (unique by its 96 random bits) and a shared secret of 256 bits.
func NewLTI12Credentials(random io.Reader, activity string) (consumerKey, sharedSecret string, err error) {
	id, err := Token(random, 12)
	if err != nil {
		return "", "", err
	}
	secret, err := Token(random, 32)
	if err != nil {
		return "", "", err
	}
	return activity + "." + id, secret, nil
}

// Academy are the secrets of an academy itself, as they stand in its Secret.
type Academy struct {
	// StateKey signs login state.
	StateKey []byte
	// ControlToken is what the operator presents at the control port.
	ControlToken string
	// ControlCertificatePEM and ControlPrivateKeyPEM serve the control port; the certificate is its own authority.
	ControlCertificatePEM []byte
	ControlPrivateKeyPEM  []byte
	// Others are keys that are accepted besides, because they are about to be used or were until lately.
	Others []*Academy
}

// Data keys of the academy's Secret.
const (
	AcademyStateKey           = "stateKey"
	AcademyControlToken       = "controlToken"
	AcademyControlCertificate = "control.crt"
	AcademyControlKey         = "control.key"
)

// ControlServerName is the name in the control port's certificate. The operator dials pods by address and checks this
// name.
const ControlServerName = "launch-handler.control.lti-operator.io"

// NewAcademy makes the academy's own keys. The certificate holds for ten years: it is pinned, not trusted by name, and
// replaced with its Secret.
func NewAcademy(random io.Reader, now time.Time) (*Academy, error) {
	a := &Academy{StateKey: make([]byte, 32)}
	if _, err := io.ReadFull(random, a.StateKey); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	var err error
	if a.ControlToken, err = Token(random, 32); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, fmt.Errorf("generate control key: %w", err)
	}
	serial := make([]byte, 16)
	if _, err := io.ReadFull(random, serial); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               pkix.Name{CommonName: ControlServerName},
		DNSNames:              []string{ControlServerName},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(random, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("create control certificate: %w", err)
	}
	a.ControlCertificatePEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	a.ControlPrivateKeyPEM, err = encodePrivateKey(key)
	return a, err
}

// Data is the academy's Secret data.
func (a *Academy) Data() map[string][]byte {
	return map[string][]byte{
		AcademyStateKey:           a.StateKey,
		AcademyControlToken:       []byte(a.ControlToken),
		AcademyControlCertificate: a.ControlCertificatePEM,
		AcademyControlKey:         a.ControlPrivateKeyPEM,
	}
}

// ParseAcademy reads the academy's Secret data: the keys that are used, with those in Others that are accepted besides.
func ParseAcademy(data map[string][]byte) (*Academy, error) {
	ring, err := AcademyKeys.Decode(data, time.Time{})
	if err != nil {
		return nil, err
	}
	return ring.Academy(), nil
}

// Academy returns the keys of a ring with the layout AcademyKeys.
func (r *Ring) Academy() *Academy {
	var used *Academy
	var others []*Academy
	r.Published(func(state State, key *Key) {
		a, err := academyOf(key.Material)
		switch {
		case err != nil: // a ring holds only what could be read
		case state == StateSigning:
			used = a
		default:
			others = append(others, a)
		}
	})
	used.Others = others
	return used
}

func academyOf(m Material) (*Academy, error) {
	a := &Academy{
		StateKey:              m[AcademyStateKey],
		ControlToken:          string(m[AcademyControlToken]),
		ControlCertificatePEM: m[AcademyControlCertificate],
		ControlPrivateKeyPEM:  m[AcademyControlKey],
	}
	if len(a.StateKey) < 32 || len(a.ControlToken) < 32 || len(a.ControlCertificatePEM) == 0 || len(a.ControlPrivateKeyPEM) == 0 {
		return nil, fmt.Errorf("%w: the Secret lacks one of %s, %s, %s, %s", ErrInvalid,
			AcademyStateKey, AcademyControlToken, AcademyControlCertificate, AcademyControlKey)
	}
	return a, nil
}

// TrustedCertificatesPEM are the certificates that a launch handler may have while the keys change: it serves whatever
// its routing table says, which may be older or newer than these keys.
func (a *Academy) TrustedCertificatesPEM() []byte {
	out := bytes.Clone(a.ControlCertificatePEM)
	for _, other := range a.Others {
		out = append(append(out, '\n'), other.ControlCertificatePEM...)
	}
	return out
}

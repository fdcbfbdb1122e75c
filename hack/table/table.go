// SPDX-License-Identifier: Apache-2.0

// Package table writes routing tables for launch handlers that run without a cluster and without an operator, in the shape
// of the directory that a handler finds mounted.
package table

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// AcademyKeys are new keys of an academy with these applications.
func AcademyKeys(clients ...routing.Client) (routing.AcademyKeys, error) {
	academy, err := keys.NewAcademy(rand.Reader, time.Now())
	if err != nil {
		return routing.AcademyKeys{}, err
	}
	token := sha256.Sum256([]byte(academy.ControlToken))
	return routing.AcademyKeys{
		StateKeys: [][]byte{academy.StateKey},
		Control: routing.Control{
			CertificatePEM: string(academy.ControlCertificatePEM), PrivateKeyPEM: string(academy.ControlPrivateKeyPEM), TokenSHA256: token[:],
		},
		Clients: clients,
	}, nil
}

// Client is an application of the academy with that secret.
func Client(id, secret string) routing.Client {
	sum := sha256.Sum256([]byte(secret))
	return routing.Client{ClientID: id, SecretSHA256: sum[:]}
}

// SigningKey is the key with which the academy signs for a registration; kind is routing.KindPlatform or routing.KindTool.
// Its public half, keys.PublicJWK, belongs to the registration's PublicKeys.
func SigningKey(kind, name string, key *rsa.PrivateKey) (routing.SigningKey, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return routing.SigningKey{}, fmt.Errorf("encode the key of %s: %w", name, err)
	}
	return routing.SigningKey{
		Kind: kind, Name: name, KeyID: keys.PublicJWK(&key.PublicKey).KeyID,
		PrivateKeyPEM: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}, nil
}

// Write writes the first table into dir, which it makes, as kubelet would.
func Write(dir string, t *routing.Table) error {
	split, err := routing.Split(t)
	if err != nil {
		return err
	}
	files, err := split.Files()
	if err != nil {
		return err
	}
	version := filepath.Join(dir, "..version")
	if err := os.MkdirAll(version, 0o700); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(version, name), content, 0o600); err != nil {
			return err
		}
	}
	return os.Symlink("..version", filepath.Join(dir, "..data"))
}

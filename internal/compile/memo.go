// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Memo remembers the expensive parts of the last compilation of an academy: compressed shards, and the keys that were
// read from Secrets. It changes no result: what it remembers is found by the hash of what it was made from. The zero
// value is ready for use, by one goroutine at a time.
type Memo struct {
	packer routing.Packer
	// rings are those of the current compilation, before those of the last one. By the name of the Secret.
	rings, before map[string]decodedRing
}

// decodedRing is what is read from a Secret with signing keys.
type decodedRing struct {
	from [sha256.Size]byte
	ring keys.Ring
	err  error
	// signing is the key that signs, as PKCS #8 in PEM; signingErr says why it cannot be written so.
	signing    []byte
	signingErr error
}

// begin starts a compilation: what the last one did not ask for is forgotten.
func (m *Memo) begin() {
	m.before, m.rings = m.rings, map[string]decodedRing{}
}

// signingRing reads the signing keys of a registration.
func (m *Memo) signingRing(secret *corev1.Secret) decodedRing {
	from := hashOf(secret)
	d, known := m.before[secret.Name]
	if !known || d.from != from {
		d = decodedRing{from: from}
		d.ring, d.err = keys.SigningKeys.Decode(secret.Data, secret.CreationTimestamp.Time)
		if d.err == nil {
			d.signing, d.signingErr = keys.PKCS8(d.ring.Signing.Material[v1alpha1.SecretKeyPrivateKey])
		}
	}
	m.rings[secret.Name] = d
	return d
}

// hashOf is the hash of everything that keys are read from.
func hashOf(secret *corev1.Secret) (sum [sha256.Size]byte) {
	h := sha256.New()
	writeField(h, []byte(secret.CreationTimestamp.UTC().String()))
	for _, name := range slices.Sorted(maps.Keys(secret.Data)) {
		writeField(h, []byte(name))
		writeField(h, secret.Data[name])
	}
	h.Sum(sum[:0])
	return sum
}

// writeField writes a field with its length, so that no two lists of fields are the same bytes.
func writeField(h hash.Hash, field []byte) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(field)))
	_, _ = h.Write(length[:])
	_, _ = h.Write(field)
}

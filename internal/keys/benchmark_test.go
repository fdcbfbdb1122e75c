// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"crypto/rand"
	"testing"
	"time"
)

// BenchmarkParseSigningKey reads a private key from its Secret and makes the public one of it, which the operator does for
// every registration whenever a table is compiled.
func BenchmarkParseSigningKey(b *testing.B) {
	text, err := NewSigningKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		key, err := ParseSigningKey(text)
		if err != nil {
			b.Fatal(err)
		}
		if PublicJWK(&key.PublicKey).KeyID == "" {
			b.Fatal("no ID")
		}
	}
}

// BenchmarkParseAcademy reads the keys of an academy from their Secret.
func BenchmarkParseAcademy(b *testing.B) {
	a, err := NewAcademy(rand.Reader, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	data := a.Data()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseAcademy(data); err != nil {
			b.Fatal(err)
		}
	}
}

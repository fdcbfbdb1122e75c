// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"
)

// benchmarkSealer has two keys, as while one is being replaced.
func benchmarkSealer(b *testing.B) *Sealer {
	b.Helper()
	s, err := NewSealer(rand.Reader, bytes.Repeat([]byte("a"), minSealKey), bytes.Repeat([]byte("b"), minSealKey))
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkHint seals the hint of a launch, and opens it when the tool returns it.
func BenchmarkHint(b *testing.B) {
	s, now := benchmarkSealer(b), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		sealed, cookie, err := s.NewHint(Hint{Tool: "lab", Activity: "simulation", LearnerID: "learner"}, now)
		if err != nil {
			b.Fatal(err)
		}
		h, err := s.OpenHint(sealed, now)
		if err != nil || !h.FromBrowser(cookie) {
			b.Fatal(h, err)
		}
	}
}

// BenchmarkFlow seals the state of a sign-in, and opens it when the browser comes back.
func BenchmarkFlow(b *testing.B) {
	s, now := benchmarkSealer(b), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		f, cookie, err := s.NewFlow(FlowStart, "provider", "simulation", now)
		if err != nil {
			b.Fatal(err)
		}
		state, err := s.SealFlow(f)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.OpenFlow(state, "provider", now, cookie); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkServiceToken opens the access token of a request to our services.
func BenchmarkServiceToken(b *testing.B) {
	s, now := benchmarkSealer(b), time.Now()
	token, err := s.NewServiceToken("lab", "keys", []string{"score"}, now)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.OpenServiceToken(token, "lab", "keys", now, "score"); err != nil {
			b.Fatal(err)
		}
	}
}

package jwks

import (
	"context"
	"os"
	"testing"
)

// fetched answers every fetch with the same text.
type fetched []byte

func (f fetched) Fetch(context.Context, string) ([]byte, error) { return f, nil }

// moodleSet is the key set of a Moodle.
func moodleSet(b *testing.B) []byte {
	b.Helper()
	text, err := os.ReadFile("../testdata/moodle-jwks.json")
	if err != nil {
		b.Fatal(err)
	}
	return text
}

// BenchmarkParse reads a key set, which is done once for each fetch.
func BenchmarkParse(b *testing.B) {
	text := moodleSet(b)
	b.ReportAllocs()
	for b.Loop() {
		if keys, err := Parse(text); err != nil || len(keys) == 0 {
			b.Fatal(keys, err)
		}
	}
}

// BenchmarkLookup finds a key that was fetched before, which is done for each
// launch.
func BenchmarkLookup(b *testing.B) {
	text := moodleSet(b)
	keys, err := Parse(text)
	if err != nil {
		b.Fatal(err)
	}
	remote := NewCache(fetched(text), Options{}).Remote("https://lms.example/jwks")
	b.ReportAllocs()
	for b.Loop() {
		if found, err := remote.Lookup(b.Context(), keys[0].ID); err != nil || len(found) != 1 {
			b.Fatal(found, err)
		}
	}
}

package lti

import (
	"encoding/json"
	"os"
	"testing"
)

// BenchmarkParseForm decodes the launch of a Moodle.
func BenchmarkParseForm(b *testing.B) {
	var rec struct {
		RawBody string `json:"raw_body"`
	}
	text, err := os.ReadFile("testdata/moodle-lti12-launch.json")
	if err != nil {
		b.Fatal(err)
	}
	if err := json.Unmarshal(text, &rec); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(rec.RawBody)))
	for b.Loop() {
		if params, err := ParseForm(rec.RawBody); err != nil || len(params) == 0 {
			b.Fatal(params, err)
		}
	}
}

// BenchmarkNonceKey is the digest under which a nonce is spent.
func BenchmarkNonceKey(b *testing.B) {
	n := Nonce{Protocol: "oauth1", Party: "moodle-key-11", Timestamp: 1795470798, Value: "5f3dbf88c47a17b84ae6a002"}
	b.ReportAllocs()
	for b.Loop() {
		if n.Key() == "" {
			b.Fatal("no key")
		}
	}
}

package lti

import (
	"encoding/json"
	"os"
	"testing"
)

// BenchmarkParseForm decodes launches of a Moodle.
func BenchmarkParseForm(b *testing.B) {
	var form struct {
		RawBody string `json:"raw_body"`
	}
	recorded(b, "moodle-lti12-launch.json", &form)
	var token struct {
		Params struct {
			IDToken string `json:"id_token"`
			State   string `json:"state"`
		} `json:"params"`
	}
	recorded(b, "moodle-lti13-launch.json", &token)
	for _, f := range []struct{ version, text string }{
		{"1.2", form.RawBody},
		{"1.3", "id_token=" + token.Params.IDToken + "&state=" + token.Params.State},
	} {
		b.Run("version="+f.version, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(f.text)))
			for b.Loop() {
				if params, err := ParseForm(f.text); err != nil || len(params) == 0 {
					b.Fatal(params, err)
				}
			}
		})
	}
}

func recorded(b *testing.B, name string, into any) {
	b.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		b.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		b.Fatal(err)
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

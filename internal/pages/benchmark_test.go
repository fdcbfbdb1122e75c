package pages

import (
	"net/http"
	"strings"
	"testing"
)

// discard is an answer that nobody reads.
type discard http.Header

func (d discard) Header() http.Header         { return http.Header(d) }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkPage writes the pages that a launch answers with.
func BenchmarkPage(b *testing.B) {
	pages := samples()
	// The length that the form of a launch at a tool has.
	pages["token"] = AutoSubmit{
		Action: "https://tool.example/launch",
		Fields: []Field{{"id_token", strings.Repeat("eyJhbGciOiJSUzI1NiIsImtpZCI6.", 100)}, {"state", strings.Repeat("s", 64)}},
	}
	for _, name := range []string{"open", "token", "start", "tool", "error-missing"} {
		b.Run(name, func(b *testing.B) {
			view := View{Lang: "nl", FrameAncestors: "https://moodle.example.edu https://lms.example"}
			b.ReportAllocs()
			for b.Loop() {
				if err := pages[name].Write(discard{}, view); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

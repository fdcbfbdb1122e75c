package ags

import "testing"

// BenchmarkScoreEncode writes a score, as it is sent to a gradebook.
func BenchmarkScoreEncode(b *testing.B) {
	s := goodScore(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkScoreParse reads the score that a tool sent to a Moodle.
func BenchmarkScoreParse(b *testing.B) {
	body := []byte(moodle(b)["score"].Request.Body)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseScore(body, Lenient); err != nil {
			b.Fatal(err)
		}
	}
}

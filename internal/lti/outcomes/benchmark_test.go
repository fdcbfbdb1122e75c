package outcomes

import "testing"

// BenchmarkOutcomesRequest writes a grade for another system.
func BenchmarkOutcomesRequest(b *testing.B) {
	r := Request{Operation: ReplaceResult, MessageID: "1795470798588", SourcedID: sourcedID, Score: score(b, "0.85")}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOutcomesAnswer reads a grade that a tool sends, and writes the answer.
func BenchmarkOutcomesAnswer(b *testing.B) {
	body, err := Request{Operation: ReplaceResult, MessageID: "1795470798588", SourcedID: sourcedID, Score: score(b, "0.85")}.Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r, err := ParseRequest(body)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Answer("answer-1", Success, "").Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

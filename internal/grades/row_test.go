// SPDX-License-Identifier: Apache-2.0

package grades

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 24, 9, 0, 0, 250e6, time.UTC)

// gradebook is another system. Versions stand for grades.
type gradebook struct {
	protocol Protocol
	// holds is the version in the gradebook, at is the timestamp that came with it.
	holds int64
	at    time.Time
	// travelling are messages that nobody has answered and that may arrive yet.
	travelling []message
	history    []int64
}

type message struct {
	version int64
	at      time.Time
	// until is when it arrives at the latest.
	until time.Duration
}

// take is what happens when a message arrives: Moodle compares whole seconds.
func (g *gradebook) take(m message) Outcome {
	if g.protocol == ProtocolAGS && !m.at.Truncate(time.Second).After(g.at.Truncate(time.Second)) {
		return Superseded
	}
	if g.holds != m.version {
		g.history = append(g.history, m.version)
	}
	g.holds, g.at = m.version, m.at
	return Accepted
}

// arrive lets one message that was on its way arrive.
func (g *gradebook) arrive(i int) {
	m := g.travelling[i]
	g.travelling = append(g.travelling[:i:i], g.travelling[i+1:]...)
	g.take(m)
}

// Whatever is lost, repeated, overtaken or killed, and however the clock jumps: in the end the gradebook holds what is
// wanted, and with timestamps it never goes back to an older grade.
func TestAGradebookEndsWithWhatIsWanted(t *testing.T) {
	for _, protocol := range []Protocol{ProtocolAGS, ProtocolOutcomes} {
		t.Run(string(protocol), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				// Time passes for messages on their way whatever the clock says.
				now, passed := start, time.Duration(0)
				book := &gradebook{protocol: protocol}
				stored := Row{Protocol: protocol} // what the database holds
				tick := func(d time.Duration) {
					now, passed = now.Add(d), passed+d
					for i := len(book.travelling) - 1; i >= 0; i-- {
						if passed > book.travelling[i].until {
							book.arrive(i)
						}
					}
				}
				attempt := func(fault string) {
					before, send := stored.Next(now)
					if !send {
						stored = before
						return
					}
					stored = before.Sending()
					m := message{version: before.Sent, at: before.SentAt}
					outcome := Unknown
					switch fault {
					case "none":
						outcome = book.take(m)
					case "refused connection":
						outcome = NotSent
					case "lost request":
					case "lost answer":
						book.take(m)
					case "late request":
						// On its way for as long as anybody waits, and some time.
						m.until = passed + overtaking - time.Second
						book.travelling = append(book.travelling, m)
					case "killed before":
						return
					case "killed after":
						book.take(m)
						return
					case "killed meanwhile":
						m.until = passed + overtaking - time.Second
						book.travelling = append(book.travelling, m)
						return
					}
					stored = stored.Settled(&before, outcome, "Fault", now, 0, 0.5)
				}
				faults := []string{"none", "refused connection", "lost request", "lost answer", "late request", "killed before", "killed after", "killed meanwhile"}
				t.Repeat(map[string]func(*rapid.T){
					"want":    func(*rapid.T) { stored = stored.Want(now) },
					"wait":    func(t *rapid.T) { tick(time.Duration(rapid.IntRange(0, 90_000).Draw(t, "ms")) * time.Millisecond) },
					"back":    func(t *rapid.T) { now = now.Add(-time.Duration(rapid.IntRange(1, 600).Draw(t, "s")) * time.Second) },
					"attempt": func(t *rapid.T) { attempt(rapid.SampledFrom(faults).Draw(t, "fault")) },
					"arrive": func(t *rapid.T) {
						if n := len(book.travelling); n > 0 {
							book.arrive(rapid.IntRange(0, n-1).Draw(t, "which"))
						}
					},
				})
				for range 400 {
					attempt("none")
					tick(30 * time.Second)
				}
				for len(book.travelling) > 0 {
					book.arrive(0)
				}
				for range 400 {
					attempt("none")
					tick(30 * time.Second)
				}
				if stored.Wanted > 0 && book.holds != stored.Wanted {
					t.Fatalf("the gradebook holds %d, want %d; row %+v, history %v", book.holds, stored.Wanted, stored, book.history)
				}
				if stored.Pending() {
					t.Fatalf("still pending: %+v", stored)
				}
				if protocol == ProtocolAGS {
					for i := 1; i < len(book.history); i++ {
						if book.history[i] < book.history[i-1] {
							t.Fatalf("the gradebook went back: %v", book.history)
						}
					}
				}
			})
		})
	}
}

func TestTimestampsAreWholeSecondsApart(t *testing.T) {
	r, send := Row{Protocol: ProtocolAGS}.Want(start).Next(start)
	if !send || !r.SentAt.Equal(start) {
		t.Fatalf("first message: send %v at %v, want at once", send, r.SentAt)
	}
	r = r.Sending().Settled(&r, Accepted, "", start, 0, 0)
	soon := start.Add(100 * time.Millisecond)
	r = r.Want(soon)
	r, send = r.Next(soon)
	if send {
		t.Fatal("a second message in the same second")
	}
	want := start.Truncate(time.Second).Add(time.Second)
	if !r.DueAt.Equal(want) {
		t.Fatalf("due at %v, want %v", r.DueAt, want)
	}
	if r, send = r.Next(want); !send || r.SentAt.Before(want) {
		t.Fatalf("send %v at %v, want %v", send, r.SentAt, want)
	}
	// The clock was set back by an hour: the timestamp is later than the last one all the same, and nobody waits an hour.
	r = r.Sending().Settled(&r, Accepted, "", want, 0, 0)
	back := want.Add(-time.Hour)
	if r, send = r.Want(back).Next(back); !send || !r.SentAt.Equal(want.Add(time.Second)) {
		t.Fatalf("send %v at %v, want %v", send, r.SentAt, want.Add(time.Second))
	}
}

func TestAMessageThatIsRepeatedKeepsItsTimestamp(t *testing.T) {
	first, _ := Row{Protocol: ProtocolAGS}.Want(start).Next(start)
	r := first.Sending().Settled(&first, Unknown, "Timeout", start, 0, 0.5)
	if r.DueAt != start.Add(firstRetry) || r.Problem != "Timeout" {
		t.Fatalf("after a timeout: %+v", r)
	}
	again, send := r.Next(r.DueAt)
	if !send || !again.SentAt.Equal(first.SentAt) {
		t.Fatalf("send %v at %v, want %v", send, again.SentAt, first.SentAt)
	}
	if r = again.Sending().Settled(&again, Superseded, "Superseded", r.DueAt, 0, 0.5); r.Pending() || r.Problem != "" {
		t.Errorf("what was taken before is not confirmed: %+v", r)
	}
}

func TestWhatIsRefusedWaitsForSomebody(t *testing.T) {
	r, _ := Row{Protocol: ProtocolAGS}.Want(start).Next(start)
	refused := r.Sending().Settled(&r, Refused, "UserUnknown", start, 0, 0)
	if _, send := refused.Next(start.Add(24 * time.Hour)); send || refused.Parked != "UserUnknown" {
		t.Errorf("it is sent again: %+v", refused)
	}
	if _, send := refused.Resend(start).Next(start.Add(time.Second)); !send {
		t.Error("asking for it does not send it")
	}
	if _, send := refused.Want(start).Next(start.Add(time.Second)); !send {
		t.Error("a new grade is not sent")
	}
	// A grade that came while the one before was refused is not held back.
	newer := r.Sending().Want(start).Settled(&r, Refused, "ScoreRefused", start, 0, 0)
	if _, send := newer.Next(start.Add(time.Second)); !send {
		t.Error("a newer grade is held back by an older one")
	}
}

func TestWhatIsSentAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		row Row
		// wanted is the version that is sent then; 0 for none.
		wanted int64
	}{
		"nothing":          {Row{}, 0},
		"refused":          {Row{Wanted: 2, Confirmed: 1, Sent: 2, Parked: "Refused"}, 2},
		"not sent yet":     {Row{Wanted: 2, Confirmed: 1, Sent: 1, Ambiguous: true}, 2},
		"on its way":       {Row{Wanted: 2, Confirmed: 1, Sent: 2, Ambiguous: true}, 3},
		"known to be held": {Row{Wanted: 2, Confirmed: 2, Sent: 2}, 3},
	} {
		r := tt.row.Again(start)
		if _, send := r.Next(start); r.Wanted != tt.wanted || send != (tt.wanted > 0) {
			t.Errorf("%s: %+v, to be sent: %t", name, r, send)
		}
	}
}

func TestSomebodyElsesNewerGradeIsTriedAFewTimes(t *testing.T) {
	now := start
	r := Row{Protocol: ProtocolAGS}.Want(now)
	sent, last := 0, time.Time{}
	for range 50 {
		next, send := r.Next(now)
		r = next
		if send {
			if !next.SentAt.After(last) {
				t.Fatalf("timestamp %v after %v", next.SentAt, last)
			}
			sent, last = sent+1, next.SentAt
			r = next.Sending().Settled(&next, Superseded, "Superseded", now, 0, 0.5)
		}
		now = now.Add(30 * time.Second)
	}
	if sent != supersededRetries+1 || r.Parked != ReasonSuperseded {
		t.Errorf("sent %d times, parked %q", sent, r.Parked)
	}
}

func TestPausesGrowAndRetryAfterIsHeeded(t *testing.T) {
	r, _ := Row{Protocol: ProtocolAGS}.Want(start).Next(start)
	var last time.Duration
	for range 20 {
		s := r.Sending().Settled(&r, NotSent, "Unreachable", start, 0, 0.5)
		if wait := s.DueAt.Sub(start); wait < last || wait > lastRetry {
			t.Fatalf("pause %v after %v", wait, last)
		} else {
			last = wait
		}
		r.Attempts = s.Attempts
	}
	if last != lastRetry {
		t.Errorf("the longest pause is %v, want %v", last, lastRetry)
	}
	r.Attempts = 0
	for after, want := range map[time.Duration]time.Duration{time.Minute: time.Minute, 48 * time.Hour: longestWait, 0: firstRetry} {
		if s := r.Sending().Settled(&r, NotSent, "", start, after, 0.5); s.DueAt.Sub(start) != want {
			t.Errorf("Retry-After %v: pause %v, want %v", after, s.DueAt.Sub(start), want)
		}
	}
	if low, high := pause(1, 0), pause(1, 1); low != 800*time.Millisecond || high != 1200*time.Millisecond {
		t.Errorf("spread from %v to %v", low, high)
	}
}

// A pause that was given before the clock was set back does not become longer by that.
func TestNothingWaitsForAClockThatWasSetBack(t *testing.T) {
	r, _ := Row{Protocol: ProtocolAGS}.Want(start).Next(start)
	r = r.Sending().Settled(&r, NotSent, "Unreachable", start, longestWait, 0)
	if _, send := r.Next(start); send {
		t.Error("Retry-After is not heeded")
	}
	if _, send := r.Next(start.Add(-time.Second)); !send {
		t.Error("it waits for longer than anything waits")
	}
}

// Nor is a grade sent again and again until the clock has caught up.
func TestAThreatIsOverInTime(t *testing.T) {
	lost, _ := Row{Protocol: ProtocolOutcomes}.Want(start).Next(start)
	r := lost.Sending().Settled(&lost, Unknown, "Timeout", start, 0, 0).Want(start)
	back := start.Add(-24 * time.Hour)
	newer, send := r.Want(back).Next(back)
	if !send {
		t.Fatal("the newer grade is not sent")
	}
	r = newer.Sending().Settled(&newer, Accepted, "", back, 0, 0)
	if !r.Pending() || r.DueAt != back.Add(overtaking) {
		t.Errorf("due at %v, want %v: %+v", r.DueAt, back.Add(overtaking), r)
	}
}

// SPDX-License-Identifier: Apache-2.0

package grades

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
	"github.com/lti-operator/lti-operator/internal/store/sqlite"
)

// sendFunc is a Sender.
type sendFunc func(ctx context.Context, row *Leased) Result

func (f sendFunc) Send(ctx context.Context, row *Leased) Result { return f(ctx, row) }

// newStore returns an empty store on disk.
func newStore(t *testing.T) *sqlite.Store {
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// launched is a launch of a person by Basic Outcomes.
func launched(t *testing.T, s store.Store, b *Book, id, user, sourcedID string) store.Launch {
	t.Helper()
	expires := time.Now().Add(time.Hour)
	l, err := s.AcceptLaunch(t.Context(), store.NewLaunch{
		Nonce:            store.Nonce{Scope: "moodle", Value: id, ExpiresAt: expires},
		CandidateSubject: id, MayCreateUser: true, Profile: store.Profile{Email: user + "@example.edu"},
		Ticket: store.NewTicket{Kind: store.TicketOpen, Hash: store.HashToken(id), ExpiresAt: expires},
		Grade: b.Join(store.GradeKey{Link: store.Link{Registration: "moodle", ResourceLinkID: "7"}, LTIUserID: user},
			Address{Protocol: ProtocolOutcomes, ServiceURL: "https://lms.example/outcomes", SourcedID: sourcedID, LTIUserID: user}, PolicyCompletion),
		LaunchInfo: store.LaunchInfo{ID: id, Activity: "safety", Version: "LTI-1p0", Realm: "moodle", LTIUserID: user},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func completed(t *testing.T, b *Book, subject string) {
	t.Helper()
	if _, err := b.Report(t.Context(), subject, "safety", PolicyCompletion, &Report{At: time.Now(), Completed: true}, nil); err != nil {
		t.Fatal(err)
	}
}

// One grade that cannot be read, as after a return to an earlier release, keeps no other one.
func TestAGradeThatCannotBeReadKeepsNoOther(t *testing.T) {
	s, sent := newStore(t), make(chan string, 10)
	w := &Worker{
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Jitter: func() float64 { return 0.5 },
		Sender: sendFunc(func(_ context.Context, row *Leased) Result {
			sent <- row.Address.SourcedID
			return Result{Outcome: Accepted}
		}),
	}
	b := &Book{Store: s, Now: time.Now, Wake: w.Wake}
	w.Rows = b
	for _, user := range []string{"first", "second", "third"} {
		completed(t, b, launched(t, s, b, "launch of "+user, user, user).Subject)
	}
	broken := store.GradeKey{Link: store.Link{Registration: "moodle", ResourceLinkID: "7"}, LTIUserID: "first"}
	if err := s.ChangeGrade(t.Context(), broken.ID(), func(g *store.Grade) error {
		g.State = []byte(`{"row":"of another release"}`)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	defer run(t, w)()
	for range 2 {
		select {
		case <-sent:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing is sent")
		}
	}
}

// What another system says to a message at an address that a launch has replaced meanwhile says nothing about the new one.
func TestAGradeIsNotParkedForAnAddressThatALaunchHasReplaced(t *testing.T) {
	s := newStore(t)
	asked, answers := make(chan string), make(chan Result)
	w := &Worker{
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Jitter: func() float64 { return 0.5 },
		Sender: sendFunc(func(ctx context.Context, row *Leased) Result {
			select {
			case asked <- row.Address.SourcedID:
				return <-answers
			case <-ctx.Done():
				return Result{Outcome: Unknown}
			}
		}),
	}
	b := &Book{Store: s, Now: time.Now, Wake: w.Wake}
	w.Rows = b
	sending := func(want string) {
		t.Helper()
		select {
		case got := <-asked:
			if got != want {
				t.Fatalf("sent to %s, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			entries, err := b.List(t.Context(), store.GradeFilter{Limit: 1})
			t.Fatalf("nothing is sent to %s: %+v, %v", want, entries, err)
		}
	}
	subject := launched(t, s, b, "first", "4", "old").Subject
	defer run(t, w)()
	completed(t, b, subject)
	sending("old")
	launched(t, s, b, "second", "4", "new")
	answers <- Result{Outcome: Refused, Reason: "SourcedIDUnknown"}
	sending("new")
	// Refused at the address that it still has: nobody is asked again.
	answers <- Result{Outcome: Refused, Reason: "SourcedIDUnknown"}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		entries, err := b.List(t.Context(), store.GradeFilter{Limit: 1})
		if err == nil && len(entries) == 1 && entries[0].State == StateRefused {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not refused: %+v, %v", entries, err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package grades

import (
	"context"
	"fmt"
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

// What another system says to a message at an address that a launch has replaced meanwhile says nothing about the new one.
func TestAGradeIsNotParkedForAnAddressThatALaunchHasReplaced(t *testing.T) {
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
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
	launched := 0
	launch := func(sourcedID string) store.Launch {
		t.Helper()
		launched++
		id := fmt.Sprint("launch-", launched)
		expires := time.Now().Add(time.Hour)
		l, err := s.AcceptLaunch(t.Context(), store.NewLaunch{
			Nonce:            store.Nonce{Scope: "moodle", Value: id, ExpiresAt: expires},
			CandidateSubject: id, MayCreateUser: true, Profile: store.Profile{Email: "sam@example.edu"},
			Ticket: store.NewTicket{Kind: store.TicketOpen, Hash: store.HashToken(id), ExpiresAt: expires},
			Grade: b.Join(store.GradeKey{Link: store.Link{Registration: "moodle", ResourceLinkID: "7"}, LTIUserID: "4"},
				Address{Protocol: ProtocolOutcomes, ServiceURL: "https://lms.example/outcomes", SourcedID: sourcedID, LTIUserID: "4"}, PolicyCompletion),
			LaunchInfo: store.LaunchInfo{ID: id, Activity: "safety", Version: "LTI-1p0", Realm: "moodle", LTIUserID: "4"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
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
	subject := launch("old").Subject
	defer run(t, w)()
	if _, err := b.Report(t.Context(), subject, "safety", PolicyCompletion, &Report{At: time.Now(), Completed: true}, nil); err != nil {
		t.Fatal(err)
	}
	sending("old")
	launch("new")
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

package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
	"github.com/lti-operator/lti-operator/internal/store/postgres/pgtest"
)

// A launch may meet another one of its person that makes their account the one of the directory, and itself be at a replica
// that has not heard of the directory yet. Both are accepted, whichever is first.
func TestAnAccountMovesDuringALaunch(t *testing.T) {
	for name, tt := range map[string]struct {
		// givenName is what the launch that stays says: with another name it has a lock on the account.
		givenName string
		// movesFirst lets the other one end before this one goes on.
		movesFirst bool
	}{
		"which is first":  {"Samuel", false},
		"which is second": {"Sam", true},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), pgtest.NewDatabase(t), time.Now)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			launch := func(id string, change func(n *store.NewLaunch)) error {
				expires := time.Now().Add(time.Hour)
				n := store.NewLaunch{
					Nonce:            store.Nonce{Scope: "moodle", Value: id, ExpiresAt: expires},
					CandidateSubject: "subject of " + id, MayCreateUser: true,
					Profile:    store.Profile{Email: "sam@example.edu", GivenName: "Sam"},
					Ticket:     store.NewTicket{Kind: store.TicketOpen, Hash: store.HashToken(id), ExpiresAt: expires},
					LaunchInfo: store.LaunchInfo{ID: id, Activity: "safety", Version: "LTI-1p0", Realm: "moodle", LTIUserID: "4"},
				}
				change(&n)
				_, err := s.AcceptLaunch(context.Background(), n)
				return err
			}
			waits := func(forWhat string) {
				t.Helper()
				query := `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = $1 AND NOT granted)`
				for deadline, found := time.Now().Add(10*time.Second), false; !found; time.Sleep(time.Millisecond) {
					if err := s.db.QueryRow(query, forWhat).Scan(&found); err != nil || time.Now().After(deadline) {
						t.Fatalf("nobody waits for %s: %v", forWhat, err)
					}
				}
			}
			if err := launch("first", func(*store.NewLaunch) {}); err != nil {
				t.Fatal(err)
			}
			hold, err := s.db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			// Here a launch with a grade has found its account.
			if err := lockKey(t.Context(), hold, "progress\x00subject of first\x00safety"); err != nil {
				t.Fatal(err)
			}
			stayed, moved := make(chan error, 1), make(chan error, 1)
			go func() {
				stayed <- launch("stays", func(n *store.NewLaunch) {
					n.Profile.GivenName = tt.givenName
					n.Grade = &store.NewGrade{
						Key: store.GradeKey{Link: store.Link{Registration: "moodle", ResourceLinkID: "7"}, LTIUserID: "4"},
						Join: func(_ json.RawMessage, g *store.Grade) error {
							g.State, g.Address = json.RawMessage(`{}`), json.RawMessage(`{}`)
							return nil
						},
					}
				})
			}()
			waits("advisory")
			go func() { moved <- launch("moves", func(n *store.NewLaunch) { n.DirectoryID = "user/1" }) }()
			if tt.movesFirst {
				if err := <-moved; err != nil {
					t.Errorf("the launch that moves the account: %v", err)
				}
			} else {
				waits("transactionid")
			}
			if err := hold.Rollback(); err != nil {
				t.Fatal(err)
			}
			if err := <-stayed; err != nil {
				t.Errorf("the other launch: %v", err)
			}
			if !tt.movesFirst {
				if err := <-moved; err != nil {
					t.Errorf("the launch that moves the account: %v", err)
				}
			}
			grades, err := s.ListGrades(t.Context(), store.GradeFilter{Limit: 10})
			if err != nil || len(grades) != 1 || grades[0].Subject != "user/1" {
				t.Errorf("grades %v, %v", fmt.Sprint(grades), err)
			}
		})
	}
}

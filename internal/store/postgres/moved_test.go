package postgres

import (
	"context"
	"encoding/json"
	"errors"
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
		"which is first":  {"Zoe", false},
		"which is second": {"Zoë", true},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), pgtest.NewDatabase(t), time.Now)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			launch := func(id string, change func(n *store.NewLaunch)) error {
				_, err := s.AcceptLaunch(context.Background(), newLaunch(id, "safety", change))
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
			if err := launch("first", func(n *store.NewLaunch) { n.Grade = nil }); err != nil {
				t.Fatal(err)
			}
			hold, err := s.db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			// Here a launch with a grade has found its account.
			if err := lockKey(t.Context(), hold, "progress\x00subject-first\x00safety"); err != nil {
				t.Fatal(err)
			}
			stayed, moved := make(chan error, 1), make(chan error, 1)
			go func() {
				stayed <- launch("stays", func(n *store.NewLaunch) { n.Profile.GivenName = tt.givenName })
			}()
			waits("advisory")
			go func() { moved <- launch("moves", func(n *store.NewLaunch) { n.Grade, n.DirectoryID = nil, "user/1" }) }()
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

// The server may end a session in the middle of a transaction, which has left nothing then: the call begins anew.
func TestASessionEndsDuringALaunch(t *testing.T) {
	s, err := Open(t.Context(), pgtest.NewDatabase(t), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ended := 0
	l := newLaunch("first", "safety", func(n *store.NewLaunch) {
		join := n.Grade.Join
		n.Grade.Join = func(progress json.RawMessage, g *store.Grade) error {
			if ended > 0 {
				return join(progress, g)
			}
			const sessions = `pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'`
			err := s.db.QueryRow(`SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM ` + sessions + `) AS ended`).Scan(&ended)
			for left := ended; err == nil && left > 0; time.Sleep(time.Millisecond) {
				err = s.db.QueryRow(`SELECT count(*) FROM ` + sessions).Scan(&left)
			}
			return errors.Join(err, join(progress, g))
		}
	})
	if _, err := s.AcceptLaunch(t.Context(), l); err != nil || ended != 1 {
		t.Errorf("%v, after %d sessions ended", err, ended)
	}
}

package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lti-operator/lti-operator/internal/store"
	"github.com/lti-operator/lti-operator/internal/store/storetest"
)

// childEnv makes the test binary act as another process on the named file.
const childEnv = "LTI_OPERATOR_SQLITE_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		child(path)
		return
	}
	goleak.VerifyTestMain(m)
}

// child opens the file and tries to accept one launch whose nonce all children
// share.
func child(path string) {
	ctx := context.Background()
	s, err := Open(ctx, path, time.Now)
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	defer s.Close()
	_, err = s.AcceptLaunch(ctx, newLaunch(fmt.Sprint("pid-", os.Getpid())))
	switch {
	case err == nil:
		fmt.Println("accepted")
	case errors.Is(err, store.ErrReplayed):
		fmt.Println("replayed")
	default:
		fmt.Println("accept:", err)
	}
}

func newLaunch(id string) store.NewLaunch {
	end := time.Now().Add(time.Hour)
	return store.NewLaunch{
		Nonce:            store.Nonce{Scope: "scope", Value: "the-one-nonce", ExpiresAt: end},
		CandidateSubject: "subject-" + id, MayCreateUser: true,
		Profile:    store.Profile{GivenName: "Zoë", Email: "u@example.edu"},
		Ticket:     store.NewTicket{Kind: store.TicketCode, Hash: store.HashToken("token-" + id), ExpiresAt: end},
		LaunchInfo: store.LaunchInfo{ID: id, Activity: "a", Version: "1.3.0", Realm: "r", LTIUserID: "u"},
	}
}

func mustOpen(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opener {
		// Characters that mean something in a URI are legal in a path.
		dir := filepath.Join(t.TempDir(), "a b?c#d%20&e=f")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return func(t *testing.T, now func() time.Time) store.Store {
			s, err := Open(t.Context(), filepath.Join(dir, "store.db"), now)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}

func TestProcessesShareAFreshFile(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "store.db")
	const processes = 6
	outputs := make([]string, processes)
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), exe)
			cmd.Env = append(os.Environ(), childEnv+"="+path)
			out, err := cmd.CombinedOutput()
			outputs[i] = strings.TrimSpace(string(out))
			if err != nil {
				t.Errorf("process %d: %v: %s", i, err, out)
			}
		})
	}
	wg.Wait()
	count := map[string]int{}
	for _, o := range outputs {
		count[o]++
	}
	if count["accepted"] != 1 || count["replayed"] != processes-1 {
		t.Errorf("outcomes = %v, want 1 accepted and %d replayed", count, processes-1)
	}
}

func TestFileIsPrivateAndDurable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := mustOpen(t, path)
	if _, err := s.AcceptLaunch(t.Context(), newLaunch("l1")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, want no access for others", filepath.Base(name), info.Mode())
		}
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000"} {
		var got string
		if err := s.write.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", pragma, got, err, want)
		}
	}
	if _, err := s.read.Exec("DELETE FROM nonces"); err == nil {
		t.Error("a read connection could write")
	}
}

func TestTokensAreNotStored(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, filepath.Join(dir, "store.db"))
	n := newLaunch("l1")
	n.Ticket.Hash = store.HashToken("canary-token")
	n.Nonce.Value = "canary-nonce"
	if _, err := s.AcceptLaunch(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("canary-")) {
			t.Errorf("%s holds a token or nonce in clear", filepath.Base(name))
		}
		found = found || bytes.Contains(data, n.Ticket.Hash[:])
	}
	if !found {
		t.Error("the hash of the token is in no file: this test looks in the wrong place")
	}
}

func TestCannotOpen(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"no such directory":   filepath.Join(dir, "missing", "store.db"),
		"a directory":         dir,
		"not a database file": garbage,
	} {
		if s, err := Open(t.Context(), path, time.Now); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: error = %v, want %v", name, err, store.ErrUnavailable)
			if s != nil {
				_ = s.Close()
			}
		}
	}
}

func TestFileOfANewerRelease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := mustOpen(t, path)
	for _, q := range []string{
		`ALTER TABLE launches ADD COLUMN later TEXT`,
		`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`,
	} {
		if _, err := s.write.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	again := mustOpen(t, path)
	if _, err := again.AcceptLaunch(t.Context(), newLaunch("l1")); err != nil {
		t.Errorf("AcceptLaunch: %v", err)
	}
}

func TestWaitsForAnotherWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := mustOpen(t, path)
	other, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	// While the lock is held, a caller with a deadline gets a clear answer …
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.AcceptLaunch(ctx, newLaunch("l1")); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("error = %v, want %v", err, store.ErrUnavailable)
	}
	// … reads go on …
	if _, err := s.LaunchByNonce(t.Context(), "scope", "x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("error = %v, want %v", err, store.ErrNotFound)
	}
	// … and a patient caller gets through.
	done := make(chan error)
	go func() {
		_, err := s.AcceptLaunch(t.Context(), newLaunch("l1"))
		done <- err
	}()
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("AcceptLaunch: %v", err)
	}
}

// wantRows checks how many rows a call writes.
func wantRows(t *testing.T, s *Store, name string, want int, call func() error) {
	t.Helper()
	changes := func() (n int) {
		t.Helper()
		if err := s.write.QueryRow("SELECT total_changes()").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := changes()
	if err := call(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if got := changes() - before; got != want {
		t.Errorf("%s: %d rows written, want %d", name, got, want)
	}
}

// Most launches are by people who come back unchanged.
func TestAKnownPersonCostsThreeRows(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "store.db"))
	for i, step := range []struct {
		name string
		edit func(*store.NewLaunch)
		rows int
	}{
		{"the first launch", func(*store.NewLaunch) {}, 5},
		{"the same again", func(*store.NewLaunch) {}, 3},
		{"says nothing", func(n *store.NewLaunch) { n.MayCreateUser, n.Profile = false, store.Profile{} }, 3},
		{"another address", func(n *store.NewLaunch) { n.EmailVouched, n.Profile.Email = true, "v@example.edu" }, 3},
		{"a new name", func(n *store.NewLaunch) { n.Profile.GivenName = "Z." }, 4},
		{"the old name and a voucher", func(n *store.NewLaunch) { n.EmailVouched = true }, 4},
		{"the same voucher", func(n *store.NewLaunch) { n.EmailVouched = true }, 3},
		{"a first issuer", func(n *store.NewLaunch) { n.Issuer = "https://lms.example.edu" }, 4},
		{"the same issuer", func(n *store.NewLaunch) { n.Issuer = "https://lms.example.edu" }, 3},
		{"no issuer", func(*store.NewLaunch) {}, 3},
	} {
		n := newLaunch(fmt.Sprint(i))
		n.Nonce.Value = n.ID
		step.edit(&n)
		wantRows(t, s, step.name, step.rows, func() error {
			_, err := s.AcceptLaunch(t.Context(), n)
			return err
		})
	}
}

// A learner who opens an activity again costs what must be written: when they were
// seen, and the nonce.
func TestAKnownLearnerCostsTwoRows(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "store.db"))
	for i, rows := range []int{2, 1, 1} {
		wantRows(t, s, "meet", 1, func() error {
			_, err := s.MeetLearner(t.Context(), store.Learner{Realm: "r", ID: fmt.Sprint(i), Subject: "u"})
			return err
		})
		wantRows(t, s, "begin", rows, func() error {
			n := store.Nonce{Scope: "scope", Value: fmt.Sprint(i), ExpiresAt: time.Now().Add(time.Hour)}
			_, err := s.BeginResult(t.Context(), &n, store.Result{Key: store.ResultKey{Realm: "r", Activity: "a", LearnerID: "0"}})
			return err
		})
	}
}

func TestLookupsUseIndexes(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "store.db"))
	for query, args := range s.Lookups() {
		rows, err := s.read.Query("EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		steps := 0
		for rows.Next() {
			var (
				id, parent, unused int
				detail             string
			)
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if steps++; !strings.HasPrefix(detail, "SEARCH ") {
				t.Errorf("%s\nreads a whole table: %s", query, detail)
			}
		}
		if err := rows.Err(); err != nil || steps == 0 {
			t.Errorf("%d steps, %v", steps, err)
		}
	}
}

func BenchmarkLaunches(b *testing.B) {
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "store.db"), time.Now)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	storetest.BenchmarkLaunches(b, s)
}

// Two migrations at the same time go wrong rarely, so the lock itself is tested.
func TestOneMigrationAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	unlock, err := lockMigrations(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if s, err := Open(ctx, path, time.Now); err == nil {
		_ = s.Close()
		t.Error("Open did not wait for the migration of another process")
	} else if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("error = %v, want %v", err, store.ErrUnavailable)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("the database was touched before the lock was free: %v, %v", info, err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path)
}

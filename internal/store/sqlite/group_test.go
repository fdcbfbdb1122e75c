package sqlite

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

// commits counts the transactions in the write-ahead log (SQLite, file format, section 4: the header of the last frame of
// each has the size of the database).
func commits(t *testing.T, path string) int {
	t.Helper()
	log, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	const header, frameHeader = 32, 24
	if len(log) < header {
		return 0
	}
	page, n := int(binary.BigEndian.Uint32(log[8:])), 0
	salts := string(log[16:24])
	for at := header; at+frameHeader+page <= len(log); at += frameHeader + page {
		if string(log[at+8:at+16]) == salts && binary.BigEndian.Uint32(log[at+4:]) != 0 {
			n++
		}
	}
	return n
}

// hold makes the store's transaction wait until it is let go: those that are called meanwhile are the next one.
func hold(t *testing.T, s *Store) (letGo func()) {
	t.Helper()
	begun, end, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := s.ReportProgress(context.Background(), store.ProgressReport{
			Subject: "subject-first", Activity: "a", Progress: func(before json.RawMessage) (json.RawMessage, error) {
				close(begun)
				<-end
				return before, nil
			},
		})
		ended <- err
	}()
	<-begun
	return func() {
		t.Helper()
		close(end)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// Each commit is a write to disk that all launches wait for.
func TestThoseWhoWaitShareACommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := mustOpen(t, path)
	if _, err := s.AcceptLaunch(t.Context(), newLaunch("first")); err != nil {
		t.Fatal(err)
	}
	letGo := hold(t, s)
	before := commits(t, path)

	const calls = 40
	gone, goAway := context.WithCancel(t.Context())
	var (
		group   sync.WaitGroup
		errs    [calls]error
		panics  [calls]any
		refused = errors.New("refused by the caller")
	)
	for i := range calls {
		group.Go(func() {
			defer func() { panics[i] = recover() }()
			n := newLaunch(fmt.Sprint("launch-", i))
			n.Nonce.Value = n.ID
			ctx := t.Context()
			cell := store.GradeKey{Link: store.Link{Registration: "p", ResourceLinkID: n.ID}, LTIUserID: "u"}
			switch i % 8 {
			case 1: // the nonce of another launch
				n.Nonce.Value = "the-one-nonce"
			case 2: // an identifier that is taken, which the engine finds out last
				n.Ticket.Hash = store.HashToken("token-first")
			case 3:
				n.Grade = &store.NewGrade{Key: cell, Join: func(json.RawMessage, *store.Grade) error { return refused }}
			case 4:
				n.Grade = &store.NewGrade{Key: cell, Join: func(json.RawMessage, *store.Grade) error { panic("in a launch") }}
			case 5: // the caller goes away before its turn
				ctx = gone
			}
			_, errs[i] = s.AcceptLaunch(ctx, n)
		})
	}
	for deadline := time.Now().Add(10 * time.Second); s.Waiting() < calls; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d wait", s.Waiting(), calls)
		}
	}
	goAway()
	letGo()
	group.Wait()

	want := map[int]error{1: store.ErrReplayed, 2: store.ErrConflict, 3: refused, 5: context.Canceled}
	for i := range calls {
		if !errors.Is(errs[i], want[i%8]) {
			t.Errorf("call %d: error = %v, want %v", i, errs[i], want[i%8])
		}
		if got := panics[i] != nil; got != (i%8 == 4) {
			t.Errorf("call %d: panic = %v", i, panics[i])
		}
		_, err := s.Launch(t.Context(), fmt.Sprint("launch-", i))
		accepted := i%8 == 0 || i%8 > 5
		if accepted && err != nil || !accepted && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("launch %d: found with %v", i, err)
		}
	}
	if n := commits(t, path) - before; n != 1 {
		t.Errorf("%d commits for %d calls, want 1", n, calls)
	}
	var nonces int
	if err := s.read.QueryRow(`SELECT count(*) FROM nonces`).Scan(&nonces); err != nil || nonces != 1+calls/8*3 {
		t.Errorf("%d nonces, %v", nonces, err)
	}
}

// A call that comes alone does not wait for company.
func TestWhoComesAloneIsServedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := mustOpen(t, path)
	for i := range 3 {
		before := 0
		if i > 0 {
			before = commits(t, path)
		}
		n := newLaunch(fmt.Sprint(i))
		n.Nonce.Value = n.ID
		if _, err := s.AcceptLaunch(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if i > 0 && commits(t, path) != before+1 {
			t.Errorf("launch %d: %d commits", i, commits(t, path)-before)
		}
	}
}

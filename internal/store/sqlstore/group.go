package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// maxGroup bounds the calls that share a transaction, and with that how long the
// first of them waits for the last.
const maxGroup = 64

// group lets transactions share a commit. While one transaction runs, the calls that
// come are collected; together they are the next. Each is undone alone when it
// fails, and none is told that it succeeded before the commit.
//
// A call that comes alone runs at once: nothing waits for company.
type group struct {
	mu      sync.Mutex
	waiting []*member
	running bool
}

// member is one call.
type member struct {
	ctx     context.Context //nolint:containedctx // that of the call
	fn      func(context.Context, *sql.Tx) error
	failure Failure
	err     error
	// panicked is what fn panicked with.
	panicked any
	done     chan struct{}
}

// run runs fn in a transaction, perhaps with others, and returns when that has ended.
// The answer is what inTx makes of a transaction of its own.
func (g *group) run(ctx context.Context, s *Store, fn func(context.Context, *sql.Tx) error) (Failure, error) {
	m := &member{ctx: ctx, fn: fn, done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, m)
	if !g.running {
		g.running = true
		go g.lead(s)
	}
	g.mu.Unlock()
	// Not only until ctx ends: fn writes to what is the caller's.
	<-m.done
	if m.panicked != nil {
		panic(m.panicked)
	}
	return m.failure, m.err
}

// Waiting is the number of calls that wait for the transaction of others to end.
func (s *Store) Waiting() int {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	return len(s.group.waiting)
}

// lead runs transactions until nobody waits.
func (g *group) lead(s *Store) {
	for {
		g.mu.Lock()
		n := min(len(g.waiting), maxGroup)
		members := g.waiting[:n:n]
		g.waiting = g.waiting[n:]
		if n == 0 {
			g.running, g.waiting = false, nil
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		s.together(members)
		for _, m := range members {
			close(m.done)
		}
	}
}

// errApart says that a transaction of several ended early, through no fault of most.
var errApart = errors.New("the transaction of several calls has ended")

// together runs calls in one transaction. When that ends early, which an engine may do
// for the failure of one, they run one by one.
func (s *Store) together(members []*member) {
	failure, err := s.shared(members)
	if errors.Is(err, errApart) && len(members) > 1 {
		for _, m := range members {
			s.together([]*member{m})
		}
		return
	}
	if err == nil {
		return
	}
	for _, m := range members {
		if m.err == nil && m.panicked == nil {
			m.failure, m.err = failure, err
		}
	}
}

// shared runs calls in one transaction. Those that fail have their error; an error that
// is returned is that of all others.
func (s *Store) shared(members []*member) (Failure, error) {
	// No call may end the transaction of the others: an engine that is interrupted
	// rolls all of it back.
	ctx := context.Background()
	tx, err := s.engine.Write.BeginTx(ctx, nil)
	if err != nil {
		return s.engine.Classify(err, false), err
	}
	for _, m := range members {
		m.failure, m.err, m.panicked = Broken, nil, nil
		if m.err = m.ctx.Err(); m.err != nil {
			continue // nobody waits for it
		}
		if len(members) == 1 {
			m.try(tx)
			if m.err != nil || m.panicked != nil {
				_ = tx.Rollback() // its error adds nothing
				m.failure = s.classify(m.err)
				return Broken, nil
			}
			continue
		}
		if err := s.apart(ctx, tx, m); err != nil {
			_ = tx.Rollback()
			return Broken, fmt.Errorf("%w: %w", errApart, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return s.engine.Classify(err, true), err
	}
	return Broken, nil
}

// apart runs one call so that it can be undone alone.
func (s *Store) apart(ctx context.Context, tx *sql.Tx, m *member) error {
	if _, err := tx.StmtContext(ctx, s.savepoint).ExecContext(ctx); err != nil {
		return err
	}
	m.try(tx)
	if m.err != nil || m.panicked != nil {
		m.failure = s.classify(m.err)
		if _, err := tx.StmtContext(ctx, s.undo).ExecContext(ctx); err != nil {
			return err
		}
	}
	_, err := tx.StmtContext(ctx, s.release).ExecContext(ctx)
	return err
}

// try calls fn.
func (m *member) try(tx *sql.Tx) {
	defer func() { m.panicked = recover() }()
	m.err = m.fn(context.WithoutCancel(m.ctx), tx)
}

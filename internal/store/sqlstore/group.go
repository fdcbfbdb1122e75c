package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// maxGroup bounds the calls that share a transaction, and with that how long the
// first of them waits for the last.
const maxGroup = 64

// member is a call of inTx that shares its transaction, and with that a commit, with
// those that come at the same time. Each is undone alone when it fails, and none is told
// that it succeeded before the commit.
type member struct {
	ctx     context.Context //nolint:containedctx // that of the call
	fn      func(context.Context, *sql.Tx) error
	failure Failure
	err     error
	// panicked is what fn panicked with.
	panicked any
}

// inGroup runs fn in a transaction, perhaps with others, and returns when that has ended:
// not only until ctx ends, since fn writes to what is the caller's. The answer is what
// inTx makes of a transaction of its own.
func (s *Store) inGroup(ctx context.Context, fn func(context.Context, *sql.Tx) error) (Failure, error) {
	m := &member{ctx: ctx, fn: fn}
	s.group.Do(m)
	if m.panicked != nil {
		panic(m.panicked)
	}
	return m.failure, m.err
}

// Waiting is the number of calls that wait for the transaction of others to end.
func (s *Store) Waiting() int {
	waiting, _ := s.group.Waiting()
	return waiting
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

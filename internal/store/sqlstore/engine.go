package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

// Engine is what differs between databases. Only Write, Read and Classify are
// required.
type Engine struct {
	// Write runs transactions, Read single queries. They may be the same.
	Write, Read *sql.DB
	// Dollar says that parameters are $1, $2, … instead of ?1, ?2, ….
	Dollar bool
	// Writes runs single statements on the database of Write. It is for engines that allow
	// statements which change rows within WITH, and columns of other tables in RETURNING;
	// nil for others.
	Writes Querier
	// LockID is what pg_advisory_xact_lock, or what there is for it, knows a key of Lock
	// by. Nil without Writes.
	LockID func(key string) int64
	// Claim ends a query for rows to delete, so that two processes that purge at
	// once take different ones.
	Claim string
	// Classify says what an error means. commit tells that it is the answer to a
	// COMMIT: then Raced and Lost mean that certainly nothing was committed.
	Classify func(err error, commit bool) Failure
	// Clean returns what may be shown and logged of an error: nothing that a
	// person entered, and no secret. Nil keeps errors as they are.
	Clean func(error) error
	// Group says that transactions run one after the other anyway, and that each
	// costs a write to disk: those that wait for each other share one.
	Group bool
	// Lock lets transactions with the same key run one after the other, from here
	// to their end. Nil where all of them do anyway.
	Lock func(ctx context.Context, tx *sql.Tx, key string) error
	// Timeout bounds each call, however patient the caller is. 0 is no bound.
	Timeout time.Duration
}

// Failure is what an error of the database means for a transaction that was not
// committed.
type Failure int

const (
	// Broken is any failure that is not one of the others.
	Broken Failure = iota
	// Duplicate is an identifier of the caller's making that is in use.
	Duplicate
	// Raced means that another transaction came in between: the same one started
	// anew sees what it did.
	Raced
	// Lost means that the connection is gone, and that another one may do.
	Lost
)

// errRaced is Raced, found out by a statement of ours.
var errRaced = errors.New("changed by another transaction")

const (
	// maxRaces bounds how often a transaction is started anew because others came
	// in between. One of those that meet always gets through, so that the bound is
	// for a database that is out of its mind.
	maxRaces = 20
	// maxLosses bounds how often a lost connection is replaced in one call.
	maxLosses = 3
)

// inTx runs fn in a transaction and commits it when fn succeeds. Errors of the
// store package pass unchanged; a taken identifier becomes ErrConflict and all
// others ErrUnavailable.
//
// A transaction that certainly left nothing behind is started anew when it met
// another one, or a connection that had died in the pool. One whose COMMIT was
// not answered is not: it may have been carried out, and then the nonce of the
// second attempt would be a replay of the first.
func (s *Store) inTx(ctx context.Context, what string, fn func(context.Context, *sql.Tx) error) error {
	if s.engine.Group {
		return s.attempts(ctx, what, func(ctx context.Context) (Failure, error) { return s.inGroup(ctx, fn) })
	}
	return s.attempts(ctx, what, func(ctx context.Context) (Failure, error) {
		tx, err := s.engine.Write.BeginTx(ctx, nil)
		if err != nil {
			return s.engine.Classify(err, false), err
		}
		if err := fn(ctx, tx); err != nil {
			// The error of a rollback adds nothing: the database has rolled back
			// already, or does so when the connection is closed.
			_ = tx.Rollback()
			return s.classify(err), err
		}
		if err := tx.Commit(); err != nil {
			return s.engine.Classify(err, true), err
		}
		return Broken, nil
	})
}

// read runs a query, which may be repeated at will.
func (s *Store) read(ctx context.Context, what string, fn func(context.Context) error) error {
	return s.attempts(ctx, what, func(ctx context.Context) (Failure, error) {
		err := fn(ctx)
		return s.classify(err), err
	})
}

func (s *Store) classify(err error) Failure {
	switch {
	case err == nil || known(err):
		return Broken
	case errors.Is(err, errRaced):
		return Raced
	}
	return s.engine.Classify(err, false)
}

// attempts calls try until it succeeds, or fails in a way that the next one would
// not mend.
func (s *Store) attempts(ctx context.Context, what string, try func(context.Context) (Failure, error)) error {
	call := ctx
	if s.engine.Timeout > 0 {
		var cancel context.CancelFunc
		call, cancel = context.WithTimeout(ctx, s.engine.Timeout)
		defer cancel()
	}
	for races, losses := 0, 0; ; {
		failure, err := try(call)
		if err == nil || known(err) {
			return err
		}
		switch failure {
		case Broken:
		case Duplicate:
			return fmt.Errorf("%s: %w: %w", what, store.ErrConflict, s.clean(err))
		case Raced:
			races++
		case Lost:
			losses++
		}
		if failure == Broken || races > maxRaces || losses > maxLosses || !pause(call, races+losses) {
			return s.unavailable(ctx, what, err)
		}
	}
}

// pause waits a moment, longer and more at random the more often it was tried
// before: those who met would else meet again. It reports whether ctx is still
// good.
func pause(ctx context.Context, tries int) bool {
	if tries == 1 {
		return ctx.Err() == nil
	}
	most := time.Millisecond << min(tries, 6)
	n, err := rand.Int(rand.Reader, big.NewInt(int64(most)))
	if err != nil {
		return false
	}
	timer := time.NewTimer(time.Duration(n.Int64()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// known reports whether an error is an answer of the store package,
// or of a function of the caller's.
func known(err error) bool {
	if f := (foreign{}); errors.As(err, &f) {
		return true
	}
	for _, k := range []error{
		store.ErrInvalid, store.ErrReplayed, store.ErrUnknownUser, store.ErrEmailInUse,
		store.ErrSuspended, store.ErrIssuerChanged, store.ErrNotFound,
		store.ErrTicketUnknown, store.ErrTicketUsed, store.ErrTicketExpired,
		store.ErrKeyReused, store.ErrLeaseLost, store.ErrConflict, store.ErrTooMany, store.ErrBusy,
	} {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

func (s *Store) clean(err error) error {
	if s.engine.Clean == nil {
		return err
	}
	return s.engine.Clean(err)
}

func (s *Store) unavailable(ctx context.Context, what string, err error) error {
	return Unavailable(ctx, what, s.clean(err))
}

// Unavailable wraps a failure of the database. A caller that went away is not
// one, and must not be counted as one.
func Unavailable(ctx context.Context, what string, err error) error {
	if cause := ctx.Err(); errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%s: %w", what, cause)
	}
	return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err)
}

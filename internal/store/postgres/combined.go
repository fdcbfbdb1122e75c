package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lti-operator/lti-operator/internal/store/sqlstore"
)

const (
	// maxTogether bounds the statements that are sent together, and with that how long
	// the first of them waits for the last.
	maxTogether = 32
	// maxUnderWay bounds how many connections have statements under way: as many are
	// sent at once, each as it comes, and only what comes meanwhile is sent together.
	maxUnderWay = 3
)

// combined sends statements of several callers together, when more come than are under
// way: to send a statement and to be told that there is an answer costs both sides more
// than most statements do, and each commit is a write to disk.
//
// What is sent together is one transaction. If one statement fails, all are undone, and
// sent again one by one, so that each caller gets the answer of their own statement. None
// is told that it succeeded before the commit.
type combined struct {
	db       *sql.DB
	gatherer sqlstore.Gatherer[*statement]
}

var _ sqlstore.Querier = (*combined)(nil)

func newCombined(db *sql.DB) *combined {
	c := &combined{db: db}
	c.gatherer.Run, c.gatherer.Most, c.gatherer.UnderWay = c.send, maxTogether, maxUnderWay
	return c
}

// statement is one of a caller, and its answer.
type statement struct {
	ctx context.Context //nolint:containedctx // that of the caller
	// key is what it changes, see sqlstore.Querier; empty for nothing that others change.
	key, text string
	args      []any
	// into is where the one row goes; nil for a statement that returns none.
	into []any
	rows int64
	err  error
}

// QueryRow implements sqlstore.Querier.
func (c *combined) QueryRow(ctx context.Context, key, text string, args ...any) sqlstore.Row {
	return &query{ctx, c, key, text, args}
}

// query is one that its Scan runs.
type query struct {
	ctx       context.Context //nolint:containedctx // that of the call
	c         *combined
	key, text string
	args      []any
}

// Scan implements sqlstore.Row.
func (q *query) Scan(into ...any) error {
	_, err := q.c.run(&statement{ctx: q.ctx, key: q.key, text: q.text, args: q.args, into: into})
	return err
}

// Exec implements sqlstore.Querier.
func (c *combined) Exec(ctx context.Context, text string, args ...any) (rows int64, err error) {
	return c.run(&statement{ctx: ctx, text: text, args: args})
}

// run sends a statement, perhaps with others, and waits for its answer: not only until its context ends, since the answer goes
// to what is the caller's, and is there in time, see together.
func (c *combined) run(s *statement) (rows int64, err error) {
	c.gatherer.Do(s)
	return s.rows, s.err
}

// send sends the statements that are still wanted.
func (c *combined) send(statements []*statement) {
	for rest := wanted(statements); len(rest) > 0; rest = wanted(rest) {
		var next []*statement
		next, rest = inOrder(rest)
		c.together(next)
	}
}

// inOrder returns statements for one transaction in the order of their keys, one of each, and those that are left. What one
// transaction has changed the next one waits for, so that two which change the same things in another order would wait for
// each other until the server ends one of them, a second later.
func inOrder(statements []*statement) (next, rest []*statement) {
	slices.SortStableFunc(statements, func(a, b *statement) int { return strings.Compare(a.key, b.key) })
	for i, s := range statements {
		if i > 0 && s.key != "" && s.key == statements[i-1].key {
			rest = append(rest, s)
		} else {
			next = append(next, s)
		}
	}
	return next, rest
}

// wanted leaves out the statements whose callers have gone.
func wanted(statements []*statement) []*statement {
	var all []*statement
	for _, s := range statements {
		if s.err = s.ctx.Err(); s.err == nil {
			all = append(all, s)
		}
	}
	return all
}

// together runs statements in one transaction.
func (c *combined) together(statements []*statement) {
	if len(statements) == 0 {
		return
	}
	// One caller who leaves must not end the statements of others.
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	err := c.onConnection(ctx, func(conn *pgx.Conn) error { return sendAll(ctx, conn, statements) })
	if err == nil {
		return
	}
	if len(statements) > 1 && undone(err) {
		for _, s := range statements {
			c.send([]*statement{s})
		}
		return
	}
	for _, s := range statements {
		s.rows, s.err = 0, err
	}
}

// undone tells whether an error is that of a transaction which the server has certainly undone, as it does when a statement
// of it fails.
func undone(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && !ended(refused)
}

// onConnection calls fn with a connection of the pool.
func (c *combined) onConnection(ctx context.Context, fn func(*pgx.Conn) error) error {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // which gives it back
	return conn.Raw(func(driver any) error {
		c, ok := driver.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("a connection of type %T", driver)
		}
		return fn(c.Conn())
	})
}

// sendAll sends statements, and reads their answers. An error is that of all: none of them has been carried out then, or
// nobody knows.
func sendAll(ctx context.Context, conn *pgx.Conn, statements []*statement) error {
	for _, s := range statements {
		s.rows, s.err = 0, nil // it may have been sent before, with others
	}
	if len(statements) == 1 {
		s := statements[0]
		if s.into != nil {
			return s.found(conn.QueryRow(ctx, s.text, s.args...).Scan(s.into...))
		}
		tag, err := conn.Exec(ctx, s.text, s.args...)
		s.rows = tag.RowsAffected()
		return err
	}
	batch := &pgx.Batch{}
	for _, s := range statements {
		batch.Queue(s.text, s.args...)
	}
	answers := conn.SendBatch(ctx, batch)
	var err error
	for _, s := range statements {
		if s.into != nil {
			err = s.found(answers.QueryRow().Scan(s.into...))
		} else {
			var tag pgconn.CommandTag
			tag, err = answers.Exec()
			s.rows = tag.RowsAffected()
		}
		if err != nil {
			break
		}
	}
	// The commit is among the last answers.
	return errors.Join(err, answers.Close())
}

// found notes that there was no row, which is an answer; it returns every other error.
func (s *statement) found(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		s.err = err
		return nil
	}
	return err
}

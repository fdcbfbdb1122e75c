package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

// statement is one to prepare.
type statement struct {
	stmt **sql.Stmt
	db   *sql.DB
	text string
}

func (s *Store) prepareAll(ctx context.Context, statements []statement) error {
	for _, p := range statements {
		var err error
		if *p.stmt, err = p.db.PrepareContext(ctx, s.text(p.text)); err != nil {
			return err
		}
	}
	return nil
}

// text puts a statement into the engine's words. None holds a question mark but
// those of its parameters.
func (s *Store) text(statement string) string {
	if s.engine.Dollar {
		return strings.ReplaceAll(statement, "?", "$")
	}
	return statement
}

// collect reads what a query has found to its end. err is the error of the query.
func collect[T any](rows *sql.Rows, err error, scan func(Row) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		all = append(all, one)
	}
	return all, errors.Join(rows.Err(), rows.Close())
}

// changeRow runs a statement that changes one row. It fails with none where there was
// nothing to change.
func changeRow(ctx context.Context, statement *sql.Stmt, none error, args ...any) error {
	res, err := statement.ExecContext(ctx, args...)
	if err != nil {
		return err
	}
	rows, err := res.RowsAffected()
	if err == nil && rows == 0 {
		err = none
	}
	return err
}

// orNotFound says that a row was not found in the words of the store package.
func orNotFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	return err
}

// nullText is a document as text, or NULL for none.
func nullText(document []byte) sql.NullString {
	return sql.NullString{String: string(document), Valid: len(document) > 0}
}

// leaseText is a statement for leaseDue: of a table with a key and the columns due_at,
// lease and lease_until. Its parameters from ?6 on are those of condition.
//
// What is due, or leased, long after now was written by a clock that has been set
// back since. A lease is no part of what a row says: updated_at stays.
func (s *Store) leaseText(table, key, condition, returning string) string {
	return `
		UPDATE ` + table + ` SET lease = ?1, lease_until = ?2 WHERE (` + key + `) IN (
			SELECT ` + key + ` FROM ` + table + `
			WHERE due_at IS NOT NULL AND (due_at <= ?3 OR due_at > ?4) AND (lease_until <= ?3 OR lease_until > ?4)` + condition + `
			ORDER BY due_at, ` + key + ` LIMIT ?5` + s.engine.Claim + `) RETURNING` + returning
}

// leaseDue runs a statement of leaseText, and returns what it leased in no order.
func leaseDue[T any](
	ctx context.Context, s *Store, what string, statement *sql.Stmt,
	now, until time.Time, n int, scan func(r Row, lease string) (T, error), more ...any,
) ([]T, error) {
	id := rand.Text()
	args := append([]any{id, micros(until), micros(now), micros(now.Add(store.LongestPause)), n}, more...)
	var leased []T
	err := s.inTx(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.StmtContext(ctx, statement).QueryContext(ctx, args...)
		leased, err = collect(rows, err, func(r Row) (T, error) { return scan(r, id) })
		return err
	})
	if err != nil {
		return nil, err
	}
	return leased, nil
}

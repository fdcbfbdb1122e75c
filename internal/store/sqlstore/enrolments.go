package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

const (
	wantEnrolment = `
		INSERT INTO enrolments (subject, group_name, due_at, updated_at) VALUES (?1, ?2, ?3, ?3)
		ON CONFLICT (subject, group_name) DO UPDATE SET due_at = excluded.due_at, attempts = 0, updated_at = excluded.updated_at`

	// What is due, or leased, long after now was written by a clock that has been set
	// back since.
	leaseEnrolments = `
		UPDATE enrolments SET lease = ?1, lease_until = ?2 WHERE (subject, group_name) IN (
			SELECT subject, group_name FROM enrolments
			WHERE due_at IS NOT NULL AND (due_at <= ?3 OR due_at > ?4) AND (lease_until <= ?3 OR lease_until > ?4)
			ORDER BY due_at, subject, group_name LIMIT ?5`
	leaseEnrolmentsEnd = `) RETURNING subject, group_name, attempts`

	settleEnrolment = `
		UPDATE enrolments SET due_at = ?4, attempts = ?5, lease = '', lease_until = 0, updated_at = ?6
		WHERE subject = ?1 AND group_name = ?2 AND lease = ?3`
)

// LeaseEnrolments implements store.Store.
func (s *Store) LeaseEnrolments(ctx context.Context, now, until time.Time, n int) ([]store.Enrolment, error) {
	lease := rand.Text()
	var leased []store.Enrolment
	err := s.inTx(ctx, "lease enrolments", func(ctx context.Context, tx *sql.Tx) error {
		leased = nil
		rows, err := tx.StmtContext(ctx, s.leaseEnrolments).QueryContext(ctx,
			lease, micros(until), micros(now), micros(now.Add(store.LongestPause)), n)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			e := store.Enrolment{Lease: lease}
			if err := rows.Scan(&e.Subject, &e.Group, &e.Attempts); err != nil {
				return err
			}
			leased = append(leased, e)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return leased, nil
}

// SettleEnrolment implements store.Store.
func (s *Store) SettleEnrolment(ctx context.Context, e store.Enrolment, again time.Time) error {
	due, attempts := sql.NullInt64{}, 0
	if !again.IsZero() {
		due, attempts = sql.NullInt64{Int64: micros(again), Valid: true}, e.Attempts+1
	}
	return s.inTx(ctx, "settle enrolment", func(ctx context.Context, tx *sql.Tx) error {
		res, err := tx.StmtContext(ctx, s.settleEnrolment).ExecContext(ctx, e.Subject, e.Group, e.Lease, due, attempts, micros(s.now()))
		if err != nil {
			return err
		}
		rows, err := res.RowsAffected()
		if err == nil && rows == 0 {
			err = store.ErrLeaseLost
		}
		return err
	})
}

package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

const (
	wantEnrolment = `
		INSERT INTO enrolments (subject, group_name, due_at, updated_at) VALUES (?1, ?2, ?3, ?3) ` + enrolAgain

	enrolAgain = `
		ON CONFLICT (subject, group_name) DO UPDATE SET due_at = excluded.due_at, attempts = 0, updated_at = excluded.updated_at`

	// One that has become due at another time since it was leased was asked for again.
	settleEnrolment = `
		UPDATE enrolments SET
			due_at = CASE WHEN due_at = ?7 THEN ?4 ELSE due_at END,
			attempts = CASE WHEN due_at = ?7 THEN ?5 ELSE attempts END,
			lease = '', lease_until = 0, updated_at = ?6
		WHERE subject = ?1 AND group_name = ?2 AND lease = ?3`
)

// LeaseEnrolments implements store.Store.
func (s *Store) LeaseEnrolments(ctx context.Context, now, until time.Time, n int) ([]store.Enrolment, error) {
	return leaseDue(ctx, s, "lease enrolments", s.leaseEnrolments, now, until, n, func(r Row, lease string) (store.Enrolment, error) {
		e, dueAt := store.Enrolment{Lease: lease}, int64(0)
		err := r.Scan(&e.Subject, &e.Group, &e.Attempts, &dueAt)
		e.DueAt = fromMicros(dueAt)
		return e, err
	})
}

// SettleEnrolment implements store.Store.
func (s *Store) SettleEnrolment(ctx context.Context, e store.Enrolment, again time.Time) error {
	due, attempts := sql.NullInt64{}, 0
	if !again.IsZero() {
		due, attempts = sql.NullInt64{Int64: micros(again), Valid: true}, e.Attempts+1
	}
	return s.inTx(ctx, "settle enrolment", func(ctx context.Context, tx *sql.Tx) error {
		return changeRow(ctx, tx.StmtContext(ctx, s.settleEnrolment), store.ErrLeaseLost,
			e.Subject, e.Group, e.Lease, due, attempts, micros(s.now()), micros(e.DueAt))
	})
}

package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

const (
	putPending  = `INSERT INTO pending_launches (token_hash, launch, expires_at) VALUES (?1, ?2, ?3)`
	findPending = `SELECT launch, expires_at FROM pending_launches WHERE token_hash = ?1`
)

// PutPending implements store.Store.
func (s *Store) PutPending(ctx context.Context, token store.Hash, launch []byte, expiresAt time.Time) error {
	return s.inTx(ctx, "keep a launch", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.StmtContext(ctx, s.putPending).ExecContext(ctx, token[:], launch, micros(expiresAt))
		return err
	})
}

// Pending implements store.Store.
func (s *Store) Pending(ctx context.Context, token store.Hash) ([]byte, error) {
	var launch []byte
	err := s.read(ctx, "find a launch that waits", func(ctx context.Context) error {
		var expires int64
		err := s.findPending.QueryRowContext(ctx, token[:]).Scan(&launch, &expires)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return store.ErrTicketUnknown
		case err == nil && expires <= micros(s.now()):
			return store.ErrTicketExpired
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return launch, nil
}

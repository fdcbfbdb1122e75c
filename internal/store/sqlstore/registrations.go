package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"

	"github.com/lti-operator/lti-operator/internal/store"
)

// registrationStatements are those of store.Registrations.
type registrationStatements struct {
	claim, isUsed, release, use *sql.Stmt
	put, trim, list             *sql.Stmt
}

const (
	// A lease that ends long after now was made by a clock that has been set back since.
	claimRegistrationLink = `
		INSERT INTO registration_links (token_hash, lease, lease_until) VALUES (?1, ?2, ?3)
		ON CONFLICT (token_hash) DO UPDATE SET lease = ?2, lease_until = ?3
		WHERE registration_links.used_at IS NULL
			AND (registration_links.lease_until <= ?4 OR registration_links.lease_until > ?5)`

	registrationLinkIsUsed = `SELECT used_at IS NOT NULL FROM registration_links WHERE token_hash = ?1`

	releaseRegistrationLink = `
		DELETE FROM registration_links WHERE token_hash = ?1 AND lease = ?2 AND used_at IS NULL`

	// The row stays for good: a link that is forgotten could be used again.
	useRegistrationLink = `
		UPDATE registration_links SET used_at = ?3 WHERE token_hash = ?1 AND lease = ?2 AND used_at IS NULL`

	putRegistration = `
		INSERT INTO registrations (kind, name, id, document, registered_at) VALUES (?1, ?2, ?3, ?4, ?5)
		ON CONFLICT (kind, name, id) DO UPDATE SET document = ?4, registered_at = ?5`

	// The one that was just made stays in any case, as in trimDeployments.
	trimRegistrations = `
		DELETE FROM registrations WHERE kind = ?1 AND name = ?2 AND id IN (
			SELECT id FROM registrations WHERE kind = ?1 AND name = ?2 AND id <> ?3
			ORDER BY registered_at DESC, id LIMIT 1000000 OFFSET ?4)`

	listRegistrations = `
		SELECT kind, name, id, document, registered_at FROM registrations ORDER BY registered_at, kind, name, id`
)

func (s *Store) prepareRegistrations(ctx context.Context) error {
	r := &s.registrations
	return s.prepareAll(ctx, []statement{
		{&r.claim, s.engine.Write, claimRegistrationLink},
		{&r.isUsed, s.engine.Write, registrationLinkIsUsed},
		{&r.release, s.engine.Write, releaseRegistrationLink},
		{&r.use, s.engine.Write, useRegistrationLink},
		{&r.put, s.engine.Write, putRegistration},
		{&r.trim, s.engine.Write, trimRegistrations},
		{&r.list, s.engine.Read, listRegistrations},
	})
}

// ClaimRegistrationLink implements store.Registrations.
func (s *Store) ClaimRegistrationLink(ctx context.Context, link store.RegistrationLink) (string, error) {
	if err := link.Validate(); err != nil {
		return "", err
	}
	lease := rand.Text()
	err := s.inTx(ctx, "claim a registration link", func(ctx context.Context, tx *sql.Tx) error {
		now := s.now()
		var used bool
		err := tx.StmtContext(ctx, s.registrations.isUsed).QueryRowContext(ctx, link.Hash[:]).Scan(&used)
		switch {
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return err
		case used:
			return store.ErrTicketUsed
		case !now.Before(link.ExpiresAt):
			return store.ErrTicketExpired
		}
		return changeRow(ctx, tx.StmtContext(ctx, s.registrations.claim), store.ErrBusy,
			link.Hash[:], lease, micros(now.Add(store.RegistrationLease)), micros(now), micros(now.Add(2*store.RegistrationLease)))
	})
	if err != nil {
		return "", err
	}
	return lease, nil
}

// ReleaseRegistrationLink implements store.Registrations.
func (s *Store) ReleaseRegistrationLink(ctx context.Context, link store.Hash, lease string) error {
	return s.inTx(ctx, "release a registration link", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.StmtContext(ctx, s.registrations.release).ExecContext(ctx, link[:], lease)
		return err
	})
}

// CompleteRegistration implements store.Registrations.
func (s *Store) CompleteRegistration(ctx context.Context, link store.Hash, lease string, r store.Registration) error {
	if err := r.Validate(); err != nil {
		return err
	}
	return s.inTx(ctx, "complete a registration", func(ctx context.Context, tx *sql.Tx) error {
		now := micros(s.now())
		if err := changeRow(ctx, tx.StmtContext(ctx, s.registrations.use), store.ErrLeaseLost, link[:], lease, now); err != nil {
			return err
		}
		// Two at once would each count without the other.
		if err := s.lock(ctx, tx, "registrations\x00"+r.Kind+"\x00"+r.Name); err != nil {
			return err
		}
		if _, err := tx.StmtContext(ctx, s.registrations.put).ExecContext(ctx, r.Kind, r.Name, r.ID, string(r.Document), now); err != nil {
			return err
		}
		_, err := tx.StmtContext(ctx, s.registrations.trim).ExecContext(ctx, r.Kind, r.Name, r.ID, store.MaxRegistrations-1)
		return err
	})
}

// Registrations implements store.Registrations.
func (s *Store) Registrations(ctx context.Context) ([]store.Registration, error) {
	var all []store.Registration
	err := s.read(ctx, "list registrations", func(ctx context.Context) error {
		rows, err := s.registrations.list.QueryContext(ctx)
		all, err = collect(rows, err, scanRegistration)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func scanRegistration(row Row) (store.Registration, error) {
	var (
		r        store.Registration
		document string
		at       int64
	)
	err := row.Scan(&r.Kind, &r.Name, &r.ID, &document, &at)
	r.Document, r.RegisteredAt = []byte(document), fromMicros(at)
	return r, err
}

// Package sqlite keeps the launch handler's state in one SQLite file: the
// default for an academy with one handler replica. Several processes may have
// the same file open, as happens for a moment during a restart.
package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/lti-operator/lti-operator/internal/store"
)

const (
	// busyTimeout is how long a statement waits for another process's write.
	busyTimeout = 5 * time.Second
	// maxReaders bounds the read connections; readers never block the writer.
	maxReaders = 4
	// purgeBatch bounds the rows deleted in one transaction, and with that how
	// long a launch waits behind Purge.
	purgeBatch = 500
)

// Store implements store.Store. Create it with Open.
type Store struct {
	now func() time.Time
	// write has exactly one connection: SQLite allows one writer, and waiting
	// in database/sql is fair where SQLite's own busy handler is not.
	write *sql.DB
	read  *sql.DB

	insertNonce, insertLaunch, insertTicket *sql.Stmt
	accountByLink, accountByEmail           *sql.Stmt
	insertAccount, updateAccount, setActive *sql.Stmt
	insertLink, updateLink                  *sql.Stmt
	spendTicket, findTicket, findLaunch     *sql.Stmt
	launchByNonce                           *sql.Stmt
	noteDeployment, trimDeployments         *sql.Stmt
	listDeployments                         *sql.Stmt
}

var _ store.Store = (*Store)(nil)

// Open opens the file at path, creates it (readable by its owner only) when it
// does not exist, and brings its schema up to date. The directory must exist.
// now is the clock for ticket expiry and time stamps.
func Open(ctx context.Context, path string, now func() time.Time) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, unavailable(ctx, "resolve path", err)
	}
	// SQLite would create the file by the umask; it holds personal data. The
	// journal files inherit this mode.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, unavailable(ctx, "create database file", err)
	}
	if err := f.Close(); err != nil {
		return nil, unavailable(ctx, "create database file", err)
	}
	if err := migrate(ctx, path); err != nil {
		return nil, unavailable(ctx, "migrate", err)
	}

	s := &Store{now: now}
	if s.write, err = sql.Open("sqlite", dsn(path, "synchronous(FULL)", "foreign_keys(1)")); err != nil {
		return nil, unavailable(ctx, "open", err)
	}
	s.write.SetMaxOpenConns(1)
	s.write.SetMaxIdleConns(1)
	if s.read, err = sql.Open("sqlite", dsn(path, "query_only(1)")); err != nil {
		return nil, errors.Join(unavailable(ctx, "open", err), s.Close())
	}
	s.read.SetMaxOpenConns(maxReaders)
	s.read.SetMaxIdleConns(maxReaders)
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(unavailable(ctx, "prepare", err), s.Close())
	}
	return s, nil
}

// dsn returns the data source name for path. Transactions take the write lock
// when they begin: one that reads first and writes later would fail at once,
// without waiting, when another process wrote in between.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_txlock": {"immediate"}, "_dqs": {"0"}}
	q.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()))
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	// The path is percent-encoded because SQLite parses this as a URI itself.
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

const launchColumns = `
	l.id, l.activity, l.platform, l.version, l.realm, l.lti_user_id, l.roles, l.role,
	l.context_id, l.context_title, l.resource_link_id, l.resource_link_title,
	l.deployment_id, l.issuer, l.client_id, l.consumer_key, l.claims, l.created_at,
	a.subject, a.email, a.email_vouched, a.given_name, a.family_name`

const launchTables = `
	launches l
	JOIN person_links p ON p.realm = l.realm AND p.lti_user_id = l.lti_user_id
	JOIN accounts a ON a.subject = p.subject`

func (s *Store) prepare(ctx context.Context) error {
	for _, p := range []struct {
		stmt **sql.Stmt
		db   *sql.DB
		text string
	}{
		{&s.insertNonce, s.write, `
			INSERT INTO nonces (scope, nonce_hash, launch_id, expires_at)
			VALUES (?1, ?2, ?3, ?4)
			ON CONFLICT (scope, nonce_hash) DO NOTHING`},
		{&s.accountByLink, s.write, accountByLink},
		{&s.accountByEmail, s.write, accountByEmail},
		{&s.insertAccount, s.write, `
			INSERT INTO accounts (
				subject, email, email_key, email_vouched, given_name, family_name, active, created_at, updated_at)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?7)`},
		{&s.updateAccount, s.write, `
			UPDATE accounts SET email_vouched = ?2, given_name = ?3, family_name = ?4, updated_at = ?5
			WHERE subject = ?1`},
		{&s.setActive, s.write, `
			UPDATE accounts SET active = ?2, updated_at = ?3 WHERE subject = ?1`},
		{&s.insertLink, s.write, `
			INSERT INTO person_links (realm, lti_user_id, subject, issuer, created_at)
			VALUES (?1, ?2, ?3, ?4, ?5)`},
		{&s.updateLink, s.write, `
			UPDATE person_links SET issuer = ?3 WHERE realm = ?1 AND lti_user_id = ?2`},
		{&s.insertLaunch, s.write, `
			INSERT INTO launches (
				id, activity, platform, version, realm, lti_user_id, roles, role,
				context_id, context_title, resource_link_id, resource_link_title,
				deployment_id, issuer, client_id, consumer_key, claims, created_at)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)`},
		{&s.insertTicket, s.write, `
			INSERT INTO tickets (token_hash, kind, launch_id, expires_at)
			VALUES (?1, ?2, ?3, ?4)`},
		{&s.spendTicket, s.write, `
			UPDATE tickets SET used_at = ?3
			WHERE token_hash = ?1 AND kind = ?2 AND used_at IS NULL AND expires_at > ?3
			RETURNING launch_id`},
		{&s.findTicket, s.write, `
			SELECT used_at IS NOT NULL FROM tickets WHERE token_hash = ?1 AND kind = ?2`},
		{&s.findLaunch, s.write, `
			SELECT` + launchColumns + `, a.active FROM` + launchTables + ` WHERE l.id = ?1`},
		{&s.launchByNonce, s.read, `
			SELECT` + launchColumns + ` FROM` + launchTables + `
			JOIN nonces n ON n.launch_id = l.id
			WHERE n.scope = ?1 AND n.nonce_hash = ?2`},
		{&s.noteDeployment, s.write, noteDeployment},
		{&s.trimDeployments, s.write, trimDeployments},
		{&s.listDeployments, s.read, listDeployments},
	} {
		var err error
		if *p.stmt, err = p.db.PrepareContext(ctx, p.text); err != nil {
			return err
		}
	}
	return nil
}

// AcceptLaunch implements store.Store.
func (s *Store) AcceptLaunch(ctx context.Context, n store.NewLaunch) (store.Launch, error) {
	if err := n.Validate(); err != nil {
		return store.Launch{}, err
	}
	roles, err := json.Marshal(n.Roles)
	if err != nil {
		return store.Launch{}, fmt.Errorf("%w: roles: %w", store.ErrInvalid, err)
	}
	now := micros(s.now())
	l := store.Launch{LaunchInfo: n.LaunchInfo, CreatedAt: fromMicros(now)}
	if len(l.Claims) == 0 {
		l.Claims = nil
	}
	err = s.inTx(ctx, "accept launch", func(tx *sql.Tx) error {
		res, err := tx.StmtContext(ctx, s.insertNonce).ExecContext(ctx,
			n.Nonce.Scope, hashNonce(n.Nonce.Value), n.ID, micros(n.Nonce.ExpiresAt))
		if err != nil {
			return err
		}
		if rows, err := res.RowsAffected(); err != nil {
			return err
		} else if rows == 0 {
			return store.ErrReplayed
		}

		person, err := s.person(ctx, tx, n, now)
		if err != nil {
			return err
		}
		l.Subject, l.Profile, l.EmailVouched = person.subject, person.profile, person.vouched

		if _, err := tx.StmtContext(ctx, s.insertLaunch).ExecContext(ctx,
			n.ID, n.Activity, n.Platform, n.Version, n.Realm, n.LTIUserID, string(roles), n.Role,
			n.ContextID, n.ContextTitle, n.ResourceLinkID, n.ResourceLinkTitle,
			n.DeploymentID, n.Issuer, n.ClientID, n.ConsumerKey,
			sql.NullString{String: string(n.Claims), Valid: len(n.Claims) > 0}, now); err != nil {
			return err
		}
		return s.issueTicket(ctx, tx, n.ID, n.Ticket)
	})
	if err != nil {
		return store.Launch{}, err
	}
	return l, nil
}

// ExchangeTicket implements store.Store.
func (s *Store) ExchangeTicket(ctx context.Context, kind store.TicketKind, token store.Hash, next store.NewTicket) (store.Launch, error) {
	if err := next.Validate(); err != nil {
		return store.Launch{}, err
	}
	var l store.Launch
	err := s.inTx(ctx, "exchange ticket", func(tx *sql.Tx) (err error) {
		if l, err = s.spend(ctx, tx, kind, token); err != nil {
			return err
		}
		return s.issueTicket(ctx, tx, l.ID, next)
	})
	if err != nil {
		return store.Launch{}, err
	}
	return l, nil
}

// RedeemCode implements store.Store.
func (s *Store) RedeemCode(ctx context.Context, code store.Hash) (store.Launch, error) {
	var l store.Launch
	err := s.inTx(ctx, "redeem code", func(tx *sql.Tx) (err error) {
		l, err = s.spend(ctx, tx, store.TicketCode, code)
		return err
	})
	if err != nil {
		return store.Launch{}, err
	}
	return l, nil
}

// spend marks a ticket as used and returns its launch, or says why it cannot. With
// an error the caller must roll back.
func (s *Store) spend(ctx context.Context, tx *sql.Tx, kind store.TicketKind, token store.Hash) (store.Launch, error) {
	var launchID string
	err := tx.StmtContext(ctx, s.spendTicket).
		QueryRowContext(ctx, token[:], string(kind), micros(s.now())).Scan(&launchID)
	if errors.Is(err, sql.ErrNoRows) {
		var used bool
		err := tx.StmtContext(ctx, s.findTicket).QueryRowContext(ctx, token[:], string(kind)).Scan(&used)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return store.Launch{}, store.ErrTicketUnknown
		case err != nil:
			return store.Launch{}, err
		case used:
			return store.Launch{}, store.ErrTicketUsed
		}
		return store.Launch{}, store.ErrTicketExpired
	}
	if err != nil {
		return store.Launch{}, err
	}
	var active bool
	l, err := scanLaunch(tx.StmtContext(ctx, s.findLaunch).QueryRowContext(ctx, launchID), &active)
	if err == nil && !active {
		err = store.ErrSuspended
	}
	return l, err
}

func (s *Store) issueTicket(ctx context.Context, tx *sql.Tx, launchID string, t store.NewTicket) error {
	_, err := tx.StmtContext(ctx, s.insertTicket).
		ExecContext(ctx, t.Hash[:], string(t.Kind), launchID, micros(t.ExpiresAt))
	return err
}

// LaunchByNonce implements store.Store.
func (s *Store) LaunchByNonce(ctx context.Context, scope, nonce string) (store.Launch, error) {
	l, err := scanLaunch(s.launchByNonce.QueryRowContext(ctx, scope, hashNonce(nonce)))
	if errors.Is(err, sql.ErrNoRows) {
		return store.Launch{}, store.ErrNotFound
	}
	if err != nil {
		return store.Launch{}, unavailable(ctx, "find launch", err)
	}
	return l, nil
}

// Purge implements store.Store.
func (s *Store) Purge(ctx context.Context, now time.Time, launchRetention time.Duration) (store.Purged, error) {
	var (
		p           store.Purged
		deployments int64 // is not reported
	)
	for _, step := range []struct {
		count  *int64
		text   string
		before time.Time
	}{
		{
			&p.Nonces, `
			DELETE FROM nonces WHERE (scope, nonce_hash) IN (
				SELECT scope, nonce_hash FROM nonces WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)`,
			now,
		},
		{
			&p.Tickets, `
			DELETE FROM tickets WHERE token_hash IN (
				SELECT token_hash FROM tickets WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)`,
			now.Add(-store.TicketGrace),
		},
		{
			&p.Launches, `
			DELETE FROM launches WHERE id IN (
				SELECT id FROM launches WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)`,
			now.Add(-launchRetention),
		},
		{
			&deployments, `
			DELETE FROM unknown_deployments WHERE (platform, deployment_id) IN (
				SELECT platform, deployment_id FROM unknown_deployments WHERE last_seen_at < ?1 LIMIT ?2)`,
			now.Add(-launchRetention),
		},
	} {
		for {
			var rows int64
			err := s.inTx(ctx, "purge", func(tx *sql.Tx) error {
				res, err := tx.ExecContext(ctx, step.text, micros(step.before), purgeBatch)
				if err != nil {
					return err
				}
				rows, err = res.RowsAffected()
				return err
			})
			if err != nil {
				return p, err
			}
			*step.count += rows
			if rows < purgeBatch {
				break
			}
		}
	}
	return p, nil
}

// Ping implements store.Store. It reads a table, because opening a connection
// alone does not touch the file.
func (s *Store) Ping(ctx context.Context) error {
	var n int
	if err := s.read.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT id FROM launches LIMIT 1)`).Scan(&n); err != nil {
		return unavailable(ctx, "ping", err)
	}
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	// Readers first: the last connection to close folds the write-ahead log
	// back into the file, which a read-only connection cannot do.
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// inTx runs fn in a transaction and commits it when fn succeeds. Errors of the
// store package pass unchanged; a taken identifier becomes ErrConflict and all
// others ErrUnavailable.
func (s *Store) inTx(ctx context.Context, what string, fn func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return unavailable(ctx, what, err)
	}
	if err := fn(tx); err != nil {
		// The error of a rollback adds nothing: SQLite has rolled back already,
		// or does so when the connection is closed.
		_ = tx.Rollback()
		return classify(ctx, what, err)
	}
	if err := tx.Commit(); err != nil {
		return unavailable(ctx, what, err)
	}
	return nil
}

func classify(ctx context.Context, what string, err error) error {
	for _, known := range []error{
		store.ErrInvalid, store.ErrReplayed, store.ErrUnknownUser, store.ErrEmailInUse,
		store.ErrSuspended, store.ErrIssuerChanged, store.ErrNotFound,
		store.ErrTicketUnknown, store.ErrTicketUsed, store.ErrTicketExpired,
	} {
		if errors.Is(err, known) {
			return err
		}
	}
	var se *sqlite.Error
	if errors.As(err, &se) {
		switch se.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			return fmt.Errorf("%s: %w: %w", what, store.ErrConflict, err)
		}
	}
	return unavailable(ctx, what, err)
}

// unavailable wraps a failure of the database. A caller that went away is not
// one, and must not be counted as one.
func unavailable(ctx context.Context, what string, err error) error {
	if cause := ctx.Err(); errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%s: %w", what, cause)
	}
	return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err)
}

// scanLaunch reads launchColumns, and into more what follows them.
func scanLaunch(row *sql.Row, more ...any) (store.Launch, error) {
	var (
		l       store.Launch
		roles   string
		claims  sql.NullString
		created int64
	)
	if err := row.Scan(append([]any{
		&l.ID, &l.Activity, &l.Platform, &l.Version, &l.Realm, &l.LTIUserID, &roles, &l.Role,
		&l.ContextID, &l.ContextTitle, &l.ResourceLinkID, &l.ResourceLinkTitle,
		&l.DeploymentID, &l.Issuer, &l.ClientID, &l.ConsumerKey, &claims, &created,
		&l.Subject, &l.Profile.Email, &l.EmailVouched, &l.Profile.GivenName, &l.Profile.FamilyName,
	}, more...)...); err != nil {
		return store.Launch{}, err
	}
	if err := json.Unmarshal([]byte(roles), &l.Roles); err != nil {
		return store.Launch{}, fmt.Errorf("roles of a launch: %w", err)
	}
	if claims.Valid {
		l.Claims = json.RawMessage(claims.String)
	}
	l.CreatedAt = fromMicros(created)
	return l, nil
}

func hashNonce(nonce string) []byte {
	h := sha256.Sum256([]byte(nonce))
	return h[:]
}

func micros(t time.Time) int64     { return t.UnixMicro() }
func fromMicros(m int64) time.Time { return time.UnixMicro(m).UTC() }

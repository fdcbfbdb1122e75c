// Package sqlstore is store.Store in SQL, written once for every engine. What
// differs between SQLite and PostgreSQL is in Engine; the packages sqlite and
// postgres open a database, migrate it and hand their Engine to New.
//
// The statements are in the SQL that both engines understand the same way, so
// that one suite over one text says something about both; those of known.go are for
// engines that can do more, and the same suite compares what comes of them. They are right where
// transactions run one after the other (SQLite) as well as where each statement
// sees what others committed before it began (PostgreSQL, READ COMMITTED): what
// was read is not relied upon for what is written, unless a unique index or the
// statement itself would notice that it has changed.
package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

// purgeBatch bounds the rows deleted in one transaction, and with that how long a
// launch waits behind Purge.
const purgeBatch = 500

// Store implements store.Store. Create it with New.
type Store struct {
	engine Engine
	now    func() time.Time

	insertNonce, insertLaunch, insertTicket *sql.Stmt
	accountByLink, accountByEmail           *sql.Stmt
	insertAccount, updateAccount, setActive *sql.Stmt
	accountBySubject                        *sql.Stmt
	insertDirectoryAccount, deleteAccount   *sql.Stmt
	readAccount                             *sql.Stmt
	moves                                   [len(moves)]*sql.Stmt
	insertLink, updateLink                  *sql.Stmt
	wantEnrolment, putPending, findPending  *sql.Stmt
	leaseEnrolments, settleEnrolment        *sql.Stmt
	spendTicket, findTicket, findLaunch     *sql.Stmt
	launchByNonce, launchByID               *sql.Stmt
	noteDeployment, trimDeployments         *sql.Stmt
	listDeployments                         *sql.Stmt
	ping                                    *sql.Stmt

	// known is for engines with Writes.
	known knownTexts

	// group is for engines with Group, as are these statements.
	group                    Gatherer[*member]
	savepoint, undo, release *sql.Stmt

	grades  gradeStatements
	results resultStatements

	registrations registrationStatements
}

var _ store.Store = (*Store)(nil)

// New prepares the statements. The schema must be up to date. now is the clock
// for ticket expiry and time stamps. The Store owns the databases of the engine,
// also when New fails, which is to say that it closes them.
func New(ctx context.Context, engine Engine, now func() time.Time) (*Store, error) {
	s := &Store{engine: engine, now: now}
	s.group.Run, s.group.Most, s.group.UnderWay = s.together, maxGroup, 1
	s.known = knownTexts{redeem: s.text(redeemKnown), exchange: s.text(exchangeKnown), begin: s.text(beginKnown)}
	for enrols := range s.known.accept {
		for moves := range s.known.accept[enrols] {
			s.known.accept[enrols][moves] = s.text(acceptKnown(enrols == 1, moves == 1))
		}
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(s.unavailable(ctx, "prepare", err), s.Close())
	}
	return s, nil
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

const launchFields = `
	id, activity, platform, version, realm, lti_user_id, roles, role,
	context_id, context_title, resource_link_id, resource_link_title,
	deployment_id, issuer, client_id, consumer_key, claims, created_at`

// launchValues are those of launchFields.
func launchValues(n *store.NewLaunch, roles string, now int64) []any {
	return []any{
		n.ID, n.Activity, n.Platform, n.Version, n.Realm, n.LTIUserID, roles, n.Role,
		n.ContextID, n.ContextTitle, n.ResourceLinkID, n.ResourceLinkTitle,
		n.DeploymentID, n.Issuer, n.ClientID, n.ConsumerKey, nullText(n.Claims), now,
	}
}

const findLaunch = `SELECT` + launchColumns + `, a.active FROM` + launchTables + ` WHERE l.id = ?1`

const launchByNonce = `
	SELECT` + launchColumns + ` FROM` + launchTables + `
	JOIN nonces n ON n.launch_id = l.id
	WHERE n.scope = ?1 AND n.nonce_hash = ?2`

func (s *Store) prepare(ctx context.Context) error {
	var moving []statement
	for i, text := range moves {
		moving = append(moving, statement{&s.moves[i], s.engine.Write, text})
	}
	var grouping []statement
	if s.engine.Group {
		grouping = []statement{
			{&s.savepoint, s.engine.Write, `SAVEPOINT call`},
			{&s.undo, s.engine.Write, `ROLLBACK TO call`},
			{&s.release, s.engine.Write, `RELEASE call`},
		}
	}
	return errors.Join(s.prepareGrades(ctx), s.prepareResults(ctx), s.prepareRegistrations(ctx), s.prepareAll(ctx, moving), s.prepareAll(ctx, grouping), s.prepareAll(ctx, []statement{
		{&s.accountBySubject, s.engine.Write, accountBySubject},
		{&s.insertDirectoryAccount, s.engine.Write, insertDirectoryAccount},
		{&s.deleteAccount, s.engine.Write, `DELETE FROM accounts WHERE subject = ?1`},
		{&s.readAccount, s.engine.Read, readAccount},
		{&s.wantEnrolment, s.engine.Write, wantEnrolment},
		{&s.putPending, s.engine.Write, putPending},
		{&s.findPending, s.engine.Read, findPending},
		{&s.leaseEnrolments, s.engine.Write, s.leaseText("enrolments", "subject, group_name", "", " subject, group_name, attempts, due_at")},
		{&s.settleEnrolment, s.engine.Write, settleEnrolment},
		{&s.insertNonce, s.engine.Write, `
			INSERT INTO nonces (scope, nonce_hash, launch_id, expires_at)
			VALUES (?1, ?2, ?3, ?4)
			ON CONFLICT (scope, nonce_hash) DO NOTHING`},
		{&s.accountByLink, s.engine.Write, accountByLink},
		{&s.accountByEmail, s.engine.Write, accountByEmail},
		{&s.insertAccount, s.engine.Write, insertAccount},
		{&s.updateAccount, s.engine.Write, updateAccount},
		{&s.setActive, s.engine.Write, `
			UPDATE accounts SET active = ?2, updated_at = ?3 WHERE subject = ?1`},
		{&s.insertLink, s.engine.Write, `
			INSERT INTO person_links (realm, lti_user_id, subject, issuer, created_at)
			VALUES (?1, ?2, ?3, ?4, ?5)`},
		{&s.updateLink, s.engine.Write, `
			UPDATE person_links SET issuer = ?3 WHERE realm = ?1 AND lti_user_id = ?2 AND issuer = ?4`},
		{&s.insertLaunch, s.engine.Write, `
			INSERT INTO launches (` + launchFields + `)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)`},
		{&s.insertTicket, s.engine.Write, `
			INSERT INTO tickets (token_hash, kind, launch_id, expires_at)
			VALUES (?1, ?2, ?3, ?4)`},
		{&s.spendTicket, s.engine.Write, `
			UPDATE tickets SET used_at = ?3
			WHERE token_hash = ?1 AND kind = ?2 AND used_at IS NULL AND expires_at > ?3
			RETURNING launch_id`},
		{&s.findTicket, s.engine.Write, `
			SELECT used_at IS NOT NULL FROM tickets WHERE token_hash = ?1 AND kind = ?2`},
		{&s.findLaunch, s.engine.Write, findLaunch},
		{&s.launchByNonce, s.engine.Read, launchByNonce},
		{&s.launchByID, s.engine.Read, findLaunch},
		{&s.noteDeployment, s.engine.Write, noteDeployment},
		{&s.trimDeployments, s.engine.Write, trimDeployments},
		{&s.listDeployments, s.engine.Read, listDeployments},
		// A table, because a connection that can be opened is no proof that anything
		// can be read.
		{&s.ping, s.engine.Read, `
			SELECT count(*) FROM (SELECT id FROM launches LIMIT 1) AS one`},
	}))
}

// Lookups returns the queries that find a person and a launch by what arrives
// from outside, with arguments, in the engine's words. They must not become slower
// as the tables grow; the tests of an engine ask it how it would go about them.
func (s *Store) Lookups() map[string][]any {
	return map[string][]any{
		s.text(accountByLink):          {"realm", "user"},
		s.text(accountByEmail):         {"u@example.edu"},
		s.text(readAccount):            {"realm", "user"},
		s.text(findPending):            {hashNonce("token")},
		s.text(registrationLinkIsUsed): {hashNonce("token")},
		s.text(findLaunch):             {"id"},
		s.text(launchByNonce):          {"scope", hashNonce("nonce")},
		s.text(findProgress):           {"subject", "activity"},
		s.text(gradesOfPerson):         {"subject", "activity"},
		s.text(findGrade):              {"id"},

		s.text(findLearner):     {"realm", "learner"},
		s.text(members):         {"line item", "", 10},
		s.text(findResult):      {"id"},
		s.text(resultByOutcome): {"outcome"},
		s.text(resultHistory):   {"id", 10},
		s.text(findToolItem):    {"line item"},
		s.text(listToolItems):   {"realm", "activity"},

		s.text(listResults(resultID)):       {"", "", "", "", "", "", "id", 10},
		s.text(listResults(resultSubject)):  {"", "", "", "subject", "", "", "", 10},
		s.text(listResults(resultActivity)): {"", "activity", "", "", "", "", "", 10},
	}
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
	known, accepted, err := s.acceptIfKnown(ctx, &n, string(roles), now)
	if err != nil {
		return store.Launch{}, unwrapForeign(err)
	}
	if accepted {
		l.Subject, l.Profile, l.EmailVouched = known.subject, known.profile, known.vouched
		return l, nil
	}
	err = s.inTx(ctx, "accept launch", func(ctx context.Context, tx *sql.Tx) error {
		if err := s.spendNonce(ctx, tx, &n.Nonce, n.ID); err != nil {
			return err
		}
		person, err := s.person(ctx, tx, n, now)
		if err != nil {
			return err
		}
		l.Subject, l.Profile, l.EmailVouched = person.subject, person.profile, person.vouched

		if _, err := tx.StmtContext(ctx, s.insertLaunch).ExecContext(ctx, launchValues(&n, string(roles), now)...); err != nil {
			return err
		}
		if n.Grade != nil {
			if err := s.join(ctx, tx, n.Grade, l.Subject, n.Activity, now); err != nil {
				return err
			}
		}
		if n.EnrolIn != "" {
			if _, err := tx.StmtContext(ctx, s.wantEnrolment).ExecContext(ctx, l.Subject, n.EnrolIn, now); err != nil {
				return err
			}
		}
		return s.issueTicket(ctx, tx, n.ID, n.Ticket)
	})
	err = unwrapForeign(err)
	if err != nil {
		return store.Launch{}, err
	}
	return l, nil
}

// spendNonce spends a nonce, if there is one; launchID is empty where it is not that
// of a launch.
func (s *Store) spendNonce(ctx context.Context, tx *sql.Tx, n *store.Nonce, launchID string) error {
	if n == nil {
		return nil
	}
	return changeRow(ctx, tx.StmtContext(ctx, s.insertNonce), store.ErrReplayed,
		n.Scope, hashNonce(n.Value), launchID, micros(n.ExpiresAt))
}

// ExchangeTicket implements store.Store.
func (s *Store) ExchangeTicket(ctx context.Context, kind store.TicketKind, token store.Hash, next store.NewTicket) (store.Launch, error) {
	if err := next.Validate(); err != nil {
		return store.Launch{}, err
	}
	l, spent, err := s.spendIfValid(ctx, kind, token, &next)
	if err != nil || spent {
		return l, err
	}
	err = s.inTx(ctx, "exchange ticket", func(ctx context.Context, tx *sql.Tx) (err error) {
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
	l, spent, err := s.spendIfValid(ctx, store.TicketCode, code, nil)
	if err != nil || spent {
		return l, err
	}
	err = s.inTx(ctx, "redeem code", func(ctx context.Context, tx *sql.Tx) (err error) {
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
	if errors.Is(err, sql.ErrNoRows) {
		// Purge has deleted the launch since, and its tickets with it.
		return store.Launch{}, store.ErrTicketUnknown
	}
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
	if !store.Storable(scope) {
		return store.Launch{}, store.ErrNotFound
	}
	var l store.Launch
	err := s.read(ctx, "find launch", func(ctx context.Context) (err error) {
		l, err = scanLaunch(s.launchByNonce.QueryRowContext(ctx, scope, hashNonce(nonce)))
		return orNotFound(err)
	})
	if err != nil {
		return store.Launch{}, err
	}
	return l, nil
}

// Launch implements store.Store.
func (s *Store) Launch(ctx context.Context, id string) (store.Launch, error) {
	if !store.Storable(id) {
		return store.Launch{}, store.ErrNotFound
	}
	var (
		l      store.Launch
		active bool
	)
	err := s.read(ctx, "find launch", func(ctx context.Context) (err error) {
		l, err = scanLaunch(s.launchByID.QueryRowContext(ctx, id), &active)
		return orNotFound(err)
	})
	switch {
	case err != nil:
		return store.Launch{}, err
	case !active:
		return l, store.ErrSuspended
	}
	return l, nil
}

// Purge implements store.Store.
func (s *Store) Purge(ctx context.Context, now time.Time, launchRetention time.Duration) (store.Purged, error) {
	var (
		p           store.Purged
		deployments int64 // are not reported
		keys        int64
		pending     int64
	)
	for _, step := range []struct {
		count  *int64
		delete string
		old    string
		before time.Time
	}{
		{
			&p.Nonces, `DELETE FROM nonces WHERE (scope, nonce_hash) IN`,
			`SELECT scope, nonce_hash FROM nonces WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2`, now,
		},
		{
			&p.Tickets, `DELETE FROM tickets WHERE token_hash IN`,
			`SELECT token_hash FROM tickets WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2`, now.Add(-store.TicketGrace),
		},
		{
			&p.Launches, `DELETE FROM launches WHERE id IN`,
			`SELECT id FROM launches WHERE created_at < ?1 ORDER BY created_at LIMIT ?2`, now.Add(-launchRetention),
		},
		{
			&deployments, `DELETE FROM unknown_deployments WHERE (platform, deployment_id) IN`,
			`SELECT platform, deployment_id FROM unknown_deployments WHERE last_seen_at < ?1 LIMIT ?2`, now.Add(-launchRetention),
		},
		{
			&keys, `DELETE FROM idempotency_keys WHERE (client_id, key_hash) IN`,
			`SELECT client_id, key_hash FROM idempotency_keys WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2`, now,
		},
		{
			&pending, `DELETE FROM pending_launches WHERE token_hash IN`,
			`SELECT token_hash FROM pending_launches WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2`, now.Add(-store.TicketGrace),
		},
	} {
		text := s.text(step.delete + ` (` + step.old + s.engine.Claim + `)`)
		for {
			var rows int64
			err := s.inTx(ctx, "purge", func(ctx context.Context, tx *sql.Tx) error {
				res, err := tx.ExecContext(ctx, text, micros(step.before), purgeBatch)
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

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, "ping", func(ctx context.Context) error {
		var n int
		return s.ping.QueryRowContext(ctx).Scan(&n)
	})
}

// Close implements store.Store.
func (s *Store) Close() error {
	// Readers first: the last connection to close folds the write-ahead log of
	// SQLite back into the file, which a read-only connection cannot do. Where
	// both are the same, closing again does nothing.
	return errors.Join(s.engine.Read.Close(), s.engine.Write.Close())
}

// scanLaunch reads launchColumns, and into more what follows them.
func scanLaunch(r Row, more ...any) (store.Launch, error) {
	var (
		l       store.Launch
		roles   string
		claims  sql.NullString
		created int64
	)
	if err := r.Scan(append([]any{
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

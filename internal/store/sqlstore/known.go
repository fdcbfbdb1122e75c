package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/lti-operator/lti-operator/internal/store"
)

// Querier runs statements, each a transaction of its own to whoever sends it, without
// what database/sql puts around it: that takes longer than the statements do.
type Querier interface {
	// QueryRow runs a query for one row, by the Scan of what it returns, and Exec a
	// statement; that returns how many rows it changed. Statements are prepared when they
	// come for the first time.
	QueryRow(ctx context.Context, text string, args ...any) Row
	Exec(ctx context.Context, text string, args ...any) (rows int64, err error)
}

// Row is what a query has found. Scan fails with sql.ErrNoRows for nothing.
type Row interface{ Scan(into ...any) error }

// Most launches are those of people who are known, and say nothing new about them.
// Where a statement can change several tables, such a launch is read and written in
// one statement each, instead of a dozen of a transaction: what a launch costs is
// mostly what waiting for the database costs.
const (
	// findKnown finds what decides whether there is anything new.
	findKnown = `
		SELECT a.subject, a.email, a.email_vouched, a.given_name, a.family_name, a.active, a.in_directory, p.issuer,
			r.state, g.subject, g.activity, g.address, g.state, g.due_at
		FROM person_links p
		JOIN accounts a ON a.subject = p.subject
		LEFT JOIN progress r ON r.subject = a.subject AND r.activity = ?3
		LEFT JOIN grades g ON g.id = ?4
		WHERE p.realm = ?1 AND p.lti_user_id = ?2`

	// acceptKnown changes nothing when the nonce is spent, or when another transaction
	// has the lock of the grade, whose address is replaced unless it is NULL. Of two
	// launches at once, one that leads to another activity counts as the newer: the row
	// is not that of this launch then.
	acceptKnown = `
		WITH held AS MATERIALIZED (
			SELECT CASE WHEN CAST(?28 AS text) IS NULL THEN true ELSE pg_try_advisory_xact_lock(?29) END AS held
		), spent AS (
			INSERT INTO nonces (scope, nonce_hash, launch_id, expires_at)
			SELECT ?19, CAST(?20 AS bytea), ?1, CAST(?21 AS bigint) FROM held WHERE held
			ON CONFLICT (scope, nonce_hash) DO NOTHING
			RETURNING launch_id
		), moved AS (
			UPDATE grades SET address = ?28, updated_at = CAST(?18 AS bigint) FROM spent
			WHERE id = ?27 AND ?28 IS NOT NULL AND subject = ?25 AND activity = ?2
		), enrolled AS (
			INSERT INTO enrolments (subject, group_name, due_at, updated_at)
			SELECT ?25, ?26, CAST(?18 AS bigint), CAST(?18 AS bigint) FROM spent WHERE ?26 <> '' ` + enrolAgain + `
		), accepted AS (
			INSERT INTO launches (` + launchFields + `)
			SELECT launch_id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, CAST(?18 AS bigint) FROM spent
			RETURNING id
		)
		INSERT INTO tickets (token_hash, kind, launch_id, expires_at)
		SELECT CAST(?22 AS bytea), ?23, id, CAST(?24 AS bigint) FROM accepted`

	// redeemKnown and exchangeKnown change nothing unless all is well.
	redeemKnown = `
		UPDATE tickets t SET used_at = ?3 FROM` + launchTables + `
		WHERE t.token_hash = ?1 AND t.kind = ?2 AND t.used_at IS NULL AND t.expires_at > ?3
			AND l.id = t.launch_id AND a.active
		RETURNING` + launchColumns

	exchangeKnown = `
		WITH spent AS (` + redeemKnown + `), issued AS (
			INSERT INTO tickets (token_hash, kind, launch_id, expires_at)
			SELECT CAST(?4 AS bytea), ?5, id, CAST(?6 AS bigint) FROM spent
		)
		SELECT * FROM spent`
)

// beginKnown changes nothing unless the result is there and the nonce is not spent.
const beginKnown = `
	WITH spent AS (
		INSERT INTO nonces (scope, nonce_hash, launch_id, expires_at)
		SELECT ?2, CAST(?3 AS bytea), '', CAST(?4 AS bigint) FROM results WHERE id = ?1
		ON CONFLICT (scope, nonce_hash) DO NOTHING
		RETURNING scope
	)
	SELECT` + resultColumns + `, lease FROM results JOIN spent ON true WHERE id = ?1`

// knownTexts are the statements above in the engine's words.
type knownTexts struct{ find, accept, redeem, exchange, begin string }

// acceptIfKnown accepts the launch of a person of whom it says nothing new, but
// perhaps where the grade goes. It reports false, and has changed nothing, for any
// other launch: those are left to a transaction, as is everything that a launch is
// refused for.
//
// What was read may have changed before the launch is written. Then the launch came
// first: it relies on the person's link, which the database checks, and on nothing
// else that could be withdrawn.
func (s *Store) acceptIfKnown(ctx context.Context, n *store.NewLaunch, roles string, now int64) (a account, accepted bool, err error) {
	if s.engine.Writes == nil {
		return account{}, false, nil
	}
	var grade gradeMove
	err = s.read(ctx, "find person", func(ctx context.Context) error {
		a, grade, accepted, err = nothingNew(ctx, s.engine.Reads, s.known.find, n)
		return err
	})
	if err != nil || !accepted {
		return account{}, false, err
	}
	var lock int64
	if grade.address != nil {
		lock = s.engine.LockID(gradeKey(grade.id))
	}
	err = s.write(ctx, "accept launch", func(ctx context.Context, q Querier) error {
		rows, err := q.Exec(ctx, s.known.accept, append(launchValues(n, roles, now),
			n.Nonce.Scope, hashNonce(n.Nonce.Value), micros(n.Nonce.ExpiresAt),
			n.Ticket.Hash[:], string(n.Ticket.Kind), micros(n.Ticket.ExpiresAt),
			a.subject, n.EnrolIn,
			grade.id, grade.address, lock)...)
		accepted = err == nil && rows == 1
		return err
	})
	if err != nil || !accepted {
		return account{}, false, err
	}
	return a, true, nil
}

// write runs a statement that is a transaction of its own. It is started anew like
// those of inTx.
func (s *Store) write(ctx context.Context, what string, fn func(ctx context.Context, q Querier) error) error {
	return s.attempts(ctx, what, func(ctx context.Context) (Failure, error) {
		err := fn(ctx, s.engine.Writes)
		if err == nil || known(err) {
			return Broken, err
		}
		return s.engine.Classify(err, true), err
	})
}

// gradeMove is a grade that goes to another address; nil for the one it had.
type gradeMove struct {
	id      string
	address *string
}

// nothingNew reads the account of the person who launches, and tells whether the
// launch leaves the account, the person's link and the grade as they are, all but the
// address of that. Moodle, over LTI 1.2, has a new one for each launch.
func nothingNew(ctx context.Context, q Querier, query string, n *store.NewLaunch) (a account, move gradeMove, nothing bool, err error) {
	var (
		issuer                                     string
		progress, subject, activity, address, text *string // nil for NULL
		dueAt                                      *int64
	)
	if n.Grade != nil {
		move.id = n.Grade.Key.ID()
	}
	err = q.QueryRow(ctx, query, n.Realm, n.LTIUserID, n.Activity, move.id).Scan(
		&a.subject, &a.profile.Email, &a.vouched, &a.profile.GivenName, &a.profile.FamilyName, &a.active, &a.directory, &issuer,
		&progress, &subject, &activity, &address, &text, &dueAt)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return account{}, gradeMove{}, false, nil
	case err != nil:
		return account{}, gradeMove{}, false, err
	case !a.active, cmp.Or(n.DirectoryID, a.subject) != a.subject, cmp.Or(n.Issuer, issuer) != issuer, a.refreshed(n) != a:
		return account{}, gradeMove{}, false, nil
	case n.Grade == nil:
		return a, gradeMove{}, true, nil
	case subject == nil || *subject != a.subject || *activity != n.Activity:
		return account{}, gradeMove{}, false, nil
	}
	before := store.Grade{
		Key: n.Grade.Key, Subject: *subject, Activity: *activity,
		Address: json.RawMessage(*address), State: json.RawMessage(*text),
	}
	if dueAt != nil {
		before.DueAt = fromMicros(*dueAt)
	}
	after := before
	var known json.RawMessage
	if progress != nil {
		known = json.RawMessage(*progress)
	}
	if err := n.Grade.Join(known, &after); err != nil {
		return account{}, gradeMove{}, false, foreign{err}
	}
	if to := string(after.Address); to != *address {
		move.address = &to
		before.Address = after.Address
	}
	return a, move, sameGrade(&before, &after), nil
}

// beginIfKnown finds a result that is there, as that of most launches is, and spends a
// nonce that is not spent, unless it is nil. It reports false, and has changed nothing,
// for any other one.
func (s *Store) beginIfKnown(ctx context.Context, n *store.Nonce, id string) (r store.Result, found bool, err error) {
	switch {
	case n == nil:
		r, err = s.readResult(ctx, s.results.readResult, id)
	case s.engine.Writes == nil:
		return store.Result{}, false, nil
	default:
		err = s.write(ctx, "begin result", func(ctx context.Context, q Querier) (err error) {
			r, _, err = scanResult(q.QueryRow(ctx, s.known.begin, id, n.Scope, hashNonce(n.Value), micros(n.ExpiresAt)))
			return orNotFound(err)
		})
	}
	if errors.Is(err, store.ErrNotFound) {
		return store.Result{}, false, nil
	}
	return r, err == nil, err
}

// spendIfValid spends a ticket that is good for the launch of a person who may come
// in, and issues next for it, if any. It reports false, and has changed nothing,
// for any other one.
func (s *Store) spendIfValid(ctx context.Context, kind store.TicketKind, token store.Hash, next *store.NewTicket) (l store.Launch, spent bool, err error) {
	if s.engine.Writes == nil {
		return store.Launch{}, false, nil
	}
	query, args := s.known.redeem, []any{token[:], string(kind), micros(s.now())}
	if next != nil {
		query, args = s.known.exchange, append(args, next.Hash[:], string(next.Kind), micros(next.ExpiresAt))
	}
	err = s.write(ctx, "spend ticket", func(ctx context.Context, q Querier) (err error) {
		l, err = scanLaunch(q.QueryRow(ctx, query, args...))
		return orNotFound(err)
	})
	if errors.Is(err, store.ErrNotFound) {
		return store.Launch{}, false, nil
	}
	return l, err == nil, err
}

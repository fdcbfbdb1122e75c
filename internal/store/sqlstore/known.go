package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"

	"github.com/lti-operator/lti-operator/internal/store"
)

// Querier runs statements, each a transaction of its own to whoever sends it, without
// what database/sql puts around it: that takes longer than the statements do.
type Querier interface {
	// QueryRow runs a query for one row, by the Scan of what it returns, and Exec a
	// statement; that returns how many rows it changed. Statements are prepared when they
	// come for the first time.
	//
	// Statements with one key may change the same rows, and those with two keys do not.
	QueryRow(ctx context.Context, key, text string, args ...any) Row
	Exec(ctx context.Context, text string, args ...any) (rows int64, err error)
}

// Row is what a query has found. Scan fails with sql.ErrNoRows for nothing.
type Row interface{ Scan(into ...any) error }

// Most launches are those of people who are known, and say nothing new about them.
// Where a statement can change several tables, such a launch is accepted by one
// statement, instead of a dozen of a transaction: what a launch costs is mostly what
// waiting for the database costs.
const (
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

// acceptKnown finds what decides whether a launch says anything new, accepts the launch
// if it does not, and tells both. The grade, if there is one, must be as it is expected,
// see knownGrade, and the nonce not spent.
//
// Tables that nothing is written to are left out, since the engine prepares to write to
// them all the same: with enrols the person is to be in a group, ?34, and with moves the
// address of the grade may be replaced, under the lock ?35. Nothing is changed while
// another transaction has that. Of two launches at once, one that leads to another activity
// counts as the newer: the row is not that of this launch then.
func acceptKnown(enrols, moves bool) string {
	from, address, group, others := `same`, `AND address = ?30`, `AND ?34 = ''`, ``
	if enrols {
		group = ``
		others += `, enrolled AS (
			INSERT INTO enrolments (subject, group_name, due_at, updated_at)
			SELECT subject, ?34, CAST(?18 AS bigint), CAST(?18 AS bigint) FROM same JOIN spent ON true WHERE true ` + enrolAgain + `
		)`
	}
	if moves {
		from, address = `(SELECT FROM same WHERE pg_try_advisory_xact_lock(?35)) AS held`, ``
		others += `, moved AS (
			UPDATE grades g SET address = ?30, updated_at = CAST(?18 AS bigint) FROM same JOIN spent ON true
			WHERE g.id = ?29 AND g.subject = same.subject AND g.activity = ?2
		)`
	}
	return `
		WITH person AS MATERIALIZED (
			SELECT a.subject, a.email, a.email_vouched, a.given_name, a.family_name, a.active, a.in_directory,
				a.active AND ?25 IN ('', a.subject) AND ?14 IN ('', p.issuer)
					AND ?26 IN ('', a.given_name) AND ?27 IN ('', a.family_name)
					AND (?28 = '' OR a.email_vouched OR a.email_key <> ?28) AS as_said,
				r.state AS progress,
				g.subject AS grade_subject, g.activity AS grade_activity, g.address, g.state, g.due_at
			FROM person_links p
			JOIN accounts a ON a.subject = p.subject
			LEFT JOIN progress r ON r.subject = a.subject AND r.activity = ?2
			LEFT JOIN grades g ON g.id = ?29
			WHERE p.realm = ?5 AND p.lti_user_id = ?6
		), same AS MATERIALIZED (
			SELECT subject FROM person
			WHERE as_said AND (?29 = '' OR grade_subject = subject AND grade_activity = ?2 ` + address + ` AND state = ?31
				AND due_at IS NOT DISTINCT FROM CAST(?32 AS bigint) AND progress IS NOT DISTINCT FROM ?33) ` + group + `
		), spent AS (
			INSERT INTO nonces (scope, nonce_hash, launch_id, expires_at)
			SELECT ?19, CAST(?20 AS bytea), ?1, CAST(?21 AS bigint) FROM ` + from + `
			ON CONFLICT (scope, nonce_hash) DO NOTHING
			RETURNING launch_id
		), accepted AS (
			INSERT INTO launches (` + launchFields + `)
			SELECT launch_id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, CAST(?18 AS bigint) FROM spent
			RETURNING id
		), issued AS (
			INSERT INTO tickets (token_hash, kind, launch_id, expires_at)
			SELECT CAST(?22 AS bytea), ?23, id, CAST(?24 AS bigint) FROM accepted
			RETURNING launch_id
		)` + others + `
		SELECT EXISTS (SELECT FROM issued),
			subject, email, email_vouched, given_name, family_name, active, in_directory, as_said,
			progress, grade_subject, grade_activity, address, state, due_at
		FROM person`
}

// knownTexts are the statements above in the engine's words.
type knownTexts struct {
	// accept has one text without and one with enrols, each without and with moves.
	accept                  [2][2]string
	redeem, exchange, begin string
}

// acceptIfKnown accepts the launch of a person of whom it says nothing new, but
// perhaps where the grade goes. It reports false, and has changed nothing, for any
// other launch: those are left to a transaction, as is everything that a launch is
// refused for.
//
// Before it knows better, it expects the grade to be as a first launch leaves it. What
// that is like, and what it was found to be, is compared by the statement that accepts
// the launch, so that what has changed meanwhile is not overlooked. Where it was found to be
// as expected, something else was in the way, such as a nonce that is spent.
func (s *Store) acceptIfKnown(ctx context.Context, n *store.NewLaunch, roles string, now int64) (a account, accepted bool, err error) {
	if s.engine.Writes == nil {
		return account{}, false, nil
	}
	var expected knownGrade
	if n.Grade != nil {
		fresh := store.Grade{Key: n.Grade.Key, Activity: n.Activity}
		if err := n.Grade.Join(nil, &fresh); err != nil {
			return account{}, false, foreign{err}
		}
		expected = knownGrade{id: fresh.Key.ID(), address: string(fresh.Address), state: string(fresh.State), dueAt: due(fresh.DueAt)}
	}
	var found knownPerson
	for again := false; ; again = true {
		err = s.write(ctx, "accept launch", func(ctx context.Context, q Querier) (err error) {
			found, accepted, err = s.acceptAsExpected(ctx, q, n, roles, now, &expected)
			return orNotFound(err)
		})
		switch {
		case errors.Is(err, store.ErrNotFound):
			return account{}, false, nil
		case err != nil || accepted:
			return found.account, accepted, err
		case again:
			return account{}, false, nil
		}
		next, nothing, err := found.nothingNew(n)
		if err != nil || !nothing || next == expected {
			return account{}, false, err
		}
		expected = next
	}
}

// knownGrade is a grade as it is expected, and the address that it is to have; moves says
// that it may have another one. id is empty for a launch without a grade, progress nil for
// none.
type knownGrade struct {
	id, address, state string
	moves              bool
	dueAt              sql.NullInt64
	progress           *string
}

// knownPerson is what was found of a person, and of the grade and the progress that a
// launch of theirs is about; nil for NULL.
type knownPerson struct {
	account
	// asSaid is set if the person may come in, and the launch says nothing new about the
	// account and the person's link.
	asSaid                                     bool
	progress, subject, activity, address, text *string
	dueAt                                      sql.NullInt64
}

// acceptText returns acceptKnown for a launch that expects a grade, and the parameters
// that it has for that.
func (s *Store) acceptText(n *store.NewLaunch, expected *knownGrade) (text string, more []any) {
	enrols, moves := 0, 0
	if n.EnrolIn != "" {
		enrols = 1
	}
	if expected.moves {
		moves = 1
		more = []any{s.engine.LockID(gradeKey(expected.id))}
	}
	return s.known.accept[enrols][moves], more
}

func (s *Store) acceptAsExpected(
	ctx context.Context, q Querier, n *store.NewLaunch, roles string, now int64, expected *knownGrade,
) (found knownPerson, accepted bool, err error) {
	vouched := ""
	if n.EmailVouched {
		vouched = store.EmailKey(n.Profile.Email)
	}
	a := &found.account
	text, more := s.acceptText(n, expected)
	err = q.QueryRow(ctx, identityKey(store.Identity{Realm: n.Realm, LTIUserID: n.LTIUserID}), text, slices.Concat(launchValues(n, roles, now), []any{
		n.Nonce.Scope, hashNonce(n.Nonce.Value), micros(n.Nonce.ExpiresAt),
		n.Ticket.Hash[:], string(n.Ticket.Kind), micros(n.Ticket.ExpiresAt),
		n.DirectoryID, n.Profile.GivenName, n.Profile.FamilyName, vouched,
		expected.id, expected.address, expected.state, expected.dueAt, expected.progress, n.EnrolIn,
	}, more)...).Scan(&accepted,
		&a.subject, &a.profile.Email, &a.vouched, &a.profile.GivenName, &a.profile.FamilyName, &a.active, &a.directory, &found.asSaid,
		&found.progress, &found.subject, &found.activity, &found.address, &found.text, &found.dueAt)
	return found, accepted, err
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

// nothingNew tells whether a launch leaves the account, the person's link and the grade
// as they were found, all but the address of the grade, and returns the grade as it was
// found. Moodle, over LTI 1.2, has a new address for each launch.
func (p *knownPerson) nothingNew(n *store.NewLaunch) (expected knownGrade, nothing bool, err error) {
	switch {
	case !p.asSaid:
		return knownGrade{}, false, nil
	case n.Grade == nil:
		return knownGrade{}, true, nil
	case p.subject == nil || *p.subject != p.account.subject || *p.activity != n.Activity:
		return knownGrade{}, false, nil
	}
	before := store.Grade{
		Key: n.Grade.Key, Subject: *p.subject, Activity: *p.activity,
		Address: json.RawMessage(*p.address), State: json.RawMessage(*p.text), DueAt: fromDue(p.dueAt),
	}
	after := before
	var known json.RawMessage
	if p.progress != nil {
		known = json.RawMessage(*p.progress)
	}
	if err := n.Grade.Join(known, &after); err != nil {
		return knownGrade{}, false, foreign{err}
	}
	expected = knownGrade{
		id: n.Grade.Key.ID(), address: string(after.Address), moves: string(after.Address) != *p.address,
		state: *p.text, dueAt: p.dueAt, progress: p.progress,
	}
	before.Address = after.Address
	return expected, sameGrade(&before, &after), nil
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
			r, _, err = scanResult(q.QueryRow(ctx, "nonce\x00"+n.Scope+"\x00"+n.Value, s.known.begin, id, n.Scope, hashNonce(n.Value), micros(n.ExpiresAt)))
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
		l, err = scanLaunch(q.QueryRow(ctx, "ticket\x00"+string(token[:]), query, args...))
		return orNotFound(err)
	})
	if errors.Is(err, store.ErrNotFound) {
		return store.Launch{}, false, nil
	}
	return l, err == nil, err
}

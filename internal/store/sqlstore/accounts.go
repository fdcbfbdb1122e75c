package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/lti-operator/lti-operator/internal/store"
)

const (
	accountByLink = `
		SELECT a.subject, a.email, a.email_vouched, a.given_name, a.family_name, a.active, p.issuer
		FROM person_links p JOIN accounts a ON a.subject = p.subject
		WHERE p.realm = ?1 AND p.lti_user_id = ?2`

	// The second condition lets the engine use the index, which has it too.
	accountByEmail = `
		SELECT subject, email, email_vouched, given_name, family_name, active, ''
		FROM accounts WHERE email_key = ?1 AND email_key <> ''`

	insertAccount = `
		INSERT INTO accounts (
			subject, email, email_key, email_vouched, given_name, family_name, active, created_at, updated_at)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, true, ?7, ?7)`

	// Only what the launch brings: another one may have brought the rest since the
	// account was read.
	updateAccount = `
		UPDATE accounts SET
			email_vouched = email_vouched OR ?2,
			given_name = COALESCE(NULLIF(?3, ''), given_name),
			family_name = COALESCE(NULLIF(?4, ''), family_name),
			updated_at = ?5
		WHERE subject = ?1
		RETURNING email_vouched, given_name, family_name`
)

// account is a row of accounts. Accounts are equal when nothing has to be written.
type account struct {
	subject         string
	profile         store.Profile
	vouched, active bool
}

// person finds or creates the account of the person who launches, sees to their
// link, and takes over what the launch says about them. For a known person of
// whom it says nothing new that is one query.
func (s *Store) person(ctx context.Context, tx *sql.Tx, n store.NewLaunch, now int64) (account, error) {
	a, issuer, err := s.findAccount(ctx, tx, s.accountByLink, n.Realm, n.LTIUserID)
	if errors.Is(err, sql.ErrNoRows) && s.engine.Lock != nil {
		if err := s.lockIdentities(ctx, tx, n); err != nil {
			return account{}, err
		}
		a, issuer, err = s.findAccount(ctx, tx, s.accountByLink, n.Realm, n.LTIUserID)
	}
	linked := err == nil
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if a, err = s.accountWithoutLink(ctx, tx, n, now); err != nil {
			return account{}, err
		}
	case err != nil:
		return account{}, err
	case n.Issuer != "" && issuer != "" && n.Issuer != issuer && !slices.Contains(n.PreviousIssuers, issuer):
		return account{}, store.ErrIssuerChanged
	}
	if !a.active {
		return account{}, store.ErrSuspended
	}

	switch {
	case !linked:
		_, err = tx.StmtContext(ctx, s.insertLink).ExecContext(ctx, n.Realm, n.LTIUserID, a.subject, n.Issuer, now)
	case n.Issuer != "" && n.Issuer != issuer:
		err = s.moveLink(ctx, tx, n, issuer)
	}
	if err != nil {
		return account{}, err
	}

	fresh := a.refreshed(n)
	if fresh != a {
		err = tx.StmtContext(ctx, s.updateAccount).QueryRowContext(ctx,
			a.subject, fresh.vouched, n.Profile.GivenName, n.Profile.FamilyName, now,
		).Scan(&fresh.vouched, &fresh.profile.GivenName, &fresh.profile.FamilyName)
	}
	return fresh, err
}

// moveLink gives the person's link the issuer of the launch, provided that it has
// still the one that this launch was compared with.
func (s *Store) moveLink(ctx context.Context, tx *sql.Tx, n store.NewLaunch, from string) error {
	res, err := tx.StmtContext(ctx, s.updateLink).ExecContext(ctx, n.Realm, n.LTIUserID, n.Issuer, from)
	if err != nil {
		return err
	}
	rows, err := res.RowsAffected()
	if err == nil && rows == 0 {
		err = errRaced
	}
	return err
}

// lockIdentities makes launches wait for each other that are about to link the same
// identity, or that look for a link which the other makes. Without, one could find
// no link, and then the address taken, by the very person who launches: each query
// sees what was committed before it, not before the transaction.
func (s *Store) lockIdentities(ctx context.Context, tx *sql.Tx, n store.NewLaunch) error {
	keys := []string{identityKey(store.Identity{Realm: n.Realm, LTIUserID: n.LTIUserID})}
	if n.Former != nil {
		keys = append(keys, identityKey(*n.Former))
	}
	// In one order everywhere, so that nobody waits in a circle.
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		if err := s.engine.Lock(ctx, tx, key); err != nil {
			return err
		}
	}
	return nil
}

func identityKey(i store.Identity) string { return "person\x00" + i.Realm + "\x00" + i.LTIUserID }

// accountWithoutLink is cases 2 to 4 of store.Store.AcceptLaunch.
func (s *Store) accountWithoutLink(ctx context.Context, tx *sql.Tx, n store.NewLaunch, now int64) (account, error) {
	if n.Former != nil {
		// The issuer of that link does not matter: the launch proved the identity.
		a, _, err := s.findAccount(ctx, tx, s.accountByLink, n.Former.Realm, n.Former.LTIUserID)
		if !errors.Is(err, sql.ErrNoRows) {
			return a, err
		}
	}
	if !n.MayCreateUser {
		return account{}, store.ErrUnknownUser
	}
	key := store.EmailKey(n.Profile.Email)
	a, _, err := s.findAccount(ctx, tx, s.accountByEmail, key)
	switch {
	case err == nil && n.EmailVouched && a.vouched:
		return a, nil
	case err == nil:
		return account{}, store.ErrEmailInUse
	case !errors.Is(err, sql.ErrNoRows):
		return account{}, err
	}
	a = account{subject: n.CandidateSubject, profile: n.Profile, vouched: n.EmailVouched, active: true}
	_, err = tx.StmtContext(ctx, s.insertAccount).ExecContext(ctx,
		a.subject, a.profile.Email, key, a.vouched, a.profile.GivenName, a.profile.FamilyName, now)
	return a, err
}

// refreshed returns the account with what a launch of its person says about it.
// The address stays: whoever controls the other system must not be able to move
// a known person to another one.
func (a account) refreshed(n store.NewLaunch) account {
	a.profile.GivenName = cmp.Or(n.Profile.GivenName, a.profile.GivenName)
	a.profile.FamilyName = cmp.Or(n.Profile.FamilyName, a.profile.FamilyName)
	if n.EmailVouched && !a.vouched {
		key := store.EmailKey(n.Profile.Email)
		a.vouched = key != "" && key == store.EmailKey(a.profile.Email)
	}
	return a
}

// findAccount runs accountByLink or accountByEmail; issuer is the one of the link.
func (s *Store) findAccount(ctx context.Context, tx *sql.Tx, query *sql.Stmt, args ...any) (a account, issuer string, err error) {
	err = tx.StmtContext(ctx, query).QueryRowContext(ctx, args...).Scan(&a.subject,
		&a.profile.Email, &a.vouched, &a.profile.GivenName, &a.profile.FamilyName, &a.active, &issuer)
	return a, issuer, err
}

// SetAccountActive implements store.Store.
func (s *Store) SetAccountActive(ctx context.Context, subject string, active bool) error {
	if !store.Storable(subject) {
		return store.ErrNotFound
	}
	return s.inTx(ctx, "set account active", func(ctx context.Context, tx *sql.Tx) error {
		res, err := tx.StmtContext(ctx, s.setActive).ExecContext(ctx, subject, active, micros(s.now()))
		if err != nil {
			return err
		}
		rows, err := res.RowsAffected()
		if err == nil && rows == 0 {
			err = store.ErrNotFound
		}
		return err
	})
}

package sqlite

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

	// The second condition lets SQLite use the index, which has it too.
	accountByEmail = `
		SELECT subject, email, email_vouched, given_name, family_name, active, ''
		FROM accounts WHERE email_key = ?1 AND email_key <> ''`
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
		_, err = tx.StmtContext(ctx, s.updateLink).ExecContext(ctx, n.Realm, n.LTIUserID, n.Issuer)
	}
	if err != nil {
		return account{}, err
	}

	fresh := a.refreshed(n)
	if fresh != a {
		_, err = tx.StmtContext(ctx, s.updateAccount).ExecContext(ctx,
			a.subject, fresh.vouched, fresh.profile.GivenName, fresh.profile.FamilyName, now)
	}
	return fresh, err
}

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
	return s.inTx(ctx, "set account active", func(tx *sql.Tx) error {
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

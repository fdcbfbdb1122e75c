package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/lti-operator/lti-operator/internal/store"
)

const (
	accountByLink = `
		SELECT a.subject, a.email, a.email_vouched, a.given_name, a.family_name, a.active, a.in_directory, p.issuer
		FROM person_links p JOIN accounts a ON a.subject = p.subject
		WHERE p.realm = ?1 AND p.lti_user_id = ?2`

	// The second condition lets the engine use the index, which has it too.
	accountByEmail = `
		SELECT subject, email, email_vouched, given_name, family_name, active, in_directory, ''
		FROM accounts WHERE email_key = ?1 AND email_key <> ''`

	readAccount = `
		SELECT a.subject, a.in_directory, a.active, p.issuer
		FROM person_links p JOIN accounts a ON a.subject = p.subject
		WHERE p.realm = ?1 AND p.lti_user_id = ?2`

	accountBySubject = `
		SELECT subject, email, email_vouched, given_name, family_name, active, in_directory, ''
		FROM accounts WHERE subject = ?1`

	// Two people may be found to be one at the same time. The directory knows whose
	// an address is: none is held here.
	insertDirectoryAccount = `
		INSERT INTO accounts (
			subject, email, email_key, email_vouched, given_name, family_name, active, in_directory, created_at, updated_at)
		VALUES (?1, ?2, '', ?3, ?4, ?5, true, true, ?6, ?6)
		ON CONFLICT (subject) DO NOTHING`

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
	// directory says that the subject is that of the academy's directory.
	directory bool
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
	case n.IssuerChanged(issuer):
		return account{}, store.ErrIssuerChanged
	}
	if !a.active {
		return account{}, store.ErrSuspended
	}
	if n.DirectoryID != "" && n.DirectoryID != a.subject {
		if a.directory {
			return account{}, fmt.Errorf("%w: the person has another account in the directory", store.ErrConflict)
		}
		if a, err = s.moveIntoDirectory(ctx, tx, a, n.DirectoryID, now); err != nil {
			return account{}, err
		}
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

	fresh := a.refreshed(&n)
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
	return changeRow(ctx, tx.StmtContext(ctx, s.updateLink), errRaced, n.Realm, n.LTIUserID, n.Issuer, from)
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
	if n.DirectoryID != "" {
		return s.directoryAccount(ctx, tx, account{subject: n.DirectoryID, profile: n.Profile, vouched: n.EmailVouched}, now)
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

// directoryAccount returns the account that the directory has under a.subject, made
// from a if there is none yet.
func (s *Store) directoryAccount(ctx context.Context, tx *sql.Tx, a account, now int64) (account, error) {
	found, _, err := s.findAccount(ctx, tx, s.accountBySubject, a.subject)
	if !errors.Is(err, sql.ErrNoRows) {
		return found, err
	}
	if _, err := tx.StmtContext(ctx, s.insertDirectoryAccount).ExecContext(ctx,
		a.subject, a.profile.Email, a.vouched, a.profile.GivenName, a.profile.FamilyName, now); err != nil {
		return account{}, err
	}
	found, _, err = s.findAccount(ctx, tx, s.accountBySubject, a.subject)
	return found, err
}

// moveIntoDirectory makes an account that was kept here only the one that the
// directory has for its person. Where both know something about an activity the
// newer counts.
func (s *Store) moveIntoDirectory(ctx context.Context, tx *sql.Tx, from account, to string, now int64) (account, error) {
	old := from.subject
	from.subject = to
	into, err := s.directoryAccount(ctx, tx, from, now)
	if err != nil {
		return account{}, err
	}
	if !into.active {
		return account{}, store.ErrSuspended
	}
	for _, move := range s.moves {
		if _, err := tx.StmtContext(ctx, move).ExecContext(ctx, old, to); err != nil {
			return account{}, err
		}
	}
	_, err = tx.StmtContext(ctx, s.deleteAccount).ExecContext(ctx, old)
	return into, err
}

// moves take what refers to account ?1 to account ?2.
var moves = [...]string{
	`UPDATE person_links SET subject = ?2 WHERE subject = ?1`,
	`DELETE FROM progress WHERE subject = ?1 AND activity IN (
		SELECT o.activity FROM progress o JOIN progress n ON n.activity = o.activity
		WHERE o.subject = ?1 AND n.subject = ?2 AND n.updated_at >= o.updated_at)`,
	`DELETE FROM progress WHERE subject = ?2 AND activity IN (SELECT o.activity FROM progress o WHERE o.subject = ?1)`,
	`UPDATE progress SET subject = ?2 WHERE subject = ?1`,
	`UPDATE grades SET subject = ?2 WHERE subject = ?1`,
}

// refreshed returns the account with what a launch of its person says about it.
// The address stays: whoever controls the other system must not be able to move
// a known person to another one.
func (a account) refreshed(n *store.NewLaunch) account {
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
		&a.profile.Email, &a.vouched, &a.profile.GivenName, &a.profile.FamilyName, &a.active, &a.directory, &issuer)
	return a, issuer, err
}

// SetAccountActive implements store.Store.
func (s *Store) SetAccountActive(ctx context.Context, subject string, active bool) error {
	if !store.Storable(subject) {
		return store.ErrNotFound
	}
	return s.inTx(ctx, "set account active", func(ctx context.Context, tx *sql.Tx) error {
		return changeRow(ctx, tx.StmtContext(ctx, s.setActive), store.ErrNotFound, subject, active, micros(s.now()))
	})
}

// Account implements store.Store.
func (s *Store) Account(ctx context.Context, person store.Identity) (store.Account, error) {
	if !store.Storable(person.Realm) || !store.Storable(person.LTIUserID) {
		return store.Account{}, store.ErrNotFound
	}
	var found store.Account
	err := s.read(ctx, "find account", func(ctx context.Context) error {
		err := s.readAccount.QueryRowContext(ctx, person.Realm, person.LTIUserID).
			Scan(&found.Subject, &found.InDirectory, &found.Active, &found.Issuer)
		return orNotFound(err)
	})
	if err != nil {
		return store.Account{}, err
	}
	return found, nil
}

// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Person is somebody who launched.
type Person struct {
	// Realm and LTIUserID together identify the person: an LTIUserID means
	// nothing outside its realm.
	Realm     string
	LTIUserID string
	// The rest is what the launch says about the person, and may be empty.
	GivenName  string
	FamilyName string
	Email      string
	// EmailVouched says that the system that launches may speak for the
	// address, so that an account with that address is the person's.
	EmailVouched bool
}

// ExternalID is the externalId of an account created for the person:
// "<realm>:<user id>". In the realm, which may name another system's instance, a
// colon is written %3A and a percent sign %25; otherwise user "b:c" of realm "a"
// would be user "c" of realm "a:b".
func (p Person) ExternalID() string {
	return strings.NewReplacer("%", "%25", ":", "%3A").Replace(p.Realm) + ":" + p.LTIUserID
}

// LogValue leaves out who the person is.
func (p Person) LogValue() slog.Value {
	return slog.GroupValue(slog.String("realm", p.Realm), slog.Bool("email", p.Email != ""), slog.Bool("emailVouched", p.EmailVouched))
}

// String leaves out who the person is.
func (p Person) String() string { return "person of realm " + p.Realm }

// key is the same for calls that have the same outcome.
func (p Person) key(known string) string {
	return fmt.Sprintf("account %q %t", []string{p.Realm, p.LTIUserID, p.GivenName, p.FamilyName, p.Email, known}, p.EmailVouched)
}

// validate refuses what cannot be told apart in a filter or in JSON.
func (p Person) validate() error {
	for _, s := range []string{p.Realm, p.LTIUserID} {
		if s == "" || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return ErrInvalidPerson
		}
	}
	return nil
}

// missing names what an account cannot be created without.
func (p Person) missing() []string {
	var missing []string
	for _, f := range []struct {
		name string
		ok   bool
	}{{"email", isAddress(p.Email)}, {"given_name", p.GivenName != ""}, {"family_name", p.FamilyName != ""}} {
		if !f.ok {
			missing = append(missing, f.name)
		}
	}
	return missing
}

// isAddress tells whether the text has the form of an email address: something
// on both sides of an @, and nothing invisible. More than that only its mail
// server knows.
func isAddress(email string) bool {
	at := strings.LastIndexByte(email, '@')
	return at > 0 && at < len(email)-1 && utf8.ValidString(email) && !strings.ContainsFunc(email, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
}

// Account is an account in the academy's directory.
type Account struct {
	// ID is the id that the server gave it. Remember it for the person.
	ID string
	// Active is false only together with ErrSuspended.
	Active bool
	// Created says that this call created the account; Linked, that this call
	// found it by the person's email address. Of concurrent calls for the same
	// person one says so.
	Created bool
	Linked  bool
}

// errNone reports that the person has no account yet.
var errNone = errors.New("no account")

// Ensure returns the active account of a person. known is the [Account.ID] that
// was remembered for the person, or "" if there is none; with it, only that
// account is looked at, and the person needs no more than an identifier.
//
// It fails with ErrSuspended (and the account), ErrGone, ErrEmailInUse,
// ErrMissingUserData, ErrInvalidPerson, ErrAmbiguous, ErrUnavailable,
// ErrNotAuthorised or ErrProtocol. When ctx ends first, what was begun is
// brought to its end, so that the next call finds it.
func (c *Client) Ensure(ctx context.Context, person Person, known string) (Account, error) {
	person.GivenName, person.FamilyName = strings.TrimSpace(person.GivenName), strings.TrimSpace(person.FamilyName)
	person.Email = strings.TrimSpace(person.Email)
	if err := person.validate(); err != nil {
		return Account{}, err
	}
	mine := false
	result := c.flights.DoChan(person.key(known), func() (any, error) {
		mine = true
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		defer cancel()
		return c.ensure(ctx, person, known)
	})
	select {
	case <-ctx.Done():
		return Account{}, &CallError{Kind: ErrUnavailable, Op: "account", Detail: "the time is up", Err: ctx.Err()}
	case r := <-result:
		account, _ := r.Val.(Account)
		if !mine {
			account.Created, account.Linked = false, false
		}
		return account, r.Err
	}
}

func (c *Client) ensure(ctx context.Context, p Person, known string) (Account, error) {
	if known != "" {
		return c.remembered(ctx, known)
	}
	account, err := c.find(ctx, p)
	if !errors.Is(err, errNone) {
		return account, err
	}
	if missing := p.missing(); len(missing) > 0 {
		return Account{}, &MissingUserDataError{Missing: missing}
	}
	account, err = c.create(ctx, p)
	if statusOf(err) != http.StatusConflict {
		return account, err
	}
	// Another replica was first, or somebody has the address as userName only.
	account, err = c.find(ctx, p)
	if errors.Is(err, errNone) {
		return Account{}, ErrEmailInUse
	}
	return account, err
}

// remembered returns the account with an id.
func (c *Client) remembered(ctx context.Context, id string) (Account, error) {
	found, err := c.get(ctx, users, id)
	switch {
	case statusOf(err) == http.StatusNotFound, statusOf(err) == http.StatusGone:
		return Account{}, ErrGone
	case err != nil:
		return Account{}, err
	}
	return admit(found)
}

// admit returns an account that is the person's, if it is active.
func admit(r *resource) (Account, error) {
	account := Account{ID: r.ID, Active: r.active()}
	if !account.Active {
		return account, ErrSuspended
	}
	return account, nil
}

// find looks for the account of a person by external id, then by address. It
// fails with errNone if there is none, and if nobody has the address.
func (c *Client) find(ctx context.Context, p Person) (Account, error) {
	externalID := p.ExternalID()
	// Exactly: external ids have case (RFC 7643 section 3.1), servers may not.
	own := func(r *resource) bool { return r.ExternalID == externalID }
	found, err := c.search(ctx, users, equal("externalId", externalID), own)
	// A server that cannot filter by it may still tell it.
	if err != nil && !filterRefused(err) {
		return Account{}, err
	}
	if len(found) == 0 && isAddress(p.Email) {
		var filter string
		var taken []*resource
		if taken, filter, err = c.holders(ctx, p.Email); err != nil {
			return Account{}, err
		}
		if found = slices.DeleteFunc(slices.Clone(taken), func(r *resource) bool { return !own(r) }); len(found) == 0 && len(taken) > 0 {
			return c.link(ctx, p, taken, filter)
		}
	}
	switch len(found) {
	case 0:
		return Account{}, errNone
	case 1:
		return admit(found[0])
	}
	return Account{}, fmt.Errorf("%w: accounts with the external id", ErrAmbiguous)
}

// holders returns the accounts with an address, and the filter that found them.
// Servers that cannot filter by the values of emails say so or find nobody, and
// are asked for the userName, which is the address of accounts created here; an
// account found that way must not have other addresses instead.
func (c *Client) holders(ctx context.Context, email string) ([]*resource, string, error) {
	filter := equal("emails.value", email)
	found, err := c.search(ctx, users, filter, func(r *resource) bool { return r.hasEmail(email) })
	if len(found) > 0 || err != nil && !filterRefused(err) {
		return found, filter, err
	}
	filter = equal("userName", email)
	found, err = c.search(ctx, users, filter, func(r *resource) bool {
		return r.hasEmail(email) || len(r.Emails) == 0 && sameText(r.UserName, email)
	})
	return found, filter, err
}

// link returns the one of the accounts with the person's address that the person
// may be linked to.
func (c *Client) link(ctx context.Context, p Person, taken []*resource, filter string) (Account, error) {
	if !p.EmailVouched {
		return Account{}, ErrEmailInUse
	}
	if c.linkFilter != "" {
		var err error
		if taken, err = c.narrow(ctx, taken, filter); err != nil {
			return Account{}, err
		}
	}
	active := slices.DeleteFunc(slices.Clone(taken), func(r *resource) bool { return !r.active() })
	if len(active) != 1 {
		return Account{}, ErrEmailInUse
	}
	return Account{ID: active[0].ID, Active: true, Linked: true}, nil
}

// narrow returns those of some accounts, which a filter found, that the link
// filter lets through.
func (c *Client) narrow(ctx context.Context, among []*resource, filter string) ([]*resource, error) {
	one := func(r *resource) bool {
		return slices.ContainsFunc(among, func(a *resource) bool { return a.ID == r.ID })
	}
	through, err := c.search(ctx, users, filter+" and ("+c.linkFilter+")", one)
	if err != nil {
		if e, ok := errors.AsType[*CallError](err); ok && filterRefused(err) {
			e.Detail = "the link filter was refused"
		}
		return nil, err
	}
	if len(through) == 0 {
		return nil, nil
	}
	// The link filter keeps staff out. A server that ignores it, or the part of
	// it that it does not know, would let everybody in; such a server gives the
	// same answer to the opposite question. One that refuses the question says
	// that it does not ignore what it does not know.
	kept, err := c.search(ctx, users, filter+" and not ("+c.linkFilter+")", one)
	switch {
	case filterRefused(err):
	case err != nil:
		return nil, err
	case slices.ContainsFunc(kept, func(k *resource) bool {
		return slices.ContainsFunc(through, func(t *resource) bool { return t.ID == k.ID })
	}):
		return nil, fmt.Errorf("%w: the directory does not evaluate the link filter", ErrEmailInUse)
	}
	return through, nil
}

// create makes an account. It fails with status 409 if there is one with the
// address as userName, or with the external id.
func (c *Client) create(ctx context.Context, p Person) (Account, error) {
	name := p.GivenName + " " + p.FamilyName
	r := request{method: http.MethodPost, endpoint: users, body: newUser{
		Schemas: []string{schemaUser}, ExternalID: p.ExternalID(), UserName: p.Email,
		Name:        newName{Formatted: name, GivenName: p.GivenName, FamilyName: p.FamilyName},
		DisplayName: name,
		Emails:      []newEmail{{Value: p.Email, Type: "work", Primary: true}},
		Active:      true,
	}}
	a, err := c.call(ctx, r)
	if err != nil && !isTooLarge(err) {
		return Account{}, err
	}
	var created resource
	if err == nil {
		err = a.decode(r.op(), &created)
	}
	if err != nil || created.ID == "" {
		// It was created, but the answer does not say as what.
		account, err := c.find(ctx, p)
		if errors.Is(err, errNone) {
			err = &CallError{Kind: ErrProtocol, Op: r.op(), Detail: "the account was created and cannot be found"}
		}
		account.Created = account.ID != ""
		return account, err
	}
	account, err := admit(&created)
	account.Created = true
	return account, err
}

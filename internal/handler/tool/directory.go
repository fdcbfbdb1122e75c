// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"context"
	"errors"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/provisioning"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Accounts is the academy's directory. provisioning.Client is one.
type Accounts interface {
	// Ensure returns the active account of a person; see provisioning.Client.
	Ensure(ctx context.Context, person provisioning.Person, known string) (provisioning.Account, error)
}

// directoryPatience is how long a person waits for the directory. What was begun is finished also when it is over, and
// found when the launch is posted again: its nonce is not spent before.
const directoryPatience = 15 * time.Second

// inDirectory finds or makes the account of the person in the academy's directory, and says so in the record.
func (t *Tool) inDirectory(ctx context.Context, v *visit, record *store.NewLaunch) error {
	known := ""
	own, err := t.Store.Account(ctx, store.Identity{Realm: record.Realm, LTIUserID: record.LTIUserID})
	switch {
	case errors.Is(err, store.ErrNotFound):
		if record.Former != nil {
			own, err = t.Store.Account(ctx, *record.Former)
		}
	case err == nil && record.IssuerChanged(own.Issuer):
		// Before the directory is told anything about somebody else.
		return storeRefusal(store.ErrIssuerChanged)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return storeRefusal(err)
	case !own.Active:
		return storeRefusal(store.ErrSuspended)
	case own.InDirectory:
		known = own.Subject
	}
	ctx, cancel := context.WithTimeout(ctx, directoryPatience)
	defer cancel()
	account, err := v.accounts.Ensure(ctx, provisioning.Person{
		Realm: record.Realm, LTIUserID: record.LTIUserID, EmailVouched: record.EmailVouched,
		GivenName: record.Profile.GivenName, FamilyName: record.Profile.FamilyName, Email: record.Profile.Email,
	}, known)
	if missing := (&provisioning.MissingUserDataError{}); errors.As(err, &missing) {
		v.about.Missing = missing.Missing
	}
	record.DirectoryID = account.ID
	return directoryRefusal(err)
}

// directoryRefusal translates what the directory says.
func directoryRefusal(err error) error {
	if lti.CodeOf(err) == lti.Overloaded {
		return err // it was not asked
	}
	for _, x := range []struct {
		err  error
		code lti.Code
	}{
		{provisioning.ErrSuspended, lti.AccountSuspended},
		{provisioning.ErrGone, lti.AccountGone},
		{provisioning.ErrEmailInUse, lti.EmailInUse},
		{provisioning.ErrMissingUserData, lti.MissingUserData},
		{provisioning.ErrInvalidPerson, lti.ParameterInvalid},
		{provisioning.ErrUnavailable, lti.DirectoryUnavailable},
	} {
		if errors.Is(err, x.err) {
			return lti.Refuse(x.code, "").Because(err)
		}
	}
	if err != nil {
		return lti.Refuse(lti.DirectoryFailed, "").Because(err)
	}
	return nil
}

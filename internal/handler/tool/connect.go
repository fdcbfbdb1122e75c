// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"context"
	"net/http"

	"github.com/lti-operator/lti-operator/internal/handler/learners"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/identity/learner"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/pages"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

const (
	fieldPending = "launch"
	// pendingLifetime is for reading the page and signing in.
	pendingLifetime = identity.FlowLifetime + ticketLifetime
)

// pendingLaunch is a verified launch that is not accepted yet.
type pendingLaunch struct {
	// Record has everything but what is made when the launch is accepted.
	Record store.NewLaunch
	// Cell is the one of the gradebook; nil for none.
	Cell *cell

	// signedIn is the learner who has signed in for the launch; nil for nobody.
	signedIn *learner.Learner
}

// isOf checks that the launch leads into the account that its person has signed in to: the one of that ID in the directory,
// or, where there is none, the one with an address that the identity provider answers for.
func (p *pendingLaunch) isOf(record *store.NewLaunch) error {
	switch {
	case p.signedIn == nil:
		return nil
	case record.DirectoryID != "" && record.DirectoryID == p.signedIn.Subject:
		return nil
	case record.DirectoryID == "" && p.signedIn.EmailVerified && store.EmailKey(p.signedIn.Email) == store.EmailKey(record.Profile.Email):
		return nil
	}
	return lti.Refuse(lti.AccountMismatch, "the account is not the one with the email address of the launch")
}

// offerToConnect adds a way out to the refusal of a launch whose address is taken: to sign in to that account. The launch
// waits for it, sealed; it is accepted once, by its nonce.
func (t *Tool) offerToConnect(ctx context.Context, v *visit, p *pendingLaunch, refusal error) error {
	if v.learners == nil {
		return refusal
	}
	ids, err := t.tokens(1)
	if err != nil {
		return err
	}
	expires := t.Now().Add(pendingLifetime)
	waiting := *p
	if late := expires.Add(web.NonceMargin); waiting.Record.Nonce.ExpiresAt.Before(late) {
		waiting.Record.Nonce.ExpiresAt = late
	}
	sealed, err := v.sealer.SealPending(&waiting)
	if err != nil {
		return err
	}
	if err := t.Store.PutPending(ctx, store.HashToken(ids[0]), []byte(sealed), expires); err != nil {
		return storeRefusal(err)
	}
	v.about.Connect = &pages.Connect{Action: routing.PathConnect, TokenField: fieldPending, Token: ids[0]}
	return refusal
}

// desk is where the academy's own learners sign in.
func (v *visit) desk() (*learners.Desk, error) {
	if v.learners == nil {
		return nil, lti.Refuse(lti.SignInNotConfigured, "the academy has no identity provider for its learners")
	}
	return v.learners, nil
}

// pending finds a launch that waits, and checks that it may still be accepted.
func (t *Tool) pending(ctx context.Context, v *visit, token string) (*pendingLaunch, *routing.Activity, error) {
	if _, err := v.desk(); err != nil {
		return nil, nil, err
	}
	sealed, err := t.Store.Pending(ctx, store.HashToken(token))
	if err != nil {
		return nil, nil, storeRefusal(err)
	}
	p := &pendingLaunch{}
	if err := v.sealer.OpenPending(string(sealed), p); err != nil {
		return nil, nil, lti.Refuse(lti.LaunchExpired, "the keys have changed since").Because(err)
	}
	v.about.Version = p.Record.Version
	activity, err := v.stillOpen(&store.Launch{LaunchInfo: p.Record.LaunchInfo})
	v.about.FrameAncestors = ""
	return p, activity, err
}

// connect is where the button of the page EmailInUse posts to: it sends the browser to the academy's identity provider.
func (t *Tool) connect(rw http.ResponseWriter, r *http.Request) {
	t.serve(rw, r, "", func(v *visit) error {
		params, err := web.ReadForm(rw, r)
		if err != nil {
			return err
		}
		token, _, err := params.Only(fieldPending)
		if err != nil {
			return err
		}
		if token == "" {
			return lti.Refuse(lti.ParameterMissing, "missing: %s", fieldPending)
		}
		if _, _, err := t.pending(r.Context(), v, token); err != nil {
			return err
		}
		return v.learners.Begin(rw, r, identity.FlowConnect, token)
	})
}

// Connected is where the identity provider sends the browser back to: the launch is accepted into the account that was
// signed in to, if that is the one with its address.
func (t *Tool) Connected(rw http.ResponseWriter, r *http.Request) {
	t.serve(rw, r, "", func(v *visit) error {
		v.about.FrameAncestors = ""
		desk, err := v.desk()
		if err != nil {
			return err
		}
		visitor, err := desk.Return(rw, r, identity.FlowConnect)
		if err != nil {
			return err
		}
		p, activity, err := t.pending(r.Context(), v, visitor.Back)
		if err != nil {
			return err
		}
		who, err := visitor.SignIn(r.Context())
		if err != nil {
			return err
		}
		// Whoever can sign in to the account with this address may have it.
		p.signedIn, p.Record.EmailVouched = &who, true
		return t.admit(rw, r, v, activity, p)
	})
}

// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"context"
	"io"
	"net/http"
	"sync"

	"github.com/lti-operator/lti-operator/internal/handler/admission"
	"github.com/lti-operator/lti-operator/internal/handler/learners"
	"github.com/lti-operator/lti-operator/internal/handler/tool"
	"github.com/lti-operator/lti-operator/internal/identity/learner"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/service"
	"github.com/lti-operator/lti-operator/internal/provisioning"
)

// All that requests wait for other systems in is here: their key sets, the academy's directory and identity provider, and
// platforms that we register at. It is what a request does there that gives its slot to others, not the single exchange:
// most of those who wait do so for an exchange of somebody else's, such as the first who asked for a key set.

// outside gives the slot of a request to others until back is called; see admission.Outside. The error is a refusal.
func outside(ctx context.Context) (back func(), err error) {
	back, err = admission.Outside(ctx)
	if err != nil {
		return nil, lti.Refuse(lti.Overloaded, "too many wait for other systems").Because(err)
	}
	return back, nil
}

// outsideAccounts is a directory that is asked outside.
type outsideAccounts struct{ tool.Accounts }

// Ensure implements tool.Accounts.
func (o outsideAccounts) Ensure(ctx context.Context, person provisioning.Person, known string) (provisioning.Account, error) {
	back, err := outside(ctx)
	if err != nil {
		return provisioning.Account{}, err
	}
	defer back()
	return o.Accounts.Ensure(ctx, person, known)
}

// outsideProvider is an identity provider that is asked outside.
type outsideProvider struct{ learners.IdentityProvider }

// AuthURL implements learners.IdentityProvider.
func (o outsideProvider) AuthURL(ctx context.Context, r learner.Request) (string, error) {
	back, err := outside(ctx)
	if err != nil {
		return "", err
	}
	defer back()
	return o.IdentityProvider.AuthURL(ctx, r)
}

// Exchange implements learners.IdentityProvider.
func (o outsideProvider) Exchange(ctx context.Context, response learner.Response, r learner.Request) (learner.Learner, error) {
	back, err := outside(ctx)
	if err != nil {
		return learner.Learner{}, err
	}
	defer back()
	return o.IdentityProvider.Exchange(ctx, response, r)
}

// outsideDoer sends requests, and reads the answers to their end, outside.
type outsideDoer struct{ service.Doer }

// Do implements service.Doer.
func (o outsideDoer) Do(req *http.Request) (*http.Response, error) {
	back, err := outside(req.Context())
	if err != nil {
		return nil, err
	}
	res, err := o.Doer.Do(req)
	if err != nil {
		back()
		return nil, err
	}
	res.Body = &outsideBody{ReadCloser: res.Body, back: sync.OnceFunc(back)}
	return res, nil
}

// outsideBody is an answer that is read outside.
type outsideBody struct {
	io.ReadCloser
	back func()
}

// Close implements io.Closer.
func (b *outsideBody) Close() error {
	defer b.back()
	return b.ReadCloser.Close()
}

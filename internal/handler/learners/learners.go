// SPDX-License-Identifier: Apache-2.0

// Package learners signs the academy's own learners in at the academy's identity provider, for whatever needs to know who
// they are. It keeps nothing between the two requests of a sign-in: the state that goes to the provider and back holds it.
package learners

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/identity/learner"
	"github.com/lti-operator/lti-operator/internal/lti"
)

const (
	// cookiePrefix starts the name of the cookie that binds a sign-in to its browser.
	cookiePrefix = "__Host-lti-learner-"
	// stateName is how much of a state names its cookie.
	stateName = 11
)

// IdentityProvider is that of the academy's own learners. learner.Provider is one.
type IdentityProvider interface {
	AuthURL(ctx context.Context, r learner.Request) (string, error)
	Exchange(ctx context.Context, response learner.Response, r learner.Request) (learner.Learner, error)
}

// Desk signs learners in.
type Desk struct {
	Provider IdentityProvider
	// Fingerprint tells the provider's configuration from others.
	Fingerprint string
	Sealer      *identity.Sealer
	// RedirectURI is our address that the provider sends browsers back to.
	RedirectURI string
	Now         func() time.Time
}

// Begin sends the browser to the provider, to come back for the purpose with what back says.
func (d *Desk) Begin(rw http.ResponseWriter, r *http.Request, purpose identity.FlowPurpose, back string) error {
	flow, cookie, err := d.Sealer.NewFlow(purpose, d.Fingerprint, back, d.Now())
	if err != nil {
		return err
	}
	state, err := d.Sealer.SealFlow(flow)
	if err != nil {
		return err
	}
	location, err := d.Provider.AuthURL(r.Context(), d.request(flow, state))
	if err != nil {
		return refusal(err)
	}
	http.SetCookie(rw, cookieOf(state, cookie, int(identity.FlowLifetime/time.Second)))
	web.Redirect(rw, location)
	return nil
}

// request is the authentication request of a flow.
func (d *Desk) request(flow *identity.Flow, state string) learner.Request {
	request := learner.Request{
		RedirectURI: d.RedirectURI, State: state, Nonce: flow.Nonce, Verifier: flow.Verifier, AskedAt: time.Unix(flow.IssuedAt, 0),
	}
	if flow.Purpose == identity.FlowConnect {
		// A session that happens to be there proves nothing about who pressed the button.
		request.Prompt, request.MaxAge = "login", time.Second
	}
	return request
}

// cookieOf comes back with a navigation from the provider.
func cookieOf(state, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: cookiePrefix + state[:min(stateName, len(state))], Value: value, Path: "/", MaxAge: maxAge,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// Visitor is a browser that came back from the provider.
type Visitor struct {
	// Back is what Begin was told.
	Back string

	desk     *Desk
	flow     *identity.Flow
	state    string
	response learner.Response
}

// Return reads the request with which the browser comes back. Nobody is signed in yet, see Visitor.SignIn.
func (d *Desk) Return(rw http.ResponseWriter, r *http.Request, purpose identity.FlowPurpose) (*Visitor, error) {
	params, err := lti.ParseForm(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	v := &Visitor{desk: d}
	if v.response, v.state, err = learner.ParseResponse(params); err != nil {
		return nil, err
	}
	var cookies []string
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, cookiePrefix) {
			cookies = append(cookies, c.Value)
		}
	}
	if v.flow, err = d.Sealer.OpenFlow(v.state, d.Fingerprint, d.Now(), cookies...); err != nil {
		return nil, err
	}
	http.SetCookie(rw, cookieOf(v.state, "", -1))
	if v.flow.Purpose != purpose {
		return nil, lti.Refuse(lti.StateInvalid, "the sign-in was for something else")
	}
	v.Back = v.flow.Return
	return v, nil
}

// SignIn ends the sign-in, and tells who it is. It works once.
func (v *Visitor) SignIn(ctx context.Context) (learner.Learner, error) { return v.SignInWith(ctx, "") }

// SignInWith is SignIn that tells besides, as Values of the learner, what the provider says in a claim.
func (v *Visitor) SignInWith(ctx context.Context, claim string) (learner.Learner, error) {
	request := v.desk.request(v.flow, v.state)
	request.Claim = claim
	who, err := v.desk.Provider.Exchange(ctx, v.response, request)
	if err != nil {
		return learner.Learner{}, refusal(err)
	}
	return who, nil
}

// refusal translates what the provider says.
func refusal(err error) error {
	var e *learner.Error
	if !errors.As(err, &e) {
		return err
	}
	code := lti.IdentityProviderInvalid
	switch e.Kind {
	case learner.Unavailable:
		code = lti.IdentityProviderUnavailable
	case learner.Refused:
		code = lti.SignInRefused
	}
	return lti.Refuse(code, "").Because(e)
}

// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/lti-operator/lti-operator/internal/egress"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/registration"
	"github.com/lti-operator/lti-operator/internal/lti/service"
	"github.com/lti-operator/lti-operator/internal/pages"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// offer is our registration initiation URL (DR section 3.3). It tells the platform's administrator who would register where,
// and asks nobody anything: a link can be opened by a program that looks into it.
func (g *Registrar) offer(rw http.ResponseWriter, r *http.Request) {
	g.show(rw, r, func(v *visit) error {
		params, err := lti.ParseForm(r.URL.RawQuery)
		if err != nil {
			return err
		}
		p, _, initiation, err := g.initiated(v, r, params)
		if err != nil {
			return err
		}
		page := pages.Register{
			Academy: v.Academy.Title, Platform: p.Title, Host: initiation.Host, Action: routing.PlatformRegistrationURL("", p.Name),
			Fields: []pages.Field{
				{Name: routing.ParamRegistrationToken, Value: params.Get(routing.ParamRegistrationToken)},
				{Name: registration.ParamConfiguration, Value: initiation.ConfigurationURL},
				{Name: registration.ParamToken, Value: initiation.Token},
			},
		}
		return page.Write(rw, web.View(r, &v.about))
	})
}

// atPlatform is where the button of that page posts to: we register. Whoever has not got the token of the link cannot have
// somebody else's browser do it.
func (g *Registrar) atPlatform(rw http.ResponseWriter, r *http.Request) {
	g.show(rw, r, func(v *visit) error {
		params, err := web.ReadForm(rw, r)
		if err != nil {
			return err
		}
		p, link, initiation, err := g.initiated(v, r, params)
		if err != nil {
			return err
		}
		registered, err := g.once(r.Context(), link, func(ctx context.Context) (*routing.Registration, error) {
			return g.register(ctx, v, p, initiation)
		})
		if err != nil {
			return err
		}
		page := pages.Registered{ID: registered.ID, Academy: v.Academy.Title, Host: initiation.Host}
		return page.Write(rw, web.View(r, &v.about))
	})
}

// show runs a request of a browser.
func (g *Registrar) show(rw http.ResponseWriter, r *http.Request, handle func(*visit) error) {
	v, err := g.begin("tool")
	if err == nil {
		err = handle(v)
	}
	if err != nil {
		g.Web.Refuse(rw, r, &v.about, err)
	}
}

// initiated finds the platform that the link in a registration initiation belongs to, and reads the initiation.
func (g *Registrar) initiated(v *visit, r *http.Request, params lti.Params) (*routing.Platform, *routing.RegistrationLink, *registration.Initiation, error) {
	token, _, err := params.Only(routing.ParamRegistrationToken)
	if err != nil {
		return nil, nil, nil, err
	}
	p := v.Platform(r.PathValue("platform"))
	var link *routing.RegistrationLink
	if p != nil {
		link = p.Registration
	}
	if err := g.admits(link, token); err != nil {
		return nil, nil, nil, err
	}
	v.about.Platform, v.about.PlatformTitle = p.Name, p.Title
	if len(p.FrameAncestors) > 0 {
		v.about.FrameAncestors = strings.Join(p.FrameAncestors, " ")
	}
	if !p.Active {
		return nil, nil, nil, lti.Refuse(lti.PlatformDeactivated, "")
	}
	initiation, err := registration.ParseInitiation(params)
	return p, link, initiation, err
}

// register asks a platform to register us.
func (g *Registrar) register(ctx context.Context, v *visit, p *routing.Platform, from *registration.Initiation) (*routing.Registration, error) {
	configuration, err := g.configuration(ctx, from)
	if err != nil {
		return nil, err
	}
	body, err := registration.NewRequest(configuration, toolFor(v, p.Name))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, configuration.RegistrationURL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if from.Token != "" {
		req.Header.Set("Authorization", "Bearer "+from.Token)
	}
	answered, err := service.Call(g.Doer, req, registration.MaxDocument, g.Now())
	if err != nil {
		return nil, callRefusal(err, lti.RegistrationAnswerInvalid)
	}
	answer, err := registration.ParseAnswer(answered.Status, answered.Body)
	if err != nil {
		return nil, err
	}
	return named(&routing.Registration{Kind: routing.KindPlatform, Name: p.Name, Platform: &routing.RegisteredPlatform{
		PlatformLTI13: routing.PlatformLTI13{
			Issuer: configuration.Issuer, ClientID: answer.ClientID, AuthenticationURL: configuration.AuthenticationURL,
			AccessTokenURL: configuration.AccessTokenURL, AccessTokenAudience: configuration.AccessTokenAudience, JWKSURL: configuration.JWKSURL,
		},
		DeploymentID: answer.DeploymentID, Product: configuration.Product, Version: configuration.Version,
		ClientConfigurationURL: answer.ClientURL, ClientConfigurationToken: answer.ClientToken,
	}}), nil
}

// configuration fetches what a platform says about itself. A redirect is not followed: the host that the administrator was
// shown is the one that the issuer must be at.
func (g *Registrar) configuration(ctx context.Context, from *registration.Initiation) (*registration.Configuration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from.ConfigurationURL, nil)
	if err != nil {
		return nil, lti.Refuse(lti.RegistrationInitiationInvalid, "%s is not an absolute https URL", registration.ParamConfiguration)
	}
	req.Header.Set("Accept", "application/json")
	answer, err := service.Call(g.Doer, req, registration.MaxDocument, g.Now())
	switch {
	case err != nil:
		return nil, callRefusal(err, lti.RegistrationConfigurationInvalid)
	case answer.Status >= 300 && answer.Status <= 399:
		return nil, lti.Refuse(lti.RegistrationConfigurationInvalid, "%s is a redirect", registration.ParamConfiguration)
	case answer.Status != http.StatusOK:
		return nil, lti.Refuse(lti.RegistrationUnreachable, "%s answers with status %d", registration.ParamConfiguration, answer.Status)
	}
	return registration.ParseConfiguration(answer.Body, from.ConfigurationURL)
}

// callRefusal says why there is no answer. invalid is the code for one that is too long.
func callRefusal(err error, invalid lti.Code) error {
	var failed *service.Error
	if errors.As(err, &failed) && failed.Err != nil {
		err = failed.Err // says more in the log
	}
	switch {
	case lti.CodeOf(err) == lti.Overloaded:
		return err // nobody was asked
	case egress.KindOf(err) == egress.Blocked:
		return lti.Refuse(lti.RegistrationAddressForbidden, "").Because(err)
	case failed != nil && failed.Reason == service.AnswerInvalid, egress.KindOf(err) == egress.TooLarge:
		return lti.Refuse(invalid, "longer than %d bytes", registration.MaxDocument).Because(err)
	case egress.KindOf(err) == egress.Timeout:
		return lti.Refuse(lti.RegistrationUnreachable, "no answer in time").Because(err)
	}
	return lti.Refuse(lti.RegistrationUnreachable, "").Because(err)
}

// toolFor is what we say about ourselves to a platform.
func toolFor(v *visit, name string) registration.Tool {
	t := registration.Tool{
		Name: v.Academy.Title, Description: v.Academy.Title,
		LoginInitiationURL: routing.PlatformLoginURL(v.Academy.URL, name), LaunchURL: routing.PlatformLaunchURL(v.Academy.URL, name),
		JWKSURL: routing.PlatformJWKSURL(v.Academy.URL, name),
	}
	for _, base := range append([]string{v.Academy.URL}, v.Academy.Aliases...) {
		t.RedirectURIs = append(t.RedirectURIs, routing.PlatformLaunchURL(base, name))
	}
	if u, err := url.Parse(v.Academy.URL); err == nil {
		t.Domain = u.Host
	}
	return t
}

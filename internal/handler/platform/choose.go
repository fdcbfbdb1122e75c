// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/handler/platform/drafts"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/identity/learner"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/deeplink"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/pages"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// choiceCookiePrefix starts the name of the cookie that binds a choice to its browser, one for each.
const choiceCookiePrefix = "__Host-lti-choice-"

// choiceScope is the scope of nonces of choices.
const choiceScope = "deep linking choice"

// choose is where an author of the academy begins to choose activities at a tool (Deep Linking 2.0). Who it is, is asked of the
// academy's identity provider every time, as for launches.
func (p *Platform) choose(rw http.ResponseWriter, r *http.Request) {
	p.serve(rw, r, func(v *visit) error {
		v.about.FrameAncestors = ""
		tool, err := v.findChoosing(r.PathValue("tool"))
		if err != nil {
			return err
		}
		desk, err := v.desk()
		if err != nil {
			return err
		}
		address := routing.ToolChooseURL(v.Academy.URL, tool.Name)
		if v.Base(r.Host) != v.Academy.URL {
			// The cookies have to come back to the host that the tool and the identity provider know.
			web.Redirect(rw, address)
			return nil
		}
		if top, known := web.TopLevel(r); known && !top {
			v.about.FrameAncestors = strings.Join(v.Academy.FrameAncestors, " ")
			return pages.ChooseInWindow{Tool: tool.Title, Address: address}.Write(rw, web.View(r, &v.about))
		}
		return desk.Begin(rw, r, identity.FlowChoose, tool.Name)
	})
}

// findChoosing makes the tool of that name the one that the request is about, and checks that activities may be chosen there
// by anybody.
func (v *visit) findChoosing(name string) (*routing.Tool, error) {
	v.about.Version = version13
	tool, err := v.findTool(name)
	if err != nil {
		return nil, err
	}
	v.about.ChooseAgain = routing.ToolChooseURL("", tool.Name)
	switch {
	case tool.DeepLinking == routing.ServiceDisabled:
		return nil, lti.Refuse(lti.DeepLinkingDisabled, "")
	case v.Academy.Authors == nil:
		return nil, lti.Refuse(lti.AuthorsNotConfigured, "")
	case deepLinkingURL(tool) == "":
		return nil, lti.Refuse(lti.NotRegistered, "the LTITool has neither deepLinkingURL nor launchURL")
	}
	return tool, nil
}

// mayChoose checks that somebody who was an author a while ago may still choose at the tool.
func (v *visit) mayChoose(t *routing.Tool, author identity.Author) error {
	if _, err := v.findChoosing(t.Name); err != nil {
		return err
	}
	if in := v.Academy.Authors; author.Claim != in.Claim || !slices.Contains(in.Values, author.Value) {
		return lti.Refuse(lti.AuthorNotAllowed, "who may choose has changed meanwhile")
	}
	return nil
}

// authorOf tells why somebody who signed in is an author.
func authorOf(who *learner.Learner, in *routing.Authors) (identity.Author, error) {
	for _, value := range who.Values {
		if slices.Contains(in.Values, value) {
			return identity.Author{Claim: in.Claim, Value: value}, nil
		}
	}
	return identity.Author{}, lti.Refuse(lti.AuthorNotAllowed, "the claim that tells authors has none of their values")
}

// Chooses is where the identity provider sends the browser back to: an author goes on to the tool.
func (p *Platform) Chooses(rw http.ResponseWriter, r *http.Request) {
	p.serve(rw, r, func(v *visit) error {
		v.about.FrameAncestors = ""
		desk, err := v.desk()
		if err != nil {
			return err
		}
		visitor, err := desk.Return(rw, r, identity.FlowChoose)
		if err != nil {
			return err
		}
		tool, err := v.findChoosing(visitor.Back)
		if err != nil {
			return err
		}
		who, err := visitor.SignInWith(r.Context(), v.Academy.Authors.Claim)
		if err != nil {
			return err
		}
		v.about.Locale = who.Locale
		author, err := authorOf(&who, v.Academy.Authors)
		if err != nil {
			return err
		}
		person, err := p.meet(r, store.ToolRealm(tool.Name), tool.Privacy, &who)
		if err != nil {
			return err
		}
		location, err := p.login(rw, v, tool, deepLinkingURL(tool), identity.Hint{LearnerID: person.ID, Author: &author})
		if err != nil {
			return err
		}
		web.Redirect(rw, location)
		return nil
	})
}

// deepLinkingURL is the target link URI of a choice; empty where none is known.
func deepLinkingURL(t *routing.Tool) string {
	known := append([]string{t.LTI13.DeepLinkingURL, t.LTI13.LaunchURL}, t.LTI13.RedirectURIs...)
	if i := slices.IndexFunc(known, func(address string) bool { return address != "" }); i >= 0 {
		return known[i]
	}
	return ""
}

// choosing chooses activities.
type choosing struct{ author identity.Author }

// message is an LtiDeepLinkingRequest. What the tool returns of it is sealed and bound to the browser.
func (c choosing) message(p *Platform, v *visit, t *routing.Tool, person *store.Learner) (message, error) {
	data, cookie, err := v.sealer.NewChoice(identity.Choice{Tool: t.Name, LearnerID: person.ID, Author: c.author}, p.Now())
	if err != nil {
		return message{}, err
	}
	lineItem := true
	settings := deeplink.Settings{
		ReturnURL:     routing.ToolChosenURL(v.Academy.URL, t.Name),
		AcceptTypes:   []string{deeplink.TypeResourceLink},
		AcceptTargets: []string{deeplink.TargetIFrame, deeplink.TargetWindow}, AcceptMultiple: true, AcceptLineItem: &lineItem, Data: &data,
	}
	claim, err := settings.Claim()
	if err != nil {
		return message{}, err
	}
	m := launch.Launch{
		Visit: launch.Visit{
			Subject: person.ID, Person: PersonOf(person, t.Privacy), Roles: []string{launch.RoleInstructor},
			DocumentTarget: deeplink.TargetWindow, Locale: person.Locale, Platform: platformOf(&v.Academy),
		},
		Issuer: v.Academy.URL, ClientID: ClientID(t), DeploymentID: DeploymentID(t), TargetLinkURI: deepLinkingURL(t),
	}
	return message{
		claims: m.DeepLinkingClaims(claim, p.Now(), tokenLifetime),
		cookie: crossSiteCookie(choiceCookiePrefix, data, cookie, int(identity.ChoiceLifetime/time.Second)),
	}, nil
}

func (c choosing) spend(ctx context.Context, s store.Results, hint store.Nonce, _ *store.Learner) error {
	return s.SpendNonce(ctx, hint)
}

// chosen is where a tool has the author's browser post what was chosen (Deep Linking 2.0 section 4.1.2). It makes nothing but a
// page with resources that somebody may apply.
func (p *Platform) chosen(rw http.ResponseWriter, r *http.Request) {
	p.serve(rw, r, func(v *visit) error {
		v.about.FrameAncestors = ""
		tool, err := v.findChoosing(r.PathValue("tool"))
		if err != nil {
			return err
		}
		params, err := web.ReadForm(rw, r)
		if err != nil {
			return err
		}
		response, err := p.take(rw, r, v, tool, params)
		if errors.Is(err, errRepost) {
			token, _, _ := params.Only(deeplink.ParameterResponse) // it was there once
			fields := []pages.Field{{Name: deeplink.ParameterResponse, Value: token}, {Name: paramReposted, Value: "1"}}
			return pages.AutoSubmit{Action: r.URL.Path, Fields: fields}.Write(rw, web.View(r, &v.about))
		}
		if err != nil {
			return err
		}
		page, err := v.chosenPage(tool, response)
		if err != nil {
			return err
		}
		return page.Write(rw, web.View(r, &v.about))
	})
}

// take verifies a response and spends the choice, last: what is refused for something that can be mended can come again.
func (p *Platform) take(rw http.ResponseWriter, r *http.Request, v *visit, t *routing.Tool, params lti.Params) (*deeplink.Response, error) {
	token, _, err := params.Only(deeplink.ParameterResponse)
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, lti.Refuse(lti.ParameterMissing, "missing: %s", deeplink.ParameterResponse)
	}
	verifier := deeplink.ResponseVerifier{
		ClientID: ClientID(t), DeploymentID: DeploymentID(t), Issuer: v.Academy.URL, Keys: v.keys[t.Name], Now: p.Now,
	}
	response, nonce, err := verifier.Verify(r.Context(), token)
	if err != nil {
		return nil, err
	}
	choice, err := v.sealer.OpenChoice(*response.Data, p.Now())
	if err != nil {
		return nil, err
	}
	switch {
	case choice.Tool != t.Name:
		return nil, lti.Refuse(lti.ChoiceInvalid, "data is that of another tool")
	case !choice.FromBrowser(cookiesOf(r, choiceCookiePrefix)...):
		if params.Count(paramReposted) == 0 {
			// Some browsers send our cookie only with requests from our own pages.
			return nil, errRepost
		}
		return nil, lti.Refuse(lti.StateNotFromThisBrowser, "")
	}
	if err := v.mayChoose(t, choice.Author); err != nil {
		return nil, err
	}
	author, err := p.Store.Learner(r.Context(), store.ToolRealm(t.Name), choice.LearnerID)
	if err != nil {
		return nil, storeRefusal(err)
	}
	v.about.Locale = author.Locale
	err = p.Store.SpendNonce(r.Context(), web.NonceOf(nonce), store.Nonce{Scope: choiceScope, Value: choice.ID, ExpiresAt: choice.ForgottenAt()})
	if errors.Is(err, store.ErrReplayed) {
		return nil, lti.Refuse(lti.ChoiceAlreadyUsed, "").Because(err)
	}
	if err != nil {
		return nil, storeRefusal(err)
	}
	http.SetCookie(rw, crossSiteCookie(choiceCookiePrefix, *response.Data, "", -1))
	return response, nil
}

// chosenPage shows what was chosen.
func (v *visit) chosenPage(t *routing.Tool, response *deeplink.Response) (*pages.Chosen, error) {
	// To the tool two activities with one resource link are the same.
	links := map[string]bool{}
	v.Activities(func(a *routing.Activity) {
		if a.External != nil && a.External.LTI13 != nil && a.External.LTI13.Tool == t.Name {
			links[a.External.LTI13.ResourceLinkID] = true
		}
	})
	maker := drafts.Maker{
		Academy: v.Academy.Name, Tool: t,
		Taken:           func(name string) bool { return links[name] || v.Activity(name) != nil },
		AcceptsRedirect: func(uri string) bool { return v.AcceptsRedirect(t, uri) },
	}
	items, text, err := maker.Make(response.Items)
	if err != nil {
		return nil, err
	}
	page := &pages.Chosen{
		Tool: t.Title, Message: response.Message, Problem: response.ErrorMessage, YAML: text, FileName: t.Name + ".yaml",
		ChooseAgain: routing.ToolChooseURL("", t.Name),
	}
	for _, d := range items {
		item := pages.ChosenItem{Name: d.Name, Title: d.Title, Text: d.Text, Address: d.Address, Unusable: string(d.Unusable)}
		for _, note := range d.Notes {
			item.Notes = append(item.Notes, string(note))
		}
		page.Items = append(page.Items, item)
	}
	return page, nil
}

// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"net/url"
	"slices"
	"strings"

	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/nrps"
	"github.com/lti-operator/lti-operator/internal/pages"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

const (
	version12 = launch.Version12
	version13 = launch.Version13
)

// ProductFamily is what we call ourselves to tools (product_family_code).
const ProductFamily = "lti-operator"

// contextType is what an activity is a context of (LTI Core 1.3 appendix A.1: CourseOffering).
const contextType = "http://purl.imsglobal.org/vocab/lis/v2/course#CourseOffering"

// ClientID of a tool at this platform, and DeploymentID of it: both are derived from the name, so that they survive the
// re-creation of the object.
func ClientID(t *routing.Tool) string { return t.Name }

// DeploymentID of a tool at this platform.
func DeploymentID(t *routing.Tool) string { return t.Name }

// Scopes are what a tool may get access tokens for.
func Scopes(t *routing.Tool) []string {
	var scopes []string
	switch t.AssignmentAndGrade {
	case "", routing.ServiceGradesAndLineItems:
		scopes = append(scopes, ags.ScopeLineItem)
		fallthrough
	case routing.ServiceGrades:
		scopes = append(scopes, ags.ScopeLineItemReadOnly, ags.ScopeResultReadOnly, ags.ScopeScore)
	}
	if t.NamesAndRoles != routing.ServiceDisabled {
		scopes = append(scopes, nrps.Scope)
	}
	return scopes
}

// PersonOf is what a tool may know about a learner.
func PersonOf(l *store.Learner, privacy routing.Privacy) launch.SharedPerson {
	p := launch.Person{Name: l.Name, GivenName: l.GivenName, FamilyName: l.FamilyName, Email: l.Email, Locale: l.Locale}
	if p.Name == "" {
		p.Name = strings.TrimSpace(p.GivenName + " " + p.FamilyName)
	}
	return p.Without(launch.Privacy{WithholdName: privacy.WithholdName, WithholdEmail: privacy.WithholdEmail})
}

// ContextOf is the course that a tool takes an activity for: each activity is one of its own, so that a tool learns of
// nobody who has not opened the activity.
func ContextOf(a *routing.Activity) launch.Context {
	return launch.Context{ID: a.Name, Label: a.Name, Title: a.Title, Types: []string{contextType}}
}

// visitOf is what launches of both versions say.
func visitOf(academy *routing.Academy, a *routing.Activity, l *store.Learner, privacy routing.Privacy) launch.Visit {
	target, back := "window", a.External.ReturnURL
	if a.External.Presentation == routing.PresentationEmbedded {
		target = "iframe"
		if back != "" {
			// The academy would come up in the frame.
			back = routing.ActivityReturnURL(academy.URL, a.Name)
		}
	}
	context := ContextOf(a)
	return launch.Visit{
		Subject: l.ID, Person: PersonOf(l, privacy), Roles: []string{launch.RoleLearner}, Context: &context,
		DocumentTarget: target, ReturnURL: back, Locale: l.Locale,
		Platform: platformOf(academy),
	}
}

// platformOf is what tools are told about us.
func platformOf(academy *routing.Academy) launch.Platform {
	return launch.Platform{GUID: hostOf(academy.URL), Name: academy.Title, URL: academy.URL, Family: ProductFamily}
}

// MessageOf is the launch of an activity at a tool. Nonce is for the caller to set.
func MessageOf(academy *routing.Academy, t *routing.Tool, a *routing.Activity, l *store.Learner) launch.Launch {
	external := a.External.LTI13
	m := launch.Launch{
		Visit: visitOf(academy, a, l, t.Privacy), Issuer: academy.URL, ClientID: ClientID(t), DeploymentID: DeploymentID(t),
		TargetLinkURI: external.ResourceURL,
	}
	m.ResourceLink = launch.ResourceLink{ID: external.ResourceLinkID, Title: a.Title, Description: a.Description}
	m.Parameters = parametersOf(external.Parameters)
	scopes := Scopes(t)
	grades := slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool { return scope == nrps.Scope })
	if len(grades) > 0 {
		m.LineItems = &launch.LineItems{
			Scopes: grades, ContainerURL: routing.ToolLineItemsURL(academy.URL, t.Name, a.Name),
			URL: routing.ToolLineItemURL(academy.URL, t.Name, a.Name, store.ActivityLineItem),
		}
	}
	if slices.Contains(scopes, nrps.Scope) {
		m.MembershipsURL = routing.ToolMembershipsURL(academy.URL, t.Name, a.Name)
	}
	return m
}

// message12 is the launch of an activity by a form.
func (v *visit) message12(a *routing.Activity, l *store.Learner, outcome string) launch.Launch12 {
	external := a.External.LTI12
	m := launch.Launch12{
		Visit:   visitOf(&v.Academy, a, l, external.Privacy),
		Outcome: &launch.Outcome{ServiceURL: routing.ActivityOutcomesURL(v.Academy.URL, a.Name), SourcedID: outcome},
	}
	m.ResourceLink = launch.ResourceLink{ID: external.ResourceLinkID, Title: a.Title, Description: a.Description}
	m.Parameters = parametersOf(external.Parameters)
	return m
}

func parametersOf(in []routing.Parameter) []launch.Parameter {
	out := make([]launch.Parameter, len(in))
	for i, p := range in {
		out[i] = launch.Parameter(p)
	}
	return out
}

// frame is the page that shows a tool in a frame.
func (v *visit) frame(a *routing.Activity) pages.ToolFrame {
	return pages.ToolFrame{
		Title: a.Title, ReturnURL: a.External.ReturnURL, Reload: routing.ActivityStartURL("", a.Name),
		FrameSources: frameSources(v.Academy.URL),
	}
}

// frameSources is what the frame may show: where a tool sends its learners to is its own affair. An academy on a loopback host
// is a trial, where tools are on loopback hosts too.
func frameSources(academyURL string) string {
	if strings.HasPrefix(academyURL, "http://") {
		return "https: http://*.localhost:* http://localhost:* http://127.0.0.1:*"
	}
	return "https:"
}

// toolURLs are the addresses that a tool may answer our frame from.
func toolURLs(t *routing.Tool, a *routing.Activity) []string {
	urls := append([]string{t.LTI13.LoginInitiationURL, a.External.LTI13.ResourceURL}, t.LTI13.RedirectURIs...)
	if t.LTI13.LaunchURL != "" {
		urls = append(urls, t.LTI13.LaunchURL)
	}
	return urls
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

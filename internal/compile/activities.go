// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

func (c *compiler) activities() {
	academy := c.academyVerdict()
	if academy.ok() {
		c.out.Table.Activities = make([]routing.Activity, 0, len(c.in.Activities))
	}
	tools := make(map[string]bool, len(c.in.Tools))
	for _, t := range c.in.Tools {
		tools[t.Name] = true
	}
	claimed := map[resourceLink]string{}
	for _, a := range c.in.Activities {
		r := Result{Generation: a.Generation}
		entry := routing.Activity{
			Name:        a.Name,
			Title:       a.Spec.Title,
			Description: a.Spec.Description,
			Type:        string(a.Spec.Type),
			Generation:  a.Generation,
		}
		if a.Spec.DurationMinutes != nil {
			entry.DurationMinutes = *a.Spec.DurationMinutes
		}
		if a.Spec.MinimumScore != nil {
			entry.MinimumScore = *a.Spec.MinimumScore
		}
		ref := Ref{v1alpha1.KindActivity, a.Name}
		client, enrolment, external := verdict{}, verdict{}, verdict{}
		if a.Spec.Share != nil {
			entry.Share = share(a.Spec.Share)
			entry.Share.ClientID, client = c.client(a.Spec.Share)
			enrolment = c.enrolment(a.Spec.Share)
			if c.url != "" {
				name, _ := a.LTI12SecretName()
				r.LTI12 = &v1alpha1.ActivityLTI12Status{LaunchURL: routing.ActivityLaunchURL(c.url, a.Name), CredentialsSecretName: name}
				r.LTI13 = &v1alpha1.ActivityLTI13Status{ResourceURL: routing.ActivityResourceURL(c.url, a.Name)}
			}
		}
		var theirs *routing.ExternalCredential
		if a.Spec.External != nil {
			entry.External, theirs, external = c.external(a, tools, claimed)
			if c.url != "" {
				r.External = &v1alpha1.ActivityExternalStatus{StartURL: routing.ActivityStartURL(c.url, a.Name)}
			}
		}
		r.apply(academy, c.lti12[ref].verdict, client, enrolment, external)
		if academy.ok() {
			r.Served = true
			c.out.Table.Activities = append(c.out.Table.Activities, entry)
			c.serveCredential(ref)
			if theirs != nil {
				c.out.Table.ExternalCredentials = append(c.out.Table.ExternalCredentials, *theirs)
			}
		}
		c.out.Results[ref] = r
	}
}

// resourceLink is all that tells the activities of a tool apart where it keeps learners' work.
type resourceLink struct{ tool, id string }

// external resolves how an activity that was made elsewhere is opened, and what with. claimed holds the resource links of
// older activities. What is not accepted is served as far as it goes, so that its launches say what is wrong; only one
// that the tool would take for another activity is not opened at all.
func (c *compiler) external(a *v1alpha1.LTIActivity, tools map[string]bool, claimed map[resourceLink]string) (
	*routing.External, *routing.ExternalCredential, verdict,
) {
	in := a.Spec.External
	out := &routing.External{Presentation: string(in.Presentation.Effective()), ReturnURL: text(in.ReturnURL)}
	learners := verdict{}
	if c.in.Academy != nil && c.in.Academy.Spec.Learners == nil {
		learners = refused(v1alpha1.ReasonInvalidSpec, fmt.Sprintf(
			"spec.external: learners sign in to open it, and LTIAcademy %s does not say where; fill in its spec.learners.oidc", c.in.AcademyName))
	}
	switch {
	case in.LTI12 != nil:
		out.LTI12 = &routing.ExternalLTI12{
			LaunchURL: string(in.LTI12.LaunchURL), ResourceLinkID: in.LTI12.ResourceLinkID,
			Parameters: parameters(in.LTI12.Parameters), Privacy: privacy(in.LTI12.Privacy),
		}
		theirs, v := c.externalCredential(a)
		return out, theirs, cmp.Or(v, learners)
	case in.LTI13 != nil:
		link := resourceLink{in.LTI13.ToolRef.Name, a.EffectiveResourceLinkID()}
		out.LTI13 = &routing.ExternalLTI13{
			Tool: link.tool, ResourceURL: string(in.LTI13.ResourceURL), ResourceLinkID: link.id, Parameters: parameters(in.LTI13.Parameters),
		}
		if !tools[link.tool] {
			return out, nil, refused(v1alpha1.ReasonToolNotFound, fmt.Sprintf(
				"spec.external.lti13.toolRef: there is no LTITool %q of this academy", link.tool))
		}
		if first, taken := claimed[link]; taken {
			return nil, nil, refused(v1alpha1.ReasonDuplicateResourceLink, fmt.Sprintf(
				"spec.external.lti13.resourceLinkID: the older LTIActivity %s has the same at LTITool %s (left out, it is the activity's name); "+
					"the tool could not tell them apart", first, link.tool))
		}
		claimed[link] = a.Name
	}
	return out, nil, learners
}

func parameters(in []v1alpha1.LaunchParameter) []routing.Parameter {
	var out []routing.Parameter
	for _, p := range in {
		out = append(out, routing.Parameter{Name: p.Name, Value: p.Value})
	}
	return out
}

// client resolves the application that people are signed in to: the one that is named, or with OpenID Connect the only one
// that can. Where there is none the activity is served, so that its launches say what is wrong; with a name that nothing
// has no application may redeem them.
func (c *compiler) client(in *v1alpha1.ActivityShare) (clientID string, v verdict) {
	if c.in.Academy == nil {
		return in.ClientID, verdict{}
	}
	var can []string
	for i := range c.in.Academy.Spec.Clients {
		client := &c.in.Academy.Spec.Clients[i]
		signsIn := client.InitiateLoginURI != nil
		if client.ClientID == in.ClientID && (signsIn || in.SignIn != v1alpha1.SignInOpenIDConnect) {
			return in.ClientID, verdict{}
		}
		if signsIn {
			can = append(can, client.ClientID)
		}
	}
	switch {
	case in.ClientID != "" && in.SignIn == v1alpha1.SignInOpenIDConnect:
		return in.ClientID, refused(v1alpha1.ReasonClientNotFound, fmt.Sprintf(
			"spec.share.clientID: LTIAcademy %s has no client %q with an initiateLoginURI", c.in.AcademyName, in.ClientID))
	case in.ClientID != "":
		return in.ClientID, refused(v1alpha1.ReasonClientNotFound, fmt.Sprintf(
			"spec.share.clientID: LTIAcademy %s has no client %q", c.in.AcademyName, in.ClientID))
	case in.SignIn != v1alpha1.SignInOpenIDConnect:
		return "", verdict{}
	case len(can) == 0:
		return "", refused(v1alpha1.ReasonClientNotFound, fmt.Sprintf(
			"spec.share.signIn: OpenIDConnect needs a client with initiateLoginURI and redirectURIs in spec.clients of LTIAcademy %s", c.in.AcademyName))
	case len(can) > 1:
		return "", refused(v1alpha1.ReasonClientNotFound, fmt.Sprintf(
			"spec.share.clientID: LTIAcademy %s has several clients with an initiateLoginURI; name one of them", c.in.AcademyName))
	}
	return can[0], verdict{}
}

// enrolment checks that there is a directory to enrol people in.
func (c *compiler) enrolment(in *v1alpha1.ActivityShare) verdict {
	if in.Enrolment == nil || c.in.Academy == nil || c.in.Academy.Spec.Provisioning != nil {
		return verdict{}
	}
	return refused(v1alpha1.ReasonInvalidSpec, fmt.Sprintf(
		"spec.share.enrolment: LTIAcademy %s has no provisioning.scim to enrol people in", c.in.AcademyName))
}

func share(in *v1alpha1.ActivityShare) *routing.Share {
	out := &routing.Share{TargetURL: string(in.TargetURL), Presentation: string(in.Presentation.Effective())}
	// What is left out stays so: tables of before these fields were there stay as they were.
	if in.Enrolment != nil {
		out.EnrolmentGroup = in.Enrolment.Group
	}
	if in.SignIn != v1alpha1.SignInLaunchCode {
		out.SignIn = string(in.SignIn)
	}
	if g := in.EffectiveGrade(); g != v1alpha1.GradeCompletion {
		out.Grade = string(g)
	}
	if l := in.EffectiveLineItem(); l != v1alpha1.LineItemCreateIfMissing {
		out.LineItem = string(l)
	}
	if in.Platforms != nil {
		out.PlatformLabels = in.Platforms.MatchLabels
	}
	return out
}

// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

func (c *compiler) activities() {
	academy := c.academyVerdict()
	if academy.ok() {
		c.out.Table.Activities = make([]routing.Activity, 0, len(c.in.Activities))
	}
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
		ref := Ref{v1alpha1.KindActivity, a.Name}
		if a.Spec.Share != nil {
			entry.Share = share(a.Spec.Share)
			if c.url != "" {
				name, _ := a.LTI12SecretName()
				r.LTI12 = &v1alpha1.ActivityLTI12Status{LaunchURL: routing.ActivityLaunchURL(c.url, a.Name), CredentialsSecretName: name}
				r.LTI13 = &v1alpha1.ActivityLTI13Status{ResourceURL: routing.ActivityResourceURL(c.url, a.Name)}
			}
		}
		r.apply(academy, c.lti12[ref].verdict)
		if academy.ok() {
			r.Served = true
			c.out.Table.Activities = append(c.out.Table.Activities, entry)
			c.serveCredential(ref)
		}
		c.out.Results[ref] = r
	}
}

func share(in *v1alpha1.ActivityShare) *routing.Share {
	out := &routing.Share{TargetURL: string(in.TargetURL), Presentation: string(in.EffectivePresentation())}
	// What is left out stays so: tables of before these fields were there stay as they were.
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

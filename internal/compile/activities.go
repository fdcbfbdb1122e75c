// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

func (c *compiler) activities() {
	academy := c.academyVerdict()
	claimed := map[string]string{}
	for _, a := range byAge(c.in.Activities) {
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
		credential, verdict12 := c.credential(a, claimed)
		if a.Spec.Share != nil {
			entry.Share = share(a.Spec.Share)
			if c.url != "" {
				name, _ := a.LTI12SecretName()
				r.LTI12 = &v1alpha1.ActivityLTI12Status{LaunchURL: routing.ActivityLaunchURL(c.url, a.Name), CredentialsSecretName: name}
				r.LTI13 = &v1alpha1.ActivityLTI13Status{ResourceURL: routing.ActivityResourceURL(c.url, a.Name)}
			}
		}
		r.apply(academy, verdict12)
		if academy.ok() {
			r.Served = true
			c.out.Table.Activities = append(c.out.Table.Activities, entry)
			if credential != nil {
				// A broken credential closes LTI 1.2 only.
				c.out.Table.Credentials = append(c.out.Table.Credentials, *credential)
			}
		}
		c.out.Results[Ref{v1alpha1.KindActivity, a.Name}] = r
	}
}

func share(in *v1alpha1.ActivityShare) *routing.Share {
	out := &routing.Share{TargetURL: string(in.TargetURL), Presentation: string(in.EffectivePresentation())}
	if in.Platforms != nil {
		out.PlatformLabels = in.Platforms.MatchLabels
	}
	return out
}

// credential resolves the consumer key and secret of an activity. claimed holds the consumer keys of older activities.
func (c *compiler) credential(a *v1alpha1.LTIActivity, claimed map[string]string) (*routing.Credential, verdict) {
	if a.Spec.Share == nil {
		return nil, verdict{}
	}
	const field = "spec.share.lti12.credentialsSecretRef"
	name, generated := a.LTI12SecretName()
	if generated && c.in.Secrets[name] == nil {
		return nil, pending(fmt.Sprintf("the LTI 1.2 credentials (Secret %s) are being made", name))
	}
	data, v := c.secretData(field, name, v1alpha1.SecretKeyConsumerKey, v1alpha1.SecretKeySharedSecret)
	if !v.ok() {
		return nil, v
	}
	if first, taken := claimed[data[0]]; taken {
		return nil, refused(v1alpha1.ReasonDuplicateConsumerKey, fmt.Sprintf(
			"%s: the consumer key in Secret %s is already used by the older LTIActivity %s; consumer keys are unique in an academy", field, name, first))
	}
	claimed[data[0]] = a.Name
	return &routing.Credential{Activity: a.Name, ConsumerKey: data[0], Secrets: []string{data[1]}}, verdict{}
}

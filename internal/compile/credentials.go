// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// credential is what became of the LTI 1.2 credentials of one resource; neither field is set for a resource without.
type credential struct {
	resolved *routing.Credential
	verdict  verdict
}

// holder is a resource with LTI 1.2 credentials.
type holder struct {
	ref        Ref
	field      string
	secretName string
	generated  bool
	credential routing.Credential
	verdict    verdict
}

// credentials resolves the LTI 1.2 credentials of platforms and activities together: a consumer key is all that a
// launch says about who sent it, so it is unique among all of them, and of two equal ones the older resource's counts.
func (c *compiler) credentials() map[Ref]credential {
	platforms := make(map[string]*v1alpha1.LTIPlatform, len(c.in.Platforms))
	for _, p := range c.in.Platforms {
		platforms[p.Name] = p
	}
	out := make(map[Ref]credential, len(c.in.Platforms)+len(c.in.Activities))
	claimed := make(map[string]Ref, len(c.in.Platforms)+len(c.in.Activities))
	resolve := func(h holder) { out[h.ref] = c.resolve(h, claimed) }
	// Both lists are ordered by age; of a platform and an activity of the same age and name the platform comes first.
	rest := c.in.Platforms
	for _, a := range c.in.Activities {
		for len(rest) > 0 && !older(a, rest[0]) {
			if rest[0].Spec.LTI12 != nil {
				resolve(platformHolder(rest[0]))
			}
			rest = rest[1:]
		}
		if a.Spec.Share != nil {
			resolve(activityHolder(a, platforms))
		}
	}
	for _, p := range rest {
		if p.Spec.LTI12 != nil {
			resolve(platformHolder(p))
		}
	}
	return out
}

func platformHolder(p *v1alpha1.LTIPlatform) holder {
	name, generated := p.LTI12SecretName()
	return holder{
		ref: Ref{v1alpha1.KindPlatform, p.Name}, field: "spec.lti12.credentialsSecretRef", secretName: name, generated: generated,
		credential: routing.Credential{
			Platform: p.Name, Realm: formRealm(p), AcceptRoles: p.Spec.LTI12.Roles == v1alpha1.LTI12RolesAccept,
			SignatureMethods: signatureMethods(p.Spec.LTI12.SignatureMethods),
		},
	}
}

func activityHolder(a *v1alpha1.LTIActivity, platforms map[string]*v1alpha1.LTIPlatform) holder {
	name, generated := a.LTI12SecretName()
	h := holder{
		ref: Ref{v1alpha1.KindActivity, a.Name}, field: "spec.share.lti12.credentialsSecretRef", secretName: name, generated: generated,
		credential: routing.Credential{Activity: a.Name},
	}
	var roles v1alpha1.LTI12Roles
	var methods []v1alpha1.SignatureMethod
	if settings := a.Spec.Share.LTI12; settings != nil {
		roles = settings.Roles
		methods = settings.SignatureMethods
		if settings.PlatformRef != nil {
			p := platforms[settings.PlatformRef.Name]
			if p == nil {
				h.verdict = refused(v1alpha1.ReasonPlatformNotFound, fmt.Sprintf(
					"spec.share.lti12.platformRef: there is no LTIPlatform %q of this academy", settings.PlatformRef.Name))
				return h
			}
			h.credential.Platform, h.credential.Realm = p.Name, formRealm(p)
			if p.Spec.LTI12 != nil {
				roles = cmp.Or(roles, p.Spec.LTI12.Roles)
				if methods == nil {
					methods = p.Spec.LTI12.SignatureMethods
				}
			}
		}
	}
	h.credential.SignatureMethods = signatureMethods(methods)
	h.credential.AcceptRoles = roles == v1alpha1.LTI12RolesAccept
	return h
}

func signatureMethods(in []v1alpha1.SignatureMethod) []string {
	var out []string
	for _, method := range in {
		out = append(out, string(method))
	}
	slices.Sort(out)
	return out
}

// formRealm is the realm of the people that a platform's form launches bring. No realm of LTI 1.3 has a slash in it.
func formRealm(p *v1alpha1.LTIPlatform) string {
	if p.Spec.LTI12 != nil && p.Spec.LTI12.Realm == v1alpha1.LTI12RealmShared {
		return p.EffectiveRealm()
	}
	return p.EffectiveRealm() + "/lti12"
}

// resolve reads the consumer key and secret of a resource. claimed holds the consumer keys of older ones.
func (c *compiler) resolve(h holder, claimed map[string]Ref) credential {
	if h.generated && c.in.Secrets[h.secretName] == nil {
		return credential{verdict: pending(h.secretName, fmt.Sprintf("the LTI 1.2 credentials (Secret %s) are being made", h.secretName))}
	}
	data, v := c.secretData(h.field, h.secretName, v1alpha1.SecretKeyConsumerKey, v1alpha1.SecretKeySharedSecret)
	if !v.ok() {
		return credential{verdict: v}
	}
	if first, taken := claimed[data[0]]; taken {
		return credential{verdict: refused(v1alpha1.ReasonDuplicateConsumerKey, fmt.Sprintf(
			"%s: the consumer key in Secret %s is already used by the older %s %s; consumer keys are unique in an academy",
			h.field, h.secretName, first.Kind, first.Name))}
	}
	claimed[data[0]] = h.ref
	if !h.verdict.ok() {
		return credential{verdict: h.verdict}
	}
	resolved := h.credential
	resolved.ConsumerKey, resolved.Secrets = data[0], c.withPrevious(h.secretName, data[1])
	return credential{resolved: &resolved}
}

// withPrevious returns a shared secret, and the one that is accepted besides while it changes, if there is one that can be
// used.
func (c *compiler) withPrevious(secretName, current string) []string {
	previous := bytes.TrimSpace(c.in.Secrets[secretName].Data[v1alpha1.SecretKeyPreviousSharedSecret])
	if len(previous) == 0 || !utf8.Valid(previous) || string(previous) == current {
		return []string{current}
	}
	return []string{current, string(previous)}
}

// externalCredential reads the consumer key and secret that another system gave us for an activity. One key may be for
// several activities: what comes back names the activity.
func (c *compiler) externalCredential(a *v1alpha1.LTIActivity) (*routing.ExternalCredential, verdict) {
	name := a.ExternalSecretName()
	data, v := c.secretData("spec.external.lti12.credentialsSecretRef", name, v1alpha1.SecretKeyConsumerKey, v1alpha1.SecretKeySharedSecret)
	if !v.ok() {
		return nil, v
	}
	return &routing.ExternalCredential{Activity: a.Name, ConsumerKey: data[0], Secrets: c.withPrevious(name, data[1])}, verdict{}
}

// serveCredential adds the credential of a resource to the table. A broken one closes LTI 1.2 only.
func (c *compiler) serveCredential(ref Ref) {
	if r := c.lti12[ref].resolved; r != nil {
		c.out.Table.Credentials = append(c.out.Table.Credentials, *r)
	}
}

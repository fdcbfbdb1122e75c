// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// SigningKeySecretName is the generated Secret with the signing key of a platform's or tool's registration, or of an
// academy's OpenID Provider.
func SigningKeySecretName(kind, name string) string {
	switch kind {
	case v1alpha1.KindTool:
		return name + "-tool-key"
	case v1alpha1.KindAcademy:
		return name + "-oidc-key"
	}
	return name + "-platform-key"
}

// registrationKeys are the keys of one registration as they stand in its Secret.
type registrationKeys struct {
	described    []v1alpha1.SigningKey
	nextRotation *metav1.Time
	public       []routing.JWK
	verdict      verdict
	signing      *routing.SigningKey
	revoked      *routing.RevokedKey
}

// signingKeys reads the keys of a registration. A Secret of the user is taken as it stands: it may hold next and previous
// keys in the same way as a generated one.
func (c *compiler) signingKeys(kind, name, secretName string, generated bool) registrationKeys {
	if !generated {
		if _, v := c.secretData("spec.signingKeySecretRef", secretName, v1alpha1.SecretKeyPrivateKey); !v.ok() {
			return registrationKeys{verdict: v}
		}
	}
	secret := c.in.Secrets[secretName]
	if secret == nil {
		return registrationKeys{verdict: pending(secretName, fmt.Sprintf("the signing key (Secret %s) is being made", secretName))}
	}
	decoded := c.in.Memo.signingRing(secret)
	ring := decoded.ring
	if decoded.err != nil {
		field := ""
		if !generated {
			field = "spec.signingKeySecretRef: "
		}
		return registrationKeys{verdict: refused(v1alpha1.ReasonSecretInvalid, fmt.Sprintf("%sSecret %s, key %v", field, secretName, decoded.err))}
	}
	policy := RegistrationKeyPolicy(c.in.Academy)
	if !generated {
		policy.Every = 0
	}
	out := registrationKeys{described: describeRing(&ring, secretName), nextRotation: timestamp(ring.NextRotation(policy))}
	ring.Published(func(_ keys.State, key *keys.Key) { out.public = append(out.public, key.Public) })
	if decoded.signingErr == nil {
		out.signing = &routing.SigningKey{
			Kind: registrationKind(kind), Name: name, KeyID: ring.Signing.ID, PrivateKeyPEM: string(decoded.signing),
		}
	} else {
		out.verdict = refused(v1alpha1.ReasonSecretInvalid, fmt.Sprintf("Secret %s, key %s: %v", secretName, v1alpha1.SecretKeyPrivateKey, decoded.signingErr))
	}
	if ring.Revoked != "" {
		out.revoked = &routing.RevokedKey{Kind: registrationKind(kind), Name: name, KeyID: ring.Revoked}
	}
	return out
}

// serveKeys adds the private key of a registration to the table.
func (c *compiler) serveKeys(k registrationKeys) {
	if k.signing != nil {
		c.out.Table.SigningKeys = append(c.out.Table.SigningKeys, *k.signing)
	}
	if k.revoked != nil {
		c.out.Table.Revoked = append(c.out.Table.Revoked, *k.revoked)
	}
}

func registrationKind(kind string) string {
	switch kind {
	case v1alpha1.KindTool:
		return routing.KindTool
	case v1alpha1.KindAcademy:
		return routing.KindAcademy
	}
	return routing.KindPlatform
}

// describeRing is what status says of keys, newest first.
func describeRing(ring *keys.Ring, secretName string) []v1alpha1.SigningKey {
	var out []v1alpha1.SigningKey
	ring.Published(func(state keys.State, key *keys.Key) {
		out = append(out, v1alpha1.SigningKey{
			KeyID: key.ID, CreatedAt: metav1.NewTime(key.CreatedAt), SecretName: secretName, State: v1alpha1.KeyState(state),
			SignsFrom: timestamp(key.SignsFrom), PublishedUntil: timestamp(key.PublishedUntil),
		})
	})
	return out
}

func timestamp(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return new(metav1.NewTime(t))
}

// RegistrationKeyPolicy says when the signing keys of an academy's registrations are rotated; the academy may be nil.
func RegistrationKeyPolicy(academy *v1alpha1.LTIAcademy) keys.Policy {
	var spec *v1alpha1.KeyPolicy
	if academy != nil {
		spec = academy.Spec.Keys
	}
	rotation, every, overlap := spec.Effective()
	policy := keys.Policy{Ahead: keys.PublishAhead, Overlap: days(overlap)}
	if rotation == v1alpha1.KeyRotationAutomatic {
		policy.Every = days(every)
	}
	return policy
}

// AcademyKeyPolicy says when the academy's own keys are rotated. Nobody caches them: they wait for the launch handlers
// only, and what was made with the old ones expires soon.
func AcademyKeyPolicy(academy *v1alpha1.LTIAcademy) keys.Policy {
	policy := RegistrationKeyPolicy(academy)
	policy.Ahead, policy.Overlap = 0, keys.AcademyOverlap
	return policy
}

func days(n int32) time.Duration { return time.Duration(n) * 24 * time.Hour }

func (c *compiler) platforms() {
	type registration struct{ issuer, clientID string }
	claimed := map[registration]string{}
	academy := c.academyVerdict()
	for _, p := range c.in.Platforms {
		ref := Ref{v1alpha1.KindPlatform, p.Name}
		r := Result{
			Generation: p.Generation, Deactivated: !p.Spec.Activation.Active(),
			// A form launch needs no value of the other party.
			Registered: p.Spec.LTI13 != nil || p.Spec.LTI12 != nil,
		}
		if c.url != "" {
			r.PlatformDetails = platformDetails(c.in.Academy, p.Name)
			if p.Spec.LTI12 != nil {
				name, _ := p.LTI12SecretName()
				r.PlatformLTI12 = &v1alpha1.PlatformLTI12Status{CredentialsSecretName: name}
			}
		}
		lti13, duplicate, field := platformLTI13(p), verdict{}, "spec.lti13"
		self := c.dynamic(v1alpha1.KindPlatform, p.Name, p.Dynamic())
		registered := self.platform()
		if registered != nil {
			lti13, field = &registered.PlatformLTI13, approvedField
		}
		if lti13 != nil {
			id := registration{lti13.Issuer, lti13.ClientID}
			if first, taken := claimed[id]; taken {
				// Only the registration is in doubt: what was handed out for it, and its key, stay served.
				lti13 = nil
				duplicate = refused(v1alpha1.ReasonDuplicateRegistration, fmt.Sprintf(
					"%s: the older LTIPlatform %s has the same issuer and clientID; a launch could not tell them apart", field, first))
			} else {
				claimed[id] = p.Name
			}
		}
		inline := verdict{}
		if p.Spec.LTI13 != nil {
			inline = checkInlineJWKS(p.Spec.LTI13.JWKS)
		}
		if !inline.ok() {
			lti13 = nil
		}
		secretName, generated := p.SigningKeySecretName()
		own := c.signingKeys(v1alpha1.KindPlatform, p.Name, secretName, generated)
		r.Keys, r.NextRotation = own.described, own.nextRotation
		r.apply(academy, self.verdict, duplicate, inline, own.verdict, c.lti12[ref].verdict, self.linkVerdict)
		r.PlatformRegistration = self.platformRegistration(p.Dynamic())
		self.report(&r, lti13 != nil, duplicate)
		if academy.ok() {
			r.Served = true
			entry := routing.Platform{
				Name:           p.Name,
				Title:          p.Spec.Title,
				Active:         p.Spec.Activation.Active(),
				Generation:     p.Generation,
				Labels:         p.Labels,
				Realm:          p.EffectiveRealm(),
				Users:          users(c.in.Academy.Spec.Users),
				LTI13:          lti13,
				AnyDeployment:  p.EffectiveDeploymentPolicy() == v1alpha1.DeploymentsAny,
				Deployments:    platformDeployments(p, registered),
				FrameAncestors: p.Spec.FrameAncestors,
				PublicKeys:     own.public,
				Registration:   self.link,
			}
			if u := p.Spec.Users; u != nil {
				entry.PreviousIssuers = u.PreviousIssuers
				if u.LinkByEmail != "" {
					entry.Users = users(&u.UserLinking)
				}
			}
			c.out.Table.Platforms = append(c.out.Table.Platforms, entry)
			c.serveKeys(own)
			c.serveCredential(ref)
		}
		c.out.Results[ref] = r
	}
}

// users resolves which email addresses a system is believed about: none when left out.
func users(in *v1alpha1.UserLinking) routing.Users {
	switch {
	case in == nil:
	case in.LinkByEmail == v1alpha1.LinkByEmailAlways:
		return routing.Users{AnyEmail: true}
	case in.LinkByEmail == v1alpha1.LinkByEmailTrustedDomains:
		return routing.Users{EmailDomains: in.TrustedEmailDomains}
	}
	return routing.Users{}
}

func platformDetails(academy *v1alpha1.LTIAcademy, name string) *v1alpha1.PlatformDetails {
	academyURL := academy.Spec.URL
	details := &v1alpha1.PlatformDetails{
		LoginInitiationURL: routing.PlatformLoginURL(academyURL, name),
		RedirectURI:        routing.PlatformLaunchURL(academyURL, name),
		TargetLinkURI:      routing.PlatformLaunchURL(academyURL, name),
		DeepLinkingURL:     routing.PlatformLaunchURL(academyURL, name),
		JWKSURL:            routing.PlatformJWKSURL(academyURL, name),
	}
	for _, alias := range academy.Spec.Aliases {
		details.AliasRedirectURIs = append(details.AliasRedirectURIs, routing.PlatformLaunchURL(alias, name))
	}
	if u, err := url.Parse(academyURL); err == nil {
		details.Domain = u.Hostname()
	}
	return details
}

func platformLTI13(p *v1alpha1.LTIPlatform) *routing.PlatformLTI13 {
	in := p.Spec.LTI13
	if in == nil {
		return nil
	}
	out := &routing.PlatformLTI13{
		Issuer:            string(in.Issuer),
		ClientID:          in.ClientID,
		AuthenticationURL: string(in.AuthenticationURL),
		JWKSURL:           text(in.JWKSURL),
		JWKS:              text(in.JWKS),
	}
	if in.AccessTokenURL != nil {
		out.AccessTokenURL, out.AccessTokenAudience = string(*in.AccessTokenURL), in.AccessTokenAudience
	}
	return out
}

// platformDeployments are the listed deployments, and that of the approved registration unless it is among them.
func platformDeployments(p *v1alpha1.LTIPlatform, registered *routing.RegisteredPlatform) []routing.Deployment {
	if p.EffectiveDeploymentPolicy() == v1alpha1.DeploymentsAny {
		return nil
	}
	var out []routing.Deployment
	for _, d := range p.Spec.Deployments.List {
		out = append(out, routing.Deployment{ID: d.ID, Title: d.Title, Active: d.Activation.Active()})
	}
	isRegistered := func(d routing.Deployment) bool { return d.ID == registered.DeploymentID }
	if registered != nil && registered.DeploymentID != "" && !slices.ContainsFunc(out, isRegistered) {
		out = append(out, routing.Deployment{ID: registered.DeploymentID, Active: true})
	}
	return out
}

// checkInlineJWKS catches what is pasted wrongly; whether a key fits a signature is the handler's business.
func checkInlineJWKS(jwks *string) verdict {
	if jwks == nil {
		return verdict{}
	}
	if bad := badInlineJWKS(*jwks); bad != "" {
		return refused(v1alpha1.ReasonInvalidSpec, "spec.lti13.jwks: "+bad)
	}
	return verdict{}
}

func badInlineJWKS(jwks string) string {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal([]byte(jwks), &set); err != nil {
		// The cause speaks of Go types, and may quote what was pasted.
		return `not a JSON Web Key Set: it must be a JSON object such as {"keys": [...]}`
	}
	if len(set.Keys) == 0 {
		return `the keyset has no member "keys" with at least one key`
	}
	return ""
}

// ToolClientID and ToolDeploymentID are what a tool is told. They are made from the object's name, so that they survive
// its re-creation.
func ToolClientID(tool string) string { return tool }

// ToolDeploymentID is the one deployment of a tool at this platform.
func ToolDeploymentID(tool string) string { return tool }

func (c *compiler) tools() {
	academy := c.academyVerdict()
	for _, t := range c.in.Tools {
		r := Result{Generation: t.Generation, Deactivated: !t.Spec.Activation.Active(), Registered: t.Spec.LTI13 != nil}
		if c.url != "" {
			r.ToolDetails = &v1alpha1.ToolDetails{
				PlatformID:        c.url,
				ClientID:          ToolClientID(t.Name),
				DeploymentID:      ToolDeploymentID(t.Name),
				AuthenticationURL: routing.ToolAuthenticationURL(c.url, t.Name),
				AccessTokenURL:    routing.ToolTokenURL(c.url, t.Name),
				JWKSURL:           routing.ToolJWKSURL(c.url, t.Name),
			}
			if t.EffectiveDeepLinking() == v1alpha1.DeepLinkingEnabled {
				r.ToolDetails.ChooseURL = routing.ToolChooseURL(c.url, t.Name)
			}
		}
		secretName, generated := t.SigningKeySecretName()
		own := c.signingKeys(v1alpha1.KindTool, t.Name, secretName, generated)
		r.Keys, r.NextRotation = own.described, own.nextRotation
		lti13, inline := toolLTI13(t)
		self := c.dynamic(v1alpha1.KindTool, t.Name, t.Dynamic())
		if registered := self.tool(); registered != nil {
			lti13 = &registered.ToolLTI13
		}
		r.apply(academy, self.verdict, inline, own.verdict, self.linkVerdict)
		r.ToolRegistration = self.toolRegistration(t.Dynamic())
		self.report(&r, lti13 != nil, verdict{})
		if academy.ok() {
			r.Served = true
			entry := routing.Tool{
				Name: t.Name, Title: t.Spec.Title, Active: t.Spec.Activation.Active(), Generation: t.Generation, PublicKeys: own.public,
				LTI13: lti13, Privacy: privacy(t.Spec.Privacy), Registration: self.link,
			}
			// What is left out stays so: tables of before these fields were there stay as they were.
			if s := t.EffectiveAssignmentAndGrade(); s != v1alpha1.AssignmentAndGradeGradesAndLineItems {
				entry.AssignmentAndGrade = string(s)
			}
			if s := t.EffectiveNamesAndRoles(); s != v1alpha1.NamesAndRolesEnabled {
				entry.NamesAndRoles = string(s)
			}
			if s := t.EffectiveDeepLinking(); s != v1alpha1.DeepLinkingEnabled {
				entry.DeepLinking = string(s)
			}
			c.out.Table.Tools = append(c.out.Table.Tools, entry)
			c.serveKeys(own)
		}
		c.out.Results[Ref{v1alpha1.KindTool, t.Name}] = r
	}
}

// toolLTI13 is the registration of a tool; nil until it is filled in, and when its keyset cannot be one.
func toolLTI13(t *v1alpha1.LTITool) (*routing.ToolLTI13, verdict) {
	in := t.Spec.LTI13
	if in == nil {
		return nil, verdict{}
	}
	if v := checkInlineJWKS(in.JWKS); !v.ok() {
		return nil, v
	}
	out := &routing.ToolLTI13{
		LoginInitiationURL: string(in.LoginInitiationURL), JWKSURL: text(in.JWKSURL), JWKS: text(in.JWKS), LaunchURL: text(in.LaunchURL),
		DeepLinkingURL: text(in.DeepLinkingURL),
	}
	for _, uri := range in.RedirectURIs {
		out.RedirectURIs = append(out.RedirectURIs, string(uri))
	}
	return out, verdict{}
}

// text is a value that may be left out; empty when it is.
func text[T ~string](in *T) string {
	if in == nil {
		return ""
	}
	return string(*in)
}

func privacy(in *v1alpha1.LearnerPrivacy) routing.Privacy {
	return routing.Privacy{WithholdName: !in.SharesName(), WithholdEmail: !in.SharesEmail()}
}

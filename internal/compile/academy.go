// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/scim2/filter-parser/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// AcademySecretName is the Secret with the academy's own keys.
func AcademySecretName(academy string) string { return academy + "-academy-keys" }

func (c *compiler) academy() {
	a := c.in.Academy
	if a == nil {
		return
	}
	r := Result{Generation: a.Generation, Deactivated: !a.Spec.Activation.Active()}
	defer func() { c.out.Results[Ref{v1alpha1.KindAcademy, a.Name}] = r }()

	if v := c.urlConflict(a); !v.ok() {
		r.apply(v)
		return
	}
	c.url = a.Spec.URL
	academyKeys, v := c.academyKeys(&r)
	if !v.ok() {
		r.apply(v)
		return
	}
	clients, clientsVerdict := c.clients(a)
	academyKeys.Clients = clients
	own := registrationKeys{}
	if a.SignsIn() {
		own = c.signingKeys(v1alpha1.KindAcademy, a.Name, SigningKeySecretName(v1alpha1.KindAcademy, a.Name), true)
		r.Keys = append(r.Keys, own.described...)
		r.NextRotation = earlier(r.NextRotation, own.nextRotation)
	}
	scim, directory := c.directory(a, academyKeys)
	learners, signIn := c.learners(a, academyKeys)
	webhook, signing := c.webhook(a, academyKeys)
	r.apply(clientsVerdict, directory, signIn, signing, own.verdict)
	r.Served = true
	table := &routing.Table{
		Academy: routing.Academy{
			Name:           a.Name,
			Title:          a.Spec.Title,
			URL:            a.Spec.URL,
			Aliases:        a.Spec.Aliases,
			Users:          users(a.Spec.Users),
			Active:         a.Spec.Activation.Active(),
			Generation:     a.Generation,
			FrameAncestors: defaultFrameAncestors(a.Spec.URL),
			PublicKeys:     own.public,
			SCIM:           scim,
			Learners:       learners,
			ResultsWebhook: webhook,
			Authors:        authors(a.Spec.Authors),
		},
		AcademyKeys: *academyKeys,
		Revoked:     c.revoked,
	}
	if n := a.Spec.Network; n != nil {
		table.Academy.AllowPrivateCIDRs = n.AllowPrivateCIDRs
	}
	c.out.Table = table
	c.serveKeys(own)
}

// earlier returns the earlier of two times, of which either may not be known.
func earlier(a, b *metav1.Time) *metav1.Time {
	if a == nil || b != nil && b.Before(a) {
		return b
	}
	return a
}

func (c *compiler) urlConflict(a *v1alpha1.LTIAcademy) verdict {
	mine := addresses(a)
	// The oldest one is named, whatever the order of the list: a message that alternates would be written to status again
	// and again.
	for _, other := range byAge(c.in.OtherAcademies) {
		if !older(other, a) {
			continue
		}
		for _, address := range slices.Sorted(maps.Keys(addresses(other))) {
			if field, shared := mine[address]; shared {
				return refused(v1alpha1.ReasonURLConflict, fmt.Sprintf(
					"%s: the older LTIAcademy %s/%s has the same address; give each academy addresses of its own", field, other.Namespace, other.Name))
			}
		}
	}
	return verdict{}
}

// addresses maps each public address of an academy, in lower case, to the field that it stands in.
func addresses(a *v1alpha1.LTIAcademy) map[string]string {
	out := map[string]string{}
	for _, alias := range a.Spec.Aliases {
		out[strings.ToLower(alias)] = "spec.aliases"
	}
	out[strings.ToLower(a.Spec.URL)] = "spec.url"
	return out
}

// academyKeys reads the academy's own keys, and describes them in its result.
func (c *compiler) academyKeys(r *Result) (*routing.AcademyKeys, verdict) {
	name := AcademySecretName(c.in.AcademyName)
	secret := c.in.Secrets[name]
	if secret == nil {
		return nil, pending(name, fmt.Sprintf("the keys of the academy (Secret %s) are being made", name))
	}
	ring, err := keys.AcademyKeys.Decode(secret.Data, secret.CreationTimestamp.Time)
	if err != nil {
		return nil, refused(v1alpha1.ReasonSecretInvalid, fmt.Sprintf("Secret %s: %v", name, err))
	}
	r.Keys, r.NextRotation = describeRing(&ring, name), timestamp(ring.NextRotation(AcademyKeyPolicy(c.in.Academy)))
	if ring.Revoked != "" {
		c.revoked = append(c.revoked, routing.RevokedKey{KeyID: ring.Revoked})
	}
	k := ring.Academy()
	token := sha256.Sum256([]byte(k.ControlToken))
	out := &routing.AcademyKeys{
		StateKeys: [][]byte{k.StateKey},
		Control: routing.Control{
			CertificatePEM: string(k.ControlCertificatePEM),
			PrivateKeyPEM:  string(k.ControlPrivateKeyPEM),
			TokenSHA256:    token[:],
		},
	}
	for _, other := range k.Others {
		out.StateKeys = append(out.StateKeys, other.StateKey)
		sum := sha256.Sum256([]byte(other.ControlToken))
		out.Control.FurtherTokensSHA256 = append(out.Control.FurtherTokensSHA256, sum[:])
	}
	return out, verdict{}
}

// directory resolves where the accounts of the academy are. One whose token is missing is served all the same: launches
// that need it are refused, instead of making accounts here that the academy does not know.
func (c *compiler) directory(a *v1alpha1.LTIAcademy, academyKeys *routing.AcademyKeys) (*routing.SCIM, verdict) {
	if a.Spec.Provisioning == nil {
		return nil, verdict{}
	}
	in := a.Spec.Provisioning.SCIM
	out := &routing.SCIM{URL: strings.TrimRight(string(in.URL), "/"), LinkFilter: in.LinkFilter}
	const field = "spec.provisioning.scim."
	data, v := c.secretData(field+"tokenSecretRef", in.TokenSecretRef.Name, v1alpha1.SecretKeyToken)
	if v.ok() {
		academyKeys.SCIMToken = data[0]
	}
	if _, err := filter.ParseFilter([]byte(in.LinkFilter)); in.LinkFilter != "" && err != nil {
		return out, refused(v1alpha1.ReasonInvalidSpec, field+"linkFilter: not a filter of SCIM (RFC 7644 section 3.4.2.2)")
	}
	return out, v
}

// learners resolves how the academy's own learners sign in; without the secret they cannot.
func (c *compiler) learners(a *v1alpha1.LTIAcademy, academyKeys *routing.AcademyKeys) (*routing.Learners, verdict) {
	if a.Spec.Learners == nil {
		return nil, verdict{}
	}
	in := a.Spec.Learners.OIDC
	data, v := c.secretData("spec.learners.oidc.clientSecretRef", in.ClientSecretRef.Name, v1alpha1.SecretKeyClientSecret)
	if !v.ok() {
		return nil, v
	}
	academyKeys.LearnersSecret = data[0]
	return &routing.Learners{IssuerURL: string(in.IssuerURL), ClientID: in.ClientID, SubjectClaim: in.SubjectClaim}, verdict{}
}

// authors says who may choose activities at tools; nil for nobody.
func authors(in *v1alpha1.AcademyAuthors) *routing.Authors {
	if in == nil {
		return nil
	}
	return &routing.Authors{Claim: in.Claim, Values: in.Values}
}

// webhook resolves where results of external activities are sent to. One whose secret is missing is served all the same:
// results wait for it, instead of passing for what nobody wants.
func (c *compiler) webhook(a *v1alpha1.LTIAcademy, academyKeys *routing.AcademyKeys) (string, verdict) {
	if a.Spec.Results == nil {
		return "", verdict{}
	}
	const field = "spec.results.webhook.signingSecretRef"
	in := a.Spec.Results.Webhook
	name := in.SigningSecretRef.Name
	data, v := c.secretData(field, name, v1alpha1.SecretKeySigningSecret)
	if !v.ok() {
		return string(in.URL), v
	}
	bad := func(key string) verdict {
		return refused(v1alpha1.ReasonSecretInvalid, fmt.Sprintf(
			"%s: the value of %s in Secret %s must be %s and the base64 of %d to %d random bytes (Standard Webhooks)",
			field, key, name, webhookSecretPrefix, minWebhookSecret, maxWebhookSecret))
	}
	if !isWebhookSecret(data[0]) {
		return string(in.URL), bad(v1alpha1.SecretKeySigningSecret)
	}
	academyKeys.WebhookSecrets = data
	previous := strings.TrimSpace(string(c.in.Secrets[name].Data[v1alpha1.SecretKeyPreviousSigningSecret]))
	if previous == "" || previous == data[0] {
		return string(in.URL), verdict{}
	}
	if !isWebhookSecret(previous) {
		return string(in.URL), bad(v1alpha1.SecretKeyPreviousSigningSecret)
	}
	academyKeys.WebhookSecrets = append(academyKeys.WebhookSecrets, previous)
	return string(in.URL), verdict{}
}

// A secret as Standard Webhooks writes symmetric ones: the prefix, and the base64 of so many bytes.
const (
	webhookSecretPrefix                = "whsec_"
	minWebhookSecret, maxWebhookSecret = 24, 64
)

func isWebhookSecret(text string) bool {
	encoded, ok := strings.CutPrefix(text, webhookSecretPrefix)
	// A decoder passes over line ends.
	if !ok || strings.ContainsAny(encoded, "\r\n") {
		return false
	}
	secret, err := base64.StdEncoding.Strict().DecodeString(encoded)
	return err == nil && minWebhookSecret <= len(secret) && len(secret) <= maxWebhookSecret
}

// minClientSecret is the least length of an application's secret. Only its SHA-256 reaches the handler, which is safe
// for a long random secret and not for a short one.
const minClientSecret = 16

func (c *compiler) clients(a *v1alpha1.LTIAcademy) ([]routing.Client, verdict) {
	var out []routing.Client
	var first verdict
	for i, client := range a.Spec.Clients {
		field := fmt.Sprintf("spec.clients[%d].clientSecretRef", i)
		data, v := c.secretData(field, client.ClientSecretRef.Name, v1alpha1.SecretKeyClientSecret)
		if v.ok() && len(data[0]) < minClientSecret {
			v = refused(v1alpha1.ReasonSecretInvalid, fmt.Sprintf("%s: the value of %s in Secret %s has fewer than %d characters",
				field, v1alpha1.SecretKeyClientSecret, client.ClientSecretRef.Name, minClientSecret))
		}
		if !v.ok() {
			if first.ok() {
				first = v
			}
			continue
		}
		sum := sha256.Sum256([]byte(data[0]))
		entry := routing.Client{ClientID: client.ClientID, SecretSHA256: sum[:]}
		if client.InitiateLoginURI != nil {
			entry.InitiateLoginURI = string(*client.InitiateLoginURI)
		}
		for _, uri := range client.RedirectURIs {
			entry.RedirectURIs = append(entry.RedirectURIs, string(uri))
		}
		out = append(out, entry)
	}
	return out, first
}

// secretData reads the given keys of a Secret that a spec refers to. Each must be there, not empty and text; white
// space around a value, which editors and `echo` leave behind, is not part of it.
func (c *compiler) secretData(field, name string, dataKeys ...string) ([]string, verdict) {
	secret := c.in.Secrets[name]
	if secret == nil {
		if c.in.Unshared[name] {
			return nil, refused(v1alpha1.ReasonSecretNotShared, fmt.Sprintf(
				"%s: Secret %s is not shared with lti-operator; its owner allows it with: kubectl label secret %s -n %s %s=%s",
				field, name, name, c.in.Namespace, v1alpha1.LabelUse, v1alpha1.LabelUseValue))
		}
		return nil, refused(v1alpha1.ReasonSecretNotFound, fmt.Sprintf(
			"%s: Secret %s does not exist; create it with the label %s: %q", field, name, v1alpha1.LabelUse, v1alpha1.LabelUseValue))
	}
	out := make([]string, len(dataKeys))
	for i, k := range dataKeys {
		out[i] = strings.TrimSpace(string(secret.Data[k]))
		if out[i] == "" {
			return nil, refused(v1alpha1.ReasonSecretInvalid, fmt.Sprintf("%s: Secret %s has no value for %s", field, name, k))
		}
		if !utf8.ValidString(out[i]) {
			// The routing table is JSON, which would replace the bytes without a word.
			return nil, refused(v1alpha1.ReasonSecretInvalid, fmt.Sprintf("%s: the value of %s in Secret %s is not text (UTF-8)", field, k, name))
		}
	}
	return out, verdict{}
}

// defaultFrameAncestors are the sources that may frame our pages when a platform names none: any https origin. An
// academy on a loopback host is a trial, where the other system is on a loopback host too.
func defaultFrameAncestors(academyURL string) []string {
	sources := []string{"https:"}
	if u, err := url.Parse(academyURL); err == nil && u.Scheme == "http" {
		sources = append(sources, "http://*.localhost:*", "http://localhost:*", "http://127.0.0.1:*")
	}
	return sources
}

// academyVerdict says why nothing can be served for a resource of this academy, if so.
func (c *compiler) academyVerdict() verdict {
	if c.in.Academy == nil {
		return refused(v1alpha1.ReasonAcademyNotFound, fmt.Sprintf(
			"spec.academyRef: there is no LTIAcademy %q in namespace %q; apply one: "+
				`{apiVersion: %s, kind: %s, metadata: {name: %s, namespace: %s}, spec: {title: "My academy", url: "https://lti.example.com"}}`,
			c.in.AcademyName, c.in.Namespace, v1alpha1.GroupVersion, v1alpha1.KindAcademy, c.in.AcademyName, c.in.Namespace))
	}
	if c.out.Table == nil {
		r := c.out.Results[Ref{v1alpha1.KindAcademy, c.in.Academy.Name}]
		if r.Reason == v1alpha1.ReasonPending {
			return pending(r.Awaits, r.Message)
		}
		return refused(v1alpha1.ReasonAcademyNotAccepted, fmt.Sprintf("spec.academyRef: LTIAcademy %s is not accepted: %s", c.in.Academy.Name, r.Reason))
	}
	return verdict{}
}

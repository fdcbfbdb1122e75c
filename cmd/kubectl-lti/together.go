// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/compile"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// unknownAcademyURL is the address of an academy that the files do not contain.
const unknownAcademyURL = "https://academy.invalid"

// academyKey names an academy, whether the files contain it or not.
type academyKey struct{ namespace, name string }

// members are the resources of one academy.
type members struct {
	input compile.Input
	// objects are where the resources came from.
	objects map[compile.Ref]*object
	// academy is the academy's document; nil when the files do not contain it.
	academy *object
	// first is the first resource that is not broken, which a warning about the academy is put to.
	first *object
}

// together checks what the objects say about each other: it compiles each academy as the operator does. Whatever the
// operator would make, and what only the cluster can have, is made up, so that nothing hides behind its absence.
func (v *validator) together() error {
	all, order := v.group()
	secrets := v.secretsByNamespace()
	for _, key := range order {
		m := all[key]
		// Nothing but the academy's own result depends on other academies: one with a taken address would hide what is
		// wrong with its resources.
		for _, other := range order {
			if other != key && all[other].input.Academy != nil {
				m.input.OtherAcademies = append(m.input.OtherAcademies, all[other].input.Academy)
			}
		}
	}
	for _, key := range order {
		m := all[key]
		if err := v.supply(m, secrets[key.namespace]); err != nil {
			return err
		}
		alone := m.input
		alone.OtherAcademies = nil
		results := compile.Compile(alone).Results
		if m.input.Academy != nil {
			ref := compile.Ref{Kind: v1alpha1.KindAcademy, Name: key.name}
			if r := compile.Compile(m.input).Results[ref]; r.Reason == v1alpha1.ReasonURLConflict {
				results[ref] = r
			}
		}
		for _, o := range v.objects {
			ref := compile.Ref{Kind: o.kind, Name: o.name}
			if r, ok := results[ref]; ok && m.objects[ref] == o && !o.broken {
				v.judge(o, r)
			}
		}
	}
	return nil
}

// specField is the field in front of the message of a result.
var specField = regexp.MustCompile(`^(spec\.[A-Za-z0-9_.\[\]]+): `)

// judge turns what the compiler says about a resource into a finding.
func (v *validator) judge(o *object, r compile.Result) {
	if r.Accepted == metav1.ConditionTrue {
		return
	}
	f := finding{Reason: r.Reason, Message: r.Message}
	if at := specField.FindStringSubmatchIndex(r.Message); at != nil {
		f.Field, f.Message = r.Message[at[2]:at[3]], r.Message[at[1]:]
	}
	if r.Reason == v1alpha1.ReasonPlatformNotFound || r.Reason == v1alpha1.ReasonToolNotFound {
		f.Message += " in these files"
	}
	if r.Accepted == metav1.ConditionUnknown {
		v.warn(o, f)
		return
	}
	v.fail(o, f)
}

// group sorts the objects by academy, and returns the academies in the order in which they are met.
func (v *validator) group() (all map[academyKey]*members, order []academyKey) {
	all = map[academyKey]*members{}
	of := func(o *object, name string) *members {
		key := academyKey{o.namespace, name}
		m := all[key]
		if m == nil {
			m = &members{objects: map[compile.Ref]*object{}}
			m.input = compile.Input{Namespace: o.namespace, AcademyName: name}
			all[key] = m
			order = append(order, key)
		}
		if m.first == nil && !o.broken {
			m.first = o
		}
		return m
	}
	for i, o := range v.objects {
		if v.seen[objectKey{o.kind, o.namespace, o.name}] != o {
			continue
		}
		if o.typed != nil {
			// Of two objects that claim the same thing the one that stands first is the older one.
			o.typed.SetCreationTimestamp(metav1.NewTime(time.Unix(0, 0).Add(time.Duration(i) * time.Second)))
			o.typed.SetNamespace(o.namespace)
		}
		if o.kind == v1alpha1.KindAcademy {
			m := of(o, o.name)
			m.academy = o
			if a, ok := o.typed.(*v1alpha1.LTIAcademy); ok && !o.broken {
				m.input.Academy = a
				m.objects[compile.Ref{Kind: o.kind, Name: o.name}] = o
			}
			continue
		}
		var m *members
		switch typed := o.typed.(type) {
		case *v1alpha1.LTIPlatform:
			if o.broken {
				// Others may refer to it. It claims nothing.
				typed = &v1alpha1.LTIPlatform{ObjectMeta: typed.ObjectMeta, Spec: v1alpha1.LTIPlatformSpec{AcademyRef: typed.Spec.AcademyRef}}
			}
			m = of(o, v1alpha1.AcademyName(typed.Spec.AcademyRef))
			m.input.Platforms = append(m.input.Platforms, typed)
		case *v1alpha1.LTITool:
			if o.broken {
				typed = &v1alpha1.LTITool{ObjectMeta: typed.ObjectMeta, Spec: v1alpha1.LTIToolSpec{AcademyRef: typed.Spec.AcademyRef}}
			}
			m = of(o, v1alpha1.AcademyName(typed.Spec.AcademyRef))
			m.input.Tools = append(m.input.Tools, typed)
		case *v1alpha1.LTIActivity:
			if !o.broken {
				m = of(o, v1alpha1.AcademyName(typed.Spec.AcademyRef))
				m.input.Activities = append(m.input.Activities, typed)
			}
		}
		if m != nil {
			m.objects[compile.Ref{Kind: o.kind, Name: o.name}] = o
		}
	}
	return all, order
}

// secretsByNamespace returns the Secrets in the files. One whose values are not known is there, and nil.
func (v *validator) secretsByNamespace() map[string]map[string]*corev1.Secret {
	out := map[string]map[string]*corev1.Secret{}
	for _, o := range v.objects {
		if o.kind != "Secret" || v.seen[objectKey{o.kind, o.namespace, o.name}] != o {
			continue
		}
		if out[o.namespace] == nil {
			out[o.namespace] = map[string]*corev1.Secret{}
		}
		out[o.namespace][o.name] = nil
		if secret, ok := o.typed.(*corev1.Secret); ok && !o.broken {
			out[o.namespace][o.name] = secret
		}
	}
	return out
}

// supply completes an input with what the files do not contain.
func (v *validator) supply(m *members, given map[string]*corev1.Secret) error {
	in := &m.input
	in.Secrets, in.Unshared = map[string]*corev1.Secret{}, map[string]bool{}
	if in.Academy == nil {
		if m.academy == nil && m.first != nil {
			v.warn(m.first, finding{Field: "spec.academyRef", Message: fmt.Sprintf(
				"LTIAcademy %s is not in these files; it must exist in the cluster, in namespace %s", in.AcademyName, in.Namespace)})
		}
		in.Academy = &v1alpha1.LTIAcademy{
			ObjectMeta: metav1.ObjectMeta{Name: in.AcademyName, Namespace: in.Namespace},
			Spec:       v1alpha1.LTIAcademySpec{Title: in.AcademyName, URL: unknownAcademyURL, Clients: supposedClients(in.Activities)},
		}
		if slices.ContainsFunc(in.Activities, func(a *v1alpha1.LTIActivity) bool { return a.Spec.Share != nil && a.Spec.Share.Enrolment != nil }) {
			in.Academy.Spec.Provisioning = &v1alpha1.AcademyProvisioning{SCIM: v1alpha1.SCIMDirectory{URL: unknownAcademyURL}}
		}
		if slices.ContainsFunc(in.Activities, func(a *v1alpha1.LTIActivity) bool { return a.Spec.External != nil }) {
			in.Academy.Spec.Learners = &v1alpha1.AcademyLearners{OIDC: v1alpha1.LearnersOIDC{IssuerURL: unknownAcademyURL}}
		}
	}
	for name, secret := range given {
		switch {
		case secret == nil:
		case secret.Labels[v1alpha1.LabelUse] == v1alpha1.LabelUseValue:
			in.Secrets[name] = secret
		default:
			in.Unshared[name] = true
		}
	}
	for _, r := range m.references() {
		if in.Secrets[r.secret] != nil || in.Unshared[r.secret] {
			continue
		}
		if _, here := given[r.secret]; !here {
			v.warn(r.by, finding{Field: r.field, Reason: v1alpha1.ReasonSecretNotFound, Message: fmt.Sprintf(
				"Secret %s is not in these files; it must exist in the cluster, with %s and the label %s: %q",
				r.secret, strings.Join(r.keys, " and "), v1alpha1.LabelUse, v1alpha1.LabelUseValue)})
		}
	}
	// Only now: two resources may refer to one Secret, and both are told.
	for _, r := range m.references() {
		if in.Secrets[r.secret] == nil && !in.Unshared[r.secret] {
			in.Secrets[r.secret] = madeUp(r.secret, r.keys)
			if _, isKey := in.Secrets[r.secret].Data[v1alpha1.SecretKeyPrivateKey]; isKey {
				pem, err := v.signingKey()
				if err != nil {
					return err
				}
				in.Secrets[r.secret].Data[v1alpha1.SecretKeyPrivateKey] = pem
			}
		}
	}
	return v.generate(m, given)
}

// supposedClients are the applications that an academy elsewhere must have for these activities.
func supposedClients(activities []*v1alpha1.LTIActivity) []v1alpha1.AcademyClient {
	ids, unnamed := map[string]bool{}, false
	for _, a := range activities {
		if s := a.Spec.Share; s != nil && s.ClientID != "" {
			ids[s.ClientID] = true
		} else if s != nil && s.SignIn == v1alpha1.SignInOpenIDConnect {
			unnamed = true
		}
	}
	if unnamed && len(ids) == 0 {
		ids["the application"] = true
	}
	var clients []v1alpha1.AcademyClient
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		clients = append(clients, v1alpha1.AcademyClient{ClientID: id, InitiateLoginURI: new(v1alpha1.PeerURL(unknownAcademyURL))})
	}
	return clients
}

// reference is a Secret that a spec names.
type reference struct {
	by            *object
	field, secret string
	keys          []string
}

func (m *members) references() (out []reference) {
	credentials := []string{v1alpha1.SecretKeyConsumerKey, v1alpha1.SecretKeySharedSecret}
	if m.objects[compile.Ref{Kind: v1alpha1.KindAcademy, Name: m.input.AcademyName}] != nil {
		for i, client := range m.input.Academy.Spec.Clients {
			out = append(out, reference{
				m.academy, fmt.Sprintf("spec.clients[%d].clientSecretRef", i), client.ClientSecretRef.Name, []string{v1alpha1.SecretKeyClientSecret},
			})
		}
		if l := m.input.Academy.Spec.Learners; l != nil {
			out = append(out, reference{
				m.academy, "spec.learners.oidc.clientSecretRef", l.OIDC.ClientSecretRef.Name, []string{v1alpha1.SecretKeyClientSecret},
			})
		}
		if p := m.input.Academy.Spec.Provisioning; p != nil {
			out = append(out, reference{
				m.academy, "spec.provisioning.scim.tokenSecretRef", p.SCIM.TokenSecretRef.Name, []string{v1alpha1.SecretKeyToken},
			})
		}
		if r := m.input.Academy.Spec.Results; r != nil {
			out = append(out, reference{
				m.academy, "spec.results.webhook.signingSecretRef", r.Webhook.SigningSecretRef.Name, []string{v1alpha1.SecretKeySigningSecret},
			})
		}
	}
	for _, p := range m.input.Platforms {
		if name, generated := p.LTI12SecretName(); p.Spec.LTI12 != nil && !generated {
			out = append(out, reference{m.objects[compile.Ref{Kind: v1alpha1.KindPlatform, Name: p.Name}], "spec.lti12.credentialsSecretRef", name, credentials})
		}
	}
	key := []string{v1alpha1.SecretKeyPrivateKey}
	for _, p := range m.input.Platforms {
		if name, generated := p.SigningKeySecretName(); !generated {
			out = append(out, reference{m.objects[compile.Ref{Kind: v1alpha1.KindPlatform, Name: p.Name}], "spec.signingKeySecretRef", name, key})
		}
	}
	for _, t := range m.input.Tools {
		if name, generated := t.SigningKeySecretName(); !generated {
			out = append(out, reference{m.objects[compile.Ref{Kind: v1alpha1.KindTool, Name: t.Name}], "spec.signingKeySecretRef", name, key})
		}
	}
	for _, a := range m.input.Activities {
		if name, generated := a.LTI12SecretName(); a.Spec.Share != nil && !generated {
			out = append(out, reference{m.objects[compile.Ref{Kind: v1alpha1.KindActivity, Name: a.Name}], "spec.share.lti12.credentialsSecretRef", name, credentials})
		}
		if name := a.ExternalSecretName(); name != "" {
			out = append(out, reference{m.objects[compile.Ref{Kind: v1alpha1.KindActivity, Name: a.Name}], "spec.external.lti12.credentialsSecretRef", name, credentials})
		}
	}
	return out
}

// madeUp is a Secret with values that no other one has.
func madeUp(name string, keys []string) *corev1.Secret {
	data := map[string][]byte{}
	for _, key := range keys {
		data[key] = []byte("made up for " + key + " in " + name)
		if key == v1alpha1.SecretKeySigningSecret {
			sum := sha256.Sum256(data[key])
			data[key] = []byte("whsec_" + base64.StdEncoding.EncodeToString(sum[:]))
		}
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
}

// generate stands in for the Secrets that the operator makes: those in the files are adopted, the others made up.
func (v *validator) generate(m *members, given map[string]*corev1.Secret) error {
	in := &m.input
	generated := map[string]map[string][]byte{}
	signing := func(kind, name string) error {
		pem, err := v.signingKey()
		generated[compile.SigningKeySecretName(kind, name)] = map[string][]byte{v1alpha1.SecretKeyPrivateKey: pem}
		return err
	}
	made := strings.Repeat("made up ", 4)
	generated[compile.AcademySecretName(in.AcademyName)] = (&keys.Academy{
		StateKey: []byte(made), ControlToken: made, ControlCertificatePEM: []byte(made), ControlPrivateKeyPEM: []byte(made),
	}).Data()
	if in.Academy != nil && in.Academy.SignsIn() {
		if err := signing(v1alpha1.KindAcademy, in.AcademyName); err != nil {
			return err
		}
	}
	for _, p := range in.Platforms {
		if err := signing(v1alpha1.KindPlatform, p.Name); err != nil {
			return err
		}
		if name, mine := p.LTI12SecretName(); mine {
			generated[name] = madeUp(name, []string{v1alpha1.SecretKeyConsumerKey, v1alpha1.SecretKeySharedSecret}).Data
		}
	}
	for _, t := range in.Tools {
		if err := signing(v1alpha1.KindTool, t.Name); err != nil {
			return err
		}
	}
	for _, a := range in.Activities {
		if name, mine := a.LTI12SecretName(); mine && a.Spec.Share != nil {
			generated[name] = madeUp(name, []string{v1alpha1.SecretKeyConsumerKey, v1alpha1.SecretKeySharedSecret}).Data
		}
	}
	for i, p := range in.Platforms {
		if p.Dynamic() != nil {
			p = p.DeepCopy()
			in.Platforms[i] = p
			if err := madeUpRegistration(generated, given, p.Dynamic(), &routing.Registration{Kind: routing.KindPlatform, Name: p.Name, Platform: &routing.RegisteredPlatform{
				PlatformLTI13: routing.PlatformLTI13{Issuer: unknownAcademyURL, ClientID: "of " + p.Name, AuthenticationURL: unknownAcademyURL, JWKSURL: unknownAcademyURL},
			}}); err != nil {
				return err
			}
		}
	}
	for i, t := range in.Tools {
		if t.Dynamic() != nil {
			t = t.DeepCopy()
			in.Tools[i] = t
			if err := madeUpRegistration(generated, given, t.Dynamic(), &routing.Registration{Kind: routing.KindTool, Name: t.Name, Tool: &routing.RegisteredTool{
				ToolLTI13: routing.ToolLTI13{LoginInitiationURL: unknownAcademyURL, JWKSURL: unknownAcademyURL},
			}}); err != nil {
				return err
			}
		}
	}
	for name, data := range generated {
		if given[name] != nil {
			in.Secrets[name] = given[name]
		} else {
			in.Secrets[name] = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: maps.Clone(data)}
		}
		delete(in.Unshared, name)
	}
	return nil
}

// madeUpRegistration stands in for the Secrets of an object with dynamic registration. What is approved, if anything, is
// known to the cluster only: r, with values that are made up, is approved instead.
func madeUpRegistration(
	generated map[string]map[string][]byte, given map[string]*corev1.Secret, d *v1alpha1.DynamicRegistration, r *routing.Registration,
) error {
	kind := v1alpha1.KindPlatform
	if r.Tool != nil {
		kind = v1alpha1.KindTool
	}
	link, registered := v1alpha1.RegistrationSecretNames(kind, r.Name)
	sum := sha256.Sum256([]byte(link))
	generated[link] = map[string][]byte{
		v1alpha1.SecretKeyRegistrationToken: []byte(base64.RawURLEncoding.EncodeToString(sum[:])),
		v1alpha1.SecretKeyExpiresAt:         []byte(time.Unix(0, 0).UTC().Format(time.RFC3339)),
	}
	if d.Approved == "" || given[registered] != nil {
		return nil
	}
	r.ID = r.ComputeID()
	d.Approved = r.ID
	text, err := json.Marshal(r)
	generated[registered] = map[string][]byte{r.ID + v1alpha1.SecretKeyRegistrationSuffix: text}
	return err
}

// signingKey is one key for all: making one takes long, and nothing compares them.
func (v *validator) signingKey() ([]byte, error) {
	if v.key == nil {
		var err error
		if v.key, err = keys.NewSigningKey(v.random); err != nil {
			return nil, err
		}
	}
	return v.key, nil
}

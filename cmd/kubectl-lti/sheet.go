// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/details"
)

// errNoDetails says that the operator has not written the values into status.
var errNoDetails = errors.New("no details")

// sheet is what two administrators exchange about one object.
type sheet struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Title     string `json:"title"`
	// System is the learning system whose labels these are.
	System string `json:"system"`
	// PasteThere are the pages of the other system that our values go into.
	PasteThere []page `json:"pasteThere"`
	// BringBack is the page that shows the values for spec; platforms only.
	BringBack *page `json:"bringBack,omitempty"`
	// Missing are the paths in spec that must be filled in before launches over LTI 1.3 can happen.
	Missing []string `json:"missing,omitempty"`
	// Notes are sentences about this object, then about the system.
	Notes []string `json:"notes,omitempty"`
}

// page is a screen of the other system.
type page struct {
	Title string `json:"title"`
	// Where is the menu path.
	Where  string  `json:"where,omitempty"`
	Values []value `json:"values"`
}

// value is one field of a page.
type value struct {
	Field details.Field `json:"field"`
	Label string        `json:"label"`
	// Path is where the value stands, or belongs, in our objects.
	Path string `json:"path"`
	// Value is empty when it is missing or in Instead.
	Value string `json:"value,omitempty"`
	// Further are more values of the same field.
	Further []string `json:"further,omitempty"`
	// Instead says why there is no value, and how to get it.
	Instead string `json:"instead,omitempty"`
	// Form is what the value always looks like.
	Form  string `json:"form,omitempty"`
	Where string `json:"where,omitempty"`
	Note  string `json:"note,omitempty"`
}

// maker fills a sheet.
type maker struct {
	system details.System
	sheet  *sheet
	// credentials reads a Secret; nil when none may be read.
	credentials func(name string) (*corev1.Secret, error)
}

// fill copies a screen and sets what is known about each of its fields. A field without an entry in values is left out.
func fill(title string, screen details.Screen, values map[details.Field]value) page {
	p := page{Title: title, Where: screen.Where}
	for _, e := range screen.Entries {
		v, ok := values[e.Field]
		if !ok {
			continue
		}
		v.Field, v.Label, v.Form, v.Where, v.Note = e.Field, e.Label, e.Form, e.Where, e.Note
		if v.Path == "" {
			v.Path = e.Path
		}
		p.Values = append(p.Values, v)
	}
	return p
}

func (m *maker) paste(p page) { m.sheet.PasteThere = append(m.sheet.PasteThere, p) }

func (m *maker) note(format string, args ...any) {
	m.sheet.Notes = append(m.sheet.Notes, fmt.Sprintf(format, args...))
}

func (m *maker) platform(p *v1alpha1.LTIPlatform) error {
	d := p.Status.Details
	if d == nil {
		return errNoDetails
	}
	m.sheet.Title = p.Spec.Title
	if err := m.registration(p); err != nil {
		return err
	}
	m.paste(fill("LTI 1.3", m.system.Platform, map[details.Field]value{
		details.LoginInitiationURL: {Value: d.LoginInitiationURL},
		details.RedirectURI:        {Value: d.RedirectURI, Further: d.AliasRedirectURIs},
		details.TargetLinkURI:      {Value: d.TargetLinkURI},
		details.DeepLinkingURL:     {Value: d.DeepLinkingURL},
		details.JWKSURL:            {Value: d.JWKSURL},
		details.Domain:             {Value: d.Domain},
	}))
	if s := p.Status.LTI12; s != nil {
		values, err := m.lti12(s.CredentialsSecretName)
		if err != nil {
			return err
		}
		values[details.LaunchURL] = value{Instead: "that of each activity: kubectl lti details activity/NAME"}
		m.paste(fill("LTI 1.2, with the key of this platform", m.system.LTI12, values))
	}
	if p.Dynamic() == nil || p.Approved() != nil {
		m.bringBack(p)
	}
	if !p.Spec.Activation.Active() {
		m.note("This LTIPlatform is deactivated: its launches are refused.")
	}
	return nil
}

// bringBack lists the values of the platform, and which of them spec lacks.
func (m *maker) bringBack(p *v1alpha1.LTIPlatform) {
	in := p.EffectiveLTI13()
	if in == nil {
		in = &v1alpha1.PlatformLTI13{}
	}
	optional := func(u *v1alpha1.PeerURL) string {
		if u == nil {
			return ""
		}
		return string(*u)
	}
	values := map[details.Field]value{
		details.Issuer:            {Value: string(in.Issuer)},
		details.ClientID:          {Value: in.ClientID},
		details.AuthenticationURL: {Value: string(in.AuthenticationURL)},
		details.AccessTokenURL:    {Value: optional(in.AccessTokenURL)},
		details.JWKSURL:           {Value: optional(in.JWKSURL)},
		details.DeploymentID:      {},
	}
	if values[details.AccessTokenURL].Value == "" {
		values[details.AccessTokenURL] = value{Instead: "not set; launches do without"}
	}
	if in.JWKS != nil {
		values[details.JWKSURL] = value{Path: "spec.lti13.jwks", Instead: "the keyset itself is set"}
	}
	if p.EffectiveDeploymentPolicy() == v1alpha1.DeploymentsAny {
		values[details.DeploymentID] = value{Instead: "not needed; any deployment is accepted"}
	} else if list := p.Spec.Deployments.List; len(list) > 0 {
		v := value{Value: list[0].ID}
		for _, d := range list[1:] {
			v.Further = append(v.Further, d.ID)
		}
		values[details.DeploymentID] = v
	}
	if approved := p.Approved(); approved != nil {
		registeredValues(values, approved)
	}
	b := fill("LTI 1.3", m.system.BringBack, values)
	m.sheet.BringBack = &b
	for i := range b.Values {
		if v := &b.Values[i]; v.Value == "" && v.Instead == "" {
			m.sheet.Missing = append(m.sheet.Missing, v.Path)
		}
	}
	if unknown := p.Status.UnknownDeployments; len(unknown) > 0 {
		ids := make([]string, len(unknown))
		for i, d := range unknown {
			ids[i] = d.ID
		}
		m.note("Launched, but not in spec.deployments.list: %s.", strings.Join(ids, ", "))
	}
}

// registeredValues tells where the values of an approved registration are.
func registeredValues(values map[details.Field]value, approved *v1alpha1.KnownPlatformRegistration) {
	for f, v := range values {
		if f != details.DeploymentID {
			v.Path = "status.registration.known[]." + string(f)
			values[f] = v
		}
	}
	if approved.JWKSURL == "" {
		values[details.JWKSURL] = value{Path: "status.registration.known[]", Instead: "the keyset itself was registered"}
	}
	if v := values[details.DeploymentID]; v.Value == "" && v.Instead == "" {
		v.Path, v.Value = "status.registration.known[].deploymentID", approved.DeploymentID
		if v.Value == "" {
			v.Instead = "the platform did not say; list it in spec.deployments"
		}
		values[details.DeploymentID] = v
	}
}

// registration says how to hand over the link by which an object registers. The link itself is a secret.
func (m *maker) registration(obj registrant) error {
	if obj.Dynamic() == nil {
		return nil
	}
	secretName, _ := v1alpha1.RegistrationSecretNames(m.sheet.Kind, obj.GetName())
	link := value{
		Field: v1alpha1.SecretKeyRegistrationURL, Label: "Registration link", Path: "Secret: " + v1alpha1.SecretKeyRegistrationURL,
		Instead: fmt.Sprintf("in Secret %s; kubectl lti registration link prints it", secretName),
	}
	if m.credentials != nil {
		secret, err := m.credentials(secretName)
		if err != nil {
			return fmt.Errorf("read Secret %s: %w", secretName, err)
		}
		link.Value, link.Instead = string(secret.Data[v1alpha1.SecretKeyRegistrationURL]), ""
	}
	m.paste(page{Title: "Dynamic Registration, instead of the values below", Values: []value{link}})
	if c := meta.FindStatusCondition(obj.GetConditions(), v1alpha1.ConditionRegistered); c != nil && c.Status != metav1.ConditionTrue {
		m.note("%s: %s.", c.Reason, c.Message)
	}
	return nil
}

func (m *maker) activity(a *v1alpha1.LTIActivity) error {
	if a.Spec.Share == nil {
		return fmt.Errorf("LTIActivity %s is not shared with other systems: spec.share is not set", a.Name)
	}
	if a.Status.LTI13 == nil && a.Status.LTI12 == nil {
		return errNoDetails
	}
	m.sheet.Title = a.Spec.Title
	if s := a.Status.LTI13; s != nil {
		m.paste(fill("LTI 1.3, once the platform is registered", m.system.Activity, map[details.Field]value{
			details.ResourceURL: {Value: s.ResourceURL},
		}))
	}
	if s := a.Status.LTI12; s != nil {
		values, err := m.lti12(s.CredentialsSecretName)
		if err != nil {
			return err
		}
		values[details.LaunchURL] = value{Value: s.LaunchURL}
		m.paste(fill("LTI 1.2, with the key of this activity", m.system.LTI12, values))
	}
	return nil
}

func (m *maker) tool(t *v1alpha1.LTITool) error {
	if len(m.system.Tool.Entries) == 0 {
		return fmt.Errorf("%s opens activities of others only, so it has no place for the values of an LTITool", m.system.Title)
	}
	d := t.Status.Details
	if d == nil {
		return errNoDetails
	}
	m.sheet.Title = t.Spec.Title
	if err := m.registration(t); err != nil {
		return err
	}
	m.paste(fill("LTI 1.3", m.system.Tool, map[details.Field]value{
		details.PlatformID:        {Value: d.PlatformID},
		details.ClientID:          {Value: d.ClientID},
		details.DeploymentID:      {Value: d.DeploymentID},
		details.AuthenticationURL: {Value: d.AuthenticationURL},
		details.AccessTokenURL:    {Value: d.AccessTokenURL},
		details.JWKSURL:           {Value: d.JWKSURL},
	}))
	if d.ChooseURL != "" {
		m.note("Not for the tool's administrator: authors of the academy choose activities of this tool at %s.", d.ChooseURL)
	}
	if !t.Spec.Activation.Active() {
		m.note("This LTITool is deactivated: it is not opened.")
	}
	return nil
}

// lti12 returns consumer key and shared secret, or how to see them.
func (m *maker) lti12(secretName string) (map[details.Field]value, error) {
	if m.credentials == nil {
		hidden := value{Instead: fmt.Sprintf("in Secret %s; --show-secret prints it", secretName)}
		return map[details.Field]value{details.ConsumerKey: hidden, details.SharedSecret: hidden}, nil
	}
	secret, err := m.credentials(secretName)
	if err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", secretName, err)
	}
	out := map[details.Field]value{}
	for f, key := range map[details.Field]string{
		details.ConsumerKey: v1alpha1.SecretKeyConsumerKey, details.SharedSecret: v1alpha1.SecretKeySharedSecret,
	} {
		text := strings.TrimSpace(string(secret.Data[key]))
		if text == "" {
			return nil, fmt.Errorf("the Secret %s has no value for %s", secretName, key)
		}
		out[f] = value{Value: text}
	}
	return out, nil
}

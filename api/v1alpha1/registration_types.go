// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"regexp"
	"strings"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AnnotationRegistrationLink on an LTIPlatform or LTITool with registration.dynamic asks for a new registration link, one
// for every new value, for example the present time. The former link ends.
const AnnotationRegistrationLink = AnnotationPrefix + "registration-link"

// Data keys of the Secret with a registration link.
const (
	// SecretKeyRegistrationURL is the data key of the whole link, as it is handed over.
	SecretKeyRegistrationURL = "registrationURL"
	// SecretKeyRegistrationToken is the data key of the token in it: 256 random bits as unpadded base64url.
	SecretKeyRegistrationToken = "token"
	// SecretKeyExpiresAt is the data key of the time at which the link ends (RFC 3339).
	SecretKeyExpiresAt = "expiresAt"
	// SecretKeyRequest is the data key of the value of AnnotationRegistrationLink that the link was made for.
	SecretKeyRequest = "request"
	// SecretKeyRegistrationSuffix follows the ID of a registration in the data keys of the Secret with what has registered.
	SecretKeyRegistrationSuffix = ".json"
)

// SecretTypeRegistrationLink is the type of a Secret with a registration link, SecretTypeRegistrations that of one with
// what has registered.
const (
	SecretTypeRegistrationLink = "lti-operator.io/registration-link"
	SecretTypeRegistrations    = "lti-operator.io/registrations"
)

// MaxKnownRegistrations is the number of registrations of one object that are kept: the approved one and the newest.
const MaxKnownRegistrations = 4

// DynamicRegistration lets the other party register by a link (LTI Dynamic Registration 1.0), instead of values that are
// pasted on both sides.
type DynamicRegistration struct {
	// linkValidHours is for how many hours a link is valid from when it is made. It counts for the next link that is
	// asked for, not for one that exists. Left out: 168, which is a week.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=720
	LinkValidHours *int32 `json:"linkValidHours,omitempty"`
	// approved is the id, in status.registration.known, of the one registration that may be used. Look at its values
	// first: whoever got hold of the link may have registered. Left out: none.
	// +optional
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{20}$')",message="approved must be the id of a registration in status.registration.known: 20 digits and letters from a to f"
	Approved string `json:"approved,omitempty"`
}

// EffectiveLinkValidHours resolves linkValidHours: a week when left out.
func (d *DynamicRegistration) EffectiveLinkValidHours() int32 {
	if d.LinkValidHours != nil {
		return *d.LinkValidHours
	}
	return 168
}

// PlatformRegistration says how the platform registers.
type PlatformRegistration struct {
	// dynamic: the platform's administrator opens a link of ours there, which registers this tool at the platform.
	// +required
	Dynamic DynamicRegistration `json:"dynamic"`
}

// ToolRegistration says how the tool registers.
type ToolRegistration struct {
	// dynamic: the tool's administrator opens a link there, made from registrationURL, which registers the tool here.
	// +required
	Dynamic ToolDynamicRegistration `json:"dynamic"`
}

// ToolDynamicRegistration lets a tool register by a link.
type ToolDynamicRegistration struct {
	// registrationURL is the tool's own registration initiation URL, which its administrator or its documentation names.
	// The link is made from it.
	// +required
	RegistrationURL PeerURL `json:"registrationURL"`

	DynamicRegistration `json:",inline"`
}

// RegistrationState says whether a registration is used.
// +kubebuilder:validation:Enum=Pending;Approved
type RegistrationState string

// Values of RegistrationState.
const (
	// RegistrationPending waits for its ID in spec.registration.dynamic.approved.
	RegistrationPending RegistrationState = "Pending"
	// RegistrationApproved has its ID there.
	RegistrationApproved RegistrationState = "Approved"
)

// RegistrationLinkStatus tells where the link is that the other party opens.
type RegistrationLinkStatus struct {
	// linkSecretName is the Secret with the link (registrationURL). Whoever has the link can register, once.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	LinkSecretName string `json:"linkSecretName,omitempty"`
	// linkExpiresAt is when the link ends. The annotation lti-operator.io/registration-link asks for a new one.
	// +optional
	LinkExpiresAt *metav1.Time `json:"linkExpiresAt,omitempty"`
}

// KnownRegistration is what is known of every registration.
type KnownRegistration struct {
	// id is what spec.registration.dynamic.approved takes. It is made from the values: other values have another id.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=20
	ID string `json:"id"`
	// registeredAt is when it registered.
	// +required
	RegisteredAt metav1.Time `json:"registeredAt"`
	// state: Pending is not used, Approved is the one that spec names.
	// +required
	State RegistrationState `json:"state"`
}

// PlatformRegistrationStatus is what dynamic registration has produced at a platform.
type PlatformRegistrationStatus struct {
	RegistrationLinkStatus `json:",inline"`
	// known are the approved registration and the newest ones, newest first. Their values are those of whoever opened the
	// link, cut off where they are too long.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=4
	Known []KnownPlatformRegistration `json:"known,omitempty"`
}

// KnownPlatformRegistration is a registration of this tool at a platform. The names are those of spec.lti13.
type KnownPlatformRegistration struct {
	KnownRegistration `json:",inline"`
	// issuer is the platform's issuer.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Issuer string `json:"issuer,omitempty"`
	// clientID that the platform gave this tool.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	ClientID string `json:"clientID,omitempty"`
	// authenticationURL is the platform's OIDC authentication request URL.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	AuthenticationURL string `json:"authenticationURL,omitempty"`
	// accessTokenURL is where this tool gets access tokens; empty when the platform has none.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	AccessTokenURL string `json:"accessTokenURL,omitempty"`
	// accessTokenAudience is the audience of requests for access tokens, when it is not accessTokenURL.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	AccessTokenAudience string `json:"accessTokenAudience,omitempty"`
	// jwksURL is the address of the platform's public keys.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	JWKSURL string `json:"jwksURL,omitempty"`
	// deploymentID is the first deployment, which is accepted beside spec.deployments.list; empty when the platform did
	// not say.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	DeploymentID string `json:"deploymentID,omitempty"`
	// product is what the platform calls itself, with its version.
	// +optional
	// +kubebuilder:validation:MaxLength=200
	Product string `json:"product,omitempty"`
}

// ToolRegistrationStatus is what dynamic registration of a tool has produced.
type ToolRegistrationStatus struct {
	RegistrationLinkStatus `json:",inline"`
	// known are the approved registration and the newest ones, newest first. Their values are those of whoever opened the
	// link, cut off where they are too long.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=4
	Known []KnownToolRegistration `json:"known,omitempty"`
}

// KnownToolRegistration is a registration of a tool. The names are those of spec.lti13.
type KnownToolRegistration struct {
	KnownRegistration `json:",inline"`
	// name is what the tool calls itself.
	// +optional
	// +kubebuilder:validation:MaxLength=200
	Name string `json:"name,omitempty"`
	// loginInitiationURL is the tool's OIDC login initiation URL.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	LoginInitiationURL string `json:"loginInitiationURL,omitempty"`
	// jwksURL is the address of the tool's public keys.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	JWKSURL string `json:"jwksURL,omitempty"`
	// redirectURIs are where the tool may have learners sent to.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=2048
	RedirectURIs []string `json:"redirectURIs,omitempty"`
	// launchURL is the tool's own launch URL.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	LaunchURL string `json:"launchURL,omitempty"`
	// deepLinkingURL is where activities are chosen at the tool.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	DeepLinkingURL string `json:"deepLinkingURL,omitempty"`
	// scopes are the services that the tool asked for; spec.services decides what it gets.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=255
	Scopes []string `json:"scopes,omitempty"`
}

// Dynamic is the dynamic registration that spec asks for; nil for none.
func (p *LTIPlatform) Dynamic() *DynamicRegistration {
	if p.Spec.Registration == nil {
		return nil
	}
	return &p.Spec.Registration.Dynamic
}

// Dynamic is the dynamic registration that spec asks for; nil for none.
func (t *LTITool) Dynamic() *DynamicRegistration {
	if t.Spec.Registration == nil {
		return nil
	}
	return &t.Spec.Registration.Dynamic.DynamicRegistration
}

// RegistrationSecretNames are the Secrets with the link by which an object of the kind registers, and with what has
// registered.
func RegistrationSecretNames(kind, name string) (link, registered string) {
	role := "-platform-"
	if kind == KindTool {
		role = "-tool-"
	}
	return name + role + "registration", name + role + "registered"
}

// Approved is the registration in status that spec approves; nil when there is none, or spec has values of its own.
func (p *LTIPlatform) Approved() *KnownPlatformRegistration {
	if d := p.Dynamic(); d != nil && d.Approved != "" && p.Status.Registration != nil {
		for i := range p.Status.Registration.Known {
			if k := &p.Status.Registration.Known[i]; k.ID == d.Approved {
				return k
			}
		}
	}
	return nil
}

// EffectiveLTI13 are the values of the platform wherever they come from: spec.lti13, or the registration that spec
// approves as status tells it. It is nil while there are none. It is for people: what is served comes from the Secret.
func (p *LTIPlatform) EffectiveLTI13() *PlatformLTI13 {
	if p.Spec.LTI13 != nil {
		return p.Spec.LTI13
	}
	k := p.Approved()
	if k == nil {
		return nil
	}
	return &PlatformLTI13{
		Issuer: PeerURL(k.Issuer), ClientID: k.ClientID, AuthenticationURL: PeerURL(k.AuthenticationURL),
		AccessTokenURL: optionalURL(k.AccessTokenURL), AccessTokenAudience: k.AccessTokenAudience, JWKSURL: optionalURL(k.JWKSURL),
	}
}

func optionalURL(text string) *PeerURL {
	if text == "" {
		return nil
	}
	return (*PeerURL)(&text)
}

// peerURL is the rule of PeerURL, which the API server applies to spec only.
var peerURL = regexp.MustCompile(`^(https://[A-Za-z0-9.:_-]+|https?://(([a-z0-9-]+[.])*localhost|127[.][0-9.]+|[[]::1[]])(:[0-9]+)?)([/?][^#]*)?$`)

// Valid tells whether an address that did not come through the API server is what PeerURL says, and nothing but visible
// characters.
func (u PeerURL) Valid() bool {
	const longest = 2048
	return len(u) <= longest && peerURL.MatchString(string(u)) && !strings.ContainsFunc(string(u), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsGraphic(r)
	})
}

// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PeerURL is an address of another party: an absolute https URL without fragment; http on loopback hosts only.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=2048
// +kubebuilder:validation:XValidation:rule="self.matches('^(https://[A-Za-z0-9.:_-]+|https?://(([a-z0-9-]+[.])*localhost|127[.][0-9.]+|[[]::1[]])(:[0-9]+)?)([/?][^#]*)?$')",message="must be an absolute https URL without user name and fragment (http is allowed on loopback hosts only)"
type PeerURL string

// LTIPlatformSpec describes another learning system that may launch the academy's activities.
// +kubebuilder:validation:XValidation:rule="!has(self.lti13) || !has(self.registration)",message="give lti13 or registration, not both: lti13 holds values that were handed over, registration.dynamic gets them by a link"
// +kubebuilder:validation:XValidation:rule="!has(self.deployments) || self.deployments.policy != 'Listed' || has(self.registration) || (has(self.deployments.list) && self.deployments.list.size() > 0)",message="policy Listed needs at least one entry in list (only with registration.dynamic the registered deployment is enough)",fieldPath=".deployments"
type LTIPlatformSpec struct {
	// academyRef names the LTIAcademy this belongs to, in the same namespace. Left out: "default".
	// +optional
	AcademyRef *AcademyReference `json:"academyRef,omitempty"`

	// title is the name that people see, for example "Moodle at Example University".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	Title string `json:"title"`

	// activation switches this platform on or off without changing a value. Left out: Activated.
	// +optional
	Activation Activation `json:"activation,omitempty"`

	// signingKeySecretRef names a Secret with the signing key (tls.key: RSA of at least 2048 bits as PKCS #8 or PKCS #1 in
	// PEM), labelled lti-operator.io/use: "true". It is used as it stands, and never replaced. While it is missing there is
	// no signing key: none is generated in its place. Left out: the operator generates one, named <platform>-platform-key.
	// +optional
	SigningKeySecretRef *SecretReference `json:"signingKeySecretRef,omitempty"`

	// deletionPolicy says what happens to the Secrets that the operator generated for this object when it is deleted:
	// Retain keeps them, and they are adopted when it returns; Delete deletes them. Left out: Retain.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// lti13 holds the values that the platform's administrator hands over. It may be added later: status.details is
	// complete without it.
	// +optional
	LTI13 *PlatformLTI13 `json:"lti13,omitempty"`

	// registration lets the platform register by a link instead of lti13.
	// +optional
	Registration *PlatformRegistration `json:"registration,omitempty"`

	// lti12 gives the platform one consumer key and secret for all activities that it may open, beside the key that each
	// activity has of its own.
	// +optional
	LTI12 *PlatformLTI12 `json:"lti12,omitempty"`

	// users says how people of this platform are known in the academy.
	// +optional
	Users *PlatformUsers `json:"users,omitempty"`

	// deployments of the tool in the platform that launches are accepted from. Left out: any.
	// +optional
	Deployments *PlatformDeployments `json:"deployments,omitempty"`

	// frameAncestors are the origins that may show our pages in a frame. Left out: any https origin (on a loopback
	// academy also http://*.localhost), because the embedding page's origin cannot be derived from the issuer.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.all(o, o.matches('^https?://([*][.])?[A-Za-z0-9.-]+(:([0-9]{1,5}|[*]))?$'))",message="frameAncestors must be origins such as https://lms.example or https://*.example"
	FrameAncestors []string `json:"frameAncestors,omitempty"`
}

// PlatformLTI13 is the LTI 1.3 registration at the platform.
// +kubebuilder:validation:XValidation:rule="has(self.jwksURL) != has(self.jwks)",message="give exactly one of jwksURL and jwks"
// +kubebuilder:validation:XValidation:rule="!has(self.accessTokenAudience) || has(self.accessTokenURL)",message="accessTokenAudience needs accessTokenURL"
type PlatformLTI13 struct {
	// issuer is the platform's issuer (its "platform ID"), exactly as it stands in the id_token's iss.
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.contains('?')",message="issuer must not have a query"
	Issuer PeerURL `json:"issuer"`
	// clientID that the platform gave this tool.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	ClientID string `json:"clientID"`
	// authenticationURL is the platform's OIDC authentication request URL.
	// +required
	AuthenticationURL PeerURL `json:"authenticationURL"`
	// accessTokenURL is where this tool gets access tokens for the platform's services, such as grades. Launches do
	// without.
	// +optional
	AccessTokenURL *PeerURL `json:"accessTokenURL,omitempty"`
	// accessTokenAudience is what the platform wants to see as audience of this tool's requests for access tokens;
	// Brightspace has one of its own. Left out: accessTokenURL.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	AccessTokenAudience string `json:"accessTokenAudience,omitempty"`
	// jwksURL is the address of the platform's public keys.
	// +optional
	JWKSURL *PeerURL `json:"jwksURL,omitempty"`
	// jwks is the platform's public keyset as JSON, for platforms that cannot be reached from here.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=65536
	JWKS *string `json:"jwks,omitempty"`
}

// LTI12Realm says whose people a form launch brings.
// +kubebuilder:validation:Enum=Separate;Shared
type LTI12Realm string

// Values of LTI12Realm. Left out, it is Separate.
const (
	// LTI12RealmSeparate keeps people of form launches apart from those of LTI 1.3: whoever has the shared secret can
	// name any user. One person becomes the same in both when the platform sends a signed lti1p1 claim.
	LTI12RealmSeparate LTI12Realm = "Separate"
	// LTI12RealmShared takes user 4 of a form launch for user 4 of LTI 1.3.
	LTI12RealmShared LTI12Realm = "Shared"
)

// PlatformLTI12 are the settings of OAuth-signed form launches (LTI 1.0 to 1.2) with the platform's own key.
type PlatformLTI12 struct {
	// credentialsSecretRef names a Secret with consumerKey and sharedSecret, labelled lti-operator.io/use: "true".
	// Left out: the operator generates one, named <platform>.lti12.
	// +optional
	CredentialsSecretRef *SecretReference `json:"credentialsSecretRef,omitempty"`
	// roles: Ignore signs everybody in as a learner; Accept believes the roles in the form. Left out: Ignore.
	// +optional
	Roles LTI12Roles `json:"roles,omitempty"`
	// realm: Separate keeps the people of form launches apart from those of LTI 1.3; Shared takes equal user ids for the
	// same person. Left out: Separate.
	// +optional
	Realm LTI12Realm `json:"realm,omitempty"`
	// signatureMethods that are accepted. LTI knows HMAC-SHA1; Brightspace signs with HMAC-SHA256 unless it is told
	// otherwise. Left out: HMAC-SHA1.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	SignatureMethods []SignatureMethod `json:"signatureMethods,omitempty"`
}

// PlatformUsers says how people of a platform are known in the academy.
type PlatformUsers struct {
	// realm is the name under which the people of this platform are known; user 4 of one realm is never user 4 of
	// another. It cannot change. Give a new LTIPlatform the realm of an old one to carry its people over. Left out: the
	// object's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="realm may hold lower-case letters, digits, - and . only"
	Realm string `json:"realm,omitempty"`
	// previousIssuers are issuers that people of this realm had before. After lti13.issuer has changed, people who were
	// known under the former one are refused (IssuerChanged) until it is listed here: another system could have taken
	// its place, with user ids that mean other people.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=2048
	PreviousIssuers []string `json:"previousIssuers,omitempty"`

	UserLinking `json:",inline"`
}

// DeploymentPolicy says which deployment IDs are accepted.
// +kubebuilder:validation:Enum=Listed;Any
type DeploymentPolicy string

// Values of DeploymentPolicy.
const (
	DeploymentsListed DeploymentPolicy = "Listed"
	DeploymentsAny    DeploymentPolicy = "Any"
)

// PlatformDeployments are the deployments of the tool in the platform.
// +kubebuilder:validation:XValidation:rule="self.policy != 'Any' || !has(self.list) || self.list.size() == 0",message="policy Any takes no list"
type PlatformDeployments struct {
	// policy: Listed accepts the deployments in list only, and that of the approved registration; Any accepts every
	// deployment of the registration.
	// +required
	Policy DeploymentPolicy `json:"policy"`
	// list of accepted deployments.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=256
	List []PlatformDeployment `json:"list,omitempty"`
}

// PlatformDeployment is one deployment of the tool.
type PlatformDeployment struct {
	// id is the deployment ID, exactly as the platform sends it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	ID string `json:"id"`
	// title tells people which deployment this is.
	// +optional
	// +kubebuilder:validation:MaxLength=200
	Title string `json:"title,omitempty"`
	// activation switches this deployment on or off. Left out: Activated.
	// +optional
	Activation Activation `json:"activation,omitempty"`
}

// LTIPlatformStatus is what the operator reports about a platform.
type LTIPlatformStatus struct {
	// conditions: Ready, Accepted, Programmed, Registered; Reconciling and Stalled while True.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// observedGeneration is the generation that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// details are the values for the platform's administrator. They are complete as soon as the object exists and do
	// not change when lti13 is filled in.
	// +optional
	Details *PlatformDetails `json:"details,omitempty"`
	// keys of this registration, newest first.
	// +optional
	// +listType=map
	// +listMapKey=keyID
	// +kubebuilder:validation:MaxItems=8
	Keys []SigningKey `json:"keys,omitempty"`
	// nextRotationAt is when the next key begins to sign, or when the rotation to it is due; absent when neither is known.
	// +optional
	NextRotationAt *metav1.Time `json:"nextRotationAt,omitempty"`
	// registration is the link by which the platform registers, and what has registered.
	// +optional
	Registration *PlatformRegistrationStatus `json:"registration,omitempty"`
	// lti12 are the values of form launches with the platform's own key.
	// +optional
	LTI12 *PlatformLTI12Status `json:"lti12,omitempty"`
	// unknownDeployments are deployments that launched, provably from this platform, although deployments does not list
	// them; the newest ones. Add those that you know to spec.deployments.list.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=20
	UnknownDeployments []UnknownDeployment `json:"unknownDeployments,omitempty"`
}

// PlatformLTI12Status are the values of form launches with the platform's own key. The launch URL is that of each
// activity.
type PlatformLTI12Status struct {
	// credentialsSecretName is the Secret that holds consumerKey and sharedSecret.
	// +required
	// +kubebuilder:validation:MaxLength=253
	CredentialsSecretName string `json:"credentialsSecretName"`
}

// UnknownDeployment is a deployment that launched and is not listed.
type UnknownDeployment struct {
	// id is the deployment ID as the platform sent it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	ID string `json:"id"`
	// firstSeenAt is when it was refused first.
	// +required
	FirstSeenAt metav1.Time `json:"firstSeenAt"`
}

// PlatformDetails are the values that the platform's administrator pastes.
type PlatformDetails struct {
	// loginInitiationURL is the OIDC login initiation URL.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	LoginInitiationURL string `json:"loginInitiationURL"`
	// redirectURI is the one redirect (launch) URI.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	RedirectURI string `json:"redirectURI"`
	// targetLinkURI is the tool's default target link URI. A link to one activity uses that activity's resource URL.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	TargetLinkURI string `json:"targetLinkURI"`
	// deepLinkingURL is where teachers choose activities (Deep Linking 2.0).
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	DeepLinkingURL string `json:"deepLinkingURL,omitempty"`
	// aliasRedirectURIs are the redirect URIs at the academy's aliases, for launches of links that lead there.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=2048
	AliasRedirectURIs []string `json:"aliasRedirectURIs,omitempty"`
	// jwksURL is the address of this tool's public keys.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	JWKSURL string `json:"jwksURL"`
	// domain of the tool.
	// +required
	// +kubebuilder:validation:MaxLength=512
	Domain string `json:"domain"`
}

// LTIPlatform is another learning system that may launch the academy's activities (the academy is the LTI tool).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ltip,categories=lti
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Registered",type=string,JSONPath=`.status.conditions[?(@.type=="Registered")].status`
// +kubebuilder:printcolumn:name="Title",type=string,JSONPath=`.spec.title`
// +kubebuilder:printcolumn:name="Issuer",type=string,JSONPath=`.spec.lti13.issuer`
// +kubebuilder:printcolumn:name="Client ID",type=string,priority=1,JSONPath=`.spec.lti13.clientID`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="the name of an LTIPlatform may have at most 63 characters: it is part of URLs and of the name of its Secret"
// +kubebuilder:validation:XValidation:rule="(has(self.spec.users) && has(self.spec.users.realm) ? self.spec.users.realm : self.metadata.name) == (has(oldSelf.spec.users) && has(oldSelf.spec.users.realm) ? oldSelf.spec.users.realm : oldSelf.metadata.name)",message="users.realm cannot be changed: the people of this platform are known by it (left out, it is the object's name)"
type LTIPlatform struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	Spec LTIPlatformSpec `json:"spec"`
	// status is what is. Until the operator has looked at the object it says so: without a condition tools would take
	// the object for ready.
	// +optional
	// +kubebuilder:default={conditions:{{type:"Ready",status:"Unknown",reason:"Pending",message:"waiting for the operator",lastTransitionTime:"1970-01-01T00:00:00Z"}}}
	Status LTIPlatformStatus `json:"status,omitempty,omitzero"`
}

// LTIPlatformList is a list of LTIPlatform.
// +kubebuilder:object:root=true
type LTIPlatformList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []LTIPlatform `json:"items"`
}

// GetConditions implements Object.
func (p *LTIPlatform) GetConditions() []metav1.Condition { return p.Status.Conditions }

// SetConditions implements Object.
func (p *LTIPlatform) SetConditions(c []metav1.Condition) { p.Status.Conditions = c }

// SetObservedGeneration implements Object.
func (p *LTIPlatform) SetObservedGeneration(g int64) { p.Status.ObservedGeneration = g }

// EffectiveDeploymentPolicy resolves deployments: any deployment when left out.
func (p *LTIPlatform) EffectiveDeploymentPolicy() DeploymentPolicy {
	if p.Spec.Deployments == nil {
		return DeploymentsAny
	}
	return p.Spec.Deployments.Policy
}

// EffectiveRealm resolves users.realm: the object's name when left out.
func (p *LTIPlatform) EffectiveRealm() string {
	if u := p.Spec.Users; u != nil && u.Realm != "" {
		return u.Realm
	}
	return p.Name
}

// LTI12SecretName is the Secret with the platform's consumer key and secret, and whether the operator generates it. It
// ends with .lti12 and not, like that of an activity, with -lti12, so that a platform and an activity of one name do
// not share it.
func (p *LTIPlatform) LTI12SecretName() (name string, generated bool) {
	if l := p.Spec.LTI12; l != nil && l.CredentialsSecretRef != nil {
		return l.CredentialsSecretRef.Name, false
	}
	return p.Name + ".lti12", true
}

// Lists tells whether the spec has something to say about the deployment: it is listed, activated or not, that of the
// approved registration, or all are accepted.
func (p *LTIPlatform) Lists(deploymentID string) bool {
	if p.EffectiveDeploymentPolicy() == DeploymentsAny {
		return true
	}
	if k := p.Approved(); k != nil && k.DeploymentID == deploymentID {
		return true
	}
	for _, d := range p.Spec.Deployments.List {
		if d.ID == deploymentID {
			return true
		}
	}
	return false
}

// SigningKeySecretName is the Secret with the signing key of the registration, and whether the operator generates it.
func (p *LTIPlatform) SigningKeySecretName() (name string, generated bool) {
	if ref := p.Spec.SigningKeySecretRef; ref != nil {
		return ref.Name, false
	}
	return p.Name + "-platform-key", true
}

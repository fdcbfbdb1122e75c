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

	// lti13 holds the values that the platform's administrator hands over. It may be added later: status.details is
	// complete without it.
	// +optional
	LTI13 *PlatformLTI13 `json:"lti13,omitempty"`

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
	// jwksURL is the address of the platform's public keys.
	// +optional
	JWKSURL *PeerURL `json:"jwksURL,omitempty"`
	// jwks is the platform's public keyset as JSON, for platforms that cannot be reached from here.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=65536
	JWKS *string `json:"jwks,omitempty"`
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
// +kubebuilder:validation:XValidation:rule="self.policy != 'Listed' || (has(self.list) && self.list.size() > 0)",message="policy Listed needs at least one entry in list"
// +kubebuilder:validation:XValidation:rule="self.policy != 'Any' || !has(self.list) || self.list.size() == 0",message="policy Any takes no list"
type PlatformDeployments struct {
	// policy: Listed accepts the deployments in list only; Any accepts every deployment of the registration.
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

// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LTIToolSpec describes another system whose activities the academy's learners may open.
// +kubebuilder:validation:XValidation:rule="!has(self.lti13) || !has(self.registration)",message="give lti13 or registration, not both: lti13 holds values that were handed over, registration.dynamic gets them by a link"
type LTIToolSpec struct {
	// academyRef names the LTIAcademy this belongs to, in the same namespace. Left out: "default".
	// +optional
	AcademyRef *AcademyReference `json:"academyRef,omitempty"`

	// title is the name that people see.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	Title string `json:"title"`

	// activation switches this tool on or off without changing a value. Left out: Activated.
	// +optional
	Activation Activation `json:"activation,omitempty"`

	// signingKeySecretRef names a Secret with the signing key (tls.key: RSA of at least 2048 bits as PKCS #8 or PKCS #1 in
	// PEM), labelled lti-operator.io/use: "true". It is used as it stands, and never replaced. While it is missing there is
	// no signing key: none is generated in its place. Left out: the operator generates one, named <tool>-tool-key.
	// +optional
	SigningKeySecretRef *SecretReference `json:"signingKeySecretRef,omitempty"`

	// deletionPolicy says what happens to the Secrets that the operator generated for this object when it is deleted:
	// Retain keeps them, and they are adopted when it returns; Delete deletes them. Left out: Retain.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// lti13 holds the values that the tool's administrator hands over. It may be added later: status.details is complete
	// without it.
	// +optional
	LTI13 *ToolLTI13 `json:"lti13,omitempty"`

	// registration lets the tool register by a link instead of lti13.
	// +optional
	Registration *ToolRegistration `json:"registration,omitempty"`

	// privacy says what this tool is told about learners, in launches, parameters and services alike. Left out: everything.
	// +optional
	Privacy *LearnerPrivacy `json:"privacy,omitempty"`

	// services says what this tool may do besides being opened. Left out: everything.
	// +optional
	Services *ToolServices `json:"services,omitempty"`
}

// ToolLTI13 is the LTI 1.3 registration of the tool.
// +kubebuilder:validation:XValidation:rule="has(self.jwksURL) != has(self.jwks)",message="give exactly one of jwksURL and jwks"
type ToolLTI13 struct {
	// loginInitiationURL is the tool's OIDC login initiation URL, where its activities are opened (1EdTech Security
	// Framework 1.0 section 5.1.1.1).
	// +required
	LoginInitiationURL PeerURL `json:"loginInitiationURL"`
	// jwksURL is the address of the tool's public keys.
	// +optional
	JWKSURL *PeerURL `json:"jwksURL,omitempty"`
	// jwks is the tool's public keyset as JSON, for tools that cannot be reached from here.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=65536
	JWKS *string `json:"jwks,omitempty"`
	// redirectURIs are where the tool may have learners sent to with an ID token, compared character by character. Left
	// out: exactly launchURL, deepLinkingURL and the resourceURLs of the activities of this tool.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	RedirectURIs []PeerURL `json:"redirectURIs,omitempty"`
	// launchURL is the tool's own launch URL: a redirect URI while redirectURIs is left out.
	// +optional
	LaunchURL *PeerURL `json:"launchURL,omitempty"`
	// deepLinkingURL is where authors of the academy choose activities at the tool (Deep Linking 2.0). Like launchURL it is a
	// redirect URI while redirectURIs is left out. Left out: launchURL, or without that the first of redirectURIs.
	// +optional
	DeepLinkingURL *PeerURL `json:"deepLinkingURL,omitempty"`
}

// Disclosure says whether another system is told something about a learner.
// +kubebuilder:validation:Enum=Share;Withhold
type Disclosure string

// Values of Disclosure. Left out, it is Share.
const (
	DisclosureShare    Disclosure = "Share"
	DisclosureWithhold Disclosure = "Withhold"
)

// LearnerPrivacy says what another system is told about learners. It always gets an ID for each, which means nothing
// elsewhere.
type LearnerPrivacy struct {
	// name: Share tells given name, family name and full name; Withhold none of them. Left out: Share.
	// +optional
	Name Disclosure `json:"name,omitempty"`
	// email: Share tells the email address; Withhold does not. Left out: Share.
	// +optional
	Email Disclosure `json:"email,omitempty"`
}

// AssignmentAndGradeService says what a tool may do in the gradebook (Assignment and Grade Services 2.0).
// +kubebuilder:validation:Enum=Disabled;Grades;GradesAndLineItems
type AssignmentAndGradeService string

// Values of AssignmentAndGradeService. Left out, it is GradesAndLineItems.
const (
	// AssignmentAndGradeDisabled refuses the service: results do not come back.
	AssignmentAndGradeDisabled AssignmentAndGradeService = "Disabled"
	// AssignmentAndGradeGrades lets the tool read its line items, send scores and read results.
	AssignmentAndGradeGrades AssignmentAndGradeService = "Grades"
	// AssignmentAndGradeGradesAndLineItems lets the tool make, change and delete line items of its own besides.
	AssignmentAndGradeGradesAndLineItems AssignmentAndGradeService = "GradesAndLineItems"
)

// NamesAndRolesService says whether a tool may ask who has opened an activity (Names and Role Provisioning Services 2.0).
// +kubebuilder:validation:Enum=Disabled;Enabled
type NamesAndRolesService string

// Values of NamesAndRolesService. Left out, it is Enabled.
const (
	NamesAndRolesDisabled NamesAndRolesService = "Disabled"
	NamesAndRolesEnabled  NamesAndRolesService = "Enabled"
)

// DeepLinkingService says whether authors may choose activities at a tool (Deep Linking 2.0).
// +kubebuilder:validation:Enum=Disabled;Enabled
type DeepLinkingService string

// Values of DeepLinkingService. Left out, it is Enabled.
const (
	DeepLinkingDisabled DeepLinkingService = "Disabled"
	DeepLinkingEnabled  DeepLinkingService = "Enabled"
)

// ToolServices says which services of this platform a tool may use.
type ToolServices struct {
	// assignmentAndGrade: Disabled refuses it, so that no results come back; Grades lets the tool send scores and read
	// results and line items; GradesAndLineItems lets it also make, change and delete line items of its own. Left out:
	// GradesAndLineItems.
	// +optional
	AssignmentAndGrade AssignmentAndGradeService `json:"assignmentAndGrade,omitempty"`
	// namesAndRoles: Enabled lets the tool ask who has opened an activity, and learn of them what privacy allows; Disabled
	// refuses it. Left out: Enabled.
	// +optional
	NamesAndRoles NamesAndRolesService `json:"namesAndRoles,omitempty"`
	// deepLinking: Enabled lets the academy's authors, see authors of the LTIAcademy, choose activities at the tool; Disabled
	// refuses it. Left out: Enabled.
	// +optional
	DeepLinking DeepLinkingService `json:"deepLinking,omitempty"`
}

// LTIToolStatus is what the operator reports about a tool.
type LTIToolStatus struct {
	// conditions: Ready, Accepted, Programmed, Registered; Reconciling and Stalled while True.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// observedGeneration is the generation that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// details are the values for the tool's administrator, complete as soon as the object exists.
	// +optional
	Details *ToolDetails `json:"details,omitempty"`
	// keys of this registration, newest first.
	// +optional
	// +listType=map
	// +listMapKey=keyID
	// +kubebuilder:validation:MaxItems=8
	Keys []SigningKey `json:"keys,omitempty"`
	// nextRotationAt is when the next key begins to sign, or when the rotation to it is due; absent when neither is known.
	// +optional
	NextRotationAt *metav1.Time `json:"nextRotationAt,omitempty"`
	// registration is the link by which the tool registers, and what has registered.
	// +optional
	Registration *ToolRegistrationStatus `json:"registration,omitempty"`
}

// ToolDetails are the values that the tool's administrator pastes.
type ToolDetails struct {
	// platformID is the issuer of this platform, the same for every tool.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	PlatformID string `json:"platformID"`
	// clientID of the tool at this platform.
	// +required
	// +kubebuilder:validation:MaxLength=255
	ClientID string `json:"clientID"`
	// deploymentID of the tool at this platform.
	// +required
	// +kubebuilder:validation:MaxLength=255
	DeploymentID string `json:"deploymentID"`
	// authenticationURL is the OIDC authentication request URL.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	AuthenticationURL string `json:"authenticationURL"`
	// accessTokenURL is the OAuth 2 access token URL.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	AccessTokenURL string `json:"accessTokenURL"`
	// jwksURL is the address of this platform's public keys.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	JWKSURL string `json:"jwksURL"`
	// chooseURL is for authors of the academy and not for the tool's administrator: where they choose activities at the tool.
	// Absent while services.deepLinking is Disabled.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	ChooseURL string `json:"chooseURL,omitempty"`
}

// LTITool is another system whose activities the academy's learners may open (the academy is the LTI platform).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ltit,categories=lti
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Registered",type=string,JSONPath=`.status.conditions[?(@.type=="Registered")].status`
// +kubebuilder:printcolumn:name="Title",type=string,JSONPath=`.spec.title`
// +kubebuilder:printcolumn:name="Login URL",type=string,priority=1,JSONPath=`.spec.lti13.loginInitiationURL`
// +kubebuilder:printcolumn:name="Client ID",type=string,priority=1,JSONPath=`.status.details.clientID`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="the name of an LTITool may have at most 63 characters: it is part of URLs and of the name of its Secret"
type LTITool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	Spec LTIToolSpec `json:"spec"`
	// status is what is. Until the operator has looked at the object it says so: without a condition tools would take
	// the object for ready.
	// +optional
	// +kubebuilder:default={conditions:{{type:"Ready",status:"Unknown",reason:"Pending",message:"waiting for the operator",lastTransitionTime:"1970-01-01T00:00:00Z"}}}
	Status LTIToolStatus `json:"status,omitempty,omitzero"`
}

// LTIToolList is a list of LTITool.
// +kubebuilder:object:root=true
type LTIToolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []LTITool `json:"items"`
}

// GetConditions implements Object.
func (t *LTITool) GetConditions() []metav1.Condition { return t.Status.Conditions }

// SetConditions implements Object.
func (t *LTITool) SetConditions(c []metav1.Condition) { t.Status.Conditions = c }

// SetObservedGeneration implements Object.
func (t *LTITool) SetObservedGeneration(g int64) { t.Status.ObservedGeneration = g }

// EffectiveAssignmentAndGrade resolves services.assignmentAndGrade: GradesAndLineItems when left out.
func (t *LTITool) EffectiveAssignmentAndGrade() AssignmentAndGradeService {
	if s := t.Spec.Services; s != nil && s.AssignmentAndGrade != "" {
		return s.AssignmentAndGrade
	}
	return AssignmentAndGradeGradesAndLineItems
}

// EffectiveNamesAndRoles resolves services.namesAndRoles: Enabled when left out.
func (t *LTITool) EffectiveNamesAndRoles() NamesAndRolesService {
	if s := t.Spec.Services; s != nil && s.NamesAndRoles != "" {
		return s.NamesAndRoles
	}
	return NamesAndRolesEnabled
}

// EffectiveDeepLinking resolves services.deepLinking: Enabled when left out.
func (t *LTITool) EffectiveDeepLinking() DeepLinkingService {
	if s := t.Spec.Services; s != nil && s.DeepLinking != "" {
		return s.DeepLinking
	}
	return DeepLinkingEnabled
}

// SharesName tells whether names are told: they are when nothing is said.
func (p *LearnerPrivacy) SharesName() bool { return p == nil || p.Name != DisclosureWithhold }

// SharesEmail tells whether email addresses are told: they are when nothing is said.
func (p *LearnerPrivacy) SharesEmail() bool { return p == nil || p.Email != DisclosureWithhold }

// SigningKeySecretName is the Secret with the signing key of the registration, and whether the operator generates it.
func (t *LTITool) SigningKeySecretName() (name string, generated bool) {
	if ref := t.Spec.SigningKeySecretRef; ref != nil {
		return ref.Name, false
	}
	return t.Name + "-tool-key", true
}

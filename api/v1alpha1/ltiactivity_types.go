// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ActivityType is the kind of a learning activity.
// +kubebuilder:validation:Enum=ELearning;Microlearning;LearningPlaylist;Exam
type ActivityType string

// Values of ActivityType. ELearning, Microlearning and LearningPlaylist can be shared; ELearning and Exam can be external.
const (
	ELearning        ActivityType = "ELearning"
	Microlearning    ActivityType = "Microlearning"
	LearningPlaylist ActivityType = "LearningPlaylist"
	// Exam is passed or failed by its score, instead of completed.
	Exam ActivityType = "Exam"
)

// Presentation says where an activity opens.
// +kubebuilder:validation:Enum=NewWindow;Embedded
type Presentation string

// Values of Presentation.
const (
	// NewWindow opens the activity top-level, in a window of its own, also when it is launched in a frame.
	NewWindow Presentation = "NewWindow"
	// Embedded opens a shared activity where it is launched, and an external one in a frame of a page of ours. In a frame the
	// cookies of what is shown in it must be SameSite=None; Secure; Partitioned.
	Embedded Presentation = "Embedded"
)

// SignIn says how the academy learns who was launched.
// +kubebuilder:validation:Enum=OpenIDConnect;LaunchCode
type SignIn string

// Values of SignIn.
const (
	// SignInOpenIDConnect sends the browser to the application's initiateLoginURI; the application signs the person in at the
	// provider at {url}/oidc, and goes on to targetURL.
	SignInOpenIDConnect SignIn = "OpenIDConnect"
	// SignInLaunchCode sends the browser to targetURL with a one-time code (parameter lti_launch_code, 60 seconds) that the
	// academy's back end redeems at {url}/launch-codes/redeem.
	SignInLaunchCode SignIn = "LaunchCode"
)

// LTIActivitySpec describes a learning activity. One with neither share nor external is available to nobody.
// +kubebuilder:validation:XValidation:rule="!has(self.share) || !has(self.external)",message="give share or external, not both: an activity was made here or elsewhere"
// +kubebuilder:validation:XValidation:rule="has(self.minimumScore) == (self.type == 'Exam')",message="minimumScore is required for type Exam, and for no other type"
// +kubebuilder:validation:XValidation:rule="!has(self.share) || self.type != 'Exam'",message="an activity of type Exam cannot be shared; ELearning, Microlearning and LearningPlaylist can"
// +kubebuilder:validation:XValidation:rule="!has(self.external) || self.type in ['ELearning', 'Exam']",message="an activity of this type cannot be external; ELearning and Exam can"
type LTIActivitySpec struct {
	// academyRef names the LTIAcademy this belongs to, in the same namespace. Left out: "default".
	// +optional
	AcademyRef *AcademyReference `json:"academyRef,omitempty"`

	// title is the name that people see.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	Title string `json:"title"`

	// description that people see on the page that opens the activity.
	// +optional
	// +kubebuilder:validation:MaxLength=4000
	Description string `json:"description,omitempty"`

	// durationMinutes is how long the activity takes, in minutes.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	DurationMinutes *int32 `json:"durationMinutes,omitempty"`

	// type of the activity: ELearning, Microlearning and LearningPlaylist can be shared, ELearning and Exam can be external.
	// +required
	Type ActivityType `json:"type"`

	// minimumScore is the score that passes an exam, in percent of the maximum. Required for type Exam, and for no other
	// type.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MinimumScore *int32 `json:"minimumScore,omitempty"`

	// deletionPolicy says what happens to the Secret that the operator generated for this object when it is deleted: Retain
	// keeps it, and it is adopted when the object returns; Delete deletes it. Left out: Retain.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// share makes an activity of the academy available to other systems. Taking it away ends all launches at once.
	// +optional
	Share *ActivityShare `json:"share,omitempty"`

	// external makes an activity of another system available to the academy's learners, who sign in at learners.oidc of the
	// academy. Taking it away ends all launches at once.
	// +optional
	External *ActivityExternal `json:"external,omitempty"`
}

// ActivityExternal says how the academy's learners open an activity that was made elsewhere.
// +kubebuilder:validation:XValidation:rule="has(self.lti12) != has(self.lti13)",message="give exactly one of lti12 and lti13"
type ActivityExternal struct {
	// presentation: NewWindow shows the tool in the window that status.external.startURL is opened in; Embedded shows it in
	// a frame of a page of ours. Left out: NewWindow.
	// +optional
	Presentation Presentation `json:"presentation,omitempty"`
	// returnURL is where the tool sends learners back to (launch_presentation_return_url). Left out: nowhere.
	// +optional
	ReturnURL *PeerURL `json:"returnURL,omitempty"`
	// lti12 opens the activity by an OAuth-signed form (LTI 1.0 to 1.2).
	// +optional
	LTI12 *ExternalLTI12 `json:"lti12,omitempty"`
	// lti13 opens the activity at an LTITool, over LTI 1.3.
	// +optional
	LTI13 *ExternalLTI13 `json:"lti13,omitempty"`
}

// ExternalLTI12 is an activity that is opened by an OAuth-signed form.
type ExternalLTI12 struct {
	// launchURL is where the form is posted to.
	// +required
	LaunchURL PeerURL `json:"launchURL"`
	// credentialsSecretRef names the Secret with consumerKey and sharedSecret as the other party gave them, labelled
	// lti-operator.io/use: "true". None is generated: the other party decides about them. Its key previousSharedSecret, if
	// there is one, is still accepted for results.
	// +required
	CredentialsSecretRef SecretReference `json:"credentialsSecretRef"`
	// resourceLinkID identifies the place of the activity to the other system (resource_link_id): what it keeps of a
	// learner's work it keeps under this.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\\\p{Cc}]')",message="resourceLinkID must not hold control characters such as line ends"
	ResourceLinkID string `json:"resourceLinkID"`
	// parameters are further form fields. A name is sent with custom_ before it, unless it starts with that already.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(p, !p.name.matches('(?i)^(custom_)*(oauth_|lti_|user_id$|roles$)'))",message="parameters must not be called user_id, roles, oauth_... or lti_..., also not with custom_ before it: those belong to the launch itself"
	// +kubebuilder:validation:XValidation:rule="!self.exists(p, !p.name.startsWith('custom_') && self.exists(q, q.name == 'custom_' + p.name))",message="parameters must not hold one name both with and without custom_: it is sent with custom_ before it either way"
	Parameters []LaunchParameter `json:"parameters,omitempty"`
	// privacy says what the other system is told about learners, in the form and its parameters alike. Left out: everything.
	// +optional
	Privacy *LearnerPrivacy `json:"privacy,omitempty"`
}

// ExternalLTI13 is an activity that is opened at an LTITool. What the tool is told about learners, and what it may do, is
// said there.
type ExternalLTI13 struct {
	// toolRef names the LTITool.
	// +required
	ToolRef ToolReference `json:"toolRef"`
	// resourceURL is the target link URI of the activity at the tool.
	// +required
	ResourceURL PeerURL `json:"resourceURL"`
	// resourceLinkID identifies the place of the activity to the tool (LTI Core 1.3 section 5.3.5): what it keeps of a
	// learner's work it keeps under this. No two activities of one tool may have the same. Left out: the name of the
	// LTIActivity.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ -~]*$')",message="resourceLinkID may hold printable ASCII characters only"
	ResourceLinkID string `json:"resourceLinkID,omitempty"`
	// parameters are sent as the custom claim, under their names as they stand here.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Parameters []LaunchParameter `json:"parameters,omitempty"`
}

// ToolReference names an LTITool of the same academy and namespace.
type ToolReference struct {
	// name of the LTITool.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
}

// LaunchParameter is a custom parameter of a launch.
type LaunchParameter struct {
	// name of the parameter.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\\\s\\\\p{Z}\\\\p{Cc}]')",message="the name of a parameter must not hold blanks or control characters"
	Name string `json:"name"`
	// value of the parameter, as it stands here or a substitution variable such as $User.id. May be empty.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Value string `json:"value,omitempty"`
}

// ActivityShare says how an activity of the academy is opened from elsewhere.
type ActivityShare struct {
	// targetURL is where the activity is in the academy.
	// +required
	TargetURL PeerURL `json:"targetURL"`
	// signIn says how the academy learns who was launched: OpenIDConnect signs people in to an application of the academy at
	// the provider at {url}/oidc; LaunchCode hands targetURL a one-time code.
	// +required
	SignIn SignIn `json:"signIn"`
	// clientID names the one of the academy's clients that people are signed in to. No other client may then redeem their
	// codes or report their progress. Left out with OpenIDConnect: the only client with an initiateLoginURI; left out with
	// LaunchCode: every client may.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	ClientID string `json:"clientID,omitempty"`
	// presentation: NewWindow or Embedded. Left out: NewWindow.
	// +optional
	Presentation Presentation `json:"presentation,omitempty"`
	// grade says what becomes the other system's grade: Completion is the score where there is one, and otherwise 1 of 1
	// once the activity is completed; Score is the score alone; Progress is how much is done, in percent. Left out:
	// Completion.
	// +optional
	Grade GradePolicy `json:"grade,omitempty"`
	// enrolment says what launched people become members of. It needs provisioning.scim of the academy.
	// +optional
	Enrolment *ShareEnrolment `json:"enrolment,omitempty"`
	// lti12 are the settings of the OAuth-signed form launch (LTI 1.0 to 1.2).
	// +optional
	LTI12 *ShareLTI12 `json:"lti12,omitempty"`
	// lti13 are the settings of the LTI 1.3 launch.
	// +optional
	LTI13 *ShareLTI13 `json:"lti13,omitempty"`
	// platforms selects the LTIPlatforms of the academy that may open this over LTI 1.3, by their labels. Left out:
	// all of them.
	// +optional
	Platforms *PlatformSelector `json:"platforms,omitempty"`
}

// ShareEnrolment says what launched people become members of.
type ShareEnrolment struct {
	// group is the displayName, or the externalId, of a group of the academy's directory. One that does not exist is made.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	Group string `json:"group"`
}

// GradePolicy says what becomes the other system's grade.
// +kubebuilder:validation:Enum=Completion;Score;Progress
type GradePolicy string

// Values of GradePolicy.
const (
	GradeCompletion GradePolicy = "Completion"
	GradeScore      GradePolicy = "Score"
	GradeProgress   GradePolicy = "Progress"
)

// LineItemPolicy says who makes the column of the other system's gradebook.
// +kubebuilder:validation:Enum=CreateIfMissing;FromPlatform
type LineItemPolicy string

// Values of LineItemPolicy.
const (
	LineItemCreateIfMissing LineItemPolicy = "CreateIfMissing"
	LineItemFromPlatform    LineItemPolicy = "FromPlatform"
)

// ShareLTI13 are the settings of the LTI 1.3 launch.
type ShareLTI13 struct {
	// lineItem: CreateIfMissing makes a column in the platform's gradebook for a link that has none; FromPlatform uses
	// the platform's own only. Left out: CreateIfMissing.
	// +optional
	LineItem LineItemPolicy `json:"lineItem,omitempty"`
}

// ShareLTI12 are the settings of the OAuth-signed form launch.
type ShareLTI12 struct {
	// credentialsSecretRef names a Secret with consumerKey and sharedSecret, labelled lti-operator.io/use: "true".
	// Left out: the operator generates one, named <activity>-lti12.
	// +optional
	CredentialsSecretRef *SecretReference `json:"credentialsSecretRef,omitempty"`
	// platformRef names the LTIPlatform that this key was given to. Its people are then those of the platform's own form
	// launches, and the platform's activation and labels count. Left out: people are told apart by the instance that
	// sends them (tool_consumer_instance_guid), or by the key where none is sent.
	// +optional
	PlatformRef *PlatformReference `json:"platformRef,omitempty"`
	// roles: Ignore signs everybody in as a learner; Accept believes the roles in the form. Left out: that of the
	// platform in platformRef, else Ignore.
	// +optional
	Roles LTI12Roles `json:"roles,omitempty"`
	// signatureMethods that are accepted. LTI knows HMAC-SHA1; Brightspace signs with HMAC-SHA256 unless it is told
	// otherwise. Left out: those of the platform in platformRef, else
	// HMAC-SHA1.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	SignatureMethods []SignatureMethod `json:"signatureMethods,omitempty"`
}

// PlatformReference names an LTIPlatform of the same academy and namespace.
type PlatformReference struct {
	// name of the LTIPlatform.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
}

// PlatformSelector selects LTIPlatforms by label.
type PlatformSelector struct {
	// matchLabels that an LTIPlatform must all carry.
	// +required
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	MatchLabels map[string]string `json:"matchLabels"`
}

// LTIActivityStatus is what the operator reports about an activity.
type LTIActivityStatus struct {
	// conditions: Ready, Accepted, Programmed; Reconciling and Stalled while True.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// observedGeneration is the generation that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// lti12 are the values for an administrator who adds this activity over LTI 1.2.
	// +optional
	LTI12 *ActivityLTI12Status `json:"lti12,omitempty"`
	// lti13 are the values for an administrator who adds this activity over LTI 1.3.
	// +optional
	LTI13 *ActivityLTI13Status `json:"lti13,omitempty"`
	// external are the values of an activity that was made elsewhere.
	// +optional
	External *ActivityExternalStatus `json:"external,omitempty"`
}

// ActivityExternalStatus are the values of an activity that was made elsewhere.
type ActivityExternalStatus struct {
	// startURL is the link that the academy shows to its learners.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	StartURL string `json:"startURL"`
}

// ActivityLTI12Status are the values of the OAuth-signed form launch.
type ActivityLTI12Status struct {
	// launchURL is the launch URL to paste.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	LaunchURL string `json:"launchURL"`
	// credentialsSecretName is the Secret that holds consumerKey and sharedSecret.
	// +required
	// +kubebuilder:validation:MaxLength=253
	CredentialsSecretName string `json:"credentialsSecretName"`
}

// ActivityLTI13Status are the values of the LTI 1.3 launch.
type ActivityLTI13Status struct {
	// resourceURL is the target link URI of this activity.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	ResourceURL string `json:"resourceURL"`
}

// LTIActivity is a learning activity that is exchanged through LTI.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=ltiactivities,singular=ltiactivity,shortName=ltia,categories=lti
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Title",type=string,JSONPath=`.spec.title`
// +kubebuilder:printcolumn:name="Tool",type=string,priority=1,JSONPath=`.spec.external.lti13.toolRef.name`
// +kubebuilder:printcolumn:name="Start URL",type=string,priority=1,JSONPath=`.status.external.startURL`
// +kubebuilder:printcolumn:name="Resource URL",type=string,priority=1,JSONPath=`.status.lti13.resourceURL`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 200",message="the name of an LTIActivity may have at most 200 characters: it is part of URLs and of the name of its Secret"
type LTIActivity struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	Spec LTIActivitySpec `json:"spec"`
	// status is what is. Until the operator has looked at the object it says so: without a condition tools would take
	// the object for ready.
	// +optional
	// +kubebuilder:default={conditions:{{type:"Ready",status:"Unknown",reason:"Pending",message:"waiting for the operator",lastTransitionTime:"1970-01-01T00:00:00Z"}}}
	Status LTIActivityStatus `json:"status,omitempty,omitzero"`
}

// LTIActivityList is a list of LTIActivity.
// +kubebuilder:object:root=true
type LTIActivityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []LTIActivity `json:"items"`
}

// GetConditions implements Object.
func (a *LTIActivity) GetConditions() []metav1.Condition { return a.Status.Conditions }

// SetConditions implements Object.
func (a *LTIActivity) SetConditions(c []metav1.Condition) { a.Status.Conditions = c }

// SetObservedGeneration implements Object.
func (a *LTIActivity) SetObservedGeneration(g int64) { a.Status.ObservedGeneration = g }

// Effective resolves a presentation that may be left out: NewWindow.
func (p Presentation) Effective() Presentation {
	if p == "" {
		return NewWindow
	}
	return p
}

// EffectiveGrade resolves share.grade: Completion when left out.
func (s *ActivityShare) EffectiveGrade() GradePolicy {
	if s.Grade == "" {
		return GradeCompletion
	}
	return s.Grade
}

// EffectiveLineItem resolves share.lti13.lineItem: CreateIfMissing when left out.
func (s *ActivityShare) EffectiveLineItem() LineItemPolicy {
	if s.LTI13 == nil || s.LTI13.LineItem == "" {
		return LineItemCreateIfMissing
	}
	return s.LTI13.LineItem
}

// EffectiveResourceLinkID resolves external.lti13.resourceLinkID: the object's name when left out.
func (a *LTIActivity) EffectiveResourceLinkID() string {
	if e := a.Spec.External; e != nil && e.LTI13 != nil && e.LTI13.ResourceLinkID != "" {
		return e.LTI13.ResourceLinkID
	}
	return a.Name
}

// ExternalSecretName is the Secret with the consumer key and secret that another system gave us for this activity; empty
// for an activity that needs none.
func (a *LTIActivity) ExternalSecretName() string {
	if e := a.Spec.External; e != nil && e.LTI12 != nil {
		return e.LTI12.CredentialsSecretRef.Name
	}
	return ""
}

// LTI12SecretName is the Secret with the consumer key and secret of an activity that is shared, and whether the operator
// generates it.
func (a *LTIActivity) LTI12SecretName() (name string, generated bool) {
	if s := a.Spec.Share; s != nil && s.LTI12 != nil && s.LTI12.CredentialsSecretRef != nil {
		return s.LTI12.CredentialsSecretRef.Name, false
	}
	return a.Name + "-lti12", true
}

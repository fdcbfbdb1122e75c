// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Condition types. Ready is derived from the others; Reconciling and Stalled are present only while True, as kstatus
// (https://pkg.go.dev/sigs.k8s.io/cli-utils/pkg/kstatus) expects.
const (
	// ConditionReady is True when everything the spec asks for is done and the launch handler serves it. Waiting for
	// another organisation is not unready.
	ConditionReady = "Ready"
	// ConditionAccepted is True when the spec is valid and everything it refers to exists.
	ConditionAccepted = "Accepted"
	// ConditionProgrammed is True once every running launch handler has reported a table that holds this generation.
	ConditionProgrammed = "Programmed"
	// ConditionRegistered is True when the values of the other party are filled in, so that launches can happen.
	ConditionRegistered = "Registered"
	// ConditionExposed is on an LTIAcademy with spec.exposure, and True when the Ingress or HTTPRoute is made.
	ConditionExposed = "Exposed"
	// ConditionReconciling is present and True while work is under way.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present and True when nothing will happen until somebody in this cluster changes something.
	ConditionStalled = "Stalled"
	// ConditionNearCapacity is present and True on an LTIAcademy whose routing table is nearly full, or full.
	ConditionNearCapacity = "NearCapacity"
	// ConditionPublishingHeld is present and True on an LTIAcademy whose newest routing table is not published, or not
	// all of it, and somebody should know why.
	ConditionPublishingHeld = "PublishingHeld"
)

// Condition reasons. They are stable: alerts and scripts may match them.
const (
	ReasonReady                = "Ready"
	ReasonDeactivated          = "Deactivated"
	ReasonPending              = "Pending"
	ReasonAccepted             = "Accepted"
	ReasonProgrammed           = "Programmed"
	ReasonProgramming          = "Programming"
	ReasonHandlerUnreachable   = "HandlerUnreachable"
	ReasonPublishFailed        = "PublishFailed"
	ReasonRegistered           = "Registered"
	ReasonAwaitingRegistration = "AwaitingRegistration"
	// ReasonRegistrationPending: something has registered by the link, and nobody has approved it.
	ReasonRegistrationPending = "RegistrationPending"
	// ReasonRegistrationNotFound: spec approves a registration that is not known.
	ReasonRegistrationNotFound = "RegistrationNotFound"
	// ReasonRegistrationInvalid: the approved registration has values that cannot be used.
	ReasonRegistrationInvalid = "RegistrationInvalid"

	ReasonAcademyNotFound       = "AcademyNotFound"
	ReasonAcademyNotAccepted    = "AcademyNotAccepted"
	ReasonURLConflict           = "URLConflict"
	ReasonPlatformNotFound      = "PlatformNotFound"
	ReasonToolNotFound          = "ToolNotFound"
	ReasonClientNotFound        = "ClientNotFound"
	ReasonDuplicateRegistration = "DuplicateRegistration"
	ReasonDuplicateResourceLink = "DuplicateResourceLink"
	ReasonDuplicateConsumerKey  = "DuplicateConsumerKey"
	ReasonSecretNotFound        = "SecretNotFound"
	ReasonSecretNotShared       = "SecretNotShared"
	ReasonSecretInvalid         = "SecretInvalid"
	ReasonSecretConflict        = "SecretConflict"
	ReasonInvalidSpec           = "InvalidSpec"
	ReasonOversized             = "Oversized"
	ReasonCapacityExceeded      = "CapacityExceeded"
	ReasonNearCapacity          = "NearCapacity"
	ReasonRemovalNotConfirmed   = "RemovalNotConfirmed"
	ReasonHandlerFormat         = "HandlerFormat"

	ReasonExposed            = "Exposed"
	ReasonExposureConflict   = "ExposureConflict"
	ReasonExposureRefused    = "ExposureRefused"
	ReasonGatewayAPINotFound = "GatewayAPINotFound"
)

// AnnotationPrefix begins the annotations with which people ask the operator for something.
const AnnotationPrefix = "lti-operator.io/"

// AnnotationConfirmRemoval on an LTIAcademy lets most of its activities be removed at once. Its value is the one that the
// condition PublishingHeld names.
const AnnotationConfirmRemoval = AnnotationPrefix + "confirm-removal"

// Labels and Secret keys that people meet.
const (
	// LabelUse marks a Secret that lti-operator may read. On a Secret that a user supplies it is the consent of the
	// Secret's owner: without it anyone who may create a resource could have any Secret of the namespace read.
	LabelUse = "lti-operator.io/use"
	// LabelUseValue is the value of LabelUse.
	LabelUseValue = "true"
	// LabelOwnerKind and LabelOwnerName tell whose generated object this is. They are repaired, never relied on.
	LabelOwnerKind = "lti-operator.io/kind"
	LabelOwnerName = "lti-operator.io/name"
	// LabelAcademy is on every object that belongs to the launch handler of an academy.
	LabelAcademy = "lti-operator.io/academy"

	// SecretKeyConsumerKey and SecretKeySharedSecret are the data keys of LTI 1.2 credentials.
	SecretKeyConsumerKey  = "consumerKey"
	SecretKeySharedSecret = "sharedSecret"
	// SecretKeyClientSecret is the data key of an academy application's client secret.
	SecretKeyClientSecret = "clientSecret"
	SecretKeyToken        = "token"
	// SecretKeyPreviousSharedSecret is the data key of a shared secret that is still accepted beside SecretKeySharedSecret.
	SecretKeyPreviousSharedSecret = "previousSharedSecret"
	// SecretKeySigningSecret is the data key of what signs results, as Standard Webhooks writes it; SecretKeyPreviousSigningSecret
	// that of one that signs besides while it is replaced.
	SecretKeySigningSecret         = "signingSecret"
	SecretKeyPreviousSigningSecret = "previousSigningSecret"
	// SecretKeyPrivateKey is the data key of the signing key (PKCS #8, in a user's own Secret also PKCS #1; PEM).
	SecretKeyPrivateKey = "tls.key"

	// SecretTypeSigningKey, SecretTypeLTI12Credentials and SecretTypeAcademyKeys are the types of generated Secrets.
	SecretTypeSigningKey       = "lti-operator.io/signing-key"
	SecretTypeLTI12Credentials = "lti-operator.io/lti12-credentials"
	SecretTypeAcademyKeys      = "lti-operator.io/academy-keys"
)

// Annotations of LTIPlatform, LTITool and LTIAcademy that ask for something to be done with their keys.
const (
	// AnnotationRotate starts one rotation for every new value, for example the present time.
	AnnotationRotate = "lti-operator.io/rotate"
	// AnnotationRevoke names keys, by the keyID in status.keys, that go at once, without an overlap. Several are
	// separated by commas.
	AnnotationRevoke = "lti-operator.io/revoke"
)

// DefaultAcademyName is the academy that a resource without academyRef belongs to.
const DefaultAcademyName = "default"

// Activation switches an integration on or off without changing any of its values.
// +kubebuilder:validation:Enum=Activated;Deactivated
type Activation string

// Values of Activation. Left out, it is Activated.
const (
	Activated   Activation = "Activated"
	Deactivated Activation = "Deactivated"
)

// Active tells whether the integration is switched on; left out means on.
func (a Activation) Active() bool { return a != Deactivated }

// AcademyReference names an LTIAcademy in the same namespace.
type AcademyReference struct {
	// name of the LTIAcademy.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// AcademyName resolves a reference that may be left out.
func AcademyName(ref *AcademyReference) string {
	if ref == nil || ref.Name == "" {
		return DefaultAcademyName
	}
	return ref.Name
}

// SecretReference names a Secret in the same namespace. The Secret must carry the label lti-operator.io/use: "true".
type SecretReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// LinkByEmail says whether a person who is launched for the first time may be given the account that has their email
// address.
// +kubebuilder:validation:Enum=Never;TrustedDomains;Always
type LinkByEmail string

// Values of LinkByEmail. Left out, it is Never: the administrator of a learning system can write any address into a
// launch.
const (
	// LinkByEmailNever keeps people of different systems apart, whatever their addresses.
	LinkByEmailNever LinkByEmail = "Never"
	// LinkByEmailTrustedDomains believes the system about the addresses in trustedEmailDomains.
	LinkByEmailTrustedDomains LinkByEmail = "TrustedDomains"
	// LinkByEmailAlways believes the system about every address. It is for one's own systems.
	LinkByEmailAlways LinkByEmail = "Always"
)

// UserLinking says which email addresses a learning system is believed about.
// +kubebuilder:validation:XValidation:rule="!has(self.linkByEmail) || self.linkByEmail != 'TrustedDomains' || (has(self.trustedEmailDomains) && self.trustedEmailDomains.size() > 0)",message="linkByEmail TrustedDomains needs at least one entry in trustedEmailDomains"
// +kubebuilder:validation:XValidation:rule="!has(self.trustedEmailDomains) || (has(self.linkByEmail) && self.linkByEmail == 'TrustedDomains')",message="trustedEmailDomains is for linkByEmail TrustedDomains only"
type UserLinking struct {
	// linkByEmail says whether a person who is launched for the first time may be given the account that has their
	// email address: Never, TrustedDomains (for addresses in trustedEmailDomains) or Always. An account is shared only
	// when the system that it came from was believed about the address too. Where it is not allowed and the address is
	// taken, the launch is refused (EmailInUse). Left out: that of the academy for a platform, Never for the academy.
	// +optional
	LinkByEmail LinkByEmail `json:"linkByEmail,omitempty"`
	// trustedEmailDomains are the parts after the @, compared exactly: example.org does not include sub.example.org.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.all(d, d.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'))",message="trustedEmailDomains must be lower-case domains such as example.org"
	TrustedEmailDomains []string `json:"trustedEmailDomains,omitempty"`
}

// LTI12Roles says what the roles in an OAuth-signed form launch are worth.
// +kubebuilder:validation:Enum=Ignore;Accept
type LTI12Roles string

// Values of LTI12Roles. Left out, it is Ignore: everybody who administers a course there has the shared secret, and
// could make anybody a teacher with it.
const (
	LTI12RolesIgnore LTI12Roles = "Ignore"
	LTI12RolesAccept LTI12Roles = "Accept"
)

// SignatureMethod is a way of signing a form launch (oauth_signature_method).
// +kubebuilder:validation:Enum=HMAC-SHA1;HMAC-SHA256
type SignatureMethod string

// Values of SignatureMethod.
const (
	HMACSHA1   SignatureMethod = "HMAC-SHA1"
	HMACSHA256 SignatureMethod = "HMAC-SHA256"
)

// DeletionPolicy says what happens to generated Secrets when their object is deleted.
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// Values of DeletionPolicy. Left out, it is Retain.
const (
	// DeletionRetain keeps them; they are adopted by name when the object returns. Their values have been pasted into
	// other people's systems.
	DeletionRetain DeletionPolicy = "Retain"
	// DeletionDelete deletes them with the object.
	DeletionDelete DeletionPolicy = "Delete"
)

// KeyState says what a key is used for.
// +kubebuilder:validation:Enum=Next;Signing;Previous
type KeyState string

// Values of KeyState.
const (
	// KeyNext is published and will sign once whoever caches the key set has seen it.
	KeyNext KeyState = "Next"
	// KeySigning signs.
	KeySigning KeyState = "Signing"
	// KeyPrevious has signed, and is published until that has expired.
	KeyPrevious KeyState = "Previous"
)

// SigningKey describes one key; the key itself is in a Secret.
type SigningKey struct {
	// keyID is the "kid" under which the public key stands in the JWKS (RFC 7638 thumbprint). For the keys of an academy,
	// which are in no JWKS, it is a name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	KeyID string `json:"keyID"`
	// createdAt is when the key was made.
	// +optional
	CreatedAt metav1.Time `json:"createdAt,omitempty,omitzero"`
	// secretName is the Secret that holds the private key.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName"`
	// state: Next is published and does not sign yet, Signing signs, Previous has signed and is still published.
	// +optional
	State KeyState `json:"state,omitempty"`
	// signsFrom is when the key began to sign. For a Next key it is when it will: absent until every launch handler
	// publishes it.
	// +optional
	SignsFrom *metav1.Time `json:"signsFrom,omitempty"`
	// publishedUntil is when a Previous key is dropped: absent until every launch handler signs with a newer one.
	// +optional
	PublishedUntil *metav1.Time `json:"publishedUntil,omitempty"`
}

// KeyRotation says whether keys are replaced when they reach an age.
// +kubebuilder:validation:Enum=Manual;Automatic
type KeyRotation string

// Values of KeyRotation. Left out, it is Manual.
const (
	KeyRotationManual    KeyRotation = "Manual"
	KeyRotationAutomatic KeyRotation = "Automatic"
)

// KeyPolicy says when keys that the operator makes are replaced, and for how long the old ones are published. LTI 1.2
// credentials, and keys that a user supplies, are never replaced by it.
// +kubebuilder:validation:XValidation:rule="!has(self.rotateAfterDays) || (has(self.rotation) && self.rotation == 'Automatic')",message="rotateAfterDays is for rotation Automatic only"
// +kubebuilder:validation:XValidation:rule="!has(self.rotation) || self.rotation != 'Automatic' || (has(self.overlapDays) ? self.overlapDays : 7) < (has(self.rotateAfterDays) ? self.rotateAfterDays : 90)",message="overlapDays (left out: 7) must be less than rotateAfterDays (left out: 90)"
type KeyPolicy struct {
	// rotation: Manual replaces keys when the annotation lti-operator.io/rotate asks for it; Automatic also when they
	// have signed for rotateAfterDays. Left out: Manual.
	// +optional
	Rotation KeyRotation `json:"rotation,omitempty"`
	// rotateAfterDays is the age, in days, at which Automatic replaces a key. Left out: 90.
	// +optional
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=3650
	RotateAfterDays *int32 `json:"rotateAfterDays,omitempty"`
	// overlapDays is for how many days a replaced key stays published. Left out: 7.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=365
	OverlapDays *int32 `json:"overlapDays,omitempty"`
}

// Effective resolves a policy that may be left out, or in part: rotation Manual, keys replaced after 90 days if it is
// Automatic, overlap of 7 days.
func (p *KeyPolicy) Effective() (rotation KeyRotation, rotateAfterDays, overlapDays int32) {
	rotation, rotateAfterDays, overlapDays = KeyRotationManual, 90, 7
	if p == nil {
		return rotation, rotateAfterDays, overlapDays
	}
	if p.Rotation != "" {
		rotation = p.Rotation
	}
	if p.RotateAfterDays != nil {
		rotateAfterDays = *p.RotateAfterDays
	}
	if p.OverlapDays != nil {
		overlapDays = *p.OverlapDays
	}
	return rotation, rotateAfterDays, overlapDays
}

// Object is what every resource of this package has: the few things that the controllers share.
// +kubebuilder:object:generate=false
type Object interface {
	metav1.Object
	// GetConditions returns the conditions in status.
	GetConditions() []metav1.Condition
	// SetConditions replaces the conditions in status.
	SetConditions([]metav1.Condition)
	// SetObservedGeneration records the generation that status describes.
	SetObservedGeneration(int64)
}

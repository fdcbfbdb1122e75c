// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LTIAcademySpec describes the environment that activities live in, and the launch handler that serves it.
// +kubebuilder:validation:XValidation:rule="!has(self.authors) || has(self.learners)",message="authors needs learners: authors sign in at the same identity provider"
type LTIAcademySpec struct {
	// title is the name that people see on pages.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	Title string `json:"title"`

	// url is the public address of the launch handler, for example https://lti.acme.example. Launch URLs, the issuer
	// and OAuth base strings are made from it, never from request headers; other systems store it, so it cannot change.
	// https, or http on a loopback host (localhost, *.localhost, 127.0.0.0/8, [::1]); no path, query, fragment, user
	// name or trailing slash.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="url cannot be changed: other systems have stored it; create another LTIAcademy instead"
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$') || self.matches('^https?://[[][0-9a-fA-F:]+[]](:[0-9]{1,5})?$')",message="url must be scheme://host or scheme://host:port, without path, query, fragment, user name or trailing slash"
	// +kubebuilder:validation:XValidation:rule="self.startsWith('https://') || self.matches('^http://(([a-z0-9-]+[.])*localhost|127[.][0-9]+[.][0-9]+[.][0-9]+|[[]::1[]])(:[0-9]+)?$')",message="url must be https (http is allowed on loopback hosts only)"
	URL string `json:"url"`

	// aliases are further public addresses of the same launch handler, for example of a brand. A request on the host of
	// one is answered with, and verified against, the address as it stands here. Same form as url; they may change.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.all(a, a.matches('^(https://[A-Za-z0-9.-]+|https?://(([a-z0-9-]+[.])*localhost|127[.][0-9]+[.][0-9]+[.][0-9]+|[[]::1[]]))(:[0-9]{1,5})?$'))",message="aliases must be https://host or https://host:port, without path (http is allowed on loopback hosts only)"
	Aliases []string `json:"aliases,omitempty"`

	// activation switches LTI for the whole academy on or off. Left out: Activated.
	// +optional
	Activation Activation `json:"activation,omitempty"`

	// handler tunes the launch handler's Deployment.
	// +optional
	Handler *AcademyHandler `json:"handler,omitempty"`

	// exposure leads people to the launch handler: by an Ingress or an HTTPRoute that the operator makes. Left out: nothing does
	// until somebody makes one. What was made goes when exposure is taken away, or when the other one stands.
	// +optional
	Exposure *AcademyExposure `json:"exposure,omitempty"`

	// storage is where the launch handler keeps launches, nonces and people. Left out: SQLite with 1Gi. Another storage
	// starts empty: nothing is moved from one to the other.
	// +optional
	Storage *AcademyStorage `json:"storage,omitempty"`

	// users says which email addresses other systems are believed about: in launches with an activity's own LTI 1.2 key,
	// and as the default of every LTIPlatform. Left out: none.
	// +optional
	Users *UserLinking `json:"users,omitempty"`

	// clients are the academy's own applications. Each may redeem launch codes.
	// +optional
	// +listType=map
	// +listMapKey=clientID
	// +kubebuilder:validation:MaxItems=16
	Clients []AcademyClient `json:"clients,omitempty"`

	// provisioning says where the academy's accounts are. Left out: the launch handler keeps them itself.
	// +optional
	Provisioning *AcademyProvisioning `json:"provisioning,omitempty"`

	// learners says how the academy's own learners sign in. External activities need it. It also lets a launched person whose
	// email address is that of an account already sign in to it once, which connects the two.
	// +optional
	Learners *AcademyLearners `json:"learners,omitempty"`

	// authors says who may choose activities at the academy's LTITools (Deep Linking 2.0). Left out: nobody.
	// +optional
	Authors *AcademyAuthors `json:"authors,omitempty"`

	// results says where results of external activities go. Left out: nowhere; they can be read.
	// +optional
	Results *AcademyResults `json:"results,omitempty"`

	// keys says when signing keys, and the academy's own keys, are replaced. Left out: by hand only, with 7 days of overlap.
	// +optional
	Keys *KeyPolicy `json:"keys,omitempty"`

	// network widens what the launch handler may connect to.
	// +optional
	Network *AcademyNetwork `json:"network,omitempty"`
}

// AcademyHandler holds the workload settings of the launch handler. The image is not among them: it is chosen by
// whoever installs the operator.
type AcademyHandler struct {
	// replicas of the launch handler. Left out: 2 with PostgreSQL, 1 with SQLite, which has one writer.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=32
	Replicas *int32 `json:"replicas,omitempty"`
	// resources of the launch handler's container.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
	// nodeSelector of the launch handler's pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// priorityClassName of the launch handler's pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// tolerations of the launch handler's pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// affinity of the launch handler's pods.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// podLabels are further labels of the launch handler's pods. Those that the operator sets win.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	PodLabels map[string]string `json:"podLabels,omitempty"`
	// podAnnotations are annotations of the launch handler's pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	PodAnnotations map[string]string `json:"podAnnotations,omitempty"`
	// imagePullSecrets name Secrets of this namespace with credentials for the launch handler's image. They are used by
	// kubelet only; the operator does not read them.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
}

// AcademyStorage selects the store.
// +kubebuilder:validation:XValidation:rule="!(has(self.sqlite) && has(self.postgres))",message="storage is either sqlite or postgres"
type AcademyStorage struct {
	// postgres keeps everything in a PostgreSQL database, for any number of replicas.
	// +optional
	Postgres *PostgresStorage `json:"postgres,omitempty"`
	// sqlite keeps everything in one file on a volume of the launch handler; one replica.
	// +optional
	SQLite *SQLiteStorage `json:"sqlite,omitempty"`
}

// PostgresStorage describes the database.
type PostgresStorage struct {
	// connectionSecretRef names the Secret with the connection string. It is mounted into the launch handler; the operator
	// does not read it, so that it needs no label.
	// +required
	ConnectionSecretRef ConnectionSecretReference `json:"connectionSecretRef"`
}

// ConnectionSecretReference names a Secret in the same namespace with the key uri, such as
// postgres://user:password@host:5432/database?sslmode=verify-full&sslrootcert=/etc/lti-operator-database/ca.crt, and, if
// the database has a certificate of its own authority, the key ca.crt.
type ConnectionSecretReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// SQLiteStorage describes the volume of the SQLite file.
type SQLiteStorage struct {
	// size of the volume. Left out: 1Gi.
	// +optional
	Size *resource.Quantity `json:"size,omitempty"`
	// storageClassName of the volume. Left out: the cluster's default.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	StorageClassName *string `json:"storageClassName,omitempty"`
}

// AcademyClient is an application of the academy that launched people are sent to.
// +kubebuilder:validation:XValidation:rule="has(self.initiateLoginURI) == has(self.redirectURIs)",message="initiateLoginURI and redirectURIs belong together: sign-in over OpenID Connect begins at the one and ends at one of the others"
type AcademyClient struct {
	// clientID identifies the application when it redeems a launch code.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._~-]+$')",message="clientID may hold letters, digits and . _ ~ - only"
	ClientID string `json:"clientID"`
	// clientSecretRef names the Secret whose key clientSecret holds the application's secret. The Secret must carry the
	// label lti-operator.io/use: "true".
	// +required
	ClientSecretRef SecretReference `json:"clientSecretRef"`
	// initiateLoginURI is where the browser of a launched person goes to sign in over OpenID Connect (OpenID Connect Core
	// section 4). The application answers with an authentication request to the provider at {url}/oidc, with the login_hint
	// it was given.
	// +optional
	InitiateLoginURI *PeerURL `json:"initiateLoginURI,omitempty"`
	// redirectURIs are where the provider may send people with a code. The application's request must name one of them,
	// character by character.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	RedirectURIs []PeerURL `json:"redirectURIs,omitempty"`
}

// AcademyProvisioning says where the academy's accounts are.
type AcademyProvisioning struct {
	// scim is a directory that speaks SCIM 2.0 (RFC 7644). Launched people get their accounts there, and their sub is its id.
	// +required
	SCIM SCIMDirectory `json:"scim"`
}

// SCIMDirectory is a directory that speaks SCIM 2.0.
type SCIMDirectory struct {
	// url is the base, such as https://academy.example/scim/v2; Users and Groups are below it.
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.contains('?')",message="url must not have a query"
	URL PeerURL `json:"url"`
	// tokenSecretRef names the Secret whose key token holds the bearer token. The Secret must carry the label
	// lti-operator.io/use: "true".
	// +required
	TokenSecretRef SecretReference `json:"tokenSecretRef"`
	// linkFilter is a filter (RFC 7644 section 3.4.2.2), such as userType eq "Learner", that an account must match to be
	// found by its email address: it keeps staff out. Left out: every account may be found so, where users.linkByEmail allows
	// it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	LinkFilter string `json:"linkFilter,omitempty"`
}

// AcademyLearners says how the academy's own learners sign in.
type AcademyLearners struct {
	// oidc is the academy's identity provider. Register the launch handler there with the redirect URI
	// {url}/learners/callback.
	// +required
	OIDC LearnersOIDC `json:"oidc"`
}

// LearnersOIDC is an OpenID Provider.
type LearnersOIDC struct {
	// issuerURL is the provider's issuer; its discovery document is at {issuerURL}/.well-known/openid-configuration.
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.contains('?')",message="issuerURL must not have a query"
	IssuerURL PeerURL `json:"issuerURL"`
	// clientID of the launch handler at the provider.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	ClientID string `json:"clientID"`
	// clientSecretRef names the Secret whose key clientSecret holds the client's secret. The Secret must carry the label
	// lti-operator.io/use: "true".
	// +required
	ClientSecretRef SecretReference `json:"clientSecretRef"`
	// subjectClaim is the claim that holds the account's id in the academy: with provisioning.scim the id there. Left out: sub.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	SubjectClaim string `json:"subjectClaim,omitempty"`
}

// AcademyAuthors are the people who sign in at learners.oidc with one of values in claim.
type AcademyAuthors struct {
	// claim of the identity provider, such as groups or roles, that says who is an author: a text or a list of texts, in the
	// ID token or in the answer of the UserInfo endpoint. It has to be one that people cannot change themselves.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Claim string `json:"claim"`
	// values of which an author has at least one, compared character by character.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	Values []string `json:"values"`
}

// AcademyResults says where results of external activities go.
type AcademyResults struct {
	// webhook is an address of the academy that every new result is posted to, as a CloudEvent.
	// +required
	Webhook ResultsWebhook `json:"webhook"`
}

// ResultsWebhook is an address of the academy that results are posted to.
type ResultsWebhook struct {
	// url of the academy's back end.
	// +required
	URL PeerURL `json:"url"`
	// signingSecretRef names the Secret whose key signingSecret signs what is posted, as in Standard Webhooks: whsec_ and the
	// base64 of 24 to 64 random bytes. While its key previousSigningSecret is there too, that signs besides. The Secret must
	// carry the label lti-operator.io/use: "true". While it cannot be used, results wait.
	// +required
	SigningSecretRef SecretReference `json:"signingSecretRef"`
}

// AcademyNetwork holds the exceptions of the guard on outgoing connections.
type AcademyNetwork struct {
	// allowPrivateCIDRs are private or loopback networks that the launch handler may connect to although another
	// party chose the address, for example 10.0.0.0/8 when a platform runs inside.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="self.all(c, isCIDR(c))",message="allowPrivateCIDRs must be networks such as 10.0.0.0/8 or fd00::/8"
	AllowPrivateCIDRs []string `json:"allowPrivateCIDRs,omitempty"`
}

// LTIAcademyStatus is what the operator reports about an academy.
type LTIAcademyStatus struct {
	// conditions: Ready, Accepted, Programmed; Exposed with spec.exposure; Reconciling and Stalled while True.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// observedGeneration is the generation that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// keys of the academy itself (login state, control port), newest first, and then those of its OpenID Provider.
	// +optional
	// +listType=map
	// +listMapKey=keyID
	// +kubebuilder:validation:MaxItems=16
	Keys []SigningKey `json:"keys,omitempty"`
	// nextRotationAt is when the next key begins to sign, or when the rotation to it is due; absent when neither is known.
	// +optional
	NextRotationAt *metav1.Time `json:"nextRotationAt,omitempty"`
	// table describes the routing table that the launch handler is to serve.
	// +optional
	Table *TableStatus `json:"table,omitempty"`
}

// TableStatus describes a published routing table.
type TableStatus struct {
	// activities is the number of activities in the table.
	// +required
	Activities int32 `json:"activities"`
	// platforms is the number of platforms in the table.
	// +required
	Platforms int32 `json:"platforms"`
	// tools is the number of tools in the table.
	// +required
	Tools int32 `json:"tools"`
}

// LTIAcademy is an online academy that exchanges learning activities with other systems through LTI.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ltiac,categories=lti
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Activities",type=integer,JSONPath=`.status.table.activities`
// +kubebuilder:printcolumn:name="Platforms",type=integer,JSONPath=`.status.table.platforms`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40",message="the name of an LTIAcademy may have at most 40 characters: names of its Deployment and ConfigMaps are made from it"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="the name of an LTIAcademy may hold lower-case letters, digits and - only and starts with a letter: names of its Services are made from it"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.handler) || !has(self.spec.handler.replicas) || self.spec.handler.replicas <= 1 || (has(self.spec.storage) && has(self.spec.storage.postgres))",message="handler.replicas can be at most 1 with SQLite storage"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.aliases) || !(self.spec.url in self.spec.aliases)",message="aliases must not repeat url"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.exposure) || (has(self.spec.aliases) ? self.spec.aliases : []).all(u, u.matches('^https?://([a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?[.])*[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?(:[0-9]{1,5})?$')) && self.spec.url.matches('^https?://([a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?[.])*[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?(:[0-9]{1,5})?$')",message="exposure needs host names in url and aliases: neither Ingress nor HTTPRoute takes an IP address"
type LTIAcademy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	Spec LTIAcademySpec `json:"spec"`
	// status is what is. Until the operator has looked at the object it says so: without a condition tools would take
	// the object for ready.
	// +optional
	// +kubebuilder:default={conditions:{{type:"Ready",status:"Unknown",reason:"Pending",message:"waiting for the operator",lastTransitionTime:"1970-01-01T00:00:00Z"}}}
	Status LTIAcademyStatus `json:"status,omitempty,omitzero"`
}

// LTIAcademyList is a list of LTIAcademy.
// +kubebuilder:object:root=true
type LTIAcademyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []LTIAcademy `json:"items"`
}

// GetConditions implements Object.
func (a *LTIAcademy) GetConditions() []metav1.Condition { return a.Status.Conditions }

// SetConditions implements Object.
func (a *LTIAcademy) SetConditions(c []metav1.Condition) { a.Status.Conditions = c }

// SetObservedGeneration implements Object.
func (a *LTIAcademy) SetObservedGeneration(g int64) { a.Status.ObservedGeneration = g }

// SignsIn tells whether an application of the academy signs people in over OpenID Connect: only then does the provider
// need a signing key.
func (a *LTIAcademy) SignsIn() bool {
	for i := range a.Spec.Clients {
		if a.Spec.Clients[i].InitiateLoginURI != nil {
			return true
		}
	}
	return false
}

// UsesPostgres tells whether launches are kept in a PostgreSQL database.
func (a *LTIAcademy) UsesPostgres() bool {
	return a.Spec.Storage != nil && a.Spec.Storage.Postgres != nil
}

// EffectiveReplicas resolves handler.replicas: 2 on PostgreSQL, 1 on SQLite.
func (a *LTIAcademy) EffectiveReplicas() int32 {
	if a.Spec.Handler != nil && a.Spec.Handler.Replicas != nil {
		return *a.Spec.Handler.Replicas
	}
	if a.UsesPostgres() {
		return 2
	}
	return 1
}

// EffectiveSQLiteSize resolves storage.sqlite.size: 1Gi.
func (a *LTIAcademy) EffectiveSQLiteSize() resource.Quantity {
	if s := a.Spec.Storage; s != nil && s.SQLite != nil && s.SQLite.Size != nil {
		return *s.SQLite.Size
	}
	return resource.MustParse("1Gi")
}

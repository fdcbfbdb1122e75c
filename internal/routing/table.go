// SPDX-License-Identifier: Apache-2.0

// Package routing is the contract between the operator and the launch handler: what a routing table holds, how it is
// cut into shards and a manifest, and how a complete, verified set of files becomes a table again.
//
// It is pure and knows nothing of Kubernetes: the handler links it.
package routing

// The number of shards is fixed when an academy is installed: every pod mounts all of them.
const (
	// RoutingShards is the number of shards without secrets.
	RoutingShards = 8
	// KeyShards is the number of shards with secrets.
	KeyShards = 4
)

// FormatMajor and FormatMinor are the version of the format written here. A reader ignores unknown fields and refuses
// an unknown major.
const (
	FormatMajor = 1
	FormatMinor = 0
)

// Presentation values, as in LTIActivity.spec.share.presentation.
const (
	PresentationNewWindow = "NewWindow"
	PresentationEmbedded  = "Embedded"
)

// SignIn values, as in LTIActivity.spec.share.signIn.
const (
	SignInLaunchCode    = "LaunchCode"
	SignInOpenIDConnect = "OpenIDConnect"
)

// Line item policies, as in LTIActivity.spec.share.lti13.lineItem.
const (
	LineItemCreateIfMissing = "CreateIfMissing"
	LineItemFromPlatform    = "FromPlatform"
)

// Table is everything that the launch handler of one academy needs to serve launches. It is immutable once built.
type Table struct {
	Academy    Academy
	Platforms  []Platform
	Tools      []Tool
	Activities []Activity
	// AcademyKeys are the secrets of the academy itself.
	AcademyKeys AcademyKeys
	// Credentials are the LTI 1.2 consumer keys with their secrets.
	Credentials []Credential
	// ExternalCredentials are the LTI 1.2 credentials that other systems gave us for activities of theirs.
	ExternalCredentials []ExternalCredential
	// SigningKeys are our private keys, one for each registration.
	SigningKeys []SigningKey
	// Revoked are keys that must not be found any more where former tables are kept. They are named until every launch
	// handler serves a table without them.
	Revoked []RevokedKey
}

// Academy is the environment that the table serves.
type Academy struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// URL is the configured public address, without trailing slash. Every address handed out is made from it.
	URL string `json:"url"`
	// Aliases are further public addresses.
	Aliases    []string `json:"aliases,omitempty"`
	Active     bool     `json:"active"`
	Generation int64    `json:"generation"`
	// Users holds for launches that no platform answers for.
	Users Users `json:"users,omitzero"`
	// AllowPrivateCIDRs are the exceptions of the guard on outgoing connections.
	AllowPrivateCIDRs []string `json:"allowPrivateCIDRs,omitempty"`
	// FrameAncestors are the sources (Content Security Policy Level 3, section 6.4.2) that may frame our pages unless a
	// platform says otherwise.
	FrameAncestors []string `json:"frameAncestors,omitempty"`
	// PublicKeys are those of the academy's OpenID Provider, newest first.
	PublicKeys []JWK `json:"publicKeys,omitempty"`
	// SCIM is nil when accounts are kept here only.
	SCIM *SCIM `json:"scim,omitempty"`
	// Learners is nil when the academy's own learners cannot sign in.
	Learners *Learners `json:"learners,omitempty"`
	// ResultsWebhook is where results of external activities are sent to; empty for nowhere. What signs them is in
	// AcademyKeys.
	ResultsWebhook string `json:"resultsWebhook,omitempty"`
	// Authors are the people who may choose activities at tools; nil for nobody.
	Authors *Authors `json:"authors,omitempty"`
}

// Authors are those who sign in at Learners with one of Values in Claim, which is a text or a list of texts.
type Authors struct {
	Claim  string   `json:"claim"`
	Values []string `json:"values"`
}

// Learners is the identity provider of the academy's own learners (OpenID Connect). Its secret is in AcademyKeys.
type Learners struct {
	IssuerURL string `json:"issuerURL"`
	ClientID  string `json:"clientID"`
	// SubjectClaim is the claim with the account's ID; sub if empty.
	SubjectClaim string `json:"subjectClaim,omitempty"`
}

// SCIM is the directory in which accounts are made (RFC 7644). Its token is in AcademyKeys.
type SCIM struct {
	// URL is the base, without trailing slash; /Users and /Groups are below it.
	URL string `json:"url"`
	// LinkFilter is a filter (RFC 7644 section 3.4.2.2) that an account found by its address must match; empty for any.
	LinkFilter string `json:"linkFilter,omitempty"`
}

// Platform is a learning system that may launch activities.
type Platform struct {
	Name       string            `json:"name"`
	Title      string            `json:"title"`
	Active     bool              `json:"active"`
	Generation int64             `json:"generation"`
	Labels     map[string]string `json:"labels,omitempty"`
	// Realm is the name under which the people of LTI 1.3 launches are known; never empty.
	Realm string `json:"realm"`
	// PreviousIssuers are issuers that people of the realm had before.
	PreviousIssuers []string `json:"previousIssuers,omitempty"`
	Users           Users    `json:"users,omitzero"`
	// LTI13 is nil until the other party's values are filled in.
	LTI13 *PlatformLTI13 `json:"lti13,omitempty"`
	// Deployments is nil when every deployment is accepted.
	Deployments []Deployment `json:"deployments,omitempty"`
	// AnyDeployment accepts every deployment of the registration.
	AnyDeployment  bool     `json:"anyDeployment,omitempty"`
	FrameAncestors []string `json:"frameAncestors,omitempty"`
	// PublicKeys are our public keys for this registration, each a JWK (RFC 7517), newest first.
	PublicKeys []JWK `json:"publicKeys,omitempty"`
	// Registration is the link by which the platform may register itself; nil for none.
	Registration *RegistrationLink `json:"registration,omitempty"`
}

// Users says which email addresses another system is believed about.
type Users struct {
	// AnyEmail believes it about all addresses.
	AnyEmail bool `json:"anyEmail,omitempty"`
	// EmailDomains believes it about addresses in these domains, in lower case.
	EmailDomains []string `json:"emailDomains,omitempty"`
}

// PlatformLTI13 is an LTI 1.3 registration at a platform.
type PlatformLTI13 struct {
	Issuer            string `json:"issuer"`
	ClientID          string `json:"clientID"`
	AuthenticationURL string `json:"authenticationURL"`
	// AccessTokenURL is empty when the platform's services are not used.
	AccessTokenURL string `json:"accessTokenURL,omitempty"`
	// AccessTokenAudience is the aud of our assertions; AccessTokenURL if empty.
	AccessTokenAudience string `json:"accessTokenAudience,omitempty"`
	JWKSURL             string `json:"jwksURL,omitempty"`
	JWKS                string `json:"jwks,omitempty"`
}

// Deployment is one accepted deployment of the tool at the platform.
type Deployment struct {
	ID     string `json:"id"`
	Title  string `json:"title,omitempty"`
	Active bool   `json:"active"`
}

// Tool is a system whose activities our learners open.
type Tool struct {
	Name       string `json:"name"`
	Title      string `json:"title"`
	Active     bool   `json:"active"`
	Generation int64  `json:"generation"`
	// PublicKeys are our public keys for this registration, newest first.
	PublicKeys []JWK `json:"publicKeys,omitempty"`
	// LTI13 is nil until the other party's values are filled in.
	LTI13   *ToolLTI13 `json:"lti13,omitempty"`
	Privacy Privacy    `json:"privacy,omitzero"`
	// AssignmentAndGrade is what the tool may do in the gradebook, as in LTITool.spec.services; ServiceGradesAndLineItems
	// if empty.
	AssignmentAndGrade string `json:"assignmentAndGrade,omitempty"`
	// NamesAndRoles is ServiceEnabled if empty.
	NamesAndRoles string `json:"namesAndRoles,omitempty"`
	// DeepLinking is ServiceEnabled if empty: authors may choose activities at the tool.
	DeepLinking string `json:"deepLinking,omitempty"`
	// Registration is the link by which the tool may register itself; nil for none.
	Registration *RegistrationLink `json:"registration,omitempty"`
}

// What a tool may do, as in LTITool.spec.services.
const (
	ServiceDisabled           = "Disabled"
	ServiceEnabled            = "Enabled"
	ServiceGrades             = "Grades"
	ServiceGradesAndLineItems = "GradesAndLineItems"
)

// ToolLTI13 is the LTI 1.3 registration of a tool.
type ToolLTI13 struct {
	// LoginInitiationURL is where an activity of the tool is opened.
	LoginInitiationURL string `json:"loginInitiationURL"`
	JWKSURL            string `json:"jwksURL,omitempty"`
	JWKS               string `json:"jwks,omitempty"`
	// RedirectURIs are where an ID token may be posted to, compared character by character. If empty they are LaunchURL,
	// DeepLinkingURL and the resource URLs of the tool's activities, see Index.AcceptsRedirect.
	RedirectURIs []string `json:"redirectURIs,omitempty"`
	LaunchURL    string   `json:"launchURL,omitempty"`
	// DeepLinkingURL is where activities are chosen (Deep Linking 2.0); LaunchURL if empty, or the first of RedirectURIs.
	DeepLinkingURL string `json:"deepLinkingURL,omitempty"`
}

// Privacy says what a tool is not told about learners, in any channel.
type Privacy struct {
	WithholdName  bool `json:"withholdName,omitempty"`
	WithholdEmail bool `json:"withholdEmail,omitempty"`
}

// ActivityTypeExam is the LTIActivity.spec.type whose result is decided by a score.
const ActivityTypeExam = "Exam"

// Activity is a learning activity of the academy that others may open, or one of others that our learners may open.
type Activity struct {
	Name            string `json:"name"`
	Title           string `json:"title"`
	Description     string `json:"description,omitempty"`
	DurationMinutes int32  `json:"durationMinutes,omitempty"`
	Type            string `json:"type"`
	Generation      int64  `json:"generation"`
	// Share is nil when the activity is not available to others.
	Share *Share `json:"share,omitempty"`
	// MinimumScore is the part of the maximum, in percent, that passes an exam: 1 to 100; 0 for other types.
	MinimumScore int32 `json:"minimumScore,omitempty"`
	// External is nil unless the activity was made elsewhere.
	External *External `json:"external,omitempty"`
}

// External says how our learners open an activity that was made elsewhere. One of LTI12 and LTI13 is set.
type External struct {
	Presentation string `json:"presentation"`
	// ReturnURL is where the tool sends learners back to; empty for nowhere.
	ReturnURL string         `json:"returnURL,omitempty"`
	LTI12     *ExternalLTI12 `json:"lti12,omitempty"`
	LTI13     *ExternalLTI13 `json:"lti13,omitempty"`
}

// ExternalLTI12 is an activity that is opened by a signed form. Its credentials are an ExternalCredential.
type ExternalLTI12 struct {
	LaunchURL      string      `json:"launchURL"`
	ResourceLinkID string      `json:"resourceLinkID"`
	Parameters     []Parameter `json:"parameters,omitempty"`
	Privacy        Privacy     `json:"privacy,omitzero"`
}

// ExternalLTI13 is an activity that is opened at a Tool.
type ExternalLTI13 struct {
	Tool string `json:"tool"`
	// ResourceURL is the target link URI.
	ResourceURL    string      `json:"resourceURL"`
	ResourceLinkID string      `json:"resourceLinkID"`
	Parameters     []Parameter `json:"parameters,omitempty"`
}

// Parameter is a custom parameter; the value may be a substitution variable such as $User.id.
type Parameter struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Share says how an activity is opened.
type Share struct {
	TargetURL    string `json:"targetURL"`
	Presentation string `json:"presentation"`
	// SignIn is SignInLaunchCode if empty.
	SignIn string `json:"signIn,omitempty"`
	// ClientID is the application that people are signed in to over OpenID Connect.
	ClientID string `json:"clientID,omitempty"`
	// Grade says what becomes the grade, as in LTIActivity.spec.share.grade; Completion if empty.
	Grade string `json:"grade,omitempty"`
	// LineItem is LineItemCreateIfMissing if empty.
	LineItem string `json:"lineItem,omitempty"`
	// EnrolmentGroup is the displayName of the group that people are added to; empty for none.
	EnrolmentGroup string `json:"enrolmentGroup,omitempty"`
	// PlatformLabels must all be on a platform that opens this over LTI 1.3; empty allows every platform.
	PlatformLabels map[string]string `json:"platformLabels,omitempty"`
}

// JWK is a public RSA key (RFC 7517, RFC 7518 section 6.3).
type JWK struct {
	KeyType   string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Modulus   string `json:"n"`
	Exponent  string `json:"e"`
}

// Kinds of registrations that have signing keys.
const (
	KindPlatform = "platform"
	KindTool     = "tool"
	// KindAcademy is the academy's OpenID Provider.
	KindAcademy = "academy"
)

// SigningKey is the private key that signs for one registration at a time. Its public half is among the registration's
// PublicKeys, with those that are about to sign or did until lately.
type SigningKey struct {
	// Kind is KindPlatform, KindTool or KindAcademy, Name that of the platform, tool or academy.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// KeyID goes into the kid of what is signed.
	KeyID string `json:"keyID"`
	// PrivateKeyPEM is an RSA key as PKCS #8 in PEM.
	PrivateKeyPEM string `json:"privateKeyPEM"`
}

// RevokedKey is a private key that was taken away at once.
type RevokedKey struct {
	// Kind and Name are those of the SigningKey; both are empty for a key of the academy itself.
	Kind  string `json:"kind,omitempty"`
	Name  string `json:"name,omitempty"`
	KeyID string `json:"keyID"`
}

// AcademyKeys are the secrets of the academy itself.
type AcademyKeys struct {
	// StateKeys sign the login state (HMAC-SHA256, 32 bytes each): the first signs, all verify.
	StateKeys [][]byte `json:"stateKeys,omitempty"`
	// Control protects the control port.
	Control Control `json:"control"`
	// Clients are the academy's applications.
	Clients []Client `json:"clients,omitempty"`
	// SCIMToken is the bearer token for the directory.
	SCIMToken string `json:"scimToken,omitempty"`
	// LearnersSecret is our client secret at the identity provider of the academy's learners.
	LearnersSecret string `json:"learnersSecret,omitempty"`
	// WebhookSecrets sign results (Standard Webhooks: whsec_ and base64): one, or two while it is replaced. Without any,
	// results wait.
	WebhookSecrets []string `json:"webhookSecrets,omitempty"`
}

// Control is what the handler's control port needs: its certificate and the token that the operator presents.
type Control struct {
	CertificatePEM string `json:"certificatePEM,omitempty"`
	PrivateKeyPEM  string `json:"privateKeyPEM,omitempty"`
	// TokenSHA256 is the SHA-256 of the bearer token.
	TokenSHA256 []byte `json:"tokenSHA256,omitempty"`
	// FurtherTokensSHA256 are those of tokens that are accepted besides while the token changes.
	FurtherTokensSHA256 [][]byte `json:"furtherTokensSHA256,omitempty"`
}

// Client is an academy application; only the hash of its secret reaches the handler.
type Client struct {
	ClientID     string `json:"clientID"`
	SecretSHA256 []byte `json:"secretSHA256"`
	// RedirectURIs are where the OpenID Provider may send people of this application to, compared character by character.
	RedirectURIs []string `json:"redirectURIs,omitempty"`
	// InitiateLoginURI is where a launched person is sent to sign in; empty when the application does not use OpenID
	// Connect.
	InitiateLoginURI string `json:"initiateLoginURI,omitempty"`
}

// Credential is an LTI 1.2 consumer key with its secrets (two during an overlap) and what it opens.
type Credential struct {
	ConsumerKey string   `json:"consumerKey"`
	Secrets     []string `json:"secrets"`
	// Activity that the key opens; empty for every activity that the platform may open.
	Activity string `json:"activity,omitempty"`
	// Platform that the key was given to; empty when that is not known.
	Platform string `json:"platform,omitempty"`
	// Realm of the people that the key brings; empty for that of the instance that sends them.
	Realm string `json:"realm,omitempty"`
	// AcceptRoles believes the roles in the form.
	AcceptRoles bool `json:"acceptRoles,omitempty"`
	// SignatureMethods that are accepted; HMAC-SHA1 alone if empty.
	SignatureMethods []string `json:"signatureMethods,omitempty"`
}

// ExternalCredential is the consumer key, with its secrets, that another system gave us for an activity of its own. The
// first secret signs; outcomes are accepted with each.
type ExternalCredential struct {
	Activity    string   `json:"activity"`
	ConsumerKey string   `json:"consumerKey"`
	Secrets     []string `json:"secrets"`
}

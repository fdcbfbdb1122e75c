// Package launch implements the messages that open an activity: the login and
// the ID token of LTI 1.3, and the signed form of LTI 1.2. It has both sides:
// what a tool reads, which always ends in a [Message], and what a platform
// sends, which is a [Launch] or a [Launch12].
package launch

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/deeplink"
)

// Versions of a message, the names people use for them.
const (
	// Version12 is the form signed with OAuth 1.0a; lti_version is LTI-1p0 on
	// the wire, for LTI 1.0 to 1.2.
	Version12 = "1.2"
	// Version13 is the ID token; the version claim is 1.3.0.
	Version13 = "1.3"
)

// A Message is a verified request to open a resource link, or to choose content.
// Absent strings are empty. Everything in it was signed by the other party, and nothing else is
// true of it: names and titles are hostile input, URLs may point anywhere.
type Message struct {
	// Version is Version12 or Version13.
	Version string

	// Issuer, ClientID and DeploymentID are set in version 1.3.
	Issuer, ClientID, DeploymentID string
	// ConsumerKey is set in version 1.2.
	ConsumerKey string
	// Secret is the index of the shared secret that matched, see
	// [oauth1.Verified]; version 1.2.
	Secret int
	// QueryInBody is explained at [oauth1.Verified]; version 1.2.
	QueryInBody bool

	// Subject is the user at the other party: sub or user_id, never empty.
	Subject string
	// Roles as sent, understood where possible.
	Roles []Role
	// Person describes the user as far as the other party tells.
	Person Person
	// Mentored are the subjects whose mentor the user is (role_scope_mentor).
	Mentored []string

	// Context is the course, nil for a launch outside of one.
	Context *Context
	// DeepLinking is what a request to choose content asks for (Deep Linking 2.0);
	// nil for a launch.
	DeepLinking *deeplink.Settings
	// ResourceLink is the placement of the activity; the ID of a launch is never
	// empty, that of a request to choose content always.
	ResourceLink ResourceLink
	// TargetLinkURI is the verified target_link_uri; version 1.3. It is empty only
	// in a request to choose content that has none.
	TargetLinkURI string
	// TargetLinkChanged says that the login named another target link. The
	// verified one counts, because the one at login is not signed.
	TargetLinkChanged bool
	// Custom are the custom parameters without their prefix, never nil.
	Custom map[string]string
	// Presentation says how the activity is shown.
	Presentation Presentation

	// LineItems is the Assignment and Grade Services endpoint, if granted.
	LineItems *LineItems
	// Memberships is the Names and Role Provisioning endpoint, if granted.
	Memberships *Memberships
	// Outcome is the Basic Outcomes address, if the link has a grade.
	Outcome *Outcome
	// Migration tells who the user was under LTI 1.1. Only
	// [Message.MigrationSigned] says whether it is true.
	Migration *Migration
	// Platform describes the other system.
	Platform Platform

	// Nonce is still to be spent, last.
	Nonce lti.Nonce
	// IssuedAt is iat or oauth_timestamp.
	IssuedAt time.Time
	// ExpiresAt is exp; zero in version 1.2.
	ExpiresAt time.Time
}

// Person describes a user. The other party can write any email address here:
// it is no proof of owning it.
type Person struct {
	Name, GivenName, MiddleName, FamilyName string
	Email                                   string
	// Locale is a BCP 47 tag; in version 1.2, which has none, it stays empty.
	Locale  string
	Picture string
	// SourcedID identifies the person in the student information system.
	SourcedID string
}

// Context is a course, a section or a group.
type Context struct {
	ID, Label, Title string
	// Types as sent: URIs, or short names such as CourseSection.
	Types []string
	// CourseOffering and CourseSection are student information system IDs.
	CourseOffering, CourseSection string
}

// ResourceLink is one placement of an activity in a course.
type ResourceLink struct {
	ID, Title, Description string
}

// Presentation is the claim launch_presentation.
type Presentation struct {
	// DocumentTarget is frame, iframe or window.
	DocumentTarget string
	Width, Height  string
	// ReturnURL is where the learner comes from. Escape it, and follow it only
	// when the learner asks to.
	ReturnURL string
	Locale    string
}

// LineItems is the claim of Assignment and Grade Services 2.0.
type LineItems struct {
	Scopes []string
	// ContainerURL is the address of the line items of the context.
	ContainerURL string
	// URL is the line item bound to this link, if there is exactly one.
	URL string
}

// Memberships is the claim of Names and Role Provisioning Services 2.0.
type Memberships struct {
	URL      string
	Versions []string
}

// Outcome is the address of one grade in LTI 1.1 Basic Outcomes. Both fields
// are always set.
type Outcome struct {
	ServiceURL string
	// SourcedID is opaque; Moodle puts JSON in it.
	SourcedID string
}

// Migration is the claim lti1p1.
type Migration struct {
	UserID, ConsumerKey, Signature        string
	ContextID, ResourceLinkID, InstanceID string

	// signed is the text under the signature, "" when there is none.
	signed string
}

// Platform is the system that sent the message.
type Platform struct {
	// GUID identifies the instance; version 1.2 calls it
	// tool_consumer_instance_guid.
	GUID, Name, Description, ContactEmail, URL string
	// Family and Version name the product.
	Family, Version string
}

// IsInstructor reports whether the user teaches in this context: the context
// role Instructor or one of its sub-roles. Roles in the institution or the
// system give no rights in a course (Core appendix A.2).
func (m *Message) IsInstructor() bool { return m.hasContextRole("Instructor") }

// IsLearner reports whether the user learns in this context: the context role
// Learner or one of its sub-roles. Somebody may be both.
func (m *Message) IsLearner() bool { return m.hasContextRole("Learner") }

// IsAuthor reports whether the user may put content into a course: somebody who
// teaches, develops content or manages in the context, or an administrator of the
// institution or the system. A platform may leave roles out of a deep linking
// request (Deep Linking section 4.4); it has then decided itself.
func (m *Message) IsAuthor() bool {
	for _, r := range m.Roles {
		switch r.Scope {
		case ContextRole:
			switch r.Name {
			case "Instructor", "ContentDeveloper", "Administrator", "Manager":
				return true
			}
		case InstitutionRole:
			if strings.EqualFold(r.Name, "Administrator") {
				return true
			}
		case SystemRole:
			switch strings.ToLower(r.Name) {
			case "administrator", "accountadmin", "creator", "sysadmin", "syssupport":
				return true
			}
		}
	}
	return len(m.Roles) == 0
}

func (m *Message) hasContextRole(name string) bool {
	for _, r := range m.Roles {
		if r.Scope == ContextRole && r.Name == name {
			return true
		}
	}
	return false
}

// MigrationSigned reports whether the claim lti1p1 is signed with the shared
// secret of its consumer key, so that the user of LTI 1.1 it names may be taken
// for the subject (Migration, "oauth_consumer_key_sign": HMAC-SHA256 over key,
// deployment, issuer, client, exp and nonce). It is false without a claim or a secret.
func (m *Message) MigrationSigned(sharedSecret string) bool {
	if m.Migration == nil || m.Migration.signed == "" || sharedSecret == "" {
		return false
	}
	want := migrationSignature(sharedSecret, m.Migration.signed)
	return hmac.Equal([]byte(want), []byte(m.Migration.Signature))
}

func migrationSignature(secret, text string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func migrationText(consumerKey, deployment, issuer, client, exp, nonce string) string {
	return strings.Join([]string{consumerKey, deployment, issuer, client, exp, nonce}, "&")
}

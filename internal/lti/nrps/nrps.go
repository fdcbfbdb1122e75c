// Package nrps implements the platform's side of Names and Role Provisioning
// Services 2.0 (https://www.imsglobal.org/spec/lti-nrps/v2p0/, "NRPS" below): who
// is in a course, as a tool may see it.
//
// Who that is, and what each tool may know about them, is for the caller to
// decide. Tools remove people that are not in the list (Moodle does), so an error
// must never become a short or empty one.
package nrps

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// Scope of access tokens.
const Scope = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"

// MediaType of an answer.
const MediaType = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"

// Version is what the claim namesroleservice has in service_versions.
const Version = "2.0"

// MaxLimit is how many members a page has at most.
const MaxLimit = 500

// Status is whether somebody is in the course (NRPS, "Membership status").
type Status string

// The values of status. Deleted occurs only in an answer that tells differences.
const (
	Active   Status = "Active"
	Inactive Status = "Inactive"
	Deleted  Status = "Deleted"
)

// Context is the course.
type Context struct {
	// ID is the one that launches have; required.
	ID string `json:"id"`
	// Label and Title are optional.
	Label string `json:"label,omitempty"`
	Title string `json:"title,omitempty"`
}

// Member is somebody in the course. What the tool is not to know is empty.
type Member struct {
	// Status is Active if empty.
	Status Status
	// UserID is sub of launches; required.
	UserID string
	// Roles in the course; at least one, none of them unknown.
	Roles []launch.Role
	// Name, GivenName, FamilyName and Email are optional.
	Name, GivenName, FamilyName, Email string
	// Message is what a launch of the resource link would say about the member. It
	// is nil unless a resource link was asked for (NRPS, "Message section").
	Message *Message
}

// Message holds the claims of a resource link request that differ from member to
// member.
type Message struct {
	// Custom parameters; may be empty.
	Custom map[string]string
}

// Container is one page of the members of a course.
type Container struct {
	// ID is the URL of the page.
	ID      string
	Context Context
	Members []Member
}

// The claims of a message are named as in a launch.
type wireMessage struct {
	MessageType string            `json:"https://purl.imsglobal.org/spec/lti/claim/message_type"`
	Custom      map[string]string `json:"https://purl.imsglobal.org/spec/lti/claim/custom,omitempty"`
}

type wireMember struct {
	Status     Status        `json:"status"`
	Name       string        `json:"name,omitempty"`
	GivenName  string        `json:"given_name,omitempty"`
	FamilyName string        `json:"family_name,omitempty"`
	Email      string        `json:"email,omitempty"`
	UserID     string        `json:"user_id"`
	Roles      []string      `json:"roles"`
	Message    []wireMessage `json:"message,omitempty"`
}

// Encode returns the page as JSON. members is never null. Roles are full URIs, and
// lis_person_sourcedid is never there: the academy's own identifiers are nobody's
// business. An error says what is missing, and quotes nothing.
func (c Container) Encode() ([]byte, error) {
	if u, err := url.Parse(c.ID); err != nil || u.Host == "" {
		return nil, errors.New("nrps: the page has no address")
	}
	if c.Context.ID == "" {
		return nil, errors.New("nrps: the course has no ID")
	}
	members := make([]wireMember, 0, len(c.Members))
	for _, m := range c.Members {
		w, err := m.wire()
		if err != nil {
			return nil, err
		}
		members = append(members, w)
	}
	return json.Marshal(struct {
		ID      string       `json:"id"`
		Context Context      `json:"context"`
		Members []wireMember `json:"members"`
	}{c.ID, c.Context, members})
}

func (m Member) wire() (wireMember, error) {
	w := wireMember{
		Status: m.Status, Name: m.Name, GivenName: m.GivenName, FamilyName: m.FamilyName, Email: m.Email,
		UserID: m.UserID, Roles: make([]string, 0, len(m.Roles)),
	}
	switch m.Status {
	case "":
		w.Status = Active
	case Active, Inactive, Deleted:
	default:
		return w, errors.New("nrps: a member has an unknown status")
	}
	// Otherwise it would be changed on the way, and become somebody else's.
	if m.UserID == "" || !utf8.ValidString(m.UserID) {
		return w, errors.New("nrps: a member has no user ID, or one that is not text")
	}
	for _, r := range m.Roles {
		if r.Scope == launch.UnknownRole {
			return w, errors.New("nrps: a member has an unknown role")
		}
		w.Roles = append(w.Roles, r.String())
	}
	if len(w.Roles) == 0 {
		return w, errors.New("nrps: a member has no role")
	}
	if m.Message != nil {
		w.Message = []wireMessage{{MessageType: lti.MessageResourceLink, Custom: m.Message.Custom}}
	}
	return w, nil
}

// Query is what a tool asks for.
type Query struct {
	// Role that members must have, as it was sent; "" for all.
	Role string
	// ResourceLinkID is rlid: the link that members must have access to, whose
	// messages they are to come with; "" for none. Whether there is such a link is
	// for the caller to check.
	ResourceLinkID string
	service.Page
}

// ParseQuery reads the query of a request (NRPS, "Role query parameter", "Limit
// query parameter" and "Resource link parameter"). What it does not know is
// ignored. Refusals are ParameterRepeated and ParameterInvalid, the latter also for
// a role that is in no vocabulary known here: to say that nobody has it might make
// the tool remove everybody.
func ParseQuery(params lti.Params) (Query, error) {
	var q Query
	var err error
	if q.Page, err = service.ParsePage(params, MaxLimit); err != nil {
		return Query{}, err
	}
	if q.ResourceLinkID, err = service.Parameter(params, "rlid"); err != nil {
		return Query{}, err
	}
	if q.Role, err = service.Parameter(params, "role"); err != nil {
		return Query{}, err
	}
	if q.Role = strings.TrimSpace(q.Role); q.Role != "" && launch.ParseRole(q.Role).Scope == launch.UnknownRole {
		return Query{}, lti.Refuse(lti.ParameterInvalid, "role is not in a vocabulary that is known here")
	}
	return q, nil
}

// Selects reports whether somebody with these roles has the role that is asked
// for, whichever way that was written: "Learner", the URI or the URN. Who has a
// sub-role has its principal role too.
func (q Query) Selects(roles []launch.Role) bool {
	if q.Role == "" {
		return true
	}
	want := launch.ParseRole(q.Role)
	for _, r := range roles {
		if r.Scope == want.Scope && r.Name == want.Name && (want.SubRole == "" || r.SubRole == want.SubRole) {
			return true
		}
	}
	return false
}

// Next returns the Link header that names the page after this one, with the same
// role, rlid and limit. memberships is the address of the whole list, and last the
// user ID at the end of this page.
func (q Query) Next(memberships, last string) string {
	return q.Page.Next(memberships, last, "role", q.Role, "rlid", q.ResourceLinkID)
}

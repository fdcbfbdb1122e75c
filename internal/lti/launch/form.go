package launch

import (
	"context"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
)

// Values of a launch in LTI 1.0 to 1.2 (LTI 1.1 section 3).
const (
	messageBasicLaunch = "basic-lti-launch-request"
	versionForm        = "LTI-1p0"
	customPrefix       = "custom_"
)

// maxFormIdentifier bounds the identifiers of LTI 1.2, in bytes. LTI 1.1 sets no
// limit; this is the one of LTI 1.3. lis_result_sourcedid is not one of them: it
// is opaque, and Moodle's has several hundred characters.
const maxFormIdentifier = 255

// requiredForm are the parameters without which a form is no launch.
func requiredForm() []string {
	return []string{"lti_message_type", "lti_version", "resource_link_id"}
}

// Verify12 verifies a launch of LTI 1.0 to 1.2, a form signed with OAuth 1.0a.
//
// Parameters that mean something are read from the form only. They must not
// repeat there, nor in that part of the query that is not merely a copy: the
// query belongs to an address that a teacher may have typed, and the platform
// signs it all the same.
//
// Refusals: those of [oauth1.Verify], ParameterMissing, ParameterRepeated,
// ParameterInvalid, VersionUnsupported, MessageTypeUnsupported and
// AnonymousLaunch. The caller spends Message.Nonce, after everything else that
// might refuse the launch.
func (v *Verifier) Verify12(ctx context.Context, req oauth1.Request, secrets oauth1.Secrets) (*Message, error) {
	var missing []string
	for _, name := range requiredForm() {
		value, _, err := req.Body.Only(name)
		if err != nil {
			return nil, err
		}
		if value == "" {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return nil, lti.Refuse(lti.ParameterMissing, "missing: %s", strings.Join(missing, ", "))
	}
	signed, err := oauth1.Verify(ctx, req, secrets, v.Now())
	if err != nil {
		return nil, err
	}
	f, err := newForm(req, signed)
	if err != nil {
		return nil, err
	}
	switch version := f.get("lti_version"); version {
	case versionForm:
	case "LTI-1p2", "LTI-2p0":
		return nil, lti.Refuse(lti.VersionUnsupported, "lti_version is %s; send %s, which LTI 1.2 uses too", version, versionForm)
	default:
		return nil, lti.Refuse(lti.VersionUnsupported, "lti_version must be %s", versionForm)
	}
	if f.get("lti_message_type") != messageBasicLaunch {
		return nil, lti.Refuse(lti.MessageTypeUnsupported, "lti_message_type must be %s", messageBasicLaunch)
	}
	m := f.message()
	if f.err != nil {
		return nil, f.err
	}
	if m.Subject == "" {
		return nil, lti.Refuse(lti.AnonymousLaunch, "parameter user_id is missing")
	}
	m.ConsumerKey, m.Secret, m.QueryInBody = signed.ConsumerKey, signed.Secret, signed.QueryInBody
	m.Nonce, m.IssuedAt = signed.Nonce, signed.Timestamp
	return m, nil
}

// form reads the parameters of a verified launch. The first mistake is kept.
type form struct {
	values map[string]string
	custom map[string]string
	err    *lti.Refusal
}

// newForm sorts the parameters of the body by name and refuses those that
// repeat. Custom and extension parameters may; the first counts.
func newForm(req oauth1.Request, signed *oauth1.Verified) (*form, error) {
	query, err := signed.Query(req)
	if err != nil {
		return nil, err
	}
	f := &form{values: make(map[string]string, len(req.Body)), custom: map[string]string{}}
	for _, p := range req.Body {
		if name, ok := strings.CutPrefix(p.Name, customPrefix); ok {
			if _, seen := f.custom[name]; !seen && name != "" {
				f.custom[name] = p.Value
			}
			continue
		}
		_, seen := f.values[p.Name]
		if (seen || query.Count(p.Name) > 0) && meaningful(p.Name) {
			return nil, lti.Refuse(lti.ParameterRepeated, "parameter %s occurs more than once", p.Name)
		}
		if !seen {
			f.values[p.Name] = p.Value
		}
	}
	return f, nil
}

// meaningful reports whether the parameter is one that message reads.
func meaningful(name string) bool {
	switch name {
	case "lti_message_type", "lti_version", "user_id", "user_image", "roles", "role_scope_mentor", "context_id", "context_label", "context_title", "context_type":
		return true
	}
	for _, prefix := range []string{"resource_link_", "lis_", "launch_presentation_", "tool_consumer_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func (f *form) get(name string) string { return f.values[name] }

func (f *form) refuse(name, what string) {
	if f.err == nil {
		f.err = lti.Refuse(lti.ParameterInvalid, "parameter %s %s", name, what)
	}
}

// id returns an identifier, "" if absent. LTI 1.1 calls them opaque, so they
// need not be ASCII.
func (f *form) id(name string) string {
	s := f.get(name)
	if len(s) > maxFormIdentifier || !oneLine(s) {
		f.refuse(name, "must be at most 255 bytes of text")
		return ""
	}
	return s
}

func (f *form) text(name string) string { return readable(f.get(name)) }

// list returns a comma-separated list without empty members.
func (f *form) list(name string) []string {
	var out []string
	for s := range strings.SplitSeq(f.text(name), ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (f *form) message() *Message {
	m := &Message{
		Version: Version12,
		Subject: f.id("user_id"),
		Roles:   parseRoles(f.list("roles")),
		Person: Person{
			Name: f.text("lis_person_name_full"), GivenName: f.text("lis_person_name_given"), MiddleName: f.text("lis_person_name_middle"),
			FamilyName: f.text("lis_person_name_family"), Email: strings.TrimSpace(f.text("lis_person_contact_email_primary")),
			Picture: webURLOnly(f.get("user_image")), SourcedID: f.text("lis_person_sourcedid"),
		},
		ResourceLink: ResourceLink{ID: f.id("resource_link_id"), Title: f.text("resource_link_title"), Description: f.text("resource_link_description")},
		Custom:       f.custom,
		Presentation: Presentation{
			DocumentTarget: f.text("launch_presentation_document_target"), Width: f.text("launch_presentation_width"), Height: f.text("launch_presentation_height"),
			ReturnURL: webURLOnly(f.get("launch_presentation_return_url")), Locale: f.text("launch_presentation_locale"),
		},
		Platform: Platform{
			GUID: f.id("tool_consumer_instance_guid"), Name: f.text("tool_consumer_instance_name"), Description: f.text("tool_consumer_instance_description"),
			ContactEmail: f.text("tool_consumer_instance_contact_email"), URL: webURLOnly(f.get("tool_consumer_instance_url")),
			Family: f.text("tool_consumer_info_product_family_code"), Version: f.text("tool_consumer_info_version"),
		},
	}
	if id := f.id("context_id"); id != "" {
		m.Context = &Context{
			ID: id, Label: f.text("context_label"), Title: f.text("context_title"), Types: f.list("context_type"),
			CourseOffering: f.text("lis_course_offering_sourcedid"), CourseSection: f.text("lis_course_section_sourcedid"),
		}
	}
	for _, s := range f.list("role_scope_mentor") {
		// Members are URL-encoded, because they may contain commas (LTI 1.1
		// section 3, role_scope_mentor).
		if id, err := url.QueryUnescape(s); err == nil {
			m.Mentored = append(m.Mentored, id)
		}
	}
	// Canvas sends the address of the service for everybody and the sourcedid
	// for learners only: one alone is no mistake, and no grade.
	service, id := f.get("lis_outcome_service_url"), f.get("lis_result_sourcedid")
	if service != "" && id != "" {
		switch {
		case !webURL(service):
			f.refuse("lis_outcome_service_url", "must be an absolute http or https URL")
		case !utf8.ValidString(id) || strings.ContainsRune(id, 0):
			f.refuse("lis_result_sourcedid", "must be text")
		default:
			m.Outcome = &Outcome{ServiceURL: service, SourcedID: id}
		}
	}
	return m
}

package launch

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
)

// Launch12 is a basic-lti-launch-request as a platform sends it (LTI 1.1 section
// 3).
type Launch12 struct {
	Visit
	// Outcome is where the tool reports the grade, nil for nowhere.
	Outcome *Outcome
}

// formRoles returns the roles as LTI 1.1 appendix A writes them: simple names
// where there are any.
func (l Launch12) formRoles() string {
	roles := make([]string, 0, len(l.Roles))
	for _, s := range l.Roles {
		if r := ParseRole(s); r.Scope == ContextRole && r.SubRole == "" {
			s = r.Name
		}
		roles = append(roles, s)
	}
	return strings.Join(roles, ",")
}

// Form12 returns the signed form that opens an activity of a tool of LTI 1.0 to
// 1.2, to be posted to launchURL by the browser, in this order and without
// another parameter. A query in launchURL stays there and is signed too. The
// nonce must never be used again with these credentials.
//
// Values are sent without control characters and with CRLF for every line break,
// which is what a browser makes of them (HTML, "constructing the entry list"):
// the signature is over what arrives.
//
// Errors are mistakes in what is configured.
func Form12(launchURL string, l Launch12, cred oauth1.Credentials, now time.Time, nonce string) (lti.Params, error) {
	if !webURL(launchURL) {
		return nil, errors.New("launch: the launch URL is not an absolute http or https URL")
	}
	if cred.ConsumerKey == "" || cred.SharedSecret == "" {
		return nil, errors.New("launch: consumer key or shared secret is missing")
	}
	if l.ResourceLink.ID == "" || l.Subject == "" {
		return nil, errors.New("launch: resource link or user has no ID")
	}
	p := l.Person.Person()
	params := lti.Params{
		{Name: "lti_message_type", Value: messageBasicLaunch},
		{Name: "lti_version", Value: versionForm},
		{Name: "resource_link_id", Value: l.ResourceLink.ID},
		{Name: "resource_link_title", Value: l.ResourceLink.Title},
		{Name: "resource_link_description", Value: l.ResourceLink.Description},
		{Name: "user_id", Value: l.Subject},
		{Name: "user_image", Value: p.Picture},
		{Name: "roles", Value: l.formRoles()},
		{Name: "lis_person_name_full", Value: p.Name},
		{Name: "lis_person_name_given", Value: p.GivenName},
		{Name: "lis_person_name_middle", Value: p.MiddleName},
		{Name: "lis_person_name_family", Value: p.FamilyName},
		{Name: "lis_person_contact_email_primary", Value: p.Email},
		{Name: "lis_person_sourcedid", Value: p.SourcedID},
		{Name: "launch_presentation_document_target", Value: l.DocumentTarget},
		{Name: "launch_presentation_return_url", Value: l.ReturnURL},
		{Name: "launch_presentation_locale", Value: l.Locale},
		{Name: "tool_consumer_instance_guid", Value: l.Platform.GUID},
		{Name: "tool_consumer_instance_name", Value: l.Platform.Name},
		{Name: "tool_consumer_instance_description", Value: l.Platform.Description},
		{Name: "tool_consumer_instance_contact_email", Value: l.Platform.ContactEmail},
		{Name: "tool_consumer_instance_url", Value: l.Platform.URL},
		{Name: "tool_consumer_info_product_family_code", Value: l.Platform.Family},
		{Name: "tool_consumer_info_version", Value: l.Platform.Version},
	}
	if x := l.Context; x != nil {
		params = append(params,
			lti.Param{Name: "context_id", Value: x.ID},
			lti.Param{Name: "context_label", Value: x.Label},
			lti.Param{Name: "context_title", Value: x.Title},
			lti.Param{Name: "context_type", Value: strings.Join(x.Types, ",")},
			lti.Param{Name: "lis_course_offering_sourcedid", Value: x.CourseOffering},
			lti.Param{Name: "lis_course_section_sourcedid", Value: x.CourseSection},
		)
	}
	if o := l.Outcome; o != nil {
		if o.ServiceURL == "" || o.SourcedID == "" {
			return nil, errors.New("launch: of an outcome's address and ID one is missing")
		}
		params = append(params, lti.Param{Name: "lis_outcome_service_url", Value: o.ServiceURL}, lti.Param{Name: "lis_result_sourcedid", Value: o.SourcedID})
	}
	params = slices.DeleteFunc(params, func(p lti.Param) bool { return p.Value == "" })
	custom, err := formCustom(Substitute(l.Parameters, l.Variables()))
	if err != nil {
		return nil, err
	}
	params = append(params, custom...)
	for i := range params {
		params[i].Value = postable(params[i].Value)
	}
	form, err := oauth1.SignForm(launchURL, params, cred, now, nonce)
	if err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	return form, nil
}

// postable returns a value as it arrives from a browser.
func postable(s string) string {
	if s = readable(s); !strings.ContainsAny(s, "\r\n") {
		return s // the replacer would copy it all the same
	}
	return lineBreaks.Replace(s)
}

var lineBreaks = strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n")

// formCustom returns custom parameters as LTI 1.2 sends them, sorted by name. A
// name that has not the prefix custom_ gets it. LTI 1.1 section 3 has names in
// lower case with "_" for whatever is neither letter nor digit, LTI 1.2 has them
// as they are; tools of both kinds are served by both spellings. Where two
// parameters meet in one name, the one that is spelled so counts.
func formCustom(custom map[string]string) (lti.Params, error) {
	names := slices.Sorted(maps.Keys(custom))
	values := make(map[string]string, len(custom))
	for _, name := range names {
		if err := checkCustomName(name); err != nil {
			return nil, err
		}
		if _, taken := values[customName(name)]; !taken {
			values[customName(name)] = custom[name]
		}
	}
	for _, name := range names {
		if mangled := mangle(customName(name)); mangled != customName(name) {
			if _, taken := values[mangled]; !taken {
				values[mangled] = custom[name]
			}
		}
	}
	params := make(lti.Params, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		params = append(params, lti.Param{Name: name, Value: values[name]})
	}
	return params, nil
}

// customName returns the name of a custom parameter in the form.
func customName(name string) string {
	if strings.HasPrefix(name, customPrefix) {
		return name
	}
	return customPrefix + name
}

func mangle(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, name)
}

// checkCustomName refuses names that are meant to change something else than a
// custom parameter, and those that no form can hold.
func checkCustomName(name string) error {
	if name == "" || name == customPrefix || !oneLine(name) {
		return errors.New("launch: name of a custom parameter is empty or not text")
	}
	m := mangle(name)
	if m == "user_id" || m == "roles" || strings.HasPrefix(m, "oauth_") || strings.HasPrefix(m, "lti_") {
		return fmt.Errorf("launch: custom parameter %s has the name of a parameter of the launch", m)
	}
	return nil
}

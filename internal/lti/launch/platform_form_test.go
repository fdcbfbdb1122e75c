package launch

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
)

// printable are the characters of identifiers.
var printable = unicode.RangeTable{R16: []unicode.Range16{{Lo: 0x20, Hi: 0x7e, Stride: 1}}, LatinOffset: 1}

func form12Credentials() oauth1.Credentials {
	return oauth1.Credentials{ConsumerKey: "key", SharedSecret: formSecret}
}

func sentLaunch12() Launch12 {
	return Launch12{Visit: sentVisit(), Outcome: &Outcome{ServiceURL: "https://acme.example/activities/pump/outcomes", SourcedID: "result-1"}}
}

// arrived returns the request that a browser makes of a form.
func arrived(t interface{ Fatal(...any) }, launchURL string, form lti.Params) oauth1.Request {
	u, err := url.Parse(launchURL)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]string, 0, len(form))
	line := strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n")
	for _, p := range form {
		body = append(body, url.QueryEscape(line.Replace(p.Name))+"="+url.QueryEscape(line.Replace(p.Value)))
	}
	params, err := lti.ParseForm(strings.Join(body, "&"))
	if err != nil {
		t.Fatal(err)
	}
	return oauth1.Request{Method: "POST", URL: launchURL, RawQuery: u.RawQuery, Body: params}
}

func TestFormOfALaunch(t *testing.T) {
	form, err := Form12("https://tool.example/lti?a=1", sentLaunch12(), form12Credentials(), start(), "nonce-1")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range form {
		if _, twice := got[p.Name]; twice {
			t.Errorf("%s occurs twice", p.Name)
		}
		got[p.Name] = p.Value
	}
	if got["oauth_signature"] == "" {
		t.Error("not signed")
	}
	delete(got, "oauth_signature")
	want := map[string]string{
		"lti_message_type": "basic-lti-launch-request", "lti_version": "LTI-1p0",
		"resource_link_id": "link-1", "resource_link_title": "Pump", "resource_link_description": "Opens\r\nthe pump",
		"user_id": "learner-4", "user_image": "https://acme.example/sam.png", "roles": "Learner",
		"lis_person_name_full": "Sam Q. Student", "lis_person_name_given": "Sam", "lis_person_name_middle": "Q.", "lis_person_name_family": "Student",
		"lis_person_contact_email_primary": "sam@example.test", "lis_person_sourcedid": "SIS-4",
		"context_id": "pump", "context_label": "P", "context_title": "Pump & valve", "context_type": "http://purl.imsglobal.org/vocab/lis/v2/course#CourseSection",
		"lis_course_offering_sourcedid": "SIS-O", "lis_course_section_sourcedid": "SIS-S",
		"launch_presentation_document_target": "iframe", "launch_presentation_return_url": "https://acme.example/back?x=1&y=2", "launch_presentation_locale": "nl-NL",
		"tool_consumer_instance_guid": "acme.example", "tool_consumer_instance_name": "Acme", "tool_consumer_instance_description": "The academy",
		"tool_consumer_instance_contact_email": "lti@acme.example", "tool_consumer_instance_url": "https://acme.example",
		"tool_consumer_info_product_family_code": "lti-operator", "tool_consumer_info_version": "1.0",
		"lis_outcome_service_url": "https://acme.example/activities/pump/outcomes", "lis_result_sourcedid": "result-1",
		"custom_chapter": "3", "custom_who": "learner-4", "custom_mail": "sam@example.test", "custom_login": "$User.username", "custom_empty": "",
		"oauth_callback": "about:blank", "oauth_consumer_key": "key", "oauth_nonce": "nonce-1", "oauth_signature_method": "HMAC-SHA1",
		"oauth_timestamp": "1795435200", "oauth_version": "1.0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFormOfTheLeastLaunch(t *testing.T) {
	form, err := Form12("http://localhost:1", Launch12{Visit: Visit{Subject: "4", ResourceLink: ResourceLink{ID: "l"}}}, form12Credentials(), start(), "n")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range form {
		if !strings.HasPrefix(p.Name, "oauth_") {
			names = append(names, p.Name+"="+p.Value)
		}
	}
	if diff := cmp.Diff([]string{"lti_message_type=basic-lti-launch-request", "lti_version=LTI-1p0", "resource_link_id=l", "user_id=4"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestRolesOfAForm(t *testing.T) {
	v := Visit{Roles: []string{RoleLearner, "http://purl.imsglobal.org/vocab/lis/v2/membership/Instructor#TeachingAssistant", "urn:lti:instrole:ims/lis/Student", "odd"}}
	want := "Learner,http://purl.imsglobal.org/vocab/lis/v2/membership/Instructor#TeachingAssistant,urn:lti:instrole:ims/lis/Student,odd"
	if got := (Launch12{Visit: v}).formRoles(); got != want {
		t.Errorf("roles %s", got)
	}
}

func TestCustomParametersOfAForm(t *testing.T) {
	type m = map[string]string
	tests := map[string]struct{ custom, want m }{
		"the prefix is put before a name":         {m{"chapter": "3"}, m{"custom_chapter": "3"}},
		"unless it is there":                      {m{"custom_chapter": "3"}, m{"custom_chapter": "3"}},
		"both spellings are sent":                 {m{"Review:Chapter": "1.2.56"}, m{"custom_Review:Chapter": "1.2.56", "custom_review_chapter": "1.2.56"}},
		"a letter that is not ASCII":              {m{"zoë": "1"}, m{"custom_zoë": "1", "custom_zo_": "1"}},
		"both spellings of a name with prefix":    {m{"custom_A": "1"}, m{"custom_A": "1", "custom_a": "1"}},
		"a prefix in other case is none":          {m{"Custom_a": "1"}, m{"custom_Custom_a": "1", "custom_custom_a": "1"}},
		"the configured spelling wins":            {m{"Chapter": "mangled", "chapter": "as spelled"}, m{"custom_Chapter": "mangled", "custom_chapter": "as spelled"}},
		"even if it is empty":                     {m{"Chapter": "mangled", "chapter": ""}, m{"custom_Chapter": "mangled", "custom_chapter": ""}},
		"of two mangled ones the first wins":      {m{"a.b": "2", "a-b": "1"}, m{"custom_a-b": "1", "custom_a.b": "2", "custom_a_b": "1"}},
		"of one with and without prefix, too":     {m{"a": "", "custom_a": "2"}, m{"custom_a": ""}},
		"names that begin like those of a launch": {m{"user": "1", "roles2": "2", "oauth": "3", "custom_roles": "4", "ltix": "5"}, m{"custom_user": "1", "custom_roles2": "2", "custom_oauth": "3", "custom_roles": "4", "custom_ltix": "5"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			params, err := formCustom(tt.custom)
			if err != nil {
				t.Fatal(err)
			}
			got := m{}
			for _, p := range params {
				got[p.Name] = p.Value
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || len(got) != len(params) {
				t.Errorf("%v\n%s", params, diff)
			}
			if !slices.IsSortedFunc(params, func(a, b lti.Param) int { return strings.Compare(a.Name, b.Name) }) {
				t.Errorf("order %v", params)
			}
		})
	}
}

func TestFormsThatAreNotSigned(t *testing.T) {
	change := func(f func(l *Launch12)) Launch12 {
		l := sentLaunch12()
		f(&l)
		return l
	}
	named := func(name string) Launch12 {
		return change(func(l *Launch12) { l.Parameters = append(l.Parameters, Parameter{name, "x"}) })
	}
	good, cred := "https://tool.example/lti", form12Credentials()
	tests := map[string]struct {
		url  string
		l    Launch12
		cred oauth1.Credentials
	}{
		"no address":                       {"", sentLaunch12(), cred},
		"an address that is no web page":   {"javascript:alert(1)", sentLaunch12(), cred},
		"an address with a password":       {"https://u:p@tool.example/", sentLaunch12(), cred},
		"a query that cannot be decoded":   {good + "?a=%zz", sentLaunch12(), cred},
		"a parameter of OAuth in a query":  {good + "?oauth_nonce=1", sentLaunch12(), cred},
		"no consumer key":                  {good, sentLaunch12(), oauth1.Credentials{SharedSecret: "s"}},
		"no secret":                        {good, sentLaunch12(), oauth1.Credentials{ConsumerKey: "k"}},
		"no user":                          {good, change(func(l *Launch12) { l.Subject = "" }), cred},
		"no resource link":                 {good, change(func(l *Launch12) { l.ResourceLink.ID = "" }), cred},
		"an outcome without an ID":         {good, change(func(l *Launch12) { l.Outcome = &Outcome{ServiceURL: good} }), cred},
		"an outcome without an address":    {good, change(func(l *Launch12) { l.Outcome = &Outcome{SourcedID: "1"} }), cred},
		"a custom oauth parameter":         {good, named("oauth_token"), cred},
		"a custom lti parameter":           {good, named("lti_version"), cred},
		"a custom user":                    {good, named("user_id"), cred},
		"custom roles":                     {good, named("roles"), cred},
		"custom roles in other case":       {good, named("Roles"), cred},
		"a custom user, spelled otherwise": {good, named("User-ID"), cred},
		"a custom parameter without name":  {good, named(""), cred},
		"a prefix alone":                   {good, named("custom_"), cred},
		"a name with a line break":         {good, named("a\nb"), cred},
		"a name that is not UTF-8":         {good, named("\xff"), cred},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			form, err := Form12(tt.url, tt.l, tt.cred, start(), "n")
			if err == nil || form != nil {
				t.Fatalf("%v, %v", form, err)
			}
			if tt.cred.SharedSecret != "" && strings.Contains(err.Error(), tt.cred.SharedSecret+"&") || strings.Contains(err.Error(), formSecret) {
				t.Errorf("secret in %q", err)
			}
		})
	}
}

// What a platform signs is what a tool verifies and reads, whatever is in the
// query of its address and in the texts.
func TestAFormIsReadAsItWasSent(t *testing.T) {
	queries := []string{"", "?", "?a=1", "?a=1&a=2&a=1", "?b&=x&c=", "?x=%26%3D%2B+%25&zo%C3%AB=✓", "?custom_a=from+the+query", "?q=it's;1#top"}
	rapid.Check(t, func(t *rapid.T) {
		l := Launch12{Visit: visits(t)}
		if rapid.Bool().Draw(t, "with a grade") {
			l.Outcome = &Outcome{ServiceURL: "https://acme.example/outcomes?x=1", SourcedID: rapid.StringMatching(`[!-~é ]{1,40}`).Draw(t, "result")}
		}
		launchURL := "https://Tool.example:443/lti/%7Elaunch" + rapid.SampledFrom(queries).Draw(t, "query")
		nonce := rapid.StringMatching(`[A-Za-z0-9_-]{1,40}`).Draw(t, "nonce")
		form, err := Form12(launchURL, l, form12Credentials(), start(), nonce)
		if err != nil {
			t.Fatal(err)
		}
		req := arrived(t, launchURL, form)
		if diff := cmp.Diff(form, req.Body); diff != "" {
			t.Fatalf("a browser changes the form: %s", diff)
		}
		for _, p := range query(t, launchURL) {
			if !strings.HasPrefix(p.Name, customPrefix) && form.Count(p.Name) > 0 {
				t.Fatalf("%s of the query is in the form", p.Name)
			}
		}
		signed, err := oauth1.Verify(t.Context(), req, oneKey("key"), start())
		if err != nil || signed.QueryInBody {
			t.Fatalf("%+v, %v", signed, err)
		}
		got, err := (&Verifier{Now: start}).Verify12(t.Context(), req, oneKey("key"))
		if err != nil {
			t.Fatal(err)
		}

		custom := map[string]string{}
		params, err := formCustom(Substitute(l.Parameters, l.Variables()))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range params {
			custom[strings.TrimPrefix(p.Name, customPrefix)] = postable(p.Value)
		}
		want := seen(l.Visit, custom, postable)
		want.Version, want.ConsumerKey, want.Outcome = Version12, "key", l.Outcome
		want.Nonce = lti.Nonce{Protocol: "oauth1", Party: "key", Timestamp: start().Unix(), Value: nonce, ExpiresAt: start().Add(2 * oauth1.Window)}
		want.IssuedAt = start()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}

		// Every parameter is under the signature.
		for i, p := range req.Body {
			if strings.HasPrefix(p.Name, "oauth_") {
				continue
			}
			changed := req
			changed.Body = slices.Clone(req.Body)
			changed.Body[i].Value += "x"
			if _, err := oauth1.Verify(t.Context(), changed, oneKey("key"), start()); lti.CodeOf(err) != lti.SignatureInvalid {
				t.Fatalf("%s changed: %v", p.Name, err)
			}
		}
	})
}

package launch

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
)

const (
	formURL    = "https://lti.acme.example/activities/height/launch"
	formSecret = "s3cret&with spécial"
	moodleTime = 1795470798
)

// oneKey knows one consumer key.
func oneKey(key string) oauth1.Secrets {
	return func(_ context.Context, k string) ([]string, error) {
		if k == key {
			return []string{formSecret}, nil
		}
		return nil, nil
	}
}

func moodleForm(t testing.TB) string {
	t.Helper()
	var rec struct {
		RawBody string `json:"raw_body"`
	}
	load(t, "moodle-lti12-launch.json", &rec)
	return rec.RawBody
}

func verifyMoodleForm(t testing.TB, raw string, now int64) (*Message, error) {
	t.Helper()
	body, err := lti.ParseForm(raw)
	if err != nil {
		return nil, err
	}
	v := &Verifier{Now: func() time.Time { return time.Unix(now, 0) }}
	return v.Verify12(t.Context(), oauth1.Request{Method: "POST", URL: "http://127.0.0.1:9001/lti11", Body: body}, oneKey("moodle-key-11"))
}

func TestARealMoodleFormIsUnderstood(t *testing.T) {
	got, err := verifyMoodleForm(t, moodleForm(t), moodleTime)
	if err != nil {
		t.Fatal(err)
	}
	custom := got.Custom
	got.Custom = nil
	want := &Message{
		Version: Version12, ConsumerKey: "moodle-key-11", Subject: "4",
		Roles:        []Role{{ContextRole, "Learner", ""}},
		Person:       Person{Name: "Sam Student", GivenName: "Sam", FamilyName: "Student", Email: "student1@example.test", SourcedID: "SIS-student1"},
		Context:      &Context{ID: "2", Label: "LTI101", Title: "LTI Interop Course — Ünïcode & \"quotes\"", Types: []string{"CourseSection"}, CourseSection: "COURSE-LTI-101"},
		ResourceLink: ResourceLink{ID: "1", Title: "LTI 1.1 quiz", Description: "Opens the tool"},
		Presentation: Presentation{DocumentTarget: "window", Locale: "en", ReturnURL: "http://localhost:9100/mod/lti/return.php?course=2&launch_container=4&instanceid=1&sesskey=gU6Pn2wEWK"},
		Outcome: &Outcome{
			ServiceURL: "http://localhost:9100/mod/lti/service.php",
			SourcedID:  `{"data":{"instanceid":"1","userid":"4","typeid":"1","launchid":1077397355},"hash":"6b92c2b9238215fa971f36991ad18f731c28291ccff266468da8942e9ba30c38"}`,
		},
		Platform: Platform{GUID: "f000f16c043cfee57f0ecbb4d4c23716", Name: "peer", Description: "Peer Moodle", Family: "moodle", Version: "2024100706"},
		Nonce:    lti.Nonce{Protocol: "oauth1", Party: "moodle-key-11", Timestamp: moodleTime, Value: "1e93d78947cbe1d6025ac95140a956c7", ExpiresAt: time.Unix(moodleTime+600, 0)},
		IssuedAt: time.Unix(moodleTime, 0),
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApproxTime(0)); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{"chapter": "3", "static": "one & two", "cstart": "", "lineitem_url": "http://localhost:9100/mod/lti/services.php/2/lineitems/3/lineitem?type_id=1"} {
		if v, ok := custom[name]; !ok || v != want {
			t.Errorf("custom %s: %q, %v", name, v, ok)
		}
	}
	if !got.IsLearner() || got.IsInstructor() {
		t.Error("roles are wrong")
	}
}

func TestARealMoodleFormIsRefusedWhenItIsOld(t *testing.T) {
	for _, d := range []int64{-301, 301} {
		if _, err := verifyMoodleForm(t, moodleForm(t), moodleTime+d); lti.CodeOf(err) != lti.TimestampOutOfRange {
			t.Errorf("%d s off: %v", d, err)
		}
	}
}

// formRequest returns a signed form with changes; a value of "\x00" removes the
// parameter.
func formRequest(t testing.TB, rawQuery string, changes map[string]string, more ...lti.Param) oauth1.Request {
	t.Helper()
	var params lti.Params
	base := lti.Params{
		{Name: "lti_message_type", Value: "basic-lti-launch-request"},
		{Name: "lti_version", Value: "LTI-1p0"},
		{Name: "resource_link_id", Value: "link-1"},
		{Name: "user_id", Value: "user-4"},
		{Name: "roles", Value: "Learner"},
	}
	for name, value := range changes {
		if base.Count(name) == 0 {
			base = append(base, lti.Param{Name: name, Value: value})
		}
	}
	for _, p := range base {
		if v, ok := changes[p.Name]; ok {
			p.Value = v
		}
		if p.Value != "\x00" {
			params = append(params, p)
		}
	}
	body, err := oauth1.SignForm(formURL+"?"+rawQuery, append(params, more...), oauth1.Credentials{ConsumerKey: "key", SharedSecret: formSecret}, start(), "nonce")
	if err != nil {
		t.Fatal(err)
	}
	return oauth1.Request{Method: "POST", URL: formURL, RawQuery: rawQuery, Body: body}
}

func TestForms(t *testing.T) {
	const none = "\x00"
	type m = map[string]string
	p := func(name, value string) lti.Param { return lti.Param{Name: name, Value: value} }
	tests := map[string]struct {
		req  oauth1.Request
		code lti.Code
	}{
		"the least that is a launch":                {formRequest(t, "", nil), ""},
		"no message type":                           {formRequest(t, "", m{"lti_message_type": none}), lti.ParameterMissing},
		"no version":                                {formRequest(t, "", m{"lti_version": none}), lti.ParameterMissing},
		"no resource link":                          {formRequest(t, "", m{"resource_link_id": none}), lti.ParameterMissing},
		"an empty resource link":                    {formRequest(t, "", m{"resource_link_id": ""}), lti.ParameterMissing},
		"a resource link in the query only":         {formRequest(t, "resource_link_id=1", m{"resource_link_id": none}), lti.ParameterMissing},
		"LTI-1p2 on the wire":                       {formRequest(t, "", m{"lti_version": "LTI-1p2"}), lti.VersionUnsupported},
		"LTI-2p0 on the wire":                       {formRequest(t, "", m{"lti_version": "LTI-2p0"}), lti.VersionUnsupported},
		"a version that does not exist":             {formRequest(t, "", m{"lti_version": "1.0"}), lti.VersionUnsupported},
		"a content item request":                    {formRequest(t, "", m{"lti_message_type": "ContentItemSelectionRequest"}), lti.MessageTypeUnsupported},
		"no user":                                   {formRequest(t, "", m{"user_id": none}), lti.AnonymousLaunch},
		"an empty user":                             {formRequest(t, "", m{"user_id": ""}), lti.AnonymousLaunch},
		"a user in the query only":                  {formRequest(t, "user_id=4", m{"user_id": none}), lti.AnonymousLaunch},
		"a user in the form and in the query":       {formRequest(t, "user_id=1", nil), lti.ParameterRepeated},
		"roles in the form and in the query":        {formRequest(t, "roles=Instructor", nil), lti.ParameterRepeated},
		"two users":                                 {formRequest(t, "", nil, p("user_id", "user-1")), lti.ParameterRepeated},
		"two message types":                         {formRequest(t, "", nil, p("lti_message_type", "x")), lti.ParameterRepeated},
		"two outcome addresses":                     {formRequest(t, "", m{"lis_result_sourcedid": "x"}, p("lis_outcome_service_url", "https://a.example"), p("lis_outcome_service_url", "https://b.example")), lti.ParameterRepeated},
		"two custom parameters of one name":         {formRequest(t, "", nil, p("custom_a", "1"), p("custom_a", "2")), ""},
		"no roles":                                  {formRequest(t, "", m{"roles": none}), ""},
		"a user ID with a line break":               {formRequest(t, "", m{"user_id": "a\nb"}), lti.ParameterInvalid},
		"a user ID that is not UTF-8":               {formRequest(t, "", m{"user_id": "\xff"}), lti.ParameterInvalid},
		"a user ID of 256 bytes":                    {formRequest(t, "", m{"user_id": strings.Repeat("u", 256)}), lti.ParameterInvalid},
		"a user ID that is not ASCII":               {formRequest(t, "", m{"user_id": "zoë"}), ""},
		"a title in another encoding":               {formRequest(t, "", m{"resource_link_title": "caf\xe9"}), ""},
		"an outcome address that is no web address": {formRequest(t, "", m{"lis_result_sourcedid": "x", "lis_outcome_service_url": "file:///etc"}), lti.ParameterInvalid},
		"an outcome address without a result":       {formRequest(t, "", m{"lis_outcome_service_url": "https://lms.example/outcome"}), ""},
		"a wrong version with a wrong signature is a fake": {func() oauth1.Request {
			r := formRequest(t, "", m{"lti_version": "LTI-9"})
			r.RawQuery = "x=1"
			return r
		}(), lti.SignatureInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := &Verifier{Now: start}
			got, err := v.Verify12(t.Context(), tt.req, oneKey("key"))
			if lti.CodeOf(err) != tt.code {
				t.Fatalf("error %v, want code %q", err, tt.code)
			}
			if (got != nil) != (err == nil) {
				t.Errorf("message %v with error %v", got, err)
			}
		})
	}
}

func TestDetailsOfForms(t *testing.T) {
	read := func(changes map[string]string, more ...lti.Param) *Message {
		t.Helper()
		got, err := (&Verifier{Now: start}).Verify12(t.Context(), formRequest(t, "", changes, more...), oneKey("key"))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	m := read(map[string]string{
		"roles":               "Learner, urn:lti:instrole:ims/lis/Administrator,,urn:lti:role:ims/lis/Instructor",
		"role_scope_mentor":   "7,a%2Cb",
		"resource_link_title": "caf\xe9\x00",
		"custom_a":            "1",
	}, lti.Param{Name: "custom_a", Value: "2"}, lti.Param{Name: "custom_", Value: "x"})
	if diff := cmp.Diff([]Role{{ContextRole, "Learner", ""}, {InstitutionRole, "Administrator", ""}, {ContextRole, "Instructor", ""}}, m.Roles); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"7", "a,b"}, m.Mentored); diff != "" {
		t.Error(diff)
	}
	if m.ResourceLink.Title != "caf\uFFFD" {
		t.Errorf("title %q", m.ResourceLink.Title)
	}
	if diff := cmp.Diff(map[string]string{"a": "1"}, m.Custom); diff != "" {
		t.Error(diff)
	}
	if m.Context != nil || m.Outcome != nil {
		t.Errorf("context %v, outcome %v", m.Context, m.Outcome)
	}
	if got := read(map[string]string{"lis_outcome_service_url": "https://lms.example/outcome"}); got.Outcome != nil {
		t.Error("half an outcome address is one")
	}
	if got := read(map[string]string{"launch_presentation_return_url": "javascript:alert(1)"}); got.Presentation.ReturnURL != "" {
		t.Error("a script is a return address")
	}
}

func TestKeyOfAnotherActivityIsTheCallersToRefuse(t *testing.T) {
	refuse := func(context.Context, string) ([]string, error) {
		return nil, lti.Refuse(lti.KeyNotForActivity, "key of another activity")
	}
	_, err := (&Verifier{Now: start}).Verify12(t.Context(), formRequest(t, "", nil), refuse)
	if lti.CodeOf(err) != lti.KeyNotForActivity {
		t.Errorf("error %v", err)
	}
}

// Canvas repeats the query in the form; a copy is no repetition.
func TestACopiedQueryIsNoRepetition(t *testing.T) {
	req := formRequest(t, "", map[string]string{"context_title": "Course"})
	req.RawQuery = "context_title=Course"
	got, err := (&Verifier{Now: start}).Verify12(t.Context(), req, oneKey("key"))
	if err != nil || !got.QueryInBody {
		t.Errorf("%v, %v", got, err)
	}
}

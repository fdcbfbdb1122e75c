package launch

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/deeplink"
)

// verifyRecordedRequest verifies the deep linking request of a real Moodle.
func verifyRecordedRequest(t *testing.T, deepLinking bool) (*Message, error) {
	t.Helper()
	var rec recordedLaunch
	load(t, "moodle-lti13-deep-linking.json", &rec)
	v := &Verifier{Now: func() time.Time { return time.Unix(1795470801, 0) }, DeepLinking: deepLinking}
	state := moodleState()
	state.Nonce = rec.Claims["nonce"].(string)
	return v.VerifyIDToken(t.Context(), moodleRegistration(), moodleKeys(t), rec.Params.IDToken, state)
}

func TestARealDeepLinkingRequestIsNotTakenForALaunch(t *testing.T) {
	if m, err := verifyRecordedRequest(t, false); lti.CodeOf(err) != lti.MessageTypeUnsupported || m != nil {
		t.Errorf("%v, error %v", m, err)
	}
}

func TestARealDeepLinkingRequestIsUnderstood(t *testing.T) {
	got, err := verifyRecordedRequest(t, true)
	if err != nil {
		t.Fatal(err)
	}
	const base = "http://localhost:9100/mod/lti/"
	want := &Message{
		Version: Version13, Issuer: "http://localhost:9100", ClientID: "BjdLNQVVi8DL8iq", DeploymentID: "2",
		Subject: "3",
		Roles:   []Role{{ContextRole, "Instructor", ""}},
		Person:  Person{Name: "Tina Teacher", GivenName: "Tina", FamilyName: "Teacher", Email: "teacher1@example.test", SourcedID: "SIS-teacher1"},
		Context: &Context{
			ID: "2", Label: "LTI101", Title: "LTI Interop Course — Ünïcode & \"quotes\"", Types: []string{"CourseSection"}, CourseSection: "COURSE-LTI-101",
		},
		DeepLinking: &deeplink.Settings{
			ReturnURL:      base + "contentitem_return.php?course=2&id=2&sesskey=AzPcmUumsX",
			AcceptTypes:    []string{deeplink.TypeResourceLink},
			AcceptTargets:  []string{"frame", "iframe", "window"},
			AcceptMultiple: true,
			Title:          "Stub 1.3",
		},
		TargetLinkURI: "http://127.0.0.1:9001/lti13/launch",
		Custom: map[string]string{
			"static": "one & two", "uname": "teacher1",
			"context_memberships_url": base + "services.php/CourseSection/2/bindings/2/memberships",
			"system_setting_url":      base + "services.php/tool/2/custom",
			"context_setting_url":     base + "services.php/CourseSection/2/bindings/tool/2/custom",
		},
		Presentation: Presentation{Locale: "en"},
		LineItems: &LineItems{
			Scopes: []string{
				"https://purl.imsglobal.org/spec/lti-ags/scope/lineitem",
				"https://purl.imsglobal.org/spec/lti-ags/scope/lineitem.readonly",
				"https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly",
				"https://purl.imsglobal.org/spec/lti-ags/scope/score",
			},
			ContainerURL: base + "services.php/2/lineitems?type_id=2",
		},
		Memberships: &Memberships{URL: base + "services.php/CourseSection/2/bindings/2/memberships", Versions: []string{"1.0", "2.0"}},
		Platform:    Platform{GUID: "f000f16c043cfee57f0ecbb4d4c23716", Name: "peer", Description: "Peer Moodle", Family: "moodle", Version: "2024100706"},
		Nonce:       lti.Nonce{Protocol: "oidc", Party: "moodle", Value: "79a87ae28b3eedbd053e6efa", ExpiresAt: time.Unix(moodleIAT-1+600+60, 0)},
		IssuedAt:    time.Unix(1795470801, 0),
		ExpiresAt:   time.Unix(1795470861, 0),
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApproxTime(0)); diff != "" {
		t.Error(diff)
	}
	if !got.IsAuthor() {
		t.Error("a teacher is no author")
	}
}

// deepLinkingClaims are a complete deep linking request, changed.
func deepLinkingClaims(changes map[string]any) map[string]any {
	all := map[string]any{
		claimMessageType: deeplink.MessageRequest, claimResourceLink: nil, claimRoles: nil, claimTargetLink: nil,
		deeplink.ClaimSettings: map[string]any{
			"deep_link_return_url": "https://lms.example/return", "accept_types": []any{"ltiResourceLink"},
			"accept_presentation_document_targets": []any{"window"},
		},
	}
	for name, value := range changes {
		all[name] = value
	}
	return all
}

// What a launch is refused for, a deep linking request is too, but for the claims
// that only a launch needs.
func TestDeepLinkingClaims(t *testing.T) {
	type m = map[string]any
	unix := func(d time.Duration) int64 { return start().Add(d).Unix() }
	for name, tc := range map[string]struct {
		changes m
		code    lti.Code
	}{
		"the least is accepted":                   {m{}, ""},
		"a resource link is no matter":            {m{claimResourceLink: m{"id": 7}}, ""},
		"a target link is accepted":               {m{claimTargetLink: targetLink}, ""},
		"a target link that is no address":        {m{claimTargetLink: "javascript:alert(1)"}, lti.ClaimInvalid},
		"roles are accepted":                      {m{claimRoles: []any{"Instructor"}}, ""},
		"roles that are no array":                 {m{claimRoles: "Instructor"}, lti.ClaimInvalid},
		"no settings":                             {m{deeplink.ClaimSettings: nil}, lti.ClaimMissing},
		"settings that are text":                  {m{deeplink.ClaimSettings: "x"}, lti.ClaimInvalid},
		"settings without a return URL":           {m{deeplink.ClaimSettings: m{"accept_types": []any{"link"}}}, lti.ClaimMissing},
		"a launch with settings is a launch":      {m{claimMessageType: messageResourceLink, claimRoles: []any{}, claimTargetLink: targetLink, claimResourceLink: m{"id": "1"}}, ""},
		"a launch needs its claims all the same":  {m{claimMessageType: messageResourceLink}, lti.ClaimMissing},
		"a response":                              {m{claimMessageType: deeplink.MessageResponse}, lti.MessageTypeUnsupported},
		"no message type":                         {m{claimMessageType: nil}, lti.ClaimMissing},
		"another version":                         {m{claimVersion: "1.1"}, lti.VersionUnsupported},
		"another issuer":                          {m{"iss": "https://evil.example"}, lti.IssuerMismatch},
		"another audience":                        {m{"aud": "client-2"}, lti.AudienceMismatch},
		"expired":                                 {m{"exp": unix(-2 * time.Minute)}, lti.TokenExpired},
		"another nonce":                           {m{"nonce": "other"}, lti.NonceMismatch},
		"an unknown deployment":                   {m{claimDeployment: "9"}, lti.DeploymentUnknown},
		"a deactivated deployment":                {m{claimDeployment: "off"}, lti.DeploymentDeactivated},
		"nobody":                                  {m{"sub": nil}, lti.AnonymousLaunch},
		"a context without an ID is no context":   {m{claimContext: m{"title": "x"}}, lti.ClaimMissing},
		"a user that is too long to be stored":    {m{"sub": strings.Repeat("x", 256)}, lti.ClaimInvalid},
		"a return URL that leads into a script":   {m{deeplink.ClaimSettings: m{"deep_link_return_url": "javascript:alert(1)", "accept_types": []any{"link"}}}, lti.ClaimInvalid},
		"a return URL without encryption, abroad": {m{deeplink.ClaimSettings: m{"deep_link_return_url": "http://lms.example/", "accept_types": []any{"link"}}}, lti.ClaimInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			v := verifier(t)
			v.DeepLinking = true
			state := login()
			state.DeploymentID = ""
			token := idToken(t, deepLinkingClaims(tc.changes))
			got, err := v.VerifyIDToken(t.Context(), registration(), platformKeys(), token, state)
			if lti.CodeOf(err) != tc.code || (err == nil) != (tc.code == "") {
				t.Fatalf("error %v, want %q", err, tc.code)
			}
			isLaunch := tc.changes[claimMessageType] == messageResourceLink
			if (got != nil) != (tc.code == "") || got != nil && (got.DeepLinking == nil) != isLaunch {
				t.Errorf("message %+v", got)
			}
			v.DeepLinking = false
			if _, err := v.VerifyIDToken(t.Context(), registration(), platformKeys(), token, state); err == nil && !isLaunch {
				t.Error("taken for a launch")
			}
		})
	}
}

func TestAuthors(t *testing.T) {
	for role, want := range map[string]bool{
		"":                 true, // as the certification suite says "no role"
		"Instructor":       true,
		"ContentDeveloper": true,
		"http://purl.imsglobal.org/vocab/lis/v2/membership#Administrator":                true,
		"http://purl.imsglobal.org/vocab/lis/v2/membership#Manager":                      true,
		"http://purl.imsglobal.org/vocab/lis/v2/membership/Instructor#TeachingAssistant": true,
		"http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator":        true,
		"http://purl.imsglobal.org/vocab/lis/v2/system/person#SysAdmin":                  true,
		"Learner": false,
		"Mentor":  false,
		"http://purl.imsglobal.org/vocab/lis/v2/institution/person#Student": false,
		"http://purl.imsglobal.org/vocab/lis/v2/institution/person#Faculty": false,
		"http://purl.imsglobal.org/vocab/lis/v2/system/person#User":         false,
		"http://purl.imsglobal.org/vocab/lti/system/person#TestUser":        false,
		"https://roles.example/Instructor":                                  false,
	} {
		m := &Message{Roles: parseRoles([]string{role})}
		if got := m.IsAuthor(); got != want {
			t.Errorf("%q: %v", role, got)
		}
	}
	if m := (&Message{Roles: parseRoles([]string{"Learner", "Instructor"})}); !m.IsAuthor() {
		t.Error("somebody who learns and teaches is no author")
	}
}

// Whatever the claims of a deep linking request are, verifying neither panics nor
// accepts one without settings, or a launch without what launches rely on.
func FuzzDeepLinkingClaims(f *testing.F) {
	for _, changes := range []map[string]any{nil, {claimTargetLink: targetLink, claimRoles: []any{"Instructor"}}} {
		whole, err := json.Marshal(claimSet(deepLinkingClaims(changes)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(whole)
	}
	reg, keys := fuzzPlatform(f)
	f.Fuzz(func(t *testing.T, claims []byte) {
		v := verifier(t)
		v.DeepLinking = true
		m, err := v.VerifyIDToken(t.Context(), reg, keys, fuzzSigned(t, claims), login())
		if err != nil {
			refusal(t, err)
			return
		}
		if m.DeepLinking == nil && (!identifier(m.ResourceLink.ID) || !webURL(m.TargetLinkURI)) ||
			m.DeepLinking != nil && (!lti.SafeURL(m.DeepLinking.ReturnURL) || m.TargetLinkURI != "" && !webURL(m.TargetLinkURI) || m.ResourceLink.ID != "") {
			t.Fatalf("incomplete message: %+v", m)
		}
		if !identifier(m.Subject) || m.DeploymentID != "1" || m.Nonce.Value != expectedNonce {
			t.Fatalf("not the message of this login: %+v", m)
		}
	})
}

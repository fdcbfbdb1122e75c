package launch

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// certificationCase is one launch of the certification suite; testdata/README.md
// describes the members.
type certificationCase struct {
	ID           string         `json:"id"`
	Guide        string         `json:"guide"`
	Valid        bool           `json:"valid"`
	Header       map[string]any `json:"header"`
	Claims       map[string]any `json:"claims"`
	OnlyClaims   map[string]any `json:"only_claims"`
	PersonalData string         `json:"personal_data"`
	Code         lti.Code       `json:"code"`
}

// certificationIDs are the cases that there must be: section 6.1.1 of the guide,
// and 6.1.2 and 6.1.3, which differ in the role only.
func certificationIDs() []string {
	ids := []string{
		"No KID Sent in JWT header", "Incorrect KID in JWT header", "Wrong LTI Version", "No LTI Version", "Invalid LTI message", "Missing LTI Claims",
		"Timestamps Incorrect", "message_type Claim Missing", "role Claim Missing", "deployment_id Claim Missing", "resource_link_id Claim Missing", "user Claim Missing",
	}
	for _, who := range []string{"Launch Instructor", "Launch Student"} {
		ids = append(ids, who)
		for _, what := range []string{"With Roles", "Short Role", "Unknown Role", "No Role", "Email Only", "Names Only", "No PII", "Email Without Context"} {
			ids = append(ids, who+" "+what)
		}
	}
	return ids
}

// completeClaims returns a token that has everything a case may take away.
func completeClaims() jwt.MapClaims {
	return claimSet(map[string]any{
		"given_name": "Sam", "middle_name": "A.", "family_name": "Student", "locale": "en",
		claimContext:      map[string]any{"id": "course-1", "label": "C1", "title": "Course", "type": []any{"http://purl.imsglobal.org/vocab/lis/v2/course#CourseOffering"}},
		claimToolPlatform: map[string]any{"guid": "guid-1", "name": "LMS", "product_family_code": "suite", "version": "1"},
		claimPresentation: map[string]any{"document_target": "iframe", "return_url": "https://lms.example/return", "locale": "en"},
		claimLIS:          map[string]any{"person_sourcedid": "sis-4", "course_section_sourcedid": "sis-c1"},
		claimCustom:       map[string]any{"chapter": "3"},
		claimMentor:       []any{"user-7"},
	})
}

func TestCertification(t *testing.T) {
	var cases []certificationCase
	load(t, "certification.json", &cases)
	var ids []string
	valid := 0
	for _, c := range cases {
		ids = append(ids, c.ID)
		if c.Valid {
			valid++
		}
	}
	if diff := cmp.Diff(certificationIDs(), ids); diff != "" {
		t.Fatalf("the cases of the guide (-) and of the file (+) differ:\n%s", diff)
	}
	if valid != 18 {
		t.Fatalf("%d cases are valid, of 18", valid)
	}
	passed := map[bool]int{}
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			if c.Valid != (c.Code == "") || c.Guide == "" {
				t.Fatalf("valid %v, code %q, guide %q", c.Valid, c.Code, c.Guide)
			}
			claims := completeClaims()
			for name, value := range c.Claims {
				if _, there := claims[name]; value == nil && !there {
					t.Errorf("the complete token has no %s to remove", name)
				}
				if claims[name] = value; value == nil {
					delete(claims, name)
				}
			}
			if c.OnlyClaims != nil {
				claims = maps.Clone(jwt.MapClaims(c.OnlyClaims))
			}
			v := verifier(t)
			token := sign(t, jwt.SigningMethodRS256, privateKeys()[0], c.Header, claims)
			m, err := v.Verify13(t.Context(), registration(), platformKeys(), answer(t, v, token), cookie)
			if lti.CodeOf(err) != c.Code {
				t.Fatalf("error %v, want code %q", err, c.Code)
			}
			if c.Valid {
				checkCertified(t, c, m)
			}
			if !t.Failed() {
				passed[c.Valid]++
			}
		})
	}
	t.Logf("certification: %d of %d cases pass, %d bad and %d valid: %s", passed[false]+passed[true], len(cases), passed[false], passed[true], strings.Join(ids, "; "))
}

// checkCertified checks what a valid case is about: roles, personal data and
// course.
func checkCertified(t *testing.T, c certificationCase, m *Message) {
	t.Helper()
	instructor := strings.HasPrefix(c.ID, "Launch Instructor")
	if strings.HasSuffix(c.ID, "Unknown Role") || strings.HasSuffix(c.ID, "No Role") {
		if m.IsInstructor() || m.IsLearner() {
			t.Errorf("roles %v give rights", m.Roles)
		}
	} else if m.IsInstructor() != instructor || m.IsLearner() == instructor {
		t.Errorf("roles %v: instructor %v, learner %v", m.Roles, m.IsInstructor(), m.IsLearner())
	}
	if strings.HasSuffix(c.ID, "With Roles") && len(m.Roles) < 2 {
		t.Errorf("roles %v are not several", m.Roles)
	}
	names := []string{m.Person.Name, m.Person.GivenName, m.Person.MiddleName, m.Person.FamilyName}
	given := map[string]bool{"full": true, "names": true, "email": false, "none": false}
	want, known := given[c.PersonalData]
	if !known || slices.Contains(names, "") == want {
		t.Errorf("personal data %q, names %q", c.PersonalData, names)
	}
	if (m.Person.Email != "") != (c.PersonalData == "full" || c.PersonalData == "email") {
		t.Errorf("personal data %q, email %q", c.PersonalData, m.Person.Email)
	}
	if without := strings.HasSuffix(c.ID, "Without Context"); (m.Context == nil) != without {
		t.Errorf("context %v", m.Context)
	}
	if m.Subject != "user-4" || m.ResourceLink.ID != "link-1" || m.DeploymentID != "1" {
		t.Errorf("subject %q, resource link %q, deployment %q", m.Subject, m.ResourceLink.ID, m.DeploymentID)
	}
}

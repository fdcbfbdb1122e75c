// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// certificationCase is one launch of the certification suite; internal/lti/testdata/README.md describes the members.
type certificationCase struct {
	ID           string         `json:"id"`
	Valid        bool           `json:"valid"`
	Header       map[string]any `json:"header"`
	Claims       map[string]any `json:"claims"`
	OnlyClaims   map[string]any `json:"only_claims"`
	PersonalData string         `json:"personal_data"`
	Code         lti.Code       `json:"code"`
}

// The suite decides whether a launch is valid. Whether a person who is not known yet may come in with it is a rule of
// ours on top: an account needs an address and both names.
func TestCertification(t *testing.T) {
	encoded, err := os.ReadFile("../lti/testdata/certification.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []certificationCase
	if err := json.Unmarshal(encoded, &cases); err != nil {
		t.Fatal(err)
	}
	var ids []string
	valid := 0
	for _, c := range cases {
		ids = append(ids, c.ID)
		if c.Valid {
			valid++
		}
		t.Run(c.ID, func(t *testing.T) {
			a := newAcademy(t)
			launch := func() answer {
				b := a.browser()
				return b.post13(moodle(), b.prepareToken(moodle(), "height", func(claims jwt.MapClaims) string {
					return a.sign(moodle(), c.apply(claims), c.Header)
				}))
			}
			if !c.Valid {
				a.refused(launch(), c.Code)
				// Whoever is known is refused as well.
				a.enter(a.browser().launch13(moodle(), "height", nil))
				a.refused(launch(), c.Code)
				return
			}
			missing, known := map[string][]string{"full": nil, "email": {"family_name", "given_name"}, "names": {"email"}, "none": {"email", "family_name", "given_name"}}[c.PersonalData]
			if !known {
				t.Fatalf("personal data %q", c.PersonalData)
			}
			first := launch()
			if missing == nil {
				c.check(t, a, first)
			} else {
				a.refused(first, lti.MissingUserData)
				if got := first.namedMissing(); !slices.Equal(got, missing) {
					t.Errorf("the page names %v instead of %v", got, missing)
				}
			}
			// A person who came in once is known, and enters in every case.
			subject := a.enter(a.browser().launch13(moodle(), "height", nil)).Subject
			if again := c.check(t, a, launch()); again != subject {
				t.Error("a known person is somebody else")
			}
		})
	}
	t.Logf("certification over HTTP: %d cases, %d bad and %d valid: %s", len(cases), len(cases)-valid, valid, strings.Join(ids, "; "))
	if len(cases) != 30 || valid != 18 {
		t.Errorf("%d cases, of which %d are valid", len(cases), valid)
	}
}

// apply changes the claims of a complete token as the case says.
func (c certificationCase) apply(complete jwt.MapClaims) jwt.MapClaims {
	if c.OnlyClaims != nil {
		return c.OnlyClaims
	}
	maps.Copy(complete, jwt.MapClaims{"middle_name": "A.", "locale": "en"})
	for name, value := range c.Claims {
		with(name, value)(complete)
	}
	return complete
}

// check checks what the academy is told, and returns who it is.
func (c certificationCase) check(t *testing.T, a *academy, x answer) (subject string) {
	t.Helper()
	claims := a.enter(x)
	role := "Learner"
	if strings.HasPrefix(c.ID, "Launch Instructor") && !strings.HasSuffix(c.ID, "Unknown Role") && !strings.HasSuffix(c.ID, "No Role") {
		role = "Instructor"
	}
	if claims.Role != role || claims.Name != "Sam Student" || claims.Email != "sam@moodle.example" || claims.LTIUserID != "4" {
		t.Errorf("claims %+v", claims)
	}
	if without := strings.HasSuffix(c.ID, "Without Context"); (claims.Context == nil) != without {
		t.Errorf("course %+v", claims.Context)
	}
	return claims.Subject
}

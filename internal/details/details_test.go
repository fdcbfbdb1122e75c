// SPDX-License-Identifier: Apache-2.0

package details

import (
	"slices"
	"strings"
	"testing"
)

func screens(s System) map[string]Screen {
	return map[string]Screen{
		"platform": s.Platform, "bring back": s.BringBack, "activity": s.Activity, "lti12": s.LTI12, "tool": s.Tool,
	}
}

func fields(s Screen) []Field {
	all := make([]Field, 0, len(s.Entries))
	for _, e := range s.Entries {
		all = append(all, e.Field)
	}
	return all
}

func TestEveryFieldHasAGenericLabelAndAPlace(t *testing.T) {
	system, ok := Find("generic")
	if !ok {
		t.Fatal("there is no generic system")
	}
	var used []Field
	for _, s := range screens(system) {
		used = append(used, fields(s)...)
	}
	for _, f := range Fields() {
		if f.Label() == "" {
			t.Errorf("%s has no label", f)
		}
		if !slices.Contains(used, f) {
			t.Errorf("%s is on no screen of the generic system", f)
		}
	}
	if got := Field("other").Label(); got != "" {
		t.Errorf("an unknown field has the label %q", got)
	}
}

func TestSystemsAreComplete(t *testing.T) {
	var names []string
	for _, system := range Systems() {
		t.Run(system.Name, func(t *testing.T) {
			if system.Name != strings.ToLower(system.Name) || strings.Contains(system.Name, " ") || system.Title == "" {
				t.Errorf("name %q, title %q", system.Name, system.Title)
			}
			if len(system.Sources) == 0 {
				t.Error("says not where its labels were read")
			}
			for name, screen := range screens(system) {
				if system.Name != "generic" && len(screen.Entries) > 0 && screen.Where == "" {
					t.Errorf("%s: no menu path", name)
				}
				all := fields(screen)
				for i, e := range screen.Entries {
					if !slices.Contains(Fields(), e.Field) {
						t.Errorf("%s: unknown field %q", name, e.Field)
					}
					if slices.Contains(all[:i], e.Field) {
						t.Errorf("%s: %s twice", name, e.Field)
					}
					if e.Label == "" || e.Path == "" {
						t.Errorf("%s: %s has label %q and path %q", name, e.Field, e.Label, e.Path)
					}
					if strings.ContainsAny(e.Label+e.Where+e.Form+e.Note, "|\n") {
						t.Errorf("%s: %s would break the table", name, e.Field)
					}
				}
			}
		})
		names = append(names, system.Name)

		// Without these nobody can launch.
		for _, f := range []Field{LoginInitiationURL, RedirectURI, TargetLinkURI, JWKSURL} {
			if !slices.Contains(fields(system.Platform), f) {
				t.Errorf("%s has no place for %s", system.Name, f)
			}
		}
		for _, f := range []Field{Issuer, ClientID, DeploymentID, AuthenticationURL, AccessTokenURL, JWKSURL} {
			if !slices.Contains(fields(system.BringBack), f) {
				t.Errorf("%s does not give %s back", system.Name, f)
			}
		}
		for _, f := range []Field{LaunchURL, ConsumerKey, SharedSecret} {
			if !slices.Contains(fields(system.LTI12), f) {
				t.Errorf("%s has no place for %s", system.Name, f)
			}
		}
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(Systems()) {
		t.Errorf("names are not unique: %q", names)
	}
}

func TestFind(t *testing.T) {
	for given, want := range map[string]string{
		"moodle": "moodle", "MOODLE": "moodle", "Blackboard": "blackboard", "blackboard learn": "blackboard",
	} {
		if s, ok := Find(given); !ok || s.Name != want {
			t.Errorf("Find(%q) = %q, %v", given, s.Name, ok)
		}
	}
	for _, given := range []string{"", "mood", "webct"} {
		if s, ok := Find(given); ok {
			t.Errorf("Find(%q) = %q", given, s.Name)
		}
	}
}

func TestScreenLabelFallsBackToTheSpecification(t *testing.T) {
	s, _ := Find("moodle")
	if got := s.Platform.Label(LoginInitiationURL); got != "Initiate login URL" {
		t.Errorf("label of a field on the screen: %q", got)
	}
	if got := s.Platform.Label(Domain); got != Domain.Label() {
		t.Errorf("label of a field that the screen has not: %q", got)
	}
	c, _ := Find("canvas")
	if got := c.BringBack.Label(Issuer); got != Issuer.Label() {
		t.Errorf("label of a value that is not shown: %q", got)
	}
}

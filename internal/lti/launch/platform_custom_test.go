package launch

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSubstitute(t *testing.T) {
	vars := Variables{"User.id": "4", "Person.name.full": "$Person.email.primary", "Person.email.primary": "sam@example.test", "ResourceLink.title": ""}
	tests := map[string]struct{ value, want string }{
		"a known variable":                  {"$User.id", "4"},
		"an unknown variable":               {"$User.username", "$User.username"},
		"names are case-sensitive":          {"$user.ID", "$user.ID"},
		"a variable with blanks":            {" $User.id ", " $User.id "},
		"a variable in a text":              {"user $User.id", "user $User.id"},
		"two variables":                     {"$User.id$User.id", "$User.id$User.id"},
		"a longer name":                     {"$User.identity", "$User.identity"},
		"two dollars":                       {"$$User.id", "$$User.id"},
		"a dollar":                          {"$", "$"},
		"no variable":                       {"User.id", "User.id"},
		"nothing":                           {"", ""},
		"a value is not replaced again":     {"$Person.name.full", "$Person.email.primary"},
		"a variable without anything in it": {"$ResourceLink.title", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := Substitute([]Parameter{{"x", tt.value}, {"x", "the second of a name"}, {"y", "z"}}, vars)
			if diff := cmp.Diff(map[string]string{"x": tt.want, "y": "z"}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := Substitute(nil, nil); got == nil || len(got) != 0 {
		t.Errorf("no parameters: %v", got)
	}
}

func TestVariables(t *testing.T) {
	want := Variables{
		"User.id": "learner-4", "Person.name.full": "Sam Q. Student", "Person.name.given": "Sam", "Person.name.family": "Student",
		"Person.email.primary": "sam@example.test",
		"Context.id":           "pump", "Context.label": "P", "Context.title": "Pump & valve", "Context.type": "http://purl.imsglobal.org/vocab/lis/v2/course#CourseSection",
		"ResourceLink.id": "link-1", "ResourceLink.title": "Pump", "ResourceLink.description": "Opens\nthe pump",
		"Membership.role":   "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner",
		"Message.returnUrl": "https://acme.example/back?x=1&y=2", "Message.documentTarget": "iframe", "Message.locale": "nl-NL",
		"ToolPlatform.productFamilyCode": "lti-operator", "ToolPlatform.version": "1.0",
		"ToolPlatformInstance.guid": "acme.example", "ToolPlatformInstance.name": "Acme", "ToolPlatformInstance.url": "https://acme.example",
	}
	if diff := cmp.Diff(want, Launch{Visit: sentVisit()}.Variables()); diff != "" {
		t.Error(diff)
	}
	want["Membership.role"] = "Learner"
	if diff := cmp.Diff(want, Launch12{Visit: sentVisit()}.Variables()); diff != "" {
		t.Error(diff)
	}
	// What is not known is no variable, and stays as it is configured.
	if diff := cmp.Diff(Variables{"User.id": "4"}, Launch{Visit: Visit{Subject: "4"}}.Variables()); diff != "" {
		t.Error(diff)
	}
}

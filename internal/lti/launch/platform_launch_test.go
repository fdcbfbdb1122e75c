package launch

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lti-operator/lti-operator/internal/lti"
	signing "github.com/lti-operator/lti-operator/internal/lti/token"
)

// learner is somebody about whom everything is known.
func learner() Person {
	return Person{
		Name: "Sam Q. Student", GivenName: "Sam", MiddleName: "Q.", FamilyName: "Student", Email: "sam@example.test",
		Locale: "nl", Picture: "https://acme.example/sam.png", SourcedID: "SIS-4",
	}
}

// sentVisit returns a visit that leaves out nothing.
func sentVisit() Visit {
	return Visit{
		Subject:      "learner-4",
		Person:       learner().Without(Privacy{}),
		Roles:        []string{RoleLearner},
		Context:      &Context{ID: "pump", Label: "P", Title: "Pump & valve", Types: []string{"http://purl.imsglobal.org/vocab/lis/v2/course#CourseSection"}, CourseOffering: "SIS-O", CourseSection: "SIS-S"},
		ResourceLink: ResourceLink{ID: "link-1", Title: "Pump", Description: "Opens\nthe pump"},

		DocumentTarget: "iframe", ReturnURL: "https://acme.example/back?x=1&y=2", Locale: "nl-NL",
		Platform: Platform{
			GUID: "acme.example", Name: "Acme", Description: "The academy", ContactEmail: "lti@acme.example",
			URL: "https://acme.example", Family: "lti-operator", Version: "1.0",
		},
		Parameters: []Parameter{{"chapter", "3"}, {"who", "$User.id"}, {"mail", "$Person.email.primary"}, {"login", "$User.username"}, {"empty", ""}},
	}
}

func sentLaunch() Launch {
	return Launch{
		Visit:  sentVisit(),
		Issuer: "https://acme.example", ClientID: "sim", DeploymentID: "sim-1", Nonce: "nonce-9", TargetLinkURI: "https://tool.example/pump?a=1",
		LineItems: &LineItems{
			Scopes:       []string{"https://purl.imsglobal.org/spec/lti-ags/scope/score"},
			ContainerURL: "https://acme.example/tools/sim/contexts/pump/lineitems", URL: "https://acme.example/tools/sim/contexts/pump/lineitems/activity",
		},
		MembershipsURL: "https://acme.example/tools/sim/contexts/pump/memberships",
	}
}

// signLaunch signs with the key of platformKeys.
func signLaunch(t interface{ Fatal(...any) }, l Launch, lifetime time.Duration) string {
	key, err := signing.NewKey(kid, privateKeys()[0])
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.Sign(l.Claims(start(), lifetime))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// asJSON returns what a tool sees of claims.
func asJSON(t testing.TB, claims map[string]any) string {
	t.Helper()
	text, err := json.MarshalIndent(claims, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestClaimsOfALaunch(t *testing.T) {
	want := map[string]any{
		"iss": "https://acme.example", "aud": "sim", "sub": "learner-4", "nonce": "nonce-9",
		"iat": start().Unix(), "exp": start().Unix() + 300,
		"name": "Sam Q. Student", "given_name": "Sam", "middle_name": "Q.", "family_name": "Student",
		"email": "sam@example.test", "locale": "nl", "picture": "https://acme.example/sam.png",
		"https://purl.imsglobal.org/spec/lti/claim/message_type":    "LtiResourceLinkRequest",
		"https://purl.imsglobal.org/spec/lti/claim/version":         "1.3.0",
		"https://purl.imsglobal.org/spec/lti/claim/deployment_id":   "sim-1",
		"https://purl.imsglobal.org/spec/lti/claim/target_link_uri": "https://tool.example/pump?a=1",
		"https://purl.imsglobal.org/spec/lti/claim/roles":           []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		"https://purl.imsglobal.org/spec/lti/claim/resource_link":   map[string]any{"id": "link-1", "title": "Pump", "description": "Opens\nthe pump"},
		"https://purl.imsglobal.org/spec/lti/claim/context": map[string]any{
			"id": "pump", "label": "P", "title": "Pump & valve", "type": []string{"http://purl.imsglobal.org/vocab/lis/v2/course#CourseSection"},
		},
		"https://purl.imsglobal.org/spec/lti/claim/lis":                 map[string]any{"person_sourcedid": "SIS-4", "course_offering_sourcedid": "SIS-O", "course_section_sourcedid": "SIS-S"},
		"https://purl.imsglobal.org/spec/lti/claim/launch_presentation": map[string]any{"document_target": "iframe", "return_url": "https://acme.example/back?x=1&y=2", "locale": "nl-NL"},
		"https://purl.imsglobal.org/spec/lti/claim/tool_platform": map[string]any{
			"guid": "acme.example", "name": "Acme", "description": "The academy", "contact_email": "lti@acme.example",
			"url": "https://acme.example", "product_family_code": "lti-operator", "version": "1.0",
		},
		"https://purl.imsglobal.org/spec/lti/claim/custom": map[string]string{"chapter": "3", "who": "learner-4", "mail": "sam@example.test", "login": "$User.username", "empty": ""},
		"https://purl.imsglobal.org/spec/lti-ags/claim/endpoint": map[string]any{
			"scope":    []string{"https://purl.imsglobal.org/spec/lti-ags/scope/score"},
			"lineitem": "https://acme.example/tools/sim/contexts/pump/lineitems/activity", "lineitems": "https://acme.example/tools/sim/contexts/pump/lineitems",
		},
		"https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice": map[string]any{
			"context_memberships_url": "https://acme.example/tools/sim/contexts/pump/memberships", "service_versions": []string{"2.0"},
		},
	}
	if diff := cmp.Diff(want, sentLaunch().Claims(start().Add(700*time.Millisecond), 5*time.Minute)); diff != "" {
		t.Error(diff)
	}
}

func TestClaimsOfTheLeastLaunch(t *testing.T) {
	l := Launch{
		Visit:  Visit{Subject: "learner-4", ResourceLink: ResourceLink{ID: "link-1"}, Platform: Platform{Name: "no guid, no claim"}},
		Issuer: "https://acme.example", ClientID: "sim", DeploymentID: "sim-1", Nonce: "n", TargetLinkURI: "https://tool.example/",
		LineItems: &LineItems{},
	}
	want := map[string]any{
		"iss": "https://acme.example", "aud": "sim", "sub": "learner-4", "nonce": "n", "iat": start().Unix(), "exp": start().Unix() + 60,
		claimMessageType: "LtiResourceLinkRequest", claimVersion: "1.3.0", claimDeployment: "sim-1", claimTargetLink: "https://tool.example/",
		claimRoles: []string{}, claimResourceLink: map[string]any{"id": "link-1"}, claimLineItems: map[string]any{"scope": []string{}},
	}
	got := l.Claims(start(), time.Minute)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if text := asJSON(t, got); strings.Contains(text, `""`) || strings.Contains(text, "null") {
		t.Error(text)
	}
}

func TestClaimsDoNotShareTheirLists(t *testing.T) {
	l := sentLaunch()
	c := l.Claims(start(), time.Minute)
	c[claimRoles].([]string)[0] = "changed"
	c[claimContext].(map[string]any)["type"].([]string)[0] = "changed"
	c[claimLineItems].(map[string]any)["scope"].([]string)[0] = "changed"
	if diff := cmp.Diff(sentLaunch().Claims(start(), time.Minute), l.Claims(start(), time.Minute)); diff != "" {
		t.Error(diff)
	}
}

// visits draws visits as the configuration and an identity provider may make
// them.
func visits(t *rapid.T) Visit {
	id := rapid.StringOfN(rapid.RuneFrom(nil, &printable), 1, 40, 255)
	text := rapid.OneOf(rapid.SampledFrom([]string{"", "a&b=c", "50 % + 1", "zoë ✓", "<b>\"x\"</b>", "two\nlines", "$User.id"}), rapid.String())
	link := rapid.SampledFrom([]string{"", "https://acme.example/x?y=1&z=%20", "http://localhost:8080/é"})
	v := Visit{
		Subject: id.Draw(t, "subject"),
		Person: Person{
			Name: text.Draw(t, "name"), GivenName: text.Draw(t, "given"), MiddleName: text.Draw(t, "middle"), FamilyName: text.Draw(t, "family"),
			Email: text.Draw(t, "email"), Picture: link.Draw(t, "picture"), SourcedID: text.Draw(t, "sourced"),
		}.Without(Privacy{rapid.Bool().Draw(t, "withhold name"), rapid.Bool().Draw(t, "withhold email")}),
		Roles:          rapid.SampledFrom([][]string{nil, {RoleLearner}, {RoleLearner, "http://purl.imsglobal.org/vocab/lis/v2/membership/Instructor#TeachingAssistant"}}).Draw(t, "roles"),
		ResourceLink:   ResourceLink{ID: id.Draw(t, "link"), Title: text.Draw(t, "title"), Description: text.Draw(t, "description")},
		DocumentTarget: rapid.SampledFrom([]string{"", "iframe", "window"}).Draw(t, "target"),
		ReturnURL:      link.Draw(t, "return"), Locale: text.Draw(t, "locale"),
	}
	if rapid.Bool().Draw(t, "in a context") {
		v.Context = &Context{
			ID: id.Draw(t, "context"), Label: text.Draw(t, "label"), Title: text.Draw(t, "course"),
			Types: rapid.SampledFrom([][]string{nil, {"CourseSection"}, {"CourseSection", "Group"}}).Draw(t, "types"), CourseSection: text.Draw(t, "section"),
		}
	}
	if rapid.Bool().Draw(t, "describing the platform") {
		v.Platform = Platform{
			GUID: id.Draw(t, "guid"), Name: text.Draw(t, "instance"), Description: text.Draw(t, "about"), ContactEmail: text.Draw(t, "contact"),
			URL: link.Draw(t, "url"), Family: text.Draw(t, "family code"), Version: text.Draw(t, "version"),
		}
	}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b_2", "Chapter", "x.y", "zoë", "chapter", "custom_a"}), rapid.ID[string]).Draw(t, "custom") {
		v.Parameters = append(v.Parameters, Parameter{name, text.Draw(t, "value")})
	}
	return v
}

// seen returns the message that a visit is to be read as; as says what the way
// does to a text.
func seen(v Visit, custom map[string]string, as func(string) string) *Message {
	p := v.Person.Person()
	m := &Message{
		Subject: v.Subject,
		Roles:   parseRoles(v.Roles),
		Person: Person{
			Name: as(p.Name), GivenName: as(p.GivenName), MiddleName: as(p.MiddleName), FamilyName: as(p.FamilyName),
			Email: strings.TrimSpace(as(p.Email)), Picture: p.Picture, SourcedID: as(p.SourcedID),
		},
		ResourceLink: ResourceLink{v.ResourceLink.ID, as(v.ResourceLink.Title), as(v.ResourceLink.Description)},
		Presentation: Presentation{DocumentTarget: v.DocumentTarget, ReturnURL: v.ReturnURL, Locale: as(v.Locale)},
		Platform: Platform{
			GUID: v.Platform.GUID, Name: as(v.Platform.Name), Description: as(v.Platform.Description), ContactEmail: as(v.Platform.ContactEmail),
			URL: v.Platform.URL, Family: as(v.Platform.Family), Version: as(v.Platform.Version),
		},
		Custom: custom,
	}
	if x := v.Context; x != nil {
		m.Context = &Context{ID: x.ID, Label: as(x.Label), Title: as(x.Title), Types: x.Types, CourseSection: as(x.CourseSection)}
	}
	return m
}

// What a platform says in claims is what a tool reads.
func TestALaunchIsReadAsItWasSent(t *testing.T) {
	v, keys := verifier(t), platformKeys()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringOfN(rapid.RuneFrom(nil, &printable), 1, 40, 255)
		l := Launch{
			Visit: visits(t), Issuer: "https://acme.example", ClientID: id.Draw(t, "client"), DeploymentID: id.Draw(t, "deployment"),
			Nonce: id.Draw(t, "nonce"), TargetLinkURI: "https://tool.example/" + rapid.StringMatching(`[a-z]{0,8}(\?[a-z]=[a-z%&=]{0,8})?`).Draw(t, "path"),
		}
		if rapid.Bool().Draw(t, "with services") {
			l.LineItems, l.MembershipsURL = sentLaunch().LineItems, sentLaunch().MembershipsURL
		}
		reg := &Registration{Name: "acme", Issuer: l.Issuer, ClientID: l.ClientID, Deployments: Deployments{Activated: map[string]bool{l.DeploymentID: true}}}
		state := NewState(reg, &LoginRequest{TargetLinkURI: l.TargetLinkURI, DeploymentID: l.DeploymentID}, l.Nonce, cookie, start())
		got, err := v.VerifyIDToken(t.Context(), reg, keys, signLaunch(t, l, time.Minute), state)
		if err != nil {
			t.Fatal(err)
		}
		want := seen(l.Visit, Substitute(l.Parameters, l.Variables()), readable)
		want.Version, want.Issuer, want.ClientID, want.DeploymentID, want.TargetLinkURI = Version13, l.Issuer, l.ClientID, l.DeploymentID, l.TargetLinkURI
		want.LineItems = l.LineItems
		if l.MembershipsURL != "" {
			want.Memberships = &Memberships{URL: l.MembershipsURL, Versions: []string{"2.0"}}
		}
		want.Nonce = lti.Nonce{Protocol: "oidc", Party: "acme", Value: l.Nonce, ExpiresAt: state.ExpiresAt.Add(DefaultSkew)}
		want.IssuedAt, want.ExpiresAt = start(), start().Add(time.Minute)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestWhatAToolIsTold(t *testing.T) {
	tests := map[string]struct {
		person  Person
		privacy Privacy
		want    Person
	}{
		"everything": {learner(), Privacy{}, learner()},
		"no name":    {learner(), Privacy{WithholdName: true}, Person{Email: "sam@example.test", Locale: "nl"}},
		"no address": {learner(), Privacy{WithholdEmail: true}, Person{Name: "Sam Q. Student", GivenName: "Sam", MiddleName: "Q.", FamilyName: "Student", Locale: "nl"}},
		"nothing":    {learner(), Privacy{true, true}, Person{Locale: "nl"}},
		"no address where it is the name": {
			Person{Name: "SAM@example.test", GivenName: "sam@other.test", MiddleName: "@", FamilyName: "Student", Email: "sam@example.test"},
			Privacy{WithholdEmail: true},
			Person{FamilyName: "Student"},
		},
		"a name that is an address":    {Person{Name: "sam@example.test"}, Privacy{}, Person{Name: "sam@example.test"}},
		"an address in a name's place": {Person{Name: "sam@example.test", Email: "sam@example.test"}, Privacy{WithholdName: true}, Person{Email: "sam@example.test"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.person.Without(tt.privacy).Person()); diff != "" {
				t.Error(diff)
			}
		})
	}
	if !reflect.ValueOf(SharedPerson{}.Person()).IsZero() {
		t.Error("a person that nobody filtered is told something")
	}
}

// Whatever is configured, what is withheld is in neither message.
func TestWithheldValuesAreInNoMessage(t *testing.T) {
	p := Person{
		Name: "CANARY-full", GivenName: "CANARY-given", MiddleName: "CANARY-middle", FamilyName: "CANARY-family",
		Email: "CANARY-mail@example.test", Picture: "https://CANARY-picture.example", SourcedID: "CANARY-sourced",
	}
	for _, tt := range []struct {
		privacy Privacy
		told    []string
	}{
		{Privacy{true, true}, nil},
		{Privacy{WithholdName: true}, []string{"CANARY-mail"}},
		{Privacy{WithholdEmail: true}, []string{"CANARY-full", "CANARY-given", "CANARY-middle", "CANARY-family"}},
	} {
		v := sentVisit()
		v.Person = p.Without(tt.privacy)
		for name := range (Launch{Visit: func() Visit { all := sentVisit(); all.Person = p.Without(Privacy{}); return all }()}).Variables() {
			v.Parameters = append(v.Parameters, Parameter{"p_" + name, "$" + name})
		}
		l := sentLaunch()
		l.Visit = v
		form, err := Form12("https://tool.example/", Launch12{Visit: v}, form12Credentials(), start(), "n")
		if err != nil {
			t.Fatal(err)
		}
		var sent strings.Builder
		for _, p := range form {
			sent.WriteString(p.Name + "=" + p.Value + "\n")
		}
		for version, text := range map[string]string{"1.2": sent.String(), "1.3": asJSON(t, l.Claims(start(), time.Minute))} {
			for _, canary := range []string{"CANARY-full", "CANARY-given", "CANARY-middle", "CANARY-family", "CANARY-mail", "CANARY-picture", "CANARY-sourced"} {
				if told := strings.Contains(text, canary); told != slices.Contains(tt.told, canary) {
					t.Errorf("LTI %s, %+v: %s told: %v", version, tt.privacy, canary, told)
				}
			}
		}
	}
}

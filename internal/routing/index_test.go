// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"strings"
	"testing"
)

func TestAllowsPlatform(t *testing.T) {
	tests := map[string]struct {
		wanted, carried map[string]string
		want            bool
	}{
		"no selector allows a platform without labels": {nil, nil, true},
		"no selector allows every platform":            {nil, map[string]string{"a": "1"}, true},
		"an empty selector allows every platform":      {map[string]string{}, map[string]string{"a": "1"}, true},
		"the label is there":                           {map[string]string{"a": "1"}, map[string]string{"a": "1"}, true},
		"the label is there among others":              {map[string]string{"a": "1"}, map[string]string{"a": "1", "b": "2"}, true},
		"all labels are there":                         {map[string]string{"a": "1", "b": "2"}, map[string]string{"a": "1", "b": "2"}, true},
		"the label has another value":                  {map[string]string{"a": "1"}, map[string]string{"a": "2"}, false},
		"the label differs in case only":               {map[string]string{"a": "x"}, map[string]string{"a": "X"}, false},
		"the label is missing":                         {map[string]string{"a": "1"}, nil, false},
		"one of two labels is missing":                 {map[string]string{"a": "1", "b": "2"}, map[string]string{"a": "1"}, false},
		"an empty value is not a missing label":        {map[string]string{"a": ""}, map[string]string{"b": ""}, false},
		"an empty value is matched by an empty value":  {map[string]string{"a": ""}, map[string]string{"a": ""}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &Share{PlatformLabels: test.wanted}
			if got := s.AllowsPlatform(&Platform{Labels: test.carried}); got != test.want {
				t.Errorf("AllowsPlatform = %v, want %v", got, test.want)
			}
		})
	}
}

func TestIndexFindsEverythingByItsName(t *testing.T) {
	table := sampleTable()
	x := NewIndex("hash", table)
	if x.Hash != "hash" || x.Academy.URL != table.Academy.URL {
		t.Errorf("hash %q, academy %q", x.Hash, x.Academy.URL)
	}
	for i := range table.Activities {
		if name := table.Activities[i].Name; x.Activity(name) != &table.Activities[i] {
			t.Errorf("activity %s is not found", name)
		}
	}
	for i := range table.Credentials {
		if key := table.Credentials[i].ConsumerKey; x.Credential(key) != &table.Credentials[i] {
			t.Errorf("credential %s is not found", key)
		}
	}
	if x.ExternalCredential("first-aid") != &table.ExternalCredentials[0] {
		t.Error("the credential of another system is not found")
	}
	if x.Platform("moodle") != &table.Platforms[0] || x.Tool("simulation-lab") != &table.Tools[0] {
		t.Error("platform or tool is not found")
	}
	if x.Platform("x") != nil || x.Tool("x") != nil || x.Activity("x") != nil || x.Credential("x") != nil || x.ExternalCredential("x") != nil {
		t.Error("something was found that is not there")
	}
	// The kinds do not mix.
	if x.Platform("simulation-lab") != nil || x.Tool("moodle") != nil || x.Credential("course-00") != nil || x.Credential("theirs") != nil ||
		x.ExternalCredential("theirs") != nil || x.ExternalCredential("course-00") != nil {
		t.Error("something was found under the name of another kind")
	}
	visited := map[string]int{}
	x.Platforms(func(p *Platform) { visited[p.Name]++ })
	if len(visited) != len(table.Platforms) || visited["moodle"] != 1 || visited["future-partner"] != 1 {
		t.Errorf("visited %v", visited)
	}
	clear(visited)
	x.Tools(func(tool *Tool) { visited[tool.Name]++ })
	if len(visited) != len(table.Tools) || visited["simulation-lab"] != 1 || visited["former-tool"] != 1 {
		t.Errorf("visited tools %v", visited)
	}
}

func TestWhereIDTokensMayGo(t *testing.T) {
	at := func(tool, name, resourceURL string) Activity {
		return Activity{Name: name, External: &External{LTI13: &ExternalLTI13{Tool: tool, ResourceURL: resourceURL}}}
	}
	x := NewIndex("", &Table{
		Tools: []Tool{
			{Name: "listed", LTI13: &ToolLTI13{RedirectURIs: []string{"https://a.example/one", "https://a.example/two?x=1"}, LaunchURL: "https://a.example/launch", DeepLinkingURL: "https://a.example/choose"}},
			{Name: "derived", LTI13: &ToolLTI13{LaunchURL: "https://b.example/launch", DeepLinkingURL: "https://b.example/choose"}},
			{Name: "bare", LTI13: &ToolLTI13{}},
			{Name: "unregistered"},
		},
		Activities: []Activity{
			at("listed", "a", "https://a.example/a"), at("derived", "b", "https://b.example/b"), at("derived", "c", "https://b.example/c?y=2"),
			at("unregistered", "d", "https://d.example/d"), at("nowhere", "e", "https://e.example/e"),
			{Name: "f", External: &External{LTI12: &ExternalLTI12{LaunchURL: "https://b.example/form"}}},
			{Name: "g", Share: &Share{TargetURL: "https://b.example/shared"}},
		},
	})
	for _, c := range []struct {
		tool, uri string
		want      bool
	}{
		{"listed", "https://a.example/one", true},
		{"listed", "https://a.example/two?x=1", true},
		{"listed", "https://a.example/two", false},
		{"listed", "https://a.example/launch", false}, // the list is all there is
		{"listed", "https://a.example/choose", false},
		{"listed", "https://a.example/a", false},
		{"derived", "https://b.example/launch", true},
		{"derived", "https://b.example/choose", true},
		{"derived", "https://b.example/choose?x=1", false},
		{"derived", "https://b.example/b", true},
		{"derived", "https://b.example/c?y=2", true},
		{"derived", "https://b.example/c", false},
		{"derived", "https://b.example/c?y=2&z=3", false},
		{"derived", "https://b.example/b/", false},
		{"derived", "https://B.example/b", false},
		{"derived", "https://b.example:443/b", false},
		{"derived", "https://b.example/%62", false},
		{"derived", "", false},
		{"derived", "https://a.example/one", false}, // another tool's
		{"derived", "https://b.example/form", false},
		{"derived", "https://b.example/shared", false},
		{"bare", "", false}, // no launch URL is not an empty one
		{"unregistered", "https://d.example/d", false},
	} {
		if got := x.AcceptsRedirect(x.Tool(c.tool), c.uri); got != c.want {
			t.Errorf("%s, %q: %t", c.tool, c.uri, got)
		}
	}
}

func TestClientSecrets(t *testing.T) {
	one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	x := NewIndex("", &Table{AcademyKeys: AcademyKeys{Clients: []Client{{ClientID: "app", SecretSHA256: one}, {ClientID: "other", SecretSHA256: two}, {ClientID: "empty"}}}})
	tests := map[string]struct {
		client string
		secret []byte
		want   bool
	}{
		"its own secret":               {"app", one, true},
		"the second client's secret":   {"other", two, true},
		"the secret of another client": {"app", two, false},
		"an unknown client":            {"nobody", one, false},
		"no client":                    {"", one, false},
		"no secret":                    {"app", nil, false},
		"the start of the secret":      {"app", one[:31], false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := x.Client(test.client, test.secret); got != test.want {
				t.Errorf("Client = %v, want %v", got, test.want)
			}
		})
	}
}

// Other systems store these addresses: they never change.
func TestAddressesHandedOut(t *testing.T) {
	const academy = "https://lti.acme.example"
	tests := map[string]struct{ got, want string }{
		"login initiation of a platform": {PlatformLoginURL(academy, "moodle"), "/platforms/moodle/login"},
		"redirect URI of a platform":     {PlatformLaunchURL(academy, "moodle"), "/platforms/moodle/launch"},
		"keys for a platform":            {PlatformJWKSURL(academy, "moodle"), "/platforms/moodle/jwks.json"},
		"authentication for a tool":      {ToolAuthenticationURL(academy, "lab"), "/tools/lab/authorize"},
		"tokens for a tool":              {ToolTokenURL(academy, "lab"), "/tools/lab/token"},
		"keys for a tool":                {ToolJWKSURL(academy, "lab"), "/tools/lab/jwks.json"},
		"resource URL of an activity":    {ActivityResourceURL(academy, "height"), "/activities/height"},
		"start URL of an activity":       {ActivityStartURL(academy, "height"), "/activities/height/start"},
		"outcomes of an activity":        {ActivityOutcomesURL(academy, "height"), "/activities/height/outcomes"},
		"discovery for a tool":           {ToolDiscoveryURL(academy, "lab"), "/tools/lab/.well-known/openid-configuration"},
		"line items of an activity":      {ToolLineItemsURL(academy, "lab", "height"), "/tools/lab/contexts/height/lineitems"},
		"one line item":                  {ToolLineItemURL(academy, "lab", "height", "activity"), "/tools/lab/contexts/height/lineitems/activity"},
		"members of an activity":         {ToolMembershipsURL(academy, "lab", "height"), "/tools/lab/contexts/height/memberships"},
		"callback for learners":          {LearnerCallbackURL(academy), "/learners/callback"},
		"launch URL of an activity":      {ActivityLaunchURL(academy, "height"), "/activities/height/launch"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if path, ok := strings.CutPrefix(test.got, academy); !ok || path != test.want {
				t.Errorf("address is %s, want %s%s", test.got, academy, test.want)
			}
		})
	}
}

func TestWhichAddressesASystemIsBelievedAbout(t *testing.T) {
	for _, c := range []struct {
		users Users
		email string
		want  bool
	}{
		{Users{}, "a@example.org", false},
		{Users{AnyEmail: true}, "a@example.org", true},
		{Users{AnyEmail: true}, "", false},
		{Users{AnyEmail: true}, "example.org", false},
		{Users{AnyEmail: true}, "boo\u212a@example.org", false},
		{Users{AnyEmail: true}, "a b@example.org", false},
		{Users{EmailDomains: []string{"example.org"}}, "A@Example.ORG", true},
		{Users{EmailDomains: []string{"example.org"}}, "a@sub.example.org", false},
		{Users{EmailDomains: []string{"example.org"}}, "a@example.org.evil.example", false},
		{Users{EmailDomains: []string{"example.org"}}, `"a@evil.example"@example.org`, true},
		{Users{EmailDomains: []string{"example.org"}}, "@example.org", false},
	} {
		if got := c.users.Vouches(c.email); got != c.want {
			t.Errorf("%+v about %q: %t", c.users, c.email, got)
		}
	}
}

func TestTheHostChoosesAmongTheConfiguredAddresses(t *testing.T) {
	x := NewIndex("h", &Table{Academy: Academy{URL: "https://lti.acme.example", Aliases: []string{"https://lti.brand.example", "http://lti.localhost:9402"}}})
	for host, want := range map[string]string{
		"lti.acme.example": "https://lti.acme.example", "LTI.brand.example": "https://lti.brand.example",
		"lti.localhost:9402": "http://lti.localhost:9402", "lti.localhost": "https://lti.acme.example",
		"evil.example": "https://lti.acme.example", "": "https://lti.acme.example",
	} {
		if got := x.Base(host); got != want {
			t.Errorf("%q: %s", host, got)
		}
	}
	if x.IsBase("https://evil.example") || x.IsBase("") || !x.IsBase("https://lti.brand.example") {
		t.Error("public addresses are confused")
	}
}

// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// registrationOf is a registration that can be used; n makes its client ID, and with that its ID, and its age in hours.
func registrationOf(n int) routing.Registration {
	r := routing.Registration{
		Kind: routing.KindPlatform, Name: "moodle", RegisteredAt: time.Unix(int64(n)*3600, 0).UTC(),
		Platform: &routing.RegisteredPlatform{
			PlatformLTI13: routing.PlatformLTI13{
				Issuer: "https://lms.example", ClientID: fmt.Sprint(n), AuthenticationURL: "https://lms.example/auth", JWKSURL: "https://lms.example/jwks",
			},
			ClientConfigurationToken: "canary-of-the-configuration",
		},
	}
	r.ID = r.ComputeID()
	return r
}

func registeredTool() routing.RegisteredTool {
	return routing.RegisteredTool{ToolLTI13: routing.ToolLTI13{LoginInitiationURL: "https://lab.example/login", JWKSURL: "https://lab.example/jwks"}}
}

func TestRegistrationsAreKept(t *testing.T) {
	of := func(numbers ...int) (out []routing.Registration) {
		for _, n := range numbers {
			out = append(out, registrationOf(n))
		}
		return out
	}
	id := func(n int) string { return registrationOf(n).ID }
	other := registrationOf(3)
	other.Platform.Issuer = "https://evil.example"
	tool := routing.Registration{Kind: routing.KindTool, Tool: new(registeredTool())}
	tool.ID = tool.ComputeID()
	badID := registrationOf(9)
	badID.ID = "../../" + id(9)[6:]
	otherKind := registrationOf(9)
	otherKind.Kind = routing.KindTool
	otherKind.ID = otherKind.ComputeID()
	huge := registrationOf(9)
	huge.Platform.JWKS = strings.Repeat("x", maxRegistrationBytes)
	huge.ID = huge.ComputeID()
	for name, test := range map[string]struct {
		before, reported []routing.Registration
		approved         string
		after, added     []int
	}{
		"nothing of nothing":                        {},
		"the first":                                 {reported: of(1), after: []int{1}, added: []int{1}},
		"nothing is new":                            {before: of(1, 2), reported: of(1, 2), after: []int{1, 2}},
		"the handler has forgotten":                 {before: of(1, 2), approved: id(1), after: []int{1, 2}},
		"the newest four":                           {before: of(1, 2, 3), reported: of(1, 2, 3, 4, 5), after: []int{2, 3, 4, 5}, added: []int{4, 5}},
		"the approved one and the newest":           {before: of(1, 2, 3, 4), reported: of(5, 6), approved: id(1), after: []int{1, 4, 5, 6}, added: []int{5, 6}},
		"an old one that is approved comes back":    {before: of(2, 3, 4, 5), reported: of(1), approved: id(1), after: []int{1, 3, 4, 5}, added: []int{1}},
		"an old one that nobody approved does not":  {before: of(2, 3, 4, 5), reported: of(1), after: []int{2, 3, 4, 5}},
		"many that are reported again and again":    {before: of(6, 7, 8, 9), reported: of(1, 2, 3, 4, 5, 6, 7, 8, 9), after: []int{6, 7, 8, 9}},
		"other values under an ID that is known":    {before: of(3), reported: []routing.Registration{other}, approved: id(3), after: []int{3}},
		"other values under an ID that is approved": {reported: []routing.Registration{other}, approved: id(3)},
		"values of a tool under a platform's kind":  {before: of(1), reported: []routing.Registration{otherKind}, after: []int{1}},
		"a tool at a platform":                      {before: of(1), reported: []routing.Registration{tool}, after: []int{1}},
		"an ID that is a path":                      {before: of(1), reported: []routing.Registration{badID}, after: []int{1}},
		"one that is too large":                     {before: of(1), reported: []routing.Registration{huge}, after: []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			data := map[string][]byte{"of somebody else": []byte("x")}
			for _, r := range test.before {
				text, err := json.Marshal(r)
				if err != nil {
					t.Fatal(err)
				}
				data[r.ID+".json"] = text
			}
			untouched := maps.Clone(data)
			merged, added, err := MergeRegistrations(routing.KindPlatform, data, test.reported, test.approved)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"of somebody else"}
			for _, n := range test.after {
				want = append(want, id(n)+".json")
			}
			if got := slices.Sorted(maps.Keys(merged)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
				t.Errorf("kept are %v", got)
			}
			want = nil
			for _, n := range test.added {
				want = append(want, id(n))
			}
			if slices.Sort(added); !slices.Equal(added, slices.Sorted(slices.Values(want))) {
				t.Errorf("added: %v", added)
			}
			for key, text := range untouched {
				if string(data[key]) != string(text) || merged[key] != nil && string(merged[key]) != string(text) {
					t.Errorf("%s changed to %s", key, merged[key])
				}
			}
			again, added, err := MergeRegistrations(routing.KindPlatform, merged, test.reported, test.approved)
			if err != nil || len(added) > 0 || !maps.EqualFunc(again, merged, slices.Equal) {
				t.Errorf("the same report changes something again: %v %v", added, err)
			}
		})
	}
	// What is broken is no registration, but it is not thrown away while it is approved; a report mends it.
	data := map[string][]byte{id(1) + ".json": []byte("{")}
	if merged, _, _ := MergeRegistrations(routing.KindPlatform, data, of(2), id(1)); string(merged[id(1)+".json"]) != "{" || len(merged) != 2 {
		t.Errorf("%s", merged)
	}
	if merged, added, _ := MergeRegistrations(routing.KindPlatform, data, of(1), id(1)); len(added) != 1 || decoded(routing.KindPlatform, id(1), merged[id(1)+".json"]) == nil {
		t.Errorf("not mended: %s", merged)
	}
	// The same of values that were changed under the ID of others.
	text, err := json.Marshal(other)
	if err != nil {
		t.Fatal(err)
	}
	data = map[string][]byte{id(3) + ".json": text}
	if found := decodeRegistrations(routing.KindPlatform, data); len(found) > 0 {
		t.Errorf("%+v", found)
	}
	if merged, added, _ := MergeRegistrations(routing.KindPlatform, data, of(3), id(3)); len(added) != 1 || decoded(routing.KindPlatform, id(3), merged[id(3)+".json"]) == nil {
		t.Errorf("not mended: %s", merged)
	}
}

// The API server has not seen what a stranger registered.
func TestRegistrationsThatCannotBeUsed(t *testing.T) {
	long := "https://lms.example/" + strings.Repeat("a", maxURLLength)
	platforms := map[string]struct {
		change func(*routing.RegisteredPlatform)
		bad    string
	}{
		"as it should be":             {func(*routing.RegisteredPlatform) {}, ""},
		"on loopback":                 {func(p *routing.RegisteredPlatform) { p.Issuer = "http://moodle.localhost:8000" }, ""},
		"without an issuer":           {func(p *routing.RegisteredPlatform) { p.Issuer = "" }, "issuer"},
		"an issuer over http":         {func(p *routing.RegisteredPlatform) { p.Issuer = "http://lms.example" }, "issuer"},
		"an issuer with a query":      {func(p *routing.RegisteredPlatform) { p.Issuer = "https://lms.example?x=1" }, "issuer"},
		"a long issuer":               {func(p *routing.RegisteredPlatform) { p.Issuer = long }, "issuer"},
		"without a client ID":         {func(p *routing.RegisteredPlatform) { p.ClientID = "" }, "clientID"},
		"a long client ID":            {func(p *routing.RegisteredPlatform) { p.ClientID = strings.Repeat("x", 256) }, "clientID"},
		"the longest client ID":       {func(p *routing.RegisteredPlatform) { p.ClientID = strings.Repeat("ü", 255) }, ""},
		"a client ID with a line end": {func(p *routing.RegisteredPlatform) { p.ClientID = "a\nb" }, "clientID"},
		"a script":                    {func(p *routing.RegisteredPlatform) { p.AuthenticationURL = "javascript:alert(1)" }, "authenticationURL"},
		"a relative address":          {func(p *routing.RegisteredPlatform) { p.AuthenticationURL = "/auth" }, "authenticationURL"},
		"an address with a user name": {func(p *routing.RegisteredPlatform) { p.AuthenticationURL = "https://me@lms.example/" }, "authenticationURL"},
		"an address with a fragment":  {func(p *routing.RegisteredPlatform) { p.AuthenticationURL = "https://lms.example/#x" }, "authenticationURL"},
		"an address with a line end":  {func(p *routing.RegisteredPlatform) { p.AuthenticationURL = "https://lms.example/\r\nX: y" }, "authenticationURL"},
		"tokens over http":            {func(p *routing.RegisteredPlatform) { p.AccessTokenURL = "http://lms.example/token" }, "accessTokenURL"},
		"an audience of nothing":      {func(p *routing.RegisteredPlatform) { p.AccessTokenAudience = "x" }, "accessTokenAudience"},
		"a long audience": {func(p *routing.RegisteredPlatform) {
			p.AccessTokenURL, p.AccessTokenAudience = "https://lms.example/t", long
		}, "accessTokenAudience"},
		"no keyset":             {func(p *routing.RegisteredPlatform) { p.JWKSURL = "" }, "jwksURL and jwks"},
		"two keysets":           {func(p *routing.RegisteredPlatform) { p.JWKS = `{"keys":[{}]}` }, "jwksURL and jwks"},
		"a keyset of its own":   {func(p *routing.RegisteredPlatform) { p.JWKSURL, p.JWKS = "", `{"keys":[{}]}` }, ""},
		"a keyset that is none": {func(p *routing.RegisteredPlatform) { p.JWKSURL, p.JWKS = "", `[]` }, "jwks"},
		"a long keyset": {func(p *routing.RegisteredPlatform) {
			p.JWKSURL, p.JWKS = "", `{"keys":[{}]}`+strings.Repeat(" ", maxKeysetLength)
		}, "jwks"},
		"a keyset over http":             {func(p *routing.RegisteredPlatform) { p.JWKSURL = "http://lms.example/jwks" }, "jwksURL"},
		"a long deployment ID":           {func(p *routing.RegisteredPlatform) { p.DeploymentID = strings.Repeat("x", 256) }, "deploymentID"},
		"a deployment ID with a control": {func(p *routing.RegisteredPlatform) { p.DeploymentID = "1\x00" }, "deploymentID"},
	}
	for name, test := range platforms {
		t.Run("platform, "+name, func(t *testing.T) {
			r := registrationOf(1)
			test.change(r.Platform)
			judge(t, &r, test.bad)
		})
	}
	tools := map[string]struct {
		change func(*routing.RegisteredTool)
		bad    string
	}{
		"as it should be":          {func(*routing.RegisteredTool) {}, ""},
		"without a login":          {func(x *routing.RegisteredTool) { x.LoginInitiationURL = "" }, "loginInitiationURL"},
		"a redirect URI over http": {func(x *routing.RegisteredTool) { x.RedirectURIs = []string{"https://a.example", "http://a.example"} }, "redirectURIs"},
		"an empty redirect URI":    {func(x *routing.RegisteredTool) { x.RedirectURIs = []string{""} }, "redirectURIs"},
		"many redirect URIs":       {func(x *routing.RegisteredTool) { x.RedirectURIs = slices.Repeat([]string{"https://a.example"}, 65) }, "redirectURIs"},
		"a script to launch":       {func(x *routing.RegisteredTool) { x.LaunchURL = "data:text/html,x" }, "launchURL"},
		"a script to choose":       {func(x *routing.RegisteredTool) { x.DeepLinkingURL = "javascript:1" }, "deepLinkingURL"},
		"no keyset":                {func(x *routing.RegisteredTool) { x.JWKSURL = "" }, "jwksURL and jwks"},
	}
	for name, test := range tools {
		t.Run("tool, "+name, func(t *testing.T) {
			r := routing.Registration{ID: registrationOf(1).ID, Kind: routing.KindTool, Tool: new(registeredTool())}
			test.change(r.Tool)
			judge(t, &r, test.bad)
		})
	}
}

func judge(t *testing.T, r *routing.Registration, bad string) {
	t.Helper()
	v := checkRegistration(r)
	if (bad == "") != v.ok() || bad != "" && (v.reason != v1alpha1.ReasonRegistrationInvalid || !strings.Contains(v.message, bad)) {
		t.Errorf("%q is not %q", v.message, bad)
	}
	for _, value := range []string{"evil", "javascript", "lms.example"} {
		if strings.Contains(v.message, value) {
			t.Errorf("a stranger's value is in %q", v.message)
		}
	}
}

func TestWhatStrangersWriteFitsIntoStatus(t *testing.T) {
	for in, want := range map[string]string{
		"Moodle":               "Moodle",
		"12345678901":          "123456789…",
		"üüüüüüüüüüü":          "üüüüüüüüü…",
		"a\x1b[31m\u202eb\n\t": "a[31mb",
		"\xff\xfeok":           "ok",
	} {
		got := fit(in, 10)
		if got != want || utf8.RuneCountInString(got) > 10 {
			t.Errorf("%q becomes %q, not %q", in, got, want)
		}
	}
	d := dynamic{asked: true, known: []routing.Registration{{ID: registrationOf(1).ID, Tool: &routing.RegisteredTool{
		Name: strings.Repeat("n", 500), Scopes: slices.Repeat([]string{"s"}, 100), ToolLTI13: routing.ToolLTI13{RedirectURIs: slices.Repeat([]string{"r"}, 100)},
	}}}}
	k := d.toolRegistration(&v1alpha1.DynamicRegistration{}).Known[0]
	if len(k.Scopes) != maxShown || len(k.RedirectURIs) != maxRedirectURIs || utf8.RuneCountInString(k.Name) != maxNameLength || k.State != v1alpha1.RegistrationPending {
		t.Errorf("%+v", k)
	}
}

// An approved registration that loses its Secret, or its link, takes nothing else along.
func TestALinkThatIsSpoiltLeavesTheRegistrationServed(t *testing.T) {
	in := readCase(t, "dynamic-registration")
	link, _ := v1alpha1.RegistrationSecretNames(v1alpha1.KindPlatform, "approved")
	in.Secrets[link].Data[v1alpha1.SecretKeyExpiresAt] = []byte("tomorrow")
	out := Compile(in)
	r := out.Results[Ref{v1alpha1.KindPlatform, "approved"}]
	if r.Accepted != metav1.ConditionFalse || r.Reason != v1alpha1.ReasonSecretInvalid || !r.Registered {
		t.Errorf("%+v", r)
	}
	for _, p := range out.Table.Platforms {
		if p.Name == "approved" && (p.LTI13 == nil || p.Registration != nil) {
			t.Errorf("served is %+v", p)
		}
	}
}

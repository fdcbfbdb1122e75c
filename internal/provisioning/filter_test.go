// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/scim2/filter-parser/v2"
	"pgregory.net/rapid"

	"github.com/lti-operator/lti-operator/internal/provisioning/scimtest"
)

// tricky is text that gets out of quotes if it can.
func tricky() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.StringOfN(rapid.SampledFrom([]rune("\"\\u0041/' ()ab\n\t\x01\x7féß日😀\u2028\u00a0")), 0, 20, -1),
		rapid.SampledFrom([]string{`x" or externalId pr or externalId eq "`, `\`, `\"`, `"`, `x\`, "K", "İ"}),
	)
}

func TestQuote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := tricky().Draw(t, "text")
		quoted := quote(s)
		var back string
		if err := json.Unmarshal([]byte(quoted), &back); err != nil || back != s {
			t.Fatalf("%q is %q as JSON: %v", s, back, err)
		}
		if !utf8.ValidString(quoted) {
			t.Fatalf("%q", quoted)
		}
		e, err := filter.ParseFilter([]byte(equal("externalId", s)))
		if err != nil {
			t.Fatalf("%s: %v", quoted, err)
		}
		one, ok := e.(*filter.AttributeExpression)
		if !ok || one.Operator != filter.EQ || one.AttributePath.AttributeName != "externalId" {
			t.Fatalf("%s gets out: %v", quoted, e)
		}
		if !scimtest.Matches(e, map[string]any{"externalId": s}) || scimtest.Matches(e, map[string]any{"externalId": s + "x"}) {
			t.Fatalf("%s does not match", quoted)
		}
	})
}

// The whole way: people with tricky ids and addresses get accounts of their own,
// and get them back.
func TestTrickyPeople(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t, creating)
	known := make(map[string]string)
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.Custom(func(rt *rapid.T) string { return strings.ReplaceAll(tricky().Draw(rt, "text"), "\x00", "") })
		p := Person{
			Realm: "r" + text.Draw(rt, "realm"), LTIUserID: "u" + text.Draw(rt, "user"),
			GivenName: "g" + text.Draw(rt, "given name"), FamilyName: "f", Email: text.Draw(rt, "local part") + "@example.org",
		}
		a, err := c.Ensure(t.Context(), p, "")
		if err != nil {
			// Somebody had the address before, or it is none.
			return
		}
		if old, ok := known[p.ExternalID()]; ok != !a.Created || ok && old != a.ID {
			rt.Fatalf("%q: %v, was %q", p.ExternalID(), a, old)
		}
		known[p.ExternalID()] = a.ID
		if got := d.Users.One(a.ID); got["externalId"] != p.ExternalID() || a.Created && got["userName"] != strings.TrimSpace(p.Email) {
			rt.Fatalf("%v", got)
		}
		name := "g" + text.Draw(rt, "group")
		if err := c.Enrol(t.Context(), a.ID, name); err != nil {
			rt.Fatal(err)
		}
	})
	if len(known) < 10 {
		t.Error(len(known), "people")
	}
}

// A link filter that is accepted narrows, whatever it says.
func TestLinkFilterStaysInside(t *testing.T) {
	part := rapid.SampledFrom([]string{`(`, `)`, ` or `, ` and `, `not (`, `a pr`, `b eq "x"`, `c eq "\")"`, `d eq "("`, `"`, `\`, `e[f eq "g"]`, ` `})
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		f := strings.Join(rapid.SliceOfN(part, 1, 6).Draw(t, "parts"), "")
		if checkFilter(f) != nil {
			return
		}
		whole, err := filter.ParseFilter([]byte(`id eq "1" and (` + f + `)`))
		if err != nil {
			return
		}
		accepted++
		and, ok := whole.(*filter.LogicalExpression)
		if !ok || and.Operator != filter.AND {
			t.Fatalf("%s gets out: %v", f, whole)
		}
		if first, ok := and.Left.(*filter.AttributeExpression); !ok || first.AttributePath.AttributeName != "id" {
			t.Fatalf("%s gets out: %v", f, whole)
		}
	})
	if accepted == 0 {
		t.Error("no filter was accepted")
	}
}

func TestSameText(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"Noor@Example.org", "noor@example.ORG", true},
		{"JOSÉ@example.org", "josé@example.org", true},
		{"jose@example.org", "josé@example.org", false},
		{"mike@example.org", "mi\u212ae@example.org", false}, // Kelvin sign
		{"mike@example.org", "m\u0130ke@example.org", false}, // capital dotted i
		{"a\xff", "a\ufffd", true},                           // neither is an address
		{"", "a", false},
	} {
		if sameText(tt.a, tt.b) != tt.want || sameText(tt.b, tt.a) != tt.want {
			t.Errorf("%q %q", tt.a, tt.b)
		}
	}
}

func TestPatchIsWhatTheRFCSays(t *testing.T) {
	data, err := json.Marshal(patch{Schemas: []string{schemaPatch}, Operations: []operation{{Op: "add", Path: "members", Value: []member{{Value: "7"}}}}})
	want := `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"add","path":"members","value":[{"value":"7"}]}]}`
	if diff := cmp.Diff(want, string(data)); err != nil || diff != "" {
		t.Error(diff, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/handler/platform/drafts"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/deeplink"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// hostileTexts are texts that readers of YAML take for something else, or that end what they stand in.
func hostileTexts() []string {
	return []string{
		"Fire", "a: b", "- a", "# no comment", "a # b", "'", `"`, `\`, `\n`, "a\nb: c\n---\nkind: Secret", "\n\n", " leading", "trailing \t", "\tx", "a\r\nb", "\r",
		"yes", "No", "on", "y", "null", "~", "true", "1", "0x1F", "010", "0o7", "1e3", "1:20", ".inf", "2026-11-27", "<<", "=", "!!str x", "&a", "*a", "|", ">-", "%YAML 1.1",
		"{a: b}", "[a]", "a, b", "?", "@x", "`x`", "</textarea><script>", "Zoë — “Höhe” 安全 🦺", "\u0085\u2028\u2029\ufeff", "\u009f\ufffe\uffff", "---", "...", "- - -",
		strings.Repeat("x", 200), strings.Repeat("🦺", 200), "${HOME} {{.}} $(id)",
	}
}

func draftMaker() *drafts.Maker {
	return &drafts.Maker{
		Academy: "default", Tool: &routing.Tool{Name: "123", Title: "Lab", LTI13: &routing.ToolLTI13{LaunchURL: "https://lab.example/launch"}},
		Taken: func(string) bool { return false }, AcceptsRedirect: func(string) bool { return true },
	}
}

// decode reads YAML as kubectl does.
func decode(t interface{ Fatal(args ...any) }, text string) (out []*v1alpha1.LTIActivity) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		a := &v1alpha1.LTIActivity{}
		if err := yaml.UnmarshalStrict(document, a); err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
}

// What a tool says comes out of the YAML as it was, is taken by the API server as it is, and validate has nothing against it.
func TestDraftsOfHostileItems(t *testing.T) {
	s := newServer(t)
	most, err := decimal.Parse("12.5")
	if err != nil {
		t.Fatal(err)
	}
	var items []deeplink.Item
	for i, text := range hostileTexts() {
		item := deeplink.Item{
			Type: deeplink.TypeResourceLink, Title: text, Text: text, URL: fmt.Sprintf("https://lab.example/%d?a=b: c %%23&d='\"{", i),
			Custom: map[string]string{"value": text, "on": "yes"},
		}
		if name := strings.Map(func(r rune) rune {
			if r <= ' ' || r >= 0x7f && r <= 0xa0 || r == '\u2028' || r == '\u2029' {
				return -1
			}
			return r
		}, text); name != "" && len([]rune(name)) <= 128 {
			item.Custom[name] = text
		}
		switch i % 4 {
		case 0:
			item.LineItem = &deeplink.LineItem{Label: text, ScoreMaximum: most, Tag: text}
		case 1:
			item.Window = &deeplink.Window{TargetName: text}
		case 2:
			item.IFrame, item.LineItem = &deeplink.IFrame{}, &deeplink.LineItem{}
		}
		items = append(items, item)
	}
	made, text, err := draftMaker().Make(items)
	if err != nil {
		t.Fatal(err)
	}
	got := decode(t, text)
	if len(got) != len(items) {
		t.Fatalf("%d activities of %d items:\n%s", len(got), len(items), text)
	}
	names := map[string]bool{}
	for i, a := range got {
		want := v1alpha1.LTIActivitySpec{Title: items[i].Title, Description: items[i].Text, Type: v1alpha1.ELearning, External: &v1alpha1.ActivityExternal{
			LTI13: &v1alpha1.ExternalLTI13{ToolRef: v1alpha1.ToolReference{Name: "123"}, ResourceURL: v1alpha1.PeerURL(items[i].URL)},
		}}
		if strings.TrimSpace(want.Title) == "" {
			want.Title = "Lab"
		}
		for _, name := range slices.Sorted(maps.Keys(items[i].Custom)) {
			want.External.LTI13.Parameters = append(want.External.LTI13.Parameters, v1alpha1.LaunchParameter{Name: name, Value: items[i].Custom[name]})
		}
		want.External.Presentation = map[int]v1alpha1.Presentation{1: v1alpha1.NewWindow, 2: v1alpha1.Embedded}[i%4]
		if diff := cmp.Diff(want, a.Spec); diff != "" {
			t.Errorf("%q (-want +got):\n%s", items[i].Title, diff)
		}
		if a.Name != made[i].Name || names[a.Name] || len(a.Name) > 63 {
			t.Errorf("%q is named %q", items[i].Title, a.Name)
		}
		names[a.Name] = true
	}
	// The whole text is something that an API server takes as it stands.
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for i := range items {
		document, err := reader.Read()
		if err != nil {
			t.Fatal(err)
		}
		object, err := yaml.YAMLToJSON(document)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := s.Post().Namespace("default").Resource("ltiactivities").Param("fieldValidation", "Strict").Param("dryRun", "All").
			SetHeader("Content-Type", "application/json").Body(object).Do(t.Context()).Raw()
		if err != nil {
			t.Fatalf("%q: %v\n%s", items[i].Title, err, stored)
		}
		var back v1alpha1.LTIActivity
		if err := json.Unmarshal(stored, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got[i].Spec, back.Spec); diff != "" {
			t.Errorf("%q is changed (-sent +stored):\n%s", items[i].Title, diff)
		}
	}
	world := `{apiVersion: lti-operator.io/v1alpha1, kind: LTIAcademy, metadata: {name: default}, spec: {title: A, url: "https://lti.acme.example",
  learners: {oidc: {issuerURL: "https://id.acme.example", clientID: lti, clientSecretRef: {name: learners}}}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: learners, labels: {lti-operator.io/use: "true"}}, stringData: {clientSecret: secret-at-the-provider}}
---
{apiVersion: lti-operator.io/v1alpha1, kind: LTITool, metadata: {name: "123"}, spec: {title: Lab}}
`
	r, err := validate(t.Context(), []source{{name: "world.yaml", text: []byte(world)}, {name: "lab.yaml", text: []byte(text)}}, "default", rand.Reader)
	if err != nil || len(r.Findings) > 0 || r.Valid != len(items)+3 {
		t.Errorf("%v, %+v", err, r)
	}
	if bytes.Count([]byte(text), []byte("\n---\n")) != len(items)-1 {
		t.Errorf("documents are not set apart by the encoder alone:\n%s", text)
	}
}

// Whatever a tool says, the YAML holds it, or what the API allows of it.
func TestDraftsOfRandomItems(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		item := deeplink.Item{
			Type: deeplink.TypeResourceLink, Title: rapid.String().Draw(t, "title"), Text: rapid.String().Draw(t, "text"), URL: "https://lab.example/",
			Custom: rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "custom"),
		}
		made, text, err := draftMaker().Make([]deeplink.Item{item})
		if err != nil {
			t.Fatal(err)
		}
		got := decode(t, text)
		if len(got) != 1 {
			t.Fatalf("%d documents:\n%s", len(got), text)
		}
		spec := got[0].Spec
		if !strings.HasPrefix(made[0].Title, spec.Title) || !strings.HasPrefix(item.Text, spec.Description) || spec.Title == "" ||
			len([]rune(spec.Title)) > 200 || len([]rune(spec.Description)) > 4000 {
			t.Errorf("%q, %q became %q, %q", item.Title, item.Text, spec.Title, spec.Description)
		}
		for _, p := range spec.External.LTI13.Parameters {
			if value, ok := item.Custom[p.Name]; !ok || value != p.Value {
				t.Errorf("%q: %q", p.Name, p.Value)
			}
		}
	})
}

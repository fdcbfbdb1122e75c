// SPDX-License-Identifier: Apache-2.0

package drafts

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/deeplink"
	"github.com/lti-operator/lti-operator/internal/routing"
)

func newMaker(change func(*routing.ToolLTI13), taken ...string) *Maker {
	tool := &routing.Tool{Name: "simulation-lab", Title: "Simulation Lab", LTI13: &routing.ToolLTI13{LaunchURL: "https://lab.example/launch"}}
	if change != nil {
		change(tool.LTI13)
	}
	return &Maker{
		Academy: "default", Tool: tool, Taken: func(name string) bool { return slices.Contains(taken, name) },
		AcceptsRedirect: func(uri string) bool { return slices.Contains(tool.LTI13.RedirectURIs, uri) },
	}
}

func link(change func(*deeplink.Item)) deeplink.Item {
	item := deeplink.Item{Type: deeplink.TypeResourceLink, Title: "Fire", URL: "https://lab.example/fire", Custom: map[string]string{}}
	if change != nil {
		change(&item)
	}
	return item
}

func TestTheText(t *testing.T) {
	most, err := decimal.Parse("100")
	if err != nil {
		t.Fatal(err)
	}
	m := newMaker(nil, "fire")
	m.Academy = "brand"
	_, got, err := m.Make([]deeplink.Item{
		link(func(i *deeplink.Item) {
			i.Text = "Put it out.\nQuickly: #1"
			i.Custom = map[string]string{"who": "$User.id", "level": "2", "bad name": "x"}
			i.LineItem, i.IFrame = &deeplink.LineItem{ScoreMaximum: most}, &deeplink.IFrame{}
		}),
		{Type: deeplink.TypeLink, Title: "A page", URL: "https://lab.example/page"},
		link(func(i *deeplink.Item) { i.URL = "" }),
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `# Commit this, or apply it: kubectl apply -f FILE
apiVersion: lti-operator.io/v1alpha1
kind: LTIActivity
metadata:
  name: "fire-2"
spec:
  academyRef:
    name: "brand"
  title: "Fire"
  description: "Put it out.\nQuickly: #1"
  # The tool sends a score of at most 100. To have it decide: type: Exam, and below it minimumScore: 70 (1 to 100, in percent).
  type: ELearning
  external:
    presentation: Embedded
    lti13:
      toolRef:
        name: "simulation-lab"
      # Parameters that do not fit were left out: see the page that this comes from.
      resourceURL: "https://lab.example/fire"
      parameters:
        - name: "level"
          value: "2"
        - name: "who"
          value: "$User.id"
---
apiVersion: lti-operator.io/v1alpha1
kind: LTIActivity
metadata:
  name: "fire-3"
spec:
  academyRef:
    name: "brand"
  title: "Fire"
  type: ELearning
  external:
    lti13:
      toolRef:
        name: "simulation-lab"
      resourceURL: "https://lab.example/launch"
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatBecomesOfItems(t *testing.T) {
	start := deeplink.Period{Start: time.Unix(0, 0)}
	many := map[string]string{}
	for i := range 65 {
		many[fmt.Sprintf("p%02d", i)] = ""
	}
	for name, c := range map[string]struct {
		item     deeplink.Item
		tool     func(*routing.ToolLTI13)
		unusable Note
		notes    []Note
	}{
		"as it should be":           {item: link(nil)},
		"http on this machine":      {item: link(func(i *deeplink.Item) { i.URL = "http://lab.localhost:9407/x" })},
		"the tool's own launch URL": {item: link(func(i *deeplink.Item) { i.URL = "" })},
		"no address at all":         {item: link(func(i *deeplink.Item) { i.URL = "" }), tool: func(x *routing.ToolLTI13) { x.LaunchURL = "" }, unusable: NoAddress},
		"http elsewhere":            {item: link(func(i *deeplink.Item) { i.URL = "http://lab.example/x" }), unusable: WrongAddress},
		"a script":                  {item: link(func(i *deeplink.Item) { i.URL = "javascript:alert(1)" }), unusable: WrongAddress},
		"a fragment":                {item: link(func(i *deeplink.Item) { i.URL += "#x" }), unusable: WrongAddress},
		"a user name":               {item: link(func(i *deeplink.Item) { i.URL = "https://me@lab.example/" }), unusable: WrongAddress},
		"a long address":            {item: link(func(i *deeplink.Item) { i.URL += strings.Repeat("x", 2048) }), unusable: WrongAddress},
		"a link":                    {item: deeplink.Item{Type: deeplink.TypeLink, URL: "https://lab.example/"}, unusable: WrongType},
		"a piece of HTML":           {item: deeplink.Item{Type: deeplink.TypeHTML}, unusable: WrongType},
		"a type of the tool's own":  {item: deeplink.Item{Type: "x"}, unusable: WrongType},
		"no title":                  {item: link(func(i *deeplink.Item) { i.Title = " \n" }), notes: []Note{NoTitle}},
		"the longest title":         {item: link(func(i *deeplink.Item) { i.Title = strings.Repeat("ü", 200) })},
		"a long title":              {item: link(func(i *deeplink.Item) { i.Title = strings.Repeat("ü", 201) }), notes: []Note{Shortened}},
		"a long text":               {item: link(func(i *deeplink.Item) { i.Text = strings.Repeat("ü", 4001) }), notes: []Note{Shortened}},
		"parameters":                {item: link(func(i *deeplink.Item) { i.Custom["a"] = strings.Repeat("ü", 2048) })},
		"a long value":              {item: link(func(i *deeplink.Item) { i.Custom["a"] = strings.Repeat("ü", 2049) }), notes: []Note{ParametersLeftOut}},
		"a long name":               {item: link(func(i *deeplink.Item) { i.Custom[strings.Repeat("ü", 129)] = "" }), notes: []Note{ParametersLeftOut}},
		"a name with a wide blank":  {item: link(func(i *deeplink.Item) { i.Custom["a\u00a0b"] = "" }), notes: []Note{ParametersLeftOut}},
		"no name":                   {item: link(func(i *deeplink.Item) { i.Custom[""] = "" }), notes: []Note{ParametersLeftOut}},
		"many parameters":           {item: link(func(i *deeplink.Item) { i.Custom = many }), notes: []Note{ParametersLeftOut}},
		"a grade":                   {item: link(func(i *deeplink.Item) { i.LineItem = &deeplink.LineItem{} }), notes: []Note{Graded}},
		"open for a time":           {item: link(func(i *deeplink.Item) { i.Available = start }), notes: []Note{Limited}},
		"to be handed in in time":   {item: link(func(i *deeplink.Item) { i.Submission = start }), notes: []Note{Limited}},
		"a redirect URI":            {item: link(nil), tool: func(x *routing.ToolLTI13) { x.RedirectURIs = []string{"https://lab.example/fire"} }},
		"no redirect URI":           {item: link(nil), tool: func(x *routing.ToolLTI13) { x.RedirectURIs = []string{"https://lab.example/"} }, notes: []Note{NotARedirectURI}},
	} {
		t.Run(name, func(t *testing.T) {
			drafts, text, err := newMaker(c.tool).Make([]deeplink.Item{c.item})
			if err != nil || len(drafts) != 1 {
				t.Fatal(drafts, err)
			}
			d := drafts[0]
			if d.Unusable != c.unusable || !slices.Equal(d.Notes, c.notes) {
				t.Errorf("%q, %q", d.Unusable, d.Notes)
			}
			if usable := c.unusable == ""; (text != "") != usable || (d.Name != "") != usable || d.Title == "" {
				t.Errorf("%+v\n%s", d, text)
			}
		})
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 62)
	for _, c := range []struct {
		titles []string
		taken  []string
		want   []string
	}{
		{titles: []string{"Working safely: at height!"}, want: []string{"working-safely-at-height"}},
		{titles: []string{"Één keer, Zoë’s café"}, want: []string{"een-keer-zoes-cafe"}},
		{titles: []string{"--1--", "  ", "安全"}, want: []string{"1", "simulation-lab", "simulation-lab-2"}},
		{titles: []string{"Fire", "fire", "FIRE!"}, taken: []string{"fire-2"}, want: []string{"fire", "fire-3", "fire-4"}},
		{titles: []string{long + " x"}, want: []string{long}},
		{titles: []string{long + "bcd"}, taken: []string{long + "b"}, want: []string{long[:61] + "-2"}},
		{titles: []string{strings.Repeat("a", 60) + " bcd"}, taken: []string{strings.Repeat("a", 60) + "-bc"}, want: []string{strings.Repeat("a", 60) + "-2"}},
		{titles: []string{"a\nb\x00c../d"}, want: []string{"a-b-c-d"}},
		{titles: []string{"ﬁre ½"}, want: []string{"fire-1-2"}},
	} {
		var items []deeplink.Item
		for _, title := range c.titles {
			items = append(items, link(func(i *deeplink.Item) { i.Title = title }))
		}
		drafts, _, err := newMaker(nil, c.taken...).Make(items)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range drafts {
			got = append(got, d.Name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %q instead of %q", c.titles, got, c.want)
		}
	}
}

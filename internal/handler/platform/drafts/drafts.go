// SPDX-License-Identifier: Apache-2.0

// Package drafts writes LTIActivity resources for what an author chose at a tool. What a tool says is hostile input: it is quoted
// whatever it looks like, and what the resource cannot hold is left out with a note.
package drafts

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/text/unicode/norm"

	"github.com/lti-operator/lti-operator/internal/lti/deeplink"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Limits of an LTIActivity, in characters: what is said at its fields.
const (
	maxName           = 63
	maxTitle          = 200
	maxDescription    = 4000
	maxAddress        = 2048
	maxParameters     = 64
	maxParameterName  = 128
	maxParameterValue = 2048
)

// defaultAcademy is the academy of a resource that names none.
const defaultAcademy = "default"

// Note is something to say about an item. Its text is the one of package pages with that name.
type Note string

// Why an item cannot become an activity.
const (
	// WrongType is an item that is no ltiResourceLink.
	WrongType Note = "chosenWrongType"
	// WrongAddress is one whose address an LTIActivity cannot have: it is not https, too long, or has a fragment.
	WrongAddress Note = "chosenWrongAddress"
	// NoAddress is one without an address, of a tool without a launch URL.
	NoAddress Note = "chosenNoAddress"
)

// What to know about an item that can.
const (
	// NoTitle is one without a title, which has that of the tool.
	NoTitle Note = "chosenNoTitle"
	// Shortened is one with a title or a text that was cut off.
	Shortened Note = "chosenShortened"
	// ParametersLeftOut is one with parameters that do not fit.
	ParametersLeftOut Note = "chosenParametersLeftOut"
	// Graded is one that comes with a grade.
	Graded Note = "chosenGraded"
	// Limited is one that the tool wants to be open for some time only.
	Limited Note = "chosenLimited"
	// NotARedirectURI is one at an address that is none of the tool's redirect URIs.
	NotARedirectURI Note = "chosenNotARedirectURI"
)

// Draft is an item, and the activity that it can become.
type Draft struct {
	// Name is that of the LTIActivity; empty for an item that cannot become one.
	Name string
	// Title and Text are what the tool says. Address is where the activity is, also where that is not the reason for Unusable.
	Title, Text, Address string
	// Unusable says why the item cannot become an activity; empty when it can.
	Unusable Note
	Notes    []Note
}

// Maker knows what activities are made for.
type Maker struct {
	// Academy is the name of the LTIAcademy.
	Academy string
	Tool    *routing.Tool
	// Taken tells whether there is an activity of that name, or one that the tool could not tell from it.
	Taken func(name string) bool
	// AcceptsRedirect tells whether the tool may have learners sent to the address.
	AcceptsRedirect func(uri string) bool
}

// peerAddress is the rule for PeerURL in the API.
var peerAddress = regexp.MustCompile(`^(https://[A-Za-z0-9.:_-]+|https?://(([a-z0-9-]+[.])*localhost|127[.][0-9.]+|[[]::1[]])(:[0-9]+)?)([/?][^#]*)?$`)

// notInParameterName is the rule for names of LaunchParameter in the API.
var notInParameterName = regexp.MustCompile(`[\s\p{Z}\p{Cc}]`)

// Make returns a draft of each item, and one YAML text with those that can become activities; the text is empty if none can.
func (m *Maker) Make(items []deeplink.Item) ([]Draft, string, error) {
	out := make([]Draft, 0, len(items))
	taken := map[string]bool{}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	for i := range items {
		item := &items[i]
		d := m.draft(item)
		if d.Unusable == "" {
			d.Name = m.name(d.Title, taken)
			document := m.document(item, &d)
			if len(taken) == 1 {
				document.HeadComment = "Commit this, or apply it: kubectl apply -f FILE"
			}
			if err := encoder.Encode(document); err != nil {
				return nil, "", err
			}
		}
		out = append(out, d)
	}
	if len(taken) == 0 {
		return out, "", nil // an encoder that was given nothing cannot be closed
	}
	if err := encoder.Close(); err != nil {
		return nil, "", err
	}
	return out, text.String(), nil
}

// draft is an item without the name of its activity.
func (m *Maker) draft(item *deeplink.Item) Draft {
	d := Draft{Title: item.Title, Text: item.Text, Address: item.URL}
	if d.Address == "" && item.Type == deeplink.TypeResourceLink {
		d.Address = m.Tool.LTI13.LaunchURL
	}
	switch {
	case item.Type != deeplink.TypeResourceLink:
		d.Unusable = WrongType
	case d.Address == "":
		d.Unusable = NoAddress
	case !peerAddress.MatchString(d.Address) || utf8.RuneCountInString(d.Address) > maxAddress:
		d.Unusable = WrongAddress
	}
	if strings.TrimSpace(d.Title) == "" {
		d.Title = m.Tool.Title
		d.Notes = append(d.Notes, NoTitle)
	}
	if d.Unusable != "" {
		d.Notes = nil
		return d
	}
	for _, note := range []struct {
		Note
		applies bool
	}{
		{Shortened, utf8.RuneCountInString(d.Title) > maxTitle || utf8.RuneCountInString(d.Text) > maxDescription},
		{ParametersLeftOut, len(parametersOf(item)) < len(item.Custom)},
		{Graded, item.LineItem != nil},
		{Limited, item.Available != (deeplink.Period{}) || item.Submission != (deeplink.Period{})},
		{NotARedirectURI, len(m.Tool.LTI13.RedirectURIs) > 0 && !m.AcceptsRedirect(d.Address)},
	} {
		if note.applies {
			d.Notes = append(d.Notes, note.Note)
		}
	}
	return d
}

// parametersOf are the names of the custom parameters that an activity can hold.
func parametersOf(item *deeplink.Item) []string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(item.Custom)), func(name string) bool {
		return name == "" || utf8.RuneCountInString(name) > maxParameterName || notInParameterName.MatchString(name) ||
			utf8.RuneCountInString(item.Custom[name]) > maxParameterValue
	})
	return names[:min(len(names), maxParameters)]
}

// document is the LTIActivity of a draft.
func (m *Maker) document(item *deeplink.Item, d *Draft) *yaml.Node {
	lti13 := mapping("toolRef", mapping("name", quoted(m.Tool.Name)), "resourceURL", quoted(d.Address))
	if names := parametersOf(item); len(names) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, name := range names {
			list.Content = append(list.Content, mapping("name", quoted(name), "value", quoted(item.Custom[name])))
		}
		add(lti13, "parameters", list)
	}
	if slices.Contains(d.Notes, ParametersLeftOut) {
		comment(lti13, "resourceURL", "Parameters that do not fit were left out: see the page that this comes from.")
	}
	external := mapping()
	switch {
	case item.Window != nil:
		add(external, "presentation", plain("NewWindow"))
	case item.IFrame != nil:
		add(external, "presentation", plain("Embedded"))
	}
	add(external, "lti13", lti13)

	spec := mapping()
	if m.Academy != defaultAcademy {
		add(spec, "academyRef", mapping("name", quoted(m.Academy)))
	}
	add(spec, "title", quoted(cut(d.Title, maxTitle)))
	if d.Text != "" {
		add(spec, "description", quoted(cut(d.Text, maxDescription)))
	}
	add(spec, "type", plain("ELearning"))
	if l := item.LineItem; l != nil {
		most := ""
		if l.ScoreMaximum.Sign() > 0 {
			most = " of at most " + l.ScoreMaximum.String()
		}
		comment(spec, "type", "The tool sends a score"+most+". To have it decide: type: Exam, and below it minimumScore: 70 (1 to 100, in percent).")
	}
	add(spec, "external", external)
	return mapping(
		"apiVersion", plain("lti-operator.io/v1alpha1"), "kind", plain("LTIActivity"),
		"metadata", mapping("name", quoted(d.Name)), "spec", spec,
	)
}

// mapping is a mapping of names and nodes, in their order.
func mapping(pairs ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for ; len(pairs) >= 2; pairs = pairs[2:] {
		add(n, pairs[0].(string), pairs[1].(*yaml.Node))
	}
	return n
}

func add(to *yaml.Node, name string, value *yaml.Node) {
	to.Content = append(to.Content, plain(name), value)
}

// comment puts a comment above a member.
func comment(on *yaml.Node, name, text string) {
	for i := 0; i < len(on.Content); i += 2 {
		if on.Content[i].Value == name {
			on.Content[i].HeadComment = text
		}
	}
}

// plain is a text of ours.
func plain(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// quoted is any other text. Readers of YAML 1.1 and 1.2 take different plain ones for something else (yes, 1:20, 0o7), and one
// in double quotes for what it is.
func quoted(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: s}
}

// cut returns at most so many characters.
func cut(s string, longest int) string {
	if runes := []rune(s); len(runes) > longest {
		return string(runes[:longest])
	}
	return s
}

// name makes a name from a title that nothing has, and takes it.
func (m *Maker) name(title string, taken map[string]bool) string {
	base := label(title)
	if base == "" {
		base = label(m.Tool.Name)
	}
	name := base
	for n := 2; taken[name] || m.Taken(name); n++ {
		suffix := "-" + strconv.Itoa(n)
		name = strings.TrimRight(base[:min(len(base), maxName-len(suffix))], "-") + suffix
	}
	taken[name] = true
	return name
}

// label makes a label (RFC 1123) of the letters and digits in a text, without their accents; empty if there are none.
func label(text string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(cut(text, maxTitle)) {
		switch r = unicode.ToLower(r); {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			b.WriteRune(r)
		case unicode.Is(unicode.Mn, r), r == '\'', r == '’':
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	s := b.String()
	return strings.TrimRight(s[:min(len(s), maxName)], "-")
}

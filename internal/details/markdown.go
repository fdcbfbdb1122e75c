// SPDX-License-Identifier: Apache-2.0

package details

import (
	"fmt"
	"strings"
)

const intro = `<!--
Made from internal/details by "make generate".
-->

# Which value goes where

An administrator of another learning system pastes values of ours into a form there, and hands over some of theirs.
Every system has its own names for the same values. Our values are in the status of the object:

| object | status | for |
|---|---|---|
| ` + "`LTIPlatform`" + ` | ` + "`status.details`" + ` | a system that launches our activities, LTI 1.3 |
| ` + "`LTIActivity`" + ` | ` + "`status.lti13`" + `, ` + "`status.lti12`" + ` | one activity |
| ` + "`LTITool`" + ` | ` + "`status.details`" + ` | a system whose activities our learners open |

For LTI 1.2, consumer key and shared secret are in the Secret that ` + "`status.lti12.credentialsSecretName`" + ` names, of
the activity or of the platform.

**Bold** is what the screen says. Names that are not bold are those of the specifications: the screen does not show the
value, or its wording there is not known to us. ` + "`{site}`" + ` is the address of the other system, without a slash
at the end; parentheses in menu paths stand for what you pick there.
`

// Markdown returns docs/details.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString(intro)
	for _, s := range Systems() {
		fmt.Fprintf(&b, "\n## %s\n", s.Title)
		paste(&b, "Paste there: LTIPlatform", s.Platform)
		bringBack(&b, s.BringBack)
		paste(&b, "Paste there: LTIActivity, LTI 1.3", s.Activity)
		paste(&b, "Paste there: LTIActivity, LTI 1.2", s.LTI12)
		paste(&b, "Paste there: LTITool", s.Tool)
		list(&b, "Notes", s.Notes)
		list(&b, "Sources", s.Sources)
	}
	return b.String()
}

func paste(b *strings.Builder, title string, s Screen) {
	if len(s.Entries) == 0 {
		return
	}
	heading(b, title, s)
	b.WriteString("| our value | field there | |\n|---|---|---|\n")
	for _, e := range s.Entries {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", e.Path, label(e), remark(e))
	}
}

func bringBack(b *strings.Builder, s Screen) {
	heading(b, "Bring back: LTIPlatform", s)
	b.WriteString("| shown there as | goes into | always | |\n|---|---|---|---|\n")
	for _, e := range s.Entries {
		form := ""
		if e.Form != "" {
			form = "`" + e.Form + "`"
		}
		fmt.Fprintf(b, "| %s | `%s` | %s | %s |\n", label(e), e.Path, form, remark(e))
	}
}

func heading(b *strings.Builder, title string, s Screen) {
	fmt.Fprintf(b, "\n### %s\n\n", title)
	if s.Where != "" {
		fmt.Fprintf(b, "%s\n\n", s.Where)
	}
}

func label(e Entry) string {
	if e.Generic {
		return e.Label
	}
	return "**" + e.Label + "**"
}

// remark joins what is said about an entry beside its label.
func remark(e Entry) string {
	if e.Where != "" && e.Note != "" {
		return e.Where + "; " + e.Note
	}
	return e.Where + e.Note
}

func list(b *strings.Builder, title string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n", title)
	for _, item := range items {
		fmt.Fprintf(b, "- %s\n", item)
	}
}

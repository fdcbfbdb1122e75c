// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// widestLabel is the width of the column of labels at most. A longer label stands on a line of its own.
const widestLabel = 34

// text prints a sheet for people.
func (s *sheet) text(w io.Writer) {
	fmt.Fprintf(w, "%s %s in namespace %s: %s\n", s.Kind, s.Name, s.Namespace, s.Title)
	for _, p := range s.PasteThere {
		p.heading(w, "Paste there", s.System)
		for _, row := range p.rows(value.paste) {
			fmt.Fprintln(w, row)
		}
	}
	if p := s.BringBack; p != nil {
		p.heading(w, "Bring back", s.System)
		for _, row := range p.rows(value.bringBack) {
			fmt.Fprintln(w, row)
		}
		if len(s.Missing) == 0 {
			fmt.Fprintln(w, "\n  Everything is filled in.")
		} else {
			fmt.Fprintf(w, "\n  Still missing: %s\n", strings.Join(s.Missing, ", "))
		}
	}
	notes := s.Notes
	if p := s.BringBack; p != nil && slices.ContainsFunc(p.rows(value.bringBack), func(row string) bool { return strings.Contains(row, "{site}") }) {
		notes = append([]string{"{site} stands for the address of the other system, without a slash at the end."}, notes...)
	}
	if len(notes) > 0 {
		fmt.Fprintln(w, "\nNotes")
	}
	for _, note := range notes {
		fmt.Fprintf(w, "- %s\n", note)
	}
}

func (p page) heading(w io.Writer, what, system string) {
	fmt.Fprintf(w, "\n%s: %s, %s\n", what, system, p.Title)
	if p.Where != "" {
		fmt.Fprintf(w, "  %s\n", p.Where)
	}
	fmt.Fprintln(w)
}

// rows aligns the labels of a page with what is to be printed beside them.
func (p page) rows(lines func(value) []string) (out []string) {
	width := 0
	for _, v := range p.Values {
		if n := utf8.RuneCountInString(v.Label); n <= widestLabel {
			width = max(width, n)
		}
	}
	width = max(width, 12)
	for _, v := range p.Values {
		label := v.Label
		if utf8.RuneCountInString(label) > width {
			out = append(out, "  "+label)
			label = ""
		}
		for _, line := range lines(v) {
			out = append(out, fmt.Sprintf("  %-*s  %s", width, label, line))
			label = ""
		}
	}
	return out
}

// paste is what stands beside a label: what to copy, one per line, then remarks in parentheses.
func (v value) paste() []string {
	lines := []string{v.Value}
	if v.Instead != "" {
		lines = []string{"(" + v.Instead + ")"}
	}
	lines = append(lines, v.Further...)
	return append(lines, v.remarks()...)
}

// bringBack is where a value belongs, and what is there.
func (v value) bringBack() []string {
	state, form := strings.Join(append([]string{v.Value}, v.Further...), ", "), ""
	if v.Form != "" {
		form = "; it is always " + v.Form
	}
	switch {
	case v.Instead != "":
		state = "(" + v.Instead + form + ")"
	case v.Value == "":
		state = "MISSING" + form
	}
	return append([]string{v.Path + ": " + state}, v.remarks()...)
}

func (v value) remarks() (out []string) {
	for _, remark := range []string{v.Where, v.Note} {
		if remark != "" {
			out = append(out, "("+remark+")")
		}
	}
	return out
}

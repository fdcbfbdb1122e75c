// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"sigs.k8s.io/yaml"

	"github.com/lti-operator/lti-operator/internal/routing"
)

// list is one that a control port keeps: grades, or results.
type list struct {
	path      string
	one, many string
	// flags select from it, together with --subject.
	flags string
}

// at is where the control port has one of them; ok is false for what cannot be its ID.
func (l *list) at(id string) (path string, ok bool) {
	// A path of dots leads elsewhere.
	return l.path + "/" + url.PathEscape(id), strings.Trim(id, ".") != ""
}

// unknown says that there is none of that ID.
func (l *list) unknown(id string) error { return fmt.Errorf("there is no %s %q", l.one, id) }

// decode reads an answer.
func (p *controlPort) decode(body []byte, what string, into any) error {
	if json.Unmarshal(body, into) != nil {
		return fmt.Errorf("the launch handler (%s) does not answer with %s; is it of another release?", p.where, what)
	}
	return nil
}

// find reads what a query selects from a list. Parameters without a value do not select. It is returned as it came, with
// what is said about further ones.
func (p *controlPort) find(ctx context.Context, l *list, query map[string]string, into any) (raw []byte, more string, err error) {
	path, values := l.path, url.Values{}
	for name, value := range query {
		if value != "" {
			values.Set(name, value)
		}
	}
	if len(values) > 0 {
		path += "?" + values.Encode()
	}
	a, err := p.ask(ctx, http.MethodGet, path, http.StatusOK)
	if err != nil {
		return nil, "", err
	}
	return a.body, a.header.Get(routing.HeaderControlMore), p.decode(a.body, "a list of "+l.many, into)
}

// outputFlag says how to print what a launch handler has answered with.
type outputFlag struct {
	Output string `short:"o" enum:"text,json,yaml" default:"text" help:"Output format: text, json or yaml."`
}

// write prints an answer as it came, or the text for people.
func (f *outputFlag) write(w io.Writer, raw []byte, text func() error) error {
	switch f.Output {
	case "json":
		var out bytes.Buffer
		if err := json.Indent(&out, bytes.TrimSpace(raw), "", "  "); err != nil {
			return err
		}
		fmt.Fprintln(w, out.String())
		return nil
	case "yaml":
		out, err := yaml.JSONToYAML(raw)
		if err != nil {
			return err
		}
		_, err = w.Write(out)
		return err
	}
	return text()
}

// writeTable prints a table. A cell without a value holds a dash, so that columns can be told apart by white space; an ID,
// which is long, belongs into the last one.
func writeTable(w io.Writer, header []string, rows [][]string) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, cells := range append([][]string{header}, rows...) {
		for i, text := range cells {
			cells[i] = cmp.Or(strings.Map(visible, text), "-")
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	return table.Flush()
}

// visible keeps text within its cell.
func visible(r rune) rune {
	if unicode.IsSpace(r) || !unicode.IsPrint(r) {
		return '?'
	}
	return r
}

// points is given/maximum; empty for none.
func points(p *routing.Points) string {
	if p == nil {
		return ""
	}
	return p.Given.String() + "/" + p.Maximum.String()
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// selection is what is to be sent again.
type selection struct {
	all     bool
	ids     []string
	selects bool
}

// check tells whether it is clear what is to be sent.
func (s *selection) check(l *list) error {
	switch {
	case s.all && len(s.ids) > 0:
		return usageError{errors.New("give IDs or --all, not both")}
	case s.all && !s.selects:
		return usageError{fmt.Errorf("--all needs %s or --subject: which %s shall be sent again?", l.flags, l.many)}
	case !s.all && s.selects:
		return usageError{fmt.Errorf("%s and --subject go with --all", l.flags)}
	case !s.all && len(s.ids) == 0:
		return usageError{fmt.Errorf("give the IDs of %s, or --all with %s or --subject", l.many, l.flags)}
	}
	return nil
}

// resend asks for all of them to be sent again, and says how many will be. One that is unknown does not keep others back.
// Of further ones, empty, there is nothing to send.
func (p *controlPort) resend(ctx context.Context, l *list, ids []string, empty int, t terminal) error {
	sent, err := p.resendEach(ctx, l, ids, t)
	what := l.many
	if sent == 1 {
		what = l.one
	}
	fmt.Fprintf(t.out, "%d %s will be sent again", sent, what)
	if empty > 0 {
		fmt.Fprintf(t.out, ", %d have nothing to send", empty)
	}
	fmt.Fprintln(t.out)
	return err
}

func (p *controlPort) resendEach(ctx context.Context, l *list, ids []string, t terminal) (sent int, err error) {
	for _, id := range ids {
		known := false
		if path, ok := l.at(id); ok {
			a, err := p.ask(ctx, http.MethodPost, path+routing.PathControlSend, http.StatusAccepted, http.StatusNotFound)
			if err != nil {
				return sent, err
			}
			known = a.status == http.StatusAccepted
		}
		if !known {
			fmt.Fprintln(t.err, "error:", l.unknown(id))
			continue
		}
		sent++
		fmt.Fprintf(t.out, "%s will be sent again\n", id)
	}
	if sent < len(ids) {
		return sent, errSaid
	}
	return sent, nil
}

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

	"github.com/lti-operator/lti-operator/internal/routing"
)

// gradesCommands are `kubectl lti grades`.
type gradesCommands struct {
	List   listCommand   `cmd:"" help:"List grades, the one that changed last first."`
	Resend resendCommand `cmd:"" help:"Have grades sent again, whatever has become of them."`
}

// stateNone is the state of a grade of which there is nothing to send.
const stateNone = "None"

// gradeStates are the states of a grade, see docs/progress.md.
var gradeStates = []string{stateNone, "Waiting", "Retrying", "Refused", "Confirmed"}

// gradeFilter selects grades.
type gradeFilter struct {
	Subject      string `help:"Grades of this learner only: the sub of a launch."`
	Activity     string `help:"Grades of this LTIActivity only."`
	Registration string `help:"Grades of one gradebook only: platform/NAME, or whatever grades list shows."`
	State        string `enum:",${states}" default:"" help:"Grades in this state only: ${stateList}."`
}

// path is where the control port lists them.
func (f *gradeFilter) path() string {
	query := url.Values{}
	for name, value := range map[string]string{
		"subject": f.Subject, "activity": f.Activity, "registration": f.Registration, "state": f.State,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if len(query) == 0 {
		return routing.PathControlGrades
	}
	return routing.PathControlGrades + "?" + query.Encode()
}

// find returns the grades, also as the launch handler lists them.
func (f *gradeFilter) find(ctx context.Context, p *controlPort, t terminal) (found []routing.Grade, raw []byte, err error) {
	a, err := p.ask(ctx, http.MethodGet, f.path(), http.StatusOK)
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(a.body, &found); err != nil {
		return nil, nil, fmt.Errorf("the launch handler (%s) does not answer with a list of grades; is it of another release?", p.where)
	}
	if a.header.Get(routing.HeaderControlMore) != "" {
		fmt.Fprintf(t.err, "note: only the %d grades that changed last were looked at, and there are older ones; "+
			"narrow it down with --subject, --activity or --registration\n", routing.MaxControlGrades)
	}
	return found, a.body, nil
}

// listCommand is `kubectl lti grades list`.
type listCommand struct {
	gradeFilter
	Output string `short:"o" enum:"text,json" default:"text" help:"Output format: text or json."`
	controlFlags
}

// Help returns the examples, for kong.
func (*listCommand) Help() string { return "Examples:\n\n" + listExamples }

// Run implements the command.
func (c *listCommand) Run(ctx context.Context, t terminal) error {
	p, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	found, raw, err := c.find(ctx, p, t)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		var text bytes.Buffer
		if err := json.Indent(&text, bytes.TrimSpace(raw), "", "  "); err != nil {
			return err
		}
		fmt.Fprintln(t.out, text.String())
		return nil
	}
	if len(found) == 0 {
		// Not among what is printed, as kubectl does it: a script counts lines.
		fmt.Fprintln(t.err, "No grades found.")
		return nil
	}
	return writeGrades(t.out, found)
}

// writeGrades prints a table. A cell without a value holds a dash, so that columns can be told apart by white space; the
// ID, which is long, comes last.
func writeGrades(w io.Writer, found []routing.Grade) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	row := func(cells ...string) {
		for i, text := range cells {
			cells[i] = cmp.Or(strings.Map(visible, text), "-")
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	row("SUBJECT", "ACTIVITY", "REGISTRATION", "STATE", "WANTED", "CONFIRMED", "REASON", "NEXT-TRY", "ID")
	for i := range found {
		g := &found[i]
		row(g.Subject, g.Activity, g.Registration, g.State, wanted(g), confirmed(g), g.Reason, moment(g.DueAt), g.ID)
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

// wanted is the grade that the gradebook shall hold; empty for none. None where there was one has been taken back.
func wanted(g *routing.Grade) string {
	switch {
	case g.Grade != nil:
		return g.Grade.Given.String() + "/" + g.Grade.Maximum.String()
	case g.Wanted > 0:
		return "none"
	}
	return ""
}

// confirmed tells whether the gradebook is known to hold the wanted grade; empty if there is nothing to hold.
func confirmed(g *routing.Grade) string {
	switch {
	case g.Wanted == 0:
		return ""
	case g.Confirmed == g.Wanted:
		return "yes"
	case g.Confirmed > 0:
		return "earlier"
	}
	return "no"
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// resendCommand is `kubectl lti grades resend`.
type resendCommand struct {
	IDs []string `arg:"" optional:"" name:"ID" help:"Grades, as grades list prints them."`
	All bool     `help:"All grades that the flags select; at least one of them must."`
	gradeFilter
	controlFlags
}

// Help returns the examples, for kong.
func (*resendCommand) Help() string { return "Examples:\n\n" + resendExamples }

// check tells whether it is clear what is to be sent.
func (c *resendCommand) check() error {
	selects := c.gradeFilter != gradeFilter{}
	switch {
	case c.All && len(c.IDs) > 0:
		return usageError{errors.New("give IDs or --all, not both")}
	case c.All && !selects:
		return usageError{errors.New("--all needs --state, --registration, --activity or --subject: which grades shall be sent again?")}
	case !c.All && selects:
		return usageError{errors.New("--state, --registration, --activity and --subject go with --all")}
	case !c.All && len(c.IDs) == 0:
		return usageError{errors.New("give the IDs of grades, or --all with --state, --registration, --activity or --subject")}
	}
	return nil
}

// Run implements the command.
func (c *resendCommand) Run(ctx context.Context, t terminal) error {
	if err := c.check(); err != nil {
		return err
	}
	p, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	ids, empty := c.IDs, 0
	if c.All {
		found, _, err := c.find(ctx, p, t)
		if err != nil {
			return err
		}
		for i := range found {
			if found[i].State == stateNone {
				empty++
				continue
			}
			ids = append(ids, found[i].ID)
		}
	}
	sent, err := c.send(ctx, p, ids, t)
	switch {
	case sent == 1:
		fmt.Fprint(t.out, "1 grade will be sent again")
	default:
		fmt.Fprintf(t.out, "%d grades will be sent again", sent)
	}
	if empty > 0 {
		fmt.Fprintf(t.out, ", %d have nothing to send", empty)
	}
	fmt.Fprintln(t.out)
	return err
}

// send asks for each grade to be sent again, and tells how many will be. One that is unknown does not keep others back.
func (c *resendCommand) send(ctx context.Context, p *controlPort, ids []string, t terminal) (sent int, err error) {
	for _, id := range ids {
		known, err := p.resend(ctx, id)
		switch {
		case err != nil:
			return sent, err
		case known:
			sent++
			fmt.Fprintf(t.out, "%s will be sent again\n", id)
		default:
			fmt.Fprintf(t.err, "error: there is no grade %q\n", id)
		}
	}
	if sent < len(ids) {
		return sent, errSaid
	}
	return sent, nil
}

// resend asks for a grade to be sent again; known is false when there is no such grade.
func (p *controlPort) resend(ctx context.Context, id string) (known bool, err error) {
	if strings.Trim(id, ".") == "" {
		return false, nil // a path of dots leads elsewhere
	}
	path := routing.PathControlGrades + "/" + url.PathEscape(id) + routing.PathControlSend
	a, err := p.ask(ctx, http.MethodPost, path, http.StatusAccepted, http.StatusNotFound)
	return a.status == http.StatusAccepted, err
}

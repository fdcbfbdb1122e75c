// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"

	"github.com/lti-operator/lti-operator/internal/routing"
)

// gradesCommands are `kubectl lti grades`.
type gradesCommands struct {
	List   listGradesCommand   `cmd:"" help:"List grades, the one that changed last first."`
	Resend resendGradesCommand `cmd:"" help:"Have grades sent again, whatever has become of them."`
}

// gradeList is the list of grades at a control port.
func gradeList() *list {
	return &list{path: routing.PathControlGrades, one: "grade", many: "grades", flags: "--state, --registration, --activity"}
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

// find returns the grades, also as the launch handler lists them.
func (f *gradeFilter) find(ctx context.Context, p *controlPort, t terminal) (found []routing.Grade, raw []byte, err error) {
	raw, more, err := p.find(ctx, gradeList(), map[string]string{
		"subject": f.Subject, "activity": f.Activity, "registration": f.Registration, "state": f.State,
	}, &found)
	if err == nil && more != "" {
		fmt.Fprintf(t.err, "note: only the %d grades that changed last were looked at, and there are older ones; "+
			"narrow it down with --subject, --activity or --registration\n", routing.MaxControlListed)
	}
	return found, raw, err
}

// listGradesCommand is `kubectl lti grades list`.
type listGradesCommand struct {
	gradeFilter
	outputFlag
	controlFlags
}

// Help returns the examples, for kong.
func (*listGradesCommand) Help() string { return "Examples:\n\n" + listGradesExamples }

// Run implements the command.
func (c *listGradesCommand) Run(ctx context.Context, t terminal) error {
	p, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	found, raw, err := c.find(ctx, p, t)
	if err != nil {
		return err
	}
	return c.write(t.out, raw, func() error {
		if len(found) == 0 {
			// Not among what is printed, as kubectl does it: a script counts lines.
			fmt.Fprintln(t.err, "No grades found.")
			return nil
		}
		return writeGrades(t.out, found)
	})
}

// writeGrades prints a table of grades.
func writeGrades(w io.Writer, found []routing.Grade) error {
	rows := make([][]string, len(found))
	for i := range found {
		g := &found[i]
		rows[i] = []string{g.Subject, g.Activity, g.Registration, g.State, wanted(g), confirmed(g), g.Reason, moment(g.DueAt), g.ID}
	}
	return writeTable(w, []string{"SUBJECT", "ACTIVITY", "REGISTRATION", "STATE", "WANTED", "CONFIRMED", "REASON", "NEXT-TRY", "ID"}, rows)
}

// wanted is the grade that the gradebook shall hold; empty for none. None where there was one has been taken back.
func wanted(g *routing.Grade) string {
	if g.Grade == nil && g.Wanted > 0 {
		return "none"
	}
	return points(g.Grade)
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

// resendGradesCommand is `kubectl lti grades resend`.
type resendGradesCommand struct {
	IDs []string `arg:"" optional:"" name:"ID" help:"Grades, as grades list prints them."`
	All bool     `help:"All grades that the flags select; at least one of them must."`
	gradeFilter
	controlFlags
}

// Help returns the examples, for kong.
func (*resendGradesCommand) Help() string { return "Examples:\n\n" + resendGradesExamples }

// Run implements the command.
func (c *resendGradesCommand) Run(ctx context.Context, t terminal) error {
	chosen := selection{all: c.All, ids: c.IDs, selects: c.gradeFilter != gradeFilter{}}
	if err := chosen.check(gradeList()); err != nil {
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
	return p.resend(ctx, gradeList(), ids, empty, t)
}

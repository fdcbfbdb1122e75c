// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/lti-operator/lti-operator/internal/routing"
)

// resultsCommands are `kubectl lti results`.
type resultsCommands struct {
	List   listResultsCommand   `cmd:"" help:"List results of external activities, in the order of their IDs."`
	Show   showResultCommand    `cmd:"" help:"Show one result, and the messages that made it what it is."`
	Resend resendResultsCommand `cmd:"" help:"Have the academy told of results again, whatever has become of it."`
}

// resultList is the list of results at a control port.
func resultList() *list {
	return &list{path: routing.PathControlResults, one: "result", many: "results", flags: "--delivery, --activity"}
}

// deliveryStates are the states of the delivery of a result, see docs/results.md.
var deliveryStates = []string{routing.DeliveryNone, "Pending", "Delivered", "Stopped", "NotConfigured"}

// resultFilter selects results.
type resultFilter struct {
	Subject  string `help:"Results of this learner only: who it is at the academy's identity provider."`
	Activity string `help:"Results of this LTIActivity only."`
	Delivery string `enum:",${deliveries}" default:"" help:"Results whose delivery is in this state only: ${deliveryList}."`
}

// find returns the results after an ID, also as the launch handler lists them, and the ID to go on after; empty at the end.
func (f *resultFilter) find(ctx context.Context, p *controlPort, after string) (found []routing.Result, raw []byte, more string, err error) {
	raw, more, err = p.find(ctx, resultList(), map[string]string{
		"subject": f.Subject, "activity": f.Activity, "delivery": f.Delivery, "after": after,
	}, &found)
	return found, raw, more, err
}

// listResultsCommand is `kubectl lti results list`.
type listResultsCommand struct {
	resultFilter
	After string `placeholder:"ID" help:"Results after this ID only: to go on where a list ended."`
	outputFlag
	controlFlags
}

// Help returns the examples, for kong.
func (*listResultsCommand) Help() string { return "Examples:\n\n" + listResultsExamples }

// Run implements the command.
func (c *listResultsCommand) Run(ctx context.Context, t terminal) error {
	p, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	found, raw, more, err := c.find(ctx, p, c.After)
	if err != nil {
		return err
	}
	if more != "" {
		fmt.Fprintf(t.err, "note: only %d results were looked at, and there are more; go on with --after %s, "+
			"or narrow it down with --subject or --activity\n", routing.MaxControlListed, more)
	}
	return c.write(t.out, raw, func() error {
		if len(found) == 0 {
			fmt.Fprintln(t.err, "No results found.")
			return nil
		}
		return writeResults(t.out, found)
	})
}

// writeResults prints a table of results.
func writeResults(w io.Writer, found []routing.Result) error {
	rows := make([][]string, len(found))
	for i := range found {
		r := &found[i]
		rows[i] = []string{
			r.Subject, r.Activity, r.Status, points(r.Score), r.Delivery.State, r.Delivery.Reason, moment(r.Delivery.NextAttemptAt),
			moment(r.UpdatedAt), r.ID,
		}
	}
	return writeTable(w, []string{"SUBJECT", "ACTIVITY", "STATUS", "SCORE", "DELIVERY", "REASON", "NEXT-TRY", "UPDATED", "ID"}, rows)
}

// showResultCommand is `kubectl lti results show`.
type showResultCommand struct {
	ID string `arg:"" name:"ID" help:"The result, as results list prints it."`
	outputFlag
	controlFlags
}

// Help returns the examples, for kong.
func (*showResultCommand) Help() string { return "Examples:\n\n" + showResultExamples }

// Run implements the command.
func (c *showResultCommand) Run(ctx context.Context, t terminal) error {
	path, ok := resultList().at(c.ID)
	if !ok {
		return resultList().unknown(c.ID)
	}
	p, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	a, err := p.ask(ctx, http.MethodGet, path, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return err
	}
	if a.status == http.StatusNotFound {
		return resultList().unknown(c.ID)
	}
	var found routing.ResultWithHistory
	if err := p.decode(a.body, "a result", &found); err != nil {
		return err
	}
	return c.write(t.out, a.body, func() error { return writeResult(t.out, &found) })
}

// writeResult prints what is known, and below it a table of messages.
func writeResult(w io.Writer, r *routing.ResultWithHistory) error {
	minimum, attempts := "", ""
	if r.MinimumScore > 0 {
		minimum = strconv.Itoa(int(r.MinimumScore)) + "%"
	}
	if r.Delivery.Attempts > 0 {
		attempts = strconv.Itoa(r.Delivery.Attempts)
	}
	known := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, x := range [][2]string{
		{"ID", r.ID},
		{"Activity", r.Activity},
		{"Line item", r.LineItem},
		{"Subject", r.Subject},
		{"LTI user ID", r.LTIUserID},
		{"Status", r.Status},
		{"Score", points(r.Score)},
		{"Minimum score", minimum},
		{"Activity progress", r.ActivityProgress},
		{"Grading progress", r.GradingProgress},
		{"Submitted", moment(r.SubmittedAt)},
		{"Timestamp", moment(r.Timestamp)},
		{"Started", moment(r.StartedAt)},
		{"Updated", moment(r.UpdatedAt)},
		{"Version", strconv.FormatInt(r.Version, 10)},
		{"Delivery", r.Delivery.State},
		{"Attempts in vain", attempts},
		{"Reason", r.Delivery.Reason},
		{"Next try", moment(r.Delivery.NextAttemptAt)},
	} {
		if x[1] != "" {
			fmt.Fprintf(known, "%s:\t%s\n", x[0], strings.Map(visible, x[1]))
		}
	}
	if err := known.Flush(); err != nil || len(r.History) == 0 {
		return err
	}
	rows := make([][]string, len(r.History))
	for i := range r.History {
		m := &r.History[i]
		rows[i] = []string{
			moment(m.At), m.Source, m.Operation, points(m.Score), m.ActivityProgress, m.GradingProgress, moment(m.Timestamp), m.Status,
		}
	}
	fmt.Fprintln(w, "\nHistory, the newest first")
	return writeTable(w, []string{"AT", "SOURCE", "OPERATION", "SCORE", "ACTIVITY-PROGRESS", "GRADING-PROGRESS", "TIMESTAMP", "STATUS"}, rows)
}

// resendResultsCommand is `kubectl lti results resend`.
type resendResultsCommand struct {
	IDs []string `arg:"" optional:"" name:"ID" help:"Results, as results list prints them."`
	All bool     `help:"All results that the flags select; at least one of them must."`
	resultFilter
	controlFlags
}

// Help returns the examples, for kong.
func (*resendResultsCommand) Help() string { return "Examples:\n\n" + resendResultsExamples }

// Run implements the command.
func (c *resendResultsCommand) Run(ctx context.Context, t terminal) error {
	chosen := selection{all: c.All, ids: c.IDs, selects: c.resultFilter != resultFilter{}}
	if err := chosen.check(resultList()); err != nil {
		return err
	}
	p, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	ids, empty := c.IDs, 0
	for more := ""; c.All; {
		var found []routing.Result
		if found, _, more, err = c.find(ctx, p, more); err != nil {
			return err
		}
		for i := range found {
			if found[i].Delivery.State == routing.DeliveryNone {
				empty++
				continue
			}
			ids = append(ids, found[i].ID)
		}
		if more == "" {
			break
		}
	}
	return p.resend(ctx, resultList(), ids, empty, t)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
)

// Result is everything that was measured.
type Result struct {
	Machine     string `json:"machine"`
	LoadAverage string `json:"loadAverage"`
	Command     string `json:"command"`
	Database    string `json:"database"`
	// Scenarios are what was found out, by the scenario's name.
	Scenarios map[string]outcome `json:"scenarios"`

	order []string
}

// Comparison is what was measured of several servers that do the same.
type Comparison struct {
	Title       string     `json:"title"`
	Fresh       bool       `json:"fresh"`
	Concurrency int        `json:"concurrency"`
	Subjects    []*Subject `json:"subjects"`

	// steps are the names of the steps, and of their sum where there are several.
	steps []string
	// ratios compares medians with each other, and with what is wanted.
	ratios func(*Comparison) *measure.Report
}

// Subject is what was measured of a server.
type Subject struct {
	Name     string `json:"name"`
	Launches int    `json:"launches"`
	// IdleMemory is the resident memory before the first launch, PeakMemory the most of the whole run; in bytes.
	IdleMemory int64    `json:"idleMemory"`
	PeakMemory int64    `json:"peakMemory"`
	Rounds     []*Round `json:"rounds"`
}

func (b *bench) newResult() *Result {
	return &Result{
		Machine: measure.Machine(), LoadAverage: b.load, Command: "go run ./hack/bench/launches " + strings.Join(os.Args[1:], " "),
		Database: "PostgreSQL: " + b.settings, Scenarios: map[string]outcome{},
	}
}

func (r *Result) add(scenario string, found outcome) {
	r.Scenarios[scenario] = found
	r.order = append(r.order, scenario)
}

// write prints everything as Markdown.
func (r *Result) write(out io.Writer) error {
	fmt.Fprintf(out, "%s; load average before the run %s. %s.\n", r.Machine, r.LoadAverage, r.Database)
	for _, name := range r.order {
		fmt.Fprintf(out, "\n### %s\n\n", name)
		if err := r.Scenarios[name].write(out); err != nil {
			return err
		}
	}
	return nil
}

// compare measures the subjects, which run already, in the rounds.
func (b *bench) compare(ctx context.Context, title string, subjects []*subject, ratios func(*Comparison) *measure.Report) (*Comparison, error) {
	for _, part := range []func(context.Context, []*subject) error{b.watchMemory, b.warmUp, b.runRounds} {
		if err := part(ctx, subjects); err != nil {
			return nil, err
		}
	}
	return b.gather(title, subjects, ratios)
}

// gather is what has been measured of the subjects.
func (b *bench) gather(title string, subjects []*subject, ratios func(*Comparison) *measure.Report) (*Comparison, error) {
	c := &Comparison{Title: title, Fresh: b.flags.Fresh, Concurrency: b.flags.Concurrency, ratios: ratios}
	for _, s := range subjects {
		if len(s.steps) > len(c.steps) {
			c.steps = nil
			for _, step := range s.steps {
				c.steps = append(c.steps, step.name)
			}
		}
		var peak int64
		for _, server := range s.servers() {
			most, err := server.process.PeakMemory()
			if err != nil {
				return nil, err
			}
			peak += most
		}
		c.Subjects = append(c.Subjects, &Subject{Name: s.name, Launches: s.launches, IdleMemory: s.idle, PeakMemory: peak, Rounds: s.rounds})
	}
	if len(c.steps) > 1 {
		c.steps = append(c.steps, stepComplete)
	}
	return c, nil
}

func (r *Result) writeJSON(path string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o600)
}

// values are a figure in each round.
type values []float64

// median of an even number of rounds is the lower of the two in the middle.
func (v values) median() float64 { return measure.Percentile(v, 50) }

// String is the median, and in parentheses the least and the most.
func (v values) String() string {
	switch len(v) {
	case 0:
		return ""
	case 1:
		return measure.Number(v[0])
	}
	return fmt.Sprintf("%s (%s–%s)", measure.Number(v.median()), measure.Number(slices.Min(v)), measure.Number(slices.Max(v)))
}

// stepComplete is the sum over all steps of a subject.
const stepComplete = "complete"

// pick picks a phase of a round; nil where there is none.
type pick func(*Round) *Phase

// of picks the phase of a step, or the sum over all.
func of(which func(*Round) *Pass, step string) pick {
	return func(r *Round) *Phase {
		p := which(r)
		if p == nil {
			return nil
		}
		if step == stepComplete {
			return p.Total
		}
		for _, phase := range p.Phases {
			if phase.Step == step {
				return phase
			}
		}
		return nil
	}
}

func closed(r *Round) *Pass { return r.Closed }
func paced(r *Round) *Pass  { return r.Paced }

// cpu is the processor time of the server for these steps of a launch, in the closed loop.
func (s *Subject) cpu(steps ...string) (v values) {
	for _, r := range s.Rounds {
		sum := 0.0
		for _, step := range steps {
			if phase := of(closed, step)(r); phase != nil {
				sum += phase.ServerCPU
			}
		}
		v = append(v, sum)
	}
	return v
}

// perRound is the processor time of the server for these steps of a launch beside that of another one, round by round: what
// changes slowly on the machine is in both.
func (s *Subject) perRound(other *Subject, steps ...string) (v values) {
	theirs := other.cpu(steps...)
	for i, own := range s.cpu(steps...) {
		v = append(v, own/theirs[i])
	}
	return v
}

// figure is a figure of a phase in all rounds that have it.
func (s *Subject) figure(p pick, f func(*Phase) float64) (v values) {
	for _, r := range s.Rounds {
		if phase := p(r); phase != nil {
			v = append(v, f(phase))
		}
	}
	return v
}

// latency leaves out the rounds in which the driver's core was saturated, and says how many these are.
func (s *Subject) latency(p pick, f func(*Latency) float64) (v values, discarded int) {
	for _, r := range s.Rounds {
		switch phase := p(r); {
		case phase == nil:
		case phase.Saturated:
			discarded++
		default:
			v = append(v, f(&phase.Latency))
		}
	}
	return v, discarded
}

func serverCPU(p *Phase) float64   { return p.ServerCPU }
func databaseCPU(p *Phase) float64 { return p.DatabaseCPU }
func driverCPU(p *Phase) float64   { return p.DriverCPU }
func perSecond(p *Phase) float64   { return p.PerSecond }

func (c *Comparison) subject(name string) *Subject {
	for _, s := range c.Subjects {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// write prints both tables.
func (c *Comparison) write(out io.Writer) error {
	first := c.Subjects[0]
	who := "Everybody has launched before"
	if c.Fresh {
		who = "Every launch is the first one of its person"
	}
	var counts []string
	for _, s := range c.Subjects {
		counts = append(counts, fmt.Sprintf("%d of %s", s.Launches, s.Name))
	}
	fmt.Fprintf(out, "%s. %d rounds, each with %s; %d connections. %s.\n\n", c.Title, len(first.Rounds), strings.Join(counts, ", "), c.Concurrency, who)
	if err := c.writeFigures(out); err != nil {
		return err
	}
	fmt.Fprintln(out)
	report := c.ratios(c)
	c.explain(report)
	return report.Write(out)
}

// writeFigures prints what was measured of each subject: medians over the rounds, with the least and the most.
func (c *Comparison) writeFigures(out io.Writer) error {
	head, columns := []string{"median (min–max) over rounds"}, "l"
	for _, s := range c.Subjects {
		head, columns = append(head, s.Name), columns+"r"
	}
	cells := [][]string{head}
	line := func(what string, cell func(*Subject) string) {
		row := []string{what}
		for _, s := range c.Subjects {
			row = append(row, cell(s))
		}
		cells = append(cells, row)
	}
	for _, f := range []struct {
		what  string
		value func(*Phase) float64
	}{
		{"server CPU, µs", serverCPU}, {"PostgreSQL CPU, µs", databaseCPU}, {"driver CPU, µs", driverCPU}, {"per second, closed loop", perSecond},
	} {
		for _, step := range c.steps {
			line(step+": "+f.what, func(s *Subject) string { return s.figure(of(closed, step), f.value).String() })
		}
	}
	for _, pass := range []struct {
		what  string
		which func(*Round) *Pass
	}{{"closed loop", closed}, {"paced", paced}} {
		if pass.which(c.Subjects[0].Rounds[0]) == nil {
			continue
		}
		if pass.what == "paced" {
			line("paced: launches per second asked for", func(s *Subject) string {
				return s.figure(of(paced, stepComplete), func(p *Phase) float64 { return p.Pace }).String()
			})
			line("paced: server CPU, complete, µs", func(s *Subject) string { return s.figure(of(paced, stepComplete), serverCPU).String() })
		}
		for _, step := range c.steps {
			for _, p := range percentiles {
				line(fmt.Sprintf("%s: %s, %s, ms", step, p.name, pass.what), func(s *Subject) string {
					v, discarded := s.latency(of(pass.which, step), p.of)
					if discarded > 0 {
						return strings.TrimSpace(fmt.Sprintf("%s %d discarded", v, discarded))
					}
					return v.String()
				})
			}
		}
	}
	line("memory idle, MiB", func(s *Subject) string { return measure.Number(float64(s.IdleMemory) / measure.MiB) })
	line("memory at most, MiB", func(s *Subject) string { return measure.Number(float64(s.PeakMemory) / measure.MiB) })
	percent := func(f func(*Phase) float64) func(*Subject) string {
		return func(s *Subject) string {
			return s.figure(of(closed, stepComplete), func(p *Phase) float64 { return 100 * f(p) }).String()
		}
	}
	line("server's core idle, %", percent(func(p *Phase) float64 { return p.ServerIdle }))
	line("driver's core idle, %", percent(func(p *Phase) float64 { return p.DriverIdle }))
	line("others on the server's core, %", percent(func(p *Phase) float64 { return p.ServerOthers }))
	line("others on the driver's core, %", percent(func(p *Phase) float64 { return p.DriverOthers }))
	return measure.WriteTable(out, columns, cells)
}

var percentiles = []struct {
	name string
	of   func(*Latency) float64
}{
	{"p50", func(l *Latency) float64 { return l.P50 }},
	{"p95", func(l *Latency) float64 { return l.P95 }},
	{"p99", p99},
}

func p99(l *Latency) float64 { return l.P99 }

// explain says below a report what holds for every comparison.
func (c *Comparison) explain(report *measure.Report) {
	report.Note("closed loop: each connection sends its next request at once")
	if c.Subjects[0].Rounds[0].Paced != nil {
		report.Note("paced: each phase at one rate, for each subject that of the table: unless it was told, 60 %% of what its slowest phase " +
			"reached in the warm-up")
	}
	report.Note("latencies of rounds in which the driver's core had less than 2 %% idle are discarded; processor time and rates are not. " +
		"What PostgreSQL or the driver limit is so a rate at least, not what the server could do")
}

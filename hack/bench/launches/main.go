// SPDX-License-Identifier: Apache-2.0

// Command launches measures what launches cost the launch handler, in scenarios that also run alone:
//
//	tool13      LTI 1.3 launches as tool, on PostgreSQL and on SQLite, beside ltijs and the floor of hack/bench/floor
//	tool12      LTI 1.2 launches as tool, on PostgreSQL and on SQLite, beside ims-lti
//	platform13  LTI 1.3 launches as platform, beside the signature of hack/bench/signature
//	services    access tokens and scores of a tool
//	grades      the academy's reports, until they are in another system's gradebook
//	scale       LTI 1.3 launches as tool with routing tables of different sizes
//	handlers    LTI 1.3 launches as tool of one handler, and of two on one database
//	overload    LTI 1.3 launches as tool by more people than the handler can serve
//
// Servers that are compared are measured one after the other in each round, with the same driver and the same database server.
// The server under test has a core to itself; this program and PostgreSQL have another. Processor time is that of the server
// process alone; PostgreSQL's is printed beside it. A launch is done in phases — all logins of a round, then all launches,
// then all arrivals — because what the other systems sign, which costs more than anything here, has to be made in between and
// is not measured. Every answer is checked, and one that is not right ends the run.
//
// It prints tables and is no test: a target that is missed is a line in them. It needs Linux and two cores.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
)

type flags struct {
	Scenarios     []string           `help:"What to measure; left out: everything. ${scenarios}." placeholder:"SCENARIO"`
	Subjects      []string           `help:"Servers to compare over LTI 1.3: ours (launch handler on PostgreSQL), ours-sqlite, floor, ltijs (given the platform's key), ltijs-jwks (fetching it in each launch)." default:"ours,ours-sqlite,floor,ltijs"`
	Rounds        int                `help:"Number of rounds; each measures every subject." default:"5"`
	Launches      int                `help:"Launches of a subject in a round; half as many as platform, and with tables of different sizes and with two handlers." default:"3000"`
	LtijsLaunches int                `help:"The same for ltijs; 0: a fifth of it." default:"0"`
	Learners      int                `help:"Number of people who launch." default:"1000"`
	Activities    []int              `help:"Sizes of routing tables to compare." default:"10,1000,10000"`
	Fresh         bool               `help:"Let every launch be the first one of its person, instead of one of somebody known."`
	Concurrency   int                `help:"Number of connections, each with one request under way." default:"32"`
	Pace          map[string]float64 `help:"Launches per second in the paced passes of every scenario, as in --pace=ours=500. Left out: 60 % of what the slowest phase has reached in the warm-up." placeholder:"SUBJECT=RATE"`

	Overload            float64       `help:"How many times its capacity a handler is asked for." default:"10"`
	OverloadFor         time.Duration `help:"How long that lasts." default:"20s"`
	OverloadConnections int           `help:"How many connections it gets at most, as an ingress would open them. A handler takes 1,024 unless told otherwise, and closes idle ones when these are taken." default:"1000"`

	ServerCore   int `help:"Core of the server under test." default:"0"`
	DriverCore   int `help:"Core of this program." default:"1"`
	DatabaseCore int `help:"Core of PostgreSQL; -1: that of this program." default:"-1"`

	JSON    string `help:"File to write every figure to." type:"path" placeholder:"FILE"`
	Profile string `help:"Folder for CPU profiles of the launch handler, one for each scenario, phase and round. The handler is then built for that." type:"path" placeholder:"DIR"`
	Logs    string `help:"Folder to keep logs in. Left out: they are removed." type:"path" placeholder:"DIR"`
}

// Validate implements kong's validation hook.
func (f *flags) Validate() error {
	for _, name := range f.Scenarios {
		if !slices.Contains(scenarioNames(), name) {
			return fmt.Errorf("--scenarios: %q is none of %s", name, strings.Join(scenarioNames(), ", "))
		}
	}
	for _, name := range f.Subjects {
		if !slices.Contains(subjectNames, name) {
			return fmt.Errorf("--subjects: %q is none of %s", name, strings.Join(subjectNames, ", "))
		}
	}
	switch {
	case len(f.Subjects) == 0 || f.Rounds < 1 || f.Concurrency < 1:
		return errors.New("at least one subject, one round and one connection")
	case f.Launches < 100 || f.LtijsLaunches != 0 && f.LtijsLaunches < 100 || f.Learners < 100:
		return errors.New("at least 100 launches and learners: less has no percentiles")
	case len(f.Activities) == 0 || slices.Min(f.Activities) < 1:
		return errors.New("--activities: at least one size, and one activity")
	case f.Overload <= calmShare || f.OverloadFor < 2*time.Second || f.OverloadFor > 25*time.Second:
		return errors.New("--overload: more than it is before; --overload-for: from 2s to 25s, as codes live for a minute")
	case f.OverloadConnections < 1:
		return errors.New("--overload-connections: at least one")
	case f.ServerCore == f.DriverCore || f.ServerCore == f.DatabaseCore:
		return errors.New("the server under test needs a core of its own")
	}
	return nil
}

func main() {
	f := &flags{}
	kong.Parse(f, kong.Name("launches"), kong.Description("Measures what launches cost."),
		kong.Vars{"scenarios": "They are " + strings.Join(scenarioNames(), ", ")})
	// Until the very end, so that a second Ctrl-C does not leave half of it running.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := f.run(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "launches:", err)
		os.Exit(1)
	}
}

// run measures, and prints the tables on out; what happens meanwhile goes to progress.
func (f *flags) run(parent context.Context, out, progress io.Writer) (err error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	go measure.WatchParent(ctx, func() { cancel(errors.New("the program that started this one has ended")) })
	if err := measure.Supported(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lti-bench-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{
		flags: f, dir: dir, progress: progress, began: time.Now(), load: measure.LoadAverage(), cores: runtime.NumCPU(),
		procs: &measure.Processes{LogDir: f.Logs, Failed: cancel},
	}
	if b.procs.LogDir == "" {
		b.procs.LogDir = filepath.Join(dir, "logs")
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	result, err := b.run(ctx)
	switch cause := context.Cause(ctx); {
	case parent.Err() != nil:
		return errors.New("interrupted")
	case cause != nil:
		return cause // more telling than what failed because of it
	case err != nil:
		return err
	}
	if f.JSON != "" {
		if err := result.writeJSON(f.JSON); err != nil {
			return err
		}
	}
	return result.write(out)
}

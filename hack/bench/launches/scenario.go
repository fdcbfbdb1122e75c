// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"path/filepath"
)

// scenario is one thing to measure, with servers of its own: they run for as long as it does, so that the next one has the
// core to itself.
type scenario struct {
	name string
	// run measures. What it has started with b.procs, it need not stop.
	run func(context.Context, *bench) (outcome, error)
}

// outcome is what a scenario has found out. It goes into the JSON as it is.
type outcome interface {
	// write prints it as Markdown.
	write(out io.Writer) error
}

// scenarios are all, in the order in which they are measured.
var scenarios = []scenario{
	{"tool13", tool13},
	{"tool12", tool12},
	{"platform13", platform13},
	{"services", services},
	{"grades", gradeSynchronisation},
	{"scale", scale},
	{"handlers", handlers},
	{"overload", overload},
}

func scenarioNames() (names []string) {
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}

// runScenario runs one in a folder of its own, and stops what it has started.
func (b *bench) runScenario(ctx context.Context, s *scenario) (outcome, error) {
	dir, logs := b.dir, b.procs.LogDir
	defer func() { b.dir, b.procs.LogDir = dir, logs }()
	defer b.procs.StopAll()
	b.dir, b.procs.LogDir = filepath.Join(dir, s.name), filepath.Join(logs, s.name)
	if err := makeFolders(b.dir, b.procs.LogDir); err != nil {
		return nil, err
	}
	b.scenario, b.eachRound = s.name, nil
	b.say("scenario %s", s.name)
	return s.run(ctx, b)
}

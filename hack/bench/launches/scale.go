// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	"github.com/lti-operator/lti-operator/hack/table"
)

const (
	// quiet is how long a handler has nothing to do before its memory is read.
	quiet = 30 * time.Second
	// starts is how often each handler is started, to see how long that takes.
	starts = 5
)

// Scale is what tables of different sizes cost.
type Scale struct {
	*Comparison
	// Ready are the seconds from each start of a handler until it is Ready, by subject. Its database has its tables already.
	Ready map[string]values `json:"ready"`
}

// scale measures launches of handlers whose routing tables have different numbers of activities. The launches are spread
// over all of them, by pairs of a learner and an activity: as many pairs for each handler, all of which are known after the
// warm-up, so that the databases do the same work, and what is left is the table.
func scale(ctx context.Context, b *bench) (outcome, error) {
	sizes := slices.Clone(b.flags.Activities)
	slices.Sort(sizes)
	found := &Scale{Ready: map[string]values{}}
	var subjects []*subject
	for _, n := range sizes {
		s := b.newOurs(strconv.Itoa(n)+" activities", b.platform)
		s.config, s.launches, s.unpaced = "config-"+strconv.Itoa(n), max(100, b.flags.Launches/2), true
		activities, err := b.writeActivities(s.config, n)
		if err != nil {
			return nil, err
		}
		s.known, s.people = b.pairs(activities, sizes[len(sizes)-1])
		if err := b.startHandler(ctx, s, false); err != nil {
			return nil, err
		}
		subjects = append(subjects, s)
	}
	if err := b.watchMemoryAfter(ctx, quiet, subjects); err != nil {
		return nil, err
	}
	for range starts {
		for _, s := range subjects {
			seconds, err := b.timeToReady(ctx, s)
			if err != nil {
				return nil, err
			}
			found.Ready[s.name] = append(found.Ready[s.name], seconds)
		}
	}
	for _, part := range []func(context.Context, []*subject) error{b.warmUp, b.runRounds} {
		if err := part(ctx, subjects); err != nil {
			return nil, err
		}
	}
	var err error
	found.Comparison, err = b.gather("LTI 1.3 launches, each of any activity of the routing table", subjects, found.compare)
	return found, err
}

// writeActivities writes a table with n of them.
func (b *bench) writeActivities(config string, n int) ([]activity, error) {
	t, err := b.table()
	if err != nil {
		return nil, err
	}
	activities := make([]activity, n)
	t.Activities = t.Activities[:0]
	for i := range activities {
		number := strconv.Itoa(i)
		activities[i] = activity{"course-" + number, "https://academy.acme.example/courses/" + number}
		t.Activities = append(t.Activities, shared(activities[i]))
	}
	return activities, table.Write(b.file(config), t)
}

// pairs are at least as many pairs as there can be activities. Each learner has equally many of them, with activities that
// differ, if there are enough; all activities have one if that is possible.
func (b *bench) pairs(activities []activity, atLeast int) (known func() []*launch, people func(n int) []*launch) {
	each := (atLeast + b.flags.Learners - 1) / b.flags.Learners
	launches := make([]launch, 0, each*b.flags.Learners)
	for k := range each {
		for learner := range b.flags.Learners {
			i := (learner + k*max(1, len(activities)/each)) % len(activities)
			launches = append(launches, launch{who: newPerson(learner), activity: &activities[i]})
		}
	}
	// Neither learners nor activities come in the order of anything, and in every run in the same one.
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(launches), func(i, j int) { launches[i], launches[j] = launches[j], launches[i] })
	done := 0
	people = func(n int) []*launch {
		next := make([]*launch, n)
		for i := range next {
			one := launches[done%len(launches)]
			next[i] = &one
			done++
		}
		return next
	}
	return func() []*launch { return people(len(launches)) }, people
}

// timeToReady starts another handler like the subject's, on the same database, and stops it once it is Ready.
func (b *bench) timeToReady(ctx context.Context, s *subject) (seconds float64, err error) {
	free, err := measure.FreeAddresses(2)
	if err != nil {
		return 0, err
	}
	p, err := b.procs.Start(measure.Command{
		Name: s.name + " again", Path: b.handler, Cores: []int{b.flags.ServerCore},
		Args: b.handlerFlags(s, "postgres-file:"+b.file(s.name+".uri"), free[0], free[1]),
	})
	if err != nil {
		return 0, err
	}
	defer p.Stop()
	err = measure.Until(ctx, startTimeout, 2*time.Millisecond, func() error {
		conn, err := dial(free[1])
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		a, err := conn.exchange(request(http.MethodGet, "/readyz", "", nil, ""))
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("answered with %d", a.status)
		}
		seconds = time.Since(p.Started).Seconds()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.name, err)
	}
	return seconds, nil
}

// write implements outcome.
func (s *Scale) write(out io.Writer) error { return s.Comparison.write(out) }

// compare tells what each table costs beside the smallest one, and what a handler with the largest one takes.
func (s *Scale) compare(c *Comparison) *measure.Report {
	report := &measure.Report{}
	least, most := c.Subjects[0], c.Subjects[len(c.Subjects)-1]
	for _, they := range c.Subjects[1:] {
		what := fmt.Sprintf("%s / %s: server CPU", they.Name, least.Name)
		ratio := they.perRound(least, stepLogin, stepLaunch, stepArrive)
		if they == most {
			report.Add(what+", complete launch", ratio.median(), 1.05, "×")
			report.Note("%s: by round %s; login %s, launch %s", what, ratio, they.perRound(least, stepLogin), they.perRound(least, stepLaunch))
		} else {
			report.Tell(what+", complete launch", ratio.median(), "×")
		}
	}
	for _, they := range c.Subjects {
		ready := s.Ready[they.Name]
		if they == most {
			report.Add(they.Name+": start to Ready, the slowest of "+strconv.Itoa(len(ready)), slices.Max(ready), 1, "s")
			report.Add(they.Name+": memory after 30 s of quiet", float64(they.IdleMemory)/measure.MiB, 80, "MiB")
		} else {
			report.Tell(they.Name+": start to Ready, the slowest of "+strconv.Itoa(len(ready)), slices.Max(ready), "s")
			report.Tell(they.Name+": memory after 30 s of quiet", float64(they.IdleMemory)/measure.MiB, "MiB")
		}
		report.Tell(they.Name+": memory at most, under load", float64(they.PeakMemory)/measure.MiB, "MiB")
	}
	report.Note("start to Ready: from the start of the process until /readyz answers with 200, on one core, with a database that has its tables")
	return report
}

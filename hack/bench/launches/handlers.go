// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	"github.com/lti-operator/lti-operator/hack/table"
	"github.com/lti-operator/lti-operator/internal/lti"
)

const (
	oneHandler  = "one handler"
	twoHandlers = "two handlers"
	// replays is how many launches are posted at one handler and then at the other one, and how many at both at once.
	replays = 500
)

// Handlers is what sharing a database costs.
type Handlers struct {
	*Comparison
	// Replayed is how many launches that one handler had accepted were posted at the other one, which refused all of them, and
	// Raced how many were posted at both at once, of which one accepted each, and the other one did not.
	Replayed int `json:"replayed"`
	Raced    int `json:"raced"`
}

// handlers measures one handler, and two that share a database and the core: what their processor time adds up to for a launch
// is what sharing costs. Half of the launches that begin at one of the two go on at the other one.
func handlers(ctx context.Context, b *bench) (outcome, error) {
	t, err := b.table()
	if err != nil {
		return nil, err
	}
	if err := table.Write(b.file("config"), t); err != nil {
		return nil, err
	}
	one, two, second := b.newOurs(oneHandler, b.platform), b.newOurs(twoHandlers, b.platform), b.newOurs("second handler", b.platform)
	for _, s := range []*subject{one, two} {
		s.launches, s.unpaced = max(100, b.flags.Launches/2), true
		if err := b.startHandler(ctx, s, false); err != nil {
			return nil, err
		}
	}
	if err := b.startHandlerOn(ctx, second, "postgres-file:"+b.file(two.name+".uri")); err != nil {
		return nil, err
	}
	two.beside = second
	found := &Handlers{Replayed: replays, Raced: replays}
	found.Comparison, err = b.compare(ctx, "LTI 1.3 launches of one handler, and of two on one database and one core", []*subject{one, two}, found.compare)
	if err != nil {
		return nil, err
	}
	return found, b.replay(ctx, two)
}

// replay posts each launch twice, at different handlers. An answer that is not right ends the run.
func (b *bench) replay(ctx context.Context, s *subject) error {
	b.say("posting launches twice")
	login, launchStep := s.steps[0], s.steps[1]
	// On one step each, and with the handlers in either order: what is at the same place goes to the other one.
	view := func(first, second *subject, one step) *subject {
		return &subject{
			name: s.name, platform: s.platform, steps: []step{one}, address: first.address, process: first.process,
			beside: &subject{address: second.address, process: second.process},
		}
	}
	launches := b.people(2*replays, false)
	if _, err := b.pass(ctx, view(s, s.beside, login), launches, 0, ""); err != nil {
		return err
	}
	if _, err := b.pass(ctx, view(s, s.beside, launchStep), launches[:replays], 0, ""); err != nil {
		return err
	}
	refused := step{name: "replay", request: launchStep.request, check: (*launch).isReplay}
	if _, err := b.pass(ctx, view(s.beside, s, refused), launches[:replays], 0, ""); err != nil {
		return err
	}

	// Two of each, next to each other: one for each handler.
	var both []*launch
	if err := launchStep.before(ctx, launches[replays:]); err != nil {
		return err
	}
	for _, l := range launches[replays:] {
		twin := *l
		both = append(both, l, &twin)
	}
	raced := step{name: "race", request: launchStep.request, check: func(*launch) error { return nil }}
	if _, err := b.pass(ctx, view(s, s.beside, raced), both, 0, ""); err != nil {
		return err
	}
	for i := 0; i < len(both); i += 2 {
		accepted, other := both[i], both[i+1]
		if accepted.hasCode() != nil {
			accepted, other = other, accepted
		}
		if err := accepted.hasCode(); err != nil {
			return fmt.Errorf("%s, posted at both at once, and accepted by neither: %w", s.name, err)
		}
		if err := other.isReplay(); err != nil {
			return fmt.Errorf("%s, posted at both at once: %w", s.name, err)
		}
	}
	return nil
}

// isReplay checks that a launch was refused because it had been accepted before.
func (l *launch) isReplay() error {
	if l.answer.status != lti.Replayed.Reason().Status || !bytes.Contains(l.answer.body, reasonOnPage(lti.Replayed)) {
		return unexpected(l, string(lti.Replayed))
	}
	return nil
}

// reasonOnPage is what the page about a refusal has in it.
func reasonOnPage(code lti.Code) []byte { return []byte(`data-reason="` + string(code) + `"`) }

// write implements outcome.
func (h *Handlers) write(out io.Writer) error { return h.Comparison.write(out) }

// compare tells what two handlers cost beside one.
func (h *Handlers) compare(c *Comparison) *measure.Report {
	report := &measure.Report{}
	one, two := c.subject(oneHandler), c.subject(twoHandlers)
	ratio := func(step string, f func(*Phase) float64) float64 {
		return two.figure(of(closed, step), f).median() / one.figure(of(closed, step), f).median()
	}
	report.Tell("two handlers / one: server CPU, complete launch", two.perRound(one, stepLogin, stepLaunch, stepArrive).median(), "×")
	report.Tell("… launch", two.perRound(one, stepLaunch).median(), "×")
	report.Tell("two handlers / one: PostgreSQL CPU, complete launch", ratio(stepComplete, databaseCPU), "×")
	report.Tell("two handlers / one: complete launches per second", ratio(stepComplete, perSecond), "×")
	report.Note("%d launches that one handler had accepted were posted at the other one, which refused each, and %d at both at once, "+
		"of which one accepted each, and the other one refused it", h.Replayed, h.Raced)
	report.Note("the memory of two handlers is the sum")
	return report
}

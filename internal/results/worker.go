// SPDX-License-Identifier: Apache-2.0

package results

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/service"
	"github.com/lti-operator/lti-operator/internal/rounds"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Limits of a worker. An attempt ends well before the lease, so that of one result never two events are on their way
// because somebody is slow.
const (
	sendTimeout = 20 * time.Second
	leaseTime   = time.Minute
	// inFlight is how many events are on their way at once.
	inFlight = 8
	// lookEvery is how often a worker looks for results that nobody told it about.
	lookEvery = 500 * time.Millisecond
	// storePause is how long it waits for a store that cannot be reached.
	storePause = 2 * time.Second
)

// Worker tells the academy of results: the newest version of each until it has that, one attempt after the other. Any
// number of workers may share one store.
//
// An academy may get an event twice, with one ID. It may also get one that nobody has answered in time after a newer one of
// the same result, if it is held up on its way: the version in it tells.
type Worker struct {
	Store store.Results
	Doer  service.Doer
	// Target is where the academy wants to be told as it is configured now; nil for nowhere, and then results wait.
	Target func() *Target
	Log    *slog.Logger
	Now    lti.Clock
	// Jitter returns a number from 0 to 1.
	Jitter func() float64
	// Observe is told about every attempt: what went wrong, or nothing. Nil for nobody.
	Observe func(reason string)

	rounds rounds.Runner

	mu    sync.Mutex
	total int
}

// Wake makes the worker look at once: there is a new version, or another target.
func (w *Worker) Wake() { w.rounds.Wake() }

// Run tells until the context ends, and returns when nothing is on its way any more.
func (w *Worker) Run(ctx context.Context) {
	var sending sync.WaitGroup
	defer sending.Wait()
	w.rounds.Run(ctx, func(ctx context.Context) time.Duration { return w.round(ctx, &sending) })
}

// round leases as many results as may be told now, and returns when to look again.
func (w *Worker) round(ctx context.Context, sending *sync.WaitGroup) time.Duration {
	target := w.Target()
	room := w.take(0)
	if target == nil || room == 0 {
		return lookEvery
	}
	now := w.Now()
	leased, err := w.Store.LeaseResults(ctx, now, now.Add(leaseTime), room)
	if err != nil {
		if ctx.Err() == nil {
			w.Log.Warn("could not look for results to deliver", "error", err.Error())
		}
		return storePause
	}
	w.take(len(leased))
	for i := range leased {
		r := &leased[i]
		sending.Go(func() {
			w.deliver(ctx, target, r)
			w.take(-1)
			w.Wake()
		})
	}
	// What comes free meanwhile wakes.
	return lookEvery
}

// take changes how many events are on their way, and returns how many more may be.
func (w *Worker) take(n int) (room int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total += n
	return inFlight - w.total
}

// deliver tells one result. What was leased is given back even when the worker stops meanwhile.
func (w *Worker) deliver(ctx context.Context, target *Target, leased *store.LeasedResult) {
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTime/2)
	defer cancel()
	s, err := read(&leased.Result)
	if err != nil {
		// Nothing can be done but to leave it, until the lease ends.
		w.Log.Error("could not deliver a result", "result", leased.Key.ID(), "error", err.Error())
		return
	}
	settle := func(_ *State, due time.Time) time.Time { return due }
	if s.pending() {
		a := w.attempt(finish, target, leased, &s)
		settle = func(now *State, due time.Time) time.Time { return now.settle(&s, a, due, w.Now(), w.Jitter()) }
	}
	err = w.Store.UpdateResult(finish, leased.Key.ID(), leased.Lease, func(r *store.Result) error {
		now, err := read(r)
		if err != nil {
			return err
		}
		return write(r, &now, settle(&now, r.DueAt))
	})
	// Whoever lost the lease to another one has nothing to say: telling twice is telling.
	if err != nil && !errors.Is(err, store.ErrLeaseLost) {
		w.Log.Warn("could not store what became of a delivery", "result", leased.Key.ID(), "error", err.Error())
	}
}

// attempt tells the academy once.
func (w *Worker) attempt(ctx context.Context, target *Target, leased *store.LeasedResult, s *State) answer {
	ctx, stop := context.WithTimeout(ctx, sendTimeout)
	defer stop()
	event := eventOf(target.Source, &leased.Result, s)
	a := target.post(ctx, w.Doer, w.Now, &event)
	if w.Observe != nil {
		w.Observe(a.reason)
	}
	if a.reason != "" {
		w.Log.Warn("could not deliver a result", "result", leased.Key.ID(), "attempt", s.Attempts+1, "reason", a.reason)
	}
	return a
}

// settle takes what came of an attempt, which was made in the state sent, and returns when the next one is due. A version
// that came meanwhile keeps its own time, and so does another delivery that was asked for: the attempt is none of those.
func (s *State) settle(sent *State, a answer, due, now time.Time, jitter float64) time.Time {
	if s.Resends != sent.Resends {
		return due
	}
	if a.reason == "" {
		s.Delivered = max(s.Delivered, sent.Version)
	}
	switch {
	case s.Version != sent.Version:
		return due
	case a.reason == "":
		s.resume()
	case a.reason == ReasonGone:
		s.Attempts, s.Reason, s.StoppedAt = s.Attempts+1, a.reason, now.UTC()
	default:
		due = now.Add(rounds.Pause(s.Attempts, a.after, jitter))
		s.Attempts, s.Reason = s.Attempts+1, a.reason
	}
	return due
}

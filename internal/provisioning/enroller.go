// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/lti-operator/lti-operator/internal/rounds"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Queue remembers who is to be enrolled where, across restarts and replicas.
type Queue interface {
	LeaseEnrolments(ctx context.Context, now, until time.Time, n int) ([]store.Enrolment, error)
	SettleEnrolment(ctx context.Context, e store.Enrolment, again time.Time) error
}

// Limits of an enroller. Enrolling is tried until it succeeds: what is in the way, such as a group that may not be made, is
// for somebody to mend.
const (
	enrolEvery   = 2 * time.Second
	enrolTimeout = 20 * time.Second
	enrolLease   = time.Minute
	enrolAtOnce  = 8
)

// Enroller makes launched people members of the groups of their activities. Any number of enrollers may share one queue.
type Enroller struct {
	Queue Queue
	// Client is the directory's; nil while there is none, and then nothing is tried.
	Client func() *Client
	Log    *slog.Logger
	Now    func() time.Time
	// Jitter returns a number from 0 to 1.
	Jitter func() float64
	// Observe is told about every attempt; nil for nobody.
	Observe func(err error)

	rounds rounds.Runner
}

// Wake makes the enroller look at once.
func (e *Enroller) Wake() { e.rounds.Wake() }

// Run enrols until the context ends.
func (e *Enroller) Run(ctx context.Context) {
	e.rounds.Run(ctx, func(ctx context.Context) time.Duration {
		if e.round(ctx) == enrolAtOnce {
			return 0
		}
		return enrolEvery
	})
}

// round tries what is due, and returns how much that was.
func (e *Enroller) round(ctx context.Context) int {
	client := e.Client()
	if client == nil {
		return 0
	}
	now := e.Now()
	leased, err := e.Queue.LeaseEnrolments(ctx, now, now.Add(enrolLease), enrolAtOnce)
	if err != nil {
		if ctx.Err() == nil {
			e.Log.Warn("could not look for people to enrol", "error", err.Error())
		}
		return 0
	}
	var group sync.WaitGroup
	for _, x := range leased {
		group.Go(func() { e.enrol(ctx, client, x) })
	}
	group.Wait()
	return len(leased)
}

func (e *Enroller) enrol(ctx context.Context, client *Client, x store.Enrolment) {
	call, cancel := context.WithTimeout(ctx, enrolTimeout)
	err := client.Enrol(call, x.Subject, x.Group)
	cancel()
	var again time.Time
	if err != nil {
		again = e.Now().Add(rounds.Pause(x.Attempts, RetryAfter(err), e.Jitter()))
		if ctx.Err() == nil {
			e.Log.Warn("could not enrol", "group", x.Group, "attempt", x.Attempts+1, "error", err.Error())
		}
	}
	if e.Observe != nil {
		e.Observe(err)
	}
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), enrolTimeout)
	defer cancel()
	// Whoever lost the lease to another one has nothing to say: enrolling twice is enrolling.
	if err := e.Queue.SettleEnrolment(settle, x, again); err != nil && !errors.Is(err, store.ErrLeaseLost) {
		e.Log.Warn("could not store what became of an enrolment", "error", err.Error())
	}
}

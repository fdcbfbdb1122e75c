// SPDX-License-Identifier: Apache-2.0

package grades

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/lti-operator/lti-operator/internal/rounds"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Address is where a grade goes. The newest launch of the link says it.
type Address struct {
	Protocol Protocol `json:"protocol"`
	// Platform is the name of the LTIPlatform; empty for a launch with an activity's own consumer key.
	Platform string `json:"platform,omitempty"`
	// Issuer is the one that the addresses of Assignment and Grade Services come from; empty where that was not kept.
	Issuer string `json:"issuer,omitempty"`
	// LTIUserID is the learner in the other system.
	LTIUserID string `json:"ltiUserID"`

	// ContainerURL and LineItemURL are those of Assignment and Grade Services; the second is empty until the line item is
	// known. Scopes are what the platform grants.
	ContainerURL string   `json:"containerURL,omitempty"`
	LineItemURL  string   `json:"lineItemURL,omitempty"`
	Scopes       []string `json:"scopes,omitempty"`

	// ServiceURL and SourcedID are those of Basic Outcomes, ConsumerKey is the one that signs.
	ServiceURL  string `json:"serviceURL,omitempty"`
	SourcedID   string `json:"sourcedID,omitempty"`
	ConsumerKey string `json:"consumerKey,omitempty"`
}

// Leased is a row that nobody else sends for the time of its lease.
type Leased struct {
	// ID identifies the row, and Lease the lease.
	ID, Lease string
	// Queue is what rows wait in: those of one registration or consumer key. One queue that is slow keeps no other waiting.
	Queue   string
	Address Address
	// Link and Activity are what the grade is for.
	Link     store.Link
	Activity string
	// Grade is the wanted one; nil to withdraw what was sent.
	Grade *Grade
	Row   Row
}

// ErrLeaseLost reports that a row is no longer leased to the caller. Nothing is changed.
var ErrLeaseLost = store.ErrLeaseLost

// Rows is what the worker needs of a store.
type Rows interface {
	// LeaseGrades leases at most n rows that are due, the ones that have waited longest first, but none of the full queues.
	// What it returns beside an error is leased all the same.
	LeaseGrades(ctx context.Context, now, until time.Time, n int, full []string) ([]Leased, error)
	// UpdateGrade changes a leased row, in one transaction that sees what is wanted by now, and where it goes. It ends the
	// lease if release is set. It fails with ErrLeaseLost.
	UpdateGrade(ctx context.Context, id, lease string, release bool, change Change) error
}

// Change returns a row as it is to be; to is where its grade goes by now.
type Change func(r Row, to *Address) Row

// Result is what came of one message.
type Result struct {
	Outcome Outcome
	// Reason is the stable code of what went wrong.
	Reason string
	// RetryAfter is what the other system asked to wait at least.
	RetryAfter time.Duration
}

// Sender sends one message, with the timestamp Row.SentAt. It must return before its context ends, or soon after.
type Sender interface {
	Send(ctx context.Context, row *Leased) Result
}

// Limits of a worker. Send ends well before the lease, so that of one row never two messages are on their way because
// somebody is slow.
const (
	sendTimeout = 20 * time.Second
	leaseTime   = time.Minute
	// inFlight is how many messages are on their way at once, inFlightPerQueue how many of one queue.
	inFlight         = 32
	inFlightPerQueue = 4
	// lookEvery is how often a worker looks for rows that nobody told it about.
	lookEvery = 500 * time.Millisecond
	// storePause is how long it waits for a store that cannot be reached.
	storePause = 2 * time.Second
)

// Worker sends grades. Any number of workers may share one store.
type Worker struct {
	Rows   Rows
	Sender Sender
	Log    *slog.Logger
	Now    func() time.Time
	// Jitter returns a number from 0 to 1.
	Jitter func() float64
	// Observe is told about every message; nil for nobody.
	Observe func(row *Leased, result Result)

	rounds rounds.Runner

	mu     sync.Mutex
	queues map[string]int
	total  int
}

// Wake makes the worker look at once: there is a new grade.
func (w *Worker) Wake() { w.rounds.Wake() }

// Run sends until the context ends, and returns when nothing is on its way any more.
func (w *Worker) Run(ctx context.Context) {
	var sending sync.WaitGroup
	defer sending.Wait()
	w.rounds.Run(ctx, func(ctx context.Context) time.Duration {
		more, err := w.round(ctx, &sending)
		switch {
		case err != nil && ctx.Err() == nil:
			w.Log.Warn("could not look for grades to send", "error", err.Error())
			return storePause
		case more:
			return 0
		}
		return lookEvery
	})
}

// round leases as many rows as may be sent now; more is set when there may be others.
func (w *Worker) round(ctx context.Context, sending *sync.WaitGroup) (more bool, err error) {
	room, full := w.room()
	if room == 0 || ctx.Err() != nil {
		return false, nil
	}
	now := w.Now()
	rows, leaseErr := w.Rows.LeaseGrades(ctx, now, now.Add(leaseTime), room, full)
	for i := range rows {
		row := &rows[i]
		if !w.take(row.Queue) {
			// More of one queue than may be sent at once: back, for somebody who has room.
			if err := w.Rows.UpdateGrade(ctx, row.ID, row.Lease, true, func(r Row, _ *Address) Row { return r }); err != nil {
				return false, err
			}
			continue
		}
		sending.Go(func() {
			defer w.give(row.Queue)
			w.deliver(ctx, row)
		})
	}
	return len(rows) == room, leaseErr
}

func (w *Worker) room() (room int, full []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for queue, n := range w.queues {
		if n >= inFlightPerQueue {
			full = append(full, queue)
		}
	}
	slices.Sort(full)
	return inFlight - w.total, full
}

func (w *Worker) take(queue string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queues[queue] >= inFlightPerQueue {
		return false
	}
	if w.queues == nil {
		w.queues = map[string]int{}
	}
	w.queues[queue]++
	w.total++
	return true
}

func (w *Worker) give(queue string) {
	w.mu.Lock()
	w.queues[queue]--
	if w.queues[queue] == 0 {
		delete(w.queues, queue)
	}
	w.total--
	w.mu.Unlock()
	w.Wake()
}

// deliver sends one row. What was leased is given back even when the worker stops meanwhile.
func (w *Worker) deliver(ctx context.Context, row *Leased) {
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTime/2)
	defer cancel()
	before, send := row.Row.Next(w.Now())
	if !send {
		w.update(finish, row, true, func(r Row, _ *Address) Row {
			if r.Wanted != before.Wanted {
				return r // and look again
			}
			return before
		})
		return
	}
	// Stored first: whoever finds the row after a crash knows that a message may be on its way. What is wanted by now may
	// be newer than what was leased, and then the newer one is sent with the next lease.
	if !w.update(finish, row, false, func(r Row, _ *Address) Row { return merge(r, before.Sending()) }) {
		return
	}
	row.Row = before
	sending, stop := context.WithTimeout(finish, sendTimeout)
	result := w.Sender.Send(sending, row)
	stop()
	if w.Observe != nil {
		w.Observe(row, result)
	}
	w.update(finish, row, true, func(r Row, to *Address) Row {
		now := w.Now()
		r = r.Settled(&before, result.Outcome, result.Reason, now, result.RetryAfter, w.Jitter())
		if r.Parked != "" && !reflect.DeepEqual(*to, row.Address) {
			// A launch has brought another address meanwhile, which is tried as if the launch had come after the answer.
			r = r.Resend(now)
		}
		return r
	})
}

// merge returns the row with what was sent, without touching what became wanted meanwhile.
func merge(r, sent Row) Row {
	sent.Wanted, sent.DueAt, sent.Attempts, sent.Parked, sent.Problem = r.Wanted, r.DueAt, r.Attempts, r.Parked, r.Problem
	return sent
}

func (w *Worker) update(ctx context.Context, row *Leased, release bool, change Change) bool {
	err := w.Rows.UpdateGrade(ctx, row.ID, row.Lease, release, change)
	if err != nil {
		// The lease ends by itself, and the row is found as it stands.
		w.Log.Warn("could not store what became of a grade", "row", row.ID, "error", err.Error())
	}
	return err == nil
}

// SPDX-License-Identifier: Apache-2.0

package grades

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/decimal"
)

// table is a store for tests of the worker: those of the stores themselves use real ones.
type table struct {
	mu     sync.Mutex
	rows   map[string]*tableRow
	leases int
	// broken makes every call fail.
	broken bool
}

type tableRow struct {
	row   Row
	queue string
	lease string
	until time.Time
}

var errBroken = errors.New("store unavailable")

func (s *table) LeaseGrades(_ context.Context, now, until time.Time, n int, full []string) ([]Leased, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return nil, errBroken
	}
	var out []Leased
	ids := slices.SortedFunc(maps.Keys(s.rows), func(a, b string) int {
		return cmp.Or(s.rows[a].row.DueAt.Compare(s.rows[b].row.DueAt), cmp.Compare(a, b))
	})
	for _, id := range ids {
		r := s.rows[id]
		if len(out) == n || r.row.Parked != "" || !r.row.Pending() || !r.row.due(now) || r.until.After(now) || slices.Contains(full, r.queue) {
			continue
		}
		s.leases++
		r.lease, r.until = fmt.Sprint(s.leases), until
		grade := &Grade{Score: Score{Given: decimal.FromInt(r.row.Wanted), Maximum: decimal.FromInt(1000)}}
		out = append(out, Leased{ID: id, Lease: r.lease, Queue: r.queue, Grade: grade, Row: r.row})
	}
	return out, nil
}

func (s *table) UpdateGrade(_ context.Context, id, lease string, release bool, change Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rows[id]
	switch {
	case s.broken:
		return errBroken
	case r.lease != lease:
		return ErrLeaseLost
	}
	r.row = change(r.row, &Address{})
	if release {
		r.lease, r.until = "", time.Time{}
	}
	return nil
}

func (s *table) want(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[id].row = s.rows[id].row.Want(time.Now())
}

func newTable(rows, queues int) *table {
	s := &table{rows: map[string]*tableRow{}}
	for i := range rows {
		s.rows[fmt.Sprintf("row%03d", i)] = &tableRow{row: Row{Protocol: ProtocolAGS}, queue: fmt.Sprintf("queue%d", i%queues)}
	}
	return s
}

// platforms are the gradebooks of all rows, with faults.
type platforms struct {
	t  *testing.T
	mu sync.Mutex
	// sending are the rows of which a message is on its way.
	sending map[string]bool
	books   map[string]*gradebook
	queues  map[string]int
	most    int
	// behave says how a message goes; Accepted at once if nil.
	behave func(ctx context.Context, row *Leased) (delay time.Duration, arrives, answered bool)
}

func newPlatforms(t *testing.T) *platforms {
	return &platforms{t: t, sending: map[string]bool{}, books: map[string]*gradebook{}, queues: map[string]int{}}
}

func (p *platforms) Send(ctx context.Context, row *Leased) Result {
	p.mu.Lock()
	if p.sending[row.ID] {
		p.t.Errorf("two messages of %s at once", row.ID)
	}
	p.sending[row.ID] = true
	p.queues[row.Queue]++
	p.most = max(p.most, p.queues[row.Queue])
	book := p.books[row.ID]
	if book == nil {
		book = &gradebook{protocol: ProtocolAGS}
		p.books[row.ID] = book
	}
	behave := p.behave
	p.mu.Unlock()
	delay, arrives, answered := time.Duration(0), true, true
	if behave != nil {
		delay, arrives, answered = behave(ctx, row)
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		answered = false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sending[row.ID] = false
	p.queues[row.Queue]--
	outcome := Unknown
	if arrives {
		if got := book.take(message{version: row.Row.Sent, at: row.Row.SentAt}); answered {
			outcome = got
		}
	}
	return Result{Outcome: outcome, Reason: "Fault"}
}

func newWorker(s *table, p Sender) *Worker {
	return &Worker{Rows: s, Sender: p, Log: slog.New(slog.DiscardHandler), Now: time.Now, Jitter: func() float64 { return 0.5 }}
}

// run starts a worker, and returns what stops it and waits for it.
func run(t *testing.T, w *Worker) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

func (s *table) check(t *testing.T, p *platforms) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, r := range s.rows {
		if r.row.Pending() || p.books[id] == nil || p.books[id].holds != r.row.Wanted {
			t.Errorf("%s: %+v, gradebook %+v", id, r.row, p.books[id])
		}
	}
}

func TestEveryGradeArrivesWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rows = 200
		s, p := newTable(rows, 5), newPlatforms(t)
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		draw := func(n int) int {
			mu.Lock()
			defer mu.Unlock()
			return random.IntN(n)
		}
		p.behave = func(context.Context, *Leased) (time.Duration, bool, bool) {
			return time.Duration(draw(3000)) * time.Millisecond, draw(4) > 0, draw(3) > 0
		}
		start := func() func() { return run(t, newWorker(s, p)) }
		stops := []func(){start(), start(), start()}
		for i := range 2000 {
			s.want(fmt.Sprintf("row%03d", draw(rows)))
			time.Sleep(time.Duration(draw(50)) * time.Millisecond)
			if i%200 == 100 {
				// A rollout, and a store that is away for some seconds.
				stops[0]()
				stops = append(stops[1:], start())
				s.mu.Lock()
				s.broken = true
				s.mu.Unlock()
				time.Sleep(3 * time.Second)
				s.mu.Lock()
				s.broken = false
				s.mu.Unlock()
			}
		}
		for i := range rows {
			s.want(fmt.Sprintf("row%03d", i))
		}
		p.mu.Lock()
		p.behave = nil
		p.mu.Unlock()
		time.Sleep(2 * time.Hour)
		s.check(t, p)
		for _, stop := range stops {
			stop()
		}
		t.Logf("%d leases", s.leases)
	})
}

func TestAQueueThatIsSlowKeepsNoOtherWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newTable(300, 3), newPlatforms(t)
		var last time.Time
		p.behave = func(ctx context.Context, row *Leased) (time.Duration, bool, bool) {
			if row.Queue == "queue0" {
				return time.Hour, false, false
			}
			p.mu.Lock()
			last = time.Now()
			p.mu.Unlock()
			return 10 * time.Millisecond, true, true
		}
		w := newWorker(s, p)
		stop := run(t, w)
		began := time.Now()
		for i := range 300 {
			s.want(fmt.Sprintf("row%03d", i))
		}
		w.Wake()
		time.Sleep(10 * time.Second)
		p.mu.Lock()
		took := last.Sub(began)
		p.mu.Unlock()
		if took > time.Second {
			t.Errorf("the others took %v", took)
		}
		stop()
		if p.most > inFlightPerQueue {
			t.Errorf("%d messages of one queue at once", p.most)
		}
	})
}

// A worker that stops lets what is on its way come to an end, and stores it.
func TestAStopLosesNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newTable(1, 1), newPlatforms(t)
		p.behave = func(context.Context, *Leased) (time.Duration, bool, bool) { return 5 * time.Second, true, true }
		s.want("row000")
		stop := run(t, newWorker(s, p))
		time.Sleep(time.Second)
		stop()
		s.check(t, p)
	})
}

// A grade is sent again also when somebody asks for it while it is on its way: the message that is answered then is an
// earlier one.
func TestAGradeIsAskedForWhileItIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newTable(1, 1), newPlatforms(t)
		var sent atomic.Int32
		p.behave = func(context.Context, *Leased) (time.Duration, bool, bool) {
			sent.Add(1)
			return 5 * time.Second, true, true
		}
		s.want("row000")
		stop := run(t, newWorker(s, p))
		time.Sleep(time.Second)
		s.mu.Lock()
		s.rows["row000"].row = s.rows["row000"].row.Again(time.Now())
		s.mu.Unlock()
		time.Sleep(20 * time.Second)
		stop()
		s.check(t, p)
		if n := sent.Load(); n != 2 {
			t.Errorf("sent %d times, not twice", n)
		}
	})
}

func TestANewGradeIsSentAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newTable(1, 1), newPlatforms(t)
		w := newWorker(s, p)
		stop := run(t, w)
		time.Sleep(lookEvery / 2)
		s.want("row000")
		w.Wake()
		time.Sleep(time.Millisecond)
		s.check(t, p)
		stop()
	})
}

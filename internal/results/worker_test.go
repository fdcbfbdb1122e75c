// SPDX-License-Identifier: Apache-2.0

package results

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/store"
)

// academy receives events, with faults.
type academy struct {
	t   *testing.T
	now func() time.Time
	mu  sync.Mutex
	// newest is what it knows of each result, and bodies what each event said.
	newest map[string]*received
	bodies map[string]string
	// arriving are the results of which an event is on its way, and most how many there were at once.
	arriving map[string]bool
	most     int
	requests int
	// behave says how a request goes: what it is answered, after how long, whether it arrives, and whether the answer
	// does. 204 at once if nil.
	behave func() (status int, delay time.Duration, arrives, answered bool)
}

func newAcademy(t *testing.T) *academy {
	return &academy{t: t, now: time.Now, newest: map[string]*received{}, bodies: map[string]string{}, arriving: map[string]bool{}}
}

func (a *academy) Do(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	status, delay, arrives, answered := 204, time.Duration(0), true, true
	a.mu.Lock()
	if a.behave != nil {
		status, delay, arrives, answered = a.behave()
	}
	a.requests++
	e, err := receive(req.Header, body, a.now(), secretOne)
	if err != nil {
		a.t.Error(err)
		a.mu.Unlock()
		return nil, err
	}
	if a.arriving[e.result] {
		a.t.Errorf("two events of %s at once", e.result)
	}
	a.arriving[e.result] = true
	a.most = max(a.most, len(a.arriving))
	a.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-req.Context().Done():
		arrives, answered = false, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.arriving, e.result)
	if arrives && status < 300 {
		a.take(e)
	}
	if !answered || !arrives && status < 300 {
		return nil, errors.New("connection reset")
	}
	return reply(status, strings.NewReader("")), nil
}

func (a *academy) take(e *received) {
	if before, ok := a.bodies[e.id]; ok && before != e.body {
		a.t.Errorf("event %s said\n%s and says\n%s", e.id, before, e.body)
	}
	a.bodies[e.id] = e.body
	if known := a.newest[e.result]; known != nil && known.version > e.version {
		a.t.Errorf("version %d of %s came after %d", e.version, e.result, known.version)
	}
	a.newest[e.result] = e
}

func (a *academy) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

func (a *academy) set(behave func() (int, time.Duration, bool, bool)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.behave = behave
}

// always answers every request the same, at once.
func always(status int) func() (int, time.Duration, bool, bool) {
	return func() (int, time.Duration, bool, bool) { return status, 0, true, true }
}

func newWorker(t *testing.T, s store.Results, a *academy) *Worker {
	to := target(t)
	return &Worker{
		Store: s, Doer: a, Target: func() *Target { return to }, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Jitter: func() float64 { return 0.5 },
	}
}

// run starts a worker, and returns what stops it and waits for it.
func run(t *testing.T, w *Worker) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

// scored stores a score with the time of now.
func scored(t *testing.T, b *Book, key store.ResultKey, given int64) {
	t.Helper()
	m := ags.Score{
		UserID: key.LearnerID, Timestamp: b.Now(), ActivityProgress: ags.Completed, GradingProgress: ags.FullyGraded,
		Points: &ags.Points{Given: decimal.FromInt(given), Maximum: decimal.FromInt(100)},
	}
	if _, err := b.Score(t.Context(), key, exam(60), m, nil); err != nil {
		t.Error(err)
	}
}

// knows compares what the academy knows of each result with what is stored.
func (a *academy) knows(s store.Results) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	b := Book{Store: s, Now: time.Now}
	views, err := b.List(context.Background(), store.ResultFilter{Limit: 1 << 20})
	if err != nil {
		a.t.Fatal(err)
	}
	for i := range views {
		v := &views[i]
		if v.Version == 0 {
			continue
		}
		if v.Delivery.State != DeliveryDelivered {
			a.t.Errorf("%s: %+v", v.ID, v.Delivery)
		}
		v.Delivery = nil
		text, err := json.Marshal(v)
		if err != nil {
			a.t.Fatal(err)
		}
		var want map[string]any
		if err := json.Unmarshal(text, &want); err != nil {
			a.t.Fatal(err)
		}
		if got := a.newest[v.ID]; got == nil || !reflect.DeepEqual(got.data, want) {
			a.t.Errorf("stored is %s\nthe academy knows %+v", text, got)
		}
	}
}

func TestNewsIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := newTable(time.Now), newAcademy(t)
		w := newWorker(t, s, a)
		defer run(t, w)()
		b := &Book{Store: s, Now: time.Now, Wake: w.Wake}
		key := s.open("exam", "u1")
		time.Sleep(lookEvery / 2)
		scored(t, b, key, 80)
		synctest.Wait()
		a.knows(s)
		if len(a.newest) != 1 || a.newest[key.ID()].data["status"] != "Passed" {
			t.Errorf("%+v", a.newest)
		}
		time.Sleep(3 * time.Hour)
		if a.count() != 1 {
			t.Errorf("told %d times", a.count())
		}
	})
}

// toldSlowly is a book of which an academy is told that takes five seconds for each event.
func toldSlowly(t *testing.T) (b *Book, s *table, a *academy, stop func()) {
	s, a = newTable(time.Now), newAcademy(t)
	a.behave = func() (int, time.Duration, bool, bool) { return 204, 5 * time.Second, true, true }
	w := newWorker(t, s, a)
	return &Book{Store: s, Now: time.Now, Wake: w.Wake}, s, a, run(t, w)
}

func TestAVersionThatCameMeanwhileIsToldNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s, a, stop := toldSlowly(t)
		defer stop()
		key := s.open("exam", "u1")
		for i := range 4 {
			scored(t, b, key, int64(i))
			time.Sleep(time.Second)
		}
		time.Sleep(6*time.Second + time.Millisecond)
		a.knows(s)
		if a.count() != 2 {
			t.Errorf("told %d times, not of the first and the newest version", a.count())
		}
	})
}

// The attempt that is on its way is not the one that is asked for.
func TestAnotherDeliveryIsAskedForMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s, a, stop := toldSlowly(t)
		defer stop()
		key := s.open("exam", "u1")
		scored(t, b, key, 80)
		time.Sleep(time.Second)
		if err := b.Resend(t.Context(), key.ID()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		a.knows(s)
		if a.count() != 2 {
			t.Errorf("told %d times, not twice", a.count())
		}
	})
}

func TestWhatBecameOfAnAttempt(t *testing.T) {
	due, now := start(), start().Add(time.Minute)
	for name, tt := range map[string]struct {
		before State
		sent   int64
		answer answer
		want   State
		due    time.Time
	}{
		"told":                          {State{Version: 2, Attempts: 3, Reason: "Refused"}, 2, answer{}, State{Version: 2, Delivered: 2}, due},
		"told, and there is news":       {State{Version: 3}, 2, answer{}, State{Version: 3, Delivered: 2}, due},
		"told once more":                {State{Version: 3, Delivered: 3}, 2, answer{}, State{Version: 3, Delivered: 3}, due},
		"in vain":                       {State{Version: 2, Delivered: 1, Attempts: 1}, 2, answer{reason: "Refused"}, State{Version: 2, Delivered: 1, Attempts: 2, Reason: "Refused"}, now.Add(3 * time.Second)},
		"in vain, to wait":              {State{Version: 2}, 2, answer{"Throttled", time.Minute}, State{Version: 2, Attempts: 1, Reason: "Throttled"}, now.Add(time.Minute)},
		"in vain, and there is news":    {State{Version: 3}, 2, answer{"Throttled", time.Minute}, State{Version: 3}, due},
		"stopped":                       {State{Version: 2, Delivered: 1}, 2, answer{reason: ReasonGone}, State{Version: 2, Delivered: 1, Attempts: 1, Reason: "Gone", StoppedAt: now}, due},
		"to be stopped, but it is news": {State{Version: 3}, 2, answer{reason: ReasonGone}, State{Version: 3}, due},
		"told, and asked for again":     {State{Version: 2, Resends: 1}, 2, answer{}, State{Version: 2, Resends: 1}, due},
	} {
		s := tt.before
		if got := s.settle(&State{Version: tt.sent}, tt.answer, due, now, 0.5); s != tt.want || !got.Equal(tt.due) {
			t.Errorf("%s: %+v, due %v", name, s, got)
		}
	}
}

// Pauses between attempts, with the jitter in the middle.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := newTable(time.Now), newAcademy(t)
		a.behave = always(500)
		w := newWorker(t, s, a)
		var reasons []string
		w.Observe = func(reason string) { reasons = append(reasons, reason) }
		defer run(t, w)()
		b := &Book{Store: s, Now: time.Now, Wake: w.Wake, Told: func() bool { return true }}
		key := s.open("exam", "u1")
		scored(t, b, key, 80)
		synctest.Wait()
		v, err := b.Get(t.Context(), key.Realm, "exam", "subject of u1")
		if want := (Delivery{DeliveryPending, 1, "Unavailable", time.Now().Add(1500 * time.Millisecond)}); err != nil || *v.Delivery != want {
			t.Errorf("%+v, %v", v.Delivery, err)
		}
		time.Sleep(30 * time.Hour)
		// 11 while the pauses grow to an hour, and then one each three quarters of that.
		if n := a.count(); n < 30 || n > 11+40 {
			t.Errorf("%d attempts in 30 hours", n)
		}
		a.set(nil)
		time.Sleep(time.Hour)
		a.knows(s)
		if len(reasons) != a.count() || reasons[0] != "Unavailable" || reasons[len(reasons)-1] != "" {
			t.Errorf("%d attempts seen of %d", len(reasons), a.count())
		}
	})
}

func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := newTable(time.Now), newAcademy(t)
		a.behave = always(410)
		w := newWorker(t, s, a)
		defer run(t, w)()
		b := &Book{Store: s, Now: time.Now, Wake: w.Wake, Told: func() bool { return true }}
		key, other := s.open("exam", "u1"), s.open("exam", "u2")
		scored(t, b, key, 80)
		scored(t, b, other, 80)
		time.Sleep(3 * time.Hour)
		v, err := b.Get(t.Context(), key.Realm, "exam", "subject of u1")
		if want := (Delivery{State: DeliveryStopped, Attempts: 1, Reason: "Gone"}); err != nil || *v.Delivery != want || a.count() != 2 {
			t.Errorf("%+v, %v, %d attempts", v.Delivery, err, a.count())
		}
		a.set(nil)
		if err := b.Resend(t.Context(), key.ID()); err != nil {
			t.Error(err)
		}
		scored(t, b, other, 90)
		synctest.Wait()
		a.knows(s)
	})
}

func TestResultsWaitForATarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := newTable(time.Now), newAcademy(t)
		w := newWorker(t, s, a)
		var to atomic.Pointer[Target]
		w.Target = to.Load
		defer run(t, w)()
		b := &Book{Store: s, Now: time.Now, Wake: w.Wake, Told: func() bool { return to.Load() != nil }}
		key := s.open("exam", "u1")
		scored(t, b, key, 80)
		time.Sleep(3 * time.Hour)
		v, err := b.Get(t.Context(), key.Realm, "exam", "subject of u1")
		if want := (Delivery{State: DeliveryNotConfigured}); err != nil || *v.Delivery != want || s.leases != 0 {
			t.Errorf("%+v, %v, %d leases", v.Delivery, err, s.leases)
		}
		to.Store(target(t))
		time.Sleep(lookEvery)
		synctest.Wait()
		a.knows(s)
	})
}

func TestSeveralAreToldAtOnceAndASlowOneHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := newTable(time.Now), newAcademy(t)
		n := 0
		a.behave = func() (int, time.Duration, bool, bool) {
			if n++; n == 1 {
				return 204, 19 * time.Second, true, true
			}
			return 204, 100 * time.Millisecond, true, true
		}
		w := newWorker(t, s, a)
		defer run(t, w)()
		b := &Book{Store: s, Now: time.Now}
		for i := range 71 {
			scored(t, b, s.open("exam", fmt.Sprint("u", i)), 80)
		}
		w.Wake()
		// 70 others, 7 at a time.
		time.Sleep(time.Second + time.Millisecond)
		requests := a.count()
		a.mu.Lock()
		arrived, most := len(a.newest), a.most
		a.mu.Unlock()
		if requests != 71 || arrived != 70 || most != inFlight {
			t.Errorf("%d requests, %d arrived, %d at once", requests, arrived, most)
		}
		time.Sleep(20 * time.Second)
		a.knows(s)
	})
}

// A worker that stops lets what is on its way come to an end, and stores it.
func TestAStopLosesNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := newTable(time.Now), newAcademy(t)
		a.behave = func() (int, time.Duration, bool, bool) { return 204, 5 * time.Second, true, true }
		scored(t, &Book{Store: s, Now: time.Now}, s.open("exam", "u1"), 80)
		stop := run(t, newWorker(t, s, a))
		time.Sleep(time.Second)
		stop()
		a.knows(s)
	})
}

func TestWhatCannotBeReadHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := newTable(time.Now), newAcademy(t)
		b := &Book{Store: s, Now: time.Now}
		bad := s.open("exam", "u1")
		s.rows[bad.ID()].result.State, s.rows[bad.ID()].result.DueAt = json.RawMessage(`{`), time.Now()
		scored(t, b, s.open("exam", "u2"), 80)
		stop := run(t, newWorker(t, s, a))
		time.Sleep(10 * time.Minute)
		stop()
		if len(a.newest) != 1 || s.leases > 12 {
			t.Errorf("%d events arrived, %d leases", len(a.newest), s.leases)
		}
	})
}

// teller is a tool that sends scores of one learner, each until it is known to be stored, and some of them again later.
type teller struct {
	key store.ResultKey
	// newest is the score that has to stand in the end.
	newest ags.Score
	sent   []ags.Score
}

func TestEveryResultArrivesWhateverHappens(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { whateverHappens(t, seed) })
		})
	}
}

func whateverHappens(t *testing.T, seed uint64) {
	const learners, messages = 60, 1500
	random := rand.New(rand.NewPCG(seed, 2))
	var mu sync.Mutex
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	s, a := newTable(time.Now), newAcademy(t)
	down := false
	a.behave = func() (int, time.Duration, bool, bool) {
		if down {
			return 503, time.Duration(draw(100)) * time.Millisecond, false, draw(2) > 0
		}
		status := []int{200, 204, 204, 204, 204, 500, 404, 302}[draw(8)]
		return status, time.Duration(draw(25_000)) * time.Millisecond / time.Duration(1+draw(100)), draw(5) > 0, draw(4) > 0
	}
	type replica struct {
		cut  *cut
		stop func()
	}
	start := func() replica {
		c := &cut{table: s, lose: func() bool { return draw(20) == 0 }}
		return replica{c, run(t, newWorker(t, c, a))}
	}
	replicas := []replica{start(), start()}
	tellers := make([]*teller, learners)
	for i := range tellers {
		tellers[i] = &teller{key: s.open("exam", fmt.Sprint("u", i))}
	}
	var telling sync.WaitGroup
	said := make([]chan bool, learners)
	for i := range said {
		said[i] = make(chan bool, 1)
	}
	say := func(i int, m ags.Score) {
		// A tool sends one message after the other of one learner.
		said[i] <- true
		defer func() { <-said[i] }()
		b := &Book{Store: &cut{table: s, lose: func() bool { return draw(4) == 0 }}, Now: time.Now}
		for {
			_, err := b.Score(t.Context(), tellers[i].key, exam(60), m, nil)
			switch {
			case err == nil, lti.CodeOf(err) == lti.ScoreOutdated:
				return
			case !errors.Is(err, store.ErrUnavailable):
				t.Error(err)
				return
			}
			time.Sleep(time.Duration(draw(3000)) * time.Millisecond)
		}
	}
	for n := range messages {
		time.Sleep(time.Duration(draw(400)) * time.Millisecond)
		i := draw(learners)
		tell := tellers[i]
		m := ags.Score{
			UserID: tell.key.LearnerID, Timestamp: time.Now(), ActivityProgress: ags.Completed, GradingProgress: ags.FullyGraded,
			Points: &ags.Points{Given: decimal.FromInt(int64(n)), Maximum: decimal.FromInt(messages)},
		}
		if len(tell.sent) > 0 && draw(5) == 0 {
			m = tell.sent[draw(len(tell.sent))]
		}
		tell.sent = append(tell.sent, m)
		if m.Timestamp.After(tell.newest.Timestamp) {
			tell.newest = m
		}
		telling.Go(func() { say(i, m) })
		switch n % 300 {
		case 50, 150, 250:
			// Killed: nothing that it learns from now on is stored.
			old := replicas[0]
			old.cut.kill()
			replicas = append(replicas[1:], start())
			telling.Go(old.stop)
		case 100:
			a.mu.Lock()
			down = true
			a.mu.Unlock()
		case 200:
			a.mu.Lock()
			down = false
			a.mu.Unlock()
		}
	}
	telling.Wait()
	a.set(nil)
	time.Sleep(3 * time.Hour)
	a.knows(s)
	for _, tell := range tellers {
		if len(tell.sent) == 0 {
			continue
		}
		stored, _ := s.state(tell.key.ID())
		want := Score{tell.newest.Points.Given, tell.newest.Points.Maximum}
		if stored.Score == nil || *stored.Score != want || !stored.Newest.Timestamp.Equal(tell.newest.Timestamp) {
			t.Errorf("stored is %+v, the newest score was %+v", stored, tell.newest)
		}
		if got := a.newest[tell.key.ID()]; got == nil || got.learner != "subject of "+tell.key.LearnerID || got.activity != "exam" {
			t.Errorf("the academy knows %+v", got)
		}
	}
	for _, r := range replicas {
		r.stop()
	}
	t.Logf("%d requests, %d leases", a.requests, s.leases)
}

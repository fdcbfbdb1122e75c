// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/outcomes"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// report lets the academy report about learners at random, until the context ends.
func (w *world) report(ctx context.Context, random *rand.Rand, learners []*learner) {
	for ctx.Err() == nil {
		l := learners[random.IntN(len(learners))]
		// What is not taken before the context ends was never acknowledged.
		_ = w.reportUntilTaken(ctx, random, l, l.acknowledged+1)
		_ = pause(ctx, time.Duration(random.IntN(40))*time.Millisecond)
	}
}

// reportUntilTaken sends report number n until a handler acknowledges it. Now and then an older one comes after it.
func (w *world) reportUntilTaken(ctx context.Context, random *rand.Rand, l *learner, n int) error {
	for {
		taken := w.reportOnce(ctx, w.handlers[random.IntN(len(w.handlers))], l, n)
		if taken {
			l.mu.Lock()
			l.acknowledged = max(l.acknowledged, n)
			l.mu.Unlock()
			if n > 1 && random.IntN(4) == 0 {
				w.reportOnce(ctx, w.handlers[random.IntN(len(w.handlers))], l, n-1)
			}
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// reportedAt is the timestamp of report number n.
func reportedAt(n int) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Millisecond)
}

func (w *world) reportOnce(ctx context.Context, p *process, l *learner, n int) bool {
	body := fmt.Sprintf(`{"sub":%q,"activity":%q,"at":%q,"score":{"given":%d,"maximum":%d}}`,
		l.subject, activityName, reportedAt(n).Format(time.RFC3339Nano), n, maximum)
	a, err := w.do(ctx, w.client, p, http.MethodPost, routing.PathProgress, "application/json", strings.NewReader(body),
		func(r *http.Request) {
			r.SetBasicAuth(clientID, w.secret)
			r.Header.Set("Idempotency-Key", l.user+"/"+strconv.Itoa(n))
		})
	return err == nil && a.status == http.StatusOK
}

// pause waits, or ends with the context.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// tally counts faults by what they are.
type tally map[string]int

func (t tally) String() string {
	var words []string
	sum := 0
	for _, name := range slices.Sorted(maps.Keys(t)) {
		words = append(words, fmt.Sprintf("%d %s", t[name], name))
		sum += t[name]
	}
	return fmt.Sprintf("%d (%s)", sum, strings.Join(words, ", "))
}

// clockStep is how far a handler's clock is set, ahead or back. Reports from further ahead than five minutes are refused.
const clockStep = 90 * time.Second

// injectAll makes the faults, one after the other or some at once.
func (w *world) injectAll(ctx context.Context, random *rand.Rand, o *options) tally {
	done := tally{}
	var running sync.WaitGroup
	defer func() {
		running.Wait()
		for _, p := range w.handlers {
			if err := p.setClock(0); err != nil {
				fmt.Println("set clock:", err)
			}
		}
	}()
	for i := range o.faults {
		if pause(ctx, o.pause/2+time.Duration(random.Int64N(int64(o.pause)))) != nil {
			return done
		}
		kind, long := random.IntN(12), time.Duration(300+random.IntN(1500))*time.Millisecond
		switch {
		case kind < 4:
			p := w.handlers[random.IntN(len(w.handlers))]
			done["handler killed"]++
			if err := p.kill(); err != nil {
				fmt.Println("kill:", err)
			}
			if err := p.start(); err != nil {
				fmt.Println("start:", err)
			}
		case kind == 4:
			done["PostgreSQL crashed"]++
			if err := w.database.Kill(); err != nil {
				fmt.Println("kill PostgreSQL:", err)
			}
			_ = pause(ctx, long/2)
			if err := w.database.Start(); err != nil {
				fmt.Println("start PostgreSQL:", err)
			}
		case kind >= 10:
			done["clock set"]++
			p, ahead := w.handlers[random.IntN(len(w.handlers))], time.Duration(random.Int64N(int64(2*clockStep)))-clockStep
			if i > o.faults/2 {
				ahead = 0 // set right again: what was due by a wrong clock comes by then
			}
			if err := p.setClock(ahead); err != nil {
				fmt.Println("set clock:", err)
			}
		default:
			b, f := w.books[i%len(w.books)], failure(1+random.IntN(int(failures)-1))
			if f == delays && i > o.faults/2 {
				f = lostAnswers // what arrives late is mended two minutes after it was sent
			}
			done[f.String()]++
			b.fail(f)
			running.Go(func() {
				_ = pause(ctx, long)
				b.fail(healthy)
			})
		}
	}
	return done
}

// settle waits until every gradebook holds the newest acknowledged report, and says what they hold.
func (w *world) settle(ctx context.Context, learners []*learner, patience time.Duration) verdict {
	for deadline := time.Now().Add(patience); ; {
		v := w.judge(learners)
		if v.missing+v.wrong+v.backwards == 0 || time.Now().After(deadline) || pause(ctx, 200*time.Millisecond) != nil {
			return v
		}
	}
}

func (w *world) judge(learners []*learner) (v verdict) {
	for _, l := range learners {
		points := decimal.FromInt(int64(l.acknowledged))
		fraction, _ := outcomes.Fraction(points, decimal.FromInt(maximum))
		for _, cell := range []struct {
			book       *gradebook
			key, wants string
		}{
			{w.books[0], "course1 " + l.user, points.String()},
			{w.books[0], "course2 " + l.user, points.String()},
			{w.books[1], "course1 " + l.user, points.String()},
			{w.books[2], l.user, fraction.String()},
		} {
			v.grades++
			switch found := cell.book.Mark(cell.key); {
			case found == cell.wants:
			case found == "":
				v.missing++
			case less(found, cell.wants):
				v.backwards++
			default:
				v.wrong++
			}
		}
	}
	for _, b := range w.books {
		c, _ := b.Counts()
		v.messages, v.taken, v.repeated, v.stale = v.messages+c.Messages, v.taken+c.Taken, v.repeated+c.Repeated, v.stale+c.Stale
	}
	return v
}

func less(a, b string) bool {
	x, errX := decimal.Parse(a)
	y, errY := decimal.Parse(b)
	return errX == nil && errY == nil && x.Cmp(y) < 0
}

// SPDX-License-Identifier: Apache-2.0

// Package admission decides which requests are worked on, which wait, and which are refused, so that a launch handler that
// is asked for more than it can do stays fast for those whom it serves.
//
// A [Gate] has a number of slots. A request takes one while it works, and enters at the cost of two atomic additions as
// long as there are free ones. Otherwise it waits, in the queue of the [Party] that it comes from: a free slot goes to the
// party that has the fewest, so that one party's flood is that party's wait. Within a party what continues something comes
// before what begins something.
//
// How long it waits is bounded as in CoDel (RFC 8289): a queue that empties now and then absorbs a burst, such as a class
// that opens an activity together, and may keep somebody for Options.Patience. One that is standing only makes everybody
// late, so that it keeps nobody longer than Options.ShortPatience, and serves the newest first, who would otherwise be late
// too. It is standing if it has not been empty for Options.Patience, or, once it was full, for Options.Standing; and from
// then on until nobody had to be refused for Options.Calm, however often it was empty meanwhile: those who were refused come
// back, all at once if they were refused so.
//
// A request that waits for another system gives its slot back meanwhile, see [Outside].
package admission

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Class is what a request is to whoever sends it.
type Class uint8

// The classes, the first one served first. Refusing what continues something wastes the work on what it continues, so
// that under overload nothing new begins before what has begun goes on.
const (
	// returning is a request that was let in before, and comes back from Outside.
	returning Class = iota
	// Continue is for what goes on with something that was accepted, or is not sent again when it is refused: the launch
	// after a login, a code, a score.
	Continue
	// Begin is for what begins something new, or only looks.
	Begin
	classes
)

// String is the class as it stands in metrics.
func (c Class) String() string {
	if c == Begin {
		return "begin"
	}
	return "continue"
}

// ErrRefused reports that there is no room for a request now. Nothing was done for it.
var ErrRefused = errors.New("too many requests at once")

// Options of a [Gate]. What is 0 has the default.
type Options struct {
	// Slots is how many requests work at once; 8 per CPU that Go may use, and 24 more. A request has a CPU or waits for the
	// store, whose pool has 10 connections by default: so many keep both busy, let the store commit several launches at
	// once, and leave a few dozen people who launch all the time unaffected by the gate. More would only wait for each other
	// where no queue is fair.
	Slots int
	// Waiting is how many requests wait at once, and WaitingOfParty how many of one party; 1024 and 256.
	Waiting, WaitingOfParty int
	// Outside is how many of the requests that have been let in may deal with other systems, which takes as long as those
	// like; 512. A party may have half of those places that are still free, so that every other party finds some.
	Outside int
	// Patience is how long a request waits, 1 s, and ShortPatience how long in a standing queue, 20 ms. Standing is how long
	// a queue that was full may have somebody in it until it is one, 100 ms. It is one until nobody was refused for Calm, 1 s.
	Patience, ShortPatience, Standing, Calm time.Duration
	// Now tells the time; time.Now by default.
	Now func() time.Time
	// Waited is told how long each request waited that had to and was let in, and Refused of each that was not. Optional.
	Waited  func(time.Duration)
	Refused func(Class)
}

func (o Options) withDefaults() Options {
	number := func(n *int, byDefault int) {
		if *n <= 0 {
			*n = byDefault
		}
	}
	duration := func(d *time.Duration, byDefault time.Duration) {
		if *d <= 0 {
			*d = byDefault
		}
	}
	number(&o.Slots, 8*runtime.GOMAXPROCS(0)+24)
	number(&o.Waiting, 1024)
	number(&o.WaitingOfParty, 256)
	number(&o.Outside, 512)
	duration(&o.Patience, time.Second)
	duration(&o.ShortPatience, 20*time.Millisecond)
	duration(&o.Standing, 100*time.Millisecond)
	duration(&o.Calm, time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Waited == nil {
		o.Waited = func(time.Duration) {}
	}
	if o.Refused == nil {
		o.Refused = func(Class) {}
	}
	return o
}

// Gate lets requests in. It is safe for concurrent use.
type Gate struct {
	o Options
	// state has the number of working requests in its lower half and that of waiting ones in its upper half. Waiting ones
	// are added and taken away by who holds mu, and only while all slots are taken: as long as it says that nobody waits,
	// entering and leaving need nothing else.
	state   atomic.Int64
	outside atomic.Int64
	// placing is held while outside is compared and raised.
	placing sync.Mutex

	mu sync.Mutex
	// turns are the queues that somebody waits in, the one that was served longest ago first.
	turns queues
	// bounded is how many wait that Options.Waiting counts: all but those that return.
	bounded int
	// house is the party of the academy itself, see House.
	house *Party
}

// waitingOne is one waiting request in the state.
const waitingOne = 1 << 32

// New returns a gate with all its slots free.
func New(o Options) *Gate {
	return &Gate{o: o.withDefaults(), house: &Party{}}
}

// Party is whom requests come from. The zero value is a party without any; it must not be copied.
type Party struct {
	working, outside atomic.Int32
	// The rest is guarded by Gate.mu. queue is nil while nobody waits; until calm, it is a standing one.
	queue *queue
	calm  time.Time
}

// refusedOne notes that a request was refused, which keeps a queue that is standing from being patient for a while.
func (p *Party) refusedOne(now time.Time, calm time.Duration) {
	if now.Before(p.calm) || p.queue != nil && p.queue.standing(now) {
		p.calm = now.Add(calm)
	}
}

// House is the party of requests to the academy itself, whoever sends them. Launches of all parties end there, with a
// ticket or a code, so that it has more than one party's share: what continues something in it comes first as long as it
// has less than half of the slots.
func (g *Gate) House() *Party { return g.house }

// Slots is how many requests work at once.
func (g *Gate) Slots() int { return g.o.Slots }

// Working is how many requests have a slot.
func (g *Gate) Working() int { return int(g.state.Load() % waitingOne) }

// Waiting is how many requests wait for a slot.
func (g *Gate) Waiting() int { return int(g.state.Load() / waitingOne) }

// AtOthers is how many requests deal with other systems.
func (g *Gate) AtOthers() int { return int(g.outside.Load()) }

// Enter lets a request of a party in, at once or when its turn comes, and puts it on the ticket, which must be a new one:
// its Leave must be called in the end. It returns ErrRefused when there is no room for the request, its wait gets too
// long, or ctx, which is the request's, ends. Then there is nothing to leave.
func (g *Gate) Enter(ctx context.Context, t *Ticket, p *Party, c Class) error {
	t.gate, t.party, t.class, t.request = g, p, c, ctx
	if !g.try(p) && !g.wait(ctx, p, c) {
		g.o.Refused(c)
		return ErrRefused
	}
	t.holds = true
	return nil
}

// try takes a slot if one is free and nobody waits for it.
func (g *Gate) try(p *Party) bool {
	for {
		s := g.state.Load()
		if s >= int64(g.o.Slots) { // or somebody waits, which makes it larger
			return false
		}
		if g.state.CompareAndSwap(s, s+1) {
			p.working.Add(1)
			return true
		}
	}
}

// release gives a slot back, to whoever's turn it is.
func (g *Gate) release(p *Party) {
	p.working.Add(-1)
	for {
		s := g.state.Load()
		if s >= waitingOne {
			break
		}
		if g.state.CompareAndSwap(s, s-1) {
			return
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if w := g.next(); w != nil {
		w.party.working.Add(1)
		w.turn <- true
		return
	}
	g.state.Add(-1) // those who waited have gone meanwhile
}

// wait waits for a slot, and reports whether there is one.
func (g *Gate) wait(ctx context.Context, p *Party, c Class) bool {
	began := g.o.Now()
	w, patience := g.join(p, c, began)
	if w == nil {
		return patience > 0
	}
	var late <-chan time.Time
	if c != returning {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		late = timer.C
	}
	mine := false
	select {
	case mine = <-w.turn:
	case <-late:
		mine = g.giveUp(w, true)
	case <-ctx.Done():
		if mine = g.giveUp(w, false); mine {
			g.release(p)
			mine = false
		}
	}
	if mine {
		g.o.Waited(g.o.Now().Sub(began))
	}
	return mine
}

// join makes a request wait in the queue of its party, and says for how long. It returns nil when it need not wait, or,
// with a patience of 0, when it must not.
func (g *Gate) join(p *Party, c Class, now time.Time) (*waiter, time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	since, standingFrom := now, now.Add(g.o.Patience)
	switch {
	case p.queue != nil:
		// Also when all who wait are sent away now: it is not by being served that the queue gets empty.
		since, standingFrom = p.queue.since, p.queue.standingFrom
	case now.Before(p.calm):
		standingFrom = now
	}
	for {
		s := g.state.Load()
		if s < int64(g.o.Slots) {
			// Nobody waits, so that slots are given back without the lock: one was just now.
			if g.state.CompareAndSwap(s, s+1) {
				p.working.Add(1)
				return nil, 1
			}
			continue
		}
		if c != returning && !g.makeRoom(p, c, now) {
			p.refusedOne(now, g.o.Calm)
			return nil, 0
		}
		// Making room changes the state, but only where somebody waits, and then nobody else does.
		if s = g.state.Load(); s < int64(g.o.Slots) || !g.state.CompareAndSwap(s, s+waitingOne) {
			continue
		}
		w := &waiter{party: p, class: c, since: now, turn: make(chan bool, 1)}
		if p.queue == nil {
			p.queue = &queue{party: p, since: since, standingFrom: standingFrom}
			g.turns.add(p.queue)
		}
		p.queue.add(w)
		if c != returning {
			g.bounded++
		}
		if p.queue.standing(now) {
			return w, g.o.ShortPatience
		}
		return w, g.o.Patience
	}
}

// giveUp takes a waiter out of its queue, who is late or has gone. It reports whether its turn had come in the same instant.
func (g *Gate) giveUp(w *waiter, late bool) (hadItsTurn bool) {
	g.mu.Lock()
	waits := w.waits
	if waits {
		if late {
			w.party.refusedOne(g.o.Now(), g.o.Calm)
		}
		g.remove(w)
	}
	g.mu.Unlock()
	return !waits && <-w.turn
}

// remove takes a waiter out of its queue, whatever becomes of it.
func (g *Gate) remove(w *waiter) {
	q := w.party.queue
	q.remove(w)
	if w.class != returning {
		g.bounded--
	}
	g.state.Add(-waitingOne)
	if q.n == 0 {
		g.turns.remove(q)
		w.party.queue = nil
	}
}

// refuse sends a waiter away.
func (g *Gate) refuse(w *waiter, now time.Time) {
	w.party.refusedOne(now, g.o.Calm)
	g.remove(w)
	w.turn <- false
}

// makeRoom reports whether a request may wait, after sending somebody else away for it where that is right.
func (g *Gate) makeRoom(p *Party, c Class, now time.Time) bool {
	if p.queue != nil {
		g.sendLateAway(p.queue, now)
	}
	switch {
	case p.queue != nil && p.queue.bounded() >= g.o.WaitingOfParty:
		p.queue.wasFull(g.o.Standing)
		return g.replaceOne(p.queue, c, now)
	case g.bounded < g.o.Waiting:
		return true
	}
	// All places are taken: the party with most of them gives one up.
	longest := g.turns.longest()
	longest.wasFull(g.o.Standing)
	if own := p.queue; longest != own && (own == nil || longest.bounded() > own.bounded()+1) {
		g.refuse(longest.leastWanted(), now)
		return true
	}
	return p.queue != nil && g.replaceOne(p.queue, c, now)
}

// replaceOne sends somebody away from a full queue for a request of that class: one that only begins something for one
// that continues something, and in a standing queue, which serves the newest first, the oldest of the same class.
func (g *Gate) replaceOne(q *queue, c Class, now time.Time) bool {
	w := q.leastWanted()
	if w == nil || w.class < c || w.class == c && !q.standing(now) {
		return false
	}
	g.refuse(w, now)
	return true
}

// sendLateAway refuses whom a standing queue has kept too long. They began to wait when it was not standing yet.
func (g *Gate) sendLateAway(q *queue, now time.Time) {
	if !q.standing(now) {
		return
	}
	for c := Continue; c < classes; c++ {
		for w := q.lanes[c].oldest; w != nil && now.Sub(w.since) > g.o.ShortPatience; w = q.lanes[c].oldest {
			g.refuse(w, now)
		}
	}
}

// next takes the waiter out of its queue whose turn it is; nil if nobody waits.
func (g *Gate) next() *waiter {
	now := g.o.Now()
	for {
		q := g.turns.fewest()
		if h := g.house.queue; h != nil && (h.lanes[returning].oldest != nil || h.lanes[Continue].oldest != nil) &&
			int(g.house.working.Load()) < (g.o.Slots+1)/2 {
			q = h
		}
		if q == nil {
			return nil
		}
		g.sendLateAway(q, now)
		if q.n == 0 {
			continue
		}
		w := q.first(now)
		g.remove(w)
		if q.n > 0 {
			g.turns.remove(q)
			g.turns.add(q)
		}
		return w
	}
}

// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"sync"
)

// Ticket is a request that was let in. It must not be copied.
type Ticket struct {
	gate  *Gate
	party *Party
	class Class
	// request is the context of the request.
	request context.Context

	mu sync.Mutex
	// holds is set while it has a slot, and left once it has no more use for one.
	holds, left bool
	// abroad is set once it has been outside: it has one of the places until it is neither there nor goes there any more.
	abroad bool
	// away is how many calls of Outside have not come back.
	away int
}

// ticketKey is where a context has its ticket.
type ticketKey struct{}

// Context returns a context that Outside finds the ticket in.
func (t *Ticket) Context(parent context.Context) context.Context {
	return context.WithValue(parent, ticketKey{}, t)
}

// Leave gives the slot back. It is called once the work is done, also when it panicked; calls after the first do nothing.
func (t *Ticket) Leave() {
	t.mu.Lock()
	held, home := t.holds, t.abroad && t.away == 0
	t.holds, t.left = false, true
	if home {
		t.abroad = false
	}
	t.mu.Unlock()
	if held {
		t.gate.release(t.party)
	}
	if home {
		t.gate.comeHome(t.party)
	}
}

// Outside gives the slot of the request that ctx belongs to back, because it will now wait for another system, which may
// take as long as it likes; back takes one again, before those that were not let in yet, and must be called. A request
// may be outside several times, and at once. It returns ErrRefused when so many deal with other systems already that
// this one cannot. What does not belong to a request, or to one that is over, is not concerned.
func Outside(ctx context.Context) (back func(), err error) {
	t, ok := ctx.Value(ticketKey{}).(*Ticket)
	if !ok {
		return func() {}, nil
	}
	t.mu.Lock()
	if t.left {
		t.mu.Unlock()
		return func() {}, nil
	}
	if !t.abroad && !t.gate.goAbroad(t.party) {
		t.mu.Unlock()
		t.gate.o.Refused(t.class)
		return nil, ErrRefused
	}
	t.abroad = true
	t.away++
	held := t.holds
	t.holds = false
	t.mu.Unlock()
	if held {
		t.gate.release(t.party)
	}
	return t.back, nil
}

func (t *Ticket) back() {
	t.mu.Lock()
	t.away--
	if t.away > 0 || t.left {
		home := t.left && t.away == 0 && t.abroad
		if home {
			t.abroad = false
		}
		t.mu.Unlock()
		if home {
			t.gate.comeHome(t.party)
		}
		return
	}
	t.mu.Unlock()
	// Whose client has gone goes on without: it fails at the next step.
	if !t.gate.try(t.party) && !t.gate.wait(t.request, t.party, returning) {
		return
	}
	t.mu.Lock()
	wanted := !t.left && t.away == 0 && !t.holds
	if wanted {
		t.holds = true
	}
	t.mu.Unlock()
	if !wanted {
		t.gate.release(t.party)
	}
}

// goAbroad takes a place for dealing with other systems, of which a party may have half of those that the others leave.
func (g *Gate) goAbroad(p *Party) bool {
	g.placing.Lock()
	defer g.placing.Unlock()
	if free := g.o.Outside - g.AtOthers(); free <= 0 || int(p.outside.Load()) >= free {
		return false
	}
	p.outside.Add(1)
	g.outside.Add(1)
	return true
}

func (g *Gate) comeHome(p *Party) {
	p.outside.Add(-1)
	g.outside.Add(-1)
}

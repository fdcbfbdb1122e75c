// SPDX-License-Identifier: Apache-2.0

package admission

import "time"

// waiter is a request that waits for a slot.
type waiter struct {
	party *Party
	class Class
	since time.Time
	// turn is sent true with a slot, or false without.
	turn chan bool
	// waits is set while it is in the queue of its party.
	waits        bool
	older, newer *waiter
}

// lane has the waiters of one class.
type lane struct{ oldest, newest *waiter }

// queue is where requests of one party wait. It exists as long as somebody does.
type queue struct {
	party *Party
	lanes [classes]lane
	// n is how many wait, and returning how many of them were let in before.
	n, returning int
	// since is when it was empty last, and standingFrom when it will have been there for too long.
	since, standingFrom time.Time
	earlier, later      *queue
}

// wasFull makes the queue a standing one once it has been there for that long.
func (q *queue) wasFull(standing time.Duration) {
	if from := q.since.Add(standing); from.Before(q.standingFrom) {
		q.standingFrom = from
	}
}

// standing tells whether the queue has not been empty for too long.
func (q *queue) standing(now time.Time) bool { return !now.Before(q.standingFrom) }

// bounded is how many wait whose number is bounded.
func (q *queue) bounded() int { return q.n - q.returning }

func (q *queue) add(w *waiter) {
	l := &q.lanes[w.class]
	w.older, w.waits = l.newest, true
	if w.older != nil {
		w.older.newer = w
	} else {
		l.oldest = w
	}
	l.newest = w
	q.count(w, 1)
}

func (q *queue) remove(w *waiter) {
	l := &q.lanes[w.class]
	if w.older != nil {
		w.older.newer = w.newer
	} else {
		l.oldest = w.newer
	}
	if w.newer != nil {
		w.newer.older = w.older
	} else {
		l.newest = w.older
	}
	w.older, w.newer, w.waits = nil, nil, false
	q.count(w, -1)
}

func (q *queue) count(w *waiter, by int) {
	q.n += by
	if w.class == returning {
		q.returning += by
	}
}

// first is the waiter to serve.
func (q *queue) first(now time.Time) *waiter {
	for c := range q.lanes {
		switch l := &q.lanes[c]; {
		case l.oldest == nil:
		case Class(c) != returning && q.standing(now):
			return l.newest
		default:
			return l.oldest
		}
	}
	return nil
}

// leastWanted is the waiter to send away if somebody has to go; nil if nobody may be.
func (q *queue) leastWanted() *waiter {
	for c := classes - 1; c > returning; c-- {
		if w := q.lanes[c].oldest; w != nil {
			return w
		}
	}
	return nil
}

// queues are those that somebody waits in, in the order in which they were served. There are at most as many as requests
// that wait.
type queues struct{ first, last *queue }

func (l *queues) add(q *queue) {
	q.earlier = l.last
	if q.earlier != nil {
		q.earlier.later = q
	} else {
		l.first = q
	}
	l.last = q
}

func (l *queues) remove(q *queue) {
	if q.earlier != nil {
		q.earlier.later = q.later
	} else {
		l.first = q.later
	}
	if q.later != nil {
		q.later.earlier = q.earlier
	} else {
		l.last = q.earlier
	}
	q.earlier, q.later = nil, nil
}

// fewest is the queue of the party with the fewest slots, of several the one that was served longest ago.
func (l *queues) fewest() *queue {
	var found *queue
	for q := l.first; q != nil; q = q.later {
		if found == nil || q.party.working.Load() < found.party.working.Load() {
			found = q
		}
	}
	return found
}

// longest is the queue in which most wait.
func (l *queues) longest() *queue {
	var found *queue
	for q := l.first; q != nil; q = q.later {
		if found == nil || q.bounded() > found.bounded() {
			found = q
		}
	}
	return found
}

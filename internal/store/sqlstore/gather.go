package sqlstore

import "sync"

// Gatherer does together what several callers ask for at once. What comes is done at
// once as long as less is under way than may be; what comes meanwhile is collected, and
// done together next. Nothing waits for company.
type Gatherer[T any] struct {
	// Run does what it is given: at least one, and at most Most. UnderWay is how many
	// calls of it there may be at a time.
	Run            func(all []T)
	Most, UnderWay int

	mu      sync.Mutex
	waiting []gathered[T]
	running int
}

// gathered is what one caller asks for; done is closed once that is done.
type gathered[T any] struct {
	one  T
	done chan struct{}
}

// Do returns when Run has done it, alone or with others.
func (g *Gatherer[T]) Do(one T) {
	done := make(chan struct{})
	g.mu.Lock()
	g.waiting = append(g.waiting, gathered[T]{one, done})
	if g.running < g.UnderWay {
		g.running++
		go g.runAll()
	}
	g.mu.Unlock()
	<-done
}

// Waiting is how many wait for what is under way to end, and how many calls of Run that
// is.
func (g *Gatherer[T]) Waiting() (waiting, underWay int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting), g.running
}

// runAll runs until nothing waits.
func (g *Gatherer[T]) runAll() {
	for {
		taken := g.take()
		if taken == nil {
			return
		}
		all := make([]T, len(taken))
		for i := range taken {
			all[i] = taken[i].one
		}
		g.Run(all)
		for i := range taken {
			close(taken[i].done)
		}
	}
}

// take returns what to do next; nil for nothing, after which the caller runs no more.
func (g *Gatherer[T]) take() []gathered[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), g.Most)
	if n == 0 {
		g.running, g.waiting = g.running-1, nil
		return nil
	}
	taken := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	return taken
}

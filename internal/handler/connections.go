// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// defaultConnections is how many connections the public listener has at once unless told otherwise: as many as requests may
// wait. With more, what an ingress sends when thousands come at once would all be read before most of it is refused, which
// takes longer than those should wait who are let in.
const defaultConnections = 1024

// connections are those of the public server. Their number is bounded, which bounds what everything else costs that a
// request can cause before it is let in. When all are taken, clients are told to leave with their answers, and connections
// go that have been idle for a while, longest first: else whoever opens connections and sends nothing keeps everybody out.
//
// Before the server stops, its clients are sent away. Without that an ingress, which keeps its connections, may be sending
// on one in the instant in which Shutdown closes it for being idle. It cannot know whether that request arrived, and does
// not repeat a POST: a launch would fail.
type connections struct {
	limit int
	begun atomic.Bool // the end has

	mu   sync.Mutex
	open map[*connection]bool
	// freed is sent to when one has been closed, if that was not said yet.
	freed chan struct{}
	waits atomic.Bool // a new one does
}

func newConnections(limit int) *connections {
	return &connections{limit: limit, open: map[*connection]bool{}, freed: make(chan struct{}, 1)}
}

// connection knows since when nothing has been asked on it.
type connection struct {
	net.Conn
	// idleSince is in nanoseconds since 1970; 0 while a request is under way.
	idleSince atomic.Int64
}

const (
	// idleEnough is how long a connection must have been idle to make room for another one: on one that is new, or was
	// just answered, the next request may be on its way.
	idleEnough = time.Second
	// lookAgain is how often such connections are looked for while a new one waits.
	lookAgain = 50 * time.Millisecond
)

// CloseWrite lets the server end an answer without a reset, as it does on any TCP connection.
func (c *connection) CloseWrite() error {
	if tcp, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// from makes a server one whose connections these are, and its clients leave once wait is called. It has to be served on
// what listen returns.
func (l *connections) from(s *http.Server) {
	next := s.Handler
	s.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if l.begun.Load() || l.waits.Load() {
			// The server closes the connection after this answer, and the client does not use it again.
			rw.Header().Set("Connection", "close")
		}
		next.ServeHTTP(rw, r)
	})
	s.ConnState = func(conn net.Conn, state http.ConnState) {
		c, ok := conn.(*connection)
		if !ok {
			return
		}
		switch state {
		case http.StateNew:
		case http.StateActive:
			c.idleSince.Store(0)
		case http.StateIdle:
			c.idleSince.Store(time.Now().UnixNano())
		case http.StateClosed, http.StateHijacked:
			l.remove(c)
		}
	}
}

func (l *connections) remove(c *connection) {
	l.mu.Lock()
	delete(l.open, c)
	l.mu.Unlock()
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// count is how many are open.
func (l *connections) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// wait returns once all clients have left, or after leaveTimeout.
func (l *connections) wait() {
	l.begun.Store(true)
	for deadline := time.Now().Add(leaveTimeout); l.count() > 0 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
}

// listen returns a listener that accepts no more connections than there may be.
func (l *connections) listen(on net.Listener) net.Listener {
	return &boundedListener{Listener: on, all: l, closed: make(chan struct{})}
}

type boundedListener struct {
	net.Listener
	all    *connections
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener. One more than there may be is accepted and waits here, while further ones wait in the
// kernel.
func (b *boundedListener) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: conn}
	for !b.all.add(c) {
		b.all.waits.Store(true)
		b.all.closeIdle()
		select {
		case <-b.all.freed:
		case <-time.After(lookAgain):
		case <-b.closed:
			_ = conn.Close()
			return nil, net.ErrClosed
		}
	}
	b.all.waits.Store(false)
	return c, nil
}

// Close implements net.Listener.
func (b *boundedListener) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

func (l *connections) add(c *connection) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.limit {
		return false
	}
	c.idleSince.Store(time.Now().UnixNano())
	l.open[c] = true
	return true
}

// closeIdle closes one in 16 connections, or as many as are idle for long enough, so that looking for them is rare. The server notices, and
// removes them.
func (l *connections) closeIdle() {
	type idle struct {
		*connection
		since int64
	}
	var found []idle
	latest := time.Now().Add(-idleEnough).UnixNano()
	l.mu.Lock()
	for c := range l.open {
		if since := c.idleSince.Load(); since != 0 && since <= latest {
			found = append(found, idle{c, since})
		}
	}
	l.mu.Unlock()
	slices.SortFunc(found, func(a, b idle) int {
		switch {
		case a.since < b.since:
			return -1
		case a.since > b.since:
			return 1
		}
		return 0
	})
	for _, c := range found[:min(len(found), l.limit/16+1)] {
		// Not one on which a request has come meanwhile.
		if c.idleSince.CompareAndSwap(c.since, 0) {
			_ = c.Close()
		}
	}
}

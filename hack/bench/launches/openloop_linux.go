// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// pollInterval is how long the loop sleeps at most: it has to notice that its context has ended.
const pollInterval = 100 * time.Millisecond

// loopConnection is one connection of an open loop.
type loopConnection struct {
	fd int
	// current is the arrival whose request is under way; nil while the connection is idle.
	current *arrival
	// unwritten is what the kernel has not taken of the request, received what there is of the answer.
	unwritten, received []byte
	connecting, closed  bool
	// ended says that the server sends no more.
	ended bool
}

// running is an open loop under way.
type running struct {
	*openLoop
	began   time.Time
	server  unix.SockaddrInet4
	poll    int
	timer   int
	all     map[int]*loopConnection
	idle    []*loopConnection
	waiting []*arrival // for a connection, the first one first
	answers *answers
	spare   [][]byte
	// err ends the loop.
	err error
}

// run sends everything and returns when all is answered, or exchangeTimeout after the last arrival was due.
func (l *openLoop) run(ctx context.Context) (err error) {
	r := &running{openLoop: l, all: map[int]*loopConnection{}, answers: newAnswers()}
	at, err := netip.ParseAddrPort(l.address)
	if err != nil {
		return err
	}
	r.server = unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	if r.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("open loop: %w", err)
	}
	defer func() { _ = unix.Close(r.poll) }()
	if r.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return fmt.Errorf("open loop: %w", err)
	}
	defer func() { _ = unix.Close(r.timer) }()
	if err := r.watch(r.timer, unix.EPOLLIN); err != nil {
		return err
	}
	defer func() {
		for _, c := range r.all {
			_ = unix.Close(c.fd)
		}
	}()
	r.began = time.Now()
	return r.send(ctx)
}

func (r *running) watch(fd int, events uint32) error {
	if err := unix.EpollCtl(r.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events | unix.EPOLLET, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("open loop: %w", err)
	}
	return nil
}

func (r *running) send(ctx context.Context) error {
	events := make([]unix.EpollEvent, 512)
	next := r.next()
	var last time.Duration
	for {
		now := time.Since(r.began)
		for ; next != nil && next.due <= now; next = r.next() {
			last = next.due
			r.waiting = append(r.waiting, next)
		}
		if err := r.sendWaiting(now); err != nil {
			return err
		}
		if next == nil && len(r.waiting) == 0 {
			if len(r.all) == r.countIdle() {
				return nil
			}
			if now > last+exchangeTimeout {
				r.abandon()
				return nil
			}
		}
		sleep := pollInterval
		if next != nil {
			sleep = min(sleep, next.due-time.Since(r.began))
		}
		n, err := r.await(events, sleep)
		if err != nil {
			return err
		}
		for _, e := range events[:n] {
			if c := r.all[int(e.Fd)]; c != nil {
				c.ended = c.ended || e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0
				r.proceed(c)
			}
		}
		if err := errors.Join(ctx.Err(), r.err); err != nil {
			return err
		}
	}
}

// await waits until something has happened, or for that long. The timer is finer than the milliseconds of epoll_wait.
func (r *running) await(events []unix.EpollEvent, sleep time.Duration) (n int, err error) {
	milliseconds := 0
	if sleep > 0 {
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(sleep))}
		if err := unix.TimerfdSettime(r.timer, 0, &spec, nil); err != nil {
			return 0, fmt.Errorf("open loop: %w", err)
		}
		milliseconds = -1
	}
	n, err = unix.EpollWait(r.poll, events, milliseconds)
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open loop: %w", err)
	}
	return n, nil
}

func (r *running) countIdle() (n int) {
	for _, c := range r.idle {
		if !c.closed {
			n++
		}
	}
	return n
}

// sendWaiting sends what is due, as far as there are connections.
func (r *running) sendWaiting(now time.Duration) error {
	for len(r.waiting) > 0 {
		c, err := r.connection()
		if err != nil {
			return err
		}
		a := r.waiting[0]
		if c == nil && now-a.due <= r.patience {
			return nil
		}
		r.waiting = r.waiting[1:]
		if c == nil {
			r.unsent(a)
			continue
		}
		r.begin(c, a)
	}
	r.waiting = nil
	return nil
}

// connection is one that is idle, the one that was used last, or a new one; nil if there can be no more.
func (r *running) connection() (*loopConnection, error) {
	for n := len(r.idle); n > 0; n = len(r.idle) {
		c := r.idle[n-1]
		r.idle = r.idle[:n-1]
		if !c.closed {
			return c, nil
		}
	}
	if len(r.all) >= r.connections {
		return nil, nil //nolint:nilnil // there is none
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open loop: %w", err)
	}
	c := &loopConnection{fd: fd, connecting: true}
	r.all[fd] = c
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return nil, fmt.Errorf("open loop: %w", err)
	}
	switch err := unix.Connect(fd, &r.server); {
	case err == nil:
		c.connecting = false
	case !errors.Is(err, unix.EINPROGRESS):
		return nil, fmt.Errorf("open loop: connect: %w", err)
	}
	return c, r.watch(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP)
}

// begin sends the request of an arrival.
func (r *running) begin(c *loopConnection, a *arrival) {
	c.current, c.unwritten = a, r.request(a)
	a.sentAt = time.Since(r.began)
	if n := len(r.spare); n > 0 {
		c.received, r.spare = r.spare[n-1], r.spare[:n-1]
	} else {
		c.received = make([]byte, 0, 16<<10)
	}
	if !c.connecting {
		r.write(c)
	}
}

func (r *running) write(c *loopConnection) {
	n, err := unix.Write(c.fd, c.unwritten)
	switch {
	case err == nil:
		c.unwritten = c.unwritten[n:]
	case !errors.Is(err, unix.EAGAIN):
		r.fail(c, err)
	}
}

// proceed does what can be done on a connection on which something has happened.
func (r *running) proceed(c *loopConnection) {
	if c.connecting {
		code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil || code != 0 {
			r.fail(c, errors.Join(err, unix.Errno(code)))
			return
		}
		c.connecting = false
	}
	if len(c.unwritten) > 0 {
		r.write(c)
	}
	switch {
	case c.closed:
	case c.current == nil:
		r.notice(c)
	default:
		r.receive(c)
	}
}

// notice reads from a connection on which nothing was asked. The server may close it, and nothing is lost.
func (r *running) notice(c *loopConnection) {
	var one [1]byte
	switch n, err := unix.Read(c.fd, one[:]); {
	case errors.Is(err, unix.EAGAIN):
	case n > 0:
		r.err = errors.New("open loop: an answer to no request")
	default:
		r.close(c)
	}
}

// receive reads until there is no more for now, or the answer is complete.
func (r *running) receive(c *loopConnection) {
	for {
		if len(c.received) == cap(c.received) {
			c.received = append(c.received, make([]byte, len(c.received))...)[:len(c.received)]
		}
		n, err := unix.Read(c.fd, c.received[len(c.received):cap(c.received)])
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			return
		case err == nil && n == 0:
			err = errors.New("connection closed")
		}
		if err != nil {
			r.fail(c, err)
			return
		}
		c.received = c.received[:len(c.received)+n]
		got, err := r.answers.read(c.received)
		switch {
		case err == nil:
			r.complete(c, &got)
		case !errors.Is(err, errIncomplete):
			r.fail(c, err)
		default:
			continue // the server may have closed already, of which nothing tells again
		}
		return
	}
}

// complete is for an answer that has been read. What the connection is for next is sent at once.
func (r *running) complete(c *loopConnection, got *answer) {
	a := c.current
	a.answeredAt = time.Since(r.began)
	goesOn := r.answered(a, got, nil)
	r.release(c)
	switch {
	case goesOn:
		r.begin(c, a)
	case c.ended:
		r.close(c)
	default:
		r.idle = append(r.idle, c)
	}
}

// release makes room for another answer.
func (r *running) release(c *loopConnection) {
	r.spare = append(r.spare, c.received[:0])
	c.current, c.received = nil, nil
}

// fail is for a request that gets no answer.
func (r *running) fail(c *loopConnection, cause error) {
	if a := c.current; a != nil {
		a.answeredAt = time.Since(r.began)
		r.answered(a, nil, cause)
		r.release(c)
	}
	r.close(c)
}

func (r *running) close(c *loopConnection) {
	c.closed = true
	delete(r.all, c.fd)
	_ = unix.Close(c.fd)
}

// abandon gives up whatever is not answered.
func (r *running) abandon() {
	for _, c := range r.all {
		if c.current != nil {
			r.answered(c.current, nil, errNoAnswer)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"time"
)

// An open loop sends each request when it is due, whatever has become of those before: people who want to launch do not wait
// for each other. One thread does all of it, with system calls of its own, as it has to offer many times what the server can do:
// most of what it costs are these, and nobody is woken up for an answer.

// arrival is one request of an open loop.
type arrival struct {
	// due is when it is to be sent, sentAt when it was, and answeredAt when its answer was there, all since the loop began.
	due, sentAt, answeredAt time.Duration
	// part is the part of the schedule that it is of, platform where it comes from.
	part, platform int
	// launches says that it brings an ID token, that of prepared, instead of being a login.
	launches bool
	prepared *prepared
	// complete is a login that goes on with a launch as soon as it is answered. login is then how long it took.
	complete bool
	login    time.Duration
	// fate is what became of it, reason more about it if it failed.
	fate   fate
	reason string
}

// fate is what became of an arrival.
type fate uint8

const (
	accepted fate = iota
	// refused is with the answer that overload is to have.
	refused
	// failed is anything else, and no answer.
	failed
	// unsent had no connection.
	unsent
)

// prepared is a launch whose login has been answered, and whose ID token is signed.
type prepared struct {
	*launch
	request []byte
}

// latency is from when the request was due.
func (a *arrival) latency() time.Duration { return a.answeredAt - a.due }

// openLoop is what sends.
type openLoop struct {
	address string
	// connections is how many it has at most. They are opened when there is none that is idle.
	connections int
	// patience is how long an arrival waits for a connection. One that waits longer is not sent at all.
	patience time.Duration
	// next is the next arrival, in the order in which they are due; nil after the last one.
	next func() *arrival
	// request is what is to be sent for an arrival, asked for when it is sent.
	request func(*arrival) []byte
	// answered is told of each answer, or why there is none. If the arrival goes on it changes it and returns true; the next
	// request follows at once on the same connection. The answer's body is valid until it returns.
	answered func(*arrival, *answer, error) (goesOn bool)
	// unsent is told of each arrival that found no connection.
	unsent func(*arrival)
}

// errNoAnswer reports that there was none within exchangeTimeout of the last request.
var errNoAnswer = errors.New("no answer")

// errIncomplete reports that more of an answer has to be read.
var errIncomplete = errors.New("incomplete")

// answers reads answers from what was received of them.
type answers struct {
	from bytes.Reader
	connection
}

func newAnswers() *answers {
	a := &answers{connection: connection{room: make([]byte, 64<<10)}}
	a.in = bufio.NewReaderSize(&a.from, 16<<10)
	return a
}

// read reads one answer; errIncomplete if that is not all of it.
func (a *answers) read(received []byte) (answer, error) {
	a.from.Reset(received)
	a.in.Reset(&a.from)
	got, err := a.answer()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return got, errIncomplete
	case err == nil && a.in.Buffered()+a.from.Len() > 0:
		return got, errors.New("more than one answer to one request")
	}
	return got, err
}

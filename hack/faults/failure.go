// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

// failure is a way in which a server of others fails for a while.
type failure int

const (
	healthy failure = iota
	unavailable
	throttled
	resets
	// lostAnswers takes what is sent, and resets the connection.
	lostAnswers
	hangs
	// delays takes what is sent some seconds after the connection was lost.
	delays
	failures
)

func (f failure) String() string {
	return [...]string{"healthy", "500", "429", "connection reset", "answer lost", "timeout", "delayed"}[f]
}

const delay = 4 * time.Second

// faulty is a server of others that can be made to fail.
type faulty struct {
	server *httptest.Server

	mu    sync.Mutex
	fails failure
}

func (s *faulty) fail(f failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = f
}

func (s *faulty) close() {
	s.server.CloseClientConnections()
	s.server.Close()
}

// failing answers with what take returns, unless the server fails.
func (s *faulty) failing(take func(r *http.Request, body []byte) (int, string)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return
		}
		s.mu.Lock()
		f := s.fails
		s.mu.Unlock()
		switch f {
		case unavailable:
			rw.WriteHeader(http.StatusInternalServerError)
		case throttled:
			rw.Header().Set("Retry-After", "1")
			rw.WriteHeader(http.StatusTooManyRequests)
		case resets:
			panic(http.ErrAbortHandler)
		case lostAnswers:
			take(r, body)
			panic(http.ErrAbortHandler)
		case delays:
			time.AfterFunc(delay, func() { take(r, body) })
			panic(http.ErrAbortHandler)
		case hangs:
			select {
			case <-r.Context().Done():
			case <-time.After(15 * time.Second):
			}
			panic(http.ErrAbortHandler)
		default:
			status, text := take(r, body)
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, text)
		}
	}
}

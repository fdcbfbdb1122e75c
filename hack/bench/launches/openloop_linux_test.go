// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// sends runs an open loop of n arrivals, a millisecond apart, against a handler, and returns what became of them.
func sends(t *testing.T, n, connections int, handle http.HandlerFunc, answered func(*arrival, *answer, error) bool) (unsentOnes int) {
	t.Helper()
	server := httptest.NewServer(handle)
	defer server.Close()
	i := 0
	loop := &openLoop{
		address: server.Listener.Addr().String(), connections: connections, patience: 5 * time.Millisecond,
		next: func() *arrival {
			if i == n {
				return nil
			}
			i++
			return &arrival{due: time.Duration(i) * time.Millisecond}
		},
		request: func(a *arrival) []byte {
			if a.launches {
				return request(http.MethodPost, "/launch", "", nil, strings.Repeat("x", 100_000))
			}
			return request(http.MethodGet, "/login", "", nil, "")
		},
		answered: answered,
		unsent:   func(*arrival) { unsentOnes++ },
	}
	if err := loop.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return unsentOnes
}

func TestOpenLoopGoesOnWithALaunch(t *testing.T) {
	const n = 50
	handle := func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			rw.Header().Set("Location", "/launch")
			rw.WriteHeader(http.StatusSeeOther)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) != 100_000 {
			t.Errorf("a body of %d bytes arrived: %v", len(body), err)
		}
		// Without a length, and in more than one piece.
		rw.Header().Set("Retry-After", "3")
		rw.WriteHeader(http.StatusServiceUnavailable)
		for range 4 {
			_, _ = io.WriteString(rw, strings.Repeat("y", 10_000))
			_ = http.NewResponseController(rw).Flush()
		}
	}
	logins, launches := 0, 0
	unsentOnes := sends(t, n, 100, handle, func(a *arrival, got *answer, err error) bool {
		switch {
		case err != nil:
			t.Error(err)
		case !a.launches && got.status == http.StatusSeeOther && got.location == "/launch":
			logins++
			a.launches = true
			return true
		case a.launches && got.status == http.StatusServiceUnavailable && got.retryAfter == "3" && len(got.body) == 40_000:
			launches++
		default:
			t.Errorf("answered with %d, %d bytes", got.status, len(got.body))
		}
		if a.due > a.sentAt || a.sentAt > a.answeredAt {
			t.Errorf("due after %s, sent after %s, answered after %s", a.due, a.sentAt, a.answeredAt)
		}
		return false
	})
	if logins != n || launches != n || unsentOnes != 0 {
		t.Errorf("%d logins and %d launches were answered, and %d not sent; all %d should be", logins, launches, unsentOnes, n)
	}
}

func TestOpenLoopDoesNotWaitForConnections(t *testing.T) {
	const n, connections = 100, 3
	handle := func(rw http.ResponseWriter, _ *http.Request) {
		time.Sleep(time.Second)
		rw.WriteHeader(http.StatusNoContent)
	}
	answers := 0
	unsentOnes := sends(t, n, connections, handle, func(_ *arrival, _ *answer, err error) bool {
		// It has no length, which none of those that are measured leaves out.
		if err == nil {
			t.Error("an answer without a length was understood")
		}
		answers++
		return false
	})
	if answers != connections || unsentOnes != n-connections {
		t.Errorf("%d were answered and %d not sent, with %d connections", answers, unsentOnes, connections)
	}
}

func TestOpenLoopTellsOfLostAnswers(t *testing.T) {
	handle := func(rw http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		_ = conn.Close()
	}
	lost := 0
	sends(t, 20, 10, handle, func(_ *arrival, got *answer, err error) bool {
		if err == nil {
			t.Errorf("half an answer was taken for one: %v %v", got, err)
		}
		lost++
		return false
	})
	if lost != 20 {
		t.Errorf("%d of 20 arrivals were told of", lost)
	}
}

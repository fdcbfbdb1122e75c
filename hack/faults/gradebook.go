// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/outcomes"
)

// failure is a way in which a gradebook fails for a while.
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

// gradebook is another system's. Scores of Assignment and Grade Services are compared by whole seconds, as Moodle does, or
// exactly, as Canvas does; messages of Basic Outcomes have no time, and the last one to arrive counts.
type gradebook struct {
	name    string
	seconds bool
	server  *httptest.Server

	mu     sync.Mutex
	fails  failure
	marks  map[string]mark
	counts counts
}

type mark struct {
	points string
	at     time.Time
}

type counts struct{ messages, taken, repeated, stale int }

func newGradebook(name string, seconds bool) *gradebook {
	g := &gradebook{name: name, seconds: seconds, marks: map[string]mark{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", g.failing(func(body []byte) (int, string) {
		return http.StatusOK, `{"access_token":"` + rand.Text() + `","token_type":"Bearer","expires_in":3600}`
	}))
	mux.HandleFunc("POST /items/{course}/scores", func(rw http.ResponseWriter, r *http.Request) {
		g.failing(func(body []byte) (int, string) { return g.score(r.PathValue("course"), body) })(rw, r)
	})
	mux.HandleFunc("POST /outcomes", g.failing(g.outcome))
	g.server = httptest.NewServer(mux)
	return g
}

func (g *gradebook) fail(f failure) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fails = f
}

// failing answers with what take returns, unless the gradebook fails.
func (g *gradebook) failing(take func(body []byte) (int, string)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return
		}
		g.mu.Lock()
		f := g.fails
		g.mu.Unlock()
		switch f {
		case unavailable:
			rw.WriteHeader(http.StatusInternalServerError)
		case throttled:
			rw.Header().Set("Retry-After", "1")
			rw.WriteHeader(http.StatusTooManyRequests)
		case resets:
			panic(http.ErrAbortHandler)
		case lostAnswers:
			take(body)
			panic(http.ErrAbortHandler)
		case delays:
			time.AfterFunc(delay, func() { take(body) })
			panic(http.ErrAbortHandler)
		case hangs:
			select {
			case <-r.Context().Done():
			case <-time.After(15 * time.Second):
			}
			panic(http.ErrAbortHandler)
		default:
			status, text := take(body)
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, text)
		}
	}
}

func (g *gradebook) score(course string, body []byte) (int, string) {
	var s struct {
		UserID     string      `json:"userId"`
		Timestamp  time.Time   `json:"timestamp"`
		ScoreGiven json.Number `json:"scoreGiven"`
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return http.StatusBadRequest, ""
	}
	if g.seconds {
		s.Timestamp = s.Timestamp.Truncate(time.Second)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.counts.messages++
	key := course + " " + s.UserID
	before := g.marks[key]
	if before.points == s.ScoreGiven.String() {
		g.counts.repeated++
	}
	if !s.Timestamp.After(before.at) {
		g.counts.stale++
		return http.StatusConflict, `{"reason":"there is a score of the same or a later time"}`
	}
	g.counts.taken++
	g.marks[key] = mark{points: s.ScoreGiven.String(), at: s.Timestamp}
	return http.StatusOK, ""
}

func (g *gradebook) outcome(body []byte) (int, string) {
	request, err := outcomes.ParseRequest(body)
	if err != nil || request.Score == nil {
		return http.StatusBadRequest, ""
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.counts.messages++
	points := strings.TrimSuffix(request.Score.String(), ".0")
	if g.marks[request.SourcedID].points == points {
		g.counts.repeated++
	}
	g.counts.taken++
	g.marks[request.SourcedID] = mark{points: points}
	answer, err := request.Answer(rand.Text(), outcomes.Success, "").Encode()
	if err != nil {
		return http.StatusInternalServerError, ""
	}
	return http.StatusOK, string(answer)
}

func (g *gradebook) mark(key string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.marks[key].points
}

// verdict is what the gradebooks hold in the end.
type verdict struct {
	grades, missing, wrong, backwards int
	counts
}

func (v verdict) String() string {
	return fmt.Sprintf("%d grades: %d lost, %d wrong, %d behind the newest acknowledged report; %d messages, %d taken, %d repeated, %d refused as not newer",
		v.grades, v.missing, v.wrong, v.backwards, v.messages, v.taken, v.repeated, v.stale)
}

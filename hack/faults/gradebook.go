// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/outcomes"
)

// gradebook is another system's. Scores of Assignment and Grade Services are compared by whole seconds, as Moodle does, or
// exactly, as Canvas does; messages of Basic Outcomes have no time, and the last one to arrive counts.
type gradebook struct {
	faulty

	name    string
	seconds bool
	// mu of faulty guards these too.
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
	mux.HandleFunc("POST /token", g.failing(func(*http.Request, []byte) (int, string) {
		return http.StatusOK, `{"access_token":"` + rand.Text() + `","token_type":"Bearer","expires_in":3600}`
	}))
	mux.HandleFunc("POST /items/{course}/scores", g.failing(func(r *http.Request, body []byte) (int, string) {
		return g.score(r.PathValue("course"), body)
	}))
	mux.HandleFunc("POST /outcomes", g.failing(func(_ *http.Request, body []byte) (int, string) { return g.outcome(body) }))
	g.server = httptest.NewServer(mux)
	return g
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

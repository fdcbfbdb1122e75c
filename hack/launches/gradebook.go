// SPDX-License-Identifier: Apache-2.0

package launches

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/outcomes"
)

// Gradebook keeps grades as another learning system does. Scores of Assignment and Grade Services count when they are newer
// than what is there; messages of Basic Outcomes have no time, and the last one to arrive counts.
type Gradebook struct {
	// WholeSeconds compares times by whole seconds, as Moodle does, instead of exactly, as Canvas does.
	WholeSeconds bool

	mu      sync.Mutex
	marks   map[string]mark
	counts  GradeCounts
	takenAt time.Time
}

type mark struct {
	points string
	at     time.Time
}

// GradeCounts counts the messages that a gradebook got: Taken and Stale, which is not newer than what is there, and among
// both the Repeated, which say what is there.
type GradeCounts struct{ Messages, Taken, Repeated, Stale int }

// Score takes a score (Assignment and Grade Services 2.0 section 3.4) for a line item, and returns status and body of the
// answer.
func (g *Gradebook) Score(lineItem string, body []byte) (status int, answer string) {
	var s struct {
		UserID     string      `json:"userId"`
		Timestamp  time.Time   `json:"timestamp"`
		ScoreGiven json.Number `json:"scoreGiven"`
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return http.StatusBadRequest, ""
	}
	if g.WholeSeconds {
		s.Timestamp = s.Timestamp.Truncate(time.Second)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	key := lineItem + " " + s.UserID
	g.count(key, s.ScoreGiven.String())
	if !s.Timestamp.After(g.marks[key].at) {
		g.counts.Stale++
		return http.StatusConflict, `{"reason":"there is a score of the same or a later time"}`
	}
	g.take(key, mark{points: s.ScoreGiven.String(), at: s.Timestamp})
	return http.StatusOK, ""
}

// Outcome takes a message of Basic Outcomes (LTI 1.1 section 6) that replaces a result, and returns status and body of the
// answer.
func (g *Gradebook) Outcome(body []byte) (status int, answer string) {
	request, err := outcomes.ParseRequest(body)
	if err != nil || request.Score == nil {
		return http.StatusBadRequest, ""
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	points := strings.TrimSuffix(request.Score.String(), ".0")
	g.count(request.SourcedID, points)
	g.take(request.SourcedID, mark{points: points})
	encoded, err := request.Answer(rand.Text(), outcomes.Success, "").Encode()
	if err != nil {
		return http.StatusInternalServerError, ""
	}
	return http.StatusOK, string(encoded)
}

func (g *Gradebook) count(key, points string) {
	g.counts.Messages++
	if g.marks[key].points == points {
		g.counts.Repeated++
	}
}

func (g *Gradebook) take(key string, m mark) {
	if g.marks == nil {
		g.marks = map[string]mark{}
	}
	g.counts.Taken++
	g.marks[key], g.takenAt = m, time.Now()
}

// Mark is what the gradebook has, in points: of a score by line item and user with a space between, else by the sourced ID.
// It is empty when there is none.
func (g *Gradebook) Mark(key string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.marks[key].points
}

// Counts are those since the beginning, and when the latest message was taken.
func (g *Gradebook) Counts() (counts GradeCounts, takenAt time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.counts, g.takenAt
}

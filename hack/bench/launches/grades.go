// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	platforms "github.com/lti-operator/lti-operator/hack/launches"
	"github.com/lti-operator/lti-operator/hack/table"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// stepReport is the academy's report about a learner.
const stepReport = "report"

const (
	// gradesTimeout ends the run when the gradebook does not get everything.
	gradesTimeout = 2 * time.Minute
	// betweenGrades is longer than a second: a newer score has to carry a time that is that much later.
	betweenGrades = 1500 * time.Millisecond
)

// Synchronisation is what was measured of grades on their way from the academy to another system's gradebook.
type Synchronisation struct {
	Learners    int           `json:"learners"`
	Concurrency int           `json:"concurrency"`
	Rounds      []*GradeRound `json:"rounds"`
	PeakMemory  int64         `json:"peakMemory"`
}

// GradeRound is one report about every learner, until the gradebook has them all.
type GradeRound struct {
	// Reports is the time in which the academy reports. What of the server's work is for messages that leave meanwhile is part
	// of it.
	Reports *Phase `json:"reports"`
	// Messages is how many the gradebook got; one for each learner is enough.
	Messages int `json:"messages"`
	// Seconds are those from the first report until the gradebook has every grade, Behind those from the last report on.
	Seconds float64 `json:"seconds"`
	Behind  float64 `json:"behind"`
	// ServerCPU, DatabaseCPU and DriverCPU are microseconds per grade, for report and message together. The gradebook is the
	// driver's.
	ServerCPU   float64 `json:"serverCPU"`
	DatabaseCPU float64 `json:"databaseCPU"`
	DriverCPU   float64 `json:"driverCPU"`
}

// gradeSynchronisation measures how the academy's reports get into the gradebook of a platform over LTI 1.3: stored, answered
// and sent.
func gradeSynchronisation(ctx context.Context, b *bench) (outcome, error) {
	book := &platforms.Gradebook{WholeSeconds: true}
	l, err := listen()
	if err != nil {
		return nil, err
	}
	server := serve(l, gradebookOf(book))
	defer server.close()
	t, err := b.table()
	if err != nil {
		return nil, err
	}
	t.Academy.AllowPrivateCIDRs = []string{"127.0.0.0/8"}
	t.Platforms[0].LTI13.AccessTokenURL = server.url + "/token"
	if err := table.Write(b.file("config"), t); err != nil {
		return nil, err
	}
	s := b.newOurs(ours, b.platform)
	s.gradebook = server.url
	if err := b.startHandler(ctx, s, false); err != nil {
		return nil, err
	}
	b.say("everybody launches")
	launches := b.people(b.flags.Learners, false)
	if _, err := b.pass(ctx, s, launches, 0, ""); err != nil {
		return nil, err
	}
	for _, l := range launches {
		var arrived platforms.Claims
		if err := json.Unmarshal(l.answer.body, &arrived); err != nil {
			return nil, err
		}
		l.subject = arrived.Subject
	}
	found := &Synchronisation{Learners: b.flags.Learners, Concurrency: b.flags.Concurrency}
	for n := range b.flags.Rounds + 1 {
		r, err := b.gradeRound(ctx, s, launches, book, n)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			found.Rounds = append(found.Rounds, r)
			b.say("round %d: %.0f reports/s, %.0f grades/s until the gradebook has all, %.0f ms after the last report; %.0f µs of the server for a grade",
				n, r.Reports.PerSecond, float64(len(launches))/r.Seconds, 1000*r.Behind, r.ServerCPU)
		}
	}
	found.PeakMemory, err = s.process.PeakMemory()
	return found, err
}

// gradebookOf is the platform's services, at addresses like Moodle's.
func gradebookOf(book *platforms.Gradebook) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"access_token":"`+rand.Text()+`","token_type":"Bearer","expires_in":3600}`)
	})
	mux.HandleFunc("POST /{course}/lineitems/4/lineitem/scores", func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the launch handler has hung up
		}
		status, answer := book.Score(r.PathValue("course"), body)
		rw.WriteHeader(status)
		_, _ = io.WriteString(rw, answer)
	})
	return mux
}

// gradeRound reports once about every learner, and waits for the gradebook. All points differ from those of the round before;
// round 0 is not measured.
func (b *bench) gradeRound(ctx context.Context, s *subject, launches []*launch, book *platforms.Gradebook, n int) (*GradeRound, error) {
	if err := measure.Sleep(ctx, betweenGrades); err != nil {
		return nil, err
	}
	points := func(i int) int { return (i + 37*n) % 101 }
	s.steps = []step{{name: stepReport}}
	requests := make([][]byte, len(launches))
	at := time.Now().UTC().Format(time.RFC3339Nano)
	for i, l := range launches {
		l.latency = make([]float64, len(s.steps))
		body := fmt.Sprintf(`{"sub":%q,"activity":%q,"at":%q,"completed":true,"score":{"given":%d,"maximum":100}}`, l.subject, activityName, at, points(i))
		requests[i] = request(http.MethodPost, routing.PathProgress,
			b.backEndFields()+"Content-Type: application/json\r\nIdempotency-Key: "+rand.Text()+"\r\n", nil, body)
	}
	round := ""
	if n > 0 {
		round = strconv.Itoa(n)
	}
	if err := b.beginProfile(s, round); err != nil {
		return nil, err
	}
	counted, _ := book.Counts()
	before, err := b.usageBefore(s)
	if err != nil {
		return nil, err
	}
	reports, err := b.send(ctx, s, 0, requests, launches, 0)
	if err != nil {
		return nil, err
	}
	reported := time.Now()
	for i, l := range launches {
		if l.answer.status != http.StatusOK {
			return nil, fmt.Errorf("report %d of %d: %w", i+1, len(launches), unexpected(l, "that it is stored"))
		}
	}
	err = measure.Until(ctx, gradesTimeout, 10*time.Millisecond, func() error {
		for i, l := range launches {
			if book.Mark(strconv.Itoa(l.who.course+2)+" "+l.who.id) != strconv.Itoa(points(i)) {
				return errors.New("the gradebook does not have every grade")
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	after, err := b.usageAfter(s)
	if err != nil {
		return nil, err
	}
	if err := b.keepProfile(ctx, s, stepReport, round); err != nil {
		return nil, err
	}
	counts, last := book.Counts()
	each := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / float64(len(launches)) }
	behind := max(0, last.Sub(reported).Seconds())
	return &GradeRound{
		Reports: reports, Messages: counts.Messages - counted.Messages, Seconds: reports.Seconds + behind, Behind: behind,
		ServerCPU: each(after.server - before.server), DatabaseCPU: each(after.database - before.database), DriverCPU: each(after.driver - before.driver),
	}, nil
}

func (f *Synchronisation) figure(of func(*GradeRound) float64) (v values) {
	for _, r := range f.Rounds {
		v = append(v, of(r))
	}
	return v
}

// write prints the table.
func (f *Synchronisation) write(out io.Writer) error {
	fmt.Fprintf(out, "Grades from the academy to the gradebook of one platform. %d rounds, each with one report about each of %d learners; %d connections.\n\n",
		len(f.Rounds), f.Learners, f.Concurrency)
	learners := float64(f.Learners)
	latency, discarded := values{}, 0
	for _, r := range f.Rounds {
		if r.Reports.Saturated {
			discarded++
		} else {
			latency = append(latency, r.Reports.Latency.P99)
		}
	}
	p99 := latency.String()
	if discarded > 0 {
		p99 += fmt.Sprintf(" %d discarded", discarded)
	}
	cells := [][]string{{"median (min–max) over rounds", ours}}
	for _, line := range []struct {
		what string
		of   func(*GradeRound) float64
	}{
		{"reports acknowledged per second", func(r *GradeRound) float64 { return r.Reports.PerSecond }},
		{"messages per second, from the first report to the last grade", func(r *GradeRound) float64 { return float64(r.Messages) / r.Seconds }},
		{"grades per second, from the first report to the last grade", func(r *GradeRound) float64 { return learners / r.Seconds }},
		{"messages per grade", func(r *GradeRound) float64 { return float64(r.Messages) / learners }},
		{"last report until the gradebook has all, ms", func(r *GradeRound) float64 { return 1000 * r.Behind }},
		{"server CPU per grade, µs", func(r *GradeRound) float64 { return r.ServerCPU }},
		{"PostgreSQL CPU per grade, µs", func(r *GradeRound) float64 { return r.DatabaseCPU }},
		{"driver and gradebook CPU per grade, µs", func(r *GradeRound) float64 { return r.DriverCPU }},
		{"while reports come: server's core idle, %", func(r *GradeRound) float64 { return 100 * r.Reports.ServerIdle }},
		{"while reports come: driver's core idle, %", func(r *GradeRound) float64 { return 100 * r.Reports.DriverIdle }},
	} {
		cells = append(cells, []string{line.what, f.figure(line.of).String()})
	}
	cells = append(cells, []string{"report: p99, ms", p99}, []string{"memory at most, MiB", measure.Number(float64(f.PeakMemory) / measure.MiB)})
	return measure.WriteTable(out, "lr", cells)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/lti/outcomes"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// result is a learner in an activity of others. Reports of it are numbered from 1. Each changes what the one before said, so
// that version n of the result is what report n made of it.
type result struct {
	*external
	subject string
	// receives is what a report is about: the learner as the tool knows them, or the sourced ID over LTI 1.2.
	receives string

	mu sync.Mutex
	// sent is the newest report that a handler may have got, acknowledged the newest that was answered with success.
	sent, acknowledged int
	// id and received are those of the newest event that the academy has got.
	id       string
	received int
}

// message is what a report says.
type message struct {
	Operation, ActivityProgress, GradingProgress string
	// Score is as score writes it; empty for none.
	Score string
	// At is the timestamp in milliseconds since 1970; 0 for none.
	At int64
}

// standing is how a result stands after a report, as the academy sees it.
type standing struct {
	message
	Status       string
	MinimumScore int
}

// pointsOf makes them differ from report to report; a score of 0 is a score.
func pointsOf(n int) int64 { return int64(n * 377 % maximum) }

// score writes a score. The most there is is 1 over LTI 1.2.
func (e *external) score(n int) string {
	points := decimal.FromInt(pointsOf(n))
	if !e.form {
		return points.String() + "/" + decimal.FromInt(maximum).String()
	}
	fraction, _ := outcomes.Fraction(points, decimal.FromInt(maximum))
	return fraction.String() + "/1"
}

// message returns what report n says: of three in a row one leaves it open, one decides, and one takes that back. Over LTI
// 1.2 two decide, and one takes it back.
func (e *external) message(n int) message {
	switch m := (message{Operation: "score", At: reportedAt(n).UnixMilli()}); {
	case e.form && n%3 == 0:
		return message{Operation: "deleteResult"}
	case e.form:
		return message{Operation: "replaceResult", Score: e.score(n)}
	case n%3 == 0:
		m.ActivityProgress, m.GradingProgress = "InProgress", "FullyGraded"
		return m
	case n%3 == 2:
		m.ActivityProgress, m.GradingProgress, m.Score = "Completed", "FullyGraded", e.score(n)
		return m
	case e.exam:
		m.ActivityProgress, m.GradingProgress, m.Score = "Submitted", "PendingManual", e.score(n)
		return m
	default:
		m.ActivityProgress, m.GradingProgress = "InProgress", "NotReady"
		return m
	}
}

// standing returns what report n decides, as docs/results.md has it.
func (e *external) standing(n int) standing {
	s := standing{message: e.message(n)}
	s.Operation = ""
	switch decides := n%3 == 2 || e.form; {
	case n%3 == 0:
		s.Status = "Withdrawn"
	case !decides && e.exam:
		// Its score does not count yet.
		s.Status, s.Score = "AwaitingGrading", ""
	case !decides:
		s.Status = "InProgress"
	case !e.exam:
		s.Status = "Completed"
	case pointsOf(n)*100 >= minimumScore*maximum:
		s.Status, s.MinimumScore = "Passed", minimumScore
	default:
		s.Status, s.MinimumScore = "Failed", minimumScore
	}
	return s
}

// tool reports. It asks for a new access token now and then, and whenever the one it has is refused.
type tool struct {
	w      *world
	random *mathrand.Rand
	token  string
	// uses is how often the token was used.
	uses int
}

func (w *world) newTool(seed, stream uint64) *tool {
	return &tool{w: w, random: mathrand.New(mathrand.NewPCG(seed, stream))}
}

// handler is any of them.
func (t *tool) handler() *process { return t.w.handlers[t.random.IntN(len(t.w.handlers))] }

// report reports about learners at random, until the context ends: now and then one report right after the other, so that there
// is a new version while the academy is told of the one before.
func (t *tool) report(ctx context.Context, results []*result) {
	for ctx.Err() == nil {
		r := results[t.random.IntN(len(results))]
		for range 1 + t.random.IntN(4) {
			// What is not acknowledged before the context ends is sent once more by the end.
			if t.reportUntilTaken(ctx, r, r.acknowledged+1) != nil {
				return
			}
		}
		_ = pause(ctx, time.Duration(t.random.IntN(150))*time.Millisecond)
	}
}

// reportUntilTaken sends report number n, with one timestamp, until a handler acknowledges it. Over LTI 1.3 the tool hangs up
// early now and then, and what was taken comes again, as does an older report.
func (t *tool) reportUntilTaken(ctx context.Context, r *result, n int) error {
	r.mu.Lock()
	r.sent = n
	r.mu.Unlock()
	if !r.form && t.random.IntN(8) == 0 {
		impatient, cancel := context.WithTimeout(ctx, time.Duration(t.random.IntN(10_000))*time.Microsecond)
		_ = t.send(impatient, r, n)
		cancel()
	}
	for t.send(ctx, r, n) != nil {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	r.mu.Lock()
	r.acknowledged = n
	r.mu.Unlock()
	if !r.form && t.random.IntN(4) == 0 {
		if t.random.IntN(2) == 0 {
			_ = t.send(ctx, r, n)
		} else if n > 1 && t.send(ctx, r, n-1) == nil {
			t.w.receiver.complain("%s of %s: report %d is taken after a newer one", r.name, r.subject, n-1)
		}
	}
	return nil
}

// send sends report n once. Nil says that it was acknowledged.
func (t *tool) send(ctx context.Context, r *result, n int) error {
	m := r.message(n)
	if r.form {
		client := outcomes.Client{
			Doer: sender{t.w, t.handler()}, Credentials: oauth1.Credentials{ConsumerKey: partnerKey, SharedSecret: t.w.shared},
			Now: time.Now, Random: rand.Reader,
		}
		address := routing.ActivityOutcomesURL(academyURL, r.name)
		if m.Score == "" {
			return client.Delete(ctx, address, r.receives)
		}
		fraction, _ := outcomes.Fraction(decimal.FromInt(pointsOf(n)), decimal.FromInt(maximum))
		return client.Replace(ctx, address, r.receives, fraction, outcomes.Data{})
	}
	if t.uses++; t.token == "" || t.uses > 50 {
		if err := t.authenticate(ctx); err != nil {
			return err
		}
	}
	body := fmt.Sprintf(`{"userId":%q,"timestamp":%q,"activityProgress":%q,"gradingProgress":%q`,
		r.receives, reportedAt(n).Format(time.RFC3339Nano), m.ActivityProgress, m.GradingProgress)
	if m.Score != "" {
		body += fmt.Sprintf(`,"scoreGiven":%d,"scoreMaximum":%d`, pointsOf(n), maximum)
	}
	path := strings.TrimPrefix(routing.ToolLineItemURL(academyURL, toolName, r.name, store.ActivityLineItem), academyURL) + "/scores"
	a, err := t.w.do(ctx, t.w.client, t.handler(), http.MethodPost, path, ags.MediaScore, strings.NewReader(body+"}"),
		func(q *http.Request) { q.Header.Set("Authorization", "Bearer "+t.token) })
	switch {
	case err != nil:
		return err
	case a.status == http.StatusUnauthorized:
		t.token = ""
	}
	return succeeded(a)
}

func succeeded(a answer) error {
	if a.status != http.StatusOK {
		return fmt.Errorf("status %d", a.status)
	}
	return nil
}

// authenticate gets an access token. Handlers' clocks are wrong by up to clockStep, and tolerate less.
func (t *tool) authenticate(ctx context.Context) error {
	now := time.Now()
	assertion, err := t.w.sign(map[string]any{
		"iss": toolName, "sub": toolName, "aud": routing.ToolTokenURL(academyURL, toolName), "jti": rand.Text(),
		"iat": now.Add(-clockStep).Unix(), "exp": now.Add(2 * clockStep).Unix(),
	})
	if err != nil {
		return err
	}
	a, err := t.w.do(ctx, t.w.client, t.handler(), http.MethodPost, "/tools/"+toolName+"/token", form, strings.NewReader(url.Values{
		"grant_type": {"client_credentials"}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion": {assertion}, "scope": {ags.ScopeScore},
	}.Encode()), nil)
	if err != nil {
		return err
	}
	var got struct {
		AccessToken string `json:"access_token"`
	}
	if err := errors.Join(succeeded(a), json.Unmarshal(a.body, &got)); err != nil {
		return err
	}
	t.token, t.uses = got.AccessToken, 0
	return nil
}

// sender sends what is for the academy to one handler.
type sender struct {
	w *world
	p *process
}

// Do implements service.Doer.
func (s sender) Do(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host, r.URL.Scheme, r.URL.Host = r.URL.Host, "http", s.p.address
	return s.w.client.Do(r)
}

// failReceiver makes the academy's webhook fail, one way after the other, until the context ends.
func (w *world) failReceiver(ctx context.Context, random *mathrand.Rand) tally {
	done := tally{}
	for pause(ctx, time.Duration(random.IntN(2500))*time.Millisecond) == nil {
		f := failure(1 + random.IntN(int(failures)-1))
		done[f.String()]++
		w.receiver.fail(f)
		_ = pause(ctx, time.Duration(300+random.IntN(1500))*time.Millisecond)
		w.receiver.fail(healthy)
	}
	return done
}

// settleResults waits until the academy has the newest version of every result.
func (w *world) settleResults(ctx context.Context, results []*result, patience time.Duration) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if missing(results) == 0 || pause(ctx, 200*time.Millisecond) != nil {
			return
		}
	}
}

// missing is how many results the academy does not have as the newest acknowledged report left them.
func missing(results []*result) (n int) {
	for _, r := range results {
		r.mu.Lock()
		if r.received != r.acknowledged {
			n++
		}
		r.mu.Unlock()
	}
	return n
}

// audit asks a handler for every result, and complains of one that is not what the acknowledged reports made it, or whose
// history is not exactly those.
func (w *world) audit(ctx context.Context, results []*result) {
	for _, r := range results {
		if r.received == 0 {
			continue
		}
		a, err := w.do(ctx, w.client, w.handlers[0], http.MethodGet, routing.PathResults+"/"+r.id, "", nil,
			func(q *http.Request) { q.SetBasicAuth(clientID, w.secret) })
		var got struct {
			view
			History []view
		}
		if err := errors.Join(err, succeeded(a), json.Unmarshal(a.body, &got)); err != nil {
			w.receiver.complain("%s of %s: %v", r.name, r.subject, err)
			continue
		}
		if err := r.check(&got.view, r.acknowledged); err != nil {
			w.receiver.complain("asked: %v", err)
		}
		if want := min(r.acknowledged, store.MaxHistory); len(got.History) != want {
			w.receiver.complain("%s of %s: the history has %d messages of %d", r.name, r.subject, len(got.History), want)
			continue
		}
		for i := range got.History {
			n := r.acknowledged - i
			said, want := got.History[i].standing(), r.standing(n)
			if want.message = r.message(n); said.message != want.message || said.Status != want.Status {
				w.receiver.complain("%s of %s: message %d is %+v instead of %+v", r.name, r.subject, n, said, want)
			}
		}
	}
}

// resultsVerdict is what the academy holds in the end.
type resultsVerdict struct {
	reports, results, lost, wrong int
	counts
}

func (w *world) judgeResults(results []*result) resultsVerdict {
	v := resultsVerdict{results: len(results), lost: missing(results)}
	for _, r := range results {
		v.reports += r.acknowledged
	}
	w.receiver.mu.Lock()
	defer w.receiver.mu.Unlock()
	v.wrong, v.counts = w.receiver.wrong, w.receiver.counts
	return v
}

func (v resultsVerdict) String() string {
	return fmt.Sprintf("%d reports of %d: %d lost, %d wrong; %d events, %d taken, %d repeated, %d older than one before",
		v.reports, v.results, v.lost, v.wrong, v.messages, v.taken, v.repeated, v.stale)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/decimal"
)

// receiver is the academy's side of the webhook. It compares versions, as docs/results.md says, and complains of every event
// that says something else than the report of its version.
type receiver struct {
	faulty

	// secret is whsec_ and the base64 of key.
	secret string
	key    []byte
	// mu of faulty guards the rest. results are known by activity and subject, bodies by the ID of the event.
	results map[string]*result
	bodies  map[string]string
	counts  counts
	wrong   int
}

func newReceiver() *receiver {
	v := &receiver{key: []byte(rand.Text() + rand.Text()), results: map[string]*result{}, bodies: map[string]string{}}
	v.secret = "whsec_" + base64.StdEncoding.EncodeToString(v.key)
	v.server = httptest.NewServer(v.failing(v.take))
	return v
}

// expects makes a result known.
func (v *receiver) expects(r *result) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.results[r.name+"/"+r.subject] = r
}

// complaints is how many are printed; all are counted.
const complaints = 20

func (v *receiver) complain(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.wrong++; v.wrong <= complaints {
		fmt.Printf("wrong: "+format+"\n", args...)
	}
}

func (v *receiver) take(q *http.Request, body []byte) (int, string) {
	v.mu.Lock()
	v.counts.messages++
	v.mu.Unlock()
	if err := v.receive(q, body); err != nil {
		v.complain("%v", err)
		return http.StatusBadRequest, ""
	}
	return http.StatusNoContent, ""
}

// receive takes an event, unless there is something wrong with it.
func (v *receiver) receive(q *http.Request, body []byte) error {
	id := q.Header.Get("Webhook-Id")
	if err := v.verify(q, id, body); err != nil {
		return err
	}
	var event struct {
		ID, Source, Subject string
		Data                view
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return err
	}
	said := &event.Data
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.results[event.Subject]
	switch {
	case r == nil || event.Subject != said.Activity+"/"+said.Subject || event.Source != academyURL:
		return fmt.Errorf("nobody knows %s of %s", event.Subject, event.Source)
	case event.ID != id || id != said.ID+"."+strconv.Itoa(said.Version):
		return fmt.Errorf("event %s with version %d has ID %s", event.ID, said.Version, id)
	}
	before, repeated := v.bodies[id]
	if repeated && before != string(body) {
		return fmt.Errorf("event %s is %s and was %s", id, body, before)
	}
	v.bodies[id] = string(body)
	r.mu.Lock()
	defer r.mu.Unlock()
	if said.Version < 1 || said.Version > r.sent || r.id != "" && r.id != said.ID {
		return fmt.Errorf("%s: version %d of %s after %d reports about %s", event.Subject, said.Version, said.ID, r.sent, r.id)
	}
	if err := r.check(said, said.Version); err != nil {
		return err
	}
	r.id = said.ID
	switch {
	case repeated:
		v.counts.repeated++
	case said.Version <= r.received:
		v.counts.stale++
	default:
		v.counts.taken++
		r.received = said.Version
	}
	return nil
}

// verify checks the signature as Standard Webhooks says.
func (v *receiver) verify(q *http.Request, id string, body []byte) error {
	timestamp := q.Header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return fmt.Errorf("event %s is of %q", id, timestamp)
	}
	mac := hmac.New(sha256.New, v.key)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	for signature := range strings.FieldsSeq(q.Header.Get("Webhook-Signature")) {
		if hmac.Equal([]byte(signature), []byte("v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))) {
			return nil
		}
	}
	return errors.New("event " + id + " is not signed")
}

// view is a result in an event, or as it is asked for, or a message of its history.
type view struct {
	ID, Activity, Subject, Operation, Status, ActivityProgress, GradingProgress string

	Score                 *struct{ Given, Maximum decimal.Decimal }
	MinimumScore, Version int
	Timestamp             time.Time
}

func (x *view) standing() standing {
	s := standing{Status: x.Status, MinimumScore: x.MinimumScore, message: message{
		Operation: x.Operation, ActivityProgress: x.ActivityProgress, GradingProgress: x.GradingProgress,
	}}
	if x.Score != nil {
		s.Score = x.Score.Given.String() + "/" + x.Score.Maximum.String()
	}
	if !x.Timestamp.IsZero() {
		s.At = x.Timestamp.UnixMilli()
	}
	return s
}

// check compares what is said with what report n decided.
func (r *result) check(said *view, n int) error {
	if got, want := said.standing(), r.standing(n); got != want || said.Version != n {
		return fmt.Errorf("%s of %s: version %d says %+v instead of version %d, %+v", r.name, r.subject, said.Version, got, n, want)
	}
	return nil
}

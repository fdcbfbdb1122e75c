// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// webhookReplacement takes the place of webhookSecret.
const webhookReplacement = "whsec_Y2FuYXJ5LXdlYmhvb2stcmVwbGFjZW1lbnQtOTg3NjU0MzIx"

// receiver is the academy's side of the webhook, made from the texts of Standard Webhooks and CloudEvents 1.0. It complains
// of whatever those do not allow.
type receiver struct {
	*httptest.Server
	a *academy

	mu sync.Mutex
	// secrets are those that have to have signed, each of them.
	secrets []string
	// statuses are what the next requests are answered with; 204 if empty.
	statuses []int
	got      []event
}

// event is one attempt to tell the academy.
type event struct {
	id, body string
	data     result
	status   int
}

func newReceiver(a *academy) *receiver {
	r := &receiver{a: a, secrets: []string{webhookSecret}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.receive))
	a.t.Cleanup(r.Close)
	return r
}

// uses makes it the webhook of the academy.
func (r *receiver) uses(t *routing.Table) {
	t.Academy.ResultsWebhook = r.URL + "/results?tenant=1"
	t.AcademyKeys.WebhookSecrets = r.secrets
}

// newToldAcademy is told of results.
func newToldAcademy(t *testing.T) (*externalAcademy, *receiver) {
	t.Helper()
	a := newExternalAcademy(t)
	r := newReceiver(a.academy)
	a.republish(r.uses)
	return a, r
}

func (r *receiver) receive(rw http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		r.a.t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	status := http.StatusNoContent
	if len(r.statuses) > 0 {
		status, r.statuses = r.statuses[0], r.statuses[1:]
	}
	e := event{id: req.Header.Get("webhook-id"), body: string(body), status: status}
	if err := r.read(req, body, &e); err != nil {
		r.a.t.Errorf("%v: %v %s", err, req.Header, body)
		status = http.StatusBadRequest
	}
	r.got = append(r.got, e)
	if status/100 == 3 {
		rw.Header().Set("Location", r.URL+"/elsewhere")
	}
	rw.WriteHeader(status)
}

// read verifies a request and reads the event.
func (r *receiver) read(req *http.Request, body []byte, e *event) error {
	if req.Method != http.MethodPost || req.URL.String() != "/results?tenant=1" || req.Header.Get("Authorization") != "" {
		return fmt.Errorf("%s %s", req.Method, req.URL)
	}
	timestamp := req.Header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || r.a.clock.now().Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return fmt.Errorf("webhook-timestamp %q", timestamp)
	}
	var expected []string
	for _, secret := range r.secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil {
			return err
		}
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", e.id, timestamp, body)
		expected = append(expected, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	if got := strings.Split(req.Header.Get("webhook-signature"), " "); !slices.Equal(got, expected) {
		return fmt.Errorf("%d signatures instead of %d, or wrong ones", len(got), len(expected))
	}
	if got := req.Header.Get("Content-Type"); got != "application/cloudevents+json" {
		return fmt.Errorf("Content-Type %q", got)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return err
	}
	for name := range members {
		if !regexp.MustCompile(`^[a-z0-9]{1,20}$`).MatchString(name) {
			return fmt.Errorf("member %s", name)
		}
	}
	if err := json.Unmarshal(members["data"], &e.data); err != nil {
		return err
	}
	for name, want := range map[string]string{
		"specversion": "1.0", "id": e.id, "source": academyURL, "type": "io.lti-operator.result.changed.v1", "datacontenttype": "application/json",
		"subject": url.PathEscape(e.data.Activity) + "/" + url.PathEscape(e.data.Subject), "time": e.data.UpdatedAt.Format(time.RFC3339Nano),
	} {
		var got string
		if err := json.Unmarshal(members[name], &got); err != nil || got != want {
			return fmt.Errorf("%s is %s instead of %q", name, members[name], want)
		}
	}
	if e.id != fmt.Sprintf("%s.%d", e.data.ID, e.data.Version) || e.data.Delivery != nil || e.data.History != nil {
		return fmt.Errorf("data %s", members["data"])
	}
	return nil
}

// answers says what the next requests are answered with.
func (r *receiver) answers(statuses ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.statuses = statuses
}

// expects says who has to sign from now on, and publishes the secrets.
func (r *receiver) expects(secrets ...string) {
	r.a.t.Helper()
	r.mu.Lock()
	r.secrets = secrets
	r.mu.Unlock()
	r.a.republish(r.uses)
}

// attempts are those of one result so far.
func (r *receiver) attempts(id string) (of []event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.got {
		if e.data.ID == id {
			of = append(of, e)
		}
	}
	return of
}

// until waits for something that happens soon.
func (a *academy) until(what string, happened func() bool) {
	a.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !happened(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatalf("%s: not in time", what)
		}
	}
}

// told waits until the academy has the result as it stands, and returns the attempts of all its versions.
func (r *receiver) told(stands result) []event {
	r.a.t.Helper()
	var last event
	r.a.until(fmt.Sprintf("version %d of %s", stands.Version, stands.ID), func() bool {
		i := slices.IndexFunc(r.attempts(stands.ID), func(e event) bool { return e.data.Version == stands.Version && e.status/100 == 2 })
		if i >= 0 {
			last = r.attempts(stands.ID)[i]
		}
		return i >= 0
	})
	stands.Delivery, stands.History = nil, nil
	if !reflect.DeepEqual(last.data, stands) {
		r.a.t.Errorf("the academy is told %+v instead of %+v", last.data, stands)
	}
	return r.attempts(stands.ID)
}

// delivery waits until that of the learner's result is in a state.
func (a *academy) delivery(activity, state, reason string) {
	a.t.Helper()
	a.until("delivery "+state+" "+reason, func() bool {
		d := a.resultOf(activity, "account-of-zoe").Delivery
		return d != nil && d.State == state && d.Reason == reason
	})
}

// opened is a learner who has opened the activity of the partner, and the message that ends it.
func (a *externalAcademy) opened(activity string) (report func(score string)) {
	a.t.Helper()
	id := a.learner(zoe()).sourcedID(activity)
	return func(score string) {
		a.t.Helper()
		c := a.partner()
		c.send(c.request(activity, pox("replaceResult", id, score))).succeeded("replaceResult")
	}
}

func (a *academy) counts(want string) {
	a.t.Helper()
	a.until(want, func() bool { return strings.Contains(a.metrics(), "lti_result_deliveries_total"+want+"\n") })
}

func TestTheAcademyIsTold(t *testing.T) {
	a, r := newToldAcademy(t)
	report := a.opened("partner-exam")
	if got := a.resultOf("partner-exam", "account-of-zoe"); got.Delivery != nil {
		t.Errorf("somebody who has opened the activity is to be told: %+v", got.Delivery)
	}
	report("0.9")
	first := a.resultOf("partner-exam", "account-of-zoe")
	if got := r.told(first); len(got) != 1 || got[0].data.Status != "Passed" || got[0].data.Subject != "account-of-zoe" || got[0].data.Minimum != 70 {
		t.Errorf("told %+v", got)
	}
	a.delivery("partner-exam", "Delivered", "")
	report("0.9") // says nothing new
	report("0.2")
	if got := r.told(a.resultOf("partner-exam", "account-of-zoe")); len(got) != 2 || got[1].data.Status != "Failed" || got[1].data.Version != 2 || got[0].id == got[1].id {
		t.Errorf("told %+v", got)
	}
	a.counts(`{reason="",result="success"} 2`)
	for _, e := range r.attempts(first.ID) {
		for _, personal := range []string{"Smit", "Zoë", "zoe@acme.example", "idp-1"} {
			if strings.Contains(e.body, personal) {
				t.Errorf("the event says %s: %s", personal, e.body)
			}
		}
	}
}

func TestTheAcademyIsToldAgain(t *testing.T) {
	a, r := newToldAcademy(t)
	a.clock.stop()
	report := a.opened("partner")
	r.answers(http.StatusInternalServerError, http.StatusBadGateway)
	report("0.9")
	for attempts := 1; attempts <= 2; attempts++ {
		a.until("an attempt", func() bool {
			d := a.resultOf("partner", "account-of-zoe")
			return len(r.attempts(d.ID)) == attempts && d.Delivery.State == "Pending" && d.Delivery.Attempts == attempts && d.Delivery.Reason != ""
		})
		a.clock.advance(5 * time.Second)
	}
	got := r.told(a.resultOf("partner", "account-of-zoe"))
	if len(got) != 3 || got[0].id != got[1].id || got[1].id != got[2].id || got[0].body != got[1].body || got[1].body != got[2].body {
		t.Errorf("told %+v", got)
	}
	a.delivery("partner", "Delivered", "")
	a.counts(`{reason="",result="success"} 1`)
	if !regexp.MustCompile(`lti_result_deliveries_total\{reason="\w+",result="failure"\} 2`).MatchString(a.metrics()) {
		t.Error("the attempts in vain are not counted")
	}
}

func TestTheAcademyCannotBeReached(t *testing.T) {
	a, r := newToldAcademy(t)
	a.clock.stop()
	report := a.opened("partner")
	address := r.Listener.Addr().String()
	a.republish(func(table *routing.Table) {
		table.Academy.ResultsWebhook = "http://" + closedPort + "/results?tenant=1"
	})
	report("0.9")
	a.delivery("partner", "Pending", "Unreachable")
	a.counts(`{reason="Unreachable",result="failure"} 1`)
	a.republish(func(table *routing.Table) { table.Academy.ResultsWebhook = "http://" + address + "/results?tenant=1" })
	a.clock.advance(5 * time.Second)
	r.told(a.resultOf("partner", "account-of-zoe"))
}

func TestTheWebhookIsConfiguredLater(t *testing.T) {
	a := newExternalAcademy(t)
	report := a.opened("partner")
	report("0.9")
	a.delivery("partner", "NotConfigured", "")
	r := newReceiver(a.academy)
	a.republish(func(table *routing.Table) { r.uses(table); table.AcademyKeys.WebhookSecrets = nil })
	a.delivery("partner", "NotConfigured", "")
	a.republish(r.uses)
	r.told(a.resultOf("partner", "account-of-zoe"))
	a.delivery("partner", "Delivered", "")
}

func TestAChangeOfTheWebhookCountsAtOnce(t *testing.T) {
	a, first := newToldAcademy(t)
	report := a.opened("partner-exam")
	stands := func() result { return a.resultOf("partner-exam", "account-of-zoe") }
	report("0.1")
	first.told(stands())

	// Both sign while the secret is replaced, then the new one alone. The receiver complains otherwise.
	first.expects(webhookReplacement, webhookSecret)
	report("0.2")
	first.told(stands())
	first.expects(webhookReplacement)
	report("0.3")
	first.told(stands())

	second := newReceiver(a.academy)
	a.republish(second.uses)
	report("0.4")
	second.told(stands())
	if got := first.attempts(stands().ID); len(got) != 3 {
		t.Errorf("the address before is told %d times", len(got))
	}
}

func TestTheWebhookIsGuarded(t *testing.T) {
	a, r := newToldAcademy(t)
	a.clock.stop()
	report := a.opened("partner-exam")
	undo := a.republish(func(table *routing.Table) { table.Academy.AllowPrivateCIDRs = nil })
	report("0.1")
	a.delivery("partner-exam", "Pending", "Unreachable")
	stands := a.resultOf("partner-exam", "account-of-zoe")
	if got := r.attempts(stands.ID); got != nil {
		t.Fatalf("a private address got %+v", got)
	}
	undo()
	a.clock.advance(5 * time.Second)
	r.told(stands)

	// The receiver complains of a request to another address.
	r.answers(http.StatusTemporaryRedirect)
	report("0.2")
	a.delivery("partner-exam", "Pending", "Redirected")
	a.clock.advance(5 * time.Second)
	r.told(a.resultOf("partner-exam", "account-of-zoe"))
}

func TestTheAcademyDoesNotWantToBeTold(t *testing.T) {
	a, r := newToldAcademy(t)
	report := a.opened("partner-exam")
	r.answers(http.StatusGone)
	report("0.1")
	a.delivery("partner-exam", "Stopped", "Gone")
	report("0.2")
	r.told(a.resultOf("partner-exam", "account-of-zoe"))
}

// dyingStore is that of a handler which is killed: before it tells the academy, or before it can say that it did.
type dyingStore struct {
	store.Store
	tells bool
	// tried is closed when an attempt was to be stored.
	tried chan struct{}
}

func (s dyingStore) LeaseResults(ctx context.Context, now, until time.Time, n int) ([]store.LeasedResult, error) {
	if !s.tells {
		return nil, nil
	}
	return s.Store.LeaseResults(ctx, now, until, n)
}

func (s dyingStore) UpdateResult(context.Context, string, string, func(*store.Result) error) error {
	close(s.tried)
	return store.ErrUnavailable
}

func TestAHandlerIsKilledAndStartedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		tells    bool
		attempts int
	}{
		"before it tells the academy": {false, 1},
		"before it remembers":         {true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			a, r := newToldAcademy(t)
			report := a.opened("partner")
			dying := dyingStore{a.store, c.tells, make(chan struct{})}
			a.public = a.startAnother(dying)
			a.stop(a.handler)
			report("0.9")
			if c.tells {
				<-dying.tried
			}
			a.stop(a.handlers[0])
			a.handler = a.start(a.openStore())
			a.publish()
			a.public = a.handler.Public()
			a.clock.advance(2 * time.Minute) // the lease of the one before ends
			stands := a.resultOf("partner", "account-of-zoe")
			r.told(stands)
			a.delivery("partner", "Delivered", "")
			got := r.attempts(stands.ID)
			if len(got) != c.attempts || got[0].id != got[len(got)-1].id || got[0].body != got[len(got)-1].body {
				t.Errorf("told %+v", got)
			}
		})
	}
}

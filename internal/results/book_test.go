// SPDX-License-Identifier: Apache-2.0

package results

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/store"
)

// office is a book with its store and a clock.
type office struct {
	Book
	table *table
	at    time.Time
	woken int
}

func newOffice() *office {
	o := &office{at: start()}
	now := func() time.Time { return o.at }
	o.table = newTable(now)
	o.Book = Book{Store: o.table, Now: now, Wake: func() { o.woken++ }, Told: func() bool { return true }}
	return o
}

func nonce(value string) *store.Nonce {
	return &store.Nonce{Scope: "key", Value: value, ExpiresAt: start().Add(time.Hour)}
}

func anybody(*store.Result) error { return nil }

var sameDecimals = cmp.AllowUnexported(decimal.Decimal{})

func TestScore(t *testing.T) {
	o := newOffice()
	key := o.table.open("course", "u1")
	m := scoreAt(t, 0, ags.Completed, ags.FullyGraded, "80/100")
	m.Comment, m.SubmittedAt = "well done", start().Add(-time.Minute)
	o.at = o.at.Add(time.Minute)
	got, err := o.Score(t.Context(), key, exam(60), m, nonce("1"))
	if err != nil {
		t.Fatal(err)
	}
	want := View{
		ID: key.ID(), Activity: "course", Subject: "subject of u1", LTIUserID: "u1",
		Report: Report{
			Status: Passed, Score: points(t, "80/100"), MinimumScore: 60, ActivityProgress: ags.Completed,
			GradingProgress: ags.FullyGraded, Comment: "well done", SubmittedAt: m.SubmittedAt,
		},
		Timestamp: start(), Version: 1, StartedAt: start(), UpdatedAt: start().Add(time.Minute).Truncate(time.Microsecond),
		Delivery: &Delivery{State: DeliveryPending, NextAttemptAt: o.at},
	}
	if diff := cmp.Diff(want, got, sameDecimals); diff != "" {
		t.Error(diff)
	}
	if again, err := o.Get(t.Context(), "tool/t", "course", "subject of u1"); err != nil || cmp.Diff(want, again, sameDecimals) != "" {
		t.Errorf("%+v, %v", again, err)
	}
	history, err := o.History(t.Context(), key.ID(), 10)
	wantHistory := []Message{{
		At: o.at, Source: SourceAGS, Operation: "score", Score: points(t, "80/100"), ActivityProgress: ags.Completed,
		GradingProgress: ags.FullyGraded, Timestamp: start(), Comment: "well done", Status: Passed,
	}}
	if diff := cmp.Diff(wantHistory, history, sameDecimals); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if o.woken != 1 {
		t.Errorf("woken %d times", o.woken)
	}

	// The same once more is stored nowhere, but the nonce is spent.
	changes := o.table.changed
	if got, err := o.Score(t.Context(), key, exam(60), m, nonce("2")); err != nil || got.Version != 1 || o.table.changed != changes || o.woken != 1 {
		t.Errorf("%+v, %v, woken %d times", got, err, o.woken)
	}
	if _, err := o.Score(t.Context(), key, exam(60), m, nonce("2")); lti.CodeOf(err) != lti.Replayed {
		t.Error(err)
	}
	// A refusal spends no nonce.
	old := scoreAt(t, -1, ags.Completed, ags.FullyGraded, "10/100")
	for range 2 {
		if _, err := o.Score(t.Context(), key, exam(60), old, nonce("3")); lti.CodeOf(err) != lti.ScoreOutdated {
			t.Error(err)
		}
	}
	if history, err := o.History(t.Context(), key.ID(), 10); len(history) != 1 || err != nil {
		t.Errorf("%+v, %v", history, err)
	}
}

func TestAScoreThatIsNoNewsLeavesTheDeliveryAsItIs(t *testing.T) {
	o := newOffice()
	key := o.table.open("course", "u1")
	if _, err := o.Score(t.Context(), key, course(), scoreAt(t, 1, ags.Completed, ags.FullyGraded, "1/1"), nil); err != nil {
		t.Fatal(err)
	}
	// An attempt has failed.
	later := o.at.Add(time.Hour)
	_, err := o.table.ChangeResult(t.Context(), key.ID(), store.ResultChange{Change: func(r *store.Result) (json.RawMessage, error) {
		s, err := read(r)
		s.Attempts, s.Reason = 7, "Unavailable"
		return nil, errors.Join(err, write(r, &s, later))
	}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.Score(t.Context(), key, course(), scoreAt(t, 2, ags.Completed, ags.FullyGraded, "1/1"), nil)
	if want := (Delivery{State: DeliveryPending, Attempts: 7, Reason: "Unavailable", NextAttemptAt: later}); err != nil || *got.Delivery != want {
		t.Errorf("%+v, %v", got.Delivery, err)
	}
	got, err = o.Score(t.Context(), key, course(), scoreAt(t, 3, ags.Completed, ags.FullyGraded, "0/1"), nil)
	if want := (Delivery{State: DeliveryPending, NextAttemptAt: o.at}); err != nil || *got.Delivery != want {
		t.Errorf("news: %+v, %v", got.Delivery, err)
	}
}

func TestScoresOfNobody(t *testing.T) {
	o := newOffice()
	o.table.open("course", "u1")
	m := scoreAt(t, 0, ags.Completed, ags.FullyGraded, "80/100")
	for name, key := range map[string]store.ResultKey{
		"somebody who has not opened it":  {Realm: "tool/t", Activity: "course", LearnerID: "u2"},
		"another activity":                {Realm: "tool/t", Activity: "other", LearnerID: "u1"},
		"another tool":                    {Realm: "tool/u", Activity: "course", LearnerID: "u1"},
		"another line item of that":       {Realm: "tool/t", Activity: "other", LearnerID: "u1", LineItem: "quiz"},
		"in another line item, by nobody": {Realm: "tool/t", Activity: "course", LearnerID: "u2", LineItem: "quiz"},
	} {
		if _, err := o.Score(t.Context(), key, course(), m, nil); lti.CodeOf(err) != lti.LearnerUnknown {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(o.table.rows) != 1 {
		t.Errorf("%d results", len(o.table.rows))
	}
}

func TestScoreInAnotherLineItem(t *testing.T) {
	o := newOffice()
	key := o.table.open("course", "u1")
	quiz := key
	quiz.LineItem = "quiz"
	for _, m := range []ags.Score{scoreAt(t, 0, ags.Completed, ags.FullyGraded, "1/5"), scoreAt(t, 1, ags.Completed, ags.FullyGraded, "2/5")} {
		if _, err := o.Score(t.Context(), quiz, exam(60), m, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.Score(t.Context(), quiz, exam(60), scoreAt(t, 1, ags.Completed, ags.FullyGraded, "3/5"), nil); lti.CodeOf(err) != lti.ScoreOutdated {
		t.Error(err)
	}
	found, err := o.List(t.Context(), store.ResultFilter{Activity: "course", LineItem: "quiz", Limit: 10})
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if v := found[0]; v.LineItem != "quiz" || v.Status != "" || *v.Score != *points(t, "2/5") || v.Version != 0 || v.Delivery != nil {
		t.Errorf("%+v", v)
	}
	if v, err := o.Get(t.Context(), "tool/t", "course", "subject of u1"); err != nil || v.Status != Started || v.Score != nil || v.Delivery != nil || v.Version != 0 || v.UpdatedAt != v.StartedAt {
		t.Errorf("%+v, %v", v, err)
	}
	if o.woken != 0 {
		t.Error("the academy is told")
	}
}

func TestOutcomes(t *testing.T) {
	o := newOffice()
	key := o.table.open("course", "u1")
	const id = "outcome of course u1"
	half, full := dec(t, "0.5"), dec(t, "1.0")
	reads := func(want string) {
		t.Helper()
		o.at = o.at.Add(time.Second)
		got, err := o.Read(t.Context(), id, anybody, nonce("read at "+o.at.String()))
		text := ""
		if got != nil {
			text = got.String()
		}
		if err != nil || text != want {
			t.Errorf("read %q, %v; want %q", text, err, want)
		}
	}
	replace := func(score *decimal.Decimal, n string, status Status, version int64) {
		t.Helper()
		v, err := o.Replace(t.Context(), id, anybody, exam(60), score, nonce(n))
		if err != nil || v.Status != status || v.Version != version || !v.Timestamp.IsZero() {
			t.Errorf("%+v, %v; want %s, version %d", v, err, status, version)
		}
	}
	remove := func(n string, status Status, version int64) {
		t.Helper()
		v, err := o.Delete(t.Context(), id, anybody, exam(60), nonce(n))
		if err != nil || v.Status != status || v.Version != version {
			t.Errorf("%+v, %v; want %s, version %d", v, err, status, version)
		}
	}
	reads("")
	remove("0", Started, 0)
	replace(&half, "1", Failed, 1)
	reads("0.5")
	replace(&half, "2", Failed, 1)
	replace(&full, "3", Passed, 2)
	replace(nil, "4", Passed, 2)
	reads("1")
	remove("5", Withdrawn, 3)
	remove("6", Withdrawn, 3)
	reads("")
	zero := decimal.Decimal{}
	replace(&zero, "7", Failed, 4)
	reads("0")
	history, err := o.History(t.Context(), key.ID(), 10)
	if err != nil || len(history) != 4 {
		t.Fatalf("%+v, %v", history, err)
	}
	want := []Message{
		{At: history[0].At, Source: SourceOutcomes, Operation: "replaceResult", Score: points(t, "0/1"), Status: Failed},
		{At: history[1].At, Source: SourceOutcomes, Operation: "deleteResult", Status: Withdrawn},
	}
	if diff := cmp.Diff(want, history[:2], sameDecimals); diff != "" {
		t.Error(diff)
	}
	if limited, err := o.History(t.Context(), key.ID(), 3); len(limited) != 3 || err != nil {
		t.Error(limited, err)
	}
}

func TestOutcomesThatAreRefused(t *testing.T) {
	o := newOffice()
	key := o.table.open("course", "u1")
	const id = "outcome of course u1"
	full := dec(t, "1")
	foreign := func(r *store.Result) error {
		if r.Key != key {
			t.Errorf("asked about %+v", r.Key)
		}
		return lti.Refuse(lti.OutcomeUnknown, "of another key")
	}
	for name, tt := range map[string]struct {
		id    string
		check Check
		nonce string
		code  lti.Code
	}{
		"of another key":             {id, foreign, "new", lti.OutcomeUnknown},
		"nothing has the ID":         {"outcome of course u2", anybody, "new", lti.OutcomeUnknown},
		"an empty ID":                {"", anybody, "new", lti.OutcomeUnknown},
		"the nonce was spent before": {id, anybody, "spent", lti.Replayed},
	} {
		o.table.nonces[*nonce("spent")] = true
		_, err1 := o.Replace(t.Context(), tt.id, tt.check, course(), &full, nonce(tt.nonce))
		_, err2 := o.Delete(t.Context(), tt.id, tt.check, course(), nonce(tt.nonce))
		_, err3 := o.Read(t.Context(), tt.id, tt.check, nonce(tt.nonce))
		for _, err := range []error{err1, err2, err3} {
			if lti.CodeOf(err) != tt.code || tt.id != "" && strings.Contains(err.Error(), tt.id) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if s, _ := o.table.state(key.ID()); s.Version != 0 || o.table.nonces[*nonce("new")] {
		t.Errorf("%+v", s)
	}
}

func TestTheStoreIsAway(t *testing.T) {
	o := newOffice()
	key := o.table.open("course", "u1")
	away := &cut{table: o.table, dead: true}
	o.Book.Store = away
	_, err1 := o.Score(t.Context(), key, course(), scoreAt(t, 0, ags.Completed, ags.FullyGraded, "1/1"), nil)
	_, err2 := o.Delete(t.Context(), "outcome of course u1", anybody, course(), nil)
	for _, err := range []error{err1, err2, o.Resend(t.Context(), key.ID())} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Error(err)
		}
	}
}

func TestDeliveryAsPeopleSeeIt(t *testing.T) {
	due := start().Add(time.Hour)
	for name, tt := range map[string]struct {
		state State
		due   time.Time
		told  bool
		want  *Delivery
	}{
		"nothing to tell":              {State{}, time.Time{}, true, nil},
		"to be told":                   {State{Version: 2, Delivered: 1}, due, true, &Delivery{State: DeliveryPending, NextAttemptAt: due}},
		"tried":                        {State{Version: 2, Attempts: 3, Reason: "Unavailable"}, due, true, &Delivery{DeliveryPending, 3, "Unavailable", due}},
		"told":                         {State{Version: 2, Delivered: 2}, time.Time{}, true, &Delivery{State: DeliveryDelivered}},
		"told before there was no-one": {State{Version: 2, Delivered: 2}, time.Time{}, false, &Delivery{State: DeliveryDelivered}},
		"stopped":                      {State{Version: 2, Attempts: 1, Reason: "Gone", StoppedAt: start()}, time.Time{}, true, &Delivery{DeliveryStopped, 1, "Gone", time.Time{}}},
		"nowhere to tell":              {State{Version: 2}, due, false, &Delivery{State: DeliveryNotConfigured}},
	} {
		text, err := json.Marshal(tt.state)
		if err != nil {
			t.Fatal(err)
		}
		b := Book{Told: func() bool { return tt.told }}
		v, err := b.view(&store.Result{State: text, DueAt: tt.due})
		if diff := cmp.Diff(tt.want, v.Delivery); diff != "" || err != nil {
			t.Errorf("%s: %s%v", name, diff, err)
		}
	}
}

func TestResend(t *testing.T) {
	o := newOffice()
	key := o.table.open("course", "u1")
	if err := o.Resend(t.Context(), key.ID()); err != nil {
		t.Error(err)
	}
	if _, r := o.table.state(key.ID()); !r.DueAt.IsZero() {
		t.Error("there is nothing to tell")
	}
	if err := o.Resend(t.Context(), "nothing"); lti.CodeOf(err) != lti.ResultUnknown {
		t.Error(err)
	}
	if _, err := o.Score(t.Context(), key, course(), scoreAt(t, 0, ags.Completed, ags.FullyGraded, "1/1"), nil); err != nil {
		t.Fatal(err)
	}
	for name, settle := range map[string]answer{"told": {}, "stopped": {reason: ReasonGone}, "tried": {reason: "Unavailable"}} {
		_, err := o.table.ChangeResult(t.Context(), key.ID(), store.ResultChange{Change: func(r *store.Result) (json.RawMessage, error) {
			s, err := read(r)
			return nil, errors.Join(err, write(r, &s, s.settle(&s, settle, r.DueAt, o.at, 0.5)))
		}})
		if err != nil {
			t.Fatal(err)
		}
		o.at, o.woken = o.at.Add(time.Second), 0
		if err := o.Resend(t.Context(), key.ID()); err != nil {
			t.Error(err)
		}
		s, r := o.table.state(key.ID())
		if s.Version != 1 || !s.pending() || s.Attempts != 0 || s.Reason != "" || !r.DueAt.Equal(o.at) || o.woken != 1 {
			t.Errorf("%s: %+v, due %v, woken %d times", name, s, r.DueAt, o.woken)
		}
	}
}

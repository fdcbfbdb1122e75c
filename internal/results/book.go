// SPDX-License-Identifier: Apache-2.0

package results

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/outcomes"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Book keeps results in a store. What it stores without an error is never lost, and the academy is told.
//
// Errors are refusals, and those of the store: store.ErrUnavailable above all.
type Book struct {
	Store store.Results
	Now   lti.Clock
	// Wake is told that there may be something to tell the academy; nil for nobody.
	Wake func()
	// Told tells whether there is anywhere to tell it; nil for never. It shows in View.Delivery.
	Told func() bool
}

// Source is how a message came.
type Source string

// The sources of messages.
const (
	SourceAGS      Source = "AGS"
	SourceOutcomes Source = "BasicOutcomes"
)

// operationScore is the one operation of Assignment and Grade Services; those of Basic Outcomes have names there.
const operationScore = "score"

// Message is a message that changed a result, as its history has it.
type Message struct {
	// At is when it was accepted, by our clock.
	At     time.Time `json:"at"`
	Source Source    `json:"source"`
	// Operation is score, replaceResult or deleteResult.
	Operation string `json:"operation"`
	// What the message said.
	Score            *Score               `json:"score,omitempty"`
	ActivityProgress ags.ActivityProgress `json:"activityProgress,omitempty"`
	GradingProgress  ags.GradingProgress  `json:"gradingProgress,omitempty"`
	Timestamp        time.Time            `json:"timestamp,omitzero"`
	Comment          string               `json:"comment,omitempty"`
	// Status is that of the result after the message; empty in a line item that decides nothing.
	Status Status `json:"status,omitempty"`
}

// Score takes a score that a tool sent over Assignment and Grade Services, and returns what is known then. Scores are
// taken in the order of their timestamps. In another line item than the activity's own, which store.ResultKey.LineItem
// names, a score decides nothing, and the academy is not told; the rule does not matter there. That the line item is one of
// the tool's is for the caller to check.
//
// The nonce, if any, is spent with it.
//
// Refusals: LearnerUnknown for somebody who has not opened the activity; LineItemUnknown; ScoreOutdated for a timestamp
// that is not later than that of the newest score, unless it is that very score, which changes nothing; ParameterInvalid
// for a timestamp more than ten minutes ahead of our clock, because it would hold up every later score; Replayed.
func (b *Book) Score(ctx context.Context, key store.ResultKey, rule Rule, m ags.Score, nonce *store.Nonce) (View, error) {
	decides := &rule
	if key.LineItem != "" {
		decides = nil
		if err := b.begin(ctx, key); err != nil {
			return View{}, err
		}
	}
	return b.change(ctx, key.ID(), nonce, lti.LearnerUnknown, func(_ *store.Result, s *State) (*Message, error) {
		now := b.Now()
		changed, err := s.score(decides, &m, now)
		if err != nil || !changed {
			return nil, err
		}
		return &Message{
			At: now, Source: SourceAGS, Operation: operationScore, Score: scoreOf(&m), ActivityProgress: m.ActivityProgress,
			GradingProgress: m.GradingProgress, Timestamp: m.Timestamp.UTC(), Comment: storable(m.Comment), Status: s.Status,
		}, nil
	})
}

// begin makes the result of a learner in another line item of an activity that the learner has opened.
func (b *Book) begin(ctx context.Context, key store.ResultKey) error {
	own := key
	own.LineItem = ""
	if _, err := b.Store.Result(ctx, own); err != nil {
		return refused("find a result", lti.LearnerUnknown, named(err))
	}
	if _, err := b.Store.BeginResult(ctx, nil, store.Result{Key: key}); err != nil {
		return refused("begin a result", lti.LineItemUnknown, named(err))
	}
	return nil
}

// Check refuses a result that the sender of a message has no business with: one of another activity, or of another
// consumer key. The error is returned as it is, and nothing is changed.
type Check func(r *store.Result) error

// Replace takes a replaceResult of Basic Outcomes (LTI 1.1 section 6.1.1), and returns what is known then. Messages are
// taken in the order in which they arrive. The score is from 0 to 1, or nil in a message without. The nonce is spent with
// it, also if it changes nothing.
//
// Refusals: OutcomeUnknown, Replayed, and those of check.
func (b *Book) Replace(ctx context.Context, outcomeID string, check Check, rule Rule, score *decimal.Decimal, nonce *store.Nonce) (View, error) {
	var points *Score
	if score != nil {
		points = &Score{Given: *score, Maximum: decimal.FromInt(1)}
	}
	return b.outcome(ctx, outcomeID, check, nonce, func(s *State) *Message {
		now := b.Now()
		if !s.replace(&rule, points, now) {
			return nil
		}
		return &Message{At: now, Source: SourceOutcomes, Operation: string(outcomes.ReplaceResult), Score: points, Status: s.Status}
	})
}

// Delete takes a deleteResult of Basic Outcomes (LTI 1.1 section 6.1.3): the result is withdrawn, if there is one. It is
// otherwise as Replace.
func (b *Book) Delete(ctx context.Context, outcomeID string, check Check, rule Rule, nonce *store.Nonce) (View, error) {
	return b.outcome(ctx, outcomeID, check, nonce, func(s *State) *Message {
		now := b.Now()
		if !s.remove(&rule, now) {
			return nil
		}
		return &Message{At: now, Source: SourceOutcomes, Operation: string(outcomes.DeleteResult), Status: s.Status}
	})
}

// Read takes a readResult of Basic Outcomes (LTI 1.1 section 6.1.2). It returns the score, from 0 to 1; nil if there is
// none, which is a success too. The nonce and the refusals are those of Replace.
func (b *Book) Read(ctx context.Context, outcomeID string, check Check, nonce *store.Nonce) (*decimal.Decimal, error) {
	v, err := b.outcome(ctx, outcomeID, check, nonce, func(*State) *Message { return nil })
	if err != nil || v.Score == nil {
		return nil, err
	}
	given, ok := outcomes.Fraction(v.Score.Given, v.Score.Maximum)
	if !ok {
		return nil, errUnreadable
	}
	return &given, nil
}

// outcome changes the result of an outcome ID.
func (b *Book) outcome(ctx context.Context, outcomeID string, check Check, nonce *store.Nonce, change func(s *State) *Message) (View, error) {
	found, err := b.Store.ResultByOutcome(ctx, outcomeID)
	if err != nil {
		return View{}, refused("find a result", lti.OutcomeUnknown, named(err))
	}
	return b.change(ctx, found.Key.ID(), nonce, lti.OutcomeUnknown, func(r *store.Result, s *State) (*Message, error) {
		if err := check(r); err != nil {
			return nil, err
		}
		return change(s), nil
	})
}

// change changes the state of a result, unless there is no message to say why.
func (b *Book) change(ctx context.Context, id string, nonce *store.Nonce, unknown lti.Code, change func(r *store.Result, s *State) (*Message, error)) (View, error) {
	var grown bool
	stored, err := b.Store.ChangeResult(ctx, id, store.ResultChange{Nonce: nonce, Change: func(r *store.Result) (json.RawMessage, error) {
		grown = false
		s, err := read(r)
		if err != nil {
			return nil, err
		}
		before := s.Version
		message, err := change(r, &s)
		if err != nil || message == nil {
			return nil, err
		}
		due := r.DueAt
		if grown = s.Version > before; grown {
			due = b.Now()
		}
		if err := write(r, &s, due); err != nil {
			return nil, err
		}
		return json.Marshal(message)
	}})
	if err != nil {
		return View{}, refused("change a result", unknown, err)
	}
	if grown {
		b.wake()
	}
	return b.view(&stored)
}

func (b *Book) wake() {
	if b.Wake != nil {
		b.Wake()
	}
}

// refused returns the error for what went wrong at the store: a refusal for what is the sender's doing.
func refused(doing string, unknown lti.Code, err error) error {
	var r *lti.Refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, store.ErrNotFound):
		return lti.Refuse(unknown, "nothing has this ID").Because(err)
	case errors.Is(err, store.ErrReplayed):
		return lti.Refuse(lti.Replayed, "the nonce was spent before").Because(err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// named returns the error of a look-up by a name that somebody else chose: one that no store accepts is the name of
// nothing.
func named(err error) error {
	if errors.Is(err, store.ErrInvalid) {
		return store.ErrNotFound
	}
	return err
}

// DeliveryState says whether the academy has been told, for people.
type DeliveryState string

// The states of a delivery.
const (
	// DeliveryPending: the academy is to be told, or told again after an attempt in vain.
	DeliveryPending DeliveryState = "Pending"
	// DeliveryDelivered: the academy has it.
	DeliveryDelivered DeliveryState = "Delivered"
	// DeliveryStopped: the academy does not want to be told, until there is news or somebody asks for it.
	DeliveryStopped DeliveryState = "Stopped"
	// DeliveryNotConfigured: there is nowhere to tell it. It is told when there is.
	DeliveryNotConfigured DeliveryState = "NotConfigured"
)

// Delivery is how far the academy has been told.
type Delivery struct {
	State DeliveryState `json:"state"`
	// Attempts is how often it was tried in vain, and Reason the code of what went wrong last.
	Attempts int    `json:"attempts,omitempty"`
	Reason   string `json:"reason,omitempty"`
	// NextAttemptAt is when it is tried next; zero for never.
	NextAttemptAt time.Time `json:"nextAttemptAt,omitzero"`
}

// View is a result as the academy sees it.
type View struct {
	// ID is what the history is asked for by, and another delivery.
	ID       string `json:"id"`
	Activity string `json:"activity"`
	// LineItem is empty for the activity's own.
	LineItem string `json:"lineItem,omitempty"`
	// Subject is who the learner is at the academy's identity provider, and LTIUserID in the other system.
	Subject   string `json:"subject"`
	LTIUserID string `json:"ltiUserID"`
	Report
	// Timestamp is when the report came to be, as the other system says; zero if it does not.
	Timestamp time.Time `json:"timestamp,omitzero"`
	// Version grows with each change that the academy can see; 0 as long as nothing was reported. Of two events with one
	// result the one with the higher version is the newer one.
	Version int64 `json:"version"`
	// StartedAt is when the learner opened the activity first, and UpdatedAt when the report came in.
	StartedAt time.Time `json:"startedAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	// Delivery is nil as long as there is nothing to tell, and in events.
	Delivery *Delivery `json:"delivery,omitempty"`
}

// viewOf returns what a result looks like. It depends on the version alone, so that an event that is sent again has the
// same bytes.
func viewOf(r *store.Result, s *State) View {
	updated := s.ChangedAt
	if updated.IsZero() {
		updated = r.StartedAt
	}
	return View{
		ID: r.Key.ID(), Activity: r.Key.Activity, LineItem: r.Key.LineItem, Subject: r.Subject, LTIUserID: r.Key.LearnerID,
		Report: s.Report, Timestamp: s.Timestamp, Version: s.Version, StartedAt: r.StartedAt, UpdatedAt: updated,
	}
}

func (b *Book) view(r *store.Result) (View, error) {
	s, err := read(r)
	if err != nil {
		return View{}, err
	}
	v := viewOf(r, &s)
	if s.Version == 0 {
		return v, nil
	}
	v.Delivery = &Delivery{State: DeliveryPending, Attempts: s.Attempts, Reason: s.Reason, NextAttemptAt: r.DueAt}
	switch {
	case s.Delivered == s.Version:
		v.Delivery.State = DeliveryDelivered
	case !s.StoppedAt.IsZero():
		v.Delivery.State = DeliveryStopped
	case b.Told == nil || !b.Told():
		v.Delivery.State, v.Delivery.NextAttemptAt = DeliveryNotConfigured, time.Time{}
	}
	return v, nil
}

// Get returns the result of the activity itself of one learner, by who that is at the academy's identity provider. The
// refusal is ResultUnknown.
func (b *Book) Get(ctx context.Context, realm, activity, subject string) (View, error) {
	found, err := b.List(ctx, store.ResultFilter{Realm: realm, Activity: activity, Subject: subject, Limit: 1})
	switch {
	case err != nil:
		return View{}, err
	case len(found) == 0:
		return View{}, lti.Refuse(lti.ResultUnknown, "the learner has not opened the activity")
	}
	return found[0], nil
}

// Find returns a result by its ID. The refusal is ResultUnknown.
func (b *Book) Find(ctx context.Context, id string) (View, error) {
	found, err := b.Store.ResultByID(ctx, id)
	if err != nil {
		return View{}, refused("find a result", lti.ResultUnknown, err)
	}
	return b.view(&found)
}

// List returns results in the order of their IDs.
func (b *Book) List(ctx context.Context, f store.ResultFilter) ([]View, error) {
	found, err := b.Store.ListResults(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("list results: %w", err)
	}
	views := make([]View, 0, len(found))
	for i := range found {
		v, err := b.view(&found[i])
		if err != nil {
			return nil, err
		}
		views = append(views, v)
	}
	return views, nil
}

// History returns the messages that changed a result, the newest first: at most limit, and no more than
// store.MaxHistory. A result that there is not has none.
func (b *Book) History(ctx context.Context, id string, limit int) ([]Message, error) {
	found, err := b.Store.ResultHistory(ctx, id, limit)
	if err != nil {
		return nil, fmt.Errorf("read the history of a result: %w", err)
	}
	messages := make([]Message, len(found))
	for i := range found {
		if json.Unmarshal(found[i].Message, &messages[i]) != nil {
			return nil, errUnreadable
		}
	}
	return messages, nil
}

// Resend tells the academy of a result once more, whatever became of it. It is the same event, so that an academy that has
// it does nothing. The refusal is ResultUnknown.
func (b *Book) Resend(ctx context.Context, id string) error {
	_, err := b.Store.ChangeResult(ctx, id, store.ResultChange{Change: func(r *store.Result) (json.RawMessage, error) {
		s, err := read(r)
		if err != nil || s.Version == 0 {
			return nil, err
		}
		s.Delivered, s.Resends = 0, s.Resends+1
		s.resume()
		return nil, write(r, &s, b.Now())
	}})
	if err != nil {
		return refused("deliver a result again", lti.ResultUnknown, err)
	}
	b.wake()
	return nil
}

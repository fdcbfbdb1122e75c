// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"encoding/json"
	"net/http"

	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/results"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// listResults answers with results of external activities, in the order of their IDs.
func (h *Handler) listResults(rw http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	views, err := h.services.Book.List(r.Context(), store.ResultFilter{
		Subject: query.Get("subject"), Activity: query.Get("activity"), After: query.Get("after"), Limit: routing.MaxControlListed + 1,
	})
	if err != nil {
		h.controlFailed(rw, err)
		return
	}
	if len(views) > routing.MaxControlListed {
		// The store does not know deliveries: a later result may be the one that is asked for.
		views = views[:routing.MaxControlListed]
		rw.Header().Set(routing.HeaderControlMore, views[len(views)-1].ID)
	}
	found := make([]routing.Result, 0, len(views))
	for i := range views {
		result := controlResult(&views[i])
		if state := query.Get("delivery"); state == "" || state == result.Delivery.State {
			found = append(found, result)
		}
	}
	web.WriteJSON(rw, http.StatusOK, found)
}

// showResult answers with one result, and the messages that made it what it is.
func (h *Handler) showResult(rw http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	view, err := h.services.Book.Find(r.Context(), id)
	if err != nil {
		h.controlFailed(rw, err)
		return
	}
	messages, err := h.services.Book.History(r.Context(), id, store.MaxHistory)
	if err != nil {
		h.controlFailed(rw, err)
		return
	}
	answer := routing.ResultWithHistory{Result: controlResult(&view), History: make([]routing.ResultMessage, len(messages))}
	for i := range messages {
		m := &messages[i]
		answer.History[i] = routing.ResultMessage{
			At: m.At, Source: string(m.Source), Operation: m.Operation, Score: controlPoints(m.Score),
			ActivityProgress: string(m.ActivityProgress), GradingProgress: string(m.GradingProgress), Timestamp: m.Timestamp, Status: string(m.Status),
		}
	}
	web.WriteJSON(rw, http.StatusOK, answer)
}

// sendResult tells the academy of a result again, whatever became of it: somebody has mended what was wrong.
func (h *Handler) sendResult(rw http.ResponseWriter, r *http.Request) {
	if err := h.services.Book.Resend(r.Context(), r.PathValue("id")); err != nil {
		h.controlFailed(rw, err)
		return
	}
	rw.WriteHeader(http.StatusAccepted)
}

// controlResult is a result in the words of the control port. The comment for the learner is left out: it may say anything.
func controlResult(v *results.View) routing.Result {
	r := routing.Result{
		ID: v.ID, Activity: v.Activity, LineItem: v.LineItem, Subject: v.Subject, LTIUserID: v.LTIUserID, Status: string(v.Status),
		Score: controlPoints(v.Score), MinimumScore: v.MinimumScore, ActivityProgress: string(v.ActivityProgress),
		GradingProgress: string(v.GradingProgress), SubmittedAt: v.SubmittedAt, Timestamp: v.Timestamp, Version: v.Version,
		StartedAt: v.StartedAt, UpdatedAt: v.UpdatedAt, Delivery: routing.Delivery{State: routing.DeliveryNone},
	}
	if d := v.Delivery; d != nil {
		r.Delivery = routing.Delivery{State: string(d.State), Attempts: d.Attempts, Reason: d.Reason, NextAttemptAt: d.NextAttemptAt}
	}
	return r
}

func controlPoints(s *results.Score) *routing.Points {
	if s == nil {
		return nil
	}
	return &routing.Points{Given: json.Number(s.Given.String()), Maximum: json.Number(s.Maximum.String())}
}

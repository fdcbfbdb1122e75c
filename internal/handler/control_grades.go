// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/lti-operator/lti-operator/internal/grades"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// listGrades answers with grades, the one that was changed last first.
func (h *Handler) listGrades(rw http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	entries, err := h.book.List(r.Context(), store.GradeFilter{
		Subject: query.Get("subject"), Activity: query.Get("activity"), Registration: query.Get("registration"),
		Limit: routing.MaxControlListed + 1,
	})
	if err != nil {
		h.controlFailed(rw, err)
		return
	}
	if len(entries) > routing.MaxControlListed {
		// The store does not know states: an older grade may be in the one that is asked for.
		entries = entries[:routing.MaxControlListed]
		rw.Header().Set(routing.HeaderControlMore, "true")
	}
	found := make([]routing.Grade, 0, len(entries))
	for i := range entries {
		if state := grades.State(query.Get("state")); state == "" || state == entries[i].State {
			found = append(found, controlGrade(&entries[i]))
		}
	}
	web.WriteJSON(rw, http.StatusOK, found)
}

// controlGrade is a grade in the words of the control port.
func controlGrade(e *grades.Entry) routing.Grade {
	g := routing.Grade{
		ID: e.ID, Registration: e.Registration, DeploymentID: e.DeploymentID, ContextID: e.ContextID,
		ResourceLinkID: e.ResourceLinkID, LTIUserID: e.LTIUserID, Subject: e.Subject, Activity: e.Activity,
		Protocol: string(e.Protocol), State: string(e.State), Wanted: e.Wanted, Confirmed: e.Confirmed, Reason: e.Reason,
		Attempts: e.Attempts, DueAt: e.DueAt, TriedAt: e.TriedAt, UpdatedAt: e.UpdatedAt,
	}
	if e.Grade != nil {
		g.Grade = &routing.Points{
			Given: json.Number(e.Grade.Given.String()), Maximum: json.Number(e.Grade.Maximum.String()), Completed: e.Grade.Completed,
		}
	}
	return g
}

// sendGrade sends a grade again, whatever became of it: somebody has mended what was wrong.
func (h *Handler) sendGrade(rw http.ResponseWriter, r *http.Request) {
	if err := h.book.Resend(r.Context(), r.PathValue("id")); err != nil {
		h.controlFailed(rw, err)
		return
	}
	rw.WriteHeader(http.StatusAccepted)
}

func (h *Handler) controlFailed(rw http.ResponseWriter, err error) {
	if errors.Is(err, store.ErrNotFound) {
		web.WriteJSON(rw, http.StatusNotFound, map[string]string{"error": "not_found"})
		return
	}
	h.log.Warn("the control port could not answer", "error", err.Error())
	web.WriteJSON(rw, http.StatusServiceUnavailable, map[string]string{"error": "temporarily_unavailable"})
}

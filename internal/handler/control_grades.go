// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"errors"
	"net/http"

	"github.com/lti-operator/lti-operator/internal/grades"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/store"
)

// maxGrades bounds the answer of the control port.
const maxGrades = 1000

// listGrades answers with grades, the one that was changed last first.
func (h *Handler) listGrades(rw http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	entries, err := h.book.List(r.Context(), store.GradeFilter{
		Subject: query.Get("subject"), Activity: query.Get("activity"), Registration: query.Get("registration"), Limit: maxGrades,
	})
	if err != nil {
		h.controlFailed(rw, err)
		return
	}
	found := make([]grades.Entry, 0, len(entries))
	for i := range entries {
		if state := grades.State(query.Get("state")); state == "" || state == entries[i].State {
			found = append(found, entries[i])
		}
	}
	web.WriteJSON(rw, http.StatusOK, found)
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

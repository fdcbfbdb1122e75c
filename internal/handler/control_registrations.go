// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"net/http"

	"github.com/lti-operator/lti-operator/internal/handler/web"
)

// listRegistrations answers with what dynamic registrations produced. It holds the tokens with which they are changed: nobody
// but the operator has the token of this port.
func (h *Handler) listRegistrations(rw http.ResponseWriter, r *http.Request) {
	all, err := h.registration.List(r.Context())
	if err != nil {
		h.controlFailed(rw, err)
		return
	}
	web.WriteJSON(rw, http.StatusOK, all)
}

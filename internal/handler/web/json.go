// SPDX-License-Identifier: Apache-2.0

package web

import (
	"encoding/json"
	"net/http"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// WriteJSON answers with JSON that must not be stored.
func WriteJSON(rw http.ResponseWriter, status int, v any) {
	rw.Header().Set("Cache-Control", "no-store")
	writeJSON(rw, status, v)
}

func writeJSON(rw http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(rw, "internal error", http.StatusInternalServerError)
		return
	}
	writeEncoded(rw, status, body)
}

func writeEncoded(rw http.ResponseWriter, status int, body []byte) {
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("X-Content-Type-Options", "nosniff")
	rw.WriteHeader(status)
	// A failed write means that the client has gone.
	_, _ = rw.Write(body)
}

// jwksMaxAge is how long others may keep our public keys: a new key is published that much before it signs.
const jwksMaxAge = "public, max-age=600"

// WriteJWKS answers with a JSON Web Key Set (RFC 7517 section 5).
func WriteJWKS(rw http.ResponseWriter, keys []routing.JWK) {
	if keys == nil {
		keys = []routing.JWK{}
	}
	WritePublicJSON(rw, map[string][]routing.JWK{"keys": keys})
}

// WritePublicJSON answers with JSON that others may keep for as long as our public keys.
func WritePublicJSON(rw http.ResponseWriter, v any) {
	rw.Header().Set("Cache-Control", jwksMaxAge)
	writeJSON(rw, http.StatusOK, v)
}

// RefuseJSON answers a program: an OAuth error (RFC 6749 section 5.2) with our reason and the reference number in the
// log.
func (w *Responder) RefuseJSON(rw http.ResponseWriter, r *http.Request, about *About, err error, oauthError string) {
	w.refuseJSON(rw, r, about, err, oauthError, func(c lti.Code) int { return c.Reason().Status }, describe)
}

// RefuseRegistration is RefuseJSON for a registration endpoint: a token that is not good has status 401 there (RFC 6750 section
// 3.1), and the description says what is wrong with the request, which nobody else is told.
func (w *Responder) RefuseRegistration(rw http.ResponseWriter, r *http.Request, about *About, err error, oauthError string) {
	statusOf := func(c lti.Code) int { return c.Reason().Status }
	if oauthError == "invalid_token" {
		rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		statusOf = func(lti.Code) int { return http.StatusUnauthorized }
	}
	w.refuseJSON(rw, r, about, err, oauthError, statusOf, func(refusal *lti.Refusal) string {
		if refusal.Detail == "" {
			return describe(refusal)
		}
		return describe(refusal) + " " + refusal.Detail
	})
}

func describe(refusal *lti.Refusal) string { return refusal.Code.Reason().Summary }

// RefuseToken is RefuseJSON for a token endpoint: what is wrong with the request has status 400 there, whatever it is (RFC
// 6749 section 5.2).
func (w *Responder) RefuseToken(rw http.ResponseWriter, r *http.Request, about *About, err error, oauthError string) {
	w.refuseJSON(rw, r, about, err, oauthError, func(c lti.Code) int {
		if status := c.Reason().Status; status >= http.StatusInternalServerError {
			return status
		}
		return http.StatusBadRequest
	}, describe)
}

func (w *Responder) refuseJSON(
	rw http.ResponseWriter, r *http.Request, about *About, err error, oauthError string,
	statusOf func(lti.Code) int, description func(*lti.Refusal) string,
) {
	if lti.CodeOf(err) == lti.Overloaded {
		w.RefuseOverloadedJSON(rw, about)
		return
	}
	refusal := w.record(r, about, err)
	status := statusOf(refusal.Code)
	if refusal.Code == lti.ClientUnauthorized {
		status = http.StatusUnauthorized
		rw.Header().Set("WWW-Authenticate", `Basic realm="launch codes"`)
	}
	RetryLater(rw, status)
	WriteJSON(rw, status, map[string]string{
		"error":             oauthError,
		"error_description": description(refusal.Refusal),
		"reason":            string(refusal.Code),
		"reference":         refusal.reference,
	})
}

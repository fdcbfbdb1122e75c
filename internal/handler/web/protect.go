// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// Protect wraps the public surface: an access log without query strings (they may hold one-time handles), and a page
// instead of a broken connection when a handler panics. Whoever is refused because of overload is not in that log.
func (w *Responder) Protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		started := time.Now()
		recorder := &statusRecorder{ResponseWriter: rw}
		defer func() {
			if p := recover(); p != nil {
				w.panicked(recorder, r, p)
			}
			if recorder.unlogged {
				return
			}
			w.Log.LogAttrs(r.Context(), slog.LevelInfo, "request",
				slog.String("method", r.Method), slog.String("path", r.URL.Path),
				slog.Int("status", recorder.status), slog.Duration("duration", time.Since(started)))
		}()
		next.ServeHTTP(recorder, r)
	})
}

func (w *Responder) panicked(recorder *statusRecorder, r *http.Request, p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
		panic(p)
	}
	err := fmt.Errorf("panic: %v", p)
	if recorder.status != 0 {
		// The answer has begun; only the log can still tell.
		_ = w.record(r, &About{}, err)
		return
	}
	w.Refuse(recorder, r, &About{}, lti.Refuse(lti.InternalError, "").Because(err))
}

// statusRecorder remembers the status of an answer.
type statusRecorder struct {
	http.ResponseWriter
	status   int
	unlogged bool
}

// WriteHeader implements http.ResponseWriter.
func (s *statusRecorder) WriteHeader(status int) {
	if s.status == 0 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (s *statusRecorder) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }

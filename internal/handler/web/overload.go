// SPDX-License-Identifier: Apache-2.0

package web

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/pages"
)

// How long whoever is refused because of overload is asked to stay away: from shortestRetry on, and each of them another
// number of seconds longer, so that they do not come back at once.
const (
	shortestRetry = 2
	retrySpread   = 5
)

// overloadedInterval is how often the log says how many were refused because of overload.
const overloadedInterval = time.Second

// overload answers requests that are refused because of overload: at little cost, because there are many.
type overload struct {
	// prepared are the pages by language, without and with the button to try again; nil before PrepareOverloaded.
	prepared atomic.Pointer[map[string][2]pages.Prepared]
	// refused counts all, and unlogged those since the last line of the log.
	refused, unlogged atomic.Int64
}

// PrepareOverloaded renders the pages of RefuseOverloaded, which may be framed as the source list says.
func (w *Responder) PrepareOverloaded(frameAncestors string) error {
	all := map[string][2]pages.Prepared{}
	for _, lang := range pages.Languages() {
		var both [2]pages.Prepared
		for i, retry := range []bool{false, true} {
			page := pages.Error{Code: string(lti.Overloaded), Status: lti.Overloaded.Reason().Status, Retry: retry}
			var err error
			if both[i], err = page.Prepare(pages.View{Lang: lang, FrameAncestors: frameAncestors}); err != nil {
				return fmt.Errorf("prepare the page about overload: %w", err)
			}
		}
		all[lang] = both
	}
	w.overload.prepared.Store(&all)
	return nil
}

// RefuseOverloaded answers a person with the page of Overloaded. It counts as a launch that was refused.
func (w *Responder) RefuseOverloaded(rw http.ResponseWriter, r *http.Request, about *About) {
	w.NoteOverloaded(rw, about)
	all := w.overload.prepared.Load()
	if all == nil {
		http.Error(rw, lti.Overloaded.Reason().Summary, http.StatusServiceUnavailable)
		return
	}
	retry := 0
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		retry = 1
	}
	(*all)[pages.ChooseLanguage(r.Header.Get("Accept-Language"), about.Locale)][retry].Answer(rw)
}

// overloadedJSON is what programs get.
var overloadedJSON = func() []byte {
	body, err := json.Marshal(map[string]string{
		"error": "temporarily_unavailable", "error_description": lti.Overloaded.Reason().Summary, "reason": string(lti.Overloaded),
	})
	if err != nil {
		panic(err) // strings can always be encoded
	}
	return body
}()

// RefuseOverloadedJSON answers a program, as RefuseJSON does.
func (w *Responder) RefuseOverloadedJSON(rw http.ResponseWriter, about *About) {
	w.NoteOverloaded(rw, about)
	rw.Header().Set("Cache-Control", "no-store")
	writeEncoded(rw, lti.Overloaded.Reason().Status, overloadedJSON)
}

// Lingerer is an answer that may begin later when it is a refusal because of overload.
type Lingerer interface{ Linger() }

// atOverload keeps the request that is answered out of the access log, and lets it linger.
func atOverload(rw http.ResponseWriter) {
	for rw != nil {
		if s, ok := rw.(*statusRecorder); ok {
			s.unlogged = true
		}
		if l, ok := rw.(Lingerer); ok {
			l.Linger()
		}
		u, ok := rw.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return
		}
		rw = u.Unwrap()
	}
}

// NoteOverloaded counts a refusal because of overload, logs how many there are now and then, and says in the header when to
// come again. It is for whoever answers in another form; rw may be nil.
func (w *Responder) NoteOverloaded(rw http.ResponseWriter, about *About) {
	w.Metrics.Launch(about, lti.Overloaded)
	n := w.overload.refused.Add(1)
	if rw != nil {
		atOverload(rw)
		rw.Header().Set("Retry-After", strconv.FormatInt(shortestRetry+n%retrySpread, 10))
	}
	if w.overload.unlogged.Add(1) == 1 {
		time.AfterFunc(overloadedInterval, func() {
			w.Log.Warn("refused", slog.String("reason", string(lti.Overloaded)), slog.Int64("count", w.overload.unlogged.Swap(0)))
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/lti-operator/lti-operator/hack/launches"
)

// gradebook is another system's, which can be made to fail.
type gradebook struct {
	faulty
	launches.Gradebook

	name string
}

func newGradebook(name string, wholeSeconds bool) *gradebook {
	g := &gradebook{name: name}
	g.WholeSeconds = wholeSeconds
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", g.failing(func(*http.Request, []byte) (int, string) {
		return http.StatusOK, `{"access_token":"` + rand.Text() + `","token_type":"Bearer","expires_in":3600}`
	}))
	mux.HandleFunc("POST /items/{course}/scores", g.failing(func(r *http.Request, body []byte) (int, string) {
		return g.Score(r.PathValue("course"), body)
	}))
	mux.HandleFunc("POST /outcomes", g.failing(func(_ *http.Request, body []byte) (int, string) { return g.Outcome(body) }))
	g.server = httptest.NewServer(mux)
	return g
}

// counts are those of messages.
type counts struct{ messages, taken, repeated, stale int }

// verdict is what the gradebooks hold in the end.
type verdict struct {
	grades, missing, wrong, backwards int
	counts
}

func (v verdict) String() string {
	return fmt.Sprintf("%d grades: %d lost, %d wrong, %d behind the newest acknowledged report; %d messages, %d taken, %d repeated, %d refused as not newer",
		v.grades, v.missing, v.wrong, v.backwards, v.messages, v.taken, v.repeated, v.stale)
}

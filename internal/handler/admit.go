// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lti-operator/lti-operator/internal/handler/admission"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// form is how an address answers when there is no room for a request: as it answers other refusals.
type form int

const (
	asPage form = iota
	asJSON
	asOutcome
)

// rule says what the requests to an address are.
type rule struct {
	class admission.Class
	form  form
}

// rules are those of all addresses: an address without one cannot be registered, so that none is forgotten.
//
// What continues something comes before what begins something, because a launch that is refused half way has cost what a
// complete one costs, and because programs do not repeat everything that they are refused.
func rules() map[string]rule {
	const (
		platform, tool, activity = "/platforms/{platform}", "/tools/{tool}", "/activities/{activity}"
		lineItems                = tool + "/contexts/{activity}/lineitems"
		lineItem                 = lineItems + "/{lineItem}"
	)
	begins, continues := rule{class: admission.Begin}, rule{class: admission.Continue}
	beginsJSON, continuesJSON := rule{admission.Begin, asJSON}, rule{admission.Continue, asJSON}
	return map[string]rule{
		"GET " + platform + "/login":                        begins,
		"POST " + platform + "/login":                       begins,
		"POST " + platform + "/launch":                      continues,
		"GET " + platform + "/launch":                       begins,
		"POST " + routing.PlatformPickURL("", "{platform}"): continues,
		"GET /platforms/{name}/jwks.json":                   continuesJSON, // to verify what we signed
		"GET " + platform + "/register":                     begins,
		"POST " + platform + "/register":                    continues,
		"POST " + activity + "/launch":                      continues,
		"GET " + activity + "/launch":                       begins,
		"GET " + activity:                                   begins,
		"GET " + activity + "/start":                        begins,
		"GET " + activity + "/return":                       continues,
		"POST " + activity + "/outcomes":                    {admission.Continue, asOutcome},
		"GET " + tool + "/authorize":                        continues,
		"POST " + tool + "/authorize":                       continues,
		"GET " + tool + "/choose":                           begins,
		"POST " + tool + "/chosen":                          continues,
		"POST " + tool + "/register":                        beginsJSON,
		"GET " + tool + "/jwks.json":                        continuesJSON,
		"GET " + tool + routing.PathDiscovery:               continuesJSON,
		"POST " + tool + "/token":                           continuesJSON, // a score follows
		"GET " + lineItems:                                  beginsJSON,
		"POST " + lineItems:                                 continuesJSON,
		"GET " + lineItem:                                   beginsJSON,
		"PUT " + lineItem:                                   continuesJSON,
		"DELETE " + lineItem:                                continuesJSON,
		"POST " + lineItem + "/scores":                      continuesJSON,
		"GET " + lineItem + "/results":                      beginsJSON,
		"GET " + tool + "/contexts/{activity}/memberships":  beginsJSON,
		"POST " + routing.PathOpen:                          continues,
		"POST " + routing.PathLaunchCodes:                   continuesJSON,
		"POST " + routing.PathConnect:                       continues,
		"GET " + routing.PathLearnerCallback:                continues,
		"POST " + routing.PathProgress:                      continuesJSON,
		"GET " + routing.PathProgress:                       beginsJSON,
		"PUT " + routing.PathAccounts + "{subject}":         continuesJSON, // a suspension must not wait
		"GET " + routing.PathResults:                        beginsJSON,
		"GET " + routing.PathResults + "/{id}":              beginsJSON,
		"GET " + routing.PathOpenAPI:                        beginsJSON,
		"GET " + routing.PathOIDC + routing.PathDiscovery:   continuesJSON,
		"GET " + routing.PathOIDC + "/jwks.json":            continuesJSON,
		"GET " + routing.PathOIDC + "/authorize":            continues,
		"POST " + routing.PathOIDC + "/authorize":           continues,
		"POST " + routing.PathOIDC + "/token":               continuesJSON,
		"GET " + routing.PathOIDC + "/userinfo":             continuesJSON,
		"POST " + routing.PathOIDC + "/userinfo":            continuesJSON,
		"/":                                                 begins,
	}
}

// admitting is a mux whose handlers run once the gate lets their requests in.
type admitting struct {
	*http.ServeMux
	handler *Handler
	rules   map[string]rule
}

// HandleFunc implements web.Router.
func (a *admitting) HandleFunc(pattern string, handle func(http.ResponseWriter, *http.Request)) {
	known, ok := a.rules[pattern]
	if !ok {
		panic("no rule says what the requests to " + pattern + " are")
	}
	delete(a.rules, pattern)
	a.ServeMux.HandleFunc(pattern, a.handler.admit(pattern, known, handle))
}

// complete returns the mux once all addresses are registered.
func (a *admitting) complete() *http.ServeMux {
	for pattern := range a.rules {
		panic("there is a rule for " + pattern + ", which nobody serves")
	}
	return a.ServeMux
}

// parties are whom requests come from, by the names in the table.
type parties struct{ platforms, tools, activities map[string]*admission.Party }

// of returns the parties of a table, which keep what is known of those that were in the one before.
func (p *parties) of(index *routing.Index) *parties {
	next := &parties{map[string]*admission.Party{}, map[string]*admission.Party{}, map[string]*admission.Party{}}
	keep := func(from, to map[string]*admission.Party, name string) {
		if to[name] = from[name]; to[name] == nil {
			to[name] = &admission.Party{}
		}
	}
	index.Platforms(func(x *routing.Platform) { keep(p.platforms, next.platforms, x.Name) })
	index.Tools(func(x *routing.Tool) { keep(p.tools, next.tools, x.Name) })
	index.Activities(func(x *routing.Activity) { keep(p.activities, next.activities, x.Name) })
	return next
}

// partyIn returns what finds the party of a request to a pattern: whoever the path names if the table does, so that names
// that somebody makes up have one queue together, and the academy itself where the path names nobody. Nothing of the
// request but its path is believed, because nothing is verified yet.
func (h *Handler) partyIn(pattern string) func(*http.Request) *admission.Party {
	_, path, _ := strings.Cut(pattern, " ")
	named := func(all func(*parties) map[string]*admission.Party) func(*http.Request) *admission.Party {
		_, wildcard, _ := strings.Cut(path, "{")
		wildcard, _, _ = strings.Cut(wildcard, "}")
		return func(r *http.Request) *admission.Party {
			if p := all(h.parties.Load())[r.PathValue(wildcard)]; p != nil {
				return p
			}
			return &h.unknown
		}
	}
	switch {
	case strings.HasPrefix(path, "/platforms/"):
		return named(func(p *parties) map[string]*admission.Party { return p.platforms })
	case strings.HasPrefix(path, "/tools/"):
		return named(func(p *parties) map[string]*admission.Party { return p.tools })
	case strings.HasPrefix(path, "/activities/"):
		return named(func(p *parties) map[string]*admission.Party { return p.activities })
	case path == "":
		return func(*http.Request) *admission.Party { return &h.unknown }
	}
	return func(*http.Request) *admission.Party { return h.gate.House() }
}

// admit returns a handler that answers the requests that the gate lets in. A request has its body when it enters, however
// slowly that came, and leaves when its answer begins, however slowly that is taken: what a slot is needed for is between
// the two.
func (h *Handler) admit(pattern string, known rule, handle http.HandlerFunc) http.HandlerFunc {
	from := h.partyIn(pattern)
	about := web.About{Role: "tool"}
	if strings.Contains(pattern, "/tools/") {
		about.Role = "platform"
	}
	refuse := func(rw http.ResponseWriter, r *http.Request) {
		switch known.form {
		case asPage:
			h.web.RefuseOverloaded(rw, r, &about)
		case asJSON:
			h.web.RefuseOverloadedJSON(rw, &about)
		case asOutcome:
			h.services.RefuseOverloaded(rw, r, &about)
		}
	}
	return func(rw http.ResponseWriter, r *http.Request) {
		a := &admitted{ResponseWriter: rw, lingering: h.lingering, request: r.Context()}
		body, err := h.bodies.receive(r)
		if errors.Is(err, errNoRoom) {
			h.metrics.RequestRefused(known.class.String())
			refuse(a, r)
			return
		}
		if h.gate.Enter(r.Context(), &a.ticket, from(r), known.class) != nil {
			body.forget()
			refuse(a, r)
			return
		}
		defer body.forget()
		defer a.ticket.Leave()
		handle(a, r.WithContext(a.ticket.Context(r.Context())))
	}
}

// lingerFor is how long it takes on average, or longer where many are refused, until somebody is told that there was no room. Clients that ask again at once, as some
// programs do, would otherwise be refused as fast as the CPU permits, and it had no time for those who were let in. A
// person does not notice.
const lingerFor = 500 * time.Millisecond

const (
	// refusalsPerCPU is how many are told in a second, for each CPU that Go may use: a refusal costs about 0.1 ms, of which
	// the most is for the request to be read. Without a bound, refusing ten times as many as can be served takes all the
	// CPU there is, and those who were let in wait for it too. Connections are bounded, so that whoever is not told yet
	// does not ask again.
	refusalsPerCPU = 2000
	// longestLinger is how long anybody waits to be told, however many there are.
	longestLinger = 5 * time.Second
)

// lingering says when those who have been refused are told.
type lingering struct {
	// next is the earliest time for the next one, in nanoseconds, and every the time between two.
	next, all atomic.Int64
	every     time.Duration
}

func newLingering() *lingering {
	return &lingering{every: time.Second / time.Duration(refusalsPerCPU*runtime.GOMAXPROCS(0))}
}

// turn returns how long somebody who was refused now waits to be told.
func (l *lingering) turn(now time.Time) time.Duration {
	at := now.UnixNano()
	for {
		next := l.next.Load()
		turn := min(max(next, at), at+int64(longestLinger))
		if l.next.CompareAndSwap(next, turn+int64(l.every)) {
			// Not all at once, because that is how they would come back: from half as long to half as much again.
			const spread = 16
			least := lingerFor/2 + lingerFor*time.Duration(l.all.Add(1)%spread)/spread
			return max(least, time.Duration(turn-at))
		}
	}
}

// admitted is the answer to a request, which leaves the gate when it begins.
type admitted struct {
	http.ResponseWriter
	ticket    admission.Ticket
	lingering *lingering
	request   context.Context
}

// Linger implements web.Lingerer.
func (a *admitted) Linger() {
	a.ticket.Leave()
	timer := time.NewTimer(a.lingering.turn(time.Now()))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.request.Done():
	}
}

// WriteHeader implements http.ResponseWriter.
func (a *admitted) WriteHeader(status int) {
	a.ticket.Leave()
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *admitted) Write(b []byte) (int, error) {
	a.ticket.Leave()
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *admitted) Unwrap() http.ResponseWriter { return a.ResponseWriter }

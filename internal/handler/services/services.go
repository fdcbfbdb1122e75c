// SPDX-License-Identifier: Apache-2.0

// Package services is what tools call when our learners have opened their activities: access tokens, Assignment and Grade
// Services and Names and Role Provisioning Services over LTI 1.3, Basic Outcomes over LTI 1.2; and where the academy reads
// what came of it.
package services

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/lti-operator/lti-operator/internal/handler/keyring"
	"github.com/lti-operator/lti-operator/internal/handler/platform"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/token"
	"github.com/lti-operator/lti-operator/internal/results"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Services answers tools. Its fields are set once, before the first request.
type Services struct {
	Store store.Results
	Book  *results.Book
	Web   *web.Responder
	Now   func() time.Time
	// Random is where identifiers come from.
	Random io.Reader

	snapshot atomic.Pointer[Snapshot]
}

// Snapshot is a routing table prepared for services. It is immutable.
type Snapshot struct {
	*routing.Index
	sealer *identity.Sealer
	// keys are the tools' own, by name.
	keys map[string]launch.Keys
}

// Prepare makes a snapshot. Key sets that were fetched stay in the cache.
func Prepare(index *routing.Index, cache *jwks.Cache, sealer *identity.Sealer) *Snapshot {
	s := &Snapshot{Index: index, sealer: sealer, keys: map[string]launch.Keys{}}
	index.Tools(func(t *routing.Tool) {
		if t.LTI13 != nil {
			s.keys[t.Name] = keyring.Keys(cache, t.LTI13.JWKSURL, t.LTI13.JWKS)
		}
	})
	return s
}

// Use makes a prepared table the one that the following requests are served from.
func (s *Services) Use(table *Snapshot) { s.snapshot.Store(table) }

// Register adds the addresses of the services.
func (s *Services) Register(mux web.Router) {
	const context = "/tools/{tool}/contexts/{activity}"
	const lineItems, lineItem = context + "/lineitems", context + "/lineitems/{lineItem}"
	mux.HandleFunc("POST /tools/{tool}/token", s.token)
	mux.HandleFunc("GET "+lineItems, s.listLineItems)
	mux.HandleFunc("POST "+lineItems, s.createLineItem)
	mux.HandleFunc("GET "+lineItem, s.showLineItem)
	mux.HandleFunc("PUT "+lineItem, s.updateLineItem)
	mux.HandleFunc("DELETE "+lineItem, s.deleteLineItem)
	mux.HandleFunc("POST "+lineItem+"/scores", s.postScore)
	mux.HandleFunc("GET "+lineItem+"/results", s.listResults)
	mux.HandleFunc("GET "+context+"/memberships", s.listMembers)
	mux.HandleFunc("POST /activities/{activity}/outcomes", s.outcome)
}

// call is one request of a tool, with what is known about it so far.
type call struct {
	*Snapshot
	about web.About
	tool  *routing.Tool
	// activity is the context that the request is about.
	activity *routing.Activity
}

// realm of the learners that the tool knows.
func (c *call) realm() string { return store.ToolRealm(c.tool.Name) }

// begin checks that anything is served.
func (c *call) begin() error {
	switch {
	case c.Snapshot == nil:
		return lti.Refuse(lti.NotReady, "no routing table yet")
	case !c.Academy.Active:
		return lti.Refuse(lti.AcademyDeactivated, "")
	}
	return nil
}

// concerns makes an activity the one that the request is about.
func (c *call) concerns(a *routing.Activity) {
	c.activity = a
	c.about.Activity, c.about.ActivityTitle = a.Name, a.Title
}

// serve runs one request of a tool of LTI 1.3.
func (s *Services) serve(r *http.Request, refuse func(*web.About, error), handle func(*call) error) {
	c := &call{Snapshot: s.snapshot.Load(), about: web.About{Role: "platform", Version: launch.Version13}}
	err := func() error {
		if err := c.begin(); err != nil {
			return err
		}
		if err := c.from(r.PathValue("tool")); err != nil {
			return err
		}
		return handle(c)
	}()
	if err != nil {
		refuse(&c.about, err)
	}
}

// from makes the tool of that name the one that calls, as it says.
func (c *call) from(name string) error {
	c.tool = c.Tool(name)
	if c.tool == nil {
		return lti.Refuse(lti.ToolUnknown, "no tool of that name")
	}
	c.about.Tool, c.about.ToolTitle = name, c.tool.Title
	switch {
	case !c.tool.Active:
		return lti.Refuse(lti.ToolDeactivated, "")
	case c.tool.LTI13 == nil:
		return lti.Refuse(lti.NotRegistered, "the tool's values are not filled in yet")
	}
	return nil
}

// keySet names the keys that the tool is registered with: an address, or the keys themselves.
func (c *call) keySet() string { return c.tool.LTI13.JWKSURL + "\x00" + c.tool.LTI13.JWKS }

// refuseBearer refuses a request that needs an access token (RFC 6750 section 3).
func (s *Services) refuseBearer(rw http.ResponseWriter, r *http.Request) func(*web.About, error) {
	return func(about *web.About, err error) {
		oauthError, challenge := "invalid_request", ""
		switch lti.CodeOf(err) {
		case lti.AccessTokenInvalid:
			oauthError, challenge = "invalid_token", "Bearer"
			if _, ok := web.BearerToken(r); ok {
				challenge = `Bearer error="invalid_token"`
			}
		case lti.ScopeMissing, lti.AccessTokenForeign:
			oauthError, challenge = "insufficient_scope", `Bearer error="insufficient_scope"`
		case lti.StoreUnavailable, lti.NotReady:
			oauthError = "temporarily_unavailable"
		case lti.InternalError:
			oauthError = "server_error"
		}
		if challenge != "" {
			rw.Header().Set("WWW-Authenticate", challenge)
		}
		s.Web.RefuseJSON(rw, r, about, err, oauthError)
	}
}

// inContext runs one request about a context, of a tool that has an access token for one of the scopes.
func (s *Services) inContext(rw http.ResponseWriter, r *http.Request, handle func(*call) error, scopes ...string) {
	s.serve(r, s.refuseBearer(rw, r), func(c *call) error {
		bearer, ok := web.BearerToken(r)
		if !ok {
			return lti.Refuse(lti.AccessTokenInvalid, "there is no access token")
		}
		granted, err := c.sealer.OpenServiceToken(bearer, c.tool.Name, c.keySet(), s.Now(), scopes...)
		if err != nil {
			return err
		}
		// A token outlives what the tool was allowed when it was issued.
		if len(token.Grant(token.Grant(granted.Scopes, scopes), platform.Scopes(c.tool))) == 0 {
			return lti.Refuse(lti.ScopeMissing, "the service is switched off for this tool")
		}
		a := c.Activity(r.PathValue("activity"))
		if a == nil || a.External == nil || a.External.LTI13 == nil || a.External.LTI13.Tool != c.tool.Name {
			return lti.Refuse(lti.ContextUnknown, "the tool has no context of that name")
		}
		c.concerns(a)
		return handle(c)
	})
}

// ruleOf is how what is reported about an activity is understood.
func ruleOf(a *routing.Activity) results.Rule {
	return results.Rule{Exam: a.Type == routing.ActivityTypeExam, MinimumScore: a.MinimumScore}
}

// maxBody bounds what tools send.
const maxBody = 64 << 10

func readBody(rw http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, lti.Refuse(lti.RequestTooLarge, "at most %d bytes", maxBody)
	}
	if err != nil {
		return nil, lti.Refuse(lti.RequestMalformed, "the body ended early").Because(err)
	}
	return body, nil
}

// storeRefusal translates what the store says; unknown is for what it does not have.
func storeRefusal(unknown lti.Code, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrInvalid):
		// What no store accepts is the name of nothing.
		return lti.Refuse(unknown, "").Because(err)
	case errors.Is(err, store.ErrReplayed):
		return lti.Refuse(lti.Replayed, "").Because(err)
	case errors.Is(err, store.ErrTooMany):
		return lti.Refuse(lti.LineItemsTooMany, "").Because(err)
	}
	return web.Unavailable(err)
}

// write answers with a media type of its own.
func write(rw http.ResponseWriter, status int, mediaType string, body []byte) {
	h := rw.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	rw.WriteHeader(status)
	// A failed write means that the client has gone.
	_, _ = rw.Write(body) //nolint:gosec // JSON or XML that is not taken for a page (nosniff)
}

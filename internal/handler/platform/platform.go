// SPDX-License-Identifier: Apache-2.0

// Package platform is the HTTP surface of the academy as an LTI platform: its learners open activities that were made
// elsewhere, over LTI 1.3 and LTI 1.2, and its authors choose such activities where they were made (Deep Linking 2.0).
package platform

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lti-operator/lti-operator/internal/handler/keyring"
	"github.com/lti-operator/lti-operator/internal/handler/learners"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/token"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Platform serves launches of tools. Its fields are set once, before the first request.
type Platform struct {
	Store  store.Results
	Web    *web.Responder
	Now    func() time.Time
	Random io.Reader

	snapshot atomic.Pointer[Snapshot]
}

// Snapshot is a routing table prepared for launches of tools. It is immutable.
type Snapshot struct {
	*routing.Index
	sealer *identity.Sealer
	// learners is where the academy's own learners sign in; nil where they cannot.
	learners *learners.Desk
	// signingKeys are ours, and keys the tools' own, by the name of the tool.
	signingKeys map[string]func() (*token.Key, error)
	keys        map[string]launch.Keys
}

// Prepare makes a snapshot. desk is nil where learners cannot sign in. Key sets that were fetched stay in the cache.
func Prepare(index *routing.Index, cache *jwks.Cache, sealer *identity.Sealer, desk *learners.Desk) *Snapshot {
	s := &Snapshot{
		Index: index, sealer: sealer, learners: desk, signingKeys: map[string]func() (*token.Key, error){}, keys: map[string]launch.Keys{},
	}
	index.Tools(func(t *routing.Tool) {
		s.signingKeys[t.Name] = keyring.SigningKey(index, routing.KindTool, t.Name)
		if t.LTI13 != nil {
			s.keys[t.Name] = keyring.Keys(cache, t.LTI13.JWKSURL, t.LTI13.JWKS)
		}
	})
	return s
}

// Use makes a prepared table the one that the following requests are served from.
func (p *Platform) Use(s *Snapshot) { p.snapshot.Store(s) }

// Register adds the addresses of the platform role.
func (p *Platform) Register(mux web.Router) {
	mux.HandleFunc("GET /activities/{activity}/start", p.start)
	mux.HandleFunc("GET /activities/{activity}/return", p.leave)
	mux.HandleFunc("GET /tools/{tool}/authorize", p.authorize)
	mux.HandleFunc("POST /tools/{tool}/authorize", p.authorize)
	mux.HandleFunc("GET /tools/{tool}/choose", p.choose)
	mux.HandleFunc("POST /tools/{tool}/chosen", p.chosen)
	mux.HandleFunc("GET /tools/{tool}/jwks.json", p.publicKeys)
	mux.HandleFunc("GET /tools/{tool}"+routing.PathDiscovery, p.discovery)
}

// visit is one request of a launch, with what is known about it so far.
type visit struct {
	*Snapshot
	about web.About
}

// serve runs one request of a launch.
func (p *Platform) serve(rw http.ResponseWriter, r *http.Request, handle func(*visit) error) {
	v := &visit{Snapshot: p.snapshot.Load(), about: web.About{Role: "platform"}}
	p.Web.Answer(rw, r, &v.about, p.Now, func() error {
		if v.Snapshot == nil {
			return lti.Refuse(lti.NotReady, "no routing table yet")
		}
		v.about.FrameAncestors = strings.Join(v.Academy.FrameAncestors, " ")
		if !v.Academy.Active {
			return lti.Refuse(lti.AcademyDeactivated, "")
		}
		return handle(v)
	})
}

// findTool makes the tool of that name the one that the request is about, and checks that it may be launched.
func (v *visit) findTool(name string) (*routing.Tool, error) {
	t := v.Tool(name)
	if t == nil {
		return nil, lti.Refuse(lti.ToolUnknown, "no tool of that name")
	}
	v.about.Tool, v.about.ToolTitle = t.Name, t.Title
	switch {
	case !t.Active:
		return nil, lti.Refuse(lti.ToolDeactivated, "")
	case t.LTI13 == nil:
		return nil, lti.Refuse(lti.NotRegistered, "the tool's values are not filled in yet")
	}
	return t, nil
}

// findActivity makes the activity of that name the one that the request is about, and checks that learners may open it. The
// tool is nil over LTI 1.2.
func (v *visit) findActivity(name string) (*routing.Activity, *routing.Tool, error) {
	a := v.Activity(name)
	if a == nil {
		return nil, nil, lti.Refuse(lti.ActivityUnknown, "no activity of that name")
	}
	v.about.Activity, v.about.ActivityTitle = a.Name, a.Title
	switch {
	case a.External == nil:
		return nil, nil, lti.Refuse(lti.NotExternal, "")
	case a.External.LTI13 != nil:
		v.about.Version = version13
		t, err := v.findTool(a.External.LTI13.Tool)
		return a, t, err
	}
	v.about.Version = version12
	if v.ExternalCredential(a.Name) == nil {
		return nil, nil, lti.Refuse(lti.NotRegistered, "the key of the other system is missing")
	}
	return a, nil, nil
}

// storeRefusal translates what the store says.
func storeRefusal(err error) error {
	switch {
	case errors.Is(err, store.ErrReplayed):
		return lti.Refuse(lti.LaunchAlreadyUsed, "").Because(err)
	case errors.Is(err, store.ErrNotFound):
		return lti.Refuse(lti.LaunchExpired, "").Because(err)
	}
	return web.Unavailable(err)
}

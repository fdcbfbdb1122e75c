// SPDX-License-Identifier: Apache-2.0

// Package registration is the HTTP surface of LTI Dynamic Registration 1.0 in both roles: we register at a platform whose
// administrator opens our link, and tools register with us. What comes of it is kept for the operator; nothing of it is used
// before it is approved.
package registration

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/service"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Registrar serves registrations. Its fields are set once, before the first request.
type Registrar struct {
	Store store.Registrations
	// Doer reaches platforms: guarded, and without following redirects.
	Doer service.Doer
	Web  *web.Responder
	Now  func() time.Time

	index atomic.Pointer[routing.Index]
}

// Use makes a table the one that the following requests are served from.
func (g *Registrar) Use(index *routing.Index) { g.index.Store(index) }

// Register adds the addresses of registrations.
func (g *Registrar) Register(mux web.Router) {
	mux.HandleFunc("GET /platforms/{platform}/register", g.offer)
	mux.HandleFunc("POST /platforms/{platform}/register", g.atPlatform)
	mux.HandleFunc("POST /tools/{tool}/register", g.ofTool)
}

// visit is one request of a registration, with what is known about it so far.
type visit struct {
	*routing.Index
	about web.About
}

// begin checks that anything is served.
func (g *Registrar) begin(role string) (*visit, error) {
	v := &visit{Index: g.index.Load(), about: web.About{Version: launch.Version13, Role: role}}
	if v.Index == nil {
		return v, lti.Refuse(lti.NotReady, "no routing table yet")
	}
	v.about.FrameAncestors = strings.Join(v.Academy.FrameAncestors, " ")
	if !v.Academy.Active {
		return v, lti.Refuse(lti.AcademyDeactivated, "")
	}
	return v, nil
}

// admits checks a token. Whether there is another link, or none, or not even the object, is told to nobody without the token.
func (g *Registrar) admits(link *routing.RegistrationLink, token string) error {
	sum := sha256.Sum256([]byte(token))
	var known []byte
	if link != nil {
		known = link.TokenSHA256
	}
	if subtle.ConstantTimeCompare(sum[:], known) != 1 {
		return lti.Refuse(lti.RegistrationLinkInvalid, "")
	}
	if !g.Now().Before(link.ExpiresAt) {
		return lti.Refuse(lti.RegistrationLinkExpired, "")
	}
	return nil
}

// once does something with a link that may be done once. What is refused, and what fails, leaves the link as it was.
func (g *Registrar) once(ctx context.Context, link *routing.RegistrationLink, do func(ctx context.Context) (*routing.Registration, error)) (*routing.Registration, error) {
	claimed := store.RegistrationLink{Hash: store.Hash(link.TokenSHA256), ExpiresAt: link.ExpiresAt}
	lease, err := g.Store.ClaimRegistrationLink(ctx, claimed)
	if err != nil {
		return nil, storeRefusal(err)
	}
	// From here on it is finished, whoever has gone away: the other system may have registered us already.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	r, err := do(ctx)
	if err == nil {
		err = g.complete(ctx, claimed.Hash, lease, r)
	}
	if err != nil {
		if failed := g.Store.ReleaseRegistrationLink(context.WithoutCancel(ctx), claimed.Hash, lease); failed != nil {
			g.Web.Log.WarnContext(ctx, "a registration link stays held until its lease is over", "error", failed.Error())
		}
		return nil, err
	}
	g.Web.Log.InfoContext(ctx, "registered", "kind", r.Kind, "name", r.Name, "registration", r.ID)
	return r, nil
}

// attemptTimeout bounds an attempt: two requests to the other system and the store. It is less than what the listener gives to
// a request, and than the lease.
const attemptTimeout = 25 * time.Second

// maxRegistration is the longest registration that is kept, as JSON in bytes. A real one has about a thousand. The operator
// reads all at once, and one other party must not be able to fill that.
const maxRegistration = 16 << 10

func (g *Registrar) complete(ctx context.Context, link store.Hash, lease string, r *routing.Registration) error {
	document, err := json.Marshal(r)
	switch {
	case err != nil:
		return err
	case len(document) > maxRegistration && r.Kind == routing.KindTool:
		return lti.Refuse(lti.RegistrationMetadataInvalid, "its values have more than %d bytes", maxRegistration)
	case len(document) > maxRegistration:
		return lti.Refuse(lti.RegistrationAnswerInvalid, "its values have more than %d bytes", maxRegistration)
	}
	kept := store.Registration{Kind: r.Kind, Name: r.Name, ID: r.ID, Document: document}
	err = g.Store.CompleteRegistration(ctx, link, lease, kept)
	if err != nil && r.Kind == routing.KindPlatform {
		// The platform has registered us by now, and a tool is told that it is not registered.
		return lti.Refuse(lti.RegistrationNotKept, "").Because(err)
	}
	return storeRefusal(err)
}

// List returns all registrations, oldest first. They may hold secrets.
func (g *Registrar) List(ctx context.Context) (routing.Registrations, error) {
	kept, err := g.Store.Registrations(ctx)
	if err != nil {
		return routing.Registrations{}, err
	}
	all := routing.Registrations{Items: make([]routing.Registration, len(kept))}
	for i := range kept {
		if err := json.Unmarshal(kept[i].Document, &all.Items[i]); err != nil {
			return routing.Registrations{}, fmt.Errorf("a registration of %s %s: %w", kept[i].Kind, kept[i].Name, err)
		}
		all.Items[i].RegisteredAt = kept[i].RegisteredAt
	}
	return all, nil
}

// named gives a registration its ID.
func named(r *routing.Registration) *routing.Registration {
	r.ID = r.ComputeID()
	return r
}

// storeRefusal translates what the store says.
func storeRefusal(err error) error {
	switch {
	case errors.Is(err, store.ErrTicketUsed):
		return lti.Refuse(lti.RegistrationLinkUsed, "").Because(err)
	case errors.Is(err, store.ErrTicketExpired):
		return lti.Refuse(lti.RegistrationLinkExpired, "").Because(err)
	case errors.Is(err, store.ErrBusy), errors.Is(err, store.ErrLeaseLost):
		return lti.Refuse(lti.RegistrationLinkBusy, "").Because(err)
	}
	return web.Unavailable(err)
}

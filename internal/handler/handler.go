// SPDX-License-Identifier: Apache-2.0

// Package handler puts the launch handler together: the routing table from the mounted directory, the HTTP surface of
// each role, and the listeners they are served on.
package handler

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lti-operator/lti-operator/internal/configdir"
	"github.com/lti-operator/lti-operator/internal/egress"
	"github.com/lti-operator/lti-operator/internal/grades"
	"github.com/lti-operator/lti-operator/internal/handler/admission"
	"github.com/lti-operator/lti-operator/internal/handler/learners"
	"github.com/lti-operator/lti-operator/internal/handler/platform"
	"github.com/lti-operator/lti-operator/internal/handler/registration"
	"github.com/lti-operator/lti-operator/internal/handler/services"
	"github.com/lti-operator/lti-operator/internal/handler/tool"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/identity/learner"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
	"github.com/lti-operator/lti-operator/internal/lti/token"
	"github.com/lti-operator/lti-operator/internal/provisioning"
	"github.com/lti-operator/lti-operator/internal/results"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Options are what a handler is made from. Store and ConfigDir are required.
type Options struct {
	// ConfigDir is the mounted directory with manifest and shards.
	ConfigDir string
	Store     store.Store
	Log       *slog.Logger
	// Now and Random default to the real ones.
	Now    func() time.Time
	Random io.Reader
	// Registry receives the metrics; a new one by default.
	Registry *prometheus.Registry
	// Working and Waiting are how many requests are worked on at once, and how many wait meanwhile; see admission.Options
	// for what 0 means. Connections is how many the public listener has at once, 1024 if 0.
	Working, Waiting, Connections int
}

// Handler serves all run-time LTI traffic of one academy.
type Handler struct {
	log      *slog.Logger
	registry *prometheus.Registry
	metrics  *web.Metrics
	config   *configdir.Watcher
	store    store.Store
	now      func() time.Time
	random   io.Reader
	web      *web.Responder
	tool     *tool.Tool
	platform *platform.Platform
	services *services.Services
	// registration is dynamic registration in both roles.
	registration *registration.Registrar
	results      *results.Worker
	// sealer is that of the table in use; nil before the first. target is where results are told.
	sealer  atomic.Pointer[identity.Sealer]
	target  atomic.Pointer[results.Target]
	cache   *jwks.Cache
	fetcher *guardedFetcher
	gate    *admission.Gate
	bodies  bodies
	// parties are those of the table in use; unknown is whoever it does not name.
	parties     atomic.Pointer[parties]
	unknown     admission.Party
	connections int
	lingering   *lingering
	control     atomic.Pointer[controlKeys]
	book        *grades.Book
	tokens      *token.Cache
	worker      *grades.Worker
	enroller    *provisioning.Enroller
	// directory is the academy's, nil for none, and learners the identity provider of its learners, with what each was made
	// from. All but directory are used from one goroutine.
	directory     atomic.Pointer[provisioning.Client]
	directoryFrom directorySource
	learners      *learner.Provider
	learnersFrom  learnersSource
}

// directorySource is what a client of the academy's directory is made from.
type directorySource struct {
	routing.SCIM
	token string
}

// learnersSource is what the provider of the academy's learners is made from. It holds the client, so that no other one
// can be taken for it.
type learnersSource struct {
	routing.Learners
	secret string
	client *egress.Client
}

// New makes a handler. It serves nothing before Run has loaded a table.
func New(o Options) (*Handler, error) {
	if o.Store == nil || o.ConfigDir == "" {
		return nil, errors.New("a handler needs a store and a configuration directory")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	h := &Handler{log: o.Log, registry: o.Registry, store: o.Store, now: o.Now, random: o.Random, fetcher: &guardedFetcher{}}
	h.metrics = web.NewMetrics(o.Registry)
	h.web = &web.Responder{Log: o.Log, Metrics: h.metrics, Random: o.Random}
	if err := h.web.PrepareOverloaded(""); err != nil {
		return nil, err
	}
	h.gate = admission.New(admission.Options{
		Slots: o.Working, Waiting: o.Waiting, Waited: h.metrics.RequestWaited,
		Refused: func(c admission.Class) { h.metrics.RequestRefused(c.String()) },
	})
	h.parties.Store(&parties{})
	h.connections = cmp.Or(o.Connections, defaultConnections)
	h.lingering = newLingering()
	h.metrics.Waiting(h.gate.Waiting)
	h.tool = &tool.Tool{Store: o.Store, Web: h.web, Now: o.Now, Random: o.Random}
	h.platform = &platform.Platform{Store: o.Store, Web: h.web, Now: o.Now, Random: o.Random}
	h.registration = &registration.Registrar{Store: o.Store, Doer: outsideDoer{h.fetcher}, Web: h.web, Now: o.Now}
	h.results = &results.Worker{
		Store: o.Store, Doer: h.fetcher, Target: h.target.Load, Log: o.Log, Now: o.Now, Jitter: jitter(o.Random), Observe: h.metrics.Result,
	}
	h.services = &services.Services{
		Store: o.Store, Web: h.web, Now: o.Now, Random: o.Random,
		Book: &results.Book{Store: o.Store, Now: o.Now, Wake: h.results.Wake, Told: func() bool { return h.target.Load() != nil }},
	}
	h.cache = jwks.NewCache(h.fetcher, jwks.Options{Now: o.Now, Observe: h.metrics.JWKSFetch, Waiting: outside})
	h.book = &grades.Book{Store: o.Store, Now: o.Now}
	h.tool.Book = h.book
	h.tokens = token.NewCache(&token.Requester{Doer: h.fetcher, Now: o.Now, Random: o.Random}, token.Options{})
	h.worker = &grades.Worker{
		Rows: h.book, Log: o.Log, Now: o.Now, Jitter: jitter(o.Random), Observe: h.metrics.Grade,
		Sender: &grades.Services{
			Directory: h.tool.Directory(), Tokens: h.tokens, Doer: h.fetcher, LineItems: o.Store, Now: o.Now, Random: o.Random,
		},
	}
	h.book.Wake = h.worker.Wake
	h.enroller = &provisioning.Enroller{
		Queue: o.Store, Client: h.directory.Load, Log: o.Log, Now: o.Now, Jitter: jitter(o.Random), Observe: h.metrics.Enrolment,
	}
	h.tool.Enrol = h.enroller.Wake
	h.config = configdir.New(configdir.Options{
		Dir: o.ConfigDir, Logger: o.Log, Now: o.Now,
		Rejected: func(code configdir.ErrorCode) { h.metrics.ConfigRejected(string(code)) },
	})
	h.config.OnChange(h.use)
	return h, nil
}

// jitter returns numbers from 0 to 1.
func jitter(random io.Reader) func() float64 {
	return func() float64 {
		var b [2]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return 1 // the longest pause
		}
		return float64(binary.BigEndian.Uint16(b[:])) / math.MaxUint16
	}
}

// use takes over a new table. What cannot be used leaves the last one in place.
func (h *Handler) use(index *routing.Index) {
	if err := h.fetcher.allow(index.Academy.AllowPrivateCIDRs); err != nil {
		h.log.Error("the routing table names networks that cannot be read", "error", err.Error())
	}
	control, err := newControlKeys(index.Keys.Control)
	if err != nil {
		h.log.Error("the control port keeps its old keys", "error", err.Error())
	} else {
		h.control.Store(control)
	}
	if err := h.serve(index); err != nil {
		h.log.Error("the routing table cannot be used", "error", err.Error())
		h.metrics.ConfigRejected("Unusable")
		return
	}
	h.tokens.Retain(func(platform string) bool { return index.Platform(platform) != nil })
	h.metrics.ConfigLoaded(h.now())
}

// serve makes a new table the one that all roles serve from.
func (h *Handler) serve(index *routing.Index) error {
	sealer, err := identity.NewSealer(h.random, index.Keys.StateKeys...)
	if err != nil {
		return fmt.Errorf("keys of the sign-in: %w", err)
	}
	desk := h.desk(index, sealer)
	snapshot, err := tool.Prepare(index, h.cache, tool.Peers{Accounts: h.accounts(index), Learners: desk, Sealer: sealer})
	if err != nil {
		return err
	}
	if err := h.web.PrepareOverloaded(strings.Join(index.Academy.FrameAncestors, " ")); err != nil {
		return err
	}
	h.parties.Store(h.parties.Load().of(index))
	h.sealer.Store(sealer)
	h.target.Store(h.webhook(index))
	h.platform.Use(platform.Prepare(index, h.cache, sealer, desk))
	h.services.Use(services.Prepare(index, h.cache, sealer))
	h.registration.Use(index)
	// Last: what this one has is reported as served.
	h.tool.Use(snapshot)
	h.retainKeys(index)
	return nil
}

// webhook is where the academy is told of results; nil for nowhere.
func (h *Handler) webhook(index *routing.Index) *results.Target {
	if index.Academy.ResultsWebhook == "" {
		return nil
	}
	target := &results.Target{URL: index.Academy.ResultsWebhook, Source: index.Academy.URL}
	for _, text := range index.Keys.WebhookSecrets {
		secret, err := results.ParseSecret(text)
		if err != nil {
			h.log.Error("results cannot be signed", "error", err.Error())
			return nil
		}
		target.Secrets = append(target.Secrets, secret)
	}
	if len(target.Secrets) == 0 {
		return nil
	}
	return target
}

// retainKeys forgets the fetched keys of parties that are gone.
func (h *Handler) retainKeys(index *routing.Index) {
	urls := map[string]bool{}
	index.Platforms(func(p *routing.Platform) {
		if p.LTI13 != nil {
			urls[p.LTI13.JWKSURL] = true
		}
	})
	index.Tools(func(t *routing.Tool) {
		if t.LTI13 != nil {
			urls[t.LTI13.JWKSURL] = true
		}
	})
	h.cache.Retain(func(url string) bool { return urls[url] })
}

// desk is where the academy's own learners sign in; nil where they cannot.
func (h *Handler) desk(index *routing.Index, sealer *identity.Sealer) *learners.Desk {
	in, client := index.Academy.Learners, h.fetcher.client.Load()
	if in == nil || client == nil {
		h.learners = nil
		return nil
	}
	from := learnersSource{*in, index.Keys.LearnersSecret, client}
	config := learner.Config{IssuerURL: in.IssuerURL, ClientID: in.ClientID, ClientSecret: from.secret, SubjectClaim: in.SubjectClaim}
	if h.learners == nil || h.learnersFrom != from {
		h.learners, h.learnersFrom = learner.New(config, client.HTTP(), h.now), from
	}
	return &learners.Desk{
		Provider: outsideProvider{h.learners}, Fingerprint: config.Fingerprint(), Sealer: sealer, Now: h.now,
		RedirectURI: routing.LearnerCallbackURL(index.Academy.URL),
	}
}

// accounts is the client for the academy's directory; nil if it has none. One that cannot be made fails its launches, not
// the table. It is called from one goroutine.
func (h *Handler) accounts(index *routing.Index) tool.Accounts {
	scim := index.Academy.SCIM
	if scim == nil {
		h.directory.Store(nil)
		return nil
	}
	token := index.Keys.SCIMToken
	from := directorySource{*scim, token}
	if client := h.directory.Load(); client != nil && from == h.directoryFrom {
		return outsideAccounts{client}
	}
	client, err := provisioning.New(provisioning.Options{
		URL: scim.URL, Token: func() string { return token }, LinkFilter: scim.LinkFilter, CreateGroups: true, Doer: h.fetcher, Now: h.now,
	})
	if err != nil {
		h.log.Error("the academy's directory cannot be used", "error", err.Error())
		h.directory.Store(nil)
		return noAccounts{err}
	}
	h.directory.Store(client)
	h.directoryFrom = from
	return outsideAccounts{client}
}

// noAccounts stands for a directory that cannot be used.
type noAccounts struct{ err error }

// Ensure implements tool.Accounts.
func (n noAccounts) Ensure(context.Context, provisioning.Person, string) (provisioning.Account, error) {
	return provisioning.Account{}, n.err
}

// purgeInterval and launchRetention are how often, and after how long, what nobody can need any more is deleted.
const (
	purgeInterval   = 10 * time.Minute
	launchRetention = 90 * 24 * time.Hour
)

// Run watches the configuration directory and keeps the store tidy until the context ends.
func (h *Handler) Run(ctx context.Context) error {
	go h.purge(ctx)
	sending := make(chan struct{})
	go func() {
		defer close(sending)
		h.worker.Run(ctx)
	}()
	enrolling := make(chan struct{})
	go func() {
		defer close(enrolling)
		h.enroller.Run(ctx)
	}()
	telling := make(chan struct{})
	go func() {
		defer close(telling)
		h.results.Run(ctx)
	}()
	// What is on its way is given back to the store before that is closed.
	defer func() { <-sending; <-enrolling; <-telling }()
	return h.config.Run(ctx)
}

func (h *Handler) purge(ctx context.Context) {
	ticker := time.NewTicker(purgeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			purged, err := h.store.Purge(ctx, h.now(), launchRetention)
			if err != nil && ctx.Err() == nil {
				h.log.Warn("could not delete what has expired", "error", err.Error())
			}
			h.log.Debug("deleted what has expired", "nonces", purged.Nonces, "tickets", purged.Tickets, "launches", purged.Launches)
		}
	}
}

// Public is the handler of the public listener.
func (h *Handler) Public() http.Handler {
	mux := &admitting{ServeMux: http.NewServeMux(), handler: h, rules: rules()}
	h.tool.Register(mux)
	h.platform.Register(mux)
	h.services.Register(mux)
	h.registration.Register(mux)
	mux.HandleFunc("GET "+routing.PathLearnerCallback, h.learnerReturned)
	mux.HandleFunc("GET "+routing.PathResults, h.tool.ForClients(identity.ScopeResults, h.services.ListForAcademy))
	mux.HandleFunc("GET "+routing.PathResults+"/{id}", h.tool.ForClients(identity.ScopeResults, h.services.ShowForAcademy))
	mux.HandleFunc("/", h.nothing(mux.ServeMux))
	return h.web.Protect(mux.complete())
}

// learnerReturned is where the identity provider sends learners back to, whatever they signed in for.
func (h *Handler) learnerReturned(rw http.ResponseWriter, r *http.Request) {
	purpose := identity.FlowConnect
	if sealer := h.sealer.Load(); sealer != nil {
		purpose = sealer.FlowPurposeOf(r.URL.Query().Get("state"))
	}
	switch purpose {
	case identity.FlowStart:
		h.platform.Started(rw, r)
	case identity.FlowChoose:
		h.platform.Chooses(rw, r)
	default:
		h.tool.Connected(rw, r)
	}
}

// nothing answers what no other pattern does: an unknown address, or a method that a known one does not take.
func (h *Handler) nothing(mux *http.ServeMux) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
			other := r.Clone(r.Context())
			other.Method = method
			if _, pattern := mux.Handler(other); pattern != "/" {
				allowed = append(allowed, method)
			}
		}
		err := lti.Refuse(lti.AddressUnknown, "")
		if allowed != nil {
			rw.Header().Set("Allow", strings.Join(allowed, ", "))
			err = lti.Refuse(lti.MethodNotAllowed, "it answers %s", strings.Join(allowed, ", "))
		}
		h.web.Refuse(rw, r, &web.About{Role: "tool"}, err)
	}
}

// guardedFetcher fetches key sets through a guarded client, whose exceptions come with the routing table.
type guardedFetcher struct {
	client atomic.Pointer[egress.Client]
	cidrs  string
}

// allow sets the private networks that may be reached. It is called from one goroutine.
func (f *guardedFetcher) allow(cidrs []string) error {
	key := fmt.Sprint(cidrs)
	if f.client.Load() != nil && key == f.cidrs {
		return nil
	}
	var prefixes []netip.Prefix
	var errs []error
	for _, c := range cidrs {
		prefix, err := netip.ParsePrefix(c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	f.client.Store(egress.New(egress.Options{AllowedCIDRs: prefixes}))
	f.cidrs = key
	return errors.Join(errs...)
}

// Do implements service.Doer.
func (f *guardedFetcher) Do(req *http.Request) (*http.Response, error) {
	client := f.client.Load()
	if client == nil {
		return nil, errors.New("no configuration yet")
	}
	return client.Do(req)
}

// Fetch implements jwks.Fetcher.
func (f *guardedFetcher) Fetch(ctx context.Context, url string) ([]byte, error) {
	client := f.client.Load()
	if client == nil {
		return nil, errors.New("no configuration yet")
	}
	return client.Fetch(ctx, url)
}

package token

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// Options of a [Cache]. Zero values mean the defaults.
type Options struct {
	// Margin is how long before its end a token is replaced; 60 s. A token that
	// lives for less than twice as long is used for half its life.
	Margin time.Duration
	// RetryInterval is how long a client is left alone after its token was
	// refused or the endpoint did not answer; 10 s, or what the platform's
	// Retry-After says. The error is returned meanwhile: a hundred grades that
	// wait for one token cause one request.
	RetryInterval time.Duration
	// Timeout of one request; 15 s.
	Timeout time.Duration
	// MaxEntries is how many tokens are kept; 1000.
	MaxEntries int
	// Observe is told the outcome of every request, for metrics; optional.
	Observe func(err error)
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.Margin, time.Minute)
	def(&o.RetryInterval, 10*time.Second)
	def(&o.Timeout, 15*time.Second)
	if o.MaxEntries <= 0 {
		o.MaxEntries = 1000
	}
	if o.Observe == nil {
		o.Observe = func(error) {}
	}
	return o
}

// Cache keeps access tokens until shortly before they expire. It keeps no keys,
// and starts no goroutines: the caller that finds no token asks for one, and
// goes on to the end even when it is cancelled, because others may be waiting
// for the result.
type Cache struct {
	requester *Requester
	opts      Options

	mu      sync.Mutex
	entries map[key]*entry
}

// key is everything that a token depends on. A change of any of it is a reason
// to ask anew.
type key struct {
	registration, tokenURL, clientID, audience, keyID, scopes string
}

type entry struct {
	// All fields are guarded by Cache.mu.
	token  Token     // has no Value if there is none
	until  time.Time // when the token is to be replaced, or the failure forgotten
	err    error     // of the last request, if it failed
	flight *flight   // the request under way
}

// A flight is one request and its outcome, which may be read when done is
// closed.
type flight struct {
	done  chan struct{}
	token Token
	err   error
}

// NewCache returns an empty cache.
func NewCache(r *Requester, opts Options) *Cache {
	return &Cache{requester: r, opts: opts.withDefaults(), entries: map[key]*entry{}}
}

// Get returns a token of the client with the given scopes, from the cache or
// from the platform. Concurrent calls share one request. For errors see
// [Requester.Request]; one that is kept for RetryInterval says in RetryAfter
// how much of it is left.
func (c *Cache) Get(ctx context.Context, client Client, scopes []string) (Token, error) {
	k := keyOf(client, scopes)
	c.mu.Lock()
	now := c.requester.Now()
	e := c.entries[k]
	switch {
	case e == nil:
		e = &entry{}
		c.makeRoom(now)
		c.entries[k] = e
	case e.flight == nil && now.Before(e.until):
		defer c.mu.Unlock()
		if e.err != nil {
			return Token{}, remaining(e.err, e.until.Sub(now))
		}
		return e.token, nil
	}
	if f := e.flight; f != nil {
		c.mu.Unlock()
		select {
		case <-f.done:
			return f.token, f.err
		case <-ctx.Done():
			return Token{}, &service.Error{Class: service.Temporary, Reason: service.Unreachable, Detail: "gave up waiting for an access token", Err: ctx.Err()}
		}
	}
	f := &flight{done: make(chan struct{})}
	e.flight = f
	c.mu.Unlock()

	f.token, f.err = c.request(ctx, client, scopes)

	c.mu.Lock()
	defer c.mu.Unlock()
	now = c.requester.Now()
	e.flight, e.token, e.err = nil, f.token, f.err
	if f.err != nil {
		e.until = now.Add(c.pause(f.err))
	} else {
		life := f.token.ExpiresAt.Sub(f.token.ReceivedAt)
		e.until = f.token.ExpiresAt.Add(-min(c.opts.Margin, life/2))
	}
	close(f.done)
	return f.token, f.err
}

// request asks the platform. A panic becomes an error: the waiters must be
// released whatever happens.
func (c *Cache) request(ctx context.Context, client Client, scopes []string) (t Token, err error) {
	defer func() {
		if p := recover(); p != nil {
			t, err = Token{}, fmt.Errorf("token: asking for a token panicked: %v", p)
		}
		c.opts.Observe(err)
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opts.Timeout)
	defer cancel()
	return c.requester.Request(ctx, client, scopes)
}

// pause returns for how long an error is kept.
func (c *Cache) pause(err error) time.Duration {
	var e *service.Error
	if errors.As(err, &e) {
		if e.Reason == service.RequestInvalid {
			return 0 // nothing was sent
		}
		return max(c.opts.RetryInterval, e.RetryAfter)
	}
	return c.opts.RetryInterval
}

// remaining returns the error with what is left of the pause.
func remaining(err error, left time.Duration) error {
	var e *service.Error
	if !errors.As(err, &e) || e.Class != service.Temporary {
		return err
	}
	again := *e
	again.RetryAfter = left
	return &again
}

// Invalidate forgets a token that a service refused (RFC 6750 section 3.1).
// Another one, which somebody got meanwhile, stays.
func (c *Cache) Invalidate(client Client, scopes []string, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[keyOf(client, scopes)]; e != nil && e.token.Value == value {
		e.token, e.until = Token{}, time.Time{}
	}
}

// Retain forgets the tokens of every registration for which keep returns false.
// Call it after the configuration changed.
func (c *Cache) Retain(keep func(registration string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, e := range c.entries {
		// An entry with a request under way is left for the next time.
		if e.flight == nil && !keep(k.registration) {
			delete(c.entries, k)
		}
	}
}

// makeRoom removes entries until one more fits: those that are of no use any
// more first, then the one that is the first to become so.
func (c *Cache) makeRoom(now time.Time) {
	if len(c.entries) < c.opts.MaxEntries {
		return
	}
	var first key
	var at time.Time
	found := false
	for k, e := range c.entries {
		switch {
		case e.flight != nil:
		case !now.Before(e.until):
			delete(c.entries, k)
		case !found || e.until.Before(at):
			first, at, found = k, e.until, true
		}
	}
	if found && len(c.entries) >= c.opts.MaxEntries {
		delete(c.entries, first)
	}
}

func keyOf(c Client, scopes []string) key {
	k := key{registration: c.Registration, tokenURL: c.TokenURL, clientID: c.ClientID, audience: c.Audience}
	if c.Key != nil {
		k.keyID = c.Key.id
	}
	// No scope contains a blank (RFC 6749 section 3.3).
	k.scopes = strings.Join(sorted(scopes), " ")
	return k
}

// Source gives the tokens of one client with one set of scopes.
type Source struct {
	cache  *Cache
	client Client
	scopes []string
}

// Source returns a view of the cache. It is cheap.
func (c *Cache) Source(client Client, scopes []string) *Source {
	return &Source{cache: c, client: client, scopes: sorted(scopes)}
}

// Token returns the value of a token, see [Cache.Get].
func (s *Source) Token(ctx context.Context) (string, error) {
	t, err := s.cache.Get(ctx, s.client, s.scopes)
	return t.Value, err
}

// Invalidate forgets a token, see [Cache.Invalidate].
func (s *Source) Invalidate(value string) { s.cache.Invalidate(s.client, s.scopes, value) }

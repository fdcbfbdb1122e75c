package jwks

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// A Fetcher gets the body of a URL that another party chose. It guards against
// addresses that must not be reached and bounds size and time.
type Fetcher interface {
	Fetch(ctx context.Context, url string) ([]byte, error)
}

// Options of a [Cache]. Zero values mean the defaults.
type Options struct {
	// Now tells the time; time.Now by default.
	Now lti.Clock
	// TTL is how long a fetched set is used without asking again; 1 h.
	TTL time.Duration
	// ForceInterval is the shortest time between two refreshes of one URL that
	// a token caused, by an unknown kid or a signature that did not match; 30 s.
	ForceInterval time.Duration
	// RetryInterval is how long a URL that never answered is left alone after a
	// failure; 5 s. One that answered before is left alone for ForceInterval.
	RetryInterval time.Duration
	// Timeout of one fetch; 10 s.
	Timeout time.Duration
	// Observe is told the outcome of every fetch, for metrics; optional.
	Observe func(err error)
	// Waiting is called when a lookup begins to wait for another system, and back when it goes on, so that what it
	// holds can be given to others meanwhile. A lookup for which it fails does not wait, and fails so too, unless the
	// key is known from before. Optional.
	Waiting func(ctx context.Context) (back func(), err error)
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.TTL, time.Hour)
	def(&o.ForceInterval, 30*time.Second)
	def(&o.RetryInterval, 5*time.Second)
	def(&o.Timeout, 10*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observe == nil {
		o.Observe = func(error) {}
	}
	if o.Waiting == nil {
		o.Waiting = func(context.Context) (func(), error) { return func() {}, nil }
	}
	return o
}

// Cache keeps the key sets of other parties by URL.
//
// The kid and the signature of a token are seen before anybody knows whether
// the token is genuine, so whoever can send a request decides what is looked up
// here. Therefore: an unknown kid causes at most one fetch per ForceInterval
// and otherwise fails at once; concurrent requests share one fetch; a request
// never waits for a limiter, only for a fetch that is under way; and keys that
// were fetched before stay in use while their URL does not answer.
//
// The cache starts no goroutines: the request that finds a set missing or out
// of date fetches it, and goes on to the end even when its client goes away,
// because others may be waiting for the result.
type Cache struct {
	fetcher Fetcher
	opts    Options

	mu      sync.Mutex
	entries map[string]*entry
}

type entry struct {
	// fresh is the result of the last fetch, for whoever finds all they need in it: most
	// launches, which must not wait for each other.
	fresh atomic.Pointer[freshSet]

	// All other fields are guarded by Cache.mu.
	keys      []Key
	loaded    bool      // keys holds the result of a fetch
	fetchedAt time.Time // of the last fetch that worked
	failedAt  time.Time // of the last fetch that did not, zero after success
	forcedAt  time.Time // of the last fetch that a token caused
	lastErr   error
	flight    chan struct{} // closed when the fetch under way has ended
}

// freshSet is a key set, and when it was fetched. It is not changed.
type freshSet struct {
	keys []Key
	at   time.Time
}

// NewCache returns an empty cache.
func NewCache(f Fetcher, opts Options) *Cache {
	return &Cache{fetcher: f, opts: opts.withDefaults(), entries: map[string]*entry{}}
}

// Remote returns the keys published at a URL. It is cheap and does not fetch;
// two calls with the same URL share one entry.
func (c *Cache) Remote(url string) *Remote { return &Remote{cache: c, url: url} }

// Retain forgets every URL for which keep returns false. Call it after the
// configuration changed.
func (c *Cache) Retain(keep func(url string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for url, e := range c.entries {
		// An entry with a fetch under way is left for the next time: its
		// waiters would otherwise start a second one.
		if e.flight == nil && !keep(url) {
			delete(c.entries, url)
			e.fresh.Store(nil)
		}
	}
}

// Remote is the key set at one URL.
type Remote struct {
	cache *Cache
	url   string
	// entry is the one of the last look-up. One that the cache has forgotten since has
	// no fresh set.
	entry atomic.Pointer[entry]
}

// Lookup returns the keys named kid, at least one. It refuses with KeyUnknown
// or KeysUnreachable.
func (r *Remote) Lookup(ctx context.Context, kid string) ([]Key, error) {
	c := r.cache
	now := c.opts.Now()
	if found := r.fresh(now, kid); found != nil {
		return found, nil
	}
	c.mu.Lock()
	e := c.entries[r.url]
	if e == nil {
		e = &entry{}
		c.entries[r.url] = e
	}
	r.entry.Store(e)
	found := named(e.keys, kid)
	expired := !e.loaded || now.Sub(e.fetchedAt) >= c.opts.TTL
	switch {
	case found != nil && !expired:
		c.mu.Unlock()
		return found, nil
	case e.flight != nil:
		if found != nil {
			// Somebody is refreshing; the old key will do meanwhile.
			c.mu.Unlock()
			return found, nil
		}
		if err := c.join(ctx, r.url, e, func() bool { return named(e.keys, kid) == nil }); err != nil {
			return nil, err
		}
	case expired && !e.coolingDown(now, c.opts):
		if err := c.fetch(ctx, r.url, e, e.forcedAt); err != nil {
			c.mu.Unlock()
			if found != nil {
				return found, nil
			}
			return nil, err
		}
	case !expired && e.mayForce(now, c.opts):
		if err := c.fetch(ctx, r.url, e, now); err != nil {
			c.mu.Unlock()
			return nil, err
		}
	}
	defer c.mu.Unlock()
	return e.result(kid)
}

// fresh returns the keys named kid of a set that is up to date, without a lock; none if
// there is more to it.
func (r *Remote) fresh(now time.Time, kid string) []Key {
	e := r.entry.Load()
	if e == nil {
		return nil
	}
	if set := e.fresh.Load(); set != nil && now.Sub(set.at) < r.cache.opts.TTL {
		return named(set.keys, kid)
	}
	return nil
}

// Renewed is for a signature that did not match any of the keys tried, which
// [Remote.Lookup] returned: some platforms replace a key without renaming it.
// It returns the keys of that name if fetching again brought others, and none
// otherwise. It fetches no more often than an unknown kid does.
func (r *Remote) Renewed(ctx context.Context, kid string, tried []Key) ([]Key, error) {
	c := r.cache
	c.mu.Lock()
	e := c.entries[r.url]
	if e == nil { // forgotten meanwhile
		c.mu.Unlock()
		return nil, nil
	}
	now := c.opts.Now()
	if same(named(e.keys, kid), tried) {
		switch {
		case e.flight != nil:
			if err := c.join(ctx, r.url, e, func() bool { return same(named(e.keys, kid), tried) }); err != nil {
				return nil, err
			}
		case e.mayForce(now, c.opts):
			if err := c.fetch(ctx, r.url, e, now); err != nil {
				c.mu.Unlock()
				return nil, err
			}
		}
	}
	defer c.mu.Unlock()
	if found := named(e.keys, kid); !same(found, tried) {
		return found, nil
	}
	return nil, nil
}

// coolingDown reports whether the URL failed so recently that it is not asked.
// With keys to fall back to there is no hurry: each attempt keeps one request
// waiting for the timeout.
func (e *entry) coolingDown(now time.Time, o Options) bool {
	interval := o.RetryInterval
	if e.loaded {
		interval = o.ForceInterval
	}
	return !e.failedAt.IsZero() && now.Sub(e.failedAt) < interval
}

func (e *entry) mayForce(now time.Time, o Options) bool {
	return !e.coolingDown(now, o) &&
		(e.forcedAt.IsZero() || now.Sub(e.forcedAt) >= o.ForceInterval)
}

// join waits for the fetch under way. That began before somebody asked, so that where it
// misses what they ask for, a fetch that begins afterwards decides, unless a token may
// not cause one yet. It is called and returns with the lock held, but with an error
// without.
func (c *Cache) join(ctx context.Context, url string, e *entry, missing func() bool) error {
	for later := false; e.flight != nil; later = true {
		if err := c.wait(ctx, e); err != nil {
			return err
		}
		c.mu.Lock()
		if later || !missing() {
			return nil
		}
	}
	if now := c.opts.Now(); e.loaded && e.mayForce(now, c.opts) {
		if err := c.fetch(ctx, url, e, now); err != nil {
			c.mu.Unlock()
			return err
		}
	}
	return nil
}

// wait waits for the fetch under way. It is called with the lock held and
// returns without it.
func (c *Cache) wait(ctx context.Context, e *entry) error {
	done := e.flight
	back, err := c.opts.Waiting(ctx)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	defer back()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return lti.Refuse(lti.KeysUnreachable, "gave up waiting for the key set").Because(ctx.Err())
	}
}

// fetch gets the set and stores the outcome, and when a token caused it last. It
// is called and returns with the lock held, and gives it up meanwhile. An error
// says that it must not wait; what became of the fetch is in the entry.
func (c *Cache) fetch(ctx context.Context, url string, e *entry, forcedAt time.Time) error {
	back, err := c.opts.Waiting(ctx)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	e.flight, e.forcedAt = done, forcedAt
	c.mu.Unlock()

	keys, err := c.load(ctx, url)

	c.mu.Lock()
	e.flight, e.lastErr = nil, err
	if err == nil {
		e.keys, e.loaded, e.fetchedAt, e.failedAt = keys, true, c.opts.Now(), time.Time{}
		e.fresh.Store(&freshSet{keys, e.fetchedAt})
	} else {
		e.failedAt = c.opts.Now()
	}
	close(done)
	// It may take a while to be let on, which is no reason to keep others waiting.
	c.mu.Unlock()
	back()
	c.mu.Lock()
	return nil
}

// load fetches and reads one set. A panic becomes an error: the waiters must be
// released whatever happens.
func (c *Cache) load(ctx context.Context, url string) (keys []Key, err error) {
	defer func() {
		if p := recover(); p != nil {
			keys, err = nil, fmt.Errorf("jwks: fetching the key set panicked: %v", p)
		}
		c.opts.Observe(err)
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opts.Timeout)
	defer cancel()
	body, err := c.fetcher.Fetch(ctx, url)
	if err != nil {
		return nil, err
	}
	return Parse(body)
}

func (e *entry) result(kid string) ([]Key, error) {
	if found := named(e.keys, kid); found != nil {
		return found, nil
	}
	if !e.loaded {
		return nil, lti.Refuse(lti.KeysUnreachable, "key set could not be fetched").Because(e.lastErr)
	}
	if !e.failedAt.IsZero() {
		return nil, lti.Refuse(lti.KeysUnreachable, "kid is not in the key set fetched before, and fetching it again failed").Because(e.lastErr)
	}
	return nil, lti.Refuse(lti.KeyUnknown, "kid is not in the key set")
}

// Inline is a key set given in configuration.
type Inline struct{ keys []Key }

// NewInline reads a key set given in configuration.
func NewInline(text []byte) (*Inline, error) {
	keys, err := Parse(text)
	if err != nil {
		return nil, err
	}
	return &Inline{keys}, nil
}

// Lookup returns the keys named kid, at least one, or refuses with KeyUnknown.
func (i *Inline) Lookup(_ context.Context, kid string) ([]Key, error) {
	if found := named(i.keys, kid); found != nil {
		return found, nil
	}
	return nil, lti.Refuse(lti.KeyUnknown, "kid is not in the configured key set")
}

// Renewed returns nothing: only an administrator changes the set.
func (i *Inline) Renewed(context.Context, string, []Key) ([]Key, error) { return nil, nil }

func named(keys []Key, kid string) []Key {
	var out []Key
	for _, k := range keys {
		if k.ID == kid {
			out = append(out, k)
		}
	}
	return out
}

func same(a, b []Key) bool { return slices.EqualFunc(a, b, Key.Equal) }

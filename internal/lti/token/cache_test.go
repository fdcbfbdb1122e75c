package token

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/lti-operator/lti-operator/internal/lti/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issuer gives out token-1, token-2 and so on, for an hour each, unless it is
// told otherwise.
type issuer struct {
	mu     sync.Mutex
	n      int
	status int
	body   string
	wait   time.Duration
}

func (i *issuer) Do(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.n++
	n, status, body, wait := i.n, i.status, i.body, i.wait
	i.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if status == 0 {
		return answer(200, fmt.Sprintf(`{"access_token":"token-%d","expires_in":3600}`, n)), nil
	}
	return answer(status, body, "Retry-After", "30"), nil
}

func (i *issuer) set(status int, body string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status, i.body = status, body
}

func (i *issuer) requests() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.n
}

func newCache(i *issuer, opts Options) *Cache {
	return NewCache(&Requester{Doer: i, Now: time.Now, Random: rand.Reader}, opts)
}

func value(t testing.TB, c *Cache, client Client, scopes ...string) string {
	t.Helper()
	token, err := c.Get(t.Context(), client, scopes)
	if err != nil {
		t.Fatal(err)
	}
	return token.Value
}

func TestATokenIsKeptUntilShortlyBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var i issuer
		c, cl := newCache(&i, Options{}), client(t)
		if got := value(t, c, cl, "a"); got != "token-1" {
			t.Error(got)
		}
		time.Sleep(59*time.Minute - time.Second)
		if got := value(t, c, cl, "a"); got != "token-1" {
			t.Error(got)
		}
		time.Sleep(time.Second)
		if got := value(t, c, cl, "a"); got != "token-2" {
			t.Error(got)
		}
	})
}

func TestAShortTokenIsKeptForHalfItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := issuer{status: 200, body: `{"access_token":"short","expires_in":30}`}
		c := newCache(&i, Options{})
		value(t, c, client(t), "a")
		time.Sleep(15*time.Second - 1)
		value(t, c, client(t), "a")
		if i.requests() != 1 {
			t.Error("not kept")
		}
		time.Sleep(time.Nanosecond)
		value(t, c, client(t), "a")
		if i.requests() != 2 {
			t.Error("kept for too long")
		}
	})
}

func TestWhatATokenDependsOn(t *testing.T) {
	var i issuer
	c := newCache(&i, Options{})
	first := value(t, c, client(t), "a", "b")
	for name, change := range map[string]func(*Client, *[]string){
		"the registration":  func(c *Client, _ *[]string) { c.Registration = "other" },
		"the token URL":     func(c *Client, _ *[]string) { c.TokenURL += "?x" },
		"the client ID":     func(c *Client, _ *[]string) { c.ClientID = "other" },
		"the audience":      func(c *Client, _ *[]string) { c.Audience = "other" },
		"the key":           func(c *Client, _ *[]string) { c.Key = testKey(t, "key-2") },
		"the scopes":        func(_ *Client, s *[]string) { *s = []string{"a"} },
		"how scopes divide": func(_ *Client, s *[]string) { *s = []string{"ab"} },
	} {
		cl, scopes := client(t), []string{"a", "b"}
		change(&cl, &scopes)
		if got := value(t, c, cl, scopes...); got == first {
			t.Errorf("%s does not count", name)
		}
	}
	if got := value(t, c, client(t), "b", "a", "b", ""); got != first {
		t.Errorf("the order of scopes counts: %s", got)
	}
}

func TestConcurrentCallsShareOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := issuer{wait: time.Second}
		c := newCache(&i, Options{})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if token, err := c.Get(t.Context(), client(t), []string{"a"}); err != nil || token.Value != "token-1" {
					t.Errorf("%q, %v", token.Value, err)
				}
			})
		}
		wg.Wait()
		if i.requests() != 1 {
			t.Errorf("%d requests", i.requests())
		}
	})
}

func TestACancelledCallDoesNotSpoilTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := issuer{wait: time.Minute}
		c := newCache(&i, Options{Timeout: 2 * time.Minute})
		first, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Get(first, client(t), []string{"a"}); err != nil {
				t.Errorf("who asks goes on to the end: %v", err)
			}
		})
		synctest.Wait()
		waiting, cancelWaiting := context.WithTimeout(t.Context(), time.Second)
		defer cancelWaiting()
		wg.Go(func() {
			_, err := c.Get(waiting, client(t), []string{"a"})
			if service.ReasonOf(err) != service.Unreachable || service.ClassOf(err) != service.Temporary || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who waits may give up: %v", err)
			}
		})
		wg.Go(func() {
			if token, err := c.Get(t.Context(), client(t), []string{"a"}); err != nil || token.Value != "token-1" {
				t.Errorf("%q, %v", token.Value, err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
	})
}

func TestARequestIsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := issuer{wait: time.Hour}
		c := newCache(&i, Options{Timeout: 3 * time.Second})
		before := time.Now()
		_, err := c.Get(t.Context(), client(t), []string{"a"})
		if service.ReasonOf(err) != service.Unreachable || time.Since(before) != 3*time.Second {
			t.Error(err, time.Since(before))
		}
	})
}

func TestAFailureIsKeptForAWhile(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		pause  time.Duration
		left   time.Duration // said after 4 s
	}{
		"temporary, as long as the platform asks for": {503, "", 30 * time.Second, 26 * time.Second},
		"permanent":     {400, `{"error":"invalid_client"}`, 10 * time.Second, 0},
		"not a token":   {200, `{}`, 10 * time.Second, 6 * time.Second},
		"a wrong scope": {400, `{"error":"invalid_scope"}`, 10 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var observed []error
				i := issuer{status: tt.status, body: tt.body}
				c := newCache(&i, Options{Observe: func(err error) { observed = append(observed, err) }})
				_, first := c.Get(t.Context(), client(t), []string{"a"})
				time.Sleep(4 * time.Second)
				_, again := c.Get(t.Context(), client(t), []string{"a"})
				var e *service.Error
				if !errors.As(again, &e) || e.Reason != service.ReasonOf(first) || e.RetryAfter != tt.left || i.requests() != 1 {
					t.Errorf("%v, then %+v after %d requests", first, e, i.requests())
				}
				i.set(0, "")
				time.Sleep(tt.pause - 4*time.Second - 1)
				if _, err := c.Get(t.Context(), client(t), []string{"a"}); err == nil {
					t.Error("forgotten too early")
				}
				time.Sleep(time.Nanosecond)
				if got := value(t, c, client(t), "a"); got != "token-2" {
					t.Error(got)
				}
				if len(observed) != 2 || observed[0] == nil || observed[1] != nil {
					t.Errorf("observed %v", observed)
				}
			})
		})
	}
}

func TestAnIncompleteRegistrationIsNotKept(t *testing.T) {
	var i issuer
	c, cl := newCache(&i, Options{}), client(t)
	cl.Key = nil
	for range 2 {
		if _, err := c.Get(t.Context(), cl, []string{"a"}); service.ReasonOf(err) != service.RequestInvalid {
			t.Error(err)
		}
	}
	if i.requests() != 0 {
		t.Error("sent")
	}
}

func TestAPanicReleasesTheWaiters(t *testing.T) {
	c := NewCache(&Requester{Doer: platform(func(*http.Request) (*http.Response, error) { panic("boom") }), Now: time.Now, Random: rand.Reader}, Options{})
	for range 2 {
		if _, err := c.Get(t.Context(), client(t), []string{"a"}); err == nil || service.ClassOf(err) != service.Temporary {
			t.Error(err)
		}
	}
}

func TestInvalidate(t *testing.T) {
	var i issuer
	c := newCache(&i, Options{})
	s := c.Source(client(t), []string{"a"})
	get := func() string {
		v, err := s.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	other := value(t, c, client(t), "b")
	old := get()
	s.Invalidate("another")
	if got := get(); got != old {
		t.Error("forgot another token than the refused one")
	}
	s.Invalidate(old)
	renewed := get()
	if renewed == old {
		t.Error("a refused token is given out again")
	}
	// The refusal of the old one arrives a second time, from another grade.
	s.Invalidate(old)
	if got := get(); got != renewed {
		t.Error("the new token was forgotten for the old one's refusal")
	}
	if got := value(t, c, client(t), "b"); got != other {
		t.Error("a token with other scopes was forgotten")
	}
	c.Invalidate(Client{Registration: "nobody"}, nil, "x")
}

func TestRetain(t *testing.T) {
	var i issuer
	c := newCache(&i, Options{})
	gone, stays := client(t), client(t)
	gone.Registration = "gone"
	old, kept := value(t, c, gone, "a"), value(t, c, stays, "a")
	c.Retain(func(registration string) bool { return registration == stays.Registration })
	if value(t, c, gone, "a") == old || value(t, c, stays, "a") != kept {
		t.Error("not those of the registration that is gone")
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var i issuer
		c := newCache(&i, Options{MaxEntries: 3})
		get := func(scope string) string { return value(t, c, client(t), scope) }
		first := get("a")
		time.Sleep(time.Minute)
		second := get("b")
		third := get("c")
		get("d")
		if len(c.entries) != 3 || get("b") != second || get("c") != third {
			t.Error("not the one that expires first had to go")
		}
		if get("a") == first {
			t.Error("a fourth was kept")
		}
		time.Sleep(2 * time.Hour)
		get("e")
		if len(c.entries) != 1 {
			t.Errorf("%d entries of which one is of use", len(c.entries))
		}
	})
}

// Whatever happens at once, nobody gets a token of another registration, and
// nobody gets one that was refused before the call.
func TestTogether(t *testing.T) {
	var refused sync.Map
	var n atomic.Int64
	p := platform(func(r *http.Request) (*http.Response, error) {
		return answer(200, fmt.Sprintf(`{"access_token":"%s-%d","expires_in":3600}`, r.URL.Query().Get("r"), n.Add(1))), nil
	})
	c := NewCache(&Requester{Doer: p, Now: time.Now, Random: rand.Reader}, Options{MaxEntries: 4})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for round := range 20 {
				cl := client(t)
				cl.Registration = string(rune('a' + (w+round)%6))
				cl.TokenURL = "https://lms.example/token?r=" + cl.Registration
				before := map[any]bool{}
				refused.Range(func(k, _ any) bool { before[k] = true; return true })
				token, err := c.Get(t.Context(), cl, []string{"s"})
				if err != nil || token.Value[:1] != cl.Registration || before[token.Value] {
					t.Errorf("%q, %v", token.Value, err)
					return
				}
				if round%3 == 0 {
					c.Invalidate(cl, []string{"s"}, token.Value)
					refused.Store(token.Value, true)
				}
				if round%7 == 0 {
					c.Retain(func(r string) bool { return r != "f" })
				}
			}
		})
	}
	wg.Wait()
}

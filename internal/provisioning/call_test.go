// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/egress"
)

// faulty is a server that is not one.
func faulty(t *testing.T, h http.HandlerFunc, change ...func(*Options)) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return newTestClient(t, s.URL, change...)
}

// reply answers every request; with JSON, if the header does not say otherwise.
func reply(status int, header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		if name, value, ok := strings.Cut(header, ": "); ok {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
	}
}

func TestFaults(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	// What the server writes does not get into errors.
	echo := `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"scimType":"` + canary + `","detail":"` + canary + ` Noor@example.org"}`
	const sent = "Content-Type: application/scim+json"
	for name, tt := range map[string]struct {
		h    http.HandlerFunc
		kind error
		wait time.Duration
		text string
	}{
		"too many requests":             {reply(429, "Retry-After: 17", echo), ErrUnavailable, 17 * time.Second, "status 429"},
		"too many requests until":       {reply(429, "Retry-After: Tue, 24 Nov 2026 12:01:00 GMT", echo), ErrUnavailable, time.Minute, ""},
		"until a moment that is past":   {reply(429, "Retry-After: Tue, 24 Nov 2026 11:01:00 GMT", echo), ErrUnavailable, 0, ""},
		"until some other time":         {reply(429, "Retry-After: soon", echo), ErrUnavailable, 0, ""},
		"unavailable for years":         {reply(503, "Retry-After: 999999999999999999999", echo), ErrUnavailable, MaxRetryAfter, ""},
		"unavailable":                   {reply(503, "", echo), ErrUnavailable, 0, "status 503"},
		"broken":                        {reply(500, "", echo), ErrUnavailable, 0, ""},
		"request timeout":               {reply(408, "", ""), ErrUnavailable, 0, ""},
		"token refused":                 {reply(401, "", echo), ErrNotAuthorised, 0, "status 401"},
		"token not good enough":         {reply(403, "Retry-After: 17", echo), ErrNotAuthorised, 0, ""},
		"elsewhere":                     {reply(302, "Location: https://login.example/?"+canary, ""), ErrProtocol, 0, "redirects"},
		"no such place":                 {reply(404, "", echo), ErrProtocol, 0, "status 404"},
		"too many to tell":              {reply(400, sent, `{"scimType":"tooMany"}`), ErrProtocol, 0, "status 400 tooMany"},
		"a page":                        {reply(200, "Content-Type: text/html; charset=utf-8", "<p>"+canary), ErrProtocol, 0, "not JSON"},
		"a type that is none":           {reply(200, "Content-Type: ;", `{"totalResults":0}`), ErrProtocol, 0, "not JSON"},
		"no JSON":                       {reply(200, sent, `{"totalResults":0`), ErrProtocol, 0, "cannot be read"},
		"other JSON":                    {reply(200, sent, `["`+canary+`"]`), ErrProtocol, 0, "cannot be read"},
		"JSON of something else":        {reply(200, sent, `{"id":"4"}`), ErrProtocol, 0, "not a list"},
		"a list that is too short":      {reply(200, sent, `{"totalResults":3,"Resources":[{"id":"1"},{"id":"2"}]}`), ErrProtocol, 0, "shorter"},
		"a list that is empty, or not":  {reply(200, sent, `{"totalResults":1}`), ErrProtocol, 0, "shorter"},
		"a list of everybody":           {reply(200, sent, `{"totalResults":100000,"Resources":[{"id":"1"}]}`), ErrProtocol, 0, "ignored"},
		"a flood":                       {flood, ErrProtocol, 0, "too long"},
		"half an answer":                {reply(200, "Content-Length: 100", `{"totalResults":0`), ErrUnavailable, 0, "no answer"},
		"the connection is closed":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrUnavailable, 0, "no answer"},
		"a flood with an error":         {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); flood(w, r) }, ErrUnavailable, 0, "status 500"},
		"not implemented at all":        {reply(501, "", ""), nil, 0, ""}, // refuses the filters only; see below
		"bad requests with no keywords": {reply(400, "", ""), nil, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := faulty(t, tt.h, func(o *Options) { o.Now = func() time.Time { return now } })
			if tt.kind == nil {
				tt.kind, tt.text = ErrProtocol, "GET Users"
			}
			calls := map[string]func() error{
				"ensure": func() error { _, err := c.Ensure(t.Context(), noor(), ""); return err },
				"enrol":  func() error { return c.Enrol(t.Context(), "noor", "Noor's group") },
			}
			if !errors.Is(tt.kind, ErrProtocol) {
				calls["remembered"] = func() error { _, err := c.Ensure(t.Context(), noor(), "Noor"); return err }
			}
			for call, f := range calls {
				err := f()
				if !errors.Is(err, tt.kind) || RetryAfter(err) != tt.wait {
					t.Errorf("%s: %v, %s", call, err, RetryAfter(err))
				}
				if call == "ensure" && !strings.Contains(err.Error(), tt.text) {
					t.Errorf("%q is not in %q", tt.text, err)
				}
				for e := err; e != nil; e = errors.Unwrap(e) {
					harmless(t, e)
				}
				if e, ok := errors.AsType[*CallError](err); !ok || e.Err != nil {
					if ok {
						harmless(t, e.Err)
					} else {
						t.Errorf("%T", err)
					}
				}
			}
		})
	}
}

// harmless checks that an error says nothing about the person, and holds no
// secret.
func harmless(t *testing.T, err error) {
	t.Helper()
	text := fmt.Sprintf("%v %+v", err, err)
	for _, s := range []string{canary, "Noor@", "example", "moodle:4", "Vries"} {
		if strings.Contains(text, s) {
			t.Errorf("%q is in %q", s, text)
		}
	}
	if text != strings.TrimSpace(text) || strings.ContainsAny(text, "\r\n") {
		t.Errorf("%q", text)
	}
}

func flood(w http.ResponseWriter, _ *http.Request) {
	chunk := []byte(strings.Repeat(" ", 64<<10))
	for range 1000 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// The size is bounded whatever sends the requests.
func TestAnswersAreBounded(t *testing.T) {
	c := faulty(t, reply(200, "", `{"totalResults":0,"Resources":[]}`+strings.Repeat(" ", 1000)), func(o *Options) { o.MaxBody = 500 })
	if _, err := c.Ensure(t.Context(), noor(), ""); !errors.Is(err, ErrProtocol) || !isTooLarge(err) {
		t.Error(err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	hang := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	c := faulty(t, hang, func(o *Options) { o.Timeout = 20 * time.Millisecond })
	if _, err := c.Ensure(t.Context(), noor(), ""); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := c.Enrol(t.Context(), "noor", "Safety"); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	c = faulty(t, hang, func(o *Options) {
		o.Doer = egress.New(egress.Options{AllowedCIDRs: egress.LoopbackCIDRs(), Timeout: 20 * time.Millisecond})
	})
	_, err := c.Ensure(t.Context(), noor(), "")
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "in time") {
		t.Error(err)
	}
	harmless(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Enrol(ctx, "noor", "Safety"); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

func TestWaitingForAnotherChangeOfTheGroup(t *testing.T) {
	d := newDirectory(t)
	d.Groups.Put(group("Safety"))
	c := d.client(t)
	known, err := c.group(t.Context(), "Safety")
	if err != nil {
		t.Fatal(err)
	}
	known.turn <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Enrol(ctx, "noor", "Safety"); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-known.turn
	if err := c.Enrol(t.Context(), "noor", "Safety"); err != nil {
		t.Error(err)
	}
}

func TestAddressThatMayNotBeReached(t *testing.T) {
	c := newTestClient(t, "https://169.254.169.254/scim", func(o *Options) { o.Doer = egress.New(egress.Options{}) })
	_, err := c.Ensure(t.Context(), noor(), "")
	if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "may not be reached") {
		t.Error(err)
	}
	harmless(t, err)
}

// An error of net/http holds the URL, and that the filter.
func TestOtherDoer(t *testing.T) {
	c := faulty(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, func(o *Options) { o.Doer = http.DefaultClient })
	_, err := c.Ensure(t.Context(), noor(), "")
	if e, ok := errors.AsType[*CallError](err); !ok || !errors.Is(e, ErrUnavailable) || e.Err != nil {
		t.Error(err)
	}
	harmless(t, err)
}

func TestToken(t *testing.T) {
	d := newDirectory(t)
	token := "\n"
	c := d.client(t, func(o *Options) { o.Token = func() string { return token } })
	for _, token = range []string{"", "\n", canary + "\n" + canary, canary + "é"} {
		_, err := c.Ensure(t.Context(), noor(), "")
		if !errors.Is(err, ErrNotAuthorised) {
			t.Error(err)
		}
		harmless(t, err)
	}
	if lines := d.Log(); len(lines) != 0 {
		t.Error(lines)
	}
	token = "old"
	if _, err := c.Ensure(t.Context(), noor(), ""); !errors.Is(err, ErrNotAuthorised) || statusOf(err) != 401 {
		t.Error(err)
	}
	// As it is mounted, and without a new client.
	token = canary + "\n"
	if _, err := c.Ensure(t.Context(), noor(), ""); err != nil {
		t.Error(err)
	}
}

func TestAnswerWithoutType(t *testing.T) {
	c := faulty(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		w.Write([]byte(`{"id":"7","active":true}`))
	})
	if a, err := c.Ensure(t.Context(), noor(), "7"); err != nil || !a.Active {
		t.Error(a, err)
	}
}

// What servers write that the RFC does not.
func TestLenience(t *testing.T) {
	const own = `"id":"7","externalId":"moodle:4"`
	for name, tt := range map[string]struct {
		list string
		want error
	}{
		"numbers as text":          {`{"totalResults":"1","Resources":[{` + own + `,"active":"True"}]}`, nil},
		"no total":                 {`{"Resources":[{` + own + `}]}`, nil},
		"names in another case":    {`{"TotalResults":1,"resources":[{"Id":"7","externalID":"moodle:4","Active":true}]}`, nil},
		"a byte order mark":        {"\ufeff" + `{"totalResults":1,"Resources":[{` + own + `}]}`, nil},
		"nulls":                    {`{"totalResults":1,"Resources":[{` + own + `,"active":null,"emails":null,"meta":null,"userName":null}]}`, nil},
		"addresses as text":        {`{"totalResults":1,"Resources":[{` + own + `,"emails":["a@example.org"]}]}`, nil},
		"one address":              {`{"totalResults":1,"Resources":[{` + own + `,"emails":{"value":"a@example.org"}}]}`, nil},
		"unknown schemas":          {`{"schemas":["x"],"totalResults":1,"Resources":[{"schemas":["y"],` + own + `,"y":{"z":1}}]}`, nil},
		"the same one twice":       {`{"totalResults":2,"Resources":[{` + own + `},{` + own + `}]}`, ErrProtocol},
		"suspended as text":        {`{"totalResults":1,"Resources":[{` + own + `,"active":"False"}]}`, ErrSuspended},
		"something else, no truth": {`{"totalResults":1,"Resources":[{` + own + `,"active":1}]}`, ErrSuspended},
		"a total that is none":     {`{"totalResults":"many","Resources":[{` + own + `}]}`, ErrProtocol},
		"addresses that are none":  {`{"totalResults":1,"Resources":[{` + own + `,"emails":[7]}]}`, ErrProtocol},
	} {
		c := faulty(t, reply(200, "Content-Type: application/json; charset=utf-8", tt.list))
		a, err := c.Ensure(t.Context(), noor(), "")
		if !errors.Is(err, tt.want) || (err == nil || errors.Is(err, ErrSuspended)) && a.ID != "7" {
			t.Errorf("%s: %v %v", name, a, err)
		}
	}
}

func TestAnswerAboutSomebodyElse(t *testing.T) {
	c := faulty(t, reply(200, "", `{"id":"8","active":true}`))
	if a, err := c.Ensure(t.Context(), noor(), "7"); !errors.Is(err, ErrProtocol) {
		t.Error(a, err)
	}
	for _, id := range []string{".", ".."} {
		if a, err := c.Ensure(t.Context(), noor(), id); !errors.Is(err, ErrProtocol) {
			t.Error(a, err)
		}
	}
}

// The version may be in the header only.
func TestETag(t *testing.T) {
	var got string
	c := faulty(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPatch:
			got = r.Header.Get("If-Match")
			w.WriteHeader(http.StatusNoContent)
		case r.URL.RawQuery != "":
			if strings.Contains(r.URL.RawQuery, "+") || !strings.Contains(r.URL.RawQuery, "%20eq%20") {
				t.Error(r.URL.RawQuery)
			}
			reply(200, "", `{"totalResults":1,"Resources":[{"id":"7","displayName":"Safety"}]}`)(w, r)
		default:
			reply(200, `ETag: W/"5"`, `{"id":"7","displayName":"Safety"}`)(w, r)
		}
	})
	if err := c.Enrol(t.Context(), "noor", "Safety"); err != nil || got != `W/"5"` {
		t.Error(err, got)
	}
}

// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/lti-operator/lti-operator/internal/egress"
	"github.com/lti-operator/lti-operator/internal/provisioning/scimtest"
)

// canary must not be found in anything but the header that it is for.
const canary = "canary-5f0c1d"

// directory is a SCIM server that runs.
type directory struct {
	*scimtest.Directory
	*httptest.Server
}

func newDirectory(t testing.TB, change ...func(*directory)) *directory {
	t.Helper()
	d := &directory{Directory: scimtest.New(canary)}
	for _, f := range change {
		f(d)
	}
	handler, err := d.Handler()
	if err != nil {
		t.Fatal(err)
	}
	d.Server = httptest.NewServer(handler)
	t.Cleanup(d.Close)
	return d
}

// client returns one replica of us.
func (d *directory) client(t testing.TB, change ...func(*Options)) *Client {
	t.Helper()
	return newTestClient(t, d.URL+scimtest.Base, change...)
}

func newTestClient(t testing.TB, rawURL string, change ...func(*Options)) *Client {
	t.Helper()
	doer := egress.New(egress.Options{AllowedCIDRs: egress.LoopbackCIDRs()})
	t.Cleanup(doer.CloseIdleConnections)
	opts := Options{URL: rawURL, Token: func() string { return canary }, Doer: doer}
	for _, f := range change {
		f(&opts)
	}
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// withFilter lets a server see another filter than was sent.
func withFilter(change func(string) string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			if f := q.Get("filter"); f != "" {
				if f = change(f); f == "" {
					q.Del("filter")
				} else {
					q.Set("filter", f)
				}
			}
			r.URL.RawQuery = q.Encode()
			next.ServeHTTP(w, r)
		})
	}
}

// refusing answers 400 to filters with a text in them.
func refusing(status int, text string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.Query().Get("filter"), text) {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", mediaType)
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"%d","scimType":"invalidFilter"}`, status)
		})
	}
}

// account is what an administrator of the academy would have made.
func account(email string, more map[string]any) map[string]any {
	attrs := map[string]any{
		"userName": "login-" + url.QueryEscape(email), "active": true,
		"emails": []any{map[string]any{"value": email, "primary": true}},
	}
	maps.Copy(attrs, more)
	return attrs
}

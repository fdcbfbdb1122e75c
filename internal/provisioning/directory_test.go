// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elimity-com/scim"
	scimerrors "github.com/elimity-com/scim/errors"
	"github.com/elimity-com/scim/optional"
	"github.com/elimity-com/scim/schema"
	"github.com/scim2/filter-parser/v2"

	"github.com/lti-operator/lti-operator/internal/egress"
)

// canary must not be found in anything but the header that it is for.
const canary = "canary-5f0c1d"

// directory is a SCIM server: the protocol is that of elimity-com/scim, the
// database a slice.
type directory struct {
	*httptest.Server

	// Set before the first request.
	maxResults int
	// naive evaluates filters as elimity-com/scim itself does: it knows no
	// values of emails, and no escapes in text.
	naive bool
	// versioned gives resources versions, and compares them.
	versioned bool
	// front sees requests before the server does.
	front func(next http.Handler) http.Handler

	users, groups *table

	mu       sync.Mutex
	requests []string // method, path and filter
}

func newDirectory(t testing.TB, change ...func(*directory)) *directory {
	t.Helper()
	d := &directory{}
	d.users = &table{directory: d, name: "user", unique: []string{"userName", "externalId"}}
	d.groups = &table{directory: d, name: "group"}
	for _, f := range change {
		f(d)
	}
	server, err := scim.NewServer(&scim.ServerArgs{
		ServiceProviderConfig: &scim.ServiceProviderConfig{MaxResults: d.maxResults, SupportFiltering: true, SupportPatch: true},
		ResourceTypes: []scim.ResourceType{
			{ID: optional.NewString("User"), Name: "User", Endpoint: "/Users", Schema: schema.CoreUserSchema(), Handler: d.users},
			{ID: optional.NewString("Group"), Name: "Group", Endpoint: "/Groups", Schema: schema.CoreGroupSchema(), Handler: d.groups},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The server decodes paths itself.
		r.URL.Path = strings.TrimPrefix(r.URL.EscapedPath(), "/scim")
		server.ServeHTTP(w, r)
	})
	if d.front != nil {
		handler = d.front(handler)
	}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		line := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/scim")
		if f := r.URL.Query().Get("filter"); f != "" {
			line += " " + f
		}
		d.requests = append(d.requests, line)
		d.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+canary {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(d.Close)
	return d
}

// log returns the requests since the last call.
func (d *directory) log() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.requests
	d.requests = nil
	return lines
}

// client returns one replica of us.
func (d *directory) client(t testing.TB, change ...func(*Options)) *Client {
	t.Helper()
	return newTestClient(t, d.URL+"/scim", change...)
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

// table holds resources of one type.
type table struct {
	directory *directory
	name      string
	unique    []string

	mu   sync.Mutex
	next int
	rows []row
	// conflicts counts what was not created because it was there already.
	conflicts int
}

type row struct {
	id      string
	attrs   map[string]any // never changed, only replaced
	created time.Time
	version int
}

func (t *table) resource(r row) scim.Resource {
	res := scim.Resource{ID: r.id, Attributes: maps.Clone(r.attrs), Meta: scim.Meta{Created: &r.created}}
	if t.directory.versioned {
		res.Meta.Version = fmt.Sprintf(`W/"%d"`, r.version)
	}
	return res
}

// put adds a resource as its administrator would.
func (t *table) put(attrs map[string]any) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.insert(attrs)
}

func (t *table) insert(attrs map[string]any) string {
	t.next++
	r := row{id: fmt.Sprintf("%s/%d%%", t.name, t.next), attrs: attrs, created: time.Unix(int64(1_000_000+t.next), 0).UTC(), version: 1}
	t.rows = append(t.rows, r)
	return r.id
}

func (t *table) all() []row {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.rows)
}

// one returns the attributes of a resource, nil if there is none.
func (t *table) one(id string) map[string]any {
	for _, r := range t.all() {
		if r.id == id {
			return r.attrs
		}
	}
	return nil
}

// set replaces attributes of a resource as its administrator would.
func (t *table) set(id string, attrs map[string]any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, r := range t.rows {
		if r.id == id {
			merged := maps.Clone(r.attrs)
			maps.Copy(merged, attrs)
			t.rows[i].attrs = merged
			t.rows[i].version++
		}
	}
}

func (t *table) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = slices.DeleteFunc(t.rows, func(r row) bool { return r.id == id })
}

func (t *table) Create(_ *http.Request, attributes scim.ResourceAttributes) (scim.Resource, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range t.unique {
		for _, r := range t.rows {
			if v, ok := attributes[name].(string); ok && (r.attrs[name] == v || name == "userName" && strings.EqualFold(v, r.attrs[name].(string))) {
				t.conflicts++
				return scim.Resource{}, scimerrors.ScimErrorUniqueness
			}
		}
	}
	t.insert(attributes)
	return t.resource(t.rows[len(t.rows)-1]), nil
}

func (t *table) Get(_ *http.Request, id string) (scim.Resource, error) {
	for _, r := range t.all() {
		if r.id == id {
			return t.resource(r), nil
		}
	}
	return scim.Resource{}, scimerrors.ScimErrorResourceNotFound(id)
}

func (t *table) GetAll(r *http.Request, params scim.ListRequestParams) (scim.Page, error) {
	var found []scim.Resource
	for _, row := range t.all() {
		attrs := maps.Clone(row.attrs)
		attrs["id"] = row.id
		switch v := params.FilterValidator; {
		case v == nil:
		case t.directory.naive && v.PassesFilter(attrs) != nil:
			continue
		case !t.directory.naive && !matches(v.GetFilter(), attrs):
			continue
		}
		res := t.resource(row)
		if r.URL.Query().Get("excludedAttributes") == "members" {
			delete(res.Attributes, "members")
		}
		found = append(found, res)
	}
	total := len(found)
	from := min(params.StartIndex-1, total)
	return scim.Page{TotalResults: total, Resources: found[from:min(from+params.Count, total)]}, nil
}

func (t *table) Replace(*http.Request, string, scim.ResourceAttributes) (scim.Resource, error) {
	panic("a resource was replaced")
}

func (t *table) Delete(*http.Request, string) error { panic("a resource was deleted") }

func (t *table) Patch(r *http.Request, id string, operations []scim.PatchOperation) (scim.Resource, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.rows, func(r row) bool { return r.id == id })
	if i < 0 {
		return scim.Resource{}, scimerrors.ScimErrorResourceNotFound(id)
	}
	row := &t.rows[i]
	if v := r.Header.Get("If-Match"); t.directory.versioned && v != "" && v != fmt.Sprintf(`W/"%d"`, row.version) {
		return scim.Resource{}, scimerrors.ScimError{Status: http.StatusPreconditionFailed}
	}
	attrs := maps.Clone(row.attrs)
	for _, op := range operations {
		if op.Op != scim.PatchOperationAdd || op.Path == nil || op.Path.String() != "members" {
			panic("another change than a member more")
		}
		members, _ := attrs["members"].([]any)
		members = slices.Clone(members)
		for _, m := range op.Value.([]any) {
			if !slices.ContainsFunc(members, func(have any) bool { return have.(map[string]any)["value"] == m.(map[string]any)["value"] }) {
				members = append(members, m)
			}
		}
		attrs["members"] = members
	}
	row.attrs = attrs
	row.version++
	return t.resource(*row), nil
}

// matches evaluates a filter (RFC 7644 section 3.4.2.2).
func matches(e filter.Expression, attrs map[string]any) bool {
	switch e := e.(type) {
	case *filter.LogicalExpression:
		if e.Operator == filter.AND {
			return matches(e.Left, attrs) && matches(e.Right, attrs)
		}
		return matches(e.Left, attrs) || matches(e.Right, attrs)
	case *filter.NotExpression:
		return !matches(e.Expression, attrs)
	case *filter.AttributeExpression:
		for _, v := range valuesAt(attrs, e.AttributePath.AttributeName, e.AttributePath.SubAttributeName()) {
			switch want := e.CompareValue.(type) {
			case nil:
				return true // pr
			case string:
				// The parser leaves escapes as they are.
				if json.Unmarshal([]byte(`"`+want+`"`), &want) != nil {
					panic("filter with an escape that JSON does not have")
				}
				have, _ := v.(string)
				switch exact := e.AttributePath.AttributeName == "externalId" || e.AttributePath.AttributeName == "id"; {
				case e.Operator == filter.EQ && (have == want || !exact && strings.EqualFold(have, want)),
					e.Operator == filter.SW && strings.HasPrefix(have, want):
					return true
				}
			default:
				if v == want {
					return true
				}
			}
		}
		return false
	}
	panic(fmt.Sprintf("unexpected filter %T", e))
}

func valuesAt(attrs map[string]any, name, sub string) []any {
	v, ok := attrs[name]
	if !ok {
		return nil
	}
	items, many := v.([]any)
	if !many {
		items = []any{v}
	}
	var values []any
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			if item, ok = m[sub]; !ok {
				continue
			}
		}
		values = append(values, item)
	}
	return values
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

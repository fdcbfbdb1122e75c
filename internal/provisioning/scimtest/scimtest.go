// SPDX-License-Identifier: Apache-2.0

// Package scimtest is a SCIM 2.0 server to test against: the protocol is that of elimity-com/scim, the database a slice.
package scimtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/elimity-com/scim"
	scimerrors "github.com/elimity-com/scim/errors"
	"github.com/elimity-com/scim/optional"
	"github.com/elimity-com/scim/schema"
	"github.com/scim2/filter-parser/v2"
)

// Base is the path that the server is below.
const Base = "/scim"

// Directory is the server. Its fields are set before the first request.
type Directory struct {
	// Token is the bearer token that it wants.
	Token string
	// MaxResults bounds an answer.
	MaxResults int
	// Naive evaluates filters as elimity-com/scim itself does: it knows no values of emails, and no escapes in text.
	Naive bool
	// Versioned gives resources versions, and compares them.
	Versioned bool
	// Front sees requests before the server does.
	Front func(next http.Handler) http.Handler

	Users, Groups *Table

	mu       sync.Mutex
	requests []string // method, path and filter
}

// New returns an empty directory.
func New(token string) *Directory {
	d := &Directory{Token: token}
	d.Users = &Table{directory: d, name: "user", Unique: []string{"userName", "externalId"}}
	d.Groups = &Table{directory: d, name: "group"}
	return d
}

// Handler serves it.
func (d *Directory) Handler() (http.Handler, error) {
	server, err := scim.NewServer(&scim.ServerArgs{
		ServiceProviderConfig: &scim.ServiceProviderConfig{MaxResults: d.MaxResults, SupportFiltering: true, SupportPatch: true},
		ResourceTypes: []scim.ResourceType{
			{ID: optional.NewString("User"), Name: "User", Endpoint: "/Users", Schema: schema.CoreUserSchema(), Handler: d.Users},
			{ID: optional.NewString("Group"), Name: "Group", Endpoint: "/Groups", Schema: schema.CoreGroupSchema(), Handler: d.Groups},
		},
	})
	if err != nil {
		return nil, err
	}
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The server decodes paths itself.
		r.URL.Path = strings.TrimPrefix(r.URL.EscapedPath(), Base)
		server.ServeHTTP(w, r)
	})
	if d.Front != nil {
		handler = d.Front(handler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		line := r.Method + " " + strings.TrimPrefix(r.URL.Path, Base)
		if f := r.URL.Query().Get("filter"); f != "" {
			line += " " + f
		}
		d.requests = append(d.requests, line)
		d.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+d.Token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}), nil
}

// Log returns the requests since the last call.
func (d *Directory) Log() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.requests
	d.requests = nil
	return lines
}

// Table holds resources of one type.
type Table struct {
	directory *Directory
	name      string
	// Unique are attributes of which no two resources have the same value.
	Unique []string

	mu   sync.Mutex
	next int
	rows []Row
	// Conflicts counts what was not created because it was there already.
	Conflicts int
}

// Row is one resource.
type Row struct {
	ID      string
	Attrs   map[string]any // never changed, only replaced
	Created time.Time
	Version int
}

func (t *Table) resource(r Row) scim.Resource {
	res := scim.Resource{ID: r.ID, Attributes: maps.Clone(r.Attrs), Meta: scim.Meta{Created: &r.Created}}
	if t.directory.Versioned {
		res.Meta.Version = fmt.Sprintf(`W/"%d"`, r.Version)
	}
	return res
}

// Put adds a resource as its administrator would.
func (t *Table) Put(attrs map[string]any) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.insert(attrs)
}

func (t *Table) insert(attrs map[string]any) string {
	t.next++
	r := Row{ID: fmt.Sprintf("%s/%d%%", t.name, t.next), Attrs: attrs, Created: time.Unix(int64(1_000_000+t.next), 0).UTC(), Version: 1}
	t.rows = append(t.rows, r)
	return r.ID
}

// All returns the resources.
func (t *Table) All() []Row {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.rows)
}

// One returns the attributes of a resource, nil if there is none.
func (t *Table) One(id string) map[string]any {
	for _, r := range t.All() {
		if r.ID == id {
			return r.Attrs
		}
	}
	return nil
}

// Set replaces attributes of a resource as its administrator would.
func (t *Table) Set(id string, attrs map[string]any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, r := range t.rows {
		if r.ID == id {
			merged := maps.Clone(r.Attrs)
			maps.Copy(merged, attrs)
			t.rows[i].Attrs = merged
			t.rows[i].Version++
		}
	}
}

// Remove deletes a resource as its administrator would.
func (t *Table) Remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = slices.DeleteFunc(t.rows, func(r Row) bool { return r.ID == id })
}

// Create implements scim.ResourceHandler.
func (t *Table) Create(_ *http.Request, attributes scim.ResourceAttributes) (scim.Resource, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range t.Unique {
		for _, r := range t.rows {
			if v, ok := attributes[name].(string); ok && (r.Attrs[name] == v || name == "userName" && strings.EqualFold(v, r.Attrs[name].(string))) {
				t.Conflicts++
				return scim.Resource{}, scimerrors.ScimErrorUniqueness
			}
		}
	}
	t.insert(attributes)
	return t.resource(t.rows[len(t.rows)-1]), nil
}

// Get implements scim.ResourceHandler.
func (t *Table) Get(_ *http.Request, id string) (scim.Resource, error) {
	for _, r := range t.All() {
		if r.ID == id {
			return t.resource(r), nil
		}
	}
	return scim.Resource{}, scimerrors.ScimErrorResourceNotFound(id)
}

// GetAll implements scim.ResourceHandler.
func (t *Table) GetAll(r *http.Request, params scim.ListRequestParams) (scim.Page, error) {
	var found []scim.Resource
	for _, row := range t.All() {
		attrs := maps.Clone(row.Attrs)
		attrs["id"] = row.ID
		switch v := params.FilterValidator; {
		case v == nil:
		case t.directory.Naive && v.PassesFilter(attrs) != nil:
			continue
		case !t.directory.Naive && !Matches(v.GetFilter(), attrs):
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

// Replace implements scim.ResourceHandler.
func (t *Table) Replace(*http.Request, string, scim.ResourceAttributes) (scim.Resource, error) {
	panic("a resource was replaced")
}

// Delete implements scim.ResourceHandler.
func (t *Table) Delete(*http.Request, string) error { panic("a resource was deleted") }

// Patch implements scim.ResourceHandler.
func (t *Table) Patch(r *http.Request, id string, operations []scim.PatchOperation) (scim.Resource, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.rows, func(r Row) bool { return r.ID == id })
	if i < 0 {
		return scim.Resource{}, scimerrors.ScimErrorResourceNotFound(id)
	}
	row := &t.rows[i]
	if v := r.Header.Get("If-Match"); t.directory.Versioned && v != "" && v != fmt.Sprintf(`W/"%d"`, row.Version) {
		return scim.Resource{}, scimerrors.ScimError{Status: http.StatusPreconditionFailed}
	}
	attrs := maps.Clone(row.Attrs)
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
	row.Attrs = attrs
	row.Version++
	return t.resource(*row), nil
}

// Matches evaluates a filter (RFC 7644 section 3.4.2.2).
func Matches(e filter.Expression, attrs map[string]any) bool {
	switch e := e.(type) {
	case *filter.LogicalExpression:
		if e.Operator == filter.AND {
			return Matches(e.Left, attrs) && Matches(e.Right, attrs)
		}
		return Matches(e.Left, attrs) || Matches(e.Right, attrs)
	case *filter.NotExpression:
		return !Matches(e.Expression, attrs)
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

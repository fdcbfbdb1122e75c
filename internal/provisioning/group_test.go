// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// members returns who is in a group.
func (d *directory) members(group string) []string {
	var ids []string
	list, _ := d.Groups.One(group)["members"].([]any)
	for _, m := range list {
		ids = append(ids, m.(map[string]any)["value"].(string))
	}
	return ids
}

func group(name string, members ...string) map[string]any {
	attrs := map[string]any{"displayName": name}
	var list []any
	for _, m := range members {
		list = append(list, map[string]any{"value": m})
	}
	if list != nil {
		attrs["members"] = list
	}
	return attrs
}

func creating(o *Options) { o.CreateGroups = true }

func counted(lines []string, prefix string) int {
	n := 0
	for _, l := range lines {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

func TestEnrol(t *testing.T) {
	for _, versioned := range []bool{false, true} {
		d := newDirectory(t, func(d *directory) { d.Versioned = versioned })
		c := d.client(t)
		id := d.Groups.Put(group("Safety", "a", "b"))
		other := d.Groups.Put(group("Safety 2", "a"))
		for range 3 {
			if err := c.Enrol(t.Context(), "noor", "Safety"); err != nil {
				t.Fatal(err)
			}
		}
		if got := d.members(id); !slices.Equal(got, []string{"a", "b", "noor"}) {
			t.Error(got)
		}
		if got := d.members(other); !slices.Equal(got, []string{"a"}) {
			t.Error(got)
		}
		lines := d.Log()
		if counted(lines, "PATCH") != 1 || counted(lines, "GET /Groups ") != 1 {
			t.Error("a member was added again, or the group looked up again", lines)
		}
		if got := d.Groups.One(id); got["displayName"] != "Safety" || got["externalId"] != nil {
			t.Error(got)
		}
	}
}

func TestGroupIsFound(t *testing.T) {
	for name, tt := range map[string]struct {
		groups []map[string]any
		front  func(http.Handler) http.Handler
		want   int // index of the group, -1 for one that is new
		err    error
		create bool
	}{
		"by its name":                      {groups: []map[string]any{group("x"), group("Safety")}, want: 1},
		"by its name in another case":      {groups: []map[string]any{group("SAFETY")}, want: 0},
		"exactly, if there are both":       {groups: []map[string]any{group("SAFETY"), group("Safety")}, want: 1},
		"by its external id":               {groups: []map[string]any{{"displayName": "x", "externalId": "Safety"}}, want: 0},
		"by its name first":                {groups: []map[string]any{{"displayName": "x", "externalId": "Safety"}, group("Safety")}, want: 1},
		"not at all":                       {groups: []map[string]any{group("x")}, err: ErrGroupUnknown},
		"not at all, the server refuses":   {front: refusing(http.StatusBadRequest, "externalId"), err: ErrGroupUnknown},
		"two have the name":                {groups: []map[string]any{group("Safety"), group("Safety")}, err: ErrAmbiguous, create: true},
		"one of two is ours":               {groups: []map[string]any{group("Safety"), {"displayName": "Safety", "externalId": "lti-operator:Safety"}}, err: ErrAmbiguous},
		"two replicas created it":          {groups: []map[string]any{group("x"), {"displayName": "Safety", "externalId": "lti-operator:Safety"}, {"displayName": "Safety", "externalId": "lti-operator:Safety"}}, want: 1},
		"it is created":                    {groups: []map[string]any{group("x")}, want: -1, create: true},
		"created, external ids are no use": {front: refusing(http.StatusBadRequest, "externalId"), want: -1, create: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirectory(t, func(d *directory) { d.Front = tt.front })
			var ids []string
			for _, g := range tt.groups {
				ids = append(ids, d.Groups.Put(g))
			}
			c := d.client(t, func(o *Options) { o.CreateGroups = tt.create })
			if err := c.Enrol(t.Context(), "noor", "Safety"); !errors.Is(err, tt.err) {
				t.Fatal(err)
			}
			if tt.err == nil && tt.want == -1 {
				rows := d.Groups.All()
				if len(rows) != len(ids)+1 {
					t.Fatal(rows)
				}
				created := rows[len(rows)-1]
				if created.Attrs["displayName"] != "Safety" || created.Attrs["externalId"] != "lti-operator:Safety" {
					t.Error(created)
				}
				ids = append(ids, created.ID)
				tt.want = len(ids) - 1
			}
			for i, id := range ids {
				if in := slices.Contains(d.members(id), "noor"); in != (tt.err == nil && i == tt.want) {
					t.Error(i, d.members(id))
				}
			}
			if len(d.Groups.All()) != len(ids) {
				t.Error("a group was created")
			}
		})
	}
}

func TestGroupIsCreatedOnce(t *testing.T) {
	const name = "Safety"
	oursToo := map[string]any{"displayName": name, "externalId": "lti-operator:" + name}
	for title, tt := range map[string]struct {
		unique []string
		// before and answer see the request that creates the group.
		before func(d *directory)
		answer func(w http.ResponseWriter)
		hidden bool // found in no list
		want   error
		again  error
		in     int // index of the group that the person is in at last
		groups int
	}{
		"another replica was first, names are unique":     {unique: []string{"displayName"}, before: func(d *directory) { d.Groups.Put(oursToo) }, groups: 1},
		"another replica was first, names are not unique": {before: func(d *directory) { d.Groups.Put(oursToo) }, groups: 2},
		"an administrator was first, names are unique":    {unique: []string{"displayName"}, before: func(d *directory) { d.Groups.Put(group(name)) }, groups: 1},
		"an administrator was first, names are not": {
			before: func(d *directory) { d.Groups.Put(group(name)) }, want: ErrAmbiguous, again: ErrAmbiguous, in: -1, groups: 2,
		},
		"the answer is lost":           {answer: func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, want: ErrUnavailable, groups: 1},
		"the answer is empty":          {answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated) }, groups: 1},
		"it is in no list yet":         {hidden: true, groups: 1},
		"in no list, answer is empty":  {hidden: true, answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated) }, want: ErrProtocol, again: ErrProtocol, in: -1, groups: 2},
		"in no list, the name is used": {hidden: true, unique: []string{"displayName"}, before: func(d *directory) { d.Groups.Put(oursToo) }, want: ErrProtocol, again: ErrProtocol, in: -1, groups: 1},
	} {
		t.Run(title, func(t *testing.T) {
			var d *directory
			var once sync.Once
			d = newDirectory(t, func(dir *directory) {
				dir.Groups.Unique = tt.unique
				dir.Front = func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						switch {
						case r.Method == http.MethodPost:
							if tt.before != nil {
								once.Do(func() { tt.before(d) })
							}
							if tt.answer != nil {
								next.ServeHTTP(discard{}, r)
								tt.answer(w)
								return
							}
						case tt.hidden && r.URL.RawQuery != "":
							reply(http.StatusOK, "", `{"totalResults":0}`)(w, r)
							return
						}
						next.ServeHTTP(w, r)
					})
				}
			})
			d.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
			c := d.client(t, creating)
			if err := c.Enrol(t.Context(), "noor", name); !errors.Is(err, tt.want) {
				t.Error(err)
			}
			if err := c.Enrol(t.Context(), "noor", name); !errors.Is(err, tt.again) {
				t.Error(err)
			}
			rows := d.Groups.All()
			if len(rows) != tt.groups {
				t.Error(len(rows), "groups")
			}
			for i, g := range rows {
				if in := slices.Contains(d.members(g.ID), "noor"); in != (i == tt.in) {
					t.Error(i, in)
				}
			}
		})
	}
}

func TestEnrolWithoutNames(t *testing.T) {
	c := newDirectory(t).client(t, creating)
	if err := c.Enrol(t.Context(), "", "Safety"); !errors.Is(err, ErrInvalidPerson) {
		t.Error(err)
	}
	for _, name := range []string{"", "\xff"} {
		if err := c.Enrol(t.Context(), "noor", name); !errors.Is(err, ErrGroupUnknown) {
			t.Error(err)
		}
	}
}

// A class opens its first activity: two replicas, one group that nobody has made
// yet, versions compared.
func TestConcurrentEnrolment(t *testing.T) {
	d := newDirectory(t, func(d *directory) { d.Versioned = true })
	clients := []*Client{d.client(t, creating), d.client(t, creating)}
	const class = 100
	var wg sync.WaitGroup
	for i := range class {
		wg.Go(func() {
			for {
				err := clients[i%2].Enrol(t.Context(), fmt.Sprint("learner-", i), "Safety")
				if err == nil {
					return
				}
				if !errors.Is(err, ErrUnavailable) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	// Which of two groups made at the same time it is, both replicas agree on.
	var in []string
	for _, g := range d.Groups.All() {
		in = append(in, d.members(g.ID)...)
	}
	slices.Sort(in)
	if n := len(slices.Compact(in)); n != class || len(in) != class {
		t.Error(n, len(in))
	}
	if n := len(d.Groups.All()); n > 2 {
		t.Error(n, "groups")
	}
}

func TestGroupWasReplaced(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t, creating)
	if err := c.Enrol(t.Context(), "a", "Safety"); err != nil {
		t.Fatal(err)
	}
	d.Groups.Remove(d.Groups.All()[0].ID)
	if err := c.Enrol(t.Context(), "noor", "Safety"); err != nil {
		t.Fatal(err)
	}
	if rows := d.Groups.All(); len(rows) != 1 || !slices.Equal(d.members(rows[0].ID), []string{"noor"}) {
		t.Error(rows)
	}
}

func TestGroupIsRememberedForAWhile(t *testing.T) {
	d := newDirectory(t)
	now := time.Now()
	c := d.client(t, creating, func(o *Options) { o.Now = func() time.Time { return now } })
	if err := c.Enrol(t.Context(), "a", "Safety"); err != nil {
		t.Fatal(err)
	}
	first := d.Groups.All()[0].ID
	d.Groups.Set(first, map[string]any{"displayName": "Safety 2025"})
	second := d.Groups.Put(group("Safety"))
	now = now.Add(groupLifetime - time.Second)
	if err := c.Enrol(t.Context(), "b", "Safety"); err != nil || !slices.Equal(d.members(first), []string{"a", "b"}) {
		t.Error(err)
	}
	now = now.Add(time.Second)
	if err := c.Enrol(t.Context(), "c", "Safety"); err != nil || !slices.Equal(d.members(second), []string{"c"}) {
		t.Error(err)
	}
}

// patched puts itself before changes of groups.
func patched(before func(n int32, w http.ResponseWriter, r *http.Request) (done bool)) func(*directory) {
	var n atomic.Int32
	return func(d *directory) {
		d.Front = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPatch && before(n.Add(1), w, r) {
					return
				}
				next.ServeHTTP(w, r)
			})
		}
		d.Versioned = true
	}
}

func TestGroupChangesMeanwhile(t *testing.T) {
	var d *directory
	var id string
	for name, tt := range map[string]struct {
		before  func(n int32, w http.ResponseWriter, r *http.Request) bool
		want    error
		patches int
		members []string
	}{
		"once": {
			before: func(n int32, _ http.ResponseWriter, _ *http.Request) bool {
				if n == 1 {
					d.Groups.Set(id, group("Safety", "x"))
				}
				return false
			},
			patches: 2, members: []string{"x", "noor"},
		},
		"somebody else enrols the person": {
			before: func(int32, http.ResponseWriter, *http.Request) bool {
				d.Groups.Set(id, group("Safety", "noor"))
				return false
			},
			patches: 1, members: []string{"noor"},
		},
		"all the time": {
			before: func(n int32, _ http.ResponseWriter, _ *http.Request) bool {
				d.Groups.Set(id, group("Safety", fmt.Sprint(n)))
				return false
			},
			want: ErrUnavailable, patches: 2, members: []string{"2"},
		},
		"the server does not know its versions again": {
			before: func(_ int32, w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("If-Match") == "" {
					return false
				}
				w.WriteHeader(http.StatusPreconditionFailed)
				return true
			},
			patches: 2, members: []string{"noor"},
		},
		"it says conflict": {
			before: func(n int32, w http.ResponseWriter, _ *http.Request) bool {
				if n == 1 {
					w.WriteHeader(http.StatusConflict)
				}
				return n == 1
			},
			patches: 2, members: []string{"noor"},
		},
		"the member is not known": {
			before: func(_ int32, w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusNotFound)
				return true
			},
			want: ErrProtocol, patches: 2,
		},
		"the answer is long": {
			before: func(_ int32, w http.ResponseWriter, _ *http.Request) bool {
				d.Groups.Set(id, group("Safety", "noor"))
				w.Write(make([]byte, DefaultMaxBody+1))
				return true
			},
			patches: 1, members: []string{"noor"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d = newDirectory(t, patched(tt.before))
			id = d.Groups.Put(group("Safety"))
			if err := d.client(t).Enrol(t.Context(), "noor", "Safety"); !errors.Is(err, tt.want) {
				t.Error(err)
			}
			if got := d.members(id); !slices.Equal(got, tt.members) {
				t.Error(got)
			}
			if lines := d.Log(); counted(lines, "PATCH") != tt.patches {
				t.Error(lines)
			}
		})
	}
}

// So many members that the answer is longer than what is read.
func TestLargeGroup(t *testing.T) {
	d := newDirectory(t)
	var everybody []string
	for i := range 200 {
		everybody = append(everybody, fmt.Sprintf("%0100d", i))
	}
	id := d.Groups.Put(group("Safety", everybody...))
	c := d.client(t, func(o *Options) { o.MaxBody = 10_000 })
	for range 2 {
		if err := c.Enrol(t.Context(), "noor", "Safety"); err != nil {
			t.Fatal(err)
		}
	}
	if got := d.members(id); !slices.Equal(got, append(everybody, "noor")) {
		t.Error(len(got))
	}
}

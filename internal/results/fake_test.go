// SPDX-License-Identifier: Apache-2.0

package results

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

// table is a store for tests that run on a clock of their own. Those of the stores themselves use real ones.
type table struct {
	store.Results // what the package does not need

	mu      sync.Mutex
	rows    map[string]*tableRow
	nonces  map[store.Nonce]bool
	leases  int
	now     func() time.Time
	changed int
}

type tableRow struct {
	result  store.Result
	history []store.ResultMessage
	lease   string
	until   time.Time
}

func newTable(now func() time.Time) *table {
	return &table{rows: map[string]*tableRow{}, nonces: map[store.Nonce]bool{}, now: now}
}

// open is what a learner does who opens an activity.
func (t *table) open(activity, learner string) store.ResultKey {
	key := store.ResultKey{Realm: "tool/t", Activity: activity, LearnerID: learner}
	_, _ = t.BeginResult(context.Background(), nil, store.Result{Key: key, OutcomeID: "outcome of " + activity + " " + learner})
	return key
}

func (t *table) BeginResult(_ context.Context, _ *store.Nonce, r store.Result) (store.Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[r.Key.ID()]
	if !ok {
		r.Subject, r.StartedAt, r.UpdatedAt = "subject of "+r.Key.LearnerID, t.now(), t.now()
		row = &tableRow{result: r}
		t.rows[r.Key.ID()] = row
	}
	return row.result, nil
}

func (t *table) Result(_ context.Context, key store.ResultKey) (store.Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if row, ok := t.rows[key.ID()]; ok {
		return row.result, nil
	}
	return store.Result{}, store.ErrNotFound
}

func (t *table) ResultByID(_ context.Context, id string) (store.Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if row, ok := t.rows[id]; ok {
		return row.result, nil
	}
	return store.Result{}, store.ErrNotFound
}

func (t *table) ResultByOutcome(_ context.Context, id string) (store.Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, row := range t.rows {
		if id != "" && row.result.OutcomeID == id {
			return row.result, nil
		}
	}
	return store.Result{}, store.ErrNotFound
}

func (t *table) ChangeResult(_ context.Context, id string, c store.ResultChange) (store.Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[id]
	switch {
	case !ok:
		return store.Result{}, store.ErrNotFound
	case c.Nonce != nil && t.nonces[*c.Nonce]:
		return store.Result{}, store.ErrReplayed
	}
	r := row.result
	message, err := c.Change(&r)
	if err != nil {
		return store.Result{}, err
	}
	if c.Nonce != nil {
		t.nonces[*c.Nonce] = true
	}
	t.store(row, r)
	if message != nil {
		row.history = append([]store.ResultMessage{{At: t.now(), Message: message}}, row.history...)
	}
	return row.result, nil
}

func (t *table) store(row *tableRow, r store.Result) {
	if string(r.State) != string(row.result.State) || !r.DueAt.Equal(row.result.DueAt) {
		t.changed++
		r.UpdatedAt = t.now()
	}
	r.State = slices.Clone(r.State)
	row.result = r
}

func (t *table) ListResults(_ context.Context, f store.ResultFilter) ([]store.Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []store.Result
	for _, id := range slices.Sorted(maps.Keys(t.rows)) {
		r := t.rows[id].result
		is := func(wanted, value string) bool { return wanted == "" || wanted == value }
		if id > f.After && len(found) < f.Limit && r.Key.LineItem == f.LineItem && is(f.Realm, r.Key.Realm) &&
			is(f.Activity, r.Key.Activity) && is(f.LearnerID, r.Key.LearnerID) && is(f.Subject, r.Subject) {
			found = append(found, r)
		}
	}
	return found, nil
}

func (t *table) ResultHistory(_ context.Context, id string, limit int) ([]store.ResultMessage, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[id]
	if !ok {
		return nil, nil
	}
	return row.history[:min(limit, len(row.history))], nil
}

func (t *table) LeaseResults(_ context.Context, now, until time.Time, n int) ([]store.LeasedResult, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var leased []store.LeasedResult
	for _, id := range slices.SortedFunc(maps.Keys(t.rows), func(a, b string) int {
		return cmp.Or(t.rows[a].result.DueAt.Compare(t.rows[b].result.DueAt), cmp.Compare(a, b))
	}) {
		row := t.rows[id]
		if len(leased) == n || row.result.DueAt.IsZero() || row.result.DueAt.After(now) || row.until.After(now) {
			continue
		}
		t.leases++
		row.lease, row.until = fmt.Sprint(t.leases), until
		leased = append(leased, store.LeasedResult{Result: row.result, Lease: row.lease})
	}
	return leased, nil
}

func (t *table) UpdateResult(_ context.Context, id, lease string, change func(r *store.Result) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[id]
	if !ok || row.lease != lease {
		return store.ErrLeaseLost
	}
	r := row.result
	if err := change(&r); err != nil {
		return err
	}
	t.store(row, r)
	row.lease, row.until = "", time.Time{}
	return nil
}

// state returns what is stored of a result.
func (t *table) state(id string) (s State, r store.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r = t.rows[id].result
	_ = json.Unmarshal(r.State, &s)
	return s, r
}

// cut is the way of one replica to the store. It breaks when the replica is killed, and at times so that something is
// stored and nobody learns of it.
type cut struct {
	*table
	mu   sync.Mutex
	dead bool
	// lose tells whether the answer to what was stored gets lost; nil for never.
	lose func() bool
}

func (c *cut) broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return store.ErrUnavailable
	}
	return nil
}

func (c *cut) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
}

func (c *cut) answer() error {
	if c.lose != nil && c.lose() {
		return store.ErrUnavailable
	}
	return c.broken()
}

func (c *cut) ChangeResult(ctx context.Context, id string, change store.ResultChange) (store.Result, error) {
	if err := c.broken(); err != nil {
		return store.Result{}, err
	}
	r, err := c.table.ChangeResult(ctx, id, change)
	if lost := c.answer(); lost != nil {
		return store.Result{}, lost
	}
	return r, err
}

func (c *cut) LeaseResults(ctx context.Context, now, until time.Time, n int) ([]store.LeasedResult, error) {
	if err := c.broken(); err != nil {
		return nil, err
	}
	leased, err := c.table.LeaseResults(ctx, now, until, n)
	if lost := c.answer(); lost != nil {
		return nil, lost
	}
	return leased, err
}

func (c *cut) UpdateResult(ctx context.Context, id, lease string, change func(r *store.Result) error) error {
	if err := c.broken(); err != nil {
		return err
	}
	err := c.table.UpdateResult(ctx, id, lease, change)
	if lost := c.answer(); lost != nil {
		return lost
	}
	return err
}

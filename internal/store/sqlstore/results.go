package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

var _ store.Results = (*Store)(nil)

// resultStatements are prepared with those of Store.
type resultStatements struct {
	renewLearner, insertLearner, findLearner *sql.Stmt
	members                                  *sql.Stmt
	insertResult, findResult                 *sql.Stmt
	readResult, readOutcome                  *sql.Stmt
	updateResult, updateLeased, leaseResults *sql.Stmt
	insertMessage, trimMessages, history     *sql.Stmt
	listOne, listSubject, listActivity, list *sql.Stmt
	updateToolItem, countToolItems           *sql.Stmt
	insertToolItem, findToolItem             *sql.Stmt
	listToolItems, deleteToolItem            *sql.Stmt
	deleteResults                            *sql.Stmt
}

const resultColumns = `
	realm, activity, line_item, learner_id, subject, outcome_id, state, due_at, started_at, updated_at`

const (
	findResult = `SELECT` + resultColumns + `, lease FROM results WHERE id = ?1`

	// The second condition lets the engine use the index, which has it too.
	resultByOutcome = `SELECT` + resultColumns + `, lease FROM results WHERE outcome_id = ?1 AND outcome_id <> ''`

	// Finds no learner or no line item, and then there is no result.
	insertResult = `
		INSERT INTO results (
			id, realm, activity, line_item, learner_id, line_item_id, subject, outcome_id, started_at, updated_at)
		SELECT ?1, l.realm, ?3, ?4, l.id, ?6, l.subject, ?7, ?8, ?8 FROM tool_learners l
		WHERE l.realm = ?2 AND l.id = ?5 AND (?4 = '' OR EXISTS (SELECT 1 FROM tool_line_items i WHERE i.id = ?6))
		ON CONFLICT (id) DO NOTHING
		RETURNING` + resultColumns + `, lease`

	insertMessage = `
		INSERT INTO result_messages (result_id, seq, at, message)
		SELECT ?1, COALESCE(max(seq), 0) + 1, ?2, ?3 FROM result_messages WHERE result_id = ?1
		RETURNING seq`

	resultHistory = `
		SELECT at, message FROM result_messages WHERE result_id = ?1 ORDER BY seq DESC LIMIT ?2`
)

// Of a list these conditions, first, let the engine use an index.
const (
	resultID       = `id = ?7`
	resultSubject  = `subject = ?4`
	resultActivity = `activity = ?2 AND line_item = ?5`
	anyResult      = `id > ?6`
)

// listResults is the query for results of a kind. Empty parameters select
// everything, but for the line item.
func listResults(kind string) string {
	return `
		SELECT` + resultColumns + `, lease FROM results
		WHERE ` + kind + ` AND id > ?6 AND line_item = ?5
		AND (?1 = '' OR realm = ?1) AND (?2 = '' OR activity = ?2) AND (?3 = '' OR learner_id = ?3)
		AND (?4 = '' OR subject = ?4) AND (?7 = '' OR id = ?7)
		ORDER BY id LIMIT ?8`
}

func (s *Store) prepareResults(ctx context.Context) error {
	r := &s.results
	return s.prepareAll(ctx, []statement{
		{&r.renewLearner, s.engine.Write, renewLearner},
		{&r.insertLearner, s.engine.Write, insertLearner},
		{&r.findLearner, s.engine.Read, findLearner},
		{&r.members, s.engine.Read, members},
		{&r.insertResult, s.engine.Write, insertResult},
		{&r.findResult, s.engine.Write, findResult},
		{&r.readResult, s.engine.Read, findResult},
		{&r.readOutcome, s.engine.Read, resultByOutcome},
		{&r.updateResult, s.engine.Write, `
			UPDATE results SET state = ?2, due_at = ?3, updated_at = ?4 WHERE id = ?1`},
		{&r.updateLeased, s.engine.Write, `
			UPDATE results SET state = ?2, due_at = ?3, updated_at = ?4, lease = '', lease_until = 0
			WHERE id = ?1 AND lease = ?5`},
		{&r.leaseResults, s.engine.Write, s.leaseText("results", "id", "", resultColumns+`, lease`)},
		{&r.insertMessage, s.engine.Write, insertMessage},
		{&r.trimMessages, s.engine.Write, `DELETE FROM result_messages WHERE result_id = ?1 AND seq <= ?2`},
		{&r.history, s.engine.Read, resultHistory},
		{&r.listOne, s.engine.Read, listResults(resultID)},
		{&r.listSubject, s.engine.Read, listResults(resultSubject)},
		{&r.listActivity, s.engine.Read, listResults(resultActivity)},
		{&r.list, s.engine.Read, listResults(anyResult)},
		{&r.updateToolItem, s.engine.Write, `UPDATE tool_line_items SET document = ?2 WHERE id = ?1`},
		{&r.countToolItems, s.engine.Write, countToolItems},
		{&r.insertToolItem, s.engine.Write, insertToolItem},
		{&r.findToolItem, s.engine.Read, findToolItem},
		{&r.listToolItems, s.engine.Read, listToolItems},
		{&r.deleteToolItem, s.engine.Write, `DELETE FROM tool_line_items WHERE id = ?1`},
		{&r.deleteResults, s.engine.Write, `DELETE FROM results WHERE line_item_id = ?1`},
	})
}

// Nonces are spent before locks are taken, and a transaction takes one lock at most.
func resultLock(id string) string { return "result\x00" + id }

// SpendNonce implements store.Results.
func (s *Store) SpendNonce(ctx context.Context, all ...store.Nonce) error {
	for i := range all {
		if err := all[i].Validate(); err != nil {
			return err
		}
	}
	return s.inTx(ctx, "spend nonce", func(ctx context.Context, tx *sql.Tx) error {
		for i := range all {
			if err := s.spendNonce(ctx, tx, &all[i], ""); err != nil {
				return err
			}
		}
		return nil
	})
}

// BeginResult implements store.Results.
func (s *Store) BeginResult(ctx context.Context, n *store.Nonce, r store.Result) (store.Result, error) {
	if err := validateNonce(n); err != nil {
		return store.Result{}, err
	}
	if err := r.Validate(); err != nil {
		return store.Result{}, err
	}
	begun, found, err := s.beginIfKnown(ctx, n, r.Key.ID())
	if err != nil || found {
		return begun, err
	}
	err = s.inTx(ctx, "begin result", func(ctx context.Context, tx *sql.Tx) (err error) {
		if err := s.spendNonce(ctx, tx, n, ""); err != nil {
			return err
		}
		begun, err = s.beginResult(ctx, tx, r)
		return err
	})
	if err != nil {
		return store.Result{}, err
	}
	return begun, nil
}

// beginResult finds or makes a result. For one that is there, as of most launches,
// that is one query.
func (s *Store) beginResult(ctx context.Context, tx *sql.Tx, r store.Result) (store.Result, error) {
	k, id := r.Key, r.Key.ID()
	found, _, err := s.findResult(ctx, tx, id)
	if !errors.Is(err, store.ErrNotFound) {
		return found, err
	}
	if k.LineItem != "" {
		if err := s.lock(ctx, tx, lineItemsKey(k.Realm, k.Activity)); err != nil {
			return store.Result{}, err
		}
	}
	made, _, err := scanResult(tx.StmtContext(ctx, s.results.insertResult).QueryRowContext(ctx,
		id, k.Realm, k.Activity, k.LineItem, k.LearnerID, store.LineItemID(k.Realm, k.Activity, k.LineItem),
		r.OutcomeID, micros(s.now())))
	if errors.Is(err, sql.ErrNoRows) {
		// Another transaction has made it meanwhile, or it cannot be made.
		made, _, err = s.findResult(ctx, tx, id)
	}
	return made, err
}

// Result implements store.Results.
func (s *Store) Result(ctx context.Context, key store.ResultKey) (store.Result, error) {
	return s.readResult(ctx, s.results.readResult, key.ID())
}

// ResultByID implements store.Results.
func (s *Store) ResultByID(ctx context.Context, id string) (store.Result, error) {
	if !store.Storable(id) {
		return store.Result{}, store.ErrNotFound
	}
	return s.readResult(ctx, s.results.readResult, id)
}

// ResultByOutcome implements store.Results.
func (s *Store) ResultByOutcome(ctx context.Context, outcomeID string) (store.Result, error) {
	if !store.Storable(outcomeID) {
		return store.Result{}, store.ErrNotFound
	}
	return s.readResult(ctx, s.results.readOutcome, outcomeID)
}

func (s *Store) readResult(ctx context.Context, query *sql.Stmt, arg string) (store.Result, error) {
	var r store.Result
	err := s.read(ctx, "find result", func(ctx context.Context) (err error) {
		r, _, err = scanResult(query.QueryRowContext(ctx, arg))
		return orNotFound(err)
	})
	if err != nil {
		return store.Result{}, err
	}
	return r, nil
}

// ChangeResult implements store.Results.
func (s *Store) ChangeResult(ctx context.Context, id string, c store.ResultChange) (store.Result, error) {
	if err := validateNonce(c.Nonce); err != nil {
		return store.Result{}, err
	}
	if !store.Storable(id) {
		return store.Result{}, store.ErrNotFound
	}
	var after store.Result
	err := s.inTx(ctx, "change result", func(ctx context.Context, tx *sql.Tx) error {
		if err := s.spendNonce(ctx, tx, c.Nonce, ""); err != nil {
			return err
		}
		if err := s.lock(ctx, tx, resultLock(id)); err != nil {
			return err
		}
		before, _, err := s.findResult(ctx, tx, id)
		if err != nil {
			return err
		}
		var message json.RawMessage
		after, err = s.changed(before, func(r *store.Result) (err error) {
			message, err = c.Change(r)
			return err
		})
		if err != nil {
			return err
		}
		// Also for the message alone: from here on nobody deletes the result.
		if err := changeRow(ctx, tx.StmtContext(ctx, s.results.updateResult), store.ErrNotFound,
			id, nullText(after.State), due(after.DueAt), micros(after.UpdatedAt)); err != nil {
			return err
		}
		return s.keepMessage(ctx, tx, id, message)
	})
	if err = unwrapForeign(err); err != nil {
		return store.Result{}, err
	}
	return after, nil
}

// changed returns the result that is to be stored after a change.
func (s *Store) changed(before store.Result, change func(*store.Result) error) (store.Result, error) {
	offered := before
	offered.State = slices.Clone(before.State)
	if err := change(&offered); err != nil {
		return store.Result{}, foreign{err}
	}
	after := before
	after.State, after.DueAt = nil, fromDue(due(offered.DueAt))
	if len(offered.State) > 0 {
		after.State = offered.State
	}
	if !bytes.Equal(after.State, before.State) || !after.DueAt.Equal(before.DueAt) {
		after.UpdatedAt = fromMicros(micros(s.now()))
	}
	return after, after.Validate()
}

// keepMessage adds a message, if there is one, to the history of a result whose lock
// is held, and deletes the oldest one there is no room for.
func (s *Store) keepMessage(ctx context.Context, tx *sql.Tx, id string, message json.RawMessage) error {
	if len(message) == 0 {
		return nil
	}
	if err := (store.ResultMessage{Message: message}).Validate(); err != nil {
		return err
	}
	var seq int64
	if err := tx.StmtContext(ctx, s.results.insertMessage).
		QueryRowContext(ctx, id, micros(s.now()), string(message)).Scan(&seq); err != nil {
		return err
	}
	if seq <= store.MaxHistory {
		return nil
	}
	_, err := tx.StmtContext(ctx, s.results.trimMessages).ExecContext(ctx, id, seq-store.MaxHistory)
	return err
}

// ListResults implements store.Results.
func (s *Store) ListResults(ctx context.Context, f store.ResultFilter) ([]store.Result, error) {
	for _, text := range []string{f.Realm, f.Activity, f.LearnerID, f.Subject, f.LineItem, f.After} {
		if !store.Storable(text) {
			return nil, nil
		}
	}
	query, id := s.results.list, ""
	switch {
	case f.Realm != "" && f.Activity != "" && f.LearnerID != "":
		query = s.results.listOne
		id = store.ResultKey{Realm: f.Realm, Activity: f.Activity, LineItem: f.LineItem, LearnerID: f.LearnerID}.ID()
	case f.Subject != "":
		query = s.results.listSubject
	case f.Activity != "":
		query = s.results.listActivity
	}
	var found []store.Result
	err := s.read(ctx, "list results", func(ctx context.Context) error {
		rows, err := query.QueryContext(ctx, f.Realm, f.Activity, f.LearnerID, f.Subject, f.LineItem, f.After, id, max(1, f.Limit))
		found, err = collect(rows, err, func(r Row) (store.Result, error) {
			result, _, err := scanResult(r)
			return result, err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// ResultHistory implements store.Results.
func (s *Store) ResultHistory(ctx context.Context, id string, limit int) ([]store.ResultMessage, error) {
	if !store.Storable(id) {
		return nil, nil
	}
	var found []store.ResultMessage
	err := s.read(ctx, "list messages", func(ctx context.Context) error {
		rows, err := s.results.history.QueryContext(ctx, id, max(1, limit))
		found, err = collect(rows, err, func(r Row) (store.ResultMessage, error) {
			var (
				at      int64
				message string
			)
			err := r.Scan(&at, &message)
			return store.ResultMessage{At: fromMicros(at), Message: json.RawMessage(message)}, err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// LeaseResults implements store.Results.
func (s *Store) LeaseResults(ctx context.Context, now, until time.Time, n int) ([]store.LeasedResult, error) {
	leased, err := leaseDue(ctx, s, "lease results", s.results.leaseResults, now, until, n, func(r Row, lease string) (store.LeasedResult, error) {
		result, _, err := scanResult(r)
		return store.LeasedResult{Result: result, Lease: lease}, err
	})
	slices.SortFunc(leased, func(a, b store.LeasedResult) int { return a.DueAt.Compare(b.DueAt) })
	return leased, err
}

// UpdateResult implements store.Results.
func (s *Store) UpdateResult(ctx context.Context, id, lease string, change func(r *store.Result) error) error {
	if !store.Storable(id) || lease == "" {
		return store.ErrLeaseLost
	}
	return unwrapForeign(s.inTx(ctx, "update result", func(ctx context.Context, tx *sql.Tx) error {
		if err := s.lock(ctx, tx, resultLock(id)); err != nil {
			return err
		}
		before, holder, err := s.findResult(ctx, tx, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && holder != lease {
			return store.ErrLeaseLost
		}
		if err != nil {
			return err
		}
		after, err := s.changed(before, change)
		if err != nil {
			return err
		}
		return changeRow(ctx, tx.StmtContext(ctx, s.results.updateLeased), store.ErrLeaseLost,
			id, nullText(after.State), due(after.DueAt), micros(after.UpdatedAt), lease)
	}))
}

func (s *Store) findResult(ctx context.Context, tx *sql.Tx, id string) (r store.Result, lease string, err error) {
	r, lease, err = scanResult(tx.StmtContext(ctx, s.results.findResult).QueryRowContext(ctx, id))
	return r, lease, orNotFound(err)
}

// scanResult reads resultColumns and the lease.
func scanResult(r Row) (result store.Result, lease string, err error) {
	var (
		state            sql.NullString
		dueAt            sql.NullInt64
		started, updated int64
	)
	if err := r.Scan(&result.Key.Realm, &result.Key.Activity, &result.Key.LineItem, &result.Key.LearnerID,
		&result.Subject, &result.OutcomeID, &state, &dueAt, &started, &updated, &lease); err != nil {
		return store.Result{}, "", err
	}
	if state.Valid {
		result.State = json.RawMessage(state.String)
	}
	result.DueAt, result.StartedAt, result.UpdatedAt = fromDue(dueAt), fromMicros(started), fromMicros(updated)
	return result, lease, nil
}

func validateNonce(n *store.Nonce) error {
	if n == nil {
		return nil
	}
	return n.Validate()
}

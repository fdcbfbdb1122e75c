package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/lti-operator/lti-operator/internal/store"
)

const (
	findToolItem = `
		SELECT realm, activity, line_item, document, created_at FROM tool_line_items WHERE id = ?1`

	listToolItems = `
		SELECT realm, activity, line_item, document, created_at FROM tool_line_items
		WHERE realm = ?1 AND activity = ?2 ORDER BY created_at, id`

	insertToolItem = `
		INSERT INTO tool_line_items (id, realm, activity, line_item, document, created_at)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6)`

	countToolItems = `
		SELECT count(*) FROM tool_line_items WHERE realm = ?1 AND activity = ?2 AND line_item <> ?3`
)

// Whoever adds to the line items of an activity, or to a line item, holds this lock:
// two at once would each count without the other, or make a result of a line item
// that the other deletes.
func lineItemsKey(realm, activity string) string {
	return "line items\x00" + realm + "\x00" + activity
}

// PutToolLineItem implements store.Results.
func (s *Store) PutToolLineItem(ctx context.Context, l store.ToolLineItem) error {
	if err := l.Validate(); err != nil {
		return err
	}
	id := store.LineItemID(l.Realm, l.Activity, l.ID)
	return s.inTx(ctx, "put line item", func(ctx context.Context, tx *sql.Tx) error {
		if err := s.lock(ctx, tx, lineItemsKey(l.Realm, l.Activity)); err != nil {
			return err
		}
		err := changeRow(ctx, tx.StmtContext(ctx, s.results.updateToolItem), store.ErrNotFound, id, string(l.Document))
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if l.ID != store.ActivityLineItem {
			var others int
			if err := tx.StmtContext(ctx, s.results.countToolItems).
				QueryRowContext(ctx, l.Realm, l.Activity, store.ActivityLineItem).Scan(&others); err != nil {
				return err
			}
			if others >= store.MaxToolLineItems {
				return store.ErrTooMany
			}
		}
		_, err = tx.StmtContext(ctx, s.results.insertToolItem).
			ExecContext(ctx, id, l.Realm, l.Activity, l.ID, string(l.Document), micros(s.now()))
		return err
	})
}

// ToolLineItem implements store.Results.
func (s *Store) ToolLineItem(ctx context.Context, realm, activity, id string) (store.ToolLineItem, error) {
	var l store.ToolLineItem
	err := s.read(ctx, "find line item", func(ctx context.Context) (err error) {
		l, err = scanToolItem(s.results.findToolItem.QueryRowContext(ctx, store.LineItemID(realm, activity, id)))
		return orNotFound(err)
	})
	if err != nil {
		return store.ToolLineItem{}, err
	}
	return l, nil
}

// ToolLineItems implements store.Results.
func (s *Store) ToolLineItems(ctx context.Context, realm, activity string) ([]store.ToolLineItem, error) {
	if !store.Storable(realm) || !store.Storable(activity) {
		return nil, nil
	}
	var found []store.ToolLineItem
	err := s.read(ctx, "list line items", func(ctx context.Context) error {
		rows, err := s.results.listToolItems.QueryContext(ctx, realm, activity)
		found, err = collect(rows, err, scanToolItem)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// DeleteToolLineItem implements store.Results. Messages go with their results.
func (s *Store) DeleteToolLineItem(ctx context.Context, realm, activity, id string) error {
	item := store.LineItemID(realm, activity, id)
	return s.inTx(ctx, "delete line item", func(ctx context.Context, tx *sql.Tx) error {
		if err := s.lock(ctx, tx, lineItemsKey(realm, activity)); err != nil {
			return err
		}
		if err := changeRow(ctx, tx.StmtContext(ctx, s.results.deleteToolItem), store.ErrNotFound, item); err != nil {
			return err
		}
		_, err := tx.StmtContext(ctx, s.results.deleteResults).ExecContext(ctx, item)
		return err
	})
}

func scanToolItem(r Row) (store.ToolLineItem, error) {
	var (
		l        store.ToolLineItem
		document string
		created  int64
	)
	if err := r.Scan(&l.Realm, &l.Activity, &l.ID, &document, &created); err != nil {
		return store.ToolLineItem{}, err
	}
	l.Document, l.CreatedAt = json.RawMessage(document), fromMicros(created)
	return l, nil
}

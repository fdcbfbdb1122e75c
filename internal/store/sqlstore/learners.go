package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lti-operator/lti-operator/internal/store"
)

// With the table, since members has another one with such columns. SQLite knows no
// other name of it in RETURNING.
const learnerColumns = `
	tool_learners.realm, tool_learners.id, tool_learners.subject, given_name, family_name, name, email, locale, seen_at`

const (
	findLearner = `SELECT` + learnerColumns + ` FROM tool_learners WHERE realm = ?1 AND id = ?2`

	renewLearner = `
		UPDATE tool_learners SET
			given_name = ?3, family_name = ?4, name = ?5, email = ?6, locale = ?7, seen_at = ?8
		WHERE realm = ?1 AND subject = ?2
		RETURNING` + learnerColumns

	// Either of the two unique indexes may have a row already.
	insertLearner = `
		INSERT INTO tool_learners (realm, subject, given_name, family_name, name, email, locale, seen_at, id)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
		ON CONFLICT DO NOTHING
		RETURNING` + learnerColumns

	members = `
		SELECT` + learnerColumns + `
		FROM results r JOIN tool_learners ON tool_learners.realm = r.realm AND tool_learners.id = r.learner_id
		WHERE r.line_item_id = ?1 AND r.learner_id > ?2
		ORDER BY r.learner_id LIMIT ?3`
)

// MeetLearner implements store.Results.
func (s *Store) MeetLearner(ctx context.Context, l store.Learner) (store.Learner, error) {
	if err := l.Validate(); err != nil {
		return store.Learner{}, err
	}
	now := micros(s.now())
	says := []any{l.Realm, l.Subject, l.GivenName, l.FamilyName, l.Name, l.Email, l.Locale, now}
	var met store.Learner
	err := s.inTx(ctx, "meet learner", func(ctx context.Context, tx *sql.Tx) (err error) {
		// Most are known. One who is not, and cannot be inserted either, was met by
		// another transaction meanwhile.
		for _, step := range []struct {
			statement *sql.Stmt
			args      []any
		}{
			{s.results.renewLearner, says}, {s.results.insertLearner, append(says, l.ID)}, {s.results.renewLearner, says},
		} {
			met, err = scanLearner(tx.StmtContext(ctx, step.statement).QueryRowContext(ctx, step.args...))
			if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		return store.ErrConflict
	})
	if err != nil {
		return store.Learner{}, err
	}
	return met, nil
}

// Learner implements store.Results.
func (s *Store) Learner(ctx context.Context, realm, id string) (store.Learner, error) {
	if !store.Storable(realm) || !store.Storable(id) {
		return store.Learner{}, store.ErrNotFound
	}
	var l store.Learner
	err := s.read(ctx, "find learner", func(ctx context.Context) (err error) {
		l, err = scanLearner(s.results.findLearner.QueryRowContext(ctx, realm, id))
		return orNotFound(err)
	})
	if err != nil {
		return store.Learner{}, err
	}
	return l, nil
}

// Members implements store.Results.
func (s *Store) Members(ctx context.Context, realm, activity, after string, limit int) ([]store.Learner, error) {
	if !store.Storable(after) {
		return nil, nil
	}
	var found []store.Learner
	err := s.read(ctx, "list members", func(ctx context.Context) error {
		rows, err := s.results.members.QueryContext(ctx, store.LineItemID(realm, activity, ""), after, max(1, limit))
		found, err = collect(rows, err, scanLearner)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// scanLearner reads learnerColumns.
func scanLearner(r Row) (store.Learner, error) {
	var (
		l    store.Learner
		seen int64
	)
	if err := r.Scan(&l.Realm, &l.ID, &l.Subject, &l.GivenName, &l.FamilyName, &l.Name, &l.Email, &l.Locale, &seen); err != nil {
		return store.Learner{}, err
	}
	l.SeenAt = fromMicros(seen)
	return l, nil
}

package sqlstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

var _ store.Grades = (*Store)(nil)

// gradeStatements are prepared with those of Store.
type gradeStatements struct {
	accountExists, insertKey, findKey       *sql.Stmt
	findProgress, putProgress, readProgress *sql.Stmt
	gradesOfPerson, findGrade               *sql.Stmt
	insertGrade, updateGrade, updateLeased  *sql.Stmt
	leaseGrades, listGrades                 *sql.Stmt
	insertLineItem, leaseLineItem           *sql.Stmt
	findLineItem, setLineItem, clearItem    *sql.Stmt
}

const gradeColumns = `
	registration, deployment_id, context_id, resource_link_id, lti_user_id,
	subject, activity, address, state, due_at, updated_at`

const (
	findProgress   = `SELECT state FROM progress WHERE subject = ?1 AND activity = ?2`
	gradesOfPerson = `SELECT id FROM grades WHERE subject = ?1 AND activity = ?2 ORDER BY id`
	findGrade      = `SELECT` + gradeColumns + `, lease FROM grades WHERE id = ?1`

	// Empty parameters select everything.
	listGrades = `
		SELECT` + gradeColumns + ` FROM grades
		WHERE (?1 = '' OR subject = ?1) AND (?2 = '' OR activity = ?2) AND (?3 = '' OR registration = ?3) AND (?4 = '' OR id = ?4)
		ORDER BY updated_at DESC, id LIMIT ?5`
)

func (s *Store) prepareGrades(ctx context.Context) error {
	g := &s.grades
	return s.prepareAll(ctx, []statement{
		{&g.accountExists, s.engine.Write, `SELECT 1 FROM accounts WHERE subject = ?1`},
		{&g.insertKey, s.engine.Write, `
			INSERT INTO idempotency_keys (client_id, key_hash, request_hash, expires_at) VALUES (?1, ?2, ?3, ?4)
			ON CONFLICT (client_id, key_hash) DO NOTHING`},
		{&g.findKey, s.engine.Write, `SELECT request_hash FROM idempotency_keys WHERE client_id = ?1 AND key_hash = ?2`},
		{&g.findProgress, s.engine.Write, findProgress},
		{&g.readProgress, s.engine.Read, findProgress},
		{&g.putProgress, s.engine.Write, `
			INSERT INTO progress (subject, activity, state, updated_at) VALUES (?1, ?2, ?3, ?4)
			ON CONFLICT (subject, activity) DO UPDATE SET state = excluded.state, updated_at = excluded.updated_at`},
		{&g.gradesOfPerson, s.engine.Write, gradesOfPerson},
		{&g.findGrade, s.engine.Write, findGrade},
		{&g.insertGrade, s.engine.Write, `
			INSERT INTO grades (
				id, registration, deployment_id, context_id, resource_link_id, lti_user_id,
				subject, activity, address, state, due_at, updated_at)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)`},
		{&g.updateGrade, s.engine.Write, `
			UPDATE grades SET subject = ?2, activity = ?3, address = ?4, state = ?5, due_at = ?6, updated_at = ?7 WHERE id = ?1`},
		{&g.updateLeased, s.engine.Write, `
			UPDATE grades SET address = ?3, state = ?4, due_at = ?5, updated_at = ?6, lease = ?7,
				lease_until = CASE WHEN ?7 = '' THEN 0 ELSE lease_until END
			WHERE id = ?1 AND lease = ?2`},
		{&g.leaseGrades, s.engine.Write, s.leaseText("grades", "id",
			` AND registration NOT IN (?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)`, gradeColumns)},
		{&g.listGrades, s.engine.Read, listGrades},
		{&g.insertLineItem, s.engine.Write, `
			INSERT INTO line_items (link_id, url, lease, lease_until) VALUES (?1, '', '', 0) ON CONFLICT (link_id) DO NOTHING`},
		{&g.leaseLineItem, s.engine.Write, `
			UPDATE line_items SET lease = ?2, lease_until = ?3
			WHERE link_id = ?1 AND url = '' AND (lease_until <= ?4 OR lease_until > ?5)`},
		{&g.findLineItem, s.engine.Write, `SELECT url FROM line_items WHERE link_id = ?1`},
		{&g.setLineItem, s.engine.Write, `
			UPDATE line_items SET url = ?3, lease = '', lease_until = 0 WHERE link_id = ?1 AND lease = ?2`},
		{&g.clearItem, s.engine.Write, `UPDATE line_items SET url = '' WHERE link_id = ?1 AND url = ?2`},
	})
}

// foreign is an error of a function of the caller's, which passes unchanged.
type foreign struct{ error }

func (f foreign) Unwrap() error { return f.error }

// lock makes transactions with the same key run one after the other.
func (s *Store) lock(ctx context.Context, tx *sql.Tx, key string) error {
	if s.engine.Lock == nil {
		return nil
	}
	return s.engine.Lock(ctx, tx, key)
}

// Locks are taken in this order: that of the progress, then those of grades by ID.
func progressKey(subject, activity string) string {
	return "progress\x00" + subject + "\x00" + activity
}
func gradeKey(id string) string { return "grade\x00" + id }

// ReportProgress implements store.Grades.
func (s *Store) ReportProgress(ctx context.Context, r store.ProgressReport) (json.RawMessage, error) {
	if !store.Storable(r.Subject) || !store.Storable(r.Activity) || r.Activity == "" || len(r.Activity) > store.MaxIdentifier {
		return nil, store.ErrNotFound
	}
	if r.Idempotency != nil && (!store.Storable(r.Idempotency.Client) || len(r.Idempotency.Client) > store.MaxIdentifier) {
		return nil, fmt.Errorf("%w: client is not valid text", store.ErrInvalid)
	}
	var after json.RawMessage
	err := s.inTx(ctx, "report progress", func(ctx context.Context, tx *sql.Tx) error {
		now := micros(s.now())
		if err := s.lock(ctx, tx, progressKey(r.Subject, r.Activity)); err != nil {
			return err
		}
		before, err := s.progress(ctx, tx, r.Subject, r.Activity)
		if err != nil {
			return err
		}
		if r.Idempotency != nil {
			repeated, err := s.repeated(ctx, tx, r.Idempotency)
			if err != nil || repeated {
				after = before
				return err
			}
		}
		if after, err = r.Progress(before); err != nil {
			return foreign{err}
		}
		if bytes.Equal(before, after) {
			return nil
		}
		if _, err := tx.StmtContext(ctx, s.grades.putProgress).ExecContext(ctx, r.Subject, r.Activity, string(after), now); err != nil {
			return err
		}
		ids, err := s.gradeIDs(ctx, tx, r.Subject, r.Activity)
		if err != nil {
			return err
		}
		for _, id := range ids {
			err := s.changeGrade(ctx, tx, id, now, func(g *store.Grade) error {
				if g.Subject != r.Subject || g.Activity != r.Activity {
					return nil // the link went to another activity meanwhile
				}
				return r.Grade(after, g)
			})
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	return after, unwrapForeign(err)
}

// unwrapForeign returns the caller's own error as it was.
func unwrapForeign(err error) error {
	var f foreign
	if errors.As(err, &f) {
		return f.error
	}
	return err
}

func (s *Store) progress(ctx context.Context, tx *sql.Tx, subject, activity string) (json.RawMessage, error) {
	var found int
	err := tx.StmtContext(ctx, s.grades.accountExists).QueryRowContext(ctx, subject).Scan(&found)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, store.ErrNotFound
	} else if err != nil {
		return nil, err
	}
	var state string
	err = tx.StmtContext(ctx, s.grades.findProgress).QueryRowContext(ctx, subject, activity).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return json.RawMessage(state), err
}

// repeated remembers an idempotency key, and tells whether it was known.
func (s *Store) repeated(ctx context.Context, tx *sql.Tx, i *store.Idempotency) (bool, error) {
	key := sha256.Sum256([]byte(i.Key))
	res, err := tx.StmtContext(ctx, s.grades.insertKey).ExecContext(ctx, i.Client, key[:], i.Request[:], micros(i.ExpiresAt))
	if err != nil {
		return false, err
	}
	if rows, err := res.RowsAffected(); err != nil || rows == 1 {
		return false, err
	}
	var request []byte
	if err := tx.StmtContext(ctx, s.grades.findKey).QueryRowContext(ctx, i.Client, key[:]).Scan(&request); err != nil {
		return false, err
	}
	if !bytes.Equal(request, i.Request[:]) {
		return false, store.ErrKeyReused
	}
	return true, nil
}

func (s *Store) gradeIDs(ctx context.Context, tx *sql.Tx, subject, activity string) ([]string, error) {
	rows, err := tx.StmtContext(ctx, s.grades.gradesOfPerson).QueryContext(ctx, subject, activity)
	return collect(rows, err, func(r Row) (id string, err error) {
		err = r.Scan(&id)
		return id, err
	})
}

// changeGrade changes one grade, in a transaction that nobody else changes it in.
func (s *Store) changeGrade(ctx context.Context, tx *sql.Tx, id string, now int64, change func(*store.Grade) error) error {
	if err := s.lock(ctx, tx, gradeKey(id)); err != nil {
		return err
	}
	before, _, err := s.findGrade(ctx, tx, id)
	if err != nil {
		return err
	}
	after := before
	if err := change(&after); err != nil {
		return foreign{err}
	}
	if sameGrade(&before, &after) {
		return nil
	}
	_, err = tx.StmtContext(ctx, s.grades.updateGrade).ExecContext(ctx,
		id, after.Subject, after.Activity, string(after.Address), string(after.State), due(after.DueAt), now)
	return err
}

func (s *Store) findGrade(ctx context.Context, tx *sql.Tx, id string) (g store.Grade, lease string, err error) {
	g, err = scanGrade(tx.StmtContext(ctx, s.grades.findGrade).QueryRowContext(ctx, id), &lease)
	return g, lease, orNotFound(err)
}

// join makes a launch the newest one of its cell.
func (s *Store) join(ctx context.Context, tx *sql.Tx, n *store.NewGrade, subject, activity string, now int64) error {
	if err := s.lock(ctx, tx, progressKey(subject, activity)); err != nil {
		return err
	}
	progress, err := s.progress(ctx, tx, subject, activity)
	if errors.Is(err, store.ErrNotFound) {
		err = errRaced // the account was there, and another launch has moved it since
	}
	if err != nil {
		return err
	}
	id := n.Key.ID()
	renew := func(g *store.Grade) error {
		g.Subject, g.Activity = subject, activity
		return n.Join(progress, g)
	}
	err = s.changeGrade(ctx, tx, id, now, renew)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	g := store.Grade{Key: n.Key}
	if err := renew(&g); err != nil {
		return foreign{err}
	}
	_, err = tx.StmtContext(ctx, s.grades.insertGrade).ExecContext(ctx,
		id, g.Key.Registration, g.Key.DeploymentID, g.Key.ContextID, g.Key.ResourceLinkID, g.Key.LTIUserID,
		g.Subject, g.Activity, string(g.Address), string(g.State), due(g.DueAt), now)
	return err
}

// Progress implements store.Grades.
func (s *Store) Progress(ctx context.Context, subject, activity string) (json.RawMessage, error) {
	if !store.Storable(subject) || !store.Storable(activity) {
		return nil, store.ErrNotFound
	}
	var state string
	err := s.read(ctx, "find progress", func(ctx context.Context) error {
		err := s.grades.readProgress.QueryRowContext(ctx, subject, activity).Scan(&state)
		return orNotFound(err)
	})
	if err != nil {
		return nil, err
	}
	return json.RawMessage(state), nil
}

// LeaseGrades implements store.Grades.
func (s *Store) LeaseGrades(ctx context.Context, now, until time.Time, n int, full []string) ([]store.LeasedGrade, error) {
	if len(full) > store.MaxFull {
		return nil, fmt.Errorf("%w: more than %d full registrations", store.ErrInvalid, store.MaxFull)
	}
	var but []any
	for i := range store.MaxFull {
		if i < len(full) {
			but = append(but, full[i])
		} else {
			but = append(but, "") // which none is
		}
	}
	leased, err := leaseDue(ctx, s, "lease grades", s.grades.leaseGrades, now, until, n, func(r Row, lease string) (store.LeasedGrade, error) {
		g, err := scanGrade(r)
		return store.LeasedGrade{Grade: g, Lease: lease}, err
	}, but...)
	if err != nil {
		return nil, err
	}
	// In whatever order they were updated.
	slices.SortFunc(leased, func(a, b store.LeasedGrade) int { return a.DueAt.Compare(b.DueAt) })
	return leased, nil
}

// UpdateGrade implements store.Grades.
func (s *Store) UpdateGrade(ctx context.Context, id, lease string, release bool, change func(g *store.Grade) error) error {
	return unwrapForeign(s.inTx(ctx, "update grade", func(ctx context.Context, tx *sql.Tx) error {
		if err := s.lock(ctx, tx, gradeKey(id)); err != nil {
			return err
		}
		before, holder, err := s.findGrade(ctx, tx, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && (lease == "" || holder != lease) {
			return store.ErrLeaseLost
		}
		if err != nil {
			return err
		}
		after := before
		if err := change(&after); err != nil {
			return foreign{err}
		}
		updated := micros(s.now())
		if sameGrade(&before, &after) {
			updated = micros(before.UpdatedAt)
		}
		keep := lease
		if release {
			keep = ""
		}
		return changeRow(ctx, tx.StmtContext(ctx, s.grades.updateLeased), store.ErrLeaseLost,
			id, lease, string(after.Address), string(after.State), due(after.DueAt), updated, keep)
	}))
}

// ChangeGrade implements store.Grades.
func (s *Store) ChangeGrade(ctx context.Context, id string, change func(g *store.Grade) error) error {
	if !store.Storable(id) {
		return store.ErrNotFound
	}
	return unwrapForeign(s.inTx(ctx, "change grade", func(ctx context.Context, tx *sql.Tx) error {
		return s.changeGrade(ctx, tx, id, micros(s.now()), change)
	}))
}

// ListGrades implements store.Grades.
func (s *Store) ListGrades(ctx context.Context, f store.GradeFilter) ([]store.Grade, error) {
	for _, text := range []string{f.Subject, f.Activity, f.Registration, f.ID} {
		if !store.Storable(text) {
			return nil, nil
		}
	}
	var grades []store.Grade
	err := s.read(ctx, "list grades", func(ctx context.Context) error {
		rows, err := s.grades.listGrades.QueryContext(ctx, f.Subject, f.Activity, f.Registration, f.ID, max(1, f.Limit))
		grades, err = collect(rows, err, func(r Row) (store.Grade, error) { return scanGrade(r) })
		return err
	})
	return grades, err
}

// LeaseLineItem implements store.Grades.
func (s *Store) LeaseLineItem(ctx context.Context, l store.Link, now, until time.Time) (url, lease string, err error) {
	id, mine := l.ID(), rand.Text()
	err = s.inTx(ctx, "lease line item", func(ctx context.Context, tx *sql.Tx) error {
		url, lease = "", ""
		if _, err := tx.StmtContext(ctx, s.grades.insertLineItem).ExecContext(ctx, id); err != nil {
			return err
		}
		res, err := tx.StmtContext(ctx, s.grades.leaseLineItem).
			ExecContext(ctx, id, mine, micros(until), micros(now), micros(now.Add(store.LongestPause)))
		if err != nil {
			return err
		}
		if rows, err := res.RowsAffected(); err != nil {
			return err
		} else if rows == 1 {
			lease = mine
			return nil
		}
		return tx.StmtContext(ctx, s.grades.findLineItem).QueryRowContext(ctx, id).Scan(&url)
	})
	if err != nil {
		return "", "", err
	}
	return url, lease, nil
}

// SetLineItem implements store.Grades.
func (s *Store) SetLineItem(ctx context.Context, l store.Link, lease, url string) error {
	if !store.Storable(url) || len(url) > maxURL {
		return fmt.Errorf("%w: the address of the line item", store.ErrInvalid)
	}
	return s.inTx(ctx, "set line item", func(ctx context.Context, tx *sql.Tx) error {
		if lease == "" {
			return store.ErrLeaseLost
		}
		return changeRow(ctx, tx.StmtContext(ctx, s.grades.setLineItem), store.ErrLeaseLost, l.ID(), lease, url)
	})
}

// maxURL bounds an address, in bytes.
const maxURL = 8 << 10

// ForgetLineItem implements store.Grades.
func (s *Store) ForgetLineItem(ctx context.Context, l store.Link, url string) error {
	return s.inTx(ctx, "forget line item", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.StmtContext(ctx, s.grades.clearItem).ExecContext(ctx, l.ID(), url)
		return err
	})
}

func due(t time.Time) sql.NullInt64 {
	if t.IsZero() {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: micros(t), Valid: true}
}

func fromDue(m sql.NullInt64) time.Time {
	if !m.Valid {
		return time.Time{}
	}
	return fromMicros(m.Int64)
}

func sameGrade(a, b *store.Grade) bool {
	return a.Subject == b.Subject && a.Activity == b.Activity && a.DueAt.Equal(b.DueAt) &&
		bytes.Equal(a.Address, b.Address) && bytes.Equal(a.State, b.State)
}

// scanGrade reads gradeColumns, and into more what follows them.
func scanGrade(r Row, more ...any) (store.Grade, error) {
	var (
		g              store.Grade
		address, state string
		dueAt          sql.NullInt64
		updated        int64
	)
	if err := r.Scan(append([]any{
		&g.Key.Registration, &g.Key.DeploymentID, &g.Key.ContextID, &g.Key.ResourceLinkID, &g.Key.LTIUserID,
		&g.Subject, &g.Activity, &address, &state, &dueAt, &updated,
	}, more...)...); err != nil {
		return store.Grade{}, err
	}
	g.Address, g.State, g.UpdatedAt = json.RawMessage(address), json.RawMessage(state), fromMicros(updated)
	g.DueAt = fromDue(dueAt)
	return g, nil
}

package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lti-operator/lti-operator/internal/store/postgres/pgtest"
)

// crowd is a combined of which everything that may be under way is, until it is let go: what is run meanwhile goes together.
type crowd struct {
	*combined
	t     *testing.T
	calls sync.WaitGroup
	mu    sync.Mutex
	errs  map[string]error
	rows  map[string]int64
}

func newCrowd(t *testing.T) *crowd {
	s, _ := openTraced(t, pgtest.NewDatabase(t))
	if _, err := s.db.Exec(`CREATE TABLE crowd (id text PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	return &crowd{combined: newCombined(s.db), t: t, errs: map[string]error{}, rows: map[string]int64{}}
}

// hold keeps all connections busy until the function that it returns is called.
func (c *crowd) hold() (letGo func()) {
	c.t.Helper()
	lock, err := c.db.Conn(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := lock.ExecContext(c.t.Context(), `SELECT pg_advisory_lock(7)`); err != nil {
		c.t.Fatal(err)
	}
	for i := range maxUnderWay {
		c.run(c.t.Context(), fmt.Sprint("holding ", i), `SELECT pg_advisory_xact_lock_shared(7)`)
		c.until(0, i+1)
	}
	return func() {
		c.t.Helper()
		_, err := lock.ExecContext(context.Background(), `SELECT pg_advisory_unlock(7)`)
		if err := errors.Join(err, lock.Close()); err != nil {
			c.t.Error(err)
		}
	}
}

// until waits until so many statements wait, and so many connections have some under way.
func (c *crowd) until(waiting, underWay int) {
	c.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		w, u := c.gatherer.Waiting()
		if w == waiting && u == underWay {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%d wait and %d are under way, want %d and %d", w, u, waiting, underWay)
		}
	}
}

// run runs a statement beside others; its answer is kept by its name.
func (c *crowd) run(ctx context.Context, name, text string, args ...any) {
	c.calls.Go(func() {
		rows, err := c.Exec(ctx, text, args...)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.errs[name], c.rows[name] = err, rows
	})
}

// query runs a query for one row beside others, which must succeed.
func (c *crowd) query(key, text string, args ...any) {
	c.calls.Go(func() {
		var found string
		if err := c.QueryRow(c.t.Context(), key, text, args...).Scan(&found); err != nil {
			c.t.Error(err)
		}
	})
}

// one returns a number that a query of the database's own finds.
func (c *crowd) one(text string) (n int) {
	c.t.Helper()
	if err := c.db.QueryRow(text).Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

const insert = `INSERT INTO crowd (id) VALUES ($1)`

func TestWhatWaitsIsSentTogether(t *testing.T) {
	c := newCrowd(t)
	letGo := c.hold()
	gone, goAway := context.WithCancel(t.Context())
	for i := range 10 {
		c.run(t.Context(), fmt.Sprint(i), insert, fmt.Sprint(i))
	}
	c.run(gone, "gone", insert, "gone")
	c.run(t.Context(), "nothing", `UPDATE crowd SET id = id WHERE id = 'nobody'`)
	var found string
	c.calls.Go(func() {
		err := c.QueryRow(t.Context(), "", `SELECT id FROM crowd WHERE id = $1`, "nobody").Scan(&found)
		if !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("a query for nothing: %v", err)
		}
	})
	c.until(13, maxUnderWay)
	goAway()
	letGo()
	c.calls.Wait()
	for name, err := range c.errs {
		if want := map[string]error{"gone": context.Canceled}[name]; !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if c.rows["3"] != 1 || c.rows["nothing"] != 0 {
		t.Errorf("changed rows: %v", c.rows)
	}
	if n := c.one(`SELECT count(*) FROM crowd`); n != 10 {
		t.Errorf("%d rows, want 10", n)
	}
	if n := c.one(`SELECT count(DISTINCT xmin::text) FROM crowd`); n != 1 {
		t.Errorf("%d transactions, want 1", n)
	}
}

// Each caller gets the answer of their own statement.
func TestOneThatFailsFailsAlone(t *testing.T) {
	c := newCrowd(t)
	letGo := c.hold()
	for _, id := range []string{"a", "b", "c"} {
		c.run(t.Context(), id, insert, id)
	}
	c.run(t.Context(), "again", insert, "b")
	c.run(t.Context(), "null", insert, nil)
	c.until(5, maxUnderWay)
	letGo()
	c.calls.Wait()
	failed := map[string]string{}
	for name, err := range c.errs {
		var refused *pgconn.PgError
		if errors.As(err, &refused) {
			failed[name] = refused.Code
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Which of the two that insert b is refused, is open.
	if len(failed) != 2 || failed["null"] != "23502" || failed["again"]+failed["b"] != "23505" {
		t.Errorf("failed: %v", failed)
	}
	if n := c.one(`SELECT count(*) FROM crowd WHERE id IN ('a', 'b', 'c')`); n != 3 {
		t.Errorf("%d of 3 rows", n)
	}
}

// What was sent together and is sent again one by one takes as many times as long. Nobody who has left waits for that.
func TestNothingIsSentAgainForWhoHasLeft(t *testing.T) {
	c := newCrowd(t)
	gate, err := c.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gate.ExecContext(t.Context(), `SELECT pg_advisory_lock(8)`); err != nil {
		t.Fatal(err)
	}
	letGo := c.hold()
	gone, goAway := context.WithCancel(t.Context())
	c.run(t.Context(), "fails", `DO $$ BEGIN PERFORM pg_advisory_xact_lock_shared(8); RAISE 'no'; END $$`)
	c.until(1, maxUnderWay)
	c.run(gone, "gone", insert, "gone")
	c.run(t.Context(), "stays", insert, "stays")
	c.until(3, maxUnderWay)
	letGo()
	c.until(0, 1)
	goAway()
	if _, err := gate.ExecContext(t.Context(), `SELECT pg_advisory_unlock(8)`); err != nil {
		t.Fatal(err)
	}
	c.calls.Wait()
	if err := gate.Close(); err != nil {
		t.Error(err)
	}
	if !errors.Is(c.errs["gone"], context.Canceled) || c.errs["stays"] != nil || c.errs["fails"] == nil {
		t.Errorf("answers: %v", c.errs)
	}
	if n := c.one(`SELECT count(*) FROM crowd WHERE id = 'gone'`); n != 0 {
		t.Error("what nobody waited for was carried out")
	}
}

// Nobody is told that a statement was carried out before it was committed with the others.
func TestNobodySucceedsWhenTheSessionEnds(t *testing.T) {
	c := newCrowd(t)
	letGo := c.hold()
	c.run(t.Context(), "first", insert, "first")
	c.until(1, maxUnderWay)
	c.run(t.Context(), "ends", `SELECT pg_terminate_backend(pg_backend_pid())`)
	c.until(2, maxUnderWay)
	c.run(t.Context(), "last", insert, "last")
	c.until(3, maxUnderWay)
	letGo()
	c.calls.Wait()
	for _, name := range []string{"first", "ends", "last"} {
		if c.errs[name] == nil {
			t.Errorf("%s succeeded", name)
		}
	}
	if n := c.one(`SELECT count(*) FROM crowd`); n != 0 {
		t.Errorf("%d rows of a transaction that nobody committed", n)
	}
}

// Some failures come with the commit, after every statement was answered well.
func TestACommitThatFailsIsNoSuccess(t *testing.T) {
	c := newCrowd(t)
	if _, err := c.db.Exec(`CREATE TABLE late (id text UNIQUE DEFERRABLE INITIALLY DEFERRED)`); err != nil {
		t.Fatal(err)
	}
	letGo := c.hold()
	for i := range 3 {
		c.run(t.Context(), fmt.Sprint(i), `INSERT INTO late (id) VALUES ('same')`)
	}
	c.until(3, maxUnderWay)
	letGo()
	c.calls.Wait()
	succeeded := 0
	for i := range 3 {
		if c.errs[fmt.Sprint(i)] == nil {
			succeeded++
		}
	}
	if n := c.one(`SELECT count(*) FROM late`); n != 1 || succeeded != 1 {
		t.Errorf("%d rows, %d of 3 succeeded; want one each", n, succeeded)
	}
}

// Transactions that are under way beside each other change what they share in one order, or each would wait for the other.
func TestTransactionsDoNotWaitInACircle(t *testing.T) {
	c := newCrowd(t)
	letGo := c.hold()
	waiting := 0
	queue := func(key, text string, args ...any) {
		c.query(key, text, args...)
		waiting++
		c.until(waiting, maxUnderWay)
	}
	for batch, keys := range [][]string{{"1", "2", "3"}, {"3", "2", "1"}} {
		for _, key := range keys {
			lock := map[string]int{"1": 101, "2": 100 + 100*batch, "3": 103}[key]
			queue(key, `SELECT pg_sleep(0.05)::text || pg_advisory_xact_lock($1)::text`, lock)
		}
		for i := range maxTogether - len(keys) {
			queue("", insert+` RETURNING id`, fmt.Sprint(batch, " ", i))
		}
	}
	letGo()
	c.calls.Wait()
	if n := c.one(`SELECT count(DISTINCT xmin::text) FROM crowd`); n != 2 {
		t.Errorf("%d transactions, want 2", n)
	}
}

// What has one key changes more than one thing, in an order of its own.
func TestOfOneKeyThereIsOneInATransaction(t *testing.T) {
	c := newCrowd(t)
	letGo := c.hold()
	for i, key := range []string{"1", "2", "1", "1", "", ""} {
		c.query(key, insert+` RETURNING id`, fmt.Sprint(i))
		c.until(i+1, maxUnderWay)
	}
	letGo()
	c.calls.Wait()
	if n := c.one(`SELECT count(DISTINCT xmin::text) FROM crowd`); n != 3 {
		t.Errorf("%d transactions, want 3", n)
	}
	if n := c.one(`SELECT count(*) FROM crowd`); n != 6 {
		t.Errorf("%d rows, want 6", n)
	}
}

// Who comes alone is answered alone.
func TestNothingWaitsForCompany(t *testing.T) {
	c := newCrowd(t)
	for i := range 3 {
		if rows, err := c.Exec(t.Context(), insert, fmt.Sprint(i)); err != nil || rows != 1 {
			t.Fatal(rows, err)
		}
	}
	if n := c.one(`SELECT count(DISTINCT xmin::text) FROM crowd`); n != 3 {
		t.Errorf("%d transactions, want 3", n)
	}
	c.until(0, 0)
}

package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"

	"github.com/lti-operator/lti-operator/internal/store"
	"github.com/lti-operator/lti-operator/internal/store/postgres/pgtest"
	"github.com/lti-operator/lti-operator/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m)) }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opener {
		address := pgtest.NewDatabase(t)
		return func(t *testing.T, now func() time.Time) store.Store {
			s, err := Open(t.Context(), address, now)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}

// tracer notes the statements that are sent.
type tracer struct {
	mu   sync.Mutex
	sent []string
}

func (c *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, strings.Join(strings.Fields(q.SQL), " "))
	return ctx
}

func (c *tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// take returns what was sent since it was last asked.
func (c *tracer) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := c.sent
	c.sent = nil
	return sent
}

// openTraced opens a database.
func openTraced(t *testing.T, address string) (*Store, *tracer) {
	t.Helper()
	c := &tracer{}
	s, err := open(t.Context(), func() (string, error) { return address, nil }, time.Now,
		stdlib.OptionBeforeConnect(func(_ context.Context, config *pgx.ConnConfig) error {
			config.Tracer = c
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, c
}

// newLaunch is one of a person; change makes it another.
func newLaunch(id, activity string, change func(*store.NewLaunch)) store.NewLaunch {
	end := time.Now().Add(time.Hour)
	n := store.NewLaunch{
		Nonce:            store.Nonce{Scope: "scope", Value: "nonce-" + id, ExpiresAt: end},
		CandidateSubject: "subject-" + id, MayCreateUser: true,
		Profile: store.Profile{GivenName: "Zoë", Email: "u@example.edu"},
		Ticket:  store.NewTicket{Kind: store.TicketOpen, Hash: store.HashToken("token-" + id), ExpiresAt: end},
		Grade: &store.NewGrade{
			Key: store.GradeKey{Link: store.Link{Registration: "p", ResourceLinkID: "1"}, LTIUserID: "u"},
			Join: func(progress json.RawMessage, g *store.Grade) error {
				g.Address = json.RawMessage(`"there"`)
				g.State = json.RawMessage(fmt.Sprintf(`"%x"`, progress))
				return nil
			},
		},
		LaunchInfo: store.LaunchInfo{ID: id, Activity: activity, Version: "1.3.0", Realm: "r", LTIUserID: "u", Issuer: "https://lms.example"},
	}
	if change != nil {
		change(&n)
	}
	return n
}

// What a launch costs is mostly what waiting for the database costs.
func TestAKnownPersonCostsOneStatement(t *testing.T) {
	s, trace := openTraced(t, pgtest.NewDatabase(t))
	accept := func(id, activity string, change func(*store.NewLaunch)) (store.Launch, []string) {
		t.Helper()
		trace.take()
		l, err := s.AcceptLaunch(t.Context(), newLaunch(id, activity, change))
		if err != nil {
			t.Fatal(err)
		}
		return l, trace.take()
	}
	if _, sent := accept("first", "a", nil); len(sent) < 5 {
		t.Errorf("the trace misses statements: %q", sent)
	}
	for id, change := range map[string]func(*store.NewLaunch){
		"same":  nil,
		"group": func(n *store.NewLaunch) { n.EnrolIn = "group" },
		"names": func(n *store.NewLaunch) { n.Profile, n.MayCreateUser = store.Profile{}, false },
		"plain": func(n *store.NewLaunch) { n.Grade = nil },
	} {
		l, sent := accept(id, "a", change)
		if len(sent) != 1 || !strings.HasPrefix(sent[0], "WITH person AS") {
			t.Errorf("%s: sent %q", id, sent)
		}
		if l.Subject != "subject-first" {
			t.Errorf("%s: subject %q", id, l.Subject)
		}
		// What was written is what a transaction writes.
		if found, err := s.Launch(t.Context(), id); err != nil || found.Profile != l.Profile || found.CreatedAt != l.CreatedAt {
			t.Errorf("%s: found %+v, %v", id, found, err)
		}
	}
	if due, err := s.LeaseEnrolments(t.Context(), time.Now().Add(time.Minute), time.Now().Add(time.Hour), 10); err != nil || len(due) != 1 {
		t.Errorf("enrolments: %v, %v", due, err)
	}

	trace.take()
	end := time.Now().Add(time.Hour)
	code := store.NewTicket{Kind: store.TicketCode, Hash: store.HashToken("code"), ExpiresAt: end}
	if _, err := s.ExchangeTicket(t.Context(), store.TicketOpen, store.HashToken("token-same"), code); err != nil {
		t.Fatal(err)
	}
	if l, err := s.RedeemCode(t.Context(), store.HashToken("code")); err != nil || l.ID != "same" {
		t.Fatal(l, err)
	}
	if sent := trace.take(); len(sent) != 2 {
		t.Errorf("exchange and redeem: sent %q", sent)
	}

	// Anything new is left to a transaction.
	for id, change := range map[string]func(*store.NewLaunch){
		"given name":  func(n *store.NewLaunch) { n.Profile.GivenName = "Zoe" },
		"family name": func(n *store.NewLaunch) { n.Profile.FamilyName = "Smit" },
		"vouch":       func(n *store.NewLaunch) { n.EmailVouched = true },
		"issuer": func(n *store.NewLaunch) {
			n.Issuer, n.PreviousIssuers = "https://new.example", []string{"https://lms.example"}
		},
	} {
		if _, sent := accept(id, "a", func(n *store.NewLaunch) {
			n.Grade, n.Issuer, n.Profile.GivenName = nil, "", "" // which says nothing new
			change(n)
		}); len(sent) < 5 {
			t.Errorf("%s: sent %q", id, sent)
		}
	}
	for id, change := range map[string]func(*store.NewLaunch){
		"link": func(n *store.NewLaunch) { n.Grade.Key.ResourceLinkID = "2" },
		"address": func(n *store.NewLaunch) {
			n.Grade.Join = func(_ json.RawMessage, g *store.Grade) error {
				g.Address, g.State = json.RawMessage(`"elsewhere"`), json.RawMessage(`0`)
				return nil
			}
		},
		"due": func(n *store.NewLaunch) {
			n.Grade.Join = func(_ json.RawMessage, g *store.Grade) error {
				g.DueAt = time.Now()
				return nil
			}
		},
	} {
		if _, sent := accept(id, "a", func(n *store.NewLaunch) {
			n.Issuer, n.Profile.GivenName = "", ""
			change(n)
		}); len(sent) < 6 {
			t.Errorf("%s: sent %q", id, sent)
		}
	}
	another := func(n *store.NewLaunch) {
		n.LTIUserID, n.Profile, n.Grade = "another", store.Profile{Email: "another@example.edu"}, nil
	}
	accept("another", "a", another)
	// An address that is vouched for already, or is not the account's, is nothing new: that one stays.
	for id, change := range map[string]func(*store.NewLaunch){
		"vouched": func(n *store.NewLaunch) { n.Grade, n.Issuer, n.Profile.GivenName = nil, "", "" },
		"moved":   func(n *store.NewLaunch) { another(n); n.Profile.Email = "moved@example.edu" },
	} {
		if _, sent := accept(id, "a", func(n *store.NewLaunch) {
			change(n)
			n.EmailVouched = true
		}); len(sent) != 1 {
			t.Errorf("%s: sent %q", id, sent)
		}
	}
	if _, sent := accept("directory", "a", func(n *store.NewLaunch) {
		another(n)
		n.DirectoryID, n.MayCreateUser, n.CandidateSubject = "subject-in-directory", false, ""
	}); len(sent) < 6 {
		t.Errorf("an account of the directory: sent %q", sent)
	}
	if _, sent := accept("activity", "b", func(n *store.NewLaunch) { n.Issuer = "" }); len(sent) < 6 {
		t.Errorf("another activity: sent %q", sent)
	}
}

// moveTo is the Join of a launch that says where the grade goes, and nothing else.
func moveTo(address string) func(json.RawMessage, *store.Grade) error {
	return func(_ json.RawMessage, g *store.Grade) error {
		g.Address = json.RawMessage(address)
		if g.State == nil {
			g.State = json.RawMessage(`0`)
		}
		return nil
	}
}

func addressOf(t *testing.T, s *Store) string {
	t.Helper()
	grades, err := s.ListGrades(t.Context(), store.GradeFilter{Limit: 10})
	if err != nil || len(grades) != 1 {
		t.Fatalf("grades: %v, %v", grades, err)
	}
	return string(grades[0].Address)
}

// Moodle, over LTI 1.2, has a new address for the grade in each launch.
func TestANewAddressCostsTwoStatements(t *testing.T) {
	s, trace := openTraced(t, pgtest.NewDatabase(t))
	for i := range 3 {
		address := fmt.Sprintf(`"%d"`, i)
		trace.take()
		if _, err := s.AcceptLaunch(t.Context(), newLaunch(fmt.Sprint(i), "a", func(n *store.NewLaunch) { n.Grade.Join = moveTo(address) })); err != nil {
			t.Fatal(err)
		}
		if sent := trace.take(); i > 0 && len(sent) != 2 {
			t.Errorf("launch %d: sent %q", i, sent)
		}
		if got := addressOf(t, s); got != address {
			t.Errorf("launch %d: the grade goes to %s", i, got)
		}
	}
}

// Of whom something is known, the grade must be read before it is known that it stays as it is.
func TestKnownProgressCostsTwoStatements(t *testing.T) {
	s, trace := openTraced(t, pgtest.NewDatabase(t))
	joined := 0
	join := func(progress json.RawMessage, g *store.Grade) error {
		joined++
		g.Address, g.State = json.RawMessage(`"there"`), json.RawMessage(fmt.Sprintf(`"%x"`, progress))
		return nil
	}
	accept := func(id string, join func(json.RawMessage, *store.Grade) error) []string {
		t.Helper()
		trace.take()
		if _, err := s.AcceptLaunch(t.Context(), newLaunch(id, "a", func(n *store.NewLaunch) { n.Grade.Join = join })); err != nil {
			t.Fatal(err)
		}
		return trace.take()
	}
	report := func(progress string) {
		t.Helper()
		_, err := s.ReportProgress(t.Context(), store.ProgressReport{
			Subject: "subject-first", Activity: "a",
			Progress: func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(progress), nil },
			Grade:    join,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	accept("first", join)
	report(`"half"`)
	joined = 0
	if sent := accept("second", join); len(sent) != 2 || joined != 2 {
		t.Errorf("joined %d times, sent %q", joined, sent)
	}

	// What changes before the second statement is seen by it.
	joined = 0
	sent := accept("third", func(progress json.RawMessage, g *store.Grade) error {
		if err := join(progress, g); joined == 2 {
			report(`"all"`)
			return err
		}
		return nil
	})
	if len(sent) < 8 {
		t.Errorf("sent %q", sent)
	}
	g, err := s.ListGrades(t.Context(), store.GradeFilter{Limit: 10})
	if want := fmt.Sprintf(`"%x"`, `"all"`); err != nil || len(g) != 1 || string(g[0].State) != want {
		t.Errorf("grades: %v, %v, want the state %s", g, err, want)
	}
}

// A grade may be as a launch expects it in all but one thing.
func TestAGradeThatIsNotAsExpectedIsLeftToATransaction(t *testing.T) {
	s, trace := openTraced(t, pgtest.NewDatabase(t))
	due := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	accept := func(id string, due time.Time, change func(*store.NewLaunch)) int {
		t.Helper()
		trace.take()
		_, err := s.AcceptLaunch(t.Context(), newLaunch(id, "a", func(n *store.NewLaunch) {
			n.Grade.Join = func(_ json.RawMessage, g *store.Grade) error {
				g.Address, g.State, g.DueAt = json.RawMessage(`"there"`), json.RawMessage(`0`), due
				return nil
			}
			if change != nil {
				change(n)
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		return len(trace.take())
	}
	grade := func() store.Grade {
		t.Helper()
		all, err := s.ListGrades(t.Context(), store.GradeFilter{Limit: 10})
		if err != nil || len(all) != 1 {
			t.Fatalf("grades: %v, %v", all, err)
		}
		return all[0]
	}
	accept("first", due, nil)
	if n := accept("same", due, nil); n != 1 {
		t.Errorf("a grade as it was: %d statements", n)
	}
	if err := s.ChangeGrade(t.Context(), grade().Key.ID(), func(g *store.Grade) error {
		g.State = json.RawMessage(`"parked"`)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := accept("parked", due, nil); n < 6 || string(grade().State) != `0` {
		t.Errorf("a grade that was parked: %d statements, grade %+v", n, grade())
	}
	if n := accept("later", due.Add(time.Minute), nil); n < 6 || !grade().DueAt.Equal(due.Add(time.Minute)) {
		t.Errorf("due later: %d statements, grade %+v", n, grade())
	}

	// What became known was nothing to send then, and is now.
	_, err := s.ReportProgress(t.Context(), store.ProgressReport{
		Subject: "subject-first", Activity: "a",
		Progress: func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(`"all"`), nil },
		Grade:    func(json.RawMessage, *store.Grade) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	accept("known", due, func(n *store.NewLaunch) {
		n.Grade.Join = func(progress json.RawMessage, g *store.Grade) error {
			g.Address, g.State, g.DueAt = json.RawMessage(`"there"`), json.RawMessage(`0`), due.Add(time.Minute)
			if progress != nil {
				g.State = json.RawMessage(`1`)
			}
			return nil
		}
	})
	if state := string(grade().State); state != `1` {
		t.Errorf("what was known is not sent: state %s", state)
	}
	accept("reset", due.Add(time.Minute), nil)

	// As where accounts were found to be those of one person, and only some rows follow.
	due = due.Add(time.Minute)
	accept("other", due, func(n *store.NewLaunch) {
		n.LTIUserID, n.Profile.Email, n.Grade = "other", "other@example.edu", nil
	})
	if _, err := s.db.Exec(`UPDATE grades SET subject = 'subject-other'`); err != nil {
		t.Fatal(err)
	}
	if n := accept("again", due, nil); n < 6 || grade().Subject != "subject-first" {
		t.Errorf("a grade of somebody else: %d statements, grade %+v", n, grade())
	}
}

// Where everything is as expected, and the launch is not accepted, the same statement would not accept it either.
func TestAReplayIsNotTriedTwice(t *testing.T) {
	s, trace := openTraced(t, pgtest.NewDatabase(t))
	for id, change := range map[string]func(*store.NewLaunch){
		"with a grade":    nil,
		"without a grade": func(n *store.NewLaunch) { n.Grade = nil },
	} {
		launch := newLaunch(id, "a", change)
		if _, err := s.AcceptLaunch(t.Context(), launch); err != nil {
			t.Fatal(err)
		}
		launch.ID = "again " + id
		trace.take()
		_, err := s.AcceptLaunch(t.Context(), launch)
		tried := 0
		for _, text := range trace.take() {
			if strings.HasPrefix(text, "WITH person AS") {
				tried++
			}
		}
		if !errors.Is(err, store.ErrReplayed) || tried != 1 {
			t.Errorf("%s: tried %d times, %v", id, tried, err)
		}
	}
}

// Whoever has read a grade, and writes it as a whole, must not undo what a launch says meanwhile.
func TestANewAddressWaitsForWhoChangesTheGrade(t *testing.T) {
	s, _ := openTraced(t, pgtest.NewDatabase(t))
	first := newLaunch("first", "a", func(n *store.NewLaunch) { n.Grade.Join = moveTo(`"old"`) })
	if _, err := s.AcceptLaunch(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	err := s.ChangeGrade(t.Context(), first.Grade.Key.ID(), func(g *store.Grade) error {
		go func() {
			_, err := s.AcceptLaunch(context.Background(), newLaunch("second", "a", func(n *store.NewLaunch) { n.Grade.Join = moveTo(`"new"`) }))
			accepted <- err
		}()
		select {
		case err := <-accepted:
			t.Errorf("the launch did not wait: %v", err)
			accepted <- err
		case <-time.After(200 * time.Millisecond):
		}
		g.State = json.RawMessage(`1`)
		return nil
	})
	if err := errors.Join(err, <-accepted); err != nil {
		t.Fatal(err)
	}
	if got := addressOf(t, s); got != `"new"` {
		t.Errorf("the grade goes to %s", got)
	}
}

// Whoever has opened an external activity before has a result, which stays as it is.
func TestAKnownResultCostsOneStatement(t *testing.T) {
	s, trace := openTraced(t, pgtest.NewDatabase(t))
	if _, err := s.MeetLearner(t.Context(), store.Learner{Realm: "r", ID: "anna", Subject: "a"}); err != nil {
		t.Fatal(err)
	}
	key := store.ResultKey{Realm: "r", Activity: "a", LearnerID: "anna"}
	begin := func(nonce string, want error) (store.Result, []string) {
		t.Helper()
		var n *store.Nonce
		if nonce != "" {
			n = &store.Nonce{Scope: "tool", Value: nonce, ExpiresAt: time.Now().Add(time.Hour)}
		}
		trace.take()
		r, err := s.BeginResult(t.Context(), n, store.Result{Key: key, Subject: "a"})
		if !errors.Is(err, want) {
			t.Errorf("nonce %q: error = %v, want %v", nonce, err, want)
		}
		return r, trace.take()
	}
	first, sent := begin("1", nil)
	if len(sent) < 5 {
		t.Errorf("the trace misses statements: %q", sent)
	}
	for _, nonce := range []string{"2", "3", ""} {
		if again, sent := begin(nonce, nil); len(sent) != 1 || again.Key != first.Key || again.StartedAt != first.StartedAt {
			t.Errorf("nonce %q: %+v, sent %q", nonce, again, sent)
		}
	}
	begin("1", store.ErrReplayed)
	begin("3", store.ErrReplayed)
	// No nonce is spent where there is nothing to begin.
	key.LearnerID = "berta"
	if _, err := s.BeginResult(t.Context(), &store.Nonce{Scope: "tool", Value: "4", ExpiresAt: time.Now().Add(time.Hour)},
		store.Result{Key: key}); err == nil {
		t.Error("a result without a learner began")
	}
	key.LearnerID = "anna"
	begin("4", nil)
}

// A replay that meets its twin must leave nothing, and say what it is.
func TestAReplayOfAKnownPersonLeavesNothing(t *testing.T) {
	s, trace := openTraced(t, pgtest.NewDatabase(t))
	if _, err := s.AcceptLaunch(t.Context(), newLaunch("first", "a", nil)); err != nil {
		t.Fatal(err)
	}
	trace.take()
	replay := newLaunch("second", "a", func(n *store.NewLaunch) {
		n.Nonce.Value, n.EnrolIn = "nonce-first", "group"
		n.Grade.Join = moveTo(`"replayed"`)
	})
	if _, err := s.AcceptLaunch(t.Context(), replay); !errors.Is(err, store.ErrReplayed) {
		t.Errorf("error = %v, want %v", err, store.ErrReplayed)
	}
	if sent := trace.take(); len(sent) < 4 {
		t.Errorf("a replay is not left to a transaction: %q", sent)
	}
	if got := addressOf(t, s); got != `"there"` {
		t.Errorf("the grade goes to %s", got)
	}
	for table, want := range map[string]int{"nonces": 1, "launches": 1, "tickets": 1, "enrolments": 0} {
		var rows int
		if err := s.db.QueryRow(`SELECT count(*) FROM ` + table).Scan(&rows); err != nil || rows != want {
			t.Errorf("%d rows in %s (%v), want %d", rows, table, err, want)
		}
	}
}

// A statement that is a transaction of its own is not repeated once it was sent, so it must not be sent on a connection that
// the server has ended.
func TestAnEndedSessionIsNoticedBeforeAStatementIsSent(t *testing.T) {
	// Over TCP, where the first write to a peer that is gone succeeds.
	s, _ := openTraced(t, pgtest.Start(t, pgtest.Listening("127.0.0.1")).NewDatabase(t))
	launches := 0
	accept := func(id string) {
		t.Helper()
		if _, err := s.AcceptLaunch(t.Context(), newLaunch(id, "a", func(n *store.NewLaunch) { n.Ticket.Kind = store.TicketCode })); err != nil {
			t.Fatal(err)
		}
	}
	redeem := func() {
		t.Helper()
		launches++
		id := fmt.Sprint(launches)
		accept(id)
		if _, err := s.RedeemCode(t.Context(), store.HashToken("token-"+id)); err != nil {
			t.Errorf("redeem: %v", err)
		}
	}
	take := func() *sql.Conn {
		t.Helper()
		c, err := s.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	accept("last")
	// Two sessions that have been used.
	good := take()
	redeem()
	ended := take()
	if err := good.Close(); err != nil {
		t.Fatal(err)
	}
	redeem()
	good = take()
	var pid int
	if err := ended.QueryRowContext(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if _, err := good.ExecContext(t.Context(), `SELECT pg_terminate_backend($1, 5000)`, pid); err != nil {
		t.Fatal(err)
	}
	// The one that was given back last is used next.
	if err := errors.Join(good.Close(), ended.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RedeemCode(t.Context(), store.HashToken("token-last")); err != nil {
		t.Errorf("redeem: %v", err)
	}
}

func BenchmarkLaunches(b *testing.B) {
	s, err := Open(b.Context(), pgtest.Start(b, pgtest.Durable).NewDatabase(b), time.Now)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	storetest.BenchmarkLaunches(b, s)
}

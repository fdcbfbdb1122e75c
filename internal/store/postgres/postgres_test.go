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
func TestAKnownPersonCostsTwoStatements(t *testing.T) {
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
		if len(sent) != 2 || !strings.HasPrefix(sent[0], "SELECT a.subject") || !strings.HasPrefix(sent[1], "WITH spent AS") {
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
		"name":  func(n *store.NewLaunch) { n.Profile.GivenName = "Zoe" },
		"vouch": func(n *store.NewLaunch) { n.EmailVouched = true },
		"issuer": func(n *store.NewLaunch) {
			n.Issuer, n.PreviousIssuers = "https://new.example", []string{"https://lms.example"}
		},
		"link": func(n *store.NewLaunch) { n.Grade.Key.ResourceLinkID = "2" },
		"address": func(n *store.NewLaunch) {
			n.Grade.Join = func(_ json.RawMessage, g *store.Grade) error {
				g.Address, g.State = json.RawMessage(`"elsewhere"`), json.RawMessage(`0`)
				return nil
			}
		},
	} {
		if _, sent := accept(id, "a", func(n *store.NewLaunch) {
			n.Issuer = "" // which says nothing new
			change(n)
		}); len(sent) < 6 {
			t.Errorf("%s: sent %q", id, sent)
		}
	}
	if _, sent := accept("activity", "b", func(n *store.NewLaunch) { n.Issuer = "" }); len(sent) < 6 {
		t.Errorf("another activity: sent %q", sent)
	}
}

// A replay that meets its twin must leave nothing, and say what it is.
func TestAReplayOfAKnownPersonLeavesNothing(t *testing.T) {
	s, trace := openTraced(t, pgtest.NewDatabase(t))
	if _, err := s.AcceptLaunch(t.Context(), newLaunch("first", "a", nil)); err != nil {
		t.Fatal(err)
	}
	trace.take()
	replay := newLaunch("second", "a", func(n *store.NewLaunch) { n.Nonce.Value, n.EnrolIn = "nonce-first", "group" })
	if _, err := s.AcceptLaunch(t.Context(), replay); !errors.Is(err, store.ErrReplayed) {
		t.Errorf("error = %v, want %v", err, store.ErrReplayed)
	}
	if sent := trace.take(); len(sent) != 2 {
		t.Errorf("sent %q", sent)
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

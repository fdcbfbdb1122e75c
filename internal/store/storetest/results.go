package storetest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/store"
)

var resultTests = map[string]func(*testing.T, *fixture){
	"a nonce may be spent alone":                                testSpendNonce,
	"a learner keeps the ID and is what was said last":          testMeetLearner,
	"an ID is that of one learner of a realm":                   testLearnerConflict,
	"two hundred meetings of one learner make one":              testManyMeetings,
	"two people offered one ID at once do not share it":         testConcurrentLearnerID,
	"members are those with a result of the activity itself":    testMembers,
	"a result begins once and stays":                            testBeginResult,
	"a result that cannot begin spends no nonce":                testBeginRefused,
	"of many results with one nonce at once one begins":         testConcurrentBegin,
	"of many equal results at once one is made":                 testConcurrentResult,
	"a result is found by its outcome":                          testOutcome,
	"a change is stored with its message and spends its nonce":  testChangeResult,
	"a change that fails changes nothing":                       testChangeFails,
	"a change changes nothing but state and due time":           testChangeBounded,
	"changes of one result at once run one after the other":     testConcurrentChanges,
	"of many changes with one nonce at once one counts":         testConcurrentChangeNonce,
	"the newest messages of a result are kept":                  testHistory,
	"results are listed by what they are of":                    testListResults,
	"results are listed page by page":                           testListPages,
	"a result is leased to one until the lease ends":            testLeaseResults,
	"results wait until they are due, the longest first":        testLeaseOrder,
	"a clock that was set back holds no result up":              testLeaseResultClock,
	"a result is updated by who holds its lease":                testUpdateResult,
	"a result is changed while it is leased":                    testChangeLeasedResult,
	"of many leases at once no result is in two":                testConcurrentResultLease,
	"line items of tools are stored, replaced and listed":       testToolItems,
	"a tool makes so many line items and no more":               testToolItemsBounded,
	"one line item stored by many at once is one":               testConcurrentToolItem,
	"a line item is deleted with its results and nothing else":  testDeleteToolItem,
	"a line item deleted while results come leaves none":        testConcurrentDelete,
	"learners and results that no engine can store are refused": testResultInvalid,
	"hostile learners and results are data":                     testResultHostile,
	"purge leaves results and forgets their nonces":             testPurgeResults,
	"results survive closing and opening":                       testReopenResults,
	"results of a closed store are unavailable":                 testClosedResults,
	"results of a caller who has gone are not changed":          testCancelledResults,
}

const testRealm = "tool/quiz"

// learner is a person as the tool's realm knows them.
func learner(id string) store.Learner {
	return store.Learner{
		Realm: testRealm, ID: id, Subject: "subject of " + id,
		GivenName: "Zoë", FamilyName: "van der Berg", Name: "Zoë van der Berg", Email: id + "@example.edu", Locale: "nl-NL",
	}
}

func meet(t *testing.T, s store.Store, l store.Learner) store.Learner {
	t.Helper()
	met, err := s.MeetLearner(t.Context(), l)
	if err != nil {
		t.Fatalf("MeetLearner: %v", err)
	}
	return met
}

// resultKey is that of a learner in the activity itself, or in a tool's line item.
func resultKey(learner, activity string, lineItem ...string) store.ResultKey {
	return store.ResultKey{Realm: testRealm, Activity: activity, LearnerID: learner, LineItem: strings.Join(lineItem, "")}
}

// begin makes the result of a learner, who is met with it, and of a line item.
func begin(t *testing.T, s store.Store, k store.ResultKey) store.Result {
	t.Helper()
	l := learner(k.LearnerID)
	l.Realm = k.Realm
	meet(t, s, l)
	if k.LineItem != "" {
		putItem(t, s, toolItem(k.Realm, k.Activity, k.LineItem))
	}
	r, err := s.BeginResult(t.Context(), nil, store.Result{Key: k})
	if err != nil {
		t.Fatalf("BeginResult: %v", err)
	}
	return r
}

func nonce() *store.Nonce {
	return &store.Nonce{Scope: "tool/quiz", Value: rand.Text(), ExpiresAt: start.Add(time.Hour)}
}

// set is a change of State and DueAt, without a message.
func set(state string, due time.Time) store.ResultChange {
	return store.ResultChange{Change: func(r *store.Result) (json.RawMessage, error) {
		r.State, r.DueAt = json.RawMessage(state), due
		return nil, nil
	}}
}

func change(t *testing.T, s store.Store, k store.ResultKey, c store.ResultChange) store.Result {
	t.Helper()
	r, err := s.ChangeResult(t.Context(), k.ID(), c)
	if err != nil {
		t.Fatalf("ChangeResult: %v", err)
	}
	return r
}

func wantResult(t *testing.T, s store.Store, want store.Result) {
	t.Helper()
	got, err := s.Result(t.Context(), want.Key)
	wantErr(t, err, nil)
	wantSame(t, "result", got, want)
}

func wantSame(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func testSpendNonce(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	n := *nonce()
	wantErr(t, s.SpendNonce(t.Context(), n), nil)
	wantErr(t, other.SpendNonce(t.Context(), n), store.ErrReplayed)
	// It is one and the same for all that spend nonces.
	_, err := s.AcceptLaunch(t.Context(), launch("u1", func(l *store.NewLaunch) { l.Nonce = n }))
	wantErr(t, err, store.ErrReplayed)
	l := launch("u1")
	accept(t, s, l)
	wantErr(t, s.SpendNonce(t.Context(), l.Nonce), store.ErrReplayed)
	// It is that of no launch.
	_, err = s.LaunchByNonce(t.Context(), n.Scope, n.Value)
	wantErr(t, err, store.ErrNotFound)
	n.Scope = "tool/other"
	wantErr(t, s.SpendNonce(t.Context(), n), nil)
	n.Value = "any \x00 \xff " + strings.Repeat("n", 100_000)
	wantErr(t, s.SpendNonce(t.Context(), n), nil)
	wantErr(t, s.SpendNonce(t.Context(), n), store.ErrReplayed)

	// Several are spent together or not at all, in whatever order they are given.
	fresh := store.Nonce{Scope: "tool/fresh", Value: "1", ExpiresAt: start.Add(time.Hour)}
	bad := store.Nonce{Scope: "tool/fresh", ExpiresAt: start.Add(time.Hour)}
	wantErr(t, s.SpendNonce(t.Context(), fresh, n), store.ErrReplayed)
	wantErr(t, s.SpendNonce(t.Context(), n, fresh), store.ErrReplayed)
	wantErr(t, s.SpendNonce(t.Context(), fresh, fresh), store.ErrReplayed)
	wantErr(t, s.SpendNonce(t.Context(), fresh, bad), store.ErrInvalid)
	second := fresh
	second.Value = "2"
	wantErr(t, s.SpendNonce(t.Context(), fresh, second), nil)
	wantErr(t, other.SpendNonce(t.Context(), second), store.ErrReplayed)

	won := race(t, f, store.ErrReplayed, func(s store.Store, _ int) error {
		return s.SpendNonce(t.Context(), store.Nonce{Scope: "race", Value: "one", ExpiresAt: start.Add(time.Hour)})
	})
	if won != 1 {
		t.Errorf("a nonce was spent %d times", won)
	}
}

func testMeetLearner(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	first := learner("anna")
	first.SeenAt = start.Add(-time.Hour) // does not matter
	want := first
	want.SeenAt = start
	wantSame(t, "learner", meet(t, s, first), want)
	_, err := s.Learner(t.Context(), testRealm, "somebody")
	wantErr(t, err, store.ErrNotFound)

	f.advance(time.Minute)
	// Another replica offers another ID, and knows nothing but the subject.
	again := store.Learner{Realm: testRealm, ID: "candidate", Subject: first.Subject}
	want = store.Learner{Realm: testRealm, ID: "anna", Subject: first.Subject, SeenAt: f.now()}
	wantSame(t, "learner", meet(t, other, again), want)
	got, err := s.Learner(t.Context(), testRealm, "anna")
	wantErr(t, err, nil)
	wantSame(t, "learner", got, want)
	for _, id := range [][2]string{
		{testRealm, "candidate"}, {"tool/other", "anna"}, {testRealm, "Anna"}, {testRealm, "a\x00"}, {"\xff", "anna"}, {"", ""},
	} {
		_, err := s.Learner(t.Context(), id[0], id[1])
		wantErr(t, err, store.ErrNotFound)
	}
	// With the very same ID.
	again.ID, again.Name = "anna", "A."
	want.Name = "A."
	wantSame(t, "learner", meet(t, s, again), want)
	// In another realm the same person is somebody else, and may have the same ID.
	elsewhere := first
	elsewhere.Realm, elsewhere.ID = store.FormRealm, "bert"
	if met := meet(t, s, elsewhere); met.ID != "bert" {
		t.Errorf("learner = %+v", met)
	}
	elsewhere.Realm, elsewhere.ID = store.ToolRealm("other"), "anna"
	if met := meet(t, s, elsewhere); met.ID != "anna" {
		t.Errorf("learner = %+v", met)
	}
}

func testLearnerConflict(t *testing.T, f *fixture) {
	s := f.open(t)
	meet(t, s, learner("anna"))
	meet(t, s, learner("bert"))
	thief := learner("anna")
	thief.Subject = "somebody new"
	_, err := s.MeetLearner(t.Context(), thief)
	wantErr(t, err, store.ErrConflict)
	got, err := s.Learner(t.Context(), testRealm, "anna")
	wantErr(t, err, nil)
	want := learner("anna")
	want.SeenAt = start
	wantSame(t, "learner", got, want)
	// What a known learner is offered is not looked at.
	thief.Subject = learner("bert").Subject
	if met := meet(t, s, thief); met.ID != "bert" {
		t.Errorf("learner = %+v", met)
	}
}

func testManyMeetings(t *testing.T, f *fixture) {
	handles := manyHandles(t, f)
	// The connections of the first ones are there for those who follow.
	for round, callers := range []int{200, 50, 50, 50, 50} {
		var ids sync.Map
		candidate := func(i int) string { return fmt.Sprint("candidate", round, "-", i) }
		won := raceOf(t, handles, callers, nil, func(s store.Store, i int) error {
			l := learner(candidate(i))
			l.Subject = fmt.Sprint("person", round)
			l, err := s.MeetLearner(t.Context(), l)
			ids.Store(l.ID, true)
			return err
		})
		if n := size(&ids); won != callers || n != 1 {
			t.Errorf("%d meetings with %d IDs, want %d with 1", won, n, callers)
		}
		known := 0
		for i := range callers {
			if _, err := handles[0].Learner(t.Context(), testRealm, candidate(i)); err == nil {
				known++
			}
		}
		if known != 1 {
			t.Errorf("%d learners, want 1", known)
		}
	}
}

// testConcurrentLearnerID offers two people one ID at once, each of them several
// times. One gets it; the other is told so.
func testConcurrentLearnerID(t *testing.T, f *fixture) {
	handles := manyHandles(t, f)
	for round := range 20 {
		id := fmt.Sprint("l", round)
		var subjects sync.Map
		raceOf(t, handles, 10, store.ErrConflict, func(s store.Store, i int) error {
			l := learner(id)
			l.Subject += fmt.Sprint(i % 2)
			met, err := s.MeetLearner(t.Context(), l)
			if err == nil {
				subjects.Store(met.Subject, true)
			}
			return err
		})
		if n := size(&subjects); n != 1 {
			t.Errorf("%d people have one ID", n)
		}
	}
}

func members(t *testing.T, s store.Store, realm, activity, after string, limit int) string {
	t.Helper()
	found, err := s.Members(t.Context(), realm, activity, after, limit)
	wantErr(t, err, nil)
	var ids []string
	for _, l := range found {
		ids = append(ids, l.ID)
	}
	return strings.Join(ids, " ")
}

func testMembers(t *testing.T, f *fixture) {
	s := f.open(t)
	for _, id := range []string{"c", "a", "B", "e", "d"} {
		begin(t, s, resultKey(id, "quiz"))
	}
	begin(t, s, resultKey("a", "quiz", "item"))
	begin(t, s, resultKey("item-only", "quiz", "item"))
	begin(t, s, resultKey("other", "another"))
	other := resultKey("foreign", "quiz")
	other.Realm = "tool/other"
	begin(t, s, other)
	meet(t, s, learner("looked-in"))
	for _, c := range []struct {
		realm, activity, after string
		limit                  int
		want                   string
	}{
		{testRealm, "quiz", "", 10, "B a c d e"},
		{testRealm, "quiz", "", 2, "B a"},
		{testRealm, "quiz", "a", 2, "c d"},
		{testRealm, "quiz", "d", 2, "e"},
		{testRealm, "quiz", "e", 2, ""},
		{testRealm, "quiz", "bb", 1, "c"}, // which nobody is
		{testRealm, "quiz", "", 0, "B"},
		{testRealm, "another", "", 10, "other"},
		{"tool/other", "quiz", "", 10, "foreign"},
		{"nothing", "quiz", "", 10, ""},
		{testRealm, "nothing", "", 10, ""},
		{testRealm, "quiz\x00", "", 10, ""},
		{testRealm, "quiz", "\xff", 10, ""},
	} {
		if got := members(t, s, c.realm, c.activity, c.after, c.limit); got != c.want {
			t.Errorf("%d of %s, %s after %q = %q, want %q", c.limit, c.realm, c.activity, c.after, got, c.want)
		}
	}
	// As they are known by now.
	f.advance(time.Minute)
	want := meet(t, s, store.Learner{Realm: testRealm, ID: "x", Subject: learner("a").Subject, Name: "New"})
	found, err := s.Members(t.Context(), testRealm, "quiz", "B", 1)
	wantErr(t, err, nil)
	wantSame(t, "members", found, []store.Learner{want})
}

func testBeginResult(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	meet(t, s, learner("anna"))
	putItem(t, s, toolItem(testRealm, "quiz", "item"))
	n := nonce()
	want := store.Result{
		Key: resultKey("anna", "quiz"), Subject: learner("anna").Subject, OutcomeID: "outcome", StartedAt: start, UpdatedAt: start,
	}
	given := want
	given.Subject, given.StartedAt, given.DueAt, given.State = "somebody", time.Time{}, start, json.RawMessage(`{}`)
	got, err := s.BeginResult(t.Context(), n, given)
	wantErr(t, err, nil)
	wantSame(t, "result", got, want)
	wantResult(t, other, want)
	_, err = other.BeginResult(t.Context(), n, given)
	wantErr(t, err, store.ErrReplayed)

	// Another launch finds it as it is.
	f.advance(time.Hour)
	want = change(t, s, want.Key, set(`{"score":1}`, f.now().Add(time.Minute)))
	given.OutcomeID = "another"
	got, err = other.BeginResult(t.Context(), nonce(), given)
	wantErr(t, err, nil)
	wantSame(t, "result", got, want)
	wantResult(t, s, want)
	if want.StartedAt != start || want.UpdatedAt != f.now() {
		t.Errorf("started at %v, updated at %v", want.StartedAt, want.UpdatedAt)
	}

	// Each part of the key tells results apart.
	for _, k := range []store.ResultKey{resultKey("anna", "another"), resultKey("anna", "quiz", "item"), resultKey("bert", "quiz")} {
		_, err = s.Result(t.Context(), k)
		wantErr(t, err, store.ErrNotFound)
		if r := begin(t, s, k); r.Key != k || r.State != nil || r.OutcomeID != "" {
			t.Errorf("result = %+v", r)
		}
	}
	a, b := store.ResultKey{Realm: "r", Activity: "ab", LearnerID: "c"}, store.ResultKey{Realm: "r", Activity: "a", LearnerID: "bc"}
	if a.ID() == b.ID() {
		t.Error("two results have one ID")
	}
	for _, k := range []store.ResultKey{{}, resultKey("a\x00", "quiz"), resultKey("anna", "quiz", "activity")} {
		_, err = s.Result(t.Context(), k)
		wantErr(t, err, store.ErrNotFound)
	}
}

func testBeginRefused(t *testing.T, f *fixture) {
	s := f.open(t)
	meet(t, s, learner("anna"))
	begin(t, s, resultKey("bert", "quiz"))
	taken := store.Result{Key: resultKey("bert", "another"), OutcomeID: "taken"}
	_, err := s.BeginResult(t.Context(), nil, taken)
	wantErr(t, err, nil)
	elsewhere := resultKey("anna", "quiz")
	elsewhere.Realm = "tool/other"
	for name, c := range map[string]struct {
		r   store.Result
		err error
	}{
		"a learner never met":           {store.Result{Key: resultKey("nobody", "quiz")}, store.ErrNotFound},
		"a learner of another realm":    {store.Result{Key: elsewhere}, store.ErrNotFound},
		"a line item that there is not": {store.Result{Key: resultKey("anna", "quiz", "item")}, store.ErrNotFound},
		"an outcome in use":             {store.Result{Key: resultKey("anna", "quiz"), OutcomeID: "taken"}, store.ErrConflict},
		"no activity":                   {store.Result{Key: resultKey("anna", "")}, store.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			n := nonce()
			_, err := s.BeginResult(t.Context(), n, c.r)
			wantErr(t, err, c.err)
			_, err = s.Result(t.Context(), c.r.Key)
			wantErr(t, err, store.ErrNotFound)
			wantErr(t, s.SpendNonce(t.Context(), *n), nil)
			if !errors.Is(c.err, store.ErrInvalid) {
				c.err = store.ErrReplayed
			}
			_, err = s.BeginResult(t.Context(), n, c.r)
			wantErr(t, err, c.err)
		})
	}
}

func testConcurrentBegin(t *testing.T, f *fixture) {
	s := f.open(t)
	for i := range 24 {
		meet(t, s, learner(fmt.Sprint(i)))
	}
	n := nonce()
	won := race(t, f, store.ErrReplayed, func(s store.Store, i int) error {
		_, err := s.BeginResult(t.Context(), n, store.Result{Key: resultKey(fmt.Sprint(i), "quiz")})
		return err
	})
	if began := members(t, s, testRealm, "quiz", "", 100); won != 1 || began == "" || strings.Contains(began, " ") {
		t.Errorf("one nonce began %d results, those of %q", won, began)
	}
}

func testConcurrentResult(t *testing.T, f *fixture) {
	s := f.open(t)
	meet(t, s, learner("anna"))
	putItem(t, s, toolItem(testRealm, "quiz", "item"))
	for _, k := range []store.ResultKey{resultKey("anna", "quiz"), resultKey("anna", "quiz", "item")} {
		var outcomes sync.Map
		won := race(t, f, nil, func(s store.Store, i int) error {
			r, err := s.BeginResult(t.Context(), nonce(), store.Result{Key: k, OutcomeID: fmt.Sprint(k.LineItem, i)})
			outcomes.Store(r.OutcomeID, true)
			return err
		})
		if n := size(&outcomes); won != 24 || n != 1 {
			t.Errorf("%d of 24 began %d results", won, n)
		}
	}
}

func testOutcome(t *testing.T, f *fixture) {
	s := f.open(t)
	meet(t, s, learner("anna"))
	want, err := s.BeginResult(t.Context(), nil, store.Result{Key: resultKey("anna", "quiz"), OutcomeID: "Outcome"})
	wantErr(t, err, nil)
	begin(t, s, resultKey("anna", "another"))
	begin(t, s, resultKey("bert", "another")) // neither has an outcome, which is no conflict
	got, err := s.ResultByOutcome(t.Context(), "Outcome")
	wantErr(t, err, nil)
	wantSame(t, "result", got, want)
	for _, id := range []string{"", "outcome", "Outcome\x00", "\xff"} {
		_, err := s.ResultByOutcome(t.Context(), id)
		wantErr(t, err, store.ErrNotFound)
	}
}

func history(t *testing.T, s store.Store, k store.ResultKey, limit int) []store.ResultMessage {
	t.Helper()
	found, err := s.ResultHistory(t.Context(), k.ID(), limit)
	wantErr(t, err, nil)
	return found
}

func testChangeResult(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	want := begin(t, s, resultKey("anna", "quiz"))
	f.advance(time.Minute)
	n := nonce()
	due := f.now().Add(time.Second)
	c := store.ResultChange{Nonce: n, Change: func(r *store.Result) (json.RawMessage, error) {
		wantSame(t, "result", *r, want)
		r.State, r.DueAt = json.RawMessage(`{"score":0.5}`), due.Add(999).In(time.FixedZone("there", 3600))
		return json.RawMessage(`{"from":"tool"}`), nil
	}}
	got, err := s.ChangeResult(t.Context(), want.Key.ID(), c)
	wantErr(t, err, nil)
	want.State, want.DueAt, want.UpdatedAt = json.RawMessage(`{"score":0.5}`), due, f.now()
	wantSame(t, "result", got, want)
	wantResult(t, other, want)
	messages := []store.ResultMessage{{At: f.now(), Message: json.RawMessage(`{"from":"tool"}`)}}
	wantSame(t, "history", history(t, other, want.Key, 10), messages)

	_, err = other.ChangeResult(t.Context(), want.Key.ID(), c)
	wantErr(t, err, store.ErrReplayed)
	_, err = other.ChangeResult(t.Context(), resultKey("nobody", "quiz").ID(), c)
	wantErr(t, err, store.ErrReplayed)
	_, err = other.ChangeResult(t.Context(), want.Key.ID(), store.ResultChange{Nonce: &store.Nonce{}})
	wantErr(t, err, store.ErrInvalid)
	wantResult(t, s, want)

	// A message that changes nothing is kept, and the result is not updated.
	f.advance(time.Minute)
	got = change(t, s, want.Key, store.ResultChange{Change: func(*store.Result) (json.RawMessage, error) {
		return json.RawMessage(`"again"`), nil
	}})
	wantSame(t, "result", got, want)
	wantResult(t, s, want)
	messages = append([]store.ResultMessage{{At: f.now(), Message: json.RawMessage(`"again"`)}}, messages...)
	wantSame(t, "history", history(t, s, want.Key, 10), messages)

	// In place, and back to nothing.
	got = change(t, s, want.Key, store.ResultChange{Change: func(r *store.Result) (json.RawMessage, error) {
		copy(r.State, `{"score":0.7}`)
		return nil, nil
	}})
	want.State, want.UpdatedAt = json.RawMessage(`{"score":0.7}`), f.now()
	wantSame(t, "result", got, want)
	wantResult(t, s, want)
	got = change(t, s, want.Key, set("", time.Time{}))
	want.State, want.DueAt = nil, time.Time{}
	wantSame(t, "result", got, want)
	wantResult(t, s, want)
	wantSame(t, "history", history(t, s, want.Key, 10), messages)
}

func testChangeFails(t *testing.T, f *fixture) {
	s := f.open(t)
	want := begin(t, s, resultKey("anna", "quiz"))
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		id, state, message string
		err, want          error
	}{
		"an error":                {want.Key.ID(), `1`, `2`, refused, refused},
		"an error of the store's": {want.Key.ID(), `1`, `2`, store.ErrUnknownUser, store.ErrUnknownUser},
		"state that is not JSON":  {want.Key.ID(), `{`, `2`, nil, store.ErrInvalid},
		"state that is not text":  {want.Key.ID(), "\"\xff\"", `2`, nil, store.ErrInvalid},
		"a message not JSON":      {want.Key.ID(), `1`, `{`, nil, store.ErrInvalid},
		"a message not text":      {want.Key.ID(), `1`, "\"\xff\"", nil, store.ErrInvalid},
		"no such result":          {resultKey("anna", "another").ID(), `1`, `2`, nil, store.ErrNotFound},
		"no ID":                   {"", `1`, `2`, nil, store.ErrNotFound},
		"no valid ID":             {"\x00", `1`, `2`, nil, store.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			n := nonce()
			_, err := s.ChangeResult(t.Context(), c.id, store.ResultChange{Nonce: n, Change: func(r *store.Result) (json.RawMessage, error) {
				r.State, r.DueAt = json.RawMessage(c.state), start
				return json.RawMessage(c.message), c.err
			}})
			wantErr(t, err, c.want)
			if c.err != nil && err != c.err { //nolint:errorlint // as it is
				t.Errorf("error = %v, want it as it is", err)
			}
			wantResult(t, s, want)
			if got := history(t, s, want.Key, 10); len(got) != 0 {
				t.Errorf("history = %v", got)
			}
			wantErr(t, s.SpendNonce(t.Context(), *n), nil)
		})
	}
}

func testChangeBounded(t *testing.T, f *fixture) {
	s := f.open(t)
	want := begin(t, s, resultKey("anna", "quiz"))
	got := change(t, s, want.Key, store.ResultChange{Change: func(r *store.Result) (json.RawMessage, error) {
		*r = store.Result{Key: resultKey("bert", "another"), Subject: "x", OutcomeID: "x", State: json.RawMessage(`1`), StartedAt: start.Add(1)}
		return nil, nil
	}})
	want.State = json.RawMessage(`1`)
	wantSame(t, "result", got, want)
	wantResult(t, s, want)
}

// count is a change that adds one to the state.
func count(r *store.Result) (json.RawMessage, error) {
	before := 0
	if r.State != nil {
		if err := json.Unmarshal(r.State, &before); err != nil {
			return nil, err
		}
	}
	r.State = json.RawMessage(strconv.Itoa(before + 1))
	return r.State, nil
}

func testConcurrentChanges(t *testing.T, f *fixture) {
	s := f.open(t)
	k := resultKey("anna", "quiz")
	begin(t, s, k)
	won := race(t, f, nil, func(s store.Store, i int) error {
		for range 4 {
			c := store.ResultChange{Nonce: nonce(), Change: count}
			if _, err := s.ChangeResult(t.Context(), k.ID(), c); err != nil {
				return err
			}
		}
		return nil
	})
	r, err := s.Result(t.Context(), k)
	wantErr(t, err, nil)
	if won != 24 || string(r.State) != "96" {
		t.Errorf("%d callers counted to %s, want 24 to 96", won, r.State)
	}
	// Each change saw the one before.
	for i, m := range history(t, s, k, 1000) {
		if string(m.Message) != strconv.Itoa(96-i) {
			t.Errorf("message %d is %s", i, m.Message)
		}
	}
}

func testConcurrentChangeNonce(t *testing.T, f *fixture) {
	s := f.open(t)
	k := resultKey("anna", "quiz")
	begin(t, s, k)
	n := nonce()
	won := race(t, f, store.ErrReplayed, func(s store.Store, _ int) error {
		_, err := s.ChangeResult(t.Context(), k.ID(), store.ResultChange{Nonce: n, Change: count})
		return err
	})
	if r, err := s.Result(t.Context(), k); err != nil || won != 1 || string(r.State) != "1" {
		t.Errorf("%d changes counted to %s, %v", won, r.State, err)
	}
}

func testHistory(t *testing.T, f *fixture) {
	s := f.open(t)
	k, other := resultKey("anna", "quiz"), resultKey("bert", "quiz")
	begin(t, s, k)
	begin(t, s, other)
	change(t, s, other, store.ResultChange{Change: count})
	for range store.MaxHistory + 3 {
		// However the clock is set.
		f.advance(-time.Second)
		change(t, s, k, store.ResultChange{Change: count})
	}
	for limit, want := range map[int]int{1000: store.MaxHistory, 2: 2, 0: 1, -1: 1} {
		got := history(t, s, k, limit)
		if len(got) != want {
			t.Errorf("%d messages of at most %d, want %d", len(got), limit, want)
		}
		for i, m := range got {
			if string(m.Message) != strconv.Itoa(store.MaxHistory+3-i) || m.At != f.now().Add(time.Duration(i)*time.Second) {
				t.Errorf("message %d is %s of %v", i, m.Message, m.At)
			}
		}
	}
	if got := history(t, s, other, 1000); len(got) != 1 || string(got[0].Message) != "1" {
		t.Errorf("history of another = %v", got)
	}
	for _, id := range []string{"nothing", "", "\x00", "\xff"} {
		if got, err := s.ResultHistory(t.Context(), id, 10); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v", id, got, err)
		}
	}
}

func keys(t *testing.T, s store.Store, f store.ResultFilter) []string {
	t.Helper()
	found, err := s.ListResults(t.Context(), f)
	wantErr(t, err, nil)
	if !slices.IsSortedFunc(found, func(a, b store.Result) int { return strings.Compare(a.Key.ID(), b.Key.ID()) }) {
		t.Errorf("%+v: not in the order of the IDs", f)
	}
	names := []string{}
	for _, r := range found {
		names = append(names, strings.TrimSpace(fmt.Sprintln(r.Key.Realm, r.Key.Activity, r.Key.LearnerID, r.Key.LineItem)))
	}
	slices.Sort(names)
	return names
}

func testListResults(t *testing.T, f *fixture) {
	s := f.open(t)
	for _, k := range []store.ResultKey{
		resultKey("anna", "quiz"), resultKey("bert", "quiz"), resultKey("anna", "exam"),
		resultKey("anna", "quiz", "item"), resultKey("bert", "quiz", "item"), resultKey("bert", "quiz", "item2"),
	} {
		begin(t, s, k)
		k.Realm = "tool/other"
		if k.LearnerID == "anna" {
			begin(t, s, k)
		}
	}
	all := []string{
		"tool/other exam anna", "tool/other quiz anna", "tool/quiz exam anna", "tool/quiz quiz anna", "tool/quiz quiz bert",
	}
	subject := learner("anna").Subject
	for name, c := range map[string]struct {
		f    store.ResultFilter
		want []string
	}{
		"all of activities":              {store.ResultFilter{}, all},
		"of a realm":                     {store.ResultFilter{Realm: testRealm}, all[2:]},
		"of an activity":                 {store.ResultFilter{Activity: "quiz"}, []string{all[1], all[3], all[4]}},
		"of an activity of a realm":      {store.ResultFilter{Realm: testRealm, Activity: "quiz"}, all[3:]},
		"of a learner":                   {store.ResultFilter{LearnerID: "anna"}, all[:4]},
		"of a learner of a realm":        {store.ResultFilter{Realm: testRealm, LearnerID: "anna"}, all[2:4]},
		"of a learner in an activity":    {store.ResultFilter{Activity: "quiz", LearnerID: "bert"}, all[4:]},
		"of a subject":                   {store.ResultFilter{Subject: subject}, all[:4]},
		"of a subject in an activity":    {store.ResultFilter{Subject: subject, Activity: "exam"}, []string{all[0], all[2]}},
		"of a subject of a realm":        {store.ResultFilter{Subject: subject, Realm: "tool/other"}, all[:2]},
		"of a learner and somebody else": {store.ResultFilter{Subject: subject, LearnerID: "bert"}, nil},
		"one": {
			store.ResultFilter{Realm: testRealm, Activity: "quiz", LearnerID: "bert"}, all[4:],
		},
		"one of somebody else": {
			store.ResultFilter{Realm: testRealm, Activity: "quiz", LearnerID: "bert", Subject: subject}, nil,
		},
		"one in a line item": {
			store.ResultFilter{Realm: testRealm, Activity: "quiz", LearnerID: "bert", LineItem: "item2"}, []string{"tool/quiz quiz bert item2"},
		},
		"in a line item": {
			store.ResultFilter{LineItem: "item"},
			[]string{"tool/other quiz anna item", "tool/quiz quiz anna item", "tool/quiz quiz bert item"},
		},
		"in a line item of an activity": {
			store.ResultFilter{Realm: testRealm, Activity: "quiz", LineItem: "item"},
			[]string{"tool/quiz quiz anna item", "tool/quiz quiz bert item"},
		},
		"of a subject in a line item": {
			store.ResultFilter{Subject: subject, LineItem: "item"}, []string{"tool/other quiz anna item", "tool/quiz quiz anna item"},
		},
		"in no line item that there is": {store.ResultFilter{LineItem: store.ActivityLineItem}, nil},
		"of nothing":                    {store.ResultFilter{Activity: "nothing"}, nil},
		"hostile":                       {store.ResultFilter{Activity: "quiz\x00"}, nil},
		"hostile, one":                  {store.ResultFilter{Realm: testRealm, Activity: "quiz", LearnerID: "\xff"}, nil},
		"hostile, after":                {store.ResultFilter{After: "\x00"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.f.Limit = 1000
			if got := keys(t, s, c.f); !slices.Equal(got, c.want) {
				t.Errorf("results = %q, want %q", got, c.want)
			}
		})
	}
	want := change(t, s, resultKey("bert", "quiz"), set(`{"score":1}`, start.Add(time.Minute)))
	got, err := s.ListResults(t.Context(), store.ResultFilter{Realm: testRealm, Activity: "quiz", LearnerID: "bert", Limit: 1})
	wantErr(t, err, nil)
	wantSame(t, "results", got, []store.Result{want})
}

func testListPages(t *testing.T, f *fixture) {
	s := f.open(t)
	const learners = 7
	for i := range learners {
		begin(t, s, resultKey(fmt.Sprint(i), "quiz"))
		// The same subject in several activities.
		begin(t, s, resultKey("anna", fmt.Sprint("quiz", i)))
	}
	for name, filter := range map[string]store.ResultFilter{
		"all":         {Realm: testRealm},
		"an activity": {Activity: "quiz"},
		"a subject":   {Subject: learner("anna").Subject},
	} {
		t.Run(name, func(t *testing.T) {
			filter.Limit = 1000
			want := keys(t, s, filter)
			filter.Limit = 3
			var got []string
			for {
				page, err := s.ListResults(t.Context(), filter)
				wantErr(t, err, nil)
				got = append(got, keys(t, s, filter)...)
				if len(page) > 3 || t.Failed() {
					t.Fatalf("%d results of at most 3", len(page))
				}
				if len(page) < 3 {
					break
				}
				filter.After = page[2].Key.ID()
			}
			if slices.Sort(got); !slices.Equal(got, want) || len(got) < learners {
				t.Errorf("results = %q, want %q", got, want)
			}
			filter.Limit, filter.After = 0, ""
			if got := keys(t, s, filter); len(got) != 1 {
				t.Errorf("%d results, want 1", len(got))
			}
			// After one that is in no page itself.
			filter.Limit, filter.After = 1000, resultKey("nobody", "nothing").ID()
			for _, r := range keys(t, s, filter) {
				if !slices.Contains(want, r) {
					t.Errorf("%s is in no other page", r)
				}
			}
		})
	}
}

func (f *fixture) leaseResults(t *testing.T, s store.Store, n int) []store.LeasedResult {
	t.Helper()
	leased, err := s.LeaseResults(t.Context(), f.now(), f.now().Add(time.Minute), n)
	if err != nil {
		t.Fatal(err)
	}
	return leased
}

// due makes a result that is due now.
func (f *fixture) due(t *testing.T, s store.Store, k store.ResultKey) store.Result {
	t.Helper()
	begin(t, s, k)
	return change(t, s, k, set(`"due"`, f.now()))
}

func testLeaseResults(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	var want []store.Result
	for i := range 3 {
		want = append(want, f.due(t, s, resultKey(fmt.Sprint(i), "quiz")))
		f.advance(time.Second)
	}
	first := f.leaseResults(t, s, 2)
	if len(first) != 2 || first[0].Lease == "" {
		t.Fatalf("leased %v", first)
	}
	// The lease is no part of what a result is: it was not updated.
	wantSame(t, "leased", []store.Result{first[0].Result, first[1].Result}, want[:2])
	wantResult(t, other, want[0])
	second := f.leaseResults(t, other, 2)
	if len(second) != 1 || second[0].Key != want[2].Key || second[0].Lease == first[0].Lease {
		t.Fatalf("leased %v", second)
	}
	f.advance(time.Minute - time.Microsecond)
	if again := f.leaseResults(t, other, 10); len(again) != 0 {
		t.Errorf("%d leased before the leases ended", len(again))
	}
	f.advance(time.Microsecond)
	if again := f.leaseResults(t, other, 10); len(again) != 3 {
		t.Errorf("%d leased after the leases ended", len(again))
	}
	wantErr(t, s.UpdateResult(t.Context(), first[0].Key.ID(), first[0].Lease, func(*store.Result) error { return nil }), store.ErrLeaseLost)
}

func testLeaseOrder(t *testing.T, f *fixture) {
	s := f.open(t)
	begin(t, s, resultKey("never", "quiz"))
	for i, wait := range []time.Duration{3, 1, 2, 5, 4} {
		k := resultKey(fmt.Sprint(i), "quiz")
		begin(t, s, k)
		change(t, s, k, set(`1`, start.Add(wait*time.Second)))
	}
	if got := f.leaseResults(t, s, 10); len(got) != 0 {
		t.Errorf("leased too early: %v", got)
	}
	f.advance(4 * time.Second)
	var got []string
	for _, n := range []int{3, 10} {
		for _, l := range f.leaseResults(t, s, n) {
			got = append(got, l.Key.LearnerID)
		}
		got = append(got, "|")
	}
	if want := "1 2 0 | 4 |"; strings.Join(got, " ") != want {
		t.Errorf("leased %v, want %s", got, want)
	}
}

func testLeaseResultClock(t *testing.T, f *fixture) {
	s := f.open(t)
	k := resultKey("anna", "quiz")
	f.due(t, s, k)
	f.leaseResults(t, s, 1)
	// Due and leased within what is possible: not yet.
	f.advance(-store.LongestPause + time.Minute)
	if got := f.leaseResults(t, s, 1); len(got) != 0 {
		t.Errorf("leased %v", got)
	}
	f.advance(-time.Minute - time.Microsecond)
	got := f.leaseResults(t, s, 1)
	if len(got) != 1 {
		t.Fatalf("leased %v", got)
	}
	wantErr(t, s.UpdateResult(t.Context(), k.ID(), got[0].Lease, func(r *store.Result) error {
		r.DueAt = f.now().Add(store.LongestPause)
		return nil
	}), nil)
	if got := f.leaseResults(t, s, 1); len(got) != 0 {
		t.Errorf("leased %v", got)
	}
	f.advance(-time.Microsecond)
	if got := f.leaseResults(t, s, 1); len(got) != 1 {
		t.Errorf("leased %v", got)
	}
}

func testUpdateResult(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	want := f.due(t, s, resultKey("anna", "quiz"))
	id := want.Key.ID()
	l := f.leaseResults(t, s, 1)[0]
	f.advance(time.Second)
	put := func(r *store.Result) error {
		*r = store.Result{State: json.RawMessage(`"told"`), DueAt: start.Add(time.Hour)}
		return nil
	}
	for _, c := range [][2]string{{id, ""}, {id, "another"}, {id, "\x00"}, {"nothing", l.Lease}, {"", l.Lease}, {"\x00", l.Lease}} {
		wantErr(t, other.UpdateResult(t.Context(), c[0], c[1], put), store.ErrLeaseLost)
	}
	// What fails changes nothing, and the lease goes on.
	refused := errors.New("refused")
	err := s.UpdateResult(t.Context(), id, l.Lease, func(r *store.Result) error { return errors.Join(put(r), refused) })
	wantErr(t, err, refused)
	wantErr(t, s.UpdateResult(t.Context(), id, l.Lease, func(r *store.Result) error {
		r.State = json.RawMessage(`{`)
		return nil
	}), store.ErrInvalid)
	wantResult(t, s, want)
	if got := f.leaseResults(t, s, 1); len(got) != 0 {
		t.Errorf("leased %v", got)
	}

	wantErr(t, other.UpdateResult(t.Context(), id, l.Lease, func(r *store.Result) error {
		wantSame(t, "result", *r, want)
		return put(r)
	}), nil)
	want.State, want.DueAt, want.UpdatedAt = json.RawMessage(`"told"`), start.Add(time.Hour), f.now()
	wantResult(t, s, want)
	if got := history(t, s, want.Key, 10); len(got) != 0 {
		t.Errorf("history = %v", got)
	}
	wantErr(t, s.UpdateResult(t.Context(), id, l.Lease, put), store.ErrLeaseLost)
	// The lease has ended, before its time.
	change(t, s, want.Key, set(`1`, f.now()))
	l = f.leaseResults(t, s, 1)[0]
	want, err = s.Result(t.Context(), want.Key)
	wantErr(t, err, nil)
	// An update that changes nothing is none.
	f.advance(time.Second)
	wantErr(t, s.UpdateResult(t.Context(), id, l.Lease, func(*store.Result) error { return nil }), nil)
	wantResult(t, s, want)
	if got := f.leaseResults(t, s, 1); len(got) != 1 {
		t.Errorf("leased %v", got)
	}
}

func testChangeLeasedResult(t *testing.T, f *fixture) {
	s := f.open(t)
	k := resultKey("anna", "quiz")
	f.due(t, s, k)
	l := f.leaseResults(t, s, 1)[0]
	change(t, s, k, set(`"changed"`, f.now()))
	if got := f.leaseResults(t, s, 1); len(got) != 0 {
		t.Errorf("a change ended the lease: %v", got)
	}
	wantErr(t, s.UpdateResult(t.Context(), k.ID(), l.Lease, func(r *store.Result) error {
		if string(r.State) != `"changed"` {
			t.Errorf("state = %s", r.State)
		}
		r.DueAt = time.Time{}
		return nil
	}), nil)
	if got := f.leaseResults(t, s, 1); len(got) != 0 {
		t.Errorf("leased %v", got)
	}
}

func testConcurrentResultLease(t *testing.T, f *fixture) {
	s := f.open(t)
	const n = 40
	for i := range n {
		f.due(t, s, resultKey(fmt.Sprint(i), "quiz"))
	}
	var mu sync.Mutex
	seen := map[string]int{}
	raceOf(t, manyHandles(t, f), 10, nil, func(s store.Store, _ int) error {
		for range 2 * n {
			leased, err := s.LeaseResults(t.Context(), f.now(), f.now().Add(time.Hour), 3)
			if err != nil {
				return err
			}
			mu.Lock()
			for _, l := range leased {
				seen[l.Key.ID()]++
			}
			done := len(seen) == n
			mu.Unlock()
			if done {
				break
			}
		}
		return nil
	})
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s was leased %d times", id, times)
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d leased", len(seen), n)
	}
}

func toolItem(realm, activity, id string) store.ToolLineItem {
	return store.ToolLineItem{Realm: realm, Activity: activity, ID: id, Document: json.RawMessage(`{"label":"` + id + `"}`)}
}

func putItem(t *testing.T, s store.Store, l store.ToolLineItem) {
	t.Helper()
	if err := s.PutToolLineItem(t.Context(), l); err != nil {
		t.Fatalf("PutToolLineItem: %v", err)
	}
}

func wantItems(t *testing.T, s store.Store, realm, activity string, want ...store.ToolLineItem) {
	t.Helper()
	got, err := s.ToolLineItems(t.Context(), realm, activity)
	wantErr(t, err, nil)
	wantSame(t, "line items", got, want)
}

func testToolItems(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	wantItems(t, s, testRealm, "quiz")
	b, a := toolItem(testRealm, "quiz", "b"), toolItem(testRealm, "quiz", "a")
	putItem(t, s, b)
	b.CreatedAt = start
	f.advance(time.Second)
	putItem(t, s, a)
	a.CreatedAt = f.now()
	wantItems(t, other, testRealm, "quiz", b, a)

	// Replaced, one is as old as before.
	f.advance(time.Second)
	b.Document = json.RawMessage(`{"label":"new"}`)
	putItem(t, other, b)
	own := toolItem(testRealm, "quiz", store.ActivityLineItem)
	putItem(t, s, own)
	own.CreatedAt = f.now()
	wantItems(t, s, testRealm, "quiz", b, a, own)

	// Each activity of each realm has its own.
	exam, elsewhere := toolItem(testRealm, "exam", "a"), toolItem("tool/other", "quiz", "a")
	putItem(t, s, exam)
	putItem(t, s, elsewhere)
	exam.CreatedAt, elsewhere.CreatedAt = f.now(), f.now()
	wantItems(t, s, testRealm, "quiz", b, a, own)
	for _, want := range []store.ToolLineItem{b, a, own, exam, elsewhere} {
		got, err := other.ToolLineItem(t.Context(), want.Realm, want.Activity, want.ID)
		wantErr(t, err, nil)
		wantSame(t, "line item", got, want)
	}
	for _, no := range [][3]string{
		{testRealm, "quiz", "c"}, {testRealm, "nothing", "a"}, {"nothing", "quiz", "a"}, {testRealm, "quiz", ""}, {testRealm, "quiz", "\x00"},
	} {
		_, err := s.ToolLineItem(t.Context(), no[0], no[1], no[2])
		wantErr(t, err, store.ErrNotFound)
		wantErr(t, s.DeleteToolLineItem(t.Context(), no[0], no[1], no[2]), store.ErrNotFound)
	}
	wantItems(t, s, testRealm, "\x00")
	wantItems(t, s, "\xff", "quiz")

	wantErr(t, s.DeleteToolLineItem(t.Context(), testRealm, "quiz", "b"), nil)
	wantErr(t, s.DeleteToolLineItem(t.Context(), testRealm, "quiz", "b"), store.ErrNotFound)
	wantItems(t, s, testRealm, "quiz", a, own)
	wantItems(t, s, testRealm, "exam", exam)
	wantItems(t, s, "tool/other", "quiz", elsewhere)
}

// testToolItemsBounded lets tools fill the last places at once.
func testToolItemsBounded(t *testing.T, f *fixture) {
	s := f.open(t)
	const room = 5
	for i := range store.MaxToolLineItems - room {
		putItem(t, s, toolItem(testRealm, "quiz", fmt.Sprint(i)))
	}
	won := race(t, f, store.ErrTooMany, func(s store.Store, i int) error {
		return s.PutToolLineItem(t.Context(), toolItem(testRealm, "quiz", fmt.Sprint("new", i)))
	})
	wantFull := func(want int) {
		t.Helper()
		items, err := s.ToolLineItems(t.Context(), testRealm, "quiz")
		if wantErr(t, err, nil); len(items) != want {
			t.Errorf("%d line items, want %d", len(items), want)
		}
	}
	if wantFull(store.MaxToolLineItems); won != room {
		t.Errorf("%d line items found room, want %d", won, room)
	}
	extra := toolItem(testRealm, "quiz", "extra")
	wantErr(t, s.PutToolLineItem(t.Context(), extra), store.ErrTooMany)
	_, err := s.ToolLineItem(t.Context(), testRealm, "quiz", "extra")
	wantErr(t, err, store.ErrNotFound)
	// Not a new one, not the tool's, not this activity's.
	putItem(t, s, toolItem(testRealm, "quiz", "7"))
	putItem(t, s, toolItem(testRealm, "quiz", store.ActivityLineItem))
	putItem(t, s, toolItem(testRealm, "exam", "extra"))
	putItem(t, s, toolItem("tool/other", "quiz", "extra"))
	wantErr(t, s.PutToolLineItem(t.Context(), extra), store.ErrTooMany)
	wantErr(t, s.DeleteToolLineItem(t.Context(), testRealm, "quiz", "7"), nil)
	putItem(t, s, extra)
	wantFull(store.MaxToolLineItems + 1)
}

func testConcurrentToolItem(t *testing.T, f *fixture) {
	won := race(t, f, nil, func(s store.Store, _ int) error {
		return s.PutToolLineItem(t.Context(), toolItem(testRealm, "quiz", "new"))
	})
	items, err := f.open(t).ToolLineItems(t.Context(), testRealm, "quiz")
	if wantErr(t, err, nil); won != 24 || len(items) != 1 {
		t.Errorf("%d of 24 stored %d line items", won, len(items))
	}
}

func testDeleteToolItem(t *testing.T, f *fixture) {
	s := f.open(t)
	elsewhere := resultKey("anna", "quiz", "item")
	elsewhere.Realm = "tool/other"
	gone := []store.ResultKey{resultKey("anna", "quiz", "item"), resultKey("bert", "quiz", "item")}
	kept := []store.ResultKey{resultKey("anna", "quiz"), resultKey("anna", "quiz", "item2"), resultKey("anna", "exam", "item"), elsewhere}
	for _, k := range slices.Concat(gone, kept) {
		begin(t, s, k)
		change(t, s, k, store.ResultChange{Change: count})
		change(t, s, k, set(`1`, f.now()))
	}
	l := f.leaseResults(t, s, 100)
	wantErr(t, s.DeleteToolLineItem(t.Context(), testRealm, "quiz", "item"), nil)
	for _, k := range gone {
		_, err := s.Result(t.Context(), k)
		wantErr(t, err, store.ErrNotFound)
		_, err = s.ChangeResult(t.Context(), k.ID(), set(`1`, f.now()))
		wantErr(t, err, store.ErrNotFound)
		wantErr(t, s.UpdateResult(t.Context(), k.ID(), l[0].Lease, func(*store.Result) error { return nil }), store.ErrLeaseLost)
		_, err = s.BeginResult(t.Context(), nil, store.Result{Key: k})
		wantErr(t, err, store.ErrNotFound)
		if got := history(t, s, k, 10); len(got) != 0 {
			t.Errorf("history = %v", got)
		}
	}
	// Made again, it is empty, and its results start anew.
	if r := begin(t, s, gone[0]); r.State != nil || !r.DueAt.IsZero() {
		t.Errorf("result = %+v", r)
	}
	if got := history(t, s, gone[0], 10); len(got) != 0 {
		t.Errorf("history = %v", got)
	}
	wantKept := func() {
		t.Helper()
		for _, k := range kept {
			_, err := s.Result(t.Context(), k)
			wantErr(t, err, nil)
			if got := history(t, s, k, 10); len(got) != 1 {
				t.Errorf("history = %v", got)
			}
		}
	}
	wantKept()
	// What was changed in the line item of the activity goes, its results stay.
	putItem(t, s, toolItem(testRealm, "quiz", store.ActivityLineItem))
	wantErr(t, s.DeleteToolLineItem(t.Context(), testRealm, "quiz", store.ActivityLineItem), nil)
	wantErr(t, s.DeleteToolLineItem(t.Context(), testRealm, "quiz", store.ActivityLineItem), store.ErrNotFound)
	wantKept()
}

// testConcurrentDelete deletes a line item while results of it begin and change. What
// comes too late is told so, and nothing is left.
func testConcurrentDelete(t *testing.T, f *fixture) {
	handles := manyHandles(t, f)
	s := handles[0]
	for i := range 20 {
		meet(t, s, learner(fmt.Sprint(i)))
	}
	for round := range 10 {
		item := fmt.Sprint("item", round)
		putItem(t, s, toolItem(testRealm, "quiz", item))
		raceOf(t, handles, 20, store.ErrNotFound, func(s store.Store, i int) error {
			if i == 10 {
				return s.DeleteToolLineItem(t.Context(), testRealm, "quiz", item)
			}
			k := resultKey(fmt.Sprint(i), "quiz", item)
			_, err := s.BeginResult(t.Context(), nonce(), store.Result{Key: k})
			if err == nil {
				_, err = s.ChangeResult(t.Context(), k.ID(), store.ResultChange{Nonce: nonce(), Change: count})
			}
			return err
		})
		if left := keys(t, s, store.ResultFilter{LineItem: item, Limit: 1000}); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		for i := range 20 {
			if left := history(t, s, resultKey(fmt.Sprint(i), "quiz", item), 10); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		}
	}
}

func testResultInvalid(t *testing.T, f *fixture) {
	s := f.open(t)
	meet(t, s, learner("anna"))
	tooLong := strings.Repeat("x", store.MaxIdentifier+1)
	bad := map[string]string{"NUL": "a\x00", "invalid UTF-8": "\xff", "too long": tooLong}
	empty := map[string]string{"empty": ""}

	check := func(what string, values map[string]string, try func(value string) error) {
		t.Helper()
		for name, value := range values {
			if err := try(value); !errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s, %s: error = %v, want %v", what, name, err, store.ErrInvalid)
			}
		}
	}
	for what, field := range map[string]func(*store.Learner) *string{
		"realm": func(l *store.Learner) *string { return &l.Realm }, "ID": func(l *store.Learner) *string { return &l.ID },
		"subject":    func(l *store.Learner) *string { return &l.Subject },
		"given name": func(l *store.Learner) *string { return &l.GivenName }, "family name": func(l *store.Learner) *string { return &l.FamilyName },
		"name": func(l *store.Learner) *string { return &l.Name }, "email": func(l *store.Learner) *string { return &l.Email },
		"locale": func(l *store.Learner) *string { return &l.Locale },
	} {
		try := func(value string) error {
			l := learner("anna")
			*field(&l) = value
			_, err := s.MeetLearner(t.Context(), l)
			return err
		}
		check("learner's "+what, bad, try)
		if slices.Contains([]string{"realm", "ID", "subject"}, what) {
			check("learner's "+what, empty, try)
		}
	}
	for what, field := range map[string]func(*store.Result) *string{
		"realm": func(r *store.Result) *string { return &r.Key.Realm }, "activity": func(r *store.Result) *string { return &r.Key.Activity },
		"learner": func(r *store.Result) *string { return &r.Key.LearnerID }, "line item": func(r *store.Result) *string { return &r.Key.LineItem },
		"outcome": func(r *store.Result) *string { return &r.OutcomeID },
	} {
		try := func(value string) error {
			r := store.Result{Key: resultKey("anna", "quiz")}
			*field(&r) = value
			_, err := s.BeginResult(t.Context(), nil, r)
			return err
		}
		check("result's "+what, bad, try)
		if slices.Contains([]string{"realm", "activity", "learner"}, what) {
			check("result's "+what, empty, try)
		}
		if what == "line item" {
			check("result's "+what, map[string]string{"that of the activity": store.ActivityLineItem}, try)
		}
	}
	for what, field := range map[string]func(*store.ToolLineItem) *string{
		"realm":    func(l *store.ToolLineItem) *string { return &l.Realm },
		"activity": func(l *store.ToolLineItem) *string { return &l.Activity },
		"ID":       func(l *store.ToolLineItem) *string { return &l.ID },
	} {
		try := func(value string) error {
			l := toolItem(testRealm, "quiz", "item")
			*field(&l) = value
			return s.PutToolLineItem(t.Context(), l)
		}
		check("line item's "+what, bad, try)
		check("line item's "+what, empty, try)
	}
	check("line item's document", map[string]string{"empty": "", "not JSON": "{", "invalid UTF-8": "\"\xff\""}, func(value string) error {
		l := toolItem(testRealm, "quiz", "item")
		l.Document = json.RawMessage(value)
		return s.PutToolLineItem(t.Context(), l)
	})
	check("state", map[string]string{"not JSON": "{", "invalid UTF-8": "\"\xff\""}, func(value string) error {
		_, err := s.BeginResult(t.Context(), nil, store.Result{Key: resultKey("anna", "quiz"), State: json.RawMessage(value)})
		return err
	})
	begin(t, s, resultKey("anna", "exam"))
	for what, edit := range map[string]func(*store.Nonce){
		"no scope":     func(n *store.Nonce) { n.Scope = "" },
		"a long scope": func(n *store.Nonce) { n.Scope = tooLong },
		"NUL in scope": func(n *store.Nonce) { n.Scope = "\x00" },
		"no value":     func(n *store.Nonce) { n.Value = "" },
		"no expiry":    func(n *store.Nonce) { n.ExpiresAt = time.Time{} },
	} {
		n := nonce()
		edit(n)
		_, errBegin := s.BeginResult(t.Context(), n, store.Result{Key: resultKey("anna", "exam")})
		_, errChange := s.ChangeResult(t.Context(), resultKey("anna", "exam").ID(), store.ResultChange{Nonce: n, Change: count})
		for _, err := range []error{s.SpendNonce(t.Context(), *n), errBegin, errChange} {
			if !errors.Is(err, store.ErrInvalid) {
				t.Errorf("a nonce with %s: error = %v", what, err)
			}
		}
	}
	if left := keys(t, s, store.ResultFilter{Limit: 10}); len(left) != 1 {
		t.Errorf("results = %v", left)
	}
	wantItems(t, s, testRealm, "quiz")
}

func testResultHostile(t *testing.T, f *fixture) {
	s := f.open(t)
	for _, text := range hostileTexts() {
		l := store.Learner{Realm: text, ID: text, Subject: text, GivenName: text, FamilyName: text, Name: text, Email: text, Locale: text, SeenAt: start}
		wantSame(t, "learner", meet(t, s, l), l)
		document, err := json.Marshal(strings.Repeat(text, 100_000/len(text)))
		if err != nil {
			t.Fatal(err)
		}
		item := store.ToolLineItem{Realm: text, Activity: text, ID: text, Document: document, CreatedAt: start}
		putItem(t, s, item)
		wantItems(t, s, text, text, item)
		for _, lineItem := range []string{"", text} {
			k := store.ResultKey{Realm: text, Activity: text, LineItem: lineItem, LearnerID: text}
			r := store.Result{Key: k}
			if lineItem == "" {
				r.OutcomeID = text
			}
			_, err := s.BeginResult(t.Context(), &store.Nonce{Scope: text, Value: text + lineItem, ExpiresAt: start}, r)
			wantErr(t, err, nil)
			want := change(t, s, k, store.ResultChange{Change: func(r *store.Result) (json.RawMessage, error) {
				r.State = document
				return document, nil
			}})
			wantResult(t, s, want)
			if got := history(t, s, k, 10); len(got) != 1 || string(got[0].Message) != string(document) {
				t.Errorf("%.40q: %d messages", text, len(got))
			}
			if got := keys(t, s, store.ResultFilter{Realm: text, Activity: text, LearnerID: text, Subject: text, LineItem: lineItem}); len(got) != 1 {
				t.Errorf("%.40q: %d results", text, len(got))
			}
		}
		r, err := s.ResultByOutcome(t.Context(), text)
		if wantErr(t, err, nil); r.OutcomeID != text {
			t.Errorf("%.40q: result = %+v", text, r)
		}
		if got := members(t, s, text, text, "", 10); got != text {
			t.Errorf("members = %.40q, want %.40q", got, text)
		}
		wantErr(t, s.DeleteToolLineItem(t.Context(), text, text, text), nil)
	}
}

func testPurgeResults(t *testing.T, f *fixture) {
	s := f.open(t)
	k := resultKey("anna", "quiz")
	item := toolItem(testRealm, "quiz", "item")
	begin(t, s, k)
	putItem(t, s, item)
	spent := []store.Nonce{*nonce(), *nonce(), *nonce()}
	wantErr(t, s.SpendNonce(t.Context(), spent[0]), nil)
	_, err := s.BeginResult(t.Context(), &spent[1], store.Result{Key: k})
	wantErr(t, err, nil)
	want := change(t, s, k, store.ResultChange{Nonce: &spent[2], Change: count})
	end := spent[0].ExpiresAt
	purge(t, s, end.Add(-time.Microsecond), 0, store.Purged{})
	for _, n := range spent {
		wantErr(t, s.SpendNonce(t.Context(), n), store.ErrReplayed)
	}
	purge(t, s, end, 0, store.Purged{Nonces: 3})
	for _, n := range spent {
		wantErr(t, s.SpendNonce(t.Context(), n), nil)
	}
	purge(t, s, end.Add(100*365*24*time.Hour), 0, store.Purged{Nonces: 3})
	wantResult(t, s, want)
	if got := history(t, s, k, 10); len(got) != 1 {
		t.Errorf("history = %v", got)
	}
	if got := members(t, s, testRealm, "quiz", "", 10); got != "anna" {
		t.Errorf("members = %q", got)
	}
	_, err = s.ToolLineItem(t.Context(), testRealm, "quiz", "item")
	wantErr(t, err, nil)
}

func testReopenResults(t *testing.T, f *fixture) {
	s := f.open(t)
	k := resultKey("anna", "quiz")
	n := nonce()
	begin(t, s, k)
	want := change(t, s, k, store.ResultChange{Nonce: n, Change: func(r *store.Result) (json.RawMessage, error) {
		r.DueAt = f.now()
		return count(r)
	}})
	item := toolItem(testRealm, "quiz", "item")
	putItem(t, s, item)
	item.CreatedAt = start
	l := f.leaseResults(t, s, 1)[0]
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	s = f.open(t)
	wantErr(t, s.SpendNonce(t.Context(), *n), store.ErrReplayed)
	wantResult(t, s, want)
	if got := history(t, s, k, 10); len(got) != 1 {
		t.Errorf("history = %v", got)
	}
	if got := members(t, s, testRealm, "quiz", "", 10); got != "anna" {
		t.Errorf("members = %q", got)
	}
	wantItems(t, s, testRealm, "quiz", item)
	if got := f.leaseResults(t, s, 1); len(got) != 0 {
		t.Errorf("leased %v", got)
	}
	wantErr(t, s.UpdateResult(t.Context(), k.ID(), l.Lease, func(*store.Result) error { return nil }), nil)
}

// resultCalls are all methods of store.Results, in ways that succeed for a store with
// a due result of anna in the quiz.
func (f *fixture) resultCalls(ctx context.Context, s store.Store) map[string]error {
	k := resultKey("anna", "quiz")
	errs := map[string]error{
		"SpendNonce":      s.SpendNonce(ctx, *nonce()),
		"PutToolLineItem": s.PutToolLineItem(ctx, toolItem(testRealm, "quiz", "item")),
		"UpdateResult": s.UpdateResult(ctx, k.ID(), "lease", func(r *store.Result) error {
			r.State = json.RawMessage(`"updated"`)
			return nil
		}),
		"DeleteToolLineItem": s.DeleteToolLineItem(ctx, testRealm, "quiz", "kept"),
	}
	l := learner("anna")
	l.Name = "changed"
	_, errs["MeetLearner"] = s.MeetLearner(ctx, l)
	_, errs["Learner"] = s.Learner(ctx, testRealm, "anna")
	_, errs["Members"] = s.Members(ctx, testRealm, "quiz", "", 1)
	_, errs["BeginResult"] = s.BeginResult(ctx, nonce(), store.Result{Key: resultKey("anna", "exam")})
	_, errs["Result"] = s.Result(ctx, k)
	_, errs["ResultByOutcome"] = s.ResultByOutcome(ctx, "outcome")
	_, errs["ChangeResult"] = s.ChangeResult(ctx, k.ID(), store.ResultChange{Nonce: nonce(), Change: count})
	_, errs["ListResults"] = s.ListResults(ctx, store.ResultFilter{Limit: 1})
	_, errs["ResultHistory"] = s.ResultHistory(ctx, k.ID(), 1)
	_, errs["LeaseResults"] = s.LeaseResults(ctx, f.now(), f.now().Add(time.Minute), 1)
	_, errs["ToolLineItem"] = s.ToolLineItem(ctx, testRealm, "quiz", "kept")
	_, errs["ToolLineItems"] = s.ToolLineItems(ctx, testRealm, "quiz")
	return errs
}

func testClosedResults(t *testing.T, f *fixture) {
	s := f.open(t)
	f.due(t, s, resultKey("anna", "quiz"))
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	for name, err := range f.resultCalls(t.Context(), s) {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: error = %v, want %v", name, err, store.ErrUnavailable)
		}
	}
}

func testCancelledResults(t *testing.T, f *fixture) {
	s := f.open(t)
	want := f.due(t, s, resultKey("anna", "quiz"))
	item := toolItem(testRealm, "quiz", "kept")
	putItem(t, s, item)
	item.CreatedAt = start
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, err := range f.resultCalls(ctx, s) {
		if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: error = %v, want %v", name, err, context.Canceled)
		}
	}
	wantResult(t, s, want)
	wantItems(t, s, testRealm, "quiz", item)
	if l, err := s.Learner(t.Context(), testRealm, "anna"); err != nil || l.Name == "changed" {
		t.Errorf("learner = %+v, %v", l, err)
	}
	if got := keys(t, s, store.ResultFilter{Limit: 10}); len(got) != 1 {
		t.Errorf("results = %v", got)
	}
	if got := f.leaseResults(t, s, 1); len(got) != 1 {
		t.Errorf("leased %v", got)
	}
}

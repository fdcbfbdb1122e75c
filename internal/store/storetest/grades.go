package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

var gradeTests = map[string]func(*testing.T, *fixture){
	"a report reaches every grade of its person and activity":     testReportFansOut,
	"a report about nobody changes nothing":                       testReportNobody,
	"a report that fails changes nothing":                         testReportFails,
	"a report with an idempotency key counts once":                testIdempotency,
	"a later launch is told what is known":                        testJoinLate,
	"a launch that is refused joins no grade":                     testJoinRefused,
	"a link that goes to another activity takes its grade along":  testJoinMoves,
	"a grade is leased to one until the lease ends":               testLease,
	"leases leave out full registrations and what is not due":     testLeaseFull,
	"a clock that was set back holds nothing up":                  testLeaseClock,
	"a lease that is lost changes nothing":                        testLeaseLost,
	"a grade is changed while it is leased":                       testChangeLeased,
	"grades are listed by what they are of":                       testListGrades,
	"one of many makes the line item of a link":                   testLineItem,
	"of many leases at once no grade is in two":                   testConcurrentLease,
	"reports and launches at once leave no grade behind":          testConcurrentReportsAndLaunches,
	"reports at once run one after the other":                     testConcurrentReports,
	"grades that an engine cannot store are refused":              testGradeInvalid,
	"purge forgets idempotency keys in time and nothing that was": testPurgeKeys,
}

// cell is a grade of this learner at link number n.
func cell(user string, n int) store.GradeKey {
	return store.GradeKey{Link: store.Link{
		Registration: fmt.Sprint("registration", n%2), DeploymentID: "1", ContextID: fmt.Sprint("course", n), ResourceLinkID: "link",
	}, LTIUserID: user}
}

// note writes what it was told into the grade, and makes it due at once.
func (f *fixture) note(progress json.RawMessage, g *store.Grade) error {
	if progress == nil {
		progress = json.RawMessage(`"nothing"`)
	}
	g.Address, g.State, g.DueAt = json.RawMessage(`{"to":"somewhere"}`), progress, f.now()
	return nil
}

// joined is a launch of the person with a grade at link n.
func (f *fixture) joined(user string, n int) store.NewLaunch {
	l := launch(user)
	l.Activity = "activity"
	l.Grade = &store.NewGrade{Key: cell(user, n), Join: f.note}
	return l
}

func (f *fixture) report(subject, activity, value string) store.ProgressReport {
	return store.ProgressReport{
		Subject: subject, Activity: activity,
		Progress: func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(`"` + value + `"`), nil },
		Grade:    f.note,
	}
}

func mustReport(t *testing.T, s store.Store, r store.ProgressReport) {
	t.Helper()
	if _, err := s.ReportProgress(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func grades(t *testing.T, s store.Store, f store.GradeFilter) map[string]string {
	t.Helper()
	if f.Limit == 0 {
		f.Limit = 1000
	}
	found, err := s.ListGrades(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, g := range found {
		out[g.Key.ContextID+" "+g.Key.LTIUserID] = string(g.State)
	}
	return out
}

func want(t *testing.T, got map[string]string, pairs ...string) {
	t.Helper()
	wanted := map[string]string{}
	for pair := range slices.Chunk(pairs, 2) {
		wanted[pair[0]] = pair[1]
	}
	if fmt.Sprint(got) != fmt.Sprint(wanted) {
		t.Fatalf("grades = %v, want %v", got, wanted)
	}
}

func testReportFansOut(t *testing.T, f *fixture) {
	s := f.open(t)
	a := accept(t, s, f.joined("anna", 1))
	accept(t, s, f.joined("anna", 2))
	accept(t, s, f.joined("bert", 1))
	other := f.joined("anna", 3)
	other.Activity = "another"
	accept(t, s, other)
	mustReport(t, s, f.report(a.Subject, "activity", "80"))
	want(t, grades(t, s, store.GradeFilter{}), "course1 anna", `"80"`, "course2 anna", `"80"`, "course1 bert", `"nothing"`, "course3 anna", `"nothing"`)
	got, err := s.Progress(t.Context(), a.Subject, "activity")
	if err != nil || string(got) != `"80"` {
		t.Errorf("progress = %s, %v", got, err)
	}
	if _, err := s.Progress(t.Context(), a.Subject, "another"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("error = %v", err)
	}
}

func testReportNobody(t *testing.T, f *fixture) {
	s := f.open(t)
	for _, subject := range []string{"nobody", "", "a\x00b"} {
		if _, err := s.ReportProgress(t.Context(), f.report(subject, "activity", "1")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q: error = %v", subject, err)
		}
	}
}

func testReportFails(t *testing.T, f *fixture) {
	s := f.open(t)
	a := accept(t, s, f.joined("anna", 1))
	wrong := errors.New("wrong")
	r := f.report(a.Subject, "activity", "80")
	r.Idempotency = &store.Idempotency{Client: "c", Key: "k", ExpiresAt: f.now().Add(time.Hour)}
	r.Grade = func(json.RawMessage, *store.Grade) error { return wrong }
	if _, err := s.ReportProgress(t.Context(), r); !errors.Is(err, wrong) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("error = %v", err)
	}
	if _, err := s.Progress(t.Context(), a.Subject, "activity"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("error = %v", err)
	}
	r.Grade = f.note
	mustReport(t, s, r) // the key was not spent
	want(t, grades(t, s, store.GradeFilter{}), "course1 anna", `"80"`)
}

func testIdempotency(t *testing.T, f *fixture) {
	s := f.open(t)
	a := accept(t, s, f.joined("anna", 1))
	keyed := func(client, key, request, value string) error {
		r := f.report(a.Subject, "activity", value)
		r.Idempotency = &store.Idempotency{Client: client, Key: key, Request: store.HashToken(request), ExpiresAt: f.now().Add(time.Hour)}
		_, err := s.ReportProgress(t.Context(), r)
		return err
	}
	for i, step := range []struct {
		client, key, request, value string
		err                         error
		now                         string
	}{
		{"c", "k", "r", "1", nil, `"1"`},
		{"c", "k", "r", "2", nil, `"1"`},
		{"c", "k", "other", "3", store.ErrKeyReused, `"1"`},
		{"d", "k", "other", "4", nil, `"4"`},
		{"c", "l", "r", "5", nil, `"5"`},
	} {
		if err := keyed(step.client, step.key, step.request, step.value); !errors.Is(err, step.err) {
			t.Fatalf("step %d: %v", i, err)
		}
		want(t, grades(t, s, store.GradeFilter{}), "course1 anna", step.now)
	}
}

func testJoinLate(t *testing.T, f *fixture) {
	s := f.open(t)
	a := accept(t, s, f.joined("anna", 1))
	mustReport(t, s, f.report(a.Subject, "activity", "80"))
	accept(t, s, f.joined("anna", 2))
	want(t, grades(t, s, store.GradeFilter{}), "course1 anna", `"80"`, "course2 anna", `"80"`)
}

func testJoinRefused(t *testing.T, f *fixture) {
	s := f.open(t)
	l := f.joined("anna", 1)
	l.MayCreateUser = false
	if _, err := s.AcceptLaunch(t.Context(), l); !errors.Is(err, store.ErrUnknownUser) {
		t.Fatal(err)
	}
	l = f.joined("anna", 1)
	wrong := errors.New("wrong")
	l.Grade.Join = func(json.RawMessage, *store.Grade) error { return wrong }
	if _, err := s.AcceptLaunch(t.Context(), l); !errors.Is(err, wrong) {
		t.Fatal(err)
	}
	want(t, grades(t, s, store.GradeFilter{}))
	accept(t, s, f.joined("anna", 1)) // the nonce was not spent
}

func testJoinMoves(t *testing.T, f *fixture) {
	s := f.open(t)
	a := accept(t, s, f.joined("anna", 1))
	again := f.joined("anna", 1)
	again.Activity = "another"
	accept(t, s, again)
	mustReport(t, s, f.report(a.Subject, "activity", "80"))
	want(t, grades(t, s, store.GradeFilter{}), "course1 anna", `"nothing"`)
	mustReport(t, s, f.report(a.Subject, "another", "90"))
	want(t, grades(t, s, store.GradeFilter{Activity: "another"}), "course1 anna", `"90"`)
}

func (f *fixture) lease(t *testing.T, s store.Store, n int, full ...string) []store.LeasedGrade {
	t.Helper()
	leased, err := s.LeaseGrades(t.Context(), f.now(), f.now().Add(time.Minute), n, full)
	if err != nil {
		t.Fatal(err)
	}
	return leased
}

func testLease(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	for i := range 3 {
		accept(t, s, f.joined("anna", i))
		f.advance(time.Second)
	}
	first := f.lease(t, s, 2)
	if len(first) != 2 || first[0].Key != cell("anna", 0) || first[1].Key != cell("anna", 1) {
		t.Fatalf("leased %v", first)
	}
	second := f.lease(t, other, 2)
	if len(second) != 1 || second[0].Key != cell("anna", 2) || second[0].Lease == first[0].Lease {
		t.Fatalf("leased %v", second)
	}
	f.advance(time.Minute)
	if again := f.lease(t, other, 10); len(again) != 3 {
		t.Errorf("%d leased after the leases ended", len(again))
	}
	if err := s.UpdateGrade(t.Context(), first[0].Key.ID(), first[0].Lease, true, func(*store.Grade) error { return nil }); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("error = %v", err)
	}
}

func testLeaseFull(t *testing.T, f *fixture) {
	s := f.open(t)
	for i := range 4 {
		accept(t, s, f.joined("anna", i))
	}
	never := f.joined("bert", 0)
	never.Grade.Join = func(_ json.RawMessage, g *store.Grade) error {
		g.Address, g.State = json.RawMessage(`{}`), json.RawMessage(`{}`)
		return nil
	}
	accept(t, s, never)
	later := f.joined("carl", 0)
	later.Grade.Join = func(_ json.RawMessage, g *store.Grade) error {
		g.Address, g.State, g.DueAt = json.RawMessage(`{}`), json.RawMessage(`{}`), f.now().Add(time.Second)
		return nil
	}
	accept(t, s, later)
	if got := f.lease(t, s, 10, "registration0"); len(got) != 2 || got[0].Key.Registration != "registration1" {
		t.Errorf("leased %v", got)
	}
	if got := f.lease(t, s, 10, "registration0", "registration1"); len(got) != 0 {
		t.Errorf("leased %v", got)
	}
	if got := f.lease(t, s, 10); len(got) != 2 {
		t.Errorf("leased %v", got)
	}
	if _, err := s.LeaseGrades(t.Context(), f.now(), f.now(), 1, make([]string, store.MaxFull+1)); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("error = %v", err)
	}
}

func testLeaseClock(t *testing.T, f *fixture) {
	s := f.open(t)
	accept(t, s, f.joined("anna", 1))
	f.lease(t, s, 1)
	f.advance(-2 * store.LongestPause)
	if got := f.lease(t, s, 1); len(got) != 1 {
		t.Errorf("leased %v", got)
	}
}

func testLeaseLost(t *testing.T, f *fixture) {
	s := f.open(t)
	accept(t, s, f.joined("anna", 1))
	l := f.lease(t, s, 1)[0]
	id := l.Key.ID()
	change := func(g *store.Grade) error { g.State = json.RawMessage(`"changed"`); return nil }
	for _, lease := range []string{"", "another"} {
		if err := s.UpdateGrade(t.Context(), id, lease, true, change); !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("error = %v", err)
		}
	}
	if err := s.UpdateGrade(t.Context(), id, l.Lease, false, change); err != nil {
		t.Fatal(err)
	}
	if got := f.lease(t, s, 1); len(got) != 0 {
		t.Errorf("a lease that was kept: %v", got)
	}
	if err := s.UpdateGrade(t.Context(), id, l.Lease, true, func(*store.Grade) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.UpdateGrade(t.Context(), id, l.Lease, true, change); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("error = %v", err)
	}
	if got := f.lease(t, s, 1); len(got) != 1 || string(got[0].State) != `"changed"` {
		t.Errorf("leased %v", got)
	}
	if err := s.UpdateGrade(t.Context(), "nothing", l.Lease, true, change); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("error = %v", err)
	}
}

func testChangeLeased(t *testing.T, f *fixture) {
	s := f.open(t)
	a := accept(t, s, f.joined("anna", 1))
	l := f.lease(t, s, 1)[0]
	mustReport(t, s, f.report(a.Subject, "activity", "80"))
	if err := s.ChangeGrade(t.Context(), l.Key.ID(), func(g *store.Grade) error {
		g.State = json.RawMessage(string(g.State[:len(g.State)-1]) + `!"`)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	err := s.UpdateGrade(t.Context(), l.Key.ID(), l.Lease, true, func(g *store.Grade) error {
		if string(g.State) != `"80!"` {
			t.Errorf("state = %s", g.State)
		}
		g.DueAt = time.Time{}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.lease(t, s, 1); len(got) != 0 {
		t.Errorf("leased %v", got)
	}
	if err := s.ChangeGrade(t.Context(), "nothing", nil); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("error = %v", err)
	}
}

func testListGrades(t *testing.T, f *fixture) {
	s := f.open(t)
	a := accept(t, s, f.joined("anna", 1))
	f.advance(time.Second)
	accept(t, s, f.joined("bert", 2))
	for name, c := range map[string]struct {
		f    store.GradeFilter
		want []string
	}{
		"subject":      {store.GradeFilter{Subject: a.Subject}, []string{"course1 anna", `"nothing"`}},
		"registration": {store.GradeFilter{Registration: "registration0"}, []string{"course2 bert", `"nothing"`}},
		"activity":     {store.GradeFilter{Activity: "none"}, nil},
		"ID":           {store.GradeFilter{ID: cell("anna", 1).ID()}, []string{"course1 anna", `"nothing"`}},
		"the newest":   {store.GradeFilter{Limit: 1}, []string{"course2 bert", `"nothing"`}},
		"hostile":      {store.GradeFilter{Subject: "\x00"}, nil},
	} {
		t.Run(name, func(t *testing.T) { want(t, grades(t, s, c.f), c.want...) })
	}
}

func testLineItem(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	link := cell("anna", 1).Link
	lease := func(s store.Store) (string, string) {
		t.Helper()
		url, lease, err := s.LeaseLineItem(t.Context(), link, f.now(), f.now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return url, lease
	}
	var mu sync.Mutex
	var leases []string
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			_, l, err := []store.Store{s, other}[i%2].LeaseLineItem(t.Context(), link, f.now(), f.now().Add(time.Minute))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			} else if l != "" {
				leases = append(leases, l)
			}
		})
	}
	wg.Wait()
	if len(leases) != 1 {
		t.Fatalf("%d leases", len(leases))
	}
	f.advance(time.Minute)
	_, second := lease(s)
	if second == "" {
		t.Fatal("a lease has not ended")
	}
	if err := s.SetLineItem(t.Context(), link, leases[0], "https://late.example"); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("error = %v", err)
	}
	if err := s.SetLineItem(t.Context(), link, second, "https://lms.example/1"); err != nil {
		t.Fatal(err)
	}
	if url, l := lease(other); url != "https://lms.example/1" || l != "" {
		t.Errorf("url %q, lease %q", url, l)
	}
	for _, step := range []struct{ forget, left string }{{"https://lms.example/2", "https://lms.example/1"}, {"https://lms.example/1", ""}} {
		if err := s.ForgetLineItem(t.Context(), link, step.forget); err != nil {
			t.Fatal(err)
		}
		if url, l := lease(s); url != step.left || (l == "") != (url != "") {
			t.Errorf("url %q, lease %q", url, l)
		}
	}
	if err := s.SetLineItem(t.Context(), link, "", "https://lms.example/3"); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("error = %v", err)
	}
}

func testConcurrentLease(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	const n = 40
	for i := range n {
		accept(t, s, f.joined("anna", i))
	}
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 2 * n {
				leased, err := []store.Store{s, other}[i%2].LeaseGrades(t.Context(), f.now(), f.now().Add(time.Hour), 3, nil)
				mu.Lock()
				if err != nil {
					t.Error(err)
				}
				for _, l := range leased {
					seen[l.Key.ID()]++
				}
				done := len(seen) == n
				mu.Unlock()
				if done {
					return
				}
			}
		})
	}
	wg.Wait()
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s was leased %d times", id, times)
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d leased", len(seen), n)
	}
}

func testConcurrentReportsAndLaunches(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	a := accept(t, s, f.joined("anna", 0))
	const n = 20
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := s.AcceptLaunch(t.Context(), f.joined("anna", i)); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := other.ReportProgress(t.Context(), f.report(a.Subject, "activity", fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	progress, err := s.Progress(t.Context(), a.Subject, "activity")
	if err != nil {
		t.Fatal(err)
	}
	got := grades(t, s, store.GradeFilter{})
	for cell, state := range got {
		if state != string(progress) {
			t.Errorf("%s has %s, known is %s", cell, state, progress)
		}
	}
	if len(got) != n {
		t.Errorf("%d grades", len(got))
	}
}

func testConcurrentReports(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	a := accept(t, s, f.joined("anna", 0))
	const n = 30
	var wg sync.WaitGroup
	for i := range n {
		r := f.report(a.Subject, "activity", "")
		r.Progress = func(before json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`"` + strings.Trim(string(before), `"`) + `x"`), nil
		}
		wg.Go(func() {
			if _, err := []store.Store{s, other}[i%2].ReportProgress(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want(t, grades(t, s, store.GradeFilter{}), "course0 anna", `"`+strings.Repeat("x", n)+`"`)
}

func testGradeInvalid(t *testing.T, f *fixture) {
	s := f.open(t)
	for name, edit := range map[string]func(*store.GradeKey){
		"no registration": func(k *store.GradeKey) { k.Registration = "" },
		"no link":         func(k *store.GradeKey) { k.ResourceLinkID = "" },
		"no user":         func(k *store.GradeKey) { k.LTIUserID = "" },
		"NUL":             func(k *store.GradeKey) { k.ContextID = "a\x00" },
		"too long":        func(k *store.GradeKey) { k.DeploymentID = strings.Repeat("x", store.MaxIdentifier+1) },
	} {
		l := f.joined("anna", 1)
		edit(&l.Grade.Key)
		if _, err := s.AcceptLaunch(t.Context(), l); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: error = %v", name, err)
		}
	}
	a, b := cell("u", 1), cell("u", 1)
	a.ContextID, a.ResourceLinkID, b.ContextID, b.ResourceLinkID = "x", "yz", "xy", "z"
	if a.ID() == b.ID() || a.Link.ID() == b.Link.ID() {
		t.Error("two cells have one ID")
	}
}

func testPurgeKeys(t *testing.T, f *fixture) {
	s := f.open(t)
	a := accept(t, s, f.joined("anna", 1))
	r := f.report(a.Subject, "activity", "1")
	r.Idempotency = &store.Idempotency{Client: "c", Key: "k", ExpiresAt: f.now().Add(time.Hour)}
	mustReport(t, s, r)
	r.Idempotency.Request = store.HashToken("another")
	for range 2 {
		if _, err := s.Purge(t.Context(), f.now(), never); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ReportProgress(t.Context(), r); !errors.Is(err, store.ErrKeyReused) {
			t.Fatalf("error = %v", err)
		}
		f.advance(59 * time.Minute)
	}
	f.advance(time.Hour)
	if _, err := s.Purge(t.Context(), f.now(), 0); err != nil {
		t.Fatal(err)
	}
	mustReport(t, s, r)
	want(t, grades(t, s, store.GradeFilter{}), "course1 anna", `"1"`)
}

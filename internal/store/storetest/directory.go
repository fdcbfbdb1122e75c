package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

// directoryID looks like no other identifier here.
const directoryID = "user/1%"

func inDirectory(id string) func(*store.NewLaunch) {
	return func(n *store.NewLaunch) { n.DirectoryID, n.MayCreateUser, n.CandidateSubject = id, false, "" }
}

func enrolIn(group string) func(*store.NewLaunch) {
	return func(n *store.NewLaunch) { n.EnrolIn = group }
}

func wantAccount(t *testing.T, s store.Store, realm, user string, want store.Account) {
	t.Helper()
	got, err := s.Account(t.Context(), store.Identity{Realm: realm, LTIUserID: user})
	if err != nil || got != want {
		t.Errorf("account %+v, %v; want %+v", got, err, want)
	}
}

func testDirectory(t *testing.T, f *fixture) {
	s := f.open(t)
	_, err := s.Account(t.Context(), store.Identity{Realm: "moodle", LTIUserID: "4"})
	wantErr(t, err, store.ErrNotFound)

	l := accept(t, s, in("moodle", "4", "sam@example.edu", inDirectory(directoryID), issuer(oldIssuer)))
	if l.Subject != directoryID || l.Profile.Email != "sam@example.edu" {
		t.Errorf("launch %+v", l)
	}
	wantAccount(t, s, "moodle", "4", store.Account{Subject: directoryID, InDirectory: true, Active: true, Issuer: oldIssuer})
	// A second link, and a launch that says nothing.
	joined(t, s, in("canvas", "7", "other@example.edu", inDirectory(directoryID), issuer(oldIssuer)), l)
	joined(t, s, in("moodle", "4", "", inDirectory(directoryID), silent), l)
	// The directory knows whose an address is, and may know two people with one.
	other := accept(t, s, in("moodle", "5", "sam@example.edu", inDirectory("user/2%")))
	if other.Subject != "user/2%" {
		t.Errorf("subject = %q", other.Subject)
	}
	// Accounts that are kept here have nothing to do with those.
	created(t, s, in("sakai", "4", "sam@example.edu"))

	refused(t, s, in("moodle", "4", "", inDirectory(directoryID), issuer(newIssuer)), store.ErrIssuerChanged)
	setActive(t, s, l, false)
	refused(t, s, in("moodle", "4", "", inDirectory(directoryID)), store.ErrSuspended)
	refused(t, s, in("sakai", "9", "", inDirectory(directoryID)), store.ErrSuspended)
	wantAccount(t, s, "canvas", "7", store.Account{Subject: directoryID, InDirectory: true, Issuer: oldIssuer})
}

func testIntoDirectory(t *testing.T, f *fixture) {
	s := f.open(t)
	// Two accounts here that the directory knows to be one person; both have grades and progress.
	first, second := f.joined("anna", 1), f.joined("bert", 2)
	a, b := accept(t, s, first), accept(t, s, second)
	another := f.joined("bert", 3)
	another.Activity = "another"
	accept(t, s, another)
	mustReport(t, s, f.report(a.Subject, first.Activity, "older"))
	f.advance(time.Second)
	mustReport(t, s, f.report(b.Subject, first.Activity, "newer"))
	mustReport(t, s, f.report(b.Subject, "another", "other"))

	again := func(n store.NewLaunch) store.NewLaunch {
		x := launch(n.LTIUserID, inDirectory(directoryID), silent)
		x.Realm = n.Realm
		return x
	}
	for _, n := range []store.NewLaunch{second, first} {
		if l := accept(t, s, again(n)); l.Subject != directoryID {
			t.Fatalf("subject = %q", l.Subject)
		}
	}
	for activity, want := range map[string]string{first.Activity: `"newer"`, "another": `"other"`} {
		got, err := s.Progress(t.Context(), directoryID, activity)
		if err != nil || string(got) != want {
			t.Errorf("progress in %s = %s, %v; want %s", activity, got, err, want)
		}
	}
	if got := grades(t, s, store.GradeFilter{Subject: directoryID}); len(got) != 3 {
		t.Errorf("grades %v", got)
	}
	for _, old := range []string{a.Subject, b.Subject} {
		_, err := s.Progress(t.Context(), old, first.Activity)
		wantErr(t, err, store.ErrNotFound)
		wantErr(t, s.SetAccountActive(t.Context(), old, false), store.ErrNotFound)
	}
	// Launches of before are those of the same person.
	if l, err := s.Launch(t.Context(), a.ID); err != nil || l.Subject != directoryID {
		t.Errorf("%q, %v", l.Subject, err)
	}
	mustReport(t, s, f.report(directoryID, first.Activity, "newest"))
}

func testDirectoryConflict(t *testing.T, f *fixture) {
	s := f.open(t)
	accept(t, s, in("moodle", "4", "sam@example.edu", inDirectory(directoryID)))
	refused(t, s, in("moodle", "4", "sam@example.edu", inDirectory("user/2%")), store.ErrConflict)
	refused(t, s, in("canvas", "4", "", inDirectory("user/2%"), former("moodle", "4")), store.ErrConflict)
	refused(t, s, in("moodle", "5", "", inDirectory("user\x00")), store.ErrInvalid)
	// A suspended account here is not made active by the directory.
	l := accept(t, s, in("moodle", "6", "six@example.edu"))
	setActive(t, s, l, false)
	refused(t, s, in("moodle", "6", "", inDirectory("user/6%")), store.ErrSuspended)
}

func testConcurrentDirectory(t *testing.T, f *fixture) {
	handles := []store.Store{f.open(t), f.open(t), f.open(t), f.open(t)}
	// They must meet while nobody has made the account, which is a short time: again and again.
	for round := range 10 {
		id := fmt.Sprintf("user/%d%%", round)
		const people = 24
		if won := raceOf(t, handles, people, nil, func(s store.Store, i int) error {
			_, err := s.AcceptLaunch(t.Context(), in(fmt.Sprintf("realm-%d-%d", round, i), "4", "sam@example.edu", inDirectory(id)))
			return err
		}); won != people {
			t.Errorf("%d of %d launches were accepted", won, people)
		}
		for i := range people {
			wantAccount(t, handles[0], fmt.Sprintf("realm-%d-%d", round, i), "4", store.Account{Subject: id, InDirectory: true, Active: true, Issuer: oldIssuer})
		}
	}
}

// leased returns who is leased to be enrolled where, and after how many attempts.
func leased(t *testing.T, f *fixture, s store.Store) map[string]store.Enrolment {
	t.Helper()
	found, err := s.LeaseEnrolments(t.Context(), f.now(), f.now().Add(time.Minute), 10)
	wantErr(t, err, nil)
	out := map[string]store.Enrolment{}
	for _, e := range found {
		out[e.Subject+" in "+e.Group] = e
	}
	return out
}

func testEnrolment(t *testing.T, f *fixture) {
	s := f.open(t)
	enrolled := func() store.NewLaunch {
		return in("moodle", "4", "sam@example.edu", inDirectory(directoryID), enrolIn("Safety"))
	}
	const key = directoryID + " in Safety"
	accept(t, s, enrolled())
	accept(t, s, enrolled())
	accept(t, s, in("moodle", "5", "five@example.edu", inDirectory("user/5%")))
	got := leased(t, f, s)
	if len(got) != 1 || got[key].Attempts != 0 {
		t.Fatalf("leased %+v", got)
	}
	if more := leased(t, f, s); len(more) != 0 {
		t.Errorf("leased twice: %+v", more)
	}
	// In vain: again later, once more attempted.
	wantErr(t, s.SettleEnrolment(t.Context(), got[key], f.now().Add(time.Minute)), nil)
	wantErr(t, s.SettleEnrolment(t.Context(), got[key], time.Time{}), store.ErrLeaseLost)
	if more := leased(t, f, s); len(more) != 0 {
		t.Errorf("leased too early: %+v", more)
	}
	f.advance(time.Minute)
	got = leased(t, f, s)
	if got[key].Attempts != 1 {
		t.Fatalf("leased %+v", got)
	}
	// Somebody who died with it: another one after the lease.
	f.advance(time.Minute)
	late := got[key]
	got = leased(t, f, s)
	wantErr(t, s.SettleEnrolment(t.Context(), late, time.Time{}), store.ErrLeaseLost)
	wantErr(t, s.SettleEnrolment(t.Context(), got[key], time.Time{}), nil)
	f.advance(time.Hour)
	if more := leased(t, f, s); len(more) != 0 {
		t.Errorf("done, and leased: %+v", more)
	}
	// The next launch wants it anew, from the first attempt on.
	accept(t, s, enrolled())
	if got = leased(t, f, s); len(got) != 1 || got[key].Attempts != 0 {
		t.Errorf("leased %+v", got)
	}
	// Who launches while an attempt is on its way wants another one: that one may have looked before the person left the
	// group. What became of it decides nothing.
	for _, again := range []time.Time{{}, f.now().Add(time.Hour)} {
		f.advance(time.Millisecond)
		accept(t, s, enrolled())
		wantErr(t, s.SettleEnrolment(t.Context(), got[key], again), nil)
		if got = leased(t, f, s); len(got) != 1 || got[key].Attempts != 0 {
			t.Fatalf("leased %+v after a launch during an attempt", got)
		}
	}
	// A clock that is set back keeps nobody out.
	wantErr(t, s.SettleEnrolment(t.Context(), got[key], f.now().Add(time.Minute)), nil)
	f.advance(-10 * time.Hour)
	if got = leased(t, f, s); len(got) != 1 {
		t.Errorf("leased %+v after the clock was set back", got)
	}
}

func testConcurrentEnrolment(t *testing.T, f *fixture) {
	s := f.open(t)
	const people = 30
	for i := range people {
		id := fmt.Sprintf("user/%d%%", i)
		accept(t, s, in("moodle", fmt.Sprint(i), id+"@example.edu", inDirectory(id), enrolIn("Safety")))
	}
	taken := make(chan store.Enrolment, 10*people)
	race(t, f, nil, func(s store.Store, _ int) error {
		found, err := s.LeaseEnrolments(t.Context(), f.now(), f.now().Add(time.Minute), 4)
		for _, e := range found {
			taken <- e
		}
		return err
	})
	close(taken)
	seen := map[string]bool{}
	for e := range taken {
		if seen[e.Subject] {
			t.Errorf("%s is leased twice", e.Subject)
		}
		seen[e.Subject] = true
	}
	if len(seen) == 0 {
		t.Error("nobody is leased")
	}
}

func testPending(t *testing.T, f *fixture) {
	s := f.open(t)
	token := store.HashToken("pending")
	_, err := s.Pending(t.Context(), token)
	wantErr(t, err, store.ErrTicketUnknown)
	launch := []byte("sealed \x00 \xff")
	wantErr(t, s.PutPending(t.Context(), token, launch, f.now().Add(time.Minute)), nil)
	wantErr(t, s.PutPending(t.Context(), token, []byte("other"), f.now().Add(time.Hour)), store.ErrConflict)
	f.advance(time.Minute - time.Microsecond)
	for range 2 {
		got, err := s.Pending(t.Context(), token)
		wantErr(t, err, nil)
		if string(got) != string(launch) {
			t.Errorf("launch = %q, want %q", got, launch)
		}
	}
	f.advance(time.Microsecond)
	_, err = s.Pending(t.Context(), token)
	wantErr(t, err, store.ErrTicketExpired)
	if _, err := s.Purge(t.Context(), f.now(), never); err != nil {
		t.Fatal(err)
	}
	_, err = s.Pending(t.Context(), token)
	wantErr(t, err, store.ErrTicketExpired)
	if _, err := s.Purge(t.Context(), f.now().Add(store.TicketGrace), never); err != nil {
		t.Fatal(err)
	}
	_, err = s.Pending(t.Context(), token)
	wantErr(t, err, store.ErrTicketUnknown)
}

package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/store"
)

var registrationTests = map[string]func(*testing.T, *fixture){
	"a registration link is used once":                           testRegistrationLink,
	"a released registration link can be claimed again":          testRegistrationRelease,
	"a registration link expires at its time":                    testRegistrationExpiry,
	"a claim of a registration link lapses":                      testRegistrationLease,
	"a clock that was set back holds no registration link":       testRegistrationClock,
	"a registration that cannot be kept uses up no link":         testRegistrationInvalid,
	"of each object the newest registrations are kept":           testRegistrationsBounded,
	"a registration with the same values is the same one":        testRegistrationAgain,
	"of many claims of a registration link at once one succeeds": testConcurrentRegistrations,
	"many registrations of one object at once stay within bound": testConcurrentRegistrationsBounded,
	"a used registration link outlives a purge":                  testRegistrationPurge,
}

// linkOf is a registration link that expires in an hour.
func linkOf(f *fixture, token string) store.RegistrationLink {
	return store.RegistrationLink{Hash: store.HashToken(token), ExpiresAt: f.now().Add(time.Hour)}
}

func claim(t *testing.T, s store.Store, link store.RegistrationLink) string {
	t.Helper()
	lease, err := s.ClaimRegistrationLink(t.Context(), link)
	if err != nil || lease == "" {
		t.Fatalf("lease %q: %v", lease, err)
	}
	return lease
}

func claimFails(t *testing.T, s store.Store, link store.RegistrationLink, want error) {
	t.Helper()
	lease, err := s.ClaimRegistrationLink(t.Context(), link)
	wantErr(t, err, want)
	if lease != "" {
		t.Errorf("lease %q although the claim failed", lease)
	}
}

func registrationOf(name, id string) store.Registration {
	return store.Registration{Kind: "platform", Name: name, ID: id, Document: json.RawMessage(fmt.Sprintf(`{"id":%q,"x":"ü <&>"}`, id))}
}

// register goes through a whole registration, by a link of its own.
func register(t *testing.T, f *fixture, s store.Store, r store.Registration) store.Registration {
	t.Helper()
	link := linkOf(f, fmt.Sprint(r.Name, r.ID, f.now().UnixMicro()))
	wantErr(t, s.CompleteRegistration(t.Context(), link.Hash, claim(t, s, link), r), nil)
	r.RegisteredAt = f.now()
	return r
}

func wantRegistrations(t *testing.T, s store.Store, want ...store.Registration) {
	t.Helper()
	got, err := s.Registrations(t.Context())
	wantErr(t, err, nil)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("registrations (-want +got):\n%s", diff)
	}
}

func testRegistrationLink(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	wantRegistrations(t, s)
	link, r := linkOf(f, "token"), registrationOf("moodle", "1")
	lease := claim(t, s, link)
	claimFails(t, other, link, store.ErrBusy)
	// Another link has nothing to do with it, nor has its lease.
	further := linkOf(f, "another")
	wantErr(t, s.CompleteRegistration(t.Context(), link.Hash, claim(t, other, further), r), store.ErrLeaseLost)
	wantErr(t, s.CompleteRegistration(t.Context(), link.Hash, "", r), store.ErrLeaseLost)
	wantErr(t, s.CompleteRegistration(t.Context(), store.HashToken("nobody's"), lease, r), store.ErrLeaseLost)
	wantRegistrations(t, s)

	f.advance(time.Minute)
	wantErr(t, other.CompleteRegistration(t.Context(), link.Hash, lease, r), nil)
	r.RegisteredAt = f.now()
	wantRegistrations(t, s, r)
	// Used is used, for the one who did too, and however old the link is by then.
	wantErr(t, s.CompleteRegistration(t.Context(), link.Hash, lease, registrationOf("moodle", "2")), store.ErrLeaseLost)
	wantErr(t, s.ReleaseRegistrationLink(t.Context(), link.Hash, lease), nil)
	for range 2 {
		claimFails(t, s, link, store.ErrTicketUsed)
		f.advance(100 * time.Hour)
	}
	wantRegistrations(t, other, r)
}

func testRegistrationRelease(t *testing.T, f *fixture) {
	s := f.open(t)
	link := linkOf(f, "token")
	first := claim(t, s, link)
	wantErr(t, s.ReleaseRegistrationLink(t.Context(), link.Hash, "another"), nil)
	claimFails(t, s, link, store.ErrBusy)
	wantErr(t, s.ReleaseRegistrationLink(t.Context(), link.Hash, first), nil)
	second := claim(t, s, link)
	if first == second {
		t.Error("two claims have the same lease")
	}
	wantErr(t, s.CompleteRegistration(t.Context(), link.Hash, first, registrationOf("moodle", "1")), store.ErrLeaseLost)
	wantErr(t, s.ReleaseRegistrationLink(t.Context(), link.Hash, first), nil)
	claimFails(t, s, link, store.ErrBusy)
	wantErr(t, s.CompleteRegistration(t.Context(), link.Hash, second, registrationOf("moodle", "1")), nil)
}

func testRegistrationExpiry(t *testing.T, f *fixture) {
	s := f.open(t)
	link := linkOf(f, "token")
	f.advance(time.Hour - time.Microsecond)
	lease := claim(t, s, link)
	// Whoever has begun may finish.
	f.advance(time.Microsecond)
	claimFails(t, s, link, store.ErrTicketExpired)
	wantErr(t, s.CompleteRegistration(t.Context(), link.Hash, lease, registrationOf("moodle", "1")), nil)
	claimFails(t, s, link, store.ErrTicketUsed)
	late := linkOf(f, "late")
	f.advance(time.Hour)
	claimFails(t, s, late, store.ErrTicketExpired)
	for _, invalid := range []store.RegistrationLink{{Hash: late.Hash}, {ExpiresAt: late.ExpiresAt}} {
		claimFails(t, s, invalid, store.ErrInvalid)
	}
}

func testRegistrationLease(t *testing.T, f *fixture) {
	s := f.open(t)
	link := linkOf(f, "token")
	first := claim(t, s, link)
	f.advance(store.RegistrationLease - time.Microsecond)
	claimFails(t, s, link, store.ErrBusy)
	f.advance(time.Microsecond)
	second := claim(t, s, link)
	wantErr(t, s.CompleteRegistration(t.Context(), link.Hash, first, registrationOf("moodle", "1")), store.ErrLeaseLost)
	// A lease that lapsed is good while nobody has another one.
	f.advance(store.RegistrationLease)
	wantErr(t, s.CompleteRegistration(t.Context(), link.Hash, second, registrationOf("moodle", "1")), nil)
}

func testRegistrationClock(t *testing.T, f *fixture) {
	s := f.open(t)
	link := store.RegistrationLink{Hash: store.HashToken("token"), ExpiresAt: f.now().Add(time.Hour)}
	claim(t, s, link)
	f.advance(-time.Hour)
	claim(t, s, link)
	claimFails(t, s, link, store.ErrBusy)
}

func testRegistrationInvalid(t *testing.T, f *fixture) {
	s := f.open(t)
	link := linkOf(f, "token")
	lease := claim(t, s, link)
	tooLong := strings.Repeat("x", store.MaxIdentifier+1)
	for name, spoil := range map[string]func(*store.Registration){
		"no kind":         func(r *store.Registration) { r.Kind = "" },
		"no name":         func(r *store.Registration) { r.Name = "" },
		"no ID":           func(r *store.Registration) { r.ID = "" },
		"long name":       func(r *store.Registration) { r.Name = tooLong },
		"NUL in the name": func(r *store.Registration) { r.Name = "a\x00" },
		"no document":     func(r *store.Registration) { r.Document = nil },
		"not JSON":        func(r *store.Registration) { r.Document = json.RawMessage(`{"a":`) },
	} {
		r := registrationOf("moodle", "1")
		spoil(&r)
		if err := s.CompleteRegistration(t.Context(), link.Hash, lease, r); err == nil {
			t.Errorf("%s: kept", name)
		} else {
			wantErr(t, err, store.ErrInvalid)
		}
	}
	wantRegistrations(t, s)
	wantErr(t, s.CompleteRegistration(t.Context(), link.Hash, lease, registrationOf("'; DROP TABLE registrations; --", "1")), nil)
}

func testRegistrationsBounded(t *testing.T, f *fixture) {
	s := f.open(t)
	want := []store.Registration{register(t, f, s, registrationOf("canvas", "0"))}
	tool := registrationOf("moodle", "0")
	tool.Kind = "tool"
	f.advance(time.Second)
	want = append(want, register(t, f, s, tool))
	for i := range store.MaxRegistrations + 3 {
		f.advance(time.Second)
		r := register(t, f, s, registrationOf("moodle", fmt.Sprint(i)))
		if i >= 3 {
			want = append(want, r)
		}
	}
	wantRegistrations(t, s, want...)
	// A clock that is behind does not lose the one that was just made.
	f.advance(-time.Hour)
	late := register(t, f, s, registrationOf("moodle", "late"))
	wantRegistrations(t, s, append([]store.Registration{late, want[0], want[1]}, want[3:]...)...)
}

func testRegistrationAgain(t *testing.T, f *fixture) {
	s := f.open(t)
	register(t, f, s, registrationOf("moodle", "1"))
	f.advance(time.Second)
	second := register(t, f, s, registrationOf("moodle", "2"))
	f.advance(time.Second)
	again := registrationOf("moodle", "1")
	again.Document = json.RawMessage(`{"new":true}`)
	again = register(t, f, s, again)
	wantRegistrations(t, s, second, again)
}

func testConcurrentRegistrations(t *testing.T, f *fixture) {
	handles := manyHandles(t, f)
	for round := range 10 {
		link := linkOf(f, fmt.Sprint("token", round))
		won := raceOf(t, handles, 20, nil, func(s store.Store, i int) error {
			lease, err := s.ClaimRegistrationLink(t.Context(), link)
			if err != nil {
				if errors.Is(err, store.ErrBusy) || errors.Is(err, store.ErrTicketUsed) {
					return nil // whoever comes late finds it used
				}
				return err
			}
			return s.CompleteRegistration(t.Context(), link.Hash, lease, registrationOf(fmt.Sprint("object", round), fmt.Sprint(i)))
		})
		if won != 20 {
			t.Errorf("%d of 20 callers were answered", won)
		}
		all, err := handles[0].Registrations(t.Context())
		wantErr(t, err, nil)
		if len(all) != round+1 {
			t.Fatalf("%d registrations after %d links", len(all), round+1)
		}
	}
}

func testConcurrentRegistrationsBounded(t *testing.T, f *fixture) {
	won := race(t, f, nil, func(s store.Store, i int) error {
		link := linkOf(f, fmt.Sprint("token", i))
		lease, err := s.ClaimRegistrationLink(t.Context(), link)
		if err != nil {
			return err
		}
		return s.CompleteRegistration(t.Context(), link.Hash, lease, registrationOf("moodle", fmt.Sprint(i)))
	})
	all, err := f.open(t).Registrations(t.Context())
	wantErr(t, err, nil)
	if won != 24 || len(all) != store.MaxRegistrations {
		t.Errorf("%d of 24 callers got through and left %d registrations", won, len(all))
	}
}

func testRegistrationPurge(t *testing.T, f *fixture) {
	s := f.open(t)
	r := registrationOf("moodle", "1")
	link := linkOf(f, "token")
	wantErr(t, s.CompleteRegistration(t.Context(), link.Hash, claim(t, s, link), r), nil)
	r.RegisteredAt = f.now()
	f.advance(10000 * time.Hour)
	purge(t, s, f.now(), 0, store.Purged{})
	// Not even a link whose expiry has changed since is good a second time.
	claimFails(t, s, store.RegistrationLink{Hash: link.Hash, ExpiresAt: f.now().Add(time.Hour)}, store.ErrTicketUsed)
	wantRegistrations(t, s, r)
}

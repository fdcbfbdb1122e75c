package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/lti-operator/lti-operator/internal/store"
)

// manyHandles opens as many handles as there may be replicas in a busy academy.
func manyHandles(t *testing.T, f *fixture) []store.Store {
	t.Helper()
	handles := make([]store.Store, 5)
	for i := range handles {
		handles[i] = f.open(t)
	}
	return handles
}

func testManyFirst(t *testing.T, f *fixture) {
	const callers = 200
	var subjects sync.Map
	handles := manyHandles(t, f)
	won := raceOf(t, handles, callers, nil, func(s store.Store, _ int) error {
		l, err := s.AcceptLaunch(t.Context(), launch("u1"))
		subjects.Store(l.Subject, true)
		return err
	})
	if n := size(&subjects); won != callers || n != 1 {
		t.Errorf("%d launches accepted with %d subjects, want %d with 1", won, n, callers)
	}
	// The candidates of the others became nobody: the address has one account.
	refused(t, handles[0], in("canvas", "u1", "u1@example.edu"), store.ErrEmailInUse)
}

// testManyAddresses lets two people of different realms come with one address at
// once, again and again, each of them several times.
func testManyAddresses(t *testing.T, f *fixture) {
	handles := manyHandles(t, f)
	for round := range 20 {
		vouch := round%2 == 0
		lost := store.ErrEmailInUse
		if vouch {
			lost = nil
		}
		var (
			mu       sync.Mutex
			subjects = map[string]map[string]bool{}
		)
		raceOf(t, handles, 10, lost, func(s store.Store, i int) error {
			realm := fmt.Sprint("realm-", i%2)
			n := in(realm, fmt.Sprint("u", round), fmt.Sprintf("u%d@example.edu", round))
			n.EmailVouched = vouch
			l, err := s.AcceptLaunch(t.Context(), n)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				if subjects[l.Subject] == nil {
					subjects[l.Subject] = map[string]bool{}
				}
				subjects[l.Subject][realm] = true
			}
			return err
		})
		want := 1
		if vouch {
			want = 2
		}
		for _, realms := range subjects {
			if len(subjects) != 1 || len(realms) != want {
				t.Errorf("vouched %v: people by account = %v, want one account of %d", vouch, subjects, want)
			}
		}
		if len(subjects) == 0 {
			t.Errorf("vouched %v: nobody got the address", vouch)
		}
	}
}

// testConcurrentFormer lets a person arrive under a new identity and under the old
// one at once, with one address. Whichever comes first, they are the same.
func testConcurrentFormer(t *testing.T, f *fixture) {
	handles := manyHandles(t, f)
	for round := range 20 {
		var subjects sync.Map
		user, email := fmt.Sprint("u", round), fmt.Sprintf("u%d@example.edu", round)
		raceOf(t, handles, 10, nil, func(s store.Store, i int) error {
			n := in("moodle", user, email, vouched, former("key", user))
			if i%2 == 0 {
				n = in("key", user, email, vouched)
			}
			l, err := s.AcceptLaunch(t.Context(), n)
			subjects.Store(l.Subject, true)
			return err
		})
		if n := size(&subjects); n != 1 {
			t.Errorf("%d accounts, want 1", n)
		}
		// The same without a voucher, once the old identity is known.
		user, email = "n"+user, "n"+email
		old := in("key", user, email)
		account := accept(t, handles[0], old)
		raceOf(t, handles, 5, nil, func(s store.Store, _ int) error {
			l, err := s.AcceptLaunch(t.Context(), in("moodle", user, email, former("key", user)))
			if err == nil && l.Subject != account.Subject {
				return errors.New("another account")
			}
			return err
		})
	}
}

// testConcurrentEachOther lets two identities, each of which was the other one
// before, arrive for the first time at once.
func testConcurrentEachOther(t *testing.T, f *fixture) {
	handles := manyHandles(t, f)
	for round := range 20 {
		var subjects sync.Map
		user := fmt.Sprint("u", round)
		raceOf(t, handles, 4, nil, func(s store.Store, i int) error {
			own, other := "moodle", "canvas"
			if i%2 == 0 {
				own, other = other, own
			}
			l, err := s.AcceptLaunch(t.Context(), in(own, user, own+user+"@example.edu", former(other, user)))
			subjects.Store(l.Subject, true)
			return err
		})
		if n := size(&subjects); n != 1 {
			t.Errorf("%d accounts, want 1", n)
		}
	}
}

// testConcurrentProfile lets launches say different things about one person at
// once. All of it must be stored, in whichever order they came.
func testConcurrentProfile(t *testing.T, f *fixture) {
	handles := manyHandles(t, f)
	for round := range 10 {
		user, email := fmt.Sprint("u", round), fmt.Sprintf("u%d@example.edu", round)
		accept(t, handles[0], in("moodle", user, email))
		raceOf(t, handles, 15, nil, func(s store.Store, i int) error {
			n := in("moodle", user, "", mustKnow, silent)
			switch i % 3 {
			case 0:
				n.Profile.GivenName = "Anna"
			case 1:
				n.Profile.FamilyName = "Smit"
			case 2:
				n.Profile.Email, n.EmailVouched = email, true
			}
			_, err := s.AcceptLaunch(t.Context(), n)
			return err
		})
		got := accept(t, handles[1], in("moodle", user, "", mustKnow, silent))
		if want := (store.Profile{GivenName: "Anna", FamilyName: "Smit", Email: email}); got.Profile != want || !got.EmailVouched {
			t.Errorf("profile = %+v, vouched %v; want %+v, vouched", got.Profile, got.EmailVouched, want)
		}
	}
}

// testConcurrentIssuer lets a link without an issuer get its first one from many
// sides at once.
func testConcurrentIssuer(t *testing.T, f *fixture) {
	handles := manyHandles(t, f)
	for round := range 10 {
		user := fmt.Sprint("u", round)
		account := accept(t, handles[0], in("moodle", user, user+"@example.edu", issuer("")))
		var winners sync.Map
		won := raceOf(t, handles, 10, store.ErrIssuerChanged, func(s store.Store, i int) error {
			from := fmt.Sprintf("https://%d.example.edu", i)
			_, err := s.AcceptLaunch(t.Context(), in("moodle", user, "", mustKnow, silent, issuer(from)))
			if err == nil {
				winners.Store(from, true)
			}
			return err
		})
		if won != 1 {
			t.Errorf("%d first issuers were accepted, want 1", won)
		}
		winners.Range(func(from, _ any) bool {
			joined(t, handles[1], in("moodle", user, "", mustKnow, silent, issuer(from.(string))), account)
			return true
		})
	}
}

// testConcurrentPreviousIssuer lets systems that all follow the same one, but not
// each other, take over a person at once.
func testConcurrentPreviousIssuer(t *testing.T, f *fixture) {
	handles := manyHandles(t, f)
	for round := range 10 {
		user := fmt.Sprint("u", round)
		accept(t, handles[0], in("moodle", user, user+"@example.edu"))
		won := raceOf(t, handles, 10, store.ErrIssuerChanged, func(s store.Store, i int) error {
			_, err := s.AcceptLaunch(t.Context(), in("moodle", user, "", mustKnow, silent,
				issuer(fmt.Sprintf("https://%d.example.edu", i), oldIssuer)))
			return err
		})
		if won != 1 {
			t.Errorf("%d systems took over, want 1", won)
		}
	}
}

// Package storetest is the conformance suite that every implementation of
// store.Store must pass.
package storetest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/store"
)

// Opener opens one more handle on the same database, as another process would.
// The suite closes what it opens.
type Opener func(t *testing.T, now func() time.Time) store.Store

// Run runs the suite. newDatabase returns the Opener of a fresh, empty database.
func Run(t *testing.T, newDatabase func(t *testing.T) Opener) {
	all := maps.Clone(gradeTests)
	maps.Copy(all, resultTests)
	maps.Copy(all, registrationTests)
	maps.Copy(all, map[string]func(*testing.T, *fixture){
		"an accepted launch comes back whole":                       testAcceptLaunch,
		"a nonce is spent once in its scope":                        testReplay,
		"the launch of a nonce can be found":                        testLaunchByNonce,
		"a known person keeps subject and email and renews names":   testKnownPerson,
		"an account is looked for in the order of the contract":     testAccountOrder,
		"a person gets a link of their own":                         testOwnLink,
		"a former identity needs no permission but must match":      testFormer,
		"an address is joined only when both sides are vouched":     testJoin,
		"nobody lies in wait with the address of another":           testPreHijacking,
		"an account becomes vouched for and stays so":               testVouching,
		"addresses are compared without case":                       testAddressCase,
		"another issuer takes over no person":                       testIssuer,
		"an empty issuer is neither compared nor stored":            testEmptyIssuer,
		"a link moves on from a previous issuer":                    testPreviousIssuer,
		"a launch can be found by its ID":                           testLaunchByID,
		"a suspended account accepts no launch":                     testSuspended,
		"a suspended account spends no ticket":                      testSuspendedTicket,
		"a suspended account still holds its address":               testSuspendedAddress,
		"the account to suspend must exist":                         testSuspendNobody,
		"an account of the directory goes by its ID":                testDirectory,
		"an account moves into the directory with all it has":       testIntoDirectory,
		"nobody moves from one account of the directory to another": testDirectoryConflict,
		"many people who are one in the directory make one account": testConcurrentDirectory,
		"a pending launch can be found until it expires":            testPending,
		"an enrolment is due until it is done":                      testEnrolment,
		"of many who lease enrolments each gets others":             testConcurrentEnrolment,
		"unknown deployments are listed the last one first":         testDeployments,
		"the last unknown deployments of each platform are kept":    testDeploymentsBounded,
		"deployments that an engine cannot store are refused":       testDeploymentsInvalid,
		"purge forgets unknown deployments in time":                 testDeploymentsPurge,
		"people of different realms never meet":                     testRealms,
		"an unknown person without permission changes nothing":      testUnknownUser,
		"a taken identifier is refused and changes nothing":         testConflict,
		"values that an engine cannot store are refused":            testInvalid,
		"hostile text is data":                                      testHostileText,
		"a ticket is exchanged once for a code":                     testExchange,
		"a code is redeemed once":                                   testRedeem,
		"a ticket of one kind is not good for another":              testTicketKind,
		"tickets expire at their time":                              testExpiry,
		"a failed exchange leaves the ticket unspent":               testExchangeAtomic,
		"purge deletes what is over and nothing else":               testPurge,
		"purge works through more than one batch":                   testPurgeMany,
		"a purged nonce may be spent again but not before":          testPurgeNonce,
		"a call with a cancelled context changes nothing":           testCancelled,
		"a call past its deadline reports an unavailable store":     testDeadline,
		"a closed store is unavailable":                             testClosed,
		"what was accepted survives closing and opening":            testReopen,
		"of many equal launches at once one is accepted":            testConcurrentReplay,
		"many first launches of one person at once make one link":   testConcurrentFirst,
		"many realms with one vouched address make one account":     testConcurrentJoin,
		"of many realms with one address not vouched one gets it":   testConcurrentAddress,
		"vouched and other launches never share an account":         testConcurrentVouched,
		"many deployments noted at once stay within the bound":      testConcurrentDeployments,
		"of many redemptions of a code at once one succeeds":        testConcurrentRedeem,
		"of many exchanges of a ticket at once one succeeds":        testConcurrentExchange,
		"launches are accepted from all sides while purge runs":     testConcurrentMixed,
		"many handles opened at once on a fresh database all work":  testConcurrentOpen,
		"two hundred first launches of one person make one link":    testManyFirst,
		"two people with one address race correctly":                testManyAddresses,
		"a person and their former self make one account at once":   testConcurrentFormer,
		"two people who were each other make one account at once":   testConcurrentEachOther,
		"launches at once lose nothing of what they say":            testConcurrentProfile,
		"of many issuers at once the first one counts":              testConcurrentIssuer,
		"of many previous issuers at once none is skipped":          testConcurrentPreviousIssuer,
	})
	for name, test := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fixture{clock: start, opener: newDatabase(t)}
			test(t, f)
		})
	}
}

// start has no fraction below a microsecond, so that it survives storage.
var start = time.Date(2026, 3, 1, 9, 30, 0, 123456000, time.UTC)

// never is a retention that keeps every launch of a test.
const never = 1000 * time.Hour

type fixture struct {
	opener Opener
	mu     sync.Mutex
	clock  time.Time
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clock
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock = f.clock.Add(d)
}

func (f *fixture) open(t *testing.T) store.Store {
	t.Helper()
	s := f.opener(t, f.now)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// launch returns a launch that is accepted; every call has new identifiers, and
// every user their own address, for which nobody vouches.
func launch(user string, edit ...func(*store.NewLaunch)) store.NewLaunch {
	n := store.NewLaunch{
		Nonce:            store.Nonce{Scope: "platform/moodle", Value: rand.Text(), ExpiresAt: start.Add(time.Hour)},
		CandidateSubject: rand.Text(),
		MayCreateUser:    true,
		Profile:          store.Profile{GivenName: "Zoë", FamilyName: "van der Berg", Email: user + "@example.edu"},
		Ticket:           store.NewTicket{Kind: store.TicketOpen, Hash: store.HashToken(rand.Text()), ExpiresAt: start.Add(time.Minute)},
		LaunchInfo: store.LaunchInfo{
			ID: rand.Text(), Activity: "working-at-height", Platform: "moodle", Version: "1.3.0",
			Realm: "moodle", LTIUserID: user,
			Roles:     []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner", "urn:x"},
			Role:      "Learner",
			ContextID: "c-1", ContextTitle: "Safety 101", ResourceLinkID: "rl-1", ResourceLinkTitle: "Ladders",
			DeploymentID: "7", Issuer: "https://moodle.example.edu", ClientID: "abc", ConsumerKey: "key-1",
			Claims: json.RawMessage(`{"endpoint":{"lineitem":"https://moodle.example.edu/1"},"n":0}`),
		},
	}
	for _, e := range edit {
		e(&n)
	}
	return n
}

func accept(t *testing.T, s store.Store, n store.NewLaunch) store.Launch {
	t.Helper()
	l, err := s.AcceptLaunch(t.Context(), n)
	if err != nil {
		t.Fatalf("AcceptLaunch: %v", err)
	}
	return l
}

func code() store.NewTicket {
	return store.NewTicket{Kind: store.TicketCode, Hash: store.HashToken(rand.Text()), ExpiresAt: start.Add(time.Minute)}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error = %v, want %v", err, want)
	}
	if !errors.Is(want, store.ErrUnavailable) && errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v is reported as a store failure: %v", want, err)
	}
}

func wantLaunch(t *testing.T, got, want store.Launch) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("launch (-want +got):\n%s", diff)
	}
}

func testAcceptLaunch(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	full := launch("u1")
	bare := launch("u2", func(n *store.NewLaunch) {
		n.Platform, n.Roles, n.Role, n.Claims = "", nil, "", nil
		n.ContextID, n.ContextTitle, n.ResourceLinkID, n.ResourceLinkTitle = "", "", "", ""
		n.DeploymentID, n.Issuer, n.ClientID = "", "", ""
		n.Version = "LTI-1p0"
		n.Profile.GivenName, n.Profile.FamilyName = "", ""
		n.EmailVouched = true
	})
	for _, n := range []store.NewLaunch{full, bare} {
		want := store.Launch{
			LaunchInfo: n.LaunchInfo, Subject: n.CandidateSubject,
			Profile: n.Profile, EmailVouched: n.EmailVouched, CreatedAt: start,
		}
		wantLaunch(t, accept(t, s, n), want)
		got, err := other.LaunchByNonce(t.Context(), n.Nonce.Scope, n.Nonce.Value)
		wantErr(t, err, nil)
		wantLaunch(t, got, want)
	}
	if err := other.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
}

func testReplay(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	first := launch("u1")
	accept(t, s, first)
	again := launch("u1", func(n *store.NewLaunch) { n.Nonce = first.Nonce })
	_, err := other.AcceptLaunch(t.Context(), again)
	wantErr(t, err, store.ErrReplayed)
	// Whatever else is wrong, the replay is what must be told.
	suspended := accept(t, s, launch("u8"))
	wantErr(t, s.SetAccountActive(t.Context(), suspended.Subject, false), nil)
	for name, bad := range map[string]store.NewLaunch{
		"an unknown person":   launch("u9", func(n *store.NewLaunch) { n.MayCreateUser = false }),
		"an address in use":   launch("u9", func(n *store.NewLaunch) { n.Profile.Email = first.Profile.Email }),
		"another issuer":      launch("u1", func(n *store.NewLaunch) { n.Issuer = "https://other.example.edu" }),
		"a suspended account": launch("u8"),
		"a taken launch ID":   launch("u1", func(n *store.NewLaunch) { n.ID = first.ID }),
		"a taken subject":     launch("u9", func(n *store.NewLaunch) { n.CandidateSubject = first.CandidateSubject }),
	} {
		bad.Nonce = first.Nonce
		if _, err = other.AcceptLaunch(t.Context(), bad); !errors.Is(err, store.ErrReplayed) {
			t.Errorf("%s: error = %v, want %v", name, err, store.ErrReplayed)
		}
	}
	// But a value that cannot be stored comes before the replay.
	_, err = other.AcceptLaunch(t.Context(), launch("u1", func(n *store.NewLaunch) { n.Nonce, n.ContextTitle = first.Nonce, "\x00" }))
	wantErr(t, err, store.ErrInvalid)
	_, err = s.RedeemCode(t.Context(), again.Ticket.Hash)
	wantErr(t, err, store.ErrTicketUnknown)

	accept(t, s, launch("u1", func(n *store.NewLaunch) {
		n.Nonce = first.Nonce
		n.Nonce.Scope = "platform/canvas"
	}))
	// Scope and value must not run into each other.
	accept(t, s, launch("u1", func(n *store.NewLaunch) { n.Nonce.Scope, n.Nonce.Value = "a", "bc" }))
	accept(t, s, launch("u1", func(n *store.NewLaunch) { n.Nonce.Scope, n.Nonce.Value = "ab", "c" }))
	// Nonces are compared exactly.
	accept(t, s, launch("u1", func(n *store.NewLaunch) { n.Nonce.Value = "Case" }))
	accept(t, s, launch("u1", func(n *store.NewLaunch) { n.Nonce.Value = "case" }))
	accept(t, s, launch("u1", func(n *store.NewLaunch) { n.Nonce.Value = "case " }))
	// As long as a peer likes.
	long := launch("u1", func(n *store.NewLaunch) { n.Nonce.Value = strings.Repeat("n", 100_000) })
	accept(t, s, long)
	_, err = s.AcceptLaunch(t.Context(), launch("u1", func(n *store.NewLaunch) { n.Nonce = long.Nonce }))
	wantErr(t, err, store.ErrReplayed)
}

func testLaunchByID(t *testing.T, f *fixture) {
	s := f.open(t)
	n := launch("4")
	l := accept(t, s, n)
	found, err := s.Launch(t.Context(), n.ID)
	if diff := cmp.Diff(l, found); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	// What is known about the person by now.
	renamed := accept(t, s, launch("4", func(n *store.NewLaunch) { n.Profile.GivenName = "Zo" }))
	if found, err = s.Launch(t.Context(), n.ID); err != nil || found.Profile != renamed.Profile {
		t.Errorf("profile = %+v, %v", found.Profile, err)
	}
	for _, id := range []string{"", "nothing", "a\x00b"} {
		_, err := s.Launch(t.Context(), id)
		wantErr(t, err, store.ErrNotFound)
	}
	if err := s.SetAccountActive(t.Context(), l.Subject, false); err != nil {
		t.Fatal(err)
	}
	found, err = s.Launch(t.Context(), n.ID)
	wantErr(t, err, store.ErrSuspended)
	if found.ID != n.ID {
		t.Errorf("launch = %+v", found)
	}
}

func testLaunchByNonce(t *testing.T, f *fixture) {
	s := f.open(t)
	n := launch("u1")
	want := accept(t, s, n)
	got, err := s.LaunchByNonce(t.Context(), n.Nonce.Scope, n.Nonce.Value)
	wantErr(t, err, nil)
	wantLaunch(t, got, want)
	_, err = s.LaunchByNonce(t.Context(), n.Nonce.Scope, "another")
	wantErr(t, err, store.ErrNotFound)
	for _, scope := range []string{"platform/canvas", n.Nonce.Scope + "\x00", "\xff", ""} {
		_, err = s.LaunchByNonce(t.Context(), scope, n.Nonce.Value)
		wantErr(t, err, store.ErrNotFound)
	}
	for _, nonce := range []string{n.Nonce.Value + "\x00", "\xff", ""} {
		_, err = s.LaunchByNonce(t.Context(), n.Nonce.Scope, nonce)
		wantErr(t, err, store.ErrNotFound)
	}
}

func testKnownPerson(t *testing.T, f *fixture) {
	s := f.open(t)
	first := accept(t, s, launch("u1"))
	for _, step := range []struct {
		name      string
		brings    store.Profile
		mayCreate bool
		want      store.Profile
	}{
		{"nothing", store.Profile{}, false, first.Profile},
		{"nothing new, may create", first.Profile, true, first.Profile},
		{"a new family name", store.Profile{FamilyName: "Smit"}, false, store.Profile{GivenName: "Zoë", FamilyName: "Smit", Email: "u1@example.edu"}},
		{
			"new names and another email",
			store.Profile{GivenName: "Z.", FamilyName: "Jansen", Email: "boss@example.edu"},
			true,
			store.Profile{GivenName: "Z.", FamilyName: "Jansen", Email: "u1@example.edu"},
		},
		{
			"another email only",
			store.Profile{Email: "boss@example.edu"},
			false,
			store.Profile{GivenName: "Z.", FamilyName: "Jansen", Email: "u1@example.edu"},
		},
	} {
		t.Run(step.name, func(t *testing.T) {
			n := launch("u1", func(n *store.NewLaunch) { n.Profile, n.MayCreateUser = step.brings, step.mayCreate })
			if !n.MayCreateUser {
				n.CandidateSubject = ""
			}
			got := accept(t, s, n)
			if got.Subject != first.Subject {
				t.Errorf("subject = %q, want that of the first launch %q", got.Subject, first.Subject)
			}
			if got.Profile != step.want {
				t.Errorf("profile = %+v, want %+v", got.Profile, step.want)
			}
			stored, err := s.LaunchByNonce(t.Context(), n.Nonce.Scope, n.Nonce.Value)
			wantErr(t, err, nil)
			wantLaunch(t, stored, got)
		})
	}
	// The subjects that launches offer for a known person are not looked at.
	accept(t, s, launch("u2"))
	if l := accept(t, s, launch("u2", func(n *store.NewLaunch) { n.CandidateSubject = first.Subject })); l.Subject == first.Subject {
		t.Error("a known person got the subject of another")
	}
}

func testRealms(t *testing.T, f *fixture) {
	s := f.open(t)
	seen := map[string]string{}
	for _, person := range [][2]string{{"moodle", "4"}, {"canvas", "4"}, {"moodle", "44"}, {"moodle4", "4"}, {"Moodle", "4"}, {"moodle", "4 "}} {
		l := accept(t, s, launch(person[1], func(n *store.NewLaunch) { n.Realm, n.Profile.Email = person[0], rand.Text() }))
		key := fmt.Sprintf("%q", person)
		if prev, ok := seen[l.Subject]; ok {
			t.Errorf("%s has the subject of %s", key, prev)
		}
		seen[l.Subject] = key
	}
}

func testUnknownUser(t *testing.T, f *fixture) {
	s := f.open(t)
	n := launch("u1", func(n *store.NewLaunch) { n.MayCreateUser = false })
	_, err := s.AcceptLaunch(t.Context(), n)
	wantErr(t, err, store.ErrUnknownUser)
	_, err = s.LaunchByNonce(t.Context(), n.Nonce.Scope, n.Nonce.Value)
	wantErr(t, err, store.ErrNotFound)
	_, err = s.ExchangeTicket(t.Context(), store.TicketOpen, n.Ticket.Hash, code())
	wantErr(t, err, store.ErrTicketUnknown)
	_, err = s.AcceptLaunch(t.Context(), n)
	wantErr(t, err, store.ErrUnknownUser)
	// Everything about it is still free: nonce, launch ID, ticket, subject.
	n.MayCreateUser = true
	if l := accept(t, s, n); l.Subject != n.CandidateSubject {
		t.Errorf("subject = %q, want the candidate", l.Subject)
	}
}

func testConflict(t *testing.T, f *fixture) {
	s := f.open(t)
	first := launch("u1")
	accept(t, s, first)
	for name, edit := range map[string]func(*store.NewLaunch){
		"launch ID": func(n *store.NewLaunch) { n.ID = first.ID },
		"subject":   func(n *store.NewLaunch) { n.CandidateSubject = first.CandidateSubject },
		"ticket":    func(n *store.NewLaunch) { n.Ticket.Hash = first.Ticket.Hash },
	} {
		t.Run(name, func(t *testing.T) {
			good := launch("u2-" + name)
			bad := good
			edit(&bad)
			_, err := s.AcceptLaunch(t.Context(), bad)
			wantErr(t, err, store.ErrConflict)
			bad.MayCreateUser = false
			_, err = s.LaunchByNonce(t.Context(), bad.Nonce.Scope, bad.Nonce.Value)
			wantErr(t, err, store.ErrNotFound)
			if l := accept(t, s, good); l.Subject != good.CandidateSubject {
				t.Errorf("the refused launch left a link with subject %q", l.Subject)
			}
		})
	}
	_, err := s.ExchangeTicket(t.Context(), store.TicketOpen, first.Ticket.Hash,
		store.NewTicket{Kind: store.TicketCode, Hash: first.Ticket.Hash, ExpiresAt: start.Add(time.Minute)})
	wantErr(t, err, store.ErrConflict)
}

func testInvalid(t *testing.T, f *fixture) {
	s := f.open(t)
	tooLong := strings.Repeat("a", store.MaxIdentifier+1)
	for name, edit := range map[string]func(*store.NewLaunch){
		"no nonce":            func(n *store.NewLaunch) { n.Nonce.Value = "" },
		"no nonce scope":      func(n *store.NewLaunch) { n.Nonce.Scope = "" },
		"no nonce expiry":     func(n *store.NewLaunch) { n.Nonce.ExpiresAt = time.Time{} },
		"no user":             func(n *store.NewLaunch) { n.LTIUserID = "" },
		"no realm":            func(n *store.NewLaunch) { n.Realm = "" },
		"no launch ID":        func(n *store.NewLaunch) { n.ID = "" },
		"no subject":          func(n *store.NewLaunch) { n.CandidateSubject = "" },
		"no email":            func(n *store.NewLaunch) { n.Profile.Email = "" },
		"a blank email":       func(n *store.NewLaunch) { n.Profile.Email = " \t" },
		"no former realm":     func(n *store.NewLaunch) { n.Former = &store.Identity{LTIUserID: "7"} },
		"no former user":      func(n *store.NewLaunch) { n.Former = &store.Identity{Realm: "old"} },
		"NUL in a former ID":  func(n *store.NewLaunch) { n.Former = &store.Identity{Realm: "old", LTIUserID: "\x00"} },
		"no ticket":           func(n *store.NewLaunch) { n.Ticket = store.NewTicket{} },
		"no ticket hash":      func(n *store.NewLaunch) { n.Ticket.Hash = store.Hash{} },
		"no ticket expiry":    func(n *store.NewLaunch) { n.Ticket.ExpiresAt = time.Time{} },
		"unknown ticket kind": func(n *store.NewLaunch) { n.Ticket.Kind = "other" },
		"NUL in a title":      func(n *store.NewLaunch) { n.ContextTitle = "a\x00b" },
		"NUL in the user":     func(n *store.NewLaunch) { n.LTIUserID = "u1\x00" },
		"invalid UTF-8":       func(n *store.NewLaunch) { n.Profile.GivenName = "\xff" },
		"NUL in a role":       func(n *store.NewLaunch) { n.Roles = []string{"\x00"} },
		"a long realm":        func(n *store.NewLaunch) { n.Realm = tooLong },
		"a long user":         func(n *store.NewLaunch) { n.LTIUserID = tooLong },
		"a long former user":  func(n *store.NewLaunch) { n.Former = &store.Identity{Realm: "old", LTIUserID: tooLong} },
		"a long email":        func(n *store.NewLaunch) { n.Profile.Email = tooLong },
		"a long nonce scope":  func(n *store.NewLaunch) { n.Nonce.Scope = tooLong },
		"a long launch ID":    func(n *store.NewLaunch) { n.ID = tooLong },
		"claims not JSON":     func(n *store.NewLaunch) { n.Claims = json.RawMessage(`{`) },
	} {
		n := launch("u1")
		edit(&n)
		if _, err := s.AcceptLaunch(t.Context(), n); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: error = %v, want %v", name, err, store.ErrInvalid)
		}
	}
	good := launch("u1")
	accept(t, s, good)
	_, err := s.ExchangeTicket(t.Context(), store.TicketOpen, good.Ticket.Hash, store.NewTicket{Kind: store.TicketCode})
	wantErr(t, err, store.ErrInvalid)
	_, err = s.ExchangeTicket(t.Context(), store.TicketOpen, good.Ticket.Hash, code())
	wantErr(t, err, nil)
}

// hostileTexts are identifiers that mean something elsewhere, and the longest one.
func hostileTexts() []string {
	// No engine can make it shorter by compressing it.
	var longest string
	for len(longest) < store.MaxIdentifier {
		longest += rand.Text()
	}
	longest = longest[:store.MaxIdentifier-2] + "é"
	return []string{"'; DROP TABLE accounts; --", "' OR '1'='1", "%", "_", `"%s?1$1{}`, "\U0001F9D7 \u202e\ufeff", longest}
}

func testHostileText(t *testing.T, f *fixture) {
	s := f.open(t)
	first := accept(t, s, launch("u0"))
	for _, text := range hostileTexts() {
		long := strings.Repeat(text, 100_000/len(text))
		n := launch(text, func(n *store.NewLaunch) {
			n.Nonce.Value, n.ContextTitle, n.Realm, n.Roles = text, text, text, []string{text, long}
			n.Profile = store.Profile{GivenName: text, FamilyName: long, Email: text}
			n.Nonce.Scope, n.ID, n.CandidateSubject = text, text, text
			n.ResourceLinkID, n.ResourceLinkTitle, n.ContextID, n.DeploymentID, n.Issuer = long, long, long, long, long
			n.EmailVouched = true
			n.Former = &store.Identity{Realm: text, LTIUserID: text}
			n.PreviousIssuers = []string{text}
		})
		want := accept(t, s, n)
		got, err := s.LaunchByNonce(t.Context(), n.Nonce.Scope, text)
		wantErr(t, err, nil)
		wantLaunch(t, got, want)
		if got.Subject == first.Subject {
			t.Errorf("%.40q is somebody else", text)
		}
		if got.ContextTitle != text || got.Profile.GivenName != text {
			t.Errorf("text changed: %.40q", got.ContextTitle)
		}
		wantErr(t, s.SetAccountActive(t.Context(), text, false), nil)
		wantErr(t, s.NoteUnknownDeployment(t.Context(), text, text), nil)
	}
}

func testExchange(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	n := launch("u1")
	want := accept(t, s, n)
	c := code()
	got, err := other.ExchangeTicket(t.Context(), store.TicketOpen, n.Ticket.Hash, c)
	wantErr(t, err, nil)
	wantLaunch(t, got, want)

	second := code()
	_, err = s.ExchangeTicket(t.Context(), store.TicketOpen, n.Ticket.Hash, second)
	wantErr(t, err, store.ErrTicketUsed)
	_, err = s.RedeemCode(t.Context(), second.Hash)
	wantErr(t, err, store.ErrTicketUnknown)
	_, err = s.ExchangeTicket(t.Context(), store.TicketOpen, store.HashToken("never issued"), code())
	wantErr(t, err, store.ErrTicketUnknown)

	got, err = s.RedeemCode(t.Context(), c.Hash)
	wantErr(t, err, nil)
	wantLaunch(t, got, want)
}

func testRedeem(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	n := launch("u1", func(n *store.NewLaunch) { n.Ticket.Kind = store.TicketCode })
	want := accept(t, s, n)
	// What is known about the person by then counts.
	want.Profile = accept(t, s, launch("u1", func(n *store.NewLaunch) { n.Profile.FamilyName = "Smit" })).Profile

	got, err := other.RedeemCode(t.Context(), n.Ticket.Hash)
	wantErr(t, err, nil)
	wantLaunch(t, got, want)
	for _, again := range []store.Store{s, other} {
		got, err := again.RedeemCode(t.Context(), n.Ticket.Hash)
		wantErr(t, err, store.ErrTicketUsed)
		wantLaunch(t, got, store.Launch{})
	}
	f.advance(time.Hour)
	_, err = s.RedeemCode(t.Context(), n.Ticket.Hash)
	wantErr(t, err, store.ErrTicketUsed)
	_, err = s.RedeemCode(t.Context(), store.HashToken("never issued"))
	wantErr(t, err, store.ErrTicketUnknown)
}

func testTicketKind(t *testing.T, f *fixture) {
	s := f.open(t)
	n := launch("u1")
	accept(t, s, n)
	_, err := s.RedeemCode(t.Context(), n.Ticket.Hash)
	wantErr(t, err, store.ErrTicketUnknown)
	c := code()
	_, err = s.ExchangeTicket(t.Context(), store.TicketOpen, n.Ticket.Hash, c)
	wantErr(t, err, nil)
	_, err = s.ExchangeTicket(t.Context(), store.TicketOpen, c.Hash, code())
	wantErr(t, err, store.ErrTicketUnknown)
	_, err = s.RedeemCode(t.Context(), c.Hash)
	wantErr(t, err, nil)
}

func testExpiry(t *testing.T, f *fixture) {
	s := f.open(t)
	early, late := launch("u1"), launch("u1")
	earlyCode := launch("u1", func(n *store.NewLaunch) { n.Ticket.Kind = store.TicketCode })
	lateCode := launch("u1", func(n *store.NewLaunch) { n.Ticket.Kind = store.TicketCode })
	for _, n := range []store.NewLaunch{early, late, earlyCode, lateCode} {
		accept(t, s, n)
	}
	f.advance(time.Minute - time.Microsecond)
	_, err := s.ExchangeTicket(t.Context(), store.TicketOpen, early.Ticket.Hash, code())
	wantErr(t, err, nil)
	_, err = s.RedeemCode(t.Context(), earlyCode.Ticket.Hash)
	wantErr(t, err, nil)
	f.advance(time.Microsecond)
	_, err = s.ExchangeTicket(t.Context(), store.TicketOpen, late.Ticket.Hash, code())
	wantErr(t, err, store.ErrTicketExpired)
	_, err = s.RedeemCode(t.Context(), lateCode.Ticket.Hash)
	wantErr(t, err, store.ErrTicketExpired)
	_, err = s.RedeemCode(t.Context(), earlyCode.Ticket.Hash)
	wantErr(t, err, store.ErrTicketUsed)
}

func testExchangeAtomic(t *testing.T, f *fixture) {
	s := f.open(t)
	n, taken := launch("u1"), launch("u2")
	accept(t, s, n)
	accept(t, s, taken)
	bad := code()
	bad.Hash = taken.Ticket.Hash
	_, err := s.ExchangeTicket(t.Context(), store.TicketOpen, n.Ticket.Hash, bad)
	wantErr(t, err, store.ErrConflict)
	_, err = s.ExchangeTicket(t.Context(), store.TicketOpen, n.Ticket.Hash, code())
	wantErr(t, err, nil)
}

func purge(t *testing.T, s store.Store, now time.Time, retention time.Duration, want store.Purged) {
	t.Helper()
	got, err := s.Purge(t.Context(), now, retention)
	wantErr(t, err, nil)
	if got != want {
		t.Errorf("Purge = %+v, want %+v", got, want)
	}
}

func testPurge(t *testing.T, f *fixture) {
	s := f.open(t)
	old := launch("u1")
	oldLaunch := accept(t, s, old)
	f.advance(24 * time.Hour)
	now := f.now()
	fresh := launch("u1", func(n *store.NewLaunch) {
		n.Nonce.ExpiresAt, n.Ticket.ExpiresAt = now.Add(time.Hour), now.Add(time.Minute)
	})
	want := accept(t, s, fresh)

	purge(t, s, start, never, store.Purged{})
	purge(t, s, now, never, store.Purged{Nonces: 1, Tickets: 1})
	purge(t, s, now, never, store.Purged{})
	// Exactly as old as the retention is kept.
	purge(t, s, now, 24*time.Hour, store.Purged{})
	purge(t, s, now, 24*time.Hour-time.Microsecond, store.Purged{Launches: 1})
	_, err := s.LaunchByNonce(t.Context(), old.Nonce.Scope, old.Nonce.Value)
	wantErr(t, err, store.ErrNotFound)

	got, err := s.LaunchByNonce(t.Context(), fresh.Nonce.Scope, fresh.Nonce.Value)
	wantErr(t, err, nil)
	wantLaunch(t, got, want)
	got, err = s.ExchangeTicket(t.Context(), store.TicketOpen, fresh.Ticket.Hash, store.NewTicket{
		Kind: store.TicketCode, Hash: store.HashToken(rand.Text()), ExpiresAt: now.Add(time.Minute),
	})
	wantErr(t, err, nil)
	wantLaunch(t, got, want)

	// The last launch goes, with both its tickets; the person stays known, and
	// its nonce stays spent.
	purge(t, s, now.Add(time.Minute), 0, store.Purged{Launches: 1})
	_, err = s.ExchangeTicket(t.Context(), store.TicketOpen, fresh.Ticket.Hash, code())
	wantErr(t, err, store.ErrTicketUnknown)
	_, err = s.AcceptLaunch(t.Context(), launch("u1", func(n *store.NewLaunch) { n.Nonce = fresh.Nonce }))
	wantErr(t, err, store.ErrReplayed)
	_, err = s.LaunchByNonce(t.Context(), fresh.Nonce.Scope, fresh.Nonce.Value)
	wantErr(t, err, store.ErrNotFound)
	known := accept(t, s, launch("u1", func(n *store.NewLaunch) { n.MayCreateUser, n.Profile = false, store.Profile{} }))
	if known.Subject != oldLaunch.Subject || known.Profile != oldLaunch.Profile {
		t.Errorf("after purge: subject %q and profile %+v, want %q and %+v", known.Subject, known.Profile, oldLaunch.Subject, oldLaunch.Profile)
	}

	// Somebody who is late is told so.
	late := launch("u1")
	accept(t, s, late)
	lateEnd := late.Ticket.ExpiresAt
	purge(t, s, lateEnd.Add(store.TicketGrace-time.Microsecond), never, store.Purged{Nonces: 2})
	_, err = s.ExchangeTicket(t.Context(), store.TicketOpen, late.Ticket.Hash, code())
	wantErr(t, err, store.ErrTicketExpired)
	if got, err := s.Purge(t.Context(), lateEnd.Add(store.TicketGrace), never); err != nil || got.Tickets < 1 {
		t.Errorf("Purge = %+v, %v; want the late ticket deleted", got, err)
	}
	_, err = s.ExchangeTicket(t.Context(), store.TicketOpen, late.Ticket.Hash, code())
	wantErr(t, err, store.ErrTicketUnknown)
}

// testPurgeMany deletes more rows than an implementation takes in one batch (at
// most 500), and few enough for a disk on which a transaction takes long.
func testPurgeMany(t *testing.T, f *fixture) {
	s := f.open(t)
	const many = 520
	for i := range many {
		accept(t, s, launch(fmt.Sprintf("u%d", i%7)))
	}
	kept := launch("u1", func(n *store.NewLaunch) {
		n.Nonce.ExpiresAt, n.Ticket.ExpiresAt = start.Add(never), start.Add(never)
	})
	f.advance(2 * time.Hour)
	want := accept(t, s, kept)
	purge(t, s, f.now(), time.Hour, store.Purged{Nonces: many, Tickets: many, Launches: many})
	got, err := s.LaunchByNonce(t.Context(), kept.Nonce.Scope, kept.Nonce.Value)
	wantErr(t, err, nil)
	wantLaunch(t, got, want)
}

func testPurgeNonce(t *testing.T, f *fixture) {
	s := f.open(t)
	first := launch("u1")
	accept(t, s, first)
	purge(t, s, first.Nonce.ExpiresAt.Add(-time.Microsecond), never, store.Purged{})
	_, err := s.AcceptLaunch(t.Context(), launch("u1", func(n *store.NewLaunch) { n.Nonce = first.Nonce }))
	wantErr(t, err, store.ErrReplayed)
	if got, err := s.Purge(t.Context(), first.Nonce.ExpiresAt, never); err != nil || got.Nonces != 1 {
		t.Errorf("Purge = %+v, %v; want one nonce", got, err)
	}
	accept(t, s, launch("u1", func(n *store.NewLaunch) { n.Nonce = first.Nonce }))
}

func testCancelled(t *testing.T, f *fixture) {
	s := f.open(t)
	n := launch("u1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.AcceptLaunch(ctx, n)
	wantErr(t, err, context.Canceled)
	accept(t, s, n)
	_, err = s.ExchangeTicket(ctx, store.TicketOpen, n.Ticket.Hash, code())
	wantErr(t, err, context.Canceled)
	wantErr(t, s.SetAccountActive(ctx, n.CandidateSubject, false), context.Canceled)
	wantErr(t, s.NoteUnknownDeployment(ctx, "moodle", "7"), context.Canceled)
	wantDeployments(t, s)
	_, err = s.ExchangeTicket(t.Context(), store.TicketOpen, n.Ticket.Hash, code())
	wantErr(t, err, nil)
}

func testDeadline(t *testing.T, f *fixture) {
	s := f.open(t)
	n := launch("u1")
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := s.AcceptLaunch(ctx, n)
	wantErr(t, err, store.ErrUnavailable)
	wantErr(t, s.Ping(ctx), store.ErrUnavailable)
	accept(t, s, n)
}

func testClosed(t *testing.T, f *fixture) {
	s := f.open(t)
	n := launch("u1")
	accept(t, s, n)
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	ctx := t.Context()
	_, err := s.AcceptLaunch(ctx, launch("u1"))
	wantErr(t, err, store.ErrUnavailable)
	_, err = s.ExchangeTicket(ctx, store.TicketOpen, n.Ticket.Hash, code())
	wantErr(t, err, store.ErrUnavailable)
	_, err = s.RedeemCode(ctx, n.Ticket.Hash)
	wantErr(t, err, store.ErrUnavailable)
	_, err = s.LaunchByNonce(ctx, n.Nonce.Scope, n.Nonce.Value)
	wantErr(t, err, store.ErrUnavailable)
	wantErr(t, s.SetAccountActive(ctx, n.CandidateSubject, false), store.ErrUnavailable)
	wantErr(t, s.NoteUnknownDeployment(ctx, "moodle", "7"), store.ErrUnavailable)
	_, err = s.UnknownDeployments(ctx)
	wantErr(t, err, store.ErrUnavailable)
	_, err = s.Purge(ctx, start, never)
	wantErr(t, err, store.ErrUnavailable)
	wantErr(t, s.Ping(ctx), store.ErrUnavailable)
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func testReopen(t *testing.T, f *fixture) {
	s := f.open(t)
	n := launch("u1")
	want := accept(t, s, n)
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	s = f.open(t)
	_, err := s.AcceptLaunch(t.Context(), launch("u1", func(l *store.NewLaunch) { l.Nonce = n.Nonce }))
	wantErr(t, err, store.ErrReplayed)
	got, err := s.ExchangeTicket(t.Context(), store.TicketOpen, n.Ticket.Hash, code())
	wantErr(t, err, nil)
	wantLaunch(t, got, want)
}

// race calls fn from many goroutines at once, alternating between two handles,
// and returns the number of calls that succeeded; each other one must fail with
// lost.
func race(t *testing.T, f *fixture, lost error, fn func(s store.Store, i int) error) int {
	t.Helper()
	return raceOf(t, []store.Store{f.open(t), f.open(t)}, 24, lost, fn)
}

// raceOf is race with so many callers, on these handles in turn.
func raceOf(t *testing.T, handles []store.Store, callers int, lost error, fn func(s store.Store, i int) error) int {
	t.Helper()
	var (
		won   atomic.Int64
		ready sync.WaitGroup
		done  sync.WaitGroup
		begin = make(chan struct{})
	)
	for i := range callers {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-begin
			switch err := fn(handles[i%len(handles)], i); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, lost):
				t.Errorf("caller %d: error = %v, want %v", i, err, lost)
			}
		})
	}
	ready.Wait()
	close(begin)
	done.Wait()
	return int(won.Load())
}

func testConcurrentReplay(t *testing.T, f *fixture) {
	nonce := launch("u1").Nonce
	won := race(t, f, store.ErrReplayed, func(s store.Store, i int) error {
		_, err := s.AcceptLaunch(t.Context(), launch(fmt.Sprintf("u%d", i), func(n *store.NewLaunch) { n.Nonce = nonce }))
		return err
	})
	if won != 1 {
		t.Errorf("accepted %d launches with one nonce, want 1", won)
	}
}

func testConcurrentFirst(t *testing.T, f *fixture) {
	var subjects sync.Map
	won := race(t, f, nil, func(s store.Store, _ int) error {
		l, err := s.AcceptLaunch(t.Context(), launch("u1"))
		subjects.Store(l.Subject, true)
		return err
	})
	n := 0
	subjects.Range(func(any, any) bool { n++; return true })
	if won != 24 || n != 1 {
		t.Errorf("%d launches accepted with %d subjects, want 24 with 1", won, n)
	}
}

func testConcurrentRedeem(t *testing.T, f *fixture) {
	n := launch("u1", func(n *store.NewLaunch) { n.Ticket.Kind = store.TicketCode })
	accept(t, f.open(t), n)
	won := race(t, f, store.ErrTicketUsed, func(s store.Store, _ int) error {
		_, err := s.RedeemCode(t.Context(), n.Ticket.Hash)
		return err
	})
	if won != 1 {
		t.Errorf("code redeemed %d times, want once", won)
	}
}

func testConcurrentExchange(t *testing.T, f *fixture) {
	n := launch("u1")
	accept(t, f.open(t), n)
	codes := make([]store.NewTicket, 24)
	for i := range codes {
		codes[i] = code()
	}
	won := race(t, f, store.ErrTicketUsed, func(s store.Store, i int) error {
		_, err := s.ExchangeTicket(t.Context(), store.TicketOpen, n.Ticket.Hash, codes[i])
		return err
	})
	s, good := f.open(t), 0
	for _, c := range codes {
		if _, err := s.RedeemCode(t.Context(), c.Hash); err == nil {
			good++
		}
	}
	if won != 1 || good != 1 {
		t.Errorf("ticket exchanged %d times for %d working codes, want 1 for 1", won, good)
	}
}

func testConcurrentMixed(t *testing.T, f *fixture) {
	won := race(t, f, nil, func(s store.Store, i int) error {
		for j := range 3 {
			n := launch(fmt.Sprintf("u%d", j))
			want, err := s.AcceptLaunch(t.Context(), n)
			if err != nil {
				return err
			}
			if i%8 == 0 {
				if _, err := s.Purge(t.Context(), start.Add(time.Second), never); err != nil {
					return err
				}
			}
			c := code()
			if _, err := s.ExchangeTicket(t.Context(), store.TicketOpen, n.Ticket.Hash, c); err != nil {
				return err
			}
			got, err := s.RedeemCode(t.Context(), c.Hash)
			if err != nil {
				return err
			}
			if diff := cmp.Diff(want, got); diff != "" {
				return fmt.Errorf("launch (-want +got):\n%s", diff)
			}
		}
		return nil
	})
	if won != 24 {
		t.Errorf("%d of 24 callers got through", won)
	}
}

func testConcurrentOpen(t *testing.T, f *fixture) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s := f.open(t)
			if _, err := s.AcceptLaunch(t.Context(), launch("u1")); err != nil {
				t.Errorf("AcceptLaunch on a fresh database: %v", err)
			}
		})
	}
	wg.Wait()
}

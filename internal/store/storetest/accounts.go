package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

// Issuers of the realm "moodle" over time; oldIssuer is the one of the fixture.
const (
	oldIssuer = "https://moodle.example.edu"
	newIssuer = "https://learn.example.edu"
)

// in returns a launch by a person of a realm with an address.
func in(realm, user, email string, edit ...func(*store.NewLaunch)) store.NewLaunch {
	return launch(user, append([]func(*store.NewLaunch){func(n *store.NewLaunch) {
		n.Realm, n.Profile.Email = realm, email
	}}, edit...)...)
}

func vouched(n *store.NewLaunch)  { n.EmailVouched = true }
func mustKnow(n *store.NewLaunch) { n.MayCreateUser, n.CandidateSubject = false, "" }
func silent(n *store.NewLaunch)   { n.Profile = store.Profile{} }

func former(realm, user string) func(*store.NewLaunch) {
	return func(n *store.NewLaunch) { n.Former = &store.Identity{Realm: realm, LTIUserID: user} }
}

func issuer(current string, previous ...string) func(*store.NewLaunch) {
	return func(n *store.NewLaunch) { n.Issuer, n.PreviousIssuers = current, previous }
}

// refused wants the launch to fail and to leave nothing behind.
func refused(t *testing.T, s store.Store, n store.NewLaunch, want error) {
	t.Helper()
	// The second time would tell a spent nonce, or a link that was made.
	for range 2 {
		_, err := s.AcceptLaunch(t.Context(), n)
		wantErr(t, err, want)
	}
	_, err := s.LaunchByNonce(t.Context(), n.Nonce.Scope, n.Nonce.Value)
	wantErr(t, err, store.ErrNotFound)
	_, err = s.ExchangeTicket(t.Context(), n.Ticket.Kind, n.Ticket.Hash, code())
	wantErr(t, err, store.ErrTicketUnknown)
}

// joined accepts the launch and wants it to be of the account of another one.
func joined(t *testing.T, s store.Store, n store.NewLaunch, account store.Launch) store.Launch {
	t.Helper()
	l := accept(t, s, n)
	if l.Subject != account.Subject {
		t.Errorf("subject = %q, want %q", l.Subject, account.Subject)
	}
	if l.Profile.Email != account.Profile.Email {
		t.Errorf("email = %q, want the one of the account, %q", l.Profile.Email, account.Profile.Email)
	}
	stored, err := s.LaunchByNonce(t.Context(), n.Nonce.Scope, n.Nonce.Value)
	wantErr(t, err, nil)
	wantLaunch(t, stored, l)
	return l
}

// created accepts the launch and wants it to have made an account.
func created(t *testing.T, s store.Store, n store.NewLaunch) store.Launch {
	t.Helper()
	l := accept(t, s, n)
	if l.Subject != n.CandidateSubject || l.Profile != n.Profile || l.EmailVouched != n.EmailVouched {
		t.Errorf("subject %q, profile %+v, vouched %v; want a new account, %q, %+v, %v",
			l.Subject, l.Profile, l.EmailVouched, n.CandidateSubject, n.Profile, n.EmailVouched)
	}
	return l
}

func setActive(t *testing.T, s store.Store, account store.Launch, active bool) {
	t.Helper()
	wantErr(t, s.SetAccountActive(t.Context(), account.Subject, active), nil)
}

func testAccountOrder(t *testing.T, f *fixture) {
	s := f.open(t)
	byLink := created(t, s, in("moodle", "link", "link@example.edu", vouched))
	byFormer := created(t, s, in("canvas", "former", "former@example.edu", vouched))
	byEmail := created(t, s, in("brightspace", "email", "email@example.edu", vouched))

	joined(t, s, in("moodle", "link", "email@example.edu", vouched, former("canvas", "former")), byLink)
	joined(t, s, in("moodle", "n1", "email@example.edu", vouched, former("canvas", "former")), byFormer)
	joined(t, s, in("moodle", "n2", "email@example.edu", vouched, former("canvas", "nobody")), byEmail)
	joined(t, s, in("moodle", "n3", "email@example.edu", vouched), byEmail)
	created(t, s, in("moodle", "n4", "new@example.edu", vouched, former("canvas", "nobody")))

	// Cases 3 and 4 need permission.
	refused(t, s, in("moodle", "n5", "email@example.edu", vouched, mustKnow), store.ErrUnknownUser)
	refused(t, s, in("moodle", "n5", "newer@example.edu", vouched, mustKnow), store.ErrUnknownUser)
}

func testOwnLink(t *testing.T, f *fixture) {
	s := f.open(t)
	a := created(t, s, in("moodle", "a", "a@example.edu", vouched))
	b := created(t, s, in("moodle", "b", "b@example.edu", vouched))
	joined(t, s, in("canvas", "by-former", "x@example.edu", former("moodle", "a")), a)
	joined(t, s, in("canvas", "by-email", "b@example.edu", vouched), b)

	// From then on the link decides: nothing else is needed, or changes it.
	for user, own := range map[string]store.Launch{"by-former": a, "by-email": b} {
		joined(t, s, in("canvas", user, "", mustKnow, silent), own)
	}
	joined(t, s, in("canvas", "by-former", "b@example.edu", vouched, former("moodle", "b")), a)
	joined(t, s, in("canvas", "by-email", "a@example.edu", vouched, former("moodle", "a")), b)
	// The links that led there remain, and what one launch says counts for all.
	l := joined(t, s, in("moodle", "a", "", mustKnow, silent, func(n *store.NewLaunch) { n.Profile.GivenName = "Anna" }), a)
	if got := joined(t, s, in("canvas", "by-former", "", mustKnow, silent), a); got.Profile != l.Profile {
		t.Errorf("profile = %+v, want %+v", got.Profile, l.Profile)
	}
	// A link of a link is one too, and nobody else got one.
	joined(t, s, in("sakai", "c", "", mustKnow, silent, former("canvas", "by-former")), a)
	refused(t, s, in("moodle", "by-former", "", mustKnow, silent), store.ErrUnknownUser)
	refused(t, s, in("canvas", "a", "", mustKnow, silent), store.ErrUnknownUser)
	refused(t, s, in("canvas", "nobody", "", mustKnow, silent), store.ErrUnknownUser)
}

func testFormer(t *testing.T, f *fixture) {
	s := f.open(t)
	a := created(t, s, in("consumer-key", "7", "a@example.edu", func(n *store.NewLaunch) { n.Issuer = "" }))
	for name, other := range map[string]func(*store.NewLaunch){
		"another user":        former("consumer-key", "8"),
		"another realm":       former("consumer", "7"),
		"the case of a realm": former("Consumer-Key", "7"),
		"spaces":              former("consumer-key", "7 "),
		"the own identity":    former("moodle", "new"),
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, s, in("moodle", "new", "", mustKnow, silent, other), store.ErrUnknownUser)
		})
	}
	// What the launch says about the person is taken over as in any launch.
	got := joined(t, s, in("moodle", "new", "elsewhere@example.edu", vouched, mustKnow, former("consumer-key", "7"),
		func(n *store.NewLaunch) { n.Profile.GivenName = "Anna" }), a)
	if want := (store.Profile{GivenName: "Anna", FamilyName: a.Profile.FamilyName, Email: a.Profile.Email}); got.Profile != want {
		t.Errorf("profile = %+v, want %+v", got.Profile, want)
	}
	if got.EmailVouched {
		t.Error("an address was vouched for by a launch with another one")
	}
	// The address of the launch was not touched, so that it is still free.
	created(t, s, in("moodle", "third", "elsewhere@example.edu"))

	// The issuer of the former link is not compared, and that of the new link is
	// the one of the launch.
	b := created(t, s, in("canvas", "b", "b@example.edu", issuer("https://canvas.example.edu")))
	joined(t, s, in("moodle", "b", "", mustKnow, silent, former("canvas", "b")), b)
	refused(t, s, in("moodle", "b", "", mustKnow, silent, issuer("https://canvas.example.edu")), store.ErrIssuerChanged)
	joined(t, s, in("canvas", "b", "", mustKnow, silent, issuer("https://canvas.example.edu")), b)

	// An address that is vouched for where the launch names it.
	c := created(t, s, in("consumer-key", "9", "c@example.edu"))
	if !joined(t, s, in("moodle", "c", "C@example.edu", vouched, mustKnow, former("consumer-key", "9")), c).EmailVouched {
		t.Error("the account of the former identity did not become vouched for")
	}
}

func testJoin(t *testing.T, f *fixture) {
	s := f.open(t)
	safe := created(t, s, in("moodle", "safe", "safe@example.edu", vouched))
	open := created(t, s, in("moodle", "open", "open@example.edu"))

	refused(t, s, in("canvas", "u1", "safe@example.edu"), store.ErrEmailInUse)
	refused(t, s, in("canvas", "u1", "open@example.edu"), store.ErrEmailInUse)
	refused(t, s, in("canvas", "u1", "open@example.edu", vouched), store.ErrEmailInUse)
	// Nor within one realm: an address is no identity there either.
	refused(t, s, in("moodle", "u1", "safe@example.edu"), store.ErrEmailInUse)

	// The candidate is ignored, even one that is in use.
	n := in("canvas", "u1", "safe@example.edu", vouched, func(n *store.NewLaunch) {
		n.CandidateSubject = open.Subject
		n.Profile.GivenName = "Anna"
	})
	got := joined(t, s, n, safe)
	if got.Profile.GivenName != "Anna" || !got.EmailVouched {
		t.Errorf("given name %q, vouched %v; want the name of the launch, and vouched", got.Profile.GivenName, got.EmailVouched)
	}
	joined(t, s, in("moodle", "u2", "safe@example.edu", vouched), safe)
	// A refused launch took nothing: with another address the person comes in.
	created(t, s, in("canvas", "u3", "u3@example.edu"))
}

// testPreHijacking is the attack that the rule of both sides is for: whoever may
// create accounts makes one with the address of somebody who has yet to come.
func testPreHijacking(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	attacker := created(t, s, in("anybody", "attacker", "dean@example.edu"))
	dean := in("moodle", "dean", "dean@example.edu", vouched)
	refused(t, other, dean, store.ErrEmailInUse)
	// Launching again with the address does not make it the attacker's.
	if joined(t, s, in("anybody", "attacker", "dean@example.edu"), attacker).EmailVouched {
		t.Error("an address became vouched for by repeating it")
	}
	refused(t, other, dean, store.ErrEmailInUse)
	// A second account of the attacker, which may speak for its own address, does
	// not help either.
	own := created(t, s, in("moodle", "attacker", "attacker@example.edu", vouched))
	if l := joined(t, s, in("moodle", "attacker", "dean@example.edu", vouched), own); l.Subject == attacker.Subject {
		t.Error("two accounts became one")
	}
	refused(t, other, dean, store.ErrEmailInUse)
	// The attacker's account has seen nothing of the victim.
	if got := joined(t, s, in("anybody", "attacker", "", mustKnow, silent), attacker); got.Profile != attacker.Profile {
		t.Errorf("profile = %+v, want %+v", got.Profile, attacker.Profile)
	}

	// The other way round: the attacker comes later, from a system that may not
	// speak for the address.
	safe := created(t, s, in("moodle", "teacher", "teacher@example.edu", vouched))
	refused(t, s, in("anybody", "attacker2", "teacher@example.edu", func(n *store.NewLaunch) { n.Profile.GivenName = "Mallory" }), store.ErrEmailInUse)
	if got := joined(t, s, in("moodle", "teacher", "", mustKnow, silent), safe); got.Profile != safe.Profile {
		t.Errorf("profile = %+v, want %+v", got.Profile, safe.Profile)
	}
}

func testVouching(t *testing.T, f *fixture) {
	s := f.open(t)
	first := in("moodle", "u1", "u1@example.edu")
	account := created(t, s, first)
	want := func(when string, vouched bool) {
		t.Helper()
		l, err := s.LaunchByNonce(t.Context(), first.Nonce.Scope, first.Nonce.Value)
		wantErr(t, err, nil)
		if l.EmailVouched != vouched {
			t.Errorf("%s: vouched = %v, want %v", when, l.EmailVouched, vouched)
		}
	}
	joined(t, s, in("moodle", "u1", "other@example.edu", vouched), account)
	want("after another address was vouched for", false)
	joined(t, s, in("moodle", "u1", "", mustKnow, silent, vouched), account)
	want("after no address was vouched for", false)
	_, err := s.AcceptLaunch(t.Context(), in("moodle", "u1", "u1@example.edu", vouched, func(n *store.NewLaunch) { n.ID = first.ID }))
	wantErr(t, err, store.ErrConflict)
	want("after a launch that was refused", false)
	refused(t, s, in("canvas", "u1", "u1@example.edu", vouched), store.ErrEmailInUse)

	if l := joined(t, s, in("moodle", "u1", "U1@example.edu", vouched, mustKnow), account); !l.EmailVouched {
		t.Error("the launch that vouches does not say so")
	}
	want("after a launch that vouches", true)
	joined(t, s, in("moodle", "u1", "u1@example.edu"), account)
	want("after a launch that does not vouch", true)
	joined(t, s, in("moodle", "u1", "other@example.edu"), account)
	want("after a launch with another address", true)
	joined(t, s, in("moodle", "u1", "other@example.edu", vouched), account)
	want("after another address was vouched for once more", true)
	joined(t, s, in("canvas", "u1", "u1@example.edu", vouched), account)
}

func testAddressCase(t *testing.T, f *fixture) {
	s := f.open(t)
	account := created(t, s, in("moodle", "u1", "Zoë.Smit@Example.EDU", vouched))
	for i, same := range []string{"zoë.smit@example.edu", "ZOË.SMIT@EXAMPLE.EDU", " Zoë.Smit@Example.EDU\n"} {
		refused(t, s, in("moodle", fmt.Sprint("no", i), same), store.ErrEmailInUse)
		joined(t, s, in("moodle", fmt.Sprint("yes", i), same, vouched), account)
	}
	for i, other := range []string{"zoe.smit@example.edu", "zoësmit@example.edu", "zoë.smit@example.edu.example", "zoë_smit@example.edu", "zoë%"} {
		created(t, s, in("moodle", fmt.Sprint("new", i), other, vouched))
	}
}

func testIssuer(t *testing.T, f *fixture) {
	s := f.open(t)
	account := created(t, s, in("moodle", "u1", "u1@example.edu", vouched))
	for name, edit := range map[string]func(*store.NewLaunch){
		"another issuer":         issuer(newIssuer),
		"other previous ones":    issuer(newIssuer, "https://a.example.edu", "", newIssuer, oldIssuer+"/"),
		"a trailing slash":       issuer(oldIssuer + "/"),
		"another case":           issuer("https://Moodle.example.edu"),
		"a former identity":      func(n *store.NewLaunch) { issuer(newIssuer)(n); former("moodle", "u1")(n) },
		"no permission":          func(n *store.NewLaunch) { issuer(newIssuer)(n); mustKnow(n) },
		"an address that is new": func(n *store.NewLaunch) { issuer(newIssuer)(n); n.Profile.Email = "new@example.edu" },
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, s, in("moodle", "u1", "u1@example.edu", vouched, edit,
				func(n *store.NewLaunch) { n.Profile.GivenName = "Mallory" }), store.ErrIssuerChanged)
		})
	}
	if got := joined(t, s, in("moodle", "u1", "", mustKnow, silent), account); got.Profile != account.Profile {
		t.Errorf("profile = %+v, want %+v", got.Profile, account.Profile)
	}
	// The issuer is that of the link: people whom the new system brings are its
	// own, and other realms have theirs.
	created(t, s, in("moodle", "u2", "u2@example.edu", issuer(newIssuer)))
	joined(t, s, in("canvas", "u1", "u1@example.edu", vouched, issuer(newIssuer)), account)
	joined(t, s, in("moodle", "u1", "", mustKnow, silent), account)

	// Whoever may be somebody else is not told about the account.
	setActive(t, s, account, false)
	refused(t, s, in("moodle", "u1", "u1@example.edu", issuer(newIssuer)), store.ErrIssuerChanged)
}

func testEmptyIssuer(t *testing.T, f *fixture) {
	s := f.open(t)
	account := created(t, s, in("moodle", "u1", "u1@example.edu", issuer("")))
	joined(t, s, in("moodle", "u1", "", mustKnow, silent, issuer("")), account)
	// The first issuer is accepted, whichever it is, and from then on is the one.
	joined(t, s, in("moodle", "u1", "", mustKnow, silent, issuer(oldIssuer)), account)
	refused(t, s, in("moodle", "u1", "", mustKnow, silent, issuer(newIssuer)), store.ErrIssuerChanged)
	joined(t, s, in("moodle", "u1", "", mustKnow, silent, issuer("")), account)
	joined(t, s, in("moodle", "u1", "", mustKnow, silent, issuer("", newIssuer)), account)
	refused(t, s, in("moodle", "u1", "", mustKnow, silent, issuer(newIssuer)), store.ErrIssuerChanged)
	joined(t, s, in("moodle", "u1", "", mustKnow, silent, issuer(oldIssuer)), account)
}

func testPreviousIssuer(t *testing.T, f *fixture) {
	s := f.open(t)
	first := in("moodle", "u1", "u1@example.edu")
	account := created(t, s, first)
	// A launch that fails moves nobody.
	_, err := s.AcceptLaunch(t.Context(), in("moodle", "u1", "", mustKnow, silent, issuer(newIssuer, oldIssuer),
		func(n *store.NewLaunch) { n.ID = first.ID }))
	wantErr(t, err, store.ErrConflict)
	joined(t, s, in("moodle", "u1", "", mustKnow, silent), account)

	joined(t, s, in("moodle", "u1", "", mustKnow, silent, issuer(newIssuer, "https://older.example.edu", oldIssuer)), account)
	joined(t, s, in("moodle", "u1", "", mustKnow, silent, issuer(newIssuer)), account)
	refused(t, s, in("moodle", "u1", "", mustKnow, silent, issuer(oldIssuer)), store.ErrIssuerChanged)
	refused(t, s, in("moodle", "u1", "", mustKnow, silent, issuer(oldIssuer, oldIssuer)), store.ErrIssuerChanged)
	joined(t, s, in("moodle", "u1", "", mustKnow, silent, issuer(oldIssuer, newIssuer)), account)
	joined(t, s, in("moodle", "u1", "", mustKnow, silent, issuer(oldIssuer)), account)
}

func testSuspended(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	first := in("moodle", "u1", "u1@example.edu")
	account := created(t, s, first)
	bystander := created(t, s, in("moodle", "u2", "u2@example.edu"))
	setActive(t, s, account, false)
	setActive(t, s, account, false)

	back := in("moodle", "u1", "u1@example.edu", vouched, func(n *store.NewLaunch) { n.Profile.GivenName = "Anna" })
	moved := in("canvas", "u1", "new@example.edu", former("moodle", "u1"))
	for _, handle := range []store.Store{s, other} {
		refused(t, handle, back, store.ErrSuspended)
		refused(t, handle, in("moodle", "u1", "", mustKnow, silent), store.ErrSuspended)
		refused(t, handle, in("moodle", "u1", "", mustKnow, silent, issuer(newIssuer, oldIssuer)), store.ErrSuspended)
		refused(t, handle, moved, store.ErrSuspended)
	}
	joined(t, s, in("moodle", "u2", "", mustKnow, silent), bystander)
	// What went before can still be explained, and nothing of it has changed.
	got, err := other.LaunchByNonce(t.Context(), first.Nonce.Scope, first.Nonce.Value)
	wantErr(t, err, nil)
	wantLaunch(t, got, account)
	purge(t, s, start.Add(2*time.Hour), time.Hour, store.Purged{Nonces: 3, Tickets: 3, Launches: 3})
	refused(t, s, back, store.ErrSuspended)

	setActive(t, other, account, true)
	setActive(t, other, account, true)
	joined(t, s, in("moodle", "u1", "", mustKnow, silent), account)
	joined(t, s, back, account)
	joined(t, s, moved, account)
}

func testSuspendedTicket(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	asCode := func(n *store.NewLaunch) { n.Ticket.Kind = store.TicketCode }
	open, ready, late := launch("u1"), launch("u1", asCode), launch("u1", asCode)
	late.Ticket.ExpiresAt = start.Add(time.Second)
	want := accept(t, s, open)
	wantReady := accept(t, s, ready)
	accept(t, s, late)
	setActive(t, s, want, false)

	next := code()
	for range 2 {
		got, err := other.ExchangeTicket(t.Context(), store.TicketOpen, open.Ticket.Hash, next)
		wantErr(t, err, store.ErrSuspended)
		wantLaunch(t, got, store.Launch{})
		got, err = other.RedeemCode(t.Context(), ready.Ticket.Hash)
		wantErr(t, err, store.ErrSuspended)
		wantLaunch(t, got, store.Launch{})
	}
	_, err := s.RedeemCode(t.Context(), next.Hash)
	wantErr(t, err, store.ErrTicketUnknown)

	f.advance(2 * time.Second)
	setActive(t, s, want, true)
	got, err := other.ExchangeTicket(t.Context(), store.TicketOpen, open.Ticket.Hash, next)
	wantErr(t, err, nil)
	wantLaunch(t, got, want)
	got, err = other.RedeemCode(t.Context(), ready.Ticket.Hash)
	wantErr(t, err, nil)
	wantLaunch(t, got, wantReady)
	// Suspension does not stop the clock of a ticket.
	_, err = s.RedeemCode(t.Context(), late.Ticket.Hash)
	wantErr(t, err, store.ErrTicketExpired)

	// Nor does a ticket that was exchanged before help.
	setActive(t, s, want, false)
	_, err = s.RedeemCode(t.Context(), next.Hash)
	wantErr(t, err, store.ErrSuspended)
	setActive(t, s, want, true)
	_, err = s.RedeemCode(t.Context(), next.Hash)
	wantErr(t, err, nil)
}

func testSuspendedAddress(t *testing.T, f *fixture) {
	s := f.open(t)
	safe := created(t, s, in("moodle", "safe", "safe@example.edu", vouched))
	open := created(t, s, in("moodle", "open", "open@example.edu"))
	setActive(t, s, safe, false)
	setActive(t, s, open, false)

	join := in("canvas", "u1", "safe@example.edu", vouched)
	refused(t, s, join, store.ErrSuspended)
	// Where it would not be joined, its state is nobody's business.
	refused(t, s, in("canvas", "u1", "safe@example.edu"), store.ErrEmailInUse)
	refused(t, s, in("canvas", "u1", "open@example.edu", vouched), store.ErrEmailInUse)
	refused(t, s, in("canvas", "u1", "open@example.edu"), store.ErrEmailInUse)
	refused(t, s, in("canvas", "u1", "safe@example.edu", vouched, mustKnow), store.ErrUnknownUser)
	created(t, s, in("canvas", "u2", "u2@example.edu", vouched))

	setActive(t, s, safe, true)
	joined(t, s, join, safe)
}

func testSuspendNobody(t *testing.T, f *fixture) {
	s := f.open(t)
	account := created(t, s, launch("u1"))
	for _, subject := range []string{"", "nobody", account.Subject + " ", "u1", "%", account.Subject + "\x00", "\xff"} {
		wantErr(t, s.SetAccountActive(t.Context(), subject, false), store.ErrNotFound)
		wantErr(t, s.SetAccountActive(t.Context(), subject, true), store.ErrNotFound)
	}
	joined(t, s, launch("u1"), account)
}

// sharedAddress returns a first launch of another realm for every i, all with one
// address.
func sharedAddress(i int, edit ...func(*store.NewLaunch)) store.NewLaunch {
	return in(fmt.Sprint("realm-", i), "u", "shared@example.edu", edit...)
}

func testConcurrentJoin(t *testing.T, f *fixture) {
	var subjects sync.Map
	won := race(t, f, nil, func(s store.Store, i int) error {
		l, err := s.AcceptLaunch(t.Context(), sharedAddress(i, vouched))
		subjects.Store(l.Subject, true)
		return err
	})
	if n := size(&subjects); won != 24 || n != 1 {
		t.Errorf("%d launches accepted with %d subjects, want 24 with 1", won, n)
	}
}

func testConcurrentAddress(t *testing.T, f *fixture) {
	var winner sync.Map
	won := race(t, f, store.ErrEmailInUse, func(s store.Store, i int) error {
		_, err := s.AcceptLaunch(t.Context(), sharedAddress(i))
		if err == nil {
			winner.Store(i, true)
		}
		return err
	})
	if won != 1 {
		t.Errorf("%d accounts with one address, want 1", won)
	}
	// The others have no link, and the address stays where it is.
	s := f.open(t)
	for i := range 24 {
		want := store.ErrUnknownUser
		if _, ok := winner.Load(i); ok {
			want = nil
		}
		_, err := s.AcceptLaunch(t.Context(), sharedAddress(i, mustKnow))
		wantErr(t, err, want)
	}
}

func testConcurrentVouched(t *testing.T, f *fixture) {
	var subjects, others sync.Map
	won := race(t, f, store.ErrEmailInUse, func(s store.Store, i int) error {
		n := sharedAddress(i)
		// Not by i%2, which is the handle.
		n.EmailVouched = i%4 < 2
		l, err := s.AcceptLaunch(t.Context(), n)
		if err != nil {
			return err
		}
		subjects.Store(l.Subject, true)
		if !n.EmailVouched {
			others.Store(i, true)
		}
		if l.EmailVouched != n.EmailVouched {
			return fmt.Errorf("vouched = %v in the account of a launch with %v", l.EmailVouched, n.EmailVouched)
		}
		return nil
	})
	// Whoever came first decides: one launch without a voucher, or all with one.
	want := 12
	if size(&others) > 0 {
		want = 1
	}
	if won != want || size(&subjects) != 1 {
		t.Errorf("%d launches accepted with %d subjects, want %d with 1", won, size(&subjects), want)
	}
}

func size(m *sync.Map) int {
	n := 0
	m.Range(func(any, any) bool { n++; return true })
	return n
}

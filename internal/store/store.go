// Package store defines what the launch handler remembers between requests and
// across replicas: spent nonces, accepted launches, one-time tickets, the
// academy's accounts, which account a person of another system has, the
// deployments that launched although nobody listed them, and how the academy's own
// learners did in external activities.
//
// The package holds the interface, its types and its errors. Implementations
// live in sub-packages and must pass the suite in storetest.
package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

var (
	// ErrUnavailable wraps every failure of the database itself: unreachable,
	// closed, out of space, or slower than the caller's deadline. When a call
	// fails with it the caller must not assume that anything was stored.
	ErrUnavailable = errors.New("store unavailable")

	// ErrInvalid wraps a value that no implementation accepts, such as text
	// with a NUL byte, a required field that is empty, or an identifier longer
	// than MaxIdentifier. Nothing is changed.
	ErrInvalid = errors.New("invalid value for the store")

	// ErrConflict reports that an identifier which the caller generates
	// (launch ID, candidate subject, ticket hash) is in use already. Nothing is
	// changed; it never joins two people.
	ErrConflict = errors.New("identifier already in use")

	// ErrReplayed reports a nonce that was spent before.
	ErrReplayed = errors.New("nonce already spent")

	// ErrUnknownUser reports a launch by a person without a link which may not
	// create one. Nothing is changed; in particular the nonce is not spent.
	ErrUnknownUser = errors.New("user not known")

	// ErrEmailInUse reports a launch by a person without a link whose address
	// belongs to an account that the launch may not be joined to. Nothing is
	// changed.
	ErrEmailInUse = errors.New("address belongs to another account")

	// ErrSuspended reports a person whose account is not active. Nothing is
	// changed.
	ErrSuspended = errors.New("account suspended")

	// ErrIssuerChanged reports a known person whose realm now launches under an
	// issuer that it had not when the person was last seen: another system may
	// have taken the place of the one that they belong to. Nothing is changed.
	ErrIssuerChanged = errors.New("issuer of the realm has changed")

	// ErrNotFound reports that there is no launch for a nonce, or no account
	// with a subject.
	ErrNotFound = errors.New("not found")

	// ErrTicketUnknown reports a ticket that was never issued, is of another
	// kind, or was purged.
	ErrTicketUnknown = errors.New("ticket unknown")
	// ErrTicketUsed reports a ticket that was spent before. It takes precedence
	// over ErrTicketExpired.
	ErrTicketUsed = errors.New("ticket already used")
	// ErrTicketExpired reports a ticket that was presented at or after its
	// ExpiresAt.
	ErrTicketExpired = errors.New("ticket expired")
)

// TicketGrace is how long Purge keeps a ticket after it expired, so that
// somebody who comes late is told that it expired, or was used, rather than that
// it never existed.
const TicketGrace = time.Hour

// Hash is the SHA-256 of a one-time token. Tokens themselves are never handed
// to the store, so that a copy of the database opens no session.
type Hash [sha256.Size]byte

// HashToken returns the Hash of a token. Tokens must carry at least 128 random
// bits: a plain hash does not protect anything that can be guessed.
func HashToken(token string) Hash { return sha256.Sum256([]byte(token)) }

// TicketKind says what a ticket may be spent on.
type TicketKind string

const (
	// TicketOpen lets a browser continue a verified launch in a top-level window.
	TicketOpen TicketKind = "open"
	// TicketCode lets the academy's back end, or the sign-in to the academy,
	// collect the launch.
	TicketCode TicketKind = "code"
	// TicketHint lets the academy's sign-in continue a launch in the browser that
	// was launched.
	TicketHint TicketKind = "hint"
)

// NewTicket is a one-time ticket to store.
type NewTicket struct {
	Kind      TicketKind
	Hash      Hash
	ExpiresAt time.Time
}

// MaxIdentifier is the length in bytes up to which identifiers and addresses are
// accepted. LTI allows a user, a deployment and the like 255 characters (Core
// 1.3, 5.3.6 and 5.3.3) and SMTP an address 254 bytes; an index of PostgreSQL has
// room for two of these together.
const MaxIdentifier = 1024

// Nonce is a value that may be accepted once within its scope.
type Nonce struct {
	// Scope names who chose the value, so that the nonces of two systems never
	// collide: one scope per registration or consumer key.
	Scope string
	// Value is the nonce as it was received.
	Value string
	// ExpiresAt is when the nonce may be forgotten. It must lie beyond the
	// moment from which the verifier refuses the message for its age, with a
	// margin for the difference between the clocks of replicas.
	ExpiresAt time.Time
}

// Profile is what is known about a person. Any value may be empty.
type Profile struct {
	GivenName  string
	FamilyName string
	Email      string
}

// NewLaunch is a verified launch to accept.
type NewLaunch struct {
	// Nonce is spent by accepting the launch.
	Nonce Nonce
	// CandidateSubject becomes the subject of the account when one is created:
	// an opaque 128-bit identifier, generated anew for every call. It is
	// ignored for a person who has an account.
	CandidateSubject string
	// MayCreateUser allows an account to be created. It requires an address in
	// Profile.
	MayCreateUser bool
	// EmailVouched says that the system which launches may speak for the
	// address in Profile, so that an account with that address is the person's.
	// See Launch.EmailVouched.
	EmailVouched bool
	// PreviousIssuers are issuers under which people of this realm were known
	// before; a person last seen under one of them is the same under Issuer.
	PreviousIssuers []string
	// DirectoryID is the account that the academy's directory has for the person;
	// empty where accounts are kept here only. See AcceptLaunch.
	DirectoryID string
	// EnrolIn is the group of the directory that the person is to be a member of;
	// empty for none. It is due at once.
	EnrolIn string
	// Former is who the person was under another identity that the launch
	// proved, if any. A person without a link gets the account of that one.
	Former *Identity
	// Profile is what this launch says about the person. Values that are not
	// empty replace the names stored before. A launch never changes the address
	// of an account.
	Profile Profile
	// Ticket is issued for the launch.
	Ticket NewTicket
	// Grade makes the launch the newest one of its cell in the other system's
	// gradebook; nil for a launch without a grade.
	Grade *NewGrade

	LaunchInfo
}

// LaunchInfo holds what a launch was about, as it was verified.
type LaunchInfo struct {
	// ID identifies the launch; generated by the caller.
	ID string
	// Activity is the name of the LTIActivity.
	Activity string
	// Platform is the name of the LTIPlatform; empty for a launch with an
	// activity's own consumer key.
	Platform string
	// Version is the LTI version, such as "1.3.0" or "LTI-1p0".
	Version string
	// Realm and LTIUserID together identify the person: an LTIUserID means
	// nothing outside its realm.
	Realm     string
	LTIUserID string
	// Roles are the role URNs as received; Role is what they amount to here.
	Roles []string
	Role  string

	ContextID         string
	ContextTitle      string
	ResourceLinkID    string
	ResourceLinkTitle string

	// DeploymentID, Issuer and ClientID are set for LTI 1.3, ConsumerKey for 1.2.
	DeploymentID string
	Issuer       string
	ClientID     string
	ConsumerKey  string

	// Claims is a JSON document with whatever else later steps need (service
	// endpoints, custom parameters), or nil. It must not hold secrets.
	Claims json.RawMessage
}

// Identity is a person of another system. LTIUserID means nothing outside of its
// realm.
type Identity struct {
	Realm     string
	LTIUserID string
}

// Account is what there is to know of an account before a launch of its person.
type Account struct {
	Subject string
	// InDirectory says that Subject is the account's ID in the academy's directory.
	InDirectory bool
	Active      bool
	// Issuer is the one that the person was last seen under; empty if there was none.
	Issuer string
}

// Enrolment is a membership that the academy's directory is to have.
type Enrolment struct {
	Subject, Group string
	// Attempts is how often it was tried in vain.
	Attempts int
	// DueAt is since when it is due.
	DueAt time.Time
	Lease string
}

// UnknownDeployment is a deployment of a platform that launched, provably, and
// that no registration lists.
type UnknownDeployment struct {
	// Platform is the name of the LTIPlatform.
	Platform string
	// DeploymentID as the platform sent it.
	DeploymentID string
	// FirstSeenAt and LastSeenAt are in UTC with microseconds.
	FirstSeenAt, LastSeenAt time.Time
}

// MaxUnknownDeployments is how many unknown deployments are kept for each
// platform: those that launched last.
const MaxUnknownDeployments = 20

// Launch is an accepted launch.
type Launch struct {
	LaunchInfo
	// Subject is the opaque identifier of the person's account, the same in
	// every launch of the same realm and LTIUserID.
	Subject string
	// Profile is what is stored for the account at the time of the call, which
	// may be more than this launch said.
	Profile Profile
	// EmailVouched says that a system which may speak for the address in
	// Profile has named it for this person. Without, anybody may have.
	EmailVouched bool
	// CreatedAt is when the launch was accepted, in UTC with microseconds.
	CreatedAt time.Time
}

// Purged counts the rows that Purge deleted.
type Purged struct {
	Nonces   int64
	Tickets  int64
	Launches int64
}

// Store is the durable state of the launch handler. All methods are safe for
// concurrent use, by any number of processes that share one database. Every
// method that changes something does so in one transaction that is durable when
// it returns. Failures of the database are wrapped with ErrUnavailable.
//
// Times are kept in microseconds.
type Store interface {
	// AcceptLaunch spends the nonce, finds or creates the person's account,
	// refreshes its profile, records the launch and issues its ticket: all of
	// it or nothing.
	//
	// The account is, in this order:
	//
	//  1. the one that (Realm, LTIUserID) is linked to. If the link was last used
	//     under another issuer, neither empty nor among PreviousIssuers, the
	//     launch fails with ErrIssuerChanged; an empty Issuer is not compared
	//     and does not replace the one of the link.
	//  2. the one that Former is linked to
	//  3. if MayCreateUser: the one account with the address in Profile
	//     (compared without case), if both EmailVouched and the account's own
	//     are set; with an address that is taken otherwise the launch fails with
	//     ErrEmailInUse. Joining on the word of one side only would let whoever
	//     creates an account first with somebody's address share it with them.
	//  4. if MayCreateUser: a new one, with EmailVouched as in the launch
	//
	// and otherwise the launch fails with ErrUnknownUser. In cases 2 and 3 the
	// person gets a link of their own. An account whose address is that of
	// Profile becomes vouched for when the launch is; it never ceases to be.
	// An account that is not active fails with ErrSuspended, instead of
	// ErrEmailInUse where it would be joined.
	//
	// With DirectoryID the directory has settled who the person is: the account is
	// the one with that subject, new if there is none, and addresses are not
	// compared. An account of case 1 or 2 that is not in the directory becomes that
	// one, with its links, progress and grades; another one that is fails with
	// ErrConflict.
	//
	// It may also fail with ErrReplayed, ErrConflict or ErrInvalid; when more
	// than one applies, ErrInvalid comes first, then ErrReplayed.
	AcceptLaunch(ctx context.Context, launch NewLaunch) (Launch, error)

	// ExchangeTicket spends the ticket of the given kind and issues the next
	// one for the same launch. Exactly one of any number of concurrent callers
	// succeeds. It fails with ErrTicketUnknown, ErrTicketUsed or
	// ErrTicketExpired, and with ErrConflict or ErrSuspended, in which cases the
	// ticket is not spent.
	ExchangeTicket(ctx context.Context, kind TicketKind, token Hash, next NewTicket) (Launch, error)

	// RedeemCode spends a ticket of kind TicketCode, with the guarantees and
	// errors of ExchangeTicket.
	RedeemCode(ctx context.Context, code Hash) (Launch, error)

	// LaunchByNonce returns the launch that spent a nonce, so that a launch
	// posted again by a reload can be explained. It fails with ErrNotFound,
	// which is also the answer once the nonce or the launch was purged.
	LaunchByNonce(ctx context.Context, scope, nonce string) (Launch, error)

	// Launch returns the launch with an ID. It fails with ErrNotFound, which is also
	// the answer once the launch was purged. The launch comes with ErrSuspended as
	// well.
	Launch(ctx context.Context, id string) (Launch, error)

	// Account returns the account of a person. It fails with ErrNotFound.
	Account(ctx context.Context, person Identity) (Account, error)

	// LeaseEnrolments leases at most n enrolments that are due, the ones that have
	// waited longest first.
	LeaseEnrolments(ctx context.Context, now, until time.Time, n int) ([]Enrolment, error)

	// SettleEnrolment ends a lease. The enrolment is due again at the given time
	// after one more attempt in vain, or done if that is zero. One that a launch has
	// asked for since it was leased is due as that launch made it. It fails with
	// ErrLeaseLost.
	SettleEnrolment(ctx context.Context, e Enrolment, again time.Time) error

	// PutPending keeps a launch that is not accepted yet until its person has signed
	// in. It fails with ErrConflict for a token that is in use.
	PutPending(ctx context.Context, token Hash, launch []byte, expiresAt time.Time) error

	// Pending returns what PutPending kept, any number of times: accepting the launch
	// spends its nonce. It fails with ErrTicketUnknown or ErrTicketExpired.
	Pending(ctx context.Context, token Hash) ([]byte, error)

	// SetAccountActive suspends an account (false) or lifts that (true). It
	// fails with ErrNotFound.
	SetAccountActive(ctx context.Context, subject string, active bool) error

	// NoteUnknownDeployment remembers that an unlisted deployment launched. Of
	// each platform the MaxUnknownDeployments that launched last are kept.
	NoteUnknownDeployment(ctx context.Context, platform, deploymentID string) error

	// UnknownDeployments lists what NoteUnknownDeployment kept, by platform, the
	// one that launched last first.
	UnknownDeployments(ctx context.Context) ([]UnknownDeployment, error)

	// Purge deletes nonces that expired by now, tickets that expired
	// TicketGrace before now, and launches accepted more than launchRetention
	// before now, with their tickets. Accounts and links of people stay, and so
	// do unknown deployments, unless they launched last more than
	// launchRetention before now, and the academy's own learners with their
	// results. It works in small transactions, so that launches are accepted in
	// between; the counts are right even when it fails halfway.
	Purge(ctx context.Context, now time.Time, launchRetention time.Duration) (Purged, error)

	Grades
	Results
	Registrations

	// Ping reports whether the store can answer.
	Ping(ctx context.Context) error

	// Close releases the store. Later calls fail with ErrUnavailable; closing
	// again is not an error.
	Close() error
}

// IssuerChanged tells whether the person, last seen under another issuer, may be
// somebody else by now.
func (l NewLaunch) IssuerChanged(before string) bool {
	return l.Issuer != "" && before != "" && l.Issuer != before && !slices.Contains(l.PreviousIssuers, before)
}

// Validate reports, wrapping ErrInvalid, why no implementation would accept the
// launch. Implementations call it first, so that they all refuse the same.
func (l NewLaunch) Validate() error {
	if err := l.Nonce.Validate(); err != nil {
		return err
	}
	required := []struct{ name, value string }{
		{"launch ID", l.ID},
		{"activity", l.Activity},
		{"version", l.Version},
		{"realm", l.Realm},
		{"LTI user ID", l.LTIUserID},
	}
	if l.MayCreateUser && l.DirectoryID == "" {
		required = append(required, []struct{ name, value string }{
			{"candidate subject", l.CandidateSubject}, {"email", EmailKey(l.Profile.Email)},
		}...)
	}
	if l.Former != nil {
		required = append(required, []struct{ name, value string }{
			{"former realm", l.Former.Realm}, {"former LTI user ID", l.Former.LTIUserID},
		}...)
	}
	for _, f := range required {
		if f.value == "" {
			return fmt.Errorf("%w: %s is empty", ErrInvalid, f.name)
		}
		if len(f.value) > MaxIdentifier {
			return fmt.Errorf("%w: %s is longer than %d bytes", ErrInvalid, f.name, MaxIdentifier)
		}
	}
	texts := []struct{ name, value string }{
		{"launch ID", l.ID},
		{"activity", l.Activity},
		{"platform", l.Platform},
		{"version", l.Version},
		{"realm", l.Realm},
		{"LTI user ID", l.LTIUserID},
		{"role", l.Role},
		{"context ID", l.ContextID},
		{"context title", l.ContextTitle},
		{"resource link ID", l.ResourceLinkID},
		{"resource link title", l.ResourceLinkTitle},
		{"deployment ID", l.DeploymentID},
		{"issuer", l.Issuer},
		{"client ID", l.ClientID},
		{"consumer key", l.ConsumerKey},
		{"candidate subject", l.CandidateSubject},
		{"directory ID", l.DirectoryID},
		{"group", l.EnrolIn},
		{"given name", l.Profile.GivenName},
		{"family name", l.Profile.FamilyName},
		{"email", l.Profile.Email},
	}
	if l.Former != nil {
		texts = append(texts, []struct{ name, value string }{
			{"former realm", l.Former.Realm}, {"former LTI user ID", l.Former.LTIUserID},
		}...)
	}
	for _, r := range l.Roles {
		texts = append(texts, struct{ name, value string }{"roles", r})
	}
	for _, f := range texts {
		if !Storable(f.value) {
			return fmt.Errorf("%w: %s is not valid text", ErrInvalid, f.name)
		}
	}
	if l.Grade != nil {
		if err := l.Grade.Key.Validate(); err != nil {
			return err
		}
	}
	if len(l.DirectoryID) > MaxIdentifier || len(l.EnrolIn) > MaxIdentifier {
		return fmt.Errorf("%w: directory ID or group is longer than %d bytes", ErrInvalid, MaxIdentifier)
	}
	if err := validateJSON("claims", l.Claims); len(l.Claims) > 0 && err != nil {
		return err
	}
	return l.Ticket.Validate()
}

// Validate reports, wrapping ErrInvalid, why no implementation would accept the
// nonce. Its value may be any text: it is kept as a hash.
func (n Nonce) Validate() error {
	switch {
	case n.Value == "":
		return fmt.Errorf("%w: nonce is empty", ErrInvalid)
	case n.ExpiresAt.IsZero():
		return fmt.Errorf("%w: nonce has no expiry", ErrInvalid)
	}
	return validate(text{"nonce scope", n.Scope, true})
}

// Validate reports, wrapping ErrInvalid, why no implementation would accept the
// ticket.
func (t NewTicket) Validate() error {
	switch {
	case t.Kind != TicketOpen && t.Kind != TicketCode && t.Kind != TicketHint:
		return fmt.Errorf("%w: ticket kind %q", ErrInvalid, t.Kind)
	case t.Hash == Hash{}:
		return fmt.Errorf("%w: ticket has no hash", ErrInvalid)
	case t.ExpiresAt.IsZero():
		return fmt.Errorf("%w: ticket has no expiry", ErrInvalid)
	}
	return nil
}

// Validate reports, wrapping ErrInvalid, why no implementation would note the
// deployment. Its times do not matter.
func (d UnknownDeployment) Validate() error {
	return validate(text{"platform", d.Platform, true}, text{"deployment ID", d.DeploymentID, true})
}

// EmailKey returns the form in which the addresses of accounts are compared. It
// is computed here and not by the database, because engines disagree about the
// case of letters beyond ASCII.
func EmailKey(address string) string { return strings.ToLower(strings.TrimSpace(address)) }

// Storable reports whether every engine stores s unchanged: PostgreSQL has no NUL
// in text and refuses invalid UTF-8. What is not storable is in no database.
func Storable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

// text is a named value to validate.
type text struct {
	name, value string
	required    bool
}

// validate reports, wrapping ErrInvalid, the first text that no implementation
// would accept.
func validate(texts ...text) error {
	for _, f := range texts {
		switch {
		case f.required && f.value == "":
			return fmt.Errorf("%w: %s is empty", ErrInvalid, f.name)
		case len(f.value) > MaxIdentifier:
			return fmt.Errorf("%w: %s is longer than %d bytes", ErrInvalid, f.name, MaxIdentifier)
		case !Storable(f.value):
			return fmt.Errorf("%w: %s is not valid text", ErrInvalid, f.name)
		}
	}
	return nil
}

// validateJSON reports, wrapping ErrInvalid, a document that is not JSON.
func validateJSON(name string, document json.RawMessage) error {
	if !json.Valid(document) || !Storable(string(document)) {
		return fmt.Errorf("%w: %s: not JSON", ErrInvalid, name)
	}
	return nil
}

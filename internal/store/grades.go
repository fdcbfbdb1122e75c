package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"
)

// ErrKeyReused reports an idempotency key that came with another request before.
// Nothing is changed.
var ErrKeyReused = errors.New("idempotency key used for another request")

// ErrLeaseLost reports something that is no longer leased to the caller. Nothing
// is changed.
var ErrLeaseLost = errors.New("lease lost")

// Link is one placement of an activity in another system: that of one column of a
// gradebook.
type Link struct {
	// Registration names the registration or the consumer key that launches; never
	// empty. Grades of one registration wait in one queue.
	Registration   string
	DeploymentID   string
	ContextID      string
	ResourceLinkID string
}

// ID is a name for the link that is the same on every replica: SHA-256, in hex.
func (l Link) ID() string {
	return digest(l.Registration, l.DeploymentID, l.ContextID, l.ResourceLinkID)
}

// GradeKey is one learner at one link: a cell of a gradebook.
type GradeKey struct {
	Link
	LTIUserID string
}

// ID is a name for the cell that is the same on every replica: SHA-256, in hex.
func (k GradeKey) ID() string {
	return digest(k.Registration, k.DeploymentID, k.ContextID, k.ResourceLinkID, k.LTIUserID)
}

// digest hashes texts so that no two lists of them have one hash.
func digest(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(t)))
		h.Write([]byte(t))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Grade is what a cell of another system's gradebook shall hold, and is known to.
type Grade struct {
	Key GradeKey
	// Subject is the learner's account, Activity the name of the LTIActivity that
	// was launched last.
	Subject, Activity string
	// Address and State are JSON documents: where the grade goes, and how far that
	// has come. They must not hold secrets.
	Address, State json.RawMessage
	// DueAt is when to look at the grade again; zero for never.
	DueAt time.Time
	// UpdatedAt is when it was last changed, in UTC with microseconds.
	UpdatedAt time.Time
}

// LeasedGrade is a grade that nobody else sends for the time of the lease.
type LeasedGrade struct {
	Grade
	Lease string
}

// NewGrade makes a launch the newest one of its cell.
type NewGrade struct {
	Key GradeKey
	// Join is told what is known about the person in the activity, nil for nothing,
	// and the grade: Subject and Activity are those of the launch, Address and State
	// nil if the cell is new. Subject may be empty. With the same progress it leaves
	// what it has made as it is. It may be called more than once, and must not block.
	Join func(progress json.RawMessage, g *Grade) error
}

// Idempotency lets a request be repeated without being carried out twice.
type Idempotency struct {
	// Client has keys of its own.
	Client string
	Key    string
	// Request is the hash of what is asked for.
	Request Hash
	// ExpiresAt is when the key may be forgotten.
	ExpiresAt time.Time
}

// ProgressReport says what has become known about a person in an activity.
type ProgressReport struct {
	Subject, Activity string
	// Idempotency may be nil.
	Idempotency *Idempotency
	// Progress returns what is known now, from what was known before (nil for
	// nothing). Grade is then called for each grade of the person in the activity.
	// Both may be called more than once, and must not block.
	Progress func(before json.RawMessage) (json.RawMessage, error)
	Grade    func(progress json.RawMessage, g *Grade) error
}

// GradeFilter selects grades; empty fields select all.
type GradeFilter struct {
	Subject, Activity, Registration string
	// ID selects one cell.
	ID string
	// Limit is the most that is returned; at least 1.
	Limit int
}

// Grades is what is known about learners, and the gradebooks it is for. Methods
// and errors are as in Store.
type Grades interface {
	// ReportProgress changes what is known about a person in an activity together
	// with the grades that follow from it: all or nothing. Reports about one person
	// and activity run one after the other. It fails with ErrNotFound for an unknown
	// person and with ErrKeyReused; a request that is repeated changes nothing.
	// Errors of the report's functions are returned as they are.
	ReportProgress(ctx context.Context, r ProgressReport) (progress json.RawMessage, err error)

	// Progress returns what is known about a person in an activity. It fails with
	// ErrNotFound.
	Progress(ctx context.Context, subject, activity string) (json.RawMessage, error)

	// LeaseGrades leases at most n grades that are due, the ones that have waited
	// longest first, but none of the full registrations. A grade that is due, or
	// leased, for longer than LongestPause is due: the clock was set back.
	LeaseGrades(ctx context.Context, now, until time.Time, n int, full []string) ([]LeasedGrade, error)

	// UpdateGrade changes address, state and DueAt of a leased grade, as it is by
	// now. It ends the lease if release is set. It fails with ErrLeaseLost.
	UpdateGrade(ctx context.Context, id, lease string, release bool, change func(g *Grade) error) error

	// ChangeGrade changes address, state and DueAt of a grade, leased or not. It
	// fails with ErrNotFound.
	ChangeGrade(ctx context.Context, id string, change func(g *Grade) error) error

	// ListGrades returns grades, the one that was changed last first.
	ListGrades(ctx context.Context, f GradeFilter) ([]Grade, error)

	// LeaseLineItem returns the address of the line item that was made for a link.
	// If there is none it leases the making of it: of any number of concurrent
	// callers one gets a lease, and the others neither.
	LeaseLineItem(ctx context.Context, l Link, now, until time.Time) (url, lease string, err error)

	// SetLineItem ends a lease with the address of the line item, or without one. It
	// fails with ErrLeaseLost.
	SetLineItem(ctx context.Context, l Link, lease, url string) error

	// ForgetLineItem forgets a line item that is gone, unless there is another one
	// by now.
	ForgetLineItem(ctx context.Context, l Link, url string) error
}

// LongestPause is how far ahead of the clock anything may be due.
const LongestPause = 65 * time.Minute

// MaxFull is how many full registrations LeaseGrades takes.
const MaxFull = 8

// Validate reports, wrapping ErrInvalid, why no implementation would accept the
// key.
func (k GradeKey) Validate() error {
	return validate(text{"registration", k.Registration, true}, text{"deployment ID", k.DeploymentID, false},
		text{"context ID", k.ContextID, false}, text{"resource link ID", k.ResourceLinkID, true},
		text{"LTI user ID", k.LTIUserID, true})
}

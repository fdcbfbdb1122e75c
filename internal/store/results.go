package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrTooMany reports that there are as many of something as are kept. Nothing is
// changed.
var ErrTooMany = errors.New("too many")

// FormRealm is the realm of learners as tools of LTI 1.2 know them.
const FormRealm = "lti12"

// ToolRealm is the realm of learners as one tool of LTI 1.3 knows them.
func ToolRealm(tool string) string { return "tool/" + tool }

// Learner is one of the academy's own learners, as tools know them. Tools of
// different realms know the same learner by different IDs.
type Learner struct {
	Realm string
	// ID is what tools call the learner: sub (LTI 1.3) or user_id (LTI 1.2). Opaque,
	// at least 128 random bits.
	ID string
	// Subject is who the learner is at the academy's identity provider.
	Subject string
	// What the identity provider said when the learner last opened something. Any
	// may be empty.
	GivenName, FamilyName, Name, Email, Locale string
	// SeenAt is when that was, in UTC with microseconds. MeetLearner sets it.
	SeenAt time.Time
}

// ResultKey is one learner in one line item of one external activity.
type ResultKey struct {
	// Realm is that of the learner.
	Realm string
	// Activity is the name of the LTIActivity.
	Activity string
	// LineItem is empty for the result of the activity itself, else the ID of a
	// ToolLineItem; never ActivityLineItem.
	LineItem  string
	LearnerID string
}

// ID is a name for the result that is the same on every replica: SHA-256, in hex.
func (k ResultKey) ID() string { return digest(k.Realm, k.Activity, k.LineItem, k.LearnerID) }

// LineItemID is a name for a line item, empty for that of the activity itself, that
// is the same on every replica: SHA-256, in hex.
func LineItemID(realm, activity, lineItem string) string { return digest(realm, activity, lineItem) }

// Result is how a learner did in an external activity.
type Result struct {
	Key ResultKey
	// Subject is who the learner is at the academy's identity provider.
	Subject string
	// OutcomeID is what Basic Outcomes calls the result (lis_result_sourcedid):
	// opaque, at least 128 random bits. It is empty in a line item of LTI 1.3.
	OutcomeID string
	// State is a JSON document: what has become of it, and how far the academy has
	// been told. It must not hold secrets. Nil for a new result.
	State json.RawMessage
	// DueAt is when the academy is to be told; zero for never.
	DueAt time.Time
	// StartedAt is when the learner first opened the activity, and UpdatedAt when
	// State or DueAt last changed, in UTC with microseconds.
	StartedAt, UpdatedAt time.Time
}

// LeasedResult is a result that nobody else tells the academy about for the time
// of the lease.
type LeasedResult struct {
	Result
	Lease string
}

// ResultMessage is one message of a tool that changed a result.
type ResultMessage struct {
	// At is when it was accepted, in UTC with microseconds.
	At time.Time
	// Message is a JSON document.
	Message json.RawMessage
}

// MaxHistory is how many messages are kept of each result: the newest.
const MaxHistory = 200

// ResultChange changes a result.
type ResultChange struct {
	// Nonce is spent with it; nil for none.
	Nonce *Nonce
	// Change changes State and DueAt, and may return a message for the history. An
	// error of it is returned as it is, and nothing is changed, so that the nonce is
	// not spent. It may be called more than once, and must not block.
	Change func(r *Result) (message json.RawMessage, err error)
}

// ResultFilter selects results; empty fields select all, except LineItem.
type ResultFilter struct {
	Realm, Activity, LearnerID, Subject string
	// LineItem selects results of one line item; empty for those of activities
	// themselves.
	LineItem string
	// After is the ID of the last result of the page before.
	After string
	// Limit is the most that is returned; at least 1.
	Limit int
}

// ToolLineItem is a line item that a tool made in the gradebook of an external
// activity, or what it changed in that of the activity itself, whose ID is
// ActivityLineItem.
type ToolLineItem struct {
	Realm, Activity, ID string
	// Document is JSON.
	Document json.RawMessage
	// CreatedAt is in UTC with microseconds. PutToolLineItem sets it when it stores
	// the ID for the first time.
	CreatedAt time.Time
}

// ActivityLineItem is the ID of the line item that an external activity always
// has. Its results have an empty ResultKey.LineItem.
const ActivityLineItem = "activity"

// MaxToolLineItems is how many line items a tool may make for one activity, besides
// ActivityLineItem.
const MaxToolLineItems = 1000

// Results is what is known about the academy's own learners in external
// activities. Methods and errors are as in Store; when more than one error applies,
// ErrInvalid comes first, then ErrReplayed.
type Results interface {
	// SpendNonce spends nonces alone: all, or none when one fails. It fails with
	// ErrReplayed.
	SpendNonce(ctx context.Context, all ...Nonce) error

	// MeetLearner finds the learner of a realm and subject, or makes one with the ID
	// of l, and stores what l says about the person, also what is empty. It returns
	// the learner as stored. Of concurrent callers with different IDs one decides.
	// It fails with ErrConflict for a new learner whose ID is in use in the realm.
	MeetLearner(ctx context.Context, l Learner) (Learner, error)

	// Learner returns the learner of an ID. It fails with ErrNotFound.
	Learner(ctx context.Context, realm, id string) (Learner, error)

	// Members returns the learners who have a result of the activity itself, in the
	// order of their IDs, at most limit (at least 1), those after the ID after. A
	// result in a tool's line item makes nobody a member.
	Members(ctx context.Context, realm, activity, after string, limit int) ([]Learner, error)

	// BeginResult spends a nonce, unless it is nil, and makes the result of r.Key if
	// there is none, with the OutcomeID of r, the subject of the learner and without
	// State: all or nothing. It returns the result as stored; one that was there stays
	// as it is. It fails with ErrReplayed, with ErrNotFound for a learner that was
	// never met or a line item that is not stored, and with ErrConflict for a new
	// result whose OutcomeID is in use.
	BeginResult(ctx context.Context, n *Nonce, r Result) (Result, error)

	// Result returns a result. It fails with ErrNotFound.
	Result(ctx context.Context, key ResultKey) (Result, error)

	// ResultByID returns the result of a key's ID. It fails with ErrNotFound.
	ResultByID(ctx context.Context, id string) (Result, error)

	// ResultByOutcome returns the result of an OutcomeID. It fails with ErrNotFound,
	// also for an empty one.
	ResultByOutcome(ctx context.Context, outcomeID string) (Result, error)

	// ChangeResult changes State and DueAt of a result, leased or not, and nothing
	// else, and returns it as stored. Changes of one result run one after the other.
	// It fails with ErrNotFound and ErrReplayed.
	ChangeResult(ctx context.Context, id string, c ResultChange) (Result, error)

	// ListResults returns results in the order of their IDs. It is quick where the
	// filter names a subject or an activity.
	ListResults(ctx context.Context, f ResultFilter) ([]Result, error)

	// ResultHistory returns the messages of a result, the newest first, at most limit
	// (at least 1).
	ResultHistory(ctx context.Context, id string, limit int) ([]ResultMessage, error)

	// LeaseResults leases at most n results that are due, the ones that have waited
	// longest first. A result that is due, or leased, for longer than LongestPause is
	// due: the clock was set back.
	LeaseResults(ctx context.Context, now, until time.Time, n int) ([]LeasedResult, error)

	// UpdateResult changes State and DueAt of a leased result, as it is by now, and
	// ends the lease. It fails with ErrLeaseLost. An error of change is returned as it
	// is; nothing is changed then, and the lease goes on.
	UpdateResult(ctx context.Context, id, lease string, change func(r *Result) error) error

	// PutToolLineItem stores a line item, new or instead of the one with its ID. It
	// fails with ErrTooMany for a new one beyond MaxToolLineItems.
	PutToolLineItem(ctx context.Context, l ToolLineItem) error

	// ToolLineItem returns a line item. It fails with ErrNotFound.
	ToolLineItem(ctx context.Context, realm, activity, id string) (ToolLineItem, error)

	// ToolLineItems returns the line items of an activity, the oldest first.
	ToolLineItems(ctx context.Context, realm, activity string) ([]ToolLineItem, error)

	// DeleteToolLineItem deletes a line item with its results and their messages; of
	// ActivityLineItem only what was stored here, as the results are those of the
	// activity itself. It fails with ErrNotFound.
	DeleteToolLineItem(ctx context.Context, realm, activity, id string) error
}

// Validate reports, wrapping ErrInvalid, why no implementation would accept the
// key.
func (k ResultKey) Validate() error {
	if k.LineItem == ActivityLineItem {
		return fmt.Errorf("%w: the line item of the activity itself is named", ErrInvalid)
	}
	return validate(text{"realm", k.Realm, true}, text{"activity", k.Activity, true},
		text{"line item", k.LineItem, false}, text{"learner ID", k.LearnerID, true})
}

// Validate reports, wrapping ErrInvalid, why no implementation would accept the
// learner.
func (l Learner) Validate() error {
	return validate(text{"realm", l.Realm, true}, text{"learner ID", l.ID, true}, text{"subject", l.Subject, true},
		text{"given name", l.GivenName, false}, text{"family name", l.FamilyName, false}, text{"name", l.Name, false},
		text{"email", l.Email, false}, text{"locale", l.Locale, false})
}

// Validate reports, wrapping ErrInvalid, why no implementation would accept the
// result. Its subject and times do not matter.
func (r Result) Validate() error {
	if err := r.Key.Validate(); err != nil {
		return err
	}
	if err := validateJSON("state", r.State); len(r.State) > 0 && err != nil {
		return err
	}
	return validate(text{"outcome ID", r.OutcomeID, false})
}

// Validate reports, wrapping ErrInvalid, why no implementation would accept the
// message.
func (m ResultMessage) Validate() error { return validateJSON("message", m.Message) }

// Validate reports, wrapping ErrInvalid, why no implementation would accept the
// line item.
func (l ToolLineItem) Validate() error {
	if err := validateJSON("line item", l.Document); err != nil {
		return err
	}
	return validate(text{"realm", l.Realm, true}, text{"activity", l.Activity, true}, text{"line item", l.ID, true})
}

// SPDX-License-Identifier: Apache-2.0

package grades

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

// Book keeps progress and grades in a store. It is the Rows of a Worker.
type Book struct {
	Store store.Grades
	Now   func() time.Time
	// Wake is told that there may be something to send; nil for nobody.
	Wake func()
}

var _ Rows = (*Book)(nil)

// record is what a store keeps of a grade, beside its address.
type record struct {
	Row Row `json:"row"`
	// Grade is the wanted one; nil for none.
	Grade *Grade `json:"grade,omitempty"`
}

var errUnreadable = errors.New("what is stored of a grade cannot be read")

func read(g *store.Grade) (r record, a Address, err error) {
	if len(g.State) == 0 {
		return record{}, Address{}, nil
	}
	if errors.Join(json.Unmarshal(g.State, &r), json.Unmarshal(g.Address, &a)) != nil {
		return record{}, Address{}, errUnreadable
	}
	return r, a, nil
}

func write(g *store.Grade, r *record, a *Address) (err error) {
	r.Row.Protocol = a.Protocol
	if g.State, err = json.Marshal(r); err != nil {
		return fmt.Errorf("write a grade: %w", err)
	}
	if g.Address, err = json.Marshal(a); err != nil {
		return fmt.Errorf("write the address of a grade: %w", err)
	}
	g.DueAt = time.Time{}
	if r.Row.Pending() && r.Row.Parked == "" {
		g.DueAt = r.Row.DueAt
	}
	return nil
}

func readProgress(text json.RawMessage) (p Progress, err error) {
	if len(text) == 0 {
		return Progress{}, nil
	}
	if json.Unmarshal(text, &p) != nil {
		return Progress{}, errors.New("what is stored of a learner's progress cannot be read")
	}
	return p, nil
}

// wants makes the grade that follows from the progress the wanted one.
func (r *record) wants(p Progress, policy Policy, now time.Time) {
	grade := p.Grade(policy)
	switch {
	case grade == nil && (r.Grade == nil || !p.withdrawn()):
		// A grade goes only when it is taken back: an activity whose policy has changed keeps what was sent.
	case grade != nil && r.Grade != nil && *grade == *r.Grade:
	default:
		r.Grade = grade
		r.Row = r.Row.Want(now)
	}
}

// Join returns the Join of a launch that has a grade: it replaces the address, and what the academy knows already is
// sent without being asked for.
func (b *Book) Join(key store.GradeKey, to Address, policy Policy) *store.NewGrade {
	return &store.NewGrade{Key: key, Join: func(progress json.RawMessage, g *store.Grade) error {
		r, from, err := read(g)
		if err != nil {
			return err
		}
		p, err := readProgress(progress)
		if err != nil {
			return err
		}
		now, before := b.Now(), r
		switch {
		case r.Grade != nil && from.elsewhere(&to):
			r.Row = r.Row.Want(now)
		case r.Row.Parked != "":
			// Somebody may have mended it: a launch is as good as a request to try again.
			r.Row = r.Row.Resend(now)
		}
		r.wants(p, policy, now)
		if len(g.State) > 0 && r == before && reflect.DeepEqual(from, to) {
			return nil // as most launches of people who come again
		}
		return write(g, &r, &to)
	}}
}

// elsewhere tells whether the grade goes to another place than before. The sourced ID of Basic Outcomes is none: Moodle
// makes a new one for each launch.
func (a *Address) elsewhere(to *Address) bool {
	return a.LineItemURL != to.LineItemURL && to.LineItemURL != "" || a.ServiceURL != to.ServiceURL
}

// Report stores what the academy says about a learner in an activity, and what follows from it for gradebooks. When it
// returns without an error nothing of it can be lost. It returns what is known now.
//
// Errors: ErrInvalidReport, and those of store.Grades.
func (b *Book) Report(ctx context.Context, subject, activity string, policy Policy, report *Report, key *store.Idempotency) (Progress, error) {
	if err := report.Validate(); err != nil {
		return Progress{}, err
	}
	stored, err := b.Store.ReportProgress(ctx, store.ProgressReport{
		Subject: subject, Activity: activity, Idempotency: key,
		Progress: func(before json.RawMessage) (json.RawMessage, error) {
			p, err := readProgress(before)
			if err != nil {
				return nil, err
			}
			if !report.At.After(p.At) {
				return before, nil
			}
			return json.Marshal(p.With(report))
		},
		Grade: func(progress json.RawMessage, g *store.Grade) error {
			p, err := readProgress(progress)
			if err != nil {
				return err
			}
			r, to, err := read(g)
			if err != nil {
				return err
			}
			r.wants(p, policy, b.Now())
			return write(g, &r, &to)
		},
	})
	if err != nil {
		return Progress{}, fmt.Errorf("report progress: %w", err)
	}
	if b.Wake != nil {
		b.Wake()
	}
	return readProgress(stored)
}

// Progress returns what is known about a learner in an activity; the zero value for nothing.
func (b *Book) Progress(ctx context.Context, subject, activity string) (Progress, error) {
	stored, err := b.Store.Progress(ctx, subject, activity)
	if errors.Is(err, store.ErrNotFound) {
		return Progress{}, nil
	}
	if err != nil {
		return Progress{}, fmt.Errorf("find progress: %w", err)
	}
	return readProgress(stored)
}

// LeaseGrades implements Rows. A grade that cannot be read is left until its lease ends, and is an error beside the others.
func (b *Book) LeaseGrades(ctx context.Context, now, until time.Time, n int, full []string) ([]Leased, error) {
	leased, err := b.Store.LeaseGrades(ctx, now, until, n, full)
	if err != nil {
		return nil, fmt.Errorf("lease grades: %w", err)
	}
	rows := make([]Leased, 0, len(leased))
	var unreadable error
	for i := range leased {
		l := &leased[i]
		r, to, err := read(&l.Grade)
		if err != nil {
			unreadable = fmt.Errorf("grade %s: %w", l.Key.ID(), err)
			continue
		}
		rows = append(rows, Leased{
			ID: l.Key.ID(), Lease: l.Lease, Queue: l.Key.Registration, Address: to, Link: l.Key.Link, Activity: l.Activity,
			Grade: r.Grade, Row: r.Row,
		})
	}
	return rows, unreadable
}

// UpdateGrade implements Rows.
func (b *Book) UpdateGrade(ctx context.Context, id, lease string, release bool, change Change) error {
	err := b.Store.UpdateGrade(ctx, id, lease, release, func(g *store.Grade) error { return b.change(g, change) })
	if err != nil {
		return fmt.Errorf("update grade: %w", err)
	}
	return nil
}

func (b *Book) change(g *store.Grade, change Change) error {
	r, to, err := read(g)
	if err != nil {
		return err
	}
	r.Row = change(r.Row, &to)
	return write(g, &r, &to)
}

// State says how far a grade has come, for people.
type State string

// The states.
const (
	// StateNone: the academy has reported nothing that could be a grade.
	StateNone State = "None"
	// StateWaiting: there is a grade to send.
	StateWaiting State = "Waiting"
	// StateRetrying: sending failed, and is tried again.
	StateRetrying State = "Retrying"
	// StateRefused: the other system refused it, and it waits for somebody to ask for another attempt.
	StateRefused State = "Refused"
	// StateConfirmed: the other system has it.
	StateConfirmed State = "Confirmed"
)

// Entry is a grade as an administrator sees it.
type Entry struct {
	// ID is what the grade is sent again by.
	ID             string   `json:"id"`
	Registration   string   `json:"registration"`
	DeploymentID   string   `json:"deploymentID,omitempty"`
	ContextID      string   `json:"contextID,omitempty"`
	ResourceLinkID string   `json:"resourceLinkID"`
	LTIUserID      string   `json:"ltiUserID"`
	Subject        string   `json:"subject"`
	Activity       string   `json:"activity"`
	Protocol       Protocol `json:"protocol"`
	Grade          *Grade   `json:"grade,omitempty"`
	State          State    `json:"state"`
	// Wanted and Confirmed are those of the Row. They are for whoever runs this, not for the academy.
	Wanted    int64 `json:"-"`
	Confirmed int64 `json:"-"`
	// Reason is the code of what went wrong last.
	Reason    string    `json:"reason,omitempty"`
	Attempts  int       `json:"attempts,omitempty"`
	DueAt     time.Time `json:"dueAt,omitzero"`
	TriedAt   time.Time `json:"triedAt,omitzero"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// List returns grades for people to look at.
func (b *Book) List(ctx context.Context, f store.GradeFilter) ([]Entry, error) {
	found, err := b.Store.ListGrades(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("list grades: %w", err)
	}
	entries := make([]Entry, 0, len(found))
	for i := range found {
		g := &found[i]
		r, to, err := read(g)
		if err != nil {
			return nil, err
		}
		entries = append(entries, Entry{
			ID: g.Key.ID(), Registration: g.Key.Registration, DeploymentID: g.Key.DeploymentID, ContextID: g.Key.ContextID,
			ResourceLinkID: g.Key.ResourceLinkID, LTIUserID: g.Key.LTIUserID, Subject: g.Subject, Activity: g.Activity,
			Protocol: to.Protocol, Grade: r.Grade, State: r.Row.state(),
			Wanted: r.Row.Wanted, Confirmed: r.Row.Confirmed, Reason: r.Row.Problem, Attempts: r.Row.Attempts,
			DueAt: g.DueAt, TriedAt: r.Row.TriedAt, UpdatedAt: g.UpdatedAt,
		})
	}
	return entries, nil
}

func (r *Row) state() State {
	switch {
	case r.Wanted == 0:
		return StateNone
	case r.Parked != "":
		return StateRefused
	case r.Wanted == r.Confirmed:
		return StateConfirmed
	case r.Problem != "":
		return StateRetrying
	}
	return StateWaiting
}

// Resend sends a grade once more, whatever became of it. It fails with store.ErrNotFound.
func (b *Book) Resend(ctx context.Context, id string) error {
	err := b.Store.ChangeGrade(ctx, id, func(g *store.Grade) error {
		return b.change(g, func(r Row, _ *Address) Row { return r.Again(b.Now()) })
	})
	if err != nil {
		return fmt.Errorf("send a grade again: %w", err)
	}
	if b.Wake != nil {
		b.Wake()
	}
	return nil
}

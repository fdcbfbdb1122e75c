package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrBusy reports something that somebody else holds at this moment. Nothing is
// changed.
var ErrBusy = errors.New("held by somebody else")

// RegistrationLease is for how long a registration link is held by one attempt.
const RegistrationLease = 2 * time.Minute

// MaxRegistrations is how many registrations are kept for each object: the newest.
const MaxRegistrations = 4

// RegistrationLink lets somebody register another system, once.
type RegistrationLink struct {
	// Hash is that of the link's token.
	Hash      Hash
	ExpiresAt time.Time
}

// Registration is what a registration link was used for.
type Registration struct {
	// Kind and Name are those of the object that the link belongs to.
	Kind, Name string
	// ID tells registrations of the object apart: those with the same values share it.
	ID string
	// Document is a JSON document with the values. Unlike other documents it may hold
	// a secret, with which the registration is changed at the other system.
	Document json.RawMessage
	// RegisteredAt is in UTC with microseconds. CompleteRegistration sets it.
	RegisteredAt time.Time
}

// Registrations are the links by which other systems register, and what came of them.
type Registrations interface {
	// ClaimRegistrationLink holds a link for RegistrationLease, so that of several
	// attempts at once one goes on. It fails with ErrTicketUsed for a link that was
	// used, else with ErrTicketExpired, and with ErrBusy while another attempt holds
	// it.
	ClaimRegistrationLink(ctx context.Context, link RegistrationLink) (lease string, err error)

	// ReleaseRegistrationLink gives back a link that was not used. It does nothing for
	// a lease that is over.
	ReleaseRegistrationLink(ctx context.Context, link Hash, lease string) error

	// CompleteRegistration uses up a link and keeps what came of it, or neither. A
	// registration that is known by its ID is replaced. Of each object the newest
	// MaxRegistrations are kept. It fails with ErrLeaseLost for a lease that another
	// one has taken the place of.
	CompleteRegistration(ctx context.Context, link Hash, lease string, r Registration) error

	// Registrations lists what CompleteRegistration kept, oldest first. Documents may
	// hold secrets.
	Registrations(ctx context.Context) ([]Registration, error)
}

// Validate reports, wrapping ErrInvalid, why no implementation would keep the
// registration. RegisteredAt does not matter.
func (r Registration) Validate() error {
	if err := validate(text{"kind", r.Kind, true}, text{"name", r.Name, true}, text{"registration ID", r.ID, true}); err != nil {
		return err
	}
	return validateJSON("registration", r.Document)
}

// Validate reports, wrapping ErrInvalid, why no implementation would claim the link.
func (l RegistrationLink) Validate() error {
	switch {
	case l.Hash == Hash{}:
		return fmt.Errorf("%w: registration link has no hash", ErrInvalid)
	case l.ExpiresAt.IsZero():
		return fmt.Errorf("%w: registration link has no expiry", ErrInvalid)
	}
	return nil
}

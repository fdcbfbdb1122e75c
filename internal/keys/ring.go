// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/routing"
)

// State says what a key is used for.
type State string

// A ring has exactly one Signing key, at most one Next and some Previous ones; all of them are published.
const (
	// StateNext is published and does not sign yet: peers that cache the key set have to see it first.
	StateNext State = "Next"
	// StateSigning signs.
	StateSigning State = "Signing"
	// StatePrevious no longer signs and is published until what it signed has expired.
	StatePrevious State = "Previous"
)

// Times of a rotation.
const (
	// PublishAhead is how long a key has been published by every launch handler before it signs: the max-age of the key
	// sets (10 minutes), and half of that again for clocks and caches in between.
	PublishAhead = 15 * time.Minute
	// AcademyOverlap is how long replaced keys of an academy are still accepted. Login state lives for 10 minutes.
	AcademyOverlap = time.Hour
	// maxPrevious bounds a ring: with Next and Signing it holds 8 keys. A further rotation waits until one has gone.
	maxPrevious = 6
	// lookEvery is the pause between two looks at whether the launch handlers serve the newest step.
	lookEvery = 5 * time.Second
	// farthest bounds what is believed of a stored time: beyond it, the clock that wrote it was wrong.
	farthest = 366 * 24 * time.Hour
)

// Material is secret key material, by the name of its part.
type Material map[string][]byte

const redacted = "(secret)"

// String implements fmt.Stringer: whoever prints a key by mistake prints none.
func (Material) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Material) GoString() string { return redacted }

// MarshalText implements encoding.TextMarshaler.
func (Material) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Key is one key of a ring.
type Key struct {
	// ID is the kid in a key set, or another name that gives nothing away.
	ID       string
	Material Material
	// Public is the public half of a signing key.
	Public    routing.JWK
	CreatedAt time.Time
	// SignsFrom is, for a Next key, when it will sign: zero until every launch handler publishes it. For the others it is
	// when they began to.
	SignsFrom time.Time
	// PublishedUntil is when a Previous key goes: zero until every launch handler is known to sign with a newer one.
	PublishedUntil time.Time
}

// Ring holds the keys that one owner has at a time. All of it stands in one Secret, so that every step of a rotation is
// one write. The zero value of everything but Signing is valid.
type Ring struct {
	Signing Key
	Next    *Key
	// Previous keys, newest first.
	Previous []Key
	// Rotated is the newest request for a rotation that was followed.
	Rotated string
	// Revoked is the ID of the key that was revoked last. It stands there until every launch handler serves a table
	// without it, so that whoever keeps former tables drops them.
	Revoked string
	// Damaged is set when something in the Secret could not be read and is left out here.
	Damaged bool
}

// Policy says when keys are rotated.
type Policy struct {
	// Every is the age at which a signing key is replaced; zero for never.
	Every time.Duration
	// Ahead is how long a key is published before it signs, Overlap how long it is published after it did.
	Ahead, Overlap time.Duration
}

// Request is what a person asks for.
type Request struct {
	// Rotate starts one rotation for every value that it has not had before.
	Rotate string
	// Revoke are IDs of keys, separated by commas or white space, that go at once.
	Revoke string
}

// Served says what every running launch handler does with each key, by ID; empty while that is not known.
type Served map[string]State

// Step is something that happened to a ring.
type Step string

// Steps of a rotation.
const (
	StepStarted   Step = "started"
	StepScheduled Step = "scheduled"
	StepSwitched  Step = "switched"
	StepRetiring  Step = "retiring"
	StepRetired   Step = "retired"
	StepRevoked   Step = "revoked"
	StepPurged    Step = "purged"
	StepRepaired  Step = "repaired"
)

// Change is a step and the ID of the key that it concerns.
type Change struct {
	Step  Step
	KeyID string
}

// Plan is what is to be done with a ring.
type Plan struct {
	Ring Ring
	// Changes that lead from the old ring to the new one; nothing is to be written when there are none.
	Changes []Change
	// Again is when to look again; zero when only a change from outside can lead to something.
	Again time.Time
}

// Plan computes the next state of a ring. It is a pure function: whatever is lost between two calls, the write of its
// result included, is found out and done again by the next one.
//
// A rotation publishes the Next key; once served tells that every launch handler publishes it, it waits for
// policy.Ahead and switches; once served tells that every launch handler signs with the new key, it waits for
// policy.Overlap and drops the old one. Times count from what the handlers serve, not from what was written: an
// operator that was away in between must not take the wait for done.
func (r Ring) Plan(policy Policy, request Request, served Served, now time.Time, newKey func() (Key, error)) (Plan, error) {
	p := planner{Plan{Ring: r}, policy, served, now.UTC().Truncate(time.Second), newKey}
	p.Ring.Previous = slices.Clone(r.Previous)
	if r.Next != nil {
		p.Ring.Next = new(*r.Next)
	}
	if r.Damaged {
		p.Ring.Damaged = false
		p.did(StepRepaired, r.Signing.ID)
	}
	for _, id := range strings.FieldsFunc(request.Revoke, func(c rune) bool { return c == ',' || c <= ' ' }) {
		if err := p.revoke(id); err != nil {
			return Plan{}, err
		}
	}
	if err := p.start(RequestID(request.Rotate)); err != nil {
		return Plan{}, err
	}
	p.advance()
	p.retire()
	p.forget()
	p.schedule()
	return p.Plan, nil
}

type planner struct {
	Plan
	policy Policy
	served Served
	now    time.Time
	newKey func() (Key, error)
}

func (p *planner) did(step Step, id string) { p.Changes = append(p.Changes, Change{step, id}) }

func (p *planner) make() (Key, error) {
	key, err := p.newKey()
	if err != nil {
		return Key{}, err
	}
	key.CreatedAt = p.now
	return key, nil
}

// revoke takes a key away at once. Whatever it was for, another one takes its place.
func (p *planner) revoke(id string) error {
	ring := &p.Ring
	switch {
	case ring.Next != nil && ring.Next.ID == id:
		next, err := p.make()
		if err != nil {
			return err
		}
		ring.Next = &next
	case ring.Signing.ID == id:
		if ring.Next == nil {
			next, err := p.make()
			if err != nil {
				return err
			}
			ring.Next = &next
		}
		ring.Signing, ring.Next = *ring.Next, nil
		ring.Signing.SignsFrom = p.now
	default:
		at := slices.IndexFunc(ring.Previous, func(k Key) bool { return k.ID == id })
		if at < 0 {
			return nil
		}
		ring.Previous = slices.Delete(ring.Previous, at, at+1)
	}
	ring.Revoked = id
	p.did(StepRevoked, id)
	return nil
}

// start publishes a Next key when one is asked for or due, and none is under way.
func (p *planner) start(request string) error {
	ring := &p.Ring
	asked := request != "" && request != ring.Rotated
	due := p.policy.Every > 0 && !p.now.Before(ring.Signing.SignsFrom.Add(p.policy.Every))
	if !asked && !due || ring.Next != nil || len(ring.Previous) >= maxPrevious {
		return nil
	}
	next, err := p.make()
	if err != nil {
		return err
	}
	ring.Next = &next
	if asked {
		ring.Rotated = request
	}
	p.did(StepStarted, next.ID)
	return nil
}

// advance brings the Next key to where it signs.
func (p *planner) advance() {
	ring := &p.Ring
	next := ring.Next
	if next == nil || p.served[next.ID] == "" {
		return
	}
	if from := p.now.Add(p.policy.Ahead); next.SignsFrom.IsZero() || next.SignsFrom.After(from) {
		next.SignsFrom = from
		p.did(StepScheduled, next.ID)
	}
	if p.now.Before(next.SignsFrom) {
		return
	}
	old := ring.Signing
	old.PublishedUntil = time.Time{}
	ring.Previous = append([]Key{old}, ring.Previous...)
	ring.Signing, ring.Next = *next, nil
	ring.Signing.SignsFrom = p.now
	p.did(StepSwitched, ring.Signing.ID)
}

// retire drops Previous keys whose time has come.
func (p *planner) retire() {
	ring := &p.Ring
	signs := p.served[ring.Signing.ID] == StateSigning
	kept := ring.Previous[:0:0]
	for _, key := range ring.Previous {
		if signs && (key.PublishedUntil.IsZero() || key.PublishedUntil.After(p.now.Add(farthest))) {
			key.PublishedUntil = p.now.Add(p.policy.Overlap)
			p.did(StepRetiring, key.ID)
		}
		if !key.PublishedUntil.IsZero() && !p.now.Before(key.PublishedUntil) {
			p.did(StepRetired, key.ID)
			continue
		}
		kept = append(kept, key)
	}
	ring.Previous = kept
}

// forget ends a revocation that has reached every launch handler.
func (p *planner) forget() {
	if ring := &p.Ring; ring.Revoked != "" && p.served[ring.Signing.ID] == StateSigning && p.served[ring.Revoked] == "" {
		p.did(StepPurged, ring.Revoked)
		ring.Revoked = ""
	}
}

func (p *planner) schedule() {
	look := func(at time.Time) {
		if p.Again.IsZero() || at.Before(p.Again) {
			p.Again = at
		}
	}
	wait := func(at time.Time) {
		if !at.After(p.now) {
			// Due, or of an unknown time: the launch handlers are waited for, and nobody tells when they are ready.
			at = p.now.Add(lookEvery)
		}
		look(at)
	}
	ring := &p.Ring
	if ring.Next != nil {
		wait(ring.Next.SignsFrom)
	} else if at := ring.NextRotation(p.policy); !at.IsZero() && at.After(p.now) {
		look(at)
	}
	for _, key := range ring.Previous {
		wait(key.PublishedUntil)
	}
	if ring.Revoked != "" {
		wait(time.Time{})
	}
}

// NextRotation is when the next key begins to sign, or at least when the rotation to it begins; zero when that is not
// known or never.
func (r *Ring) NextRotation(policy Policy) time.Time {
	switch {
	case r.Next != nil:
		return r.Next.SignsFrom
	case policy.Every > 0:
		return r.Signing.SignsFrom.Add(policy.Every)
	}
	return time.Time{}
}

// Published calls visit for every key, newest first.
func (r *Ring) Published(visit func(State, *Key)) {
	if r.Next != nil {
		visit(StateNext, r.Next)
	}
	visit(StateSigning, &r.Signing)
	for i := range r.Previous {
		visit(StatePrevious, &r.Previous[i])
	}
}

// RequestID is what is remembered of a request: its text, if that is short.
func RequestID(text string) string {
	text = strings.TrimSpace(text)
	if len(text) <= 64 {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Layout is how a ring stands in a Secret: under which names the parts of each key are, and what its ID is.
type Layout struct {
	parts []string
	// names of the part for the Next key and for a Previous one, which begins with previousPrefix.
	next, previous func(part string) string
	// read checks the material, and fills in what describes it.
	read func(Material, *Key) error
}

// DataKeyTimes holds, as JSON, when each key was made, signs from and is published until. It is not secret, and may be
// lost: the keys stay, a rotation that is under way waits once more. It is data and no annotation because it has to be
// written together with the keys, and to outlive whoever strips or restores metadata.
const DataKeyTimes = "keys.json"

const previousPrefix = "previous-"

// SigningKeys is the layout of a registration's signing keys: tls.key signs, next.key will, previous-1.key and so on
// did. A Secret with tls.key alone is a whole ring.
var SigningKeys = Layout{
	parts:    []string{partPrivateKey},
	next:     func(string) string { return "next.key" },
	previous: func(string) string { return ".key" },
	read: func(m Material, into *Key) error {
		key, err := ParseSigningKey(m[partPrivateKey])
		if err != nil {
			return fmt.Errorf("%s: %w", partPrivateKey, err)
		}
		into.Public = PublicJWK(&key.PublicKey)
		into.ID = into.Public.KeyID
		return nil
	},
}

const partPrivateKey = "tls.key"

// AcademyKeys is the layout of an academy's own keys, which change together: stateKey and so on are used,
// next.stateKey will be, previous-1.stateKey was.
var AcademyKeys = Layout{
	parts:    []string{AcademyStateKey, AcademyControlToken, AcademyControlCertificate, AcademyControlKey},
	next:     func(part string) string { return "next." + part },
	previous: func(part string) string { return "." + part },
	read: func(m Material, into *Key) error {
		a, err := academyOf(m)
		if err != nil {
			return err
		}
		// Every handler shows the certificate to whoever connects.
		sum := sha256.Sum256(a.ControlCertificatePEM)
		into.ID = base64.RawURLEncoding.EncodeToString(sum[:12])
		return nil
	},
}

// NewKey describes fresh material.
func (l *Layout) NewKey(m Material) (Key, error) {
	key := Key{Material: m}
	err := l.read(m, &key)
	return key, err
}

type times struct {
	CreatedAt      time.Time `json:"createdAt,omitzero"`
	SignsFrom      time.Time `json:"signsFrom,omitzero"`
	PublishedUntil time.Time `json:"publishedUntil,omitzero"`
}

type metadata struct {
	Keys    map[string]times `json:"keys,omitempty"`
	Rotated string           `json:"rotated,omitempty"`
	Revoked string           `json:"revoked,omitempty"`
}

// Decode reads a ring from the data of a Secret that was made at born. The signing key has to be sound; the rest is left
// out when it is not.
func (l *Layout) Decode(data map[string][]byte, born time.Time) (Ring, error) {
	var meta metadata
	ring := Ring{}
	if text := data[DataKeyTimes]; len(text) > 0 && json.Unmarshal(text, &meta) != nil {
		meta, ring.Damaged = metadata{}, true
	}
	ring.Rotated, ring.Revoked = meta.Rotated, meta.Revoked
	seen := map[string]bool{}
	read := func(name func(string) string) (Key, error) {
		material := Material{}
		for _, part := range l.parts {
			material[part] = data[name(part)]
		}
		key, err := l.NewKey(material)
		if err != nil {
			return Key{}, err
		}
		if seen[key.ID] {
			return Key{}, fmt.Errorf("%w: twice the same key", ErrInvalid)
		}
		seen[key.ID] = true
		t := meta.Keys[key.ID]
		key.CreatedAt, key.SignsFrom, key.PublishedUntil = t.CreatedAt.UTC(), t.SignsFrom.UTC(), t.PublishedUntil.UTC()
		if key.CreatedAt.IsZero() {
			key.CreatedAt = born.UTC()
		}
		return key, nil
	}
	var err error
	if ring.Signing, err = read(func(part string) string { return part }); err != nil {
		return Ring{}, err
	}
	ring.Signing.PublishedUntil = time.Time{}
	if ring.Signing.SignsFrom.IsZero() {
		ring.Signing.SignsFrom = ring.Signing.CreatedAt
	}
	if _, ok := data[l.next(l.parts[0])]; ok {
		next, err := read(l.next)
		if err == nil {
			next.PublishedUntil = time.Time{}
			ring.Next = &next
		} else {
			ring.Damaged = true
		}
	}
	for _, slot := range l.previousSlots(data) {
		key, err := read(func(part string) string { return slot + l.previous(part) })
		if err != nil || len(ring.Previous) >= maxPrevious {
			ring.Damaged = true
			continue
		}
		ring.Previous = append(ring.Previous, key)
	}
	return ring, nil
}

// previousSlots are the prefixes of the names of Previous keys, newest first.
func (l *Layout) previousSlots(data map[string][]byte) []string {
	var slots []string
	for name := range data {
		if slot, ok := strings.CutSuffix(name, l.previous(l.parts[0])); ok && strings.HasPrefix(slot, previousPrefix) {
			slots = append(slots, slot)
		}
	}
	slices.Sort(slots) // at most maxPrevious are written: one digit
	return slots
}

// Encode returns the data of the ring's Secret. Entries of data that are none of the ring's stay.
func (l *Layout) Encode(ring Ring, data map[string][]byte) (map[string][]byte, error) {
	out := maps.Clone(data)
	if out == nil {
		out = map[string][]byte{}
	}
	for _, part := range l.parts {
		delete(out, part)
		delete(out, l.next(part))
		maps.DeleteFunc(out, func(name string, _ []byte) bool {
			return strings.HasPrefix(name, previousPrefix) && strings.HasSuffix(name, l.previous(part))
		})
	}
	meta := metadata{Keys: map[string]times{}, Rotated: ring.Rotated, Revoked: ring.Revoked}
	n := 0
	ring.Published(func(state State, key *Key) {
		meta.Keys[key.ID] = times{key.CreatedAt, key.SignsFrom, key.PublishedUntil}
		if state == StatePrevious {
			n++
		}
		for _, part := range l.parts {
			name := part
			switch state {
			case StateNext:
				name = l.next(part)
			case StatePrevious:
				name = fmt.Sprintf("%s%d%s", previousPrefix, n, l.previous(part))
			case StateSigning:
			}
			out[name] = bytes.Clone(key.Material[part])
		}
	})
	encoded, err := json.Marshal(meta)
	if err != nil {
		return nil, fmt.Errorf("encode the times of keys: %w", err)
	}
	out[DataKeyTimes] = encoded
	return out, nil
}

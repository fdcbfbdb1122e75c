// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	start  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	manual = Policy{Ahead: PublishAhead, Overlap: 7 * 24 * time.Hour}
)

// toyKeys is a layout whose keys cost nothing.
var toyKeys = Layout{
	parts:    []string{"key"},
	next:     func(string) string { return "next" },
	previous: func(string) string { return "" },
	read: func(m Material, into *Key) error {
		if len(m["key"]) == 0 {
			return ErrInvalid
		}
		into.ID = string(m["key"])
		return nil
	},
}

// toyMaker makes the keys k1, k2 and so on.
func toyMaker() func() (Key, error) {
	n := 0
	return func() (Key, error) {
		n++
		return toyKeys.NewKey(Material{"key": fmt.Appendf(nil, "k%d", n)})
	}
}

// served is what handlers do that all serve this ring.
func served(r Ring) Served {
	s := Served{}
	r.Published(func(state State, k *Key) { s[k.ID] = state })
	return s
}

func newRing(t interface{ Fatal(...any) }, at time.Time, newKey func() (Key, error)) Ring {
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	key.CreatedAt, key.SignsFrom = at, at
	return Ring{Signing: key}
}

func describe(r Ring) string {
	var out []string
	r.Published(func(state State, k *Key) { out = append(out, string(state)+" "+k.ID) })
	return strings.Join(out, ", ")
}

func TestARotationStepByStep(t *testing.T) {
	newKey := toyMaker()
	ring := newRing(t, start, newKey)
	now := start.Add(24 * time.Hour)
	request := Request{Rotate: "2026-03-02T12:00:00Z"}
	overlap := manual.Overlap
	for _, step := range []struct {
		after  time.Duration
		served bool // every handler serves the ring as it is
		ring   string
		steps  string
		again  time.Duration
	}{
		{0, true, "Next k2, Signing k1", "started k2", lookEvery},
		{time.Hour, false, "Next k2, Signing k1", "", lookEvery},
		{time.Second, true, "Next k2, Signing k1", "scheduled k2", PublishAhead},
		{PublishAhead - time.Second, true, "Next k2, Signing k1", "", time.Second},
		{time.Second, false, "Next k2, Signing k1", "", lookEvery},
		{0, true, "Signing k2, Previous k1", "switched k2", lookEvery},
		{30 * 24 * time.Hour, false, "Signing k2, Previous k1", "", lookEvery},
		{0, true, "Signing k2, Previous k1", "retiring k1", overlap},
		{overlap - time.Second, true, "Signing k2, Previous k1", "", time.Second},
		{time.Second, true, "Signing k2", "retired k1", 0},
		{365 * 24 * time.Hour, true, "Signing k2", "", 0},
	} {
		now = now.Add(step.after)
		var s Served
		if step.served {
			s = served(ring)
		}
		plan, err := ring.Plan(manual, request, s, now, newKey)
		if err != nil {
			t.Fatal(err)
		}
		var steps []string
		for _, c := range plan.Changes {
			steps = append(steps, string(c.Step)+" "+c.KeyID)
		}
		if got := describe(plan.Ring); got != step.ring || strings.Join(steps, ", ") != step.steps {
			t.Errorf("at %s: %s (%v), want %s (%s)", now, got, steps, step.ring, step.steps)
		}
		switch {
		case step.again == 0 && !plan.Again.IsZero(), step.again != 0 && !plan.Again.Equal(now.Add(step.again)):
			t.Errorf("at %s: looks again at %s, want after %s", now, plan.Again, step.again)
		}
		ring = plan.Ring
	}
}

func TestAutomaticRotation(t *testing.T) {
	newKey := toyMaker()
	ring := newRing(t, start, newKey)
	policy := Policy{Every: 90 * 24 * time.Hour, Ahead: PublishAhead, Overlap: 7 * 24 * time.Hour}
	plan, err := ring.Plan(policy, Request{}, nil, start.Add(time.Hour), newKey)
	if err != nil || len(plan.Changes) != 0 || !plan.Again.Equal(start.Add(policy.Every)) || !ring.NextRotation(policy).Equal(plan.Again) {
		t.Errorf("young: %+v %v", plan, err)
	}
	plan, err = ring.Plan(policy, Request{}, nil, start.Add(policy.Every), newKey)
	if err != nil || describe(plan.Ring) != "Next k2, Signing k1" || !plan.Ring.NextRotation(policy).IsZero() {
		t.Errorf("old: %+v %v", plan, err)
	}
	if plan, err := ring.Plan(manual, Request{}, nil, start.AddDate(9, 0, 0), newKey); err != nil || len(plan.Changes) != 0 || !plan.Again.IsZero() {
		t.Errorf("manual: %+v %v", plan, err)
	}
}

func TestRevoking(t *testing.T) {
	full := func() Ring {
		key := func(id string) Key {
			return Key{ID: id, Material: Material{"key": []byte(id)}, CreatedAt: start, SignsFrom: start}
		}
		return Ring{Next: new(key("next")), Signing: key("signing"), Previous: []Key{key("old"), key("older")}}
	}
	now := start.Add(time.Hour)
	for name, c := range map[string]struct {
		ring Ring
		ids  string
		want string
		last string
	}{
		"a previous key":                       {full(), "old", "Next next, Signing signing, Previous older", "old"},
		"the next key: another one takes over": {full(), "next", "Next k1, Signing signing, Previous old, Previous older", "next"},
		"the signing key: the next one signs":  {full(), "signing", "Signing next, Previous old, Previous older", "signing"},
		"the only key: a new one signs":        {Ring{Signing: full().Signing}, "signing", "Signing k1", "signing"},
		"several":                              {full(), "old, older signing", "Signing next", "signing"},
		"all":                                  {full(), "next signing old older", "Signing k1", "older"},
		"a key that is unknown":                {full(), "other", "Next next, Signing signing, Previous old, Previous older", ""},
	} {
		t.Run(name, func(t *testing.T) {
			newKey := toyMaker()
			plan, err := c.ring.Plan(manual, Request{Revoke: c.ids}, nil, now, newKey)
			if err != nil || describe(plan.Ring) != c.want || plan.Ring.Revoked != c.last {
				t.Errorf("%s, revoked %q, %v; want %s", describe(plan.Ring), plan.Ring.Revoked, err, c.want)
			}
			if c.last != "" && strings.HasSuffix(c.ids, "signing") && !plan.Ring.Signing.SignsFrom.Equal(now) {
				t.Error("the new key does not sign at once")
			}
			again, err := plan.Ring.Plan(manual, Request{Revoke: c.ids}, nil, now, newKey)
			if err != nil || len(again.Changes) != 0 {
				t.Errorf("the same request again: %v %v", again.Changes, err)
			}
		})
	}
}

func TestARequestIsFollowedOnce(t *testing.T) {
	newKey := toyMaker()
	ring := newRing(t, start, newKey)
	now := start
	started := 0
	for _, request := range []string{"", "a", "a", " a ", "b", "b", strings.Repeat("c", 300), strings.Repeat("c", 300)} {
		for range 4 { // as long as a rotation takes
			now = now.Add(PublishAhead)
			plan, err := ring.Plan(manual, Request{Rotate: request}, served(ring), now, newKey)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range plan.Changes {
				if c.Step == StepStarted {
					started++
				}
			}
			ring = plan.Ring
		}
	}
	if started != 3 {
		t.Errorf("%d rotations, want 3", started)
	}
	if len(ring.Rotated) > 64 {
		t.Errorf("remembers %d characters of a request", len(ring.Rotated))
	}
}

func TestARingIsBounded(t *testing.T) {
	newKey := toyMaker()
	ring := newRing(t, start, newKey)
	now := start
	for n := range 100 {
		now = now.Add(PublishAhead)
		plan, err := ring.Plan(manual, Request{Rotate: fmt.Sprint(n)}, served(ring), now, newKey)
		if err != nil {
			t.Fatal(err)
		}
		ring = plan.Ring
		if len(ring.Previous) > maxPrevious || plan.Again.IsZero() {
			t.Fatalf("%d previous keys, again at %s", len(ring.Previous), plan.Again)
		}
	}
	if len(ring.Previous) != maxPrevious || ring.Next != nil {
		t.Errorf("%s", describe(ring))
	}
}

func TestPlanReportsFailingRandomness(t *testing.T) {
	ring := newRing(t, start, toyMaker())
	for _, request := range []Request{{Rotate: "now"}, {Revoke: "k1"}} {
		_, err := ring.Plan(manual, request, nil, start, func() (Key, error) { return Key{}, errNoRandomness })
		if !errors.Is(err, errNoRandomness) {
			t.Errorf("%+v: %v", request, err)
		}
	}
}

// The world of the property: a Secret, handlers that serve tables made from it, and verifiers that cache key sets.
type world struct {
	now       time.Time
	secret    map[string][]byte
	live      Ring   // the published table
	handlers  []Ring // what each handler serves
	newKey    func() (Key, error)
	tokens    []token
	sets      []keySet
	checked   int
	rotations int
}

type token struct {
	kid    string
	issued time.Time
}

type keySet struct {
	kids    map[string]bool
	fetched time.Time
}

const (
	cacheTime     = 10 * time.Minute // max-age of our key sets
	tokenLifetime = time.Hour
)

func (w *world) ring(t *rapid.T) Ring {
	ring, err := toyKeys.Decode(w.secret, start)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func (w *world) served() Served {
	for _, h := range w.handlers {
		if !cmp.Equal(h, w.live) {
			return nil
		}
	}
	return served(w.live)
}

func (w *world) reconcile(t *rapid.T, policy Policy, request Request, crash bool) {
	plan, err := w.ring(t).Plan(policy, request, w.served(), w.now, w.newKey)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Changes) == 0 || crash {
		return
	}
	for _, c := range plan.Changes {
		if c.Step == StepSwitched {
			w.rotations++
		}
	}
	if w.secret, err = toyKeys.Encode(plan.Ring, w.secret); err != nil {
		t.Fatal(err)
	}
}

func (w *world) use(t *rapid.T, handler int) {
	h := w.handlers[handler]
	set := keySet{map[string]bool{}, w.now}
	signing := 0
	h.Published(func(state State, k *Key) {
		set.kids[k.ID] = true
		if state == StateSigning {
			signing++
		}
	})
	if signing != 1 {
		t.Fatalf("%d signing keys", signing)
	}
	w.sets = append(w.sets, set)
	w.tokens = append(w.tokens, token{h.Signing.ID, w.now})
	w.sets = slices.DeleteFunc(w.sets, func(s keySet) bool { return w.now.Sub(s.fetched) > cacheTime })
	w.tokens = slices.DeleteFunc(w.tokens, func(x token) bool { return w.now.Sub(x.issued) > tokenLifetime })
	for _, s := range w.sets {
		for _, x := range w.tokens {
			w.checked++
			if !s.kids[x.kid] {
				t.Fatalf("a token signed with %s %s ago does not verify with a key set fetched %s ago: %v",
					x.kid, w.now.Sub(x.issued), w.now.Sub(s.fetched), slices.Sorted(maps.Keys(s.kids)))
			}
		}
	}
}

// However operator, publishing and handlers are interleaved, delayed and killed: no verifier that caches key sets for as
// long as they say ever meets a token that it cannot verify.
func TestNoVerificationFailsDuringRotations(t *testing.T) {
	checked, rotations := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := &world{now: start, newKey: toyMaker(), handlers: make([]Ring, rapid.IntRange(1, 3).Draw(t, "handlers"))}
		ring := newRing(t, start, w.newKey)
		secret, err := toyKeys.Encode(ring, map[string][]byte{"foreign": []byte("stays")})
		if err != nil {
			t.Fatal(err)
		}
		w.secret, w.live = secret, ring
		for i := range w.handlers {
			w.handlers[i] = ring
		}
		policy := Policy{Ahead: PublishAhead, Overlap: 24 * time.Hour}
		if rapid.Bool().Draw(t, "automatic") {
			policy.Every = 24 * time.Hour
		}
		request := Request{}
		waits := []time.Duration{time.Second, time.Minute, 5 * time.Minute, PublishAhead, time.Hour, 25 * time.Hour}
		handler := func(t *rapid.T) int { return rapid.IntRange(0, len(w.handlers)-1).Draw(t, "handler") }
		reconcile := func(t *rapid.T) { w.reconcile(t, policy, request, false) }
		publish := func(t *rapid.T) { w.live = w.ring(t) }
		sync := func(t *rapid.T) { w.handlers[handler(t)] = w.live }
		t.Repeat(map[string]func(*rapid.T){
			"wait":      func(t *rapid.T) { w.now = w.now.Add(rapid.SampledFrom(waits).Draw(t, "wait")) },
			"request":   func(t *rapid.T) { request.Rotate = w.now.String() },
			"reconcile": reconcile,
			"crash":     func(t *rapid.T) { w.reconcile(t, policy, request, true) },
			"publish":   publish,
			"sync":      sync,
			"sync all": func(t *rapid.T) {
				publish(t)
				for i := range w.handlers {
					w.handlers[i] = w.live
				}
				reconcile(t)
			},
			"lose the times": func(t *rapid.T) { w.secret = withoutTimes(w.secret) },
			"use":            func(t *rapid.T) { w.use(t, handler(t)) },
			"": func(t *rapid.T) {
				for i := range w.handlers {
					w.use(t, i)
				}
				if string(w.secret["foreign"]) != "stays" {
					t.Fatal("an entry that is none of the ring's is gone")
				}
			},
		})
		// And it comes to an end: left alone, every rotation completes.
		policy.Every = 0
		for range 2 * (maxPrevious + 2) {
			for range 4 {
				w.live = w.ring(t)
				for i := range w.handlers {
					w.handlers[i] = w.live
				}
				w.reconcile(t, policy, request, false)
				w.now = w.now.Add(PublishAhead)
			}
			w.now = w.now.Add(policy.Overlap)
		}
		if r := w.ring(t); r.Next != nil || len(r.Previous) != 0 {
			t.Fatalf("does not come to an end: %s", describe(r))
		}
		checked, rotations = checked+w.checked, rotations+w.rotations
	})
	t.Logf("%d verifications in %d rotations, none failed", checked, rotations)
	if rotations == 0 || checked == 0 {
		t.Error("nothing was tried")
	}
}

func withoutTimes(data map[string][]byte) map[string][]byte {
	out := maps.Clone(data)
	delete(out, DataKeyTimes)
	return out
}

// A ring survives its Secret, for both layouts with real keys.
func TestRingsSurviveTheirSecrets(t *testing.T) {
	made := map[string]struct {
		layout *Layout
		make   func() (Key, error)
	}{
		"signing keys": {&SigningKeys, func() (Key, error) {
			pem, err := NewSigningKey(rand.Reader)
			if err != nil {
				return Key{}, err
			}
			return SigningKeys.NewKey(Material{"tls.key": pem})
		}},
		"academy keys": {&AcademyKeys, func() (Key, error) {
			a, err := NewAcademy(rand.Reader, start)
			if err != nil {
				return Key{}, err
			}
			return AcademyKeys.NewKey(a.Data())
		}},
	}
	for name, c := range made {
		t.Run(name, func(t *testing.T) {
			ring := newRing(t, start, c.make)
			now := start
			for n, request := range []string{"", "a", "a", "a", "b"} {
				now = now.Add(PublishAhead)
				plan, err := ring.Plan(manual, Request{Rotate: request}, served(ring), now, c.make)
				if err != nil {
					t.Fatal(err)
				}
				data, err := c.layout.Encode(plan.Ring, nil)
				if err != nil {
					t.Fatal(err)
				}
				if ring, err = c.layout.Decode(data, now); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(plan.Ring, ring); diff != "" {
					t.Errorf("after plan %d (%s) the Secret says otherwise:\n%s", n, describe(plan.Ring), diff)
				}
				without, err := c.layout.Decode(withoutTimes(data), now)
				if err != nil || describe(without) != describe(ring) {
					t.Errorf("without the times: %s, %v; want %s", describe(without), err, describe(ring))
				}
				for _, secret := range ring.Signing.Material {
					if encoded := string(data[DataKeyTimes]); strings.Contains(encoded, string(secret)) ||
						strings.Contains(encoded, base64.StdEncoding.EncodeToString(secret)) {
						t.Error("the times quote a key")
					}
				}
			}
			if len(ring.Previous) == 0 || ring.Next == nil {
				t.Errorf("the test proves little: %s", describe(ring))
			}
		})
	}
}

func TestPrintingAKeyPrintsNoSecret(t *testing.T) {
	ring := Ring{Signing: Key{ID: "k1", Material: Material{"tls.key": []byte(canary)}}, Next: &Key{Material: Material{canary: []byte(canary)}}}
	encoded, err := json.Marshal(ring)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("", "ring", ring, "key", ring.Signing, "material", ring.Signing.Material)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", ring, ring, ring, ring.Signing.Material), string(encoded), log.String()} {
		if strings.Contains(text, canary) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(canary))) || strings.Contains(text, "99 97 110 97 114 121") || !strings.Contains(text, redacted) {
			t.Errorf("prints %s", text)
		}
	}
}

// A Secret of the first release holds one key and nothing else.
func TestASecretWithOneKeyIsAWholeRing(t *testing.T) {
	pem, err := NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := SigningKeys.Decode(map[string][]byte{"tls.key": pem}, start)
	if err != nil || ring.Damaged || !ring.Signing.CreatedAt.Equal(start) || !ring.Signing.SignsFrom.Equal(start) {
		t.Fatalf("%+v %v", ring.Damaged, err)
	}
	plan, err := ring.Plan(manual, Request{}, served(ring), start.AddDate(5, 0, 0), nil)
	if err != nil || len(plan.Changes) != 0 {
		t.Errorf("it is written although nothing is to be done: %v %v", plan.Changes, err)
	}
}

func TestADamagedRingIsMended(t *testing.T) {
	newKey := toyMaker()
	ring := newRing(t, start, newKey)
	data, err := toyKeys.Encode(ring, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(map[string][]byte){
		"times that are no JSON":  func(d map[string][]byte) { d[DataKeyTimes] = []byte("{") },
		"an empty next key":       func(d map[string][]byte) { d["next"] = nil },
		"the signing key as next": func(d map[string][]byte) { d["next"] = d["key"] },
		"an empty previous key":   func(d map[string][]byte) { d["previous-1"] = nil },
		"more keys than there can be": func(d map[string][]byte) {
			for n := range 9 {
				d[fmt.Sprintf("previous-%d", n)] = fmt.Appendf(nil, "p%d", n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := maps.Clone(data)
			damage(d)
			got, err := toyKeys.Decode(d, start)
			if err != nil || !got.Damaged || got.Signing.ID != "k1" {
				t.Fatalf("%+v %v", got, err)
			}
			plan, err := got.Plan(manual, Request{}, nil, start, newKey)
			if err != nil || len(plan.Changes) != 1 || plan.Changes[0].Step != StepRepaired {
				t.Fatalf("%+v %v", plan, err)
			}
			if d, err = toyKeys.Encode(plan.Ring, d); err != nil {
				t.Fatal(err)
			}
			if got, err = toyKeys.Decode(d, start); err != nil || got.Damaged {
				t.Errorf("not mended: %+v %v", got, err)
			}
		})
	}
	if _, err := toyKeys.Decode(map[string][]byte{"next": []byte("k2")}, start); !errors.Is(err, ErrInvalid) {
		t.Errorf("a ring without a signing key: %v", err)
	}
}

// While the keys of an academy change, each side accepts what the other one may still have.
func TestOthersAreAcceptedBesides(t *testing.T) {
	newKey := func() (Key, error) {
		a, err := NewAcademy(rand.Reader, start)
		if err != nil {
			return Key{}, err
		}
		return AcademyKeys.NewKey(a.Data())
	}
	ring := newRing(t, start, newKey)
	plan, err := ring.Plan(manual, Request{Rotate: "x"}, nil, start, newKey)
	if err != nil {
		t.Fatal(err)
	}
	a := plan.Ring.Academy()
	if len(a.Others) != 1 || a.ControlToken != ring.Academy().ControlToken {
		t.Fatalf("%d others", len(a.Others))
	}
	trusted := string(a.TrustedCertificatesPEM())
	for _, one := range []*Academy{a, a.Others[0]} {
		if !strings.Contains(trusted, strings.TrimSpace(string(one.ControlCertificatePEM))) {
			t.Error("a certificate is not trusted")
		}
	}
}

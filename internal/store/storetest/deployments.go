package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/store"
)

func note(t *testing.T, s store.Store, platform string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		wantErr(t, s.NoteUnknownDeployment(t.Context(), platform, id), nil)
	}
}

func deployments(t *testing.T, s store.Store) []store.UnknownDeployment {
	t.Helper()
	got, err := s.UnknownDeployments(t.Context())
	wantErr(t, err, nil)
	return got
}

func wantDeployments(t *testing.T, s store.Store, want ...store.UnknownDeployment) {
	t.Helper()
	if diff := cmp.Diff(want, deployments(t, s)); diff != "" {
		t.Errorf("unknown deployments (-want +got):\n%s", diff)
	}
}

// seen is a deployment that launched first and last so long after start.
func seen(platform, id string, first, last time.Duration) store.UnknownDeployment {
	return store.UnknownDeployment{
		Platform: platform, DeploymentID: id,
		FirstSeenAt: start.Add(first), LastSeenAt: start.Add(last),
	}
}

func testDeployments(t *testing.T, f *fixture) {
	s, other := f.open(t), f.open(t)
	wantDeployments(t, s)
	note(t, s, "moodle", "7")
	f.advance(time.Microsecond)
	note(t, other, "canvas", "7:abc")
	f.advance(time.Microsecond)
	note(t, s, "moodle", "8")
	for _, handle := range []store.Store{s, other} {
		wantDeployments(
			t, handle,
			seen("canvas", "7:abc", time.Microsecond, time.Microsecond),
			seen("moodle", "8", 2*time.Microsecond, 2*time.Microsecond),
			seen("moodle", "7", 0, 0),
		)
	}

	f.advance(time.Hour - 2*time.Microsecond)
	note(t, other, "moodle", "7")
	// Identifiers are compared exactly, and not across platforms.
	f.advance(time.Hour)
	note(t, s, "moodle", "7 ")
	f.advance(time.Hour)
	note(t, s, "canvas", "7:ABC")
	want := []store.UnknownDeployment{
		seen("canvas", "7:ABC", 3*time.Hour, 3*time.Hour),
		seen("canvas", "7:abc", time.Microsecond, time.Microsecond),
		seen("moodle", "7 ", 2*time.Hour, 2*time.Hour),
		seen("moodle", "7", 0, time.Hour),
		seen("moodle", "8", 2*time.Microsecond, 2*time.Microsecond),
	}
	wantDeployments(t, s, want...)
	// The clock of another replica is behind.
	f.advance(-150 * time.Minute)
	note(t, other, "moodle", "7")
	wantDeployments(t, s, want...)
}

func testDeploymentsBounded(t *testing.T, f *fixture) {
	s := f.open(t)
	note(t, s, "a", "1")
	note(t, s, "z", "1")
	const rest = 5
	for i := range store.MaxUnknownDeployments + rest {
		f.advance(time.Minute)
		note(t, s, "moodle", fmt.Sprint(i))
		// The very first one launches all the time.
		note(t, s, "moodle", "first")
	}
	minute := func(i int) time.Duration { return time.Duration(i+1) * time.Minute }
	last := store.MaxUnknownDeployments + rest - 1
	want := []store.UnknownDeployment{seen("a", "1", 0, 0)}
	var moodle []store.UnknownDeployment
	for i := last; i > rest; i-- {
		moodle = append(moodle, seen("moodle", fmt.Sprint(i), minute(i), minute(i)))
	}
	first := seen("moodle", "first", minute(0), minute(last))
	f.advance(time.Second)
	note(t, s, "moodle", "first")
	first.LastSeenAt = f.now()
	want = append(want, first)
	want = append(want, moodle...)
	want = append(want, seen("z", "1", 0, 0))
	wantDeployments(t, s, want...)

	// One that was dropped comes back as new, in the place of the oldest.
	f.advance(time.Second)
	note(t, s, "moodle", "0")
	back := store.UnknownDeployment{Platform: "moodle", DeploymentID: "0", FirstSeenAt: f.now(), LastSeenAt: f.now()}
	want = append([]store.UnknownDeployment{want[0], back, first}, moodle[:len(moodle)-1]...)
	want = append(want, seen("z", "1", 0, 0))
	wantDeployments(t, s, want...)

	// At one and the same time, and with a clock that is behind, the one that is
	// noted is kept all the same.
	for _, step := range []time.Duration{0, -time.Hour} {
		f.advance(step)
		for _, id := range []string{"", "~"} {
			for i := range store.MaxUnknownDeployments + 1 {
				id := fmt.Sprint(id, "same", i)
				note(t, s, "moodle", id)
				n, found := 0, false
				for _, d := range deployments(t, s) {
					if d.Platform == "moodle" {
						n++
						found = found || d.DeploymentID == id
					}
				}
				if n != store.MaxUnknownDeployments || !found {
					t.Fatalf("%q was noted: kept %v among %d, want it among %d", id, found, n, store.MaxUnknownDeployments)
				}
			}
		}
	}
}

func testDeploymentsInvalid(t *testing.T, f *fixture) {
	s := f.open(t)
	tooLong := strings.Repeat("7", store.MaxIdentifier+1)
	for _, d := range [][2]string{{"moodle", tooLong}, {tooLong, "7"}, {"", "7"}, {"moodle", ""}, {"moodle", "7\x00"}, {"\xff", "7"}} {
		wantErr(t, s.NoteUnknownDeployment(t.Context(), d[0], d[1]), store.ErrInvalid)
	}
	wantDeployments(t, s)
	note(t, s, "moodle", "'; DROP TABLE unknown_deployments; --")
	wantDeployments(t, s, seen("moodle", "'; DROP TABLE unknown_deployments; --", 0, 0))
}

func testDeploymentsPurge(t *testing.T, f *fixture) {
	s := f.open(t)
	note(t, s, "moodle", "old", "kept")
	f.advance(time.Hour)
	note(t, s, "moodle", "kept")
	// Exactly as old as the retention is kept. Deployments are not counted.
	purge(t, s, f.now(), time.Hour, store.Purged{})
	wantDeployments(t, s, seen("moodle", "kept", 0, time.Hour), seen("moodle", "old", 0, 0))
	purge(t, s, f.now(), time.Hour-time.Microsecond, store.Purged{})
	wantDeployments(t, s, seen("moodle", "kept", 0, time.Hour))
	purge(t, s, f.now().Add(time.Microsecond), 0, store.Purged{})
	wantDeployments(t, s)
	note(t, s, "moodle", "kept")
	wantDeployments(t, s, seen("moodle", "kept", time.Hour, time.Hour))
}

func testConcurrentDeployments(t *testing.T, f *fixture) {
	won := race(t, f, nil, func(s store.Store, i int) error {
		for j := range 3 {
			if err := s.NoteUnknownDeployment(t.Context(), "moodle", fmt.Sprint((i+j)%24)); err != nil {
				return err
			}
		}
		return s.NoteUnknownDeployment(t.Context(), "canvas", "the same")
	})
	got := deployments(t, f.open(t))
	if won != 24 || len(got) != store.MaxUnknownDeployments+1 {
		t.Errorf("%d of 24 callers got through and left %d deployments, want %d", won, len(got), store.MaxUnknownDeployments+1)
	}
}

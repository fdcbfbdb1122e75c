// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"testing"
	"time"
)

// Telling those who are refused must not take the CPU from those who are not.
func TestRefusalsAreToldAtABoundedRate(t *testing.T) {
	l := newLingering()
	l.every = time.Millisecond
	now := time.Unix(1_800_000_000, 0)
	const refused = 3000
	told := map[int64]int{} // in each tenth of a second
	for i := range refused {
		wait := l.turn(now)
		if wait < lingerFor/2 || wait > longestLinger {
			t.Fatalf("refusal %d waits %v", i, wait)
		}
		told[int64(wait/(100*time.Millisecond))]++
	}
	for tenth, n := range told {
		// Those of the first second, whose turn comes before they have waited long enough, are told with the next ones.
		if tenth >= 8 && n > 110 {
			t.Errorf("%d are told in the %d. tenth of a second", n, tenth)
		}
	}
	// A flood that lasts makes nobody wait for ever, and one that has ended makes nobody wait.
	for range 100_000 {
		if wait := l.turn(now); wait > longestLinger {
			t.Fatalf("waits %v", wait)
		}
	}
	if wait := l.turn(now.Add(longestLinger + time.Second)); wait > 2*lingerFor {
		t.Errorf("waits %v after the flood", wait)
	}
}

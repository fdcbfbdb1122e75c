// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"
)

// Whoever sets GOGC knows why.
func TestTheEnvironmentDecidesWhenTheHeapIsCollected(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	now := func() int {
		percent := debug.SetGCPercent(100)
		debug.SetGCPercent(percent)
		return percent
	}
	collectEarly(func(name string) (string, bool) { return "200", name == "GOGC" })
	if n := now(); n != 100 {
		t.Errorf("GOGC is set, and the heap may grow by %d %%", n)
	}
	collectEarly(func(string) (string, bool) { return "", false })
	if n := now(); n != gcPercent {
		t.Errorf("GOGC is not set, and the heap may grow by %d %%", n)
	}
}

func TestMemoryIsGivenBackAtRestAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var allocated atomic.Uint64
		var released atomic.Int32
		r := &resting{clock: clock.RealClock{}, allocated: allocated.Load, release: func() { released.Add(1) }}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Start(ctx) }()
		// each lets time pass, in which so much is allocated every second.
		each := func(seconds int, bytes uint64) {
			for range seconds {
				allocated.Add(bytes)
				time.Sleep(time.Second)
			}
			synctest.Wait()
		}
		expect := func(n int32, when string) {
			t.Helper()
			if got := released.Load(); got != n {
				t.Errorf("%s: given back %d times, want %d", when, got, n)
			}
		}
		each(60, 10<<20)
		expect(0, "at work")
		each(12, 0)
		expect(1, "at rest")
		each(3600, 1<<10)
		expect(1, "after an hour of rest")
		each(5, 4<<20)
		each(60, 0)
		expect(1, "after next to no work")
		each(30, 4<<20)
		each(12, 0)
		expect(2, "after work again")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if (&resting{}).NeedLeaderElection() {
		t.Error("a replica that waits keeps what its start has left behind")
	}
}

func TestAllocationsAreCounted(t *testing.T) {
	before := allocatedBytes()
	keep = make([]byte, 1<<20)
	if n := allocatedBytes() - before; n < 1<<20 {
		t.Errorf("1 MiB was allocated, %d bytes are counted", n)
	}
}

var keep []byte

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"k8s.io/utils/clock"
)

// gcPercent is how much the heap may grow, in percent of what is in use, before it is collected. Most of what is in use is
// the cache, which stays: Go's own 100 would keep as much room again for what is thrown away. While 10,000 activities
// are applied at once, 25 takes 8 % more processor time than 40 does.
const gcPercent = 25

// collectEarly sets how early the heap is collected, unless the environment says (GOGC, as for every Go program;
// GOMEMLIMIT is heeded too, and has no default: how much memory there is, is for the Deployment to say).
func collectEarly(environment func(string) (string, bool)) {
	if _, set := environment("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
}

// An operator that rests allocates next to nothing, so that what a start or a change of thousands of objects has left
// behind would not be collected for minutes, and not given back for longer.
const (
	restPeriod = 5 * time.Second
	// restBytes is the most that is allocated in a period of rest.
	restBytes = 2 << 20
	// worthwhile is how much must have been allocated since memory was given back.
	worthwhile = 64 << 20
)

// resting gives memory back to the machine whenever the operator comes to rest.
type resting struct {
	clock clock.WithTicker
	// allocated returns the bytes allocated since the process has started, release gives back what is not in use.
	allocated func() uint64
	release   func()
}

// Start implements manager.Runnable.
func (r *resting) Start(ctx context.Context) error {
	ticker := r.clock.NewTicker(restPeriod)
	defer ticker.Stop()
	var before, released uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
		now := r.allocated()
		if now-before <= restBytes && now-released >= worthwhile {
			r.release()
			released = now
		}
		before = now
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: a replica that waits has a full cache too.
func (r *resting) NeedLeaderElection() bool { return false }

// allocatedBytes are the bytes allocated on the heap since the process has started.
func allocatedBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// SPDX-License-Identifier: Apache-2.0

// Package rounds paces work that waits in a store: when to look for some, and when to try again what failed.
package rounds

import (
	"context"
	"sync"
	"time"
)

// Runner looks for work in rounds, one after the other. The zero value is ready.
type Runner struct {
	once sync.Once
	wake chan struct{}
}

// Wake ends the wait for the next round. It never blocks.
func (r *Runner) Wake() {
	r.prepare()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Runner) prepare() { r.once.Do(func() { r.wake = make(chan struct{}, 1) }) }

// Run does rounds until the context ends. A round returns how long to wait for the next one; 0 for not at all.
func (r *Runner) Run(ctx context.Context, round func(context.Context) time.Duration) {
	r.prepare()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.wake:
		}
		wait := time.Duration(0)
		for wait == 0 && ctx.Err() == nil {
			wait = round(ctx)
		}
		timer.Reset(wait)
	}
}

// Pauses between attempts.
const (
	FirstPause   = 2 * time.Second
	LongestPause = time.Hour
	// doublings is after how many attempts the pause is the longest: 2 s × 2^11 is more than an hour.
	doublings = 11
)

// Pause returns how long to wait after an attempt in vain, when there were so many of them before. It doubles, is spread
// over its second half by jitter, a number from 0 to 1, so that a thousand things do not come back at once, and is at
// least what the other side asked for; but never more than LongestPause.
func Pause(before int, atLeast time.Duration, jitter float64) time.Duration {
	pause := min(FirstPause<<min(before, doublings), LongestPause)
	pause = pause/2 + time.Duration(float64(pause/2)*jitter)
	return min(max(pause, atLeast), LongestPause)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// What may be allocated before the heap is collected again. With the default of Go, which lets the heap double, a handler
// with a small table collects it every hundred launches, and spends a seventh of its time on that. What a collection costs
// goes with what lives, so that the room for it does too, up to a bound: 10,000 activities are 20 MiB.
const (
	leastHeadroom, mostHeadroom = 48 << 20, 64 << 20
	// timesLive is how much of what lives it is between those.
	timesLive = 3
)

// keepHeadroom adapts how often the heap is collected to what lives in it, whenever it was collected. Whoever sets GOGC
// knows better; GOMEMLIMIT holds in any case.
func keepHeadroom() {
	if os.Getenv("GOGC") == "" {
		(&collection{live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}).next()
	}
}

// collection becomes garbage at once, so that its finalizer runs after each collection.
type collection struct {
	live    []metrics.Sample
	percent int
}

// next is called after each collection.
func (c *collection) next() {
	metrics.Read(c.live)
	if percent := collectAt(c.live[0].Value.Uint64()); percent != c.percent {
		c.percent = percent
		debug.SetGCPercent(percent)
	}
	runtime.SetFinalizer(c, (*collection).next)
}

// collectAt is the value of GOGC that leaves that headroom beside so many live bytes. It is at least 100, Go's default, so that
// a large heap is not collected more often than elsewhere, and at most 1000, since what lives may grow before the next time.
func collectAt(live uint64) int {
	const least, most = 100, 1000
	if live == 0 {
		return least
	}
	headroom := min(mostHeadroom, max(leastHeadroom, timesLive*live))
	return int(min(most, max(least, headroom*100/live)))
}

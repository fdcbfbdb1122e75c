// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
)

// saturated is the least part of its time that the driver's core must have had nothing to do. With less, a request has
// waited for the driver or the database, and its latency says nothing about the server.
const saturated = 0.02

// Phase is one phase of one round: the same step of all its launches.
type Phase struct {
	Step     string  `json:"step"`
	Requests int     `json:"requests"`
	Seconds  float64 `json:"seconds"`
	// PerSecond is what was done, Pace what was asked for; without a pace each connection sends its next request at once.
	PerSecond float64 `json:"perSecond"`
	Pace      float64 `json:"pace,omitempty"`
	// ServerCPU, DatabaseCPU and DriverCPU are microseconds per request.
	ServerCPU   float64 `json:"serverCPU"`
	DatabaseCPU float64 `json:"databaseCPU"`
	DriverCPU   float64 `json:"driverCPU"`
	// ServerIdle and DriverIdle are the parts of the time in which the cores had nothing to do. ServerOthers and DriverOthers
	// are those in which programs ran on them that are not part of the benchmark, or the kernel for nobody.
	ServerIdle   float64 `json:"serverIdle"`
	DriverIdle   float64 `json:"driverIdle"`
	ServerOthers float64 `json:"serverOthers"`
	DriverOthers float64 `json:"driverOthers"`
	// Latency is from the request to the end of the answer; of a paced request that found no free connection, from when it
	// was due.
	Latency Latency `json:"latency"`
	// Saturated: the driver's core was busy all the time, and Latency is not to be used.
	Saturated bool `json:"saturated"`
}

// Latency has percentiles in milliseconds.
type Latency struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

func newLatency(milliseconds []float64) Latency {
	return Latency{measure.Percentile(milliseconds, 50), measure.Percentile(milliseconds, 95), measure.Percentile(milliseconds, 99)}
}

// usage is what was used until an instant.
type usage struct {
	at                       time.Time
	server, database, driver time.Duration
	cores                    []measure.CoreTime
}

// usageBefore reads what was used until the phase begins, usageAfter until it ended. The database, which has many processes,
// takes the longest to ask, and is asked outside of what is told of the driver.
func (b *bench) usageBefore(s *subject) (u usage, err error) {
	if u.database, err = measure.TreeCPU(b.database.PID()); err != nil {
		return u, err
	}
	return u, u.read(s)
}

func (b *bench) usageAfter(s *subject) (u usage, err error) {
	if err := u.read(s); err != nil {
		return u, err
	}
	u.database, err = measure.TreeCPU(b.database.PID())
	return u, err
}

func (u *usage) read(s *subject) error {
	for _, server := range s.servers() {
		used, err := server.process.CPU()
		if err != nil {
			return err
		}
		u.server += used
	}
	var errs [2]error
	u.driver, errs[0] = measure.OwnCPU()
	u.cores, errs[1] = measure.Cores()
	u.at = time.Now()
	return errors.Join(errs[:]...)
}

// send sends the requests of a phase, which are those of the launches at the same index, and puts answers and latencies into
// these.
func (b *bench) send(ctx context.Context, s *subject, step int, requests [][]byte, launches []*launch, pace float64) (*Phase, error) {
	servers := s.servers()
	connections := make([]*connection, max(len(servers), min(cmp.Or(s.connections, b.flags.Concurrency), len(requests))))
	defer func() {
		for _, c := range connections {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	for i := range connections {
		var err error
		if connections[i], err = dial(servers[i%len(servers)].address); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	// What each server gets, in this order.
	lists := make([][]int, len(servers))
	for i := range requests {
		server := s.serverOf(step, i)
		lists[server] = append(lists[server], i)
	}
	// What is left over from before is done before, and not in the phase.
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	if err := measure.Sleep(ctx, 100*time.Millisecond); err != nil {
		return nil, err
	}

	before, err := b.usageBefore(s)
	if err != nil {
		return nil, err
	}
	var (
		next    = make([]atomic.Int64, len(servers))
		senders sync.WaitGroup
		mu      sync.Mutex
		failed  error
	)
	began := time.Now()
	for n, c := range connections {
		next, list := &next[n%len(servers)], lists[n%len(servers)]
		senders.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= len(list) {
					return
				}
				i := list[n]
				start := time.Now()
				if pace > 0 {
					due := began.Add(time.Duration(float64(i) / pace * float64(time.Second)))
					if wait := due.Sub(start); wait > 0 {
						time.Sleep(wait)
						start = time.Now()
					} else {
						start = due
					}
				}
				a, err := c.exchange(requests[i])
				launches[i].answer = a
				launches[i].latency[step] = float64(time.Since(start)) / float64(time.Millisecond)
				if err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
					next.Store(int64(len(list)))
				}
			}
		})
	}
	senders.Wait()
	took := time.Since(began)
	after, err := b.usageAfter(s)
	if err := errors.Join(ctx.Err(), failed, err); err != nil {
		return nil, fmt.Errorf("%s, %s: %w", s.name, s.steps[step].name, err)
	}
	return b.phase(s, step, launches, pace, took, &before, &after), nil
}

func (b *bench) phase(s *subject, step int, launches []*launch, pace float64, took time.Duration, before, after *usage) *Phase {
	n := float64(len(launches))
	each := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / n }
	server, driver := b.flags.ServerCore, b.flags.DriverCore
	p := &Phase{
		Step: s.steps[step].name, Requests: len(launches), Seconds: took.Seconds(), PerSecond: n / took.Seconds(), Pace: pace,
		ServerCPU: each(after.server - before.server), DatabaseCPU: each(after.database - before.database), DriverCPU: each(after.driver - before.driver),
		ServerIdle: after.cores[server].IdleSince(before.cores[server]),
		DriverIdle: after.cores[driver].IdleSince(before.cores[driver]),
	}
	whole := float64(after.at.Sub(before.at))
	onDriver := after.driver - before.driver
	if b.databaseCore() == driver {
		onDriver += after.database - before.database
	}
	p.ServerOthers = max(0, 1-p.ServerIdle-float64(after.server-before.server)/whole)
	p.DriverOthers = max(0, 1-p.DriverIdle-float64(onDriver)/whole)
	p.Saturated = p.DriverIdle < saturated
	latencies := make([]float64, len(launches))
	for i, l := range launches {
		latencies[i] = l.latency[step]
	}
	p.Latency = newLatency(latencies)
	return p
}

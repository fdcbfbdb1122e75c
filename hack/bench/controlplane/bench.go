// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/hack/bench/measure"
)

// Time limits. What takes longer is broken, and ends the benchmark.
const (
	readyTimeout  = 30 * time.Minute
	changeTimeout = time.Minute
	startTimeout  = time.Minute
)

// bench is everything that runs, and what was found out.
type bench struct {
	flags    *flags
	root     string // of the repository
	dir      string // for everything temporary, removed at the end
	logDir   string
	progress io.Writer
	began    time.Time

	procs     *measure.Processes
	cluster   *cluster
	audit     *auditLog
	tracker   *tracker
	operator  *measure.Process
	handler   *measure.Process
	addresses struct{ metrics, public, ops, control string }
	report    measure.Report
}

// prepare finds the programs.
func (b *bench) prepare() (err error) {
	if b.root, err = measure.FindRoot(); err != nil {
		return err
	}
	for _, name := range []string{"lti-operator", "launch-handler", "configsync"} {
		if _, err := os.Stat(b.bin(name)); err != nil {
			return fmt.Errorf("%s is missing: run \"make build\"", b.bin(name))
		}
	}
	if err := measure.Supported(); err != nil {
		return err
	}
	if err := os.MkdirAll(b.logDir, 0o700); err != nil {
		return fmt.Errorf("make a folder for logs: %w", err)
	}
	if err := os.Remove(filepath.Join(b.logDir, "audit.log")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the former audit log: %w", err)
	}
	free, err := measure.FreeAddresses(4)
	if err != nil {
		return err
	}
	b.addresses.metrics, b.addresses.public, b.addresses.ops, b.addresses.control = free[0], free[1], free[2], free[3]
	return nil
}

func (b *bench) bin(name string) string { return filepath.Join(b.flags.Bin, name) }

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "%7.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// measure starts everything and runs the parts in the order in which each finds what it needs.
func (b *bench) measure(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		b.start, b.applyAtOnce, b.coldStartAndSteady, b.changeOneByOne, b.restartHandler, b.addUnrelated,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// start brings everything up, with an academy in which nothing is shared yet.
func (b *bench) start(ctx context.Context) (err error) {
	b.say("starting the API server")
	if b.cluster, err = startCluster(ctx, b.root, b.flags.Assets, b.dir, b.logDir); err != nil {
		return err
	}
	b.audit = &auditLog{path: b.cluster.auditLog}
	if b.tracker, err = startTracker(ctx, b.cluster); err != nil {
		return err
	}
	if _, err := b.procs.Start(measure.Command{Name: "configsync", Path: b.bin("configsync"), Args: []string{
		"--kubeconfig=" + b.cluster.Kubeconfig, "--namespace=" + namespace, "--dir=" + b.configDir(),
	}}); err != nil {
		return err
	}
	if err := errors.Join(b.startOperator(), b.startHandler()); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(b.addresses.public)
	if err != nil {
		return err
	}
	if err := b.cluster.apply(ctx, academy("http://"+net.JoinHostPort(academyHost, port))); err != nil {
		return err
	}
	if err := measure.Until(ctx, startTimeout, 50*time.Millisecond, func() error {
		if b.tracker.readyCount(v1alpha1.KindAcademy) == 0 {
			return errors.New("the academy is not Ready")
		}
		return nil
	}); err != nil {
		return err
	}
	return measure.Sleep(ctx, 2*time.Second)
}

func (b *bench) configDir() string { return filepath.Join(b.dir, "config") }

func (b *bench) startOperator() (err error) {
	b.operator, err = b.procs.Start(measure.Command{Name: "lti-operator", Path: b.bin("lti-operator"), Args: append([]string{
		"--kubeconfig=" + b.cluster.OperatorKubeconfig, "--watch-namespaces=" + namespace, "--operator-namespace=" + namespace,
		"--handler=external", "--handler-control-url=https://" + b.addresses.control,
		"--metrics-address=" + b.addresses.metrics, "--probe-address=0",
	}, b.flags.OperatorFlag...)})
	return err
}

func (b *bench) startHandler() (err error) {
	b.handler, err = b.procs.Start(measure.Command{Name: "launch-handler", Path: b.bin("launch-handler"), Args: []string{
		"--config-dir=" + b.configDir(), "--store=sqlite:" + filepath.Join(b.dir, "launches.db"),
		"--public-address=" + b.addresses.public, "--ops-address=" + b.addresses.ops, "--control-address=" + b.addresses.control,
	}})
	return err
}

// applyAtOnce applies everything and waits until all of it is Ready.
func (b *bench) applyAtOnce(ctx context.Context) error {
	want := b.flags.Platforms + b.flags.Activities
	b.say("applying %d platforms and %d activities", b.flags.Platforms, b.flags.Activities)
	etcdBefore, _, err := scrape(ctx, b.cluster.Etcd())
	if err != nil {
		return err
	}
	metricsBefore, _, err := scrape(ctx, "http://"+b.addresses.metrics)
	if err != nil {
		return err
	}
	cpuBefore, err := b.operator.CPU()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := b.cluster.applyAll(ctx, b.flags.Platforms, b.flags.Activities); err != nil {
		return err
	}
	applied := time.Since(start)
	said := time.Now()
	if err := measure.Until(ctx, readyTimeout, 50*time.Millisecond, func() error {
		ready := b.tracker.readyCount(v1alpha1.KindPlatform) + b.tracker.readyCount(v1alpha1.KindActivity)
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			b.say("%d of %d Ready", ready, want)
		}
		if ready < want {
			return fmt.Errorf("%d of %d are Ready", ready, want)
		}
		return nil
	}); err != nil {
		return err
	}
	took := time.Since(start)
	b.say("all Ready after %.1f s", took.Seconds())
	b.report.Add("apply at once → all Ready", took.Seconds(), 300, "s")
	b.report.Tell("… of which the applying itself", applied.Seconds(), "s")
	if _, err := b.waitIdle(ctx, start); err != nil {
		return err
	}
	end := time.Now()

	tables, objects, size, _ := b.tracker.publishedSince(start)
	b.report.Add("bytes published to etcd meanwhile (1 MiB/s, and 4 MiB at once)", float64(size)/measure.MiB, 4+end.Sub(start).Seconds(), "MiB")
	b.report.Tell("… in tables", float64(tables), "")
	b.report.Tell("… in objects", float64(objects), "")
	if err := b.tellAboutEtcd(ctx, etcdBefore); err != nil {
		return err
	}
	statusWrites, err := b.audit.between(start, end, func(r request) bool {
		return byOperator(r) && r.writes() && r.resource == "ltiactivities/status"
	})
	if err != nil {
		return err
	}
	perActivity := map[string]int{}
	for _, r := range statusWrites {
		perActivity[r.name]++
	}
	most := 0
	spread := map[int]int{}
	for _, n := range perActivity {
		most = max(most, n)
		spread[n]++
	}
	b.report.Add("status writes per activity, mean", float64(len(statusWrites))/float64(b.flags.Activities), 2, "")
	b.report.Add("status writes per activity, most", float64(most), 2, "")
	if most > 2 {
		b.report.Note("activities by the number of their status writes: %s", histogram(spread))
	}
	all, err := b.audit.between(start, end, byOperator)
	if err != nil {
		return err
	}
	b.report.Tell("requests of the operator to the API server", float64(len(all)), "")
	b.report.Note("the operator's requests while everything was applied: %s", summary(all))
	cpuAfter, err := b.operator.CPU()
	if err != nil {
		return err
	}
	b.report.Tell("processor time of the operator meanwhile", (cpuAfter - cpuBefore).Seconds(), "s")
	peak, err := b.operator.PeakMemory()
	if err != nil {
		return err
	}
	b.report.Add("operator memory, peak while applying", float64(peak)/measure.MiB, 120, "MiB")
	metricsAfter, err := b.keepMetrics(ctx, "applied")
	if err != nil {
		return err
	}
	const published = "lti_operator_config_publish_bytes_total"
	if after, ok := metricsAfter.sum(published); ok {
		before, _ := metricsBefore.sum(published)
		b.report.Note("bytes published, by the operator's own metric: %.0f MiB", (after-before)/measure.MiB)
	}
	memory, err := b.idleMemory(ctx, b.operator)
	if err != nil {
		return err
	}
	b.report.Add("operator memory, idle after that", float64(memory)/measure.MiB, 120, "MiB")
	return nil
}

// tellAboutEtcd adds how much was written to etcd by everybody.
func (b *bench) tellAboutEtcd(ctx context.Context, before metrics) error {
	after, _, err := scrape(ctx, b.cluster.Etcd())
	if err != nil {
		return err
	}
	const put, size = "etcd_debugging_mvcc_total_put_size_in_bytes", "etcd_mvcc_db_total_size_in_bytes"
	putBefore, _ := before.sum(put)
	if putAfter, ok := after.sum(put); ok {
		b.report.Tell("bytes put into etcd by everybody", (putAfter-putBefore)/measure.MiB, "MiB")
	}
	if total, ok := after.sum(size); ok {
		b.report.Tell("size of etcd's file", total/measure.MiB, "MiB")
	}
	return nil
}

func histogram(counts map[int]int) string {
	most := 0
	for n := range counts {
		most = max(most, n)
	}
	var parts []string
	for n := 0; n <= most; n++ {
		if counts[n] > 0 {
			parts = append(parts, fmt.Sprintf("%d× %d", counts[n], n))
		}
	}
	return strings.Join(parts, ", ")
}

// The operator counts as idle once it has used next to no processor time for a while and its queues are empty.
const (
	quiet     = 3 * time.Second
	look      = 200 * time.Millisecond
	nextToNil = 10 * time.Millisecond // in one look
)

// waitIdle waits until the operator has nothing to do, and returns when that began. It does not ask the operator more
// than it must: an answer with all its metrics is work too.
func (b *bench) waitIdle(ctx context.Context, since time.Time) (time.Time, error) {
	lastBusy := since
	before, err := b.operator.CPU()
	if err != nil {
		return lastBusy, err
	}
	err = measure.Until(ctx, readyTimeout, look, func() error {
		now := time.Now()
		cpu, err := b.operator.CPU()
		if err != nil {
			return err
		}
		if cpu-before > nextToNil {
			lastBusy = now
		}
		before = cpu
		if now.Sub(lastBusy) < quiet {
			return errors.New("the operator is not idle")
		}
		m, _, err := scrape(ctx, "http://"+b.addresses.metrics)
		if err != nil {
			return err
		}
		waiting, known := m.sum("workqueue_depth")
		working, _ := m.sum("controller_runtime_active_workers")
		if !known || waiting+working > 0 {
			lastBusy = now
			return errors.New("the operator is not idle")
		}
		return nil
	})
	return lastBusy, err
}

// memoryWindow is half of the time that idleMemory takes.
func (b *bench) memoryWindow() time.Duration { return min(b.flags.Steady/4, 30*time.Second) }

// idleMemory lets a process come to rest, and returns the median of its resident memory for a while.
func (b *bench) idleMemory(ctx context.Context, p *measure.Process) (int64, error) {
	b.say("watching memory for %s", 2*b.memoryWindow())
	if err := measure.Sleep(ctx, b.memoryWindow()); err != nil {
		return 0, err
	}
	since := time.Now()
	if err := measure.Sleep(ctx, b.memoryWindow()); err != nil {
		return 0, err
	}
	return p.Memory(since), nil
}

// coldStart is what a start of the operator took.
type coldStart struct {
	// confirmed is the time from the start of the process until the handler was known to serve everything, and nothing
	// was left to do.
	confirmed time.Duration
	// changed is the time until an activity that was changed before the start was Ready.
	changed time.Duration
	writes  []request
	idleAt  time.Time
	peak    int64
	cpu     time.Duration
}

// startCold stops the operator, changes one activity, and starts it again. Nothing shows from outside that what did not
// change is confirmed; but there is one table, and the changed activity is Ready when all of it is.
func (b *bench) startCold(ctx context.Context, i, version int) (c coldStart, err error) {
	b.operator.Stop()
	generation, err := b.cluster.retarget(ctx, i, version)
	if err != nil {
		return c, err
	}
	b.say("starting the operator with everything present")
	start := time.Now()
	if err := b.startOperator(); err != nil {
		return c, err
	}
	var ready time.Time
	if err := measure.Until(ctx, readyTimeout, 20*time.Millisecond, func() error {
		at, ok := b.tracker.readyAt(v1alpha1.KindActivity, activityName(i), generation)
		if !ok {
			return errors.New("the changed activity is not Ready")
		}
		ready = at
		return nil
	}); err != nil {
		return c, err
	}
	if c.idleAt, err = b.waitIdle(ctx, ready); err != nil {
		return c, err
	}
	c.changed, c.confirmed = ready.Sub(start), c.idleAt.Sub(start)
	b.say("the operator is idle after %.1f s", c.confirmed.Seconds())
	if c.writes, err = b.audit.between(start, time.Now(), func(r request) bool { return byOperator(r) && r.writes() && !r.isLease() }); err != nil {
		return c, err
	}
	if c.cpu, err = b.operator.CPU(); err != nil {
		return c, err
	}
	c.peak, err = b.operator.PeakMemory()
	return c, err
}

// coldStartAndSteady starts the operator with everything present and then leaves it alone.
func (b *bench) coldStartAndSteady(ctx context.Context) error {
	c, err := b.startCold(ctx, 0, 1)
	if err != nil {
		return err
	}
	b.report.Add("cold start → everything confirmed", c.confirmed.Seconds(), 20, "s")
	b.report.Tell("… until a change made before it is Ready", c.changed.Seconds(), "s")
	b.report.Tell("… processor time of the operator", c.cpu.Seconds(), "s")
	b.report.Note("writes of the cold start, after one change: %s", summary(c.writes))
	b.report.Add("operator memory, peak of the cold start", float64(c.peak)/measure.MiB, 120, "MiB")

	b.say("watching %s in which nothing changes", b.flags.Steady)
	start := time.Now()
	cpuBefore, err := b.operator.CPU()
	if err != nil {
		return err
	}
	if err := measure.Sleep(ctx, b.flags.Steady); err != nil {
		return err
	}
	end := time.Now()
	cpuAfter, err := b.operator.CPU()
	if err != nil {
		return err
	}
	b.report.Add("operator memory, steady", float64(b.operator.Memory(start.Add(b.flags.Steady/2)))/measure.MiB, 120, "MiB")
	writes, err := b.audit.between(start, end, writesBeyondLease)
	if err != nil {
		return err
	}
	events, err := b.audit.between(start, end, func(r request) bool { return r.isEvent() && r.writes() })
	if err != nil {
		return err
	}
	leases, err := b.audit.between(start, end, func(r request) bool { return byOperator(r) && r.writes() && r.isLease() })
	if err != nil {
		return err
	}
	period := fmt.Sprintf("in %s without a change", b.flags.Steady)
	b.report.Add("writes "+period, float64(len(writes)), 0, "")
	b.report.Add("events "+period, float64(len(events)), 0, "")
	b.report.Tell("writes of the Lease "+period, float64(len(leases)), "")
	b.report.Tell("processor time of the operator, per minute of it", (cpuAfter-cpuBefore).Seconds()/b.flags.Steady.Minutes(), "s")
	if len(writes)+len(events) > 0 {
		b.report.Note("writes and events that should not be there: %s", summary(append(writes, events...)))
	}
	m, err := b.keepMetrics(ctx, "steady")
	if err != nil {
		return err
	}
	used, _ := m.sum("go_memstats_heap_alloc_bytes")
	next, _ := m.sum("go_memstats_next_gc_bytes")
	b.report.Note("Go heap of the operator at the end of that: %.0f MiB; it may grow to %.0f MiB before it is collected", used/measure.MiB, next/measure.MiB)
	return nil
}

// changeOneByOne changes activities and waits, each time, until a learner who opens it arrives at the new address.
func (b *bench) changeOneByOne(ctx context.Context) error {
	b.say("changing %d activities, one after another", b.flags.Changes)
	var served, ready, table []float64
	start := time.Now()
	for n := range b.flags.Changes {
		i := n * 7919 % b.flags.Activities
		one, err := b.changeOne(ctx, i, n+2)
		if err != nil {
			return fmt.Errorf("change %s: %w", activityName(i), err)
		}
		served, ready, table = append(served, one.served.Seconds()), append(ready, one.ready.Seconds()), append(table, one.table.Seconds())
		// So that the changes do not fall in step with anything that happens at intervals.
		if err := measure.Sleep(ctx, 200*time.Millisecond+time.Duration(n*137%800)*time.Millisecond); err != nil {
			return err
		}
	}
	end := time.Now()
	b.report.Tell("apply → served, p50", measure.Percentile(served, 50), "s")
	b.report.Tell("apply → served, p95", measure.Percentile(served, 95), "s")
	b.report.Add("apply → served, p99", measure.Percentile(served, 99), 1, "s")
	b.report.Tell("… until the table is published, p50", measure.Percentile(table, 50), "s")
	b.report.Tell("… until the table is published, p99", measure.Percentile(table, 99), "s")
	b.report.Tell("apply → Ready, p50", measure.Percentile(ready, 50), "s")
	b.report.Tell("apply → Ready, p99", measure.Percentile(ready, 99), "s")
	_, objects, size, _ := b.tracker.publishedSince(start)
	b.report.Tell("bytes published to etcd per change", float64(size)/float64(b.flags.Changes)/1024, "KiB")
	b.report.Tell("… in objects", float64(objects)/float64(b.flags.Changes), "")
	requests, err := b.audit.between(start, end, byOperator)
	if err != nil {
		return err
	}
	b.report.Note("the operator's requests for %d changes: %s", b.flags.Changes, summary(requests))
	_, err = b.keepMetrics(ctx, "changed")
	return err
}

// change is how long it took from the start of a patch.
type change struct{ table, served, ready time.Duration }

func (b *bench) changeOne(ctx context.Context, i, version int) (c change, err error) {
	l, err := b.linkTo(ctx, i)
	if err != nil {
		return c, err
	}
	start := time.Now()
	generation, err := b.cluster.retarget(ctx, i, version)
	if err != nil {
		return c, err
	}
	if err := measure.Until(ctx, changeTimeout, 10*time.Millisecond, func() error {
		place, err := l.leadsTo(ctx)
		if err == nil && place != targetURL(i, version) {
			err = fmt.Errorf("a launch leads to %q", place)
		}
		return err
	}); err != nil {
		return c, err
	}
	c.served = time.Since(start)
	if err := measure.Until(ctx, changeTimeout, 10*time.Millisecond, func() error {
		at, ok := b.tracker.readyAt(v1alpha1.KindActivity, activityName(i), generation)
		if !ok {
			return errors.New("the activity is not Ready")
		}
		c.ready = at.Sub(start)
		return nil
	}); err != nil {
		return c, err
	}
	_, _, _, first := b.tracker.publishedSince(start)
	c.table = first.Sub(start)
	return c, nil
}

// restartHandler starts the launch handler anew, with the table on disk.
func (b *bench) restartHandler(ctx context.Context) error {
	b.handler.Stop()
	if err := b.startHandler(); err != nil {
		return err
	}
	if err := measure.Until(ctx, startTimeout, 5*time.Millisecond, func() error {
		_, err := get(ctx, "http://"+b.addresses.ops+"/readyz")
		return err
	}); err != nil {
		return fmt.Errorf("start the launch handler: %w", err)
	}
	b.report.Add("start of the launch handler → Ready", time.Since(b.handler.Started).Seconds(), 1, "s")
	memory, err := b.idleMemory(ctx, b.handler)
	if err != nil {
		return err
	}
	b.report.Add("launch handler memory, idle", float64(memory)/measure.MiB, 80, "MiB")
	return nil
}

// addUnrelated fills the namespace with Secrets of others: beside the running operator, and before it starts.
func (b *bench) addUnrelated(ctx context.Context) error {
	if b.flags.UnrelatedSecrets == 0 {
		return nil
	}
	// Two starts under the same conditions, one without and one with the Secrets, differ by nothing else.
	without, err := b.startCold(ctx, 0, 1_000_001)
	if err != nil {
		return err
	}
	before, err := b.idleMemory(ctx, b.operator)
	if err != nil {
		return err
	}
	b.say("creating %d unrelated Secrets", b.flags.UnrelatedSecrets)
	start := time.Now()
	if err := b.cluster.createUnrelated(ctx, b.flags.UnrelatedSecrets); err != nil {
		return err
	}
	after, err := b.idleMemory(ctx, b.operator)
	if err != nil {
		return err
	}
	writes, err := b.audit.between(start, time.Now(), writesBeyondLease)
	if err != nil {
		return err
	}
	with, err := b.startCold(ctx, 0, 1_000_002)
	if err != nil {
		return err
	}
	again, err := b.idleMemory(ctx, b.operator)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d unrelated Secrets of 32 KiB", b.flags.UnrelatedSecrets)
	b.report.Add(what+": operator memory grows by", float64(after-before)/measure.MiB, 10, "MiB")
	b.report.Add("… after a cold start among them, by", float64(again-before)/measure.MiB, 10, "MiB")
	b.report.Add("… its peak in the cold start, by", float64(with.peak-without.peak)/measure.MiB, 10, "MiB")
	b.report.Add("… writes because of them", float64(len(writes)), 0, "")
	return nil
}

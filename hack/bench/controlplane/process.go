// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end by itself.
const stopTimeout = 15 * time.Second

// processes are the children. Each has a process group of its own, so that Ctrl-C reaches this program only, which then
// stops them in order.
type processes struct {
	logDir string
	// failed is called when one ends that should run.
	failed func(error)

	mu   sync.Mutex
	list []*process
}

// process is a child that runs until it is stopped.
type process struct {
	pid     int
	started time.Time
	done    chan struct{}

	mu       sync.Mutex
	expected bool // that it ends
	samples  []sample
}

// sample is the resident memory of a process at an instant.
type sample struct {
	at    time.Time
	bytes int64
}

// start runs a program; its output goes to a log with its name.
func (ps *processes) start(name, path string, args ...string) (*process, error) {
	logPath := filepath.Join(ps.logDir, name+".log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &process{done: make(chan struct{}), started: time.Now()}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.pid = cmd.Process.Pid
	ps.mu.Lock()
	ps.list = append(ps.list, p)
	ps.mu.Unlock()
	go p.watchMemory()
	go func() {
		err := cmd.Wait()
		close(p.done)
		if !p.isExpected() {
			ps.failed(fmt.Errorf("%s has ended (%w); the end of its log:\n%s", name, errors.Join(err), tail(logPath)))
		}
	}()
	return p, nil
}

// stopAll stops every process, the newest first.
func (ps *processes) stopAll() {
	ps.mu.Lock()
	list := ps.list
	ps.list = nil
	ps.mu.Unlock()
	for _, p := range list {
		p.expectEnd()
	}
	for _, p := range slices.Backward(list) {
		p.stop()
	}
}

func (p *process) isExpected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expected
}

// expectEnd says that its end is no failure from now on.
func (p *process) expectEnd() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = true
}

// stop asks the process to end, and makes it.
func (p *process) stop() {
	p.expectEnd()
	select {
	case <-p.done:
		return
	default:
	}
	_ = syscall.Kill(-p.pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		<-p.done
	}
}

// watchMemory samples the resident memory until the process ends.
func (p *process) watchMemory() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-tick.C:
		}
		content, err := os.ReadFile(p.proc("statm"))
		fields := strings.Fields(string(content))
		if err != nil || len(fields) < 2 {
			continue // it is ending
		}
		pages, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		p.mu.Lock()
		p.samples = append(p.samples, sample{time.Now(), pages * int64(os.Getpagesize())})
		p.mu.Unlock()
	}
}

// memory is the median of the resident memory since an instant.
func (p *process) memory(since time.Time) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var sizes []int64
	for _, s := range p.samples {
		if s.at.After(since) {
			sizes = append(sizes, s.bytes)
		}
	}
	if len(sizes) == 0 {
		return 0
	}
	slices.Sort(sizes)
	return sizes[len(sizes)/2]
}

// peakMemory is the most that was resident since the process started, as the kernel counts it.
func (p *process) peakMemory() (int64, error) {
	content, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return 0, fmt.Errorf("read the peak of memory: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		value, ok := strings.CutPrefix(line, "VmHWM:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		return kib << 10, err
	}
	return 0, errors.New("read the peak of memory: no VmHWM")
}

// cpu is the processor time used since the process started.
func (p *process) cpu() (time.Duration, error) {
	content, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	// The second field is the program's name in parentheses, which may hold anything.
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	const utime, stime = 11, 12 // counted from the third field, proc_pid_stat(5)
	if len(fields) <= stime {
		return 0, errors.New("read processor time: too few fields")
	}
	var ticks int64
	for _, field := range fields[utime : stime+1] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		ticks += n
	}
	const perSecond = 100 // USER_HZ, the same on every Linux that Go runs on
	return time.Duration(ticks) * time.Second / perSecond, nil
}

func (p *process) proc(file string) string {
	return filepath.Join("/proc", strconv.Itoa(p.pid), file)
}

// tail is the end of a log.
func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// freeAddresses are loopback addresses that nobody listens on.
func freeAddresses(n int) ([]string, error) {
	addresses := make([]string, 0, n)
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		// All stay open until all are chosen, so that they differ.
		defer func() { _ = l.Close() }()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// until polls reached until it returns nil; its last error is the reason of a timeout.
func until(ctx context.Context, timeout, pause time.Duration, reached func() error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		err := reached()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", timeout, err)
		case <-time.After(pause):
		}
	}
}

// sleep returns early only when ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end by itself.
const stopTimeout = 15 * time.Second

// Processes are the children. Each has a process group of its own, so that Ctrl-C reaches this program only, which then
// stops them in order.
type Processes struct {
	// LogDir is the folder for their logs.
	LogDir string
	// Failed is called when one ends that should run.
	Failed func(error)

	mu   sync.Mutex
	list []*Process
}

// Command is a program to start.
type Command struct {
	// Name is that of its log too.
	Name, Path string
	Args       []string
	// Env is added to the environment of this program, as in os.Environ.
	Env []string
	// Cores are those that it may run on, numbered as in /proc/cpuinfo; none: any.
	Cores []int
}

// Process is a child that runs until it is stopped.
type Process struct {
	// Started is when it was started.
	Started time.Time

	pid  int
	done chan struct{}

	mu       sync.Mutex
	expected bool // that it ends
	samples  []sample
}

// sample is the resident memory of a process at an instant.
type sample struct {
	at    time.Time
	bytes int64
}

// Start runs a program; its output is added to a log with its name.
func (ps *Processes) Start(c Command) (*Process, error) {
	logPath := filepath.Join(ps.LogDir, c.Name+".log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = processAttributes()
	p := &Process{done: make(chan struct{}), Started: time.Now()}
	started := make(chan error)
	go func() {
		// The child has the cores of the thread that starts it from its first instruction on, so that what its runtime
		// makes of their number is right. The thread ends with this goroutine, and must not end before the child, to
		// which the signal of processAttributes would come then.
		runtime.LockOSThread()
		err := pinThread(c.Cores)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		close(p.done)
		if !p.isExpected() {
			ps.Failed(fmt.Errorf("%s has ended (%w); the end of its log:\n%s", c.Name, errors.Join(err), tail(logPath)))
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	p.pid = cmd.Process.Pid
	ps.mu.Lock()
	ps.list = append(ps.list, p)
	ps.mu.Unlock()
	go p.watchMemory()
	return p, nil
}

// Output runs a program to its end, and returns what it has written to its standard output. Its name is not used.
func Output(ctx context.Context, c Command) (out []byte, err error) {
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.SysProcAttr = processAttributes()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // as in Start
		if err = pinThread(c.Cores); err == nil {
			out, err = cmd.Output()
		}
	}()
	<-done
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", c.Path, err)
	}
	return out, nil
}

// StopAll stops every process, the newest first.
func (ps *Processes) StopAll() {
	ps.mu.Lock()
	list := ps.list
	ps.list = nil
	ps.mu.Unlock()
	for _, p := range list {
		p.ExpectEnd()
	}
	for _, p := range slices.Backward(list) {
		p.Stop()
	}
}

func (p *Process) isExpected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expected
}

// ExpectEnd says that its end is no failure from now on.
func (p *Process) ExpectEnd() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = true
}

// Stop asks the process and its children to end, and makes them.
func (p *Process) Stop() {
	p.ExpectEnd()
	select {
	case <-p.done:
		return
	default:
	}
	_ = syscall.Kill(-p.pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
	}
	p.Kill()
}

// Kill ends the process and its children at once, as a crash would.
func (p *Process) Kill() {
	p.ExpectEnd()
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	<-p.done
}

// Signal sends the process a signal.
func (p *Process) Signal(s syscall.Signal) error { return syscall.Kill(p.pid, s) }

// CPU is the processor time that the process has used since it started, without that of its children.
func (p *Process) CPU() (time.Duration, error) { return processCPU(p.pid) }

// watchMemory samples the resident memory until the process ends.
func (p *Process) watchMemory() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-tick.C:
		}
		content, err := os.ReadFile(proc(p.pid, "statm"))
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

// Memory is the median of the resident memory since an instant, in bytes; 0 where that is less than 200 ms ago.
func (p *Process) Memory(since time.Time) int64 {
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

// MostMemory is the most that was resident at any of the samples, which are 200 ms apart, between two instants, in bytes.
func (p *Process) MostMemory(from, until time.Time) (most int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.samples {
		if !s.at.Before(from) && s.at.Before(until) {
			most = max(most, s.bytes)
		}
	}
	return most
}

// PeakMemory is the most that was resident since the process started, as the kernel counts it, in bytes.
func (p *Process) PeakMemory() (int64, error) {
	content, err := os.ReadFile(proc(p.pid, "status"))
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

// tail is the end of a log.
func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

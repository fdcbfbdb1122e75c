// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end by itself.
const stopTimeout = 10 * time.Second

// processes are the children. Each has a process group of its own, so that Ctrl-C reaches the demo only, which then
// stops them in order.
type processes struct {
	logDir string
	// failed is called when one ends that should run.
	failed func(error)

	mu   sync.Mutex
	list []*process
}

// command is a program to start. Its name is that of its log too.
type command struct {
	name string
	path string
	args []string
	env  []string
}

// process is a child that runs until it is stopped.
type process struct {
	name string
	pid  int
	log  string
	done chan struct{}

	mu       sync.Mutex
	expected bool // that it ends
}

func (ps *processes) start(c command) (*process, error) {
	p := &process{name: c.name, log: filepath.Join(ps.logDir, c.name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(c.path, c.args...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	p.pid = cmd.Process.Pid
	ps.mu.Lock()
	ps.list = append(ps.list, p)
	ps.mu.Unlock()
	go func() {
		err := cmd.Wait()
		close(p.done)
		if !p.isExpected() {
			ps.failed(fmt.Errorf("%s has ended (%w); the end of its log:\n%s", p.name, errors.Join(err), tail(p.log)))
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
	for i := len(list) - 1; i >= 0; i-- {
		list[i].stop()
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

// stop asks the process and its children to end, and makes them.
func (p *process) stop() {
	p.expectEnd()
	if !p.running() {
		return
	}
	_ = syscall.Kill(-p.pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
	}
	p.kill()
}

// kill ends the process at once, as a crash would.
func (p *process) kill() {
	p.expectEnd()
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	<-p.done
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
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

// run runs a program to its end; when ctx ends, the program and its children are asked to end too.
func run(ctx context.Context, c command, stdout, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	return cmd.Run()
}

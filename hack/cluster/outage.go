// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// stoppedFolder holds a file for each program that is not to run, named after it.
const stoppedFolder = "stopped"

// programNames are the programs of the node.
func (c *cluster) programNames() []string {
	var names []string
	for _, component := range c.net.components() {
		names = append(names, component.name)
	}
	return names
}

// running returns the node, if there is one with that program.
func (c *cluster) running(program string) (record, error) {
	if !slices.Contains(c.programNames(), program) {
		return record{}, fmt.Errorf("%q is no program of the node; these are: %s", program, strings.Join(c.programNames(), ", "))
	}
	r, running := c.readRecord()
	if !running {
		return record{}, errors.New("no cluster runs")
	}
	return r, nil
}

// stopProgram ends a program of the node as a crash would, and keeps it from being started again.
func (c *cluster) stopProgram(ctx context.Context, program string) error {
	r, err := c.running(program)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.path(stoppedFolder), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(c.path(stoppedFolder, program), nil, 0o600); err != nil {
		return err
	}
	// Until there is none: one may just be starting.
	if err := within(ctx, func() error {
		pid := programIn(r, program)
		if pid == 0 {
			return nil
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end %s, process %d: %w", program, pid, err)
		}
		return fmt.Errorf("%s, process %d, does not end", program, pid)
	}); err != nil {
		return err
	}
	c.say("%s is stopped", program)
	return nil
}

// startProgram lets a program run that was stopped, and waits until it does.
func (c *cluster) startProgram(ctx context.Context, program string) error {
	r, err := c.running(program)
	if err != nil {
		return err
	}
	if err := os.Remove(c.path(stoppedFolder, program)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("%s does not run after %s", program, c.timeout))
	defer cancel()
	if err := c.retry(ctx, program+" runs", func(ctx context.Context) error {
		if programIn(r, program) == 0 {
			return errors.New("there is no such process")
		}
		if program == "kube-apiserver" {
			return c.kubectl(ctx, "", "get", "--raw=/readyz")
		}
		return nil
	}); err != nil {
		return err
	}
	c.say("%s runs", program)
	return nil
}

// programIn is the process of a program of the node, or 0.
func programIn(r record, program string) int {
	path := filepath.Join(inside+"-bin", program)
	for _, pid := range processesIn(r.processes) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if name, _, _ := bytes.Cut(line, []byte{0}); err == nil && string(name) == path {
			return pid
		}
	}
	return 0
}

// stopped tells, inside the node, whether a program is not to run.
func stopped(program string) bool {
	_, err := os.Stat(filepath.Join(inside, stoppedFolder, program))
	return err == nil
}

// SPDX-License-Identifier: Apache-2.0

// Package measure is what benchmarks share: programs that run beside them on chosen cores, the processor time and memory
// that these take, and a report that says what was wanted. Figures come from /proc and from the kernel's clocks, so it
// needs Linux.
package measure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// MiB is the unit of memory in reports.
const MiB = 1 << 20

// Supported returns an error where nothing can be measured.
func Supported() error {
	if _, err := os.Stat("/proc/self/statm"); err != nil {
		return errors.New("it needs Linux: memory and processor time come from /proc")
	}
	return nil
}

// FindRoot is the repository, from anywhere inside it.
func FindRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module github.com/lti-operator/lti-operator\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("run it inside the repository")
		}
		dir = parent
	}
}

// WatchParent calls gone when "go run" or make was killed, which does not reach a benchmark by itself. It returns then, or
// when ctx ends.
func WatchParent(ctx context.Context, gone func()) {
	parent := os.Getppid()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if os.Getppid() != parent {
				gone()
				return
			}
		}
	}
}

// FreeAddresses are n loopback addresses, as host:port, that nobody listens on.
func FreeAddresses(n int) ([]string, error) {
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

// Until polls reached until it returns nil; its last error is the reason of a timeout. Where the context ends before,
// the cause of that is the error.
func Until(parent context.Context, timeout, pause time.Duration, reached func() error) error {
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	for {
		err := reached()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if parent.Err() != nil {
				return context.Cause(parent)
			}
			return fmt.Errorf("not within %s: %w", timeout, err)
		case <-time.After(pause):
		}
	}
}

// Sleep returns early only when ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Percentile is the smallest value that at least that many percent do not exceed; 0 of no values.
func Percentile(values []float64, percent int) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}

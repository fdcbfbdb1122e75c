// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// endTimeout is how long the kernel may take to end what is the node's.
const endTimeout = 30 * time.Second

// down ends the cluster, removes what is left of it, tells what that was, and fails if anything remains.
func (c *cluster) down(ctx context.Context) error {
	if !c.isOurs() {
		if entries, err := os.ReadDir(c.dir); err == nil && len(entries) > 0 {
			return fmt.Errorf("%s is not the folder of a cluster", c.dir)
		}
		// An empty folder, of a run that did not get far.
		_ = os.Remove(c.dir)
		c.say("no cluster to end")
		return nil
	}
	r, running := c.readRecord()
	if running {
		count := len(processesIn(r.processes))
		// The first of a namespace takes all others with it: containers, shims and all.
		if err := syscall.Kill(r.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end the node, process %d: %w", r.pid, err)
		}
		if err := within(ctx, func() error {
			if _, running := c.readRecord(); running {
				return fmt.Errorf("process %d does not end", r.pid)
			}
			return nil
		}); err != nil {
			return err
		}
		c.say("ended %d processes, and with them their mounts, network interfaces and nftables rules", count)
	}
	if _, err := net.InterfaceByName(c.interfaceName()); err == nil {
		// The kernel removes it too, some time after the node.
		if err := ip("link delete " + c.interfaceName()); err != nil {
			if _, still := net.InterfaceByName(c.interfaceName()); still == nil {
				return err
			}
		}
		c.say("removed network interface %s and the routes through it", c.interfaceName())
	}
	if err := c.unmount(); err != nil {
		return err
	}
	removed, err := removeCgroups(ctx, c.cgroupName())
	if err != nil {
		return err
	}
	if removed > 0 {
		c.say("removed %d control groups", removed)
	}
	size := sizeOf(c.dir)
	// The marker goes last, so that a removal which is interrupted can be taken up.
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != marker {
			if err := os.RemoveAll(c.path(e.Name())); err != nil {
				return fmt.Errorf("remove %s: %w", e.Name(), err)
			}
		}
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove %s: %w", c.dir, err)
	}
	c.say("removed %s, %d MiB", c.dir, size>>20)

	if err := within(ctx, func() error { return c.remains(r) }); err != nil {
		return fmt.Errorf("something is left of the cluster:\n%w", err)
	}
	c.say("nothing is left: no process, mount, network interface, route, control group or file")
	return nil
}

// within tries until it works or endTimeout is over.
func within(ctx context.Context, try func() error) error {
	deadline := time.Now().Add(endTimeout)
	for {
		err := try()
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// remains is everything that is left on this machine of a cluster with that node.
func (c *cluster) remains(r record) error {
	var left []error
	add := func(format string, args ...any) { left = append(left, fmt.Errorf(format, args...)) }
	if r.pid != 0 {
		for _, pid := range processesIn(r.processes, r.network) {
			add("process %d", pid)
		}
	}
	if _, err := net.InterfaceByName(c.interfaceName()); err == nil {
		add("network interface %s", c.interfaceName())
	}
	if routes, err := os.ReadFile("/proc/net/route"); err == nil && strings.Contains(string(routes), c.interfaceName()) {
		add("routes through %s", c.interfaceName())
	}
	for _, folder := range cgroupFolders(c.cgroupName()) {
		add("control group %s", folder)
	}
	for _, mount := range c.mounts() {
		add("mount %s", mount)
	}
	if _, err := os.Lstat(c.dir); err == nil {
		add("folder %s", c.dir)
	}
	return errors.Join(left...)
}

// processesIn are the processes in one of the namespaces.
func processesIn(namespaces ...string) []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		for _, kind := range []string{"pid", "net"} {
			ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
			if err == nil && slices.Contains(namespaces, ns) && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// mounts are those below the cluster's folder, the deepest first. The node's own are not among them: they are in a
// namespace of mounts that is not this one.
func (c *cluster) mounts() []string {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var found []string
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], c.dir+"/") {
			found = append(found, fields[4])
		}
	}
	slices.Reverse(found)
	return found
}

func (c *cluster) unmount() error {
	for _, mount := range c.mounts() {
		if err := syscall.Unmount(mount, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", mount, err)
		}
		c.say("unmounted %s", mount)
	}
	return nil
}

// makeCgroups makes the control group that the Pods' are in, in each hierarchy.
func makeCgroups(name string) error {
	folders, err := cgroups()
	if err != nil {
		return err
	}
	for _, folder := range folders {
		group := filepath.Join(folder, name)
		if err := os.MkdirAll(group, 0o755); err != nil {
			return fmt.Errorf("make control group: %w", err)
		}
		// A new group of cpuset takes no process before it has processors and memory.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			content, err := os.ReadFile(filepath.Join(folder, file))
			if err != nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(group, file), content, 0); err != nil {
				return fmt.Errorf("set %s of the control group: %w", file, err)
			}
		}
	}
	return nil
}

// cgroupFolders are the control groups of the cluster that exist, those within others included and first.
func cgroupFolders(name string) []string {
	var found []string
	tops, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
	for _, top := range append(tops, "/sys/fs/cgroup/"+name) {
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				found = append(found, path)
			}
			return nil
		})
	}
	slices.Reverse(found)
	return slices.Compact(found)
}

// removeCgroups removes them all; the kernel may still be busy with what was in them.
func removeCgroups(ctx context.Context, name string) (int, error) {
	count := len(cgroupFolders(name))
	return count, within(ctx, func() error {
		var left []error
		for _, folder := range cgroupFolders(name) {
			if err := syscall.Rmdir(folder); err != nil && !errors.Is(err, syscall.ENOENT) {
				left = append(left, fmt.Errorf("remove control group %s: %w", folder, err))
			}
		}
		return errors.Join(left...)
	})
}

// sizeOf is how many bytes are in a folder.
func sizeOf(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// nodeName is the node's name in Kubernetes.
const nodeName = "node"

// cluster is one cluster, whether it runs or not.
type cluster struct {
	dir     string
	assets  string
	net     network
	timeout time.Duration
	start   time.Time
}

// network are the addresses of a cluster.
type network struct {
	all, pods, services    netip.Prefix
	machine, node          netip.Addr
	apiService, dnsService netip.Addr
}

// subnets divides a network of 16 bits: a.b.0.0/30 is the wire between machine and node, a.b.16.0/20 are Pods, a.b.32.0/20
// Services.
func subnets(cidr string) (network, error) {
	all, err := netip.ParsePrefix(cidr)
	if err != nil || !all.Addr().Is4() || all.Bits() != 16 || all != all.Masked() {
		return network{}, fmt.Errorf("--cidr is %q; it must be a network of 16 bits, such as 10.213.0.0/16", cidr)
	}
	at := func(third, fourth byte) netip.Addr {
		a := all.Addr().As4()
		return netip.AddrFrom4([4]byte{a[0], a[1], third, fourth})
	}
	return network{
		all:        all,
		machine:    at(0, 1),
		node:       at(0, 2),
		pods:       netip.PrefixFrom(at(16, 0), 20),
		services:   netip.PrefixFrom(at(32, 0), 20),
		apiService: at(32, 1),
		dnsService: at(32, 10),
	}, nil
}

// id tells clusters on this machine from one another: it is made of the folder's path.
func (c *cluster) id() string {
	sum := sha256.Sum256([]byte(c.dir))
	return hex.EncodeToString(sum[:4])
}

// interfaceName is this machine's end of the wire to the node.
func (c *cluster) interfaceName() string { return "lti-" + c.id() }

// cgroupName is the control group, of every hierarchy, with the Pods in it.
func (c *cluster) cgroupName() string { return "lti-cluster-" + c.id() }

// note writes down what the cluster is made of, in the file by which its folder is known to be a cluster's.
func (c *cluster) note() error {
	return os.WriteFile(c.path(marker), []byte(c.assets+"\n"+c.net.all.String()+"\n"), 0o600)
}

// noted reads what note has written, where there is a cluster.
func (c *cluster) noted() (assets string, n network, ok bool) {
	content, err := os.ReadFile(c.path(marker))
	if err != nil {
		return "", network{}, false
	}
	assets, cidr, _ := strings.Cut(strings.TrimSpace(string(content)), "\n")
	n, err = subnets(cidr)
	return assets, n, err == nil
}

func (c *cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.dir}, elements...)...)
}

func (c *cluster) kubeconfig() string { return c.path("kubeconfig") }

// say prints a line of progress, with the seconds since the start.
func (c *cluster) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "cluster: %4.0f s  %s\n", time.Since(c.start).Seconds(), fmt.Sprintf(format, args...))
}

// locked runs f while no other run of this program starts or ends the same cluster. The file by which it is done goes
// with the cluster.
func (c *cluster) locked(f func() error) error {
	path := c.dir + ".lock"
	if err := os.MkdirAll(filepath.Dir(c.dir), 0o755); err != nil {
		return err
	}
	for waited := false; ; {
		lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return fmt.Errorf("open lock: %w", err)
		}
		if !waited && syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			waited = true
			c.say("another run starts or ends the cluster, waiting")
		}
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			_ = lock.Close()
			return fmt.Errorf("wait for the lock: %w", err)
		}
		held, err := lock.Stat()
		there, errThere := os.Stat(path)
		if err != nil || errThere != nil || !os.SameFile(held, there) {
			// The one before has removed it: what is locked is not what the next one would find.
			_ = lock.Close()
			continue
		}
		defer func() {
			if !c.isOurs() {
				_ = os.Remove(path)
			}
			_ = lock.Close()
		}()
		return f()
	}
}

// record says which process is the node. A number alone would not do: after a crash it may be another's.
type record struct {
	pid int
	// started is the time that the process was started, in ticks since boot.
	started string
	// processes and network are its namespaces, as the kernel names them.
	processes, network string
}

func describeProcess(pid int) (record, error) {
	started, err := startTime(pid)
	if err != nil {
		return record{}, err
	}
	r := record{pid: pid, started: started}
	if r.processes, err = os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err != nil {
		return record{}, err
	}
	r.network, err = os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	return r, err
}

// startTime is field 22 of /proc/PID/stat; the name in field 2 may hold anything.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	text := string(stat)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return "", errors.New("unknown format of /proc/PID/stat")
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", os.ErrProcessDone
	}
	return fields[19], nil
}

func (c *cluster) writeRecord(r record) error {
	return os.WriteFile(c.path("node.pid"), []byte(strings.Join([]string{strconv.Itoa(r.pid), r.started, r.processes, r.network}, " ")+"\n"), 0o600)
}

// readRecord returns what is known of the node that was started last, and whether it runs.
func (c *cluster) readRecord() (r record, running bool) {
	content, err := os.ReadFile(c.path("node.pid"))
	if err != nil {
		return record{}, false
	}
	fields := strings.Fields(string(content))
	if len(fields) != 4 {
		return record{}, false
	}
	r = record{started: fields[1], processes: fields[2], network: fields[3]}
	if r.pid, err = strconv.Atoi(fields[0]); err != nil || r.pid <= 1 {
		return record{}, false
	}
	started, err := startTime(r.pid)
	return r, err == nil && started == r.started
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// programs are those of the distribution; each is in a package that hack/tools/ensure.sh knows.
var programs = []string{"runc", "nft", "ip", "conntrack"}

// cniFolders are where distributions and people put the CNI plugins.
var cniFolders = []string{"/usr/lib/cni", "/usr/lib64/cni", "/opt/cni/bin"}

// preflight tells everything that is missing on this machine, all of it at once. It may be called while a cluster runs.
func (c *cluster) preflight() error {
	if os.Geteuid() != 0 {
		return errors.New("must be root: a node mounts, makes network interfaces and control groups")
	}
	var missing []error
	add := func(format string, args ...any) { missing = append(missing, fmt.Errorf(format, args...)) }

	if _, err := cgroups(); err != nil {
		missing = append(missing, err)
	}
	if filesystems, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(filesystems), "\toverlay\n") {
		add("the kernel has no overlay file system (modprobe overlay)")
	}
	for _, ns := range []string{"pid", "mnt", "net"} {
		if _, err := os.Stat("/proc/self/ns/" + ns); err != nil {
			add("the kernel has no namespaces of kind %s", ns)
		}
	}
	if _, err := os.Stat("/dev/kmsg"); err != nil {
		add("no /dev/kmsg, which kubelet reads")
	}
	// Not where a container's layers can lie one upon the other.
	if kind, err := filesystemOf(c.dir); err != nil {
		missing = append(missing, err)
	} else if kind == overlayMagic {
		add("%s lies on an overlay file system, which cannot hold containers; set LTI_CLUSTER_DIR to a folder on a disk", c.dir)
	}
	if _, running := c.readRecord(); !running {
		missing = append(missing, c.chooseNetwork()...)
	}
	if len(missing) > 0 {
		return fmt.Errorf("this machine cannot run the cluster:\n%w", errors.Join(missing...))
	}
	return nil
}

// preflightPrograms tells which programs are missing.
func (c *cluster) preflightPrograms() error {
	var missing []string
	for _, name := range programs {
		if _, err := lookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if cniFolder() == "" {
		missing = append(missing, "CNI plugins ("+strings.Join(cniFolders, ", ")+")")
	}
	for _, name := range assets {
		if _, err := os.Stat(filepath.Join(c.assets, name)); err != nil {
			missing = append(missing, filepath.Join(c.assets, name))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing: %s; run hack/tools/ensure.sh runc cni-plugins nft ip conntrack, and hack/cluster/build.sh", strings.Join(missing, ", "))
	}
	return nil
}

// lookPath finds a program also where it is not in PATH, as /usr/sbin is not for all.
func lookPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

func cniFolder() string {
	for _, dir := range cniFolders {
		if _, err := os.Stat(filepath.Join(dir, "ptp")); err == nil {
			return dir
		}
	}
	return ""
}

const (
	overlayMagic = 0x794c7630
	cgroup2Magic = 0x63677270
)

// filesystemOf is the kind of the file system that a path is on, or would be.
func filesystemOf(path string) (int64, error) {
	for {
		var s syscall.Statfs_t
		err := syscall.Statfs(path, &s)
		if err == nil {
			return int64(s.Type), nil
		}
		if !errors.Is(err, syscall.ENOENT) || path == "/" {
			return 0, fmt.Errorf("look at %s: %w", path, err)
		}
		path = filepath.Dir(path)
	}
}

// chooseNetwork takes the first network that is in no use here, unless one was asked for.
func (c *cluster) chooseNetwork() []error {
	if c.net.all.IsValid() {
		return c.inUse(c.net)
	}
	var problems []error
	for second := range 16 {
		n, err := subnets(fmt.Sprintf("10.%d.0.0/16", 213+second))
		if err != nil {
			return []error{err}
		}
		found := c.inUse(n)
		if len(found) == 0 {
			c.net = n
			return nil
		}
		problems = append(problems, found...)
	}
	return problems
}

// inUse tells what on this machine uses a network, other than this cluster.
func (c *cluster) inUse(n network) []error {
	var problems []error
	interfaces, err := net.Interfaces()
	if err != nil {
		return []error{fmt.Errorf("list network interfaces: %w", err)}
	}
	for _, i := range interfaces {
		if i.Name == c.interfaceName() {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			return []error{fmt.Errorf("list addresses of %s: %w", i.Name, err)}
		}
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Masked().Bits() >= n.all.Bits() && prefix.Masked().Overlaps(n.all) {
				problems = append(problems, fmt.Errorf("interface %s has the address %s, within %s; choose another network with LTI_CLUSTER_CIDR", i.Name, a, n.all))
			}
		}
	}
	routes, err := os.Open("/proc/net/route")
	if err != nil {
		return append(problems, err)
	}
	defer func() { _ = routes.Close() }()
	for lines := bufio.NewScanner(routes); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 || fields[0] == c.interfaceName() {
			continue
		}
		var target, mask uint32
		if _, err := fmt.Sscanf(fields[1]+" "+fields[7], "%x %x", &target, &mask); err != nil || mask == 0 {
			continue
		}
		le := func(v uint32) [4]byte { return [4]byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }
		bits := 0
		for m := mask; m != 0; m &= m - 1 {
			bits++
		}
		prefix := netip.PrefixFrom(netip.AddrFrom4(le(target)), bits)
		// A wider one is not in use up to here.
		if bits >= n.all.Bits() && prefix.Overlaps(n.all) {
			problems = append(problems, fmt.Errorf("%s is routed to %s already, within %s; choose another network with LTI_CLUSTER_CIDR", prefix, fields[0], n.all))
		}
	}
	return problems
}

// cgroups are the folders where control groups of the cluster are made: of version 1 one for each hierarchy, else one.
func cgroups() ([]string, error) {
	const root = "/sys/fs/cgroup"
	var s syscall.Statfs_t
	if err := syscall.Statfs(root, &s); err != nil {
		return nil, fmt.Errorf("no control groups at %s: %w", root, err)
	}
	if int64(s.Type) == cgroup2Magic {
		return []string{root}, nil
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var folders []string
	var controllers []string
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) < 3 || kind[0] != "cgroup" || slices.Contains(folders, fields[4]) {
			continue
		}
		folders = append(folders, fields[4])
		controllers = append(controllers, strings.Split(kind[2], ",")...)
	}
	for _, want := range []string{"cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "freezer"} {
		if !slices.Contains(controllers, want) {
			return nil, fmt.Errorf("no control groups for %s are mounted below %s; kubelet and runc need them", want, root)
		}
	}
	return folders, nil
}

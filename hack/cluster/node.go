// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// nodeCommand is the argument with which this program starts itself as the node.
const nodeCommand = "node"

// restartPause is how long a program of the node that has ended stays so.
const restartPause = time.Second

// startNode starts the node, in namespaces of its own, and returns its process. The node waits for goAhead to be written
// to, and ends when it is closed before.
func (c *cluster) startNode() (process *os.Process, goAhead *os.File, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	log, err := os.OpenFile(c.path("logs", "node.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = log.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = r.Close() }()
	cmd := exec.Command(self, nodeCommand, c.dir, c.assets, c.net.all.String())
	cmd.Env = environment(inside + "-bin")
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{r}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Setsid:     true,
	}
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return nil, nil, fmt.Errorf("start the node in namespaces of its own: %w", err)
	}
	// For as long as this program runs, the node is its child, and would remain one after its end.
	go func() { _ = cmd.Wait() }()
	return cmd.Process, w, nil
}

// runNode is the node's first process: it makes the node's view of the machine, starts the programs, and starts again
// what ends. When it ends, the kernel ends every process of the node.
func runNode(args []string) {
	say := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().UTC().Format(time.RFC3339), fmt.Sprintf(format, args...))
	}
	if err := node(args, say); err != nil {
		say("error: %v", err)
		os.Exit(1)
	}
}

func node(args []string, say func(string, ...any)) error {
	if len(args) != 3 || os.Getpid() != 1 {
		return errors.New("only `cluster up` starts this")
	}
	n, err := subnets(args[2])
	if err != nil {
		return err
	}
	goAhead := os.NewFile(3, "goAhead")
	if count, _ := goAhead.Read(make([]byte, 1)); count != 1 {
		return errors.New("`cluster up` ended before the network was there")
	}
	_ = goAhead.Close()
	if err := mountNode(args[0], args[1]); err != nil {
		return err
	}
	if err := syscall.Sethostname([]byte(nodeName)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	for _, command := range []string{
		"link set lo up", "address add " + n.node.String() + "/30 dev eth0", "link set eth0 up", "route add default via " + n.machine.String(),
	} {
		if err := ip(command); err != nil {
			return err
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return fmt.Errorf("let the node forward: %w", err)
	}

	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM, syscall.SIGINT)
	s := &supervisor{say: say, ended: map[int]chan syscall.WaitStatus{}}
	go s.reap()
	for _, component := range n.components() {
		go s.keep(component)
	}
	<-terminate
	say("the node ends")
	return nil
}

// mountNode gives the node a /run, /tmp and /var of its own, so that what its programs write there is neither found by
// others nor left behind. The folders of the cluster and of the programs are at fixed places in it.
func mountNode(dir, assets string) error {
	mount := func(from, to, kind string, flags uintptr, data string) error {
		if err := syscall.Mount(from, to, kind, flags, data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", from, to, err)
		}
		return nil
	}
	if err := mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return err
	}
	// Opened now: what is mounted next may cover them.
	var sources []*os.File
	for _, path := range []string{dir, assets} {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		sources = append(sources, f)
	}
	if err := mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	for i, to := range []string{inside, inside + "-bin"} {
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		if err := mount(fmt.Sprintf("/proc/self/fd/%d", sources[i].Fd()), to, "", syscall.MS_BIND, ""); err != nil {
			return err
		}
	}
	for _, path := range []string{"/run/lock", "/run/netns", "/run/lti-var/upper", "/run/lti-var/work"} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	if err := mount("overlay", "/var", "overlay", 0, "lowerdir=/var,upperdir=/run/lti-var/upper,workdir=/run/lti-var/work"); err != nil {
		return err
	}
	if err := mount("tmpfs", "/tmp", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=1777"); err != nil {
		return err
	}
	for key := range sysctls {
		if err := mount(filepath.Join(inside, "sysctl", strings.ReplaceAll(key, "/", ".")), "/proc/sys/"+key, "", syscall.MS_BIND, ""); err != nil {
			return err
		}
	}
	// Among the node's own mounts, new ones spread, as kubelet expects.
	return mount("none", "/", "", syscall.MS_REC|syscall.MS_SHARED, "")
}

// ip runs ip(8) with the words of a command.
func ip(command string) error {
	path, err := lookPath("ip")
	if err != nil {
		return err
	}
	if out, err := exec.Command(path, strings.Fields(command)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", command, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// supervisor starts programs and reaps every process of the node, for the first process is the parent of orphans.
type supervisor struct {
	say func(string, ...any)

	mu    sync.Mutex
	ended map[int]chan syscall.WaitStatus
}

// reap waits for processes to end, for ever.
func (s *supervisor) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err != nil { // no child yet
			time.Sleep(100 * time.Millisecond)
			continue
		}
		s.mu.Lock()
		if ended, ok := s.ended[pid]; ok {
			delete(s.ended, pid)
			ended <- status
		}
		s.mu.Unlock()
	}
}

// keep runs a program, again and again, as the services of a node do.
func (s *supervisor) keep(c component) {
	for c.after != "" && !answers(c.after) {
		time.Sleep(100 * time.Millisecond)
	}
	for {
		for stopped(c.name) {
			time.Sleep(100 * time.Millisecond)
		}
		ended, err := s.start(c)
		if err != nil {
			s.say("%s: %v", c.name, err)
		} else {
			s.say("%s runs", c.name)
			status := <-ended
			s.say("%s has ended: exit status %d, signal %d", c.name, status.ExitStatus(), status.Signal())
		}
		time.Sleep(restartPause)
	}
}

// answers tells whether something listens at a TCP address or a socket's path, or says that it is well at a URL.
func answers(address string) bool {
	if strings.HasPrefix(address, "https://") {
		client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // nothing is told it
		}}
		response, err := client.Get(address)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	}
	kind := "tcp"
	if strings.HasPrefix(address, "/") {
		kind = "unix"
	}
	conn, err := net.DialTimeout(kind, address, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func (s *supervisor) start(c component) (<-chan syscall.WaitStatus, error) {
	log, err := os.OpenFile(filepath.Join(inside, "logs", c.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	path := filepath.Join(inside+"-bin", c.name)
	// Held, so that it cannot be reaped before it is known.
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := os.StartProcess(path, append([]string{path}, c.args...), &os.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []*os.File{null, log, log}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return nil, err
	}
	ended := make(chan syscall.WaitStatus, 1)
	s.ended[p.Pid] = ended
	return ended, p.Release()
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

//go:embed manifests
var manifests embed.FS

// marker is a file in the cluster's folder by which it is known to be that, and may be deleted.
const marker = "CLUSTER"

// up starts the cluster unless it runs, and prints its kubeconfig's path.
func (c *cluster) up(ctx context.Context) error {
	if _, running := c.readRecord(); running {
		if c.ready(ctx) == nil {
			c.say("is up already")
			fmt.Println(c.kubeconfig())
			return nil
		}
		c.say("runs but is not well; starting over")
	} else if c.isOurs() {
		c.say("cleaning up after one that has ended")
	}
	if c.isOurs() {
		if err := c.down(ctx); err != nil {
			return err
		}
	}
	if err := c.preflight(); err != nil {
		return err
	}
	if err := c.preflightPrograms(); err != nil {
		return err
	}
	if entries, err := os.ReadDir(c.dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty and not of a cluster; give another folder", c.dir)
	}
	err := c.bringUp(ctx)
	if ctx.Err() != nil {
		c.say("interrupted")
		return errors.Join(context.Cause(ctx), c.down(context.WithoutCancel(ctx)))
	}
	if err != nil {
		return fmt.Errorf("%w\n%s\nThe logs are in %s; `make cluster-down` ends what runs", err, c.logs(), c.path("logs"))
	}
	c.say("up")
	fmt.Println(c.kubeconfig())
	return nil
}

// isOurs tells whether the folder is that of a cluster.
func (c *cluster) isOurs() bool {
	_, err := os.Stat(c.path(marker))
	return err == nil
}

func (c *cluster) bringUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("not up after %s", c.timeout))
	defer cancel()
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	if err := c.note(); err != nil {
		return err
	}
	if err := c.writeConfig(); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := c.writeKeys(); err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	if err := c.makeVolumes(); err != nil {
		return err
	}

	process, goAhead, err := c.startNode()
	if err != nil {
		return err
	}
	defer func() { _ = goAhead.Close() }()
	record, err := describeProcess(process.Pid)
	if err != nil {
		return fmt.Errorf("look at the node: %w", err)
	}
	// From here on, what is made on this machine is this cluster's to remove.
	if err := c.writeRecord(record); err != nil {
		return err
	}
	if err := makeCgroups(c.cgroupName()); err != nil {
		return err
	}
	for _, command := range []string{
		fmt.Sprintf("link add %s mtu 1400 type veth peer name eth0 mtu 1400 netns %d", c.interfaceName(), process.Pid),
		fmt.Sprintf("address add %s/30 dev %s", c.net.machine, c.interfaceName()),
		fmt.Sprintf("link set %s up", c.interfaceName()),
		fmt.Sprintf("route add %s via %s", c.net.pods, c.net.node),
		fmt.Sprintf("route add %s via %s", c.net.services, c.net.node),
	} {
		if err := ip(command); err != nil {
			return err
		}
	}
	if _, err := goAhead.Write([]byte{1}); err != nil {
		return fmt.Errorf("tell the node to go ahead: %w", err)
	}
	c.say("the node is process %d", process.Pid)

	for _, step := range []struct {
		name string
		try  func(context.Context) error
	}{
		{"containerd has the images of its own", func(ctx context.Context) error {
			return c.load(ctx, []string{filepath.Join(c.assets, "pause.tar"), filepath.Join(c.assets, "coredns.tar")})
		}},
		{"the API server is ready", func(ctx context.Context) error { return c.kubectl(ctx, "", "get", "--raw=/readyz") }},
		{"cluster DNS and volumes are applied", c.apply},
		{"the node is ready", func(ctx context.Context) error {
			return c.kubectl(ctx, "", "wait", "--for=condition=Ready", "node/"+nodeName, "--timeout=10s")
		}},
		{"cluster DNS answers", func(ctx context.Context) error {
			if err := c.kubectl(ctx, "", "wait", "-n=kube-system", "--for=condition=Available", "deployment/coredns", "--timeout=10s"); err != nil {
				return err
			}
			return c.resolve(ctx, "kubernetes.default.svc."+clusterDomain, c.net.apiService.String())
		}},
	} {
		if err := c.retry(ctx, step.name, step.try); err != nil {
			return err
		}
		c.say("%s", step.name)
	}
	return nil
}

// retry tries until it works, the node has ended, or the time is over.
func (c *cluster) retry(ctx context.Context, name string, try func(context.Context) error) error {
	next := time.Now().Add(15 * time.Second)
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if _, running := c.readRecord(); !running {
			return errors.New("the node has ended")
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: waited until %s: %w", context.Cause(ctx), name, err)
		}
		if time.Now().After(next) {
			c.say("waiting until %s: %v", name, err)
			next = time.Now().Add(15 * time.Second)
		}
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// ready tells why the cluster that runs is not well.
func (c *cluster) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := c.kubectl(ctx, "", "get", "--raw=/readyz"); err != nil {
		return err
	}
	return c.kubectl(ctx, "", "wait", "--for=condition=Ready", "node/"+nodeName, "--timeout=20s")
}

// status prints whether it runs.
func (c *cluster) status(ctx context.Context) error {
	r, running := c.readRecord()
	if !running {
		return errors.New("no cluster runs")
	}
	if err := c.ready(ctx); err != nil {
		return err
	}
	c.say("is up; the node is process %d", r.pid)
	fmt.Println(c.kubeconfig())
	return nil
}

// program is the path of a program that the cluster was started with.
func (c *cluster) program(name string) (string, error) {
	assets, _, ok := c.noted()
	if !ok {
		return "", errors.New("no cluster runs; `make cluster-up` starts one")
	}
	return filepath.Join(assets, name), nil
}

// kubectl runs kubectl as the cluster's administrator; its error holds what it said.
func (c *cluster) kubectl(ctx context.Context, input string, args ...string) error {
	_, err := c.kubectlOutput(ctx, input, args...)
	return err
}

func (c *cluster) kubectlOutput(ctx context.Context, input string, args ...string) (string, error) {
	path, err := c.program("kubectl")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"--kubeconfig=" + c.kubeconfig(), "--cache-dir=" + c.path("kubectl-cache")}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		said := ""
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			said = strings.TrimSpace(string(exit.Stderr))
		}
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, said)
	}
	return string(out), nil
}

// load gives images to containerd.
func (c *cluster) load(ctx context.Context, archives []string) error {
	if len(archives) == 0 {
		return errors.New("load wants archives, as `make images` writes them")
	}
	path, err := c.program("ctr")
	if err != nil {
		return err
	}
	r, running := c.readRecord()
	if !running {
		return errors.New("no cluster runs; `make cluster-up` starts one")
	}
	// By the node's path, since that of a socket must not be long.
	socket := fmt.Sprintf("/proc/%d/root%s/containerd.sock", r.pid, inside)
	for _, archive := range archives {
		archive, err := filepath.Abs(archive)
		if err != nil {
			return err
		}
		if _, err := os.Stat(archive); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, path, "--address="+socket, "--namespace=k8s.io", "images", "import", archive)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("import %s: %w: %s", archive, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// volumes is how many of each access mode there are.
const volumes = 16

// makeVolumes makes the folders of volumes. Nothing provisions others.
func (c *cluster) makeVolumes() error {
	for i := range volumes {
		for _, mode := range []string{"rwo", "rwop"} {
			if err := os.MkdirAll(c.path("volumes", fmt.Sprintf("%s-%02d", mode, i)), 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply makes cluster DNS, the storage class and its volumes.
func (c *cluster) apply(ctx context.Context) error {
	t, err := template.ParseFS(manifests, "manifests/*.yaml")
	if err != nil {
		return err
	}
	var out strings.Builder
	values := struct {
		DNSService, Domain, Image, Node, Folder string
		Volumes                                 []string
	}{c.net.dnsService.String(), clusterDomain, corednsImage, nodeName, inside + "/volumes", nil}
	for i := range volumes {
		values.Volumes = append(values.Volumes, fmt.Sprintf("%02d", i))
	}
	for _, each := range t.Templates() {
		if err := each.Execute(&out, values); err != nil {
			return err
		}
		out.WriteString("\n---\n")
	}
	return c.kubectl(ctx, out.String(), "apply", "--server-side", "--filename=-")
}

// logs is the end of each log.
func (c *cluster) logs() string {
	files, _ := filepath.Glob(c.path("logs", "*.log"))
	var out strings.Builder
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(content)), "\n")
		fmt.Fprintf(&out, "--- %s\n%s\n", filepath.Base(file), strings.Join(lines[max(0, len(lines)-5):], "\n"))
	}
	return out.String()
}

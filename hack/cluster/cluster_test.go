// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSubnets(t *testing.T) {
	n, err := subnets("10.99.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{
		"10.99.0.1": n.machine.String(), "10.99.0.2": n.node.String(), "10.99.16.0/20": n.pods.String(),
		"10.99.32.0/20": n.services.String(), "10.99.32.1": n.apiService.String(), "10.99.32.10": n.dnsService.String(),
	} {
		if got != name {
			t.Errorf("got %s, want %s", got, name)
		}
	}
	for _, cidr := range []string{"", "10.99.0.0", "10.99.0.0/24", "10.99.1.0/16", "fd00::/16"} {
		if _, err := subnets(cidr); err == nil {
			t.Errorf("%q was accepted", cidr)
		}
	}
}

// The process of a record must not be taken for another one that has got its number.
func TestARecordIsOfOneProcessOnly(t *testing.T) {
	c := &cluster{dir: t.TempDir()}
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	r, err := describeProcess(sleep.Process.Pid)
	if err == nil {
		err = c.writeRecord(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, running := c.readRecord(); !running || got != r {
		t.Errorf("of a process that runs: %+v %v, want %+v", got, running, r)
	}
	other := r
	other.started = "1"
	if err := c.writeRecord(other); err != nil {
		t.Fatal(err)
	}
	if _, running := c.readRecord(); running {
		t.Error("another process is taken for the node")
	}
	if err := c.writeRecord(r); err != nil {
		t.Fatal(err)
	}
	if err := sleep.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = sleep.Wait()
	if _, running := c.readRecord(); running {
		t.Error("a process that has ended is taken for the node")
	}
}

// A folder may be given by mistake, such as one's home.
func TestDownRemovesOnlyWhatIsAClusters(t *testing.T) {
	c := &cluster{dir: filepath.Join(t.TempDir(), "home")}
	precious := c.path("precious")
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.down(t.Context()); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Fatal(err)
	}
	// One that was being made, and never had a node.
	if err := os.WriteFile(c.path(marker), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.dir); err == nil {
		t.Error("the folder is still there")
	}
	// There is nothing to do any more, which is no error.
	if err := c.down(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestKeysAreOfOneAuthority(t *testing.T) {
	n, err := subnets("10.99.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{dir: t.TempDir(), net: n}
	if err := os.Mkdir(c.path("config"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.writeKeys(); err != nil {
		t.Fatal(err)
	}
	parse := func(name string) *x509.Certificate {
		t.Helper()
		content, err := os.ReadFile(c.path("keys", name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(content)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	roots := x509.NewCertPool()
	roots.AddCert(parse("ca.crt"))
	for _, name := range []string{n.node.String(), n.apiService.String(), "127.0.0.1", "kubernetes.default.svc"} {
		if _, err := parse("apiserver.crt").Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Error(err)
		}
	}
	info, err := os.Stat(c.kubeconfig())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: %v %v", info, err)
	}
}

func TestOnlyProgramsOfARunningNodeAreStopped(t *testing.T) {
	n, err := subnets("10.213.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{dir: t.TempDir(), net: n}
	for program, want := range map[string]string{
		"kube-apiserver": "no cluster runs",
		"sshd":           "is no program of the node",
		"../node.pid":    "is no program of the node",
	} {
		for name, try := range map[string]func(context.Context, string) error{"stop": c.stopProgram, "start": c.startProgram} {
			if err := try(t.Context(), program); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %s: %v; want %q", name, program, err, want)
			}
		}
	}
	if entries, err := os.ReadDir(c.dir); err != nil || len(entries) > 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
}

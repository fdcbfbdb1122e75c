// SPDX-License-Identifier: Apache-2.0

//go:build linux

package measure

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for percent, want := range map[int]float64{0: 1, 1: 1, 50: 50, 99: 99, 100: 100} {
		if got := Percentile(hundred, percent); got != want {
			t.Errorf("percentile %d of 1 to 100 = %v, want %v", percent, got, want)
		}
	}
	if got := Percentile([]float64{7}, 99); got != 7 {
		t.Errorf("percentile 99 of 7 = %v", got)
	}
}

func TestReport(t *testing.T) {
	var r Report
	r.Add("seconds", 2, 1, "s")
	r.AddAtLeast("times", 25, 20, "×")
	r.AddAtLeast("few times", 5, 20, "×")
	r.Tell("told", 1.234, "")
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| seconds   | 2 s      | ≤ 1 s  | 2.00  | over  |", "| times     | 25 ×     | ≥ 20 × | 1.25  | ok    |",
		"| few times | 5 ×      | ≥ 20 × | 0.25  | below |", "| told      | 1.23     |",
		"|-----------|---------:|-------:|------:|-------|",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s\nhas no line %s", b.String(), want)
		}
	}
}

func TestCoresOfAChild(t *testing.T) {
	last, err := Cores()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ps := &Processes{LogDir: dir, Failed: func(err error) { t.Error(err) }}
	defer ps.StopAll()
	p, err := ps.Start(Command{
		Name: "child", Path: "/bin/sh", Args: []string{"-c", `grep Cpus_allowed_list: /proc/self/status; echo "$WORD"; sleep 60`},
		Env: []string{"WORD=set"}, Cores: []int{len(last) - 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Cpus_allowed_list:", strconv.Itoa(len(last) - 1), "set"}
	var got []string
	err = Until(t.Context(), 5*time.Second, 10*time.Millisecond, func() error {
		content, err := os.ReadFile(dir + "/child.log")
		got = strings.Fields(string(content))
		if len(got) < len(want) {
			return os.ErrNotExist
		}
		return err
	})
	if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the child says %q, %v; want %q", got, err, want)
	}
	if peak, err := p.PeakMemory(); err != nil || peak < 1<<16 {
		t.Errorf("peak of memory = %d, %v", peak, err)
	}
}

// TestTreeCPU: what a child of a child used counts while it runs and after it was waited for; what others use does not.
func TestOutput(t *testing.T) {
	last, err := Cores()
	if err != nil {
		t.Fatal(err)
	}
	core := len(last) - 1
	out, err := Output(t.Context(), Command{
		Path: "/bin/sh", Args: []string{"-c", `grep Cpus_allowed_list: /proc/self/status; echo "$WORD"`}, Env: []string{"WORD=set"}, Cores: []int{core},
	})
	if got, want := strings.Join(strings.Fields(string(out)), " "), "Cpus_allowed_list: "+strconv.Itoa(core)+" set"; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if _, err := Output(t.Context(), Command{Path: "/bin/false"}); err == nil {
		t.Error("a program that fails is no error")
	}
}

func TestTreeCPU(t *testing.T) {
	before, err := TreeCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// The inner shell ends, and the outer one has waited for it when it answers.
	cmd := exec.Command("/bin/sh", "-c", `sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; echo done; sleep 60`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	child, err := TreeCPU(cmd.Process.Pid)
	if err != nil || child < 2*tick {
		t.Errorf("the child used %v, %v", child, err)
	}
	own, err := processCPU(cmd.Process.Pid)
	if err != nil || own > child/2 {
		t.Errorf("the outer shell alone used %v of %v, %v", own, child, err)
	}
	all, err := TreeCPU(os.Getpid())
	if err != nil || all-before < child {
		t.Errorf("this program and its children used %v meanwhile, %v; want at least %v", all-before, err, child)
	}
}

func TestCores(t *testing.T) {
	before, err := Cores()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	after, err := Cores()
	if err != nil || len(after) != len(before) {
		t.Fatalf("%d cores, then %d, %v", len(before), len(after), err)
	}
	for i := range after {
		if idle := after[i].IdleSince(before[i]); idle < 0 || idle > 1 {
			t.Errorf("core %d was idle for %v of the time", i, idle)
		}
	}
	if idle := after[0].IdleSince(after[0]); idle != 0 {
		t.Errorf("idle for %v of no time", idle)
	}
}

func TestUntil(t *testing.T) {
	missing, ended := errors.New("not there"), errors.New("the server has ended")
	never := func() error { return missing }
	if err := Until(t.Context(), time.Millisecond, time.Microsecond, never); !errors.Is(err, missing) {
		t.Errorf("in vain: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ended)
	if err := Until(ctx, time.Hour, time.Hour, never); !errors.Is(err, ended) || errors.Is(err, missing) {
		t.Errorf("interrupted: %v", err)
	}
	tries := 0
	if err := Until(t.Context(), time.Hour, 0, func() error {
		if tries++; tries < 3 {
			return missing
		}
		return nil
	}); err != nil || tries != 3 {
		t.Errorf("after %d: %v", tries, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

// Command controlplane measures the operator with an academy of ordinary size, or any other: a real API server, the
// operator, configsync in kubelet's place and a launch handler run on this machine, and everything that the operator
// does is taken from the API server's audit log, from its watches and from /proc.
//
// It prints a table of what was measured beside what is wanted. It is no test: a target that is missed is a line in the
// table, and only what breaks ends it with an error. It needs Linux.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
)

type flags struct {
	Activities       int           `help:"Number of activities. Every other one refers to a Secret that somebody else made, the rest have theirs generated." default:"10000"`
	Platforms        int           `help:"Number of platforms." default:"100"`
	UnrelatedSecrets int           `help:"Number of Secrets of 32 KiB in the namespace that do not concern the operator." default:"5000"`
	Steady           time.Duration `help:"How long to watch for writes while nobody changes anything." default:"10m"`
	Changes          int           `help:"Number of activities to change, one after another." default:"100"`

	Assets       string   `help:"Folder with etcd and kube-apiserver." env:"KUBEBUILDER_ASSETS" required:"" type:"existingdir"`
	Bin          string   `help:"Folder with lti-operator, launch-handler and configsync." default:"bin" type:"existingdir"`
	OperatorFlag []string `help:"Further flag of the operator, as in --operator-flag=--qps=500." sep:"none" placeholder:"FLAG"`
	Logs         string   `help:"Folder to keep logs, the audit log and the operator's last metrics in. Left out: they are removed." type:"path" placeholder:"DIR"`
}

// Validate implements kong's validation hook.
func (f *flags) Validate() error {
	switch {
	case f.Activities < 2 || f.Platforms < 1 || f.Changes < 1 || f.UnrelatedSecrets < 0:
		return errors.New("at least two activities, one platform and one change")
	case f.Steady < 10*time.Second:
		return errors.New("--steady: less than 10s says nothing")
	}
	return nil
}

func main() {
	var f flags
	kong.Parse(&f, kong.Name("controlplane"), kong.Description("Measures the operator with many activities."))
	ctrl.SetLogger(logr.Discard())
	// Until the very end, so that a second Ctrl-C does not leave half of it running.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := f.run(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}

// run measures, and prints the table on out; what happens meanwhile goes to progress.
func (f *flags) run(parent context.Context, out, progress io.Writer) (err error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	go measure.WatchParent(ctx, func() { cancel(errors.New("the program that started this one has ended")) })

	dir, err := os.MkdirTemp("", "lti-bench-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// What the control plane leaves in a temporary folder when it is killed goes with this one.
	if err := os.Setenv("TMPDIR", dir); err != nil {
		return fmt.Errorf("set TMPDIR: %w", err)
	}
	b := &bench{flags: f, dir: dir, logDir: f.Logs, progress: progress, began: time.Now()}
	if b.logDir == "" {
		b.logDir = filepath.Join(dir, "logs")
	}
	load := measure.LoadAverage()
	if err := b.prepare(); err != nil {
		return err
	}
	b.procs = &measure.Processes{LogDir: b.logDir, Failed: cancel}
	defer func() {
		b.procs.StopAll()
		if b.cluster != nil {
			err = errors.Join(err, b.cluster.Stop())
		}
	}()
	err = b.measure(ctx)
	switch cause := context.Cause(ctx); {
	case parent.Err() != nil:
		return errors.New("interrupted")
	case cause != nil:
		return cause // more telling than what failed because of it
	case err != nil:
		return err
	}
	fmt.Fprintf(out, "%d activities, %d platforms; %s; load average before the run %s\n\n", f.Activities, f.Platforms, measure.Machine(), load)
	return b.report.Write(out)
}

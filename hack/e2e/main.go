// SPDX-License-Identifier: Apache-2.0

// Command e2e judges the product as it is installed: images and charts of this tree on a real cluster, PostgreSQL, two
// launch handlers, and launches of both roles over both generations of LTI while everything around them is disturbed. The
// other systems, the browsers, the identity provider and the gradebook are this program's.
//
//	make e2e                                  all phases, on a cluster that is started for it and ended after it
//	make e2e E2E='--phase=evict --phase=rotate'
//	KUBECONFIG=… make e2e E2E='--address=192.0.2.7 --load="kind load image-archive"'
//
// It prints a table of what was measured beside what is wanted, and fails when anything is not as wanted.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

type flags struct {
	Phase []string `help:"Run this phase only, besides install. Can be given more than once." placeholder:"NAME"`
	Skip  []string `help:"Leave this phase out. Can be given more than once." placeholder:"NAME"`
	List  bool     `help:"List the phases and stop."`

	Rate       int           `help:"Launches a second." default:"25"`
	Launches   int           `help:"Launches in each phase, at least." default:"1000"`
	Outage     time.Duration `help:"How long the API server is away." default:"60s"`
	Activities int           `help:"Activities that are there while propagation is measured." default:"10000"`
	Changes    int           `help:"Changes whose propagation is measured." default:"100"`

	Kubeconfig string `help:"Use this cluster. Left out: one is started, and ended after it." env:"KUBECONFIG" type:"path"`
	Address    string `help:"Address of this machine as Pods reach it. Left out: that of the cluster that is started."`
	Base       string `help:"Where the Service of the launch handlers is reached. Left out: its cluster IP." placeholder:"http://HOST:PORT"`
	Load       string `help:"Command that gives the cluster image archives, which are added to it. With --kubeconfig only." placeholder:"COMMAND"`
	Cluster    string `help:"The program of hack/cluster." default:"bin/cluster" type:"path"`
	Assets     string `help:"Folder with the programs of the cluster, as hack/cluster/build.sh prints it." type:"path"`
	Helm       string `help:"The program helm." required:"" type:"existingfile"`
	Images     string `help:"Folder with the images." default:"bin/images" type:"existingdir"`
	KubectlLTI string `help:"The program kubectl-lti." default:"bin/kubectl-lti" type:"existingfile" name:"kubectl-lti"`
	Keep       bool   `help:"Leave cluster and installation as they are when a phase has failed."`
}

// Validate implements kong's validation hook.
func (f *flags) Validate() error {
	for _, name := range slices.Concat(f.Phase, f.Skip) {
		if !slices.ContainsFunc(phases, func(p phase) bool { return p.name == name }) {
			return fmt.Errorf("there is no phase %q; see --list", name)
		}
	}
	if slices.Contains(f.Skip, "install") {
		return errors.New("--skip: every other phase needs install")
	}
	if f.Kubeconfig == "" && f.Assets == "" {
		return errors.New("give --assets, or the --kubeconfig of a cluster")
	}
	if f.Kubeconfig != "" && f.Address == "" {
		return errors.New("--kubeconfig needs --address: Pods must reach the identity provider, the gradebook and the database here")
	}
	return nil
}

// phase is one part of the run. Those that come later rely on install only.
type phase struct {
	name, what string
	run        func(*e2e, context.Context) error
	// own tells that it takes the cluster of hack/cluster: others are not stopped or ended, and their Pods may not be
	// reached from here.
	own bool
}

var phases = []phase{
	{"install", "charts, database, two launch handlers, samples; a launch of every kind", (*e2e).install, false},
	{"permissions", "what the service accounts may do, in both scopes", (*e2e).permissions, false},
	{"grades", "progress arrives in the gradebook; kubectl lti grades list by port-forward", (*e2e).gradesPhase, false},
	{"rollout-handler", "launches during a rolling update of the launch handler", (*e2e).rolloutHandler, false},
	{"rollout-operator", "launches during a rolling update of the operator", (*e2e).rolloutOperator, false},
	{"evict", "launches while each launch handler is evicted", (*e2e).evict, false},
	{"operator-away", "launches without operator; a change that waits for it", (*e2e).operatorAway, false},
	{"api-away", "launches while the API server is stopped", (*e2e).apiAway, true},
	{"rotate", "launches while signing keys are rotated", (*e2e).rotate, false},
	{"changes", "launches during 100 changes in a minute", (*e2e).changes, false},
	{"kill", "launches while a launch handler is killed, by signal and by force", (*e2e).kill, false},
	{"upgrade", "launches while the release before is installed over this one, this one over it, and rolled back", (*e2e).upgrade, false},
	{"propagation", "how long until a change is served by every launch handler", (*e2e).propagation, true},
	{"reinstall", "helm uninstall keeps what must stay; an install takes it over", (*e2e).reinstall, false},
	{"sqlite", "the gap of a restart with SQLite", (*e2e).sqliteRestart, true},
	{"restore", "backup and restore into an empty cluster", (*e2e).restore, true},
}

// errFailed ends the program after the table has said what is wrong.
var errFailed = errors.New("not all is as wanted")

func main() {
	var f flags
	if slices.Contains(os.Args[1:], "--list") {
		for _, p := range phases {
			fmt.Printf("%-18s %s\n", p.name, p.what)
		}
		return
	}
	kong.Parse(&f, kong.Name("e2e"), kong.Description("Judges the product on a real cluster."))
	ctrl.SetLogger(logr.Discard())
	// Until the very end, so that a second Ctrl-C does not leave half of it running.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := f.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
}

func (f *flags) run(ctx context.Context) (err error) {
	e := &e2e{flags: f, began: time.Now()}
	if e.dir, err = os.MkdirTemp("", "lti-e2e-"); err != nil {
		return err
	}
	// PostgreSQL, which does not run as root, has to get to its own folder in there.
	if err := errors.Join(os.Chmod(e.dir, 0o711), os.Setenv("TMPDIR", e.dir)); err != nil {
		return err
	}
	err = e.runPhases(ctx)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil && f.Keep {
		e.say("kept: KUBECONFIG=%s, files in %s", e.kubeconfig, e.dir)
	} else {
		// Whatever happened, and also when it was interrupted.
		err = errors.Join(err, e.end(context.WithoutCancel(ctx)))
	}
	if !e.report.write(os.Stdout) {
		err = errors.Join(err, errFailed)
	}
	return err
}

// runPhases runs what was asked for. A phase that fails ends neither the others nor the report, except the first.
func (e *e2e) runPhases(ctx context.Context) error {
	var failed []string
	for _, p := range phases {
		if slices.Contains(e.flags.Skip, p.name) || len(e.flags.Phase) > 0 && p.name != "install" && !slices.Contains(e.flags.Phase, p.name) {
			continue
		}
		if p.own && e.flags.Kubeconfig != "" {
			e.report.skip(p.name, "needs the cluster of hack/cluster")
			continue
		}
		e.phase, e.phaseBegan = p.name, time.Now()
		e.say("%s", p.what)
		err := p.run(e, ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			e.report.fail(p.name, err)
			e.say("FAILED: %v", err)
			failed = append(failed, p.name)
			e.saveLogs(ctx)
			if p.name == "install" {
				break
			}
		}
		e.report.took(p.name, time.Since(e.phaseBegan))
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}

// say prints a line of progress.
func (e *e2e) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "e2e: %4.0f s  %-16s %s\n", time.Since(e.began).Seconds(), e.phase, fmt.Sprintf(format, args...))
}

// end takes away all that was made, and looks whether it is gone.
func (e *e2e) end(ctx context.Context) error {
	e.phase = "end"
	var errs []error
	if e.k != nil && e.flags.Kubeconfig != "" {
		errs = append(errs, e.uninstallAll(ctx))
	}
	if e.peers != nil {
		errs = append(errs, e.peers.close())
	}
	if e.database != nil {
		errs = append(errs, e.database.Close())
	}
	if e.flags.Kubeconfig == "" && e.clusterStarted {
		err := e.clusterDown(ctx)
		errs = append(errs, err)
		e.report.add("end", "left of the cluster: processes, mounts, interfaces, routes, control groups, files", 0, boolCount(err != nil), "")
	}
	errs = append(errs, os.RemoveAll(e.dir))
	// Everything temporary, the database's folder too, was below it.
	_, err := os.Lstat(e.dir)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	} else {
		err = errors.Join(fmt.Errorf("%s is still there", e.dir), err)
	}
	e.report.check("end", "files, database and peers of the run are gone", errors.Join(append(errs, err)...))
	return errors.Join(errs...)
}

func boolCount(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

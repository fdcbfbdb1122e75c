// SPDX-License-Identifier: Apache-2.0

// Command demo runs the whole product on one machine: a real API server, the operator, launch handlers, and an academy, a
// learning platform and tools that share no code with it. With --check a browser and some brutality judge it.
//
// "make demo" and "make demo-check" build what it starts. It works on Linux and macOS.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	"github.com/lti-operator/lti-operator/internal/store/postgres/pgtest"
)

type flags struct {
	Check  bool   `help:"Check that launches work, then stop; the last line counts what passed and failed."`
	Assets string `help:"Folder with etcd, kube-apiserver and kubectl." env:"KUBEBUILDER_ASSETS" required:"" type:"existingdir"`
}

// errFailed ends the program after the checks have said what is wrong.
var errFailed = errors.New("some checks failed")

func main() {
	var f flags
	kong.Parse(&f, kong.Name("demo"), kong.Description("Runs operator, launch handler, a learning platform and an academy on this machine."))
	ctrl.SetLogger(logr.Discard())
	// Until the very end, so that a second Ctrl-C does not leave half of it running.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := f.run(ctx)
	if err == nil {
		return
	}
	if !errors.Is(err, errFailed) {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	os.Exit(1)
}

func (f *flags) run(ctx context.Context) error {
	d := &demo{assets: f.Assets, checking: f.Check, out: os.Stdout}
	if !f.Check {
		return d.run(ctx, d.present)
	}
	t := &tally{out: os.Stdout}
	err := d.run(ctx, func(ctx context.Context) error { return d.runChecks(ctx, t) })
	if err != nil {
		t.fail("the demo runs to its end", err)
	}
	t.check("everything is stopped: its ports are free, its files are gone", func() (string, error) {
		if _, err := os.Stat(d.dir); d.dir != "" && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("%s is still there", d.dir)
		}
		return "", d.portsFree()
	})
	if t.failed > 0 && d.logDir != "" {
		fmt.Fprintf(d.out, "logs and screenshots: %s\n", filepath.Dir(d.logDir))
	}
	fmt.Fprintf(d.out, "%d passed, %d failed\n", t.passed, t.failed)
	if t.failed > 0 {
		return errFailed
	}
	return nil
}

// demo is everything that runs, and where.
type demo struct {
	assets   string // folder of the control plane's programs
	checking bool
	out      io.Writer

	root   string // of the repository
	dir    string // for everything temporary, removed at the end
	logDir string

	procs   *measure.Processes
	cluster *cluster
	peers   *peerConfig

	operator, configsync *measure.Process
	directory            *directory
	database             *pgtest.Server // of a tool
}

// run starts everything, calls use once all of it is ready, and stops everything whatever happens.
func (d *demo) run(parent context.Context, use func(context.Context) error) (err error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	go measure.WatchParent(ctx, func() { cancel(errors.New("the program that started the demo has ended")) })

	defer func() {
		if d.dir != "" {
			err = errors.Join(err, os.RemoveAll(d.dir))
		}
	}()
	if err := d.prepare(); err != nil {
		return err
	}
	d.procs = &measure.Processes{LogDir: d.logDir, Failed: cancel}
	// The newest process first: peers, handlers, configsync and operator, then the API server.
	defer func() {
		d.procs.StopAll()
		if d.directory != nil {
			err = errors.Join(err, d.directory.stop())
		}
		if d.database != nil {
			err = errors.Join(err, d.database.Close())
		}
		if d.cluster != nil {
			err = errors.Join(err, d.cluster.Stop())
		}
	}()

	err = d.start(ctx)
	if err == nil {
		err = use(ctx)
	}
	switch cause := context.Cause(ctx); {
	case parent.Err() != nil && !d.checking:
		return nil // Ctrl-C is how the demo ends
	case parent.Err() != nil:
		return errors.New("interrupted")
	case cause != nil:
		return cause // more telling than what failed because of it
	}
	return err
}

// prepare finds the programs and checks that nothing is in the way.
func (d *demo) prepare() (err error) {
	if d.root, err = measure.FindRoot(); err != nil {
		return err
	}
	for _, name := range []string{"lti-operator", "launch-handler", "configsync", "kubectl-lti"} {
		if _, err := os.Stat(d.bin(name)); err != nil {
			return fmt.Errorf("bin/%s is missing: run \"make build\"", name)
		}
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if _, err := os.Stat(filepath.Join(d.assets, name)); err != nil {
			return fmt.Errorf("%s is missing in %s: run \"make controlplane\"", name, d.assets)
		}
	}
	if _, err := exec.LookPath("node"); err != nil {
		return errors.New("node is missing: the platform and the academy of the demo need Node.js 20 or newer")
	}
	if _, err := os.Stat(d.peer("node_modules")); err != nil {
		return errors.New("hack/peers/node_modules is missing: run \"npm --prefix hack/peers ci\"")
	}
	if d.checking {
		browser := os.Getenv("CHROMIUM")
		if browser == "" {
			browser = "/usr/bin/chromium"
		}
		if _, err := os.Stat(browser); err != nil {
			return fmt.Errorf("%s is missing: install Chromium, or set CHROMIUM to its path", browser)
		}
	}
	if err := d.portsFree(); err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "lti-demo-"); err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	d.logDir = filepath.Join(d.dir, "logs")
	if d.checking {
		artifacts := d.artifacts()
		if err := os.RemoveAll(artifacts); err != nil {
			return fmt.Errorf("remove the former artifacts: %w", err)
		}
		d.logDir = filepath.Join(artifacts, "logs")
	}
	if err := os.MkdirAll(d.logDir, 0o700); err != nil {
		return fmt.Errorf("make a folder for logs: %w", err)
	}
	// Whatever the programs below leave in a temporary folder goes with this one.
	if err := os.MkdirAll(filepath.Join(d.dir, "tmp"), 0o700); err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	if err := os.Setenv("TMPDIR", filepath.Join(d.dir, "tmp")); err != nil {
		return fmt.Errorf("set TMPDIR: %w", err)
	}
	// PostgreSQL, which does not run as root, has to get to its own folder in there.
	return errors.Join(os.Chmod(d.dir, 0o711), os.Chmod(os.Getenv("TMPDIR"), 0o711))
}

func (d *demo) bin(name string) string     { return filepath.Join(d.root, "bin", name) }
func (d *demo) peer(name string) string    { return filepath.Join(d.root, "hack", "peers", name) }
func (d *demo) samples(name string) string { return filepath.Join(d.root, "config", "samples", name) }
func (d *demo) artifacts() string          { return d.bin("demo-check") }

// start brings everything up, in an order in which nothing has to be started twice.
func (d *demo) start(ctx context.Context) (err error) {
	fmt.Fprintln(d.out, "starting the API server …")
	if d.cluster, err = startCluster(ctx, d.root, d.assets, d.dir); err != nil {
		return err
	}
	if d.configsync, err = d.procs.Start(measure.Command{
		Name: "configsync", Path: d.bin("configsync"),
		Args: []string{"--kubeconfig", d.cluster.Kubeconfig, "--namespace", namespace, "--dir", d.configDir()},
	}); err != nil {
		return err
	}
	if err := d.startOperator(); err != nil {
		return err
	}
	for _, h := range d.handlers() {
		if _, err := d.startHandler(h, d.configDir(), filepath.Join(d.dir, "launches.db")); err != nil {
			return err
		}
	}
	if _, err := d.cluster.kubectl(ctx, "apply", "--server-side", "-f", d.samples("demo")); err != nil {
		return err
	}
	fmt.Fprintln(d.out, "waiting until the samples are ready …")
	if _, err := d.waitReady(ctx); err != nil {
		return err
	}
	for _, h := range d.handlers() {
		if err := waitHandlerReady(ctx, h, 10*time.Second); err != nil {
			return err
		}
	}
	if d.directory, err = d.startDirectory(ctx); err != nil {
		return err
	}
	if d.peers, err = d.readPeerConfig(ctx); err != nil {
		return err
	}
	if err := d.peers.write(d.dir); err != nil {
		return err
	}
	if d.database, err = pgtest.Run(); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	return d.startPeers(ctx)
}

func (d *demo) configDir() string { return filepath.Join(d.dir, "config") }

// handlers are those that run all the time: one, and for the checks a second on the same store.
func (d *demo) handlers() []handlerPorts {
	if d.checking {
		return []handlerPorts{firstHandler, secondHandler}
	}
	return []handlerPorts{firstHandler}
}

func (d *demo) startOperator() (err error) {
	args := []string{
		"--kubeconfig", d.cluster.OperatorKubeconfig, "--watch-namespaces=" + namespace, "--handler=external",
		"--no-leader-elect", "--metrics-address=" + loopback(operatorMetricsPort), "--probe-address=0",
	}
	for _, h := range d.handlers() {
		args = append(args, "--handler-control-url=https://"+loopback(h.control))
	}
	d.operator, err = d.procs.Start(measure.Command{Name: "lti-operator", Path: d.bin("lti-operator"), Args: args})
	return err
}

func (d *demo) startHandler(h handlerPorts, configDir, store string) (*measure.Process, error) {
	return d.procs.Start(measure.Command{
		Name: h.name, Path: d.bin("launch-handler"),
		Args: []string{
			"--config-dir=" + configDir, "--store=sqlite:" + store, "--public-address=" + loopback(h.public),
			"--ops-address=" + loopback(h.ops), "--control-address=" + loopback(h.control),
		},
	})
}

// waitReady is what an administrator would type.
func (d *demo) waitReady(ctx context.Context) (string, error) {
	return d.cluster.kubectl(ctx, "wait", "--for=condition=Ready", "lti", "--all", "--timeout=60s")
}

// present tells what there is to see, and waits for Ctrl-C.
func (d *demo) present(ctx context.Context) error {
	fmt.Fprintf(d.out, `
The demo runs until Ctrl-C.

  %-38s the other learning system: open this in a browser (Chromium or Firefox)
  %-38s the launch handler
  %-38s the academy

Open "Working safely at height" as Lena or Tom, over LTI 1.3 or LTI 1.2, in a window or in a frame; "Ladder check" opens
inside the frame. The learner arrives signed in, with the claims of the launch on the academy's page; report points there, and
the gradebooks of the learning system have them (%s/grades).

In the other direction, the academy's learners open activities that were made elsewhere:

  %-38s sign in as zoe or ben, with any password

Over LTI 1.3 "rescue-simulation" opens in the window and "height-exam" in a frame, over LTI 1.2 "first-aid" in the window.
Each shows what it was told, and the first and the last have buttons for results, which the academy then has
(%s/results). To be somebody else, sign out first: %s

The tool "rope-workshop" registers itself, and an author (sign in as gus) chooses activities there:

  export KUBECONFIG=%s
  bin/kubectl-lti registration link tool/rope-workshop    open what it prints
  bin/kubectl-lti registration list                       then approve what has registered:
  bin/kubectl-lti registration approve tool/rope-workshop <ID> --apply
  %s/tools/rope-workshop/choose    open it, choose, and apply what is downloaded

In another terminal (%s is the kubectl of the demo):

  export KUBECONFIG=%s
  kubectl get lti
  kubectl get ltiplatform future-partner -o yaml           values for an administrator who has not answered yet
  kubectl patch ltiactivity working-at-height --type=merge -p '{"spec":{"share":{"targetURL":"%s/courses/77"}}}'
                                                           then open it again: nothing has to be restarted
  kubectl patch ltiplatform demo-lms --type=merge -p '{"spec":{"activation":"Deactivated"}}'
  kubectl patch ltitool simulation-lab --type=merge -p '{"spec":{"activation":"Deactivated"}}'
  kubectl apply -f config/samples/broken                   breaks nothing but itself
  tail -f %s

`, d.peers.Check.Platform, d.peers.Check.Handler, d.peers.Check.Academy, d.peers.Check.Platform,
		d.peers.Check.Academy+"/external", d.peers.Check.Academy, d.peers.Check.External.IdentityProvider+"/session/end", d.cluster.Kubeconfig, d.peers.Check.Handler, d.cluster.kubectlPath, d.cluster.Kubeconfig,
		d.peers.Check.Academy, filepath.Join(d.logDir, "*.log"))
	<-ctx.Done()
	fmt.Fprintln(d.out, "\nstopping …")
	return nil
}

// portsFree tells which of the demo's ports is taken, if any.
func (d *demo) portsFree() error {
	ports := []struct {
		port int
		what string
	}{
		{platformPort, "the platform"},
		{academyPort, "the academy"},
		{directoryPort, "the academy's directory"},
		{identityPort, "the academy's identity provider"},
		{simulationPort, "the simulation"},
		{examPort, "the exam"},
		{partnerPort, "the partner's course"},
		{workshopPort, "the workshop"},
		{operatorMetricsPort, "the operator's metrics"},
	}
	handlers := d.handlers()
	if d.checking {
		handlers = append(handlers, spareHandler)
	}
	for _, h := range handlers {
		for _, port := range []int{h.public, h.ops, h.control} {
			ports = append(ports, struct {
				port int
				what string
			}{port, "the " + h.name})
		}
	}
	var errs []error
	for _, p := range ports {
		l, err := net.Listen("tcp", loopback(p.port))
		if err != nil {
			errs = append(errs, fmt.Errorf("port %d of %s is taken: %w", p.port, p.what, err))
			continue
		}
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

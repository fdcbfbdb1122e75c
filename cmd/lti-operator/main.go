// SPDX-License-Identifier: Apache-2.0

// Command lti-operator reconciles LTIAcademy, LTIPlatform, LTITool and LTIActivity resources into key Secrets, routing
// tables and launch handlers.
package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/alecthomas/kong"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/controllers"
)

// flags are the command line; each can be given as environment variable too.
type flags struct {
	Kubeconfig      string   `help:"Kubeconfig file; left out: in-cluster configuration, or KUBECONFIG." type:"path" env:"KUBECONFIG"`
	WatchNamespaces []string `help:"Namespaces to work in. At least one, unless --all-namespaces." env:"WATCH_NAMESPACES"`
	AllNamespaces   bool     `help:"Work in all namespaces; needs cluster-wide permissions." env:"ALL_NAMESPACES"`

	Handler            string   `help:"Who runs the launch handler: \"managed\" makes a Deployment, \"external\" expects it at --handler-control-url." enum:"managed,external" default:"managed" env:"HANDLER"`
	HandlerImage       string   `help:"Image of the launch handler (managed)." env:"HANDLER_IMAGE"`
	HandlerControlURLs []string `help:"Addresses of the launch handlers' control ports (external), e.g. https://127.0.0.1:8443." name:"handler-control-url" env:"HANDLER_CONTROL_URLS"`
	OperatorNamespace  string   `help:"Namespace that this operator runs in: for its lease, and for the network policy of the control port." default:"lti-operator-system" env:"POD_NAMESPACE"`

	OperatorPodLabels map[string]string `help:"Labels of this operator's pods: the network policy of the control port lets in only these. Left out: all pods of its namespace." placeholder:"KEY=VALUE;…" env:"POD_LABELS"`

	MetricsAddress string `help:"Address of the metrics endpoint; 0 switches it off." default:":8080" env:"METRICS_ADDRESS"`
	ProbeAddress   string `help:"Address of /healthz and /readyz." default:":8081" env:"PROBE_ADDRESS"`

	LeaderElect         bool          `help:"Take part in leader election." default:"true" negatable:"" env:"LEADER_ELECT"`
	LeaderLeaseDuration time.Duration `help:"How long a lease holds." default:"35s"`
	LeaderRenewDeadline time.Duration `help:"How long the leader tries to renew its lease." default:"30s"`
	LeaderRetryPeriod   time.Duration `help:"Pause between two tries." default:"5s"`

	Concurrency int     `help:"Objects of a kind reconciled at once." default:"16"`
	QPS         float32 `help:"Requests a second to the API server, for each kind of object." default:"200"`
	Burst       int     `help:"Requests at once to the API server, for each kind of object." default:"400"`
	LogLevel    string  `help:"Log level." enum:"debug,info,warn,error" default:"info" env:"LOG_LEVEL"`

	Version kong.VersionFlag `help:"Print the version and exit."`
}

// Validate implements kong's validation hook.
func (f *flags) Validate() error {
	switch {
	case len(f.WatchNamespaces) == 0 && !f.AllNamespaces:
		return errors.New("give --watch-namespaces or --all-namespaces")
	case len(f.WatchNamespaces) > 0 && f.AllNamespaces:
		return errors.New("--watch-namespaces and --all-namespaces exclude each other")
	case f.Handler == "managed" && f.HandlerImage == "":
		return errors.New("--handler=managed needs --handler-image")
	case f.Handler == "external" && len(f.HandlerControlURLs) == 0:
		return errors.New("--handler=external needs --handler-control-url")
	}
	return nil
}

// version is set by the linker when an image is built.
var version = "dev"

func main() {
	var f flags
	kong.Parse(&f, kong.Name("lti-operator"),
		kong.Description("Reconciles LTIAcademy, LTIPlatform, LTITool and LTIActivity resources into key Secrets, routing tables and launch handlers."),
		kong.Vars{"version": version})
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.LogLevel)) // kong has checked it
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	collectEarly(os.LookupEnv)
	if err := run(&f); err != nil {
		ctrl.Log.Error(err, "the operator stops")
		os.Exit(1)
	}
}

func run(f *flags) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("build scheme: %w", err)
	}
	if f.Kubeconfig != "" {
		if err := os.Setenv("KUBECONFIG", f.Kubeconfig); err != nil {
			return fmt.Errorf("set KUBECONFIG: %w", err)
		}
	}
	restConfig, err := config.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	restConfig.QPS, restConfig.Burst = f.QPS, f.Burst
	// Shards are compressed already, and everything else is small, or a watch: packing it once more is time lost at both
	// ends of a publish.
	restConfig.DisableCompression = true

	cacheOptions := controllers.CacheOptions()
	if !f.AllNamespaces {
		cacheOptions.DefaultNamespaces = map[string]cache.Config{}
		for _, ns := range f.WatchNamespaces {
			cacheOptions.DefaultNamespaces[ns] = cache.Config{}
		}
	}
	mgr, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         cacheOptions,
		Metrics:                       metricsserver.Options{BindAddress: f.MetricsAddress},
		HealthProbeBindAddress:        f.ProbeAddress,
		LeaderElection:                f.LeaderElect,
		LeaderElectionID:              "lti-operator",
		LeaderElectionNamespace:       f.OperatorNamespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &f.LeaderLeaseDuration,
		RenewDeadline:                 &f.LeaderRenewDeadline,
		RetryPeriod:                   &f.LeaderRetryPeriod,
	})
	if err != nil {
		return fmt.Errorf("build manager: %w", err)
	}
	options := controllers.Options{Random: rand.Reader, Clock: clock.RealClock{}, Concurrency: f.Concurrency}
	if f.Handler == "external" {
		options.Handlers = &controllers.ExternalHandlers{ControlURLs: f.HandlerControlURLs}
	} else {
		options.Handlers = &controllers.PodHandlers{Client: mgr.GetClient()}
		options.Workload = &controllers.Workload{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(),
			Image: f.HandlerImage, OperatorNamespace: f.OperatorNamespace, OperatorPodLabels: f.OperatorPodLabels,
		}
	}
	discoveryClient, err := discovery.NewDiscoveryClientForConfigAndClient(restConfig, mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("build discovery client: %w", err)
	}
	definitions := &controllers.Definitions{
		Discovery: discoveryClient, Clock: options.Clock,
		Begin: func() error { return controllers.Setup(mgr, options) },
	}
	if err := errors.Join(
		mgr.Add(definitions),
		mgr.Add(&resting{clock: clock.RealClock{}, allocated: allocatedBytes, release: debug.FreeOSMemory}),
		mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("definitions", definitions.Ready),
	); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if err := mgr.Start(ctrl.SetupSignalHandler()); err != nil {
		return fmt.Errorf("run manager: %w", err)
	}
	return nil
}

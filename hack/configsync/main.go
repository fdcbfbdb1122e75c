// SPDX-License-Identifier: Apache-2.0

// Command configsync does kubelet's work for a launch handler that runs outside a cluster: it watches the ConfigMaps and
// Secrets that hold an academy's routing table and keeps a local directory in the state that the projected volume would
// have. It is a development tool.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

type flags struct {
	Kubeconfig string `help:"Path of the kubeconfig. Left out: the usual places." type:"path"`
	Namespace  string `help:"Namespace of the academy. Left out: that of the kubeconfig's context." short:"n"`
	Academy    string `help:"Name of the LTIAcademy." default:"${academy}"`
	Dir        string `help:"Directory to keep, the launch handler's --config-dir." required:"" type:"path"`
	Once       bool   `help:"Write what there is now, then exit."`
}

func main() {
	var f flags
	kong.Parse(&f, kong.Name("configsync"),
		kong.Description("Mirrors the routing table of an LTIAcademy into a directory, as kubelet would."),
		kong.Vars{"academy": v1alpha1.DefaultAcademyName})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := f.run(ctx, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "configsync:", err)
		os.Exit(1)
	}
}

func (f *flags) run(ctx context.Context, log *slog.Logger) error {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.Kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil)
	config, err := loader.ClientConfig()
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	namespace := f.Namespace
	if namespace == "" {
		if namespace, _, err = loader.Namespace(); err != nil {
			return fmt.Errorf("read kubeconfig: %w", err)
		}
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	return (&mirror{client: client, namespace: namespace, academy: f.Academy, dir: f.Dir, log: log}).run(ctx, f.Once)
}

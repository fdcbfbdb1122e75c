// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// requestTimeout bounds each request to the API server.
const requestTimeout = 30 * time.Second

// clusterFlags say which cluster and namespace, in the words of kubectl.
type clusterFlags struct {
	Namespace  string `short:"n" help:"Namespace of the object. Left out: that of the context."`
	Kubeconfig string `type:"path" help:"Kubeconfig file. Left out: KUBECONFIG, or ~/.kube/config."`
	Context    string `help:"Context of the kubeconfig to use."`
}

// cluster is where an object is.
type cluster struct {
	config    *rest.Config
	reader    client.Reader
	writer    client.Writer
	namespace string
}

// connect returns the cluster that kubectl would talk to, and the namespace.
func (f *clusterFlags) connect() (*cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.Kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: f.Context}
	overrides.Context.Namespace = f.Namespace
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("find the namespace: %w", err)
	}
	config.Timeout = requestTimeout
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("build scheme: %w", err)
	}
	both, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	return &cluster{config: config, reader: both, writer: both, namespace: namespace}, nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/hack/apiserver"
	"github.com/lti-operator/lti-operator/hack/bench/measure"
)

// namespace is where the samples live.
const namespace = "demo"

// cluster is a real API server with its etcd.
type cluster struct {
	*apiserver.Server
	kubectlPath, cacheDir string
}

func startCluster(ctx context.Context, root, assets, dir string) (*cluster, error) {
	server, err := apiserver.Start(ctx, apiserver.Options{Root: root, Assets: assets, Dir: dir, Namespace: namespace})
	if err != nil {
		return nil, err
	}
	return &cluster{Server: server, kubectlPath: filepath.Join(assets, "kubectl"), cacheDir: filepath.Join(dir, "kubectl-cache")}, nil
}

// kubectl runs kubectl as the administrator and returns what it printed.
func (c *cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	err := run(ctx, measure.Command{
		Path: c.kubectlPath, Args: args, Env: []string{"KUBECONFIG=" + c.Kubeconfig, "KUBECACHEDIR=" + c.cacheDir},
	}, &stdout, &stderr)
	if err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// get reads an object of the demo.
func (c *cluster) get(ctx context.Context, name string, object client.Object) error {
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		return fmt.Errorf("read %T %s: %w", object, name, err)
	}
	return nil
}

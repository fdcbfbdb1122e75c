// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/hack/bench/measure"
)

// namespace is where the samples live.
const namespace = "demo"

// operatorUser is whom the operator signs in as: it has the permissions of config/rbac and no others.
const operatorUser = "lti-operator"

// cluster is a real API server with its etcd.
type cluster struct {
	env    *envtest.Environment
	client client.Client
	// kubeconfig is an administrator's, operatorKubeconfig the operator's.
	kubeconfig, operatorKubeconfig string
	kubectlPath                    string
	cacheDir                       string
	addresses                      map[string]string // of its two processes
	stopped                        bool
}

func startCluster(root, assets, dir string) (_ *cluster, err error) {
	c := &cluster{
		env: &envtest.Environment{
			BinaryAssetsDirectory: assets,
			CRDDirectoryPaths:     []string{filepath.Join(root, "config", "crd")},
			ErrorIfCRDPathMissing: true,
			UseExistingCluster:    ptr.To(false),
			// Nothing in it is worth waiting for the end of open watches.
			ControlPlaneStopTimeout: time.Second,
		},
		kubectlPath: filepath.Join(assets, "kubectl"),
		cacheDir:    filepath.Join(dir, "kubectl-cache"),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	config, err := c.env.Start()
	if err != nil {
		return nil, fmt.Errorf("start the API server: %w", err)
	}
	c.addresses = map[string]string{
		"kube-apiserver": c.env.ControlPlane.GetAPIServer().SecureServing.HostPort(), "etcd": c.env.ControlPlane.Etcd.URL.Host,
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("build scheme: %w", err)
	}
	if c.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	if c.kubeconfig, err = c.addUser(dir, envtest.User{Name: "admin", Groups: []string{"system:masters"}}); err != nil {
		return nil, err
	}
	c.operatorKubeconfig, err = c.addUser(dir, envtest.User{Name: operatorUser})
	return c, err
}

// addUser returns the kubeconfig of a new user.
func (c *cluster) addUser(dir string, user envtest.User) (string, error) {
	added, err := c.env.AddUser(user, nil)
	if err != nil {
		return "", fmt.Errorf("add user %s: %w", user.Name, err)
	}
	content, err := added.KubeConfig()
	if err != nil {
		return "", fmt.Errorf("make kubeconfig: %w", err)
	}
	config, err := clientcmd.Load(content)
	if err != nil {
		return "", fmt.Errorf("make kubeconfig: %w", err)
	}
	for _, kubeContext := range config.Contexts {
		kubeContext.Namespace = namespace
	}
	path := filepath.Join(dir, user.Name+".kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil { // mode 0600
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return path, nil
}

// setUp makes the namespace and gives the operator its permissions there.
func (c *cluster) setUp(ctx context.Context, root string) error {
	if err := c.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return fmt.Errorf("create namespace: %w", err)
	}
	if _, err := c.kubectl(ctx, "apply", "-f", filepath.Join(root, "config", "rbac")); err != nil {
		return err
	}
	if err := c.client.Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: operatorUser},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "lti-operator"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: operatorUser}},
	}); err != nil {
		return fmt.Errorf("bind role: %w", err)
	}
	return nil
}

// kubectl runs kubectl as the administrator and returns what it printed.
func (c *cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	err := run(ctx, measure.Command{
		Path: c.kubectlPath, Args: args, Env: []string{"KUBECONFIG=" + c.kubeconfig, "KUBECACHEDIR=" + c.cacheDir},
	}, &stdout, &stderr)
	if err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// get reads an object of the demo.
func (c *cluster) get(ctx context.Context, name string, object client.Object) error {
	if err := c.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		return fmt.Errorf("read %T %s: %w", object, name, err)
	}
	return nil
}

// stop ends the API server and etcd; a second time it does nothing.
func (c *cluster) stop() error {
	if c.stopped {
		return nil
	}
	c.stopped = true
	// Stop calls it an error when it had to kill a process. What counts is that it is gone.
	stopErr := c.env.Stop()
	for name, address := range c.addresses {
		if err := poll(context.Background(), 5*time.Second, func() error {
			conn, err := net.DialTimeout("tcp", address, time.Second)
			if err != nil {
				return nil
			}
			return errors.Join(fmt.Errorf("%s still answers", name), conn.Close())
		}); err != nil {
			return errors.Join(stopErr, err)
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/hack/bench/measure"
)

// namespace is where everything lives, the operator's lease included.
const namespace = "bench"

// operatorUser is whom the operator signs in as: it has the permissions of config/rbac and no others.
const operatorUser = "lti-operator"

// etcdQuota is the most that etcd may hold. Its own default of 2 GiB would end the run of an operator that writes too
// much, instead of showing how much it writes.
const etcdQuota = 8 << 30

// auditPolicy logs whatever the operator asks for, and who else writes to what concerns it. Metadata holds no content:
// the log has no Secret in it.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users: [` + operatorUser + `]
  - level: Metadata
    verbs: [create, update, patch, delete, deletecollection]
    resources:
      - group: lti-operator.io
      - group: ""
        resources: [events]
      - group: events.k8s.io
      - group: coordination.k8s.io
  - level: None
`

// cluster is a real API server with its etcd, which syncs to disk as in production.
type cluster struct {
	env    *envtest.Environment
	config *rest.Config
	scheme *runtime.Scheme
	client client.Client
	// kubeconfig is an administrator's, operatorKubeconfig the operator's.
	kubeconfig, operatorKubeconfig string
	auditLog                       string
	etcd                           string   // its address
	listening                      []string // host and port of both
}

func startCluster(root, assets, dir, logDir string) (_ *cluster, err error) {
	c := &cluster{
		env: &envtest.Environment{
			BinaryAssetsDirectory:   assets,
			CRDDirectoryPaths:       []string{filepath.Join(root, "config", "crd")},
			ErrorIfCRDPathMissing:   true,
			UseExistingCluster:      ptr.To(false),
			ControlPlaneStopTimeout: time.Second,
		},
		auditLog: filepath.Join(logDir, "audit.log"),
	}
	policy := filepath.Join(dir, "audit-policy.yaml")
	data := filepath.Join(dir, "etcd")
	if err := errors.Join(os.WriteFile(policy, []byte(auditPolicy), 0o600), os.Mkdir(data, 0o700)); err != nil {
		return nil, fmt.Errorf("prepare the API server: %w", err)
	}
	etcd := &envtest.Etcd{DataDir: data}
	etcd.Configure().Disable("unsafe-no-fsync").Set("quota-backend-bytes", fmt.Sprint(etcdQuota))
	c.env.ControlPlane.Etcd = etcd
	c.env.ControlPlane.GetAPIServer().Configure().
		Set("audit-policy-file", policy).
		Set("audit-log-path", c.auditLog).
		Set("audit-log-maxsize", "100000") // in MiB: one file, which is read while it grows

	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	if c.config, err = c.env.Start(); err != nil {
		return nil, fmt.Errorf("start the API server: %w", err)
	}
	c.etcd = etcd.URL.String()
	c.listening = []string{etcd.URL.Host, c.env.ControlPlane.GetAPIServer().SecureServing.HostPort()}
	c.config.QPS = -1 // it is not the load that is measured
	c.scheme = runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(c.scheme), v1alpha1.AddToScheme(c.scheme)); err != nil {
		return nil, fmt.Errorf("build scheme: %w", err)
	}
	if c.client, err = client.New(c.config, client.Options{Scheme: c.scheme}); err != nil {
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
	path := filepath.Join(dir, user.Name+".kubeconfig")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return path, nil
}

// setUp makes the namespace and gives the operator its permissions there.
func (c *cluster) setUp(ctx context.Context, root string) error {
	if err := c.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return fmt.Errorf("create namespace: %w", err)
	}
	file, err := os.Open(filepath.Join(root, "config", "rbac", "role.yaml"))
	if err != nil {
		return fmt.Errorf("read the operator's role: %w", err)
	}
	defer func() { _ = file.Close() }()
	role := &rbacv1.ClusterRole{}
	if err := utilyaml.NewYAMLOrJSONDecoder(file, 4096).Decode(role); err != nil {
		return fmt.Errorf("read the operator's role: %w", err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: operatorUser},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: operatorUser}},
	}
	for _, object := range []client.Object{role, binding} {
		if err := c.client.Create(ctx, object); err != nil {
			return fmt.Errorf("create %T: %w", object, err)
		}
	}
	return nil
}

// stop ends the API server and etcd. Nothing in them is worth an orderly end.
func (c *cluster) stop() error {
	// Stop calls it an error when it had to kill a process. What counts is that it is gone.
	stopErr := c.env.Stop()
	for _, address := range c.listening {
		if err := measure.Until(context.Background(), 5*time.Second, 50*time.Millisecond, func() error {
			conn, err := net.DialTimeout("tcp", address, time.Second)
			if err != nil {
				return nil
			}
			return errors.Join(fmt.Errorf("%s still answers", address), conn.Close())
		}); err != nil {
			return errors.Join(stopErr, err)
		}
	}
	return nil
}

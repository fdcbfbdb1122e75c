// SPDX-License-Identifier: Apache-2.0

// Package apiserver runs a real API server with its etcd for programs that run the operator: the demo and the benchmarks.
package apiserver

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
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/hack/bench/measure"
)

// OperatorUser is whom the operator signs in as: it has the permissions of config/rbac in the namespace, and no others.
const OperatorUser = "lti-operator"

// Options say what to start.
type Options struct {
	// Root is the repository, whose CRDs and role are applied. Assets has etcd and kube-apiserver.
	Root, Assets string
	// Dir is where kubeconfigs are written.
	Dir string
	// Namespace is made, and is the one of the kubeconfigs.
	Namespace string
	// Configure changes how both are started; nil for as envtest does.
	Configure func(*envtest.ControlPlane)
}

// Server is a real API server with its etcd.
type Server struct {
	// Config, Scheme and Client are an administrator's.
	Config *rest.Config
	Scheme *runtime.Scheme
	Client client.Client
	// Kubeconfig is the path of an administrator's, OperatorKubeconfig that of the operator's.
	Kubeconfig, OperatorKubeconfig string

	env       *envtest.Environment
	listening map[string]string // host and port of each process
	stopped   bool
}

// Start returns once both answer, and namespace, users and the operator's permissions are there.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	s := &Server{Scheme: runtime.NewScheme(), env: &envtest.Environment{
		BinaryAssetsDirectory: o.Assets,
		CRDDirectoryPaths:     []string{filepath.Join(o.Root, "config", "crd")},
		ErrorIfCRDPathMissing: true,
		UseExistingCluster:    ptr.To(false),
		// Nothing in it is worth waiting for the end of open watches.
		ControlPlaneStopTimeout: time.Second,
	}}
	if o.Configure != nil {
		o.Configure(&s.env.ControlPlane)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	if s.Config, err = s.env.Start(); err != nil {
		return nil, fmt.Errorf("start the API server: %w", err)
	}
	s.Config.QPS = -1 // no limit
	s.listening = map[string]string{
		"kube-apiserver": s.env.ControlPlane.GetAPIServer().SecureServing.HostPort(), "etcd": s.env.ControlPlane.Etcd.URL.Host,
	}
	if err := errors.Join(clientgoscheme.AddToScheme(s.Scheme), v1alpha1.AddToScheme(s.Scheme)); err != nil {
		return nil, fmt.Errorf("build scheme: %w", err)
	}
	if s.Client, err = client.New(s.Config, client.Options{Scheme: s.Scheme}); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	if s.Kubeconfig, err = s.addUser(o, envtest.User{Name: "admin", Groups: []string{"system:masters"}}); err != nil {
		return nil, err
	}
	if s.OperatorKubeconfig, err = s.addUser(o, envtest.User{Name: OperatorUser}); err != nil {
		return nil, err
	}
	return s, s.permit(ctx, o)
}

// addUser returns the kubeconfig of a new user.
func (s *Server) addUser(o Options, user envtest.User) (string, error) {
	added, err := s.env.AddUser(user, nil)
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
		kubeContext.Namespace = o.Namespace
	}
	path := filepath.Join(o.Dir, user.Name+".kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil { // mode 0600
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return path, nil
}

// permit makes the namespace and gives the operator its permissions there.
func (s *Server) permit(ctx context.Context, o Options) error {
	file, err := os.Open(filepath.Join(o.Root, "config", "rbac", "role.yaml"))
	if err != nil {
		return fmt.Errorf("read the operator's role: %w", err)
	}
	defer func() { _ = file.Close() }()
	role := &rbacv1.ClusterRole{}
	if err := utilyaml.NewYAMLOrJSONDecoder(file, 4096).Decode(role); err != nil {
		return fmt.Errorf("read the operator's role: %w", err)
	}
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.Namespace}},
		role,
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: OperatorUser},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: OperatorUser}},
		},
	} {
		if err := s.Client.Create(ctx, object); err != nil {
			return fmt.Errorf("create %T: %w", object, err)
		}
	}
	return nil
}

// Etcd is the address of etcd, with its scheme.
func (s *Server) Etcd() string { return s.env.ControlPlane.Etcd.URL.String() }

// Stop ends the API server and etcd, and returns once neither answers; a second time it does nothing. Nothing in them is
// worth an orderly end.
func (s *Server) Stop() error {
	if s.stopped {
		return nil
	}
	s.stopped = true
	// Stop calls it an error when it had to kill a process. What counts is that it is gone.
	stopErr := s.env.Stop()
	for name, address := range s.listening {
		if err := measure.Until(context.Background(), 5*time.Second, 50*time.Millisecond, func() error {
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

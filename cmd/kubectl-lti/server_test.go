// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// The API server that the tests of this package share, for those that have called needServer.
var (
	environment = &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join("..", "..", "config", "crd")}, ErrorIfCRDPathMissing: true}
	restConfig  *rest.Config
	api         client.Client
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctrl.SetLogger(logr.Discard())
		// Also after a failed start: one of its two processes may be running.
		defer func() { _ = environment.Stop() }()
		return m.Run()
	}())
}

// needServer starts the API server with the first test that needs one, so that the others run without.
func needServer(t testing.TB) {
	t.Helper()
	if err := startServer(); err != nil {
		t.Fatal(err)
	}
}

var startServer = sync.OnceValue(func() (err error) {
	if restConfig, err = environment.Start(); err != nil {
		return fmt.Errorf("start the API server (make test builds it; or set KUBEBUILDER_ASSETS): %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	api, err = client.New(restConfig, client.Options{Scheme: scheme})
	return err
})

//go:build charts

// SPDX-License-Identifier: Apache-2.0

package charts_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/go-logr/logr"
)

// namespace is where the operator is installed. Its Pod Security level is the strictest one.
const namespace = "lti-check"

// valuesFiles are those of the chart's ci folder, which are good values too.
const valuesFiles = "lti-operator/ci/*-values.yaml"

var (
	// api is the API server that everything rendered is shown to.
	api client.Client
	// warned are its warnings, which kubectl would print.
	warned warnings
)

// warnings collects what an API server warns of.
type warnings struct {
	mu   sync.Mutex
	list []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, text)
}

// take returns what has come in since the last call.
func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.list
	w.list = nil
	return list
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if err := start(); err != nil {
			fmt.Fprintln(os.Stderr, "start (make charts-check provides helm and an API server):", err)
			return 1
		}
		defer func() { _ = errors.Join(environment.Stop(), os.Remove(kubeconfig)) }()
		return m.Run()
	}())
}

var (
	environment *envtest.Environment
	// kubeconfig names the file that leads helm to the API server.
	kubeconfig = "/nonexistent"
)

func writeKubeconfig() (string, error) {
	file, err := os.CreateTemp("", "kubeconfig-")
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	_, err = file.Write(environment.KubeConfig)
	return file.Name(), err
}

func start() error {
	ctrl.SetLogger(logr.Discard())
	environment = &envtest.Environment{ErrorIfCRDPathMissing: true}
	// Definitions of other projects, from the modules that hack/tools/charts pins.
	for module, dir := range map[string]string{
		"github.com/prometheus-operator/prometheus-operator": "example/prometheus-operator-crd/monitoring.coreos.com_%s.yaml",
		"sigs.k8s.io/gateway-api":                            "config/crd/standard/gateway.networking.k8s.io_%s.yaml",
	} {
		list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module)
		list.Dir, list.Stderr, list.Env = "../hack/tools/charts", os.Stderr, append(os.Environ(), "GOWORK=off")
		root, err := list.Output()
		if err != nil {
			return fmt.Errorf("find %s: %w", module, err)
		}
		for _, plural := range []string{"podmonitors", "prometheusrules", "servicemonitors", "httproutes"} {
			file := filepath.Join(strings.TrimSpace(string(root)), fmt.Sprintf(dir, plural))
			if _, err := os.Stat(file); err == nil {
				environment.CRDDirectoryPaths = append(environment.CRDDirectoryPaths, file)
			}
		}
	}
	if n := len(environment.CRDDirectoryPaths); n != 4 {
		return fmt.Errorf("%d resource definitions of other projects were found, not 4", n)
	}
	config, err := environment.Start()
	if err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	config.WarningHandler = &warned
	if api, err = client.New(config, client.Options{Scheme: clientgoscheme.Scheme}); err != nil {
		return err
	}
	if kubeconfig, err = writeKubeconfig(); err != nil {
		return err
	}
	// Our own as the chart has them.
	if _, err := helm("install", "lti-operator-crds", "lti-operator-crds", "--namespace", "default", "--wait"); err != nil {
		return err
	}
	for _, name := range []string{namespace, "academy-one", "academy-two", "academy", "argocd", "lti-operator-system", "team-a"} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted",
		}}}
		if err := api.Create(context.Background(), ns); err != nil {
			return err
		}
	}
	return nil
}

// helm runs helm without anything of the user's, and returns what it prints; of a failure the error holds what it says.
func helm(arguments ...string) (string, error) {
	program := os.Getenv("HELM")
	if program == "" {
		return "", errors.New("HELM does not name a helm")
	}
	var out, problems bytes.Buffer
	command := exec.Command(program, arguments...)
	command.Env = append(os.Environ(), "HELM_CONFIG_HOME=/nonexistent", "HELM_CACHE_HOME=/nonexistent", "HELM_DATA_HOME=/nonexistent", "KUBECONFIG="+kubeconfig)
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("helm %s: %w\n%s%s", strings.Join(arguments, " "), err, problems.String(), out.String())
	}
	return out.String(), nil
}

// template renders the operator's chart.
func template(t *testing.T, arguments ...string) string {
	t.Helper()
	text, err := helm(append([]string{"template", "lti-operator", "lti-operator", "--namespace", namespace}, arguments...)...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// objects reads the objects of a YAML stream.
func objects(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var list []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		if len(object.Object) > 0 {
			list = append(list, object)
		}
	}
}

// accepted fails unless the API server would take an object as it is, without a warning. It keeps nothing.
func accepted(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	warned.take()
	if err := dryRun(t, object); err != nil {
		t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
	for _, text := range warned.take() {
		t.Errorf("%s %s: the API server warns: %s", object.GetKind(), object.GetName(), text)
	}
}

// dryRun applies an object, and the API server keeps nothing of it.
func dryRun(t *testing.T, object *unstructured.Unstructured) error {
	t.Helper()
	return api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object.DeepCopy()),
		client.FieldOwner("charts-check"), client.ForceOwnership, client.DryRunAll)
}

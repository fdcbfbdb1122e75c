// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/go-logr/logr"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/controllers"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// The API server that all tests of this package share; each test has a namespace of its own.
var (
	restConfig *rest.Config
	scheme     = runtime.NewScheme()
	api        client.Client
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctrl.SetLogger(logr.Discard())
		environment := &envtest.Environment{
			CRDDirectoryPaths:     []string{filepath.Join("..", "config", "crd")},
			ErrorIfCRDPathMissing: true,
		}
		var err error
		if restConfig, err = environment.Start(); err != nil {
			fmt.Fprintln(os.Stderr, "start the API server (make test builds it; or set KUBEBUILDER_ASSETS):", err)
			return 1
		}
		defer func() { _ = environment.Stop() }()
		for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
			if err := add(scheme); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		if api, err = client.New(restConfig, client.Options{Scheme: scheme}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// newNamespace makes a namespace for one test.
func newNamespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := api.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// fakeHandlers stands for launch handlers: it serves whatever table is live in the API server, unless it is stopped.
type fakeHandlers struct {
	mu      sync.Mutex
	stopped bool
	frozen  string // serves this table instead of the live one
	nudges  int
	unknown []routing.UnknownDeployment
	// registrations is what has registered; asked counts who wanted to know.
	registrations []routing.Registration
	asked         int
}

func (h *fakeHandlers) Endpoints(_ context.Context, key controllers.AcademyKey) ([]controllers.HandlerEndpoint, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return nil, nil
	}
	return []controllers.HandlerEndpoint{{URL: "https://192.0.2.1:8443", Pod: key}}, nil
}

func (h *fakeHandlers) Report(ctx context.Context, e controllers.HandlerEndpoint, _ *keys.Academy) (routing.Report, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.frozen != "" {
		return routing.Report{Hash: h.frozen}, nil
	}
	manifest := &corev1.ConfigMap{}
	name := types.NamespacedName{Namespace: e.Pod.Namespace, Name: workload.ManifestConfigMapName(e.Pod.Name)}
	if err := api.Get(ctx, name, manifest); err != nil {
		return routing.Report{}, err
	}
	m, err := routing.DecodeManifest([]byte(manifest.Data[routing.ManifestFile]))
	return routing.Report{Hash: m.Hash}, err
}

func (h *fakeHandlers) UnknownDeployments(context.Context, controllers.HandlerEndpoint, *keys.Academy) ([]routing.UnknownDeployment, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unknown, nil
}

func (h *fakeHandlers) Registrations(context.Context, controllers.HandlerEndpoint, *keys.Academy) ([]routing.Registration, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	return slices.Clone(h.registrations), nil
}

func (h *fakeHandlers) Nudge(context.Context, controllers.HandlerEndpoint, string, int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nudges++
	return nil
}

func (h *fakeHandlers) set(change func(*fakeHandlers)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

// startOperator runs the controllers in one namespace until the test ends, or stop is called.
func startOperator(t *testing.T, namespace string, handlers controllers.Handlers, wrap func(client.Client) client.Client) (stop func()) {
	t.Helper()
	return startOperatorAt(t, namespace, handlers, wrap, clock.RealClock{})
}

// startOperatorAt runs the controllers with another clock.
func startOperatorAt(t *testing.T, namespace string, handlers controllers.Handlers, wrap func(client.Client) client.Client, clk clock.WithTicker) (stop func()) {
	t.Helper()
	options := ctrl.Options{
		Scheme:     scheme,
		Cache:      controllers.CacheOptions(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
	}
	options.Cache.DefaultNamespaces = map[string]cache.Config{namespace: {}}
	if wrap != nil {
		options.NewClient = func(c *rest.Config, o client.Options) (client.Client, error) {
			inner, err := client.New(c, o)
			if err != nil {
				return nil, err
			}
			return wrap(inner), nil
		}
	}
	mgr, err := ctrl.NewManager(restConfig, options)
	if err != nil {
		t.Fatal(err)
	}
	err = controllers.Setup(mgr, controllers.Options{Handlers: handlers, Random: rand.Reader, Clock: clk, ObserveEvery: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("operator ended with %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// eventually repeats check until it returns "" or a minute has passed.
func eventually(t *testing.T, check func() string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		complaint := check()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("still not true after a minute: ", complaint)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// waitFor waits until the object's condition has this status and reason for its newest generation, and checks that
// its status is what kstatus expects.
func waitFor(t *testing.T, obj interface {
	client.Object
	v1alpha1.Object
}, conditionType string, status metav1.ConditionStatus, reason string,
) {
	t.Helper()
	eventually(t, func() string {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return err.Error()
		}
		c := meta.FindStatusCondition(obj.GetConditions(), conditionType)
		if c == nil {
			return conditionType + " is missing"
		}
		if c.Status != status || c.Reason != reason || c.ObservedGeneration != obj.GetGeneration() {
			return fmt.Sprintf("%s is %s/%s for generation %d of %d: %s", conditionType, c.Status, c.Reason, c.ObservedGeneration, obj.GetGeneration(), c.Message)
		}
		return ""
	})
	checkStatus(t, obj)
}

// checkStatus fails on a status that kstatus would misread.
func checkStatus(t *testing.T, obj v1alpha1.Object) {
	t.Helper()
	conditions := obj.GetConditions()
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready == nil {
		t.Fatalf("%s has no condition Ready", obj.GetName())
	}
	for _, c := range conditions {
		if c.Message == "" || c.Reason == "" {
			t.Errorf("condition %s has no reason or message: %+v", c.Type, c)
		}
		abnormal := c.Type == v1alpha1.ConditionReconciling || c.Type == v1alpha1.ConditionStalled
		if abnormal && c.Status != metav1.ConditionTrue {
			t.Errorf("abnormal-true condition %s is present with status %s", c.Type, c.Status)
		}
		if abnormal && ready.Status == metav1.ConditionTrue {
			t.Errorf("Ready is True although %s is present", c.Type)
		}
	}
	stalled := meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled)
	if stalled && meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReconciling) {
		t.Error("both Stalled and Reconciling")
	}
	if ready.Status == metav1.ConditionFalse && !stalled {
		t.Error("Ready is False, which only a person can mend, but Stalled is absent")
	}
	want := status.InProgressStatus
	switch {
	case ready.Status == metav1.ConditionTrue:
		want = status.CurrentStatus
	case stalled:
		want = status.FailedStatus
	}
	if got := kstatus(t, obj); got.Status != want {
		t.Errorf("kstatus takes Ready=%s for %s (%s), not %s", ready.Status, got.Status, got.Message, want)
	}
}

// kstatus is what Flux, Argo CD and kubectl make of an object.
func kstatus(t *testing.T, obj v1alpha1.Object) *status.Result {
	t.Helper()
	object, ok := obj.(client.Object)
	if !ok {
		t.Fatalf("%T is not an API object", obj)
	}
	kind, err := apiutil.GVKForObject(object, scheme)
	if err != nil {
		t.Fatal(err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(kind)
	result, err := status.Compute(u)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// message returns the message of a condition.
func message(obj v1alpha1.Object, conditionType string) string {
	if c := meta.FindStatusCondition(obj.GetConditions(), conditionType); c != nil {
		return c.Message
	}
	return ""
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
}

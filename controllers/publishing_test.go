// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/controllers"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// newManager makes a manager for one namespace, whose requests go through a transport.
func newManager(t *testing.T, namespace string, through func(http.RoundTripper) http.RoundTripper, change func(*ctrl.Options)) ctrl.Manager {
	t.Helper()
	c := rest.CopyConfig(restConfig)
	c.Wrap(through)
	options := ctrl.Options{
		Scheme:     scheme,
		Cache:      controllers.CacheOptions(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
	}
	options.Cache.DefaultNamespaces = map[string]cache.Config{namespace: {}}
	if change != nil {
		change(&options)
	}
	mgr, err := ctrl.NewManager(c, options)
	if err != nil {
		t.Fatal(err)
	}
	return mgr
}

func options(handlers controllers.Handlers) controllers.Options {
	return controllers.Options{Handlers: handlers, Random: rand.Reader, Clock: clock.RealClock{}}
}

// runManager runs a manager until the test ends, or the returned function is called; ended gets what it said.
func runManager(t *testing.T, mgr ctrl.Manager) (stop func(), ended chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended = make(chan error, 1)
	done := make(chan struct{})
	go func() {
		ended <- mgr.Start(ctx)
		close(done)
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop, ended
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// An operator that starts while the API server cannot list one kind must not take that for an empty list.
func TestAnErrorListingIsNotAnEmptyList(t *testing.T) {
	ns := newNamespace(t)
	stop := startOperator(t, ns, &fakeHandlers{}, nil)
	activity, academy := newActivity(ns, "height"), newAcademy(ns)
	create(t, academy, activity)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	stop()

	for _, broken := range []string{"ltiactivities", "secrets", "ltiplatforms"} {
		t.Run(broken, func(t *testing.T) {
			var failing atomic.Bool
			var refused, writes atomic.Int32
			failing.Store(true)
			mgr := newManager(t, ns, func(next http.RoundTripper) http.RoundTripper {
				return transport(func(r *http.Request) (*http.Response, error) {
					if failing.Load() && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+broken) {
						refused.Add(1)
						return nil, errors.New("the API server is gone")
					}
					if r.Method != http.MethodGet && !strings.HasSuffix(r.URL.Path, "/events") {
						writes.Add(1)
					}
					return next.RoundTrip(r)
				})
			}, nil)
			if err := controllers.Setup(mgr, options(&fakeHandlers{})); err != nil {
				t.Fatal(err)
			}
			stop, _ := runManager(t, mgr)
			defer stop()
			eventually(t, func() string {
				if refused.Load() < 3 {
					return "it has not been asked three times"
				}
				return ""
			})
			if n := len(liveTable(t, ns).Activities); n != 1 || writes.Load() != 0 {
				t.Errorf("%d activities are live, %d writes were made", n, writes.Load())
			}
			failing.Store(false)
			touch(t, activity)
			waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		})
	}
}

// eventsOf are the reasons of the events about an object.
func eventsOf(t *testing.T, obj client.Object) (reasons []string) {
	t.Helper()
	var list eventsv1.EventList
	if err := api.List(t.Context(), &list, client.InNamespace(obj.GetNamespace())); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		if e := &list.Items[i]; e.Regarding.UID == obj.GetUID() {
			reasons = append(reasons, e.Type+" "+e.Reason)
			if len(e.Note) > 1024 {
				t.Errorf("the note of an event has %d bytes", len(e.Note))
			}
		}
	}
	slices.Sort(reasons)
	return reasons
}

func waitForEvents(t *testing.T, obj client.Object, want ...string) {
	t.Helper()
	eventually(t, func() string {
		if got := eventsOf(t, obj); !slices.Equal(got, want) {
			return fmt.Sprintf("events %q, want %q", got, want)
		}
		return ""
	})
}

func TestMostActivitiesGoOnlyWhenSomebodyConfirmsIt(t *testing.T) {
	ns := newNamespace(t)
	startOperator(t, ns, &fakeHandlers{}, nil)
	academy := newAcademy(ns)
	create(t, academy)
	var last *v1alpha1.LTIActivity
	for _, name := range names(12) {
		last = newActivity(ns, name)
		create(t, last)
	}
	eventually(t, func() string {
		for _, name := range names(12) {
			a := &v1alpha1.LTIActivity{}
			if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: name}, a); err != nil || !meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
				return name + " is not ready"
			}
		}
		return ""
	})
	if err := api.DeleteAllOf(t.Context(), &v1alpha1.LTIActivity{}, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, academy, v1alpha1.ConditionPublishingHeld, metav1.ConditionTrue, v1alpha1.ReasonRemovalNotConfirmed)
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	eventually(t, func() string {
		if n := metricValues(t)["lti_operator_academy_warnings/"+v1alpha1.ConditionPublishingHeld]; n != 1 {
			return fmt.Sprintf("%v academies are counted as held", n)
		}
		return ""
	})
	text := message(academy, v1alpha1.ConditionPublishingHeld)
	contains(t, text, "12 of 12 activities", "kubectl annotate ltiacademy default -n "+ns)
	waitForEvents(t, academy, "Warning "+v1alpha1.ReasonRemovalNotConfirmed)
	if n := len(liveTable(t, ns).Activities); n != 12 {
		t.Errorf("%d activities are live", n)
	}
	_, token, _ := strings.Cut(text, v1alpha1.AnnotationConfirmRemoval+"=")
	before := academy.DeepCopy()
	academy.Annotations = map[string]string{v1alpha1.AnnotationConfirmRemoval: token}
	if err := api.Patch(t.Context(), academy, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if n := len(liveTable(t, ns).Activities); n != 0 {
			return fmt.Sprintf("%d activities are live", n)
		}
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(academy), academy); err != nil {
			return err.Error()
		}
		if message(academy, v1alpha1.ConditionPublishingHeld) != "" {
			return "the condition stays"
		}
		return ""
	})
}

func TestEventsTellWhatChanged(t *testing.T) {
	ns := newNamespace(t)
	startOperator(t, ns, &fakeHandlers{}, nil)
	academy, fine, broken := newAcademy(ns), newActivity(ns, "fine"), newActivity(ns, "broken")
	broken.Spec.Share.LTI12 = &v1alpha1.ShareLTI12{PlatformRef: &v1alpha1.PlatformReference{Name: "moodle"}}
	create(t, academy, fine, broken)
	waitFor(t, fine, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	waitForEvents(t, broken, "Warning "+v1alpha1.ReasonPlatformNotFound)
	touch(t, fine)
	create(t, newPlatform(ns, "moodle"))
	waitFor(t, broken, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	waitForEvents(t, broken, "Normal "+v1alpha1.ReasonReady, "Warning "+v1alpha1.ReasonPlatformNotFound)
	for _, o := range []client.Object{academy, fine} {
		if got := eventsOf(t, o); len(got) != 0 {
			t.Errorf("events about %s: %q", o.GetName(), got)
		}
	}
	if n := metricValues(t)["lti_operator_resources/True/LTIActivity"]; n != 2 {
		t.Errorf("%v activities are counted as ready", n)
	}
}

// definitions is a discovery client whose schema can be edited.
type definitions struct {
	discovery.DiscoveryInterface
	mu   sync.Mutex
	edit func(path string, schema []byte) []byte // nil result: the group is not there
}

func (d *definitions) set(edit func(string, []byte) []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.edit = edit
}

func (d *definitions) OpenAPIV3() openapi.Client { return d }

func (d *definitions) Paths() (map[string]openapi.GroupVersion, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	paths, err := d.DiscoveryInterface.OpenAPIV3().Paths()
	if err != nil || d.edit == nil {
		return paths, err
	}
	out := map[string]openapi.GroupVersion{}
	for path, group := range paths {
		if !strings.Contains(path, v1alpha1.GroupVersion.Group) {
			continue
		}
		text, err := group.Schema("application/json")
		if err != nil {
			return nil, err
		}
		if text = d.edit(path, text); text != nil {
			out[path] = edited{group, text}
		}
	}
	return out, nil
}

type edited struct {
	openapi.GroupVersion
	text []byte
}

func (e edited) Schema(string) ([]byte, error) { return e.text, nil }

func TestTheOperatorWaitsForItsResourceDefinitions(t *testing.T) {
	ns := newNamespace(t)
	academy := newAcademy(ns)
	create(t, academy)
	inner, err := discovery.NewDiscoveryClientForConfig(restConfig)
	if err != nil {
		t.Fatal(err)
	}
	served := &definitions{DiscoveryInterface: inner}
	served.set(func(string, []byte) []byte { return nil })
	mgr := newManager(t, ns, func(rt http.RoundTripper) http.RoundTripper { return rt }, nil)
	d := &controllers.Definitions{
		Discovery: served, Clock: clock.RealClock{},
		Begin: func() error { return controllers.Setup(mgr, options(&fakeHandlers{})) },
	}
	if err := mgr.Add(d); err != nil {
		t.Fatal(err)
	}
	if d.Ready(nil) == nil {
		t.Error("ready before it has looked")
	}
	_, ended := runManager(t, mgr)
	says := func(wants ...string) {
		t.Helper()
		eventually(t, func() string {
			err := d.Ready(nil)
			for _, want := range wants {
				if err == nil || !strings.Contains(err.Error(), want) {
					return fmt.Sprintf("readiness says %v, want %q", err, want)
				}
			}
			return ""
		})
	}
	says("not installed", "lti-operator-crds")
	served.set(func(_ string, text []byte) []byte {
		return []byte(strings.ReplaceAll(string(text), `"observedGeneration"`, `"formerly"`))
	})
	says("older than this operator", "LTIAcademy.status.observedGeneration", "lti-operator-crds")
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(academy), academy); err != nil {
		t.Fatal(err)
	}
	var made corev1.SecretList
	if err := api.List(t.Context(), &made, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	if academy.Status.ObservedGeneration != 0 || len(made.Items) != 0 {
		t.Error("the academy was reconciled with older resource definitions")
	}
	select {
	case err := <-ended:
		t.Fatalf("the operator ended: %v", err)
	default:
	}
	served.set(nil)
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	if err := d.Ready(nil); err != nil {
		t.Errorf("readiness says %v although everything is there", err)
	}
}

func TestWhoLosesTheLeaseWritesNothingMore(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	var writes atomic.Int32
	mgr := newManager(t, ns, func(next http.RoundTripper) http.RoundTripper {
		return transport(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/leases") && !strings.HasSuffix(r.URL.Path, "/events") {
				writes.Add(1)
			}
			return next.RoundTrip(r)
		})
	}, func(o *ctrl.Options) {
		o.LeaderElection, o.LeaderElectionID, o.LeaderElectionNamespace = true, "lti-operator", ns
		o.LeaderElectionReleaseOnCancel = true
		// Not less, or a busy machine loses it before anybody takes it.
		o.LeaseDuration, o.RenewDeadline, o.RetryPeriod = new(15*time.Second), new(10*time.Second), new(200*time.Millisecond)
	})
	if err := controllers.Setup(mgr, options(&fakeHandlers{})); err != nil {
		t.Fatal(err)
	}
	_, ended := runManager(t, mgr)
	academy, activity := newAcademy(ns), newActivity(ns, "height")
	create(t, academy, activity)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)

	eventually(t, func() string {
		lease := &coordinationv1.Lease{}
		if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: "lti-operator"}, lease); err != nil {
			return err.Error()
		}
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = new("somebody-else"), new(int32(3600))
		lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()}
		if err := api.Update(t.Context(), lease); err != nil {
			return err.Error()
		}
		return ""
	})
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the operator ended without saying that it lost the lease")
		}
	case <-time.After(time.Minute):
		t.Fatal("the operator goes on without the lease")
	}
	before := writes.Load()
	touch(t, activity)
	create(t, newActivity(ns, "other"))
	time.Sleep(time.Second)
	if n := writes.Load() - before; n != 0 {
		t.Errorf("%d writes after the lease was lost", n)
	}
	if name := workload.ManifestConfigMapName("default"); len(liveTable(t, ns).Activities) != 1 {
		t.Errorf("%s was published by nobody", name)
	}
}

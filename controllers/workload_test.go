// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/controllers"
	"github.com/lti-operator/lti-operator/internal/workload"
)

func TestWorkloadIsAppliedAndStaysAsItIs(t *testing.T) {
	ns := newNamespace(t)
	academy := newAcademy(ns)
	create(t, academy)
	w := &controllers.Workload{Client: api, Live: api, Image: "registry.example/launch-handler:test", OperatorNamespace: "lti-operator-system"}
	versions := func() map[string]string {
		t.Helper()
		if _, err := w.Apply(t.Context(), academy); err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for name, object := range map[string]client.Object{
			workload.HandlerName(academy.Name) + " Deployment":     &appsv1.Deployment{},
			workload.HandlerName(academy.Name) + " Service":        &corev1.Service{},
			workload.HandlerName(academy.Name) + " ServiceAccount": &corev1.ServiceAccount{},
			workload.HandlerName(academy.Name) + " NetworkPolicy":  &networkingv1.NetworkPolicy{},
		} {
			if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: workload.HandlerName(academy.Name)}, object); err != nil {
				t.Fatal(name, err)
			}
			found[name] = object.GetResourceVersion()
			if refs := object.GetOwnerReferences(); len(refs) != 1 || refs[0].UID != academy.UID {
				t.Errorf("%s is not owned by the academy: %v", name, refs)
			}
		}
		return found
	}
	first := versions()
	for name, version := range versions() {
		if first[name] != version {
			t.Errorf("%s was written again although nothing changed", name)
		}
	}
	budget := &policyv1.PodDisruptionBudget{}
	err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: workload.HandlerName(academy.Name)}, budget)
	if !errors.IsNotFound(err) {
		t.Errorf("a disruption budget for one replica could only block drains: %v", err)
	}
	claim := &corev1.PersistentVolumeClaim{}
	if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: workload.DataClaimName(academy.Name)}, claim); err != nil {
		t.Fatal(err)
	}
	if len(claim.OwnerReferences) != 0 {
		t.Error("the volume with people and launches goes with the academy")
	}
}

// managed starts an operator that makes the launch handler's Deployment, and waits until everything is made.
func managed(t *testing.T, academy *v1alpha1.LTIAcademy, log *requestLog) {
	t.Helper()
	mgr := newManager(t, academy.Namespace, log.through, nil)
	o := options(&fakeHandlers{})
	o.Workload = &controllers.Workload{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), RecheckEvery: 100 * time.Millisecond,
		Image: "registry.example/launch-handler:test", OperatorNamespace: "lti-operator-system",
	}
	if err := controllers.Setup(mgr, o); err != nil {
		t.Fatal(err)
	}
	runManager(t, mgr)
	create(t, academy)
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	claim := &corev1.PersistentVolumeClaim{}
	if err := api.Get(t.Context(), types.NamespacedName{Namespace: academy.Namespace, Name: workload.DataClaimName(academy.Name)}, claim); err != nil {
		t.Fatal(err)
	}
}

// Somebody edits or deletes what runs the launch handlers: it is mended in seconds, and not when the academy changes the
// next time.
func TestTheWorkloadIsMended(t *testing.T) {
	ns := newNamespace(t)
	academy := newAcademy(ns)
	academy.Spec.Handler = &v1alpha1.AcademyHandler{PodLabels: map[string]string{"team": "learning"}}
	managed(t, academy, &requestLog{})
	name := types.NamespacedName{Namespace: ns, Name: workload.HandlerName(academy.Name)}
	deployment := func() *appsv1.Deployment {
		t.Helper()
		d := &appsv1.Deployment{}
		if err := api.Get(t.Context(), name, d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	for what, change := range map[string]func(*appsv1.Deployment){
		"scaled by hand":     func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(5)) },
		"another image":      func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "registry.example/other" },
		"a token":            func(d *appsv1.Deployment) { d.Spec.Template.Spec.AutomountServiceAccountToken = new(true) },
		"without its labels": func(d *appsv1.Deployment) { d.Labels = nil },
		"nobody's":           func(d *appsv1.Deployment) { d.OwnerReferences = nil },
	} {
		t.Run(what, func(t *testing.T) {
			before := deployment()
			changed := before.DeepCopy()
			change(changed)
			if err := api.Patch(t.Context(), changed, client.MergeFrom(before)); err != nil {
				t.Fatal(err)
			}
			started := time.Now()
			eventually(t, func() string {
				d := deployment()
				switch c := d.Spec.Template.Spec.Containers[0]; {
				case *d.Spec.Replicas != 1:
					return fmt.Sprintf("%d replicas", *d.Spec.Replicas)
				case c.Image != "registry.example/launch-handler:test":
					return "image " + c.Image
				case *d.Spec.Template.Spec.AutomountServiceAccountToken:
					return "the pods have a token"
				case d.Labels[v1alpha1.LabelAcademy] != academy.Name:
					return "no label"
				case len(d.OwnerReferences) != 1:
					return "no owner"
				}
				return ""
			})
			t.Logf("mended after %v", time.Since(started).Round(time.Millisecond))
		})
	}
	for what, object := range map[string]client.Object{
		"Deployment": &appsv1.Deployment{}, "Service": &corev1.Service{}, "ServiceAccount": &corev1.ServiceAccount{}, "NetworkPolicy": &networkingv1.NetworkPolicy{},
	} {
		t.Run(what+" deleted", func(t *testing.T) {
			if err := api.Get(t.Context(), name, object); err != nil {
				t.Fatal(err)
			}
			former := object.GetUID()
			if err := api.Delete(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() string {
				err := api.Get(t.Context(), name, object)
				if err != nil || object.GetUID() == former {
					return fmt.Sprintf("it is not back: %v", err)
				}
				return ""
			})
		})
	}
	t.Run("Service edited", func(t *testing.T) {
		service := &corev1.Service{}
		if err := api.Get(t.Context(), name, service); err != nil {
			t.Fatal(err)
		}
		before := service.DeepCopy()
		service.Spec.Selector = map[string]string{"app": "somebody-else"}
		if err := api.Patch(t.Context(), service, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string {
			if err := api.Get(t.Context(), name, service); err != nil {
				return err.Error()
			}
			for label, value := range workload.SelectorLabels(academy.Name) {
				if service.Spec.Selector[label] != value {
					return fmt.Sprintf("it selects %v", service.Spec.Selector)
				}
			}
			return ""
		})
	})
}

// An operator that mends must not fight: with itself, or with whoever writes status.
func TestAWorkloadThatIsAsItShouldBeIsLeftAlone(t *testing.T) {
	ns := newNamespace(t)
	log := &requestLog{}
	academy, activity := newAcademy(ns), newActivity(ns, "height")
	managed(t, academy, log)
	writes := func() (n int) {
		for _, method := range []string{"PATCH ", "PUT ", "POST ", "DELETE "} {
			for _, resource := range []string{"deployments", "services", "serviceaccounts", "networkpolicies", "persistentvolumeclaims", "poddisruptionbudgets", "ingresses", "httproutes"} {
				n += log.count(method+resource, "")
			}
		}
		return n
	}
	settled := func() int {
		last := writes()
		eventually(t, func() string {
			time.Sleep(500 * time.Millisecond)
			if n := writes(); n != last {
				last = n
				return "it writes on and on\n" + log.String()
			}
			return ""
		})
		return last
	}
	before := settled()
	create(t, activity)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	for range 3 {
		touch(t, activity)
		waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	}
	// What the Deployment's controller says of it is no change.
	d := &appsv1.Deployment{}
	if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: workload.HandlerName(academy.Name)}, d); err != nil {
		t.Fatal(err)
	}
	d.Status.ObservedGeneration, d.Status.Replicas = d.Generation, 1
	if err := api.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if n := settled() - before; n != 0 {
		t.Errorf("%d writes although nothing changed:\n%s", n, log)
	}
	// The setting of an academy does arrive, budget and all.
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(academy), academy); err != nil {
		t.Fatal(err)
	}
	patched := academy.DeepCopy()
	patched.Spec.Handler = &v1alpha1.AcademyHandler{PodAnnotations: map[string]string{"example.org/a": "b"}}
	if err := api.Patch(t.Context(), patched, client.MergeFrom(academy)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(d), d); err != nil || d.Spec.Template.Annotations["example.org/a"] != "b" {
			return fmt.Sprintf("the pods have annotations %v (%v)", d.Spec.Template.Annotations, err)
		}
		return ""
	})
	if !meta.IsStatusConditionTrue(academy.Status.Conditions, v1alpha1.ConditionReady) {
		t.Error("the academy is not ready")
	}
}

// A budget from when there were more replicas would block every drain.
func TestABudgetThatIsNotWantedGoes(t *testing.T) {
	ns := newNamespace(t)
	academy := newAcademy(ns)
	managed(t, academy, &requestLog{})
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{
		Namespace: ns, Name: workload.HandlerName(academy.Name), Labels: workload.Labels(academy.Name),
	}}
	create(t, budget)
	eventually(t, func() string {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(budget), budget); !errors.IsNotFound(err) {
			return fmt.Sprintf("it is there (%v)", err)
		}
		return ""
	})
}

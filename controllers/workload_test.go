// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/controllers"
	"github.com/lti-operator/lti-operator/internal/workload"
)

func TestWorkloadIsAppliedAndStaysAsItIs(t *testing.T) {
	ns := newNamespace(t)
	academy := newAcademy(ns)
	create(t, academy)
	w := &controllers.Workload{Client: api, Image: "registry.example/launch-handler:test", OperatorNamespace: "lti-operator-system"}
	versions := func() map[string]string {
		t.Helper()
		if err := w.Apply(t.Context(), academy); err != nil {
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

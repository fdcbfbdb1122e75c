//go:build charts

// SPDX-License-Identifier: Apache-2.0

package charts_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The life of a release, as docs/install.md tells it, by helm itself. No controllers run here, so that nothing is deleted
// but what helm deletes, and what garbage collection would delete is what has an owner.
func TestInstallUpgradeRollBackUninstall(t *testing.T) {
	const ns = "released"
	if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil {
		t.Fatal(err)
	}
	run := func(arguments ...string) string {
		t.Helper()
		text, err := helm(append(arguments, "--namespace", ns)...)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	there := func(want bool, object client.Object, name string) {
		t.Helper()
		err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: name}, object)
		if got := err == nil; got != want || err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("%T %s: there %t, want %t (%v)", object, name, got, want, err)
		}
	}
	academy := func() *unstructured.Unstructured {
		a := &unstructured.Unstructured{}
		a.SetAPIVersion("lti-operator.io/v1alpha1")
		a.SetKind("LTIAcademy")
		return a
	}
	const values = "lti-operator/ci/default-values.yaml"

	notes := run("install", "lti-operator", "lti-operator", "-f", values)
	for _, text := range []string{"kubectl -n " + ns + " wait --for=condition=Ready ltiacademy/default", "https://lti.academy.example"} {
		if !strings.Contains(notes, text) {
			t.Errorf("the notes do not say %q:\n%s", text, notes)
		}
	}
	there(true, &appsv1.Deployment{}, "lti-operator")
	first := academy()
	there(true, first, "default")
	there(false, &policyv1.PodDisruptionBudget{}, "lti-operator")

	run("upgrade", "lti-operator", "lti-operator", "-f", values, "--set", "replicas=2,academy.title=Another")
	there(true, &policyv1.PodDisruptionBudget{}, "lti-operator")
	run("rollback", "lti-operator", "1")
	there(false, &policyv1.PodDisruptionBudget{}, "lti-operator")
	if _, err := helm("upgrade", "lti-operator", "lti-operator", "-f", values, "--namespace", ns, "--set", "academy.url=https://other.example"); err == nil ||
		!strings.Contains(err.Error(), "url cannot be changed") {
		t.Errorf("another url: %v", err)
	}

	run("uninstall", "lti-operator")
	there(false, &appsv1.Deployment{}, "lti-operator")
	there(false, &rbacv1.Role{}, "lti-operator")
	there(true, academy(), "default")

	run("install", "lti-operator", "lti-operator", "-f", values)
	again := academy()
	there(true, again, "default")
	if first.GetUID() != again.GetUID() {
		t.Error("the academy was made anew")
	}

	// The definitions too: what they define lives on, and they are taken over again.
	definitions := func(command ...string) {
		t.Helper()
		if _, err := helm(append(command, "--namespace", "default")...); err != nil {
			t.Fatal(err)
		}
	}
	definitions("uninstall", "lti-operator-crds")
	there(true, academy(), "default")
	definitions("install", "lti-operator-crds", "lti-operator-crds")
	definitions("upgrade", "lti-operator-crds", "lti-operator-crds")
	there(true, again, "default")
	if first.GetUID() != again.GetUID() {
		t.Error("the academy was made anew")
	}
}

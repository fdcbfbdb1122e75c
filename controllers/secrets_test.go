// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"bytes"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

func getSecret(t *testing.T, ns, name string) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{}
	if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: name}, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGeneratedSecretsSurvive(t *testing.T) {
	ns := newNamespace(t)
	stop := startOperator(t, ns, &fakeHandlers{}, nil)
	activity, platform := newActivity(ns, "height"), newPlatform(ns, "moodle")
	create(t, newAcademy(ns), activity, platform)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	key, credentials := getSecret(t, ns, "moodle-platform-key"), getSecret(t, ns, "height-lti12")
	if len(key.OwnerReferences)+len(credentials.OwnerReferences) != 0 {
		t.Error("generated Secrets go with their objects although their values are in other people's systems")
	}
	same := func(what string) {
		t.Helper()
		if !bytes.Equal(getSecret(t, ns, key.Name).Data[v1alpha1.SecretKeyPrivateKey], key.Data[v1alpha1.SecretKeyPrivateKey]) {
			t.Errorf("%s: another signing key", what)
		}
		if !bytes.Equal(getSecret(t, ns, credentials.Name).Data[v1alpha1.SecretKeySharedSecret], credentials.Data[v1alpha1.SecretKeySharedSecret]) {
			t.Errorf("%s: another shared secret", what)
		}
	}

	// Somebody strips the labels: the Secret leaves the cache, is found again and gets them back.
	for _, s := range []*corev1.Secret{key, credentials} {
		patch := client.MergeFrom(s.DeepCopy())
		s.Labels = nil
		if err := api.Patch(t.Context(), s, patch); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{key.Name, credentials.Name} {
		eventually(t, func() string {
			if getSecret(t, ns, name).Labels[v1alpha1.LabelUse] != v1alpha1.LabelUseValue {
				return "labels of " + name + " are not repaired"
			}
			return ""
		})
	}
	same("labels stripped")

	// The objects are deleted and come back.
	for _, o := range []client.Object{activity, platform} {
		if err := api.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	activity, platform = newActivity(ns, "height"), newPlatform(ns, "moodle")
	create(t, activity, platform)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	same("objects deleted and made again")

	// Two operators at once, the second one fresh.
	stop()
	startOperator(t, ns, &fakeHandlers{}, nil)
	startOperator(t, ns, &fakeHandlers{}, nil)
	touch(t, activity)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	same("two operators")
}

func TestForeignSecretOfThatNameIsNotTouched(t *testing.T) {
	ns := newNamespace(t)
	foreign := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "height-lti12"},
		StringData: map[string]string{"password": "somebody else's"},
	}
	create(t, foreign)
	startOperator(t, ns, &fakeHandlers{}, nil)
	activity := newActivity(ns, "height")
	create(t, newAcademy(ns), activity)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretConflict)
	contains(t, message(activity, v1alpha1.ConditionReady), "height-lti12")
	if s := getSecret(t, ns, foreign.Name); s.ResourceVersion != foreign.ResourceVersion {
		t.Error("the foreign Secret was written")
	}
}

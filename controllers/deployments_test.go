// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

func TestUnknownDeploymentsStandInStatusUntilTheyAreListed(t *testing.T) {
	ns := newNamespace(t)
	handlers := &fakeHandlers{}
	startOperator(t, ns, handlers, nil)
	listed, other := newPlatform(ns, "moodle"), newPlatform(ns, "canvas")
	listed.Spec.Deployments = &v1alpha1.PlatformDeployments{
		Policy: v1alpha1.DeploymentsListed,
		List:   []v1alpha1.PlatformDeployment{{ID: "1"}, {ID: "off", Activation: v1alpha1.Deactivated}},
	}
	create(t, newAcademy(ns), listed, other)
	waitFor(t, listed, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	waitFor(t, other, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	before := other.ResourceVersion

	seen := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	handlers.set(func(h *fakeHandlers) {
		h.unknown = []routing.UnknownDeployment{
			{Platform: "moodle", ID: "older", FirstSeenAt: seen},
			{Platform: "moodle", ID: "off", FirstSeenAt: seen},
			{Platform: "moodle", ID: "newer", FirstSeenAt: seen.Add(time.Hour)},
			{Platform: "canvas", ID: "any", FirstSeenAt: seen},
			{Platform: "nobody", ID: "x", FirstSeenAt: seen},
		}
	})
	ids := func(want string) {
		t.Helper()
		eventually(t, func() string {
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(listed), listed); err != nil {
				return err.Error()
			}
			var got []string
			for _, d := range listed.Status.UnknownDeployments {
				got = append(got, d.ID)
			}
			if strings.Join(got, " ") != want {
				return "unknown deployments: " + strings.Join(got, " ")
			}
			return ""
		})
	}
	ids("newer older")
	listed.Spec.Deployments.List = append(listed.Spec.Deployments.List, v1alpha1.PlatformDeployment{ID: "older"})
	if err := api.Update(t.Context(), listed); err != nil {
		t.Fatal(err)
	}
	ids("newer")
	written := listed.ResourceVersion
	time.Sleep(300 * time.Millisecond) // several looks
	ids("newer")
	if listed.ResourceVersion != written {
		t.Error("status is written again although nothing is new")
	}
	handlers.set(func(h *fakeHandlers) { h.unknown = []routing.UnknownDeployment{} })
	ids("")
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(other), other); err != nil {
		t.Fatal(err)
	}
	if other.ResourceVersion != before {
		t.Error("a platform that accepts every deployment has unknown ones")
	}
}

func TestPlatformsOwnKey(t *testing.T) {
	ns := newNamespace(t)
	startOperator(t, ns, &fakeHandlers{}, nil)
	platform, activity := newPlatform(ns, "moodle"), newActivity(ns, "moodle")
	platform.Spec.LTI12 = &v1alpha1.PlatformLTI12{}
	create(t, newAcademy(ns), platform, activity)
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	waitFor(t, platform, v1alpha1.ConditionRegistered, metav1.ConditionTrue, v1alpha1.ReasonRegistered)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	secret := getSecret(t, ns, platform.Status.LTI12.CredentialsSecretName)
	key := string(secret.Data[v1alpha1.SecretKeyConsumerKey])
	table := liveTable(t, ns)
	if len(table.Credentials) != 2 {
		t.Fatalf("%d credentials", len(table.Credentials))
	}
	for _, c := range table.Credentials {
		if (c.ConsumerKey == key) != (c.Platform == "moodle" && c.Activity == "" && c.Realm == "moodle/lti12") {
			t.Errorf("credential %+v", c)
		}
	}
}

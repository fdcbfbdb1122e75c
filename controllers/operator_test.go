// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"fmt"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/workload"
)

func newAcademy(ns string) *v1alpha1.LTIAcademy {
	return &v1alpha1.LTIAcademy{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "default"},
		Spec:       v1alpha1.LTIAcademySpec{Title: "Acme Academy", URL: "https://" + ns + ".example"},
	}
}

func newActivity(ns, name string) *v1alpha1.LTIActivity {
	return &v1alpha1.LTIActivity{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: v1alpha1.LTIActivitySpec{
			Title: "Working safely at height", Type: v1alpha1.ELearning,
			Share: &v1alpha1.ActivityShare{TargetURL: "https://academy.example/courses/42", SignIn: v1alpha1.SignInLaunchCode},
		},
	}
}

func newPlatform(ns, name string) *v1alpha1.LTIPlatform {
	return &v1alpha1.LTIPlatform{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec:       v1alpha1.LTIPlatformSpec{Title: "Moodle at Example University"},
	}
}

func create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// liveTable assembles the table that a handler would find in the API server now.
func liveTable(t *testing.T, ns string) *routing.Table {
	t.Helper()
	files := map[string][]byte{}
	for i := range routing.RoutingShards {
		shard := &corev1.ConfigMap{}
		if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: workload.RoutingConfigMapName("default", i)}, shard); err != nil {
			t.Fatal(err)
		}
		for name, payload := range shard.BinaryData {
			files[name] = payload
		}
	}
	for i := range routing.KeyShards {
		shard := &corev1.Secret{}
		if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: workload.KeySecretName("default", i)}, shard); err != nil {
			t.Fatal(err)
		}
		for name, payload := range shard.Data {
			files[name] = payload
		}
	}
	manifest := &corev1.ConfigMap{}
	if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: workload.ManifestConfigMapName("default")}, manifest); err != nil {
		t.Fatal(err)
	}
	m, err := routing.DecodeManifest([]byte(manifest.Data[routing.ManifestFile]))
	if err != nil {
		t.Fatal(err)
	}
	table, err := routing.Assemble(m, func(name string) ([]byte, error) {
		if payload, ok := files[name]; ok {
			return payload, nil
		}
		return nil, errNoSuchShard
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestResourcesBecomeReadyInAnyOrder(t *testing.T) {
	ns := newNamespace(t)
	startOperator(t, ns, &fakeHandlers{}, nil)
	activity, platform := newActivity(ns, "height"), newPlatform(ns, "moodle")
	tool := &v1alpha1.LTITool{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "lab"}, Spec: v1alpha1.LTIToolSpec{Title: "Simulation Lab"}}
	create(t, activity, platform, tool)

	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAcademyNotFound)
	contains(t, message(activity, v1alpha1.ConditionReady), "spec.academyRef", `"default"`, "kind: LTIAcademy", "namespace: "+ns)

	academy := newAcademy(ns)
	create(t, academy)
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	waitFor(t, tool, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	waitFor(t, platform, v1alpha1.ConditionRegistered, metav1.ConditionFalse, v1alpha1.ReasonAwaitingRegistration)

	url := academy.Spec.URL
	if d := platform.Status.Details; d == nil || !reflect.DeepEqual(*d, v1alpha1.PlatformDetails{
		LoginInitiationURL: url + "/platforms/moodle/login", RedirectURI: url + "/platforms/moodle/launch",
		TargetLinkURI: url + "/platforms/moodle/launch", DeepLinkingURL: url + "/platforms/moodle/launch", JWKSURL: url + "/platforms/moodle/jwks.json", Domain: ns + ".example",
	}) {
		t.Errorf("details of the platform: %+v", d)
	}
	if activity.Status.LTI12.LaunchURL != url+"/activities/height/launch" || activity.Status.LTI13.ResourceURL != url+"/activities/height" {
		t.Errorf("activity status: %+v %+v", activity.Status.LTI12, activity.Status.LTI13)
	}
	if tool.Status.Details == nil || tool.Status.Details.PlatformID != url {
		t.Errorf("details of the tool: %+v", tool.Status.Details)
	}

	// Filling in the registration changes no detail that was handed out.
	handedOut := *platform.Status.Details
	keyID := platform.Status.Keys[0].KeyID
	jwks := v1alpha1.PeerURL("https://lms.example/jwks")
	platform.Spec.LTI13 = &v1alpha1.PlatformLTI13{
		Issuer: "https://lms.example", ClientID: "abc", AuthenticationURL: "https://lms.example/auth", JWKSURL: &jwks,
	}
	if err := api.Update(t.Context(), platform); err != nil {
		t.Fatal(err)
	}
	waitFor(t, platform, v1alpha1.ConditionRegistered, metav1.ConditionTrue, v1alpha1.ReasonRegistered)
	if !reflect.DeepEqual(*platform.Status.Details, handedOut) || platform.Status.Keys[0].KeyID != keyID {
		t.Errorf("details or key changed: %+v %+v", platform.Status.Details, platform.Status.Keys)
	}

	table := liveTable(t, ns)
	if len(table.Activities) != 1 || len(table.Platforms) != 1 || len(table.Tools) != 1 || len(table.Credentials) != 1 {
		t.Errorf("live table: %d activities, %d platforms, %d tools, %d credentials",
			len(table.Activities), len(table.Platforms), len(table.Tools), len(table.Credentials))
	}
}

func TestStatusFollowsTheHandler(t *testing.T) {
	ns := newNamespace(t)
	handlers := &fakeHandlers{}
	startOperator(t, ns, handlers, nil)
	changed, unchanged := newActivity(ns, "changed"), newActivity(ns, "unchanged")
	create(t, newAcademy(ns), changed, unchanged)
	waitFor(t, changed, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	waitFor(t, unchanged, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)

	handlers.set(func(h *fakeHandlers) { h.stopped = true })
	changed.Spec.Title = "Another title"
	if err := api.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	waitFor(t, changed, v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonProgramming)
	waitFor(t, unchanged, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)

	handlers.set(func(h *fakeHandlers) { h.stopped = false })
	waitFor(t, changed, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
}

func TestDeactivatedIsReadyAndSaysSo(t *testing.T) {
	ns := newNamespace(t)
	startOperator(t, ns, &fakeHandlers{}, nil)
	platform := newPlatform(ns, "former")
	platform.Spec.Activation = v1alpha1.Deactivated
	create(t, newAcademy(ns), platform)
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonDeactivated)
	if p := liveTable(t, ns).Platforms; len(p) != 1 || p[0].Active {
		t.Errorf("a deactivated platform must be in the table, switched off, so that its launches get a page: %+v", p)
	}
}

func TestReferencedSecrets(t *testing.T) {
	ns := newNamespace(t)
	startOperator(t, ns, &fakeHandlers{}, nil)
	activity := newActivity(ns, "height")
	activity.Spec.Share.LTI12 = &v1alpha1.ShareLTI12{CredentialsSecretRef: &v1alpha1.SecretReference{Name: "own"}}
	neighbour := newActivity(ns, "neighbour")
	create(t, newAcademy(ns), activity, neighbour)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
	contains(t, message(activity, v1alpha1.ConditionReady), "spec.share.lti12.credentialsSecretRef", "own")
	waitFor(t, neighbour, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)

	// Late and without its owner's consent.
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "own"},
		StringData: map[string]string{"consumerKey": "key-of-the-user", "sharedSecret": "canary-shared-secret"},
	}
	create(t, secret)
	touch(t, activity)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotShared)
	contains(t, message(activity, v1alpha1.ConditionReady), "kubectl label secret own -n "+ns+" lti-operator.io/use=true")

	secret.Labels = map[string]string{v1alpha1.LabelUse: v1alpha1.LabelUseValue}
	if err := api.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	found := false
	for _, c := range liveTable(t, ns).Credentials {
		found = found || c.ConsumerKey == "key-of-the-user" && c.Activity == "height" && c.Secrets[0] == "canary-shared-secret"
	}
	if !found {
		t.Error("the user's consumer key is not in the live table")
	}
}

func TestExternalActivities(t *testing.T) {
	ns := newNamespace(t)
	startOperator(t, ns, &fakeHandlers{}, nil)
	academy := newAcademy(ns)
	external := func(name string, e v1alpha1.ActivityExternal) *v1alpha1.LTIActivity {
		return &v1alpha1.LTIActivity{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
			Spec:       v1alpha1.LTIActivitySpec{Title: "Fire", Type: v1alpha1.Exam, MinimumScore: new(int32(70)), External: &e},
		}
	}
	atTool := external("fire", v1alpha1.ActivityExternal{
		LTI13: &v1alpha1.ExternalLTI13{ToolRef: v1alpha1.ToolReference{Name: "lab"}, ResourceURL: "https://lab.example/fire"},
	})
	byForm := external("aid", v1alpha1.ActivityExternal{LTI12: &v1alpha1.ExternalLTI12{
		LaunchURL: "https://aid.example/launch", ResourceLinkID: "1", CredentialsSecretRef: v1alpha1.SecretReference{Name: "theirs"},
	}})
	create(t, academy, atTool, byForm)
	waitFor(t, atTool, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonToolNotFound)
	contains(t, message(atTool, v1alpha1.ConditionReady), "spec.external.lti13.toolRef", `"lab"`)
	waitFor(t, byForm, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
	contains(t, message(byForm, v1alpha1.ConditionReady), "spec.external.lti12.credentialsSecretRef", "theirs")

	// What is missing arrives: the tool before its administrator has answered, the Secret, and where learners sign in.
	tool := &v1alpha1.LTITool{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "lab"}, Spec: v1alpha1.LTIToolSpec{Title: "Simulation Lab"}}
	shared := func(name string, data map[string]string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{v1alpha1.LabelUse: v1alpha1.LabelUseValue}}, StringData: data,
		}
	}
	create(t, tool, shared("theirs", map[string]string{"consumerKey": "their-key", "sharedSecret": "canary-their-secret"}))
	for _, a := range []*v1alpha1.LTIActivity{atTool, byForm} {
		waitFor(t, a, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec)
		contains(t, message(a, v1alpha1.ConditionReady), "spec.learners.oidc", academy.Name)
	}
	change := func(o client.Object, how func()) {
		t.Helper()
		before, ok := o.DeepCopyObject().(client.Object)
		if !ok {
			t.Fatalf("%T is not an API object", o)
		}
		how()
		if err := api.Patch(t.Context(), o, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	change(academy, func() {
		academy.Spec.Learners = &v1alpha1.AcademyLearners{OIDC: v1alpha1.LearnersOIDC{
			IssuerURL: "https://id.example", ClientID: "launch-handler", ClientSecretRef: v1alpha1.SecretReference{Name: "learners"},
		}}
		academy.Spec.Results = &v1alpha1.AcademyResults{Webhook: v1alpha1.ResultsWebhook{
			URL: "https://academy.example/results", SigningSecretRef: v1alpha1.SecretReference{Name: "results"},
		}}
	})
	create(t, shared("learners", map[string]string{"clientSecret": "canary-of-the-identity-provider"}))
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
	contains(t, message(academy, v1alpha1.ConditionReady), "spec.results.webhook.signingSecretRef", "results")
	create(t, shared("results", map[string]string{"signingSecret": "whsec_Y2FuYXJ5LXRoYXQtc2lnbnMtcmVzdWx0cy0x"}))
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	for _, a := range []*v1alpha1.LTIActivity{atTool, byForm} {
		waitFor(t, a, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		if s := a.Status; s.External == nil || s.External.StartURL != academy.Spec.URL+"/activities/"+a.Name+"/start" || s.LTI12 != nil || s.LTI13 != nil {
			t.Errorf("status of %s: %+v", a.Name, s)
		}
		// The other party decides about the key: none is made.
		err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: a.Name + "-lti12"}, &corev1.Secret{})
		if !apierrors.IsNotFound(err) {
			t.Errorf("credentials for %s: %v", a.Name, err)
		}
	}
	waitFor(t, tool, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	waitFor(t, tool, v1alpha1.ConditionRegistered, metav1.ConditionFalse, v1alpha1.ReasonAwaitingRegistration)
	change(tool, func() {
		tool.Spec.LTI13 = &v1alpha1.ToolLTI13{LoginInitiationURL: "https://lab.example/login", JWKSURL: new(v1alpha1.PeerURL("https://lab.example/jwks"))}
	})
	waitFor(t, tool, v1alpha1.ConditionRegistered, metav1.ConditionTrue, v1alpha1.ReasonRegistered)

	// A changed Secret takes effect at once; a link that is no longer external has none to show.
	theirs := getSecret(t, ns, "theirs")
	change(theirs, func() {
		theirs.Data["previousSharedSecret"] = theirs.Data["sharedSecret"]
		theirs.Data["sharedSecret"] = []byte("canary-their-new-secret")
	})
	eventually(t, func() string {
		table := servedTable(t, ns)
		want := []routing.ExternalCredential{{Activity: "aid", ConsumerKey: "their-key", Secrets: []string{"canary-their-new-secret", "canary-their-secret"}}}
		if !reflect.DeepEqual(table.ExternalCredentials, want) || len(table.Credentials) != 0 {
			return fmt.Sprint("credentials are ", table.ExternalCredentials, table.Credentials)
		}
		return ""
	})
	change(atTool, func() { atTool.Spec.External = nil })
	waitFor(t, atTool, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	if atTool.Status.External != nil {
		t.Errorf("status still has %+v", atTool.Status.External)
	}
}

// touch changes the spec, as an impatient person would.
func touch(t *testing.T, a *v1alpha1.LTIActivity) {
	t.Helper()
	before := a.DeepCopy()
	a.Spec.Description += "."
	if err := api.Patch(t.Context(), a, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

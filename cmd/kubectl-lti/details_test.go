// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/details"
)

// The values that are handed over, as the operator writes them.
const (
	handedOver = "acme"
	academyURL = "https://lti.acme.example"
)

func create[T client.Object](t *testing.T, object T, status func(T)) {
	t.Helper()
	object.SetNamespace(handedOver)
	if err := api.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	if status == nil {
		return
	}
	before, _ := object.DeepCopyObject().(T)
	status(object)
	if err := api.Status().Patch(t.Context(), object, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func share() *v1alpha1.ActivityShare {
	return &v1alpha1.ActivityShare{TargetURL: "https://academy.example/42", SignIn: v1alpha1.SignInLaunchCode}
}

func platformDetails(name string) *v1alpha1.PlatformDetails {
	base := academyURL + "/platforms/" + name
	return &v1alpha1.PlatformDetails{
		LoginInitiationURL: base + "/login", RedirectURI: base + "/launch", TargetLinkURI: base + "/launch", DeepLinkingURL: base + "/launch",
		JWKSURL:           base + "/jwks.json",
		AliasRedirectURIs: []string{"https://brand.example/platforms/" + name + "/launch"}, Domain: "lti.acme.example",
	}
}

// handOverObjects makes one object for each thing that details may meet.
func handOverObjects(t *testing.T) {
	t.Helper()
	if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: named(handedOver)}); err != nil {
		t.Fatal(err)
	}
	jwks := v1alpha1.PeerURL("https://lms.example/mod/lti/certs.php")
	create(t, &v1alpha1.LTIPlatform{ObjectMeta: named("new"), Spec: v1alpha1.LTIPlatformSpec{
		Title: "Example University", LTI12: &v1alpha1.PlatformLTI12{},
		Deployments: &v1alpha1.PlatformDeployments{Policy: v1alpha1.DeploymentsListed, List: []v1alpha1.PlatformDeployment{{ID: "1"}}},
	}}, func(p *v1alpha1.LTIPlatform) {
		p.Status.Details = platformDetails("new")
		p.Status.LTI12 = &v1alpha1.PlatformLTI12Status{CredentialsSecretName: "new.lti12"}
		p.Status.UnknownDeployments = []v1alpha1.UnknownDeployment{{ID: "7", FirstSeenAt: metav1.NewTime(time.Unix(0, 0))}}
	})
	create(t, &v1alpha1.LTIPlatform{ObjectMeta: named("registered"), Spec: v1alpha1.LTIPlatformSpec{
		Title: "Example University", Activation: v1alpha1.Deactivated,
		LTI13: &v1alpha1.PlatformLTI13{
			Issuer: "https://lms.example", ClientID: "abc", AuthenticationURL: "https://lms.example/mod/lti/auth.php", JWKSURL: &jwks,
		},
	}}, func(p *v1alpha1.LTIPlatform) { p.Status.Details = platformDetails("registered") })
	create(t, &v1alpha1.LTIPlatform{ObjectMeta: named("waiting"), Spec: v1alpha1.LTIPlatformSpec{Title: "W"}}, nil)
	create(t, &v1alpha1.LTIPlatform{ObjectMeta: named("refused"), Spec: v1alpha1.LTIPlatformSpec{Title: "R"}}, func(p *v1alpha1.LTIPlatform) {
		now := metav1.NewTime(time.Unix(0, 0))
		p.Status.Conditions = []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonAcademyNotFound, Message: "not ready", LastTransitionTime: now},
			{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonAcademyNotFound, Message: "there is no LTIAcademy", LastTransitionTime: now},
		}
	})
	create(t, &v1alpha1.LTITool{ObjectMeta: named("lab"), Spec: v1alpha1.LTIToolSpec{Title: "Simulation Lab"}}, func(o *v1alpha1.LTITool) {
		base := academyURL + "/tools/lab"
		o.Status.Details = &v1alpha1.ToolDetails{
			PlatformID: academyURL, ClientID: "lab", DeploymentID: "lab", AuthenticationURL: base + "/authorize", AccessTokenURL: base + "/token", JWKSURL: base + "/jwks.json",
			ChooseURL: base + "/choose",
		}
	})
	create(t, &v1alpha1.LTIActivity{ObjectMeta: named("height"), Spec: v1alpha1.LTIActivitySpec{Title: "Height", Type: v1alpha1.ELearning, Share: share()}}, func(a *v1alpha1.LTIActivity) {
		a.Status.LTI12 = &v1alpha1.ActivityLTI12Status{LaunchURL: academyURL + "/activities/height/launch", CredentialsSecretName: "height-lti12"}
		a.Status.LTI13 = &v1alpha1.ActivityLTI13Status{ResourceURL: academyURL + "/activities/height"}
	})
	create(t, &v1alpha1.LTIActivity{ObjectMeta: named("internal"), Spec: v1alpha1.LTIActivitySpec{Title: "I", Type: v1alpha1.ELearning}}, nil)
	for _, name := range []string{"height-lti12", "new.lti12"} {
		create(t, &corev1.Secret{ObjectMeta: named(name), StringData: map[string]string{"consumerKey": "key of " + name, "sharedSecret": "canary of " + name + "\n"}}, nil)
	}
}

// kubeconfigs writes one kubeconfig for somebody who may read everything and one for somebody who may read our kinds
// only.
func kubeconfigs(t *testing.T) (admin, reader string) {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: named("lti-reader"), Rules: []rbacv1.PolicyRule{{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"*"}, Verbs: []string{"get"}}}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: named("lti-reader"),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "lti-reader"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "reader"}},
	}
	for _, o := range []client.Object{role, binding} {
		if err := api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	for user, groups := range map[string][]string{"admin": {"system:masters"}, "reader": nil} {
		u, err := environment.AddUser(envtest.User{Name: user, Groups: groups}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := u.KubeConfig()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, user), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "admin"), filepath.Join(dir, "reader")
}

func TestDetails(t *testing.T) {
	needServer(t)
	handOverObjects(t)
	admin, reader := kubeconfigs(t)

	// testdata/details/<case>.out is what is printed. Whoever may read no Secret gets everything but the secrets.
	for name, args := range map[string]string{
		"platform":            "platform/new",
		"platform-moodle":     "ltiplatform new --for moodle",
		"platform-sakai":      "ltip/new --for Sakai",
		"platform-blackboard": "ltiplatforms.lti-operator.io/registered --for blackboard",
		"activity":            "activity height",
		"activity-canvas":     "ltia/height --for canvas",
		"tool-moodle":         "LTITool/lab --for moodle",
		"activity-yaml":       "activities/height -o yaml",
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, status := plugin(t, "", append([]string{"details", "-n", handedOver, "--kubeconfig", reader}, strings.Fields(args)...)...)
			if status != exitOK || stderr != "" {
				t.Fatalf("exit status %d: %s", status, stderr)
			}
			golden := filepath.Join("testdata", "details", name+".out")
			if *update {
				write(t, ".", map[string]string{golden: stdout})
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), stdout); diff != "" {
				t.Errorf("output differs from %s (run with -update to accept, -want +got):\n%s", golden, diff)
			}
		})
	}

	t.Run("with the shared secret", func(t *testing.T) {
		for _, object := range []string{"activity/height", "platform/new"} {
			stdout, stderr, status := plugin(t, "", "details", object, "--show-secret", "-o", "json", "-n", handedOver, "--kubeconfig", admin)
			if status != exitOK {
				t.Fatalf("exit status %d: %s", status, stderr)
			}
			var s sheet
			if err := json.Unmarshal([]byte(stdout), &s); err != nil {
				t.Fatal(err)
			}
			got := map[details.Field]string{}
			for _, v := range s.PasteThere[1].Values {
				got[v.Field] = v.Value
			}
			name := map[string]string{"activity/height": "height-lti12", "platform/new": "new.lti12"}[object]
			if got[details.ConsumerKey] != "key of "+name || got[details.SharedSecret] != "canary of "+name {
				t.Errorf("%s: %q", object, got)
			}
		}
	})

	t.Run("the namespace of the context", func(t *testing.T) {
		text, err := os.ReadFile(reader)
		if err != nil {
			t.Fatal(err)
		}
		var config map[string]any
		if err := yaml.Unmarshal(text, &config); err != nil {
			t.Fatal(err)
		}
		contexts, _ := config["contexts"].([]any)
		first, _ := contexts[0].(map[string]any)
		inner, _ := first["context"].(map[string]any)
		inner["namespace"] = handedOver
		contexts = append(contexts, map[string]any{"name": "elsewhere", "context": map[string]any{"cluster": inner["cluster"], "user": inner["user"], "namespace": "elsewhere"}})
		config["contexts"] = contexts
		if text, err = yaml.Marshal(config); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		write(t, dir, map[string]string{"config": string(text)})
		t.Setenv("KUBECONFIG", filepath.Join(dir, "config"))
		if _, stderr, status := plugin(t, "", "details", "tool/lab"); status != exitOK {
			t.Errorf("exit status %d: %s", status, stderr)
		}
		if _, stderr, status := plugin(t, "", "details", "tool/lab", "--context", "elsewhere"); status != exitFailed || !strings.Contains(stderr, "in namespace elsewhere") {
			t.Errorf("exit status %d: %s", status, stderr)
		}
	})

	for name, c := range map[string]struct {
		args, message string
		status        int
	}{
		"an object that does not exist":    {"platform/nobody", "there is no LTIPlatform nobody in namespace acme", exitFailed},
		"an object that is new":            {"platform/waiting", "has no values to hand over yet: Ready is Unknown (Pending): waiting for the operator", exitFailed},
		"an object that is refused":        {"platform/refused", "has no values to hand over yet: Accepted is False (AcademyNotFound): there is no LTIAcademy", exitFailed},
		"an activity that is not shared":   {"activity/internal", "is not shared with other systems: spec.share is not set", exitFailed},
		"an unknown kind":                  {"consumer/x", `unknown kind "consumer"; known are platform, tool and activity`, exitFailed},
		"an academy":                       {"academy/default", "an LTIAcademy has no values for another party", exitFailed},
		"a tool for a system that is none": {"tool/lab --for canvas", "Canvas opens activities of others only", exitFailed},
		"a Secret that one may not read":   {"activity/height --show-secret", "read Secret height-lti12: ", exitFailed},
		"a context that does not exist":    {"tool/lab --context nowhere", "nowhere", exitFailed},
		"an unknown system":                {"tool/lab --for webct", `unknown system "webct"; known are generic, moodle, canvas`, exitUsage},
		"no object":                        {"", "KIND/NAME", exitUsage},
		"a kind without a name":            {"platform", "give one object", exitUsage},
		"two objects":                      {"platform/a tool/b c", "give one object", exitUsage},
		"a name that is a path":            {"platform a/b", "give one object", exitUsage},
		"an unknown format":                {"tool/lab -o xml", "xml", exitUsage},
		"a kubeconfig that does not exist": {"tool/lab --kubeconfig /nowhere/config", "find the API server", exitFailed},
		"an unknown command":               {"", "hand-over", exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"details"}
			if name == "an unknown command" {
				args[0] = "hand-over"
			}
			if !strings.Contains(c.args, "--kubeconfig") {
				args = append(args, "--kubeconfig", reader, "-n", handedOver)
			}
			stdout, stderr, status := plugin(t, "", append(args, strings.Fields(c.args)...)...)
			if status != c.status || stdout != "" || !strings.HasPrefix(stderr, "error: ") || !strings.Contains(stderr, c.message) {
				t.Errorf("exit status %d: %s%s", status, stdout, stderr)
			}
		})
	}
}

// Whatever can be pasted somewhere is on the sheet: for every system, each entry of a screen has a value or says why not.
func TestEverySystemGetsAllValues(t *testing.T) {
	full := &v1alpha1.LTIPlatform{Spec: v1alpha1.LTIPlatformSpec{LTI12: &v1alpha1.PlatformLTI12{}}}
	full.Status.Details = platformDetails("x")
	full.Status.LTI12 = &v1alpha1.PlatformLTI12Status{CredentialsSecretName: "s"}
	activity := &v1alpha1.LTIActivity{Spec: v1alpha1.LTIActivitySpec{Share: share()}}
	activity.Status.LTI12 = &v1alpha1.ActivityLTI12Status{LaunchURL: "https://x.example", CredentialsSecretName: "s"}
	activity.Status.LTI13 = &v1alpha1.ActivityLTI13Status{ResourceURL: "https://x.example"}
	tool := &v1alpha1.LTITool{}
	tool.Status.Details = &v1alpha1.ToolDetails{PlatformID: "a", ClientID: "b", DeploymentID: "c", AuthenticationURL: "d", AccessTokenURL: "e", JWKSURL: "f"}
	for _, system := range details.Systems() {
		check := func(what string, pages []page, screens ...details.Screen) {
			if len(pages) != len(screens) {
				t.Fatalf("%s, %s: %d pages", system.Name, what, len(pages))
			}
			for i, p := range pages {
				if len(p.Values) != len(screens[i].Entries) {
					t.Errorf("%s, %s: %d of %d values", system.Name, what, len(p.Values), len(screens[i].Entries))
				}
				for _, v := range p.Values {
					if v.Value == "" && v.Instead == "" {
						t.Errorf("%s, %s: nothing for %s", system.Name, what, v.Field)
					}
				}
			}
		}
		m := &maker{system: system, sheet: &sheet{}}
		if err := m.platform(full); err != nil {
			t.Fatal(err)
		}
		check("platform", m.sheet.PasteThere, system.Platform, system.LTI12)
		if got, want := len(m.sheet.BringBack.Values), len(system.BringBack.Entries); got != want {
			t.Errorf("%s: %d of %d values to bring back", system.Name, got, want)
		}
		if len(m.sheet.Missing) != 4 {
			t.Errorf("%s: missing are %q", system.Name, m.sheet.Missing)
		}
		m = &maker{system: system, sheet: &sheet{}}
		if err := m.activity(activity); err != nil {
			t.Fatal(err)
		}
		check("activity", m.sheet.PasteThere, system.Activity, system.LTI12)
		if len(system.Tool.Entries) > 0 {
			m = &maker{system: system, sheet: &sheet{}}
			if err := m.tool(tool); err != nil {
				t.Fatal(err)
			}
			check("tool", m.sheet.PasteThere, system.Tool)
		}
	}
}

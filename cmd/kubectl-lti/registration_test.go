// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

const (
	registrar    = "registrar"
	firstID      = "5f0c3f9a1b2d4e6f7081"
	secondID     = "01234567890123456789"
	universityIs = academyURL + "/platforms/university/register?token="
)

// registered makes a platform and a tool that something has registered at, and a kubeconfig for them.
func registered(t *testing.T) (kubeconfig string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: named(registrar)}
	platform := &v1alpha1.LTIPlatform{ObjectMeta: named("university"), Spec: v1alpha1.LTIPlatformSpec{
		Title: "Example University", Registration: &v1alpha1.PlatformRegistration{}, Deployments: &v1alpha1.PlatformDeployments{Policy: v1alpha1.DeploymentsListed},
	}}
	tool := &v1alpha1.LTITool{ObjectMeta: named("lab"), Spec: v1alpha1.LTIToolSpec{
		Title:        "Simulation Lab",
		Registration: &v1alpha1.ToolRegistration{Dynamic: v1alpha1.ToolDynamicRegistration{RegistrationURL: "https://lab.example/register"}},
	}}
	link := &corev1.Secret{ObjectMeta: named("university-platform-registration"), StringData: map[string]string{
		"registrationURL": universityIs + "canary-1", "token": "canary-1", "expiresAt": "2026-03-08T10:00:00Z", "request": "",
	}}
	byHand := &v1alpha1.LTIPlatform{ObjectMeta: named("by-hand"), Spec: v1alpha1.LTIPlatformSpec{Title: "By hand"}}
	for _, o := range []client.Object{ns, platform, tool, link, byHand} {
		if o != client.Object(ns) {
			o.SetNamespace(registrar)
		}
		if err := api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	known := func(id string, hour int) v1alpha1.KnownRegistration {
		return v1alpha1.KnownRegistration{ID: id, RegisteredAt: metav1.NewTime(time.Date(2026, 3, 2, hour, 0, 0, 0, time.UTC)), State: v1alpha1.RegistrationPending}
	}
	platform.Status.Details = platformDetails("university")
	platform.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionRegistered, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRegistrationPending, Message: "two wait", LastTransitionTime: metav1.NewTime(time.Unix(0, 0)),
	}}
	platform.Status.Registration = &v1alpha1.PlatformRegistrationStatus{Known: []v1alpha1.KnownPlatformRegistration{
		{KnownRegistration: known(secondID, 11), Issuer: "https://evil.example", ClientID: "2", Product: "evil"},
		{
			KnownRegistration: known(firstID, 10), Issuer: "https://lms.example", ClientID: "1", AuthenticationURL: "https://lms.example/auth",
			AccessTokenURL: "https://lms.example/token", JWKSURL: "https://lms.example/jwks", DeploymentID: "7", Product: "moodle 4.5",
		},
	}}
	tool.Status.Registration = &v1alpha1.ToolRegistrationStatus{Known: []v1alpha1.KnownToolRegistration{
		{
			KnownRegistration: known(firstID, 12), Name: "Lab", LoginInitiationURL: "https://lab.example/login", JWKSURL: "https://evil.example/\x1b[2Jjwks",
			RedirectURIs: []string{"https://lab.example/launch", "https://evil.example/launch"},
		},
	}}
	for _, o := range []client.Object{platform, tool} {
		if err := api.Status().Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	u, err := environment.AddUser(envtest.User{Name: registrar, Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := u.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig = filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(kubeconfig, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

func TestRegistration(t *testing.T) {
	needServer(t)
	kubeconfig := registered(t)
	now := time.Date(2026, 3, 5, 10, 0, 0, 0, time.UTC)
	lti := func(args ...string) (stdout, stderr string, status int) {
		var out, errs bytes.Buffer
		status = run(t.Context(), append(args, "-n", registrar, "--kubeconfig", kubeconfig), terminal{in: strings.NewReader(""), out: &out, err: &errs, now: func() time.Time { return now }})
		return out.String(), errs.String(), status
	}
	expect := func(wantStatus int, wantOut, wantErr string, args ...string) {
		t.Helper()
		stdout, stderr, status := lti(args...)
		if status != wantStatus || stdout != wantOut || !strings.Contains(stderr, wantErr) {
			t.Errorf("%s: exit status %d\n%s%s", strings.Join(args, " "), status, stdout, stderr)
		}
		if strings.Contains(stderr, "canary") {
			t.Errorf("the token is in %q", stderr)
		}
	}

	// The link.
	expect(exitOK, universityIs+"canary-1\n", "until 2026-03-08T10:00:00Z", "registration", "link", "platform/university")
	expect(exitFailed, "", "spec.registration.dynamic is not set", "registration", "link", "platform", "by-hand")
	expect(exitFailed, "", "there is no LTIPlatform nobody in namespace registrar", "registration", "link", "platform/nobody")
	expect(exitFailed, "", "does not register", "registration", "link", "activity/height")
	expect(exitFailed, "", "LTITool lab has no link yet", "registration", "link", "tool/lab")
	expect(exitUsage, "", "give one object", "registration", "link", "a", "b", "c")
	now = time.Date(2026, 3, 8, 10, 0, 0, 0, time.UTC)
	expect(exitFailed, "", "the link ended at 2026-03-08T10:00:00Z; --new has another one made", "registration", "link", "platform/university")

	// Another one, which the operator makes.
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			p, secret := &v1alpha1.LTIPlatform{}, &corev1.Secret{}
			if err := api.Get(ctx, types.NamespacedName{Namespace: registrar, Name: "university"}, p); err == nil && p.Annotations[v1alpha1.AnnotationRegistrationLink] != "" {
				time.Sleep(2 * linkLook) // an old link must not be printed meanwhile
				if err := api.Get(ctx, types.NamespacedName{Namespace: registrar, Name: "university-platform-registration"}, secret); err != nil {
					t.Error(err)
					return
				}
				secret.Data["request"] = []byte(p.Annotations[v1alpha1.AnnotationRegistrationLink])
				secret.Data["registrationURL"], secret.Data["expiresAt"] = []byte(universityIs+"canary-2"), []byte("2026-03-09T10:00:00Z")
				if err := api.Update(ctx, secret); err != nil {
					t.Error(err)
				}
				return
			}
			time.Sleep(linkLook)
		}
	}()
	expect(exitOK, universityIs+"canary-2\n", "until 2026-03-09T10:00:00Z", "registration", "link", "platform/university", "--new")
	stop()
	<-done

	// What has registered.
	table := `OBJECT                STATE     REGISTERED             CALLS-ITSELF   FROM                        ID
tool/lab              Pending   2026-03-02T12:00:00Z   Lab            https://lab.example/login   5f0c3f9a1b2d4e6f7081
platform/university   Pending   2026-03-02T11:00:00Z   evil           https://evil.example        01234567890123456789
platform/university   Pending   2026-03-02T10:00:00Z   moodle_4.5     https://lms.example         5f0c3f9a1b2d4e6f7081
`
	expect(exitOK, table, "", "registration", "list")
	if stdout, _, status := lti("registration", "list", "tool/lab"); status != exitOK || strings.Count(stdout, "\n") != 2 || !strings.Contains(stdout, "tool/lab") {
		t.Errorf("exit status %d, %s", status, stdout)
	}

	// Details before anybody has approved.
	stdout, stderr, status := lti("details", "platform/university")
	if status != exitOK || strings.Contains(stdout, "canary") || strings.Contains(stdout, "Bring back") ||
		!strings.Contains(stdout, "in Secret university-platform-registration; kubectl lti registration link prints it") || !strings.Contains(stdout, "RegistrationPending: two wait.") {
		t.Errorf("exit status %d, %s%s", status, stdout, stderr)
	}
	if stdout, _, _ := lti("details", "platform/university", "--show-secret"); !strings.Contains(stdout, universityIs+"canary-2") {
		t.Errorf("the link is not shown: %s", stdout)
	}

	// Approval: the ID is in quotes, of one that is all digits YAML would make a number.
	expect(exitOK, "spec:\n  registration:\n    dynamic:\n      approved: \"01234567890123456789\"\n", "from https://evil.example", "registration", "approve", "platform/university", secondID)
	expect(exitFailed, "", "known are: "+secondID+", "+firstID, "registration", "approve", "platform", "university", "ffffffffffffffffffff")
	// A tool may name the login address of another one: the keys and where learners are sent count as much.
	expect(exitOK, "spec:\n  registration:\n    dynamic:\n      approved: \""+firstID+"\"\n",
		"from https://lab.example/login.\n  jwksURL: https://evil.example/?[2Jjwks\n  redirectURIs: https://lab.example/launch\n  redirectURIs: https://evil.example/launch\n",
		"registration", "approve", "tool/lab", firstID)
	expect(exitUsage, "", "give one object and the ID", "registration", "approve", "platform/university")
	expect(exitOK, "ltiplatform/university approved\n", "from https://lms.example", "registration", "approve", "platform", "university", firstID, "--apply")
	p := &v1alpha1.LTIPlatform{}
	if err := api.Get(t.Context(), types.NamespacedName{Namespace: registrar, Name: "university"}, p); err != nil || p.Spec.Registration.Dynamic.Approved != firstID {
		t.Errorf("approved is %+v: %v", p.Spec.Registration, err)
	}
	if stdout, _, _ := lti("registration", "list", "platform/university"); !strings.Contains(stdout, "Approved   2026-03-02T10:00:00Z") {
		t.Error(stdout)
	}
	stdout, stderr, status = lti("details", "platform/university", "--for", "moodle")
	for _, want := range []string{"status.registration.known[].issuer: https://lms.example", "status.registration.known[].deploymentID: 7", "Everything is filled in."} {
		if status != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("exit status %d, %q is missing in %s%s", status, want, stdout, stderr)
		}
	}
}

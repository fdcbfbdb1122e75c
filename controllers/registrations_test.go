// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/controllers"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// canaryToken stands for the secret of a registration.
const canaryToken = "canary-client-configuration-token-5d0c"

func dynamicPlatform(ns, name string) *v1alpha1.LTIPlatform {
	p := newPlatform(ns, name)
	p.Spec.Registration = &v1alpha1.PlatformRegistration{}
	return p
}

func dynamicTool(ns, name string) *v1alpha1.LTITool {
	x := newTool(ns, name)
	x.Spec.Registration = &v1alpha1.ToolRegistration{Dynamic: v1alpha1.ToolDynamicRegistration{RegistrationURL: "https://lab.example/register?tenant=1"}}
	return x
}

// registration is what a platform has registered; n makes its client ID, and with that its ID, and its age.
func registration(name string, n int) routing.Registration {
	r := routing.Registration{
		Kind: routing.KindPlatform, Name: name, RegisteredAt: time.Date(2026, 3, 1, n, 0, 0, 0, time.UTC),
		Platform: &routing.RegisteredPlatform{
			PlatformLTI13: routing.PlatformLTI13{
				Issuer: "https://lms.example", ClientID: fmt.Sprint(n), AuthenticationURL: "https://lms.example/auth",
				AccessTokenURL: "https://lms.example/token", JWKSURL: "https://lms.example/jwks",
			},
			DeploymentID: "d" + fmt.Sprint(n), Product: "moodle", Version: "4.5",
			ClientConfigurationURL: "https://lms.example/register/1", ClientConfigurationToken: canaryToken,
		},
	}
	r.ID = r.ComputeID()
	return r
}

func registrationOfTool(name string, n int) routing.Registration {
	r := routing.Registration{
		Kind: routing.KindTool, Name: name, RegisteredAt: time.Date(2026, 3, 1, n, 0, 0, 0, time.UTC),
		Tool: &routing.RegisteredTool{
			ToolLTI13: routing.ToolLTI13{LoginInitiationURL: "https://lab.example/login", JWKSURL: "https://lab.example/jwks", RedirectURIs: []string{"https://lab.example/launch"}},
			Name:      "Simulation Lab", Parameters: []routing.Parameter{{Name: "course", Value: "canary-of-the-tool"}},
		},
	}
	r.ID = r.ComputeID()
	return r
}

// change patches an object.
func change[T client.Object](t *testing.T, obj T, how func(T)) {
	t.Helper()
	before, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		t.Fatalf("%T is not an API object", obj)
	}
	how(obj)
	if err := api.Patch(t.Context(), obj, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func platformIn(t *testing.T, ns, name string) routing.Platform {
	t.Helper()
	for _, p := range servedTable(t, ns).Platforms {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("platform %s is not in the table", name)
	return routing.Platform{}
}

func toolIn(t *testing.T, ns, name string) routing.Tool {
	t.Helper()
	for _, x := range servedTable(t, ns).Tools {
		if x.Name == name {
			return x
		}
	}
	t.Fatalf("tool %s is not in the table", name)
	return routing.Tool{}
}

// linkOf checks a Secret with a registration link, and that the handlers know the token by its hash.
func linkOf(t *testing.T, ns, secretName string, served func() *routing.RegistrationLink) (url, token string) {
	t.Helper()
	secret := getSecret(t, ns, secretName)
	token, url = string(secret.Data[v1alpha1.SecretKeyRegistrationToken]), string(secret.Data[v1alpha1.SecretKeyRegistrationURL])
	if raw, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(raw) != 32 {
		t.Errorf("the token is %q: %v", token, err)
	}
	if !strings.HasSuffix(url, "token="+token) || secret.Type != v1alpha1.SecretTypeRegistrationLink {
		t.Errorf("link %s in a Secret of type %s", url, secret.Type)
	}
	sum := sha256.Sum256([]byte(token))
	eventually(t, func() string {
		link := served()
		if link == nil || string(link.TokenSHA256) != string(sum[:]) || link.ExpiresAt.Format(time.RFC3339) != string(secret.Data[v1alpha1.SecretKeyExpiresAt]) {
			return fmt.Sprintf("the table has %+v", link)
		}
		return ""
	})
	return url, token
}

func TestRegistrationLinks(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	handlers, clk := &fakeHandlers{}, &shiftedClock{}
	stop := startOperatorAt(t, ns, handlers, nil, clk)
	platform, tool, without := dynamicPlatform(ns, "moodle"), dynamicTool(ns, "lab"), newPlatform(ns, "by-hand")
	create(t, platform, tool, without)
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAcademyNotFound)
	academy := newAcademy(ns)
	create(t, academy)
	for _, o := range []interface {
		client.Object
		v1alpha1.Object
	}{platform, tool} {
		waitFor(t, o, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		waitFor(t, o, v1alpha1.ConditionRegistered, metav1.ConditionFalse, v1alpha1.ReasonAwaitingRegistration)
		contains(t, message(o, v1alpha1.ConditionRegistered), "kubectl lti registration link", o.GetName(), "-n "+ns)
	}
	ofPlatform := func() *routing.RegistrationLink { return platformIn(t, ns, "moodle").Registration }
	ofTool := func() *routing.RegistrationLink { return toolIn(t, ns, "lab").Registration }
	url, token := linkOf(t, ns, "moodle-platform-registration", ofPlatform)
	if url != academy.Spec.URL+"/platforms/moodle/register?token="+token {
		t.Errorf("the link is %s", url)
	}
	toolURL, toolToken := linkOf(t, ns, "lab-tool-registration", ofTool)
	if !strings.HasPrefix(toolURL, "https://lab.example/register?tenant=1&openid_configuration=https%3A%2F%2F"+ns+".example%2Ftools%2Flab%2F.well-known%2Fopenid-configuration&registration_token=") {
		t.Errorf("the tool's link is %s", toolURL)
	}
	if s := platform.Status.Registration; s == nil || s.LinkSecretName != "moodle-platform-registration" || time.Until(s.LinkExpiresAt.Time).Round(time.Hour) != 168*time.Hour {
		t.Errorf("status: %+v", s)
	}
	if waitFor(t, without, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady); without.Status.Registration != nil || platformIn(t, ns, "by-hand").Registration != nil {
		t.Error("a link nobody asked for")
	}

	same := func(what string) {
		t.Helper()
		if _, got := linkOf(t, ns, "moodle-platform-registration", ofPlatform); got != token {
			t.Fatalf("%s: another token", what)
		}
	}
	look(t, platform, tool)
	secret := getSecret(t, ns, "moodle-platform-registration")
	change(t, secret, func(s *corev1.Secret) { s.Labels = nil })
	eventually(t, func() string {
		if got := getSecret(t, ns, secret.Name); got.Labels[v1alpha1.LabelUse] != "true" || got.Labels[v1alpha1.LabelOwnerName] != "moodle" {
			return fmt.Sprint("labels are ", got.Labels)
		}
		return ""
	})
	same("labels stripped")
	stop()
	startOperatorAt(t, ns, handlers, nil, clk)
	look(t, platform)
	same("another operator")
	if err := api.Delete(t.Context(), platform); err != nil {
		t.Fatal(err)
	}
	platform = dynamicPlatform(ns, "moodle")
	platform.Spec.Registration.Dynamic.LinkValidHours = new(int32(2))
	create(t, platform)
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	same("the object made again")

	// The address of the tool's link follows the spec; its token stays.
	change(t, tool, func(x *v1alpha1.LTITool) { x.Spec.Registration.Dynamic.RegistrationURL = "https://lab.example/new" })
	eventually(t, func() string {
		if got := string(getSecret(t, ns, "lab-tool-registration").Data["registrationURL"]); !strings.HasPrefix(got, "https://lab.example/new?openid_configuration=") ||
			!strings.HasSuffix(got, toolToken) {
			return got
		}
		return ""
	})

	// A link that has ended stays so, and says how to get another one.
	clk.shift(169 * time.Hour)
	look(t, platform)
	eventually(t, func() string {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(platform), platform); err != nil {
			return err.Error()
		}
		if text := message(platform, v1alpha1.ConditionRegistered); !strings.Contains(text, "ended") || !strings.Contains(text, v1alpha1.AnnotationRegistrationLink) {
			return text
		}
		return ""
	})
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	same("the link has ended")

	// Asked for, it is made: once for each value.
	annotateObject(t, platform, v1alpha1.AnnotationRegistrationLink, "once")
	eventually(t, func() string {
		if got := getSecret(t, ns, secret.Name); string(got.Data["request"]) != "once" {
			return "not yet"
		}
		return ""
	})
	_, renewed := linkOf(t, ns, secret.Name, ofPlatform)
	if renewed == token {
		t.Error("no new token")
	}
	token = renewed
	end, err := time.Parse(time.RFC3339, string(getSecret(t, ns, secret.Name).Data["expiresAt"]))
	if err != nil || end.Sub(clk.Now()).Round(time.Minute) != 2*time.Hour {
		t.Errorf("the new link ends at %s: %v", end, err)
	}
	eventually(t, func() string {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(platform), platform); err != nil {
			return err.Error()
		}
		if text := message(platform, v1alpha1.ConditionRegistered); strings.Contains(text, "ended") || !platform.Status.Registration.LinkExpiresAt.Equal(new(metav1.NewTime(end))) {
			return text
		}
		return ""
	})
	look(t, platform)
	change(t, platform, func(p *v1alpha1.LTIPlatform) { p.Spec.Title = "Another title" })
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	same("asked for once")

	// Without dynamic registration there is no link, but the Secret stays for its return.
	change(t, platform, func(p *v1alpha1.LTIPlatform) { p.Spec.Registration = nil })
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	if platformIn(t, ns, "moodle").Registration != nil || platform.Status.Registration != nil {
		t.Error("the link is served although nobody asks for it")
	}
	change(t, platform, func(p *v1alpha1.LTIPlatform) { p.Spec.Registration = &v1alpha1.PlatformRegistration{} })
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	same("dynamic registration is back")
}

// watched is a client that tells which objects were written as a whole.
type watched struct {
	client.Client
	written func(client.Object)
}

func (w *watched) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	return w.tell(obj, w.Client.Create(ctx, obj, opts...))
}

func (w *watched) Update(ctx context.Context, obj client.Object, opts ...client.UpdateOption) error {
	return w.tell(obj, w.Client.Update(ctx, obj, opts...))
}

func (w *watched) tell(obj client.Object, err error) error {
	if err == nil {
		w.written(obj)
	}
	return err
}

// Of two operators at once one makes the link, and one makes the next one that is asked for.
func TestTwoOperatorsMakeOneLink(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	const name = "moodle-platform-registration"
	var mu sync.Mutex
	tokens := map[string]bool{}
	written := func() int { mu.Lock(); defer mu.Unlock(); return len(tokens) }
	wrap := func(inner client.Client) client.Client {
		return &watched{inner, func(obj client.Object) {
			if s, ok := obj.(*corev1.Secret); ok && s.Name == name {
				mu.Lock()
				defer mu.Unlock()
				tokens[string(s.Data[v1alpha1.SecretKeyRegistrationToken])] = true
			}
		}}
	}
	handlers := &fakeHandlers{}
	startOperator(t, ns, handlers, wrap)
	startOperator(t, ns, handlers, wrap)
	platform := dynamicPlatform(ns, "moodle")
	create(t, newAcademy(ns), platform)
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	for n := 1; n <= 4; n++ {
		eventually(t, func() string {
			if got := string(getSecret(t, ns, name).Data["request"]); n > 1 && got != fmt.Sprint(n) {
				return "the request is " + got
			}
			if written() < n {
				return "whoever has written the link does not know it yet"
			}
			return ""
		})
		time.Sleep(200 * time.Millisecond)
		if got := written(); got != n {
			t.Errorf("%d tokens were written for %d requests", got, n)
		}
		annotateObject(t, platform, v1alpha1.AnnotationRegistrationLink, fmt.Sprint(n+1))
	}
}

func TestARegistrationIsUsedOnceItIsApproved(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	handlers := &fakeHandlers{}
	var logged strings.Builder
	var mu sync.Mutex
	start := func() (stop func()) {
		mgr := newManager(t, ns, func(next http.RoundTripper) http.RoundTripper { return next }, func(o *ctrl.Options) {
			o.Logger = funcr.New(func(prefix, args string) {
				mu.Lock()
				defer mu.Unlock()
				logged.WriteString(prefix + args + "\n")
			}, funcr.Options{Verbosity: 5})
			o.BaseContext = func() context.Context { return logr.NewContext(context.Background(), o.Logger) }
		})
		err := controllers.Setup(mgr, controllers.Options{Handlers: handlers, Random: rand.Reader, Clock: clock.RealClock{}, ObserveEvery: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		stop, _ = runManager(t, mgr)
		return stop
	}
	stop := start()
	academy, platform, tool := newAcademy(ns), newPlatform(ns, "moodle"), newTool(ns, "lab")
	create(t, academy, platform, tool)
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	time.Sleep(200 * time.Millisecond)
	handlers.set(func(h *fakeHandlers) {
		if h.asked > 0 {
			t.Error("handlers are asked although nothing may register")
		}
	})
	change(t, platform, func(p *v1alpha1.LTIPlatform) {
		p.Spec.Registration = &v1alpha1.PlatformRegistration{}
		p.Spec.Deployments = &v1alpha1.PlatformDeployments{Policy: v1alpha1.DeploymentsListed}
	})
	change(t, tool, func(x *v1alpha1.LTITool) { x.Spec.Registration = dynamicTool(ns, "lab").Spec.Registration })
	waitFor(t, platform, v1alpha1.ConditionRegistered, metav1.ConditionFalse, v1alpha1.ReasonAwaitingRegistration)

	first, foreign := registration("moodle", 1), registration("nobody", 2)
	handlers.set(func(h *fakeHandlers) {
		h.registrations = []routing.Registration{first, foreign, registrationOfTool("lab", 3), registrationOfTool("moodle", 4)}
	})
	waitFor(t, platform, v1alpha1.ConditionRegistered, metav1.ConditionFalse, v1alpha1.ReasonRegistrationPending)
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	contains(t, message(platform, v1alpha1.ConditionRegistered), `spec.registration.dynamic.approved: "`+first.ID+`"`,
		"kubectl patch ltiplatform moodle -n "+ns+` --type merge -p '{"spec":{"registration":{"dynamic":{"approved":"`+first.ID+`"}}}}'`)
	want := v1alpha1.KnownPlatformRegistration{
		KnownRegistration: v1alpha1.KnownRegistration{ID: first.ID, RegisteredAt: metav1.NewTime(first.RegisteredAt.Local()), State: v1alpha1.RegistrationPending},
		Issuer:            "https://lms.example", ClientID: "1", AuthenticationURL: "https://lms.example/auth", AccessTokenURL: "https://lms.example/token",
		JWKSURL: "https://lms.example/jwks", DeploymentID: "d1", Product: "moodle 4.5",
	}
	if got := platform.Status.Registration.Known; len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("known: %+v", got)
	}
	if p := platformIn(t, ns, "moodle"); p.LTI13 != nil || len(p.Deployments) != 0 || p.AnyDeployment {
		t.Errorf("served before anybody approved: %+v", p)
	}
	waitFor(t, tool, v1alpha1.ConditionRegistered, metav1.ConditionFalse, v1alpha1.ReasonRegistrationPending)
	if got := tool.Status.Registration.Known; len(got) != 1 || got[0].Name != "Simulation Lab" || got[0].LoginInitiationURL != "https://lab.example/login" {
		t.Errorf("known: %+v", got)
	}

	approve := func() {
		t.Helper()
		change(t, platform, func(p *v1alpha1.LTIPlatform) { p.Spec.Registration.Dynamic.Approved = first.ID })
	}
	approve()
	change(t, tool, func(x *v1alpha1.LTITool) { x.Spec.Registration.Dynamic.Approved = registrationOfTool("lab", 3).ID })
	served := func(when string) {
		t.Helper()
		waitFor(t, platform, v1alpha1.ConditionRegistered, metav1.ConditionTrue, v1alpha1.ReasonRegistered)
		waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		p := platformIn(t, ns, "moodle")
		if p.LTI13 == nil || *p.LTI13 != first.Platform.PlatformLTI13 || len(p.Deployments) != 1 || p.Deployments[0] != (routing.Deployment{ID: "d1", Active: true}) {
			t.Errorf("%s: %+v", when, p)
		}
	}
	served("approved")
	waitFor(t, tool, v1alpha1.ConditionRegistered, metav1.ConditionTrue, v1alpha1.ReasonRegistered)
	if x := toolIn(t, ns, "lab"); x.LTI13 == nil || x.LTI13.LoginInitiationURL != "https://lab.example/login" || x.Registration == nil {
		t.Errorf("served: %+v", x)
	}

	// The handlers forget it, and others push in: the Secret counts.
	handlers.set(func(h *fakeHandlers) { h.registrations = nil })
	stop()
	stop = start()
	look(t, platform)
	served("the handlers have forgotten it")
	handlers.set(func(h *fakeHandlers) {
		for n := 5; n < 12; n++ {
			h.registrations = append(h.registrations, registration("moodle", n))
		}
		impostor := registration("moodle", 1)
		impostor.Platform.Issuer = "https://evil.example"
		h.registrations = append(h.registrations, impostor)
	})
	eventually(t, func() string {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(platform), platform); err != nil {
			return err.Error()
		}
		var got []string
		for _, k := range platform.Status.Registration.Known {
			got = append(got, k.ClientID+" "+string(k.State))
		}
		if strings.Join(got, ", ") != "11 Pending, 10 Pending, 9 Pending, 1 Approved" {
			return strings.Join(got, ", ")
		}
		return ""
	})
	served("others have registered")
	secret := getSecret(t, ns, "moodle-platform-registered")
	var kept routing.Registration
	if err := json.Unmarshal(secret.Data[first.ID+".json"], &kept); err != nil || len(secret.Data) != 4 || !reflect.DeepEqual(kept, first) || secret.Type != v1alpha1.SecretTypeRegistrations {
		t.Errorf("kept: %+v of %d, type %s: %v", kept, len(secret.Data), secret.Type, err)
	}
	time.Sleep(300 * time.Millisecond) // several looks
	if got := getSecret(t, ns, secret.Name); got.ResourceVersion != secret.ResourceVersion {
		t.Error("the Secret is written again although nothing is new")
	}

	// Labels stripped, and the object made again, without anything that the handlers know.
	handlers.set(func(h *fakeHandlers) { h.registrations = nil })
	change(t, secret, func(s *corev1.Secret) { s.Labels = nil })
	eventually(t, func() string {
		if getSecret(t, ns, secret.Name).Labels[v1alpha1.LabelUse] != v1alpha1.LabelUseValue {
			return "the labels are not back"
		}
		return ""
	})
	served("the labels were stripped")
	if err := api.Delete(t.Context(), platform); err != nil {
		t.Fatal(err)
	}
	platform = dynamicPlatform(ns, "moodle")
	platform.Spec.Deployments = &v1alpha1.PlatformDeployments{Policy: v1alpha1.DeploymentsListed}
	platform.Spec.Registration.Dynamic.Approved = first.ID
	create(t, platform)
	served("the object was made again")

	// Moving on to values of one's own changes nothing that is served.
	change(t, platform, func(p *v1alpha1.LTIPlatform) {
		p.Spec.LTI13, p.Spec.Registration = p.EffectiveLTI13(), nil
		p.Spec.Deployments.List = []v1alpha1.PlatformDeployment{{ID: "d1"}}
	})
	served("moved on")
	stop()

	// No secret is where people look.
	_, token := linkOf(t, ns, "lab-tool-registration", func() *routing.RegistrationLink { return toolIn(t, ns, "lab").Registration })
	platformToken := string(getSecret(t, ns, "moodle-platform-registration").Data["token"])
	var events eventsv1.EventList
	if err := api.List(t.Context(), &events, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	var maps corev1.ConfigMapList
	if err := api.List(t.Context(), &maps, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	notes := ""
	for i := range events.Items {
		notes += events.Items[i].Reason + ": " + events.Items[i].Note + "\n"
	}
	contains(t, notes, "RegistrationReceived: registered by the link: "+first.ID)
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(logged.String(), "published a routing table") {
		t.Error("the log of the operator is not looked at")
	}
	for where, text := range map[string]string{
		"events": fmt.Sprintf("%+v", events.Items), "status of the platform": fmt.Sprintf("%+v", platform), "status of the tool": fmt.Sprintf("%+v", tool.Status),
		"logs": logged.String(), "manifest and shards": fmt.Sprintf("%+v", servedTable(t, ns).Platforms),
	} {
		for _, canary := range []string{canaryToken, token, platformToken, "canary-of-the-tool"} {
			if canary == "" || strings.Contains(text, canary) {
				t.Errorf("%q is in %s", canary, where)
			}
		}
	}
}

func TestRegistrationsThatAreNotUsed(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	handlers := &fakeHandlers{}
	startOperator(t, ns, handlers, nil)
	older, taken, typo, unsafe := newPlatform(ns, "older"), dynamicPlatform(ns, "taken"), dynamicPlatform(ns, "typo"), dynamicPlatform(ns, "unsafe")
	conflict := dynamicPlatform(ns, "conflict")
	jwks := v1alpha1.PeerURL("https://lms.example/jwks")
	older.Spec.LTI13 = &v1alpha1.PlatformLTI13{Issuer: "https://lms.example", ClientID: "1", AuthenticationURL: "https://lms.example/auth", JWKSURL: &jwks}
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "conflict-platform-registered"}, StringData: map[string]string{"x": "y"}}
	create(t, newAcademy(ns), older, foreign)
	time.Sleep(1100 * time.Millisecond) // ages are whole seconds
	create(t, taken, typo, unsafe, conflict)
	script := registration("unsafe", 3)
	script.Platform.AuthenticationURL = "javascript:canary()"
	script.ID = script.ComputeID()
	never := fmt.Sprintf("%020x", 9)
	handlers.set(func(h *fakeHandlers) {
		h.registrations = []routing.Registration{registration("taken", 1), registration("typo", 2), script, registration("conflict", 4)}
	})
	for p, id := range map[*v1alpha1.LTIPlatform]string{taken: registration("taken", 1).ID, typo: never, unsafe: script.ID} {
		waitFor(t, p, v1alpha1.ConditionRegistered, metav1.ConditionFalse, v1alpha1.ReasonRegistrationPending)
		change(t, p, func(p *v1alpha1.LTIPlatform) { p.Spec.Registration.Dynamic.Approved = id })
	}
	for _, test := range []struct {
		p      *v1alpha1.LTIPlatform
		reason string
		says   []string
	}{
		{taken, v1alpha1.ReasonDuplicateRegistration, []string{"spec.registration.dynamic.approved", "LTIPlatform older"}},
		{typo, v1alpha1.ReasonRegistrationNotFound, []string{"there is no registration " + never, "known are " + registration("typo", 2).ID}},
		{unsafe, v1alpha1.ReasonRegistrationInvalid, []string{"authenticationURL", "https"}},
	} {
		waitFor(t, test.p, v1alpha1.ConditionReady, metav1.ConditionFalse, test.reason)
		waitFor(t, test.p, v1alpha1.ConditionRegistered, metav1.ConditionFalse, test.reason)
		contains(t, message(test.p, v1alpha1.ConditionRegistered), test.says...)
		if platformIn(t, ns, test.p.Name).LTI13 != nil {
			t.Errorf("%s is served", test.p.Name)
		}
		if strings.Contains(message(test.p, v1alpha1.ConditionReady), "canary") {
			t.Error("a condition quotes what a stranger wrote")
		}
	}
	if p := platformIn(t, ns, "older"); p.LTI13 == nil {
		t.Error("the older registration is gone")
	}
	waitFor(t, conflict, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretConflict)
	if got := getSecret(t, ns, foreign.Name); got.ResourceVersion != foreign.ResourceVersion {
		t.Error("the foreign Secret was written")
	}
}

func TestRegistrationSecretsGoWithTheirObjectIfToldSo(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	handlers := &fakeHandlers{registrations: []routing.Registration{registration("moodle", 1), registrationOfTool("lab", 2)}}
	startOperator(t, ns, handlers, nil)
	platform, tool := dynamicPlatform(ns, "moodle"), dynamicTool(ns, "lab")
	platform.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	create(t, newAcademy(ns), platform, tool)
	for name, owner := range map[string]types.UID{
		"moodle-platform-registration": platform.UID, "moodle-platform-registered": platform.UID, "lab-tool-registration": "", "lab-tool-registered": "",
	} {
		eventually(t, func() string {
			secret := &corev1.Secret{}
			if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: name}, secret); err != nil {
				return err.Error()
			}
			if owners := secret.OwnerReferences; (owner == "") != (len(owners) == 0) || owner != "" && owners[0].UID != owner {
				return fmt.Sprint(name, " is owned by ", owners)
			}
			return ""
		})
	}
}

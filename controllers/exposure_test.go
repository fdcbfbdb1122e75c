// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/controllers"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// exposing starts an operator for an academy that is there already or not, and returns what stops it.
func exposing(t *testing.T, namespace string, through func(http.RoundTripper) http.RoundTripper) (stop func()) {
	t.Helper()
	mgr := newManager(t, namespace, through, nil)
	o := options(&fakeHandlers{})
	o.Workload = &controllers.Workload{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), RecheckEvery: 200 * time.Millisecond,
		Image: "registry.example/launch-handler:test", OperatorNamespace: "lti-operator-system",
	}
	if err := controllers.Setup(mgr, o); err != nil {
		t.Fatal(err)
	}
	stop, _ = runManager(t, mgr)
	return stop
}

func onIngress() *v1alpha1.AcademyExposure {
	return &v1alpha1.AcademyExposure{Ingress: &v1alpha1.AcademyIngress{
		ClassName: "nginx", Annotations: map[string]v1alpha1.IngressAnnotation{"cert-manager.io/cluster-issuer": "letsencrypt"},
	}}
}

func onRoute() *v1alpha1.AcademyExposure {
	return &v1alpha1.AcademyExposure{HTTPRoute: &v1alpha1.AcademyHTTPRoute{
		ParentRefs: []v1alpha1.GatewayReference{{Name: "public", Namespace: "gateways", SectionName: "https"}},
	}}
}

// expose changes what an academy asks for.
func expose(t *testing.T, academy *v1alpha1.LTIAcademy, exposure *v1alpha1.AcademyExposure) {
	t.Helper()
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(academy), academy); err != nil {
		t.Fatal(err)
	}
	before := academy.DeepCopy()
	academy.Spec.Exposure = exposure
	if err := api.Patch(t.Context(), academy, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func leadingTo(academy *v1alpha1.LTIAcademy) types.NamespacedName {
	return types.NamespacedName{Namespace: academy.Namespace, Name: workload.HandlerName(academy.Name)}
}

// findIngress returns nil when there is none.
func findIngress(t *testing.T, name types.NamespacedName) *networkingv1.Ingress {
	t.Helper()
	i := &networkingv1.Ingress{}
	if err := api.Get(t.Context(), name, i); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		t.Fatal(err)
	}
	return i
}

// ingressComplaint says what is wrong with the Ingress of onIngress.
func ingressComplaint(i *networkingv1.Ingress, academy *v1alpha1.LTIAcademy) string {
	switch {
	case i == nil:
		return "there is no Ingress"
	case !metav1.IsControlledBy(i, academy):
		return "it is not the academy's"
	case i.Labels[v1alpha1.LabelAcademy] != academy.Name:
		return "no label"
	case i.Annotations["cert-manager.io/cluster-issuer"] != "letsencrypt":
		return fmt.Sprint("annotations ", i.Annotations)
	case i.Spec.IngressClassName == nil || *i.Spec.IngressClassName != "nginx":
		return "another class"
	case len(i.Spec.Rules) != 1 || "https://"+i.Spec.Rules[0].Host != academy.Spec.URL:
		return fmt.Sprint("rules ", i.Spec.Rules)
	case i.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Port.Name != "http":
		return "another port"
	}
	return ""
}

func TestAnIngressIsMadeMendedAndTakenAway(t *testing.T) {
	ns := newNamespace(t)
	log := &requestLog{}
	exposing(t, ns, log.through)
	academy := newAcademy(ns)
	create(t, academy)
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	name := leadingTo(academy)
	if findIngress(t, name) != nil || meta.FindStatusCondition(academy.Status.Conditions, v1alpha1.ConditionExposed) != nil {
		t.Fatal("exposed without having been asked for")
	}
	expose(t, academy, onIngress())
	waitFor(t, academy, v1alpha1.ConditionExposed, metav1.ConditionTrue, v1alpha1.ReasonExposed)
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	if complaint := ingressComplaint(findIngress(t, name), academy); complaint != "" {
		t.Fatal(complaint)
	}
	for what, change := range map[string]func(*networkingv1.Ingress){
		"led elsewhere":      func(i *networkingv1.Ingress) { i.Spec.Rules[0].Host = "elsewhere.example" },
		"another port":       func(i *networkingv1.Ingress) { i.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Port.Name = "ops" },
		"another class":      func(i *networkingv1.Ingress) { i.Spec.IngressClassName = new("internal") },
		"another annotation": func(i *networkingv1.Ingress) { i.Annotations["cert-manager.io/cluster-issuer"] = "staging" },
		"no annotations":     func(i *networkingv1.Ingress) { i.Annotations = nil },
		"without its labels": func(i *networkingv1.Ingress) { i.Labels = nil },
		"nobody's":           func(i *networkingv1.Ingress) { i.OwnerReferences = nil },
	} {
		t.Run(what, func(t *testing.T) {
			before := findIngress(t, name)
			changed := before.DeepCopy()
			change(changed)
			if err := api.Patch(t.Context(), changed, client.MergeFrom(before)); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() string { return ingressComplaint(findIngress(t, name), academy) })
		})
	}
	t.Run("deleted", func(t *testing.T) {
		if err := api.Delete(t.Context(), findIngress(t, name)); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string { return ingressComplaint(findIngress(t, name), academy) })
	})
	t.Run("a host and an annotation more, and one less", func(t *testing.T) {
		changed := onIngress()
		changed.Ingress.Annotations = map[string]v1alpha1.IngressAnnotation{"example.org/a": "b"}
		expose(t, academy, changed)
		before := academy.DeepCopy()
		academy.Spec.Aliases = []string{"https://brand.example"}
		if err := api.Patch(t.Context(), academy, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string {
			i := findIngress(t, name)
			if len(i.Spec.Rules) != 2 || i.Spec.Rules[1].Host != "brand.example" || len(i.Annotations) != 1 || i.Annotations["example.org/a"] != "b" {
				return fmt.Sprint(i.Annotations, i.Spec.Rules)
			}
			return ""
		})
	})
	t.Run("as it should be", func(t *testing.T) {
		// What others note on it and what becomes of it in status is theirs.
		i := findIngress(t, name)
		before := i.DeepCopy()
		i.Annotations["field.cattle.io/publicEndpoints"] = "[]"
		if err := api.Patch(t.Context(), i, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		i.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.7"}}
		if err := api.Status().Update(t.Context(), i); err != nil {
			t.Fatal(err)
		}
		last := -1
		eventually(t, func() string {
			time.Sleep(500 * time.Millisecond)
			if n := log.count("", "ingresses/"+name.Name); n != last {
				last = n
				return "it asks on and on\n" + log.String()
			}
			return ""
		})
		if now := findIngress(t, name); now.Annotations["field.cattle.io/publicEndpoints"] != "[]" || now.ResourceVersion != i.ResourceVersion {
			t.Errorf("it was written again: %v", now)
		}
	})
	t.Run("taken away", func(t *testing.T) {
		expose(t, academy, nil)
		eventually(t, func() string {
			if findIngress(t, name) != nil {
				return "the Ingress is there"
			}
			return ""
		})
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		if c := meta.FindStatusCondition(academy.Status.Conditions, v1alpha1.ConditionExposed); c != nil {
			t.Error(c)
		}
	})
}

// byHand is an Ingress that somebody else has made.
func byHand(name types.NamespacedName, labels map[string]string) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Labels: labels, Annotations: map[string]string{"example.org/a": "b"}},
		Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
			Name: "somebody-elses", Port: networkingv1.ServiceBackendPort{Number: 80},
		}}},
	}
}

func TestAnIngressOfSomebodyElseIsLeftAlone(t *testing.T) {
	for what, labels := range map[string]map[string]string{
		"without labels":              nil,
		"with another academy's":      {v1alpha1.LabelAcademy: "another"},
		"with labels of other things": {"app.kubernetes.io/name": "launch-handler", "app.kubernetes.io/managed-by": "lti-operator"},
	} {
		t.Run(what, func(t *testing.T) {
			ns := newNamespace(t)
			academy := newAcademy(ns)
			academy.Spec.Exposure = onIngress()
			name := leadingTo(academy)
			theirs := byHand(name, labels)
			create(t, theirs)
			exposing(t, ns, (&requestLog{}).through)
			create(t, academy)
			waitFor(t, academy, v1alpha1.ConditionExposed, metav1.ConditionFalse, v1alpha1.ReasonExposureConflict)
			waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonExposureConflict)
			contains(t, message(academy, v1alpha1.ConditionReady), "Ingress "+name.Name+" exists", "kubectl label --overwrite ingress "+name.Name+" -n "+ns+" lti-operator.io/academy=default")
			if !meta.IsStatusConditionTrue(academy.Status.Conditions, v1alpha1.ConditionProgrammed) {
				t.Error("what is served does not depend on what leads to it")
			}
			if now := findIngress(t, name); now == nil || now.ResourceVersion != theirs.ResourceVersion {
				t.Fatalf("it was touched: %v", now)
			}
			expose(t, academy, nil)
			waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
			if now := findIngress(t, name); now == nil || now.ResourceVersion != theirs.ResourceVersion {
				t.Fatalf("it was touched: %v", now)
			}
			// Its owner clears the way, and nobody needs to tell the operator.
			expose(t, academy, onIngress())
			waitFor(t, academy, v1alpha1.ConditionExposed, metav1.ConditionFalse, v1alpha1.ReasonExposureConflict)
			if err := api.Delete(t.Context(), theirs); err != nil {
				t.Fatal(err)
			}
			waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
			if complaint := ingressComplaint(findIngress(t, name), academy); complaint != "" {
				t.Error(complaint)
			}
		})
	}
	t.Run("of another controller, with our label", func(t *testing.T) {
		ns := newNamespace(t)
		academy := newAcademy(ns)
		academy.Spec.Exposure = onIngress()
		theirs := byHand(leadingTo(academy), workload.Labels(academy.Name))
		theirs.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.org/v1", Kind: "Site", Name: "default", UID: "a", Controller: new(true)}}
		create(t, theirs)
		exposing(t, ns, (&requestLog{}).through)
		create(t, academy)
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonExposureConflict)
		contains(t, message(academy, v1alpha1.ConditionReady), "belongs to Site default")
		if now := findIngress(t, leadingTo(academy)); now.ResourceVersion != theirs.ResourceVersion {
			t.Errorf("it was touched: %v", now)
		}
	})
	t.Run("with our label, and nothing asked for", func(t *testing.T) {
		ns := newNamespace(t)
		academy := newAcademy(ns)
		theirs := byHand(leadingTo(academy), workload.Labels(academy.Name))
		create(t, theirs)
		exposing(t, ns, (&requestLog{}).through)
		create(t, academy)
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		if now := findIngress(t, leadingTo(academy)); now == nil || now.ResourceVersion != theirs.ResourceVersion {
			t.Errorf("it was touched: %v", now)
		}
	})
	t.Run("until it is handed over", func(t *testing.T) {
		ns := newNamespace(t)
		academy := newAcademy(ns)
		academy.Spec.Exposure = onIngress()
		theirs := byHand(leadingTo(academy), nil)
		create(t, theirs)
		exposing(t, ns, (&requestLog{}).through)
		create(t, academy)
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonExposureConflict)
		before := theirs.DeepCopy()
		theirs.Labels = map[string]string{v1alpha1.LabelAcademy: academy.Name}
		if err := api.Patch(t.Context(), theirs, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		now := findIngress(t, leadingTo(academy))
		if complaint := ingressComplaint(now, academy); complaint != "" || now.UID != theirs.UID || now.Annotations["example.org/a"] != "b" {
			t.Error(complaint, now)
		}
	})
}

func TestAnIngressThatIsRefusedIsReported(t *testing.T) {
	ns := newNamespace(t)
	exposing(t, ns, (&requestLog{}).through)
	academy := newAcademy(ns)
	academy.Spec.Exposure = onIngress()
	// Longer than a host name can be.
	academy.Spec.Aliases = []string{"https://" + strings.Repeat("a.", 127) + "example"}
	create(t, academy)
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonExposureRefused)
	contains(t, message(academy, v1alpha1.ConditionExposed), "the API server does not take Ingress default-launch-handler", "253")
	before := academy.DeepCopy()
	academy.Spec.Aliases = nil
	if err := api.Patch(t.Context(), academy, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// A webhook that cannot be called is reported: an API server that is away for a while is not, but Ready waits for it.
func TestAnIngressThatCannotBeMadeYet(t *testing.T) {
	var answer atomic.Pointer[metav1.Status]
	answer.Store(&metav1.Status{Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable, Message: "too early"})
	through := func(next http.RoundTripper) http.RoundTripper {
		return transport(func(r *http.Request) (*http.Response, error) {
			status := answer.Load()
			if status == nil || r.Method != http.MethodPatch || !strings.Contains(r.URL.Path, "/ingresses/") {
				return next.RoundTrip(r)
			}
			return reply(*status), nil
		})
	}
	ns := newNamespace(t)
	exposing(t, ns, through)
	academy := newAcademy(ns)
	academy.Spec.Exposure = onIngress()
	create(t, academy)
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonPending)
	contains(t, message(academy, v1alpha1.ConditionExposed), "could not be made yet", "too early")
	answer.Store(&metav1.Status{Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError, Message: `failed calling webhook "validate.nginx.ingress.kubernetes.io"`})
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonExposureRefused)
	contains(t, message(academy, v1alpha1.ConditionExposed), "failed calling webhook")
	answer.Store(nil)
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	// What stands does not fall with the API server.
	answer.Store(&metav1.Status{Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable, Message: "away"})
	if err := api.Delete(t.Context(), findIngress(t, leadingTo(academy))); err != nil {
		t.Fatal(err)
	}
	activity := newActivity(ns, "height")
	create(t, activity)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	waitFor(t, academy, v1alpha1.ConditionExposed, metav1.ConditionTrue, v1alpha1.ReasonExposed)
	answer.Store(nil)
	eventually(t, func() string { return ingressComplaint(findIngress(t, leadingTo(academy)), academy) })
}

func reply(status metav1.Status) *http.Response {
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	status.Status = metav1.StatusFailure
	text, _ := json.Marshal(status)
	return &http.Response{
		StatusCode: int(status.Code), Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(text)),
	}
}

// installGatewayAPI makes the API server know HTTPRoutes, until the test ends or the returned function is called. The
// definition is that of the module that the charts are checked with.
func installGatewayAPI(t *testing.T) (uninstall func()) {
	t.Helper()
	download := exec.Command("go", "mod", "download", "-json", "sigs.k8s.io/gateway-api")
	download.Dir, download.Env, download.Stderr = "../hack/tools/charts", append(os.Environ(), "GOWORK=off"), os.Stderr
	text, err := download.Output()
	if err != nil {
		t.Fatal("find the Gateway API:", err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(text, &module); err != nil {
		t.Fatal(err)
	}
	o := envtest.CRDInstallOptions{
		Paths:              []string{filepath.Join(module.Dir, "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml")},
		ErrorIfPathMissing: true,
	}
	if _, err := envtest.InstallCRDs(restConfig, o); err != nil {
		t.Fatal(err)
	}
	gone := false
	uninstall = func() {
		if gone {
			return
		}
		gone = true
		err := envtest.UninstallCRDs(restConfig, o)
		for deadline := time.Now().Add(time.Minute); err == nil && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if err := api.Get(context.Background(), types.NamespacedName{Namespace: "default", Name: "none"}, newRoute()); noSuchKind(err) {
				return
			}
		}
		t.Error("the Gateway API is still there", err)
	}
	t.Cleanup(uninstall)
	return uninstall
}

// noSuchKind tells that the API server does not know a kind, from that it does not know an object.
func noSuchKind(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) && strings.Contains(err.Error(), "the server could not find the requested resource")
}

func newRoute() *unstructured.Unstructured {
	r := &unstructured.Unstructured{}
	r.SetGroupVersionKind(workload.HTTPRouteKind)
	return r
}

// findRoute returns nil when there is none.
func findRoute(t *testing.T, name types.NamespacedName) *unstructured.Unstructured {
	t.Helper()
	r := newRoute()
	if err := api.Get(t.Context(), name, r); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		t.Fatal(err)
	}
	return r
}

// routeComplaint says what is wrong with the HTTPRoute of onRoute.
func routeComplaint(r *unstructured.Unstructured, academy *v1alpha1.LTIAcademy) string {
	if r == nil {
		return "there is no HTTPRoute"
	}
	var route struct {
		Spec workload.HTTPRouteSpec `json:"spec"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(r.Object, &route); err != nil {
		return err.Error()
	}
	spec := route.Spec
	switch {
	case !metav1.IsControlledBy(r, academy):
		return "it is not the academy's"
	case r.GetLabels()[v1alpha1.LabelAcademy] != academy.Name:
		return "no label"
	case !reflect.DeepEqual(spec.ParentRefs, academy.Spec.Exposure.HTTPRoute.ParentRefs):
		return fmt.Sprint("parents ", spec.ParentRefs)
	case len(spec.Hostnames) != 1 || "https://"+spec.Hostnames[0] != academy.Spec.URL:
		return fmt.Sprint("hostnames ", spec.Hostnames)
	case len(spec.Rules) != 1 || spec.Rules[0].BackendRefs[0].Name != workload.HandlerName(academy.Name) || spec.Rules[0].BackendRefs[0].Port != 80:
		return fmt.Sprint("rules ", spec.Rules)
	}
	return ""
}

// The kind may be absent, arrive and go again while the operator runs. It is never watched.
func TestAnHTTPRouteComesWithTheGatewayAPI(t *testing.T) {
	ns := newNamespace(t)
	log := &requestLog{}
	var watched atomic.Int32
	through := func(next http.RoundTripper) http.RoundTripper {
		return log.through(transport(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/httproutes") {
				watched.Add(1)
			}
			return next.RoundTrip(r)
		}))
	}
	stop := exposing(t, ns, through)
	academy := newAcademy(ns)
	academy.Spec.Exposure = onIngress()
	create(t, academy)
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	name := leadingTo(academy)
	complains := func() string { return routeComplaint(findRoute(t, name), academy) }
	withoutIngress := func() string {
		if findIngress(t, name) != nil {
			return "the Ingress is there"
		}
		return ""
	}

	// Without the kind people go on coming in by the Ingress.
	expose(t, academy, onRoute())
	waitFor(t, academy, v1alpha1.ConditionExposed, metav1.ConditionFalse, v1alpha1.ReasonGatewayAPINotFound)
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonGatewayAPINotFound)
	contains(t, message(academy, v1alpha1.ConditionReady), "no kind HTTPRoute of gateway.networking.k8s.io/v1", "install the Gateway API, or use exposure.ingress")
	if complaint := ingressComplaint(findIngress(t, name), academy); complaint != "" {
		t.Error(complaint)
	}

	uninstall := installGatewayAPI(t)
	waitFor(t, academy, v1alpha1.ConditionExposed, metav1.ConditionTrue, v1alpha1.ReasonExposed)
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	if complaint := complains(); complaint != "" {
		t.Fatal(complaint)
	}
	eventually(t, withoutIngress)

	for what, change := range map[string]func(*unstructured.Unstructured) error{
		"of another host": func(r *unstructured.Unstructured) error {
			return unstructured.SetNestedStringSlice(r.Object, []string{"elsewhere.example"}, "spec", "hostnames")
		},
		"without its labels": func(r *unstructured.Unstructured) error { r.SetLabels(nil); return nil },
		"nobody's":           func(r *unstructured.Unstructured) error { r.SetOwnerReferences(nil); return nil },
	} {
		t.Run(what, func(t *testing.T) {
			before := findRoute(t, name)
			changed := before.DeepCopy()
			if err := change(changed); err != nil {
				t.Fatal(err)
			}
			if err := api.Patch(t.Context(), changed, client.MergeFrom(before)); err != nil {
				t.Fatal(err)
			}
			eventually(t, complains)
		})
	}
	t.Run("deleted", func(t *testing.T) {
		if err := api.Delete(t.Context(), findRoute(t, name)); err != nil {
			t.Fatal(err)
		}
		eventually(t, complains)
	})
	t.Run("of another Gateway", func(t *testing.T) {
		another := onRoute()
		another.HTTPRoute.ParentRefs = []v1alpha1.GatewayReference{{Name: "internal"}}
		expose(t, academy, another)
		eventually(t, complains)
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	})
	t.Run("refused", func(t *testing.T) {
		twice := onRoute()
		twice.HTTPRoute.ParentRefs = slices.Repeat([]v1alpha1.GatewayReference{{Name: "internal"}}, 2)
		expose(t, academy, twice)
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonExposureRefused)
		contains(t, message(academy, v1alpha1.ConditionReady), "sectionName must be unique")
		expose(t, academy, onRoute())
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	})
	t.Run("as it should be", func(t *testing.T) {
		// What a Gateway makes of it is no reason to write it.
		route := findRoute(t, name)
		before := route.DeepCopy()
		parent := map[string]any{"controllerName": "example.org/gateway", "parentRef": map[string]any{"name": "public"}, "conditions": []any{map[string]any{
			"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-05-01T10:00:00Z",
		}}}
		if err := unstructured.SetNestedSlice(route.Object, []any{parent}, "status", "parents"); err != nil {
			t.Fatal(err)
		}
		if err := api.Status().Patch(t.Context(), route, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		writes := log.count("PATCH httproutes/", "")
		looks := log.count("GET httproutes/", "")
		eventually(t, func() string {
			if log.count("GET httproutes/", "") < looks+3 {
				return "it is not looked at"
			}
			return ""
		})
		if n := log.count("PATCH httproutes/", "") - writes; n != 0 {
			t.Errorf("%d writes although nothing changed", n)
		}
	})
	stop()
	expose(t, academy, nil)
	exposing(t, ns, through)
	t.Run("taken away while nobody looked", func(t *testing.T) {
		eventually(t, func() string {
			if findRoute(t, name) != nil {
				return "the HTTPRoute is there"
			}
			return ""
		})
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	})
	t.Run("one of somebody else", func(t *testing.T) {
		theirs := newRoute()
		theirs.SetNamespace(ns)
		theirs.SetName(name.Name)
		theirs.SetLabels(map[string]string{"app.kubernetes.io/managed-by": "lti-operator"})
		theirs.Object["spec"] = map[string]any{"parentRefs": []any{map[string]any{"name": "theirs"}}}
		create(t, theirs)
		expose(t, academy, onRoute())
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonExposureConflict)
		contains(t, message(academy, v1alpha1.ConditionReady), "kubectl label --overwrite httproute "+name.Name)
		if now := findRoute(t, name); now.GetResourceVersion() != theirs.GetResourceVersion() {
			t.Errorf("it was touched: %v", now)
		}
		if err := api.Delete(t.Context(), theirs); err != nil {
			t.Fatal(err)
		}
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	})
	t.Run("and back to an Ingress", func(t *testing.T) {
		expose(t, academy, onIngress())
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		eventually(t, func() string {
			if findRoute(t, name) != nil {
				return "the HTTPRoute is there"
			}
			return ingressComplaint(findIngress(t, name), academy)
		})
	})
	t.Run("and without the kind again", func(t *testing.T) {
		expose(t, academy, onRoute())
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		eventually(t, withoutIngress)
		uninstall()
		waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonGatewayAPINotFound)
	})
	if n := watched.Load(); n != 0 {
		t.Errorf("HTTPRoutes were listed or watched %d times", n)
	}
}

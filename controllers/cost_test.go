// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/controllers"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// requestLog counts what an operator asks of the API server.
type requestLog struct {
	mu sync.Mutex
	n  map[string]int // "<method> <resource>[/<name>[/status]]"
	// delay holds up the answer to a request; nil for none.
	delay func(r *http.Request) time.Duration
}

func (l *requestLog) through(next http.RoundTripper) http.RoundTripper {
	return transport(func(r *http.Request) (*http.Response, error) {
		_, path, _ := strings.Cut(r.URL.Path, "/namespaces/")
		_, path, _ = strings.Cut(path, "/")
		l.mu.Lock()
		if l.n == nil {
			l.n = map[string]int{}
		}
		if !r.URL.Query().Has("watch") {
			l.n[r.Method+" "+path]++
		}
		delay := l.delay
		l.mu.Unlock()
		if delay != nil {
			time.Sleep(delay(r))
		}
		return next.RoundTrip(r)
	})
}

// count returns the requests whose name begins and ends so.
func (l *requestLog) count(prefix, suffix string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, times := range l.n {
		if strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) {
			n += times
		}
	}
	return n
}

func (l *requestLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(l.n)) {
		fmt.Fprintf(&b, "%d× %s\n", l.n[name], name)
	}
	return b.String()
}

// Ten thousand objects that are applied at once are ten thousand writes of status, and not twice that many: a Secret that
// the operator is about to make, or has just made, is nothing to write home about.
func TestStatusIsWrittenOnceForEachNewObject(t *testing.T) {
	for name, delay := range map[string]func(*http.Request) time.Duration{
		"at once": nil,
		// A busy operator makes Secrets later than tables: most of these are pending in one or two tables.
		"while Secrets take their time": func(r *http.Request) time.Duration {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/secrets") {
				return 700 * time.Millisecond
			}
			return 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns := newNamespace(t)
			log := &requestLog{delay: delay}
			mgr := newManager(t, ns, log.through, nil)
			if err := controllers.Setup(mgr, options(&fakeHandlers{})); err != nil {
				t.Fatal(err)
			}
			runManager(t, mgr)
			academy := newAcademy(ns)
			create(t, academy)
			waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)

			var objects []interface {
				client.Object
				v1alpha1.Object
			}
			for i := range 20 {
				activity := newActivity(ns, fmt.Sprintf("generated-%02d", i))
				create(t, activity)
				referred := newActivity(ns, fmt.Sprintf("referred-%02d", i))
				referred.Spec.Share.LTI12 = &v1alpha1.ShareLTI12{CredentialsSecretRef: &v1alpha1.SecretReference{Name: referred.Name}}
				create(t, &corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: referred.Name, Labels: map[string]string{v1alpha1.LabelUse: v1alpha1.LabelUseValue}},
					StringData: map[string]string{v1alpha1.SecretKeyConsumerKey: referred.Name, v1alpha1.SecretKeySharedSecret: "secret"},
				}, referred)
				objects = append(objects, activity, referred)
			}
			platform := newPlatform(ns, "moodle")
			create(t, platform)
			objects = append(objects, platform)
			for _, o := range objects {
				waitFor(t, o, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
			}
			time.Sleep(time.Second)
			writes := 0
			for _, o := range objects {
				writes += log.count("PATCH ", "/"+o.GetName()+"/status")
			}
			// A machine that stands still for a second is told what it waits for.
			if most := len(objects) + len(objects)/10; writes > most {
				t.Errorf("status of %d objects was written %d times:\n%s", len(objects), writes, log)
			}
		})
	}
}

// An operator that ends between the creation of a Secret and the write of status leaves nothing half done.
func TestAnOperatorThatEndsBeforeItWritesStatusIsSucceeded(t *testing.T) {
	ns := newNamespace(t)
	log := &requestLog{}
	mgr := newManager(t, ns, func(next http.RoundTripper) http.RoundTripper {
		return log.through(transport(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/status") {
				return nil, errors.New("the operator ends here")
			}
			return next.RoundTrip(r)
		}))
	}, nil)
	if err := controllers.Setup(mgr, options(&fakeHandlers{})); err != nil {
		t.Fatal(err)
	}
	stop, _ := runManager(t, mgr)
	activity := newActivity(ns, "height")
	create(t, newAcademy(ns), activity)
	eventually(t, func() string {
		if log.count("PATCH ltiactivities/height", "/status") == 0 {
			return "no status was to be written"
		}
		return ""
	})
	stop()
	startOperator(t, ns, &fakeHandlers{}, nil)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// The shards are read one after another by whoever publishes. With a slow API server that must not take a dozen times as
// long as one answer.
func TestThePresentShardsAreReadAtOnce(t *testing.T) {
	ns := newNamespace(t)
	const shards = routing.RoutingShards + routing.KeyShards
	var slow atomic.Bool
	var asked atomic.Int32
	all := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(all) })
	log := &requestLog{}
	isShard := func(r *http.Request) bool {
		return r.Method == http.MethodGet && (strings.Contains(r.URL.Path, "/configmaps/default-routing-") || strings.Contains(r.URL.Path, "/secrets/default-keys-"))
	}
	// None is answered before all are asked for.
	log.delay = func(r *http.Request) time.Duration {
		if !slow.Load() || !isShard(r) {
			return 0
		}
		if asked.Add(1) == shards {
			goOn()
		}
		select {
		case <-all:
		case <-time.After(20 * time.Second):
			t.Errorf("%d of %d shards are asked for, and no more before one of them is read", asked.Load(), shards)
			goOn()
		}
		return 0
	}
	mgr := newManager(t, ns, log.through, nil)
	if err := controllers.Setup(mgr, options(&fakeHandlers{})); err != nil {
		t.Fatal(err)
	}
	runManager(t, mgr)
	activity := newActivity(ns, "height")
	create(t, newAcademy(ns), activity)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	slow.Store(true)
	before := log.count("GET configmaps/default-routing-", "") + log.count("GET secrets/default-keys-", "")
	touch(t, activity)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	if n := log.count("GET configmaps/default-routing-", "") + log.count("GET secrets/default-keys-", "") - before; n != shards {
		t.Errorf("%d shards were read", n)
	}
	if n := log.count("PUT configmaps/default-routing-", "") + log.count("PUT secrets/default-keys-", ""); n == 0 {
		t.Error("no shard was written")
	}
}

// The cache holds thousands of objects. What nothing reads is not in it, and what is written is computed without it.
func TestTheCacheHoldsWhatIsUsed(t *testing.T) {
	ns := newNamespace(t)
	mgr := newManager(t, ns, func(rt http.RoundTripper) http.RoundTripper { return rt }, nil)
	if err := controllers.Setup(mgr, options(&fakeHandlers{})); err != nil {
		t.Fatal(err)
	}
	runManager(t, mgr)
	activity := newActivity(ns, "height")
	activity.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: `{"large":true}`, "example.org/note": "kept"}
	activity.Labels = map[string]string{"audience": "students"}
	create(t, newAcademy(ns), activity)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	// Somebody strips the label of the Secret, which is put back from the cache's copy or a live one.
	secret := getSecret(t, ns, "height-lti12")
	patch := client.MergeFrom(secret.DeepCopy())
	delete(secret.Labels, v1alpha1.LabelOwnerKind)
	secret.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}"}
	if err := api.Patch(t.Context(), secret, patch); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		cached := &corev1.Secret{}
		if err := mgr.GetClient().Get(t.Context(), client.ObjectKeyFromObject(secret), cached); err != nil {
			return err.Error()
		}
		if cached.Labels[v1alpha1.LabelOwnerKind] != v1alpha1.KindActivity {
			return "the label is not back in the cache"
		}
		if len(cached.ManagedFields)+len(cached.Annotations) != 0 {
			return fmt.Sprintf("the cache holds %d managed fields and %v", len(cached.ManagedFields), cached.Annotations)
		}
		return ""
	})
	cached := &v1alpha1.LTIActivity{}
	if err := mgr.GetClient().Get(t.Context(), client.ObjectKeyFromObject(activity), cached); err != nil {
		t.Fatal(err)
	}
	if len(cached.ManagedFields) != 0 || len(cached.Annotations) != 1 || cached.Annotations["example.org/note"] != "kept" || cached.Labels["audience"] != "students" {
		t.Errorf("the cache holds %d managed fields, annotations %v, labels %v", len(cached.ManagedFields), cached.Annotations, cached.Labels)
	}
	// In the API server nothing is lost.
	for _, o := range []client.Object{secret, activity} {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Fatal(err)
		}
		if len(o.GetManagedFields()) == 0 || o.GetAnnotations()[corev1.LastAppliedConfigAnnotation] == "" {
			t.Errorf("%s lost its managed fields or annotations", o.GetName())
		}
	}
}

// Who counts what somebody scrapes must count what is there, whatever happened before.
func TestResourcesAreCounted(t *testing.T) {
	ns := newNamespace(t)
	startOperator(t, ns, &fakeHandlers{}, nil)
	counted := func(want map[string]float64) {
		t.Helper()
		eventually(t, func() string {
			now := metricValues(t)
			for name, n := range want {
				if got := now["lti_operator_resources/"+name]; got != n {
					return fmt.Sprintf("%v × %s, want %v", got, name, n)
				}
			}
			return ""
		})
	}
	a, b := newActivity(ns, "a"), newActivity(ns, "b")
	create(t, a, b)
	counted(map[string]float64{"False/LTIActivity": 2, "True/LTIActivity": 0, "False/LTIAcademy": 0})
	create(t, newAcademy(ns), newPlatform(ns, "moodle"))
	counted(map[string]float64{"False/LTIActivity": 0, "True/LTIActivity": 2, "True/LTIAcademy": 1, "True/LTIPlatform": 1, "True/LTITool": 0})
	if err := api.Delete(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	counted(map[string]float64{"True/LTIActivity": 1, "Unknown/LTIActivity": 0, "False/LTIActivity": 0})
}

// A key set that the API takes, and that is too large for the table, is said so.
func TestAKeysetThatIsTooLargeIsSaidSo(t *testing.T) {
	ns := newNamespace(t)
	startOperator(t, ns, &fakeHandlers{}, nil)
	platform, neighbour := newPlatform(ns, "moodle"), newPlatform(ns, "other")
	const start, end = `{"keys":[{"kty":"RSA","n":"`, `","e":"AQAB"}]}`
	jwks := start + strings.Repeat("x", 65536-len(start)-len(end)) + end
	platform.Spec.LTI13 = &v1alpha1.PlatformLTI13{
		Issuer: "https://lms.example", ClientID: "abc", AuthenticationURL: "https://lms.example/auth", JWKS: &jwks,
	}
	create(t, newAcademy(ns), platform, neighbour)
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonOversized)
	contains(t, message(platform, v1alpha1.ConditionReady), "spec.lti13.jwks", "jwksURL", "at most 65536")
	waitFor(t, neighbour, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	for _, p := range liveTable(t, ns).Platforms {
		if p.Name == platform.Name && (len(p.PublicKeys) == 0 || p.LTI13 != nil) {
			t.Errorf("it is served as %.300s", fmt.Sprint(p))
		}
	}
}

// What an operator knows of the shards is never taken for what they are: somebody else may have changed them.
func TestShardsThatSomebodyElseChangedAreReadAgain(t *testing.T) {
	ns := newNamespace(t)
	startOperator(t, ns, &fakeHandlers{}, nil)
	activity := newActivity(ns, "height")
	create(t, newAcademy(ns), activity)
	waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	const title = "The newest title"
	shard := func(i int) *corev1.ConfigMap {
		t.Helper()
		s := &corev1.ConfigMap{}
		if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: workload.RoutingConfigMapName("default", i)}, s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	change := func(text string) {
		t.Helper()
		before := activity.DeepCopy()
		activity.Spec.Title = text
		if err := api.Patch(t.Context(), activity, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		waitFor(t, activity, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		if a := liveTable(t, ns).Activities; len(a) != 1 || a[0].Title != text {
			t.Errorf("live are %+v, want %s", a, text)
		}
	}
	change("Another title")
	at := routing.PlaceOfActivity(activity.Name, false).Number
	damaged := shard(at)
	for file := range damaged.BinaryData {
		damaged.BinaryData[file] = []byte("damaged")
	}
	other := shard((at + 1) % routing.RoutingShards)
	other.BinaryData, other.Labels = nil, nil
	gone := shard((at + 2) % routing.RoutingShards)
	if err := errors.Join(api.Update(t.Context(), damaged), api.Update(t.Context(), other), api.Delete(t.Context(), gone)); err != nil {
		t.Fatal(err)
	}
	change(title)
	if s := shard((at + 1) % routing.RoutingShards); s.Labels[v1alpha1.LabelAcademy] != "default" {
		t.Errorf("the labels of %s are not mended: %v", s.Name, s.Labels)
	}
}

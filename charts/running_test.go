//go:build charts

// SPDX-License-Identifier: Apache-2.0

package charts_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The operator, with the arguments and the permissions that the chart gives it and no others, must get along: take its
// lease in one namespace and serve an academy in another. Only its pod is missing here.
func TestTheOperatorGetsAlongWithWhatTheChartGivesIt(t *testing.T) {
	program := buildOperator(t)
	for name, test := range map[string]struct{ home, academy, set, exposed, then string }{
		"scope Namespaces": {
			"home-one", "work-one", "watchNamespaces={work-one},academy.spec.exposure.ingress.className=nginx",
			"Ingress", `{"ingress":null,"httpRoute":{"parentRefs":[{"name":"public"}]}}`,
		},
		"scope Cluster": {
			"home-two", "work-two", "scope=Cluster,academy.namespace=work-two,academy.spec.exposure.httpRoute.parentRefs[0].name=public",
			"HTTPRoute", `{"ingress":{},"httpRoute":null}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, ns := range []string{test.home, test.academy} {
				if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := helm("install", "lti-operator", "lti-operator", "--namespace", test.home,
				"--set", "academy.url=https://"+test.academy+".example,"+test.set); err != nil {
				t.Fatal(err)
			}
			deployment := &appsv1.Deployment{}
			if err := api.Get(t.Context(), types.NamespacedName{Namespace: test.home, Name: "lti-operator"}, deployment); err != nil {
				t.Fatal(err)
			}
			metrics, probes := freeAddress(t), freeAddress(t)
			arguments := deployment.Spec.Template.Spec.Containers[0].Args
			for i, argument := range arguments {
				switch argument {
				case "--metrics-address=:8080":
					arguments[i] = "--metrics-address=" + metrics
				case "--probe-address=:8081":
					arguments[i] = "--probe-address=" + probes
				}
			}
			log := &lockedBuffer{}
			operator := exec.Command(program, arguments...)
			operator.Env = []string{"POD_NAMESPACE=" + test.home, "KUBECONFIG=" + kubeconfigOf(t, deployment)}
			operator.Stdout, operator.Stderr = log, log
			if err := operator.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- operator.Wait() }()
			defer func() {
				_ = operator.Process.Kill()
				if t.Failed() {
					t.Logf("the operator's log:\n%s", log)
				}
			}()

			within(t, time.Minute, func() string {
				key := types.NamespacedName{Namespace: test.academy, Name: "default-launch-handler"}
				handler, policy := &appsv1.Deployment{}, &networkingv1.NetworkPolicy{}
				if err := api.Get(t.Context(), key, handler); err != nil {
					return err.Error()
				}
				if image := handler.Spec.Template.Spec.Containers[0].Image; image != "lti-operator/launch-handler:"+chartVersion(t) {
					t.Fatalf("the launch handler's image is %s", image)
				}
				if err := api.Get(t.Context(), key, policy); err != nil {
					return err.Error()
				}
				if peers := policy.Spec.Ingress[2].From; len(peers) != 1 || peers[0].PodSelector.MatchLabels["app.kubernetes.io/instance"] != "lti-operator" ||
					peers[0].NamespaceSelector.MatchLabels[corev1.LabelMetadataName] != test.home {
					t.Fatalf("the control port is open to %v", peers)
				}
				if err := api.Get(t.Context(), types.NamespacedName{Namespace: test.academy, Name: "default-manifest"}, &corev1.ConfigMap{}); err != nil {
					return err.Error()
				}
				if _, status := get(t, "http://"+probes+"/readyz"); status != http.StatusOK {
					return fmt.Sprintf("/readyz answers %d", status)
				}
				if text, _ := get(t, "http://"+probes+"/healthz"); text != "ok" {
					return "/healthz: " + text
				}
				return ""
			})
			// What leads to it is made, and the other thing once it is asked for.
			is := func(kind string) bool {
				o := &unstructured.Unstructured{}
				o.SetAPIVersion(map[string]string{"Ingress": "networking.k8s.io/v1", "HTTPRoute": "gateway.networking.k8s.io/v1"}[kind])
				o.SetKind(kind)
				return api.Get(t.Context(), types.NamespacedName{Namespace: test.academy, Name: "default-launch-handler"}, o) == nil
			}
			other := map[string]string{"Ingress": "HTTPRoute", "HTTPRoute": "Ingress"}[test.exposed]
			within(t, time.Minute, func() string {
				if !is(test.exposed) || is(other) {
					return "there is no " + test.exposed + ", or both"
				}
				return ""
			})
			academy := &unstructured.Unstructured{}
			academy.SetAPIVersion("lti-operator.io/v1alpha1")
			academy.SetKind("LTIAcademy")
			academy.SetNamespace(test.academy)
			academy.SetName("default")
			if err := api.Patch(t.Context(), academy, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"exposure":`+test.then+`}}`))); err != nil {
				t.Fatal(err)
			}
			within(t, time.Minute, func() string {
				if is(test.exposed) || !is(other) {
					return "there is no " + other + ", or both"
				}
				return ""
			})
			text, _ := get(t, "http://"+metrics+"/metrics")
			for _, series := range []string{
				`leader_election_master_status{name="lti-operator"} 1`,
				`lti_operator_academy_warnings{condition="NearCapacity"} 0`,
				`lti_operator_config_publish_total{result="failed"} 0`,
			} {
				if !strings.Contains(text, series+"\n") {
					t.Errorf("there is no %s", series)
				}
			}
			// What alerts and dashboard ask for is to be here, and not only in the code.
			for _, alert := range alerts(t) {
				for _, metric := range regexp.MustCompile(`\b(lti_operator|controller_runtime|leader_election)_[a-z_]+`).FindAllString(alert.Expr, -1) {
					if !strings.Contains(text, "\n"+metric) {
						t.Errorf("%s asks for %s, which the operator does not report", alert.Alert, metric)
					}
				}
			}

			if err := operator.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("the operator ended with %v", err)
				}
			case <-time.After(40 * time.Second):
				t.Error("the operator does not end within its grace period")
			}
			if strings.Contains(strings.ToLower(log.String()), "forbidden") {
				t.Error("the operator was refused something")
			}
		})
	}
}

// buildOperator builds the operator for a test.
func buildOperator(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "lti-operator")
	if text, err := exec.Command("go", "build", "-o", program, "../cmd/lti-operator").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return program
}

// kubeconfigOf writes a kubeconfig with the ServiceAccount of a Deployment's pods.
func kubeconfigOf(t *testing.T, deployment *appsv1.Deployment) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: deployment.Namespace, Name: deployment.Spec.Template.Spec.ServiceAccountName,
	}}
	token := &authenticationv1.TokenRequest{}
	if err := api.SubResource("token").Create(t.Context(), account, token); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: operator}}]
clusters: [{name: here, cluster: {server: "%s", certificate-authority-data: "%s"}}]
users: [{name: operator, user: {token: "%s"}}]
`, serverURL(), base64.StdEncoding.EncodeToString(environment.Config.CAData), token.Status.Token)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func serverURL() string {
	if host := environment.Config.Host; strings.Contains(host, "://") {
		return host
	}
	return "https://" + environment.Config.Host
}

// freeAddress returns an address that nothing listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// get asks for a page; the status is 0 when nobody answers.
func get(t *testing.T, url string) (text string, status int) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return err.Error(), 0
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error(), 0
	}
	return string(body), resp.StatusCode
}

// within waits until a check has nothing to say.
func within(t *testing.T, most time.Duration, check func() string) {
	t.Helper()
	deadline := time.Now().Add(most)
	for {
		problem := check()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", most, problem)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// lockedBuffer is a buffer for two goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns what was written so far.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

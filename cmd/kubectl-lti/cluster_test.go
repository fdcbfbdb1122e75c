// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upgrade "k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// userToken is what the kubeconfig of a test has.
const userToken = "canary-of-the-user"

// pretender is as much of an API server and a kubelet as it takes to reach a launch handler: envtest runs no pods.
type pretender struct {
	secrets   []corev1.Secret
	pods      []corev1.Pod
	academies []string
	// forbidden are resources, such as secrets or pods/portforward.
	forbidden []string
	// spdyOnly refuses WebSocket, as API servers before Kubernetes 1.31 do.
	spdyOnly bool
	// ports says what listens at a port of every pod, by host:port.
	ports map[string]string

	// kubelet is its host:port.
	kubelet string

	mu sync.Mutex
	// forwards are the requests to forward a port.
	forwards []string
}

// kubeconfig serves it, and returns the kubeconfig for it.
func (p *pretender) kubeconfig(t *testing.T) string {
	t.Helper()
	kubelet := httptest.NewServer(http.HandlerFunc(p.forward))
	t.Cleanup(kubelet.Close)
	p.kubelet = kubelet.Listener.Addr().String()
	// Over TLS: client-go sends no token without.
	server := httptest.NewTLSServer(p)
	t.Cleanup(server.Close)
	authority := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	dir := t.TempDir()
	write(t, dir, map[string]string{"config": `{apiVersion: v1, kind: Config, current-context: c,
  clusters: [{name: c, cluster: {server: "` + server.URL + `", certificate-authority-data: ` + authority + `}}], users: [{name: c, user: {token: ` + userToken + `}}],
  contexts: [{name: c, context: {cluster: c, user: c, namespace: acme}}]}`})
	return filepath.Join(dir, "config")
}

func (p *pretender) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+userToken {
		respond(rw, http.StatusUnauthorized, apierrors.NewUnauthorized("who are you?").Status())
		return
	}
	resource := func(group, version string, resources ...metav1.APIResource) any {
		return metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: strings.Trim(group+"/"+version, "/"), APIResources: resources}
	}
	switch r.URL.Path {
	case "/api":
		respond(rw, http.StatusOK, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
		return
	case "/apis":
		respond(rw, http.StatusOK, metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{{
			Name: v1alpha1.GroupVersion.Group, Versions: []metav1.GroupVersionForDiscovery{{GroupVersion: v1alpha1.GroupVersion.String(), Version: v1alpha1.GroupVersion.Version}},
		}}})
		return
	case "/api/v1":
		respond(rw, http.StatusOK, resource("", "v1", metav1.APIResource{Name: "secrets", Kind: "Secret", Namespaced: true}, metav1.APIResource{Name: "pods", Kind: "Pod", Namespaced: true}))
		return
	case "/apis/" + v1alpha1.GroupVersion.String():
		respond(rw, http.StatusOK, resource(v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version, metav1.APIResource{Name: "ltiacademies", Kind: v1alpha1.KindAcademy, Namespaced: true}))
		return
	}
	_, path, _ := strings.Cut(r.URL.Path, "/namespaces/acme/")
	parts := append(strings.Split(path, "/"), "", "")
	kind, name := parts[0], parts[1]
	if parts[2] != "" {
		kind += "/" + parts[2]
	}
	group := schema.GroupResource{Resource: kind}
	if slices.Contains(p.forbidden, kind) {
		respond(rw, http.StatusForbidden, apierrors.NewForbidden(group, name, nil).Status())
		return
	}
	switch kind {
	case "secrets":
		if i := slices.IndexFunc(p.secrets, func(s corev1.Secret) bool { return s.Name == name }); i >= 0 {
			secret := p.secrets[i]
			secret.TypeMeta = metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}
			respond(rw, http.StatusOK, secret)
			return
		}
	case "ltiacademies":
		if slices.Contains(p.academies, name) {
			respond(rw, http.StatusOK, v1alpha1.LTIAcademy{TypeMeta: metav1.TypeMeta{Kind: v1alpha1.KindAcademy, APIVersion: v1alpha1.GroupVersion.String()}, ObjectMeta: named(name)})
			return
		}
	case "pods":
		selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
		if err != nil || selector.Empty() {
			http.Error(rw, "every pod is asked for", http.StatusBadRequest)
			return
		}
		pods := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
		for _, pod := range p.pods {
			if selector.Matches(labels.Set(pod.Labels)) {
				pods.Items = append(pods.Items, pod)
			}
		}
		respond(rw, http.StatusOK, pods)
		return
	case "pods/portforward":
		p.mu.Lock()
		p.forwards = append(p.forwards, r.Method+" "+name)
		p.mu.Unlock()
		kubelet := &url.URL{Scheme: "http", Host: p.kubelet, Path: "/"}
		switch overSPDY := upgrade.NewUpgradeAwareHandler(kubelet, nil, false, true, p); {
		case r.Method == http.MethodPost:
			overSPDY.ServeHTTP(rw, r)
		case p.spdyOnly:
			http.Error(rw, "no WebSocket here", http.StatusBadRequest)
		default:
			proxy.NewTunnelingHandler(overSPDY).ServeHTTP(rw, r)
		}
		return
	}
	respond(rw, http.StatusNotFound, apierrors.NewNotFound(group, name).Status())
}

// Error implements upgrade.ErrorResponder.
func (p *pretender) Error(rw http.ResponseWriter, _ *http.Request, err error) {
	http.Error(rw, err.Error(), http.StatusBadGateway)
}

func respond(rw http.ResponseWriter, status int, object any) {
	if s, ok := object.(metav1.Status); ok {
		s.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		object = s
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(object)
}

// forward does what a kubelet does: a connection is a pair of streams, one of them for what goes wrong.
func (p *pretender) forward(rw http.ResponseWriter, r *http.Request) {
	if _, err := httpstream.Handshake(r, rw, []string{portforward.PortForwardProtocolV1Name}); err != nil {
		return
	}
	streams := make(chan httpstream.Stream, 16)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(rw, r, func(stream httpstream.Stream, replySent <-chan struct{}) error {
		go func() {
			<-replySent
			streams <- stream
		}()
		return nil
	})
	if conn == nil {
		return
	}
	defer func() { _ = conn.Close() }()
	failures := map[string]httpstream.Stream{}
	data := map[string]httpstream.Stream{}
	for {
		select {
		case <-conn.CloseChan():
			return
		case stream := <-streams:
			id := stream.Headers().Get(corev1.PortForwardRequestIDHeader)
			if stream.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				failures[id] = stream
			} else {
				data[id] = stream
			}
			if failures[id] != nil && data[id] != nil {
				go p.connect(failures[id], data[id])
			}
		}
	}
}

func (p *pretender) connect(failure, data httpstream.Stream) {
	defer func() { _, _ = failure.Close(), data.Close() }()
	port := data.Headers().Get(corev1.PortHeader)
	conn, err := net.Dial("tcp", p.ports[port])
	if err != nil {
		_, _ = io.WriteString(failure, "error forwarding port "+port+" to pod: connection refused")
		return
	}
	defer func() { _ = conn.Close() }()
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(conn, data); done <- struct{}{} }()
	go func() { _, _ = io.Copy(data, conn); done <- struct{}{} }()
	<-done
}

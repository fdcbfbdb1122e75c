// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/internal/egress"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch

// reportTimeout bounds one question to one handler.
const reportTimeout = 2 * time.Second

// maxReportBytes bounds a handler's answer.
const maxReportBytes = 4 << 20

// controlPort asks launch handlers on their control ports.
type controlPort struct{}

// Report implements Handlers.
func (controlPort) Report(ctx context.Context, e HandlerEndpoint, k *keys.Academy) (report routing.Report, err error) {
	err = ask(ctx, e.URL+routing.PathControlTable, k, &report)
	return report, err
}

// UnknownDeployments implements Handlers.
func (controlPort) UnknownDeployments(ctx context.Context, e HandlerEndpoint, k *keys.Academy) (list []routing.UnknownDeployment, err error) {
	err = ask(ctx, e.URL+routing.PathControlDeployments, k, &list)
	return list, err
}

// Registrations implements Handlers.
func (controlPort) Registrations(ctx context.Context, e HandlerEndpoint, k *keys.Academy) ([]routing.Registration, error) {
	var list routing.Registrations
	err := ask(ctx, e.URL+routing.PathControlRegistrations, k, &list)
	return list.Items, err
}

// ask reads the JSON answer of a control port into the given value.
func ask(ctx context.Context, url string, academyKeys *keys.Academy, into any) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	httpClient, err := egress.NewPinned(academyKeys.TrustedCertificatesPEM(), keys.ControlServerName)
	if err != nil {
		return fmt.Errorf("control port client: %w", err)
	}
	defer httpClient.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("control port request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+academyKeys.ControlToken)
	resp, err := httpClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask control port: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask control port: status %d", resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReportBytes)).Decode(into); err != nil {
		return fmt.Errorf("read control port answer: %w", err)
	}
	return nil
}

// ExternalHandlers are launch handlers that something other than the operator runs, at known addresses.
type ExternalHandlers struct {
	controlPort
	ControlURLs []string
}

var _ Handlers = (*ExternalHandlers)(nil)

// Endpoints implements Handlers.
func (h *ExternalHandlers) Endpoints(context.Context, AcademyKey) ([]HandlerEndpoint, error) {
	endpoints := make([]HandlerEndpoint, 0, len(h.ControlURLs))
	for _, url := range h.ControlURLs {
		endpoints = append(endpoints, HandlerEndpoint{URL: url})
	}
	return endpoints, nil
}

// Nudge implements Handlers; whoever runs the handler also brings it its table.
func (h *ExternalHandlers) Nudge(context.Context, HandlerEndpoint, string, int) error { return nil }

// PodHandlers are the pods of the Deployment that the operator makes.
type PodHandlers struct {
	controlPort
	Client client.Client
}

var _ Handlers = (*PodHandlers)(nil)

// Endpoints implements Handlers.
func (h *PodHandlers) Endpoints(ctx context.Context, key AcademyKey) ([]HandlerEndpoint, error) {
	var pods corev1.PodList
	if err := h.Client.List(ctx, &pods, client.InNamespace(key.Namespace), client.MatchingLabels(workload.Labels(key.Name)), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the handler's pods: %w", err)
	}
	var endpoints []HandlerEndpoint
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Status.PodIP == "" || !pod.DeletionTimestamp.IsZero() || !podReady(pod) {
			continue
		}
		endpoints = append(endpoints, HandlerEndpoint{
			URL: "https://" + net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(workload.ControlPort))),
			Pod: client.ObjectKeyFromObject(pod),
		})
	}
	return endpoints, nil
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Nudge implements Handlers: a changed pod makes kubelet sync its volumes at once instead of within a minute.
func (h *PodHandlers) Nudge(ctx context.Context, e HandlerEndpoint, hash string, attempt int) error {
	return annotate(ctx, h.Client, e.Pod, workload.AnnotationTable, hash+"/"+strconv.Itoa(attempt))
}

func annotate(ctx context.Context, c client.Client, pod types.NamespacedName, key, value string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{key: value}}})
	if err != nil {
		return fmt.Errorf("encode pod patch: %w", err)
	}
	target := &corev1.Pod{}
	target.Namespace, target.Name = pod.Namespace, pod.Name
	if err := c.Patch(ctx, target, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("annotate pod: %w", err)
	}
	return nil
}

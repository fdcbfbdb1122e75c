// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcache "k8s.io/client-go/tools/cache"
	cache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// What somebody on call asks first: do tables reach the handlers, what does it cost, and what is not ready. The number of
// series does not depend on the number of activities.
var (
	compileSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "lti_operator_config_compile_duration_seconds", Help: "Time to compile the routing table of an academy.",
		Buckets: []float64{0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10},
	})
	publishedBytes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "lti_operator_config_publish_bytes_total", Help: "Bytes of routing tables written to the API server.",
	})
	publishes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lti_operator_config_publish_total", Help: "Attempts to publish a routing table: written, unchanged, delayed (byte budget), held (handlers cannot read it) or failed.",
	}, []string{"result"})
	handlersWaiting = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "lti_operator_config_waiting", Help: "Launch handlers that do not serve the newest published table.",
	}, []string{"namespace", "academy"})
	lastPublished = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "lti_operator_config_last_success_timestamp_seconds", Help: "When the newest table was published, or found to be live, the last time.",
	}, []string{"namespace", "academy"})
	resources = &resourceCounter{
		description: prometheus.NewDesc(
			"lti_operator_resources", "Resources by kind and by the status of their condition Ready.", []string{"kind", "ready"}, nil),
		warnings: prometheus.NewDesc(
			"lti_operator_academy_warnings", "Academies with a condition that asks for attention although they are Ready, by its type.", []string{"condition"}, nil),
	}
)

func init() {
	for _, result := range []string{"written", "unchanged", "delayed", "held", "failed"} {
		publishes.WithLabelValues(result)
	}
	metrics.Registry.MustRegister(compileSeconds, publishedBytes, publishes, handlersWaiting, lastPublished, resources)
}

// forgetMetrics drops the series of an academy that has no table.
func forgetMetrics(key AcademyKey) {
	handlersWaiting.DeleteLabelValues(key.Namespace, key.Name)
	lastPublished.DeleteLabelValues(key.Namespace, key.Name)
}

// resourceCounter counts resources. It follows what happens to them: to look at each whenever somebody asks would cost
// more than all else that a rested operator does.
type resourceCounter struct {
	description, warnings *prometheus.Desc
	counts                atomic.Pointer[resourceCounts]
}

// resourceCounts are the resources of one manager, by kind and status, and the warnings of academies, by type.
type resourceCounts struct {
	mu       sync.Mutex
	n        map[resourceCount]int
	warnings map[string]int
}

type resourceCount struct {
	kind   string
	status metav1.ConditionStatus
}

// watch counts the resources that some informers know of, by kind, from now on.
func (c *resourceCounter) watch(informers map[string]cache.Informer) error {
	counts := &resourceCounts{n: map[resourceCount]int{}, warnings: map[string]int{}}
	for _, warning := range warningTypes {
		counts.warnings[warning] = 0
	}
	for kind := range informers {
		for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
			counts.n[resourceCount{kind, status}] = 0
		}
	}
	for kind, informer := range informers {
		_, err := informer.AddEventHandler(clientcache.ResourceEventHandlerFuncs{
			AddFunc: func(o any) { counts.add(kind, o, 1) },
			UpdateFunc: func(before, after any) {
				counts.add(kind, before, -1)
				counts.add(kind, after, 1)
			},
			DeleteFunc: func(o any) { counts.add(kind, o, -1) },
		})
		if err != nil {
			return fmt.Errorf("count every %s: %w", kind, err)
		}
	}
	c.counts.Store(counts)
	return nil
}

// add counts a resource, or takes it away again.
func (c *resourceCounts) add(kind string, o any, n int) {
	if gone, ok := o.(clientcache.DeletedFinalStateUnknown); ok {
		o = gone.Obj // as it was counted
	}
	object, ok := o.(v1alpha1.Object)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	status := metav1.ConditionUnknown
	if ready := meta.FindStatusCondition(object.GetConditions(), v1alpha1.ConditionReady); ready != nil {
		status = ready.Status
	}
	c.n[resourceCount{kind, status}] += n
	for _, warning := range warningTypes {
		if meta.IsStatusConditionTrue(object.GetConditions(), warning) {
			c.warnings[warning] += n
		}
	}
}

// Describe implements prometheus.Collector.
func (c *resourceCounter) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- c.description
	descriptions <- c.warnings
}

// Collect implements prometheus.Collector.
func (c *resourceCounter) Collect(out chan<- prometheus.Metric) {
	counts := c.counts.Load()
	if counts == nil {
		return // before the first complete list
	}
	counts.mu.Lock()
	defer counts.mu.Unlock()
	for what, n := range counts.n {
		out <- prometheus.MustNewConstMetric(c.description, prometheus.GaugeValue, float64(n), what.kind, string(what.status))
	}
	for warning, n := range counts.warnings {
		out <- prometheus.MustNewConstMetric(c.warnings, prometheus.GaugeValue, float64(n), warning)
	}
}

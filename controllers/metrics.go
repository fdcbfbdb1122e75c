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
	resources = &resourceCounter{description: prometheus.NewDesc(
		"lti_operator_resources", "Resources by kind and by the status of their condition Ready.", []string{"kind", "ready"}, nil)}
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
	description *prometheus.Desc
	counts      atomic.Pointer[resourceCounts]
}

// resourceCounts are the resources of one manager, by kind and status.
type resourceCounts struct {
	mu sync.Mutex
	n  map[resourceCount]int
}

type resourceCount struct {
	kind   string
	status metav1.ConditionStatus
}

// watch counts the resources that some informers know of, by kind, from now on.
func (c *resourceCounter) watch(informers map[string]cache.Informer) error {
	counts := &resourceCounts{n: map[resourceCount]int{}}
	for kind, informer := range informers {
		for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
			counts.add(kind, status, 0)
		}
		_, err := informer.AddEventHandler(clientcache.ResourceEventHandlerFuncs{
			AddFunc: func(o any) { counts.add(kind, readiness(o), 1) },
			UpdateFunc: func(before, after any) {
				counts.add(kind, readiness(before), -1)
				counts.add(kind, readiness(after), 1)
			},
			DeleteFunc: func(o any) { counts.add(kind, readiness(o), -1) },
		})
		if err != nil {
			return fmt.Errorf("count every %s: %w", kind, err)
		}
	}
	c.counts.Store(counts)
	return nil
}

func (c *resourceCounts) add(kind string, status metav1.ConditionStatus, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[resourceCount{kind, status}] += n
}

// readiness is the status of a resource's condition Ready.
func readiness(o any) metav1.ConditionStatus {
	if gone, ok := o.(clientcache.DeletedFinalStateUnknown); ok {
		o = gone.Obj // as it was counted
	}
	if object, ok := o.(v1alpha1.Object); ok {
		if ready := meta.FindStatusCondition(object.GetConditions(), v1alpha1.ConditionReady); ready != nil {
			return ready.Status
		}
	}
	return metav1.ConditionUnknown
}

// Describe implements prometheus.Collector.
func (c *resourceCounter) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- c.description
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
}

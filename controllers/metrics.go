// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

// resourceCounter counts resources when it is asked, from the cache.
type resourceCounter struct {
	description *prometheus.Desc
	reader      atomic.Pointer[client.Reader]
}

// Describe implements prometheus.Collector.
func (c *resourceCounter) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- c.description
}

// Collect implements prometheus.Collector.
func (c *resourceCounter) Collect(out chan<- prometheus.Metric) {
	reader := c.reader.Load()
	if reader == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var academies v1alpha1.LTIAcademyList
	var platforms v1alpha1.LTIPlatformList
	var tools v1alpha1.LTIToolList
	var activities v1alpha1.LTIActivityList
	for _, list := range []client.ObjectList{&academies, &platforms, &tools, &activities} {
		if err := (*reader).List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return // the cache has stopped, or never started
		}
	}
	count(c, out, v1alpha1.KindAcademy, len(academies.Items), func(i int) v1alpha1.Object { return &academies.Items[i] })
	count(c, out, v1alpha1.KindPlatform, len(platforms.Items), func(i int) v1alpha1.Object { return &platforms.Items[i] })
	count(c, out, v1alpha1.KindTool, len(tools.Items), func(i int) v1alpha1.Object { return &tools.Items[i] })
	count(c, out, v1alpha1.KindActivity, len(activities.Items), func(i int) v1alpha1.Object { return &activities.Items[i] })
}

func count(c *resourceCounter, out chan<- prometheus.Metric, kind string, n int, item func(int) v1alpha1.Object) {
	byStatus := map[string]int{"True": 0, "False": 0, "Unknown": 0}
	for i := range n {
		status := "Unknown"
		if ready := meta.FindStatusCondition(item(i).GetConditions(), v1alpha1.ConditionReady); ready != nil {
			status = string(ready.Status)
		}
		byStatus[status]++
	}
	for status, number := range byStatus {
		out <- prometheus.MustNewConstMetric(c.description, prometheus.GaugeValue, float64(number), kind, status)
	}
}

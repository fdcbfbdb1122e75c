// SPDX-License-Identifier: Apache-2.0

package web

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lti-operator/lti-operator/internal/grades"
	"github.com/lti-operator/lti-operator/internal/lti"
)

// Metrics of the launch handler. None has a label that grows with users, activities or platforms.
type Metrics struct {
	launches  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	jwks      *prometheus.CounterVec
	loaded    prometheus.Gauge
	rejected  *prometheus.CounterVec
	grades    *prometheus.CounterVec
	enrolled  *prometheus.CounterVec
	results   *prometheus.CounterVec
	overload  *prometheus.CounterVec
	waits     prometheus.Histogram
	waiting   atomic.Pointer[func() int]
}

// Results of a launch, as they stand in the label result.
const (
	resultAccepted = "accepted"
	resultRefused  = "refused"
)

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		launches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lti_launches_total", Help: "Launches by LTI version, our role, result and the reason of a refusal.",
		}, []string{"version", "role", "result", "reason"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lti_launch_duration_seconds", Help: "Time to answer a request of a launch.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"version", "role"}),
		jwks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lti_jwks_fetch_total", Help: "Fetches of other parties' public keys by result.",
		}, []string{"result"}),
		loaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lti_handler_config_last_success_timestamp_seconds", Help: "When the routing table in use was loaded.",
		}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lti_handler_config_rejected_total", Help: "Routing tables that were refused, by reason.",
		}, []string{"reason"}),
	}
	m.grades = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lti_grade_messages_total", Help: "Messages to gradebooks by protocol, outcome and the reason of a failure.",
	}, []string{"protocol", "outcome", "reason"})
	m.enrolled = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lti_enrolments_total", Help: "Attempts to enrol a person in a group of the academy's directory, by result.",
	}, []string{"result"})
	m.results = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lti_result_deliveries_total", Help: "Attempts to tell the academy of a result, by result and the reason of a failure.",
	}, []string{"result", "reason"})
	m.overload = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lti_requests_refused_total", Help: "Requests that there was no room for, by what they were: to begin or to continue something.",
	}, []string{"class"})
	m.waits = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "lti_request_wait_seconds", Help: "Time until a request was let in, of those that had to wait.",
		Buckets: []float64{.001, .0025, .005, .01, .02, .05, .1, .25, .5, 1},
	})
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lti_requests_waiting", Help: "Requests that wait to be let in.",
	}, func() float64 {
		if ask := m.waiting.Load(); ask != nil {
			return float64((*ask)())
		}
		return 0
	})
	registry.MustRegister(m.launches, m.durations, m.jwks, m.loaded, m.rejected, m.grades, m.enrolled, m.results,
		m.overload, m.waits, waiting)
	return m
}

// Waiting is asked from now on how many requests wait to be let in.
func (m *Metrics) Waiting(ask func() int) { m.waiting.Store(&ask) }

// RequestRefused counts one request that there was no room for.
func (m *Metrics) RequestRefused(class string) { m.overload.WithLabelValues(class).Inc() }

// RequestWaited observes how long a request waited until it was let in.
func (m *Metrics) RequestWaited(d time.Duration) { m.waits.Observe(d.Seconds()) }

// Launch counts one launch; an empty code means that it was accepted.
func (m *Metrics) Launch(about *About, code lti.Code) {
	result := resultRefused
	if code == "" {
		result = resultAccepted
	}
	m.launches.WithLabelValues(about.Version, about.Role, result, string(code)).Inc()
}

// Duration observes the time that one request of a launch took.
func (m *Metrics) Duration(about *About, d time.Duration) {
	m.durations.WithLabelValues(about.Version, about.Role).Observe(d.Seconds())
}

// JWKSFetch counts one fetch of a key set.
func (m *Metrics) JWKSFetch(err error) {
	m.jwks.WithLabelValues(resultOf(err)).Inc()
}

// Enrolment counts one attempt to enrol somebody.
func (m *Metrics) Enrolment(err error) {
	m.enrolled.WithLabelValues(resultOf(err)).Inc()
}

// resultOf is the label of an attempt that only succeeds or fails.
func resultOf(err error) string {
	if err != nil {
		return "failure"
	}
	return "success"
}

// Grade counts one message to a gradebook.
func (m *Metrics) Grade(row *grades.Leased, result grades.Result) {
	m.grades.WithLabelValues(string(row.Row.Protocol), string(result.Outcome), result.Reason).Inc()
}

// Result counts one attempt to tell the academy of a result; an empty reason means that it was told.
func (m *Metrics) Result(reason string) {
	result := "success"
	if reason != "" {
		result = "failure"
	}
	m.results.WithLabelValues(result, reason).Inc()
}

// ConfigLoaded records that a table came into use.
func (m *Metrics) ConfigLoaded(at time.Time) { m.loaded.Set(float64(at.UnixMilli()) / 1000) }

// ConfigRejected counts a table that was refused.
func (m *Metrics) ConfigRejected(reason string) { m.rejected.WithLabelValues(reason).Inc() }

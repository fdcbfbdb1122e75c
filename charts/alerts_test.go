//go:build charts

// SPDX-License-Identifier: Apache-2.0

package charts_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	// Registers the operator's metrics.
	_ "github.com/lti-operator/lti-operator/controllers"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/lti"
)

const (
	alertsFile    = "lti-operator/files/alerts.yaml"
	dashboardFile = "lti-operator/files/dashboard.json"
)

// rule is an alert of Prometheus.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

type rules struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

func alerts(t *testing.T) (list []rule) {
	t.Helper()
	text, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	var all rules
	if err := yaml.UnmarshalStrict(text, &all); err != nil {
		t.Fatal(err)
	}
	for _, group := range all.Groups {
		list = append(list, group.Rules...)
	}
	if len(list) < 10 {
		t.Fatalf("%d alerts", len(list))
	}
	return list
}

// panelQueries returns the queries of the dashboard, with what Grafana fills in filled in.
func panelQueries(t *testing.T) (queries []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	ids := map[int]bool{}
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] {
			t.Errorf("panel %d is there twice", panel.ID)
		}
		ids[panel.ID] = true
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("panel %q shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			queries = append(queries, strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*").Replace(target.Expr))
		}
	}
	return queries
}

// known are the metrics of operator and launch handler with their labels, as they register them.
func known(t *testing.T) map[string][]string {
	t.Helper()
	handler := prometheus.NewRegistry()
	web.NewMetrics(handler)
	operator, ok := metrics.Registry.(prometheus.Collector)
	if !ok {
		t.Fatal("the registry of controller-runtime cannot be asked what it knows")
	}
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		handler.Describe(descriptions)
		operator.Describe(descriptions)
	}()
	form := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
	all := map[string][]string{}
	for description := range descriptions {
		match := form.FindStringSubmatch(description.String())
		if match == nil {
			t.Fatalf("cannot read %s", description)
		}
		all[match[1]] = strings.Split(match[2], ",")
	}
	return all
}

var (
	quoted   = regexp.MustCompile(`"[^"]*"`)
	word     = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	ofMetric = regexp.MustCompile(`^(lti|controller_runtime|leader_election|workqueue|rest_client|go|process)_`)
	labelsOf = regexp.MustCompile(`\{([^}]*)\}`)
	grouped  = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

func TestAlertsAndDashboardAskForMetricsThatExist(t *testing.T) {
	metricLabels := known(t)
	// What Prometheus adds.
	always := []string{"namespace", "pod", "le"}
	queries := panelQueries(t)
	for _, alert := range alerts(t) {
		queries = append(queries, alert.Expr)
	}
	used := map[string]bool{}
	for _, query := range queries {
		bare := quoted.ReplaceAllString(query, `""`)
		var here []string
		for _, name := range word.FindAllString(bare, -1) {
			if !ofMetric.MatchString(name) {
				continue
			}
			for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
				if base := strings.TrimSuffix(name, suffix); metricLabels[base] != nil {
					name = base
					break
				}
			}
			if metricLabels[name] == nil {
				t.Errorf("there is no metric %s, which is asked for by\n%s", name, query)
			}
			here, used[name] = append(here, name), true
		}
		if len(here) == 0 {
			t.Errorf("this asks for none of our metrics:\n%s", query)
		}
		var labels []string
		for _, match := range append(labelsOf.FindAllStringSubmatch(bare, -1), grouped.FindAllStringSubmatch(bare, -1)...) {
			labels = append(labels, word.FindAllString(match[1], -1)...)
		}
		for _, label := range labels {
			ok := slices.Contains(always, label)
			for _, name := range here {
				ok = ok || slices.Contains(metricLabels[name], label)
			}
			if !ok {
				t.Errorf("none of %v has the label %s, in\n%s", here, label, query)
			}
		}
		for _, match := range regexp.MustCompile(`reason="([^"]*)"`).FindAllStringSubmatch(query, -1) {
			if !slices.Contains(lti.Codes(), lti.Code(match[1])) {
				t.Errorf("no launch is refused with the reason %s", match[1])
			}
		}
	}
	// What is measured for whoever operates it is of use to them.
	for name := range metricLabels {
		if strings.HasPrefix(name, "lti_") && !used[name] {
			t.Errorf("neither an alert nor the dashboard shows %s", name)
		}
	}
}

func TestEveryAlertHasARunbook(t *testing.T) {
	text, err := os.ReadFile("../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		sections[title] = body
	}
	names := map[string]bool{}
	for _, alert := range alerts(t) {
		if names[alert.Alert] {
			t.Errorf("%s is there twice", alert.Alert)
		}
		names[alert.Alert] = true
		// GitHub's anchors are in lower case.
		if got, want := alert.Annotations["runbook_url"], "https://runbooks.invalid#"+strings.ToLower(alert.Alert); got != want {
			t.Errorf("%s leads to %s, want %s", alert.Alert, got, want)
		}
		for _, part := range []string{"**Means**", "**Look at**", "**Do**"} {
			if !strings.Contains(sections[alert.Alert], part) {
				t.Errorf("docs/runbooks.md has no %s for %s", part, alert.Alert)
			}
		}
		if severity := alert.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s has the severity %q", alert.Alert, severity)
		}
		if alert.Annotations["summary"] == "" || alert.For == "" {
			t.Errorf("%s lacks a summary, or fires at once", alert.Alert)
		}
	}
	for title := range sections {
		if strings.HasPrefix(title, "LTI") && !names[title] {
			t.Errorf("docs/runbooks.md explains %s, which is no alert", title)
		}
	}
}

// What the chart makes of the file: nothing of it may be left that is to be replaced.
func TestTheChartFillsTheAlertsIn(t *testing.T) {
	for _, object := range objects(t, template(t, "-f", "lti-operator/ci/everything-values.yaml")) {
		if object.GetKind() != "PrometheusRule" {
			continue
		}
		text, err := yaml.Marshal(object.Object["spec"])
		if err != nil {
			t.Fatal(err)
		}
		var rendered rules
		if err := yaml.UnmarshalStrict(text, &rendered); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, group := range rendered.Groups {
			for _, alert := range group.Rules {
				n++
				if alert.Labels["team"] != "platform" || !strings.HasPrefix(alert.Annotations["runbook_url"], "https://docs.example/runbooks#lti") {
					t.Errorf("%s: %v %v", alert.Alert, alert.Labels, alert.Annotations)
				}
				if strings.Contains(alert.Expr, "operator-namespace") || strings.Contains(alert.Expr, `{namespace=""`) {
					t.Errorf("%s: %s", alert.Alert, alert.Expr)
				}
			}
		}
		if n != len(alerts(t)) || !strings.Contains(string(text), "namespace=\""+namespace+"\"") {
			t.Errorf("%d alerts are rendered, of %d", n, len(alerts(t)))
		}
		return
	}
	t.Error("no PrometheusRule")
}

// Prometheus itself says whether it can read the rules and the queries, and what fires on given series.
func TestPrometheusTakesRulesAndQueries(t *testing.T) {
	run := func(arguments ...string) {
		t.Helper()
		if text, err := exec.Command("promtool", arguments...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, text)
		}
	}
	run("check", "rules", alertsFile)
	run("test", "rules", "testdata/alerts.test.yaml")
	type recording struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var list []recording
	for _, query := range panelQueries(t) {
		list = append(list, recording{"dashboard:query", query})
	}
	// One name for all of them is a duplicate where the queries are equal.
	slices.SortFunc(list, func(a, b recording) int { return strings.Compare(a.Expr, b.Expr) })
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": slices.Compact(list)}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	run("check", "rules", "--lint=none", file)
}

// Every alert is tried on series that make it fire.
func TestEveryAlertIsTried(t *testing.T) {
	text, err := os.ReadFile("testdata/alerts.test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range alerts(t) {
		if !strings.Contains(string(text), "alertname: "+alert.Alert+"\n") {
			t.Errorf("testdata/alerts.test.yaml does not try %s", alert.Alert)
		}
	}
}

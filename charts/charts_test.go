//go:build charts

// SPDX-License-Identifier: Apache-2.0

package charts_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/lti-operator/lti-operator/config/crd"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// cases returns the chart's values files by name.
func cases(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(valuesFiles)
	if err != nil || len(files) < 5 {
		t.Fatalf("%d values files: %v", len(files), err)
	}
	byName := map[string]string{}
	for _, file := range files {
		byName[strings.TrimSuffix(filepath.Base(file), "-values.yaml")] = file
	}
	return byName
}

func TestRenderedChartsMatchGoldenFiles(t *testing.T) {
	for name, file := range cases(t) {
		t.Run(name, func(t *testing.T) {
			var kept []string
			for _, document := range strings.Split(template(t, "-f", file), "\n---\n") {
				// What comes from files/ as it stands is tested there.
				if !strings.Contains(document, "\nkind: PrometheusRule\n") && !strings.Contains(document, "\nkind: ConfigMap\n") {
					kept = append(kept, document)
				}
			}
			// A new version is none of what this is about.
			got := strings.ReplaceAll(strings.Join(kept, "\n---\n"), chartVersion(t), "VERSION")
			golden := filepath.Join("testdata", name+".out.yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("output differs from %s (make charts-check FLAGS=-update accepts it):\n%s", golden, diff)
			}
		})
	}
}

func chartVersion(t *testing.T) string {
	t.Helper()
	var versions []string
	for _, name := range []string{"lti-operator", "lti-operator-crds"} {
		var chart struct{ Version, AppVersion, KubeVersion string }
		read(t, filepath.Join(name, "Chart.yaml"), &chart)
		versions = append(versions, chart.Version, chart.AppVersion)
	}
	if versions = slices.Compact(versions); len(versions) != 1 {
		t.Fatalf("the charts and what they install do not have one version: %v", versions)
	}
	return versions[0]
}

// read reads a YAML file.
func read(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// Schema, rules in CEL, references between fields and the Pod Security level "restricted": nothing knows them better than
// the API server.
func TestTheAPIServerTakesWhatIsRendered(t *testing.T) {
	for name, file := range cases(t) {
		t.Run(name, func(t *testing.T) {
			kinds := map[string]int{}
			for _, object := range objects(t, template(t, "-f", file)) {
				kinds[object.GetKind()]++
				accepted(t, object)
			}
			t.Log(kinds)
		})
	}
	t.Run("names that are as long as they can be", func(t *testing.T) {
		text, err := helm("template", strings.Repeat("r", 53), "lti-operator", "--namespace", namespace, "-f", "lti-operator/ci/everything-values.yaml",
			"--set", "nameOverride=null,fullnameOverride=null,academy.name="+strings.Repeat("a", 40))
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects(t, text) {
			accepted(t, object)
		}
	})
	t.Run("install.yaml", func(t *testing.T) {
		command := exec.Command("hack/charts/install-yaml.sh")
		command.Dir, command.Stderr = "..", os.Stderr
		text, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		list := objects(t, string(text))
		var kinds []string
		for _, object := range list {
			kinds = append(kinds, object.GetKind())
			accepted(t, object)
		}
		if kinds[0] != "Namespace" || !slices.Equal(kinds[1:5], slices.Repeat([]string{"CustomResourceDefinition"}, 4)) {
			t.Errorf("install.yaml does not begin with the namespace and the definitions: %v", kinds)
		}
		if !slices.Contains(kinds, "Deployment") || slices.Contains(kinds, "LTIAcademy") {
			t.Errorf("install.yaml has %v", kinds)
		}
	})
}

// Without this a dry run that looks at nothing would pass the test above.
func TestTheAPIServerRefusesWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct{ set, want string }{
		"a field that does not exist":                        {`academy.spec.colour=blue`, "colour"},
		"a rule of the definition":                           {`academy.spec.handler.replicas=2`, "handler.replicas can be at most 1 with SQLite storage"},
		"an address that is not https":                       {`academy.url=http://lti.academy.example`, "url must be https"},
		"a quantity that is none":                            {`resources.limits.memory=much`, ""},
		"a constraint of the pods that the schema lets pass": {`tolerations[0].operator=Sometimes`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := helm("template", "lti-operator", "lti-operator", "--namespace", namespace,
				"-f", "lti-operator/ci/default-values.yaml", "--set-json", setJSON(test.set))
			if err != nil {
				t.Fatalf("refused before: %v", err)
			}
			var problems []string
			for _, object := range objects(t, text) {
				if err := dryRun(t, object); err != nil {
					problems = append(problems, err.Error())
				}
			}
			if len(problems) != 1 || !strings.Contains(problems[0], test.want) {
				t.Errorf("refused with %q, want one problem with %q", problems, test.want)
			}
		})
	}
}

// setJSON makes key=text of key=text as --set-json wants it.
func setJSON(set string) string {
	key, value, _ := strings.Cut(set, "=")
	if regexp.MustCompile(`^([0-9]+|true|false|null|[\[{].*)$`).MatchString(value) {
		return set
	}
	quoted, _ := json.Marshal(value)
	return key + "=" + string(quoted)
}

func TestValuesThatAreRefused(t *testing.T) {
	ok := []string{"--set", "academy.url=https://lti.academy.example"}
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"no url":                        {nil, "academy.url is required"},
		"an unknown key":                {append(ok, "--set", "replicaCount=2"), "replicaCount"},
		"an unknown key further down":   {append(ok, "--set", "image.name=x"), "name"},
		"a wrong type":                  {append(ok, "--set", "replicas=two"), "replicas"},
		"an unknown scope":              {append(ok, "--set", "scope=Namespaced"), "scope"},
		"namespaces in scope Cluster":   {append(ok, "--set", "scope=Cluster,watchNamespaces={a}"), "watchNamespaces belongs to scope: Namespaces"},
		"an academy nobody looks after": {append(ok, "--set", "watchNamespaces={a,b},academy.namespace=c"), "academy.namespace is c, where the operator does not work"},
		"an address with a path":        {[]string{"--set", "academy.url=https://lti.academy.example/path"}, "url"},
		"two titles":                    {append(ok, "--set", "academy.spec.title=x"), "academy.spec.title: give it as academy.title"},
		"a digest that is a tag":        {append(ok, "--set", "image.digest=v1"), "digest"},
		"a duration without a unit":     {append(ok, "--set", "leaderElection.leaseDuration=\"35\""), "leaseDuration"},
		"no ServiceAccount":             {append(ok, "--set", "serviceAccount.create=false"), "serviceAccount.name is required"},
		"a monitor of no Service":       {append(ok, "--set", "metrics.service=false,metrics.serviceMonitor.create=true"), "metrics.serviceMonitor.create needs metrics.service"},
		"a Kubernetes that is too old":  {append(ok, "--kube-version", "1.30.9"), "incompatible with Kubernetes"},
		"an image for one academy":      {append(ok, "--set", "academy.image=x"), "image"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := helm(append([]string{"template", "lti-operator", "lti-operator", "--namespace", namespace}, test.arguments...)...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
	if _, err := helm("template", "c", "lti-operator-crds", "--set", "create=false"); err == nil {
		t.Error("the chart of the definitions takes unknown values")
	}
}

func TestLint(t *testing.T) {
	arguments := [][]string{{"lint", "--strict", "lti-operator-crds"}}
	for _, file := range cases(t) {
		arguments = append(arguments, []string{"lint", "--strict", "lti-operator", "-f", file})
	}
	for _, a := range arguments {
		if _, err := helm(a...); err != nil {
			t.Error(err)
		}
	}
}

// schema is what is looked at of a JSON schema.
type schema struct {
	Properties           map[string]schema `json:"properties"`
	AdditionalProperties any               `json:"additionalProperties"`
}

func TestEveryValueIsInTheSchema(t *testing.T) {
	var values map[string]any
	read(t, "lti-operator/values.yaml", &values)
	var s schema
	read(t, "lti-operator/values.schema.json", &s)
	delete(s.Properties, "global")
	var compare func(path string, values map[string]any, s schema)
	compare = func(path string, values map[string]any, s schema) {
		if s.AdditionalProperties != false {
			t.Errorf("%s takes unknown keys", path)
		}
		for key := range s.Properties {
			if _, ok := values[key]; !ok && path != ".resources" {
				t.Errorf("%s.%s is in the schema only", path, key)
			}
		}
		for key, value := range values {
			property, ok := s.Properties[key]
			if !ok {
				t.Errorf("%s.%s is not in the schema", path, key)
			}
			if group, isGroup := value.(map[string]any); isGroup && property.Properties != nil {
				compare(path+"."+key, group, property)
			}
		}
	}
	compare("", values, s)
}

// typed reads the objects of one kind.
func typed[T any](t *testing.T, list []*unstructured.Unstructured, kind string) []T {
	t.Helper()
	var out []T
	for _, object := range list {
		if object.GetKind() != kind {
			continue
		}
		into := new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, into, true); err != nil {
			t.Fatal(err)
		}
		out = append(out, *into)
	}
	return out
}

func TestPermissionsAreThoseOfTheCode(t *testing.T) {
	generated := rbacv1.ClusterRole{}
	read(t, "../config/rbac/role.yaml", &generated)
	account := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: "lti-operator", Namespace: namespace}
	lease := []rbacv1.PolicyRule{
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create", "get", "update"}},
		{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	}
	for name, test := range map[string]struct {
		namespaces []string
		cluster    bool
	}{
		"default":    {namespaces: []string{namespace}},
		"namespaces": {namespaces: []string{"academy-one", "academy-two"}},
		"cluster":    {cluster: true},
	} {
		t.Run(name, func(t *testing.T) {
			list := objects(t, template(t, "-f", cases(t)[name]))
			// What is granted, by namespace and role; found by following the bindings.
			granted, want := map[string][]rbacv1.PolicyRule{}, map[string][]rbacv1.PolicyRule{
				namespace + " lti-operator-leader-election": lease,
			}
			for _, ns := range test.namespaces {
				want[ns+" lti-operator"] = generated.Rules
			}
			if test.cluster {
				want[" "+namespace+":lti-operator"] = generated.Rules
			}
			roles := map[string][]rbacv1.PolicyRule{}
			for _, role := range typed[rbacv1.Role](t, list, "Role") {
				roles["Role "+role.Namespace+" "+role.Name] = role.Rules
			}
			for _, role := range typed[rbacv1.ClusterRole](t, list, "ClusterRole") {
				roles["ClusterRole  "+role.Name] = role.Rules
			}
			bind := func(namespace string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
				if len(subjects) != 1 || subjects[0] != account {
					t.Errorf("%s is bound to %v", ref.Name, subjects)
				}
				granted[namespace+" "+ref.Name] = roles[ref.Kind+" "+namespace+" "+ref.Name]
			}
			for _, binding := range typed[rbacv1.RoleBinding](t, list, "RoleBinding") {
				bind(binding.Namespace, binding.RoleRef, binding.Subjects)
			}
			for _, binding := range typed[rbacv1.ClusterRoleBinding](t, list, "ClusterRoleBinding") {
				bind("", binding.RoleRef, binding.Subjects)
			}
			if diff := cmp.Diff(want, granted); diff != "" {
				t.Errorf("the permissions differ:\n%s", diff)
			}
			if len(roles) != len(granted) {
				t.Errorf("of %d roles %d are bound", len(roles), len(granted))
			}
			deployment := typed[appsv1.Deployment](t, list, "Deployment")[0]
			arguments := strings.Join(deployment.Spec.Template.Spec.Containers[0].Args, " ")
			if test.cluster != strings.Contains(arguments, "--all-namespaces") ||
				!test.cluster && !strings.Contains(arguments, "--watch-namespaces="+strings.Join(test.namespaces, ",")+" ") {
				t.Errorf("the operator is told %s", arguments)
			}
			if deployment.Spec.Template.Spec.ServiceAccountName != account.Name {
				t.Errorf("the operator runs as %s", deployment.Spec.Template.Spec.ServiceAccountName)
			}
		})
	}
}

// That the chart has no ClusterRole in scope Namespaces relies on this: controllers.Definitions asks for nothing else
// outside of its namespaces.
func TestEveryServiceAccountMayReadTheOpenAPIDocument(t *testing.T) {
	for _, path := range []string{"/openapi/v3", "/openapi/v3/apis/lti-operator.io/v1alpha1"} {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:                  "system:serviceaccount:" + namespace + ":lti-operator",
			Groups:                []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"},
		}}
		if err := api.Create(t.Context(), review); err != nil {
			t.Fatal(err)
		}
		if !review.Status.Allowed {
			t.Errorf("a ServiceAccount may not read %s", path)
		}
	}
}

func TestUninstallingKeepsWhatPeopleRelyOn(t *testing.T) {
	const policy = "helm.sh/resource-policy"
	text, err := helm("template", "lti-operator-crds", "lti-operator-crds")
	if err != nil {
		t.Fatal(err)
	}
	want, err := crd.All()
	if err != nil {
		t.Fatal(err)
	}
	got := typed[apiextensionsv1.CustomResourceDefinition](t, objects(t, text), "CustomResourceDefinition")
	if len(got) != len(want) {
		t.Fatalf("%d definitions, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Annotations[policy] != "keep" {
			t.Errorf("%s would be deleted, and every resource with it", got[i].Name)
		}
		delete(got[i].Annotations, policy)
		if diff := cmp.Diff(*want[i], got[i]); diff != "" {
			t.Errorf("%s is not the one in config/crd:\n%s", got[i].Name, diff)
		}
	}
	for name, file := range cases(t) {
		for _, object := range objects(t, template(t, "-f", file)) {
			if keep := object.GetAnnotations()[policy] == "keep"; keep != (object.GetKind() == "LTIAcademy") {
				t.Errorf("%s: %s %s: kept %t", name, object.GetKind(), object.GetName(), keep)
			}
		}
	}
}

// The operator must know every flag, and read what it is given.
func TestTheOperatorTakesItsArguments(t *testing.T) {
	program := buildOperator(t)
	for name, file := range cases(t) {
		t.Run(name, func(t *testing.T) {
			deployment := typed[appsv1.Deployment](t, objects(t, template(t, "-f", file)), "Deployment")[0]
			command := exec.Command(program, deployment.Spec.Template.Spec.Containers[0].Args...)
			command.Env = []string{"KUBECONFIG=" + filepath.Join(t.TempDir(), "none")}
			text, err := command.CombinedOutput()
			// It has read its command line when it looks for the cluster.
			if err == nil || !strings.Contains(string(text), "find the API server") {
				t.Errorf("%v: %s", err, text)
			}
		})
	}
	// The reason for the check above to mean anything.
	text, _ := exec.Command(program, "--no-such-flag").CombinedOutput()
	if strings.Contains(string(text), "find the API server") {
		t.Errorf("an unknown flag is taken: %s", text)
	}
}

// Every label that something selects by must be on what it means to select.
func TestSelectorsMatch(t *testing.T) {
	for name, file := range cases(t) {
		t.Run(name, func(t *testing.T) {
			list := objects(t, template(t, "-f", file))
			deployment := typed[appsv1.Deployment](t, list, "Deployment")[0]
			labels := deployment.Spec.Template.Labels
			// What the operator is told to let into the launch handlers' control ports.
			told := map[string]any{}
			for _, argument := range deployment.Spec.Template.Spec.Containers[0].Args {
				if list, ok := strings.CutPrefix(argument, "--operator-pod-labels="); ok {
					for _, label := range strings.Split(list, ";") {
						key, value, _ := strings.Cut(label, "=")
						told[key] = value
					}
				}
			}
			check := func(what string, selector map[string]any) {
				if len(selector) == 0 {
					t.Errorf("%s selects everything", what)
				}
				for key, value := range selector {
					if labels[key] != value {
						t.Errorf("%s selects %s=%v; the pods have %v", what, key, value, labels)
					}
				}
			}
			check("the operator", told)
			for _, object := range list {
				for kind, path := range map[string][]string{
					"Deployment": {"spec", "selector", "matchLabels"}, "PodDisruptionBudget": {"spec", "selector", "matchLabels"},
					"NetworkPolicy": {"spec", "podSelector", "matchLabels"}, "Service": {"spec", "selector"},
				} {
					if object.GetKind() == kind {
						selector, _, err := unstructured.NestedMap(object.Object, path...)
						if err != nil {
							t.Fatal(err)
						}
						check(kind, selector)
					}
				}
			}
			if budgets, replicas := count(list, "PodDisruptionBudget"), *deployment.Spec.Replicas; (budgets == 1) != (replicas >= 2) {
				t.Errorf("%d budgets for %d replicas", budgets, replicas)
			}
		})
	}
}

func count(list []*unstructured.Unstructured, kind string) (n int) {
	for _, object := range list {
		if object.GetKind() == kind {
			n++
		}
	}
	return n
}

// Examples that cannot be applied help nobody.
func TestExamplesInTheDocumentation(t *testing.T) {
	known := map[string]bool{"argoproj.io": false, "fluxcd.io": false}
	for _, page := range []string{"install.md", "gitops.md", "runbooks.md"} {
		text, err := os.ReadFile(filepath.Join("..", "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
		for i, block := range blocks {
			t.Run(fmt.Sprintf("%s/%d", page, i+1), func(t *testing.T) {
				for _, object := range objects(t, block[1]) {
					group := object.GroupVersionKind().Group
					switch {
					case object.GetAPIVersion() == "":
						// A values file of the operator's chart.
						rendersWith(t, object.Object)
					case group == "argoproj.io":
						known["argoproj.io"] = true
						values, ok, err := unstructured.NestedMap(object.Object, "spec", "source", "helm", "valuesObject")
						if err != nil {
							t.Fatal(err)
						}
						if ok {
							rendersWith(t, values)
						}
					case strings.HasSuffix(group, "fluxcd.io"):
						known["fluxcd.io"] = true
						if values, ok, _ := unstructured.NestedMap(object.Object, "spec", "values"); ok {
							rendersWith(t, values)
						}
					case group == "kustomize.config.k8s.io":
					default:
						if object.GetNamespace() == "" && object.GetKind() != "Namespace" && object.GetKind() != "ClusterIssuer" {
							object.SetNamespace("academy")
						}
						accepted(t, object)
					}
				}
			})
		}
	}
	for group, seen := range known {
		if !seen {
			t.Errorf("no example of %s was found", group)
		}
	}
}

// rendersWith fails unless the operator's chart takes the values, and the API server what it makes of them.
func rendersWith(t *testing.T, values map[string]any) {
	t.Helper()
	text, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, object := range objects(t, template(t, "-f", file)) {
		accepted(t, object)
	}
}

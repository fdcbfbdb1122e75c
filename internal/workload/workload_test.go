// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

func TestBuildMatchesGoldenFiles(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(inputs) == 0 {
		t.Fatal("no cases in testdata")
	}
	for _, in := range inputs {
		name := filepath.Base(in[:len(in)-len(".in.yaml")])
		t.Run(name, func(t *testing.T) {
			got := render(t, Build(params(readAcademy(t, in))))
			golden := filepath.Join("testdata", name+".out.yaml")
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("output differs from %s (run with -update to accept):\n%s", golden, diff)
			}
		})
	}
}

// A publish must not roll the launch handler out, and neither must anything that is served from the table.
func TestDeactivatingAnAcademyChangesNoObject(t *testing.T) {
	a := readAcademy(t, "testdata/default.in.yaml")
	before := render(t, Build(params(a)))
	a.Spec.Activation = v1alpha1.Deactivated
	a.Spec.Title = "Another title"
	if diff := cmp.Diff(string(before), string(render(t, Build(params(a))))); diff != "" {
		t.Errorf("objects changed:\n%s", diff)
	}
}

func TestEverythingButTheVolumeIsOwnedByTheAcademy(t *testing.T) {
	a := readAcademy(t, "testdata/two-replicas.in.yaml")
	// Both at once is for this test only.
	a.Spec.Exposure = &v1alpha1.AcademyExposure{Ingress: &v1alpha1.AcademyIngress{}, HTTPRoute: &v1alpha1.AcademyHTTPRoute{}}
	o := reflect.ValueOf(Build(params(a)))
	for i := range o.NumField() {
		field := o.Type().Field(i).Name
		if o.Field(i).IsNil() {
			t.Errorf("%s is nil", field)
			continue
		}
		owners := o.Field(i).Elem().FieldByName("ObjectMetaApplyConfiguration").Elem().FieldByName("OwnerReferences")
		want := 1
		if field == "PersistentVolumeClaim" {
			want = 0
		}
		if owners.Len() != want {
			t.Errorf("%s has %d owner references, want %d", field, owners.Len(), want)
		}
	}
}

func TestSharedStoreRollsWithoutAGap(t *testing.T) {
	s := strategy(false)
	if *s.Type != appsv1.RollingUpdateDeploymentStrategyType || s.RollingUpdate.MaxUnavailable.IntValue() != 0 {
		t.Errorf("strategy = %+v, want RollingUpdate with maxUnavailable 0", s)
	}
}

func TestNamesOfTheLongestAcademyAreValid(t *testing.T) {
	academy := "a123456789-123456789-123456789-123456789" // 40 characters, the most that the schema allows
	names := []string{
		RoutingConfigMapName(academy, 7), KeySecretName(academy, 3), ManifestConfigMapName(academy),
		HandlerName(academy), DataClaimName(academy), TLSSecretName(academy),
	}
	for _, name := range names {
		if problems := validation.IsDNS1035Label(name); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
	for key, value := range Labels(academy) {
		if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
			t.Errorf("label %s=%s: %v", key, value, problems)
		}
	}
}

func TestPodLabelsContainTheSelector(t *testing.T) {
	labels := Labels("default")
	for key, value := range SelectorLabels("default") {
		if labels[key] != value {
			t.Errorf("label %s = %q, selector wants %q", key, labels[key], value)
		}
	}
}

func params(a *v1alpha1.LTIAcademy) Params {
	return Params{
		Academy:           a,
		Image:             "registry.example/launch-handler:1.2.3",
		OperatorNamespace: "lti-system",
		OperatorPodLabels: map[string]string{"app.kubernetes.io/name": "lti-operator"},
	}
}

func readAcademy(t *testing.T, file string) *v1alpha1.LTIAcademy {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a := &v1alpha1.LTIAcademy{}
	if err := yaml.UnmarshalStrict(b, a); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return a
}

// render writes the objects in the order of their fields, as one YAML stream.
func render(t *testing.T, o Objects) []byte {
	t.Helper()
	var out bytes.Buffer
	v := reflect.ValueOf(o)
	for i := range v.NumField() {
		if v.Field(i).IsNil() {
			continue
		}
		b, err := yaml.Marshal(v.Field(i).Interface())
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("---\n")
		out.Write(b)
	}
	return out.Bytes()
}

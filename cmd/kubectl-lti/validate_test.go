// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/lti-operator/lti-operator/config/crd"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// plugin runs the program and returns what it prints and its exit status.
func plugin(t *testing.T, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, terminal{in: strings.NewReader(stdin), out: &out, err: &errs})
	return out.String(), errs.String(), status
}

// cases are the files of testdata that have an expected output.
func cases(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.yaml", "*.json"} {
		files, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, files...)
	}
	if len(all) < 25 {
		t.Fatalf("only %d cases", len(all))
	}
	return all
}

// Each file in testdata breaks one class of rule; <case>.out is what validate prints about it.
func TestFindingsMatchGoldenFiles(t *testing.T) {
	for _, file := range cases(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			stdout, stderr, status := plugin(t, "", "validate", "-f", file)
			got := stdout + stderr + fmt.Sprintf("exit status %d\n", status)
			golden := strings.TrimSuffix(file, filepath.Ext(file)) + ".out"
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
				t.Errorf("output differs from %s (run with -update to accept, -want +got):\n%s", golden, diff)
			}
		})
	}
}

func TestTheDemoIsValid(t *testing.T) {
	stdout, stderr, status := plugin(t, "", "validate", "-f", filepath.Join("..", "..", "config", "samples", "demo"))
	if status != exitOK || stderr != "" || stdout != "18 resources valid, 0 invalid, 0 warnings\n" {
		t.Errorf("exit status %d, %s%s", status, stdout, stderr)
	}
}

// The sample of an academy as it is without the operator is complete, with every Secret.
func TestTheSampleOfBeforeIsValid(t *testing.T) {
	stdout, stderr, status := plugin(t, "", "validate", "-f", filepath.Join("..", "..", "config", "samples", "as-before"))
	if status != exitOK || stderr != "" || stdout != "11 resources valid, 0 invalid, 0 warnings\n" {
		t.Errorf("exit status %d, %s%s", status, stdout, stderr)
	}
}

func TestTheSampleOfRegistrationIsValid(t *testing.T) {
	folder := filepath.Join("..", "..", "config", "samples", "registration")
	stdout, stderr, status := plugin(t, "", "validate", "-f", folder)
	if status != exitOK || stderr != "" || stdout != "3 resources valid, 0 invalid, 0 warnings\n" {
		t.Errorf("exit status %d, %s%s", status, stdout, stderr)
	}
	// What is approved is known to the cluster only.
	text, err := os.ReadFile(filepath.Join(folder, "platform.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	approved := strings.Replace(string(text), "# approved:", "approved:", 1)
	stdout, stderr, status = plugin(t, approved, "validate", "-f", "-", "-f", filepath.Join(folder, "academy.yaml"))
	if approved == string(text) || status != exitOK || stderr != "" || stdout != "2 resources valid, 0 invalid, 0 warnings\n" {
		t.Errorf("exit status %d, %s%s", status, stdout, stderr)
	}
}

// Findings go to logs of CI.
func TestNoSecretValueIsPrinted(t *testing.T) {
	checked := 0
	for _, file := range cases(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var output string
		for _, format := range []string{"text", "json"} {
			stdout, stderr, _ := plugin(t, "", "validate", "-o", format, "-f", file)
			output += stdout + stderr
		}
		for _, d := range (source{name: file, text: text}).read() {
			if d.object["kind"] != "Secret" {
				continue
			}
			for _, part := range []string{"data", "stringData", "stringdata"} {
				values, _ := d.object[part].(map[string]any)
				for key, value := range values {
					text, _ := value.(string)
					plain, _ := base64.StdEncoding.DecodeString(text)
					for _, secret := range []string{text, string(plain)} {
						if checked++; strings.TrimSpace(secret) != "" && strings.Contains(output, secret) {
							t.Errorf("%s: the value of %s is printed", file, key)
						}
					}
				}
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d values", checked)
	}
}

const (
	academyText = "apiVersion: lti-operator.io/v1alpha1\nkind: LTIAcademy\nmetadata: {name: default}\nspec: {title: Acme, url: https://lti.acme.example}\n"
	toolText    = "apiVersion: lti-operator.io/v1alpha1\nkind: LTITool\nmetadata: {name: lab}\nspec: {title: Lab}\n"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsRead(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, ".", map[string]string{
		"deploy/academy.yaml":    academyText,
		"deploy/below/tool.yml":  toolText,
		"deploy/README.md":       "# no YAML: [",
		"deploy/comments.yaml":   "# nothing\n---\n\n---\n# still nothing\n",
		"without-extension":      toolText,
		"windows.yaml":           strings.ReplaceAll(academyText+"---\n"+toolText, "\n", "\r\n"),
		"separators.yaml":        "--- # first\n" + academyText + "---  \n" + toolText + "---",
		"two-in-one.yaml":        academyText + "...\n---  x\n",
		"empty/nothing.txt":      "",
		"empty.yaml":             "",
		"conflict/a/first.yaml":  strings.Replace(academyText, "default}", "default, namespace: one}", 1),
		"conflict/b/second.yaml": strings.Replace(academyText, "default}", "default, namespace: two}", 1),
	})
	for name, c := range map[string]struct {
		args   []string
		stdin  string
		status int
		wants  []string // in output
	}{
		"a directory":                           {args: []string{"-f", "deploy"}, wants: []string{"1 resource valid, 0 invalid, 0 warnings\n"}},
		"a directory with what is below":        {args: []string{"-R", "-f", "deploy"}, wants: []string{"2 resources valid, 0 invalid, 0 warnings\n"}},
		"a file that is met twice":              {args: []string{"-f", "deploy", "-f", "./deploy/academy.yaml"}, wants: []string{"1 resource valid"}},
		"a file without extension":              {args: []string{"-f", "without-extension,deploy"}, wants: []string{"2 resources valid"}},
		"standard input":                        {args: []string{"-f", "-"}, stdin: academyText + "---\n" + toolText, wants: []string{"2 resources valid"}},
		"standard input with an error":          {args: []string{"-f", "-"}, stdin: "\n" + strings.Replace(toolText, "title", "name", 1), status: exitFailed, wants: []string{`stdin:5: LTITool/lab: unknown field "spec.name"`}},
		"lines that end with CR LF":             {args: []string{"-f", "windows.yaml"}, wants: []string{"2 resources valid"}},
		"separators with comments":              {args: []string{"-f", "separators.yaml"}, wants: []string{"2 resources valid"}},
		"an empty file":                         {args: []string{"-f", "empty.yaml"}, wants: []string{"0 resources valid, 0 invalid"}},
		"documents that are not told apart":     {args: []string{"-f", "two-in-one.yaml"}, status: exitFailed, wants: []string{"two-in-one.yaml:1: another document follows"}},
		"the namespace of the rest":             {args: []string{"-n", "acme", "-f", "without-extension"}, wants: []string{"in namespace acme"}},
		"the first file is the older one":       {args: []string{"-f", "conflict/a", "-f", "conflict/b"}, status: exitFailed, wants: []string{"conflict/b/second.yaml:4: LTIAcademy/default: spec.url: the older LTIAcademy one/default"}},
		"the first file is the older one, also": {args: []string{"-f", "conflict/b", "-f", "conflict/a"}, status: exitFailed, wants: []string{"conflict/a/first.yaml:4: LTIAcademy/default: spec.url: the older LTIAcademy two/default"}},
		"a file that does not exist":            {args: []string{"-f", "nowhere.yaml"}, status: exitUsage, wants: []string{"error: ", "nowhere.yaml"}},
		"a directory without files":             {args: []string{"-f", "empty"}, status: exitUsage, wants: []string{"no .json, .yaml or .yml file in empty"}},
		"no file":                               {status: exitUsage, wants: []string{"--filename"}},
		"an unknown flag":                       {args: []string{"-f", "deploy", "--offline"}, status: exitUsage, wants: []string{"--offline"}},
		"an unknown format":                     {args: []string{"-f", "deploy", "-o", "xml"}, status: exitUsage, wants: []string{"xml"}},
		"help":                                  {args: []string{"--help"}, wants: []string{"Examples:", "helm template"}},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, status := plugin(t, c.stdin, append([]string{"validate"}, c.args...)...)
			if status != c.status {
				t.Errorf("exit status %d", status)
			}
			for _, want := range c.wants {
				if !strings.Contains(stdout+stderr, want) {
					t.Errorf("does not say %q:\n%s%s", want, stdout, stderr)
				}
			}
			if status == exitUsage && stdout != "" {
				t.Errorf("prints %q", stdout)
			}
		})
	}
}

func TestJSONOutput(t *testing.T) {
	stdout, _, status := plugin(t, strings.Replace(toolText, "spec: {title: Lab}", "spec:\n  activation: Maybe\n  title: Lab", 1), "validate", "-o", "json", "-f", "-")
	if status != exitFailed {
		t.Errorf("exit status %d", status)
	}
	var got report
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	want := report{Invalid: 1, Findings: []finding{
		{File: "stdin", Line: 5, Severity: severityError, Kind: "LTITool", Namespace: "default", Name: "lab", Field: "spec.activation", Message: `Unsupported value: "Maybe": supported values: "Activated", "Deactivated"`},
		{File: "stdin", Line: 5, Severity: severityError, Kind: "LTITool", Namespace: "default", Name: "lab", Message: "Invalid value: null: " + notChecked},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if stdout, _, _ := plugin(t, academyText, "validate", "-o", "json", "-f", "-"); !strings.Contains(stdout, `"findings": []`) {
		t.Errorf("no list when there is nothing:\n%s", stdout)
	}
}

// Editors jump to the line.
func TestLinesOfFields(t *testing.T) {
	const text = `# comment
kind: X
spec:
  a: &anchor
    b: 1
  list:
    - c: 1
    - c: 2
      d: {e: 3}
  again: *anchor
`
	documents := source{name: "f", text: []byte("---\n" + text)}.read()
	if len(documents) != 1 {
		t.Fatal(documents)
	}
	for path, want := range map[string]int{
		"": 3, "spec": 4, "spec.a": 5, "spec.a.b": 6, "spec.list": 7, "spec.list[1]": 9, "spec.list[1].c": 9, "spec.list[1].d.e": 10,
		"spec.again": 11, "spec.again.b": 6, "spec.missing.x": 4, "spec.list[7]": 7, "elsewhere": 3, "spec.a[b]": 6,
	} {
		if got := documents[0].lineOf(path); got != want {
			t.Errorf("%q is on line %d, not %d", path, got, want)
		}
	}
}

// The rules in the program are those that are installed.
func TestEmbeddedDefinitionsAreTheFiles(t *testing.T) {
	definitions, err := crd.All()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "crd", "*.yaml"))
	if err != nil || len(files) != len(definitions) {
		t.Fatal(files, err)
	}
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var raw struct {
			Metadata struct{ Name string }
		}
		if err := yaml.Unmarshal(text, &raw); err != nil || raw.Metadata.Name != definitions[i].Name {
			t.Errorf("%s: %q is not %q, %v", file, definitions[i].Name, raw.Metadata.Name, err)
		}
		// details knows every name that kubectl knows.
		names := definitions[i].Spec.Names
		for _, name := range append([]string{strings.ToLower(names.Kind), names.Plural, names.Singular}, names.ShortNames...) {
			if !slices.Contains(kindNames[names.Kind], name) {
				t.Errorf("details does not know %s", name)
			}
		}
	}
	if len(kindNames) != len(definitions) {
		t.Errorf("%d kinds have names, %d definitions", len(kindNames), len(definitions))
	}
}

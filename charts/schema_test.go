//go:build charts

// SPDX-License-Identifier: Apache-2.0

package charts_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/discovery"
)

// Whoever checks manifests without a cluster, as in a pipeline, does it with kubeconform. The schemas are those of the API
// server, our definitions among them.
func TestKubeconformFindsNothing(t *testing.T) {
	schemas := writeSchemas(t)
	for name, file := range cases(t) {
		t.Run(name, func(t *testing.T) {
			conforms(t, schemas, template(t, "-f", file), true)
		})
	}
	for _, folder := range []string{"../config/samples", "../config/crd"} {
		t.Run(folder, func(t *testing.T) {
			found := 0
			err := filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
				if err != nil || filepath.Ext(path) != ".yaml" {
					return err
				}
				found++
				text, err := os.ReadFile(path)
				if err == nil {
					conforms(t, schemas, string(text), true)
				}
				return err
			})
			if err != nil || found == 0 {
				t.Fatalf("%d files: %v", found, err)
			}
		})
	}
	t.Run("what is wrong is found", func(t *testing.T) {
		activity := "apiVersion: lti-operator.io/v1alpha1\nkind: LTIActivity\nmetadata: {name: height}\nspec: {title: Height, type: ELearning, %s}\n"
		conforms(t, schemas, fmt.Sprintf(activity, "durationMinutes: 45"), true)
		conforms(t, schemas, fmt.Sprintf(activity, "durationMinutes: long"), false)
		conforms(t, schemas, fmt.Sprintf(activity, "duration: 45"), false)
		conforms(t, schemas, strings.Replace(template(t, "--set", "academy.create=false"), "replicas:", "replica:", 1), false)
	})
}

// conforms fails unless kubeconform finds a text good, or wrong.
func conforms(t *testing.T, schemas, text string, good bool) {
	t.Helper()
	program := os.Getenv("KUBECONFORM")
	if program == "" {
		t.Fatal("KUBECONFORM does not name a kubeconform (make charts-check provides it)")
	}
	command := exec.Command(program, "-strict", "-summary", "-output", "json", "-schema-location", schemas+"/{{.ResourceKind}}{{.KindSuffix}}.json")
	command.Stdin = strings.NewReader(text)
	out, err := command.Output()
	var result struct {
		Summary struct{ Valid, Invalid, Errors, Skipped int }
	}
	if jsonErr := json.Unmarshal(out, &result); jsonErr != nil {
		t.Fatalf("%v, %v: %s", err, jsonErr, out)
	}
	s := result.Summary
	switch {
	case good && (err != nil || s.Valid == 0 || s.Invalid+s.Errors+s.Skipped > 0), !good && (s.Invalid != 1 || s.Errors+s.Skipped > 0):
		t.Errorf("%v: %s", err, out)
	}
}

// writeSchemas writes what the API server says of every kind as kubeconform wants it, and returns the folder.
func writeSchemas(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	described, err := discovery.NewDiscoveryClientForConfigOrDie(environment.Config).RESTClient().Get().AbsPath("/openapi/v2").
		SetHeader("Accept", "application/json").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Definitions map[string]map[string]any `json:"definitions"`
	}
	if err := json.Unmarshal(described, &document); err != nil {
		t.Fatal(err)
	}
	kinds := 0
	for name, definition := range document.Definitions {
		asKubeconformWants(definition)
		groups, _ := definition["x-kubernetes-group-version-kind"].([]any)
		if len(groups) != 1 {
			continue // shared by all groups, such as DeleteOptions
		}
		gvk := groups[0].(map[string]any)
		suffix := "-" + gvk["version"].(string)
		if group, _, _ := strings.Cut(gvk["group"].(string), "."); group != "" {
			suffix = "-" + group + suffix
		}
		write(t, filepath.Join(folder, strings.ToLower(gvk["kind"].(string))+suffix+".json"), map[string]any{"$ref": "_definitions.json#/definitions/" + name})
		kinds++
	}
	if kinds < 50 {
		t.Fatalf("the API server describes %d kinds", kinds)
	}
	write(t, filepath.Join(folder, "_definitions.json"), document)
	return folder
}

// asKubeconformWants refuses fields that a schema does not name, and takes what Kubernetes writes both as a number and as
// text. OpenAPI 2 cannot say the latter.
func asKubeconformWants(schema map[string]any) {
	if properties, ok := schema["properties"].(map[string]any); ok {
		if schema["x-kubernetes-preserve-unknown-fields"] != true && schema["additionalProperties"] == nil {
			schema["additionalProperties"] = false
		}
		for _, property := range properties {
			asKubeconformWants(property.(map[string]any))
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if inner, ok := schema[key].(map[string]any); ok {
			asKubeconformWants(inner)
		}
	}
	if schema["format"] == "int-or-string" || schema["x-kubernetes-int-or-string"] == true {
		delete(schema, "type")
		schema["oneOf"] = []any{map[string]any{"type": "string"}, map[string]any{"type": "integer"}}
	}
}

func write(t *testing.T, path string, v any) {
	t.Helper()
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	if err := encoder.Encode(v); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// SPDX-License-Identifier: Apache-2.0

// Command charts writes the parts of the charts that are made from something else: the resource definitions, the rules of
// the operator's role, and the table of values in the README. "make generate" runs it.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	yamlnode "go.yaml.in/yaml/v3"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: charts CONFIG CHARTS")
		os.Exit(2)
	}
	config, charts := os.Args[1], os.Args[2]
	if err := errors.Join(
		definitions(filepath.Join(config, "crd"), filepath.Join(charts, "lti-operator-crds", "templates")),
		rules(filepath.Join(config, "rbac", "role.yaml"), filepath.Join(charts, "lti-operator", "templates", "_rules.tpl")),
		readme(filepath.Join(charts, "lti-operator", "values.yaml"), filepath.Join(charts, "lti-operator", "README.md")),
	); err != nil {
		fmt.Fprintln(os.Stderr, "charts:", err)
		os.Exit(1)
	}
}

// keep is what makes Helm leave an object alone when its release is uninstalled.
const keep = `    helm.sh/resource-policy: keep
`

// definitions writes every CustomResourceDefinition as a template. They are templates, and not in crds/, because Helm
// never upgrades what is there; and kept, because Kubernetes deletes every resource of a definition that goes.
func definitions(from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "*.yaml"))
	if err != nil {
		return fmt.Errorf("list the definitions: %w", err)
	}
	stale, err := filepath.Glob(filepath.Join(to, "*_*.yaml"))
	if err != nil {
		return fmt.Errorf("list the templates: %w", err)
	}
	for _, file := range stale {
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("remove the definition of a former run: %w", err)
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read definition: %w", err)
		}
		const annotations = "  annotations:\n"
		before, after, ok := strings.Cut(escape(string(text)), annotations)
		if !ok {
			return fmt.Errorf("%s has no annotations: is it what controller-gen writes?", file)
		}
		out := strings.TrimPrefix(before, "---\n") + annotations + after[:strings.Index(after, "\n")+1] + keep + after[strings.Index(after, "\n")+1:]
		if err := os.WriteFile(filepath.Join(to, filepath.Base(file)), []byte(out), 0o644); err != nil {
			return fmt.Errorf("write definition: %w", err)
		}
	}
	return nil
}

// escape makes a template of a text that renders to that text.
func escape(text string) string {
	return strings.ReplaceAll(text, "{{", `{{ "{{" }}`)
}

// rules writes the rules of the role as a named template, for a Role in each namespace or one ClusterRole.
func rules(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read role: %w", err)
	}
	_, list, ok := strings.Cut(escape(string(text)), "\nrules:\n")
	if !ok {
		return fmt.Errorf("%s has no rules", from)
	}
	out := `{{- /* Made from config/rbac/role.yaml by "make generate". */ -}}
{{- define "lti-operator.rules" -}}
` + strings.TrimRight(list, "\n") + `
{{- end -}}
`
	if err := os.WriteFile(to, []byte(out), 0o644); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	return nil
}

// Marks of the generated part of the README.
const (
	tableBegin = "<!-- Made from values.yaml by \"make generate\". -->\n"
	tableEnd   = "<!-- End of what is made. -->\n"
)

// readme puts the table of values between its marks.
func readme(values, file string) error {
	text, err := os.ReadFile(values)
	if err != nil {
		return fmt.Errorf("read values: %w", err)
	}
	table, err := valuesTable(text)
	if err != nil {
		return fmt.Errorf("%s: %w", values, err)
	}
	page, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read README: %w", err)
	}
	before, rest, begins := strings.Cut(string(page), tableBegin)
	_, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		return fmt.Errorf("%s lacks the marks of the table of values", file)
	}
	if err := os.WriteFile(file, []byte(before+tableBegin+"\n"+table+"\n"+tableEnd+after), 0o644); err != nil {
		return fmt.Errorf("write README: %w", err)
	}
	return nil
}

// valuesTable makes a table of all values: path, default and the comment above. A group whose parts have
// comments is told by its parts; any other is one line.
func valuesTable(text []byte) (string, error) {
	var document yamlnode.Node
	if err := yamlnode.Unmarshal(text, &document); err != nil {
		return "", fmt.Errorf("parse: %w", err)
	}
	var b strings.Builder
	b.WriteString("| value | default | |\n|---|---|---|\n")
	if err := valueLines(&b, "", "", document.Content[0]); err != nil {
		return "", err
	}
	return b.String(), nil
}

// valueLines writes the lines of a mapping. About is the comment of the group, which goes in front of its first part.
func valueLines(b *strings.Builder, path, about string, mapping *yamlnode.Node) error {
	for i := 0; i < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		comment := strings.Join(strings.Fields(strings.ReplaceAll("\n"+key.HeadComment, "\n#", "\n")), " ")
		name := strings.TrimPrefix(path+"."+key.Value, ".")
		if explained(value) {
			if err := valueLines(b, name, strings.TrimSpace(about+" "+comment), value); err != nil {
				return err
			}
			about = ""
			continue
		}
		if comment == "" {
			return fmt.Errorf("line %d: %s has no comment", key.Line, name)
		}
		preset, err := flow(value)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", name, preset, strings.ReplaceAll(strings.TrimSpace(about+" "+comment), "|", "\\|"))
		about = ""
	}
	return nil
}

// explained tells whether a value is a group whose parts have comments.
func explained(value *yamlnode.Node) bool {
	return value.Kind == yamlnode.MappingNode && len(value.Content) > 0 &&
		(value.Content[0].HeadComment != "" || explained(value.Content[1]))
}

// flow is a value on one line.
func flow(value *yamlnode.Node) (string, error) {
	copied := *value
	copied.Style |= yamlnode.FlowStyle
	copied.HeadComment, copied.LineComment, copied.FootComment = "", "", ""
	var out bytes.Buffer
	encoder := yamlnode.NewEncoder(&out)
	if err := encoder.Encode(&copied); err != nil {
		return "", fmt.Errorf("write a default: %w", err)
	}
	return strings.Join(strings.Fields(out.String()), " "), nil
}

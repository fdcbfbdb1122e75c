// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	yamlnode "go.yaml.in/yaml/v3"
)

// shift moves the lines of a tree, which are counted from the start of its document, to those of the file.
func shift(node *yamlnode.Node, by int) {
	node.Line += by
	for _, c := range node.Content {
		shift(c, by)
	}
}

// child is the value of a mapping's key; nil when there is none.
func child(node *yamlnode.Node, key string) *yamlnode.Node {
	node = resolve(node)
	if node == nil || node.Kind != yamlnode.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// element is an item of a sequence; nil when there is none.
func element(node *yamlnode.Node, i int) *yamlnode.Node {
	node = resolve(node)
	if node == nil || node.Kind != yamlnode.SequenceNode || i >= len(node.Content) {
		return nil
	}
	return node.Content[i]
}

func resolve(node *yamlnode.Node) *yamlnode.Node {
	if node != nil && node.Kind == yamlnode.AliasNode {
		return node.Alias
	}
	return node
}

var pathStep = regexp.MustCompile(`\[[^]]*\]|[^.\[]+`)

// lineOf is the line of a field such as spec.deployments.list[1].id, or of as much of its path as there is.
func (d document) lineOf(path string) int {
	line, node := d.line, d.node
	for _, step := range pathStep.FindAllString(path, -1) {
		key := strings.Trim(step, "[]")
		i, err := strconv.Atoi(key)
		var next *yamlnode.Node
		if err == nil && step[0] == '[' {
			next = element(node, i)
		} else {
			next = child(node, key)
		}
		if next == nil {
			return line
		}
		// The value of a key may start below it.
		if line = keyLine(node, next); line == 0 {
			line = next.Line
		}
		node = next
	}
	return line
}

func keyLine(mapping, value *yamlnode.Node) int {
	if mapping = resolve(mapping); mapping.Kind == yamlnode.MappingNode {
		for i := 1; i < len(mapping.Content); i += 2 {
			if mapping.Content[i] == value {
				return mapping.Content[i-1].Line
			}
		}
	}
	return 0
}

// duplicates finds fields that stand in a mapping twice. The message is that of the API server.
func duplicates(node *yamlnode.Node, path string) (out []problem) {
	switch node.Kind {
	case yamlnode.MappingNode:
		seen := map[string]bool{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			field := strings.TrimPrefix(path+"."+key.Value, ".")
			if seen[key.Value] {
				out = append(out, problem{line: key.Line, message: fmt.Sprintf("duplicate field %q", field)})
			}
			seen[key.Value] = true
			out = append(out, duplicates(value, field)...)
		}
	case yamlnode.SequenceNode:
		for i, item := range node.Content {
			out = append(out, duplicates(item, fmt.Sprintf("%s[%d]", path, i))...)
		}
	}
	return out
}

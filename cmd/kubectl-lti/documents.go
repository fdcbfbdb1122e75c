// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	yamlnode "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// source is a file, or standard input.
type source struct {
	name string
	text []byte
}

// document is one object as it stands in a file; each item of a List is one.
type document struct {
	file string
	line int
	// object is the content; nil when it could not be read.
	object map[string]any
	// node tells where in the file each field is; nil when that is not known.
	node *yamlnode.Node
	// problems are what is wrong with the text: it is not YAML or JSON, or a field stands there twice.
	problems []problem
}

// problem is a complaint about one place.
type problem struct {
	line    int
	message string
}

// read splits a file into its documents.
func (s source) read() []document {
	if bytes.HasPrefix(bytes.TrimSpace(s.text), []byte("{")) {
		if documents, ok := s.readJSON(); ok {
			return documents
		}
	}
	return s.readYAML()
}

// readJSON reads JSON objects that follow each other. It gives up on what is not JSON: YAML may start with { too.
func (s source) readJSON() (out []document, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(s.text))
	for {
		var text json.RawMessage
		if err := decoder.Decode(&text); errors.Is(err, io.EOF) {
			return out, true
		} else if err != nil {
			return nil, false
		}
		start := int(decoder.InputOffset()) - len(text)
		d := document{file: s.name, line: 1 + bytes.Count(s.text[:start], []byte("\n"))}
		// Here the tree is for line numbers and fields that stand there twice.
		var node yamlnode.Node
		if err := yamlnode.Unmarshal(surrogate.ReplaceAll(text, []byte(`\u0020`)), &node); err == nil {
			d.place(&node)
		}
		out = append(out, d.decode(text)...)
	}
}

// surrogate is half of a character outside of the basic plane, which JSON escapes and YAML does not.
var surrogate = regexp.MustCompile(`\\u[dD][89a-fA-F][0-9a-fA-F]{2}`)

// separator is the line between two YAML documents, as kubectl takes it.
var separator = regexp.MustCompile(`^---\s*(#.*)?$`)

func (s source) readYAML() (out []document) {
	var text []byte
	line, start := 0, 1
	flush := func() {
		out = append(out, s.parse(text, start)...)
		text, start = nil, line+1
	}
	for content := range bytes.Lines(s.text) {
		line++
		if separator.Match(bytes.TrimRight(content, "\r\n")) {
			flush()
			continue
		}
		text = append(text, content...)
	}
	flush()
	return out
}

// parse reads one YAML document that starts at a line of the file.
func (s source) parse(text []byte, line int) []document {
	d := document{file: s.name, line: line}
	decoder := yamlnode.NewDecoder(bytes.NewReader(text))
	var node, next yamlnode.Node
	if err := decoder.Decode(&node); errors.Is(err, io.EOF) { // comments only
		return nil
	} else if err != nil {
		return []document{d.broken(syntaxError(err, line))}
	}
	d.place(&node)
	if err := decoder.Decode(&next); !errors.Is(err, io.EOF) {
		return []document{d.broken(problem{line: d.line, message: "another document follows; separate them with a line that holds --- only"})}
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return []document{d.broken(syntaxError(err, line))}
	}
	return d.decode(asJSON)
}

// place says where the fields of a document are. The lines of the tree are counted from the start of the document.
func (d *document) place(tree *yamlnode.Node) {
	shift(tree, d.line-1)
	d.node = tree.Content[0]
	d.line = d.node.Line
	d.problems = duplicates(d.node, "")
}

// decode reads the content of a document.
func (d document) decode(text []byte) []document {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var content any
	if err := decoder.Decode(&content); err != nil {
		return []document{d.broken(problem{line: d.line, message: err.Error()})}
	}
	switch content := numbers(content).(type) {
	case nil:
		return nil
	case map[string]any:
		d.object = content
		return d.items()
	}
	return []document{d.broken(problem{line: d.line, message: "not an object"})}
}

// broken is a document that says only what is wrong with it.
func (d document) broken(p problem) document {
	return document{file: d.file, line: p.line, problems: []problem{p}}
}

// items takes a List apart; what is no List is the only item of itself.
func (d document) items() []document {
	kind, _ := d.object["kind"].(string)
	items, ok := d.object["items"].([]any)
	if !ok || !strings.HasSuffix(kind, "List") {
		return []document{d}
	}
	var out []document
	for _, p := range d.problems {
		if !strings.HasPrefix(p.message, `duplicate field "items[`) {
			out = append(out, d.broken(p))
		}
	}
	nodes := child(d.node, "items")
	for i, item := range items {
		object, ok := item.(map[string]any)
		one := document{file: d.file, line: d.line, object: object}
		if one.node = element(nodes, i); one.node != nil {
			one.line = one.node.Line
		}
		switch {
		case !ok:
			one = d.broken(problem{line: one.line, message: fmt.Sprintf("items[%d]: not an object", i)})
		case one.node != nil:
			one.problems = duplicates(one.node, "")
		}
		out = append(out, one)
	}
	return out
}

// numbers replaces what the JSON decoder gives for numbers by what the API server has: int64 where one fits.
func numbers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for k, v := range value {
			value[k] = numbers(v)
		}
	case []any:
		for i, v := range value {
			value[i] = numbers(v)
		}
	case json.Number:
		if i, err := value.Int64(); err == nil {
			return i
		}
		f, _ := value.Float64()
		return f
	}
	return value
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// syntaxError moves the line number in a YAML error to where it is in the file.
func syntaxError(err error, start int) problem {
	p := problem{line: start, message: strings.TrimPrefix(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "), "yaml: ")}
	if at := yamlLine.FindStringSubmatchIndex(p.message); at != nil {
		if line, err := strconv.Atoi(p.message[at[2]:at[3]]); err == nil {
			p.line = start + line - 1
		}
		p.message = p.message[at[1]:]
	}
	p.message = "not YAML: " + p.message
	return p
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// Severities of findings.
const (
	severityError   = "error"
	severityWarning = "warning"
)

// finding is something that a person should look at.
type finding struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Severity string `json:"severity"`
	// Kind, Namespace and Name are empty for text that is no object.
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	// Field is the path within the object, where there is one.
	Field string `json:"field,omitempty"`
	// Reason is that of the condition Accepted, for what the operator would report.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
}

// String is the line that people and editors read.
func (f finding) String() string {
	parts := []string{fmt.Sprintf("%s:%d", f.File, f.Line)}
	if f.Severity == severityWarning {
		parts = append(parts, f.Severity)
	}
	if f.Kind != "" {
		parts = append(parts, f.Kind+"/"+f.Name)
	}
	if f.Field != "" {
		parts = append(parts, f.Field)
	}
	return strings.Join(append(parts, f.Message), ": ")
}

// report is the outcome of validate.
type report struct {
	Findings []finding `json:"findings"`
	// Valid and Invalid count resources of ours and Secrets, and text that could not be read as invalid.
	Valid    int `json:"valid"`
	Invalid  int `json:"invalid"`
	Warnings int `json:"warnings"`
	// Ignored counts objects of other groups.
	Ignored int `json:"ignored"`
}

// Summary is the last line of the output.
func (r *report) Summary() string {
	text := fmt.Sprintf("%s valid, %d invalid, %s", plural(r.Valid, "resource"), r.Invalid, plural(r.Warnings, "warning"))
	if r.Ignored > 0 {
		text += fmt.Sprintf("; %s of other groups ignored", plural(r.Ignored, "object"))
	}
	return text
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// object is a document that is checked.
type object struct {
	document
	kind, namespace, name string
	// broken is set when the API server would refuse the object.
	broken bool
	// typed is the object, or nil when it could not be read.
	typed metav1.Object
}

// validator checks files together.
type validator struct {
	// namespace is that of objects that name none.
	namespace string
	// random makes the key that stands for all signing keys of the cluster.
	random io.Reader
	key    []byte

	schemas *schemas
	// objects are in reading order.
	objects []*object
	seen    map[objectKey]*object
	report  report
	// invalid are the objects with errors.
	invalid map[*object]bool
}

type objectKey struct{ kind, namespace, name string }

// validate checks the objects in the sources: each by itself as the API server does, then all that passed together, as
// the operator does.
func validate(ctx context.Context, sources []source, namespace string, random io.Reader) (*report, error) {
	s, err := loadSchemas()
	if err != nil {
		return nil, err
	}
	v := &validator{namespace: namespace, random: random, schemas: s, seen: map[objectKey]*object{}, invalid: map[*object]bool{}}
	v.report.Findings = []finding{}
	order := map[string]int{}
	for i, source := range sources {
		order[source.name] = i
		for _, d := range source.read() {
			if err := v.add(ctx, d); err != nil {
				return nil, err
			}
		}
	}
	if err := v.together(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(v.report.Findings, func(a, b finding) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line))
	})
	v.report.Invalid += len(v.invalid)
	v.report.Valid = len(v.objects) - len(v.invalid)
	return &v.report, nil
}

// add checks one document by itself.
func (v *validator) add(ctx context.Context, d document) error {
	apiVersion, _ := d.object["apiVersion"].(string)
	kind, _ := d.object["kind"].(string)
	gv, err := schema.ParseGroupVersion(apiVersion)
	if d.object != nil && (err != nil || apiVersion == "" || kind == "") {
		d.problems = append(d.problems, problem{line: d.line, message: "not a Kubernetes object: apiVersion and kind must be set"})
		d.object = nil
	}
	if d.object == nil {
		v.report.Invalid++
		for _, p := range d.problems {
			v.report.Findings = append(v.report.Findings, finding{File: d.file, Line: p.line, Severity: severityError, Message: p.message})
		}
		return nil
	}
	secret := gv == corev1.SchemeGroupVersion && kind == "Secret"
	if !secret && gv.Group != v1alpha1.GroupVersion.Group {
		v.report.Ignored++
		return nil
	}
	o := v.identify(d, kind)
	for _, p := range o.problems {
		v.fail(o, finding{Line: p.line, Message: p.message})
	}
	if first := v.seen[objectKey{o.kind, o.namespace, o.name}]; first != nil {
		v.fail(o, finding{Field: "metadata.name", Message: fmt.Sprintf("the same object stands at %s:%d already", first.file, first.line)})
	} else {
		v.seen[objectKey{o.kind, o.namespace, o.name}] = o
	}
	if secret {
		v.checkSecret(ctx, o)
	} else if err := v.checkResource(ctx, o, gv.WithKind(kind)); err != nil {
		return err
	}
	o.broken = v.invalid[o]
	return nil
}

// identify gives an object the namespace and the name that it would get.
func (v *validator) identify(d document, kind string) *object {
	o := &object{document: d, kind: kind, namespace: v.namespace}
	v.objects = append(v.objects, o)
	if d.object["metadata"] == nil {
		d.object["metadata"] = map[string]any{}
	}
	metadata, ok := d.object["metadata"].(map[string]any)
	if !ok {
		return o
	}
	if metadata["namespace"] == nil || metadata["namespace"] == "" {
		metadata["namespace"] = v.namespace
	}
	if prefix, _ := metadata["generateName"].(string); prefix != "" && metadata["name"] == nil {
		// Five characters that no other object has, after as much of the prefix as the API server takes.
		metadata["name"] = fmt.Sprintf("%s%05d", prefix[:min(len(prefix), 58)], len(v.objects))
	}
	if namespace, _ := metadata["namespace"].(string); namespace != "" {
		o.namespace = namespace
	}
	o.name, _ = metadata["name"].(string)
	return o
}

// checkResource applies the rules of our kinds.
func (v *validator) checkResource(ctx context.Context, o *object, gvk schema.GroupVersionKind) error {
	rules, err := v.schemas.find(gvk)
	if err != nil {
		return err
	}
	if rules == nil {
		v.fail(o, finding{Message: fmt.Sprintf("no matches for kind %q in version %q", gvk.Kind, gvk.GroupVersion())})
		return nil
	}
	unknown, errs, err := rules.check(ctx, o.object)
	if err != nil {
		v.fail(o, finding{Field: "metadata", Message: err.Error()})
		return nil
	}
	for _, path := range unknown {
		v.fail(o, finding{Line: o.lineOf(path), Message: fmt.Sprintf("unknown field %q", path)})
	}
	last := o.line
	for _, e := range errs {
		f := finding{Field: fieldOf(e), Message: e.ErrorBody()}
		if e.Detail == notChecked {
			f.Line = last // it speaks of the ones before
		} else {
			f.Line = o.lineOf(f.Field)
		}
		last = max(last, f.Line)
		v.fail(o, f)
	}
	if o.typed, err = read(o.object, gvk.Kind); err != nil && !v.invalid[o] {
		v.fail(o, finding{Message: err.Error()})
	}
	return nil
}

// read converts an object to its Go type. What cannot be read at all has its metadata only.
func read(content map[string]any, kind string) (metav1.Object, error) {
	typed := newResource(kind)
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, typed)
	if err != nil {
		typed = newResource(kind)
		err = errors.Join(err, runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{"metadata": content["metadata"]}, typed))
	}
	return typed, err
}

func newResource(kind string) v1alpha1.Object {
	switch kind {
	case v1alpha1.KindAcademy:
		return &v1alpha1.LTIAcademy{}
	case v1alpha1.KindPlatform:
		return &v1alpha1.LTIPlatform{}
	case v1alpha1.KindTool:
		return &v1alpha1.LTITool{}
	default:
		return &v1alpha1.LTIActivity{}
	}
}

// checkSecret reads a Secret. Rules that only Secrets have are the API server's business.
func (v *validator) checkSecret(ctx context.Context, o *object) {
	secret := &corev1.Secret{}
	if o.object["sops"] != nil {
		v.warn(o, finding{Message: "encrypted by SOPS: its values are not checked"})
		return
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.object, secret, true); err != nil {
		strict, ok := runtime.AsStrictDecodingError(err)
		if !ok {
			// The error could quote a value.
			v.fail(o, finding{Message: "not a Secret: data must hold base64, stringData text"})
			return
		}
		for _, e := range strict.Errors() {
			v.fail(o, finding{Message: e.Error()})
		}
	}
	for _, e := range checkMeta(ctx, &secret.ObjectMeta) {
		v.fail(o, finding{Field: fieldOf(e), Message: e.ErrorBody()})
	}
	for key, value := range secret.StringData {
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[key] = []byte(value)
	}
	o.typed = secret
}

// fail records an error of an object. The line is that of the field, if not given.
func (v *validator) fail(o *object, f finding) {
	v.invalid[o] = true
	f.Severity = severityError
	v.record(o, f)
}

func (v *validator) warn(o *object, f finding) {
	v.report.Warnings++
	f.Severity = severityWarning
	v.record(o, f)
}

func (v *validator) record(o *object, f finding) {
	f.File, f.Kind, f.Namespace, f.Name = o.file, o.kind, o.namespace, o.name
	if f.Line == 0 {
		f.Line = o.lineOf(f.Field)
	}
	v.report.Findings = append(v.report.Findings, f)
}

// write prints the report.
func (r *report) write(w io.Writer, format string) error {
	if format == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(r)
	}
	for _, f := range r.Findings {
		fmt.Fprintln(w, f)
	}
	fmt.Fprintln(w, r.Summary())
	return nil
}

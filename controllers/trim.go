// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// trim takes from an object that goes into the cache what nothing here reads: which manager set which field, and what
// kubectl remembers of the last apply, which together are most of a small object. Whatever is written is computed from
// what is left, or from a live read: no patch can touch what was taken away, and nothing relies on it being there.
//
// Of thousands of objects hardly any text is unique that stands in labels and conditions: it is kept once.
func trim(in any) (any, error) {
	obj, err := meta.Accessor(in)
	// An object that has been here before is in use (client-go may transform it again): only a fresh one has managers.
	if err != nil || obj.GetManagedFields() == nil {
		return in, nil //nolint:nilerr // what is not an object passes as it is
	}
	obj.SetManagedFields(nil)
	if annotations := obj.GetAnnotations(); annotations != nil {
		delete(annotations, corev1.LastAppliedConfigAnnotation)
		if len(annotations) == 0 {
			obj.SetAnnotations(nil)
		}
	}
	obj.SetNamespace(once(obj.GetNamespace()))
	if labels := obj.GetLabels(); labels != nil {
		shared := make(map[string]string, len(labels))
		for name, value := range labels {
			if name != v1alpha1.LabelOwnerName {
				value = once(value)
			}
			shared[once(name)] = value
		}
		obj.SetLabels(shared)
	}
	switch o := in.(type) {
	case v1alpha1.Object:
		conditions := o.GetConditions()
		for i := range conditions {
			c := &conditions[i]
			c.Type, c.Status, c.Reason, c.Message = once(c.Type), metav1.ConditionStatus(once(string(c.Status))), once(c.Reason), once(c.Message)
		}
	case *corev1.Secret:
		o.Type = corev1.SecretType(once(string(o.Type)))
	}
	return in, nil
}

// once returns the one copy of a text that is kept, for as long as anybody has it.
func once(text string) string { return unique.Make(text).Value() }

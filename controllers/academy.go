// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/compile"
)

func newAcademyReconciler(s shared, applyWorkload func(context.Context, *v1alpha1.LTIAcademy) (Exposure, error)) *kindReconciler[*v1alpha1.LTIAcademy] {
	return &kindReconciler[*v1alpha1.LTIAcademy]{
		shared:    s,
		kind:      v1alpha1.KindAcademy,
		newObject: func() *v1alpha1.LTIAcademy { return &v1alpha1.LTIAcademy{} },
		academy:   func(a *v1alpha1.LTIAcademy) string { return a.Name },
		secrets: func(a *v1alpha1.LTIAcademy) []generatedSecret {
			wanted := []generatedSecret{s.academyKeys(a)}
			if a.SignsIn() {
				name := compile.SigningKeySecretName(v1alpha1.KindAcademy, a.Name)
				wanted = append(wanted, s.signingKey(v1alpha1.KindAcademy, a, name, a.Name))
			}
			return wanted
		},
		prepare: applyWorkload,
		warnings: func(a *v1alpha1.LTIAcademy) map[string]state {
			key := AcademyKey{Namespace: a.Namespace, Name: a.Name}
			summary, _ := s.programmer.Summary(key)
			return academyWarnings(key, summary)
		},
		report: func(a *v1alpha1.LTIAcademy, o *Outcome) {
			a.Status.Keys, a.Status.NextRotationAt = o.Keys, o.NextRotation
			a.Status.Table = nil
			if t, ok := s.programmer.Summary(AcademyKey{Namespace: a.Namespace, Name: a.Name}); ok {
				a.Status.Table = &v1alpha1.TableStatus{
					Activities: int32(t.Activities), //nolint:gosec // bounded by what etcd holds
					Platforms:  int32(t.Platforms),  //nolint:gosec // bounded by what etcd holds
					Tools:      int32(t.Tools),      //nolint:gosec // bounded by what etcd holds
				}
			}
		},
	}
}

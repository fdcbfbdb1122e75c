// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the resources of lti-operator: LTIAcademy, LTIPlatform, LTITool and LTIActivity.
//
// Nothing here is defaulted by the schema. A field that is left out keeps its meaning in one Go function next to the
// type (Effective…), so that a GitOps tool never sees a difference between what it applied and what is stored.
//
// +kubebuilder:object:generate=true
// +groupName=lti-operator.io
package v1alpha1

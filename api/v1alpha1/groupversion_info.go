// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of every resource in this package.
var GroupVersion = schema.GroupVersion{Group: "lti-operator.io", Version: "v1alpha1"}

// Kind names, as they stand in manifests, events, routing shards and metrics.
const (
	KindAcademy  = "LTIAcademy"
	KindPlatform = "LTIPlatform"
	KindTool     = "LTITool"
	KindActivity = "LTIActivity"
)

// AddToScheme registers the resources of this package.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&LTIAcademy{}, &LTIAcademyList{},
		&LTIPlatform{}, &LTIPlatformList{},
		&LTITool{}, &LTIToolList{},
		&LTIActivity{}, &LTIActivityList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

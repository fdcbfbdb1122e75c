// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"strconv"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// Ports of the launch handler's container.
const (
	// PublicPort serves launches, key sets and pages.
	PublicPort int32 = 8080
	// OpsPort serves /livez, /readyz and /metrics, without authentication and without personal data.
	OpsPort int32 = 8081
	// ControlPort serves the operator, over TLS and with a token.
	ControlPort int32 = 8443
)

// Names of the launch handler's ports, the same in the container, the Service and the NetworkPolicy.
const (
	PublicPortName  = "public"
	OpsPortName     = "ops"
	ControlPortName = "control"
)

// ContainerName is the name of the launch handler's container.
const ContainerName = "launch-handler"

// AnnotationTable is set on the launch handler's pods after a publish, to "<hash>/<attempt>": a changed pod makes
// kubelet sync its volumes at once. The pod template does not carry it, so that no publish rolls the Deployment out.
const AnnotationTable = "lti-operator.io/table"

const (
	labelName      = "app.kubernetes.io/name"
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelInstance  = "app.kubernetes.io/instance"

	appName   = "launch-handler"
	managedBy = "lti-operator"
)

// RoutingConfigMapName is the name of the ConfigMap that holds a routing shard; shard counts from 0 to
// routing.RoutingShards-1.
func RoutingConfigMapName(academy string, shard int) string {
	return academy + "-routing-" + strconv.Itoa(shard)
}

// KeySecretName is the name of the Secret that holds a key shard; shard counts from 0 to routing.KeyShards-1.
func KeySecretName(academy string, shard int) string {
	return academy + "-keys-" + strconv.Itoa(shard)
}

// ManifestConfigMapName is the name of the ConfigMap that holds the manifest.
func ManifestConfigMapName(academy string) string { return academy + "-manifest" }

// HandlerName is the name of the launch handler's ServiceAccount, Service, Deployment, NetworkPolicy,
// PodDisruptionBudget, Ingress and HTTPRoute.
func HandlerName(academy string) string { return academy + "-launch-handler" }

// TLSSecretName is the name of the Secret with the certificate of an academy's Ingress, unless its spec names another one.
func TLSSecretName(academy string) string { return academy + "-launch-handler-tls" }

// DataClaimName is the name of the PersistentVolumeClaim that holds the SQLite file. It is made from the academy's name
// only, so that an academy that is deleted and created again finds its people.
func DataClaimName(academy string) string { return academy + "-launch-handler-data" }

// Labels are the labels of everything that belongs to an academy's launch handler.
func Labels(academy string) map[string]string {
	return map[string]string{
		labelName:             appName,
		labelManagedBy:        managedBy,
		labelInstance:         academy,
		v1alpha1.LabelAcademy: academy,
	}
}

// SelectorLabels select the launch handler's pods. A Deployment's selector cannot be changed: nothing may be added here
// once it is released.
func SelectorLabels(academy string) map[string]string {
	return map[string]string{
		labelName:     appName,
		labelInstance: academy,
	}
}

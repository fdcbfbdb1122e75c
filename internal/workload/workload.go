// SPDX-License-Identifier: Apache-2.0

// Package workload builds the Kubernetes objects that run the launch handler of an academy, and holds the names that
// operator, handler and tools agree on.
//
// It is pure: academy and installation settings in, apply configurations out. The caller applies them.
package workload

import (
	"encoding/json"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	applynetworkingv1 "k8s.io/client-go/applyconfigurations/networking/v1"
	applypolicyv1 "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Paths in the launch handler's container.
const (
	// ConfigDir is where the routing table is mounted, read-only.
	ConfigDir = "/etc/lti-operator"
	// DataDir is where the SQLite volume is mounted.
	DataDir = "/var/lib/lti-operator"
	// DatabaseDir is where the connection to PostgreSQL is mounted, read-only.
	DatabaseDir = "/etc/lti-operator-database"
)

// Keys of the Secret with the connection to PostgreSQL. The first is what CloudNativePG and other operators of databases
// call it.
const (
	keyConnectionURI = "uri"
	keyAuthority     = "ca.crt"
)

const (
	configVolume   = "config"
	dataVolume     = "data"
	databaseVolume = "database"
	tmpVolume      = "tmp"

	// servicePort is the port of the Service; TLS ends at the ingress.
	servicePort     int32 = 80
	servicePortName       = "http"

	// userID is "nonroot" of the common minimal base images. The volumes' group is set to it, so that their files need
	// not be readable by everybody.
	userID int64 = 65532
	// volumeMode is what files of the config volume get: readable by root and the group only, for they hold keys.
	volumeMode int32 = 0o440

	// preStopSeconds keeps a terminating pod serving until every proxy has heard that it is leaving.
	preStopSeconds int64 = 5
	// terminationSeconds is longer than the sleep above, the 5 s in which the launch handler sends its clients away, and
	// the 30 s that it gives to requests under way.
	terminationSeconds int64 = 45
	minReadySeconds    int32 = 5

	readyPeriodSeconds int32 = 2
	livePeriodSeconds  int32 = 10
	probeTimeout       int32 = 2

	dnsPort = 53
)

// Params is what the objects are made from.
type Params struct {
	// Academy is the academy to serve, as read from the API server.
	Academy *v1alpha1.LTIAcademy
	// Image is the launch handler's image. It is chosen by whoever installs the operator: an image in the resource
	// would let anyone who may create one run what he likes.
	Image string
	// OperatorNamespace and OperatorPodLabels say where the operator runs; only these pods reach the control port. Without
	// labels every pod of that namespace does.
	OperatorNamespace string
	OperatorPodLabels map[string]string
}

// Objects are the objects of one launch handler. Those that are nil are not wanted: the caller deletes them where they
// exist.
type Objects struct {
	ServiceAccount *applycorev1.ServiceAccountApplyConfiguration
	Service        *applycorev1.ServiceApplyConfiguration
	// PersistentVolumeClaim has no owner reference: the people and grades in it outlive the academy, and an academy of
	// the same name finds them again.
	PersistentVolumeClaim *applycorev1.PersistentVolumeClaimApplyConfiguration
	Deployment            *applyappsv1.DeploymentApplyConfiguration
	NetworkPolicy         *applynetworkingv1.NetworkPolicyApplyConfiguration
	// PodDisruptionBudget is nil with fewer than two replicas: it could only block the draining of nodes.
	PodDisruptionBudget *applypolicyv1.PodDisruptionBudgetApplyConfiguration
	// Ingress and HTTPRoute are nil unless spec.exposure asks for them.
	Ingress   *applynetworkingv1.IngressApplyConfiguration
	HTTPRoute *HTTPRouteApplyConfiguration
}

// Build makes the objects of an academy's launch handler. A deactivated academy keeps its launch handler: it serves the
// page that says so.
func Build(p Params) Objects {
	a := p.Academy
	o := Objects{
		ServiceAccount: serviceAccount(a),
		Service:        service(a),
		Deployment:     deployment(p),
		NetworkPolicy:  networkPolicy(p),
	}
	if !a.UsesPostgres() {
		o.PersistentVolumeClaim = dataClaim(a)
	}
	if a.EffectiveReplicas() >= 2 {
		o.PodDisruptionBudget = podDisruptionBudget(a)
	}
	if e := a.Spec.Exposure; e != nil {
		if e.Ingress != nil {
			o.Ingress = ingress(a)
		}
		if e.HTTPRoute != nil {
			o.HTTPRoute = httpRoute(a)
		}
	}
	return o
}

// OwnerReference makes the academy the controller of an object. It does not block the academy's deletion: that would
// take a permission on its finalizers.
func OwnerReference(a *v1alpha1.LTIAcademy) *applymetav1.OwnerReferenceApplyConfiguration {
	return applymetav1.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).
		WithKind("LTIAcademy").
		WithName(a.Name).
		WithUID(a.UID).
		WithController(true)
}

func serviceAccount(a *v1alpha1.LTIAcademy) *applycorev1.ServiceAccountApplyConfiguration {
	return applycorev1.ServiceAccount(HandlerName(a.Name), a.Namespace).
		WithLabels(Labels(a.Name)).
		WithOwnerReferences(OwnerReference(a)).
		WithAutomountServiceAccountToken(false)
}

func service(a *v1alpha1.LTIAcademy) *applycorev1.ServiceApplyConfiguration {
	return applycorev1.Service(HandlerName(a.Name), a.Namespace).
		WithLabels(Labels(a.Name)).
		WithOwnerReferences(OwnerReference(a)).
		WithSpec(applycorev1.ServiceSpec().
			WithType(corev1.ServiceTypeClusterIP).
			WithSelector(SelectorLabels(a.Name)).
			WithPorts(applycorev1.ServicePort().
				WithName(servicePortName).
				WithAppProtocol("http").
				WithProtocol(corev1.ProtocolTCP).
				WithPort(servicePort).
				WithTargetPort(intstr.FromString(PublicPortName))))
}

func dataClaim(a *v1alpha1.LTIAcademy) *applycorev1.PersistentVolumeClaimApplyConfiguration {
	spec := applycorev1.PersistentVolumeClaimSpec().
		// One pod, not one node: two writers on one SQLite file would be two handlers that do not know each other's
		// nonces.
		WithAccessModes(corev1.ReadWriteOncePod).
		WithResources(applycorev1.VolumeResourceRequirements().
			WithRequests(corev1.ResourceList{corev1.ResourceStorage: a.EffectiveSQLiteSize()}))
	if s := a.Spec.Storage; s != nil && s.SQLite != nil && s.SQLite.StorageClassName != nil {
		spec.WithStorageClassName(*s.SQLite.StorageClassName)
	}
	return applycorev1.PersistentVolumeClaim(DataClaimName(a.Name), a.Namespace).
		WithLabels(Labels(a.Name)).
		WithSpec(spec)
}

func deployment(p Params) *applyappsv1.DeploymentApplyConfiguration {
	a := p.Academy
	return applyappsv1.Deployment(HandlerName(a.Name), a.Namespace).
		WithLabels(Labels(a.Name)).
		WithOwnerReferences(OwnerReference(a)).
		WithSpec(applyappsv1.DeploymentSpec().
			WithReplicas(a.EffectiveReplicas()).
			WithMinReadySeconds(minReadySeconds).
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(SelectorLabels(a.Name))).
			WithStrategy(strategy(!a.UsesPostgres())).
			WithTemplate(podTemplate(p)))
}

func podTemplate(p Params) *applycorev1.PodTemplateSpecApplyConfiguration {
	template := applycorev1.PodTemplateSpec().WithSpec(podSpec(p))
	if h := p.Academy.Spec.Handler; h != nil {
		template.WithLabels(h.PodLabels).WithAnnotations(h.PodAnnotations)
	}
	// Last, so that they win: selectors rely on them.
	return template.WithLabels(Labels(p.Academy.Name))
}

// store is where the launch handler keeps what it must remember: the argument that says so, and the volume.
func store(a *v1alpha1.LTIAcademy) (argument string, volume *applycorev1.VolumeApplyConfiguration, mount *applycorev1.VolumeMountApplyConfiguration) {
	if !a.UsesPostgres() {
		return "--store=sqlite:" + DataDir + "/launches.db",
			applycorev1.Volume().WithName(dataVolume).WithPersistentVolumeClaim(
				applycorev1.PersistentVolumeClaimVolumeSource().WithClaimName(DataClaimName(a.Name))),
			applycorev1.VolumeMount().WithName(dataVolume).WithMountPath(DataDir)
	}
	// These two keys and no others: whoever writes an LTIAcademy need not be allowed to read every Secret.
	source := func(key string) *applycorev1.SecretProjectionApplyConfiguration {
		return applycorev1.SecretProjection().WithName(a.Spec.Storage.Postgres.ConnectionSecretRef.Name).
			WithItems(applycorev1.KeyToPath().WithKey(key).WithPath(key))
	}
	return "--store=postgres-file:" + DatabaseDir + "/" + keyConnectionURI,
		applycorev1.Volume().WithName(databaseVolume).WithProjected(applycorev1.ProjectedVolumeSource().
			WithDefaultMode(volumeMode).
			WithSources(
				applycorev1.VolumeProjection().WithSecret(source(keyConnectionURI)),
				applycorev1.VolumeProjection().WithSecret(source(keyAuthority).WithOptional(true)),
			)),
		applycorev1.VolumeMount().WithName(databaseVolume).WithMountPath(DatabaseDir).WithReadOnly(true)
}

func strategy(sqlite bool) *applyappsv1.DeploymentStrategyApplyConfiguration {
	if sqlite {
		// The new pod cannot start before the old one has let go of the volume.
		return applyappsv1.DeploymentStrategy().WithType(appsv1.RecreateDeploymentStrategyType)
	}
	return applyappsv1.DeploymentStrategy().
		WithType(appsv1.RollingUpdateDeploymentStrategyType).
		WithRollingUpdate(applyappsv1.RollingUpdateDeployment().
			WithMaxUnavailable(intstr.FromInt32(0)).
			WithMaxSurge(intstr.FromInt32(1)))
}

func podSpec(p Params) *applycorev1.PodSpecApplyConfiguration {
	a := p.Academy
	_, storeVolume, _ := store(a)
	spec := applycorev1.PodSpec().
		WithServiceAccountName(HandlerName(a.Name)).
		// The pod faces the internet: no token, and no environment full of the namespace's other Services.
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithTerminationGracePeriodSeconds(terminationSeconds).
		WithSecurityContext(applycorev1.PodSecurityContext().
			WithRunAsNonRoot(true).
			WithRunAsUser(userID).
			WithRunAsGroup(userID).
			WithFSGroup(userID).
			// Without it kubelet walks the whole volume before every start.
			WithFSGroupChangePolicy(corev1.FSGroupChangeOnRootMismatch).
			WithSeccompProfile(applycorev1.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithContainers(container(p)).
		WithVolumes(
			applycorev1.Volume().WithName(configVolume).WithProjected(configSources(a.Name)),
			storeVolume,
			applycorev1.Volume().WithName(tmpVolume).WithEmptyDir(applycorev1.EmptyDirVolumeSource()),
		)
	if h := a.Spec.Handler; h != nil {
		if len(h.NodeSelector) > 0 {
			spec.WithNodeSelector(h.NodeSelector)
		}
		if h.PriorityClassName != "" {
			spec.WithPriorityClassName(h.PriorityClassName)
		}
		for i := range h.Tolerations {
			spec.WithTolerations(applied[applycorev1.TolerationApplyConfiguration](&h.Tolerations[i]))
		}
		if h.Affinity != nil {
			spec.WithAffinity(applied[applycorev1.AffinityApplyConfiguration](h.Affinity))
		}
		for _, secret := range h.ImagePullSecrets {
			spec.WithImagePullSecrets(applycorev1.LocalObjectReference().WithName(secret.Name))
		}
	}
	return spec
}

// applied turns a part of the API into its apply configuration. The two have the same JSON, so that neither step can
// fail on a value that the API server has accepted.
func applied[T any](in any) *T {
	out := new(T)
	if text, err := json.Marshal(in); err == nil {
		_ = json.Unmarshal(text, out)
	}
	return out
}

func container(p Params) *applycorev1.ContainerApplyConfiguration {
	storeArgument, _, storeMount := store(p.Academy)
	c := applycorev1.Container().
		WithName(ContainerName).
		WithImage(p.Image).
		WithArgs(
			"--config-dir="+ConfigDir,
			fmt.Sprintf("--public-address=:%d", PublicPort),
			fmt.Sprintf("--ops-address=:%d", OpsPort),
			fmt.Sprintf("--control-address=:%d", ControlPort),
			storeArgument,
		).
		WithPorts(
			containerPort(PublicPortName, PublicPort),
			containerPort(OpsPortName, OpsPort),
			containerPort(ControlPortName, ControlPort),
		).
		WithLivenessProbe(probe("/livez", livePeriodSeconds, 3)).
		WithReadinessProbe(probe("/readyz", readyPeriodSeconds, 2)).
		WithLifecycle(applycorev1.Lifecycle().WithPreStop(applycorev1.LifecycleHandler().
			WithSleep(applycorev1.SleepAction().WithSeconds(preStopSeconds)))).
		// Pod Security Standard "restricted".
		WithSecurityContext(applycorev1.SecurityContext().
			WithAllowPrivilegeEscalation(false).
			WithReadOnlyRootFilesystem(true).
			WithRunAsNonRoot(true).
			WithCapabilities(applycorev1.Capabilities().WithDrop("ALL"))).
		WithVolumeMounts(
			applycorev1.VolumeMount().WithName(configVolume).WithMountPath(ConfigDir).WithReadOnly(true),
			storeMount,
			applycorev1.VolumeMount().WithName(tmpVolume).WithMountPath("/tmp"),
		)
	if h := p.Academy.Spec.Handler; h != nil && h.Resources != nil {
		c.WithResources(resources(h.Resources))
	}
	return c
}

// configSources lists every shard there can ever be, all optional: a pod starts before the first publish, and no
// publish changes the pod template. File names are content addresses, so that no two sources claim one path.
func configSources(academy string) *applycorev1.ProjectedVolumeSourceApplyConfiguration {
	v := applycorev1.ProjectedVolumeSource().WithDefaultMode(volumeMode)
	configMap := func(name string) {
		v.WithSources(applycorev1.VolumeProjection().WithConfigMap(
			applycorev1.ConfigMapProjection().WithName(name).WithOptional(true)))
	}
	for i := range routing.RoutingShards {
		configMap(RoutingConfigMapName(academy, i))
	}
	for i := range routing.KeyShards {
		v.WithSources(applycorev1.VolumeProjection().WithSecret(
			applycorev1.SecretProjection().WithName(KeySecretName(academy, i)).WithOptional(true)))
	}
	configMap(ManifestConfigMapName(academy))
	return v
}

func containerPort(name string, port int32) *applycorev1.ContainerPortApplyConfiguration {
	return applycorev1.ContainerPort().WithName(name).WithContainerPort(port).WithProtocol(corev1.ProtocolTCP)
}

func probe(path string, period, failures int32) *applycorev1.ProbeApplyConfiguration {
	return applycorev1.Probe().
		WithHTTPGet(applycorev1.HTTPGetAction().WithPath(path).WithPort(intstr.FromString(OpsPortName))).
		WithPeriodSeconds(period).
		WithTimeoutSeconds(probeTimeout).
		WithFailureThreshold(failures)
}

func resources(r *corev1.ResourceRequirements) *applycorev1.ResourceRequirementsApplyConfiguration {
	out := applycorev1.ResourceRequirements()
	if len(r.Limits) > 0 {
		out.WithLimits(r.Limits)
	}
	if len(r.Requests) > 0 {
		out.WithRequests(r.Requests)
	}
	// Claims name devices of the pod, which the academy does not have.
	return out
}

// networkPolicy limits who reaches the launch handler.
//
// In: the public port from anywhere (the ingress controller may run on the nodes' network, which no selector matches);
// the ops port from every namespace, for probes and metrics; the control port from the operator's pods only.
//
// Out: DNS, and TCP to anywhere. Platforms and tools live at addresses and ports that other organisations choose, so a
// policy by address cannot tell them from what must not be reached; the handler's own guard checks every resolved
// address and keeps to public ones, with the exceptions of spec.network.
func networkPolicy(p Params) *applynetworkingv1.NetworkPolicyApplyConfiguration {
	a := p.Academy
	operator := applynetworkingv1.NetworkPolicyPeer().
		WithNamespaceSelector(applymetav1.LabelSelector().
			WithMatchLabels(map[string]string{corev1.LabelMetadataName: p.OperatorNamespace})).
		WithPodSelector(applymetav1.LabelSelector().WithMatchLabels(maps.Clone(p.OperatorPodLabels)))
	return applynetworkingv1.NetworkPolicy(HandlerName(a.Name), a.Namespace).
		WithLabels(Labels(a.Name)).
		WithOwnerReferences(OwnerReference(a)).
		WithSpec(applynetworkingv1.NetworkPolicySpec().
			WithPodSelector(applymetav1.LabelSelector().WithMatchLabels(SelectorLabels(a.Name))).
			WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress).
			WithIngress(
				applynetworkingv1.NetworkPolicyIngressRule().
					WithPorts(policyPort(corev1.ProtocolTCP, PublicPort)),
				applynetworkingv1.NetworkPolicyIngressRule().
					WithFrom(applynetworkingv1.NetworkPolicyPeer().WithNamespaceSelector(applymetav1.LabelSelector())).
					WithPorts(policyPort(corev1.ProtocolTCP, OpsPort)),
				applynetworkingv1.NetworkPolicyIngressRule().
					WithFrom(operator).
					WithPorts(policyPort(corev1.ProtocolTCP, ControlPort)),
			).
			WithEgress(
				applynetworkingv1.NetworkPolicyEgressRule().
					WithPorts(policyPort(corev1.ProtocolUDP, dnsPort)),
				applynetworkingv1.NetworkPolicyEgressRule().
					WithPorts(applynetworkingv1.NetworkPolicyPort().WithProtocol(corev1.ProtocolTCP)),
			))
}

func policyPort(protocol corev1.Protocol, port int32) *applynetworkingv1.NetworkPolicyPortApplyConfiguration {
	return applynetworkingv1.NetworkPolicyPort().WithProtocol(protocol).WithPort(intstr.FromInt32(port))
}

func podDisruptionBudget(a *v1alpha1.LTIAcademy) *applypolicyv1.PodDisruptionBudgetApplyConfiguration {
	return applypolicyv1.PodDisruptionBudget(HandlerName(a.Name), a.Namespace).
		WithLabels(Labels(a.Name)).
		WithOwnerReferences(OwnerReference(a)).
		WithSpec(applypolicyv1.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			// Pods that are not Ready serve nobody; keeping them would block the draining of a node.
			WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow).
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(SelectorLabels(a.Name))))
}

// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// AcademyExposure says what leads people to the launch handler: to its public port, on the hosts of url and aliases, and to
// nothing else of it.
// +kubebuilder:validation:XValidation:rule="has(self.ingress) != has(self.httpRoute)",message="exposure is exactly one of ingress and httpRoute"
type AcademyExposure struct {
	// ingress has an Ingress made.
	// +optional
	Ingress *AcademyIngress `json:"ingress,omitempty"`
	// httpRoute has an HTTPRoute made (gateway.networking.k8s.io/v1). While the Gateway API is not installed, the condition
	// Exposed says so.
	// +optional
	HTTPRoute *AcademyHTTPRoute `json:"httpRoute,omitempty"`
}

// AcademyIngress describes the Ingress of an academy. Its hosts are those of url and aliases; all paths lead to the launch
// handler.
// +kubebuilder:validation:XValidation:rule="!has(self.className) || !has(self.annotations) || !('kubernetes.io/ingress.class' in self.annotations)",message="give className or the annotation kubernetes.io/ingress.class, not both"
type AcademyIngress struct {
	// className is the IngressClass. Left out: the cluster's default.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="className may hold lower-case letters, digits, - and . only"
	ClassName string `json:"className,omitempty"`
	// annotations of the Ingress, such as cert-manager.io/cluster-issuer: letsencrypt. Those that put text into the
	// configuration of an ingress controller (a key with snippet in it, or a name that begins with config-) are refused: what
	// stands there holds for everything that the controller serves, and the operator would lend everybody who may edit an
	// LTIAcademy its permission to make an Ingress.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="annotations must have keys such as cert-manager.io/cluster-issuer"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.lowerAscii().matches('snippet|/config-'))",message="annotations must not put text into the configuration of the ingress controller (keys with snippet, names with config- at the beginning): it would hold for all that the controller serves. Make an Ingress by hand for that"
	Annotations map[string]IngressAnnotation `json:"annotations,omitempty"`
	// tlsSecretName is the Secret with the certificate, which is read by the ingress controller, and made by cert-manager where
	// the annotations ask for it. Left out: <academy>-launch-handler-tls. Hosts of http addresses get no certificate.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="tlsSecretName may hold lower-case letters, digits, - and . only"
	TLSSecretName string `json:"tlsSecretName,omitempty"`
}

// IngressAnnotation is the value of an annotation.
// +kubebuilder:validation:MaxLength=4096
type IngressAnnotation string

// AcademyHTTPRoute describes the HTTPRoute of an academy. Its hostnames are those of url and aliases; all paths lead to the
// launch handler. The certificate belongs to the Gateway's listener.
type AcademyHTTPRoute struct {
	// parentRefs are the Gateways that it joins.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	ParentRefs []GatewayReference `json:"parentRefs"`
}

// GatewayReference names a Gateway. It may be in another namespace: its listeners say which routes they take.
type GatewayReference struct {
	// name of the Gateway.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// namespace of the Gateway. Left out: that of the academy.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="namespace may hold lower-case letters, digits and - only"
	Namespace string `json:"namespace,omitempty"`
	// sectionName is the listener. Left out: all that take the route.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="sectionName may hold lower-case letters, digits, - and . only"
	SectionName string `json:"sectionName,omitempty"`
	// port of the listeners. Left out: any.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`
}

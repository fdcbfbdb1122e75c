// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"net/url"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	applynetworkingv1 "k8s.io/client-go/applyconfigurations/networking/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// allPaths is what leads to the launch handler, with everything below it.
const allPaths = "/"

// ingress leads the hosts of an academy to the public port of its launch handler. No rule is without a host: it would take
// every host that nobody else has.
func ingress(a *v1alpha1.LTIAcademy) *applynetworkingv1.IngressApplyConfiguration {
	wanted := a.Spec.Exposure.Ingress
	spec := applynetworkingv1.IngressSpec()
	if wanted.ClassName != "" {
		spec.WithIngressClassName(wanted.ClassName)
	}
	all, secure := hosts(a)
	if len(secure) > 0 {
		secret := wanted.TLSSecretName
		if secret == "" {
			secret = TLSSecretName(a.Name)
		}
		spec.WithTLS(applynetworkingv1.IngressTLS().WithHosts(secure...).WithSecretName(secret))
	}
	for _, host := range all {
		spec.WithRules(applynetworkingv1.IngressRule().
			WithHost(host).
			WithHTTP(applynetworkingv1.HTTPIngressRuleValue().
				WithPaths(applynetworkingv1.HTTPIngressPath().
					WithPath(allPaths).
					WithPathType(networkingv1.PathTypePrefix).
					WithBackend(applynetworkingv1.IngressBackend().
						WithService(applynetworkingv1.IngressServiceBackend().
							WithName(HandlerName(a.Name)).
							WithPort(applynetworkingv1.ServiceBackendPort().WithName(servicePortName)))))))
	}
	made := applynetworkingv1.Ingress(HandlerName(a.Name), a.Namespace).
		WithLabels(Labels(a.Name)).
		WithOwnerReferences(OwnerReference(a)).
		WithSpec(spec)
	for name, value := range wanted.Annotations {
		made.WithAnnotations(map[string]string{name: string(value)})
	}
	return made
}

// hosts are those of url and aliases, each once, and those among them whose address is https.
func hosts(a *v1alpha1.LTIAcademy) (all, secure []string) {
	for _, address := range append([]string{a.Spec.URL}, a.Spec.Aliases...) {
		u, err := url.Parse(address)
		if err != nil || u.Hostname() == "" {
			continue // the API server does not take such an address
		}
		host := strings.ToLower(u.Hostname())
		if !slices.Contains(all, host) {
			all = append(all, host)
		}
		if u.Scheme == "https" && !slices.Contains(secure, host) {
			secure = append(secure, host)
		}
	}
	return all, secure
}

// HTTPRouteKind is the kind of what HTTPRoute applies. A cluster need not have it.
var HTTPRouteKind = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}

// HTTPRouteApplyConfiguration is as much of an HTTPRoute of the Gateway API as is applied here.
type HTTPRouteApplyConfiguration struct {
	applymetav1.TypeMetaApplyConfiguration    `json:""`
	*applymetav1.ObjectMetaApplyConfiguration `json:"metadata,omitempty"`
	Spec                                      HTTPRouteSpec `json:"spec"`
}

// IsApplyConfiguration implements runtime.ApplyConfiguration.
func (HTTPRouteApplyConfiguration) IsApplyConfiguration() {}

// HTTPRouteSpec says which requests of which Gateways go where.
type HTTPRouteSpec struct {
	// ParentRefs have the form of the Gateway API.
	ParentRefs []v1alpha1.GatewayReference `json:"parentRefs"`
	Hostnames  []string                    `json:"hostnames"`
	Rules      []HTTPRouteRule             `json:"rules"`
}

// HTTPRouteRule sends what matches to a Service.
type HTTPRouteRule struct {
	Matches     []HTTPRouteMatch   `json:"matches"`
	BackendRefs []HTTPRouteBackend `json:"backendRefs"`
}

// HTTPRouteMatch matches a request.
type HTTPRouteMatch struct {
	Path HTTPRoutePath `json:"path"`
}

// HTTPRoutePath matches the path of a request.
type HTTPRoutePath struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// HTTPRouteBackend is a Service in the same namespace.
type HTTPRouteBackend struct {
	Name string `json:"name"`
	Port int32  `json:"port"`
}

// httpRoute leads the hosts of an academy to the public port of its launch handler.
func httpRoute(a *v1alpha1.LTIAcademy) *HTTPRouteApplyConfiguration {
	meta := applymetav1.ObjectMeta().
		WithName(HandlerName(a.Name)).
		WithNamespace(a.Namespace).
		WithLabels(Labels(a.Name)).
		WithOwnerReferences(OwnerReference(a))
	version, kind := HTTPRouteKind.ToAPIVersionAndKind()
	all, _ := hosts(a)
	return &HTTPRouteApplyConfiguration{
		TypeMetaApplyConfiguration:   *applymetav1.TypeMeta().WithAPIVersion(version).WithKind(kind),
		ObjectMetaApplyConfiguration: meta,
		Spec: HTTPRouteSpec{
			ParentRefs: a.Spec.Exposure.HTTPRoute.ParentRefs,
			Hostnames:  all,
			Rules: []HTTPRouteRule{{
				Matches:     []HTTPRouteMatch{{Path: HTTPRoutePath{Type: "PathPrefix", Value: allPaths}}},
				BackendRefs: []HTTPRouteBackend{{Name: HandlerName(a.Name), Port: servicePort}},
			}},
		},
	}
}

// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/compile"
	"github.com/lti-operator/lti-operator/internal/keys"
)

// +kubebuilder:rbac:groups=lti-operator.io,resources=ltiacademies;ltiplatforms;ltitools;ltiactivities,verbs=get;list;watch
// +kubebuilder:rbac:groups=lti-operator.io,resources=ltiacademies/status;ltiplatforms/status;ltitools/status;ltiactivities/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;patch
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;update
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get;create;update
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

func newPlatformReconciler(s shared, observer *deploymentObserver) *kindReconciler[*v1alpha1.LTIPlatform] {
	return &kindReconciler[*v1alpha1.LTIPlatform]{
		shared:       s,
		kind:         v1alpha1.KindPlatform,
		registration: true,
		newObject:    func() *v1alpha1.LTIPlatform { return &v1alpha1.LTIPlatform{} },
		academy:      func(p *v1alpha1.LTIPlatform) string { return v1alpha1.AcademyName(p.Spec.AcademyRef) },
		secrets: func(p *v1alpha1.LTIPlatform) []generatedSecret {
			var wanted []generatedSecret
			if name, generated := p.SigningKeySecretName(); generated {
				wanted = append(wanted, s.signingKey(v1alpha1.KindPlatform, p, name, v1alpha1.AcademyName(p.Spec.AcademyRef)))
			}
			if name, generated := p.LTI12SecretName(); generated && p.Spec.LTI12 != nil {
				wanted = append(wanted, s.lti12Credentials(v1alpha1.KindPlatform, p, name))
			}
			wanted = append(wanted, s.registrationSecrets(v1alpha1.KindPlatform, v1alpha1.AcademyName(p.Spec.AcademyRef), p)...)
			return owned(wanted, p, p.Spec.DeletionPolicy)
		},
		report: func(p *v1alpha1.LTIPlatform, o *Outcome) {
			p.Status.Details = o.PlatformDetails
			p.Status.Keys, p.Status.NextRotationAt = o.Keys, o.NextRotation
			p.Status.LTI12, p.Status.Registration = o.PlatformLTI12, o.PlatformRegistration
			if list, known := observer.of(p); known {
				p.Status.UnknownDeployments = list
			}
		},
	}
}

func newToolReconciler(s shared) *kindReconciler[*v1alpha1.LTITool] {
	return &kindReconciler[*v1alpha1.LTITool]{
		shared:       s,
		kind:         v1alpha1.KindTool,
		registration: true,
		newObject:    func() *v1alpha1.LTITool { return &v1alpha1.LTITool{} },
		academy:      func(t *v1alpha1.LTITool) string { return v1alpha1.AcademyName(t.Spec.AcademyRef) },
		secrets: func(t *v1alpha1.LTITool) []generatedSecret {
			academy := v1alpha1.AcademyName(t.Spec.AcademyRef)
			wanted := s.registrationSecrets(v1alpha1.KindTool, academy, t)
			if name, generated := t.SigningKeySecretName(); generated {
				wanted = append(wanted, s.signingKey(v1alpha1.KindTool, t, name, academy))
			}
			return owned(wanted, t, t.Spec.DeletionPolicy)
		},
		report: func(t *v1alpha1.LTITool, o *Outcome) {
			t.Status.Details, t.Status.Registration = o.ToolDetails, o.ToolRegistration
			t.Status.Keys, t.Status.NextRotationAt = o.Keys, o.NextRotation
		},
	}
}

func newActivityReconciler(s shared) *kindReconciler[*v1alpha1.LTIActivity] {
	return &kindReconciler[*v1alpha1.LTIActivity]{
		shared:    s,
		kind:      v1alpha1.KindActivity,
		newObject: func() *v1alpha1.LTIActivity { return &v1alpha1.LTIActivity{} },
		academy:   func(a *v1alpha1.LTIActivity) string { return v1alpha1.AcademyName(a.Spec.AcademyRef) },
		secrets: func(a *v1alpha1.LTIActivity) []generatedSecret {
			name, generated := a.LTI12SecretName()
			if !generated || a.Spec.Share == nil {
				return nil
			}
			return owned([]generatedSecret{s.lti12Credentials(v1alpha1.KindActivity, a, name)}, a, a.Spec.DeletionPolicy)
		},
		report: func(a *v1alpha1.LTIActivity, o *Outcome) {
			a.Status.LTI12 = o.LTI12
			a.Status.LTI13 = o.LTI13
			a.Status.External = o.External
		},
	}
}

// signingKey describes the Secret with the signing keys of a registration.
func (s *shared) signingKey(kind string, obj client.Object, name, academy string) generatedSecret {
	ring := s.signingKeyRing(academy)
	return generatedSecret{
		name:       named(obj, name),
		secretType: v1alpha1.SecretTypeSigningKey,
		ownerKind:  kind,
		ownerName:  obj.GetName(),
		requires:   []string{v1alpha1.SecretKeyPrivateKey},
		generate:   func(context.Context) (map[string][]byte, error) { return s.first(ring, obj) },
		ring:       ring,
	}
}

// lti12Credentials describes the Secret with the consumer key and shared secret of a platform or activity.
func (s *shared) lti12Credentials(kind string, obj v1alpha1.Object, name string) generatedSecret {
	return generatedSecret{
		name:       named(obj, name),
		secretType: v1alpha1.SecretTypeLTI12Credentials,
		ownerKind:  kind,
		ownerName:  obj.GetName(),
		requires:   []string{v1alpha1.SecretKeyConsumerKey, v1alpha1.SecretKeySharedSecret},
		generate: func(context.Context) (map[string][]byte, error) {
			key, secret, err := keys.NewLTI12Credentials(s.random, obj.GetName())
			return map[string][]byte{
				v1alpha1.SecretKeyConsumerKey:  []byte(key),
				v1alpha1.SecretKeySharedSecret: []byte(secret),
			}, err
		},
	}
}

// academyKeys describes the Secret with the academy's own keys.
func (s *shared) academyKeys(a *v1alpha1.LTIAcademy) generatedSecret {
	ring := s.academyKeyRing(a.Name)
	return generatedSecret{
		name:       named(a, compile.AcademySecretName(a.Name)),
		secretType: corev1.SecretType(v1alpha1.SecretTypeAcademyKeys),
		ownerKind:  v1alpha1.KindAcademy,
		ownerName:  a.Name,
		requires:   []string{keys.AcademyStateKey, keys.AcademyControlToken, keys.AcademyControlCertificate, keys.AcademyControlKey},
		generate:   func(context.Context) (map[string][]byte, error) { return s.first(ring, a) },
		ring:       ring,
	}
}

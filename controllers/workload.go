// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// +kubebuilder:rbac:groups="",resources=services;serviceaccounts;persistentvolumeclaims,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch;delete

// Workload applies the objects that run the launch handlers.
type Workload struct {
	Client client.Client
	// Image is the launch handler's image.
	Image string
	// OperatorNamespace and OperatorPodLabels say who may reach the control port.
	OperatorNamespace string
	OperatorPodLabels map[string]string
}

// fieldOwner is the field manager of everything that is applied for an academy.
const fieldOwner = client.FieldOwner("lti-operator/ltiacademy")

// Apply makes the Deployment of an academy and what belongs to it.
func (w *Workload) Apply(ctx context.Context, academy *v1alpha1.LTIAcademy) error {
	objects := workload.Build(workload.Params{
		Academy: academy, Image: w.Image, OperatorNamespace: w.OperatorNamespace, OperatorPodLabels: w.OperatorPodLabels,
	})
	wanted := []runtime.ApplyConfiguration{
		objects.ServiceAccount, objects.Service, objects.PersistentVolumeClaim, objects.Deployment, objects.NetworkPolicy,
	}
	var errs []error
	if objects.PodDisruptionBudget != nil {
		wanted = append(wanted, objects.PodDisruptionBudget)
	} else {
		budget := &policyv1.PodDisruptionBudget{}
		budget.Namespace, budget.Name = academy.Namespace, workload.HandlerName(academy.Name)
		errs = append(errs, client.IgnoreNotFound(w.Client.Delete(ctx, budget)))
	}
	for _, object := range wanted {
		if err := w.Client.Apply(ctx, object, fieldOwner, client.ForceOwnership); err != nil {
			errs = append(errs, fmt.Errorf("apply %T: %w", object, err))
		}
	}
	return errors.Join(errs...)
}

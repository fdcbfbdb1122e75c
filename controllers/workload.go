// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

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
	// Live reads past the cache, which holds labelled objects of watched kinds only.
	Live client.Reader
	// Image is the launch handler's image.
	Image string
	// OperatorNamespace and OperatorPodLabels say who may reach the control port.
	OperatorNamespace string
	OperatorPodLabels map[string]string
	// RecheckEvery is how often what is not watched is looked at; 30 seconds if zero.
	RecheckEvery time.Duration

	mu sync.Mutex
	// applied is what was applied last, by object. It is lost with the process, which costs one apply of each.
	applied map[workloadObject]applied
	// withdrawn are the objects of spec.exposure that are known not to be there, or none of ours.
	withdrawn map[workloadObject]bool
	// exposed is the newest generation of each academy whose spec.exposure was carried out. Its status says the same, but
	// what is read of that may be older.
	exposed map[types.UID]exposed
}

// exposed is what came of spec.exposure in a generation.
type exposed struct {
	generation int64
	result     Exposure
}

// workloadObject names one object of a workload.
type workloadObject struct {
	apiVersion, kind string
	types.NamespacedName
}

// applied says what an apply made of an object.
type applied struct {
	// intent is the hash of what was applied, version the resourceVersion, or the fingerprint, of what came of it.
	intent  [sha256.Size]byte
	version string
}

// workloadKinds are the kinds of objects that a workload has.
func workloadKinds() []client.Object {
	return []client.Object{
		&appsv1.Deployment{}, &corev1.Service{}, &corev1.ServiceAccount{}, &corev1.PersistentVolumeClaim{},
		&networkingv1.NetworkPolicy{}, &policyv1.PodDisruptionBudget{},
		&networkingv1.Ingress{},
	}
}

// academyOfWorkload maps an object of a workload to its academy. The label says more than the owner reference: the volume
// with people and launches has none.
func academyOfWorkload(_ context.Context, o client.Object) []reconcile.Request {
	name := o.GetLabels()[v1alpha1.LabelAcademy]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
}

// drifted lets through what somebody may have done to an object of a workload: its deletion, another spec, other labels,
// another owner. What becomes of it in status is not looked at. An object that loses its label counts as deleted.
func drifted() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			if e.ObjectOld == nil || e.ObjectNew == nil {
				return false
			}
			before, now := e.ObjectOld, e.ObjectNew
			// Kinds without a generation hardly have a status: any change may be one of spec.
			return before.GetGeneration() != now.GetGeneration() ||
				now.GetGeneration() == 0 && before.GetResourceVersion() != now.GetResourceVersion() ||
				!maps.Equal(before.GetLabels(), now.GetLabels()) || !reflect.DeepEqual(before.GetOwnerReferences(), now.GetOwnerReferences())
		},
	}
}

// fieldOwner is the field manager of everything that is applied for an academy.
const fieldOwner = client.FieldOwner("lti-operator/ltiacademy")

// Apply makes the Deployment of an academy and what belongs to it, and mends what somebody has changed. Nothing is sent
// for an object that is as the last apply has left it.
func (w *Workload) Apply(ctx context.Context, academy *v1alpha1.LTIAcademy) (Exposure, error) {
	objects := workload.Build(workload.Params{
		Academy: academy, Image: w.Image, OperatorNamespace: w.OperatorNamespace, OperatorPodLabels: w.OperatorPodLabels,
	})
	wanted := []runtime.ApplyConfiguration{
		objects.ServiceAccount, objects.Service, objects.Deployment, objects.NetworkPolicy,
	}
	if objects.PersistentVolumeClaim != nil {
		wanted = append(wanted, objects.PersistentVolumeClaim)
	}
	var errs []error
	if objects.PodDisruptionBudget != nil {
		wanted = append(wanted, objects.PodDisruptionBudget)
	} else {
		errs = append(errs, w.deleteBudget(ctx, academy))
	}
	for _, object := range wanted {
		if err := w.apply(ctx, object); err != nil {
			errs = append(errs, fmt.Errorf("apply %T: %w", object, err))
		}
	}
	exposure, err := w.expose(ctx, academy, objects)
	return exposure, errors.Join(append(errs, err)...)
}

func (w *Workload) apply(ctx context.Context, object runtime.ApplyConfiguration) error {
	name, text, _, err := identify(object)
	if err != nil {
		return err
	}
	intent := sha256.Sum256(text)
	present, err := w.present(ctx, name)
	if err != nil {
		return err
	}
	w.mu.Lock()
	last, known := w.applied[name]
	w.mu.Unlock()
	if known && last.intent == intent && last.version == present {
		return nil
	}
	if err := w.Client.Apply(ctx, object, fieldOwner, client.ForceOwnership); err != nil {
		return err
	}
	// The answer was read into the object.
	_, _, version, err := identify(object)
	if err != nil {
		return err
	}
	w.remember(name, applied{intent: intent, version: version})
	return nil
}

// remember notes what an apply made of an object.
func (w *Workload) remember(name workloadObject, a applied) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.applied == nil {
		w.applied = map[workloadObject]applied{}
	}
	w.applied[name] = a
	delete(w.withdrawn, name)
}

// identify returns the name of an object, its JSON, and its resourceVersion if it has one.
func identify(object runtime.ApplyConfiguration) (name workloadObject, text []byte, version string, err error) {
	if text, err = json.Marshal(object); err != nil {
		return name, nil, "", fmt.Errorf("encode: %w", err)
	}
	var meta metav1.PartialObjectMetadata
	if err := json.Unmarshal(text, &meta); err != nil {
		return name, nil, "", fmt.Errorf("read metadata: %w", err)
	}
	name = workloadObject{meta.APIVersion, meta.Kind, types.NamespacedName{Namespace: meta.Namespace, Name: meta.Name}}
	return name, text, meta.ResourceVersion, nil
}

// present returns the resourceVersion of an object, as the cache knows it; empty for none.
func (w *Workload) present(ctx context.Context, name workloadObject) (version string, err error) {
	object, err := look(ctx, w.Client, name)
	if err != nil || object == nil {
		return "", err
	}
	return object.ResourceVersion, nil
}

// look returns the metadata of an object; nil for none.
func look(ctx context.Context, reader client.Reader, name workloadObject) (*metav1.PartialObjectMetadata, error) {
	object := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: name.apiVersion, Kind: name.kind}}
	err := reader.Get(ctx, name.NamespacedName, object)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for %s %s: %w", name.kind, name.Name, err)
	}
	return object, nil
}

// deleteBudget deletes the PodDisruptionBudget from when there were more replicas.
func (w *Workload) deleteBudget(ctx context.Context, academy *v1alpha1.LTIAcademy) error {
	budget := &policyv1.PodDisruptionBudget{}
	budget.Namespace, budget.Name = academy.Namespace, workload.HandlerName(academy.Name)
	present, err := w.present(ctx, workloadObject{policyv1.SchemeGroupVersion.String(), "PodDisruptionBudget", client.ObjectKeyFromObject(budget)})
	if err != nil || present == "" {
		return err
	}
	if err := w.Client.Delete(ctx, budget); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete PodDisruptionBudget: %w", err)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=httproutes,verbs=get;create;patch;delete

// recheckEvery is how often an HTTPRoute is looked at, which is not watched, and whatever is in the way of an exposure.
const recheckEvery = 30 * time.Second

// Exposure is what came of spec.exposure, as a condition. It is empty when nothing was asked for.
type Exposure struct {
	// Status is Unknown while the API server cannot be asked.
	Status          metav1.ConditionStatus
	Reason, Message string
	// LookAgain is after which time nobody but a clock says that something has changed; zero for never.
	LookAgain time.Duration
}

var ingressKind = networkingv1.SchemeGroupVersion.WithKind("Ingress")

// expose makes the Ingress or the HTTPRoute that an academy asks for. The other one, and both when none is asked for, goes
// once there is nothing to wait for: an academy that changes from one to the other stays reachable.
//
// What was made stays made for its generation while the API server cannot be asked.
func (w *Workload) expose(ctx context.Context, academy *v1alpha1.LTIAcademy, objects workload.Objects) (Exposure, error) {
	found, err := w.leadOrWithdraw(ctx, academy, objects)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch was := w.exposed[academy.UID]; {
	case found.Status == metav1.ConditionTrue:
		if w.exposed == nil {
			w.exposed = map[types.UID]exposed{}
		}
		w.exposed[academy.UID] = exposed{academy.Generation, found}
	case found.Status == metav1.ConditionUnknown && was.generation == academy.Generation:
		found = was.result
	default:
		delete(w.exposed, academy.UID)
	}
	return found, err
}

func (w *Workload) leadOrWithdraw(ctx context.Context, academy *v1alpha1.LTIAcademy, objects workload.Objects) (Exposure, error) {
	var found Exposure
	var err error
	wanted := map[schema.GroupVersionKind]bool{}
	if objects.Ingress != nil {
		wanted[ingressKind] = true
		found, err = w.lead(ctx, academy, ingressKind, objects.Ingress)
	}
	if objects.HTTPRoute != nil {
		wanted[workload.HTTPRouteKind] = true
		var route runtime.ApplyConfiguration
		if route, err = withoutScheme(objects.HTTPRoute); err != nil {
			return found, err
		}
		found, err = w.lead(ctx, academy, workload.HTTPRouteKind, route)
		found.LookAgain = w.recheckEvery()
	}
	if len(wanted) > 0 && found.Status != metav1.ConditionTrue {
		return found, err
	}
	for _, kind := range []schema.GroupVersionKind{ingressKind, workload.HTTPRouteKind} {
		if !wanted[kind] {
			err = errors.Join(err, w.withdraw(ctx, academy, kind))
		}
	}
	return found, err
}

func (w *Workload) recheckEvery() time.Duration { return cmp.Or(w.RecheckEvery, recheckEvery) }

// lead applies what leads people to the launch handler, unless it is as the last apply has left it, or somebody else's.
func (w *Workload) lead(ctx context.Context, academy *v1alpha1.LTIAcademy, kind schema.GroupVersionKind, object runtime.ApplyConfiguration) (Exposure, error) {
	name, text, _, err := identify(object)
	if err != nil {
		return Exposure{}, err
	}
	done := Exposure{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonExposed, Message: fmt.Sprintf("%s %s is made", kind.Kind, name.Name)}
	notDone := func(reason, format string, args ...any) (Exposure, error) {
		return Exposure{Status: metav1.ConditionFalse, Reason: reason, Message: fmt.Sprintf(format, args...), LookAgain: w.recheckEvery()}, nil
	}
	later := func(err error) (Exposure, error) {
		return Exposure{Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonPending, Message: fmt.Sprintf(
			"%s %s could not be made yet; it is tried again: %v", kind.Kind, name.Name, err)}, fmt.Errorf("make %s: %w", kind.Kind, err)
	}
	absent := func() (Exposure, error) {
		return notDone(v1alpha1.ReasonGatewayAPINotFound,
			"the cluster has no kind %s of %s: install the Gateway API, or use exposure.ingress; it is looked for again every %v", kind.Kind, kind.GroupVersion(), w.recheckEvery())
	}
	intent := sha256.Sum256(text)
	present, err := w.stands(ctx, name, intent)
	switch {
	case meta.IsNoMatchError(err):
		return absent()
	case err != nil:
		return later(err)
	case present.asApplied:
		return done, nil
	}
	// Where there is none force is not used: what somebody else makes in this moment stays as it is.
	options := []client.ApplyOption{fieldOwner}
	if present.object != nil {
		options = append(options, client.ForceOwnership)
		switch whose(present.object, academy) {
		case controlled:
			return notDone(v1alpha1.ReasonExposureConflict, "%s %s exists and belongs to %s %s: rename or delete that",
				kind.Kind, name.Name, metav1.GetControllerOf(present.object).Kind, metav1.GetControllerOf(present.object).Name)
		case foreign:
			return notDone(v1alpha1.ReasonExposureConflict,
				"%s %s exists and is not of this academy: rename or delete it, or hand it over with: kubectl label --overwrite %s %s -n %s %s=%s",
				kind.Kind, name.Name, commandName(kind), name.Name, name.Namespace, v1alpha1.LabelAcademy, academy.Name)
		case former:
			return later(errors.New("that of a former academy of this name is about to be deleted"))
		}
	}
	err = w.Client.Apply(ctx, object, options...)
	switch {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return absent() // the kind has gone since it was looked for
	case refused(err):
		return notDone(v1alpha1.ReasonExposureRefused, "the API server does not take %s %s: %v", kind.Kind, name.Name, err)
	case err != nil:
		return later(err)
	}
	_, answer, _, err := identify(object)
	if err != nil {
		return later(err)
	}
	made := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(answer, made); err != nil {
		return later(err)
	}
	w.remember(name, applied{intent: intent, version: fingerprint(made)})
	return done, nil
}

// withoutScheme makes of an object one that the client can apply although its scheme does not know the kind.
func withoutScheme(object runtime.ApplyConfiguration) (runtime.ApplyConfiguration, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal(text, u); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return client.ApplyConfigurationFromUnstructured(u), nil
}

// commandName is how kubectl calls a kind.
func commandName(kind schema.GroupVersionKind) string {
	if kind == ingressKind {
		return "ingress"
	}
	return "httproute"
}

// standing is what there is of an object.
type standing struct {
	// object is nil if there is none.
	object *metav1.PartialObjectMetadata
	// asApplied is set when the last apply had the same intent, and nobody has touched the object since.
	asApplied bool
}

// stands looks for an object. That of a watched kind costs nothing while it is as it was left; for everything else the API
// server is asked, for the cache knows only what carries the label.
func (w *Workload) stands(ctx context.Context, name workloadObject, intent [sha256.Size]byte) (standing, error) {
	w.mu.Lock()
	last, known := w.applied[name]
	w.mu.Unlock()
	readers := []client.Reader{w.Live}
	if name.kind == ingressKind.Kind && known {
		readers = []client.Reader{w.Client, w.Live}
	}
	var s standing
	for _, reader := range readers {
		object, err := look(ctx, reader, name)
		if err != nil {
			return standing{}, err
		}
		s = standing{object, known && object != nil && last.intent == intent && last.version == fingerprint(object)}
		if s.asApplied {
			break
		}
	}
	return s, nil
}

// fingerprint tells two states of an object from each other in which it asks for different things. What becomes of it in
// status is not in it.
func fingerprint(object *metav1.PartialObjectMetadata) string {
	annotations := maps.Clone(object.Annotations)
	delete(annotations, corev1.LastAppliedConfigAnnotation) // the cache does not keep it
	if len(annotations) == 0 {
		annotations = nil
	}
	text, _ := json.Marshal([]any{object.UID, object.Generation, object.Labels, annotations, object.OwnerReferences, object.DeletionTimestamp})
	return string(text)
}

// Whose an object can be.
type ownership int

const (
	// ours is controlled by the academy, or by nobody and labelled as one of its objects: that is how it is handed over.
	ours ownership = iota
	// former is controlled by an academy of the same name that is gone.
	former
	// controlled is controlled by something else.
	controlled
	foreign
)

func whose(object *metav1.PartialObjectMetadata, academy *v1alpha1.LTIAcademy) ownership {
	labelled := object.Labels[v1alpha1.LabelAcademy] == academy.Name
	owner := metav1.GetControllerOf(object)
	switch {
	case owner == nil && labelled, owner != nil && owner.UID == academy.UID:
		return ours
	case owner != nil && labelled && owner.Kind == v1alpha1.KindAcademy && owner.Name == academy.Name:
		return former
	case owner != nil:
		return controlled
	}
	return foreign
}

// refused tells whether the API server, or one that it asks, does not want an object as it is. A conflict is no refusal:
// somebody was faster.
func refused(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch code := status.Status().Code; code {
	case http.StatusConflict, http.StatusTooManyRequests:
		return false
	default:
		// A webhook that cannot be called is an internal error; so is little else.
		return code >= 400 && code < 500 || apierrors.IsInternalError(err)
	}
}

// withdraw deletes what the operator has made when it was asked for. What others have made stays.
func (w *Workload) withdraw(ctx context.Context, academy *v1alpha1.LTIAcademy, kind schema.GroupVersionKind) error {
	name := workloadObject{kind.GroupVersion().String(), kind.Kind, types.NamespacedName{Namespace: academy.Namespace, Name: workload.HandlerName(academy.Name)}}
	reader := client.Reader(w.Client)
	if kind == workload.HTTPRouteKind {
		reader = w.Live
		// Nobody but this process makes one, so that it is looked for once.
		w.mu.Lock()
		gone := w.withdrawn[name]
		w.mu.Unlock()
		if gone {
			return nil
		}
	}
	object, err := look(ctx, reader, name)
	if err != nil && !meta.IsNoMatchError(err) {
		return err
	}
	if object == nil || !metav1.IsControlledBy(object, academy) {
		w.forget(name)
		return nil
	}
	if object.DeletionTimestamp != nil {
		return nil
	}
	// That very one, as it was looked at.
	err = w.Client.Delete(ctx, object, client.Preconditions{UID: &object.UID, ResourceVersion: &object.ResourceVersion})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", kind.Kind, err)
	}
	return nil
}

// forget notes that an object is not there, or none of ours.
func (w *Workload) forget(name workloadObject) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.applied, name)
	if w.withdrawn == nil {
		w.withdrawn = map[workloadObject]bool{}
	}
	w.withdrawn[name] = true
}

// SPDX-License-Identifier: Apache-2.0

// Package controllers holds the operator's controllers: one per kind for Secrets and status, one that asks the
// Programmer for a new routing table, and the Programmer itself.
package controllers

import (
	"context"
	"fmt"
	"io"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/compile"
)

// shared is what the controllers of all kinds use.
type shared struct {
	client.Client
	keeper     secretKeeper
	programmer *Programmer
	random     io.Reader
	clock      clock.PassiveClock
	// events makes events; nil for none.
	events *announcer
}

// kindReconciler reconciles one kind: it makes the Secrets of an object and reports its status. What differs between
// the kinds is in the fields.
type kindReconciler[T interface {
	v1alpha1.Object
	client.Object
}] struct {
	shared
	kind string
	// registration is set for kinds that have another party, which must fill in its values.
	registration bool
	newObject    func() T
	academy      func(T) string
	// secrets describes the Secrets that the object needs.
	secrets func(T) []generatedSecret
	// prepare does what else the kind needs before status; nil for nothing.
	prepare func(context.Context, T) error
	// report fills the kind's own part of status.
	report func(T, *Outcome)
	// warnings says what else somebody should know; nil for nothing.
	warnings func(T) map[string]state
}

// Reconcile makes the object's Secret and writes its status. Publishing is not done here: every change wakes the
// Programmer by a controller of its own, and the Programmer's findings come back as events.
func (r *kindReconciler[T]) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	obj := r.newObject()
	if err := r.Get(ctx, req.NamespacedName, obj); err != nil {
		r.events.gone(r.kind, req.Namespace, req.Name)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !obj.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, nil
	}
	before, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		return ctrl.Result{}, fmt.Errorf("%T is not an API object", obj)
	}
	found := report{registration: r.registration}
	secrets := r.secrets(obj)
	for _, wanted := range secrets {
		problem, err := r.keeper.ensure(ctx, wanted)
		if err != nil {
			return ctrl.Result{}, err
		}
		if found.problem == nil {
			found.problem = problem
		}
	}
	if r.prepare != nil {
		if err := r.prepare(ctx, obj); err != nil {
			return ctrl.Result{}, err
		}
	}
	key := AcademyKey{Namespace: obj.GetNamespace(), Name: r.academy(obj)}
	outcome, known := r.programmer.Outcome(key, compile.Ref{Kind: r.kind, Name: obj.GetName()})
	again, err := r.rotateAll(ctx, obj, secrets, &outcome)
	if err != nil {
		return ctrl.Result{}, err
	}
	if known && outcome.Generation == obj.GetGeneration() {
		found.outcome = &outcome
		r.report(obj, &outcome)
	} else if found.problem == nil {
		// The Programmer has not seen this generation; its event comes when it has. Status keeps describing the
		// generation it names.
		return ctrl.Result{RequeueAfter: again}, nil
	}
	if r.warnings != nil {
		found.warnings = r.warnings(obj)
	}
	was := slices.Clone(obj.GetConditions())
	setConditions(obj, found)
	if err := r.writeStatus(ctx, obj, before); err != nil {
		return ctrl.Result{}, err
	}
	r.events.transitions(r.kind, obj, was, obj.GetConditions())
	return ctrl.Result{RequeueAfter: again}, nil
}

// writeStatus patches status, and only when it changed.
func (s *shared) writeStatus(ctx context.Context, obj, before client.Object) error {
	patch := client.MergeFrom(before)
	data, err := patch.Data(obj)
	if err != nil {
		return fmt.Errorf("compute status patch: %w", err)
	}
	if string(data) == "{}" {
		return nil
	}
	err = s.Status().Patch(ctx, obj, client.RawPatch(patch.Type(), data))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return nil
}

func named(obj metav1.Object, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: obj.GetNamespace(), Name: name}
}

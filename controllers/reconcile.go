// SPDX-License-Identifier: Apache-2.0

// Package controllers holds the operator's controllers: one per kind for Secrets and status, one that asks the
// Programmer for a new routing table, and the Programmer itself.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

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
	// prepare does what else the kind needs before status, and tells what came of an exposure; nil for nothing.
	prepare func(context.Context, T) (Exposure, error)
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
		if apierrors.IsNotFound(err) {
			r.events.gone(r.kind, req.Namespace, req.Name)
		}
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
	key := AcademyKey{Namespace: obj.GetNamespace(), Name: r.academy(obj)}
	outcome, known := r.programmer.Outcome(key, compile.Ref{Kind: r.kind, Name: obj.GetName()})
	again, err := r.rotateAll(ctx, obj, secrets, &outcome)
	if err != nil {
		return ctrl.Result{}, err
	}
	result := ctrl.Result{RequeueAfter: again}
	if r.prepare != nil {
		found.exposure, err = r.prepare(ctx, obj)
		result.RequeueAfter = sooner(again, found.exposure.LookAgain)
		if err != nil {
			result = ctrl.Result{} // it is tried again soon; what is known is told nevertheless
		}
	}
	current := known && outcome.Generation == obj.GetGeneration()
	if found.problem == nil && (!current || outcome.OnItsWay || awaitsOneOf(&outcome, secrets)) {
		// The Programmer has not seen this generation, or not all of it, or has news soon; its event comes when it has.
		// Status keeps describing the generation it names.
		return result, err
	}
	if current {
		found.outcome, found.linkEnded = &outcome, linkEnded(obj, &outcome, r.clock.Now())
		r.report(obj, &outcome)
	}
	if r.warnings != nil {
		found.warnings = r.warnings(obj)
	}
	was := slices.Clone(obj.GetConditions())
	setConditions(obj, found)
	if failed := r.writeStatus(ctx, obj, before); failed != nil {
		return ctrl.Result{}, errors.Join(err, failed)
	}
	r.events.transitions(r.kind, obj, was, obj.GetConditions())
	return result, err
}

// sooner returns the shorter of two pauses of which zero means for ever.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// awaitsOneOf tells whether an outcome waits for a Secret that exists by now: its arrival wakes the Programmer, which
// finds out something better.
func awaitsOneOf(o *Outcome, made []generatedSecret) bool {
	return o.Accepted == metav1.ConditionUnknown && slices.ContainsFunc(made, func(g generatedSecret) bool { return g.name.Name == o.Awaits })
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

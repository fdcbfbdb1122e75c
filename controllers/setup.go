// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// Options are what the controllers need from outside.
type Options struct {
	// Handlers finds and asks the launch handlers.
	Handlers Handlers
	// Workload, if set, makes the launch handler's Deployment and what belongs to it.
	Workload *Workload
	// Random is the source of key material.
	Random io.Reader
	Clock  clock.WithTicker
	// Concurrency is the number of objects of a kind that are reconciled at once.
	Concurrency int
	// ObserveEvery is how often the launch handlers are asked for unknown deployments and registrations; 10 seconds if zero.
	ObserveEvery time.Duration
}

// CacheOptions restrict what the operator's cache holds: of Secrets only those that carry the consent label, of pods and
// the rest of the workload only launch handlers, and of each object what is used. This is memory and safety in one.
func CacheOptions() cache.Options {
	exists, err := labels.NewRequirement(v1alpha1.LabelAcademy, selection.Exists, nil)
	if err != nil {
		panic(err) // a constant
	}
	ofHandlers := cache.ByObject{Label: labels.NewSelector().Add(*exists)}
	options := cache.Options{
		DefaultTransform: trim,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {Label: labels.SelectorFromSet(labels.Set{v1alpha1.LabelUse: v1alpha1.LabelUseValue})},
			&corev1.Pod{}:    ofHandlers,
		},
	}
	for _, object := range workloadKinds() {
		options.ByObject[object] = ofHandlers
	}
	return options
}

// Setup adds every controller to the manager.
func Setup(mgr ctrl.Manager, o Options) error {
	if o.Handlers == nil || o.Random == nil || o.Clock == nil {
		return errors.New("controllers need handlers, randomness and a clock")
	}
	world := &cluster{
		cached:    mgr.GetClient(),
		live:      mgr.GetAPIReader(),
		writer:    mgr.GetClient(),
		handlers:  o.Handlers,
		informers: mgr.GetCache(),
		events:    map[string]chan event.GenericEvent{},
	}
	programmer := &Programmer{World: world, Clock: o.Clock}
	if err := mgr.Add(programmer); err != nil {
		return fmt.Errorf("add programmer: %w", err)
	}
	observer := &deploymentObserver{world: world}
	s := shared{
		Client:     mgr.GetClient(),
		keeper:     secretKeeper{cached: mgr.GetClient(), live: mgr.GetAPIReader()},
		programmer: programmer,
		random:     o.Random,
		clock:      o.Clock,
		events:     &announcer{recorder: mgr.GetEventRecorder("lti-operator")},
	}
	registrations := &registrationObserver{world: world, keeper: s.keeper, events: s.events}
	for _, look := range []func(context.Context){observer.observe, registrations.observe} {
		if err := mgr.Add(&patrol{clock: o.Clock, interval: cmp.Or(o.ObserveEvery, observeEvery), look: look}); err != nil {
			return fmt.Errorf("add observer of launch handlers: %w", err)
		}
	}
	var applyWorkload func(context.Context, *v1alpha1.LTIAcademy) (Exposure, error)
	var workloads []client.Object
	if o.Workload != nil {
		applyWorkload = o.Workload.Apply
		workloads = workloadKinds()
	}
	return errors.Join(
		setupKind(mgr, o, world, v1alpha1.KindAcademy, &v1alpha1.LTIAcademy{}, newAcademyReconciler(s, applyWorkload), workloads...),
		setupKind(mgr, o, world, v1alpha1.KindPlatform, &v1alpha1.LTIPlatform{}, newPlatformReconciler(s, observer)),
		setupKind(mgr, o, world, v1alpha1.KindTool, &v1alpha1.LTITool{}, newToolReconciler(s)),
		setupKind(mgr, o, world, v1alpha1.KindActivity, &v1alpha1.LTIActivity{}, newActivityReconciler(s)),
		setupProgram(mgr, programmer),
	)
}

// relevant lets through what may change what is served: spec, labels (share.platforms selects by them), annotations that
// ask the operator for something, and deletion, but never a write of status.
func relevant() predicate.Predicate {
	return predicate.Or(predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}, requestChanged())
}

// requestChanged lets through changes of our own annotations. Those of others, such as that of kubectl apply, ask for
// nothing.
func requestChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		if e.ObjectOld == nil || e.ObjectNew == nil {
			return false
		}
		return !maps.Equal(requests(e.ObjectOld), requests(e.ObjectNew))
	}}
}

func requests(o client.Object) map[string]string {
	out := map[string]string{}
	for name, value := range o.GetAnnotations() {
		if strings.HasPrefix(name, v1alpha1.AnnotationPrefix) {
			out[name] = value
		}
	}
	return out
}

// setupKind adds the controller of one kind. It runs on changes of the object, of its generated Secret, of the workload
// that is applied for it, and when the Programmer has news.
func setupKind(mgr ctrl.Manager, o Options, world *cluster, kind string, object client.Object, r reconcile.Reconciler, workloads ...client.Object) error {
	news := make(chan event.GenericEvent)
	world.events[kind] = news
	concurrency := o.Concurrency
	if concurrency == 0 {
		concurrency = 4
	}
	c := ctrl.NewControllerManagedBy(mgr).
		For(object, builder.WithPredicates(relevant())).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(ownerOf(kind))).
		WatchesRawSource(source.Channel(news, &handler.EnqueueRequestForObject{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency})
	for _, part := range workloads {
		changed := drifted()
		if _, ok := part.(*networkingv1.Ingress); ok {
			// To an Ingress its annotations are as good as spec.
			changed = predicate.Or(changed, predicate.AnnotationChangedPredicate{})
		}
		c = c.Watches(part, handler.EnqueueRequestsFromMapFunc(academyOfWorkload), builder.OnlyMetadata, builder.WithPredicates(changed))
	}
	if err := c.Complete(r); err != nil {
		return fmt.Errorf("set up controller of %s: %w", kind, err)
	}
	return nil
}

// ownerOf maps a generated Secret to its object.
func ownerOf(kind string) handler.MapFunc {
	return func(_ context.Context, secret client.Object) []reconcile.Request {
		l := secret.GetLabels()
		if l[v1alpha1.LabelOwnerKind] != kind || l[v1alpha1.LabelOwnerName] == "" {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: secret.GetNamespace(), Name: l[v1alpha1.LabelOwnerName]}}}
	}
}

// setupProgram adds the controller that asks for a new routing table whenever something changes that may be in it.
func setupProgram(mgr ctrl.Manager, programmer *Programmer) error {
	member := func(name func(client.Object) string) handler.EventHandler {
		return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
			return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name(o)}}}
		})
	}
	everyAcademy := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return academiesAround(ctx, mgr.GetClient(), o)
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("program").
		// An academy concerns all others: two must not have one url.
		Watches(&v1alpha1.LTIAcademy{}, everyAcademy, builder.WithPredicates(relevant())).
		Watches(&v1alpha1.LTIPlatform{}, member(func(o client.Object) string {
			return academyOf(o)
		}), builder.WithPredicates(relevant())).
		Watches(&v1alpha1.LTITool{}, member(academyOf), builder.WithPredicates(relevant())).
		Watches(&v1alpha1.LTIActivity{}, member(academyOf), builder.WithPredicates(relevant())).
		Watches(&corev1.Secret{}, everyAcademy).
		Complete(reconcile.Func(func(_ context.Context, req reconcile.Request) (reconcile.Result, error) {
			programmer.Trigger(req.NamespacedName)
			return reconcile.Result{}, nil
		}))
	if err != nil {
		return fmt.Errorf("set up the program controller: %w", err)
	}
	return nil
}

func academyOf(o client.Object) string {
	switch x := o.(type) {
	case *v1alpha1.LTIPlatform:
		return v1alpha1.AcademyName(x.Spec.AcademyRef)
	case *v1alpha1.LTITool:
		return v1alpha1.AcademyName(x.Spec.AcademyRef)
	case *v1alpha1.LTIActivity:
		return v1alpha1.AcademyName(x.Spec.AcademyRef)
	}
	return v1alpha1.DefaultAcademyName
}

// academiesAround are the academies that a changed Secret (those of its namespace) or academy (all, itself included
// although it may be gone) concerns.
func academiesAround(ctx context.Context, c client.Client, o client.Object) []reconcile.Request {
	var list v1alpha1.LTIAcademyList
	var scope []client.ListOption
	_, isAcademy := o.(*v1alpha1.LTIAcademy)
	if !isAcademy {
		scope = append(scope, client.InNamespace(o.GetNamespace()))
	}
	if err := c.List(ctx, &list, append(scope, client.UnsafeDisableDeepCopy)...); err != nil {
		// The cache answers lists without a network; an error means that it has stopped.
		return nil
	}
	var requests []reconcile.Request
	if isAcademy {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)})
	}
	for i := range list.Items {
		key := client.ObjectKeyFromObject(&list.Items[i])
		if isAcademy && key == client.ObjectKeyFromObject(o) {
			continue
		}
		requests = append(requests, reconcile.Request{NamespacedName: key})
	}
	return requests
}

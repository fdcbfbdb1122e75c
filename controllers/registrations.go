// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/compile"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// eventRegistered is the reason of an event about something that has registered.
const eventRegistered = "RegistrationReceived"

// registrationObserver brings what has registered at the launch handlers into Secrets. From then on the Secret counts:
// the handlers may forget it.
type registrationObserver struct {
	world  *cluster
	keeper secretKeeper
	events *announcer
}

// registering is an object that waits for registrations.
type registering struct {
	kind   string // as in routing.Registration
	object registrant
}

// observe asks the handlers of every academy that has an object with dynamic registration.
func (o *registrationObserver) observe(ctx context.Context) {
	waiting, err := o.waiting(ctx)
	if err != nil {
		logf.FromContext(ctx).Error(err, "could not list what may register")
		return
	}
	for key, objects := range waiting {
		reported, err := firstAnswer(ctx, o.world, key, func(ctx context.Context, e HandlerEndpoint, k *keys.Academy) ([]routing.Registration, error) {
			return o.world.handlers.Registrations(ctx, e, k)
		})
		if err != nil {
			// A handler that is down has been reported by the academy's own condition.
			logf.FromContext(ctx).V(1).Info("could not ask for registrations", "namespace", key.Namespace, "academy", key.Name, "error", err.Error())
			continue
		}
		for _, w := range objects {
			var own []routing.Registration
			for i := range reported {
				if reported[i].Kind == w.kind && reported[i].Name == w.object.GetName() {
					own = append(own, reported[i])
				}
			}
			if err := o.take(ctx, w, own); err != nil {
				logf.FromContext(ctx).Error(err, "could not keep a registration", "namespace", key.Namespace, "kind", w.kind, "name", w.object.GetName())
			}
		}
	}
}

// waiting returns the objects with dynamic registration, by academy.
func (o *registrationObserver) waiting(ctx context.Context) (map[AcademyKey][]registering, error) {
	var platforms v1alpha1.LTIPlatformList
	var tools v1alpha1.LTIToolList
	if err := o.world.cached.List(ctx, &platforms, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list platforms: %w", err)
	}
	if err := o.world.cached.List(ctx, &tools, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list tools: %w", err)
	}
	out := map[AcademyKey][]registering{}
	add := func(kind string, obj registrant) {
		if obj.Dynamic() != nil && obj.GetDeletionTimestamp().IsZero() {
			key := AcademyKey{Namespace: obj.GetNamespace(), Name: academyOf(obj)}
			out[key] = append(out[key], registering{kind, obj})
		}
	}
	for i := range platforms.Items {
		add(routing.KindPlatform, &platforms.Items[i])
	}
	for i := range tools.Items {
		add(routing.KindTool, &tools.Items[i])
	}
	return out, nil
}

// take keeps what has registered at an object. The cache tells whether there is something new; what is kept is worked out
// from the object and the Secret in the API server, and written only if that is still the one that was read.
func (o *registrationObserver) take(ctx context.Context, w registering, reported []routing.Registration) error {
	if len(reported) == 0 {
		return nil
	}
	g := registeredSecret(resourceKind(w.kind), w.object)
	secret := &corev1.Secret{}
	if err := o.world.cached.Get(ctx, g.name, secret); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read Secret %s: %w", g.name.Name, err)
	}
	_, added, err := compile.MergeRegistrations(w.kind, secret.Data, reported, w.object.Dynamic().Approved)
	if len(added) == 0 || err != nil {
		return err
	}
	// A registration that has just been approved must not make room for a newer one.
	current, ok := w.object.DeepCopyObject().(registrant)
	if !ok {
		return fmt.Errorf("%T does not register", w.object)
	}
	if err := o.world.live.Get(ctx, client.ObjectKeyFromObject(w.object), current); err != nil {
		return client.IgnoreNotFound(err)
	}
	if current.Dynamic() == nil || !current.GetDeletionTimestamp().IsZero() {
		return nil
	}
	g.generate = func(context.Context) (map[string][]byte, error) { return map[string][]byte{}, nil }
	problem, err := o.keeper.ensure(ctx, g)
	if problem != nil || err != nil {
		return err // status tells the problem
	}
	if err := o.world.live.Get(ctx, g.name, secret); err != nil {
		return fmt.Errorf("read Secret %s: %w", g.name.Name, err)
	}
	secret.Data, added, err = compile.MergeRegistrations(w.kind, secret.Data, reported, current.Dynamic().Approved)
	if len(added) == 0 || err != nil {
		return err // the cache lags
	}
	err = o.world.writer.Update(ctx, secret)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // whoever was faster wins; the next look starts over
	}
	if err != nil {
		return fmt.Errorf("write Secret %s: %w", g.name.Name, err)
	}
	o.events.tell(current, eventRegistered, fmt.Sprintf(
		"registered by the link: %s; it is used once spec.registration.dynamic.approved names it", strings.Join(added, ", ")))
	return nil
}

// resourceKind is the kind of the resource that a kind of registrations belongs to.
func resourceKind(kind string) string {
	if kind == routing.KindTool {
		return v1alpha1.KindTool
	}
	return v1alpha1.KindPlatform
}

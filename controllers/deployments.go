// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/compile"
	"github.com/lti-operator/lti-operator/internal/keys"
)

// observeEvery is how often the launch handlers are asked for deployments that launched and are not listed, and for what
// has registered. An administrator who waits for either is on the telephone, not in a hurry.
const observeEvery = 10 * time.Second

// patrol looks at something again and again. It runs on the leader only.
type patrol struct {
	clock    clock.WithTicker
	interval time.Duration
	look     func(context.Context)
}

// Start implements manager.Runnable.
func (p *patrol) Start(ctx context.Context) error {
	ticker := p.clock.NewTicker(p.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			p.look(ctx)
		}
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (p *patrol) NeedLeaderElection() bool { return true }

// deploymentObserver collects the deployments that launched and are not listed, for status: the administrator here has
// no other way to learn the ID of a deployment that somebody has made there.
type deploymentObserver struct {
	world *cluster

	mu sync.Mutex
	// seen holds what the handlers of an academy reported last, by platform.
	seen map[AcademyKey]map[string][]v1alpha1.UnknownDeployment
}

func (o *deploymentObserver) observe(ctx context.Context) {
	var academies v1alpha1.LTIAcademyList
	if err := o.world.cached.List(ctx, &academies, client.UnsafeDisableDeepCopy); err != nil {
		logf.FromContext(ctx).Error(err, "could not list the academies")
		return
	}
	for i := range academies.Items {
		key := client.ObjectKeyFromObject(&academies.Items[i])
		found, err := o.ask(ctx, key)
		if err != nil {
			// A handler that is down has been reported by the academy's own condition.
			logf.FromContext(ctx).V(1).Info("could not ask for unknown deployments", "namespace", key.Namespace, "academy", key.Name, "error", err.Error())
			continue
		}
		if refs := o.take(key, found); len(refs) > 0 {
			o.world.Changed(ctx, key, refs)
		}
	}
}

// ask returns what the handlers know, by platform; nil when there is no handler.
func (o *deploymentObserver) ask(ctx context.Context, key AcademyKey) (map[string][]v1alpha1.UnknownDeployment, error) {
	return firstAnswer(ctx, o.world, key, func(ctx context.Context, e HandlerEndpoint, k *keys.Academy) (map[string][]v1alpha1.UnknownDeployment, error) {
		list, err := o.world.handlers.UnknownDeployments(ctx, e, k)
		if err != nil {
			return nil, err
		}
		found := map[string][]v1alpha1.UnknownDeployment{}
		for _, d := range list {
			found[d.Platform] = append(found[d.Platform], v1alpha1.UnknownDeployment{ID: d.ID, FirstSeenAt: metav1.NewTime(d.FirstSeenAt.Truncate(time.Second))})
		}
		for _, platform := range found {
			// Which one launched last changes all the time, and status must not.
			slices.SortFunc(platform, func(a, b v1alpha1.UnknownDeployment) int {
				return cmp.Or(b.FirstSeenAt.Compare(a.FirstSeenAt.Time), cmp.Compare(a.ID, b.ID))
			})
		}
		return found, nil
	})
}

// take remembers what was found and returns the platforms for which that is news.
func (o *deploymentObserver) take(key AcademyKey, found map[string][]v1alpha1.UnknownDeployment) []compile.Ref {
	if found == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen == nil {
		o.seen = map[AcademyKey]map[string][]v1alpha1.UnknownDeployment{}
	}
	before := o.seen[key]
	o.seen[key] = found
	var refs []compile.Ref
	for name := range found {
		if !reflect.DeepEqual(before[name], found[name]) {
			refs = append(refs, compile.Ref{Kind: v1alpha1.KindPlatform, Name: name})
		}
	}
	for name := range before {
		if found[name] == nil {
			refs = append(refs, compile.Ref{Kind: v1alpha1.KindPlatform, Name: name})
		}
	}
	return refs
}

// of returns the deployments of a platform that launched and that its spec, as it is now, does not list; known is false
// before the handlers were asked.
func (o *deploymentObserver) of(p *v1alpha1.LTIPlatform) (list []v1alpha1.UnknownDeployment, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen, known := o.seen[AcademyKey{Namespace: p.Namespace, Name: v1alpha1.AcademyName(p.Spec.AcademyRef)}]
	for _, d := range seen[p.Name] {
		if !p.Lists(d.ID) {
			list = append(list, d)
		}
	}
	return list, known
}

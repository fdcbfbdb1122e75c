// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// tracker follows, over watches of its own, which resources are Ready and every version of the objects that hold the
// routing table.
type tracker struct {
	mu      sync.Mutex
	ready   map[objectKey]readiness
	written []published
	seen    map[string]bool // name and resourceVersion of published objects
}

type objectKey struct{ kind, name string }

// readiness tells since when a generation is Ready.
type readiness struct {
	generation int64
	at         time.Time
}

// published is one version of a shard or manifest.
type published struct {
	at       time.Time
	manifest bool
	// bytes is the size of the object in protobuf: what etcd stores.
	bytes int
}

// startTracker returns when all its watches have begun.
func startTracker(ctx context.Context, c *cluster) (*tracker, error) {
	t := &tracker{ready: map[objectKey]readiness{}, seen: map[string]bool{}}
	ofAcademy := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{v1alpha1.LabelAcademy: v1alpha1.DefaultAcademyName})}
	watches, err := cache.New(c.Config, cache.Options{
		Scheme:            c.Scheme,
		DefaultNamespaces: map[string]cache.Config{namespace: {}},
		ByObject:          map[client.Object]cache.ByObject{&corev1.ConfigMap{}: ofAcademy, &corev1.Secret{}: ofAcademy},
	})
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	watch := func(object client.Object, changed func(any)) error {
		informer, err := watches.GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return err
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    changed,
			UpdateFunc: func(_, now any) { changed(now) },
		})
		return err
	}
	err = errors.Join(
		watch(&v1alpha1.LTIAcademy{}, t.resourceChanged(v1alpha1.KindAcademy)),
		watch(&v1alpha1.LTIPlatform{}, t.resourceChanged(v1alpha1.KindPlatform)),
		watch(&v1alpha1.LTIActivity{}, t.resourceChanged(v1alpha1.KindActivity)),
		watch(&corev1.ConfigMap{}, t.shardChanged),
		watch(&corev1.Secret{}, t.shardChanged),
	)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	go func() { _ = watches.Start(ctx) }()
	if !watches.WaitForCacheSync(ctx) {
		return nil, errors.New("watch: it did not begin")
	}
	return t, nil
}

func (t *tracker) resourceChanged(kind string) func(any) {
	return func(o any) {
		object, ok := o.(v1alpha1.Object)
		if !ok {
			return
		}
		c := meta.FindStatusCondition(object.GetConditions(), v1alpha1.ConditionReady)
		if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != object.GetGeneration() {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		key := objectKey{kind, object.GetName()}
		if t.ready[key].generation != object.GetGeneration() {
			t.ready[key] = readiness{object.GetGeneration(), time.Now()}
		}
	}
}

func (t *tracker) shardChanged(o any) {
	object, ok := o.(interface {
		client.Object
		Size() int
	})
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	version := object.GetName() + "@" + object.GetResourceVersion()
	if t.seen[version] {
		return
	}
	t.seen[version] = true
	t.written = append(t.written, published{
		at: time.Now(), bytes: object.Size(),
		manifest: object.GetName() == workload.ManifestConfigMapName(v1alpha1.DefaultAcademyName),
	})
}

// readyCount counts the resources of a kind that have been Ready.
func (t *tracker) readyCount(kind string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for key := range t.ready {
		if key.kind == kind {
			n++
		}
	}
	return n
}

// readyAt tells when a generation of a resource became Ready.
func (t *tracker) readyAt(kind, name string, generation int64) (at time.Time, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.ready[objectKey{kind, name}]
	return r.at, r.generation == generation
}

// publishedSince counts the tables (versions of the manifest), the objects and the bytes written since an instant, and
// tells when the first of these tables was complete.
func (t *tracker) publishedSince(since time.Time) (tables, objects, bytes int, first time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.written {
		if p.at.Before(since) {
			continue
		}
		objects++
		bytes += p.bytes
		if p.manifest {
			tables++
			if first.IsZero() {
				first = p.at
			}
		}
	}
	return tables, objects, bytes, first
}

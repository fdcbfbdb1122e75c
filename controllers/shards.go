// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"context"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/internal/publish"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// shards reads and writes the shards of one academy for a publisher, who asks for them one after another before each
// publish, a dozen objects of hundreds of KiB of which one has to change. With the first question all are looked at, at
// once; and of those that were read or written before, the API server is asked for the metadata only. An object that
// still has the resourceVersion that it had is what it was: nothing is ever taken for granted that somebody else may have
// changed meanwhile.
type shards struct {
	reader client.Reader
	writer client.Writer

	mu sync.Mutex
	// known is how each shard was read or written last.
	known map[shardName]client.Object
}

type shardName struct {
	secret bool
	types.NamespacedName
}

func newShards(reader client.Reader, writer client.Writer) *shards {
	return &shards{reader: reader, writer: writer, known: map[shardName]client.Object{}}
}

// publisher returns what one publish is made with.
func (s *shards) publisher(key AcademyKey) *publish.Publisher {
	r := &shardReader{Reader: s.reader, shards: s, answers: map[shardName]*shardAnswer{}}
	add := func(secret bool, name string) {
		r.answers[shardName{secret, types.NamespacedName{Namespace: key.Namespace, Name: name}}] = &shardAnswer{done: make(chan struct{})}
	}
	for i := range routing.RoutingShards {
		add(false, workload.RoutingConfigMapName(key.Name, i))
	}
	for i := range routing.KeyShards {
		add(true, workload.KeySecretName(key.Name, i))
	}
	return &publish.Publisher{Reader: r, Writer: &shardWriter{Writer: s.writer, shards: s, names: r.answers}}
}

func (s *shards) recall(name shardName) client.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[name]
}

func (s *shards) remember(name shardName, obj client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[name] = obj
}

func (s *shards) forget(name shardName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, name)
}

// get returns a shard as it stands in the API server.
func (s *shards) get(ctx context.Context, name shardName) (client.Object, error) {
	if known := s.recall(name); known != nil {
		meta := &metav1.PartialObjectMetadata{}
		meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(name.kind()))
		err := s.reader.Get(ctx, name.NamespacedName, meta)
		if err == nil && meta.UID == known.GetUID() && meta.ResourceVersion == known.GetResourceVersion() {
			return known, nil
		}
		s.forget(name)
		if err != nil {
			return nil, err
		}
	}
	obj := name.newObject()
	if err := s.reader.Get(ctx, name.NamespacedName, obj); err != nil {
		return nil, err
	}
	s.remember(name, obj)
	return obj, nil
}

func (n shardName) kind() string {
	if n.secret {
		return "Secret"
	}
	return "ConfigMap"
}

func (n shardName) newObject() client.Object {
	if n.secret {
		return &corev1.Secret{}
	}
	return &corev1.ConfigMap{}
}

// copyShard makes into the same object as from. Payloads are never changed, and so are shared; the maps are not.
func copyShard(into, from client.Object) {
	switch from := from.(type) {
	case *corev1.Secret:
		if into, ok := into.(*corev1.Secret); ok {
			*into = *from
			into.Labels, into.Data = maps.Clone(from.Labels), maps.Clone(from.Data)
		}
	case *corev1.ConfigMap:
		if into, ok := into.(*corev1.ConfigMap); ok {
			*into = *from
			into.Labels, into.BinaryData = maps.Clone(from.Labels), maps.Clone(from.BinaryData)
		}
	}
}

func nameOf(obj client.Object) (shardName, bool) {
	switch obj.(type) {
	case *corev1.Secret:
		return shardName{true, client.ObjectKeyFromObject(obj)}, true
	case *corev1.ConfigMap:
		return shardName{false, client.ObjectKeyFromObject(obj)}, true
	}
	return shardName{}, false
}

// shardReader answers a publisher. Each answer is given once, and none is from before the first question: whoever reads
// the manifest first does not get shards that are older than it. Everything else is passed on.
type shardReader struct {
	client.Reader
	shards  *shards
	once    sync.Once
	answers map[shardName]*shardAnswer
}

type shardAnswer struct {
	given bool // one goroutine asks
	done  chan struct{}
	obj   client.Object
	err   error
}

// Get implements client.Reader.
func (r *shardReader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	_, secret := obj.(*corev1.Secret)
	answer := r.answers[shardName{secret, key}]
	if answer == nil || answer.given {
		return r.Reader.Get(ctx, key, obj, opts...)
	}
	answer.given = true
	r.once.Do(func() {
		for name, a := range r.answers {
			go func() {
				defer close(a.done)
				a.obj, a.err = r.shards.get(ctx, name)
			}()
		}
	})
	select {
	case <-answer.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if answer.err != nil {
		return answer.err
	}
	copyShard(obj, answer.obj)
	return nil
}

// shardWriter remembers what a publisher has written.
type shardWriter struct {
	client.Writer
	shards *shards
	names  map[shardName]*shardAnswer
}

// Create implements client.Writer.
func (w *shardWriter) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	return w.write(obj, func() error { return w.Writer.Create(ctx, obj, opts...) })
}

// Update implements client.Writer.
func (w *shardWriter) Update(ctx context.Context, obj client.Object, opts ...client.UpdateOption) error {
	return w.write(obj, func() error { return w.Writer.Update(ctx, obj, opts...) })
}

func (w *shardWriter) write(obj client.Object, send func() error) error {
	name, ok := nameOf(obj)
	if _, shard := w.names[name]; !ok || !shard {
		return send()
	}
	sent := maps.Clone(payloads(obj))
	if err := send(); err != nil {
		if !apierrors.IsConflict(err) {
			w.shards.forget(name) // it may have been written nevertheless
		}
		return err
	}
	stored := name.newObject()
	copyShard(stored, obj)
	// The answer has copies of payloads that are in memory anyway.
	for file, payload := range payloads(stored) {
		if bytes.Equal(payload, sent[file]) {
			payloads(stored)[file] = sent[file]
		}
	}
	w.shards.remember(name, stored)
	return nil
}

// payloads are those of a shard, by file name.
func payloads(obj client.Object) map[string][]byte {
	switch o := obj.(type) {
	case *corev1.Secret:
		return o.Data
	case *corev1.ConfigMap:
		return o.BinaryData
	}
	return nil
}

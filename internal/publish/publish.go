// SPDX-License-Identifier: Apache-2.0

// Package publish writes the shards and the manifest of a routing table to the API server, so that a handler which
// starts at any instant, also in the middle of a publish that never ends, finds a complete table.
package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// Publisher writes tables. Reader must not be a cache: what stands in the API server decides what may be dropped.
type Publisher struct {
	Reader client.Reader
	Writer client.Writer
}

// Target is the academy whose table is published.
type Target struct {
	Namespace string
	Academy   string
	Owner     metav1.OwnerReference
}

// Publish makes set the live table. Each shard object holds, beside its new payload, the one that the live manifest
// names; the manifest follows once all shards are written, and only if it is still the one that was read. Between any
// two writes the live manifest is therefore satisfiable.
//
// It returns the number of objects written; 0 means that the table is live already.
func (p *Publisher) Publish(ctx context.Context, to Target, set *routing.Set) (writes int, err error) {
	manifest := &corev1.ConfigMap{}
	name := types.NamespacedName{Namespace: to.Namespace, Name: workload.ManifestConfigMapName(to.Academy)}
	live, err := p.liveManifest(ctx, name, manifest)
	if err != nil {
		return 0, err
	}
	keep := map[string]bool{}
	for _, hash := range live.ShardHashes() {
		keep[hash] = true
	}
	for i, shard := range set.Routing {
		wrote, err := p.writeRouting(ctx, to, workload.RoutingConfigMapName(to.Academy, i), shard, keep)
		if err != nil {
			return writes, err
		}
		writes += wrote
	}
	for i, shard := range set.Keys {
		wrote, err := p.writeKeys(ctx, to, workload.KeySecretName(to.Academy, i), shard, keep)
		if err != nil {
			return writes, err
		}
		writes += wrote
	}
	wrote, err := p.writeManifest(ctx, to, manifest, set.Manifest)
	return writes + wrote, err
}

// liveManifest reads the manifest object into manifest. A manifest that cannot be read names no shards: nothing can be
// serving from it.
func (p *Publisher) liveManifest(ctx context.Context, name types.NamespacedName, manifest *corev1.ConfigMap) (routing.Manifest, error) {
	err := p.Reader.Get(ctx, name, manifest)
	if apierrors.IsNotFound(err) {
		*manifest = corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
		return routing.Manifest{}, nil
	}
	if err != nil {
		return routing.Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	live, err := routing.DecodeManifest([]byte(manifest.Data[routing.ManifestFile]))
	if errors.Is(err, routing.ErrCorrupt) {
		return routing.Manifest{}, nil
	}
	if err != nil {
		return routing.Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	return live, nil
}

func (p *Publisher) writeRouting(ctx context.Context, to Target, name string, shard routing.Shard, keep map[string]bool) (int, error) {
	obj := &corev1.ConfigMap{}
	return p.write(ctx, to, name, obj, func() bool {
		next := payloads(obj.BinaryData, shard, keep)
		changed := !samePayloads(obj.BinaryData, next)
		obj.BinaryData = next
		return changed
	})
}

func (p *Publisher) writeKeys(ctx context.Context, to Target, name string, shard routing.Shard, keep map[string]bool) (int, error) {
	obj := &corev1.Secret{}
	return p.write(ctx, to, name, obj, func() bool {
		next := payloads(obj.Data, shard, keep)
		changed := !samePayloads(obj.Data, next)
		obj.Data = next
		return changed
	})
}

func (p *Publisher) writeManifest(ctx context.Context, to Target, read *corev1.ConfigMap, m routing.Manifest) (int, error) {
	encoded, err := routing.EncodeManifest(m)
	if err != nil {
		return 0, err
	}
	if read.Data[routing.ManifestFile] == string(encoded) && decorated(read, to) {
		return 0, nil
	}
	read.Data = map[string]string{routing.ManifestFile: string(encoded)}
	decorate(read, to)
	if read.ResourceVersion == "" {
		err = p.Writer.Create(ctx, read)
	} else {
		// The resourceVersion that was read is the precondition: another publisher's manifest is never overwritten
		// unseen, because the shards it names may not have been kept.
		err = p.Writer.Update(ctx, read)
	}
	if err != nil {
		return 0, fmt.Errorf("write manifest: %w", err)
	}
	return 1, nil
}

// write reads an object, lets change edit it, and creates or updates it when something changed.
func (p *Publisher) write(ctx context.Context, to Target, name string, obj client.Object, change func() bool) (int, error) {
	key := types.NamespacedName{Namespace: to.Namespace, Name: name}
	err := p.Reader.Get(ctx, key, obj)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return 0, fmt.Errorf("read shard: %w", err)
	}
	if missing {
		obj.SetNamespace(to.Namespace)
		obj.SetName(name)
	}
	if changed := change(); !changed && decorated(obj, to) && !missing {
		return 0, nil
	}
	decorate(obj, to)
	if missing {
		err = p.Writer.Create(ctx, obj)
	} else {
		err = p.Writer.Update(ctx, obj)
	}
	if err != nil {
		return 0, fmt.Errorf("write shard: %w", err)
	}
	return 1, nil
}

// payloads returns what a shard object must hold: the new payload and, of the present ones, what the live manifest
// names. Where the new one is the live one, the present one before it may stay: taking it away would be a write of its
// own after every publish. What is damaged, or is no shard, goes.
func payloads(present map[string][]byte, shard routing.Shard, keep map[string]bool) map[string][]byte {
	next := map[string][]byte{shard.FileName(): shard.Payload}
	isLive := keep[shard.SHA256]
	for file, payload := range present {
		hash, ok := routing.ShardHash(file)
		if !ok || routing.HashPayload(payload) != hash {
			continue
		}
		if keep[hash] || isLive && len(next) < payloadsKept {
			next[file] = payload
		}
	}
	return next
}

// payloadsKept is the number of payloads in a shard object: the current and the previous one.
const payloadsKept = 2

func samePayloads(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }

func decorate(obj client.Object, to Target) {
	labels := maps.Clone(obj.GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, workload.Labels(to.Academy))
	obj.SetLabels(labels)
	obj.SetOwnerReferences([]metav1.OwnerReference{to.Owner})
}

func decorated(obj client.Object, to Target) bool {
	for k, v := range workload.Labels(to.Academy) {
		if obj.GetLabels()[k] != v {
			return false
		}
	}
	refs := obj.GetOwnerReferences()
	return len(refs) == 1 && refs[0].UID == to.Owner.UID
}

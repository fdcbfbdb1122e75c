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
	// PurgePrevious takes the previous payloads out of the shards once the manifest names the new ones: a revoked key
	// must not lie in an object any longer. A handler that has fetched the old manifest and not yet the shards waits
	// for its next look.
	PurgePrevious bool
}

// Written counts what a publish has cost the API server.
type Written struct {
	// Objects is the number of objects written; 0 means that the table was live already.
	Objects int
	// Bytes is the size of their payloads. Each write of a shard costs the whole object, and etcd keeps every revision.
	Bytes int
}

func (w *Written) add(other Written) {
	w.Objects += other.Objects
	w.Bytes += other.Bytes
}

// Publish makes set the live table. Each shard object holds, beside its new payload, the one that the live manifest
// names; the manifest follows once all shards are written, and only if it is still the one that was read. Between any
// two writes the live manifest is therefore satisfiable.
//
// What it has written is returned also with an error. A publish that failed after the manifest was written (while
// purging) is completed by publishing the same table again.
func (p *Publisher) Publish(ctx context.Context, to Target, set *routing.Set) (written Written, err error) {
	manifest := &corev1.ConfigMap{}
	name := types.NamespacedName{Namespace: to.Namespace, Name: workload.ManifestConfigMapName(to.Academy)}
	live, err := p.liveManifest(ctx, name, manifest)
	if err != nil {
		return written, err
	}
	keep := map[string]bool{}
	for _, hash := range live.ShardHashes() {
		keep[hash] = true
	}
	if err := p.writeShards(ctx, to, set, &written, func(present map[string][]byte, shard routing.Shard) map[string][]byte {
		return payloads(present, shard, keep)
	}); err != nil {
		return written, err
	}
	if err := p.writeManifest(ctx, to, manifest, set.Manifest, &written); err != nil {
		return written, err
	}
	purged := *set
	switch {
	case to.PurgePrevious:
	case set.Purge:
		purged.Routing = nil // what is revoked is a private key, and those are in key shards only
	default:
		return written, nil
	}
	return written, p.writeShards(ctx, to, &purged, &written, func(_ map[string][]byte, shard routing.Shard) map[string][]byte {
		return map[string][]byte{shard.FileName(): shard.Payload}
	})
}

// Live reads the table that stands in the API server; nil when there is none that a handler could serve.
func (p *Publisher) Live(ctx context.Context, to Target) (*routing.Table, error) {
	name := types.NamespacedName{Namespace: to.Namespace, Name: workload.ManifestConfigMapName(to.Academy)}
	manifest := &corev1.ConfigMap{}
	live, err := p.liveManifest(ctx, name, manifest)
	if err != nil || live.Hash == "" {
		return nil, err
	}
	files := map[string][]byte{}
	for i := range routing.RoutingShards {
		obj := &corev1.ConfigMap{}
		if err := p.read(ctx, to, workload.RoutingConfigMapName(to.Academy, i), obj); err != nil {
			return nil, err
		}
		maps.Copy(files, obj.BinaryData)
	}
	for i := range routing.KeyShards {
		obj := &corev1.Secret{}
		if err := p.read(ctx, to, workload.KeySecretName(to.Academy, i), obj); err != nil {
			return nil, err
		}
		maps.Copy(files, obj.Data)
	}
	table, err := routing.Assemble(live, func(file string) ([]byte, error) {
		if payload, ok := files[file]; ok {
			return payload, nil
		}
		return nil, errNoSuchPayload
	})
	if errors.Is(err, routing.ErrIncomplete) || errors.Is(err, routing.ErrCorrupt) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("assemble the live table: %w", err)
	}
	return table, nil
}

var errNoSuchPayload = errors.New("no such payload")

// read reads an object that may be missing.
func (p *Publisher) read(ctx context.Context, to Target, name string, obj client.Object) error {
	err := p.Reader.Get(ctx, types.NamespacedName{Namespace: to.Namespace, Name: name}, obj)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read shard: %w", err)
	}
	return nil
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

// writeShards writes every shard object that does not hold what next says; next gets what is present.
func (p *Publisher) writeShards(ctx context.Context, to Target, set *routing.Set, written *Written, next func(map[string][]byte, routing.Shard) map[string][]byte) error {
	for i, shard := range set.Routing {
		obj := &corev1.ConfigMap{}
		err := p.write(ctx, to, workload.RoutingConfigMapName(to.Academy, i), obj, &obj.BinaryData, written, func(present map[string][]byte) map[string][]byte {
			return next(present, shard)
		})
		if err != nil {
			return err
		}
	}
	for i, shard := range set.Keys {
		obj := &corev1.Secret{}
		err := p.write(ctx, to, workload.KeySecretName(to.Academy, i), obj, &obj.Data, written, func(present map[string][]byte) map[string][]byte {
			return next(present, shard)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Publisher) writeManifest(ctx context.Context, to Target, read *corev1.ConfigMap, m routing.Manifest, written *Written) error {
	encoded, err := routing.EncodeManifest(m)
	if err != nil {
		return err
	}
	if read.Data[routing.ManifestFile] == string(encoded) && decorated(read, to) {
		return nil
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
		return fmt.Errorf("write manifest: %w", err)
	}
	written.add(Written{Objects: 1, Bytes: len(encoded)})
	return nil
}

// write reads a shard object, and creates or updates it when its payloads, which data points to, are not what next
// returns for those that are present.
func (p *Publisher) write(ctx context.Context, to Target, name string, obj client.Object, data *map[string][]byte, written *Written, next func(map[string][]byte) map[string][]byte) error {
	err := p.Reader.Get(ctx, types.NamespacedName{Namespace: to.Namespace, Name: name}, obj)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return fmt.Errorf("read shard: %w", err)
	}
	if missing {
		obj.SetNamespace(to.Namespace)
		obj.SetName(name)
	}
	wanted := next(*data)
	if !missing && samePayloads(*data, wanted) && decorated(obj, to) {
		return nil
	}
	*data = wanted
	decorate(obj, to)
	if missing {
		err = p.Writer.Create(ctx, obj)
	} else {
		err = p.Writer.Update(ctx, obj)
	}
	if err != nil {
		return fmt.Errorf("write shard: %w", err)
	}
	written.add(Written{Objects: 1, Bytes: payloadBytes(wanted)})
	return nil
}

func payloadBytes(payloads map[string][]byte) (n int) {
	for _, payload := range payloads {
		n += len(payload)
	}
	return n
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

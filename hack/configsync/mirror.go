// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// retryDelay is the pause after a failed write.
const retryDelay = time.Second

// mirror keeps dir in the state of an academy's projected volume.
type mirror struct {
	client    kubernetes.Interface
	namespace string
	academy   string
	dir       string
	log       *slog.Logger
}

// run mirrors until ctx is done; with once, it writes the present state and returns.
func (m *mirror) run(ctx context.Context, once bool) error {
	ctx, cancel := context.WithCancel(ctx)
	selector := labels.Set{v1alpha1.LabelAcademy: m.academy}.String()
	factory := informers.NewSharedInformerFactoryWithOptions(m.client, 0,
		informers.WithNamespace(m.namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = selector }))
	defer factory.Shutdown() // after cancel: it waits for the informers
	defer cancel()

	changed := make(chan struct{}, 1)
	signal := func() {
		select {
		case changed <- struct{}{}:
		default: // one is waiting, and will see this change too
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { signal() },
		UpdateFunc: func(any, any) { signal() },
		DeleteFunc: func(any) { signal() },
	}
	configMaps, secrets := factory.Core().V1().ConfigMaps(), factory.Core().V1().Secrets()
	for _, informer := range []cache.SharedIndexInformer{configMaps.Informer(), secrets.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
	}
	factory.Start(ctx.Done())
	// Before that, what is not in the cache may well exist: an empty directory would be a lie.
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			if ctx.Err() != nil && !once {
				return nil
			}
			return fmt.Errorf("watch %s: cache did not sync", kind)
		}
	}
	collect := func() (map[string][]byte, error) {
		return collectFiles(m.academy,
			configMaps.Lister().ConfigMaps(m.namespace).Get, secrets.Lister().Secrets(m.namespace).Get)
	}
	if once {
		return m.write(collect)
	}
	for {
		if err := m.write(collect); err != nil {
			m.log.Error("directory not written", "dir", m.dir, "error", err)
			time.AfterFunc(retryDelay, signal)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (m *mirror) write(collect func() (map[string][]byte, error)) error {
	files, err := collect()
	if err != nil {
		return err
	}
	changed, err := writeDir(m.dir, files, time.Now())
	if err != nil {
		return fmt.Errorf("write directory: %w", err)
	}
	if changed {
		m.log.Info("directory swapped", "dir", m.dir, "files", len(files), "table", tableHash(files))
	}
	return nil
}

// collectFiles joins the objects that the launch handler's pod mounts, in the order of its volume. Those that do not
// exist contribute nothing, as optional sources do. Other objects of the academy are left alone, whatever their labels.
func collectFiles(
	academy string,
	configMap func(name string) (*corev1.ConfigMap, error),
	secret func(name string) (*corev1.Secret, error),
) (map[string][]byte, error) {
	files := map[string][]byte{}
	addConfigMap := func(name string) error {
		cm, err := configMap(name)
		if err != nil {
			return ignoreNotFound(err)
		}
		for file, content := range cm.Data {
			files[file] = []byte(content)
		}
		maps.Copy(files, cm.BinaryData)
		return nil
	}
	var errs []error
	for i := range routing.RoutingShards {
		errs = append(errs, addConfigMap(workload.RoutingConfigMapName(academy, i)))
	}
	for i := range routing.KeyShards {
		s, err := secret(workload.KeySecretName(academy, i))
		if err != nil {
			errs = append(errs, ignoreNotFound(err))
			continue
		}
		maps.Copy(files, s.Data)
	}
	errs = append(errs, addConfigMap(workload.ManifestConfigMapName(academy)))
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("read objects: %w", err)
	}
	return files, nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// tableHash names the table in a log line; empty when there is no readable manifest.
func tableHash(files map[string][]byte) string {
	m, err := routing.DecodeManifest(files[routing.ManifestFile])
	if err != nil {
		return ""
	}
	return m.Hash
}

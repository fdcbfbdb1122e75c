// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/compile"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/publish"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// HandlerEndpoint is the control port of one launch handler.
type HandlerEndpoint struct {
	// URL is https://host:port.
	URL string
	// Pod is the pod that listens there; empty for handlers outside the cluster.
	Pod types.NamespacedName
}

// Handlers finds the launch handlers of an academy and asks them what they serve.
type Handlers interface {
	// Endpoints lists every Ready, non-terminating handler.
	Endpoints(ctx context.Context, key AcademyKey) ([]HandlerEndpoint, error)
	// Report asks one handler.
	Report(ctx context.Context, endpoint HandlerEndpoint, academyKeys *keys.Academy) (routing.Report, error)
	// UnknownDeployments asks one handler for the deployments that launched and are not listed. All handlers of an
	// academy know the same.
	UnknownDeployments(ctx context.Context, endpoint HandlerEndpoint, academyKeys *keys.Academy) ([]routing.UnknownDeployment, error)
	// Registrations asks one handler for what dynamic registrations produced. All handlers of an academy know the same.
	Registrations(ctx context.Context, endpoint HandlerEndpoint, academyKeys *keys.Academy) ([]routing.Registration, error)
	// Nudge makes the kubelet of a handler's pod look for a new table at once; attempt counts the nudges for one table.
	Nudge(ctx context.Context, endpoint HandlerEndpoint, hash string, attempt int) error
}

// cluster is the World of a Programmer: the API server and the running handlers.
type cluster struct {
	cached    client.Client
	live      client.Reader
	writer    client.Writer
	handlers  Handlers
	informers cache.Informers
	events    map[string]chan event.GenericEvent // by kind

	mu     sync.Mutex
	shards map[AcademyKey]*shards
}

var _ World = (*cluster)(nil)

// Synced implements World. An informer that is asked for answers after its first complete list; that it cannot be made,
// because the API server does not answer, passes.
func (c *cluster) Synced(ctx context.Context) error {
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		err := c.syncedOnce(ctx)
		if err != nil && ctx.Err() == nil {
			logf.FromContext(ctx).Error(err, "could not fill the cache; it is tried again")
		}
		return err == nil, nil
	})
}

func (c *cluster) syncedOnce(ctx context.Context) error {
	counted := map[string]cache.Informer{}
	for kind, object := range map[string]client.Object{
		v1alpha1.KindAcademy: &v1alpha1.LTIAcademy{}, v1alpha1.KindPlatform: &v1alpha1.LTIPlatform{}, v1alpha1.KindTool: &v1alpha1.LTITool{},
		v1alpha1.KindActivity: &v1alpha1.LTIActivity{}, "": &corev1.Secret{},
	} {
		informer, err := c.informers.GetInformer(ctx, object)
		if err != nil {
			return fmt.Errorf("list every %T: %w", object, err)
		}
		if kind != "" {
			counted[kind] = informer
		}
	}
	return resources.watch(counted)
}

// Read implements World. Lists come from the cache without copies: the compiler only reads.
func (c *cluster) Read(ctx context.Context, key AcademyKey) (compile.Input, error) {
	in := compile.Input{Namespace: key.Namespace, AcademyName: key.Name, Secrets: map[string]*corev1.Secret{}, Unshared: map[string]bool{}}
	var academies v1alpha1.LTIAcademyList
	var platforms v1alpha1.LTIPlatformList
	var tools v1alpha1.LTIToolList
	var activities v1alpha1.LTIActivityList
	var secrets corev1.SecretList
	namespace := client.InNamespace(key.Namespace)
	err := errors.Join(
		c.cached.List(ctx, &academies, client.UnsafeDisableDeepCopy),
		c.cached.List(ctx, &platforms, namespace, client.UnsafeDisableDeepCopy),
		c.cached.List(ctx, &tools, namespace, client.UnsafeDisableDeepCopy),
		c.cached.List(ctx, &activities, namespace, client.UnsafeDisableDeepCopy),
		c.cached.List(ctx, &secrets, namespace, client.UnsafeDisableDeepCopy),
	)
	if err != nil {
		return compile.Input{}, fmt.Errorf("list the resources of the academy: %w", err)
	}
	for i := range academies.Items {
		a := &academies.Items[i]
		if a.Namespace == key.Namespace && a.Name == key.Name {
			in.Academy = a
		} else {
			in.OtherAcademies = append(in.OtherAcademies, a)
		}
	}
	if in.Academy == nil {
		c.forgetShards(key)
	}
	for i := range platforms.Items {
		if p := &platforms.Items[i]; v1alpha1.AcademyName(p.Spec.AcademyRef) == key.Name {
			in.Platforms = append(in.Platforms, p)
		}
	}
	for i := range tools.Items {
		if t := &tools.Items[i]; v1alpha1.AcademyName(t.Spec.AcademyRef) == key.Name {
			in.Tools = append(in.Tools, t)
		}
	}
	for i := range activities.Items {
		if a := &activities.Items[i]; v1alpha1.AcademyName(a.Spec.AcademyRef) == key.Name {
			in.Activities = append(in.Activities, a)
		}
	}
	for i := range secrets.Items {
		in.Secrets[secrets.Items[i].Name] = &secrets.Items[i]
	}
	return in, c.findUnshared(ctx, &in)
}

// findUnshared tells Secrets that exist without the consent label from those that do not exist, so that the condition
// can say what to do. Only names that a spec mentions are asked for, and only their metadata.
func (c *cluster) findUnshared(ctx context.Context, in *compile.Input) error {
	for _, name := range in.ReferredSecrets() {
		if in.Secrets[name] != nil {
			continue
		}
		meta := &metav1.PartialObjectMetadata{}
		meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		err := c.live.Get(ctx, types.NamespacedName{Namespace: in.Namespace, Name: name}, meta)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("look for Secret %s: %w", name, err)
		}
		in.Unshared[name] = err == nil
	}
	return nil
}

// Live implements World.
func (c *cluster) Live(ctx context.Context, key AcademyKey) (*routing.Table, error) {
	return c.shardsOf(key).publisher(key).Live(ctx, publish.Target{Namespace: key.Namespace, Academy: key.Name})
}

// shardsOf returns what reads and writes the shards of an academy.
func (c *cluster) shardsOf(key AcademyKey) *shards {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shards == nil {
		c.shards = map[AcademyKey]*shards{}
	}
	if c.shards[key] == nil {
		c.shards[key] = newShards(c.live, c.writer)
	}
	return c.shards[key]
}

// forgetShards drops what is known of the shards of an academy that is gone.
func (c *cluster) forgetShards(key AcademyKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.shards, key)
}

// Publish implements World.
func (c *cluster) Publish(ctx context.Context, academy *v1alpha1.LTIAcademy, set *routing.Set) (publish.Written, error) {
	key := client.ObjectKeyFromObject(academy)
	target := publish.Target{Namespace: key.Namespace, Academy: key.Name, Owner: ownerReference(academy)}
	written, err := c.shardsOf(key).publisher(key).Publish(ctx, target, set)
	if err == nil && written.Objects > 0 {
		logf.FromContext(ctx).Info("published a routing table", "hash", set.Manifest.Hash[:12], "objects", written.Objects, "bytes", written.Bytes)
	}
	return written, err
}

// ownerReference makes the academy the controller of an object, without blocking its deletion: that would take a
// permission on its finalizers.
func ownerReference(a *v1alpha1.LTIAcademy) metav1.OwnerReference {
	controller := true
	return metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.KindAcademy, Name: a.Name, UID: a.UID, Controller: &controller,
	}
}

// Handlers implements World. All are asked at once: one that does not answer does not delay the others.
func (c *cluster) Handlers(ctx context.Context, key AcademyKey) ([]HandlerReport, error) {
	academyKeys, err := c.academyKeys(ctx, key)
	if err != nil {
		return nil, err
	}
	endpoints, err := c.handlers.Endpoints(ctx, key)
	if err != nil {
		return nil, err
	}
	reports := make([]HandlerReport, len(endpoints))
	var group sync.WaitGroup
	for i, endpoint := range endpoints {
		group.Go(func() {
			report, err := c.handlers.Report(ctx, endpoint, academyKeys)
			if err != nil {
				logf.FromContext(ctx).V(1).Info("a launch handler does not report", "pod", endpoint.Pod.Name, "error", err.Error())
				report = routing.Report{}
			}
			reports[i] = HandlerReport{Endpoint: endpoint, Report: report, Err: err}
		})
	}
	group.Wait()
	return reports, nil
}

// Nudge implements World.
func (c *cluster) Nudge(ctx context.Context, endpoint HandlerEndpoint, hash string, attempt int) error {
	return c.handlers.Nudge(ctx, endpoint, hash, attempt)
}

// academyKeys are what the operator shows the handlers of an academy, and knows them by.
func (c *cluster) academyKeys(ctx context.Context, key AcademyKey) (*keys.Academy, error) {
	secret := &corev1.Secret{}
	err := c.cached.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: compile.AcademySecretName(key.Name)}, secret)
	if apierrors.IsNotFound(err) {
		return nil, errors.New("the keys of the academy are missing")
	}
	if err != nil {
		return nil, fmt.Errorf("read the keys of the academy: %w", err)
	}
	academyKeys, err := keys.ParseAcademy(secret.Data)
	if err != nil {
		return nil, fmt.Errorf("read the keys of the academy: %w", err)
	}
	return academyKeys, nil
}

// firstAnswer asks the handlers of an academy, of which all know the same, until one answers; the zero value when there
// are none.
func firstAnswer[T any](ctx context.Context, c *cluster, key AcademyKey, ask func(context.Context, HandlerEndpoint, *keys.Academy) (T, error)) (answer T, err error) {
	academyKeys, err := c.academyKeys(ctx, key)
	if err != nil {
		return answer, err
	}
	endpoints, err := c.handlers.Endpoints(ctx, key)
	if err != nil {
		return answer, err
	}
	for _, endpoint := range endpoints {
		if answer, err = ask(ctx, endpoint, academyKeys); err == nil {
			return answer, nil
		}
	}
	return answer, err
}

// Changed implements World.
func (c *cluster) Changed(ctx context.Context, key AcademyKey, refs []compile.Ref) {
	for _, ref := range refs {
		object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: ref.Name}}
		select {
		case c.events[ref.Kind] <- event.GenericEvent{Object: object}:
		case <-ctx.Done():
			return
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// generatedSecret describes a Secret that the operator makes once. What is in it changes by ring and renew only.
type generatedSecret struct {
	name       types.NamespacedName
	secretType corev1.SecretType
	ownerKind  string
	ownerName  string
	// requires are the data keys that an existing Secret must have to be adopted.
	requires []string
	// generate makes its first data; nil while it is not to be made.
	generate func(context.Context) (map[string][]byte, error)
	// ring rotates the keys in it; renew does what else is to be done, and returns after which time to look again. Both are
	// nil for values that are never replaced.
	ring  *keyRing
	renew func(context.Context) (time.Duration, error)
	// owner is the object that the Secret belongs to. It is deleted with the object if deleteWithOwner is set.
	owner           *metav1.OwnerReference
	deleteWithOwner bool
}

// owned gives generated Secrets to the object that they were made for, as its deletionPolicy says.
func owned(secrets []generatedSecret, obj client.Object, policy v1alpha1.DeletionPolicy) []generatedSecret {
	for i := range secrets {
		secrets[i].owner = &metav1.OwnerReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: secrets[i].ownerKind, Name: obj.GetName(), UID: obj.GetUID(),
		}
		secrets[i].deleteWithOwner = policy == v1alpha1.DeletionDelete
	}
	return secrets
}

// ownerReferences are those that the Secret must have. References of others stay; ours is there only while the Secret is
// to be deleted with its owner, and to that owner: an object of the same name that is gone would take the Secret along.
func (g *generatedSecret) ownerReferences(present []metav1.OwnerReference) []metav1.OwnerReference {
	if g.owner == nil {
		return present
	}
	wanted := slices.DeleteFunc(slices.Clone(present), func(r metav1.OwnerReference) bool {
		return strings.HasPrefix(r.APIVersion, v1alpha1.GroupVersion.Group+"/") && r.Kind == g.owner.Kind
	})
	if g.deleteWithOwner {
		wanted = append(wanted, *g.owner)
	}
	return wanted
}

// secretKeeper makes Secrets. Its values are pasted into other people's systems: a Secret that exists is never
// replaced, whatever the cache believes, and it outlives its object unless the object's deletionPolicy says otherwise.
type secretKeeper struct {
	cached client.Client
	// live reads past the cache, which holds labelled Secrets only.
	live client.Reader
}

func (g *generatedSecret) labels() map[string]string {
	return map[string]string{
		v1alpha1.LabelUse:              v1alpha1.LabelUseValue,
		v1alpha1.LabelOwnerKind:        g.ownerKind,
		v1alpha1.LabelOwnerName:        labelValue(g.ownerName),
		"app.kubernetes.io/managed-by": "lti-operator",
	}
}

// labelValue shortens a name to what a label may hold (63 characters). The label is for people and selectors; nothing
// relies on its being whole.
func labelValue(name string) string {
	if len(name) <= 63 {
		return name
	}
	return name[:62] + "x"
}

// ensure makes the Secret if there is none. It returns a problem when a Secret of that name exists and is not ours.
func (k *secretKeeper) ensure(ctx context.Context, g generatedSecret) (*problem, error) {
	secret := &corev1.Secret{}
	err := k.cached.Get(ctx, g.name, secret)
	if apierrors.IsNotFound(err) {
		return k.create(ctx, g)
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", g.name.Name, err)
	}
	return k.adopt(ctx, g, secret)
}

// create makes the Secret with Create, never with apply: of two operators at once, or with a cache that lags, the
// first one's key stays.
func (k *secretKeeper) create(ctx context.Context, g generatedSecret) (*problem, error) {
	existing := &corev1.Secret{}
	err := k.live.Get(ctx, g.name, existing)
	if err == nil {
		return k.adopt(ctx, g, existing)
	}
	if !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("read Secret %s: %w", g.name.Name, err)
	}
	data, err := g.generate(ctx)
	if data == nil || err != nil {
		return nil, err
	}
	made := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: g.name.Namespace, Name: g.name.Name, Labels: g.labels(), OwnerReferences: g.ownerReferences(nil),
		},
		Type: g.secretType,
		Data: data,
	}
	err = k.cached.Create(ctx, made)
	if apierrors.IsAlreadyExists(err) {
		if err := k.live.Get(ctx, g.name, existing); err != nil {
			return nil, fmt.Errorf("read Secret %s: %w", g.name.Name, err)
		}
		return k.adopt(ctx, g, existing)
	}
	if err != nil {
		return nil, fmt.Errorf("create Secret %s: %w", g.name.Name, err)
	}
	return nil, nil
}

// adopt takes over a Secret by name and type, and repairs its labels and its owner; its data is never touched.
func (k *secretKeeper) adopt(ctx context.Context, g generatedSecret, secret *corev1.Secret) (*problem, error) {
	if secret.Type != g.secretType {
		return &problem{v1alpha1.ReasonSecretConflict, fmt.Sprintf(
			"Secret %s exists with type %s instead of %s; rename or delete it, or the object", g.name.Name, secret.Type, g.secretType)}, nil
	}
	for _, key := range g.requires {
		if len(secret.Data[key]) == 0 {
			return &problem{v1alpha1.ReasonSecretInvalid, fmt.Sprintf(
				"Secret %s has no value for %s; restore it, or delete the Secret to have new values made", g.name.Name, key)}, nil
		}
	}
	want := g.labels()
	owners := g.ownerReferences(secret.OwnerReferences)
	whole := equality.Semantic.DeepEqual(owners, secret.OwnerReferences)
	for name, value := range want {
		whole = whole && secret.Labels[name] == value
	}
	if whole {
		return nil, nil
	}
	before := secret.DeepCopy()
	if secret.Labels == nil {
		secret.Labels = map[string]string{}
	}
	maps.Copy(secret.Labels, want)
	secret.OwnerReferences = owners
	// The list of owners is replaced as a whole: only the one that was read.
	if err := k.cached.Patch(ctx, secret, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, fmt.Errorf("repair labels and owner of Secret %s: %w", g.name.Name, err)
	}
	return nil, nil
}

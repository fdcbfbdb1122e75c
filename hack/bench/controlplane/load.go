// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// appliers is the number of requests that an apply of many files has under way at once.
const appliers = 16

// academyHost is below localhost, so that plain http is allowed.
const academyHost = "lti.localhost"

func academy(url string) client.Object {
	return &v1alpha1.LTIAcademy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1alpha1.DefaultAcademyName},
		Spec:       v1alpha1.LTIAcademySpec{Title: "Benchmark Academy", URL: url},
	}
}

func platformName(i int) string { return fmt.Sprintf("university-%03d", i) }

func platform(i int) client.Object {
	host := fmt.Sprintf("https://lms%03d.example", i)
	return &v1alpha1.LTIPlatform{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: platformName(i), Labels: map[string]string{"audience": fmt.Sprintf("group-%d", i%10)},
		},
		Spec: v1alpha1.LTIPlatformSpec{
			Title: fmt.Sprintf("Learning system of university %d", i),
			LTI13: &v1alpha1.PlatformLTI13{
				Issuer: v1alpha1.PeerURL(host), ClientID: fmt.Sprintf("client-%03d", i),
				AuthenticationURL: v1alpha1.PeerURL(host + "/mod/lti/auth.php"),
				JWKSURL:           ptr.To(v1alpha1.PeerURL(host + "/mod/lti/certs.php")),
			},
		},
	}
}

func activityName(i int) string { return fmt.Sprintf("course-%05d", i) }

func targetURL(i, version int) string {
	return fmt.Sprintf("https://academy.example/courses/%d/versions/%d", i, version)
}

// activity is one of the many. All its text is different from that of the others: what repeats would compress better
// than what people write.
func activity(i int) *v1alpha1.LTIActivity {
	a := &v1alpha1.LTIActivity{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: activityName(i)},
		Spec: v1alpha1.LTIActivitySpec{
			Title:           text(6),
			Description:     text(30),
			DurationMinutes: ptr.To(int32(5 + i%90)),
			Type:            v1alpha1.ELearning,
			Share:           &v1alpha1.ActivityShare{TargetURL: v1alpha1.PeerURL(targetURL(i, 0)), SignIn: v1alpha1.SignInLaunchCode},
		},
	}
	if i%10 == 0 {
		a.Spec.Share.Platforms = &v1alpha1.PlatformSelector{MatchLabels: map[string]string{"audience": fmt.Sprintf("group-%d", i/10%10)}}
	}
	if ownSecret(i) {
		a.Spec.Share.LTI12 = &v1alpha1.ShareLTI12{CredentialsSecretRef: &v1alpha1.SecretReference{Name: a.Name + "-own"}}
	}
	return a
}

// ownSecret tells whether an activity refers to a Secret that its owner made.
func ownSecret(i int) bool { return i%2 == 1 }

func credentials(i int) client.Object {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: activityName(i) + "-own", Labels: map[string]string{v1alpha1.LabelUse: v1alpha1.LabelUseValue},
		},
		Data: map[string][]byte{
			v1alpha1.SecretKeyConsumerKey:  fmt.Appendf(nil, "own-%d-%s", i, rand.Text()),
			v1alpha1.SecretKeySharedSecret: []byte(rand.Text() + rand.Text()),
		},
	}
}

// text is a number of words that nobody has used before.
func text(words int) string {
	const letters = "aaabcdeeeefghiiijklmnnooopqrrssttuuvwxyz"
	random := make([]byte, 11*words)
	_, _ = rand.Read(random) // never fails
	var b strings.Builder
	for word := range slices.Chunk(random, 11) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		for _, r := range word[:3+word[10]%8] {
			b.WriteByte(letters[int(r)%len(letters)])
		}
	}
	return b.String()
}

// apply is kubectl apply --server-side.
func (c *cluster) apply(ctx context.Context, object client.Object) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return fmt.Errorf("encode %T: %w", object, err)
	}
	delete(content, "status")
	u := &unstructured.Unstructured{Object: content}
	kind, err := c.Client.GroupVersionKindFor(object)
	if err != nil {
		return fmt.Errorf("find the kind of %T: %w", object, err)
	}
	u.SetGroupVersionKind(kind)
	if err := c.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("kubectl")); err != nil {
		return fmt.Errorf("apply %s: %w", object.GetName(), err)
	}
	return nil
}

// applyAll applies the platforms and activities at once, each Secret of a person just before what refers to it.
func (c *cluster) applyAll(ctx context.Context, platforms, activities int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(appliers)
	for i := range platforms {
		group.Go(func() error { return c.apply(ctx, platform(i)) })
	}
	for i := range activities {
		group.Go(func() error {
			if ownSecret(i) {
				if err := c.apply(ctx, credentials(i)); err != nil {
					return err
				}
			}
			return c.apply(ctx, activity(i))
		})
	}
	return group.Wait()
}

// createUnrelated makes Secrets that carry no label of ours.
func (c *cluster) createUnrelated(ctx context.Context, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(appliers)
	for i := range n {
		group.Go(func() error {
			content := make([]byte, 32<<10)
			_, _ = rand.Read(content) // never fails
			if err := c.Client.Create(ctx, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("unrelated-%05d", i), Labels: map[string]string{"owner": "helm"}},
				Data:       map[string][]byte{"release": content},
			}); err != nil {
				return fmt.Errorf("create an unrelated Secret: %w", err)
			}
			return nil
		})
	}
	return group.Wait()
}

// retarget changes where an activity leads, and returns its new generation.
func (c *cluster) retarget(ctx context.Context, i, version int) (generation int64, err error) {
	a := &v1alpha1.LTIActivity{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: activityName(i)}}
	patch := fmt.Sprintf(`{"spec":{"share":{"targetURL":%q}}}`, targetURL(i, version))
	if err := c.Client.Patch(ctx, a, client.RawPatch("application/merge-patch+json", []byte(patch)), client.FieldOwner("kubectl")); err != nil {
		return 0, fmt.Errorf("change an activity: %w", err)
	}
	return a.Generation, nil
}

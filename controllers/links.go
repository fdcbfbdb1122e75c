// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// eventLinkRenewed is the reason of an event about a registration link that was asked for.
const eventLinkRenewed = "RegistrationLinkRenewed"

// tokenBytes is the length of the token in a registration link.
const tokenBytes = 32

// registrant is an object whose other party may register by a link.
type registrant interface {
	client.Object
	v1alpha1.Object
	// Dynamic is the dynamic registration that spec asks for; nil for none.
	Dynamic() *v1alpha1.DynamicRegistration
}

// inviter makes the registration links of one object.
type inviter struct {
	*shared
	kind, academy string
	object        registrant
}

// registrationSecrets describes the Secrets of an object with dynamic registration: the link, and what has registered by
// it. The second one is not made here but by the registrationObserver; here it is looked after.
func (s *shared) registrationSecrets(kind, academy string, obj registrant) []generatedSecret {
	if obj.Dynamic() == nil {
		return nil
	}
	i := &inviter{shared: s, kind: kind, academy: academy, object: obj}
	return []generatedSecret{i.linkSecret(), registeredSecret(kind, obj)}
}

func (i *inviter) linkSecret() generatedSecret {
	name, _ := v1alpha1.RegistrationSecretNames(i.kind, i.object.GetName())
	g := generatedSecret{
		name:       named(i.object, name),
		secretType: v1alpha1.SecretTypeRegistrationLink,
		ownerKind:  i.kind,
		ownerName:  i.object.GetName(),
		requires:   []string{v1alpha1.SecretKeyRegistrationToken, v1alpha1.SecretKeyExpiresAt},
		generate:   i.first,
	}
	g.renew = func(ctx context.Context) (time.Duration, error) { return i.renew(ctx, &g) }
	return g
}

// registeredSecret describes the Secret with what has registered.
func registeredSecret(kind string, obj client.Object) generatedSecret {
	_, name := v1alpha1.RegistrationSecretNames(kind, obj.GetName())
	return generatedSecret{
		name:       named(obj, name),
		secretType: v1alpha1.SecretTypeRegistrations,
		ownerKind:  kind,
		ownerName:  obj.GetName(),
		generate:   func(context.Context) (map[string][]byte, error) { return nil, nil },
	}
}

// first is the data of a new Secret with a link; none before there is an academy.
func (i *inviter) first(ctx context.Context) (map[string][]byte, error) {
	url, err := i.academyURL(ctx)
	if url == "" || err != nil {
		return nil, err
	}
	data := map[string][]byte{}
	return data, i.mint(data, url)
}

// academyURL is the address that the links lead to; empty while there is no academy.
func (i *inviter) academyURL(ctx context.Context) (string, error) {
	academy := &v1alpha1.LTIAcademy{}
	err := i.Get(ctx, named(i.object, i.academy), academy)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read LTIAcademy %s: %w", i.academy, err)
	}
	return academy.Spec.URL, nil
}

// request is what is remembered of the annotation that asks for a new link.
func (i *inviter) request() string {
	return keys.RequestID(i.object.GetAnnotations()[v1alpha1.AnnotationRegistrationLink])
}

// mint puts a new link into the data of a Secret. A request that is there already is answered by it.
func (i *inviter) mint(data map[string][]byte, academyURL string) error {
	token, err := keys.Token(i.random, tokenBytes)
	if err != nil {
		return err
	}
	valid := time.Duration(i.object.Dynamic().EffectiveLinkValidHours()) * time.Hour
	data[v1alpha1.SecretKeyRegistrationToken] = []byte(token)
	data[v1alpha1.SecretKeyRegistrationURL] = []byte(i.url(academyURL, token))
	data[v1alpha1.SecretKeyExpiresAt] = []byte(i.clock.Now().UTC().Add(valid).Truncate(time.Second).Format(time.RFC3339))
	data[v1alpha1.SecretKeyRequest] = []byte(i.request())
	return nil
}

func (i *inviter) url(academyURL, token string) string {
	if t, ok := i.object.(*v1alpha1.LTITool); ok {
		return routing.ToolRegistrationLink(string(t.Spec.Registration.Dynamic.RegistrationURL), academyURL, t.Name, token)
	}
	return routing.PlatformRegistrationLink(academyURL, i.object.GetName(), token)
}

// renew makes a new link when the annotation asks for one, and never by itself; a link stays the same but for the address
// that a tool's is made from. It returns after which time to look again: when the link has ended, status says so. As with
// keys the cache tells whether there is something to do, and the Secret in the API server what.
func (i *inviter) renew(ctx context.Context, g *generatedSecret) (time.Duration, error) {
	url, err := i.academyURL(ctx)
	if url == "" || err != nil {
		return 0, err
	}
	secret := &corev1.Secret{}
	err = i.Get(ctx, g.name, secret)
	if apierrors.IsNotFound(err) || err == nil && secret.Type != g.secretType {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read Secret %s: %w", g.name.Name, err)
	}
	if !i.asked(secret) && !i.moved(secret, url) {
		return i.untilEnd(secret), nil
	}
	err = i.keeper.live.Get(ctx, g.name, secret)
	if apierrors.IsNotFound(err) {
		return time.Second, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read Secret %s: %w", g.name.Name, err)
	}
	asked := i.asked(secret)
	switch {
	case asked:
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		if err := i.mint(secret.Data, url); err != nil {
			return 0, err
		}
	case i.moved(secret, url):
		secret.Data[v1alpha1.SecretKeyRegistrationURL] = []byte(i.url(url, string(secret.Data[v1alpha1.SecretKeyRegistrationToken])))
	default:
		return i.untilEnd(secret), nil // the cache lags
	}
	// Secrets that were read carry their resourceVersion: whoever was faster wins, and this starts over.
	err = i.Update(ctx, secret)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return time.Second, nil
	}
	if err != nil {
		return 0, fmt.Errorf("write Secret %s: %w", g.name.Name, err)
	}
	if asked {
		i.events.tell(i.object, eventLinkRenewed, fmt.Sprintf("a new registration link is in Secret %s; the former one has ended", g.name.Name))
	}
	return i.untilEnd(secret), nil
}

// asked tells whether the annotation asks for another link than the one that is there.
func (i *inviter) asked(secret *corev1.Secret) bool {
	request := i.request()
	return request != "" && request != string(secret.Data[v1alpha1.SecretKeyRequest])
}

// moved tells whether the link is to lead elsewhere, with the same token.
func (i *inviter) moved(secret *corev1.Secret, academyURL string) bool {
	token := string(secret.Data[v1alpha1.SecretKeyRegistrationToken])
	return token != "" && string(secret.Data[v1alpha1.SecretKeyRegistrationURL]) != i.url(academyURL, token)
}

func (i *inviter) untilEnd(secret *corev1.Secret) time.Duration {
	end, err := time.Parse(time.RFC3339, string(secret.Data[v1alpha1.SecretKeyExpiresAt]))
	if err != nil || !end.After(i.clock.Now()) {
		return 0
	}
	return i.until(end)
}

// linkEnded says, in words for a person, that the link has ended and how to get another one; empty while it has not.
func linkEnded(obj metav1.Object, o *Outcome, now time.Time) string {
	var link v1alpha1.RegistrationLinkStatus
	kind, resource := routing.KindPlatform, "ltiplatform"
	switch {
	case o.PlatformRegistration != nil:
		link = o.PlatformRegistration.RegistrationLinkStatus
	case o.ToolRegistration != nil:
		link, kind, resource = o.ToolRegistration.RegistrationLinkStatus, routing.KindTool, "ltitool"
	}
	if link.LinkExpiresAt == nil || link.LinkExpiresAt.After(now) {
		return ""
	}
	return fmt.Sprintf("the registration link ended at %[1]s, and nobody has registered by it; for a new one run: "+
		"kubectl lti registration link %[2]s/%[4]s -n %[5]s --new — or: kubectl annotate %[3]s %[4]s -n %[5]s --overwrite %[6]s=\"$(date +%%s)\"",
		link.LinkExpiresAt.UTC().Format(time.RFC3339), kind, resource, obj.GetName(), obj.GetNamespace(), v1alpha1.AnnotationRegistrationLink)
}

// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/compile"
	"github.com/lti-operator/lti-operator/internal/keys"
)

// longestLook bounds the time until keys are looked at again: clocks are set, and machines sleep.
const longestLook = time.Hour

// Reasons of events about keys.
const (
	eventRotationStarted = "KeyRotationStarted"
	eventRotated         = "KeyRotated"
	eventRevoked         = "KeyRevoked"
)

var keyRotations = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "lti_operator_key_rotation_total",
	Help: "Steps of key rotations: started (the next key is published), switched (it signs), retired (the old one is gone), revoked, repaired, or failed.",
}, []string{"result"})

// countedSteps are the steps that keyRotations counts; those between them only wait for the launch handlers.
var countedSteps = []keys.Step{keys.StepStarted, keys.StepSwitched, keys.StepRetired, keys.StepRevoked, keys.StepRepaired}

const rotationFailed = "failed"

func init() {
	for _, step := range countedSteps {
		keyRotations.WithLabelValues(string(step))
	}
	keyRotations.WithLabelValues(rotationFailed)
	metrics.Registry.MustRegister(keyRotations)
}

// keyRing says how the keys in a generated Secret are rotated.
type keyRing struct {
	layout *keys.Layout
	policy func(*v1alpha1.LTIAcademy) keys.Policy
	// academy is the name of the academy whose policy holds.
	academy string
	newKey  func() (keys.Key, error)
}

// signingKeyRing makes and rotates the signing keys of a registration.
func (s *shared) signingKeyRing(academy string) *keyRing {
	return &keyRing{
		layout: &keys.SigningKeys, policy: compile.RegistrationKeyPolicy, academy: academy,
		newKey: func() (keys.Key, error) {
			pem, err := keys.NewSigningKey(s.random)
			if err != nil {
				return keys.Key{}, err
			}
			return keys.SigningKeys.NewKey(keys.Material{v1alpha1.SecretKeyPrivateKey: pem})
		},
	}
}

// academyKeyRing makes and rotates the keys of an academy.
func (s *shared) academyKeyRing(academy string) *keyRing {
	return &keyRing{
		layout: &keys.AcademyKeys, policy: compile.AcademyKeyPolicy, academy: academy,
		newKey: func() (keys.Key, error) {
			made, err := keys.NewAcademy(s.random, s.clock.Now())
			if err != nil {
				return keys.Key{}, err
			}
			return keys.AcademyKeys.NewKey(made.Data())
		},
	}
}

// first is the data of a new Secret. A request for a rotation that is there already is followed by it.
func (s *shared) first(r *keyRing, obj client.Object) (map[string][]byte, error) {
	key, err := r.newKey()
	if err != nil {
		return nil, err
	}
	key.CreatedAt = s.clock.Now().UTC().Truncate(time.Second)
	key.SignsFrom = key.CreatedAt
	return r.layout.Encode(keys.Ring{Signing: key, Rotated: keys.RequestID(keyRequest(obj).Rotate)}, nil)
}

// keyRequest is what the annotations of an object ask for.
func keyRequest(obj client.Object) keys.Request {
	return keys.Request{Rotate: obj.GetAnnotations()[v1alpha1.AnnotationRotate], Revoke: obj.GetAnnotations()[v1alpha1.AnnotationRevoke]}
}

// rotateAll rotates the keys in every generated Secret of an object, see rotate, and renews what else is to be renewed.
func (s *shared) rotateAll(ctx context.Context, obj client.Object, secrets []generatedSecret, outcome *Outcome) (again time.Duration, err error) {
	for _, g := range secrets {
		step := func(ctx context.Context) (time.Duration, error) { return s.rotate(ctx, obj, g, outcome) }
		if g.renew != nil {
			step = g.renew
		}
		after, err := step(ctx)
		if err != nil {
			return 0, err
		}
		if again == 0 || after > 0 && after < again {
			again = after
		}
	}
	return again, nil
}

// rotate brings the keys of a generated Secret one step further, if there is one to take, and returns after which time
// to look again; zero for never. The cache tells whether there is something to do; what is done is worked out from the
// Secret in the API server, and written only if that is still the one that was read.
func (s *shared) rotate(ctx context.Context, obj client.Object, g generatedSecret, outcome *Outcome) (time.Duration, error) {
	if g.ring == nil {
		return 0, nil
	}
	policy, err := s.keyPolicy(ctx, obj, g.ring)
	if err != nil {
		return 0, err
	}
	// Making a key takes long, and this one is thrown away.
	noKey := func() (keys.Key, error) { return keys.Key{ID: "not made yet"}, nil }
	_, plan, err := planKeys(ctx, s.Client, g, policy, keyRequest(obj), servedKeys(outcome), s.clock.Now(), noKey)
	if plan == nil || err != nil {
		return 0, err
	}
	if len(plan.Changes) == 0 {
		return s.until(plan.Again), nil
	}
	secret, plan, err := planKeys(ctx, s.keeper.live, g, policy, keyRequest(obj), servedKeys(outcome), s.clock.Now(), g.ring.newKey)
	if plan == nil || err != nil {
		return 0, err
	}
	if len(plan.Changes) == 0 {
		return s.until(plan.Again), nil // the cache lags
	}
	if secret.Data, err = g.ring.layout.Encode(plan.Ring, secret.Data); err != nil {
		return 0, err
	}
	// Secrets that were read carry their resourceVersion: whoever was faster wins, and this starts over.
	err = s.Update(ctx, secret)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return time.Second, nil
	}
	if err != nil {
		keyRotations.WithLabelValues(rotationFailed).Inc()
		return 0, fmt.Errorf("write Secret %s: %w", g.name.Name, err)
	}
	s.announceKeys(ctx, obj, g, plan.Changes)
	return s.until(plan.Again), nil
}

// planKeys reads the Secret with some keys and works out what is to be done with them; there is no plan while the Secret
// is not there or not usable, which is reported by the compiler.
func planKeys(ctx context.Context, reader client.Reader, g generatedSecret, policy keys.Policy, request keys.Request, served keys.Served,
	now time.Time, newKey func() (keys.Key, error),
) (*corev1.Secret, *keys.Plan, error) {
	secret := &corev1.Secret{}
	err := reader.Get(ctx, g.name, secret)
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read Secret %s: %w", g.name.Name, err)
	}
	ring, err := g.ring.layout.Decode(secret.Data, secret.CreationTimestamp.Time)
	if err != nil || secret.Type != g.secretType {
		return nil, nil, nil
	}
	plan, err := ring.Plan(policy, request, served, now, newKey)
	if err != nil {
		keyRotations.WithLabelValues(rotationFailed).Inc()
		return nil, nil, fmt.Errorf("plan the keys in Secret %s: %w", g.name.Name, err)
	}
	return secret, &plan, nil
}

// keyPolicy is that of the object's academy, whether or not it exists.
func (s *shared) keyPolicy(ctx context.Context, obj client.Object, ring *keyRing) (keys.Policy, error) {
	academy := &v1alpha1.LTIAcademy{}
	err := s.Get(ctx, named(obj, ring.academy), academy)
	if apierrors.IsNotFound(err) {
		return ring.policy(nil), nil
	}
	if err != nil {
		return keys.Policy{}, fmt.Errorf("read LTIAcademy %s: %w", ring.academy, err)
	}
	return ring.policy(academy), nil
}

// servedKeys says what every launch handler does with the keys of a resource; nothing while that is not known.
func servedKeys(outcome *Outcome) keys.Served {
	if !outcome.Confirmed || !outcome.Served {
		return nil
	}
	served := keys.Served{}
	for _, key := range outcome.Keys {
		served[key.KeyID] = keys.State(key.State)
	}
	return served
}

func (s *shared) until(at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return min(max(at.Sub(s.clock.Now()), time.Second), longestLook)
}

// announceKeys tells people and their monitoring what happened to keys. Key IDs are public.
func (s *shared) announceKeys(ctx context.Context, obj client.Object, g generatedSecret, changes []keys.Change) {
	for _, c := range changes {
		logf.FromContext(ctx).Info("rotated keys", "secret", g.name.Name, "step", c.Step, "keyID", c.KeyID)
		switch c.Step {
		case keys.StepStarted:
			s.events.tell(obj, eventRotationStarted, fmt.Sprintf("key %s in Secret %s is the next one", c.KeyID, g.name.Name))
		case keys.StepSwitched:
			s.events.tell(obj, eventRotated, fmt.Sprintf("key %s in Secret %s is used from now on", c.KeyID, g.name.Name))
		case keys.StepRevoked:
			s.events.warn(obj, eventRevoked, fmt.Sprintf("key %s in Secret %s is revoked, as the annotation %s asks", c.KeyID, g.name.Name, v1alpha1.AnnotationRevoke))
		case keys.StepRetired, keys.StepRepaired:
		default:
			continue
		}
		keyRotations.WithLabelValues(string(c.Step)).Inc()
	}
}

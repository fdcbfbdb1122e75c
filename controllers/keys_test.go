// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/workload"
)

const day = 24 * time.Hour

// shiftedClock is ahead of the real one. Timers take as long as they do: what waits for a time in the distance is woken
// by changing something.
type shiftedClock struct {
	clock.RealClock
	ahead atomic.Int64
}

func (c *shiftedClock) Now() time.Time                  { return c.RealClock.Now().Add(time.Duration(c.ahead.Load())) }
func (c *shiftedClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }
func (c *shiftedClock) shift(d time.Duration)           { c.ahead.Add(int64(d)) }

// annotateObject sets an annotation, which makes the operator look at the object.
func annotateObject(t *testing.T, obj client.Object, name, value string) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{name: value}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Patch(t.Context(), obj, client.RawPatch(types.MergePatchType, patch)); err != nil {
		t.Fatal(err)
	}
}

// look makes the operator look at objects as it does when their time has come.
func look(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		annotateObject(t, o, v1alpha1.AnnotationPrefix+"looked-at", rand.Text())
	}
}

func newTool(ns, name string) *v1alpha1.LTITool {
	return &v1alpha1.LTITool{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha1.LTIToolSpec{Title: "Simulation Lab"}}
}

// keysIn describes the keys in status, such as "Next a, Signing b".
func describeKeys(list []v1alpha1.SigningKey) string {
	var out []string
	for _, k := range list {
		out = append(out, string(k.State)+" "+k.KeyID)
	}
	return strings.Join(out, ", ")
}

// ringOf reads the keys in a Secret of the API server.
func ringOf(t *testing.T, layout *keys.Layout, ns, name string) keys.Ring {
	t.Helper()
	secret := getSecret(t, ns, name)
	ring, err := layout.Decode(secret.Data, secret.CreationTimestamp.Time)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func ids(ring keys.Ring) map[string]keys.State {
	out := map[string]keys.State{}
	ring.Published(func(state keys.State, k *keys.Key) { out[k.ID] = state })
	return out
}

// servedTable assembles the live table while it may be replaced.
func servedTable(t *testing.T, ns string) *routing.Table {
	t.Helper()
	var table *routing.Table
	eventually(t, func() string {
		manifest := &corev1.ConfigMap{}
		if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: workload.ManifestConfigMapName("default")}, manifest); err != nil {
			return err.Error()
		}
		m, err := routing.DecodeManifest([]byte(manifest.Data[routing.ManifestFile]))
		if err != nil {
			return err.Error()
		}
		files := shardFiles(t, ns)
		table, err = routing.Assemble(m, func(name string) ([]byte, error) {
			if payload, ok := files[name]; ok {
				return payload, nil
			}
			return nil, errNoSuchShard
		})
		if err != nil {
			return err.Error()
		}
		return ""
	})
	return table
}

func shardFiles(t *testing.T, ns string) map[string][]byte {
	t.Helper()
	var shards corev1.ConfigMapList
	var keyShards corev1.SecretList
	if err := errors.Join(api.List(t.Context(), &shards, client.InNamespace(ns)), api.List(t.Context(), &keyShards, client.InNamespace(ns))); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for i := range shards.Items {
		maps.Copy(files, shards.Items[i].BinaryData)
	}
	for i := range keyShards.Items {
		for name, payload := range keyShards.Items[i].Data {
			if _, ok := routing.ShardHash(name); ok {
				files[name] = payload
			}
		}
	}
	return files
}

func stepsCounted(t *testing.T, result string) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "lti_operator_key_rotation_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no metric for %s", result)
	return 0
}

// verifier is another system: it caches our key set for as long as that says, and checks what we sign.
type verifier struct {
	sets    []cachedSet
	tokens  []signedToken
	checked int
}

type cachedSet struct {
	keys    map[string]*rsa.PublicKey
	fetched time.Time
}

type signedToken struct {
	kid       string
	digest    [32]byte
	signature []byte
	signed    time.Time
}

// observe fetches the key set of a tool, signs a token as its handler would, and checks every token of the last hour with
// every set that may still be cached. It returns the key that signs.
func (v *verifier) observe(t *testing.T, table *routing.Table, tool string, now time.Time) string {
	t.Helper()
	index := routing.NewIndex("", table)
	set := cachedSet{map[string]*rsa.PublicKey{}, now}
	for _, jwk := range index.Tool(tool).PublicKeys {
		n, err := base64.RawURLEncoding.DecodeString(jwk.Modulus)
		if err != nil {
			t.Fatal(err)
		}
		set.keys[jwk.KeyID] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
	}
	v.sets = append(v.sets, set)
	signing := index.SigningKey(routing.KindTool, tool)
	key, err := keys.ParseSigningKey([]byte(signing.PrivateKeyPEM))
	if err != nil {
		t.Fatal(err)
	}
	token := signedToken{kid: signing.KeyID, digest: sha256.Sum256([]byte(now.String())), signed: now}
	if token.signature, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, token.digest[:]); err != nil {
		t.Fatal(err)
	}
	v.tokens = append(v.tokens, token)
	v.sets = slices.DeleteFunc(v.sets, func(s cachedSet) bool { return now.Sub(s.fetched) > 10*time.Minute })
	v.tokens = slices.DeleteFunc(v.tokens, func(x signedToken) bool { return now.Sub(x.signed) > time.Hour })
	for _, s := range v.sets {
		for _, x := range v.tokens {
			v.checked++
			public := s.keys[x.kid]
			if public == nil {
				t.Fatalf("a token signed with %s %s ago cannot be verified with a set fetched %s ago", x.kid, now.Sub(x.signed), now.Sub(s.fetched))
			}
			if v.checked%16 != 0 {
				continue // the arithmetic is the same
			}
			if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, x.digest[:], x.signature); err != nil {
				t.Fatal(err)
			}
		}
	}
	return token.kid
}

func TestAnAutomaticRotationUnderLoad(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	clk := &shiftedClock{}
	startOperatorAt(t, ns, &fakeHandlers{}, nil, clk)
	academy, tool := newAcademy(ns), newTool(ns, "lab")
	academy.Spec.Keys = &v1alpha1.KeyPolicy{Rotation: v1alpha1.KeyRotationAutomatic, RotateAfterDays: new(int32(30)), OverlapDays: new(int32(1))}
	create(t, academy, tool)
	waitFor(t, tool, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	if len(tool.Status.Keys) != 1 || tool.Status.NextRotationAt == nil {
		t.Fatalf("status: %+v", tool.Status)
	}
	first := tool.Status.Keys[0]
	if first.State != v1alpha1.KeySigning || first.SecretName != "lab-tool-key" || first.SignsFrom == nil ||
		!tool.Status.NextRotationAt.Time.Equal(first.SignsFrom.Add(30*day)) {
		t.Errorf("status: %+v, next rotation at %s", first, tool.Status.NextRotationAt)
	}
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	academyKey, before := academy.Status.Keys[0].KeyID, *liveTable(t, ns)
	switched, retired := stepsCounted(t, "switched"), stepsCounted(t, "retired")

	v := &verifier{}
	v.observe(t, &before, "lab", clk.Now())
	clk.shift(30 * day)
	step := func(d time.Duration) string {
		clk.shift(d)
		look(t, tool, academy)
		time.Sleep(20 * time.Millisecond)
		kid := v.observe(t, servedTable(t, ns), "lab", clk.Now())
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(tool), tool); err != nil {
			t.Fatal(err)
		}
		return kid
	}
	minutes := 0
	var second string
	for ; minutes < 600 && second == ""; minutes++ {
		if kid := step(time.Minute); kid != first.KeyID {
			second = kid
		}
	}
	if second == "" || minutes < 15 {
		t.Fatalf("%s signs after %d minutes; status %s", second, minutes, describeKeys(tool.Status.Keys))
	}
	eventually(t, func() string {
		step(time.Second)
		if got := describeKeys(tool.Status.Keys); got != "Signing "+second+", Previous "+first.KeyID || tool.Status.Keys[1].PublishedUntil == nil {
			return got
		}
		return ""
	})
	if until := tool.Status.Keys[1].PublishedUntil.Sub(clk.Now()); until < day-time.Hour || until > day {
		t.Errorf("the old key is published for another %s, want a day", until)
	}
	hours := 0
	for ; hours < 100 && len(tool.Status.Keys) > 1; hours++ {
		step(time.Hour)
	}
	if hours < 23 || describeKeys(tool.Status.Keys) != "Signing "+second {
		t.Errorf("after %d hours: %s", hours, describeKeys(tool.Status.Keys))
	}
	if n := stepsCounted(t, "switched") - switched; n < 2 { // the tool's and the academy's
		t.Errorf("%v switches counted", n)
	}
	if stepsCounted(t, "retired") == retired {
		t.Error("no retirement counted")
	}

	// The academy's own keys have changed as well, and the operator still gets through to the handlers.
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	after := servedTable(t, ns).AcademyKeys
	if len(academy.Status.Keys) != 1 || academy.Status.Keys[0].KeyID == academyKey {
		t.Errorf("keys of the academy: %s, before %s", describeKeys(academy.Status.Keys), academyKey)
	}
	if bytes.Equal(after.StateKeys[0], before.AcademyKeys.StateKeys[0]) || bytes.Equal(after.Control.TokenSHA256, before.AcademyKeys.Control.TokenSHA256) {
		t.Error("the academy's keys are listed as new and are not")
	}
	t.Logf("%d verifications with cached key sets in %d minutes and %d hours, 0 failed", v.checked, minutes, hours)
}

func TestARotationThatIsAskedForHappensOnce(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	clk := &shiftedClock{}
	stop := startOperatorAt(t, ns, &fakeHandlers{}, nil, clk)
	platform := newPlatform(ns, "moodle")
	platform.Annotations = map[string]string{v1alpha1.AnnotationRotate: "there from the beginning"}
	create(t, newAcademy(ns), platform)
	waitFor(t, platform, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	seen := []string{platform.Status.Keys[0].KeyID}
	note := func() {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(platform), platform); err != nil {
			t.Fatal(err)
		}
		for _, k := range platform.Status.Keys {
			if !slices.Contains(seen, k.KeyID) {
				seen = append(seen, k.KeyID)
			}
		}
	}
	annotateObject(t, platform, v1alpha1.AnnotationRotate, clk.Now().Format(time.RFC3339))
	eventually(t, func() string {
		clk.shift(keys.PublishAhead)
		look(t, platform)
		note()
		if len(seen) == 2 && describeKeys(platform.Status.Keys) == "Signing "+seen[1]+", Previous "+seen[0] {
			return ""
		}
		return describeKeys(platform.Status.Keys)
	})
	// A fresh operator, and years later: the request has been followed.
	stop()
	clk.shift(1000 * day)
	startOperatorAt(t, ns, &fakeHandlers{}, nil, clk)
	eventually(t, func() string {
		clk.shift(day)
		look(t, platform)
		note()
		if len(platform.Status.Keys) > 1 {
			return describeKeys(platform.Status.Keys)
		}
		return ""
	})
	if len(seen) != 2 || platform.Status.NextRotationAt != nil {
		t.Errorf("keys %v, next rotation at %v", seen, platform.Status.NextRotationAt)
	}
}

func TestARevokedKeyIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	startOperator(t, ns, &fakeHandlers{}, nil)
	academy, tool, other := newAcademy(ns), newTool(ns, "lab"), newTool(ns, "other")
	create(t, academy, tool, other)
	for _, o := range []*v1alpha1.LTITool{tool, other} {
		waitFor(t, o, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	}
	waitFor(t, academy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	for name, c := range map[string]struct {
		obj    client.Object
		layout *keys.Layout
		secret string
		keys   func() []v1alpha1.SigningKey
		part   string
	}{
		"of a tool":      {tool, &keys.SigningKeys, "lab-tool-key", func() []v1alpha1.SigningKey { return tool.Status.Keys }, "tls.key"},
		"of the academy": {academy, &keys.AcademyKeys, "default-academy-keys", func() []v1alpha1.SigningKey { return academy.Status.Keys }, keys.AcademyControlKey},
	} {
		secret := getSecret(t, ns, c.secret).Data[c.part]
		if !published(t, ns, secret) {
			t.Fatalf("%s: the test looks for the wrong thing", name)
		}
		revoked := c.keys()[0].KeyID
		annotateObject(t, c.obj, v1alpha1.AnnotationRevoke, revoked)
		eventually(t, func() string {
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(c.obj), c.obj); err != nil {
				return err.Error()
			}
			if got := c.keys(); len(got) != 1 || got[0].KeyID == revoked || got[0].State != v1alpha1.KeySigning {
				return describeKeys(got)
			}
			if published(t, ns, secret) {
				return "a shard keeps the revoked key " + name
			}
			return ""
		})
		// Once that has reached every handler, it is over.
		eventually(t, func() string {
			look(t, c.obj)
			if ring := ringOf(t, c.layout, ns, c.secret); ring.Revoked != "" {
				return "the revocation " + name + " does not end"
			}
			return ""
		})
		if ring := ringOf(t, c.layout, ns, c.secret); len(ids(ring)) != 1 || ring.Signing.ID != c.keys()[0].KeyID {
			t.Errorf("%s: %v", name, ids(ring))
		}
	}
	if ring := ringOf(t, &keys.SigningKeys, ns, "other-tool-key"); ring.Signing.ID != other.Status.Keys[0].KeyID {
		t.Error("another key has changed")
	}
	if stepsCounted(t, "revoked") < 2 {
		t.Error("revocations are not counted")
	}
}

// published tells whether some payload of some shard holds a secret, live or not.
func published(t *testing.T, ns string, secret []byte) bool {
	t.Helper()
	encoded, err := json.Marshal(string(secret))
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range shardFiles(t, ns) {
		zr, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(zr)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(plain, encoded[1:len(encoded)-1]) {
			return true
		}
	}
	return false
}

func TestASigningKeyThatTheUserSupplies(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	startOperator(t, ns, &fakeHandlers{}, nil)
	tool := newTool(ns, "lab")
	tool.Spec.SigningKeySecretRef = &v1alpha1.SecretReference{Name: "mine"}
	create(t, newAcademy(ns), tool)
	waitFor(t, tool, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
	contains(t, message(tool, v1alpha1.ConditionReady), "spec.signingKeySecretRef", "mine", v1alpha1.LabelUse)

	// Late, and not shared at first.
	pkcs1, key := userKey(t)
	mine := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "mine"}, Data: map[string][]byte{v1alpha1.SecretKeyPrivateKey: pkcs1}}
	create(t, mine)
	waitFor(t, tool, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
	look(t, tool)
	waitFor(t, tool, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotShared)
	change := func(change func()) {
		t.Helper()
		before := mine.DeepCopy()
		change()
		if err := api.Patch(t.Context(), mine, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	usesKey := func(key *rsa.PrivateKey) {
		t.Helper()
		want := keys.PublicJWK(&key.PublicKey)
		eventually(t, func() string {
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(tool), tool); err != nil {
				return err.Error()
			}
			if got := describeKeys(tool.Status.Keys); got != "Signing "+want.KeyID {
				return got
			}
			return ""
		})
		waitFor(t, tool, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		index := routing.NewIndex("", servedTable(t, ns))
		if served := index.Tool("lab").PublicKeys; len(served) != 1 || served[0] != want {
			t.Errorf("serves %v", served)
		}
		signing := index.SigningKey(routing.KindTool, "lab")
		if signing == nil || signing.KeyID != want.KeyID {
			t.Fatal("another key signs")
		}
		if got, err := keys.ParseSigningKey([]byte(signing.PrivateKeyPEM)); err != nil || !got.Equal(key) {
			t.Error("another key signs: ", err)
		}
	}
	change(func() { mine.Labels = map[string]string{v1alpha1.LabelUse: v1alpha1.LabelUseValue} })
	usesKey(key)

	// Changed.
	pkcs1, another := userKey(t)
	change(func() { mine.Data[v1alpha1.SecretKeyPrivateKey] = pkcs1 })
	usesKey(another)

	// Spoilt: refused, and not replaced.
	const spoilt = "canary-in-place-of-a-key-90b1"
	change(func() { mine.Data[v1alpha1.SecretKeyPrivateKey] = []byte(spoilt) })
	waitFor(t, tool, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid)
	if text, err := json.Marshal(tool.Status); err != nil || strings.Contains(string(text), spoilt) {
		t.Error("status quotes the Secret", err)
	}
	// A request to rotate does not concern it.
	annotateObject(t, tool, v1alpha1.AnnotationRotate, "now")
	change(func() { mine.Data[v1alpha1.SecretKeyPrivateKey] = pkcs1 })
	usesKey(another)
	if got := getSecret(t, ns, "mine"); got.ResourceVersion != mine.ResourceVersion || len(got.Data) != 1 {
		t.Error("the user's Secret was written")
	}
	err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: "lab-tool-key"}, &corev1.Secret{})
	if !apierrors.IsNotFound(err) {
		t.Error("a key was generated beside the user's: ", err)
	}
}

// userKey makes a key as openssl genrsa -traditional does.
func userKey(t *testing.T) ([]byte, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), key
}

func TestDeletionPolicy(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	startOperator(t, ns, &fakeHandlers{}, nil)
	platform, tool, activity := newPlatform(ns, "moodle"), newTool(ns, "lab"), newActivity(ns, "height")
	platform.Spec.LTI12 = &v1alpha1.PlatformLTI12{}
	platform.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	activity.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	create(t, newAcademy(ns), platform, tool, activity)
	owners := func(name string, want ...types.UID) {
		t.Helper()
		eventually(t, func() string {
			secret := &corev1.Secret{}
			if err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: name}, secret); err != nil {
				return err.Error()
			}
			var got []types.UID
			for _, r := range secret.OwnerReferences {
				got = append(got, r.UID)
			}
			if !slices.Equal(got, want) {
				return fmt.Sprintf("owners of %s: %v, want %v", name, got, want)
			}
			return ""
		})
	}
	owners("moodle-platform-key", platform.UID)
	owners("moodle.lti12", platform.UID)
	owners("height-lti12", activity.UID)
	owners("lab-tool-key")
	key := getSecret(t, ns, "moodle-platform-key").Data[v1alpha1.SecretKeyPrivateKey]

	// An owner of somebody else's stays; ours goes and comes with the policy.
	secret := getSecret(t, ns, "moodle-platform-key")
	before := secret.DeepCopy()
	secret.OwnerReferences = append(secret.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "somebody-else"})
	if err := api.Patch(t.Context(), secret, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	set := func(policy v1alpha1.DeletionPolicy) {
		t.Helper()
		before := platform.DeepCopy()
		platform.Spec.DeletionPolicy = policy
		if err := api.Patch(t.Context(), platform, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	set(v1alpha1.DeletionRetain)
	owners("moodle-platform-key", "somebody-else")
	owners("moodle.lti12")
	set(v1alpha1.DeletionDelete)
	owners("moodle-platform-key", "somebody-else", platform.UID)

	// Nothing collects garbage here: the Secret is adopted by an object of the same name, which is another one.
	gone := platform.UID
	if err := api.Delete(t.Context(), platform); err != nil {
		t.Fatal(err)
	}
	platform = newPlatform(ns, "moodle")
	platform.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	create(t, platform)
	owners("moodle-platform-key", "somebody-else", platform.UID)
	if platform.UID == gone || !bytes.Equal(getSecret(t, ns, "moodle-platform-key").Data[v1alpha1.SecretKeyPrivateKey], key) {
		t.Error("another key after adoption")
	}
}

var errKilled = errors.New("the operator was killed")

// mortal kills the operator at its n-th write of a generated Secret: from then on nothing is written. The fatal write
// itself is carried out or not.
type mortal struct {
	client.Client
	left       *atomic.Int64
	carriedOut bool
}

func (m *mortal) dead() bool { return m.left.Load() <= 0 }

// write does one write, or does not.
func (m *mortal) write(obj client.Object, do func() error) error {
	if m.dead() {
		return errKilled
	}
	secret, ok := obj.(*corev1.Secret)
	if !ok || !strings.HasPrefix(string(secret.Type), "lti-operator.io/") {
		return do()
	}
	switch left := m.left.Add(-1); {
	case left > 0:
		return do()
	case left == 0 && m.carriedOut:
		return errors.Join(do(), errKilled)
	}
	return errKilled
}

func (m *mortal) Create(ctx context.Context, obj client.Object, o ...client.CreateOption) error {
	return m.write(obj, func() error { return m.Client.Create(ctx, obj, o...) })
}

func (m *mortal) Update(ctx context.Context, obj client.Object, o ...client.UpdateOption) error {
	return m.write(obj, func() error { return m.Client.Update(ctx, obj, o...) })
}

func (m *mortal) Patch(ctx context.Context, obj client.Object, p client.Patch, o ...client.PatchOption) error {
	return m.write(obj, func() error { return m.Client.Patch(ctx, obj, p, o...) })
}

// lagging is a client whose cache has not seen any Secret yet.
type lagging struct {
	client.Client
	blind *atomic.Bool
}

func (l *lagging) Get(ctx context.Context, key client.ObjectKey, obj client.Object, o ...client.GetOption) error {
	if _, ok := obj.(*corev1.Secret); ok && l.blind.Load() {
		return apierrors.NewNotFound(corev1.Resource("secrets"), key.Name)
	}
	return l.Client.Get(ctx, key, obj, o...)
}

// survivors are the generated Secrets of the survival tests, with what identifies their keys.
var survivors = map[string]*keys.Layout{
	"default-academy-keys": &keys.AcademyKeys, "moodle-platform-key": &keys.SigningKeys, "lab-tool-key": &keys.SigningKeys, "height-lti12": nil,
}

// keyIDs identifies the keys in each generated Secret that exists.
func keyIDs(t *testing.T, ns string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, layout := range survivors {
		secret := &corev1.Secret{}
		err := api.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: name}, secret)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			t.Fatal(err)
		case layout == nil:
			out[name] = string(secret.Data[v1alpha1.SecretKeyConsumerKey]) + " " + string(secret.Data[v1alpha1.SecretKeySharedSecret])
		default:
			ring, err := layout.Decode(secret.Data, secret.CreationTimestamp.Time)
			if err != nil {
				t.Fatal(err)
			}
			out[name] = ring.Signing.ID
		}
	}
	return out
}

// Whatever happens to the operator, its cache, its Secrets' labels and the objects: keys that exist stay.
func TestKeysSurvive(t *testing.T) {
	t.Parallel()
	combinations := 0
	for name, c := range map[string]func(t *testing.T, ns string, objects func() []client.Object, restart func(func(client.Client) client.Client)){
		"labels stripped": func(t *testing.T, ns string, _ func() []client.Object, _ func(func(client.Client) client.Client)) {
			for name := range survivors {
				secret := getSecret(t, ns, name)
				before := secret.DeepCopy()
				secret.Labels, secret.Annotations = nil, nil
				if err := api.Patch(t.Context(), secret, client.MergeFrom(before)); err != nil {
					t.Fatal(err)
				}
			}
			for name := range survivors {
				eventually(t, func() string {
					if getSecret(t, ns, name).Labels[v1alpha1.LabelUse] == "" {
						return "labels of " + name + " are not repaired"
					}
					return ""
				})
			}
		},
		"objects deleted and made again": func(t *testing.T, _ string, objects func() []client.Object, _ func(func(client.Client) client.Client)) {
			for _, o := range objects() {
				if err := api.Delete(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			create(t, objects()...)
		},
		"objects deleted and made again while the operator is away": func(t *testing.T, _ string, objects func() []client.Object, restart func(func(client.Client) client.Client)) {
			for _, o := range objects() {
				if err := api.Delete(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			create(t, objects()...)
			restart(nil)
		},
		"two operators": func(t *testing.T, ns string, objects func() []client.Object, restart func(func(client.Client) client.Client)) {
			restart(nil)
			startOperator(t, ns, &fakeHandlers{}, nil)
			look(t, objects()...)
		},
		"a cache that lags": func(t *testing.T, _ string, objects func() []client.Object, restart func(func(client.Client) client.Client)) {
			blind := &atomic.Bool{}
			blind.Store(true)
			restart(func(c client.Client) client.Client { return &lagging{c, blind} })
			look(t, objects()...)
			time.Sleep(200 * time.Millisecond)
			blind.Store(false)
		},
	} {
		combinations += len(survivors)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := newNamespace(t)
			stop := startOperator(t, ns, &fakeHandlers{}, nil)
			create(t, newAcademy(ns))
			objects := func() []client.Object {
				return []client.Object{newPlatform(ns, "moodle"), newTool(ns, "lab"), newActivity(ns, "height")}
			}
			create(t, objects()...)
			waitForAll(t, ns)
			before := keyIDs(t, ns)
			c(t, ns, objects, func(wrap func(client.Client) client.Client) {
				stop()
				startOperator(t, ns, &fakeHandlers{}, wrap)
			})
			waitForAll(t, ns)
			if after := keyIDs(t, ns); len(before) != len(survivors) || !maps.Equal(before, after) {
				t.Errorf("keys before %v, after %v", slices.Sorted(maps.Values(before)), slices.Sorted(maps.Values(after)))
			}
		})
	}
	for n := range len(survivors) {
		for _, carriedOut := range []bool{false, true} {
			combinations++
			t.Run(fmt.Sprintf("killed at write %d of making them, carried out: %v", n+1, carriedOut), func(t *testing.T) {
				t.Parallel()
				ns := newNamespace(t)
				m := &mortal{left: &atomic.Int64{}, carriedOut: carriedOut}
				m.left.Store(int64(n + 1))
				create(t, newAcademy(ns), newPlatform(ns, "moodle"), newTool(ns, "lab"), newActivity(ns, "height"))
				stop := startOperator(t, ns, &fakeHandlers{}, func(c client.Client) client.Client {
					m.Client = c
					return m
				})
				waitForDeath(t, m)
				stop()
				before := keyIDs(t, ns)
				startOperator(t, ns, &fakeHandlers{}, nil)
				waitForAll(t, ns)
				after := keyIDs(t, ns)
				for name, id := range before {
					if after[name] != id {
						t.Errorf("%s: %s before, %s after", name, id, after[name])
					}
				}
				if len(after) != len(survivors) {
					t.Errorf("%d Secrets", len(after))
				}
			})
		}
	}
	// A rotation is five writes: started, scheduled, switched, retiring, retired.
	for n := range 5 {
		for _, carriedOut := range []bool{false, true} {
			combinations++
			t.Run(fmt.Sprintf("killed at write %d of a rotation, carried out: %v", n+1, carriedOut), func(t *testing.T) {
				t.Parallel()
				rotateAndDie(t, n+1, carriedOut)
			})
		}
	}
	t.Logf("%d combinations of an accident and a Secret", combinations)
}

func rotateAndDie(t *testing.T, at int, carriedOut bool) {
	ns := newNamespace(t)
	clk := &shiftedClock{}
	stop := startOperatorAt(t, ns, &fakeHandlers{}, nil, clk)
	tool := newTool(ns, "lab")
	create(t, newAcademy(ns), tool)
	waitFor(t, tool, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	stop()
	first := tool.Status.Keys[0].KeyID
	annotateObject(t, tool, v1alpha1.AnnotationRotate, "now")
	m := &mortal{left: &atomic.Int64{}, carriedOut: carriedOut}
	m.left.Store(int64(at))
	stop = startOperatorAt(t, ns, &fakeHandlers{}, func(c client.Client) client.Client {
		m.Client = c
		return m
	}, clk)
	pass := func() {
		clk.shift(day)
		look(t, tool)
		time.Sleep(30 * time.Millisecond)
	}
	eventually(t, func() string {
		pass()
		if !m.dead() {
			return "the operator lives"
		}
		return ""
	})
	stop()
	known := ids(ringOf(t, &keys.SigningKeys, ns, "lab-tool-key"))
	if known[first] == "" && !(at == 5 && carriedOut) {
		t.Fatalf("the first key is gone already: %v", known)
	}
	startOperatorAt(t, ns, &fakeHandlers{}, nil, clk)
	var ring keys.Ring
	eventually(t, func() string {
		pass()
		if ring = ringOf(t, &keys.SigningKeys, ns, "lab-tool-key"); ring.Signing.ID == first || len(ids(ring)) != 1 {
			return fmt.Sprint(ids(ring))
		}
		return ""
	})
	delete(known, first)
	if known[ring.Signing.ID] == "" && len(known) > 0 {
		t.Errorf("%s signs in the end, and not the key that was made for it: %v", ring.Signing.ID, known)
	}
}

func waitForDeath(t *testing.T, m *mortal) {
	t.Helper()
	eventually(t, func() string {
		if !m.dead() {
			return "the operator lives"
		}
		return ""
	})
}

func waitForAll(t *testing.T, ns string) {
	t.Helper()
	for _, o := range []interface {
		client.Object
		v1alpha1.Object
	}{newAcademy(ns), newPlatform(ns, "moodle"), newTool(ns, "lab"), newActivity(ns, "height")} {
		waitFor(t, o, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	}
}

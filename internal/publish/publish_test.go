// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/workload"
)

const (
	namespace = "acme"
	academy   = "default"
	// objects is the number of objects that hold a table.
	objects = routing.RoutingShards + routing.KeyShards + 1
)

var (
	target = Target{Namespace: namespace, Academy: academy, Owner: metav1.OwnerReference{
		APIVersion: "lti-operator.io/v1alpha1", Kind: "LTIAcademy", Name: academy, UID: "9b1deb4d",
	}}
	errCrashed = errors.New("the operator is gone")
)

// The operator may die at each single write. Whatever was live before, and however often it dies, a handler that
// starts right then finds a whole table: the old one or the new one.
func TestALiveTableIsWholeWhereverThePublisherDies(t *testing.T) {
	tables := map[string]*routing.Set{
		"nothing":                   nil,
		"one activity":              table(t, "one", 1),
		"an activity changed":       table(t, "two", 1),
		"many activities":           table(t, "many", 40),
		"many activities, all new":  table(t, "other", 40),
		"no activities":             table(t, "none", 0),
		"only a secret has changed": table(t, "one", 1, func(t *routing.Table) { t.Credentials[0].Secrets[0] = "rotated" }),
	}
	names := slices.Sorted(maps.Keys(tables))
	combinations := 0
	for _, from := range names {
		for _, to := range names {
			if tables[to] == nil || from == to {
				continue
			}
			t.Run(fmt.Sprintf("from %s to %s", from, to), func(t *testing.T) {
				for _, lost := range []bool{false, true} {
					for k := 1; ; k++ {
						w := newWorld(t)
						w.publish(t, tables[from])
						live := w.live(t)
						w.crashAt(k, lost)
						_, err := w.Publish(t.Context(), target, tables[to])
						if !w.crashed {
							break // k is beyond the last write
						}
						combinations++
						if !errors.Is(err, errCrashed) {
							t.Fatalf("write %d failed, Publish said %v", k, err)
						}
						// What is published after the death: what was meant to be, and something else.
						for _, then := range []string{to, names[(k+1)%len(names)]} {
							if tables[then] == nil {
								continue
							}
							combinations++
							w.continues(t, fmt.Sprintf("write %d (lost=%v), then %s", k, lost, then), live, tables[to], tables[then])
						}
					}
				}
			})
		}
	}
	t.Logf("%d combinations of tables and deaths", combinations)
	if combinations < 500 {
		t.Error("too few combinations: nothing was tested")
	}
}

// continues checks that the crashed world is whole, that then can be published in a copy of it, also when the operator
// dies once more half-way, and that publishing it again writes nothing.
func (w *world) continues(t *testing.T, when, before string, half, then *routing.Set) {
	t.Helper()
	live := w.live(t)
	if live != before && live != half.Manifest.Hash {
		t.Fatalf("%s: the live table is neither the old nor the new one", when)
	}
	again := w.restart(t)
	again.crashAt(objects/2, false)
	if _, err := again.Publish(t.Context(), target, then); again.crashed != (err != nil) {
		t.Fatalf("%s: Publish said %v", when, err)
	}
	again.live(t)
	again = again.restart(t)
	again.publish(t, then)
	if got := again.live(t); got != then.Manifest.Hash {
		t.Fatalf("%s: a later publish left another table live", when)
	}
	if writes := again.publish(t, then); writes != 0 {
		t.Fatalf("%s: publishing what is live wrote %d objects", when, writes)
	}
}

// After each write, not only after the last one before a death.
func TestALiveTableIsWholeAfterEachWrite(t *testing.T) {
	w := newWorld(t)
	checks := 0
	w.afterWrite = func() {
		checks++
		w.live(t)
	}
	for i := range 5 {
		w.publish(t, table(t, fmt.Sprintf("table %d", i), 40))
	}
	if checks < 5*objects-1 {
		t.Errorf("%d checks for 5 tables of %d objects", checks, objects)
	}
}

func TestTheFirstPublishMakesEveryObject(t *testing.T) {
	w := newWorld(t)
	set := table(t, "one", 10)
	if writes := w.publish(t, set); writes != objects {
		t.Errorf("%d writes, want %d", writes, objects)
	}
	if writes := w.publish(t, set); writes != 0 {
		t.Errorf("the second publish wrote %d objects", writes)
	}
	for _, object := range w.objects(t) {
		for key, value := range workload.Labels(academy) {
			if object.GetLabels()[key] != value {
				t.Errorf("%s: label %s is %q, want %q", object.GetName(), key, object.GetLabels()[key], value)
			}
		}
		if diff := cmp.Diff([]metav1.OwnerReference{target.Owner}, object.GetOwnerReferences()); diff != "" {
			t.Errorf("%s: owner references differ:\n%s", object.GetName(), diff)
		}
	}
}

// Each changed shard is one write: etcd keeps every revision.
func TestOnlyChangedShardsAreWritten(t *testing.T) {
	w := newWorld(t)
	w.publish(t, table(t, "one", 10))
	changed := table(t, "one", 10, func(t *routing.Table) { t.Activities[3].Title = "Another title" })
	if writes := w.publish(t, changed); writes != 2 {
		t.Errorf("%d writes, want the shard and the manifest", writes)
	}
}

// A shard holds two payloads at most, or it would outgrow its object.
func TestPayloadsOfOlderTablesAreDropped(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.publish(t, table(t, fmt.Sprintf("table %d", i), 40))
	}
	for _, object := range w.objects(t) {
		if n := len(payloadsOf(object)); n > 2 {
			t.Errorf("%s holds %d payloads", object.GetName(), n)
		}
	}
}

// Key shards of a revoked key must not linger either: one more publish takes the previous payload away.
func TestForeignKeysInShardsAreRemoved(t *testing.T) {
	foreign := map[string]string{
		"a payload that no table names": routing.ShardFileName("00000000000000000000000000000000000000000000000000000000000000ff"),
		"another manifest":              routing.ManifestFile,
		"a file of somebody else":       "notes.txt",
	}
	for name, key := range foreign {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			set := table(t, "one", 3)
			w.publish(t, set)
			configMap, secret := &corev1.ConfigMap{}, &corev1.Secret{}
			w.get(t, workload.RoutingConfigMapName(academy, 2), configMap)
			w.get(t, workload.KeySecretName(academy, 1), secret)
			configMap.BinaryData[key] = []byte("x")
			secret.Data[key] = []byte("x")
			w.update(t, configMap)
			w.update(t, secret)

			if writes := w.publish(t, set); writes != 2 {
				t.Errorf("%d writes, want 2", writes)
			}
			w.get(t, workload.RoutingConfigMapName(academy, 2), configMap)
			w.get(t, workload.KeySecretName(academy, 1), secret)
			if _, ok := configMap.BinaryData[key]; ok {
				t.Error("the ConfigMap still holds it")
			}
			if _, ok := secret.Data[key]; ok {
				t.Error("the Secret still holds it")
			}
			w.live(t)
		})
	}
}

func TestWhatWasDamagedIsRepaired(t *testing.T) {
	shard, keys, manifest := workload.RoutingConfigMapName(academy, 0), workload.KeySecretName(academy, 0), workload.ManifestConfigMapName(academy)
	tests := map[string]struct {
		damage func(t *testing.T, w *world)
		writes int
	}{
		"labels of a routing shard are lost": {func(t *testing.T, w *world) { w.strip(t, shard, &corev1.ConfigMap{}) }, 1},
		"labels of a key shard are lost":     {func(t *testing.T, w *world) { w.strip(t, keys, &corev1.Secret{}) }, 1},
		"labels of the manifest are lost":    {func(t *testing.T, w *world) { w.strip(t, manifest, &corev1.ConfigMap{}) }, 1},
		"an owner of an earlier academy": {func(t *testing.T, w *world) {
			object := &corev1.Secret{}
			w.get(t, keys, object)
			object.OwnerReferences[0].UID = "another"
			w.update(t, object)
		}, 1},
		"a shard is deleted":        {func(t *testing.T, w *world) { w.remove(t, shard, &corev1.ConfigMap{}) }, 1},
		"a key shard is deleted":    {func(t *testing.T, w *world) { w.remove(t, keys, &corev1.Secret{}) }, 1},
		"the manifest is deleted":   {func(t *testing.T, w *world) { w.remove(t, manifest, &corev1.ConfigMap{}) }, 1},
		"the manifest is truncated": {func(t *testing.T, w *world) { w.manifest(t, func(s string) string { return s[:len(s)/2] }) }, 1},
		"the manifest is emptied":   {func(t *testing.T, w *world) { w.manifest(t, func(string) string { return "" }) }, 1},
		"a payload is overwritten": {func(t *testing.T, w *world) {
			object := &corev1.ConfigMap{}
			w.get(t, shard, object)
			for file := range object.BinaryData {
				object.BinaryData[file] = []byte("damaged")
			}
			w.update(t, object)
		}, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			set := table(t, "one", 3)
			w.publish(t, set)
			test.damage(t, w)
			if writes := w.publish(t, set); writes != test.writes {
				t.Errorf("%d writes, want %d", writes, test.writes)
			}
			if got := w.live(t); got != set.Manifest.Hash {
				t.Error("another table is live")
			}
			for _, object := range w.objects(t) {
				if !decorated(object, target) {
					t.Errorf("%s has labels %v and owners %v", object.GetName(), object.GetLabels(), object.GetOwnerReferences())
				}
			}
			if writes := w.publish(t, set); writes != 0 {
				t.Errorf("the publish after the repair wrote %d objects", writes)
			}
		})
	}
}

// Labels that others have put on an object stay.
func TestLabelsOfOthersStay(t *testing.T) {
	w := newWorld(t)
	w.publish(t, table(t, "one", 3))
	object := &corev1.ConfigMap{}
	w.get(t, workload.ManifestConfigMapName(academy), object)
	object.Labels["team"] = "platform"
	w.update(t, object)
	w.publish(t, table(t, "two", 3))
	w.get(t, workload.ManifestConfigMapName(academy), object)
	if object.Labels["team"] != "platform" {
		t.Errorf("labels are %v", object.Labels)
	}
}

// Two operators during a change of leader: the one that comes second to the manifest must not overwrite it.
func TestAManifestThatChangedMeanwhileIsNotOverwritten(t *testing.T) {
	tests := map[string]struct {
		before *routing.Set
		wanted func(error) bool
	}{
		"another one was published": {table(t, "one", 3), apierrors.IsConflict},
		"the first one was made":    {nil, apierrors.IsAlreadyExists},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.publish(t, test.before)
			theirs := table(t, "theirs", 3)
			intruded := false
			w.beforeWrite = func(object client.Object) {
				if object.GetName() == workload.ManifestConfigMapName(academy) && !intruded {
					intruded = true
					w.publish(t, theirs)
				}
			}
			ours := table(t, "ours", 3)
			writes, err := w.Publish(t.Context(), target, ours)
			if !test.wanted(err) {
				t.Fatalf("Publish = %d, %v; want a conflict", writes, err)
			}
			object := &corev1.ConfigMap{}
			w.get(t, workload.ManifestConfigMapName(academy), object)
			m, err := routing.DecodeManifest([]byte(object.Data[routing.ManifestFile]))
			if err != nil {
				t.Fatal(err)
			}
			if m.Hash != theirs.Manifest.Hash {
				t.Error("the other operator's manifest was overwritten")
			}
			w.publish(t, ours)
			if w.live(t) != ours.Manifest.Hash {
				t.Error("the next publish did not complete")
			}
		})
	}
}

// A shard that changes between reading and writing it is not overwritten either.
func TestAShardThatChangedMeanwhileIsNotOverwritten(t *testing.T) {
	w := newWorld(t)
	w.publish(t, table(t, "one", 40))
	name := workload.RoutingConfigMapName(academy, 5)
	w.beforeWrite = func(object client.Object) {
		if object.GetName() == name {
			w.beforeWrite = nil
			current := &corev1.ConfigMap{}
			w.get(t, name, current)
			current.Annotations = map[string]string{"changed": "meanwhile"}
			w.update(t, current)
		}
	}
	if _, err := w.Publish(t.Context(), target, table(t, "two", 40)); !apierrors.IsConflict(err) {
		t.Fatalf("error is %v, want a conflict", err)
	}
	w.live(t)
}

func TestReadErrorsStopThePublishBeforeAnythingIsLost(t *testing.T) {
	for name, of := range map[string]string{
		"the manifest cannot be read":    workload.ManifestConfigMapName(academy),
		"a routing shard cannot be read": workload.RoutingConfigMapName(academy, 0),
		"a key shard cannot be read":     workload.KeySecretName(academy, 3),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			before := table(t, "one", 3)
			w.publish(t, before)
			w.failGet = of
			writes, err := w.Publish(t.Context(), target, table(t, "two", 3))
			if !apierrors.IsInternalError(err) {
				t.Fatalf("error is %v, want that of the API server", err)
			}
			if of == workload.ManifestConfigMapName(academy) && writes != 0 {
				t.Errorf("%d objects were written without knowing what is live", writes)
			}
			w.failGet = ""
			if w.live(t) != before.Manifest.Hash {
				t.Error("another table is live")
			}
		})
	}
}

// A table of another major version is live (the operator was rolled back): what it names must not be dropped.
func TestATableOfAForeignFormatIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.publish(t, table(t, "one", 3))
	object := &corev1.ConfigMap{}
	w.get(t, workload.ManifestConfigMapName(academy), object)
	object.Data[routing.ManifestFile] = `{"formatVersion":{"major":99,"minor":0}}`
	w.update(t, object)
	writes, err := w.Publish(t.Context(), target, table(t, "two", 3))
	if !errors.Is(err, routing.ErrFormat) || writes != 0 {
		t.Errorf("Publish = %d, %v; want ErrFormat and no writes", writes, err)
	}
}

// world is an API server and a publisher that may die.
type world struct {
	*Publisher
	api client.WithWatch

	writes, dieAt int
	// lost: the write on which the publisher dies is done, but its answer never arrives.
	lost, crashed bool
	failGet       string
	beforeWrite   func(client.Object)
	afterWrite    func()
	inside        bool
}

func newWorld(t *testing.T, existing ...client.Object) *world {
	t.Helper()
	w := &world{api: fake.NewClientBuilder().WithObjects(existing...).Build()}
	write := func(object client.Object, do func() error) error {
		if w.inside {
			return do()
		}
		if w.crashed {
			return errCrashed
		}
		w.writes++
		if w.writes == w.dieAt {
			w.crashed = true
			if w.lost {
				if err := do(); err != nil {
					t.Errorf("write: %v", err)
				}
			}
			return errCrashed
		}
		if w.beforeWrite != nil {
			w.inside = true
			w.beforeWrite(object)
			w.inside = false
		}
		err := do()
		if w.afterWrite != nil {
			w.afterWrite()
		}
		return err
	}
	through := interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if w.failGet == key.Name {
				return apierrors.NewInternalError(errors.New("etcd is gone"))
			}
			return c.Get(ctx, key, object, options...)
		},
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
			return write(object, func() error { return c.Create(ctx, object, options...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.UpdateOption) error {
			return write(object, func() error { return c.Update(ctx, object, options...) })
		},
		Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			return apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("a patch has no precondition"))
		},
		Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error {
			return apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("nothing is ever deleted"))
		},
	})
	w.Publisher = &Publisher{Reader: through, Writer: through}
	return w
}

// crashAt lets the k-th write from now on be the last thing the publisher does.
func (w *world) crashAt(k int, lost bool) { w.writes, w.dieAt, w.lost = 0, k, lost }

// restart is a new publisher at an API server with the same objects.
func (w *world) restart(t *testing.T) *world {
	t.Helper()
	existing := w.objects(t)
	for _, object := range existing {
		object.SetResourceVersion("")
	}
	return newWorld(t, existing...)
}

func (w *world) publish(t *testing.T, set *routing.Set) int {
	t.Helper()
	if set == nil {
		return 0
	}
	writes, err := w.Publish(t.Context(), target, set)
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	return writes
}

// live is the hash of the table that a handler finds which starts now; it fails when there is a manifest without all
// of its shards.
func (w *world) live(t *testing.T) string {
	t.Helper()
	files := map[string][]byte{}
	manifest := ""
	for _, object := range w.objects(t) {
		if object.GetName() == workload.ManifestConfigMapName(academy) {
			manifest = object.(*corev1.ConfigMap).Data[routing.ManifestFile]
			continue
		}
		maps.Copy(files, payloadsOf(object))
	}
	if manifest == "" {
		return ""
	}
	m, err := routing.DecodeManifest([]byte(manifest))
	if err != nil {
		t.Fatalf("the live manifest cannot be read: %v", err)
	}
	_, err = routing.Assemble(m, func(name string) ([]byte, error) {
		if b, ok := files[name]; ok {
			return b, nil
		}
		return nil, errors.New("no such file")
	})
	if err != nil {
		t.Fatalf("the live manifest cannot be satisfied: %v", err)
	}
	return m.Hash
}

// objects are all objects of the table.
func (w *world) objects(t *testing.T) []client.Object {
	t.Helper()
	var configMaps corev1.ConfigMapList
	var secrets corev1.SecretList
	if err := errors.Join(w.api.List(t.Context(), &configMaps), w.api.List(t.Context(), &secrets)); err != nil {
		t.Fatal(err)
	}
	var out []client.Object
	for i := range configMaps.Items {
		out = append(out, &configMaps.Items[i])
	}
	for i := range secrets.Items {
		out = append(out, &secrets.Items[i])
	}
	return out
}

func payloadsOf(object client.Object) map[string][]byte {
	switch object := object.(type) {
	case *corev1.ConfigMap:
		return object.BinaryData
	case *corev1.Secret:
		return object.Data
	}
	return nil
}

func (w *world) get(t *testing.T, name string, into client.Object) {
	t.Helper()
	if err := w.api.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: name}, into); err != nil {
		t.Fatal(err)
	}
}

func (w *world) update(t *testing.T, object client.Object) {
	t.Helper()
	if err := w.api.Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

func (w *world) strip(t *testing.T, name string, object client.Object) {
	t.Helper()
	w.get(t, name, object)
	object.SetLabels(nil)
	w.update(t, object)
}

func (w *world) remove(t *testing.T, name string, object client.Object) {
	t.Helper()
	w.get(t, name, object)
	if err := w.api.Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

func (w *world) manifest(t *testing.T, change func(string) string) {
	t.Helper()
	object := &corev1.ConfigMap{}
	w.get(t, workload.ManifestConfigMapName(academy), object)
	object.Data[routing.ManifestFile] = change(object.Data[routing.ManifestFile])
	w.update(t, object)
}

// table makes a set with n activities whose content depends on title.
func table(t *testing.T, title string, n int, changes ...func(*routing.Table)) *routing.Set {
	t.Helper()
	table := &routing.Table{
		Academy:     routing.Academy{Name: academy, Title: title, URL: "https://lti.acme.example", Active: true},
		AcademyKeys: routing.AcademyKeys{StateKeys: [][]byte{[]byte(title)}},
	}
	for i := range n {
		name := fmt.Sprintf("course-%d", i)
		table.Activities = append(table.Activities, routing.Activity{Name: name, Title: title})
		table.Credentials = append(table.Credentials, routing.Credential{Activity: name, ConsumerKey: name, Secrets: []string{title}})
	}
	for _, change := range changes {
		change(table)
	}
	set, err := routing.Split(table)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

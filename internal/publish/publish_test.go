// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
				for _, mode := range []struct{ lost, purge bool }{{}, {lost: true}, {purge: true}} {
					for k := 1; ; k++ {
						w := newWorld(t)
						w.publish(t, tables[from])
						live := w.live(t)
						running := w.startHandler(t)
						w.crashAt(k, mode.lost)
						to, purging := tables[to], target
						purging.PurgePrevious = mode.purge
						_, err := w.Publish(t.Context(), purging, to)
						if !w.crashed {
							break // k is beyond the last write
						}
						combinations++
						if !errors.Is(err, errCrashed) {
							t.Fatalf("write %d failed, Publish said %v", k, err)
						}
						// What is published after the death: what was meant to be, and something else.
						for _, then := range []*routing.Set{to, tables[names[(k+1)%len(names)]]} {
							if then == nil || mode.purge && then != to {
								continue
							}
							combinations++
							w.continues(t, fmt.Sprintf("write %d (%+v), then %.8s", k, mode, then.Manifest.Hash), live, to, then, *running)
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
// dies once more half-way, and that publishing it again writes nothing. running is a handler that has served the table
// before; live is what a fresh one finds.
func (w *world) continues(t *testing.T, when, before string, half, then *routing.Set, running handler) {
	t.Helper()
	live := w.live(t)
	if live != before && live != half.Manifest.Hash {
		t.Fatalf("%s: the live table is neither the old nor the new one", when)
	}
	if running.syncs(t, w.api.stored); running.serves != before && running.serves != half.Manifest.Hash {
		t.Fatalf("%s: a running handler serves neither the old nor the new table", when)
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
	if running.syncs(t, again.api.stored); running.serves != then.Manifest.Hash {
		t.Fatalf("%s: a running handler does not find the new table", when)
	}
	if writes := again.publish(t, then); writes != 0 {
		t.Fatalf("%s: publishing what is live wrote %d objects", when, writes)
	}
}

// handler is a launch handler with its mounted objects. It keeps its table while what it finds is not whole.
type handler struct {
	mounted map[string]client.Object
	serves  string
}

func (w *world) startHandler(t *testing.T) *handler {
	t.Helper()
	h := &handler{}
	h.syncs(t, w.api.stored)
	return h
}

// syncs brings the handler what the API server has. Kubelet fetches the objects one after the other, and the handler may
// look at any time: first with the manifest of later than its shards, then the other way round, then at all of it.
func (h *handler) syncs(t *testing.T, stored map[string]client.Object) {
	t.Helper()
	isManifest := func(o client.Object) bool { return o.GetName() == workload.ManifestConfigMapName(academy) }
	before := h.mounted
	for _, newer := range []func(client.Object) bool{
		isManifest,
		func(o client.Object) bool { return !isManifest(o) },
		func(client.Object) bool { return true },
	} {
		h.mounted = maps.Clone(before)
		if h.mounted == nil {
			h.mounted = map[string]client.Object{}
		}
		for key, object := range stored {
			if newer(object) {
				h.mounted[key] = object
			}
		}
		h.looks(t)
	}
}

func (h *handler) looks(t *testing.T) {
	t.Helper()
	files := map[string][]byte{}
	var manifest []byte
	for _, object := range h.mounted {
		if c, ok := object.(*corev1.ConfigMap); ok && c.Data != nil {
			manifest = []byte(c.Data[routing.ManifestFile])
		}
		maps.Copy(files, payloadsOf(object))
	}
	m, err := routing.DecodeManifest(manifest)
	if err != nil {
		return
	}
	if assemble(m, files) == nil {
		h.serves = m.Hash
	}
}

// assembled are the manifests that have been assembled once. The files are named by their content: of a table that is
// known it is enough that all are there, and thousands of worlds hold the same few tables.
var assembled = map[string]bool{}

func assemble(m routing.Manifest, files map[string][]byte) error {
	if assembled[m.Hash] {
		for _, hash := range m.ShardHashes() {
			if payload, ok := files[routing.ShardFileName(hash)]; !ok || routing.HashPayload(payload) != hash {
				return errNoSuchPayload
			}
		}
		return nil
	}
	_, err := routing.Assemble(m, func(name string) ([]byte, error) {
		if b, ok := files[name]; ok {
			return b, nil
		}
		return nil, errNoSuchPayload
	})
	assembled[m.Hash] = err == nil
	return err
}

// A revoked key must not lie in a shard once the new table is live, also when the operator dies in between and the
// purge is asked for again.
func TestAPurgeLeavesNothingOfThePreviousTable(t *testing.T) {
	for k := range 2*objects + 1 {
		w := newWorld(t)
		w.publish(t, table(t, "the revoked key", 40))
		set := table(t, "two", 40)
		purging := target
		purging.PurgePrevious = true
		w.crashAt(k, false)
		_, _ = w.Publish(t.Context(), purging, set)
		w = w.restart(t)
		written, err := w.Publish(t.Context(), purging, set)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range w.objects(t) {
			if n := len(payloadsOf(object)); n > 1 {
				t.Errorf("write %d: %s holds %d payloads", k, object.GetName(), n)
			}
		}
		if got := w.live(t); got != set.Manifest.Hash {
			t.Error("another table is live")
		}
		if again, err := w.Publish(t.Context(), purging, set); err != nil || again.Objects != 0 {
			t.Errorf("purging again wrote %d objects (%v), before it were %d", again.Objects, err, written.Objects)
		}
	}
}

// A table that lists a revoked key purges by itself: where private keys are.
func TestATableWithARevokedKeyPurgesItsKeyShards(t *testing.T) {
	w := newWorld(t)
	w.publish(t, table(t, "the revoked key", 40))
	set := table(t, "two", 40, func(t *routing.Table) { t.Revoked = []routing.RevokedKey{{KeyID: "1"}} })
	w.publish(t, set)
	for _, object := range w.objects(t) {
		n := len(payloadsOf(object))
		if _, isSecret := object.(*corev1.Secret); isSecret && n != 1 {
			t.Errorf("%s holds %d payloads", object.GetName(), n)
		}
	}
	if writes := w.publish(t, set); writes != 0 || w.live(t) != set.Manifest.Hash {
		t.Errorf("publishing it again wrote %d objects", writes)
	}
}

// The live table in the API server is what a restarted operator compares with.
func TestLiveIsWhatWasPublished(t *testing.T) {
	w := newWorld(t)
	live := func() *routing.Table {
		t.Helper()
		table, err := w.Live(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	if live() != nil {
		t.Error("there is a table before the first publish")
	}
	set := table(t, "one", 40)
	w.publish(t, set)
	again, err := routing.Split(live())
	if err != nil || again.Manifest.Hash != set.Manifest.Hash {
		t.Errorf("the live table is another one (%v)", err)
	}
	w.failGet = workload.KeySecretName(academy, 2)
	if _, err := w.Live(t.Context(), target); !apierrors.IsInternalError(err) {
		t.Errorf("a shard that cannot be read: %v", err)
	}
	w.failGet = ""
	w.remove(t, workload.KeySecretName(academy, 2), &corev1.Secret{})
	if live() != nil {
		t.Error("an incomplete table is called live")
	}
}

// What the byte budget is charged: the whole of each object that was written.
func TestWrittenBytesAreThoseOfTheObjects(t *testing.T) {
	w := newWorld(t)
	written, err := w.Publish(t.Context(), target, table(t, "one", 40))
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, object := range w.objects(t) {
		total += payloadBytes(payloadsOf(object))
		if c, ok := object.(*corev1.ConfigMap); ok {
			total += len(c.Data[routing.ManifestFile])
		}
	}
	if written.Bytes != total || written.Objects != objects {
		t.Errorf("written %+v, the objects hold %d bytes", written, total)
	}
	if written, err := w.Publish(t.Context(), target, table(t, "one", 40)); err != nil || written != (Written{}) {
		t.Errorf("publishing what is live: %+v %v", written, err)
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
			_, err := w.Publish(t.Context(), target, ours)
			if !test.wanted(err) {
				t.Fatalf("Publish: %v; want a conflict", err)
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
			written, err := w.Publish(t.Context(), target, table(t, "two", 3))
			if !apierrors.IsInternalError(err) {
				t.Fatalf("error is %v, want that of the API server", err)
			}
			if of == workload.ManifestConfigMapName(academy) && written.Objects != 0 {
				t.Errorf("%d objects were written without knowing what is live", written.Objects)
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
	written, err := w.Publish(t.Context(), target, table(t, "two", 3))
	if !errors.Is(err, routing.ErrFormat) || written.Objects != 0 {
		t.Errorf("Publish = %d, %v; want ErrFormat and no writes", written.Objects, err)
	}
}

// memoryAPI holds objects as an API server does, as far as a publisher can tell: each write needs the resourceVersion
// that is there. client/fake does much more, and takes a hundred times as long.
type memoryAPI struct {
	client.Client // nil: anything not overridden here panics
	stored        map[string]client.Object
	version       int
}

func apiKey(object client.Object, name string) string { return fmt.Sprintf("%T/%s", object, name) }

func (m *memoryAPI) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	found := m.stored[apiKey(into, key.Name)]
	if found == nil {
		return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	}
	switch into := into.(type) {
	case *corev1.ConfigMap:
		found.(*corev1.ConfigMap).DeepCopyInto(into)
	case *corev1.Secret:
		found.(*corev1.Secret).DeepCopyInto(into)
	}
	return nil
}

func (m *memoryAPI) Create(_ context.Context, object client.Object, _ ...client.CreateOption) error {
	key := apiKey(object, object.GetName())
	if m.stored[key] != nil {
		return apierrors.NewAlreadyExists(schema.GroupResource{}, object.GetName())
	}
	m.store(key, object)
	return nil
}

func (m *memoryAPI) Update(_ context.Context, object client.Object, _ ...client.UpdateOption) error {
	key := apiKey(object, object.GetName())
	switch found := m.stored[key]; {
	case found == nil:
		return apierrors.NewNotFound(schema.GroupResource{}, object.GetName())
	case object.GetResourceVersion() == "" || object.GetResourceVersion() != found.GetResourceVersion():
		return apierrors.NewConflict(schema.GroupResource{}, object.GetName(), errors.New("changed meanwhile"))
	}
	m.store(key, object)
	return nil
}

func (m *memoryAPI) store(key string, object client.Object) {
	m.version++
	object.SetResourceVersion(strconv.Itoa(m.version))
	m.stored[key] = object.DeepCopyObject().(client.Object)
}

func (m *memoryAPI) Delete(_ context.Context, object client.Object, _ ...client.DeleteOption) error {
	delete(m.stored, apiKey(object, object.GetName()))
	return nil
}

// world is an API server and a publisher that may die.
type world struct {
	*Publisher
	api *memoryAPI

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
	w := &world{api: &memoryAPI{stored: map[string]client.Object{}}}
	for _, object := range existing {
		w.api.store(apiKey(object, object.GetName()), object)
	}
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
	through := &mortalClient{w: w, write: write}
	w.Publisher = &Publisher{Reader: through, Writer: through}
	return w
}

// mortalClient is what the publisher sees of a world. A patch, which has no precondition, and a deletion panic.
type mortalClient struct {
	client.Client // nil
	w             *world
	write         func(client.Object, func() error) error
}

func (c *mortalClient) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if c.w.failGet == key.Name {
		return apierrors.NewInternalError(errors.New("etcd is gone"))
	}
	return c.w.api.Get(ctx, key, object, options...)
}

func (c *mortalClient) Create(ctx context.Context, object client.Object, options ...client.CreateOption) error {
	return c.write(object, func() error { return c.w.api.Create(ctx, object, options...) })
}

func (c *mortalClient) Update(ctx context.Context, object client.Object, options ...client.UpdateOption) error {
	return c.write(object, func() error { return c.w.api.Update(ctx, object, options...) })
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
	written, err := w.Publish(t.Context(), target, set)
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	return written.Objects
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
	err = assemble(m, files)
	if err != nil {
		t.Fatalf("the live manifest cannot be satisfied: %v", err)
	}
	return m.Hash
}

// objects are all objects of the table.
func (w *world) objects(t *testing.T) []client.Object {
	t.Helper()
	var out []client.Object
	for _, key := range slices.Sorted(maps.Keys(w.api.stored)) {
		out = append(out, w.api.stored[key].DeepCopyObject().(client.Object))
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

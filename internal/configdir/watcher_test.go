// SPDX-License-Identifier: Apache-2.0

package configdir

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lti-operator/lti-operator/internal/routing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "do-not-log-this"

func TestSwapIsSeenLongBeforeTheNextPoll(t *testing.T) {
	d := newDir(t)
	d.swap(files(t, "first"))
	w := start(t, Options{Dir: d.path, Interval: time.Hour})
	eventually(t, func() bool { return title(w) == "first" })
	// Several times: a watch on the link itself would see the first move only.
	for i := range 5 {
		want := fmt.Sprintf("swap %d", i)
		d.swap(files(t, want))
		eventually(t, func() bool { return title(w) == want })
	}
}

func TestEmptyDirectoryIsFilledLater(t *testing.T) {
	d := newDir(t)
	w := start(t, Options{Dir: d.path, Interval: time.Hour})
	eventually(t, func() bool { return errorCode(w) == CodeMissing })
	if w.Current() != nil {
		t.Fatal("a table out of nothing")
	}
	d.swap(files(t, "first"))
	eventually(t, func() bool { return title(w) == "first" })
}

func TestManifestComesAfterAnEmptyVolume(t *testing.T) {
	// What a pod that starts before the first publish sees: optional sources that do not exist.
	d := newDir(t)
	d.swap(map[string][]byte{})
	w := start(t, Options{Dir: d.path, Interval: time.Hour})
	eventually(t, func() bool { return errorCode(w) == CodeMissing })
	d.swap(files(t, "first"))
	eventually(t, func() bool { return title(w) == "first" && errorCode(w) == "" })
}

func TestMissingDirectoryIsWaitedFor(t *testing.T) {
	d := &dir{t: t, path: filepath.Join(t.TempDir(), "later")}
	w := start(t, Options{Dir: d.path, Interval: 10 * time.Millisecond})
	eventually(t, func() bool { return errorCode(w) == CodeMissing })
	d.mkdir()
	d.swap(files(t, "first"))
	eventually(t, func() bool { return title(w) == "first" })
}

func TestRemovedDirectoryKeepsTheTableAndIsWatchedAgain(t *testing.T) {
	d := newDir(t)
	d.swap(files(t, "first"))
	w := start(t, Options{Dir: d.path, Interval: 10 * time.Millisecond})
	eventually(t, func() bool { return title(w) == "first" })
	if err := os.RemoveAll(d.path); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return errorCode(w) == CodeMissing })
	if title(w) != "first" {
		t.Fatalf("serving %q", title(w))
	}
	d.mkdir()
	d.swap(files(t, "second"))
	eventually(t, func() bool { return title(w) == "second" })
}

func TestBadSetsKeepTheOldTable(t *testing.T) {
	next := files(t, "second")
	otherMajor := maps.Clone(next)
	otherMajor[routing.ManifestFile] = bytes.Replace(next[routing.ManifestFile],
		[]byte(`"major": 1`), []byte(`"major": 2`), 1)
	torn := maps.Clone(next)
	delete(torn, shardFile(t, next, 3))
	noKeys := maps.Clone(next)
	delete(noKeys, shardFile(t, next, routing.RoutingShards))
	damaged := maps.Clone(next)
	damaged[shardFile(t, next, 0)] = append(bytes.Clone(next[shardFile(t, next, 0)]), 0)
	forged := maps.Clone(next)
	forged[routing.ManifestFile] = bytes.Replace(next[routing.ManifestFile], []byte("default"), []byte("another"), 1)
	garbage := maps.Clone(next)
	garbage[routing.ManifestFile] = []byte("{")
	noManifest := maps.Clone(next)
	delete(noManifest, routing.ManifestFile)

	tests := map[string]struct {
		files    map[string][]byte
		code     ErrorCode
		rejected string
	}{
		"a routing shard is missing":           {torn, CodeIncomplete, hashOf(t, next)},
		"a key shard is missing":               {noKeys, CodeIncomplete, hashOf(t, next)},
		"a shard is damaged":                   {damaged, CodeCorrupt, hashOf(t, next)},
		"the manifest has an unknown major":    {otherMajor, CodeUnsupportedFormat, hashOf(t, next)},
		"the manifest is not what it hashes":   {forged, CodeCorrupt, hashOf(t, next)},
		"the manifest is not JSON":             {garbage, CodeCorrupt, ""},
		"the manifest is gone":                 {noManifest, CodeMissing, ""},
		"everything is gone from the snapshot": {map[string][]byte{}, CodeMissing, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDir(t)
			first := files(t, "first")
			d.swap(first)
			var logged syncBuffer
			w := start(t, Options{
				Dir: d.path, Interval: 5 * time.Millisecond,
				Logger: slog.New(slog.NewTextHandler(&logged, nil)),
			})
			eventually(t, func() bool { return title(w) == "first" })

			d.swap(tc.files)
			eventually(t, func() bool { return errorCode(w) == tc.code })
			r := w.Report()
			if title(w) != "first" || r.Hash != hashOf(t, first) || r.RejectedHash != tc.rejected {
				t.Errorf("serving %q, report %+v", title(w), r)
			}
			refusals := func() int { return strings.Count(logged.String(), "routing table refused") }
			eventually(t, func() bool { return refusals() > 0 }) // after it was reported
			time.Sleep(30 * time.Millisecond)                    // some polls
			if n := refusals(); n != 1 {
				t.Errorf("refusal logged %d times, want once:\n%s", n, logged.String())
			}

			// A complete set mends it, whether it is the old one or the new one.
			d.swap(first)
			eventually(t, func() bool { return errorCode(w) == "" && w.Report().RejectedHash == "" })
			d.swap(next)
			eventually(t, func() bool { return title(w) == "second" })
			reported, err := json.Marshal(w.Report())
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(logged.String(), secret) || bytes.Contains(reported, []byte(secret)) {
				t.Error("a secret is in the log or in the report")
			}
		})
	}
}

func TestSameTableInANewSnapshotIsNotAChange(t *testing.T) {
	d := newDir(t)
	d.swap(files(t, "first"))
	w := New(Options{Dir: d.path, Interval: 5 * time.Millisecond})
	var changes atomic.Int32
	w.OnChange(func(x *routing.Index) {
		if x != w.Current() {
			t.Error("called before the table is current")
		}
		changes.Add(1)
	})
	run(t, w)
	eventually(t, func() bool { return title(w) == "first" })
	index := w.Current()
	d.swap(files(t, "first"))
	time.Sleep(50 * time.Millisecond)
	if changes.Load() != 1 || w.Current() != index {
		t.Errorf("%d changes, want 1", changes.Load())
	}
	d.swap(files(t, "second"))
	eventually(t, func() bool { return changes.Load() == 2 })
}

func TestReportTellsWhatIsServed(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := newDir(t)
	f := files(t, "first")
	d.swap(f)
	w := start(t, Options{Dir: d.path, Now: func() time.Time { return now }})
	eventually(t, func() bool { return w.Report().Hash != "" })
	r := w.Report()
	if r.Hash != hashOf(t, f) || !r.LoadedAt.Equal(now) || r.LastError != nil || len(r.ReadableFormats) != 1 {
		t.Errorf("report = %+v", r)
	}
	r.ReadableFormats[0].Major = 99
	if w.Report().ReadableFormats[0].Major != routing.FormatMajor {
		t.Error("the report is not a copy")
	}
}

// Kubelet removes the old snapshot right after the move. A reader of it must neither mix two states nor end up with an
// error.
func TestSwapsDuringLoadsNeverMixAndNeverLoseTheLast(t *testing.T) {
	d := newDir(t)
	sets := make([]map[string][]byte, 4)
	for i := range sets {
		sets[i] = files(t, fmt.Sprintf("table %d", i))
	}
	w := New(Options{Dir: d.path, Interval: time.Millisecond})
	w.OnChange(func(x *routing.Index) {
		if a := x.Activity("course"); a == nil || a.Title != x.Academy.Title {
			t.Errorf("academy %q beside activity %+v", x.Academy.Title, a)
		}
	})
	run(t, w)
	for i := range 200 {
		d.swap(sets[i%len(sets)])
	}
	eventually(t, func() bool { return title(w) == "table 3" && errorCode(w) == "" })
}

func TestUnreadableFilesAreReported(t *testing.T) {
	d := newDir(t)
	d.swap(map[string][]byte{})
	// A directory in the manifest's place: permissions would not stop root.
	if err := os.Mkdir(filepath.Join(d.path, "..1", routing.ManifestFile), 0o700); err != nil {
		t.Fatal(err)
	}
	w := start(t, Options{Dir: d.path})
	eventually(t, func() bool { return errorCode(w) == CodeUnreadable })
}

func title(w *Watcher) string {
	if x := w.Current(); x != nil {
		return x.Academy.Title
	}
	return ""
}

func errorCode(w *Watcher) ErrorCode {
	if e := w.Report().LastError; e != nil {
		return e.Code
	}
	return ""
}

// files is a complete set whose academy and activity have this title.
func files(t *testing.T, title string) map[string][]byte {
	t.Helper()
	set, err := routing.Split(&routing.Table{
		Academy:     routing.Academy{Name: "default", Title: title, URL: "https://lti.acme.example", Active: true},
		Activities:  []routing.Activity{{Name: "course", Title: title}},
		AcademyKeys: routing.AcademyKeys{StateKeys: [][]byte{[]byte(secret)}},
		Credentials: []routing.Credential{{Activity: "course", ConsumerKey: "key", Secrets: []string{secret}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := set.Files()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func hashOf(t *testing.T, files map[string][]byte) string { return manifest(t, files).Hash }

func shardFile(t *testing.T, files map[string][]byte, i int) string {
	m := manifest(t, files)
	return routing.ShardFileName(m.ShardHashes()[i])
}

func manifest(t *testing.T, files map[string][]byte) routing.Manifest {
	t.Helper()
	m, err := routing.DecodeManifest(files[routing.ManifestFile])
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// dir is a projected volume as kubelet keeps it.
type dir struct {
	t    *testing.T
	path string
	n    int
}

func newDir(t *testing.T) *dir {
	d := &dir{t: t, path: filepath.Join(t.TempDir(), "config")}
	d.mkdir()
	return d
}

func (d *dir) mkdir() {
	d.t.Helper()
	if err := os.Mkdir(d.path, 0o700); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dir) swap(files map[string][]byte) {
	d.t.Helper()
	must := func(err error) {
		d.t.Helper()
		if err != nil {
			d.t.Fatal(err)
		}
	}
	old, _ := os.Readlink(filepath.Join(d.path, "..data"))
	d.n++
	name := fmt.Sprintf("..%d", d.n)
	must(os.Mkdir(filepath.Join(d.path, name), 0o700))
	for file, content := range files {
		must(os.WriteFile(filepath.Join(d.path, name, file), content, 0o600))
	}
	must(os.Symlink(name, filepath.Join(d.path, "..data_tmp")))
	must(os.Rename(filepath.Join(d.path, "..data_tmp"), filepath.Join(d.path, "..data")))
	if old != "" {
		must(os.RemoveAll(filepath.Join(d.path, old)))
	}
}

func start(t *testing.T, o Options) *Watcher {
	t.Helper()
	w := New(o)
	run(t, w)
	return w
}

func run(t *testing.T, w *Watcher) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatal("it did not happen within 10 s")
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWriteDirShowsExactlyTheFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet", "there")
	steps := []struct {
		files   map[string][]byte
		changed bool
	}{
		{map[string][]byte{}, true},
		{map[string][]byte{"a": []byte("1"), "b": []byte("2")}, true},
		{map[string][]byte{"a": []byte("1"), "b": []byte("2")}, false},
		{map[string][]byte{"a": []byte("3"), "c": {}}, true},
		{map[string][]byte{}, true},
		{nil, false},
	}
	for i, step := range steps {
		changed, err := writeDir(dir, step.files, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if changed != step.changed {
			t.Errorf("step %d: changed = %v, want %v", i, changed, step.changed)
		}
		if diff := cmp.Diff(asStrings(step.files), shown(t, dir)); diff != "" {
			t.Errorf("step %d: shown files differ:\n%s", i, diff)
		}
		if n := snapshots(t, dir); n != 1 {
			t.Errorf("step %d: %d snapshots, want 1", i, n)
		}
	}
}

func TestWriteDirKeepsFilesPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "config")
	if _, err := writeDir(dir, map[string][]byte{"key": []byte("secret")}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, dataLink): 0o700, filepath.Join(dir, "key"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
}

func TestWriteDirRecoversFromARunThatDied(t *testing.T) {
	dir := t.TempDir()
	if _, err := writeDir(dir, map[string][]byte{"a": []byte("1")}, time.Now()); err != nil {
		t.Fatal(err)
	}
	// Between the new link and its move, with the new snapshot half written; and somebody else's file.
	if err := os.Mkdir(filepath.Join(dir, "..2026_01_01_00_00_00.1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..2026_01_01_00_00_00.1", filepath.Join(dir, newDataLink)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "note"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := writeDir(dir, map[string][]byte{"a": []byte("2")}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "2", "note": ""}, shown(t, dir)); diff != "" {
		t.Error(diff)
	}
	if n := snapshots(t, dir); n != 1 {
		t.Errorf("%d snapshots, want 1", n)
	}
}

func TestWriteDirRefusesNamesThatLeaveTheSnapshot(t *testing.T) {
	for _, name := range []string{"", "..", "../a", "a/b", "..data"} {
		dir := t.TempDir()
		if _, err := writeDir(dir, map[string][]byte{name: nil}, time.Now()); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

// A reader who goes through the link sees all of one state or all of another.
func TestWriteDirMovesInOneStep(t *testing.T) {
	dir := t.TempDir()
	states := []map[string][]byte{
		{"a": []byte("1"), "b": []byte("1")},
		{"a": []byte("2"), "b": []byte("2")},
	}
	if _, err := writeDir(dir, states[0], time.Now()); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			root, err := os.OpenRoot(filepath.Join(dir, dataLink))
			if err != nil {
				continue // removed between the resolution of the link and the opening
			}
			a, errA := root.ReadFile("a")
			b, errB := root.ReadFile("b")
			_ = root.Close()
			if errA == nil && errB == nil && string(a) != string(b) {
				t.Errorf("a = %s beside b = %s", a, b)
			}
		}
	}()
	for i := range 300 {
		if _, err := writeDir(dir, states[(i+1)%2], time.Now()); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	<-done
}

// shown reads what stands at the top of the directory.
func shown(t *testing.T, dir string) map[string]string {
	t.Helper()
	out, err := tryShown(dir)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryShown(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		out[e.Name()] = string(b)
	}
	return out, nil
}

func snapshots(t *testing.T, dir string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "..2*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func asStrings(files map[string][]byte) map[string]string {
	out := make(map[string]string, len(files))
	for name, content := range files {
		out[name] = string(content)
	}
	return out
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	dataLink    = "..data"
	newDataLink = "..data_tmp"
	// snapshotTime begins the name of a snapshot directory, as kubelet names it.
	snapshotTime = "..2006_01_02_15_04_05."
)

// writeDir makes dir show exactly these files, the way kubelet fills a projected volume: it writes them into a new
// snapshot directory, moves the link "..data" to it in one step, keeps one link per file at the top, and removes the
// old snapshot. It reports whether anything changed. One process at a time may write to a directory.
func writeDir(dir string, files map[string][]byte, now time.Time) (changed bool, err error) {
	for name := range files {
		if name == "" || strings.HasPrefix(name, "..") || strings.ContainsRune(name, filepath.Separator) {
			return false, fmt.Errorf("file name %q cannot stand in a volume", name)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	if same, err := holds(filepath.Join(dir, dataLink), files); err != nil || same {
		return false, err
	}
	snapshot, err := os.MkdirTemp(dir, now.UTC().Format(snapshotTime)) // mode 0700
	if err != nil {
		return false, err
	}
	moved := false
	defer func() {
		if !moved {
			err = errors.Join(err, os.RemoveAll(snapshot))
		}
	}()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(snapshot, name), content, 0o600); err != nil {
			return false, err
		}
	}
	tmp := filepath.Join(dir, newDataLink)
	// A former run may have died between the two steps below.
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := os.Symlink(filepath.Base(snapshot), tmp); err != nil {
		return false, err
	}
	if err := os.Rename(tmp, filepath.Join(dir, dataLink)); err != nil {
		return false, err
	}
	moved = true
	return true, tidy(dir, filepath.Base(snapshot), files)
}

// tidy makes the links at the top match the files, and removes every snapshot but the current one.
func tidy(dir, snapshot string, files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		_, wanted := files[e.Name()]
		old := e.IsDir() && strings.HasPrefix(e.Name(), "..") && e.Name() != snapshot
		stale := e.Type() == fs.ModeSymlink && e.Name() != dataLink && !wanted
		if !old && !stale {
			continue // what is neither a snapshot nor a link is not ours
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// holds tells whether the directory has exactly these files; a missing one has none and is never the same.
func holds(dir string, files map[string][]byte) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if len(entries) != len(files) {
		return false, nil
	}
	for _, e := range entries {
		want, ok := files[e.Name()]
		if !ok {
			return false, nil
		}
		got, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return false, err
		}
		if !bytes.Equal(got, want) {
			return false, nil
		}
	}
	return true, nil
}

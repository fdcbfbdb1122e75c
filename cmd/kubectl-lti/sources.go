// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// extensions are the names of files that are read from a directory. A file that is named itself may have any.
var extensions = []string{".json", ".yaml", ".yml"}

// readSources reads files, the files in directories, and standard input for "-". A file that is met twice is read once.
func readSources(names []string, recursive bool, in io.Reader) ([]source, error) {
	var out []source
	seen := map[string]bool{}
	for _, name := range names {
		paths, err := expand(name, recursive)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if seen[filepath.Clean(path)] {
				continue
			}
			seen[filepath.Clean(path)] = true
			s := source{name: path}
			if path == "-" {
				s.name = "stdin"
				s.text, err = io.ReadAll(in)
			} else {
				s.text, err = os.ReadFile(path)
			}
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", s.name, err)
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// expand lists the files of a directory; anything else is its own list.
func expand(name string, recursive bool) (paths []string, err error) {
	if name == "-" {
		return []string{name}, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("find what to check: %w", err)
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	err = filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != name && !recursive:
			return fs.SkipDir
		case !entry.IsDir() && slices.Contains(extensions, filepath.Ext(path)):
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", name, err)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no .json, .yaml or .yml file in %s", name)
	}
	return paths, nil
}

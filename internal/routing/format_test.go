// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the fixture of a new format version; released ones are never rewritten")

// Files written by any released operator of this major version stay readable: an upgraded handler starts from them
// while the operator is down. Each testdata/format-* holds a table as it was written then, and table.json, what it
// means.
func TestTablesOfEveryReleasedFormatStayReadable(t *testing.T) {
	current := filepath.Join("testdata", fmt.Sprintf("format-%d.%d", FormatMajor, FormatMinor))
	if *update {
		writeFixture(t, current)
	}
	if _, err := os.Stat(current); err != nil {
		t.Fatalf("the current format has no fixture (-update writes it): %v", err)
	}
	folders, err := filepath.Glob(filepath.Join("testdata", fmt.Sprintf("format-%d.*", FormatMajor)))
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			read := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(folder, name)) }
			encoded, err := read(ManifestFile)
			if err != nil {
				t.Fatal(err)
			}
			m, err := DecodeManifest(encoded)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Assemble(m, read)
			if err != nil {
				t.Fatal(err)
			}
			text, err := read("table.json")
			if err != nil {
				t.Fatal(err)
			}
			want := &Table{}
			decoder := json.NewDecoder(bytes.NewReader(text))
			// A field that was renamed or taken away would be missing on both sides.
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(canonical(want), canonical(got)); diff != "" {
				t.Errorf("the table is read differently (-want +got):\n%s", diff)
			}
		})
	}
}

func writeFixture(t *testing.T, folder string) {
	t.Helper()
	if err := os.Mkdir(folder, 0o750); err != nil {
		t.Fatalf("a fixture is written once: %v", err)
	}
	table := sampleTable()
	contents := files(t, split(t, table))
	text, err := json.MarshalIndent(table, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	contents["table.json"] = append(text, '\n')
	for name, b := range contents {
		if err := os.WriteFile(filepath.Join(folder, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

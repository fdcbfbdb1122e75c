// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

func withSigningKeys() *Table {
	table := sampleTable()
	for i := range 12 {
		for _, kind := range []string{KindPlatform, KindTool} {
			name := fmt.Sprintf("partner-%d", i)
			table.SigningKeys = append(table.SigningKeys, SigningKey{Kind: kind, Name: name, KeyID: kind + name, PrivateKeyPEM: canary + kind + name})
		}
	}
	return table
}

func TestIndexFindsTheSigningKeyOfARegistration(t *testing.T) {
	table := assemble(t, files(t, split(t, withSigningKeys())))
	x := NewIndex("", table)
	for _, want := range withSigningKeys().SigningKeys {
		if got := x.SigningKey(want.Kind, want.Name); got == nil || *got != want {
			t.Errorf("%s %s: %v", want.Kind, want.Name, got)
		}
	}
	for _, none := range [][2]string{{KindPlatform, "moodle"}, {"activity", "partner-1"}, {"", "partner-1"}, {KindTool, ""}} {
		if got := x.SigningKey(none[0], none[1]); got != nil {
			t.Errorf("%v has the key of %s %s", none, got.Kind, got.Name)
		}
	}
}

func TestAChangedSigningKeyChangesOneKeyShardAndNoOther(t *testing.T) {
	before := split(t, withSigningKeys())
	table := withSigningKeys()
	slices.Reverse(table.SigningKeys)
	if split(t, table).Manifest.Hash != before.Manifest.Hash {
		t.Error("another order gives another table")
	}
	table.SigningKeys[3].PrivateKeyPEM += "another"
	after := split(t, table)
	changed := 0
	for i := range before.Keys {
		if before.Keys[i].SHA256 != after.Keys[i].SHA256 {
			changed++
		}
	}
	if changed != 1 || !slices.Equal(before.Manifest.Routing, after.Manifest.Routing) {
		t.Errorf("%d key shards changed, want 1, and no routing shard", changed)
	}
	for i, shard := range after.Routing {
		zr, err := gzip.NewReader(bytes.NewReader(shard.Payload))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(zr)
		if err != nil || strings.Contains(string(plain), canary) {
			t.Errorf("routing shard %d holds a private key (%v)", i, err)
		}
	}
}

// Whoever keeps former payloads learns from Purge that they hold something that must go.
func TestARevokedKeyPurgesFormerPayloads(t *testing.T) {
	table := withSigningKeys()
	if split(t, table).Purge {
		t.Error("to be purged although nothing was revoked")
	}
	table.Revoked = []RevokedKey{{Kind: KindTool, Name: "partner-3", KeyID: "b"}, {KeyID: "c"}, {Kind: KindTool, Name: "partner-3", KeyID: "a"}}
	set := split(t, table)
	if !set.Purge {
		t.Error("not to be purged although a key was revoked")
	}
	slices.Reverse(table.Revoked)
	if split(t, table).Manifest.Hash != set.Manifest.Hash {
		t.Error("the order of revocations counts")
	}
}

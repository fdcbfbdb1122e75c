// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// manyActivities is a table of n activities with a key each.
func manyActivities(n int) *Table {
	table := sampleTable()
	for i := range n {
		name := fmt.Sprintf("course-%05d", i)
		table.Activities = append(table.Activities, Activity{
			Name: name, Title: fmt.Sprintf("Working safely, part %d", i), Generation: 1,
			Share: &Share{TargetURL: fmt.Sprintf("https://academy.example/courses/%d", i), Presentation: PresentationNewWindow},
		})
		table.Credentials = append(table.Credentials, Credential{ConsumerKey: "key-" + name, Secrets: []string{"secret-" + name}, Activity: name})
	}
	return table
}

// Whatever was packed before, a table has one set only: its hash is what the handlers are asked for.
func TestAPackerRemembersNothingButItsWork(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var p Packer
	table := manyActivities(300)
	for round := range 30 {
		switch n := r.IntN(len(table.Activities)); r.IntN(4) {
		case 0:
			table.Activities = slices.Delete(slices.Clone(table.Activities), n, n+1)
		case 1:
			table.Activities = slices.Clone(table.Activities)
			table.Activities[n].Title = fmt.Sprint("round ", round)
		case 2:
			table.Credentials = slices.Clone(table.Credentials)
			table.Credentials[r.IntN(len(table.Credentials))].Secrets = []string{fmt.Sprint("round ", round)}
		case 3:
			table.Academy.Title = fmt.Sprint("round ", round)
		}
		got, full, err := p.Pack(table)
		if err != nil || len(full) > 0 {
			t.Fatal(full, err)
		}
		if diff := cmp.Diff(split(t, table), got); diff != "" {
			t.Fatalf("round %d: the set differs from that of a new packer: %.500s", round, diff)
		}
	}
}

// What did not change is not compressed again; the bytes are the same ones.
func TestAPackerCompressesWhatChanged(t *testing.T) {
	var p Packer
	table := manyActivities(300)
	before, _, err := p.Pack(table)
	if err != nil {
		t.Fatal(err)
	}
	table.Activities[0].Title = "Another title"
	after, _, err := p.Pack(table)
	if err != nil {
		t.Fatal(err)
	}
	again := 0
	for _, pair := range [][2][]Shard{{before.Routing, after.Routing}, {before.Keys, after.Keys}} {
		for i := range pair[0] {
			if &pair[0][i].Payload[0] != &pair[1][i].Payload[0] {
				again++
			}
		}
	}
	if again != 1 {
		t.Errorf("%d shards were compressed again, want 1", again)
	}
}

func TestTheShardsThatAreTooLargeAreNamed(t *testing.T) {
	table := manyActivities(300)
	noise := make([]byte, MaxShardBytes)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(noise)
	large := &table.Activities[7]
	large.Description = base64.StdEncoding.EncodeToString(noise)
	at := PlaceOfActivity(large.Name, false)
	var p Packer
	for range 2 { // it is not remembered as one that fits
		set, full, err := p.Pack(table)
		if set != nil || err != nil || !slices.Equal(full, []Place{at}) {
			t.Fatalf("set %v, full %v, error %v; want %v", set != nil, full, err, at)
		}
	}
	part := Only(table, at)
	for _, a := range part.Activities {
		if PlaceOfActivity(a.Name, false) != at {
			t.Errorf("%s is not on %s", a.Name, at)
		}
	}
	if len(part.Activities) == 0 || len(part.Activities) == len(table.Activities) || len(part.Credentials) != 0 {
		t.Errorf("the part has %d activities and %d credentials", len(part.Activities), len(part.Credentials))
	}
	if p.Fits(table, at) || p.Fits(part, at) {
		t.Error("it is said to fit")
	}
	large.Description = ""
	if !p.Fits(table, at) || !p.Fits(Only(table, at), at) {
		t.Error("it is said not to fit")
	}
}

// What stands in one shard of keys is what its activities are opened with, in either direction.
func TestTheParts(t *testing.T) {
	table := sampleTable()
	credentials, external := 0, 0
	for i := range KeyShards {
		at := Place{Keys: true, Number: i}
		part := Only(table, at)
		for _, c := range part.Credentials {
			if credentials++; PlaceOfActivity(c.Activity, true) != at {
				t.Errorf("the key of %s is on %s", c.Activity, at)
			}
		}
		for _, c := range part.ExternalCredentials {
			if external++; PlaceOfActivity(c.Activity, true) != at {
				t.Errorf("the other system's key of %s is on %s", c.Activity, at)
			}
		}
	}
	if credentials != len(table.Credentials) || external != len(table.ExternalCredentials) || external == 0 {
		t.Errorf("the parts have %d and %d credentials", credentials, external)
	}
}

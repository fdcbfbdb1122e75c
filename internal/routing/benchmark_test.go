// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"testing"
)

// BenchmarkDecode is what the handler does with new files: from the bytes of all shards to a table that answers, with
// 10,000 activities.
func BenchmarkDecode(b *testing.B) {
	contents := files(b, split(b, manyActivities(10_000)))
	b.ReportAllocs()
	for b.Loop() {
		m, err := DecodeManifest(contents[ManifestFile])
		if err != nil {
			b.Fatal(err)
		}
		table, err := Assemble(m, reader(contents))
		if err != nil {
			b.Fatal(err)
		}
		if NewIndex(m.Hash, table).Activity("course-09999") == nil {
			b.Fatal("an activity is missing")
		}
	}
}

// BenchmarkDecodeOneChange is the same for a handler that has the table before, after one activity was changed.
func BenchmarkDecodeOneChange(b *testing.B) {
	table := manyActivities(10_000)
	var sets [2]map[string][]byte
	for i := range sets {
		table.Activities[17].Title = fmt.Sprint("title ", i)
		sets[i] = files(b, split(b, table))
	}
	var assembler Assembler
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		contents := sets[i%2]
		m, err := DecodeManifest(contents[ManifestFile])
		if err != nil {
			b.Fatal(err)
		}
		table, err := assembler.Assemble(m, reader(contents))
		if err != nil {
			b.Fatal(err)
		}
		if got := NewIndex(m.Hash, table).Activity(table.Activities[0].Name); got == nil {
			b.Fatal("an activity is missing")
		}
	}
}

// BenchmarkLookup is what a launch asks of a table, of a small and of a large one.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint("activities=", n), func(b *testing.B) {
			index := NewIndex("hash", manyActivities(n))
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprintf("course-%05d", i)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				name := names[i%n]
				if index.Activity(name) == nil || index.Credential("key-"+name) == nil || index.Base("lti.acme.example") == "" {
					b.Fatal(name)
				}
			}
		})
	}
}

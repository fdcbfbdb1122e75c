// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestCollectAt(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 100, 1: 1000, 4 << 20: 1000, 6 << 20: 800, 12 << 20: 400, 20 << 20: 300, 32 << 20: 200, 64 << 20: 100, 1 << 40: 100,
	} {
		if got := collectAt(live); got != want {
			t.Errorf("collectAt(%d) = %d, want %d", live, got, want)
		}
	}
}

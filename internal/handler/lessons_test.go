// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"sync"
	"testing"
)

// lesson is what went wrong in other software, as a test of ours.
type lesson struct {
	// id is the CVE or advisory, or where the mistake was reported.
	id   string
	what string
	test func(t *testing.T, a *academy)
}

// TestLessons holds our launches against the vulnerabilities of other LTI software. Each test is red when the rule that
// it names is broken.
func TestLessons(t *testing.T) {
	var learned []string
	var mu sync.Mutex
	for _, group := range [][]lesson{tokenLessons(), peopleLessons(), pageLessons(), formLessons(), externalLessons()} {
		for _, l := range group {
			t.Run(l.id, func(t *testing.T) {
				l.test(t, newAcademy(t))
				mu.Lock()
				defer mu.Unlock()
				if !t.Failed() {
					learned = append(learned, l.id+": "+l.what)
				}
			})
		}
	}
	for _, l := range learned {
		t.Log(l)
	}
	t.Logf("%d lessons hold", len(learned))
}

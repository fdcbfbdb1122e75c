// SPDX-License-Identifier: Apache-2.0

//go:build faultclock

package main

import (
	"os"
	"strings"
	"time"
)

// now is ahead of the machine's clock by what is in the file that FAULT_CLOCK names, such as -90s: a clock that is set while
// the program runs. It is in no program that is shipped.
func now() time.Time {
	text, err := os.ReadFile(os.Getenv("FAULT_CLOCK"))
	if err != nil {
		panic(err)
	}
	ahead, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		panic(err)
	}
	// Without the reading of the monotonic clock, which no step changes.
	return time.Now().Round(0).Add(ahead)
}

// SPDX-License-Identifier: Apache-2.0

//go:build !faultclock

package main

import "time"

// now is the clock of the whole program. `make faults` builds one with a clock that can be set, see clock_fault.go.
var now = time.Now

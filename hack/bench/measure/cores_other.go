// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package measure

import (
	"errors"
	"syscall"
	"time"
)

var errLinux = errors.New("it needs Linux")

func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func processCPU(int) (time.Duration, error) { return 0, errLinux }

func pinThread(cores []int) error {
	if len(cores) == 0 {
		return nil
	}
	return errLinux
}

// Pin keeps this program, and what it starts without saying where, on these cores.
func Pin(...int) error { return errLinux }

// SPDX-License-Identifier: Apache-2.0

//go:build cpuprofile

package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

// init lets SIGUSR1 start a CPU profile and the next SIGUSR1 end it: `go run ./hack/bench/launches --profile` builds such a
// program. The profile is in the file that CPU_PROFILE names as soon as there is a file of that name. It is in no program
// that is shipped: what a profile tells about secrets, and the time it takes, is nobody's to ask for.
func init() {
	path := os.Getenv("CPU_PROFILE")
	if path == "" {
		panic("CPU_PROFILE is not set: this program is for profiles only")
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		for range asked {
			if err := profileUntil(asked, path); err != nil {
				fmt.Fprintln(os.Stderr, "CPU profile:", err)
				os.Exit(1)
			}
		}
	}()
}

// profileUntil writes one profile, from now until it is asked for again.
func profileUntil(asked <-chan os.Signal, path string) error {
	file, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return errors.Join(err, file.Close())
	}
	<-asked
	pprof.StopCPUProfile()
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// processAttributes gives a child a process group of its own, and ends it together with this program, even when that is
// killed and stops nothing.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// processCPU reads the clock that counts the processor time of a process, of all its threads and those that ended
// (clock_getcpuclockid(3)). /proc has it in hundredths of a second only, which is too coarse for what lasts a second.
func processCPU(pid int) (time.Duration, error) {
	const cpuClockSched = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuClockSched), &t); err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

func coreSet(cores []int) *unix.CPUSet {
	var set unix.CPUSet
	for _, c := range cores {
		set.Set(c)
	}
	return &set
}

// pinThread keeps the calling thread, and what is started by it, on these cores; none: as it is.
func pinThread(cores []int) error {
	if len(cores) == 0 {
		return nil
	}
	if err := unix.SchedSetaffinity(0, coreSet(cores)); err != nil {
		return fmt.Errorf("run on cores %v: %w", cores, err)
	}
	return nil
}

// Pin keeps this program, and what it starts without saying where, on these cores.
func Pin(cores ...int) error {
	set := coreSet(cores)
	for {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("run on cores %v: %w", cores, err)
		}
		changed := false
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return fmt.Errorf("run on cores %v: %w", cores, err)
			}
			var now unix.CPUSet
			if err := unix.SchedGetaffinity(id, &now); err != nil || now == *set {
				continue // as wanted, or ended
			}
			if err := unix.SchedSetaffinity(id, set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("run on cores %v: %w", cores, err)
			}
			changed = true
		}
		// A thread that was not there yet has the cores of the one that made it: once none had to be changed, none can
		// come that does.
		if !changed {
			return nil
		}
	}
}

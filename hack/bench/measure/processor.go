// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

func proc(pid int, file string) string { return filepath.Join("/proc", strconv.Itoa(pid), file) }

// OwnCPU is the processor time that this program has used.
func OwnCPU() (time.Duration, error) { return processCPU(os.Getpid()) }

// TreeCPU is the processor time that a process and everything below it have used, with what ended and was waited for: a
// PostgreSQL server is the first process and one more for each connection. What still runs is counted in nanoseconds, what
// ended in hundredths of a second.
func TreeCPU(pid int) (time.Duration, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	stats, children := map[int]stat{}, map[int][]int{}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		s, err := readStat(child)
		if err != nil {
			continue // it has ended
		}
		stats[child] = s
		children[s.parent] = append(children[s.parent], child)
	}
	if _, ok := stats[pid]; !ok {
		return 0, fmt.Errorf("read processor time: no process %d", pid)
	}
	var sum time.Duration
	for tree := []int{pid}; len(tree) > 0; tree = tree[1:] {
		used, err := processCPU(tree[0])
		if err != nil {
			used = stats[tree[0]].own // it ended since; its parent counts it from now on
		}
		sum += used + stats[tree[0]].waitedFor
		tree = append(tree, children[tree[0]]...)
	}
	return sum, nil
}

// stat is what /proc/PID/stat says (proc_pid_stat(5)).
type stat struct {
	parent         int
	own, waitedFor time.Duration
}

func readStat(pid int) (s stat, err error) {
	content, err := os.ReadFile(proc(pid, "stat"))
	if err != nil {
		return s, err
	}
	// The second field is the program's name in parentheses, which may hold anything.
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	const parent, utime, stime, cutime, cstime = 1, 11, 12, 13, 14 // counted from the third field
	if len(fields) <= cstime {
		return s, errors.New("too few fields")
	}
	numbers := map[int]int64{}
	for _, i := range []int{parent, utime, stime, cutime, cstime} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return s, err
		}
		numbers[i] = n
	}
	return stat{
		parent:    int(numbers[parent]),
		own:       time.Duration(numbers[utime]+numbers[stime]) * tick,
		waitedFor: time.Duration(numbers[cutime]+numbers[cstime]) * tick,
	}, nil
}

// CoreTime is how a core has spent its time since the machine started.
type CoreTime struct{ Idle, Total time.Duration }

// Cores are the times of all cores, in the order of their numbers. A core that waits for the disk is idle.
func Cores() ([]CoreTime, error) {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, fmt.Errorf("read the cores' times: %w", err)
	}
	var cores []CoreTime
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if len(fields) < 9 || !strings.HasPrefix(fields[0], "cpu") || fields[0] == "cpu" {
			continue
		}
		var c CoreTime
		// user, nice, system, idle, iowait, irq, softirq, steal; what follows is in user and nice already.
		for i, field := range fields[1:9] {
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("read the cores' times: %w", err)
			}
			c.Total += time.Duration(n) * tick
			if i == 3 || i == 4 {
				c.Idle += time.Duration(n) * tick
			}
		}
		cores = append(cores, c)
	}
	if len(cores) == 0 {
		return nil, errors.New("read the cores' times: /proc/stat names no core")
	}
	return cores, nil
}

// IdleSince is the part of the time since before, from 0 to 1, in which the core had nothing to do; 0 where no time has
// passed.
func (c CoreTime) IdleSince(before CoreTime) float64 {
	total := c.Total - before.Total
	if total <= 0 {
		return 0
	}
	return float64(c.Idle-before.Idle) / float64(total)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

const mib = 1 << 20

// report is the table and what explains it.
type report struct {
	// load is how busy the machine was before, with the programs of others.
	load  string
	rows  []row
	notes []string
}

// row is one line of the table. Without a target it is there to explain another one.
type row struct {
	what     string
	measured float64
	unit     string
	target   *float64
}

// add adds a line with a target that the measured value should not exceed.
func (r *report) add(what string, measured, target float64, unit string) {
	r.rows = append(r.rows, row{what, measured, unit, &target})
}

// tell adds a line without a target.
func (r *report) tell(what string, measured float64, unit string) {
	r.rows = append(r.rows, row{what: what, measured: measured, unit: unit})
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r row) cells() [5]string {
	number := func(v float64) string {
		decimals := 2
		switch {
		case v == float64(int64(v)):
			decimals = 0
		case v >= 100 || v <= -100:
			decimals = 0
		case v >= 10 || v <= -10:
			decimals = 1
		}
		return strings.TrimSpace(fmt.Sprintf("%.*f %s", decimals, v, r.unit))
	}
	if r.target == nil {
		return [5]string{r.what, number(r.measured), "", "", ""}
	}
	ratio, verdict := "", "ok"
	if *r.target != 0 {
		ratio = fmt.Sprintf("%.2f", r.measured / *r.target)
	}
	if r.measured > *r.target {
		verdict = "over"
	}
	return [5]string{r.what, number(r.measured), "≤ " + number(*r.target), ratio, verdict}
}

// write prints the report as Markdown.
func (r *report) write(out io.Writer, f *flags) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "%d activities, %d platforms; %s, %s; load average before the run %s\n\n",
		f.Activities, f.Platforms, time.Now().Format(time.DateOnly), machine(), r.load)
	cells := [][5]string{{"what", "measured", "target", "ratio", ""}}
	for _, row := range r.rows {
		cells = append(cells, row.cells())
	}
	var widths [5]int
	for _, line := range cells {
		for i, cell := range line {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for n, line := range cells {
		for i, cell := range line {
			fmt.Fprintf(w, "| %-*s ", widths[i], cell)
		}
		fmt.Fprintln(w, "|")
		if n > 0 {
			continue
		}
		for i, width := range widths {
			line := strings.Repeat("-", width+2)
			if i > 0 && i < 4 {
				line = strings.Repeat("-", width+1) + ":"
			}
			fmt.Fprint(w, "|", line)
		}
		fmt.Fprintln(w, "|")
	}
	if len(r.notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, note := range r.notes {
		fmt.Fprintln(w, "-", note)
	}
	return w.Flush()
}

// machine describes where it was measured.
func machine() string {
	processor := field("/proc/cpuinfo", "model name")
	memory := field("/proc/meminfo", "MemTotal")
	var kib int64
	_, _ = fmt.Sscan(memory, &kib)
	commit, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return fmt.Sprintf("%d cores (%s), %.0f GiB, %s, commit %s",
		runtime.NumCPU(), cmp.Or(processor, runtime.GOARCH), float64(kib)/mib, runtime.Version(), strings.TrimSpace(string(commit)))
}

// loadAverage is that of the last minute.
func loadAverage() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(content), " ")
	return one
}

// field is the value of the first line of that name in a file of /proc.
func field(path, name string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// percentile is the smallest value that at least that many percent do not exceed.
func percentile(values []float64, percent int) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}

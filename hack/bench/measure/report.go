// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Report is what was measured beside what is wanted, and what explains it. A target that is missed is a line of its table.
type Report struct {
	rows  []row
	notes []string
}

// row is one line of the table. Without a target it is there to explain another one.
type row struct {
	what     string
	measured float64
	unit     string
	target   *float64
	// atLeast: less than the target is a miss, instead of more.
	atLeast bool
}

// Add adds a line with a target that the measured value should not exceed.
func (r *Report) Add(what string, measured, target float64, unit string) {
	r.rows = append(r.rows, row{what: what, measured: measured, unit: unit, target: &target})
}

// AddAtLeast adds a line with a target that the measured value should reach.
func (r *Report) AddAtLeast(what string, measured, target float64, unit string) {
	r.rows = append(r.rows, row{what: what, measured: measured, unit: unit, target: &target, atLeast: true})
}

// Tell adds a line without a target.
func (r *Report) Tell(what string, measured float64, unit string) {
	r.rows = append(r.rows, row{what: what, measured: measured, unit: unit})
}

// Note adds a sentence below the table.
func (r *Report) Note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// Number is a value for people: three digits, or all before the point where there are more.
func Number(v float64) string {
	decimals := 2
	switch {
	case v == float64(int64(v)):
		decimals = 0
	case v >= 100 || v <= -100:
		decimals = 0
	case v >= 10 || v <= -10:
		decimals = 1
	}
	return fmt.Sprintf("%.*f", decimals, v)
}

func (r row) cells() []string {
	number := func(v float64) string { return strings.TrimSpace(Number(v) + " " + r.unit) }
	if r.target == nil {
		return []string{r.what, number(r.measured), "", "", ""}
	}
	ratio, verdict, sign := "", "ok", "≤ "
	if *r.target != 0 {
		ratio = fmt.Sprintf("%.2f", r.measured / *r.target)
	}
	switch {
	case r.atLeast:
		sign = "≥ "
		if r.measured < *r.target {
			verdict = "below"
		}
	case r.measured > *r.target:
		verdict = "over"
	}
	return []string{r.what, number(r.measured), sign + number(*r.target), ratio, verdict}
}

// Write prints the report as Markdown.
func (r *Report) Write(out io.Writer) error {
	cells := [][]string{{"what", "measured", "target", "ratio", ""}}
	for _, row := range r.rows {
		cells = append(cells, row.cells())
	}
	if err := WriteTable(out, "lrrrl", cells); err != nil {
		return err
	}
	if len(r.notes) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(out, "\n- %s\n", strings.Join(r.notes, "\n- "))
	return err
}

// WriteTable prints a table as Markdown; its first line is the head. Columns has l or r for each column: where its text
// stands.
func WriteTable(out io.Writer, columns string, cells [][]string) error {
	widths := make([]int, len(columns))
	for _, line := range cells {
		for i, cell := range line {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var w strings.Builder
	for n, line := range cells {
		for i, cell := range line {
			fmt.Fprintf(&w, "| %-*s ", widths[i], cell)
		}
		w.WriteString("|\n")
		if n > 0 {
			continue
		}
		for i, width := range widths {
			if columns[i] == 'r' {
				w.WriteString("|" + strings.Repeat("-", width+1) + ":")
			} else {
				w.WriteString("|" + strings.Repeat("-", width+2))
			}
		}
		w.WriteString("|\n")
	}
	_, err := io.WriteString(out, w.String())
	return err
}

// Machine describes when and where it was measured, in one line.
func Machine() string {
	processor := field("/proc/cpuinfo", "model name")
	memory := field("/proc/meminfo", "MemTotal")
	var kib int64
	_, _ = fmt.Sscan(memory, &kib)
	commit, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return fmt.Sprintf("%s, %d cores (%s), %.0f GiB, %s, commit %s", time.Now().Format(time.DateOnly),
		runtime.NumCPU(), cmp.Or(processor, runtime.GOARCH), float64(kib)/MiB, runtime.Version(), strings.TrimSpace(string(commit)))
}

// LoadAverage is that of the last minute: how busy the machine is with the programs of others, before a run.
func LoadAverage() string {
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

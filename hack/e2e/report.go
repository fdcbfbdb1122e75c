// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// report is the table at the end.
type report struct {
	mu    sync.Mutex
	rows  [][4]string
	notes []string
	bad   bool
	times []string
}

func number(v float64, unit string) string {
	text := strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
	return strings.TrimSpace(text + " " + unit)
}

// add adds a line whose measured value must not exceed a wanted one.
func (r *report) add(phase, what string, wanted, measured float64, unit string) {
	verdict := "ok"
	if measured > wanted {
		verdict = "NOT OK"
	}
	most := "≤ "
	if wanted == 0 {
		most = ""
	}
	r.line(phase, what, number(measured, unit), most+number(wanted, unit), verdict)
}

// aim adds a line with a target. A time that depends on how busy the machine is fails nothing.
func (r *report) aim(phase, what string, target, measured float64, unit string) {
	verdict := "ok"
	if measured > target {
		verdict = "over"
	}
	r.line(phase, what, number(measured, unit), "≤ "+number(target, unit), verdict)
}

// atLeast adds a line whose measured value must reach a wanted one.
func (r *report) atLeast(phase, what string, wanted, measured float64, unit string) {
	verdict := "ok"
	if measured < wanted {
		verdict = "NOT OK"
	}
	r.line(phase, what, number(measured, unit), "≥ "+number(wanted, unit), verdict)
}

// tell adds a line that nothing is wanted of.
func (r *report) tell(phase, what, measured string) { r.line(phase, what, measured, "", "") }

// check adds a line for something that holds or does not.
func (r *report) check(phase, what string, err error) {
	if err != nil {
		r.line(phase, what, "no", "yes", "NOT OK")
		r.note("%s: %s: %v", phase, what, err)
		return
	}
	r.line(phase, what, "yes", "yes", "ok")
}

func (r *report) fail(phase string, err error) {
	r.line(phase, "runs to its end", "no", "yes", "NOT OK")
	r.note("%s: %v", phase, err)
}

func (r *report) skip(phase, why string) { r.line(phase, "left out: "+why, "", "", "") }

func (r *report) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *report) took(phase string, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.times = append(r.times, fmt.Sprintf("%s %.0f s", phase, d.Seconds()))
}

func (r *report) line(phase, what, measured, wanted, verdict string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, [4]string{phase + ": " + what, measured, wanted, verdict})
	r.bad = r.bad || verdict == "NOT OK"
}

// write prints the table as Markdown, and tells whether all is as wanted.
func (r *report) write(out io.Writer) bool {
	rows := append([][4]string{{"what", "measured", "wanted", ""}}, r.rows...)
	var widths [4]int
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for n, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(out, "| %-*s ", widths[i], cell)
		}
		fmt.Fprintln(out, "|")
		if n == 0 {
			for _, width := range widths {
				fmt.Fprint(out, "|", strings.Repeat("-", width+2))
			}
			fmt.Fprintln(out, "|")
		}
	}
	fmt.Fprintln(out)
	for _, note := range r.notes {
		fmt.Fprintln(out, "-", note)
	}
	fmt.Fprintln(out, "-", strings.Join(r.times, ", "))
	return !r.bad
}

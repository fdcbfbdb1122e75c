// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
)

// stopTimeout is how long a program may take to end that was asked to.
const stopTimeout = 10 * time.Second

// run runs a program to its end; when ctx ends, the program and its children are asked to end too.
func run(ctx context.Context, c measure.Command, stdout, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	return cmd.Run()
}

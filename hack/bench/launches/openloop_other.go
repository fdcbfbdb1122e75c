// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"context"
	"errors"
)

func (*openLoop) run(context.Context) error { return errors.New("an open loop needs Linux") }

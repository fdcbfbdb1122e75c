// SPDX-License-Identifier: Apache-2.0

package controllers_test

import "errors"

var errNoSuchShard = errors.New("no such shard")

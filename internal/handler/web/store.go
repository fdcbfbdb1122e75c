// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"errors"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Unavailable refuses with StoreUnavailable what failed because the store could not be asked. It is the rest of what each role
// makes of the store's errors; any other error is returned as it is.
func Unavailable(err error) error {
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return lti.Refuse(lti.StoreUnavailable, "").Because(err)
	}
	return err
}

// SPDX-License-Identifier: Apache-2.0

package web

import (
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/pages"
)

// FieldsOf are the fields of a form that a browser posts on.
func FieldsOf(params lti.Params) []pages.Field {
	fields := make([]pages.Field, len(params))
	for i, p := range params {
		fields[i] = pages.Field(p)
	}
	return fields
}

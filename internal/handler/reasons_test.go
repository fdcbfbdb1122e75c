// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"testing"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/pages"
)

func TestEveryReasonHasAPageInEveryLanguage(t *testing.T) {
	for _, code := range lti.Codes() {
		for _, lang := range pages.Languages() {
			if !pages.Covers(lang, string(code)) {
				t.Errorf("no text for %s in %s", code, lang)
			}
		}
	}
}

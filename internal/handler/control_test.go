// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/lti-operator/lti-operator/internal/routing"
)

// While the control port's token changes, the operator has the old one or the new one.
func TestTheControlPortAcceptsFurtherTokens(t *testing.T) {
	a := newAcademy(t)
	status := func(token string) int {
		r := httptest.NewRequest(http.MethodGet, routing.PathControlTable, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		return a.serve(a.handler.Control(), r, "").Code
	}
	if got := status("the token to come"); got != http.StatusUnauthorized {
		t.Errorf("accepted before it is in the table: %d", got)
	}
	next, previous := sha256.Sum256([]byte("the token to come")), sha256.Sum256([]byte("the former token"))
	a.table.AcademyKeys.Control.FurtherTokensSHA256 = [][]byte{next[:], previous[:], nil}
	a.publish()
	for token, want := range map[string]int{
		a.keys.ControlToken: 200, "the token to come": 200, "the former token": 200, "another token": 401, "": 401,
	} {
		if got := status(token); got != want {
			t.Errorf("%q: %d instead of %d", token, got, want)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"net/http"
	"testing"

	"github.com/lti-operator/lti-operator/internal/store/postgres"
	"github.com/lti-operator/lti-operator/internal/store/postgres/pgtest"
)

// Nothing that one request leaves for the next is kept in a process.
func TestTwoHandlersOnOnePostgreSQL(t *testing.T) {
	a, g := newAcademy(t), newGradebook(t, quirks{})
	a.register(g, moodle())
	address := pgtest.Start(t).NewDatabase(t)
	var replicas []http.Handler
	for range 2 {
		s, err := postgres.Open(t.Context(), address, a.clock.now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		replicas = append(replicas, a.startAnother(s))
	}
	b := a.browser()
	at := func(n int) { a.public, b.public = replicas[n], replicas[n] }
	at(0)
	form := b.prepare13(moodle(), "height", with(claimEndpoint, g.endpoint()))
	at(1)
	launched := b.post13(moodle(), form)
	at(0)
	claims := a.enter(launched)
	at(1)
	if x := b.redeem(launched.code()); x.Code != http.StatusBadRequest {
		t.Errorf("a code redeemed twice: %d", x.Code)
	}
	if x := a.reports(claims.Subject, "height", map[string]any{"score": points(8, 10)}); x.Code != http.StatusOK {
		t.Fatalf("%d %s", x.Code, x.Body)
	}
	g.holds("4 0.8000")
	b.post13(moodle(), b.prepare13(moodle(), "height", nil)).location()
	at(0)
	if x := b.again(nil); x.Code != http.StatusConflict {
		t.Errorf("a launch that the other replica has accepted: %d", x.Code)
	}
}

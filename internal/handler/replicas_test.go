// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store/postgres"
	"github.com/lti-operator/lti-operator/internal/store/postgres/pgtest"
)

// replicas are two handlers on a PostgreSQL of their own.
func (a *academy) replicas() []http.Handler {
	a.t.Helper()
	address := pgtest.Start(a.t).NewDatabase(a.t)
	var handlers []http.Handler
	for range 2 {
		s, err := postgres.Open(a.t.Context(), address, a.clock.now)
		if err != nil {
			a.t.Fatal(err)
		}
		a.t.Cleanup(func() { _ = s.Close() })
		handlers = append(handlers, a.startAnother(s))
	}
	return handlers
}

// Nothing that one request leaves for the next is kept in a process.
func TestTwoHandlersOnOnePostgreSQL(t *testing.T) {
	a, g := newAcademy(t), newGradebook(t, quirks{})
	a.register(g, moodle())
	replicas := a.replicas()
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

// The same of the activities that learners of the academy open elsewhere.
func TestLearnersAndToolsMeetAnyHandler(t *testing.T) {
	a, r := newToldAcademy(t)
	replicas := a.replicas()
	b, c := a.learner(zoe()), a.partner()
	at := func(n int) { a.public, b.public, c.public = replicas[n], replicas[n], replicas[n] }
	signIn := func(activity string) answer {
		at(0)
		asked := b.do(http.MethodGet, "/activities/"+activity+"/start", nil).location().Query()
		a.idp.claims, a.idp.nonce = b.who, asked.Get("nonce")
		at(1)
		return b.do(http.MethodGet, routing.PathLearnerCallback+"?"+url.Values{"code": {"c"}, "state": {asked.Get("state")}, "iss": {a.idp.URL}}.Encode(), nil)
	}

	form := b.request(signIn("exam").location().Query())
	at(0)
	sub := b.authorize(form).idToken()["sub"].(string)
	at(1)
	if _, fields := b.again(nil).posted(); fields.Get("error") != "login_required" || fields.Get("id_token") != "" {
		t.Errorf("a launch that the other handler has answered: %v", fields)
	}
	token := a.lab().token(allScopes()...)
	for n, points := range []string{"50/100", "90/100"} {
		at(n)
		body := fmt.Sprintf(`{"userId":%q,"timestamp":"2026-01-01T00:00:0%dZ","activityProgress":"Completed","gradingProgress":"FullyGraded","scoreGiven":%s,"scoreMaximum":100}`,
			sub, n, strings.TrimSuffix(points, "/100"))
		if x := a.lab().callWith(token, http.MethodPost, "/tools/lab/contexts/exam/lineitems/activity/scores", ags.MediaScore, body); x.Code != http.StatusOK {
			t.Fatalf("%d %s", x.Code, x.Body)
		}
		at(1 - n)
		r.stands(&decision{activity: "exam", want: []string{"Failed ", "Passed "}[n] + points, changes: int64(n + 1), history: n + 1}, "account-of-zoe")
	}

	_, fields := signIn("partner").posted()
	at(0)
	q := c.request("partner", pox("replaceResult", fields.Get("lis_result_sourcedid"), "1"))
	c.send(q).succeeded("replaceResult")
	at(1)
	a.refusedOutcome(c.send(q), http.StatusOK, lti.Replayed)
	r.stands(&decision{activity: "partner", want: "Completed 1/1", changes: 1, history: 1}, "account-of-zoe")
	if got := len(r.attempts(a.resultOf("partner", "account-of-zoe").ID)); got != 1 {
		t.Errorf("both tell the academy: %d events", got)
	}
}

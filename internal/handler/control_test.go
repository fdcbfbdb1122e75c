// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
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

// Whoever asks for what is refused must not take the newest grades for all.
func TestTheControlPortSaysThatThereAreOlderGrades(t *testing.T) {
	a := newAcademy(t)
	list := func(query string) (found []routing.Grade, more string) {
		w := a.controlled(http.MethodGet, routing.PathControlGrades+query)
		if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil {
			t.Fatal(err)
		}
		return found, w.Header().Get(routing.HeaderControlMore)
	}
	for i := range routing.MaxControlListed + 1 {
		if i == routing.MaxControlListed {
			if found, more := list(""); len(found) != i || more != "" {
				t.Errorf("%d grades, more: %q", len(found), more)
			}
		}
		id := fmt.Sprint("learner-", i)
		_, err := a.store.AcceptLaunch(t.Context(), store.NewLaunch{
			Nonce:            store.Nonce{Scope: "platform/moodle", Value: id, ExpiresAt: time.Now().Add(time.Hour)},
			CandidateSubject: rand.Text(), MayCreateUser: true, Profile: store.Profile{Email: id + "@example.edu"},
			Ticket:     store.NewTicket{Kind: store.TicketOpen, Hash: store.HashToken(id), ExpiresAt: time.Now().Add(time.Minute)},
			LaunchInfo: store.LaunchInfo{ID: id, Activity: "height", Platform: "moodle", Version: "1.3.0", Realm: "moodle", LTIUserID: id, Role: "Learner"},
			Grade: &store.NewGrade{
				Key: store.GradeKey{Link: store.Link{Registration: "platform/moodle", ResourceLinkID: "link"}, LTIUserID: id},
				Join: func(_ json.RawMessage, g *store.Grade) error {
					g.Address, g.State = json.RawMessage(`{}`), json.RawMessage(`{}`)
					return nil
				},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found, more := list(""); len(found) != routing.MaxControlListed || more != "true" {
		t.Errorf("%d grades, more: %q", len(found), more)
	}
	if found, more := list("?state=Refused"); len(found) != 0 || more != "true" {
		t.Errorf("%d grades are refused, more: %q", len(found), more)
	}
}

// Results come page by page, so that whoever looks for one delivery sees all of them.
func TestTheControlPortListsAllResults(t *testing.T) {
	a := newExternalAcademy(t)
	for i := range routing.MaxControlListed + 1 {
		id := fmt.Sprint("learner-", i)
		key := store.ResultKey{Realm: store.ToolRealm("lab"), Activity: "simulation", LearnerID: id}
		if _, err := a.store.MeetLearner(t.Context(), store.Learner{Realm: key.Realm, ID: id, Subject: id, SeenAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.store.BeginResult(t.Context(), nil, store.Result{Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	list := func(query string) (found []routing.Result, more string) {
		w := a.controlled(http.MethodGet, routing.PathControlResults+query)
		if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil {
			t.Fatal(err)
		}
		return found, w.Header().Get(routing.HeaderControlMore)
	}
	first, more := list("?activity=simulation")
	if len(first) != routing.MaxControlListed || more != first[len(first)-1].ID {
		t.Fatalf("%d results, more: %q", len(first), more)
	}
	if rest, end := list("?activity=simulation&after=" + more); len(rest) != 1 || rest[0].ID <= more || end != "" {
		t.Errorf("%d results, more: %q", len(rest), end)
	}
	if found, more := list("?delivery=Stopped"); len(found) != 0 || more == "" {
		t.Errorf("%d results are stopped, more: %q", len(found), more)
	}
	if found, more := list("?subject=learner-7"); len(found) != 1 || found[0].Subject != "learner-7" || more != "" {
		t.Errorf("%+v, more: %q", found, more)
	}
}

// Whoever runs the academy sees what became of a result, and nothing else about the learner.
func TestTheControlPortShowsAResultAndSendsIt(t *testing.T) {
	a := newExternalAcademy(t)
	sub, _ := a.learner(zoe()).launch("exam")["sub"].(string)
	if x := a.lab().score("exam", sub, a.clock.now(), "Completed", "FullyGraded", "69.5", "100"); x.Code != http.StatusOK {
		t.Fatal(x.Code, x.Body)
	}
	id := a.results(url.Values{"activity": {"exam"}})[0].ID
	w := a.controlled(http.MethodGet, routing.PathControlResults+"/"+id)
	var found routing.ResultWithHistory
	if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	if found.Status != "Failed" || found.Score == nil || found.Score.Given != "69.5" || found.MinimumScore != 70 || found.LTIUserID != sub ||
		found.Delivery.State != "NotConfigured" || len(found.History) != 1 || found.History[0].Source != "AGS" || found.History[0].Status != "Failed" {
		t.Errorf("%+v", found)
	}
	for _, personal := range []string{"Zo\u00eb", `Zo\u00eb`, "Smit", "@"} {
		if strings.Contains(w.Body.String(), personal) {
			t.Errorf("%q is shown: %s", personal, w.Body)
		}
	}
	for target, want := range map[string]int{
		routing.PathControlResults + "/" + id + routing.PathControlSend:   http.StatusAccepted,
		routing.PathControlResults + "/nothing" + routing.PathControlSend: http.StatusNotFound,
	} {
		if got := a.controlled(http.MethodPost, target).Code; got != want {
			t.Errorf("POST %s: %d instead of %d", target, got, want)
		}
	}
	if got := a.controlled(http.MethodGet, routing.PathControlResults+"/nothing").Code; got != http.StatusNotFound {
		t.Errorf("%d for a result that there is not", got)
	}
}

// controlled asks the control port as the operator does.
func (a *academy) controlled(method, target string) answer {
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Authorization", "Bearer "+a.keys.ControlToken)
	return a.serve(a.handler.Control(), r, "")
}

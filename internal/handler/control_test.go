// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
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
		r := httptest.NewRequest(http.MethodGet, routing.PathControlGrades+query, nil)
		r.Header.Set("Authorization", "Bearer "+a.keys.ControlToken)
		w := a.serve(a.handler.Control(), r, "")
		if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil {
			t.Fatal(err)
		}
		return found, w.Header().Get(routing.HeaderControlMore)
	}
	for i := range routing.MaxControlGrades + 1 {
		if i == routing.MaxControlGrades {
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
	if found, more := list(""); len(found) != routing.MaxControlGrades || more != "true" {
		t.Errorf("%d grades, more: %q", len(found), more)
	}
	if found, more := list("?state=Refused"); len(found) != 0 || more != "true" {
		t.Errorf("%d grades are refused, more: %q", len(found), more)
	}
}

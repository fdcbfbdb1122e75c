// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// unknownDeployments is what the control port says.
func (a *academy) unknownDeployments() []string {
	a.t.Helper()
	var list []routing.UnknownDeployment
	a.control(a.handler, routing.PathControlDeployments, &list)
	var found []string
	for _, d := range list {
		if d.FirstSeenAt.IsZero() {
			a.t.Errorf("%s of %s was never seen", d.ID, d.Platform)
		}
		found = append(found, d.Platform+" "+d.ID)
	}
	slices.Sort(found)
	return found
}

func TestAnUnknownDeploymentIsReportedWhenItsLaunchIsGenuine(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	deployment := func(id any) func(jwt.MapClaims) { return with(claim+"deployment_id", id) }
	if got := a.unknownDeployments(); len(got) != 0 {
		t.Fatalf("%v before any launch", got)
	}

	// Nothing of this proves that the platform has the deployment.
	forged := func(sign func(jwt.MapClaims) string) answer {
		return b.post13(moodle(), b.prepareToken(moodle(), "height", sign))
	}
	a.refused(forged(func(c jwt.MapClaims) string {
		deployment("forged")(c)
		return a.signWith(jwt.SigningMethodRS256, strangerKey(), moodle(), c, nil)
	}), lti.SignatureInvalid)
	a.refused(forged(func(c jwt.MapClaims) string {
		deployment("forged")(c)
		return a.signWith(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, moodle(), c, nil)
	}), lti.AlgorithmNotAllowed)
	a.refused(forged(func(c jwt.MapClaims) string {
		genuine := a.sign(moodle(), c, nil)
		deployment("forged")(c)
		other := a.sign(moodle(), c, nil)
		return other[:strings.LastIndexByte(other, '.')] + genuine[strings.LastIndexByte(genuine, '.'):]
	}), lti.SignatureInvalid)
	login13(map[string][]string{"lti_deployment_id": {"forged"}})(b).location()
	// Genuine, but not from this browser, not for this login, or too old.
	a.refused(a.browser().post13(moodle(), b.prepare13(moodle(), "height", deployment("forged"))), lti.StateNotFromThisBrowser)
	a.refused(b.launch13(moodle(), "height", func(c jwt.MapClaims) { deployment("forged")(c); c["nonce"] = "other" }), lti.NonceMismatch)
	a.refused(b.launch13(moodle(), "height", func(c jwt.MapClaims) { deployment("forged")(c); c["exp"] = 1 }), lti.TokenExpired)
	// No deployment, or one that is listed.
	a.refused(b.launch13(moodle(), "height", deployment(nil)), lti.ClaimMissing)
	a.refused(b.launch13(moodle(), "height", deployment("\x01")), lti.ClaimInvalid)
	a.refused(b.launch13(moodle(), "height", deployment("9")), lti.DeploymentMismatch)
	if got := a.unknownDeployments(); len(got) != 0 {
		t.Fatalf("%v although nothing was proved", got)
	}

	for _, id := range []string{"8", "<b>course 8</b>", "8"} {
		x := b.launch13(moodle(), "height", deployment(id))
		a.refused(x, lti.DeploymentUnknown)
	}
	a.refused(b.launch13(campus(), "height", deployment("8")), lti.DeploymentUnknown)
	want := []string{"campus 8", "moodle 8", "moodle <b>course 8</b>"}
	if got := a.unknownDeployments(); !slices.Equal(got, want) {
		t.Errorf("%v instead of %v", got, want)
	}
	// The refused launch brought nobody in, and the deployment enters when it is listed.
	a.republish(func(t *routing.Table) {
		platformIn(t, "moodle").Deployments = append(platformIn(t, "moodle").Deployments, routing.Deployment{ID: "8", Active: true})
	})
	eight := moodle()
	eight.deployment = "8"
	a.enter(b.launch13(eight, "height", nil))
}

func TestUnknownDeploymentsAreFew(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	for i := range store.MaxUnknownDeployments + 5 {
		a.refused(b.launch13(moodle(), "height", with(claim+"deployment_id", "course-"+strings.Repeat("x", i))), lti.DeploymentUnknown)
	}
	if got := a.unknownDeployments(); len(got) != store.MaxUnknownDeployments || slices.Contains(got, "moodle course-") {
		t.Errorf("%d: %v", len(got), got)
	}
}

// countingStore counts what is noted.
type countingStore struct {
	store.Store
	noted int
}

func (s *countingStore) NoteUnknownDeployment(ctx context.Context, platform, id string) error {
	s.noted++
	return s.Store.NoteUnknownDeployment(ctx, platform, id)
}

func TestADeploymentThatLaunchesOftenIsWrittenSeldom(t *testing.T) {
	a := newAcademy(t)
	counted := &countingStore{Store: a.store}
	b := a.browser()
	b.public = a.startAnother(counted)
	for _, c := range []struct {
		id    string
		later time.Duration
		want  int
	}{{"8", 0, 1}, {"8", 30 * time.Second, 1}, {"10", 0, 2}, {"8", 31 * time.Second, 3}, {"8", 0, 3}} {
		a.clock.advance(c.later)
		a.refused(b.launch13(moodle(), "height", with(claim+"deployment_id", c.id)), lti.DeploymentUnknown)
		if counted.noted != c.want {
			t.Errorf("%d times written instead of %d", counted.noted, c.want)
		}
	}
}

func TestAStoreThatCannotNoteADeploymentChangesNothing(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	form := b.prepare13(moodle(), "height", with(claim+"deployment_id", "8"))
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	a.refused(b.post13(moodle(), form), lti.DeploymentUnknown)
	if !strings.Contains(a.log.String(), "could not note an unknown deployment") {
		t.Error("the log does not say that the deployment was not noted")
	}
	a.control(a.handler, routing.PathControlDeployments, nil)
}

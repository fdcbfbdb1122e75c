// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// The requests of a tool that reports a score.
const (
	stepToken = "token" // it asks for an access token (1EdTech Security Framework 1.0 section 4.1)
	stepScore = "score" // it posts a score with it (Assignment and Grade Services 2.0 section 3.4)
)

// assertionLifetime is for the time from signing to sending.
const assertionLifetime = 5 * time.Minute

// services measures what a tool asks of the academy as platform: an access token, and a score posted with it, each time for a
// learner who has opened the activity.
func services(ctx context.Context, b *bench) (outcome, error) {
	x, s, err := b.startLab(ctx)
	if err != nil {
		return nil, err
	}
	defer x.server.close()
	b.say("everybody opens the activity")
	opened := b.people(b.flags.Learners, false)
	s.steps = x.steps(b)
	if _, err := b.pass(ctx, s, opened, 0, ""); err != nil {
		return nil, err
	}
	reports := &scores{lab: x, opened: opened, began: time.Now()}
	s.steps = []step{
		{name: stepToken, before: func(ctx context.Context, launches []*launch) error { return reports.sign(ctx, b, launches) }, request: reports.token, check: hasToken},
		{name: stepScore, request: reports.score, check: isStored},
	}
	found, err := b.compare(ctx, "Services of the academy as platform: an access token, and a score with it", []*subject{s}, ratiosServices)
	if err != nil {
		return nil, err
	}
	found.Fresh = false // whatever is asked for: somebody without a launch has no score
	return found, nil
}

// scores are those that a tool reports.
type scores struct {
	*lab
	// opened are the launches of the learners that the scores are of, one after the other.
	opened []*launch
	began  time.Time
	// number is that of the latest score.
	number int
}

// sign signs the assertions by which the tool says who it is (RFC 7523).
func (r *scores) sign(ctx context.Context, b *bench, launches []*launch) error {
	id := keys.PublicJWK(&r.key.PublicKey).KeyID
	for i, l := range launches {
		o := r.opened[i%len(r.opened)]
		l.subject, l.lineItem = o.subject, o.lineItem
	}
	return b.onAllCores(ctx, launches, func(l *launch) (err error) {
		now := time.Now()
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
			"iss": toolName, "sub": toolName, "aud": routing.ToolTokenURL(academyURL, toolName), "jti": rand.Text(),
			"iat": now.Unix(), "exp": now.Add(assertionLifetime).Unix(),
		})
		token.Header["kid"] = id
		l.token, err = token.SignedString(r.key)
		return err
	})
}

func (r *scores) token(l *launch) []byte {
	return request(http.MethodPost, routing.ToolTokenURL("", toolName), "Accept: application/json\r\n", nil, url.Values{
		"grant_type": {"client_credentials"}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion": {l.token}, "scope": {ags.ScopeScore},
	}.Encode())
}

func hasToken(l *launch) error {
	var got struct {
		AccessToken string `json:"access_token"`
		Scope       string `json:"scope"`
	}
	if l.answer.status != http.StatusOK || json.Unmarshal(l.answer.body, &got) != nil || got.AccessToken == "" || got.Scope != ags.ScopeScore {
		return unexpected(l, "an access token for scores")
	}
	l.token = got.AccessToken
	return nil
}

// score is newer than every one before.
func (r *scores) score(l *launch) []byte {
	r.number++
	at := r.began.Add(time.Duration(r.number) * time.Millisecond).UTC().Format(time.RFC3339Nano)
	body := fmt.Sprintf(`{"userId":%q,"timestamp":%q,"scoreGiven":%d,"scoreMaximum":100,"activityProgress":"Completed","gradingProgress":"FullyGraded","comment":"Attempt %d"}`,
		l.subject, at, r.number%101, r.number)
	return request(http.MethodPost, strings.TrimPrefix(l.lineItem, academyURL)+"/scores",
		"Authorization: Bearer "+l.token+"\r\nContent-Type: "+ags.MediaScore+"\r\nAccept: application/json\r\n", nil, body)
}

func isStored(l *launch) error {
	if l.answer.status != http.StatusOK || !bytes.Contains(l.answer.body, []byte(`"resultUrl":"`+l.lineItem)) {
		return unexpected(l, "the address of a result")
	}
	return nil
}

func ratiosServices(c *Comparison) *measure.Report {
	report := &measure.Report{}
	us := c.subject(ours)
	for _, step := range []string{stepToken, stepScore} {
		report.Tell(step+": server CPU", us.cpu(step).median(), "µs")
		report.Tell("… with PostgreSQL's", us.cpu(step).median()+us.figure(of(closed, step), databaseCPU).median(), "µs")
	}
	report.Note("a token is asked for with an assertion that was signed before, and is used for one score; a real tool uses it for an hour. " +
		"complete is both. Memory idle is that after everybody has opened the activity")
	return report
}

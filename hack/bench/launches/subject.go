// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	platforms "github.com/lti-operator/lti-operator/hack/launches"
)

// What all subjects know of each other's systems.
const (
	publicHost    = "lti.acme.example"
	academyURL    = "https://" + publicHost
	targetURL     = "https://academy.acme.example/courses/42"
	activityName  = "height"
	applicationID = "academy-app"

	platformName      = "moodle"
	issuer            = "https://moodle.university.example"
	clientID          = "BjdLNQVVi8DL8iq"
	deploymentID      = "2"
	authenticationURL = issuer + authenticationPath
	accessTokenURL    = issuer + accessTokenPath

	authenticationPath = "/mod/lti/auth.php"
	accessTokenPath    = "/mod/lti/token.php"
)

// Names of subjects, in the order in which they are measured.
const (
	ours       = "ours"
	oursSQLite = "ours-sqlite"
	theFloor   = "floor"
	ltijs      = "ltijs"
	ltijsJWKS  = "ltijs-jwks"
)

var subjectNames = []string{ours, oursSQLite, theFloor, ltijs, ltijsJWKS}

// launch is one from its beginning to its end.
type launch struct {
	who *person
	// activity is the one that is opened; nil: the one that bench.table has.
	activity *activity
	// answer is that of the latest step; latency is in milliseconds, by step.
	answer  answer
	latency []float64

	// state, nonce and cookies are from the login, token is the signed answer to it.
	state, nonce, token string
	cookies             []string
	// form is the signed one of LTI 1.2.
	form string
	// login is what a tool is told to log in with; subject and lineItem are what it is told of the learner.
	login             url.Values
	subject, lineItem string
	// next is where, or with which code, the launch goes on.
	next string
}

// activity is one of the academy.
type activity struct{ name, targetURL string }

// opens is the activity that is opened.
func (l *launch) opens() activity {
	if l.activity == nil {
		return activity{activityName, targetURL}
	}
	return *l.activity
}

// step is one request of a launch. All launches of a pass do it before the first of them does the next one.
type step struct {
	name string
	// before does for the launches what has to be done before and is the work of others; nil for nothing.
	before func(context.Context, []*launch) error
	// request makes the request, check reads its answer. Neither is measured.
	request func(*launch) []byte
	check   func(*launch) error
}

// subject is a server under test.
type subject struct {
	name    string
	address string
	process *measure.Process
	// beside is another handler on the same database, which gets half of the requests of each step; nil: it is alone.
	beside *subject
	// launches is their number in a round.
	launches int
	// platform is the one that launches come from over LTI 1.3, targetLink and redirectURI are what it has of the subject.
	platform    *platforms.Platform
	targetLink  func(*launch) string
	redirectURI string
	steps       []step
	// gradebook is below what the platform has its line items; empty for where Moodle has them.
	gradebook string
	// known are the launches of the warm-up, after which everybody is known, and people the next ones; nil: those of the same
	// learners for all subjects.
	known  func() []*launch
	people func(n int) []*launch
	// unpaced leaves out the pass with a pace.
	unpaced bool
	// connections is how many there are; 0: as many as --concurrency says.
	connections int
	// config is the folder of the routing table, where that is not "config".
	config string
	// profile is the file in which the process leaves a CPU profile; empty for none.
	profile string

	rounds []*Round
	// idle is the resident memory before the first launch, in bytes.
	idle int64
	// pace is that of the paced pass.
	pace float64
}

// servers are all that serve the subject's launches.
func (s *subject) servers() []*subject {
	if s.beside == nil {
		return []*subject{s}
	}
	return []*subject{s, s.beside}
}

// serverOf says which server gets the request of a step of a launch. Of two, each gets half of them, and half of the
// launches have their next step at the other one.
func (s *subject) serverOf(step, launch int) int {
	return launch >> step % len(s.servers())
}

// reason is the code on a page of the launch handler.
var reason = regexp.MustCompile(`"(?:reason|error|message)":"[^"]*"|data-reason="[^"]*"`)

// unexpected says what an answer was.
func unexpected(l *launch, wanted string) error {
	return fmt.Errorf("answered with %d %s; wanted is %s", l.answer.status, reason.FindAll(l.answer.body, 2), wanted)
}

// redirected reads the address that the browser was sent to.
func redirected(l *launch, address string) (url.Values, error) {
	place, query, _ := strings.Cut(l.answer.location, "?")
	if l.answer.status != http.StatusSeeOther && l.answer.status != http.StatusFound || place != address {
		return nil, unexpected(l, "a redirect to "+address)
	}
	return url.ParseQuery(query)
}

// hasCode reads the redirect to the activity.
func (l *launch) hasCode() error {
	query, err := redirected(l, l.opens().targetURL)
	if err != nil {
		return err
	}
	if l.next = query.Get("lti_launch_code"); l.next == "" {
		return errors.New("a redirect without a code")
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	"github.com/lti-operator/lti-operator/internal/routing"
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
	authenticationURL = issuer + "/mod/lti/auth.php"
	accessTokenURL    = issuer + "/mod/lti/token.php"
)

// The steps of a launch.
const (
	stepLogin  = iota // the browser comes from the platform, and is sent back with a question
	stepLaunch        // it brings the answer, and is sent to the activity
	stepArrive        // whoever has the activity gets to know who came
	steps
)

var stepNames = [steps]string{"login", "launch", "arrive"}

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
	// answer is that of the latest step; latency is in milliseconds, by step.
	answer  answer
	latency [steps]float64

	// state, nonce and cookies are from the login, token is the signed answer to it.
	state, nonce, token string
	cookies             []string
	// next is where, or with which code, the launch goes on.
	next string
}

// subject is a server under test.
type subject struct {
	name    string
	address string
	process *measure.Process
	// launches is their number in a round.
	launches int
	// targetLink and redirectURI are what the platform has of it.
	targetLink, redirectURI string
	// steps are all, or all but the last: the floor ends where the browser is sent to the activity.
	steps int
	// prepare makes the request of a step, check reads its answer. Neither is measured.
	prepare func(step int, l *launch) []byte
	check   func(step int, l *launch) error
	// profile is the file in which the process leaves a CPU profile; empty for none.
	profile string

	rounds []*Round
	// idle is the resident memory before the first launch, in bytes.
	idle int64
	// pace is that of the paced pass.
	pace float64
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

// checkLogin reads the authentication request (OpenID Connect Core 1.0 section 3.1.2.1).
func (s *subject) checkLogin(l *launch) error {
	query, err := redirected(l, authenticationURL)
	if err != nil {
		return err
	}
	l.state, l.nonce, l.cookies = query.Get("state"), query.Get("nonce"), l.answer.cookies
	switch {
	case l.nonce == "" || len(l.cookies) == 0:
		return errors.New("a login without nonce or cookie")
	case query.Get("redirect_uri") != s.redirectURI || query.Get("login_hint") != l.who.id:
		return errors.New("a login for somebody or somewhere else")
	}
	return nil
}

// login is the third-party initiated login (1EdTech Security Framework 1.0, section 5.1.1).
func (s *subject) login(path string, l *launch) []byte {
	return request(http.MethodGet, path+"?"+url.Values{
		"iss": {issuer}, "login_hint": {l.who.id}, "target_link_uri": {s.targetLink}, "client_id": {clientID},
		"lti_message_hint": {`{"cmid":"2","launchid":"ltilaunch2_1874300474"}`}, "lti_deployment_id": {deploymentID},
	}.Encode(), browserFields, nil, "")
}

// answerLogin is the answer to the question of the login.
func (l *launch) answerLogin(path string) []byte {
	return request(http.MethodPost, path, browserFields+"Origin: "+issuer+"\r\n", l.cookies,
		url.Values{"state": {l.state}, "id_token": {l.token}}.Encode())
}

// newOurs is the launch handler.
func newOurs(name, secret string) *subject {
	s := &subject{
		name: name, steps: steps,
		targetLink: routing.ActivityResourceURL(academyURL, activityName), redirectURI: routing.PlatformLaunchURL(academyURL, platformName),
	}
	launchPath := routing.PlatformLaunchURL("", platformName)
	loginPath := routing.PlatformLoginURL("", platformName)
	backEnd := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(applicationID+":"+secret)) + "\r\nAccept: application/json\r\n"
	s.prepare = func(step int, l *launch) []byte {
		switch step {
		case stepLogin:
			return s.login(loginPath, l)
		case stepLaunch:
			return l.answerLogin(launchPath)
		default:
			return request(http.MethodPost, routing.PathLaunchCodes, backEnd, nil, url.Values{"code": {l.next}}.Encode())
		}
	}
	s.check = func(step int, l *launch) error {
		switch step {
		case stepLogin:
			return s.checkLogin(l)
		case stepLaunch:
			return l.hasCode()
		default:
			for _, want := range []string{`"lti_user_id":"` + l.who.id + `"`, `"name":"` + l.who.name() + `"`, `"activity":"` + activityName + `"`, `"sub":"`} {
				if l.answer.status != http.StatusOK || !bytes.Contains(l.answer.body, []byte(want)) {
					return unexpected(l, want)
				}
			}
			return nil
		}
	}
	return s
}

// hasCode reads the redirect to the activity.
func (l *launch) hasCode() error {
	query, err := redirected(l, targetURL)
	if err != nil {
		return err
	}
	if l.next = query.Get("lti_launch_code"); l.next == "" {
		return errors.New("a redirect without a code")
	}
	return nil
}

// newFloor is hack/bench/floor. Nothing arrives there: it knows nothing to tell.
func newFloor() *subject {
	s := &subject{name: theFloor, steps: stepArrive, targetLink: targetURL, redirectURI: academyURL + "/launch"}
	s.prepare = func(step int, l *launch) []byte {
		if step == stepLogin {
			return s.login("/login", l)
		}
		return l.answerLogin("/launch")
	}
	s.check = func(step int, l *launch) error {
		if step == stepLogin {
			return s.checkLogin(l)
		}
		return l.hasCode()
	}
	return s
}

// newLtijs is hack/peers/bench-ltijs.mjs.
func newLtijs(name string) *subject {
	// Without a query in the target link, which ltijs would keep in its database.
	s := &subject{name: name, steps: steps, targetLink: academyURL + "/", redirectURI: academyURL + "/"}
	s.prepare = func(step int, l *launch) []byte {
		switch step {
		case stepLogin:
			return s.login("/login", l)
		case stepLaunch:
			return l.answerLogin("/")
		default:
			return request(http.MethodGet, l.next, browserFields, l.cookies, "")
		}
	}
	s.check = func(step int, l *launch) error {
		switch step {
		case stepLogin:
			return s.checkLogin(l)
		case stepLaunch:
			query, err := redirected(l, "/")
			if err != nil {
				return err
			}
			if l.next, l.cookies = l.answer.location, l.answer.cookies; query.Get("ltik") == "" || len(l.cookies) != 1 {
				return errors.New("a redirect without ltik or cookie")
			}
			return nil
		default:
			for _, want := range []string{l.who.name(), resourceTitle} {
				if l.answer.status != http.StatusOK || !bytes.Contains(l.answer.body, []byte(want)) {
					return unexpected(l, "a page with "+want)
				}
			}
			return nil
		}
	}
	return s
}

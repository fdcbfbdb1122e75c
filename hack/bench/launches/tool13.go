// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	platforms "github.com/lti-operator/lti-operator/hack/launches"
	"github.com/lti-operator/lti-operator/hack/table"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// tool13 measures LTI 1.3 launches of the academy as tool: the launch handler on PostgreSQL and on SQLite, the floor of
// hack/bench/floor, and ltijs.
func tool13(ctx context.Context, b *bench) (outcome, error) {
	t, err := b.table()
	if err != nil {
		return nil, err
	}
	if err := table.Write(b.file("config"), t); err != nil {
		return nil, err
	}
	var subjects []*subject
	for _, name := range b.flags.Subjects {
		s, err := b.startTool13(ctx, name)
		if err != nil {
			return nil, err
		}
		subjects = append(subjects, s)
	}
	return b.compare(ctx, "LTI 1.3 launches of the academy as tool", subjects, ratiosTool13)
}

func (b *bench) startTool13(ctx context.Context, name string) (s *subject, err error) {
	if name == ours || name == oursSQLite {
		s = b.newOurs(name, b.platform)
		s.launches = b.flags.Launches
		return s, b.startHandler(ctx, s, name == oursSQLite)
	}
	free, err := measure.FreeAddresses(1)
	if err != nil {
		return nil, err
	}
	var c measure.Command
	if name == theFloor {
		s = b.newFloor()
		s.address, s.launches = free[0], b.flags.Launches
		c, err = b.floorCommand(ctx, s)
	} else {
		s = b.newLtijs(name)
		s.address, s.launches = free[0], b.flags.LtijsLaunches
		if s.launches == 0 {
			s.launches = max(100, b.flags.Launches/5)
		}
		c, err = b.ltijsCommand(s)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, b.startSubject(ctx, s, &c, func(conn *connection) (err error) {
		l, login := &launch{who: newPerson(0)}, &s.steps[0]
		if l.answer, err = conn.exchange(login.request(l)); err != nil {
			return err
		}
		return login.check(l)
	})
}

// The steps of a launch.
const (
	stepLogin  = "login"  // the browser comes from the platform, and is sent back with a question
	stepLaunch = "launch" // it brings the answer, and is sent to the activity
	stepArrive = "arrive" // whoever has the activity gets to know who came
)

// checkLogin reads the authentication request (OpenID Connect Core 1.0 section 3.1.2.1).
func (s *subject) checkLogin(l *launch) error {
	query, err := redirected(l, s.platform.Issuer+authenticationPath)
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
		"iss": {s.platform.Issuer}, "login_hint": {l.who.id}, "target_link_uri": {s.targetLink(l)}, "client_id": {s.platform.ClientID},
		"lti_message_hint": {`{"cmid":"2","launchid":"ltilaunch2_1874300474"}`}, "lti_deployment_id": {s.platform.DeploymentID},
	}.Encode(), browserFields, nil, "")
}

// answerLogin is the answer to the question of the login.
func (s *subject) answerLogin(path string, l *launch) []byte {
	return request(http.MethodPost, path, browserFields+"Origin: "+s.platform.Issuer+"\r\n", l.cookies,
		url.Values{"state": {l.state}, "id_token": {l.token}}.Encode())
}

// newOurs is the launch handler, as a platform sees it.
func (b *bench) newOurs(name string, from *platforms.Platform) *subject {
	s := &subject{
		name: name, platform: from,
		targetLink:  func(l *launch) string { return routing.ActivityResourceURL(academyURL, l.opens().name) },
		redirectURI: routing.PlatformLaunchURL(academyURL, from.Name),
	}
	launchPath := routing.PlatformLaunchURL("", from.Name)
	loginPath := routing.PlatformLoginURL("", from.Name)
	s.steps = []step{
		{name: stepLogin, request: func(l *launch) []byte { return s.login(loginPath, l) }, check: s.checkLogin},
		{name: stepLaunch, before: b.signsFor(s), request: func(l *launch) []byte { return s.answerLogin(launchPath, l) }, check: (*launch).hasCode},
		{
			name: stepArrive,
			request: func(l *launch) []byte {
				return request(http.MethodPost, routing.PathLaunchCodes, b.backEndFields(), nil, url.Values{"code": {l.next}}.Encode())
			},
			check: func(l *launch) error {
				for _, want := range []string{`"lti_user_id":"` + l.who.id + `"`, `"name":"` + l.who.name() + `"`, `"activity":"` + l.opens().name + `"`, `"sub":"`} {
					if l.answer.status != http.StatusOK || !bytes.Contains(l.answer.body, []byte(want)) {
						return unexpected(l, want)
					}
				}
				return nil
			},
		},
	}
	return s
}

// always is the target link where it is the same for all launches.
func always(link string) func(*launch) string { return func(*launch) string { return link } }

// newFloor is hack/bench/floor. Nothing arrives there: it knows nothing to tell.
func (b *bench) newFloor() *subject {
	s := &subject{name: theFloor, platform: b.platform, targetLink: always(targetURL), redirectURI: academyURL + "/launch"}
	s.steps = []step{
		{name: stepLogin, request: func(l *launch) []byte { return s.login("/login", l) }, check: s.checkLogin},
		{name: stepLaunch, before: b.signsFor(s), request: func(l *launch) []byte { return s.answerLogin("/launch", l) }, check: (*launch).hasCode},
	}
	return s
}

// newLtijs is hack/peers/bench-ltijs.mjs.
func (b *bench) newLtijs(name string) *subject {
	// Without a query in the target link, which ltijs would keep in its database.
	s := &subject{name: name, platform: b.platform, targetLink: always(academyURL + "/"), redirectURI: academyURL + "/"}
	s.steps = []step{
		{name: stepLogin, request: func(l *launch) []byte { return s.login("/login", l) }, check: s.checkLogin},
		{
			name: stepLaunch, before: b.signsFor(s), request: func(l *launch) []byte { return s.answerLogin("/", l) },
			check: func(l *launch) error {
				query, err := redirected(l, "/")
				if err != nil {
					return err
				}
				if l.next, l.cookies = l.answer.location, l.answer.cookies; query.Get("ltik") == "" || len(l.cookies) != 1 {
					return errors.New("a redirect without ltik or cookie")
				}
				return nil
			},
		},
		{
			name: stepArrive, request: func(l *launch) []byte { return request(http.MethodGet, l.next, browserFields, l.cookies, "") },
			check: func(l *launch) error {
				for _, want := range []string{l.who.name(), resourceTitle} {
					if l.answer.status != http.StatusOK || !bytes.Contains(l.answer.body, []byte(want)) {
						return unexpected(l, "a page with "+want)
					}
				}
				return nil
			},
		},
	}
	return s
}

// signsFor signs what the subject's step gets.
func (b *bench) signsFor(s *subject) func(context.Context, []*launch) error {
	return func(ctx context.Context, launches []*launch) error { return b.sign(ctx, s, launches) }
}

func (b *bench) floorCommand(ctx context.Context, s *subject) (c measure.Command, err error) {
	_, file, err := b.newDatabase(s)
	if err != nil {
		return c, err
	}
	public, err := b.publicPEM()
	if err != nil {
		return c, err
	}
	if err := os.WriteFile(b.file("platform.pem"), public, 0o600); err != nil {
		return c, err
	}
	c.Path = b.file("floor-program")
	c.Args = []string{
		"-address=" + s.address, "-database=" + file, "-key=" + b.file("platform.pem"), "-connections=" + strconv.Itoa(poolConnections),
		"-issuer=" + issuer, "-client-id=" + clientID, "-authentication-url=" + authenticationURL, "-redirect-uri=" + s.redirectURI, "-target-url=" + targetURL,
	}
	return c, b.build(ctx, c.Path, "./hack/bench/floor")
}

func (b *bench) publicPEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&b.platform.Key.PublicKey)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

func (b *bench) ltijsCommand(s *subject) (c measure.Command, err error) {
	database, _, err := b.newDatabase(s)
	if err != nil {
		return c, err
	}
	// The form of the key that needs the least work in each launch.
	auth := map[string]string{"method": "RSA_KEY"}
	if s.name == ltijsJWKS {
		if b.keySet, err = serveKeySet(b.platform.JWKS()); err != nil {
			return c, err
		}
		auth = map[string]string{"method": "JWK_SET", "key": b.keySet.url}
	} else {
		public, err := b.publicPEM()
		if err != nil {
			return c, err
		}
		auth["key"] = string(public)
	}
	config := map[string]any{
		"url": issuer, "name": "University", "clientId": clientID, "authConfig": auth,
		"authenticationEndpoint": authenticationURL, "accesstokenEndpoint": accessTokenURL,
	}
	return b.peerCommand(s, "bench-ltijs.mjs", config, "DATABASE_URL="+database, "POOL_CONNECTIONS="+strconv.Itoa(poolConnections))
}

// ratiosTool13 compares medians with each other, and with what is wanted.
func ratiosTool13(c *Comparison) *measure.Report {
	report := &measure.Report{}
	us := c.subject(ours)
	if us == nil {
		return report
	}
	report.Add("ours: memory idle", float64(us.IdleMemory)/measure.MiB, 80, "MiB")
	if floor := c.subject(theFloor); floor != nil {
		ratio := us.perRound(floor, stepLogin, stepLaunch)
		report.Add("ours / floor: server CPU, login and launch", ratio.median(), 1.5, "×")
		report.Tell("… login", us.perRound(floor, stepLogin).median(), "×")
		report.Tell("… launch", us.perRound(floor, stepLaunch).median(), "×")
		report.Note("ours / floor: server CPU by round %s", ratio)
	}
	for _, name := range []string{ltijs, ltijsJWKS} {
		they := c.subject(name)
		if they == nil {
			continue
		}
		step := of(closed, stepComplete)
		ratio := they.perRound(us, stepLogin, stepLaunch, stepArrive)
		report.AddAtLeast(name+" / ours: server CPU, complete launch", ratio.median(), 20, "×")
		report.Note("%s / ours: server CPU by round %s", name, ratio)
		report.Tell("… with PostgreSQL's",
			(they.figure(step, serverCPU).median()+they.figure(step, databaseCPU).median())/
				(us.figure(step, serverCPU).median()+us.figure(step, databaseCPU).median()), "×")
		report.AddAtLeast("ours / "+name+": complete launches per second", us.figure(step, perSecond).median()/they.figure(step, perSecond).median(), 10, "×")
		for _, pass := range []struct {
			what  string
			which func(*Round) *Pass
		}{{"closed loop", closed}, {"paced", paced}} {
			theirs, _ := they.latency(of(pass.which, stepComplete), p99)
			own, _ := us.latency(of(pass.which, stepComplete), p99)
			what := fmt.Sprintf("%s / ours: p99 of a complete launch, %s", name, pass.what)
			if len(theirs) == 0 || len(own) == 0 {
				report.Note("%s: nothing to compare, the driver's core was saturated in every round", what)
				continue
			}
			report.AddAtLeast(what, theirs.median()/own.median(), 10, "×")
		}
	}
	report.Note("complete: login, launch and arrive; of the floor, which has no arrive, login and launch")
	return report
}

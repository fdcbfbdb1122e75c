// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	platforms "github.com/lti-operator/lti-operator/hack/launches"
	"github.com/lti-operator/lti-operator/hack/table"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// The tool whose activity the academy's learners open.
const (
	toolName         = "lab"
	externalActivity = "simulation"
	toolURL          = "https://lab.example"
	toolLoginURL     = toolURL + "/login"
	toolRedirectURI  = toolURL + "/launch"
	toolResourceURL  = toolURL + "/simulations/7"
)

// The steps of a launch of the academy as platform.
const (
	stepStart     = "start"     // the learner follows the academy's link, and is sent to its identity provider
	stepReturn    = "return"    // they come back signed in, and are sent to the tool
	stepAuthorize = "authorize" // the tool sends them back with its question, and gets the ID token
)

// lab is a tool of LTI 1.3, and the identity provider of the academy's learners.
type lab struct {
	// key is the tool's, academyKey the one with which the academy signs for it.
	key, academyKey *rsa.PrivateKey
	provider        *platforms.Provider
	// server is the provider's.
	server *served
}

// newLab makes both, and a routing table with them.
func (b *bench) newLab() (*lab, *routing.Table, error) {
	x := &lab{}
	for _, key := range []**rsa.PrivateKey{&x.key, &x.academyKey} {
		var err error
		if *key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return nil, nil, err
		}
	}
	t, err := b.table()
	if err != nil {
		return nil, nil, err
	}
	signs, err := table.SigningKey(routing.KindTool, toolName, x.academyKey)
	if err != nil {
		return nil, nil, err
	}
	t.SigningKeys = append(t.SigningKeys, signs)
	t.Tools = []routing.Tool{{
		Name: toolName, Title: "Simulation Lab", Active: true, PublicKeys: []routing.JWK{keys.PublicJWK(&x.academyKey.PublicKey)},
		LTI13: &routing.ToolLTI13{
			LoginInitiationURL: toolLoginURL, RedirectURIs: []string{toolRedirectURI}, JWKS: (&platforms.Platform{Key: x.key}).JWKS(),
		},
	}}
	t.Activities = append(t.Activities, routing.Activity{
		Name: externalActivity, Title: "Crane simulation", Description: "Lift a load without swinging it", Type: "ELearning",
		External: &routing.External{Presentation: routing.PresentationNewWindow, LTI13: &routing.ExternalLTI13{
			Tool: toolName, ResourceURL: toolResourceURL, ResourceLinkID: externalActivity,
			Parameters: []routing.Parameter{{Name: "level", Value: "3"}, {Name: "learner", Value: "$User.id"}},
		}},
	})
	l, err := listen()
	if err != nil {
		return nil, nil, err
	}
	client, secret := "launch-handler", rand.Text()
	if x.provider, err = platforms.NewProvider("http://"+l.Addr().String(), client, secret); err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	x.server = serve(l, x.provider.Handler())
	t.Academy.AllowPrivateCIDRs = []string{"127.0.0.0/8"}
	t.Academy.Learners = &routing.Learners{IssuerURL: x.provider.Issuer, ClientID: client}
	t.AcademyKeys.LearnersSecret = secret
	return x, t, nil
}

// startLab makes a tool, and starts a launch handler that knows it, on PostgreSQL. A signature takes its time, and half as many
// launches as elsewhere take as long.
func (b *bench) startLab(ctx context.Context) (*lab, *subject, error) {
	x, t, err := b.newLab()
	if err != nil {
		return nil, nil, err
	}
	s := &subject{name: ours, launches: max(100, b.flags.Launches/2)}
	if err = table.Write(b.file("config"), t); err == nil {
		err = b.startHandler(ctx, s, false)
	}
	if err != nil {
		x.server.close()
		return nil, nil, err
	}
	return x, s, nil
}

// steps are those of a launch. What the learner does at the identity provider, and the tool with the ID token, is not
// measured.
func (x *lab) steps(b *bench) []step {
	return []step{
		{
			name: stepStart,
			request: func(*launch) []byte {
				return request(http.MethodGet, routing.ActivityStartURL("", externalActivity), browserFields, nil, "")
			},
			check: func(l *launch) error {
				_, err := redirected(l, x.provider.Issuer+"/authorize")
				l.next, l.cookies = l.answer.location, l.answer.cookies
				return err
			},
		},
		{
			name:   stepReturn,
			before: func(ctx context.Context, launches []*launch) error { return b.onAllCores(ctx, launches, x.signIn) },
			request: func(l *launch) []byte {
				return request(http.MethodGet, routing.PathLearnerCallback+"?"+l.next, browserFields, l.cookies, "")
			},
			check: func(l *launch) (err error) {
				l.login, err = redirected(l, toolLoginURL)
				l.cookies = l.answer.cookies
				return err
			},
		},
		{
			name: stepAuthorize,
			// As most tools do it: by a redirect.
			request: func(l *launch) []byte {
				l.state, l.nonce = rand.Text(), rand.Text()
				return request(http.MethodGet, routing.ToolAuthenticationURL("", toolName)+"?"+url.Values{
					"scope": {"openid"}, "response_type": {"id_token"}, "response_mode": {"form_post"}, "prompt": {"none"},
					"client_id": {l.login.Get("client_id")}, "redirect_uri": {toolRedirectURI}, "login_hint": {l.login.Get("login_hint")},
					"lti_message_hint": {l.login.Get("lti_message_hint")}, "state": {l.state}, "nonce": {l.nonce},
				}.Encode(), browserFields, l.cookies, "")
			},
			check: x.verify,
		},
	}
}

// signIn is what the learner does at the identity provider.
func (x *lab) signIn(l *launch) error {
	asked, err := url.Parse(l.next)
	if err != nil {
		return err
	}
	p := l.who
	back, err := x.provider.SignIn(asked, platforms.Person{
		ID: "account-" + p.id, GivenName: p.given, FamilyName: p.family, Email: "user" + p.id + "@acme.example",
	})
	l.next = back.Encode()
	return err
}

// verify is what the tool does with the ID token.
func (x *lab) verify(l *launch) error {
	action, form := platforms.PostedForm(l.answer.body)
	if l.answer.status != http.StatusOK || action != toolRedirectURI {
		return unexpected(l, "a form for "+toolRedirectURI)
	}
	claims := &struct {
		jwt.RegisteredClaims
		Nonce    string `json:"nonce"`
		Name     string `json:"name"`
		Target   string `json:"https://purl.imsglobal.org/spec/lti/claim/target_link_uri"`
		Endpoint struct {
			LineItem string `json:"lineitem"`
		} `json:"https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"`
	}{}
	_, err := jwt.ParseWithClaims(form.Get("id_token"), claims, func(*jwt.Token) (any, error) { return &x.academyKey.PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(academyURL), jwt.WithAudience(l.login.Get("client_id")), jwt.WithExpirationRequired())
	switch {
	case err != nil:
		return err
	case claims.Nonce != l.nonce || form.Get("state") != l.state || claims.Target != toolResourceURL:
		return errors.New("an ID token of another launch")
	case claims.Name != l.who.name() || claims.Subject == "" || claims.Endpoint.LineItem == "":
		return errors.New("an ID token that does not say enough")
	}
	l.subject, l.lineItem = claims.Subject, claims.Endpoint.LineItem
	return nil
}

// AsPlatform is what was measured of launches as platform.
type AsPlatform struct {
	*Comparison
	// Signature is the processor time of one RSA-2048 signature, in microseconds, on the server's core in each round.
	Signature values `json:"signature"`
}

// platform13 measures LTI 1.3 launches of the academy as platform, beside the signature that each of them needs.
func platform13(ctx context.Context, b *bench) (outcome, error) {
	found := &AsPlatform{}
	program := b.file("signature-program")
	if err := b.build(ctx, program, "./hack/bench/signature"); err != nil {
		return nil, err
	}
	x, s, err := b.startLab(ctx)
	if err != nil {
		return nil, err
	}
	defer x.server.close()
	s.steps = x.steps(b)
	b.eachRound = func(ctx context.Context) error {
		out, err := measure.Output(ctx, measure.Command{Path: program, Cores: []int{b.flags.ServerCore}})
		if err != nil {
			return err
		}
		nanoseconds, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
		found.Signature = append(found.Signature, nanoseconds/1000)
		b.say("a bare signature: %.0f µs", nanoseconds/1000)
		return err
	}
	found.Comparison, err = b.compare(ctx, "LTI 1.3 launches of the academy as platform", []*subject{s}, found.ratios)
	if err != nil {
		return nil, err
	}
	return found, nil
}

func (f *AsPlatform) ratios(c *Comparison) *measure.Report {
	report := &measure.Report{}
	us, signature := c.subject(ours), f.Signature.median()
	report.Add("authorize / bare signature: server CPU", us.cpu(stepAuthorize).median()/signature, 1.35, "×")
	report.Tell("complete launch / bare signature: server CPU", us.cpu(stepStart, stepReturn, stepAuthorize).median()/signature, "×")
	report.Note("a bare RSA-2048 signature on the server's core, in the same rounds: %s µs", fmt.Sprint(f.Signature))
	report.Note("return: the launch handler redeems the identity provider's code, verifies its ID token, and knows or makes the learner; " +
		"the provider is this program, and has signed before")
	return report
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/hack/table"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// external is an activity of others, which the academy's learners open: over LTI 1.3, or by a form over LTI 1.2.
type external struct {
	name       string
	exam, form bool
}

// externals are those that every learner opens.
func externals() []*external {
	return []*external{
		{name: "simulation"},
		{name: "simulation-exam", exam: true},
		{name: "partner", form: true},
		{name: "partner-exam", exam: true, form: true},
	}
}

const (
	toolName   = "lab"
	partnerKey = "partner-key"
	// minimumScore passes an exam, in percent.
	minimumScore = 50
)

// writeExternal adds the activities, the tool, the identity provider of the learners and the webhook.
func (w *world) writeExternal(t *routing.Table, set string, public routing.JWK) error {
	t.Academy.Learners = &routing.Learners{IssuerURL: w.people.server.URL, ClientID: clientID}
	t.AcademyKeys.LearnersSecret = w.secret
	t.Academy.ResultsWebhook, t.AcademyKeys.WebhookSecrets = w.receiver.server.URL+"/results", []string{w.receiver.secret}
	t.Tools = []routing.Tool{{
		Name: toolName, Title: "Lab", Active: true, PublicKeys: []routing.JWK{public},
		LTI13: &routing.ToolLTI13{LoginInitiationURL: "https://lab.example/login", JWKS: set, RedirectURIs: []string{"https://lab.example/launch"}},
	}}
	signs, err := table.SigningKey(routing.KindTool, toolName, w.key)
	if err != nil {
		return err
	}
	t.SigningKeys = append(t.SigningKeys, signs)
	for _, e := range externals() {
		opens := &routing.External{Presentation: routing.PresentationNewWindow}
		a := routing.Activity{Name: e.name, Title: e.name, Type: "ELearning", External: opens}
		if e.exam {
			a.Type, a.MinimumScore = routing.ActivityTypeExam, minimumScore
		}
		if e.form {
			opens.LTI12 = &routing.ExternalLTI12{LaunchURL: "https://partner.example/" + e.name, ResourceLinkID: e.name}
			t.ExternalCredentials = append(t.ExternalCredentials, routing.ExternalCredential{
				Activity: e.name, ConsumerKey: partnerKey, Secrets: []string{w.shared},
			})
		} else {
			opens.LTI13 = &routing.ExternalLTI13{
				Tool: toolName, ResourceURL: "https://lab.example/" + e.name, ResourceLinkID: e.name,
			}
		}
		t.Activities = append(t.Activities, a)
	}
	return nil
}

// identityProvider is that of the academy's learners. It never fails, and knows who it is that comes next.
type identityProvider struct {
	server *httptest.Server

	mu sync.Mutex
	// codes are the claims of whoever signed in.
	codes map[string]jwt.MapClaims
}

func newIdentityProvider(w *world) *identityProvider {
	p := &identityProvider{codes: map[string]jwt.MapClaims{}}
	mux := http.NewServeMux()
	answer := func(rw http.ResponseWriter, what any) {
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(what)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(rw http.ResponseWriter, _ *http.Request) {
		answer(rw, map[string]any{
			"issuer": p.server.URL, "authorization_endpoint": p.server.URL + "/authorize", "token_endpoint": p.server.URL + "/token",
			"jwks_uri":                 p.server.URL + "/jwks",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /jwks", func(rw http.ResponseWriter, _ *http.Request) {
		answer(rw, map[string]any{"keys": []routing.JWK{keys.PublicJWK(&w.key.PublicKey)}})
	})
	mux.HandleFunc("POST /token", func(rw http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		claims := p.codes[r.FormValue("code")]
		p.mu.Unlock()
		signed, err := w.sign(claims)
		if err != nil || claims == nil {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		answer(rw, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": signed})
	})
	p.server = httptest.NewServer(mux)
	return p
}

// signIn is what a learner does there; it returns the code.
func (p *identityProvider) signIn(subject, nonce string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	code, now := rand.Text(), time.Now()
	p.codes[code] = jwt.MapClaims{
		"iss": p.server.URL, "aud": clientID, "sub": subject, "nonce": nonce, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"name": "Given Family", "given_name": "Given", "family_name": "Family", "email": subject + "@acme.example",
	}
	return code
}

// openAll lets n learners open every activity of others.
func (w *world) openAll(ctx context.Context, n int) ([]*result, error) {
	var opened []*result
	for i := range n {
		for _, e := range externals() {
			r, err := w.open(ctx, e, fmt.Sprintf("account-%04d", i))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", e.name, err)
			}
			opened = append(opened, r)
			w.receiver.expects(r)
		}
	}
	return opened, nil
}

// open goes through a whole launch. Each request of it goes to another handler than the one before.
func (w *world) open(ctx context.Context, e *external, subject string) (*result, error) {
	b, err := w.newBrowser()
	if err != nil {
		return nil, err
	}
	asked, err := b.redirected(ctx, w.handlers[0], http.MethodGet, "/activities/"+e.name+"/start", nil)
	if err != nil {
		return nil, err
	}
	back := routing.PathLearnerCallback + "?" +
		url.Values{"code": {w.people.signIn(subject, asked.Get("nonce"))}, "state": {asked.Get("state")}}.Encode()
	if e.form {
		fields, err := b.posted(ctx, w.handlers[1], http.MethodGet, back, nil)
		if err != nil {
			return nil, err
		}
		return &result{external: e, subject: subject, receives: fields.Get("lis_result_sourcedid")}, nil
	}
	login, err := b.redirected(ctx, w.handlers[1], http.MethodGet, back, nil)
	if err != nil {
		return nil, err
	}
	fields, err := b.posted(ctx, w.handlers[0], http.MethodPost, "/tools/"+toolName+"/authorize", url.Values{
		"scope": {"openid"}, "response_type": {"id_token"}, "response_mode": {"form_post"}, "prompt": {"none"}, "client_id": {toolName},
		"redirect_uri": {"https://lab.example/launch"}, "login_hint": {login.Get("login_hint")},
		"lti_message_hint": {login.Get("lti_message_hint")}, "state": {"s"}, "nonce": {rand.Text()},
	})
	if err != nil {
		return nil, err
	}
	token, err := jwt.Parse(fields.Get("id_token"), func(*jwt.Token) (any, error) { return &w.key.PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(academyURL), jwt.WithAudience(toolName))
	if err != nil {
		return nil, err
	}
	user, err := token.Claims.GetSubject()
	return &result{external: e, subject: subject, receives: user}, err
}

// redirected returns the query of where a request leads to.
func (b *browser) redirected(ctx context.Context, p *process, method, path string, values url.Values) (url.Values, error) {
	a, err := b.send(ctx, p, method, path, values)
	if err != nil || a.status != http.StatusSeeOther {
		return nil, fmt.Errorf("%s: status %d, %w", path, a.status, err)
	}
	location, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		return nil, err
	}
	return location.Query(), nil
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

var errNoForm = errors.New("the page posts nothing")

// posted returns the form in the page that answers a request.
func (b *browser) posted(ctx context.Context, p *process, method, path string, values url.Values) (url.Values, error) {
	a, err := b.send(ctx, p, method, path, values)
	if err != nil || a.status != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d, %w", path, a.status, err)
	}
	fields := url.Values{}
	for _, f := range hiddenField.FindAllStringSubmatch(string(a.body), -1) {
		fields.Add(html.UnescapeString(f[1]), html.UnescapeString(f[2]))
	}
	if strings.TrimSpace(fields.Get("id_token")+fields.Get("lis_result_sourcedid")) == "" {
		return nil, errNoForm
	}
	return fields, nil
}

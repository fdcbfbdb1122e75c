// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/handler"
	"github.com/lti-operator/lti-operator/internal/handler/tool"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/lti/outcomes"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// quirks are where a gradebook differs from the one that the specifications describe.
type quirks struct {
	// audience that client assertions must have; the token endpoint if empty.
	audience string
	// tokenType is the content type of a token; application/json if empty.
	tokenType string
	// query is part of the address of every line item.
	query string
	// noLineItem leaves the line item out of launches, so that it has to be looked for, and made.
	noLineItem bool
	// pages is how many line items of others stand before ours, one on a page.
	pages int
	// scoreStatus is the status of a score that is taken; 200 if 0.
	scoreStatus int
	// milliseconds compares timestamps exactly; others compare whole seconds.
	milliseconds bool
	// equalTaken takes a score again that has the timestamp of the one there is.
	equalTaken bool
	// gone refuses scores as if somebody had deleted the column.
	gone bool
	// throttle is how many requests are refused first, as Canvas does it.
	throttle int
	// expiresText writes expires_in as text.
	expiresText bool

	// issuer and deployment are as the system chooses them.
	issuer, deployment string
	// sharedIssuer says that all customers of the vendor have the issuer; the client ID tells them apart.
	sharedIssuer bool
	// framed launches into a frame of the course's page.
	framed bool
}

// gradebook is another system's, with the services of Assignment and Grade Services and of Basic Outcomes.
type gradebook struct {
	t *testing.T
	*httptest.Server
	quirks
	party party
	// us is our public key there, credentials are those of Basic Outcomes.
	us          routing.JWK
	credentials oauth1.Credentials

	mu sync.Mutex
	// items are line items by their number.
	items  []ags.LineItem
	scores map[string]mark
	// messages counts scores that arrived, taken or not.
	messages int
	jti      map[string]bool
}

// mark is a grade of one learner in one column.
type mark struct {
	text string
	at   time.Time
}

func newGradebook(t *testing.T, q quirks) *gradebook {
	t.Helper()
	g := &gradebook{t: t, quirks: q, scores: map[string]mark{}, jti: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", g.token)
	mux.HandleFunc("GET /course/items", g.authorized(ags.ScopeLineItem, g.list))
	mux.HandleFunc("POST /course/items", g.authorized(ags.ScopeLineItem, g.create))
	mux.HandleFunc("POST /items/{item}/scores", g.authorized(ags.ScopeScore, g.score))
	mux.HandleFunc("POST /outcomes", g.outcome)
	g.Server = httptest.NewServer(mux)
	t.Cleanup(g.Close)
	for i := range q.pages {
		g.items = append(g.items, ags.LineItem{Label: fmt.Sprint("other ", i), ResourceLinkID: fmt.Sprint("other-", i)})
	}
	return g
}

func (g *gradebook) itemURL(n int) string { return fmt.Sprintf("%s/items/%d%s", g.URL, n, g.query) }

// endpoint is the claim of a launch.
func (g *gradebook) endpoint() map[string]any {
	e := map[string]any{
		"scope":     []string{ags.ScopeLineItem, ags.ScopeResultReadOnly, ags.ScopeScore},
		"lineitems": g.URL + "/course/items" + g.query,
	}
	if !g.noLineItem {
		g.mu.Lock()
		defer g.mu.Unlock()
		n := slices.IndexFunc(g.items, func(l ags.LineItem) bool { return l.ResourceLinkID == "rl-1" })
		if n < 0 {
			n = len(g.items)
			g.items = append(g.items, ags.LineItem{Label: "Quiz", ResourceLinkID: "rl-1"})
		}
		e["lineitem"] = g.itemURL(n)
	}
	return e
}

func (g *gradebook) token(rw http.ResponseWriter, r *http.Request) {
	audience := g.audience
	if audience == "" {
		audience = g.URL + "/token"
	}
	var claims jwt.RegisteredClaims
	key, err := keyOf(g.us)
	if err != nil {
		g.t.Error(err)
	}
	_, err = jwt.ParseWithClaims(r.PostFormValue("client_assertion"), &claims, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithAudience(audience), jwt.WithIssuer(g.party.clientID), jwt.WithSubject(g.party.clientID), jwt.WithValidMethods([]string{"RS256"}))
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil || g.jti[claims.ID] || r.PostFormValue("grant_type") != "client_credentials" {
		g.t.Errorf("token request: %v", err)
		http.Error(rw, `{"error":"invalid_client"}`, http.StatusBadRequest)
		return
	}
	g.jti[claims.ID] = true
	kind := g.tokenType
	if kind == "" {
		kind = "application/json"
	}
	rw.Header().Set("Content-Type", kind)
	var expires any = 3600
	if g.expiresText {
		expires = "3600"
	}
	_ = json.NewEncoder(rw).Encode(map[string]any{
		"access_token": tokenOf(r.PostFormValue("scope")), "token_type": "bearer", "expires_in": expires, "scope": r.PostFormValue("scope"),
	})
}

// tokenOf is an access token for scopes.
func tokenOf(scopes string) string {
	return "canary-access-token." + base64.RawURLEncoding.EncodeToString([]byte(scopes))
}

func (g *gradebook) authorized(scope string, next http.HandlerFunc) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.throttle > 0 {
			g.throttle--
			http.Error(rw, "403 Forbidden (Rate Limit Exceeded)", http.StatusForbidden)
			return
		}
		text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "+tokenOf(""))
		granted, err := base64.RawURLEncoding.DecodeString(text)
		if !ok || err != nil || !slices.Contains(strings.Fields(string(granted)), scope) {
			g.t.Errorf("%s without a token for %s", r.URL, scope)
			http.Error(rw, "", http.StatusUnauthorized)
			return
		}
		next(rw, r)
	}
}

func (g *gradebook) list(rw http.ResponseWriter, r *http.Request) {
	n := 0
	_, _ = fmt.Sscan(r.URL.Query().Get("page"), &n)
	out := []ags.LineItem{}
	if n < len(g.items) {
		l := g.items[n]
		l.ID = g.itemURL(n)
		out = append(out, l)
	}
	if n+1 < len(g.items) {
		next := *r.URL
		q := next.Query()
		q.Set("page", fmt.Sprint(n+1))
		next.RawQuery = q.Encode()
		rw.Header().Set("Link", "<"+g.URL+next.String()+`>; rel="next"`)
	}
	rw.Header().Set("Content-Type", ags.MediaLineItemContainer)
	_ = json.NewEncoder(rw).Encode(out)
}

func (g *gradebook) create(rw http.ResponseWriter, r *http.Request) {
	var l ags.LineItem
	if err := json.NewDecoder(r.Body).Decode(&l); err != nil || r.Header.Get("Content-Type") != ags.MediaLineItem {
		g.t.Errorf("line item: %v, %s", err, r.Header.Get("Content-Type"))
	}
	g.items = append(g.items, l)
	l.ID = g.itemURL(len(g.items) - 1)
	rw.Header().Set("Content-Type", ags.MediaLineItem)
	rw.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(rw).Encode(l)
}

func (g *gradebook) score(rw http.ResponseWriter, r *http.Request) {
	g.messages++
	if g.gone {
		http.Error(rw, "", http.StatusNotFound)
		return
	}
	var s struct {
		UserID          string      `json:"userId"`
		Timestamp       time.Time   `json:"timestamp"`
		ScoreGiven      json.Number `json:"scoreGiven"`
		ScoreMaximum    json.Number `json:"scoreMaximum"`
		GradingProgress string      `json:"gradingProgress"`
	}
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil || r.Header.Get("Content-Type") != ags.MediaScore {
		g.t.Errorf("score: %v, %s", err, r.Header.Get("Content-Type"))
	}
	if want, _, _ := strings.Cut(g.query, "&"); !strings.HasPrefix("?"+r.URL.RawQuery, want) {
		g.t.Errorf("the query of the line item is lost: %s", r.URL)
	}
	key, at := r.PathValue("item")+" "+s.UserID, s.Timestamp
	if !g.milliseconds {
		at = at.Truncate(time.Second)
	}
	if before, ok := g.scores[key]; ok && (at.Before(before.at) || at.Equal(before.at) && !g.equalTaken) {
		http.Error(rw, `{"error":"older than the score there is"}`, http.StatusConflict)
		return
	}
	m := mark{at: at}
	if s.ScoreGiven != "" && s.GradingProgress == "FullyGraded" {
		m.text = ratio(s.ScoreGiven.String(), s.ScoreMaximum.String())
	}
	g.scores[key] = m
	if g.scoreStatus != 0 {
		rw.WriteHeader(g.scoreStatus)
	}
}

func ratio(given, maximum string) string {
	a, okA := new(big.Rat).SetString(given)
	b, okB := new(big.Rat).SetString(maximum)
	if !okA || !okB || b.Sign() == 0 {
		return given + "/" + maximum
	}
	return a.Quo(a, b).FloatString(4)
}

// outcome is Basic Outcomes 1.1. The signature covers the body.
func (g *gradebook) outcome(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		g.t.Error(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.messages++
	request, err := outcomes.ParseRequest(body)
	if err != nil || !strings.Contains(r.Header.Get("Authorization"), `oauth_consumer_key="`+g.credentials.ConsumerKey+`"`) ||
		!strings.Contains(r.Header.Get("Authorization"), "oauth_body_hash=") {
		g.t.Errorf("outcome: %v, %s", err, r.Header.Get("Authorization"))
		http.Error(rw, "", http.StatusBadRequest)
		return
	}
	switch request.Operation {
	case outcomes.ReplaceResult:
		g.scores["outcome "+request.SourcedID] = mark{text: ratio(request.Score.String(), "1")}
	case outcomes.DeleteResult:
		g.scores["outcome "+request.SourcedID] = mark{}
	}
	answer, err := request.Answer("m-1", outcomes.Success, "").Encode()
	if err != nil {
		g.t.Error(err)
	}
	rw.Header().Set("Content-Type", outcomes.MediaType)
	_, _ = rw.Write(answer)
}

// holds waits until the gradebook has a grade, and nothing else.
func (g *gradebook) holds(want ...string) {
	g.t.Helper()
	var got []string
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		got = g.grades()
		if slices.Equal(got, want) {
			return
		}
	}
	g.t.Fatalf("the gradebook holds %q instead of %q", got, want)
}

func (g *gradebook) grades() (out []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, m := range g.scores {
		if m.text != "" {
			_, user, _ := strings.Cut(key, " ")
			out = append(out, user+" "+m.text)
		}
	}
	slices.Sort(out)
	return out
}

// register makes the gradebook that of a platform of the academy's table.
func (a *academy) register(g *gradebook, p party) {
	a.t.Helper()
	g.party, g.us = p, keys.PublicJWK(&p.key.PublicKey)
	platform := platformIn(a.table, p.platform)
	platform.LTI13.AccessTokenURL, platform.LTI13.AccessTokenAudience = g.URL+"/token", g.audience
	a.table.SigningKeys = append(a.table.SigningKeys, routing.SigningKey{
		Kind: routing.KindPlatform, Name: p.platform, KeyID: g.us.KeyID, PrivateKeyPEM: pemOf(a.t, p.key),
	})
	a.table.Academy.AllowPrivateCIDRs = []string{"127.0.0.0/8"}
	a.publish()
}

const claimEndpoint = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"

// report posts progress, and returns the answer.
func (a *academy) reports(subject, activity string, report map[string]any) answer {
	a.t.Helper()
	body := map[string]any{"sub": subject, "activity": activity}
	for name, value := range report {
		body[name] = value
	}
	text, err := json.Marshal(body)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.postReport(string(text), clientSecret, "")
}

func (a *academy) postReport(body, secret, key string) answer {
	a.t.Helper()
	r := httptest.NewRequest(http.MethodPost, routing.PathProgress, strings.NewReader(body))
	r.Header.Set("Authorization", basic(secret))
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	return a.serve(a.public, r, body)
}

func points(given, maximum float64) map[string]any {
	return map[string]any{"given": given, "maximum": maximum}
}

// launchedFrom registers the system with its issuer and deployment, launches, and returns who arrived.
func (a *academy) launchedFrom(g *gradebook) *tool.LaunchClaims {
	a.t.Helper()
	p, neighbour := moodle(), campus()
	p.issuer, p.deployment = g.issuer, g.deployment
	set := func(p party) {
		platform := platformIn(a.table, p.platform)
		platform.LTI13.Issuer, platform.LTI13.AuthenticationURL = p.issuer, p.issuer+"/auth?x=1"
		platform.Deployments = []routing.Deployment{{ID: p.deployment, Active: true}}
	}
	set(p)
	if g.sharedIssuer {
		neighbour.issuer = g.issuer
		set(neighbour)
	}
	a.register(g, p)
	b := a.browser()
	if g.framed {
		b.dest = "iframe"
	}
	x := b.launch13(p, "height", with(claimEndpoint, g.endpoint()))
	if g.framed {
		b.dest = "document"
		x = b.open(x.ticket())
	}
	launched := a.enter(x)
	if g.sharedIssuer && a.enter(a.browser().launch13(neighbour, "height", person("4", "other@campus.example"))).Subject == launched.Subject {
		a.t.Error("user 4 of another customer of the vendor is the same person")
	}
	// A deployment that nobody listed is refused, also where the vendor's identifiers look alike.
	other := p
	other.deployment += "0"
	a.refused(a.browser().launch13(other, "height", nil), lti.DeploymentUnknown)
	return launched
}

// Each row is a system as its documentation, its source or a recording shows it: from the launch to the last grade.
func TestGradesReachEverySystem(t *testing.T) {
	for name, q := range map[string]quirks{
		"Moodle": {
			issuer: "https://moodle.example", deployment: "1", framed: true, tokenType: "text/html", query: "?type_id=3", scoreStatus: http.StatusOK,
		},
		"Canvas": {
			issuer: "https://canvas.instructure.com", sharedIssuer: true, deployment: "7:8865aa05b4b79b64a91a86042e43af5ea8ae79eb", framed: true,
			noLineItem: true, pages: 3, milliseconds: true, equalTaken: true, throttle: 2,
		},
		"Brightspace": {
			issuer: "https://school.brightspace.example", deployment: "a1b2c3d4-0000-4000-8000-00000000000a", framed: true,
			audience: "https://api.brightspace.example/auth/token", noLineItem: true, scoreStatus: http.StatusOK,
		},
		"Blackboard": {
			issuer: "https://blackboard.com", sharedIssuer: true, deployment: "2f9d2c1e-5b1e-4c8a-9a57-1c1f5b1f3a77",
			scoreStatus: http.StatusCreated, equalTaken: true, expiresText: true,
		},
		"Sakai": {
			issuer: "https://sakai.example", deployment: "1", framed: true, noLineItem: true, scoreStatus: http.StatusOK, milliseconds: true, equalTaken: true,
		},
		"Schoology": {
			issuer: "https://schoology.schoology.com", sharedIssuer: true, deployment: "8712345-6f0e4b1c9d2a", framed: true,
			scoreStatus: http.StatusNoContent, query: "?realm=section&x=%C3%BC", equalTaken: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, g := newAcademy(t), newGradebook(t, q)
			defer func() {
				for line := range strings.Lines(a.metrics()) {
					if t.Failed() && strings.HasPrefix(line, "lti_grade_messages_total") {
						t.Log(line)
					}
				}
			}()
			launched := a.launchedFrom(g)
			report := func(report map[string]any) {
				t.Helper()
				if x := a.reports(launched.Subject, "height", report); x.Code != http.StatusOK {
					t.Fatalf("%d %s", x.Code, x.Body)
				}
			}
			at := func(seconds int) string {
				return a.clock.now().Add(time.Duration(seconds-100) * time.Second).Format(time.RFC3339Nano)
			}

			report(map[string]any{"at": at(1), "percent": 40})
			report(map[string]any{"at": at(3), "completed": true, "score": points(8, 10)})
			g.holds("4 0.8000")
			report(map[string]any{"at": at(2), "score": points(3, 10)}) // older
			report(map[string]any{"at": at(4), "percent": 10})          // opened again
			report(map[string]any{"at": at(5), "score": points(0, 10)})
			g.holds("4 0.0000")
			report(map[string]any{"at": at(6), "score": points(1, 3)})
			g.holds("4 0.3333")
			report(map[string]any{"at": at(7), "withdraw": true})
			g.holds()
			report(map[string]any{"at": at(8), "completed": true})
			g.holds("4 1.0000")

			g.mu.Lock()
			defer g.mu.Unlock()
			ours := 0
			for _, l := range g.items {
				if l.ResourceLinkID == "rl-1" {
					ours++
				}
			}
			if ours != 1 || g.messages > 8 {
				t.Errorf("%d line items, %d messages", ours, g.messages)
			}
		})
	}
}

func TestFourGradebooksAreEqual(t *testing.T) {
	a := newAcademy(t)
	first, second := newGradebook(t, quirks{}), newGradebook(t, quirks{noLineItem: true})
	a.register(first, moodle())
	second.credentials = oauth1.Credentials{ConsumerKey: "campus-height-key"}
	users := func(tab *routing.Table) {
		for i := range tab.Platforms {
			tab.Platforms[i].Users.AnyEmail = true
		}
	}
	a.republish(users)
	course := func(g *gradebook, id string) func(jwt.MapClaims) {
		return func(c jwt.MapClaims) {
			c[claimEndpoint], c["email"] = g.endpoint(), "one@person.example"
			c[claim+"context"] = map[string]any{"id": id}
		}
	}
	form := func(sourcedID string) func(map[string]string) {
		return func(p map[string]string) {
			p["lis_outcome_service_url"], p["lis_result_sourcedid"] = second.URL+"/outcomes", sourcedID
			p["lis_person_contact_email_primary"], p["context_id"] = "one@person.example", "course of "+sourcedID
		}
	}
	one := a.enter(a.browser().launch13(moodle(), "height", course(first, "c-1")))
	two := a.enter(a.browser().launch12("height", "campus-height-key", form("s1")))
	if one.Subject != two.Subject {
		t.Fatal("two accounts")
	}
	if x := a.reports(one.Subject, "height", map[string]any{"completed": true, "score": points(8, 10)}); x.Code != http.StatusOK {
		t.Fatalf("%d %s", x.Code, x.Body)
	}
	first.holds("4 0.8000")
	second.holds("s1 0.8000")
	// Joined after completion: nobody asks, and the grade is there.
	a.enter(a.browser().launch12("height", "campus-height-key", form("s2")))
	second.holds("s1 0.8000", "s2 0.8000")
	a.enter(a.browser().launch13(moodle(), "height", func(c jwt.MapClaims) {
		course(first, "c-2")(c)
		first.mu.Lock()
		defer first.mu.Unlock()
		first.items = append(first.items, ags.LineItem{Label: "Quiz 2", ResourceLinkID: "rl-2"})
		c[claim+"resource_link"] = map[string]any{"id": "rl-2"}
		c[claimEndpoint].(map[string]any)["lineitem"] = first.itemURL(len(first.items) - 1)
	}))
	first.holds("4 0.8000", "4 0.8000")

	var shown struct {
		Grades []struct{ State, Reason string }
	}
	r := httptest.NewRequest(http.MethodGet, routing.PathProgress+"?activity=height&sub="+url.QueryEscape(one.Subject), nil)
	r.Header.Set("Authorization", basic(clientSecret))
	x := a.serve(a.public, r, "")
	if err := json.Unmarshal(x.Body.Bytes(), &shown); err != nil || len(shown.Grades) != 4 {
		t.Fatalf("%v: %s", err, x.Body)
	}
}

func TestFirstScoresAtOnceMakeOneLineItem(t *testing.T) {
	a, g := newAcademy(t), newGradebook(t, quirks{noLineItem: true})
	a.register(g, moodle())
	const learners = 50
	// So many slots that none of them waits, as who waits for a second is refused.
	a.public = a.startAnother(a.store, func(o *handler.Options) { o.Working = learners })
	subjects := make([]string, learners)
	for i := range subjects {
		id := fmt.Sprintf("learner-%02d", i)
		subjects[i] = a.enter(a.browser().launch13(moodle(), "height", func(c jwt.MapClaims) {
			person(id, id+"@moodle.example")(c)
			c[claimEndpoint] = g.endpoint()
		})).Subject
	}
	var want []string
	var wg sync.WaitGroup
	for i, subject := range subjects {
		want = append(want, fmt.Sprintf("learner-%02d 0.8000", i))
		wg.Go(func() {
			if x := a.reports(subject, "height", map[string]any{"score": points(4, 5)}); x.Code != http.StatusOK {
				t.Errorf("%d %s", x.Code, x.Body)
			}
		})
	}
	wg.Wait()
	g.holds(want...)
	if len(g.items) != 1 {
		t.Errorf("%d line items", len(g.items))
	}
}

func TestReportsThatAreRefused(t *testing.T) {
	a := newAcademy(t)
	activityIn(a.table, "ladder").Share.ClientID = "another-app"
	a.publish()
	launched := a.enter(a.browser().launch13(moodle(), "height", nil))
	subject := launched.Subject
	good := `{"sub":"` + subject + `","activity":"height","completed":true,"at":"2026-01-01T00:00:00Z"}`
	for name, c := range map[string]struct {
		body, secret, key string
		code              lti.Code
	}{
		"good":                     {good, clientSecret, "k1", ""},
		"the same again":           {good, clientSecret, "k1", ""},
		"by launch":                {`{"launch_id":"` + launched.LaunchID + `","percent":50}`, clientSecret, "", ""},
		"by launch and subject":    {strings.Replace(good, "{", `{"launch_id":"x",`, 1), clientSecret, "", lti.ReportInvalid},
		"no JSON":                  {"{", clientSecret, "", lti.ReportInvalid},
		"an unknown member":        {strings.Replace(good, "completed", "complete", 1), clientSecret, "", lti.ReportInvalid},
		"nothing reported":         {`{"sub":"` + subject + `","activity":"height"}`, clientSecret, "", lti.ReportInvalid},
		"nobody":                   {strings.Replace(good, subject, "nobody", 1), clientSecret, "", lti.AccountUnknown},
		"no subject":               {strings.Replace(good, subject, "", 1), clientSecret, "", lti.ReportInvalid},
		"another activity":         {strings.Replace(good, "height", "nothing", 1), clientSecret, "", lti.ActivityUnknown},
		"an activity not shared":   {strings.Replace(good, "height", "private", 1), clientSecret, "", lti.NotShared},
		"another application's":    {strings.Replace(good, "height", "ladder", 1), clientSecret, "", lti.ClientNotPermitted},
		"from the future":          {strings.Replace(good, "2026", "2126", 1), clientSecret, "", lti.ReportInvalid},
		"more than 100 percent":    {strings.Replace(good, `"completed":true`, `"percent":101`, 1), clientSecret, "", lti.ReportInvalid},
		"of 0 points":              {strings.Replace(good, `"completed":true`, `"score":{"given":0,"maximum":0}`, 1), clientSecret, "", lti.ReportInvalid},
		"a wrong secret":           {good, "wrong", "", lti.ClientUnauthorized},
		"too long":                 {`{"sub":"` + strings.Repeat("x", 20<<10) + `"}`, clientSecret, "", lti.RequestTooLarge},
		"a key that is too long":   {good, clientSecret, strings.Repeat("k", 256), lti.ReportInvalid},
		"not from a launch at all": {"", clientSecret, "", lti.ReportInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			x := a.postReport(c.body, c.secret, c.key)
			if c.code == "" {
				if x.Code != http.StatusOK {
					t.Fatalf("%d %s", x.Code, x.Body)
				}
				return
			}
			a.refusedJSON(x, c.code)
		})
	}
}

func TestNothingIsSentToWhatIsSwitchedOff(t *testing.T) {
	a, g := newAcademy(t), newGradebook(t, quirks{})
	a.register(g, moodle())
	subject := a.enter(a.browser().launch13(moodle(), "height", with(claimEndpoint, g.endpoint()))).Subject
	undo := a.republish(func(tab *routing.Table) { platformIn(tab, "moodle").Active = false })
	if x := a.reports(subject, "height", map[string]any{"score": points(8, 10)}); x.Code != http.StatusOK {
		t.Fatalf("%d %s", x.Code, x.Body)
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(a.metrics(), `outcome="NotSent",protocol="AGS",reason="PlatformDeactivated"`); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was tried")
		}
	}
	if g.messages != 0 {
		t.Error("a message was sent")
	}
	undo()
	g.holds("4 0.8000")
}

// The addresses of one issuer get nothing of another that takes its place under the same name, neither its access token nor
// grades of its learners, unless it is said to have been the same before.
func TestGradesStayWithTheirIssuer(t *testing.T) {
	a, g := newAcademy(t), newGradebook(t, quirks{})
	a.register(g, moodle())
	subject := a.enter(a.browser().launch13(moodle(), "height", with(claimEndpoint, g.endpoint()))).Subject
	undo := a.republish(func(tab *routing.Table) { platformIn(tab, "moodle").LTI13.Issuer = "https://other.example" })
	if x := a.reports(subject, "height", map[string]any{"score": points(8, 10)}); x.Code != http.StatusOK {
		t.Fatalf("%d %s", x.Code, x.Body)
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(a.metrics(), `outcome="NotSent",protocol="AGS",reason="IssuerMismatch"`); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was tried")
		}
	}
	if g.messages != 0 {
		t.Error("a message was sent")
	}
	undo()
	a.republish(func(tab *routing.Table) {
		p := platformIn(tab, "moodle")
		p.LTI13.Issuer, p.PreviousIssuers = "https://other.example", []string{"https://lms.example"}
	})
	g.holds("4 0.8000")
}

// Two platforms that are registered under one name, one after the other, may have the same courses and links.
func TestLineItemsStayWithTheirIssuer(t *testing.T) {
	a, former, next := newAcademy(t), newGradebook(t, quirks{noLineItem: true}), newGradebook(t, quirks{noLineItem: true})
	a.register(former, moodle())
	score := func(p party, g *gradebook, learner string) {
		subject := a.enter(a.browser().launch13(p, "height", func(c jwt.MapClaims) {
			person(learner, learner+"@moodle.example")(c)
			c[claimEndpoint] = g.endpoint()
		})).Subject
		if x := a.reports(subject, "height", map[string]any{"score": points(8, 10)}); x.Code != http.StatusOK {
			t.Fatalf("%d %s", x.Code, x.Body)
		}
		g.holds(learner + " 0.8000")
	}
	score(moodle(), former, "4")
	other := moodle()
	other.issuer = "https://other.example"
	p := platformIn(a.table, "moodle")
	p.LTI13.Issuer, p.LTI13.AuthenticationURL = other.issuer, other.issuer+"/auth?x=1"
	a.register(next, other)
	score(other, next, "5")
	if former.messages != 1 {
		t.Errorf("%d scores at the former platform", former.messages)
	}
}

// What a gradebook refuses waits for somebody to mend it, who sees it at the control port.
func TestARefusedGradeIsSentAgain(t *testing.T) {
	a, g := newAcademy(t), newGradebook(t, quirks{gone: true})
	a.register(g, moodle())
	subject := a.enter(a.browser().launch13(moodle(), "height", with(claimEndpoint, g.endpoint()))).Subject
	if x := a.reports(subject, "height", map[string]any{"score": points(8, 10)}); x.Code != http.StatusOK {
		t.Fatalf("%d %s", x.Code, x.Body)
	}
	var refused []routing.Grade
	for deadline := time.Now().Add(10 * time.Second); len(refused) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the grade is not shown as refused")
		}
		a.control(a.handler, routing.PathControlGrades+"?activity=height&state=Refused", &refused)
	}
	if e := refused[0]; len(refused) != 1 || e.Subject != subject || e.Reason != "LineItemGone" || e.Registration != "platform/moodle" ||
		e.Wanted != 1 || e.Confirmed != 0 || e.Grade == nil || e.Grade.Given != "8" || e.Grade.Maximum != "10" {
		t.Errorf("refused %+v", refused)
	}
	send := func(id string) int {
		r := httptest.NewRequest(http.MethodPost, routing.PathControlGrades+"/"+id+routing.PathControlSend, nil)
		r.Header.Set("Authorization", "Bearer "+a.keys.ControlToken)
		return a.serve(a.handler.Control(), r, "").Code
	}
	if code := send("nothing"); code != http.StatusNotFound {
		t.Errorf("a grade that is not there: %d", code)
	}
	g.mu.Lock()
	g.gone = false
	g.mu.Unlock()
	if code := send(refused[0].ID); code != http.StatusAccepted {
		t.Fatal(code)
	}
	g.holds("4 0.8000")
	// Confirmed by now, and sent again nevertheless.
	g.mu.Lock()
	clear(g.scores)
	g.mu.Unlock()
	send(refused[0].ID)
	g.holds("4 0.8000")
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	if code := send(refused[0].ID); code != http.StatusServiceUnavailable {
		t.Errorf("without a store: %d", code)
	}
}

func pemOf(t *testing.T, key *rsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func keyOf(k routing.JWK) (*rsa.PublicKey, error) {
	n, err := base64.RawURLEncoding.DecodeString(k.Modulus)
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}, err
}

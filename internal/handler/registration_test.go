// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

const (
	// platformLink and toolLink are the tokens of links, peerToken that which a platform gives us.
	platformLink = "canary-link-of-the-newcomer-0123456789"
	toolLink     = "canary-link-of-the-lab-0123456789"
	peerToken    = "canary.registration-token_of.the-platform"
	// clientToken changes a registration later.
	clientToken = "canary-token-that-changes-the-registration"
)

func linkOf(token string, expires time.Time) *routing.RegistrationLink {
	sum := sha256.Sum256([]byte(token))
	return &routing.RegistrationLink{TokenSHA256: sum[:], ExpiresAt: expires}
}

// peerPlatform is a platform that we register at. It answers as the recorded Moodle did.
type peerPlatform struct {
	*httptest.Server
	t                     *testing.T
	configuration, answer string
	// configure, if set, answers for the configuration, and register for the registration.
	configure, register http.HandlerFunc

	mu       sync.Mutex
	fetched  int
	received []receivedRequest
}

type receivedRequest struct{ path, authorization, contentType, body string }

func newPeerPlatform(t *testing.T) *peerPlatform {
	t.Helper()
	text, err := os.ReadFile("../lti/registration/testdata/moodle.json")
	if err != nil {
		t.Fatal(err)
	}
	var recording struct {
		Log []struct{ Response struct{ Body string } }
	}
	if err := json.Unmarshal(text, &recording); err != nil {
		t.Fatal(err)
	}
	p := &peerPlatform{t: t}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	// Answers quote our own addresses as those of the recorded tool; nothing of that matters.
	p.configuration = strings.ReplaceAll(recording.Log[0].Response.Body, "http://localhost:9100", p.URL)
	p.answer = recording.Log[1].Response.Body
	return p
}

func (p *peerPlatform) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	if r.Method == http.MethodGet {
		p.fetched++
	} else {
		p.received = append(p.received, receivedRequest{r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(body)})
	}
	p.mu.Unlock()
	switch {
	case r.Method == http.MethodGet && p.configure != nil:
		p.configure(rw, r)
	case r.Method == http.MethodGet:
		_, _ = io.WriteString(rw, p.configuration)
	case p.register != nil:
		p.register(rw, r)
	default:
		_, _ = io.WriteString(rw, p.answer)
	}
}

// meanwhile lets something happen while the platform registers us, which it does.
func (p *peerPlatform) meanwhile(happens func()) {
	p.register = func(rw http.ResponseWriter, _ *http.Request) {
		happens()
		_, _ = io.WriteString(rw, p.answer)
	}
}

// requests are what we have sent to the registration endpoint.
func (p *peerPlatform) requests() []receivedRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.received)
}

func (p *peerPlatform) fetches() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetched
}

// initiation are the parameters that the platform opens our link with.
func (p *peerPlatform) initiation() url.Values {
	return url.Values{
		"token": {platformLink}, "openid_configuration": {p.URL + "/mod/lti/openid-configuration.php"}, "registration_token": {peerToken},
	}
}

// registrable is an academy at which the platform newcomer and the tools lab and rival may register.
func registrable(t *testing.T) *academy {
	t.Helper()
	a := newAcademy(t)
	a.externalTable(a.table)
	a.handles[clientToken] = true
	a.republish(registrableTable(a))
	return a
}

func registrableTable(a *academy) func(*routing.Table) {
	return func(table *routing.Table) {
		table.Academy.AllowPrivateCIDRs = []string{"127.0.0.0/8"}
		table.Academy.Aliases = []string{"https://lti.brand.example"}
		platformIn(table, "newcomer").Registration = linkOf(platformLink, a.clock.now().Add(time.Hour))
		for i := range table.Tools {
			if table.Tools[i].Name == "lab" {
				table.Tools[i].Registration, table.Tools[i].LTI13 = linkOf(toolLink, a.clock.now().Add(time.Hour)), nil
			}
		}
	}
}

// registrations are what the control port lists.
func (a *academy) registrations() []routing.Registration {
	a.t.Helper()
	var found routing.Registrations
	a.control(a.handler, routing.PathControlRegistrations, &found)
	return found.Items
}

var registrationID = regexp.MustCompile(`data-testid="registration">([0-9a-f]{20})<`)

// registers posts the form of the page that the link leads to, and returns the ID of the registration.
func (b *browser) registers(initiation url.Values) string {
	b.t.Helper()
	x := b.do(http.MethodPost, "/platforms/newcomer/register", initiation)
	m := registrationID.FindStringSubmatch(x.Body.String())
	if x.Code != http.StatusOK || m == nil {
		b.t.Fatalf("not registered: %d %s", x.Code, text(x.Body.String()))
	}
	return m[1]
}

func TestAPlatformIsHandedTheLink(t *testing.T) {
	a, p := registrable(t), newPeerPlatform(t)
	p.answer = strings.Replace(p.answer, "{", fmt.Sprintf(`{"registration_client_uri":"https://moodle.example/r/1","registration_access_token":%q,`, clientToken), 1)
	b := a.browser()
	b.dest = "iframe"
	b.header.Set("Accept-Language", "nl")
	page := b.do(http.MethodGet, "/platforms/newcomer/register?"+p.initiation().Encode(), nil)
	said := text(page.Body.String())
	for _, want := range []string{"Acme Academy", "Newcomer", strings.TrimPrefix(p.URL, "http://"), "Registreren"} {
		if !strings.Contains(said, want) {
			t.Errorf("the page does not say %q: %s", want, said)
		}
	}
	if csp := page.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors https:") || page.Header().Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("%v", page.Header())
	}
	if p.fetches() != 0 || a.registrations() == nil || len(a.registrations()) != 0 {
		t.Errorf("opening the link does something: %d fetches, %v", p.fetches(), a.registrations())
	}
	action, form := page.posted()
	if action != "/platforms/newcomer/register" {
		t.Errorf("posted to %s", action)
	}
	if diff := cmp.Diff(p.initiation(), form); diff != "" {
		t.Error(diff)
	}

	registered := b.do(http.MethodPost, action, form)
	id := registrationID.FindStringSubmatch(registered.Body.String())
	if registered.Code != http.StatusOK || id == nil || !strings.Contains(text(registered.Body.String()), "wacht op goedkeuring") ||
		!strings.Contains(registered.Body.String(), `postMessage({subject:"org.imsglobal.lti.close"}`) {
		t.Fatalf("%d %s", registered.Code, text(registered.Body.String()))
	}
	sent := p.requests()
	if len(sent) != 1 || sent[0].authorization != "Bearer "+peerToken || sent[0].contentType != "application/json" || sent[0].path != "/mod/lti/openid-registration.php" {
		t.Fatalf("%+v", sent)
	}
	var asked struct {
		InitiateLoginURI string   `json:"initiate_login_uri"`
		RedirectURIs     []string `json:"redirect_uris"`
		JWKSURI          string   `json:"jwks_uri"`
		ClientName       string   `json:"client_name"`
	}
	if err := json.Unmarshal([]byte(sent[0].body), &asked); err != nil {
		t.Fatal(err)
	}
	const us = academyURL + "/platforms/newcomer/"
	if asked.InitiateLoginURI != us+"login" || asked.JWKSURI != us+"jwks.json" || asked.ClientName != "Acme Academy" ||
		!slices.Equal(asked.RedirectURIs, []string{us + "launch", "https://lti.brand.example/platforms/newcomer/launch"}) {
		t.Errorf("%+v", asked)
	}

	found := a.registrations()
	want := []routing.Registration{{
		ID: id[1], Kind: routing.KindPlatform, Name: "newcomer",
		Platform: &routing.RegisteredPlatform{
			PlatformLTI13: routing.PlatformLTI13{
				Issuer: p.URL, ClientID: "7Gy6YkXErSmoGJh", AuthenticationURL: p.URL + "/mod/lti/auth.php", AccessTokenURL: p.URL + "/mod/lti/token.php",
				JWKSURL: p.URL + "/mod/lti/certs.php",
			},
			DeploymentID: "3", Product: "moodle", Version: "4.5.6 (Build: 20250811)",
			ClientConfigurationURL: "https://moodle.example/r/1", ClientConfigurationToken: clientToken,
		},
	}}
	if len(found) == 1 {
		if age := a.clock.now().Sub(found[0].RegisteredAt); age < 0 || age > time.Minute {
			t.Errorf("registered %s ago", age)
		}
		want[0].RegisteredAt = found[0].RegisteredAt
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("registrations (-want +got):\n%s", diff)
	}
	// Nothing of it is used before it is approved.
	a.refused(b.do(http.MethodPost, "/platforms/newcomer/login", url.Values{"iss": {p.URL}, "login_hint": {"1"}, "target_link_uri": {us + "launch"}}), lti.NotRegistered)
	// The link works once, also at the handler that is asked next.
	b.public = a.startAnother(a.openStore())
	a.refused(b.do(http.MethodPost, action, form), lti.RegistrationLinkUsed)
	if len(p.requests()) != 1 || p.fetches() != 1 || len(a.registrations()) != 1 {
		t.Errorf("a used link does something: %d requests", len(p.requests()))
	}
}

// Brightspace gives no token, and wants another audience in our assertions.
func TestAPlatformNeedNotGiveAToken(t *testing.T) {
	a, p := registrable(t), newPeerPlatform(t)
	p.configuration = strings.Replace(p.configuration, "{", `{"authorization_server": "https://api.brightspace.com/auth/token",`, 1)
	p.register = func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(rw, `{"client_id": "abc"}`)
	}
	initiation := p.initiation()
	initiation.Del("registration_token")
	action, form := a.browser().do(http.MethodGet, "/platforms/newcomer/register?"+initiation.Encode(), nil).posted()
	if x := a.browser().do(http.MethodPost, action, form); x.Code != http.StatusOK {
		t.Fatalf("%d %s", x.Code, text(x.Body.String()))
	}
	sent, found := p.requests(), a.registrations()
	if len(sent) != 1 || sent[0].authorization != "" {
		t.Errorf("%+v", sent)
	}
	if len(found) != 1 || found[0].Platform.AccessTokenAudience != "https://api.brightspace.com/auth/token" || found[0].Platform.DeploymentID != "" {
		t.Errorf("%+v", found)
	}
}

// Whoever guesses learns nothing, not even which platforms there are.
func TestARegistrationLinkCannotBeGuessed(t *testing.T) {
	a, p := registrable(t), newPeerPlatform(t)
	var pages []string
	for _, target := range []string{"newcomer", "moodle", "nobody"} {
		for _, token := range []string{"", "guess", toolLink, platformLink[:len(platformLink)-1], strings.ToUpper(platformLink)} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				initiation := p.initiation()
				initiation.Set("token", token)
				path, form := "/platforms/"+target+"/register", initiation
				if method == http.MethodGet {
					path, form = path+"?"+initiation.Encode(), nil
				}
				x := a.browser().do(method, path, form)
				a.refused(x, lti.RegistrationLinkInvalid)
				page := referenceNumber.ReplaceAllString(x.Body.String(), "")
				if strings.Contains(page, peerToken) || token != "" && strings.Contains(page, ">"+token) {
					t.Error("the page repeats a token")
				}
				pages = append(pages, page)
			}
		}
	}
	if distinct := len(slices.Compact(pages)); distinct != 1 {
		t.Errorf("%d different answers", distinct)
	}
	if x := a.browser().do(http.MethodGet, "/platforms/moodle/register?token="+platformLink, nil); x.reason() != lti.RegistrationLinkInvalid {
		t.Errorf("the link of one platform at another: %s", x.reason())
	}
	if p.fetches() != 0 || len(a.registrations()) != 0 {
		t.Errorf("%d fetches", p.fetches())
	}
	a.browser().registers(p.initiation())
}

func TestAnAttemptThatIsRefusedLeavesTheLink(t *testing.T) {
	elsewhere := newPeerPlatform(t) // where nothing may arrive
	issuer := func(to string) func(p *peerPlatform, form url.Values) {
		return func(p *peerPlatform, _ url.Values) {
			p.configuration = strings.Replace(p.configuration, `"issuer": "`+p.URL, `"issuer": "`+to, 1)
		}
	}
	member := func(name, value string) func(p *peerPlatform, form url.Values) {
		return func(p *peerPlatform, _ url.Values) {
			p.configuration = regexp.MustCompile(`"`+name+`": (\[[^]]*\]|"[^"]*")`).ReplaceAllLiteralString(p.configuration, `"`+name+`": `+value)
		}
	}
	at := func(address string) func(p *peerPlatform, form url.Values) {
		return func(_ *peerPlatform, form url.Values) { form.Set("openid_configuration", address) }
	}
	answers := func(status int, body string) func(p *peerPlatform, form url.Values) {
		return func(p *peerPlatform, _ url.Values) {
			p.register = func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Location", elsewhere.URL+"/register")
				rw.WriteHeader(status)
				_, _ = io.WriteString(rw, body)
			}
		}
	}
	configures := func(configure http.HandlerFunc) func(p *peerPlatform, form url.Values) {
		return func(p *peerPlatform, _ url.Values) { p.configure = configure }
	}
	for name, c := range map[string]struct {
		spoil func(p *peerPlatform, form url.Values)
		code  lti.Code
		// posted is how many requests may arrive at the registration endpoint.
		posted int
	}{
		"address in a private network": {at("https://10.20.30.40/openid-configuration"), lti.RegistrationAddressForbidden, 0},
		"metadata service":             {at("https://169.254.169.254/latest/meta-data"), lti.RegistrationAddressForbidden, 0},
		"http":                         {at("http://lms.example/openid-configuration"), lti.RegistrationInitiationInvalid, 0},
		"file":                         {at("file:///etc/passwd"), lti.RegistrationInitiationInvalid, 0},
		"no address":                   {func(_ *peerPlatform, form url.Values) { form.Del("openid_configuration") }, lti.RegistrationInitiationInvalid, 0},
		"nobody listens":               {at("http://" + closedPort + "/openid-configuration"), lti.RegistrationUnreachable, 0},
		"redirecting configuration":    {configures(http.RedirectHandler(elsewhere.URL+"/openid-configuration", http.StatusFound).ServeHTTP), lti.RegistrationConfigurationInvalid, 0},
		"configuration not found":      {configures(http.NotFound), lti.RegistrationUnreachable, 0},
		"oversize configuration": {configures(func(rw http.ResponseWriter, _ *http.Request) {
			for range 1024 {
				if _, err := io.WriteString(rw, strings.Repeat(" ", 2048)); err != nil {
					return
				}
			}
		}), lti.RegistrationConfigurationInvalid, 0},
		"slow configuration": {configures(func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(rw, "{")
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
		}), lti.RegistrationUnreachable, 0},
		"configuration that is a page":      {configures(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "<html>") }), lti.RegistrationConfigurationInvalid, 0},
		"issuer of another host":            {issuer("https://university.example"), lti.RegistrationConfigurationInvalid, 0},
		"issuer at another port":            {issuer(elsewhere.URL), lti.RegistrationConfigurationInvalid, 0},
		"authentication over http":          {member("authorization_endpoint", `"http://lms.example/auth"`), lti.RegistrationConfigurationInvalid, 0},
		"registration over http":            {member("registration_endpoint", `"http://lms.example/register"`), lti.RegistrationConfigurationInvalid, 0},
		"registration in a private network": {member("registration_endpoint", `"https://10.20.30.40/register"`), lti.RegistrationAddressForbidden, 0},
		"symmetric signatures":              {member("id_token_signing_alg_values_supported", `["HS256"]`), lti.RegistrationConfigurationInvalid, 0},
		"redirecting registration":          {answers(http.StatusTemporaryRedirect, ""), lti.RegistrationRefused, 1},
		"registration seen elsewhere":       {answers(http.StatusSeeOther, ""), lti.RegistrationRefused, 1},
		"errors of Canvas":                  {answers(http.StatusUnprocessableEntity, `{"errors":[{"message":"`+peerToken+`"}]}`), lti.RegistrationRefused, 1},
		"error of RFC 7591":                 {answers(http.StatusBadRequest, `{"error":"invalid_redirect_uri","error_description":"`+peerToken+`"}`), lti.RegistrationRefused, 1},
		"token of the platform used up":     {answers(http.StatusUnauthorized, "Unauthorized "+peerToken), lti.RegistrationRefused, 1},
		"registration without client ID":    {answers(http.StatusOK, `{}`), lti.RegistrationAnswerInvalid, 1},
		"registration without an answer": {func(p *peerPlatform, _ url.Values) {
			p.register = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		}, lti.RegistrationUnreachable, 1},
		"oversize answer": {answers(http.StatusOK, strings.Repeat(" ", 300<<10)), lti.RegistrationAnswerInvalid, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, p := registrable(t), newPeerPlatform(t)
			form := p.initiation()
			c.spoil(p, form)
			x := a.browser().do(http.MethodPost, "/platforms/newcomer/register", form)
			a.refused(x, c.code)
			if body := html.UnescapeString(x.Body.String()); strings.Contains(body, peerToken) || strings.Contains(body, platformLink) {
				t.Errorf("a token is on the page: %s", text(body))
			}
			if page := text(x.Body.String()); c.posted > 0 && strings.Contains(page, "Nothing was registered.") {
				t.Errorf("the page says more than we know: %s", page)
			}
			if sent := p.requests(); len(sent) != c.posted {
				t.Errorf("%d requests to register", len(sent))
			}
			if found := a.registrations(); len(found) != 0 {
				t.Errorf("registered: %+v", found)
			}
			good := newPeerPlatform(t)
			a.browser().registers(good.initiation())
		})
	}
	t.Cleanup(func() {
		if elsewhere.fetches() != 0 || len(elsewhere.requests()) != 0 {
			t.Errorf("a redirect was followed: %d, %+v", elsewhere.fetches(), elsewhere.requests())
		}
	})
}

// What the platform has registered, it lists: it is not said that nothing happened.
func TestARegistrationThatCannotBeKept(t *testing.T) {
	for name, spoil := range map[string]func(a *academy, s store.Store){
		"store gone": func(_ *academy, s store.Store) { _ = s.Close() },
		"lease lost": func(a *academy, _ store.Store) {
			a.clock.advance(store.RegistrationLease)
			claimed := store.RegistrationLink{Hash: store.HashToken(platformLink), ExpiresAt: a.clock.now().Add(time.Hour)}
			if _, err := a.store.ClaimRegistrationLink(t.Context(), claimed); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, p := registrable(t), newPeerPlatform(t)
			b, s := a.browser(), a.openStore()
			first := b.public
			b.public = a.startAnother(s)
			p.meanwhile(func() { spoil(a, s) })
			x := b.do(http.MethodPost, "/platforms/newcomer/register", p.initiation())
			a.refused(x, lti.RegistrationNotKept)
			page := text(x.Body.String())
			if strings.Contains(page, "Nothing was") || !strings.Contains(page, "Delete the registration of the academy in your learning system") {
				t.Errorf("the page does not say what is left at the platform: %s", page)
			}
			if found := a.registrations(); len(found) != 0 || len(p.requests()) != 1 {
				t.Errorf("%d requests, registered: %+v", len(p.requests()), found)
			}
			a.clock.advance(store.RegistrationLease)
			b.public, p.register = first, nil
			b.registers(p.initiation())
		})
	}
}

func TestOfManyRegistrationsAtOnceOneGoesOn(t *testing.T) {
	a, p := registrable(t), newPeerPlatform(t)
	p.register = func(rw http.ResponseWriter, _ *http.Request) {
		time.Sleep(100 * time.Millisecond)
		_, _ = io.WriteString(rw, p.answer)
	}
	replicas := a.replicas()
	registered := 0
	for _, x := range a.browser().together(20, "/platforms/newcomer/register", p.initiation(), replicas...) {
		switch reason := x.reason(); {
		case x.Code == http.StatusOK:
			registered++
		case reason != lti.RegistrationLinkBusy && reason != lti.RegistrationLinkUsed:
			t.Errorf("%d %s", x.Code, reason)
		}
	}
	if sent := p.requests(); registered != 1 || len(sent) != 1 {
		t.Errorf("%d registered with %d requests", registered, len(sent))
	}

	// The same of a tool.
	registered = 0
	var all sync.WaitGroup
	var mu sync.Mutex
	for i := range 20 {
		all.Go(func() {
			r := httptest.NewRequest(http.MethodPost, academyURL+"/tools/lab/register", strings.NewReader(moodleRegisters))
			r.Header.Set("Authorization", "Bearer "+toolLink)
			x := a.serve(replicas[i%2], r, "")
			mu.Lock()
			defer mu.Unlock()
			if x.Code == http.StatusOK {
				registered++
			} else if x.Code != http.StatusUnauthorized && x.Code != http.StatusConflict {
				t.Errorf("%d %s", x.Code, x.Body)
			}
		})
	}
	all.Wait()
	if registered != 1 {
		t.Errorf("%d tools registered", registered)
	}
}

// moodleRegisters is the shape of what Moodle sends, see https://github.com/moodle/moodle/blob/main/enrol/lti/register.php.
const moodleRegisters = `{"application_type": "web", "grant_types": ["client_credentials", "implicit"], "response_types": ["id_token"],
	"initiate_login_uri": "https://moodle.example/enrol/lti/login.php?id=7", "redirect_uris": ["https://moodle.example/launch.php", "https://moodle.example/deep.php"],
	"client_name": "Moodle", "jwks_uri": "https://moodle.example/jwks.php", "logo_uri": "", "token_endpoint_auth_method": "private_key_jwt",
	"https://purl.imsglobal.org/spec/lti-tool-configuration": {"domain": "moodle.example", "target_link_uri": "https://moodle.example/launch.php",
		"custom_parameters": [], "scopes": ["https://purl.imsglobal.org/spec/lti-ags/scope/lineitem", "https://purl.imsglobal.org/spec/lti-ags/scope/score"],
		"claims": ["iss", "sub", "aud", "email"], "messages": [
			{"type": "LtiDeepLinkingRequest", "allowLearner": false, "target_link_uri": "https://moodle.example/deep.php", "label": "Pick", "placements": ["ContentArea"]},
			{"type": "LtiResourceLinkRequest", "target_link_uri": "https://moodle.example/launch.php"}]}}`

// registerTool registers a tool by a link.
func (a *academy) registerTool(tool, token, body string) answer {
	b := a.browser()
	if token != "" {
		b.header.Set("Authorization", "Bearer "+token)
	}
	return b.send(http.MethodPost, "/tools/"+tool+"/register", "application/json", body)
}

func (a *academy) discovered(tool string) (endpoint string) {
	a.t.Helper()
	var found struct {
		RegistrationEndpoint string `json:"registration_endpoint"`
	}
	x := a.browser().do(http.MethodGet, "/tools/"+tool+"/.well-known/openid-configuration", nil)
	if err := json.Unmarshal(x.Body.Bytes(), &found); err != nil {
		a.t.Fatal(err)
	}
	return found.RegistrationEndpoint
}

func TestAToolRegisters(t *testing.T) {
	a := registrable(t)
	a.republish(func(table *routing.Table) { toolIn(table, "lab").AssignmentAndGrade = routing.ServiceGrades })
	if got := a.discovered("lab"); got != academyURL+"/tools/lab/register" {
		t.Errorf("registration endpoint %q", got)
	}
	if got := a.discovered("rival"); got != "" {
		t.Errorf("registration endpoint of a tool without a link: %q", got)
	}
	b := a.browser()
	b.header.Set("Authorization", "bearer "+toolLink)
	// Moodle does not say that it is JSON.
	x := b.send(http.MethodPost, "/tools/lab/register", "application/x-www-form-urlencoded", moodleRegisters)
	var given struct {
		ClientID     string   `json:"client_id"`
		RedirectURIs []string `json:"redirect_uris"`
		Scope        string
		Method       string `json:"token_endpoint_auth_method"`
		Tool         struct {
			DeploymentID string `json:"deployment_id"`
			Messages     []struct{ Type string }
		} `json:"https://purl.imsglobal.org/spec/lti-tool-configuration"`
	}
	if err := json.Unmarshal(x.Body.Bytes(), &given); err != nil || x.Code != http.StatusOK || x.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", x.Code, x.Body)
	}
	// The line item scope is not one that spec.services gives.
	if given.ClientID != "lab" || given.Tool.DeploymentID != "lab" || given.Scope != "https://purl.imsglobal.org/spec/lti-ags/scope/score" ||
		len(given.RedirectURIs) != 2 || len(given.Tool.Messages) != 2 || given.Method != "private_key_jwt" {
		t.Errorf("%+v", given)
	}
	found := a.registrations()
	if len(found) != 1 {
		t.Fatalf("%+v", found)
	}
	want := routing.Registration{
		ID: found[0].ID, Kind: routing.KindTool, Name: "lab", RegisteredAt: found[0].RegisteredAt,
		Tool: &routing.RegisteredTool{
			ToolLTI13: routing.ToolLTI13{
				LoginInitiationURL: "https://moodle.example/enrol/lti/login.php?id=7", JWKSURL: "https://moodle.example/jwks.php",
				RedirectURIs: []string{"https://moodle.example/launch.php", "https://moodle.example/deep.php"},
				LaunchURL:    "https://moodle.example/launch.php", DeepLinkingURL: "https://moodle.example/deep.php",
			},
			Name: "Moodle", Scopes: []string{"https://purl.imsglobal.org/spec/lti-ags/scope/lineitem", "https://purl.imsglobal.org/spec/lti-ags/scope/score"},
		},
	}
	if diff := cmp.Diff(want, found[0]); diff != "" || len(found[0].ID) != 20 {
		t.Errorf("registration (-want +got):\n%s", diff)
	}
	// Nothing of it is used before it is approved.
	if got := a.refusedJSON(a.lab().ask(tokenForm(a.lab().assertion(nil), allScopes()...)), lti.NotRegistered); got == "" {
		t.Error("no error")
	}
	if got := a.refusedJSON(a.registerTool("lab", toolLink, moodleRegisters), lti.RegistrationLinkUsed); got != "invalid_token" {
		t.Errorf("error %q", got)
	}
	if len(a.registrations()) != 1 {
		t.Error("a used link registers another one")
	}
	a.republish(func(table *routing.Table) { toolIn(table, "lab").Registration = nil })
	if got := a.discovered("lab"); got != "" {
		t.Errorf("registration endpoint without a link: %q", got)
	}
}

func TestAToolThatIsRefusedLeavesTheLink(t *testing.T) {
	a := registrable(t)
	replace := func(from, to string) string {
		changed := strings.Replace(moodleRegisters, from, to, 1)
		if changed == moodleRegisters {
			t.Fatalf("there is no %s", from)
		}
		return changed
	}
	manyMore := ""
	for i := range 10 {
		manyMore += fmt.Sprintf(`", "https://moodle.example/%d%s`, i, strings.Repeat("x", 2000))
	}
	redirect := func(uri string) string { return replace("https://moodle.example/deep.php", uri) }
	for name, c := range map[string]struct {
		tool, token, body string
		code              lti.Code
		want              string
	}{
		"no token":                 {"lab", "", moodleRegisters, lti.RegistrationLinkInvalid, "invalid_token"},
		"guessed token":            {"lab", "guessed", moodleRegisters, lti.RegistrationLinkInvalid, "invalid_token"},
		"token of another tool":    {"rival", toolLink, moodleRegisters, lti.RegistrationLinkInvalid, "invalid_token"},
		"token of a platform":      {"lab", platformLink, moodleRegisters, lti.RegistrationLinkInvalid, "invalid_token"},
		"tool that is not there":   {"nobody", toolLink, moodleRegisters, lti.RegistrationLinkInvalid, "invalid_token"},
		"script to be sent to":     {"lab", toolLink, redirect("javascript:alert(1)"), lti.RegistrationRedirectInvalid, "invalid_redirect_uri"},
		"http to be sent to":       {"lab", toolLink, redirect("http://moodle.example/deep.php"), lti.RegistrationRedirectInvalid, "invalid_redirect_uri"},
		"fragment to be sent to":   {"lab", toolLink, redirect("https://moodle.example/deep.php#x"), lti.RegistrationRedirectInvalid, "invalid_redirect_uri"},
		"nowhere to be sent to":    {"lab", toolLink, replace(`["https://moodle.example/launch.php", "https://moodle.example/deep.php"]`, "[]"), lti.RegistrationRedirectInvalid, "invalid_redirect_uri"},
		"shared secret":            {"lab", toolLink, replace("private_key_jwt", "client_secret_post"), lti.RegistrationMetadataInvalid, "invalid_client_metadata"},
		"keys over http":           {"lab", toolLink, replace("https://moodle.example/jwks.php", "http://moodle.example/jwks.php"), lti.RegistrationMetadataInvalid, "invalid_client_metadata"},
		"code":                     {"lab", toolLink, replace(`["id_token"]`, `["code"]`), lti.RegistrationMetadataInvalid, "invalid_client_metadata"},
		"form":                     {"lab", toolLink, "redirect_uris=x", lti.RegistrationMetadataInvalid, "invalid_client_metadata"},
		"more than is kept":        {"lab", toolLink, redirect("https://moodle.example/" + strings.Repeat("x", 2000) + manyMore), lti.RegistrationMetadataInvalid, "invalid_client_metadata"},
		"more than a registration": {"lab", toolLink, replace(`"Moodle"`, `"`+strings.Repeat("x", 256<<10)+`"`), lti.RequestTooLarge, "invalid_client_metadata"},
	} {
		x := a.registerTool(c.tool, c.token, c.body)
		if got := a.refusedJSON(x, c.code); got != c.want {
			t.Errorf("%s: error %q", name, got)
		}
		if strings.Contains(x.Body.String(), toolLink) {
			t.Errorf("%s: the answer repeats the token", name)
		}
	}
	if got := a.registrations(); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	undo := a.republish(deactivate("lab"))
	a.refusedJSON(a.registerTool("lab", toolLink, moodleRegisters), lti.ToolDeactivated)
	if got := a.discovered("lab"); got != "" {
		t.Errorf("registration endpoint of a deactivated tool: %q", got)
	}
	undo()
	a.clock.advance(time.Hour)
	a.refusedJSON(a.registerTool("lab", toolLink, moodleRegisters), lti.RegistrationLinkExpired)
	if got := a.discovered("lab"); got != "" {
		t.Errorf("registration endpoint of an expired link: %q", got)
	}
	a.clock.advance(-time.Hour)
	if x := a.registerTool("lab", toolLink, moodleRegisters); x.Code != http.StatusOK {
		t.Errorf("%d %s", x.Code, x.Body)
	}
}

// The control port is for the operator alone.
func TestRegistrationsAreListedForTheOperatorOnly(t *testing.T) {
	a := registrable(t)
	for _, token := range []string{"", "guess", toolLink} {
		r := httptest.NewRequest(http.MethodGet, routing.PathControlRegistrations, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if x := a.serve(a.handler.Control(), r, ""); x.Code != http.StatusUnauthorized {
			t.Errorf("%d %s", x.Code, x.Body)
		}
	}
	if x := a.controlled(http.MethodGet, routing.PathControlRegistrations); x.Body.String() != `{"items":[]}` {
		t.Errorf("%d %s", x.Code, x.Body)
	}
	_ = a.store.Close()
	if x := a.controlled(http.MethodGet, routing.PathControlRegistrations); x.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", x.Code, x.Body)
	}
}

// What a tool has registered is used for choosing once it is approved: the address that it named for that, and its keys.
func TestAToolThatHasRegisteredIsChosenAt(t *testing.T) {
	a := newExternalAcademy(t)
	a.republish(func(table *routing.Table) {
		registrableTable(a.academy)(table)
		table.Academy.Authors = &routing.Authors{Claim: "groups", Values: []string{"course-authors"}}
	})
	b := a.learner(author(zoe()))
	b.dest = "document"
	a.refused(b.do(http.MethodGet, "/tools/lab/choose", nil), lti.NotRegistered)
	if x := a.registerTool("lab", toolLink, strings.ReplaceAll(moodleRegisters, "https://moodle.example/launch.php", "https://lab.example/launch")); x.Code != http.StatusOK {
		t.Fatalf("%d %s", x.Code, x.Body)
	}
	a.refused(b.do(http.MethodGet, "/tools/lab/choose", nil), lti.NotRegistered)

	approved := a.registrations()[0].Tool.ToolLTI13
	approved.JWKSURL, approved.JWKS = "", a.keySet(labKey()) // in place of fetching them
	a.republish(func(table *routing.Table) { toolIn(table, "lab").LTI13 = &approved })
	login := b.choose("lab").location()
	if login.Host != "moodle.example" || login.Query().Get("target_link_uri") != "https://moodle.example/deep.php" {
		t.Errorf("begins at %s", login)
	}
	request := b.authorize(b.request(login.Query())).idToken()
	if request[claim+"message_type"] != "LtiDeepLinkingRequest" || request[claim+"target_link_uri"] != "https://moodle.example/deep.php" {
		t.Errorf("request %v", request)
	}
	response := b.lab().signed(request, nil)
	undo := a.republish(deactivate("lab"))
	a.refused(b.bring("lab", response), lti.ToolDeactivated)
	undo()
	if found := b.bring("lab", response).activities(); len(found) != 1 {
		t.Errorf("chosen %v", found)
	}
}

// Approving another registration ends the former one at once: an access token is of no use to whoever had it before.
func TestAnAccessTokenEndsWithItsRegistration(t *testing.T) {
	a := newExternalAcademy(t)
	token := a.lab().token(allScopes()...)
	read := func() answer {
		return a.lab().callWith(token, http.MethodGet, "/tools/lab/contexts/simulation/memberships", "", "")
	}
	if x := read(); x.Code != http.StatusOK {
		t.Fatalf("%d %s", x.Code, x.Body)
	}
	undo := a.republish(func(table *routing.Table) {
		toolIn(table, "lab").LTI13.RedirectURIs = []string{"https://lab.example/launch"}
	})
	if x := read(); x.Code != http.StatusOK {
		t.Errorf("with the same keys: %d %s", x.Code, x.Body)
	}
	undo()
	undo = a.republish(func(table *routing.Table) {
		r := toolIn(table, "lab").LTI13
		r.JWKS, r.JWKSURL = "", "https://other.example/jwks"
	})
	if got := a.refusedJSON(read(), lti.AccessTokenInvalid); got != "invalid_token" {
		t.Errorf("error %q", got)
	}
	undo()
	a.republish(func(table *routing.Table) { toolIn(table, "lab").LTI13.JWKS = a.keySet(rivalKey()) })
	a.refusedJSON(read(), lti.AccessTokenInvalid)
}

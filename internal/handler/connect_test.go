// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// learnersSecret is ours at the identity provider of the academy's learners.
const learnersSecret = "canary-secret-at-the-identity-provider"

// identityProvider answers as somebody in particular. The demo has one that we did not write; this one can also go wrong.
type identityProvider struct {
	*httptest.Server
	// claims of the next ID token, beside those that every one has.
	claims jwt.MapClaims
	nonce  string
	status int
}

func newIdentityProvider(t *testing.T) *identityProvider {
	t.Helper()
	p := &identityProvider{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(rw http.ResponseWriter, _ *http.Request) {
		if p.status != 0 {
			rw.WriteHeader(p.status)
			return
		}
		_ = json.NewEncoder(rw).Encode(map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/jwks",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256"}, "authorization_response_iss_parameter_supported": true,
		})
	})
	mux.HandleFunc("GET /jwks", func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode(map[string]any{"keys": []routing.JWK{keys.PublicJWK(&strangerKey().PublicKey)}})
	})
	mux.HandleFunc("POST /token", func(rw http.ResponseWriter, r *http.Request) {
		if id, secret, ok := r.BasicAuth(); !ok || id != "lti" || secret != learnersSecret || r.FormValue("code_verifier") == "" {
			http.Error(rw, `{"error":"invalid_client"}`, http.StatusUnauthorized)
			return
		}
		now := time.Now().Unix()
		claims := jwt.MapClaims{"iss": p.URL, "aud": "lti", "iat": now, "exp": now + 60, "auth_time": now, "nonce": p.nonce}
		for name, value := range p.claims {
			claims[name] = value
		}
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
		token.Header["kid"] = keys.PublicJWK(&strangerKey().PublicKey).KeyID
		signed, err := token.SignedString(strangerKey())
		if err != nil {
			panic(err)
		}
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": signed})
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// uses makes it the identity provider of the academy's learners.
func (p *identityProvider) uses(t *routing.Table) {
	t.Academy.Learners = &routing.Learners{IssuerURL: p.URL, ClientID: "lti", SubjectClaim: "account"}
	t.Academy.AllowPrivateCIDRs = []string{"127.0.0.0/8", "::1/128"}
	t.AcademyKeys.LearnersSecret = learnersSecret
}

var pendingField = regexp.MustCompile(`name="launch" value="([^"]+)"`)

// connect presses the button on a page that offers to connect an account, and returns what is asked of the provider.
func (b *browser) connect(x answer) url.Values {
	b.t.Helper()
	m := pendingField.FindStringSubmatch(x.Body.String())
	if m == nil {
		b.t.Fatalf("the page offers nothing: %s", text(x.Body.String()))
	}
	if csp := x.Header().Get("Content-Security-Policy"); strings.Contains(csp, "form-action") {
		b.t.Errorf("the button leads elsewhere, and may not: %s", csp)
	}
	return b.do(http.MethodPost, routing.PathConnect, url.Values{"launch": {m[1]}}).location().Query()
}

// comesBack is the answer to the provider's redirect, of somebody with these claims.
func (p *identityProvider) comesBack(b *browser, asked url.Values, claims jwt.MapClaims) answer {
	b.t.Helper()
	if asked.Get("prompt") != "login" || asked.Get("max_age") == "" || asked.Get("redirect_uri") != academyURL+routing.PathLearnerCallback ||
		asked.Get("code_challenge_method") != "S256" {
		b.t.Errorf("asked %v", asked)
	}
	p.claims, p.nonce = claims, asked.Get("nonce")
	return b.do(http.MethodGet, routing.PathLearnerCallback+"?"+url.Values{"code": {"c"}, "state": {asked.Get("state")}, "iss": {p.URL}}.Encode(), nil)
}

// newAcademyToConnect has a directory with Kim, and an identity provider.
func newAcademyToConnect(t *testing.T) (a *academy, d *directory, p *identityProvider, kim string) {
	a, d = newAcademyWithDirectory(t)
	p = newIdentityProvider(t)
	a.republish(p.uses)
	return a, d, p, d.exists("kim@example.org", "Learner")
}

func launchKim(b *browser) answer {
	return b.launch13(moodle(), "height", person("8", "kim@example.org"))
}

func accountOf(id string) jwt.MapClaims { return jwt.MapClaims{"sub": "u-1", "account": id} }

func TestSigningInOnceConnectsAnAccount(t *testing.T) {
	for _, dest := range []string{"document", "iframe"} {
		t.Run(dest, func(t *testing.T) {
			a, d, p, kim := newAcademyToConnect(t)
			b := a.browser()
			b.dest = dest
			x := launchKim(b)
			a.refused(x, lti.EmailInUse)
			b.dest = "document"
			asked := b.connect(x)
			if got := a.enter(p.comesBack(b, asked, accountOf(kim))).Subject; got != kim {
				t.Fatalf("signed in as %q, not %q", got, kim)
			}
			if u := d.Users.One(kim); u["externalId"] != nil || len(d.Users.All()) != 1 {
				t.Errorf("the directory was changed: %v", u)
			}
			// Once is enough, and the same launch works once.
			if got := a.enter(launchKim(a.browser())).Subject; got != kim {
				t.Errorf("the next launch leads to %q", got)
			}
			a.refused(p.comesBack(b, b.connect(x), accountOf(kim)), lti.Replayed)
		})
	}
}

func TestConnectionsThatAreRefused(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, a *academy, d *directory, p *identityProvider, b *browser, asked url.Values, kim string){
		"another account": func(_ *testing.T, a *academy, d *directory, p *identityProvider, b *browser, asked url.Values, _ string) {
			a.refused(p.comesBack(b, asked, accountOf(d.exists("other@example.org", "Learner"))), lti.AccountMismatch)
			a.refused(launchKim(a.browser()), lti.EmailInUse)
		},
		"an account that is staff by now": func(t *testing.T, a *academy, d *directory, p *identityProvider, b *browser, asked url.Values, kim string) {
			d.Users.Set(kim, map[string]any{"userType": "Staff"})
			x := p.comesBack(b, asked, accountOf(kim))
			a.refused(x, lti.EmailInUse)
			if pendingField.MatchString(x.Body.String()) {
				t.Error("it offers the same again")
			}
		},
		"another browser": func(_ *testing.T, a *academy, _ *directory, p *identityProvider, b *browser, asked url.Values, kim string) {
			a.refused(p.comesBack(a.browser(), asked, accountOf(kim)), lti.StateNotFromThisBrowser)
			a.enter(p.comesBack(b, asked, accountOf(kim)))
		},
		"a sign-in of before the button was pressed": func(_ *testing.T, a *academy, _ *directory, p *identityProvider, b *browser, asked url.Values, kim string) {
			claims := accountOf(kim)
			claims["auth_time"] = time.Now().Add(-time.Hour).Unix()
			a.refused(p.comesBack(b, asked, claims), lti.IdentityProviderInvalid)
		},
		"switched off meanwhile": func(_ *testing.T, a *academy, _ *directory, p *identityProvider, b *browser, asked url.Values, kim string) {
			a.republish(func(tab *routing.Table) { platformIn(tab, "moodle").Active = false })
			a.refused(p.comesBack(b, asked, accountOf(kim)), lti.PlatformDeactivated)
		},
		"too late": func(_ *testing.T, a *academy, _ *directory, p *identityProvider, b *browser, asked url.Values, kim string) {
			a.clock.advance(11 * time.Minute)
			a.refused(p.comesBack(b, asked, accountOf(kim)), lti.StateExpired)
		},
		"another identity provider meanwhile": func(_ *testing.T, a *academy, _ *directory, p *identityProvider, b *browser, asked url.Values, kim string) {
			a.republish(func(tab *routing.Table) { tab.Academy.Learners.ClientID = "other" })
			a.refused(p.comesBack(b, asked, accountOf(kim)), lti.StateExpired)
		},
		"a button that we did not make": func(_ *testing.T, a *academy, _ *directory, _ *identityProvider, b *browser, _ url.Values, _ string) {
			a.refused(b.do(http.MethodPost, routing.PathConnect, url.Values{"launch": {"guessed"}}), lti.LaunchExpired)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, d, p, kim := newAcademyToConnect(t)
			b := a.browser()
			do(t, a, d, p, b, b.connect(launchKim(b)), kim)
		})
	}
}

// Without a directory the accounts are ours, and the provider's word for the address is what counts.
func TestConnectingByAVerifiedAddress(t *testing.T) {
	for name, c := range map[string]struct {
		vouched bool
		claims  jwt.MapClaims
		want    lti.Code
	}{
		"the address is verified":                         {vouched: true, claims: jwt.MapClaims{"email": "Sam@example.org", "email_verified": true}},
		"the address is not verified":                     {vouched: true, claims: jwt.MapClaims{"email": "sam@example.org"}, want: lti.AccountMismatch},
		"another address":                                 {vouched: true, claims: jwt.MapClaims{"email": "other@example.org", "email_verified": true}, want: lti.AccountMismatch},
		"whoever made the account had no right to say so": {claims: jwt.MapClaims{"email": "sam@example.org", "email_verified": true}, want: lti.EmailInUse},
	} {
		t.Run(name, func(t *testing.T) {
			a, p := newAcademy(t), newIdentityProvider(t)
			a.republish(func(tab *routing.Table) {
				p.uses(tab)
				platformIn(tab, "campus").Users.AnyEmail = c.vouched
			})
			b := a.browser()
			first := a.enter(b.launch13(campus(), "height", person("4", "sam@example.org"))).Subject
			claims := jwt.MapClaims{"sub": "u-1", "account": "somewhere else"}
			for name, value := range c.claims {
				claims[name] = value
			}
			x := p.comesBack(b, b.connect(b.launch13(moodle(), "height", person("4", "sam@example.org"))), claims)
			if c.want != "" {
				a.refused(x, c.want)
				return
			}
			if got := a.enter(x).Subject; got != first {
				t.Errorf("signed in as %q, not %q", got, first)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
)

const (
	oidcIssuer   = academyURL + "/oidc"
	initiateURI  = "https://academy.acme.example/sign-in?tenant=1"
	redirectURI  = "https://academy.acme.example/callback"
	codeVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

// signsIn makes the application one that signs people in over OpenID Connect.
func signsIn(a *academy) func(*routing.Table) {
	key := campusKey()
	return func(t *routing.Table) {
		t.AcademyKeys.Clients[0].InitiateLoginURI, t.AcademyKeys.Clients[0].RedirectURIs = initiateURI, []string{redirectURI}
		public := keys.PublicJWK(&key.PublicKey)
		t.Academy.PublicKeys = []routing.JWK{public}
		t.SigningKeys = append(t.SigningKeys, routing.SigningKey{
			Kind: routing.KindAcademy, Name: t.Academy.Name, KeyID: public.KeyID, PrivateKeyPEM: pemOf(a.t, key),
		})
		for _, name := range []string{"height", "ladder"} {
			activityIn(t, name).Share.SignIn, activityIn(t, name).Share.ClientID = routing.SignInOpenIDConnect, clientName
		}
	}
}

func newSignIn(t *testing.T) *academy {
	a := newAcademy(t)
	signsIn(a)(a.table)
	a.publish()
	return a
}

// hint is the handle that a launch sends the browser on with.
func (x answer) hint() string {
	x.t.Helper()
	u := x.location()
	q := u.Query()
	if !strings.HasPrefix(u.String(), initiateURI+"&") || q.Get("iss") != oidcIssuer || q.Get("target_link_uri") == "" || len(q.Get("login_hint")) < 23 {
		x.t.Fatalf("sent on to %s", u)
	}
	return q.Get("login_hint")
}

// authorization is the authentication request of the application.
func authorization(hint string, change url.Values) string {
	challenge := sha256.Sum256([]byte(codeVerifier))
	q := url.Values{
		"client_id": {clientName}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "scope": {"openid profile email"}, "state": {"s-1"},
		"nonce": {"n-1"}, "login_hint": {hint}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
	}
	for name, values := range change {
		q[name] = values
	}
	return routing.PathOIDC + "/authorize?" + q.Encode()
}

func (b *browser) authorize(hint string) answer {
	b.t.Helper()
	return b.do(http.MethodGet, authorization(hint, nil), nil)
}

// authorized is the code in the answer to an authentication request.
func (x answer) authorized() string {
	x.t.Helper()
	u := x.location()
	q := u.Query()
	if !strings.HasPrefix(u.String(), redirectURI+"?") || q.Get("state") != "s-1" || q.Get("iss") != oidcIssuer || q.Get("code") == "" {
		x.t.Fatalf("answered with %s", u)
	}
	return q.Get("code")
}

// denied is the error in the answer to an authentication request.
func (x answer) denied() string {
	x.t.Helper()
	u := x.location()
	if !strings.HasPrefix(u.String(), redirectURI+"?") || u.Query().Get("code") != "" {
		x.t.Fatalf("answered with %s", u)
	}
	return u.Query().Get("error")
}

func (b *browser) exchange(code string, change url.Values) answer {
	b.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI}, "code_verifier": {codeVerifier}}
	for name, values := range change {
		form[name] = values
	}
	b.header.Set("Authorization", basic(clientSecret))
	defer b.header.Del("Authorization")
	return b.do(http.MethodPost, routing.PathOIDC+"/token", form)
}

// signedIn exchanges a code, verifies the ID token by the published keys, and asks for the claims.
func (a *academy) signedIn(code string) jwt.MapClaims {
	a.t.Helper()
	var answer struct {
		Access string `json:"access_token"`
		Type   string `json:"token_type"`
		ID     string `json:"id_token"`
	}
	app := a.browser()
	x := app.exchange(code, nil)
	if err := json.Unmarshal(x.Body.Bytes(), &answer); err != nil || x.Code != http.StatusOK || answer.Type != "Bearer" {
		a.t.Fatalf("%d %s", x.Code, x.Body)
	}
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(answer.ID, claims, func(token *jwt.Token) (any, error) {
		var set struct{ Keys []routing.JWK }
		x := app.do(http.MethodGet, routing.PathOIDC+"/jwks.json", nil)
		if err := json.Unmarshal(x.Body.Bytes(), &set); err != nil {
			return nil, err
		}
		for _, k := range set.Keys {
			if k.KeyID == token.Header["kid"] {
				return keyOf(k)
			}
		}
		return nil, jwt.ErrTokenUnverifiable
	}, jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(oidcIssuer), jwt.WithAudience(clientName), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(a.clock.now))
	if err != nil || claims["nonce"] != "n-1" || claims["auth_time"] == nil {
		a.t.Fatalf("ID token: %v, %v", err, claims)
	}
	info := a.userInfo(answer.Access)
	var person map[string]any
	if err := json.Unmarshal(info.Body.Bytes(), &person); err != nil || person["sub"] != claims["sub"] || person["email"] != claims["email"] {
		a.t.Fatalf("%d %s", info.Code, info.Body)
	}
	return claims
}

func (a *academy) userInfo(token string) answer {
	a.t.Helper()
	app := a.browser()
	app.header.Set("Authorization", "Bearer "+token)
	return app.do(http.MethodGet, routing.PathOIDC+"/userinfo", nil)
}

func TestSignInOverOpenIDConnect(t *testing.T) {
	for name, launch := range map[string]func(b *browser) answer{
		"LTI 1.3": func(b *browser) answer { return b.launch13(moodle(), "height", nil) },
		"LTI 1.2": func(b *browser) answer { return b.launch12("height", "height-key", nil) },
		"from a frame": func(b *browser) answer {
			b.dest = "iframe"
			x := b.launch13(moodle(), "height", nil)
			b.dest = "document"
			return b.open(x.ticket())
		},
		"embedded in a frame": func(b *browser) answer { b.dest = "iframe"; return b.launch13(moodle(), "ladder", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newSignIn(t)
			b := a.browser()
			hint := launch(b).hint()
			code := b.authorize(hint).authorized()
			claims := a.signedIn(code)
			if claims["given_name"] == "" || claims["email"] == "" || claims["launch_id"] == "" || claims["lti_user_id"] != "4" || claims["role"] != "Learner" {
				t.Errorf("claims %v", claims)
			}
			if x := a.browser().exchange(code, nil); x.Code != http.StatusBadRequest || !strings.Contains(x.Body.String(), `"invalid_grant"`) {
				t.Errorf("a code used twice: %d %s", x.Code, x.Body)
			}
			if got := b.authorize(hint).denied(); got != "login_required" {
				t.Errorf("a hint used twice: %s", got)
			}
		})
	}
}

func TestDiscovery(t *testing.T) {
	a := newSignIn(t)
	var found map[string]any
	x := a.browser().do(http.MethodGet, routing.PathOIDC+routing.PathDiscovery, nil)
	if err := json.Unmarshal(x.Body.Bytes(), &found); err != nil || found["issuer"] != oidcIssuer || found["token_endpoint"] != oidcIssuer+"/token" {
		t.Errorf("%v: %s", err, x.Body)
	}
}

// One browser, learners A, B, A in turn and in three tabs: always the right person and activity.
func TestEveryTabSignsInItsOwnPerson(t *testing.T) {
	a := newSignIn(t)
	b := a.browser()
	type tab struct{ user, activity, hint, code string }
	tabs := []*tab{{user: "anna", activity: "height"}, {user: "bert", activity: "ladder"}, {user: "anna", activity: "ladder"}}
	for _, x := range tabs {
		x.hint = b.launch13(moodle(), x.activity, person(x.user, x.user+"@moodle.example")).hint()
	}
	for _, i := range []int{2, 0, 1} {
		tabs[i].code = b.authorize(tabs[i].hint).authorized()
	}
	subjects := map[string]any{}
	for _, x := range tabs {
		claims := a.signedIn(x.code)
		if claims["lti_user_id"] != x.user || claims["activity"] != x.activity {
			t.Errorf("%s in %s is signed in as %v", x.user, x.activity, claims)
		}
		if known := subjects[x.user]; known != nil && known != claims["sub"] {
			t.Errorf("%s has two subjects", x.user)
		}
		subjects[x.user] = claims["sub"]
	}
	if subjects["anna"] == subjects["bert"] {
		t.Error("two people have one subject")
	}
}

func TestSignInsThatAreRefused(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, a *academy, b *browser, hint string){
		"another browser": func(t *testing.T, a *academy, b *browser, hint string) {
			if got := a.browser().authorize(hint).denied(); got != "login_required" {
				t.Error(got)
			}
			b.authorize(hint).authorized() // and spent nothing
		},
		"a handle of a frame made of one of a window": func(t *testing.T, a *academy, _ *browser, hint string) {
			if got := a.browser().authorize("f" + hint[1:]).denied(); got != "login_required" {
				t.Error(got)
			}
		},
		"too late": func(t *testing.T, a *academy, b *browser, hint string) {
			a.clock.advance(61 * time.Second)
			if got := b.authorize(hint).denied(); got != "login_required" {
				t.Error(got)
			}
		},
		"older than max_age": func(t *testing.T, a *academy, b *browser, hint string) {
			a.clock.advance(30 * time.Second)
			if got := b.do(http.MethodGet, authorization(hint, url.Values{"max_age": {"10"}}), nil).denied(); got != "login_required" {
				t.Error(got)
			}
		},
		"another redirect URI": func(_ *testing.T, a *academy, b *browser, hint string) {
			a.refused(b.do(http.MethodGet, authorization(hint, url.Values{"redirect_uri": {redirectURI + "/x"}}), nil), lti.AuthorizationInvalid)
		},
		"an unknown client": func(_ *testing.T, a *academy, b *browser, hint string) {
			a.refused(b.do(http.MethodGet, authorization(hint, url.Values{"client_id": {"other"}}), nil), lti.AuthorizationInvalid)
		},
		"the implicit flow": func(t *testing.T, _ *academy, b *browser, hint string) {
			if got := b.do(http.MethodGet, authorization(hint, url.Values{"response_type": {"id_token"}}), nil).denied(); got != "unsupported_response_type" {
				t.Error(got)
			}
		},
		"switched off before the request": func(_ *testing.T, a *academy, b *browser, hint string) {
			a.republish(func(tab *routing.Table) { platformIn(tab, "moodle").Active = false })
			a.refused(b.authorize(hint), lti.PlatformDeactivated)
		},
		"switched off before the exchange": func(_ *testing.T, a *academy, b *browser, hint string) {
			code := b.authorize(hint).authorized()
			a.republish(func(tab *routing.Table) { tab.Academy.Active = false })
			a.refusedJSON(a.browser().exchange(code, nil), lti.AcademyDeactivated)
		},
		"the activity goes to another application": func(_ *testing.T, a *academy, b *browser, hint string) {
			a.republish(func(tab *routing.Table) { activityIn(tab, "height").Share.ClientID = "another-app" })
			a.refused(b.authorize(hint), lti.SignInNotConfigured)
		},
		"suspended before the request": func(_ *testing.T, a *academy, b *browser, hint string) {
			other := b.authorize(b.launch13(moodle(), "height", nil).hint()).authorized()
			a.browser().setAccount(a.signedIn(other)["sub"].(string), false)
			a.refused(b.authorize(hint), lti.AccountSuspended)
		},
		"another verifier": func(t *testing.T, a *academy, b *browser, hint string) {
			code := b.authorize(hint).authorized()
			x := a.browser().exchange(code, url.Values{"code_verifier": {strings.Repeat("a", 43)}})
			if x.Code != http.StatusBadRequest || !strings.Contains(x.Body.String(), `"invalid_grant"`) {
				t.Errorf("%d %s", x.Code, x.Body)
			}
			a.signedIn(code) // which was not spent
		},
		"a code of the other kind": func(t *testing.T, a *academy, b *browser, hint string) {
			a.refusedJSON(b.redeem(b.authorize(hint).authorized()), lti.CodeInvalid)
			a.refusedJSON(a.browser().exchange("guessed", nil), lti.CodeInvalid)
			_ = t
		},
		"a token that is none": func(t *testing.T, a *academy, _ *browser, _ string) {
			if x := a.userInfo("guessed"); x.Code != http.StatusUnauthorized || !strings.Contains(x.Header().Get("WWW-Authenticate"), "invalid_token") {
				t.Errorf("%d %s", x.Code, x.Body)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newSignIn(t)
			b := a.browser()
			do(t, a, b, b.launch13(moodle(), "height", nil).hint())
		})
	}
}

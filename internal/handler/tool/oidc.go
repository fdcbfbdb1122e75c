// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Handles of launches that go into login_hint begin with where the browser was when it got them: one that was at the top
// has a cookie, and nobody else's browser may use the handle.
const (
	hintTop   = "t"
	hintFrame = "f"
	// hintLifetime is for a handle in a URL.
	hintLifetime = 60 * time.Second
	// signInCookiePrefix starts the name of the cookie that binds a handle to its browser.
	signInCookiePrefix = "__Host-lti-signin-"
)

func (t *Tool) registerOIDC(mux web.Router) {
	mux.HandleFunc("GET "+routing.PathOIDC+routing.PathDiscovery, t.discover)
	mux.HandleFunc("GET "+routing.PathOIDC+"/jwks.json", t.PublicKeys(func(s *Snapshot, _ string) ([]routing.JWK, bool) { return s.Academy.PublicKeys, true }))
	mux.HandleFunc("GET "+routing.PathOIDC+"/authorize", t.authorize)
	mux.HandleFunc("POST "+routing.PathOIDC+"/authorize", t.authorize)
	mux.HandleFunc("POST "+routing.PathOIDC+"/token", t.exchangeCode)
	mux.HandleFunc("GET "+routing.PathOIDC+"/userinfo", t.userInfo)
	mux.HandleFunc("POST "+routing.PathOIDC+"/userinfo", t.userInfo)
}

// arrival is how an accepted launch goes on in the academy: the ticket is stored with the launch, the others go to the
// browser.
type arrival struct {
	ticket   store.NewTicket
	location string
	cookie   *http.Cookie
}

// arrive prepares the way into the activity. top says that the browser shows our answer in a window of its own.
func (t *Tool) arrive(v *visit, activity *routing.Activity, top bool) (*arrival, error) {
	ids, err := t.tokens(2)
	if err != nil {
		return nil, err
	}
	token, secret := ids[0], ids[1]
	now := t.Now()
	if activity.Share.SignIn != routing.SignInOpenIDConnect {
		return &arrival{
			ticket:   store.NewTicket{Kind: store.TicketCode, Hash: store.HashToken(token), ExpiresAt: now.Add(codeLifetime)},
			location: withCode(activity.Share.TargetURL, token),
		}, nil
	}
	client := v.FindClient(activity.Share.ClientID)
	if client == nil || client.InitiateLoginURI == "" {
		return nil, lti.Refuse(lti.SignInNotConfigured, "no application of the academy signs people in to this activity")
	}
	hint := hintFrame + token
	a := &arrival{}
	if top {
		hint = hintTop + token
		a.cookie = signInCookie(hint, secret, int(hintLifetime/time.Second))
	} else {
		secret = ""
	}
	a.ticket = store.NewTicket{Kind: store.TicketHint, Hash: hintHash(hint, client.ClientID, secret), ExpiresAt: now.Add(hintLifetime)}
	// OpenID Connect Core section 4.
	a.location = withQuery(client.InitiateLoginURI, url.Values{
		"iss": {routing.OIDCIssuer(v.Academy.URL)}, "login_hint": {hint}, "target_link_uri": {activity.Share.TargetURL},
	})
	return a, nil
}

// goOn sends the browser on.
func (a *arrival) goOn(rw http.ResponseWriter) {
	if a.cookie != nil {
		http.SetCookie(rw, a.cookie)
	}
	web.Redirect(rw, a.location)
}

// hintHash covers what a handle is bound to, so that it is not found with anything else.
func hintHash(hint, clientID, secret string) store.Hash {
	return store.HashToken(hint + "\n" + clientID + "\n" + secret)
}

// signInCookie comes back with the authentication request, which may be a form of another site.
func signInCookie(hint, value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // SameSite=None is the purpose: the academy may send a form
		Name: signInCookiePrefix + hint[:min(11, len(hint))], Value: value, Path: "/", MaxAge: maxAge,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode,
	}
}

// discover serves the provider's metadata (OpenID Connect Discovery 1.0 section 3).
func (t *Tool) discover(rw http.ResponseWriter, _ *http.Request) {
	s := t.snapshot.Load()
	if s == nil {
		web.WriteJSON(rw, http.StatusServiceUnavailable, map[string]string{"error": oauthUnavailable})
		return
	}
	issuer := routing.OIDCIssuer(s.Academy.URL)
	web.WriteJSON(rw, http.StatusOK, map[string]any{
		"issuer":                                issuer,
		"authorization_endpoint":                issuer + "/authorize",
		"token_endpoint":                        issuer + "/token",
		"userinfo_endpoint":                     issuer + "/userinfo",
		"jwks_uri":                              issuer + "/jwks.json",
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              []string{"query"},
		"grant_types_supported":                 []string{"authorization_code", "client_credentials"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
		"code_challenge_methods_supported":      []string{"S256"},
		"scopes_supported":                      append([]string{"openid", "profile", "email"}, identity.ClientScopes()...),
		"claims_supported": []string{
			"sub", "name", "given_name", "family_name", "email", "email_verified", "launch_id", "activity", "platform", "role", "lti_user_id",
		},
		"request_parameter_supported":                    false,
		"request_uri_parameter_supported":                false,
		"authorization_response_iss_parameter_supported": true,
	})
}

// authorize answers an authentication request (OpenID Connect Core section 3.1.2): who the person is was settled by the
// launch that login_hint is the handle of.
func (t *Tool) authorize(rw http.ResponseWriter, r *http.Request) {
	t.serve(rw, r, "", func(v *visit) error {
		v.about.FrameAncestors = ""
		params, err := loginParams(rw, r)
		if err != nil {
			return err
		}
		a, err := identity.ParseAuthorization(params, v.oidcClient)
		if a == nil {
			return identityRefusal(err)
		}
		issuer := routing.OIDCIssuer(v.Academy.URL)
		back := func(err error, code identity.ErrorCode, description string) error {
			t.Web.Note(r, &v.about, err)
			web.Redirect(rw, a.ErrorURL(issuer, &identity.Error{Code: code, Description: description}))
			return nil
		}
		if e := (&identity.Error{}); errors.As(err, &e) {
			return back(identityRefusal(err), e.Code, e.Description)
		}
		ids, err := t.tokens(1)
		if err != nil {
			return err
		}
		now := t.Now()
		secret := ""
		if strings.HasPrefix(a.LoginHint, hintTop) {
			cookie := signInCookie(a.LoginHint, "", -1)
			if c, err := r.Cookie(cookie.Name); err == nil {
				secret = c.Value
			}
			if secret == "" {
				return back(lti.Refuse(lti.StateNotFromThisBrowser, ""), identity.LoginRequired, "this browser was not launched, or keeps no cookies")
			}
			http.SetCookie(rw, cookie)
		}
		next := store.NewTicket{Kind: store.TicketCode, Hash: store.HashToken(ids[0]), ExpiresAt: now.Add(identity.CodeLifetime)}
		launched, err := t.Store.ExchangeTicket(r.Context(), store.TicketHint, hintHash(a.LoginHint, a.ClientID, secret), next)
		if err != nil {
			refusal := storeRefusal(err)
			if code := lti.CodeOf(refusal); code == lti.StoreUnavailable || code == lti.AccountSuspended {
				return refusal
			}
			return back(refusal, identity.LoginRequired, "login_hint is unknown, used or too old: open the activity again")
		}
		v.about.Version = launched.Version
		activity, err := v.stillOpen(&launched)
		if err != nil {
			return err
		}
		if activity.Share.SignIn != routing.SignInOpenIDConnect || activity.Share.ClientID != a.ClientID {
			return lti.Refuse(lti.SignInNotConfigured, "the activity is that of another application")
		}
		if a.MaxAge >= 0 && now.Sub(launched.CreatedAt) > a.MaxAge {
			return back(lti.Refuse(lti.LaunchExpired, ""), identity.LoginRequired, "the launch is older than max_age")
		}
		code, err := v.sealer.NewCode(a, ids[0], launched.CreatedAt, now)
		if err != nil {
			return err
		}
		web.Redirect(rw, a.CodeURL(issuer, code))
		return nil
	})
}

func (v *visit) oidcClient(id string) *identity.Client {
	c := v.FindClient(id)
	if c == nil || c.InitiateLoginURI == "" {
		return nil
	}
	return &identity.Client{ID: c.ClientID, RedirectURIs: c.RedirectURIs}
}

// identityRefusal is the refusal for what a client did wrong.
func identityRefusal(err error) error {
	var e *identity.Error
	if !errors.As(err, &e) {
		return err
	}
	code := lti.AuthorizationInvalid
	switch e.Code {
	case identity.InvalidGrant:
		code = lti.CodeInvalid
	case identity.InvalidToken:
		code = lti.AccessTokenInvalid
	}
	return lti.Refuse(code, "%s", e.Description).Because(err)
}

// oidcError is the error code of OAuth 2.0 for a refusal.
func oidcError(err error) string {
	if e := (&identity.Error{}); errors.As(err, &e) {
		return string(e.Code)
	}
	return oauthError(err)
}

// exchangeCode answers a token request (OpenID Connect Core section 3.1.3). The code is spent last.
func (t *Tool) exchangeCode(rw http.ResponseWriter, r *http.Request) {
	v := &visit{Snapshot: t.snapshot.Load(), about: web.About{Role: "tool"}}
	answer, err := func() (map[string]any, error) {
		if v.Snapshot == nil {
			return nil, lti.Refuse(lti.NotReady, "no routing table yet")
		}
		params, err := web.ReadForm(rw, r)
		if err != nil {
			return nil, err
		}
		client, err := v.authenticate(r, params)
		if err != nil {
			return nil, err
		}
		now := t.Now()
		if grant, _, err := params.Only("grant_type"); err == nil && grant == "client_credentials" {
			return v.clientToken(params, client, now)
		}
		code, err := v.sealer.OpenCode(params, client, now)
		if err != nil {
			return nil, identityRefusal(err)
		}
		key, err := v.oidcKey()
		if err != nil {
			return nil, lti.Refuse(lti.NotReady, "the academy has no signing key yet").Because(err)
		}
		launched, err := t.Store.RedeemCode(r.Context(), store.HashToken(code.Ticket))
		if err != nil {
			return nil, redeemRefusal(err)
		}
		person, err := v.person(&launched)
		if err != nil {
			return nil, err
		}
		access, err := v.sealer.NewAccessToken(code, launched.ID, now)
		if err != nil {
			return nil, err
		}
		claims := identity.IDTokenClaims(routing.OIDCIssuer(v.Academy.URL), code, launched.Subject, access, person, now)
		idToken, err := key.Sign(claims)
		if err != nil {
			return nil, err
		}
		return map[string]any{
			"access_token": access, "token_type": "Bearer", "expires_in": int(identity.TokenLifetime / time.Second),
			"scope": strings.Join(code.Scopes, " "), "id_token": idToken,
		}, nil
	}()
	if err != nil {
		t.Web.RefuseJSON(rw, r, &v.about, err, oidcError(err))
		return
	}
	rw.Header().Set("Pragma", "no-cache")
	web.WriteJSON(rw, http.StatusOK, answer)
}

// clientToken answers a token request of an application that acts for itself.
func (v *visit) clientToken(params lti.Params, client string, now time.Time) (map[string]any, error) {
	token, scopes, err := v.sealer.NewClientToken(params, client, now)
	if err != nil {
		return nil, identityRefusal(err)
	}
	return map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": int(identity.TokenLifetime / time.Second), "scope": strings.Join(scopes, " "),
	}, nil
}

// person is what a client may know of the person of a launch, as long as that may be opened.
func (v *visit) person(l *store.Launch) (map[string]any, error) {
	v.about.Version = l.Version
	if !v.Academy.Active {
		return nil, lti.Refuse(lti.AcademyDeactivated, "")
	}
	activity, err := v.stillOpen(l)
	if err != nil {
		return nil, err
	}
	claims, err := claimsOf(l, activity)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	var person map[string]any
	return person, json.Unmarshal(text, &person)
}

// userInfo answers with the claims of the launch that an access token is for (OpenID Connect Core section 5.3).
func (t *Tool) userInfo(rw http.ResponseWriter, r *http.Request) {
	v := &visit{Snapshot: t.snapshot.Load(), about: web.About{Role: "tool"}}
	claims, err := func() (map[string]any, error) {
		if v.Snapshot == nil {
			return nil, lti.Refuse(lti.NotReady, "no routing table yet")
		}
		token, ok := web.BearerToken(r)
		if !ok {
			return nil, lti.Refuse(lti.AccessTokenInvalid, "there is no bearer token")
		}
		access, err := v.sealer.OpenAccessToken(token, t.Now())
		if err != nil {
			return nil, identityRefusal(err)
		}
		if v.oidcClient(access.ClientID) == nil {
			return nil, lti.Refuse(lti.AccessTokenInvalid, "the application is gone")
		}
		launched, err := t.Store.Launch(r.Context(), access.LaunchID)
		if errors.Is(err, store.ErrNotFound) {
			return nil, lti.Refuse(lti.AccessTokenInvalid, "the launch is gone").Because(err)
		}
		if err != nil {
			return nil, storeRefusal(err)
		}
		person, err := v.person(&launched)
		if err != nil {
			return nil, err
		}
		return identity.Claims(access.Scopes, person), nil
	}()
	if err != nil {
		t.refuseClient(rw, r, v, err)
		return
	}
	web.WriteJSON(rw, http.StatusOK, claims)
}

// refuseClient refuses a request of an application; with a token that is no good it is told so (RFC 6750 section 3).
func (t *Tool) refuseClient(rw http.ResponseWriter, r *http.Request, v *visit, err error) {
	if lti.CodeOf(err) == lti.AccessTokenInvalid {
		rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	}
	t.Web.RefuseJSON(rw, r, &v.about, err, oauthError(err))
}

// caller is the application that a request to our API is from: by an access token for the scope, or by its secret.
func (v *visit) caller(r *http.Request, scope string, now time.Time) (clientID string, err error) {
	token, ok := web.BearerToken(r)
	if !ok {
		return v.authenticate(r, nil)
	}
	clientID, err = v.sealer.OpenClientToken(token, scope, now)
	if err != nil {
		return "", identityRefusal(err)
	}
	if v.FindClient(clientID) == nil {
		return "", lti.Refuse(lti.AccessTokenInvalid, "the application is gone")
	}
	return clientID, nil
}

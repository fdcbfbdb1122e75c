// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/lti"
)

var now = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

const (
	issuer   = "https://lti.acme.example/oidc"
	callback = "https://academy.acme.example/callback"
	// RFC 7636 appendix B.
	verifier        = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	verifiersDigest = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

func academy(id string) *Client {
	if id != "academy" {
		return nil
	}
	return &Client{ID: id, RedirectURIs: []string{callback, "https://academy.acme.example/cb?x=1"}}
}

func params(t *testing.T, values url.Values) lti.Params {
	t.Helper()
	p, err := lti.ParseForm(values.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(edit ...string) url.Values {
	v := url.Values{
		"client_id": {"academy"}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid profile email"},
		"state": {"s&t=1"}, "nonce": {"n1"}, "code_challenge": {verifiersDigest}, "code_challenge_method": {"S256"},
		"login_hint": {"hint"},
	}
	change(v, edit)
	return v
}

// change sets names to values; "-" takes a name away, and "+value" adds a second one.
func change(v url.Values, edit []string) {
	for i := 0; i < len(edit); i += 2 {
		switch name, value := edit[i], edit[i+1]; {
		case value == "-":
			v.Del(name)
		case strings.HasPrefix(value, "+"):
			v.Add(name, value[1:])
		default:
			v.Set(name, value)
		}
	}
}

func wantCode(t *testing.T, err error, code ErrorCode) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("error = %v, want %s", err, code)
	}
}

func TestAuthorizationsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		edit []string
		code ErrorCode
		// stays is set when nobody may be sent to the redirect URI.
		stays bool
	}{
		"no client":                  {[]string{"client_id", "-"}, InvalidClient, true},
		"an unknown client":          {[]string{"client_id", "other"}, InvalidClient, true},
		"two clients":                {[]string{"client_id", "+academy"}, InvalidRequest, true},
		"no redirect URI":            {[]string{"redirect_uri", "-"}, InvalidRequest, true},
		"a redirect URI below it":    {[]string{"redirect_uri", callback + "/x"}, InvalidRequest, true},
		"a redirect URI with query":  {[]string{"redirect_uri", callback + "?x=1"}, InvalidRequest, true},
		"a redirect URI elsewhere":   {[]string{"redirect_uri", "https://evil.example/callback"}, InvalidRequest, true},
		"a script as redirect URI":   {[]string{"redirect_uri", "javascript:alert(1)"}, InvalidRequest, true},
		"another case":               {[]string{"redirect_uri", "https://ACADEMY.acme.example/callback"}, InvalidRequest, true},
		"two redirect URIs":          {[]string{"redirect_uri", "+https://evil.example/"}, InvalidRequest, true},
		"two states":                 {[]string{"state", "+x"}, InvalidRequest, false},
		"a long state":               {[]string{"state", strings.Repeat("x", maxEcho+1)}, InvalidRequest, false},
		"no response type":           {[]string{"response_type", "-"}, UnsupportedResponseType, false},
		"the implicit flow":          {[]string{"response_type", "id_token"}, UnsupportedResponseType, false},
		"the hybrid flow":            {[]string{"response_type", "code id_token"}, UnsupportedResponseType, false},
		"another response mode":      {[]string{"response_mode", "fragment"}, InvalidRequest, false},
		"no scope":                   {[]string{"scope", "-"}, InvalidScope, false},
		"not OpenID Connect":         {[]string{"scope", "profile"}, InvalidScope, false},
		"a long nonce":               {[]string{"nonce", strings.Repeat("x", maxEcho+1)}, InvalidRequest, false},
		"a plain challenge":          {[]string{"code_challenge_method", "plain"}, InvalidRequest, false},
		"a challenge without method": {[]string{"code_challenge_method", "-"}, InvalidRequest, false},
		"a short challenge":          {[]string{"code_challenge", "abc"}, InvalidRequest, false},
		"neither PKCE nor nonce":     {[]string{"code_challenge", "-", "nonce", "-"}, InvalidRequest, false},
		"no hint":                    {[]string{"login_hint", "-"}, LoginRequired, false},
		"two hints":                  {[]string{"login_hint", "+other"}, InvalidRequest, false},
		"a request object":           {[]string{"request", "eyJ"}, RequestNotSupported, false},
		"a request URI":              {[]string{"request_uri", "https://evil.example/"}, RequestURINotSupported, false},
		"max_age":                    {[]string{"max_age", "-1"}, InvalidRequest, false},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := ParseAuthorization(params(t, request(c.edit...)), academy)
			wantCode(t, err, c.code)
			if stays := a == nil; stays != c.stays {
				t.Fatalf("stays = %v, want %v", stays, c.stays)
			}
			if a != nil && !slices.Contains([]string{callback}, a.RedirectURI) {
				t.Errorf("redirect URI %q", a.RedirectURI)
			}
		})
	}
}

func TestAnAuthorization(t *testing.T) {
	a, err := ParseAuthorization(params(t, request("scope", "openid offline_access email openid", "max_age", "60", "prompt", "none")), academy)
	if err != nil {
		t.Fatal(err)
	}
	want := &Authorization{
		ClientID: "academy", RedirectURI: callback, State: "s&t=1", Nonce: "n1", Challenge: verifiersDigest,
		Scopes: []string{"openid", "email"}, LoginHint: "hint", MaxAge: time.Minute,
	}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Error(diff)
	}
	for _, redirect := range []string{callback, "https://academy.acme.example/cb?x=1"} {
		a.RedirectURI = redirect
		for _, answer := range []string{a.CodeURL(issuer, "c+d"), a.ErrorURL(issuer, fail(LoginRequired, "an & and a space"))} {
			u, err := url.Parse(answer)
			if err != nil || !strings.HasPrefix(answer, redirect) {
				t.Fatalf("%s: %v", answer, err)
			}
			q := u.Query()
			if q.Get("state") != "s&t=1" || q.Get("iss") != issuer || q.Get("code") == "" && q.Get("error_description") != "an & and a space" {
				t.Errorf("answer %s", answer)
			}
		}
	}
}

func sealer(t *testing.T, keys ...byte) *Sealer {
	t.Helper()
	var all [][]byte
	for _, k := range keys {
		all = append(all, bytes.Repeat([]byte{k}, minSealKey))
	}
	s, err := NewSealer(rand.Reader, all...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func code(t *testing.T, s *Sealer, edit ...string) string {
	t.Helper()
	a, err := ParseAuthorization(params(t, request(edit...)), academy)
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.NewCode(a, "ticket", now.Add(-time.Second), now)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func exchange(code string, edit ...string) url.Values {
	v := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	change(v, edit)
	return v
}

func TestACodeIsForWhomItWasMade(t *testing.T) {
	s := sealer(t, 1)
	good, bare := code(t, s), code(t, s, "code_challenge", "-")
	token, err := s.NewAccessToken(&Code{ClientID: "academy"}, "launch", now)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		code, client string
		after        time.Duration
		edit         []string
		want         ErrorCode
	}{
		"good":                          {code: good},
		"good at the last second":       {code: good, after: CodeLifetime - time.Second},
		"without PKCE":                  {code: bare, edit: []string{"code_verifier", "-"}},
		"expired":                       {code: good, after: CodeLifetime, want: InvalidGrant},
		"another client":                {code: good, client: "other", want: InvalidGrant},
		"another redirect URI":          {code: good, edit: []string{"redirect_uri", "https://academy.acme.example/cb?x=1"}, want: InvalidGrant},
		"no redirect URI":               {code: good, edit: []string{"redirect_uri", "-"}, want: InvalidGrant},
		"another verifier":              {code: good, edit: []string{"code_verifier", strings.Repeat("a", 43)}, want: InvalidGrant},
		"no verifier":                   {code: good, edit: []string{"code_verifier", "-"}, want: InvalidGrant},
		"a verifier without challenge":  {code: bare, want: InvalidGrant},
		"no code":                       {code: "", want: InvalidRequest},
		"two codes":                     {code: good, edit: []string{"code", "+" + good}, want: InvalidRequest},
		"no grant type":                 {code: good, edit: []string{"grant_type", "-"}, want: InvalidRequest},
		"another grant type":            {code: good, edit: []string{"grant_type", "password"}, want: UnsupportedGrantType},
		"a code of somebody else's key": {code: code(t, sealer(t, 2)), want: InvalidGrant},
		"an access token":               {code: token, want: InvalidGrant},
		"text":                          {code: "!", want: InvalidGrant},
		"a short text":                  {code: "AAAA", want: InvalidGrant},
	} {
		t.Run(name, func(t *testing.T) {
			client := c.client
			if client == "" {
				client = "academy"
			}
			got, err := s.OpenCode(params(t, exchange(c.code, c.edit...)), client, now.Add(c.after))
			if c.want != "" {
				wantCode(t, err, c.want)
				return
			}
			if err != nil || got.Ticket != "ticket" || got.Nonce != "n1" {
				t.Errorf("code = %+v, %v", got, err)
			}
		})
	}
}

func TestNoChangedCharacterOfACodeIsAccepted(t *testing.T) {
	s := sealer(t, 1)
	good := code(t, s)
	for i := range len(good) {
		for _, c := range "Aa0_" {
			if good[i] == byte(c) {
				continue
			}
			changed := good[:i] + string(c) + good[i+1:]
			if _, err := s.OpenCode(params(t, exchange(changed)), "academy", now); err == nil {
				t.Fatalf("character %d may be %c", i, c)
			}
		}
	}
}

func TestKeysAreReplacedWithoutFailingASignIn(t *testing.T) {
	old, both, fresh := sealer(t, 1), sealer(t, 2, 1), sealer(t, 2)
	if _, err := both.OpenCode(params(t, exchange(code(t, old))), "academy", now); err != nil {
		t.Error(err)
	}
	if _, err := fresh.OpenCode(params(t, exchange(code(t, both))), "academy", now); err != nil {
		t.Error(err)
	}
	if _, err := fresh.OpenCode(params(t, exchange(code(t, old))), "academy", now); err == nil {
		t.Error("a key that is gone still opens")
	}
	for _, keys := range [][][]byte{nil, {make([]byte, minSealKey-1)}} {
		if _, err := NewSealer(rand.Reader, keys...); err == nil {
			t.Error("a sealer without a good key")
		}
	}
}

func TestAnAccessToken(t *testing.T) {
	s := sealer(t, 1)
	text, err := s.NewAccessToken(&Code{ClientID: "academy", Scopes: []string{"openid"}}, "launch", now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.OpenAccessToken(text, now.Add(TokenLifetime-time.Second))
	want := &AccessToken{LaunchID: "launch", ClientID: "academy", Scopes: []string{"openid"}, ExpiresAt: now.Add(TokenLifetime).Unix()}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for name, bad := range map[string]string{"a code": code(t, s), "nothing": "", "text": "Bearer"} {
		_, err := s.OpenAccessToken(bad, now)
		if wantCode(t, err, InvalidToken); t.Failed() {
			t.Fatal(name)
		}
	}
	_, err = s.OpenAccessToken(text, now.Add(TokenLifetime))
	wantCode(t, err, InvalidToken)
}

func TestWhatAClientIsTold(t *testing.T) {
	person := map[string]any{
		"name": "Zoë Smit", "email": "zoe@example.edu", "email_verified": true, "activity": "height", "aud": "somebody", "locale": "nl",
	}
	// The access token and its at_hash of OpenID Connect Core appendix A.3.
	got := IDTokenClaims(issuer, &Code{ClientID: "academy", Scopes: []string{"openid", "email"}, Nonce: "n1", LaunchedAt: 17},
		"s1", "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y", person, now)
	want := map[string]any{
		"iss": issuer, "sub": "s1", "aud": "academy", "iat": now.Unix(), "exp": now.Add(IDTokenLifetime).Unix(), "auth_time": int64(17),
		"nonce": "n1", "at_hash": "77QmUPtjPfzWtF2AnpK9RQ",
		"email": "zoe@example.edu", "email_verified": true, "activity": "height",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if person["aud"] != "somebody" || len(person) != 6 {
		t.Errorf("the person was changed: %v", person)
	}
	if all := Claims([]string{"openid", "profile", "email"}, person); len(all) != len(person) {
		t.Errorf("with all scopes: %v", all)
	}
	if challenge(verifier) != verifiersDigest {
		t.Error("not the challenge of RFC 7636 appendix B")
	}
}

// SPDX-License-Identifier: Apache-2.0

package launches

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Provider is the identity provider of the academy's learners (OpenID Connect Core 1.0 section 3.1). Whoever opens an
// activity is signed in there already.
type Provider struct {
	// Issuer is its address, as the launch handler reaches it.
	Issuer, ClientID, ClientSecret string

	key   *rsa.PrivateKey
	mu    sync.Mutex
	codes map[string]signIn
}

// signIn is one that waits for the launch handler to fetch it.
type signIn struct{ idToken, challenge, redirect string }

// NewProvider returns a provider with a signing key of its own.
func NewProvider(issuer, clientID, clientSecret string) (*Provider, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	return &Provider{Issuer: issuer, ClientID: clientID, ClientSecret: clientSecret, key: key, codes: map[string]signIn{}}, err
}

// SignIn is what a browser with that learner's session brings back, when it was sent to the provider with that request. What
// costs something is done here, before the launch handler asks for it.
func (p *Provider) SignIn(asked *url.URL, who Person) (url.Values, error) {
	q, code, now := asked.Query(), rand.Text(), time.Now().Unix()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": p.Issuer, "aud": p.ClientID, "iat": now, "exp": now + 300, "auth_time": now, "nonce": q.Get("nonce"),
		"sub": who.ID, "email": who.Email, "email_verified": true,
		"name": who.Name(), "given_name": who.GivenName, "family_name": who.FamilyName,
	})
	token.Header["kid"] = keys.PublicJWK(&p.key.PublicKey).KeyID
	text, err := token.SignedString(p.key)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.codes[code] = signIn{text, q.Get("code_challenge"), q.Get("redirect_uri")}
	return url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.Issuer}}, nil
}

// Handler answers the launch handler.
func (p *Provider) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(rw http.ResponseWriter, _ *http.Request) {
		writeJSON(rw, map[string]any{
			"issuer": p.Issuer, "authorization_endpoint": p.Issuer + "/authorize", "token_endpoint": p.Issuer + "/token", "jwks_uri": p.Issuer + "/jwks",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256"}, "authorization_response_iss_parameter_supported": true,
		})
	})
	mux.HandleFunc("GET /jwks", func(rw http.ResponseWriter, _ *http.Request) {
		writeJSON(rw, map[string]any{"keys": []routing.JWK{keys.PublicJWK(&p.key.PublicKey)}})
	})
	mux.HandleFunc("POST /token", p.token)
	return mux
}

func (p *Provider) token(rw http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	code := r.PostFormValue("code")
	p.mu.Lock()
	signed, known := p.codes[code]
	delete(p.codes, code)
	p.mu.Unlock()
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	switch {
	case !ok || id != p.ClientID || secret != p.ClientSecret:
		http.Error(rw, `{"error":"invalid_client"}`, http.StatusUnauthorized)
		return
	case !known || signed.redirect != r.PostFormValue("redirect_uri") || signed.challenge != base64.RawURLEncoding.EncodeToString(challenge[:]):
		http.Error(rw, `{"error":"invalid_grant"}`, http.StatusBadRequest)
		return
	}
	writeJSON(rw, map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "id_token": signed.idToken})
}

func writeJSON(rw http.ResponseWriter, value any) {
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(value)
}

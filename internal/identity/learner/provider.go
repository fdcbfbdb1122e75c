// SPDX-License-Identifier: Apache-2.0

package learner

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

// How long a discovery document counts.
const (
	// discoveryLifetime is how long it is used without asking again; the keys that came with it are forgotten as well.
	discoveryLifetime = time.Hour
	// staleLifetime is how long it is used while there is no good answer when the provider is asked again.
	staleLifetime = 24 * time.Hour
	// retryInterval is how long a provider is left alone after an answer that was not good, or none.
	retryInterval = 5 * time.Second
	// discoveryTimeout is for a client that has none.
	discoveryTimeout = 10 * time.Second
)

// Provider is the academy's identity provider. It may be used by many goroutines.
type Provider struct {
	cfg    Config
	client *http.Client
	now    func() time.Time

	discovery singleflight.Group
	mu        sync.Mutex
	known     *metadata
	failure   error     // of the last discovery
	failedAt  time.Time // when that was
}

// metadata is what the provider says about itself (OpenID Connect Discovery 1.0 section 3, RFC 9207 section 3).
type metadata struct {
	*oidc.Provider
	endpoint   oauth2.Endpoint
	keys       oidc.KeySet
	algorithms []string
	// sendsIssuer is set when every authorization response has the parameter iss.
	sendsIssuer bool
	hasUserInfo bool
	fetchedAt   time.Time
}

// New returns the provider of a configuration. It asks nobody anything: a provider that is down, or wrong, is noticed when
// somebody signs in.
//
// client is one that refuses addresses that must not be reached and bounds time: that of egress.Client.HTTP. A sign-in makes
// up to four requests (discovery, token, keys, UserInfo), of which each takes as long as client and context permit.
func New(cfg Config, client *http.Client, now func() time.Time) *Provider {
	return &Provider{cfg: cfg.withDefaults(), client: bounded(client), now: now}
}

// discover returns what the provider says about itself, from memory if it can. Concurrent callers share one request, which
// goes on when the browser of the first is gone.
func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	if m, err := p.remembered(); m != nil || err != nil {
		return m, err
	}
	detached := context.WithoutCancel(ctx)
	flight := p.discovery.DoChan("", func() (any, error) {
		// Another one may have come back since we looked.
		if m, err := p.remembered(); m != nil || err != nil {
			return m, err
		}
		ctx, cancel := context.WithTimeout(detached, discoveryTimeout)
		defer cancel()
		m, err := p.fetch(ctx)
		p.mu.Lock()
		p.failure, p.failedAt = err, p.now()
		if err == nil {
			p.known = m
		}
		p.mu.Unlock()
		if err == nil {
			return m, nil
		}
		if stale, _ := p.remembered(); stale != nil {
			return stale, nil
		}
		return nil, err
	})
	select {
	case <-ctx.Done():
		return nil, unavailable("discovery", ctx.Err())
	case done := <-flight:
		m, _ := done.Val.(*metadata)
		return m, done.Err
	}
}

// remembered returns the document to use without asking, or the error of a provider to be left alone; neither when it is
// time to ask.
func (p *Provider) remembered() (*metadata, error) {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	age := staleLifetime
	if p.known != nil {
		age = now.Sub(p.known.fetchedAt)
	}
	switch {
	case age < discoveryLifetime:
		return p.known, nil
	case p.failure == nil || now.Sub(p.failedAt) >= retryInterval:
		return nil, nil
	case age < staleLifetime:
		return p.known, nil
	}
	return nil, p.failure
}

// fetch reads the discovery document.
func (p *Provider) fetch(ctx context.Context) (*metadata, error) {
	const where = "discovery"
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.cfg.IssuerURL)
	if _, ok := errors.AsType[*oidc.IssuerMismatchError](err); ok {
		return nil, invalid("%s: the document is that of another issuer; the issuer URL has to be the same in every character", where)
	}
	if err != nil {
		return nil, fetchError(where, err, invalid("%s: the document cannot be read", where))
	}
	var document struct {
		KeysURL     string   `json:"jwks_uri"`
		Algorithms  []string `json:"id_token_signing_alg_values_supported"`
		AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
		SendsIssuer bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := found.Claims(&document); err != nil {
		return nil, invalid("%s: the document cannot be read", where)
	}
	m := &metadata{
		Provider: found, endpoint: found.Endpoint(), algorithms: algorithms(document.Algorithms),
		sendsIssuer: document.SendsIssuer, hasUserInfo: p.isEndpoint(found.UserInfoEndpoint()), fetchedAt: p.now(),
	}
	for name, address := range map[string]string{
		"authorization_endpoint": m.endpoint.AuthURL, "token_endpoint": m.endpoint.TokenURL, "jwks_uri": document.KeysURL,
	} {
		if !p.isEndpoint(address) {
			return nil, invalid("%s: %s is missing or no https URL", where, name)
		}
	}
	if len(m.algorithms) == 0 {
		return nil, invalid("%s: ID tokens are signed with none of the algorithms that are accepted", where)
	}
	// Both are allowed by default, and Basic is what every provider must have (RFC 6749 section 2.3.1).
	m.endpoint.AuthStyle = oauth2.AuthStyleInHeader
	byForm := slices.Contains(document.AuthMethods, "client_secret_post") && !slices.Contains(document.AuthMethods, "client_secret_basic")
	if byForm || p.cfg.ClientSecret == "" {
		m.endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	// The set fetches keys when a token asks for them, by a request that outlives this one.
	m.keys = oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), p.client), document.KeysURL)
	return m, nil
}

// isEndpoint reports whether browsers or secrets may be sent to an address. Plain http is for an issuer that has it too: one
// on a developer's machine.
func (p *Provider) isEndpoint(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	issuer, err := url.Parse(p.cfg.IssuerURL)
	return u.Scheme == "https" || u.Scheme == "http" && err == nil && issuer.Scheme == "http"
}

// algorithms returns which of the announced algorithms are accepted: all that have a public key. With a symmetric one,
// whoever knows our secret could sign, and with "none" anybody. RS256 is what a provider has that announces nothing
// (OpenID Connect Core 1.0 section 3.1.3.7 item 7).
func algorithms(announced []string) []string {
	if len(announced) == 0 {
		return []string{oidc.RS256}
	}
	var out []string
	for _, a := range announced {
		switch a {
		case oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA:
			out = append(out, a)
		}
	}
	return out
}

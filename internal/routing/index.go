// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"crypto/subtle"
	"net/url"
	"slices"
	"strings"
)

// Index answers the questions that a launch asks of a table, each in constant time. It is immutable.
type Index struct {
	Hash    string
	Academy Academy
	Keys    AcademyKeys

	bases       map[string]string // by host
	platforms   map[string]*Platform
	tools       map[string]*Tool
	activities  map[string]*Activity
	credentials map[string]*Credential
	external    map[string]*ExternalCredential // by activity
	redirects   map[redirect]bool
	signingKeys map[string]*SigningKey // by kind/name
}

// redirect is an address that an ID token for a tool may be posted to.
type redirect struct{ tool, uri string }

// NewIndex prepares a table for serving.
func NewIndex(hash string, t *Table) *Index {
	x := &Index{
		Hash:        hash,
		Academy:     t.Academy,
		Keys:        t.AcademyKeys,
		bases:       make(map[string]string, len(t.Academy.Aliases)+1),
		platforms:   make(map[string]*Platform, len(t.Platforms)),
		tools:       make(map[string]*Tool, len(t.Tools)),
		activities:  make(map[string]*Activity, len(t.Activities)),
		credentials: make(map[string]*Credential, len(t.Credentials)),
		external:    make(map[string]*ExternalCredential, len(t.ExternalCredentials)),
		redirects:   map[redirect]bool{},
		signingKeys: make(map[string]*SigningKey, len(t.SigningKeys)),
	}
	for _, address := range slices.Concat(t.Academy.Aliases, []string{t.Academy.URL}) {
		if u, err := url.Parse(address); err == nil {
			x.bases[strings.ToLower(u.Host)] = address
		}
	}
	for i := range t.Platforms {
		x.platforms[t.Platforms[i].Name] = &t.Platforms[i]
	}
	for i := range t.Tools {
		x.tools[t.Tools[i].Name] = &t.Tools[i]
	}
	for i := range t.Activities {
		x.activities[t.Activities[i].Name] = &t.Activities[i]
	}
	for i := range t.Credentials {
		x.credentials[t.Credentials[i].ConsumerKey] = &t.Credentials[i]
	}
	for i := range t.ExternalCredentials {
		x.external[t.ExternalCredentials[i].Activity] = &t.ExternalCredentials[i]
	}
	x.prepareRedirects(t)
	for i := range t.SigningKeys {
		k := &t.SigningKeys[i]
		x.signingKeys[k.Kind+"/"+k.Name] = k
	}
	return x
}

// prepareRedirects notes where ID tokens may go: for each tool its redirect URIs, or, when it has none, its launch URL, its
// deep linking URL and the resource URLs of its activities.
func (x *Index) prepareRedirects(t *Table) {
	for i := range t.Tools {
		tool := &t.Tools[i]
		if tool.LTI13 == nil {
			continue
		}
		for _, uri := range tool.LTI13.RedirectURIs {
			x.redirects[redirect{tool.Name, uri}] = true
		}
		for _, uri := range []string{tool.LTI13.LaunchURL, tool.LTI13.DeepLinkingURL} {
			if len(tool.LTI13.RedirectURIs) == 0 && uri != "" {
				x.redirects[redirect{tool.Name, uri}] = true
			}
		}
	}
	for i := range t.Activities {
		e := t.Activities[i].External
		if e == nil || e.LTI13 == nil {
			continue
		}
		if tool := x.tools[e.LTI13.Tool]; tool != nil && tool.LTI13 != nil && len(tool.LTI13.RedirectURIs) == 0 {
			x.redirects[redirect{tool.Name, e.LTI13.ResourceURL}] = true
		}
	}
}

// Base returns the public address, without trailing slash, that a request on this host is for: one of the configured
// ones, whatever the request says; the academy's URL for a host that none has.
func (x *Index) Base(host string) string {
	if base, ok := x.bases[strings.ToLower(host)]; ok {
		return base
	}
	return x.Academy.URL
}

// IsBase tells whether the address is one of the academy's public addresses.
func (x *Index) IsBase(address string) bool {
	return address == x.Academy.URL || slices.Contains(x.Academy.Aliases, address)
}

// Platform returns the platform of that name, or nil.
func (x *Index) Platform(name string) *Platform { return x.platforms[name] }

// Tool returns the tool of that name, or nil.
func (x *Index) Tool(name string) *Tool { return x.tools[name] }

// Activity returns the activity of that name, or nil.
func (x *Index) Activity(name string) *Activity { return x.activities[name] }

// Credential returns the LTI 1.2 credential with that consumer key, or nil.
func (x *Index) Credential(consumerKey string) *Credential { return x.credentials[consumerKey] }

// ExternalCredential returns the LTI 1.2 credential that another system gave us for the activity of that name, or nil.
func (x *Index) ExternalCredential(activity string) *ExternalCredential { return x.external[activity] }

// AcceptsRedirect tells whether an ID token for the tool may be posted to the address, compared character by character.
func (x *Index) AcceptsRedirect(tool *Tool, uri string) bool {
	return x.redirects[redirect{tool.Name, uri}]
}

// SigningKey returns the key that signs for the registration of that kind and name, or nil.
func (x *Index) SigningKey(kind, name string) *SigningKey { return x.signingKeys[kind+"/"+name] }

// Platforms calls visit for every platform, in no particular order.
func (x *Index) Platforms(visit func(*Platform)) {
	for _, p := range x.platforms {
		visit(p)
	}
}

// Tools calls visit for every tool, in no particular order.
func (x *Index) Tools(visit func(*Tool)) {
	for _, t := range x.tools {
		visit(t)
	}
}

// Activities calls visit for every activity, in no particular order.
func (x *Index) Activities(visit func(*Activity)) {
	for _, a := range x.activities {
		visit(a)
	}
}

// Client tells whether secretSHA256 is the hash of that application's secret.
func (x *Index) Client(clientID string, secretSHA256 []byte) bool {
	c := x.FindClient(clientID)
	return c != nil && subtle.ConstantTimeCompare(c.SecretSHA256, secretSHA256) == 1
}

// FindClient returns the application of the academy with this ID; nil if there is none.
func (x *Index) FindClient(clientID string) *Client {
	for i := range x.Keys.Clients {
		if c := &x.Keys.Clients[i]; c.ClientID == clientID {
			return c
		}
	}
	return nil
}

// AllowsPlatform tells whether the platform may open the activity over LTI 1.3.
func (s *Share) AllowsPlatform(p *Platform) bool {
	for k, want := range s.PlatformLabels {
		if got, ok := p.Labels[k]; !ok || got != want {
			return false
		}
	}
	return true
}

// Vouches tells whether the system that these settings are for is believed about the address. It never is about one with
// letters beyond ASCII: some of them look like, and are folded to, others.
func (u *Users) Vouches(email string) bool {
	at := strings.LastIndexByte(email, '@')
	if at <= 0 || strings.ContainsFunc(email, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return false
	}
	return u.AnyEmail || slices.Contains(u.EmailDomains, strings.ToLower(email[at+1:]))
}

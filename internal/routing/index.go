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
	signingKeys map[string]*SigningKey // by kind/name
}

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
	for i := range t.SigningKeys {
		k := &t.SigningKeys[i]
		x.signingKeys[k.Kind+"/"+k.Name] = k
	}
	return x
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

// SigningKey returns the key that signs for the registration of that kind and name, or nil.
func (x *Index) SigningKey(kind, name string) *SigningKey { return x.signingKeys[kind+"/"+name] }

// Platforms calls visit for every platform, in no particular order.
func (x *Index) Platforms(visit func(*Platform)) {
	for _, p := range x.platforms {
		visit(p)
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

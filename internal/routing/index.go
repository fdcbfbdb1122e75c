// SPDX-License-Identifier: Apache-2.0

package routing

import "crypto/subtle"

// Index answers the questions that a launch asks of a table, each in constant time. It is immutable.
type Index struct {
	Hash    string
	Academy Academy
	Keys    AcademyKeys

	platforms   map[string]*Platform
	tools       map[string]*Tool
	activities  map[string]*Activity
	credentials map[string]*Credential
}

// NewIndex prepares a table for serving.
func NewIndex(hash string, t *Table) *Index {
	x := &Index{
		Hash:        hash,
		Academy:     t.Academy,
		Keys:        t.AcademyKeys,
		platforms:   make(map[string]*Platform, len(t.Platforms)),
		tools:       make(map[string]*Tool, len(t.Tools)),
		activities:  make(map[string]*Activity, len(t.Activities)),
		credentials: make(map[string]*Credential, len(t.Credentials)),
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
	return x
}

// Platform returns the platform of that name, or nil.
func (x *Index) Platform(name string) *Platform { return x.platforms[name] }

// Tool returns the tool of that name, or nil.
func (x *Index) Tool(name string) *Tool { return x.tools[name] }

// Activity returns the activity of that name, or nil.
func (x *Index) Activity(name string) *Activity { return x.activities[name] }

// Credential returns the LTI 1.2 credential with that consumer key, or nil.
func (x *Index) Credential(consumerKey string) *Credential { return x.credentials[consumerKey] }

// Platforms calls visit for every platform, in no particular order.
func (x *Index) Platforms(visit func(*Platform)) {
	for _, p := range x.platforms {
		visit(p)
	}
}

// Client tells whether secretSHA256 is the hash of that application's secret.
func (x *Index) Client(clientID string, secretSHA256 []byte) bool {
	for i := range x.Keys.Clients {
		c := &x.Keys.Clients[i]
		if c.ClientID == clientID {
			return subtle.ConstantTimeCompare(c.SecretSHA256, secretSHA256) == 1
		}
	}
	return false
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

// AcceptsDeployment tells whether launches of this deployment are accepted, and whether it is known at all: a known one
// may be deactivated.
func (p *Platform) AcceptsDeployment(id string) (accepted, known bool) {
	if p.AnyDeployment {
		return true, true
	}
	for i := range p.Deployments {
		if p.Deployments[i].ID == id {
			return p.Deployments[i].Active, true
		}
	}
	return false, false
}

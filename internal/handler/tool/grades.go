// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"slices"

	"github.com/lti-operator/lti-operator/internal/grades"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/lti/token"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Prefixes of registrations in the keys of grades: names of platforms and consumer keys may be the same.
const (
	registration13 = "platform/"
	registration12 = "key/"
)

// cell is one of a gradebook, and where its grade goes.
type cell struct {
	Key store.GradeKey
	To  grades.Address
}

// cellOf returns the cell of the gradebook that a verified launch is for; nil if it has none. Whoever teaches the course
// has no grade in it.
func cellOf(m *launch.Message, platform *routing.Platform) *cell {
	if m.IsInstructor() {
		return nil
	}
	key := store.GradeKey{LTIUserID: m.Subject, Link: store.Link{
		DeploymentID: m.DeploymentID, ContextID: contextOf(m).ID, ResourceLinkID: m.ResourceLink.ID,
	}}
	var to grades.Address
	switch {
	case m.Version == launch.Version13 && m.LineItems != nil && platform.LTI13.AccessTokenURL != "":
		endpoint := ags.Endpoint{Scopes: m.LineItems.Scopes}
		if !endpoint.May(ags.ScopeScore) || m.LineItems.URL == "" && m.LineItems.ContainerURL == "" {
			return nil
		}
		key.Registration = registration13 + platform.Name
		to = grades.Address{
			Protocol: grades.ProtocolAGS, Platform: platform.Name, Issuer: m.Issuer, LTIUserID: m.Subject,
			ContainerURL: m.LineItems.ContainerURL, LineItemURL: m.LineItems.URL, Scopes: endpoint.TokenScopes(),
		}
	case m.Version == launch.Version12 && m.Outcome != nil:
		key.Registration = registration12 + m.ConsumerKey
		to = grades.Address{
			Protocol: grades.ProtocolOutcomes, LTIUserID: m.Subject,
			ServiceURL: m.Outcome.ServiceURL, SourcedID: m.Outcome.SourcedID, ConsumerKey: m.ConsumerKey,
		}
		if platform != nil {
			to.Platform = platform.Name
		}
	default:
		return nil
	}
	return &cell{key, to}
}

func policyOf(activity *routing.Activity) grades.Policy {
	if p := grades.Policy(activity.Share.Grade); p != "" {
		return p
	}
	return grades.PolicyCompletion
}

// directory tells whoever sends grades what is configured now.
type directory struct{ tool *Tool }

// Directory returns the other systems as they are configured now.
func (t *Tool) Directory() grades.Directory { return directory{t} }

var _ grades.Directory = directory{}

func reasonOf(err error) string { return string(lti.CodeOf(err)) }

// Client implements grades.Directory.
func (d directory) Client(name, issuer, deploymentID string) (client token.Client, reason string) {
	s := d.tool.Snapshot()
	if s == nil {
		return client, string(lti.NotReady)
	}
	platform := s.Platform(name)
	switch {
	case platform == nil:
		return client, string(lti.PlatformUnknown)
	case !platform.Active:
		return client, string(lti.PlatformDeactivated)
	case s.registrations[name] == nil || platform.LTI13.AccessTokenURL == "":
		return client, string(lti.NotRegistered)
	case issuer != "" && issuer != platform.LTI13.Issuer && !slices.Contains(platform.PreviousIssuers, issuer):
		return client, string(lti.IssuerMismatch)
	}
	if err := stillDeployed(platform, deploymentID); err != nil {
		return client, reasonOf(err)
	}
	key, err := s.registrations[name].signingKey()
	if err != nil {
		return client, string(lti.NotRegistered)
	}
	return token.Client{
		Registration: name, TokenURL: platform.LTI13.AccessTokenURL, ClientID: platform.LTI13.ClientID,
		Audience: platform.LTI13.AccessTokenAudience, Key: key,
	}, ""
}

// Credentials implements grades.Directory.
func (d directory) Credentials(consumerKey string) (credentials oauth1.Credentials, method, reason string) {
	s := d.tool.Snapshot()
	if s == nil {
		return credentials, "", string(lti.NotReady)
	}
	key := s.Credential(consumerKey)
	if key == nil || len(key.Secrets) == 0 {
		return credentials, "", string(lti.ConsumerKeyUnknown)
	}
	if key.Platform != "" {
		switch platform := s.Platform(key.Platform); {
		case platform == nil:
			return credentials, "", string(lti.PlatformUnknown)
		case !platform.Active:
			return credentials, "", string(lti.PlatformDeactivated)
		}
	}
	if len(key.SignatureMethods) > 0 {
		method = key.SignatureMethods[0]
	}
	return oauth1.Credentials{ConsumerKey: consumerKey, SharedSecret: key.Secrets[0]}, method, ""
}

// Column implements grades.Directory.
func (d directory) Column(name string) (title string, create bool, reason string) {
	s := d.tool.Snapshot()
	if s == nil {
		return "", false, string(lti.NotReady)
	}
	activity := s.Activity(name)
	if activity == nil {
		return "", false, string(lti.ActivityUnknown)
	}
	if err := s.mayOpen(activity, nil); err != nil {
		return "", false, reasonOf(err)
	}
	return activity.Title, activity.Share.LineItem != routing.LineItemFromPlatform, ""
}

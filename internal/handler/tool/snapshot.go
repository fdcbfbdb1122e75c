// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"fmt"
	"strings"
	"sync"

	"github.com/lti-operator/lti-operator/internal/handler/keyring"
	"github.com/lti-operator/lti-operator/internal/handler/learners"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/token"
	"github.com/lti-operator/lti-operator/internal/pages"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Snapshot is a routing table prepared for launches: what can be computed once is. It is immutable.
type Snapshot struct {
	*routing.Index
	states        *launch.StateCodec
	registrations map[string]*registration
	// sealer and oidcKey are those of the OpenID Provider.
	sealer  *identity.Sealer
	oidcKey func() (*token.Key, error)
	// accounts is the academy's directory; nil where accounts are kept here only.
	accounts Accounts
	// learners is where the academy's own learners sign in; nil where they cannot.
	learners *learners.Desk
	// shared are the activities that teachers of other systems may choose from.
	shared func() []offered
}

// Peers are the academy's own systems that launches need; each may be nil, unless it says otherwise.
type Peers struct {
	Accounts Accounts
	Learners *learners.Desk
	// Sealer is that of the OpenID Provider; required.
	Sealer *identity.Sealer
}

// registration is an LTI 1.3 registration ready for use.
type registration struct {
	launch.Registration
	keys launch.Keys
	// signingKey is our own.
	signingKey func() (*token.Key, error)
}

// Prepare makes a snapshot. A registration that cannot be used is prepared so that its launches say why; it does not
// keep the others from being served. Key sets that were fetched stay in the cache.
func Prepare(index *routing.Index, cache *jwks.Cache, peers Peers) (*Snapshot, error) {
	states, err := launch.NewStateCodec(index.Keys.StateKeys...)
	if err != nil {
		return nil, fmt.Errorf("keys of the login state: %w", err)
	}
	s := &Snapshot{
		Index: index, states: states, registrations: map[string]*registration{}, sealer: peers.Sealer,
		oidcKey:  keyring.SigningKey(index, routing.KindAcademy, index.Academy.Name),
		accounts: peers.Accounts, learners: peers.Learners,
		shared: sync.OnceValue(func() []offered { return sharedActivities(index) }),
	}
	index.Platforms(func(p *routing.Platform) {
		if p.LTI13 == nil {
			return
		}
		r := &registration{Registration: launch.Registration{
			Name:              p.Name,
			Issuer:            p.LTI13.Issuer,
			ClientID:          p.LTI13.ClientID,
			AuthenticationURL: p.LTI13.AuthenticationURL,
			RedirectURI:       routing.PlatformLaunchURL(index.Academy.URL, p.Name),
			Deployments:       deployments(p),
		}}
		r.signingKey = keyring.SigningKey(index, routing.KindPlatform, p.Name)
		r.keys = keyring.Keys(cache, p.LTI13.JWKSURL, p.LTI13.JWKS)
		s.registrations[p.Name] = r
	})
	return s, nil
}

func deployments(p *routing.Platform) launch.Deployments {
	d := launch.Deployments{Any: p.AnyDeployment, Activated: make(map[string]bool, len(p.Deployments))}
	for _, x := range p.Deployments {
		d.Activated[x.ID] = x.Active
	}
	return d
}

// customActivity is the custom parameter that names the activity of a link to the platform's general target link URI.
const customActivity = "activity"

// targetOf reads a target link URI: either the resource URL of an activity, whose name is returned, or the general one
// of the platform, at any of the academy's public addresses. A query does not change what is meant: platforms add their
// own parameters.
func (s *Snapshot) targetOf(targetLink string, platform *routing.Platform) (activity string, general, ok bool) {
	address, _, _ := strings.Cut(targetLink, "?")
	if base, found := strings.CutSuffix(address, routing.PlatformLaunchURL("", platform.Name)); found && s.IsBase(base) {
		return "", true, true
	}
	slash := strings.LastIndexByte(address, '/')
	if slash < 0 {
		return "", false, false
	}
	name := address[slash+1:]
	base, found := strings.CutSuffix(address[:slash+1], routing.ActivityResourceURL("", ""))
	if !found || !s.IsBase(base) || name == "" {
		return "", false, false
	}
	return name, false, true
}

// activityOf finds the activity that a verified LTI 1.3 launch is for. Where the link names none, the page tells a teacher
// how to choose one.
func (v *visit) activityOf(m *launch.Message) (*routing.Activity, error) {
	name, general, ok := v.targetOf(m.TargetLinkURI, v.platform)
	if !ok {
		return nil, lti.Refuse(lti.TargetLinkUnknown, "target_link_uri is not an address of this academy")
	}
	if general {
		name = m.Custom[customActivity]
		if name == "" {
			v.about.Unlinked = pages.UnlinkedLearner
			if len(m.Roles) > 0 && m.IsAuthor() {
				v.about.Unlinked = pages.UnlinkedTeacher
			}
			return nil, lti.Refuse(lti.ActivityUnknown, "the link goes to the general address and has no custom parameter %q", customActivity)
		}
	}
	activity := v.Activity(name)
	if activity == nil {
		return nil, lti.Refuse(lti.ActivityUnknown, "no activity of that name")
	}
	return activity, nil
}

// mayOpen tells whether the activity may be opened now, by this platform if there is one.
func (s *Snapshot) mayOpen(activity *routing.Activity, platform *routing.Platform) error {
	if !s.Academy.Active {
		return lti.Refuse(lti.AcademyDeactivated, "")
	}
	if platform != nil && !platform.Active {
		return lti.Refuse(lti.PlatformDeactivated, "")
	}
	if activity.Share == nil {
		return lti.Refuse(lti.NotShared, "the activity is not available to other systems")
	}
	if platform != nil && !activity.Share.AllowsPlatform(platform) {
		return lti.Refuse(lti.NotShared, "the activity is not available to this platform")
	}
	return nil
}

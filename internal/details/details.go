// SPDX-License-Identifier: Apache-2.0

// Package details knows under which label each value of a registration stands on the administration screens of other
// learning systems: where our values are pasted and where theirs are found. It is data; docs/details.md is made from
// it.
package details

import (
	"slices"
	"strings"
)

// Field names a value by its key in our API.
type Field string

// The values that are exchanged. JWKSURL, ClientID and the like stand for ours or theirs, depending on the screen.
const (
	LoginInitiationURL Field = "loginInitiationURL"
	RedirectURI        Field = "redirectURI"
	TargetLinkURI      Field = "targetLinkURI"
	DeepLinkingURL     Field = "deepLinkingURL"
	JWKSURL            Field = "jwksURL"
	Domain             Field = "domain"

	Issuer            Field = "issuer"
	ClientID          Field = "clientID"
	DeploymentID      Field = "deploymentID"
	AuthenticationURL Field = "authenticationURL"
	AccessTokenURL    Field = "accessTokenURL"

	ResourceURL  Field = "resourceURL"
	LaunchURL    Field = "launchURL"
	ConsumerKey  Field = "consumerKey"
	SharedSecret Field = "sharedSecret"

	PlatformID Field = "platformID"
)

// Fields returns all fields.
func Fields() []Field {
	return []Field{
		LoginInitiationURL, RedirectURI, TargetLinkURI, DeepLinkingURL, JWKSURL, Domain,
		Issuer, ClientID, DeploymentID, AuthenticationURL, AccessTokenURL,
		ResourceURL, LaunchURL, ConsumerKey, SharedSecret, PlatformID,
	}
}

// Label is the name that the specifications have for the field (LTI 1.3 Core, 1EdTech Security Framework 1.0, LTI 1.2).
// It is empty for an unknown field.
func (f Field) Label() string {
	switch f {
	case LoginInitiationURL:
		return "OIDC login initiation URL"
	case RedirectURI:
		return "Redirect URI"
	case TargetLinkURI:
		return "Target link URI"
	case DeepLinkingURL:
		return "Deep linking URL"
	case JWKSURL:
		return "Public keyset URL (JWKS)"
	case Domain:
		return "Domain"
	case Issuer:
		return "Issuer"
	case ClientID:
		return "Client ID"
	case DeploymentID:
		return "Deployment ID"
	case AuthenticationURL:
		return "OIDC authentication request URL"
	case AccessTokenURL:
		return "OAuth 2 access token URL"
	case ResourceURL:
		return "Target link URI of the activity"
	case LaunchURL:
		return "Launch URL"
	case ConsumerKey:
		return "Consumer key"
	case SharedSecret:
		return "Shared secret"
	case PlatformID:
		return "Platform ID (issuer)"
	}
	return ""
}

// Entry is one value on a screen.
type Entry struct {
	Field Field
	// Label is what the screen calls the value, word for word.
	Label string
	// Generic says that no source for the wording is known, or that the system does not show the value anywhere: Label
	// is then that of the Field.
	Generic bool
	// Path is where the value is in our objects, or in BringBack where it goes.
	Path string
	// Where is the menu path, when it is not that of the screen.
	Where string
	// Form is what the value always looks like; {site} stands for the address of the system, without a slash at the end.
	Form string
	// Note is a sentence for the one who fills in the screen.
	Note string
}

// Screen is a page of a learning system's administration.
type Screen struct {
	// Where is the menu path, its steps separated by " > ". It is empty for the generic system.
	Where string
	// Entries are in the order in which they are best filled in. A value that the screen has no field for is missing.
	Entries []Entry
}

// Label returns what the screen calls a value, and the Field's own label when the screen does not have it.
func (s Screen) Label(f Field) string {
	for _, e := range s.Entries {
		if e.Field == f {
			return e.Label
		}
	}
	return f.Label()
}

// System is a learning system, as its administrator sees it.
type System struct {
	// Name is what the system is chosen by: lower case, without spaces.
	Name string
	// Title is the name as people write it.
	Title string

	// Platform takes the details of an LTIPlatform: the system launches our activities over LTI 1.3.
	Platform Screen
	// BringBack shows the values that go into the spec of the LTIPlatform.
	BringBack Screen
	// Activity takes the resource URL of one LTIActivity, once Platform is done.
	Activity Screen
	// LTI12 takes the launch URL of one LTIActivity, with its key and secret or those of the LTIPlatform.
	LTI12 Screen
	// Tool takes the details of an LTITool: our learners open the system's activities. It has no entries for a system
	// that is a platform only.
	Tool Screen

	// Notes are what an administrator should know before starting.
	Notes []string
	// Sources are where the labels were read: public addresses, or a repository and path.
	Sources []string
}

// Systems returns all systems, generic first, then by how often they are met.
func Systems() []System {
	all := []System{generic(), moodle(), canvas(), brightspace(), blackboard(), sakai(), schoology()}
	for i := range all {
		s := &all[i]
		s.Platform.complete(detailsPath)
		s.BringBack.complete(specPath)
		s.Activity.complete(activityPath)
		s.LTI12.complete(activityPath)
		s.Tool.complete(detailsPath)
	}
	return all
}

// Find returns the system with that name or title, in upper or lower case.
func Find(name string) (System, bool) {
	all := Systems()
	i := slices.IndexFunc(all, func(s System) bool {
		return strings.EqualFold(s.Name, name) || strings.EqualFold(s.Title, name)
	})
	if i < 0 {
		return System{}, false
	}
	return all[i], true
}

// complete fills in what follows from the field: its path, and its label where none is known.
func (s *Screen) complete(path func(Field) string) {
	for i := range s.Entries {
		e := &s.Entries[i]
		e.Path = path(e.Field)
		if e.Label == "" {
			e.Label, e.Generic = e.Field.Label(), true
		}
	}
}

func detailsPath(f Field) string { return "status.details." + string(f) }

func specPath(f Field) string {
	if f == DeploymentID {
		return "spec.deployments.list[].id"
	}
	return "spec.lti13." + string(f)
}

func activityPath(f Field) string {
	switch f {
	case ResourceURL:
		return "status.lti13.resourceURL"
	case ConsumerKey, SharedSecret:
		return "Secret: " + string(f)
	}
	return "status.lti12." + string(f)
}

package launch

import (
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/deeplink"
)

// Privacy says what a tool is not told about learners, in any channel: claims,
// parameters, variables and services.
type Privacy struct {
	WithholdName, WithholdEmail bool
}

// SharedPerson is what a tool is told about a learner. [Person.Without] alone
// makes one, so that whatever is sent went through a [Privacy]; the zero value
// tells nothing.
type SharedPerson struct{ person Person }

// Without returns the person as a tool may know it.
//
// Either way picture and sourced ID go: both find the person elsewhere, and the
// address of a picture may be made from that of its owner. Where the email is
// withheld, so is a name that is an address, which identity providers put there
// for want of a better one.
func (p Person) Without(w Privacy) SharedPerson {
	if w.WithholdName {
		p.Name, p.GivenName, p.MiddleName, p.FamilyName = "", "", "", ""
	}
	if w.WithholdEmail {
		p.Email = ""
		for _, name := range []*string{&p.Name, &p.GivenName, &p.MiddleName, &p.FamilyName} {
			if strings.Contains(*name, "@") {
				*name = ""
			}
		}
	}
	if w.WithholdName || w.WithholdEmail {
		p.Picture, p.SourcedID = "", ""
	}
	return SharedPerson{p}
}

// Person returns what may be told.
func (s SharedPerson) Person() Person { return s.person }

// Visit is a learner opening an activity: what the launches that we send have in
// common. Absent strings are empty and are not sent.
type Visit struct {
	// Subject is the learner as the tool knows them: sub or user_id; required.
	Subject string
	// Person describes the learner.
	Person SharedPerson
	// Roles of the learner in the context, as LTI 1.3 writes them: [RoleLearner].
	Roles []string
	// Context is the course, nil for none; its ID is required.
	Context *Context
	// ResourceLink is the placement of the activity; its ID is required.
	ResourceLink ResourceLink
	// DocumentTarget is iframe or window.
	DocumentTarget string
	// ReturnURL is where the tool sends the learner back to.
	ReturnURL string
	// Locale is a BCP 47 tag.
	Locale string
	// Platform describes us. Without a GUID, LTI 1.3 has no place for it.
	Platform Platform
	// Parameters are the custom parameters as configured. Their variables are
	// replaced, see [Substitute].
	Parameters []Parameter
}

// Launch is an LtiResourceLinkRequest as a platform sends it (Core section 5).
type Launch struct {
	Visit
	// Issuer is who we are; ClientID and DeploymentID are those of the tool's
	// registration; all are required.
	Issuer, ClientID, DeploymentID string
	// Nonce is that of the authentication request; required.
	Nonce string
	// TargetLinkURI is the one of the login initiation; required.
	TargetLinkURI string
	// LineItems is the Assignment and Grade Services endpoint, nil if the tool may
	// not use it.
	LineItems *LineItems
	// MembershipsURL is the Names and Role Provisioning endpoint, empty if the tool
	// may not use it.
	MembershipsURL string
}

// nrpsVersion is the version of Names and Role Provisioning Services that the
// claim announces (NRPS section 3.6.1.1).
const nrpsVersion = "2.0"

// Claims returns the claims of the ID token, to be signed with the key that we
// publish for the tool. It is issued now and expires when the lifetime is over.
//
// The audience is a string, because some tools understand no array, and there is
// no azp, which is for audiences that are not the client (OpenID Connect Core
// section 2). Claims without a value are left out; roles are there even if empty
// (Core section 5.3.7).
func (l Launch) Claims(now time.Time, lifetime time.Duration) map[string]any {
	c := l.claims(messageResourceLink, now, lifetime)
	c[claimResourceLink] = set(nil, "id", l.ResourceLink.ID, "title", l.ResourceLink.Title, "description", l.ResourceLink.Description)
	if x := l.LineItems; x != nil {
		endpoint := set(nil, "lineitems", x.ContainerURL, "lineitem", x.URL)
		endpoint["scope"] = append([]string{}, x.Scopes...)
		c[claimLineItems] = endpoint
	}
	if l.MembershipsURL != "" {
		c[claimMemberships] = map[string]any{"context_memberships_url": l.MembershipsURL, "service_versions": []string{nrpsVersion}}
	}
	return c
}

// DeepLinkingClaims returns the claims of an LtiDeepLinkingRequest in place of
// those of a launch (Deep Linking 2.0 section 4.4). settings is the claim
// deep_linking_settings. There is no resource link yet, so that this and the
// services of one are left out.
func (l Launch) DeepLinkingClaims(settings map[string]any, now time.Time, lifetime time.Duration) map[string]any {
	c := l.claims(deeplink.MessageRequest, now, lifetime)
	c[deeplink.ClaimSettings] = settings
	return c
}

// claims are what both messages have.
func (l Launch) claims(messageType string, now time.Time, lifetime time.Duration) map[string]any {
	p := l.Person.Person()
	c := set(nil,
		"iss", l.Issuer, "aud", l.ClientID, "sub", l.Subject, "nonce", l.Nonce,
		"name", p.Name, "given_name", p.GivenName, "middle_name", p.MiddleName, "family_name", p.FamilyName,
		"email", p.Email, "locale", p.Locale, "picture", p.Picture,
		claimMessageType, messageType, claimVersion, messageVersion,
		claimDeployment, l.DeploymentID, claimTargetLink, l.TargetLinkURI,
	)
	c["iat"], c["exp"] = now.Unix(), now.Unix()+int64(lifetime/time.Second)
	c[claimRoles] = append([]string{}, l.Roles...)

	lis := set(nil, "person_sourcedid", p.SourcedID)
	if x := l.Context; x != nil {
		members := set(nil, "id", x.ID, "label", x.Label, "title", x.Title)
		if len(x.Types) > 0 {
			members["type"] = append([]string{}, x.Types...)
		}
		c[claimContext] = members
		set(lis, "course_offering_sourcedid", x.CourseOffering, "course_section_sourcedid", x.CourseSection)
	}
	presentation := set(nil, "document_target", l.DocumentTarget, "return_url", l.ReturnURL, "locale", l.Locale)
	platform := map[string]any{}
	// Core section 5.4.2: a claim without guid is not valid.
	if x := l.Platform; x.GUID != "" {
		set(platform,
			"guid", x.GUID, "name", x.Name, "description", x.Description, "contact_email", x.ContactEmail, "url", x.URL,
			"product_family_code", x.Family, "version", x.Version,
		)
	}
	for name, members := range map[string]map[string]any{claimLIS: lis, claimPresentation: presentation, claimToolPlatform: platform} {
		if len(members) > 0 {
			c[name] = members
		}
	}
	if custom := Substitute(l.Parameters, l.Variables()); len(custom) > 0 {
		c[claimCustom] = custom
	}
	return c
}

// set puts pairs of names and values into a map, a new one if it is nil, and
// leaves out empty values.
func set(members map[string]any, pairs ...string) map[string]any {
	if members == nil {
		members = map[string]any{}
	}
	for len(pairs) >= 2 {
		if pairs[1] != "" {
			members[pairs[0]] = pairs[1]
		}
		pairs = pairs[2:]
	}
	return members
}

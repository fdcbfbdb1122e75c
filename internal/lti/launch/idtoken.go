package launch

import (
	"context"
	"crypto/subtle"
	"slices"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/deeplink"
	"github.com/lti-operator/lti-operator/internal/lti/jws"
)

// Names of claims.
const (
	claimPrefix = lti.ClaimPrefix

	claimMessageType  = lti.ClaimMessageType
	claimVersion      = lti.ClaimVersion
	claimDeployment   = lti.ClaimDeployment
	claimTargetLink   = claimPrefix + "target_link_uri"
	claimResourceLink = claimPrefix + "resource_link"
	claimRoles        = claimPrefix + "roles"
	claimContext      = claimPrefix + "context"
	claimToolPlatform = claimPrefix + "tool_platform"
	claimMentor       = claimPrefix + "role_scope_mentor"
	claimPresentation = claimPrefix + "launch_presentation"
	claimLIS          = claimPrefix + "lis"
	claimCustom       = claimPrefix + "custom"
	claimMigration    = claimPrefix + "lti1p1"

	claimLineItems   = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"
	claimMemberships = "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"
	claimOutcome     = "https://purl.imsglobal.org/spec/lti-bo/claim/basicoutcome"
)

// messageResourceLink is the message type of a launch (Core section 5.3.1).
const messageResourceLink = lti.MessageResourceLink

// messageVersion is the value of the version claim (Core section 5.3.2).
const messageVersion = lti.MessageVersion

// maxToken is the longest ID token that is read, in bytes. Tokens in the field
// have two to six thousand.
const maxToken = 128 << 10

// Defaults of a [Verifier].
const (
	// DefaultSkew is how far the clocks of platform and academy may differ.
	DefaultSkew = 60 * time.Second
	// DefaultMaxAge is how long ago an ID token may have been issued, whatever
	// its exp says.
	DefaultMaxAge = time.Hour
)

// Verifier verifies launches. Its fields are set once, before the first use.
type Verifier struct {
	// Now tells the time; required.
	Now lti.Clock
	// States opens the states of LTI 1.3 logins; required for Verify13.
	States *StateCodec
	// Skew and MaxAge are for LTI 1.3; DefaultSkew and DefaultMaxAge if zero.
	Skew, MaxAge time.Duration
	// DeepLinking accepts requests to choose content (Deep Linking 2.0) beside
	// launches; Message.DeepLinking tells them apart.
	DeepLinking bool
}

func (v *Verifier) skew() time.Duration {
	if v.Skew > 0 {
		return v.Skew
	}
	return DefaultSkew
}

func (v *Verifier) maxAge() time.Duration {
	if v.MaxAge > 0 {
		return v.MaxAge
	}
	return DefaultMaxAge
}

// Verify13 verifies the answer of a platform to our authentication request: the
// parameters posted to the redirect URI of this registration, and the binding
// cookies the browser sent with them.
//
// The steps are those of Security section 5.1.3 and Core section 5.3, in this
// order, and the first that fails decides the refusal:
//
//  1. state: present once, signed by us, for this registration, not expired,
//     from this browser. Also when the platform reports an error, so that
//     nobody can make a browser show one.
//  2. the token: one, in three parts, with an allowed alg and a kid
//  3. the key, from the key set of this registration only
//  4. signature, with a fresh key set if the cached one does not match; only
//     then are the claims looked at
//  5. iss is the registered issuer, exactly
//  6. aud contains our client ID and no audience that is not trusted
//  7. azp is our client ID, and is there if aud has several members
//  8. exp has not passed
//  9. iat is neither in the future nor too long ago
//  10. nonce is the one of this login
//  11. version, message type, deployment, target link, roles, resource link (or
//     the settings of a deep linking request), subject, and the limits of every
//     identifier
//
// The caller spends Message.Nonce, after everything else that might refuse the
// launch.
func (v *Verifier) Verify13(ctx context.Context, reg *Registration, keys Keys, params lti.Params, cookies ...string) (*Message, error) {
	state, err := v.OpenState(reg, params)
	if err != nil {
		return nil, err
	}
	if err := state.CheckBrowser(cookies...); err != nil {
		return nil, err
	}
	return v.VerifyAnswer(ctx, reg, keys, params, state)
}

// VerifyAnswer performs what is left of [Verifier.Verify13] for a login whose state
// was opened, and compared with the browser, by the caller.
func (v *Verifier) VerifyAnswer(ctx context.Context, reg *Registration, keys Keys, params lti.Params, state State) (*Message, error) {
	code, failed, err := params.Only("error")
	if err != nil {
		return nil, err
	}
	if failed {
		return nil, lti.Refuse(lti.PlatformReturnedError, "the platform answered with %s", knownError(code))
	}
	token, _, err := params.Only("id_token")
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, lti.Refuse(lti.ParameterMissing, "missing: id_token")
	}
	return v.VerifyIDToken(ctx, reg, keys, token, state)
}

// OpenState returns the state in the parameters posted to the redirect URI of this
// registration. Whether it is of this browser is for the caller to see.
func (v *Verifier) OpenState(reg *Registration, params lti.Params) (State, error) {
	text, _, err := params.Only("state")
	if err != nil {
		return State{}, err
	}
	if text == "" {
		return State{}, lti.Refuse(lti.StateMissing, "missing: state")
	}
	state, err := v.States.Open(text, v.Now())
	if err != nil {
		return State{}, err
	}
	if state.Platform != reg.Name {
		return State{}, lti.Refuse(lti.StateInvalid, "state belongs to another registration")
	}
	return state, nil
}

// knownError returns an error code if a specification defines it (OpenID Connect
// Core section 3.1.2.6, RFC 6749 section 4.1.2.1), so that nobody writes into
// our logs what they like.
func knownError(code string) string {
	switch code {
	case "interaction_required", "login_required", "account_selection_required", "consent_required",
		"invalid_request_uri", "invalid_request_object", "request_not_supported", "request_uri_not_supported",
		"registration_not_supported", "invalid_request", "unauthorized_client", "access_denied",
		"unsupported_response_type", "invalid_scope", "server_error", "temporarily_unavailable",
		"launch_no_longer_valid": // Canvas
		return code
	}
	return "an error code that no specification defines"
}

// VerifyIDToken performs steps 2 to 11 of [Verifier.Verify13] for a login whose
// state was opened and compared by the caller.
func (v *Verifier) VerifyIDToken(ctx context.Context, reg *Registration, keys Keys, token string, state State) (*Message, error) {
	t, err := jws.Parse(token, maxToken)
	if err != nil {
		return nil, err
	}
	alg, kid, err := t.Header(reg.Algorithms)
	if err != nil {
		return nil, err
	}
	if err := t.Verify(ctx, keys, alg, kid); err != nil {
		return nil, blame(t, reg, err)
	}
	if t.ClaimsErr != nil {
		return nil, t.ClaimsErr
	}

	// From here on the claims come from the platform.
	c := newObject(t.Claims)
	if err := checkAddress(reg, c); err != nil {
		return nil, err
	}
	if err := checkAudience(reg, c); err != nil {
		return nil, err
	}
	m := &Message{Version: Version13, Issuer: reg.Issuer, ClientID: reg.ClientID}
	exp, err := v.checkTimes(c, m)
	if err != nil {
		return nil, err
	}
	nonce := c.required("nonce")
	if err := c.failed(); err != nil {
		return nil, err
	}
	if state.Nonce == "" || subtle.ConstantTimeCompare([]byte(nonce), []byte(state.Nonce)) != 1 {
		return nil, lti.Refuse(lti.NonceMismatch, "claim nonce is not the one of this login")
	}
	if err := m.readCore(reg, c, state, v.DeepLinking); err != nil {
		return nil, err
	}
	m.readOptional(c)
	if err := c.failed(); err != nil {
		return nil, err
	}
	if g := m.Migration; g != nil && g.ConsumerKey != "" {
		g.signed = migrationText(g.ConsumerKey, m.DeploymentID, m.Issuer, m.ClientID, exp, nonce)
	}
	m.Nonce = lti.Nonce{
		Protocol: "oidc",
		Party:    reg.Name,
		Value:    nonce,
		// Without a valid state the token is refused anyway; the skew covers
		// replicas whose clocks differ.
		ExpiresAt: state.ExpiresAt.Add(v.skew()),
	}
	return m, nil
}

// blame names the likelier mistake behind a key that is not the registration's:
// a token that another platform, or the same one for another client, has sent
// here. Nothing is accepted because of it.
func blame(t *jws.Token, reg *Registration, err error) error {
	if lti.CodeOf(err) != lti.KeyUnknown || t.ClaimsErr != nil {
		return err
	}
	if address := checkAddress(reg, newObject(t.Claims)); address != nil {
		return address
	}
	return err
}

// checkAddress compares iss and aud with the registration.
func checkAddress(reg *Registration, c object) error {
	iss := c.required("iss")
	aud := audience(c)
	if err := c.failed(); err != nil {
		return err
	}
	if iss != reg.Issuer {
		return lti.Refuse(lti.IssuerMismatch, "claim iss differs from the registered issuer")
	}
	if !slices.Contains(aud, reg.ClientID) {
		return lti.Refuse(lti.AudienceMismatch, "claim aud does not contain the registered client ID")
	}
	return nil
}

// audience returns aud, which is a string or an array of strings (RFC 7519
// section 4.1.3).
func audience(c object) []string {
	v, ok := c.value("aud")
	if !ok {
		c.refuse(lti.ClaimMissing, "aud", "is missing")
		return nil
	}
	aud, err := jws.Audience(v)
	if err != nil {
		c.refuse(lti.ClaimInvalid, "aud", err.Error())
	}
	if len(aud) == 0 {
		c.refuse(lti.ClaimMissing, "aud", "is empty")
	}
	return aud
}

// checkAudience refuses audiences that are not trusted, and tokens that were
// issued to somebody else (Security section 5.1.3 steps 3 to 5).
func checkAudience(reg *Registration, c object) error {
	aud := audience(c)
	for _, a := range aud {
		if a != reg.ClientID && !slices.Contains(reg.TrustedAudiences, a) {
			return lti.Refuse(lti.AudienceMismatch, "claim aud contains an audience that is not trusted")
		}
	}
	azp := c.str("azp")
	if err := c.failed(); err != nil {
		return err
	}
	if azp == "" && len(aud) > 1 {
		return lti.Refuse(lti.AuthorizedPartyMismatch, "claim azp is missing although aud has several members")
	}
	if azp != "" && azp != reg.ClientID {
		return lti.Refuse(lti.AuthorizedPartyMismatch, "claim azp is not the registered client ID")
	}
	return nil
}

// checkTimes checks exp, nbf and iat and returns the text of exp.
func (v *Verifier) checkTimes(c object, m *Message) (string, error) {
	now, skew := v.Now(), v.skew()
	exp, text, ok := c.time("exp")
	if !ok {
		c.refuse(lti.ClaimMissing, "exp", "is missing")
		return "", c.failed()
	}
	if !exp.After(now.Add(-skew)) {
		return "", lti.Refuse(lti.TokenExpired, "claim exp has passed")
	}
	nbf, _, ok := c.time("nbf")
	if ok && nbf.After(now.Add(skew)) {
		return "", lti.Refuse(lti.TokenIssuedInFuture, "claim nbf is in the future")
	}
	iat, _, ok := c.time("iat")
	if !ok {
		c.refuse(lti.ClaimMissing, "iat", "is missing")
	}
	if err := c.failed(); err != nil {
		return "", err
	}
	if iat.After(now.Add(skew)) {
		return "", lti.Refuse(lti.TokenIssuedInFuture, "claim iat is in the future")
	}
	if iat.Before(now.Add(-v.maxAge() - skew)) {
		return "", lti.Refuse(lti.TokenTooOld, "claim iat is more than %s ago", v.maxAge())
	}
	m.IssuedAt, m.ExpiresAt = iat, exp
	return text, nil
}

// readCore checks what Core section 5.3 requires of a resource link request, or
// Deep Linking section 4.4 of a deep linking request where that is accepted.
func (m *Message) readCore(reg *Registration, c object, state State, deepLinking bool) error {
	if version := c.required(claimVersion); c.failed() == nil && version != messageVersion {
		return lti.Refuse(lti.VersionUnsupported, "claim %s must be %s", claimVersion, messageVersion)
	}
	kind := c.required(claimMessageType)
	deepLinking = deepLinking && kind == deeplink.MessageRequest
	if c.failed() == nil && kind != messageResourceLink && !deepLinking {
		return lti.Refuse(lti.MessageTypeUnsupported, "claim %s must be %s", claimMessageType, messageResourceLink)
	}
	m.DeploymentID = c.requiredID(claimDeployment)
	if err := c.failed(); err != nil {
		return err
	}
	if r := reg.Deployments.check(m.DeploymentID); r != nil {
		r.Value = m.DeploymentID
		return r
	}
	// Security section 5.1.1.1: lti_deployment_id of the login must equal the
	// claim.
	if state.DeploymentID != "" && state.DeploymentID != m.DeploymentID {
		return lti.Refuse(lti.DeploymentMismatch, "claim %s differs from lti_deployment_id of the login", claimDeployment)
	}
	m.readTargetLink(c, state, deepLinking)

	// Section 5.3.7: the claim must be there and may be empty. The
	// certification suite launches with [""] and with short names. Deep Linking
	// does not require it.
	if _, ok := c.value(claimRoles); !ok && !deepLinking {
		c.refuse(lti.ClaimMissing, claimRoles, "is missing")
	}
	m.Roles = parseRoles(c.strings(claimRoles))

	if !deepLinking {
		link, ok := c.object(claimResourceLink)
		if !ok {
			c.refuse(lti.ClaimMissing, claimResourceLink, "is missing")
		}
		m.ResourceLink = ResourceLink{ID: link.requiredID("id"), Title: link.text("title"), Description: link.text("description")}
	}
	if err := c.failed(); err != nil {
		return err
	}
	if deepLinking {
		var err error
		if m.DeepLinking, err = deeplink.ParseSettings(c.members[deeplink.ClaimSettings]); err != nil {
			return err
		}
	}

	// Section 5.3.6.1 allows launches without a user. There is nobody to sign
	// in then, and nobody to take for somebody else.
	if m.Subject = c.id("sub"); m.Subject == "" && c.failed() == nil {
		return lti.Refuse(lti.AnonymousLaunch, "claim sub is missing")
	}
	return c.failed()
}

// readTargetLink reads target_link_uri. A deep linking request may come without:
// the claim is not among those of Deep Linking section 4.4.
func (m *Message) readTargetLink(c object, state State, optional bool) {
	if m.TargetLinkURI = c.str(claimTargetLink); m.TargetLinkURI == "" {
		if !optional {
			c.refuse(lti.ClaimMissing, claimTargetLink, "is missing")
		}
		return
	}
	if !webURL(m.TargetLinkURI) {
		c.refuse(lti.ClaimInvalid, claimTargetLink, "must be an absolute http or https URL")
	}
	m.TargetLinkChanged = state.TargetLink != "" && state.TargetLink != digest("lti target link", m.TargetLinkURI)
}

// readOptional reads the claims that may be absent. Those of other
// specifications, and unknown ones, are ignored (Core section 5.4.7).
func (m *Message) readOptional(c object) {
	m.Person = Person{
		Name: c.text("name"), GivenName: c.text("given_name"), MiddleName: c.text("middle_name"), FamilyName: c.text("family_name"),
		Email: strings.TrimSpace(c.text("email")), Locale: c.text("locale"), Picture: webURLOnly(c.text("picture")),
	}
	m.Mentored = c.strings(claimMentor)
	lis, _ := c.object(claimLIS)
	m.Person.SourcedID = lis.text("person_sourcedid")
	if o, ok := c.object(claimContext); ok && len(o.members) > 0 {
		m.Context = &Context{
			ID: o.requiredID("id"), Label: o.text("label"), Title: o.text("title"), Types: o.strings("type"),
			CourseOffering: lis.text("course_offering_sourcedid"), CourseSection: lis.text("course_section_sourcedid"),
		}
	}
	m.Custom = c.custom(claimCustom)
	o, _ := c.object(claimPresentation)
	m.Presentation = Presentation{
		DocumentTarget: o.text("document_target"), Width: o.text("width"), Height: o.text("height"),
		ReturnURL: webURLOnly(o.text("return_url")), Locale: o.text("locale"),
	}
	o, _ = c.object(claimToolPlatform)
	m.Platform = Platform{
		GUID: o.id("guid"), Name: o.text("name"), Description: o.text("description"), ContactEmail: o.text("contact_email"),
		URL: webURLOnly(o.text("url")), Family: o.text("product_family_code"), Version: o.text("version"),
	}
	if o, ok := c.object(claimLineItems); ok {
		m.LineItems = &LineItems{Scopes: o.strings("scope"), ContainerURL: o.link("lineitems"), URL: o.link("lineitem")}
	}
	if o, ok := c.object(claimMemberships); ok {
		m.Memberships = &Memberships{URL: o.link("context_memberships_url"), Versions: o.strings("service_versions")}
	}
	if o, ok := c.object(claimOutcome); ok {
		// One without the other is no address of a grade.
		if service, id := o.link("lis_outcome_service_url"), o.str("lis_result_sourcedid"); service != "" && id != "" {
			m.Outcome = &Outcome{ServiceURL: service, SourcedID: id}
		}
	}
	if o, ok := c.object(claimMigration); ok {
		m.Migration = &Migration{
			UserID: o.str("user_id"), ConsumerKey: o.str("oauth_consumer_key"), Signature: o.str("oauth_consumer_key_sign"),
			ContextID: o.str("context_id"), ResourceLinkID: o.str("resource_link_id"), InstanceID: o.str("tool_consumer_instance_guid"),
		}
	}
}

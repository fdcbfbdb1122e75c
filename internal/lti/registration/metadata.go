package registration

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// Metadata is what a tool that registers says about itself (DR section 3.5.1).
type Metadata struct {
	// Name and Description are for people; the name is never empty.
	Name, Description string
	// Domain and LogoURL may be empty.
	Domain, LogoURL string
	// RedirectURIs has at least one, each once.
	LoginInitiationURL, JWKSURL string
	RedirectURIs                []string
	// LaunchURL and DeepLinkingURL may be empty.
	LaunchURL, DeepLinkingURL string
	// Scopes, Claims and Messages are what the tool asks for.
	Scopes, Claims []string
	Messages       []Message
	// Parameters are custom parameters that it wants in every launch, in the order of
	// their names.
	Parameters []Parameter
}

// Parameter is a custom parameter; the value may have a substitution variable.
type Parameter struct{ Name, Value string }

// ParseMetadata reads the registration request of a tool. It refuses with
// RegistrationRedirectInvalid what is wrong with the redirect URIs, and with
// RegistrationMetadataInvalid everything else; see [OAuthError].
func ParseMetadata(body []byte) (*Metadata, error) {
	o, err := readObject(lti.RegistrationMetadataInvalid, body)
	if err != nil {
		return nil, err
	}
	for name, needed := range map[string]string{"response_types": "id_token", "token_endpoint_auth_method": "private_key_jwt"} {
		if !o.allows(name, needed) {
			return nil, lti.Refuse(lti.RegistrationMetadataInvalid, "%s is not %s", name, needed)
		}
	}
	config := o.member(toolConfiguration)
	m := &Metadata{
		Name: o.title("client_name", maxTitle), Description: config.title("description", maxText), Domain: config.title("domain", maxTitle),
	}
	if err := m.readAddresses(o, config); err != nil {
		return nil, err
	}
	if m.Name == "" {
		// An address that was just checked.
		u, _ := url.Parse(m.LoginInitiationURL)
		m.Name = u.Host
	}
	if logo := o.text("logo_uri"); logo != "" {
		// It is shown to nobody here, so that it need not be a good one.
		if _, err := parseAddress(logo, maxURL); err == nil {
			m.LogoURL = logo
		}
	}
	if m.Parameters, err = readParameters(config); err != nil {
		return nil, err
	}
	asked, listed := o.list("scope")
	if !listed {
		asked, _ = config.list("scopes") // Moodle
	}
	claims, _ := config.list("claims")
	m.Scopes, m.Claims = names(asked), names(claims)
	return m, nil
}

func (m *Metadata) readAddresses(o, config object) error {
	for _, f := range []struct {
		name     string
		in       object
		to       *string
		required bool
	}{
		{"initiate_login_uri", o, &m.LoginInitiationURL, true},
		{"jwks_uri", o, &m.JWKSURL, true},
		{"target_link_uri", config, &m.LaunchURL, false},
	} {
		*f.to = f.in.text(f.name)
		if *f.to == "" && !f.required {
			continue
		}
		if _, err := parseAddress(*f.to, maxURL); err != nil {
			return lti.Refuse(lti.RegistrationMetadataInvalid, "%s %s", f.name, err.Error())
		}
	}
	m.Messages, _ = config.messages("messages")
	for _, message := range m.Messages {
		if message.TargetLinkURI == "" {
			continue
		}
		if _, err := parseAddress(message.TargetLinkURI, maxURL); err != nil {
			return lti.Refuse(lti.RegistrationMetadataInvalid, "target_link_uri of a message %s", err.Error())
		}
		if message.Type == lti.MessageDeepLinking && m.DeepLinkingURL == "" {
			m.DeepLinkingURL = message.TargetLinkURI
		}
	}
	redirects, _ := o["redirect_uris"].([]any)
	if len(redirects) == 0 || len(redirects) > MaxRedirectURIs {
		return lti.Refuse(lti.RegistrationRedirectInvalid, "redirect_uris must have 1 to %d members", MaxRedirectURIs)
	}
	for i, r := range redirects {
		uri, _ := r.(string)
		if _, err := parseAddress(uri, maxURL); err != nil {
			return lti.Refuse(lti.RegistrationRedirectInvalid, "member %d of redirect_uris %s", i+1, err.Error())
		}
		if !slices.Contains(m.RedirectURIs, uri) {
			m.RedirectURIs = append(m.RedirectURIs, uri)
		}
	}
	return nil
}

// readParameters reads custom_parameters: texts, or numbers and booleans as their texts.
func readParameters(config object) ([]Parameter, error) {
	custom := config.member("custom_parameters")
	if len(custom) > MaxParameters {
		return nil, lti.Refuse(lti.RegistrationMetadataInvalid, "custom_parameters has more than %d members", MaxParameters)
	}
	var parameters []Parameter
	for _, name := range slices.Sorted(maps.Keys(custom)) {
		var value string
		switch v := custom[name].(type) {
		case string:
			value = v
		case json.Number:
			value = v.String()
		case bool:
			value = strconv.FormatBool(v)
		default:
			return nil, lti.Refuse(lti.RegistrationMetadataInvalid, "custom_parameters has a value that is no text")
		}
		if !printable(name, maxIdentifier) || len(value) > maxText || strings.ContainsFunc(value, unicode.IsControl) {
			return nil, lti.Refuse(lti.RegistrationMetadataInvalid, "custom_parameters has a name or a value that is too long, or not text")
		}
		parameters = append(parameters, Parameter{name, value})
	}
	return parameters, nil
}

// names returns those members of a list that can be names of something, each once and at
// most maxList.
func names(list []string) []string {
	var out []string
	for _, s := range list {
		if printable(s, maxIdentifier) && !slices.Contains(out, s) && len(out) < maxList {
			out = append(out, s)
		}
	}
	return out
}

// Granted is what a tool is and gets at our platform.
type Granted struct {
	ClientID, DeploymentID string
	// Scopes and Messages are what a tool may have; it gets those that it asked for.
	Scopes, Messages []string
}

// Answer returns the answer to a registration request (DR section 3.6): the same, with a
// client ID and a deployment, of scopes and messages those that are granted, and without
// custom parameters: launches have those of the activity only, and the answer says what
// is registered (RFC 7591 section 3.2.1).
func (m *Metadata) Answer(g Granted) any {
	a := newMetadata()
	a.ClientID, a.ClientName, a.LogoURI = g.ClientID, m.Name, m.LogoURL
	a.InitiateLoginURI, a.RedirectURIs, a.JWKSURI = m.LoginInitiationURL, m.RedirectURIs, m.JWKSURL
	a.Scope = strings.Join(only(m.Scopes, g.Scopes, true), " ")
	a.Tool = toolMember{
		DeploymentID: g.DeploymentID, Domain: m.Domain, Description: m.Description, TargetLinkURI: m.LaunchURL,
		Parameters: map[string]string{}, Claims: m.Claims, Messages: []Message{},
	}
	if a.Tool.Claims == nil {
		a.Tool.Claims = []string{}
	}
	for _, message := range m.Messages {
		if slices.Contains(g.Messages, message.Type) {
			message.Placements = nil // we have none
			a.Tool.Messages = append(a.Tool.Messages, message)
		}
	}
	return a
}

// OAuthError is the code with which a registration endpoint answers a refusal (RFC 7591
// section 3.2.2, RFC 6750 section 3.1 for the token).
func OAuthError(code lti.Code) string {
	switch code {
	case lti.RegistrationRedirectInvalid:
		return "invalid_redirect_uri"
	case lti.RegistrationLinkInvalid, lti.RegistrationLinkExpired, lti.RegistrationLinkUsed:
		return "invalid_token"
	case lti.AcademyDeactivated, lti.ToolDeactivated:
		return "access_denied"
	}
	switch code.Reason().Status {
	case http.StatusServiceUnavailable, http.StatusConflict:
		return "temporarily_unavailable"
	case http.StatusInternalServerError:
		return "server_error"
	}
	return "invalid_client_metadata"
}

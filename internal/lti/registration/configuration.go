package registration

import (
	"log/slog"
	"net/url"
	"strings"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// Initiation is what a platform opens our registration initiation URL with (DR section
// 3.3). Nothing in it is verified.
type Initiation struct {
	// ConfigurationURL is the address of the platform's OpenID configuration.
	ConfigurationURL string
	// Host is that of the platform, for people.
	Host string
	// Token goes into the registration request; empty for none: Brightspace omits it.
	Token string
}

// String returns no part of the token, nor the address, which may hold one too.
func (i Initiation) String() string { return "[registration initiation from " + i.Host + "]" }

// GoString returns no part of the token.
func (i Initiation) GoString() string { return i.String() }

// LogValue returns no part of the token.
func (i Initiation) LogValue() slog.Value { return slog.StringValue(i.String()) }

// Names of the parameters of an initiation.
const (
	ParamConfiguration = "openid_configuration"
	ParamToken         = "registration_token"
)

// ParseInitiation reads the parameters of a registration initiation. It refuses with
// RegistrationInitiationInvalid.
func ParseInitiation(params lti.Params) (*Initiation, error) {
	i := &Initiation{}
	for name, to := range map[string]*string{ParamConfiguration: &i.ConfigurationURL, ParamToken: &i.Token} {
		v, _, err := params.Only(name)
		if err != nil {
			return nil, lti.Refuse(lti.RegistrationInitiationInvalid, "%s occurs more than once", name)
		}
		*to = v
	}
	// Longer than other addresses: Canvas puts a token into it.
	u, err := parseAddress(i.ConfigurationURL, maxToken)
	if err != nil {
		return nil, lti.Refuse(lti.RegistrationInitiationInvalid, "%s %s", ParamConfiguration, err.Error())
	}
	if i.Token != "" && !printable(i.Token, maxToken) {
		return nil, lti.Refuse(lti.RegistrationInitiationInvalid, "%s is not a token", ParamToken)
	}
	i.Host = u.Host
	return i, nil
}

// Configuration is what a platform says about itself (DR section 2).
type Configuration struct {
	Issuer, AuthenticationURL, JWKSURL string
	// RegistrationURL is where a tool registers.
	RegistrationURL string
	// AccessTokenURL is empty when the platform has no services.
	AccessTokenURL string
	// AccessTokenAudience is the aud of client assertions where it is not AccessTokenURL
	// (authorization_server); else empty.
	AccessTokenAudience string
	// Product and Version are what the platform calls itself; either may be empty.
	Product, Version string

	scopes   []string
	messages []Message
	// listed tell whether the platform says what it supports.
	scopesListed, messagesListed bool
}

// ParseConfiguration reads the OpenID configuration that was fetched from an address. It
// refuses with RegistrationConfigurationInvalid. The issuer must be at the host that the
// configuration came from (DR section 3.4, OpenID Connect Discovery section 4.3): whoever
// has one could otherwise register as another one. The other addresses may be elsewhere.
func ParseConfiguration(body []byte, configurationURL string) (*Configuration, error) {
	o, err := readObject(lti.RegistrationConfigurationInvalid, body)
	if err != nil {
		return nil, err
	}
	c := &Configuration{}
	at, err := parseAddress(configurationURL, maxToken)
	if err != nil {
		return nil, lti.Refuse(lti.RegistrationConfigurationInvalid, "its address %s", err.Error())
	}
	if err := c.readAddresses(o, at); err != nil {
		return nil, err
	}
	for name, needed := range map[string]string{
		"response_types_supported":                         "id_token",
		"id_token_signing_alg_values_supported":            "RS256",
		"token_endpoint_auth_methods_supported":            "private_key_jwt",
		"token_endpoint_auth_signing_alg_values_supported": "RS256",
	} {
		if !o.allows(name, needed) {
			return nil, lti.Refuse(lti.RegistrationConfigurationInvalid, "%s does not have %s", name, needed)
		}
	}
	if audience := o.text("authorization_server"); audience != "" && audience != c.AccessTokenURL {
		if !printable(audience, maxURL) {
			return nil, lti.Refuse(lti.RegistrationConfigurationInvalid, "authorization_server is too long, or not ASCII")
		}
		c.AccessTokenAudience = audience
	}
	c.scopes, c.scopesListed = o.list("scopes_supported")
	lti13 := o.member(platformConfiguration)
	c.Product, c.Version = lti13.title("product_family_code", maxTitle), lti13.title("version", maxTitle)
	c.messages, c.messagesListed = lti13.messages("messages_supported")
	return c, nil
}

func (c *Configuration) readAddresses(o object, at *url.URL) error {
	for _, f := range []struct {
		name     string
		to       *string
		required bool
	}{
		{"issuer", &c.Issuer, true},
		{"authorization_endpoint", &c.AuthenticationURL, true},
		{"jwks_uri", &c.JWKSURL, true},
		{"registration_endpoint", &c.RegistrationURL, true},
		{"token_endpoint", &c.AccessTokenURL, false},
	} {
		*f.to = o.text(f.name)
		if *f.to == "" && !f.required {
			continue
		}
		u, err := parseAddress(*f.to, maxURL)
		switch {
		case err != nil:
			return lti.Refuse(lti.RegistrationConfigurationInvalid, "%s %s", f.name, err.Error())
		case f.name != "issuer":
		case strings.Contains(c.Issuer, "?"):
			return lti.Refuse(lti.RegistrationConfigurationInvalid, "issuer has a query")
		case !sameHost(u, at):
			return lti.Refuse(lti.RegistrationConfigurationInvalid, "issuer is at another host than the configuration")
		}
	}
	return nil
}

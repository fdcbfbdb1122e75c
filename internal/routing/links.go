// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"net/url"
	"slices"
	"strings"
)

// Parameters of a registration initiation (LTI Dynamic Registration 1.0 section 3.3).
const (
	paramOpenIDConfiguration = "openid_configuration"
	paramRegistrationAccess  = "registration_token"
)

// PlatformRegistrationLink is what the administrator of a platform opens there to register us: our registration initiation
// URL with the token of its RegistrationLink.
func PlatformRegistrationLink(academyURL, platform, token string) string {
	return PlatformRegistrationURL(academyURL, platform) + "?" + ParamRegistrationToken + "=" + token
}

// ToolRegistrationLink is what the administrator of a tool opens there to register it with us: the tool's own registration
// initiation URL with the address of our configuration and the token of the tool's RegistrationLink. What else its query
// holds stays as it is written.
func ToolRegistrationLink(registrationURL, academyURL, tool, token string) string {
	address, query, _ := strings.Cut(registrationURL, "?")
	params := slices.DeleteFunc(strings.Split(query, "&"), func(param string) bool {
		name, _, _ := strings.Cut(param, "=")
		name, err := url.QueryUnescape(name)
		return param == "" || err == nil && (name == paramOpenIDConfiguration || name == paramRegistrationAccess)
	})
	params = append(params,
		paramOpenIDConfiguration+"="+url.QueryEscape(ToolDiscoveryURL(academyURL, tool)), paramRegistrationAccess+"="+url.QueryEscape(token))
	return address + "?" + strings.Join(params, "&")
}

// SPDX-License-Identifier: Apache-2.0

package routing

// Addresses below the academy's URL. They are made in this file only: the operator hands them out and the handler
// serves them.

// Path prefixes and suffixes of the handler's public addresses.
const (
	PathLaunchCodes = "/launch-codes/redeem"
	PathOpen        = "/launches/open"
	PathAccounts    = "/accounts/"
	PathProgress    = "/progress"
	PathOpenAPI     = "/openapi.yaml"
	PathOIDC        = "/oidc"
	PathConnect     = "/launches/connect"
	// PathLearnerCallback is where the identity provider of the academy's learners sends them back to.
	PathLearnerCallback = "/learners/callback"
	// PathResults is where the academy's applications read results of external activities.
	PathResults = "/results"
	// PathDiscovery follows an issuer (OpenID Connect Discovery 1.0 section 4).
	PathDiscovery = "/.well-known/openid-configuration"
)

// OIDCIssuer is the issuer of the academy's OpenID Provider.
func OIDCIssuer(academyURL string) string { return academyURL + PathOIDC }

// LearnerCallbackURL is our redirect URI at the identity provider of the academy's learners.
func LearnerCallbackURL(academyURL string) string { return academyURL + PathLearnerCallback }

// PlatformLoginURL is the OIDC login initiation URL for a platform.
func PlatformLoginURL(academyURL, platform string) string {
	return academyURL + "/platforms/" + platform + "/login"
}

// PlatformLaunchURL is the redirect URI and the default target link URI for a platform.
func PlatformLaunchURL(academyURL, platform string) string {
	return academyURL + "/platforms/" + platform + "/launch"
}

// PlatformJWKSURL is the address of our public keys for a platform.
func PlatformJWKSURL(academyURL, platform string) string {
	return academyURL + "/platforms/" + platform + "/jwks.json"
}

// ToolAuthenticationURL is the OIDC authentication request URL for a tool.
func ToolAuthenticationURL(academyURL, tool string) string {
	return academyURL + "/tools/" + tool + "/authorize"
}

// ToolTokenURL is the access token URL for a tool.
func ToolTokenURL(academyURL, tool string) string {
	return academyURL + "/tools/" + tool + "/token"
}

// ToolJWKSURL is the address of our public keys for a tool.
func ToolJWKSURL(academyURL, tool string) string {
	return academyURL + "/tools/" + tool + "/jwks.json"
}

// PlatformPickURL is where a teacher chooses the activities to be linked from a platform (Deep Linking 2.0).
func PlatformPickURL(academyURL, platform string) string {
	return academyURL + "/platforms/" + platform + "/pick"
}

// PlatformRegistrationURL is our registration initiation URL for a platform (LTI Dynamic Registration 1.0 section 3.3).
// The link that is handed out has a token besides.
func PlatformRegistrationURL(academyURL, platform string) string {
	return academyURL + "/platforms/" + platform + "/register"
}

// ToolRegistrationURL is the registration endpoint for a tool (LTI Dynamic Registration 1.0 section 3.5).
func ToolRegistrationURL(academyURL, tool string) string {
	return academyURL + "/tools/" + tool + "/register"
}

// ToolChooseURL is where an author begins to choose activities at a tool.
func ToolChooseURL(academyURL, tool string) string {
	return academyURL + "/tools/" + tool + "/choose"
}

// ToolChosenURL is where a tool sends an author back to with what was chosen (Deep Linking 2.0: deep_link_return_url).
func ToolChosenURL(academyURL, tool string) string {
	return academyURL + "/tools/" + tool + "/chosen"
}

// ActivityResourceURL is the LTI 1.3 target link URI of an activity.
func ActivityResourceURL(academyURL, activity string) string {
	return academyURL + "/activities/" + activity
}

// ActivityLaunchURL is the LTI 1.2 launch URL of an activity.
func ActivityLaunchURL(academyURL, activity string) string {
	return academyURL + "/activities/" + activity + "/launch"
}

// ActivityStartURL is where the academy's learners open an external activity.
func ActivityStartURL(academyURL, activity string) string {
	return academyURL + "/activities/" + activity + "/start"
}

// ActivityReturnURL is where a tool sends learners back to who have the activity in a frame of ours.
func ActivityReturnURL(academyURL, activity string) string {
	return academyURL + "/activities/" + activity + "/return"
}

// ActivityOutcomesURL is the Basic Outcomes address of an external activity of LTI 1.2.
func ActivityOutcomesURL(academyURL, activity string) string {
	return academyURL + "/activities/" + activity + "/outcomes"
}

// ToolDiscoveryURL is the address of the OpenID configuration for a tool.
func ToolDiscoveryURL(academyURL, tool string) string {
	return academyURL + "/tools/" + tool + PathDiscovery
}

// toolContextURL is below which the services of one context are. Each external activity is a context of its own.
func toolContextURL(academyURL, tool, activity string) string {
	return academyURL + "/tools/" + tool + "/contexts/" + activity
}

// ToolLineItemsURL is the address of the line items of an activity (Assignment and Grade Services 2.0).
func ToolLineItemsURL(academyURL, tool, activity string) string {
	return toolContextURL(academyURL, tool, activity) + "/lineitems"
}

// ToolLineItemURL is the address of one line item.
func ToolLineItemURL(academyURL, tool, activity, lineItem string) string {
	return ToolLineItemsURL(academyURL, tool, activity) + "/" + lineItem
}

// ToolMembershipsURL is the address of the members of an activity (Names and Role Provisioning Services 2.0).
func ToolMembershipsURL(academyURL, tool, activity string) string {
	return toolContextURL(academyURL, tool, activity) + "/memberships"
}

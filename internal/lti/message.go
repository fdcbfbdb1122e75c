package lti

// Message types (Core section 5.3.1, Deep Linking 2.0 section 4.2), and the version of
// all messages of LTI 1.3 (Core section 5.3.2).
const (
	MessageResourceLink = "LtiResourceLinkRequest"
	MessageDeepLinking  = "LtiDeepLinkingRequest"
	MessageVersion      = "1.3.0"
)

// Names of the claims that every message has.
const (
	ClaimPrefix = "https://purl.imsglobal.org/spec/lti/claim/"

	ClaimMessageType = ClaimPrefix + "message_type"
	ClaimVersion     = ClaimPrefix + "version"
	ClaimDeployment  = ClaimPrefix + "deployment_id"
)

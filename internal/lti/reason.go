package lti

import (
	"net/http"
	"slices"
)

// Code names a reason for refusing a request. Codes are part of the product's
// interface: they appear in metrics, on pages and in the documentation, and do
// not change their meaning.
type Code string

// Audience says who can do something about a refusal.
type Audience string

// The audiences of a refusal.
const (
	// Learner can simply try again.
	Learner Audience = "Learner"
	// OtherParty is the administrator of the other learning system.
	OtherParty Audience = "OtherParty"
	// Academy is the administrator of this academy.
	Academy Audience = "Academy"
)

// Reason is what there is to say about a code.
type Reason struct {
	Code Code
	// Status is the HTTP status a refusal with this code is answered with.
	// It is 401 only where HTTP authentication is at stake (RFC 9110 section
	// 15.5.2 asks for a challenge then), so not for a launch.
	Status int
	// Audience can do something about it.
	Audience Audience
	// Summary is one English sentence for logs and documentation.
	Summary string
}

// The reasons for refusing a request. What each means is in the table below.
const (
	// Parameters of a form or query, in every protocol version.

	RequestMalformed       Code = "RequestMalformed"
	RequestTooLarge        Code = "RequestTooLarge"
	MethodNotAllowed       Code = "MethodNotAllowed"
	ParameterMissing       Code = "ParameterMissing"
	ParameterRepeated      Code = "ParameterRepeated"
	ParameterInvalid       Code = "ParameterInvalid"
	AddressUnknown         Code = "AddressUnknown"
	MessageTypeUnsupported Code = "MessageTypeUnsupported"
	VersionUnsupported     Code = "VersionUnsupported"

	// LTI 1.2: the form signed with OAuth 1.0a.

	ConsumerKeyUnknown         Code = "ConsumerKeyUnknown"
	KeyNotForActivity          Code = "KeyNotForActivity"
	SignatureMethodUnsupported Code = "SignatureMethodUnsupported"
	SignatureInvalid           Code = "SignatureInvalid"
	TimestampInvalid           Code = "TimestampInvalid"
	TimestampOutOfRange        Code = "TimestampOutOfRange"
	Replayed                   Code = "Replayed"
	AnonymousLaunch            Code = "AnonymousLaunch"

	// LTI 1.3: login initiation.

	LoginParameterMissing Code = "LoginParameterMissing"
	IssuerMismatch        Code = "IssuerMismatch"
	ClientIDMismatch      Code = "ClientIDMismatch"
	DeploymentUnknown     Code = "DeploymentUnknown"
	DeploymentDeactivated Code = "DeploymentDeactivated"
	DeploymentMismatch    Code = "DeploymentMismatch"
	TargetLinkUnknown     Code = "TargetLinkUnknown"

	// LTI 1.3: the answer to our authentication request.

	StateMissing            Code = "StateMissing"
	StateInvalid            Code = "StateInvalid"
	StateExpired            Code = "StateExpired"
	StateNotFromThisBrowser Code = "StateNotFromThisBrowser"
	PlatformReturnedError   Code = "PlatformReturnedError"

	// LTI 1.3: the ID token.

	TokenMalformed          Code = "TokenMalformed"
	AlgorithmNotAllowed     Code = "AlgorithmNotAllowed"
	KeyIDMissing            Code = "KeyIDMissing"
	KeyUnknown              Code = "KeyUnknown"
	KeysUnreachable         Code = "KeysUnreachable"
	KeyTooWeak              Code = "KeyTooWeak"
	AudienceMismatch        Code = "AudienceMismatch"
	AuthorizedPartyMismatch Code = "AuthorizedPartyMismatch"
	TokenExpired            Code = "TokenExpired"
	TokenIssuedInFuture     Code = "TokenIssuedInFuture"
	TokenTooOld             Code = "TokenTooOld"
	NonceMismatch           Code = "NonceMismatch"
	ClaimMissing            Code = "ClaimMissing"
	ClaimInvalid            Code = "ClaimInvalid"

	// Routing: what the message is for.

	PlatformUnknown     Code = "PlatformUnknown"
	ActivityUnknown     Code = "ActivityUnknown"
	NotShared           Code = "NotShared"
	NotRegistered       Code = "NotRegistered"
	AcademyDeactivated  Code = "AcademyDeactivated"
	PlatformDeactivated Code = "PlatformDeactivated"

	// Deep Linking: a teacher of another system chooses activities.

	RoleNotAllowed         Code = "RoleNotAllowed"
	ContentTypeNotAccepted Code = "ContentTypeNotAccepted"

	// Users and sign-in.

	MissingUserData    Code = "MissingUserData"
	EmailInUse         Code = "EmailInUse"
	AccountSuspended   Code = "AccountSuspended"
	AccountGone        Code = "AccountGone"
	AccountUnknown     Code = "AccountUnknown"
	IssuerChanged      Code = "IssuerChanged"
	LaunchExpired      Code = "LaunchExpired"
	LaunchAlreadyUsed  Code = "LaunchAlreadyUsed"
	ClientUnauthorized Code = "ClientUnauthorized"
	CodeInvalid        Code = "CodeInvalid"

	// The academy's directory of accounts.

	DirectoryUnavailable Code = "DirectoryUnavailable"
	DirectoryFailed      Code = "DirectoryFailed"

	// The identity provider of the academy's own learners.

	IdentityProviderUnavailable Code = "IdentityProviderUnavailable"
	IdentityProviderInvalid     Code = "IdentityProviderInvalid"
	SignInRefused               Code = "SignInRefused"
	AccountMismatch             Code = "AccountMismatch"

	// The OpenID Provider of the academy.

	AuthorizationInvalid Code = "AuthorizationInvalid"
	SignInNotConfigured  Code = "SignInNotConfigured"
	AccessTokenInvalid   Code = "AccessTokenInvalid"

	// Progress that the academy reports.

	ReportInvalid        Code = "ReportInvalid"
	LaunchUnknown        Code = "LaunchUnknown"
	IdempotencyKeyReused Code = "IdempotencyKeyReused"
	ClientNotPermitted   Code = "ClientNotPermitted"

	// The platform role: our learners open activities of others.

	ToolUnknown                  Code = "ToolUnknown"
	ToolDeactivated              Code = "ToolDeactivated"
	NotExternal                  Code = "NotExternal"
	LearnersNotConfigured        Code = "LearnersNotConfigured"
	RedirectURIMismatch          Code = "RedirectURIMismatch"
	AuthenticationRequestInvalid Code = "AuthenticationRequestInvalid"
	HintInvalid                  Code = "HintInvalid"
	LearnerMismatch              Code = "LearnerMismatch"

	// Deep Linking: authors of the academy choose activities of others.

	AuthorsNotConfigured Code = "AuthorsNotConfigured"
	AuthorNotAllowed     Code = "AuthorNotAllowed"
	DeepLinkingDisabled  Code = "DeepLinkingDisabled"
	ChoiceInvalid        Code = "ChoiceInvalid"
	ChoiceExpired        Code = "ChoiceExpired"
	ChoiceAlreadyUsed    Code = "ChoiceAlreadyUsed"

	// The services that tools call.

	GrantUnsupported     Code = "GrantUnsupported"
	ScopeNotGranted      Code = "ScopeNotGranted"
	ScopeMissing         Code = "ScopeMissing"
	AccessTokenForeign   Code = "AccessTokenForeign"
	ContextUnknown       Code = "ContextUnknown"
	LineItemUnknown      Code = "LineItemUnknown"
	LineItemProtected    Code = "LineItemProtected"
	LineItemsTooMany     Code = "LineItemsTooMany"
	LearnerUnknown       Code = "LearnerUnknown"
	ScoreOutdated        Code = "ScoreOutdated"
	OutcomeUnknown       Code = "OutcomeUnknown"
	OperationUnsupported Code = "OperationUnsupported"
	ResultUnknown        Code = "ResultUnknown"

	// Dynamic registration.

	RegistrationLinkInvalid          Code = "RegistrationLinkInvalid"
	RegistrationLinkExpired          Code = "RegistrationLinkExpired"
	RegistrationLinkUsed             Code = "RegistrationLinkUsed"
	RegistrationLinkBusy             Code = "RegistrationLinkBusy"
	RegistrationInitiationInvalid    Code = "RegistrationInitiationInvalid"
	RegistrationAddressForbidden     Code = "RegistrationAddressForbidden"
	RegistrationUnreachable          Code = "RegistrationUnreachable"
	RegistrationConfigurationInvalid Code = "RegistrationConfigurationInvalid"
	RegistrationRefused              Code = "RegistrationRefused"
	RegistrationAnswerInvalid        Code = "RegistrationAnswerInvalid"
	RegistrationNotKept              Code = "RegistrationNotKept"
	RegistrationMetadataInvalid      Code = "RegistrationMetadataInvalid"
	RegistrationRedirectInvalid      Code = "RegistrationRedirectInvalid"

	// Ourselves.

	StoreUnavailable Code = "StoreUnavailable"
	NotReady         Code = "NotReady"
	Overloaded       Code = "Overloaded"
	InternalError    Code = "InternalError"
)

// reasonTable is the one table of codes. It is a function and not a variable, so
// that nothing can change it.
func reasonTable() []Reason {
	return []Reason{
		{RequestMalformed, http.StatusBadRequest, OtherParty, "The request could not be decoded as a form."},
		{RequestTooLarge, http.StatusRequestEntityTooLarge, OtherParty, "The request is larger than a launch can be."},
		{MethodNotAllowed, http.StatusMethodNotAllowed, OtherParty, "This address does not answer this HTTP method."},
		{AddressUnknown, http.StatusNotFound, OtherParty, "There is nothing at this address."},
		{ParameterMissing, http.StatusBadRequest, OtherParty, "A required parameter is missing."},
		{ParameterRepeated, http.StatusBadRequest, OtherParty, "A parameter that must occur once occurs several times."},
		{ParameterInvalid, http.StatusBadRequest, OtherParty, "A parameter has a value that the specification does not allow."},
		{MessageTypeUnsupported, http.StatusBadRequest, OtherParty, "This kind of LTI message is not supported here."},
		{VersionUnsupported, http.StatusBadRequest, OtherParty, "This LTI version is not supported here."},
		{ConsumerKeyUnknown, http.StatusForbidden, OtherParty, "The consumer key is not known."},
		{KeyNotForActivity, http.StatusForbidden, OtherParty, "The consumer key is valid, but not for this activity."},
		{SignatureMethodUnsupported, http.StatusForbidden, OtherParty, "Only HMAC-SHA1 signatures are accepted."},
		{SignatureInvalid, http.StatusForbidden, OtherParty, "The signature does not match: wrong secret or key, or the message was changed on its way."},
		{TimestampInvalid, http.StatusBadRequest, OtherParty, "The timestamp is not a number of seconds."},
		{TimestampOutOfRange, http.StatusForbidden, OtherParty, "The timestamp is too far from our clock: an old message, or a clock that is wrong."},
		{Replayed, http.StatusConflict, Learner, "This message was used before; open the activity again."},
		{AnonymousLaunch, http.StatusForbidden, OtherParty, "The message does not say who the user is."},
		{LoginParameterMissing, http.StatusBadRequest, OtherParty, "The login initiation lacks a required parameter."},
		{IssuerMismatch, http.StatusForbidden, OtherParty, "The issuer differs from the registered one."},
		{ClientIDMismatch, http.StatusForbidden, OtherParty, "The client ID differs from the registered one."},
		{DeploymentUnknown, http.StatusForbidden, Academy, "The deployment is not listed in the registration."},
		{DeploymentDeactivated, http.StatusForbidden, Academy, "The deployment is deactivated."},
		{DeploymentMismatch, http.StatusBadRequest, OtherParty, "Login and launch name different deployments."},
		{TargetLinkUnknown, http.StatusNotFound, OtherParty, "The target link is not an address of this academy."},
		{StateMissing, http.StatusBadRequest, Learner, "The launch lacks its state; open the activity again."},
		{StateInvalid, http.StatusBadRequest, Learner, "The state of the launch is not ours; open the activity again."},
		{StateExpired, http.StatusBadRequest, Learner, "The launch took too long; open the activity again."},
		{StateNotFromThisBrowser, http.StatusBadRequest, Learner, "The launch was started in another browser, or the browser keeps no cookies for this site."},
		{PlatformReturnedError, http.StatusForbidden, OtherParty, "The other system answered with an error instead of a launch."},
		{TokenMalformed, http.StatusBadRequest, OtherParty, "The token is not a well-formed JSON Web Token."},
		{AlgorithmNotAllowed, http.StatusForbidden, OtherParty, "The token is signed with an algorithm that the registration does not allow."},
		{KeyIDMissing, http.StatusForbidden, OtherParty, "The token does not name its key."},
		{KeyUnknown, http.StatusForbidden, OtherParty, "The key that the token names is not in the other system's key set."},
		{KeysUnreachable, http.StatusBadGateway, OtherParty, "The other system's key set could not be fetched."},
		{KeyTooWeak, http.StatusForbidden, OtherParty, "The other system's key is shorter than 2048 bits."},
		{AudienceMismatch, http.StatusForbidden, OtherParty, "The token is not meant for our client ID alone."},
		{AuthorizedPartyMismatch, http.StatusForbidden, OtherParty, "The token was issued to another party."},
		{TokenExpired, http.StatusForbidden, Learner, "The token has expired; open the activity again."},
		{TokenIssuedInFuture, http.StatusForbidden, OtherParty, "The token is not valid yet: one of the two clocks is wrong."},
		{TokenTooOld, http.StatusForbidden, Learner, "The token was issued too long ago; open the activity again."},
		{NonceMismatch, http.StatusForbidden, Learner, "The token does not belong to this login; open the activity again."},
		{ClaimMissing, http.StatusBadRequest, OtherParty, "The token lacks a required claim."},
		{ClaimInvalid, http.StatusBadRequest, OtherParty, "A claim of the token has a value that the specification does not allow."},
		{PlatformUnknown, http.StatusNotFound, OtherParty, "There is no such platform in this academy."},
		{ActivityUnknown, http.StatusNotFound, OtherParty, "There is no such activity in this academy."},
		{NotShared, http.StatusForbidden, Academy, "The activity is not shared with this system."},
		{NotRegistered, http.StatusServiceUnavailable, Academy, "The registration is not complete: values of the other system are missing."},
		{AcademyDeactivated, http.StatusForbidden, Academy, "LTI is switched off in this academy."},
		{PlatformDeactivated, http.StatusForbidden, Academy, "The platform is deactivated."},
		{RoleNotAllowed, http.StatusForbidden, OtherParty, "Choosing content is for people who teach, develop or manage a course."},
		{ContentTypeNotAccepted, http.StatusBadRequest, OtherParty, "The platform accepts no resource links at this place."},
		{MissingUserData, http.StatusForbidden, OtherParty, "Email or name is missing, so that no account can be created."},
		{EmailInUse, http.StatusConflict, Learner, "An account with this email address exists; sign in once to connect the two."},
		{AccountSuspended, http.StatusForbidden, Academy, "The account is suspended."},
		{AccountGone, http.StatusForbidden, Academy, "The account was deleted in the academy's directory."},
		{DirectoryUnavailable, http.StatusServiceUnavailable, Learner, "The academy's directory does not answer; nothing was changed."},
		{IdentityProviderUnavailable, http.StatusServiceUnavailable, Learner, "The academy's identity provider does not answer."},
		{IdentityProviderInvalid, http.StatusBadGateway, Academy, "The academy's identity provider gave an answer that cannot be trusted."},
		{SignInRefused, http.StatusForbidden, Learner, "The academy's identity provider did not sign the learner in."},
		{AccountMismatch, http.StatusForbidden, Learner, "The account that was signed in to is not the one with the email address of the launch."},
		{DirectoryFailed, http.StatusBadGateway, Academy, "The academy's directory refuses our requests, or gives answers that cannot be used."},
		{AccountUnknown, http.StatusNotFound, Academy, "There is no account with this subject."},
		{IssuerChanged, http.StatusForbidden, Academy, "The person is known under another issuer of this platform, which the registration does not list as a previous one."},
		{LaunchExpired, http.StatusGone, Learner, "The launch has expired; open the activity again."},
		{LaunchAlreadyUsed, http.StatusConflict, Learner, "The launch was used before; open the activity again."},
		{ClientUnauthorized, http.StatusUnauthorized, Academy, "The application is not registered, or its credentials are wrong."},
		{CodeInvalid, http.StatusBadRequest, Academy, "The code is unknown, expired or already used."},
		{AuthorizationInvalid, http.StatusBadRequest, Academy, "The application asks for a sign-in in a way that is not allowed."},
		{SignInNotConfigured, http.StatusForbidden, Academy, "No application of the academy signs people in to this activity."},
		{AccessTokenInvalid, http.StatusUnauthorized, Academy, "The access token is missing, not ours or too old."},
		{ReportInvalid, http.StatusBadRequest, Academy, "The report of progress is not one that could be true."},
		{LaunchUnknown, http.StatusNotFound, Academy, "There is no launch with this ID, or it is too long ago."},
		{IdempotencyKeyReused, http.StatusUnprocessableEntity, Academy, "The idempotency key came with another report before."},
		{ClientNotPermitted, http.StatusForbidden, Academy, "The activity belongs to another application of the academy."},
		{ToolUnknown, http.StatusNotFound, OtherParty, "There is no such tool in this academy."},
		{ToolDeactivated, http.StatusForbidden, Academy, "The tool is deactivated."},
		{NotExternal, http.StatusNotFound, Academy, "The activity is not one that was made elsewhere."},
		{LearnersNotConfigured, http.StatusServiceUnavailable, Academy, "The academy has no identity provider for its learners."},
		{RedirectURIMismatch, http.StatusBadRequest, OtherParty, "The redirect URI is not one of the registered ones, compared character by character."},
		{AuthenticationRequestInvalid, http.StatusBadRequest, OtherParty, "The tool's authentication request is not one that LTI allows."},
		{HintInvalid, http.StatusBadRequest, OtherParty, "The tool did not return the hints of the login initiation as they were."},
		{LearnerMismatch, http.StatusForbidden, Learner, "The launch was started by another person; open the activity again."},
		{AuthorsNotConfigured, http.StatusForbidden, Academy, "The academy has not said who may choose activities at tools."},
		{AuthorNotAllowed, http.StatusForbidden, Academy, "The person is not one of those who may choose activities at tools."},
		{DeepLinkingDisabled, http.StatusForbidden, Academy, "Choosing activities at this tool is switched off."},
		{ChoiceInvalid, http.StatusBadRequest, OtherParty, "The tool did not return the data of the deep linking request as it was."},
		{ChoiceExpired, http.StatusGone, Learner, "Choosing took too long; choose again."},
		{ChoiceAlreadyUsed, http.StatusConflict, Learner, "What was chosen has been taken already; choose again."},
		{GrantUnsupported, http.StatusBadRequest, OtherParty, "Access tokens are given for client credentials with a signed assertion only."},
		{ScopeNotGranted, http.StatusBadRequest, OtherParty, "None of the scopes that were asked for is granted to the tool."},
		{ScopeMissing, http.StatusForbidden, OtherParty, "The access token was not issued for what is asked."},
		{AccessTokenForeign, http.StatusForbidden, OtherParty, "The access token was issued to another tool."},
		{ContextUnknown, http.StatusNotFound, OtherParty, "There is no such course, or it is not one of this tool."},
		{LineItemUnknown, http.StatusNotFound, OtherParty, "There is no such line item in this course."},
		{LineItemProtected, http.StatusForbidden, OtherParty, "The line item belongs to the activity and cannot be deleted."},
		{LineItemsTooMany, http.StatusForbidden, OtherParty, "The tool has made as many line items in this course as it may."},
		{LearnerUnknown, http.StatusNotFound, OtherParty, "User not found: nobody with this ID has opened the activity."},
		{ScoreOutdated, http.StatusConflict, OtherParty, "There is a score with the same or a later timestamp."},
		{OutcomeUnknown, http.StatusNotFound, OtherParty, "There is no such result, or it is not one of this consumer key and activity."},
		{OperationUnsupported, http.StatusNotImplemented, OtherParty, "This operation is not one of Basic Outcomes."},
		{ResultUnknown, http.StatusNotFound, Academy, "There is no such result: the learner has not opened the activity."},
		{RegistrationLinkInvalid, http.StatusForbidden, Academy, "The registration link is not known: mistyped, or replaced by a newer one."},
		{RegistrationLinkExpired, http.StatusGone, Academy, "The registration link has expired."},
		{RegistrationLinkUsed, http.StatusConflict, Academy, "The registration link was used before; each works once."},
		{RegistrationLinkBusy, http.StatusConflict, OtherParty, "Another registration with this link is under way."},
		{RegistrationInitiationInvalid, http.StatusBadRequest, OtherParty, "The registration was started without a usable address of the platform's OpenID configuration."},
		{RegistrationAddressForbidden, http.StatusForbidden, Academy, "The platform has an address that the launch handler must not connect to."},
		{RegistrationUnreachable, http.StatusBadGateway, OtherParty, "The platform did not answer in time while we registered."},
		{RegistrationConfigurationInvalid, http.StatusBadGateway, OtherParty, "The platform's OpenID configuration cannot be used."},
		{RegistrationRefused, http.StatusBadGateway, OtherParty, "The platform refused our registration."},
		{RegistrationAnswerInvalid, http.StatusBadGateway, OtherParty, "The platform's answer to our registration cannot be used."},
		{RegistrationNotKept, http.StatusInternalServerError, OtherParty, "The platform has registered us, but we could not keep it."},
		{RegistrationMetadataInvalid, http.StatusBadRequest, OtherParty, "The tool's registration request cannot be used."},
		{RegistrationRedirectInvalid, http.StatusBadRequest, OtherParty, "The redirect URIs in the tool's registration request cannot be used."},
		{StoreUnavailable, http.StatusServiceUnavailable, Learner, "The database cannot be reached; try again in a moment."},
		{NotReady, http.StatusServiceUnavailable, Learner, "The service is starting; try again in a moment."},
		{Overloaded, http.StatusServiceUnavailable, Learner, "More requests came at once than can be answered; try again in a moment."},
		{InternalError, http.StatusInternalServerError, Academy, "Something went wrong on our side."},
	}
}

// Codes returns every code, sorted by name.
func Codes() []Code {
	var codes []Code
	for _, r := range reasonTable() {
		codes = append(codes, r.Code)
	}
	slices.Sort(codes)
	return codes
}

// Reason returns what there is to say about the code. A code that is not in
// the table is treated like [InternalError], so that a mistake in our code
// never turns into a friendlier answer than it deserves.
func (c Code) Reason() Reason {
	var internal Reason
	for _, r := range reasonTable() {
		if r.Code == c {
			return r
		}
		if r.Code == InternalError {
			internal = r
		}
	}
	return internal
}

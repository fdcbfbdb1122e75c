// Package lti holds what every LTI message has in common: parameters as they
// came over the wire, and the reasons for which a message is refused.
//
// The packages below it implement the rules of one protocol each. None of them
// serves HTTP, reads configuration or keeps global state: time, randomness,
// secrets and keys are always handed in. They are the only packages of the
// module that parse or sign JSON Web Tokens.
//
// Rules carry their source in the comment next to them. The short names used
// there are:
//
//	Core      Learning Tools Interoperability Core 1.3, https://www.imsglobal.org/spec/lti/v1p3/
//	Security  1EdTech Security Framework 1.0, https://www.imsglobal.org/spec/security/v1p0/
//	Cert      LTI Advantage Conformance Certification Guide, https://www.imsglobal.org/spec/lti/v1p3/cert
//	Migration LTI 1.3 Migration Guide, https://www.imsglobal.org/spec/lti/v1p3/migr
//	LTI 1.1   LTI Implementation Guide 1.1.1, https://www.imsglobal.org/specs/ltiv1p1p1/implementation-guide
package lti

// SPDX-License-Identifier: Apache-2.0

// Package identity is the academy's OpenID Provider: the authorization code flow of OpenID Connect Core 1.0, for people
// who were just launched, and nothing else.
//
// It is our own, and not a general provider. There is no session, no password and no consent here: who a person is was
// settled by a launch, and login_hint is the one-time handle of that launch. What general providers bring besides is what
// must not be reachable, such as the implicit flow in their discovery documents, and what they lack is that every refusal
// has a code, that clocks are injected, and that a code is spent last, after the client has proved who it is.
//
// Nothing is stored for a sign-in but the launch and its one-time tickets: authorization codes and access tokens are
// sealed, and hold what is needed later. So is the state of a sign-in in the other direction, when one of the academy's own
// learners is sent to the academy's identity provider, which package learner is about.
package identity

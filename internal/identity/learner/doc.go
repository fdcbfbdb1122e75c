// SPDX-License-Identifier: Apache-2.0

// Package learner signs in the academy's own learners at the academy's own identity provider: the relying party of the
// authorization code flow of OpenID Connect Core 1.0, with PKCE (RFC 7636) and the issuer in the response (RFC 9207).
//
// It holds no session and serves no address. Whoever uses it sends the browser to [Provider.AuthURL], keeps an
// identity.Flow in the parameter state meanwhile, and gives what comes back to [Provider.Exchange].
//
// The wire is that of go-oidc and oauth2. What they leave to their users is here: which algorithms may sign, to whom a token
// was issued, nonce, authentication time and the hash of the access token; that no answer is read without end or followed
// elsewhere; and that no error quotes what the provider wrote.
package learner

// SPDX-License-Identifier: Apache-2.0

package services

import (
	"net/http"
	"slices"

	"github.com/lti-operator/lti-operator/internal/handler/platform"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/token"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// token gives a tool an access token (1EdTech Security Framework 1.0 section 4.1): for those of the scopes that it asks for
// which it may have, and for nobody but this tool.
func (s *Services) token(rw http.ResponseWriter, r *http.Request) {
	refuse := func(about *web.About, err error) {
		s.Web.RefuseToken(rw, r, about, err, token.OAuthError(lti.CodeOf(err)))
	}
	s.serve(r, refuse, func(c *call) error {
		params, err := web.ReadForm(rw, r)
		if err != nil {
			return err
		}
		request, err := token.ParseTokenRequest(params)
		if err != nil {
			return err
		}
		clientID := platform.ClientID(c.tool)
		if request.ClientID != "" && request.ClientID != clientID {
			return lti.Refuse(lti.ClientIDMismatch, "client_id is not the one of this tool")
		}
		verifier := token.AssertionVerifier{ClientID: clientID, Audiences: c.audiences(), Keys: c.keys[c.tool.Name], Now: s.Now}
		jti, err := verifier.Verify(r.Context(), request.Assertion)
		if err != nil {
			return err
		}
		scopes := token.Grant(request.Scopes, platform.Scopes(c.tool))
		if len(scopes) == 0 {
			return lti.Refuse(lti.ScopeNotGranted, "")
		}
		access, err := c.sealer.NewServiceToken(c.tool.Name, c.keySet(), scopes, s.Now())
		if err != nil {
			return err
		}
		// Last: an assertion that is refused may come again.
		if err := s.Store.SpendNonce(r.Context(), web.NonceOf(jti)); err != nil {
			return storeRefusal(lti.InternalError, err)
		}
		web.WriteJSON(rw, http.StatusOK, token.NewAnswer(access, identity.ServiceTokenLifetime, scopes))
		return nil
	})
}

// audiences are what an assertion for this tool may be meant for: the token address, at any of the public addresses, and
// the issuer (RFC 7523 section 3).
func (c *call) audiences() []string {
	bases := append([]string{c.Academy.URL}, c.Academy.Aliases...)
	audiences := slices.Clone(bases[:1])
	for _, base := range bases {
		audiences = append(audiences, routing.ToolTokenURL(base, c.tool.Name))
	}
	return audiences
}

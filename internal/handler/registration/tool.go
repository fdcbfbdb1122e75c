// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/lti-operator/lti-operator/internal/handler/platform"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/registration"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// ofTool is the registration endpoint for a tool (DR section 3.5, RFC 7591 section 3).
func (g *Registrar) ofTool(rw http.ResponseWriter, r *http.Request) {
	v, err := g.begin("platform")
	if err == nil {
		err = g.answerTool(rw, r, v)
	}
	if err != nil {
		g.Web.RefuseRegistration(rw, r, &v.about, err, registration.OAuthError(lti.CodeOf(err)))
	}
}

func (g *Registrar) answerTool(rw http.ResponseWriter, r *http.Request, v *visit) error {
	token, _ := web.BearerToken(r)
	t := v.Tool(r.PathValue("tool"))
	var link *routing.RegistrationLink
	if t != nil {
		link = t.Registration
	}
	if err := g.admits(link, token); err != nil {
		return err
	}
	v.about.Tool, v.about.ToolTitle = t.Name, t.Title
	if !t.Active {
		return lti.Refuse(lti.ToolDeactivated, "")
	}
	// Whatever Content-Type says: Moodle sends its JSON as a form.
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, registration.MaxDocument))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return lti.Refuse(lti.RequestTooLarge, "at most %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return lti.Refuse(lti.RegistrationMetadataInvalid, "the body ended early").Because(err)
	}
	asked, err := registration.ParseMetadata(body)
	if err != nil {
		return err
	}
	if _, err := g.once(r.Context(), link, func(context.Context) (*routing.Registration, error) {
		return named(&routing.Registration{Kind: routing.KindTool, Name: t.Name, Tool: registeredTool(asked)}), nil
	}); err != nil {
		return err
	}
	granted := registration.Granted{
		ClientID: platform.ClientID(t), DeploymentID: platform.DeploymentID(t), Scopes: platform.Scopes(t),
		Messages: []string{lti.MessageResourceLink},
	}
	if t.DeepLinking != routing.ServiceDisabled {
		granted.Messages = append(granted.Messages, lti.MessageDeepLinking)
	}
	// 200, as in the example of DR section 3.6 and as other platforms do, not RFC 7591's 201.
	web.WriteJSON(rw, http.StatusOK, asked.Answer(granted))
	return nil
}

func registeredTool(m *registration.Metadata) *routing.RegisteredTool {
	t := &routing.RegisteredTool{
		ToolLTI13: routing.ToolLTI13{
			LoginInitiationURL: m.LoginInitiationURL, JWKSURL: m.JWKSURL, RedirectURIs: m.RedirectURIs, LaunchURL: m.LaunchURL,
			DeepLinkingURL: m.DeepLinkingURL,
		},
		Name: m.Name, Description: m.Description, Scopes: m.Scopes,
	}
	for _, p := range m.Parameters {
		t.Parameters = append(t.Parameters, routing.Parameter{Name: p.Name, Value: p.Value})
	}
	return t
}

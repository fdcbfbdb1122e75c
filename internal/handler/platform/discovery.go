// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"net/http"

	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// configuration is the OpenID configuration for a tool (OpenID Connect Discovery 1.0 section 3, LTI Dynamic Registration 1.0
// section 2.1).
type configuration struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	RegistrationEndpoint  string   `json:"registration_endpoint,omitempty"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgorithms        []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	Scopes                []string `json:"scopes_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	ResponseModes         []string `json:"response_modes_supported"`
	GrantTypes            []string `json:"grant_types_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	Algorithms            []string `json:"id_token_signing_alg_values_supported"`
	Claims                []string `json:"claims_supported"`
	Platform              product  `json:"https://purl.imsglobal.org/spec/lti-platform-configuration"`
}

// product describes the platform.
type product struct {
	Family    string             `json:"product_family_code"`
	Version   string             `json:"version"`
	Messages  []supportedMessage `json:"messages_supported"`
	Variables []string           `json:"variables"`
}

type supportedMessage struct {
	Type string `json:"type"`
}

// discovery describes the platform to a tool.
func (p *Platform) discovery(rw http.ResponseWriter, r *http.Request) {
	p.serve(rw, r, func(v *visit) error {
		t := v.Tool(r.PathValue("tool"))
		if t == nil {
			return lti.Refuse(lti.ToolUnknown, "no tool of that name")
		}
		claims := []string{"iss", "sub", "locale"}
		if !t.Privacy.WithholdName {
			claims = append(claims, "name", "given_name", "family_name")
		}
		if !t.Privacy.WithholdEmail {
			claims = append(claims, "email")
		}
		registration := ""
		if t.Registration != nil && t.Active && p.Now().Before(t.Registration.ExpiresAt) {
			registration = routing.ToolRegistrationURL(v.Academy.URL, t.Name)
		}
		messages := []supportedMessage{{lti.MessageResourceLink}}
		if t.DeepLinking != routing.ServiceDisabled {
			messages = append(messages, supportedMessage{lti.MessageDeepLinking})
		}
		web.WritePublicJSON(rw, configuration{
			Issuer:                v.Academy.URL,
			AuthorizationEndpoint: routing.ToolAuthenticationURL(v.Academy.URL, t.Name),
			TokenEndpoint:         routing.ToolTokenURL(v.Academy.URL, t.Name),
			JWKSURI:               routing.ToolJWKSURL(v.Academy.URL, t.Name),
			RegistrationEndpoint:  registration,
			AuthMethods:           []string{"private_key_jwt"},
			AuthAlgorithms:        []string{"RS256"},
			Scopes:                append([]string{"openid"}, Scopes(t)...),
			ResponseTypes:         []string{"id_token"},
			ResponseModes:         []string{"form_post"},
			GrantTypes:            []string{"implicit", "client_credentials"},
			SubjectTypes:          []string{"pairwise"},
			Algorithms:            []string{"RS256"},
			Claims:                claims,
			Platform: product{
				Family: ProductFamily, Version: platformVersion, Messages: messages,
				Variables: launch.VariableNames(),
			},
		})
		return nil
	})
}

// platformVersion is that of what we say to tools, not of the program.
const platformVersion = "1"

// publicKeys serves our public keys for a tool, also for one that is deactivated: what was signed before is verified still.
func (p *Platform) publicKeys(rw http.ResponseWriter, r *http.Request) {
	v := p.snapshot.Load()
	if v == nil {
		web.WriteJSON(rw, http.StatusServiceUnavailable, map[string]string{"error": "temporarily_unavailable"})
		return
	}
	t := v.Tool(r.PathValue("tool"))
	if t == nil {
		http.NotFound(rw, r)
		return
	}
	web.WriteJWKS(rw, t.PublicKeys)
}

// SPDX-License-Identifier: Apache-2.0

package launches

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Platform is another learning system, registered over LTI 1.3 as the LTIPlatform of that name.
type Platform struct {
	Name, Issuer, ClientID, DeploymentID string
	// Key signs its ID tokens.
	Key *rsa.PrivateKey
}

// JWKS is the key set to register.
func (p *Platform) JWKS() string {
	set, err := json.Marshal(map[string]any{"keys": []routing.JWK{keys.PublicJWK(&p.Key.PublicKey)}})
	if err != nil {
		panic(err) // strings only
	}
	return string(set)
}

// Person is somebody in another learning system, or a learner of the academy.
type Person struct {
	// ID is what that system knows them by.
	ID, GivenName, FamilyName, Email string
}

// Name is the full one.
func (p Person) Name() string { return p.GivenName + " " + p.FamilyName }

// Link is an activity as it stands in a course of another learning system.
type Link struct {
	Activity string
	// ID is the resource link's, Context the course's.
	ID, Context string
	// GradebookURL is the line item (LTI 1.3) or the outcome service (LTI 1.2); empty: no grades are wanted.
	GradebookURL string
	// SourcedID is where a grade over LTI 1.2 goes to.
	SourcedID string
}

const claim = "https://purl.imsglobal.org/spec/lti/claim/"

// Launch opens a link over LTI 1.3, and returns where the browser arrives.
func (p *Platform) Launch(ctx context.Context, a *Academy, who Person, link Link) (*url.URL, error) {
	v := a.visit()
	target := a.URL + "/activities/" + link.Activity
	x, err := v.send(ctx, "login", http.MethodPost, "/platforms/"+p.Name+"/login", url.Values{
		"iss": {p.Issuer}, "login_hint": {who.ID}, "target_link_uri": {target}, "client_id": {p.ClientID},
	})
	if err != nil {
		return nil, err
	}
	request, err := x.location("login")
	if err != nil {
		return nil, err
	}
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": p.Issuer, "aud": p.ClientID, "sub": who.ID, "nonce": request.Query().Get("nonce"), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"given_name": who.GivenName, "family_name": who.FamilyName, "email": who.Email,
		claim + "version": "1.3.0", claim + "message_type": "LtiResourceLinkRequest", claim + "deployment_id": p.DeploymentID,
		claim + "target_link_uri": target,
		claim + "roles":           []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		claim + "resource_link":   map[string]any{"id": link.ID},
		claim + "context":         map[string]any{"id": link.Context},
	}
	if link.GradebookURL != "" {
		claims["https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"] = map[string]any{
			"scope": []string{ags.ScopeScore}, "lineitem": link.GradebookURL,
		}
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = keys.PublicJWK(&p.Key.PublicKey).KeyID
	signed, err := token.SignedString(p.Key)
	if err != nil {
		return nil, err
	}
	x, err = v.send(ctx, "launch", http.MethodPost, "/platforms/"+p.Name+"/launch", url.Values{
		"state": {request.Query().Get("state")}, "id_token": {signed},
	})
	if err != nil {
		return nil, err
	}
	return x.location("launch")
}

// LaunchForm opens a link over LTI 1.2, and returns where the browser arrives.
func LaunchForm(ctx context.Context, a *Academy, credentials Credentials, who Person, link Link) (*url.URL, error) {
	path := "/activities/" + link.Activity + "/launch"
	params := lti.Params{
		{Name: "lti_message_type", Value: "basic-lti-launch-request"},
		{Name: "lti_version", Value: "LTI-1p0"},
		{Name: "resource_link_id", Value: link.ID},
		{Name: "context_id", Value: link.Context},
		{Name: "user_id", Value: who.ID},
		{Name: "roles", Value: "Learner"},
		{Name: "lis_person_name_given", Value: who.GivenName},
		{Name: "lis_person_name_family", Value: who.FamilyName},
		{Name: "lis_person_contact_email_primary", Value: who.Email},
		{Name: "launch_presentation_document_target", Value: "window"},
	}
	if link.GradebookURL != "" {
		params = append(params, lti.Param{Name: "lis_outcome_service_url", Value: link.GradebookURL}, lti.Param{Name: "lis_result_sourcedid", Value: link.SourcedID})
	}
	signed, err := oauth1.SignForm(a.URL+path, params, credentials, time.Now(), rand.Text())
	if err != nil {
		return nil, err
	}
	form := url.Values{}
	for _, s := range signed {
		form.Add(s.Name, s.Value)
	}
	x, err := a.visit().send(ctx, "form launch", http.MethodPost, path, form)
	if err != nil {
		return nil, err
	}
	return x.location("form launch")
}

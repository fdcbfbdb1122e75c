package registration

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/nrps"
)

// Tool is what we say about ourselves.
type Tool struct {
	// Name and Description are for people.
	Name, Description string
	// Domain is the host of our addresses.
	Domain string
	// LaunchURL is the target link URI, also that of deep linking.
	LoginInitiationURL, LaunchURL, JWKSURL string
	// RedirectURIs has LaunchURL, and its counterparts at other hosts of ours.
	RedirectURIs []string
}

// scopes are those of all services that we use, or may come to use.
func scopes() []string {
	return []string{ags.ScopeLineItem, ags.ScopeLineItemReadOnly, ags.ScopeResultReadOnly, ags.ScopeScore, nrps.Scope}
}

// claims are those that we make use of (DR section 3.4).
func claims() []string {
	return []string{"iss", "sub", "name", "given_name", "family_name", "email", "locale"}
}

// placements are where a platform offers a tool to whoever adds an activity to a course: of
// all that a platform has, those that lead to the choice of activities. Placements in menus
// are for the platform's administrator to add.
func placements() []string {
	return []string{
		"ContentArea",
		// Canvas
		"https://canvas.instructure.com/lti/assignment_selection", "https://canvas.instructure.com/lti/link_selection",
	}
}

// NewRequest returns the registration request for a platform (DR section 3.5.1), as JSON:
// of scopes, messages and placements those that the platform lists.
func NewRequest(c *Configuration, t Tool) ([]byte, error) {
	m := newMetadata()
	m.InitiateLoginURI, m.RedirectURIs, m.ClientName, m.JWKSURI = t.LoginInitiationURL, t.RedirectURIs, t.Name, t.JWKSURL
	m.Scope = strings.Join(only(scopes(), c.scopes, c.scopesListed), " ")
	m.Tool = toolMember{
		Domain: t.Domain, Description: t.Description, TargetLinkURI: t.LaunchURL,
		Parameters: map[string]string{}, Claims: claims(), Messages: []Message{},
	}
	for _, kind := range []string{lti.MessageResourceLink, lti.MessageDeepLinking} {
		supported := slices.IndexFunc(c.messages, func(m Message) bool { return m.Type == kind })
		if c.messagesListed && supported < 0 {
			continue
		}
		message := Message{Type: kind, TargetLinkURI: t.LaunchURL, Label: t.Name}
		if supported >= 0 && kind == lti.MessageDeepLinking {
			message.Placements = only(placements(), c.messages[supported].Placements, true)
		}
		m.Tool.Messages = append(m.Tool.Messages, message)
	}
	return json.Marshal(m)
}

// only returns those values that are supported; all of them if nothing is said.
func only(values, supported []string, said bool) []string {
	if !said {
		return values
	}
	return slices.DeleteFunc(slices.Clone(values), func(v string) bool { return !slices.Contains(supported, v) })
}

// Answer is what a platform has made of our registration request.
type Answer struct {
	ClientID string
	// DeploymentID is that of the first deployment; empty when the platform does not say.
	DeploymentID string
	// ClientURL and ClientToken change the registration later (RFC 7592); both are empty
	// where it cannot be changed.
	ClientURL, ClientToken string
}

// String returns no part of the token.
func (a Answer) String() string { return "[registration of client " + a.ClientID + "]" }

// GoString returns no part of the token.
func (a Answer) GoString() string { return a.String() }

// LogValue returns no part of the token.
func (a Answer) LogValue() slog.Value { return slog.StringValue(a.String()) }

// ParseAnswer reads the answer to our registration request (DR section 3.6, RFC 7591
// section 3.2). It refuses with RegistrationRefused what is not a success, and with
// RegistrationAnswerInvalid what has no client ID. What the platform left out of the
// request, as Moodle does with resource link messages, is no matter.
func ParseAnswer(status int, body []byte) (*Answer, error) {
	if status < 200 || status > 299 {
		if code := errorCode(body); code != "" {
			return nil, lti.Refuse(lti.RegistrationRefused, "status %d, %s", status, code)
		}
		return nil, lti.Refuse(lti.RegistrationRefused, "status %d %s", status, http.StatusText(status))
	}
	o, err := readObject(lti.RegistrationAnswerInvalid, body)
	if err != nil {
		return nil, err
	}
	a := &Answer{ClientID: o.identifier("client_id"), DeploymentID: o.member(toolConfiguration).identifier("deployment_id")}
	if !printable(a.ClientID, maxIdentifier) {
		return nil, lti.Refuse(lti.RegistrationAnswerInvalid, "client_id is missing, too long, or not ASCII")
	}
	if a.DeploymentID != "" && !printable(a.DeploymentID, maxIdentifier) {
		return nil, lti.Refuse(lti.RegistrationAnswerInvalid, "deployment_id is too long, or not ASCII")
	}
	client, token := o.text("registration_client_uri"), o.text("registration_access_token")
	if _, err := parseAddress(client, maxURL); err == nil && printable(token, maxToken) {
		a.ClientURL, a.ClientToken = client, token
	}
	return a, nil
}

// errorCode is the code in an error answer (RFC 7591 section 3.2.2): letters, and nothing
// else that a platform could have us print. It is "" for an error of another kind, such as
// the list of Canvas.
func errorCode(body []byte) string {
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	var code string
	if len(body) > MaxDocument || json.Unmarshal(body, &answer) != nil || json.Unmarshal(answer.Error, &code) != nil {
		return ""
	}
	if len(code) > 64 || strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return code
}

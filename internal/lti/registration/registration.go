// Package registration implements LTI Dynamic Registration 1.0
// (https://www.imsglobal.org/spec/lti-dr/v1p0, "DR" below) for both roles, on top of
// OpenID Connect Discovery 1.0 and OAuth 2.0 Dynamic Client Registration (RFC 7591).
//
// As a tool we read the platform's configuration with [ParseConfiguration], register
// with [NewRequest] and read what the platform made of it with [ParseAnswer]. As a
// platform we read what a tool asks for with [ParseMetadata] and answer with
// [Metadata.Answer].
//
// Documents of others are read leniently, because real systems leave things out, add
// their own and write empty objects as empty arrays. What a launch relies on is
// checked all the same: nothing of it is used that is not an address of the kind that
// may be configured by hand.
package registration

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jws"
)

// Limits.
const (
	// MaxDocument is the longest document that is read, in bytes.
	MaxDocument = 256 << 10
	// MaxRedirectURIs is how many redirect URIs a tool may have.
	MaxRedirectURIs = 64
	// MaxParameters is how many custom parameters a tool may ask for.
	MaxParameters = 64

	maxURL        = 2048
	maxIdentifier = 255 // Core section 5.3.3 of deployments
	maxToken      = 8 << 10
	maxTitle      = 200
	maxText       = 2000
	maxList       = 200
)

// Members that hold what LTI adds (DR sections 2.2.1 and 3.4).
const (
	platformConfiguration = "https://purl.imsglobal.org/spec/lti-platform-configuration"
	toolConfiguration     = "https://purl.imsglobal.org/spec/lti-tool-configuration"
)

// metadata is the request of a tool and, with a client ID, the answer to it (DR
// sections 3.5.1 and 3.6).
type metadata struct {
	ClientID         string     `json:"client_id,omitempty"`
	ApplicationType  string     `json:"application_type"`
	ResponseTypes    []string   `json:"response_types"`
	GrantTypes       []string   `json:"grant_types"`
	InitiateLoginURI string     `json:"initiate_login_uri"`
	RedirectURIs     []string   `json:"redirect_uris"`
	ClientName       string     `json:"client_name"`
	JWKSURI          string     `json:"jwks_uri"`
	LogoURI          string     `json:"logo_uri,omitempty"`
	AuthMethod       string     `json:"token_endpoint_auth_method"`
	Scope            string     `json:"scope"`
	Tool             toolMember `json:"https://purl.imsglobal.org/spec/lti-tool-configuration"`
}

type toolMember struct {
	DeploymentID  string            `json:"deployment_id,omitempty"`
	Domain        string            `json:"domain,omitempty"`
	Description   string            `json:"description"`
	TargetLinkURI string            `json:"target_link_uri,omitempty"`
	Parameters    map[string]string `json:"custom_parameters"`
	Claims        []string          `json:"claims"`
	Messages      []Message         `json:"messages"`
}

// Message is a kind of message that a tool takes (DR section 3.4.1).
type Message struct {
	Type          string `json:"type"`
	TargetLinkURI string `json:"target_link_uri,omitempty"`
	Label         string `json:"label,omitempty"`
	// Placements are where in the platform it is offered.
	Placements []string `json:"placements,omitempty"`
}

// newMetadata is what every registration of LTI says.
func newMetadata() metadata {
	return metadata{
		ApplicationType: "web",
		ResponseTypes:   []string{"id_token"},
		GrantTypes:      []string{"implicit", "client_credentials"},
		AuthMethod:      "private_key_jwt",
	}
}

// object holds the members of a JSON object.
type object map[string]any

// readObject reads a document. Names are matched exactly, and none may be there twice.
func readObject(code lti.Code, body []byte) (object, error) {
	if len(body) > MaxDocument {
		return nil, lti.Refuse(code, "longer than %d bytes", MaxDocument)
	}
	o, err := jws.ParseObject(body)
	if err != nil {
		return nil, lti.Refuse(code, "%s", err.Error())
	}
	return o, nil
}

// text is a member that is a string, without blanks around it; "" for anything else.
func (o object) text(name string) string {
	s, _ := o[name].(string)
	return strings.TrimSpace(s)
}

// identifier is a member that names something: a string, or a number as some systems
// write it.
func (o object) identifier(name string) string {
	if n, ok := o[name].(json.Number); ok {
		return n.String()
	}
	return o.text(name)
}

// title is a member for people, without characters that cannot be seen, of at most so
// many characters.
func (o object) title(name string, limit int) string {
	s := strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, o.text(name))), " ")
	if runes := []rune(s); len(runes) > limit {
		return strings.TrimSpace(string(runes[:limit]))
	}
	return s
}

// list is a member that is an array of strings, or a string of several with blanks
// between them; of the array what is no string is left out. listed tells whether there
// is such a member.
func (o object) list(name string) (values []string, listed bool) {
	switch v := o[name].(type) {
	case string:
		return strings.Fields(v), true
	case []any:
		for _, element := range v {
			if s, ok := element.(string); ok {
				values = append(values, s)
			}
		}
		return values, true
	}
	return nil, false
}

// member is an object in the object; empty for none, and for the empty array that PHP
// makes of an empty object.
func (o object) member(name string) object {
	m, _ := o[name].(map[string]any)
	return m
}

// allows reports whether a list has a value; one that is not there has all.
func (o object) allows(name, value string) bool {
	values, listed := o.list(name)
	return !listed || slices.Contains(values, value)
}

// messages are the elements of an array of messages. An element may be the bare type.
func (o object) messages(name string) (found []Message, listed bool) {
	elements, listed := o[name].([]any)
	for _, element := range elements[:min(len(elements), maxList)] {
		switch v := element.(type) {
		case string:
			found = append(found, Message{Type: v})
		case map[string]any:
			m := object(v)
			placements, _ := m.list("placements")
			found = append(found, Message{
				Type: m.text("type"), TargetLinkURI: m.text("target_link_uri"), Label: m.title("label", maxTitle), Placements: placements,
			})
		}
	}
	return found, listed
}

// printable reports whether s has between 1 and limit characters, all of them ASCII
// that can be seen.
func printable(s string, limit int) bool {
	return s != "" && len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Package deeplink implements the messages of Deep Linking 2.0
// (https://www.imsglobal.org/spec/lti-dl/v2p0/, "DL" below): what a platform
// asks of a tool where a teacher chooses content, and what the tool answers.
//
// Both sides are here: what is sent is encoded strictly, what comes is read with
// tolerance for what real systems send. Reading proves nothing: who signed the
// message, and whether it was asked for, is for the caller to verify.
package deeplink

import (
	"encoding/json"
	"fmt"
	"html"
	"strconv"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
)

// Values of the claim message_type (DL section 4.2 and 4.4), and of version.
const (
	MessageRequest  = lti.MessageDeepLinking
	MessageResponse = "LtiDeepLinkingResponse"
	Version         = lti.MessageVersion
)

// Names of claims (DL section 4.4 and 4.5).
const (
	claimPrefix = "https://purl.imsglobal.org/spec/lti-dl/claim/"

	// ClaimSettings holds the settings of a request.
	ClaimSettings = claimPrefix + "deep_linking_settings"

	claimContentItems = claimPrefix + "content_items"
	claimData         = claimPrefix + "data"
	claimMessage      = claimPrefix + "msg"
	claimLog          = claimPrefix + "log"
	claimErrorMessage = claimPrefix + "errormsg"
	claimErrorLog     = claimPrefix + "errorlog"

	claimDeployment  = lti.ClaimDeployment
	claimMessageType = lti.ClaimMessageType
	claimVersion     = lti.ClaimVersion
)

// ParameterResponse is the name of the form field that carries a response (DL
// section 4.1.2).
const ParameterResponse = "JWT"

// Limits of what is read. The longest return URL seen has a token of its own in
// it; data is a session or a token.
const (
	// MaxURL is the longest address, in bytes.
	MaxURL = 8 << 10
	// MaxData is the longest data, in bytes.
	MaxData = 16 << 10
	// MaxItems is the largest number of items in one response.
	MaxItems = 200

	maxElements   = 100
	maxIdentifier = 255
	maxTitle      = 1000
	maxText       = 10000
	maxCustom     = 100
)

// members reads the members of one JSON object, as [jws.ParseObject] returns
// them. The first refusal is kept in *err, and reading goes on harmlessly.
type members struct {
	values map[string]any
	// path is put before names in refusals.
	path string
	err  *error
}

func newMembers(values map[string]any, path string) members {
	return members{values: values, path: path, err: new(error)}
}

func (m members) refuse(code lti.Code, name, what string) {
	if *m.err == nil {
		*m.err = lti.Refuse(code, "claim %s %s", m.path+name, what)
	}
}

// str returns a string, "" if absent; a number is its text.
func (m members) str(name string, longest int) string {
	var s string
	switch v := m.values[name].(type) {
	case nil:
	case string:
		s = v
	case json.Number:
		s = v.String()
	default:
		m.refuse(lti.ClaimInvalid, name, "must be a string")
	}
	if len(s) > longest {
		m.refuse(lti.ClaimInvalid, name, fmt.Sprintf("must be at most %d bytes", longest))
		return ""
	}
	return s
}

// text returns something for people to read, at most so many characters of it.
// Entities are decoded, because Moodle as a tool sends titles escaped as in HTML;
// what is not text at all is left out.
func (m members) text(name string, longest int) string {
	var s string
	switch v := m.values[name].(type) {
	case string:
		s = lti.Readable(html.UnescapeString(v))
	case json.Number:
		s = v.String()
	}
	return cut(s, longest)
}

// line returns a title: text in one line.
func (m members) line(name string) string {
	return cut(strings.Join(strings.Fields(m.text(name, maxText)), " "), maxTitle)
}

func cut(s string, longest int) string {
	if len(s) <= longest {
		return s
	}
	if runes := []rune(s); len(runes) > longest {
		return string(runes[:longest])
	}
	return s
}

// strings returns an array of strings, nil if absent. One string is an array of
// one, or of what commas separate, as Content-Item 1.0 wrote it.
func (m members) strings(name string) []string {
	var out []string
	switch v := m.values[name].(type) {
	case nil:
	case string:
		for s := range strings.SplitSeq(v, ",") {
			if s = strings.TrimSpace(s); s != "" {
				out = append(out, s)
			}
		}
	case []any:
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				m.refuse(lti.ClaimInvalid, name, "must hold strings only")
				return nil
			}
			out = append(out, s)
		}
	default:
		m.refuse(lti.ClaimInvalid, name, "must be an array")
	}
	if len(out) > maxElements {
		m.refuse(lti.ClaimInvalid, name, fmt.Sprintf("must have at most %d elements", maxElements))
		return nil
	}
	for _, s := range out {
		if len(s) > maxIdentifier {
			m.refuse(lti.ClaimInvalid, name, fmt.Sprintf("must hold strings of at most %d bytes", maxIdentifier))
			return nil
		}
	}
	return out
}

// boolean returns true or false, nil if the member is absent or says neither.
func (m members) boolean(name string) *bool {
	switch v := m.values[name].(type) {
	case bool:
		return &v
	case string:
		if b, err := strconv.ParseBool(strings.TrimSpace(v)); err == nil {
			return &b
		}
	case json.Number:
		if b, err := strconv.ParseBool(v.String()); err == nil {
			return &b
		}
	}
	return nil
}

// isTrue reports whether a member says yes.
func (m members) isTrue(name string) bool {
	b := m.boolean(name)
	return b != nil && *b
}

// pixels returns a whole number above 0, and 0 for all else.
func (m members) pixels(name string) int {
	d, ok := m.number(name)
	if !ok {
		return 0
	}
	whole, _, _ := strings.Cut(d.String(), ".")
	n, err := strconv.Atoi(whole)
	if err != nil || n < 0 || n > maxPixels {
		return 0
	}
	return n
}

// number returns a number, or one in a string.
func (m members) number(name string) (decimal.Decimal, bool) {
	var text string
	switch v := m.values[name].(type) {
	case json.Number:
		text = v.String()
	case string:
		text = strings.TrimSpace(v)
	default:
		return decimal.Decimal{}, false
	}
	d, err := decimal.Parse(text)
	return d, err == nil
}

// time returns a time of ISO 8601 (DL section 3.1), zero if it is absent or none.
func (m members) time(name string) time.Time {
	s, _ := m.values[name].(string)
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil {
			return t
		}
	}
	return time.Time{}
}

// link returns an absolute http or https URL; anything else is left out, above
// all javascript:.
func (m members) link(name string) string {
	s, _ := m.values[name].(string)
	if s = strings.TrimSpace(s); len(s) > MaxURL || !lti.WebURL(s) {
		return ""
	}
	return s
}

// object returns an object and whether it is there. An empty array, which is how
// PHP encodes an empty map, and whatever else is no object count as absent.
func (m members) object(name string) (members, bool) {
	values, ok := m.values[name].(map[string]any)
	return members{values: values, path: m.path + name + ".", err: m.err}, ok
}

// custom returns an object of strings, never nil, see lti.ParameterText.
func (m members) custom(name string) map[string]string {
	out := map[string]string{}
	o, _ := m.object(name)
	if len(o.values) > maxCustom {
		m.refuse(lti.ClaimInvalid, name, fmt.Sprintf("must have at most %d members", maxCustom))
		return out
	}
	for k, v := range o.values {
		out[k] = lti.ParameterText(v)
		if len(k) > maxIdentifier || len(out[k]) > maxText {
			m.refuse(lti.ClaimInvalid, name, "has a name or a value that is too long")
		}
	}
	return out
}

// put adds pairs of names and values to a map, and leaves out empty values.
func put(to map[string]any, pairs ...string) map[string]any {
	for ; len(pairs) >= 2; pairs = pairs[2:] {
		if pairs[1] != "" {
			to[pairs[0]] = pairs[1]
		}
	}
	return to
}

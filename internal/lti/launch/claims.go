package launch

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jws"
)

// maxIdentifier is the length of the identifiers that Core limits to 255 ASCII
// characters: sub (section 5.3.6), deployment_id (5.3.3), resource_link.id
// (5.3.5), context.id (5.4.1), tool_platform.guid (5.4.2).
const maxIdentifier = 255

// identifier reports whether s may be such an identifier. Control characters
// are ASCII, but in no identifier anybody uses; they are refused because they
// end up in logs and databases.
func identifier(s string) bool { return printableASCII(s, maxIdentifier) }

// printableASCII reports whether s has at least one and at most longest
// characters, all of them printable ASCII or blanks.
func printableASCII(s string, longest int) bool {
	if s == "" || len(s) > longest {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// object reads the members of one JSON object. The first mistake is kept in
// *err, and reading goes on harmlessly.
type object struct {
	members map[string]any
	// path is put before names in refusals.
	path string
	err  **lti.Refusal
}

func newObject(members map[string]any) object {
	return object{members: members, err: new(*lti.Refusal)}
}

func (o object) refuse(code lti.Code, name, what string) {
	if *o.err == nil {
		*o.err = lti.Refuse(code, "claim %s %s", o.path+name, what)
	}
}

// failed returns the first mistake, as an error that is nil if there is none.
func (o object) failed() error {
	if *o.err != nil {
		return *o.err
	}
	return nil
}

// value returns a member; null is absent.
func (o object) value(name string) (any, bool) {
	v := o.members[name]
	return v, v != nil
}

// str returns a string, "" if absent.
func (o object) str(name string) string {
	v, ok := o.value(name)
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		o.refuse(lti.ClaimInvalid, name, "must be a string")
	}
	return s
}

// required returns a string that must be there and not be empty.
func (o object) required(name string) string {
	s := o.str(name)
	if s == "" {
		o.refuse(lti.ClaimMissing, name, "is missing")
	}
	return s
}

// id returns an identifier, "" if absent.
func (o object) id(name string) string {
	s := o.str(name)
	if s != "" && !identifier(s) {
		o.refuse(lti.ClaimInvalid, name, "must be at most 255 ASCII characters")
		return ""
	}
	return s
}

// requiredID returns an identifier that must be there.
func (o object) requiredID(name string) string {
	s := o.id(name)
	if s == "" {
		o.refuse(lti.ClaimMissing, name, "is missing")
	}
	return s
}

// text returns something for people to read. Platforms put numbers here; what
// is not text at all is not worth failing a launch for.
func (o object) text(name string) string {
	v, _ := o.value(name)
	switch v := v.(type) {
	case string:
		return readable(v)
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

func readable(s string) string { return lti.Readable(s) }

// oneLine reports whether s is text without control characters.
func oneLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// link returns an absolute http or https URL, "" if absent.
func (o object) link(name string) string {
	s := o.str(name)
	if s != "" && !webURL(s) {
		o.refuse(lti.ClaimInvalid, name, "must be an absolute http or https URL")
		return ""
	}
	return s
}

// webURLOnly drops what is no web address (javascript:, for one), where a bad
// address is not worth failing a launch for.
func webURLOnly(s string) string {
	if webURL(s) {
		return s
	}
	return ""
}

func webURL(s string) bool { return lti.WebURL(s) }

// strings returns an array of strings, nil if absent.
func (o object) strings(name string) []string {
	v, ok := o.value(name)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		o.refuse(lti.ClaimInvalid, name, "must be an array")
		return nil
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			o.refuse(lti.ClaimInvalid, name, "must hold strings only")
			return nil
		}
		out = append(out, s)
	}
	return out
}

// object returns an object and whether it is there. An empty array counts as an
// absent object: that is how PHP encodes an empty map.
func (o object) object(name string) (object, bool) {
	sub := object{path: o.path + name + ".", err: o.err}
	v, ok := o.value(name)
	if !ok {
		return sub, false
	}
	if list, isList := v.([]any); isList && len(list) == 0 {
		return sub, false
	}
	sub.members, ok = v.(map[string]any)
	if !ok {
		o.refuse(lti.ClaimInvalid, name, "must be an object")
	}
	return sub, ok
}

// time returns a NumericDate (RFC 7519 section 2: seconds, perhaps with
// decimals), and its text.
func (o object) time(name string) (t time.Time, text string, ok bool) {
	v, ok := o.value(name)
	if !ok {
		return time.Time{}, "", false
	}
	t, text, err := jws.NumericDate(v)
	if err != nil {
		o.refuse(lti.ClaimInvalid, name, err.Error())
		return time.Time{}, "", false
	}
	return t, text, true
}

// custom returns an object of strings, see lti.ParameterText.
func (o object) custom(name string) map[string]string {
	out := map[string]string{}
	obj, ok := o.object(name)
	if !ok {
		return out
	}
	for k, v := range obj.members {
		out[k] = lti.ParameterText(v)
	}
	return out
}

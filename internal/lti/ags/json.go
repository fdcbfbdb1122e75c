package ags

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

var (
	errNotJSON  = errors.New("not one JSON object")
	errRepeated = errors.New("a member occurs twice")
)

// object holds the members of a JSON object. Unlike a struct it is exact about
// the case of names, and a struct cannot tell null, 0 and nothing apart.
type object map[string]json.RawMessage

// readObject reads a JSON object and nothing after it. Of two members of one
// name each reader picks the one it likes: errRepeated.
func readObject(text []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errNotJSON
	}
	o := object{}
	repeated := false
	for d.More() {
		name, err := d.Token()
		key, ok := name.(string)
		if err != nil || !ok {
			return nil, errNotJSON
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errNotJSON
		}
		if _, ok := o[key]; ok {
			repeated = true
		}
		o[key] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errNotJSON
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotJSON
	}
	if repeated {
		return nil, errRepeated
	}
	return o, nil
}

// array reads a JSON array, or one object in place of an array of one.
func array(body []byte) ([]json.RawMessage, error) {
	body = service.Trim(body)
	if bytes.HasPrefix(body, []byte("{")) {
		var one json.RawMessage
		err := json.Unmarshal(body, &one)
		return []json.RawMessage{one}, err
	}
	var elements []json.RawMessage
	if !bytes.HasPrefix(body, []byte("[")) {
		return nil, errNotJSON
	}
	err := json.Unmarshal(body, &elements)
	return elements, err
}

// has reports whether there is a member that is not null.
func (o object) has(name string) bool {
	v, ok := o[name]
	return ok && string(v) != "null"
}

// str returns a member that is a string.
func (o object) str(name string) (string, bool) {
	var s string
	v := o[name]
	if len(v) == 0 || v[0] != '"' || json.Unmarshal(v, &s) != nil {
		return "", false
	}
	return s, true
}

// text returns a member that is a string, or a number as its text: some systems
// write identifiers as numbers. Otherwise it is "".
func (o object) text(name string) string {
	if s, ok := o.str(name); ok {
		return s
	}
	if v := string(o[name]); v != "" && strings.ContainsRune("-0123456789", rune(v[0])) {
		return v
	}
	return ""
}

// number returns a member that is a number or, if strings are allowed, the text
// of one.
func (o object) number(name string, text bool) (decimal.Decimal, bool) {
	if s, ok := o.str(name); ok {
		if !text {
			return decimal.Decimal{}, false
		}
		d, err := decimal.Parse(strings.TrimSpace(s))
		return d, err == nil
	}
	var d decimal.Decimal
	v := o[name]
	if len(v) == 0 || d.UnmarshalJSON(v) != nil {
		return decimal.Decimal{}, false
	}
	return d, true
}

// timestamp reads a time with a zone. Strictly that is RFC 3339 (AGS section
// 3.4.8 names ISO 8601 with a zone and shows this profile of it); leniently also
// a zone without a colon, as Moodle sends it, or without minutes, and a blank or
// nothing where RFC 3339 has T.
func timestamp(s string, strict bool) (time.Time, bool) {
	var t time.Time
	// time.Parse takes more than RFC 3339; this is exact.
	if t.UnmarshalText([]byte(s)) == nil {
		return t, plausible(t)
	}
	if strict {
		return time.Time{}, false
	}
	s = strings.ToUpper(strings.TrimSpace(s))
	for _, layout := range []string{
		"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07",
		"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z0700", "2006-01-02 15:04:05Z07",
		"2006-01-02 15:04:05 Z07:00", "2006-01-02 15:04:05 Z0700",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, plausible(t)
		}
	}
	return time.Time{}, false
}

// plausible keeps times out that cannot be written again in four digits.
func plausible(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 1 && year <= 9998
}

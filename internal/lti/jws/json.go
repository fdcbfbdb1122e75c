package jws

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxNesting is how deep arrays and objects may be nested, as in encoding/json.
const maxNesting = 10_000

// ParseObject reads a JSON object strictly: valid UTF-8, nothing after it, and
// no member name twice at any depth. RFC 7519 section 4 and RFC 7515 section 4
// allow to take the last of two equal names or to refuse; taking one is a way
// to show two programs two different tokens. Names are matched exactly, which
// decoding into a struct does not do. Numbers are of type [json.Number].
//
// It reads what encoding/json reads, in one go: encoding/json takes the last of
// two names, so that the text would have to be read once more, and the claims
// of a launch cost more to read than their signature to verify.
func ParseObject(text []byte) (map[string]any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	p := parser{text: string(text)}
	value, ok := p.value()
	if ok && value == nil {
		return nil, errors.New("null instead of a JSON object")
	}
	obj, isObject := value.(map[string]any)
	if !ok || !isObject {
		return nil, errors.New("not a JSON object")
	}
	if p.blanks(); p.at < len(p.text) {
		return nil, errors.New("text after the JSON object")
	}
	if p.repeated {
		return nil, errors.New("member name occurs twice")
	}
	return obj, nil
}

// parser reads a JSON text (RFC 8259) that is valid UTF-8. What it returns
// shares the memory of the text.
type parser struct {
	text string
	at   int
	// depth is in how many arrays and objects the parser is.
	depth int
	// repeated says that an object has a member name twice.
	repeated bool
}

// blanks skips insignificant white space.
func (p *parser) blanks() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// take skips blanks and then the character c, if that is the next one.
func (p *parser) take(c byte) bool {
	p.blanks()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// value reads what is next; ok is false where that is no JSON.
func (p *parser) value() (value any, ok bool) {
	p.blanks()
	if p.at == len(p.text) {
		return nil, false
	}
	switch p.text[p.at] {
	case '{':
		return p.nested((*parser).object)
	case '[':
		return p.nested((*parser).array)
	case '"':
		return p.str()
	case 't':
		return true, p.literal("true")
	case 'f':
		return false, p.literal("false")
	case 'n':
		return nil, p.literal("null")
	}
	return p.number()
}

func (p *parser) literal(name string) bool {
	ok := strings.HasPrefix(p.text[p.at:], name)
	p.at += len(name)
	return ok
}

func (p *parser) nested(read func(*parser) (any, bool)) (any, bool) {
	p.at++
	p.depth++
	if p.depth > maxNesting {
		return nil, false
	}
	value, ok := read(p)
	p.depth--
	return value, ok
}

func (p *parser) object() (any, bool) {
	members := make(map[string]any, p.expected())
	if p.take('}') {
		return members, true
	}
	for {
		p.blanks()
		name, ok := p.str()
		if !ok || !p.take(':') {
			return nil, false
		}
		value, ok := p.value()
		if !ok {
			return nil, false
		}
		before := len(members)
		if members[name] = value; len(members) == before {
			p.repeated = true
		}
		if p.take('}') {
			return members, true
		}
		if !p.take(',') {
			return nil, false
		}
	}
}

// expected is how many members an object may have, so that those of a launch, two dozen or
// more, are put where there is room for them.
func (p *parser) expected() int {
	if p.depth == 1 && len(p.text) > 1024 {
		return 28
	}
	return 0
}

func (p *parser) array() (any, bool) {
	elements := []any{}
	if p.take(']') {
		return elements, true
	}
	for {
		value, ok := p.value()
		if !ok {
			return nil, false
		}
		elements = append(elements, value)
		if p.take(']') {
			return elements, true
		}
		if !p.take(',') {
			return nil, false
		}
	}
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?.
func (p *parser) number() (any, bool) {
	start := p.at
	p.skip("-")
	if !p.skip("0") && !p.digits() {
		return nil, false
	}
	if p.skip(".") && !p.digits() {
		return nil, false
	}
	if p.skip("eE") {
		p.skip("+-")
		if !p.digits() {
			return nil, false
		}
	}
	return json.Number(p.text[start:p.at]), true
}

// skip skips one of the characters, if that is the next one.
func (p *parser) skip(characters string) bool {
	if p.at == len(p.text) || strings.IndexByte(characters, p.text[p.at]) < 0 {
		return false
	}
	p.at++
	return true
}

// digits skips digits, at least one.
func (p *parser) digits() bool {
	start := p.at
	for p.at < len(p.text) && '0' <= p.text[p.at] && p.text[p.at] <= '9' {
		p.at++
	}
	return p.at > start
}

// str reads a string.
func (p *parser) str() (string, bool) {
	if !p.skip(`"`) {
		return "", false
	}
	s := p.characters()
	if p.skip(`"`) {
		return s, true
	}
	return p.escaped(s)
}

// characters reads the part of a string that stands for itself.
func (p *parser) characters() string {
	rest := p.text[p.at:]
	for i := range len(rest) {
		if c := rest[i]; c == '"' || c == '\\' || c < ' ' {
			p.at += i
			return rest[:i]
		}
	}
	p.at = len(p.text)
	return rest
}

// escaped reads the rest of a string, which does not end after what was read of it.
func (p *parser) escaped(read string) (string, bool) {
	var b strings.Builder
	// As much again, or a bit more: addresses, in which some escape each slash.
	b.Grow(2*len(read) + 32)
	b.WriteString(read)
	for {
		r, ok := p.escape()
		if !ok {
			return "", false
		}
		b.WriteRune(r)
		b.WriteString(p.characters())
		if p.skip(`"`) {
			return b.String(), true
		}
	}
}

// escape reads a backslash and what it escapes. Half a surrogate pair becomes
// U+FFFD.
func (p *parser) escape() (rune, bool) {
	const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if len(p.text)-p.at < 2 || p.text[p.at] != '\\' {
		return 0, false
	}
	c := p.text[p.at+1]
	if i := strings.IndexByte(from, c); i >= 0 {
		p.at += 2
		return rune(to[i]), true
	}
	r, ok := p.unit()
	if !ok {
		return 0, false
	}
	p.at += len(`\u0000`)
	if !utf16.IsSurrogate(r) {
		return r, true
	}
	if second, ok := p.unit(); ok {
		if pair := utf16.DecodeRune(r, second); pair != utf8.RuneError {
			p.at += len(`\u0000`)
			return pair, true
		}
	}
	return utf8.RuneError, true
}

// unit returns the UTF-16 code unit that is next, as in \u00e9, without moving on.
func (p *parser) unit() (rune, bool) {
	rest := p.text[p.at:]
	if len(rest) < len(`\u0000`) || rest[:2] != `\u` {
		return 0, false
	}
	n, err := strconv.ParseUint(rest[2:6], 16, 16)
	return rune(n), err == nil
}

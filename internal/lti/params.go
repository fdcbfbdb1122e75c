package lti

import (
	"strings"
)

// A Param is one name and value of a form or query.
type Param struct {
	Name, Value string
}

// Params are the parameters of a form or query in the order in which they were
// sent, repetitions included. A map would lose both, and with them the ability
// to recompute a signature and to notice a parameter that was smuggled in
// twice.
type Params []Param

// Get returns the value of the first parameter with this name, or "".
func (p Params) Get(name string) string {
	for _, q := range p {
		if q.Name == name {
			return q.Value
		}
	}
	return ""
}

// Count returns how often the name occurs.
func (p Params) Count(name string) int {
	n := 0
	for _, q := range p {
		if q.Name == name {
			n++
		}
	}
	return n
}

// Only returns the value of a parameter that may occur at most once, and
// whether it occurs. It refuses repetitions with [ParameterRepeated]: two
// values of one parameter are two messages, and whichever is picked, some other
// program on the way may have picked the other.
func (p Params) Only(name string) (value string, ok bool, err error) {
	for _, q := range p {
		if q.Name != name {
			continue
		}
		if ok {
			return "", true, Refuse(ParameterRepeated, "parameter %s occurs more than once", name)
		}
		value, ok = q.Value, true
	}
	return value, ok, nil
}

// Limits of [ParseForm]. The largest launches seen in the field have a little
// over a hundred parameters and fewer than 20 KiB.
const (
	// MaxFormBytes is the longest encoded form that is decoded.
	MaxFormBytes = 256 << 10
	// MaxFormParams is the largest number of parameters in one form.
	MaxFormParams = 1000
)

// ParseForm decodes the application/x-www-form-urlencoded form s, keeping order
// and repetitions.
//
// It differs from [net/url.ParseQuery] in what a signature needs: names without
// "=" have the empty value, ";" is an ordinary character, empty sequences
// between "&" are skipped, bytes are kept whether or not they are UTF-8, and
// nothing is dropped silently. An invalid percent-encoding is refused with
// [RequestMalformed], a form beyond [MaxFormBytes] or [MaxFormParams] with
// [RequestTooLarge]. (RFC 5849 section 3.4.1.3.1, HTML 4.01 section 17.13.4.)
func ParseForm(s string) (Params, error) {
	if len(s) > MaxFormBytes {
		return nil, Refuse(RequestTooLarge, "form of more than %d bytes", MaxFormBytes)
	}
	if s == "" {
		return nil, nil
	}
	out := make(Params, 0, min(strings.Count(s, "&")+1, MaxFormParams))
	for s != "" {
		var seq string
		seq, s, _ = strings.Cut(s, "&")
		if seq == "" {
			continue
		}
		if len(out) == MaxFormParams {
			return nil, Refuse(RequestTooLarge, "form of more than %d parameters", MaxFormParams)
		}
		rawName, rawValue, _ := strings.Cut(seq, "=")
		name, ok1 := unescape(rawName)
		value, ok2 := unescape(rawValue)
		if !ok1 || !ok2 {
			return nil, Refuse(RequestMalformed, "parameter %d has an invalid percent-encoding", len(out)+1)
		}
		out = append(out, Param{name, value})
	}
	return out, nil
}

// unescape decodes "+" and "%XX".
func unescape(s string) (string, bool) {
	// Not ContainsAny, which takes one byte after the other: of tokens there are
	// thousands.
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, true
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '+':
			b.WriteByte(' ')
		case '%':
			if i+2 >= len(s) {
				return "", false
			}
			hi, ok1 := unhex(s[i+1])
			lo, ok2 := unhex(s[i+2])
			if !ok1 || !ok2 {
				return "", false
			}
			b.WriteByte(hi<<4 | lo)
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

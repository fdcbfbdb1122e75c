// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// equal is the filter for an attribute with exactly this value (RFC 7644 section
// 3.4.2.2).
func equal(attribute, value string) string { return attribute + " eq " + quote(value) }

// quote returns s, which must be valid UTF-8, as a JSON string (RFC 8259 section
// 7). Only what must be escaped is, and hexadecimal digits are capitals: parsers
// of filters are often written by hand after the grammar.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// checkFilter refuses a filter that would not stay inside of the parentheses it
// is put into. Whether it means anything only the server knows.
func checkFilter(filter string) error {
	depth, quoted := 0, false
	for i := 0; i < len(filter); i++ {
		switch c := filter[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth < 0 {
				return errors.New("a parenthesis is closed that was not opened")
			}
		}
	}
	switch {
	case quoted:
		return errors.New("a quotation mark is not closed")
	case depth > 0:
		return errors.New("a parenthesis is not closed")
	}
	return nil
}

// sameText compares without case, as attributes are by default (RFC 7643 section
// 2.2). Letters beyond ASCII never equal one of ASCII: the Kelvin sign would
// otherwise be a k, and its owner somebody else.
func sameText(a, b string) bool { return strings.Map(fold, a) == strings.Map(fold, b) }

func fold(r rune) rune {
	if l := unicode.ToLower(r); r <= unicode.MaxASCII || l > unicode.MaxASCII {
		return l
	}
	return r
}

package service

import (
	"mime"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// maxParameter bounds a parameter of a query, in bytes.
const maxParameter = 1024

// cursor is the parameter that says where a page begins. It is our own: to others
// the address of the next page is opaque.
const cursor = "after"

// Page is which part of a list is asked for.
type Page struct {
	// Limit is how many elements are to be on the page, at least 1.
	Limit int
	// After is the last element of the page before, "" for the first page.
	After string
}

// ParsePage reads the page out of a query: limit, of which more than most counts
// as most, as does none at all (a platform may send fewer than are asked for), and
// what [Page.Next] wrote. Refusals are ParameterRepeated and ParameterInvalid, for
// a limit that is not a whole number of at least 1.
func ParsePage(query lti.Params, most int) (Page, error) {
	p := Page{Limit: most}
	limit, err := Parameter(query, "limit")
	if err != nil {
		return Page{}, err
	}
	if limit != "" {
		if strings.Trim(limit, "0123456789") != "" || strings.Trim(limit, "0") == "" {
			return Page{}, lti.Refuse(lti.ParameterInvalid, "limit must be a whole number of at least 1")
		}
		// What is too long for an int is more than most.
		if n, err := strconv.Atoi(limit); err == nil {
			p.Limit = min(n, most)
		}
	}
	if p.After, err = Parameter(query, cursor); err != nil {
		return Page{}, err
	}
	return p, nil
}

// Parameter returns a parameter of a query, "" if it is absent. It refuses with
// ParameterRepeated, and with ParameterInvalid what is longer than an identifier
// can be or has control characters.
func Parameter(query lti.Params, name string) (string, error) {
	v, _, err := query.Only(name)
	if err != nil {
		return "", err
	}
	if len(v) > maxParameter || !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", lti.Refuse(lti.ParameterInvalid, "%s must be at most %d bytes of text", name, maxParameter)
	}
	return v, nil
}

// Next returns the Link header that names the page after this one, whose last
// element is last (RFC 8288 section 3). list is the address of the whole list;
// pairs, given as name, value, name, value, are what else selects the elements,
// and those without a value are left out.
func (p Page) Next(list, last string, pairs ...string) string {
	var query []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			query = append(query, pairs[i], pairs[i+1])
		}
	}
	query = append(query, "limit", strconv.Itoa(p.Limit), cursor, last)
	return FormatLink(AddQuery(list, query...), "next")
}

// FormatLink returns a Link header with one link. Characters that a URL cannot
// have are escaped, above all those that would end it.
func FormatLink(target, rel string) string {
	var b strings.Builder
	b.WriteByte('<')
	for i := 0; i < len(target); i++ {
		c := target[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`<>"\^{}|`+"`", c) >= 0 {
			const hex = "0123456789ABCDEF"
			b.WriteString(string([]byte{'%', hex[c>>4], hex[c&15]}))
			continue
		}
		b.WriteByte(c)
	}
	return b.String() + `>; rel="` + rel + `"`
}

// Accepts reports whether a request whose Content-Type is contentType may have a
// body of the media type want, which is JSON. Besides that type itself it is
// application/json and none at all, which tools send too; parameters such as
// charset do not count.
func Accepts(contentType, want string) bool {
	if strings.TrimSpace(contentType) == "" {
		return true
	}
	// Of broken parameters the type is returned nevertheless, with an error that
	// says so.
	got, _, err := mime.ParseMediaType(contentType)
	if err != nil && got == "" {
		return false
	}
	return strings.EqualFold(got, want) || got == "application/json"
}

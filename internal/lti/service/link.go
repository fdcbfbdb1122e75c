package service

import (
	"net/http"
	"net/url"
	"strings"
)

// maxLinks bounds how many links of a header are looked at.
const maxLinks = 100

// Link returns the target of the first link with a relation, such as "next", in
// the Link headers of an answer (RFC 8288 section 3), or "". The target is
// opaque and may be relative; give it to [Within].
//
// Relations are compared without case. Moodle's header is read too: it escapes
// the URL as in HTML ("&amp;") and puts typographic quotes around the relation.
func Link(h http.Header, rel string) string {
	n := 0
	for _, v := range h.Values("Link") {
		for v != "" && n < maxLinks {
			var target, params string
			if target, params, v = nextLink(v); target == "" {
				break
			}
			n++
			for _, r := range strings.Fields(relation(params)) {
				if strings.EqualFold(r, rel) {
					return strings.ReplaceAll(target, "&amp;", "&")
				}
			}
		}
	}
	return ""
}

// nextLink takes the first link off a header: what is between "<" and ">", and
// its parameters up to the comma that no quotes enclose.
func nextLink(s string) (target, params, rest string) {
	_, s, ok := strings.Cut(s, "<")
	if !ok {
		return "", "", ""
	}
	target, s, ok = strings.Cut(s, ">")
	if !ok {
		return "", "", ""
	}
	end := outside(s, ',')
	if end < 0 {
		return strings.TrimSpace(target), s, ""
	}
	return strings.TrimSpace(target), s[:end], s[end+1:]
}

// relation returns the value of the parameter rel. Only the first one counts
// (RFC 8288 section 3.3).
func relation(params string) string {
	for params != "" {
		var param string
		if end := outside(params, ';'); end >= 0 {
			param, params = params[:end], params[end+1:]
		} else {
			param, params = params, ""
		}
		name, value, ok := strings.Cut(param, "=")
		if ok && strings.EqualFold(strings.TrimSpace(name), "rel") {
			return strings.Trim(value, " \t\"'“”„‘’")
		}
	}
	return ""
}

// outside returns the index of the first c in s that is not inside of quotes, or
// -1.
func outside(s string, c byte) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == c && !quoted:
			return i
		}
	}
	return -1
}

// ParseURL reads an absolute http or https URL with a host and without a user.
func ParseURL(raw string) (*url.URL, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, false
	}
	return u, true
}

// Within returns the URL that ref means in an answer from base, and whether it
// has the origin of base: scheme, host and port.
//
// Only there an access token may be sent. The address of a service comes out of
// a launch that the platform signed; one out of an answer is as good only while
// it is at the same place. A platform behind a proxy that ends TLS writes http
// where it means itself: such a URL is returned with the scheme of base.
func Within(base *url.URL, ref string) (string, bool) {
	r, err := url.Parse(ref)
	if err != nil || ref == "" {
		return "", false
	}
	u := base.ResolveReference(r)
	if u.User != nil || u.Opaque != "" {
		return "", false
	}
	if base.Scheme == "https" && u.Scheme == "http" && (u.Port() == "" || u.Port() == base.Port()) {
		u.Scheme = "https"
	}
	if u.Scheme != base.Scheme || !strings.EqualFold(u.Hostname(), base.Hostname()) || port(u) != port(base) {
		return "", false
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String(), true
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// AddQuery adds parameters, given as name, value, name, value, to the query that
// a URL has. What is there stays as it is written: Moodle's addresses do not
// work without it.
func AddQuery(raw string, pairs ...string) string {
	raw, _, _ = strings.Cut(raw, "#")
	for i := 0; i+1 < len(pairs); i += 2 {
		// Only the first question mark begins the query; a further one is part of it.
		switch _, query, begun := strings.Cut(raw, "?"); {
		case !begun:
			raw += "?"
		case query != "" && !strings.HasSuffix(query, "&"):
			raw += "&"
		}
		raw += url.QueryEscape(pairs[i]) + "=" + url.QueryEscape(pairs[i+1])
	}
	return raw
}

// AddPath adds a segment to the path of a URL, before its query (Moodle's line
// items are at …/lineitem?type_id=2, so their scores are at
// …/lineitem/scores?type_id=2).
func AddPath(raw, segment string) string {
	raw, _, _ = strings.Cut(raw, "#")
	path, query, hasQuery := strings.Cut(raw, "?")
	path = strings.TrimSuffix(path, "/") + "/" + segment
	if hasQuery {
		path += "?" + query
	}
	return path
}

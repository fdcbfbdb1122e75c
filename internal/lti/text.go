package lti

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"net/url"
	"strings"
)

// Readable removes what neither pages nor databases take: control characters
// except line breaks and tabs, and bytes that are not UTF-8.
func Readable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return s // as most are
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' && r != '\r' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// ParameterText is the value of a custom parameter that came as JSON. It is to be a
// string (Core section 5.4.6), but others send numbers, booleans, null and even
// objects: they become their JSON text, and null the empty string.
func ParameterText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case nil:
		return ""
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it is a value, not a page
	if enc.Encode(v) != nil {
		return ""
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// WebURL reports whether s is an absolute http or https URL without user name.
func WebURL(s string) bool {
	_, ok := parseWebURL(s)
	return ok
}

// SafeURL reports whether s is an absolute https URL without user name, or http
// on a loopback host: where a browser may be sent to with something that is
// nobody else's business.
func SafeURL(s string) bool {
	u, ok := parseWebURL(s)
	return ok && (u.Scheme == "https" || LoopbackHost(u.Hostname()))
}

func parseWebURL(s string) (*url.URL, bool) {
	u, err := url.Parse(s)
	return u, err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}

// LoopbackHost reports whether a host of a URL cannot be anything but loopback
// (localhost and names below it: RFC 6761 section 6.3).
func LoopbackHost(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Zone() == "" && addr.IsLoopback()
}

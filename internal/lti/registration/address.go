package registration

import (
	"errors"
	"net/url"
	"strings"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// parseAddress reads an address of another party, by the rules for one that is
// configured by hand: an absolute https URL without user name and fragment; http on
// loopback hosts only. The error says what is wrong with it.
func parseAddress(s string, limit int) (*url.URL, error) {
	if s == "" {
		return nil, errors.New("is missing")
	}
	if !printable(s, limit) {
		return nil, errors.New("is too long, or not ASCII")
	}
	if strings.Contains(s, "#") {
		return nil, errors.New("has a fragment")
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Opaque != "" || !strings.HasPrefix(s, "https://") && !strings.HasPrefix(s, "http://") {
		return nil, errors.New("is not an absolute https URL")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("has a user name")
	case u.Scheme == "http" && !lti.LoopbackHost(u.Hostname()):
		return nil, errors.New("is not https")
	case strings.Trim(u.Hostname(), hostCharacters) != "" && !lti.LoopbackHost(u.Hostname()), u.Hostname() == "":
		return nil, errors.New("has a host that is not plain ASCII")
	}
	return u, nil
}

const hostCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

// sameHost reports whether two addresses are at one host and port, by the rules of URLs
// (RFC 3986 section 6.2): without case, and with the port of the scheme in place of none.
func sameHost(a, b *url.URL) bool {
	port := func(u *url.URL) string {
		if p := u.Port(); p != "" {
			return p
		}
		return map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

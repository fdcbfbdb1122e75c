// SPDX-License-Identifier: Apache-2.0

package learner

import (
	"crypto/subtle"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode"
)

// leeway is how far the provider's clock and ours may be apart.
const leeway = 60 * time.Second

// maxText is the longest subject, name or address, in bytes: OpenID Connect Core 1.0 section 2 has subjects of up to 255
// characters of ASCII.
const maxText = 255

const (
	claimSubject = "sub"
	claimEmail   = "email"
	claimName    = "name"
)

// claims are those of a document, by their exact names: encoding/json would take "Nonce" for "nonce".
type claims map[string]json.RawMessage

func parseClaims(signed []byte) (claims, *Error) {
	var c claims
	if err := json.Unmarshal(signed, &c); err != nil {
		return nil, invalid("ID token: its claims cannot be read")
	}
	return c, nil
}

// has reports whether there is such a claim; null is none.
func (c claims) has(name string) bool {
	raw, ok := c[name]
	return ok && string(raw) != "null"
}

// text returns a claim that is a string, and "" for any other.
func (c claims) text(name string) string {
	var s string
	if json.Unmarshal(c[name], &s) != nil {
		return ""
	}
	return s
}

// texts returns a claim that is a string or a list of strings.
func (c claims) texts(name string) []string {
	var list []string
	if json.Unmarshal(c[name], &list) == nil {
		return list
	}
	if s := c.text(name); s != "" {
		return []string{s}
	}
	return nil
}

// instant returns a claim that is a number of seconds since 1970, and whether there is one.
func (c claims) instant(name string) (time.Time, bool) {
	var n *float64
	if json.Unmarshal(c[name], &n) != nil || n == nil || *n < 0 || *n > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(*n), 0), true
}

// isTrue reports whether a claim is true, or the text that some providers make of it.
func (c claims) isTrue(name string) bool {
	return string(c[name]) == "true" || c.text(name) == "true"
}

// check verifies the claims of an ID token whose signature is good (OpenID Connect Core 1.0 section 3.1.3.7; the numbers are
// those of its items).
func (c claims) check(cfg Config, r Request, now time.Time) *Error {
	audience, azp := c.texts("aud"), c.text("azp")
	expires, hasExpiry := c.instant("exp")
	issued, hasIssued := c.instant("iat")
	switch {
	case c.text("iss") != cfg.IssuerURL: // 2
		return invalid("ID token: iss is another issuer")
	case !slices.Contains(audience, cfg.ClientID): // 3
		return invalid("ID token: aud is another client")
	case len(audience) > 1 && azp == "": // 4
		return invalid("ID token: there are several audiences and no azp")
	case c.has("azp") && azp != cfg.ClientID: // 5
		return invalid("ID token: azp is another client")
	case !hasExpiry || now.Add(-leeway).After(expires): // 9
		return invalid("ID token: it has expired; if that is new, a clock is wrong")
	case !hasIssued || issued.After(now.Add(leeway)): // 10
		return invalid("ID token: it was issued in the future, or does not say when; a clock is wrong")
	case subtle.ConstantTimeCompare([]byte(c.text("nonce")), []byte(r.Nonce)) != 1: // 11
		return invalid("ID token: nonce is that of another sign-in")
	case c.text(claimSubject) == "": // section 2
		return invalid("ID token: there is no sub")
	}
	if r.MaxAge <= 0 {
		return nil
	}
	asked := r.AskedAt
	if asked.IsZero() {
		asked = now
	}
	switch at, ok := c.instant("auth_time"); { // 13
	case !ok:
		return invalid("ID token: there is no auth_time, although max_age was asked for")
	case at.Before(asked.Add(-r.MaxAge - leeway)):
		return invalid("ID token: the learner signed in too long ago")
	case at.After(now.Add(leeway)):
		return invalid("ID token: the learner signed in in the future; a clock is wrong")
	}
	return nil
}

// learnerOf reads a learner from the first of the documents that has each claim. wanted is the one for Learner.Values.
func learnerOf(subjectClaim, wanted string, documents []claims) (Learner, *Error) {
	first := func(name string) claims {
		for _, c := range documents {
			if c.has(name) {
				return c
			}
		}
		return nil
	}
	email := first(claimEmail)
	l := Learner{
		Subject: first(subjectClaim).text(subjectClaim),
		Email:   email.text(claimEmail), EmailVerified: email.isTrue("email_verified"),
	}
	for name, to := range map[string]*string{
		claimName: &l.Name, "given_name": &l.GivenName, "family_name": &l.FamilyName, "locale": &l.Locale,
	} {
		if *to = first(name).text(name); !printable(*to) {
			*to = ""
		}
	}
	switch {
	case first(subjectClaim) == nil:
		return Learner{}, invalid("the subject claim is not there")
	case !printable(l.Subject):
		return Learner{}, invalid("the subject claim is not a text of 1 to %d bytes", maxText)
	case subjectClaim == claimEmail && !l.EmailVerified:
		// Anybody can say that an address is theirs.
		return Learner{}, invalid("the subject claim is an email address that is not verified")
	}
	if wanted != "" {
		l.Values = first(wanted).texts(wanted)
	}
	if !printable(l.Email) {
		l.Email, l.EmailVerified = "", false
	}
	return l, nil
}

// printable reports whether a text can be stored and shown as it is. encoding/json makes U+FFFD of what is no text, so that
// two subjects might become one.
func printable(s string) bool {
	return s != "" && len(s) <= maxText && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar })
}

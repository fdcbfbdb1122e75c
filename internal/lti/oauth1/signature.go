// Package oauth1 signs and verifies requests with OAuth 1.0a HMAC-SHA1
// (RFC 5849) as LTI 1.0 to 1.2 use it: two-legged, without a token, the
// parameters in the body of a form or, over a body that is no form, in the
// Authorization header.
package oauth1

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 5849 section 3.4.2 names it; HMAC does not rest on its collision resistance.
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// Signature methods. LTI 1.1 section 4 knows HMAC-SHA1 alone; HMAC-SHA256 is
// what Brightspace uses unless it is told otherwise.
const (
	HMACSHA1   = "HMAC-SHA1"
	HMACSHA256 = "HMAC-SHA256"
)

// SignatureMethod is the signature method that is used, and the only one that
// is accepted unless a [Request] says otherwise.
const SignatureMethod = HMACSHA1

// Escape encodes s as RFC 5849 section 3.6 demands: every byte except
// A-Z a-z 0-9 - . _ ~ becomes % and two upper-case hexadecimal digits. Neither
// url.QueryEscape (blank becomes "+") nor url.PathEscape ("$&+=:@" stay) does.
func Escape(s string) string {
	n := 0
	for i := 0; i < len(s); i++ {
		if !plain[s[i]] {
			n++
		}
	}
	if n == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 2*n)
	writeEscaped(&b, s, "%")
	return b.String()
}

// writeEscaped writes s, escaped with that text in the place of "%": with "%25" it
// is escaped twice.
func writeEscaped(b *strings.Builder, s, percent string) {
	const hex = "0123456789ABCDEF"
	done := 0
	for i := 0; i < len(s); i++ {
		if c := s[i]; !plain[c] {
			b.WriteString(s[done:i])
			b.WriteString(percent)
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
			done = i + 1
		}
	}
	b.WriteString(s[done:])
}

// plain has the answers of unreserved: a launch asks for every byte of it twice.
var plain = func() (table [256]bool) {
	for c := range table {
		table[c] = unreserved(byte(c))
	}
	return table
}()

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// BaseURI returns the base string URI of an absolute http or https URL: scheme
// and host in lower case, the scheme's default port, query and fragment
// removed, the path kept as it is, an empty one written as "/" (RFC 5849
// section 3.4.1.2).
func BaseURI(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", fmt.Errorf("oauth1: URL cannot be parsed")
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	default:
		return "", fmt.Errorf("oauth1: URL is neither http nor https")
	}
	if host == "" {
		return "", fmt.Errorf("oauth1: URL has no host")
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return scheme + "://" + host + path, nil
}

// BaseString returns the signature base string (RFC 5849 section 3.4.1.1) over
// a method, a URI as [BaseURI] returns it and all parameters of the request,
// decoded: those of the query, of the form and of the Authorization header
// without realm. Every oauth_signature is left out; empty values and
// repetitions count.
func BaseString(method, baseURI string, params lti.Params) string {
	// Section 3.4.1.3.2: encode first, then sort by name and value as bytes. Names
	// hardly ever repeat, so that values are encoded when they are written.
	pairs := make([]lti.Param, 0, len(params))
	size := len(method) + len(baseURI)
	for _, p := range params {
		if p.Name == "oauth_signature" {
			continue
		}
		q := lti.Param{Name: Escape(p.Name), Value: p.Value}
		pairs = append(pairs, q)
		size += len(q.Name) + len(q.Value) + len("%3D%26")
	}
	slices.SortFunc(pairs, func(a, b lti.Param) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(Escape(a.Value), Escape(b.Value))
	})
	// Section 3.4.1.1: the pairs, joined by "=" and "&", are encoded once more.
	var text strings.Builder
	text.Grow(size + size/2)
	text.WriteString(strings.ToUpper(method))
	text.WriteByte('&')
	writeEscaped(&text, baseURI, "%")
	text.WriteByte('&')
	for i, p := range pairs {
		if i > 0 {
			text.WriteString("%26")
		}
		writeEscaped(&text, p.Name, "%")
		text.WriteString("%3D")
		writeEscaped(&text, p.Value, "%25")
	}
	return text.String()
}

// Signature returns the HMAC-SHA1 of a base string, in base64, for a shared
// secret and no token secret (RFC 5849 section 3.4.2: the key ends in "&").
func Signature(baseString, sharedSecret string) string {
	return mac(sha1.New, baseString, sharedSecret)
}

// signatureBy returns the signature of a base string by one of the methods.
func signatureBy(method, baseString, sharedSecret string) string {
	if method == HMACSHA256 {
		return mac(sha256.New, baseString, sharedSecret)
	}
	return Signature(baseString, sharedSecret)
}

func mac(algorithm func() hash.Hash, baseString, sharedSecret string) string {
	m := hmac.New(algorithm, []byte(Escape(sharedSecret)+"&"))
	m.Write([]byte(baseString))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// BodyHash returns the oauth_body_hash of a request body that is not a form:
// the base64 of the SHA-1 of its bytes (OAuth Request Body Hash 1.0 section
// 3.1; LTI 1.1 section 4.3 uses it for Basic Outcomes).
func BodyHash(body []byte) string {
	sum := sha1.Sum(body) //nolint:gosec // The extension names SHA-1; the signature protects the hash.
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Credentials are a consumer key and its shared secret.
type Credentials struct {
	ConsumerKey, SharedSecret string
}

// SignForm returns the parameters of a signed form: params, the oauth_*
// parameters that LTI 1.1 section 4 asks for (oauth_callback=about:blank among
// them) and oauth_signature. The form is to be posted to rawURL; a query there
// is signed too. The nonce must never be used again with this consumer key.
func SignForm(rawURL string, params lti.Params, cred Credentials, now time.Time, nonce string) (lti.Params, error) {
	base, err := BaseURI(rawURL)
	if err != nil {
		return nil, err
	}
	for _, p := range params {
		if strings.HasPrefix(p.Name, "oauth_") {
			return nil, fmt.Errorf("oauth1: parameter %s is set by the signature", p.Name)
		}
	}
	form := append(slices.Clone(params),
		lti.Param{Name: "oauth_callback", Value: "about:blank"},
		lti.Param{Name: "oauth_consumer_key", Value: cred.ConsumerKey},
		lti.Param{Name: "oauth_nonce", Value: nonce},
		lti.Param{Name: "oauth_signature_method", Value: SignatureMethod},
		lti.Param{Name: "oauth_timestamp", Value: strconv.FormatInt(now.Unix(), 10)},
		lti.Param{Name: "oauth_version", Value: "1.0"},
	)
	query, err := queryOf(rawURL)
	if err != nil {
		return nil, err
	}
	if err := checkQuery(query, form); err != nil {
		return nil, err
	}
	sig := Signature(BaseString("POST", base, append(query, form...)), cred.SharedSecret)
	return append(form, lti.Param{Name: "oauth_signature", Value: sig}), nil
}

// bodyHash returns the oauth_body_hash for a signature method. The extension
// (OAuth Request Body Hash 1.0 section 3.1) ties the hash to the method:
// SHA-256 goes with HMAC-SHA256.
func bodyHash(method string, body []byte) string {
	if method == HMACSHA256 {
		sum := sha256.Sum256(body)
		return base64.StdEncoding.EncodeToString(sum[:])
	}
	return BodyHash(body)
}

// SignBody returns the value of the Authorization header for a POST of body,
// which is not a form, to rawURL: the oauth_* parameters with oauth_body_hash,
// and the signature over them and the query of the URL (LTI 1.1 section 4.3,
// RFC 5849 section 3.5.1, OAuth Request Body Hash 1.0). The method is HMACSHA1,
// also if empty, or HMACSHA256. The body must be sent as it is, byte by byte.
// The nonce must never be used again with this consumer key.
func SignBody(rawURL string, body []byte, cred Credentials, method string, now time.Time, nonce string) (string, error) {
	if method == "" {
		method = HMACSHA1
	}
	if method != HMACSHA1 && method != HMACSHA256 {
		return "", fmt.Errorf("oauth1: signature method is neither HMAC-SHA1 nor HMAC-SHA256")
	}
	base, err := BaseURI(rawURL)
	if err != nil {
		return "", err
	}
	query, err := queryOf(rawURL)
	if err != nil {
		return "", err
	}
	params := lti.Params{
		{Name: "oauth_version", Value: "1.0"},
		{Name: "oauth_nonce", Value: nonce},
		{Name: "oauth_timestamp", Value: strconv.FormatInt(now.Unix(), 10)},
		{Name: "oauth_consumer_key", Value: cred.ConsumerKey},
		{Name: "oauth_body_hash", Value: bodyHash(method, body)},
		{Name: "oauth_signature_method", Value: method},
	}
	if err := checkQuery(query, params); err != nil {
		return "", err
	}
	sig := signatureBy(method, BaseString("POST", base, slices.Concat(query, params)), cred.SharedSecret)
	var b strings.Builder
	// Some servers look for the realm; an empty one is what LTI libraries send.
	b.WriteString(`OAuth realm=""`)
	for _, p := range append(params, lti.Param{Name: "oauth_signature", Value: sig}) {
		b.WriteString("," + p.Name + `="` + Escape(p.Value) + `"`)
	}
	return b.String(), nil
}

// checkQuery refuses a query with parameters that the signature has: RFC 5849
// section 3.5 allows none of the protocol more than once.
func checkQuery(query, signature lti.Params) error {
	for _, p := range query {
		if strings.HasPrefix(p.Name, "oauth_") && (signature.Count(p.Name) > 0 || p.Name == "oauth_signature") {
			return fmt.Errorf("oauth1: the query of the URL has a parameter of the signature")
		}
	}
	return nil
}

func queryOf(rawURL string) (lti.Params, error) {
	rawURL, _, _ = strings.Cut(rawURL, "#")
	_, query, _ := strings.Cut(rawURL, "?")
	return lti.ParseForm(query)
}

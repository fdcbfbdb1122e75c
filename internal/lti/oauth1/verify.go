package oauth1

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// Window is how far oauth_timestamp may be from our clock, in both directions.
// RFC 5849 section 3.3 leaves it to the server; five minutes is what LTI
// libraries agree on.
const Window = 300 * time.Second

// maxIdentifier bounds consumer key and nonce, in bytes.
const maxIdentifier = 255

// A Request is a signed form as it arrived.
type Request struct {
	// Method is the HTTP method; only POST carries a form.
	Method string
	// URL is the public URL under which the request arrived, from
	// configuration. It must not be put together from headers: behind a proxy
	// they are wrong, and the sender chooses them. A query in it is ignored.
	URL string
	// RawQuery is the query of the request as received, without "?".
	RawQuery string
	// Body are the parameters of the form.
	Body lti.Params
	// Methods are the signature methods that are accepted; HMACSHA1 alone if
	// empty.
	Methods []string
}

// accepts reports whether the request may be signed by this method.
func (r *Request) accepts(method string) bool {
	if len(r.Methods) == 0 {
		return method == HMACSHA1
	}
	return (method == HMACSHA1 || method == HMACSHA256) && slices.Contains(r.Methods, method)
}

// Secrets returns the shared secrets that are valid for a consumer key: none
// for an unknown key, two while an old secret is still accepted. It may answer
// with a refusal of its own, which then is the result.
type Secrets func(ctx context.Context, consumerKey string) ([]string, error)

// Verified is what a valid signature proves.
type Verified struct {
	// ConsumerKey signed the request.
	ConsumerKey string
	// Nonce is still to be spent by the caller, last.
	Nonce lti.Nonce
	// Timestamp is when the sender says to have signed.
	Timestamp time.Time
	// Secret is the index of the matching secret in what [Secrets] returned.
	Secret int
	// QueryInBody says that the signature only matched when parameters which
	// the query repeats from the body were counted once.
	QueryInBody bool
}

// requiredParams must be in the form (LTI 1.1 section 4.2, RFC 5849 section
// 3.1). oauth_version may be absent, as the RFC says.
func requiredParams() []string {
	return []string{"oauth_consumer_key", "oauth_nonce", "oauth_signature", "oauth_signature_method", "oauth_timestamp"}
}

// Verify checks the signature of a form.
//
// The oauth_* parameters are read from the body only and must not repeat.
// The signature is verified strictly first, over the query and the body. If
// that fails it is verified exactly once more, with those query parameters
// left out that also occur, with an equal value, in the body: Canvas copies the
// query of a launch URL into the form and signs it once
// (https://github.com/instructure/canvas-lms/issues/600).
//
// Refusals: MethodNotAllowed, RequestMalformed, RequestTooLarge,
// ParameterMissing, ParameterRepeated, ParameterInvalid,
// SignatureMethodUnsupported, TimestampInvalid, ConsumerKeyUnknown,
// SignatureInvalid, TimestampOutOfRange and those of secrets. The age is
// checked after the signature, so that a wrong clock is only ever reported for
// a message that is genuine. Replays are for the caller to refuse, with
// Verified.Nonce.
func Verify(ctx context.Context, r Request, secrets Secrets, now time.Time) (*Verified, error) {
	if r.Method != http.MethodPost {
		return nil, lti.Refuse(lti.MethodNotAllowed, "a signed request is sent with POST")
	}
	base, err := BaseURI(r.URL)
	if err != nil {
		return nil, fmt.Errorf("public URL of the launch: %w", err)
	}
	query, err := lti.ParseForm(r.RawQuery)
	if err != nil {
		return nil, err
	}
	p, err := parse(&r, query)
	if err != nil {
		return nil, err
	}
	valid, err := secrets(ctx, p.consumerKey)
	if err != nil {
		return nil, err
	}
	if len(valid) == 0 {
		return nil, lti.Refuse(lti.ConsumerKeyUnknown, "no shared secret for this consumer key")
	}

	v := &Verified{ConsumerKey: p.consumerKey, Timestamp: time.Unix(p.timestamp, 0).UTC()}
	v.Secret = match(base, query, r.Body, p, valid)
	if v.Secret < 0 {
		if rest := without(query, r.Body); len(rest) < len(query) {
			v.QueryInBody = true
			v.Secret = match(base, rest, r.Body, p, valid)
		}
	}
	if v.Secret < 0 {
		return nil, lti.Refuse(lti.SignatureInvalid, "signature over %d parameters of the body and %d of the query does not match", len(r.Body), len(query))
	}
	if age := now.Sub(v.Timestamp); age > Window || age < -Window {
		return nil, lti.Refuse(lti.TimestampOutOfRange, "timestamp is %s our clock, %s are allowed", distance(age), Window)
	}
	v.Nonce = lti.Nonce{
		Protocol:  "oauth1",
		Party:     p.consumerKey,
		Timestamp: p.timestamp,
		Value:     p.nonce,
		// One window is needed; the second one covers replicas and databases
		// whose clocks differ.
		ExpiresAt: v.Timestamp.Add(2 * Window),
	}
	return v, nil
}

func distance(age time.Duration) string {
	if age < 0 {
		return (-age).Truncate(time.Second).String() + " ahead of"
	}
	return age.Truncate(time.Second).String() + " behind"
}

type protocolParams struct {
	consumerKey, nonce, method, signature string
	timestamp                             int64
}

// parse reads and checks the oauth_* parameters.
func parse(r *Request, query lti.Params) (protocolParams, error) {
	var p protocolParams
	seen := make(map[string]string, 8)
	for _, q := range r.Body {
		if !strings.HasPrefix(q.Name, "oauth_") {
			continue
		}
		if _, dup := seen[q.Name]; dup {
			return p, lti.Refuse(lti.ParameterRepeated, "parameter %s occurs more than once", printable(q.Name))
		}
		seen[q.Name] = q.Value
	}
	for _, q := range query {
		if _, dup := seen[q.Name]; dup && strings.HasPrefix(q.Name, "oauth_") {
			return p, lti.Refuse(lti.ParameterRepeated, "parameter %s occurs in the form and in the query", printable(q.Name))
		}
	}
	var missing []string
	for _, name := range requiredParams() {
		if seen[name] == "" {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return p, lti.Refuse(lti.ParameterMissing, "missing: %s", strings.Join(missing, ", "))
	}
	if v, ok := seen["oauth_version"]; ok && v != "1.0" {
		return p, lti.Refuse(lti.ParameterInvalid, "oauth_version must be 1.0")
	}
	if p.method = seen["oauth_signature_method"]; !r.accepts(p.method) {
		return p, lti.Refuse(lti.SignatureMethodUnsupported, "oauth_signature_method is not one that this consumer key may use")
	}
	for _, name := range []string{"oauth_consumer_key", "oauth_nonce"} {
		if v := seen[name]; len(v) > maxIdentifier || !utf8.ValidString(v) || strings.ContainsFunc(v, control) {
			return p, lti.Refuse(lti.ParameterInvalid, "%s must be at most %d bytes of text", name, maxIdentifier)
		}
	}
	p.consumerKey, p.nonce = seen["oauth_consumer_key"], seen["oauth_nonce"]

	// Section 3.3: a positive integer, seconds since 1970. ParseInt alone would
	// take a sign.
	ts := seen["oauth_timestamp"]
	n, err := strconv.ParseInt(ts, 10, 64)
	if err != nil || n <= 0 || ts[0] == '+' || n > maxTimestamp {
		return p, lti.Refuse(lti.TimestampInvalid, "oauth_timestamp must be a positive number of seconds")
	}
	p.timestamp = n

	p.signature = seen["oauth_signature"]
	return p, nil
}

// maxTimestamp is the last second of the year 9999, so that arithmetic on
// times cannot overflow.
const maxTimestamp = 253402300799

func control(r rune) bool { return r < 0x20 || r == 0x7f }

// printable makes a parameter's name fit for a log.
func printable(name string) string {
	if len(name) > 64 {
		name = name[:64]
	}
	return strconv.QuoteToASCII(name)
}

// match returns the index of the secret that the request is signed with, or -1. It
// compares with every secret and in constant time, and compares the base64
// text: decoding first would accept several spellings of one signature.
func match(base string, query, body lti.Params, p protocolParams, secrets []string) int {
	all := body
	if len(query) > 0 {
		all = slices.Concat(query, body)
	}
	text := BaseString(http.MethodPost, base, all)
	found := -1
	for i, secret := range secrets {
		// An empty secret is a configuration that is not complete; everybody
		// can sign with it.
		if hmac.Equal([]byte(signatureBy(p.method, text, secret)), []byte(p.signature)) && secret != "" && found < 0 {
			found = i
		}
	}
	return found
}

// without returns the query parameters that the body does not repeat with an
// equal value. One occurrence in the body cancels one in the query.
func without(query, body lti.Params) lti.Params {
	have := make(map[lti.Param]int, len(body))
	for _, p := range body {
		have[p]++
	}
	var rest lti.Params
	for _, p := range query {
		if have[p] > 0 {
			have[p]--
			continue
		}
		rest = append(rest, p)
	}
	return rest
}

// Query returns those parameters of the query of a verified request that are not
// merely a copy of the body's: the signature counted them besides. It is for
// checking that a parameter occurs only once; what a parameter says is read from
// the body, because the query is part of a URL that a teacher may have typed.
func (v *Verified) Query(r Request) (lti.Params, error) {
	if v == nil {
		return nil, errors.New("oauth1: request is not verified")
	}
	query, err := lti.ParseForm(r.RawQuery)
	if err != nil {
		return nil, err
	}
	if v.QueryInBody {
		query = without(query, r.Body)
	}
	return query, nil
}

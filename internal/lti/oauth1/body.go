package oauth1

import (
	"context"
	"crypto/subtle"
	"net/url"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// Limits of an Authorization header.
const (
	maxHeader       = 8 << 10
	maxHeaderParams = 50
)

// A BodyRequest is a signed request as it arrived whose body is not a form, such as
// one of Basic Outcomes.
type BodyRequest struct {
	// Method is the HTTP method; only POST is accepted.
	Method string
	// URL and RawQuery are as in [Request].
	URL, RawQuery string
	// Authorization is the header of this name. Which of several would count is
	// anybody's guess: a request with more than one is to be refused.
	Authorization string
	// Body is what was sent, byte by byte.
	Body []byte
	// Methods are as in [Request].
	Methods []string
}

// VerifyBody checks the signature of a request whose body is not a form (LTI 1.1
// section 4.3, OAuth Request Body Hash 1.0), which [SignBody] makes.
//
// The oauth_* parameters are read from the Authorization header only and must not
// repeat. The signature is over them and the query, and oauth_body_hash must be the
// hash of the body: of SHA-1, or of SHA-256 for HMAC-SHA256. The caller must not
// take a form for such a request: its parameters would have to be signed too.
//
// Refusals are those of [Verify]; a header that is missing or of another scheme is
// ParameterMissing, one that cannot be read RequestMalformed or RequestTooLarge,
// and a body with another hash SignatureInvalid. Replays are for the caller to
// refuse, with Verified.Nonce.
func VerifyBody(ctx context.Context, r BodyRequest, secrets Secrets, now time.Time) (*Verified, error) {
	params, err := parseHeader(r.Authorization)
	if err != nil {
		return nil, err
	}
	hash, _, err := params.Only("oauth_body_hash")
	if err != nil {
		return nil, err
	}
	if hash == "" {
		return nil, lti.Refuse(lti.ParameterMissing, "missing: oauth_body_hash")
	}
	// What a header says counts for the signature as what a form says (RFC 5849
	// section 3.4.1.3.1).
	signed := Request{Method: r.Method, URL: r.URL, RawQuery: r.RawQuery, Body: params, Methods: r.Methods}
	v, err := Verify(ctx, signed, secrets, now)
	if err != nil {
		return nil, err
	}
	if v.QueryInBody {
		// That is for launches of one platform, and for forms.
		return nil, lti.Refuse(lti.SignatureInvalid, "the header repeats parameters of the query")
	}
	// The text is compared: decoding first would accept several spellings.
	if subtle.ConstantTimeCompare([]byte(bodyHash(params.Get("oauth_signature_method"), r.Body)), []byte(hash)) != 1 {
		return nil, lti.Refuse(lti.SignatureInvalid, "oauth_body_hash is not the hash of the body")
	}
	return v, nil
}

// parseHeader reads an Authorization header of the scheme OAuth (RFC 5849 section
// 3.5.1) and returns its parameters without the realm, which is not signed. Values
// may stand without quotes, as some senders write them.
func parseHeader(header string) (lti.Params, error) {
	if len(header) > maxHeader {
		return nil, lti.Refuse(lti.RequestTooLarge, "Authorization header of more than %d bytes", maxHeader)
	}
	scheme, rest, _ := strings.Cut(strings.TrimLeft(header, " \t"), " ")
	if !strings.EqualFold(scheme, "OAuth") {
		return nil, lti.Refuse(lti.ParameterMissing, "missing: Authorization header of the scheme OAuth")
	}
	var params lti.Params
	for n := 1; strings.Trim(rest, " \t,") != ""; n++ {
		if n > maxHeaderParams {
			return nil, lti.Refuse(lti.RequestTooLarge, "Authorization header of more than %d parameters", maxHeaderParams)
		}
		var name, value string
		var ok bool
		name, value, rest, ok = nextParam(strings.TrimLeft(rest, " \t,"))
		if ok && strings.EqualFold(name, "realm") {
			continue
		}
		p := lti.Param{}
		if ok {
			p.Name, ok = unescape(name)
		}
		if ok {
			p.Value, ok = unescape(value)
		}
		if !ok {
			return nil, lti.Refuse(lti.RequestMalformed, "parameter %d of the Authorization header cannot be read", n)
		}
		params = append(params, p)
	}
	return params, nil
}

// nextParam takes a parameter off a header, up to the comma that no quotes enclose.
func nextParam(s string) (name, value, rest string, ok bool) {
	name, s, ok = strings.Cut(s, "=")
	name, s = strings.TrimRight(name, " \t"), strings.TrimLeft(s, " \t")
	if !ok || name == "" || strings.ContainsAny(name, " \t,\"") {
		return "", "", "", false
	}
	quoted, isQuoted := strings.CutPrefix(s, `"`)
	if !isQuoted {
		value, rest, _ = strings.Cut(s, ",")
		value = strings.TrimRight(value, " \t")
		return name, value, rest, !strings.ContainsAny(value, " \t\"")
	}
	// A backslash quotes the next character, which only a realm needs.
	end := 0
	for end < len(quoted) && quoted[end] != '"' {
		if quoted[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(quoted) {
		return "", "", "", false
	}
	value, rest = quoted[:end], strings.TrimLeft(quoted[end+1:], " \t")
	if rest != "" && rest[0] != ',' {
		return "", "", "", false
	}
	return name, value, rest, true
}

// unescape reverses [Escape]: unlike in a form, "+" is itself.
func unescape(s string) (string, bool) {
	out, err := url.PathUnescape(s)
	return out, err == nil
}

package oauth1

import (
	"context"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// The signature was computed with OpenSSL: openssl dgst -sha256 -hmac, over the base string, with the key "s%26%20%C3%A9&".
func TestHMACSHA256(t *testing.T) {
	request := func(methods ...string) Request {
		return Request{Method: "POST", URL: "https://lti.example/l", Methods: methods, Body: lti.Params{
			{Name: "a", Value: "1"},
			{Name: "oauth_consumer_key", Value: "k"},
			{Name: "oauth_nonce", Value: "n"},
			{Name: "oauth_signature", Value: "KiFO6N0EVUtT5BOSuLKoPhMpNpPGZyySlZTUCneu2dg="},
			{Name: "oauth_signature_method", Value: HMACSHA256},
			{Name: "oauth_timestamp", Value: "1397708483"},
			{Name: "oauth_version", Value: "1.0"},
		}}
	}
	secrets := func(context.Context, string) ([]string, error) { return []string{"other", "s& é"}, nil }
	verify := func(r Request) error {
		_, err := Verify(t.Context(), r, secrets, time.Unix(1397708483, 0))
		return err
	}
	for name, c := range map[string]struct {
		request Request
		code    lti.Code
	}{
		"where it is accepted beside HMAC-SHA1": {request(HMACSHA1, HMACSHA256), ""},
		"where it alone is accepted":            {request(HMACSHA256), ""},
		"where nothing is said":                 {request(), lti.SignatureMethodUnsupported},
		"where HMAC-SHA1 alone is accepted":     {request(HMACSHA1), lti.SignatureMethodUnsupported},
	} {
		if got := lti.CodeOf(verify(c.request)); got != c.code {
			t.Errorf("%s: %q", name, got)
		}
	}

	// The method is under the signature, and none is trusted because a
	// configuration names it.
	changed := request(HMACSHA1, HMACSHA256)
	set("oauth_signature_method", HMACSHA1)(&changed)
	if got := lti.CodeOf(verify(changed)); got != lti.SignatureInvalid {
		t.Errorf("signed by one method and sent as the other: %q", got)
	}
	plain := request("PLAINTEXT")
	set("oauth_signature_method", "PLAINTEXT")(&plain)
	set("oauth_signature", "s%26%20%C3%A9&")(&plain)
	if got := lti.CodeOf(verify(plain)); got != lti.SignatureMethodUnsupported {
		t.Errorf("PLAINTEXT: %q", got)
	}
}

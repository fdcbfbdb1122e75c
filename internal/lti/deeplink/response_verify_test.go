package deeplink

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
)

var answeredAt = time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)

const (
	academyIssuer = "https://lti.acme.example"
	toolKid       = "tool-1"
)

var toolKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var out [2]*rsa.PrivateKey
	for i := range out {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		out[i] = key
	}
	return out
})

// registered are the keys of the tool.
type registered struct{}

func (registered) Lookup(_ context.Context, kid string) ([]jwks.Key, error) {
	if kid != toolKid {
		return nil, lti.Refuse(lti.KeyUnknown, "")
	}
	return []jwks.Key{{Public: &toolKeys()[0].PublicKey}}, nil
}

func (registered) Renewed(context.Context, string, []jwks.Key) ([]jwks.Key, error) { return nil, nil }

// answer is a response as ltijs makes them.
func answer() jwt.MapClaims {
	return jwt.MapClaims{
		"iss": "lab", "aud": academyIssuer, "iat": answeredAt.Unix(), "exp": answeredAt.Add(time.Minute).Unix(), "nonce": "n-1",
		claimDeployment: "lab", claimMessageType: MessageResponse, claimVersion: Version, claimData: "sealed",
		claimContentItems: []any{map[string]any{"type": "ltiResourceLink", "title": "Fire", "url": "https://lab.example/fire"}},
	}
}

func TestVerifyResponse(t *testing.T) {
	at := func(d time.Duration) int64 { return answeredAt.Add(d).Unix() }
	der, err := x509.MarshalPKIXPublicKey(&toolKeys()[0].PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	for name, c := range map[string]struct {
		// change replaces claims; nil removes one.
		change jwt.MapClaims
		header map[string]any
		method jwt.SigningMethod
		key    any
		edit   func(string) string
		code   lti.Code
	}{
		"as it should be":                {},
		"an array of one audience":       {change: jwt.MapClaims{"aud": []string{academyIssuer}}},
		"our audience twice":             {change: jwt.MapClaims{"aud": []string{academyIssuer, academyIssuer}}},
		"azp is the platform":            {change: jwt.MapClaims{"azp": academyIssuer}},
		"azp is the tool":                {change: jwt.MapClaims{"azp": "lab"}},
		"azp is null":                    {change: jwt.MapClaims{"azp": nil}},
		"just expired":                   {change: jwt.MapClaims{"exp": at(-59 * time.Second)}},
		"a clock that is a little ahead": {change: jwt.MapClaims{"iat": at(59 * time.Second), "nbf": at(59 * time.Second)}},
		"almost too old":                 {change: jwt.MapClaims{"iat": at(-time.Hour)}},
		"nothing chosen":                 {change: jwt.MapClaims{claimContentItems: []any{}}},
		"no items at all":                {change: jwt.MapClaims{claimContentItems: nil}},
		"empty data":                     {change: jwt.MapClaims{claimData: ""}},

		"no token":               {edit: func(string) string { return "" }, code: lti.TokenMalformed},
		"two parts":              {edit: func(s string) string { return s[:strings.LastIndexByte(s, '.')] }, code: lti.TokenMalformed},
		"too long":               {edit: func(s string) string { return s + strings.Repeat("A", maxResponse) }, code: lti.TokenMalformed},
		"unsigned":               {method: jwt.SigningMethodNone, key: jwt.UnsafeAllowNoneSignatureType, code: lti.AlgorithmNotAllowed},
		"signed with our secret": {method: jwt.SigningMethodHS256, key: public, code: lti.AlgorithmNotAllowed},
		"RS384":                  {method: jwt.SigningMethodRS384, code: lti.AlgorithmNotAllowed},
		"no kid":                 {header: map[string]any{"kid": nil}, code: lti.KeyIDMissing},
		"another kid":            {header: map[string]any{"kid": "tool-2"}, code: lti.KeyUnknown},
		"critical extensions":    {header: map[string]any{"crit": []string{"x"}}, code: lti.TokenMalformed},
		"a key of somebody else": {key: toolKeys()[1], code: lti.SignatureInvalid},
		"a key in the header":    {key: toolKeys()[1], header: map[string]any{"jku": "https://evil.example/jwks", "jwk": map[string]any{"kty": "RSA"}}, code: lti.SignatureInvalid},

		"another issuer":                   {change: jwt.MapClaims{"iss": "rival"}, code: lti.IssuerMismatch},
		"our own issuer":                   {change: jwt.MapClaims{"iss": academyIssuer}, code: lti.IssuerMismatch},
		"an issuer in capitals":            {change: jwt.MapClaims{"iss": "LAB"}, code: lti.IssuerMismatch},
		"no issuer":                        {change: jwt.MapClaims{"iss": nil}, code: lti.ClaimMissing},
		"another audience":                 {change: jwt.MapClaims{"aud": "https://other.example"}, code: lti.AudienceMismatch},
		"an audience with a slash":         {change: jwt.MapClaims{"aud": academyIssuer + "/"}, code: lti.AudienceMismatch},
		"the client ID as audience":        {change: jwt.MapClaims{"aud": "lab"}, code: lti.AudienceMismatch},
		"another audience besides":         {change: jwt.MapClaims{"aud": []string{academyIssuer, "https://other.example"}}, code: lti.AudienceMismatch},
		"another audience besides and azp": {change: jwt.MapClaims{"aud": []string{academyIssuer, "https://other.example"}, "azp": academyIssuer}, code: lti.AudienceMismatch},
		"no audience in the array":         {change: jwt.MapClaims{"aud": []string{}}, code: lti.ClaimMissing},
		"audiences that are no texts":      {change: jwt.MapClaims{"aud": []any{1}}, code: lti.ClaimInvalid},
		"issued to somebody else":          {change: jwt.MapClaims{"azp": "rival"}, code: lti.AuthorizedPartyMismatch},
		"azp that is no text":              {change: jwt.MapClaims{"azp": 1}, code: lti.AuthorizedPartyMismatch},
		"expired":                          {change: jwt.MapClaims{"exp": at(-60 * time.Second)}, code: lti.TokenExpired},
		"no expiry":                        {change: jwt.MapClaims{"exp": nil}, code: lti.ClaimMissing},
		"issued in the future":             {change: jwt.MapClaims{"iat": at(61 * time.Second)}, code: lti.TokenIssuedInFuture},
		"not valid yet":                    {change: jwt.MapClaims{"nbf": at(61 * time.Second)}, code: lti.TokenIssuedInFuture},
		"nbf that is no time":              {change: jwt.MapClaims{"nbf": "soon"}, code: lti.ClaimInvalid},
		"too old":                          {change: jwt.MapClaims{"iat": at(-time.Hour - 61*time.Second)}, code: lti.TokenTooOld},
		"no nonce":                         {change: jwt.MapClaims{"nonce": ""}, code: lti.ClaimMissing},
		"another deployment":               {change: jwt.MapClaims{claimDeployment: "rival"}, code: lti.DeploymentMismatch},
		"no deployment":                    {change: jwt.MapClaims{claimDeployment: nil}, code: lti.ClaimMissing},
		"another message":                  {change: jwt.MapClaims{claimMessageType: MessageRequest}, code: lti.MessageTypeUnsupported},
		"another version":                  {change: jwt.MapClaims{claimVersion: "1.3"}, code: lti.VersionUnsupported},
		"no data":                          {change: jwt.MapClaims{claimData: nil}, code: lti.ClaimMissing},
		"data that is no text":             {change: jwt.MapClaims{claimData: 1}, code: lti.ClaimInvalid},
		"items that are no objects":        {change: jwt.MapClaims{claimContentItems: []any{"x"}}, code: lti.ClaimInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			claims := answer()
			maps.Copy(claims, c.change)
			for name, value := range claims {
				if value == nil && name != "azp" {
					delete(claims, name)
				}
			}
			method, key := c.method, c.key
			if method == nil {
				method = jwt.SigningMethodRS256
			}
			if key == nil {
				key = toolKeys()[0]
			}
			token := jwt.NewWithClaims(method, claims)
			token.Header["kid"] = toolKid
			maps.Copy(token.Header, c.header)
			text, err := token.SignedString(key)
			if err != nil {
				t.Fatal(err)
			}
			if c.edit != nil {
				text = c.edit(text)
			}
			v := ResponseVerifier{ClientID: "lab", DeploymentID: "lab", Issuer: academyIssuer, Keys: registered{}, Now: func() time.Time { return answeredAt }}
			r, nonce, err := v.Verify(t.Context(), text)
			if lti.CodeOf(err) != c.code {
				t.Fatalf("%v instead of %q", err, c.code)
			}
			if c.code != "" {
				if r != nil || nonce != (lti.Nonce{}) {
					t.Errorf("%+v, %+v", r, nonce)
				}
				return
			}
			if r.Data == nil || nonce.Value != "n-1" || nonce.Party != "lab" || nonce.Protocol == "" {
				t.Errorf("%+v, %+v", r, nonce)
			}
			// Until then the token itself is refused.
			last := r.ExpiresAt
			if end := r.IssuedAt.Add(LongestResponse); end.Before(last) {
				last = end
			}
			if !nonce.ExpiresAt.After(last.Add(DefaultSkew)) {
				t.Errorf("the nonce is forgotten at %s", nonce.ExpiresAt)
			}
		})
	}
}

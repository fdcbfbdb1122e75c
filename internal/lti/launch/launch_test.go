package launch

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// load reads a recorded message.
func load(t testing.TB, name string, into any) {
	t.Helper()
	text, err := os.ReadFile("../testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// privateKeys are the platform's and a stranger's.
var privateKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = k
	}
	return keys
})

// start is the frozen time of the tests that sign their own tokens.
func start() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

const (
	kid           = "platform-key"
	cookie        = "cookie of this browser"
	expectedNonce = "nonce-of-this-login"
	targetLink    = "https://lti.acme.example/activities/height"
)

func registration() *Registration {
	return &Registration{
		Name:              "moodle",
		Issuer:            "https://lms.example",
		ClientID:          "client-1",
		AuthenticationURL: "https://lms.example/auth?tenant=7",
		RedirectURI:       "https://lti.acme.example/platforms/moodle/launch",
		Deployments:       Deployments{Activated: map[string]bool{"1": true, "2": true, "off": false}},
	}
}

// claims returns a complete set, with changes; a nil value removes a claim.
func claimSet(changes map[string]any) jwt.MapClaims {
	c := jwt.MapClaims{
		"iss":             "https://lms.example",
		"aud":             "client-1",
		"sub":             "user-4",
		"iat":             start().Unix(),
		"exp":             start().Add(time.Minute).Unix(),
		"nonce":           expectedNonce,
		"name":            "Sam Student",
		"email":           "sam@example.test",
		claimVersion:      "1.3.0",
		claimMessageType:  "LtiResourceLinkRequest",
		claimDeployment:   "1",
		claimTargetLink:   targetLink,
		claimRoles:        []any{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		claimResourceLink: map[string]any{"id": "link-1", "title": "Height"},
	}
	for k, v := range changes {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	return c
}

func sign(t testing.TB, method jwt.SigningMethod, key any, header map[string]any, claims jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, claims)
	tok.Header["kid"] = kid
	for k, v := range header {
		if v == nil {
			delete(tok.Header, k)
		} else {
			tok.Header[k] = v
		}
	}
	text, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// idToken returns a token of the platform.
func idToken(t testing.TB, changes map[string]any) string {
	return sign(t, jwt.SigningMethodRS256, privateKeys()[0], nil, claimSet(changes))
}

// fixedKeys is a key set that can be renewed once.
type fixedKeys struct {
	keys, renewed []jwks.Key
	renewals      int
}

func (f *fixedKeys) Lookup(_ context.Context, kid string) ([]jwks.Key, error) {
	var out []jwks.Key
	for _, k := range f.keys {
		if k.ID == kid {
			out = append(out, k)
		}
	}
	if out == nil {
		return nil, lti.Refuse(lti.KeyUnknown, "kid is not in the key set")
	}
	return out, nil
}

func (f *fixedKeys) Renewed(context.Context, string, []jwks.Key) ([]jwks.Key, error) {
	f.renewals++
	return f.renewed, nil
}

func platformKeys() *fixedKeys {
	return &fixedKeys{keys: []jwks.Key{{ID: kid, Algorithm: "RS256", Public: &privateKeys()[0].PublicKey}}}
}

func verifier(t testing.TB) *Verifier {
	t.Helper()
	states, err := NewStateCodec([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	return &Verifier{Now: start, States: states}
}

// login is the state of the login that the tokens answer.
func login() State {
	return NewState(registration(), &LoginRequest{TargetLinkURI: targetLink, DeploymentID: "1"}, expectedNonce, cookie, start())
}

// answer returns the parameters that the platform posts.
func answer(t testing.TB, v *Verifier, token string) lti.Params {
	t.Helper()
	state, err := v.States.Seal(login())
	if err != nil {
		t.Fatal(err)
	}
	return lti.Params{{Name: "id_token", Value: token}, {Name: "state", Value: state}}
}

// with returns a copy of a map with one member changed or, for nil, removed.
func with(m map[string]any, name string, value any) map[string]any {
	out := maps.Clone(m)
	if value == nil {
		delete(out, name)
	} else {
		out[name] = value
	}
	return out
}

package launch

import (
	"context"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
)

// What others have computed and published, so that a mistake which signing and
// verifying share cannot hide. The letters are in the order in which the answers
// build upon each other: a signed form (A, B), the text under it (C), the hash of
// a body that is no form (D), the claim that carries users over from LTI 1.1 (E),
// and an ID token (F).
func TestKnownAnswers(t *testing.T) {
	t.Run("A", knownIMSLaunch)
	t.Run("B", knownOAuthRequests)
	t.Run("C", knownBaseString)
	t.Run("D", knownBodyHashes)
	t.Run("E", knownMigrationSignatures)
	t.Run("F", knownCanvasToken)
}

// formOf decodes a form or query.
func formOf(t testing.TB, s string) lti.Params {
	t.Helper()
	p, err := lti.ParseForm(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signatureOf signs the parameters of a request together with the query of its
// URL.
func signatureOf(t testing.TB, method, rawURL, secret string, params lti.Params) string {
	t.Helper()
	base, err := oauth1.BaseURI(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	_, query, _ := strings.Cut(rawURL, "?")
	return oauth1.Signature(oauth1.BaseString(method, base, append(formOf(t, query), params...)), secret)
}

// A launch that IMS published with its signature, to an address whose query has
// a parameter twice; by way of the tests of the ims-lti library.
func knownIMSLaunch(t *testing.T) {
	const address, query = "http://www.imsglobal.org/developers/LTI/test/v1p1/tool.php", "foo=123&foo=bar"
	const want = "dHORwwJqwh5hQQAlvaA9csSIOhc="
	launch := lti.Params{
		{Name: "resource_link_id", Value: "rsc1"},
		{Name: "oauth_callback", Value: "about:blank"},
		{Name: "lis_outcome_service_url", Value: "http://www.imsglobal.org/developers/LTI/test/v1p1/common/tool_consumer_outcome.php?b64=MTIzNDU6OjpzZWNyZXQ="},
		{Name: "lis_result_sourcedid", Value: "feb-123-456-2929::28883"},
		{Name: "launch_presentation_return_url", Value: "http://www.imsglobal.org/developers/LTI/test/v1p1/lms_return.php"},
		{Name: "lti_version", Value: "LTI-1p0"},
		{Name: "lti_message_type", Value: "basic-lti-launch-request"},
		{Name: "oauth_version", Value: "1.0"},
		{Name: "oauth_nonce", Value: "7ee33f6dc94117e792ff529898ce3953"},
		{Name: "oauth_timestamp", Value: "1397708483"},
		{Name: "oauth_consumer_key", Value: "12345"},
		{Name: "oauth_signature_method", Value: "HMAC-SHA1"},
	}
	if got := signatureOf(t, "POST", address+"?"+query, "secret", launch); got != want {
		t.Errorf("signature %s, want %s", got, want)
	}

	secrets := func(context.Context, string) ([]string, error) { return []string{"secret"}, nil }
	verify := func(query string) (*oauth1.Verified, error) {
		body := append(launch, lti.Param{Name: "oauth_signature", Value: want})
		return oauth1.Verify(t.Context(), oauth1.Request{Method: "POST", URL: address, RawQuery: query, Body: body}, secrets, time.Unix(1397708483, 0))
	}
	if got, err := verify(query); err != nil || got.ConsumerKey != "12345" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := verify("foo=123&foo=baz"); lti.CodeOf(err) != lti.SignatureInvalid {
		t.Errorf("another query: %v", err)
	}
}

// The requests of https://lti.tools/oauth/, the third as its users write it.
func knownOAuthRequests(t *testing.T) {
	const photos, secret = "http://photos.example.net/photos", "kd94hf93k423kf44"
	const contentItems = `{"@context":"http://purl.imsglobal.org/ctx/lti/v1/ContentItem","@graph":[{"mediaType":"application/vnd.ims.lti.v1.ltilink","@type":"LtiLinkItem","url":"http://localhost/lti","title":"Sample LTI launch","lineItem":{"@type":"LineItem","label":"Chapter 13 quiz","reportingMethod":"res:totalScore","assignedActivity":{"@id":"http://toolprovider.example.com/assessment/66400","activityId":"a-9334df-33"},"scoreConstraints":{"@type":"NumericLimits","normalMaximum":100,"extraCreditMaximum":10,"totalMaximum":110}}}]}`
	request := func(params ...lti.Param) lti.Params {
		return append(params,
			lti.Param{Name: "oauth_consumer_key", Value: "dpf43f3p2l4k3l03"},
			lti.Param{Name: "oauth_nonce", Value: "kllo9940pd9333jh"},
			lti.Param{Name: "oauth_signature_method", Value: "HMAC-SHA1"},
			lti.Param{Name: "oauth_timestamp", Value: "1191242096"},
			lti.Param{Name: "oauth_version", Value: "1.0"},
		)
	}
	photo := []lti.Param{{Name: "file", Value: "vacation.jpg"}, {Name: "size", Value: "original"}}
	tests := map[string]struct {
		method, url string
		params      lti.Params
		want        string
	}{
		"a GET":              {"GET", photos, request(photo...), "Jg5MXVnexhzMDTv7IBUy3goIGqc="},
		"a GET with a query": {"GET", photos + "?query=param", request(photo...), "Hw23z2Z8cXYc1utpLucO7isfYyA="},
		"content items":      {"POST", photos, request(lti.Param{Name: "content_items", Value: contentItems}), "vtKTwm3wPH36s3fz20JH2fNjh8I="},
	}
	for name, tt := range tests {
		if got := signatureOf(t, tt.method, tt.url, secret, tt.params); got != tt.want {
			t.Errorf("%s: signature %s, want %s", name, got, tt.want)
		}
	}
}

// RFC 5849 section 3.4.1.1; the signature printed in section 3.1 is a known
// erratum, so the one here was computed independently over the same text.
func knownBaseString(t *testing.T) {
	params := append(formOf(t, "b5=%3D%253D&a3=a&c%40=&a2=r%20b"), formOf(t, "c2&a3=2+q")...)
	params = append(params, formOf(t, "oauth_consumer_key=9djdj82h48djs9d2&oauth_token=kkk9d7dh3k39sjv7&oauth_signature_method=HMAC-SHA1&oauth_timestamp=137131201&oauth_nonce=7d8f3e4a&oauth_signature=bYT5CMsGcbgUdFHObYMEfcx6bsw%3D")...)
	base, err := oauth1.BaseURI("http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b")
	if err != nil {
		t.Fatal(err)
	}
	text := oauth1.BaseString("post", base, params)
	const want = "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
	// LTI has no token secret; with the one of the RFC appended to the key the
	// text gives the known signature.
	m := hmac.New(sha1.New, []byte("j49sk3j29djd&dh893hdasih9"))
	m.Write([]byte(text))
	if got := base64.StdEncoding.EncodeToString(m.Sum(nil)); got != "r6/TJjbCOr97/+UU0NsvSne7s5g=" {
		t.Errorf("signature %s", got)
	}
}

func knownBodyHashes(t *testing.T) {
	for body, want := range map[string]string{"": "2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "Hello World!": "Lve95gjOVATpfV8EL5X4nxwjKHE="} {
		if got := oauth1.BodyHash([]byte(body)); got != want {
			t.Errorf("%q: %s, want %s", body, got, want)
		}
	}
}

// The examples of the migration guide and of a second implementation.
func knownMigrationSignatures(t *testing.T) {
	tests := map[string]struct{ secret, text, want string }{
		"migration guide": {"my-lti11-secret", migrationText("179248902", "689302", "https://lmsvendor.com", "PM48OJSfGDTAzAo", "1551290856", "172we8671fd8z"), "lWd54kFo5qU7xshAna6v8BwoBm6tmUjc6GTax6+12ps="},
		"other library":   {"bar", migrationText("foo", "deploymentId", "iss", "clientId", "exp", "nonce"), "1Ze6akG0koOVeizCVBIyQHJ78Eo3vGUXyqOM0iDqS0k="},
	}
	for name, tt := range tests {
		if got := migrationSignature(tt.secret, tt.text); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// The ID token of a Canvas, by way of the tests of the PyLTI1p3 library. It is
// signed with a key of 512 bits, which is refused as what it is; its signature
// and claims are read with that rule set aside.
func knownCanvasToken(t *testing.T) {
	const issued, expires = 1565442070, 1565445670
	var rec struct {
		Params struct {
			IDToken string `json:"id_token"`
		} `json:"params"`
		JWKS json.RawMessage `json:"jwks"`
	}
	load(t, "canvas-lti13-launch.json", &rec)
	sum := sha256.Sum256([]byte(rec.Params.IDToken))
	if got := hex.EncodeToString(sum[:]); got != "4c09430dd0230e02152f9ca9e1b3e9e4abe5a9848dd6d6503aefc6555fe40f23" {
		t.Fatalf("the recording was changed: %s", got)
	}
	published, err := jwks.Parse(rec.JWKS)
	if err != nil || len(published) != 3 {
		t.Fatalf("%d keys, %v", len(published), err)
	}
	reg := &Registration{
		Name: "canvas", Issuer: "https://canvas.instructure.com", ClientID: "10000000000004",
		Deployments: Deployments{Activated: map[string]bool{"6:8865aa05b4b79b64a91a86042e43af5ea8ae79eb": true}},
	}
	verify := func(now int64, token string, keys []jwks.Key) (*Message, error) {
		v := verifier(t)
		v.Now = func() time.Time { return time.Unix(now, 0) }
		login := &LoginRequest{TargetLinkURI: "http://lti.django.test/launch/"}
		state, err := v.States.Seal(NewState(reg, login, "test-uuid-1234", cookie, v.Now()))
		if err != nil {
			t.Fatal(err)
		}
		return v.Verify13(t.Context(), reg, &fixedKeys{keys: keys}, lti.Params{{Name: "id_token", Value: token}, {Name: "state", Value: state}}, cookie)
	}
	if _, err := verify(issued, rec.Params.IDToken, published); lti.CodeOf(err) != lti.KeyTooWeak {
		t.Errorf("as it was published: %v", err)
	}

	t.Setenv("GODEBUG", "rsa1024min=0") // crypto/rsa has a limit of its own
	trusted := make([]jwks.Key, 0, len(published))
	for _, k := range published {
		if bits := k.Public.(*rsa.PublicKey).N.BitLen(); bits != 512 || !k.Weak {
			t.Errorf("a key of %d bits, weak %v", bits, k.Weak)
		}
		k.Weak = false
		trusted = append(trusted, k)
	}
	got, err := verify(issued, rec.Params.IDToken, trusted)
	if err != nil {
		t.Fatal(err)
	}
	const course = "http://canvas.docker/api/lti/courses/1/"
	want := &Message{
		Version: Version13, Issuer: "https://canvas.instructure.com", ClientID: "10000000000004",
		DeploymentID: "6:8865aa05b4b79b64a91a86042e43af5ea8ae79eb",
		Subject:      "a445ca99-1a64-4697-9bfa-508a118245ea",
		Roles:        []Role{{InstitutionRole, "Administrator", ""}, {SystemRole, "SysAdmin", ""}, {SystemRole, "User", ""}},
		Person:       Person{Locale: "en"},
		Context: &Context{
			ID: "4dde05e8ca1973bcca9bffc13e1548820eee93a3", Label: "Test", Title: "Test",
			Types: []string{"http://purl.imsglobal.org/vocab/lis/v2/course#CourseOffering"},
		},
		ResourceLink:  ResourceLink{ID: "4dde05e8ca1973bcca9bffc13e1548820eee93a3"},
		TargetLinkURI: "http://lti.django.test/launch/",
		Custom:        map[string]string{"email": "admin@admin.com", "user_id": "2"},
		Presentation:  Presentation{DocumentTarget: "iframe", Locale: "en", ReturnURL: "http://canvas.docker/courses/1/external_content/success/external_tool_redirect"},
		LineItems: &LineItems{
			Scopes: []string{
				"https://purl.imsglobal.org/spec/lti-ags/scope/score",
				"https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly",
				"https://purl.imsglobal.org/spec/lti-ags/scope/lineitem.readonly",
				"https://purl.imsglobal.org/spec/lti-ags/scope/lineitem",
			},
			ContainerURL: course + "line_items",
		},
		Memberships: &Memberships{URL: course + "names_and_roles", Versions: []string{"2.0"}},
		Platform:    Platform{GUID: "CeADzK7hsPYfzmyC7LTL8cpzZISNdpWjVg1UZjLY:canvas-lms", Name: "DmitryOrg", Family: "canvas", Version: "cloud"},
		Nonce:       lti.Nonce{Protocol: "oidc", Party: "canvas", Value: "test-uuid-1234", ExpiresAt: time.Unix(issued, 0).Add(StateLifetime + DefaultSkew)},
		IssuedAt:    time.Unix(issued, 0),
		ExpiresAt:   time.Unix(expires, 0),
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApproxTime(0)); diff != "" {
		t.Error(diff)
	}

	if _, err := verify(expires+60, rec.Params.IDToken, trusted); lti.CodeOf(err) != lti.TokenExpired {
		t.Errorf("an hour later: %v", err)
	}
	header, rest, _ := strings.Cut(rec.Params.IDToken, ".")
	_, signature, _ := strings.Cut(rest, ".")
	forged := header + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://canvas.instructure.com","aud":"10000000000004"}`)) + "." + signature
	if _, err := verify(issued, forged, trusted); lti.CodeOf(err) != lti.SignatureInvalid {
		t.Errorf("other claims: %v", err)
	}
}

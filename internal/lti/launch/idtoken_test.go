package launch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
)

type recordedLaunch struct {
	Params struct {
		IDToken string `json:"id_token"`
		State   string `json:"state"`
	} `json:"params"`
	Claims map[string]any `json:"claims"`
}

func moodleRegistration() *Registration {
	return &Registration{
		Name: "moodle", Issuer: "http://localhost:9100", ClientID: "BjdLNQVVi8DL8iq",
		Deployments: Deployments{Activated: map[string]bool{"2": true}},
	}
}

func moodleKeys(t testing.TB) *jwks.Inline {
	t.Helper()
	var set json.RawMessage
	load(t, "moodle-jwks.json", &set)
	keys, err := jwks.NewInline(set)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// The nonce of the recorded launch; its login went to the recorder, whose state
// was no signed one, so that the state is put together here.
const (
	moodleNonce = "e102069ac7813a0134b286be"
	moodleIAT   = 1795470802
)

func moodleState() State {
	l := &LoginRequest{TargetLinkURI: "http://127.0.0.1:9001/lti13/launch", DeploymentID: "2"}
	return NewState(moodleRegistration(), l, moodleNonce, cookie, time.Unix(moodleIAT-1, 0))
}

func TestARealMoodleLaunchIsUnderstood(t *testing.T) {
	var rec recordedLaunch
	load(t, "moodle-lti13-launch.json", &rec)
	v := &Verifier{Now: func() time.Time { return time.Unix(moodleIAT, 0) }}
	got, err := v.VerifyIDToken(t.Context(), moodleRegistration(), moodleKeys(t), rec.Params.IDToken, moodleState())
	if err != nil {
		t.Fatal(err)
	}
	const base = "http://localhost:9100/mod/lti/"
	want := &Message{
		Version: Version13, Issuer: "http://localhost:9100", ClientID: "BjdLNQVVi8DL8iq", DeploymentID: "2",
		Subject: "4",
		Roles:   []Role{{ContextRole, "Learner", ""}},
		Person:  Person{Name: "Sam Student", GivenName: "Sam", FamilyName: "Student", Email: "student1@example.test", SourcedID: "SIS-student1"},
		Context: &Context{
			ID: "2", Label: "LTI101", Title: "LTI Interop Course — Ünïcode & \"quotes\"", Types: []string{"CourseSection"}, CourseSection: "COURSE-LTI-101",
		},
		ResourceLink:  ResourceLink{ID: "2", Title: "LTI 1.3 quiz", Description: "Opens the tool"},
		TargetLinkURI: "http://127.0.0.1:9001/lti13/launch",
		Custom: map[string]string{
			"chapter": "3", "static": "one & two", "uname": "student1",
			"context_memberships_url": base + "services.php/CourseSection/2/bindings/2/memberships",
			"system_setting_url":      base + "services.php/tool/2/custom",
			"context_setting_url":     base + "services.php/CourseSection/2/bindings/tool/2/custom",
			"link_setting_url":        base + "services.php/links/{link_id}/custom",
		},
		Presentation: Presentation{DocumentTarget: "window", Locale: "en", ReturnURL: base + "return.php?course=2&launch_container=4&instanceid=2&sesskey=St5GO50Ngl"},
		LineItems: &LineItems{
			Scopes: []string{
				"https://purl.imsglobal.org/spec/lti-ags/scope/lineitem",
				"https://purl.imsglobal.org/spec/lti-ags/scope/lineitem.readonly",
				"https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly",
				"https://purl.imsglobal.org/spec/lti-ags/scope/score",
			},
			ContainerURL: base + "services.php/2/lineitems?type_id=2",
			URL:          base + "services.php/2/lineitems/4/lineitem?type_id=2",
		},
		Memberships: &Memberships{URL: base + "services.php/CourseSection/2/bindings/2/memberships", Versions: []string{"1.0", "2.0"}},
		Outcome: &Outcome{
			ServiceURL: base + "service.php",
			SourcedID:  `{"data":{"instanceid":"2","userid":"4","typeid":"2","launchid":1874300474},"hash":"3197967634e0cf09e6b8cb4690ac2eb1f914c0520de96fd10a2e746c3b63364e"}`,
		},
		Platform:  Platform{GUID: "f000f16c043cfee57f0ecbb4d4c23716", Name: "peer", Description: "Peer Moodle", Family: "moodle", Version: "2024100706"},
		Nonce:     lti.Nonce{Protocol: "oidc", Party: "moodle", Value: moodleNonce, ExpiresAt: time.Unix(moodleIAT-1+600+60, 0)},
		IssuedAt:  time.Unix(moodleIAT, 0),
		ExpiresAt: time.Unix(moodleIAT+60, 0),
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApproxTime(0)); diff != "" {
		t.Error(diff)
	}
	if !got.IsLearner() || got.IsInstructor() {
		t.Error("roles are wrong")
	}
}

func TestClaims(t *testing.T) {
	type m = map[string]any
	unix := func(d time.Duration) int64 { return start().Add(d).Unix() }
	long := strings.Repeat("x", 256)
	tests := map[string]struct {
		changes m
		code    lti.Code
	}{
		"a complete token is accepted":                   {m{}, ""},
		"another issuer":                                 {m{"iss": "https://evil.example"}, lti.IssuerMismatch},
		"the issuer with a slash":                        {m{"iss": "https://lms.example/"}, lti.IssuerMismatch},
		"no issuer":                                      {m{"iss": nil}, lti.ClaimMissing},
		"an issuer that is no string":                    {m{"iss": []any{"https://lms.example"}}, lti.ClaimInvalid},
		"another audience":                               {m{"aud": "client-2"}, lti.AudienceMismatch},
		"an array of our client ID is accepted":          {m{"aud": []any{"client-1"}}, ""},
		"an additional audience":                         {m{"aud": []any{"client-1", "client-2"}, "azp": "client-1"}, lti.AudienceMismatch},
		"an additional trusted audience with azp":        {m{"aud": []any{"trusted", "client-1"}, "azp": "client-1"}, ""},
		"an additional trusted audience without azp":     {m{"aud": []any{"trusted", "client-1"}}, lti.AuthorizedPartyMismatch},
		"a trusted audience alone":                       {m{"aud": []any{"trusted"}}, lti.AudienceMismatch},
		"no audience":                                    {m{"aud": nil}, lti.ClaimMissing},
		"an empty audience":                              {m{"aud": []any{}}, lti.ClaimMissing},
		"an audience that is a number":                   {m{"aud": 1}, lti.ClaimInvalid},
		"another authorized party":                       {m{"azp": "client-2"}, lti.AuthorizedPartyMismatch},
		"our authorized party is accepted":               {m{"azp": "client-1"}, ""},
		"expired within the skew is accepted":            {m{"exp": unix(-59 * time.Second)}, ""},
		"expired beyond the skew":                        {m{"exp": unix(-60 * time.Second)}, lti.TokenExpired},
		"no expiry":                                      {m{"exp": nil}, lti.ClaimMissing},
		"an expiry that is a string":                     {m{"exp": "1795470862"}, lti.ClaimInvalid},
		"an expiry beyond all time":                      {m{"exp": json.Number("1e30")}, lti.ClaimInvalid},
		"an expiry with decimals is accepted":            {m{"exp": json.Number(fmt.Sprintf("%d.5", unix(time.Minute)))}, ""},
		"issued ahead within the skew is accepted":       {m{"iat": unix(60 * time.Second)}, ""},
		"issued ahead beyond the skew":                   {m{"iat": unix(61 * time.Second)}, lti.TokenIssuedInFuture},
		"issued an hour ago is accepted":                 {m{"iat": unix(-time.Hour)}, ""},
		"issued too long ago":                            {m{"iat": unix(-time.Hour - 61*time.Second)}, lti.TokenTooOld},
		"the timestamps of the certification suite":      {m{"iat": 11111, "exp": 22222}, lti.TokenExpired},
		"no time of issue":                               {m{"iat": nil}, lti.ClaimMissing},
		"not valid yet":                                  {m{"nbf": unix(2 * time.Minute)}, lti.TokenIssuedInFuture},
		"another nonce":                                  {m{"nonce": "other"}, lti.NonceMismatch},
		"no nonce":                                       {m{"nonce": nil}, lti.ClaimMissing},
		"version 11.3":                                   {m{claimVersion: "11.3"}, lti.VersionUnsupported},
		"no version":                                     {m{claimVersion: nil}, lti.ClaimMissing},
		"a version that is a number":                     {m{claimVersion: 1.3}, lti.ClaimInvalid},
		"another message type":                           {m{claimMessageType: "badltilaunch"}, lti.MessageTypeUnsupported},
		"a message type in another case":                 {m{claimMessageType: "ltiResourceLinkRequest"}, lti.MessageTypeUnsupported},
		"no message type":                                {m{claimMessageType: nil}, lti.ClaimMissing},
		"an unknown deployment":                          {m{claimDeployment: "9"}, lti.DeploymentUnknown},
		"a deactivated deployment":                       {m{claimDeployment: "off"}, lti.DeploymentDeactivated},
		"another deployment than at login":               {m{claimDeployment: "2"}, lti.DeploymentMismatch},
		"no deployment":                                  {m{claimDeployment: nil}, lti.ClaimMissing},
		"an empty deployment":                            {m{claimDeployment: ""}, lti.ClaimMissing},
		"a deployment that is a number":                  {m{claimDeployment: 1}, lti.ClaimInvalid},
		"another target link counts":                     {m{claimTargetLink: "https://lti.acme.example/activities/fire"}, ""},
		"no target link":                                 {m{claimTargetLink: nil}, lti.ClaimMissing},
		"a target link that is a script":                 {m{claimTargetLink: "javascript:alert(1)"}, lti.ClaimInvalid},
		"no roles claim":                                 {m{claimRoles: nil}, lti.ClaimMissing},
		"roles that are a string":                        {m{claimRoles: "Learner"}, lti.ClaimInvalid},
		"a role that is a number":                        {m{claimRoles: []any{1}}, lti.ClaimInvalid},
		"no roles are accepted":                          {m{claimRoles: []any{}}, ""},
		"an empty role is accepted":                      {m{claimRoles: []any{""}}, ""},
		"a short role is accepted":                       {m{claimRoles: []any{"Learner"}}, ""},
		"an unknown role is accepted":                    {m{claimRoles: []any{"http://example.com/unknown"}}, ""},
		"no resource link":                               {m{claimResourceLink: nil}, lti.ClaimMissing},
		"a resource link without ID":                     {m{claimResourceLink: m{"title": "x"}}, lti.ClaimMissing},
		"a resource link that is a string":               {m{claimResourceLink: "1"}, lti.ClaimInvalid},
		"a resource link with a long ID":                 {m{claimResourceLink: m{"id": long}}, lti.ClaimInvalid},
		"a resource link with a non-ASCII ID":            {m{claimResourceLink: m{"id": "é"}}, lti.ClaimInvalid},
		"no subject":                                     {m{"sub": nil}, lti.AnonymousLaunch},
		"an empty subject":                               {m{"sub": ""}, lti.AnonymousLaunch},
		"a subject of 256 characters":                    {m{"sub": long}, lti.ClaimInvalid},
		"a subject of 255 characters is accepted":        {m{"sub": long[1:]}, ""},
		"a subject that is not ASCII":                    {m{"sub": "é"}, lti.ClaimInvalid},
		"a subject with a control character":             {m{"sub": "a\x00"}, lti.ClaimInvalid},
		"a subject that is a number":                     {m{"sub": 4}, lti.ClaimInvalid},
		"an email without context is accepted":           {m{claimContext: nil, "name": nil}, ""},
		"no personal data is accepted":                   {m{"name": nil, "email": nil}, ""},
		"a context that is a string":                     {m{claimContext: "course"}, lti.ClaimInvalid},
		"a context without ID":                           {m{claimContext: m{"title": "x"}}, lti.ClaimMissing},
		"an empty array for an empty object is accepted": {m{claimContext: []any{}, claimCustom: []any{}}, ""},
		"a long platform GUID":                           {m{claimToolPlatform: m{"guid": long}}, lti.ClaimInvalid},
		"a line item that is no URL":                     {m{claimLineItems: m{"lineitem": "file:///etc/passwd"}}, lti.ClaimInvalid},
		"unknown claims are ignored":                     {m{"https://example.com/claim": m{"a": 1}}, ""},
		"a title that is a number is accepted":           {m{claimResourceLink: m{"id": "1", "title": 7}}, ""},
		"ISS does not stand in for iss":                  {m{"iss": nil, "ISS": "https://lms.example"}, lti.ClaimMissing},
		"NONCE does not override nonce":                  {m{"NONCE": "other"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			reg := registration()
			reg.TrustedAudiences = []string{"trusted"}
			v := verifier(t)
			m, err := v.Verify13(t.Context(), reg, platformKeys(), answer(t, v, idToken(t, tt.changes)), "another cookie", cookie)
			if lti.CodeOf(err) != tt.code {
				t.Fatalf("error %v, want code %q", err, tt.code)
			}
			if (m != nil) != (err == nil) {
				t.Errorf("message %v with error %v", m, err)
			}
		})
	}
}

func TestDetailsOfMessages(t *testing.T) {
	type m = map[string]any
	read := func(t *testing.T, changes m) *Message {
		t.Helper()
		v := verifier(t)
		got, err := v.Verify13(t.Context(), registration(), platformKeys(), answer(t, v, idToken(t, changes)), cookie)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	t.Run("custom values become strings", func(t *testing.T) {
		got := read(t, m{claimCustom: m{"s": "x", "n": json.Number("1.50"), "b": true, "z": nil, "o": m{"a": "<&>"}}})
		want := map[string]string{"s": "x", "n": "1.50", "b": "true", "z": "", "o": `{"a":"<&>"}`}
		if diff := cmp.Diff(want, got.Custom); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("custom is never nil", func(t *testing.T) {
		if read(t, nil).Custom == nil {
			t.Error("nil")
		}
	})
	t.Run("the verified target link counts", func(t *testing.T) {
		const other = "https://lti.acme.example/activities/fire"
		if got := read(t, m{claimTargetLink: other}); got.TargetLinkURI != other || !got.TargetLinkChanged {
			t.Errorf("%q, changed %v", got.TargetLinkURI, got.TargetLinkChanged)
		}
		if got := read(t, nil); got.TargetLinkURI != targetLink || got.TargetLinkChanged {
			t.Errorf("%q, changed %v", got.TargetLinkURI, got.TargetLinkChanged)
		}
	})
	t.Run("a script is no return address", func(t *testing.T) {
		if got := read(t, m{claimPresentation: m{"return_url": "javascript:alert(1)", "width": 800}}); got.Presentation != (Presentation{Width: "800"}) {
			t.Errorf("%+v", got.Presentation)
		}
	})
	t.Run("an outcome needs both of its parts", func(t *testing.T) {
		if got := read(t, m{claimOutcome: m{"lis_outcome_service_url": "https://lms.example/outcome"}}); got.Outcome != nil {
			t.Errorf("%+v", got.Outcome)
		}
	})
	t.Run("control characters leave the texts", func(t *testing.T) {
		if got := read(t, m{"name": "Sam\x00\x1b[31m"}); got.Person.Name != "Sam[31m" {
			t.Errorf("%q", got.Person.Name)
		}
	})
	t.Run("mentored users", func(t *testing.T) {
		if diff := cmp.Diff([]string{"7", "8"}, read(t, m{claimMentor: []any{"7", "8"}}).Mentored); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAnUnlistedDeploymentIsAcceptedWhereAnyIs(t *testing.T) {
	reg := registration()
	reg.Deployments.Any = true
	v := verifier(t)
	state := login()
	state.DeploymentID = ""
	got, err := v.VerifyIDToken(t.Context(), reg, platformKeys(), idToken(t, map[string]any{claimDeployment: "new"}), state)
	if err != nil || got.DeploymentID != "new" {
		t.Errorf("%v, %v", got, err)
	}
	_, err = v.VerifyIDToken(t.Context(), reg, platformKeys(), idToken(t, map[string]any{claimDeployment: "off"}), state)
	if lti.CodeOf(err) != lti.DeploymentDeactivated {
		t.Errorf("a deactivated one: %v", err)
	}
}

func TestAnUnknownDeploymentIsNamedOnlyWhenThePlatformSaidIt(t *testing.T) {
	v := verifier(t)
	changes := map[string]any{claimDeployment: "9"}
	_, err := v.VerifyIDToken(t.Context(), registration(), platformKeys(), idToken(t, changes), login())
	var r *lti.Refusal
	if !errors.As(err, &r) || r.Value != "9" {
		t.Errorf("%#v", err)
	}
	forged := sign(t, jwt.SigningMethodRS256, privateKeys()[1], nil, claimSet(changes))
	_, err = v.VerifyIDToken(t.Context(), registration(), platformKeys(), forged, login())
	if !errors.As(err, &r) || r.Value != "" || r.Code != lti.SignatureInvalid {
		t.Errorf("%#v", err)
	}
}

func TestSignatures(t *testing.T) {
	own, foreign := privateKeys()[0], privateKeys()[1]
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&own.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	type h = map[string]any
	tok := func(method jwt.SigningMethod, key any, header h) string {
		return sign(t, method, key, header, claimSet(nil))
	}
	good := tok(jwt.SigningMethodRS256, own, nil)
	parts := strings.Split(good, ".")
	raw := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	ownJWK := h{"kty": "RSA", "kid": kid, "alg": "RS256"}

	tests := map[string]struct {
		token string
		allow []string
		keys  []jwks.Key
		code  lti.Code
	}{
		"RS256 with the platform's key":          {token: good},
		"no signature and alg none":              {token: tok(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), code: lti.AlgorithmNotAllowed},
		"alg none although it is configured":     {token: tok(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), allow: []string{"none", "RS256"}, code: lti.AlgorithmNotAllowed},
		"HS256 with the public key as secret":    {token: tok(jwt.SigningMethodHS256, publicPEM, nil), code: lti.AlgorithmNotAllowed},
		"HS256 although it is configured":        {token: tok(jwt.SigningMethodHS256, publicPEM, nil), allow: []string{"HS256"}, code: lti.AlgorithmNotAllowed},
		"PS256":                                  {token: tok(jwt.SigningMethodPS256, own, nil), allow: []string{"PS256"}, code: lti.AlgorithmNotAllowed},
		"RS384 where it is not configured":       {token: tok(jwt.SigningMethodRS384, own, nil), code: lti.AlgorithmNotAllowed},
		"RS384 with a key for RS256":             {token: tok(jwt.SigningMethodRS384, own, nil), allow: []string{"RS384"}, code: lti.AlgorithmNotAllowed},
		"RS384 where it is configured":           {token: tok(jwt.SigningMethodRS384, own, nil), allow: []string{"RS384"}, keys: []jwks.Key{{ID: kid, Public: &own.PublicKey}}},
		"ES256 where it is configured":           {token: tok(jwt.SigningMethodES256, ec, nil), allow: []string{"ES256"}, keys: []jwks.Key{{ID: kid, Public: &ec.PublicKey}}},
		"ES256 with an RSA key in the set":       {token: tok(jwt.SigningMethodES256, ec, nil), allow: []string{"RS256", "ES256"}, keys: []jwks.Key{{ID: kid, Public: &own.PublicKey}}, code: lti.AlgorithmNotAllowed},
		"a foreign key under the platform's kid": {token: tok(jwt.SigningMethodRS256, foreign, nil), code: lti.SignatureInvalid},
		"a foreign key under its own kid":        {token: tok(jwt.SigningMethodRS256, foreign, h{"kid": "imstester_66067"}), code: lti.KeyUnknown},
		"a foreign key that jku points to":       {token: tok(jwt.SigningMethodRS256, foreign, h{"jku": "https://evil.example/jwks", "kid": "evil"}), code: lti.KeyUnknown},
		"a foreign key that comes along":         {token: tok(jwt.SigningMethodRS256, foreign, h{"jwk": ownJWK, "x5u": "https://evil.example/x5u"}), code: lti.SignatureInvalid},
		"jku and jwk beside a good signature":    {token: tok(jwt.SigningMethodRS256, own, h{"jku": "https://evil.example/jwks", "jwk": ownJWK})},
		"no kid":                                 {token: tok(jwt.SigningMethodRS256, own, h{"kid": nil}), code: lti.KeyIDMissing},
		"an empty kid":                           {token: tok(jwt.SigningMethodRS256, own, h{"kid": ""}), code: lti.KeyIDMissing},
		"a kid that is a number":                 {token: tok(jwt.SigningMethodRS256, own, h{"kid": 1}), code: lti.KeyIDMissing},
		"no alg":                                 {token: raw(`{"kid":"`+kid+`"}`) + "." + parts[1] + "." + parts[2], code: lti.AlgorithmNotAllowed},
		"a weak key":                             {token: good, keys: []jwks.Key{{ID: kid, Public: &own.PublicKey, Weak: true}}, code: lti.KeyTooWeak},
		"two keys under one name":                {token: good, keys: []jwks.Key{{ID: kid, Public: &foreign.PublicKey}, {ID: kid, Public: &own.PublicKey}}},
		"a critical extension":                   {token: tok(jwt.SigningMethodRS256, own, h{"crit": []string{"exp"}}), code: lti.TokenMalformed},
		"no signature":                           {token: parts[0] + "." + parts[1] + ".", code: lti.SignatureInvalid},
		"two parts":                              {token: parts[0] + "." + parts[1], code: lti.TokenMalformed},
		"four parts":                             {token: good + ".", code: lti.TokenMalformed},
		"five parts, as an encrypted token has":  {token: good + ".a.b", code: lti.TokenMalformed},
		"a padded part":                          {token: parts[0] + "=." + parts[1] + "." + parts[2], code: lti.TokenMalformed},
		"a line break in the signature":          {token: good + "\n", code: lti.TokenMalformed},
		"standard base64":                        {token: parts[0] + "." + parts[1] + "." + strings.Repeat("+/", 8), code: lti.TokenMalformed},
		"claims of another token":                {token: parts[0] + "." + raw(`{"iss":"https://lms.example","aud":"client-1"}`) + "." + parts[2], code: lti.SignatureInvalid},
		"a header name twice":                    {token: raw(`{"alg":"none","alg":"RS256","kid":"`+kid+`"}`) + "." + parts[1] + "." + parts[2], code: lti.TokenMalformed},
		"a header that is an array":              {token: raw(`[]`) + "." + parts[1] + "." + parts[2], code: lti.TokenMalformed},
		"a header that is null":                  {token: raw(`null`) + "." + parts[1] + "." + parts[2], code: lti.TokenMalformed},
		"a token of excessive length":            {token: strings.Repeat("a", maxToken+1), code: lti.TokenMalformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			reg := registration()
			reg.Algorithms = tt.allow
			keys := platformKeys()
			if tt.keys != nil {
				keys.keys = tt.keys
			}
			_, err := verifier(t).VerifyIDToken(t.Context(), reg, keys, tt.token, login())
			if lti.CodeOf(err) != tt.code {
				t.Fatalf("error %v, want code %q", err, tt.code)
			}
		})
	}
}

// Signed by the platform itself: two equal names are refused all the same.
func TestRepeatedMemberNamesAreRefused(t *testing.T) {
	signed := func(claims string) string {
		text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"`+kid+`"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
		sig, err := jwt.SigningMethodRS256.Sign(text, privateKeys()[0])
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	whole, err := json.Marshal(claimSet(nil))
	if err != nil {
		t.Fatal(err)
	}
	body := strings.TrimSuffix(string(whole), "}")
	tests := map[string]struct {
		claims string
		code   lti.Code
	}{
		"none":                            {body + `}`, ""},
		"the subject":                     {body + `,"sub":"user-1"}`, lti.TokenMalformed},
		"the subject, spelled otherwise":  {body + `,"s\u0075b":"user-1"}`, lti.TokenMalformed},
		"with the same value":             {body + `,"sub":"user-4"}`, lti.TokenMalformed},
		"deep inside":                     {body + `,"x":[{"y":{"a":1,"b":2,"a":3}}]}`, lti.TokenMalformed},
		"equal names in different places": {body + `,"x":{"sub":1,"y":{"sub":2}},"z":["sub","sub",{"sub":1},{"sub":2}]}`, ""},
		"equal strings that are no names": {body + `,"x":"sub","y":["a","a"],"w":"\"sub\":"}`, ""},
		"text behind the claims":          {body + `}{}`, lti.TokenMalformed},
		"bytes that are not UTF-8":        {body + `,"x":"` + "\xff" + `"}`, lti.TokenMalformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := verifier(t).VerifyIDToken(t.Context(), registration(), platformKeys(), signed(tt.claims), login())
			if lti.CodeOf(err) != tt.code {
				t.Errorf("error %v, want code %q", err, tt.code)
			}
		})
	}
}

func TestAKeyReplacedUnderItsNameIsFetchedAgain(t *testing.T) {
	own, foreign := &privateKeys()[0].PublicKey, &privateKeys()[1].PublicKey
	keys := &fixedKeys{keys: []jwks.Key{{ID: kid, Public: foreign}}, renewed: []jwks.Key{{ID: kid, Public: own}}}
	if _, err := verifier(t).VerifyIDToken(t.Context(), registration(), keys, idToken(t, nil), login()); err != nil || keys.renewals != 1 {
		t.Errorf("%v after %d renewals", err, keys.renewals)
	}
	keys = platformKeys()
	if _, err := verifier(t).VerifyIDToken(t.Context(), registration(), keys, idToken(t, nil), login()); err != nil || keys.renewals != 0 {
		t.Errorf("%v after %d renewals, though the key was right", err, keys.renewals)
	}
}

func TestState(t *testing.T) {
	v := verifier(t)
	good := answer(t, v, idToken(t, nil))
	state := good.Get("state")
	token := lti.Param{Name: "id_token", Value: good.Get("id_token")}
	seal := func(change func(*State)) lti.Param {
		s := login()
		change(&s)
		text, err := v.States.Seal(s)
		if err != nil {
			t.Fatal(err)
		}
		return lti.Param{Name: "state", Value: text}
	}
	st := lti.Param{Name: "state", Value: state}
	tests := map[string]struct {
		params  lti.Params
		cookies []string
		code    lti.Code
	}{
		"a login of this browser":                   {good, []string{cookie}, ""},
		"no state":                                  {lti.Params{token}, []string{cookie}, lti.StateMissing},
		"an empty state":                            {lti.Params{token, {Name: "state"}}, []string{cookie}, lti.StateMissing},
		"two states":                                {lti.Params{token, st, st}, []string{cookie}, lti.ParameterRepeated},
		"two tokens":                                {lti.Params{token, token, st}, []string{cookie}, lti.ParameterRepeated},
		"no token":                                  {lti.Params{st}, []string{cookie}, lti.ParameterMissing},
		"another browser":                           {good, []string{"other"}, lti.StateNotFromThisBrowser},
		"no cookies":                                {good, nil, lti.StateNotFromThisBrowser},
		"an empty cookie":                           {good, []string{""}, lti.StateNotFromThisBrowser},
		"a state that was made up":                  {lti.Params{token, {Name: "state", Value: "s1.e30.AAAA"}}, []string{cookie}, lti.StateInvalid},
		"a state of somebody else":                  {lti.Params{token, {Name: "state", Value: "ad4e067373f0bfd3d91a53a5"}}, []string{cookie}, lti.StateInvalid},
		"a state of another registration":           {lti.Params{token, seal(func(s *State) { s.Platform = "canvas" })}, []string{cookie}, lti.StateInvalid},
		"a state that has expired":                  {lti.Params{token, seal(func(s *State) { s.ExpiresAt = start() })}, []string{cookie}, lti.StateExpired},
		"a state with another nonce":                {lti.Params{token, seal(func(s *State) { s.Nonce = "other" })}, []string{cookie}, lti.NonceMismatch},
		"a state without nonce":                     {lti.Params{token, seal(func(s *State) { s.Nonce = "" })}, []string{cookie}, lti.NonceMismatch},
		"an error of the platform":                  {lti.Params{st, {Name: "error", Value: "login_required"}}, []string{cookie}, lti.PlatformReturnedError},
		"an error wins over a token":                {lti.Params{st, token, {Name: "error", Value: "login_required"}}, []string{cookie}, lti.PlatformReturnedError},
		"an error without state is nobody's":        {lti.Params{{Name: "error", Value: "login_required"}}, []string{cookie}, lti.StateMissing},
		"an error for another browser is not shown": {lti.Params{st, {Name: "error", Value: "login_required"}}, []string{"other"}, lti.StateNotFromThisBrowser},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify13(t.Context(), registration(), platformKeys(), tt.params, tt.cookies...)
			if lti.CodeOf(err) != tt.code {
				t.Errorf("error %v, want code %q", err, tt.code)
			}
		})
	}
}

func TestErrorsOfThePlatformAreQuotedOnlyWhenSpecified(t *testing.T) {
	v := verifier(t)
	state := answer(t, v, "").Get("state")
	for code, want := range map[string]bool{"login_required": true, "<script>": false} {
		_, err := v.Verify13(t.Context(), registration(), platformKeys(), lti.Params{{Name: "state", Value: state}, {Name: "error", Value: code}}, cookie)
		if strings.Contains(err.Error(), code) != want {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestMigrationClaim(t *testing.T) {
	read := func(claim map[string]any) *Message {
		t.Helper()
		v := verifier(t)
		m, err := v.Verify13(t.Context(), registration(), platformKeys(), answer(t, v, idToken(t, map[string]any{claimMigration: claim})), cookie)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	text := migrationText("old-key", "1", "https://lms.example", "client-1", fmt.Sprint(start().Add(time.Minute).Unix()), expectedNonce)
	claim := map[string]any{"user_id": "4", "oauth_consumer_key": "old-key", "oauth_consumer_key_sign": migrationSignature("shared", text)}
	if m := read(claim); !m.MigrationSigned("shared") || m.MigrationSigned("other") || m.MigrationSigned("") || m.Migration.UserID != "4" {
		t.Errorf("%+v", m.Migration)
	}
	if m := read(with(claim, "oauth_consumer_key", "other-key")); m.MigrationSigned("shared") {
		t.Error("a signature of another key is accepted")
	}
	if m := read(with(claim, "oauth_consumer_key", nil)); m.MigrationSigned("shared") {
		t.Error("a claim without key is accepted")
	}
	if read(nil).MigrationSigned("shared") {
		t.Error("an absent claim is signed")
	}
}

// Canvas signs the tokens of its tests with a 512-bit key; crypto/rsa would
// refuse it too, but the refusal is to say why.
func TestAShortKeyIsNamedAsSuch(t *testing.T) {
	set, err := jwks.Parse([]byte(`{"keys":[{"kty":"RSA","kid":"` + kid + `","e":"AQAB","n":"` + base64.RawURLEncoding.EncodeToString(append(make([]byte, 0, 64), strings.Repeat("\xc1", 64)...)) + `"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = verifier(t).VerifyIDToken(t.Context(), registration(), &fixedKeys{keys: set}, idToken(t, nil), login())
	if lti.CodeOf(err) != lti.KeyTooWeak {
		t.Errorf("error %v", err)
	}
}

var (
	_ Keys = (*jwks.Remote)(nil)
	_ Keys = (*jwks.Inline)(nil)
)

// respell changes bits of the last base64url character that carry nothing.
func respell(t *testing.T, s string) string {
	t.Helper()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	want, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range alphabet {
		other := s[:len(s)-1] + string(c)
		if got, err := base64.RawURLEncoding.DecodeString(other); err == nil && other != s && string(got) == string(want) {
			return other
		}
	}
	t.Fatal("there is one spelling only")
	return ""
}

func TestSignaturesHaveOneSpelling(t *testing.T) {
	tok := idToken(t, nil)
	i := strings.LastIndexByte(tok, '.') + 1
	_, err := verifier(t).VerifyIDToken(t.Context(), registration(), platformKeys(), tok[:i]+respell(t, tok[i:]), login())
	if lti.CodeOf(err) != lti.TokenMalformed {
		t.Errorf("token: %v", err)
	}
	codec := verifier(t).States
	state, err := codec.Seal(login())
	if err != nil {
		t.Fatal(err)
	}
	i = strings.LastIndexByte(state, '.') + 1
	if _, err := codec.Open(state[:i]+respell(t, state[i:]), start()); lti.CodeOf(err) != lti.StateInvalid {
		t.Errorf("state: %v", err)
	}
}

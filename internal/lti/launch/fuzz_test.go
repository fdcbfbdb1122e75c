package launch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
)

// refusal fails unless err is a refusal with a code that has a reason, and so a
// page, a metric and a status.
func refusal(t testing.TB, err error) lti.Code {
	t.Helper()
	var r *lti.Refusal
	if !errors.As(err, &r) || r.Code == lti.InternalError || !slices.Contains(lti.Codes(), r.Code) {
		t.Fatalf("not a refusal: %#v", err)
	}
	return r.Code
}

// fuzzKey is the key of the platform that fuzzed tokens come from: always the
// same one, so that an interesting token stays interesting, and on a curve,
// because signing with RSA would take most of the time.
func fuzzKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), []byte("the key of a platform in a fuzz "))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// fuzzPlatform returns a registration that knows the key and its key set.
func fuzzPlatform(t testing.TB) (*Registration, *fixedKeys) {
	t.Helper()
	reg := registration()
	reg.Algorithms = []string{"ES256"}
	return reg, &fixedKeys{keys: []jwks.Key{{ID: kid, Public: &fuzzKey(t).PublicKey}}}
}

// fuzzSigned signs claims, whatever they are, for the platform.
func fuzzSigned(t testing.TB, claims []byte) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","kid":"`+kid+`"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sig, err := jwt.SigningMethodES256.Sign(text, fuzzKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// Whatever is posted as a token is refused, unless the platform signed it.
func FuzzToken(f *testing.F) {
	claims, err := json.Marshal(claimSet(nil))
	if err != nil {
		f.Fatal(err)
	}
	good := fuzzSigned(f, claims)
	signed := good[:strings.LastIndexByte(good, '.')]
	f.Add(good)
	f.Add("..")
	f.Add("e30.e30.")
	f.Add("eyJhbGciOiJub25lIn0.e30.AAAA")
	// Another key's: the address is right, the signature is not.
	parts := strings.Split(recordedToken(f), ".")
	f.Add(parts[0] + "." + base64.RawURLEncoding.EncodeToString(claims) + "." + parts[2])
	f.Add(strings.SplitN(good, ".", 2)[0] + "." + parts[1] + "." + parts[2])
	reg, keys := fuzzPlatform(f)
	f.Fuzz(func(t *testing.T, token string) {
		m, err := verifier(t).VerifyIDToken(t.Context(), reg, keys, token, login())
		if err != nil {
			refusal(t, err)
			return
		}
		// A signature on a curve has a second spelling, with -s for s.
		if !strings.HasPrefix(token, signed+".") || strings.Count(token, ".") != 2 {
			t.Fatalf("a forged token is a launch: %+v", m)
		}
	})
}

// Whatever the claims are, verifying neither panics nor accepts a message that
// lacks what its users rely on, or says what the claims do not.
func FuzzClaims(f *testing.F) {
	for _, claims := range []map[string]any{claimSet(nil), completeClaims(), takeApart(f).claims} {
		whole, err := json.Marshal(claims)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(whole)
	}
	f.Add([]byte(`{"aud":[],"exp":1e400}`))
	f.Add([]byte(`{"a":{"b":[{"a":"\"}"}]}}`))
	f.Add([]byte(`[{"a":1}]`))
	f.Add([]byte(`{"\ud800":1,"\ud800":2}`))
	reg, keys := fuzzPlatform(f)
	f.Fuzz(func(t *testing.T, claims []byte) {
		m, err := verifier(t).VerifyIDToken(t.Context(), reg, keys, fuzzSigned(t, claims), login())
		if err != nil {
			if code := refusal(t, err); code == lti.SignatureInvalid || code == lti.KeyUnknown {
				t.Fatalf("signed by the platform: %v", err)
			}
			return
		}
		if m.Version != Version13 || m.Issuer != reg.Issuer || m.ClientID != reg.ClientID || m.DeploymentID != "1" || m.Nonce.Value != expectedNonce {
			t.Fatalf("not the message of this login: %+v", m)
		}
		if !identifier(m.Subject) || !identifier(m.ResourceLink.ID) || !webURL(m.TargetLinkURI) || m.Custom == nil || m.Roles == nil || m.Context != nil && m.Context.ID == "" {
			t.Fatalf("incomplete message: %+v", m)
		}
		if !m.ExpiresAt.After(start().Add(-DefaultSkew)) || m.IssuedAt.After(start().Add(DefaultSkew)) || m.IssuedAt.Before(start().Add(-DefaultMaxAge-DefaultSkew)) {
			t.Fatalf("issued at %s, expires at %s", m.IssuedAt, m.ExpiresAt)
		}
		var std map[string]any
		if json.Unmarshal(claims, &std) != nil {
			t.Fatal("accepted what encoding/json refuses")
		}
		if std["sub"] != m.Subject || std[claimDeployment] != m.DeploymentID || std[claimTargetLink] != m.TargetLinkURI || std[claimResourceLink].(map[string]any)["id"] != m.ResourceLink.ID {
			t.Fatalf("another program reads %v, not %+v", std, m)
		}
	})
}

// Whatever a form holds, under a good signature it is refused for what it says,
// or is a launch with all that its users rely on.
func FuzzForm(f *testing.F) {
	f.Add(moodleForm(f), "")
	f.Add("lti_message_type=basic-lti-launch-request&lti_version=LTI-1p0&resource_link_id=1&user_id=4", "user_id=4")
	f.Add("lti_message_type=basic-lti-launch-request&lti_version=LTI-1p0&resource_link_id=1&user_id=4&role_scope_mentor=%25,%2525&custom_=1", "a=1&b")
	v := &Verifier{Now: start}
	f.Fuzz(func(t *testing.T, form, query string) {
		params, err := lti.ParseForm(form)
		if err != nil {
			refusal(t, err)
			return
		}
		all, err := lti.ParseForm(query)
		if err != nil {
			refusal(t, err)
			return
		}
		params = slices.DeleteFunc(params, func(p lti.Param) bool { return strings.HasPrefix(p.Name, "oauth_") })
		body := append(params,
			lti.Param{Name: "oauth_consumer_key", Value: "key"},
			lti.Param{Name: "oauth_nonce", Value: "nonce"},
			lti.Param{Name: "oauth_signature_method", Value: oauth1.SignatureMethod},
			lti.Param{Name: "oauth_timestamp", Value: strconv.FormatInt(start().Unix(), 10)},
		)
		sig := oauth1.Signature(oauth1.BaseString("POST", formURL, append(all, body...)), formSecret)
		body = append(body, lti.Param{Name: "oauth_signature", Value: sig})
		m, err := v.Verify12(t.Context(), oauth1.Request{Method: "POST", URL: formURL, RawQuery: query, Body: body}, oneKey("key"))
		if err != nil {
			if code := refusal(t, err); code == lti.SignatureInvalid {
				t.Fatalf("signed with the secret: %v", err)
			}
			return
		}
		if m.Version != Version12 || m.ConsumerKey != "key" || m.Nonce.Value != "nonce" || m.Subject == "" || m.ResourceLink.ID == "" || m.Custom == nil || m.Roles == nil || m.Context != nil && m.Context.ID == "" {
			t.Fatalf("incomplete message: %+v", m)
		}
		for name, value := range map[string]string{"user_id": m.Subject, "resource_link_id": m.ResourceLink.ID, "lti_version": versionForm, "lti_message_type": messageBasicLaunch} {
			if got, _, err := params.Only(name); err != nil || got != value {
				t.Fatalf("%s is %q, %v; read as %q", name, got, err, value)
			}
		}
	})
}

// A login that is read has what is required, and says what was sent.
func FuzzLogin(f *testing.F) {
	var rec struct {
		RawBody string `json:"raw_body"`
	}
	load(f, "moodle-lti13-login.json", &rec)
	f.Add(rec.RawBody)
	f.Add("iss=https://lms.example&login_hint=4&target_link_uri=" + targetLink + "&lti_deployment_id=1&client_id=client-1&lti_message_hint=")
	f.Add("iss=a&iss=b&login_hint&target_link_uri=")
	f.Fuzz(func(t *testing.T, form string) {
		params, err := lti.ParseForm(form)
		if err != nil {
			refusal(t, err)
			return
		}
		l, err := ParseLogin(params)
		if err != nil {
			if code := refusal(t, err); code != lti.LoginParameterMissing && code != lti.ParameterRepeated || l != nil {
				t.Fatalf("%+v, %v", l, err)
			}
			return
		}
		for name, value := range map[string]string{
			"iss": l.Issuer, "login_hint": l.LoginHint, "target_link_uri": l.TargetLinkURI,
			"lti_deployment_id": l.DeploymentID, "client_id": l.ClientID, "lti_storage_target": l.StorageTarget,
		} {
			if got, _, err := params.Only(name); err != nil || got != value {
				t.Fatalf("%s is %q, %v; read as %q", name, got, err, value)
			}
		}
		if l.Issuer == "" || l.LoginHint == "" || l.TargetLinkURI == "" {
			t.Fatalf("incomplete login: %+v", l)
		}
		if hint, there, err := params.Only("lti_message_hint"); err != nil || there != (l.MessageHint != nil) || there && hint != *l.MessageHint {
			t.Fatalf("message hint %q, %v, %v", hint, there, err)
		}
		reg := registration()
		if err := l.Check(reg, func(u string) bool { return u == targetLink }); err != nil {
			refusal(t, err)
		} else if l.Issuer != reg.Issuer || l.TargetLinkURI != targetLink || l.ClientID != "" && l.ClientID != reg.ClientID {
			t.Fatalf("a login of another registration passed: %+v", l)
		} else if activated, listed := reg.Deployments.Activated[l.DeploymentID]; listed && !activated {
			t.Fatalf("a login of a deactivated deployment passed: %+v", l)
		}
	})
}

// The authentication request goes to the registered address and nowhere else,
// keeps its query, and carries exactly what was put in.
func FuzzAuthRequestURL(f *testing.F) {
	f.Add("https://lms.example/auth?tenant=7", "client-1", "https://lti.acme.example/launch", "4", `{"cmid":4}`, true, "state", "nonce")
	f.Add("HTTP://user@LMS.example:80/%2Fa%20b?client%5Fid=old&x&=&state=1#top", "a&b=c", "https://x/?y=z&w#v", "4 & é", "", true, "#?&=+%", "\x00\xff")
	f.Add("https://[::1]:8443?a=%zz&b=1;c=2", "", "", "", "", false, "", "")
	f.Fuzz(func(t *testing.T, registered, clientID, redirectURI, loginHint, messageHint string, hinted bool, state, nonce string) {
		reg := &Registration{ClientID: clientID, AuthenticationURL: registered, RedirectURI: redirectURI}
		l := &LoginRequest{LoginHint: loginHint}
		put := lti.Params{
			{Name: "scope", Value: "openid"},
			{Name: "response_type", Value: "id_token"},
			{Name: "response_mode", Value: "form_post"},
			{Name: "prompt", Value: "none"},
			{Name: "client_id", Value: clientID},
			{Name: "redirect_uri", Value: redirectURI},
			{Name: "login_hint", Value: loginHint},
			{Name: "state", Value: state},
			{Name: "nonce", Value: nonce},
		}
		if hinted {
			l.MessageHint = &messageHint
			put = append(put, lti.Param{Name: "lti_message_hint", Value: messageHint})
		}
		got, err := AuthRequestURL(reg, l, state, nonce)
		want, parseErr := url.Parse(registered)
		if err != nil {
			if refusal(t, err) != lti.NotRegistered || got != "" || parseErr == nil && webURL(registered) {
				t.Fatalf("%q, %v", got, err)
			}
			return
		}
		u, err := url.Parse(got)
		if err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		if u.Scheme != want.Scheme || u.Host != want.Host || u.EscapedPath() != want.EscapedPath() || u.User.String() != want.User.String() || strings.Contains(got, "#") {
			t.Fatalf("%q leads elsewhere than %q", got, registered)
		}

		// What was registered stays as it is spelled, less what is ours.
		var kept []string
		for seq := range strings.SplitSeq(want.RawQuery, "&") {
			name, _, _ := strings.Cut(seq, "=")
			decoded, err := url.QueryUnescape(name)
			if seq != "" && (err != nil || put.Count(decoded) == 0) {
				kept = append(kept, seq)
			}
		}
		seqs := strings.Split(u.RawQuery, "&")
		if len(seqs) != len(kept)+len(put) || !slices.Equal(seqs[:len(kept)], kept) {
			t.Fatalf("%q became %q", want.RawQuery, u.RawQuery)
		}
		ours := strings.Join(seqs[len(kept):], "&")
		if back, err := lti.ParseForm(ours); len(ours) <= lti.MaxFormBytes && (err != nil || !slices.Equal(back, put)) {
			t.Fatalf("%q, %v; want %q", back, err, put)
		}
		if std, err := url.ParseQuery(ours); err != nil || len(std) != len(put) || std.Get("state") != state || std.Get("redirect_uri") != redirectURI {
			t.Fatalf("net/url reads %q, %v", std, err)
		}
	})
}

// Whatever a tool sends, it is answered at an address of its own or not at all,
// gets its state back as it was, and gets an ID token only for a request that
// LTI allows.
func FuzzAuthRequest(f *testing.F) {
	good := authRequest()
	var form []string
	for _, p := range good {
		form = append(form, url.QueryEscape(p.Name)+"="+url.QueryEscape(p.Value))
	}
	whole := strings.Join(form, "&")
	f.Add(whole)
	f.Add(whole + "&scope=openid+profile")
	f.Add(whole + "&x&x")
	f.Add(strings.Replace(whole, "state=the+state", "state=a%0Ab", 1))
	f.Add(strings.Replace(whole, "prompt=none", "prompt=", 1))
	f.Add("client_id=sim&redirect_uri=javascript:alert(1)")
	f.Add("client_id=sim&redirect_uri=" + url.QueryEscape(redirectURI) + "&state=%FF")
	f.Fuzz(func(t *testing.T, form string) {
		params, err := lti.ParseForm(form)
		if err != nil {
			refusal(t, err)
			return
		}
		reply, err := ParseReply(params, "sim", isRedirectURI)
		if err != nil {
			switch refusal(t, err) {
			case lti.ParameterMissing, lti.ParameterRepeated, lti.ClientIDMismatch, lti.RedirectURIMismatch:
			default:
				t.Fatal(err)
			}
			if reply != nil {
				t.Fatalf("%v, and an answer to %+v", err, reply)
			}
		} else if reply.RedirectURI != redirectURI || params.Count("redirect_uri") != 1 || params.Count("client_id") != 1 || params.Get("client_id") != "sim" {
			t.Fatalf("an answer to %+v", reply)
		}

		req, err := ParseAuthRequest(params)
		if err != nil {
			var refused *AuthError
			if !errors.As(err, &refused) || req != nil {
				t.Fatalf("%+v, %#v", req, err)
			}
			refusal(t, err)
			if reply == nil {
				return
			}
			posted := reply.Error(refused)
			if posted.Get("error") != refused.Code || posted.Get("error_description") == "" || posted.Count("id_token") > 0 {
				t.Fatalf("%v is answered with %v", err, posted)
			}
			if state := posted.Get("state"); state != "" && state != params.Get("state") {
				t.Fatalf("state %q", state)
			}
			return
		}
		for name, value := range map[string]string{
			"login_hint": req.LoginHint, "lti_message_hint": req.MessageHint, "nonce": req.Nonce,
			"scope": "openid", "response_type": "id_token", "response_mode": "form_post",
		} {
			got, _, err := params.Only(name)
			if name == "scope" {
				got, _, _ = strings.Cut(got, " ")
			}
			if err != nil || got == "" || got != value {
				t.Fatalf("%s is %q, %v; read as %q", name, got, err, value)
			}
		}
		if prompt := params.Get("prompt"); prompt != "" && prompt != "none" {
			t.Fatalf("prompt %q", prompt)
		}
		if reply != nil && reply.Token("token").Get("state") != params.Get("state") {
			t.Fatalf("state %q became %q", params.Get("state"), reply.State)
		}
	})
}

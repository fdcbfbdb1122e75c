package launch

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lti-operator/lti-operator/internal/lti"
)

func query(t interface{ Fatal(...any) }, rawURL string) lti.Params {
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	params, err := lti.ParseForm(u.RawQuery)
	if err != nil {
		t.Fatal(err)
	}
	return params
}

func TestLoginInitiationURL(t *testing.T) {
	l := LoginInitiation{
		Issuer: "https://acme.example", LoginHint: "a b&c", MessageHint: "m+é", TargetLinkURI: "https://tool.example/x?y=1#z",
		ClientID: "sim", DeploymentID: "sim-1",
	}
	const rest = "iss=https%3A%2F%2Facme.example&login_hint=a%20b%26c&target_link_uri=https%3A%2F%2Ftool.example%2Fx%3Fy%3D1%23z&lti_message_hint=m%2B%C3%A9&client_id=sim&lti_deployment_id=sim-1"
	storage := l
	storage.StorageTarget = "_parent"
	bare := LoginInitiation{Issuer: "i", LoginHint: "h", TargetLinkURI: "t"}
	tests := map[string]struct {
		registered string
		login      LoginInitiation
		want       string
	}{
		"an address without query":               {"https://tool.example/login", l, "https://tool.example/login?" + rest},
		"a query stays as it is":                 {"https://tool.example/login?b=2&a=%7E1", l, "https://tool.example/login?b=2&a=%7E1&" + rest},
		"our parameters replace registered ones": {"https://tool.example/login?iss=old&client%5Fid=x&tenant=7#top", l, "https://tool.example/login?tenant=7&" + rest},
		"a frame for storage":                    {"https://tool.example/login", storage, "https://tool.example/login?" + rest + "&lti_storage_target=_parent"},
		"what is absent is left out":             {"http://localhost:1/", bare, "http://localhost:1/?iss=i&login_hint=h&target_link_uri=t"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := LoginInitiationURL(tt.registered, tt.login)
			if err != nil || got != tt.want {
				t.Errorf("%v\n got %s\nwant %s", err, got, tt.want)
			}
		})
	}
	for _, registered := range []string{"", "/login", "https://", "javascript:alert(1)", "https://tool.example/%zz", "ftp://tool.example"} {
		if got, err := LoginInitiationURL(registered, l); lti.CodeOf(err) != lti.NotRegistered || got != "" {
			t.Errorf("%q: %q, %v", registered, got, err)
		}
	}
}

func TestALoginInitiationIsReadAsItWasSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.StringN(1, -1, 200)
		l := LoginInitiation{
			Issuer: some.Draw(t, "iss"), LoginHint: some.Draw(t, "hint"), TargetLinkURI: some.Draw(t, "target"),
			MessageHint: some.Draw(t, "message"), ClientID: some.Draw(t, "client"),
			DeploymentID: rapid.String().Draw(t, "deployment"), StorageTarget: rapid.String().Draw(t, "storage"),
		}
		rawURL, err := LoginInitiationURL("https://tool.example/login?tenant=7&client_id=old", l)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseLogin(query(t, rawURL))
		if err != nil {
			t.Fatal(err)
		}
		want := &LoginRequest{
			Issuer: l.Issuer, LoginHint: l.LoginHint, TargetLinkURI: l.TargetLinkURI, MessageHint: &l.MessageHint,
			DeploymentID: l.DeploymentID, ClientID: l.ClientID, StorageTarget: l.StorageTarget,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Both sides of a launch, from the login initiation to the message: what one
// sends the other one takes.
func TestAPlatformAndAToolUnderstandEachOther(t *testing.T) {
	l, reg, v := sentLaunch(), registration(), verifier(t)
	reg.Issuer, reg.ClientID, reg.Deployments = l.Issuer, l.ClientID, Deployments{Activated: map[string]bool{l.DeploymentID: true}}

	// The platform opens an activity.
	start13, err := LoginInitiationURL("https://tool.example/login?tenant=7", LoginInitiation{
		Issuer: l.Issuer, LoginHint: "learner", MessageHint: "launch", TargetLinkURI: l.TargetLinkURI, ClientID: l.ClientID, DeploymentID: l.DeploymentID,
	})
	if err != nil {
		t.Fatal(err)
	}
	// The tool asks who it is.
	in, err := ParseLogin(query(t, start13))
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Check(reg, func(u string) bool { return u == l.TargetLinkURI }); err != nil {
		t.Fatal(err)
	}
	state, err := v.States.Seal(NewState(reg, in, "nonce of the tool", cookie, start()))
	if err != nil {
		t.Fatal(err)
	}
	ask, err := AuthRequestURL(reg, in, state, "nonce of the tool")
	if err != nil {
		t.Fatal(err)
	}
	// The platform answers.
	params := query(t, strings.Replace(ask, "tenant=7&", "", 1))
	reply, err := ParseReply(params, l.ClientID, func(u string) bool { return u == reg.RedirectURI })
	if err != nil {
		t.Fatal(err)
	}
	req, err := ParseAuthRequest(params)
	if err != nil {
		t.Fatal(err)
	}
	if req.LoginHint != "learner" || req.MessageHint != "launch" {
		t.Errorf("hints %+v", req)
	}
	l.Nonce = req.Nonce
	answer := reply.Token(signLaunch(t, l, time.Minute))
	// The tool lets the learner in.
	m, err := v.Verify13(t.Context(), reg, platformKeys(), answer, cookie)
	if err != nil {
		t.Fatal(err)
	}
	if m.Subject != l.Subject || m.TargetLinkChanged || m.TargetLinkURI != l.TargetLinkURI || !m.IsLearner() {
		t.Errorf("message %+v", m)
	}
	// An error is believed as well.
	answer = reply.Error(NewAuthError(OAuthAccessDenied, lti.Refuse(lti.LearnerMismatch, "another learner")))
	if _, err := v.Verify13(t.Context(), reg, platformKeys(), answer, cookie); lti.CodeOf(err) != lti.PlatformReturnedError || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("error %v", err)
	}
}

package registration

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// refusal fails unless err is a refusal with a code that has a reason.
func refusal(t *testing.T, err error) {
	t.Helper()
	var r *lti.Refusal
	if !errors.As(err, &r) || !slices.Contains(lti.Codes(), r.Code) || r.Code == lti.InternalError {
		t.Fatalf("not a refusal: %#v", err)
	}
}

// usable fails for an address that could not be configured by hand.
func usable(t *testing.T, addresses ...string) {
	t.Helper()
	for _, a := range addresses {
		u, err := parseAddress(a, maxURL)
		if err != nil || strings.ContainsAny(a, "# \n\"<>") && u.Fragment != "" {
			t.Fatalf("%q: %v", a, err)
		}
		if !strings.HasPrefix(a, "https://") && !lti.LoopbackHost(u.Hostname()) {
			t.Fatalf("%q is not https", a)
		}
	}
}

func FuzzInitiation(f *testing.F) {
	f.Add("openid_configuration=https%3A%2F%2Flms.example%2Fc&registration_token=x")
	f.Add("openid_configuration=http://[::1]/&registration_token=")
	f.Add("openid_configuration=javascript:alert(1)")
	f.Fuzz(func(t *testing.T, query string) {
		params, err := lti.ParseForm(query)
		if err != nil {
			return
		}
		i, err := ParseInitiation(params)
		if err != nil {
			refusal(t, err)
			return
		}
		if _, err := parseAddress(i.ConfigurationURL, maxToken); err != nil || strings.ContainsAny(i.Token, "\r\n ") {
			t.Fatalf("%q %q", i.ConfigurationURL, i.Token)
		}
	})
}

func FuzzConfiguration(f *testing.F) {
	_, configuration, _, _ := recorded(f)
	f.Add(configuration, "http://localhost:9100/mod/lti/openid-configuration.php")
	f.Add([]byte(config), configURL)
	f.Add([]byte(`{"issuer":"https://lms.example:443","scopes_supported":"a b"}`), configURL)
	f.Fuzz(func(t *testing.T, body []byte, from string) {
		c, err := ParseConfiguration(body, from)
		if err != nil {
			refusal(t, err)
			return
		}
		usable(t, c.Issuer, c.AuthenticationURL, c.JWKSURL, c.RegistrationURL)
		issuer, _ := parseAddress(c.Issuer, maxURL)
		at, err := parseAddress(from, maxToken)
		if err != nil || !strings.EqualFold(issuer.Hostname(), at.Hostname()) {
			t.Fatalf("issuer %q from %q", c.Issuer, from)
		}
		request, err := NewRequest(c, us())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseMetadata(request); err != nil {
			t.Fatalf("our own request: %v", err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	_, _, _, answer := recorded(f)
	f.Add(200, answer)
	f.Add(400, []byte(`{"error":"invalid_redirect_uri"}`))
	f.Add(422, []byte(`{"errors":[]}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a, err := ParseAnswer(status, body)
		if err != nil {
			refusal(t, err)
			return
		}
		if !printable(a.ClientID, maxIdentifier) || a.ClientURL == "" && a.ClientToken != "" {
			t.Fatalf("%q %q", a.ClientID, a.ClientURL)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	_, _, request, _ := recorded(f)
	f.Add(request)
	f.Add([]byte(asks))
	f.Add([]byte(`{"redirect_uris":["javascript:alert(1)"]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := ParseMetadata(body)
		if err != nil {
			refusal(t, err)
			return
		}
		usable(t, append([]string{m.LoginInitiationURL, m.JWKSURL}, m.RedirectURIs...)...)
		for _, optional := range []string{m.LaunchURL, m.DeepLinkingURL, m.LogoURL} {
			if optional != "" {
				usable(t, optional)
			}
		}
		if m.Name == "" || len(m.RedirectURIs) == 0 {
			t.Fatalf("%+v", m)
		}
		// The tool can read our answer, and it is one that we could have asked for.
		answer, err := json.Marshal(m.Answer(Granted{ClientID: "lab", DeploymentID: "lab", Scopes: scopes(), Messages: []string{lti.MessageResourceLink}}))
		if err != nil {
			t.Fatal(err)
		}
		if a, err := ParseAnswer(200, answer); len(answer) <= MaxDocument && (err != nil || a.ClientID != "lab" || a.DeploymentID != "lab") {
			t.Fatalf("%v: %v", a, err)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package learner

import (
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// zitadel serves the OpenID Provider of zitadel/oidc, which we did not write, with its login page.
func zitadel(t *testing.T) (issuer string, trusted *http.Client) {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	issuer = "https://" + srv.Listener.Addr().String()
	// There is no way to register a client other than for all servers.
	storage.RegisterClients(storage.WebClient(clientID, secret, callback))
	srv.Config.Handler = exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), slog.New(slog.DiscardHandler), false)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return issuer, srv.Client()
}

// browse goes where a browser is sent, signs in as the example's user, and returns what it comes back to us with.
func browse(t *testing.T, trusted *http.Client, start string) lti.Params {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var back *url.URL
	browser := &http.Client{Transport: trusted.Transport, Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), callback) {
			back = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	res, err := browser.Get(start)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if back == nil {
		page := res.Request.URL
		if !strings.HasPrefix(page.Path, "/login/") {
			t.Fatalf("not at the login page but at %s: %s", page, res.Status)
		}
		res, err = browser.PostForm(page.Scheme+"://"+page.Host+page.Path, url.Values{
			"username": {"test-user@" + page.Hostname()}, "password": {"verysecure"}, "id": {page.Query().Get("authRequestID")},
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	if back == nil {
		t.Fatalf("did not come back: %s at %s", res.Status, res.Request.URL)
	}
	params, err := lti.ParseForm(back.RawQuery)
	if err != nil {
		t.Fatal(err)
	}
	return params
}

func TestSigningInAtAProviderThatWeDidNotWrite(t *testing.T) {
	issuer, trusted := zitadel(t)
	p := New(Config{IssuerURL: issuer, ClientID: clientID, ClientSecret: secret}, trusted, time.Now)
	r := request()
	r.Prompt, r.MaxAge, r.AskedAt = "login", time.Second, time.Now()
	address, err := p.AuthURL(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	response, state, err := ParseResponse(browse(t, trusted, address))
	if err != nil || state != r.State || response.Code == "" {
		t.Fatalf("%+v, %q, %v", response, state, err)
	}
	// The provider verifies PKCE: a thief of the code has not got the verifier.
	theirs := r
	theirs.Verifier = strings.Repeat("x", 43)
	_, err = p.Exchange(t.Context(), response, theirs)
	wantError(t, err, Refused, "invalid_grant", "token endpoint")

	// It may have spent the code on that.
	response, _, err = ParseResponse(browse(t, trusted, address))
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Exchange(t.Context(), response, r)
	want := Learner{Subject: "id1", Email: "test-user@zitadel.ch", EmailVerified: true, Name: "Test User", GivenName: "Test", FamilyName: "User", Locale: "de"}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	_, err = p.Exchange(t.Context(), response, r)
	wantError(t, err, Refused, "invalid_grant", "token endpoint")
}

func TestRefusalsOfAProviderThatWeDidNotWrite(t *testing.T) {
	issuer, trusted := zitadel(t)
	p := New(Config{IssuerURL: issuer, ClientID: clientID, ClientSecret: "wrong"}, trusted, time.Now)
	r := request()
	address, err := p.AuthURL(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	response, _, err := ParseResponse(browse(t, trusted, address))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Exchange(t.Context(), response, r)
	wantError(t, err, Refused, "invalid_client", "token endpoint")

	// Nobody is signed in, and nobody may be asked.
	r.Prompt = "none"
	if address, err = p.AuthURL(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if response, _, err = ParseResponse(browse(t, trusted, address)); err != nil {
		t.Fatal(err)
	}
	_, err = p.Exchange(t.Context(), response, r)
	wantError(t, err, Refused, "login_required", "response")
}

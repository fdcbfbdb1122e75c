// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lti-operator/lti-operator/internal/handler/learners"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/identity/learner"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// BenchmarkLaunch is the launch of a learner at a tool: the academy's link, the way back from the identity provider and the
// tool's authentication request, as the three handlers see them. Identity provider and store answer at once, so that what is
// left is ours. part=floor is the signature of the ID token alone.
func BenchmarkLaunch(b *testing.B) {
	text, err := keys.NewSigningKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("part=whole", func(b *testing.B) {
		p := benchmarkPlatform(b, string(text))
		b.ReportAllocs()
		for b.Loop() {
			p.launch(b)
		}
	})
	b.Run("part=floor", func(b *testing.B) {
		key, err := keys.ParseSigningKey(text)
		if err != nil {
			b.Fatal(err)
		}
		p := benchmarkPlatform(b, string(text))
		_, token, _ := strings.Cut(p.launch(b), `name="id_token" value="`)
		token, _, _ = strings.Cut(token, `"`)
		signed := []byte(token[:strings.LastIndexByte(token, '.')])
		b.ReportAllocs()
		for b.Loop() {
			sum := sha256.Sum256(signed)
			if _, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// launcher is a platform with a browser.
type launcher struct {
	platform *Platform
	mux      *http.ServeMux
}

func benchmarkPlatform(b *testing.B, key string) *launcher {
	b.Helper()
	const academy = "https://lti.acme.example"
	index := routing.NewIndex("hash", &routing.Table{
		Academy: routing.Academy{Name: "default", Title: "Acme Academy", URL: academy, Active: true, FrameAncestors: []string{"https:"}},
		Tools: []routing.Tool{{
			Name: "lab", Title: "Simulation Lab", Active: true,
			LTI13: &routing.ToolLTI13{LoginInitiationURL: "https://lab.example/login", JWKSURL: "https://lab.example/jwks", RedirectURIs: []string{"https://lab.example/launch"}},
		}},
		Activities: []routing.Activity{{
			Name: "pump", Title: "The pump", Description: "Open and close it", DurationMinutes: 30,
			External: &routing.External{Presentation: routing.PresentationNewWindow, ReturnURL: "https://acme.example/courses/7", LTI13: &routing.ExternalLTI13{
				Tool: "lab", ResourceURL: "https://lab.example/pump", ResourceLinkID: "pump",
				Parameters: []routing.Parameter{{Name: "chapter", Value: "3"}, {Name: "who", Value: "$User.id"}},
			}},
		}},
		SigningKeys: []routing.SigningKey{{Kind: routing.KindTool, Name: "lab", KeyID: "key-1", PrivateKeyPEM: key}},
	})
	sealer, err := identity.NewSealer(rand.Reader, bytes.Repeat([]byte("k"), 32))
	if err != nil {
		b.Fatal(err)
	}
	desk := &learners.Desk{Provider: atOnce{}, Fingerprint: "provider", Sealer: sealer, RedirectURI: academy + routing.PathLearnerCallback, Now: time.Now}
	p := &Platform{
		Store: remembered{}, Now: time.Now, Random: rand.Reader,
		Web: &web.Responder{Log: slog.New(slog.DiscardHandler), Metrics: web.NewMetrics(prometheus.NewRegistry()), Random: rand.Reader},
	}
	p.Use(Prepare(index, jwks.NewCache(nil, jwks.Options{}), sealer, desk))
	l := &launcher{platform: p, mux: http.NewServeMux()}
	p.Register(l.mux)
	l.mux.HandleFunc("GET "+routing.PathLearnerCallback, p.Started)
	return l
}

// launch returns the page that posts the ID token.
func (l *launcher) launch(b *testing.B) string {
	var jar []string
	visit := func(method, address, form string) *answer {
		r, err := http.NewRequestWithContext(context.Background(), method, address, strings.NewReader(form))
		if err != nil {
			b.Fatal(err)
		}
		if form != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		r.Header.Set("Accept-Language", "nl,en;q=0.8")
		r.Header.Set("Cookie", strings.Join(jar, "; "))
		r.Header.Set("Sec-Fetch-Dest", "document")
		a := &answer{header: http.Header{}}
		l.mux.ServeHTTP(a, r)
		for _, c := range a.header["Set-Cookie"] {
			c, _, _ = strings.Cut(c, ";")
			jar = append(jar, c)
		}
		return a
	}
	sent := func(a *answer) url.Values {
		u, err := url.Parse(a.header.Get("Location"))
		if err != nil || a.status != http.StatusSeeOther {
			b.Fatal(a.status, err)
		}
		return u.Query()
	}
	const base = "https://lti.acme.example"
	in := sent(visit(http.MethodGet, base+"/activities/pump/start", ""))
	login := sent(visit(http.MethodGet, base+routing.PathLearnerCallback+"?code=code-1&state="+url.QueryEscape(in.Get("state")), ""))
	page := visit(http.MethodPost, base+"/tools/lab/authorize", url.Values{
		"scope": {"openid"}, "response_type": {"id_token"}, "response_mode": {"form_post"}, "prompt": {"none"}, "client_id": {"lab"},
		"redirect_uri": {"https://lab.example/launch"}, "state": {"state of the tool"}, "nonce": {"nonce of the tool"},
		"login_hint": login["login_hint"], "lti_message_hint": login["lti_message_hint"],
	}.Encode())
	if page.status != http.StatusOK || !bytes.Contains(page.body, []byte("id_token")) {
		b.Fatal(page.status, string(page.body))
	}
	return string(page.body)
}

// answer is what a handler answers.
type answer struct {
	header http.Header
	status int
	body   []byte
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) { a.status = status }

func (a *answer) Write(p []byte) (int, error) {
	a.body = append(a.body, p...)
	return len(p), nil
}

// atOnce signs in whoever comes.
type atOnce struct{}

func (atOnce) AuthURL(_ context.Context, r learner.Request) (string, error) {
	return "https://login.acme.example/authorize?state=" + url.QueryEscape(r.State), nil
}

func (atOnce) Exchange(context.Context, learner.Response, learner.Request) (learner.Learner, error) {
	return learner.Learner{Subject: "account-4", Email: "sam@acme.example", GivenName: "Sam", FamilyName: "Student", Locale: "nl"}, nil
}

// remembered is a store that has met everybody and refuses nothing.
type remembered struct{ store.Results }

func (remembered) MeetLearner(_ context.Context, l store.Learner) (store.Learner, error) {
	return l, nil
}

func (remembered) Learner(_ context.Context, realm, id string) (store.Learner, error) {
	return store.Learner{
		Realm: realm, ID: id, Subject: "account-4", Email: "sam@acme.example", GivenName: "Sam", FamilyName: "Student", Locale: "nl",
	}, nil
}

func (remembered) BeginResult(_ context.Context, _ *store.Nonce, r store.Result) (store.Result, error) {
	return r, nil
}

// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/handler"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
	"github.com/lti-operator/lti-operator/internal/store/sqlite"
)

const (
	academyURL   = "https://lti.acme.example"
	clientName   = "academy-app"
	clientSecret = "canary-client-secret-of-the-academy"
)

// academy is a launch handler under test with everything around it: table, store, log, and what it answered.
type academy struct {
	t        *testing.T
	dir      string
	database string
	log      *lockedBuffer
	clock    *clock
	table    *routing.Table
	keys     *keys.Academy
	store    store.Store
	// handlers are all that run on the directory; handler is the first.
	handlers []*handler.Handler
	handler  *handler.Handler
	public   http.Handler
	stops    map[*handler.Handler]func()

	mu        sync.Mutex
	exchanges map[exchange]bool
	secrets   secrets
	handles   map[string]bool
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// clock is the real one until a test moves it, or stops it.
type clock struct {
	ahead   atomic.Int64
	stopped atomic.Pointer[time.Time]
}

func (c *clock) now() time.Time {
	now := time.Now()
	if at := c.stopped.Load(); at != nil {
		now = *at
	}
	return now.Add(time.Duration(c.ahead.Load()))
}

func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// stop makes what is to be tried again wait until the test moves the clock, however long that takes.
func (c *clock) stop() { c.stopped.Store(new(time.Now())) }

// The keys are made once: RSA keys take long.
var (
	moodleKey   = rsaKey(2048)
	campusKey   = rsaKey(2048)
	strangerKey = rsaKey(2048)
	weakKey     = rsaKey(1024)
	academyKeys = sync.OnceValue(func() *keys.Academy {
		k, err := keys.NewAcademy(rand.Reader, time.Now())
		if err != nil {
			panic(err)
		}
		return k
	})
)

// emptyDatabase is the file of a store that nothing was stored in.
var emptyDatabase = sync.OnceValue(func() []byte {
	dir, err := os.MkdirTemp("", "empty-database")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "launches.db")
	s, err := sqlite.Open(context.Background(), path, time.Now)
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		panic(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return content
})

func rsaKey(bits int) func() *rsa.PrivateKey {
	return sync.OnceValue(func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return k
	})
}

func newAcademy(t *testing.T) *academy {
	t.Helper()
	a := &academy{
		t: t, dir: t.TempDir(), database: filepath.Join(t.TempDir(), "launches.db"), log: &lockedBuffer{}, clock: &clock{},
		keys: academyKeys(), secrets: secrets{}, exchanges: map[exchange]bool{}, handles: map[string]bool{},
	}
	a.table = a.newTable()
	// Every test has a database, and making the tables takes longer than most of the rest.
	if err := os.WriteFile(a.database, emptyDatabase(), 0o600); err != nil {
		t.Fatal(err)
	}
	a.store = a.openStore()
	a.handler = a.start(a.store)
	a.public = a.handler.Public()
	a.publish()
	t.Cleanup(func() {
		for _, found := range a.leaks() {
			t.Error(found)
		}
	})
	return a
}

// newTable has two platforms with LTI 1.3, one without, and an LTI 1.2 key of each kind.
func (a *academy) newTable() *routing.Table {
	client := sha256.Sum256([]byte(clientSecret))
	token := sha256.Sum256([]byte(a.keys.ControlToken))
	secretOf := func(key string) []string { return []string{"canary-shared-secret-of-" + key} }
	return &routing.Table{
		Academy: routing.Academy{Name: "default", Title: "Acme Academy", URL: academyURL, Active: true, FrameAncestors: []string{"https:"}},
		Platforms: []routing.Platform{
			a.platform(moodle(), "Moodle at Example University"),
			a.platform(campus(), "Campus of Example College"),
			{Name: "newcomer", Title: "Newcomer", Active: true, Realm: "newcomer", AnyDeployment: true},
		},
		Activities: []routing.Activity{
			{Name: "height", Title: "Working safely at height", Type: "ELearning", Share: &routing.Share{
				TargetURL: "https://academy.acme.example/courses/42?lang=en", Presentation: routing.PresentationNewWindow,
			}},
			{Name: "ladder", Title: "Ladder check", Type: "Microlearning", Share: &routing.Share{
				TargetURL: "https://academy.acme.example/courses/43", Presentation: routing.PresentationEmbedded,
				PlatformLabels: map[string]string{"audience": "university"},
			}},
			{Name: "private", Title: "Not shared", Type: "ELearning"},
		},
		Credentials: []routing.Credential{
			{Activity: "height", ConsumerKey: "height-key", Secrets: secretOf("height-key")},
			{Activity: "ladder", ConsumerKey: "ladder-key", Secrets: secretOf("ladder-key")},
			{Platform: "campus", ConsumerKey: "campus-key", Secrets: secretOf("campus-key"), Realm: "campus/lti12"},
			{Platform: "campus", ConsumerKey: "campus-height-key", Secrets: secretOf("campus-height-key"), Realm: "campus/lti12", Activity: "height"},
		},
		AcademyKeys: routing.AcademyKeys{
			StateKeys: [][]byte{a.keys.StateKey},
			Control: routing.Control{
				CertificatePEM: string(a.keys.ControlCertificatePEM), PrivateKeyPEM: string(a.keys.ControlPrivateKeyPEM), TokenSHA256: token[:],
			},
			Clients: []routing.Client{{ClientID: clientName, SecretSHA256: client[:]}},
		},
	}
}

func (a *academy) platform(p party, title string) routing.Platform {
	return routing.Platform{
		Name: p.platform, Title: title, Active: true, Realm: p.platform, Labels: map[string]string{"audience": "university"},
		LTI13:       &routing.PlatformLTI13{Issuer: p.issuer, ClientID: p.clientID, AuthenticationURL: p.issuer + "/auth?x=1", JWKS: a.keySet(p.key)},
		Deployments: []routing.Deployment{{ID: p.deployment, Active: true}, {ID: "9", Active: true}},
		PublicKeys:  []routing.JWK{keys.PublicJWK(&p.key.PublicKey)},
	}
}

// keySet is a JSON Web Key Set with the public half of a key.
func (a *academy) keySet(key *rsa.PrivateKey) string {
	a.t.Helper()
	set, err := json.Marshal(map[string]any{"keys": []routing.JWK{keys.PublicJWK(&key.PublicKey)}})
	if err != nil {
		a.t.Fatal(err)
	}
	return string(set)
}

func (a *academy) openStore() store.Store {
	a.t.Helper()
	s, err := sqlite.Open(context.Background(), a.database, a.clock.now)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = s.Close() })
	return s
}

// start runs one more handler on the academy's configuration directory.
func (a *academy) start(s store.Store, change ...func(*handler.Options)) *handler.Handler {
	a.t.Helper()
	o := handler.Options{
		ConfigDir: a.dir, Store: s, Now: a.clock.now,
		Log: slog.New(slog.NewJSONHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&o)
	}
	h, err := handler.New(o)
	if err != nil {
		a.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = h.Run(ctx) }()
	stop := func() { cancel(); <-done }
	a.t.Cleanup(stop)
	if a.stops == nil {
		a.stops = map[*handler.Handler]func(){}
	}
	a.stops[h] = stop
	a.handlers = append(a.handlers, h)
	return h
}

// stop ends a handler, which is not waited for any more.
func (a *academy) stop(h *handler.Handler) {
	a.stops[h]()
	a.handlers = slices.DeleteFunc(a.handlers, func(x *handler.Handler) bool { return x == h })
}

// startAnother runs a handler on the same directory and waits until it serves.
func (a *academy) startAnother(s store.Store, change ...func(*handler.Options)) http.Handler {
	a.t.Helper()
	hash := a.report(a.handler).Hash
	h := a.start(s, change...)
	a.waitFor(h, hash)
	return h.Public()
}

// publish writes the table as kubelet would and waits until it is served.
func (a *academy) publish() string {
	a.t.Helper()
	maps.Copy(a.secrets, secretsOf(a.table, a.keys))
	set, err := routing.Split(a.table)
	if err != nil {
		a.t.Fatal(err)
	}
	files, err := set.Files()
	if err != nil {
		a.t.Fatal(err)
	}
	a.mount(files)
	for _, h := range a.handlers {
		a.waitFor(h, set.Manifest.Hash)
	}
	return set.Manifest.Hash
}

// mount puts files where kubelet would, in one move.
func (a *academy) mount(files map[string][]byte) {
	a.t.Helper()
	version, err := os.MkdirTemp(a.dir, "..version-")
	if err != nil {
		a.t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(version, name), content, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	link := filepath.Join(a.dir, "..data_tmp")
	if err := os.Symlink(filepath.Base(version), link); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(link, filepath.Join(a.dir, "..data")); err != nil {
		a.t.Fatal(err)
	}
}

// republish changes the table and publishes it; undo publishes what it was before.
func (a *academy) republish(change func(*routing.Table)) (undo func()) {
	a.t.Helper()
	before, err := json.Marshal(a.table)
	if err != nil {
		a.t.Fatal(err)
	}
	change(a.table)
	a.publish()
	return func() {
		a.t.Helper()
		a.table = &routing.Table{}
		if err := json.Unmarshal(before, a.table); err != nil {
			a.t.Fatal(err)
		}
		a.publish()
	}
}

func (a *academy) waitFor(h *handler.Handler, hash string) {
	a.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); a.report(h).Hash != hash; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatal("the table is not served: ", a.log.String())
		}
	}
}

// control asks a handler's control port.
func (a *academy) control(h *handler.Handler, path string, into any) {
	a.t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Authorization", "Bearer "+a.keys.ControlToken)
	w := httptest.NewRecorder()
	h.Control().ServeHTTP(w, r)
	a.record(r, w)
	if w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			a.t.Fatal(err)
		}
	}
}

// report is what a handler says it serves; empty before its first table, when nobody may ask.
func (a *academy) report(h *handler.Handler) (report routing.Report) {
	a.t.Helper()
	a.control(h, routing.PathControlTable, &report)
	return report
}

func (a *academy) metrics() string {
	var all strings.Builder
	for _, h := range a.handlers {
		w := httptest.NewRecorder()
		h.Ops().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		all.Write(w.Body.Bytes())
	}
	return all.String()
}

func platformIn(t *routing.Table, name string) *routing.Platform {
	return &t.Platforms[slices.IndexFunc(t.Platforms, func(p routing.Platform) bool { return p.Name == name })]
}

func activityIn(t *routing.Table, name string) *routing.Activity {
	return &t.Activities[slices.IndexFunc(t.Activities, func(x routing.Activity) bool { return x.Name == name })]
}

func credentialIn(t *routing.Table, key string) *routing.Credential {
	i := slices.IndexFunc(t.Credentials, func(c routing.Credential) bool { return c.ConsumerKey == key })
	if i < 0 {
		return nil
	}
	return &t.Credentials[i]
}

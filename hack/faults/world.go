// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/hack/launches"
	"github.com/lti-operator/lti-operator/hack/table"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store/postgres/pgtest"
)

const (
	academyURL   = "https://lti.acme.example"
	clientID     = "academy-app"
	activityName = "height"
	// gradebooksEach is how many gradebooks have a grade of each learner: two courses of one system, one of another, and
	// one over LTI 1.2.
	gradebooksEach = 4
	consumerKey    = "form-key"
	// maximum is what points are out of. It divides nicely, so that fractions are exact.
	maximum = 1000
)

// world is everything that runs.
type world struct {
	dir      string
	database *pgtest.Server
	address  string
	handlers []*process
	books    []*gradebook
	receiver *receiver
	people   *identityProvider
	key      *rsa.PrivateKey
	secret   string
	shared   string
	client   *http.Client
}

// process is a launch handler that is started again whenever it was killed.
type process struct {
	path, address string
	args          []string
	// clock is the file that says how far the process's clock is ahead.
	clock string
	log   *os.File

	mu  sync.Mutex
	cmd *exec.Cmd
}

func newWorld(ctx context.Context, o *options) (_ *world, err error) {
	dir, err := os.MkdirTemp("", "faults-")
	if err != nil {
		return nil, err
	}
	w := &world{
		dir: dir, secret: rand.Text() + rand.Text(), shared: rand.Text(), client: &http.Client{Timeout: 15 * time.Second},
		books:    []*gradebook{newGradebook("moodle", true), newGradebook("canvas", false), newGradebook("form", false)},
		receiver: newReceiver(),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	w.people = newIdentityProvider(w)
	if err := w.writeTable(); err != nil {
		return nil, err
	}
	if w.database, err = pgtest.Run(); err != nil {
		return nil, err
	}
	if w.address, err = w.database.CreateDatabase(); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "uri")
	if err := os.WriteFile(file, []byte(w.address), 0o600); err != nil {
		return nil, err
	}
	for i := range 2 {
		address, err := freeAddress(ctx)
		if err != nil {
			return nil, err
		}
		log, err := os.Create(filepath.Join(dir, fmt.Sprintf("handler-%d.log", i)))
		if err != nil {
			return nil, err
		}
		p := &process{path: o.handler, address: address, log: log, args: []string{
			"--config-dir=" + filepath.Join(dir, "config"), "--store=postgres-file:" + file, "--public-address=" + address,
			"--ops-address=127.0.0.1:0", "--control-address=127.0.0.1:0",
		}, clock: filepath.Join(dir, fmt.Sprintf("clock-%d", i))}
		if err := p.setClock(0); err != nil {
			return nil, err
		}
		w.handlers = append(w.handlers, p)
		if err := p.start(); err != nil {
			return nil, err
		}
	}
	return w, w.waitForHandlers(ctx)
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Env = append(os.Environ(), "FAULT_CLOCK="+p.clock)
	return p.cmd.Start()
}

// setClock sets the process's clock, whether it runs or not, to so far ahead of the machine's.
func (p *process) setClock(ahead time.Duration) error {
	// In one move: the process reads it all the time.
	if err := os.WriteFile(p.clock+".next", []byte(ahead.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(p.clock+".next", p.clock)
}

// kill ends the process at once, and forgets it.
func (p *process) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	err := p.cmd.Process.Kill()
	_ = p.cmd.Wait() // killed is what it was
	p.cmd = nil
	return err
}

func (w *world) waitForHandlers(ctx context.Context) error {
	for _, p := range w.handlers {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			a, err := w.do(ctx, w.client, p, http.MethodGet, "/activities/"+activityName, "", nil, nil)
			if err == nil && a.status == http.StatusOK {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s does not answer: %d, %w", p.address, a.status, err)
			}
		}
	}
	return nil
}

func (w *world) close() error {
	var errs []error
	for _, p := range w.handlers {
		errs = append(errs, p.kill(), p.log.Close())
	}
	for _, b := range w.books {
		b.close()
	}
	w.receiver.close()
	if w.people != nil {
		w.people.server.Close()
	}
	if w.database != nil {
		errs = append(errs, w.database.Close())
	}
	if len(errs) == 0 || errors.Join(errs...) == nil {
		return os.RemoveAll(w.dir)
	}
	return errors.Join(errs...)
}

// writeTable writes the routing table as kubelet would.
func (w *world) writeTable() error {
	academyKeys, err := table.AcademyKeys(table.Client(clientID, w.secret))
	if err != nil {
		return err
	}
	public := keys.PublicJWK(&w.key.PublicKey)
	set := (&launches.Platform{Key: w.key}).JWKS()
	t := &routing.Table{
		Academy: routing.Academy{
			Name: "default", Title: "Acme Academy", URL: academyURL, Active: true, AllowPrivateCIDRs: []string{"127.0.0.0/8"},
			Users: routing.Users{AnyEmail: true},
		},
		Activities: []routing.Activity{{Name: activityName, Title: "Height", Type: "ELearning", Share: &routing.Share{
			TargetURL: "https://academy.acme.example/courses/42", Presentation: routing.PresentationEmbedded,
		}}},
		Credentials: []routing.Credential{{ConsumerKey: consumerKey, Secrets: []string{w.shared}, Activity: activityName, Realm: "forms"}},
		AcademyKeys: academyKeys,
	}
	for _, b := range w.books[:2] {
		t.Platforms = append(t.Platforms, routing.Platform{
			Name: b.name, Title: b.name, Active: true, Realm: b.name, AnyDeployment: true, Users: routing.Users{AnyEmail: true},
			PublicKeys: []routing.JWK{public},
			LTI13: &routing.PlatformLTI13{
				Issuer: "https://" + b.name + ".example", ClientID: "client", AuthenticationURL: "https://" + b.name + ".example/auth",
				AccessTokenURL: b.server.URL + "/token", JWKS: set,
			},
		})
		signs, err := table.SigningKey(routing.KindPlatform, b.name, w.key)
		if err != nil {
			return err
		}
		t.SigningKeys = append(t.SigningKeys, signs)
	}
	if err := w.writeExternal(t, set, public); err != nil {
		return err
	}
	return table.Write(filepath.Join(w.dir, "config"), t)
}

// answer is what a handler says.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request to a handler, as an ingress would.
func (w *world) do(ctx context.Context, client *http.Client, p *process, method, path, contentType string, body io.Reader, edit func(*http.Request)) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+p.address+path, body)
	if err != nil {
		return answer{}, err
	}
	r.Host = "lti.acme.example"
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if edit != nil {
		edit(r)
	}
	got, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	content, err := io.ReadAll(got.Body)
	return answer{status: got.StatusCode, header: got.Header, body: content}, errors.Join(err, got.Body.Close())
}

const form = "application/x-www-form-urlencoded"

// browser keeps cookies, and goes where it is told to only.
type browser struct {
	w      *world
	client *http.Client
	jar    http.CookieJar
}

func (w *world) newBrowser() (*browser, error) {
	jar, err := cookiejar.New(nil)
	return &browser{w: w, jar: jar, client: &http.Client{
		Timeout: 15 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, err
}

// send sends a request, with a form if there are values.
func (b *browser) send(ctx context.Context, p *process, method, path string, values url.Values) (answer, error) {
	contentType := ""
	if values != nil {
		contentType = form
	}
	// Cookies are secure ones.
	home := &url.URL{Scheme: "https", Host: "lti.acme.example", Path: "/"}
	a, err := b.w.do(ctx, b.client, p, method, path, contentType, strings.NewReader(values.Encode()), func(r *http.Request) {
		r.Header.Set("Sec-Fetch-Dest", "document")
		for _, c := range b.jar.Cookies(home) {
			r.AddCookie(c)
		}
	})
	b.jar.SetCookies(home, (&http.Response{Header: a.header}).Cookies())
	return a, err
}

// sign signs with the key that everybody has here.
func (w *world) sign(claims jwt.MapClaims) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = keys.PublicJWK(&w.key.PublicKey).KeyID
	return token.SignedString(w.key)
}

// launchAll launches every learner from every gradebook.
func (w *world) launchAll(ctx context.Context, n int) ([]*learner, error) {
	learners := make([]*learner, n)
	for i := range learners {
		l := &learner{user: fmt.Sprintf("user-%04d", i)}
		learners[i] = l
		for _, c := range []struct{ book, course int }{{0, 1}, {0, 2}, {1, 1}} {
			subject, err := w.launch13(ctx, w.handlers[i%2], w.books[c.book], l.user, fmt.Sprint("course", c.course))
			if err != nil {
				return nil, err
			}
			if l.subject != "" && l.subject != subject {
				return nil, errors.New("one learner has two accounts")
			}
			l.subject = subject
		}
		if err := w.launch12(ctx, w.handlers[(i+1)%2], l.user); err != nil {
			return nil, err
		}
	}
	return learners, nil
}

const claim = "https://purl.imsglobal.org/spec/lti/claim/"

func (w *world) launch13(ctx context.Context, p *process, b *gradebook, user, course string) (subject string, err error) {
	browser, err := w.newBrowser()
	if err != nil {
		return "", err
	}
	issuer := "https://" + b.name + ".example"
	request, err := browser.redirected(ctx, p, http.MethodPost, "/platforms/"+b.name+"/login", url.Values{
		"iss": {issuer}, "login_hint": {user}, "target_link_uri": {academyURL + "/activities/" + activityName}, "client_id": {"client"},
	})
	if err != nil {
		return "", err
	}
	now := time.Now()
	signed, err := w.sign(jwt.MapClaims{
		"iss": issuer, "aud": "client", "sub": user, "nonce": request.Get("nonce"), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"given_name": "Given", "family_name": "Family", "email": user + "@person.example",
		claim + "version": "1.3.0", claim + "message_type": "LtiResourceLinkRequest", claim + "deployment_id": "1",
		claim + "target_link_uri": academyURL + "/activities/" + activityName,
		claim + "roles":           []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		claim + "resource_link":   map[string]any{"id": "link of " + course},
		claim + "context":         map[string]any{"id": course},
		"https://purl.imsglobal.org/spec/lti-ags/claim/endpoint": map[string]any{
			"scope": []string{ags.ScopeScore}, "lineitem": b.server.URL + "/items/" + course,
		},
	})
	if err != nil {
		return "", err
	}
	launched, err := browser.redirected(ctx, p, http.MethodPost, "/platforms/"+b.name+"/launch",
		url.Values{"state": {request.Get("state")}, "id_token": {signed}})
	if err != nil {
		return "", err
	}
	return w.redeem(ctx, launched.Get("lti_launch_code"))
}

// redeem is the academy's back end, which asks the other handler.
func (w *world) redeem(ctx context.Context, code string) (subject string, err error) {
	a, err := w.do(ctx, w.client, w.handlers[1], http.MethodPost, routing.PathLaunchCodes, form, strings.NewReader(url.Values{"code": {code}}.Encode()),
		func(r *http.Request) { r.SetBasicAuth(clientID, w.secret) })
	if err != nil {
		return "", err
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if err := json.Unmarshal(a.body, &claims); err != nil || claims.Subject == "" {
		return "", fmt.Errorf("redeem: %d, %w", a.status, err)
	}
	return claims.Subject, nil
}

func (w *world) launch12(ctx context.Context, p *process, user string) error {
	path := "/activities/" + activityName + "/launch"
	var params lti.Params
	for name, value := range map[string]string{
		"lti_message_type": "basic-lti-launch-request", "lti_version": "LTI-1p0", "resource_link_id": "form link", "user_id": user, "roles": "Learner",
		"lis_person_name_given": "Given", "lis_person_name_family": "Family", "lis_person_contact_email_primary": user + "@person.example",
		"context_id": "form course", "lis_outcome_service_url": w.books[2].server.URL + "/outcomes", "lis_result_sourcedid": user,
	} {
		params = append(params, lti.Param{Name: name, Value: value})
	}
	signed, err := oauth1.SignForm(academyURL+path, params, oauth1.Credentials{ConsumerKey: consumerKey, SharedSecret: w.shared}, time.Now(), rand.Text())
	if err != nil {
		return err
	}
	values := url.Values{}
	for _, s := range signed {
		values.Add(s.Name, s.Value)
	}
	browser, err := w.newBrowser()
	if err != nil {
		return err
	}
	_, err = browser.redirected(ctx, p, http.MethodPost, path, values)
	return err
}

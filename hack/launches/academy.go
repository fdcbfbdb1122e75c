// SPDX-License-Identifier: Apache-2.0

// Package launches opens activities over HTTP as other systems and people's browsers do, in both roles of the academy and
// over both generations of LTI. It is for programs that try launch handlers: it knows nothing of how these run.
//
// What a handler answered and was not wanted is an [*Unexpected]; every other error of a launch is one of the connection.
package launches

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Timeout is what a client should give each request of a launch.
const Timeout = 15 * time.Second

// Academy is a launch handler, or what stands before several.
type Academy struct {
	// URL is the academy's public address, without a slash at the end.
	URL string
	// Base is where it is reached by plain http, such as http://127.0.0.1:8080.
	Base string
	// Client sends the requests. It must not follow redirects: NewClient makes one.
	Client *http.Client
}

// NewClient returns a client that does not follow redirects. A nil transport is the usual one.
func NewClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Timeout: Timeout, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Unexpected is an answer of the launch handler that was not wanted.
type Unexpected struct {
	// Step is what was asked.
	Step   string
	Status int
	// Reason is the code on the page, or empty.
	Reason string
}

// Error implements error.
func (u *Unexpected) Error() string {
	if u.Reason == "" {
		return fmt.Sprintf("%s: answered with %d", u.Step, u.Status)
	}
	return fmt.Sprintf("%s: answered with %d, %s", u.Step, u.Status, u.Reason)
}

var (
	reasonPattern = regexp.MustCompile(`data-reason="([^"]+)"`)
	errorPattern  = regexp.MustCompile(`"(?:reason|error)":"([^"]+)"`)
)

// answer is a whole answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// unexpected is the error of an answer that is not what a step wants.
func (x *answer) unexpected(step string) error {
	u := &Unexpected{Step: step, Status: x.status}
	for _, pattern := range []*regexp.Regexp{reasonPattern, errorPattern} {
		if m := pattern.FindSubmatch(x.body); m != nil && u.Reason == "" {
			u.Reason = string(m[1])
		}
	}
	return u
}

// location is where a redirect leads to.
func (x *answer) location(step string) (*url.URL, error) {
	if x.status != http.StatusSeeOther && x.status != http.StatusFound {
		return nil, x.unexpected(step)
	}
	return url.Parse(x.header.Get("Location"))
}

// visit is what one browser does in one launch.
type visit struct {
	academy *Academy
	cookies map[string]*http.Cookie
}

func (a *Academy) visit() *visit { return &visit{academy: a, cookies: map[string]*http.Cookie{}} }

// send asks the launch handler as an ingress would, in the window of a browser. The cookies are secure ones, so no jar
// would send them here.
func (v *visit) send(ctx context.Context, step, method, path string, form url.Values) (*answer, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := v.academy.request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Sec-Fetch-Dest", "document")
	for _, c := range v.cookies {
		r.AddCookie(c)
	}
	x, err := v.academy.do(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", step, err)
	}
	for _, c := range (&http.Response{Header: x.header}).Cookies() {
		if c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		} else {
			v.cookies[c.Name] = c
		}
	}
	return x, nil
}

func (a *Academy) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, a.Base+path, body)
	if err != nil {
		return nil, err
	}
	r.Host = strings.TrimPrefix(strings.TrimPrefix(a.URL, "https://"), "http://")
	return r, nil
}

func (a *Academy) do(r *http.Request) (*answer, error) {
	response, err := a.Client.Do(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	return &answer{response.StatusCode, response.Header, body}, nil
}

// Get fetches a path, as anybody can.
func (a *Academy) Get(ctx context.Context, path string) (status int, body []byte, err error) {
	r, err := a.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return 0, nil, err
	}
	x, err := a.do(r)
	if err != nil {
		return 0, nil, err
	}
	return x.status, x.body, nil
}

// Application is the back end of the academy.
type Application struct{ ClientID, Secret string }

// Claims are what the academy is told about a launch.
type Claims struct {
	Subject     string `json:"sub"`
	Name        string `json:"name"`
	Email       string `json:"email"`
	Activity    string `json:"activity"`
	Platform    string `json:"platform"`
	LTIVersion  string `json:"lti_version"`
	LaunchID    string `json:"launch_id"`
	LTIUserID   string `json:"lti_user_id"`
	ActivityURL string `json:"-"`
}

// Redeem exchanges the code that a launched browser has brought, for what the academy wants to know.
func (p *Application) Redeem(ctx context.Context, a *Academy, arrived *url.URL) (*Claims, error) {
	const step = "redeem"
	x, err := p.post(ctx, a, routing.PathLaunchCodes, "application/x-www-form-urlencoded",
		url.Values{"code": {arrived.Query().Get("lti_launch_code")}}.Encode(), "")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", step, err)
	}
	if x.status != http.StatusOK {
		return nil, x.unexpected(step)
	}
	claims := &Claims{}
	if err := json.Unmarshal(x.body, claims); err != nil || claims.Subject == "" {
		return nil, &Unexpected{Step: step, Status: x.status, Reason: "claims without a subject"}
	}
	claims.ActivityURL, _, _ = strings.Cut(arrived.String(), "?")
	return claims, nil
}

// Report tells how somebody does in an activity; body is the JSON of a report of progress, key makes it idempotent.
func (p *Application) Report(ctx context.Context, a *Academy, body, key string) error {
	const step = "report progress"
	x, err := p.post(ctx, a, routing.PathProgress, "application/json", body, key)
	if err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	if x.status != http.StatusOK {
		return x.unexpected(step)
	}
	return nil
}

func (p *Application) post(ctx context.Context, a *Academy, path, contentType, body, key string) (*answer, error) {
	r, err := a.request(ctx, http.MethodPost, path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", contentType)
	r.SetBasicAuth(p.ClientID, p.Secret)
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	return a.do(r)
}

// Credentials are those of LTI 1.2.
type Credentials = oauth1.Credentials

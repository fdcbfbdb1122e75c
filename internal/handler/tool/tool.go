// SPDX-License-Identifier: Apache-2.0

// Package tool is the HTTP surface of the academy as an LTI tool: other systems launch its activities, over LTI 1.3
// and LTI 1.2, and the launched person is signed in to the academy.
package tool

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lti-operator/lti-operator/internal/grades"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/pages"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Lifetimes of what is handed to a browser.
const (
	// codeLifetime is for a code in a URL.
	codeLifetime = 60 * time.Second
	// ticketLifetime is for the token in the page that opens a new window: a person needs time to press the button, and
	// it is in the body of a form, never in a URL.
	ticketLifetime = 10 * time.Minute
)

// Names of parameters and fields.
const (
	// ParamLaunchCode carries the one-time code to the activity's targetURL.
	ParamLaunchCode = "lti_launch_code"
	fieldTicket     = "ticket"
)

// loginCookiePrefix starts the name of the cookie that binds a login to its browser. __Host- (RFC 6265bis section
// 4.1.3.2) keeps other hosts from setting it. Each login has a cookie of its own, so that launches in parallel tabs do
// not disturb each other.
const loginCookiePrefix = "__Host-lti-login-"

// maxLoginCookies is the number of unfinished logins that a browser keeps; more would make its requests too large.
const maxLoginCookies = 24

// Tool serves launches. Its fields are set once, before the first request.
type Tool struct {
	Store  store.Store
	Book   *grades.Book
	Web    *web.Responder
	Now    func() time.Time
	Random io.Reader
	// Enrol is told that somebody is to be enrolled; nil for nobody.
	Enrol func()

	snapshot atomic.Pointer[Snapshot]
	noted    noted
}

// Use makes a prepared table the one that the following requests are served from.
func (t *Tool) Use(s *Snapshot) { t.snapshot.Store(s) }

// Snapshot is the table in use; nil before the first.
func (t *Tool) Snapshot() *Snapshot { return t.snapshot.Load() }

// Register adds the addresses of the tool role.
func (t *Tool) Register(mux web.Router) {
	mux.HandleFunc("GET /platforms/{platform}/login", t.login)
	mux.HandleFunc("POST /platforms/{platform}/login", t.login)
	mux.HandleFunc("POST /platforms/{platform}/launch", t.launch13)
	mux.HandleFunc("GET /platforms/{platform}/launch", t.info)
	mux.HandleFunc("POST "+routing.PlatformPickURL("", "{platform}"), t.pick)
	mux.HandleFunc("GET /platforms/{name}/jwks.json", t.PublicKeys(platformKeys))
	mux.HandleFunc("POST /activities/{activity}/launch", t.launch12)
	mux.HandleFunc("GET /activities/{activity}/launch", t.info)
	mux.HandleFunc("GET /activities/{activity}", t.info)
	mux.HandleFunc("POST "+routing.PathOpen, t.open)
	mux.HandleFunc("POST "+routing.PathLaunchCodes, t.redeem)
	mux.HandleFunc("POST "+routing.PathProgress, t.reportProgress)
	mux.HandleFunc("GET "+routing.PathProgress, t.showProgress)
	mux.HandleFunc("GET "+routing.PathOpenAPI, t.describe)
	t.registerOIDC(mux)
	mux.HandleFunc("POST "+routing.PathConnect, t.connect)
	mux.HandleFunc("PUT "+routing.PathAccounts+"{subject}", t.setAccount)
}

// visit is one request of a launch, with what is known about it so far.
type visit struct {
	*Snapshot
	about web.About
	// base is the public address that the request is for.
	base     string
	platform *routing.Platform
	// loginCookie is the name of the cookie that an accepted launch makes useless; empty for none. A refused one keeps
	// it: what was refused may be posted again once its cause is mended.
	loginCookie string
}

// serve runs one request of a launch: it provides the table, turns an error into a refusal, and observes the time.
func (t *Tool) serve(rw http.ResponseWriter, r *http.Request, version string, handle func(*visit) error) {
	v := &visit{about: web.About{Version: version, Role: "tool"}, Snapshot: t.snapshot.Load()}
	t.Web.Answer(rw, r, &v.about, t.Now, func() error {
		if v.Snapshot == nil {
			return lti.Refuse(lti.NotReady, "no routing table yet")
		}
		v.base = v.Base(r.Host)
		v.about.FrameAncestors = strings.Join(v.Academy.FrameAncestors, " ")
		if !v.Academy.Active {
			return lti.Refuse(lti.AcademyDeactivated, "")
		}
		return handle(v)
	})
}

// from makes the platform of that name the one that the request is from.
func (v *visit) from(name string) error {
	v.platform = v.Platform(name)
	if v.platform == nil {
		return lti.Refuse(lti.PlatformUnknown, "no platform of that name")
	}
	v.about.Platform, v.about.PlatformTitle = name, v.platform.Title
	if len(v.platform.FrameAncestors) > 0 {
		v.about.FrameAncestors = strings.Join(v.platform.FrameAncestors, " ")
	}
	return nil
}

// findPlatform resolves the platform in the path and checks that it may launch over LTI 1.3.
func (v *visit) findPlatform(name string) (*registration, error) {
	if err := v.from(name); err != nil {
		return nil, err
	}
	if !v.platform.Active {
		return nil, lti.Refuse(lti.PlatformDeactivated, "")
	}
	prepared := v.registrations[name]
	if prepared == nil {
		return nil, lti.Refuse(lti.NotRegistered, "the platform's values are not filled in yet")
	}
	// The cookie of a login comes back to the host that it was made for only.
	registration := *prepared
	registration.RedirectURI = routing.PlatformLaunchURL(v.base, name)
	return &registration, nil
}

// login answers an OIDC third-party initiated login (1EdTech Security Framework 1.0, section 5.1.1): it sends the
// browser to the platform's authentication URL, bound to this browser by a cookie, in a frame also by the platform's storage.
func (t *Tool) login(rw http.ResponseWriter, r *http.Request) {
	t.serve(rw, r, launch.Version13, func(v *visit) error {
		registration, err := v.findPlatform(r.PathValue("platform"))
		if err != nil {
			return err
		}
		params, err := loginParams(rw, r)
		if err != nil {
			return err
		}
		request, err := launch.ParseLogin(params)
		if err != nil {
			return err
		}
		err = request.Check(&registration.Registration, func(targetLink string) bool {
			_, _, ok := v.targetOf(targetLink, v.platform)
			return ok
		})
		if err != nil {
			return err
		}
		var storage *pages.PlatformStorage
		if framed(r) {
			if storage = storageOf(registration, request); storage == nil && !keepsCookies(r) {
				return v.tryCookies(rw, r, request)
			}
		}
		ids, err := t.tokens(3)
		if err != nil {
			return err
		}
		nonce, secret, stored := ids[0], ids[1], ids[2]
		login := launch.NewState(&registration.Registration, request, nonce, secret, t.Now())
		if storage != nil {
			login.LeaveAt(storage.Target, stored)
			storage.Key = login.StorageKey()
		}
		state, err := v.states.Seal(login)
		if err != nil {
			return err
		}
		location, err := launch.AuthRequestURL(&registration.Registration, request, state, nonce)
		if err != nil {
			return err
		}
		if cookies := loginCookies(r); len(cookies) >= maxLoginCookies {
			for _, c := range cookies {
				http.SetCookie(rw, loginCookie(c.Name, "", -1))
			}
		}
		http.SetCookie(rw, loginCookie(loginCookieName(nonce), secret, int(launch.StateLifetime/time.Second)))
		if storage != nil {
			setFramedCookie(rw)
			return v.leaveAtPlatform(rw, r, request, *storage, stored, location)
		}
		web.Redirect(rw, location)
		return nil
	})
}

func loginParams(rw http.ResponseWriter, r *http.Request) (lti.Params, error) {
	if r.Method == http.MethodPost {
		return web.ReadForm(rw, r)
	}
	return lti.ParseForm(r.URL.RawQuery)
}

// loginCookieName names the cookie of one login. The nonce is public; its first characters only tell logins apart.
func loginCookieName(nonce string) string { return loginCookiePrefix + nonce[:min(10, len(nonce))] }

// loginCookie comes back when the platform posts the ID token, from another site and perhaps in a frame: SameSite=None,
// and Partitioned where third-party cookies are blocked (CHIPS).
func loginCookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // SameSite=None is the purpose: the answer comes from another site
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode, Partitioned: true,
	}
}

func loginCookies(r *http.Request) []*http.Cookie {
	var found []*http.Cookie
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, loginCookiePrefix) {
			found = append(found, c)
		}
	}
	return found
}

// launch13 verifies the ID token that a platform posts to the redirect URI.
func (t *Tool) launch13(rw http.ResponseWriter, r *http.Request) {
	t.serve(rw, r, launch.Version13, func(v *visit) error {
		registration, err := v.findPlatform(r.PathValue("platform"))
		if err != nil {
			return err
		}
		params, err := web.ReadForm(rw, r)
		if err != nil {
			return err
		}
		verifier := launch.Verifier{Now: t.Now, States: v.states, DeepLinking: true}
		state, err := verifier.OpenState(&registration.Registration, params)
		if err != nil {
			return err
		}
		ours, err := v.fromBrowser(r, params, &state)
		if err != nil {
			return err
		}
		message, err := verifier.VerifyAnswer(r.Context(), &registration.Registration, registration.keys, params, state)
		if err != nil {
			if !ours && waitsForStorage(err) {
				return v.askPlatform(rw, r, registration, params, &state)
			}
			t.noteDeployment(r.Context(), v.platform.Name, err)
			return err
		}
		v.about.Locale = message.Presentation.Locale
		v.loginCookie = loginCookieName(message.Nonce.Value)
		if message.DeepLinking != nil {
			if !ours {
				return v.askPlatform(rw, r, registration, params, &state)
			}
			return t.offer(rw, r, v, message)
		}
		activity, err := v.activityOf(message)
		if err != nil {
			return err
		}
		if !ours {
			if err := v.mayOpen(activity, v.platform); err != nil {
				return err
			}
			return v.askPlatform(rw, r, registration, params, &state)
		}
		return t.accept(rw, r, v, activity, message, v.source13(message))
	})
}

// launch12 verifies the OAuth-signed form that a platform posts to an activity's launch URL.
func (t *Tool) launch12(rw http.ResponseWriter, r *http.Request) {
	t.serve(rw, r, launch.Version12, func(v *visit) error {
		activity := v.Activity(r.PathValue("activity"))
		if activity == nil {
			return lti.Refuse(lti.ActivityUnknown, "no activity of that name")
		}
		v.about.Activity, v.about.ActivityTitle = activity.Name, activity.Title
		if err := v.mayOpen(activity, nil); err != nil {
			// Before its key, which may have gone with the sharing: an unknown key would be the wrong thing to look for.
			return err
		}
		body, err := web.ReadForm(rw, r)
		if err != nil {
			return err
		}
		request := oauth1.Request{
			Method:   r.Method,
			URL:      routing.ActivityLaunchURL(v.base, activity.Name),
			RawQuery: r.URL.RawQuery,
			Body:     body,
		}
		if key := v.Credential(body.Get("oauth_consumer_key")); key != nil {
			request.Methods = key.SignatureMethods
		}
		verifier := launch.Verifier{Now: t.Now}
		message, err := verifier.Verify12(r.Context(), request, func(_ context.Context, consumerKey string) ([]string, error) {
			if c := v.Credential(consumerKey); c != nil {
				return c.Secrets, nil
			}
			return nil, nil
		})
		if err != nil {
			return err
		}
		v.about.Locale = message.Presentation.Locale
		key := v.Credential(message.ConsumerKey)
		if key.Activity != "" && key.Activity != activity.Name {
			return lti.Refuse(lti.KeyNotForActivity, "the consumer key is that of another activity")
		}
		if key.Platform != "" {
			if err := v.from(key.Platform); err != nil {
				return err
			}
		}
		return t.accept(rw, r, v, activity, message, v.source12(message, key))
	})
}

// accept records a verified launch, which spends its nonce, and sends the person on.
func (t *Tool) accept(rw http.ResponseWriter, r *http.Request, v *visit, activity *routing.Activity, m *launch.Message, from source) error {
	v.about.Activity, v.about.ActivityTitle = activity.Name, activity.Title
	if err := v.mayOpen(activity, v.platform); err != nil {
		return err
	}
	record, err := newLaunch(m, &from, activity, v.platform)
	if err != nil {
		return err
	}
	if from.doubt != "" {
		t.Web.Log.InfoContext(r.Context(), "the migration claim of a launch proves nothing", "detail", from.doubt,
			"platform", v.about.Platform, "activity", v.about.Activity)
	}
	p := &pendingLaunch{Record: record, Cell: cellOf(m, v.platform)}
	err = t.admit(rw, r, v, activity, p)
	if lti.CodeOf(err) == lti.EmailInUse {
		err = t.offerToConnect(r.Context(), v, p, err)
	}
	return err
}

// admit records a launch and sends the person on. A launch that is refused can be admitted later.
func (t *Tool) admit(rw http.ResponseWriter, r *http.Request, v *visit, activity *routing.Activity, p *pendingLaunch) error {
	top, _ := web.TopLevel(r)
	straight := top || activity.Share.Presentation == routing.PresentationEmbedded
	ids, err := t.tokens(3)
	if err != nil {
		return err
	}
	launchID, subject, token := ids[0], ids[1], ids[2]
	now := t.Now()
	ticket := store.NewTicket{Kind: store.TicketOpen, Hash: store.HashToken(token), ExpiresAt: now.Add(ticketLifetime)}
	var into *arrival
	if straight {
		if into, err = t.arrive(v, activity, top); err != nil {
			return err
		}
		ticket = into.ticket
	}
	record := p.Record
	record.ID, record.CandidateSubject, record.Ticket = launchID, subject, ticket
	if p.Cell != nil {
		record.Grade = t.Book.Join(p.Cell.Key, p.Cell.To, policyOf(activity))
	}
	if v.accounts != nil {
		record.EnrolIn = activity.Share.EnrolmentGroup
		if err := t.inDirectory(r.Context(), v, &record); err != nil {
			return err
		}
	}
	if err := p.isOf(&record); err != nil {
		return err
	}
	if _, err := t.Store.AcceptLaunch(r.Context(), record); err != nil {
		if errors.Is(err, store.ErrUnknownUser) {
			v.about.Missing = missingUserData(&record.Profile)
		}
		return storeRefusal(err)
	}
	t.Web.Metrics.Launch(&v.about, "")
	if record.EnrolIn != "" && t.Enrol != nil {
		t.Enrol()
	}
	if v.loginCookie != "" {
		http.SetCookie(rw, loginCookie(v.loginCookie, "", -1))
	}
	if straight {
		into.goOn(rw)
		return nil
	}
	page := pages.OpenInNewWindow{
		Title:           activity.Title,
		Description:     activity.Description,
		DurationMinutes: int(activity.DurationMinutes),
		Action:          routing.PathOpen,
		TokenField:      fieldTicket,
		Token:           token,
	}
	return page.Write(rw, web.View(r, &v.about))
}

// tokens returns n random identifiers of 192 bits.
func (t *Tool) tokens(n int) ([]string, error) {
	out := make([]string, n)
	for i := range out {
		token, err := launch.NewNonce(t.Random)
		if err != nil {
			return nil, err
		}
		out[i] = token
	}
	return out, nil
}

// stored is what a launch record keeps beside its columns.
type stored struct {
	Locale       string `json:"locale,omitempty"`
	ContextLabel string `json:"contextLabel,omitempty"`
}

func newLaunch(m *launch.Message, from *source, activity *routing.Activity, platform *routing.Platform) (store.NewLaunch, error) {
	claims, err := json.Marshal(stored{Locale: m.Presentation.Locale, ContextLabel: contextOf(m).Label})
	if err != nil {
		return store.NewLaunch{}, err
	}
	role, sent := from.rolesOf(m)
	profile := store.Profile{GivenName: m.Person.GivenName, FamilyName: m.Person.FamilyName, Email: m.Person.Email}
	record := store.NewLaunch{
		Nonce:           web.NonceOf(m.Nonce),
		MayCreateUser:   len(missingUserData(&profile)) == 0,
		EmailVouched:    from.users.Vouches(m.Person.Email),
		PreviousIssuers: from.previousIssuers,
		Former:          from.former,
		Profile:         profile,
		LaunchInfo: store.LaunchInfo{
			Activity:          activity.Name,
			Version:           m.Version,
			Realm:             from.realm,
			LTIUserID:         m.Subject,
			Role:              role,
			Roles:             sent,
			ContextID:         contextOf(m).ID,
			ContextTitle:      contextOf(m).Title,
			ResourceLinkID:    m.ResourceLink.ID,
			ResourceLinkTitle: m.ResourceLink.Title,
			DeploymentID:      m.DeploymentID,
			Issuer:            m.Issuer,
			ClientID:          m.ClientID,
			ConsumerKey:       m.ConsumerKey,
			Claims:            claims,
		},
	}
	if platform != nil {
		record.Platform = platform.Name
	}
	return record, nil
}

func contextOf(m *launch.Message) launch.Context {
	if m.Context == nil {
		return launch.Context{}
	}
	return *m.Context
}

// storeRefusal translates what the store says.
func storeRefusal(err error) error {
	switch {
	case errors.Is(err, store.ErrReplayed):
		return lti.Refuse(lti.Replayed, "").Because(err)
	case errors.Is(err, store.ErrUnknownUser):
		return lti.Refuse(lti.MissingUserData, "").Because(err)
	case errors.Is(err, store.ErrEmailInUse):
		return lti.Refuse(lti.EmailInUse, "").Because(err)
	case errors.Is(err, store.ErrSuspended):
		return lti.Refuse(lti.AccountSuspended, "").Because(err)
	case errors.Is(err, store.ErrIssuerChanged):
		return lti.Refuse(lti.IssuerChanged, "").Because(err)
	case errors.Is(err, store.ErrTicketUsed):
		return lti.Refuse(lti.LaunchAlreadyUsed, "").Because(err)
	case errors.Is(err, store.ErrTicketExpired), errors.Is(err, store.ErrTicketUnknown):
		return lti.Refuse(lti.LaunchExpired, "").Because(err)
	case errors.Is(err, store.ErrInvalid):
		return lti.Refuse(lti.ParameterInvalid, "a value of the launch cannot be stored").Because(err)
	}
	return web.Unavailable(err)
}

// withCode adds the one-time code to the address of an activity.
func withCode(target, code string) string {
	return withQuery(target, url.Values{ParamLaunchCode: {code}})
}

// withQuery adds parameters to an address, whatever query that has already.
func withQuery(target string, values url.Values) string {
	base, fragment, hasFragment := strings.Cut(target, "#")
	separator := "?"
	if strings.Contains(base, "?") {
		separator = "&"
	}
	out := base + separator + values.Encode()
	if hasFragment {
		out += "#" + fragment
	}
	return out
}

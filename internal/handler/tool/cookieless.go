// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"net/http"

	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/service"
	"github.com/lti-operator/lti-operator/internal/pages"
)

// In a frame of another site many browsers keep no cookies. A login from there is bound to its browser by the first of
// these that works: a secret in the platform's storage, if the login offers one (lti_storage_target), a partitioned cookie,
// or the cookie of a new window. What works is found out before the browser is sent to the platform, whose login_hint may
// work once.
const (
	// framedCookie comes back where cookies are kept in this frame.
	framedCookie = "__Host-lti-framed"
	// paramLogin says that the login comes again: to see whether that cookie does, or in a window of its own.
	paramLogin    = "lti_login"
	loginAgain    = "again"
	loginInWindow = "window"
	// fieldStored carries what the platform's storage answered.
	fieldStored = "stored_secret"
	// maxStorageTarget bounds the name of a frame, which the state keeps.
	maxStorageTarget = 255
)

// framed tells whether a login may be in a frame: some browsers do not say where they are.
func framed(r *http.Request) bool {
	top, _ := web.TopLevel(r)
	return !top && r.URL.Query().Get(paramLogin) != loginInWindow
}

// keepsCookies tells whether this browser has sent back what was set in this frame.
func keepsCookies(r *http.Request) bool {
	_, err := r.Cookie(framedCookie)
	return err == nil
}

func setFramedCookie(rw http.ResponseWriter) { http.SetCookie(rw, loginCookie(framedCookie, "1", 0)) }

// tryCookies lets the browser make the same request once more, with a cookie; one that comes without it then has to go on
// in a new window.
func (v *visit) tryCookies(rw http.ResponseWriter, r *http.Request, login *launch.LoginRequest) error {
	if r.URL.Query().Get(paramLogin) != loginAgain {
		setFramedCookie(rw)
		web.Repeat(rw, service.AddQuery(v.base+r.URL.Path+"?"+r.URL.RawQuery, paramLogin, loginAgain))
		return nil
	}
	name, _, _ := v.targetOf(login.TargetLinkURI, v.platform)
	page := pages.LoginInNewWindow{Action: r.URL.Path + "?" + paramLogin + "=" + loginInWindow, Fields: web.FieldsOf(login.Params())}
	if activity := v.Activity(name); activity != nil && activity.Share != nil {
		page.Title = activity.Title
	}
	return page.Write(rw, web.View(r, &v.about))
}

// storageOf is the storage that a login from a frame offers; nil for none. The platform's origin is that of the
// authentication URL of its registration, whoever sent the login.
func storageOf(registration *registration, login *launch.LoginRequest) *pages.PlatformStorage {
	if login.StorageTarget == "" || len(login.StorageTarget) > maxStorageTarget {
		return nil
	}
	origin, err := pages.OriginOf(registration.AuthenticationURL)
	if err != nil {
		return nil
	}
	return &pages.PlatformStorage{Origin: origin, Target: login.StorageTarget}
}

// leaveAtPlatform answers a login with the page that leaves a secret at the platform before it goes to next. Where that
// fails, the login comes again without storage.
func (v *visit) leaveAtPlatform(rw http.ResponseWriter, r *http.Request, login *launch.LoginRequest, at pages.PlatformStorage, secret, next string) error {
	page := pages.LeaveAtPlatform{PlatformStorage: at, Value: secret, Next: next, Otherwise: pages.AutoSubmit{
		Action: r.URL.Path + "?" + paramLogin + "=" + loginAgain, Fields: web.FieldsOf(login.Params()),
	}}
	return page.Write(rw, web.View(r, &v.about))
}

// fromBrowser tells whether the answer of a platform comes from the browser of its login: by a cookie, or by a secret from
// the platform's storage in a form that our own page posted. Whoever began a login knows its secret, so that from another
// page it proves nothing. It is false while the storage has not been asked, and refuses what cannot become true.
func (v *visit) fromBrowser(r *http.Request, params lti.Params, state *launch.State) (bool, error) {
	var secrets []string
	for _, c := range loginCookies(r) {
		secrets = append(secrets, c.Value)
	}
	refusal := state.CheckBrowser(secrets...)
	if refusal == nil {
		return true, nil
	}
	secret, asked, err := params.Only(fieldStored)
	switch {
	case err != nil:
		return false, err
	case state.Storage == "":
		return false, refusal
	case !asked:
		return false, nil
	case !web.SameOrigin(r, v.base):
		return false, lti.Refuse(lti.StateNotFromThisBrowser, "the form with the platform's answer is not from our page")
	case !state.FromStorage(secret):
		return false, lti.Refuse(lti.StateNotFromThisBrowser, "the platform's storage does not have the secret of the state")
	}
	return true, nil
}

// waitsForStorage tells of refusals that are for the browser of the login only: what the platform said instead of signing in,
// and a deployment that is going to be noted.
func waitsForStorage(err error) bool {
	code := lti.CodeOf(err)
	return code == lti.PlatformReturnedError || code == lti.DeploymentUnknown
}

// askPlatform answers a launch with the page that asks the platform's storage and posts the launch again.
func (v *visit) askPlatform(rw http.ResponseWriter, r *http.Request, registration *registration, params lti.Params, state *launch.State) error {
	at := storageOf(registration, &launch.LoginRequest{StorageTarget: state.StorageTarget})
	if at == nil {
		return state.CheckBrowser()
	}
	at.Key = state.StorageKey()
	page := pages.AskPlatform{PlatformStorage: *at, Field: fieldStored, Form: pages.AutoSubmit{Action: r.URL.Path}}
	for _, p := range params {
		if p.Name == "state" || p.Name == "id_token" || p.Name == "error" {
			page.Form.Fields = append(page.Form.Fields, pages.Field(p))
		}
	}
	return page.Write(rw, web.View(r, &v.about))
}

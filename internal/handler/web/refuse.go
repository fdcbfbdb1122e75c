// SPDX-License-Identifier: Apache-2.0

// Package web is what the HTTP surfaces of all roles share: how a refusal reaches the person, the log and the metrics,
// and how requests are read.
package web

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/pages"
)

// MaxFormBytes bounds the body of a launch. The largest part of one is an ID token.
const MaxFormBytes = 256 << 10

// About says what a request is about, as far as it is known yet. It is filled in on the way and used for the page, the
// log and the metrics.
type About struct {
	// Version is the LTI version, "1.2" or "1.3"; Role is "tool" or "platform".
	Version, Role string
	// Platform, Tool and Activity are object names; the titles are for people.
	Platform, PlatformTitle string
	Tool, ToolTitle         string
	Activity, ActivityTitle string
	// FrameAncestors is the CSP source list of who may frame the answer; empty for the page's default.
	FrameAncestors string
	// Locale is what the other party says about the person's language.
	Locale string
	// Missing are names of user data that were not sent.
	Missing []string
	// ChooseAgain is where an author of the academy can begin anew; empty for launches.
	ChooseAgain string
	// Connect is a way out of the refusal; nil for none.
	Connect *pages.Connect
	// Back leads back to the other system; nil for no way. Unlinked is for a link that leads to no activity yet.
	Back     *pages.AutoSubmit
	Unlinked pages.Unlinked
}

// Responder answers requests.
type Responder struct {
	Log     *slog.Logger
	Metrics *Metrics
	// Random is the source of reference numbers.
	Random io.Reader

	overload overload
}

// View is how pages appear to this person.
func View(r *http.Request, about *About) pages.View {
	return pages.View{
		Lang:           pages.ChooseLanguage(r.Header.Get("Accept-Language"), about.Locale),
		FrameAncestors: about.FrameAncestors,
	}
}

// Refuse answers a launch with a page that says why it is refused and what to do, writes one log line and counts it.
// The reference number on the page is in the log line.
func (w *Responder) Refuse(rw http.ResponseWriter, r *http.Request, about *About, err error) {
	if lti.CodeOf(err) == lti.Overloaded {
		w.RefuseOverloaded(rw, r, about)
		return
	}
	refusal := w.record(r, about, err)
	code, reference := refusal.Code, refusal.reference
	page := pages.Error{
		Code:        string(code),
		Status:      code.Reason().Status,
		Reference:   reference,
		Activity:    about.ActivityTitle,
		Integration: about.PlatformTitle,
		Tool:        about.ToolTitle,
		Missing:     about.Missing,
		ChooseAgain: about.ChooseAgain,
		Connect:     about.Connect,
		Back:        about.Back,
		Unlinked:    about.Unlinked,
	}
	if refusal.Detail != "" {
		page.Details = []string{refusal.Detail}
	}
	RetryLater(rw, code.Reason().Status)
	if err := page.Write(rw, View(r, about)); err != nil {
		w.Log.WarnContext(r.Context(), "could not write the error page", "reference", reference, "error", err.Error())
	}
}

// Answer runs one request of a launch: it turns an error into a refusal, and observes the time.
func (w *Responder) Answer(rw http.ResponseWriter, r *http.Request, about *About, now func() time.Time, handle func() error) {
	started := now()
	defer func() { w.Metrics.Duration(about, now().Sub(started)) }()
	if err := handle(); err != nil {
		w.Refuse(rw, r, about, err)
	}
}

// RetryLater says when to come again to somebody who is answered that something is not available (RFC 9110 section 10.2.3).
func RetryLater(rw http.ResponseWriter, status int) {
	if status == http.StatusServiceUnavailable {
		rw.Header().Set("Retry-After", "5")
	}
}

// Note logs and counts a refusal that somebody else tells the person about.
func (w *Responder) Note(r *http.Request, about *About, err error) {
	if lti.CodeOf(err) == lti.Overloaded {
		w.NoteOverloaded(nil, about)
		return
	}
	_ = w.record(r, about, err)
}

// recorded is a refusal with its reference number.
type recorded struct {
	*lti.Refusal
	reference string
}

// record logs and counts a refusal. Errors that are not refusals become InternalError: their text stays in the log.
func (w *Responder) record(r *http.Request, about *About, err error) recorded {
	var refusal *lti.Refusal
	if !errors.As(err, &refusal) {
		refusal = lti.Refuse(lti.InternalError, "").Because(err)
	}
	reference := w.reference()
	level := slog.LevelInfo
	if refusal.Code.Reason().Status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("reason", string(refusal.Code)),
		slog.String("detail", refusal.Detail),
		slog.String("reference", reference),
		slog.String("version", about.Version),
		slog.String("platform", about.Platform),
		slog.String("tool", about.Tool),
		slog.String("activity", about.Activity),
		slog.String("path", r.URL.Path),
	}
	if len(about.Missing) > 0 {
		attrs = append(attrs, slog.String("missing", strings.Join(about.Missing, ",")))
	}
	switch refusal.Code {
	case lti.InternalError, lti.StoreUnavailable, lti.KeysUnreachable, lti.RegistrationUnreachable, lti.RegistrationAddressForbidden,
		lti.RegistrationNotKept, lti.IdentityProviderUnavailable, lti.IdentityProviderInvalid, lti.SignInRefused:
		// Only these causes are ours to print: others may quote what the other party sent.
		if cause := refusal.Unwrap(); cause != nil {
			attrs = append(attrs, slog.String("cause", cause.Error()))
		}
	}
	w.Log.LogAttrs(r.Context(), level, "refused", attrs...)
	w.Metrics.Launch(about, refusal.Code)
	return recorded{refusal, reference}
}

// referenceAlphabet leaves out what is misread aloud: I, L, O, U (Crockford's base 32).
const referenceAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// reference makes the number that a person reads out: eight characters in two groups, 40 bits.
func (w *Responder) reference() string {
	var b [8]byte
	if _, err := io.ReadFull(w.Random, b[:]); err != nil {
		return "0000-0000"
	}
	out := make([]byte, 0, len(b)+1)
	for i, x := range b {
		if i == 4 {
			out = append(out, '-')
		}
		out = append(out, referenceAlphabet[int(x)%len(referenceAlphabet)])
	}
	return string(out)
}

// IsForm tells whether the body says that it is form-encoded.
func IsForm(r *http.Request) bool {
	contentType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(contentType), "application/x-www-form-urlencoded")
}

// ReadForm reads a form-encoded body with its order and repetitions.
func ReadForm(rw http.ResponseWriter, r *http.Request) (lti.Params, error) {
	if !IsForm(r) {
		return nil, lti.Refuse(lti.RequestMalformed, "Content-Type must be application/x-www-form-urlencoded")
	}
	var body bytes.Buffer
	if 0 < r.ContentLength && r.ContentLength <= MaxFormBytes {
		body.Grow(int(r.ContentLength) + bytes.MinRead) // or it grows several times
	}
	_, err := body.ReadFrom(http.MaxBytesReader(rw, r.Body, MaxFormBytes))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, lti.Refuse(lti.RequestTooLarge, "at most %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, lti.Refuse(lti.RequestMalformed, "the body ended early").Because(err)
	}
	return lti.ParseForm(body.String())
}

// TopLevel tells whether the answer will replace the page of a window, and known whether the browser says so
// (Fetch Metadata, Sec-Fetch-Dest).
func TopLevel(r *http.Request) (top, known bool) {
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "document":
		return true, true
	case "":
		return false, false
	}
	return false, true
}

// SameOrigin tells whether a page of ours at the public address base sent the request (Fetch Metadata, Sec-Fetch-Site; where
// a browser does not say that, Origin). Pages cannot set either header.
func SameOrigin(r *http.Request, base string) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	return r.Header.Get("Origin") == base
}

// Redirect sends the browser on with GET. The address may carry a one-time code: it is not cached, and not told to
// the next site.
func Redirect(rw http.ResponseWriter, location string) { redirect(rw, location, http.StatusSeeOther) }

// Repeat lets the browser send the same request, with its body, to another address of ours.
func Repeat(rw http.ResponseWriter, location string) {
	redirect(rw, location, http.StatusTemporaryRedirect)
}

func redirect(rw http.ResponseWriter, location string, status int) {
	h := rw.Header()
	h.Set("Location", location)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	rw.WriteHeader(status)
}

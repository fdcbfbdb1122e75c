// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"net/http"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/handler/learners"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/identity/learner"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/lti/service"
	"github.com/lti-operator/lti-operator/internal/pages"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// hintCookiePrefix starts the name of the cookie that binds a launch to its browser. Each launch has one of its own, so that
// launches in parallel tabs do not disturb each other.
const hintCookiePrefix = "__Host-lti-start-"

// hintName is how much of a sealed text names its cookie: what comes first in it is random.
const hintName = 11

// start is the link that the academy shows to its learners. Who the learner is, is asked of the academy's identity provider
// every time: a session of ours could be that of whoever used the browser before.
func (p *Platform) start(rw http.ResponseWriter, r *http.Request) {
	p.serve(rw, r, func(v *visit) error {
		v.about.FrameAncestors = ""
		activity, _, err := v.findActivity(r.PathValue("activity"))
		if err != nil {
			return err
		}
		desk, err := v.desk()
		if err != nil {
			return err
		}
		address := routing.ActivityStartURL(v.Academy.URL, activity.Name)
		if v.Base(r.Host) != v.Academy.URL {
			// The cookies of the launch have to come back to the host that the tool and the identity provider know.
			web.Redirect(rw, address)
			return nil
		}
		if top, known := web.TopLevel(r); known && !top {
			// Identity providers are not to be framed, and our cookies would be those of a third party.
			page := pages.StartInWindow{
				Title: activity.Title, Description: activity.Description, DurationMinutes: int(activity.DurationMinutes), Address: address,
			}
			v.about.FrameAncestors = strings.Join(v.Academy.FrameAncestors, " ")
			return page.Write(rw, web.View(r, &v.about))
		}
		return desk.Begin(rw, r, identity.FlowStart, activity.Name)
	})
}

// Started is where the identity provider sends the browser back to: the learner goes on to the tool.
func (p *Platform) Started(rw http.ResponseWriter, r *http.Request) {
	p.serve(rw, r, func(v *visit) error {
		v.about.FrameAncestors = ""
		desk, err := v.desk()
		if err != nil {
			return err
		}
		visitor, err := desk.Return(rw, r, identity.FlowStart)
		if err != nil {
			return err
		}
		activity, tool, err := v.findActivity(visitor.Back)
		if err != nil {
			return err
		}
		who, err := visitor.SignIn(r.Context())
		if err != nil {
			return err
		}
		v.about.Locale = who.Locale
		realm, privacy := realmOf(activity, tool)
		person, err := p.meet(r, realm, privacy, &who)
		if err != nil {
			return err
		}
		if tool != nil {
			return p.initiate(rw, r, v, activity, tool, &person)
		}
		return p.post12(rw, r, v, activity, &person)
	})
}

// desk is where the academy's own learners sign in.
func (v *visit) desk() (*learners.Desk, error) {
	if v.learners == nil {
		return nil, lti.Refuse(lti.LearnersNotConfigured, "")
	}
	return v.learners, nil
}

// realmOf is the realm of learners as the tool knows them, and what it is not to know; nil is LTI 1.2.
func realmOf(a *routing.Activity, tool *routing.Tool) (string, routing.Privacy) {
	if tool == nil {
		return store.FormRealm, a.External.LTI12.Privacy
	}
	return store.ToolRealm(tool.Name), tool.Privacy
}

// meet finds, or makes, what the tool calls the learner.
func (p *Platform) meet(r *http.Request, realm string, privacy routing.Privacy, who *learner.Learner) (store.Learner, error) {
	id, err := launch.NewNonce(p.Random)
	if err != nil {
		return store.Learner{}, err
	}
	known := store.Learner{
		Realm: realm, ID: id, Subject: who.Subject, GivenName: who.GivenName, FamilyName: who.FamilyName,
		Name: who.Name, Email: who.Email, Locale: who.Locale,
	}
	// What nobody is told is not kept either.
	shared := PersonOf(&known, privacy).Person()
	known.Name, known.GivenName, known.FamilyName, known.Email = shared.Name, shared.GivenName, shared.FamilyName, shared.Email
	person, err := p.Store.MeetLearner(r.Context(), known)
	if err != nil {
		return store.Learner{}, storeRefusal(err)
	}
	return person, nil
}

// initiate sends the browser to the tool's login initiation URL (1EdTech Security Framework 1.0 section 5.1.1.1).
func (p *Platform) initiate(rw http.ResponseWriter, r *http.Request, v *visit, a *routing.Activity, t *routing.Tool, person *store.Learner) error {
	framed := a.External.Presentation == routing.PresentationEmbedded
	location, err := p.login(rw, v, t, a.External.LTI13.ResourceURL, identity.Hint{Activity: a.Name, LearnerID: person.ID, Framed: framed})
	if err != nil {
		return err
	}
	if !framed {
		web.Redirect(rw, location)
		return nil
	}
	frame := v.frame(a)
	frame.Src, frame.ToolURLs = location, toolURLs(t, a)
	return frame.Write(rw, web.View(r, &v.about))
}

// login begins a launch at a tool: it binds the hint to the browser, and returns where to send that.
func (p *Platform) login(rw http.ResponseWriter, v *visit, t *routing.Tool, target string, hint identity.Hint) (string, error) {
	hint.Tool = t.Name
	hint.AimAt(target)
	sealed, cookie, err := v.sealer.NewHint(hint, p.Now())
	if err != nil {
		return "", err
	}
	login := launch.LoginInitiation{
		Issuer: v.Academy.URL, LoginHint: hint.LearnerID, MessageHint: sealed, TargetLinkURI: target,
		ClientID: ClientID(t), DeploymentID: DeploymentID(t),
	}
	if hint.Framed {
		login.StorageTarget = pages.StorageTarget
	}
	location, err := launch.LoginInitiationURL(t.LTI13.LoginInitiationURL, login)
	if err != nil {
		return "", err
	}
	http.SetCookie(rw, hintCookie(sealed, cookie, int(identity.HintLifetime/time.Second)))
	return location, nil
}

// hintCookie comes back with the tool's authentication request: from another site, and perhaps in our frame.
func hintCookie(hint, value string, maxAge int) *http.Cookie {
	return crossSiteCookie(hintCookiePrefix, hint, value, maxAge)
}

// crossSiteCookie binds to this browser what a tool is to return in a request of its own.
func crossSiteCookie(prefix, sealed, value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // SameSite=None is the purpose: the request comes from another site
		Name: prefix + sealed[:min(hintName, len(sealed))], Value: value, Path: "/", MaxAge: maxAge,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode, Partitioned: true,
	}
}

// post12 has the browser post a signed form (LTI 1.1 section 4).
func (p *Platform) post12(rw http.ResponseWriter, r *http.Request, v *visit, a *routing.Activity, person *store.Learner) error {
	ids := make([]string, 2)
	for i := range ids {
		var err error
		if ids[i], err = launch.NewNonce(p.Random); err != nil {
			return err
		}
	}
	outcome, nonce := ids[0], ids[1]
	result, err := p.Store.BeginResult(r.Context(), nil, store.Result{
		Key:     store.ResultKey{Realm: person.Realm, Activity: a.Name, LearnerID: person.ID},
		Subject: person.Subject, OutcomeID: outcome,
	})
	if err != nil {
		return storeRefusal(err)
	}
	credential := v.ExternalCredential(a.Name)
	form, err := launch.Form12(a.External.LTI12.LaunchURL, v.message12(a, person, result.OutcomeID),
		oauth1.Credentials{ConsumerKey: credential.ConsumerKey, SharedSecret: credential.Secrets[0]}, p.Now(), nonce)
	if err != nil {
		return err
	}
	p.Web.Metrics.Launch(&v.about, "")
	view, page := web.View(r, &v.about), pages.AutoSubmit{Action: a.External.LTI12.LaunchURL, Fields: web.FieldsOf(form)}
	if a.External.Presentation == routing.PresentationEmbedded {
		frame := v.frame(a)
		frame.Form, frame.ToolURLs = &page, []string{page.Action}
		return frame.Write(rw, view)
	}
	return page.Write(rw, view)
}

// leave takes a learner who is done out of the frame, and back to where the academy wants them, with what the tool has to say
// (LTI Core 1.3 section 5.4.4.1).
func (p *Platform) leave(rw http.ResponseWriter, r *http.Request) {
	p.serve(rw, r, func(v *visit) error {
		activity, _, err := v.findActivity(r.PathValue("activity"))
		if err != nil {
			return err
		}
		if activity.External.ReturnURL == "" {
			return lti.Refuse(lti.AddressUnknown, "the academy has not said where to go back to")
		}
		params, err := lti.ParseForm(r.URL.RawQuery)
		if err != nil {
			return err
		}
		var said []string
		for _, name := range []string{"lti_msg", "lti_errormsg", "lti_log", "lti_errorlog"} {
			if text := params.Get(name); text != "" {
				said = append(said, name, text)
			}
		}
		return pages.LeaveFrame{Address: service.AddQuery(activity.External.ReturnURL, said...)}.Write(rw, web.View(r, &v.about))
	})
}

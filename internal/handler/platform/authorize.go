// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/pages"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// tokenLifetime is for the way of an ID token from the browser to the tool.
const tokenLifetime = 5 * time.Minute

// paramReposted marks an authentication request that comes from our own page.
const paramReposted = "lti_operator_reposted"

// nonceScope is that of hints.
const nonceScope = "hint"

// authorize answers a tool's authentication request (1EdTech Security Framework 1.0 section 5.1.1.2) with an ID token, or with
// an error, that the browser posts to the tool. As long as it is not known that the address to post to is the tool's, and for
// what the person should see, the answer is a page.
func (p *Platform) authorize(rw http.ResponseWriter, r *http.Request) {
	p.serve(rw, r, func(v *visit) error {
		v.about.Version = version13
		tool, err := v.findTool(r.PathValue("tool"))
		if err != nil {
			return err
		}
		params, err := authParams(rw, r)
		if err != nil {
			return err
		}
		reply, err := launch.ParseReply(params, ClientID(tool), func(uri string) bool { return v.AcceptsRedirect(tool, uri) })
		if err != nil {
			return err
		}
		form, err := p.answer(rw, r, v, tool, params, reply)
		var problem *launch.AuthError
		switch {
		case errors.Is(err, errRepost):
			return pages.AutoSubmit{Action: r.URL.Path, Fields: append(web.FieldsOf(params), pages.Field{Name: paramReposted, Value: "1"})}.
				Write(rw, web.View(r, &v.about))
		case errors.As(err, &problem):
			p.Web.Note(r, &v.about, problem.Refusal)
			form = reply.Error(problem)
		case err != nil:
			return err
		default:
			p.Web.Metrics.Launch(&v.about, "")
		}
		return pages.AutoSubmit{Action: reply.RedirectURI, Fields: web.FieldsOf(form)}.Write(rw, web.View(r, &v.about))
	})
}

func authParams(rw http.ResponseWriter, r *http.Request) (lti.Params, error) {
	if r.Method == http.MethodPost {
		return web.ReadForm(rw, r)
	}
	return lti.ParseForm(r.URL.RawQuery)
}

// errRepost reports a request that came without our cookie, although the browser may have it.
var errRepost = errors.New("to be posted again from our own site")

// answer is what is posted to the tool. The hint is spent last: a launch that is refused for anything that can be mended can
// be tried again.
func (p *Platform) answer(rw http.ResponseWriter, r *http.Request, v *visit, t *routing.Tool, params lti.Params, reply *launch.Reply) (lti.Params, error) {
	request, err := launch.ParseAuthRequest(params)
	if err != nil {
		return nil, err
	}
	hint, err := v.sealer.OpenHint(request.MessageHint, p.Now())
	if err != nil {
		return nil, authError(err)
	}
	v.about.Activity = hint.Activity
	if hint.Framed {
		reply.StorageTarget = pages.StorageTarget
	}
	switch {
	case hint.Tool != t.Name:
		return nil, authError(lti.Refuse(lti.HintInvalid, "lti_message_hint is that of another tool"))
	case hint.LearnerID != request.LoginHint:
		return nil, authError(lti.Refuse(lti.LearnerMismatch, "login_hint is not that of the launch"))
	case !hint.FromBrowser(hintCookies(r)...):
		if params.Count(paramReposted) == 0 {
			// Some browsers send our cookie only with requests from our own pages.
			return nil, errRepost
		}
		return nil, authError(lti.Refuse(lti.StateNotFromThisBrowser, ""))
	}
	purpose, err := v.purposeOf(t, hint)
	if err != nil {
		return nil, authError(err)
	}
	person, err := p.Store.Learner(r.Context(), store.ToolRealm(t.Name), hint.LearnerID)
	if err != nil {
		return nil, authError(storeRefusal(err))
	}
	key, err := v.signingKeys[t.Name]()
	if err != nil {
		return nil, authError(lti.Refuse(lti.NotRegistered, "the signing key cannot be used").Because(err))
	}
	message, err := purpose.message(p, v, t, &person)
	if err != nil {
		return nil, authError(err)
	}
	message.claims["nonce"] = request.Nonce
	token, err := key.Sign(message.claims)
	if err != nil {
		return nil, authError(err)
	}
	spent := store.Nonce{Scope: nonceScope, Value: hint.ID, ExpiresAt: hint.ForgottenAt()}
	if err := purpose.spend(r.Context(), p.Store, spent, &person); err != nil {
		return nil, authError(storeRefusal(err))
	}
	http.SetCookie(rw, hintCookie(request.MessageHint, "", -1))
	if message.cookie != nil {
		http.SetCookie(rw, message.cookie)
	}
	return reply.Token(token), nil
}

// message is the ID token for a tool, and a cookie for the browser that brings it there; nil for none.
type message struct {
	claims map[string]any
	cookie *http.Cookie
}

// purpose is what a tool is opened for, which differs in little: everything that is checked is the same.
type purpose interface {
	// message makes the message, but for its nonce.
	message(p *Platform, v *visit, t *routing.Tool, person *store.Learner) (message, error)
	// spend spends the hint.
	spend(ctx context.Context, s store.Results, hint store.Nonce, person *store.Learner) error
}

// purposeOf reads from a hint what the tool is opened for, and checks that it still may be.
func (v *visit) purposeOf(t *routing.Tool, hint *identity.Hint) (purpose, error) {
	if hint.Author != nil {
		if err := v.mayChoose(t, *hint.Author); err != nil {
			return nil, err
		}
		return choosing{*hint.Author}, sameTarget(hint, deepLinkingURL(t))
	}
	activity, tool, err := v.findActivity(hint.Activity)
	if err != nil {
		return nil, err
	}
	if tool != t {
		return nil, lti.Refuse(lti.NotExternal, "the activity has moved to another tool")
	}
	return opening{activity}, sameTarget(hint, activity.External.LTI13.ResourceURL)
}

// sameTarget checks that the launch goes where the login initiation said. Its address may have been changed in between; then it
// begins anew, since a tool must refuse another one.
func sameTarget(hint *identity.Hint, target string) error {
	if !hint.AimedAt(target) {
		return lti.Refuse(lti.LaunchExpired, "the target link URI has changed since the login initiation")
	}
	return nil
}

// opening opens an activity.
type opening struct{ activity *routing.Activity }

func (o opening) message(p *Platform, v *visit, t *routing.Tool, person *store.Learner) (message, error) {
	return message{claims: MessageOf(&v.Academy, t, o.activity, person).Claims(p.Now(), tokenLifetime)}, nil
}

// spend makes the result of the learner besides.
func (o opening) spend(ctx context.Context, s store.Results, hint store.Nonce, person *store.Learner) error {
	_, err := s.BeginResult(ctx, &hint, store.Result{
		Key:     store.ResultKey{Realm: person.Realm, Activity: o.activity.Name, LearnerID: person.ID},
		Subject: person.Subject,
	})
	return err
}

// hintCookies are the secrets of launches that this browser has begun.
func hintCookies(r *http.Request) []string { return cookiesOf(r, hintCookiePrefix) }

// cookiesOf are the values of the cookies whose names start like this.
func cookiesOf(r *http.Request, prefix string) []string {
	var found []string
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, prefix) {
			found = append(found, c.Value)
		}
	}
	return found
}

// authError is what the tool is told about a refusal (OpenID Connect Core 1.0 section 3.1.2.6).
func authError(err error) error {
	var refusal *lti.Refusal
	if !errors.As(err, &refusal) {
		refusal = lti.Refuse(lti.InternalError, "").Because(err)
	}
	code := launch.OAuthAccessDenied
	switch refusal.Code {
	case lti.HintInvalid:
		code = launch.OAuthInvalidRequest
	case lti.LearnerMismatch, lti.StateNotFromThisBrowser, lti.LaunchExpired, lti.LaunchAlreadyUsed:
		code = launch.OAuthLoginRequired
	case lti.StoreUnavailable, lti.InternalError, lti.NotRegistered:
		code = launch.OAuthServerError
	}
	return launch.NewAuthError(code, refusal)
}

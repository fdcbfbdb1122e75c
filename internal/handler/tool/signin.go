// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/pages"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// open is where the button of the new-window page posts to: it spends the page's ticket and goes on with a code.
func (t *Tool) open(rw http.ResponseWriter, r *http.Request) {
	t.serve(rw, r, "", func(v *visit) error {
		params, err := web.ReadForm(rw, r)
		if err != nil {
			return err
		}
		ticket, _, err := params.Only(fieldTicket)
		if err != nil {
			return err
		}
		if ticket == "" {
			return lti.Refuse(lti.ParameterMissing, "missing: %s", fieldTicket)
		}
		ids, err := t.tokens(1)
		if err != nil {
			return err
		}
		next := store.NewTicket{Kind: store.TicketCode, Hash: store.HashToken(ids[0]), ExpiresAt: t.Now().Add(codeLifetime)}
		launched, err := t.Store.ExchangeTicket(r.Context(), store.TicketOpen, store.HashToken(ticket), next)
		if err != nil {
			return storeRefusal(err)
		}
		v.about.Version = launched.Version
		activity, err := v.stillOpen(&launched)
		if err != nil {
			return err
		}
		if activity.Share.SignIn != routing.SignInOpenIDConnect {
			web.Redirect(rw, withCode(activity.Share.TargetURL, ids[0]))
			return nil
		}
		into, err := t.arrive(v, activity, true)
		if err != nil {
			return err
		}
		if _, err := t.Store.ExchangeTicket(r.Context(), next.Kind, next.Hash, into.ticket); err != nil {
			return storeRefusal(err)
		}
		into.goOn(rw)
		return nil
	})
}

// stillOpen finds the activity of an accepted launch and checks that it may still be opened: a deactivation holds from
// the moment it is known, also between two steps of one launch.
func (v *visit) stillOpen(l *store.Launch) (*routing.Activity, error) {
	activity := v.Activity(l.Activity)
	if activity == nil {
		return nil, lti.Refuse(lti.ActivityUnknown, "the activity is gone")
	}
	v.about.Activity, v.about.ActivityTitle = activity.Name, activity.Title
	if l.Platform != "" {
		if err := v.from(l.Platform); err != nil {
			return nil, err
		}
	}
	if err := v.mayOpen(activity, v.platform); err != nil {
		return nil, err
	}
	if l.DeploymentID != "" && v.platform != nil {
		return activity, stillDeployed(v.platform, l.DeploymentID)
	}
	return activity, nil
}

// stillDeployed repeats for an accepted LTI 1.3 launch what was checked of its token.
func stillDeployed(platform *routing.Platform, id string) error {
	d := deployments(platform)
	active, listed := d.Activated[id]
	switch {
	case listed && !active:
		return lti.Refuse(lti.DeploymentDeactivated, "deployment is deactivated")
	case !listed && !d.Any:
		return lti.Refuse(lti.DeploymentUnknown, "deployment is not listed")
	}
	return nil
}

// LaunchClaims are what the academy's back end gets for a launch code.
type LaunchClaims struct {
	// Subject identifies the person in the academy: opaque, the same in every launch of the same person.
	Subject    string `json:"sub"`
	Name       string `json:"name,omitempty"`
	GivenName  string `json:"given_name,omitempty"`
	FamilyName string `json:"family_name,omitempty"`
	// Email as the other system sent it first. It is no proof of owning the address unless EmailVerified.
	Email string `json:"email,omitempty"`
	// EmailVerified says that the other system is believed about this address (users.linkByEmail).
	EmailVerified bool   `json:"email_verified"`
	LaunchID      string `json:"launch_id"`
	Activity      string `json:"activity"`
	ActivityTitle string `json:"activity_title"`
	// Platform is the LTIPlatform that launched; empty for a launch with the activity's own LTI 1.2 key.
	Platform string `json:"platform,omitempty"`
	// Role is Instructor or Learner; Roles are as sent.
	Role  string   `json:"role"`
	Roles []string `json:"roles,omitempty"`
	// LTIUserID is the person's identifier in the other system. Alone it identifies nobody: user 4 of one system is not
	// user 4 of another.
	LTIUserID    string `json:"lti_user_id"`
	LTIVersion   string `json:"lti_version"`
	Context      *Place `json:"context,omitempty"`
	ResourceLink *Place `json:"resource_link,omitempty"`
	Locale       string `json:"locale,omitempty"`
}

// Place is a course, or a link in one.
type Place struct {
	ID    string `json:"id"`
	Label string `json:"label,omitempty"`
	Title string `json:"title,omitempty"`
}

// OAuth error codes (RFC 6749 section 5.2).
const (
	oauthInvalidClient  = "invalid_client"
	oauthInvalidGrant   = "invalid_grant"
	oauthInvalidRequest = "invalid_request"
	oauthUnavailable    = "temporarily_unavailable"
)

// redeem gives the claims of a launch to the academy's back end, once per code. The client authenticates with its
// secret (RFC 6749 section 2.3.1); the answer is JSON, also for errors.
func (t *Tool) redeem(rw http.ResponseWriter, r *http.Request) {
	v := &visit{Snapshot: t.snapshot.Load(), about: web.About{Role: "tool"}}
	claims, err := t.redeemCode(rw, r, v)
	if err != nil {
		t.Web.RefuseJSON(rw, r, &v.about, err, oauthError(err))
		return
	}
	web.WriteJSON(rw, http.StatusOK, claims)
}

func oauthError(err error) string {
	switch lti.CodeOf(err) {
	case lti.ClientUnauthorized:
		return oauthInvalidClient
	case lti.AccessTokenInvalid:
		return string(identity.InvalidToken)
	case lti.RequestMalformed, lti.RequestTooLarge, lti.ParameterMissing, lti.ParameterRepeated:
		return oauthInvalidRequest
	case lti.StoreUnavailable, lti.NotReady, lti.InternalError:
		return oauthUnavailable
	}
	return oauthInvalidGrant
}

func (t *Tool) redeemCode(rw http.ResponseWriter, r *http.Request, v *visit) (*LaunchClaims, error) {
	if v.Snapshot == nil {
		return nil, lti.Refuse(lti.NotReady, "no routing table yet")
	}
	params, err := web.ReadForm(rw, r)
	if err != nil {
		return nil, err
	}
	client, err := v.authenticate(r, params)
	if err != nil {
		return nil, err
	}
	code, _, err := params.Only("code")
	if err != nil {
		return nil, err
	}
	if code == "" {
		return nil, lti.Refuse(lti.ParameterMissing, "missing: code")
	}
	launched, err := t.Store.RedeemCode(r.Context(), store.HashToken(code))
	if err != nil {
		return nil, redeemRefusal(err)
	}
	v.about.Version = launched.Version
	activity, err := v.stillOpen(&launched)
	if err != nil {
		return nil, err
	}
	if err := mayKnow(activity, client); err != nil {
		return nil, err
	}
	return claimsOf(&launched, activity)
}

// mayKnow checks that an activity is not that of another application.
func mayKnow(activity *routing.Activity, client string) error {
	if owner := activity.Share.ClientID; owner != "" && owner != client {
		return lti.Refuse(lti.ClientNotPermitted, "the activity is that of another application")
	}
	return nil
}

// redeemRefusal translates what the store says about a code.
func redeemRefusal(err error) error {
	refusal := storeRefusal(err)
	if code := lti.CodeOf(refusal); code == lti.StoreUnavailable || code == lti.AccountSuspended {
		return refusal
	}
	return lti.Refuse(lti.CodeInvalid, "the code is unknown, expired or used").Because(err)
}

// authenticate checks the secret of an academy application, from the Authorization header or the form. RFC 6749 section
// 2.3.1 wants both parts of the header form-encoded; many clients send them as they are.
func (v *visit) authenticate(r *http.Request, params lti.Params) (clientID string, err error) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = params.Get("client_id"), params.Get("client_secret")
	}
	if v.knowsClient(id, secret) {
		return id, nil
	}
	decodedID, errID := url.QueryUnescape(id)
	decodedSecret, errSecret := url.QueryUnescape(secret)
	if ok && errID == nil && errSecret == nil && v.knowsClient(decodedID, decodedSecret) {
		return decodedID, nil
	}
	return "", lti.Refuse(lti.ClientUnauthorized, "unknown client or wrong secret")
}

func (v *visit) knowsClient(id, secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	return id != "" && v.Client(id, sum[:])
}

func claimsOf(l *store.Launch, activity *routing.Activity) (*LaunchClaims, error) {
	var kept stored
	if len(l.Claims) > 0 {
		if err := json.Unmarshal(l.Claims, &kept); err != nil {
			return nil, errors.New("the stored launch cannot be read")
		}
	}
	claims := &LaunchClaims{
		Subject:       l.Subject,
		Name:          strings.TrimSpace(l.Profile.GivenName + " " + l.Profile.FamilyName),
		GivenName:     l.Profile.GivenName,
		FamilyName:    l.Profile.FamilyName,
		Email:         l.Profile.Email,
		EmailVerified: l.EmailVouched,
		LaunchID:      l.ID,
		Activity:      l.Activity,
		ActivityTitle: activity.Title,
		Platform:      l.Platform,
		Role:          l.Role,
		Roles:         l.Roles,
		LTIUserID:     l.LTIUserID,
		LTIVersion:    l.Version,
		ResourceLink:  &Place{ID: l.ResourceLinkID, Title: l.ResourceLinkTitle},
		Locale:        kept.Locale,
	}
	if l.ContextID != "" {
		claims.Context = &Place{ID: l.ContextID, Label: kept.ContextLabel, Title: l.ContextTitle}
	}
	return claims, nil
}

// info answers people who open a launch address by hand.
func (t *Tool) info(rw http.ResponseWriter, r *http.Request) {
	t.serve(rw, r, "", func(v *visit) error {
		page := pages.Info{}
		if name := r.PathValue("activity"); name != "" {
			activity := v.Activity(name)
			if activity == nil || activity.Share == nil {
				return lti.Refuse(lti.ActivityUnknown, "no activity of that name")
			}
			page.Activity = activity.Title
		} else if _, err := v.findPlatform(r.PathValue("platform")); err != nil {
			return err
		}
		v.about.FrameAncestors = ""
		return page.Write(rw, web.View(r, &v.about))
	})
}

// PublicKeys serves our public keys for the registration that the path names. They stay published while it is switched
// off: switching it on again must not wait for the other party's cache.
func (t *Tool) PublicKeys(find func(s *Snapshot, name string) (keys []routing.JWK, ok bool)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		s := t.snapshot.Load()
		if s == nil {
			web.WriteJSON(rw, http.StatusServiceUnavailable, map[string]string{"error": oauthUnavailable})
			return
		}
		keys, ok := find(s, r.PathValue("name"))
		if !ok {
			http.NotFound(rw, r)
			return
		}
		web.WriteJWKS(rw, keys)
	}
}

// platformKeys finds our public keys for a platform.
func platformKeys(s *Snapshot, name string) ([]routing.JWK, bool) {
	if p := s.Platform(name); p != nil {
		return p.PublicKeys, true
	}
	return nil, false
}

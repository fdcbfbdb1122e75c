// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/handler"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// refusal is a way to be refused.
type refusal struct {
	name string
	// do ends in the refused request.
	do func(b *browser) answer
	// change is made to the routing table before.
	change func(*routing.Table)
	code   lti.Code
	// json says that the address is one for programs.
	json bool
	// posted is the error that is posted to the tool instead of a page; empty for a page.
	posted string
	// outcome says that it is a message of Basic Outcomes.
	outcome bool
}

// brokenStore fails in ways that a store must not.
type brokenStore struct {
	store.Store
	accept func() error
}

func (s brokenStore) AcceptLaunch(context.Context, store.NewLaunch) (store.Launch, error) {
	return store.Launch{}, s.accept()
}

func TestRefusals(t *testing.T) {
	var covered []lti.Code
	for _, c := range slices.Concat(
		requestRefusals(), formRefusals(), loginRefusals(), tokenRefusals(), routingRefusals(), peopleRefusals(), ourRefusals(),
		externalRefusals(), formOutcomeRefusals(), registrationRefusals(), choiceRefusals(), choosingRefusals(),
	) {
		covered = append(covered, c.code)
		t.Run(string(c.code)+"/"+c.name, func(t *testing.T) {
			t.Parallel()
			a := newAcademy(t)
			if c.change != nil {
				c.change(a.table)
				a.publish()
			}
			b := a.browser()
			b.header.Set("Accept-Language", "en-GB, nl;q=0.5")
			if c.outcome {
				a.refusedOutcome(c.do(b), http.StatusOK, c.code)
				return
			}
			if c.json {
				a.refusedJSON(c.do(b), c.code)
				return
			}
			if c.posted != "" {
				b.refusedToTool(c.do(b), c.code, c.posted)
				b.refusedToTool(b.again(nil), c.code, c.posted)
				return
			}
			english := c.do(b)
			a.refused(english, c.code)
			// A refusal changes nothing: the same request is refused for the same reason.
			dutch := b.again(func(h http.Header) { h.Set("Accept-Language", "nl-BE, en;q=0.5") })
			a.refused(dutch, c.code)
			if a.advises(english, "en", c.code) == a.advises(dutch, "nl", c.code) {
				t.Error("both languages say the same")
			}
			unavailable := c.code.Reason().Status == http.StatusServiceUnavailable
			if (english.Header().Get("Retry-After") != "") != unavailable {
				t.Errorf("Retry-After %q with status %d", english.Header().Get("Retry-After"), english.Code)
			}
		})
	}
	slices.Sort(covered)
	all := lti.Codes()
	for _, code := range all {
		if !slices.Contains(covered, code) {
			t.Errorf("no case is refused with %s", code)
		}
	}
	t.Logf("%d cases produce %d of %d codes", len(covered), len(slices.Compact(covered)), len(all))
}

func post(path string, form url.Values) func(*browser) answer {
	return func(b *browser) answer { return b.do(http.MethodPost, path, form) }
}

func login13(change url.Values) func(*browser) answer {
	form := loginForm(moodle(), "height")
	maps.Copy(form, change)
	return post("/platforms/moodle/login", form)
}

func launch13(change func(jwt.MapClaims)) func(*browser) answer {
	return func(b *browser) answer { return b.launch13(moodle(), "height", change) }
}

// answer13 posts the complete answer to a login after changing it.
func answer13(change func(b *browser, form url.Values)) func(*browser) answer {
	return func(b *browser) answer {
		form := b.prepare13(moodle(), "height", nil)
		change(b, form)
		return b.post13(moodle(), form)
	}
}

func token13(header map[string]any, change func(jwt.MapClaims)) func(*browser) answer {
	return func(b *browser) answer {
		return b.post13(moodle(), b.prepareToken(moodle(), "height", func(c jwt.MapClaims) string {
			if change != nil {
				change(c)
			}
			return b.sign(moodle(), c, header)
		}))
	}
}

func launch12(activity, key string, change func(map[string]string)) func(*browser) answer {
	return func(b *browser) answer { return b.launch12(activity, key, change) }
}

// form12 posts a signed form after changing it.
func form12(change func(form url.Values)) func(*browser) answer {
	return func(b *browser) answer {
		form := b.form12("height", "height-key", nil)
		change(form)
		return b.post12("height", form)
	}
}

func requestRefusals() []refusal {
	return []refusal{
		{name: "launch that is not a form", code: lti.RequestMalformed, do: func(b *browser) answer {
			return b.send(http.MethodPost, "/activities/height/launch", "application/json", "{}")
		}},
		{name: "broken encoding", code: lti.RequestMalformed, do: func(b *browser) answer {
			return b.send(http.MethodPost, "/platforms/moodle/launch", "application/x-www-form-urlencoded", "state=%zz")
		}},
		{name: "broken encoding in a query", code: lti.RequestMalformed, do: func(b *browser) answer {
			return b.do(http.MethodGet, "/platforms/moodle/login?iss=%25%zz", nil)
		}},
		{name: "code that is not a form", code: lti.RequestMalformed, json: true, do: func(b *browser) answer {
			return b.send(http.MethodPost, routing.PathLaunchCodes, "application/json", "{}")
		}},
		{name: "account that is not JSON", code: lti.RequestMalformed, json: true, do: func(b *browser) answer {
			return b.putAccount("anybody", "active=false", clientSecret)
		}},
		{name: "account without the switch", code: lti.RequestMalformed, json: true, do: func(b *browser) answer {
			return b.putAccount("anybody", "{}", clientSecret)
		}},
		{name: "long form", code: lti.RequestTooLarge, do: post("/activities/height/launch", url.Values{"custom_x": {strings.Repeat("x", 256<<10)}})},
		{name: "many parameters", code: lti.RequestTooLarge, do: func(b *browser) answer {
			return b.send(http.MethodPost, "/platforms/moodle/login", "application/x-www-form-urlencoded", strings.Repeat("a=b&", 1001))
		}},
		{name: "long request for a code", code: lti.RequestTooLarge, json: true, do: func(b *browser) answer {
			return b.redeem(strings.Repeat("x", 256<<10))
		}},
		{name: "DELETE at a launch address", code: lti.MethodNotAllowed, do: func(b *browser) answer {
			return b.do(http.MethodDelete, "/activities/height/launch", nil)
		}},
		{name: "GET of a code", code: lti.MethodNotAllowed, do: func(b *browser) answer {
			x := b.do(http.MethodGet, routing.PathLaunchCodes, nil)
			if x.Header().Get("Allow") != http.MethodPost {
				b.t.Errorf("Allow is %q", x.Header().Get("Allow"))
			}
			return x
		}},
		{name: "POST to an account", code: lti.MethodNotAllowed, do: post(routing.PathAccounts+"anybody", url.Values{})},
		{name: "no such address", code: lti.AddressUnknown, do: func(b *browser) answer { return b.do(http.MethodGet, "/", nil) }},
		{name: "launch below a launch address", code: lti.AddressUnknown, do: post("/platforms/moodle/launch/x", url.Values{})},
	}
}

func formRefusals() []refusal {
	return []refusal{
		{name: "no resource link", code: lti.ParameterMissing, do: launch12("height", "height-key", func(p map[string]string) { delete(p, "resource_link_id") })},
		{name: "no signature", code: lti.ParameterMissing, do: form12(func(f url.Values) { f.Del("oauth_signature") })},
		{name: "no ID token", code: lti.ParameterMissing, do: answer13(func(_ *browser, f url.Values) { f.Del("id_token") })},
		{name: "no ticket", code: lti.ParameterMissing, do: post(routing.PathOpen, url.Values{})},
		{name: "no code", code: lti.ParameterMissing, json: true, do: func(b *browser) answer { return b.redeem("") }},
		{name: "two users", code: lti.ParameterRepeated, do: form12(func(f url.Values) { f.Add("lti_version", "LTI-1p0") })},
		{name: "two signatures", code: lti.ParameterRepeated, do: form12(func(f url.Values) { f.Add("oauth_signature", "x") })},
		{name: "login with two issuers", code: lti.ParameterRepeated, do: login13(url.Values{"iss": {moodle().issuer, moodle().issuer}})},
		{name: "two states", code: lti.ParameterRepeated, do: answer13(func(_ *browser, f url.Values) { f.Add("state", "x") })},
		{name: "two tickets", code: lti.ParameterRepeated, do: post(routing.PathOpen, url.Values{"ticket": {"a", "b"}})},
		{name: "two codes", code: lti.ParameterRepeated, json: true, do: func(b *browser) answer {
			b.header.Set("Authorization", basic(clientSecret))
			return b.do(http.MethodPost, routing.PathLaunchCodes, url.Values{"code": {"a", "b"}})
		}},
		{name: "OAuth 2", code: lti.ParameterInvalid, do: form12(func(f url.Values) { f.Set("oauth_version", "2.0") })},
		{name: "long user ID", code: lti.ParameterInvalid, do: launch12("height", "height-key", param("user_id", strings.Repeat("4", 256)))},
		{name: "login with a deployment that is none", code: lti.ParameterInvalid, do: login13(url.Values{"lti_deployment_id": {"ü"}})},
		{name: "other kind of form", code: lti.MessageTypeUnsupported, do: launch12("height", "height-key", param("lti_message_type", "ContentItemSelectionRequest"))},
		{name: "other kind of token", code: lti.MessageTypeUnsupported, do: launch13(with(claim+"message_type", "LtiSubmissionReviewRequest"))},
		{name: "LTI 2", code: lti.VersionUnsupported, do: launch12("height", "height-key", param("lti_version", "LTI-2p0"))},
		{name: "LTI 1.4", code: lti.VersionUnsupported, do: launch13(with(claim+"version", "1.4.0"))},
		{name: "key of nobody", code: lti.ConsumerKeyUnknown, do: launch12("height", "nobody", nil)},
		{name: "key of another activity", code: lti.KeyNotForActivity, do: launch12("height", "ladder-key", nil)},
		{name: "platform's key of another activity", code: lti.KeyNotForActivity, do: launch12("ladder", "campus-height-key", nil)},
		{name: "PLAINTEXT", code: lti.SignatureMethodUnsupported, do: form12(func(f url.Values) { f.Set("oauth_signature_method", "PLAINTEXT") })},
		{name: "wrong secret", code: lti.SignatureInvalid, do: func(b *browser) answer {
			return b.post12("height", b.sign12(academyURL+"/activities/height/launch", "height-key", "a guess", "n", nil))
		}},
		{name: "changed parameter", code: lti.SignatureInvalid, do: form12(func(f url.Values) { f.Set("user_id", "5") })},
		{name: "token signed with another key", code: lti.SignatureInvalid, do: func(b *browser) answer {
			return b.post13(moodle(), b.prepareToken(moodle(), "height", func(c jwt.MapClaims) string {
				return b.signWith(jwt.SigningMethodRS256, strangerKey(), moodle(), c, nil)
			}))
		}},
		{name: "timestamp that is none", code: lti.TimestampInvalid, do: form12(func(f url.Values) { f.Set("oauth_timestamp", "yesterday") })},
		{name: "old form", code: lti.TimestampOutOfRange, do: form12Later(6 * time.Minute)},
		{name: "form from the future", code: lti.TimestampOutOfRange, do: form12Later(-6 * time.Minute)},
		{name: "form posted twice", code: lti.Replayed, do: func(b *browser) answer {
			form := b.form12("height", "height-key", nil)
			b.post12("height", form).location()
			return b.post12("height", form)
		}},
		{name: "token posted twice", code: lti.Replayed, do: func(b *browser) answer {
			b.launch13(moodle(), "height", nil).location()
			return b.again(nil)
		}},
		{name: "form without user", code: lti.AnonymousLaunch, do: launch12("height", "height-key", func(p map[string]string) { delete(p, "user_id") })},
		{name: "token without user", code: lti.AnonymousLaunch, do: launch13(with("sub", nil))},
	}
}

// form12Later posts a form some time after it was signed.
func form12Later(d time.Duration) func(*browser) answer {
	return func(b *browser) answer {
		form := b.form12("height", "height-key", nil)
		b.clock.advance(d)
		return b.post12("height", form)
	}
}

func loginRefusals() []refusal {
	return []refusal{
		{name: "no issuer", code: lti.LoginParameterMissing, do: login13(url.Values{"iss": nil})},
		{name: "no parameters, with GET", code: lti.LoginParameterMissing, do: func(b *browser) answer {
			return b.do(http.MethodGet, "/platforms/moodle/login", nil)
		}},
		{name: "login of another issuer", code: lti.IssuerMismatch, do: login13(url.Values{"iss": {"https://evil.example"}})},
		{name: "token of another issuer", code: lti.IssuerMismatch, do: launch13(with("iss", "https://evil.example"))},
		{name: "login of another client", code: lti.ClientIDMismatch, do: login13(url.Values{"client_id": {"x"}})},
		{name: "token", code: lti.DeploymentUnknown, do: launch13(with(claim+"deployment_id", "8"))},
		{name: "token of a listed one", code: lti.DeploymentDeactivated, do: launch13(with(claim+"deployment_id", "9")), change: func(t *routing.Table) {
			platformIn(t, "moodle").Deployments[1].Active = false
		}},
		{name: "token of another than the login", code: lti.DeploymentMismatch, do: launch13(with(claim+"deployment_id", "9"))},
		{name: "login to a foreign target", code: lti.TargetLinkUnknown, do: login13(url.Values{"target_link_uri": {"https://evil.example/activities/height"}})},
		{name: "token for a foreign target", code: lti.TargetLinkUnknown, do: launch13(with(claim+"target_link_uri", "https://evil.example/activities/height"))},
		{name: "no state", code: lti.StateMissing, do: answer13(func(_ *browser, f url.Values) { f.Del("state") })},
		{name: "state that we did not make", code: lti.StateInvalid, do: answer13(func(_ *browser, f url.Values) { f.Set("state", "s1.e30.AAAA") })},
		{name: "state of another registration", code: lti.StateInvalid, do: func(b *browser) answer {
			return b.post13(moodle(), b.prepare13(campus(), "height", nil))
		}},
		{name: "slow login", code: lti.StateExpired, do: answer13(func(b *browser, _ url.Values) { b.clock.advance(11 * time.Minute) })},
		{name: "state of another browser", code: lti.StateNotFromThisBrowser, do: func(b *browser) answer {
			return b.post13(moodle(), b.browser().prepare13(moodle(), "height", nil))
		}},
		{name: "not signed in there", code: lti.PlatformReturnedError, do: answer13(func(_ *browser, f url.Values) {
			f.Del("id_token")
			f.Set("error", "login_required")
			f.Set("error_description", "canary <b>description</b>")
		})},
	}
}

func tokenRefusals() []refusal {
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	return []refusal{
		{name: "not a token", code: lti.TokenMalformed, do: answer13(func(_ *browser, f url.Values) { f.Set("id_token", "x.y") })},
		{name: "critical extension", code: lti.TokenMalformed, do: token13(map[string]any{"crit": []string{"x"}}, nil)},
		{name: "RS512", code: lti.AlgorithmNotAllowed, do: func(b *browser) answer {
			return b.post13(moodle(), b.prepareToken(moodle(), "height", func(c jwt.MapClaims) string {
				return b.signWith(jwt.SigningMethodRS512, moodle().key, moodle(), c, nil)
			}))
		}},
		{name: "no kid", code: lti.KeyIDMissing, do: token13(map[string]any{"kid": nil}, nil)},
		{name: "kid of nobody", code: lti.KeyUnknown, do: token13(map[string]any{"kid": "x"}, nil)},
		{name: "key set that does not answer", code: lti.KeysUnreachable, do: launch13(nil), change: func(t *routing.Table) {
			t.Academy.AllowPrivateCIDRs = []string{"127.0.0.0/8"}
			l := platformIn(t, "moodle").LTI13
			l.JWKS, l.JWKSURL = "", "http://"+closedPort+"/jwks.json?token=canary"
		}},
		{name: "key of 1024 bits", code: lti.KeyTooWeak, do: func(b *browser) answer {
			weak := moodle()
			weak.key = weakKey()
			platformIn(b.table, "moodle").LTI13.JWKS = b.keySet(weak.key)
			b.publish()
			return b.launch13(weak, "height", nil)
		}},
		{name: "other audience", code: lti.AudienceMismatch, do: launch13(with("aud", "other"))},
		{name: "one more audience", code: lti.AudienceMismatch, do: launch13(with("aud", []string{moodle().clientID, "other"}))},
		{name: "other party", code: lti.AuthorizedPartyMismatch, do: launch13(with("azp", "other"))},
		{name: "long ago", code: lti.TokenExpired, do: launch13(with("exp", in(-time.Hour)))},
		{name: "issued tomorrow", code: lti.TokenIssuedInFuture, do: launch13(with("iat", in(24*time.Hour)))},
		{name: "valid tomorrow", code: lti.TokenIssuedInFuture, do: launch13(with("nbf", in(24*time.Hour)))},
		{name: "issued yesterday", code: lti.TokenTooOld, do: launch13(with("iat", in(-24*time.Hour)))},
		{name: "nonce of another login", code: lti.NonceMismatch, do: launch13(with("nonce", "other"))},
		{name: "no roles", code: lti.ClaimMissing, do: launch13(with(claim+"roles", nil))},
		{name: "no nonce", code: lti.ClaimMissing, do: launch13(with("nonce", nil))},
		{name: "roles that are no list", code: lti.ClaimInvalid, do: launch13(with(claim+"roles", "Learner"))},
		{name: "long subject", code: lti.ClaimInvalid, do: launch13(with("sub", strings.Repeat("4", 256)))},
	}
}

// closedPort is a loopback address where nothing listens. It is none that the system gives to whoever asks for a free port.
const closedPort = "127.0.0.1:1"

func routingRefusals() []refusal {
	return []refusal{
		{name: "login", code: lti.PlatformUnknown, do: post("/platforms/nobody/login", loginForm(moodle(), "height"))},
		{name: "key of a platform that is gone", code: lti.PlatformUnknown, do: launch12("height", "campus-key", nil), change: func(t *routing.Table) {
			t.Platforms = t.Platforms[:1]
		}},
		{name: "token", code: lti.ActivityUnknown, do: launch13(with(claim+"target_link_uri", academyURL+"/activities/nothing"))},
		{name: "form", code: lti.ActivityUnknown, do: post("/activities/nothing/launch", url.Values{})},
		{name: "page", code: lti.ActivityUnknown, do: func(b *browser) answer { return b.do(http.MethodGet, "/activities/private", nil) }},
		{name: "activity that is not shared", code: lti.NotShared, do: launch13(with(claim+"target_link_uri", academyURL+"/activities/private"))},
		{
			name: "activity for platforms with a label", code: lti.NotShared, do: func(b *browser) answer { return b.launch13(moodle(), "ladder", nil) },
			change: func(t *routing.Table) { platformIn(t, "moodle").Labels = nil },
		},
		{name: "platform without registration", code: lti.NotRegistered, do: post("/platforms/newcomer/login", loginForm(moodle(), "height"))},
		{
			name: "authentication URL that is none", code: lti.NotRegistered, do: login13(nil),
			change: func(t *routing.Table) { platformIn(t, "moodle").LTI13.AuthenticationURL = "javascript:alert(1)" },
		},
		{name: "login", code: lti.AcademyDeactivated, do: login13(nil), change: func(t *routing.Table) { t.Academy.Active = false }},
		{name: "login", code: lti.PlatformDeactivated, do: login13(nil), change: func(t *routing.Table) { platformIn(t, "moodle").Active = false }},
	}
}

func peopleRefusals() []refusal {
	suspend := func(b *browser) string {
		claims := b.enter(b.browser().launch13(moodle(), "height", nil))
		if x := b.browser().setAccount(claims.Subject, false); x.Code != http.StatusNoContent {
			b.t.Fatal(x.Code, x.Body)
		}
		return claims.Subject
	}
	return []refusal{
		{name: "token", code: lti.MissingUserData, do: launch13(with("email", nil))},
		{name: "form", code: lti.MissingUserData, do: launch12("height", "height-key", param("lis_person_name_given", " "))},
		{name: "address of somebody else", code: lti.EmailInUse, do: func(b *browser) answer {
			b.browser().launch13(campus(), "height", person("4", "sam@example.org")).location()
			return b.launch13(moodle(), "height", person("4", "Sam@Example.ORG"))
		}},
		{name: "launch", code: lti.AccountSuspended, do: func(b *browser) answer { suspend(b); return b.launch13(moodle(), "height", nil) }},
		{name: "code", code: lti.AccountSuspended, json: true, do: func(b *browser) answer {
			code := b.launch13(moodle(), "height", nil).code()
			suspend(b)
			return b.redeem(code)
		}},
		{name: "no answer", code: lti.DirectoryUnavailable, do: answering(http.StatusServiceUnavailable)},
		{name: "wrong token", code: lti.DirectoryFailed, do: answering(http.StatusForbidden)},
		{name: "deleted", code: lti.AccountGone, do: func(b *browser) answer {
			d := newSCIM(b.t)
			b.republish(d.uses)
			d.Users.Remove(b.enter(b.browser().launch13(moodle(), "height", nil)).Subject)
			return b.launch13(moodle(), "height", nil)
		}},
		{name: "no answer", code: lti.IdentityProviderUnavailable, do: connecting(func(b *browser, p *identityProvider, x answer) answer {
			p.status = http.StatusServiceUnavailable
			return b.do(http.MethodPost, routing.PathConnect, url.Values{"launch": {pendingField.FindStringSubmatch(x.Body.String())[1]}})
		})},
		{name: "wrong nonce", code: lti.IdentityProviderInvalid, do: connecting(func(b *browser, p *identityProvider, x answer) answer {
			return p.comesBack(b, b.connect(x), jwt.MapClaims{"sub": "u-1", "account": "a", "nonce": "other"})
		})},
		{name: "broken off", code: lti.SignInRefused, do: connecting(func(b *browser, p *identityProvider, x answer) answer {
			state := b.connect(x).Get("state")
			return b.do(http.MethodGet, routing.PathLearnerCallback+"?"+url.Values{"error": {"access_denied"}, "state": {state}, "iss": {p.URL}}.Encode(), nil)
		})},
		{name: "another account", code: lti.AccountMismatch, do: connecting(func(b *browser, p *identityProvider, x answer) answer {
			return p.comesBack(b, b.connect(x), jwt.MapClaims{"sub": "u-1", "account": "a"})
		})},
		{name: "suspending nobody", code: lti.AccountUnknown, json: true, do: func(b *browser) answer { return b.setAccount("nobody", false) }},
		{name: "report about no launch", code: lti.LaunchUnknown, json: true, do: func(b *browser) answer {
			return b.postReport(`{"launch_id":"nothing","completed":true}`, clientSecret, "")
		}},
		{name: "sign-in of an unknown application", code: lti.AuthorizationInvalid, do: func(b *browser) answer {
			return b.do(http.MethodGet, authorization("x", url.Values{"client_id": {"other"}}), nil)
		}},
		{
			name: "nobody signs in", code: lti.SignInNotConfigured,
			change: func(t *routing.Table) { activityIn(t, "height").Share.SignIn = routing.SignInOpenIDConnect },
			do:     func(b *browser) answer { return b.launch13(moodle(), "height", nil) },
		},
		{name: "claims without a token", code: lti.AccessTokenInvalid, json: true, do: func(b *browser) answer { return b.userInfo("guessed") }},
		{name: "nothing reported", code: lti.ReportInvalid, json: true, do: func(b *browser) answer { return b.reports("x", "height", nil) }},
		{
			name: "another application's activity", code: lti.ClientNotPermitted, json: true,
			change: func(t *routing.Table) { activityIn(t, "height").Share.ClientID = "another-app" },
			do:     func(b *browser) answer { return b.reports("x", "height", map[string]any{"completed": true}) },
		},
		{name: "another application's code", code: lti.ClientNotPermitted, json: true, do: func(b *browser) answer {
			code := b.launch13(moodle(), "height", nil).code()
			b.republish(func(t *routing.Table) { activityIn(t, "height").Share.ClientID = "another-app" })
			return b.redeem(code)
		}},
		{name: "key of another report", code: lti.IdempotencyKeyReused, json: true, do: func(b *browser) answer {
			report := `{"activity":"height","completed":true,"sub":"` + b.enter(b.browser().launch13(moodle(), "height", nil)).Subject + `"`
			b.postReport(report+"}", clientSecret, "k")
			return b.postReport(report+`,"percent":1}`, clientSecret, "k")
		}},
		{name: "known person", code: lti.IssuerChanged, do: func(b *browser) answer {
			b.launch13(moodle(), "height", nil).location()
			changed := moodle()
			changed.issuer = "https://new.lms.example"
			b.republish(func(t *routing.Table) {
				platformIn(t, "moodle").LTI13.Issuer = changed.issuer
				platformIn(t, "moodle").LTI13.AuthenticationURL = changed.issuer + "/auth?x=1"
			})
			return b.launch13(changed, "height", nil)
		}},
		{name: "button pressed late", code: lti.LaunchExpired, do: func(b *browser) answer {
			b.dest = "iframe"
			ticket := b.launch13(moodle(), "height", nil).ticket()
			b.clock.advance(11 * time.Minute)
			return b.open(ticket)
		}},
		{name: "ticket that we did not make", code: lti.LaunchExpired, do: post(routing.PathOpen, url.Values{"ticket": {"guessed"}})},
		{name: "button pressed twice", code: lti.LaunchAlreadyUsed, do: func(b *browser) answer {
			b.dest = "iframe"
			ticket := b.launch13(moodle(), "height", nil).ticket()
			b.open(ticket).location()
			return b.open(ticket)
		}},
		{name: "redeem with a wrong secret", code: lti.ClientUnauthorized, json: true, do: func(b *browser) answer { return b.redeemWith("x", "guess") }},
		{name: "redeem without a secret", code: lti.ClientUnauthorized, json: true, do: post(routing.PathLaunchCodes, url.Values{"code": {"x"}})},
		{name: "account with a wrong secret", code: lti.ClientUnauthorized, json: true, do: func(b *browser) answer {
			return b.putAccount("anybody", `{"active":true}`, "guess")
		}},
		{name: "code that we did not make", code: lti.CodeInvalid, json: true, do: func(b *browser) answer { return b.redeem("guessed") }},
		{name: "code redeemed late", code: lti.CodeInvalid, json: true, do: func(b *browser) answer {
			code := b.launch13(moodle(), "height", nil).code()
			b.clock.advance(61 * time.Second)
			return b.redeem(code)
		}},
		{name: "ticket in place of a code", code: lti.CodeInvalid, json: true, do: func(b *browser) answer {
			b.dest = "iframe"
			return b.redeem(b.launch13(moodle(), "height", nil).ticket())
		}},
	}
}

// connecting launches somebody whose address is taken, and goes on from that page.
func connecting(do func(b *browser, p *identityProvider, x answer) answer) func(*browser) answer {
	return func(b *browser) answer {
		p := newIdentityProvider(b.t)
		b.republish(p.uses)
		b.browser().launch13(campus(), "height", person("4", "sam@example.org")).location()
		return do(b, p, b.launch13(moodle(), "height", person("4", "sam@example.org")))
	}
}

// answering launches while the academy's directory answers with a status.
func answering(status int32) func(*browser) answer {
	return func(b *browser) answer {
		d := newSCIM(b.t)
		d.status.Store(status)
		b.republish(d.uses)
		return b.launch13(moodle(), "height", nil)
	}
}

func ourRefusals() []refusal {
	// broken serves from a store that fails.
	broken := func(accept func() error) func(*browser) answer {
		return func(b *browser) answer {
			b.public = b.startAnother(brokenStore{Store: b.store, accept: accept})
			return b.launch13(moodle(), "height", nil)
		}
	}
	closed := func(b *browser) {
		if err := b.store.Close(); err != nil {
			b.t.Fatal(err)
		}
	}
	notReady := func(b *browser) {
		dir := b.t.TempDir()
		b.public = b.start(b.store, func(o *handler.Options) { o.ConfigDir = dir }).Public()
	}
	// busy serves with one slot, which somebody has for the rest of the test.
	busy := func(b *browser) {
		release := b.occupied()
		b.t.Cleanup(release)
	}
	return []refusal{
		{name: "login", code: lti.Overloaded, do: func(b *browser) answer { busy(b); return login13(nil)(b) }},
		{name: "launch", code: lti.Overloaded, do: answer13(func(b *browser, _ url.Values) { busy(b) })},
		{name: "redeem", code: lti.Overloaded, json: true, do: func(b *browser) answer { busy(b); return b.redeem("x") }},
		{name: "launch 1.3", code: lti.StoreUnavailable, do: answer13(func(b *browser, _ url.Values) { closed(b) })},
		{name: "launch 1.2", code: lti.StoreUnavailable, do: func(b *browser) answer { closed(b); return b.launch12("height", "height-key", nil) }},
		{name: "button", code: lti.StoreUnavailable, do: func(b *browser) answer { closed(b); return b.open("x") }},
		{name: "redeem", code: lti.StoreUnavailable, json: true, do: func(b *browser) answer { closed(b); return b.redeem("x") }},
		{name: "account", code: lti.StoreUnavailable, json: true, do: func(b *browser) answer { closed(b); return b.setAccount("x", true) }},
		{name: "login", code: lti.NotReady, do: func(b *browser) answer { notReady(b); return login13(nil)(b) }},
		{name: "redeem", code: lti.NotReady, json: true, do: func(b *browser) answer { notReady(b); return b.redeem("x") }},
		{name: "account", code: lti.NotReady, json: true, do: func(b *browser) answer { notReady(b); return b.setAccount("x", true) }},
		{name: "panic", code: lti.InternalError, do: broken(func() error { panic("out of order") })},
		{name: "unknown error", code: lti.InternalError, do: broken(func() error { return errors.New("out of order") })},
		{name: "identifier in use", code: lti.InternalError, do: broken(func() error { return store.ErrConflict })},
	}
}

// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/nrps"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// external adds the activities of others to the academy of a case, whose browser is that of a learner.
func external(do func(b *learnerBrowser) answer) func(*browser) answer {
	return func(b *browser) answer { return do(b.withExternal().in(b, zoe())) }
}

// in is a browser, which others may have used, whose learner is signed in at the identity provider.
func (a *externalAcademy) in(b *browser, who jwt.MapClaims) *learnerBrowser {
	return &learnerBrowser{browser: b, idp: a.idp, who: who}
}

// changed is external with another table.
func changed(change func(*routing.Table), do func(b *learnerBrowser) answer) func(*browser) answer {
	return external(func(b *learnerBrowser) answer {
		b.republish(change)
		return do(b)
	})
}

// starts opens the link of an activity.
func starts(activity string) func(b *learnerBrowser) answer {
	return func(b *learnerBrowser) answer { return b.do(http.MethodGet, "/activities/"+activity+"/start", nil) }
}

// returns comes back from the identity provider, otherwise than it should.
func returns(do func(b *learnerBrowser, asked url.Values) answer) func(*browser) answer {
	return external(func(b *learnerBrowser) answer { return do(b, starts("simulation")(b).location().Query()) })
}

func callback(parameters url.Values) string {
	return routing.PathLearnerCallback + "?" + parameters.Encode()
}

// authorizes posts an authentication request of the lab, for a launch that has just begun, after changing it. A parameter
// without values is removed.
func authorizes(change url.Values) func(*browser) answer {
	return between(func(_ *learnerBrowser, form url.Values) { maps.Copy(form, change) })
}

// between does something between the login initiation and the tool's authentication request.
func between(do func(b *learnerBrowser, form url.Values)) func(*browser) answer {
	return external(func(b *learnerBrowser) answer {
		form := b.request(b.initiated("simulation"))
		do(b, form)
		return b.authorizeAt("lab", form)
	})
}

// authorizeAt is authorize for whatever client the request names.
func (b *learnerBrowser) authorizeAt(tool string, form url.Values) answer {
	b.t.Helper()
	return b.do(http.MethodPost, "/tools/"+tool+"/authorize", form)
}

// calls calls our services after a launch of zoe.
func calls(do func(c *toolClient, sub string) answer) func(*browser) answer {
	return external(func(b *learnerBrowser) answer {
		sub := b.subject("simulation")
		return do(b.lab(), sub)
	})
}

// other is another learner in a browser of their own.
func (b *learnerBrowser) other(name string) *learnerBrowser {
	return &learnerBrowser{browser: b.academy.browser(), idp: b.idp, who: learnerNamed(name)}
}

// subject opens an activity, and returns what the tool calls the learner.
func (b *learnerBrowser) subject(activity string) string {
	b.t.Helper()
	sub, _ := b.launch(activity)["sub"].(string)
	if sub == "" {
		b.t.Fatal("a launch without a subject")
	}
	return sub
}

// asksToken asks the token endpoint of the lab.
func asksToken(form func(c *toolClient) url.Values) func(*browser) answer {
	return external(func(b *learnerBrowser) answer { return b.lab().ask(form(b.lab())) })
}

// ask posts to the tool's token endpoint.
func (c *toolClient) ask(form url.Values) answer {
	c.t.Helper()
	return c.browser().do(http.MethodPost, "/tools/"+c.name+"/token", form)
}

// context is below which the services of an activity of the tool are.
func (c *toolClient) context(activity string) string {
	return "/tools/" + c.name + "/contexts/" + activity
}

func (c *toolClient) get(path string) answer {
	c.t.Helper()
	return c.call(http.MethodGet, path, "", "")
}

func deactivate(name string) func(*routing.Table) {
	return func(t *routing.Table) { toolIn(t, name).Active = false }
}

func externalRefusals() []refusal {
	return slices.Concat(startRefusals(), authorizePages(), authorizeErrors(), serviceRefusals())
}

func startRefusals() []refusal {
	return []refusal{
		{name: "start", code: lti.ActivityUnknown, do: external(starts("nothing"))},
		{name: "start of an activity that is shared", code: lti.NotExternal, do: external(starts("height"))},
		{name: "start of an activity of neither kind", code: lti.NotExternal, do: external(starts("private"))},
		{name: "start", code: lti.LearnersNotConfigured, do: changed(func(t *routing.Table) { t.Academy.Learners = nil }, starts("simulation"))},
		{name: "back from an identity provider that is no longer one", code: lti.LearnersNotConfigured, do: returns(func(b *learnerBrowser, asked url.Values) answer {
			b.republish(func(t *routing.Table) { t.Academy.Learners = nil })
			return b.do(http.MethodGet, callback(url.Values{"code": {"c"}, "state": {asked.Get("state")}}), nil)
		})},
		{name: "start", code: lti.IdentityProviderUnavailable, do: external(func(b *learnerBrowser) answer {
			b.idp.status = http.StatusServiceUnavailable
			return starts("simulation")(b)
		})},
		{name: "start", code: lti.SignInRefused, do: returns(func(b *learnerBrowser, asked url.Values) answer {
			return b.do(http.MethodGet, callback(url.Values{"error": {"access_denied"}, "state": {asked.Get("state")}, "iss": {b.idp.URL}}), nil)
		})},
		{name: "start with the nonce of another sign-in", code: lti.IdentityProviderInvalid, do: returns(func(b *learnerBrowser, asked url.Values) answer {
			b.idp.claims, b.idp.nonce = b.who, "other"
			return b.do(http.MethodGet, callback(url.Values{"code": {"c"}, "state": {asked.Get("state")}, "iss": {b.idp.URL}}), nil)
		})},
		{name: "sign-in of another browser", code: lti.StateNotFromThisBrowser, do: returns(func(b *learnerBrowser, asked url.Values) answer {
			b.jar = b.academy.browser().jar
			return b.do(http.MethodGet, callback(url.Values{"code": {"c"}, "state": {asked.Get("state")}, "iss": {b.idp.URL}}), nil)
		})},
		{name: "slow sign-in", code: lti.StateExpired, do: returns(func(b *learnerBrowser, asked url.Values) answer {
			b.clock.advance(time.Hour)
			return b.do(http.MethodGet, callback(url.Values{"code": {"c"}, "state": {asked.Get("state")}, "iss": {b.idp.URL}}), nil)
		})},
		{name: "start at a tool that is gone", code: lti.ToolUnknown, do: changed(func(t *routing.Table) {
			t.Tools = slices.DeleteFunc(t.Tools, func(x routing.Tool) bool { return x.Name == "lab" })
		}, starts("simulation"))},
		{name: "start", code: lti.ToolDeactivated, do: changed(deactivate("lab"), starts("simulation"))},
		{name: "start", code: lti.AcademyDeactivated, do: changed(func(t *routing.Table) { t.Academy.Active = false }, starts("simulation"))},
		{name: "start at a tool without registration", code: lti.NotRegistered, do: changed(func(t *routing.Table) { toolIn(t, "lab").LTI13 = nil }, starts("simulation"))},
		{name: "start without a key", code: lti.NotRegistered, do: changed(func(t *routing.Table) { t.ExternalCredentials = nil }, starts("partner"))},
		{name: "start with an empty store", code: lti.StoreUnavailable, do: external(func(b *learnerBrowser) answer {
			_ = b.store.Close()
			b.who = jwt.MapClaims{"sub": "idp-9", "account": "nobody-yet", "locale": ""}
			return b.begin("simulation")
		})},
		{name: "launch of an external activity from elsewhere", code: lti.NotShared, do: external(func(b *learnerBrowser) answer {
			return b.launch13(moodle(), "simulation", nil)
		})},
	}
}

// authorizePages are refusals that a tool is not told about: who asks, or where the answer goes, is not certain.
func authorizePages() []refusal {
	refused := []refusal{
		{name: "authentication request", code: lti.ToolUnknown, do: external(func(b *learnerBrowser) answer {
			return b.authorizeAt("nobody", b.request(b.initiated("simulation")))
		})},
		{name: "authentication request", code: lti.ToolDeactivated, do: between(func(b *learnerBrowser, _ url.Values) { b.republish(deactivate("lab")) })},
		{name: "authentication request", code: lti.AcademyDeactivated, do: between(func(b *learnerBrowser, _ url.Values) {
			b.republish(func(t *routing.Table) { t.Academy.Active = false })
		})},
		{name: "authentication request", code: lti.NotRegistered, do: between(func(b *learnerBrowser, _ url.Values) {
			b.republish(func(t *routing.Table) { toolIn(t, "lab").LTI13 = nil })
		})},
		{name: "authentication request of another client", code: lti.ClientIDMismatch, do: authorizes(url.Values{"client_id": {"rival"}})},
		{name: "authentication request of nobody", code: lti.ParameterMissing, do: authorizes(url.Values{"client_id": nil})},
		{name: "authentication request of two", code: lti.ParameterRepeated, do: authorizes(url.Values{"client_id": {"lab", "lab"}})},
		{name: "no redirect URI", code: lti.ParameterMissing, do: authorizes(url.Values{"redirect_uri": nil})},
		{name: "empty redirect URI", code: lti.ParameterMissing, do: authorizes(url.Values{"redirect_uri": {""}})},
		{name: "two redirect URIs", code: lti.ParameterRepeated, do: authorizes(url.Values{"redirect_uri": {"https://lab.example/launch", "https://evil.example/"}})},
		{name: "authentication request that is not a form", code: lti.RequestMalformed, do: external(func(b *learnerBrowser) answer {
			return b.send(http.MethodPost, "/tools/lab/authorize", "application/json", "{}")
		})},
		{name: "long authentication request", code: lti.RequestTooLarge, do: authorizes(url.Values{"state": {strings.Repeat("x", 256<<10)}})},
	}
	for _, uri := range []string{
		"https://lab.example/launch/", "https://lab.example/Launch", "https://LAB.example/launch", "HTTPS://lab.example/launch",
		"https://lab.example/launch?x=1", "https://lab.example/launch?", "https://lab.example/launch#x", "http://lab.example/launch",
		"https://lab.example:443/launch", "https://lab.example/%6caunch", " https://lab.example/launch", "https://lab.example/launch/3",
		"https://lab.example/a/../launch", "https://lab.example.evil.example/launch", "https://lab.example@evil.example/launch",
		"https://rival.example/launch", "/launch", "javascript:alert(1)//https://lab.example/launch", "data:text/html,x",
	} {
		refused = append(refused, refusal{name: uri, code: lti.RedirectURIMismatch, do: func(b *browser) answer {
			x := authorizes(url.Values{"redirect_uri": {uri}})(b)
			if body := x.Body.String(); strings.Contains(body, "<form") || strings.Contains(body, "id_token=") || x.Header().Get("Location") != "" {
				b.t.Errorf("the browser is sent on: %s", body)
			}
			return x
		}})
	}
	// What is registered by mistake is no address to post to either.
	return append(refused, refusal{name: "script that is registered", code: lti.RedirectURIMismatch, do: between(func(b *learnerBrowser, form url.Values) {
		b.republish(func(t *routing.Table) { toolIn(t, "lab").LTI13.RedirectURIs = []string{"javascript:alert(1)"} })
		form.Set("redirect_uri", "javascript:alert(1)")
	})})
}

// authorizeErrors are refusals that are posted to the tool.
func authorizeErrors() []refusal {
	var refused []refusal
	invalid := func(name string, code lti.Code, posted string, change url.Values) {
		refused = append(refused, refusal{name: name, code: code, posted: posted, do: authorizes(change)})
	}
	for _, required := range []string{"scope", "response_type", "response_mode", "login_hint", "lti_message_hint", "nonce"} {
		invalid("no "+required, lti.ParameterMissing, "invalid_request", url.Values{required: nil})
		invalid("empty "+required, lti.ParameterMissing, "invalid_request", url.Values{required: {""}})
		invalid("two of "+required, lti.ParameterRepeated, "invalid_request", url.Values{required: {"a", "b"}})
	}
	invalid("two states", lti.ParameterRepeated, "invalid_request", url.Values{"state": {"a", "b"}})
	invalid("two of something else", lti.ParameterRepeated, "invalid_request", url.Values{"x": {"a", "a"}})
	for _, scope := range []string{"openid profile", "profile", "OpenID", "openid ", "email openid"} {
		invalid("scope "+scope, lti.AuthenticationRequestInvalid, "invalid_scope", url.Values{"scope": {scope}})
	}
	for _, kind := range []string{"code", "token", "id_token token", "code id_token"} {
		invalid("response_type "+kind, lti.AuthenticationRequestInvalid, "unsupported_response_type", url.Values{"response_type": {kind}})
	}
	for _, mode := range []string{"query", "fragment", "FORM_POST"} {
		invalid("response_mode "+mode, lti.AuthenticationRequestInvalid, "invalid_request", url.Values{"response_mode": {mode}})
	}
	for _, prompt := range []string{"login", "none login", "consent"} {
		invalid("prompt "+prompt, lti.AuthenticationRequestInvalid, "invalid_request", url.Values{"prompt": {prompt}})
	}
	invalid("nonce of two lines", lti.ParameterInvalid, "invalid_request", url.Values{"nonce": {"a\nb"}})
	invalid("long nonce", lti.ParameterInvalid, "invalid_request", url.Values{"nonce": {strings.Repeat("n", 1025)}})
	invalid("hint that we did not make", lti.HintInvalid, "invalid_request", url.Values{"lti_message_hint": {"guessed"}})
	invalid("login hint of nobody", lti.LearnerMismatch, "login_required", url.Values{"login_hint": {"guessed"}})
	closed := func(b *learnerBrowser, _ url.Values) { _ = b.store.Close() }
	moves := func(change func(*routing.Table)) func(*browser) answer {
		return between(func(b *learnerBrowser, _ url.Values) { b.republish(change) })
	}
	return append(refused,
		refusal{name: "scope in a query", code: lti.AuthenticationRequestInvalid, posted: "invalid_scope", do: external(func(b *learnerBrowser) answer {
			form := b.request(b.initiated("simulation"))
			form.Set("scope", "profile")
			return b.do(http.MethodGet, "/tools/lab/authorize?"+form.Encode(), nil)
		})},
		refusal{name: "truncated hint", code: lti.HintInvalid, posted: "invalid_request", do: between(func(_ *learnerBrowser, form url.Values) {
			hint := form.Get("lti_message_hint")
			form.Set("lti_message_hint", hint[:len(hint)-1])
		})},
		refusal{name: "hint with a letter changed", code: lti.HintInvalid, posted: "invalid_request", do: between(func(_ *learnerBrowser, form url.Values) {
			hint := []byte(form.Get("lti_message_hint"))
			hint[len(hint)/2] ^= 1
			form.Set("lti_message_hint", string(hint))
		})},
		refusal{name: "state of a sign-in in place of a hint", code: lti.HintInvalid, posted: "invalid_request", do: between(func(b *learnerBrowser, form url.Values) {
			form.Set("lti_message_hint", starts("simulation")(b).location().Query().Get("state"))
		})},
		refusal{name: "access token in place of a hint", code: lti.HintInvalid, posted: "invalid_request", do: between(func(b *learnerBrowser, form url.Values) {
			form.Set("lti_message_hint", b.lab().token(allScopes()...))
		})},
		refusal{name: "hint of another tool", code: lti.HintInvalid, posted: "invalid_request", do: external(func(b *learnerBrowser) answer {
			form := b.request(b.initiated("simulation"))
			form.Set("client_id", "rival")
			form.Set("redirect_uri", "https://rival.example/launch")
			return b.authorizeAt("rival", form)
		})},
		refusal{name: "slow tool", code: lti.LaunchExpired, posted: "login_required", do: between(func(b *learnerBrowser, _ url.Values) {
			b.clock.advance(61 * time.Second)
		})},
		refusal{name: "hint used twice", code: lti.LaunchAlreadyUsed, posted: "login_required", do: external(func(b *learnerBrowser) answer {
			b.launch("simulation")
			return b.browser.again(nil)
		})},
		refusal{name: "learner of another launch", code: lti.LearnerMismatch, posted: "login_required", do: between(func(b *learnerBrowser, form url.Values) {
			form.Set("login_hint", b.other("yan").initiated("simulation").Get("login_hint"))
		})},
		refusal{name: "another browser, posted again from our page", code: lti.StateNotFromThisBrowser, posted: "login_required", do: between(func(b *learnerBrowser, form url.Values) {
			b.jar = b.academy.browser().jar
			form.Set("lti_operator_reposted", "1")
		})},
		refusal{name: "activity that has moved to another tool", code: lti.NotExternal, posted: "access_denied", do: moves(func(t *routing.Table) {
			activityIn(t, "simulation").External.LTI13.Tool = "rival"
		})},
		refusal{name: "activity that has moved to LTI 1.2", code: lti.NotExternal, posted: "access_denied", do: moves(func(t *routing.Table) {
			activityIn(t, "simulation").External = activityIn(t, "partner").External
			t.ExternalCredentials = append(t.ExternalCredentials, routing.ExternalCredential{Activity: "simulation", ConsumerKey: partnerKey, Secrets: []string{partnerSecret}})
		})},
		refusal{name: "activity that has another address since", code: lti.LaunchExpired, posted: "login_required", do: moves(func(t *routing.Table) {
			activityIn(t, "simulation").External.LTI13.ResourceURL = "https://lab.example/resources/simulation?lang=nl"
		})},
		refusal{name: "activity that was removed", code: lti.ActivityUnknown, posted: "access_denied", do: moves(func(t *routing.Table) {
			t.Activities = slices.DeleteFunc(t.Activities, func(x routing.Activity) bool { return x.Name == "simulation" })
		})},
		refusal{name: "signing key that is gone", code: lti.NotRegistered, posted: "server_error", do: moves(func(t *routing.Table) {
			t.SigningKeys = slices.DeleteFunc(t.SigningKeys, func(k routing.SigningKey) bool { return k.Name == "lab" })
		})},
		refusal{name: "authentication request", code: lti.StoreUnavailable, posted: "server_error", do: between(closed)},
	)
}

// serviceRefusals are one of each kind; which requests are refused how is for the tests of the services.
func serviceRefusals() []refusal {
	json := func(name string, code lti.Code, do func(*browser) answer) refusal {
		return refusal{name: name, code: code, json: true, do: do}
	}
	scored := func(activity, learner string, at time.Duration) func(*browser) answer {
		return calls(func(c *toolClient, sub string) answer {
			if x := c.score("simulation", sub, c.clock.now(), "Completed", "FullyGraded", "80", "100"); x.Code != http.StatusOK {
				c.t.Fatal(x.Code, x.Body)
			}
			if learner == "" {
				learner = sub
			}
			return c.score(activity, learner, c.clock.now().Add(at), "Completed", "FullyGraded", "90", "100")
		})
	}
	return []refusal{
		json("token of a tool that is not there", lti.ToolUnknown, external(func(b *learnerBrowser) answer {
			return (&toolClient{b.academy, "nobody", labKey()}).ask(tokenForm(b.lab().assertion(nil), allScopes()...))
		})),
		json("token of a tool", lti.ToolDeactivated, changed(deactivate("lab"), func(b *learnerBrowser) answer {
			return b.lab().ask(tokenForm(b.lab().assertion(nil), allScopes()...))
		})),
		json("token before there is a registration", lti.NotRegistered, changed(func(t *routing.Table) { toolIn(t, "lab").LTI13 = nil }, func(b *learnerBrowser) answer {
			return b.lab().ask(tokenForm(b.lab().assertion(nil), allScopes()...))
		})),
		json("authorization code", lti.GrantUnsupported, asksToken(func(c *toolClient) url.Values {
			form := tokenForm(c.assertion(nil), allScopes()...)
			form.Set("grant_type", "authorization_code")
			return form
		})),
		json("scope of nothing", lti.ScopeNotGranted, asksToken(func(c *toolClient) url.Values { return tokenForm(c.assertion(nil), "openid") })),
		json("token for scores", lti.ScopeMissing, calls(func(c *toolClient, _ string) answer {
			return c.callWith(c.token(ags.ScopeScore), http.MethodGet, c.context("simulation")+"/memberships", "", "")
		})),
		json("token of the rival", lti.AccessTokenForeign, calls(func(c *toolClient, _ string) answer {
			return c.callWith(c.rival().token(allScopes()...), http.MethodGet, c.context("simulation")+"/memberships", "", "")
		})),
		json("no token", lti.AccessTokenInvalid, calls(func(c *toolClient, _ string) answer {
			return c.browser().do(http.MethodGet, c.context("simulation")+"/memberships", nil)
		})),
		json("context of the rival", lti.ContextUnknown, calls(func(c *toolClient, _ string) answer { return c.get(c.context("other") + "/lineitems") })),
		json("line item of nothing", lti.LineItemUnknown, calls(func(c *toolClient, _ string) answer {
			return c.get(c.context("simulation") + "/lineitems/nothing")
		})),
		json("line item of the activity deleted", lti.LineItemProtected, calls(func(c *toolClient, _ string) answer {
			return c.call(http.MethodDelete, c.context("simulation")+"/lineitems/activity", "", "")
		})),
		json("one line item more", lti.LineItemsTooMany, calls(func(c *toolClient, _ string) answer {
			for i := range store.MaxToolLineItems {
				if err := c.store.PutToolLineItem(c.t.Context(), store.ToolLineItem{
					Realm: store.ToolRealm("lab"), Activity: "simulation", ID: fmt.Sprint(i), Document: []byte(`{"label":"x","scoreMaximum":1}`), CreatedAt: c.clock.now(),
				}); err != nil {
					c.t.Fatal(err)
				}
			}
			return c.createLineItem("simulation", `{"label":"x","scoreMaximum":1}`)
		})),
		json("score of nobody", lti.LearnerUnknown, scored("simulation", "nobody", time.Second)),
		json("score in an activity that was not opened", lti.LearnerUnknown, scored("exam", "", time.Second)),
		json("old score", lti.ScoreOutdated, scored("simulation", "", -time.Hour)),
		json("other score of the same time", lti.ScoreOutdated, calls(func(c *toolClient, sub string) answer {
			at := c.clock.now()
			c.score("simulation", sub, at, "Completed", "FullyGraded", "80", "100")
			return c.score("simulation", sub, at, "Completed", "FullyGraded", "90", "100")
		})),
		json("assertion used twice", lti.Replayed, asksToken(func(c *toolClient) url.Values {
			form := tokenForm(c.assertion(nil), nrps.Scope)
			c.ask(form)
			return form
		})),
		json("result of nobody", lti.ResultUnknown, external(func(b *learnerBrowser) answer { return b.asAcademy(routing.PathResults + "/nothing") })),
		json("results with a wrong secret", lti.ClientUnauthorized, external(func(b *learnerBrowser) answer {
			b.header.Set("Authorization", basic("guess"))
			return b.do(http.MethodGet, routing.PathResults, nil)
		})),
		json("token", lti.StoreUnavailable, asksToken(func(c *toolClient) url.Values {
			_ = c.store.Close()
			return tokenForm(c.assertion(nil), nrps.Scope)
		})),
	}
}

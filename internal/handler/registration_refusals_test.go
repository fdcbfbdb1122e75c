// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// registering posts an initiation, which spoil has changed, as the page of a registration link does.
func registering(spoil func(b *browser, p *peerPlatform, form url.Values)) func(*browser) answer {
	return func(b *browser) answer {
		b.t.Helper()
		b.externalTable(b.table)
		b.republish(registrableTable(b.academy))
		p := newPeerPlatform(b.t)
		form := p.initiation()
		spoil(b, p, form)
		return b.do(http.MethodPost, "/platforms/newcomer/register", form)
	}
}

// offered opens the link instead.
func offered(change url.Values) func(*browser) answer {
	return func(b *browser) answer {
		b.republish(registrableTable(b.academy))
		form := newPeerPlatform(b.t).initiation()
		for name, values := range change {
			form[name] = values
		}
		return b.do(http.MethodGet, "/platforms/newcomer/register?"+form.Encode(), nil)
	}
}

func registrationRefusals() []refusal {
	link := func(b *browser) store.RegistrationLink {
		return store.RegistrationLink{Hash: store.HashToken(platformLink), ExpiresAt: b.clock.now().Add(time.Hour)}
	}
	claimed := func(b *browser) string {
		lease, err := b.store.ClaimRegistrationLink(b.t.Context(), link(b))
		if err != nil {
			b.t.Fatal(err)
		}
		return lease
	}
	tool := func(token, body string) func(*browser) answer {
		return func(b *browser) answer {
			b.externalTable(b.table)
			b.republish(registrableTable(b.academy))
			return b.registerTool("lab", token, body)
		}
	}
	answers := func(status int, body string) func(*browser, *peerPlatform, url.Values) {
		return func(_ *browser, p *peerPlatform, _ url.Values) {
			p.register = func(rw http.ResponseWriter, _ *http.Request) {
				rw.WriteHeader(status)
				_, _ = io.WriteString(rw, body)
			}
		}
	}
	return []refusal{
		{name: "guess", code: lti.RegistrationLinkInvalid, do: offered(url.Values{"token": {"guess"}})},
		{name: "no platform", code: lti.RegistrationLinkInvalid, do: post("/platforms/nobody/register", url.Values{"token": {platformLink}})},
		{name: "two tokens", code: lti.ParameterRepeated, do: offered(url.Values{"token": {platformLink, "guess"}})},
		{name: "not a form", code: lti.RequestMalformed, do: func(b *browser) answer {
			return b.send(http.MethodPost, "/platforms/newcomer/register", "application/json", "{}")
		}},
		{name: "link opened late", code: lti.RegistrationLinkExpired, do: func(b *browser) answer {
			b.republish(registrableTable(b.academy))
			b.clock.advance(time.Hour)
			return b.do(http.MethodGet, "/platforms/newcomer/register?token="+platformLink, nil)
		}},
		{name: "late", code: lti.RegistrationLinkExpired, do: registering(func(b *browser, _ *peerPlatform, _ url.Values) { b.clock.advance(time.Hour) })},
		{name: "link used before", code: lti.RegistrationLinkUsed, do: registering(func(b *browser, _ *peerPlatform, _ url.Values) {
			if err := b.store.CompleteRegistration(b.t.Context(), link(b).Hash, claimed(b), store.Registration{
				Kind: routing.KindPlatform, Name: "newcomer", ID: "x", Document: []byte("{}"),
			}); err != nil {
				b.t.Fatal(err)
			}
		})},
		{name: "link in use", code: lti.RegistrationLinkBusy, do: registering(func(b *browser, _ *peerPlatform, _ url.Values) { claimed(b) })},
		{name: "no configuration", code: lti.RegistrationInitiationInvalid, do: offered(url.Values{"openid_configuration": nil})},
		{name: "private address", code: lti.RegistrationAddressForbidden, do: registering(func(_ *browser, _ *peerPlatform, form url.Values) {
			form.Set("openid_configuration", "https://192.168.1.1/")
		})},
		{name: "nobody there", code: lti.RegistrationUnreachable, do: registering(func(_ *browser, p *peerPlatform, _ url.Values) { p.Close() })},
		{name: "issuer of another", code: lti.RegistrationConfigurationInvalid, do: registering(func(_ *browser, p *peerPlatform, _ url.Values) {
			p.configuration = strings.Replace(p.configuration, `"issuer": "`+p.URL, `"issuer": "https://university.example`, 1)
		})},
		{name: "Canvas", code: lti.RegistrationRefused, do: registering(answers(http.StatusUnprocessableEntity, `{"errors":[]}`))},
		{name: "no client", code: lti.RegistrationAnswerInvalid, do: registering(answers(http.StatusOK, `{}`))},
		{name: "slow platform", code: lti.RegistrationNotKept, do: registering(func(b *browser, p *peerPlatform, _ url.Values) {
			p.meanwhile(func() {
				b.clock.advance(store.RegistrationLease)
				claimed(b)
				b.clock.advance(store.RegistrationLease)
			})
		})},
		{name: "platform switched off", code: lti.PlatformDeactivated, do: registering(func(b *browser, _ *peerPlatform, _ url.Values) {
			b.republish(func(t *routing.Table) { platformIn(t, "newcomer").Active = false })
		})},
		{name: "registration", code: lti.AcademyDeactivated, do: registering(func(b *browser, _ *peerPlatform, _ url.Values) {
			b.republish(func(t *routing.Table) { t.Academy.Active = false })
		})},
		{name: "registration", code: lti.StoreUnavailable, do: registering(func(b *browser, _ *peerPlatform, _ url.Values) { _ = b.store.Close() })},

		{name: "tool without a token", code: lti.RegistrationLinkInvalid, json: true, do: tool("", moodleRegisters)},
		{name: "tool that says nothing", code: lti.RegistrationMetadataInvalid, json: true, do: tool(toolLink, "{}")},
		{name: "tool without redirect URIs", code: lti.RegistrationRedirectInvalid, json: true, do: tool(toolLink,
			strings.Replace(moodleRegisters, `"redirect_uris"`, `"redirects"`, 1))},
		{name: "tool", code: lti.AcademyDeactivated, json: true, do: func(b *browser) answer {
			b.republish(func(t *routing.Table) { t.Academy.Active = false })
			return b.registerTool("lab", toolLink, moodleRegisters)
		}},
	}
}

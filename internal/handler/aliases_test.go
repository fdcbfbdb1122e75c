// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
)

const aliasURL = "https://lti.brand.example"

func newAcademyWithAlias(t *testing.T) *academy {
	a := newAcademy(t)
	a.table.Academy.Aliases = []string{aliasURL}
	a.publish()
	return a
}

// at is a browser that uses another address of the academy.
func (a *academy) at(base string) *browser {
	b := a.browser()
	b.base = base
	return b
}

func TestAFormIsVerifiedForTheAddressThatItWasSentTo(t *testing.T) {
	a := newAcademyWithAlias(t)
	const stranger = "https://10.0.0.7:8080"
	for name, c := range map[string]struct {
		signed, sent string
		accepted     bool
	}{
		"main to main":                      {academyURL, academyURL, true},
		"alias to alias":                    {aliasURL, aliasURL, true},
		"alias, the host in another case":   {aliasURL, "https://LTI.Brand.Example", true},
		"alias to main":                     {aliasURL, academyURL, false},
		"main to alias":                     {academyURL, aliasURL, false},
		"main to an unknown host":           {academyURL, stranger, true},
		"unknown host to itself":            {stranger, stranger, false},
		"alias to an unknown host":          {aliasURL, stranger, false},
		"alias without TLS to alias":        {"http://lti.brand.example", aliasURL, false},
		"host that begins like an alias":    {"https://lti.brand.example.evil.example", "https://lti.brand.example.evil.example", false},
		"main, signed with its TLS port":    {academyURL + ":443", academyURL, true},
		"alias, signed with another port":   {aliasURL + ":8443", aliasURL, false},
		"main to the port behind the proxy": {academyURL, academyURL + ":8080", true},
	} {
		b := a.at(c.sent)
		form := a.form12At(c.signed, "height", "height-key", nil)
		x := b.post12("height", form)
		if c.accepted {
			if x.reason() != "" {
				t.Errorf("%s: refused with %s", name, x.reason())
			}
			continue
		}
		a.refused(x, lti.SignatureInvalid)
	}
}

func TestALoginStaysOnItsAddress(t *testing.T) {
	a := newAcademyWithAlias(t)
	for _, base := range []string{academyURL, aliasURL} {
		b := a.at(base)
		// The helper checks that redirect_uri is below base.
		if c := a.enter(b.launch13(moodle(), "height", nil)); c.Activity != "height" {
			t.Errorf("%s: claims %+v", base, c)
		}
	}
	// An address that is not configured gives nothing but the main one.
	u := a.browser().do(http.MethodPost, "https://evil.example/platforms/moodle/login", loginForm(moodle(), "height")).location()
	if got := u.Query().Get("redirect_uri"); got != academyURL+"/platforms/moodle/launch" {
		t.Errorf("redirect_uri is %s", got)
	}
}

func TestHeadersOfAProxyAreIgnored(t *testing.T) {
	a := newAcademyWithAlias(t)
	for _, header := range []string{"X-Forwarded-Host", "X-Forwarded-Server", "X-Original-Host", "X-Host", "Forwarded"} {
		value := strings.TrimPrefix(aliasURL, "https://")
		if header == "Forwarded" {
			value = "host=" + value + ";proto=https"
		}
		b := a.browser()
		b.header.Set(header, value)
		b.header.Set("X-Forwarded-Proto", "http")
		// The helper checks that redirect_uri is below the main address.
		b.launch13(moodle(), "height", nil).location()
		b.launch12("height", "height-key", nil).location()
		a.refused(b.post12("height", a.form12At(aliasURL, "height", "height-key", nil)), lti.SignatureInvalid)
	}
}

func TestTargetLinksBelowAnAlias(t *testing.T) {
	a := newAcademyWithAlias(t)
	for target, want := range map[string]string{
		aliasURL + "/activities/ladder":                            "ladder",
		aliasURL + "/activities/ladder?lang=en":                    "ladder",
		aliasURL + "/platforms/moodle/launch":                      "height",
		"https://lti.brand.example.evil.example/activities/ladder": "",
		"https://lti.brand.example@evil.example/activities/ladder": "",
		"http://lti.brand.example/activities/ladder":               "",
		aliasURL + ":8443/activities/ladder":                       "",
		aliasURL + "/platforms/campus/launch":                      "",
		aliasURL + "/x/activities/ladder":                          "",
	} {
		for _, base := range []string{academyURL, aliasURL} {
			b := a.at(base)
			form := loginForm(moodle(), "height")
			form.Set("target_link_uri", target)
			login := b.do(http.MethodPost, "/platforms/moodle/login", form)
			x := b.launch13(moodle(), "height", func(c jwt.MapClaims) {
				c[claim+"target_link_uri"], c[claim+"custom"] = target, map[string]any{"activity": "height"}
			})
			if want == "" {
				a.refused(login, lti.TargetLinkUnknown)
				if code := x.reason(); code != lti.TargetLinkUnknown && code != lti.ClaimInvalid {
					t.Errorf("%s: %q", target, code)
				}
				continue
			}
			login.location()
			if got := a.enter(x).Activity; got != want {
				t.Errorf("%s leads to %s", target, got)
			}
		}
	}
	// An alias that was taken away is a foreign address.
	a.republish(func(t *routing.Table) { t.Academy.Aliases = nil })
	a.refused(a.browser().launch13(moodle(), "height", with(claim+"target_link_uri", aliasURL+"/activities/ladder")), lti.TargetLinkUnknown)
	a.refused(a.at(aliasURL).post12("height", a.form12At(aliasURL, "height", "height-key", nil)), lti.SignatureInvalid)
}

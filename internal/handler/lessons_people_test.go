// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
)

func peopleLessons() []lesson {
	return []lesson{
		{"CVE-2025-67848", "a suspended person does not get in by a launch", lessonSuspended},
		{"openedx-platform 33310", "an address is no proof of who somebody is", lessonEmailTakeover},
		{"Obojobo 116", "without a user ID there is nobody to sign in", lessonNoUser},
		{"mediathread 1498", "an empty address matches no account", lessonEmptyEmail},
	}
}

func formLessons() []lesson {
	return []lesson{
		{"one LTI 1.1 secret for many courses", "whoever has it is believed about no role and no person of LTI 1.3", lessonSharedSecret},
		{"OAuth replay", "a signed form works once, while it is fresh", lessonReplay},
		{"secrets in logs", "neither log nor page has a secret, a token or what a signature should be", lessonSecretsInLogs},
	}
}

// Moodle checked whether an account is suspended at its login form, and not when the person came by LTI. Here every step
// of a launch asks.
func lessonSuspended(t *testing.T, a *academy) {
	b := a.browser()
	code := b.launch13(moodle(), "height", nil).code()
	b.dest = "iframe"
	ticket := b.launch13(moodle(), "height", nil).ticket()
	b.dest = "document"
	subject := a.enter(b.launch13(moodle(), "height", nil)).Subject
	if x := b.setAccount(subject, false); x.Code != http.StatusNoContent {
		t.Fatal(x.Code, x.Body)
	}
	a.refused(b.launch13(moodle(), "height", nil), lti.AccountSuspended)
	a.refused(b.launch13(moodle(), "ladder", withoutPersonalData), lti.AccountSuspended)
	a.refused(b.open(ticket), lti.AccountSuspended)
	a.refusedJSON(b.redeem(code), lti.AccountSuspended)
	// A launch does not lift it either.
	b.launch13(moodle(), "height", with("given_name", "New"))
	a.refused(b.launch13(moodle(), "height", nil), lti.AccountSuspended)
}

// Whoever administers one learning system can send any address; software that finds accounts by address gave them the
// account. Here an address joins nothing unless both systems are believed about it.
func lessonEmailTakeover(t *testing.T, a *academy) {
	b := a.browser()
	boss := a.enter(b.launch13(moodle(), "height", person("1", "boss@acme.example")))
	for _, address := range []string{"boss@acme.example", "BOSS@ACME.EXAMPLE", " boss@acme.example ", "boss@acme.example\t"} {
		a.refused(b.launch13(campus(), "height", person("666", address)), lti.EmailInUse)
		a.refused(b.launch12("height", "height-key", sent12("evil.example", address)), lti.EmailInUse)
	}
	// The other way round: somebody waits in an account with the address, and the real one is not led into it.
	waiting := a.enter(b.launch12("height", "height-key", sent12("evil.example", "ceo@acme.example")))
	a.republish(func(t *routing.Table) { platformIn(t, "moodle").Users.AnyEmail = true })
	x := b.launch13(moodle(), "height", person("2", "ceo@acme.example"))
	a.refused(x, lti.EmailInUse)
	if waiting.EmailVerified || boss.EmailVerified {
		t.Error("an address that nobody vouched for is called verified")
	}
	// A known person does not become another by a changed address.
	a.enter(b.launch13(campus(), "height", person("666", "mallory@campus.example")))
	if c := a.enter(b.launch13(campus(), "height", person("666", "boss@acme.example"))); c.Subject == boss.Subject || c.Email != "mallory@campus.example" {
		t.Errorf("claims %+v", c)
	}
}

// Obojobo took a launch without a user ID for a user whose ID is empty, and all of them were one. Here they are nobody.
func lessonNoUser(_ *testing.T, a *academy) {
	b := a.browser()
	for _, id := range []any{nil, ""} {
		a.refused(b.launch13(moodle(), "height", with("sub", id)), lti.AnonymousLaunch)
	}
	a.refused(b.launch12("height", "height-key", param("user_id", "")), lti.AnonymousLaunch)
	a.refused(b.launch12("height", "height-key", func(p map[string]string) { delete(p, "user_id") }), lti.AnonymousLaunch)
	// Nobody was created for them.
	a.enter(b.launch13(campus(), "height", person("5", "sam@moodle.example")))
	a.enter(b.launch13(campus(), "height", person("6", "omer@example.org")))
}

// mediathread looked an empty address up, and found the first account that had none. Here an empty one creates nobody
// and finds nobody, also where every address is believed.
func lessonEmptyEmail(t *testing.T, a *academy) {
	a.table.Academy.Users.AnyEmail = true
	for i := range a.table.Platforms {
		a.table.Platforms[i].Users.AnyEmail = true
	}
	a.publish()
	b := a.browser()
	known := a.enter(b.launch13(moodle(), "height", nil))
	for _, empty := range []string{"", " ", "\t\n", "\u00a0", "\u200b"} {
		x := b.launch13(campus(), "height", person("77", empty))
		if empty == "\u200b" {
			// Not white space, and no address of anybody either.
			if x.Code == http.StatusSeeOther && a.enter(x).Subject == known.Subject {
				t.Error("an invisible address is somebody's")
			}
			continue
		}
		a.refused(x, lti.MissingUserData)
		a.refused(b.launch12("height", "height-key", param("lis_person_contact_email_primary", empty)), lti.MissingUserData)
	}
	// Somebody known who sends an empty address keeps theirs.
	if c := a.enter(b.launch13(moodle(), "height", with("email", ""))); c.Email != known.Email || c.Subject != known.Subject {
		t.Errorf("claims %+v", c)
	}
}

// Everybody who administers a course with LTI 1.1 has its secret, and can sign any user and any role. Here the people of
// a key are kept apart from those of LTI 1.3, and its roles count for nothing unless the configuration says so.
func lessonSharedSecret(t *testing.T, a *academy) {
	b := a.browser()
	teacher := a.enter(b.launch13(campus(), "height", with(claim+"roles", []string{"Instructor"})))
	for _, key := range []string{"campus-key", "campus-height-key", "height-key"} {
		forged := a.enter(b.launch12("height", key, func(p map[string]string) {
			p["user_id"], p["roles"] = teacher.LTIUserID, "Instructor,urn:lti:role:ims/lis/Instructor,urn:lti:instrole:ims/lis/Administrator"
			p["lis_person_contact_email_primary"], p["tool_consumer_instance_guid"] = key+"@example.org", "campus"
			if key == "campus-height-key" {
				p["user_id"] = "somebody else" // The realm is that of campus-key.
			}
		}))
		if forged.Subject == teacher.Subject || forged.Role != "Learner" || len(forged.Roles) != 0 {
			t.Errorf("%s: %+v", key, forged)
		}
	}
	// A secret opens what its key is for.
	a.refused(b.launch12("ladder", "height-key", nil), lti.KeyNotForActivity)
}

// Outcome services verified signatures and remembered no nonces, or nonces and no time. Here a form is accepted once, and
// refused for its age before its nonce is forgotten.
func lessonReplay(t *testing.T, a *academy) {
	b := a.browser()
	form := b.form12("height", "height-key", nil)
	b.post12("height", form).location()
	for _, d := range []time.Duration{0, time.Minute, 3 * time.Minute} {
		b.clock.advance(d)
		a.refused(a.browser().post12("height", form), lti.Replayed)
	}
	b.clock.advance(2 * time.Minute)
	a.refused(b.post12("height", form), lti.TimestampOutOfRange)
	if _, err := a.store.Purge(t.Context(), a.clock.now().Add(time.Hour), time.Hour); err != nil {
		t.Fatal(err)
	}
	a.refused(b.post12("height", form), lti.TimestampOutOfRange)
	// What makes it fresh again is under the signature.
	fresh := b.form12("height", "height-key", nil)
	for _, name := range []string{"oauth_timestamp", "oauth_nonce"} {
		changed := url.Values{}
		for key, values := range form {
			changed[key] = slices.Clone(values)
		}
		changed.Set(name, fresh.Get(name))
		if got := b.post12("height", changed).reason(); got != lti.SignatureInvalid {
			t.Errorf("with another %s: %q", name, got)
		}
	}
	// A launch is spent when it is accepted, and not by a refusal.
	bare := b.form12("height", "height-key", func(p map[string]string) { p["user_id"] = "new"; delete(p, "lis_person_name_given") })
	a.refused(b.post12("height", bare), lti.MissingUserData)
	a.refused(b.post12("height", bare), lti.MissingUserData)
}

// celtic/lti wrote the shared secret and the signature it expected into the reason of a refusal, and xblock the body of
// requests into its log: whoever reads either can sign. Here the harness looks for all secrets, tokens and one-time
// handles in everything that comes out; this makes refusals that would tell.
func lessonSecretsInLogs(t *testing.T, a *academy) {
	b := a.browser()
	secret := credentialIn(a.table, "height-key").Secrets[0]
	wrong := a.sign12(academyURL+"/activities/height/launch", "height-key", "a guess", "n-1", nil)
	right := a.sign12(academyURL+"/activities/height/launch", "height-key", secret, "n-1", nil)
	wrong.Set("oauth_timestamp", right.Get("oauth_timestamp"))
	x := b.post12("height", wrong)
	a.refused(x, lti.SignatureInvalid)
	for _, expected := range []string{right.Get("oauth_signature"), wrong.Get("oauth_signature"), "HMAC-SHA1&", "POST&https"} {
		if strings.Contains(x.Body.String()+a.log.String(), expected) {
			t.Errorf("%q is in the log or on the page", expected)
		}
	}
	platformIn(a.table, "moodle").LTI13.JWKS, platformIn(a.table, "moodle").LTI13.JWKSURL = "", "https://127.0.0.1:1/jwks.json?token=canary-of-a-query"
	a.publish()
	a.refused(b.launch13(moodle(), "height", with("custom_claim", "canary-of-a-claim")), lti.KeysUnreachable)
	form := b.prepare13(moodle(), "height", nil)
	form.Del("id_token")
	form.Set("error", "canary-of-an-error")
	form.Set("error_description", "canary-of-a-description")
	a.refused(b.post13(moodle(), form), lti.PlatformReturnedError)
	b.do(http.MethodGet, "/platforms/moodle/login?canary-of-a-query=1", nil)
	a.refusedJSON(b.redeemWith("canary-of-a-code", clientSecret+"x"), lti.ClientUnauthorized)
	a.refused(b.open("canary-of-a-ticket"), lti.LaunchExpired)
	a.refused(b.launch13(campus(), "height", func(c jwt.MapClaims) { c["nonce"] = "canary-of-a-nonce" }), lti.NonceMismatch)
	for _, line := range strings.Split(a.log.String(), "\n") {
		if strings.Contains(line, "canary-of") {
			t.Errorf("what somebody sent is in the log: %s", line)
		}
	}
	for x := range a.exchanges {
		if strings.Contains(x.answer, "canary-of") {
			t.Errorf("what somebody sent is in the answer to %s", x.request)
		}
	}
}

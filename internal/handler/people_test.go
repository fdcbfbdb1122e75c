// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// sent12 is user 4 of an instance, with an address of their own.
func sent12(guid, email string) func(map[string]string) {
	return func(p map[string]string) {
		p["tool_consumer_instance_guid"], p["lis_person_contact_email_primary"] = guid, email
	}
}

func TestUser4OfOneSystemIsNobodyInAnother(t *testing.T) {
	a := newAcademy(t)
	a.table.Credentials = append(a.table.Credentials,
		routing.Credential{Activity: "ladder", ConsumerKey: "campus-ladder-key", Secrets: []string{"canary-shared-secret-of-campus-ladder"}, Platform: "campus", Realm: "campus/lti12"},
		routing.Credential{ConsumerKey: "shared-realm-key", Secrets: []string{"canary-shared-secret-of-shared-realm"}, Platform: "campus", Realm: "campus"})
	a.publish()
	launch := func(x answer) string { return a.enter(x).Subject }
	b := a.browser()

	// Everybody here is user 4 of somewhere.
	people := map[string]string{}
	different := func(name, subject string) {
		t.Helper()
		for other, s := range people {
			if s == subject {
				t.Errorf("%s and %s are one", name, other)
			}
		}
		people[name] = subject
	}
	same := func(name, subject string) {
		t.Helper()
		if people[name] != subject {
			t.Errorf("%s is somebody else now", name)
		}
	}
	different("LTI 1.3 of Moodle", launch(b.launch13(moodle(), "height", nil)))
	different("LTI 1.3 of Campus", launch(b.launch13(campus(), "height", nil)))
	same("LTI 1.3 of Moodle", launch(b.launch13(moodle(), "ladder", nil)))
	same("LTI 1.3 of Campus", launch(b.launch13(campus(), "ladder", nil)))

	// Activity keys: the instance tells people apart, the key does not.
	different("an instance", launch(b.launch12("height", "height-key", sent12("one.example", "a@example.org"))))
	different("another instance", launch(b.launch12("height", "height-key", sent12("two.example", "b@example.org"))))
	same("an instance", launch(b.launch12("ladder", "ladder-key", sent12("one.example", "a@example.org"))))
	// An instance that names itself like a realm does not get in there.
	for i, guid := range []string{"moodle", "campus", "campus/lti12", "lti12:one.example"} {
		different("an instance called "+guid, launch(b.launch12("height", "height-key", sent12(guid, fmt.Sprintf("c%d@example.org", i)))))
	}

	// Keys of a platform: its 1.2 side, whatever instance is sent, unless the realm is shared.
	different("LTI 1.2 of Campus", launch(b.launch12("height", "campus-key", sent12("one.example", "d@example.org"))))
	same("LTI 1.2 of Campus", launch(b.launch12("ladder", "campus-key", sent12("two.example", "d@example.org"))))
	same("LTI 1.2 of Campus", launch(b.launch12("ladder", "campus-ladder-key", sent12("", "d@example.org"))))
	same("LTI 1.3 of Campus", launch(b.launch12("height", "shared-realm-key", sent12("one.example", "sam@campus.example"))))

	// The identifier is compared as it is.
	different("user 04", launch(b.launch13(moodle(), "height", person("04", "e@example.org"))))
	different("user ' 4'", launch(b.launch13(moodle(), "height", person(" 4", "f@example.org"))))
}

// A sender that does not say which instance it is could be any: two keys are two systems then.
func TestWithoutAnInstancePeopleAreKnownByTheKey(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	one := a.enter(b.launch12("height", "height-key", sent12("", "a@example.org")))
	again := a.enter(b.launch12("height", "height-key", sent12("", "a@example.org")))
	if one.Subject != again.Subject {
		t.Error("the same person with the same key is two")
	}
	other := a.enter(b.launch12("ladder", "ladder-key", sent12("", "b@example.org")))
	if other.Subject == one.Subject {
		t.Error("user 4 of one system is user 4 of another, because neither says which it is")
	}
	named := a.enter(b.launch12("height", "height-key", sent12("height-key", "c@example.org")))
	if named.Subject == one.Subject {
		t.Error("an instance with the name of a key is taken for one without a name")
	}
}

func TestLinkingByEmail(t *testing.T) {
	all := routing.Users{AnyEmail: true}
	domain := routing.Users{EmailDomains: []string{"example.org"}}
	for name, c := range map[string]struct {
		first, second routing.Users
		email         string // of the second system; that of the first is sam@example.org
		joined        bool
	}{
		"neither is believed":                                      {},
		"the second is not believed":                               {first: all},
		"the first was not believed: nobody waits in an account":   {second: all},
		"the first was not believed about this domain":             {first: routing.Users{EmailDomains: []string{"example.net"}}, second: all},
		"the second is not believed about this domain":             {first: all, second: routing.Users{EmailDomains: []string{"example.net"}}},
		"the second is believed about a domain above":              {first: all, second: routing.Users{EmailDomains: []string{"org"}}},
		"the second is believed about a domain with the same end":  {first: all, second: routing.Users{EmailDomains: []string{"ple.org"}}},
		"both are believed":                                        {first: all, second: all, joined: true},
		"both are believed about the domain":                       {first: domain, second: domain, joined: true},
		"one about all, one about the domain":                      {first: domain, second: all, joined: true},
		"both are believed, the address is written in another way": {first: domain, second: domain, email: "Sam@EXAMPLE.org", joined: true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAcademy(t)
			platformIn(a.table, "moodle").Users, platformIn(a.table, "campus").Users = c.first, c.second
			a.publish()
			email := "sam@example.org"
			first := a.enter(a.browser().launch13(moodle(), "height", person("4", email)))
			if want := c.first.Vouches(email); first.EmailVerified != want {
				t.Errorf("email_verified is %v for the first", first.EmailVerified)
			}
			if c.email != "" {
				email = c.email
			}
			x := a.browser().launch13(campus(), "height", person("77", email))
			if !c.joined {
				a.refused(x, lti.EmailInUse)
				// Nothing was kept of it.
				other := a.enter(a.browser().launch13(campus(), "height", person("77", "other@example.org")))
				if other.Subject == first.Subject || other.Email != "other@example.org" {
					t.Errorf("refused, and then %+v", other)
				}
				return
			}
			second := a.enter(x)
			if second.Subject != first.Subject || second.Email != "sam@example.org" || !second.EmailVerified || second.LTIUserID != "77" {
				t.Errorf("joined: %+v instead of %+v", second, first)
			}
			// Joined once, the two stay one without any address.
			if known := a.enter(a.browser().launch13(campus(), "height", func(c jwt.MapClaims) { withoutPersonalData(c); c["sub"] = "77" })); known.Subject != first.Subject {
				t.Error("joined once, and apart again")
			}
		})
	}
}

func TestLinkingByEmailReachesNoSuspendedAccount(t *testing.T) {
	a := newAcademy(t)
	for i := range a.table.Platforms {
		a.table.Platforms[i].Users.AnyEmail = true
	}
	a.publish()
	b := a.browser()
	first := a.enter(b.launch13(moodle(), "height", person("4", "sam@example.org")))
	b.setAccount(first.Subject, false)
	a.refused(b.launch13(campus(), "height", person("77", "sam@example.org")), lti.AccountSuspended)
}

func TestActivityKeysAreBelievedAsTheAcademySays(t *testing.T) {
	a := newAcademy(t)
	a.table.Academy.Users = routing.Users{EmailDomains: []string{"example.org"}}
	a.publish()
	b := a.browser()
	if c := a.enter(b.launch12("height", "height-key", sent12("one.example", "sam@example.org"))); !c.EmailVerified {
		t.Errorf("claims %+v", c)
	}
	if c := a.enter(b.launch12("height", "height-key", sent12("two.example", "sam@example.net"))); c.EmailVerified {
		t.Errorf("claims %+v", c)
	}
	// What holds for a platform holds for its keys, and not what the academy says.
	if c := a.enter(b.launch12("height", "campus-key", sent12("one.example", "kim@example.org"))); c.EmailVerified {
		t.Errorf("claims %+v", c)
	}
}

func TestALaunchNeverChangesAnAddress(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	first := a.enter(b.launch13(moodle(), "height", person("4", "sam@example.org")))
	undo := a.republish(func(t *routing.Table) { platformIn(t, "moodle").Users.AnyEmail = true })
	moved := a.enter(b.launch13(moodle(), "height", func(c jwt.MapClaims) {
		c["email"], c["given_name"] = "boss@example.org", "Samantha"
	}))
	if moved.Email != "sam@example.org" || moved.Subject != first.Subject || moved.EmailVerified || moved.GivenName != "Samantha" {
		t.Errorf("claims %+v", moved)
	}
	// The address is free for the person who has it.
	if boss := a.enter(b.launch13(moodle(), "height", person("5", "boss@example.org"))); boss.Subject == first.Subject {
		t.Error("the address of a launch was taken")
	}
	// A system that is believed may confirm the address that the account has; that lasts.
	if c := a.enter(b.launch13(moodle(), "height", person("4", "SAM@example.org"))); !c.EmailVerified || c.Email != "sam@example.org" {
		t.Errorf("claims %+v", c)
	}
	undo()
	if c := a.enter(b.launch13(moodle(), "height", nil)); !c.EmailVerified || c.Email != "sam@example.org" {
		t.Errorf("claims %+v", c)
	}
}

func TestRolesOfAKeyCountWhereTheyAreAccepted(t *testing.T) {
	roles := param("roles", "Instructor,urn:lti:sysrole:ims/lis/Administrator")
	for _, key := range []string{"height-key", "campus-key", "campus-height-key"} {
		a := newAcademy(t)
		if c := a.enter(a.browser().launch12("height", key, roles)); c.Role != "Learner" || c.Roles != nil {
			t.Errorf("%s: role %s, roles %v", key, c.Role, c.Roles)
		}
		a.republish(func(t *routing.Table) { credentialIn(t, key).AcceptRoles = true })
		c := a.enter(a.browser().launch12("height", key, roles))
		want := []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor", "http://purl.imsglobal.org/vocab/lis/v2/system/person#Administrator"}
		if c.Role != "Instructor" || !slices.Equal(c.Roles, want) {
			t.Errorf("%s that is believed: role %s, roles %v", key, c.Role, c.Roles)
		}
	}
}

func TestAnAdministratorElsewhereIsNoInstructorHere(t *testing.T) {
	a := newAcademy(t)
	for role, want := range map[string]string{
		"http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor":                          "Instructor",
		"http://purl.imsglobal.org/vocab/lis/v2/membership/Instructor#TeachingAssistant":        "Instructor",
		"http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator":               "Learner",
		"http://purl.imsglobal.org/vocab/lis/v2/institution/person#Instructor":                  "Learner",
		"http://purl.imsglobal.org/vocab/lis/v2/system/person#SysAdmin":                         "Learner",
		"http://evil.example/#http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor":     "Learner",
		"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner":                             "Learner",
		"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner#Instructor":                  "Learner",
		"http://purl.imsglobal.org/vocab/lis/v2/institution/person#Learner/membership#Teaching": "Learner",
	} {
		if c := a.enter(a.browser().launch13(moodle(), "height", with(claim+"roles", []string{role}))); c.Role != want {
			t.Errorf("%s is %s", role, c.Role)
		}
	}
}

// migration adds a signed lti1p1 claim (LTI 1.3 migration guide, section on oauth_consumer_key_sign).
func migration(key, secret string, members map[string]any) func(jwt.MapClaims) {
	return func(c jwt.MapClaims) {
		text := fmt.Sprintf("%s&%s&%s&%s&%d&%s", key, c[claim+"deployment_id"], c["iss"], c["aud"], c["exp"], c["nonce"])
		sum := hmac.New(sha256.New, []byte(secret))
		sum.Write([]byte(text))
		m := map[string]any{"oauth_consumer_key": key, "oauth_consumer_key_sign": base64.StdEncoding.EncodeToString(sum.Sum(nil))}
		for name, value := range members {
			m[name] = value
		}
		c[claim+"lti1p1"] = m
	}
}

func TestMigrationFromLTI12(t *testing.T) {
	for name, c := range map[string]struct {
		formerKey  string // of the launch over LTI 1.2
		formerUser string
		launch     party
		key        string // in the claim
		secret     string // that signs it; that of the key if empty
		members    map[string]any
		joined     bool
		doubted    bool // there is a signature, and it proves nothing
	}{
		"the key of an activity":                  {formerKey: "height-key", formerUser: "old-4", launch: moodle(), key: "height-key", members: map[string]any{"user_id": "old-4", "tool_consumer_instance_guid": "lms.example"}, joined: true},
		"the key of another activity":             {formerKey: "height-key", formerUser: "old-4", launch: moodle(), key: "ladder-key", members: map[string]any{"user_id": "old-4", "tool_consumer_instance_guid": "lms.example"}, joined: true},
		"the same user ID is left out":            {formerKey: "height-key", formerUser: "4", launch: moodle(), key: "height-key", members: map[string]any{"tool_consumer_instance_guid": "lms.example"}, joined: true},
		"the instance of the token":               {formerKey: "height-key", formerUser: "old-4", launch: moodle(), key: "height-key", members: map[string]any{"user_id": "old-4"}, joined: true},
		"the platform's own key":                  {formerKey: "campus-key", formerUser: "old-4", launch: campus(), key: "campus-key", members: map[string]any{"user_id": "old-4"}, joined: true},
		"another key of the platform":             {formerKey: "campus-key", formerUser: "old-4", launch: campus(), key: "campus-height-key", members: map[string]any{"user_id": "old-4"}, joined: true},
		"wrong signature":                         {formerKey: "height-key", formerUser: "old-4", launch: moodle(), key: "height-key", secret: "a guess", members: map[string]any{"user_id": "old-4"}, doubted: true},
		"signed with the secret of another key":   {formerKey: "height-key", formerUser: "old-4", launch: moodle(), key: "height-key", secret: "canary-shared-secret-of-ladder-key", members: map[string]any{"user_id": "old-4"}, doubted: true},
		"key of another platform":                 {formerKey: "campus-key", formerUser: "old-4", launch: moodle(), key: "campus-key", members: map[string]any{"user_id": "old-4"}, doubted: true},
		"key that nobody has":                     {formerKey: "height-key", formerUser: "old-4", launch: moodle(), key: "nobody", secret: "a guess", members: map[string]any{"user_id": "old-4"}, doubted: true},
		"empty key":                               {formerKey: "height-key", formerUser: "old-4", launch: moodle(), key: "", secret: "a guess", members: map[string]any{"user_id": "old-4"}, doubted: true},
		"no signature":                            {formerKey: "height-key", formerUser: "old-4", launch: moodle(), key: "height-key", members: map[string]any{"user_id": "old-4", "oauth_consumer_key_sign": nil}},
		"user of another instance":                {formerKey: "height-key", formerUser: "old-4", launch: moodle(), key: "height-key", members: map[string]any{"user_id": "old-4", "tool_consumer_instance_guid": "two.example"}},
		"user that nobody is":                     {formerKey: "height-key", formerUser: "old-4", launch: moodle(), key: "height-key", members: map[string]any{"user_id": "old-5", "tool_consumer_instance_guid": "lms.example"}},
		"user of the platform's own key, by GUID": {formerKey: "campus-key", formerUser: "old-4", launch: campus(), key: "height-key", members: map[string]any{"user_id": "old-4", "tool_consumer_instance_guid": "lms.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAcademy(t)
			b := a.browser()
			before := a.enter(b.launch12("height", c.formerKey, param("user_id", c.formerUser)))
			secret := c.secret
			if secret == "" {
				secret = credentialIn(a.table, c.key).Secrets[0]
			}
			launch := func(change func(jwt.MapClaims)) answer {
				return b.launch13(c.launch, "height", func(claims jwt.MapClaims) {
					claims[claim+"tool_platform"] = map[string]any{"guid": "lms.example"}
					if change != nil {
						change(claims)
					}
				})
			}
			claimed := migration(c.key, secret, c.members)
			if c.joined {
				// Known already: no personal data is needed.
				after := a.enter(launch(func(claims jwt.MapClaims) { withoutPersonalData(claims); claimed(claims) }))
				if after.Subject != before.Subject || after.Email != before.Email {
					t.Errorf("%+v is not %+v", after, before)
				}
				// And without the claim from then on.
				if again := a.enter(launch(withoutPersonalData)); again.Subject != before.Subject {
					t.Error("joined once, and apart again")
				}
				return
			}
			after := a.enter(launch(claimed))
			if after.Subject == before.Subject {
				t.Errorf("%+v was joined to %+v", after, before)
			}
			if refused := strings.Count(a.log.String(), `"refused"`); refused != 0 {
				t.Errorf("%d refusals", refused)
			}
			// The administrator finds out why.
			if got := strings.Count(a.log.String(), "the migration claim of a launch proves nothing"); (got == 1) != c.doubted || got > 1 {
				t.Errorf("%d lines in the log about the claim", got)
			}
		})
	}
}

func TestAMigrationClaimMovesNobodyWhoIsKnown(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	victim := a.enter(b.launch12("height", "height-key", param("user_id", "victim")))
	known := a.enter(b.launch13(moodle(), "height", nil))
	claimed := migration("height-key", credentialIn(a.table, "height-key").Secrets[0], map[string]any{"user_id": "victim", "tool_consumer_instance_guid": "lms.example"})
	if after := a.enter(b.launch13(moodle(), "height", claimed)); after.Subject != known.Subject || after.Subject == victim.Subject {
		t.Errorf("%+v became %+v", known, after)
	}
}

func TestANewIssuerHasTheOldPeopleWhenTheTableSaysSo(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	known := a.enter(b.launch13(moodle(), "height", nil))
	moved := moodle()
	moved.issuer = "https://new.lms.example"
	a.republish(func(t *routing.Table) {
		platformIn(t, "moodle").LTI13.Issuer, platformIn(t, "moodle").LTI13.AuthenticationURL = moved.issuer, moved.issuer+"/auth?x=1"
	})
	x := b.launch13(moved, "height", nil)
	a.refused(x, lti.IssuerChanged)
	// Whoever is new is welcome, and belongs to the new one.
	newcomer := a.enter(b.launch13(moved, "height", person("5", "kim@example.org")))
	if newcomer.Subject == known.Subject {
		t.Error("somebody new is somebody known")
	}
	undo := a.republish(func(t *routing.Table) {
		platformIn(t, "moodle").PreviousIssuers = []string{"https://older.example", moodle().issuer}
	})
	if again := a.enter(b.launch13(moved, "height", withoutPersonalData)); again.Subject != known.Subject {
		t.Error("a known person is somebody else after the issuer was accepted")
	}
	// Accepted once, it needs no list any more.
	undo()
	if again := a.enter(b.launch13(moved, "height", nil)); again.Subject != known.Subject {
		t.Error("a known person is somebody else after the list was cleared")
	}
	// Back at the old issuer, they are refused in turn.
	a.republish(func(t *routing.Table) {
		platformIn(t, "moodle").LTI13.Issuer, platformIn(t, "moodle").LTI13.AuthenticationURL = moodle().issuer, moodle().issuer+"/auth?x=1"
	})
	a.refused(b.launch13(moodle(), "height", nil), lti.IssuerChanged)
}

func TestAnotherPlatformTakesOverARealm(t *testing.T) {
	a := newAcademy(t)
	known := a.enter(a.browser().launch13(moodle(), "height", nil))
	a.republish(func(t *routing.Table) {
		platformIn(t, "campus").Realm, platformIn(t, "campus").PreviousIssuers = "moodle", []string{moodle().issuer}
	})
	if c := a.enter(a.browser().launch13(campus(), "height", withoutPersonalData)); c.Subject != known.Subject || c.Platform != "campus" {
		t.Errorf("claims %+v", c)
	}
}

func TestASuspendedPersonStaysOutUntilItIsLifted(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	code := b.launch13(moodle(), "height", nil).code()
	person := a.enter(b.launch13(moodle(), "height", nil)).Subject
	b.dest = "iframe"
	ticket := b.launch13(moodle(), "height", nil).ticket()
	b.dest = "document"
	form := a.enter(b.launch12("height", "height-key", nil)).Subject

	for _, subject := range []string{person, form} {
		if x := b.setAccount(subject, false); x.Code != http.StatusNoContent || x.Body.Len() != 0 {
			t.Fatal(x.Code, x.Body)
		}
	}
	a.refused(b.launch13(moodle(), "height", nil), lti.AccountSuspended)
	a.refused(b.launch12("height", "height-key", nil), lti.AccountSuspended)
	a.refused(b.open(ticket), lti.AccountSuspended)
	a.refusedJSON(b.redeem(code), lti.AccountSuspended)
	// Nobody else is affected.
	a.enter(b.launch13(moodle(), "height", person5))

	for _, subject := range []string{person, form} {
		b.setAccount(subject, true)
	}
	// Nothing was spent meanwhile.
	if a.entered(b.redeem(code)).Subject != person || a.enter(b.open(ticket)).Subject != person {
		t.Error("code or ticket lead to somebody else")
	}
	if a.enter(b.launch13(moodle(), "height", nil)).Subject != person || a.enter(b.launch12("height", "height-key", nil)).Subject != form {
		t.Error("a person is somebody else after the suspension")
	}
}

func person5(c jwt.MapClaims) { c["sub"], c["email"] = "5", "five@example.org" }

func TestMissingUserDataIsNamedAndCreatesNothing(t *testing.T) {
	fields := []struct{ name, claim, param string }{
		{"email", "email", "lis_person_contact_email_primary"},
		{"given_name", "given_name", "lis_person_name_given"},
		{"family_name", "family_name", "lis_person_name_family"},
	}
	for _, missing := range [][]int{{0}, {1}, {2}, {0, 1}, {0, 1, 2}} {
		for _, empty := range []any{nil, "", " \t"} {
			a := newAcademy(t)
			b := a.browser()
			x13 := b.launch13(moodle(), "height", func(c jwt.MapClaims) {
				for _, i := range missing {
					with(fields[i].claim, empty)(c)
				}
			})
			x12 := b.launch12("height", "height-key", func(p map[string]string) {
				for _, i := range missing {
					if p[fields[i].param], _ = empty.(string); empty == nil {
						delete(p, fields[i].param)
					}
				}
			})
			for _, x := range []answer{x13, x12} {
				a.refused(x, lti.MissingUserData)
				var want []string
				for _, i := range missing {
					want = append(want, fields[i].name)
				}
				slices.Sort(want)
				if got := x.namedMissing(); !slices.Equal(got, want) {
					t.Errorf("the page names %v instead of %v", got, want)
				}
			}
			// Nobody has the addresses.
			a.enter(b.launch13(campus(), "height", person("77", "sam@moodle.example")))
			a.enter(b.launch13(campus(), "height", person("78", "omer@example.org")))
		}
	}
}

func TestAKnownPersonNeedsNoPersonalData(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	full := a.enter(b.launch13(moodle(), "height", nil))
	bare := a.enter(b.launch13(moodle(), "height", withoutPersonalData))
	if bare.Subject != full.Subject || bare.Name != "Sam Student" || bare.Email != "sam@moodle.example" {
		t.Errorf("claims %+v", bare)
	}
	form := a.enter(b.launch12("height", "height-key", nil))
	anonymous := a.enter(b.launch12("height", "height-key", func(p map[string]string) {
		for _, name := range []string{"lis_person_name_given", "lis_person_name_family", "lis_person_contact_email_primary"} {
			delete(p, name)
		}
	}))
	if anonymous.Subject != form.Subject || anonymous.Name != form.Name {
		t.Errorf("claims %+v", anonymous)
	}
}

func TestAnAddressThatIsNoneIsMissing(t *testing.T) {
	a := newAcademy(t)
	for _, email := range []string{"\u200b", "sam", "@example.org", "sam@", "sam @example.org", "sam\u00a0x@example.org", "s\u200bam@example.org"} {
		a.refused(a.browser().launch13(moodle(), "height", with("email", email)), lti.MissingUserData)
	}
}

// What was refused may be posted again: nothing of it was spent.
func TestARefusedLaunchSucceedsOnceItsCauseIsGone(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	form := b.prepare13(moodle(), "height", with("email", nil))
	a.refused(b.post13(moodle(), form), lti.MissingUserData)
	a.browser().launch13(moodle(), "height", nil).location()
	b.post13(moodle(), form).location()
}

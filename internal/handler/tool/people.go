// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"strings"
	"unicode"

	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// source is who answers for the person of a launch, and how far it is believed.
type source struct {
	// realm keeps people of different systems apart.
	realm string
	// previousIssuers are those that people of the realm had before.
	previousIssuers []string
	// users says which email addresses the source is believed about.
	users routing.Users
	// roles says whether its roles are believed.
	roles bool
	// former is another identity that the launch proved the person to have, if any; doubt says why a signed claim of one
	// proved nothing.
	former *store.Identity
	doubt  string
}

// source13 is the source of a verified LTI 1.3 launch.
func (v *visit) source13(m *launch.Message) source {
	former, doubt := v.former(m)
	return source{
		realm: v.platform.Realm, previousIssuers: v.platform.PreviousIssuers, users: v.platform.Users, roles: true, former: former, doubt: doubt,
	}
}

// source12 is the source of a verified form launch with this consumer key. Whoever holds a shared secret can name any
// user, so its people are those of LTI 1.3 only where the configuration says so.
func (v *visit) source12(m *launch.Message, key *routing.Credential) source {
	s := source{realm: key.Realm, users: v.Academy.Users, roles: key.AcceptRoles}
	if v.platform != nil {
		s.users = v.platform.Users
	}
	if s.realm == "" {
		s.realm = instanceRealm(m.Platform.GUID, m.ConsumerKey)
	}
	return s
}

// instanceRealm is the realm of people who come with a consumer key of which nobody said who has it: the sending
// instance tells the users of two systems apart, and the key does where a system does not say which it is. No realm of a
// platform has a colon in it.
func instanceRealm(guid, consumerKey string) string {
	if guid == "" {
		return "lti12-key:" + consumerKey
	}
	return "lti12:" + guid
}

// former is who the person of an LTI 1.3 launch was in form launches, if the claim lti1p1 says so and is signed with
// the shared secret of its consumer key (LTI 1.3 migration guide). A key that was given to another platform proves
// nothing here. doubt is about a claim that is signed in vain.
func (v *visit) former(m *launch.Message) (former *store.Identity, doubt string) {
	claim := m.Migration
	if claim == nil || claim.Signature == "" {
		return nil, ""
	}
	key := v.Credential(claim.ConsumerKey)
	if key == nil || key.Platform != "" && key.Platform != v.platform.Name {
		return nil, "its consumer key is not known for this platform"
	}
	for _, secret := range key.Secrets {
		if !m.MigrationSigned(secret) {
			continue
		}
		identity := &store.Identity{Realm: key.Realm, LTIUserID: claim.UserID}
		if identity.LTIUserID == "" {
			// Left out when it is the same (migration guide, section on user_id).
			identity.LTIUserID = m.Subject
		}
		if identity.Realm == "" {
			guid := claim.InstanceID
			if guid == "" {
				guid = m.Platform.GUID
			}
			identity.Realm = instanceRealm(guid, claim.ConsumerKey)
		}
		return identity, ""
	}
	return nil, "it is not signed with the shared secret of its consumer key"
}

// Roles that the academy is told. Whoever is not an instructor of this course is a learner.
const (
	roleInstructor = "Instructor"
	roleLearner    = "Learner"
)

// roles returns what the person may be in the academy, and the roles as sent; none that are not believed.
func (s *source) rolesOf(m *launch.Message) (role string, sent []string) {
	if !s.roles {
		return roleLearner, nil
	}
	for _, r := range m.Roles {
		sent = append(sent, r.String())
	}
	if m.IsInstructor() {
		return roleInstructor, sent
	}
	return roleLearner, sent
}

// missingUserData names what an account cannot be created without.
func missingUserData(p *store.Profile) []string {
	var missing []string
	if !isAddress(p.Email) {
		missing = append(missing, "email")
	}
	for _, f := range []struct{ name, value string }{{"given_name", p.GivenName}, {"family_name", p.FamilyName}} {
		if strings.TrimSpace(f.value) == "" {
			missing = append(missing, f.name)
		}
	}
	return missing
}

// isAddress tells whether the text has the form of an email address: something on both sides of an @, and nothing
// invisible. More than that only its mail server knows.
func isAddress(email string) bool {
	at := strings.LastIndexByte(email, '@')
	return at > 0 && at < len(email)-1 && !strings.ContainsFunc(email, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
}

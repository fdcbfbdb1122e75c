package launch

import "strings"

// RoleScope says where a role holds.
type RoleScope string

// The scopes of a role.
const (
	// ContextRole holds in the course of the launch.
	ContextRole RoleScope = "context"
	// InstitutionRole holds in the organisation.
	InstitutionRole RoleScope = "institution"
	// SystemRole holds in the software.
	SystemRole RoleScope = "system"
	// UnknownRole is not in a vocabulary known here; it gives no rights.
	UnknownRole RoleScope = ""
)

// A Role is one role of a user in a form that can be compared whatever the
// version of the message: "Learner", "urn:lti:role:ims/lis/Learner" and
// "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner" give the same
// Scope, Name and SubRole.
type Role struct {
	Scope RoleScope
	// Name is the principal role, for example Instructor; for an unknown role
	// what was sent.
	Name string
	// SubRole refines it, for example TeachingAssistant; often empty.
	SubRole string
}

// RoleLearner is the context role of learners, as LTI 1.3 writes it (Core
// appendix A.2.3).
const RoleLearner = membershipPrefix + "#Learner"

// RoleInstructor is that of teachers and of authors.
const RoleInstructor = membershipPrefix + "#Instructor"

// Prefixes of role names. Core appendix A.2 has the LIS v2 vocabularies; the
// urn forms are those of LTI 1.1 appendix A; vocab/lis/v2/person is how LTI 2
// wrote institution roles.
const (
	membershipPrefix  = "http://purl.imsglobal.org/vocab/lis/v2/membership"
	institutionPrefix = "http://purl.imsglobal.org/vocab/lis/v2/institution/person#"
	systemPrefix      = "http://purl.imsglobal.org/vocab/lis/v2/system/person#"
	testUserPrefix    = "http://purl.imsglobal.org/vocab/lti/system/person#"
	lti2PersonPrefix  = "http://purl.imsglobal.org/vocab/lis/v2/person#"

	urnContextPrefix     = "urn:lti:role:ims/lis/"
	urnInstitutionPrefix = "urn:lti:instrole:ims/lis/"
	urnSystemPrefix      = "urn:lti:sysrole:ims/lis/"
)

// contextRole returns the spelling of a context role in the vocabulary (Core
// appendix A.2.3). Platforms differ in case: the names are compared without.
func contextRole(name string) (string, bool) {
	for _, known := range []string{"Learner", "Instructor", "ContentDeveloper", "Administrator", "Mentor", "Manager", "Member", "Officer"} {
		if strings.EqualFold(name, known) {
			return known, true
		}
	}
	return "", false
}

// ParseRole understands one role in any of the forms that LTI 1.0 to 1.3 use.
// Simple names are context roles (LTI 1.1 appendix A; Core appendix A.2.3 keeps them for
// compatibility, and the certification suite sends them).
func ParseRole(s string) Role {
	unknown := Role{Name: s}
	switch {
	case strings.HasPrefix(s, membershipPrefix):
		// membership#Instructor, membership/Instructor#TeachingAssistant
		path, fragment, ok := strings.Cut(strings.TrimPrefix(s, membershipPrefix), "#")
		if !ok {
			return unknown
		}
		if path == "" {
			return contextRoleOf(fragment, "", unknown)
		}
		if !strings.HasPrefix(path, "/") || fragment == "" {
			return unknown
		}
		return contextRoleOf(path[1:], fragment, unknown)
	case strings.HasPrefix(s, urnContextPrefix):
		// urn:lti:role:ims/lis/Instructor/TeachingAssistant
		name, sub, _ := strings.Cut(strings.TrimPrefix(s, urnContextPrefix), "/")
		return contextRoleOf(name, sub, unknown)
	case strings.HasPrefix(s, institutionPrefix):
		return roleIn(InstitutionRole, s[len(institutionPrefix):], unknown)
	case strings.HasPrefix(s, lti2PersonPrefix):
		return roleIn(InstitutionRole, s[len(lti2PersonPrefix):], unknown)
	case strings.HasPrefix(s, urnInstitutionPrefix):
		return roleIn(InstitutionRole, s[len(urnInstitutionPrefix):], unknown)
	case strings.HasPrefix(s, systemPrefix):
		return roleIn(SystemRole, s[len(systemPrefix):], unknown)
	case strings.HasPrefix(s, testUserPrefix):
		return roleIn(SystemRole, s[len(testUserPrefix):], unknown)
	case strings.HasPrefix(s, urnSystemPrefix):
		return roleIn(SystemRole, s[len(urnSystemPrefix):], unknown)
	}
	return contextRoleOf(s, "", unknown)
}

func contextRoleOf(name, sub string, unknown Role) Role {
	// LTI 1.1 lists the assistant beside the instructor, LIS v2 below.
	if strings.EqualFold(name, "TeachingAssistant") {
		return Role{ContextRole, "Instructor", "TeachingAssistant"}
	}
	known, ok := contextRole(name)
	if !ok {
		return unknown
	}
	return Role{ContextRole, known, sub}
}

func roleIn(scope RoleScope, name string, unknown Role) Role {
	if name == "" {
		return unknown
	}
	return Role{Scope: scope, Name: name}
}

// String returns the role as LTI 1.3 writes it.
func (r Role) String() string {
	switch r.Scope {
	case ContextRole:
		if r.SubRole != "" {
			return membershipPrefix + "/" + r.Name + "#" + r.SubRole
		}
		return membershipPrefix + "#" + r.Name
	case InstitutionRole:
		return institutionPrefix + r.Name
	case SystemRole:
		if r.Name == "TestUser" {
			return testUserPrefix + r.Name
		}
		return systemPrefix + r.Name
	}
	return r.Name
}

func parseRoles(names []string) []Role {
	roles := make([]Role, 0, len(names))
	for _, n := range names {
		// "" is what the certification suite sends for "no role".
		if n = strings.TrimSpace(n); n != "" {
			roles = append(roles, ParseRole(n))
		}
	}
	return roles
}

package launch

import (
	"maps"
	"slices"
	"strings"
)

// Parameter is a custom parameter as it is configured. The value may be a
// variable, for example $User.id.
type Parameter struct {
	Name, Value string
}

// Variables are the values that a variable may be replaced by, under the names
// of Core appendix B, without "$". Names are case-sensitive.
type Variables map[string]string

// Substitute returns custom parameters with their variables replaced (Core
// section 5.4.6.1). A value is a variable if it is a dollar sign and a name that
// vars has, and nothing else; every other value is sent as it is, and so is what
// a variable was replaced by. Of two parameters of one name the first counts.
func Substitute(parameters []Parameter, vars Variables) map[string]string {
	out := make(map[string]string, len(parameters))
	for _, p := range parameters {
		if _, seen := out[p.Name]; seen {
			continue
		}
		out[p.Name] = p.Value
		if name, ok := strings.CutPrefix(p.Value, "$"); ok {
			if value, known := vars[name]; known {
				out[p.Name] = value
			}
		}
	}
	return out
}

// Variables returns the variables of the launch.
func (l Launch) Variables() Variables { return l.variables(strings.Join(l.Roles, ",")) }

// Variables returns the variables of the launch.
func (l Launch12) Variables() Variables { return l.variables(l.formRoles()) }

// variables returns the variables that have a value; the others stay as they are
// configured. A tool cannot tell one that is withheld from one that is not
// known: both come out of the same [SharedPerson] as everything else.
func (v Visit) variables(roles string) Variables {
	p, x := v.Person.Person(), v.Context
	if x == nil {
		x = &Context{}
	}
	vars := v.all(x, &p, roles)
	for name, value := range vars {
		if value == "" {
			delete(vars, name)
		}
	}
	return vars
}

// all has a value for every variable that we know; empty for those that do not apply.
func (v Visit) all(x *Context, p *Person, roles string) Variables {
	return Variables{
		"User.id":                        v.Subject,
		"Person.name.full":               p.Name,
		"Person.name.given":              p.GivenName,
		"Person.name.family":             p.FamilyName,
		"Person.email.primary":           p.Email,
		"Context.id":                     x.ID,
		"Context.label":                  x.Label,
		"Context.title":                  x.Title,
		"Context.type":                   strings.Join(x.Types, ","),
		"ResourceLink.id":                v.ResourceLink.ID,
		"ResourceLink.title":             v.ResourceLink.Title,
		"ResourceLink.description":       v.ResourceLink.Description,
		"Membership.role":                roles,
		"Message.returnUrl":              v.ReturnURL,
		"Message.documentTarget":         v.DocumentTarget,
		"Message.locale":                 v.Locale,
		"ToolPlatform.productFamilyCode": v.Platform.Family,
		"ToolPlatform.version":           v.Platform.Version,
		"ToolPlatformInstance.guid":      v.Platform.GUID,
		"ToolPlatformInstance.name":      v.Platform.Name,
		"ToolPlatformInstance.url":       v.Platform.URL,
	}
}

// VariableNames returns the names of all variables, in order.
func VariableNames() []string {
	return slices.Sorted(maps.Keys(Visit{}.all(&Context{}, &Person{}, "")))
}

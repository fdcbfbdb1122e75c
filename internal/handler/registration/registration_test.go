// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"reflect"
	"testing"

	"github.com/lti-operator/lti-operator/internal/routing"
)

// What is approved is every value that a launch relies on: a value that is added to a registration must not be left out.
func TestEveryValueOfALaunchIsInTheID(t *testing.T) {
	described := map[string]bool{ // and nothing else relies on
		"Product": true, "Version": true, "ClientConfigurationURL": true, "ClientConfigurationToken": true,
		"Name": true, "Description": true, "Scopes": true,
	}
	platform := func() (any, func() string) {
		p := &routing.RegisteredPlatform{}
		return p, func() string { return newRegistration(routing.KindPlatform, "x", p, nil).ID }
	}
	tool := func() (any, func() string) {
		r := &routing.RegisteredTool{}
		return r, func() string { return newRegistration(routing.KindTool, "x", nil, r).ID }
	}
	seen := map[string]string{}
	for kind, fresh := range map[string]func() (any, func() string){"platform": platform, "tool": tool} {
		values, _ := fresh()
		for _, field := range reflect.VisibleFields(reflect.TypeOf(values).Elem()) {
			if field.Anonymous {
				continue
			}
			values, id := fresh()
			before := id()
			f := reflect.ValueOf(values).Elem().FieldByIndex(field.Index)
			switch f.Interface().(type) {
			case string:
				f.SetString("x")
			case []string:
				f.Set(reflect.ValueOf([]string{"x"}))
			case []routing.Parameter:
				f.Set(reflect.ValueOf([]routing.Parameter{{Name: "x"}}))
			default:
				t.Fatalf("%s of a %s has a type that this test does not know", field.Name, kind)
			}
			if changed := id() != before; changed == described[field.Name] {
				t.Errorf("%s of a %s: changes the ID: %v", field.Name, kind, changed)
			}
			if other := seen[id()]; other != "" && !described[field.Name] {
				t.Errorf("%s of a %s has the ID of %s", field.Name, kind, other)
			}
			seen[id()] = kind + " " + field.Name
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"reflect"
	"testing"
)

// What is approved is every value that a launch relies on: a value that is added to a registration must not be left out.
func TestEveryValueOfALaunchIsInTheID(t *testing.T) {
	described := map[string]bool{ // and nothing else relies on
		"Product": true, "Version": true, "ClientConfigurationURL": true, "ClientConfigurationToken": true,
		"Name": true, "Description": true, "Scopes": true,
	}
	platform := func() (any, func() string) {
		p := &RegisteredPlatform{}
		return p, func() string { return (&Registration{Kind: KindPlatform, Name: "x", Platform: p}).ComputeID() }
	}
	tool := func() (any, func() string) {
		r := &RegisteredTool{}
		return r, func() string { return (&Registration{Kind: KindTool, Name: "x", Tool: r}).ComputeID() }
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
			case []Parameter:
				f.Set(reflect.ValueOf([]Parameter{{Name: "x"}}))
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

// No value can pass for another, and what was stored has the ID that it had.
func TestRegistrationIDs(t *testing.T) {
	tool := func(name string, change func(*RegisteredTool)) Registration {
		r := &RegisteredTool{
			ToolLTI13:  ToolLTI13{LoginInitiationURL: "a", RedirectURIs: []string{"b", "c"}},
			Parameters: []Parameter{{Name: "d", Value: "e"}},
		}
		change(r)
		return Registration{Kind: KindTool, Name: name, Tool: r}
	}
	base := tool("lab", func(*RegisteredTool) {})
	platform := Registration{Kind: KindPlatform, Name: "moodle", Platform: &RegisteredPlatform{
		PlatformLTI13: PlatformLTI13{Issuer: "a<b", ClientID: "ü"}, DeploymentID: "1",
	}}
	// Approved IDs outlive the program that made them.
	for want, r := range map[string]Registration{"6f76d9e44242cfd56db7": base, "04a1f5e45f8e11a4b545": platform} {
		if got := r.ComputeID(); got != want {
			t.Errorf("ID %q", got)
		}
	}
	seen := map[string]bool{}
	for i, r := range []Registration{
		base, platform,
		tool("lab2", func(*RegisteredTool) {}),
		tool("lab", func(x *RegisteredTool) { x.RedirectURIs = []string{"c", "b"} }),
		tool("lab", func(x *RegisteredTool) { x.RedirectURIs = []string{"bc"} }),
		tool("lab", func(x *RegisteredTool) { x.RedirectURIs = []string{`b","c`} }),
		tool("lab", func(x *RegisteredTool) { x.RedirectURIs = []string{"b", "c", ""} }),
		tool("lab", func(x *RegisteredTool) { x.RedirectURIs = []string{} }),
		tool("lab", func(x *RegisteredTool) { x.Parameters = []Parameter{{Name: "d"}, {Name: "e"}} }),
		tool("lab", func(x *RegisteredTool) { x.Parameters = []Parameter{} }),
	} {
		id := r.ComputeID()
		if seen[id] {
			t.Errorf("ID %d is that of other values", i)
		}
		seen[id] = true
		var stored Registration
		text, err := json.Marshal(r)
		if err == nil {
			err = json.Unmarshal(text, &stored)
		}
		if err != nil || stored.ComputeID() != id {
			t.Errorf("ID %d is another one when it was stored: %v", i, err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// Every rule of dynamic registration, from both sides.
func TestRegistrationRules(t *testing.T) {
	const (
		notBoth = "give lti13 or registration, not both"
		id      = "0123456789abcdef0123"
		dynamic = "\nregistration: {dynamic: {}}"
		approve = "title: M\nregistration: {dynamic: {approved: %q}}"
		hours   = "title: M\nregistration: {dynamic: {linkValidHours: %d}}"
		lab     = "title: Lab\nregistration: {dynamic: {registrationURL: 'https://lab.example/register?tenant=1'%s}}"
	)
	for name, c := range map[string]struct{ kind, spec, message string }{
		"a platform":                           {"LTIPlatform", "title: M" + dynamic, ""},
		"a platform with form launches":        {"LTIPlatform", "title: M\nlti12: {}" + dynamic, ""},
		"a platform with values of its own":    {"LTIPlatform", platform("https://lms.example", jwksURL) + dynamic, notBoth},
		"a platform with nothing to say":       {"LTIPlatform", "title: M\nregistration: {}", "spec.registration.dynamic"},
		"a platform, approved":                 {"LTIPlatform", fmt.Sprintf(approve, id), ""},
		"approved with capitals":               {"LTIPlatform", fmt.Sprintf(approve, strings.ToUpper(id)), "approved must be the id"},
		"approved by a part of the id":         {"LTIPlatform", fmt.Sprintf(approve, id[1:]), "approved must be the id"},
		"approved by too long an id":           {"LTIPlatform", fmt.Sprintf(approve, id+"0"), "Too long"},
		"approved by a path":                   {"LTIPlatform", fmt.Sprintf(approve, "../"+id[3:]), "approved must be the id"},
		"a number of digits":                   {"LTIPlatform", "title: M\nregistration: {dynamic: {approved: 01234567890123456789}}", "must be of type string"},
		"an hour":                              {"LTIPlatform", fmt.Sprintf(hours, 1), ""},
		"a month":                              {"LTIPlatform", fmt.Sprintf(hours, 720), ""},
		"no time at all":                       {"LTIPlatform", fmt.Sprintf(hours, 0), "greater than or equal to 1"},
		"more than a month":                    {"LTIPlatform", fmt.Sprintf(hours, 721), "less than or equal to 720"},
		"the registered deployment only":       {"LTIPlatform", "title: M\ndeployments: {policy: Listed}" + dynamic, ""},
		"a tool":                               {"LTITool", fmt.Sprintf(lab, ""), ""},
		"a tool, approved":                     {"LTITool", fmt.Sprintf(lab, ", linkValidHours: 24, approved: "+id), ""},
		"a tool with values of its own":        {"LTITool", tool(toolJWKS) + "registration: {dynamic: {registrationURL: 'https://lab.example'}}", notBoth},
		"a tool without its address":           {"LTITool", "title: Lab\nregistration: {dynamic: {}}", "registrationURL"},
		"a tool that registers over http":      {"LTITool", "title: Lab\nregistration: {dynamic: {registrationURL: 'http://lab.example'}}", "must be an absolute https URL"},
		"a tool that registers at a fragment":  {"LTITool", "title: Lab\nregistration: {dynamic: {registrationURL: 'https://lab.example/#x'}}", "must be an absolute https URL"},
		"a tool that is approved with a title": {"LTITool", fmt.Sprintf(lab, ", approved: Lab"), "approved must be the id"},
	} {
		t.Run(name, func(t *testing.T) { try(t, object(t, c.kind, "", c.spec), c.message) })
	}
}

// What a stranger registers passes the rule of the API server too.
func TestAddressesAreJudgedAsByTheAPIServer(t *testing.T) {
	for _, address := range []string{
		"https://lms.example", "https://lms.example:8443/a?b=c&d", "https://LMS.example/%20", "http://localhost:8000/x", "http://moodle.localhost",
		"http://127.0.0.1:1/", "http://[::1]:8000/x", "https://10.0.0.1/x",
		"", "lms.example", "http://lms.example", "https://", "https:///x", "https://me@lms.example/", "https://lms.example/#a", "https://lms.example#a",
		"javascript:alert(1)", "HTTPS://lms.example", "http://evil-localhost.example", "http://localhost.example", "http://128.0.0.1", "https://lms.example\\@evil.example",
		"https://lms.example/" + strings.Repeat("a", 2048-20), "https://lms.example/" + strings.Repeat("a", 2048-19),
	} {
		quoted, err := json.Marshal(address)
		if err != nil {
			t.Fatal(err)
		}
		refused := api.Create(t.Context(), object(t, "LTITool", "", "title: Lab\nregistration: {dynamic: {registrationURL: "+string(quoted)+"}}"))
		if got := v1alpha1.PeerURL(address).Valid(); got != (refused == nil) {
			t.Errorf("%.80q: valid is %t, the API server says %v", address, got, refused)
		}
	}
	for _, address := range []v1alpha1.PeerURL{"https://lms.example/\nX: y", "https://lms.example/ x", "https://lms.example/\u202e", "https://lms.example/\x7f"} {
		if address.Valid() {
			t.Errorf("%q is valid", address)
		}
	}
}

// The largest status that can be written is one that the API server takes.
func TestTheLargestStatusOfARegistration(t *testing.T) {
	long := strings.Repeat("ü", 2047) + "…"
	known := v1alpha1.KnownToolRegistration{
		Name: long[:100], LoginInitiationURL: long, JWKSURL: long, LaunchURL: long, DeepLinkingURL: long,
		KnownRegistration: v1alpha1.KnownRegistration{State: v1alpha1.RegistrationPending},
	}
	for range 16 {
		known.RedirectURIs, known.Scopes = append(known.RedirectURIs, long), append(known.Scopes, strings.Repeat("ü", 255))
	}
	var all []any
	for i := range v1alpha1.MaxKnownRegistrations {
		known.ID = fmt.Sprintf("%020x", i)
		text, err := json.Marshal(known)
		if err != nil {
			t.Fatal(err)
		}
		var one map[string]any
		if err := json.Unmarshal(text, &one); err != nil {
			t.Fatal(err)
		}
		one["registeredAt"] = "2026-03-01T10:00:00Z"
		all = append(all, one)
	}
	o := object(t, "LTITool", "", "title: Lab\nregistration: {dynamic: {registrationURL: 'https://lab.example'}}")
	if err := api.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedSlice(o.Object, all, "status", "registration", "known"); err != nil {
		t.Fatal(err)
	}
	if err := api.Status().Update(t.Context(), o); err != nil {
		t.Error(err)
	}
}

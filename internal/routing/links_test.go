// SPDX-License-Identifier: Apache-2.0

package routing

import "testing"

func TestRegistrationLinks(t *testing.T) {
	const academy = "https://lti.acme.example"
	if got := PlatformRegistrationLink(academy, "moodle", "t-_0"); got != "https://lti.acme.example/platforms/moodle/register?token=t-_0" {
		t.Error(got)
	}
	const ours = "openid_configuration=https%3A%2F%2Flti.acme.example%2Ftools%2Flab%2F.well-known%2Fopenid-configuration&registration_token=t-_0"
	for registrationURL, want := range map[string]string{
		"https://lab.example":                                             "https://lab.example?" + ours,
		"https://lab.example/register":                                    "https://lab.example/register?" + ours,
		"https://lab.example/register?":                                   "https://lab.example/register?" + ours,
		"https://lab.example/register?b=%7e&a=1+2&a=?":                    "https://lab.example/register?b=%7e&a=1+2&a=?&" + ours,
		"https://lab.example/register?registration%5Ftoken=old&x=%":       "https://lab.example/register?x=%&" + ours,
		"https://lab.example/register?openid_configuration=https://a&y=1": "https://lab.example/register?y=1&" + ours,
	} {
		if got := ToolRegistrationLink(registrationURL, academy, "lab", "t-_0"); got != want {
			t.Errorf("%s becomes\n%s, not\n%s", registrationURL, got, want)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

var hinted = time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)

func hintSealer(t *testing.T, keys ...string) *Sealer {
	t.Helper()
	var all [][]byte
	for _, k := range keys {
		all = append(all, []byte(strings.Repeat(k, 32)))
	}
	s, err := NewSealer(bytes.NewReader(bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), 40)), all...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newHint(t *testing.T, s *Sealer) (sealed, cookie string) {
	t.Helper()
	sealed, cookie, err := s.NewHint(Hint{Tool: "lab", Activity: "simulation", LearnerID: "learner", Framed: true}, hinted)
	if err != nil {
		t.Fatal(err)
	}
	return sealed, cookie
}

func TestAHintWorksForAMinute(t *testing.T) {
	s := hintSealer(t, "a")
	sealed, cookie := newHint(t, s)
	for after, want := range map[time.Duration]lti.Code{0: "", 59 * time.Second: "", 60 * time.Second: lti.LaunchExpired, time.Hour: lti.LaunchExpired} {
		h, err := s.OpenHint(sealed, hinted.Add(after))
		if lti.CodeOf(err) != want {
			t.Errorf("after %s: %v", after, err)
		}
		if want == "" && (h.Tool != "lab" || h.Activity != "simulation" || h.LearnerID != "learner" || !h.Framed || len(h.ID) != 32) {
			t.Errorf("after %s: %+v", after, h)
		}
	}
	h, err := s.OpenHint(sealed, hinted)
	if err != nil {
		t.Fatal(err)
	}
	// It is remembered for longer than any replica takes it.
	if !h.ForgottenAt().After(hinted.Add(HintLifetime + time.Minute)) {
		t.Errorf("forgotten at %s", h.ForgottenAt())
	}
	if !h.FromBrowser("another", cookie) || h.FromBrowser() || h.FromBrowser("", "another", sealed) {
		t.Error("the browser is not told from others")
	}
}

func TestAHintIsOurs(t *testing.T) {
	s := hintSealer(t, "a")
	sealed, _ := newHint(t, s)
	token, err := s.NewServiceToken("lab", "keys", []string{"x"}, hinted)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"nothing": "", "guessed": "guessed", "cut off": sealed[:len(sealed)-1], "extended": sealed + "A", "for something else": token} {
		if _, err := s.OpenHint(text, hinted); lti.CodeOf(err) != lti.HintInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := hintSealer(t, "b", "a").OpenHint(sealed, hinted); err != nil {
		t.Errorf("after the key was replaced: %v", err)
	}
	if _, err := hintSealer(t, "b").OpenHint(sealed, hinted); lti.CodeOf(err) != lti.HintInvalid {
		t.Errorf("with other keys: %v", err)
	}
	if _, _, err := (&Sealer{ciphers: s.ciphers, random: strings.NewReader("short")}).NewHint(Hint{}, hinted); err == nil {
		t.Error("a hint without random numbers")
	}
}

func TestAServiceTokenIsForOneToolAndItsScopes(t *testing.T) {
	s := hintSealer(t, "a")
	token, err := s.NewServiceToken("lab", "keys", []string{"one", "two"}, hinted)
	if err != nil {
		t.Fatal(err)
	}
	sealedHint, _ := newHint(t, s)
	for name, c := range map[string]struct {
		token, tool string
		after       time.Duration
		scopes      []string
		want        lti.Code
	}{
		"a scope":             {token, "lab", 0, []string{"two"}, ""},
		"one of several":      {token, "lab", 59 * time.Minute, []string{"three", "one"}, ""},
		"too late":            {token, "lab", time.Hour, []string{"one"}, lti.AccessTokenInvalid},
		"another scope":       {token, "lab", 0, []string{"three"}, lti.ScopeMissing},
		"no scope":            {token, "lab", 0, nil, lti.ScopeMissing},
		"another tool":        {token, "rival", 0, []string{"one"}, lti.AccessTokenForeign},
		"a hint":              {sealedHint, "lab", 0, []string{"one"}, lti.AccessTokenInvalid},
		"guessed":             {"guessed", "lab", 0, []string{"one"}, lti.AccessTokenInvalid},
		"nothing":             {"", "lab", 0, []string{"one"}, lti.AccessTokenInvalid},
		"part of a scope":     {token, "lab", 0, []string{"on"}, lti.ScopeMissing},
		"a tool's first name": {token, "la", 0, []string{"one"}, lti.AccessTokenForeign},
	} {
		if _, err := s.OpenServiceToken(c.token, c.tool, "keys", hinted.Add(c.after), c.scopes...); lti.CodeOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, keys := range []string{"", "other", "key"} {
		if _, err := s.OpenServiceToken(token, "lab", keys, hinted, "one"); lti.CodeOf(err) != lti.AccessTokenInvalid {
			t.Errorf("registered with %q since: %v", keys, err)
		}
	}
}

func TestAHintKnowsItsTarget(t *testing.T) {
	const target = "https://lab.example/resources/simulation?lang=en"
	s := hintSealer(t, "a")
	hint := Hint{Tool: "lab", LearnerID: "learner"}
	if !hint.AimedAt(target) || !hint.AimedAt("") {
		t.Error("a hint of an older version is not believed")
	}
	hint.AimAt(target)
	sealed, _, err := s.NewHint(hint, hinted)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.OpenHint(sealed, hinted)
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{target: true, target + "&x=1": false, "https://lab.example/resources/simulation": false, "": false} {
		if h.AimedAt(address) != want {
			t.Errorf("aimed at %q: %t", address, !want)
		}
	}
}

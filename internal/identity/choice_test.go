// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

func newChoice(t *testing.T, s *Sealer) (sealed, cookie string) {
	t.Helper()
	sealed, cookie, err := s.NewChoice(Choice{Tool: "lab", LearnerID: "author", Author: Author{Claim: "groups", Value: "authors"}}, hinted)
	if err != nil {
		t.Fatal(err)
	}
	return sealed, cookie
}

func TestAChoiceWorksForAnHour(t *testing.T) {
	s := hintSealer(t, "a")
	sealed, cookie := newChoice(t, s)
	for after, want := range map[time.Duration]lti.Code{0: "", time.Hour - time.Second: "", time.Hour: lti.ChoiceExpired, 24 * time.Hour: lti.ChoiceExpired} {
		c, err := s.OpenChoice(sealed, hinted.Add(after))
		if lti.CodeOf(err) != want {
			t.Errorf("after %s: %v", after, err)
		}
		if want == "" && (c.Tool != "lab" || c.LearnerID != "author" || c.Author != (Author{"groups", "authors"}) || len(c.ID) != 32) {
			t.Errorf("after %s: %+v", after, c)
		}
	}
	c, err := s.OpenChoice(sealed, hinted)
	if err != nil {
		t.Fatal(err)
	}
	// It is remembered for longer than any replica takes it.
	if !c.ForgottenAt().After(hinted.Add(ChoiceLifetime + time.Minute)) {
		t.Errorf("forgotten at %s", c.ForgottenAt())
	}
	if !c.FromBrowser("another", cookie) || c.FromBrowser() || c.FromBrowser("", "another", sealed) {
		t.Error("the browser is not told from others")
	}
}

func TestAChoiceIsOurs(t *testing.T) {
	s := hintSealer(t, "a")
	sealed, cookie := newChoice(t, s)
	hint, hintCookie := newHint(t, s)
	for name, text := range map[string]string{
		"nothing": "", "guessed": "guessed", "cut off": sealed[:len(sealed)-1], "extended": sealed + "A", "a hint": hint,
	} {
		if _, err := s.OpenChoice(text, hinted); lti.CodeOf(err) != lti.ChoiceInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.OpenHint(sealed, hinted); lti.CodeOf(err) != lti.HintInvalid {
		t.Errorf("a choice in place of a hint: %v", err)
	}
	c, err := s.OpenChoice(sealed, hinted)
	if err != nil || c.FromBrowser(hintCookie) || !c.FromBrowser(cookie) {
		t.Errorf("the cookie of a launch is that of a choice: %v", err)
	}
	if _, err := hintSealer(t, "b", "a").OpenChoice(sealed, hinted); err != nil {
		t.Errorf("after the key was replaced: %v", err)
	}
	if _, err := hintSealer(t, "b").OpenChoice(sealed, hinted); lti.CodeOf(err) != lti.ChoiceInvalid {
		t.Errorf("with other keys: %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/lti"
)

func flow(t *testing.T, s *Sealer) (state, cookie string, f *Flow) {
	t.Helper()
	f, cookie, err := s.NewFlow(FlowConnect, "provider", "launch", now)
	if err != nil {
		t.Fatal(err)
	}
	state, err = s.SealFlow(f)
	if err != nil {
		t.Fatal(err)
	}
	return state, cookie, f
}

func TestAFlowComesBackToItsBrowser(t *testing.T) {
	s := sealer(t, 1)
	state, cookie, f := flow(t, s)
	other, otherCookie, g := flow(t, s)
	const none = "none"
	for name, c := range map[string]struct {
		state, provider string
		after           time.Duration
		cookies         []string
		sealer          *Sealer
		want            lti.Code
	}{
		"at once":                      {cookies: []string{cookie}},
		"at the last second":           {after: FlowLifetime - time.Second, cookies: []string{cookie}},
		"among cookies of other tabs":  {cookies: []string{"", otherCookie, cookie}},
		"after a key was added":        {cookies: []string{cookie}, sealer: sealer(t, 2, 1)},
		"too late":                     {after: FlowLifetime, cookies: []string{cookie}, want: lti.StateExpired},
		"after the provider changed":   {provider: "another", cookies: []string{cookie}, want: lti.StateExpired},
		"without a cookie":             {want: lti.StateNotFromThisBrowser},
		"with an empty cookie":         {cookies: []string{""}, want: lti.StateNotFromThisBrowser},
		"in another browser":           {cookies: []string{otherCookie}, want: lti.StateNotFromThisBrowser},
		"with what the state holds":    {cookies: []string{f.Browser}, want: lti.StateNotFromThisBrowser},
		"in this browser, another one": {state: other, cookies: []string{cookie}, want: lti.StateNotFromThisBrowser},
		"nothing":                      {state: none, cookies: []string{cookie}, want: lti.StateMissing},
		"text":                         {state: "abc!", cookies: []string{cookie}, want: lti.StateInvalid},
		"an authorization code":        {state: code(t, s), cookies: []string{cookie}, want: lti.StateInvalid},
		"of somebody else's key":       {cookies: []string{cookie}, sealer: sealer(t, 2), want: lti.StateInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			switch c.state {
			case "":
				c.state = state
			case none:
				c.state = ""
			}
			if c.provider == "" {
				c.provider = "provider"
			}
			if c.sealer == nil {
				c.sealer = s
			}
			got, err := c.sealer.OpenFlow(c.state, c.provider, now.Add(c.after), c.cookies...)
			if c.want != "" {
				if lti.CodeOf(err) != c.want || got != nil {
					t.Errorf("%+v, %v, want %s", got, err, c.want)
				}
				return
			}
			if diff := cmp.Diff(f, got); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
	if state[:11] == other[:11] || f.Nonce == g.Nonce || f.Verifier == g.Verifier || cookie == otherCookie {
		t.Error("two flows are alike")
	}
}

func TestWhatAFlowIsMadeOf(t *testing.T) {
	state, cookie, f := flow(t, sealer(t, 1))
	for name, c := range map[string]struct {
		value string
		bytes int
	}{"cookie": {cookie, 16}, "nonce": {f.Nonce, 24}, "verifier": {f.Verifier, 32}} {
		if b, err := base64.RawURLEncoding.DecodeString(c.value); err != nil || len(b) != c.bytes {
			t.Errorf("%s of %d bytes, %v", name, len(b), err)
		}
	}
	// The hash of the cookie is of no use where another token is stored by its hash.
	if bare := sha256.Sum256([]byte(cookie)); f.Browser == base64.RawURLEncoding.EncodeToString(bare[:]) || f.Browser == cookie {
		t.Error("the cookie is not hashed for this purpose alone")
	}
	if !verifierSyntax.MatchString(f.Verifier) {
		t.Errorf("no code verifier: %q", f.Verifier)
	}
	// Some providers keep the state in a cookie of theirs.
	if len(state) > 512 {
		t.Errorf("a state of %d characters", len(state))
	}
	plain, err := base64.RawURLEncoding.DecodeString(state)
	if err != nil || strings.Contains(string(plain), f.Verifier) || strings.Contains(string(plain), "launch") {
		t.Errorf("the state can be read: %v", err)
	}
}

func TestAFlowWithoutRandomnessIsNotBegun(t *testing.T) {
	broken := errors.New("no entropy")
	s := sealer(t, 1)
	s.random = iotest.ErrReader(broken)
	if f, cookie, err := s.NewFlow(FlowStart, "provider", "", now); !errors.Is(err, broken) || f != nil || cookie != "" {
		t.Errorf("%+v, %q, %v", f, cookie, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/lti"
)

// switchedOff is one way of ending launches, and of taking that back.
type switchedOff struct {
	name      string
	off, on   []string // arguments of kubectl
	reason    lti.Code
	ended     link12 // no longer opens
	untouched link12 // opens as before
	// login tells whether the platform may not even start an LTI 1.3 login meanwhile.
	login bool
}

// switches judges that what is switched off ends at once, for itself only, and comes back with its old values.
func (c *checks) switches(ctx context.Context) {
	embedded := c.peers.Platform.LTI12[1]
	share, err := c.shareOf(ctx, c.link.Name)
	if err != nil {
		c.fail("the activity can be read", err)
		return
	}
	for _, s := range []switchedOff{{
		name:   "a platform that is deactivated",
		off:    []string{"patch", "ltiplatform", platformName, "--type=merge", "--patch", `{"spec":{"activation":"Deactivated"}}`},
		on:     []string{"patch", "ltiplatform", platformName, "--type=merge", "--patch", `{"spec":{"activation":"Activated"}}`},
		reason: lti.PlatformDeactivated, ended: embedded, untouched: c.link, login: true,
	}, {
		name:   "a platform whose label an activity no longer selects",
		off:    []string{"label", "ltiplatform", platformName, "--overwrite", "audience=nobody"},
		on:     []string{"label", "ltiplatform", platformName, "--overwrite", "audience=university"},
		reason: lti.NotShared, ended: embedded, untouched: c.link,
	}, {
		name:   "an activity that is no longer shared",
		off:    []string{"patch", "ltiactivity", c.link.Name, "--type=json", "--patch", `[{"op":"remove","path":"/spec/share"}]`},
		on:     []string{"patch", "ltiactivity", c.link.Name, "--type=merge", "--patch", share},
		reason: lti.NotShared, ended: c.link, untouched: embedded,
	}} {
		c.check(s.name+" is refused, others are not, and it comes back with the same values", func() (string, error) {
			return c.switchOnce(ctx, s)
		})
	}
}

// shareOf is the patch that gives an activity the share that it has now.
func (c *checks) shareOf(ctx context.Context, name string) (string, error) {
	activity := &v1alpha1.LTIActivity{}
	if err := c.cluster.get(ctx, name, activity); err != nil {
		return "", err
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"share": activity.Spec.Share}})
	return string(patch), err
}

func (c *checks) switchOnce(ctx context.Context, s switchedOff) (string, error) {
	before, err := c.readPeerConfig(ctx)
	if err != nil {
		return "", err
	}
	off, err := c.takes(ctx, s.off, func() error {
		if err := c.opens(ctx, s.untouched); err != nil {
			return errors.Join(errUntouched, err)
		}
		return c.refuses(ctx, s)
	})
	if err != nil {
		return "", err
	}
	on, err := c.takes(ctx, s.on, func() error {
		return errors.Join(c.opens(ctx, s.untouched), c.opens(ctx, s.ended))
	})
	if err != nil {
		return "", fmt.Errorf("switched on again: %w", err)
	}
	if _, err := c.waitReady(ctx); err != nil {
		return "", err
	}
	after, err := c.readPeerConfig(ctx)
	if err != nil {
		return "", err
	}
	if !slices.Equal(before.Platform.LTI12, after.Platform.LTI12) || !slices.Equal(before.Platform.LTI13.Activities, after.Platform.LTI13.Activities) {
		return "", errors.New("the values that were handed out have changed")
	}
	return fmt.Sprintf("%d ms from the start of kubectl to the refusal, %d ms back", off.Milliseconds(), on.Milliseconds()), nil
}

// errUntouched ends the wait for a change: what must not be touched was.
var errUntouched = errors.New("another link was refused meanwhile")

// takes runs kubectl and waits until the wanted state is reached.
func (c *checks) takes(ctx context.Context, kubectl []string, reached func() error) (time.Duration, error) {
	start := time.Now()
	if _, err := c.cluster.kubectl(ctx, kubectl...); err != nil {
		return 0, err
	}
	var fatal error
	err := poll(ctx, 10*time.Second, func() error {
		err := reached()
		if errors.Is(err, errUntouched) {
			fatal = err
			return nil
		}
		return err
	})
	return time.Since(start), errors.Join(fatal, err)
}

func (c *checks) opens(ctx context.Context, link link12) error {
	place, err := c.sign.launch12(ctx, link)
	if err == nil && !strings.HasPrefix(place, c.academy) {
		return fmt.Errorf("a launch leads to %s", place)
	}
	return err
}

// refuses tells whether the ended link, and the login where it must not begin, are refused with the right reason.
func (c *checks) refuses(ctx context.Context, s switchedOff) error {
	_, err := c.sign.launch12(ctx, s.ended)
	if err == nil || !strings.Contains(err.Error(), string(s.reason)) {
		return fmt.Errorf("a launch gives %w, not %s", errors.Join(err), s.reason)
	}
	if !s.login {
		return nil
	}
	p := c.peers.Platform.LTI13
	query := url.Values{"iss": {p.Issuer}, "login_hint": {"17"}, "target_link_uri": {p.Activities[0].ResourceURL}}
	status, page, err := get(ctx, p.LoginInitiationURL+"?"+query.Encode())
	if m := reasonPattern.FindSubmatch(page); err == nil && (m == nil || string(m[1]) != string(s.reason)) {
		return fmt.Errorf("a login is answered with %d", status)
	}
	return err
}

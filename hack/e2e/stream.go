// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lti-operator/lti-operator/hack/launches"
)

// kind is one of the four ways to open an activity.
type kind struct {
	name   string
	launch func(context.Context, *e2e, *launches.Academy, launches.Person) error
}

// kinds are all ways. A launch is a success when the side that is opened has learned who comes, and which activity is meant.
var kinds = []kind{
	{"shared over LTI 1.3", func(ctx context.Context, e *e2e, a *launches.Academy, who launches.Person) error {
		return e.redeemed(ctx, a, who, platformName)(e.platform.Launch(ctx, a, who, launches.Link{
			Activity: sharedActivity, ID: "link", Context: "course", GradebookURL: e.peers.url + "/gradebook/items/1",
		}))
	}},
	{"shared over LTI 1.2", func(ctx context.Context, e *e2e, a *launches.Academy, who launches.Person) error {
		return e.redeemed(ctx, a, who, "")(launches.LaunchForm(ctx, a, e.shared, who, launches.Link{Activity: sharedActivity, ID: "link", Context: "course"}))
	}},
	{"external over LTI 1.3", func(ctx context.Context, e *e2e, a *launches.Academy, who launches.Person) error {
		claims, err := e.tool.Open(ctx, a, e.peers.provider, who, toolActivity)
		if err != nil {
			return err
		}
		target := claims["https://purl.imsglobal.org/spec/lti/claim/target_link_uri"]
		if claims["name"] != who.Name() || target != "https://lab.example/scenarios/mast" {
			return &launches.Unexpected{Step: "ID token", Status: http.StatusOK, Reason: fmt.Sprintf("name %v, target %v", claims["name"], target)}
		}
		subject, _ := claims["sub"].(string)
		return e.met.again(toolName, who, subject)
	}},
	{"external over LTI 1.2", func(ctx context.Context, e *e2e, a *launches.Academy, who launches.Person) error {
		form, err := launches.OpenForm(ctx, a, e.peers.provider, who, formActivity, partnerLaunchURL, e.partner)
		if err != nil {
			return err
		}
		name, link := form.Get("lis_person_name_full"), form.Get("resource_link_id")
		if name != who.Name() || link != "first-aid-at-work" {
			return &launches.Unexpected{Step: "form", Status: http.StatusOK, Reason: fmt.Sprintf("name %q, link %q", name, link)}
		}
		return e.met.again("partner", who, form.Get("user_id"))
	}},
}

// redeemed is the academy's part of a launch.
func (e *e2e) redeemed(ctx context.Context, a *launches.Academy, who launches.Person, platform string) func(*url.URL, error) error {
	return func(arrived *url.URL, err error) error {
		if err != nil {
			return err
		}
		claims, err := e.app.Redeem(ctx, a, arrived)
		if err != nil {
			return err
		}
		if claims.Name != who.Name() || claims.Activity != sharedActivity || claims.Platform != platform {
			return &launches.Unexpected{
				Step: "claims", Status: http.StatusOK,
				Reason: fmt.Sprintf("name %q, activity %q, platform %q", claims.Name, claims.Activity, claims.Platform),
			}
		}
		return e.met.again(cmp.Or(platform, "form"), who, claims.Subject)
	}
}

// people remembers what everybody is called by the side that they come to: it must never change.
type people struct {
	mu    sync.Mutex
	known map[string]string
}

func (p *people) again(where string, who launches.Person, subject string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[string]string{}
	}
	key := where + " " + who.ID
	if before := p.known[key]; subject == "" || before != "" && before != subject {
		return &launches.Unexpected{Step: "claims", Status: http.StatusOK, Reason: "a known person has become another"}
	}
	p.known[key] = subject
	return nil
}

// crowd is how many people there are of each kind.
const crowd = 50

func personOf(k kind, i int) launches.Person {
	id := fmt.Sprintf("%c%s-%d", k.name[0], strings.ReplaceAll(strings.TrimPrefix(k.name[strings.LastIndexByte(k.name, ' ')+1:], "."), ".", ""), i%crowd)
	return launches.Person{ID: id, GivenName: "Given " + id, FamilyName: "Family", Email: id + "@person.example"}
}

// tally is what became of a stream of launches.
type tally struct {
	mu       sync.Mutex
	launched int
	took     time.Duration
	slowest  time.Duration
	// answered are launches that were answered with something else; broken those whose connection broke. Both by reason.
	answered, broken map[string]int
	// again are those of both that succeeded when they were tried again, once.
	again, notAgain int
	lasting         map[string]int
}

func (t *tally) failures() (answered, broken int) {
	for _, n := range t.answered {
		answered += n
	}
	for _, n := range t.broken {
		broken += n
	}
	return answered, broken
}

func reasons(m map[string]int) string {
	var words []string
	for _, reason := range slices.Sorted(maps.Keys(m)) {
		words = append(words, fmt.Sprintf("%d × %s", m[reason], reason))
	}
	return strings.Join(words, "; ")
}

// reasonOf is what went wrong, without addresses, so that it can be counted.
func reasonOf(err error) (reason string, answered bool) {
	if u := (*launches.Unexpected)(nil); errors.As(err, &u) {
		return u.Error(), true
	}
	step, _, _ := strings.Cut(err.Error(), ":")
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Err != nil {
		return fmt.Sprintf("%s: %s %v", step, op.Op, op.Err), false
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return fmt.Sprintf("%s: %v", step, u.Err), false
	}
	return err.Error(), true
}

// retryPause is how long somebody needs to click again.
const retryPause = 2 * time.Second

// stream launches all the time, at the rate of the flags and each kind in turn, while action runs and until there were
// enough launches. Every other round is by connections that are kept, the rest by new ones.
func (e *e2e) stream(ctx context.Context, action func(context.Context) error) (*tally, error) {
	t := &tally{answered: map[string]int{}, broken: map[string]int{}, lasting: map[string]int{}}
	acted := make(chan error, 1)
	began := time.Now()
	tick := time.NewTicker(time.Second / time.Duration(e.flags.Rate))
	defer tick.Stop()
	var running sync.WaitGroup
	defer running.Wait()
	var failure error
	started, ended := false, false
	for i := 0; ; i++ {
		// Some launches before, so that there are connections to lose.
		if !started && i >= 2*e.flags.Rate {
			started = true
			go func() { acted <- action(ctx) }()
		}
		select {
		case <-ctx.Done():
			return t, context.Cause(ctx)
		case failure = <-acted:
			ended = true
		case <-tick.C:
		}
		if ended && (i >= e.flags.Launches+2*e.flags.Rate || failure != nil) {
			running.Wait()
			t.took = time.Since(began)
			return t, failure
		}
		k := kinds[i%len(kinds)]
		by := e.academy
		if i/len(kinds)%2 == 1 {
			by = e.fresh
		}
		running.Go(func() { t.launch(ctx, e, by, k, personOf(k, i/len(kinds))) })
	}
}

func (t *tally) launch(ctx context.Context, e *e2e, by *launches.Academy, k kind, who launches.Person) {
	began := time.Now()
	err := k.launch(ctx, e, by, who)
	took := time.Since(began)
	t.mu.Lock()
	t.launched++
	t.slowest = max(t.slowest, took)
	if err == nil || ctx.Err() != nil {
		t.mu.Unlock()
		return
	}
	reason, answered := reasonOf(err)
	reason = k.name + ": " + reason
	if answered {
		t.answered[reason]++
	} else {
		t.broken[reason]++
	}
	t.mu.Unlock()
	e.say("a launch failed: %s", reason)
	select {
	case <-ctx.Done():
		return
	case <-time.After(retryPause):
	}
	err = k.launch(ctx, e, by, who)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.again++
		return
	}
	t.notAgain++
	reason, _ = reasonOf(err)
	t.lasting[k.name+": "+reason]++
}

// undisturbed streams launches while action runs, and wants all to succeed.
func (e *e2e) undisturbed(ctx context.Context, action func(context.Context) error) error {
	t, err := e.stream(ctx, action)
	e.tell(t)
	answered, broken := t.failures()
	e.report.add(e.phase, fmt.Sprintf("failed of %d launches", t.launched), 0, float64(answered+broken), "")
	return err
}

// tell reports what a stream was, and why launches of it failed.
func (e *e2e) tell(t *tally) {
	e.say("%d launches, %.0f a second, the slowest %.1f s", t.launched, float64(t.launched)/max(t.took.Seconds(), 1), t.slowest.Seconds())
	e.report.tell(e.phase, "launches a second; the slowest", fmt.Sprintf("%.0f; %.2f s", float64(t.launched)/max(t.took.Seconds(), 1), t.slowest.Seconds()))
	for what, m := range map[string]map[string]int{"answered": t.answered, "connection": t.broken, "failed twice": t.lasting} {
		if len(m) > 0 {
			e.report.note("%s: %s: %s", e.phase, what, reasons(m))
		}
	}
}

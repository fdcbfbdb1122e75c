// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Paths through the handler, as far as a switch can be thrown before their last step.
const (
	pathLoginGET          = "login with GET"
	pathLoginPOST         = "login with POST"
	pathLoginOther        = "login of the other deployment"
	pathLaunch13          = "LTI 1.3 launch with a token from before"
	pathLaunch13Other     = "LTI 1.3 launch of the other deployment"
	pathLaunch12Activity  = "LTI 1.2 launch with the activity's key"
	pathLaunch12Given     = "LTI 1.2 launch with the activity's key, given to the platform"
	pathLaunch12Platform  = "LTI 1.2 launch with the platform's key"
	pathButton13          = "button after LTI 1.3"
	pathButton12Activity  = "button after LTI 1.2 with the activity's key"
	pathButton12Platform  = "button after LTI 1.2 with the platform's key"
	pathRedeem13          = "code after LTI 1.3"
	pathRedeem12Activity  = "code after LTI 1.2 with the activity's key"
	pathRedeem12Platform  = "code after LTI 1.2 with the platform's key"
	pathActivityPage      = "page of the activity"
	pathActivityLaunchURL = "page of the activity's launch URL"
	pathPlatformPage      = "page of the platform"
	pathPublicKeys        = "public keys"
)

// underWay starts every path of the party to the activity, and returns the last step of each.
func (a *academy) underWay(p party, activity string) map[string]func() answer {
	a.t.Helper()
	framed := func(launch func(*browser) answer) func() answer {
		b := a.browser()
		b.dest = "iframe"
		ticket := launch(b).ticket()
		b.dest = "document"
		return func() answer { return b.open(ticket) }
	}
	redeemed := func(launch func(*browser) answer) func() answer {
		b := a.browser()
		code := launch(b).code()
		return func() answer { return b.redeem(code) }
	}
	token := func(deployment string) func() answer {
		b := a.browser()
		login := loginForm(p, activity)
		login.Set("lti_deployment_id", deployment)
		q := b.do(http.MethodPost, "/platforms/"+p.platform+"/login", login).location().Query()
		claims := a.claims(p, activity, q.Get("nonce"))
		claims[claim+"deployment_id"] = deployment
		form := url.Values{"state": {q.Get("state")}, "id_token": {a.sign(p, claims, nil)}}
		return func() answer { return b.post13(p, form) }
	}
	signed := func(key string) func() answer {
		b := a.browser()
		form := a.form12(activity, key, sent12("one.example", key+"@example.org"))
		return func() answer { return b.post12(activity, form) }
	}
	login := func(method, deployment string) func() answer {
		b := a.browser()
		form := loginForm(p, activity)
		form.Set("lti_deployment_id", deployment)
		if method == http.MethodGet {
			return func() answer { return b.do(method, "/platforms/"+p.platform+"/login?"+form.Encode(), nil) }
		}
		return func() answer { return b.do(method, "/platforms/"+p.platform+"/login", form) }
	}
	get := func(path string) func() answer {
		return func() answer { return a.browser().do(http.MethodGet, path, nil) }
	}
	launch13 := func(b *browser) answer { return b.launch13(p, activity, nil) }
	launch12 := func(key string) func(*browser) answer {
		return func(b *browser) answer {
			return b.launch12(activity, key, sent12("one.example", key+"@example.org"))
		}
	}
	steps := map[string]func() answer{
		pathLoginGET:          login(http.MethodGet, p.deployment),
		pathLoginPOST:         login(http.MethodPost, p.deployment),
		pathLoginOther:        login(http.MethodPost, "9"),
		pathLaunch13:          token(p.deployment),
		pathLaunch13Other:     token("9"),
		pathLaunch12Activity:  signed("height-key"),
		pathButton13:          framed(launch13),
		pathButton12Activity:  framed(launch12("height-key")),
		pathRedeem13:          redeemed(launch13),
		pathRedeem12Activity:  redeemed(launch12("height-key")),
		pathActivityPage:      get("/activities/" + activity),
		pathActivityLaunchURL: get("/activities/" + activity + "/launch"),
		pathPlatformPage:      get("/platforms/" + p.platform + "/launch"),
		pathPublicKeys:        get("/platforms/" + p.platform + "/jwks.json"),
	}
	if p.platform == campus().platform {
		maps.Copy(steps, map[string]func() answer{
			pathLaunch12Given:    signed("campus-height-key"),
			pathLaunch12Platform: signed("campus-key"),
			pathButton12Platform: framed(launch12("campus-key")),
			pathRedeem12Platform: redeemed(launch12("campus-key")),
		})
	}
	return steps
}

// outcome runs the last steps and returns the refusal of each; empty for those that work.
func outcome(steps map[string]func() answer) map[string]lti.Code {
	out := map[string]lti.Code{}
	for name, step := range steps {
		out[name] = step().reason()
	}
	return out
}

func TestSwitches(t *testing.T) {
	launches := []string{pathLaunch13, pathLaunch13Other, pathLaunch12Given, pathLaunch12Platform, pathButton13, pathButton12Platform, pathRedeem13, pathRedeem12Platform}
	logins := []string{pathLoginGET, pathLoginPOST, pathLoginOther}
	ofActivity := []string{pathLaunch12Activity, pathButton12Activity, pathRedeem12Activity}
	for name, c := range map[string]struct {
		change func(*routing.Table)
		// refused are the paths of Campus to the activity "height" that are refused, and why.
		refused map[lti.Code][]string
		// everywhere says that Moodle has no other fate.
		everywhere bool
	}{
		"academy deactivated": {
			change: func(t *routing.Table) { t.Academy.Active = false },
			refused: map[lti.Code][]string{
				lti.AcademyDeactivated: slices.Concat(launches, logins, ofActivity, []string{pathActivityPage, pathActivityLaunchURL, pathPlatformPage}),
			},
			everywhere: true,
		},
		"platform deactivated": {
			change:  func(t *routing.Table) { platformIn(t, "campus").Active = false },
			refused: map[lti.Code][]string{lti.PlatformDeactivated: slices.Concat(launches, logins, []string{pathPlatformPage})},
		},
		"deployment deactivated": {
			change:  func(t *routing.Table) { platformIn(t, "campus").Deployments[0].Active = false },
			refused: map[lti.Code][]string{lti.DeploymentDeactivated: {pathLoginGET, pathLoginPOST, pathLaunch13, pathButton13, pathRedeem13}},
		},
		"deployment deactivated where any is accepted": {
			change: func(t *routing.Table) {
				platformIn(t, "campus").AnyDeployment, platformIn(t, "campus").Deployments[0].Active = true, false
			},
			refused: map[lti.Code][]string{lti.DeploymentDeactivated: {pathLoginGET, pathLoginPOST, pathLaunch13, pathButton13, pathRedeem13}},
		},
		"deployment taken from the list": {
			change:  func(t *routing.Table) { platformIn(t, "campus").Deployments = platformIn(t, "campus").Deployments[1:] },
			refused: map[lti.Code][]string{lti.DeploymentUnknown: {pathLaunch13, pathButton13, pathRedeem13}},
		},
		"activity no longer shared": {
			change: func(t *routing.Table) { activityIn(t, "height").Share = nil },
			refused: map[lti.Code][]string{
				lti.NotShared:       slices.Concat(launches, ofActivity),
				lti.ActivityUnknown: {pathActivityPage, pathActivityLaunchURL},
			},
			everywhere: true,
		},
		"activity gone": {
			change: func(t *routing.Table) { t.Activities = t.Activities[1:] },
			refused: map[lti.Code][]string{
				lti.ActivityUnknown: slices.Concat(launches, ofActivity, []string{pathActivityPage, pathActivityLaunchURL}),
			},
			everywhere: true,
		},
		"platform relabelled": {
			change:  func(t *routing.Table) { platformIn(t, "campus").Labels = map[string]string{"audience": "school"} },
			refused: map[lti.Code][]string{lti.NotShared: launches},
		},
		"registration taken away": {
			change:  func(t *routing.Table) { platformIn(t, "campus").LTI13 = nil },
			refused: map[lti.Code][]string{lti.NotRegistered: slices.Concat(logins, []string{pathLaunch13, pathLaunch13Other, pathPlatformPage})},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAcademy(t)
			activityIn(a.table, "height").Share.PlatformLabels = map[string]string{"audience": "university"}
			a.publish()
			hash := a.report(a.handler).Hash
			paths, others := a.underWay(campus(), "height"), a.underWay(moodle(), "height")
			undo := a.republish(c.change)

			want := map[string]lti.Code{}
			for code, names := range c.refused {
				for _, path := range names {
					want[path] = code
				}
			}
			for path, code := range outcome(paths) {
				if code != want[path] {
					t.Errorf("%s: %q instead of %q", path, code, want[path])
				}
			}
			for path, code := range outcome(others) {
				if c.everywhere {
					if code != want[path] {
						t.Errorf("Moodle's %s: %q instead of %q", path, code, want[path])
					}
				} else if code != "" {
					t.Errorf("Moodle's %s is refused with %s", path, code)
				}
			}

			undo()
			if now := a.report(a.handler).Hash; now != hash {
				t.Errorf("undone, the table is another one")
			}
			for _, p := range []party{campus(), moodle()} {
				for path, code := range outcome(a.underWay(p, "height")) {
					if code != "" {
						t.Errorf("undone, %s of %s is refused with %s", path, p.platform, code)
					}
				}
			}
		})
	}
}

func TestARefusalBetweenTheStepsOfALaunchNamesTheIntegration(t *testing.T) {
	a := newAcademy(t)
	steps := a.underWay(campus(), "height")
	a.republish(func(t *routing.Table) { platformIn(t, "campus").Active = false })
	for _, path := range []string{pathLoginGET, pathLaunch13, pathLaunch12Platform, pathButton13} {
		x := steps[path]()
		a.refused(x, lti.PlatformDeactivated)
		if page := text(x.Body.String()); !strings.Contains(page, "Campus of Example College") {
			t.Errorf("%s does not name the integration: %s", path, page)
		}
	}
}

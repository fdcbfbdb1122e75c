// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/hack/bench/measure"
	"github.com/lti-operator/lti-operator/hack/launches"
)

func (e *e2e) rolloutHandler(ctx context.Context) error {
	return e.undisturbed(ctx, func(ctx context.Context) error {
		round := strconv.FormatInt(time.Now().UnixNano(), 36)
		if err := e.k.merge(ctx, &v1alpha1.LTIAcademy{}, v1alpha1.DefaultAcademyName, `{"spec":{"handler":{"podAnnotations":{"e2e/round":"`+round+`"}}}}`); err != nil {
			return err
		}
		if err := measure.Until(ctx, 20*time.Second, 100*time.Millisecond, func() error {
			d := &appsv1.Deployment{}
			if err := e.k.get(ctx, handlerName, d); err != nil {
				return err
			}
			if d.Spec.Template.Annotations["e2e/round"] != round {
				return errors.New("the Deployment has not changed")
			}
			return nil
		}); err != nil {
			return err
		}
		return e.onlyTheNew(ctx)
	})
}

// onlyTheNew waits until a rollout of the launch handler is through and the old Pods are gone.
func (e *e2e) onlyTheNew(ctx context.Context) error {
	if err := e.rolledOut(ctx, handlerName, 3*time.Minute); err != nil {
		return err
	}
	return measure.Until(ctx, 2*time.Minute, 200*time.Millisecond, func() error {
		var all corev1.PodList
		if err := e.k.List(ctx, &all, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/name": "launch-handler", "app.kubernetes.io/instance": "default"}); err != nil {
			return err
		}
		if len(all.Items) != 2 {
			return fmt.Errorf("%d launch handlers", len(all.Items))
		}
		return nil
	})
}

func (e *e2e) rolloutOperator(ctx context.Context) error {
	return e.undisturbed(ctx, func(ctx context.Context) error {
		e.round++
		if err := e.installOperator(ctx); err != nil {
			return err
		}
		took, err := e.changeTakes(ctx, time.Minute)
		e.report.tell(e.phase, "a change right after it → effective", fmt.Sprintf("%.1f s", took.Seconds()))
		return err
	})
}

// target is where the shared activity leads to, which a change changes.
func (e *e2e) setTarget(ctx context.Context, course string) error {
	return e.k.merge(ctx, &v1alpha1.LTIActivity{}, sharedActivity, `{"spec":{"share":{"targetURL":"https://academy.acme.example/courses/`+course+`"}}}`)
}

// leadsTo tells whether the shared activity leads to a course.
func (e *e2e) leadsTo(ctx context.Context, course string) error {
	arrived, err := launches.LaunchForm(ctx, e.academy, e.shared, personOf(kinds[1], 0), launches.Link{Activity: sharedActivity, ID: "link", Context: "course"})
	if err != nil {
		return err
	}
	if got := arrived.Path; got != "/courses/"+course {
		return fmt.Errorf("it leads to %s", got)
	}
	return nil
}

// changeTakes changes where the shared activity leads to, and back, and tells how long the first took to be effective.
func (e *e2e) changeTakes(ctx context.Context, timeout time.Duration) (time.Duration, error) {
	began := time.Now()
	if err := e.setTarget(ctx, "43"); err != nil {
		return 0, err
	}
	if err := measure.Until(ctx, timeout, 50*time.Millisecond, func() error { return e.leadsTo(ctx, "43") }); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, e.setTarget(ctx, "42")
}

func (e *e2e) evict(ctx context.Context) error {
	return e.undisturbed(ctx, func(ctx context.Context) error {
		pods, err := e.handlerPods(ctx)
		if err != nil {
			return err
		}
		evict := func(name string) error {
			return e.k.set.PolicyV1().Evictions(namespace).Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
		}
		for i := range pods {
			if err := evict(pods[i].Name); err != nil {
				return fmt.Errorf("evict: %w", err)
			}
			// The other one must not go as long as there is no new one.
			if i+1 < len(pods) {
				err := evict(pods[i+1].Name)
				if apierrors.IsTooManyRequests(err) {
					err = nil
				} else if err == nil {
					err = errors.New("two were evicted at once")
				}
				e.report.check(e.phase, "the PodDisruptionBudget keeps the other one", err)
			}
			if err := e.onlyTheNew(ctx); err != nil {
				return err
			}
			// It counts as healthy for the budget some time after the Deployment says so.
			if i+1 < len(pods) {
				if err := measure.Until(ctx, time.Minute, 200*time.Millisecond, func() error {
					b := &policyv1.PodDisruptionBudget{}
					if err := e.k.get(ctx, handlerName, b); err != nil {
						return err
					}
					if b.Status.DisruptionsAllowed < 1 {
						return errors.New("the budget allows no eviction")
					}
					return nil
				}); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (e *e2e) scaleOperator(ctx context.Context, replicas int) error {
	if err := e.k.merge(ctx, &appsv1.Deployment{}, release, fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)); err != nil {
		return err
	}
	return e.rolledOut(ctx, release, 2*time.Minute)
}

func (e *e2e) operatorAway(ctx context.Context) error {
	return e.undisturbed(ctx, func(ctx context.Context) error {
		if err := e.scaleOperator(ctx, 0); err != nil {
			return err
		}
		if err := e.setTarget(ctx, "43"); err != nil {
			return err
		}
		if err := sleep(ctx, 10*time.Second); err != nil {
			return err
		}
		e.report.check(e.phase, "a change waits while there is no operator", e.leadsTo(ctx, "42"))
		began := time.Now()
		if err := e.scaleOperator(ctx, 1); err != nil {
			return err
		}
		err := measure.Until(ctx, 90*time.Second, 50*time.Millisecond, func() error { return e.leadsTo(ctx, "43") })
		e.report.check(e.phase, "it is effective once the operator is back", err)
		e.report.tell(e.phase, "operator scaled up → change effective", fmt.Sprintf("%.1f s", time.Since(began).Seconds()))
		return e.setTarget(ctx, "42")
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

func (e *e2e) apiAway(ctx context.Context) error {
	return e.undisturbed(ctx, func(ctx context.Context) (err error) {
		if _, err := e.command(ctx, e.flags.Cluster, "stop", "kube-apiserver"); err != nil {
			return err
		}
		e.say("the API server is stopped")
		defer func() {
			if err != nil {
				_, startErr := e.command(context.WithoutCancel(ctx), e.flags.Cluster, "start", "kube-apiserver")
				err = errors.Join(err, startErr)
			}
		}()
		if err := sleep(ctx, e.flags.Outage); err != nil {
			return err
		}
		began := time.Now()
		if _, err := e.command(ctx, e.flags.Cluster, "start", "kube-apiserver"); err != nil {
			return err
		}
		e.say("the API server is back")
		// The operator may have ended for want of its lease, and kubelet waits longer each time before it starts it again.
		if _, err := e.changeTakes(ctx, 3*time.Minute+e.flags.Outage); err != nil {
			return err
		}
		e.report.tell(e.phase, fmt.Sprintf("API server back after %s → a change effective", e.flags.Outage), fmt.Sprintf("%.1f s", time.Since(began).Seconds()))
		return e.rolledOut(ctx, release, 2*time.Minute)
	})
}

func (e *e2e) changes(ctx context.Context) error {
	const changes, within = 100, time.Minute
	return e.undisturbed(ctx, func(ctx context.Context) error {
		tick := time.NewTicker(within / changes)
		defer tick.Stop()
		for i := range changes {
			var err error
			// Of every kind, and also of what is being launched.
			switch i % 4 {
			case 0:
				err = e.k.merge(ctx, &v1alpha1.LTIActivity{}, sharedActivity, fmt.Sprintf(`{"spec":{"durationMinutes":%d}}`, 10+i))
			case 1:
				err = e.k.merge(ctx, &v1alpha1.LTIActivity{}, toolActivity, fmt.Sprintf(`{"spec":{"title":"Rescue from height, version %d"}}`, i))
			case 2:
				err = e.k.merge(ctx, &v1alpha1.LTIPlatform{}, platformName, fmt.Sprintf(`{"spec":{"title":"University of %d"}}`, i))
			case 3:
				err = e.k.merge(ctx, &v1alpha1.LTITool{}, toolName, fmt.Sprintf(`{"spec":{"title":"Simulation Lab %d"}}`, i))
			}
			if err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-tick.C:
			}
		}
		return e.resourcesReady(ctx, time.Minute)
	})
}

// keyRing is where the signing keys of a registration are, and how they are looked at.
type keyRing struct {
	object v1alpha1.Object
	name   string
	secret string
	jwks   string
	keys   func() []v1alpha1.SigningKey
}

func (e *e2e) keyRings() []keyRing {
	p, t := &v1alpha1.LTIPlatform{}, &v1alpha1.LTITool{}
	return []keyRing{
		{p, platformName, platformName + "-platform-key", "/platforms/" + platformName + "/jwks.json", func() []v1alpha1.SigningKey { return p.Status.Keys }},
		{t, toolName, toolName + "-tool-key", "/tools/" + toolName + "/jwks.json", func() []v1alpha1.SigningKey { return t.Status.Keys }},
	}
}

// keyID returns the ID of the key in a state, or "".
func (r *keyRing) keyID(ctx context.Context, e *e2e, state v1alpha1.KeyState) (string, error) {
	object, _ := r.object.(client.Object)
	if err := e.k.get(ctx, r.name, object); err != nil {
		return "", err
	}
	for _, k := range r.keys() {
		if k.State == state {
			return k.KeyID, nil
		}
	}
	return "", nil
}

func (e *e2e) rotate(ctx context.Context) error {
	book := e.peers.book
	err := e.undisturbed(ctx, func(ctx context.Context) error {
		reporting, stop := context.WithCancel(ctx)
		reported := make(chan error, 1)
		last := 0
		go func() { reported <- e.report12(reporting, &last) }()
		err := e.rotateAll(ctx)
		stop()
		return errors.Join(err, <-reported)
	})
	if err != nil {
		return err
	}
	book.mu.Lock()
	defer book.mu.Unlock()
	e.report.add(e.phase, "token requests that no published key verified", 0, float64(len(book.refused)), "")
	e.report.atLeast(e.phase, "keys of ours that the gradebook has seen", 2, float64(len(book.signedBy)), "")
	e.report.atLeast(e.phase, "times the tool fetched our keys for a new one", 2, float64(e.tool.Fetches), "")
	for _, text := range book.refused[:min(3, len(book.refused))] {
		e.report.note("%s: refused: %s", e.phase, text)
	}
	return nil
}

// report12 reports progress all the time, so that assertions are signed.
func (e *e2e) report12(ctx context.Context, last *int) error {
	for i := 1; ; i++ {
		if err := e.progress(ctx, personOf(kinds[0], i), 10+i%80); err != nil && ctx.Err() == nil {
			return err
		}
		*last = i
		if sleep(ctx, time.Second) != nil {
			return nil
		}
	}
}

// rotateAll rotates the keys of platform and tool. The next key is published for 15 minutes before it signs; these are
// left out by setting its date in the Secret back, as restoring a backup would.
func (e *e2e) rotateAll(ctx context.Context) error {
	rings := e.keyRings()
	olds, nexts := make([]string, len(rings)), make([]string, len(rings))
	for i := range rings {
		r := &rings[i]
		var err error
		if olds[i], err = r.keyID(ctx, e, v1alpha1.KeySigning); err != nil {
			return err
		}
		object, _ := r.object.(client.Object)
		if err := e.k.merge(ctx, object, r.name, `{"metadata":{"annotations":{"lti-operator.io/rotate":"`+time.Now().UTC().Format(time.RFC3339Nano)+`"}}}`); err != nil {
			return err
		}
	}
	for i := range rings {
		r := &rings[i]
		if err := measure.Until(ctx, 30*time.Second, 200*time.Millisecond, func() (err error) {
			if nexts[i], err = r.keyID(ctx, e, v1alpha1.KeyNext); err != nil {
				return err
			}
			published, err := e.academy.Keys(ctx, r.jwks)
			if err == nil && (nexts[i] == "" || published[nexts[i]] == nil || published[olds[i]] == nil) {
				err = errors.New("the next key is not published")
			}
			return err
		}); err != nil {
			return err
		}
		if err := sleep(ctx, 3*time.Second); err != nil {
			return err
		}
		if err := measure.Until(ctx, 20*time.Second, 300*time.Millisecond, func() error { return e.signFromNow(ctx, r, nexts[i]) }); err != nil {
			return err
		}
	}
	for i := range rings {
		r := &rings[i]
		err := measure.Until(ctx, 40*time.Second, 200*time.Millisecond, func() error {
			signing, err := r.keyID(ctx, e, v1alpha1.KeySigning)
			if err != nil {
				return err
			}
			published, err := e.academy.Keys(ctx, r.jwks)
			if err != nil {
				return err
			}
			if signing != nexts[i] || published[olds[i]] == nil {
				return errors.New("the next key does not sign, or the old one is not published any more")
			}
			return nil
		})
		e.report.check(e.phase, r.name+": the next key signs, the old one is still published", err)
	}
	return sleep(ctx, 5*time.Second)
}

// signFromNow sets the date from which a key signs to now, once the operator has set one.
func (e *e2e) signFromNow(ctx context.Context, r *keyRing, id string) error {
	secret := &corev1.Secret{}
	if err := e.k.get(ctx, r.secret, secret); err != nil {
		return err
	}
	var times map[string]any
	if err := json.Unmarshal(secret.Data["keys.json"], &times); err != nil {
		return fmt.Errorf("keys.json: %w", err)
	}
	all, _ := times["keys"].(map[string]any)
	key, _ := all[id].(map[string]any)
	if key["signsFrom"] == nil {
		return errors.New("no date for the next key yet")
	}
	key["signsFrom"] = time.Now().UTC().Truncate(time.Second).Format(time.RFC3339)
	text, err := json.Marshal(times)
	if err != nil {
		return err
	}
	// With its version, for the operator writes it too.
	secret.Data["keys.json"] = text
	return e.k.Update(ctx, secret, fieldOwner)
}

func (e *e2e) kill(ctx context.Context) error {
	ways := []struct {
		name string
		do   func(context.Context, *corev1.Pod) error
	}{
		{"SIGKILL", e.killProcess},
		{"delete --force", func(ctx context.Context, p *corev1.Pod) error {
			return e.k.Delete(ctx, p, client.GracePeriodSeconds(0))
		}},
	}
	if e.flags.Kubeconfig != "" {
		ways = ways[1:] // its processes are not on this machine
	}
	for _, way := range ways {
		t, err := e.stream(ctx, func(ctx context.Context) error {
			pods, err := e.handlerPods(ctx)
			if err != nil {
				return err
			}
			for i := range pods {
				if err := way.do(ctx, &pods[i]); err != nil {
					return err
				}
				e.say("%s of %s", way.name, pods[i].Name)
				if err := sleep(ctx, 3*time.Second); err != nil {
					return err
				}
				if err := e.onlyTheNew(ctx); err != nil {
					return err
				}
			}
			return nil
		})
		e.tell(t)
		answered, broken := t.failures()
		what := way.name + ": of " + strconv.Itoa(t.launched) + " launches "
		e.report.add(e.phase, what+"failed with an answer", 0, float64(answered), "")
		e.report.tell(e.phase, what+"lost their connection", strconv.Itoa(broken))
		e.report.tell(e.phase, what+"succeeded when tried again once", strconv.Itoa(t.again))
		e.report.add(e.phase, what+"failed twice", 0, float64(t.notAgain), "")
		if err != nil {
			return err
		}
	}
	return nil
}

// killProcess ends the launch handler of a Pod, and nothing else.
func (e *e2e) killProcess(ctx context.Context, p *corev1.Pod) error {
	pid, err := processOf(p)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	return measure.Until(ctx, time.Minute, 100*time.Millisecond, func() error {
		now := &corev1.Pod{}
		if err := e.k.get(ctx, p.Name, now); err != nil {
			return err
		}
		if s := now.Status.ContainerStatuses; len(s) != 1 || s[0].RestartCount == 0 || !podReady(now) {
			return errors.New("it is not back")
		}
		return nil
	})
}

// processOf is the launch handler of a Pod, on this machine.
func processOf(p *corev1.Pod) (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil || !strings.Contains(string(groups), "pod"+string(p.UID)) {
			continue
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if name, _, _ := bytes.Cut(line, []byte{0}); err == nil && string(name) == "/launch-handler" {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no process of Pod %s", p.Name)
}

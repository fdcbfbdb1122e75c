// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
)

// previousRelease is what hack/e2e/previous.sh makes.
const previousRelease = "bin/previous"

// upgrade goes from this release to the one before, back, and both ways again, the second time by helm rollback. What the
// newer one left in the database, in tables and in resources must not disturb the older one, nor the other way round.
func (e *e2e) upgrade(ctx context.Context) error {
	if _, err := e.command(ctx, "hack/e2e/previous.sh"); err != nil {
		return err
	}
	previous, err := e.loadImages(ctx, filepath.Join(previousRelease, "images"))
	if err != nil {
		return err
	}
	before, err := e.handedOut(ctx)
	if err != nil {
		return err
	}
	// The definitions stay those of this release: an older operator does not mind fields that it does not know.
	steps := []struct {
		what   string
		images imageNames
		run    func() error
	}{
		{"the release before installed over this one", previous, func() error {
			return e.installRelease(ctx, filepath.Join(previousRelease, "charts", "lti-operator"), previous)
		}},
		{"upgraded to this one", e.images, func() error { return e.installOperator(ctx) }},
		{"rolled back", previous, func() error { return e.helm(ctx, "rollback", release, "--wait", "--timeout", "3m") }},
		{"upgraded again", e.images, func() error { return e.installOperator(ctx) }},
	}
	return e.undisturbed(ctx, func(ctx context.Context) error {
		for _, step := range steps {
			began := time.Now()
			if err := step.run(); err != nil {
				return fmt.Errorf("%s: %w", step.what, err)
			}
			if err := e.runs(ctx, step.images); err != nil {
				return fmt.Errorf("%s: %w", step.what, err)
			}
			took := time.Since(began)
			effective, err := e.changeTakes(ctx, time.Minute)
			if err != nil {
				return fmt.Errorf("%s: a change: %w", step.what, err)
			}
			e.report.tell(e.phase, step.what+": operator and handlers replaced; a change → effective",
				fmt.Sprintf("%.0f s; %.1f s", took.Seconds(), effective.Seconds()))
			if err := e.resourcesReady(ctx, time.Minute); err != nil {
				return fmt.Errorf("%s: %w", step.what, err)
			}
		}
		after, err := e.handedOut(ctx)
		if err != nil {
			return err
		}
		e.report.check(e.phase, "same key IDs, URLs, details and credentials as before", same(before, after))
		return nil
	})
}

// runs waits until only launch handlers of these images are there.
func (e *e2e) runs(ctx context.Context, images imageNames) error {
	return measure.Until(ctx, 3*time.Minute, 500*time.Millisecond, func() error {
		if err := e.onlyTheNew(ctx); err != nil {
			return err
		}
		pods, err := e.handlerPods(ctx)
		if err != nil {
			return err
		}
		for i := range pods {
			if got := imageOf(&pods[i]); got != images["launch-handler"] {
				return fmt.Errorf("%s runs %s", pods[i].Name, got)
			}
		}
		return nil
	})
}

func imageOf(p *corev1.Pod) string {
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Name == "launch-handler" {
			return p.Spec.Containers[i].Image
		}
	}
	return ""
}

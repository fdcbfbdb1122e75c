// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	"github.com/lti-operator/lti-operator/hack/launches"
)

// progress has the academy report points of somebody who was launched over LTI 1.3.
func (e *e2e) progress(ctx context.Context, who launches.Person, points int) error {
	e.met.mu.Lock()
	subject := e.met.known[platformName+" "+who.ID]
	e.met.mu.Unlock()
	if subject == "" {
		if err := kinds[0].launch(ctx, e, e.academy, who); err != nil {
			return err
		}
		e.met.mu.Lock()
		subject = e.met.known[platformName+" "+who.ID]
		e.met.mu.Unlock()
	}
	at := time.Now().UTC().Format(time.RFC3339Nano)
	body := fmt.Sprintf(`{"sub":%q,"activity":%q,"at":%q,"score":{"given":%d,"maximum":100}}`, subject, sharedActivity, at, points)
	return e.app.Report(ctx, e.academy, body, subject+at)
}

func (e *e2e) gradesPhase(ctx context.Context) error {
	who := personOf(kinds[0], 1)
	began := time.Now()
	if err := e.progress(ctx, who, 73); err != nil {
		return err
	}
	err := measure.Until(ctx, 30*time.Second, 20*time.Millisecond, func() error {
		if got := e.peers.book.Mark("1 " + who.ID); got != "73" {
			return fmt.Errorf("the gradebook has %q", got)
		}
		return nil
	})
	e.report.check(e.phase, "reported progress is in the gradebook", err)
	e.report.tell(e.phase, "reported → in the gradebook", strconv.FormatInt(time.Since(began).Milliseconds(), 10)+" ms")
	err = measure.Until(ctx, 10*time.Second, time.Second, func() error {
		out, err := e.command(ctx, e.flags.KubectlLTI, "grades", "list", "--namespace", namespace)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, sharedActivity) && strings.Contains(line, "platform/"+platformName) && strings.Contains(line, "Confirmed") && strings.Contains(line, "73/100") {
				return nil
			}
		}
		return errors.New("it does not list the grade:\n" + out)
	})
	e.report.check(e.phase, "kubectl lti grades list shows it, by port-forward", err)
	return nil
}

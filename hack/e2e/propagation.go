// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/hack/bench/measure"
	"github.com/lti-operator/lti-operator/hack/launches"
	"github.com/lti-operator/lti-operator/internal/workload"
)

func bulkName(i int) string { return fmt.Sprintf("bulk-%05d", i) }

// applyBulk applies one of many activities, as kubectl apply --server-side does.
func (e *e2e) applyBulk(ctx context.Context, i int, title string) (int64, error) {
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.KindActivity,
		"metadata": map[string]any{"name": bulkName(i), "namespace": namespace, "labels": map[string]any{"e2e": "bulk"}},
		"spec": map[string]any{"title": title, "type": "ELearning", "share": map[string]any{
			"targetURL": "https://academy.acme.example/courses/" + strconv.Itoa(i), "signIn": "LaunchCode",
		}},
	}}
	err := e.k.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), fieldOwner, client.ForceOwnership)
	return o.GetGeneration(), err
}

// propagation measures from the request that applies a change until every launch handler serves it.
func (e *e2e) propagation(ctx context.Context) error {
	n := e.flags.Activities
	began := time.Now()
	if err := e.applyAll(ctx, n); err != nil {
		return err
	}
	applied := time.Since(began)
	if err := measure.Until(ctx, 10*time.Minute, 2*time.Second, func() error { return e.bulkReady(ctx, n) }); err != nil {
		return err
	}
	e.report.tell(e.phase, fmt.Sprintf("%d activities applied; all Ready", n), fmt.Sprintf("%.0f s; %.0f s", applied.Seconds(), time.Since(began).Seconds()))
	e.say("%d activities are Ready after %.0f s", n, time.Since(began).Seconds())
	pods, err := e.handlerPods(ctx)
	if err != nil {
		return err
	}
	var handlers []*launches.Academy
	for i := range pods {
		handlers = append(handlers, &launches.Academy{
			URL: academyURL, Base: "http://" + net.JoinHostPort(pods[i].Status.PodIP, strconv.Itoa(int(workload.PublicPort))), Client: launches.NewClient(nil),
		})
	}
	if err := sleep(ctx, 3*time.Second); err != nil {
		return err
	}
	var took []time.Duration
	nudges, again := 0, 0
	for i := range e.flags.Changes {
		// Kubelet syncs a Pod at once, and again a second later at the earliest. So a change that comes right after another
		// one waits for it; here each comes after a while, which is another one each time.
		if err := sleep(ctx, 1500*time.Millisecond+time.Duration(i%10)*100*time.Millisecond); err != nil {
			return err
		}
		title := fmt.Sprintf("Changed for the %d. time", i+1)
		began := time.Now()
		if _, err := e.applyBulk(ctx, i*7919%n, title); err != nil {
			return err
		}
		var waiting sync.WaitGroup
		errs := make([]error, len(handlers))
		for h, handler := range handlers {
			waiting.Go(func() { errs[h] = serves(ctx, handler, bulkName(i*7919%n), title) })
		}
		waiting.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		took = append(took, time.Since(began))
		// Whether handlers had to be told more than once shows once the change is confirmed.
		if err := measure.Until(ctx, 30*time.Second, 50*time.Millisecond, func() error {
			a := &v1alpha1.LTIActivity{}
			if err := e.k.get(ctx, bulkName(i*7919%n), a); err != nil {
				return err
			}
			if why := notReady(a); why != "" {
				return errors.New(why)
			}
			return nil
		}); err != nil {
			return err
		}
		now, err := e.handlerPods(ctx)
		if err != nil {
			return err
		}
		for p := range now {
			_, attempt, _ := strings.Cut(now[p].Annotations[workload.AnnotationTable], "/")
			if count, err := strconv.Atoi(attempt); err == nil {
				nudges++
				again += count - 1
			}
		}
	}
	slices.Sort(took)
	at := func(percent int) float64 { return took[max(0, (len(took)*percent+99)/100-1)].Seconds() }
	with := fmt.Sprintf("applied → served by all %d handlers, %d activities, %d changes: ", len(handlers), n, len(took))
	e.report.tell(e.phase, with+"p50, p95", fmt.Sprintf("%.0f ms, %.0f ms", 1000*at(50), 1000*at(95)))
	e.report.aim(e.phase, with+"p99", 1, at(99), "s")
	e.report.tell(e.phase, "nudges; of these handlers told again", fmt.Sprintf("%d; %d", nudges, again))
	return e.removeBulk(ctx, n)
}

// serves waits until a launch handler shows a title on the page of an activity.
func serves(ctx context.Context, a *launches.Academy, activity, title string) error {
	return measure.Until(ctx, 90*time.Second, 5*time.Millisecond, func() error {
		status, page, err := a.Get(ctx, "/activities/"+activity+"/launch")
		if err != nil {
			return err
		}
		if !bytes.Contains(page, []byte(title)) {
			return fmt.Errorf("%s is answered with %d and the former title", activity, status)
		}
		return nil
	})
}

// each calls do for 0 to n-1, some at a time, until one fails.
func each(ctx context.Context, n int, do func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}

func (e *e2e) applyAll(ctx context.Context, n int) error {
	return each(ctx, n, func(ctx context.Context, i int) error {
		_, err := e.applyBulk(ctx, i, "Activity "+strconv.Itoa(i))
		return err
	})
}

// bulkReady tells how many are not Ready.
func (e *e2e) bulkReady(ctx context.Context, n int) error {
	ready := 0
	list := &v1alpha1.LTIActivityList{}
	if err := e.k.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{"e2e": "bulk"}); err != nil {
		return err
	}
	for i := range list.Items {
		if notReady(&list.Items[i]) == "" {
			ready++
		}
	}
	if ready < n {
		return fmt.Errorf("%d of %d are Ready", ready, n)
	}
	return nil
}

// removeBulk takes the activities away. A table that loses more than half of its activities waits for a confirmation, so
// it is confirmed.
func (e *e2e) removeBulk(ctx context.Context, n int) error {
	if err := each(ctx, n, func(ctx context.Context, i int) error {
		o := &v1alpha1.LTIActivity{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: bulkName(i)}}
		return client.IgnoreNotFound(e.k.Delete(ctx, o))
	}); err != nil {
		return err
	}
	// What is generated outlives its object.
	return each(ctx, n, func(ctx context.Context, i int) error {
		err := e.k.set.CoreV1().Secrets(namespace).Delete(ctx, bulkName(i)+"-lti12", metav1.DeleteOptions{})
		return client.IgnoreNotFound(err)
	})
}

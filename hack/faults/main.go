// SPDX-License-Identifier: Apache-2.0

// Command faults judges whether grades or results get lost. Two launch handlers share one PostgreSQL; learners are launched
// from four gradebooks each, and an academy reports their progress while handlers and the database are killed, the handlers'
// clocks are set, and the gradebooks fail in every way that they can. In the end every gradebook must hold the newest
// report that was acknowledged.
//
// At the same time the academy's own learners are in activities of others, whose tools report over LTI 1.3 and LTI 1.2, and the
// academy's webhook fails in the same ways. In the end it must have told what the newest acknowledged report decided, and
// never anything that no report had.
//
//	go run ./hack/faults --handler bin/launch-handler-faults --seed 1 --learners 260 --visitors 40 --faults 60 --pause 700ms
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

type options struct {
	handler  string
	seed     uint64
	learners int
	visitors int
	faults   int
	pause    time.Duration
	settle   time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.handler, "handler", "bin/launch-handler-faults", "the launch handler's program, built with the tag faultclock")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of the faults and reports")
	flag.IntVar(&o.learners, "learners", 260, "how many learners; each has four grades")
	flag.IntVar(&o.visitors, "visitors", 40, "how many learners of activities of others; each has four results")
	flag.IntVar(&o.faults, "faults", 60, "how many faults")
	flag.DurationVar(&o.pause, "pause", 700*time.Millisecond, "the mean time between faults")
	flag.DurationVar(&o.settle, "settle", 4*time.Minute, "how long grades and results may take to arrive once nothing fails any more")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// learner is one person with what the academy has reported about them.
type learner struct {
	user, subject string
	mu            sync.Mutex
	// acknowledged is the newest report that was answered with 200; reports are numbered from 1, and so are their points.
	acknowledged int
}

func run(ctx context.Context, o *options) (err error) {
	started := time.Now()
	w, err := newWorld(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	fmt.Printf("seed %d: %d learners, %d grades, %d results, %d faults\n",
		o.seed, o.learners, o.learners*gradebooksEach, o.visitors*len(externals()), o.faults)
	learners, err := w.launchAll(ctx, o.learners)
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	results, err := w.openAll(ctx, o.visitors)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	fmt.Printf("launched in %.1f s\n", time.Since(started).Seconds())

	reporting, stopReporting := context.WithCancel(ctx)
	var reporters sync.WaitGroup
	for i, part := range chunks(learners, 8) {
		random := rand.New(rand.NewPCG(o.seed, uint64(i+1)))
		reporters.Go(func() { w.report(reporting, random, part) })
	}
	for i, part := range chunks(results, 4) {
		reporters.Go(func() { w.newTool(o.seed, uint64(1000+i)).report(reporting, part) })
	}
	var webhook tally
	reporters.Go(func() { webhook = w.failReceiver(reporting, rand.New(rand.NewPCG(o.seed, 1099))) })
	kinds := w.injectAll(ctx, rand.New(rand.NewPCG(o.seed, 0)), o)
	stopReporting()
	reporters.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// The last word about everybody.
	for _, l := range learners {
		if err := w.reportUntilTaken(ctx, rand.New(rand.NewPCG(o.seed, 99)), l, l.acknowledged+1); err != nil {
			return err
		}
	}
	// Of results there is no last word but what was not acknowledged: one that was lost would be told with the next.
	for _, r := range results {
		if r.sent > r.acknowledged {
			if err := w.newTool(o.seed, 1098).reportUntilTaken(ctx, r, r.sent); err != nil {
				return err
			}
		}
	}
	fmt.Printf("faults: %s; of the webhook: %s\n", kinds, webhook)
	settling := time.Now()
	var others sync.WaitGroup
	others.Go(func() {
		w.settleResults(ctx, results, o.settle)
		fmt.Printf("results settled in %.1f s\n", time.Since(settling).Seconds())
	})
	verdict := w.settle(ctx, learners, o.settle)
	fmt.Printf("settled in %.1f s; %s\n", time.Since(settling).Seconds(), verdict)
	others.Wait()
	w.audit(ctx, results)
	told := w.judgeResults(results)
	fmt.Printf("results: %s\n", told)
	if verdict.missing+verdict.wrong+verdict.backwards > 0 {
		return errors.New("grades were lost, wrong or went backwards")
	}
	if told.lost+told.wrong > 0 {
		return errors.New("results were lost or wrong")
	}
	fmt.Printf("ok in %.1f s\n", time.Since(started).Seconds())
	return nil
}

// chunks divides what there is among at most n, none of whom gets nothing.
func chunks[T any](all []T, n int) [][]T {
	out := make([][]T, min(n, len(all)))
	for i, x := range all {
		out[i%len(out)] = append(out[i%len(out)], x)
	}
	return out
}

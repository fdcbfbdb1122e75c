// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/compile"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// AcademyKey names an academy, which need not exist: resources may refer to one that nobody has made yet.
type AcademyKey = types.NamespacedName

// Debounce of publishing: a table is made after quietPeriod without a change, or longestWait after the first one.
const (
	quietPeriod = 100 * time.Millisecond
	longestWait = 500 * time.Millisecond
)

// confirmDelays are the pauses between two looks at what the handlers serve. The last one repeats while a table is not
// confirmed; polling stops when it is.
var confirmDelays = []time.Duration{
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second,
}

// patience is the number of looks after which status says what a table waits for. Most tables are served before.
const patience = 3

// World reads and writes what a Programmer needs around the pure compiler.
type World interface {
	// Read collects the compiler's input.
	Read(ctx context.Context, key AcademyKey) (compile.Input, error)
	// Publish makes a table the live one.
	Publish(ctx context.Context, key AcademyKey, in compile.Input, set *routing.Set) error
	// Serving reports the hash that each running handler serves. attempt counts the looks since the publish, and
	// wanted is the hash that should be served: handlers that lag may be nudged.
	Serving(ctx context.Context, key AcademyKey, in compile.Input, wanted string, attempt int) ([]string, error)
	// Changed is told which resources have something new to report in status.
	Changed(ctx context.Context, key AcademyKey, refs []compile.Ref)
}

// Programmer turns resources into a served table: it debounces changes, compiles, publishes and follows the handlers
// until they serve what was published. There is one worker per academy. It runs on the leader only.
type Programmer struct {
	World World
	Clock clock.Clock

	mu      sync.Mutex
	ctx     context.Context // set by Start; nil before
	workers map[AcademyKey]*worker
	group   sync.WaitGroup
}

// Outcome is what a Programmer knows of one resource.
type Outcome struct {
	compile.Result
	// Programmed is set once every running handler serves this generation.
	Programmed bool
	// Waiting says, in words for a person, what a generation that is not programmed waits for.
	Waiting string
	// PublishError is set while the newest table could not be written.
	PublishError error
}

// Summary describes the newest table of an academy.
type Summary struct {
	Activities, Platforms, Tools int
}

// Start implements manager.Runnable.
func (p *Programmer) Start(ctx context.Context) error {
	p.mu.Lock()
	p.ctx = ctx
	for key, w := range p.workers {
		p.launch(key, w)
	}
	p.mu.Unlock()
	<-ctx.Done()
	p.group.Wait()
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: only the leader publishes.
func (p *Programmer) NeedLeaderElection() bool { return true }

// Trigger asks for a new table of an academy.
func (p *Programmer) Trigger(key AcademyKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.workers == nil {
		p.workers = map[AcademyKey]*worker{}
	}
	w := p.workers[key]
	if w == nil {
		w = &worker{world: p.World, clock: p.Clock, key: key, wake: make(chan struct{}, 1), served: map[compile.Ref]served{}, published: map[string]int{}}
		p.workers[key] = w
		if p.ctx != nil {
			p.launch(key, w)
		}
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (p *Programmer) launch(key AcademyKey, w *worker) {
	ctx := logf.IntoContext(p.ctx, logf.FromContext(p.ctx).WithValues("namespace", key.Namespace, "academy", key.Name))
	p.group.Go(func() { w.run(ctx) })
}

// Outcome returns what is known of a resource; ok is false before the first compilation that saw it.
func (p *Programmer) Outcome(key AcademyKey, ref compile.Ref) (o Outcome, ok bool) {
	p.mu.Lock()
	w := p.workers[key]
	p.mu.Unlock()
	if w == nil {
		return Outcome{}, false
	}
	return w.outcome(ref)
}

// Summary describes the newest table of an academy; ok is false while there is none.
func (p *Programmer) Summary(key AcademyKey) (s Summary, ok bool) {
	p.mu.Lock()
	w := p.workers[key]
	p.mu.Unlock()
	if w == nil {
		return Summary{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.output == nil || w.output.Table == nil {
		return Summary{}, false
	}
	t := w.output.Table
	return Summary{Activities: len(t.Activities), Platforms: len(t.Platforms), Tools: len(t.Tools)}, true
}

// served remembers since which publish a generation of a resource is in the table.
type served struct {
	generation int64
	// since is the number of the first publish that holds the generation; 0 while none does.
	since int
}

// worker programs one academy. Publishes are numbered; a generation is programmed once the oldest table that any
// handler serves has at least the number of the first publish with that generation.
type worker struct {
	world World
	clock clock.Clock
	key   AcademyKey
	wake  chan struct{}

	mu        sync.Mutex
	input     compile.Input
	output    *compile.Output
	hash      string         // of the newest compiled table
	number    int            // of the newest publish
	published map[string]int // hash → number of the newest publish of it
	served    map[compile.Ref]served
	confirmed int    // number of the oldest publish that any handler serves
	waiting   string // why confirmed lags behind number
	err       error  // of the newest attempt to compile and publish
}

func (w *worker) run(ctx context.Context) {
	attempt := 0
	var next <-chan time.Time // nil while nothing is pending
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
			if !w.settle(ctx) {
				return
			}
			attempt = 0
			w.program(ctx)
		case <-next:
			attempt++
			if w.failed() {
				w.program(ctx)
			}
		}
		next = nil
		if w.failed() || w.confirm(ctx, attempt) {
			next = w.clock.After(confirmDelays[min(attempt, len(confirmDelays)-1)])
		}
	}
}

// settle waits until changes pause; false when the context ended.
func (w *worker) settle(ctx context.Context) bool {
	latest := w.clock.After(longestWait)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-latest:
			return true
		case <-w.wake:
		case <-w.clock.After(quietPeriod):
			return true
		}
	}
}

// failed tells whether the newest attempt to program failed and is to be repeated.
func (w *worker) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err != nil
}

// program compiles and publishes once.
func (w *worker) program(ctx context.Context) {
	in, err := w.world.Read(ctx, w.key)
	if err != nil {
		// What could not be read is not empty: the last table stays, and so does what is known of each resource.
		w.fail(ctx, err)
		return
	}
	out := compile.Compile(in)
	var set *routing.Set
	if out.Table != nil {
		set, err = routing.Split(out.Table)
		if err == nil {
			err = w.world.Publish(ctx, w.key, in, set)
		}
	}
	if err != nil {
		logf.FromContext(ctx).Error(err, "could not publish the routing table")
	}
	w.record(ctx, in, out, set, err)
}

func (w *worker) fail(ctx context.Context, err error) {
	logf.FromContext(ctx).Error(err, "could not read the resources of the academy")
	w.mu.Lock()
	w.err = err
	var refs []compile.Ref
	if w.output != nil {
		refs = slices.Collect(maps.Keys(w.output.Results))
	}
	w.mu.Unlock()
	w.world.Changed(ctx, w.key, refs)
}

// record takes over a compilation and tells the resources whose status it changes.
func (w *worker) record(ctx context.Context, in compile.Input, out *compile.Output, set *routing.Set, err error) {
	w.mu.Lock()
	before, hadError := w.output, w.err != nil
	w.input, w.output, w.err = in, out, err
	w.hash = ""
	if err == nil && set != nil {
		w.hash = set.Manifest.Hash
		if w.number == 0 || w.published[w.hash] != w.number {
			w.number++
			w.published[w.hash] = w.number
			w.forgetOldHashes()
		}
	}
	var changed []compile.Ref
	for ref, result := range out.Results {
		s := w.served[ref]
		if s.generation != result.Generation || !result.Served {
			s = served{generation: result.Generation}
		}
		if result.Served && err == nil && s.since == 0 {
			s.since = w.number
		}
		w.served[ref] = s
		if before == nil || hadError != (err != nil) || !reflect.DeepEqual(before.Results[ref], result) {
			changed = append(changed, ref)
		}
	}
	for ref := range w.served {
		if _, still := out.Results[ref]; !still {
			delete(w.served, ref)
		}
	}
	changed = append(changed, compile.Ref{Kind: v1alpha1.KindAcademy, Name: w.key.Name})
	w.mu.Unlock()
	w.world.Changed(ctx, w.key, changed)
}

// forgetOldHashes bounds the memory of published tables: a handler that is further behind counts as unknown.
func (w *worker) forgetOldHashes() {
	const remembered = 64
	for hash, n := range w.published {
		if n <= w.number-remembered {
			delete(w.published, hash)
		}
	}
}

// confirm asks the handlers once; it returns whether to ask again.
func (w *worker) confirm(ctx context.Context, attempt int) (again bool) {
	w.mu.Lock()
	in, hash, number, before := w.input, w.hash, w.number, w.confirmed
	w.mu.Unlock()
	if hash == "" {
		return false
	}
	serving, err := w.world.Serving(ctx, w.key, in, hash, attempt)
	w.mu.Lock()
	waitedFor := w.waiting
	oldest, current := number, 0
	for _, h := range serving {
		n := w.published[h]
		oldest = min(oldest, n)
		if n == number {
			current++
		}
	}
	switch {
	case err != nil:
		w.waiting = "the launch handler cannot be asked: " + err.Error()
		oldest = before
	case len(serving) == 0:
		w.waiting = "no launch handler is ready yet"
		oldest = before
	case current < len(serving):
		w.waiting = fmt.Sprintf("%d of %d launch handlers serve it", current, len(serving))
	default:
		w.waiting = ""
	}
	w.confirmed = oldest
	// Whoever waits longer than usual is told what for.
	tell := attempt >= patience && w.waiting != waitedFor
	var changed []compile.Ref
	for ref, s := range w.served {
		if s.since > before && s.since <= oldest || tell && s.since > oldest {
			changed = append(changed, ref)
		}
	}
	done := err == nil && len(serving) > 0 && current == len(serving)
	w.mu.Unlock()
	if len(changed) > 0 {
		w.world.Changed(ctx, w.key, changed)
	}
	return !done
}

func (w *worker) outcome(ref compile.Ref) (Outcome, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.output == nil {
		return Outcome{PublishError: w.err}, w.err != nil
	}
	result, ok := w.output.Results[ref]
	if !ok {
		return Outcome{}, false
	}
	s := w.served[ref]
	o := Outcome{Result: result, PublishError: w.err, Waiting: w.waiting}
	o.Programmed = s.since > 0 && s.since <= w.confirmed
	return o, true
}

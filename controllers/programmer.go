// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/compile"
	"github.com/lti-operator/lti-operator/internal/publish"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// AcademyKey names an academy, which need not exist: resources may refer to one that nobody has made yet.
type AcademyKey = types.NamespacedName

// Debounce of publishing: a table is made after quietPeriod without a change, or longestWait after the first one.
const (
	quietPeriod = 100 * time.Millisecond
	longestWait = 500 * time.Millisecond
)

// lookAt are the ages of a table at which the handlers are asked what they serve; from the last one on, they are asked
// every lookEvery. Polling stops when all of them serve it.
var lookAt = []time.Duration{
	0, 50 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond, 600 * time.Millisecond,
	time.Second, 2 * time.Second, 3 * time.Second, 5 * time.Second, 10 * time.Second,
}

const lookEvery = 5 * time.Second

// nudgeAt are the ages of a table at which a handler that lags is nudged (again). Kubelet watches pods and config objects
// separately, so a nudge can arrive before the table. After an outage of the API server it has every one of these objects
// watched again only after a pause of its own, of half a minute and more, and sees no change before. After the last nudge
// kubelet's own period does.
var nudgeAt = []time.Duration{
	0, 300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, 45 * time.Second, time.Minute,
}

// patience is the age of a table at which status says what it waits for. Most tables are served before, and each status
// that is not written leaves room for others.
const patience = time.Second

// patienceForSecrets is how long a Secret that the operator makes itself may be missing before status says so.
const patienceForSecrets = 5 * time.Second

// retryAfter are the pauses after the first, second, … failure in a row.
var retryAfter = []time.Duration{
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second,
}

// failuresToMention is the number of failures in a row from which the academy's status mentions them.
const failuresToMention = 3

// removalWaits is how long most activities of an academy may be gone before they are taken out of its table.
const removalWaits = 5 * time.Minute

// HandlerReport is what one launch handler said.
type HandlerReport struct {
	Endpoint HandlerEndpoint
	// Report is empty when Err is set: the handler did not answer.
	Report routing.Report
	Err    error
}

// World reads and writes what a Programmer needs around the pure compiler.
type World interface {
	// Synced returns once everything that Read lists has been listed completely.
	Synced(ctx context.Context) error
	// Read collects the compiler's input. What cannot be read is an error, never empty.
	Read(ctx context.Context, key AcademyKey) (compile.Input, error)
	// Live reads the table that is live, whoever has published it; nil if there is none.
	Live(ctx context.Context, key AcademyKey) (*routing.Table, error)
	// Publish makes a table the live one.
	Publish(ctx context.Context, academy *v1alpha1.LTIAcademy, set *routing.Set) (publish.Written, error)
	// Handlers asks every running handler what it serves.
	Handlers(ctx context.Context, key AcademyKey) ([]HandlerReport, error)
	// Nudge makes a handler look for a table; attempt counts from 1 for each table.
	Nudge(ctx context.Context, endpoint HandlerEndpoint, hash string, attempt int) error
	// Changed is told which resources have something new to report in status.
	Changed(ctx context.Context, key AcademyKey, refs []compile.Ref)
}

// Programmer turns resources into a served table: it debounces changes, compiles, publishes and follows the handlers
// until they serve what was published. There is one worker per academy. It runs on the leader only.
type Programmer struct {
	World World
	Clock clock.Clock

	mu      sync.Mutex
	budget  *byteBudget
	ctx     context.Context // set by Start; nil before
	stopped bool            // the leader has stopped
	workers map[AcademyKey]*worker
	group   sync.WaitGroup
}

// Outcome is what a Programmer knows of one resource.
type Outcome struct {
	compile.Result
	// Programmed is set once every running handler serves this generation.
	Programmed bool
	// OnItsWay is set while there is something new to report soon, and nothing that somebody would have to know before:
	// each status that is not written leaves room for others.
	OnItsWay bool
	// Confirmed is set while every running handler serves the very table that Result describes.
	Confirmed bool
	// Waiting says, in words for a person, what a generation that is not programmed waits for; WaitingReason is the
	// condition's reason, if it is a special one.
	Waiting, WaitingReason string
	// PublishError is set while the newest table could not be written.
	PublishError error
}

// Summary describes the newest table of an academy.
type Summary struct {
	Activities, Platforms, Tools int
	// FullestPercent is how full the fullest shard is; LeftOut counts the resources that there was no room for.
	FullestPercent, LeftOut int
	// Removal is set while most of the activities are gone and stay served; until RemovalUntil, if nobody confirms.
	Removal      *compile.Removal
	RemovalUntil time.Time
	// HeldReason and Held say why the newest table is not published at all.
	HeldReason, Held string
}

// Start implements manager.Runnable. Nothing is compiled before every cache has its first complete list: what is not
// known yet would look deleted.
func (p *Programmer) Start(ctx context.Context) error {
	if err := p.World.Synced(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("wait for caches: %w", err)
	}
	p.mu.Lock()
	p.ctx = ctx
	for key, w := range p.workers {
		p.launch(key, w)
	}
	p.mu.Unlock()
	<-ctx.Done()
	// From here on no worker is started that nobody would wait for.
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.group.Wait()
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: only the leader publishes.
func (p *Programmer) NeedLeaderElection() bool { return true }

// Trigger asks for a new table of an academy.
func (p *Programmer) Trigger(key AcademyKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.worker(key).awake()
}

// worker returns the worker of an academy, new if need be; p.mu is held.
func (p *Programmer) worker(key AcademyKey) *worker {
	if p.workers == nil {
		p.workers = map[AcademyKey]*worker{}
		p.budget = &byteBudget{clock: p.Clock, tokens: budgetBurst, last: p.Clock.Now()}
	}
	w := p.workers[key]
	if w == nil {
		w = &worker{
			world: p.World, clock: p.Clock, budget: p.budget, key: key, wake: make(chan struct{}, 1),
			served: map[compile.Ref]served{}, published: map[string]int{},
		}
		p.workers[key] = w
		if p.ctx != nil && !p.stopped {
			p.launch(key, w)
		}
	}
	return w
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
	return w.summary, w.hasTable
}

// served remembers since which publish a generation of a resource is in the table.
type served struct {
	generation int64
	// since is the number of the first publish that holds the generation; 0 while none does.
	since int
	// pendingSince is when it was first found to wait for a Secret that the operator makes; zero when it does not.
	pendingSince time.Time
	// pendingTold is set once status was told so.
	pendingTold bool
}

// worker programs one academy. Publishes are numbered; a generation is programmed once the oldest table that any
// handler serves has at least the number of the first publish with that generation.
type worker struct {
	world  World
	clock  clock.Clock
	budget *byteBudget
	key    AcademyKey
	wake   chan struct{}

	// These belong to the goroutine of run.
	memo      compile.Memo
	programAt time.Time // when to compile again without being woken; zero for never
	askAt     time.Time // when to ask the handlers again; zero for never
	failures  int       // in a row
	// live is the table in the API server, unless liveKnown is false: then it must be read.
	live      *routing.Table
	liveKnown bool
	hold      *hold
	// reports are the newest ones of the handlers; reported is false before they were asked.
	reports  []HandlerReport
	reported bool
	nudges   int    // sent for hash
	told     string // what status was last told that hash waits for

	// What was read, and the table that was made of it, are not kept: of ten thousand resources they take as much memory
	// as all the rest.
	mu          sync.Mutex
	results     map[compile.Ref]compile.Result // nil before the first compilation
	hasTable    bool
	summary     Summary        // of the newest table
	hash        string         // of the newest published table; empty while there is nothing to serve
	publishedAt time.Time      // of hash
	number      int            // of the newest publish
	published   map[string]int // hash → number of the newest publish of it
	served      map[compile.Ref]served
	confirmed   int    // number of the oldest publish that any handler serves
	waiting     string // why confirmed lags behind number
	unreachable bool   // waiting is for handlers that do not answer, and no others
	held        string // why the newest table is not published
	heldReason  string
	err         error // of the newest attempt to compile and publish
}

// hold is a removal of most activities that waits for somebody to confirm it, or to notice.
type hold struct {
	gone  int
	until time.Time
}

func (w *worker) awake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) run(ctx context.Context) {
	for {
		var due <-chan time.Time
		var timer clock.Timer
		if at := earliest(w.programAt, w.askAt); !at.IsZero() {
			timer = w.clock.NewTimer(max(0, at.Sub(w.clock.Now())))
			due = timer.C()
		}
		program := false
		select {
		case <-ctx.Done():
		case <-w.wake:
			program = w.settle(ctx)
		case <-due:
			program = !w.programAt.IsZero() && !w.clock.Now().Before(w.programAt)
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return
		}
		if program {
			w.program(ctx)
		}
		w.ask(ctx)
	}
}

// earliest returns the earlier of two times of which zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// settle waits until changes pause; false when the context ended.
func (w *worker) settle(ctx context.Context) bool {
	latest := w.clock.NewTimer(longestWait)
	defer latest.Stop()
	quiet := w.clock.NewTimer(quietPeriod)
	defer func() { quiet.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-latest.C():
			return true
		case <-quiet.C():
			return true
		case <-w.wake:
			quiet.Stop()
			quiet = w.clock.NewTimer(quietPeriod)
		}
	}
}

// pass is what came of one attempt to program.
type pass struct {
	in  compile.Input
	out *compile.Output
	// published is set when the table of out is live.
	published bool
	// held says why it is not published although nothing failed.
	held, heldReason string
	removal          *compile.Removal
	err              error
}

// program compiles and publishes once.
func (w *worker) program(ctx context.Context) {
	w.programAt = time.Time{}
	in, err := w.world.Read(ctx, w.key)
	if err != nil {
		// What could not be read is not empty: the last table stays, and so does what is known of each resource.
		w.fail(ctx, err)
		return
	}
	started := w.clock.Now()
	in.Memo = &w.memo
	p := pass{in: in, out: compile.Compile(in)}
	compileSeconds.Observe(w.clock.Since(started).Seconds())
	if p.out.Table != nil {
		w.publish(ctx, &p)
	} else {
		// The shards go with their academy. What another one of that name finds there is to be looked up.
		w.live, w.liveKnown, w.hold = nil, false, nil
	}
	if ctx.Err() != nil {
		return // no longer the leader
	}
	if p.err != nil {
		w.failures++
		w.retry()
		if w.failures >= failuresToMention {
			p.heldReason, p.held = v1alpha1.ReasonPublishFailed, "the routing table could not be written; it is tried again: "+p.err.Error()
		}
		logf.FromContext(ctx).Error(p.err, "could not publish the routing table")
	} else {
		w.failures = 0
	}
	w.record(ctx, p)
}

// retry asks for another attempt after a failure.
func (w *worker) retry() {
	w.at(w.clock.Now().Add(retryAfter[min(w.failures, len(retryAfter))-1]))
}

// at asks for another attempt at that time, or at an earlier one that was asked for.
func (w *worker) at(t time.Time) { w.programAt = earliest(w.programAt, t) }

// publish brings the compiled table of a pass to the API server, as far as it may.
func (w *worker) publish(ctx context.Context, p *pass) {
	if !w.liveKnown {
		// Also after a restart: what is live there counts, not what this process remembers.
		live, err := w.world.Live(ctx, w.key)
		if err != nil {
			p.err = fmt.Errorf("read the live table: %w", err)
			publishes.WithLabelValues("failed").Inc()
			return
		}
		w.live, w.liveKnown = live, true
	}
	w.withhold(p)
	set := p.out.Set
	if p.err = p.out.PackError; p.err != nil {
		publishes.WithLabelValues("failed").Inc()
		return
	}
	if p.held = w.unreadable(ctx); p.held != "" {
		p.heldReason = v1alpha1.ReasonHandlerFormat
		w.at(w.clock.Now().Add(lookEvery))
		publishes.WithLabelValues("held").Inc()
		return
	}
	// What is revoked must not lie in an object any longer than it takes.
	if wait := w.budget.wait(); wait > 0 && !set.Purge && set.Manifest.Hash != w.hash && !compile.Urgent(w.live, p.out.Table) {
		p.held = "waiting until the API server may be given another table"
		w.at(w.clock.Now().Add(wait))
		publishes.WithLabelValues("delayed").Inc()
		return
	}
	if ctx.Err() != nil {
		return
	}
	written, err := w.world.Publish(ctx, p.in.Academy, set)
	w.budget.spend(written.Bytes)
	publishedBytes.Add(float64(written.Bytes))
	if err != nil {
		// Whatever is live now is to be found out.
		w.liveKnown = false
		p.err = err
		publishes.WithLabelValues("failed").Inc()
		return
	}
	if written.Objects > 0 {
		publishes.WithLabelValues("written").Inc()
	} else {
		publishes.WithLabelValues("unchanged").Inc()
	}
	lastPublished.WithLabelValues(w.key.Namespace, w.key.Name).Set(float64(w.clock.Now().Unix()))
	w.live, p.published = p.out.Table, true
	if p.removal == nil {
		w.hold = nil
	}
}

// withhold keeps activities served that are gone, when most of them are at once: until somebody confirms it, or has had
// the time to notice. Everything else in the table changes meanwhile.
func (w *worker) withhold(p *pass) {
	removal := compile.MassRemoval(w.live, p.out)
	if removal == nil {
		w.hold = nil
		return
	}
	now := w.clock.Now()
	if w.hold == nil || removal.Gone > w.hold.gone {
		w.hold = &hold{until: now.Add(removalWaits)}
	}
	w.hold.gone = removal.Gone
	if p.in.Academy.Annotations[v1alpha1.AnnotationConfirmRemoval] == removal.Token || !now.Before(w.hold.until) {
		return
	}
	p.removal = removal
	p.in.Kept = removal.Kept
	p.out = compile.Compile(p.in)
	w.at(w.hold.until)
}

// unreadable says, when a running handler cannot read the format written here, that it cannot. A handler that does not
// answer, or does not say, is not waited for: it keeps its last table.
func (w *worker) unreadable(ctx context.Context) string {
	if !w.reported || w.cannotRead() > 0 {
		reports, err := w.world.Handlers(ctx, w.key)
		if err != nil {
			return ""
		}
		w.reports, w.reported = reports, true
	}
	if n := w.cannotRead(); n > 0 {
		return fmt.Sprintf("%d of %d launch handlers cannot read a routing table of format %d, so nothing new is published; "+
			"once their pods run the version of this operator, or are gone, it is", n, len(w.reports), routing.FormatMajor)
	}
	return ""
}

func (w *worker) cannotRead() (n int) {
	for _, r := range w.reports {
		if len(r.Report.FormatMajors) > 0 && !slices.Contains(r.Report.FormatMajors, routing.FormatMajor) {
			n++
		}
	}
	return n
}

func (w *worker) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	logf.FromContext(ctx).Error(err, "could not read the resources of the academy")
	publishes.WithLabelValues("failed").Inc()
	w.failures++
	w.retry()
	w.mu.Lock()
	known := w.err != nil
	w.err = err
	var refs []compile.Ref
	if !known {
		refs = slices.Collect(maps.Keys(w.results))
	}
	w.mu.Unlock()
	w.world.Changed(ctx, w.key, refs)
}

// record takes over a pass and tells the resources whose status it changes.
func (w *worker) record(ctx context.Context, p pass) {
	w.mu.Lock()
	before, hadError, wasHeld := w.results, w.err != nil, w.heldReason
	w.results, w.err = p.out.Results, p.err
	w.held, w.heldReason = p.held, p.heldReason
	w.summarize(&p)
	if p.out.Table == nil {
		w.hash = ""
		forgetMetrics(w.key)
	}
	if p.published {
		hash := p.out.Set.Manifest.Hash
		if w.number == 0 || w.published[hash] != w.number {
			w.number++
			w.published[hash] = w.number
			w.forgetOldHashes()
		}
		if w.hash != hash {
			w.hash, w.publishedAt, w.nudges, w.told = hash, w.clock.Now(), 0, ""
		}
	}
	sameForAll := before != nil && hadError == (p.err != nil) && wasHeld == p.heldReason
	var changed []compile.Ref
	for ref, result := range p.out.Results {
		was := before[ref]
		s := w.follow(ref, &was, &result, p.published)
		onItsWay := w.onItsWay(&result, s)
		tell := s.pending() && !onItsWay && !s.pendingTold
		s.pendingTold = s.pendingTold || tell
		w.served[ref] = s
		if s.pending() && onItsWay {
			w.at(s.pendingSince.Add(patienceForSecrets))
		}
		// What is on its way is told when it has arrived, or waits for longer than usual.
		if tell || !onItsWay && !(sameForAll && was.Equal(&result)) {
			changed = append(changed, ref)
		}
	}
	for ref := range w.served {
		if _, still := p.out.Results[ref]; !still {
			delete(w.served, ref)
		}
	}
	academy := compile.Ref{Kind: v1alpha1.KindAcademy, Name: w.key.Name}
	if !slices.Contains(changed, academy) {
		changed = append(changed, academy)
	}
	w.mu.Unlock()
	w.world.Changed(ctx, w.key, changed)
}

// summarize describes the table of a pass; w.mu is held.
func (w *worker) summarize(p *pass) {
	w.hasTable = p.out.Table != nil
	fullestBefore := w.summary.FullestPercent
	w.summary = Summary{
		FullestPercent: fullestBefore, LeftOut: p.out.LeftOut, Removal: p.removal, HeldReason: p.heldReason, Held: p.held,
	}
	if t := p.out.Table; t != nil {
		w.summary.Activities, w.summary.Platforms, w.summary.Tools = len(t.Activities), len(t.Platforms), len(t.Tools)
	}
	if p.out.Set != nil {
		w.summary.FullestPercent = fullest(p.out.Set)
	}
	if p.removal != nil {
		// Its resources are with those who withhold it; a status needs the numbers.
		removal := *p.removal
		removal.Kept = nil
		w.summary.Removal, w.summary.RemovalUntil = &removal, w.hold.until
	}
}

// follow returns since when a resource is in the table, after a pass in which its result went from was to is; w.mu is
// held.
func (w *worker) follow(ref compile.Ref, was, is *compile.Result, published bool) served {
	s := w.served[ref]
	// What was not accepted was in the table without the part that it lacked.
	completed := was.Accepted != metav1.ConditionTrue && is.Accepted == metav1.ConditionTrue
	if s.generation != is.Generation {
		s = served{generation: is.Generation}
	}
	if !is.Served || completed {
		s.since = 0
	}
	if is.Served && published && s.since == 0 {
		s.since = w.number
	}
	switch {
	case is.Accepted != metav1.ConditionUnknown:
		s.pendingSince, s.pendingTold = time.Time{}, false
	case s.pendingSince.IsZero():
		s.pendingSince = w.clock.Now()
	}
	return s
}

// pending tells whether it waits for a Secret that the operator makes.
func (s *served) pending() bool { return !s.pendingSince.IsZero() }

// onItsWay tells whether status is better written a little later; w.mu is held.
func (w *worker) onItsWay(r *compile.Result, s served) bool {
	switch {
	case s.pending():
		return w.clock.Since(s.pendingSince) < patienceForSecrets
	case r.Accepted != metav1.ConditionTrue || !r.Served || w.err != nil:
		return false
	case s.since == 0:
		return w.held != "" && w.heldReason == "" // until the API server may be given another table
	}
	return s.since > w.confirmed && w.clock.Since(w.publishedAt) < patience
}

// fullest tells how full the fullest shard is, in percent.
func fullest(set *routing.Set) int {
	largest := 0
	for _, shards := range [][]routing.Shard{set.Routing, set.Keys} {
		for i := range shards {
			largest = max(largest, len(shards[i].Payload))
		}
	}
	return largest * 100 / routing.MaxShardBytes
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

// ask asks the handlers once what they serve, and nudges those that lag.
func (w *worker) ask(ctx context.Context) {
	w.askAt = time.Time{}
	w.mu.Lock()
	hash, number, before := w.hash, w.number, w.confirmed
	w.mu.Unlock()
	if hash == "" {
		return
	}
	reports, err := w.world.Handlers(ctx, w.key)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		w.reports, w.reported = reports, true
	}
	age := w.clock.Since(w.publishedAt)
	w.nudge(ctx, reports, hash, age)

	w.mu.Lock()
	oldest, current, silent := number, 0, 0
	for _, r := range reports {
		n := w.published[r.Report.Hash]
		oldest = min(oldest, n)
		if n == number {
			current++
		}
		if r.Err != nil {
			silent++
		}
	}
	w.unreachable = false
	switch {
	case err != nil:
		w.waiting = "the launch handler cannot be asked: " + err.Error()
		oldest = before
	case len(reports) == 0:
		w.waiting = "no launch handler is ready yet"
		oldest = before
	case current < len(reports):
		w.waiting = fmt.Sprintf("%d of %d launch handlers serve it", current, len(reports))
		if silent > 0 {
			w.waiting += fmt.Sprintf("; %d cannot be reached", silent)
		}
		w.unreachable = silent == len(reports)-current
	default:
		w.waiting = ""
	}
	// What every handler has served stays programmed: a handler that restarts, or cannot be reached, shows on the academy.
	oldest = max(oldest, before)
	w.confirmed = oldest
	// Whoever waits longer than usual is told what for.
	tell := age >= patience && w.waiting != w.told
	if tell {
		w.told = w.waiting
	}
	var changed []compile.Ref
	for ref, s := range w.served {
		if s.pending() && !s.pendingTold {
			continue
		}
		if s.since > before && s.since <= oldest || tell && s.since > oldest {
			changed = append(changed, ref)
		}
	}
	done := err == nil && len(reports) > 0 && current == len(reports)
	w.mu.Unlock()
	handlersWaiting.WithLabelValues(w.key.Namespace, w.key.Name).Set(float64(len(reports) - current))
	if !done {
		w.askAt = w.publishedAt.Add(nextLook(age))
	}
	if len(changed) > 0 {
		w.world.Changed(ctx, w.key, changed)
	}
}

// nextLook returns the age of a table at which the handlers are asked after having been asked at this one.
func nextLook(age time.Duration) time.Duration {
	for _, at := range lookAt {
		if at > age {
			return at
		}
	}
	return (age/lookEvery + 1) * lookEvery
}

// nudge nudges the handlers that lag, if it is time to.
func (w *worker) nudge(ctx context.Context, reports []HandlerReport, hash string, age time.Duration) {
	due := 0
	for due < len(nudgeAt) && nudgeAt[due] <= age {
		due++
	}
	if due <= w.nudges {
		return
	}
	w.nudges = due
	for _, r := range reports {
		if r.Report.Hash == hash {
			continue
		}
		if err := w.world.Nudge(ctx, r.Endpoint, hash, due); err != nil {
			logf.FromContext(ctx).V(1).Info("could not nudge a launch handler", "pod", r.Endpoint.Pod.Name, "error", err.Error())
		}
	}
}

func (w *worker) outcome(ref compile.Ref) (Outcome, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.results == nil {
		return Outcome{PublishError: w.err}, w.err != nil
	}
	result, ok := w.results[ref]
	if !ok {
		return Outcome{}, false
	}
	s := w.served[ref]
	o := Outcome{Result: result, PublishError: w.err, Waiting: w.waiting}
	o.Programmed = s.since > 0 && s.since <= w.confirmed
	o.OnItsWay = w.onItsWay(&result, s)
	o.Confirmed = w.err == nil && w.held == "" && w.waiting == "" && w.hash != "" && w.number > 0 && w.confirmed == w.number
	switch {
	case s.since == 0 && w.held != "":
		o.Waiting, o.WaitingReason = w.held, w.heldReason
	case w.unreachable:
		o.WaitingReason = v1alpha1.ReasonHandlerUnreachable
	}
	return o, true
}

// Bytes that publishing may write to the API server: in the long run, and at once.
const (
	budgetPerSecond = 1 << 20
	budgetBurst     = 4 << 20
)

// byteBudget is a token bucket that may be overdrawn: what a publish costs is known afterwards, and what is urgent does
// not wait. Whoever is not in a hurry waits until the debt is paid.
type byteBudget struct {
	clock clock.PassiveClock

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

func (b *byteBudget) refill() {
	now := b.clock.Now()
	b.tokens = min(budgetBurst, b.tokens+now.Sub(b.last).Seconds()*budgetPerSecond)
	b.last = now
}

// wait returns how long somebody who is not in a hurry waits.
func (b *byteBudget) wait() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill()
	if b.tokens > 0 {
		return 0
	}
	return time.Duration((1-b.tokens)/budgetPerSecond*float64(time.Second)) + time.Millisecond
}

func (b *byteBudget) spend(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill()
	b.tokens -= float64(bytes)
}

// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/controllers"
	"github.com/lti-operator/lti-operator/internal/compile"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/publish"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// fakeWorld stands for the API server and the handlers around a Programmer. Time is that of the synctest bubble.
type fakeWorld struct {
	mu      sync.Mutex
	started time.Time
	synced  chan struct{} // closed once the caches are

	academy    *v1alpha1.LTIAcademy
	activities []*v1alpha1.LTIActivity
	secrets    map[string]*corev1.Secret
	readErr    error
	publishErr error
	cost       int // bytes of one publish

	live      *routing.Table
	published []publication
	reads     []time.Duration
	handlers  []*fakeHandler
	askErr    error
	asked     int
	told      map[compile.Ref]int
}

type publication struct {
	at    time.Duration
	hash  string
	table *routing.Table
}

// fakeHandler serves what it is given.
type fakeHandler struct {
	hash   string
	majors []int
	err    error
	nudges []string // "<age> <hash>/<attempt>"
}

func (w *fakeWorld) age() time.Duration { return time.Since(w.started) }

func (w *fakeWorld) Synced(ctx context.Context) error {
	w.mu.Lock()
	synced := w.synced
	w.mu.Unlock()
	select {
	case <-synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *fakeWorld) Read(context.Context, controllers.AcademyKey) (compile.Input, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads = append(w.reads, w.age())
	if w.readErr != nil {
		return compile.Input{}, w.readErr
	}
	return compile.Input{
		Namespace: "acme", AcademyName: "default", Academy: w.academy.DeepCopy(), Activities: slices.Clone(w.activities), Secrets: w.secrets,
	}, nil
}

func (w *fakeWorld) Live(context.Context, controllers.AcademyKey) (*routing.Table, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.live, nil
}

func (w *fakeWorld) Publish(_ context.Context, _ *v1alpha1.LTIAcademy, set *routing.Set) (publish.Written, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.publishErr != nil {
		return publish.Written{}, w.publishErr
	}
	files, err := set.Files()
	if err != nil {
		return publish.Written{}, err
	}
	w.live, err = routing.Assemble(set.Manifest, func(name string) ([]byte, error) { return files[name], nil })
	if err != nil {
		return publish.Written{}, err
	}
	if n := len(w.published); n > 0 && w.published[n-1].hash == set.Manifest.Hash {
		return publish.Written{}, nil
	}
	w.published = append(w.published, publication{w.age(), set.Manifest.Hash, w.live})
	return publish.Written{Objects: 2, Bytes: w.cost}, nil
}

func (w *fakeWorld) Handlers(context.Context, controllers.AcademyKey) ([]controllers.HandlerReport, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	var reports []controllers.HandlerReport
	for i, h := range w.handlers {
		endpoint := controllers.HandlerEndpoint{URL: fmt.Sprint(i)}
		if h.err != nil {
			reports = append(reports, controllers.HandlerReport{Endpoint: endpoint, Err: h.err})
			continue
		}
		reports = append(reports, controllers.HandlerReport{Endpoint: endpoint, Report: routing.Report{Hash: h.hash, FormatMajors: h.majors}})
	}
	return reports, w.askErr
}

func (w *fakeWorld) Nudge(_ context.Context, e controllers.HandlerEndpoint, hash string, attempt int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var i int
	_, _ = fmt.Sscan(e.URL, &i)
	h := w.handlers[i]
	h.nudges = append(h.nudges, fmt.Sprintf("%v %.4s/%d", w.age(), hash, attempt))
	return nil
}

func (w *fakeWorld) Changed(_ context.Context, _ controllers.AcademyKey, refs []compile.Ref) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ref := range refs {
		w.told[ref]++
	}
}

// The keys of the academy and the credentials are made once: RSA takes its time.
var academyKeysOnce = sync.OnceValue(func() map[string][]byte {
	k, err := keys.NewAcademy(rand.Reader, time.Now())
	if err != nil {
		panic(err)
	}
	return k.Data()
})

func (w *fakeWorld) add(names ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		a := newActivity("acme", name)
		a.Generation = 1
		w.activities = append(w.activities, a)
		secret, _ := a.LTI12SecretName()
		w.secrets[secret] = &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: secret},
			Data:       map[string][]byte{v1alpha1.SecretKeyConsumerKey: []byte(name), v1alpha1.SecretKeySharedSecret: []byte("secret-of-" + name)},
		}
	}
}

func (w *fakeWorld) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// serve lets handlers serve the newest table.
func (w *fakeWorld) serve(handlers ...int) {
	w.change(func() {
		for _, i := range handlers {
			w.handlers[i].hash = w.published[len(w.published)-1].hash
		}
	})
}

func (w *fakeWorld) rename(name, title string) {
	w.change(func() {
		for i, a := range w.activities {
			if a.Name == name {
				a = a.DeepCopy()
				a.Spec.Title = title
				a.Generation++
				w.activities[i] = a
			}
		}
	})
}

var academyKey = controllers.AcademyKey{Namespace: "acme", Name: "default"}

func activityRef(name string) compile.Ref {
	return compile.Ref{Kind: v1alpha1.KindActivity, Name: name}
}

// programmed runs a Programmer in a bubble with a world of n handlers.
func programmed(t *testing.T, handlers int, test func(t *testing.T, w *fakeWorld, p *controllers.Programmer)) {
	t.Helper()
	academyKeysOnce()
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorld{
			started: time.Now(), synced: make(chan struct{}), told: map[compile.Ref]int{},
			academy: newAcademy("acme"),
			secrets: map[string]*corev1.Secret{compile.AcademySecretName("default"): {Data: academyKeysOnce()}},
		}
		close(w.synced)
		for range handlers {
			w.handlers = append(w.handlers, &fakeHandler{majors: []int{routing.FormatMajor}})
		}
		p := &controllers.Programmer{World: w, Clock: clock.RealClock{}}
		run(t, p)
		test(t, w, p)
	})
}

// run starts a Programmer until the test ends or stop is called.
func run(t *testing.T, p *controllers.Programmer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Start(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// after lets time pass, and then everything settle. The lock tells the race detector that what the test has looked at
// may change from now on.
func (w *fakeWorld) after(d time.Duration) {
	w.mu.Lock()
	w.mu.Unlock() //nolint:staticcheck // nothing is guarded: see above
	time.Sleep(d)
	synctest.Wait()
}

func TestChangesAreGathered(t *testing.T) {
	tests := map[string]struct {
		changes []time.Duration // when something changes
		reads   []time.Duration // when it is compiled
	}{
		"one change":                   {[]time.Duration{0}, []time.Duration{100 * time.Millisecond}},
		"two within the quiet period":  {[]time.Duration{0, 60 * time.Millisecond}, []time.Duration{160 * time.Millisecond}},
		"two with a pause in between":  {[]time.Duration{0, 250 * time.Millisecond}, []time.Duration{100 * time.Millisecond, 350 * time.Millisecond}},
		"one each 50 ms for 0.7 s":     {every(50*time.Millisecond, 14), []time.Duration{500 * time.Millisecond, 750 * time.Millisecond}},
		"thousands within half second": {every(100*time.Microsecond, 4000), []time.Duration{499900 * time.Microsecond}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			programmed(t, 0, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
				w.add("a")
				for _, at := range test.changes {
					w.after(at - w.age())
					p.Trigger(academyKey)
				}
				w.after(2 * time.Second)
				if !slices.Equal(w.reads, test.reads) {
					t.Errorf("compiled at %v, want %v", w.reads, test.reads)
				}
			})
		})
	}
}

func every(d time.Duration, n int) (times []time.Duration) {
	for i := range n {
		times = append(times, time.Duration(i)*d)
	}
	return times
}

func TestNothingHappensBeforeTheCachesAreComplete(t *testing.T) {
	programmed(t, 1, func(t *testing.T, w *fakeWorld, _ *controllers.Programmer) {
		w.mu.Lock()
		w.synced = make(chan struct{})
		w.mu.Unlock()
		p := &controllers.Programmer{World: w, Clock: clock.RealClock{}}
		run(t, p)
		w.add("a")
		p.Trigger(academyKey)
		w.after(time.Hour)
		if len(w.reads) != 0 || len(w.published) != 0 {
			t.Fatalf("read %d times and published %d times before the caches were complete", len(w.reads), len(w.published))
		}
		close(w.synced)
		w.after(time.Second)
		if len(w.published) != 1 {
			t.Errorf("%d publishes after it", len(w.published))
		}
	})
}

func TestAHandlerThatLagsIsNudgedForAMinute(t *testing.T) {
	programmed(t, 2, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		w.add("a")
		p.Trigger(academyKey)
		w.after(100 * time.Millisecond)
		w.serve(0)
		w.after(time.Hour)
		hash := w.published[0].hash[:4]
		var want []string
		for i, at := range []time.Duration{
			0, 300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, 45 * time.Second, time.Minute,
		} {
			want = append(want, fmt.Sprintf("%v %s/%d", 100*time.Millisecond+at, hash, i+1))
		}
		if got := w.handlers[1].nudges; !slices.Equal(got, want) {
			t.Errorf("nudged at\n%v, want\n%v", got, want)
		}
		if got := w.handlers[0].nudges; len(got) != 1 {
			t.Errorf("the handler that serves it was nudged at %v", got)
		}
		// It is asked on and on, though, and nobody once it serves the table.
		before := w.asked
		w.after(time.Minute)
		if n := w.asked - before; n != 12 {
			t.Errorf("asked %d times a minute", n)
		}
		w.serve(1)
		w.after(10 * time.Second)
		before = w.asked
		w.after(time.Hour)
		if w.asked != before || len(w.handlers[1].nudges) != 9 {
			t.Errorf("asked %d times after everything was served, nudged %d times", w.asked-before, len(w.handlers[1].nudges))
		}
		// Another table starts again.
		w.rename("a", "other")
		p.Trigger(academyKey)
		w.after(2 * time.Minute)
		if n := len(w.handlers[1].nudges); n != 18 {
			t.Errorf("%d nudges after another table, want 18", n)
		}
	})
}

func TestProgrammedIsWhatEveryHandlerServes(t *testing.T) {
	programmed(t, 3, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		outcome := func(name string) controllers.Outcome {
			t.Helper()
			o, ok := p.Outcome(academyKey, activityRef(name))
			if !ok {
				t.Fatalf("nothing is known of %s", name)
			}
			return o
		}
		w.add("a", "b")
		p.Trigger(academyKey)
		w.after(150 * time.Millisecond)
		w.serve(0, 1)
		w.after(2 * time.Second)
		if o := outcome("a"); o.Programmed || o.Waiting != "2 of 3 launch handlers serve it" {
			t.Errorf("%+v", o)
		}
		w.change(func() { w.handlers[2].err = errors.New("no route to host") })
		w.after(5 * time.Second)
		if o := outcome("a"); o.Programmed || o.Waiting != "2 of 3 launch handlers serve it; 1 cannot be reached" || o.WaitingReason != v1alpha1.ReasonHandlerUnreachable {
			t.Errorf("%+v", o)
		}
		w.change(func() { w.handlers[2].err = nil })
		w.serve(2)
		w.after(10 * time.Second)
		if o := outcome("a"); !o.Programmed {
			t.Errorf("%+v", o)
		}
		told := w.told[activityRef("b")]

		// One changes; the other stays programmed, whatever the handlers do.
		w.rename("a", "other")
		w.change(func() { w.handlers[0].err = errors.New("restarts"); w.handlers = w.handlers[:2] })
		p.Trigger(academyKey)
		w.after(3 * time.Second)
		if o := outcome("a"); o.Programmed {
			t.Errorf("%+v", o)
		}
		w.change(func() { w.handlers[0].err, w.askErr = nil, errors.New("the list of pods") })
		w.after(10 * time.Second)
		if o := outcome("a"); o.Programmed || !strings.Contains(o.Waiting, "the list of pods") {
			t.Errorf("%+v", o)
		}
		w.change(func() { w.askErr, w.handlers = nil, nil })
		w.after(10 * time.Second)
		if o := outcome("a"); o.Programmed || o.Waiting != "no launch handler is ready yet" {
			t.Errorf("%+v", o)
		}
		w.change(func() { w.handlers = []*fakeHandler{{hash: w.published[1].hash}} })
		w.after(10 * time.Second)
		if o := outcome("a"); !o.Programmed {
			t.Errorf("%+v", o)
		}
		if n := w.told[activityRef("b")] - told; n != 0 {
			t.Errorf("the activity that did not change was looked at %d times", n)
		}
	})
}

func TestStatusIsWrittenOnceWhenATableArrivesInTime(t *testing.T) {
	programmed(t, 1, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		w.add("a")
		p.Trigger(academyKey)
		w.after(100 * time.Millisecond)
		w.serve(0)
		w.after(time.Hour)
		if n := w.told[activityRef("a")]; n != 1 {
			t.Errorf("status was asked for %d times, want once", n)
		}
	})
}

func TestWhatCannotBeReadIsNotEmpty(t *testing.T) {
	programmed(t, 1, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		w.add("a")
		p.Trigger(academyKey)
		w.after(100 * time.Millisecond)
		w.serve(0)
		w.after(time.Second)
		w.change(func() { w.readErr = errors.New("list activities: etcd is gone") })
		p.Trigger(academyKey)
		w.after(time.Minute)
		if len(w.published) != 1 || len(w.live.Activities) != 1 {
			t.Errorf("%d publishes, %d activities live", len(w.published), len(w.live.Activities))
		}
		if o, ok := p.Outcome(academyKey, activityRef("a")); !ok || !o.Programmed {
			t.Errorf("%+v", o)
		}
		w.change(func() { w.readErr = nil })
		w.add("b")
		w.after(10 * time.Second)
		if len(w.published) != 2 || len(w.live.Activities) != 2 {
			t.Errorf("after it: %d publishes, %d activities live", len(w.published), len(w.live.Activities))
		}
	})
}

func TestAFailedPublishIsRepeatedAndMentioned(t *testing.T) {
	programmed(t, 1, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		w.add("a")
		w.publishErr = errors.New("the object is being deleted")
		p.Trigger(academyKey)
		w.after(20 * time.Second)
		if s, _ := p.Summary(academyKey); s.HeldReason != v1alpha1.ReasonPublishFailed {
			t.Errorf("%+v", s)
		}
		if n := len(w.reads); n < 5 || n > 10 {
			t.Errorf("%d attempts in 20 seconds", n)
		}
		w.change(func() { w.publishErr = nil })
		w.after(5 * time.Second)
		if s, _ := p.Summary(academyKey); s.HeldReason != "" || len(w.published) != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestOnlyAFormatThatEveryHandlerCanReadIsPublished(t *testing.T) {
	programmed(t, 2, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		w.add("a")
		w.handlers[1].majors = []int{routing.FormatMajor - 1}
		p.Trigger(academyKey)
		w.after(time.Minute)
		if len(w.published) != 0 {
			t.Fatal("a table was published that a running handler cannot read")
		}
		o, _ := p.Outcome(academyKey, activityRef("a"))
		if o.Programmed || o.WaitingReason != v1alpha1.ReasonHandlerFormat || !strings.Contains(o.Waiting, "1 of 2 launch handlers cannot read") {
			t.Errorf("%+v", o)
		}
		if s, _ := p.Summary(academyKey); s.HeldReason != v1alpha1.ReasonHandlerFormat {
			t.Errorf("%+v", s)
		}
		// It is replaced by one that reads both.
		w.change(func() { w.handlers[1].majors = []int{routing.FormatMajor - 1, routing.FormatMajor} })
		w.after(10 * time.Second)
		if s, _ := p.Summary(academyKey); len(w.published) != 1 || s.Held != "" {
			t.Errorf("%d publishes, %+v", len(w.published), s)
		}
		// One that does not answer is not waited for.
		w.change(func() { w.handlers[0].err = errors.New("timeout") })
		w.rename("a", "other")
		p.Trigger(academyKey)
		w.after(time.Second)
		if len(w.published) != 2 {
			t.Error("a handler that does not answer stops publishing")
		}
	})
}

func TestPublishingKeepsWithinItsBytes(t *testing.T) {
	programmed(t, 1, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		w.cost = 1 << 20
		w.add("a", "b")
		for i := range 200 { // 20 seconds of a change each 100 ms
			w.rename("a", fmt.Sprint(i))
			p.Trigger(academyKey)
			w.after(100 * time.Millisecond)
		}
		mib := len(w.published)
		if mib < 20 || mib > 26 {
			t.Errorf("%d MiB in 20 seconds, want about 4 + 20", mib)
		}
		if n := len(w.reads); n < 35 {
			t.Errorf("compiled %d times: the compiler must not wait", n)
		}
		// The budget is spent. What is only added waits, what is urgent does not.
		w.change(func() { w.cost = 10 << 20 })
		w.rename("a", "debt")
		p.Trigger(academyKey)
		w.after(3 * time.Second)
		published := len(w.published)
		w.add("c")
		p.Trigger(academyKey)
		w.after(time.Second)
		if len(w.published) != published {
			t.Fatal("an addition was published on credit")
		}
		w.change(func() { w.activities = w.activities[1:] })
		p.Trigger(academyKey)
		w.after(200 * time.Millisecond)
		if len(w.published) != published+1 {
			t.Error("a removal waits for the budget")
		}
		w.change(func() {
			secret, _ := w.activities[0].LTI12SecretName()
			w.secrets[secret].Data[v1alpha1.SecretKeySharedSecret] = []byte("changed")
		})
		p.Trigger(academyKey)
		w.after(200 * time.Millisecond)
		if len(w.published) != published+2 {
			t.Error("a changed key waits for the budget")
		}
		w.add("d")
		p.Trigger(academyKey)
		w.after(15 * time.Second)
		if len(w.published) != published+2 {
			t.Error("the debt of what was urgent is forgotten")
		}
		w.after(15 * time.Second)
		if n := len(w.published); n != published+3 || len(w.live.Activities) != 3 {
			t.Errorf("once the debt is paid: %d publishes, %d activities", n-published, len(w.live.Activities))
		}
	})
}

func names(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("a%02d", i))
	}
	return out
}

func TestMostActivitiesAreNotRemovedAtOnce(t *testing.T) {
	programmed(t, 1, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		w.add(names(20)...)
		p.Trigger(academyKey)
		w.after(time.Second)
		// All but two vanish, for example because somebody pruned the wrong directory.
		w.change(func() { w.activities = slices.Clone(w.activities[:2]) })
		w.rename("a00", "changed meanwhile")
		w.change(func() { w.academy.Spec.Activation = v1alpha1.Deactivated })
		p.Trigger(academyKey)
		w.after(time.Second)
		s, _ := p.Summary(academyKey)
		if s.Removal == nil || s.Removal.Before != 20 || s.Removal.Gone != 18 || time.Until(s.RemovalUntil) > 5*time.Minute || time.Until(s.RemovalUntil) < 4*time.Minute {
			t.Fatalf("%+v", s)
		}
		if len(w.live.Activities) != 20 || len(w.live.Credentials) != 20 {
			t.Errorf("%d activities and %d keys are live", len(w.live.Activities), len(w.live.Credentials))
		}
		if w.live.Activities[0].Title != "changed meanwhile" || w.live.Academy.Active {
			t.Error("changes and deactivations wait too")
		}
		// An operator that starts now does not forget.
		again := &controllers.Programmer{World: w, Clock: clock.RealClock{}}
		stop := run(t, again)
		again.Trigger(academyKey)
		w.after(time.Second)
		if s, _ := again.Summary(academyKey); s.Removal == nil || len(w.live.Activities) != 20 {
			t.Errorf("after a restart: %+v, %d activities live", s, len(w.live.Activities))
		}
		stop()
		w.after(4 * time.Minute)
		if len(w.live.Activities) != 20 {
			t.Error("the removal happens too early")
		}
		w.after(time.Minute)
		if s, _ := p.Summary(academyKey); len(w.live.Activities) != 2 || s.Removal != nil {
			t.Errorf("after five minutes: %d activities, %+v", len(w.live.Activities), s)
		}
	})
}

func TestARemovalCanBeConfirmed(t *testing.T) {
	programmed(t, 1, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		w.add(names(20)...)
		p.Trigger(academyKey)
		w.after(time.Second)
		w.change(func() { w.activities = nil })
		p.Trigger(academyKey)
		w.after(time.Second)
		s, _ := p.Summary(academyKey)
		confirm := func(token string) {
			w.change(func() { w.academy.Annotations = map[string]string{v1alpha1.AnnotationConfirmRemoval: token} })
			p.Trigger(academyKey)
			w.after(time.Second)
		}
		confirm("yes")
		if len(w.live.Activities) != 20 {
			t.Error("anything confirms")
		}
		confirm(s.Removal.Token)
		if len(w.live.Activities) != 0 {
			t.Error("the confirmation does nothing")
		}
		// The same annotation confirms nothing else later.
		w.add(names(30)[20:]...)
		p.Trigger(academyKey)
		w.after(10 * time.Second)
		w.change(func() { w.activities = nil })
		p.Trigger(academyKey)
		w.after(time.Second)
		if len(w.live.Activities) != 10 {
			t.Errorf("%d activities are live after another removal", len(w.live.Activities))
		}
	})
}

func TestARemovalThatWasAMistakeLeavesNoTrace(t *testing.T) {
	programmed(t, 1, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		w.add(names(20)...)
		p.Trigger(academyKey)
		w.after(time.Second)
		all := w.activities
		w.change(func() { w.activities = nil })
		p.Trigger(academyKey)
		w.after(time.Minute)
		w.change(func() { w.activities = all })
		p.Trigger(academyKey)
		w.after(10 * time.Minute)
		if s, _ := p.Summary(academyKey); s.Removal != nil || len(w.published) != 1 {
			t.Errorf("%d publishes, %+v", len(w.published), s)
		}
	})
}

func TestAFullShardIsNoticed(t *testing.T) {
	programmed(t, 1, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		inOneShard := func(n int) {
			for i := 0; n > 0; i++ {
				name := fmt.Sprintf("large-%d-%d", len(w.activities), i)
				if routing.ShardOf("activity", name, routing.RoutingShards) != 3 {
					continue
				}
				n--
				noise := make([]byte, 36<<10)
				_, _ = rand.Read(noise)
				w.add(name)
				w.change(func() {
					a := w.activities[len(w.activities)-1]
					a.Spec.Description = base64.StdEncoding.EncodeToString(noise)
					a.CreationTimestamp = metav1.Unix(int64(len(w.activities)), 0)
				})
			}
			p.Trigger(academyKey)
			w.after(time.Minute)
		}
		inOneShard(9)
		if s, _ := p.Summary(academyKey); s.FullestPercent < 70 || s.FullestPercent > 79 || s.LeftOut != 0 {
			t.Errorf("%+v", s)
		}
		inOneShard(2)
		if s, _ := p.Summary(academyKey); s.FullestPercent < 80 || s.FullestPercent > 100 || s.LeftOut != 0 {
			t.Errorf("%+v", s)
		}
		inOneShard(4)
		s, _ := p.Summary(academyKey)
		if s.LeftOut == 0 || s.FullestPercent > 100 || s.Activities+s.LeftOut != 15 {
			t.Errorf("%+v", s)
		}
		newest := w.activities[len(w.activities)-1].Name
		if o, _ := p.Outcome(academyKey, activityRef(newest)); o.Accepted != metav1.ConditionFalse || o.Reason != v1alpha1.ReasonCapacityExceeded {
			t.Errorf("%+v", o)
		}
		// A removal is published although the shard is full, and makes room for one that was left out.
		w.change(func() { w.activities = w.activities[1:] })
		p.Trigger(academyKey)
		w.after(time.Minute)
		if after, _ := p.Summary(academyKey); after.LeftOut != s.LeftOut-1 {
			t.Errorf("%+v", after)
		}
	})
}

func TestMetricsAreThere(t *testing.T) {
	programmed(t, 2, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		w.add("a")
		w.cost = 1000
		before := metricValues(t)
		p.Trigger(academyKey)
		w.after(100 * time.Millisecond)
		w.serve(0)
		w.after(time.Minute)
		now := metricValues(t)
		for name, grown := range map[string]float64{
			"lti_operator_config_compile_duration_seconds": 1,
			"lti_operator_config_publish_bytes_total":      1000,
			"lti_operator_config_publish_total/written":    1,
			"lti_operator_config_publish_total/failed":     0,
		} {
			if now[name]-before[name] != grown {
				t.Errorf("%s went from %v to %v", name, before[name], now[name])
			}
		}
		if got := now["lti_operator_config_waiting/acme/default"]; got != 1 {
			t.Errorf("%v handlers are said to wait", got)
		}
		if now["lti_operator_config_last_success_timestamp_seconds/acme/default"] == 0 {
			t.Error("no time of the last success")
		}
		// An academy that is gone leaves no series behind.
		w.change(func() { w.academy = nil })
		p.Trigger(academyKey)
		w.after(time.Minute)
		if _, ok := metricValues(t)["lti_operator_config_waiting/acme/default"]; ok {
			t.Error("the series of an academy outlives it")
		}
	})
}

// metricValues are the values of our metrics, by name and label values; of a histogram, the count.
func metricValues(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range slices.Backward(m.GetLabel()) { // sorted by label name; namespace comes last
				name += "/" + label.GetValue()
			}
			out[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

// A pending Secret is on its way for a while. Then status says so, once.
func TestAMissingSecretIsToldWhenItLasts(t *testing.T) {
	programmed(t, 1, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		w.add("a", "b")
		var secret *corev1.Secret
		w.change(func() {
			name, _ := w.activities[1].LTI12SecretName()
			secret = w.secrets[name]
			delete(w.secrets, name)
		})
		p.Trigger(academyKey)
		w.after(100 * time.Millisecond)
		w.serve(0)
		w.after(time.Second)
		o, _ := p.Outcome(academyKey, activityRef("b"))
		if !o.OnItsWay || o.Accepted != metav1.ConditionUnknown || o.Awaits != secret.Name || w.told[activityRef("b")] != 0 {
			t.Errorf("after a second: %+v, told %d times", o, w.told[activityRef("b")])
		}
		w.after(6 * time.Second)
		if o, _ := p.Outcome(academyKey, activityRef("b")); o.OnItsWay || w.told[activityRef("b")] != 1 {
			t.Errorf("after seven seconds: %+v, told %d times", o, w.told[activityRef("b")])
		}
		w.after(time.Hour)
		if n := w.told[activityRef("b")]; n != 1 {
			t.Errorf("told %d times in an hour", n)
		}
		// It is there now. That is told when the handlers serve what it opens, and not when it is known.
		w.change(func() { w.secrets[secret.Name] = secret })
		p.Trigger(academyKey)
		w.after(500 * time.Millisecond)
		if o, _ := p.Outcome(academyKey, activityRef("b")); !o.OnItsWay || o.Programmed || w.told[activityRef("b")] != 1 {
			t.Errorf("published: %+v, told %d times", o, w.told[activityRef("b")])
		}
		w.serve(0)
		w.after(time.Second)
		if o, _ := p.Outcome(academyKey, activityRef("b")); o.OnItsWay || !o.Programmed || w.told[activityRef("b")] != 2 {
			t.Errorf("served: %+v, told %d times", o, w.told[activityRef("b")])
		}
		if n := w.told[activityRef("a")]; n != 1 {
			t.Errorf("its neighbour was told %d times", n)
		}
	})
}

// The shards go with their academy: a new one of that name has removed nothing.
func TestAnAcademyThatReturnsHoldsNothingBack(t *testing.T) {
	programmed(t, 1, func(t *testing.T, w *fakeWorld, p *controllers.Programmer) {
		w.add(names(20)...)
		p.Trigger(academyKey)
		w.after(time.Second)
		academy := w.academy
		w.change(func() { w.academy, w.activities, w.live = nil, nil, nil })
		p.Trigger(academyKey)
		w.after(time.Second)
		if _, ok := p.Summary(academyKey); ok {
			t.Error("there is a summary of no table")
		}
		w.change(func() { w.academy = academy })
		w.add("a")
		p.Trigger(academyKey)
		w.after(time.Second)
		if s, _ := p.Summary(academyKey); s.Removal != nil || len(w.live.Activities) != 1 {
			t.Errorf("%d activities are live, %+v", len(w.live.Activities), s)
		}
	})
}

func TestNothingIsPublishedAfterLeadershipIsLost(t *testing.T) {
	programmed(t, 1, func(t *testing.T, w *fakeWorld, _ *controllers.Programmer) {
		p := &controllers.Programmer{World: w, Clock: clock.RealClock{}}
		stop := run(t, p)
		w.add("a")
		p.Trigger(academyKey)
		w.after(time.Second)
		told := w.told[activityRef("a")]
		w.rename("a", "other")
		p.Trigger(academyKey)
		stop()
		p.Trigger(academyKey)
		w.after(time.Hour)
		if len(w.published) != 1 || w.told[activityRef("a")] != told {
			t.Errorf("%d publishes, told %d times more", len(w.published), w.told[activityRef("a")]-told)
		}
	})
	if !(&controllers.Programmer{}).NeedLeaderElection() {
		t.Error("it runs without being the leader")
	}
}

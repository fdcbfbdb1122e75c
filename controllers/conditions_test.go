// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/compile"
)

func TestWhatAnAcademyWarnsOf(t *testing.T) {
	until := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	removal := &compile.Removal{Before: 20, Gone: 18, Token: "0123456789ab"}
	tests := map[string]struct {
		summary                 Summary
		capacity, held, message string
	}{
		"nothing":                            {Summary{FullestPercent: 79}, "", "", ""},
		"80 % full":                          {Summary{FullestPercent: 80}, v1alpha1.ReasonNearCapacity, "", "80 % full"},
		"full":                               {Summary{FullestPercent: 99, LeftOut: 3}, v1alpha1.ReasonCapacityExceeded, "", "newest 3 resources"},
		"most activities gone":               {Summary{Removal: removal, RemovalUntil: until}, "", v1alpha1.ReasonRemovalNotConfirmed, "18 of 20 activities are gone at once; they stay served until 2026-05-01T10:00:00Z"},
		"most activities gone, the command":  {Summary{Removal: removal, RemovalUntil: until}, "", v1alpha1.ReasonRemovalNotConfirmed, "kubectl annotate ltiacademy default -n acme --overwrite lti-operator.io/confirm-removal=0123456789ab"},
		"a handler that cannot read it":      {Summary{HeldReason: v1alpha1.ReasonHandlerFormat, Held: "1 of 2"}, "", v1alpha1.ReasonHandlerFormat, "1 of 2"},
		"publishing is held for the removal": {Summary{Removal: removal, HeldReason: v1alpha1.ReasonPublishFailed, Held: "etcd"}, "", v1alpha1.ReasonPublishFailed, "etcd"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			academy := &v1alpha1.LTIAcademy{}
			academy.Generation = 3
			outcome := &Outcome{Result: compile.Result{Accepted: metav1.ConditionTrue, Served: true, Generation: 3}, Programmed: true}
			setConditions(academy, report{outcome: outcome, warnings: academyWarnings(AcademyKey{Namespace: "acme", Name: "default"}, test.summary)})
			all := ""
			for conditionType, want := range map[string]string{v1alpha1.ConditionNearCapacity: test.capacity, v1alpha1.ConditionPublishingHeld: test.held} {
				c := meta.FindStatusCondition(academy.Status.Conditions, conditionType)
				if (c == nil) != (want == "") || c != nil && (c.Reason != want || c.Status != metav1.ConditionTrue || c.ObservedGeneration != 3) {
					t.Errorf("%s is %+v, want reason %q", conditionType, c, want)
				}
				if c != nil {
					all += c.Message
				}
			}
			if !strings.Contains(all, test.message) {
				t.Errorf("%q does not say %q", all, test.message)
			}
			if !meta.IsStatusConditionTrue(academy.Status.Conditions, v1alpha1.ConditionReady) {
				t.Error("a warning makes the academy unready")
			}
			// And what is over is taken away.
			setConditions(academy, report{outcome: outcome})
			for _, conditionType := range warningTypes {
				if meta.FindStatusCondition(academy.Status.Conditions, conditionType) != nil {
					t.Errorf("%s stays", conditionType)
				}
			}
		})
	}
}

// eventLog is a recorder that keeps what it is given.
type eventLog []string

func (l *eventLog) Eventf(_, _ runtime.Object, eventType, reason, _, note string, args ...any) {
	*l = append(*l, eventType+" "+reason+" "+fmt.Sprintf(note, args...))
}

func TestEventsAreMadeOnTransitionsOnly(t *testing.T) {
	ready := func(status metav1.ConditionStatus, reason string) []metav1.Condition {
		return []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, Reason: reason, Message: "m"}}
	}
	with := func(c []metav1.Condition, warning, reason string) []metav1.Condition {
		return append(slices.Clone(c), metav1.Condition{Type: warning, Status: metav1.ConditionTrue, Reason: reason, Message: "m"})
	}
	const yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	tests := map[string]struct {
		steps [][]metav1.Condition
		want  []string
	}{
		"a new object becomes ready":          {[][]metav1.Condition{nil, ready(unknown, "Programming"), ready(yes, "Ready")}, nil},
		"a change is programmed":              {[][]metav1.Condition{ready(yes, "Ready"), ready(unknown, "Programming"), ready(yes, "Ready")}, nil},
		"a Secret is missing":                 {[][]metav1.Condition{nil, ready(no, "SecretNotFound")}, []string{"Warning SecretNotFound m"}},
		"it stays so":                         {[][]metav1.Condition{ready(no, "SecretNotFound"), ready(no, "SecretNotFound")}, nil},
		"another reason":                      {[][]metav1.Condition{ready(no, "SecretNotFound"), ready(no, "SecretNotShared")}, []string{"Warning SecretNotShared m"}},
		"mended, by way of Unknown":           {[][]metav1.Condition{nil, ready(no, "SecretNotFound"), ready(unknown, "Programming"), ready(yes, "Ready")}, []string{"Warning SecretNotFound m", "Normal Ready m"}},
		"mended after a restart":              {[][]metav1.Condition{ready(no, "SecretNotFound"), ready(yes, "Ready"), ready(yes, "Ready")}, []string{"Normal Ready m"}},
		"an academy warns once":               {[][]metav1.Condition{ready(yes, "Ready"), with(ready(yes, "Ready"), v1alpha1.ConditionNearCapacity, "NearCapacity"), with(ready(yes, "Ready"), v1alpha1.ConditionNearCapacity, "NearCapacity")}, []string{"Warning NearCapacity m"}},
		"of something worse":                  {[][]metav1.Condition{with(ready(yes, "Ready"), v1alpha1.ConditionNearCapacity, "NearCapacity"), with(ready(yes, "Ready"), v1alpha1.ConditionNearCapacity, "CapacityExceeded")}, []string{"Warning CapacityExceeded m"}},
		"of the same again after it was over": {[][]metav1.Condition{with(nil, v1alpha1.ConditionPublishingHeld, "X"), nil, with(nil, v1alpha1.ConditionPublishingHeld, "X")}, []string{"Warning X m"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			log := &eventLog{}
			a := &announcer{recorder: log}
			obj := &v1alpha1.LTIActivity{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
			for i := 1; i < len(test.steps); i++ {
				a.transitions("LTIActivity", obj, test.steps[i-1], test.steps[i])
				// The same once more, from a status that is older than the last write.
				a.transitions("LTIActivity", obj, test.steps[i-1], test.steps[i])
			}
			if !slices.Equal(*log, test.want) {
				t.Errorf("events %q, want %q", *log, test.want)
			}
		})
	}
}

func TestMessagesAreBounded(t *testing.T) {
	log := &eventLog{}
	(&announcer{recorder: log}).warn(&v1alpha1.LTIActivity{}, "R", strings.Repeat("é", 2000))
	note := strings.TrimPrefix((*log)[0], "Warning R ")
	if len(note) > 1024 || !utf8.ValidString(note) || len(note) < 1000 {
		t.Errorf("%d bytes", len(note))
	}
	(&announcer{recorder: log}).warn(&v1alpha1.LTIActivity{}, "R", "100 %s")
	if (*log)[1] != "Warning R 100 %s" {
		t.Errorf("a message is taken for a format: %q", (*log)[1])
	}
}

func TestWhichUpdatesAreLookedAt(t *testing.T) {
	tests := map[string]struct {
		change   func(*v1alpha1.LTIPlatform)
		relevant bool
	}{
		"nothing": {func(*v1alpha1.LTIPlatform) {}, false},
		"spec":    {func(p *v1alpha1.LTIPlatform) { p.Generation++ }, true},
		"a label": {func(p *v1alpha1.LTIPlatform) { p.Labels = map[string]string{"a": "b"} }, true},
		"status":  {func(p *v1alpha1.LTIPlatform) { p.Status.ObservedGeneration++ }, false},
		"rotate":  {func(p *v1alpha1.LTIPlatform) { p.Annotations = map[string]string{"lti-operator.io/rotate": "now"} }, true},
		"confirm-removal": {func(p *v1alpha1.LTIPlatform) {
			p.Annotations = map[string]string{v1alpha1.AnnotationConfirmRemoval: "x"}
		}, true},
		"an annotation is gone": {func(p *v1alpha1.LTIPlatform) { p.Annotations = nil }, false},
		"kubectl apply": {func(p *v1alpha1.LTIPlatform) {
			p.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "x"}
		}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := &v1alpha1.LTIPlatform{ObjectMeta: metav1.ObjectMeta{Generation: 1, Annotations: map[string]string{"other": "1"}}}
			after := before.DeepCopy()
			test.change(after)
			if got := relevant().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != test.relevant {
				t.Errorf("relevant = %v, want %v", got, test.relevant)
			}
		})
	}
}

func TestTheByteBudgetMayBeOverdrawn(t *testing.T) {
	fake := clocktesting.NewFakePassiveClock(time.Unix(0, 0))
	b := &byteBudget{clock: fake, tokens: budgetBurst, last: fake.Now()}
	for range 4 {
		if d := b.wait(); d != 0 {
			t.Fatalf("waits %v within the burst", d)
		}
		b.spend(1 << 20)
	}
	if d := b.wait(); d == 0 || d > 10*time.Millisecond {
		t.Errorf("waits %v at the end of the burst", d)
	}
	b.spend(2 << 20)
	if d := b.wait(); d < 2*time.Second || d > 2100*time.Millisecond {
		t.Errorf("waits %v for a debt of 2 MiB", d)
	}
	fake.SetTime(fake.Now().Add(b.wait()))
	if d := b.wait(); d != 0 {
		t.Errorf("still waits %v", d)
	}
	fake.SetTime(fake.Now().Add(time.Hour))
	b.spend(4<<20 + 1)
	if b.wait() == 0 {
		t.Error("an idle hour saves up more than the burst")
	}
}

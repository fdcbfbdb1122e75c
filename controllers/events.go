// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// recorder is what is used of the manager's event recorder (events.k8s.io).
type recorder interface {
	Eventf(regarding, related runtime.Object, eventType, reason, action, note string, args ...any)
}

// announcer makes events, on transitions only: each is a write, and who looks at events looks for what changed.
type announcer struct {
	recorder recorder

	mu sync.Mutex
	// said is the reason that was announced last, by object and condition type; empty once it is over. The status that a
	// reconcile starts from may be older than its own last write.
	said map[announcement]string
}

type announcement struct {
	kind, namespace, name, conditionType string
}

// action is what the operator was doing, as events.k8s.io wants to know it.
const action = "Reconcile"

// warn makes an event about something that somebody should look at. Messages name fields and objects, never values.
func (a *announcer) warn(obj runtime.Object, reason, message string) {
	a.event(obj, corev1.EventTypeWarning, reason, message)
}

// tell makes an event about something that went as it should.
func (a *announcer) tell(obj runtime.Object, reason, message string) {
	a.event(obj, corev1.EventTypeNormal, reason, message)
}

func (a *announcer) event(obj runtime.Object, eventType, reason, message string) {
	if a == nil || a.recorder == nil {
		return
	}
	a.recorder.Eventf(obj, nil, eventType, reason, action, "%s", truncate(message))
}

// transitions announces what a status has become: Ready turning False, for whichever reason, and True again after that;
// and the warnings of an academy. A first Ready is not news, and there may be thousands.
func (a *announcer) transitions(kind string, obj client.Object, before, after []metav1.Condition) {
	if a == nil {
		return
	}
	id := func(conditionType string) announcement {
		return announcement{kind, obj.GetNamespace(), obj.GetName(), conditionType}
	}
	was, is := meta.FindStatusCondition(before, v1alpha1.ConditionReady), meta.FindStatusCondition(after, v1alpha1.ConditionReady)
	failed := was != nil && was.Status == metav1.ConditionFalse
	if failed {
		a.remember(id(v1alpha1.ConditionReady), was.Reason, true)
	}
	switch {
	case is == nil:
	case is.Status == metav1.ConditionFalse:
		if a.remember(id(v1alpha1.ConditionReady), is.Reason, false) {
			a.warn(obj, is.Reason, is.Message)
		}
	case is.Status == metav1.ConditionTrue:
		if a.over(id(v1alpha1.ConditionReady)) {
			a.tell(obj, is.Reason, is.Message)
		}
	}
	for _, warning := range warningTypes {
		was, is := meta.FindStatusCondition(before, warning), meta.FindStatusCondition(after, warning)
		if was != nil {
			a.remember(id(warning), was.Reason, true)
		}
		if is == nil {
			a.over(id(warning))
		} else if a.remember(id(warning), is.Reason, false) {
			a.warn(obj, is.Reason, is.Message)
		}
	}
}

// remember notes what is so and tells whether that is news; onlyIfNew leaves alone what was noted before.
func (a *announcer) remember(id announcement, reason string, onlyIfNew bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.said == nil {
		a.said = map[announcement]string{}
	}
	known, ok := a.said[id]
	if ok && (onlyIfNew || known == reason) {
		return false
	}
	a.said[id] = reason
	return true
}

// over notes that something is not so any more, and tells whether it was.
func (a *announcer) over(id announcement) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.said[id] == "" {
		return false
	}
	a.said[id] = "" // and not deleted: an older status must not bring it back
	return true
}

// gone drops what was noted about an object.
func (a *announcer) gone(kind, namespace, name string) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, conditionType := range append([]string{v1alpha1.ConditionReady}, warningTypes...) {
		delete(a.said, announcement{kind, namespace, name, conditionType})
	}
}

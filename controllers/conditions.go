// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// report is what a reconcile found out; conditions are derived from it and from nothing else but what they were.
type report struct {
	// problem is set when the controller itself could not do its part, for example because a Secret of that name
	// belongs to somebody else.
	problem *problem
	// outcome is what the programmer knows; nil before it has seen this generation.
	outcome *Outcome
	// registration is set for kinds that have another party.
	registration bool
	// linkEnded says that the link by which the other party registers has ended; empty while it has not.
	linkEnded string
	// exposure is what came of spec.exposure; empty where nothing was asked for.
	exposure Exposure
	// warnings are what an academy warns of, by condition type. A type of warningTypes that is not in it is removed.
	warnings map[string]state
}

// warningTypes are conditions of an academy that are present only while they are True. They leave Ready as it is: the
// handlers serve the newest table that they were given.
var warningTypes = []string{v1alpha1.ConditionNearCapacity, v1alpha1.ConditionPublishingHeld}

// problem is something that a person in this cluster must mend. Text is written into a condition: it names fields and
// objects, never values.
type problem struct {
	reason, text string
}

// setConditions derives every condition of obj from r.
func setConditions(obj v1alpha1.Object, r report) {
	conditions := obj.GetConditions()
	generation := obj.GetGeneration()
	set := func(conditionType string, status metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&conditions, metav1.Condition{
			Type: conditionType, Status: status, Reason: reason, Message: truncate(message), ObservedGeneration: generation,
		})
	}
	accepted := acceptedCondition(r)
	set(v1alpha1.ConditionAccepted, accepted.status, accepted.reason, accepted.message)
	programmed := programmedCondition(conditions, generation, r)
	set(v1alpha1.ConditionProgrammed, programmed.status, programmed.reason, programmed.message)
	if r.registration && r.outcome != nil {
		registered := registeredCondition(r)
		set(v1alpha1.ConditionRegistered, registered.status, registered.reason, registered.message)
	}
	exposed := exposedCondition(conditions, generation, r)
	if exposed.status == "" {
		meta.RemoveStatusCondition(&conditions, v1alpha1.ConditionExposed)
	} else {
		set(v1alpha1.ConditionExposed, exposed.status, exposed.reason, exposed.message)
	}
	ready := readyCondition(accepted, exposed, programmed, r)
	set(v1alpha1.ConditionReady, ready.status, ready.reason, ready.message)
	// kstatus: abnormal-true conditions are absent while they are not True.
	meta.RemoveStatusCondition(&conditions, v1alpha1.ConditionStalled)
	meta.RemoveStatusCondition(&conditions, v1alpha1.ConditionReconciling)
	switch {
	case ready.status == metav1.ConditionFalse:
		set(v1alpha1.ConditionStalled, metav1.ConditionTrue, ready.reason, ready.message)
	case ready.status != metav1.ConditionTrue:
		set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, ready.reason, ready.message)
	}
	for _, warning := range warningTypes {
		if w, on := r.warnings[warning]; on {
			set(warning, w.status, w.reason, w.message)
		} else {
			meta.RemoveStatusCondition(&conditions, warning)
		}
	}
	obj.SetConditions(conditions)
	obj.SetObservedGeneration(generation)
}

// state is a condition without its type.
type state struct {
	status          metav1.ConditionStatus
	reason, message string
}

func acceptedCondition(r report) state {
	switch {
	case r.problem != nil:
		return state{metav1.ConditionFalse, r.problem.reason, r.problem.text}
	case r.outcome == nil:
		return state{metav1.ConditionUnknown, v1alpha1.ReasonPending, "not looked at yet"}
	}
	return state{r.outcome.Accepted, r.outcome.Reason, r.outcome.Message}
}

func registeredCondition(r report) state {
	reason, message := r.outcome.RegistrationReason, r.outcome.RegistrationMessage
	switch {
	case r.outcome.Registered:
		return state{metav1.ConditionTrue, v1alpha1.ReasonRegistered, cmp.Or(message, "the values of the other party are filled in")}
	case reason == v1alpha1.ReasonAwaitingRegistration && r.linkEnded != "":
		message = r.linkEnded
	}
	return state{
		metav1.ConditionFalse, cmp.Or(reason, v1alpha1.ReasonAwaitingRegistration),
		cmp.Or(message, "hand status.details to the other party's administrator and fill in what comes back"),
	}
}

// programmedCondition keeps True for a generation once it has been True: later restarts of a handler show on the
// academy only.
func programmedCondition(before []metav1.Condition, generation int64, r report) state {
	served := state{metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "every launch handler serves this generation"}
	was := meta.FindStatusCondition(before, v1alpha1.ConditionProgrammed)
	stays := was != nil && was.Status == metav1.ConditionTrue && was.ObservedGeneration == generation
	switch {
	case r.outcome == nil:
		if stays {
			return served
		}
		return state{metav1.ConditionUnknown, v1alpha1.ReasonPending, "not looked at yet"}
	case !r.outcome.Served:
		return state{metav1.ConditionFalse, r.outcome.Reason, "not served: " + r.outcome.Message}
	case r.outcome.Programmed, stays:
		return served
	case r.outcome.PublishError != nil:
		return state{metav1.ConditionFalse, v1alpha1.ReasonPublishFailed, "the routing table could not be written; it is tried again: " + r.outcome.PublishError.Error()}
	case r.outcome.Waiting != "":
		return state{metav1.ConditionUnknown, cmp.Or(r.outcome.WaitingReason, v1alpha1.ReasonProgramming), r.outcome.Waiting}
	}
	return state{metav1.ConditionUnknown, v1alpha1.ReasonProgramming, "published; waiting for the launch handlers"}
}

// exposedCondition keeps True for a generation while the API server cannot be asked. It has no status when nothing was asked
// for.
func exposedCondition(before []metav1.Condition, generation int64, r report) state {
	e := r.exposure
	was := meta.FindStatusCondition(before, v1alpha1.ConditionExposed)
	if e.Status == metav1.ConditionUnknown && was != nil && was.Status == metav1.ConditionTrue && was.ObservedGeneration == generation {
		return state{was.Status, was.Reason, was.Message}
	}
	return state{e.Status, e.Reason, e.Message}
}

func readyCondition(accepted, exposed, programmed state, r report) state {
	switch {
	case accepted.status != metav1.ConditionTrue:
		return accepted
	case exposed.status == metav1.ConditionFalse:
		return exposed
	case programmed.status != metav1.ConditionTrue:
		// Work under way is not a failure: False is for what somebody in this cluster must mend.
		return state{metav1.ConditionUnknown, programmed.reason, programmed.message}
	case exposed.status == metav1.ConditionUnknown:
		return exposed
	case r.outcome != nil && r.outcome.Deactivated:
		return state{metav1.ConditionTrue, v1alpha1.ReasonDeactivated, "switched off by spec.activation; launches get a page that says so"}
	}
	return state{metav1.ConditionTrue, v1alpha1.ReasonReady, "served by every launch handler"}
}

// nearlyFull is the fullness of a shard, in percent, from which an academy warns.
const nearlyFull = 80

// academyWarnings says what somebody should know who looks after the academy.
func academyWarnings(key AcademyKey, s Summary) map[string]state {
	warnings := map[string]state{}
	switch {
	case s.LeftOut > 0:
		warnings[v1alpha1.ConditionNearCapacity] = state{metav1.ConditionTrue, v1alpha1.ReasonCapacityExceeded, fmt.Sprintf(
			"the routing table is full: the newest %d resources are not served (their condition Accepted is False with reason CapacityExceeded); "+
				"delete what is not used any more, or move resources to a second LTIAcademy", s.LeftOut)}
	case s.FullestPercent >= nearlyFull:
		warnings[v1alpha1.ConditionNearCapacity] = state{metav1.ConditionTrue, v1alpha1.ReasonNearCapacity, fmt.Sprintf(
			"a shard of the routing table is %d %% full; when it is full the newest activities are not served: "+
				"delete what is not used any more, or move resources to a second LTIAcademy", s.FullestPercent)}
	}
	switch {
	case s.HeldReason != "":
		warnings[v1alpha1.ConditionPublishingHeld] = state{metav1.ConditionTrue, s.HeldReason, s.Held}
	case s.Removal != nil:
		warnings[v1alpha1.ConditionPublishingHeld] = state{metav1.ConditionTrue, v1alpha1.ReasonRemovalNotConfirmed, fmt.Sprintf(
			"%d of %d activities are gone at once; they stay served until %s, everything else changes meanwhile. "+
				"If this is a mistake, bring the resources back; if not, confirm it with: kubectl annotate ltiacademy %s -n %s --overwrite %s=%s",
			s.Removal.Gone, s.Removal.Before, s.RemovalUntil.UTC().Format(time.RFC3339), key.Name, key.Namespace, v1alpha1.AnnotationConfirmRemoval, s.Removal.Token)}
	}
	return warnings
}

// truncate keeps messages within what a condition may hold (32 KiB), an event (1 KiB), and a person reads.
func truncate(message string) string {
	const most, dots = 1024, "…"
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most-len(dots)], "") + dots
}

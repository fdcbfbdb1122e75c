// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Kept is what stays in the table although its resource is gone.
type Kept struct {
	Activities          []routing.Activity
	Credentials         []routing.Credential
	ExternalCredentials []routing.ExternalCredential
}

// fewActivities is the number of activities up to which removing most of them is nothing unusual.
const fewActivities = 10

// Removal is the disappearance of more than half of the activities of a table at once: more likely a mistake in a
// repository or a selector than what somebody wants.
type Removal struct {
	// Before is the number of activities in the live table, Gone the number that would be missing from it.
	Before, Gone int
	// Token names this removal. It depends on what is gone and on nothing else.
	Token string
	// Kept is what has to stay in the table to withhold the removal.
	Kept *Kept
}

// MassRemoval compares a compilation with the table that is live; nil when few activities, or at most half of them,
// would go. An activity that has a resource is not gone, whatever became of it.
func MassRemoval(live *routing.Table, out *Output) *Removal {
	if live == nil || out.Table == nil || len(live.Activities) < fewActivities {
		return nil
	}
	kept := &Kept{}
	gone := map[string]bool{}
	for _, a := range live.Activities {
		if _, exists := out.Results[Ref{v1alpha1.KindActivity, a.Name}]; !exists {
			gone[a.Name] = true
			kept.Activities = append(kept.Activities, a)
		}
	}
	if 2*len(gone) <= len(live.Activities) {
		return nil
	}
	for _, k := range live.Credentials {
		if gone[k.Activity] {
			kept.Credentials = append(kept.Credentials, k)
		}
	}
	for _, k := range live.ExternalCredentials {
		if gone[k.Activity] {
			kept.ExternalCredentials = append(kept.ExternalCredentials, k)
		}
	}
	names := make([]string, 0, len(gone))
	for name := range gone {
		names = append(names, name)
	}
	slices.Sort(names)
	sum := sha256.Sum256([]byte(strings.Join(names, "\n")))
	return &Removal{Before: len(live.Activities), Gone: len(gone), Token: hex.EncodeToString(sum[:6]), Kept: kept}
}

// Urgent tells whether a table takes something away from, or protects something better than, the one that is live:
// removals, deactivations, restrictions and changed keys. What is only added, or called otherwise, is not urgent.
func Urgent(live, next *routing.Table) bool {
	if live == nil || next == nil {
		return false
	}
	before, after := live.Academy, next.Academy
	before.Title, before.Generation = after.Title, after.Generation
	if !reflect.DeepEqual(before, after) || !reflect.DeepEqual(live.AcademyKeys, next.AcademyKeys) {
		return true
	}
	revoked := func(k routing.RevokedKey) (routing.RevokedKey, struct{}) { return k, struct{}{} }
	if lost(next.Revoked, live.Revoked, revoked) {
		return true
	}
	return lost(live.Platforms, next.Platforms, func(p routing.Platform) (string, routing.Platform) {
		name := p.Name
		p.Title, p.Generation = "", 0
		return name, p
	}) || lost(live.Tools, next.Tools, func(t routing.Tool) (string, routing.Tool) {
		name := t.Name
		t.Title, t.Generation = "", 0
		return name, t
	}) || lost(live.Activities, next.Activities, func(a routing.Activity) (string, opened) {
		return a.Name, howOpened(a)
	}) || lost(live.Credentials, next.Credentials, func(k routing.Credential) (string, routing.Credential) {
		return k.ConsumerKey, k
	}) || lost(live.ExternalCredentials, next.ExternalCredentials, func(k routing.ExternalCredential) (string, routing.ExternalCredential) {
		return k.Activity, k
	}) || lost(live.SigningKeys, next.SigningKeys, func(k routing.SigningKey) (string, routing.SigningKey) {
		return k.Kind + "/" + k.Name, k
	})
}

// opened is what restricts who opens an activity, or what is told to whom.
type opened struct {
	platforms map[string]string
	external  *routing.External
}

func howOpened(a routing.Activity) opened {
	if a.Share == nil {
		return opened{external: a.External}
	}
	// Which platforms may open it is all that restricts it.
	labels := map[string]string{"": ""}
	for k, v := range a.Share.PlatformLabels {
		labels[k] = v
	}
	return opened{platforms: labels, external: a.External}
}

// lost tells whether something of before is missing or different in after; view gives the name of a thing and what
// counts of it.
func lost[T any, K comparable, V any](before, after []T, view func(T) (K, V)) bool {
	index := make(map[K]V, len(after))
	for _, x := range after {
		name, v := view(x)
		index[name] = v
	}
	for _, x := range before {
		name, v := view(x)
		if now, ok := index[name]; !ok || !reflect.DeepEqual(v, now) {
			return true
		}
	}
	return false
}

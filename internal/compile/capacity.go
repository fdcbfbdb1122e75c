// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// fit makes the table one that can be published, whatever is in it: an entry that is absurdly large is refused alone,
// and where a shard is full the newest are left out. It runs on every compilation, so that a removal, a deactivation or
// a changed key never waits for somebody to make room.
func (c *compiler) fit() {
	if c.out.Table == nil {
		return
	}
	c.keep()
	c.refuseOversizedPlatforms()
	c.refuseOversizedTools()
	c.refuseOversizedActivities()
	c.refuseOversizedCredentials()
	full, err := routing.Overfull(c.out.Table)
	if err != nil {
		return // not a matter of size; publishing reports it
	}
	for _, p := range full {
		c.makeRoom(p)
	}
}

// keep adds what stays served although its resource is gone. It is the oldest there is: it has been published.
func (c *compiler) keep() {
	kept, table := c.in.Kept, c.out.Table
	if kept == nil {
		return
	}
	var activities []routing.Activity
	for _, a := range kept.Activities {
		if _, back := c.out.Results[Ref{v1alpha1.KindActivity, a.Name}]; !back {
			activities = append(activities, a)
		}
	}
	table.Activities = append(activities, table.Activities...)
	claimed := map[string]bool{}
	for _, credential := range table.Credentials {
		claimed[credential.ConsumerKey] = true
	}
	var credentials []routing.Credential
	for _, credential := range kept.Credentials {
		stays := slices.ContainsFunc(activities, func(a routing.Activity) bool { return a.Name == credential.Activity })
		if stays && !claimed[credential.ConsumerKey] {
			credentials = append(credentials, credential)
		}
	}
	table.Credentials = append(credentials, table.Credentials...)
}

// refuseOversizedPlatforms serves of an oversized platform what was handed out for it, its keys and whether it is
// switched on, and nothing that could be large.
func (c *compiler) refuseOversizedPlatforms() {
	for i, p := range c.out.Table.Platforms {
		size, oversized := oversized(p)
		if !oversized {
			continue
		}
		c.out.Table.Platforms[i] = routing.Platform{
			Name: p.Name, Title: p.Title, Active: p.Active, Generation: p.Generation, Realm: p.Realm, PublicKeys: p.PublicKeys,
		}
		c.dropCredentials(func(k routing.Credential) bool { return k.Activity == "" && k.Platform == p.Name })
		c.refuse(Ref{v1alpha1.KindPlatform, p.Name}, true, v1alpha1.ReasonOversized, tooLarge(size)+
			"; shorten spec.lti13.jwks (or give spec.lti13.jwksURL instead), spec.deployments, spec.frameAncestors or the labels; until then launches are refused")
	}
}

func (c *compiler) refuseOversizedTools() {
	c.out.Table.Tools = slices.DeleteFunc(c.out.Table.Tools, func(x routing.Tool) bool {
		size, oversized := oversized(x)
		if oversized {
			c.refuse(Ref{v1alpha1.KindTool, x.Name}, false, v1alpha1.ReasonOversized, tooLarge(size)+"; shorten its spec")
		}
		return oversized
	})
}

func (c *compiler) refuseOversizedActivities() {
	left := map[string]bool{}
	c.out.Table.Activities = slices.DeleteFunc(c.out.Table.Activities, func(a routing.Activity) bool {
		// There are thousands, and hardly any is near the limit: JSON takes at most 6 bytes for one.
		if a.Share == nil || len(a.Share.PlatformLabels) == 0 {
			url := 0
			if a.Share != nil {
				url = len(a.Share.TargetURL)
			}
			if 6*(len(a.Name)+len(a.Title)+len(a.Description)+url)+1024 < routing.MaxEntryBytes {
				return false
			}
		}
		size, oversized := oversized(a)
		if oversized {
			left[a.Name] = true
			c.refuse(Ref{v1alpha1.KindActivity, a.Name}, false, v1alpha1.ReasonOversized, tooLarge(size)+
				"; shorten spec.description or spec.share.platforms")
		}
		return oversized
	})
	if len(left) > 0 {
		c.dropCredentials(func(k routing.Credential) bool { return left[k.Activity] })
	}
}

// refuseOversizedCredentials closes LTI 1.2 only, as every other fault of credentials does.
func (c *compiler) refuseOversizedCredentials() {
	c.dropCredentials(func(k routing.Credential) bool {
		size := len(k.ConsumerKey)
		for _, secret := range k.Secrets {
			size += len(secret)
		}
		if size <= routing.MaxCredentialBytes {
			return false
		}
		ref := Ref{v1alpha1.KindActivity, k.Activity}
		if k.Activity == "" {
			ref = Ref{v1alpha1.KindPlatform, k.Platform}
		}
		c.refuse(ref, true, v1alpha1.ReasonOversized, fmt.Sprintf(
			"the LTI 1.2 credentials have %d bytes, at most %d are possible; put a shorter consumer key and secret into their Secret", size, routing.MaxCredentialBytes))
		return true
	})
}

// makeRoom leaves out of a shard what does not fit: the newest activities first, and if the rest is too much by itself,
// the newest platforms and tools. Which ones depends on their ages alone.
func (c *compiler) makeRoom(p routing.Place) {
	if routing.Fits(c.out.Table, p) {
		return
	}
	table := c.out.Table
	var names []string
	if p.Keys {
		for _, k := range table.Credentials {
			if k.Activity != "" && routing.ShardOf("activity", k.Activity, routing.KeyShards) == p.Number {
				names = append(names, k.Activity)
			}
		}
	} else {
		for _, a := range table.Activities {
			if routing.ShardOf("activity", a.Name, routing.RoutingShards) == p.Number {
				names = append(names, a.Name)
			}
		}
	}
	some := func(k int) *routing.Table { return without(table, nil, names[k:]) }
	if routing.Fits(some(0), p) {
		c.leaveOut(nil, names[longestThatFits(len(names), func(k int) bool { return routing.Fits(some(k), p) }):])
		return
	}
	// Only somebody who makes thousands of registrations, each as large as it may be, comes here.
	c.leaveOut(nil, names)
	table = c.out.Table
	var refs []Ref
	for _, platform := range table.Platforms {
		if p.Keys || routing.ShardOf("platform", platform.Name, routing.RoutingShards) == p.Number {
			refs = append(refs, Ref{v1alpha1.KindPlatform, platform.Name})
		}
	}
	for _, tool := range table.Tools {
		if p.Keys || routing.ShardOf("tool", tool.Name, routing.RoutingShards) == p.Number {
			refs = append(refs, Ref{v1alpha1.KindTool, tool.Name})
		}
	}
	ages := c.ages()
	slices.SortStableFunc(refs, func(a, b Ref) int {
		switch {
		case older(ages[a], ages[b]):
			return -1
		case older(ages[b], ages[a]):
			return 1
		}
		return 0
	})
	c.leaveOut(refs[longestThatFits(len(refs), func(k int) bool { return routing.Fits(without(table, refs[k:], nil), p) }):], nil)
}

func (c *compiler) ages() map[Ref]metav1.Object {
	ages := map[Ref]metav1.Object{}
	for _, p := range c.in.Platforms {
		ages[Ref{v1alpha1.KindPlatform, p.Name}] = p
	}
	for _, t := range c.in.Tools {
		ages[Ref{v1alpha1.KindTool, t.Name}] = t
	}
	return ages
}

// longestThatFits returns the length of the longest beginning of n things that fits. What it tries does not depend on n,
// so that one more thing at the end changes nothing for those before it.
func longestThatFits(n int, fits func(int) bool) int {
	low, high := 0, 1
	for high <= n && fits(high) {
		low, high = high, 2*high
	}
	// low fits, high does not, or is more than there is.
	for high-low > 1 {
		middle := (low + high) / 2
		if middle <= n && fits(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// without is a copy of the table that lacks some registrations and activities, with what belongs to them.
func without(t *routing.Table, registrations []Ref, activities []string) *routing.Table {
	gone := make(map[Ref]bool, len(registrations)+len(activities))
	for _, ref := range registrations {
		gone[ref] = true
	}
	for _, name := range activities {
		gone[Ref{v1alpha1.KindActivity, name}] = true
	}
	out := *t
	out.Platforms = slices.DeleteFunc(slices.Clone(t.Platforms), func(p routing.Platform) bool { return gone[Ref{v1alpha1.KindPlatform, p.Name}] })
	out.Tools = slices.DeleteFunc(slices.Clone(t.Tools), func(x routing.Tool) bool { return gone[Ref{v1alpha1.KindTool, x.Name}] })
	out.Activities = slices.DeleteFunc(slices.Clone(t.Activities), func(a routing.Activity) bool { return gone[Ref{v1alpha1.KindActivity, a.Name}] })
	out.Credentials = slices.DeleteFunc(slices.Clone(t.Credentials), func(k routing.Credential) bool {
		return gone[Ref{v1alpha1.KindActivity, k.Activity}] || k.Activity == "" && gone[Ref{v1alpha1.KindPlatform, k.Platform}]
	})
	out.SigningKeys = slices.DeleteFunc(slices.Clone(t.SigningKeys), func(k routing.SigningKey) bool {
		return k.Kind == routing.KindPlatform && gone[Ref{v1alpha1.KindPlatform, k.Name}] || k.Kind == routing.KindTool && gone[Ref{v1alpha1.KindTool, k.Name}]
	})
	return &out
}

func (c *compiler) leaveOut(registrations []Ref, activities []string) {
	c.out.Table = without(c.out.Table, registrations, activities)
	for _, name := range activities {
		registrations = append(registrations, Ref{v1alpha1.KindActivity, name})
	}
	for _, ref := range registrations {
		c.out.LeftOut++
		c.refuse(ref, false, v1alpha1.ReasonCapacityExceeded, fmt.Sprintf(
			"the routing table of LTIAcademy %s is full, and the newest resources are not served; delete what is not used any more, "+
				"shorten descriptions, or move resources to a second LTIAcademy (spec.academyRef)", c.in.AcademyName))
	}
}

// refuse replaces the verdict on a resource.
func (c *compiler) refuse(ref Ref, served bool, reason, message string) {
	r, ok := c.out.Results[ref]
	if !ok {
		return // kept although its resource is gone
	}
	r.Served = served
	r.apply(refused(reason, message))
	c.out.Results[ref] = r
}

func (c *compiler) dropCredentials(drop func(routing.Credential) bool) {
	c.out.Table.Credentials = slices.DeleteFunc(c.out.Table.Credentials, drop)
}

func oversized(entry any) (size int, is bool) {
	encoded, err := json.Marshal(entry)
	return len(encoded), err == nil && len(encoded) > routing.MaxEntryBytes
}

func tooLarge(size int) string {
	return fmt.Sprintf("it takes %d bytes in the routing table, at most %d are possible", size, routing.MaxEntryBytes)
}

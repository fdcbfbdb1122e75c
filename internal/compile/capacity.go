// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// fit makes the table one that can be published, whatever is in it: an entry that is absurdly large is refused alone,
// and where a shard is full the newest are left out. It runs on every compilation, so that a removal, a deactivation or
// a changed key never waits for somebody to make room. The table does not change after it.
func (c *compiler) fit() {
	if c.out.Table == nil {
		return
	}
	c.keep()
	c.refuseOversizedPlatforms()
	c.refuseOversizedTools()
	c.refuseOversizedActivities()
	c.refuseOversizedCredentials()
	set, full, err := c.in.Memo.packer.Pack(c.out.Table)
	if len(full) > 0 {
		for _, at := range full {
			c.makeRoom(at)
		}
		set, full, err = c.in.Memo.packer.Pack(c.out.Table)
	}
	if err == nil && len(full) > 0 {
		// What is left by now has a bound: the academy itself and its keys.
		err = fmt.Errorf("%w: %s", routing.ErrShardTooLarge, full[0])
	}
	c.out.Set, c.out.PackError = set, err
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
	stays := func(name string) bool {
		return slices.ContainsFunc(activities, func(a routing.Activity) bool { return a.Name == name })
	}
	var credentials []routing.Credential
	for _, credential := range kept.Credentials {
		if stays(credential.Activity) && !claimed[credential.ConsumerKey] {
			credentials = append(credentials, credential)
		}
	}
	table.Credentials = append(credentials, table.Credentials...)
	var external []routing.ExternalCredential
	for _, credential := range kept.ExternalCredentials {
		if stays(credential.Activity) {
			external = append(external, credential)
		}
	}
	table.ExternalCredentials = append(external, table.ExternalCredentials...)
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

// refuseOversizedTools does the same for tools.
func (c *compiler) refuseOversizedTools() {
	for i, t := range c.out.Table.Tools {
		size, oversized := oversized(t)
		if !oversized {
			continue
		}
		c.out.Table.Tools[i] = routing.Tool{Name: t.Name, Title: t.Title, Active: t.Active, Generation: t.Generation, PublicKeys: t.PublicKeys}
		c.refuse(Ref{v1alpha1.KindTool, t.Name}, true, v1alpha1.ReasonOversized, tooLarge(size)+
			"; shorten spec.lti13.jwks (or give spec.lti13.jwksURL instead) or spec.lti13.redirectURIs; until then launches are refused")
	}
}

func (c *compiler) refuseOversizedActivities() {
	left := map[string]bool{}
	c.out.Table.Activities = slices.DeleteFunc(c.out.Table.Activities, func(a routing.Activity) bool {
		// There are thousands, and hardly any is near the limit.
		if atMost(a) < routing.MaxEntryBytes {
			return false
		}
		size, oversized := oversized(a)
		if oversized {
			left[a.Name] = true
			c.refuse(Ref{v1alpha1.KindActivity, a.Name}, false, v1alpha1.ReasonOversized, tooLarge(size)+
				"; shorten spec.description, spec.share.platforms or the parameters of spec.external")
		}
		return oversized
	})
	if len(left) > 0 {
		c.dropCredentials(func(k routing.Credential) bool { return left[k.Activity] })
		c.dropExternalCredentials(func(k routing.ExternalCredential) bool { return left[k.Activity] })
	}
}

// atMost is a size that an activity does not reach in the table: JSON takes at most 6 bytes for one, and names of fields.
func atMost(a routing.Activity) int {
	size := len(a.Name) + len(a.Title) + len(a.Description)
	if s := a.Share; s != nil {
		size += len(s.TargetURL) + len(s.ClientID) + len(s.EnrolmentGroup)
		for k, v := range s.PlatformLabels {
			size += len(k) + len(v) + 1
		}
	}
	if e := a.External; e != nil {
		size += len(e.ReturnURL)
		var parameters []routing.Parameter
		if l := e.LTI12; l != nil {
			size += len(l.LaunchURL) + len(l.ResourceLinkID)
			parameters = l.Parameters
		}
		if l := e.LTI13; l != nil {
			size += len(l.Tool) + len(l.ResourceURL) + len(l.ResourceLinkID)
			parameters = l.Parameters
		}
		for _, p := range parameters {
			size += len(p.Name) + len(p.Value) + 4
		}
	}
	return 6*size + 1024
}

// refuseOversizedCredentials closes LTI 1.2 only, as every other fault of credentials does.
func (c *compiler) refuseOversizedCredentials() {
	oversized := func(owner Ref, consumerKey string, secrets []string) bool {
		size := len(consumerKey)
		for _, secret := range secrets {
			size += len(secret)
		}
		if size <= routing.MaxCredentialBytes {
			return false
		}
		c.refuse(owner, true, v1alpha1.ReasonOversized, fmt.Sprintf(
			"the LTI 1.2 credentials have %d bytes, at most %d are possible; put a shorter consumer key and secret into their Secret", size, routing.MaxCredentialBytes))
		return true
	}
	c.dropCredentials(func(k routing.Credential) bool { return oversized(ownerOf(k), k.ConsumerKey, k.Secrets) })
	c.dropExternalCredentials(func(k routing.ExternalCredential) bool {
		return oversized(Ref{v1alpha1.KindActivity, k.Activity}, k.ConsumerKey, k.Secrets)
	})
}

// makeRoom leaves out of a shard the newest of what does not fit: whoever adds something never takes away what is older,
// be it an activity or the registration of a whole system. What is left out of one shard is out of the table, with its
// keys, and so makes room in others too.
func (c *compiler) makeRoom(at routing.Place) {
	if c.in.Memo.packer.Fits(c.out.Table, at) {
		return
	}
	part := routing.Only(c.out.Table, at)
	members := c.members(part, at.Keys)
	some := func(k int) bool { return c.in.Memo.packer.Fits(without(part, members[k:]), at) }
	c.leaveOut(members[longestThatFits(len(members), some):])
}

// members are the resources that stand in one shard, the oldest first.
func (c *compiler) members(part *routing.Table, inKeys bool) []Ref {
	here := map[Ref]bool{}
	if inKeys {
		for _, k := range part.Credentials {
			here[ownerOf(k)] = true
		}
		for _, k := range part.ExternalCredentials {
			here[Ref{v1alpha1.KindActivity, k.Activity}] = true
		}
		for _, k := range part.SigningKeys {
			here[Ref{resourceKind(k.Kind), k.Name}] = true
		}
	} else {
		for _, p := range part.Platforms {
			here[Ref{v1alpha1.KindPlatform, p.Name}] = true
		}
		for _, t := range part.Tools {
			here[Ref{v1alpha1.KindTool, t.Name}] = true
		}
		for _, a := range part.Activities {
			here[Ref{v1alpha1.KindActivity, a.Name}] = true
		}
	}
	type member struct {
		metav1.Object
		ref Ref
	}
	var present []member
	add := func(ref Ref, object metav1.Object) {
		if here[ref] {
			delete(here, ref)
			present = append(present, member{object, ref})
		}
	}
	for _, p := range c.in.Platforms {
		add(Ref{v1alpha1.KindPlatform, p.Name}, p)
	}
	for _, t := range c.in.Tools {
		add(Ref{v1alpha1.KindTool, t.Name}, t)
	}
	for _, a := range c.in.Activities {
		add(Ref{v1alpha1.KindActivity, a.Name}, a)
	}
	slices.SortStableFunc(present, compareAge[member])
	// What is kept although its resource is gone has been published: there is nothing older.
	refs := slices.SortedFunc(maps.Keys(here), func(a, b Ref) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	for _, m := range present {
		refs = append(refs, m.ref)
	}
	return refs
}

// ownerOf is the resource that has an LTI 1.2 credential.
func ownerOf(k routing.Credential) Ref {
	if k.Activity == "" {
		return Ref{v1alpha1.KindPlatform, k.Platform}
	}
	return Ref{v1alpha1.KindActivity, k.Activity}
}

// resourceKind is the kind of the resource that has a registration.
func resourceKind(registration string) string {
	if registration == routing.KindTool {
		return v1alpha1.KindTool
	}
	return v1alpha1.KindPlatform
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

// without is a copy of the table that lacks some resources, with what belongs to them.
func without(t *routing.Table, resources []Ref) *routing.Table {
	gone := make(map[Ref]bool, len(resources))
	for _, ref := range resources {
		gone[ref] = true
	}
	out := *t
	out.Platforms = slices.DeleteFunc(slices.Clone(t.Platforms), func(p routing.Platform) bool { return gone[Ref{v1alpha1.KindPlatform, p.Name}] })
	out.Tools = slices.DeleteFunc(slices.Clone(t.Tools), func(x routing.Tool) bool { return gone[Ref{v1alpha1.KindTool, x.Name}] })
	out.Activities = slices.DeleteFunc(slices.Clone(t.Activities), func(a routing.Activity) bool { return gone[Ref{v1alpha1.KindActivity, a.Name}] })
	out.Credentials = slices.DeleteFunc(slices.Clone(t.Credentials), func(k routing.Credential) bool { return gone[ownerOf(k)] })
	out.ExternalCredentials = slices.DeleteFunc(slices.Clone(t.ExternalCredentials), func(k routing.ExternalCredential) bool {
		return gone[Ref{v1alpha1.KindActivity, k.Activity}]
	})
	out.SigningKeys = slices.DeleteFunc(slices.Clone(t.SigningKeys), func(k routing.SigningKey) bool { return gone[Ref{resourceKind(k.Kind), k.Name}] })
	return &out
}

func (c *compiler) leaveOut(resources []Ref) {
	c.out.Table = without(c.out.Table, resources)
	for _, ref := range resources {
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

func (c *compiler) dropExternalCredentials(drop func(routing.ExternalCredential) bool) {
	c.out.Table.ExternalCredentials = slices.DeleteFunc(c.out.Table.ExternalCredentials, drop)
}

func oversized(entry any) (size int, is bool) {
	encoded, err := json.Marshal(entry)
	return len(encoded), err == nil && len(encoded) > routing.MaxEntryBytes
}

func tooLarge(size int) string {
	return fmt.Sprintf("it takes %d bytes in the routing table, at most %d are possible", size, routing.MaxEntryBytes)
}

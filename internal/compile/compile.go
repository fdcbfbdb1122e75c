// SPDX-License-Identifier: Apache-2.0

// Package compile turns the resources of one academy into the routing table of its launch handler and one result per
// resource. It is pure: same input, same output, whatever the order of the lists; it never looks at status.
package compile

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Input is everything in one namespace that concerns one academy.
type Input struct {
	Namespace string
	// AcademyName is the name that the resources refer to; Academy is nil while it does not exist.
	AcademyName string
	Academy     *v1alpha1.LTIAcademy
	// OtherAcademies are the other academies that the operator sees, in any namespace.
	OtherAcademies []*v1alpha1.LTIAcademy
	Platforms      []*v1alpha1.LTIPlatform
	Tools          []*v1alpha1.LTITool
	Activities     []*v1alpha1.LTIActivity
	// Secrets are the Secrets of the namespace that carry the consent label, by name.
	Secrets map[string]*corev1.Secret
	// Unshared are the names of Secrets that are referred to and exist, but lack the consent label.
	Unshared map[string]bool
	// Kept, if set, stays in the table although its resources are gone.
	Kept *Kept
	// Memo, if set, saves work that was done for the last table. It changes no result.
	Memo *Memo
}

// Ref names a resource within the namespace of the input.
type Ref struct {
	Kind string
	Name string
}

// Result is what the compiler found out about one resource.
type Result struct {
	Generation int64
	// Accepted, Reason and Message become the condition Accepted. Unknown means that something the operator makes
	// itself is not there yet.
	Accepted metav1.ConditionStatus
	Reason   string
	Message  string
	// Awaits is the Secret, made by the operator itself, that Accepted is Unknown for; empty otherwise.
	Awaits string
	// Deactivated is set when the resource is switched off by its own spec.
	Deactivated bool
	// Registered is set for platforms and tools whose other side has filled in its values. RegistrationReason and
	// RegistrationMessage say more about it; empty for what is always said.
	Registered                              bool
	RegistrationReason, RegistrationMessage string
	// Served is set when the table holds the resource at this generation.
	Served bool

	PlatformDetails *v1alpha1.PlatformDetails
	PlatformLTI12   *v1alpha1.PlatformLTI12Status
	ToolDetails     *v1alpha1.ToolDetails
	LTI12           *v1alpha1.ActivityLTI12Status
	LTI13           *v1alpha1.ActivityLTI13Status
	External        *v1alpha1.ActivityExternalStatus
	// PlatformRegistration and ToolRegistration are set while spec asks for dynamic registration.
	PlatformRegistration *v1alpha1.PlatformRegistrationStatus
	ToolRegistration     *v1alpha1.ToolRegistrationStatus
	Keys                 []v1alpha1.SigningKey
	// NextRotation is when a next key signs, or is to be made; nil when neither is known.
	NextRotation *metav1.Time
}

// Output is a routing table and what became of each resource.
type Output struct {
	// Table is nil when there is nothing to serve: no academy, or one that is not accepted.
	Table *routing.Table
	// Set is the table as it is published. PackError is why there is none although there is a table; that is never for
	// the size of what is in it.
	Set       *routing.Set
	PackError error
	Results   map[Ref]Result
	// LeftOut is the number of resources that the table has no room for.
	LeftOut int
}

// Compile builds the table. A resource that is not accepted is left out, or served without the part that is broken; it
// never takes another one down.
func Compile(in Input) *Output {
	in.Platforms, in.Tools, in.Activities = byAge(in.Platforms), byAge(in.Tools), byAge(in.Activities)
	if in.Memo == nil {
		in.Memo = &Memo{}
	}
	in.Memo.begin()
	c := &compiler{in: in, out: &Output{Results: make(map[Ref]Result, 1+len(in.Platforms)+len(in.Tools)+len(in.Activities))}}
	c.academy()
	c.lti12 = c.credentials()
	if c.out.Table != nil {
		c.out.Table.Credentials = make([]routing.Credential, 0, len(c.lti12))
	}
	c.platforms()
	c.tools()
	c.activities()
	c.fit()
	return c.out
}

type compiler struct {
	// in has its platforms, tools and activities ordered by age: of two that claim the same thing the older one wins.
	in  Input
	out *Output
	// url is the academy's public address; empty while there is none.
	url string
	// lti12 holds the LTI 1.2 credentials of every resource that has some.
	lti12 map[Ref]credential
	// revoked are keys of the academy that were taken away at once.
	revoked []routing.RevokedKey
}

// verdict is the outcome of checking one thing; the zero value means accepted.
type verdict struct {
	status  metav1.ConditionStatus
	reason  string
	message string
	// awaits is the Secret that is being made.
	awaits string
}

func refused(reason, message string) verdict {
	return verdict{status: metav1.ConditionFalse, reason: reason, message: message}
}

// pending waits for a Secret that the operator makes.
func pending(secret, message string) verdict {
	return verdict{status: metav1.ConditionUnknown, reason: v1alpha1.ReasonPending, message: message, awaits: secret}
}

func (v verdict) ok() bool { return v.status == "" }

// apply writes the first verdict that is not ok into the result; accepted when all are.
func (r *Result) apply(verdicts ...verdict) {
	for _, v := range verdicts {
		if !v.ok() {
			r.Accepted, r.Reason, r.Message, r.Awaits = v.status, v.reason, v.message, v.awaits
			return
		}
	}
	r.Accepted, r.Reason, r.Message, r.Awaits = metav1.ConditionTrue, v1alpha1.ReasonAccepted, "the spec is valid and everything it refers to exists", ""
}

// Equal tells whether there is nothing new in another result. There are thousands, and hardly any differs.
func (r *Result) Equal(other *Result) bool {
	return r.Generation == other.Generation && r.Accepted == other.Accepted && r.Reason == other.Reason && r.Message == other.Message &&
		r.Awaits == other.Awaits && r.Deactivated == other.Deactivated && r.Registered == other.Registered && r.Served == other.Served &&
		r.RegistrationReason == other.RegistrationReason && r.RegistrationMessage == other.RegistrationMessage &&
		reflect.DeepEqual(r.PlatformRegistration, other.PlatformRegistration) && reflect.DeepEqual(r.ToolRegistration, other.ToolRegistration) &&
		equal(r.LTI12, other.LTI12) && equal(r.LTI13, other.LTI13) && equal(r.External, other.External) && equal(r.PlatformLTI12, other.PlatformLTI12) &&
		r.NextRotation.Equal(other.NextRotation) && equal(r.ToolDetails, other.ToolDetails) &&
		reflect.DeepEqual(r.PlatformDetails, other.PlatformDetails) && reflect.DeepEqual(r.Keys, other.Keys)
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// byAge orders resources, the oldest first.
func byAge[T metav1.Object](in []T) []T {
	out := slices.Clone(in)
	slices.SortStableFunc(out, compareAge[T])
	return out
}

func compareAge[T metav1.Object](a, b T) int {
	at, bt := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	return cmp.Or(at.Compare(bt.Time), cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}

func older(a, b metav1.Object) bool { return compareAge(a, b) < 0 }

// ReferredSecrets are the names of the Secrets that specs refer to, without the ones that the operator makes.
func (in *Input) ReferredSecrets() []string {
	seen := map[string]bool{}
	if in.Academy != nil {
		for _, client := range in.Academy.Spec.Clients {
			seen[client.ClientSecretRef.Name] = true
		}
		if l := in.Academy.Spec.Learners; l != nil {
			seen[l.OIDC.ClientSecretRef.Name] = true
		}
		if p := in.Academy.Spec.Provisioning; p != nil {
			seen[p.SCIM.TokenSecretRef.Name] = true
		}
		if r := in.Academy.Spec.Results; r != nil {
			seen[r.Webhook.SigningSecretRef.Name] = true
		}
	}
	for _, p := range in.Platforms {
		if name, generated := p.LTI12SecretName(); p.Spec.LTI12 != nil && !generated {
			seen[name] = true
		}
		if name, generated := p.SigningKeySecretName(); !generated {
			seen[name] = true
		}
	}
	for _, t := range in.Tools {
		if name, generated := t.SigningKeySecretName(); !generated {
			seen[name] = true
		}
	}
	for _, a := range in.Activities {
		if name, generated := a.LTI12SecretName(); a.Spec.Share != nil && !generated {
			seen[name] = true
		}
		if name := a.ExternalSecretName(); name != "" {
			seen[name] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

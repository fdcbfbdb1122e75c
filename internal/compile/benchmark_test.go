// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// manyActivities is an academy of ordinary size: 100 platforms and 10,000 activities, each with credentials of its own.
func manyActivities(b *testing.B) Input {
	b.Helper()
	in := readCase(b, "everything-ready")
	crowd(&in, rand.New(rand.NewPCG(1, 1)), 10_000, 0)
	for i := range 100 {
		p := in.Platforms[0].DeepCopy()
		secret := in.Secrets[SigningKeySecretName(v1alpha1.KindPlatform, p.Name)].DeepCopy()
		p.Name = fmt.Sprintf("university-%03d", i)
		p.Spec.LTI13.ClientID = fmt.Sprint("client-", i)
		p.Spec.LTI12 = nil
		secret.Name = SigningKeySecretName(v1alpha1.KindPlatform, p.Name)
		in.Platforms, in.Secrets[secret.Name] = append(in.Platforms, p), secret
	}
	for i, a := range in.Activities {
		a.Spec.Title = fmt.Sprintf("Working safely at height, part %d", i)
		if a.Spec.Share != nil {
			a.Spec.Share.TargetURL = v1alpha1.PeerURL(fmt.Sprintf("https://academy.example/courses/%d/versions/%d", i, 1))
		}
	}
	return in
}

// BenchmarkOneChange is what the operator does between a change of one activity and the first write of a publish.
func BenchmarkOneChange(b *testing.B) {
	in := manyActivities(b)
	activities := slices.Clone(in.Activities)
	in.Memo = &Memo{}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		changed := activities[i%len(activities)].DeepCopy()
		changed.Generation++
		changed.Spec.Description = fmt.Sprint("changed ", i)
		in.Activities = slices.Clone(activities)
		in.Activities[i%len(activities)] = changed
		if out := Compile(in); out.Set == nil || out.LeftOut > 0 {
			b.Fatal(out.PackError, out.LeftOut)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/keys"
)

// Whatever was compiled before, also of other resources, one input has one output.
func TestAMemoChangesNoResult(t *testing.T) {
	memo := &Memo{}
	for _, name := range []string{"everything-ready", "academy-deactivated", "everything-ready"} {
		in := readCase(t, name)
		crowd(&in, mathrand.New(mathrand.NewPCG(1, 1)), 50, 100)
		compare := func(what string) {
			t.Helper()
			in.Memo = nil
			want := Compile(in)
			in.Memo = memo
			if diff := difference(want, Compile(in)); diff != "" {
				t.Fatalf("%s, %s: %.500s", name, what, diff)
			}
		}
		compare("as it is")
		in.Activities[3] = in.Activities[3].DeepCopy()
		in.Activities[3].Spec.Title = "Another title"
		compare("an activity changed")

		secretName := SigningKeySecretName(v1alpha1.KindPlatform, in.Platforms[0].Name)
		pem, err := keys.NewSigningKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		before := in.Secrets[secretName]
		in.Secrets[secretName] = before.DeepCopy()
		in.Secrets[secretName].Data[v1alpha1.SecretKeyPrivateKey] = pem
		compare("another signing key")
		in.Secrets[secretName].CreationTimestamp = metav1.NewTime(time.Unix(1_700_000_000, 0))
		compare("its Secret is another one")
		in.Secrets[secretName].Data[v1alpha1.SecretKeyPrivateKey] = []byte("not a key")
		compare("a broken signing key")
		in.Secrets[secretName] = before
		compare("the former signing key")
		delete(in.Secrets, secretName)
		compare("no signing key")
		in.Activities = slices.Clone(in.Activities[1:])
		compare("an activity less")
	}
}

// What is new in a result decides whether status is looked at.
func TestEveryFieldOfAResultCounts(t *testing.T) {
	base := func() Result {
		return Result{
			Generation: 1, Accepted: metav1.ConditionTrue, Reason: "a", Message: "b",
			PlatformDetails:      &v1alpha1.PlatformDetails{Domain: "d", AliasRedirectURIs: []string{"e"}},
			PlatformLTI12:        &v1alpha1.PlatformLTI12Status{CredentialsSecretName: "f"},
			ToolDetails:          &v1alpha1.ToolDetails{ClientID: "g"},
			LTI12:                &v1alpha1.ActivityLTI12Status{LaunchURL: "h"},
			LTI13:                &v1alpha1.ActivityLTI13Status{ResourceURL: "i"},
			External:             &v1alpha1.ActivityExternalStatus{StartURL: "k"},
			PlatformRegistration: &v1alpha1.PlatformRegistrationStatus{Known: []v1alpha1.KnownPlatformRegistration{{Issuer: "l"}}},
			ToolRegistration:     &v1alpha1.ToolRegistrationStatus{Known: []v1alpha1.KnownToolRegistration{{Name: "m"}}},
			Keys:                 []v1alpha1.SigningKey{{KeyID: "j"}},
			NextRotation:         new(metav1.NewTime(time.Unix(1, 0))),
		}
	}
	a, b := base(), base()
	if !a.Equal(&b) {
		t.Fatal("two equal results differ")
	}
	for i, change := range []func(*Result){
		func(r *Result) { r.Generation++ },
		func(r *Result) { r.Accepted = metav1.ConditionFalse },
		func(r *Result) { r.Reason = "x" },
		func(r *Result) { r.Message = "x" },
		func(r *Result) { r.Awaits = "x" },
		func(r *Result) { r.Deactivated = true },
		func(r *Result) { r.Registered = true },
		func(r *Result) { r.RegistrationReason = "x" },
		func(r *Result) { r.RegistrationMessage = "x" },
		func(r *Result) { r.PlatformRegistration.Known[0].Issuer = "x" },
		func(r *Result) { r.PlatformRegistration = nil },
		func(r *Result) { r.ToolRegistration.Known[0].Name = "x" },
		func(r *Result) { r.Served = true },
		func(r *Result) { r.PlatformDetails.AliasRedirectURIs[0] = "x" },
		func(r *Result) { r.PlatformDetails = nil },
		func(r *Result) { r.PlatformLTI12.CredentialsSecretName = "x" },
		func(r *Result) { r.ToolDetails.ClientID = "x" },
		func(r *Result) { r.LTI12.LaunchURL = "x" },
		func(r *Result) { r.LTI12 = nil },
		func(r *Result) { r.LTI13.ResourceURL = "x" },
		func(r *Result) { r.External.StartURL = "x" },
		func(r *Result) { r.External = nil },
		func(r *Result) { r.Keys[0].State = v1alpha1.KeyState("x") },
		func(r *Result) { r.NextRotation = new(metav1.NewTime(time.Unix(2, 0))) },
		func(r *Result) { r.NextRotation = nil },
	} {
		changed := base()
		change(&changed)
		if changed.Equal(&a) || a.Equal(&changed) {
			t.Error("not noticed: ", fmt.Sprint(i), cmp.Diff(a, changed))
		}
	}
}

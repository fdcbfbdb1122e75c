// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// noise is text that hardly compresses.
func noise(r *rand.Rand, n int) string {
	b := make([]byte, n*3/4)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return base64.StdEncoding.EncodeToString(b)
}

// crowd adds n activities, the later the younger, each with a description of so many bytes.
func crowd(in *Input, r *rand.Rand, n, size int) {
	for i := range n {
		a := in.Activities[0].DeepCopy()
		a.Name = fmt.Sprintf("crowd-%04d", i)
		a.CreationTimestamp = metav1.Unix(1<<31+int64(i/3), 0) // some of the same age
		a.Spec.Share.LTI12 = nil
		a.Spec.Description = noise(r, size)
		in.Activities = append(in.Activities, a)
		name, _ := a.LTI12SecretName()
		in.Secrets[name] = in.Secrets[firstCredential(in)].DeepCopy()
		in.Secrets[name].Name = name
		in.Secrets[name].Data = map[string][]byte{
			v1alpha1.SecretKeyConsumerKey: []byte("consumer-" + a.Name), v1alpha1.SecretKeySharedSecret: []byte(noise(r, 40)),
		}
	}
}

func firstCredential(in *Input) string {
	for name, s := range in.Secrets {
		if len(s.Data[v1alpha1.SecretKeyConsumerKey]) > 0 {
			return name
		}
	}
	panic("no credentials in the case")
}

// leftOut are the activities that got no room.
func leftOut(t *testing.T, o *Output) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for ref, r := range o.Results {
		if r.Reason == v1alpha1.ReasonCapacityExceeded {
			if r.Accepted != metav1.ConditionFalse || r.Served || !strings.Contains(r.Message, "spec.academyRef") {
				t.Errorf("%s %s: %+v", ref.Kind, ref.Name, r)
			}
			out[ref.Name] = true
		}
	}
	if len(out) != o.LeftOut {
		t.Errorf("%d resources are said to be left out, %d are", o.LeftOut, len(out))
	}
	return out
}

func TestWhenATableIsFullTheNewestActivitiesAreLeftOut(t *testing.T) {
	for _, seed := range []uint64{1} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			in := readCase(t, "everything-ready")
			crowd(&in, rand.New(rand.NewPCG(seed, 1)), 110, 60_000)
			out := Compile(in)
			left := leftOut(t, out)
			if len(left) < 5 || len(left) > 60 {
				t.Fatalf("%d of 110 activities are left out", len(left))
			}
			if _, err := routing.Split(out.Table); err != nil {
				t.Fatalf("the table cannot be published: %v", err)
			}
			// In every shard, no activity that is left out is older than one that is served.
			for i := range routing.RoutingShards {
				var full bool
				for _, a := range byAge(in.Activities) {
					if routing.ShardOf("activity", a.Name, routing.RoutingShards) != i {
						continue
					}
					if full && !left[a.Name] {
						t.Errorf("shard %d: %s is served, but an older activity is not", i, a.Name)
					}
					full = full || left[a.Name]
				}
			}
			for _, k := range out.Table.Credentials {
				if left[k.Activity] {
					t.Errorf("the key of %s, which is left out, is in the table", k.Activity)
				}
			}
			// The order of the lists does not matter.
			shuffled := in
			shuffled.Activities = shuffle(in.Activities, seed+7)
			if diff := difference(out, Compile(shuffled)); diff != "" {
				t.Errorf("another order gives another output: %.500s", diff)
			}
			// A younger one changes nothing for those that are there.
			younger := in
			younger.Activities = slices.Clone(in.Activities)
			crowd(&younger, rand.New(rand.NewPCG(seed, 2)), 1, 60_000)
			last := younger.Activities[len(younger.Activities)-1]
			last.Name, last.CreationTimestamp = "zz-youngest", metav1.Unix(1<<32, 0)
			after := leftOut(t, Compile(younger))
			delete(after, "zz-youngest")
			if diff := cmp.Diff(left, after); diff != "" {
				t.Errorf("one more activity changed which older ones are served: %s", diff)
			}
			// Whatever is removed or switched off, there is a table; and room that is made is used.
			fewer := in
			fewer.Activities = slices.Clone(in.Activities[:len(in.Activities)-60])
			fewer.Platforms = slices.Clone(in.Platforms)
			fewer.Platforms[0] = fewer.Platforms[0].DeepCopy()
			fewer.Platforms[0].Spec.Activation = v1alpha1.Deactivated
			made := Compile(fewer)
			if len(leftOut(t, made)) != 0 {
				t.Error("activities are left out although there is room")
			}
			if i := slices.IndexFunc(made.Table.Platforms, func(p routing.Platform) bool { return p.Name == fewer.Platforms[0].Name }); made.Table.Platforms[i].Active {
				t.Error("the deactivation is not in the table")
			}
		})
	}
}

// Key shards fill up by thousands of small secrets.
func TestAFullKeyShardLeavesOutItsActivities(t *testing.T) {
	in := readCase(t, "everything-ready")
	r := rand.New(rand.NewPCG(1, 1))
	crowd(&in, r, 400, 100)
	for _, a := range in.Activities {
		name, _ := a.LTI12SecretName()
		if strings.HasPrefix(a.Name, "crowd-") {
			in.Secrets[name].Data[v1alpha1.SecretKeySharedSecret] = []byte(noise(r, 7000))
		}
	}
	out := Compile(in)
	left := leftOut(t, out)
	if len(left) == 0 {
		t.Fatal("nothing is left out")
	}
	if _, err := routing.Split(out.Table); err != nil {
		t.Fatal(err)
	}
	for _, a := range out.Table.Activities {
		if left[a.Name] {
			t.Errorf("%s is in the table without its key", a.Name)
		}
	}
}

// externalActivity adds an activity that is opened with a key of another system.
func externalActivity(in *Input, name, secret string) *v1alpha1.LTIActivity {
	if in.Academy.Spec.Learners == nil {
		in.Academy = in.Academy.DeepCopy()
		in.Academy.Spec.Learners = &v1alpha1.AcademyLearners{OIDC: v1alpha1.LearnersOIDC{
			IssuerURL: "https://id.acme.example", ClientID: "launch-handler", ClientSecretRef: v1alpha1.SecretReference{Name: "academy-app"},
		}}
	}
	a := &v1alpha1.LTIActivity{Spec: v1alpha1.LTIActivitySpec{Title: "T", Type: v1alpha1.ELearning, External: &v1alpha1.ActivityExternal{
		LTI12: &v1alpha1.ExternalLTI12{LaunchURL: "https://a.example", ResourceLinkID: "1", CredentialsSecretRef: v1alpha1.SecretReference{Name: secret}},
	}}}
	a.Name, a.CreationTimestamp = name, metav1.Unix(1<<31+int64(len(in.Activities)), 0)
	in.Activities = append(in.Activities, a)
	in.Secrets[secret] = in.Secrets[firstCredential(in)].DeepCopy()
	in.Secrets[secret].Name = secret
	return a
}

// Credentials of other systems fill key shards in the same way.
func TestAFullKeyShardLeavesOutExternalActivities(t *testing.T) {
	in := readCase(t, "everything-ready")
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 400 {
		name := fmt.Sprintf("theirs-%04d", i)
		externalActivity(&in, name, name)
		in.Secrets[name].Data[v1alpha1.SecretKeySharedSecret] = []byte(noise(r, 7000))
	}
	out := Compile(in)
	left := leftOut(t, out)
	if out.Set == nil || len(left) == 0 || left["ladder-check"] || left["working-at-height"] {
		t.Fatalf("left out are %v, error %v", left, out.PackError)
	}
	for _, k := range out.Table.ExternalCredentials {
		if left[k.Activity] {
			t.Errorf("the key of %s, which is left out, is in the table", k.Activity)
		}
	}
	if got, want := len(out.Table.ExternalCredentials), 400-len(left); got != want {
		t.Errorf("%d keys of other systems are in the table, want %d", got, want)
	}
}

// What is not looked at closely is smaller than it is taken for.
func TestNoActivityIsLargerThanItIsTakenFor(t *testing.T) {
	worst := strings.Repeat("\x01", 500)
	parameters := make([]routing.Parameter, 64)
	labels := map[string]string{}
	for i := range parameters {
		parameters[i] = routing.Parameter{Name: "<", Value: worst[:i]}
		labels[fmt.Sprint("<", i)] = "<"
	}
	for name, a := range map[string]routing.Activity{
		"bare": {},
		"shared": {
			Name: worst, Title: worst, Description: worst, Type: "LearningPlaylist", DurationMinutes: 100_000, Generation: 1 << 62,
			Share: &routing.Share{
				TargetURL: worst, Presentation: routing.PresentationNewWindow, SignIn: routing.SignInOpenIDConnect, ClientID: worst, Grade: "Completion",
				LineItem: routing.LineItemFromPlatform, EnrolmentGroup: worst, PlatformLabels: labels,
			},
		},
		"by a form": {Name: worst, External: &routing.External{
			Presentation: routing.PresentationNewWindow, ReturnURL: worst,
			LTI12: &routing.ExternalLTI12{LaunchURL: worst, ResourceLinkID: worst, Parameters: parameters, Privacy: routing.Privacy{WithholdName: true, WithholdEmail: true}},
		}},
		"at a tool": {Name: worst, MinimumScore: 100, External: &routing.External{
			Presentation: routing.PresentationNewWindow, ReturnURL: worst,
			LTI13: &routing.ExternalLTI13{Tool: worst, ResourceURL: worst, ResourceLinkID: worst, Parameters: parameters},
		}},
	} {
		if size := len(encode(t, a)); size >= atMost(a) {
			t.Errorf("%s: %d bytes, taken for fewer than %d", name, size, atMost(a))
		}
	}
}

// A signing key is ten times as large as the credentials of an activity. Whoever registers a thousand systems must not
// take away what older activities are opened with, nor systems whose keys are in other shards.
func TestAKeyShardFullOfSigningKeysLeavesOutTheNewest(t *testing.T) {
	const shard = 2
	r := rand.New(rand.NewPCG(1, 1))
	c := &compiler{in: Input{Memo: &Memo{}}, out: &Output{Table: &routing.Table{}, Results: map[Ref]Result{}}}
	table := c.out.Table
	born := 0
	meta := func(name string) metav1.ObjectMeta {
		born++
		return metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(int64(born), 0)}
	}
	activities := func(prefix string, n int) {
		for i := 0; n > 0; i++ {
			name := fmt.Sprint(prefix, i)
			if routing.PlaceOfActivity(name, true).Number != shard {
				continue
			}
			n--
			c.in.Activities = append(c.in.Activities, &v1alpha1.LTIActivity{ObjectMeta: meta(name)})
			c.out.Results[Ref{v1alpha1.KindActivity, name}] = Result{Served: true}
			table.Activities = append(table.Activities, routing.Activity{Name: name})
			table.Credentials = append(table.Credentials, routing.Credential{ConsumerKey: name, Activity: name, Secrets: []string{noise(r, 40)}})
		}
	}
	activities("old-", 5)
	for i := range 1500 {
		name := fmt.Sprintf("p-%04d", i)
		kind, ref := routing.KindPlatform, Ref{v1alpha1.KindPlatform, name}
		if i%3 == 0 {
			kind, ref = routing.KindTool, Ref{v1alpha1.KindTool, name}
			c.in.Tools = append(c.in.Tools, &v1alpha1.LTITool{ObjectMeta: meta(name)})
			table.Tools = append(table.Tools, routing.Tool{Name: name})
		} else {
			c.in.Platforms = append(c.in.Platforms, &v1alpha1.LTIPlatform{ObjectMeta: meta(name)})
			table.Platforms = append(table.Platforms, routing.Platform{Name: name})
		}
		c.out.Results[ref] = Result{Served: true}
		size := 10 // no other shard is full
		if routing.PlaceOfRegistration(kind, name, true).Number == shard {
			size = 2000
		}
		table.SigningKeys = append(table.SigningKeys, routing.SigningKey{Kind: kind, Name: name, PrivateKeyPEM: noise(r, size)})
	}
	activities("new-", 5)
	c.fit()
	left := leftOut(t, c.out)
	if c.out.Set == nil || c.out.PackError != nil || len(left) < 10 || len(left) > 200 {
		t.Fatalf("%d are left out, error %v", len(left), c.out.PackError)
	}
	full := false
	for i := range 1500 {
		name := fmt.Sprintf("p-%04d", i)
		kind := routing.KindPlatform
		if i%3 == 0 {
			kind = routing.KindTool
		}
		here := routing.PlaceOfRegistration(kind, name, true).Number == shard
		switch {
		case left[name] && !here:
			t.Errorf("%s is left out, whose key is in another shard", name)
		case here && full && !left[name]:
			t.Errorf("%s is served, but an older one is not", name)
		}
		full = full || left[name]
	}
	for name := range left {
		if strings.HasPrefix(name, "old-") {
			t.Errorf("%s is left out for younger registrations", name)
		}
	}
	for _, a := range c.in.Activities {
		if strings.HasPrefix(a.Name, "new-") && !left[a.Name] {
			t.Errorf("%s is served, but an older registration is not", a.Name)
		}
	}
	for _, k := range c.out.Table.SigningKeys {
		if left[k.Name] {
			t.Errorf("the key of %s, which is left out, is in the table", k.Name)
		}
	}
}

func TestOneOversizedResourceIsRefusedAlone(t *testing.T) {
	big := strings.Repeat("x", routing.MaxEntryBytes)
	tests := map[string]struct {
		change func(in *Input) Ref
		served bool
	}{
		"a platform with an enormous keyset": {func(in *Input) Ref {
			p := in.Platforms[0].DeepCopy()
			in.Platforms[0] = p
			jwks := `{"keys":[{"kty":"RSA","x":"` + big + `"}]}`
			p.Spec.LTI13.JWKS, p.Spec.LTI13.JWKSURL = &jwks, nil
			return Ref{v1alpha1.KindPlatform, p.Name}
		}, true},
		"an activity with an enormous description": {func(in *Input) Ref {
			a := in.Activities[0].DeepCopy()
			in.Activities[0] = a
			a.Spec.Description = big
			return Ref{v1alpha1.KindActivity, a.Name}
		}, false},
		"a tool with an enormous keyset": {func(in *Input) Ref {
			x := in.Tools[0].DeepCopy()
			in.Tools[0] = x
			x.Spec.LTI13 = &v1alpha1.ToolLTI13{LoginInitiationURL: "https://lab.example/login", JWKS: new(`{"keys":[{"kty":"RSA","x":"` + big + `"}]}`)}
			return Ref{v1alpha1.KindTool, x.Name}
		}, true},
		"an external activity with enormous parameters": {func(in *Input) Ref {
			a := externalActivity(in, "zz-large", "zz-large")
			e := a.Spec.External.LTI12
			for i := range 40 {
				e.Parameters = append(e.Parameters, v1alpha1.LaunchParameter{Name: fmt.Sprint("p", i), Value: big[:2048]})
			}
			return Ref{v1alpha1.KindActivity, a.Name}
		}, false},
		"an enormous secret of another system": {func(in *Input) Ref {
			a := externalActivity(in, "zz-large", "zz-large")
			in.Secrets["zz-large"].Data[v1alpha1.SecretKeySharedSecret] = []byte(big)
			return Ref{v1alpha1.KindActivity, a.Name}
		}, true},
		"an enormous shared secret": {func(in *Input) Ref {
			a := in.Activities[0]
			name, _ := a.LTI12SecretName()
			secret := in.Secrets[name].DeepCopy()
			secret.Data[v1alpha1.SecretKeySharedSecret] = []byte(big)
			in.Secrets[name] = secret
			return Ref{v1alpha1.KindActivity, a.Name}
		}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := readCase(t, "everything-ready")
			want := Compile(in)
			ref := test.change(&in)
			got := Compile(in)
			r := got.Results[ref]
			if r.Accepted != metav1.ConditionFalse || r.Reason != v1alpha1.ReasonOversized || r.Served != test.served || strings.Contains(r.Message, "xxx") {
				t.Errorf("result: %v %s served=%v: %.200s", r.Accepted, r.Reason, r.Served, r.Message)
			}
			if strings.Contains(encode(t, got.Table), "xxxx") {
				t.Error("what is oversized is in the table")
			}
			for other, before := range want.Results {
				if other != ref && !reflect.DeepEqual(before, got.Results[other]) {
					t.Errorf("the result of %s %s changed", other.Kind, other.Name)
				}
			}
			for _, k := range got.Table.ExternalCredentials {
				if ref == (Ref{v1alpha1.KindActivity, k.Activity}) {
					t.Error("the credential of what is oversized is in the table")
				}
			}
			for _, x := range got.Table.Tools {
				if ref == (Ref{v1alpha1.KindTool, x.Name}) && (len(x.PublicKeys) == 0 || x.LTI13 != nil) {
					t.Errorf("the oversized tool is served as %+v", x)
				}
			}
			for _, p := range got.Table.Platforms {
				if ref == (Ref{v1alpha1.KindPlatform, p.Name}) && (len(p.PublicKeys) == 0 || p.LTI13 != nil) {
					t.Errorf("the oversized platform is served as %+v", p)
				}
			}
		})
	}
}

// Wanted are shards of at most 128 KiB with 10,000 activities as people write them.
func TestTenThousandActivitiesFitTwice(t *testing.T) {
	in := readCase(t, "everything-ready")
	r := rand.New(rand.NewPCG(1, 1))
	crowd(&in, r, 10_000, 0)
	words := strings.Fields("how to work safely at height with others and alone in wind rain or snow on roofs ladders and scaffolds before after an accident")
	for _, a := range in.Activities {
		for range 12 {
			a.Spec.Description += words[r.IntN(len(words))] + " "
		}
	}
	started := time.Now()
	out := Compile(in)
	took := time.Since(started)
	set, err := routing.Split(out.Table)
	if err != nil {
		t.Fatal(err)
	}
	largest := 0
	for _, s := range slices.Concat(set.Routing, set.Keys) {
		largest = max(largest, len(s.Payload))
	}
	t.Logf("10,000 activities: the largest of %d shards has %d KiB; compiled in %v", len(set.Routing)+len(set.Keys), largest>>10, took)
	if out.LeftOut != 0 || largest > 128<<10 {
		t.Errorf("%d are left out, the largest shard has %d bytes", out.LeftOut, largest)
	}
}

func TestLosingMostActivitiesAtOnceIsNoticed(t *testing.T) {
	table := func(n int) *routing.Table {
		t := &routing.Table{}
		for i := range n {
			name := fmt.Sprintf("a%d", i)
			t.Activities = append(t.Activities, routing.Activity{Name: name})
			t.Credentials = append(t.Credentials, routing.Credential{Activity: name, ConsumerKey: name})
			t.ExternalCredentials = append(t.ExternalCredentials, routing.ExternalCredential{Activity: name, ConsumerKey: name})
		}
		return t
	}
	with := func(from, to int) *Output {
		o := &Output{Table: &routing.Table{}, Results: map[Ref]Result{}}
		for i := from; i < to; i++ {
			o.Results[Ref{v1alpha1.KindActivity, fmt.Sprintf("a%d", i)}] = Result{}
		}
		return o
	}
	tests := map[string]struct {
		live *routing.Table
		out  *Output
		gone int
	}{
		"nothing was live":                     {nil, with(0, 0), 0},
		"a handful goes":                       {table(9), with(0, 0), 0},
		"half goes":                            {table(20), with(0, 10), 0},
		"more than half goes":                  {table(20), with(0, 9), 11},
		"all go":                               {table(10), with(0, 0), 10},
		"all are replaced":                     {table(20), with(20, 60), 20},
		"all are refused, but there":           {table(20), with(0, 20), 0},
		"the academy has no table any more":    {table(20), &Output{}, 0},
		"one more comes while more than half ": {table(20), with(12, 30), 12},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := MassRemoval(test.live, test.out)
			if (r == nil) != (test.gone == 0) || r != nil && (r.Gone != test.gone || len(r.Kept.Activities) != test.gone || len(r.Kept.Credentials) != test.gone || len(r.Kept.ExternalCredentials) != test.gone) {
				t.Fatalf("removal is %+v, want %d gone", r, test.gone)
			}
		})
	}
	if a, b := MassRemoval(table(20), with(0, 9)), MassRemoval(table(20), with(0, 8)); a.Token == b.Token || a.Token != MassRemoval(table(20), with(0, 9)).Token {
		t.Error("the token does not name what is gone")
	}
}

func TestWhatIsKeptIsServedBesideTheRest(t *testing.T) {
	in := readCase(t, "everything-ready")
	before := Compile(in)
	removed := in.Activities[0].Name
	in.Activities = in.Activities[1:]
	kept := &Kept{}
	for _, a := range before.Table.Activities {
		if a.Name == removed {
			kept.Activities = append(kept.Activities, a)
		}
	}
	for _, k := range before.Table.Credentials {
		if k.Activity == removed {
			kept.Credentials = append(kept.Credentials, k)
		}
	}
	in.Kept = kept
	after := Compile(in)
	a, errA := routing.Split(before.Table)
	b, errB := routing.Split(after.Table)
	if errA != nil || errB != nil || a.Manifest.Hash != b.Manifest.Hash {
		t.Errorf("the table with the kept activity differs from the one before (%v, %v)", errA, errB)
	}
	if _, is := after.Results[Ref{v1alpha1.KindActivity, removed}]; is {
		t.Error("there is a result for a resource that is gone")
	}
	// Its key given to another meanwhile stays there.
	in.Kept.Credentials[0].ConsumerKey = after.Table.Credentials[len(after.Table.Credentials)-1].ConsumerKey
	seen := map[string]bool{}
	for _, k := range Compile(in).Table.Credentials {
		if seen[k.ConsumerKey] {
			t.Errorf("two credentials have the key %s", k.ConsumerKey)
		}
		seen[k.ConsumerKey] = true
	}
}

func TestWhatIsKeptOfExternalActivities(t *testing.T) {
	in := readCase(t, "external")
	before := Compile(in)
	gone := slices.IndexFunc(in.Activities, func(a *v1alpha1.LTIActivity) bool { return a.Name == "first-aid" })
	in.Activities = slices.Delete(in.Activities, gone, gone+1)
	in.Kept = &Kept{Activities: before.Table.Activities, ExternalCredentials: before.Table.ExternalCredentials}
	if after := Compile(in); after.Set.Manifest.Hash != before.Set.Manifest.Hash {
		t.Error("the table with what is kept differs from the one before")
	}
	in.Kept = nil
	if after := Compile(in); len(after.Table.ExternalCredentials) != len(before.Table.ExternalCredentials)-1 {
		t.Error("the credential of an activity that is gone stays")
	}
}

func TestWhatIsUrgent(t *testing.T) {
	base := func() *routing.Table {
		return &routing.Table{
			Academy:     routing.Academy{Name: "default", Active: true},
			AcademyKeys: routing.AcademyKeys{StateKeys: [][]byte{{1}}},
			Platforms:   []routing.Platform{{Name: "p", Active: true, Title: "P", Deployments: []routing.Deployment{{ID: "1", Active: true}}}},
			Tools:       []routing.Tool{{Name: "t", Active: true, PublicKeys: []routing.JWK{{KeyID: "1"}}}},
			Activities: []routing.Activity{
				{Name: "a", Share: &routing.Share{TargetURL: "https://a.example"}},
				{Name: "e", External: &routing.External{LTI12: &routing.ExternalLTI12{LaunchURL: "https://e.example"}}},
			},
			ExternalCredentials: []routing.ExternalCredential{{Activity: "e", ConsumerKey: "k", Secrets: []string{"s"}}},
			Credentials:         []routing.Credential{{ConsumerKey: "k", Secrets: []string{"s"}}},
			SigningKeys:         []routing.SigningKey{{Kind: routing.KindTool, Name: "t", KeyID: "1"}},
			Revoked:             []routing.RevokedKey{{KeyID: "0"}},
		}
	}
	tests := map[string]struct {
		change func(*routing.Table)
		urgent bool
	}{
		"nothing":                     {func(*routing.Table) {}, false},
		"an activity is added":        {func(t *routing.Table) { t.Activities = append(t.Activities, routing.Activity{Name: "b"}) }, false},
		"a platform is added":         {func(t *routing.Table) { t.Platforms = append(t.Platforms, routing.Platform{Name: "b"}) }, false},
		"a credential is added":       {func(t *routing.Table) { t.Credentials = append(t.Credentials, routing.Credential{ConsumerKey: "b"}) }, false},
		"an activity is renamed":      {func(t *routing.Table) { t.Activities[0].Title, t.Activities[0].Generation = "x", 2 }, false},
		"a platform is renamed":       {func(t *routing.Table) { t.Platforms[0].Title, t.Platforms[0].Generation = "x", 2 }, false},
		"the academy is renamed":      {func(t *routing.Table) { t.Academy.Title = "x" }, false},
		"the academy is switched off": {func(t *routing.Table) { t.Academy.Active = false }, true},
		"a platform is switched off":  {func(t *routing.Table) { t.Platforms[0].Active = false }, true},
		"a tool is switched off":      {func(t *routing.Table) { t.Tools[0].Active = false }, true},
		"a deployment is off":         {func(t *routing.Table) { t.Platforms[0].Deployments[0].Active = false }, true},
		"an activity is removed":      {func(t *routing.Table) { t.Activities = nil }, true},
		"an activity is not shared":   {func(t *routing.Table) { t.Activities[0].Share = nil }, true},
		"an activity is restricted":   {func(t *routing.Table) { t.Activities[0].Share.PlatformLabels = map[string]string{"a": "b"} }, true},
		"an external one is renamed":  {func(t *routing.Table) { t.Activities[1].Title = "x" }, false},
		"it is external no more":      {func(t *routing.Table) { t.Activities[1].External = nil }, true},
		"it tells less":               {func(t *routing.Table) { t.Activities[1].External.LTI12.Privacy.WithholdName = true }, true},
		"a tool is told less":         {func(t *routing.Table) { t.Tools[0].Privacy.WithholdEmail = true }, true},
		"their key is removed":        {func(t *routing.Table) { t.ExternalCredentials = nil }, true},
		"their secret changes":        {func(t *routing.Table) { t.ExternalCredentials[0].Secrets = []string{"x"} }, true},
		"a platform is removed":       {func(t *routing.Table) { t.Platforms = nil }, true},
		"a tool is removed":           {func(t *routing.Table) { t.Tools = nil }, true},
		"a credential is removed":     {func(t *routing.Table) { t.Credentials = nil }, true},
		"a secret changes":            {func(t *routing.Table) { t.Credentials[0].Secrets = []string{"x"} }, true},
		"a public key changes":        {func(t *routing.Table) { t.Tools[0].PublicKeys[0].KeyID = "2" }, true},
		"a signing key changes":       {func(t *routing.Table) { t.SigningKeys[0].KeyID = "2" }, true},
		"a signing key is added":      {func(t *routing.Table) { t.SigningKeys = append(t.SigningKeys, routing.SigningKey{Name: "x"}) }, false},
		"a key is revoked":            {func(t *routing.Table) { t.Revoked = append(t.Revoked, routing.RevokedKey{KeyID: "1"}) }, true},
		"a revocation is forgotten":   {func(t *routing.Table) { t.Revoked = nil }, false},
		"an academy key changes":      {func(t *routing.Table) { t.AcademyKeys.StateKeys[0] = []byte{2} }, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			next := base()
			test.change(next)
			if got := Urgent(base(), next); got != test.urgent {
				t.Errorf("urgent = %v, want %v", got, test.urgent)
			}
		})
	}
	if Urgent(nil, base()) {
		t.Error("the first table is urgent")
	}
}

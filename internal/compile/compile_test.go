// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// The academy that all cases are about.
const (
	namespace   = "acme"
	academyName = "default"
)

// Each testdata/<case>.in.yaml holds resources as they stand in the API server; <case>.out.yaml, what became of each
// and what the launch handler is given.
func TestCompileMatchesGoldenFiles(t *testing.T) {
	forEachCase(t, func(t *testing.T, name string, in Input) {
		got := render(t, Compile(in))
		golden := filepath.Join("testdata", name+".out.yaml")
		if *update {
			if err := os.WriteFile(golden, got, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("output differs from %s (run with -update to accept, -want +got):\n%s", golden, diff)
		}
	})
}

// difference tells how two values differ; empty for not at all, which cmp takes ten times as long to find.
func difference[T any](want, got T) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got)
}

func TestTheOrderOfListsDoesNotMatter(t *testing.T) {
	forEachCase(t, func(t *testing.T, _ string, in Input) {
		want := Compile(in)
		for range 25 {
			seed := rand.Uint64()
			shuffled := in
			shuffled.OtherAcademies = shuffle(in.OtherAcademies, seed)
			shuffled.Platforms = shuffle(in.Platforms, seed)
			shuffled.Tools = shuffle(in.Tools, seed)
			shuffled.Activities = shuffle(in.Activities, seed)
			if diff := difference(want, Compile(shuffled)); diff != "" {
				t.Fatalf("the order of seed %d gives another output:\n%s", seed, diff)
			}
		}
	})
}

// What the API server holds is shared with the cache: compiling must not write to it.
func TestCompileLeavesItsInputAsItIs(t *testing.T) {
	forEachCase(t, func(t *testing.T, name string, in Input) {
		Compile(in)
		if diff := difference(readCase(t, name), in); diff != "" {
			t.Errorf("the input changed:\n%s", diff)
		}
	})
}

// Status is written by the operator itself: an output that depended on it would feed back.
func TestStatusIsNeverLookedAt(t *testing.T) {
	forEachCase(t, func(t *testing.T, name string, in Input) {
		want := Compile(in)
		other := readCase(t, name)
		conditions := []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionFalse, Reason: "Other"}}
		if other.Academy != nil {
			other.Academy.SetConditions(conditions)
		}
		for _, p := range other.Platforms {
			p.Status = v1alpha1.LTIPlatformStatus{
				Conditions: conditions, Details: &v1alpha1.PlatformDetails{Domain: "other.example"}, Registration: &v1alpha1.PlatformRegistrationStatus{
					Known: []v1alpha1.KnownPlatformRegistration{{KnownRegistration: knownElsewhere(p.Dynamic()), Issuer: "https://other.example", DeploymentID: "other"}},
				},
			}
		}
		for _, x := range other.Tools {
			x.Status = v1alpha1.LTIToolStatus{Conditions: conditions, Details: &v1alpha1.ToolDetails{ClientID: "other"}, Registration: &v1alpha1.ToolRegistrationStatus{
				Known: []v1alpha1.KnownToolRegistration{{KnownRegistration: knownElsewhere(x.Dynamic()), LoginInitiationURL: "https://other.example"}},
			}}
		}
		for _, a := range other.Activities {
			a.Status = v1alpha1.LTIActivityStatus{Conditions: conditions, LTI12: &v1alpha1.ActivityLTI12Status{CredentialsSecretName: "other"}}
		}
		if diff := difference(want, Compile(other)); diff != "" {
			t.Errorf("the output depends on status:\n%s", diff)
		}
	})
}

// knownElsewhere is the approved registration as a status could tell it.
func knownElsewhere(d *v1alpha1.DynamicRegistration) v1alpha1.KnownRegistration {
	if d == nil {
		return v1alpha1.KnownRegistration{}
	}
	return v1alpha1.KnownRegistration{ID: d.Approved, State: v1alpha1.RegistrationApproved}
}

// Results become status, events and logs; everything in the table but the keys becomes ConfigMaps.
func TestNoSecretValueLeavesItsPlace(t *testing.T) {
	values, checked := 0, 0
	forEachCase(t, func(t *testing.T, name string, in Input) {
		secrets := secretValues(t, name)
		values += len(secrets)
		output := Compile(in)
		texts := map[string]string{}
		for ref, result := range output.Results {
			texts[fmt.Sprintf("the result of %s %s", ref.Kind, ref.Name)] = fmt.Sprintf("%+v %s", result, encode(t, result))
		}
		if table := output.Table; table != nil {
			texts["a routing shard"] = encode(t, []any{table.Academy, table.Platforms, table.Tools, table.Activities})
		}
		for where, text := range texts {
			for _, secret := range secrets {
				checked++
				if strings.Contains(text, secret) {
					t.Errorf("%s holds a secret value (%.10s…)", where, secret)
				}
			}
		}
	})
	if checked == 0 || values == 0 {
		t.Fatal("nothing was checked")
	}
	t.Logf("%d secret values, %d comparisons", values, checked)
}

// One broken resource never takes another one down: a case with everything, and one resource more that is broken, is
// the same case with one result more.
func TestABrokenResourceChangesNothingElse(t *testing.T) {
	broken := map[string]func(in *Input) Ref{
		"an activity without its Secret": func(in *Input) Ref {
			a := in.Activities[0].DeepCopy()
			a.Name = "zz-broken"
			a.CreationTimestamp = metav1.Unix(1<<31, 0)
			a.Spec.Share.LTI12 = &v1alpha1.ShareLTI12{CredentialsSecretRef: &v1alpha1.SecretReference{Name: "nowhere"}}
			in.Activities = append(in.Activities, a)
			return Ref{v1alpha1.KindActivity, a.Name}
		},
		"a platform with a taken registration": func(in *Input) Ref {
			p := in.Platforms[0].DeepCopy()
			p.Name = "zz-broken"
			p.CreationTimestamp = metav1.Unix(1<<31, 0)
			in.Platforms = append(in.Platforms, p)
			return Ref{v1alpha1.KindPlatform, p.Name}
		},
		"an external activity without its Secret": func(in *Input) Ref {
			a := &v1alpha1.LTIActivity{Spec: v1alpha1.LTIActivitySpec{Title: "T", Type: v1alpha1.ELearning, External: &v1alpha1.ActivityExternal{
				LTI12: &v1alpha1.ExternalLTI12{LaunchURL: "https://a.example", ResourceLinkID: "1", CredentialsSecretRef: v1alpha1.SecretReference{Name: "nowhere"}},
			}}}
			a.Name = "zz-broken"
			a.CreationTimestamp = metav1.Unix(1<<31, 0)
			in.Activities = append(in.Activities, a)
			return Ref{v1alpha1.KindActivity, a.Name}
		},
		"a tool without a key": func(in *Input) Ref {
			x := in.Tools[0].DeepCopy()
			x.Name = "zz-broken"
			x.CreationTimestamp = metav1.Unix(1<<31, 0)
			in.Tools = append(in.Tools, x)
			return Ref{v1alpha1.KindTool, x.Name}
		},
	}
	for name, add := range broken {
		t.Run(name, func(t *testing.T) {
			in := readCase(t, "everything-ready")
			want := Compile(in)
			ref := add(&in)
			got := Compile(in)
			result, ok := got.Results[ref]
			if !ok || result.Accepted == metav1.ConditionTrue {
				t.Fatalf("the broken resource is %+v", result)
			}
			delete(got.Results, ref)
			if diff := difference(want.Results, got.Results); diff != "" {
				t.Errorf("results of others changed:\n%s", diff)
			}
			without := func(t *routing.Table) *routing.Table {
				c := *t
				c.Platforms = slices.DeleteFunc(slices.Clone(t.Platforms), func(p routing.Platform) bool { return p.Name == ref.Name })
				c.Tools = slices.DeleteFunc(slices.Clone(t.Tools), func(x routing.Tool) bool { return x.Name == ref.Name })
				c.Activities = slices.DeleteFunc(slices.Clone(t.Activities), func(a routing.Activity) bool { return a.Name == ref.Name })
				return &c
			}
			if diff := difference(want.Table, without(got.Table)); diff != "" {
				t.Errorf("the table changed for others:\n%s", diff)
			}
		})
	}
}

func TestDetailsHandedOutNeverChangeWhenARegistrationIsFilledIn(t *testing.T) {
	in := readCase(t, "title-only-platform")
	ref := Ref{v1alpha1.KindPlatform, "future-partner"}
	before := Compile(in).Results[ref]
	jwks := v1alpha1.PeerURL("https://lms.example/jwks")
	in.Platforms[0].Spec.LTI13 = &v1alpha1.PlatformLTI13{
		Issuer: "https://lms.example", ClientID: "1", AuthenticationURL: "https://lms.example/auth", JWKSURL: &jwks,
	}
	after := Compile(in).Results[ref]
	if before.Registered || !after.Registered {
		t.Errorf("registered: %v before, %v after", before.Registered, after.Registered)
	}
	if diff := cmp.Diff(before.PlatformDetails, after.PlatformDetails); diff != "" || before.PlatformDetails == nil {
		t.Errorf("details changed:\n%s", diff)
	}
}

func TestDetailsOfAToolNeverChangeWhenARegistrationIsFilledIn(t *testing.T) {
	in := readCase(t, "everything-ready")
	ref := Ref{v1alpha1.KindTool, "simulation-lab"}
	before := Compile(in).Results[ref]
	in.Tools[0].Spec.LTI13 = &v1alpha1.ToolLTI13{
		LoginInitiationURL: "https://lab.example/login", JWKSURL: new(v1alpha1.PeerURL("https://lab.example/jwks")),
	}
	after := Compile(in).Results[ref]
	if before.Registered || !after.Registered || before.Accepted != metav1.ConditionTrue || after.Accepted != metav1.ConditionTrue {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if diff := cmp.Diff(before.ToolDetails, after.ToolDetails); diff != "" || before.ToolDetails == nil {
		t.Errorf("details changed:\n%s", diff)
	}
}

// A table of before a field was there stays as it was when the field is left out.
func TestWhatIsSaidAsItIsMeantAnywayChangesNoTable(t *testing.T) {
	in := readCase(t, "everything-ready")
	want := Compile(in).Set.Manifest.Hash
	in.Tools[0].Spec.Privacy = &v1alpha1.LearnerPrivacy{Name: v1alpha1.DisclosureShare, Email: v1alpha1.DisclosureShare}
	in.Tools[0].Spec.Services = &v1alpha1.ToolServices{
		AssignmentAndGrade: v1alpha1.AssignmentAndGradeGradesAndLineItems, NamesAndRoles: v1alpha1.NamesAndRolesEnabled,
		DeepLinking: v1alpha1.DeepLinkingEnabled,
	}
	if got := Compile(in).Set.Manifest.Hash; got != want {
		t.Error("the table changed")
	}
}

func TestWebhookSecrets(t *testing.T) {
	of := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, n)) }
	for name, test := range map[string]struct {
		secret, previous string
		// bad is the data key that is named.
		bad     string
		secrets []string
	}{
		"the shortest":                      {secret: of(24), secrets: []string{of(24)}},
		"the longest":                       {secret: of(64), secrets: []string{of(64)}},
		"with white space around":           {secret: " " + of(32) + "\n", secrets: []string{of(32)}},
		"too short":                         {secret: of(23), bad: "signingSecret"},
		"too long":                          {secret: of(65), bad: "signingSecret"},
		"without the prefix":                {secret: strings.TrimPrefix(of(24), "whsec_"), bad: "signingSecret"},
		"with the prefix of a private key":  {secret: strings.Replace(of(24), "whsec_", "whsk_", 1), bad: "signingSecret"},
		"the prefix alone":                  {secret: "whsec_", bad: "signingSecret"},
		"not base64":                        {secret: "whsec_" + strings.Repeat("!", 32), bad: "signingSecret"},
		"base64 for URLs":                   {secret: strings.NewReplacer("+", "-", "/", "_").Replace(of(24)), bad: "signingSecret"},
		"base64 that is cut off":            {secret: strings.TrimRight(of(32), "="), bad: "signingSecret"},
		"base64 with a line end in it":      {secret: of(24)[:10] + "\n" + of(24)[10:], bad: "signingSecret"},
		"nothing":                           {secret: " \n", bad: "signingSecret"},
		"a previous one":                    {secret: of(24), previous: of(32), secrets: []string{of(24), of(32)}},
		"a previous one that is blank":      {secret: of(24), previous: "\n", secrets: []string{of(24)}},
		"a previous one that is the same":   {secret: of(24), previous: of(24) + "\n", secrets: []string{of(24)}},
		"a previous one that is none":       {secret: of(24), previous: "canary-of-the-previous", bad: "previousSigningSecret", secrets: []string{of(24)}},
		"a present one that is none either": {secret: "canary-of-the-present", previous: of(32), bad: "signingSecret"},
	} {
		t.Run(name, func(t *testing.T) {
			in := readCase(t, "external")
			in.Secrets["results"].Data = map[string][]byte{"signingSecret": []byte(test.secret), "previousSigningSecret": []byte(test.previous)}
			out := Compile(in)
			r := out.Results[Ref{v1alpha1.KindAcademy, academyName}]
			if (r.Reason == v1alpha1.ReasonSecretInvalid) != (test.bad != "") || !r.Served {
				t.Errorf("served=%v, %s: %s", r.Served, r.Reason, r.Message)
			}
			if test.bad != "" && !strings.Contains(r.Message, "spec.results.webhook.signingSecretRef") || !strings.Contains(r.Message, test.bad) {
				t.Errorf("does not name what is wrong: %s", r.Message)
			}
			for _, value := range []string{strings.TrimSpace(test.secret), strings.TrimSpace(test.previous)} {
				if value != "" && value != "whsec_" && strings.Contains(r.Message, value) {
					t.Errorf("quotes the secret: %s", r.Message)
				}
			}
			if diff := cmp.Diff(test.secrets, out.Table.AcademyKeys.WebhookSecrets); diff != "" {
				t.Error(diff)
			}
			if out.Table.Academy.ResultsWebhook == "" {
				t.Error("results would pass for what nobody wants")
			}
		})
	}
}

func TestReferredSecretsAreThoseOfSpecs(t *testing.T) {
	tests := map[string]struct {
		of   string
		want []string
	}{
		"clients and LTI 1.2 credentials, not what is generated": {"everything-ready", []string{"academy-app", "agreed-with-partner"}},
		"each name once":                                     {"client-secrets", []string{"nowhere", "somebody-elses", "sound", "too-short"}},
		"also without an academy":                            {"no-academy", nil},
		"nothing of an activity without share":               {"activity-without-share", nil},
		"nothing that another academy needs":                 {"other-academy", nil},
		"what other systems gave us, and what signs results": {"external", []string{"aid-credentials", "learners", "results"}},
		"also what is missing or is not shared":              {"secrets-not-usable", []string{"blank", "not-text", "nowhere", "somebody-elses", "without-key", "without-secret"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := readCase(t, test.of)
			if diff := cmp.Diff(test.want, in.ReferredSecrets()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// forEachCase runs a test on every input in testdata.
func forEachCase(t *testing.T, test func(t *testing.T, name string, in Input)) {
	t.Helper()
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(inputs) == 0 {
		t.Fatal("no cases in testdata")
	}
	for _, in := range inputs {
		name := strings.TrimSuffix(filepath.Base(in), ".in.yaml")
		t.Run(name, func(t *testing.T) { test(t, name, readCase(t, name)) })
	}
}

// readCase makes the input as the operator does: academies from everywhere, the rest by its reference, and Secrets by
// their label.
func readCase(t testing.TB, name string) Input {
	t.Helper()
	in := Input{Namespace: namespace, AcademyName: academyName, Secrets: map[string]*corev1.Secret{}, Unshared: map[string]bool{}}
	for _, document := range documents(t, name) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.Kind {
		case v1alpha1.KindAcademy:
			a := decode[v1alpha1.LTIAcademy](t, document)
			if a.Namespace == namespace && a.Name == academyName {
				in.Academy = a
			} else {
				in.OtherAcademies = append(in.OtherAcademies, a)
			}
		case v1alpha1.KindPlatform:
			if p := decode[v1alpha1.LTIPlatform](t, document); v1alpha1.AcademyName(p.Spec.AcademyRef) == academyName {
				in.Platforms = append(in.Platforms, p)
			}
		case v1alpha1.KindTool:
			if x := decode[v1alpha1.LTITool](t, document); v1alpha1.AcademyName(x.Spec.AcademyRef) == academyName {
				in.Tools = append(in.Tools, x)
			}
		case v1alpha1.KindActivity:
			if a := decode[v1alpha1.LTIActivity](t, document); v1alpha1.AcademyName(a.Spec.AcademyRef) == academyName {
				in.Activities = append(in.Activities, a)
			}
		case "Secret":
			secret := stored(t, document)
			if secret.Labels[v1alpha1.LabelUse] == v1alpha1.LabelUseValue {
				in.Secrets[secret.Name] = secret
			} else {
				in.Unshared[secret.Name] = true
			}
		default:
			t.Fatalf("%s: unknown kind %q", name, kind.Kind)
		}
	}
	return in
}

func documents(t testing.TB, name string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".in.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(b, []byte("\n---\n"))
}

func decode[T any](t testing.TB, document []byte) *T {
	t.Helper()
	into := new(T)
	if err := yaml.UnmarshalStrict(document, into); err != nil {
		t.Fatalf("%v in:\n%s", err, document)
	}
	return into
}

// stored is a Secret as the API server keeps it. A value "@file" stands for the content of that file.
func stored(t testing.TB, document []byte) *corev1.Secret {
	t.Helper()
	secret := decode[corev1.Secret](t, document)
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	for key, value := range secret.StringData {
		secret.Data[key] = []byte(value)
		if file, ok := strings.CutPrefix(value, "@"); ok {
			b, err := os.ReadFile(filepath.Join("testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			secret.Data[key] = b
		}
	}
	secret.StringData = nil
	return secret
}

// secretValues are the values in all Secrets of a case, also those that are not shared: as they are, in base64, and
// each line of keys.
func secretValues(t *testing.T, name string) []string {
	t.Helper()
	var out []string
	for _, document := range documents(t, name) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		if kind.Kind != "Secret" {
			continue
		}
		for key, value := range stored(t, document).Data {
			if key == v1alpha1.SecretKeyConsumerKey || key == keys.DataKeyTimes || key == v1alpha1.SecretKeyExpiresAt {
				continue // not a secret: it stands in every launch, or in status
			}
			if strings.HasSuffix(key, v1alpha1.SecretKeyRegistrationSuffix) {
				var r routing.Registration
				if err := json.Unmarshal(value, &r); err != nil {
					t.Fatal(err)
				}
				if r.Platform != nil {
					out = append(out, r.Platform.ClientConfigurationToken, r.Platform.ClientConfigurationURL)
				}
			}
			out = append(out, base64.StdEncoding.EncodeToString(value))
			for _, line := range strings.Split(string(value), "\n") {
				if line = strings.TrimSpace(line); len(line) >= 8 && !strings.HasPrefix(line, "-----") {
					out = append(out, line)
				}
			}
		}
	}
	return out
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func shuffle[T any](in []T, seed uint64) []T {
	out := slices.Clone(in)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// render writes an output for people: results by resource, then the table.
func render(t *testing.T, o *Output) []byte {
	t.Helper()
	type result struct {
		Accepted        string                               `json:"accepted"`
		Reason          string                               `json:"reason"`
		Message         string                               `json:"message"`
		Generation      int64                                `json:"generation"`
		Deactivated     bool                                 `json:"deactivated,omitempty"`
		Registered      bool                                 `json:"registered,omitempty"`
		Served          bool                                 `json:"served"`
		PlatformDetails *v1alpha1.PlatformDetails            `json:"platformDetails,omitempty"`
		ToolDetails     *v1alpha1.ToolDetails                `json:"toolDetails,omitempty"`
		LTI12           *v1alpha1.ActivityLTI12Status        `json:"lti12,omitempty"`
		LTI13           *v1alpha1.ActivityLTI13Status        `json:"lti13,omitempty"`
		External        *v1alpha1.ActivityExternalStatus     `json:"external,omitempty"`
		Keys            []v1alpha1.SigningKey                `json:"keys,omitempty"`
		NextRotation    *metav1.Time                         `json:"nextRotation,omitempty"`
		Registration    string                               `json:"registration,omitempty"`
		OfPlatform      *v1alpha1.PlatformRegistrationStatus `json:"ofPlatform,omitempty"`
		OfTool          *v1alpha1.ToolRegistrationStatus     `json:"ofTool,omitempty"`
	}
	type table struct {
		Academy             routing.Academy              `json:"academy"`
		Platforms           []routing.Platform           `json:"platforms,omitempty"`
		Tools               []routing.Tool               `json:"tools,omitempty"`
		Activities          []routing.Activity           `json:"activities,omitempty"`
		AcademyKeys         routing.AcademyKeys          `json:"academyKeys"`
		Credentials         []routing.Credential         `json:"credentials,omitempty"`
		ExternalCredentials []routing.ExternalCredential `json:"externalCredentials,omitempty"`
		SigningKeys         []routing.SigningKey         `json:"signingKeys,omitempty"`
		Revoked             []routing.RevokedKey         `json:"revoked,omitempty"`
	}
	var out struct {
		Results map[string]result `json:"results"`
		Table   *table            `json:"table"`
	}
	out.Results = map[string]result{}
	for ref, r := range o.Results {
		out.Results[ref.Kind+"/"+ref.Name] = result{
			string(r.Accepted), r.Reason, r.Message, r.Generation, r.Deactivated, r.Registered, r.Served,
			r.PlatformDetails, r.ToolDetails, r.LTI12, r.LTI13, r.External, r.Keys, r.NextRotation,
			strings.Trim(r.RegistrationReason+": "+r.RegistrationMessage, ": "), r.PlatformRegistration, r.ToolRegistration,
		}
	}
	if o.Table != nil {
		out.Table = new(table(*o.Table))
		out.Table.SigningKeys = withFileNames(t, o.Table.SigningKeys)
	}
	b, err := yaml.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// withFileNames puts the name of its file, as in inputs, in the place of each private key.
func withFileNames(t *testing.T, in []routing.SigningKey) []routing.SigningKey {
	t.Helper()
	files, err := filepath.Glob("testdata/*.pem")
	if err != nil {
		t.Fatal(err)
	}
	out := slices.Clone(in)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := keys.PKCS8(b)
		if err != nil {
			t.Fatal(err)
		}
		for i := range out {
			if out[i].PrivateKeyPEM == string(encoded) {
				out[i].PrivateKeyPEM = "@" + filepath.Base(file)
			}
		}
	}
	return out
}

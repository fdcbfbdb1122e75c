// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// canary stands for a secret value.
const canary = "canary-71f0c9d4e2b8a563"

func TestATableSurvivesTheWayToTheHandler(t *testing.T) {
	want := sampleTable()
	set := split(t, want)
	got := assemble(t, files(t, set))
	if diff := cmp.Diff(canonical(want), canonical(got)); diff != "" {
		t.Errorf("table changed on the way (-want +got):\n%s", diff)
	}
	// What is served is the same as well.
	compare := cmp.AllowUnexported(Index{})
	if diff := cmp.Diff(NewIndex(set.Manifest.Hash, want), NewIndex(set.Manifest.Hash, got), compare, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("index changed on the way (-want +got):\n%s", diff)
	}
}

// Every field of the table must be in some shard: a field without a place in a payload would vanish silently.
func TestEveryFieldOfATableSurvives(t *testing.T) {
	want := &Table{}
	fill(reflect.ValueOf(want).Elem(), canary)
	got := assemble(t, files(t, split(t, want)))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table changed on the way (-want +got):\n%s", diff)
	}
}

func TestAnyTableSurvivesAndTheOrderOfItsListsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawTable(t)
		set, err := Split(want)
		if err != nil {
			t.Fatal(err)
		}
		contents, err := set.Files()
		if err != nil {
			t.Fatal(err)
		}
		m, err := DecodeManifest(contents[ManifestFile])
		if err != nil {
			t.Fatal(err)
		}
		got, err := Assemble(m, reader(contents))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(canonical(want), canonical(got), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("table changed on the way (-want +got):\n%s", diff)
		}

		shuffled := *want
		seed := rapid.Uint64().Draw(t, "seed")
		shuffled.Platforms = shuffle(want.Platforms, seed)
		shuffled.Tools = shuffle(want.Tools, seed)
		shuffled.Activities = shuffle(want.Activities, seed)
		shuffled.Credentials = shuffle(want.Credentials, seed)
		shuffled.ExternalCredentials = shuffle(want.ExternalCredentials, seed)
		again, err := Split(&shuffled)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(set, again); diff != "" {
			t.Fatalf("another order gives another set:\n%s", diff)
		}
	})
}

func TestSplitLeavesItsTableAsItIs(t *testing.T) {
	table := sampleTable()
	slices.Reverse(table.Activities)
	before := cloneTable(table)
	split(t, table)
	if diff := cmp.Diff(before, table); diff != "" {
		t.Errorf("Split changed its input:\n%s", diff)
	}
}

// A shard whose content did not change keeps its bytes, so that a publish writes only what changed.
func TestOneChangedActivityChangesOneRoutingShard(t *testing.T) {
	before := split(t, sampleTable())
	table := sampleTable()
	table.Activities[0].Title = "Another title"
	after := split(t, table)
	changed := 0
	for i := range before.Routing {
		if before.Routing[i].SHA256 != after.Routing[i].SHA256 {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d routing shards changed, want 1", changed)
	}
	if diff := cmp.Diff(before.Keys, after.Keys); diff != "" {
		t.Errorf("key shards changed:\n%s", diff)
	}
	if before.Manifest.Hash == after.Manifest.Hash {
		t.Error("another table has the same hash")
	}
}

func TestAnEmptyTableHasAllShardsUnderDifferentNames(t *testing.T) {
	set := split(t, &Table{Academy: Academy{Name: "default"}})
	contents := files(t, set)
	if want := RoutingShards + KeyShards + 1; len(contents) != want {
		t.Errorf("%d files, want %d: equal shards must not share a file", len(contents), want)
	}
	if got := assemble(t, contents); got.Academy.Name != "default" {
		t.Errorf("academy is %q", got.Academy.Name)
	}
}

func TestWhatIsNotACompleteTableIsRefused(t *testing.T) {
	tests := map[string]struct {
		change func(t *testing.T, m *Manifest, contents map[string][]byte)
		want   error
	}{
		"a routing shard is missing": {
			func(_ *testing.T, m *Manifest, contents map[string][]byte) {
				delete(contents, ShardFileName(m.Routing[3]))
			}, ErrIncomplete,
		},
		"a key shard is missing": {
			func(_ *testing.T, m *Manifest, contents map[string][]byte) {
				delete(contents, ShardFileName(m.Keys[KeyShards-1]))
			}, ErrIncomplete,
		},
		"a routing shard was cut off": {
			func(_ *testing.T, m *Manifest, contents map[string][]byte) {
				name := ShardFileName(m.Routing[0])
				contents[name] = contents[name][:len(contents[name])-1]
			}, ErrCorrupt,
		},
		"a key shard is empty": {
			func(_ *testing.T, m *Manifest, contents map[string][]byte) { contents[ShardFileName(m.Keys[0])] = nil },
			ErrCorrupt,
		},
		"one bit of a shard flipped": {
			func(_ *testing.T, m *Manifest, contents map[string][]byte) {
				name := ShardFileName(m.Keys[1])
				contents[name] = append([]byte(nil), contents[name]...)
				contents[name][len(contents[name])/2] ^= 1
			}, ErrCorrupt,
		},
		"two shards changed places": {
			func(_ *testing.T, m *Manifest, contents map[string][]byte) {
				a, b := ShardFileName(m.Routing[0]), ShardFileName(m.Routing[1])
				contents[a], contents[b] = contents[b], contents[a]
			}, ErrCorrupt,
		},
		"a shard with the right hash is not compressed": {
			func(_ *testing.T, m *Manifest, contents map[string][]byte) {
				m.Keys[1] = put(contents, []byte(`{"keyShard":1}`))
			}, ErrCorrupt,
		},
		"a shard with the right hash ends in the middle of its compressed data": {
			func(t *testing.T, m *Manifest, contents map[string][]byte) {
				packed := compress(t, []byte(`{"keyShard":1}`))
				m.Keys[1] = put(contents, packed[:len(packed)-9])
			}, ErrCorrupt,
		},
		"a shard with the right hash is not JSON": {
			func(t *testing.T, m *Manifest, contents map[string][]byte) {
				m.Keys[1] = put(contents, compress(t, []byte(`{"keyShard":`)))
			}, ErrCorrupt,
		},
		"a shard unpacks to more than any shard holds": {
			func(t *testing.T, m *Manifest, contents map[string][]byte) {
				bomb := compress(t, append([]byte(`{"keyShard":1}`), bytes.Repeat([]byte(" "), maxPlainBytes)...))
				if len(bomb) > MaxShardBytes {
					t.Fatalf("the bomb has %d bytes and would be noticed by its size", len(bomb))
				}
				m.Keys[1] = put(contents, bomb)
			}, ErrCorrupt,
		},
		"no shard holds the academy": {
			func(t *testing.T, m *Manifest, contents map[string][]byte) {
				m.Routing[0] = put(contents, compress(t, []byte(`{"shard":0}`)))
			}, ErrCorrupt,
		},
		"no shard holds the academy's keys": {
			func(t *testing.T, m *Manifest, contents map[string][]byte) {
				m.Keys[0] = put(contents, compress(t, []byte(`{"keyShard":0}`)))
			}, ErrCorrupt,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			set := split(t, sampleTable())
			contents := files(t, set)
			m := set.Manifest
			test.change(t, &m, contents)
			table, err := Assemble(m, reader(contents))
			if !errors.Is(err, test.want) || table != nil {
				t.Errorf("Assemble = %v, %v; want error %v and no table", table, err, test.want)
			}
			for _, other := range []error{ErrIncomplete, ErrCorrupt, ErrFormat} {
				if !errors.Is(other, test.want) && errors.Is(err, other) {
					t.Errorf("error %v is also %v", err, other)
				}
			}
		})
	}
}

// A handler that tells a missing file from an unreadable one needs the cause.
func TestIncompleteKeepsTheCause(t *testing.T) {
	set := split(t, sampleTable())
	_, err := Assemble(set.Manifest, func(string) ([]byte, error) { return nil, fs.ErrPermission })
	if !errors.Is(err, ErrIncomplete) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error is %v, want ErrIncomplete with its cause", err)
	}
}

func TestEveryTornManifestIsRefused(t *testing.T) {
	whole, err := EncodeManifest(split(t, sampleTable()).Manifest)
	if err != nil {
		t.Fatal(err)
	}
	end := bytes.LastIndexByte(whole, '}')
	for n := range end {
		if _, err := DecodeManifest(whole[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("the first %d of %d bytes: error %v, want ErrCorrupt", n, len(whole), err)
		}
	}
}

func TestTamperedAndForeignManifests(t *testing.T) {
	rehash := func(m *Manifest) { m.Hash = m.computeHash() }
	tests := map[string]struct {
		change func(m *Manifest)
		want   error
	}{
		"an untouched manifest is accepted":              {func(*Manifest) {}, nil},
		"a newer minor version is accepted":              {func(m *Manifest) { m.FormatVersion.Minor++; rehash(m) }, nil},
		"a newer major version is foreign":               {func(m *Manifest) { m.FormatVersion.Major++; rehash(m) }, ErrFormat},
		"an older major version is foreign":              {func(m *Manifest) { m.FormatVersion.Major--; rehash(m) }, ErrFormat},
		"a foreign version is named before a wrong hash": {func(m *Manifest) { m.FormatVersion.Major++ }, ErrFormat},
		"another minor version without another hash":     {func(m *Manifest) { m.FormatVersion.Minor++ }, ErrCorrupt},
		"another academy":                                {func(m *Manifest) { m.Academy = "other" }, ErrCorrupt},
		"another hash":                                   {func(m *Manifest) { m.Hash = strings.Repeat("0", 64) }, ErrCorrupt},
		"no hash":                                        {func(m *Manifest) { m.Hash = "" }, ErrCorrupt},
		"another routing shard":                          {func(m *Manifest) { m.Routing[2] = strings.Repeat("a", 64) }, ErrCorrupt},
		"another key shard":                              {func(m *Manifest) { m.Keys[2] = strings.Repeat("a", 64) }, ErrCorrupt},
		"a routing shard less":                           {func(m *Manifest) { m.Routing = m.Routing[1:] }, ErrCorrupt},
		"a key shard less":                               {func(m *Manifest) { m.Keys = m.Keys[1:] }, ErrCorrupt},
		"a key shard among the routing shards": {func(m *Manifest) {
			m.Routing, m.Keys = append(m.Routing, m.Keys[0]), m.Keys[1:]
		}, ErrCorrupt},
		"two shards in another order": {func(m *Manifest) { m.Routing[0], m.Routing[1] = m.Routing[1], m.Routing[0] }, ErrCorrupt},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := split(t, sampleTable()).Manifest
			test.change(&m)
			b, err := EncodeManifest(m)
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeManifest(b)
			if !errors.Is(err, test.want) {
				t.Fatalf("error is %v, want %v", err, test.want)
			}
			if test.want == nil {
				if diff := cmp.Diff(m, got); diff != "" {
					t.Errorf("manifest changed:\n%s", diff)
				}
			} else if got.Hash != "" || got.Routing != nil {
				t.Errorf("a refused manifest was returned: %+v", got)
			}
		})
	}
}

// A newer operator may write fields that an older handler does not know.
func TestUnknownFieldsAreIgnored(t *testing.T) {
	set := split(t, sampleTable())
	contents := files(t, set)
	m := set.Manifest
	for i := range m.Routing {
		m.Routing[i] = put(contents, compress(t, withUnknownFields(t, decompress(t, contents[ShardFileName(m.Routing[i])]))))
	}
	for i := range m.Keys {
		m.Keys[i] = put(contents, compress(t, withUnknownFields(t, decompress(t, contents[ShardFileName(m.Keys[i])]))))
	}
	m.Hash = m.computeHash()
	encoded, err := EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	contents[ManifestFile] = withUnknownFields(t, encoded)
	if diff := cmp.Diff(canonical(sampleTable()), canonical(assemble(t, contents))); diff != "" {
		t.Errorf("table changed (-want +got):\n%s", diff)
	}
}

func TestAnOversizedShardIsRefused(t *testing.T) {
	noise := rand.NewChaCha8([32]byte{1})
	text := func(n int) string {
		b := make([]byte, n)
		_, _ = noise.Read(b)
		return base64.StdEncoding.EncodeToString(b)
	}
	tests := map[string]func(*Table){
		"in a routing shard": func(table *Table) { table.Activities[0].Description = text(MaxShardBytes + 1) },
		"in a key shard":     func(table *Table) { table.Credentials[0].Secrets = []string{text(MaxShardBytes + 1)} },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			table := sampleTable()
			change(table)
			set, err := Split(table)
			if !errors.Is(err, ErrShardTooLarge) || set != nil {
				t.Fatalf("Split = %v, %v; want ErrShardTooLarge", set != nil, err)
			}
			if len(err.Error()) > 200 {
				t.Errorf("the error quotes the content: it has %d characters", len(err.Error()))
			}
		})
	}
	large := sampleTable()
	large.Activities[0].Description = text(MaxShardBytes * 9 / 10)
	for _, shard := range split(t, large).Routing {
		if len(shard.Payload) > MaxShardBytes {
			t.Errorf("a shard has %d bytes, at most %d are allowed", len(shard.Payload), MaxShardBytes)
		}
	}
}

func TestSecretsAreInKeyShardsOnly(t *testing.T) {
	table := sampleTable()
	fill(reflect.ValueOf(&table.AcademyKeys).Elem(), canary)
	fill(reflect.ValueOf(&table.Credentials).Elem(), canary)
	fill(reflect.ValueOf(&table.ExternalCredentials).Elem(), canary)
	fill(reflect.ValueOf(&table.SigningKeys).Elem(), canary)
	set := split(t, table)
	leaks := func(b []byte) bool {
		return bytes.Contains(b, []byte(canary)) || bytes.Contains(b, []byte(base64.StdEncoding.EncodeToString([]byte(canary))))
	}
	for i, shard := range set.Routing {
		if leaks(decompress(t, shard.Payload)) {
			t.Errorf("routing shard %d holds a secret", i)
		}
	}
	manifest, err := EncodeManifest(set.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	if leaks(manifest) {
		t.Error("the manifest holds a secret")
	}
	found := 0
	for _, shard := range set.Keys {
		if leaks(decompress(t, shard.Payload)) {
			found++
		}
	}
	if found == 0 {
		t.Error("no key shard holds the canary: this test looks for the wrong thing")
	}
}

// Errors end up in logs and in the handler's report; key shards hold secrets.
func TestErrorsNeverQuoteAShard(t *testing.T) {
	contents := map[string]string{
		"a bare word":                       canary,
		"a string":                          `"` + canary + `"`,
		"a key of the wrong type":           `{"credentials":[{"consumerKey":{"` + canary + `":1}}]}`,
		"a secret of the wrong type":        `{"credentials":[{"secrets":"` + canary + `"}]}`,
		"another system's secret":           `{"externalCredentials":[{"secrets":"` + canary + `"}]}`,
		"a secret that is no base64":        `{"academyKeys":{"stateKeys":["` + canary + `!"]}}`,
		"a secret cut off":                  `{"academyKeys":{"control":{"privateKeyPEM":"` + canary,
		"a secret that is a number":         `{"academyKeys":{"control":{"privateKeyPEM":71509423}}}`,
		"a list in place of the credential": `{"credentials":["` + canary + `"]}`,
		"a number of the wrong kind":        `{"keyShard":71509423.5}`,
		"text after the end":                `{"keyShard":0}` + canary,
	}
	for name, plain := range contents {
		for _, compressed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, compressed=%v", name, compressed), func(t *testing.T) {
				set := split(t, sampleTable())
				stored := files(t, set)
				payload := []byte(plain)
				if compressed {
					payload = compress(t, payload)
				}
				m := set.Manifest
				m.Keys[1] = put(stored, payload)
				_, err := Assemble(m, reader(stored))
				if !errors.Is(err, ErrCorrupt) {
					t.Fatalf("error is %v, want ErrCorrupt", err)
				}
				for _, part := range []string{canary, canary[:8], "71509423"} {
					if strings.Contains(err.Error(), part) {
						t.Errorf("error quotes the shard: %v", err)
					}
				}
			})
		}
	}
}

func TestShardNames(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	tests := map[string]struct {
		file string
		want bool
	}{
		"a shard":                            {hash + ".json.gz", true},
		"the manifest":                       {ManifestFile, false},
		"a hash without ending":              {hash, false},
		"another ending":                     {hash + ".json", false},
		"a hash that is too short":           {hash[1:] + ".json.gz", false},
		"a hash that is too long":            {hash + "0.json.gz", false},
		"a name of the right length, no hex": {"g" + hash[1:] + ".json.gz", false},
		"a path":                             {"../" + hash[3:] + ".json.gz", false},
		"kubelet's link":                     {"..data", false},
		"nothing":                            {"", false},
		"the ending alone":                   {".json.gz", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := ShardHash(test.file)
			if ok != test.want {
				t.Errorf("ShardHash(%q) = %q, %v; want %v", test.file, got, ok, test.want)
			}
			if ok && ShardFileName(got) != test.file {
				t.Errorf("ShardFileName(%q) = %q, want %q", got, ShardFileName(got), test.file)
			}
		})
	}
}

// Where an activity is placed (FNV-1a of kind/name, modulo) may not change: every shard of every installation would be
// written again at once.
func TestPlacesNeverChange(t *testing.T) {
	tests := map[string]struct {
		kind, name string
		n, want    int
	}{
		"an activity among the routing shards": {"activity", "working-at-height", RoutingShards, 6},
		"its credential among the key shards":  {"activity", "working-at-height", KeyShards, 2},
		"a platform of that name":              {"platform", "working-at-height", RoutingShards, 4},
		"a tool of that name":                  {"tool", "working-at-height", RoutingShards, 5},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := ShardOf(test.kind, test.name, test.n); got != test.want {
				t.Errorf("ShardOf(%q, %q, %d) = %d, want %d", test.kind, test.name, test.n, got, test.want)
			}
		})
	}
	count := make([]int, RoutingShards)
	for i := range 10000 {
		count[ShardOf("activity", fmt.Sprintf("course-%d", i), RoutingShards)]++
	}
	if low, high := slices.Min(count), slices.Max(count); low < 1000 || high > 1500 {
		t.Errorf("10000 activities are spread unevenly over the shards: %v", count)
	}
}

// sampleTable is a table with something of everything.
func sampleTable() *Table {
	table := &Table{
		Academy: Academy{
			Name: "default", Title: "Acme Academy", URL: "https://lti.acme.example", Active: true, Generation: 3,
			AllowPrivateCIDRs: []string{"10.0.0.0/8"}, FrameAncestors: []string{"https:"},
		},
		Platforms: []Platform{
			{
				Name: "moodle", Title: "Moodle at Example University", Active: true, Generation: 2,
				Labels: map[string]string{"audience": "university", "region": "north"},
				LTI13: &PlatformLTI13{
					Issuer: "https://moodle.example", ClientID: "Xy12", AuthenticationURL: "https://moodle.example/mod/lti/auth.php",
					JWKSURL: "https://moodle.example/mod/lti/certs.php",
				},
				Deployments:    []Deployment{{ID: "1", Title: "Everybody", Active: true}, {ID: "2"}},
				FrameAncestors: []string{"https://moodle.example"},
				PublicKeys:     []JWK{{KeyType: "RSA", Use: "sig", Algorithm: "RS256", KeyID: "k1", Modulus: "AQAB", Exponent: "AQAB"}},
			},
			{
				Name: "inside", Title: "Cannot be reached from here", Generation: 1, AnyDeployment: true,
				LTI13: &PlatformLTI13{Issuer: "https://inside.example", ClientID: "1", AuthenticationURL: "https://inside.example/auth", JWKS: `{"keys":[]}`},
			},
			{Name: "future-partner", Title: "Not yet", Active: true, Generation: 1, AnyDeployment: true},
		},
		Tools: []Tool{
			{
				Name: "simulation-lab", Title: "Simulation <Lab> & more", Active: true, Generation: 1,
				PublicKeys: []JWK{{KeyType: "RSA", Use: "sig", Algorithm: "RS256", KeyID: "k2", Modulus: "AQAB", Exponent: "AQAB"}},
			},
			{Name: "former-tool", Title: "Switched off", Generation: 4},
			{
				Name: "fire-school", Title: "Fire School", Active: true, Generation: 2, Privacy: Privacy{WithholdName: true, WithholdEmail: true},
				LTI13: &ToolLTI13{
					LoginInitiationURL: "https://fire.example/login", JWKSURL: "https://fire.example/jwks", LaunchURL: "https://fire.example/launch",
					RedirectURIs: []string{"https://fire.example/a", "https://fire.example/b"},
				},
				AssignmentAndGrade: ServiceGrades, NamesAndRoles: ServiceDisabled,
			},
		},
		AcademyKeys: AcademyKeys{
			StateKeys:      [][]byte{bytes.Repeat([]byte{7}, 32)},
			Control:        Control{CertificatePEM: "certificate", PrivateKeyPEM: "private key", TokenSHA256: bytes.Repeat([]byte{8}, 32)},
			Clients:        []Client{{ClientID: "academy-app", SecretSHA256: bytes.Repeat([]byte{9}, 32)}},
			WebhookSecrets: []string{"whsec_first", "whsec_second"},
		},
		Activities: []Activity{
			{
				Name: "fire-exam", Title: "Fire", Type: ActivityTypeExam, MinimumScore: 70, Generation: 1,
				External: &External{
					Presentation: PresentationEmbedded, ReturnURL: "https://academy.acme.example/done",
					LTI13: &ExternalLTI13{
						Tool: "fire-school", ResourceURL: "https://fire.example/exam", ResourceLinkID: "fire-exam",
						Parameters: []Parameter{{Name: "who", Value: "$User.id"}, {Name: "empty"}},
					},
				},
			},
			{
				Name: "first-aid", Title: "First aid", Type: "ELearning", Generation: 1,
				External: &External{
					Presentation: PresentationNewWindow,
					LTI12: &ExternalLTI12{
						LaunchURL: "https://aid.example/launch", ResourceLinkID: "Første hjælp", Parameters: []Parameter{{Name: "b", Value: "1"}, {Name: "a", Value: "2"}},
						Privacy: Privacy{WithholdEmail: true},
					},
				},
			},
		},
		ExternalCredentials: []ExternalCredential{{Activity: "first-aid", ConsumerKey: "theirs", Secrets: []string{"their secret", "their former secret"}}},
	}
	table.Academy.ResultsWebhook = "https://academy.acme.example/results"
	for i := range 20 {
		name := fmt.Sprintf("course-%02d", i)
		table.Activities = append(table.Activities, Activity{
			Name: name, Title: "Course\u2028" + name, Description: "Ærøskøbing", DurationMinutes: 45, Type: "ELearning", Generation: int64(i),
			Share: &Share{
				TargetURL: "https://academy.acme.example/courses/" + name + "?a=1&b=2", Presentation: PresentationNewWindow,
				PlatformLabels: map[string]string{"audience": "university"},
			},
		})
		table.Credentials = append(table.Credentials, Credential{Activity: name, ConsumerKey: name + ".key", Secrets: []string{"first of " + name, "second"}})
	}
	return table
}

// drawTable makes a table with unique names, as the compiler does.
func drawTable(t *rapid.T) *Table {
	name := rapid.StringMatching(`[a-z0-9][a-z0-9.-]{0,12}[a-z0-9]`)
	names := func(label string) []string { return rapid.SliceOfNDistinct(name, 0, 12, rapid.ID).Draw(t, label) }
	labels := rapid.MapOfN(name, rapid.String(), 0, 4)
	text := rapid.String()
	table := &Table{
		Academy: Academy{
			Name: name.Draw(t, "academy"), Title: text.Draw(t, "title"), Active: rapid.Bool().Draw(t, "active"),
			Generation: rapid.Int64().Draw(t, "generation"),
		},
		AcademyKeys: AcademyKeys{StateKeys: [][]byte{rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "state key")}},
	}
	for _, n := range names("platforms") {
		p := Platform{Name: n, Title: text.Draw(t, "title"), Labels: labels.Draw(t, "labels"), AnyDeployment: rapid.Bool().Draw(t, "any")}
		if rapid.Bool().Draw(t, "registered") {
			p.LTI13 = &PlatformLTI13{Issuer: text.Draw(t, "issuer"), ClientID: text.Draw(t, "client"), JWKS: text.Draw(t, "jwks")}
		}
		for _, id := range rapid.SliceOfN(text, 0, 3).Draw(t, "deployments") {
			p.Deployments = append(p.Deployments, Deployment{ID: id, Active: rapid.Bool().Draw(t, "active")})
		}
		table.Platforms = append(table.Platforms, p)
	}
	for _, n := range names("tools") {
		table.Tools = append(table.Tools, Tool{Name: n, Title: text.Draw(t, "title"), Active: rapid.Bool().Draw(t, "active")})
	}
	for _, n := range names("activities") {
		a := Activity{Name: n, Title: text.Draw(t, "title"), Description: text.Draw(t, "description"), DurationMinutes: rapid.Int32().Draw(t, "duration")}
		if rapid.Bool().Draw(t, "shared") {
			a.Share = &Share{TargetURL: text.Draw(t, "target"), PlatformLabels: labels.Draw(t, "labels")}
		}
		table.Activities = append(table.Activities, a)
		for _, key := range rapid.SliceOfNDistinct(text, 0, 2, rapid.ID).Draw(t, "consumer keys") {
			table.Credentials = append(table.Credentials, Credential{Activity: n, ConsumerKey: key, Secrets: []string{text.Draw(t, "secret")}})
		}
		if rapid.Bool().Draw(t, "external") {
			table.ExternalCredentials = append(table.ExternalCredentials, ExternalCredential{Activity: n, ConsumerKey: text.Draw(t, "their key"), Secrets: []string{text.Draw(t, "secret")}})
		}
	}
	return table
}

// fill sets every field below v: strings and bytes to text, lists and maps to one element.
func fill(v reflect.Value, text string) {
	if instant, ok := v.Addr().Interface().(*time.Time); ok {
		*instant = time.Date(2026, time.November, 27, 11, 30, 0, 0, time.UTC)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(41)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(text))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, text)
		fill(value, text)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	default:
		panic("fill: a table has a field of kind " + v.Kind().String())
	}
}

// canonical is the table with its lists in order.
func canonical(t *Table) *Table {
	c := *t
	c.Platforms = sortedBy(t.Platforms, func(p Platform) string { return p.Name })
	c.Tools = sortedBy(t.Tools, func(x Tool) string { return x.Name })
	c.Activities = sortedBy(t.Activities, func(a Activity) string { return a.Name })
	c.Credentials = sortedBy(t.Credentials, func(x Credential) string { return x.Activity + "\x00" + x.ConsumerKey })
	c.ExternalCredentials = sortedBy(t.ExternalCredentials, func(x ExternalCredential) string { return x.Activity })
	return &c
}

func sortedBy[T any](in []T, key func(T) string) []T {
	out := slices.Clone(in)
	slices.SortStableFunc(out, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	return out
}

func cloneTable(t *Table) *Table {
	c := *t
	c.Platforms = slices.Clone(t.Platforms)
	c.Tools = slices.Clone(t.Tools)
	c.Activities = slices.Clone(t.Activities)
	c.Credentials = slices.Clone(t.Credentials)
	c.ExternalCredentials = slices.Clone(t.ExternalCredentials)
	return &c
}

func shuffle[T any](in []T, seed uint64) []T {
	out := slices.Clone(in)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func split(t testing.TB, table *Table) *Set {
	t.Helper()
	set, err := Split(table)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func files(t testing.TB, set *Set) map[string][]byte {
	t.Helper()
	contents, err := set.Files()
	if err != nil {
		t.Fatal(err)
	}
	return contents
}

func assemble(t *testing.T, contents map[string][]byte) *Table {
	t.Helper()
	m, err := DecodeManifest(contents[ManifestFile])
	if err != nil {
		t.Fatal(err)
	}
	table, err := Assemble(m, reader(contents))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func reader(contents map[string][]byte) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if b, ok := contents[name]; ok {
			return b, nil
		}
		return nil, fs.ErrNotExist
	}
}

// put stores a payload under its content address.
func put(contents map[string][]byte, payload []byte) (hash string) {
	sum := sha256.Sum256(payload)
	hash = hex.EncodeToString(sum[:])
	contents[ShardFileName(hash)] = payload
	return hash
}

func compress(t *testing.T, plain []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	if _, err := zw.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func decompress(t *testing.T, packed []byte) []byte {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// withUnknownFields adds a field that nobody knows to every object in a JSON text, except to maps of labels, whose
// members are data.
func withUnknownFields(t *testing.T, in []byte) []byte {
	t.Helper()
	var v any
	decoder := json.NewDecoder(bytes.NewReader(in))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		t.Fatal(err)
	}
	var add func(any)
	add = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, element := range v {
				add(element)
			}
		case map[string]any:
			for key, member := range v {
				if key != "labels" && key != "platformLabels" {
					add(member)
				}
			}
			v["fieldOfALaterVersion"] = map[string]any{"nested": []any{1, "two"}}
		}
	}
	add(v)
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Text that compresses to nothing would fill the handler's memory instead.
func TestPlainTextHasALimitToo(t *testing.T) {
	table := sampleTable()
	table.Activities[0].Description = strings.Repeat("x", maxWrittenPlainBytes+1)
	if _, err := Split(table); !errors.Is(err, ErrShardTooLarge) {
		t.Errorf("error is %v", err)
	}
	var p Packer
	set, full, err := p.Pack(table)
	if err != nil || set != nil || len(full) != 1 || full[0].Keys || p.Fits(table, full[0]) {
		t.Errorf("overfull are %v (%v)", full, err)
	}
	table.Activities[0].Description = ""
	if !p.Fits(table, full[0]) {
		t.Error("it does not fit without the text either")
	}
}

// What an Assembler keeps of one table must not show in the next.
func TestAnAssemblerBuildsEachTableAnew(t *testing.T) {
	var a Assembler
	build := func(change func(*Table)) (Manifest, map[string][]byte) {
		table := manyActivities(500)
		change(table)
		contents := files(t, split(t, table))
		m, err := DecodeManifest(contents[ManifestFile])
		if err != nil {
			t.Fatal(err)
		}
		return m, contents
	}
	same := func(m Manifest, contents map[string][]byte) {
		t.Helper()
		got, err := a.Assemble(m, reader(contents))
		if err != nil {
			t.Fatal(err)
		}
		want, err := Assemble(m, reader(contents))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	first, contents := build(func(*Table) {})
	same(first, contents)
	known := maps.Clone(a.routing)
	second, changed := build(func(table *Table) { table.Activities[7].Title = "another" })
	same(second, changed)
	shared := 0
	for hash, p := range a.routing {
		if known[hash] == p {
			shared++
		}
	}
	if shared != len(known)-1 {
		t.Errorf("%d of %d shards are unpacked again", len(known)-shared, len(known))
	}

	// A shard that is known must be there all the same, and what it says it is.
	missing := maps.Clone(contents)
	delete(missing, ShardFileName(first.Routing[0]))
	if _, err := a.Assemble(first, reader(missing)); !errors.Is(err, ErrIncomplete) {
		t.Errorf("error = %v, want %v", err, ErrIncomplete)
	}
	missing[ShardFileName(first.Routing[0])] = []byte("something else")
	if _, err := a.Assemble(first, reader(missing)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error = %v, want %v", err, ErrCorrupt)
	}
	same(first, contents)
	fewer, contents := build(func(table *Table) { table.Activities = table.Activities[:3] })
	same(fewer, contents)
}

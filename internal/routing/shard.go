// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"sort"
	"strings"
)

// ManifestFile is the name of the manifest beside the shard files.
const ManifestFile = "manifest.json"

const (
	shardSuffix = ".json.gz"
	// MaxShardBytes is the most a compressed shard may have. An object in etcd may have 1.5 MiB and holds two
	// payloads, in base64.
	MaxShardBytes = 450 << 10
	// MaxEntryBytes is the most that one platform, tool or activity may take in a shard, before compression.
	MaxEntryBytes = 64 << 10
	// MaxCredentialBytes is the most that one consumer key with its secrets may take.
	MaxCredentialBytes = 8 << 10
	// maxPlainBytes bounds what a shard may unpack to.
	maxPlainBytes = 64 << 20
	// maxWrittenPlainBytes bounds what is packed into a shard: text that compresses well must not fill the handler's
	// memory.
	maxWrittenPlainBytes = 16 << 20
)

// Errors of Assemble.
var (
	// ErrIncomplete means that a file which the manifest names is not there (yet).
	ErrIncomplete = errors.New("routing table is incomplete")
	// ErrCorrupt means that a file is not what the manifest says, or cannot be read.
	ErrCorrupt = errors.New("routing table is corrupt")
	// ErrFormat means that the table was written for another major version of the handler.
	ErrFormat = errors.New("routing table has a format that this handler cannot read")
	// ErrShardTooLarge means that a shard does not fit into its object.
	ErrShardTooLarge = errors.New("routing shard is too large")
)

// FormatVersion is the version of a table's format.
type FormatVersion struct {
	Major int `json:"major"`
	Minor int `json:"minor"`
}

// Manifest names the files of a table. Hash is the table's identity.
type Manifest struct {
	FormatVersion FormatVersion `json:"formatVersion"`
	Academy       string        `json:"academy"`
	// Hash is the SHA-256, in hex, over academy, format and the shard hashes in their order.
	Hash string `json:"hash"`
	// Routing and Keys hold the SHA-256 of each shard's compressed bytes, in hex, by shard number.
	Routing []string `json:"routing"`
	Keys    []string `json:"keys"`
}

// Shard is one compressed payload with its content address.
type Shard struct {
	// SHA256 of Payload, in hex.
	SHA256 string
	// Payload is gzip'd JSON.
	Payload []byte
}

// FileName is the name under which a shard stands in its object and in the mounted directory.
func (s Shard) FileName() string { return ShardFileName(s.SHA256) }

// ShardFileName is the file name of the shard with this hash.
func ShardFileName(hash string) string { return hash + shardSuffix }

// ShardHash returns the hash in the name of a shard file; ok is false for any other name.
func ShardHash(file string) (hash string, ok bool) {
	hash, ok = strings.CutSuffix(file, shardSuffix)
	if !ok || len(hash) != sha256.Size*2 {
		return "", false
	}
	_, err := hex.DecodeString(hash)
	return hash, err == nil
}

// HashPayload is the content address of a shard's compressed bytes.
func HashPayload(payload []byte) string {
	sum := sha256.Sum256(payload)
	return hex.EncodeToString(sum[:])
}

// Set is a table ready to be published.
type Set struct {
	Manifest Manifest
	Routing  []Shard
	Keys     []Shard
	// Purge is set when a key was revoked: once the manifest is live, no key shard may keep a payload from before.
	Purge bool
}

// Files returns the whole set as the handler will see it, by file name.
func (s *Set) Files() (map[string][]byte, error) {
	files := make(map[string][]byte, len(s.Routing)+len(s.Keys)+1)
	for _, shard := range append(append([]Shard(nil), s.Routing...), s.Keys...) {
		files[shard.FileName()] = shard.Payload
	}
	manifest, err := EncodeManifest(s.Manifest)
	if err != nil {
		return nil, err
	}
	files[ManifestFile] = manifest
	return files, nil
}

// routingPayload and keyPayload are what a shard file holds. The shard number makes equal (empty) shards differ, so
// that no two of them claim one file name.
type routingPayload struct {
	Shard      int        `json:"shard"`
	Academy    *Academy   `json:"academy,omitempty"`
	Platforms  []Platform `json:"platforms,omitempty"`
	Tools      []Tool     `json:"tools,omitempty"`
	Activities []Activity `json:"activities,omitempty"`
}

type keyPayload struct {
	KeyShard    int          `json:"keyShard"`
	AcademyKeys *AcademyKeys `json:"academyKeys,omitempty"`
	Credentials []Credential `json:"credentials,omitempty"`
	SigningKeys []SigningKey `json:"signingKeys,omitempty"`
	Revoked     []RevokedKey `json:"revoked,omitempty"`
}

// ShardOf places a name on one of n shards.
func ShardOf(kind, name string, n int) int {
	h := fnv.New32a()
	_, _ = io.WriteString(h, kind+"/"+name)
	return int(h.Sum32() % uint32(n)) //nolint:gosec // n is RoutingShards or KeyShards
}

// Place names one shard.
type Place struct {
	// Keys is set for a key shard.
	Keys   bool
	Number int
}

// Overfull returns the shards of a table that are too large to be published.
func Overfull(t *Table) ([]Place, error) {
	routing, keys := lay(t)
	var full []Place
	for i := range routing {
		n, err := measure(&routing[i])
		if err != nil {
			return nil, err
		}
		if n > MaxShardBytes {
			full = append(full, Place{Number: i})
		}
	}
	for i := range keys {
		n, err := measure(&keys[i])
		if err != nil {
			return nil, err
		}
		if n > MaxShardBytes {
			full = append(full, Place{Keys: true, Number: i})
		}
	}
	return full, nil
}

// Fits tells whether one shard of a table can be published, whatever the others are.
func Fits(t *Table, p Place) bool {
	routing, keys := lay(t)
	var payload any
	if p.Keys {
		payload = &keys[p.Number]
	} else {
		payload = &routing[p.Number]
	}
	n, err := measure(payload)
	return err == nil && n <= MaxShardBytes
}

// measure tells how large a payload is, by the bytes that MaxShardBytes limits. Where the plain text is small already it
// is not compressed to find out: its own size, which is more, stands for it.
func measure(v any) (int, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("encode: %w", err)
	}
	// Where nothing can be compressed, gzip adds 5 bytes to every 64 KiB, and its frame.
	if len(plain) <= MaxShardBytes/2 || len(plain) > maxWrittenPlainBytes {
		return len(plain), nil
	}
	packed, err := squeeze(plain)
	return len(packed), err
}

// Split cuts a table into its shards and manifest. The result depends on the table's content only, not on the order of
// its lists.
func Split(t *Table) (*Set, error) {
	routing, keys := lay(t)
	set := &Set{
		Manifest: Manifest{
			FormatVersion: FormatVersion{Major: FormatMajor, Minor: FormatMinor},
			Academy:       t.Academy.Name,
		},
		Purge: len(t.Revoked) > 0,
	}
	for i := range routing {
		shard, err := pack(&routing[i])
		if err != nil {
			return nil, fmt.Errorf("routing shard %d: %w", i, err)
		}
		set.Routing = append(set.Routing, shard)
		set.Manifest.Routing = append(set.Manifest.Routing, shard.SHA256)
	}
	for i := range keys {
		shard, err := pack(&keys[i])
		if err != nil {
			return nil, fmt.Errorf("key shard %d: %w", i, err)
		}
		set.Keys = append(set.Keys, shard)
		set.Manifest.Keys = append(set.Manifest.Keys, shard.SHA256)
	}
	set.Manifest.Hash = set.Manifest.computeHash()
	return set, nil
}

// lay places everything in a table on its shard.
func lay(t *Table) ([]routingPayload, []keyPayload) {
	routing := make([]routingPayload, RoutingShards)
	keys := make([]keyPayload, KeyShards)
	for i := range routing {
		routing[i].Shard = i
	}
	for i := range keys {
		keys[i].KeyShard = i
	}
	routing[0].Academy = &t.Academy
	keys[0].AcademyKeys = &t.AcademyKeys
	for _, p := range sortedBy(t.Platforms, func(p Platform) string { return p.Name }) {
		s := &routing[ShardOf("platform", p.Name, RoutingShards)]
		s.Platforms = append(s.Platforms, p)
	}
	for _, x := range sortedBy(t.Tools, func(x Tool) string { return x.Name }) {
		s := &routing[ShardOf("tool", x.Name, RoutingShards)]
		s.Tools = append(s.Tools, x)
	}
	for _, a := range sortedBy(t.Activities, func(a Activity) string { return a.Name }) {
		s := &routing[ShardOf("activity", a.Name, RoutingShards)]
		s.Activities = append(s.Activities, a)
	}
	for _, c := range sortedBy(t.Credentials, func(c Credential) string { return c.Activity + "\x00" + c.ConsumerKey }) {
		// By its owner, so that a new key stays where the old one was.
		shard := ShardOf("activity", c.Activity, KeyShards)
		if c.Activity == "" {
			shard = ShardOf("platform", c.Platform, KeyShards)
		}
		s := &keys[shard]
		s.Credentials = append(s.Credentials, c)
	}
	for _, k := range sortedBy(t.SigningKeys, func(k SigningKey) string { return k.Kind + "/" + k.Name }) {
		s := &keys[ShardOf(k.Kind, k.Name, KeyShards)]
		s.SigningKeys = append(s.SigningKeys, k)
	}
	for _, k := range sortedBy(t.Revoked, func(k RevokedKey) string { return k.Kind + "/" + k.Name + "/" + k.KeyID }) {
		s := &keys[0] // where the academy's own keys are
		if k.Kind != "" {
			s = &keys[ShardOf(k.Kind, k.Name, KeyShards)]
		}
		s.Revoked = append(s.Revoked, k)
	}
	return routing, keys
}

func sortedBy[T any](in []T, key func(T) string) []T {
	out := append([]T(nil), in...)
	sort.SliceStable(out, func(i, j int) bool { return key(out[i]) < key(out[j]) })
	return out
}

func pack(v any) (Shard, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return Shard{}, fmt.Errorf("encode: %w", err)
	}
	if len(plain) > maxWrittenPlainBytes {
		return Shard{}, fmt.Errorf("%w: %d bytes before compression, at most %d", ErrShardTooLarge, len(plain), maxWrittenPlainBytes)
	}
	packed, err := squeeze(plain)
	if err != nil {
		return Shard{}, err
	}
	if len(packed) > MaxShardBytes {
		return Shard{}, fmt.Errorf("%w: %d bytes, at most %d", ErrShardTooLarge, len(packed), MaxShardBytes)
	}
	return Shard{SHA256: HashPayload(packed), Payload: packed}, nil
}

func squeeze(plain []byte) ([]byte, error) {
	var buf bytes.Buffer
	// The header carries no time and no name: the same content is the same bytes.
	zw := gzip.NewWriter(&buf)
	if _, err := zw.Write(plain); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := zw.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return buf.Bytes(), nil
}

func (m *Manifest) computeHash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%d.%d\n%s\n", m.FormatVersion.Major, m.FormatVersion.Minor, m.Academy)
	for _, s := range m.Routing {
		fmt.Fprintf(h, "r %s\n", s)
	}
	for _, s := range m.Keys {
		fmt.Fprintf(h, "k %s\n", s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// EncodeManifest writes a manifest file.
func EncodeManifest(m Manifest) ([]byte, error) {
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return append(b, '\n'), nil
}

// DecodeManifest reads a manifest file and checks that it is whole.
func DecodeManifest(b []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return Manifest{}, fmt.Errorf("%w: manifest: %w", ErrCorrupt, err)
	}
	if m.FormatVersion.Major != FormatMajor {
		return Manifest{}, fmt.Errorf("%w: version %d.%d", ErrFormat, m.FormatVersion.Major, m.FormatVersion.Minor)
	}
	if m.Hash != m.computeHash() {
		return Manifest{}, fmt.Errorf("%w: manifest does not match its own hash", ErrCorrupt)
	}
	return m, nil
}

// ShardHashes returns the hashes of all shards that the manifest names.
func (m *Manifest) ShardHashes() []string {
	return append(append([]string(nil), m.Routing...), m.Keys...)
}

// Assemble builds the table that the manifest describes; read returns the content of a file or an error. Every shard is
// checked against its hash before it is looked at.
//
// Errors: ErrIncomplete when a shard is missing, ErrCorrupt when one is not what it should be.
func Assemble(m Manifest, read func(name string) ([]byte, error)) (*Table, error) {
	t := &Table{}
	haveAcademy, haveKeys := false, false
	for _, hash := range m.Routing {
		var p routingPayload
		if err := unpack(hash, read, &p); err != nil {
			return nil, err
		}
		if p.Academy != nil {
			t.Academy, haveAcademy = *p.Academy, true
		}
		t.Platforms = append(t.Platforms, p.Platforms...)
		t.Tools = append(t.Tools, p.Tools...)
		t.Activities = append(t.Activities, p.Activities...)
	}
	for _, hash := range m.Keys {
		var p keyPayload
		if err := unpack(hash, read, &p); err != nil {
			return nil, err
		}
		if p.AcademyKeys != nil {
			t.AcademyKeys, haveKeys = *p.AcademyKeys, true
		}
		t.Credentials = append(t.Credentials, p.Credentials...)
		t.SigningKeys = append(t.SigningKeys, p.SigningKeys...)
		t.Revoked = append(t.Revoked, p.Revoked...)
	}
	if !haveAcademy || !haveKeys {
		return nil, fmt.Errorf("%w: no academy in it", ErrCorrupt)
	}
	return t, nil
}

func unpack(hash string, read func(string) ([]byte, error), into any) error {
	name := ShardFileName(hash)
	packed, err := read(name)
	if err != nil {
		return fmt.Errorf("%w: shard %.12s: %w", ErrIncomplete, hash, err)
	}
	if HashPayload(packed) != hash {
		return fmt.Errorf("%w: shard %.12s does not match its hash", ErrCorrupt, hash)
	}
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("%w: shard %.12s: %w", ErrCorrupt, hash, err)
	}
	plain, err := io.ReadAll(io.LimitReader(zr, maxPlainBytes+1))
	if err != nil {
		return fmt.Errorf("%w: shard %.12s: %w", ErrCorrupt, hash, err)
	}
	if len(plain) > maxPlainBytes {
		return fmt.Errorf("%w: shard %.12s unpacks to more than %d bytes", ErrCorrupt, hash, maxPlainBytes)
	}
	if err := json.Unmarshal(plain, into); err != nil {
		// The cause may quote the content, and key shards hold secrets.
		return fmt.Errorf("%w: shard %.12s is not valid JSON", ErrCorrupt, hash)
	}
	return nil
}

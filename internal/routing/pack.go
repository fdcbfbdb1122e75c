// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

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

// routingContent and keyContent are what is written into a shard file. The shard number makes equal (empty) shards
// differ, so that no two of them claim one file name.
type routingContent struct {
	Shard      int         `json:"shard"`
	Academy    *Academy    `json:"academy,omitempty"`
	Platforms  []*Platform `json:"platforms,omitempty"`
	Tools      []*Tool     `json:"tools,omitempty"`
	Activities []*Activity `json:"activities,omitempty"`
}

type keyContent struct {
	KeyShard            int                   `json:"keyShard"`
	AcademyKeys         *AcademyKeys          `json:"academyKeys,omitempty"`
	Credentials         []*Credential         `json:"credentials,omitempty"`
	ExternalCredentials []*ExternalCredential `json:"externalCredentials,omitempty"`
	SigningKeys         []*SigningKey         `json:"signingKeys,omitempty"`
	Revoked             []*RevokedKey         `json:"revoked,omitempty"`
}

// ShardOf places a name on one of n shards: by FNV-1a (32 bits) of "kind/name".
func ShardOf(kind, name string, n int) int {
	const offset, prime = 2166136261, 16777619
	h := uint32(offset)
	for i := range len(kind) {
		h = (h ^ uint32(kind[i])) * prime
	}
	h = (h ^ '/') * prime
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * prime
	}
	return int(h % uint32(n)) //nolint:gosec // n is RoutingShards or KeyShards
}

// Place names one shard.
type Place struct {
	// Keys is set for a key shard.
	Keys   bool
	Number int
}

// kindActivity is what ShardOf gets for activities and the keys that open them.
const kindActivity = "activity"

func place(keys bool, kind, name string) Place {
	if keys {
		return Place{Keys: true, Number: ShardOf(kind, name, KeyShards)}
	}
	return Place{Number: ShardOf(kind, name, RoutingShards)}
}

// PlaceOfActivity is where an activity stands, or with keys, where the LTI 1.2 credentials that it is opened with do.
func PlaceOfActivity(name string, keys bool) Place { return place(keys, kindActivity, name) }

// PlaceOfRegistration is where a platform or tool (KindPlatform or KindTool) stands, or with keys, where its signing key
// and LTI 1.2 credentials do.
func PlaceOfRegistration(kind, name string, keys bool) Place { return place(keys, kind, name) }

// Packer cuts tables into shards. It remembers how it has compressed each shard the last time: of two tables in a row
// that differ in one activity, one shard is compressed for the second one, and not a dozen. The zero value is ready for
// use, by one goroutine at a time.
type Packer struct {
	shards map[Place]packedShard
	plain  bytes.Buffer
}

// packedShard is a shard with the hash of what was compressed.
type packedShard struct {
	plain [sha256.Size]byte
	shard Shard
}

// Split cuts a table into its shards and manifest. The result depends on the table's content only, not on the order of
// its lists.
func Split(t *Table) (*Set, error) {
	var p Packer
	set, full, err := p.Pack(t)
	if err != nil {
		return nil, err
	}
	if len(full) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrShardTooLarge, full[0])
	}
	return set, nil
}

// String names the shard for people.
func (p Place) String() string {
	if p.Keys {
		return fmt.Sprintf("key shard %d", p.Number)
	}
	return fmt.Sprintf("routing shard %d", p.Number)
}

// Pack cuts a table into its shards and manifest, as Split does. Where it cannot be published because shards are too
// large, these are returned instead.
func (p *Packer) Pack(t *Table) (set *Set, full []Place, err error) {
	l := lay(t, nil)
	set = &Set{
		Manifest: Manifest{
			FormatVersion: FormatVersion{Major: FormatMajor, Minor: FormatMinor},
			Academy:       t.Academy.Name,
		},
		Purge: len(t.Revoked) > 0,
	}
	for i := range RoutingShards {
		at := Place{Number: i}
		shard, fits, err := p.pack(at, l.content(at))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", at, err)
		}
		if !fits {
			full = append(full, at)
		}
		set.Routing = append(set.Routing, shard)
		set.Manifest.Routing = append(set.Manifest.Routing, shard.SHA256)
	}
	for i := range KeyShards {
		at := Place{Keys: true, Number: i}
		shard, fits, err := p.pack(at, l.content(at))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", at, err)
		}
		if !fits {
			full = append(full, at)
		}
		set.Keys = append(set.Keys, shard)
		set.Manifest.Keys = append(set.Manifest.Keys, shard.SHA256)
	}
	if len(full) > 0 {
		return nil, full, nil
	}
	set.Manifest.Hash = set.Manifest.computeHash()
	return set, nil, nil
}

// Fits tells whether one shard of a table can be published, whatever the others are.
func (p *Packer) Fits(t *Table, at Place) bool {
	plain, err := p.encode(lay(t, &at).content(at))
	if err != nil || len(plain) > maxWrittenPlainBytes {
		return false
	}
	// Where nothing can be compressed, a block of 16 KiB or more gets 5 bytes, and the whole a frame: there is no need to
	// try with what is small anyway.
	if len(plain) <= MaxShardBytes-MaxShardBytes/1024-64 {
		return true
	}
	packed, err := squeeze(plain)
	return err == nil && len(packed) <= MaxShardBytes
}

// Only is the part of a table that stands in one shard.
func Only(t *Table, at Place) *Table {
	l := lay(t, &at)
	r, k := l.routing[0], l.keys[0]
	if at.Keys {
		k = l.keys[at.Number]
	} else {
		r = l.routing[at.Number]
	}
	return &Table{
		Academy: t.Academy, AcademyKeys: t.AcademyKeys,
		Platforms: values(r.Platforms), Tools: values(r.Tools), Activities: values(r.Activities),
		Credentials: values(k.Credentials), ExternalCredentials: values(k.ExternalCredentials), SigningKeys: values(k.SigningKeys), Revoked: values(k.Revoked),
	}
}

func values[T any](in []*T) []T {
	out := make([]T, len(in))
	for i, x := range in {
		out[i] = *x
	}
	return out
}

// encode writes the JSON of a shard into the packer's buffer; it is valid until the next call.
func (p *Packer) encode(content any) ([]byte, error) {
	p.plain.Reset()
	if err := json.NewEncoder(&p.plain).Encode(content); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return bytes.TrimSuffix(p.plain.Bytes(), []byte("\n")), nil
}

// pack compresses a shard, unless it is the one that stood there last; fits is false where it is too large.
func (p *Packer) pack(at Place, content any) (shard Shard, fits bool, err error) {
	plain, err := p.encode(content)
	if err != nil {
		return Shard{}, false, err
	}
	if len(plain) > maxWrittenPlainBytes {
		p.plain = bytes.Buffer{} // and not kept for the next one
		return Shard{}, false, nil
	}
	sum := sha256.Sum256(plain)
	if last, ok := p.shards[at]; ok && last.plain == sum {
		return last.shard, true, nil
	}
	packed, err := squeeze(plain)
	if err != nil {
		return Shard{}, false, err
	}
	if len(packed) > MaxShardBytes {
		return Shard{}, false, nil
	}
	shard = Shard{SHA256: HashPayload(packed), Payload: packed}
	if p.shards == nil {
		p.shards = make(map[Place]packedShard, RoutingShards+KeyShards)
	}
	p.shards[at] = packedShard{plain: sum, shard: shard}
	return shard, true, nil
}

// layout is a table, cut into shards.
type layout struct {
	routing [RoutingShards]routingContent
	keys    [KeyShards]keyContent
}

func (l *layout) content(at Place) any {
	if at.Keys {
		return &l.keys[at.Number]
	}
	return &l.routing[at.Number]
}

// lay places everything in a table on its shard; with only, what stands on that one.
func lay(t *Table, only *Place) *layout {
	l := &layout{}
	for i := range l.routing {
		l.routing[i].Shard = i
	}
	for i := range l.keys {
		l.keys[i].KeyShard = i
	}
	l.routing[0].Academy = &t.Academy
	l.keys[0].AcademyKeys = &t.AcademyKeys
	wanted := func(at Place) bool { return only == nil || *only == at }

	for i := range t.Platforms {
		p := &t.Platforms[i]
		if at := PlaceOfRegistration(KindPlatform, p.Name, false); wanted(at) {
			s := &l.routing[at.Number]
			s.Platforms = append(s.Platforms, p)
		}
	}
	for i := range t.Tools {
		x := &t.Tools[i]
		if at := PlaceOfRegistration(KindTool, x.Name, false); wanted(at) {
			s := &l.routing[at.Number]
			s.Tools = append(s.Tools, x)
		}
	}
	for i := range t.Activities {
		a := &t.Activities[i]
		if at := PlaceOfActivity(a.Name, false); wanted(at) {
			s := &l.routing[at.Number]
			s.Activities = append(s.Activities, a)
		}
	}
	for i := range t.Credentials {
		c := &t.Credentials[i]
		// By its owner, so that a new key stays where the old one was.
		at := PlaceOfActivity(c.Activity, true)
		if c.Activity == "" {
			at = PlaceOfRegistration(KindPlatform, c.Platform, true)
		}
		if wanted(at) {
			s := &l.keys[at.Number]
			s.Credentials = append(s.Credentials, c)
		}
	}
	for i := range t.ExternalCredentials {
		c := &t.ExternalCredentials[i]
		if at := PlaceOfActivity(c.Activity, true); wanted(at) {
			s := &l.keys[at.Number]
			s.ExternalCredentials = append(s.ExternalCredentials, c)
		}
	}
	for i := range t.SigningKeys {
		k := &t.SigningKeys[i]
		if at := PlaceOfRegistration(k.Kind, k.Name, true); wanted(at) {
			s := &l.keys[at.Number]
			s.SigningKeys = append(s.SigningKeys, k)
		}
	}
	for i := range t.Revoked {
		k := &t.Revoked[i]
		at := Place{Keys: true} // where the academy's own keys are
		if k.Kind != "" {
			at = PlaceOfRegistration(k.Kind, k.Name, true)
		}
		if wanted(at) {
			s := &l.keys[at.Number]
			s.Revoked = append(s.Revoked, k)
		}
	}
	l.sort()
	return l
}

// sort makes the content of each shard independent of the order of the table's lists.
func (l *layout) sort() {
	for i := range l.routing {
		s := &l.routing[i]
		slices.SortStableFunc(s.Platforms, func(a, b *Platform) int { return cmp.Compare(a.Name, b.Name) })
		slices.SortStableFunc(s.Tools, func(a, b *Tool) int { return cmp.Compare(a.Name, b.Name) })
		slices.SortStableFunc(s.Activities, func(a, b *Activity) int { return cmp.Compare(a.Name, b.Name) })
	}
	for i := range l.keys {
		s := &l.keys[i]
		slices.SortStableFunc(s.Credentials, func(a, b *Credential) int {
			return cmp.Or(cmp.Compare(a.Activity, b.Activity), cmp.Compare(a.ConsumerKey, b.ConsumerKey))
		})
		slices.SortStableFunc(s.ExternalCredentials, func(a, b *ExternalCredential) int { return cmp.Compare(a.Activity, b.Activity) })
		slices.SortStableFunc(s.SigningKeys, func(a, b *SigningKey) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
		})
		slices.SortStableFunc(s.Revoked, func(a, b *RevokedKey) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.KeyID, b.KeyID))
		})
	}
}

// zippers are compressors to use again: each takes most of a MiB.
var zippers = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

func squeeze(plain []byte) ([]byte, error) {
	zw, ok := zippers.Get().(*gzip.Writer)
	if !ok {
		zw = gzip.NewWriter(nil)
	}
	defer zippers.Put(zw)
	var buf bytes.Buffer
	// The header carries no time and no name: the same content is the same bytes.
	zw.Reset(&buf)
	if _, err := zw.Write(plain); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := zw.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	// Kept for as long as nothing changes: without the room to grow.
	return bytes.Clone(buf.Bytes()), nil
}

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
	"io"
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

// routingPayload and keyPayload are what a shard file holds, as it is read; routingContent and keyContent are the same
// as it is written.
type routingPayload struct {
	Shard      int        `json:"shard"`
	Academy    *Academy   `json:"academy,omitempty"`
	Platforms  []Platform `json:"platforms,omitempty"`
	Tools      []Tool     `json:"tools,omitempty"`
	Activities []Activity `json:"activities,omitempty"`
}

type keyPayload struct {
	KeyShard            int                  `json:"keyShard"`
	AcademyKeys         *AcademyKeys         `json:"academyKeys,omitempty"`
	Credentials         []Credential         `json:"credentials,omitempty"`
	ExternalCredentials []ExternalCredential `json:"externalCredentials,omitempty"`
	SigningKeys         []SigningKey         `json:"signingKeys,omitempty"`
	Revoked             []RevokedKey         `json:"revoked,omitempty"`
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
	return (&Assembler{}).Assemble(m, read)
}

// Assembler builds one table after the other, and unpacks only the shards that the one before did not have: a change
// to one of 10,000 activities is in one or two of them. The zero value is ready; it is for one goroutine. Tables share
// what has not changed, so nobody may write to one.
type Assembler struct {
	routing map[string]*routingPayload
	keys    map[string]*keyPayload
}

// Assemble is [Assemble]. After an error the next table is built as if this one had not been tried.
func (a *Assembler) Assemble(m Manifest, read func(name string) ([]byte, error)) (*Table, error) {
	routing, err := unpackAll(m.Routing, read, a.routing)
	if err != nil {
		return nil, err
	}
	keys, err := unpackAll(m.Keys, read, a.keys)
	if err != nil {
		return nil, err
	}
	t := &Table{}
	haveAcademy, haveKeys := false, false
	for _, hash := range m.Routing {
		p := routing[hash]
		if p.Academy != nil {
			t.Academy, haveAcademy = *p.Academy, true
		}
		t.Platforms = append(t.Platforms, p.Platforms...)
		t.Tools = append(t.Tools, p.Tools...)
		t.Activities = append(t.Activities, p.Activities...)
	}
	for _, hash := range m.Keys {
		p := keys[hash]
		if p.AcademyKeys != nil {
			t.AcademyKeys, haveKeys = *p.AcademyKeys, true
		}
		t.Credentials = append(t.Credentials, p.Credentials...)
		t.ExternalCredentials = append(t.ExternalCredentials, p.ExternalCredentials...)
		t.SigningKeys = append(t.SigningKeys, p.SigningKeys...)
		t.Revoked = append(t.Revoked, p.Revoked...)
	}
	if !haveAcademy || !haveKeys {
		return nil, fmt.Errorf("%w: no academy in it", ErrCorrupt)
	}
	a.routing, a.keys = routing, keys
	return t, nil
}

// unpackAll returns the contents of shards by their hashes. Those that are known are read too, since a handler that starts
// again must find them, but not unpacked.
func unpackAll[P any](hashes []string, read func(string) ([]byte, error), known map[string]*P) (map[string]*P, error) {
	contents := make(map[string]*P, len(hashes))
	for _, hash := range hashes {
		packed, err := read(ShardFileName(hash))
		if err != nil {
			return nil, fmt.Errorf("%w: shard %.12s: %w", ErrIncomplete, hash, err)
		}
		if HashPayload(packed) != hash {
			return nil, fmt.Errorf("%w: shard %.12s does not match its hash", ErrCorrupt, hash)
		}
		if contents[hash] = known[hash]; contents[hash] != nil {
			continue
		}
		contents[hash] = new(P)
		if err := unpack(hash, packed, contents[hash]); err != nil {
			return nil, err
		}
	}
	return contents, nil
}

func unpack(hash string, packed []byte, into any) error {
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

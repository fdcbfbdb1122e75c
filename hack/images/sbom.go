// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The parts of SPDX 2.3 that are used here (https://spdx.github.io/spdx-spec/v2.3/), by their names in JSON.
type (
	spdxDocument struct {
		SPDXVersion       string             `json:"spdxVersion"`
		DataLicense       string             `json:"dataLicense"`
		SPDXID            string             `json:"SPDXID"`
		Name              string             `json:"name"`
		DocumentNamespace string             `json:"documentNamespace"`
		CreationInfo      spdxCreation       `json:"creationInfo"`
		DocumentDescribes []string           `json:"documentDescribes"`
		Packages          []spdxPackage      `json:"packages"`
		Relationships     []spdxRelationship `json:"relationships"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		SPDXID           string         `json:"SPDXID"`
		Name             string         `json:"name"`
		VersionInfo      string         `json:"versionInfo,omitempty"`
		DownloadLocation string         `json:"downloadLocation"`
		FilesAnalyzed    bool           `json:"filesAnalyzed"`
		LicenseConcluded string         `json:"licenseConcluded"`
		LicenseDeclared  string         `json:"licenseDeclared"`
		CopyrightText    string         `json:"copyrightText"`
		PrimaryPurpose   string         `json:"primaryPackagePurpose,omitempty"`
		Comment          string         `json:"comment,omitempty"`
		Checksums        []spdxChecksum `json:"checksums,omitempty"`
		ExternalRefs     []spdxRef      `json:"externalRefs,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxRef struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxRelationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

const noAssertion = "NOASSERTION"

// rootsModule is where the root certificates come from.
const rootsModule = "golang.org/x/crypto/x509roots/fallback"

// billOfMaterials says what an image holds, as SPDX 2.3 in JSON: the program with every module that is linked into it, as
// the program itself tells, Go's standard library and the root certificates.
//
// The checksum of a module is that of go.sum (h1, a SHA-256 of the list of its files' SHA-256, in hexadecimal).
func billOfMaterials(name, arch, version string, created time.Time, digest v1.Hash, binary []byte, info *debug.BuildInfo) ([]byte, error) {
	image, program := "SPDXRef-image", "SPDXRef-program"
	sum := sha256.Sum256(binary)
	doc := spdxDocument{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT",
		Name: name + " " + version + " linux/" + arch,
		// Unique to the content, which it must be, and the same for the same content.
		DocumentNamespace: source + "/spdx/" + name + "-" + arch + "-" + digest.Hex,
		CreationInfo: spdxCreation{
			Created:  created.Format(time.RFC3339),
			Creators: []string{"Organization: lti-operator", "Tool: lti-operator-hack-images"},
		},
		DocumentDescribes: []string{image},
	}
	add := func(p spdxPackage) {
		p.LicenseConcluded, p.CopyrightText = noAssertion, noAssertion
		if p.DownloadLocation == "" {
			p.DownloadLocation = noAssertion
		}
		if p.LicenseDeclared == "" {
			p.LicenseDeclared = noAssertion
		}
		doc.Packages = append(doc.Packages, p)
	}
	relate := func(element, kind, related string) {
		doc.Relationships = append(doc.Relationships, spdxRelationship{Element: element, Type: kind, Related: related})
	}

	add(spdxPackage{
		SPDXID: image, Name: name, VersionInfo: version, LicenseDeclared: licenses, PrimaryPurpose: "CONTAINER",
		Checksums:    []spdxChecksum{{"SHA256", digest.Hex}},
		Comment:      "the checksum is the digest of the image's manifest",
		ExternalRefs: []spdxRef{purl("oci", name, digest.String(), "arch="+arch)},
	})
	relate(doc.SPDXID, "DESCRIBES", image)
	add(spdxPackage{
		SPDXID: program, Name: info.Path, VersionInfo: version, LicenseDeclared: licenses, PrimaryPurpose: "APPLICATION",
		DownloadLocation: "git+" + source,
		Checksums:        []spdxChecksum{{"SHA256", hex.EncodeToString(sum[:])}},
		ExternalRefs:     []spdxRef{purl("golang", info.Path, version, "")},
	})
	relate(image, "CONTAINS", program)

	goVersion := strings.TrimPrefix(info.GoVersion, "go")
	add(spdxPackage{
		SPDXID: "SPDXRef-stdlib", Name: "stdlib", VersionInfo: goVersion, LicenseDeclared: "BSD-3-Clause", PrimaryPurpose: "LIBRARY",
		ExternalRefs: []spdxRef{purl("golang", "stdlib", goVersion, "")},
	})
	relate(program, "DEPENDS_ON", "SPDXRef-stdlib")

	ids := map[string]bool{}
	addModule := func(m *debug.Module) (string, error) {
		if m.Replace != nil {
			m = m.Replace
		}
		id := "SPDXRef-module-" + notInIDs.ReplaceAllString(m.Path+"-"+m.Version, "-")
		for ids[id] { // two names that differ in what is not allowed in an ID
			id += "-"
		}
		ids[id] = true
		p := spdxPackage{
			SPDXID: id, Name: m.Path, VersionInfo: m.Version, PrimaryPurpose: "LIBRARY",
			ExternalRefs: []spdxRef{purl("golang", m.Path, m.Version, "")},
		}
		if m.Sum != "" {
			raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
			if err != nil || len(raw) != sha256.Size {
				return "", fmt.Errorf("module %s has the checksum %q", m.Path, m.Sum)
			}
			p.Checksums = []spdxChecksum{{"SHA256", hex.EncodeToString(raw)}}
			p.Comment = "the checksum is Go's: " + m.Sum
		}
		add(p)
		return id, nil
	}
	for _, m := range info.Deps {
		id, err := addModule(m)
		if err != nil {
			return nil, err
		}
		relate(program, "DEPENDS_ON", id)
	}

	roots, err := rootsOf()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(info.Deps, func(m *debug.Module) bool { return m.Path == rootsModule }) {
		id, err := addModule(roots)
		if err != nil {
			return nil, err
		}
		relate(image, "CONTAINS", id)
	}

	content, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write bill of materials: %w", err)
	}
	return append(content, '\n'), nil
}

// notInIDs is what an SPDX ID cannot hold (clause 3.2: letters, numbers, "." and "-").
var notInIDs = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// purl makes a package URL (https://github.com/package-url/purl-spec).
func purl(kind, name, version, qualifiers string) spdxRef {
	locator := "pkg:" + kind + "/" + (&url.URL{Path: name}).EscapedPath()
	if version != "" {
		locator += "@" + url.QueryEscape(version)
	}
	if qualifiers != "" {
		locator += "?" + qualifiers
	}
	return spdxRef{Category: "PACKAGE-MANAGER", Type: "purl", Locator: locator}
}

// rootsOf is the module of the root certificates that this program is linked with.
func rootsOf() (*debug.Module, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, fmt.Errorf("this program knows nothing of its modules")
	}
	for _, m := range info.Deps {
		if m.Path == rootsModule {
			return m, nil
		}
	}
	return nil, fmt.Errorf("this program is not linked with %s", rootsModule)
}

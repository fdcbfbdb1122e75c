// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const (
	epoch   = "1700000000"
	created = "2023-11-14T22:13:20Z"
)

// buildHello makes images of testdata/hello in a module of its own, and returns the folder that they are in.
func buildHello(t *testing.T, arches string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "hello"), os.DirFS("testdata/hello")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "hello", "go.mod"), []byte("module example.org/hello\n\ngo 1.26.0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(root, "out")
	o, err := parse([]string{"--root", root, "--out", out, "--version", "v1.2.3", "--repository", "example.org", "--arch", arches, "hello=hello"},
		func(name string) string { return map[string]string{"SOURCE_DATE_EPOCH": epoch}[name] })
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Everything that is written is the same, byte for byte, wherever the source lies and whatever the environment says.
func TestTwoFoldersGiveTheSameFiles(t *testing.T) {
	first := buildHello(t, "amd64,arm64")
	t.Setenv("GOAMD64", "v2")
	t.Setenv("GOFLAGS", "-tags=other")
	second := buildHello(t, "arm64 amd64")
	for _, name := range []string{"digests.txt", "hello.tar", "hello-amd64.spdx.json", "hello-arm64.spdx.json"} {
		if read(t, filepath.Join(first, name)) != read(t, filepath.Join(second, name)) {
			t.Errorf("%s differs", name)
		}
	}
	lines := strings.Split(strings.TrimSpace(read(t, filepath.Join(first, "digests.txt"))), "\n")
	want := []*regexp.Regexp{
		regexp.MustCompile(`^hello index sha256:[0-9a-f]{64}$`),
		regexp.MustCompile(`^hello linux/amd64 sha256:[0-9a-f]{64}$`),
		regexp.MustCompile(`^hello linux/arm64 sha256:[0-9a-f]{64}$`),
	}
	if !slices.EqualFunc(lines, want, func(line string, re *regexp.Regexp) bool { return re.MatchString(line) }) {
		t.Errorf("digests.txt: %q", lines)
	}
}

func TestAnImageHoldsTheProgramAndRootsOnly(t *testing.T) {
	out := buildHello(t, "amd64")
	// Read as `docker load` does; the OCI layout is beside it, with the same blobs.
	image, err := tarball.ImageFromPath(filepath.Join(out, "hello.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != "amd64" || config.Config.User != "65532:65532" ||
		!slices.Equal(config.Config.Entrypoint, []string{"/hello"}) || config.Created.UTC().Format("2006-01-02T15:04:05Z") != created {
		t.Errorf("configuration: %+v", config)
	}
	for key, value := range map[string]string{
		"title": "hello", "version": "v1.2.3", "licenses": "Apache-2.0", "created": created,
		"source": "https://github.com/lti-operator/lti-operator",
	} {
		if got := config.Config.Labels["org.opencontainers.image."+key]; got != value {
			t.Errorf("label %s is %q", key, got)
		}
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	var roots []byte
	r := tar.NewReader(content)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.FileInfo().Mode().String()+" "+h.Name)
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.UTC().Format("2006-01-02T15:04:05Z") != created {
			t.Errorf("%s: %d:%d %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		if h.Name == rootsPath {
			if roots, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{
		"drwxr-xr-x etc/", "drwxr-xr-x etc/ssl/", "drwxr-xr-x etc/ssl/certs/",
		"-rw-r--r-- etc/ssl/certs/ca-certificates.crt", "-rwxr-xr-x hello",
	}
	if !slices.Equal(names, want) {
		t.Errorf("files: %q", names)
	}
	count := 0
	for block, rest := pem.Decode(roots); block != nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			t.Error(err)
		}
		count++
	}
	if count < 100 {
		t.Errorf("%d root certificates", count)
	}
}

// The layout is what containerd reads: every blob that is named is there, under the name of its content.
func TestTheLayoutIsComplete(t *testing.T) {
	f, err := os.Open(filepath.Join(buildHello(t, "amd64,arm64"), "hello.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := map[string][]byte{}
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	decode := func(content []byte, into any) {
		t.Helper()
		if err := json.Unmarshal(content, into); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(d v1.Descriptor) []byte {
		t.Helper()
		content := files[blobPath(d.Digest)]
		if digest, _, err := v1.SHA256(strings.NewReader(string(content))); err != nil || digest != d.Digest || int64(len(content)) != d.Size {
			t.Fatalf("%s %s is not there as named", d.MediaType, d.Digest)
		}
		return content
	}
	var top, index v1.IndexManifest
	decode(files["index.json"], &top)
	if len(top.Manifests) != 1 || top.Manifests[0].Annotations["io.containerd.image.name"] != "example.org/hello:v1.2.3" {
		t.Fatalf("index.json: %s", files["index.json"])
	}
	decode(blob(top.Manifests[0]), &index)
	var arches []string
	for _, d := range index.Manifests {
		arches = append(arches, d.Platform.Architecture)
		var manifest v1.Manifest
		decode(blob(d), &manifest)
		if manifest.Annotations["org.opencontainers.image.version"] != "v1.2.3" {
			t.Errorf("annotations of %s: %v", d.Platform, manifest.Annotations)
		}
		blob(manifest.Config)
		for _, l := range manifest.Layers {
			blob(l)
		}
	}
	if !slices.Equal(arches, []string{"amd64", "arm64"}) {
		t.Errorf("architectures: %q", arches)
	}
}

// What SPDX 2.3 demands of a document and of each package, and that relations lead somewhere.
func TestTheBillOfMaterialsIsValid(t *testing.T) {
	var doc spdxDocument
	if err := json.Unmarshal([]byte(read(t, filepath.Join(buildHello(t, "arm64"), "hello-arm64.spdx.json"))), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.SPDXVersion != "SPDX-2.3" || doc.DataLicense != "CC0-1.0" || doc.SPDXID != "SPDXRef-DOCUMENT" || doc.Name == "" ||
		!strings.HasPrefix(doc.DocumentNamespace, "https://") || strings.Contains(doc.DocumentNamespace, "#") ||
		doc.CreationInfo.Created != created || len(doc.CreationInfo.Creators) == 0 {
		t.Errorf("document: %+v", doc)
	}
	names, ids := map[string]string{}, map[string]bool{doc.SPDXID: true}
	for _, p := range doc.Packages {
		if ids[p.SPDXID] || !regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`).MatchString(p.SPDXID) {
			t.Errorf("ID %q", p.SPDXID)
		}
		ids[p.SPDXID], names[p.Name] = true, p.VersionInfo
		if p.Name == "" || p.DownloadLocation == "" || p.FilesAnalyzed {
			t.Errorf("package: %+v", p)
		}
		for _, c := range p.Checksums {
			if c.Algorithm != "SHA256" || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(c.Value) {
				t.Errorf("checksum of %s: %+v", p.Name, c)
			}
		}
	}
	for _, name := range []string{"hello", "example.org/hello", "stdlib", rootsModule} {
		if names[name] == "" {
			t.Errorf("no version of %s in %v", name, names)
		}
	}
	described := false
	for _, r := range doc.Relationships {
		if !ids[r.Element] || !ids[r.Related] {
			t.Errorf("relation leads nowhere: %+v", r)
		}
		described = described || r.Type == "DESCRIBES" && r.Element == doc.SPDXID
	}
	if !described {
		t.Error("the document describes nothing")
	}
}

func TestWrongCommandLines(t *testing.T) {
	for name, args := range map[string][]string{
		"nothing to build":        {},
		"no folder":               {"hello"},
		"the same name twice":     {"a=x", "a=y"},
		"an unknown architecture": {"--arch", "mips", "a=x"},
		"no architecture":         {"--arch", ",", "a=x"},
	} {
		if _, err := parse(args, func(string) string { return "" }); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

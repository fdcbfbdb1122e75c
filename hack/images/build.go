// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	// user is "nonroot" of the common minimal base images. It is a number, as there is no /etc/passwd, and as kubelet can
	// tell of a number only that it is not root's.
	user = "65532:65532"
	// rootsPath is one of the places where crypto/x509 looks, and where people mount their own.
	rootsPath = "etc/ssl/certs/ca-certificates.crt"
	licenses  = "Apache-2.0"
	source    = "https://github.com/lti-operator/lti-operator"
)

// titles say what the programs are; others are called by their name.
var titles = map[string]string{
	"lti-operator":   "LTI operator",
	"launch-handler": "LTI launch handler",
}

// baseline is the oldest processor of an architecture that the programs run on, as a variable for the compiler: one from
// the environment would change the digest.
var baseline = map[string]string{
	"amd64": "GOAMD64=v1",
	"arm64": "GOARM64=v8.0",
}

// built is the image of one architecture.
type built struct {
	arch   string
	image  v1.Image
	digest v1.Hash
	sbom   []byte
}

// build compiles a program and makes its images, one for each architecture.
func (o *options) build(ctx context.Context, name string) ([]built, error) {
	dir, err := os.MkdirTemp("", "images-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var images []built
	for _, arch := range o.arches {
		binary := filepath.Join(dir, arch)
		if err := o.compile(ctx, o.programs[name], arch, binary); err != nil {
			return nil, err
		}
		content, err := os.ReadFile(binary)
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.Read(bytes.NewReader(content))
		if err != nil {
			return nil, fmt.Errorf("read the modules of the program: %w", err)
		}
		image, err := assemble(name, arch, o.version, o.created, content)
		if err != nil {
			return nil, err
		}
		digest, err := image.Digest()
		if err != nil {
			return nil, err
		}
		sbom, err := billOfMaterials(name, arch, o.version, o.created, digest, content, info)
		if err != nil {
			return nil, err
		}
		images = append(images, built{arch: arch, image: image, digest: digest, sbom: sbom})
	}
	return images, nil
}

// compile builds the program in folder so that neither the folder nor the environment leave a trace in it.
func (o *options) compile(ctx context.Context, folder, arch, to string) error {
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join(o.root, folder),
		"-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+o.version, "-o", to, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, baseline[arch],
		"GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compile for linux/%s: %w", arch, err)
	}
	return nil
}

// assemble makes the image of a static program.
func assemble(name, arch, version string, created time.Time, binary []byte) (v1.Image, error) {
	content, err := layer(name, created, binary)
	if err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("compress layer: %w", err)
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{
		Layer:   l,
		History: v1.History{Created: v1.Time{Time: created}, CreatedBy: "hack/images"},
	})
	if err != nil {
		return nil, fmt.Errorf("append layer: %w", err)
	}
	labels := labelsOf(name, version, created)
	image, err = mutate.ConfigFile(image, withConfig(image, arch, created, v1.Config{
		Entrypoint: []string{"/" + name},
		Env:        []string{"PATH=/", "SSL_CERT_FILE=/" + rootsPath},
		User:       user,
		WorkingDir: "/",
		Labels:     labels,
	}))
	if err != nil {
		return nil, fmt.Errorf("set configuration: %w", err)
	}
	annotated, ok := mutate.Annotations(image, labels).(v1.Image)
	if !ok {
		return nil, fmt.Errorf("annotate: not an image")
	}
	return annotated, nil
}

func withConfig(image v1.Image, arch string, created time.Time, config v1.Config) *v1.ConfigFile {
	file := &v1.ConfigFile{}
	if old, err := image.ConfigFile(); err == nil {
		file = old.DeepCopy()
	}
	file.OS, file.Architecture, file.Created, file.Config = "linux", arch, v1.Time{Time: created}, config
	return file
}

// labelsOf are labels and annotations of an image, by the names of the OCI image specification (annotations.md).
func labelsOf(name, version string, created time.Time) map[string]string {
	title, ok := titles[name]
	if !ok {
		title = name
	}
	return map[string]string{
		"org.opencontainers.image.title":    title,
		"org.opencontainers.image.source":   source,
		"org.opencontainers.image.licenses": licenses,
		"org.opencontainers.image.version":  version,
		"org.opencontainers.image.created":  created.Format(time.RFC3339),
	}
}

// layer is the image's file system as an uncompressed tar file.
func layer(name string, created time.Time, binary []byte) ([]byte, error) {
	roots := rootCertificates()
	files := map[string]struct {
		mode    int64
		content []byte
	}{
		name:      {0o755, binary},
		rootsPath: {0o644, roots},
	}
	// Every folder on the way, before what is in it: that order is the alphabet's.
	folders := map[string]bool{}
	for path := range files {
		for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
			folders[dir] = true
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: created, Format: tar.FormatPAX}); err != nil {
			return nil, err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f := files[path]
		if err := w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: path, Mode: f.mode, Size: int64(len(f.content)), ModTime: created, Format: tar.FormatPAX,
		}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// rootCertificates are those of Mozilla, as PEM, from a module: its version is pinned, where the ones of the machine would
// change the digest from one machine to the next. Roots that are to be believed with a reservation only are left out,
// because a file has no way to say so.
func rootCertificates() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			// A bytes.Buffer takes everything.
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return out.Bytes()
}

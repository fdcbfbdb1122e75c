// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// archive is an OCI layout that is written to a tar file.
type archive struct {
	w    *tar.Writer
	seen map[v1.Hash]bool
}

// writeArchive writes the images of one program as an OCI layout, and returns the digest that the reference stands for:
// the image's, or of several the index's.
//
// An archive of one image has the manifest.json of `docker save` too, for what reads no OCI layout.
func writeArchive(path, reference string, images []built) (v1.Hash, error) {
	var content bytes.Buffer
	a := &archive{w: tar.NewWriter(&content), seen: map[v1.Hash]bool{}}
	for _, b := range images {
		if err := a.image(b.image); err != nil {
			return v1.Hash{}, err
		}
	}
	top, err := describe(images)
	if err != nil {
		return v1.Hash{}, err
	}
	if top.index != nil {
		if err := a.blob(top.Digest, top.index); err != nil {
			return v1.Hash{}, err
		}
	} else if err := a.dockerManifest(reference, images[0].image); err != nil {
		return v1.Hash{}, err
	}
	tag := reference[bytes.LastIndexByte([]byte(reference), ':')+1:]
	top.Annotations = map[string]string{"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag}
	if err := a.json("index.json", v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{top.Descriptor},
	}); err != nil {
		return v1.Hash{}, err
	}
	if err := a.json("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}); err != nil {
		return v1.Hash{}, err
	}
	if err := a.w.Close(); err != nil {
		return v1.Hash{}, err
	}
	if err := os.WriteFile(path+".tmp", content.Bytes(), 0o644); err != nil {
		return v1.Hash{}, err
	}
	return top.Digest, os.Rename(path+".tmp", path)
}

// described is what a reference stands for; index is its content where that is an index.
type described struct {
	v1.Descriptor
	index []byte
}

func describe(images []built) (described, error) {
	var out described
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, b := range images {
		manifest, err := b.image.RawManifest()
		if err != nil {
			return out, err
		}
		out.Descriptor = v1.Descriptor{
			MediaType: types.OCIManifestSchema1, Size: int64(len(manifest)), Digest: b.digest,
			Platform: &v1.Platform{OS: "linux", Architecture: b.arch},
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: b.image, Descriptor: out.Descriptor})
	}
	if len(images) == 1 {
		return out, nil
	}
	digest, err := index.Digest()
	if err != nil {
		return out, err
	}
	if out.index, err = index.RawManifest(); err != nil {
		return out, err
	}
	out.Descriptor = v1.Descriptor{MediaType: types.OCIImageIndex, Size: int64(len(out.index)), Digest: digest}
	return out, nil
}

// image writes manifest, configuration and layers of an image.
func (a *archive) image(image v1.Image) error {
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	configDigest, err := image.ConfigName()
	if err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		layerDigest, err := l.Digest()
		if err != nil {
			return err
		}
		r, err := l.Compressed()
		if err != nil {
			return err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := r.Close(); err != nil {
			return err
		}
		if err := a.blob(layerDigest, content); err != nil {
			return err
		}
	}
	if err := a.blob(configDigest, config); err != nil {
		return err
	}
	return a.blob(digest, manifest)
}

// dockerManifest writes the manifest.json of `docker save`.
func (a *archive) dockerManifest(reference string, image v1.Image) error {
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	entry := struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{Config: blobPath(manifest.Config.Digest), RepoTags: []string{reference}}
	for _, l := range manifest.Layers {
		entry.Layers = append(entry.Layers, blobPath(l.Digest))
	}
	return a.json("manifest.json", []any{entry})
}

func blobPath(digest v1.Hash) string { return "blobs/" + digest.Algorithm + "/" + digest.Hex }

func (a *archive) blob(digest v1.Hash, content []byte) error {
	if a.seen[digest] {
		return nil
	}
	a.seen[digest] = true
	return a.file(blobPath(digest), content)
}

func (a *archive) json(path string, value any) error {
	content, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return a.file(path, content)
}

func (a *archive) file(path string, content []byte) error {
	err := a.w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: path, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
	})
	if err != nil {
		return err
	}
	_, err = a.w.Write(content)
	return err
}

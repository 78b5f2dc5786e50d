package main

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// Media types of the OCI image specification.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// refName is the annotation that has the tag of an image in a layout.
const refName = "org.opencontainers.image.ref.name"

// descriptor points to a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// index is an OCI index: of platforms, or of a layout.
type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// manifest is an OCI manifest.
type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`

	descriptor descriptor // of the manifest itself
}

// imageConfig is an OCI image configuration.
type imageConfig struct {
	Created      time.Time `json:"created"`
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Config       struct {
		User       string            `json:"User"`
		Env        []string          `json:"Env"`
		Entrypoint []string          `json:"Entrypoint"`
		WorkingDir string            `json:"WorkingDir"`
		Labels     map[string]string `json:"Labels"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// imageSpec is what an image is made of.
type imageSpec struct {
	layers                 [][]file
	arch, user, entrypoint string
	created                time.Time
	labels                 map[string]string
}

// layout collects the blobs of images.
type layout struct {
	blobs map[string][]byte // by digest
}

func newLayout() *layout { return &layout{blobs: map[string][]byte{}} }

// add makes an image and adds its blobs.
func (l *layout) add(spec imageSpec) (manifest, error) {
	c := imageConfig{Created: spec.created, Architecture: spec.arch, OS: "linux"}
	c.Config.User, c.Config.Entrypoint, c.Config.Labels = spec.user, []string{spec.entrypoint}, spec.labels
	c.Config.Env, c.Config.WorkingDir = []string{"PATH=/"}, "/"
	c.RootFS.Type = "layers"
	m := manifest{SchemaVersion: 2, MediaType: typeManifest}
	for _, files := range spec.layers {
		plain, compressed, err := pack(files, spec.created)
		if err != nil {
			return m, err
		}
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest(plain))
		m.Layers = append(m.Layers, l.put(typeLayer, compressed))
	}
	var err error
	if m.Config, err = l.putJSON(typeConfig, c); err != nil {
		return m, err
	}
	m.descriptor, err = l.putJSON(typeManifest, m)
	m.descriptor.Platform = &platform{Architecture: spec.arch, OS: "linux"}
	return m, err
}

// write writes an OCI layout with one image of several platforms, and returns
// the image's digest.
func (l *layout) write(name string, platforms []descriptor, tag string) (string, error) {
	image, err := l.putJSON(typeIndex, index{SchemaVersion: 2, MediaType: typeIndex, Manifests: platforms})
	if err != nil {
		return "", err
	}
	image.Annotations = map[string]string{refName: tag}
	top, err := json.Marshal(index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{image}})
	if err != nil {
		return "", err
	}
	files := []file{
		{name: "oci-layout", mode: 0o644, content: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{name: "index.json", mode: 0o644, content: top},
	}
	return image.Digest, writeTar(name, append(files, l.files(slices.Sorted(maps.Keys(l.blobs)))...))
}

// writeArchive writes one image with its name, as docker save does: containerd
// and Docker take the name from there.
func (l *layout) writeArchive(name string, m manifest, reference string) error {
	digests := []string{m.Config.Digest}
	var layers []string
	for _, layer := range m.Layers {
		digests = append(digests, layer.Digest)
		layers = append(layers, blob(layer.Digest))
	}
	list, err := json.Marshal([]map[string]any{{"Config": blob(m.Config.Digest), "RepoTags": []string{reference}, "Layers": layers}})
	if err != nil {
		return err
	}
	return writeTar(name, append([]file{{name: "manifest.json", mode: 0o644, content: list}}, l.files(digests)...))
}

// files are blobs as files.
func (l *layout) files(digests []string) []file {
	var files []file
	for _, d := range digests {
		files = append(files, file{name: blob(d), mode: 0o644, content: l.blobs[d]})
	}
	return files
}

func (l *layout) putJSON(mediaType string, value any) (descriptor, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return descriptor{}, err
	}
	return l.put(mediaType, text), nil
}

func (l *layout) put(mediaType string, content []byte) descriptor {
	d := digest(content)
	l.blobs[d] = content
	return descriptor{MediaType: mediaType, Digest: d, Size: len(content)}
}

// blob is the name of a blob's file.
func blob(digest string) string { return "blobs/" + strings.ReplaceAll(digest, ":", "/") }

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// writeTar writes files, in their order, with the time 0.
func writeTar(name string, files []file) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if closed := f.Close(); err == nil {
			err = closed
		}
	}()
	buffered := bufio.NewWriter(f)
	archive := tar.NewWriter(buffered)
	for _, one := range files {
		if err := entry(archive, one, time.Unix(0, 0)); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

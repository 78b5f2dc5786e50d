package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// builder makes images.
type builder struct {
	// root is the folder of the module, dir the one to write to.
	root, dir string
	// version, revision, repository and created go into the images as they are.
	version, revision, repository string
	created                       time.Time
	archs                         []string
	out                           io.Writer
}

// image makes the images of one program.
func (b *builder) image(ctx context.Context, p program) error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil { //nolint:gosec // images are no secret
		return err
	}
	l := newLayout()
	var platforms []descriptor
	for _, arch := range b.archs {
		platform, err := b.platform(ctx, p, arch, l)
		if err != nil {
			return err
		}
		platforms = append(platforms, platform)
	}
	name := filepath.Join(b.dir, p.name+".oci.tar")
	digest, err := l.write(name, platforms, b.version)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(b.out, "%s %s\n", name, digest)
	return err
}

// platform makes the image for one kind of processor, and adds it to l.
func (b *builder) platform(ctx context.Context, p program, arch string, l *layout) (descriptor, error) {
	binary, err := b.compile(ctx, p, arch)
	if err != nil {
		return descriptor{}, err
	}
	bill, err := billOfMaterials(bytes.NewReader(binary), p, b.version)
	if err != nil {
		return descriptor{}, err
	}
	base := filepath.Join(b.dir, p.name+"-"+arch)
	if err := os.WriteFile(base+".cdx.json", bill, 0o644); err != nil { //nolint:gosec // for everybody to read
		return descriptor{}, err
	}
	files, err := system()
	if err != nil {
		return descriptor{}, err
	}
	m, err := l.add(imageSpec{
		layers: [][]file{files, {{name: p.name, mode: 0o755, content: binary}}},
		arch:   arch, user: p.user, entrypoint: "/" + p.name, created: b.created, labels: b.labels(p),
	})
	if err != nil {
		return descriptor{}, err
	}
	archive := base + ".tar"
	if err := l.writeArchive(archive, m, b.repository+"/"+p.name+":"+b.version); err != nil {
		return descriptor{}, err
	}
	_, err = fmt.Fprintf(b.out, "%s %s\n", archive, m.descriptor.Digest)
	return m.descriptor, err
}

// compile links the program: without cgo it needs no library, -trimpath and
// -buildvcs=false leave out where and in which state of a clone it was built.
func (b *builder) compile(ctx context.Context, p program, arch string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "podid-image-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // in the folder for such things
	name := filepath.Join(dir, p.name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", //nolint:gosec // our own words
		"-ldflags", "-s -w -X github.com/podid-io/podid/internal/telemetry.version="+b.version, "-o", name, p.pkg)
	cmd.Dir = b.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.ReadFile(name)
}

// labels say what the image is, in OCI's words.
func (b *builder) labels(p program) map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":       "podid " + p.name,
		"org.opencontainers.image.description": p.title,
		"org.opencontainers.image.version":     b.version,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.source":      "https://github.com/podid-io/podid",
		"org.opencontainers.image.created":     b.created.Format(time.RFC3339),
	}
	if b.revision != "" {
		labels["org.opencontainers.image.revision"] = b.revision
	}
	return labels
}

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// hello is a small program that gets images like podid's own.
func hello() program { return program{"hello", ".", nobody, "A program"} }

// makeImages makes hello's images from sources in a folder of its own.
func makeImages(t *testing.T) (dir string) {
	t.Helper()
	sources, dir := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module example.com/hello\n\ngo 1.26\n",
		"main.go": "package main\n\nimport (\n\t\"net\"\n\t\"os\"\n)\n\nfunc main() { _, _ = net.LookupHost(os.Args[0]) }\n",
	} {
		if err := os.WriteFile(filepath.Join(sources, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := builder{
		root: sources, dir: dir, version: "v1", revision: "abc", repository: "podid-io",
		created: time.Unix(1_700_000_000, 0).UTC(), archs: []string{"amd64", "arm64"}, out: io.Discard,
	}
	if err := b.image(t.Context(), hello()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// unpack are the files of a tar.
func unpack(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			if files[header.Name], err = io.ReadAll(archive); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func parse[T any](t *testing.T, text []byte) (value T) {
	t.Helper()
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return value
}

func TestTwoBuildsAreTheSame(t *testing.T) {
	first, second := makeImages(t), makeImages(t)
	files, err := filepath.Glob(first + "/*")
	if err != nil || len(files) != 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		a, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(second, filepath.Base(file)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s is another from another folder", filepath.Base(file))
		}
	}
}

func TestLayout(t *testing.T) {
	dir := makeImages(t)
	text, err := os.ReadFile(filepath.Join(dir, "hello.oci.tar"))
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, bytes.NewReader(text))
	read := func(d descriptor) []byte {
		content := files[blob(d.Digest)]
		if digest(content) != d.Digest || len(content) != d.Size {
			t.Fatalf("blob %s of %d bytes is not what %+v says", digest(content), len(content), d)
		}
		return content
	}
	top := parse[index](t, files["index.json"])
	if len(top.Manifests) != 1 || top.Manifests[0].Annotations[refName] != "v1" {
		t.Fatalf("index.json: %+v", top)
	}
	platforms := parse[index](t, read(top.Manifests[0])).Manifests
	var archs []string
	for _, p := range platforms {
		archs = append(archs, p.Platform.Architecture)
		m := parse[manifest](t, read(p))
		c := parse[imageConfig](t, read(m.Config))
		if c.Architecture != p.Platform.Architecture || c.Config.User != "65532:65532" || !slices.Equal(c.Config.Entrypoint, []string{"/hello"}) {
			t.Errorf("configuration: %+v", c)
		}
		want := map[string]string{"org.opencontainers.image.version": "v1", "org.opencontainers.image.revision": "abc", "org.opencontainers.image.created": "2023-11-14T22:13:20Z"}
		for label, value := range want {
			if c.Config.Labels[label] != value {
				t.Errorf("label %s is %q, want %q", label, c.Config.Labels[label], value)
			}
		}
		for i, l := range m.Layers {
			plain := unzip(t, read(l))
			if digest(plain) != c.RootFS.DiffIDs[i] {
				t.Errorf("layer %d is not what diff_ids says", i)
			}
		}
		checkSystem(t, unpack(t, bytes.NewReader(unzip(t, read(m.Layers[0])))))
		checkProgram(t, unpack(t, bytes.NewReader(unzip(t, read(m.Layers[1])))), c.Architecture)
	}
	if diff := cmp.Diff([]string{"amd64", "arm64"}, archs); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
}

func unzip(t *testing.T, content []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// checkSystem looks for certificates that can be used, and the user.
func checkSystem(t *testing.T, files map[string][]byte) {
	t.Helper()
	pool := x509.NewCertPool()
	roots := files["etc/ssl/certs/ca-certificates.crt"]
	if n := bytes.Count(roots, []byte("BEGIN CERTIFICATE")); n < 50 || !pool.AppendCertsFromPEM(roots) {
		t.Errorf("%d certificates", n)
	}
	if !strings.Contains(string(files["etc/passwd"]), "nonroot:x:65532:") {
		t.Errorf("users: %s", files["etc/passwd"])
	}
}

// checkProgram sees that the program needs no other file.
func checkProgram(t *testing.T, files map[string][]byte, arch string) {
	t.Helper()
	if len(files) != 1 {
		t.Errorf("%d files beside the system's", len(files))
	}
	f, err := elf.NewFile(bytes.NewReader(files["hello"]))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s: not static: it has %v", arch, p.Type)
		}
	}
	if machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; f.Machine != machine {
		t.Errorf("a program for %v, want %v", f.Machine, machine)
	}
}

func TestArchiveHasItsName(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(makeImages(t), "hello-arm64.tar"))
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, bytes.NewReader(text))
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	list := parse[[]entry](t, files["manifest.json"])
	if len(list) != 1 || !slices.Equal(list[0].RepoTags, []string{"podid-io/hello:v1"}) || len(list[0].Layers) != 2 {
		t.Fatalf("manifest.json: %+v", list)
	}
	for _, name := range append(list[0].Layers, list[0].Config) {
		if files[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	if _, ok := files["oci-layout"]; ok {
		t.Error("an OCI layout too: containerd would not look for the name")
	}
}

func TestBillOfMaterials(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(makeImages(t), "hello-amd64.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	b := parse[bill](t, text)
	if b.Format != "CycloneDX" || b.Metadata.Component.Name != "example.com/hello" || b.Metadata.Component.Version != "v1" {
		t.Errorf("it is of %+v", b.Metadata.Component)
	}
	var names []string
	for _, c := range b.Components {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"std", "golang.org/x/crypto/x509roots/fallback"}, names); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
	t.Run("without the certificates there is none", func(t *testing.T) {
		for _, info := range []*debug.BuildInfo{nil, {Deps: []*debug.Module{{Path: "example.com/other"}}}} {
			if m, err := certificateModule(info); err == nil || !strings.Contains(err.Error(), "x509roots/fallback is not in this program") {
				t.Errorf("certificateModule() = %v, %v", m, err)
			}
		}
	})
}

func TestPrograms(t *testing.T) {
	for _, p := range programs() {
		if _, err := os.Stat(filepath.Join("../..", p.pkg, "main.go")); err != nil {
			t.Error(err)
		}
		if root := p.user == root; root != (p.name == "nmi") {
			t.Errorf("%s runs as %s", p.name, p.user)
		}
	}
	if _, err := named([]string{"nmy"}); err == nil || !strings.Contains(err.Error(), `there is no image of "nmy"`) {
		t.Errorf("named() = %v", err)
	}
}

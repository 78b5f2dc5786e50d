package node_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/podid-io/podid/test/localcluster"
)

// Images of the clients. The first two have the names that stand in
// examples/quickstart.
const (
	azidentityImage = "registry.example/azidentity-client:1"
	curlImage       = "registry.example/curl:1"
)

// images are the files of all images that the nodes have.
func images(t *testing.T) []string {
	t.Helper()
	files := []string{clientImages(t)}
	for _, version := range []string{firstVersion, secondVersion} {
		for _, name := range []string{"mic", "nmi", "podid"} {
			files = append(files, absolute(t, prepared(version, name+"-"+runtime.GOARCH+".tar")))
		}
	}
	return files
}

// clientImages makes the images of all clients, as the archive that Docker would
// save.
func clientImages(t *testing.T) string {
	t.Helper()
	var layer bytes.Buffer
	files := tar.NewWriter(&layer)
	for _, name := range []string{"workload", "azidentity"} {
		b, err := os.ReadFile(prepared(name))
		if err != nil {
			t.Fatal(err)
		}
		add(t, files, name, 0o755, b)
	}
	closed(t, files)
	return saveImages(t, t.TempDir(), layer.Bytes())
}

// saveImages writes the archive of images that have one layer in common. The
// examples give no command, so theirs ask until they get a token: they may run
// before podid does.
func saveImages(t *testing.T, dir string, layer []byte) string {
	t.Helper()
	sum := sha256.Sum256(layer)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	add(t, w, "layer.tar", 0o644, layer)
	var manifest []any
	for i, image := range []struct {
		name    string
		command []string
	}{
		{localcluster.PauseImage, []string{"pause"}},
		{azidentityImage, []string{"ask", "-again", "-stay", "-with", "/azidentity"}},
		{curlImage, []string{"ask", "-again", "-stay"}},
	} {
		config := fmt.Sprintf("%d.json", i)
		add(t, w, config, 0o644, marshal(t, map[string]any{
			"architecture": runtime.GOARCH, "os": "linux",
			"config": map[string]any{
				"Entrypoint": []string{"/workload"}, "Cmd": image.command, "Env": []string{"REPORT_TO=http://" + reportsAddress},
			},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
		}))
		manifest = append(manifest, map[string]any{"Config": config, "Layers": []string{"layer.tar"}, "RepoTags": []string{image.name}})
	}
	add(t, w, "manifest.json", 0o644, marshal(t, manifest))
	closed(t, w)
	file := filepath.Join(dir, "clients.tar")
	if err := os.WriteFile(file, archive.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func add(t *testing.T, w *tar.Writer, name string, mode int64, content []byte) {
	t.Helper()
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
}

func closed(t *testing.T, w *tar.Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

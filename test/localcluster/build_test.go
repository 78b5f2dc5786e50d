package localcluster_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/podid-io/podid/test/localcluster"
)

// lines is a writer for several goroutines.
type lines struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// cloneWith makes a clone with a control plane of its own, goes there, and uses
// a cache of its own.
func cloneWith(t *testing.T, program string) (cache string) {
	t.Helper()
	root := t.TempDir()
	source := filepath.Join(root, "test", "controlplane")
	if err := os.MkdirAll(source, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{
		filepath.Join(root, "go.mod"):    "module github.com/podid-io/podid\n\ngo 1.26\n",
		filepath.Join(source, "go.mod"):  "module example.com/controlplane\n\ngo 1.26\n",
		filepath.Join(source, "go.sum"):  "",
		filepath.Join(source, "main.go"): program,
	} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(source) // anywhere in the clone will do
	cache = t.TempDir()
	t.Setenv("PODID_CACHE", cache)
	return cache
}

func TestBuildCompilesOnceForAllWhoWant(t *testing.T) {
	cloneWith(t, "package main\n\nfunc main() {}\n")
	var progress lines
	var group sync.WaitGroup
	paths := make([]string, 3)
	for i := range paths {
		group.Go(func() {
			var err error
			if paths[i], err = localcluster.Build(t.Context(), &progress); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if paths[0] == "" || paths[1] != paths[0] || paths[2] != paths[0] {
		t.Errorf("paths %v, want one", paths)
	}
	if got := strings.Count(progress.b.String(), "compiled the control plane"); got != 1 {
		t.Errorf("compiled %d times, want once:\n%s", got, progress.b.String())
	}

	var silence bytes.Buffer
	if path, err := localcluster.Build(t.Context(), &silence); err != nil || path != paths[0] || silence.Len() > 0 {
		t.Errorf("again: %s, %v, said %q, want the same path without a word", path, err, &silence)
	}
	if err := os.WriteFile("main.go", []byte("package main\n\nfunc main() { println() }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if path, err := localcluster.Build(t.Context(), nil); err != nil || path == paths[0] {
		t.Errorf("other sources: %s, %v, want another path", path, err)
	}
}

func TestBuildSaysWhatTheCompilerSaid(t *testing.T) {
	cache := cloneWith(t, "package main\n\nfunc main() { surprise() }\n")
	_, err := localcluster.Build(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "undefined: surprise") {
		t.Errorf("got %v, want the compiler's words", err)
	}
	left, err := filepath.Glob(filepath.Join(cache, "controlplane-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range left {
		if !strings.HasSuffix(file, ".lock") {
			t.Errorf("%s is left in the cache", file)
		}
	}
}

func TestBuildNeedsAClone(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := localcluster.Build(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "clone") {
		t.Errorf("got %v, want an error that says what is missing", err)
	}
}

func TestAControlPlaneThatDoesNotStartSaysWhy(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\necho out of luck >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := localcluster.StartControlPlane(t.Context(), localcluster.ControlPlaneConfig{Dir: t.TempDir(), Binary: binary})
	if err == nil || !strings.Contains(err.Error(), "out of luck") {
		t.Errorf("got %v, want the program's last words", err)
	}
}

// Package programs compiles podid's programs for tests that run them, and looks
// at what became of them. With the race detector in the test it is in the
// programs too.
package programs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/podid-io/podid/internal/cli/demo"
)

// Build compiles packages of the module, whose folder is root, into dir.
func Build(ctx context.Context, root, dir string, packages ...string) error {
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if Raced {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, packages...)...) //nolint:gosec // our own words
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// Start starts what the demo runs on, and ends it with the test, which fails if a
// program has ended by itself by then, or the race detector has spoken: it ends a
// program at once.
func Start(t *testing.T, c demo.Config) *demo.World {
	t.Helper()
	t.Setenv("GORACE", "halt_on_error=1")
	w, err := demo.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Stop()
		if n := w.Failures(); n > 0 {
			t.Errorf("%d programs ended by themselves", n)
		}
		wantNoRaces(t, c.Dir)
	})
	return w
}

// wantNoRaces reads the logs of programs.
func wantNoRaces(t *testing.T, dir string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Errorf("no logs in %s (%v)", dir, err)
	}
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		if at := bytes.Index(text, []byte("WARNING: DATA RACE")); at >= 0 {
			t.Errorf("%s:\n%s", filepath.Base(name), text[at:min(len(text), at+8000)])
		}
	}
}

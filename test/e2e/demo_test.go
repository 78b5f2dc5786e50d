package e2e_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/test/localcluster"
	"github.com/podid-io/podid/test/programs"
)

// build compiles podid's programs, as `make build` does, once for all tests.
var build = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "make", "-s", "build")
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	return string(out), err
})

// bin is the folder of podid's programs.
func bin(t *testing.T) string {
	t.Helper()
	if out, err := build(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// buildRaced compiles them with the race detector, once for all tests.
var buildRaced = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	dir, err := filepath.Abs("../../bin/race")
	if err != nil {
		return "", err
	}
	return dir, programs.Build(ctx, "../..", dir, "./cmd/nmi", "./cmd/mic", "./cmd/azemu")
})

// worldBin is the folder of the programs that tests have run for long.
func worldBin(t *testing.T) string {
	t.Helper()
	if !programs.Raced {
		return bin(t)
	}
	dir, err := buildRaced()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// startWorld starts what the demo runs on. Edits change it first.
func startWorld(t *testing.T, armDelay time.Duration, edits ...func(*demo.Config)) *demo.World {
	t.Helper()
	localcluster.Require(t)
	c := demo.Config{Dir: t.TempDir(), Bin: worldBin(t), ARMDelay: armDelay, Out: t.Output()}
	for _, e := range edits {
		e(&c)
	}
	return programs.Start(t, c)
}

// TestDemo runs the demo as a user does: its exit status says whether all of it
// held.
func TestDemo(t *testing.T) {
	localcluster.Require(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin(t), "podid"), "demo", "--arm-delay", "2s")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("all of it held")) {
		t.Errorf("podid demo: %v\n%s", err, out)
	}
}

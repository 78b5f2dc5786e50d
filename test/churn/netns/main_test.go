// Package netns_test lets a node churn as package churn_test does, against the
// same model, but with the kernel's own links: nmi runs as a program in the
// network namespace of a node, pods are namespaces on real veths, what they send
// comes by the real redirect, and the API server is the real one. It cannot know
// at which moment something has been delivered, so what was right within the last
// seconds counts as right; another pod's identity never does.
package netns_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podid-io/podid/test/localcluster"
)

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	os.Exit(localcluster.Main(m)) //nolint:forbidigo // TestMain is the main of a test
}

// programs compiles the agent and the emulator of Azure.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", dir+string(filepath.Separator), "./cmd/nmi", "./cmd/azemu")
	cmd.Dir = "../../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

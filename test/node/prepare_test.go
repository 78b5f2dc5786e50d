package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Folders below that of the clone.
const (
	preparedFolder = ".local/node"      // programs and images
	logsFolder     = ".local/node-logs" // of a test that failed
)

// Versions that podid is installed as, and upgraded to: the same sources.
const (
	firstVersion  = "node-test-1"
	secondVersion = "node-test-2"
)

// prepare compiles helm, podid's command line, the clients, and makes podid's
// images, while there is a network to fetch modules from.
func prepare(ctx context.Context) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(root, preparedFolder), 0o755); err != nil {
		return err
	}
	temporary := filepath.Join(root, preparedFolder, "tmp") // one and the same, for what a kill leaves
	if err := errors.Join(os.RemoveAll(temporary), os.Mkdir(temporary, 0o700)); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temporary) }() // or the next time
	to := preparedFolder + string(filepath.Separator)
	steps := [][]string{
		{"build", "-modfile=go.tools.mod", "-o", to, "helm.sh/helm/v3/cmd/helm"},
		{"build", "-trimpath", "-o", to, "./cmd/podid", "./test/node/workload", "./test/docs/tools", "./examples/clients/azidentity"},
	}
	for _, version := range []string{firstVersion, secondVersion, docsVersion} {
		steps = append(steps, []string{
			"run", "./build/images", "-o", filepath.Join(preparedFolder, version), "-arch", runtime.GOARCH, "-version", version, "mic", "nmi", "podid",
		})
	}
	for _, args := range steps {
		fmt.Fprintln(os.Stderr, "preparing: go", strings.Join(args, " "))
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
		if args[1] != "-modfile=go.tools.mod" { // which the go command may have compiled already
			cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
		}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, &out)
		}
	}
	return prepareDocs(ctx, root)
}

// prepared is the path of something that prepare has made.
func prepared(name ...string) string {
	return filepath.Join(append([]string{"..", "..", preparedFolder}, name...)...)
}

package docs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// StandIns are the names that test/docs/standin is called by.
func StandIns() []string {
	return []string{"az", "skopeo", "ctr", "make", "helm", "podid", "kubectl-podid"}
}

// Programs compiles the stand-ins and podid's command line into dir, and helm too,
// and returns the environment that finds them: PATH begins with dir. The folder
// root is the clone's.
func Programs(ctx context.Context, root, dir, kubectl string) ([]string, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	real := filepath.Join(dir, "real")
	for _, args := range [][]string{
		{"build", "-o", filepath.Join(dir, "standin"), "./test/docs/standin"},
		{"build", "-o", real + "/", "./cmd/podid"},
		{"build", "-modfile=go.tools.mod", "-o", real + "/", "helm.sh/helm/v3/cmd/helm"},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	links := map[string]string{"kubectl": kubectl}
	for _, name := range StandIns() {
		links[name] = "standin"
	}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return []string{
		"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir,
		"DOCS_HELM=" + filepath.Join(real, "helm"), "DOCS_PODID=" + filepath.Join(real, "podid"),
	}, nil
}

// View makes a folder that looks like the clone in root, without what programs
// and clusters leave there, for a page to run in.
func View(root, dir string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case "bin", ".local", ".git":
			continue
		}
		if err := os.Symlink(filepath.Join(root, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

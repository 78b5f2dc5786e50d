package docs

import (
	"bytes"
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

// Programs compiles the stand-ins into dir and podid's programs into real below
// it, and helm too, and returns the environment that finds them: PATH begins with dir. The folder
// root is the clone's.
func Programs(ctx context.Context, root, dir, kubectl string) ([]string, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	programs := filepath.Join(dir, "real")
	if _, err := goCommand(ctx, root, "build", "-o", dir+"/", "./test/docs/standin"); err != nil {
		return nil, err
	}
	if _, err := goCommand(ctx, root, "build", "-o", programs+"/", "./cmd/...", "./examples/clients/azidentity"); err != nil {
		return nil, err
	}
	helm, err := goCommand(ctx, root, "tool", "-modfile=go.tools.mod", "-n", "helm") // Go's cache keeps it
	if err != nil {
		return nil, err
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
	env := []string{
		"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir,
		"DOCS_HELM=" + helm, "DOCS_PODID=" + filepath.Join(programs, "podid"),
	}
	caches, err := goCommand(ctx, root, "env", "GOCACHE", "GOMODCACHE") // they are in the home folder that is
	if err != nil {
		return nil, err
	}
	goCache, modules, _ := strings.Cut(caches, "\n")
	return append(env, "GOCACHE="+goCache, "GOMODCACHE="+modules, "PODID_CACHE="+filepath.Dir(kubectl)), nil
}

// goCommand runs the go command, and returns what it printed.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, &complaint)
	}
	return strings.TrimSpace(string(out)), nil
}

// View makes a folder that looks like the clone in root, without what programs
// and clusters leave there, for a page to run in. Its bin is the folder bin.
func View(root, bin, dir string) error {
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
	return os.Symlink(bin, filepath.Join(dir, "bin"))
}

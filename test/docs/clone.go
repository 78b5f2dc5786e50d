package docs

import (
	"bytes"
	"context"
	"errors"
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
// it, and makes links to helm and to kubectl there. What is there already is not
// linked anew while its sources stay the same. The folder root is the clone's.
func Programs(ctx context.Context, root, dir, kubectl string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	programs := filepath.Join(dir, "real")
	if _, err := goCommand(ctx, root, "build", "-o", dir+"/", "./test/docs/standin"); err != nil {
		return err
	}
	if _, err := goCommand(ctx, root, "build", "-o", programs+"/", "./cmd/...", "./examples/clients/azidentity"); err != nil {
		return err
	}
	helm, err := goCommand(ctx, root, "tool", "-modfile=go.tools.mod", "-n", "helm") // Go's cache keeps it
	if err != nil {
		return err
	}
	links := map[string]string{"kubectl": kubectl, "real/helm": helm}
	for _, name := range StandIns() {
		links[name] = "standin"
	}
	for name, to := range links {
		link := filepath.Join(dir, name)
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Symlink(to, link); err != nil {
			return err
		}
	}
	return nil
}

// Environment finds what Programs has made in dir, a path from /: its folder comes
// first.
func Environment(dir string) []string {
	return []string{
		"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir,
		"DOCS_HELM=" + filepath.Join(dir, "real", "helm"), "DOCS_PODID=" + filepath.Join(dir, "real", "podid"),
	}
}

// Caches keep programs that run with another home from compiling anew what has
// been compiled. The control plane's is the folder of the file kubectl.
func Caches(ctx context.Context, root, kubectl string) ([]string, error) {
	caches, err := goCommand(ctx, root, "env", "GOCACHE", "GOMODCACHE")
	if err != nil {
		return nil, err
	}
	goCache, modules, _ := strings.Cut(caches, "\n")
	return []string{"GOCACHE=" + goCache, "GOMODCACHE=" + modules, "PODID_CACHE=" + filepath.Dir(kubectl)}, nil
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

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/podid-io/podid/build/reference/command"
)

// programs are podid's, each with the expression that is its root command within
// its own package.
func programs() []struct{ name, root string } {
	return []struct{ name, root string }{
		{"mic", "command(context.Background(), io.Discard)"},
		{"nmi", "command(context.Background(), io.Discard)"},
		{"podid", `cli.New(cli.Config{Name: "podid", Getenv: os.Getenv})`},
		{"azemu", "command(context.Background())"},
	}
}

// asking is a main.go in place of a program's own, which tells of its flags. The
// flags of a program are nobody else's to import.
const asking = `package main

import (
	"context"
	"io"
	"os"

	describe "github.com/podid-io/podid/build/reference/command"
	"github.com/podid-io/podid/internal/cli"
)

var (
	_ = context.Background
	_ = io.Discard
	_ = cli.New
)

func main() {
	if err := describe.Write(os.Stdout, %s); err != nil {
		panic(err)
	}
}
`

// environment is what the programs are asked in: no default may come from this
// machine. A reader knows what these stand for.
func environment() []string {
	return []string{"HOME=$HOME", "KUBECONFIG=$KUBECONFIG", "POD_NAMESPACE=$POD_NAMESPACE", "NODE_NAME=$NODE_NAME"}
}

// allCommands has each program tell of its commands, in the order of programs.
func allCommands(ctx context.Context, root string) ([][]command.Command, error) {
	dir, err := os.MkdirTemp("", "reference")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // nobody looks there again
	if err := compile(ctx, root, dir); err != nil {
		return nil, err
	}
	var all [][]command.Command
	for _, p := range programs() {
		ask := exec.CommandContext(ctx, filepath.Join(dir, p.name)) //nolint:gosec // our own program
		ask.Env = environment()
		out, err := output(ask)
		if err != nil {
			return nil, err
		}
		var list []command.Command
		if err := json.Unmarshal(out, &list); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		all = append(all, list)
	}
	return all, nil
}

// compile builds the programs into dir, each with another main.go.
func compile(ctx context.Context, root, dir string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	replace, packages := make(map[string]string), []string(nil)
	for _, p := range programs() {
		instead := filepath.Join(dir, p.name+".go")
		if err := os.WriteFile(instead, fmt.Appendf(nil, asking, p.root), 0o600); err != nil {
			return err
		}
		replace[filepath.Join(root, "cmd", p.name, "main.go")] = instead
		packages = append(packages, "./cmd/"+p.name)
	}
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(overlay, text, 0o600)
	}
	if err != nil {
		return err
	}
	args := []string{"build", "-overlay", overlay, "-ldflags", "-s -w", "-o", dir + string(filepath.Separator)}
	build := exec.CommandContext(ctx, "go", append(args, packages...)...) //nolint:gosec // our own words
	build.Dir = root
	_, err = output(build)
	return err
}

// output is what a command prints; its error says what it complained of.
func output(c *exec.Cmd) ([]byte, error) {
	out, err := c.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	return out, nil
}

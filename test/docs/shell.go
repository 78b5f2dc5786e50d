package docs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Session is where the commands of a page run.
type Session struct {
	// Clone is the folder of the clone, Dir the one to run in.
	Clone, Dir string
	// Kinds are those of the blocks to run.
	Kinds []Kind
	// Env is added to the environment.
	Env []string
	// Yours are values in place of those that the page asks the reader for.
	Yours map[string]string
}

// Run runs the commands of a page in one shell. The error says which block they
// ended in, or what failed within it, and all that was said.
func (s Session) Run(ctx context.Context, p Page) (said string, err error) {
	script, err := s.script(p)
	if err != nil {
		return "", err
	}
	scratch, err := os.MkdirTemp("", "docs-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(scratch) }() // nothing of worth is in it
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = s.Dir
	cmd.Env = append(append(os.Environ(), s.Env...), "DOCS_SCRATCH="+scratch)
	cmd.WaitDelay = 10 * time.Second // for what holds its output open
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	reached, failed := note(scratch, "reached"), note(scratch, "failed")
	switch {
	case err == nil && failed != "":
		return out.String(), fmt.Errorf("%s: this failed, and ended nothing: %s\n%s", p.Path, failed, out.String())
	case err == nil && reached != theEnd:
		err = errors.New("the shell ended there, and not at the page's end")
	}
	if err != nil {
		return out.String(), fmt.Errorf("%s:%s: %w\n%s", p.Path, reached, err, out.String())
	}
	return out.String(), nil
}

// note is what is in a file of the folder scratch: nothing where there is none.
func note(scratch, name string) string {
	text, _ := os.ReadFile(filepath.Join(scratch, name))
	return strings.TrimSpace(string(text))
}

// theEnd is what is reached after the last block.
const theEnd = "the end"

// begin is in front of what a page has. Bash passes over what fails in the words of
// another command, $(...), but not without calling the trap in that subshell.
const begin = `set -Eeo pipefail
trap '[ $BASH_SUBSHELL = 0 ] || echo "status $? of $BASH_COMMAND, line $(< $DOCS_SCRATCH/reached)" >> $DOCS_SCRATCH/failed' ERR
echo 'the script before it' > $DOCS_SCRATCH/reached
`

// script is what bash is given.
func (s Session) script(p Page) (string, error) {
	var b strings.Builder
	b.WriteString(begin)
	before, err := os.ReadFile(filepath.Join(s.Clone, before(p.Path)))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	b.WriteString(string(before) + "\n")
	for _, block := range p.Blocks {
		k, _ := block.Kind()
		if !slices.Contains(s.Kinds, k) {
			continue
		}
		status, err := block.Status()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "echo %d > $DOCS_SCRATCH/reached; echo; echo '--- line %[1]d, %[2]s'; export DOCS_BLOCK='%[2]s'\n", block.Line, k)
		if status == 0 {
			b.WriteString(block.Text)
		} else {
			b.WriteString("set +e\n" + block.Text + "docs_status=$?\nset -e\n")
			fmt.Fprintf(&b, "[ $docs_status = %d ] || { echo \"it ended with status $docs_status, and is to end with %[1]d\"; exit 1; }\n", status)
		}
		if k == Yours {
			for _, name := range names(block.Text) {
				if value, has := s.Yours[name]; has {
					b.WriteString(name + "='" + value + "'\n")
				}
			}
		}
	}
	b.WriteString("echo '" + theEnd + "' > $DOCS_SCRATCH/reached\n")
	return b.String(), nil
}

// names are what a block of the reader's own assigns.
func names(text string) (all []string) {
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, "=")
		all = append(all, name)
	}
	return all
}

// before is the path of the script that makes what a page takes for granted.
func before(path string) string {
	name := strings.TrimSuffix(strings.TrimPrefix(path, "docs/"), ".md")
	return filepath.Join("test", "docs", "testdata", "before", strings.ReplaceAll(name, "/", "-")+".sh")
}

// Count counts the blocks of pages by their kind, in words for a log.
func Count(pages ...Page) string {
	counts := map[Kind]int{}
	for _, p := range pages {
		for _, b := range p.Blocks {
			k, _ := b.Kind()
			counts[k]++
		}
	}
	var words []string
	for _, k := range []Kind{Shell, Yours, Node, Azure, Machine, Objects, Values, Foreign, JSON, Text} {
		words = append(words, strconv.Itoa(counts[k])+" "+string(k))
	}
	return strings.Join(words, ", ")
}

// Has says whether a page has a block of one of these kinds.
func (p Page) Has(kinds ...Kind) bool {
	return slices.ContainsFunc(p.Blocks, func(b Block) bool {
		k, _ := b.Kind()
		return slices.Contains(kinds, k)
	})
}

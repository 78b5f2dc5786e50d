package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/podid-io/podid/test/docs"
)

// TestEveryCommandIsUsed keeps the stand-ins to what the pages need: a command
// that no page has is one that nobody has looked at.
func TestEveryCommandIsUsed(t *testing.T) {
	const root = "../../.."
	pages, err := docs.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	var used strings.Builder
	for _, p := range pages {
		for _, b := range p.Blocks {
			if k, _ := b.Kind(); k.Runs() {
				used.WriteString(b.Text)
			}
		}
	}
	scripts, err := filepath.Glob(root + "/test/docs/testdata/before/*.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range scripts {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		used.Write(text)
	}
	for _, program := range []string{"az", "skopeo", "ctr"} {
		for words := range forms(program) {
			line := program + " " + words
			if program == "ctr" {
				line = "ctr -n k8s.io " + words
			}
			if !strings.Contains(used.String(), line+" ") && !strings.Contains(used.String(), line+"\n") {
				t.Errorf("no page has %s", line)
			}
		}
	}
}

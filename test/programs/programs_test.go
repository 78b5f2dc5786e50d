package programs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// racy is a program with a race in it.
const racy = `package main

func main() {
	n, done := 0, make(chan bool)
	go func() { n++; close(done) }()
	n++
	<-done
	println(n)
}
`

// TestRacesAreFound builds a program that has one, as programs are built here, and
// runs it as they are run: it must end, and its log be found out.
func TestRacesAreFound(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"go.mod": "module racy\n\ngo 1.26\n", "main.go": racy} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Build(t.Context(), root, dir, "."); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "racy"))
	cmd.Env = append(os.Environ(), halt)
	out, err := cmd.CombinedOutput()
	if (err != nil) != Raced {
		t.Errorf("it ended with %v; with the race detector: %t", err, Raced)
	}
	if err := os.WriteFile(filepath.Join(dir, "nmi-x.log"), out, 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := races(dir)
	if err != nil || (len(found) == 1) != Raced {
		t.Errorf("races() = %q, %v; with the race detector: %t", found, err, Raced)
	}
	for _, report := range found {
		if !strings.HasPrefix(report, "nmi-x.log:\n") {
			t.Errorf("the report does not say whose it is: %s", report)
		}
	}
	if _, err := races(t.TempDir()); err == nil {
		t.Error("nobody misses the logs")
	}
}

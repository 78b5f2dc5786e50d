package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// make has the real make say what it would do, for targets and variables that the
// Makefile has. The local cluster it starts and ends, with the programs that are
// in bin/ already.
func (w world) make(ctx context.Context, args []string) error {
	text, err := os.ReadFile("Makefile")
	if err != nil {
		return err
	}
	for _, a := range args {
		pattern := `(?m)^` + regexp.QuoteMeta(a) + `:`
		if name, _, is := strings.Cut(a, "="); is {
			pattern = `(?m)^` + regexp.QuoteMeta(name) + ` *\?=`
		}
		if !regexp.MustCompile(pattern).Match(text) {
			return fmt.Errorf("make %s: the Makefile has no %s", strings.Join(args, " "), a)
		}
	}
	if len(args) == 1 && (args[0] == "up" || args[0] == "down") {
		return program(ctx, filepath.Join("bin", "podid"), []string{"demo", args[0]})
	}
	return program(ctx, "/usr/bin/make", append([]string{"-n"}, args...))
}

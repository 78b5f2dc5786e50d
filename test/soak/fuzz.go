package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// target is a fuzz target.
type target struct{ dir, name string }

var (
	declared = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	executed = regexp.MustCompile(`execs: (\d+)`)
)

// fuzz runs every fuzz target in turn and tells what came of all. It starts from
// the seeds of the repository alone: to try again what this machine has found
// before could take all the time there is.
func (s *soak) fuzz(ctx context.Context) error {
	targets, err := findTargets("internal")
	if err != nil {
		return err
	}
	found, err := os.MkdirTemp("", "podid-fuzz-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(found) }() // a folder of ours
	execs, failures := 0, 0
	for _, t := range targets {
		var text bytes.Buffer
		err := s.test(ctx, &text, "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", s.lasts.String(), "-timeout", s.timeout(), "./"+t.dir, "-args", "-test.fuzzcachedir="+found)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if counts := executed.FindAllStringSubmatch(text.String(), -1); len(counts) > 0 {
			n, _ := strconv.Atoi(counts[len(counts)-1][1]) // it is digits
			execs += n
		} else if err == nil {
			err = errors.New("nothing was executed")
		}
		switch over := err != nil && outOfTime(text.String()); {
		case over:
			_, _ = fmt.Fprintf(s.log, "%s of %s: the time was over\n", t.name, t.dir)
		case err != nil:
			failures++
			_, _ = fmt.Fprintf(s.log, "%s%s of %s: %v\n", &text, t.name, t.dir, err) // the figure tells it too
		default:
			_, _ = s.log.Write(text.Bytes())
		}
	}
	err = errors.Join(s.figure("fuzz_targets", len(targets)), s.figure("fuzz_execs", execs), s.figure("fuzz_failures", failures))
	if failures > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d fuzz targets failed", failures, len(targets)))
	}
	return err
}

// outOfTime reports whether all that failed is that the time was over: now and
// then go test says so where it should pass (https://go.dev/issue/75804).
func outOfTime(text string) bool {
	return strings.Contains(text, "context deadline exceeded") && !strings.Contains(text, "Failing input") && !strings.Contains(text, "panic:")
}

// findTargets looks through the tests under root.
func findTargets(root string) ([]target, error) {
	var list []target
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path) //nolint:gosec // below root
		if err != nil {
			return err
		}
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			list = append(list, target{dir: filepath.ToSlash(filepath.Dir(path)), name: m[1]})
		}
		return nil
	})
	return list, err
}

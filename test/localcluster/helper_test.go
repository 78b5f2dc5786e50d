package localcluster_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func runHelper() bool { return false }

func cmpSorted(s []string) []string {
	slices.Sort(s)
	return s
}

// childrenOf returns the command lines of a process's children.
func childrenOf(t *testing.T, pid int) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var children []string
	for _, file := range files {
		b, _ := os.ReadFile(file) // a thread may have ended
		for _, child := range strings.Fields(string(b)) {
			line, _ := os.ReadFile("/proc/" + child + "/cmdline")
			children = append(children, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return children
}

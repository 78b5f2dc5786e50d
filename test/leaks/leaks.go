// Package leaks finds goroutines that tests leave behind. It is patient: streams of
// watches and connections end by themselves, which takes a while on a busy machine.
package leaks

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	// patience is for what takes milliseconds on a machine that is not busy. An API
	// server may have to do its part.
	patience = 60 * time.Second
	// patienceOfMain is for what a process ends alone, and for a machine that stands
	// still for seconds. It is less than what ends by itself after its time: a call
	// that nobody waits for, a connection that nobody uses (30 s), a request on hold.
	patienceOfMain = 15 * time.Second
)

// Main runs the tests of a package, and fails when goroutines go on after them. After
// tests that failed it does not look: they may have left what they would have ended.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := patiently(patienceOfMain, func() error { return goleak.Find() }); err != nil {
			fmt.Fprintf(os.Stderr, "the tests have ended, and of their goroutines there are:\n%v\n", err)
			code = 1
		}
	}
	os.Exit(code) //nolint:forbidigo // it is the main of the tests
}

// Await fails the test when goroutines of it go on after all else of it: what it
// cleans up later was registered before.
func Await(t *testing.T) {
	t.Helper()
	left := Mark()
	t.Cleanup(func() {
		if err := left(); err != nil {
			t.Error(err)
		}
	})
}

// Mark remembers the goroutines that there are. The function waits for the end of
// those begun since, and its error says which go on. Those that goroutines of before
// have begun are not meant: an API server that tests share gives namespaces their
// service accounts, and watches anew every few minutes.
func Mark() (left func() error) {
	ours, before := goleak.IgnoreCurrent(), goroutines()
	return func() error { return await(ours, before) }
}

func await(ours goleak.Option, before map[string]bool) error {
	return patiently(patience, func() error {
		err := goleak.Find(ours,
			// client-go keeps connections to the API server for whoever comes next.
			goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
			goleak.IgnoreAnyFunction("net/http/internal/http2.(*clientConnReadLoop).run"), goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*clientConnReadLoop).run"),
		)
		if err != nil && allOf(before, err.Error()) {
			return nil
		}
		return err
	})
}

// patiently looks until nothing is left, for so long; each look waits for half a second.
func patiently(patience time.Duration, look func() error) (err error) {
	for start := time.Now(); ; {
		if err = look(); err == nil || time.Since(start) > patience {
			return err
		}
	}
}

var (
	goroutine = regexp.MustCompile(`(?m)^goroutine (\d+) `)
	reported  = regexp.MustCompile(`Goroutine \d+ in state `)
	creator   = regexp.MustCompile(`created by .* in goroutine (\d+)`)
)

// goroutines are the ids of all goroutines but the caller's.
func goroutines() map[string]bool {
	stacks := make([]byte, 1<<20)
	n := runtime.Stack(stacks, true)
	for n == len(stacks) { // there was no room for all
		stacks = make([]byte, 2*n)
		n = runtime.Stack(stacks, true)
	}
	ids := make(map[string]bool)
	for i, m := range goroutine.FindAllSubmatch(stacks[:n], -1) {
		if i > 0 { // the first is the caller
			ids[string(m[1])] = true
		}
	}
	return ids
}

// allOf reports whether all goroutines of a report were begun by some. What a timer
// starts was begun by nobody.
func allOf(some map[string]bool, report string) bool {
	begun := creator.FindAllStringSubmatch(report, -1)
	return len(begun) > 0 && len(begun) == len(reported.FindAllString(report, -1)) && !slices.ContainsFunc(begun, func(m []string) bool { return !some[m[1]] })
}

package mic_test

import (
	"regexp"
	"runtime"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// awaitEnd fails when goroutines of a test go on after all else of it. Streams of watches end by
// themselves, which takes a while on a busy machine. Those that goroutines of
// before have begun are not the test's: the shared API server gives namespaces
// their service accounts, and watches anew every few minutes.
func awaitEnd(t *testing.T) {
	t.Helper()
	ours, before := goleak.IgnoreCurrent(), goroutines()
	t.Cleanup(func() {
		if err := left(ours, before); err != nil {
			t.Error(err)
		}
	})
}

func left(ours goleak.Option, before map[string]bool) (err error) {
	for start := time.Now(); time.Since(start) < patience; {
		if err = goleak.Find(ours, // waits for a second or two
			// client-go keeps connections to the API server for whoever comes next.
			goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
			goleak.IgnoreAnyFunction("net/http/internal/http2.(*clientConnReadLoop).run"), goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*clientConnReadLoop).run"),
		); err == nil || allOf(before, err.Error()) {
			return nil
		}
	}
	return err
}

var (
	goroutine = regexp.MustCompile(`(?m)^goroutine (\d+) `)
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

// allOf reports whether all goroutines of a report were begun by some.
func allOf(some map[string]bool, report string) bool {
	begun := creator.FindAllStringSubmatch(report, -1)
	return len(begun) > 0 && !slices.ContainsFunc(begun, func(m []string) bool { return !some[m[1]] })
}

func TestWhatATestBeginsIsItsOwn(t *testing.T) {
	ours, before := goleak.IgnoreCurrent(), goroutines()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); <-end }()
	err := goleak.Find(ours)
	if err == nil {
		t.Fatal("nothing was found")
	}
	if allOf(before, err.Error()) {
		t.Error("it was taken for one of others")
	}
	if all := goroutines(); !allOf(map[string]bool{idOf(t, err.Error()): true}, err.Error()) || len(all) == 0 {
		t.Errorf("who began it is not known: %v", err)
	}
	close(end)
	<-ended
}

// idOf is who began the first goroutine of a report.
func idOf(t *testing.T, report string) string {
	t.Helper()
	m := creator.FindStringSubmatch(report)
	if m == nil {
		t.Fatalf("nobody began %s", report)
	}
	return m[1]
}

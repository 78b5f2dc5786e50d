// Package controller_test lets a cluster live, and holds the controller against a
// model of what has to become of it: pods, bindings, identities, namespaces and
// nodes come, change and go, others change machines, Azure and the API server
// fail, and mics die, in the middle of anything. It is the real controller, two
// of it, between a real API server and an emulated Azure. After each bout
// everything has to be as the model says; and all the while laws hold that are
// applied to each request: see judge.
//
// A seed has the same things happen again. How far mic is with what happened before
// is another matter each time.
package controller_test

import (
	"flag"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "tell the story of this seed again; 0 means a new one")
	lastsFlag = flag.Duration("lasts", 25*time.Second, "go on for about so long")
)

// bout is how many things happen, at most, before all has to be as it should be.
const bout = 40

// seed is the one asked for, or a new one.
func seed() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return uint64(time.Now().UnixNano())
}

// live lives through bouts while more says so.
func (w *world) live(more func() bool) {
	w.t.Helper()
	w.found()
	w.start()
	w.start()
	for w.wrongs() == nil && more() {
		w.machines.renew()
		w.happen(5 + w.r.IntN(bout))
		w.settle()
	}
}

func TestTheControllerDoesAsTheModelSays(t *testing.T) {
	first, end := seed(), time.Now().Add(*lastsFlag)
	w := newWorld(t, first, plant{})
	w.live(func() bool { return time.Now().Before(end) })
	t.Logf("seed %d: %+v\nmet: %v", first, w.count, w.hit)
	if err := w.wrongs(); err != nil {
		t.Errorf("%s\n%v\nagain: go test ./test/controller -run TestTheController -seed %d", w.story.String(), err, first)
	}
}

func TestPlantedBugsAreFound(t *testing.T) {
	for name, p := range plants() {
		t.Run(name, func(t *testing.T) {
			first, end := seed(), time.Now().Add(time.Minute)
			w := newWorld(t, first, p)
			w.live(func() bool { return time.Now().Before(end) })
			if w.wrongs() == nil {
				t.Errorf("seed %d: not found", first)
			}
		})
	}
}

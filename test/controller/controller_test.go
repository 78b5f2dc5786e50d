// Package controller_test lets a cluster live, and holds the controller against a
// model of what has to become of it: pods, bindings, identities, namespaces and
// nodes come, change and go, others change machines, Azure and the API server
// fail, and mics die, in the middle of anything. It is the real controller, two
// of it, between a real API server and an emulated Azure. After each bout
// everything has to be as the model says; and all the while laws hold that are
// applied to each request: see judge.
//
// A seed has the same dice be thrown again. What comes of a throw may depend on how
// far mic is by then, such as what there is to take off a machine, or who leads:
// a story that is told again is like the first one, and need not be the same.
package controller_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seedFlag    = flag.Uint64("seed", 0, "throw the dice of this seed again; 0 means a new one")
	lastsFlag   = flag.Duration("lasts", 15*time.Second, "go on for about so long")
	worldsFlag  = flag.Uint64("worlds", 1, "how many stories to tell, with as many seeds; some at a time")
	figuresFlag = flag.String("figures", "", "append figures to this file, a line of JSON each")
)

// bout is how many things happen, at most, before all has to be as it should be.
const bout = 50

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
		w.forgive()
		if w.plant.bout != nil {
			w.plant.bout(w)
		}
		n := 5 + w.r.IntN(bout)
		if w.plant.few || w.r.IntN(3) == 0 { // hardly anything: what that can have cost is known best
			n = 1 + w.r.IntN(3)
		}
		w.happen(n)
		w.settle()
	}
	w.count.Kills = int(w.kills.Load())
}

func TestTheControllerDoesAsTheModelSays(t *testing.T) {
	first := seed()
	var mu sync.Mutex // guards total and wrong
	var total count
	wrong := 0
	t.Run("worlds", func(t *testing.T) {
		for i := range *worldsFlag {
			t.Run(fmt.Sprint("seed ", first+i), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, first+i, plant{})
				end := time.Now().Add(*lastsFlag)
				w.live(func() bool { return time.Now().Before(end) })
				t.Logf("%+v\nmet: %v", w.count, w.hit)
				mu.Lock()
				defer mu.Unlock()
				total.add(w.count)
				if err := w.wrongs(); err != nil {
					wrong++
					w.tell(fmt.Sprintf("%v\nagain: go test ./test/controller -run TestTheController -seed %d -lasts %s", err, first+i, *lastsFlag))
				}
			})
		}
	})
	figure(t, "mic_model_steps", total.Steps)
	figure(t, "mic_model_bouts", total.Bouts)
	figure(t, "mic_model_kills", total.Kills)
	figure(t, "mic_model_patches", total.Patches)
	figure(t, "mic_model_patches_over_bound", total.Over)
	figure(t, "mic_model_wrong", wrong)
	figure(t, "mic_model_seed", first)
}

// add adds what happened in another story.
func (c *count) add(o count) {
	c.Bouts += o.Bouts
	c.Steps += o.Steps
	c.Patches += o.Patches
	c.Allowed += o.Allowed
	c.Over += o.Over
	c.Kills += o.Kills
}

// figure writes down a figure, if anybody wants it.
func figure(t *testing.T, name string, value any) {
	t.Helper()
	t.Logf("%s: %v", name, value)
	if *figuresFlag == "" {
		return
	}
	f, err := os.OpenFile(*figuresFlag, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	must(t, json.NewEncoder(f).Encode(map[string]any{"name": name, "value": value}), f.Close())
}

// TestTheModelIsOnItsOwn sees to it that the model shares no code with what it
// judges, nor any library.
func TestTheModelIsOnItsOwn(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./model").Output()
	must(t, err)
	if got := strings.Fields(string(out)); len(got) != 1 {
		t.Errorf("the model depends on %q: want nothing but itself", got)
	}
}

// plantStory is for how long a planted bug may go on. Most are found in seconds, on a
// machine that has nothing else to do.
const plantStory = 8 * time.Minute

func TestPlantedBugsAreFound(t *testing.T) {
	var found atomic.Int64
	t.Run("each", func(t *testing.T) { findEach(t, &found) })
	figure(t, "mic_model_planted", len(plants()))
	figure(t, "mic_model_planted_found", found.Load())
}

func findEach(t *testing.T, found *atomic.Int64) {
	t.Helper()
	for name, p := range plants() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := seed()
			w := newWorld(t, first, p)
			began := time.Now()
			w.live(func() bool { return time.Since(began) < plantStory })
			switch err := w.wrongs(); {
			case err == nil:
				w.tell(fmt.Sprintf("seed %d: not found in %+v", first, w.count))
			case !regexp.MustCompile(p.want).MatchString(err.Error()):
				w.tell(fmt.Sprintf("seed %d: found as %v, want %q", first, err, p.want))
			default:
				found.Add(1)
				t.Logf("found after %s, %+v: %v", time.Since(began).Round(time.Second), w.count, err)
			}
		})
	}
}

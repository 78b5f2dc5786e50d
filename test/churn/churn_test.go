// Package churn_test lets a node churn, and holds the agent against a model of
// who may have which token: pods come, go and change places, objects and links
// change, watches break, the agent dies and the node reboots, and all the while
// somebody asks. The requests go through nmi's HTTP server over connections in
// memory, the objects through LIST and WATCH of an API server that tells late,
// twice, or all anew, and the links as the kernel tells of them. Time is a
// bubble's (testing/synctest), so that "everything has been delivered" is known
// and never waited for.
//
// A seed tells the same story again for some thousands of steps, mostly for more,
// and then one like it: the agent's goroutines race with each other, for turns to
// ask for a token above all, and what they answered decides on which connections
// the test can ask next. So a story that ends badly is kept whole in a file.
//
// What no agent could know, it is not asked: see world.after, world.mayUnplug,
// world.start and world.reusable.
package churn_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podid-io/podid/test/churn/model"
)

var (
	seedFlag    = flag.Uint64("seed", 0, "tell the story of this seed again; 0 means a new one")
	lastsFlag   = flag.Duration("lasts", 0, "go on for at least so long")
	figuresFlag = flag.String("figures", "", "append figures to this file, a line of JSON each")
)

const (
	// wholeStory is how many steps there are at least; with the race detector
	// there are fewer, and then they do not count as the churn test.
	wholeStory = 1_000_000
	racedStory = 20_000
	// plantStory is within how many steps a planted bug is found.
	plantStory = 200_000
	// droppedShare is of how many requests one may go without a judgement, since
	// the test itself hung up on it.
	droppedShare = 50
	// worlds is how many nodes churn at a time.
	worlds = 2
)

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	os.Exit(m.Run()) //nolint:forbidigo // TestMain is the main of a test
}

// seed is the one asked for, or a new one.
func seed() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return uint64(time.Now().UnixNano())
}

// live lives through a story and returns what became of it.
func live(t *testing.T, seed uint64, p *plant, more func(steps int) bool) *world {
	t.Helper()
	var w *world
	dir, s := t.TempDir(), newStory(t)
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t.Context(), seed, p, dir, s)
		w.run(more)
	})
	return w
}

func TestChurn(t *testing.T) {
	first, least := seed(), wholeStory
	if raced {
		least = racedStory
	}
	var steps, wrong atomic.Int64
	var over atomic.Bool
	clock := time.AfterFunc(*lastsFlag, func() { over.Store(true) }) // out of the bubbles, whose time is their own
	defer clock.Stop()
	t.Run("worlds", func(t *testing.T) {
		for i := range uint64(worlds) {
			t.Run(fmt.Sprint("seed ", first+i), func(t *testing.T) {
				t.Parallel()
				w := live(t, first+i, &plant{}, func(n int) bool { return n < least/worlds || !over.Load() })
				steps.Add(int64(w.count.steps))
				t.Logf("%+v", w.count)
				if w.wrong != nil {
					wrong.Add(1)
					t.Errorf("the last that happened:%s\nstep %d: %v\nagain, though it may part from this story: go test ./test/churn -run TestChurn -seed %d", w.story, w.count.steps, w.wrong, first+i)
				}
				w.count.plausible(t)
			})
		}
	})
	if steps.Load() < int64(least) && wrong.Load() == 0 {
		t.Errorf("%d steps are too few: want %d", steps.Load(), least)
	}
	figure(t, "churn_steps", steps.Load())
	figure(t, "churn_wrong", wrong.Load())
	figure(t, "churn_seed", first)
}

// plausible fails where too little of anything has happened: a churn in which
// nobody gets a token proves nothing.
func (c *count) plausible(t *testing.T) {
	t.Helper()
	for what, share := range map[string][2]int{
		"requests":                        {c.requests, c.steps * 3 / 4},
		"tokens":                          {c.tokens, c.steps / 8},
		"refusals":                        {c.denied, c.steps / 8},
		"requests to ask again":           {c.later, c.steps / 10},
		"requests held and then answered": {c.held, c.steps / 250},
		"requests held to their end":      {c.inVain, c.steps / 50},
		"requests by the second address":  {c.bySecond, c.steps / 6},
		"restarts of the agent":           {c.restarts, c.steps / 2500},
		"reboots":                         {c.reboots, c.steps / 4000},
		"lists that tell something new":   {c.lists, c.steps / 1500},
		"lives in a managed cluster":      {c.managed, c.steps / 10000},
		"addresses that two had":          {c.twins, c.steps / 5000},
		"new connections closed in time":  {c.silent, c.steps / 1000},
	} {
		least := share[1]
		if c.steps < 100_000 { // short stories differ more
			least = max(1, least/4)
		}
		if share[0] < least {
			t.Errorf("%d %s in %d steps are too few", share[0], what, c.steps)
		}
	}
	most := c.requests / droppedShare
	if c.steps < 100_000 {
		most *= 2
	}
	if c.dropped > most {
		t.Errorf("%d of %d requests were hung up on by the test, and not judged: want at most %d", c.dropped, c.requests, most)
	}
}

// TestPlantedBugsAreFound plants one bug at a time, at least one against each law.
func TestPlantedBugsAreFound(t *testing.T) {
	laws := map[model.Law]bool{model.Entitled: false, model.OnePod: false, model.Served: false, model.Final: false, model.Woken: false, model.Orderly: false, model.Answered: false, model.Kept: false, model.Shed: false}
	found := 0
	t.Run("each", func(t *testing.T) { findEach(t, laws, &found) })
	for law, broken := range laws {
		if !broken {
			t.Errorf("nobody broke the law %q", law)
		}
	}
	figure(t, "planted_found", found)
	figure(t, "planted_total", len(plants()))
}

// findEach notes the laws that were broken, and how many bugs were found.
func findEach(t *testing.T, laws map[model.Law]bool, found *int) {
	t.Helper()
	var mu sync.Mutex // guards laws and found
	for name, p := range plants() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := live(t, seed(), p, func(n int) bool { return n < plantStory })
			wrong, ok := errors.AsType[*model.LawError](w.wrong)
			switch {
			case w.wrong == nil:
				t.Errorf("not found in %d steps", w.count.steps)
			case !ok || !slices.Contains(p.laws, wrong.Law):
				t.Errorf("the last that happened:%s\nstep %d: found as %v; want one of %q", w.story, w.count.steps, w.wrong, p.laws)
			default:
				t.Logf("found after %d steps, %d others broken on the way: %v", w.count.steps, w.count.onTheWay, wrong)
				mu.Lock()
				defer mu.Unlock()
				laws[wrong.Law] = true
				*found++
			}
		})
	}
}

// TestTheModelIsOnItsOwn sees to it that the model shares no code with what it
// judges, nor any library.
func TestTheModelIsOnItsOwn(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./model").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(out)); len(got) != 1 {
		t.Errorf("the model depends on %q: want nothing but itself", got)
	}
}

// figure writes down a figure, if anybody wants it.
func figure(t *testing.T, name string, value any) {
	t.Helper()
	t.Logf("%s: %v", name, value)
	if *figuresFlag == "" {
		return
	}
	f, err := os.OpenFile(*figuresFlag, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	err = json.NewEncoder(f).Encode(struct {
		Name  string `json:"name"`
		Value any    `json:"value"`
	}{name, value})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

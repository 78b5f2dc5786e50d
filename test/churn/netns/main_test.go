// Package netns_test lets a node churn as package churn_test does, against the
// same model, but with the kernel's own links: nmi runs as a program in the
// network namespace of a node, pods are namespaces on real veths, what they send
// comes by the real redirect, and the API server is the real one. It cannot know
// at which moment something has been delivered, so what was right within the last
// seconds counts as right; another pod's identity never does. Who the agent took
// a caller for is read from its own audit log. Nor can it boot the machine: a
// reboot here is all links replaced within one boot, and what the agent does after
// a real one is seen in memory alone, by package churn_test.
//
// Other nodes of the same cluster tell stories in which something around the
// agent is spoiled, with the same steps and the same judge, which must find it.
package netns_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podid-io/podid/test/churn/model"
	"github.com/podid-io/podid/test/localcluster"
)

var (
	seedFlag    = flag.Uint64("seed", 0, "tell the story of this seed again; 0 means a new one")
	lastsFlag   = flag.Duration("lasts", 0, "go on for at least so long")
	figuresFlag = flag.String("figures", "", "append figures to this file, a line of JSON each")
)

const (
	// wholeStory is how many steps there are at least, plantStory within how many
	// something spoiled is found.
	wholeStory = 1000
	plantStory = 150
)

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	os.Exit(localcluster.Main(m)) //nolint:forbidigo // TestMain is the main of a test
}

// TestChurnWithRealLinks has stories told on three nodes at once: on the first
// everything is as it should be, on the second and the third something is not.
func TestChurnWithRealLinks(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("again: go test ./test/churn/netns -seed %d", seed)
	c := newCluster(t)
	planted, found := 0, 0
	t.Run("nodes", func(t *testing.T) {
		t.Run("in order", func(t *testing.T) {
			t.Parallel()
			inOrder(t, c, seed)
		})
		t.Run("spoiled", func(t *testing.T) {
			t.Parallel()
			for i, p := range plants() {
				if p.law != "" {
					planted++
				}
				t.Run(p.name, func(t *testing.T) {
					if p.live(t, c, fmt.Sprint("plant-", i), seed) {
						found++
					}
				})
			}
		})
	})
	figure(t, "netns_planted_found", found)
	figure(t, "netns_planted_total", planted)
}

// inOrder tells the long story.
func inOrder(t *testing.T, c *cluster, seed uint64) {
	t.Helper()
	w := newWorld(t, c, "churn", seed, &plant{})
	begin := time.Now()
	w.live(func() bool { return w.count.steps < wholeStory || time.Since(begin) < *lastsFlag })
	t.Logf("%+v", w.count)
	wrong := 0
	if w.wrong != nil {
		wrong++
		t.Errorf("step %d: %v\nthe last that happened:\n%s", w.count.steps, w.wrong, w.last())
	} else {
		w.count.plausible(t)
	}
	figure(t, "netns_steps", w.count.steps)
	figure(t, "netns_wrong", wrong)
}

// live lives through a story until something is wrong.
func (w *world) live(more func() bool) {
	for i := 0; i < 4 && w.wrong == nil; i++ {
		w.make(nowhere)
	}
	if w.plant.begun != nil && w.wrong == nil {
		w.must(w.plant.begun(w))
	}
	for w.wrong == nil && more() {
		w.step()
	}
	w.settle()
	w.end()
}

// plausible sees to it that a story had something of everything.
func (c *count) plausible(t *testing.T) {
	t.Helper()
	for what, share := range map[string][2]int{
		"tokens": {c.tokens, 300}, "refusals": {c.refused, 5}, "reboots": {c.reboots, 5}, "restarts": {c.restarts, 5},
		"answers on kept connections": {c.kept, 100}, "kept connections that lost their pod": {c.closed, 5},
		"answers for one of several identities": {c.chosen, 20}, "forged requests": {c.forged, 5},
		"inherited connections that reach the agent": {c.refusedHeirs, 5}, "resumed connections": {c.resumed, 5}, "requests without an agent": {c.away, 5},
	} {
		if share[0] < share[1] {
			t.Errorf("%d %s are too few", share[0], what)
		}
	}
	if c.late*fewLate > c.due {
		t.Errorf("%d of %d requests took more than %s, and no more than one in %d may: a busy machine does not hold up so many", c.late, c.due, soon, fewLate)
	}
	if c.silent > c.forged+c.inherited+c.away {
		t.Errorf("%d requests had no answer, of which %d forged, %d inherited and %d without an agent may have", c.silent, c.forged, c.inherited, c.away)
	}
}

// lawOf is the law that an error says is broken; empty for none.
func lawOf(err error) model.Law {
	if broken, ok := errors.AsType[*model.LawError](err); ok {
		return broken.Law
	}
	return ""
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

package churn_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/test/churn/model"
)

// drainFor is longer than an agent that ends takes to answer what it holds.
const drainFor = time.Minute

// world is a node, its kubelet, its API server and its agent. One goroutine acts
// in it; everybody else is at rest whenever it does.
type world struct {
	ctx   context.Context
	r     *rand.Rand
	plant *plant
	dir   string // the agent's run directory

	api   *apiServer
	apiAt *listener
	node  model.Node
	// routes is the kernel's answer to where each address is, for the agent, which
	// asks at any time.
	routes atomic.Pointer[map[netip.Addr]int]
	// newestWins says whose an address is that two have: that of the newer link.
	newestWins bool
	told       []linkEvent // what the kernel will tell of links, in order
	kubelet
	boot  time.Time
	boots int
	// starts counts lives of agents.
	starts int

	agent   *agent
	over    chan struct{} // closed at the end of all
	ending  bool          // the agent is about to end
	away    time.Time     // since when nobody has written down what is there; zero while the agent is up
	memory  memory
	conns   []*conn
	replies replies
	ports   int
	clients sync.WaitGroup

	count count
	story *story
	wrong error
}

// count counts what happened.
type count struct {
	steps, requests, tokens, denied, later int
	held, inVain                           int // requests held: then given a token, or told to ask again
	bySecond                               int // requests by the second address
	dropped                                int // requests that we have hung up on: they are not judged
	idle                                   int // connections that the agent has closed since nobody asked
	restarts, reboots, lists, managed      int
	twins                                  int // pods that were given the address of another
	silent                                 int // new connections that the agent has closed since nothing was asked
	onTheWay                               int // laws that a planted bug broke and may
}

// kubelet is what the node's kubelet knows.
type kubelet struct {
	uids    int
	nextUp  int                       // the index of the next link
	running map[string]*container     // by uid
	last    map[netip.Addr]int64      // the newest evidence of whoever had the address, in Unix seconds
	present map[string]*model.Sandbox // by uid, those that there are
}

// container is what runs in a pod.
type container struct {
	key            model.Key
	ready, started int64 // Unix seconds; 0 for not yet
	evidence       int64 // the newest that there ever was
}

// linkEvent is the kernel's word of a link.
type linkEvent struct {
	sandbox *model.Sandbox
	up      bool
}

// fail notes what ends the test.
func (w *world) fail(err error) {
	if w.wrong == nil {
		w.wrong = err
	}
}

// wrongIf notes a broken law, but one that a planted bug may break before it is
// found by another.
func (w *world) wrongIf(x *model.LawError) {
	if x == nil {
		return
	}
	if why, may := w.plant.also[x.Law]; may {
		w.say("as it may, since %s: %v", why, x)
		w.count.onTheWay++
		return
	}
	w.say("%v", x)
	w.fail(x)
}

// newWorld makes a node without pods and starts its API server. Everything in it
// belongs to the bubble that it is made in.
func newWorld(ctx context.Context, seed uint64, p *plant, dir string, s *story) *world {
	w := &world{
		ctx: ctx, plant: p, dir: dir, story: s,
		r:       rand.New(rand.NewPCG(seed, 0)),
		kubelet: kubelet{nextUp: 10, running: map[string]*container{}, last: map[netip.Addr]int64{}, present: map[string]*model.Sandbox{}},
		apiAt:   listen(),
		over:    make(chan struct{}),
	}
	w.api = newAPIServer(w.replacing)
	if p.encode != nil {
		w.api.encode = p.encode
	}
	w.boot = time.Now().Add(-time.Hour)
	for _, ns := range namespaceNames {
		w.api.put(namespaces, model.Key{Name: ns}, model.Namespace{Name: ns})
	}
	return w
}

// run starts the API server, lives through so many steps, and ends everything.
func (w *world) run(more func(steps int) bool) {
	server := &http.Server{Handler: w.api, ReadHeaderTimeout: time.Hour}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(w.apiAt) }) // ends with Close
	w.start(true)
	for w.wrong == nil && more(w.count.steps) {
		if w.step() {
			w.count.steps++
			w.nowAndThen()
		}
	}
	w.stop(w.wrong != nil)
	_ = server.Close() // nobody asks it any more
	serving.Wait()
	w.count.lists = w.api.lists
	close(w.over)
	w.clients.Wait()
}

// nowAndThen has happen what no story goes without.
func (w *world) nowAndThen() {
	switch w.count.steps % (2 * settleEvery) {
	case 0:
		w.settle()
	case settleEvery:
		w.settle()
		w.twins()
	case settleEvery / 2:
		w.say("the node reboots")
		w.reboot()
	case settleEvery * 3 / 2:
		w.say("the agent is started again")
		w.restart(w.r.IntN(2) == 0, true)
	}
}

// replacing has every call take in what a list is about to change, or has
// changed.
func (w *world) replacing() {
	w.see()
	for _, c := range w.conns {
		if c.call != nil {
			c.call.SeeAll(w.api.told)
		}
	}
}

// rest waits until everybody has done what there is to do, and judges.
func (w *world) rest() {
	synctest.Wait()
	w.judge()
}

// advance lets time pass.
func (w *world) advance(d time.Duration) {
	w.see()
	w.api.yield()
	before := time.Now()
	<-time.After(d)
	synctest.Wait()
	w.reread(before)
	w.see()
	w.judge()
}

// after waits until the clock shows a later second than this one. Times in the
// API have whole seconds, and the agent documents that it cannot tell what
// happens within one of them: no address goes to another pod, and no pod gets
// another network, within the second of the newest evidence.
func (w *world) after(second int64) {
	if d := time.Until(time.Unix(second+1, 0)); d > 0 {
		w.advance(d + time.Duration(w.r.IntN(1000))*time.Millisecond)
	}
}

// linkOf is the kernel's answer to where an address is.
func (w *world) linkOf(a netip.Addr) int {
	if at := w.routes.Load(); at != nil {
		return (*at)[a]
	}
	return 0
}

// wired has the kernel answer as the node's network is now. The agent asks it at
// any time. An address that two have is behind the link of either.
func (w *world) wired() {
	at := make(map[netip.Addr]int)
	for _, s := range w.node.Sandboxes {
		for _, a := range []netip.Addr{s.Addr, s.Second} {
			if _, taken := at[a]; a.IsValid() && !s.Gone && (!taken || w.newestWins) {
				at[a] = s.Link
			}
		}
	}
	w.routes.Store(&at)
}

// start starts the agent. With its memory of links it may be told of what is
// long past; without, it is told how things are: it documents that it believes
// then what it is told.
func (w *world) start(remembers bool) {
	if !remembers {
		for _, uid := range slices.Sorted(maps.Keys(w.running)) {
			w.report(uid)
		}
		w.flushStale()
	}
	managed := w.starts%4 == 3
	w.starts++
	w.api.startOver(w.r.IntN(2) == 0, !remembers, managed)
	if managed {
		w.count.managed++
	}
	w.node.Complete = false
	boot, bootID := w.boot, fmt.Sprint("boot-", w.boots)
	if w.plant.oldBoot {
		boot = time.Unix(1, 0)
	}
	if w.plant.oneBoot {
		bootID = "boot"
	}
	var err error
	w.agent, err = startAgent(agentConfig{boot: boot, bootID: bootID, managed: managed, runDir: w.dir, linkOf: w.linkOf, api: w.apiAt, world: w, plant: w.plant}, func(v *nodeview.View) {
		if w.plant.oneLink {
			v.LinkUp(1, "", time.Time{})
		}
		for _, s := range w.node.Sandboxes {
			if !s.Gone {
				w.linkUp(v, s, time.Time{})
				if !s.Up {
					s.Up, s.Since = true, s.Born
				} else if !remembers {
					s.Since = w.boot
				}
			}
		}
		w.told = nil
		w.node.Sandboxes = keepPresent(w.node.Sandboxes)
	})
	if err != nil {
		w.fail(err)
		return
	}
	w.away = time.Time{}
	for range 300 {
		w.advance(100 * time.Millisecond)
		if w.agent.complete.Load() {
			w.node.Complete = true
			w.see()
			return
		}
		if w.wrong != nil {
			return
		}
	}
	w.fail(errors.Join(errors.New("the agent has not been told everything after 30 s"), w.api.broken))
}

// stop ends the agent. It answers what it holds before, and is hung up on only
// if it is gone at once, as one that dies.
func (w *world) stop(atOnce bool) {
	if atOnce && w.r.IntN(4) > 0 {
		w.outlast()
	}
	if atOnce {
		w.hangUp(func(*conn) bool { return true })
		synctest.Wait()
	}
	w.ending = true
	if w.agent != nil {
		w.see()
		w.api.yield()
		over := time.Now().Add(drainFor)
		w.agent.end()
		if !atOnce { // when exactly it had answered everybody is no part of the story
			w.advance(time.Until(over))
		}
		w.see()
		w.judge()
	}
	w.hangUp(func(*conn) bool { return true })
	w.agent, w.ending = nil, false
	synctest.Wait()
	w.replies.take()
}

func keepPresent(list []*model.Sandbox) []*model.Sandbox {
	kept := list[:0]
	for _, s := range list {
		if !s.Gone {
			kept = append(kept, s)
		}
	}
	return kept
}

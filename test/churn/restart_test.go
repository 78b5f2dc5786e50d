package churn_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// memoryFile is what the agent writes down in its run directory.
const memoryFile = "links.json"

// restart ends the agent and starts it again; things happen while it is away.
// The agent writes down who is there when it ends. After a crash it has what was
// written down before, when something had changed: lately, since it documents that
// it believes evidence from after that, also of pods that have lost their network
// before it heard of them.
func (w *world) restart(crash, remembers bool) {
	w.tellLinks()
	late := w.startLate()
	w.after(w.newest())
	w.passingLink()
	w.advance(300 * time.Millisecond) // what is written down is at most 200 ms late
	last := w.memory
	if last.text == nil {
		w.fail(fmt.Errorf("the agent has not written down %s", memoryFile))
		return
	}
	w.stop(crash)
	file := filepath.Join(w.dir, memoryFile)
	var err error
	switch {
	case !remembers:
		w.away, err = w.boot, os.Remove(file)
	case crash:
		w.memory, w.away, err = last, last.since, os.WriteFile(file, last.text, 0o600)
	default:
		w.away = time.Now()
	}
	if err != nil {
		w.fail(err)
		return
	}
	if w.r.IntN(2) == 0 {
		w.succeed(late)
	}
	w.whileAway()
	w.start(remembers)
	w.count.restarts++
}

// memory is what the agent has written down, nil for nothing, and the last moment
// before that at which the test has seen something else.
type memory struct {
	text  []byte
	since time.Time
}

// reread notes whether the agent has written something down since a moment.
func (w *world) reread(since time.Time) {
	text, err := os.ReadFile(filepath.Join(w.dir, memoryFile))
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		w.fail(err)
	case !bytes.Equal(text, w.memory.text):
		w.memory = memory{text, since}
	}
}

// whileAway has things happen without an agent: pods are made, reported and
// changed, lose their network and get another, and go.
func (w *world) whileAway() {
	for range w.r.IntN(12) {
		w.act(w.r.IntN(20))
	}
}

// startLate has a container start, and be reported, shortly before the agent ends,
// which is mostly not told of it any more. It returns the pod; empty for none.
func (w *world) startLate() (uid string) {
	here := w.here()
	if len(here) == 0 {
		return ""
	}
	uid = pick(w, here).UID
	w.running[uid].started = time.Now().Unix()
	w.prove(uid)
	w.report(uid)
	w.say("a container of %s starts, and the kubelet reports it", uid)
	return uid
}

// succeed has a pod lose its network, and another come that gets its addresses.
// The API server goes on to tell of the first alone.
func (w *world) succeed(uid string) {
	s := w.present[uid]
	if s == nil || !w.mayUnplug(uid) {
		return
	}
	p, ok := w.newPod()
	if !ok {
		return
	}
	w.unplug(uid)
	w.api.put(pods, p.Key, p)
	w.running[p.UID] = &container{key: p.Key}
	w.plug(p.UID, pair{s.Addr, s.Second}, 0)
	w.say("%s has no network, and %s has its addresses by link %d", uid, p.UID, w.present[p.UID].Link)
}

// reboot makes all links new, and deals out the addresses anew.
func (w *world) reboot() {
	w.stop(true)
	newest := max(w.newest(), time.Now().Unix())
	var uids []string
	for _, key := range sortedKeys(w.api.holds.Pods) {
		if p := w.api.holds.Pods[key]; w.present[p.UID] != nil {
			uids = append(uids, p.UID)
		}
	}
	for uid := range w.present {
		w.present[uid].Gone = true
		c := w.running[uid]
		c.ready, c.started = 0, 0
		if !slices.Contains(uids, uid) {
			delete(w.running, uid)
		}
		delete(w.present, uid)
	}
	w.told, w.node.Sandboxes, w.nextUp = nil, nil, 10
	w.wired()
	w.after(newest)
	w.boot, w.away = time.Now(), time.Now()
	w.boots++
	if w.r.IntN(2) == 0 && !w.plant.oneBoot { // else it is there, of another boot
		if err := os.Remove(filepath.Join(w.dir, memoryFile)); err != nil {
			w.fail(err)
		}
	}
	// Links and addresses are often dealt out in the same order as before, and
	// the pods come in another.
	first, second := w.free(addresses), w.free(seconds)
	w.r.Shuffle(len(uids), func(i, j int) { uids[i], uids[j] = uids[j], uids[i] })
	for _, list := range [][]netip.Addr{first, second} { // each family for itself
		if w.r.IntN(3) == 0 {
			w.r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
	}
	early := 0
	if len(uids) > 0 {
		early = w.r.IntN(len(uids) + 1)
	}
	for i, uid := range uids {
		if i == early {
			w.start(true)
		}
		if i < len(first) {
			w.plug(uid, pair{first[i], second[i]}, 0)
		}
	}
	if early == len(uids) {
		w.start(true)
	}
	w.count.reboots++
}

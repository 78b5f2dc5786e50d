package nodeview

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// memory is what an agent writes down for the one after it: which links it knew
// and who had what on them. It holds no secret.
type memory struct {
	Version int    `json:"version"`
	BootID  string `json:"bootID"`
	// At is when all links were last known.
	At    time.Time        `json:"at"`
	Links []rememberedLink `json:"links"`
	Pods  []rememberedPod  `json:"pods"`
}

type rememberedLink struct {
	Index    int       `json:"index"`
	Hardware string    `json:"hardware"`
	Born     time.Time `json:"born"`
}

type rememberedPod struct {
	UID    string            `json:"uid"`
	Floor  time.Time         `json:"floor,omitzero"`
	Claims []rememberedClaim `json:"claims,omitempty"`
}

type rememberedClaim struct {
	Address  netip.Addr `json:"address"`
	Link     int        `json:"link"`
	Evidence time.Time  `json:"evidence"`
}

const (
	memoryFile    = "links.json"
	memoryVersion = 1
	// longestMemory is more than a node with as many pods as Kubernetes bears
	// ever needs.
	longestMemory = 8 << 20
	// memoryDelay is how long a change waits for others before it is written.
	memoryDelay = 200 * time.Millisecond
)

// readMemory reads what the agent before wrote in this boot; nil where it wrote
// nothing.
func readMemory(dir, bootID string) (*memory, error) {
	f, err := os.Open(filepath.Join(dir, memoryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none, and nothing is wrong with that
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, longestMemory))
	if err != nil {
		return nil, err
	}
	var m memory
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	switch {
	case m.Version != memoryVersion:
		return nil, fmt.Errorf("%s: version %d is not ours", f.Name(), m.Version)
	case m.BootID != bootID || m.At.IsZero() || m.At.After(time.Now()):
		return nil, fmt.Errorf("%s: not from this boot of the node, or its clock was set back", f.Name())
	}
	return &m, nil
}

// write puts the memory down, all or nothing, for this user's eyes only.
func (m *memory) write(dir string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, memoryFile+".")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, memoryFile))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// link finds out how old a link is that was there before the agent, and whether
// the agent before knew it.
func (m *memory) link(index int, hardware string) (born time.Time, kept bool) {
	for _, l := range m.Links {
		if l.Index == index && l.Hardware == hardware {
			return l.Born, true
		}
	}
	return m.At, false
}

// recall gives a pod that the API server tells of for the first time what it had
// when the agent before wrote it down: a claim where the link is the same, and
// where it is gone, the need for newer evidence. v.mu is held.
func (v *View) recall(e *podEntry, links map[netip.Addr]int) {
	if v.memory == nil {
		return
	}
	for _, p := range v.memory.Pods {
		if p.UID != e.pod.UID {
			continue
		}
		e.floor = p.Floor
		had := make(map[netip.Addr]claim, len(p.Claims))
		for _, c := range p.Claims {
			if l, ok := v.links[c.Link]; ok && l.kept {
				had[c.Address] = claim{link: c.Link, evidence: c.Evidence}
			} else {
				e.floor = later(e.floor, c.Evidence)
			}
		}
		v.keep(e, had, links)
	}
}

// remember has what changed written down, if anything is.
func (v *View) remember() {
	select {
	case v.dirty <- struct{}{}:
	default: // it will be anyhow
	}
}

// toRemember is what to write down; nil before the view is complete, since what
// is there from before says more.
func (v *View) toRemember(bootID string) *memory {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if !v.synced {
		return nil
	}
	m := &memory{Version: memoryVersion, BootID: bootID, At: time.Now()}
	for index, l := range v.links {
		m.Links = append(m.Links, rememberedLink{Index: index, Hardware: l.hardware, Born: l.born})
	}
	for uid, e := range v.pods {
		p := rememberedPod{UID: uid, Floor: e.floor}
		for a, c := range e.claims {
			p.Claims = append(p.Claims, rememberedClaim{Address: a, Link: c.link, Evidence: c.evidence})
		}
		if len(p.Claims) > 0 || !p.Floor.IsZero() {
			m.Pods = append(m.Pods, p)
		}
	}
	return m
}

// keepMemory writes down what changes until ctx ends, and then once more.
func (w *Watcher) keepMemory(ctx context.Context) {
	failing := false
	for ending := false; !ending; {
		select {
		case <-w.view.dirty:
		case <-ctx.Done():
		}
		select {
		case <-time.After(memoryDelay):
		case <-ctx.Done():
			ending = true
		}
		m := w.view.toRemember(w.config.BootID)
		if m == nil {
			continue
		}
		err := m.write(w.config.RunDir)
		if err != nil && !failing {
			w.config.Log.WarnContext(ctx, "who has which link is not written down: pods may be asked for newer evidence after a restart", "err", err)
		}
		failing = err != nil
	}
}

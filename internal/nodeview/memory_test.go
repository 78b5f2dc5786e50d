package nodeview

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"
)

const bootID = "6c2b7a51-3d0f-4d5e-9f8e-1f2d3c4b5a69"

// successor starts a view as the agent after another does, on what that wrote.
func successor(t *testing.T, dir string, routes map[netip.Addr]int) (m *machine, warnings string) {
	t.Helper()
	var log strings.Builder
	v, _, err := New(Config{
		Node: "node", REST: &rest.Config{}, Boot: boot, RunDir: dir, BootID: bootID,
		LinkOf: func(a netip.Addr) int { return routes[a] },
		Log:    slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &machine{t: t, View: v, routes: routes}, log.String()
}

// written has a node with pod 1 on link 8 written down, after edit.
func written(t *testing.T, edit func(*machine)) (dir string) {
	t.Helper()
	m := newMachine(t)
	m.up(8, 0)
	m.tell("1", 1)
	edit(m)
	dir = filepath.Join(t.TempDir(), "podid")
	if err := m.toRemember(bootID).write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTheAgentAfterKnowsTheLinks(t *testing.T) {
	since := time.Time{}
	young := time.Now().Add(time.Hour).Sub(start).Seconds() // evidence from after the agent before
	tests := map[string]struct {
		edit func(*machine) // before it is written down
		then func(*machine) // what the agent after is told; the links first
		want string
	}{
		"the same link": {func(*machine) {}, func(m *machine) {
			m.LinkUp(8, "02:00:00:00:00:01", since)
			m.tell("1", 1)
		}, "1"},
		"the same link, of a pod that is on its way out now": {func(*machine) {}, func(m *machine) {
			m.LinkUp(8, "02:00:00:00:00:01", since)
			m.tell("1", 1, ending)
		}, "1"},
		"the same link, and another pod that says so too": {func(*machine) {}, func(m *machine) {
			m.LinkUp(8, "02:00:00:00:00:01", since)
			m.tell("2", -1)
			m.tell("1", 1)
		}, "1"},
		"its index has gone to another": {func(*machine) {}, func(m *machine) {
			m.LinkUp(8, "02:00:00:00:00:ff", since)
			m.tell("1", 1)
		}, ""},
		"another link, not known before, and the old evidence": {func(*machine) {}, func(m *machine) {
			m.routes[addr] = 9
			m.LinkUp(9, "02:00:00:00:00:01", since)
			m.tell("1", 1)
		}, ""},
		"another pod on it, with evidence from before the last word": {func(*machine) {}, func(m *machine) {
			m.routes[addr] = 9
			m.LinkUp(9, "02:00:00:00:00:01", since)
			m.tell("2", 2)
		}, ""},
		"another pod on it, with young evidence": {func(*machine) {}, func(m *machine) {
			m.routes[addr] = 9
			m.LinkUp(9, "02:00:00:00:00:01", since)
			m.tell("1", 1)
			m.tell("2", young)
		}, "2"},
		"the link goes before the pod is told of": {func(*machine) {}, func(m *machine) {
			m.LinkUp(8, "02:00:00:00:00:01", since)
			m.LinkDown(8)
			m.LinkUp(9, "02:00:00:00:00:01", at(0))
			m.routes[addr] = 9
			m.tell("1", 1)
		}, ""},
		"the pod had lost its link already": {func(m *machine) { m.down(8) }, func(m *machine) {
			m.LinkUp(9, "02:00:00:00:00:01", at(0))
			m.routes[addr] = 9
			m.tell("1", 1)
		}, ""},
		"and shows newer evidence": {func(m *machine) { m.down(8) }, func(m *machine) {
			m.LinkUp(9, "02:00:00:00:00:01", at(0))
			m.routes[addr] = 9
			m.tell("1", 2)
		}, "1"},
		"a link known before, that had nobody": {func(m *machine) { m.LinkUp(9, "02:00:00:00:00:09", at(30)) }, func(m *machine) {
			m.LinkUp(9, "02:00:00:00:00:09", since)
			m.routes[addr] = 9
			m.tell("2", 31)
		}, "2"},
		"the same, and a pod from before it": {func(m *machine) { m.LinkUp(9, "02:00:00:00:00:09", at(30)) }, func(m *machine) {
			m.LinkUp(9, "02:00:00:00:00:09", since)
			m.routes[addr] = 9
			m.tell("2", 29)
		}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m, warnings := successor(t, written(t, tc.edit), map[netip.Addr]int{addr: 8})
			tc.then(m)
			m.setSynced()
			found, _, err := m.ByIP(addr, m.routes[addr])
			if found.Pod.UID != tc.want || warnings != "" {
				t.Errorf("ByIP() = %q, %v; want %q; warnings %q", found.Pod.UID, err, tc.want, warnings)
			}
		})
	}
}

func TestAnAlienMemoryIsPassedOver(t *testing.T) {
	tests := map[string]struct {
		text string
		warn bool
	}{
		"nothing":          {"", false},
		"no JSON":          {"{", true},
		"another version":  {`{"version": 2, "bootID": "` + bootID + `", "at": "2026-01-01T00:00:00Z"}`, true},
		"another boot":     {`{"version": 1, "bootID": "other", "at": "2026-01-01T00:00:00Z"}`, true},
		"without a time":   {`{"version": 1, "bootID": "` + bootID + `"}`, true},
		"from the future":  {`{"version": 1, "bootID": "` + bootID + `", "at": "9999-01-01T00:00:00Z"}`, true},
		"a claim of a lie": {`{"version": 1, "bootID": "other", "at": "2026-01-01T00:00:00Z", "links": [{"index": 8, "hardware": "02:00:00:00:00:01"}], "pods": [{"uid": "2", "claims": [{"address": "10.224.4.10", "link": 8}]}]}`, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.text != "" {
				if err := os.WriteFile(filepath.Join(dir, memoryFile), []byte(tc.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			m, warnings := successor(t, dir, map[netip.Addr]int{addr: 8})
			if (warnings != "") != tc.warn {
				t.Errorf("warnings: %q", warnings)
			}
			m.LinkUp(8, "02:00:00:00:00:01", time.Time{})
			m.tell("1", 1)
			m.tell("2", -100)
			m.setSynced()
			m.has("as if there were none: evidence from after the boot counts", 8, "1", nil)
		})
	}
}

func TestWhatIsWrittenDownIsForTheAgentAlone(t *testing.T) {
	dir := written(t, func(*machine) {})
	info, err := os.Stat(filepath.Join(dir, memoryFile))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestNothingIsWrittenDownBeforeTheViewIsComplete(t *testing.T) {
	m := newMachine(t)
	m.synced = false
	if got := m.toRemember(bootID); got != nil {
		t.Errorf("%+v", got)
	}
}

func TestWhatChangesIsWrittenDown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "podid")
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		w := &Watcher{config: Config{RunDir: dir, BootID: bootID, Log: slog.New(slog.DiscardHandler)}, view: m.View}
		ctx, cancel := context.WithCancel(t.Context())
		var g sync.WaitGroup
		g.Go(func() { w.keepMemory(ctx) })
		claims := func() (n int) {
			read, err := readMemory(dir, bootID)
			if err != nil || read == nil {
				t.Fatalf("readMemory() = %v, %v", read, err)
			}
			for _, p := range read.Pods {
				n += len(p.Claims)
			}
			return n
		}
		m.up(8, 0)
		m.tell("1", 1)
		<-time.After(2 * memoryDelay)
		if got := claims(); got != 1 {
			t.Errorf("%d claims are written down, want 1", got)
		}
		m.down(8)
		cancel()
		g.Wait()
		if got := claims(); got != 0 {
			t.Errorf("%d claims are written down at the end, want none", got)
		}
	})
}

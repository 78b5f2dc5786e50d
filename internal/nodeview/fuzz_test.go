package nodeview

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzReadMemory has an agent start with any memory at all: it must not fall
// over, must pass over what is of another boot, and must let no pod be known on
// a link that is not there.
func FuzzReadMemory(f *testing.F) {
	f.Add([]byte(`{"version": 1, "bootID": "` + bootID + `", "at": "2026-01-01T00:00:00Z", "links": [{"index": 8, "hardware": "02:00:00:00:00:01", "born": "2025-01-01T00:00:00Z"}], "pods": [{"uid": "1", "floor": "2024-01-01T00:00:00Z", "claims": [{"address": "10.224.4.10", "link": 8, "evidence": "2025-06-01T00:00:00Z"}]}]}`))
	f.Add([]byte(`{"version": 1, "bootID": "other", "at": "2026-01-01T00:00:00Z", "pods": [{"uid": "1", "claims": [{"address": "10.224.4.10", "link": 9}]}]}`))
	f.Add([]byte(`{"version": 1, "bootID": "` + bootID + `", "at": "9999-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"pods": [{"claims": [{"address": "::ffff:10.224.4.10", "link": -1, "evidence": "9999-12-31T23:59:59Z"}]}]}`))
	f.Add([]byte(`[]`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, memoryFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := readMemory(dir, bootID)
		if err != nil || m == nil {
			return
		}
		if m.BootID != bootID || m.At.After(time.Now()) {
			t.Fatalf("a memory of %q from %s is believed", m.BootID, m.At)
		}
		v := newView(Config{Boot: at(0), LinkOf: func(netip.Addr) int { return 8 }})
		v.memory = m
		v.LinkUp(8, "02:00:00:00:00:01", time.Time{})
		v.applyPod(pod("web", "1", started(at(1))))
		v.setSynced()
		for _, link := range []int{0, -1, 7, 9, 1 << 30} {
			if found, _, err := v.ByIP(addr, link); err == nil {
				t.Errorf("pod %s is known on link %d, which is not there", found.Pod.UID, link)
			}
		}
		if again := v.toRemember(bootID); again == nil || len(again.Links) != 1 {
			t.Errorf("remembered anew: %+v", again)
		}
	})
}

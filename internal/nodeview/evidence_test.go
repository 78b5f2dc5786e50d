package nodeview

import (
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// TestEvidenceFromBeforeTheLastWord has a pod's link go and another come on its
// address while no agent runs, and the API server still tell of the pod. The
// clock is the bubble's, so that the evidence is as near to what was written down
// as whole seconds can be.
func TestEvidenceFromBeforeTheLastWord(t *testing.T) {
	tests := map[string]struct {
		age  time.Duration // of the evidence, when it was written down who is there
		want string
	}{
		"one second before":  {time.Second, ""},
		"two seconds before": {2 * time.Second, ""},
		"within the second, which is not told from after it": {0, "1"},
		"a second after": {-time.Second, "1"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "podid")
			synctest.Test(t, func(t *testing.T) {
				<-time.After(time.Minute) // whole seconds after the beginning
				written := time.Now()
				evidence := written.Add(-tc.age).Sub(start).Seconds()
				before := newMachine(t)
				before.routes[addr] = 8
				before.LinkUp(8, "02:00:00:00:00:01", written.Add(-30*time.Second))
				if err := before.toRemember(bootID).write(dir); err != nil {
					t.Fatal(err)
				}
				<-time.After(10 * time.Second)
				after, warnings := successor(t, dir, map[netip.Addr]int{addr: 9})
				after.LinkUp(9, "02:00:00:00:00:02", time.Time{})
				after.tell("1", evidence)
				after.setSynced()
				found, _, err := after.ByIP(addr, 9)
				if found.Pod.UID != tc.want || warnings != "" {
					t.Errorf("ByIP() = %q, %v; want %q; warnings %q", found.Pod.UID, err, tc.want, warnings)
				}
			})
		})
	}
}

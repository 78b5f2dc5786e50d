package nodeview

import (
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestPlacesTellWhatByIPWould follows an address from one pod to the next.
func TestPlacesTellWhatByIPWould(t *testing.T) {
	m := newMachine(t)
	want := func(what, podName string, link int, wantErr error, rivals ...string) {
		t.Helper()
		places := m.Places("team", podName)
		if len(places) != 1 {
			t.Fatalf("%s: %d places of %s", what, len(places), podName)
		}
		p := places[0]
		if p.Addr != addr || p.Link != link || !errors.Is(p.Err, wantErr) || !slices.Equal(p.Rivals, rivals) {
			t.Errorf("%s: %s is at %+v; want link %d, %v, rivals %v", what, podName, p, link, wantErr, rivals)
		}
		found, _, err := m.ByIP(addr, p.Link)
		if known := err == nil && found.Pod.Name == podName; known != (p.Err == nil) {
			t.Errorf("%s: %s is at %+v, and ByIP() = %s, %v", what, podName, p, found.Pod.Name, err)
		}
	}
	m.tell("1", 0)
	want("before its network", "pod-1", 0, ErrOtherLink)
	m.up(21, 0)
	want("known", "pod-1", 21, nil)
	m.tell("2", -1000)
	want("another is told to have the address, without evidence", "pod-1", 21, nil, "team/pod-2")
	want("another is told to have the address, without evidence", "pod-2", 21, ErrOtherLink, "team/pod-1")
	m.tell("2", 1)
	want("both claim it", "pod-1", 21, ErrAmbiguous, "team/pod-2")
	want("both claim it", "pod-2", 21, ErrAmbiguous, "team/pod-1")
	m.deletePod("1")
	want("one is gone", "pod-2", 21, nil)
	m.down(21)
	want("its network is gone", "pod-2", 0, ErrOtherLink)
	if places := m.Places("team", "nobody"); len(places) > 0 {
		t.Errorf("a pod that there is not is at %v", places)
	}
}

// TestSnapshotFindsWhatTheViewFinds: it is fed by the same functions, so that only
// what it is given can differ.
func TestSnapshotFindsWhatTheViewFinds(t *testing.T) {
	p := pod("pod-1", "1", started(at(0)))
	s := Snapshot(newTestView().rules, false, &Objects{Pods: []corev1.Pod{*p}})
	v := newTestView()
	v.applyPod(p)
	v.setSynced()
	got, _, err1 := s.ByName(p.Namespace, p.Name)
	want, _, err2 := v.ByName(p.Namespace, p.Name)
	if err1 != nil || err2 != nil || got.Pod.UID != want.Pod.UID || len(got.Grants) != len(want.Grants) {
		t.Errorf("a snapshot finds %+v (%v), the view %+v (%v)", got, err1, want, err2)
	}
	if _, _, err := s.ByIP(addr, 7); err == nil {
		t.Error("a snapshot knows an address")
	}
}

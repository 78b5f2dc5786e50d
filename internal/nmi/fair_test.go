package nmi

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

// addr is the nth address of pods.
func addr(n int) holder {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 10<<24+uint32(n))
	return holder{addr: netip.AddrFrom4(a)}
}

func TestConnectionsAreBounded(t *testing.T) {
	f := newFairness(1000)
	for i := range maxConnections {
		if _, ok := f.connect(addr(i / maxConnectionsByPod)); !ok {
			t.Fatalf("connection %d is refused", i)
		}
	}
	if _, ok := f.connect(addr(maxConnections)); ok {
		t.Errorf("there are more than %d connections", maxConnections)
	}
	f.disconnect(addr(maxConnections)) // the server closes what is refused
	f.disconnect(addr(0))
	if _, ok := f.connect(addr(maxConnections)); !ok {
		t.Error("a connection is refused though one has ended")
	}
	f = newFairness(1000)
	for i := range maxConnectionsByPod + 1 {
		if _, ok := f.connect(addr(0)); ok != (i < maxConnectionsByPod) {
			t.Errorf("connection %d of one address: %t", i, ok)
		}
	}
	if _, ok := f.connect(addr(1)); !ok {
		t.Error("one address takes the connections of another")
	}
}

func TestPassedOnRequestsAreBoundedForEachPod(t *testing.T) {
	f := newFairness(1000)
	for range maxPassedOn {
		if !f.beginPass(addr(0)) {
			t.Fatal("refused")
		}
	}
	if f.beginPass(addr(0)) {
		t.Errorf("one pod has more than %d requests passed on at once", maxPassedOn)
	}
	if !f.beginPass(addr(1)) {
		t.Error("another pod is refused")
	}
	if f.endPass(addr(0)); !f.beginPass(addr(0)) {
		t.Error("refused though one has ended")
	}
}

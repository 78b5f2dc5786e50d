package nmi_test

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podid-io/podid/internal/nmi"
)

// TestFloodLeavesOneLineASecond has 200 requests come at once, of which 32 are
// held: first for their turn, and then for an identity that never comes.
func TestFloodLeavesOneLineASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.found.Grants[0].Ready = false
		c := serve(t, w, nmi.Controller{}, func(c *nmi.Config) { c.PodRate = 8 })
		var flood sync.WaitGroup
		for range 200 {
			flood.Go(func() { c.raw(t, ask) })
		}
		synctest.Wait()
		if n := strings.Count(c.audit.String(), `"reason":"too_many"`); n != 1 {
			t.Errorf("%d lines tell of a flood within one moment, want 1", n)
		}
		time.Sleep(2 * time.Second)
		for range 40 {
			flood.Go(func() { c.raw(t, ask) })
		}
		synctest.Wait()
		if n := strings.Count(c.audit.String(), `"reason":"too_many"`); n != 2 {
			t.Errorf("%d lines tell of a flood, want one more later", n)
		}
		flood.Wait()
	})
}

func TestAuditNamesTheAddress(t *testing.T) {
	w := newWorld()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.origin.Interface = 8 // whose it is stays unknown
	c := serveOn(t, w, l, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp4", l.Addr().String())
	})
	c.get(t, ask)
	var line struct {
		Source netip.Addr `json:"source"`
		Pod    string     `json:"pod"`
	}
	if err := json.Unmarshal([]byte(c.audit.String()), &line); err != nil {
		t.Fatal(err)
	}
	if line.Source != netip.MustParseAddr("127.0.0.1") || line.Pod != "" {
		t.Errorf("the line is %s, want the address that asked", c.audit)
	}
}

// TestRefusalIsAuditedThoughTheClientLeft closes its side before it reads, by
// which a server takes the client for gone.
func TestRefusalIsAuditedThoughTheClientLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.found.Pod.Created = time.Now().Add(-time.Hour)
		w.objectIDs = map[string]string{"client-blue": "oid-blue", "/red": "oid-red"}
		w.how, w.block = "miss", make(chan struct{})
		c := serve(t, w, nmi.Controller{})
		conn, err := c.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("GET " + ask + "&object_id=oid-green HTTP/1.1\r\nHost: x\r\nMetadata: true\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // for Azure
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !strings.Contains(c.audit.String(), `"reason":"not_bound"`) {
			t.Errorf("the audit log does not tell of the attempt: %q", c.audit)
		}
	})
}

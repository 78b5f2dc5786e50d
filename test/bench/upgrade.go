package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	upgrades       = 3
	upgradeClients = 8
	upgradePause   = 2 * time.Millisecond // of each client, between two connections
)

// upgrade replaces nmi while clients connect and ask, as a DaemonSet that surges
// does: the new agent starts, and when it is ready the old one is told to end.
// Half of the clients make a connection for each request, half keep theirs.
func upgrade(ctx context.Context, r *rig, out *report) error {
	const node, number = "upgrade", 6
	if err := r.addPods(ctx, node, number, upgradeClients); err != nil {
		return err
	}
	start := func() (*agent, error) {
		return r.launch(ctx, node, "--metadata", metadataAddr.String()+":80", "--pod-rate", unlimited)
	}
	serving, err := start()
	if err != nil {
		return err
	}
	serving.listen = metadataAddr.String() + ":80"
	t := traffic{to: serving}
	stop := t.begin(ctx, number)
	defer stop()
	for range upgrades {
		next, err := start()
		if err != nil {
			return err
		}
		r.end(serving.cmd)
		serving = next
		select {
		case <-time.After(time.Second): // of the new agent alone
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	stop()
	r.end(serving.cmd)
	if t.answered.Load() < 1000 {
		return fmt.Errorf("only %d requests were answered: %v", t.answered.Load(), t.last.Load())
	}
	if err := t.last.Load(); err != nil {
		fmt.Fprintln(os.Stderr, "upgrade: a request failed:", *err)
	}
	out.add("upgrade_answered", float64(t.answered.Load()), "")
	out.add("upgrade_refused", float64(t.failed.Load()), "0")
	return nil
}

// traffic are clients that ask without end.
type traffic struct {
	to               *agent
	answered, failed atomic.Int64
	last             atomic.Pointer[error]
}

// begin starts the clients; the function that it returns ends them.
func (t *traffic) begin(ctx context.Context, number int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var g sync.WaitGroup
	for i := range upgradeClients {
		g.Go(func() {
			if i%2 == 0 {
				t.connecting(ctx, podIP(number, i))
			} else {
				t.staying(ctx, podIP(number, i))
			}
		})
	}
	return func() { cancel(); g.Wait() }
}

// connecting makes a connection for each request.
func (t *traffic) connecting(ctx context.Context, from string) {
	for ctx.Err() == nil {
		t.count(askOnce(context.WithoutCancel(ctx), t.to, from, vault))
		pause(ctx)
	}
}

// staying keeps its connection for as long as the agent does, as HTTP clients do:
// one that was closed between two requests is made anew, and that is no failure.
func (t *traffic) staying(ctx context.Context, from string) {
	var c *conn
	for ctx.Err() == nil {
		fresh := c == nil
		var err error
		if fresh {
			if c, err = dial(context.WithoutCancel(ctx), from, t.to.listen, request(vault)); err != nil {
				t.count(err)
				continue
			}
		}
		if _, err = c.do(nil); err != nil || c.closing {
			_ = c.Close()
			c = nil
		}
		if err == nil || fresh || errors.Is(err, errAnswer) {
			t.count(err)
		}
		pause(ctx)
	}
	if c != nil {
		_ = c.Close()
	}
}

func (t *traffic) count(err error) {
	if err != nil {
		t.failed.Add(1)
		t.last.Store(&err)
		return
	}
	t.answered.Add(1)
}

func pause(ctx context.Context) {
	select {
	case <-time.After(upgradePause):
	case <-ctx.Done():
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
)

const (
	upgrades = 3
	// upgradeHeld is the pod whose identity is on its way while nmi is replaced.
	upgradeHeld = upgradeClients
	// upgradeLate is how long after the old agent was told to end that identity
	// is there: the new one has the redirect by then.
	upgradeLate = time.Second
)

// upgrade replaces nmi while clients connect and ask, as a DaemonSet that surges
// does: the new agent starts, and when it is ready the old one is told to end.
// Half of the clients make a connection for each request, half keep theirs. One
// more asks for an identity that is on its way, and is held across each of the
// surges: the old agent must answer it, and not cut it.
func upgrade(ctx context.Context, r *rig, out *report) error {
	const node, number = "upgrade", 6
	if err := r.addPods(ctx, node, number, upgradeClients+1); err != nil {
		return err
	}
	start := func() (*agent, error) {
		a, err := r.launch(ctx, node, "--metadata", metadataAddr.String()+":80", "--pod-rate", unlimited)
		if err == nil {
			a.listen = metadataAddr.String() + ":80"
		}
		return a, err
	}
	serving, err := start()
	if err != nil {
		return err
	}
	t := traffic{to: serving}
	stop := t.begin(ctx, number)
	defer stop()
	held := 0
	for range upgrades {
		next, answered, err := r.surge(ctx, serving, node, podIP(number, upgradeHeld), start)
		if err != nil {
			return err
		}
		held += answered
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
	out.add("upgrade_answered", float64(t.answered.Load()), goal{})
	out.add("upgrade_refused", float64(t.failed.Load()), exactly(0))
	out.add("upgrade_retried", float64(t.retried.Load()), exactly(0))
	out.add("upgrade_retried_reset", float64(t.reset.Load()), goal{})
	out.add("upgrade_held_answered", float64(held), exactly(upgrades))
	return nil
}

// surge replaces one agent while it holds a request of a pod, and returns the
// next and whether the request was answered: 1 or 0.
func (r *rig) surge(ctx context.Context, old *agent, node, from string, start func() (*agent, error)) (next *agent, held int, err error) {
	pod := fmt.Sprintf("%s-pod-%d", node, upgradeHeld)
	answered, err := r.holdOne(ctx, old, pod, from)
	if err != nil {
		return nil, 0, err
	}
	if next, err = start(); err != nil {
		return nil, 0, err
	}
	ended := make(chan struct{})
	go func() { // ends with the old agent, or ten seconds later
		defer close(ended)
		r.end(old.cmd)
	}()
	select {
	case <-time.After(upgradeLate):
	case <-ctx.Done():
	}
	_, err = r.setState(ctx, pod, v1.Assigned)
	<-ended // with what it held answered, or cut
	if err != nil {
		return nil, 0, err
	}
	select {
	case err := <-answered:
		if err != nil {
			fmt.Fprintln(os.Stderr, "upgrade: the held request failed:", err)
			return next, 0, nil
		}
		return next, 1, nil
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
}

// holdOne takes a pod's identity off and returns when an agent holds a request
// of it.
func (r *rig) holdOne(ctx context.Context, a *agent, pod, from string) (<-chan error, error) {
	if _, err := r.setState(ctx, pod, v1.Created); err != nil {
		return nil, err
	}
	for range 100 { // until the agent has seen that the identity is off
		answered := make(chan error, 1)
		go func() { answered <- askOnce(ctx, a, from, vault) }() // ends with the answer
		held, err := awaitHeld(ctx, a, answered)
		if held || err != nil {
			return answered, err
		}
	}
	return nil, errors.New("nmi never held the request")
}

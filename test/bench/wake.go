package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
)

const (
	wakePods   = 200
	wakeTrials = 1000
)

// wake measures from the API server's answer to the PATCH that says Assigned to
// the answer of a request that was held for it.
func wake(ctx context.Context, r *rig, out *report) error {
	const node, number = "wake", 2
	if err := r.addPods(ctx, node, number, wakePods); err != nil {
		return err
	}
	a, err := r.startAgent(ctx, node)
	if err != nil {
		return err
	}
	defer r.end(a.cmd)
	for i := range identities { // every identity's token is in the cache
		if err := askOnce(ctx, a, podIP(number, i), vault); err != nil {
			return err
		}
	}
	var over []time.Duration
	for trial := range wakeTrials {
		took, err := wakeTrial(ctx, r, a, node, number, trial%wakePods)
		if err != nil {
			return fmt.Errorf("trial %d: %w", trial, err)
		}
		over = append(over, took)
	}
	p50, err1 := latency(over, 50)
	p99, err2 := latency(over, 99)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	out.add("wake_p50_ms", p50, goal{})
	out.add("wake_p99_ms", p99, atMost(50))
	out.add("wake_max_ms", longest(over), goal{})
	return nil
}

func askOnce(ctx context.Context, a *agent, from, resource string) error {
	c, err := dial(ctx, from, a.listen, request(resource))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_, err = c.do(nil)
	return err
}

// wakeTrial takes a pod's identity off, holds a request of it, puts the
// identity on again and returns how long after that the answer came.
func wakeTrial(ctx context.Context, r *rig, a *agent, node string, number, pod int) (time.Duration, error) {
	name := fmt.Sprintf("%s-pod-%d", node, pod)
	if _, err := r.setState(ctx, name, v1.Created); err != nil {
		return 0, err
	}
	type result struct {
		at  time.Time
		err error
	}
	for range 100 { // until nmi has seen that the identity is off
		answered := make(chan result, 1)
		go func() { // ends with the answer
			err := askOnce(ctx, a, podIP(number, pod), vault)
			answered <- result{time.Now(), err}
		}()
		if held, err := awaitHeld(ctx, a, answered); err != nil || !held {
			if err != nil {
				return 0, err
			}
			continue
		}
		patched, err := r.setState(ctx, name, v1.Assigned)
		if err != nil {
			return 0, err
		}
		select {
		case got := <-answered:
			return max(0, got.at.Sub(patched)), got.err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return 0, errors.New("nmi never held the request")
}

// awaitHeld reports whether a request came to be held, or was answered at once.
func awaitHeld[T any](ctx context.Context, a *agent, answered <-chan T) (bool, error) {
	for range 1000 {
		n, err := metric(ctx, a.metrics, "podid_held_requests")
		if err != nil {
			return false, err
		}
		if n > 0 {
			return true, nil
		}
		if len(answered) > 0 {
			return false, nil
		}
	}
	return false, errors.New("a request was neither held nor answered")
}

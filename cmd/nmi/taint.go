package main

import (
	"context"
	"fmt"
	"time"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/podid-io/podid/internal/taint"
)

// untaint takes the start-up taint off the own node once the agent is ready. A
// failure is tried again: the node is of no use to anybody before.
func (a *agent) untaint(ctx context.Context, nodes taint.Nodes, node, key string) error {
	select {
	case <-a.ready:
	case <-ctx.Done():
		return nil
	}
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
		done, err := taint.Remove(bounded, nodes, node, []string{key})
		cancel()
		if err == nil {
			if done {
				a.log.InfoContext(ctx, "ready: took the start-up taint off", "node", node, "taint", key)
			}
			return nil
		}
		a.log.WarnContext(ctx, "the start-up taint stays on for now", "node", node, "taint", key, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// nodes is a client for nodes, with the rights of config/rbac/startup-taint.yaml.
func (p *parsed) nodes() (taint.Nodes, error) {
	c, err := corev1client.NewForConfig(p.rest)
	if err != nil {
		return nil, fmt.Errorf("make a client for nodes: %w", err)
	}
	return c.Nodes(), nil
}

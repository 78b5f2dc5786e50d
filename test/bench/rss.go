package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	rssPods      = 250
	rssResources = 5
)

// rss is the resident memory of nmi, idle: with 30 pods that share identities,
// and with as many as a node holds, each with an identity of its own and tokens
// of five resources.
func rss(ctx context.Context, r *rig, out *report) error {
	few, err := r.resident(ctx, pods{node: "rss", number: 3}, 30, 1)
	if err != nil {
		return err
	}
	many, err := r.resident(ctx, pods{node: "rss-full", number: 4, identity: func(i int) int { return ownFrom + i }}, rssPods, rssResources)
	if err != nil {
		return err
	}
	out.add("nmi_rss_mib", few, atMost(40))
	out.add("nmi_rss_250x5_mib", many, atMost(40))
	return nil
}

// resident has each of n pods ask for tokens of so many resources, and returns
// what nmi occupies ten seconds later.
func (r *rig) resident(ctx context.Context, c pods, n, resources int) (float64, error) {
	if err := r.add(ctx, c, 0, n); err != nil {
		return 0, err
	}
	a, err := r.startAgent(ctx, c.node)
	if err != nil {
		return 0, err
	}
	defer r.end(a.cmd)
	if err := parallel(n*resources, func(i int) error {
		return askOnce(ctx, a, podIP(c.number, i%n), fmt.Sprintf("https://resource-%d.example", i/n))
	}); err != nil {
		return 0, err
	}
	select {
	case <-time.After(10 * time.Second): // idle
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return residentMiB(a.cmd.Process.Pid)
}

// size is the size of the programs.
func size(_ context.Context, r *rig, out *report) error {
	for _, name := range []string{"mic", "nmi", "podid", "azemu"} {
		info, err := os.Stat(filepath.Join(r.bin, name))
		if err != nil {
			return err
		}
		out.add(name+"_mb", float64(info.Size())/1e6, atMost(45))
	}
	return nil
}

package main

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

const rssPods = 30

// rss is the resident memory of nmi, idle, with 30 pods.
func rss(ctx context.Context, r *rig, out *report) error {
	const node, number = "rss", 3
	if err := r.addPods(ctx, node, number, rssPods); err != nil {
		return err
	}
	a, err := r.startAgent(ctx, node)
	if err != nil {
		return err
	}
	defer end(a.cmd)
	for i := range rssPods {
		if err := askOnce(ctx, a, podIP(number, i)); err != nil {
			return err
		}
	}
	select {
	case <-time.After(10 * time.Second): // idle
	case <-ctx.Done():
		return ctx.Err()
	}
	mib, err := residentMiB(a.cmd.Process.Pid)
	if err != nil {
		return err
	}
	out.add("nmi_rss_mib", mib, "<= 40")
	return nil
}

// size is the size of the programs.
func size(_ context.Context, r *rig, out *report) error {
	for _, name := range []string{"mic", "nmi", "podid", "azemu"} {
		info, err := os.Stat(filepath.Join(r.bin, name))
		if err != nil {
			return err
		}
		out.add(name+"_mb", float64(info.Size())/1e6, "<= 45")
	}
	return nil
}

package redirect

import (
	"context"
	"errors"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// checkPause is the least time between two checks.
const checkPause = 250 * time.Millisecond

// Run keeps the redirect standing until ctx ends: it is checked at every
// change of nftables and at every interval. It never takes the rules away: a
// node whose agent is down answers nobody (see Yield and Remove). Failures are
// reported and tried again. Call it when the agent is ready: its first check
// takes the redirect over from the agent before.
func (r *Redirect) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	changes := make(chan struct{}, 1)
	g.Go(func() error { r.watch(ctx, changes); return nil }) // ends with ctx
	checks := make(chan bool, 1)
	if r.canary != nil {
		g.Go(func() error { r.sendCanaries(ctx, checks); return nil }) // ends with ctx
	}
	g.Go(func() error {
		tick := time.NewTicker(r.config.Interval)
		defer tick.Stop()
		for ctx.Err() == nil { // whoever has ended takes nothing over
			err := r.Ensure()
			r.config.Report(err)
			if r.canary != nil {
				replace(checks, err == nil)
			}
			select { // our own writes are changes too, and so are those of who fights us
			case <-ctx.Done():
				return nil
			case <-time.After(checkPause):
			}
			select {
			case <-ctx.Done():
				return nil
			case <-changes:
			case <-tick.C:
			}
		}
		return nil
	})
	return g.Wait()
}

// replace puts v into a channel of one place, over what nobody has taken. There
// must be one sender.
func replace[T any](c chan T, v T) {
	select {
	case <-c:
	default:
	}
	c <- v
}

// watch sends to changes when nftables changes. It opens its socket again when
// that fails; until then the interval serves.
func (r *Redirect) watch(ctx context.Context, changes chan<- struct{}) {
	for {
		if err := follow(ctx, changes); err != nil {
			r.config.Log.DebugContext(ctx, "following nftables ended", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(r.config.Interval):
		}
	}
}

// follow sends to changes until ctx ends or the socket fails. What has changed it
// does not read: others' rules can be many, and a check reads ours.
func follow(ctx context.Context, changes chan<- struct{}) error {
	events, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = events.Close() }) // ends Receive
	defer func() {
		if stop() {
			_ = events.Close() // only read from
		}
	}()
	for {
		if _, err := events.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) { // lost events are a change too
			return err
		}
		select {
		case changes <- struct{}{}:
		default: // a check is due already
		}
	}
}

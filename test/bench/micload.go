package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/podid-io/podid/internal/azemu"
)

// writes is how many requests the API server has had that write what only mic
// does: what pods have, what is on record, and what users are shown.
func (f *field) writes(ctx context.Context) (int, error) {
	config := f.cp.REST()
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		return 0, err
	}
	defer h.CloseIdleConnections()
	page, err := fetchBy(ctx, h, config.Host+"/metrics")
	if err != nil {
		return 0, err
	}
	total := 0
	for line := range strings.Lines(page) {
		labels, ok := strings.CutPrefix(line, "apiserver_request_total{")
		if !ok || !mics(labels) {
			continue
		}
		_, value, _ := strings.Cut(labels, "} ")
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return 0, fmt.Errorf("apiserver_request_total: %w", err)
		}
		total += int(n)
	}
	return total, nil
}

// mics reports whether requests with these labels are writes of mic.
func mics(labels string) bool {
	has := func(name string, values ...string) bool {
		for _, v := range values {
			if strings.Contains(labels, name+`="`+v+`"`) {
				return true
			}
		}
		return false
	}
	return has("verb", "POST", "PUT", "PATCH", "APPLY", "DELETE") && (has("resource", "azureassignedidentities", "configmaps") ||
		has("resource", "azureidentities", "azureidentitybindings") && has("subresource", "status"))
}

// patches is how many PATCHes Azure has had, for each scale set.
func (f *field) patches(ctx context.Context) (by map[string]int, total int, err error) {
	events, err := f.azure.Events(ctx)
	if err != nil {
		return nil, 0, err
	}
	by = make(map[string]int)
	for i := range events {
		if events[i].Endpoint == azemu.EndpointVMSSPatch {
			by[strings.ToLower(events[i].Path)]++
			total++
		}
	}
	return by, total, nil
}

// took is how long operations of Azure took, one after the other, on the scale set
// with the longest.
func (f *field) took(ctx context.Context) (time.Duration, error) {
	events, err := f.azure.Events(ctx)
	if err != nil {
		return 0, err
	}
	by, longest := make(map[string]time.Duration), time.Duration(0)
	for i := range events {
		if events[i].Endpoint == azemu.EndpointOperationEnd {
			key := strings.ToLower(events[i].Path)
			by[key] += time.Duration(events[i].Duration)
			longest = max(longest, by[key])
		}
	}
	return longest, nil
}

// Quiet is a program that uses less than a share of one processor for some time.
const (
	quietShare = 0.02
	quietFor   = 2 * time.Second
	quietTick  = 250 * time.Millisecond
)

// awaitQuiet returns when mic has had nothing to do for a while, with since when.
func awaitQuiet(ctx context.Context, c *controller, within time.Duration) (since time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(quietTick)
	defer tick.Stop()
	since = time.Now()
	before, err := cpu(c.cmd.Process.Pid)
	for err == nil && time.Since(since) < quietFor {
		at := time.Now()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return since, fmt.Errorf("mic was busy for %s", within)
		}
		var now time.Duration
		if now, err = cpu(c.cmd.Process.Pid); now-before > time.Duration(quietShare*float64(time.Since(at))) {
			since = time.Now()
		}
		before = now
	}
	return since, err
}

// spent is what of a processor mic uses for what do has it do, without what it
// uses anyway.
func spent(ctx context.Context, c *controller, do func() error) (time.Duration, error) {
	const look = 5 * time.Second
	if _, err := awaitQuiet(ctx, c, time.Minute); err != nil {
		return 0, err
	}
	first, err1 := cpu(c.cmd.Process.Pid)
	start := time.Now()
	select {
	case <-time.After(look):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	before, err2 := cpu(c.cmd.Process.Pid)
	idle := float64(before-first) / float64(time.Since(start))
	start = time.Now()
	if err := errors.Join(err1, err2, do()); err != nil {
		return 0, err
	}
	if _, err := awaitQuiet(ctx, c, time.Minute); err != nil {
		return 0, err
	}
	after, err := cpu(c.cmd.Process.Pid)
	return after - before - time.Duration(idle*float64(time.Since(start))), err
}

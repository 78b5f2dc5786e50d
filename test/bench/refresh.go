package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/token"
)

const (
	refreshTokens   = 110
	refreshUpstream = 100 * time.Millisecond
	// refreshLife is the life of the tokens: the half of it is more than it takes
	// to get all of them for the first time.
	refreshLife = 50 * time.Second
)

// refresh110 has 110 tokens due for renewal at once, at a metadata service that
// takes 100 ms and enforces its limits: nmi's cache and source, over TCP. All are
// due together since renewals begin only when the last one is past due.
func refresh110(ctx context.Context, r *rig, out *report) error {
	endpoint, azure, stop, err := r.startLimited(ctx)
	if err != nil {
		return err
	}
	defer stop()
	source, err := entra.NewIMDS(entra.IMDSConfig{Endpoint: endpoint})
	if err != nil {
		return err
	}
	defer source.Close()
	cache := token.NewCache(token.CacheConfig{Source: source})
	if err := parallel(refreshTokens, func(i int) error {
		_, err := cache.Token(ctx, &token.Request{Type: v1.UserAssignedMSI, ClientID: clientID(i % identities), Resource: fmt.Sprintf("https://refresh-%d.example", i)})
		return err
	}); err != nil {
		return err
	}
	select {
	case <-time.After(refreshLife / 2):
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := azure.ResetCounters(ctx); err != nil {
		return err
	}
	renewing, endRenewing := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer endRenewing()
	start := time.Now()
	running.Go(func() { _ = cache.Run(renewing) }) // ends with renewing, always with nil
	if err := await(ctx, time.Minute, func() error {
		if n := cache.Stats().Outcomes.Issued; n < 2*refreshTokens {
			return fmt.Errorf("%d of %d tokens are renewed", n-refreshTokens, refreshTokens)
		}
		return nil
	}); err != nil {
		return err
	}
	took := time.Since(start)
	counters, err := azure.Counters(ctx)
	if err != nil {
		return err
	}
	out.add("refresh110_s", took.Seconds(), "<= 10")
	out.add("refresh110_429", float64(counters[azemu.EndpointIMDSToken].Status[http.StatusTooManyRequests]), "0")
	return nil
}

// startLimited starts one more emulator, whose metadata service enforces its
// limits and issues tokens with a short life.
func (r *rig) startLimited(ctx context.Context) (*url.URL, *azemu.Client, func(), error) {
	ready := azemu.Ready{}
	readyFile, own := filepath.Join(r.dir, "azemu-limited.json"), r.node.Addr.String()
	cmd, err := r.run(ctx, "azemu", nil, "--listen", own+":0", "--admin-listen", own+":0", "--imds-machine", machine+"="+own+":0",
		"--host", own, "--state", filepath.Join(r.dir, "state.json"), "--imds-limits",
		"--token-lifetime", refreshLife.String(), "--token-renewal", "1s", "--ready-file", readyFile)
	if err != nil {
		return nil, nil, nil, err
	}
	stop := func() { r.end(cmd) }
	err = await(ctx, 10*time.Second, func() error {
		b, err := os.ReadFile(readyFile)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &ready)
	})
	endpoint, err2 := url.Parse(ready.Machines[machine])
	azure := azemu.NewClient(ready.Admin)
	if err := errors.Join(err, err2); err != nil {
		stop()
		return nil, nil, nil, err
	}
	if err := azure.SetFault(ctx, azemu.EndpointIMDSToken, azemu.Fault{Delay: azemu.Duration(refreshUpstream)}); err != nil {
		stop()
		return nil, nil, nil, err
	}
	return endpoint, azure, stop, nil
}

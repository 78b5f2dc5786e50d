package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/token"
)

const (
	refreshTokens = 110
	// refreshLife is the life of the tokens: the half of it is more than it takes
	// to get all of them for the first time.
	refreshLife = 50 * time.Second
)

// refresh110 has 110 tokens due for renewal at once, at a metadata service that
// takes 100 ms and enforces its limits: nmi's cache and source, over TCP. All are
// due together since renewals begin only when the last one is past due.
func refresh110(ctx context.Context, r *rig, out *report) error {
	limited, err := r.startLimited(ctx, "refresh", "--token-lifetime", refreshLife.String(), "--token-renewal", "1s")
	if err != nil {
		return err
	}
	defer r.end(limited.cmd)
	azure := limited.azure
	endpoint, err := url.Parse(limited.imds)
	if err != nil {
		return err
	}
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
	out.add("refresh110_s", took.Seconds(), atMost(10))
	out.add("refresh110_429", float64(counters[azemu.EndpointIMDSToken].Status[http.StatusTooManyRequests]), exactly(0))
	return nil
}

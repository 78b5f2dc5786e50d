package compute_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podid-io/podid/internal/azemu"
)

func TestAnUpdateEndsThoughAzureAlwaysWantsToBeLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, _ := inMemory(t, azemu.Config{ARMDelay: 40 * time.Second})
		c := overMemory(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			answer, err := direct{e}.RoundTrip(r)
			if err == nil && strings.Contains(r.URL.Path, "/operations/") {
				answer.StatusCode = http.StatusTooManyRequests
				answer.Header.Set("Retry-After", "60")
			}
			return answer, err
		}), direct{e})
		s, err := c.Get(t.Context(), scope(t, setID))
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		changes, err := c.Update(t.Context(), scope(t, setID), s, []string{id("a")}, nil)
		if took := time.Since(begin); took < 15*time.Minute || took > 31*time.Minute || !errors.Is(err, context.DeadlineExceeded) || len(changes.Done)+len(changes.Not) > 0 {
			t.Errorf("after %s Update() = %+v, %v, want after half an hour that nothing is known", took, changes, err)
		}
	})
}

func TestWhoComesLaterDoesNotWaitBehindAllPolls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const machines = 500
		var vms []azemu.VM
		for i := range machines {
			vms = append(vms, azemu.VM{ID: fmt.Sprintf("%s-%d", vmID, i)})
		}
		_, c := inMemory(t, azemu.Config{ARMDelay: 5 * time.Minute, RetryAfter: 10 * time.Second, ARMLimits: true, Seed: azemu.State{VMs: vms}})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for _, vm := range vms {
			all.Go(func() {
				s, err := c.Get(ctx, scope(t, vm.ID))
				if err == nil {
					_, err = c.Update(ctx, scope(t, vm.ID), s, []string{id("a")}, nil)
				}
				if err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v", vm.ID, err)
				}
			})
		}
		time.Sleep(3 * time.Minute) // until all are under way
		for range 20 {
			begin := time.Now()
			if _, err := c.Get(t.Context(), scope(t, vmID)); err != nil || time.Since(begin) > 2*time.Second {
				t.Errorf("a read of another machine took %s: %v", time.Since(begin), err)
			}
			time.Sleep(5 * time.Second)
		}
		cancel()
		all.Wait()
	})
}

func TestARetryAfterThatMakesNoSenseIsNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, _ := inMemory(t, azemu.Config{})
		asked := 0
		c := overMemory(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			answer, err := direct{e}.RoundTrip(r)
			if err == nil {
				asked++
				answer.StatusCode = http.StatusTooManyRequests
				answer.Header.Set("Retry-After", "soon")
			}
			return answer, err
		}), direct{e})
		for range 2 {
			if _, err := c.Get(t.Context(), scope(t, setID)); err == nil {
				t.Error("no error")
			}
			time.Sleep(time.Second)
		}
		if asked != 1 {
			t.Errorf("Azure was asked %d times within a second, want once", asked)
		}
	})
}

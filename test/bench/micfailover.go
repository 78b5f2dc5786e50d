package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/podid-io/podid/internal/azemu"
)

// failover kills the mic that leads in the middle of a PATCH, beside another that
// stands by.
func failover(ctx context.Context, r *rig, out *report) error {
	return onField(ctx, r, plan{operation: operation, sets: 1, nodes: 10, identities: 20}, func(f *field) error {
		leads, err := f.lead(ctx)
		if err != nil {
			return err
		}
		standby, err := f.startMIC(ctx)
		if err != nil {
			return err
		}
		if err := f.awaitLead(ctx, standby); err != nil {
			return err
		}
		seen, err := f.watchAssigned(ctx)
		if err != nil {
			return err
		}
		defer seen.stop()
		names, err := f.addPods(ctx, 200)
		if err != nil {
			return err
		}
		killed, led, err := f.kill(ctx, leads)
		if err != nil {
			return err
		}
		last, err := seen.await(ctx, 5*time.Minute, names...)
		if err != nil {
			return err
		}
		_, total, err := f.patches(ctx)
		if err != nil {
			return err
		}
		out.add("mic_failover_s", led.Sub(killed).Seconds(), atMost(20))
		out.add("mic_failover_assigned_over_arm_s", (last.Sub(led) - operation).Seconds(), atMost(30))
		out.add("mic_failover_patches", float64(total), exactly(1))
		return f.holds(ctx, f.identities)
	})
}

// kill kills the mic that leads when Azure has its PATCH, and returns when another
// leads.
func (f *field) kill(ctx context.Context, leads *controller) (killed, led time.Time, err error) {
	before, err := f.holder(ctx)
	if err != nil {
		return killed, led, err
	}
	if err := await(ctx, time.Minute, func() error {
		counters, err := f.azure.Counters(ctx)
		if err == nil && counters[azemu.EndpointVMSSPatch].Calls == 0 {
			err = errors.New("no PATCH yet")
		}
		return err
	}); err != nil {
		return killed, led, err
	}
	killed = time.Now()
	if err := leads.cmd.Process.Kill(); err != nil {
		return killed, led, err
	}
	err = await(ctx, time.Minute, func() error {
		now, err := f.holder(ctx)
		if err == nil && (now == "" || now == before) {
			err = errors.New("nobody else leads")
		}
		return err
	})
	return killed, time.Now(), err
}

// holds fails unless the one scale set has so many identities, each once.
func (f *field) holds(ctx context.Context, n int) error {
	state, err := f.azure.State(ctx)
	if err != nil {
		return err
	}
	has := slices.Clone(state.ScaleSets[0].Visible)
	slices.Sort(has)
	if has = slices.Compact(has); len(has) != n {
		return fmt.Errorf("the scale set has %d identities, want %d", len(has), n)
	}
	return nil
}

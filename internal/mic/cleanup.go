package mic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/podid-io/podid/internal/mic/cleanup"
	"github.com/podid-io/podid/internal/mic/lease"
	"github.com/podid-io/podid/internal/mic/legacy"
)

// Cleanup undoes what podid did, until it is done or ctx ends; see cleanup.Config.
// With keep what podid attached stays on the machines, and of c there need be no
// Machines. With theirs the objects of AAD Pod Identity go too, once its MIC does not
// lead any more, by the LegacyLocks. The error says what is left.
func Cleanup(ctx context.Context, c Config, keep, theirs bool, out io.Writer) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	if c.Machines == nil && !keep {
		return errors.New("no client for Azure is given")
	}
	l, err := lease.New(c.lease(nil))
	if err != nil {
		return err
	}
	config := cleanup.Config{
		REST: c.REST, Machines: c.Machines, Namespace: c.Namespace, Lease: l, Immutable: c.neverDetached,
		StartupTaints: c.StartupTaints, KeepIdentities: keep, Legacy: theirs, Out: out, Log: c.Log,
	}
	var why atomic.Value // of waiting, a string
	other, err := legacy.New(legacy.Config{REST: c.REST, Locks: c.LegacyLocks, Log: c.Log, Report: func(err error) {
		if err != nil {
			why.Store(err.Error())
		}
	}})
	if err != nil {
		return err
	}
	watched, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group
	g.Go(func() error { return other.Run(watched) }) // ends with stop
	g.Go(func() error {
		defer stop()
		alone, end, err := other.Await(ctx)
		if err != nil {
			if text := why.Load(); text != nil {
				return fmt.Errorf("waited in vain: %v", text)
			}
			return errors.New("no time was left to find out whether AAD Pod Identity's MIC leads")
		}
		defer end()
		return cleanup.Run(alone, config)
	})
	return g.Wait()
}

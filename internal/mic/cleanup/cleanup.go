// Package cleanup undoes what podid did to a cluster and its machines, before
// podid goes: it takes off the identities that podid attached, and deletes what
// podid made. It can be run again, and nothing waits for it.
package cleanup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/mic/lease"
)

// Config says what is cleaned up.
type Config struct {
	// REST reaches the API server.
	REST *rest.Config
	// Machines is Azure; nil will do with KeepIdentities.
	Machines assignment.Machines
	// Namespace is mic's own, where its records are.
	Namespace string
	// Lease is mic's. It is held meanwhile: no mic works.
	Lease *lease.Lease
	// Immutable are client ids, in any case, of identities that are never detached.
	// Nil means none.
	Immutable func() []string
	// StartupTaints are keys of taints that go off all nodes. The default is none.
	StartupTaints []string
	// KeepIdentities leaves on the machines what podid attached, and forgets that it
	// did: Azure is not asked.
	KeepIdentities bool
	// Legacy has the objects of AAD Pod Identity deleted too, and what they say that
	// its MIC attached taken off.
	Legacy bool
	// Out is told what was done.
	Out io.Writer
	// Log is the logger.
	Log *slog.Logger
}

// Run cleans up until it is done or ctx ends. The error says what is left; it is
// nil when nothing is.
func Run(ctx context.Context, c Config) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return err
	}
	api, err := client.New(c.REST, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("make a client for %s: %w", c.REST.Host, err)
	}
	if leader, err := c.Lease.Leader(ctx); err != nil || leader != "" {
		return errors.Join(err, refusal(leader))
	}
	r := &run{config: c, api: api, keep: make(map[types.UID]bool)}
	held := false
	// Not queued for: it would be had at the next restart of a mic that is to stay.
	waiting, leave := context.WithCancel(ctx)
	defer leave()
	queue := time.AfterFunc(c.Lease.LongestWait(), leave)
	defer queue.Stop()
	err = c.Lease.Lead(waiting, func(ctx context.Context) error {
		queue.Stop()
		held = true
		if c.Legacy {
			r.claim(ctx)
		}
		switch gone := r.objects(ctx); {
		case c.KeepIdentities:
			r.forget(ctx)
		case gone:
			r.machines(ctx)
		}
		r.taints(ctx)
		return nil
	})
	switch {
	case err != nil:
		return err
	case !held:
		return c.refused(ctx)
	case r.left > 0:
		return fmt.Errorf("what is left (%d) is said above: mend it, and run this again", r.left)
	}
	if c.KeepIdentities {
		r.say("nothing of podid is left but what is on machines")
		return nil
	}
	r.say("nothing of podid is left")
	return nil
}

// refused says who holds the Lease.
func (c Config) refused(ctx context.Context) error {
	holder, err := c.Lease.Holder(context.WithoutCancel(ctx)) // ctx has ended; the client has a timeout of its own
	if err != nil {
		return err
	}
	if holder == "" {
		return errors.New("the lease could not be had in time")
	}
	return refusal(holder)
}

// refusal is the error where somebody holds the Lease.
func refusal(holder string) error {
	if holder == "" {
		return nil
	}
	return fmt.Errorf("a mic leads (%s): scale its Deployment to 0, and run this again; what it would put back is not taken off", holder)
}

// run is one run.
type run struct {
	config Config
	api    client.Client
	// keep are objects of AAD Pod Identity that stay, keepLegacy is whether all do.
	keep       map[types.UID]bool
	keepLegacy bool

	mu   sync.Mutex
	left int // guarded by mu
}

// say writes a line.
func (r *run) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = fmt.Fprintf(r.config.Out, format+"\n", args...)
}

// leave writes a line about what is left.
func (r *run) leave(what string, why error) {
	r.say("left: %s: %v", what, why)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left++
}

// machines takes off VMs and scale sets what podid attached.
func (r *run) machines(ctx context.Context) {
	err := assignment.Release(ctx, assignment.Config{
		Live: r.api, Writer: r.api, Machines: r.config.Machines, Namespace: r.config.Namespace,
		Immutable: r.config.Immutable, Log: r.config.Log,
	}, func(o assignment.Released) {
		if len(o.Detached) > 0 {
			r.say("%s: detached %s", o.Scope, strings.Join(o.Detached, ", "))
		}
		if len(o.Kept) > 0 {
			r.say("%s: not podid's to detach, and stays: %s", o.Scope, strings.Join(o.Kept, ", "))
		}
		switch {
		case o.Record != "":
			r.leave(o.Record, o.Err)
		case o.Gone:
			r.say("%s: is not there any more", o.Scope)
		case o.Err != nil && len(o.Left) > 0:
			r.leave(fmt.Sprintf("%s: %s", o.Scope, strings.Join(o.Left, ", ")), o.Err)
		case o.Err != nil:
			r.leave(fmt.Sprintf("%s: its record", o.Scope), o.Err)
		}
	})
	if err != nil {
		r.leave("what is attached to machines", err)
	}
}

// forget deletes the records of what podid attached, and says what stays.
func (r *run) forget(ctx context.Context) {
	err := assignment.Forget(ctx, assignment.Config{
		Live: r.api, Writer: r.api, Namespace: r.config.Namespace, Log: r.config.Log,
	}, func(o assignment.Released) {
		if len(o.Kept) > 0 {
			r.say("%s: stays: %s", o.Scope, strings.Join(o.Kept, ", "))
		}
		switch {
		case o.Record != "":
			r.leave(o.Record, o.Err)
		case o.Err != nil:
			r.leave(fmt.Sprintf("%s: its record", o.Scope), o.Err)
		}
	})
	if err != nil {
		r.leave("the records of what is attached", err)
	}
}

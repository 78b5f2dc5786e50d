package assignment

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/podid-io/podid/internal/assign"
)

// state is what is remembered of a scope between two looks at it.
type state struct {
	// epoch is when the whole scope was looked at: machine and reported hold what
	// was found, kept up to date since. See Reconciler.
	epoch int64
	// machine is the account of the scope's identities, made the machine that its
	// record is of, kept what the API server has of it; unsaved says that the two
	// differ. doubted says that it is not known whether the record is right.
	machine *assign.Machine
	made    string
	kept    kept
	unsaved bool
	doubted bool
	// unseen are our own writes that the cache has not shown yet, backlog the pods
	// whose objects there was no time to write.
	unseen  unseen
	backlog owners
	// behind is since when each identity that is to be detached has waited for objects
	// that are not written yet; nil when all are.
	behind map[string]time.Time
	// needed is since when a PATCH has been needed, and for what.
	needed window
	// flight is the PATCH under way, nil when none is; landed is when the last ended.
	flight *flight
	landed time.Time
	// refusals are what Azure refused of single identities. absent is when it first
	// said, since the last change, of which that they do not exist: see lose.
	refusals *assign.Refusals
	absent   map[string]time.Time
	// failures in a row, and when to try again after the last; alone says that there
	// was neither a machine nor a Node then.
	failures int
	retryAt  time.Time
	alone    bool
	// problem is why the last PATCH failed, reported the objects that were told.
	problem  error
	reported reported
	problems map[types.NamespacedName]string // by AzureIdentity, the essence of what was told about it
	advance  map[types.NamespacedName]string // likewise, by binding in advance
	check    check
}

// state returns what is remembered of the scope. The first call reads the
// records of all scopes, and has those looked at that have one.
func (r *Reconciler) state(ctx context.Context, scope assign.Scope) (*state, error) {
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.scopes[scope]
	if !ok {
		s = r.newState(kept{})
		r.scopes[scope] = s
	}
	return s, nil
}

func (r *Reconciler) load(ctx context.Context) error {
	if r.loaded.Load() {
		return nil
	}
	_, err, _ := r.loading.Do("", func() (any, error) {
		if r.loaded.Load() {
			return nil, nil
		}
		found, _, err := r.records.load(ctx)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		for scope, k := range found {
			r.scopes[scope] = r.newState(k)
		}
		r.mu.Unlock()
		for scope := range found {
			if err := r.vacate(ctx, scope); err != nil {
				return nil, err
			}
			r.queue.Add(scope)
		}
		r.loaded.Store(true)
		return nil, nil
	})
	return err
}

// forget lets go of a scope of which there is nothing to remember and that has no
// node, and reports whether it did. To look at one for the first time costs the
// whole of it.
func (r *Reconciler) forget(ctx context.Context, scope assign.Scope, s *state) (bool, error) {
	if scope == (assign.Scope{}) || !s.machine.Empty() || len(s.unseen)+len(s.backlog) > 0 || s.flight != nil || s.kept.version != "" {
		return false, nil
	}
	if some, err := r.anyNode(ctx, scope); err != nil || some {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending[scope]) > 0 {
		return false, nil
	}
	delete(r.refused, scope)
	delete(r.scopes, scope)
	delete(r.vacant, scope)
	r.hush(scope, s)
	return true, nil
}

func (r *Reconciler) newState(k kept) *state {
	return &state{
		machine: assign.NewMachine(k.record, time.Now()), made: k.made, kept: k,
		unseen: make(unseen), backlog: make(owners),
		refusals: assign.NewRefusals(r.config.Quarantine, jitter), absent: make(map[string]time.Time),
		reported: make(reported), problems: make(map[types.NamespacedName]string), advance: make(map[types.NamespacedName]string),
	}
}

package assignment

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// A machine may be deleted and made anew under the same name, without its
// identities. The record says which machine it is of: on another one nothing of it
// holds, and what is there is not podid's. While a scale set has nodes it is the same
// machine; a VM is while it has the same Node, and that tells of the same system. With
// the first Node after that the record is in doubt until Azure has been asked once:
//
//	trusted --no Node left, or another of a VM--> vacant --a Node--> doubted --one GET--> trusted

// another reports whether what Azure shows is not the machine of the record.
func (o outcome) another(present compute.State) bool {
	return len(o.record) > 0 && o.made != "" && present.ID != "" && present.ID != o.made
}

// isKept reports whether the API server has the record as it is.
func (o outcome) isKept() bool {
	return maps.Equal(o.record, o.kept.record) && (len(o.record) == 0 || o.made == o.kept.made)
}

// replaced is o with nothing on record, which is written down.
func (r *Reconciler) replaced(ctx context.Context, scope assign.Scope, o outcome, present compute.State) outcome {
	r.config.Log.WarnContext(ctx, "it was made anew under the same name: nothing is known of what is attached", "scope", scope.ID(), "before", o.made, "now", present.ID)
	o.made = present.ID
	return r.saved(ctx, scope, o, assign.Record{})
}

// verify asks Azure whether the record is right, and corrects it.
func (r *Reconciler) verify(ctx context.Context, scope assign.Scope, o outcome) outcome {
	present, err := r.config.Machines.Get(ctx, scope)
	if err != nil {
		o.err = err
		return o
	}
	if o.another(present) {
		return r.replaced(ctx, scope, o, present)
	}
	if present.ID != "" {
		o.made = present.ID
	}
	record := o.record
	if present.Certain() {
		record = record.Among(present.User)
	}
	return r.saved(ctx, scope, o, record)
}

// vacate takes note that a scope of which something is remembered has no Node.
func (r *Reconciler) vacate(ctx context.Context, scope assign.Scope) error {
	if scope == (assign.Scope{}) {
		return nil
	}
	if some, err := r.anyNode(ctx, scope); some || err != nil {
		return err
	}
	r.leave(scope)
	return nil
}

// leave has a scope vacant of which something is remembered.
func (r *Reconciler) leave(scope assign.Scope) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.scopes[scope]; known {
		r.vacant[scope] = true
	}
}

// vacateNode takes note of what has become of the scope of a Node. That of a VM is
// vacant when that very Node is no more: another may have its name, or its machine,
// before this is heard of. So it is when the Node stays and tells of another system:
// a VM that is made anew soon enough registers as the one before.
func (r *Reconciler) vacateNode(ctx context.Context, n *corev1.Node) error {
	scope := scopeOf(n)
	if scope.Kind != assign.VM {
		return r.vacate(ctx, scope)
	}
	var now corev1.Node
	err := r.config.Cache.Get(ctx, client.ObjectKeyFromObject(n), &now)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	if err == nil && now.UID == n.UID && !otherSystem(n, &now) {
		return r.vacate(ctx, scope) // it may have changed sides
	}
	r.leave(scope)
	return nil
}

// otherSystem reports whether a Node tells of two systems, one after the other.
func otherSystem(old, now *corev1.Node) bool {
	before, after := old.Status.NodeInfo.SystemUUID, now.Status.NodeInfo.SystemUUID
	return before != "" && after != "" && before != after
}

// occupy has the record of a scope doubted that has a Node for the first time after
// it had none. While Azure is asked already that waits: it may have answered before,
// of another machine, and the end of that is an event.
func (r *Reconciler) occupy(ctx context.Context, scope assign.Scope, s *state) error {
	if s.flight != nil && s.flight.verify {
		return nil
	}
	r.mu.Lock()
	vacant := r.vacant[scope]
	delete(r.vacant, scope)
	r.mu.Unlock()
	if !vacant {
		return nil
	}
	some, err := r.anyNode(ctx, scope)
	if err == nil && some {
		s.doubted = len(s.machine.Record()) > 0
		s.alone, s.failures, s.retryAt = false, 0, time.Time{} // what failed was without nodes
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.vacant[scope] = true
	return err
}

// anyNode reports whether a scope has nodes.
func (r *Reconciler) anyNode(ctx context.Context, scope assign.Scope) (bool, error) {
	var nodes corev1.NodeList
	err := r.config.Cache.List(ctx, &nodes, client.MatchingFields{nodeByScope: scope.ID()}, client.Limit(1))
	return len(nodes.Items) > 0, err
}

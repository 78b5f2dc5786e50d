package assignment

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// unseen are writes of ours that the cache has not shown yet, by pod. Until it
// has, a plan for the pod would be made from what is no longer true, and write it
// all again.
type unseen map[assign.Owner]map[types.NamespacedName]seen

// seen says what the cache must show of an object: this version or a later one,
// or, after a deletion, no object with this uid that is not on its way out: others
// may hold it up for as long as they like.
type seen struct {
	version string
	gone    types.UID
	by      time.Time // when to stop waiting
}

// patience is how long the cache is waited for. It is a matter of milliseconds,
// unless the object was changed by others too; then a write too many is harmless.
const patience = 5 * time.Second

func (u unseen) wrote(o *v1.AzureAssignedIdentity) {
	u.set(o, seen{version: o.ResourceVersion, by: time.Now().Add(patience)})
}

func (u unseen) deleted(o *v1.AzureAssignedIdentity) {
	u.set(o, seen{gone: o.UID, by: time.Now().Add(patience)})
}

func (u unseen) set(o *v1.AzureAssignedIdentity, s seen) {
	owner := ownerOf(o)
	if u[owner] == nil {
		u[owner] = make(map[types.NamespacedName]seen, 1)
	}
	u[owner][client.ObjectKeyFromObject(o)] = s
}

// settle drops what the cache shows, or should have shown long ago, of the pods
// that were touched, and returns those of which it does not show all, and those for
// which it was late. What is left comes as events; wait is when to look again should
// they not come, 0 when nothing is left.
func (u unseen) settle(ctx context.Context, cache client.Reader, t touched) (held, late owners, wait time.Duration, err error) {
	held, late = make(owners), make(owners)
	one := func(owner assign.Owner) error {
		if u[owner] == nil {
			return nil
		}
		left, overdue, err := u.settleOne(ctx, cache, owner)
		if overdue {
			late[owner] = struct{}{}
		}
		if left > 0 {
			held[owner] = struct{}{}
			wait = max(wait, left)
		}
		return err
	}
	if t.all {
		for owner := range u {
			if err := one(owner); err != nil {
				return nil, nil, 0, err
			}
		}
		return held, late, wait, nil
	}
	for owner := range t.pods {
		if err := one(owner); err != nil {
			return nil, nil, 0, err
		}
	}
	return held, late, wait, nil
}

func (u unseen) settleOne(ctx context.Context, cache client.Reader, owner assign.Owner) (wait time.Duration, late bool, err error) {
	now := time.Now()
	for key, s := range u[owner] {
		var o v1.AzureAssignedIdentity
		err := cache.Get(ctx, key, &o)
		if err != nil && !apierrors.IsNotFound(err) {
			return 0, false, err
		}
		shown := s.shownBy(&o, err == nil)
		if shown || now.After(s.by) {
			delete(u[owner], key)
			late = late || !shown
			continue
		}
		wait = max(wait, s.by.Sub(now))
	}
	if len(u[owner]) == 0 {
		delete(u, owner)
	}
	return wait, late, nil
}

func (s seen) shownBy(o *v1.AzureAssignedIdentity, exists bool) bool {
	switch {
	case s.gone != "":
		return !exists || o.UID != s.gone || o.DeletionTimestamp != nil
	case !exists:
		return false
	default:
		order, err := resourceversion.CompareResourceVersion(o.ResourceVersion, s.version)
		return err != nil || order >= 0
	}
}

// ownerOf is the pod that an object is for.
func ownerOf(o *v1.AzureAssignedIdentity) assign.Owner {
	return assign.Owner{Namespace: o.Spec.PodNamespace, Name: o.Spec.Pod}
}
